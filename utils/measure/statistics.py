"""How sure are we?  Intervals, paired tests and calibration for classifiers, on what scipy and numpy offer.

Every function takes plain arrays, one row an example, and refuses data it cannot judge with a sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval."""

    value: float
    low: float
    high: float
    confidence: float = 0.95

    def __contains__(self, other: float) -> bool:
        return self.low <= other <= self.high


@dataclass(frozen=True)
class McNemar:
    """Outcome of McNemar's test.  `only_a` examples were right only by the first classifier, `only_b` only by
    the second; the test looks at nothing else."""

    only_a: int
    only_b: int
    p_value: float


@dataclass(frozen=True)
class Bin:
    """One bin of a reliability diagram: predictions whose confidence lies in (low, high]."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


# --- one classifier -------------------------------------------------------------------------------------


def wilson(correct: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval for a share, such as an accuracy.

    Unlike value ± 1.96·standard error it stays within [0, 1] and does not shrink to nothing at 0 or n
    (Wilson 1927, J. Am. Stat. Assoc. 22, 209; computed by scipy.stats.binomtest).

    correct: right answers, 0 … n.
    n: examples, at least 1.
    confidence: in (0, 1).
    Raises ValueError, TypeError: if the counts are not whole numbers with 0 <= correct <= n, n >= 1.
    """
    from scipy.stats import binomtest

    correct, n = _whole(correct, "correct"), _whole(n, "n")
    _check_confidence(confidence)
    if n < 1 or not 0 <= correct <= n:
        raise ValueError(f"correct={correct} of n={n}: pass 0 <= correct <= n with n at least 1")
    interval = binomtest(correct, n).proportion_ci(confidence, method="wilson")
    return Interval(correct / n, float(interval.low), float(interval.high), confidence)


def correct(outputs: Any, y: Any) -> np.ndarray:
    """Which examples are right: the largest of each row of `outputs` (n, classes) against labels (n,).

    A single output column (n, 1) or (n,) of probabilities means two classes, divided at 0.5.

    Raises ValueError: if something is empty, NaN, or does not match; TypeError for labels that are not whole numbers.
    """
    return predicted(outputs) == _labels(y, outputs)


def predicted(outputs: Any) -> np.ndarray:
    """The predicted class of each row, int64 (n,); the first of equal largest values, as argmax does."""
    scores = _scores(outputs)
    return scores.argmax(axis=1)


def accuracy(outputs: Any, y: Any, confidence: float = 0.95) -> Interval:
    """Share of right answers with its Wilson interval; see `correct` for the arguments."""
    hits = correct(outputs, y)
    return wilson(int(hits.sum()), len(hits), confidence)


def per_class_accuracy(outputs: Any, y: Any, confidence: float = 0.95) -> dict[int, Interval]:
    """For each class that occurs in `y`: the share of its examples that were recognized (recall).

    Raises ValueError: if `y` has one class only: then it is the accuracy.
    """
    hits, labels = correct(outputs, y), np.asarray(y).reshape(-1)
    classes = _several_classes(labels)
    return {
        int(label): wilson(int(hits[labels == label].sum()), int((labels == label).sum()), confidence)
        for label in classes
    }


def probabilities(outputs: Any) -> np.ndarray:
    """Rows of probabilities from a model's outputs (n, classes), whether they are probabilities or logits.

    Rows that are not negative and sum to 1 within 0.03 are taken as probabilities and divided by their sum; if one row
    is not, all go through a softmax.  An 8-bit softmax has steps of 1/256, so that of many classes most are 0: whole
    256ths, all below 1, may miss a sum of 1 by one step a class.  A row of zeros says nothing: all classes are equal.
    """
    scores = _scores(outputs).astype(np.float64)
    classes, sums = scores.shape[1], scores.sum(axis=1, keepdims=True)
    eight_bit = bool((scores < 1).all() and (scores * 256 == np.round(scores * 256)).all())
    missing = max(0.03, classes / 256) if eight_bit else 0.03
    if (scores >= 0).all() and (np.abs(sums - 1) <= missing).all():
        return np.where(sums > 0, scores, 1 / classes) / np.where(sums > 0, sums, 1)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def reliability(outputs: Any, y: Any, bins: int = 15) -> list[Bin]:
    """Bins of equal width over the confidence (largest probability), without the empty ones.

    Guo et al. 2017, arXiv 1706.04599, section 2: in each bin, mean confidence against accuracy.

    outputs: (n, classes), probabilities or logits.
    y: labels (n,).
    bins: at least 1; 15 is the paper's.
    """
    bins = _whole(bins, "bins")
    if bins < 1:
        raise ValueError(f"bins={bins}; pass at least 1")
    hits = correct(outputs, y)
    _several_classes(np.asarray(y).reshape(-1))
    confidence = probabilities(outputs).max(axis=1)
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return [
        Bin(k / bins, (k + 1) / bins, int(inside.sum()), float(confidence[inside].mean()), float(hits[inside].mean()))
        for k in range(bins)
        if (inside := number == k).any()
    ]


def expected_calibration_error(outputs: Any, y: Any, bins: int = 15) -> float:
    """Mean distance between confidence and accuracy, in [0, 1]: Σ (bin's share) · |accuracy − confidence|.

    Guo et al. 2017, arXiv 1706.04599, equation 3.  It depends on the number of bins, and small samples make it
    too large: compare only with the same bins and the same examples.
    """
    found = reliability(outputs, y, bins)
    return sum(b.count * abs(b.accuracy - b.confidence) for b in found) / sum(b.count for b in found)


# --- two classifiers on the same examples ---------------------------------------------------------------


def mcnemar(a_correct: Any, b_correct: Any) -> McNemar:
    """McNemar's exact test of two classifiers on the same examples.

    Of the examples on which exactly one is right, each is as often right if the two are equally good: a
    two-sided binomial test with probability 1/2 (McNemar 1947, Psychometrika 12, 153; scipy.stats.binomtest).
    No such example at all gives p = 1.

    a_correct, b_correct: bool (n,), as `correct` returns them, in the same order of examples.
    """
    from scipy.stats import binomtest

    a, b = _pair_of_hits(a_correct, b_correct)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    p_value = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    return McNemar(only_a, only_b, float(p_value))


def paired_bootstrap(
    a: Any,
    b: Any,
    statistic: Callable[..., Any] | None = None,
    *,
    confidence: float = 0.95,
    rounds: int = 2000,
    seed: int = 0,
) -> Interval:
    """Interval for a difference between two sides that were measured on the same examples or in the same rounds.

    Resamples the pairs with replacement and takes percentiles (Efron, Tibshirani 1993, chapter 13).  Values
    that belong together stay together, so what makes an example hard for both sides cancels out.

    a, b: arrays (n,) of numbers or bools, n >= 2, in the same order.
    statistic: `statistic(a, b, axis=-1)` -> numbers; by default mean(a) − mean(b).
    rounds: resamplings.
    seed: of the resampling.
    Raises ValueError, TypeError: sides that do not fit, too few rounds, or a statistic that is NaN in a draw.
    """
    a, b = _pair(a, b)
    _check_confidence(confidence)
    rounds = _whole(rounds, "rounds")
    if rounds < 100:
        raise ValueError(f"rounds={rounds}: percentiles need at least 100")
    measure = statistic or (lambda p, q, axis=-1: p.mean(axis=axis) - q.mean(axis=axis))
    generator, values = np.random.default_rng(seed), []
    step = max(1, 2_000_000 // len(a))  # resamplings at once: bounds the memory
    for start in range(0, rounds, step):
        rows = generator.integers(0, len(a), (min(step, rounds - start), len(a)))
        values.append(np.asarray(measure(a[rows], b[rows], axis=-1)))
    return _percentiles(float(measure(a, b, axis=-1)), np.concatenate(values), confidence)


def crossed_bootstrap(
    *sides: Any,
    statistic: Callable[..., Any] | None = None,
    confidence: float = 0.95,
    rounds: int = 2000,
    seed: int = 0,
) -> Interval:
    """Interval for several trainings on the same examples: another draw of seeds *and* of examples.

    Resamples both, seeds and examples, with replacement, the same ones on every side, and takes percentiles (Owen 2007,
    "The pigeonhole bootstrap", arXiv 0712.1111).  With few seeds it is rough.

    sides: arrays (seeds, n) of numbers or bools, such as which examples are right; one of shape (n,), a single
        teacher's, stands beside every seed.
    statistic: of the sides' means, one array of `rounds` numbers each; by default the first minus the second.
    rounds: resamplings.  seed: of the resampling.
    Raises ValueError: sides that do not fit, too few rounds, or a statistic that is NaN in a draw.
    """
    _check_confidence(confidence)
    rounds = _whole(rounds, "rounds")
    if rounds < 100:
        raise ValueError(f"rounds={rounds}: percentiles need at least 100")
    arrays = _crossed(sides)
    seeds, n = arrays[0].shape
    measure = statistic or (lambda first, second: first - second)
    generator, means = np.random.default_rng(seed), [[] for _ in arrays]
    step = max(1, 2_000_000 // n)  # resamplings at once: bounds the memory
    for start in range(0, rounds, step):
        count = min(step, rounds - start)
        chosen = generator.multinomial(seeds, np.full(seeds, 1 / seeds), count) / seeds  # (count, seeds)
        weights = generator.multinomial(n, np.full(n, 1 / n), count) / n  # (count, n)
        for side, found in zip(arrays, means, strict=True):
            found.append(np.einsum("cs,sn,cn->c", chosen, side, weights, optimize=True))
    drawn = np.asarray(measure(*map(np.concatenate, means)))
    return _percentiles(float(measure(*(side.mean() for side in arrays))), drawn, confidence)


def _percentiles(value: float, drawn: np.ndarray, confidence: float) -> Interval:
    """Raises ValueError for a statistic that has no value on the data or in some draw, such as 0 / 0."""
    undefined = int(np.isnan(drawn).sum())
    if np.isnan(value) or undefined:
        raise ValueError(
            f"statistic gives {value} for the data and NaN for {undefined:,} of {drawn.size:,} draws; pass one that "
            "has a value for each draw: a difference, or a ratio of sides that cannot be 0 together"
        )
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high), confidence)


# --- checks ---------------------------------------------------------------------------------------------


def _scores(outputs: Any) -> np.ndarray:
    """Outputs as (n, classes) with at least two columns."""
    scores = np.asarray(outputs)
    if scores.dtype.kind not in "fiu":
        raise TypeError(f"outputs are {scores.dtype}; pass the model's numbers, (n, classes)")
    if scores.size == 0:
        raise ValueError(f"outputs are empty, shape {scores.shape}; pass at least one example")
    if not np.isfinite(scores).all():
        raise ValueError("outputs contain NaN or infinite values: the model is broken, no accuracy can be given")
    if scores.ndim == 1 or (scores.ndim == 2 and scores.shape[1] == 1):
        return _two_columns(scores.reshape(-1))
    if scores.ndim != 2:
        raise ValueError(f"outputs have shape {scores.shape}; pass (n, classes)")
    return scores


def _two_columns(single: np.ndarray) -> np.ndarray:
    """A sigmoid's column p as the columns 1 − p and p."""
    if single.min() < 0 or single.max() > 1:
        raise ValueError(
            f"a single output column is read as probabilities of class 1, but it has {single.min():.4g} … "
            f"{single.max():.4g}; pass (n, classes), or apply the sigmoid to logits"
        )
    return np.stack([1 - single, single], axis=1)


def _labels(y: Any, outputs: Any) -> np.ndarray:
    labels, scores = np.asarray(y), _scores(outputs)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(f"labels have shape {labels.shape}; pass class numbers, (n,), not one-hot rows")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels are {labels.dtype}; pass whole numbers, the class of each example")
    if len(labels) != len(scores):
        raise ValueError(f"{len(labels)} labels for {len(scores)} outputs; pass one label for each example")
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise ValueError(
            f"labels go from {labels.min()} to {labels.max()}, the model has the classes 0 … {scores.shape[1] - 1}"
        )
    return labels


def _several_classes(labels: np.ndarray) -> np.ndarray:
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ValueError(f"all {len(labels)} labels are class {classes[0]}; this needs examples of several classes")
    return classes


def _pair(a: Any, b: Any) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a), np.asarray(b)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"the two sides have shapes {a.shape} and {b.shape}; pass two arrays (n,) in the same order")
    if len(a) < 2:
        raise ValueError(f"{len(a)} pairs; pass at least 2")
    for side in (a, b):
        if side.dtype.kind not in "fiub":
            raise TypeError(f"a side is {side.dtype}; pass numbers or bools")
        if side.dtype.kind == "f" and not np.isfinite(side).all():
            raise ValueError("a side contains NaN or infinite values")
    return a.astype(np.float64), b.astype(np.float64)


def _crossed(sides: tuple) -> list[np.ndarray]:
    """All sides as (seeds, n) of float64."""
    if not sides:
        raise ValueError("no side was passed; pass two or more arrays (seeds, n)")
    arrays = [np.asarray(side) for side in sides]
    full = next((array.shape for array in arrays if array.ndim == 2), None)
    if full is None or full[0] < 2 or any(array.shape not in (full, full[1:]) for array in arrays):
        raise ValueError(
            f"the sides have shapes {[array.shape for array in arrays]}; pass arrays (seeds, n) for the same examples, "
            "2 or more seeds, and (n,) for what has no seed"
        )
    for array in arrays:
        if array.dtype.kind not in "fiub" or not np.isfinite(array.astype(np.float64)).all():
            raise ValueError(f"a side is {array.dtype} or not finite; pass numbers or bools")
    return [np.broadcast_to(array, full).astype(np.float64) for array in arrays]


def _pair_of_hits(a: Any, b: Any) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a), np.asarray(b)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise ValueError(
            f"the two sides have shapes {a.shape} and {b.shape}; pass two arrays (n,), n >= 1, in one order"
        )
    if a.dtype != bool or b.dtype != bool:
        raise TypeError(
            f"pass which examples are right, bool (n,), as statistics.correct gives it; got {a.dtype}, {b.dtype}"
        )
    return a, b


def _whole(value: Any, name: str) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}={value!r}; pass a whole number")
    return int(value)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence!r}; pass a number between 0 and 1, such as 0.95")
