"""Arrays of every kind and number type come back bit for bit."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.optimize.coding import golden
from utils.optimize.coding import values as module
from utils.optimize.coding.fields import Fields
from utils.optimize.coding.integers import Layout
from utils.optimize.coding.range_coder import Reader, Writer
from utils.optimize.coding.values import BOOK, GRID, PLAIN, SAME, Arrays, recognized

_RNG = np.random.default_rng(0)
_MASK = _RNG.random(600) < 0.1
_CODES = _RNG.integers(-5, 6, 600) * _MASK


def _round_trip(values: np.ndarray, layout: Layout | None = None) -> int:
    """Bytes that an array takes; asserts that it comes back."""
    layout = layout or Layout((), values.size, 1)
    writer = Writer()
    producer = np.zeros(layout.channels, int)
    Arrays(writer).code(layout, values.dtype, producer, values.reshape(layout.sizes))
    reader = Reader(writer.content(), writer.raw_content())
    found = Arrays(reader).code(layout, values.dtype, producer, None)
    assert found.dtype == values.dtype and found.shape == layout.sizes
    assert np.ascontiguousarray(found).tobytes() == values.tobytes()
    return len(writer.content()) + len(writer.raw_content())


_KINDS = {
    "zero": (np.zeros(600, np.float32), SAME, 2),
    "one value": (np.full(600, 0.3, np.float32), SAME, 6),
    "one weight": (np.array([-1.7], np.float32), SAME, 6),
    "grid": ((_CODES * np.float32(0.0123)).astype(np.float32), GRID, 90),
    "grid in float64": ((_CODES * 0.0123).astype(np.float32), GRID, 90),
    "grid whose smallest is 3 steps": (
        (np.where(abs(_CODES) < 3, 0, _CODES) * np.float32(0.7)).astype(np.float32),
        GRID,
        80,
    ),
    "grid of float16": ((_CODES * 0.0123).astype(np.float16), GRID, 90),
    "book": (np.array([0, 0.31, -2.72, 3.14, 0.577], np.float32)[_RNG.integers(0, 5, 600)], BOOK, 240),
    "book without zero": (np.array([0.31, -2.72, 3.14], np.float32)[_RNG.integers(0, 3, 600)], BOOK, 160),
    "negative zeros": ((np.where(_CODES < 0, -0.0, 0.0)).astype(np.float32), None, 60),
    "pruned floats": (np.where(_MASK, _RNG.standard_normal(600), 0).astype(np.float32), PLAIN, 330),
    "floats": (_RNG.standard_normal(600).astype(np.float32), PLAIN, 2400),
    "float64": (_RNG.standard_normal(600), PLAIN, 4800),
    "float16": (_RNG.standard_normal(600).astype(np.float16), PLAIN, 1250),
    "bfloat16": (_RNG.standard_normal(600).astype(ml_dtypes.bfloat16), PLAIN, 1250),
    "whole numbers": (_RNG.integers(-3, 500, 600), PLAIN, 1400),
    "bytes": (_RNG.integers(0, 256, 600).astype(np.uint8), None, 1000),
    "extremes": (np.array([0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38, 1.0], np.float32), None, 40),
    "truths": (_MASK, None, 60),
}


@pytest.mark.parametrize("values, kind, most", _KINDS.values(), ids=_KINDS)
def test_arrays_are_recognized_and_come_back(values, kind, most):
    if kind is not None:
        assert recognized(values).kind == kind
    assert _round_trip(values) <= most
    if values.size == 600:
        assert _round_trip(values, Layout((5, 4), 3, 10)) <= 1.1 * most + 12


@settings(max_examples=40)
@given(arrays.arrays(np.float32, st.integers(1, 50), elements=st.floats(width=32, allow_nan=False)))
def test_any_floats_come_back(values):
    _round_trip(values)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.floats(1e-6, 1e4), st.sampled_from((1, 7, 127)), st.booleans())
def test_any_step_is_found(seed, step, largest, single):
    numbers = np.random.default_rng(seed).integers(-largest, largest + 1, 300)
    step = np.float32(step) if single else step
    values = (numbers * step).astype(np.float32) + 0
    found = recognized(values)
    assert found.kind == (GRID if np.abs(numbers).max() else SAME)


def test_the_step_is_the_roundest_that_is_exact():
    values = (np.arange(-3, 4) * 0.25).astype(np.float32)
    assert recognized(values).step == 0.25
    assert module._roundest(0.2, 0.3) == 0.25


def test_arrays_with_the_step_of_one_before_save_its_bits():
    step, producer = np.float32(0.0123), np.zeros(600, int)
    sizes = []
    for second in (step, np.float32(0.0456)):
        writer = Writer()
        coded = Arrays(writer)
        for each in (step, second):
            values = (_CODES * each).astype(np.float32).reshape(1, 600, 1)
            coded.code(Layout((), 600, 1), np.dtype(np.float32), producer, values)
        sizes.append(len(writer.content()))
    assert sizes[0] < sizes[1] - 1


@pytest.mark.parametrize("dead", [0, 150, 290])
def test_dead_units_cost_next_to_nothing(dead):
    rng = np.random.default_rng(1)
    values = rng.integers(-2, 3, (40, 300)) * (rng.random((40, 300)) < 0.2)
    values[:, 300 - dead :] = 0
    small = values[:, : 300 - dead]
    whole, part = (_round_trip((v * np.float32(0.5)).astype(np.float32), Layout((), *v.shape)) for v in (values, small))
    assert whole <= part + 10


@pytest.mark.parametrize("number", [-3, 4])
def test_a_number_just_beyond_the_list_of_values_is_damage(number):
    book = np.array([1.5, 2.5, 3.5, 4.5, 5.5], np.float32).view(np.uint32)
    inside = module._from_book(book, 2, np.array([-2, -1, 0, 1, 2, 3]), np.dtype(np.float32))
    assert inside.tolist() == [1.5, 2.5, 0.0, 3.5, 4.5, 5.5]
    with pytest.raises(module.Damaged, match="list of values"):
        module._from_book(book, 2, np.array([number]), np.dtype(np.float32))


_SMALL = golden.whole_numbers(240, 5, every=3)
_BYTES = {
    "grid": ((_SMALL * np.float32(0.0123)).astype(np.float32), "a44c017a7994"),
    "book": (np.array([0, 0.31, -2.72, 3.14, 0.577], np.float32)[np.abs(_SMALL) % 5], "9df200039a7a"),
    "book without zero": (np.array([0.31, -2.72, 3.14], np.float32)[np.abs(_SMALL) % 3], "3aed9a31e3b7"),
    "one value": (np.full(240, 0.3, np.float32), "ea91072044b9"),
    "floats": ((golden.whole_numbers(240, 10**6) / 7).astype(np.float32), "e81b2574a8fc"),
    "pruned floats": ((_SMALL * golden.whole_numbers(240, 10**6) / 7).astype(np.float32), "8b195ea5a18d"),
    "float16": ((_SMALL / 7).astype(np.float16), "9e37ac92ecc5"),
    "whole numbers": (golden.whole_numbers(240, 500), "9467eb63584d"),
    "dead units": ((_SMALL.reshape(8, 30) * (np.arange(30) % 4 > 0)).reshape(-1).astype(np.float32), "189fba80707d"),
}


@pytest.mark.parametrize("values, digest", _BYTES.values(), ids=_BYTES)
def test_the_bytes_of_version_1_stay(values, digest):
    found = b""
    for layout in (Layout((), 240, 1), Layout((), 8, 30), Layout((3, 4), 5, 4)):
        writer = Writer()
        coded = Arrays(writer)
        for part in (values, values[::-1]):  # the second one may say that its step is that of the first
            coded.code(layout, values.dtype, np.arange(layout.channels) % 3, part.reshape(layout.sizes))
        found += writer.content() + writer.raw_content()
    assert golden.digest(found) == digest


def test_a_step_that_did_not_come_before_is_damage():
    writer = Writer()
    made = Fields(writer)
    made.number("again", 1, 1, "steps")
    made.count("which", 2, "steps")
    with pytest.raises(module.Damaged, match="did not come before"):
        Arrays(Reader(writer.content()))._step(None)
