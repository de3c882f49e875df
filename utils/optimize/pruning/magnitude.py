"""Magnitude pruning: the weights nearest to zero become zero.

`prune_once` sets them to zero in one step, without training: what pruning does to a file can be seen with
it alone.  What training can save afterwards is another question.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence

import numpy as np
import tf_keras

from utils import checks
from utils.optimize import keras_weights
from utils.optimize.keras_graph import rebuild

#: The roles (see `keras_weights`) of what the Toolkit prunes; biases, normalization and depthwise kernels stay whole.
PRUNABLE = ("kernel", "recurrent kernel", "embedding")

__all__ = ["PRUNABLE", "check_plain", "check_target", "prunable", "prune_once", "sparsity", "zero_smallest"]


def prune_once(
    model: tf_keras.Model, target: float, *, only: Sequence[str] | None = None, scope: str = "layer"
) -> tf_keras.Model:
    """A copy of `model` in which a share `target` of the prunable weights is zero: the smallest magnitudes.

    Nothing is trained, and `model` stays as it is.

    model: a built Sequential or functional tf_keras model.
    target: share of zeros, from 0 up to but not including 1; exact to the nearest whole number of weights, of each
        array or of the model.
    only: names of the layers to prune, such as the one that holds most weights; None for all.
    scope: "layer" gives each weight array the share `target`, those of one layer too; "model" ranks all weights of
        the model together, so that arrays with many small weights lose more (Han et al. 2015, arXiv 1506.02626,
        prune by layer; Frankle and Carbin 2019, arXiv 1803.03635, compare both).
    Raises TypeError: `model` is no tf_keras model.
    Raises ValueError: target or scope out of range, no such layer, nothing to prune, a subclassed model, or weights
        that are not finite.
    """
    check_target(target)
    if scope not in ("layer", "model"):
        raise ValueError(f"scope is {scope!r}; pass 'layer' or 'model'")
    checks.check_model(model, graph=True)
    copy = rebuild(model)
    where = prunable(copy, only)
    if not where:
        place = f"the layers {list(only)} have" if only is not None else f"the model {model.name!r} has"
        raise ValueError(f"{place} no prunable weights, which are those of the roles {', '.join(PRUNABLE)}")
    chosen = [copy.weights[i] for i in where]
    for weight, array in zip(chosen, _prune([w.numpy() for w in chosen], float(target), scope), strict=True):
        weight.assign(array)
    return copy


def check_target(target: object, what: str = "target") -> None:
    """Raise ValueError unless `target` is a share of zeros; what: its name in the sentence."""
    if isinstance(target, bool) or not isinstance(target, numbers.Real) or not 0 <= target < 1:
        raise ValueError(f"{what} is {target!r}; pass the share of zeros, from 0 to below 1, such as 0.8")


def check_plain(model: tf_keras.Model) -> None:
    """Raise ValueError if the Toolkit has wrapped a layer, which can be neither copied nor wrapped again."""
    for layer in checks.all_layers(model):
        if checks.is_from(type(layer), "tensorflow_model_optimization"):
            raise ValueError(
                f"the layer {layer.name!r} of the model {model.name!r} is a {type(layer).__name__} of the Toolkit; "
                "pass the model as it was before, or without wrappers: tfmot.sparsity.keras.strip_pruning(model) for "
                "pruned ones, tfmot.clustering.keras.strip_clustering(model) for clustered ones"
            )


def zero_smallest(values: np.ndarray, target: float) -> np.ndarray:
    """A copy of `values` with at least round(target * size) zeros, put at the smallest magnitudes.

    Exactly so many, unless more have been zero before.  Of equal magnitudes the one that stands first goes first, so
    that the result is the same everywhere.
    """
    flat = np.array(values).reshape(-1)
    smallest = np.argsort(np.abs(flat), kind="stable")[: round(target * flat.size)]
    flat[smallest] = 0
    return flat.reshape(np.shape(values))


def sparsity(model: tf_keras.Model) -> float:
    """Share of zeros among the prunable weights of `model`, from 0 to 1; NaN if it has none."""
    arrays = [model.weights[i].numpy() for i in prunable(model)]
    total = sum(array.size for array in arrays)
    return sum(int(np.count_nonzero(array == 0)) for array in arrays) / total if total else math.nan


def prunable(model: tf_keras.Model, only: Sequence[str] | None = None) -> list[int]:
    """Which of `model.weights` pruning may touch, as positions in that list; `only` in these layers."""
    if isinstance(only, str):
        raise ValueError(f"only is {only!r}; pass a list of layer names, such as [{only!r}]")
    checks.check_model(model)
    layers = [model] if only is None else [model.get_layer(name) for name in only]
    kernels = {
        id(w.variable) for layer in layers for w in keras_weights.weights(layer) if w.role in PRUNABLE
    }  # shared ones once
    return [i for i, weight in enumerate(model.weights) if id(weight) in kernels]


def _prune(arrays: list[np.ndarray], target: float, scope: str) -> list[np.ndarray]:
    if scope == "layer":
        return [zero_smallest(array, target) for array in arrays]
    joined = zero_smallest(np.concatenate([array.reshape(-1) for array in arrays]), target)
    ends = np.cumsum([array.size for array in arrays])[:-1]
    return [part.reshape(array.shape) for part, array in zip(np.split(joined, ends), arrays, strict=True)]
