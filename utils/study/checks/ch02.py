"""Checks of chapter 02's exercises: the pruning mask, what wrappers cost, quantizing around a refusal."""

from __future__ import annotations

import numpy as np

from utils.study.exercises import Misconception, exercise, require


@exercise(
    "02-1",
    "the mask of magnitude pruning",
    (
        "A large negative weight matters as much as a large positive one. By what do you sort?",
        "How many survive? round(size × (1 − sparsity)), at least one. The smallest survivor is the threshold.",
        "`magnitude = np.abs(weights)`, then `keep = max(round(magnitude.size * (1 - sparsity)), 1)`, and what is at "
        "least the smallest survivor stays: `return magnitude >= np.sort(magnitude, axis=None)[-keep]`",
    ),
)
def mask(answer, rng: np.random.Generator) -> None:
    """`answer(weights, sparsity)`: boolean array, True where a weight survives."""
    for sparsity in (0.5, 0.75, 0.9, 0.9999):
        weights = rng.normal(size=(int(rng.integers(8, 20)), 12)).astype(np.float32)
        got = np.asarray(answer(weights.copy(), sparsity))
        require(
            got.shape == weights.shape, f"the mask has shape {got.shape}; it needs that of the weights, {weights.shape}"
        )
        got = got.astype(bool)
        right = _mask(weights, sparsity)
        require(got.any(), f"at a sparsity of {sparsity} nothing is left: the Toolkit always keeps one weight")
        if np.array_equal(got, right):
            continue
        require(not np.array_equal(got, ~right), "your mask is upside down: True marks what survives")
        keep = int(right.sum())
        signed = weights >= np.sort(weights, axis=None)[-keep]
        require(
            not np.array_equal(got, signed),
            "you sorted by value: then every negative weight goes first. Magnitude pruning sorts by absolute value",
        )
        rows = np.stack([_mask(row, sparsity) for row in weights])
        columns = np.stack([_mask(column, sparsity) for column in weights.T], axis=1)
        require(
            not any(np.array_equal(got, other) for other in (rows, columns)),
            "you took a threshold for each row or column; the Toolkit takes one for the whole matrix",
        )
        require(
            abs(got.sum() - (weights.size - keep)) > 1 or sparsity == 0.5,
            f"you keep a share of {sparsity}; sparsity is the share that goes",
        )
        raise Misconception(
            f"at a sparsity of {sparsity}, {keep} of {weights.size} weights survive, the largest by "
            f"magnitude; your mask keeps {int(got.sum())}, not all of them the same"
        )


def _mask(weights: np.ndarray, sparsity: float) -> np.ndarray:
    magnitude = np.abs(weights)
    keep = max(round(magnitude.size * (1 - sparsity)), 1)
    return magnitude >= np.sort(magnitude, axis=None)[-keep]


@exercise(
    "02-2",
    "what wrappers hold while training",
    (
        "The file is not the memory. Look at the types in the table of variables: which one has eight bytes?",
        "Pruning: a float32 mask as large as the kernel, and two numbers. Clustering: an int64 index as large as the "
        "kernel, and one float32 for each cluster.",
        "With `n = int(np.prod(shape))` weights, pruning adds mask, threshold and step, `4 * n + 4 + 8`, and "
        "clustering index and centroids, `8 * n + 4 * clusters`.",
    ),
)
def cost(answer, rng: np.random.Generator) -> None:
    """`answer(shape, technique, clusters)`: bytes of the variables that the wrapper adds."""
    for _ in range(10):
        shape = tuple(int(n) for n in rng.integers(2, 40, size=rng.choice([2, 4])))
        clusters = int(rng.integers(3, 60))
        n = int(np.prod(shape))
        got = answer(shape, "pruning", clusters)
        require(got not in (n / 8, -(-n // 8), n / 8 + 12), "a mask needs one bit in theory; the Toolkit's is float32")
        require(got not in (n, n + 12), "a mask of booleans would be one byte each; the Toolkit's is float32")
        require(got != 4 * n, "the mask is right; the threshold (float32) and the step counter (int64) are missing")
        require(got == 4 * n + 12, f"pruning a kernel of shape {shape} adds {4 * n + 12} bytes, you returned {got!r}")
        got = answer(shape, "clustering", clusters)
        bits = int(np.ceil(np.log2(clusters)))
        require(
            got not in (n * bits / 8, n * bits // 8, n * bits / 8 + 4 * clusters, n * bits // 8 + 4 * clusters),
            "log2(clusters) bits an index is what a code book needs in a file; while training the index is int64",
        )
        require(got not in (4 * n, 4 * n + 4 * clusters), "the index is int64, eight bytes, not four")
        require(got != 8 * n, "the centroids are missing: one float32 for each cluster")
        right = 8 * n + 4 * clusters
        require(got == right, f"{clusters} clusters on a kernel of shape {shape} add {right} bytes; you said {got!r}")


@exercise(
    "02-3",
    "quantizing around the layers that are refused",
    (
        "quantize_model takes all or nothing. Which function of the Toolkit marks a single layer?",
        "Mark each layer whose class is not refused with quantize_annotate_layer, inside clone_model. "
        "Marks alone do nothing: quantize_apply makes wrappers of them. And what does a layer that is made anew know "
        "of the old weights?",
        "In the function for `clone_model`, refused layers are handed back as they are, `return layer`, the others "
        "marked, `return tfmot.quantization.keras.quantize_annotate_layer(layer)`. Then "
        "`return tfmot.quantization.keras.quantize_apply(marked)`",
    ),
)
def around(answer, rng: np.random.Generator) -> None:
    """`answer(model, refused)`: a quantization-aware model in which only the refused classes are bare."""
    import tf_keras

    tf_keras.utils.set_random_seed(int(rng.integers(1000)))
    layers = tf_keras.layers
    for refused in ({"Conv1D"}, {"Conv1D", "Dense"}):  # the second: what is refused is what the argument says
        model = tf_keras.Sequential(
            [
                tf_keras.Input((12, 4)),
                layers.Conv1D(int(rng.integers(3, 7)), 3, name="first"),
                layers.Flatten(name="flat"),
                layers.Dense(5, name="second"),
            ]
        )
        before = [w.copy() for w in model.get_weights()]
        got = answer(model, set(refused))
        require(isinstance(got, tf_keras.Model), f"return a tf_keras model; you returned a {type(got).__name__}")
        _check_wrapped(got, refused)
        _check_weights(got, before)


def _check_wrapped(got, refused: set[str]) -> None:
    kinds = {getattr(layer, "layer", layer).name: type(layer).__name__ for layer in got.layers}
    require(
        "QuantizeAnnotate" not in kinds.values(), "your layers are only marked: call quantize_apply on the marked model"
    )
    for name, kind in (("first", "Conv1D"), ("flat", "Flatten"), ("second", "Dense")):
        wrapped = kinds.get(name, "").startswith("QuantizeWrapper")
        if kind in refused:
            require(not wrapped, f"{kind} is in `refused`, and you wrapped it")
        else:
            require(wrapped, f"the {kind} layer is not wrapped: mark every layer that is NOT refused")


def _check_weights(got, before: list[np.ndarray]) -> None:
    own = {w.name.split(":")[0]: w.numpy() for w in got.weights}
    for name, old in zip(("first/kernel", "first/bias", "second/kernel", "second/bias"), before, strict=True):
        new = next((value for key, value in own.items() if key.endswith(name)), None)
        require(
            new is not None and np.array_equal(new, old),
            f"{name} is not what it was: a layer made anew from its configuration has fresh weights; hand back the "
            "layer itself, or copy the weights with set_weights",
        )
