"""Predicts bits from counts in several contexts, and learns on the way how much to trust each.

The logit of the next bit is a weighted sum: of a constant, of how often bits were 1 at all, and for each context (the
bits of this row, of this column, …) of how far its own share of ones lies from that.  Such mixing of logits is logistic
regression, as lossless compressors do it (Mahoney 2005, "Adaptive weighing of context models for lossless data
compression"); each weight is learned by Newton's method with its own curvature.  Bits come in pieces: within a piece
nothing is learned, so that a piece is one call of NumPy.  All numbers are whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.optimize.coding.fixed_point import ONE, log2, probability
from utils.optimize.coding.range_coder import CERTAIN

_SHARE = 1 << 16  # shares and weights are whole numbers of 1 / _SHARE
_PATIENCE, _STEP = 100, 9  # the curvature that first weights count for; the step is 2**(_STEP - 8) times Newton's
_CARE = 16  # in a piece that is large beside those before, all weights move at once: so many times smaller a step
_HEAVIEST = 8 * _SHARE


@dataclass(frozen=True)
class Evidence:
    """One kind of evidence.

    weight: how much it counts at first.  strength: for how many bits the share `within` counts where none is seen
    yet. within: the name of the evidence, earlier in the list, that it is a part of, as a row is of the rows around
    it; "" for all bits.
    """

    name: str
    weight: float
    strength: int
    within: str = ""


class Mixer:
    """One kind of bits.

    kinds: the evidence.  sizes: {name: number of contexts} for kinds that are counted here; the others' counts are
    given with each piece.  constant, overall: the first weights of the constant and of the overall logit.  first:
    ones and bits that count as seen before the first.
    """

    def __init__(
        self,
        kinds: Sequence[Evidence],
        sizes: dict[str, int],
        constant: float = 0.0,
        overall: float = 1.0,
        first: tuple[int, int] = (1, 2),
    ) -> None:
        kinds = sorted(kinds, key=lambda kind: (bool(kind.within), kind.name not in sizes))
        self._names = [kind.name for kind in kinds]
        self._strengths = np.array([[kind.strength] for kind in kinds], np.int64)
        self._top = sum(not kind.within for kind in kinds)
        self._within = [self._names.index(kind.within) for kind in kinds[self._top :]]
        self._places = dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist(), strict=False))
        self._sizes = sizes
        self._counts = np.zeros((2, sum(sizes.values())), np.int64)  # ones, bits
        weights = [constant, overall, *(kind.weight for kind in kinds)]
        self._weights = np.array([[round(weight * _SHARE)] for weight in weights], np.int64)
        self._curvature = np.zeros((len(weights), 1), np.int64)
        self._ones, self._bits = first

    def counts(self, name: str) -> np.ndarray:
        """(2, contexts) of a kind: ones and bits so far."""
        return self._counts[:, self._places[name] : self._places[name] + self._sizes[name]]

    def code(
        self,
        coder: Any,
        contexts: dict[str, np.ndarray],
        given: dict[str, np.ndarray],
        bits: np.ndarray | None,
        what: str,
    ) -> np.ndarray:
        """Code one piece of n bits.

        contexts: {name: (n,)} which context each bit is in.  given: {name: (2, n)} ones and bits that somebody else
        counted.  bits: None to read them.  what: they are for, in a report.
        """
        places = {name: contexts[name] + start for name, start in self._places.items()}
        counts = np.array([given[name] if name in given else self._counts[:, places[name]] for name in self._names])
        evidence = self._evidence(counts[:, 0], counts[:, 1])
        ones = probability((self._weights * evidence).sum(0) >> 16)
        bits = coder.code(ones, bits, what)
        self._learn(evidence, ones, bits)
        self._count(np.array(list(places.values())), bits.astype(bool))
        return bits

    def _evidence(self, ones: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """(2 + kinds, n): a constant, the overall logit, and the distance of each context's from it."""
        share = min(max(self._ones * _SHARE // self._bits, 4), _SHARE - 4)
        total = (seen + self._strengths) * _SHARE
        yes = ones * _SHARE
        top = self._top
        yes[:top] += self._strengths[:top] * share
        if len(yes) > top:
            within = yes[self._within] * _SHARE // total[self._within]
            yes[top:] += self._strengths[top:] * np.clip(within, 4, _SHARE - 4)
        overall = log2(np.array([share, _SHARE - share]))
        evidence = np.empty((len(yes) + 2, yes.shape[1]), np.int64)
        evidence[0] = ONE
        evidence[1] = overall[0] - overall[1]
        evidence[2:] = log2(yes) - log2(total - yes) - evidence[1]
        return evidence

    def _learn(self, evidence: np.ndarray, ones: np.ndarray, bits: np.ndarray) -> None:
        short = ones >> 8
        error = (bits.astype(np.int64) << 16) - short
        doubt = short * ((CERTAIN >> 8) - short) >> 16
        curvature = (doubt * (evidence * evidence >> 12)).sum(1, keepdims=True) >> 8  # in units of 2**-20
        self._curvature += curvature
        slope = (error * evidence).sum(1, keepdims=True)  # in units of 2**-28
        self._weights += (slope << _STEP) // ((_PATIENCE << 20) + self._curvature + _CARE * curvature)
        np.clip(self._weights, -_HEAVIEST, _HEAVIEST, out=self._weights)

    def _count(self, places: np.ndarray, chosen: np.ndarray) -> None:
        np.add.at(self._counts[1], places, 1)
        np.add.at(self._counts[0], places[:, chosen], 1)
        self._ones += int(chosen.sum())
        self._bits += len(chosen)
