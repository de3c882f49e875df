"""Weight sharing: the weights of an array take few distinct values, which are stored once, in a code book.

    book = kmeans(kernel, 16)                 # 16 centroids, and for each weight the index of its own
    shared = cluster_once(model, 16)          # each kernel by itself, nothing trained
    shared = cluster_while_training(model, dataset, 16, epochs=1)  # the Toolkit's way
    shared.model, shared.left_out

A centroid is a distinct value; the code book lists them; an index says which one a weight is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.clustering.keras.cluster_wrapper import ClusterWeights  # not public

from utils import SEED, checks, tflite_file, training
from utils.optimize import keras_weights
from utils.optimize.coding import byte_coders
from utils.optimize.keras_graph import example_input, opened, rebuild
from utils.optimize.sparsity import stored
from utils.quiet import quiet

__all__ = [
    "CLUSTERABLE",
    "STARTS",
    "Clustered",
    "ClusteringFailed",
    "CodeBook",
    "cluster_once",
    "cluster_while_training",
    "distinct",
    "distinct_in_file",
    "kmeans",
    "nearest",
]

#: The roles (see `keras_weights`) of what is shared; biases, normalization and depthwise kernels stay as they are.
CLUSTERABLE = ("kernel", "recurrent kernel", "embedding")

#: The Toolkit's ways to choose the first centroids, by the name it gives them.
STARTS = {start.name: start for start in tfmot.clustering.keras.CentroidInitialization}


class ClusteringFailed(RuntimeError):
    """The Toolkit gave back a model that is not what was asked for."""


@dataclass(frozen=True)
class CodeBook:
    """centroids: the distinct values, ascending, (clusters,).  indices: which of them each weight is."""

    centroids: np.ndarray
    indices: np.ndarray

    @property
    def values(self) -> np.ndarray:
        """The weights again, each one a centroid."""
        return self.centroids[self.indices]

    @property
    def fixed_bits(self) -> int:
        """Bits of an index if all have equally many: log2 of the number of centroids, rounded up."""
        return max(1, math.ceil(math.log2(len(self.centroids))))

    @property
    def entropy(self) -> float:
        """Bits of an index on average, for the best code that looks at one at a time."""
        return byte_coders.entropy(self.indices)

    @property
    def size(self) -> int:
        """Bytes of indices of `fixed_bits` each, and of the code book as float32."""
        return math.ceil(self.indices.size * self.fixed_bits / 8) + 4 * len(self.centroids)


@dataclass(frozen=True)
class Clustered:
    """model: with shared weights.  left_out: {weight's name: why it was not clustered}."""

    model: tf_keras.Model
    left_out: dict[str, str]


def nearest(values: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """The index of the centroid nearest to each value; half-way between two it is the smaller one.

    centroids: ascending.  Found by bisection, so that memory does not grow with the number of centroids.
    """
    middle = (np.asarray(centroids[1:], np.float64) + np.asarray(centroids[:-1], np.float64)) / 2
    return np.searchsorted(middle, np.asarray(values, np.float64), side="left")


def kmeans(
    values: np.ndarray,
    clusters: int,
    *,
    start: str | np.ndarray = "quantiles",
    rounds: int = 1000,
    keep_zeros: bool = False,
) -> CodeBook:
    """Lloyd's algorithm on single numbers: assign each value to its nearest centroid, move each centroid to the mean.

    It ends when no value changes its centroid, in a minimum of the squared error that need not be the least one
    (Lloyd 1982, doi 10.1109/TIT.1982.1056489).  A centroid that has no values stays where it is.  Where there are no
    more distinct values than clusters, they are the code book.

    values: float array of any shape.
    clusters: at most so many distinct values afterwards, at least 2.
    start: "quantiles" (as many values between two), "linear" (equal distances from the least to the largest
        value), or the first centroids, (clusters,).
    rounds: at most so many.
    keep_zeros: values that are exactly 0 stay 0 and no other becomes 0; 0 is then one of the clusters.
    Raises ValueError: too few clusters or no values, values that are not finite, an unknown start.
    """
    values = _finite(values)
    clusters = _clusters(clusters)
    if isinstance(rounds, bool) or not isinstance(rounds, (int, np.integer)) or rounds < 0:
        raise ValueError(f"rounds is {rounds!r}; pass a whole number of at least 0, such as 1000")
    distinct_values = np.unique(values)
    if len(distinct_values) <= clusters:
        return CodeBook(distinct_values, np.searchsorted(distinct_values, values))
    if keep_zeros:
        return _around_zero(values, clusters, start, rounds)
    ordered = np.sort(values, axis=None).astype(np.float64)
    centroids = _first(ordered, clusters, start)
    edges = None
    for _ in range(rounds):
        middle = (centroids[1:] + centroids[:-1]) / 2
        new = np.concatenate([[0], np.searchsorted(ordered, middle, side="right"), [ordered.size]])
        if edges is not None and np.array_equal(new, edges):
            break
        edges, counts = new, np.diff(new)
        used = counts > 0
        # Each sum by itself: differences of running sums would lose small values beside large ones.
        centroids[used] = np.add.reduceat(ordered, new[:-1][used]) / counts[used]
        centroids = np.sort(centroids)
    if not np.isfinite(centroids).all():
        raise ValueError(f"values reach {np.abs(ordered).max():g}, so that their sums are infinite; scale them")
    book, places = np.unique(centroids.astype(values.dtype), return_inverse=True)
    return CodeBook(book, places[nearest(values, centroids)])  # not by the rounded ones, so that means stay means


def cluster_once(
    model: tf_keras.Model,
    clusters: int,
    *,
    only: Sequence[str] | None = None,
    per_channel: bool = False,
    start: str = "quantiles",
    keep_zeros: bool = False,
) -> Clustered:
    """A copy of `model` whose kernels have at most `clusters` distinct values each; nothing is trained.

    model: a built Sequential or functional tf_keras model.
    clusters: distinct values of each array, or of each of its output channels.  start, keep_zeros: as in `kmeans`.
    only: names of the layers to cluster; None for all.
    per_channel: a code book for each output channel.

    Arrays (channels) with no more weights than clusters stay as they are, and are named in `left_out` as in `distinct`.

    Raises TypeError: `model` is no tf_keras model.
    Raises ValueError: fewer than two clusters, no such layer, nothing to cluster, weights that are not finite.
    """
    checks.check_model(model, graph=True)
    checks.check_finite(model)
    clusters = _clusters(clusters)
    copy = rebuild(model)
    chosen, left_out = _chosen(copy, clusters, only, per_channel)
    for weight in chosen:
        rows, back = _rows(weight, per_channel)
        shared = [kmeans(row, clusters, start=start, keep_zeros=keep_zeros).values for row in rows]
        weight.variable.assign(back(np.stack(shared)))
    return Clustered(copy, left_out)


def cluster_while_training(
    model: tf_keras.Model,
    dataset: object,
    clusters: int,
    epochs: int = 1,
    *,
    start: str = "KMEANS_PLUS_PLUS",
    only: Sequence[str] | None = None,
    per_channel: bool = False,
    keep_zeros: bool = False,
    average: bool = False,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    decay: bool = True,
    seed: int = SEED,
) -> Clustered:
    """A copy of a classifier whose kernels the Toolkit clustered and trained; without wrappers, and `model` stays.

    model: a built Sequential or functional tf_keras classifier; models inside are opened.
    dataset, epochs, batch_size, learning_rate, decay, seed: as in `training.fit`.
    clusters: distinct values of each kernel, at least 2; with `keep_zeros` at least 3.
    start: a key of `STARTS`.  only: names of the layers to cluster; None for all that have kernels.
    per_channel: a code book for each filter of a Conv2D; other layers keep one, as in the Toolkit.
    keep_zeros: the Toolkit's preserve_sparsity: a pruned model's zeros stay.
    average: a centroid's gradient is the mean over its weights, not the sum.
    Raises TypeError, ValueError: no such model, data, start or layer; too few clusters; a layer for which the Toolkit
        has no rule; nothing to cluster.
    Raises FloatingPointError: training diverged.
    Raises ClusteringFailed: there are more distinct values than asked for, zeros are gone, or stripping changed the
        outputs.
    """
    checks.check_model(model, graph=True)
    checks.check_finite(model)
    checks.check_choice("start", start, STARTS)
    clusters = _clusters(clusters, 3 if keep_zeros else 2)
    x, y = training.examples(dataset)["train"]
    training.check_settings(epochs, batch_size, learning_rate, seed)
    training.check_examples(model, x, y, "train")
    copy = opened(model)
    zeros = [weight.variable.numpy() == 0 for weight in _kernels(copy)]
    layers, left_out = _layers(copy, clusters, only, per_channel)
    if not layers:
        raise ValueError(_nothing(model, clusters, only, left_out))
    settings = {"preserve_sparsity": keep_zeros, "cluster_per_channel": per_channel}
    if average:
        settings["cluster_gradient_aggregation"] = "GradientAggregation.AVG"
    tf_keras.utils.set_random_seed(seed)  # RANDOM draws its centroids when layers are wrapped
    with quiet():
        wrapped = tf_keras.models.clone_model(
            copy,
            clone_function=lambda layer: (
                _wrapped(layer, clusters, STARTS[start], settings) if layer.name in layers else layer
            ),
        )
    training.fit(wrapped, (x, y), epochs, batch_size=batch_size, learning_rate=learning_rate, decay=decay, seed=seed)
    sample = example_input(wrapped)
    expected = wrapped.predict(sample, verbose=0)
    with quiet():
        stripped = rebuild(tfmot.clustering.keras.strip_clustering(wrapped))
    _check(stripped, layers, clusters, per_channel)
    if keep_zeros:
        _check_zeros(zeros, stripped)
    found = stripped.predict(sample, verbose=0)
    if not np.allclose(expected, found, rtol=1e-4, atol=1e-5 * float(np.abs(expected).max())):
        raise ClusteringFailed("the model without wrappers gives other outputs than with them")
    return Clustered(stripped, left_out)


def distinct(model: tf_keras.Model, *, per_channel: bool = False) -> dict[str, int]:
    """{weight's name: how many distinct values it has}, of what clustering is about.

    per_channel: how many the output channel with the most of them has.  Of two weights of one name, as a model inside
    may have, the later one is called "dense/kernel (2)".
    """
    checks.check_model(model)
    counts: dict[str, int] = {}
    for name, weight in _named(model).items():
        rows, _ = _rows(weight, per_channel)
        counts[name] = max(len(np.unique(row)) for row in rows)
    return counts


def distinct_in_file(content: bytes) -> dict[str, int]:
    """{tensor's name: how many distinct numbers are stored}, of a .tflite's constants with two axes or more.

    After conversion: with normalization folded into kernels, and as stored, so levels in an 8-bit file.  Those that are
    stored sparsely, with their zeros, stand last.
    """
    content = tflite_file.as_bytes(content)
    constants = [(tensor.name, values) for tensor, values in tflite_file.File(content).constants()]
    constants += [(weight.name, weight.dense) for weight in stored.sparse_weights(content)]
    return {name: len(np.unique(values)) for name, values in constants if values.ndim > 1 and values.size > 1}


# ---------------------------------------------------------------- k-means


def _first(ordered: np.ndarray, clusters: int, start: str | np.ndarray) -> np.ndarray:
    """The first centroids, ascending."""
    if isinstance(start, str):
        checks.check_choice("start", start, ("quantiles", "linear"))
        if start == "linear":
            return np.linspace(ordered[0], ordered[-1], clusters)
        return ordered[((np.arange(clusters) + 0.5) / clusters * ordered.size).astype(int)]
    given = np.sort(_finite(start).astype(np.float64), axis=None)
    if given.size != clusters:
        raise ValueError(f"start has {given.size} centroids, clusters is {clusters}; pass as many")
    return given


def _around_zero(values: np.ndarray, clusters: int, start: str | np.ndarray, rounds: int) -> CodeBook:
    """One cluster is 0 and holds exactly the zeros, if there are any; the others share what is left."""
    alive = values != 0
    zeros = not alive.all()
    if zeros and clusters < 3:
        raise ValueError(f"clusters is {clusters}, of which one is 0; pass at least 3 with keep_zeros")
    rest = kmeans(values[alive], clusters - zeros, start=start, rounds=rounds)
    shared = np.zeros_like(values)
    # A mean that is exactly 0 would make new zeros.
    shared[alive] = np.where(rest.values == 0, np.finfo(values.dtype).tiny, rest.values)
    book = np.unique(shared)
    return CodeBook(book, np.searchsorted(book, shared))


def _finite(values: object) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind != "f":
        raise ValueError(f"values is {array.dtype}; pass an array of floats")
    if array.size == 0:
        raise ValueError("values is empty; pass at least one number")
    if not np.isfinite(array).all():
        raise ValueError("values has NaN or infinity, which is near to nothing; pass finite numbers")
    return array


def _clusters(clusters: object, least: int = 2) -> int:
    if isinstance(clusters, bool) or not isinstance(clusters, (int, np.integer)) or clusters < least:
        raise ValueError(f"clusters is {clusters!r}; pass a whole number of at least {least}, such as 16")
    return int(clusters)


# ---------------------------------------------------------------- which weights


def _kernels(layer: tf_keras.layers.Layer) -> list[keras_weights.Weight]:
    return [weight for weight in keras_weights.weights(layer) if weight.role in CLUSTERABLE]


def _named(model: tf_keras.Model) -> dict[str, keras_weights.Weight]:
    """Each kernel of the model under a name of its own: of two of one name the later one is "dense/kernel (2)"."""
    found: dict[str, keras_weights.Weight] = {}
    for weight in _kernels(model):
        names = (weight.name, *(f"{weight.name} ({number})" for number in range(2, 10_000)))
        found[next(name for name in names if name not in found)] = weight
    return found


def _names_of(model: tf_keras.Model) -> dict[int, str]:
    """{id of a kernel's variable: its name in `_named`}"""
    return {id(weight.variable): name for name, weight in reversed(_named(model).items())}


def _rows(weight: keras_weights.Weight, per_channel: bool) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """The weights that share a code book, as rows; and the way from such rows back to the array."""
    array = weight.variable.numpy()
    axes = (weight.channels or ()) if per_channel else ()
    moved = np.moveaxis(array, axes, range(len(axes)))
    rows = moved.reshape(math.prod(moved.shape[: len(axes)]), -1)
    return rows, lambda new: np.moveaxis(new.reshape(moved.shape), range(len(axes)), axes)


def _sorted_out(
    layer: tf_keras.layers.Layer, clusters: int, per_channel: bool, names: dict[int, str]
) -> tuple[list[keras_weights.Weight], dict[str, str]]:
    """Weights with more numbers than clusters; and the others by name, with the reason."""
    found, small = [], {}
    for weight in _kernels(layer):
        size = _rows(weight, per_channel)[0].shape[1]
        if size > clusters:
            found.append(weight)
        else:
            where = "in a channel " if per_channel else ""
            small[names[id(weight.variable)]] = f"{size} weights {where}are not more than {clusters} clusters"
    return found, small


def _chosen(
    model: tf_keras.Model, clusters: int, only: Sequence[str] | None, per_channel: bool
) -> tuple[list[keras_weights.Weight], dict[str, str]]:
    layers = [model] if only is None else [model.get_layer(name) for name in _names(model, only)]
    found, left_out, names = {}, {}, _names_of(model)
    for layer in layers:
        large, small = _sorted_out(layer, clusters, per_channel, names)
        found.update({id(weight.variable): weight for weight in large})  # shared ones once
        left_out.update(small)
    if not found:
        raise ValueError(_nothing(model, clusters, only, left_out))
    return list(found.values()), left_out


def _names(model: tf_keras.Model, only: Sequence[str]) -> list[str]:
    if isinstance(only, str):
        raise ValueError(f"only is {only!r}; pass a list of layer names, such as [{only!r}]")
    return [model.get_layer(name).name for name in only]


def _nothing(model: tf_keras.Model, clusters: int, only: Sequence[str] | None, left_out: dict[str, str]) -> str:
    place = f"the layers {list(only)}" if only is not None else f"the model {model.name!r}"
    if left_out:
        return f"no weight of {place} has more numbers than {clusters} clusters; pass fewer clusters"
    return f"{place}: there is nothing to cluster, which would be weights of the roles {', '.join(CLUSTERABLE)}"


# ---------------------------------------------------------------- the Toolkit


def _layers(
    model: tf_keras.Model, clusters: int, only: Sequence[str] | None, per_channel: bool
) -> tuple[list[str], dict[str, str]]:
    """The names of the layers to wrap, each with all of its kernels; and what is left out."""
    names = {layer.name for layer in model.layers} if only is None else set(_names(model, only))
    layers, left_out, called = [], {}, _names_of(model)
    for layer in (layer for layer in model.layers if layer.name in names):
        filters = per_channel and isinstance(layer, tf_keras.layers.Conv2D)
        found, small = _sorted_out(layer, clusters, filters, called)
        left_out.update(small)
        if found and small:
            left_out.update(
                {called[id(weight.variable)]: "another weight of its layer is too small" for weight in found}
            )
        elif found:
            layers.append(layer.name)
    return layers, left_out


def _wrapped(layer: tf_keras.layers.Layer, clusters: int, start: object, settings: dict) -> tf_keras.layers.Layer:
    filters = settings["cluster_per_channel"] and isinstance(layer, tf_keras.layers.Conv2D)
    # The Toolkit counts channels in the last trainable weight.  Without a bias that is the kernel itself, which then
    # seems to have one weight a channel, and is left out.  Its wrapper, called directly, is right.
    wrap = ClusterWeights if filters and not layer.use_bias else tfmot.clustering.keras.cluster_weights
    try:
        return wrap(layer, clusters, start, **settings)
    except ValueError as error:
        raise ValueError(
            f"the Toolkit has no rule for layer {layer.name!r} ({type(layer).__name__}): leave it out with only=[…], "
            "make its class a ClusterableLayer, or use cluster_once, which does not train"
        ) from error


def _check(model: tf_keras.Model, layers: list[str], clusters: int, per_channel: bool) -> None:
    for name in layers:
        layer = model.get_layer(name)
        for weight in _kernels(layer):
            rows, _ = _rows(weight, per_channel and isinstance(layer, tf_keras.layers.Conv2D))
            most = max(len(np.unique(row)) for row in rows)
            if most > clusters or not np.isfinite(rows).all():
                raise ClusteringFailed(
                    f"{weight.name!r} has {most:,} distinct values, not {clusters}, or is not finite"
                )


def _check_zeros(before: list[np.ndarray], after: tf_keras.Model) -> None:
    """before: where each kernel was 0.  Other weights may have become 0 too: those nearest to that centroid."""
    for zeros, new in zip(before, _kernels(after), strict=True):
        lost = int(np.count_nonzero(zeros & (new.variable.numpy() != 0)))
        if lost:
            raise ClusteringFailed(f"{lost:,} zeros of {new.name!r} are gone")
