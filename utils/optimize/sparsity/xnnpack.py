"""Would XNNPACK compute a .tflite file's convolutions with their zeros skipped?  The conditions that its source names.

    for row in xnnpack.report(content):
        print(row["condition"], row["met"], row["where"])

From google/XNNPACK (commit 75db3c0, 21 August 2026): src/subgraph.c, xnn_check_nchw_compatibility and
xnn_subgraph_rewrite_for_nchw; src/xnnpack/hardware-config.h, xnn_is_chw_compatible_config.  They are about a chain of
operators that begins with a 3×3 convolution of stride 2 and ends where pixels are averaged; the file decides all
but the last of them, the processor.  Told by the file's operators, so a network that meets them may still run dense.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from utils import tflite_file
from utils.optimize.sparsity import stored
from utils.tflite_file import Operator

__all__ = ["report", "this_processor"]

_SAME, _VALID = 0, 1  # schema.fbs, Padding
#: Operators that the chain may hold beside convolutions.
_INSIDE = {"ADD", "MUL", "LOGISTIC", "RELU", "RELU6", "HARD_SWISH", "TANH", "ABS", "NEG", "SQUARE", "SQRT", "ELU"}
_ENDS = {"MEAN", "AVERAGE_POOL_2D", "DEPTH_TO_SPACE"}
#: Folded or moved away before XNNPACK looks.
_BETWEEN = {"PAD", "DENSIFY", "DEQUANTIZE"}


def report(content: bytes) -> list[dict[str, Any]]:
    """One row a condition: what it is, whether the file meets it, and the first operator that does not.

    Raises ArtifactError for bytes that are no .tflite file, or a damaged one.
    """
    file = tflite_file.File(bytes(content))
    operators = list(file.operators())
    sparse = stored.weights(content)
    dense = {weight.name: weight.dense for weight in sparse}
    chain = list(_chain(operators))
    return [
        _row("the file stores weights sparsely (the hint)", bool(sparse), "no sparse weight"),
        _row("convolutions compute in float32", *_all(operators, _is_float)),
        _row("the first convolution is 3×3, stride 2, padding 1 each side, on 3 channels", *_stem(file, operators)),
        _row("every 1×1 convolution has stride 1 and no dilation", *_all(chain, _point_is_plain)),
        _row("depthwise: 3×3 or 5×5, stride 1 or 2, equal padding on all sides", *_depthwise(file, operators, chain)),
        _row("up to the mean nothing else: add, multiply, activations", *_all(chain, _may_be_inside)),
        _row("more than two thirds of the 1×1 weights are zero", *_zeros(file, chain, dense)),
    ]


def this_processor() -> bool | None:
    """Whether XNNPACK has sparse kernels for this processor: Arm yes, x86 without AVX only; None if unknown."""
    machine = platform.machine().lower()
    if machine in ("arm64", "aarch64") or machine.startswith("arm"):
        return True
    if machine not in ("x86_64", "amd64", "i386", "i686"):
        return None
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
        flags = next(line for line in lines if line.startswith("flags"))
    except (OSError, StopIteration):
        return None
    return " avx " not in f"{flags.rstrip()} "


def _row(condition: str, met: bool, where: str = "") -> dict[str, Any]:
    return {"condition": condition, "met": met, "where": "" if met else where}


def _all(operators: list[Operator], test: Any) -> tuple[bool, str]:
    bad = next((operator for operator in operators if not test(operator)), None)
    return bad is None, "" if bad is None else f"operator {bad.index}, {bad.name}"


def _chain(operators: list[Operator]) -> Iterator[Operator]:
    """From behind the first convolution to the operator that ends the chain; all, if none does."""
    begun = False
    for operator in operators:
        if begun and operator.name in _ENDS:
            return
        if begun and operator.name not in _BETWEEN:
            yield operator
        begun = begun or operator.name == "CONV_2D"


def _is_float(operator: Operator) -> bool:
    if operator.name not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return True
    return operator.outputs[0].dtype == "float32" and operator.inputs[1].dtype in ("float32", "float16")


def _kernel(operator: Operator) -> tuple[int, int]:
    """Height and width: weights are (outputs, height, width, inputs) or (1, height, width, channels)."""
    return operator.inputs[1].shape[1:3]


def _strides(operator: Operator) -> tuple[int, int]:
    return operator.options.strideH, operator.options.strideW


def _dilated(operator: Operator) -> bool:
    return (operator.options.dilationHFactor, operator.options.dilationWFactor) != (1, 1)


def _stem(file: tflite_file.File, operators: list[Operator]) -> tuple[bool, str]:
    first = next((operator for operator in operators if operator.name == "CONV_2D"), None)
    if first is None:
        return False, "no convolution"
    plain = _kernel(first) == (3, 3) and _strides(first) == (2, 2) and not _dilated(first)
    met = plain and first.inputs[1].shape[3] == 3 and _padded(file, operators, first, 1)
    return met, f"operator {first.index}, {first.name}"


def _padded(file: tflite_file.File, operators: list[Operator], operator: Operator, wide: int) -> bool:
    """Padding of `wide` before and behind: by a PAD in front, or by "same" where that is what it comes to."""
    before = next((o for o in operators if o.outputs[0].index == operator.inputs[0].index), None)
    if before is not None and before.name == "PAD" and operator.options.padding == _VALID:
        return file.values(before.inputs[1]).tolist() == [[0, 0], [wide, wide], [wide, wide], [0, 0]]
    if operator.options.padding != _SAME:
        return False
    pairs = zip(operator.inputs[0].shape[1:3], _kernel(operator), _strides(operator), strict=True)
    return all(_same(*pair) == (wide, wide) for pair in pairs)


def _same(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and behind that TensorFlow's "same" adds."""
    outputs = -(-length // stride)
    total = max((outputs - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


def _point_is_plain(operator: Operator) -> bool:
    if operator.name != "CONV_2D":
        return True
    return _kernel(operator) == (1, 1) and _strides(operator) == (1, 1) and not _dilated(operator)


def _depthwise(file: tflite_file.File, operators: list[Operator], chain: list[Operator]) -> tuple[bool, str]:
    def plain(operator: Operator) -> bool:
        if operator.name != "DEPTHWISE_CONV_2D":
            return True
        kernel, steps = _kernel(operator), _strides(operator)
        shape = kernel in ((3, 3), (5, 5)) and steps in ((1, 1), (2, 2)) and not _dilated(operator)
        return shape and operator.options.depthMultiplier == 1 and _padded(file, operators, operator, kernel[0] // 2)

    return _all(chain, plain)


def _may_be_inside(operator: Operator) -> bool:
    return operator.name in _INSIDE | {"CONV_2D", "DEPTHWISE_CONV_2D"}


def _zeros(file: tflite_file.File, chain: list[Operator], dense: dict[str, np.ndarray]) -> tuple[bool, str]:
    arrays = []
    for operator in chain:
        if operator.name == "CONV_2D" and _kernel(operator) == (1, 1):
            arrays.append(_weights(file, operator, dense))
    total = sum(array.size for array in arrays)
    zeros = sum(int(np.count_nonzero(array == 0)) for array in arrays)
    return 3 * zeros > 2 * total, f"{zeros:,} of {total:,} are zero"


def _weights(file: tflite_file.File, operator: Operator, dense: dict[str, np.ndarray]) -> np.ndarray:
    """The weights of a convolution, found behind DENSIFY and DEQUANTIZE."""
    tensor = operator.inputs[1]
    by_output = {o.outputs[0].index: o for o in file.operators() if o.name in ("DENSIFY", "DEQUANTIZE")}
    while tensor.index in by_output:
        tensor = by_output[tensor.index].inputs[0]
    if tensor.sparse:
        return dense[tensor.name]
    return file.values(tensor) if tensor.constant else np.ones(tensor.shape)
