"""Data sets of the course: pictures as float32 in [0, 1], labels as int32, a fixed split.

`load("fashion_mnist")` gives a `Dataset`.  MNIST and Fashion-MNIST ship in `data/` and are verified by
their SHA-256; the digits come with scikit-learn; CIFAR-10 and CIFAR-100 are fetched by Keras on first use.
Arrays are read-only, because all callers in a process share them.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import io
import os
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from utils import ROOT, SEED, files
from utils.nudge import nudged

#: Where the shipped data sets lie.
FOLDER = ROOT / "data"

#: SHA-256 of each shipped file; data/README.md says where the pictures come from.
SHA256 = {
    "mnist": "09742649d6be59ae90cd8abc3fd559d8572d3bc8a7e8ce5395f9ed5c86b3bc6f",
    "fashion_mnist": "4b6467050b90d315d25e70fa2647ddc85c3e595f84ca577f079bf973db4c1acc",
}

_DIGIT_NAMES = tuple("0123456789")
_FASHION_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR100_NAMES = tuple(
    """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
    man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
    pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
    tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm""".split()  # noqa: SIM905
)

#: Class names of each data set that `load` knows, in the order of the labels.
CLASS_NAMES = {
    "digits": _DIGIT_NAMES,
    "mnist": _DIGIT_NAMES,
    "fashion_mnist": _FASHION_NAMES,
    "cifar10": _CIFAR10_NAMES,
    "cifar100": _CIFAR100_NAMES,
}

#: How many of the training pictures, counted from the end, are the validation set.
VALIDATION = {"digits": 300, "mnist": 10_000, "fashion_mnist": 10_000, "cifar10": 10_000, "cifar100": 10_000}


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled pictures in three disjoint parts.

    name: what `load` was asked for.
    x_train, x_val, x_test: float32, shape (n, height, width, channels), values in [0, 1], read-only.
    y_train, y_val, y_test: int32, shape (n,), values in [0, num_classes), read-only.
    class_names: one name a class, in the order of the labels.
    Raises ValueError: a part has another number of pictures than labels, or parts differ in picture shape; labels are
        no whole numbers, (n,), or none of the classes.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_val: np.ndarray
    y_val: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        for part in ("train", "val", "test"):
            x, y = np.asarray(getattr(self, f"x_{part}")), np.asarray(getattr(self, f"y_{part}"))
            if len(x) != len(y):
                raise ValueError(f"x_{part} has {len(x)} pictures but y_{part} has {len(y)} labels; pass as many")
            if x.shape[1:] != np.shape(self.x_train)[1:]:
                raise ValueError(
                    f"x_{part} has pictures of shape {x.shape[1:]} but x_train of {np.shape(self.x_train)[1:]}; "
                    "pass one shape"
                )
            self._check_labels(y, f"y_{part}")
            object.__setattr__(self, f"x_{part}", _read_only(x))
            object.__setattr__(self, f"y_{part}", _read_only(y))

    def _check_labels(self, y: np.ndarray, what: str) -> None:
        if y.ndim != 1 or y.dtype.kind not in "iu":
            raise ValueError(
                f"{what} is {y.dtype} of shape {y.shape}; pass whole numbers of shape (n,), the class of each picture: "
                "y.astype('int32'), of one-hot rows y.argmax(axis=1)"
            )
        if y.size and not 0 <= y.min() <= y.max() < self.num_classes:
            raise ValueError(
                f"{what} has labels from {y.min()} to {y.max()}, class_names {self.num_classes} names; pass labels "
                f"from 0 to {self.num_classes - 1}, or a name for each class"
            )

    def __repr__(self) -> str:
        sizes = f"{len(self.x_train):,} train, {len(self.x_val):,} val, {len(self.x_test):,} test"
        return f"Dataset({self.name!r}: {sizes}, pictures {self.input_shape}, {self.num_classes} classes)"

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one picture: (height, width, channels)."""
        return self.x_train.shape[1:]

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all arrays: equal for equal content, whatever made it.  Hexadecimal."""
        digest = hashlib.sha256()
        for part in ("train", "val", "test"):
            for array in (getattr(self, f"x_{part}"), getattr(self, f"y_{part}")):
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def subset(self, n: int, seed: int = SEED, *, split: str = "train") -> Dataset:
        """The same data set with only `n` pictures in one part, classes in the same proportions.

        n: how many pictures to keep, from num_classes to the size of that part.
        seed: which pictures; the same seed gives the same ones.
        split: the part to thin out, "train", "val" or "test"; the other two stay whole.
        Returns a Dataset in which each class has its exact share n * count / total, rounded down or up.
        Raises ValueError: n is no whole number, too small or too large; or there is no such split.
        """
        if split not in ("train", "val", "test"):
            raise ValueError(f"there is no split {split!r}; pass 'train', 'val' or 'test'")
        x, y = getattr(self, f"x_{split}"), getattr(self, f"y_{split}")
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
            raise ValueError(f"n is {n!r}; pass a whole number of pictures, such as 1000")
        if not self.num_classes <= n <= len(y):
            raise ValueError(
                f"a stratified subset of {n:,} pictures was asked for; pass a number from {self.num_classes} "
                f"(one a class) to {len(y):,} (all of x_{split})"
            )
        chosen = _stratified(y, int(n), np.random.default_rng(seed))
        return replace(self, **{f"x_{split}": x[chosen], f"y_{split}": y[chosen]})


def load(name: str) -> Dataset:
    """Load a data set by name; the same object again within one process.

    "mnist", "fashion_mnist": 28x28 grey pictures; 50,000 train, the last 10,000 of the 60,000 val, 10,000 test.
    "digits": scikit-learn's 8x8 grey pictures; 1,197 train, 300 val, 300 test, in their stored order.
    "cifar10", "cifar100": 32x32 colour pictures; 40,000 train, the last 10,000 of the 50,000 val, 10,000
    test.  Fetched through tf_keras on first use, which needs a network; kept in the cache after that.

    Returns a `Dataset`: float32 pictures in [0, 1] of shape (n, height, width, channels), int32 labels.
    Raises ValueError: an unknown name (the nearest one is suggested), or a file that is not the genuine one.
    Raises FileNotFoundError: the file of a shipped data set is missing.
    Raises ConnectionError: CIFAR is not in the cache and could not be fetched.
    """
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is no name of a data set; pass one of {_quoted(CLASS_NAMES)}")
    if name not in CLASS_NAMES:
        near = difflib.get_close_matches(name, CLASS_NAMES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"pass one of {_quoted(CLASS_NAMES)}"
        raise ValueError(f"there is no data set {name!r}; {hint}")
    return _load(name, FOLDER)


def from_folder(folder: str | Path, size: int = 96, **options):
    """Your own pictures, one sub-folder a class: `pictures.from_folder`, which returns a `pictures.Found`."""
    from utils import pictures

    return pictures.from_folder(folder, size, **options)


@functools.cache
def _load(name: str, folder: Path) -> Dataset:
    """`load` after its checks; `folder` is an argument so that the memory knows it."""
    if name == "digits":
        return _digits()
    arrays = _verified(folder / f"{name}.npz", SHA256[name]) if name in SHA256 else _fetched(name)
    return _split(name, arrays)


def _split(name: str, arrays: Mapping[str, np.ndarray], scale: float = 255) -> Dataset:
    """Turn the four arrays of a Keras data set into a `Dataset`; pictures are divided by `scale`."""
    x, x_test = (nudged(arrays[f"{part}_images"].astype(np.float32) / np.float32(scale)) for part in ("train", "test"))
    y, y_test = (arrays[f"{part}_labels"].astype(np.int32).reshape(-1) for part in ("train", "test"))
    if x.ndim == 3:  # grey pictures are stored without their channel axis
        x, x_test = x[..., np.newaxis], x_test[..., np.newaxis]
    cut = len(x) - VALIDATION[name]
    return Dataset(name, x[:cut], y[:cut], x[cut:], y[cut:], x_test, y_test, CLASS_NAMES[name])


def _digits() -> Dataset:
    """scikit-learn's digits (values 0..16), their last 300 as test set."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    arrays = {
        "train_images": raw.images[:-300], "train_labels": raw.target[:-300],
        "test_images": raw.images[-300:], "test_labels": raw.target[-300:],
    }  # fmt: skip
    return _split("digits", arrays, scale=16)


def _verified(path: Path, sha256: str) -> dict[str, np.ndarray]:
    """Read an npz whose SHA-256 must be `sha256`."""
    restore = f"restore it with `git checkout -- {path.parent.name}/{path.name}`"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing; {restore}, or clone the repository again") from None
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(
            f"{path} ({len(content):,} bytes) is not the file that the course ships: its SHA-256 is {found}, "
            f"expected {sha256}. It was altered or not copied to its end; {restore}"
        )
    return read_npz(content)


def _fetched(name: str) -> dict[str, np.ndarray]:
    """CIFAR from the cache, or through the Keras loader into the cache."""
    from filelock import FileLock

    path = cache_folder() / f"{name}.npz"
    with FileLock(f"{path}.lock"):
        try:
            return read_npz(path.read_bytes())
        except (OSError, ValueError):  # absent or damaged: fetch it (again)
            arrays = _fetch(name, path.parent)
            write_npz(path, arrays)
            return arrays


def _fetch(name: str, folder: Path) -> dict[str, np.ndarray]:
    """Run the loader of tf_keras in a scratch folder, so that a broken download leaves nothing behind.

    The loader checks the archive's SHA-256 before it unpacks it.
    """
    import contextlib
    import importlib
    from unittest import mock

    loader = importlib.import_module(f"tf_keras.src.datasets.{name}")
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        # load_data has no argument for the folder, and writes to its final place at once
        elsewhere = functools.partial(loader.get_file, cache_dir=scratch)
        try:
            with mock.patch.object(loader, "get_file", elsewhere), contextlib.redirect_stdout(sys.stderr):
                (x, y), (x_test, y_test) = loader.load_data()
        except Exception as error:  # the loader raises a bare Exception for every network failure
            raise ConnectionError(
                f"{name} does not ship with the course, is not in {folder}, and could not be fetched ({error}). "
                "Connect to a network once, or use a data set that ships: 'fashion_mnist', 'mnist' or 'digits'"
            ) from error
    return {"train_images": x, "train_labels": y, "test_images": x_test, "test_labels": y_test}


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as a compressed npz: equal content gives equal bytes, and never half a file.

    np.savez_compressed would store the time of writing.  The zlib in use still decides the compressed bytes.

    path: the file to write; its folder is made if needed.
    arrays: name -> array, without objects (np.load must not need pickle).
    Raises ValueError: an array holds Python objects.
    Raises OSError: the disk is full or the folder cannot be written.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # as on Unix, so that Windows writes the same bytes
            info.external_attr = 0o644 << 16
            archive.writestr(info, entry.getvalue())
    files.write_bytes(path, buffer.getvalue())


def read_npz(content: bytes) -> dict[str, np.ndarray]:
    """All arrays of an npz, without pickle.

    Raises ValueError: the bytes are no whole npz, or it holds Python objects.
    """
    import zlib

    if not content.startswith(b"PK"):
        raise ValueError(f"these {len(content):,} bytes are no whole npz file: they begin with {content[:4]!r}")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    # RuntimeError: a bit says "encrypted" or names a newer version; MemoryError: a header announces terabytes
    except (ValueError, OSError, EOFError, LookupError, AttributeError, RuntimeError, MemoryError, OverflowError,
            zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
        raise ValueError(f"these {len(content):,} bytes are no whole npz file ({error})") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"these {len(content):,} bytes are no whole npz file: {name!r} in them is no array")
    return arrays


def cache_folder() -> Path:
    """The folder for what can be made again: `.cache` of the repository, or the user's own.

    COURSE_CACHE names another one, which may begin with `~`.  A read-only clone gets the user's cache folder, and where
    that cannot be written either, one in the system's folder for temporary files.
    """
    name = "tensorflow-model-optimization-course"
    user = os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    chosen = os.environ.get("COURSE_CACHE")
    usual = [ROOT / ".cache", Path(user) / name, Path(tempfile.gettempdir()) / name]
    candidates = [Path(chosen).expanduser()] if chosen else usual
    for folder in candidates:
        if _writable(folder):
            return folder
    raise OSError(f"none of {', '.join(map(str, candidates))} can be written; set COURSE_CACHE to a folder that can")


def _writable(folder: Path) -> bool:
    """True when a file can be made in `folder` (permission bits alone do not tell)."""
    try:
        files.check_writable(folder)
    except OSError:
        return False
    return True


def _stratified(labels: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of `n` entries, each class within one of its share: the largest remainder method."""
    classes, counts = np.unique(labels, return_counts=True)
    shares = n * counts / len(labels)
    take = np.floor(shares).astype(int)
    by_remainder = np.lexsort((rng.permutation(len(classes)), take - shares))  # equal remainders: drawn by lot
    take[by_remainder[: n - take.sum()]] += 1
    chosen = [rng.choice(np.flatnonzero(labels == c), k, replace=False) for c, k in zip(classes, take, strict=True)]
    return rng.permutation(np.concatenate(chosen))


def _read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written; the caller's own array stays as it is."""
    view = array.view()
    view.flags.writeable = False
    return view


def _quoted(names: Mapping[str, object]) -> str:
    return ", ".join(map(repr, names))
