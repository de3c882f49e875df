"""Which weights to prune: criteria beyond magnitude, each as one score a weight; the lowest scores go.

    scores = gradient_scores(model, x, y)
    pruned = prune_by(model, scores, 0.9)

and Optimal Brain Surgeon for one matrix, where the weights that stay make up for each one that goes.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tf_keras

from utils import SEED, checks, training
from utils.optimize.keras_graph import rebuild
from utils.optimize.pruning.magnitude import check_target, prunable, zero_smallest

__all__ = [
    "fisher_scores",
    "gradient_scores",
    "inverse_fisher",
    "magnitude_scores",
    "movement_scores",
    "prune_by",
    "random_scores",
    "surgeon",
]


def magnitude_scores(model: tf_keras.Model) -> list[np.ndarray]:
    """|w| of each prunable array of `model`, in the order of `magnitude.prunable`."""
    return [np.abs(values) for values in _arrays(model)]


def random_scores(model: tf_keras.Model, seed: int = SEED) -> list[np.ndarray]:
    """Drawn from [0, 1): the control that every criterion must beat."""
    rng = np.random.default_rng(seed)
    return [rng.random(values.shape) for values in _arrays(model)]


def gradient_scores(model: tf_keras.Model, x: np.ndarray, y: np.ndarray, *, batch_size: int = 500) -> list[np.ndarray]:
    """|w · dL/dw|, L the mean cross-entropy over all of `x`: by how much the loss moves, to first order, if w goes.

    On an untrained model this is SNIP, Lee et al. 2019, arXiv 1810.02340 (up to a factor); on a trained one it is the
    first-order Taylor score of Molchanov et al. 2019, arXiv 1906.10771, of single weights.

    model: a classifier of logits or probabilities.  x, y: its inputs (n, …) and labels (n,).
    """
    total = [np.zeros(values.shape) for values in _arrays(model)]
    for gradients, count in _gradients(model, x, y, batch_size):
        for sum_, gradient in zip(total, gradients, strict=True):
            sum_ += gradient * (count / len(x))
    return [np.abs(values * gradient) for values, gradient in zip(_arrays(model), total, strict=True)]


def fisher_scores(model: tf_keras.Model, x: np.ndarray, y: np.ndarray, *, batch_size: int = 1) -> list[np.ndarray]:
    """w² · F / 2, F the mean of the squared gradients: Optimal Brain Damage (LeCun et al. 1990) with the empirical
    Fisher information in place of the second derivative (Theis et al. 2018, arXiv 1801.05787).

    batch_size: examples whose gradients are averaged before they are squared; 1 is the Fisher information itself.
    """
    total, batches = [np.zeros(values.shape) for values in _arrays(model)], 0
    for gradients, _ in _gradients(model, x, y, batch_size):
        batches += 1
        for sum_, gradient in zip(total, gradients, strict=True):
            sum_ += np.square(gradient)
    return [values**2 * sum_ / (2 * batches) for values, sum_ in zip(_arrays(model), total, strict=True)]


def movement_scores(
    model: tf_keras.Model, x: np.ndarray, y: np.ndarray, *, batch_size: int = 64, learning_rate: float = 0.01
) -> list[np.ndarray]:
    """−Σ w · dL/dw over the steps of one pass of plain gradient descent on a copy: high where w moved away from zero.

    Movement pruning, Sanh et al. 2020, arXiv 2005.07683, eq. 4, with the scores of a dense run.  For fine-tuning on
    another task, where a large weight may be one that the old task needed.
    """
    training.check_settings(1, batch_size, learning_rate, 0)
    copy = rebuild(model)
    total = [np.zeros(values.shape) for values in _arrays(copy)]
    where = prunable(copy)
    for gradients, _ in _gradients(copy, x, y, batch_size):
        for sum_, i, gradient in zip(total, where, gradients, strict=True):
            sum_ -= copy.weights[i].numpy() * gradient
            copy.weights[i].assign_sub(learning_rate * gradient)
    return total


def prune_by(
    model: tf_keras.Model, scores: Sequence[np.ndarray], target: float, *, scope: str = "layer"
) -> tf_keras.Model:
    """A copy of `model` in which the share `target` of the prunable weights is zero: those of the lowest scores.

    scores: one array for each prunable array, of its shape; any finite numbers.
    target, scope: as in `magnitude.prune_once`; exact to one weight, ties broken by position.
    Raises TypeError, ValueError: as `magnitude.prune_once`; scores of another number or shape, or not finite.
    """
    check_target(target)
    checks.check_choice("scope", scope, ("layer", "model"))
    checks.check_model(model, graph=True)
    copy = rebuild(model)
    where = prunable(copy)
    scores = _checked_scores(scores, [values.shape for values in _arrays(copy)], model.name)
    ranks = _ranks(scores, scope)
    for i, rank in zip(where, ranks, strict=True):
        share = target if scope == "layer" else np.mean(rank < round(target * sum(map(np.size, scores))))
        kept = zero_smallest(rank + 1, float(share)) != 0
        copy.weights[i].assign(copy.weights[i].numpy() * kept)
    return copy


def surgeon(weights: np.ndarray, inverse: np.ndarray, count: int) -> np.ndarray:
    """Optimal Brain Surgeon for one vector: `count` of its numbers become 0, and the others make up for it.

    The loss is taken as ½ δᵀ H δ around `weights`.  In each step the weight goes that costs least, w² / [H⁻¹]pp, and
    the others move by δ = −w / [H⁻¹]pp · H⁻¹[:, p] (Hassibi and Stork 1993; one row at a time as in Frantar and
    Alistarh 2022, arXiv 2208.11580).

    weights: (n,).  inverse: H⁻¹, (n, n), symmetric, positive definite.  count: how many go, 0 to n.

    Returns a new vector with at least `count` zeros.

    Raises ValueError for other shapes, a count that is none, and a matrix that is not symmetric, positive definite.
    """
    w, h = checks.as_array(weights, what="weights"), checks.as_array(inverse, what="inverse")
    if w.ndim != 1 or h.shape != (len(w), len(w)) or {w.dtype.kind, h.dtype.kind} - set("fiu"):
        raise ValueError(
            f"weights is {w.dtype} of shape {w.shape}, inverse {h.dtype} of {h.shape}; pass numbers, (n,) and (n, n)"
        )
    w, h = w.astype(float), h.astype(float)
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or not 0 <= count <= len(w):
        raise ValueError(f"count is {count!r}; pass a whole number from 0 to {len(w)}")
    if not (np.isfinite(h).all() and np.isfinite(w).all() and (np.diag(h) > 0).all()):
        raise ValueError("weights and inverse must be finite, and the inverse's diagonal above 0; add damping to H")
    if not np.allclose(h, h.T, rtol=1e-3, atol=1e-6 * np.abs(h).max(initial=0)) or not _positive_definite(h):
        raise ValueError("the inverse is not symmetric and positive definite, so no loss has it; add damping to H")
    left = np.ones(len(w), bool)
    for _ in range(count):
        cost = np.where(left, w**2 / np.where(left, np.diag(h), 1), np.inf)
        p = int(np.argmin(cost))
        column, pivot = h[:, p].copy(), h[p, p]
        if not pivot > 0:
            raise ValueError(f"the inverse cannot be followed for {count} weights in 64 bits; add more damping to H")
        w -= w[p] / pivot * column
        h -= np.outer(column, column) / pivot  # the inverse for those that are left
        left[p] = False
        w[~left] = 0
    return w


def inverse_fisher(gradients: np.ndarray, damping: float = 1e-3) -> np.ndarray:
    """(damping · I + mean of g gᵀ)⁻¹ without inverting a matrix: one gradient after the other, Sherman-Morrison.

    gradients: (examples, n), of one example each.  Singh and Alistarh 2020 (WoodFisher), arXiv 2004.14340, eq. 9.
    """
    g = checks.as_array(gradients, what="gradients")
    if g.ndim != 2 or not g.size or g.dtype.kind not in "fiu" or not np.isfinite(g).all():
        raise ValueError(f"gradients is {g.dtype} of shape {g.shape}; pass finite numbers of shape (examples, n)")
    g = g.astype(float)
    if isinstance(damping, bool) or not isinstance(damping, numbers.Real) or not 0 < damping < np.inf:
        raise ValueError(f"damping is {damping!r}; pass a number above 0, such as 0.001")
    inverse = np.eye(g.shape[1]) / damping
    with np.errstate(over="ignore", invalid="ignore"):
        for row in g:
            along = inverse @ row
            inverse -= np.outer(along, along) / (len(g) + row @ along)
    if not np.isfinite(inverse).all():
        raise ValueError(
            f"damping {damping:g} and gradients up to {np.abs(g).max():g} leave the range of floats; scale"
        )
    apart = _apart(inverse, g, damping)
    if not apart <= 1e-3:
        raise ValueError(
            f"with damping {damping:g} and gradients up to {np.abs(g).max():g}, 64 bits give an inverse that is off by "
            f"{apart:.2g} where 1 is all; pass more damping"
        )
    return inverse


def _apart(inverse: np.ndarray, gradients: np.ndarray, damping: float) -> float:
    """The largest entry of matrix · inverse − identity."""
    product = damping * inverse + gradients.T @ (gradients @ inverse) / len(gradients)
    return float(np.abs(product - np.eye(len(inverse))).max())


def _checked_scores(scores: object, shapes: list[tuple[int, ...]], name: str) -> list[np.ndarray]:
    """The scores as arrays; ValueError unless they are finite real numbers of these shapes."""
    if not isinstance(scores, (list, tuple)):
        raise ValueError(f"scores is a {type(scores).__name__}; pass a list of one array for each prunable array")
    arrays = [checks.as_array(score, what="a score") for score in scores]
    given = [array.shape for array in arrays]
    if shapes != given:
        raise ValueError(f"the scores have the shapes {given}, the prunable weights of {name!r} {shapes}")
    strange = [str(array.dtype) for array in arrays if array.dtype.kind not in "fiub"]
    if strange:
        raise ValueError(f"the scores are {strange[0]}; pass real numbers, of which the lowest go")
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("the scores hold NaN or infinity; find out where they come from")
    return arrays


def _positive_definite(matrix: np.ndarray) -> bool:
    try:
        np.linalg.cholesky((matrix + matrix.T) / 2)
    except np.linalg.LinAlgError:
        return False
    return True


def _ranks(scores: Sequence[np.ndarray], scope: str) -> list[np.ndarray]:
    """Places from 0, the lowest score first; within each array, or over all of them."""
    if scope == "layer":
        return [_places(np.ravel(score)).reshape(np.shape(score)) for score in scores]
    joined = _places(np.concatenate([np.ravel(score) for score in scores]))
    parts = np.split(joined, np.cumsum([np.size(score) for score in scores])[:-1])
    return [part.reshape(np.shape(score)) for part, score in zip(parts, scores, strict=True)]


def _places(flat: np.ndarray) -> np.ndarray:
    places = np.empty(flat.size, int)
    places[np.argsort(flat, kind="stable")] = np.arange(flat.size)
    return places


def _arrays(model: tf_keras.Model) -> list[np.ndarray]:
    found = [model.weights[i].numpy() for i in prunable(model)]
    if not found:
        raise ValueError(f"the model {model.name!r} has no prunable weights")
    return found


def _gradients(model: tf_keras.Model, x: np.ndarray, y: np.ndarray, batch_size: int):
    """(gradients of the mean loss, number of examples) for each batch, in order; layers as in inference."""
    x, y = np.asarray(x), np.asarray(y)
    checks.check_model(model)
    training.check_examples(model, x, y, "scored")
    training.check_settings(1, batch_size, 1.0, 0)
    variables = [model.weights[i] for i in prunable(model)]
    logits = not training.are_probabilities(model.predict(x[:8], verbose=0))
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=logits)

    @tf.function(reduce_retracing=True)
    def of_batch(pictures, labels):
        with tf.GradientTape() as tape:
            value = loss(labels, model(pictures, training=False))
        gradients = tape.gradient(value, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [tf.convert_to_tensor(gradient) for gradient in gradients]

    for begin in range(0, len(x), batch_size):
        rows = slice(begin, begin + batch_size)
        yield [gradient.numpy() for gradient in of_batch(x[rows], y[rows])], len(x[rows])
