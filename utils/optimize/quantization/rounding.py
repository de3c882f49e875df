"""Round a layer's weights so that its outputs stay: nearest, AdaRound and GPTQ for one matrix, by hand.

    moment = rounding.second_moment(x)                 # what the layer's inputs are like
    rounded = rounding.gptq(kernel, moment, bits=4)
    rounding.output_error(kernel, rounded, moment)     # what its outputs lose

Rounding a weight to its nearest level makes the error of that weight smallest.  What a layer computes is a sum over its
inputs, and there errors add up or cancel:

    mean over x of |x (rounded - kernel)|² = sum of D · (M D),   D = rounded - kernel,   M = mean of xᵀx

Kernels are (inputs, outputs), as of a Keras Dense layer; of a convolution pass its patches and the kernel as a matrix.
All functions use the same levels: symmetric, one step an output channel, `step · (-top … top)`.  With `clip` the step
is not the absmax's but the one with the least error of the weights; what lies outside goes to the last level.
"""

from __future__ import annotations

import numbers

import numpy as np

__all__ = ["adaptive", "gptq", "nearest", "output_error", "second_moment", "steps"]


def second_moment(x: np.ndarray) -> np.ndarray:
    """The mean of xᵀx, (inputs, inputs) float64.  x: (n, inputs), what comes into the layer for n examples."""
    x = _matrix("x", x).astype(np.float64)
    return x.T @ x / len(x)


def output_error(kernel: np.ndarray, rounded: np.ndarray, moment: np.ndarray) -> float:
    """Mean squared error of the layer's outputs, summed over the outputs.

    kernel, rounded: (inputs, outputs).  moment: (inputs, inputs), of `second_moment`.
    """
    kernel, moment = _checked(kernel, moment)
    error = _like("rounded", rounded, kernel) - kernel
    return float(np.sum(error * (moment @ error)))


def steps(kernel: np.ndarray, bits: int, *, clip: bool = False) -> tuple[np.ndarray, int]:
    """(step of each output channel, highest level): absmax / top, with top = 2^(bits-1) - 1.

    clip: of 100 parts of that step, evenly spaced, the one with the least squared error of the channel's weights.
    A channel of zeros has step 1.  Raises ValueError for bits that are no whole number from 2 to 8.
    """
    kernel = _matrix("kernel", kernel)
    if isinstance(bits, bool) or not isinstance(bits, numbers.Integral) or not 2 <= bits <= 8:
        raise ValueError(f"bits is {bits!r}; pass a whole number from 2 to 8")
    top = 2 ** (bits - 1) - 1
    absmax = np.abs(kernel).max(axis=0).astype(np.float64)
    whole = np.where(absmax > 0, absmax, top) / top
    if not clip:
        return whole, top
    parts = np.linspace(1, 0.01, 100)
    errors = [np.sum((_on_levels(kernel, part * whole, top) - kernel) ** 2, axis=0) for part in parts]
    return parts[np.argmin(errors, axis=0)] * whole, top


def nearest(kernel: np.ndarray, bits: int = 4, *, clip: bool = False) -> np.ndarray:
    """Each weight on its nearest level, (inputs, outputs).  clip: of `steps`."""
    step, top = steps(kernel, bits, clip=clip)
    return _on_levels(kernel, step, top)


def gptq(
    kernel: np.ndarray,
    moment: np.ndarray,
    bits: int = 4,
    *,
    damp: float = 0.01,
    cholesky: bool = True,
    clip: bool = False,
) -> np.ndarray:
    """GPTQ: round the weights of one input after the other, and let the inputs that remain make up for each error.

    Frantar et al. 2022, arXiv 2210.17323, algorithm 1, without its blocks, which only save time.  The rows of the
    Cholesky factor of M⁻¹ are those of the inverses that remain when the inputs before are fixed.

    kernel: (inputs, outputs).  moment: (inputs, inputs); of inputs that are always 0 every rounding is right, and each
        weight goes to its nearest level.  damp: part of the mean variance added to the diagonal.
    cholesky: False takes the rows of M⁻¹ itself, as if no input had been fixed yet; litert-quantizer 0.11 does so.
    clip: of `steps`.
    """
    kernel, moment = _checked(kernel, moment)
    if not 0 < damp <= 1:
        raise ValueError(f"damp is {damp!r}; pass a part of the inputs' mean variance, such as 0.01")
    step, top = steps(kernel, bits, clip=clip)
    variances = np.diag(moment)
    if np.any(variances < 0) or not np.allclose(moment, moment.T, rtol=1e-6, atol=1e-9 * np.abs(variances).max()):
        raise ValueError("moment is no mean of xᵀx, which is symmetric and not negative; pass second_moment(x)")
    inverse = np.linalg.inv(moment + damp * (np.mean(variances) or 1.0) * np.eye(len(moment)))
    factor = np.linalg.cholesky(inverse).T if cholesky else inverse  # inverse = factorᵀ · factor
    left, rounded = kernel.copy(), np.zeros_like(kernel)
    for i in range(len(kernel)):
        rounded[i] = _on_levels(left[i], step, top)
        error = (left[i] - rounded[i]) / factor[i, i]
        left[i + 1 :] -= np.outer(factor[i, i + 1 :], error)
    return rounded


def adaptive(
    kernel: np.ndarray,
    x: np.ndarray,
    bits: int = 4,
    *,
    iterations: int = 500,
    batch: int = 128,
    strength: float = 40.0,
    rate: float = 0.1,
    seed: int = 0,
) -> np.ndarray:
    """AdaRound: learn for each weight whether to round it down or up, by gradient descent on the outputs' error.

    Nagel et al. 2020, arXiv 2004.10568, section 3.2: `up` is a sigmoid of v, stretched to [-0.1, 1.1] and cut to
    [0, 1]; a second term of the loss pushes it to 0 or 1, first gently, then hard.  Both terms are relative here, to
    the error of rounding to nearest and to the number of weights, so that `strength` fits layers of any size.

    kernel: (inputs, outputs).  x: (n, inputs), what comes into the layer.  batch: examples an iteration.
    rate: learning rate of Adam.
    """
    import tensorflow as tf
    import tf_keras

    kernel, x = _matrix("kernel", kernel), _matrix("x", x).astype(np.float32)
    step, top = steps(kernel, bits)
    low = np.floor(kernel / step)
    start = (np.clip(kernel / step - low, 0.01, 0.99) + 0.1) / 1.2
    v = tf.Variable(np.log(start / (1 - start)), dtype=tf.float32)
    unit = output_error(kernel, nearest(kernel, bits), second_moment(x)) or 1.0
    optimizer, rng = tf_keras.optimizers.Adam(rate), np.random.default_rng(seed)

    @tf.function
    def learn(some, sharpness):
        with tf.GradientTape() as tape:
            up = tf.clip_by_value(1.2 * tf.sigmoid(v) - 0.1, 0, 1)
            wrong = some @ (tf.cast(step, "float32") * (tf.cast(low, "float32") + up) - tf.cast(kernel, "float32"))
            undecided = tf.reduce_mean(1 - tf.abs(2 * up - 1) ** sharpness)
            loss = tf.reduce_mean(tf.reduce_sum(wrong**2, axis=1)) / unit + strength * undecided
        optimizer.apply_gradients([(tape.gradient(loss, v), v)])

    for i in range(iterations):
        some = x[rng.integers(0, len(x), batch)]
        learn(tf.constant(some), tf.constant(20 - 18 * i / iterations, tf.float32))
    return step * np.clip(low + (v.numpy() > 0), -top, top)


def _on_levels(weights: np.ndarray, step: np.ndarray, top: int) -> np.ndarray:
    return step * np.clip(np.round(weights / step), -top, top)


# ---------------------------------------------------------------- checks


def _checked(kernel: np.ndarray, moment: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    kernel, moment = _matrix("kernel", kernel).astype(np.float64), _matrix("moment", moment).astype(np.float64)
    if moment.shape != (len(kernel), len(kernel)):
        raise ValueError(
            f"moment has shape {moment.shape}; a kernel of {len(kernel)} inputs needs second_moment(x) of x (n, inputs)"
        )
    return kernel, moment


def _like(name: str, array: np.ndarray, other: np.ndarray) -> np.ndarray:
    array = _matrix(name, array)
    if array.shape != other.shape:
        raise ValueError(f"{name} has shape {array.shape}, the kernel {other.shape}")
    return array


def _matrix(name: str, array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    if array.ndim != 2 or not array.size or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        broken = np.count_nonzero(~np.isfinite(array)) if array.dtype.kind in "fiu" else 0
        which = f", {broken} of them NaN or infinite" if broken else ""
        raise ValueError(f"{name} must be a matrix of finite numbers; got {array.dtype} of shape {array.shape}{which}")
    return array
