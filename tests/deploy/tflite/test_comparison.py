"""Comparisons of outputs: against numpy, and what cannot be compared."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from utils.deploy.tflite.comparison import compare

SCORES = arrays(np.float32, (7, 4), elements=st.floats(-100, 100, width=32))


def test_figures_by_hand():
    a = np.array([[1.0, 2.0, 3.0], [6.0, 5.0, 4.0]], np.float32)
    b = np.array([[1.0, 2.5, 3.0], [6.0, 6.5, 4.0]], np.float32)
    found = compare(a, b, {"y": 0.5})
    assert (found.shape, found.largest, found.mean, found.steps) == ((2, 3), 1.5, 2 / 6, 3)
    assert found.agree == 0.5
    assert found.differ.tolist() == [1]
    assert not found.equal
    assert compare(a, a, {"y": None}).steps is None


@settings(max_examples=50)
@given(a=SCORES, b=SCORES)
def test_laws(a, b):
    one, other = compare(a, b, {}), compare(b, a, {})
    assert one.largest == other.largest >= one.mean >= 0
    assert one.agree == np.mean(a.argmax(1) == b.argmax(1))
    assert len(one.differ) == round((1 - one.agree) * len(a))
    assert one.equal == np.array_equal(a, b)
    assert compare(a, a, {}).equal


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_whole_numbers_are_compared_to_the_last_one(dtype):
    a = np.array([[2**53, 2**63 - 1]]).astype(dtype)
    found = compare(a, a + np.array([[1, 0]], dtype), {})
    assert not found.equal and (found.largest, found.mean) == (1, 0.5)
    assert compare(np.array([[True, False]]), np.array([[True, True]]), {}).largest == 1


def test_no_argmax_where_there_are_no_classes():
    for shape in ((5, 1), (5,), (5, 2, 3)):
        found = compare(np.zeros(shape), np.ones(shape), {})
        assert found.agree is None
        assert found.differ.size == 0


def test_equal_infinities_do_not_differ_and_nan_beside_a_number_does():
    a = np.array([[np.inf, np.nan, 1.0]])
    assert compare(a, a, {}).equal
    assert not compare(a, np.array([[np.inf, 0.0, 1.0]]), {}).equal


def test_several_outputs_go_by_name():
    found = compare({"p": np.zeros((2, 2)), "q": np.ones((2, 3))}, {"q": np.zeros((2, 3)), "p": np.zeros((2, 2))}, {})
    assert found["p"].equal
    assert found["q"].largest == 1
    with pytest.raises(ValueError, match=r"\['p'\] and \['q'\]; only outputs of the same names"):
        compare({"p": 1}, {"q": 1}, {})
    with pytest.raises(ValueError, match="a single array"):
        compare(np.zeros(3), {"q": 1}, {})


def test_shapes_must_be_equal():
    with pytest.raises(ValueError, match=r"shapes \(2, 3\) and \(2, 4\); only equal shapes"):
        compare(np.zeros((2, 3)), np.zeros((2, 4)), {})


def test_names_are_told_in_order():
    with pytest.raises(ValueError, match=r"\['a', 'b'\] and \['c', 'd'\]"):
        compare({"b": 1, "a": 1}, {"d": 1, "c": 1}, {})


def test_steps_are_those_of_each_outputs_own_scale_and_rounded():
    a, b = {"p": np.zeros((1, 2)), "q": np.zeros((1, 2))}, {"p": np.ones((1, 2)), "q": np.ones((1, 2))}
    found = compare(a, b, {"p": 0.3, "q": None})
    assert (found["p"].steps, found["q"].steps) == (3, None)
    assert compare(a["p"], b["p"], {}).steps is None


def test_whole_numbers_without_a_sign_do_not_wrap():
    assert compare(np.array([[3, 0]], np.uint8), np.array([[5, 0]], np.uint8), {}).largest == 2
