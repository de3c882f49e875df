"""A folder of pictures: every odd file is met by a sentence, and none of them costs another one."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from utils import child, data, pictures

SIZE = 16
RNG = np.random.default_rng(0)


def noise(side: int = 24, channels: int = 3) -> Image.Image:
    shape = (side, side, channels) if channels > 1 else (side, side)
    return Image.fromarray(RNG.integers(0, 256, shape).astype(np.uint8))


def fill(folder, classes=("cat", "dog"), count=5):
    for name in classes:
        (folder / name).mkdir()
        for number in range(count):
            noise().save(folder / name / f"{number}.png")
    return folder


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path)


def assert_told(sentences, parts):
    """Of just these files something is said, and each sentence has its part."""
    assert set(sentences) == set(parts)
    for name, part in parts.items():
        assert part in sentences[name]


def test_classes_are_folders_and_parts_are_disjoint(folder):
    found = data.from_folder(folder, SIZE)
    dataset = found.dataset
    assert dataset.class_names == ("cat", "dog") and dataset.input_shape == (SIZE, SIZE, 3)
    assert [len(part) for part in (dataset.y_train, dataset.y_val, dataset.y_test)] == [6, 2, 2]
    for y in (dataset.y_train, dataset.y_val, dataset.y_test):
        assert set(y) == {0, 1}
    seen = [picture.tobytes() for part in ("train", "val", "test") for picture in getattr(dataset, f"x_{part}")]
    assert len(set(seen)) == 10
    assert not found.left_out and not found.changed
    assert dataset.x_train.dtype == np.float32 and dataset.x_train.min() >= 0 and dataset.x_train.max() <= 1


def test_odd_files_are_met_by_sentences_and_the_others_are_read(folder):
    cat = folder / "cat"
    (cat / "text.jpg").write_text("no picture")
    whole = (cat / "0.png").read_bytes()
    (cat / "half.png").write_bytes(whole[: len(whole) // 2])
    (cat / "empty.png").write_bytes(b"")
    noise(4).save(cat / "tiny.png")
    (cat / "copy.png").write_bytes(whole)
    (cat / ".DS_Store").write_bytes(b"x")
    noise().save(folder / "loose.png")
    noise().convert("CMYK").save(cat / "print.jpg")
    noise().save(cat / "really_a_png.jpg", format="PNG")
    frames = [noise(), noise(), noise()]
    frames[0].save(cat / "moving.gif", save_all=True, append_images=frames[1:])
    noise(12).save(cat / "small.png")
    noise(24, 4).save(cat / "glass.png")
    found = pictures.from_folder(folder, SIZE)
    reasons = {
        "cat/text.jpg": "no picture",
        "cat/half.png": "damaged",
        "cat/empty.png": "no picture",
        "cat/tiny.png": "4×4",
        "cat/copy.png": "same picture as cat/0.png",
        "loose.png": "beside the classes",
    }
    assert_told(found.left_out, reasons)
    changes = {
        "cat/print.jpg": "CMYK",
        "cat/really_a_png.jpg": "is a PNG",
        "cat/moving.gif": "first of 3 frames",
        "cat/small.png": "12×12",
        "cat/glass.png": "transparent",
    }
    assert_told(found.changed, changes)
    assert sum(len(y) for y in (found.dataset.y_train, found.dataset.y_val, found.dataset.y_test)) == 15
    assert "left out  cat/half.png" in str(found)


def test_a_picture_is_turned_as_its_camera_was_held(tmp_path):
    fill(tmp_path, count=3)
    pixels = np.zeros((24, 24, 3), np.uint8)
    pixels[:, :12] = 255  # bright on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be seen, it is turned by 90 degrees clockwise: left becomes top
    Image.fromarray(pixels).save(tmp_path / "cat" / "turned.png", exif=exif)
    answer = pictures._one(tmp_path / "cat" / "turned.png", SIZE)
    assert "EXIF" in answer["changed"][0]
    seen = np.frombuffer(pictures.base64.b64decode(answer["pixels"]), np.uint8).reshape(SIZE, SIZE, 3)
    assert seen[:6].min() > 200 and seen[-6:].max() < 55


@pytest.mark.parametrize("kind", ["I;16", "grey", "palette", "bilevel", "LA"])
def test_grey_levels_are_kept_whatever_the_mode(tmp_path, kind):
    ramp = np.repeat(np.linspace(0, 1, SIZE)[None], SIZE, axis=0)
    path = tmp_path / "ramp.png"
    grey = Image.fromarray(np.rint(ramp * 255).astype(np.uint8))
    made = {
        "I;16": lambda: Image.fromarray(np.rint(ramp * 65535).astype(np.uint16)),
        "grey": lambda: grey,
        "palette": lambda: grey.convert("P"),
        "bilevel": lambda: grey.convert("1"),
        "LA": lambda: grey.convert("LA"),
    }
    made[kind]().save(path)
    answer = pictures._one(path, SIZE)
    seen = np.frombuffer(pictures.base64.b64decode(answer["pixels"]), np.uint8).reshape(SIZE, SIZE, 3)
    assert (seen[..., 0] == seen[..., 1]).all() and (seen[..., 0] == seen[..., 2]).all()
    assert np.abs(seen[..., 0].mean() / 255 - 0.5) < 0.05
    if kind != "bilevel":
        assert np.abs(seen[..., 0] / 255 - ramp).max() < 0.02


def test_a_file_that_kills_its_process_takes_no_other_with_it(folder, monkeypatch):
    real = pictures._in_child

    def fragile(paths, size):
        if any(path.name == "3.png" and path.parent.name == "dog" for path in paths):
            raise child.ChildError("the process was ended by SIGSEGV", "crash")
        return real(paths, size)

    monkeypatch.setattr(pictures, "_in_child", fragile)
    found = pictures.from_folder(folder, SIZE)
    assert list(found.left_out) == ["dog/3.png"] and "SIGSEGV" in found.left_out["dog/3.png"]


def test_a_huge_picture_is_not_opened(tmp_path, monkeypatch):
    path = tmp_path / "wide.png"
    noise(64).save(path)
    monkeypatch.setattr(pictures, "MOST_PIXELS", 1000)
    assert "more than 1,000 pixels" in pictures._one(path, SIZE)["problem"]


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"size": 4}, "size is 4"),
        ({"size": True}, "size is True"),
        ({"size": 96, "validation": 1.0}, "validation is 1.0"),
        ({"size": 96, "validation": 0.5, "test": 0.5}, "leave nothing to train on"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": None}, "seed is None"),
    ],
)
def test_arguments_out_of_range_are_refused(folder, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        pictures.from_folder(folder, **options)


def test_folders_that_hold_no_classes_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        pictures.from_folder(tmp_path / "absent")
    with pytest.raises(ValueError, match="0 sub-folders"):
        pictures.from_folder(tmp_path)
    fill(tmp_path, count=2)
    with pytest.raises(ValueError, match="'cat' has 2, 'dog' has 2; each class needs at least 3"):
        pictures.from_folder(tmp_path, SIZE)
    found = pictures.from_folder(tmp_path, SIZE, validation=0, test=0)
    assert len(found.dataset.x_train) == 4 and len(found.dataset.x_test) == 0


def test_the_same_seed_gives_the_same_parts(folder):
    one, same, other = (pictures.from_folder(folder, SIZE, seed=seed).dataset for seed in (1, 1, 2))
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_numbers_of_numpy_are_numbers(folder):
    numbers = {"validation": np.float32(0.2), "test": np.float64(0.2), "seed": np.int64(0)}
    plain = data.from_folder(folder, SIZE, validation=float(np.float32(0.2)), test=0.2, seed=0)
    assert data.from_folder(folder, np.int64(SIZE), **numbers).dataset.fingerprint == plain.dataset.fingerprint


@pytest.mark.parametrize("parts", [("train", "test"), ("Training", "VALIDATION", "Test"), ("val", "train")])
def test_parts_of_an_archive_are_no_classes(tmp_path, parts):
    for part in parts:
        (tmp_path / part).mkdir()
        fill(tmp_path / part, count=1)
    with pytest.raises(ValueError, match=r"parts, and no classes\. Pass each part by itself"):
        pictures.from_folder(tmp_path, SIZE)
    one = pictures.from_folder(tmp_path / parts[0], SIZE, validation=0, test=0)
    assert one.dataset.class_names == ("cat", "dog")


def test_what_systems_hide_is_no_picture_and_no_class(folder):
    for name in ("cat/.ipynb_checkpoints", "cat/@eaDir", "__MACOSX", ".thumbnails"):
        (folder / name).mkdir()
        noise().save(folder / name / "0-checkpoint.png")
    found = pictures.from_folder(folder, SIZE, validation=0, test=0)
    assert found.dataset.class_names == ("cat", "dog") and len(found.dataset.x_train) == 10
    assert not found.left_out


def test_links_to_pictures_are_followed_and_others_are_named(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    fill(elsewhere, ("bird", "more"))
    (folder / "bird").symlink_to(elsewhere / "bird")
    (folder / "cat" / "linked.png").symlink_to(elsewhere / "more" / "0.png")
    (folder / "cat" / "broken.png").symlink_to(elsewhere / "nothing.png")
    (folder / "cat" / "more").symlink_to(elsewhere / "more")
    (folder / "cat" / "round").symlink_to(folder / "cat" / "round")
    found = pictures.from_folder(folder, SIZE, validation=0, test=0)
    assert np.bincount(found.dataset.y_train).tolist() == [5, 6, 5]
    assert_told(found.left_out, dict.fromkeys(("cat/broken.png", "cat/more", "cat/round"), "is a link"))


@pytest.mark.parametrize("name", ["cat/0.png", "cat/deep", "cat"])
def test_what_may_not_be_read_is_named(folder, monkeypatch, name):
    fill(folder / "cat", ("deep",), 2)
    closed = folder / name

    def refuse(path, *_):
        if path == closed:
            raise PermissionError(13, "Permission denied", str(path))

    def refusing(function):
        return lambda path, *rest: refuse(path) or function(path, *rest)

    monkeypatch.setattr(type(folder), "iterdir", refusing(type(folder).iterdir))
    monkeypatch.setattr(Image, "open", refusing(Image.open))
    monkeypatch.setattr(pictures, "_in_child", lambda paths, size: [pictures._one(path, size) for path in paths])
    if name == "cat":
        with pytest.raises(ValueError, match=r"'cat' has 0.*left out: cat: could not be opened \(Permission denied\)"):
            pictures.from_folder(folder, SIZE)
    else:
        found = pictures.from_folder(folder, SIZE)
        assert_told(found.left_out, {name: "could not be opened (Permission denied); see whether you may read it"})


@pytest.mark.parametrize("low, high", [(0, 10**6), (-500, 0)])
def test_numbers_beyond_16_bits_are_not_cut_off(tmp_path, low, high):
    ramp = np.linspace(low, high, SIZE * SIZE).reshape(SIZE, SIZE).astype(np.int32)
    Image.fromarray(ramp).save(tmp_path / "ramp.tif")
    assert f"run from {low:g} to {high:g}" in pictures._one(tmp_path / "ramp.tif", SIZE)["problem"]


def test_an_orientation_that_is_none_turns_nothing(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 9
    noise().save(tmp_path / "odd.png", exif=exif)
    assert pictures._one(tmp_path / "odd.png", SIZE)["changed"] == []


def test_a_name_that_is_no_text_can_be_printed(folder):
    found = pictures.Found(pictures.from_folder(folder, SIZE).dataset, {"cat/\udcff.txt": "is odd"}, {})
    assert "cat/\\udcff.txt: is odd" in str(found)


@pytest.mark.parametrize("turned", [False, True])
def test_the_square_is_cut_from_the_middle(tmp_path, turned):
    pixels = np.zeros((24, 72, 3), np.uint8)
    pixels[:, 24:48] = 255
    Image.fromarray(pixels.transpose(1, 0, 2) if turned else pixels).save(tmp_path / "wide.png")
    answer = pictures._one(tmp_path / "wide.png", SIZE)
    assert min(pictures.base64.b64decode(answer["pixels"])) > 240


@pytest.mark.parametrize("count, validation, test, sizes", [(8, 0.2, 0.2, (4, 2, 2)), (3, 0.01, 0.9, (1, 1, 1))])
def test_fractions_are_rounded_to_the_nearest_number(count, validation, test, sizes):
    parts = pictures._parts(np.repeat([0, 1], count), ["cat", "dog"], validation, test, 0, {})
    assert tuple(len(parts[part]) // 2 for part in ("train", "val", "test")) == sizes
