"""A folder of one's own pictures, one sub-folder a class, as a `data.Dataset`: what cannot be used is named, not fatal.

    found = pictures.from_folder("my_pictures", 96)   # my_pictures/cat/*.jpg, my_pictures/dog/*.png, ...
    print(found)                                      # what was left out and what was changed, and why
    found.dataset

Files are opened in child processes with limited time and memory, since a damaged or malicious picture may crash a
decoder.  A picture's format is read from its contents; its name is not believed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils import SEED, child, data

#: Files a child process reads; a crash costs one more process for each of them.
BATCH = 64
#: Pictures of more pixels are not opened: 64 million take 192 MB as RGB.
MOST_PIXELS = 64_000_000
#: A side below this holds no shape that a network for photographs could see.
SMALLEST_SIDE = 8
#: Folders that hold parts of a data set in many archives, and no classes.
PARTS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing", "eval", "evaluation")
#: What operating systems leave behind.
_CLUTTER = ("thumbs.db", "desktop.ini", "__macosx", "@eadir")
_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".gif": "GIF", ".bmp": "BMP", ".tif": "TIFF"}
_FORMATS |= {".tiff": "TIFF", ".webp": "WEBP"}


@dataclass(frozen=True)
class Found:
    """What a folder held.

    dataset: float32 in [0, 1], (n, size, size, 3); classes are the sub-folders in alphabetical order.
    left_out: file, relative to the folder -> why it is not in the data set.
    changed: file -> what was done to it, such as "turned as its EXIF data say".
    """

    dataset: data.Dataset
    left_out: Mapping[str, str]
    changed: Mapping[str, str]

    def __str__(self) -> str:
        lines = [repr(self.dataset)]
        lines += [f"left out  {name}: {why}" for name, why in self.left_out.items()]
        lines += [f"changed   {name}: {how}" for name, how in self.changed.items()]
        return "\n".join(lines).encode("utf-8", "backslashreplace").decode()  # a name may be no text at all


def from_folder(
    folder: str | Path, size: int = 96, *, validation: float = 0.2, test: float = 0.2, seed: int = SEED
) -> Found:
    """Read FOLDER/CLASS/PICTURE: a square from the middle of each picture, resized to size x size, in RGB.

    folder: with one sub-folder a class, at least two.
    size: side in pixels, 8 to 1024.
    validation, test: fraction of each class's pictures for these parts, 0 up to but not 1 together; at least one
        picture a class where it is above 0.
    seed: which ones.

    Equal pictures are taken once, so that none is in two parts.  Hidden files and folders, those whose names begin with
    a dot, are passed over.
    Raises ValueError or FileNotFoundError for a folder, a class with too few pictures or arguments that do not fit.
    """
    folder = Path(folder)
    _check_arguments(size, validation, test, seed)
    size = int(size)
    classes = _classes(folder)
    odd: dict[Path, str] = {}
    files = {path: label for label, name in enumerate(classes) for path in _files(folder / name, odd)}
    left_out, changed = _outside(folder, classes), {}
    left_out |= {path.relative_to(folder).as_posix(): why for path, why in odd.items()}
    kept: list[np.ndarray] = []
    labels: list[int] = []
    first: dict[str, str] = {}
    for path, answer in _decoded(list(files), size):
        name = path.relative_to(folder).as_posix()
        if "problem" in answer:
            left_out[name] = answer["problem"]
            continue
        pixels = base64.b64decode(answer["pixels"])
        twin = first.setdefault(hashlib.sha256(pixels).hexdigest(), name)
        if twin != name:
            left_out[name] = f"is the same picture as {twin}"
            continue
        if answer["changed"]:
            changed[name] = ", ".join(answer["changed"])
        kept.append(np.frombuffer(pixels, np.uint8).reshape(size, size, 3))
        labels.append(files[path])
    y = np.asarray(labels, np.int32)
    parts = _parts(y, classes, validation, test, seed, left_out)
    x = np.stack(kept).astype(np.float32) / np.float32(255)
    arrays = {f"{a}_{part}": array[chosen] for part, chosen in parts.items() for a, array in (("x", x), ("y", y))}
    return Found(data.Dataset(folder.name, **arrays, class_names=tuple(classes)), left_out, changed)


def _check_arguments(size: object, validation: object, test: object, seed: object) -> None:
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or not 8 <= size <= 1024:
        raise ValueError(f"size is {size!r}; pass a whole number of pixels from 8 to 1024, such as 96")
    for name, value in (("validation", validation), ("test", test)):
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value < 1:
            raise ValueError(f"{name} is {value!r}; pass a fraction of the pictures, such as 0.2")
    if validation + test >= 1:
        raise ValueError(f"validation {validation} and test {test} leave nothing to train on; pass 0.2 each")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed is {seed!r}; pass a whole number of at least 0")


def _classes(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"there is no folder {folder}; pass one that holds a sub-folder of pictures for each class"
        )
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not _is_clutter(path))
    if names and {name.lower() for name in names} <= set(PARTS):
        raise ValueError(
            f"the sub-folders of {folder} are {', '.join(names)}: parts, and no classes. Pass each part by itself, "
            f'such as from_folder("{folder / names[0]}", validation=0, test=0), with one sub-folder a class'
        )
    if len(names) < 2:
        raise ValueError(
            f"{folder} has {len(names)} sub-folders; make one for each class, at least two, and put its pictures there "
            f"({folder}/cat/…, {folder}/dog/…)"
        )
    return names


def _files(folder: Path, odd: dict[Path, str]) -> list[Path]:
    """All files below a class's folder, in the order of their names; `odd` gets what is there and is no file."""
    try:
        entries = [(path, path.is_file()) for path in sorted(folder.iterdir()) if not _is_clutter(path)]
    except OSError as error:
        odd[folder] = f"could not be opened ({error.strerror}); see whether you may read it"
        return []
    found: list[Path] = []
    for path, is_file in entries:
        if is_file:
            found.append(path)
        elif path.is_dir() and not path.is_symlink():
            found += _files(path, odd)
        else:
            odd[path] = "is a link to a folder or to nothing, or no file at all; put the pictures themselves there"
    return found


def _is_clutter(path: Path) -> bool:
    return path.name.startswith(".") or path.name.lower() in _CLUTTER


def _outside(folder: Path, classes: list[str]) -> dict[str, str]:
    loose = sorted(path.name for path in folder.iterdir() if path.is_file() and not _is_clutter(path))
    return dict.fromkeys(loose, f"lies beside the classes; move it into one of {', '.join(classes[:5])}")


def _parts(y: np.ndarray, classes: list[str], validation: float, test: float, seed: int, left_out: Mapping) -> dict:
    """Which pictures belong to "train", "val" and "test": drawn class by class."""
    least = 1 + (validation > 0) + (test > 0)
    counts = np.bincount(y, minlength=len(classes))
    few = [f"{name!r} has {count}" for name, count in zip(classes, counts, strict=True) if count < least]
    if few:
        example = next((f" (left out: {name}: {why})" for name, why in left_out.items()), "")
        raise ValueError(f"too few usable pictures: {', '.join(few)}; each class needs at least {least}{example}")
    rng = np.random.default_rng(seed)
    chosen: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for label in range(len(classes)):
        shuffled = rng.permutation(np.flatnonzero(y == label))
        n_val, n_test = (max(1, round(share * len(shuffled))) if share else 0 for share in (validation, test))
        excess = max(0, n_val + n_test - (len(shuffled) - 1))
        n_val, n_test = (n_val - excess, n_test) if n_val > n_test else (n_val, n_test - excess)
        chosen["val"] += list(shuffled[:n_val])
        chosen["test"] += list(shuffled[n_val : n_val + n_test])
        chosen["train"] += list(shuffled[n_val + n_test :])
    return {part: np.sort(np.asarray(numbers, int)) for part, numbers in chosen.items()}


# -- in the child ------------------------------------------------------------------------------------------------


def _decoded(paths: list[Path], size: int) -> Iterator[tuple[Path, dict]]:
    """Each path with {"pixels", "changed"} or {"problem"}; one that kills its process takes no other with it."""
    for start in range(0, len(paths), BATCH):
        batch = paths[start : start + BATCH]
        try:
            yield from zip(batch, _in_child(batch, size), strict=True)
        except child.ChildError:
            for path in batch:
                yield path, _alone(path, size)


def _alone(path: Path, size: int) -> dict:
    try:
        return _in_child([path], size)[0]
    except child.ChildError as error:
        return {"problem": f"could not be read: {error}"}


def _in_child(paths: list[Path], size: int) -> list[dict]:
    payload = json.dumps([str(path.resolve()) for path in paths]).encode()
    return child.run("utils.pictures:decode_files", payload, options={"size": size}, timeout=20 + 2 * len(paths))


def decode_files(payload: bytes, size: int) -> list[dict]:
    """What the child process answers for a JSON list of paths: see `_decoded`."""
    return [_one(Path(path), size) for path in json.loads(payload)]


def _one(path: Path, size: int) -> dict:
    from PIL import Image, UnidentifiedImageError

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MOST_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                return _square(picture, path.suffix.lower(), size)
    except UnidentifiedImageError:
        return {"problem": "is no picture that Pillow can read; export it as JPEG or PNG"}
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return {"problem": f"has more than {MOST_PIXELS:,} pixels; make it smaller first"}
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError) as error:
        if getattr(error, "errno", None):  # the system's word, not the decoder's
            return {"problem": f"could not be opened ({error.strerror}); see whether you may read it"}
        return {"problem": f"is damaged ({error}); export it again"}
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _square(picture, suffix: str, size: int) -> dict:
    """Turn, reduce to 8-bit RGB, cut the middle square, resize; and say what was out of the ordinary."""
    from PIL import Image, ImageOps

    changed = []
    if suffix in _FORMATS and picture.format not in (_FORMATS[suffix], "MPO"):
        changed.append(f"is a {picture.format} in spite of its name, read as such")
    if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":
        changed.append(f"only the first of {picture.n_frames} frames taken")
        picture.seek(0)
    picture.load()
    if picture.getexif().get(0x0112) in range(2, 9):
        picture = ImageOps.exif_transpose(picture)
        changed.append("turned as its EXIF data say")
    picture = _rgb(picture, changed)
    side = min(picture.size)
    if side < SMALLEST_SIDE:
        return {"problem": f"has {picture.width}×{picture.height} pixels; pass one of at least {SMALLEST_SIDE} a side"}
    if side < size:
        changed.append(f"enlarged from {picture.width}×{picture.height} pixels")
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return {"pixels": base64.b64encode(square.tobytes()).decode(), "changed": changed}


def _rgb(picture, changed: list[str]):
    """Eight bits and three channels, whatever it was."""
    from PIL import Image

    if picture.mode.startswith("I"):  # 16 bits: Pillow's own conversion would cut off all above 255
        values = np.asarray(picture).astype(np.float64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"its pixels run from {values.min():g} to {values.max():g}, which no 16 bits hold")
        top = 65535 if values.max() > 255 else 255
        changed.append(f"16-bit grey, divided by {top // 255}")
        picture = Image.fromarray(np.clip(np.rint(values * 255 / top), 0, 255).astype(np.uint8))
    elif picture.mode == "F":
        raise ValueError("its pixels are floating-point numbers without a known range")
    elif picture.mode == "CMYK":
        changed.append("CMYK converted to RGB without its colour profile")
    if picture.has_transparency_data:
        changed.append("transparent parts made white")
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")
