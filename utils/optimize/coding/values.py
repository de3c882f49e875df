"""An array of weights as whole numbers and what they stand for, bit for bit.

Four kinds: *same* (one value everywhere), *grid* (step · k, as quantizers make it), *book* (a list of values, as
clustering makes it) and *plain* (where it is not zero, and there all bits).  An array's own values decide which takes
fewest bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.optimize.coding import integers
from utils.optimize.coding.byte_coders import entropy
from utils.optimize.coding.fields import Fields
from utils.optimize.coding.integers import Layout
from utils.optimize.coding.range_coder import CERTAIN, Damaged, Estimate

SAME, GRID, BOOK, PLAIN = range(4)
_LONGEST_BOOK, _FIRST_LOOK = 1 << 16, 1 << 18  # entries; values
_LARGEST, _MOST_DIVISOR = 1 << 20, 64  # of a grid: the largest k, and the largest k of the smallest value
_TRIAL_CELLS, _TRIAL_PIECES = 1 << 15, 128  # are enough to tell in which order an array is coded best
_INCOMPRESSIBLE = 7.9  # bits of a byte
_MOST_LIVE, _MOST_TOLD = 0.75, 1 << 16  # where fewer inputs or units are live, of not too many, it is told which


@dataclass(frozen=True)
class Coded:
    """Whole numbers, as the array's shape has them; 0 stands for the value 0.  step: of a grid.  book: the patterns
    that 1, 2, … and -1, -2, … stand for, smallest value first."""

    kind: int
    numbers: np.ndarray
    step: float | None = None
    book: np.ndarray | None = None
    below: int = 0


def patterns(values: np.ndarray) -> np.ndarray:
    """The bits of each value, as whole numbers without a sign."""
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


def recognized(values: np.ndarray) -> Coded:
    """What kind of array this is."""
    bits = patterns(values)
    if len(np.unique(bits.reshape(-1)[:_FIRST_LOOK])) > _LONGEST_BOOK:
        return _plain(bits)
    distinct = np.unique(bits)
    if len(distinct) == 1:
        return Coded(SAME, np.zeros(values.shape, np.int32), book=distinct)
    if len(distinct) > _LONGEST_BOOK:
        return _plain(bits)
    places = np.searchsorted(distinct, bits).astype(np.int32)
    found = _grid(distinct, values.dtype)
    if found is not None and np.abs(found[1]).max() <= 4 * len(distinct) + 16:
        return Coded(GRID, found[1][places], step=found[0])
    numbers, book, below = _ranked(distinct, values.dtype)
    listed = len(book) * 8 * values.dtype.itemsize + entropy(places) * values.size
    return Coded(BOOK, numbers[places], book=book, below=below) if listed < _plain_bits(bits) else _plain(bits)


def _plain(bits: np.ndarray) -> Coded:
    return Coded(PLAIN, (bits != 0).astype(np.int32))


def _grid(distinct: np.ndarray, dtype: np.dtype) -> tuple[float, np.ndarray] | None:
    """The step of which all values are multiples, once they are rounded, the roundest there is; and the multiples."""
    if dtype not in (np.float32, np.float16):
        return None
    values = distinct.view(dtype)
    sizes = np.unique(np.abs(values[values != 0]))
    if not len(sizes):
        return None
    for divisor in range(1, _MOST_DIVISOR + 1):  # the smallest size need not be one step
        numbers = np.rint(sizes.astype(np.float64) / (float(sizes[0]) / divisor))
        if numbers[-1] > _LARGEST:
            return None
        for step in _steps(sizes, numbers):
            multiples = np.rint(values.astype(np.float64) / step).astype(np.int32)
            if (patterns(_on_grid(step, multiples, dtype)) == distinct).all():  # -0.0 is no multiple
                return step, multiples
    return None


def _steps(sizes: np.ndarray, numbers: np.ndarray) -> list[float]:
    """Steps with which step · numbers may round to sizes, the roundest first."""
    exact = sizes.astype(np.float64)
    under = exact - np.nextafter(sizes, sizes.dtype.type(0)).astype(np.float64)
    over = np.nextafter(sizes, sizes.dtype.type(np.inf)).astype(np.float64) - exact
    low = float(((exact - under / 2) / numbers).max())
    high = float(((exact + over / 2) / numbers).min())
    if not 0 < low <= high * (1 + 1e-15) < np.inf:
        return []
    middle = (low + high) / 2  # a product that lies between two floats leaves no room: low and high are the step
    return [_roundest(min(low, high), high), float(np.float32(middle)), middle]


def _roundest(low: float, high: float) -> float:
    """The number from low to high with most zeros at the end of its bits."""
    first, last = (int(np.float64(limit).view(np.uint64)) for limit in (low, high))
    zeros = next(zeros for zeros in range(64, -1, -1) if last >> zeros << zeros >= first)
    return float(np.uint64(last >> zeros << zeros).view(np.float64))


def _on_grid(step: float, numbers: np.ndarray, dtype: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore", under="ignore"):
        return (numbers * np.float64(step)).astype(dtype)


def _ranked(distinct: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, int]:
    """For each pattern its number, counted from the value 0; the other patterns in the order of their values; and how
    many of them are below zero."""
    if dtype.kind in "iu":
        keys = distinct.view(dtype)
        negative = keys < 0
    else:
        sign = distinct.dtype.type(1 << 8 * dtype.itemsize - 1)
        negative = distinct >= sign
        keys = np.where(negative, -1.0 - (distinct & ~sign), distinct)
    order = np.argsort(keys, kind="stable")
    below = int(negative.sum())
    numbers = np.empty(len(distinct), np.int32)
    zero = (distinct == 0).any()
    numbers[order] = np.arange(len(distinct)) - below + (0 if zero else (np.arange(len(distinct)) >= below))
    return numbers, distinct[order][distinct[order] != 0], below


def _plain_bits(bits: np.ndarray) -> float:
    """About what the kind *plain* takes."""
    other = bits[bits != 0]
    sample = other[:: max(1, len(other) >> 16)]
    where = entropy(bits != 0) * bits.size
    return where + len(other) * sum(entropy(plane) for plane in _planes(sample)) if len(other) else where


def _planes(bits: np.ndarray) -> list[np.ndarray]:
    """The bytes of patterns, largest first, once the sign has moved to the end: the exponent of a float32 is a byte."""
    width = 8 * bits.dtype.itemsize
    turned = (bits << bits.dtype.type(1)) | (bits >> bits.dtype.type(width - 1))
    return [(turned >> bits.dtype.type(8 * place) & bits.dtype.type(255)).astype(np.int64) for place in _bytes(bits)]


def _bytes(bits: np.ndarray) -> range:
    return range(bits.dtype.itemsize - 1, -1, -1)


def _from_planes(planes: list[np.ndarray], dtype: np.dtype) -> np.ndarray:
    width = 8 * dtype.itemsize
    turned = np.zeros(len(planes[0]), dtype)
    for plane in planes:
        turned = (turned << dtype.type(8) if width > 8 else turned & 0) | plane.astype(dtype)
    return (turned >> dtype.type(1)) | (turned << dtype.type(width - 1))


# ---------------------------------------------------------------- coding


class Arrays:
    """Writes or reads arrays one after the other; what it has learned of one helps with the next."""

    def __init__(self, coder: Any) -> None:
        self._coder, self._fields = coder, Fields(coder)
        self._steps: list[float] = []

    def code(self, layout: Layout, dtype: np.dtype, producer: np.ndarray, values: np.ndarray | None) -> np.ndarray:
        """One array, as (space, channels, units): `values`, or what is read if it is None."""
        true = None if values is None else recognized(values.reshape(layout.sizes))
        kind = self._fields.number("kind", 2, None if true is None else true.kind, "kinds")
        if kind == SAME:
            value = self._patterns(dtype, None if true is None else true.book, 1)
            return np.full(layout.sizes, value[0]).view(dtype)
        layout = self._ordered(layout, producer, true)
        step = self._step(None if true is None else true.step) if kind == GRID else None
        book, below = self._book(dtype, true) if kind == BOOK else (None, 0)
        numbers = None if true is None else layout.ordered(true.numbers)
        live = layout.ordered(self._live(layout, producer, None if true is None else true.numbers != 0))
        present = None if numbers is None else numbers != 0
        present = integers.code_positions(self._coder, layout, producer, present, live)
        if kind == PLAIN:
            return layout.natural(
                self._plain(dtype, present, None if values is None else layout.ordered(patterns(values)))
            )
        found = layout.natural(integers.code_values(self._coder, layout, present, numbers))
        return _on_grid(step, found, dtype) if kind == GRID else _from_book(book, below, found, dtype)

    def _ordered(self, layout: Layout, producer: np.ndarray, true: Coded | None) -> Layout:
        """The layout with the order of coding: the one that takes fewest bits."""
        order = None if true is None else _best_order(layout, producer, true.numbers)
        width = 2 if layout.space else 1 if min(layout.channels, layout.units) > 1 else 0
        return Layout(layout.space, layout.channels, layout.units, self._fields.number("order", width, order, "kinds"))

    def _live(self, layout: Layout, producer: np.ndarray, present: np.ndarray | None) -> np.ndarray:
        """(space, channels, units): cells whose channel and unit are not all zero, where that is told."""
        hints = producer == 1  # the layer before has no weights for it
        channels = self._live_ones("channels", hints, None if present is None else present.any((0, 2)))
        units = self._live_ones("units", np.zeros(layout.units, bool), None if present is None else present.any((0, 1)))
        return np.broadcast_to(channels[:, None] & units, layout.sizes)

    def _live_ones(self, name: str, hints: np.ndarray, true: np.ndarray | None) -> np.ndarray:
        """Which channels or units are live, each told by its hint and the one before it; all, if few are not."""
        if len(hints) == 1:
            return np.ones(1, bool)
        told = None if true is None else int(len(true) <= _MOST_TOLD and true.mean() < _MOST_LIVE)
        if not self._fields.number(name, 1, told, "kinds"):
            return np.ones(len(hints), bool)
        live = [1]
        for at, hint in enumerate(hints.tolist()):
            field = f"{name} {live[-1]} {hint}"
            live.append(self._fields.number(field, 1, None if true is None else int(true[at]), "positions"))
        return np.array(live[1:], bool)

    def _step(self, step: float | None) -> float:
        """A positive float64: one that came before, or its exponent and as many digits as it has."""
        place = None if step is None else self._steps.index(step) + 1 if step in self._steps else 0
        again = self._fields.number("again", 1, None if place is None else int(place > 0), "steps")
        if again:
            place = self._fields.count("which", place, "steps")
            if not 1 <= place <= len(self._steps):
                raise Damaged("it has a step that did not come before")
            return self._steps[place - 1]
        bits = None if step is None else int(np.float64(step).view(np.uint64))
        exponent = self._fields.number("exponent", 11, None if bits is None else bits >> 52, "steps")
        mantissa = None if bits is None else bits & (1 << 52) - 1
        zeros = self._fields.number("zeros", 6, None if mantissa is None else _zeros(mantissa, 52), "steps")
        zeros = min(zeros, 52)
        top = self._fields.digits(52 - zeros, None if mantissa is None else mantissa >> zeros, "steps")
        step = float(np.uint64(exponent << 52 | top << zeros).view(np.float64))
        if not 0 < step < np.inf:
            raise Damaged("it has a step that is no number")
        self._steps.append(step)
        return step

    def _book(self, dtype: np.dtype, true: Coded | None) -> tuple[np.ndarray, int]:
        size = self._fields.count("book", None if true is None else len(true.book), "book")
        below = self._fields.count("below", None if true is None else true.below, "book")
        if size > _LONGEST_BOOK or below > size:
            raise Damaged(f"it has a list of {size:,} values")
        return self._patterns(dtype, None if true is None else true.book, size), below

    def _patterns(self, dtype: np.dtype, true: np.ndarray | None, count: int) -> np.ndarray:
        """Patterns of values without the zeros that all of them end with."""
        width = 8 * dtype.itemsize
        together = None if true is None else int(np.bitwise_or.reduce(true))
        zeros = self._fields.number("ends", 7, None if together is None else _zeros(together, width), "book")
        zeros = min(zeros, width)
        found = [
            self._fields.digits(width - zeros, None if true is None else int(true[n]) >> zeros, "book") << zeros
            for n in range(count)
        ]
        return np.array(found, np.uint64).astype(f"u{dtype.itemsize}")

    def _plain(self, dtype: np.dtype, present: np.ndarray, true: np.ndarray | None) -> np.ndarray:
        unsigned = np.dtype(f"u{dtype.itemsize}")
        bits = np.zeros(len(present), unsigned)
        count = int(present.sum())
        planes = [None] * unsigned.itemsize if true is None else _planes(true[present])
        bits[present] = _from_planes([self._plane(plane, count) for plane in planes], unsigned)
        return bits.view(dtype)

    def _plane(self, true: np.ndarray | None, count: int) -> np.ndarray:
        raw = None if true is None else int(len(true) > 0 and entropy(true) > _INCOMPRESSIBLE)
        if self._fields.number("raw", 1, raw, "kinds"):
            return self._coder.raw(count, None if true is None else true.astype(np.uint8)).astype(np.int64)
        counts = np.ones((2, 256), np.int64)
        found = np.zeros(count, np.int64)
        for piece in _growing(count):
            node = np.ones(len(piece), np.int64)
            for place in range(7, -1, -1):
                ones = CERTAIN * counts[1][node] // counts[:, node].sum(0)
                bits = None if true is None else (true[piece] >> place & 1).astype(np.int32)
                bits = self._coder.code(ones, bits, "floats").astype(np.int64)
                np.add.at(counts, (bits, node), 2)
                node = 2 * node + bits
            found[piece] = node - 256
        return found


def _zeros(number: int, most: int) -> int:
    """How many zeros a number ends with."""
    return min((number & -number).bit_length() - 1, most) if number else most


def _growing(count: int) -> Iterator[np.ndarray]:
    """Pieces that grow with what was seen before, so that little is coded with old counts."""
    start = 0
    while start < count:
        end = min(count, start + 1 + start // 16)
        yield np.arange(start, end)
        start = end


def _from_book(book: np.ndarray, below: int, numbers: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Patterns by number: … -2, -1, 0 for the value 0, 1, 2, …"""
    known = np.concatenate([book[:below], np.zeros(1, book.dtype), book[below:]])
    places = numbers + below
    if places.min(initial=0) < 0 or places.max(initial=0) >= len(known):
        raise Damaged("it has numbers that its list of values does not reach")
    return known[places].view(dtype)


def _best_order(layout: Layout, producer: np.ndarray, numbers: np.ndarray) -> int:
    orders = range(len(integers.ORDERS)) if layout.space else range(2 if min(layout.channels, layout.units) > 1 else 1)
    places, channels, units = layout.sizes
    while places * channels * units > _TRIAL_CELLS and max(channels, units) > 1:
        channels, units = (channels, units // 2) if units >= channels else (channels // 2, units)
    part = numbers[:, :channels, :units]
    if places * channels * units > 8 * _TRIAL_CELLS or len(orders) == 1:
        return 0
    costs = []
    for order in orders:
        trial = Layout(layout.space, channels, units, order)
        estimate = Estimate()
        integers.code_positions(estimate, trial, producer[:channels], trial.ordered(part) != 0, pieces=_TRIAL_PIECES)
        costs.append(estimate.bits)
    return int(np.argmin(costs))
