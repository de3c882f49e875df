"""The checks of chapter 04 accept right answers and name the misconception of wrong ones."""

import numpy as np
import pytest

from tests.study.checks import answers


def quantize(real, details):
    (scale, zero), info = details["quantization"], np.iinfo(details["dtype"])
    return np.clip(np.round(real / scale) + zero, info.min, info.max).astype(details["dtype"])


def dequantize(stored, details):
    scale, zero = details["quantization"]
    return np.float32(scale) * (stored.astype(np.float32) - zero)


def run(into, out_of):
    """An answer to 04-1 made of two parts."""

    def answer(real, invoke, given, wanted):
        return out_of(invoke(into(real, given)), wanted)

    return answer


def errors(x, bits, highs):
    def error(high):
        step = high / (2**bits - 1)
        return np.mean((x - np.minimum(np.round(x / step), 2**bits - 1) * step) ** 2)

    return min(highs, key=error)


def best_high(x, bits):
    return errors(x, bits, x.max() * np.linspace(0.01, 1, 200))


def equalize(w1, b1, w2):
    r1, r2 = np.abs(w1).max(0), np.abs(w2).max(1)
    alive = (r1 > 0) & (r2 > 0)
    s = np.where(alive, np.sqrt(r1 / np.where(alive, r2, 1)), 1)
    return w1 / s, b1 / s, w2 * s[:, None]


def cut(real, details):
    (scale, zero), info = details["quantization"], np.iinfo(details["dtype"])
    return np.clip((real / scale).astype(int) + zero, info.min, info.max).astype(details["dtype"])


def wrap(real, details):
    (scale, zero), bits = details["quantization"], np.iinfo(details["dtype"]).bits
    return (
        (np.round(real / scale).astype(np.int64) + zero)
        .astype({8: np.int8, 16: np.int16}[bits])
        .astype(details["dtype"])
    )


def open_end(real, details, end):
    """Right for 8 bits; of 16 bits it clips one end only, so that the other wraps around."""
    if details["dtype"] != np.int16:
        return quantize(real, details)
    q = np.round(real / details["quantization"][0]).astype(np.int64)
    return (np.maximum(q, -(2**15)) if end == "upper" else np.minimum(q, 2**15 - 1)).astype(np.int16)


def no_zero(real, details):
    return quantize(real, {**details, "quantization": (details["quantization"][0], 0)})


def narrow(stored, details):
    scale, zero = details["quantization"]
    return scale * (stored - np.asarray(zero).astype(stored.dtype)).astype(np.float32)


def unguarded(w1, b1, w2):
    with np.errstate(all="ignore"):
        s = np.sqrt(np.abs(w1).max(0) / np.abs(w2).max(1))
        return w1 / s, b1 / s, w2 * s[:, None]


def one_sided(w1, b1, w2):
    s = np.where(np.abs(w1).max(0) > 0, np.abs(w1).max(0), 1)
    return w1 / s, b1 / s, w2 * s[:, None]


def without_bias(w1, b1, w2):
    a, _, c = equalize(w1, b1, w2)
    return a, b1, c


def without_root(w1, b1, w2):
    r1, r2 = np.abs(w1).max(0), np.abs(w2).max(1)
    s = np.where((r1 > 0) & (r2 > 0), r1 / np.where(r2 > 0, r2, 1), 1)
    return w1 / s, b1 / s, w2 * s[:, None]


def signed(w1, b1, w2):
    """The largest weight in the place of the largest absolute one: right where that is positive."""
    r1, r2 = np.maximum(w1.max(0), 0), np.maximum(w2.max(1), 0)
    alive = (r1 > 0) & (r2 > 0)
    s = np.where(alive, np.sqrt(r1 / np.where(alive, r2, 1)), 1)
    return w1 / s, b1 / s, w2 * s[:, None]


def transposed(w1, b1, w2):
    a, b, _ = equalize(w1, b1, w2)
    return a, b, w2


def guarded_once(w1, b1, w2, side):
    """Channels that are 0 on the other side are forgotten."""
    r1, r2 = np.abs(w1).max(0), np.abs(w2).max(1)
    with np.errstate(all="ignore"):
        s = np.where((r1 if side == "first" else r2) > 0, np.sqrt(r1 / r2), 1)
        return w1 / s, b1 / s, w2 * s[:, None]


def off(count, by):
    """So many integers in the middle of the range are off."""

    def into(real, details):
        made = quantize(real, details).astype(int)
        made[np.argsort(np.abs(made - np.mean(made)))[:count]] += by
        return made.astype(details["dtype"])

    return run(into, dequantize)


def short_of_the_end(real, details):
    info = np.iinfo(details["dtype"])
    return np.maximum(quantize(real, details), info.min + 1).astype(details["dtype"])


def some_short_of_the_end(real, details):
    """One in eight of those at a limit."""
    made = quantize(real, details).astype(int)
    info = np.iinfo(details["dtype"])
    low, high = np.flatnonzero(made == info.min)[::8], np.flatnonzero(made == info.max)[::8]
    made[low] += 1
    made[high] -= 1
    return made.astype(details["dtype"])


def one_at_a_limit_is_off(real, details):
    made = quantize(real, details).astype(int)
    made[np.argmax(made)] -= 3
    return made.astype(details["dtype"])


RIGHT = [("04-1", run(quantize, dequantize)), ("04-2", best_high), ("04-3", equalize)]
WRONG = [
    ("04-1", run(cut, dequantize), "Round first"),
    ("04-1", run(wrap, dequantize), "wrapped around"),
    ("04-1", run(lambda r, d: open_end(r, d, "lower"), dequantize), "wrapped around|steps away"),
    ("04-1", run(lambda r, d: open_end(r, d, "upper"), dequantize), "wrapped around|steps away"),
    ("04-1", run(no_zero, dequantize), "forgot the zero point"),
    ("04-1", run(lambda r, d: quantize(r, d).astype(np.float32), dequantize), "the file takes int8"),
    ("04-1", run(quantize, lambda s, d: d["quantization"][0] * s.astype(np.float32)), "subtract the zero point"),
    ("04-1", run(quantize, narrow), "wraps around in 8 bits"),
    ("04-1", lambda real, invoke, given, wanted: real, "never called"),
    ("04-1", run(quantize, lambda s, d: s), "real numbers are floats"),
    ("04-2", lambda x, bits: x.max(), "that is the maximum"),
    ("04-2", lambda x, bits: np.percentile(x, 99.9), "that is a percentile"),
    ("04-2", lambda x, bits: best_high(x, bits) / 5, "clip too much"),
    ("04-2", lambda x, bits: 0.8 * best_high(x, bits), "clip too much"),
    ("04-2", lambda x, bits: 1.4 * best_high(x, bits), "times the least one|that is the maximum"),
    ("04-2", lambda x, bits: x, "return one number"),
    ("04-3", unguarded, "division by 0"),
    ("04-3", one_sided, "take the square root"),
    ("04-3", without_root, "the same absmax"),
    ("04-3", signed, "the same absmax"),
    ("04-3", without_bias, "divide it by s too"),
    ("04-3", transposed, "must multiply the same row"),
    ("04-3", lambda w1, b1, w2: (w1, b1, w2), "nothing has changed"),
    ("04-3", lambda w1, b1, w2: (w1.T, b1, w2), "the shapes stay"),
    ("04-1", run(short_of_the_end, dequantize), "stop short of them"),
    ("04-1", off(1, 2), "2 steps away"),
    ("04-1", off(100, 1), "many integers are one off"),
    ("04-1", run(lambda r, d: quantize(r, d)[:-1], dequantize), "numbers go in"),
    ("04-1", run(quantize, lambda s, d: dequantize(s, d) + d["quantization"][0] / 2), "real = scale"),
    ("04-2", lambda x, bits: -best_high(x, bits), "must be above 0"),
    ("04-2", lambda x, bits: np.inf, "the upper end is inf"),
    ("04-2", lambda x, bits: 0.985 * x.max(), "that is the maximum"),
    # With a long tail that may be the 99.99 % percentile, which lies between the two largest.
    ("04-2", lambda x, bits: 0.975 * x.max(), "times the least one|that is a percentile"),
    ("04-3", lambda *a: guarded_once(*a, "first"), "division by 0"),
    ("04-3", lambda *a: guarded_once(*a, "second"), "division by 0"),
    ("04-3", lambda *a: equalize(*a)[:2], "return .w1, b1, w2."),
    ("04-3", lambda w1, b1, w2: tuple(np.nan_to_num(part) for part in one_sided(w2.T, b1, w1.T)), "the shapes stay"),
    ("04-1", run(some_short_of_the_end, dequantize), "stop short of them"),
    ("04-1", run(one_at_a_limit_is_off, dequantize), "3 steps away"),
]

test_solutions, test_stubs, test_misconceptions, test_hints = answers.tests(RIGHT, WRONG)
test_near_misses = answers.near_misses(RIGHT, ["04-2"])
test_other_words = answers.other_words(RIGHT, ["04-2"])


@pytest.mark.parametrize("percent", [90, 95, 99, 99.5, 99.9, 99.99])
def test_a_fixed_percentile_is_recognized(percent):
    messages = [*answers.verdicts("04-2", lambda x, bits: np.percentile(x, percent), 3)]
    assert all(messages) and any("that is a percentile" in message for message in messages), messages


def test_a_bound_with_nearly_the_least_error_will_do():
    """Within a few hundredths of the best, on both sides."""
    for factor in (0.98, 1.02):
        assert not any(answers.verdicts("04-2", lambda x, bits, factor=factor: factor * best_high(x, bits), 1))
