"""Quantized inference by hand: TF Lite's int8 reference kernels, written again in numpy.

Every layer here gives the same int8 numbers, bit for bit, as the kernels that the interpreter runs
with `OpResolverType.BUILTIN_REF`.  That is possible because the whole way is integer arithmetic:
int8 × int8 products, an int32 sum, and a multiplication by a fixed-point number instead of a float.

    y = zero_y + round( (scale_x · scale_w / scale_y) · Σ (x - zero_x) · w )       Jacob et al. 2018, eq. 4

numpy has no fast integer matrix product, but its float64 one calls BLAS, and it is exact here: a
product of a (signed 9 bit) input difference and an int8 weight is below 2^16, so a sum of up to 2^37 of
them stays below 2^53, where float64 still holds every whole number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.optimize.quantization.grid import quantize, round_half_away
from utils.quantization_parameters import QuantizationParameters

INT32_MAX = 2**31 - 1

#: Real-valued limits of the activation functions that a kernel fuses into its output clamp.
ACTIVATIONS = {None: (None, None), "relu": (0.0, None), "relu6": (0.0, 6.0), "relu_n1_to_1": (-1.0, 1.0)}

#: How many pictures a convolution unfolds at once: few enough that the patches stay in the CPU's cache.
_PICTURES_AT_ONCE = 64


# ---------------------------------------------------------------- requantization: fixed-point multiplication


def quantized_multiplier(real: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`real` ≈ multiplier · 2^(shift - 31), with a 31-bit multiplier: the form in which kernels hold it.

    real: one or many finite numbers, not negative.
    Returns (multiplier, shift): integer arrays of the same shape; multiplier is 0 or in
    [2^30, 2^31), so it carries 30 significant bits, whatever the size of `real`.
    Below about 2^-32 it is flushed to 0, as in TF Lite's `QuantizeMultiplier`.
    """
    real = np.asarray(real, np.float64)
    if not np.all(np.isfinite(real)) or np.any(real < 0):
        raise ValueError(f"a multiplier is a ratio of scales, so finite and not negative; got {real}")
    fraction, shift = np.frexp(real)
    multiplier = round_half_away(fraction * 2.0**31).astype(np.int64)
    overflow = multiplier == 2**31  # a fraction like 0.9999999999 rounds up to 1.0
    multiplier, shift = np.where(overflow, 2**30, multiplier), np.where(overflow, shift + 1, shift)
    vanishing = shift < -31
    return np.where(vanishing, 0, multiplier), np.where(vanishing, 0, shift).astype(np.int64)


def multiply_by_quantized_multiplier(x: np.ndarray, multiplier: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """round(x · multiplier · 2^(shift - 31)) without one floating-point operation.

    It rounds **twice**, as TF Lite's kernels do by default: once when the 64-bit product is cut to 32
    bits, once when the rest is shifted out.  Hence it may miss the exactly rounded value by 1.
    x: integers of the int32 range.  multiplier, shift: from `quantized_multiplier`, broadcast against x.
    Returns int64 values of the int32 range.
    """
    left, right = np.maximum(shift, 0), np.maximum(-np.asarray(shift), 0)
    return rounding_divide_by_power_of_two(high_mul(np.asarray(x, np.int64) << left, multiplier), right)


def high_mul(a: np.ndarray, b: np.ndarray | int) -> np.ndarray:
    """The upper half of the doubled 64-bit product a · b, rounded: gemmlowp's fixed-point multiplication.

    Read as fractions of 2^31 it is simply a · b.  Ties go up.  int32 values in, int32 range out.
    """
    product = (np.asarray(a, np.int64) * b + 2**30) >> 31
    return np.minimum(product, INT32_MAX)  # only (-2^31)² does not fit


def rounding_divide_by_power_of_two(x: np.ndarray, exponent: np.ndarray | int) -> np.ndarray:
    """round(x / 2^exponent) by a shift; ties go away from zero.  exponent: 0 to 31."""
    x, exponent = np.asarray(x, np.int64), np.asarray(exponent, np.int64)
    half = (np.int64(1) << exponent) >> 1
    return (x + half - ((x < 0) & (exponent > 0))) >> exponent


def requantize(
    total: np.ndarray,
    real: np.ndarray | float,
    y: QuantizationParameters,
    activation: str | None = None,
    *,
    fixed_point: bool = True,
) -> np.ndarray:
    """From int32 sums to int8 outputs: multiply, add the zero point, clamp to the activation's range.

    total: int32 sums, channels last.  real: scale_x · scale_w / scale_y, one number or one a channel.
    fixed_point: False multiplies by `real` itself in float64, which rounds once.
    """
    low, high = activation_limits(y, activation)
    scaled = (
        multiply_by_quantized_multiplier(total, *quantized_multiplier(real))
        if fixed_point
        else round_half_away(total * np.float64(real)).astype(np.int64)
    )
    return np.clip(scaled + int(y.zero_point), low, high).astype(y.dtype)


def activation_limits(y: QuantizationParameters, activation: str | None) -> tuple[int, int]:
    """The integers between which the output is clamped: ReLU costs nothing in integer arithmetic.

    If a layer with ReLU has its zero point at qmin (the calibrated range started at 0), the clamp to
    the number range *is* the ReLU.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"no clamp for the activation {activation!r}; pass one of {list(ACTIVATIONS)}")
    low, high = ACTIVATIONS[activation]
    return (
        y.qmin if low is None else int(quantize(np.float32(low), y)),
        y.qmax if high is None else int(quantize(np.float32(high), y)),
    )


# ---------------------------------------------------------------- layers


def dense(
    x: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray | None,
    x_q: QuantizationParameters,
    w_q: QuantizationParameters,
    y_q: QuantizationParameters,
    activation: str | None = None,
    *,
    fixed_point: bool = False,
) -> np.ndarray:
    """A fully connected int8 layer.

    x: int8, (..., inputs).  weights: int8, (units, inputs).  bias: int32 in steps of scale_x · scale_w, (units,).
    x_q, w_q, y_q: their quantization; w_q per tensor or per unit (axis 0).  Returns int8, (..., units).
    fixed_point: LiteRT 2.3's reference kernel for this layer, unlike those for convolutions, rescales in
        float64 (found by trying); TensorFlow Lite Micro's rescales by a fixed-point multiplier.
    """
    _check_integers("dense", x, weights, inner=(x.shape[-1], weights.shape[-1]))
    total = _centred(x, x_q) @ (weights.astype(np.float64) - np.float64(w_q.zero_point).reshape(-1, 1)).T
    real = _micro_dense_multiplier(x_q, w_q, y_q) if fixed_point else _multiplier(x_q, w_q, y_q)
    return requantize(_accumulator(total, bias), real, y_q, activation, fixed_point=fixed_point)


def conv2d(
    x: np.ndarray,
    filters: np.ndarray,
    bias: np.ndarray | None,
    x_q: QuantizationParameters,
    w_q: QuantizationParameters,
    y_q: QuantizationParameters,
    *,
    strides: tuple[int, int] = (1, 1),
    padding: str = "valid",
    dilation: tuple[int, int] = (1, 1),
    activation: str | None = None,
) -> np.ndarray:
    """An int8 convolution: each patch of the picture is one row of a matrix product.

    x: int8, (n, height, width, channels).  filters: int8, (out, height, width, channels / groups).
    bias: int32, (out,).  strides, dilation: (vertical, horizontal).  padding: "same" or "valid".
    Returns int8, (n, new height, new width, out).  Padding adds *real* zeros, that is x's zero point.
    """
    groups = _groups(x, filters)
    out, height, width, depth = filters.shape
    real = _multiplier(x_q, w_q, y_q)
    matrix = filters.astype(np.float64).reshape(groups, out // groups, -1).transpose(0, 2, 1)

    def layer(part: np.ndarray) -> np.ndarray:
        patches = _patches(part, x_q, (height, width), strides, padding, dilation)
        rows = [patches[..., g * depth : (g + 1) * depth].reshape(-1, height * width * depth) for g in range(groups)]
        total = np.concatenate([r @ m for r, m in zip(rows, matrix, strict=True)], axis=-1)
        total = total.reshape(*patches.shape[:3], out)
        return requantize(_accumulator(total, bias), real, y_q, activation)

    return _in_parts(layer, x)


def depthwise_conv2d(
    x: np.ndarray,
    filters: np.ndarray,
    bias: np.ndarray | None,
    x_q: QuantizationParameters,
    w_q: QuantizationParameters,
    y_q: QuantizationParameters,
    *,
    strides: tuple[int, int] = (1, 1),
    padding: str = "valid",
    dilation: tuple[int, int] = (1, 1),
    activation: str | None = None,
) -> np.ndarray:
    """An int8 convolution of every channel with filters of its own.

    filters: int8, (1, height, width, channels · multiplier); w_q per tensor or per channel (axis 3).
    Everything else as in `conv2d`.
    """
    _check_integers("depthwise_conv2d", x, filters)
    if filters.shape[-1] % x.shape[-1]:
        raise ValueError(
            f"filters of shape {filters.shape} do not fit {x.shape[-1]} input channels: "
            "the last axis must be a multiple of them"
        )
    repeat = filters.shape[-1] // x.shape[-1]
    weights, real = filters[0].astype(np.float64), _multiplier(x_q, w_q, y_q)

    def layer(part: np.ndarray) -> np.ndarray:
        patches = _patches(np.repeat(part, repeat, -1), x_q, filters.shape[1:3], strides, padding, dilation)
        total = np.einsum("nyxijc,ijc->nyxc", patches, weights)
        return requantize(_accumulator(total, bias), real, y_q, activation)

    return _in_parts(layer, x)


def max_pool(
    x: np.ndarray,
    size: tuple[int, int],
    x_q: QuantizationParameters,
    *,
    strides: tuple[int, int],
    padding: str = "valid",
    activation: str | None = None,
) -> np.ndarray:
    """The largest integer is the largest real value, so nothing has to be rescaled.  int8 in and out."""
    low, high = activation_limits(x_q, activation)
    windows = _windows(x, size, strides, padding, fill=np.iinfo(x.dtype).min)
    return np.clip(windows.max((3, 4)), low, high)


def average_pool(
    x: np.ndarray,
    size: tuple[int, int],
    x_q: QuantizationParameters,
    *,
    strides: tuple[int, int],
    padding: str = "valid",
    activation: str | None = None,
) -> np.ndarray:
    """The mean of the integers of each window that lie inside the picture, ties away from zero."""
    low, high = activation_limits(x_q, activation)
    total = _windows(x.astype(np.int64), size, strides, padding, fill=0).sum((3, 4))
    count = _windows(np.ones((1, *x.shape[1:3], 1), np.int64), size, strides, padding, fill=0).sum((3, 4))
    magnitude = (np.abs(total) + count // 2) // count
    return np.clip(np.sign(total) * magnitude, low, high).astype(x.dtype)


def add(
    a: np.ndarray,
    b: np.ndarray,
    a_q: QuantizationParameters,
    b_q: QuantizationParameters,
    y_q: QuantizationParameters,
    activation: str | None = None,
) -> np.ndarray:
    """Two int8 tensors of different scales: both are first brought to twice the larger scale.

    20 extra bits (`<< 20`) keep what the two roundings would lose.
    """
    common = 2.0 * max(float(a_q.scale), float(b_q.scale))
    total = sum(
        multiply_by_quantized_multiplier(
            (t.astype(np.int64) - int(q.zero_point)) << 20, *quantized_multiplier(float(q.scale) / common)
        )
        for t, q in ((a, a_q), (b, b_q))
    )
    return requantize(total, common / (2.0**20 * float(y_q.scale)), y_q, activation)


def mean(
    x: np.ndarray, axes: Sequence[int], x_q: QuantizationParameters, y_q: QuantizationParameters, keepdims: bool = False
) -> np.ndarray:
    """Global average pooling: the division by the count is folded into the fixed-point multiplier."""
    axes = tuple(int(axis) % x.ndim for axis in axes)
    count = math.prod(x.shape[axis] for axis in axes)
    multiplier, shift = (int(v) for v in quantized_multiplier(float(x_q.scale) / float(y_q.scale)))
    bits = min(count.bit_length() - 1, 32, 31 + shift)
    multiplier, shift = (multiplier << bits) // count, shift - bits
    total = x.sum(axes, dtype=np.int64, keepdims=keepdims) - int(x_q.zero_point) * count
    scaled = multiply_by_quantized_multiplier(total, multiplier, shift) + int(y_q.zero_point)
    return np.clip(scaled, y_q.qmin, y_q.qmax).astype(x.dtype)


def rescale(x: np.ndarray, x_q: QuantizationParameters, y_q: QuantizationParameters) -> np.ndarray:
    """The same real values on another integer grid (the operator QUANTIZE between two integer tensors)."""
    return requantize(x.astype(np.int64) - int(x_q.zero_point), float(x_q.scale) / float(y_q.scale), y_q)


def softmax(x: np.ndarray, x_q: QuantizationParameters, beta: float = 1.0) -> np.ndarray:
    """Softmax over the last axis without floating point; the output's scale is 1/256, its zero point -128.

    exp and 1/x are polynomials and Newton steps on 32-bit fractions (gemmlowp's fixedpoint.h).  An int8
    difference to the row's maximum has only 256 values, so exp is computed once for each of them.
    """
    difference = x.astype(np.int64) - x.max(-1, keepdims=True)
    exponential = _exponentials(float(x_q.scale) * beta)[-difference]
    total = rounding_divide_by_power_of_two(exponential, 12).sum(-1, keepdims=True)  # 12 integer bits
    headroom = 32 - np.frexp(total.astype(np.float64))[1]  # leading zeros of the uint32
    reciprocal = _one_over_one_plus((total << headroom) - 2**31)
    scaled = rounding_divide_by_power_of_two(high_mul(reciprocal, exponential), 12 - headroom + 31 - 8)
    return np.clip(scaled - 128, -128, 127).astype(np.int8)


# ---------------------------------------------------------------- a whole .tflite file


@dataclass(frozen=True)
class Tensor:
    """One tensor of a .tflite file.  `value` is None for what is computed; `quantization` None for floats."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    value: np.ndarray | None
    quantization: QuantizationParameters | None


@dataclass(frozen=True)
class Operator:
    """One step: `kind` is TF Lite's name, such as CONV_2D; inputs and outputs index the graph's tensors."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any


@dataclass(frozen=True)
class Graph:
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_graph(content: bytes) -> Graph:
    """Tensors and operators of the first subgraph of a .tflite file, in the order of execution."""
    from ai_edge_litert import schema_py_generated as schema

    if bytes(content[4:8]) != b"TFL3":
        raise ValueError(
            f"this is no .tflite file: bytes 4 to 8 are {bytes(content[4:8])!r}, not b'TFL3'. "
            "Pass the bytes that the converter returned"
        )
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    main = model.subgraphs[0]
    # Files older than schema 3a hold codes up to 126 in a field of one byte; the larger of the two is meant.
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    operators = tuple(
        Operator(names[codes[step.opcodeIndex]], tuple(step.inputs), tuple(step.outputs), step.builtinOptions)
        for step in main.operators
    )
    return Graph(
        tuple(_read_tensor(tensor, model.buffers, schema) for tensor in main.tensors),
        operators,
        tuple(main.inputs),
        tuple(main.outputs),
    )


def run_by_hand(
    model: Any, x: np.ndarray, *, micro: bool = False, tensors: bool = False
) -> np.ndarray | dict[str, np.ndarray]:
    """Run a converted int8 model with the layers of this module instead of an interpreter.

    model: the bytes of a .tflite file, or an Artifact that holds them.  One input, one output.
    x: a batch in the input's own type (int8, or float32 where the file starts with QUANTIZE), (n, ...).
    micro: False equals LiteRT's reference kernels, True those of TensorFlow Lite Micro; they differ in how a
        dense layer rescales its sums.
    tensors: True returns every computed tensor by its name, to compare layer by layer.
    Raises NotImplementedError that names an operator for which there is no layer here, and those there are.
    """
    graph = read_graph(getattr(model, "content", model))
    layers = OPERATORS | {"FULLY_CONNECTED": _run_dense(fixed_point=micro)}
    values = {i: t.value for i, t in enumerate(graph.tensors) if t.value is not None}
    values[graph.inputs[0]] = _check_input(graph, np.asarray(x))
    for step in graph.operators:
        if step.kind not in OPERATORS:
            raise NotImplementedError(f"no hand-written layer for {step.kind}; there is one for {', '.join(OPERATORS)}")
        arguments = [values.get(i) for i in step.inputs]
        parameters = [graph.tensors[i].quantization if i >= 0 else None for i in step.inputs]
        output = graph.tensors[step.outputs[0]]
        result = layers[step.kind](arguments, parameters, output, step.options)
        values[step.outputs[0]] = result.reshape(len(x), *output.shape[1:]).astype(output.dtype)
    if not tensors:
        return values[graph.outputs[0]]
    return {graph.tensors[i].name: value for i, value in values.items() if graph.tensors[i].value is None}


def quantized_input(model: Any, x: np.ndarray) -> np.ndarray:
    """A batch of real numbers as the integers that the model's input tensor stands for."""
    graph = read_graph(getattr(model, "content", model))
    start = graph.tensors[graph.inputs[0]]
    if start.quantization is None:
        raise ValueError(f"the model's input {start.name!r} is {start.dtype}, not quantized: pass x as it is")
    return quantize(x, start.quantization)


def reference_tensors(model: Any, x: np.ndarray) -> dict[str, np.ndarray]:
    """Every tensor that LiteRT's reference kernels compute from a batch, by name: what to compare with.

    model, x: as in `run_by_hand`.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    content = getattr(model, "content", model)
    _check_input(read_graph(content), np.asarray(x))
    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
        num_threads=1,
    )
    start = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(start, np.shape(x))
    interpreter.allocate_tensors()
    interpreter.set_tensor(start, x)
    interpreter.invoke()
    computed = {t.name for t in read_graph(content).tensors if t.value is None}
    return {
        d["name"]: interpreter.get_tensor(d["index"]) for d in interpreter.get_tensor_details() if d["name"] in computed
    }


@dataclass(frozen=True)
class Layer:
    """The integers around one convolution or dense layer: what goes in, the weights, and what came out."""

    x: np.ndarray
    weights: np.ndarray
    bias: np.ndarray | None
    x_q: QuantizationParameters
    w_q: QuantizationParameters
    y_q: QuantizationParameters
    activation: str | None
    y: np.ndarray


def layer_of(model: Any, kind: str, tensors: dict[str, np.ndarray], number: int = 0) -> Layer:
    """The `number`-th layer of this kind, such as "CONV_2D" or "FULLY_CONNECTED", with its tensors.

    tensors: of `reference_tensors` or of `run_by_hand(…, tensors=True)`.
    """
    graph = read_graph(getattr(model, "content", model))
    there = [step for step in graph.operators if step.kind == kind]
    if not -len(there) <= number < len(there):
        raise ValueError(
            f"the model has {len(there)} layers {kind}, so there is no number {number}; "
            f"its operators are {', '.join(step.kind for step in graph.operators)}"
        )
    step = there[number]
    x, weights = (graph.tensors[i] for i in step.inputs[:2])
    y = graph.tensors[step.outputs[0]]
    bias = graph.tensors[step.inputs[2]].value if len(step.inputs) > 2 and step.inputs[2] >= 0 else None
    return Layer(
        tensors[x.name],
        weights.value,
        bias,
        x.quantization,
        weights.quantization,
        y.quantization,
        _activation(step.options),
        tensors[y.name],
    )


def _activation(options: Any) -> str | None:
    names = {0: None, 1: "relu", 2: "relu_n1_to_1", 3: "relu6"}
    code = options.fusedActivationFunction
    if code not in names:
        raise NotImplementedError(f"the fused activation number {code} is no clamp; there are {list(names.values())}")
    return names[code]


def _geometry(options: Any) -> dict[str, Any]:
    return {
        "strides": (options.strideH, options.strideW),
        "padding": ("same", "valid")[options.padding],
        "activation": _activation(options),
    }


def _dilation(options: Any) -> tuple[int, int]:
    return options.dilationHFactor, options.dilationWFactor


def _run_dense(fixed_point: bool) -> Callable:
    def run(args, q, y, options):
        x = args[0].reshape(-1, args[1].shape[-1])
        return dense(
            x,
            args[1],
            args[2] if len(args) > 2 else None,
            q[0],
            q[1],
            y.quantization,
            _activation(options),
            fixed_point=fixed_point,
        )

    return run


def _run_conv(layer: Callable) -> Callable:
    def run(args, q, y, options):
        return layer(
            *args[:2],
            args[2] if len(args) > 2 else None,
            q[0],
            q[1],
            y.quantization,
            dilation=_dilation(options),
            **_geometry(options),
        )

    return run


def _run_pool(layer: Callable) -> Callable:
    def run(args, q, y, options):
        return layer(args[0], (options.filterHeight, options.filterWidth), y.quantization, **_geometry(options))

    return run


def _run_quantize(args, q, y, options):
    return quantize(args[0], y.quantization) if q[0] is None else rescale(args[0], q[0], y.quantization)


def _run_pad(args, q, y, options):
    return np.pad(args[0], args[1], constant_values=int(q[0].zero_point))


def _run_concatenation(args, q, y, options):
    parts = [t if _same(p, y.quantization) else rescale(t, p, y.quantization) for t, p in zip(args, q, strict=True)]
    return np.concatenate(parts, options.axis)


#: Operators that `run_by_hand` knows: (arguments, their quantization, output tensor, options) → integers.
OPERATORS: dict[str, Callable] = {
    "CONV_2D": _run_conv(conv2d),
    "DEPTHWISE_CONV_2D": _run_conv(depthwise_conv2d),
    "FULLY_CONNECTED": _run_dense(fixed_point=False),
    "MAX_POOL_2D": _run_pool(max_pool),
    "AVERAGE_POOL_2D": _run_pool(average_pool),
    "ADD": lambda args, q, y, o: add(args[0], args[1], q[0], q[1], y.quantization, _activation(o)),
    "MEAN": lambda args, q, y, o: mean(args[0], args[1].ravel(), q[0], y.quantization, o.keepDims),
    "SOFTMAX": lambda args, q, y, o: softmax(args[0], q[0], o.beta),
    "RESHAPE": lambda args, q, y, o: args[0],
    "PAD": _run_pad,
    "CONCATENATION": _run_concatenation,
    "QUANTIZE": _run_quantize,
    "DEQUANTIZE": lambda args, q, y, o: (args[0].astype(np.float32) - np.float32(q[0].zero_point)) * q[0].scale,
}


# ---------------------------------------------------------------- helpers


def _check_integers(name: str, x: np.ndarray, weights: np.ndarray, inner: tuple[int, int] | None = None) -> None:
    for what, array in (("x", x), ("weights", weights)):
        if not np.issubdtype(np.asarray(array).dtype, np.integer):
            raise TypeError(f"{name}: {what} is {array.dtype}; an integer kernel takes integers: quantize it first")
    if inner is not None and inner[0] != inner[1]:
        raise ValueError(f"{name}: x has {inner[0]} inputs, the weights are for {inner[1]}")


def _groups(x: np.ndarray, filters: np.ndarray) -> int:
    _check_integers("conv2d", x, filters)
    if x.ndim != 4 or filters.ndim != 4:
        raise ValueError(
            f"conv2d takes x of (n, height, width, channels) and filters of (out, height, width, "
            f"channels); got {x.shape} and {filters.shape}"
        )
    if x.shape[-1] % filters.shape[-1]:
        raise ValueError(f"conv2d: x has {x.shape[-1]} channels, the filters {filters.shape[-1]}")
    return x.shape[-1] // filters.shape[-1]


def _centred(x: np.ndarray, q: QuantizationParameters) -> np.ndarray:
    return x.astype(np.float64) - float(q.zero_point)


def _accumulator(total: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """The int32 register: exact sums from float64, plus the int32 bias; a sum that does not fit is an error."""
    total = total.astype(np.int64) + (0 if bias is None else bias.astype(np.int64))
    if total.size and max(total.max(), -total.min()) > INT32_MAX:
        raise OverflowError("a sum of products does not fit into the int32 accumulator: the kernel would wrap around")
    return total


def _multiplier(x_q: QuantizationParameters, w_q: QuantizationParameters, y_q: QuantizationParameters) -> np.ndarray:
    return np.float64(x_q.scale) * np.float64(w_q.scale) / np.float64(y_q.scale)


def _micro_dense_multiplier(
    x_q: QuantizationParameters, w_q: QuantizationParameters, y_q: QuantizationParameters
) -> np.ndarray:
    """For a per-tensor dense layer the product of the two scales is rounded to float32 first."""
    if np.size(w_q.scale) > 1:
        return _multiplier(x_q, w_q, y_q)
    return np.float64(np.float32(x_q.scale) * np.float32(w_q.scale).reshape(())) / np.float64(y_q.scale)


def _in_parts(layer: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    return np.concatenate([layer(x[i : i + _PICTURES_AT_ONCE]) for i in range(0, max(len(x), 1), _PICTURES_AT_ONCE)])


def _patches(x, q: QuantizationParameters, size, strides, padding: str, dilation=(1, 1)) -> np.ndarray:
    """The real-zero-padded picture's patches as float64 differences: (n, y, x, height, width, channels)."""
    return _windows(_centred(x, q), size, strides, padding, fill=0.0, dilation=dilation)


def _windows(x, size, strides, padding: str, *, fill, dilation=(1, 1)) -> np.ndarray:
    """All windows of `size`, without a copy: (n, y, x, window height, window width, channels)."""
    if padding not in ("same", "valid"):
        raise ValueError(f"padding is 'same' or 'valid'; got {padding!r}")
    reach = [d * (s - 1) + 1 for s, d in zip(size, dilation, strict=True)]
    if padding == "same":
        x = np.pad(x, [(0, 0), *map(_same_padding, x.shape[1:3], reach, strides), (0, 0)], constant_values=fill)
    if x.shape[1] < reach[0] or x.shape[2] < reach[1]:
        raise ValueError(f"a window of {tuple(reach)} does not fit into a picture of {x.shape[1:3]}")
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(1, 2))
    windows = windows[:, :: strides[0], :: strides[1], :, :: dilation[0], :: dilation[1]]
    return windows.transpose(0, 1, 2, 4, 5, 3)


def _same_padding(length: int, reach: int, stride: int) -> tuple[int, int]:
    """Rows before and after: the output has ceil(length / stride) of them; an odd one goes behind."""
    missing = max((-(-length // stride) - 1) * stride + reach - length, 0)
    return missing // 2, missing - missing // 2


def _same(a: QuantizationParameters, b: QuantizationParameters) -> bool:
    return float(a.scale) == float(b.scale) and int(a.zero_point) == int(b.zero_point)


def _exponentials(real_scale: float) -> np.ndarray:
    """exp(-real_scale · d) for d = 0 … 255 as fractions of 2^31; 0 where it is too small to matter."""
    multiplier, shift = quantized_multiplier(min(real_scale * 2.0**26, 2.0**31 - 1))
    reachable = math.floor(31 * 2.0**26 / 2.0 ** int(shift))  # further down the 5 integer bits overflow
    d = np.arange(256)
    scaled = high_mul(-np.minimum(d, reachable) << shift, multiplier)
    return np.where(d <= reachable, _exp_of_negative(scaled), 0)


def _exp_of_negative(a: np.ndarray) -> np.ndarray:
    """exp(a / 2^26) as a fraction of 2^31, for -32 < a / 2^26 <= 0.

    a = -(a multiple of 1/4) + a rest in [-1/4, 0): a polynomial for the rest, and one multiplication
    by exp(-2^k) for each set bit of the multiple.
    """
    quarter = 2**24
    rest = (a & (quarter - 1)) - quarter
    x = (rest << 5) + 2**28  # around -1/8, in fractions of 2^31
    x2 = high_mul(x, x)
    x3, x4 = high_mul(x2, x), high_mul(x2, x2)
    series = high_mul(rounding_divide_by_power_of_two(x4, 2) + x3, 715827883) + x2  # (x⁴/4 + x³)/3 + x²
    start = 1895147668  # exp(-1/8)
    result = start + high_mul(x + rounding_divide_by_power_of_two(series, 1), start)
    for k in range(-2, 5):
        factor = round(math.exp(-(2.0**k)) * 2**31)
        result = np.where((rest - a) & int(2.0 ** (26 + k)), high_mul(result, factor), result)
    return np.where(a == 0, INT32_MAX, result)


def _one_over_one_plus(a: np.ndarray) -> np.ndarray:
    """1 / (1 + a) for a in [0, 1), fractions of 2^31: three Newton steps from 48/17 - 32/17 · (1 + a)/2."""
    half = (a + INT32_MAX + 1) >> 1
    x = 1515870810 + high_mul(half, -1010580540)  # 2 integer bits from here on
    for _ in range(3):
        x = x + (high_mul(x, 2**29 - high_mul(half, x)) << 2)
    return np.minimum(x << 1, INT32_MAX)


def _check_input(graph: Graph, x: np.ndarray) -> np.ndarray:
    expected = graph.tensors[graph.inputs[0]]
    if len(graph.inputs) != 1:
        raise ValueError(f"run_by_hand takes models with one input; this one has {len(graph.inputs)}")
    if x.dtype != expected.dtype:
        raise TypeError(
            f"the model's input is {expected.dtype}; got {x.dtype}. "
            "Quantize it with the input tensor's scale and zero point"
        )
    if x.shape[1:] != expected.shape[1:]:
        raise ValueError(f"the model takes a batch of {expected.shape[1:]}; got an array of shape {x.shape}")
    return x


def _read_tensor(tensor: Any, buffers: list, schema: Any) -> Tensor:
    types = {
        schema.TensorType.INT8: np.int8,
        schema.TensorType.INT16: np.int16,
        schema.TensorType.INT32: np.int32,
        schema.TensorType.INT64: np.int64,
        schema.TensorType.FLOAT32: np.float32,
        schema.TensorType.FLOAT16: np.float16,
        schema.TensorType.UINT8: np.uint8,
        schema.TensorType.BOOL: np.bool_,
    }
    name = tensor.name.decode()
    if tensor.type not in types:
        raise NotImplementedError(f"tensor {name!r} has type number {tensor.type}, which this reader does not know")
    dtype = np.dtype(types[tensor.type])
    shape = tuple(int(n) for n in tensor.shape) if tensor.shape is not None else ()
    data = buffers[tensor.buffer].data
    value = None if data is None or not len(data) else np.asarray(data, np.uint8).view(dtype).reshape(shape)
    return Tensor(name, shape, dtype, value, _read_quantization(tensor.quantization, dtype))


def _read_quantization(stored: Any, dtype: np.dtype) -> QuantizationParameters | None:
    if stored is None or stored.scale is None or not len(stored.scale) or not np.issubdtype(dtype, np.integer):
        return None
    limits = np.iinfo(dtype)
    scale, zero = np.asarray(stored.scale, np.float32), np.asarray(stored.zeroPoint, np.int64)
    if scale.size == 1:
        return QuantizationParameters(scale[0], int(zero[0]), int(limits.min), int(limits.max))
    return QuantizationParameters(scale, zero, int(limits.min), int(limits.max), axis=int(stored.quantizedDimension))
