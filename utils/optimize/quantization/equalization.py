"""Cross-layer equalization and bias correction, without training (Nagel et al. 2019, arXiv 1906.04721).

A ReLU lets positive factors through: relu(s·x) = s·relu(x).  So the output channel of one layer may be divided by s and
the next layer's weights for it multiplied by s, and the network computes the same.  Equalization chooses s so that both
layers' weights of a channel reach equally far; one scale for a whole tensor then fits all channels.

    equal = equalize(without_relu6(model))
    better = correct_biases(equal, samples, per_channel=False)
    artifact = converter.convert(better, "int8", samples, per_channel=False)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from utils import checks
from utils.optimize import keras_weights
from utils.optimize.keras_graph import nodes, rebuild, walk
from utils.optimize.quantization import grid as qz

_K = tf_keras.layers

#: Layers that can be rescaled, and the axis of their kernel that counts inputs.
_INPUT_AXIS = {_K.Conv1D: 1, _K.Conv2D: 2, _K.DepthwiseConv2D: 2, _K.Dense: 0}

#: Layers that multiply what comes out when what goes in is multiplied by a positive number, channel by channel.
_LETS_THROUGH = (
    *(_K.Dropout, _K.SpatialDropout1D, _K.SpatialDropout2D, _K.Flatten, _K.LeakyReLU),
    *(_K.MaxPooling1D, _K.MaxPooling2D, _K.GlobalMaxPooling1D, _K.GlobalMaxPooling2D),
    *(_K.AveragePooling1D, _K.AveragePooling2D, _K.GlobalAveragePooling1D, _K.GlobalAveragePooling2D),
    *(_K.ZeroPadding1D, _K.ZeroPadding2D, _K.Cropping1D, _K.Cropping2D, _K.UpSampling1D, _K.UpSampling2D),
)

#: Activations that do so.
_HOMOGENEOUS = (tf_keras.activations.linear, tf_keras.activations.relu)


@dataclass(frozen=True)
class Pair:
    """Two layers of which the second is the only one that takes the output of the first, channel by channel."""

    first: str
    second: str


# ---------------------------------------------------------------- rewriting


def fold(model: tf_keras.Model) -> tf_keras.Model:
    """A copy of `model` without the batch normalizations that follow a convolution or a dense layer directly.

    kernel · f and (bias - mean) · f + beta, f = gamma / sqrt(variance + epsilon) (Jacob et al. 2018, eq. 14): what the
    converter does, so that one sees the weights that are quantized.  The outputs stay as they are, in inference.
    """
    checks.check_model(model, graph=True)
    norms = {norm.name: layer for layer, norm in _normalized(model)}
    settings = {layer.name: {"use_bias": True} for layer in norms.values()}

    def change(layer: Any, arguments: tuple, apply: Callable) -> Any:
        return arguments[0] if layer is None or layer.name in norms else apply(layer, *arguments)

    folded = rebuild(model, change, settings)
    for name, layer in norms.items():
        factor, shift = qz.scale_and_shift(model.get_layer(name))
        kernel, *bias = layer.get_weights()
        shape = _broadcast(kernel, _output_axes(layer))
        folded.get_layer(layer.name).set_weights(
            [kernel * factor.reshape(shape), (bias[0] if bias else 0) * factor + shift]
        )
    return folded


def without_relu6(model: tf_keras.Model) -> tf_keras.Model:
    """A copy of `model` with ReLU in the place of ReLU6 (and of any ReLU with a largest value).

    The outputs change where an activation exceeds that value: measure on data what that costs.  ReLU6 cannot be
    equalized: its limit of 6 would have to be another one in each channel.
    """
    checks.check_model(model, graph=True)
    settings: dict[str, dict] = {}
    for layer in model.layers:
        config = layer.get_config()
        if type(layer).__name__ == "ReLU":
            settings[layer.name] = {"max_value": None}
        elif config.get("activation") == "relu6":
            settings[layer.name] = {"activation": "relu"}
    return rebuild(model, None, settings)


# ---------------------------------------------------------------- equalization


def pairs(model: tf_keras.Model) -> list[Pair]:
    """The pairs of layers whose common channels can be rescaled, in order of execution.

    Conv1D, Conv2D, DepthwiseConv2D and Dense, with a ReLU or nothing between them, and layers that only move, pick or
    average values.  Left out: a tensor that two layers take (branches), layers that are used twice, groups, channels
    that come first, and what follows on another activation.
    """
    checks.check_model(model, graph=True)
    return [Pair(first.name, second.name) for first, second, _ in _pairs(model)]


def equalize(model: tf_keras.Model, *, rounds: int = 50) -> tf_keras.Model:
    """A copy of `model`, normalization folded, in which both layers of each pair reach equally far in each channel.

    s = sqrt(r1 · r2) / r2, r1 and r2 the largest absolute weights of the channel in the first and second layer (Nagel
    et al. 2019, eq. 11); repeated until nothing moves, because a layer belongs to two pairs.  A channel without weights
    on one side stays as it is, and one whose r1 / r2 float32 cannot hold.  The outputs are those of `model` up to float
    rounding.

    rounds: at most so many passes over all pairs.
    Raises ValueError if there is no pair, and says why: ReLU6 (`without_relu6`), normalization, branches; and for a
    model that is subclassed, not in float32 or not finite.
    """
    if isinstance(rounds, bool) or not isinstance(rounds, (int, np.integer)) or rounds < 1:
        raise ValueError(f"rounds is {rounds!r}; pass a whole number of at least 1")
    copy, found = _foldable_pairs(model)
    for _ in range(rounds):
        moved = 0.0
        for first, second, repeats in found:
            r1, r2 = _reach(first, output=True), _reach(second, output=False).reshape(repeats, -1).max(0)
            factor = _factor(r1, r2)
            _rescale(first, second, factor, repeats)
            moved = max(moved, float(np.abs(np.log(factor)).max()))
        if moved < 1e-3:
            break
    return copy


def unbalance(
    model: tf_keras.Model, factor: float = 1000.0, *, share: float = 0.0, seed: int = 0, only: str = "Depthwise"
) -> tf_keras.Model:
    """The opposite of `equalize`: the same function, with weights that are hard to quantize per tensor.

    In the pairs whose second layer's class has `only` in its name, some channels of the first layer are divided by
    `factor`, the second layer's are multiplied by it.  So a channel looks whose normalization met a tiny variance.
    share: of the channels, drawn by `seed`; at least one in each pair.
    Outputs as those of `model`, up to float rounding.  Errors as in `equalize`.
    """
    if not np.isfinite(factor) or factor <= 0 or not 0 <= share <= 1:
        raise ValueError(f"factor is {factor!r} and share {share!r}; pass a factor above 0 and a share from 0 to 1")
    copy, found = _foldable_pairs(model)
    rng = np.random.default_rng(seed)
    chosen = [pair for pair in found if only in type(pair[1]).__name__]
    if not chosen:
        raise ValueError(
            f"no pair of {model.name!r} ends in a layer whose class has {only!r} in its name; there are "
            f"{sorted({type(second).__name__ for _, second, _ in found})}"
        )
    for first, second, repeats in chosen:
        channels = _reach(first, output=True).size
        picked = rng.permutation(channels)[: max(round(share * channels), 1)]
        with np.errstate(over="ignore"):  # infinite weights are refused below
            _rescale(first, second, np.where(np.isin(np.arange(channels), picked), factor, 1.0), repeats)
    if not all(np.isfinite(weight).all() for weight in copy.get_weights()):
        raise ValueError(f"factor is {factor!r}, which makes weights infinite; pass one nearer to 1")
    return copy


def channel_reach(model: tf_keras.Model, layer: str) -> np.ndarray:
    """The largest absolute weight of each output channel of `layer`: what a scale for each channel would follow."""
    checks.check_model(model, graph=True)
    found = {each.name: each for each in model.layers if type(each) in _INPUT_AXIS}
    if layer not in found:
        raise ValueError(f"{layer!r} is none of the layers with channels; there are {list(found)}")
    return _reach(found[layer], output=True)


# ---------------------------------------------------------------- bias correction


def output_shift(
    model: tf_keras.Model, samples: Any, bits: int = 8, *, per_channel: bool = True
) -> dict[str, np.ndarray]:
    """{layer: by how much rounding its weights, and those before it, moves the mean of each output channel}.

    Means over `samples` and positions, before the activation; quantized minus float.  Weights as in
    `grid.with_quantized_weights`, activations in float.
    """
    return _compare(model, samples, bits, per_channel, correct=False)[0]


def correct_biases(model: tf_keras.Model, samples: Any, bits: int = 8, *, per_channel: bool = True) -> tf_keras.Model:
    """A copy of `model`, normalization folded, whose biases make up for the mean error of its rounded weights.

    Rounding errors of weights do not cancel: inputs after a ReLU have a mean, so an output channel is shifted by mean
    input times sum of errors.  The shift is measured layer by layer, with all layers before corrected, and
    subtracted (Nagel et al. 2019, section 4.2, with data).  The copy's weights are *not* rounded; it is meant to be
    converted with the same bits and granularity, which round them.

    samples: inputs as in training, some hundred.  bits, per_channel: of the weights.
    """
    return _compare(model, samples, bits, per_channel, correct=True)[1]


class _Both:
    """An output of the float model and of the quantized one."""

    def __init__(self, plain: tf.Tensor, rounded: tf.Tensor) -> None:
        self.plain, self.rounded = plain, rounded


def _compare(model, samples, bits: int, per_channel: bool, *, correct: bool):
    folded = fold(model)
    settings = {layer.name: {"use_bias": True} for layer in folded.layers if type(layer) in _INPUT_AXIS}
    target = rebuild(folded, None, settings)
    for name in settings:
        target.get_layer(name).set_weights(_kernel_and_bias(folded.get_layer(name)))
    rounded = qz.with_quantized_weights(target, bits, per_channel=per_channel)
    shifts: dict[str, np.ndarray] = {}

    def call(layer, arguments, named):
        plain, other = (
            tf.nest.map_structure(
                lambda v, side=side: getattr(v, side) if isinstance(v, _Both) else v, (arguments, named)
            )
            for side in ("plain", "rounded")
        )
        twin = rounded.get_layer(layer.name)
        if layer.name not in settings or layer.name in shifts:
            both = (each(*values, **words) for each, (values, words) in ((layer, plain), (twin, other)))
            return tf.nest.map_structure(_Both, *both)
        before = [_linear(layer, plain[0][0]), _linear(twin, other[0][0])]
        moved = tf.reduce_mean(before[1] - before[0], axis=list(range(len(before[0].shape) - 1)))
        shifts[layer.name] = moved.numpy()
        if correct:
            before[1] -= moved
            for each in (layer, twin):
                kernel, bias = each.get_weights()
                each.set_weights([kernel, bias - moved.numpy()])
        return _Both(layer.activation(before[0]), layer.activation(before[1]))

    arrays = checks.fitting_inputs(target, samples, "samples")
    walk(target, [_Both(tf.constant(x), tf.constant(x)) for x in arrays], call)
    return shifts, target


def _linear(layer: tf_keras.layers.Layer, x: tf.Tensor) -> tf.Tensor:
    """The layer's output before its activation."""
    kept, layer.activation = layer.activation, tf_keras.activations.linear
    try:
        return layer(x)
    finally:
        layer.activation = kept


# ---------------------------------------------------------------- the graph


def _foldable_pairs(model: tf_keras.Model):
    copy = fold(model)
    found = _pairs(copy)
    if not found:
        relu6 = [layer.name for layer in copy.layers if _limit(layer) is not None]
        why = (
            f"{relu6[0]!r} ends at {_limit(copy.get_layer(relu6[0])):g}, and a limit does not scale along; pass "
            "without_relu6(model)"
            if relu6
            else f"it takes two of {', '.join(kind.__name__ for kind in _INPUT_AXIS)} with at most a ReLU between "
            "them, and no branch"
        )
        raise ValueError(f"the model {model.name!r} has no pair of layers to rescale: {why}")
    return copy, found


def _pairs(model: tf_keras.Model) -> list[tuple[tf_keras.layers.Layer, tf_keras.layers.Layer, int]]:
    """(first, second, repeats): channel c of the first is each input c + k · channels of the second, k < repeats."""
    following, found = _followers(model), []
    for first in _in_order(model):
        if not _can_rescale(first) or not _is_homogeneous(first):
            continue
        second = following.get(first.name)
        while second is not None and _passes(second):
            second = following.get(second.name)
        if second is None or not _can_rescale(second):
            continue
        channels, inputs = _reach(first, output=True).size, _reach(second, output=False).size
        if inputs % channels == 0:
            found.append((first, second, inputs // channels))
    return found


def _followers(model: tf_keras.Model) -> Mapping[str, tf_keras.layers.Layer]:
    """{layer: the one layer that takes its output}, of layers that are used once and whose output is used once."""
    calls = nodes(model)
    times = {node.layer.name: sum(n.layer is node.layer for n in calls) for node in calls}
    takers: dict[int, list] = {}
    for node in calls:
        for tensor in tf.nest.flatten(node.keras_inputs):
            takers.setdefault(id(tensor), []).append(node.layer)
    ends = {id(t) for t in model.outputs}
    found = {}
    for node in calls:
        output = tf.nest.flatten(node.outputs)
        next_ = takers.get(id(output[0]), [])
        if (
            len(output) == 1
            and len(next_) == 1
            and times[node.layer.name] == times[next_[0].name] == 1
            and id(output[0]) not in ends
        ):
            found[node.layer.name] = next_[0]
    return found


def _in_order(model: tf_keras.Model) -> list[tf_keras.layers.Layer]:
    return [node.layer for node in nodes(model)]


def _normalized(model: tf_keras.Model) -> list[tuple[tf_keras.layers.Layer, tf_keras.layers.Layer]]:
    """(layer, the normalization behind it) of those that can be folded."""
    following = _followers(model)
    both = [(layer, following.get(layer.name)) for layer in _in_order(model) if type(layer) in _INPUT_AXIS]
    return [
        (layer, norm)
        for layer, norm in both
        if type(norm).__name__ == "BatchNormalization"
        and layer.activation is tf_keras.activations.linear
        and _channels_last(layer)
        and tuple(norm.axis) == (len(norm.input_shape) - 1,)
    ]


def _channels_last(layer: tf_keras.layers.Layer) -> bool:
    return layer.get_config().get("data_format") != "channels_first"


def _can_rescale(layer: tf_keras.layers.Layer) -> bool:
    config = layer.get_config()
    return (
        type(layer) in _INPUT_AXIS
        and config.get("groups", 1) == 1
        and _channels_last(layer)
        and len(layer.inbound_nodes) == 1
    )


def _is_homogeneous(layer: tf_keras.layers.Layer) -> bool:
    return layer.activation in _HOMOGENEOUS


def _limit(layer: tf_keras.layers.Layer) -> float | None:
    """Where a ReLU with a largest value ends; None for all other layers."""
    config = layer.get_config()
    if type(layer).__name__ == "ReLU":
        return config["max_value"]
    return 6.0 if config.get("activation") == "relu6" else None


def _passes(layer: tf_keras.layers.Layer) -> bool:
    """Whether a factor of a channel that goes in comes out unchanged."""
    if not _channels_last(layer):
        return False
    if type(layer) is _K.ReLU:
        return layer.max_value is None and not layer.threshold
    if type(layer) is _K.Activation:
        return layer.activation in _HOMOGENEOUS
    return type(layer) in _LETS_THROUGH


# ---------------------------------------------------------------- weights


def _output_axes(layer: tf_keras.layers.Layer) -> tuple[int, ...]:
    """The axes of a layer's kernel that count its outputs; a depthwise layer's run over inputs, then multiplier."""
    return keras_weights.kernels(layer)[0].channels


def _broadcast(kernel: np.ndarray, axes: tuple[int, ...]) -> list[int]:
    """The shape in which one number for each channel, in the order of these axes, broadcasts against `kernel`."""
    return [size if axis in axes else 1 for axis, size in enumerate(kernel.shape)]


def _kernel_and_bias(layer: tf_keras.layers.Layer) -> list[np.ndarray]:
    kernel, *bias = layer.get_weights()
    outputs = np.prod(_broadcast(kernel, _output_axes(layer)))
    return [kernel, bias[0] if bias else np.zeros(outputs, kernel.dtype)]


def _reach(layer: tf_keras.layers.Layer, *, output: bool) -> np.ndarray:
    """The largest absolute weight of each channel that goes in or comes out."""
    kernel = np.abs(layer.get_weights()[0])
    channels = _output_axes(layer) if output else (_INPUT_AXIS[type(layer)],)
    return kernel.max(tuple(axis for axis in range(kernel.ndim) if axis not in channels)).ravel()


def _factor(r1: np.ndarray, r2: np.ndarray) -> np.ndarray:
    """sqrt(r1 · r2) / r2 for each channel; 1 where it cannot be computed."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore", under="ignore"):
        ratio = r1 / r2
    usable = (ratio >= np.finfo(np.float32).tiny) & np.isfinite(ratio)
    return np.where(usable, np.sqrt(np.where(usable, ratio, 1)), 1.0)


def _rescale(first: tf_keras.layers.Layer, second: tf_keras.layers.Layer, factor: np.ndarray, repeats: int) -> None:
    """Divide the channels of `first` by `factor`, multiply what `second` does with them."""
    kernel, *bias = first.get_weights()
    divisor = factor.reshape(_broadcast(kernel, _output_axes(first)))
    first.set_weights([kernel / divisor, *(b / factor for b in bias)])
    kernel, *bias = second.get_weights()
    shape = _broadcast(kernel, (_INPUT_AXIS[type(second)],))
    second.set_weights([kernel * np.tile(factor, repeats).reshape(shape), *bias])
