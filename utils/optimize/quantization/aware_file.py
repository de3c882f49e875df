"""The file of a model with fake quantization, and whether it keeps what training promised.

file = to_tflite(aware)                     # the integers that training has seen
agreement(aware, file, x).share             # of inputs with the same predicted class
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras

from utils import tflite_file
from utils.artifact import Artifact
from utils.optimize.quantization.aware_ranges import activation_quantizers, input_ranges, is_quantized
from utils.optimize.quantization.converter import convert

__all__ = ["ClassAgreement", "agreement", "float_layers", "stored_as", "stored_kernel", "to_tflite"]

#: Operators whose second input is a kernel.
_KERNELS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")

#: Operators that compute nothing: they move values, or lead from one type to another.
_MOVES = {
    *("QUANTIZE", "DEQUANTIZE", "CAST", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "SHAPE"),
    *("STRIDED_SLICE", "SLICE", "GATHER", "PACK", "UNPACK", "SPLIT", "BROADCAST_TO", "TILE", "FILL"),
}
_QuantizeWrapper = tfmot.quantization.keras.QuantizeWrapper


def to_tflite(model: tf_keras.Model) -> Artifact:
    """The .tflite file of a model made by `quantize_aware`: float32 in and out, integers between.

    The ranges come from training, so no calibration is needed.  8-bit activations with weights of 8 bits or fewer
    convert; weights of 2 to 4 bits are stored in 4, those of 5 to 7 in 8, as the integers that they are.
    `float_layers` says which layers still compute in float.
    Raises ValueError for what exists only in simulation: other activations (TF Lite has no kernel for them), and dense
    layers with one scale for each unit; and for ranges that were never set.
    """
    if not is_quantized(model):
        raise ValueError(
            f"the model {getattr(model, 'name', model)!r} has no fake quantization; for a plain model use "
            "quantization.convert"
        )
    _check_convertible(model)
    with _on_stored_grids(model):
        return convert(model, "dynamic")  # its name for "no calibration": ranges come from the model


@contextlib.contextmanager
def _on_stored_grids(model: tf_keras.Model) -> Iterator[None]:
    """While this is open, weights of 2, 3, 5, 6 and 7 bits lie on part of a grid of 4 or 8 bits with the same step.

    Left alone, the converter takes such a range for one of 4 or 8 bits, and rounds the weights once more: the integers
    −3 to 3 become −7, −5, −2, 0, 2, 5, 7, whose quotients are others.
    """
    moved = []
    for layer in model.layers:
        for weight, quantizer, limits in layer._weight_vars if isinstance(layer, _QuantizeWrapper) else []:
            bits, stored = getattr(quantizer, "num_bits", 8), 4 if getattr(quantizer, "num_bits", 8) < 4 else 8
            centred = getattr(quantizer, "symmetric", True) and getattr(quantizer, "narrow_range", True)
            if bits not in (4, 8) and centred and {"min_var", "max_var"} <= set(limits):
                moved.append((weight, quantizer, bits, stored, [limits["min_var"], limits["max_var"]]))
    before = [[weight.numpy(), *(end.numpy() for end in ends)] for weight, *_, ends in moved]
    try:
        for weight, quantizer, bits, stored, ends in moved:
            limits = dict(zip(("min_var", "max_var"), ends, strict=True))
            weight.assign(quantizer(weight, False, weights=limits))
            for end in ends:
                end.assign(end * ((2 ** (stored - 1) - 1) / (2 ** (bits - 1) - 1)))
        for _, quantizer, _, stored, _ in moved:  # which layers may share
            quantizer.num_bits = stored
        yield
    finally:
        for (weight, quantizer, bits, _, ends), values in zip(moved, before, strict=True):
            quantizer.num_bits = bits
            for variable, value in zip((weight, *ends), values, strict=True):
                variable.assign(value)


def float_layers(model: tf_keras.Model, artifact: Artifact | None = None) -> dict[str, list[str]]:
    """{layer: its operators that compute in float} in the file of a model made by `quantize_aware`.

    The Toolkit accepts layers for which the converter finds no integer form.  The file alone tells, by the names that
    its tensors have kept of the layers; what carries no layer's name is listed under the tensor's own.

    model: with fake quantization; layers are named as in the plain model.  artifact: its file, if it is made already.
    """
    artifact = artifact or convert(model, "dynamic")
    scopes = {layer.name: getattr(layer, "layer", layer).name for layer in model.layers}
    found: dict[str, list[str]] = {}
    for operator in tflite_file.File(artifact.content).all_operators():
        if operator.name in _MOVES or not any(tensor.dtype.startswith("float") for tensor in operator.outputs):
            continue
        for name in {_scope(part, scopes) for tensor in operator.outputs for part in tensor.name.split(";")}:
            found.setdefault(scopes.get(name, name), []).append(operator.name)
    return found


def _scope(tensor: str, scopes: Iterable[str]) -> str:
    """The layer in whose scope an operation is, by its name, "model/layer/operation"; names may have slashes."""
    inside = [(f"/{tensor}/".find(f"/{scope}/"), -len(scope), scope) for scope in scopes]
    return min((place for place in inside if place[0] >= 0), default=(0, 0, tensor))[2]


@dataclass(frozen=True)
class ClassAgreement:
    """How far two models give the same answers.

    share: of examples with the same predicted class, 0 to 1.
    disagreements: indices of the others.
    margins: for each of them, how far the first model's favourite is ahead of the second's, in output steps.
    largest: largest difference of two outputs, in output steps.  step: one output step in the outputs' unit.
    """

    share: float
    disagreements: np.ndarray
    margins: np.ndarray
    largest: float
    step: float

    @property
    def near_ties(self) -> float:
        """Share of the disagreements with a margin of at most two steps; 1.0 if there are none."""
        return float(np.mean(self.margins <= 2 + 1e-4)) if len(self.margins) else 1.0

    def by_margin(self) -> list[dict[str, object]]:
        """How many disagreements there are with a margin of up to one step, up to two, and more."""
        most = np.ceil(np.asarray(self.margins) - 1e-4)  # whole steps, computed in float
        counts = (most <= 1).sum(), (most == 2).sum(), (most > 2).sum()
        names = "up to 1 step", "up to 2 steps", "more"
        return [{"winner ahead by": n, "disagreements": int(c)} for n, c in zip(names, counts, strict=True)]


def agreement(model: tf_keras.Model, artifact: Artifact, x: np.ndarray) -> ClassAgreement:
    """Compare a classifier with the file made of it, on inputs x.

    model: made by `quantize_aware`, one output of shape (n, classes).  artifact: its .tflite file.
    Raises ValueError if the file's output is not quantized, because then there is no output step, and for one class.
    """
    ours = np.asarray(model.predict(x, batch_size=500, verbose=0), np.float64)
    theirs = np.asarray(artifact.predict(x), np.float64)
    if ours.shape != theirs.shape or ours.ndim != 2:
        raise ValueError(f"the model gives {ours.shape}, the file {theirs.shape}; both must be (n, classes)")
    if ours.shape[1] < 2:
        raise ValueError(
            "there is one output, whose largest is always the same one; compare the classes that you take of it, such "
            "as model.predict(x) > 0.5"
        )
    step = _output_step(artifact)
    first, second = ours.argmax(axis=1), theirs.argmax(axis=1)
    apart = np.flatnonzero(first != second)
    margins = (ours[apart, first[apart]] - ours[apart, second[apart]]) / step
    return ClassAgreement(
        float(np.mean(first == second)), apart, margins, float(np.abs(ours - theirs).max() / step), step
    )


def stored_kernel(artifact: Artifact, number: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(integers, scales) of the `number`-th convolution or dense layer of a .tflite file, output channels last.

    Raises ValueError if there are fewer, or if that one is not quantized.
    """
    operators = [op for op in artifact.runner.summary() if op.name in _KERNELS]
    quantized = [i for i, op in enumerate(operators) if op.inputs[1].quantization]
    if number not in quantized:
        raise ValueError(
            f"the file has {len(operators)} convolutions and dense layers, quantized are numbers {quantized}; "
            f"got {number}"
        )
    kernel = operators[number].inputs[1]
    values = artifact.runner.values(kernel)
    if operators[number].name != "DEPTHWISE_CONV_2D":  # whose channels are last already
        values = np.moveaxis(values, 0, -1)
    return values.astype(np.int64), np.asarray(kernel.quantization.scales)


def stored_as(model: tf_keras.Model) -> str:
    """The type in which the file of `model` would keep the first kernel; if there is no such file, why."""
    try:
        operators = to_tflite(model).runner.summary()
    except ValueError as refusal:
        return f"no file: {str(refusal).partition(':')[0]}"
    return next((op.inputs[1].dtype for op in operators if op.name in _KERNELS), "no kernel")


def _output_step(artifact: Artifact) -> float:
    """Distance of two neighbouring values of the file's output."""
    operators = artifact.runner.summary()
    last = operators[-1]
    tensor = last.inputs[0] if last.name == "DEQUANTIZE" else last.outputs[0]
    if tensor.quantization is None:
        raise ValueError("the file's output is not quantized (the last layer stayed float), so there is no output step")
    return float(tensor.quantization.scales[0])


def _check_convertible(model) -> None:
    few = sorted({q.num_bits for q in activation_quantizers(model) if hasattr(q, "num_bits")} - {8})
    if few:
        raise ValueError(
            f"this model has {few[0]}-bit activations, which exist only in simulation: no kernel "
            "of TF Lite takes them. Convert a model with 8-bit activations, such as bits=(4, 8)"
        )
    dense = [
        layer.layer.name
        for layer in model.layers
        if isinstance(layer, _QuantizeWrapper)
        and isinstance(layer.layer, tf_keras.layers.Dense)
        and any(getattr(quantizer, "per_axis", False) for _, quantizer, _ in layer._weight_vars)
    ]
    if dense:
        raise ValueError(
            f"the dense layers {dense} have one scale for each unit, which the converter cannot read from "
            "fake quantization; leave per_channel at None, or quantize after training instead"
        )
    folded = [layer.layer.name for layer in model.layers if _is_folded_per_tensor(layer)]
    if folded:
        raise ValueError(
            f"batch normalization behind {folded} multiplies each channel by another number, so one "
            "scale for all channels is lost, and the converter leaves these layers float; leave "
            "per_channel at None"
        )
    if any(low == high == 0 for low, high in input_ranges(model)):
        raise ValueError(
            f"the range of the inputs of {model.name!r} is still [0, 0], so the file would take all of them for 0; "
            "pass calibration= to quantize_aware, or train the model first"
        )


def _is_folded_per_tensor(layer) -> bool:
    """True for a convolution with one scale in all and batch normalization behind it."""
    if not isinstance(layer, _QuantizeWrapper) or not isinstance(layer.layer, tf_keras.layers.Conv2D):
        return False
    behind = [getattr(node.layer, "layer", node.layer) for node in layer._outbound_nodes]
    normalized = any(isinstance(next_one, tf_keras.layers.BatchNormalization) for next_one in behind)
    return normalized and any(not getattr(quantizer, "per_axis", True) for _, quantizer, _ in layer._weight_vars)
