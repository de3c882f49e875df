"""A whole .tflite file run by hand, with the layers of `integer_kernels`, and compared with LiteRT tensor by tensor.

Integers are equal bit for bit.  A hybrid layer's float ends are too, where the kernel was built without fused
multiply-add (the wheels for x86).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.optimize.quantization import integer_kernels as kernels
from utils.optimize.quantization.grid import dequantize, quantize
from utils.quantization_parameters import QuantizationParameters
from utils.tflite_file import File, Operator, Tensor


def run(model: Any, x: np.ndarray, *, micro: bool = False, tensors: bool = False) -> np.ndarray | dict[str, np.ndarray]:
    """Run a quantized model with hand-written layers instead of an interpreter.

    model: the bytes of a .tflite file, or an Artifact that holds them.  One input, one output.
    x: a batch in the input's own type (int8; float32 where the file starts with QUANTIZE, or its weights have a
        dynamic range), (n, ...).
    micro: False equals LiteRT's reference kernels, True those of TensorFlow Lite Micro; they differ in how a
        dense layer rescales its sums.
    tensors: True returns every computed tensor by its name, to compare layer by layer.
    Raises NotImplementedError that names an operator for which there is no layer here, and those there are;
        TypeError or ValueError if x does not fit the model's input.
    """
    file = _file(model)
    layers = LAYERS | {"FULLY_CONNECTED": _dense(fixed_point=micro)}
    values = {t.index: file.values(t) for t in file.tensors[0] if t.constant}
    values[file.inputs()[0].index] = _check_input(file, np.asarray(x))
    for step in file.operators():
        if step.name not in LAYERS:
            raise NotImplementedError(f"no hand-written layer for {step.name}; there is one for {', '.join(LAYERS)}")
        if step.name not in _WITH_FLOATS and step.arguments[0].quantization is None:
            raise NotImplementedError(
                f"{step.name} with inputs of {step.arguments[0].dtype} is not run by hand, since float sums differ "
                "between processors; pass a file whose layers are int8"
            )
        arguments = [None if t is None else values[t.index] for t in step.arguments]
        [output] = step.outputs
        result = layers[step.name](step, arguments)
        values[output.index] = result.reshape(len(x), *output.shape[1:]).astype(output.numpy)
    if not tensors:
        outputs = file.outputs()
        if len(outputs) != 1:
            raise ValueError(f"the model has {len(outputs)} outputs; pass tensors=True, which returns all by name")
        return values[outputs[0].index]
    return {t.name: values[t.index] for t in file.tensors[0] if t.index in values and not t.constant}


def reference_tensors(model: Any, x: np.ndarray) -> dict[str, np.ndarray]:
    """Every tensor that LiteRT's reference kernels compute from a batch, by name: what to compare with.

    model, x: as in `run`.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    file = _file(model)
    _check_input(file, np.asarray(x))
    interpreter = Interpreter(
        model_content=file.content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
        num_threads=1,
    )
    start = file.inputs()[0].index
    interpreter.resize_tensor_input(start, np.shape(x))
    interpreter.allocate_tensors()
    interpreter.set_tensor(start, x)
    interpreter.invoke()
    return {t.name: interpreter.get_tensor(t.index) for t in file.tensors[0] if not t.constant}


def differences(model: Any, x: np.ndarray) -> dict[str, int]:
    """How many numbers of each computed tensor differ between `run` and the reference kernels: zeros, it should be.

    model, x: as in `run`.
    """
    ours, theirs = run(model, x, tensors=True), reference_tensors(model, x)
    return {name: int(np.sum(ours[name] != theirs[name])) for name in theirs}


def quantized_input(model: Any, x: np.ndarray) -> np.ndarray:
    """A batch of real numbers as the integers that the model's input tensor stands for.

    Divides float32 by float32 and rounds ties away from zero, as AffineQuantize does in
    tflite/kernels/internal/reference/quantize.h.
    """
    start = _check_one_input(_file(model))
    if (q := start.quantization) is None:
        raise ValueError(f"the model's input {start.name!r} is {start.dtype}, not quantized: pass x as it is")
    return quantize(_check_shape(np.asarray(x, np.float32), start), q)


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

    tensors: of `reference_tensors` or of `run(…, tensors=True)`.
    """
    file = _file(model)
    there = [step for step in file.operators() if step.name == kind]
    if not -len(there) <= number < len(there):
        raise ValueError(
            f"the model has {len(there)} layers {kind}, so there is no number {number}; "
            f"its operators are {', '.join(step.name for step in file.operators())}"
        )
    step = there[number]
    x, weights, bias = (*step.arguments, None)[:3]
    [y] = step.outputs
    return Layer(
        tensors[x.name],
        file.values(weights),
        None if bias is None else file.values(bias),
        x.quantization,
        weights.quantization,
        y.quantization,
        _activation(step),
        tensors[y.name],
    )


# ---------------------------------------------------------------- one operator: (step, its arguments) -> its output


def _dense(fixed_point: bool) -> Callable[[Operator, list], np.ndarray]:
    def layer(step: Operator, args: list) -> np.ndarray:
        x, weights, bias = (*args, None)[:3]
        x, activation = x.reshape(-1, weights.shape[-1]), _activation(step)
        x_q, w_q, y_q = _quantization(step)
        if x_q is not None:
            return kernels.dense(x, weights, bias, x_q, w_q, y_q, activation, fixed_point=fixed_point)
        if w_q is None or fixed_point:
            raise NotImplementedError(
                "FULLY_CONNECTED with float inputs is run by hand for LiteRT with int8 weights only: "
                "float sums differ between processors, and TensorFlow Lite Micro has no such kernel"
            )
        symmetric = not step.options.asymmetricQuantizeInputs
        return kernels.hybrid_dense(x, weights, w_q.scale, bias, activation, symmetric=symmetric)

    return layer


def _convolution(kernel: Callable) -> Callable[[Operator, list], np.ndarray]:
    def layer(step: Operator, args: list) -> np.ndarray:
        x, weights, bias = (*args, None)[:3]
        dilation = step.options.dilationHFactor, step.options.dilationWFactor
        return kernel(x, weights, bias, *_quantization(step), dilation=dilation, **_geometry(step))

    return layer


def _pool(kernel: Callable) -> Callable[[Operator, list], np.ndarray]:
    def layer(step: Operator, args: list) -> np.ndarray:
        size = step.options.filterHeight, step.options.filterWidth
        return kernel(args[0], size, step.outputs[0].quantization, **_geometry(step))

    return layer


def _add(step: Operator, args: list) -> np.ndarray:
    a_q, b_q, y_q = (tensor.quantization for tensor in (*step.inputs, *step.outputs))
    return kernels.add(*args, a_q, b_q, y_q, _activation(step))


def _mean(step: Operator, args: list) -> np.ndarray:
    x, y = step.inputs[0], step.outputs[0]
    return kernels.mean(args[0], args[1].ravel(), x.quantization, y.quantization, step.options.keepDims)


def _concatenation(step: Operator, args: list) -> np.ndarray:
    y_q = step.outputs[0].quantization
    parts = zip(args, (tensor.quantization for tensor in step.inputs), strict=True)
    return np.concatenate([x if _same(q, y_q) else kernels.rescale(x, q, y_q) for x, q in parts], step.options.axis)


def _quantize(step: Operator, args: list) -> np.ndarray:
    x_q, y_q = step.inputs[0].quantization, step.outputs[0].quantization
    return quantize(args[0], y_q) if x_q is None else kernels.rescale(args[0], x_q, y_q)


#: Operators that `run` knows.
LAYERS: dict[str, Callable[[Operator, list], np.ndarray]] = {
    "CONV_2D": _convolution(kernels.conv2d),
    "DEPTHWISE_CONV_2D": _convolution(kernels.depthwise_conv2d),
    "FULLY_CONNECTED": _dense(fixed_point=False),
    "MAX_POOL_2D": _pool(kernels.max_pool),
    "AVERAGE_POOL_2D": _pool(kernels.average_pool),
    "ADD": _add,
    "MEAN": _mean,
    "SOFTMAX": lambda step, args: kernels.softmax(args[0], step.inputs[0].quantization, step.options.beta),
    "RESHAPE": lambda step, args: args[0],
    "PAD": lambda step, args: np.pad(*args, constant_values=int(step.inputs[0].quantization.zero_point)),
    "CONCATENATION": _concatenation,
    "QUANTIZE": _quantize,
    "DEQUANTIZE": lambda step, args: dequantize(args[0], step.inputs[0].quantization),
}


#: Those of them that take floats, too.
_WITH_FLOATS = ("FULLY_CONNECTED", "RESHAPE", "QUANTIZE", "DEQUANTIZE")


# ---------------------------------------------------------------- helpers


def _file(model: Any) -> File:
    content = getattr(model, "content", model)
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise TypeError(f"the model is a {type(model).__name__}; pass the bytes of a .tflite file, or its Artifact")
    return File(content)


def _quantization(
    step: Operator,
) -> tuple[QuantizationParameters | None, QuantizationParameters | None, QuantizationParameters | None]:
    """Of a layer's input, weights and output."""
    return step.arguments[0].quantization, step.arguments[1].quantization, step.outputs[0].quantization


def _activation(step: Operator) -> str | None:
    names = {0: None, 1: "relu", 2: "relu_n1_to_1", 3: "relu6"}
    code = step.options.fusedActivationFunction
    if code not in names:
        raise NotImplementedError(f"the fused activation number {code} is no clamp; there are {list(names.values())}")
    return names[code]


def _geometry(step: Operator) -> dict[str, Any]:
    options = step.options
    return {
        "strides": (options.strideH, options.strideW),
        "padding": ("same", "valid")[options.padding],
        "activation": _activation(step),
    }


def _same(a: QuantizationParameters, b: QuantizationParameters) -> bool:
    return float(a.scale) == float(b.scale) and int(a.zero_point) == int(b.zero_point)


def _check_input(file: File, x: np.ndarray) -> np.ndarray:
    expected = _check_one_input(file)
    if x.dtype != expected.numpy:
        raise TypeError(
            f"the model's input is {expected.dtype}; got {x.dtype}. "
            "Quantize it with the input tensor's scale and zero point"
        )
    return _check_shape(x, expected)


def _check_one_input(file: File) -> Tensor:
    if len(file.inputs()) != 1:
        raise ValueError(f"a run by hand takes models with one input; this one has {len(file.inputs())}")
    return file.inputs()[0]


def _check_shape(x: np.ndarray, expected: Tensor) -> np.ndarray:
    if x.shape[1:] != expected.shape[1:]:
        raise ValueError(f"the model takes a batch of {expected.shape[1:]}; got an array of shape {x.shape}")
    return x
