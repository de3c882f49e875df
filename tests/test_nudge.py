"""Moved last places: by one, only floats, never out of range, the same again; and loaded data and weights are moved."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from utils import ROOT, nudge


@given(arrays(st.sampled_from([np.float16, np.float32, np.float64]), array_shapes()), st.integers(1, 5))
def test_each_number_moves_by_one_place_within_the_range(array, draw):
    moved = nudge.nudged(array, draw)
    assert moved.dtype == array.dtype and moved.shape == array.shape
    assert np.array_equal(moved, nudge.nudged(array.copy(), draw), equal_nan=True)
    with np.errstate(over="ignore"):
        below, above = (np.nextafter(array, array.dtype.type(end)) for end in (-np.inf, np.inf))
    assert np.all((moved == below) | (moved == array) | (moved == above) | np.isnan(array))
    stays = (array == 0) | ~np.isfinite(array)
    assert np.array_equal(moved[stays], array[stays], equal_nan=True)
    if np.isfinite(array).all():
        assert moved.min() >= array.min() and moved.max() <= array.max()


def test_most_numbers_move_both_ways_and_draws_differ():
    array = np.random.default_rng(0).random(1000, np.float32)
    one, two = nudge.nudged(array, 1), nudge.nudged(array, 2)
    assert np.sum(one > array) > 400 and np.sum(one < array) > 400
    assert not np.array_equal(one, two)


def test_by_default_nothing_moves_and_whole_numbers_never_do(monkeypatch):
    array = np.ones(3, np.float32)
    assert nudge.nudged(array) is array
    whole = np.arange(4)
    assert nudge.nudged(whole, 3) is whole
    monkeypatch.setattr(nudge, "NUDGE", 1)
    pictures = np.linspace(0, 1, 9, dtype=np.float32)
    assert np.array_equal(nudge.nudged(pictures), nudge.nudged(pictures, 1))


def test_data_is_moved_where_it_is_loaded():
    code = "from utils import data; d = data.load('digits'); print(d.fingerprint, float(d.x_test.max()))"
    said = {
        draw: subprocess.check_output(
            [sys.executable, "-c", code], cwd=ROOT, text=True, env=os.environ | {"COURSE_NUDGE": draw}
        ).split()
        for draw in "012"
    }
    assert len({fingerprint for fingerprint, _ in said.values()}) == 3
    assert {largest for _, largest in said.values()} == {"1.0"}


def test_weights_that_ship_are_moved(monkeypatch):
    from utils import training

    plain = training.trained("mlp").get_weights()
    monkeypatch.setattr(nudge, "NUDGE", 3)
    moved = training.trained("mlp").get_weights()
    for a, b in zip(plain, moved, strict=True):
        assert np.array_equal(b, nudge.nudged(a, 3)) and not np.array_equal(a, b)
        assert np.abs(a - b).max() <= np.spacing(np.abs(a).max())


def test_a_draw_that_is_no_number_is_refused():
    done = subprocess.run(
        [sys.executable, "-c", "import utils"], cwd=ROOT, text=True, capture_output=True,
        env=os.environ | {"COURSE_NUDGE": "up"},
    )  # fmt: skip
    assert done.returncode and "COURSE_NUDGE is 'up'; pass a whole number, such as 0" in done.stderr
