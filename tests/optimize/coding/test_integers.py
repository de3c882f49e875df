"""Arrays of whole numbers come back, for few bits where they are sparse, else near the entropy."""

from __future__ import annotations

import bz2
import lzma
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.optimize.coding import golden
from utils.optimize.coding import integers
from utils.optimize.coding.integers import ORDERS, Layout
from utils.optimize.coding.range_coder import Estimate, Reader, Writer

_LAYOUTS = [
    Layout((), 1, 1),
    Layout((), 30, 7),
    Layout((), 1, 40),
    Layout((9,), 3, 4),
    Layout((6, 5), 3, 4),
    Layout((3, 3, 2), 2, 3),
    Layout((1, 1), 5, 6),
]


def _sparse(layout: Layout, density: float, largest: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.integers(1, largest + 1, layout.count) * rng.choice([-1, 1], layout.count)
    return np.where(rng.random(layout.count) < density, values, 0)


def _round_trip(layout: Layout, values: np.ndarray, producer: np.ndarray) -> bytes:
    writer = Writer()
    integers.code_positions(writer, layout, producer, values != 0)
    integers.code_values(writer, layout, values != 0, values)
    content = writer.content()
    reader = Reader(content)
    present = integers.code_positions(reader, layout, producer, None)
    assert (integers.code_values(reader, layout, present, None) == values).all()
    return content


@pytest.mark.parametrize("order", range(len(ORDERS)))
@pytest.mark.parametrize("layout", _LAYOUTS, ids=str)
def test_numbers_come_back_in_every_order(layout, order):
    layout = Layout(layout.space, layout.channels, layout.units, order)
    values = _sparse(layout, 0.3, 9)
    assert (layout.natural(layout.ordered(values)).reshape(-1) == values).all()
    _round_trip(layout, layout.ordered(values), np.arange(layout.channels) % 3)


@settings(max_examples=30)
@given(st.lists(st.integers(1 - 2**31, 2**31 - 1), min_size=1, max_size=60), st.integers(1, 4))
def test_numbers_of_any_size_come_back(numbers, units):
    layout = Layout((), -(-len(numbers) // units), units)
    _round_trip(layout, np.resize(np.array(numbers), layout.count), np.zeros(layout.channels, int))


def test_neighbours_are_those_in_space_and_never_a_cell_to_come():
    layout = Layout((4, 5), 2, 3, order=1)
    near = layout.near(layout.before[:, np.arange(20)], np.array(1), np.array(2))
    inside = near[near < layout.count].reshape(-1)
    assert {int(place) for place in layout.places(inside)[1]} == {1} and {int(u) for u in layout.places(inside)[2]} == {
        2
    }
    here = layout.near(np.arange(20), np.array(1), np.array(2))
    assert ((near < here) | (near == layout.count)).all()
    assert sorted(layout.around[:, 0][layout.around[:, 0] >= 0]) == [1, 2, 5, 6, 7, 10, 11, 12]


@pytest.mark.parametrize("density", [0.01, 0.1, 0.5])
def test_independent_cells_cost_their_entropy_and_hardly_more(density):
    layout = Layout((), 200, 150)
    present = np.random.default_rng(3).random(layout.count) < density
    estimate = Estimate()
    integers.code_positions(estimate, layout, np.zeros(200, int), present)
    seen = present.mean()
    entropy = -layout.count * (seen * np.log2(seen) + (1 - seen) * np.log2(1 - seen))
    assert estimate.bits < 1.02 * entropy


def test_bytes_are_those_of_the_bits_under_the_models_own_probabilities():
    layout = Layout((5, 5), 8, 30)
    values = layout.ordered(_sparse(layout, 0.1, 6))
    estimate = Estimate()
    integers.code_positions(estimate, layout, np.zeros(8, int), values != 0)
    integers.code_values(estimate, layout, values != 0, values)
    assert len(_round_trip(layout, values, np.zeros(8, int))) <= 1.001 * estimate.bits / 8 + 1


@pytest.mark.parametrize("packed", [zlib.compress, bz2.compress, lzma.compress])
def test_rows_and_columns_of_different_density_beat_general_coders(packed):
    rng = np.random.default_rng(4)
    share = np.minimum(np.outer(rng.gamma(0.4, 1, 120), rng.gamma(0.6, 1, 90)) * 0.05, 0.9)
    values = (rng.random(share.shape) < share) * rng.integers(-4, 5, share.shape)
    layout = Layout((), 120, 90)
    size = len(_round_trip(layout, layout.ordered(values), np.zeros(120, int)))
    assert size < 0.7 * len(packed(values.astype(np.int8).tobytes()))


def test_what_the_layer_before_says_of_channels_saves_bits():
    rng = np.random.default_rng(5)
    alive = rng.random(300) < 0.3
    values = ((rng.random((300, 20)) < 0.4) & alive[:, None]).astype(int)
    layout = Layout((), 300, 20)
    costs = []
    for producer in (np.zeros(300, int), alive.astype(int)):
        estimate = Estimate()
        integers.code_positions(estimate, layout, producer, layout.ordered(values) != 0)
        costs.append(estimate.bits)
    assert costs[1] < 0.95 * costs[0]


def test_counts_beside_an_input_are_those_of_its_channel():
    layout = Layout((3, 4), 2, 1)
    counts = np.arange(2 * layout.inputs).reshape(2, layout.inputs) + 1
    space, channel = np.repeat(np.arange(12), 2), np.tile(np.arange(2), 12)
    found = integers._beside_places(counts, layout, space, channel)
    by_place = counts.reshape(2, 3, 4, 2)  # an input is its place, then its channel
    for at, (place, of) in enumerate(zip(space, channel, strict=True)):
        row, column = divmod(int(place), 4)
        around = by_place[:, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2, of].sum((1, 2))
        assert (found[:, at] == around - by_place[:, row, column, of]).all()


_BYTES = dict(
    zip(
        _LAYOUTS,
        (
            "b58a070ba008",
            "43f2d28c3ddc",
            "e1f00deaab6e",
            "59877f28633f",
            "967ff3819090",
            "e00b020ee302",
            "fcc82caa7370",
        ),
        strict=True,
    )
)


@pytest.mark.parametrize("layout", _LAYOUTS, ids=str)
def test_the_bytes_of_version_1_stay(layout):
    found = b""
    for order in range(len(ORDERS)):
        own = Layout(layout.space, layout.channels, layout.units, order)
        values = golden.whole_numbers(own.count, 40, every=2)
        found += _round_trip(own, values, np.arange(own.channels) % 3)
    assert golden.digest(found) == _BYTES[layout]
