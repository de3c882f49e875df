"""Checks of chapter 05's exercises: straight-through gradients, folded normalization, rounding in training."""

from __future__ import annotations

import numpy as np

from utils.study.exercises import exercise, require


@exercise(
    "05-1",
    "the gradients of fake quantization",
    (
        "Rounding counts as the identity. What is the derivative of a clamp: inside the range, below it, above it?",
        "Inside, x gets the upstream gradient, outside 0. What x loses there, the edge that it was moved to gets.",
        "With `below = x < low` and `above = x > high`, dx is `np.where(below | above, 0, upstream)`; the ends get "
        "`upstream[below].sum(), upstream[above].sum()`.",
    ),
)
def straight_through(answer, rng: np.random.Generator) -> None:
    """`answer(x, low, high, upstream)`: (dx, dlow, dhigh); low and high already lie on the grid."""
    for _ in range(10):
        low, high = -float(rng.uniform(0.5, 1.5)), float(rng.uniform(0.5, 1.5))
        x, upstream = rng.normal(0, 1.5, 200), rng.normal(1, 1, 200)
        x[:2] = low, high  # the ends belong to the range
        below, above = x < low, x > high
        require(len(made := answer(x.copy(), low, high, upstream.copy())) == 3, "return three things: dx, dlow, dhigh")
        dx, dlow, dhigh = np.asarray(made[0], float), float(made[1]), float(made[2])
        require(dx.shape == x.shape, f"dx needs x's shape {x.shape}: every number has a gradient; yours has {dx.shape}")
        require(
            np.any(dx),
            "dx is all zeros. That is the true derivative of a staircase, and nothing would ever learn: "
            "straight-through means that rounding counts as the identity",
        )
        require(
            not np.allclose(dx, upstream),
            "dx passes everywhere. Outside the range the output does not change with x, so there the gradient is 0",
        )
        ends = np.isin(x, (low, high))
        right = np.where(below | above, 0, upstream)
        require(
            not (np.allclose(dx[~ends], right[~ends]) and not np.allclose(dx, right)),
            "a number that lies exactly on an end of the range was not clipped: it belongs to the inside (<, not <=)",
        )
        require(np.allclose(dx, right), "dx is the upstream gradient inside, 0 outside")
        want = upstream[below].sum(), upstream[above].sum()
        require(
            not np.allclose([dlow, dhigh], want[::-1]),
            "dlow and dhigh are swapped: numbers below were set to low, so they move with low",
        )
        require(
            not np.allclose([dlow, dhigh], [-want[0], want[1]]),
            "dlow has the wrong sign: where x is clipped, the output *is* low, so its derivative is +1",
        )
        require(
            not np.allclose([dlow, dhigh], [below.sum(), above.sum()]),
            "you counted the clipped numbers; each passes on its own upstream gradient",
        )
        means = [upstream[below].mean(), upstream[above].mean()]
        require(
            not np.allclose([dlow, dhigh], means),
            "you took means; one range serves all these numbers, so their gradients add up",
        )
        require(
            not (dlow == 0 and dhigh == 0),
            "the range gets no gradient from you. It could be learnt: clipped numbers "
            "move with the edge that they were set to",
        )
        require(
            np.allclose([dlow, dhigh], want),
            f"dlow, dhigh are {want[0]:.3f}, {want[1]:.3f}; you returned {dlow:.3f}, {dhigh:.3f}",
        )


@exercise(
    "05-2",
    "folding batch normalization into a convolution",
    (
        "Write y = gamma · (conv(x) − mean) / sqrt(variance + epsilon) + beta, and sort by what depends on x.",
        "One factor for each output channel, gamma / sqrt(variance + epsilon), on the kernel's last axis. What does "
        "not depend on x is the bias.",
        "`factor = gamma / np.sqrt(variance + epsilon)`, and `return kernel * factor, beta - mean * factor`.",
    ),
)
def folding(answer, rng: np.random.Generator) -> None:
    """`answer(kernel, gamma, beta, mean, variance, epsilon)`: (kernel, bias) of a convolution that does both."""
    for _ in range(10):
        channels = int(rng.integers(3, 7))
        kernel = rng.normal(size=(3, 3, 2, channels))
        gamma, beta, mean = rng.normal(1, 0.5, channels), rng.normal(size=channels), rng.normal(size=channels)
        variance, epsilon = rng.uniform(0.01, 0.5, channels), float(rng.uniform(0.01, 0.1))
        made = answer(kernel.copy(), gamma.copy(), beta.copy(), mean.copy(), variance.copy(), epsilon)
        require(
            isinstance(made, (tuple, list)) and len(made) == 2,
            "return two things: the kernel and the bias. Batch normalization shifts as well, so there is a bias now",
        )
        got, bias = np.asarray(made[0], float), np.asarray(made[1], float)
        require(got.shape == kernel.shape, f"the kernel keeps its shape {kernel.shape}; yours has {got.shape}")
        f = gamma / np.sqrt(variance + epsilon)
        for factor, message in (
            (gamma / (variance + epsilon), "you divided by the variance; normalization divides by its square root"),
            (gamma / np.sqrt(variance), "you left out epsilon: it is small here only because Keras chose it so"),
            (gamma / (np.sqrt(variance) + epsilon), "epsilon stands under the root, beside the variance"),
            (1 / np.sqrt(variance + epsilon), "you left out gamma, the factor that was learnt"),
        ):
            require(not np.allclose(got, kernel * factor), message)
        require(
            np.allclose(got, kernel * f),
            "each output channel (last axis) is multiplied by gamma / sqrt(variance + epsilon)",
        )
        require(not np.allclose(bias, beta), "the mean is subtracted before the scaling: it moves the bias too")
        require(
            not np.allclose(bias, beta - mean), "the mean is scaled along with the convolution's output: mean · factor"
        )
        require(not np.allclose(bias, beta + mean * f), "the mean is subtracted, so it has a minus in the bias")
        require(np.allclose(bias, beta - mean * f), "the bias is beta − mean · gamma / sqrt(variance + epsilon)")


@exercise(
    "05-3",
    "fake quantization that TensorFlow can differentiate",
    (
        "tf.floor has the gradient 0. Which function has the value of a number, and hides its gradient?",
        "clipped + tf.stop_gradient(rounded - clipped) has the value `rounded` and the gradient of `clipped`. 0.0 must "
        "be a level: round the zero point first, half-way up.",
        "`scale = (high - low) / steps`; `zero_point = tf.floor(-low / scale + 0.5)`; clip to "
        "`-zero_point * scale` and `(steps - zero_point) * scale`; "
        "`rounded = tf.floor(clipped / scale + 0.5) * scale`; `return clipped + tf.stop_gradient(rounded - clipped)`.",
    ),
)
def differentiable(answer, rng: np.random.Generator) -> None:
    """`answer(x, low, high, bits)`: as `tf.quantization.fake_quant_with_min_max_vars`, gradient to x included."""
    import tensorflow as tf

    for bits in (2, 3, 4, 8):
        low, high = -float(rng.uniform(0.4, 1.5)), float(rng.uniform(0.4, 1.5))
        x = tf.constant(_numbers(rng, low, high, bits))
        want, right = _value_and_gradient(tf.quantization.fake_quant_with_min_max_vars, x, low, high, bits)
        value, gradient = _value_and_gradient(answer, x, low, high, bits)
        scale = (high - low) / (2**bits - 1)
        require(value.shape == want.shape, f"the shape stays {want.shape}; yours is {value.shape}")
        require(
            gradient is not None and np.any(gradient),
            "no gradient comes back: tf.round (and a cast to integers) has "
            "none. Add tf.stop_gradient(rounded − clipped) to what was clipped",
        )
        require(
            not np.allclose(value, x.numpy()),
            "your function returns x unchanged: only the gradient is straight through",
        )
        require(_near(value, want, scale), _value_message(value, x.numpy(), low, high, scale))
        inner = gradient[np.abs(x.numpy()) <= min(-low, high) - scale]  # none, if the range is lopsided and bits few
        require(
            not np.all(gradient == 1),
            "the gradient is 1 everywhere, also where x was clipped: clip first, outside of stop_gradient",
        )
        require(
            np.all(np.isclose(inner, 1)) or np.mean(inner == 1) > 0.98,
            "inside the range the gradient is 1: rounding counts as the identity",
        )
        unmoved = (x.numpy() >= low) & (x.numpy() <= high)
        narrow = unmoved & (right == 1)  # clipped to both
        require(
            np.mean(np.isclose(gradient, right)) > 0.98
            or max(np.mean(gradient == unmoved), np.mean(gradient == narrow)) < 0.98,
            "the range moves with the zero point, and its ends with it: clip to the moved ends",
        )
        require(np.mean(np.isclose(gradient, right)) > 0.98, "inside the range the gradient is 1, outside it is 0")
    for low, high in ((-0.875, 0.875), (-0.625, 1.125)):  # a step is 0.25; their zero points are half-way too
        x = tf.constant(np.arange(-12, 13) / 8, tf.float32)
        want, _ = _value_and_gradient(tf.quantization.fake_quant_with_min_max_vars, x, low, high, 3)
        value, _ = _value_and_gradient(answer, x, low, high, 3)
        require(
            np.allclose(value, want, atol=1e-6),
            "what lies half-way between two levels goes up in TensorFlow's kernel, the zero point too; tf.round takes "
            "the even one. Use tf.floor(… + 0.5)",
        )


def _numbers(rng: np.random.Generator, low: float, high: float, bits: int) -> np.ndarray:
    """300 numbers, and some between each end of the range and where the zero point moves it."""
    scale = (high - low) / (2**bits - 1)
    zero = np.rint(-low / scale)
    ends = (low, -zero * scale), (high, (2**bits - 1 - zero) * scale)
    between = [np.linspace(*sorted(pair), 12)[1:-1] for pair in ends]
    return np.concatenate([rng.normal(0, 1, 300), *between]).astype(np.float32)


def _value_and_gradient(function, x, *settings):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.cast(function(x, *settings), tf.float32)
    gradient = tape.gradient(y, x)
    return y.numpy(), None if gradient is None else tf.convert_to_tensor(gradient).numpy()


def _near(value, want, scale: float) -> bool:
    """Equal but for numbers half-way between two grid points, which may go to either."""
    return float(np.mean(np.abs(value - want) < 1e-3 * scale)) > 0.98


def _value_message(value, x, low: float, high: float, scale: float) -> str:
    steps = np.rint((np.clip(x, low, high) - low) / scale)
    if _near(value, low + steps * scale, scale):
        return (
            "0.0 is not on your grid: round the zero point −low / scale to a whole number, and move the range with it"
        )
    if np.abs(value).max() > max(-low, high) + 2 * scale:
        return "numbers beyond the range must be clipped to it"
    zero = np.rint(-low / scale)
    gaps = (high - low) / scale
    if _near(value, np.clip(np.floor(x / scale), -zero, gaps - zero) * scale, scale):
        return "you round down; round to the nearest level"
    coarse = (high - low) / (gaps + 1)
    zero = np.rint(-low / coarse)
    if _near(value, np.clip(np.rint(x / coarse), -zero, gaps - zero) * coarse, scale):
        return "2^bits grid points have 2^bits − 1 gaps between them: divide the range by that"
    return f"some values are off the grid: two neighbours are {scale:.4f} apart here, and 0.0 is one of the points"
