"""Logarithms and probabilities in whole numbers: the same on every machine, whatever its library of mathematics.

A *logit* here is log2(p / (1 - p)) in units of 1 / ONE.  Tables are made with integers too; `np.frexp` takes a float
apart, which is exact.
"""

from __future__ import annotations

from functools import cache
from math import isqrt

import numpy as np

from utils.optimize.coding.range_coder import CERTAIN, PRECISION

FRACTION = 12
#: One bit, as a logit.
ONE = 1 << FRACTION
_FINE, _FAR = 8, 20  # the table of probabilities has 256 entries a bit, from -20 to 20 bits


def log2(values: np.ndarray) -> np.ndarray:
    """log2 of whole numbers from 1 to 2**53, in units of 1 / ONE, within one unit."""
    mantissa, exponent = np.frexp(values.astype(np.float64))
    place = (mantissa * (2 * ONE)).astype(np.int64) - ONE
    return ((exponent.astype(np.int64) - 1) << FRACTION) + _logarithms()[place]


def probability(logits: np.ndarray) -> np.ndarray:
    """The probability of a logit, in units of 1 / CERTAIN, between 2**-20 and 1 - 2**-20."""
    place = (logits + (ONE >> _FINE + 1)) >> (FRACTION - _FINE)
    return _probabilities()[np.clip(place, -_FAR << _FINE, _FAR << _FINE) + (_FAR << _FINE)]


@cache
def _logarithms() -> np.ndarray:
    """log2(1 + i / ONE): squaring doubles a logarithm, and each time it passes 2 its next bit is a 1."""
    value = np.arange(ONE, 2 * ONE, dtype=np.int64) << 30 - FRACTION
    found = np.zeros(ONE, np.int64)
    for _ in range(FRACTION + 1):
        value = value * value >> 30
        passed = value >> 31
        value >>= passed
        found = 2 * found + passed
    return (found + 1) >> 1


@cache
def _probabilities() -> np.ndarray:
    """1 / (1 + 2**-x) for each x of the table, with square roots of integers."""
    unit = 1 << 64
    root = 2 * unit
    for _ in range(_FINE):
        root = isqrt(root * unit)  # 2**(1 / 256) in the end
    powers = [unit]
    for _ in range(_FAR << _FINE):
        powers.append(powers[-1] * root // unit)  # 2**(i / 256)
    upper = [(power << PRECISION) // (power + unit) for power in powers]
    lower = [CERTAIN - p for p in upper[:0:-1]]
    return np.array(lower + upper, np.int64)
