"""What counts as near, far and hopeless, whatever the unit of the outputs."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.measure import agreement
from utils.measure.agreement import Agreement


def outputs(count: int = 50, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3))


@given(exponent=st.integers(-40, 40), shift=st.sampled_from([0, 1, -64]), seed=st.integers(0, 5))
def test_unit_and_offset_do_not_matter(exponent, shift, seed):
    a = outputs(seed=seed)
    b = a + 0.01 * outputs(seed=seed + 1)
    want = agreement.compare(a, b)[""]
    unit = 2.0**exponent
    found = agreement.compare(unit * (a + shift), unit * (b + shift))[""]
    assert found.share == pytest.approx(want.share, rel=1e-9)
    assert found.lost == pytest.approx(want.lost, rel=1e-9)


def test_the_figures_by_hand():
    found = agreement.compare(np.array([[0.0, 5], [4, 5]]), np.array([[1.0, 5], [4, 5]]))[""]
    assert found == Agreement(share=1 / 4, lost=(1 / 4) / (8 / 4))


@pytest.mark.parametrize("constant", [0.0, 0.3])
def test_a_file_that_ignores_its_input_is_hopeless_even_if_it_knows_the_means(constant):
    a = outputs() + np.array([1000, 0, -1000])  # what differs between the classes is not what depends on the input
    b = np.broadcast_to(a.mean(axis=0) + constant, a.shape)
    assert agreement.compare(a, b)[""].verdict == "hopeless"


def test_one_example_that_changes_sides_is_far_and_not_hopeless():
    a = np.eye(10)[np.arange(100) % 10]
    b = a.copy()
    b[7] = b[8]
    found = agreement.compare(a, b)[""]
    assert (found.share, found.verdict) == (1, "far")


@pytest.mark.parametrize(
    ("off", "verdict"), [(0.099, "near"), (0.101, "far"), (0.4, "far"), (0.6, "hopeless"), (np.nan, "hopeless")]
)
def test_the_limits(off, verdict):
    a = np.tile([[0.0], [1.0]], (10, 1))
    b = a + off * (1 if off < 0.2 else np.sqrt(0.25 / off))  # lost is (off · factor)² / 0.25, so off itself
    assert agreement.compare(a, b)[""].verdict == verdict


def test_a_limit_itself_is_still_on_the_good_side():
    assert Agreement(share=agreement.NEAR, lost=0).verdict == "near"
    assert Agreement(share=1, lost=agreement.LOST).verdict == "far"


def test_eight_bits_are_near():
    a = outputs(500)
    step = np.ptp(a) / 255
    found = agreement.compare(a, np.round(a / step) * step)[""]
    assert found.verdict == "near"
    assert found.share < 1.5 / 510


@pytest.mark.parametrize(
    ("a", "b", "share"),
    [
        ([[2.0, 2.0]], [[2.0, 1.0]], 0.5),  # nothing varies at all: against the value
        ([[1.0, 3.0]], [[1.0, 2.5]], 0.25),  # one example: against the range of its numbers
        ([[0.0]], [[0.0]], 0),
        ([[0.0]], [[1e-9]], np.inf),
        ([1, 2, 3, 4], [1, 2, 3, 0], 0.25),  # classes: a quarter differs
        ([0, 100, 200], [1, 99, 201], 1 / 200),  # counts: all differ, by little
        ([[0.0], [1.0]], [[0.0], [np.inf]], np.inf),
    ],
)
def test_outputs_that_do_not_vary_whole_numbers_and_infinities(a, b, share):
    assert agreement.compare(np.array(a), np.array(b))[""].share == share


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"\['a'\] and \['b'\]"):
        agreement.compare({"a": outputs()}, {"b": outputs()})
    with pytest.raises(ValueError, match=r"output 'a' have the shapes \(50, 3\) and \(49, 3\)"):
        agreement.compare({"a": outputs()}, {"a": outputs(49)})
    with pytest.raises(ValueError, match="not all finite"):
        agreement.compare(np.array([[np.nan]]), np.array([[1.0]]))


@given(step=st.floats(0, 2), seed=st.integers(0, 5))
def test_a_step_of_the_grid_is_not_counted(step, seed):
    a = outputs(seed=seed)
    moved = a + 0.5 * np.sign(outputs(seed=seed + 1))
    plain, found = agreement.compare(a, moved)[""], agreement.compare(a, moved, {"": step})[""]
    left = max(0.5 - step, 0) / 0.5
    assert found.share == pytest.approx(plain.share * left)
    assert found.lost == pytest.approx(plain.lost * left**2)


def test_the_worst_output_decides():
    near, far, hopeless = Agreement(0.01, 0), Agreement(0.3, 0.1), Agreement(0.2, 0.9)
    assert agreement.complaint({}, "the file", "do better") is None
    assert agreement.complaint({"": near}, "the file", "do better") is None
    said = agreement.complaint({"a": near, "b": far}, "the file", "do better")
    assert re.search(r"the file is off by up to 0\.3 .* 10% .* output 'b', .*: do better", said)
    with pytest.raises(KeyError, match=r"0\.2 .*output 'c'"):
        agreement.complaint({"b": far, "c": hopeless}, "the file", "do better", KeyError)


@pytest.mark.parametrize("count", [1, 2, 5, 100, 101, 1000])
def test_examples_are_taken_from_the_whole_length(count):
    taken = agreement.evenly_chosen({"a": np.arange(count)})["a"]
    assert len(set(taken)) == len(taken) == min(count, 100)
    assert {taken[0], taken[-1]} == {0, count - 1}


@pytest.mark.parametrize("most", [1, 3, 7, 99])
def test_no_more_examples_are_taken_than_asked_for(most):
    assert len(agreement.evenly_chosen(np.arange(50), most)) == min(50, most)
    assert len(agreement.evenly_chosen({"a": np.arange(50)}, most)["a"]) == min(50, most)
    assert agreement.evenly_chosen(np.arange(9), 3).tolist() == [0, 4, 8]


def test_a_hopeless_output_is_only_told_where_nothing_shall_be_raised():
    hopeless = {"c": Agreement(0.2, 7.0)}
    said = agreement.complaint(hopeless, "the file", "do better", None)
    assert said.startswith("the file is off by up to 0.2 of the range") and "100% of their variance" in said
    with pytest.raises(ValueError, match="output 'c', on the calibration data: do better"):
        agreement.complaint(hopeless, "the file", "do better")
    assert "in its output" not in agreement.complaint({"": hopeless["c"]}, "the file", "do better", None)


def test_steps_belong_to_their_outputs():
    a = {"a": outputs(), "b": outputs()}
    moved = {name: values + 0.5 for name, values in a.items()}
    found = agreement.compare(a, moved, {"b": 1.0})
    assert found["b"] == Agreement(0, 0) and found["a"].share > 0


@pytest.mark.parametrize("values", [np.zeros((0, 3)), np.zeros((3, 0))])
def test_no_values_cannot_be_compared(values):
    with pytest.raises(ValueError, match="the values have the shapes"):
        agreement.compare(values, values)


def test_names_are_told_in_order():
    with pytest.raises(ValueError, match=r"\['a', 'b'\] and \['c', 'd'\]"):
        agreement.compare({"b": 1, "a": 1}, {"d": 1, "c": 1})


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, bool])
def test_of_whole_numbers_no_more_is_lost_than_differs(dtype):
    a, b = np.array([0, 1, 1, 1], dtype), np.array([1, 1, 1, 1], dtype)
    assert agreement.compare(a, b)[""] == Agreement(0.25, 0.25)
    assert agreement.compare(a.astype(float), b.astype(float))[""].share == 1
