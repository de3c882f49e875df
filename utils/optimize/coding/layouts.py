"""How the coder sees each array of a network: which axes are space, channels and units, and what feeds its channels.

All of it is told from the network without its weights, so that reader and writer see the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from utils import checks
from utils.optimize import keras_weights
from utils.optimize.coding.integers import Layout
from utils.optimize.keras_weights import Weight

_MOST_STEPS_BACK = 100


@dataclass(frozen=True)
class ArrayInLayout:
    """One array of a network.

    layout, and the array's axes in its order: array.transpose(axes) is (space…, channels…, units…).
    source: the array whose units are this one's channels, or beside which this one stands (a bias's kernel), if any.
    """

    weight: Weight
    layout: Layout
    axes: tuple[int, ...]
    source: Any

    def arranged(self, values: np.ndarray) -> np.ndarray:
        """The array as (space, channels, units)."""
        return np.ascontiguousarray(values.transpose(self.axes)).reshape(self.layout.sizes)

    def restored(self, arranged: np.ndarray) -> np.ndarray:
        """The opposite."""
        shape = tuple(self.weight.variable.shape)
        return arranged.reshape([shape[axis] for axis in self.axes]).transpose(np.argsort(self.axes))


def ordered(layers: Sequence[Any]) -> list[tuple[Any, Weight]]:
    """Every array of these layers once, with the layer of the list that has it, in the order of the list; models among
    the layers are passed over, for their layers stand there too."""
    found: list[tuple[Any, Weight]] = []
    known: set[int] = set()
    for layer in layers:
        if getattr(layer, "_nodes_by_depth", None):
            continue
        for weight in keras_weights.weights(layer):
            if id(weight.variable) not in known:
                known.add(id(weight.variable))
                found.append((layer, weight))
    return found


def seen(layers: Sequence[Any]) -> list[ArrayInLayout]:
    """How the arrays of these layers are seen, in the same order; sources stand before those they feed."""
    found = []
    kernels: dict[int, Any] = {}  # by the layer that has it, the first kernel
    for layer, weight in ordered(layers):
        if weight.is_kernel:
            space, source = _before(layer, kernels)
            kernels.setdefault(id(layer), weight.variable)
        else:
            space, source = (), kernels.get(id(layer), _kernel_before(layer, kernels))
        found.append(ArrayInLayout(weight, *_layout(weight, space), source))
    return found


def _layout(weight: Weight, space: tuple[int, ...]) -> tuple[Layout, tuple[int, ...]]:
    """The layout of an array, and its axes in this order; space: that of the inputs of a dense kernel."""
    shape = tuple(weight.variable.shape)
    rank = len(shape)
    if weight.role == "depthwise kernel":
        return Layout(shape[:-2], 1, prod(shape[-2:])), tuple(range(rank))
    if not weight.is_kernel or not weight.channels:
        return Layout((), prod(shape), 1), tuple(range(rank))
    rest = tuple(axis for axis in range(rank) if axis not in weight.channels)
    axes = (*rest, *weight.channels)
    units = prod(shape[axis] for axis in weight.channels)
    if _is_convolution(weight):
        return Layout(tuple(shape[axis] for axis in rest[:-1]), shape[rest[-1]], units), axes
    inputs = prod(shape[axis] for axis in rest)
    if space and inputs % prod(space) == 0:
        return Layout(space, inputs // prod(space), units), axes
    return Layout((), inputs, units), axes


def _is_convolution(weight: Weight) -> bool:
    """A kernel (space…, channels, units), or units and channels the other way round."""
    sizes = getattr(weight.layer, "kernel_size", None)
    return isinstance(sizes, tuple) and len(weight.variable.shape) == len(sizes) + 2 and len(weight.channels) == 1


def _before(layer: Any, kernels: dict[int, Any]) -> tuple[tuple[int, ...], Any]:
    """What feeds a layer's kernel: the space of what was flattened for it, and the kernel that made the channels."""
    space: tuple[int, ...] = ()
    for step in _back(layer):
        if isinstance(step, (tf_keras.layers.Flatten, tf_keras.layers.Reshape)):
            space = _space(step) or space
        if id(step) in kernels:
            return space, kernels[id(step)]
    return space, None


def _kernel_before(layer: Any, kernels: dict[int, Any]) -> Any:
    return next((kernels[id(step)] for step in _back(layer) if id(step) in kernels), None)


def _back(layer: Any) -> Iterator[Any]:
    """The layers before this one, as long as each has one input; of several the first is followed."""
    for _ in range(_MOST_STEPS_BACK):
        nodes = getattr(layer, "inbound_nodes", [])
        before = tf.nest.flatten(nodes[0].inbound_layers) if nodes else []
        if not before:
            return
        layer = before[0]
        yield layer


def _space(layer: Any) -> tuple[int, ...]:
    """Height and width of a picture that is flattened, channels last; () if it is none."""
    shape = layer.input_shape
    if not isinstance(shape, tuple) or not 3 <= len(shape) <= 5 or None in shape[1:]:
        return ()
    first = getattr(layer, "data_format", "channels_last") == "channels_first"
    return () if first or len(layer.output_shape) != 2 else shape[1:-1]


def check_arrays(model: tf_keras.Model) -> None:
    """Raise ValueError unless there is an array of numbers, and all are finite."""
    if not any(checks.own_weights(layer) for layer in checks.all_layers(model)):
        raise ValueError(f"the model {model.name!r} has no weights; there is nothing to compress")
    checks.check_finite(model)
    for layer in checks.all_layers(model):
        for weight in checks.own_weights(layer):
            if weight.dtype == "bfloat16" and not np.isfinite(weight.numpy().astype(np.float32)).all():
                raise ValueError(
                    f"layer {layer.name!r} of the model {model.name!r} has weights that are NaN or infinite"
                )
