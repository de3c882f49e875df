"""Checks of chapter 03's exercises: quantize an array, one scale a channel, an integer dense layer, a roofline."""

from __future__ import annotations

import numpy as np

from utils.optimize.quantization.grid import choose, quantize, round_half_away
from utils.study.exercises import exercise, require


@exercise(
    "03-1",
    "asymmetric quantization of an array",
    (
        "Which range must the 256 levels cover, so that 0.0 is one of them?",
        "low = min(x.min(), 0), high = max(x.max(), 0). Between 256 levels there are 255 steps.",
        "`qmin = -(2 ** (bits - 1))`; `scale = (high - low) / (2**bits - 1)`; "
        "`zero_point = int(np.round(qmin - low / scale))`; "
        "`integers = np.clip(np.round(x / scale) + zero_point, qmin, qmax)`; "
        "as int8, beyond 8 bits int16: `integers.astype(np.min_scalar_type(qmin))`.",
    ),
)
def quantize_array(answer, rng: np.random.Generator) -> None:
    """`answer(x, bits)`: (integers, scale, zero_point), signed, over the whole range of x and 0."""
    for trial in range(20):
        bits = (4, 6, 8, 12)[(trial + trial // 4) % 4]  # each of them with each kind of array
        x = rng.normal(size=200) * 10 ** rng.uniform(-2, 2)
        x = np.abs(x) + x.std() if trial % 4 == 3 else x - x.std()  # every fourth lies far above zero
        _check_parts(answer(x.copy(), bits), x, bits, choose(x, bits))


def _check_parts(got, x: np.ndarray, bits: int, right) -> None:
    require(isinstance(got, tuple) and len(got) == 3, f"return (integers, scale, zero_point); you returned {got!r}")
    integers, scale, zero = np.asarray(got[0]), float(got[1]), got[2]
    low, high, best = min(x.min(), 0), max(x.max(), 0), float(right.scale)
    require(float(zero) == int(zero), f"your zero point is {zero!r}: the integer grid then misses 0.0; round it")
    require(
        x.min() < 0 or not np.isclose(scale, (x.max() - x.min()) / (2**bits - 1), rtol=1e-4, atol=0),
        "your range starts at the smallest number, which is above 0: then 0.0, which pads every picture and "
        "is what "
        "ReLU returns, cannot be represented. The range must include 0",
    )
    require(
        not np.isclose(scale, (high - low) / 2**bits, rtol=1e-4, atol=0),
        f"you divide the range by {2**bits}, the number of levels; between them there are {2**bits - 1} steps",
    )
    symmetric = max(-low, high) / (2 ** (bits - 1) - 1)
    require(
        not np.isclose(scale, symmetric, rtol=1e-4, atol=0) or np.isclose(scale, best, rtol=1e-4, atol=0),
        "that is the symmetric scale; asymmetric quantization spreads the integers from the smallest number "
        "to the largest",
    )
    require(
        np.isclose(scale, best, rtol=1e-4, atol=0),
        f"for {bits} bits over [{low:.4g}, {high:.4g}] the scale is {best:.6g}; you returned {scale:.6g}",
    )
    whole = np.array_equal(integers, np.trunc(integers))
    require(whole, "the quantized numbers are no whole numbers: round them")
    require(
        8 * integers.dtype.itemsize >= bits,
        f"{bits} bits do not fit into {integers.dtype}, where larger numbers wrap around without a word: "
        "take np.int16 beyond 8 bits; np.min_scalar_type(qmin) chooses",
    )
    require(
        integers.min() >= -(2 ** (bits - 1)),
        f"some integers lie below {-(2 ** (bits - 1))}: clip them, or they wrap around when stored in {bits} bits",
    )
    require(
        integers.max() < 2 ** (bits - 1),
        f"some integers lie above {2 ** (bits - 1) - 1}: signed {bits}-bit integers end there. If yours "
        f"start at 0, "
        "subtract half of the range; else clip",
    )
    require(
        int(zero) == int(right.zero_point),
        f"0.0 belongs to the integer {int(right.zero_point)} here, "
        f"which your zero "
        f"point {int(zero)} is not: zero = round(qmin - low / scale)",
    )
    away = np.abs(integers - quantize(x, right).astype(int))
    require(
        np.mean(away > 0) < 0.1,
        "most integers are one off, always to the same side: astype(int) cuts off "
        "the fraction; "
        "round first, or the error doubles and gets a bias",
    )
    require(away.max() <= 1, f"some integers are {int(away.max())} steps away from the nearest one")
    steps = x / best
    tie = np.abs(steps - np.floor(steps) - 0.5) < 1e-3
    require(
        not np.any(away[~tie]),
        f"{int(np.sum(away[~tie]))} of {x.size} integers are one step away from the nearest: round x / scale to a "
        "whole number first, then add the zero point, which is one too",
    )


@exercise(
    "03-2",
    "one symmetric scale for each output channel",
    (
        "Symmetric means: as far to the left as to the right. Which number of a channel decides its scale?",
        "The largest absolute value of each channel, over all axes but `axis`, belongs to the integer 127.",
        "`others = tuple(i for i in range(weights.ndim) if i != axis)`; `peak = np.abs(weights).max(axis=others)`; "
        "`np.where(peak > 0, peak, 1) / 127`, so that a channel of zeros has a scale, too.",
    ),
)
def channel_scales(answer, rng: np.random.Generator) -> None:
    """`answer(weights, axis)`: the scales of int8 weights in [-127, 127], shape (weights.shape[axis],)."""
    for trial in range(15):
        shape = (3, 4, 5, 6)
        axis = int(rng.integers(0, 4)) if trial else 2
        weights = rng.normal(size=shape) * rng.uniform(0.01, 3, size=shape[axis]).reshape(
            [-1 if i == axis else 1 for i in range(4)]
        )
        channels = np.moveaxis(weights, axis, 0).reshape(shape[axis], -1)
        channels[:, 0] = -2 * np.abs(channels).max(1)  # the extreme of each channel is negative
        weights = np.moveaxis(channels.reshape([shape[axis], *np.delete(shape, axis)]), 0, axis)
        _check_scales(np.asarray(answer(weights.copy(), axis)), weights, axis, np.abs(channels).max(1) / 127, channels)


def _check_scales(got: np.ndarray, weights: np.ndarray, axis: int, right: np.ndarray, channels: np.ndarray) -> None:
    count = weights.shape[axis]
    asked = f"weights of shape {weights.shape} with the channels on axis {axis}"
    require(got.ndim > 0 and got.size > 1, f"you returned one scale for the whole tensor; {asked} need {count}")
    require(
        got.shape != tuple(np.delete(weights.shape, axis)),
        f"you took the maximum along axis {axis}: that leaves the other axes. Reduce over all axes *but* it",
    )
    require(got.size == count, f"{asked} need {count} scales; you returned an array of shape {got.shape}")
    got = got.ravel()
    require(np.all(got > 0), "a scale is a distance, so it is above 0")
    require(
        not np.allclose(got, channels.max(1) / 127),
        "you took the largest value; here the largest *absolute* value is a negative number, and it would be clipped",
    )
    require(
        not np.allclose(got, right * 127 / 128),
        "you divide by 128: then the most positive weight needs "
        "the integer 128, "
        "which int8 does not have. TF Lite leaves out -128 and "
        "divides by 127",
    )
    require(
        not np.allclose(got, (channels.max(1) - channels.min(1)) / 255),
        "that is the asymmetric scale; with zero point 0 it clips the longer side",
    )
    require(np.allclose(got, right), f"for {asked} the first scale is {right[0]:.6g}; you returned {got[0]:.6g}")


@exercise(
    "03-3",
    "an int8 dense layer",
    (
        "Write down the real numbers: y = Σ x·w + bias. Put scale · (integer - zero point) in for each, and "
        "collect the scales.",
        "Work in int32 or int64: subtract the input's zero point, multiply, add the bias (which is in the units "
        "of the sum), "
        "only then scale.",
        "`centred = x.astype(np.int32) - x_zero`; `total = centred @ w.astype(np.int32).T + bias`; "
        "`integers = np.round(total * ratio) + y_zero`; then `np.clip(integers, -128, 127)`.",
    ),
)
def dense_layer(answer, rng: np.random.Generator) -> None:
    """`answer(x, x_zero, w, bias, ratio, y_zero)`: int8 outputs; ratio is scale_x · scale_w / scale_y for each unit."""
    for _ in range(10):
        x, w = rng.integers(-128, 128, (16, 40), np.int8), rng.integers(-127, 128, (8, 40), np.int8)
        x_zero, y_zero = (int(v) for v in rng.choice([-1, 1], 2) * rng.integers(20, 100, 2))
        bias = (rng.choice([-1, 1], 8) * rng.integers(20_000, 60_000, 8)).astype(np.int32)
        ratio = rng.uniform(0.0008, 0.002, 8)
        got = np.asarray(answer(x.copy(), x_zero, w.copy(), bias.copy(), ratio.copy(), y_zero))
        require(got.shape == (16, 8), f"the layer has shape (16, 40) in and (16, 8) out; yours gives {got.shape}")
        _check_outputs(got.astype(np.float64), x, x_zero, w, bias, ratio, y_zero)


def _check_outputs(got, x, x_zero, w, bias, ratio, y_zero) -> None:
    products = (x.astype(np.int64) - x_zero) @ w.astype(np.int64).T
    exact = (products + bias) * ratio
    unclipped = round_half_away(exact) + y_zero

    def limited(wrong) -> np.ndarray:
        return np.clip(wrong, -128, 127)

    right = limited(unclipped)

    def close(wrong) -> bool:
        """Whether this mistake made these outputs: they fit it, and better than they fit the right ones."""
        fits = np.abs(got - wrong) < 0.5
        return bool(np.mean(fits) > 0.9 and np.sum(fits) > np.sum(np.abs(got - right) < 0.5))

    if np.all(np.abs(got - right) <= (np.abs(np.abs(exact - np.trunc(exact)) - 0.5) < 0.01)):
        return  # ties, and fixed-point multiplication near them, may go either way
    narrow = ((x - np.int8(x_zero)).astype(np.int8) @ w.T).astype(np.int64)
    require(
        not close(limited(round_half_away((x.astype(int) @ w.astype(int).T + bias) * ratio) + y_zero)),
        "you forgot to subtract the input's zero point: every input is then shifted by a constant",
    )
    require(not close(limited(round_half_away(products * ratio) + y_zero)), "the bias is missing")
    require(
        not close(limited(round_half_away(products * ratio + bias) + y_zero)),
        "you add the bias after scaling; it is an int32 in the units of the sum, so it comes before",
    )
    require(
        not close(limited(round_half_away(exact))),
        "you forgot the output's zero point: 0 of the sum is not 0 of the output",
    )
    require(
        not (
            close(limited(round_half_away((narrow + bias) * ratio) + y_zero))
            or close(limited(round_half_away((x @ w.T + bias) * ratio) + y_zero))
        ),
        "your sum ran in int8 and wrapped around at 127: int8 @ int8 stays int8 in numpy. Convert to int32 first",
    )
    beyond = np.any((got < -128) | (got > 127))  # what wrapped around lies inside again
    require(not (beyond and close(unclipped)), "outputs lie outside of [-128, 127]: clip them")
    require(
        beyond or not close((unclipped + 128) % 256 - 128),
        "outputs beyond 127 wrapped around to -128: clip to [-128, 127] before astype(np.int8)",
    )
    require(
        not close(limited(np.floor(exact) + y_zero)) and not close(limited(np.trunc(exact) + y_zero)),
        "you cut off the fraction (astype(int) or //): round to the nearest integer",
    )
    worst = np.unravel_index(np.argmax(np.abs(got - right)), got.shape)
    require(False, f"output {tuple(int(i) for i in worst)} should be {right[worst]:.0f}; you returned {got[worst]:g}")


@exercise(
    "03-4",
    "the least time of a layer, by the roofline",
    (
        "How long do the operations take at the processor's best rate, and how long do the bytes?",
        "Both go on at the same time, so nothing is added: which of the two decides?",
        "`arithmetic = macs / macs_per_second`, `memory = size / bytes_per_second`: return the larger, with its name.",
    ),
)
def least_time(answer, rng: np.random.Generator) -> None:
    """`answer(macs, size, macs_per_second, bytes_per_second)`: (seconds, "arithmetic" or "memory")."""
    for trial in range(20):
        rates = rng.uniform(1e9, 1e11), rng.uniform(1e9, 1e11)
        arithmetic = 10 ** rng.uniform(-6, -3)
        memory = arithmetic * (8 if trial == 1 else rng.uniform(1.02, 5) if trial % 2 else rng.uniform(0.2, 0.98))
        macs, size = round(arithmetic * rates[0]), round(memory * rates[1])
        _check_time(answer(macs, size, *rates), macs / rates[0], size / rates[1], macs / size)


def _check_time(got, arithmetic: float, memory: float, intensity: float) -> None:
    require(
        isinstance(got, tuple) and len(got) == 2 and isinstance(got[1], str),
        f'return (seconds, "arithmetic" or "memory"); you returned {got!r}',
    )
    seconds, bound = float(got[0]), got[1]

    def close(wrong: float) -> bool:
        return bool(np.isclose(seconds, wrong, rtol=1e-6))

    longer = max(arithmetic, memory)
    require(
        not close(arithmetic + memory),
        "you add both times; a processor computes and reads at the same time, so the longer one decides",
    )
    require(not close(min(arithmetic, memory)), "you return the shorter time: the layer is not done before the longer")
    require(
        not close(max(arithmetic, 8 * memory)) or close(longer),
        "you multiply the bytes by 8; the rate is in bytes a second too",
    )
    require(
        not close(max(arithmetic, memory / 4)) or close(longer),
        "you divide the bytes by 4; `size` is in bytes already, whatever the type of the weights",
    )
    require(not close(intensity), "that is operations for each byte; divide each by its own rate to get seconds")
    require(
        not close(1 / arithmetic) and not close(1 / memory), "seconds are work divided by rate, not the other way round"
    )
    require(close(longer), f"the layer takes at least {longer:.4g} s; you returned {seconds:.4g}")
    right = "arithmetic" if arithmetic > memory else "memory"
    require(
        bound == right,
        f"arithmetic takes {arithmetic:.4g} s and memory {memory:.4g} s, so {right} decides; you said {bound!r}",
    )
