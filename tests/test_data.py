"""Data sets: genuine, split without overlap, subsets in proportion, and damaged files refused."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import re
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import data as bench
from utils import ROOT, data

IMAGES_SHIPPED = ["mnist", "fashion_mnist"]


def own_dataset(labels: np.ndarray, classes: int) -> data.Dataset:
    """A Dataset whose training pictures show their own index."""
    x = np.arange(len(labels), dtype=np.float32).reshape(-1, 1, 1, 1)
    names = tuple(f"class {i}" for i in range(classes))
    return data.Dataset("own", x, labels.astype(np.int32), x[:1], labels[:1], x[:1], labels[:1], names)


@pytest.mark.parametrize("name", [*IMAGES_SHIPPED, "digits"])
def test_load_gives_the_promised_types_ranges_and_sizes(name):
    loaded = data.load(name)
    sizes = {"digits": (1197, 300, 300)}.get(name, (50_000, 10_000, 10_000))
    shape = (8, 8, 1) if name == "digits" else (28, 28, 1)
    for part, size in zip(("train", "val", "test"), sizes, strict=True):
        x, y = getattr(loaded, f"x_{part}"), getattr(loaded, f"y_{part}")
        assert (x.dtype, x.shape) == (np.float32, (size, *shape))
        assert (y.dtype, y.shape) == (np.int32, (size,))
        assert x.min() == 0 and x.max() == 1
        assert set(np.unique(y)) == set(range(10))
    assert loaded.num_classes == len(loaded.class_names) == 10
    assert loaded.input_shape == shape


@pytest.mark.parametrize("name", IMAGES_SHIPPED)
@pytest.mark.parametrize("part", sorted(bench.FILES))
def test_the_shipped_pictures_are_the_published_ones(name, part):
    """Rebuild the IDX file from what `load` gives, and compare with the MD5 of the published one."""
    loaded = data.load(name)
    split = part.split("_")[0]
    parts = ("train", "val") if split == "train" else ("test",)
    letter = "x" if part.endswith("images") else "y"
    values = np.concatenate([getattr(loaded, f"{letter}_{p}") for p in parts])
    if letter == "x":
        values = np.rint(values[..., 0] * 255)
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
    content = header + values.astype(np.uint8).tobytes()
    assert hashlib.md5(content).hexdigest() == bench.MD5[name][part]


def test_the_validation_set_is_the_end_of_the_published_training_set():
    with np.load(data.FOLDER / "mnist.npz", allow_pickle=False) as raw:
        labels = raw["train_labels"]
    assert np.array_equal(data.load("mnist").y_train, labels[:50_000])
    assert np.array_equal(data.load("mnist").y_val, labels[50_000:])


@pytest.mark.parametrize("name", [*IMAGES_SHIPPED, "digits"])
def test_no_test_picture_is_trained_on(name):
    loaded = data.load(name)
    seen = [{hashlib.sha256(picture.tobytes()).digest() for picture in getattr(loaded, f"x_{p}")}
            for p in ("train", "val", "test")]  # fmt: skip
    train, val, test = seen
    assert not (train & val or train & test or val & test)
    assert sum(map(len, seen)) == len(loaded.x_train) + len(loaded.x_val) + len(loaded.x_test), "no picture twice"


def test_arrays_are_read_only_and_shared():
    loaded = data.load("digits")
    with pytest.raises(ValueError, match="read-only"):
        loaded.x_train[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.x_train = loaded.x_test
    assert data.load("digits") is loaded


def test_making_a_dataset_leaves_the_callers_array_writable():
    labels = np.zeros(3, np.int32)
    own_dataset(labels, 1)
    labels[0] = 1
    assert labels[0] == 1


@pytest.mark.parametrize(("name", "expected"), [
    ("mnits", "did you mean 'mnist'"), ("fashion-mnist", "did you mean 'fashion_mnist'"),
    ("xyzzy", "pass one of 'digits', 'mnist'"), (3, "3 is no name"), (None, "None is no name"),
])  # fmt: skip
def test_an_unknown_name_is_answered_with_the_nearest(name, expected):
    with pytest.raises(ValueError, match=expected):
        data.load(name)


@settings(max_examples=60, deadline=None)
@given(counts=st.lists(st.integers(1, 40), min_size=2, max_size=8), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_a_subset_keeps_the_proportions_within_one(counts, share, seed):
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    whole = own_dataset(labels, len(counts))
    n = len(counts) + round(share * (len(labels) - len(counts)))
    part = whole.subset(n, seed)
    rows = part.x_train[:, 0, 0, 0].astype(int)
    assert len(rows) == len(set(rows)) == n
    assert np.array_equal(part.y_train, labels[rows])
    exact = n * np.array(counts) / len(labels)
    assert (np.abs(np.bincount(part.y_train, minlength=len(counts)) - exact) < 1).all()


def test_a_subset_repeats_with_its_seed_only_and_thins_one_split():
    whole = data.load("digits")
    first, again, other = whole.subset(100, 1), whole.subset(100, 1), whole.subset(100, 2)
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert first.x_val is not None and len(first.x_val) == 300
    assert len(whole.subset(50, split="test").x_test) == 50
    assert np.bincount(data.load("mnist").subset(1000, 0).y_train).sum() == 1000


@pytest.mark.parametrize("n", [0, 9, -1, 1198, 10.0, "100", True])
def test_a_subset_of_an_impossible_size_is_refused(n):
    with pytest.raises(ValueError, match="pass a"):
        data.load("digits").subset(n)


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="no split 'valid'"):
        data.load("digits").subset(20, split="valid")


def test_a_dataset_with_missing_labels_or_other_pictures_is_refused():
    good = data.load("digits")
    with pytest.raises(ValueError, match="x_val has 300 pictures but y_val has 299 labels"):
        dataclasses.replace(good, y_val=good.y_val[1:])
    with pytest.raises(ValueError, match=re.escape("x_test has pictures of shape (8, 4, 1)")):
        dataclasses.replace(good, x_test=good.x_test[:, :, :4])


def _truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _one_bit_flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [_truncated, _one_bit_flipped, lambda _: b"", lambda _: b"version https://git-lfs"])
def test_a_damaged_file_is_refused_with_the_way_out(tmp_path, damage):
    (tmp_path / "mnist.npz").write_bytes(damage((data.FOLDER / "mnist.npz").read_bytes()))
    with pytest.raises(ValueError, match=r"is not the file that the course ships.*git checkout"):
        data._load("mnist", tmp_path)


def test_the_file_of_another_data_set_is_refused(tmp_path):
    (tmp_path / "mnist.npz").write_bytes((data.FOLDER / "fashion_mnist.npz").read_bytes())
    with pytest.raises(ValueError, match="is not the file that the course ships"):
        data._load("mnist", tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"fashion_mnist\.npz is missing; restore it with"):
        data._load("fashion_mnist", tmp_path)


def test_cifar_without_network_says_so_and_leaves_nothing(tmp_path, monkeypatch):
    import tf_keras.src.datasets.cifar10 as loader

    def no_network(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    monkeypatch.setattr(loader, "get_file", no_network)
    with pytest.raises(ConnectionError, match=r"cifar10 does not ship .* Connect to a network once"):
        data.load("cifar10")
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_cifar_is_fetched_once_and_then_read_from_the_cache(tmp_path, monkeypatch):
    import tf_keras.src.datasets.cifar100 as loader

    rng = np.random.default_rng(0)
    train = (rng.integers(0, 256, (10_050, 4, 4, 3), np.uint8), rng.integers(0, 100, (10_050, 1)))
    calls = []

    def load_data():
        calls.append(1)
        return train, (train[0][:100], train[1][:100])

    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    monkeypatch.setattr(loader, "load_data", load_data)
    fetched = data._load.__wrapped__("cifar100", data.FOLDER)
    cached = data._load.__wrapped__("cifar100", data.FOLDER)
    assert len(calls) == 1
    assert fetched.fingerprint == cached.fingerprint
    assert (len(cached.x_train), len(cached.x_val), cached.num_classes) == (50, 10_000, 100)
    assert cached.y_train.shape == (50,)
    (tmp_path / "cifar100.npz").write_bytes(b"half a fi")
    assert data._load.__wrapped__("cifar100", data.FOLDER).fingerprint == fetched.fingerprint
    assert len(calls) == 2


def test_class_names_are_one_a_class():
    sizes = {name: len(set(names)) for name, names in data.CLASS_NAMES.items()}
    assert sizes == {"digits": 10, "mnist": 10, "fashion_mnist": 10, "cifar10": 10, "cifar100": 100}


def test_write_npz_is_the_same_bytes_each_time_and_reads_back(tmp_path):
    arrays = {"a/b": np.arange(6.0).reshape(2, 3), "c": np.array(["x"])}
    data.write_npz(tmp_path / "1.npz", arrays)
    data.write_npz(tmp_path / "deep" / "2.npz", arrays)
    content = (tmp_path / "1.npz").read_bytes()
    assert content == (tmp_path / "deep" / "2.npz").read_bytes()
    back = data.read_npz(content)
    assert list(back) == ["a/b", "c"] and np.array_equal(back["a/b"], arrays["a/b"])


def test_objects_are_neither_written_nor_read(tmp_path):
    with pytest.raises(ValueError, match="allow_pickle"):
        data.write_npz(tmp_path / "objects.npz", {"a": np.array([{}])})
    np.savez(tmp_path / "pickled.npz", a=np.array([{}]))
    with pytest.raises(ValueError, match="no whole npz"):
        data.read_npz((tmp_path / "pickled.npz").read_bytes())


def test_a_flipped_bit_is_a_value_error_or_leaves_arrays(tmp_path):
    data.write_npz(tmp_path / "a.npz", {"a": np.arange(3.0)})
    content = (tmp_path / "a.npz").read_bytes()
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        try:
            assert all(isinstance(array, np.ndarray) for array in data.read_npz(bytes(flipped)).values())
        except ValueError:
            continue


def npz_of(name: str, entry: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, entry)
    return buffer.getvalue()


def announcing(shape: tuple[int, ...]) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return header.getvalue()


def plain_npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ones(3))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [plain_npy(), npz_of("readme.txt", b"hello"), npz_of("a.npy", announcing((10**13,))), b""],
    ids=["one array", "a text", "terabytes announced", "nothing"],
)
def test_what_is_no_whole_npz_is_a_value_error(content):
    with pytest.raises(ValueError, match="no whole npz"):
        data.read_npz(content)


def test_data_sets_are_told_apart_by_what_they_are():
    digits = data.load("digits")
    assert digits == digits and digits != digits.subset(100) and len({digits, digits.subset(100)}) == 2


def test_the_cache_may_be_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("COURSE_CACHE", "~/course")
    assert data.cache_folder() == tmp_path / "course"


@given(content=st.binary(max_size=200))
def test_read_npz_of_any_bytes_is_a_value_error(content):
    with pytest.raises(ValueError, match="no whole npz"):
        data.read_npz(content)


def test_the_cache_moves_to_the_user_when_the_clone_is_read_only(tmp_path, monkeypatch):
    monkeypatch.delenv("COURSE_CACHE", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.setattr(data, "ROOT", tmp_path / "clone")
    assert data.cache_folder() == tmp_path / "clone" / ".cache"
    writable = data._writable
    monkeypatch.setattr(data, "_writable", lambda folder: "clone" not in folder.parts and writable(folder))
    assert data.cache_folder() == tmp_path / "user" / "tensorflow-model-optimization-course"
    monkeypatch.setattr(data, "_writable", lambda folder: False)
    with pytest.raises(OSError, match="set COURSE_CACHE"):
        data.cache_folder()


def test_a_file_in_the_place_of_the_folder_is_not_writable(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert not data._writable(tmp_path / "file")


def test_each_shipped_file_is_listed_with_its_checksum():
    text = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}.npz`" in text and sha256 in text for name, sha256 in data.SHA256.items())
    folder = data.FOLDER / "weights"
    sums = {f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in folder.glob("*.npz")}
    assert sums == set((folder / "SHA256SUMS").read_text().splitlines())


# -- benchmarks/data.py ------------------------------------------------------------------------------------------


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes() + values.tobytes()


@given(st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_read_idx_gives_back_what_was_packed(shape):
    values = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    assert np.array_equal(bench.read_idx(idx(values)), values)


@pytest.mark.parametrize("content", [b"", b"\0\0\x09\x01", b"\0\0\x08\x01\0\0\0\x05abc", b"\x1f\x8b\x08\0rest"])
def test_read_idx_refuses_what_is_no_idx_file(content):
    with pytest.raises(ValueError, match=r"IDX file|header promises"):
        bench.read_idx(content)


def test_bench_data_writes_the_same_bytes_and_refuses_altered_sources(tmp_path, monkeypatch, capsys):
    """With small files of our own: the genuine ones are 53 MB and lie elsewhere."""
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    checksums = {}
    for part, file in bench.FILES.items():
        content = idx(np.arange(12, dtype=np.uint8).reshape((3, 2, 2) if part.endswith("images") else (12,)))
        zipped = part == "test_images"
        (source / (f"{file}.gz" if zipped else file)).write_bytes(gzip.compress(content) if zipped else content)
        checksums[part] = hashlib.md5(content).hexdigest()
    monkeypatch.setattr(bench, "MD5", {"mnist": checksums, "fashion_mnist": checksums})
    arguments = [str(source), str(source), "--out", str(out)]
    assert bench.main(arguments) == 1, "other pictures than those of utils/data.py"
    first = (out / "mnist.npz").read_bytes()
    bench.main(arguments)
    assert (out / "mnist.npz").read_bytes() == first == (out / "fashion_mnist.npz").read_bytes()
    assert hashlib.sha256(first).hexdigest() in capsys.readouterr().out
    (source / bench.FILES["train_labels"]).write_bytes(idx(np.zeros(12, np.uint8)))
    with pytest.raises(SystemExit, match="is not the file of mnist: MD5"):
        bench.main(arguments)
    (source / bench.FILES["train_labels"]).unlink()
    with pytest.raises(SystemExit, match=r"neither .* is there"):
        bench.main(arguments)


def test_the_checksums_of_the_code_are_those_of_the_files():
    found = {name: hashlib.sha256((data.FOLDER / f"{name}.npz").read_bytes()).hexdigest() for name in data.SHA256}
    assert found == data.SHA256


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 1, -1], r"y_val has labels from -1 to 1, class_names 2 names; pass labels from 0 to 1"),
        ([0, 1, 2], r"y_val has labels from 0 to 2, class_names 2 names"),
        ([0.0, 1.0, 1.0], r"y_val is float64 of shape \(3,\); pass whole numbers of shape \(n,\)"),
        ([True, False, True], r"y_val is bool"),
        (np.eye(3, 2, dtype=int), r"y_val is int64 of shape \(3, 2\); .* one-hot rows y.argmax\(axis=1\)"),
        ([0, 1], r"x_val has 3 pictures but y_val has 2 labels"),
    ],
)
def test_labels_are_numbers_of_the_classes_one_a_picture(labels, said):
    x, y = np.zeros((3, 2, 2, 1), np.float32), np.array([0, 1, 1])
    with pytest.raises(ValueError, match=said):
        data.Dataset("own", x, y, x, np.asarray(labels), x, y, ("a", "b"))
    assert data.Dataset("own", x, y, x[:0], y[:0], x, y, ("a", "b")).num_classes == 2
