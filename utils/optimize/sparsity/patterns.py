"""Which weights become zero: single ones, blocks, or a fixed number in each group along the input channels.

    keep = patterns.mask_of_groups(kernel, zeros=2, size=4)          # 2:4
    pruned = patterns.prune(model, patterns.two_of_four)

A mask is True where a weight stays.  The axis that counts is that of the input channels: products along it are summed,
and it is the last one of a weight in a .tflite file.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Sequence

import numpy as np
import tf_keras

from utils import checks
from utils.optimize import keras_weights
from utils.optimize.keras_graph import rebuild

#: From an array of weights and the axis of its input channels to a mask of its shape, True where a weight stays.
Pattern = Callable[[np.ndarray, int], np.ndarray]

__all__ = ["Pattern", "blocks", "holds", "input_axis", "mask_of_groups", "prune", "single", "two_of_four"]


def single(values: np.ndarray, share: float) -> np.ndarray:
    """The mask without round(share * size) of the smallest magnitudes; of equal ones the first go first.

    values: array of any shape.  share: of zeros, from 0 to below 1.
    """
    array = _finite(values)
    keep = np.ones(array.size, bool)
    keep[np.argsort(_magnitudes(array).reshape(-1), kind="stable")[: round(_share(share) * array.size)]] = False
    return keep.reshape(array.shape)


def blocks(values: np.ndarray, share: float, size: tuple[int, int] = (4, 1)) -> np.ndarray:
    """The mask without the blocks whose mean magnitude is smallest.

    values: matrix (inputs, outputs), as a Dense layer has it.
    share: of the blocks that go, from 0 to below 1.
    size: rows and columns of a block.  (4, 1) are four inputs of one output: 1×4 in a .tflite file, whose weights
        are (outputs, inputs).  At the edges blocks are smaller; the mean is over what is there.

    The Toolkit's `block_size` with its pooling "AVG" takes the same blocks where the size divides the matrix.
    """
    matrix = _finite(values)
    if matrix.ndim != 2:
        raise ValueError(f"values have the shape {matrix.shape}; blocks are made in a matrix, such as a Dense kernel")
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise ValueError(f"size is {size!r}; pass rows and columns of a block, such as (4, 1)")
    high, wide = (_whole(number, "a side of a block", 1) for number in size)
    missing = [(0, -matrix.shape[0] % high), (0, -matrix.shape[1] % wide)]
    padded = np.pad(_magnitudes(matrix).astype(np.float64), missing)
    there = np.pad(np.ones(matrix.shape), missing)
    means = _block_sums(padded, high, wide) / _block_sums(there, high, wide)
    keep = np.repeat(np.repeat(single(means, share), high, axis=0), wide, axis=1)
    return keep[: matrix.shape[0], : matrix.shape[1]]


def mask_of_groups(values: np.ndarray, zeros: int = 2, size: int = 4, axis: int = -2) -> np.ndarray:
    """The mask without the `zeros` smallest magnitudes of each `size` neighbours along `axis`: 2:4 by default.

    axis: of the input channels, -2 for Dense and convolution kernels of Keras.  A last group that is not full is
    filled up with zeros, which go first: 3 channels lose 1 of 3 (as in the Toolkit's generate_m_by_n_mask).
    """
    array = _magnitudes(_finite(values))
    zeros, size = _group(zeros, size)
    rows = _along(array, axis)
    channels = rows.shape[-1]
    magnitudes = np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, -channels % size)])
    parts = magnitudes.reshape(-1, size)
    # From the right: among equal magnitudes the padding, which stands last, goes first.
    order = size - 1 - np.argsort(parts[:, ::-1], axis=1, kind="stable")
    keep = np.ones(parts.shape, bool)
    np.put_along_axis(keep, order[:, :zeros], False, axis=1)
    return np.moveaxis(keep.reshape(magnitudes.shape)[..., :channels], -1, axis)


def holds(values: np.ndarray, zeros: int = 2, size: int = 4, axis: int = -2) -> bool:
    """Whether each `size` neighbours along `axis` have at least `zeros` zeros; a group that is not full may be filled.

    For a weight of a .tflite file pass axis=-1, where its input channels are.
    """
    zeros, size = _group(zeros, size)
    rows = _along(_finite(values), axis)
    padded = np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, -rows.shape[-1] % size)])
    return bool(((padded.reshape(-1, size) != 0).sum(axis=1) <= size - zeros).all())


def two_of_four(values: np.ndarray, axis: int) -> np.ndarray:
    """The 2:4 pattern, as `prune` takes it: of each four neighbours along `axis` the two smallest go."""
    return mask_of_groups(values, zeros=2, size=4, axis=axis)


def input_axis(weight: keras_weights.Weight) -> int | None:
    """The axis of the input channels of a kernel; None if it has none, or several.

    -2 of dense, convolution and recurrent kernels, -1 of transposed convolutions; None for depthwise kernels, which sum
    over no channels, for embeddings, which are looked up, for EinsumDense and locally connected layers.
    """
    rank = len(weight.variable.shape)
    if weight.role not in ("kernel", "recurrent kernel") or len(weight.channels) != 1 or rank < 2:
        return None
    if isinstance(weight.layer, (tf_keras.layers.EinsumDense, *_LOCAL)):
        return None
    return -1 if weight.channels[0] == rank - 2 else -2


_LOCAL = (tf_keras.layers.LocallyConnected1D, tf_keras.layers.LocallyConnected2D)


def prune(model: tf_keras.Model, pattern: Pattern, *, only: Sequence[str] | None = None) -> tf_keras.Model:
    """A copy of `model` whose kernels have the zeros of `pattern`, at once and without training.

    model: a built Sequential or functional tf_keras model, which stays as it is.
    pattern: called with each kernel's values and the axis of its input channels; returns the mask, such as
        `two_of_four`.
    only: names of the layers; None for all that have input channels (see `input_axis`).
    Raises TypeError: `model` is no tf_keras model.
    Raises ValueError: nothing to prune, no such layer, a subclassed model, weights that are not finite, or a mask that
        is not boolean or of another shape than its kernel.
    """
    checks.check_model(model, graph=True)
    if isinstance(only, str):
        raise ValueError(f"only is {only!r}; pass a list of layer names, such as [{only!r}]")
    copy = rebuild(model)
    layers = [copy] if only is None else [copy.get_layer(name) for name in only]
    found = {id(w.variable): w for layer in layers for w in keras_weights.weights(layer) if input_axis(w) is not None}
    if not found:
        place = f"the layers {list(only)} have" if only is not None else f"the model {model.name!r} has"
        raise ValueError(f"{place} no kernel with input channels: dense, convolution and recurrent layers do")
    for weight in found.values():
        values = weight.variable.numpy()
        mask = np.asarray(pattern(values, input_axis(weight)))
        if mask.dtype != bool or mask.shape != values.shape:
            raise ValueError(
                f"the pattern gave {mask.dtype} of shape {mask.shape} for {weight.name}; "
                f"return a boolean mask of shape {values.shape}"
            )
        weight.variable.assign(np.where(mask, values, 0))
    return copy


def _block_sums(matrix: np.ndarray, high: int, wide: int) -> np.ndarray:
    rows, columns = matrix.shape
    return matrix.reshape(rows // high, high, columns // wide, wide).sum(axis=(1, 3))


def _finite(values: np.ndarray) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu" or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"values are {array.dtype} of shape {array.shape}; pass finite numbers, at least one")
    return array


def _magnitudes(array: np.ndarray) -> np.ndarray:
    """Of whole numbers without a sign: in 8 bits |-128| would be -128, the smallest of all."""
    if array.dtype.kind != "i":
        return np.abs(array)
    return np.abs(array).view(array.dtype.str.replace("i", "u"))


def _share(share: float) -> float:
    if isinstance(share, bool) or not isinstance(share, numbers.Real) or not 0 <= share < 1:
        raise ValueError(f"share is {share!r}; pass the share of zeros, from 0 to below 1, such as 0.8")
    return float(share)


def _along(array: np.ndarray, axis: int) -> np.ndarray:
    """The array with this axis last."""
    whole = isinstance(axis, numbers.Integral) and not isinstance(axis, bool)
    if not whole or not -array.ndim <= axis < array.ndim:
        raise ValueError(
            f"axis is {axis!r} of an array of shape {array.shape}; pass that of its input channels: -2 for kernels of "
            "Keras, -1 for weights of a .tflite file"
        )
    return np.moveaxis(array, axis, -1)


def _group(zeros: int, size: int) -> tuple[int, int]:
    size = _whole(size, "the size of a group", 2)
    zeros = _whole(zeros, "the number of zeros", 1)
    if zeros >= size:
        raise ValueError(f"{zeros} zeros in groups of {size} leave no weight; pass fewer zeros than the size")
    return zeros, size


def _whole(number: int, what: str, least: int) -> int:
    if isinstance(number, bool) or not isinstance(number, numbers.Integral) or number < least:
        raise ValueError(f"{what} is {number!r}; pass a whole number from {least}")
    return int(number)
