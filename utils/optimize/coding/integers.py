"""Codes an array of whole numbers, most of them zero, such as a pruned and quantized kernel: where, which sign, how
large.

An array is seen as (*space, channels, units): a unit is what the layer puts out, space and channels are what it takes
in. First is coded which numbers are not zero, cell by cell: each cell is predicted from the cells before it in its
unit, its input (place and channel), its filter (channel and unit), and around it.  Then the sign and the size of
those that are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from typing import Any

import numpy as np

from utils.optimize.coding.mixing import Evidence, Mixer

#: The orders in which the cells may be coded: slowest first, of space, channels, units.
ORDERS = ((0, 1, 2), (2, 0, 1), (2, 1, 0), (1, 0, 2))
_SPACE, _CHANNEL, _UNIT = range(3)
_POSITION_PIECES, _VALUE_PIECES, _SMALLEST_PIECE = 1024, 256, 2

# First weights and strengths: the means of what was learned from pruned LeNets of MNIST (decision 60).
_POSITIONS = (
    Evidence("units", 0.55, 36),  # cells of the units next to this one
    Evidence("inputs", 0.12, 12),  # of the inputs next to this one
    Evidence("unit", 0.20, 16, within="units"),
    Evidence("input", 0.35, 4, within="inputs"),
    Evidence("producer", 0.35, 4),  # inputs whose own layer has as many weights for them
    Evidence("filter", 0.05, 4),
    Evidence("pattern", 0.30, 6),  # which of the neighbours are not zero
    Evidence("near", 0.15, 3),  # cells within two steps in space
)
_IN_SPACE = ("filter", "pattern", "near")
_SIGNS = (Evidence("unit", 0.25, 16), Evidence("input", 0.25, 16), Evidence("before", 1.0, 1), Evidence("near", 0.3, 3))
_SIZES = (Evidence("unit", 0.3, 12), Evidence("input", 0.3, 12), Evidence("around", 0.4, 3))
_LARGEST_AROUND = 11  # mean size of the neighbours, as a context
_MOST_DIGITS = 31


@dataclass(frozen=True)
class Layout:
    """How an array is seen: sizes of the axes of space (none, if it has none), channels, units; an order of coding."""

    space: tuple[int, ...]
    channels: int
    units: int
    order: int = 0

    @property
    def sizes(self) -> tuple[int, int, int]:
        return prod(self.space), self.channels, self.units

    @property
    def count(self) -> int:
        return prod(self.sizes)

    @property
    def inputs(self) -> int:
        return prod(self.space) * self.channels

    @cached_property
    def steps(self) -> list[int]:
        """How far apart, in the order of coding, neighbours along space, channels and units are."""
        steps, step = [0, 0, 0], 1
        for axis in reversed(ORDERS[self.order]):
            steps[axis] = step
            step *= self.sizes[axis]
        return steps

    def ordered(self, values: np.ndarray) -> np.ndarray:
        """`values`, of (space, channels, units), in one row in the order of coding."""
        return values.reshape(self.sizes).transpose(ORDERS[self.order]).reshape(-1)

    def natural(self, values: np.ndarray) -> np.ndarray:
        """The opposite of `ordered`: (space, channels, units)."""
        axes = ORDERS[self.order]
        return values.reshape([self.sizes[axis] for axis in axes]).transpose(np.argsort(axes))

    def places(self, cells: np.ndarray) -> list[np.ndarray]:
        """Space, channel and unit of cells in the order of coding."""
        return [cells // step % size for step, size in zip(self.steps, self.sizes, strict=True)]

    def near(self, places: np.ndarray, channel: np.ndarray, unit: np.ndarray) -> np.ndarray:
        """Cells at these `places` (…, n) of space, -1 for none; `count`, behind the last cell, stands for none too."""
        steps = self.steps
        return np.where(
            places < 0, self.count, places * steps[_SPACE] + channel * steps[_CHANNEL] + unit * steps[_UNIT]
        )

    @cached_property
    def around(self) -> np.ndarray:
        """(neighbours, places): the places within two steps of each (one, from three axes on), -1 beyond the edge."""
        reach = 2 if len(self.space) < 3 else 1
        return self._shifted([s for s in product(range(-reach, reach + 1), repeat=len(self.space)) if any(s)])

    @cached_property
    def beside(self) -> np.ndarray:
        """(neighbours, places): those within one step."""
        return self._shifted([s for s in product((-1, 0, 1), repeat=len(self.space)) if any(s)])

    @cached_property
    def before(self) -> np.ndarray:
        """(neighbours, places): those beside that come before, in the last two axes and one back in the others."""
        rank = len(self.space)
        if rank == 1:
            return self._shifted([(-1,), (-2,)])
        back = [tuple(-int(axis == moved) for axis in range(rank)) for moved in range(rank)]
        return self._shifted([*back, (0,) * (rank - 2) + (-1, -1), (0,) * (rank - 2) + (-1, 1)])

    def _shifted(self, shifts: list[tuple[int, ...]]) -> np.ndarray:
        sizes = np.array(self.space)[:, None]
        at = np.stack(np.unravel_index(np.arange(prod(self.space)), self.space))
        found = np.full((len(shifts), at.shape[1]), -1)
        for number, shift in enumerate(shifts):
            moved = at + np.array(shift)[:, None]
            inside = ((moved >= 0) & (moved < sizes)).all(0)
            found[number, inside] = np.ravel_multi_index(moved[:, inside], self.space)
        return found


# ---------------------------------------------------------------- where


def code_positions(
    coder: Any,
    layout: Layout,
    producer: np.ndarray,
    present: np.ndarray | None,
    live: np.ndarray | None = None,
    pieces: int = _POSITION_PIECES,
) -> np.ndarray:
    """Which cells are not zero, (count,) of bool in the order of coding: written, or read if `present` is None.

    live: which cells may be other than zero, in the order of coding; None for all.  pieces: in how many the cells are
    coded; more take longer and fewer bits.
    """
    sizes = {"unit": layout.units, "input": layout.inputs, "producer": int(producer.max(initial=0)) + 1}
    if layout.space:
        sizes |= {"filter": layout.channels * layout.units, "pattern": 2 ** len(layout.before)}
    kinds = [kind for kind in _POSITIONS if layout.space or kind.name not in _IN_SPACE]
    mixer = Mixer(kinds, sizes, constant=-0.4, overall=0.85, first=(1, 12) if layout.units > 1 else (1, 2))
    found = np.zeros(layout.count + 1, bool)
    for cells in _pieces(np.arange(layout.count) if live is None else np.flatnonzero(live), pieces):
        space, channel, unit = layout.places(cells)
        contexts = {"unit": unit, "input": space * layout.channels + channel, "producer": producer[channel]}
        given = {"units": _next_to(mixer.counts("unit"), unit, 2)}
        if layout.space:
            contexts["filter"] = channel * layout.units + unit
            before = found[layout.near(layout.before[:, space], channel, unit)]
            contexts["pattern"] = (before << np.arange(len(before))[:, None]).sum(0)
            near = layout.near(layout.around[:, space], channel, unit)
            given["near"] = np.stack([found[near].sum(0), (near < cells[0]).sum(0)])
            given["inputs"] = _beside_places(mixer.counts("input"), layout, space, channel)
        else:
            given["inputs"] = _next_to(mixer.counts("input"), channel, 1)
        bits = None if present is None else present[cells].astype(np.int32)
        found[cells] = mixer.code(coder, contexts, given, bits, "positions")
    return found[:-1]


def _pieces(cells: np.ndarray, pieces: int) -> Iterator[np.ndarray]:
    size = max(_SMALLEST_PIECE, -(-len(cells) // pieces))
    for start in range(0, len(cells), size):
        yield cells[start : start + size]


def _next_to(counts: np.ndarray, at: np.ndarray, reach: int) -> np.ndarray:
    """(2, n): the sum of the counts up to `reach` before and behind `at`, without `at`."""
    size = counts.shape[1]
    wide = np.pad(counts, ((0, 0), (reach, reach)))
    return sum(wide[:, reach + step : reach + step + size] for step in range(-reach, reach + 1) if step)[:, at]


def _beside_places(counts: np.ndarray, layout: Layout, space: np.ndarray, channel: np.ndarray) -> np.ndarray:
    """(2, n): the sum of the counts of the inputs beside this one in space, of the same channel."""
    places = layout.beside[:, space]
    wide = np.pad(counts, ((0, 0), (0, 1)))
    return wide[:, np.where(places < 0, layout.inputs, places * layout.channels + channel)].sum(1)


# ---------------------------------------------------------------- which sign, how large


def code_values(coder: Any, layout: Layout, present: np.ndarray, values: np.ndarray | None) -> np.ndarray:
    """The numbers, (count,) of int32 in the order of coding, of which `present` says that they are not zero."""
    found = np.zeros(layout.count + 1, np.int32)
    sizes = {"unit": layout.units, "input": layout.inputs}
    signs = Mixer(_SIGNS, sizes, first=(4, 8))
    magnitudes = _Magnitudes(coder, sizes | {"around": _LARGEST_AROUND + 1})
    for at in _pieces(np.flatnonzero(present), _VALUE_PIECES):
        space, channel, unit = layout.places(at)
        near = (
            found[layout.near(layout.around[:, space], channel, unit)] if layout.space else np.zeros((0, len(at)), int)
        )
        true = None if values is None else values[at]
        contexts = {"unit": unit, "input": space * layout.channels + channel}
        before = found[layout.near(layout.before[:, space], channel, unit)] if layout.space else near
        given = {"near": _negative(near), "before": _negative(before)}
        bits = None if true is None else (true < 0).astype(np.int32)
        negative = signs.code(coder, contexts, given, bits, "signs")
        mean = np.abs(near).sum(0) // np.maximum((near != 0).sum(0), 1)
        contexts["around"] = np.minimum(mean, _LARGEST_AROUND)
        size = magnitudes.code(contexts, None if true is None else np.abs(true))
        found[at] = np.where(negative, -size, size)
    return found[:-1]


def _negative(values: np.ndarray) -> np.ndarray:
    """(2, n): how many of (neighbours, n) are below zero, and how many are not zero."""
    return np.stack([(values < 0).sum(0), (values != 0).sum(0)])


class _Magnitudes:
    """Numbers from 1 on, in Elias' gamma code, each bit predicted: how many binary digits, then the digits."""

    def __init__(self, coder: Any, sizes: dict[str, int]) -> None:
        self._coder, self._sizes = coder, sizes
        self._mixers: dict[tuple, Mixer] = {}

    def code(self, contexts: dict[str, np.ndarray], true: np.ndarray | None) -> np.ndarray:
        digits = self._digits(contexts, None if true is None else _digits(true))
        found = np.ones(len(digits), np.int64)
        for place in range(1, digits.max(initial=1)):
            for length in np.unique(digits[digits > place]):
                who = np.flatnonzero(digits == length)
                shift = length - 1 - place
                bits = None if true is None else true[who] >> shift & 1
                found[who] = 2 * found[who] + self._digit(contexts, who, bits, int(length), place, found[who])
        return found

    def _digits(self, contexts: dict[str, np.ndarray], true: np.ndarray | None) -> np.ndarray:
        who = np.arange(len(contexts["unit"]))
        found = np.ones(len(who), np.int64)
        while len(who) and found.max() < _MOST_DIGITS:
            bits = None if true is None else true[who] > found[who]
            more = self._bits(("more", int(found[who[0]])), contexts, who, bits)
            who = who[more.astype(bool)]
            found[who] += 1
        return found

    def _digit(
        self, contexts: dict, who: np.ndarray, bits: np.ndarray | None, length: int, place: int, top: np.ndarray
    ):
        """One digit of numbers of one length; the first three know those before them."""
        if place > 3:
            return self._bits((length, place), contexts, who, bits)
        found = np.zeros(len(who), np.int64)
        for prefix in np.unique(top):
            same = np.flatnonzero(top == prefix)
            found[same] = self._bits((length, int(prefix)), contexts, who[same], None if bits is None else bits[same])
        return found

    def _bits(self, node: tuple, contexts: dict, who: np.ndarray, bits: np.ndarray | None) -> np.ndarray:
        if node not in self._mixers:
            self._mixers[node] = Mixer(_SIZES, self._sizes)
        chosen = {name: context[who] for name, context in contexts.items()}
        bits = None if bits is None else bits.astype(np.int32)
        return self._mixers[node].code(self._coder, chosen, {}, bits, "sizes")


def _digits(values: np.ndarray) -> np.ndarray:
    return np.frexp(values.astype(np.float64))[1].astype(np.int64)
