"""Structured pruning: whole filters and units are removed, so that what is left is a smaller *dense* model.

    smaller = remove_channels(model, 0.5)
    for group in groups(model): print(group.layers, group.channels, group.removable)

The Toolkit cannot do this: its wrapper multiplies with a mask and leaves every shape as it was.  Here a channel is
followed from the layer that makes it to all that read it.  Where branches are added, the channels of both sides are
one: they can only go together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf
import tf_keras

from utils import checks
from utils.optimize import keras_weights
from utils.optimize.keras_graph import example_input, opened, rebuild, walk
from utils.optimize.pruning.magnitude import check_plain, check_target

__all__ = ["Group", "StructuredError", "groups", "remove_channels"]

_K = tf_keras.layers
#: Make new channels: what they are made of is summed over all channels that come in.
_MAKERS = {
    **dict.fromkeys((_K.Conv1D, _K.Conv2D, _K.Conv3D), "filters"),
    **dict.fromkeys((_K.Conv1DTranspose, _K.Conv2DTranspose, _K.Conv3DTranspose), "filters"),
    **dict.fromkeys((_K.SeparableConv1D, _K.SeparableConv2D), "filters"),
    _K.Dense: "units",
}
#: Work on each channel by itself, so that channels come out as they went in.
_PER_CHANNEL = (
    _K.BatchNormalization,
    *(_K.ReLU, _K.LeakyReLU, _K.ELU, _K.PReLU, _K.ThresholdedReLU, _K.Activation),
    *(_K.Dropout, _K.SpatialDropout1D, _K.SpatialDropout2D, _K.SpatialDropout3D, _K.GaussianNoise, _K.GaussianDropout),
    *(_K.MaxPooling1D, _K.MaxPooling2D, _K.MaxPooling3D),
    *(_K.AveragePooling1D, _K.AveragePooling2D, _K.AveragePooling3D),
    *(_K.GlobalAveragePooling1D, _K.GlobalAveragePooling2D, _K.GlobalAveragePooling3D),
    *(_K.GlobalMaxPooling1D, _K.GlobalMaxPooling2D, _K.GlobalMaxPooling3D),
    *(_K.ZeroPadding1D, _K.ZeroPadding2D, _K.ZeroPadding3D, _K.Cropping1D, _K.Cropping2D, _K.Cropping3D),
    *(_K.UpSampling1D, _K.UpSampling2D, _K.UpSampling3D, _K.Rescaling),
)
_DEPTHWISE = (_K.DepthwiseConv1D, _K.DepthwiseConv2D)
_MERGES = (_K.Add, _K.Subtract, _K.Multiply, _K.Average, _K.Maximum, _K.Minimum)
#: Activations that work on each number by itself; softmax does not.
_ELEMENTWISE = ("linear", "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "swish", "silu", "mish", "sigmoid",
                "hard_sigmoid", "tanh", "softplus", "softsign", "exponential")  # fmt: skip


class StructuredError(RuntimeError):
    """The smaller model does not compute what the larger one does without the removed channels."""


@dataclass(frozen=True)
class Group:
    """Channels that are made together: of one layer, or of several whose outputs are added.

    layers: the names of those that make them.  channels: how many.  removable: False where something reads them that
    needs all of them: the model's outputs, softmax, a reshape, a layer that is not known here.
    """

    layers: tuple[str, ...]
    channels: int
    removable: bool
    _roots: tuple[int, ...] = field(repr=False, default=())


def groups(model: tf_keras.Model) -> tuple[Group, ...]:
    """The channels of `model`, those that can only be removed together as one group; models inside are opened.

    Raises TypeError or ValueError for what is no built Sequential or functional tf_keras model.
    """
    checks.check_model(model, graph=True)
    check_plain(model)
    return _Channels(opened(model)).groups()


def remove_channels(
    model: tf_keras.Model,
    share: float | Mapping[str, float],
    *,
    score: Callable[[np.ndarray], float] | Mapping[str, np.ndarray] | None = None,
) -> tf_keras.Model:
    """A smaller copy of `model` without the weakest `share` of the channels of each group that can lose some.

    model: a built Sequential or functional tf_keras model; branches, batch normalization, depthwise and shared
        layers and models inside are followed, channels last.
    share: of the channels, from 0 to below 1, to the nearest whole number; at least one channel stays.  Or
        {layer: share}: the groups of these layers, and no others.
    score: function(the weights that make one channel) → how strong it is; by default their mean magnitude (Li et
        al. 2017, arXiv 1608.08710).  In a group of several layers the scores are added, each layer's divided by
        its mean.  Or {layer: one score a channel}.
    Returns a dense model that shares nothing with `model`.  Its outputs are those of `model` in which nobody reads the
    removed channels; this is tested before it is handed back.
    Raises TypeError, ValueError: no such model, share or layer; nothing can be removed; scores of another length.
    Raises StructuredError: the test failed.
    """
    checks.check_model(model, graph=True)
    check_plain(model)
    channels = _Channels(opened(model))
    gone: set[int] = set()
    asked = _asked(channels.groups(), share)
    _check_score(score, [name for group, _ in asked for name in group.layers])
    for group, part in asked:
        strengths = channels.strengths(group, score)
        count = min(round(part * group.channels), group.channels - 1)
        weakest = np.argsort(strengths, kind="stable")[:count]
        gone |= {group._roots[i] for i in weakest}
    smaller = channels.without(gone)
    _compare(channels, gone, smaller)
    return smaller


def _asked(found: Sequence[Group], share: object) -> list[tuple[Group, float]]:
    """The groups to thin out, with the share of each."""
    removable = [group for group in found if group.removable]
    if not removable:
        reasons = [f"{', '.join(group.layers)} is needed whole" for group in found]
        raise ValueError("no channels can be removed: " + ("; ".join(reasons) or "no dense or convolutional layer"))
    if not isinstance(share, Mapping):
        check_target(share, "share")
        return [(group, float(share)) for group in removable]
    if not share:
        raise ValueError("share is empty; pass {layer: share of its channels}, or one share for all")
    asked: list[tuple[Group, float]] = []
    for name, part in share.items():
        check_target(part, f"share of layer {name!r}")
        group = next((group for group in found if name in group.layers), None)
        if group is None:
            known = ", ".join(layer for group in removable for layer in group.layers)
            raise ValueError(f"no layer {name!r} makes channels; those that can lose some are {known}")
        if not group.removable:
            raise ValueError(f"the channels of {', '.join(group.layers)} are all needed by what reads them")
        if any(group is other for other, _ in asked):
            raise ValueError(
                f"the channels of {', '.join(group.layers)} are the same ones; pass a share for one of them"
            )
        asked.append((group, float(part)))
    return asked


def _check_score(score: object, layers: Sequence[str]) -> None:
    """Raise ValueError unless it is a function, or has scores of layers that lose channels, and of no other."""
    if score is None or callable(score):
        return
    if not isinstance(score, Mapping):
        raise ValueError(f"score is {score!r:.60}; pass function(weights of a channel), or {{layer: scores}}")
    if strange := [name for name in score if name not in layers]:
        raise ValueError(f"no channels of {strange[0]!r} are removed; scores can be of {', '.join(layers)}")


class _Channels:
    """Which channel of which layer is which: one number for each, followed through the graph.

    A number stands for a channel; channels that are added share one (union-find).
    """

    def __init__(self, model: tf_keras.Model) -> None:
        self.model = model
        self._parent: list[int] = []
        self._fixed: set[int] = set()
        self.comes_in: dict[str, np.ndarray] = {}  # numbers along the last axis of what a layer reads
        self.goes_out: dict[str, np.ndarray] = {}  # of what it makes
        self._makers: list[tf_keras.layers.Layer] = []
        inputs = [self._new(spec.shape[-1] if len(spec.shape) > 1 else 1, fixed=True) for spec in model.inputs]
        outputs = walk(model, inputs, self._visit)
        for labels in tf.nest.flatten(_listed(outputs)):
            self._fix(labels.numbers)

    # ------------------------------------------------------------ numbers

    def _new(self, count: int | None, *, fixed: bool = False) -> _Labels:
        numbers = np.arange(len(self._parent), len(self._parent) + (count or 1))
        self._parent.extend(int(n) for n in numbers)
        if fixed:
            self._fixed.update(int(n) for n in numbers)
        return _Labels(numbers)

    def root(self, number: int) -> int:
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number

    def _roots(self, numbers: np.ndarray) -> np.ndarray:
        return np.array([self.root(int(n)) for n in numbers], int)

    def _join(self, a: np.ndarray, b: np.ndarray) -> None:
        for one, other in zip(self._roots(a), self._roots(b), strict=True):
            one, other = self.root(int(one)), self.root(int(other))
            self._parent[max(one, other)] = min(one, other)

    def _fix(self, numbers: np.ndarray) -> None:
        self._fixed.update(int(n) for n in numbers)

    # ------------------------------------------------------------ the walk

    def _visit(self, layer: tf_keras.layers.Layer, arguments: tuple, named: dict) -> object:
        flat = [value for value in tf.nest.flatten((arguments, named)) if isinstance(value, _Labels)]
        known = self._known(layer, flat)
        if known is not None:
            return known
        for labels in flat:
            self._fix(labels.numbers)
        return tf.nest.map_structure(
            lambda tensor: self._new(tensor.shape[-1] if tensor.shape.rank else 1, fixed=True), layer.get_output_at(0)
        )

    def _known(self, layer: tf_keras.layers.Layer, flat: list[_Labels]) -> _Labels | None:
        if not flat or not _channels_last(layer) or len(layer.weights) > len(checks.own_weights(layer)):
            return None  # the last: it has a layer inside, as activation=PReLU()
        first = flat[0]
        if type(layer) in _MAKERS and getattr(layer, "groups", 1) == 1:
            return self._made(layer, first)
        if type(layer) in _DEPTHWISE and _elementwise(layer):
            self._reads(layer, first)
            return self._noted(layer, _Labels(np.repeat(first.numbers, layer.depth_multiplier)))
        if type(layer) is _K.Flatten:
            return self._flattened(layer, first)
        if type(layer) in _PER_CHANNEL and _elementwise(layer):
            return self._passed(layer, first)
        if type(layer) in _MERGES and len({len(labels.numbers) for labels in flat}) == 1:
            for labels in flat[1:]:
                self._join(first.numbers, labels.numbers)
            return first
        if type(layer) is _K.Concatenate and layer.axis in (-1, len(layer.get_output_shape_at(0)) - 1):
            return _Labels(np.concatenate([labels.numbers for labels in flat]))
        return None

    def _made(self, layer: tf_keras.layers.Layer, labels: _Labels) -> _Labels:
        self._reads(layer, labels)
        if layer.name not in self.goes_out:
            self._makers.append(layer)
            all_needed = not _elementwise(layer)  # softmax divides by a sum over all of them
            self._noted(layer, self._new(getattr(layer, _MAKERS[type(layer)]), fixed=all_needed))
        return _Labels(self.goes_out[layer.name])

    def _passed(self, layer: tf_keras.layers.Layer, labels: _Labels) -> _Labels:
        if layer.weights:
            self._reads(layer, labels)
        return labels

    def _flattened(self, layer: tf_keras.layers.Layer, labels: _Labels) -> _Labels | None:
        shape = layer.get_input_shape_at(0)
        if len(shape) == 2:
            return labels
        if None in shape[1:-1]:
            return None
        return _Labels(np.tile(labels.numbers, int(np.prod(shape[1:-1]))))

    def _reads(self, layer: tf_keras.layers.Layer, labels: _Labels) -> None:
        """A layer that is called twice reads the same channels both times."""
        if layer.name in self.comes_in:
            self._join(self.comes_in[layer.name], labels.numbers)
        self.comes_in[layer.name] = labels.numbers

    def _noted(self, layer: tf_keras.layers.Layer, labels: _Labels) -> _Labels:
        self.goes_out[layer.name] = labels.numbers
        return labels

    # ------------------------------------------------------------ groups

    def groups(self) -> tuple[Group, ...]:
        """Layers whose channels are the same, in the order of the first of them."""
        found: dict[tuple[int, ...], list[str]] = {}
        for layer in self._makers:
            found.setdefault(tuple(self._roots(self.goes_out[layer.name])), []).append(layer.name)
        self._keep_whole(found)
        fixed = {self.root(n) for n in self._fixed}
        return tuple(
            Group(tuple(names), len(roots), not fixed & set(roots) and len(set(roots)) == len(roots) > 1, roots)
            for roots, names in found.items()
        )

    def _keep_whole(self, found: Iterable[tuple[int, ...]]) -> None:
        """Nothing is removed from groups that overlap only in part, as where a concatenation is added to a layer."""
        owners: dict[int, int] = {}
        for roots in found:
            for root in set(roots):
                owners[root] = owners.get(root, 0) + 1
        self._fixed.update(root for root, count in owners.items() if count > 1)
        fixed = {self.root(n) for n in self._fixed}
        for roots in found:  # a group of which one channel is fixed stays whole
            if fixed & set(roots):
                self._fixed.update(roots)

    def strengths(self, group: Group, score: object) -> np.ndarray:
        total = np.zeros(group.channels)
        if isinstance(score, Mapping) and not set(group.layers) & set(score):
            raise ValueError(f"there are no scores for {', '.join(group.layers)}; pass some, or share={{layer: share}}")
        for name in group.layers:
            layer = self.model.get_layer(name)
            if isinstance(score, Mapping):
                own = np.asarray(score[name]) if name in score else None
                if own is None:
                    continue
                if own.shape != total.shape or own.dtype.kind not in "fiu" or not np.isfinite(own).all():
                    raise ValueError(
                        f"the scores of {name!r} are {own.dtype}, have shape {own.shape}; pass {total.shape}, finite"
                    )
                own = own.astype(float)
            else:
                own = _strength(layer, score)
            total += own / (np.abs(own).mean() or 1)
        return total

    # ------------------------------------------------------------ the smaller model

    def kept(self, numbers: np.ndarray, gone: set[int]) -> np.ndarray:
        """Places of the channels that stay."""
        return np.flatnonzero([root not in gone for root in self._roots(numbers)])

    def without(self, gone: set[int]) -> tf_keras.Model:
        changed: dict[str, dict] = {}
        for layer in self.model.layers:
            name = layer.name
            entry = {}
            if name in self.goes_out and type(layer) in _MAKERS:
                entry[_MAKERS[type(layer)]] = len(self.kept(self.goes_out[name], gone))
            if name in self.comes_in or entry:
                changed[name] = entry
        smaller = rebuild(self.model, settings=changed)
        for name in changed:
            self._fill(self.model.get_layer(name), smaller.get_layer(name), gone)
        return smaller

    def _fill(self, old: tf_keras.layers.Layer, new: tf_keras.layers.Layer, gone: set[int]) -> None:
        ins = self.kept(self.comes_in[old.name], gone)
        outs = self.kept(self.goes_out[old.name], gone) if old.name in self.goes_out else ins
        values = [_cut(old, weight, ins, outs) for weight in checks.own_weights(old)]
        new.set_weights(_in_order(old, values))

    def unread(self, gone: set[int]) -> tf_keras.Model:
        """The large model, in which nobody reads the channels that are gone."""
        copy = rebuild(self.model)
        for name, numbers in self.comes_in.items():
            layer, removed = copy.get_layer(name), np.ones(len(numbers), bool)
            removed[self.kept(numbers, gone)] = False
            if type(layer) in _MAKERS:
                for weight in keras_weights.weights(layer):
                    if weight.is_kernel:
                        weight.variable.assign(_silenced(layer, weight, removed))
        return copy


@dataclass(frozen=True)
class _Labels:
    """The numbers of the channels of one tensor, along its last axis."""

    numbers: np.ndarray


def _listed(outputs: object) -> list:
    return [value for value in tf.nest.flatten(outputs) if isinstance(value, _Labels)]


def _elementwise(layer: tf_keras.layers.Layer) -> bool:
    activation = getattr(layer, "activation", None)
    return activation is None or getattr(activation, "__name__", "") in _ELEMENTWISE


def _channels_last(layer: tf_keras.layers.Layer) -> bool:
    if type(layer) is _K.BatchNormalization:
        return list(np.ravel(layer.axis)) == [len(layer.get_input_shape_at(0)) - 1]
    if type(layer) is _K.PReLU:
        return len(layer.alpha.shape) >= 1
    if type(layer) is _K.Rescaling:
        return np.ndim(layer.scale) == 0 and np.ndim(layer.offset) == 0
    return getattr(layer, "data_format", "channels_last") in ("channels_last", None)


def _input_axis(layer: tf_keras.layers.Layer, weight: keras_weights.Weight) -> int:
    """The axis of a kernel along which the channels that come in lie."""
    if weight.role == "depthwise kernel":
        return -2
    return -1 if "Transpose" in type(layer).__name__ else -2


def _strength(layer: tf_keras.layers.Layer, score: Callable | None) -> np.ndarray:
    """One number for each channel that the layer makes."""
    weight = next(w for w in keras_weights.weights(layer) if w.role == "kernel")
    by_channel = np.moveaxis(weight.variable.numpy(), weight.channels[0], 0)
    of_one = score or (lambda values: float(np.abs(values).mean()))
    found = [of_one(values) for values in by_channel]
    if not all(np.ndim(value) == 0 and isinstance(value, (int, float, np.number)) for value in found):
        raise ValueError(f"score gave {found[0]!r:.60} for a channel of {layer.name!r}; return one number")
    if not np.isfinite(found).all():
        raise ValueError(f"score gave NaN or infinity for a channel of {layer.name!r}; return a finite number")
    return np.array(found, float)


def _cut(layer: tf_keras.layers.Layer, variable: tf.Variable, ins: np.ndarray, outs: np.ndarray) -> np.ndarray:
    weight = next(w for w in keras_weights.weights(layer) if w.variable is variable)
    values = variable.numpy()
    if weight.role == "depthwise kernel":
        return np.take(values, ins, axis=-2)
    if weight.role == "kernel":
        rows = ins
        if weight.attribute == "pointwise_kernel":
            multiplier = layer.depth_multiplier
            rows = (ins[:, None] * multiplier + np.arange(multiplier)).ravel()
        values = np.take(values, rows, axis=_input_axis(layer, weight))
        return np.take(values, outs, axis=weight.channels[0])
    if weight.role == "slope" and values.shape[-1] == 1:
        return values  # shared along the channels
    return np.take(values, outs, axis=-1)


def _in_order(layer: tf_keras.layers.Layer, values: list[np.ndarray]) -> list[np.ndarray]:
    """As `layer.weights` has them: trainable ones first."""
    by_id = {id(v): value for v, value in zip(checks.own_weights(layer), values, strict=True)}
    return [by_id[id(variable)] for variable in layer.weights]


def _silenced(layer: tf_keras.layers.Layer, weight: keras_weights.Weight, removed: np.ndarray) -> np.ndarray:
    values = weight.variable.numpy()
    axis = _input_axis(layer, weight)
    if weight.attribute == "pointwise_kernel":
        removed = np.repeat(removed, layer.depth_multiplier)
    elif weight.role == "depthwise kernel":
        return values  # its pointwise kernel is silenced
    shape = np.ones(values.ndim, int)
    shape[axis] = len(removed)
    return values * ~removed.reshape(shape)


def _compare(channels: _Channels, gone: set[int], smaller: tf_keras.Model) -> None:
    """The smaller model computes what the larger one does when nobody reads the removed channels."""
    x = example_input(channels.model, 8, size=64)  # pictures of any size may become too small for a deep network
    expected = tf.nest.flatten(channels.unread(gone)(_given(channels.model, x), training=False))
    for name, want, got in zip(
        smaller.output_names, expected, tf.nest.flatten(smaller(_given(smaller, x), training=False)), strict=True
    ):
        scale = float(np.abs(want).max()) or 1.0
        if not np.isfinite(scale):
            raise StructuredError(
                f"output {name!r} is not finite for random inputs, so nothing can tell whether the smaller model is "
                "right; take the layer that makes it so (a logarithm, a division) out, and put it back behind it"
            )
        apart = float(np.abs(np.asarray(want) - np.asarray(got)).max())
        if not apart <= 1e-3 * scale:
            raise StructuredError(
                f"output {name!r} of the smaller model is {apart:g} away from the larger one's without the removed "
                f"channels ({scale:g} is its largest value); please report the layers of this model"
            )


def _given(model: tf_keras.Model, x: list[np.ndarray]) -> object:
    nested = model._nested_inputs
    return tf.nest.pack_sequence_as(nested, x) if isinstance(nested, (dict, list, tuple)) else x[0]
