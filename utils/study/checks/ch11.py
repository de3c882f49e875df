"""Checks of chapter 11's exercises: preprocessing, what learns, a normalization folded into the head."""

from __future__ import annotations

import numpy as np

from utils.study.exercises import exercise, require


@exercise(
    "11-1",
    "a network's own preprocessing",
    (
        "uint8 pixels run from 0 to 255; mean and deviation are meant for 0 to 1. What comes first?",
        "Divide by 255 as floats, then subtract the mean and divide by the deviation of each channel, the last axis.",
        "`fractions = np.asarray(pixels, np.float32) / 255`, then `return (fractions - mean) / deviation`",
    ),
)
def prepared(answer, rng: np.random.Generator) -> None:
    """`answer(pixels, mean, deviation)`: (n, height, width, 3) floats."""
    for _ in range(3):
        pixels = rng.integers(0, 256, (2, 4, 5, 3)).astype(np.uint8)
        mean, deviation = rng.uniform(0.3, 0.6, 3), rng.uniform(0.2, 0.3, 3)
        x = pixels / 255
        made = np.asarray(answer(pixels.copy(), mean, deviation), float)
        require(made.shape == pixels.shape, f"the shape stays {pixels.shape}; yours is {made.shape}")
        require(
            not np.allclose(made, (pixels - mean) / deviation, atol=1e-3),
            "mean and deviation are for pixels from 0 to 1: divide by 255 first",
        )
        require(
            not np.allclose(made, (x / 255 - mean) / deviation, atol=1e-3), "you divided by 255 twice; once is enough"
        )
        require(not np.allclose(made, x, atol=1e-3), "that is only the division by 255; mean and deviation are missing")
        require(not np.allclose(made, x - mean, atol=1e-3), "the division by the deviation is missing")
        require(
            not np.allclose(made, x / deviation - mean, atol=1e-3),
            "subtract the mean before you divide by the deviation",
        )
        require(
            not np.allclose(made, (x - mean.mean()) / deviation.mean(), atol=1e-3),
            "each channel has a mean and a deviation of its own",
        )
        require(
            not np.allclose(made, (x - mean[::-1]) / deviation[::-1], atol=1e-3),
            "you took the channels in the reverse order (BGR); these are RGB",
        )
        require(np.allclose(made, (x - mean) / deviation, atol=1e-3), "this is not (pixels / 255 − mean) / deviation")


def _sizes(layer) -> tuple[int, int]:
    """(all numbers that can learn, those of normalization)."""
    kind, inputs, outputs, side = layer
    if kind == "conv":
        return side * side * inputs * outputs, 0
    if kind == "depthwise":
        return side * side * inputs, 0
    if kind == "bn":
        return 2 * inputs, 2 * inputs
    return inputs * outputs + outputs, 0


@exercise(
    "11-2",
    "what learns in fine-tuning",
    (
        "Count layer by layer, from `first` on. A convolution has side × side × inputs × outputs numbers.",
        "A depthwise kernel has one side × side filter for each channel. Of a normalization's four arrays two learn. A "
        "dense layer has a bias.",
        "`for kind, inputs, outputs, side in layers[first:]:` then, by kind, "
        "`total += side * side * inputs * outputs`, `total += side * side * inputs`, "
        "`total += inputs * outputs + outputs`, or `total += 2 * inputs` for a normalization that is not frozen",
    ),
)
def learning(answer, rng: np.random.Generator) -> None:
    """`answer(layers, first, frozen_bn)`: how many numbers learn."""
    for trial in range(6):
        a, b, c = (int(n) for n in rng.integers(5, 40, 3))
        side = int(rng.choice([3, 5]))
        layers = [
            ("conv", 3, a, side),
            ("bn", a, a, 0),
            ("depthwise", a, a, side),
            ("bn", a, a, 0),
            ("conv", a, b, 1),
            ("bn", b, b, 0),
            ("dense", b, c, 0),
        ]
        first, frozen = trial // 2, bool(trial % 2)  # each with each, so that none is left out by chance
        part = layers[first:]
        total, of_bn = (sum(values) for values in zip(*map(_sizes, part), strict=True))
        want = total - of_bn if frozen else total
        made = answer(list(layers), first, frozen)
        require(isinstance(made, (int, np.integer)), f"return a whole number; you returned {made!r}")
        everything = sum(_sizes(layer)[0] - (_sizes(layer)[1] if frozen else 0) for layer in layers)
        require(first == 0 or made != everything, "layers before `first` are frozen and do not count")
        require(
            not frozen or made != total, "with frozen_bn factor and shift rest as well: Keras ties them to trainable"
        )
        require(
            frozen or made != total + of_bn, "of the four arrays of a normalization, mean and variance do not learn"
        )
        require(frozen or made != total - of_bn, "factor and shift of a normalization learn unless frozen_bn")
        require(made != want - c, "the dense layer has a bias, one number for each output")
        require(
            made != want + side * side * a * (a - 1),
            "a depthwise kernel has one filter a channel: side × side × channels, not times channels again",
        )
        require(made == want, f"for {part} with frozen_bn={frozen} it is {want:,}; you have {made:,}")


@exercise(
    "11-3",
    "a normalization folded into the head",
    (
        "bn(x) = gamma · (x − mean) / √(variance + epsilon) + beta. Write it as s · x + t, channel by channel.",
        "head(s · x + t) = x @ (s[:, None] · kernel) + (t @ kernel + bias).",
        "`s = gamma / np.sqrt(variance + epsilon)`, `t = beta - mean * s`, then "
        "`return s[:, np.newaxis] * kernel, t @ kernel + bias`",
    ),
)
def folded(answer, rng: np.random.Generator) -> None:
    """`answer(kernel, bias, gamma, beta, mean, variance, epsilon)`: (kernel, bias) of one dense layer."""
    for _ in range(3):
        n, classes = int(rng.integers(4, 8)), int(rng.integers(2, 4))
        kernel, bias = rng.normal(size=(n, classes)), rng.normal(size=classes)
        gamma, beta, mean = rng.normal(1, 0.3, n), rng.normal(size=n), rng.normal(size=n)
        variance, epsilon = rng.uniform(0.5, 2, n), 1e-3
        variance[0] = 0.0
        with np.errstate(all="ignore"):
            made = answer(kernel.copy(), bias.copy(), gamma, beta, mean, variance, epsilon)
        require(isinstance(made, (tuple, list)) and len(made) == 2, "return two arrays: kernel and bias")
        new_kernel, new_bias = (np.asarray(part, float) for part in made)
        require(new_kernel.shape == kernel.shape, f"the kernel stays {kernel.shape}; yours is {new_kernel.shape}")
        require(new_bias.shape == bias.shape, f"the bias stays {bias.shape}; yours is {new_bias.shape}")
        require(np.isfinite(new_kernel).all(), "a variance of 0 gave an infinite number: add epsilon below the root")
        s = gamma / np.sqrt(variance + epsilon)
        require(
            not np.allclose(new_kernel, (gamma / (variance + epsilon))[:, None] * kernel),
            "divide by the standard deviation: the root of variance + epsilon",
        )
        require(
            not np.allclose(new_kernel, (gamma / (np.sqrt(variance) + epsilon))[:, None] * kernel),
            "epsilon belongs below the root, to the variance",
        )
        require(np.allclose(new_kernel, s[:, None] * kernel), "each row of the kernel is one feature: times its own s")
        require(not np.allclose(new_bias, bias), "the shift is missing: beta − mean · s also goes through the kernel")
        require(
            not np.allclose(new_bias, (beta - mean * s) @ new_kernel + bias),
            "the shift goes through the old kernel; s is in it already",
        )
        require(not np.allclose(new_bias, beta @ kernel + bias), "the mean is missing: it leaves −mean · s")
        require(np.allclose(new_bias, (beta - mean * s) @ kernel + bias), "this bias does not give head(bn(features))")
