"""Quantization-aware training: the rounding of the integer model takes part in training.

    q = quantize_aware(model, bits=8, calibration=x)   # a copy with fake quantization, ranges measured on x
    recover(q, (x, y), epochs=2)                       # train it: the weights move to where rounding hurts less
    file = to_tflite(q)                                # the integers that training has seen

Without `recover`, `quantize_aware(..., calibration=x)` *is* post-training quantization with the same quantizers,
so both sides of a comparison have the same granularity.  Fake quantization: Jacob et al. 2018, arXiv 1712.05877;
straight-through estimator: Bengio, Léonard, Courville 2013, arXiv 1308.3432.
"""

from __future__ import annotations

import contextlib
import difflib
import numbers
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras import (
    quant_ops,
    quantize_aware_activation,
    quantize_layer,
)
from tensorflow_model_optimization.python.core.quantization.keras.experimental.default_n_bit import (
    default_n_bit_quantize_registry as registry_n,
)
from tensorflow_model_optimization.python.core.quantization.keras.experimental.default_n_bit import (
    default_n_bit_quantize_scheme as scheme_n,
)

import utils  # noqa: F401  (settles Keras 2 before TensorFlow is imported)
from utils import SEED, data, training
from utils.artifact import Artifact
from utils.optimize import quantization

__all__ = [
    "Agreement",
    "Refusal",
    "agreement",
    "calibrate",
    "fake_quantize",
    "integer_kernel",
    "layer_config",
    "load",
    "precision",
    "quantize_aware",
    "ranges",
    "recover",
    "refused_layers",
    "save",
    "stored_kernel",
    "to_tflite",
    "value_and_gradients",
]

_keras = tfmot.quantization.keras
_Aware = quantize_aware_activation.QuantizeAwareActivation
_FUSED_ACTIVATIONS = _Aware._PRE_QUANT_ACTIVATIONS | _Aware._POST_QUANT_ACTIVATIONS
_ACTIVATION_LAYERS = {"relu", "relu6", "swish", "linear", "softmax", "sigmoid", "tanh"}


# ---------------------------------------------------------------- fake quantization by hand


def fake_quantize(x, low, high, bits: int = 8, *, narrow: bool = False) -> tf.Tensor:
    """Round x to the grid of [low, high] and stay in float; let gradients pass as if nothing had been rounded.

    Forward: the range is moved a little so that 0.0 lies on the grid ("nudged", Jacob et al. 2018, section 3),
    x is clamped to it and rounded.  Backward, the straight-through estimator:

        d/dx    = 1 inside the range, 0 outside          (rounding counts as the identity)
        d/dlow  = sum of the gradients of all x below    (they were set to low)
        d/dhigh = sum of the gradients of all x above

    Equal to `tf.quantization.fake_quant_with_min_max_vars`, gradients included.

    Args:
        x: float32, any shape.
        low, high: range, two numbers; low ≤ 0 ≤ high and low < high.
        bits: 2 to 16, so 2**bits grid points.  narrow: one point fewer, as for symmetric weights.
    """
    _check_bits(bits, top=16)
    steps = 2**bits - 1 - bool(narrow)

    @tf.custom_gradient
    def rounded(x, low, high):
        scale = (high - low) / steps
        zero_point = tf.clip_by_value(tf.floor(-low / scale + 0.5), 0, steps)
        bottom, top = -zero_point * scale, (steps - zero_point) * scale
        grid_point = tf.floor((tf.clip_by_value(x, bottom, top) - bottom) * (1 / scale) + 0.5)

        def gradient(upstream):
            below, above = x < bottom, x > top
            inside = tf.where(below | above, 0.0, upstream)
            return inside, tf.reduce_sum(tf.where(below, upstream, 0.0)), tf.reduce_sum(tf.where(above, upstream, 0.0))

        return grid_point * scale + bottom, gradient

    x, low, high = (tf.convert_to_tensor(value, tf.float32) for value in (x, low, high))
    if not tf.executing_eagerly() or (low <= 0 <= high and low < high):
        return rounded(x, low, high)
    raise ValueError(f"the range is [{float(low):g}, {float(high):g}]; it must contain 0 and be wider than 0")


def value_and_gradients(function: Callable, x, low: float, high: float, bits: int) -> list[np.ndarray]:
    """[y, dx, dlow, dhigh] of y = function(x, low, high, bits), for the loss sum(y · sin x), whose gradient differs
    from number to number.  Compares ways to compute fake quantization."""
    arguments = [tf.convert_to_tensor(value, tf.float32) for value in (x, low, high)]
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        y = function(*arguments, bits)
        loss = tf.reduce_sum(y * tf.sin(arguments[0]))
    return [y.numpy(), *(gradient.numpy() for gradient in tape.gradient(loss, arguments))]


# ---------------------------------------------------------------- a model with fake quantization


@dataclass(frozen=True)
class Refusal:
    """Why the Toolkit does not quantize a layer, and what can be done about it."""

    layer: str
    kind: str
    reason: str
    way_out: str

    def __str__(self) -> str:
        return f"{self.layer} ({self.kind}): {self.reason}. {self.way_out}"


#: What to do instead, by the refused layer's class; else `_ANY_WAY_OUT`.
_WAYS_OUT = {
    "Conv1D": "Pass configs={name: layer_config(['kernel'])}, or write it as Conv2D on a picture one row high",
    "Conv3D": "Pass configs={name: layer_config(['kernel'])}; check the file, few kernels take it",
    "BatchNormalization": "Put it right behind a convolution, so that it is folded into it, or leave it out",
    "PReLU": "Use ReLU or LeakyReLU",
    "Multiply": "Use Add or Concatenate, or leave it float",
    "Rescaling": "Scale the data before the model, as utils.data does",
    "Normalization": "Scale the data before the model, as utils.data does",
    "Embedding": "Leave it float; quantize it after training (quantization.convert, mode 'dynamic')",
    "LayerNormalization": "Leave it float, or use BatchNormalization behind a convolution",
    "Activation": "Use relu, sigmoid, tanh or softmax, which the Toolkit knows",
}
_ACTIVATION_WAY_OUT = "Use relu here, or a ReLU or LeakyReLU layer behind it"
_ANY_WAY_OUT = ("Leave it float, give it a QuantizeConfig of its own (configs={name: …}), or write that part with "
                "layers that are supported")
_RECURRENT = "Leave it float and quantize it after training: the Toolkit has no ranges for recurrent cells"


def quantize_aware(
    model: tf_keras.Model,
    bits: int | tuple[int, int] = 8,
    only: str | Iterable[str] | Callable[[tf_keras.layers.Layer], bool] | None = None,
    *,
    per_channel: bool | None = None,
    refused: str = "warn",
    configs: Mapping[str, object] | None = None,
    calibration: np.ndarray | Sequence[np.ndarray] | None = None,
    clip: str = "minmax",
) -> tf_keras.Model:
    """A copy of `model` with the same weights and fake quantization in each layer; `model` stays as it is.

    Args:
        model: a built Sequential or functional tf_keras model, without models inside it.
        bits: 2 to 8, for weights and activations alike, or (bits of weights, bits of activations).  Only 8-bit
            activations can be converted; fewer are a simulation (see `to_tflite`).
        only: which layers: None for all that the Toolkit supports, a name, several names, or a function of the layer.
        per_channel: None as the Toolkit does it: convolutions have one scale for each output channel, dense layers
            one in all; True gives dense layers one for each unit; False one for each weight array.  `to_tflite`
            refuses what the converter cannot carry over: True with dense layers, False with batch normalization.
        refused: what to do when a wanted layer is refused: "warn" leaves it float and says so in a warning,
            "float" leaves it float, "raise" raises.  `refused_layers` lists them beforehand.  What comes out of a
            refused layer gets a range where that is possible, so that the layer behind it can be an integer one.
        configs: {layer name: QuantizeConfig} for layers that get their own; they are quantized even if not in `only`.
        calibration, clip: inputs on which the ranges are measured, and how (see `calibrate`).  Without them the ranges
            of activations start at ±6 and need thousands of steps to forget it.

    Raises:
        TypeError: no tf_keras model (a Keras 3 model, for example).
        ValueError: bad bits; nested, subclassed or already quantized model; unknown layer; nothing to quantize;
            a refused layer with refused="raise".
    """
    weights, activations = _check_pair(bits)
    _check_model(model)
    if refused not in ("warn", "float", "raise"):
        raise ValueError(f"refused is {refused!r}; pass 'warn', 'float' or 'raise'")
    configs = _check_configs(model, configs)
    chosen = _chosen(model, only) | set(configs)
    scheme = _Scheme(weights, activations, per_channel)
    made, refusals = _apply(model, chosen, configs, scheme)
    if refusals and refused == "raise":
        raise ValueError("the Toolkit refuses " + "; ".join(map(str, refusals.values())))
    if made is None:
        reason = "; ".join(map(str, refusals.values())) or "no layer was chosen"
        raise ValueError(f"nothing in the model {model.name!r} would be quantized: {reason}")
    if refusals and refused == "warn":
        warnings.warn("left float: " + "; ".join(map(str, refusals.values())), stacklevel=2)
    if calibration is not None:
        calibrate(made, calibration, clip=clip)
    return made


def refused_layers(model: tf_keras.Model) -> dict[str, Refusal]:
    """{name: Refusal} of the layers of `model` that the Toolkit refuses, found by letting it try.

    Asked is its n-bit scheme at 8 bits, which equals the default one but for Activation("gelu").
    """
    _check_model(model)
    return _apply(model, _chosen(model, None), {}, _Scheme(8, 8, None))[1]


def layer_config(
    weights: Sequence[str] = (), activations: Sequence[str] = ("activation",), *, output: bool = False,
    bits: int | tuple[int, int] = 8,
) -> object:
    """A QuantizeConfig for a layer that the Toolkit does not know: which of its attributes to quantize.

    weights: names of attributes that hold weights, such as ["kernel"]; one scale for each.
    activations: names of attributes that hold an activation function; () for a layer without.
    output: quantize what the layer returns instead (for layers without an activation attribute).
    """
    pair = _check_pair(bits)
    if not weights and not activations and not output:
        raise ValueError("this configuration quantizes nothing; name weights=['kernel'], or pass output=True. "
                         "To leave a layer float, use only=")
    return registry_n.DefaultNBitQuantizeConfig(list(weights), list(activations), output, *pair)


def calibrate(model: tf_keras.Model, x: np.ndarray | Sequence[np.ndarray], *, clip: str = "minmax") -> None:
    """Set every range of a model made by `quantize_aware` from data, in place, as post-training quantization does.

    Each layer sees its input already quantized, from the first layer on.  Weights get the range of their values.

    Args:
        model: made by `quantize_aware`.
        x: some 100 to 500 inputs, prepared as in training; one array, or a list of one for each input.
        clip: "minmax" covers all activations; "mse" takes the part of that range with the least mean squared error,
            which is better with few bits and no worse with many.

    Raises ValueError for a model without fake quantization, and for x that is empty, not finite or of another shape.
    """
    if clip not in ("minmax", "mse"):
        raise ValueError(f"clip is {clip!r}; pass 'minmax' or 'mse'")
    if not _is_quantized(model):
        raise ValueError(f"the model {getattr(model, 'name', model)!r} has no fake quantization; "
                         "pass it through quantize_aware")
    arrays = _check_inputs(model, x)
    with _observing(clip):
        model(arrays if len(arrays) > 1 else arrays[0], training=False)


def precision(model: tf_keras.Model) -> list[dict[str, str]]:
    """One row for each layer of a model made by `quantize_aware`: what is quantized there, and how finely.

    Columns: layer, kind, weights ("4 bits per channel", "float", "" without weights), output ("8 bits", "float").
    A layer whose output says "float" is usually fused with the next one, which has the range of both.
    """
    rows = []
    for layer in model.layers:
        if isinstance(layer, tf_keras.layers.InputLayer):
            continue
        inner = layer.layer if isinstance(layer, _keras.QuantizeWrapper) else layer
        rows.append({"layer": inner.name, "kind": type(inner).__name__, "weights": _weight_precision(layer, inner),
                     "output": _output_precision(layer)})
    return rows


def ranges(model: tf_keras.Model) -> dict[str, tuple[float, float]]:
    """{layer: (low, high)} of the activations that leave each layer, as the Toolkit keeps them now.

    Layers by their names in the plain model; the inputs' range is under the name of the Toolkit's own layer.
    """
    found = {}
    for layer in model.layers:
        name = layer.layer.name if isinstance(layer, _keras.QuantizeWrapper) else layer.name
        ends = {end: [w for w in layer.weights if re.search(rf"(output|activation|quantize_layer\w*)_{end}:0$", w.name)]
                for end in ("min", "max")}
        if ends["min"]:
            found[name] = tuple(float(ends[end][-1]) for end in ("min", "max"))
    return found


def stored_kernel(artifact: Artifact, number: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(integers, scales) of the `number`-th convolution or dense layer of a .tflite file, output channels last.

    Raises ValueError if there are fewer, or if that one is not quantized.
    """
    names = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    kernels = [op.inputs[1] for op in artifact.runner.summary() if op.name in names]
    if not 0 <= number < len(kernels) or kernels[number].quantization is None:
        raise ValueError(f"the file has {len(kernels)} convolutions and dense layers, quantized are numbers "
                         f"{[i for i, kernel in enumerate(kernels) if kernel.quantization]}; got {number}")
    values, quantized = artifact.runner.values(kernels[number]), kernels[number].quantization
    depthwise = values.ndim == 4 and values.shape[0] == 1 and quantized.axis == 3  # its channels are last already
    values = values if depthwise else np.moveaxis(values, 0, -1)
    return values.astype(np.int64), np.asarray(quantized.scales)


def integer_kernel(model: tf_keras.Model, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """(integers, scales) of a layer's weights, on the grid that the last training step used.

    layer: its name in the plain model.  Returns int64 in the weights' shape, and one scale or one for each channel of
    the last axis.  Raises ValueError if there is no such layer or its weights are not quantized.
    """
    wrappers = {w.layer.name: w for w in model.layers if isinstance(w, _keras.QuantizeWrapper) and w._weight_vars}
    if layer not in wrappers:
        raise ValueError(f"no layer {layer!r} with quantized weights; there are {sorted(wrappers)}")
    weight, quantizer, limits = wrappers[layer]._weight_vars[0]
    top = 2 ** (quantizer.num_bits - 1) - 1
    scales = np.asarray(limits["max_var"]) / top
    integers = np.floor(np.asarray(weight) / np.where(scales > 0, scales, 1) + 0.5)
    return np.clip(integers, -top, top).astype(np.int64), scales


# ---------------------------------------------------------------- training


def recover(
    model: tf_keras.Model,
    dataset: object,
    epochs: int = 1,
    *,
    learning_rate: float = 1e-3,
    decay: bool = True,
    batch_size: int = 64,
    teacher: tf_keras.Model | None = None,
    temperature: float = 2.0,
    soft_share: float = 0.9,
    freeze_statistics: bool = False,
    keep_zeros: bool = False,
    seed: int = SEED,
) -> dict[str, list[float]]:
    """Fine-tune an optimized classifier (quantized, pruned, …) in place, to win back what optimizing cost.

    Args:
        model: tf_keras classifier that returns logits.
        dataset: (pictures, labels) or a `data.Dataset`, of which the training part is used.
        epochs, learning_rate, batch_size, seed: as in `training.fit`.  decay: let the rate fall to 0 (half cosine).
        teacher: the model before it was optimized, which returns logits of the same shape; its soft targets are
            learnt beside the labels (Hinton et al. 2015, arXiv 1503.02531).
        temperature: divides the logits on both sides; above 0.  soft_share: weight of the soft targets, 0 to 1.
        freeze_statistics: batch normalization keeps its moving mean and variance and uses them in training too.
        keep_zeros: weights that are 0 at the start stay 0, so that a pruned model stays pruned.

    Returns the history: one list for each metric, one value for each epoch.
    Raises ValueError or TypeError for what does not fit, FloatingPointError if the loss is no longer finite.
    """
    training.check_model(model)
    x, y = (dataset.x_train, dataset.y_train) if hasattr(dataset, "x_train") else dataset
    callbacks = [_KeepZeros(model)] if keep_zeros else []
    with _frozen_statistics(model) if freeze_statistics else contextlib.nullcontext():
        if teacher is None:
            return training.fit(model, (x, y), epochs, batch_size=batch_size, learning_rate=learning_rate,
                                decay=decay, seed=seed, callbacks=callbacks)
        _check_teacher(model, teacher, temperature, soft_share)
        loss = _soft_loss(temperature, soft_share)
        targets = _soft_targets(teacher, np.asarray(x), np.asarray(y))
        steps = epochs * -(-len(x) // batch_size)
        rate = tf_keras.optimizers.schedules.CosineDecay(learning_rate, steps) if decay else learning_rate
        model.compile(tf_keras.optimizers.Adam(rate), loss)
        tf_keras.utils.set_random_seed(seed)
        history = model.fit(x, targets, batch_size=batch_size, epochs=epochs, verbose=0, callbacks=callbacks).history
    if not np.all(np.isfinite(history["loss"])):
        raise FloatingPointError(f"the loss became {history['loss'][-1]}; take a learning rate below {learning_rate:g}")
    return {name: [float(v) for v in values] for name, values in history.items()}


# ---------------------------------------------------------------- the file, and files


def to_tflite(model: tf_keras.Model) -> Artifact:
    """The .tflite file of a model made by `quantize_aware`: float32 in and out, integers between.

    The ranges come from training, so no calibration is needed.  8-bit activations with weights of 8 bits or fewer
    convert; weights of 2 to 4 bits are stored in 4.  Raises ValueError for what exists only in simulation: other
    activations (TF Lite has no kernel for them), and dense layers with one scale for each unit.
    """
    if not _is_quantized(model):
        raise ValueError(f"the model {getattr(model, 'name', model)!r} has no fake quantization; for a plain model use "
                         "quantization.convert")
    _check_convertible(model)
    try:
        return quantization.convert(model, "dynamic")
    except Exception as error:
        if type(error).__name__ != "ConverterError":
            raise
        found = re.search(r"error: (.+)", str(error))
        raise ValueError(f"the converter refuses the model {model.name!r}: {found[1] if found else error}") from None


@dataclass(frozen=True)
class Agreement:
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


def agreement(model: tf_keras.Model, artifact: Artifact, x: np.ndarray) -> Agreement:
    """Compare a classifier with the file made of it, on inputs x.

    model: made by `quantize_aware`, one output of shape (n, classes).  artifact: its .tflite file.
    Raises ValueError if the file's output is not quantized, because then there is no output step.
    """
    ours = np.asarray(model.predict(x, batch_size=500, verbose=0), np.float64)
    theirs = np.asarray(artifact.predict(x), np.float64)
    if ours.shape != theirs.shape or ours.ndim != 2:
        raise ValueError(f"the model gives {ours.shape}, the file {theirs.shape}; both must be (n, classes)")
    step = _output_step(artifact)
    first, second = ours.argmax(axis=1), theirs.argmax(axis=1)
    apart = np.flatnonzero(first != second)
    margins = (ours[apart, first[apart]] - ours[apart, second[apart]]) / step
    return Agreement(float(np.mean(first == second)), apart, margins, float(np.abs(ours - theirs).max() / step), step)


def save(model: tf_keras.Model, path: object) -> None:
    """Store a model made by `quantize_aware` for further training; the path must end in .h5.

    The .keras format stores it and cannot load it again (the wrapper's weights are listed twice).
    """
    path = Path(path)
    if path.suffix != ".h5":
        raise ValueError(f"{path.name!r} must end in .h5: a .keras file of a quantized model cannot be loaded again")
    with tempfile.TemporaryDirectory() as folder, quantization.quiet():  # Keras recommends .keras, which fails here
        model.save(Path(folder) / "model.h5")
        data.write_bytes(path, (Path(folder) / "model.h5").read_bytes())


def load(path: object, custom_objects: Mapping[str, object] | None = None) -> tf_keras.Model:
    """Read what `save` stored, not compiled.

    custom_objects: {name: class} of QuantizeConfigs, Quantizers and layers of your own.
    """
    with _keras.quantize_scope(dict(custom_objects or {})):
        return tf_keras.models.load_model(path, compile=False)


# ---------------------------------------------------------------- the Toolkit's machinery


class _Scheme(scheme_n.DefaultNBitQuantizeScheme):
    """The Toolkit's n-bit scheme, with a say in the granularity of dense layers.  At 8 bits it equals the default."""

    def __init__(self, weights: int, activations: int, per_channel: bool | None) -> None:
        super().__init__(per_channel is False, num_bits_weight=weights, num_bits_activation=activations)
        self._bits, self._dense_per_channel = (weights, activations), per_channel is True
        self.activation_bits = activations

    def get_quantize_registry(self):
        registry = super().get_quantize_registry()
        if self._dense_per_channel:
            registry._layer_quantize_map[tf_keras.layers.Dense] = registry_n.DefaultNBitConvQuantizeConfig(
                ["kernel"], ["activation"], False, *self._bits)
        return registry


def _apply(model, chosen: set[str], configs: Mapping[str, object], scheme: _Scheme):
    """(quantized copy or None, refusals): asks the Toolkit again without each layer that it refuses."""
    registry = scheme.get_quantize_registry()
    refusals = {layer.name: why for layer in model.layers
                if layer.name in chosen - set(configs) and (why := _refused_at_sight(layer, registry))}
    with _keras.quantize_scope(_custom_classes(model, configs)):
        while wanted := chosen - set(refusals):
            try:
                return _quantize(model, wanted, set(refusals), configs, scheme), refusals
            except RuntimeError as error:
                name = re.match(r"Layer (\S+?):", str(error))
                if not name or name[1] not in wanted:
                    raise
                refusals[name[1]] = _refusal(model.get_layer(name[1]), "the Toolkit has no rule for it in this place")
    return None, refusals


def _quantize(model, wanted: set[str], refused: set[str], configs: Mapping[str, object], scheme: _Scheme):
    """Let the Toolkit quantize `wanted`; where it can be, what comes out of a refused layer gets a range too.

    Without that range the layer behind a refused one would stay float in the file, as its input is not quantized.
    """
    output_only = layer_config(activations=(), output=True, bits=(8, scheme.activation_bits))
    ranges = {name: output_only for name in refused if _takes_one_tensor(model.get_layer(name))}
    try:
        return _keras.quantize_apply(_annotate(model, wanted | set(ranges), ranges | dict(configs)), scheme)
    except RuntimeError:
        raise
    except Exception:  # a refused layer that cannot be wrapped: whatever it raises, the plain way is left
        if not ranges:
            raise
        return _keras.quantize_apply(_annotate(model, wanted, configs), scheme)


def _annotate(model, wanted: set[str], configs: Mapping[str, object]):
    """A clone with the weights of `model` in which the wanted layers are marked for quantization."""
    clone = tf_keras.models.clone_model(model)
    clone.set_weights(model.get_weights())

    def mark(layer):
        return _keras.quantize_annotate_layer(layer, configs.get(layer.name)) if layer.name in wanted else layer

    return tf_keras.models.clone_model(clone, clone_function=mark)


def _takes_one_tensor(layer) -> bool:
    """True for a layer that is called as `layer(x)` and returns one tensor: those the Toolkit's wrapper can hold."""
    if "Lambda" in type(layer).__name__ or isinstance(layer, tf_keras.layers.RNN) or len(layer._inbound_nodes) != 1:
        return False
    node = layer._inbound_nodes[0]
    single = len(node.call_args) == 1 and not isinstance(node.outputs, (list, tuple, dict))
    return single and not any(tf.nest.flatten(node.call_kwargs))


def _refused_at_sight(layer, registry) -> Refusal | None:
    """What the registry alone can tell; normalization and separable convolutions depend on the layers around them."""
    if type(layer).__name__ in ("BatchNormalization", "SeparableConv1D", "SeparableConv2D"):
        return None
    if not registry.supports(layer):
        return _refusal(layer, "the Toolkit has no rule for this kind of layer")
    activation = _activation_name(layer)
    known = _ACTIVATION_LAYERS if isinstance(layer, tf_keras.layers.Activation) else _FUSED_ACTIVATIONS
    if activation is not None and activation not in known:
        return Refusal(layer.name, type(layer).__name__, f"the Toolkit has no rule for the activation {activation!r}",
                       _ACTIVATION_WAY_OUT)
    return None


def _activation_name(layer) -> str | None:
    """Name of the activation function that a layer applies, None if it has none."""
    activation = getattr(layer, "activation", None)
    return None if activation is None else getattr(activation, "__name__", type(activation).__name__)


def _refusal(layer, reason: str) -> Refusal:
    kind = type(layer).__name__
    recurrent = isinstance(layer, tf_keras.layers.RNN)
    return Refusal(layer.name, kind, reason, _WAYS_OUT.get(kind, _RECURRENT if recurrent else _ANY_WAY_OUT))


def _custom_classes(model, configs: Mapping[str, object]) -> dict[str, type]:
    """The user's own layers and configurations, which the Toolkit must find by name when it rebuilds the model."""
    own = [type(layer) for layer in model.layers] + [type(config) for config in configs.values()]
    return {cls.__name__: cls for cls in own if not cls.__module__.startswith(("tf_keras", "tensorflow_model_optim"))}


@contextlib.contextmanager
def _observing(clip: str) -> Iterator[None]:
    """While this is open, each quantizer sets its range from what passes through it, then quantizes with it.

    The Toolkit's own way is a moving average with decay 0.999 from ±6: thousands of batches until it forgets the ±6.
    Its quantizers call these three functions through their module, so replacing them there reaches every quantizer.
    """
    last_value = quant_ops.LastValueQuantize

    def weights(inputs, *args, **kwargs):
        return last_value(inputs, *args, **kwargs | {"is_training": True})

    def activations(inputs, min_var, max_var, *, num_bits=8, narrow_range=False, **_):
        low, high = _extent(np.asarray(inputs), num_bits, clip)
        min_var.assign(low)
        max_var.assign(high)
        return quant_ops._FakeQuantWithMinMaxVars(inputs, min_var, max_var, False, num_bits, narrow_range)

    with (mock.patch.object(quant_ops, "LastValueQuantize", weights),
          mock.patch.object(quant_ops, "MovingAvgQuantize", activations),
          mock.patch.object(quant_ops, "AllValuesQuantize", activations)):
        yield


def _extent(values: np.ndarray, bits: int, clip: str) -> tuple[float, float]:
    """The range for these activations; 0 lies in it, and it is never empty."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if low == high:
        return 0.0, 1.0
    if clip == "minmax":
        return low, high
    few = values.reshape(-1)[:: max(1, values.size // 20_000)]  # the error of 20,000 values says enough
    low, high = quantization.best_clip(few, bits, candidates=40).range
    return float(low), float(high)


def _is_quantized(model: object) -> bool:
    wrappers = (_keras.QuantizeWrapper, quantize_layer.QuantizeLayer)
    return isinstance(model, tf_keras.Model) and any(isinstance(layer, wrappers) for layer in model.layers)


def _activation_quantizers(layer) -> list:
    """The quantizers of a layer's activations; of a model's, those of all its layers."""
    if isinstance(layer, tf_keras.Model):
        return [quantizer for inner in layer.layers for quantizer in _activation_quantizers(inner)]
    if isinstance(layer, quantize_layer.QuantizeLayer):
        return [layer.quantizer] if layer.quantizer else []
    if not isinstance(layer, _keras.QuantizeWrapper):
        return []
    active = [a.quantizer for a in layer._quantize_activations if a._should_pre_quantize() or a._should_post_quantize()]
    return [*active, *(layer._output_quantizers or [])]


def _weight_precision(layer, inner) -> str:
    quantizers = [q for _, q, _ in layer._weight_vars] if isinstance(layer, _keras.QuantizeWrapper) else []
    if not quantizers:
        return "float" if inner.weights else ""
    bits, each = getattr(quantizers[0], "num_bits", None), getattr(quantizers[0], "per_axis", False)
    return f"{bits} bits per {'channel' if each else 'tensor'}" if bits else type(quantizers[0]).__name__


def _output_precision(layer) -> str:
    found = _activation_quantizers(layer)
    if not found:
        return "float"
    return f"{found[0].num_bits} bits" if hasattr(found[0], "num_bits") else type(found[0]).__name__


# ---------------------------------------------------------------- training's parts


class _KeepZeros(tf_keras.callbacks.Callback):
    """Set back to 0, after each step, what was 0 at the start."""

    def __init__(self, model) -> None:
        super().__init__()
        kernels = [w for w in model.trainable_weights if w.shape.rank >= 2]
        self._masks = [(w, tf.cast(w != 0, w.dtype)) for w in kernels if not np.all(np.asarray(w))]

    def on_train_batch_end(self, batch, logs=None) -> None:
        for weight, mask in self._masks:
            weight.assign(weight * mask)


@contextlib.contextmanager
def _frozen_statistics(model) -> Iterator[None]:
    """Batch normalization in inference mode; Keras 2 ties that to `trainable`."""
    layers = [getattr(layer, "layer", layer) for layer in model.layers]
    found = [layer for layer in layers if isinstance(layer, tf_keras.layers.BatchNormalization) and layer.trainable]
    for layer in found:
        layer.trainable = False
    try:
        yield
    finally:
        for layer in found:
            layer.trainable = True


def _soft_targets(teacher, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n, 2, classes): the labels as one-hot vectors, and the teacher's logits, computed once."""
    logits = teacher.predict(x, batch_size=500, verbose=0)
    return np.stack([np.eye(logits.shape[1], dtype=np.float32)[y], logits], axis=1)


def _soft_loss(temperature: float, soft_share: float) -> Callable:
    """Hinton's loss; T² keeps the gradients of the soft part as large as at temperature 1."""
    def loss(targets, logits):
        soft = tf.nn.softmax(targets[:, 1] / temperature)
        hard_part = tf.nn.softmax_cross_entropy_with_logits(targets[:, 0], logits)
        soft_part = tf.nn.softmax_cross_entropy_with_logits(soft, logits / temperature) * temperature**2
        return soft_share * soft_part + (1 - soft_share) * hard_part

    return loss


def _output_step(artifact: Artifact) -> float:
    """Distance of two neighbouring values of the file's output."""
    operators = artifact.runner.summary()
    last = operators[-1]
    tensor = last.inputs[0] if last.name == "DEQUANTIZE" else last.outputs[0]
    if tensor.quantization is None:
        raise ValueError("the file's output is not quantized (the last layer stayed float), so there is no output step")
    return float(tensor.quantization.scales[0])


# ---------------------------------------------------------------- checks


def _check_convertible(model) -> None:
    few = sorted({q.num_bits for q in _activation_quantizers(model) if hasattr(q, "num_bits")} - {8})
    if few:
        raise ValueError(f"this model has {few[0]}-bit activations, which exist only in simulation: no kernel "
                         "of TF Lite takes them. Convert a model with 8-bit activations, such as bits=(4, 8)")
    dense = [layer.layer.name for layer in model.layers if isinstance(layer, _keras.QuantizeWrapper)
             and isinstance(layer.layer, tf_keras.layers.Dense)
             and any(getattr(quantizer, "per_axis", False) for _, quantizer, _ in layer._weight_vars)]
    if dense:
        raise ValueError(f"the dense layers {dense} have one scale for each unit, which the converter cannot read from "
                         "fake quantization; leave per_channel at None, or quantize after training instead")
    folded = [layer.layer.name for layer in model.layers if _is_folded_per_tensor(layer)]
    if folded:
        raise ValueError(f"batch normalization behind {folded} multiplies each channel by another number, so one "
                         "scale for all channels is lost, and the converter leaves these layers float; leave "
                         "per_channel at None")


def _is_folded_per_tensor(layer) -> bool:
    """True for a convolution with one scale in all and batch normalization behind it."""
    if not isinstance(layer, _keras.QuantizeWrapper) or not isinstance(layer.layer, tf_keras.layers.Conv2D):
        return False
    behind = [getattr(node.layer, "layer", node.layer) for node in layer._outbound_nodes]
    normalized = any(isinstance(next_one, tf_keras.layers.BatchNormalization) for next_one in behind)
    return normalized and any(not getattr(quantizer, "per_axis", True) for _, quantizer, _ in layer._weight_vars)


def _check_bits(bits: object, top: int) -> int:
    if isinstance(bits, bool) or not isinstance(bits, numbers.Integral) or not 2 <= bits <= top:
        raise ValueError(f"bits is {bits!r}; pass a whole number from 2 to {top}")
    return int(bits)


def _check_pair(bits: object) -> tuple[int, int]:
    if isinstance(bits, (tuple, list)):
        if len(bits) != 2:
            raise ValueError(f"bits is {bits!r}; pass one number, or (bits of weights, bits of activations)")
        return _check_bits(bits[0], 8), _check_bits(bits[1], 8)
    return _check_bits(bits, 8), int(bits)


def _check_model(model: object) -> None:
    training.check_model(model)
    if not isinstance(model, tf_keras.Sequential) and not getattr(model, "_is_graph_network", False):
        raise ValueError(f"{type(model).__name__} is a subclassed model; the Toolkit rewrites only Sequential and "
                         "functional ones. If it is made of layers, utils.optimize.toolkit.flattened(model) turns it "
                         "into one")
    if not model.built:
        raise ValueError(f"the model {model.name!r} has no weights yet; give it an input shape, or call it once")
    if _is_quantized(model):
        raise ValueError(f"the model {model.name!r} already has fake quantization; start from the float model")
    nested = [layer.name for layer in model.layers if isinstance(layer, tf_keras.Model)]
    if nested:
        raise ValueError(f"the model {model.name!r} contains the models {nested}, which the Toolkit does not open; "
                         "pass utils.optimize.toolkit.flattened(model)")


def _check_configs(model, configs: Mapping[str, object] | None) -> dict[str, object]:
    configs = dict(configs or {})
    _check_names(model, configs)
    for name, config in configs.items():
        if not isinstance(config, _keras.QuantizeConfig):
            raise TypeError(f"configs[{name!r}] is a {type(config).__name__}; pass a QuantizeConfig, such as "
                            "layer_config(['kernel'])")
    return configs


def _chosen(model, only) -> set[str]:
    names = [layer.name for layer in model.layers if not isinstance(layer, tf_keras.layers.InputLayer)]
    if only is None:
        return set(names)
    if callable(only):
        return {layer.name for layer in model.layers if layer.name in names and only(layer)}
    wanted = [only] if isinstance(only, str) else list(only)
    _check_names(model, wanted)
    return set(wanted) & set(names)


def _check_names(model, wanted: Iterable[str]) -> None:
    names = [layer.name for layer in model.layers]
    for name in wanted:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {names}"
            raise ValueError(f"the model has no layer {name!r}; {hint}")


def _check_inputs(model, x) -> list[np.ndarray]:
    arrays = [np.asarray(a) for a in (x if isinstance(x, (list, tuple)) else [x])]
    if len(arrays) != len(model.inputs):
        raise ValueError(f"the model has {len(model.inputs)} inputs, {len(arrays)} arrays were passed")
    for array, wanted in zip(arrays, model.inputs, strict=True):
        shape = tuple(wanted.shape[1:])
        if array.ndim != len(shape) + 1 or any(s not in (None, n) for n, s in zip(array.shape[1:], shape, strict=True)):
            raise ValueError(f"the inputs have shape {array.shape}; the model takes (n, {', '.join(map(str, shape))})")
        if array.size == 0 or not np.all(np.isfinite(array)):
            raise ValueError(f"the inputs of shape {array.shape} are empty or hold NaN; pass some 100 to 500, prepared "
                             "as in training")
    return [tf.convert_to_tensor(a, w.dtype) for a, w in zip(arrays, model.inputs, strict=True)]


def _check_teacher(model, teacher, temperature: float, soft_share: float) -> None:
    training.check_model(teacher)
    if teacher.output_shape != model.output_shape:
        raise ValueError(f"the teacher gives {teacher.output_shape}, the model {model.output_shape}; pass a teacher "
                         "with the same outputs")
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature!r}; pass a number above 0, such as 2")
    if not 0 <= soft_share <= 1:
        raise ValueError(f"soft_share is {soft_share!r}; pass a number from 0 to 1")
