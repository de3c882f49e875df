"""Would XNNPACK compute a .tflite file's convolutions with their zeros skipped?  The conditions that its source names.

    for row in xnnpack.report(content):
        print(row["condition"], row["met"], row["where"])

From google/XNNPACK (commit 75db3c0, 21 August 2026): src/subgraph.c, xnn_check_nchw_compatibility and
xnn_subgraph_rewrite_for_nchw; src/subgraph/convolution-2d.c ("same" padding is resolved at stride 1 only);
src/xnnpack/hardware-config.h, xnn_is_chw_compatible_config.  They are about a chain of operators that begins with a
3×3 convolution of stride 2 and ends where pixels are averaged or moved into space; the file decides all but the last
of them, the processor.  Told by the file's operators, so a network that meets them may still run dense.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from utils import tflite_file
from utils.optimize.sparsity import stored
from utils.tflite_file import Operator

__all__ = ["report", "this_processor"]

_SAME, _VALID = 0, 1  # schema.fbs, Padding
_FLOATS = ("float32", "float16")
#: Operators of one input that LiteRT's delegate hands to XNNPACK; in the chain any of them may stand.
_UNARY = {
    "ABS", "CEIL", "COS", "ELU", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOG", "LOGISTIC", "NEG", "RELU",
    "RELU6", "RELU_N1_TO_1", "ROUND", "RSQRT", "SIN", "SQRT", "SQUARE", "TANH",
}  # fmt: skip
_INSIDE = _UNARY | {"CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MUL", "RESIZE_BILINEAR", "MEAN"}
#: Folded or moved away before XNNPACK looks.
_BETWEEN = {"PAD", "DENSIFY", "DEQUANTIZE"}


def report(content: bytes) -> list[dict[str, Any]]:
    """One row a condition: what it is, whether the file meets it, and the first operator that does not.

    Raises ArtifactError for bytes that are no .tflite file, or a damaged one; TypeError for what is no bytes.
    """
    content = tflite_file.as_bytes(content)
    file = tflite_file.File(content)
    operators = [operator for operator in file.operators() if operator.subgraph == 0]
    sparse = stored.sparse_weights(content)
    dense = {weight.name: weight.dense for weight in sparse}
    with tflite_file.damage_explained():
        chain, end = _chain(file, operators)
        first = next((operator for operator in operators if operator.name == "CONV_2D"), None)
        convolutions = ([first] if first else []) + chain
        return [
            _row("the file stores weights sparsely (the hint)", bool(sparse), "no sparse weight"),
            _row("its convolutions compute in float32 or float16", *_all(convolutions, _is_float)),
            _row(
                "the first convolution is 3×3, stride 2, padding 1 each side, on 3 channels",
                *_stem(file, operators, first),
            ),
            _row("every other convolution is 1×1, stride 1, undilated", *_all(chain, _point(operators))),
            _row(
                "depthwise: 3×3 or 5×5, stride 1 or 2, equal padding on all sides",
                *_all(chain, _depthwise(file, operators)),
            ),
            _row(
                "up to a mean over pixels or DEPTH_TO_SPACE: add, multiply, activations, resizing",
                *_inside(file, operators, chain, end),
            ),
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


def _chain(file: tflite_file.File, operators: list[Operator]) -> tuple[list[Operator], Operator | None]:
    """What stands behind the first convolution and before the operator that ends the chain, and that operator."""
    numbers = range(len(operators))
    begin = next((n for n in numbers if operators[n].name == "CONV_2D"), len(operators))
    ends = [n for n in numbers if n > begin and _ends(file, operators[n])]
    stop = ends[-1] if ends else len(operators)
    inside = [operator for operator in operators[begin + 1 : stop] if operator.name not in _BETWEEN]
    return inside, operators[stop] if ends else None


def _ends(file: tflite_file.File, operator: Operator) -> bool:
    return operator.name == "DEPTH_TO_SPACE" or _is_mean_over_pixels(file, operator)


def _is_mean_over_pixels(file: tflite_file.File, operator: Operator) -> bool:
    if operator.name != "MEAN" or len(operator.inputs[0].shape) != 4 or not operator.inputs[1].constant:
        return False
    return sorted(int(axis) % 4 for axis in file.values(operator.inputs[1]).ravel()) == [1, 2]


def _is_float(operator: Operator) -> bool:
    if operator.name not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return True
    return operator.outputs[0].dtype in _FLOATS and operator.inputs[1].dtype in _FLOATS


def _kernel(operator: Operator) -> tuple[int, int]:
    """Height and width: weights are (outputs, height, width, inputs) or (1, height, width, channels)."""
    return operator.inputs[1].shape[1:3]


def _strides(operator: Operator) -> tuple[int, int]:
    return operator.options.strideH, operator.options.strideW


def _dilated(operator: Operator) -> bool:
    return (operator.options.dilationHFactor, operator.options.dilationWFactor) != (1, 1)


def _grouped(operator: Operator) -> bool:
    return operator.inputs[0].shape[3] != operator.inputs[1].shape[3]


def _stem(file: tflite_file.File, operators: list[Operator], first: Operator | None) -> tuple[bool, str]:
    if first is None:
        return False, "no convolution"
    plain = _kernel(first) == (3, 3) and _strides(first) == (2, 2) and not _dilated(first) and not _grouped(first)
    met = plain and first.inputs[1].shape[3] == 3 and _padded(file, operators, first, 1)
    return met, f"operator {first.index}, {first.name}"


def _padding_before(operators: list[Operator], operator: Operator) -> Operator | None:
    before = next((o for o in operators if o.outputs[0].index == operator.inputs[0].index), None)
    return before if before is not None and before.name == "PAD" else None


def _padded(file: tflite_file.File, operators: list[Operator], operator: Operator, wide: int) -> bool:
    """Padding of `wide` on each side: by a PAD in front, or by "same" at stride 1, which XNNPACK resolves."""
    pad = _padding_before(operators, operator)
    if pad is not None:
        wanted = [[0, 0], [wide, wide], [wide, wide], [0, 0]]
        return operator.options.padding == _VALID and file.values(pad.inputs[1]).tolist() == wanted
    return operator.options.padding == _SAME and _strides(operator) == (1, 1)


def _point(operators: list[Operator]) -> Callable[[Operator], bool]:
    def plain(operator: Operator) -> bool:
        if operator.name != "CONV_2D":
            return True
        shape = _kernel(operator) == (1, 1) and _strides(operator) == (1, 1)
        unpadded = _padding_before(operators, operator) is None
        return shape and unpadded and not _dilated(operator) and not _grouped(operator)

    return plain


def _depthwise(file: tflite_file.File, operators: list[Operator]) -> Callable[[Operator], bool]:
    def plain(operator: Operator) -> bool:
        if operator.name != "DEPTHWISE_CONV_2D":
            return True
        kernel, steps = _kernel(operator), _strides(operator)
        shape = kernel in ((3, 3), (5, 5)) and steps in ((1, 1), (2, 2)) and not _dilated(operator)
        return shape and operator.options.depthMultiplier == 1 and _padded(file, operators, operator, kernel[0] // 2)

    return plain


def _inside(
    file: tflite_file.File, operators: list[Operator], chain: list[Operator], end: Operator | None
) -> tuple[bool, str]:
    if end is None:
        return False, "no operator ends it"
    met, where = _all(chain, lambda operator: _may_be_inside(file, operator))
    if not met:
        return met, where
    own = {operator.index for operator in (*chain, end)}
    given_back = set(file.subgraphs[0].OutputsAsNumpy().tolist())
    for operator in chain:
        outputs = {tensor.index for tensor in operator.outputs}
        readers = [o for o in operators if outputs & {tensor.index for tensor in o.inputs}]
        if outputs & given_back or any(o.index not in own and o.name not in _BETWEEN for o in readers):
            return False, f"operator {operator.index}, {operator.name}, is read outside of it"
    return True, ""


def _may_be_inside(file: tflite_file.File, operator: Operator) -> bool:
    shape = operator.inputs[0].shape
    if operator.name not in _INSIDE or len(shape) != 4:
        return False
    if operator.name == "MEAN":
        return _is_mean_over_pixels(file, operator)
    if operator.name == "RESIZE_BILINEAR":
        return min(shape[1:3]) > 1
    if operator.name in ("ADD", "MUL"):
        return all(len(t.shape) == 4 and (not t.constant or sum(n > 1 for n in t.shape) < 2) for t in operator.inputs)
    return True


def _zeros(file: tflite_file.File, chain: list[Operator], dense: dict[str, np.ndarray]) -> tuple[bool, str]:
    """Of 1×1 convolutions only: the source counts dense layers behind the mean, too; LiteRT 2.3, measured, does not."""
    points = [operator for operator in chain if operator.name == "CONV_2D" and _kernel(operator) == (1, 1)]
    arrays = [_weights(file, operator, dense) for operator in points]
    total = sum(array.size for array in arrays)
    zeros = sum(int(np.count_nonzero(array == 0)) for array in arrays)
    return 3 * zeros > 2 * total, f"{zeros:,} of {total:,} are zero"


def _weights(file: tflite_file.File, operator: Operator, dense: dict[str, np.ndarray]) -> np.ndarray:
    """The weights of a convolution, found behind DENSIFY and DEQUANTIZE."""
    tensor = operator.inputs[1]
    by_output = {o.outputs[0].index: o.inputs[0] for o in file.operators() if o.name in ("DENSIFY", "DEQUANTIZE")}
    for _ in range(2):  # one of each; a damaged file may go round in a circle
        tensor = by_output.get(tensor.index, tensor)
    if tensor.sparse:
        return dense[tensor.name]
    return file.values(tensor) if tensor.constant else np.ones(tensor.shape)
