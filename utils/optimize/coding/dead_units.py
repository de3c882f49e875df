"""The same network with its units in an order that codes well, and without those that do nothing.

    tidy = sort_units(model)          # same shapes: dead units are zero and stand last, the others by their weights
    small = drop_dead_units(model)    # dead units left out

A unit (of a dense layer, or a filter) is dead if no weight of the next layer uses it, or if it gives 0 for every
input. Both functions look at pairs of layers: one with a kernel, and the next one with a kernel, with nothing between
them but layers that treat each channel alike.  Other layers stay as they are.  The outputs are the same but for
rounding: sums are made in another order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tf_keras

from utils import checks
from utils.optimize.keras_graph import rebuild

_K = tf_keras.layers
_WITH_UNITS = (_K.Dense, _K.Conv1D, _K.Conv2D, _K.Conv3D)
#: What may stand between: each channel is treated alike, and zeros stay zeros.
BETWEEN = (
    *(_K.MaxPooling1D, _K.MaxPooling2D, _K.MaxPooling3D, _K.AveragePooling1D, _K.AveragePooling2D, _K.AveragePooling3D),
    *(_K.GlobalMaxPooling1D, _K.GlobalMaxPooling2D, _K.GlobalMaxPooling3D, _K.GlobalAveragePooling1D),
    *(_K.GlobalAveragePooling2D, _K.GlobalAveragePooling3D, _K.Dropout, _K.Flatten, _K.ReLU, _K.LeakyReLU),
    *(_K.ZeroPadding1D, _K.ZeroPadding2D, _K.ZeroPadding3D, _K.UpSampling1D, _K.UpSampling2D, _K.UpSampling3D),
    *(_K.Cropping1D, _K.Cropping2D, _K.Cropping3D, _K.SpatialDropout1D, _K.SpatialDropout2D, _K.Activation),
)
#: Functions of each value alone.
_ACTIVATIONS = ("linear", "relu", "relu6", "tanh", "elu", "selu", "gelu", "swish", "softsign", "leaky_relu", "mish")


@dataclass(frozen=True)
class _Pair:
    """A layer whose units only `after` uses."""

    layer: Any
    after: Any


def sort_units(model: tf_keras.Model) -> tf_keras.Model:
    """A copy of `model` that computes the same, for `compress`: dead units are zero and last, and -0.0 is 0.0.

    The shapes stay, so that a file of it still has each of the network's parameters.

    Raises TypeError, ValueError: see `checks.check_model`; it must be Sequential or functional.
    """
    checks.check_model(model, graph=True)
    copy = rebuild(model)
    count, before = _nonzero(copy), -1
    while count != before:  # a dead unit may have been the last that another one was alive for
        for pair in _pairs(copy):
            alive = _alive(pair)
            fan = _fan_in(pair.layer)
            _take(pair, np.lexsort((-fan, ~alive)), keep=alive)
        count, before = _nonzero(copy), count
    for variable in copy.weights:
        variable.assign(variable.numpy() + 0)  # -0.0 + 0 is 0.0
    return copy


def drop_dead_units(model: tf_keras.Model) -> tf_keras.Model:
    """A smaller model that computes the same as `model`: without its dead units.  One of each layer stays at least.

    Arguments and errors as in `sort_units`.
    """
    tidy = sort_units(model)
    settings: dict[str, dict[str, int]] = {}
    kept: dict[str, int] = {}
    for pair in _pairs(tidy):
        count = max(1, int(_alive(pair).sum()))
        key = "units" if isinstance(pair.layer, _K.Dense) else "filters"
        settings.setdefault(pair.after.name, {})
        settings[pair.layer.name] = {**settings.get(pair.layer.name, {}), key: count}
        kept[pair.layer.name] = count
    small = rebuild(tidy, settings=settings)
    for layer in tidy.layers:
        if layer.name in settings:
            twin = small.get_layer(layer.name)
            twin.set_weights(_first(layer.get_weights(), [tuple(w.shape) for w in twin.weights], kept, tidy, layer))
    return small


def _first(arrays: list, shapes: list, kept: dict[str, int], model: tf_keras.Model, layer: Any) -> list[np.ndarray]:
    """The first units and channels of a layer's arrays."""
    before = next((pair.layer for pair in _pairs(model) if pair.after is layer), None)
    found = []
    for array, shape in zip(arrays, shapes, strict=True):
        if array.ndim > 1 and before is not None:
            count = _units(before)
            array = array.reshape(*array.shape[:-2], -1, count, array.shape[-1])[..., : kept[before.name], :]
        found.append(array[..., : shape[-1]].reshape(shape))
    return found


def _nonzero(model: tf_keras.Model) -> int:
    return sum(int(np.count_nonzero(variable.numpy())) for variable in model.weights)


def _pairs(model: tf_keras.Model) -> Iterator[_Pair]:
    """Pairs from the last to the first: a unit may be dead because all that use it are."""
    outputs = {id(tensor) for tensor in model.outputs}
    for layer in reversed(model.layers):
        after = _after(layer, outputs) if type(layer) in _WITH_UNITS and _is_plain(layer) else None
        if after is not None:
            yield _Pair(layer, after)


def _after(layer: Any, outputs: set[int]) -> Any:
    """The next layer with a kernel, if nothing else can see this one's units."""
    while True:
        if len(layer.inbound_nodes) != 1 or len(layer.outbound_nodes) != 1 or id(layer.output) in outputs:
            return None
        following = layer.outbound_nodes[0].outbound_layer
        if len(following.inbound_nodes) != 1:
            return None
        if type(following) in _WITH_UNITS:
            return following if getattr(following, "groups", 1) == 1 and _channels_last(following) else None
        if type(following) not in BETWEEN or not _is_plain(following):
            return None
        layer = following


def _is_plain(layer: Any) -> bool:
    activation = getattr(layer, "activation", None)
    flat = not isinstance(layer, _K.ReLU) or layer.threshold == 0
    return _is_known(activation) and flat and _channels_last(layer) and getattr(layer, "groups", 1) == 1


def _is_known(activation: Any) -> bool:
    """A function of one's own may be called as Keras' is, and look at other units, or not be 0 where it is given 0."""
    if activation is None:
        return True
    theirs = checks.is_from(activation, "tf_keras", "tensorflow")
    return theirs and getattr(activation, "__name__", "") in _ACTIVATIONS


def _channels_last(layer: Any) -> bool:
    return getattr(layer, "data_format", "channels_last") == "channels_last"


def _units(layer: Any) -> int:
    return int(layer.kernel.shape[-1])


def _fan_in(layer: Any) -> np.ndarray:
    """(units,): how many weights of each are not zero."""
    kernel = layer.kernel.numpy()
    return (kernel != 0).reshape(-1, kernel.shape[-1]).sum(0)


def _alive(pair: _Pair) -> np.ndarray:
    """(units,) of bool."""
    used = (_by_channel(pair) != 0).any((0, 2))
    start = pair.layer.bias.numpy() if pair.layer.use_bias else np.zeros(_units(pair.layer), np.float32)
    constant = np.asarray(pair.layer.activation(start))
    return used & ((_fan_in(pair.layer) > 0) | (constant != 0))


def _by_channel(pair: _Pair) -> np.ndarray:
    """The next layer's kernel as (places, channels, units): behind Flatten a channel has an input for each place."""
    kernel = pair.after.kernel.numpy()
    return kernel.reshape(-1, _units(pair.layer), kernel.shape[-1])


def _take(pair: _Pair, order: np.ndarray, keep: np.ndarray) -> None:
    """Put the units into this order, and zeros where `keep` is false."""
    keep = keep[order]
    for variable in pair.layer.weights:
        variable.assign(variable.numpy()[..., order] * keep)
    kernel = _by_channel(pair)[:, order] * keep[:, None]
    pair.after.kernel.assign(kernel.reshape(pair.after.kernel.shape))
