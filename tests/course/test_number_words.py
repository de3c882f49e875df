"""Numbers are read as they are said, and a sentence whose number its bound does not check is noticed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.course.number_words import numbers
from tests.course.style_rules import not_as_said


@pytest.mark.parametrize(
    "sentence, values",
    [
        ("less than 30 % of the bytes", [30]),
        ("at least 99.5 % stay", [99.5]),
        ("more than one and a half", [1.5]),
        ("two and a half times", [2.5]),
        ("two and three quarters", [2.75]),
        ("a quarter", [0.25]),
        ("two thirds", [2 / 3]),
        ("half as much", [0.5]),
        ("twice as long", [2]),
        ("three of four", [0.75]),
        ("more than one in ten pairs", [0.1]),
        ("5 pictures of 10,000", [0.0005]),
        ("to one part in a hundred", [0.01]),
        ("a hundred times", [100]),
        ("a million answers", [1e6]),
        ("two million", [2e6]),
        ("twenty points", [20]),
        ("a thousandth", [0.001]),
        ("−6 dB", [-6]),
        ("26,032 bytes", [26032]),
        ("within one point", [1]),
        ("the one that chose", []),
        ("a picture in a batch", []),
        ("LeNet-5 in int8, by 0.8.1 and the 99.9th percentile", []),
        ("anyone, someone, often, tent, wone", []),
    ],
)
def test_numbers_of_a_sentence(sentence, values):
    assert [number.value for number in numbers(sentence)] == pytest.approx(values)


@given(st.integers(2, 10**9), st.sampled_from(["{}", "{:,}"]))
def test_digits_are_read(value, form):
    assert [n.value for n in numbers(f"more than {form.format(value)} of them")] == [value]


@pytest.mark.parametrize(
    "sentence, bound",
    [
        ("it needs less than 30 % of the bytes", {"below": 0.3}),
        ("it needs less than 30 % of the bytes", {"below": 30}),
        ("it loses at most a quarter", {"high": 0.25}),
        ("little more than a quarter is left", {"low": 0.25, "high": 0.27}),
        ("it takes more than twice as long", {"above": 2}),
        ("it is more than four times as fast", {"below": 0.25}),
        ("at least 97 % of the answers stay", {"low": 0.97}),
        ("at least 97 % of the answers stay", {"below": 0.03}),
        ("it is more than one and a half times as wide", {"above": 1.5}),
        ("no mode loses more than one point", {"below": 0.01}),
        ("with 8 bits, int8 is within one point of float32", {"low": -1, "high": 1}),
        ("each bit buys about 6 dB", {"low": 5.8, "high": 6.3}),
        ("no logit differs by more than a thousandth", {"below": 0.001}),
        ("the bytes are as recorded, to one part in a hundred", {"low": 0.99, "high": 1.01}),
        ("two of the five layers are refused", {"equals": 2}),
        ("LeNet-5 has 431,080 parameters", {"equals": 431080}),
        ("they differ in no output of 10,000 pictures", {"equals": 0}),
        ("three seeds of five networks agree", {"above": 0}),
        ("XNNPACK is faster than the built-in kernels", {"below": 0.9}),
        ("rounding to 8 bits costs less than half a point", {"low": -0.5, "high": 0.5}),
        ("the interpreter is the same", {"equals": True}),
        ("a process holds between 0.7 and 1.5 copies more", {"low": 0.7, "high": 1.5}),
        ("it agrees within 5 pictures of 10,000", {"low": 0, "high": 5}),
    ],
)
def test_sentences_that_say_what_is_checked(sentence, bound):
    assert not_as_said(sentence, bound) == []


@pytest.mark.parametrize(
    "sentence, bound",
    [
        ("it reaches more than one and a half times as far", {"above": 0.5}),
        ("it needs less than 30 % of the bytes", {"below": 0.4}),
        ("it needs less than 30 % of the bytes", {"above": 0.3}),  # the other way round
        ("it takes more than twice as long", {"above": 1}),
        ("it takes more than twice as long", {"below": 2}),
        ("it needs less than a third", {"below": 0.34}),
        ("no mode loses more than one point", {"below": 0.02}),
        ("the files agree, to two points", {"below": 0.05}),
        ("each bit buys about three decibels", {"low": 5.8, "high": 6.3}),
        ("a quarter of the bytes is left", {"below": 0.5}),
        ("each bit buys about 6 dB", {"low": 2.9, "high": 9.4}),  # that is anything
        ("the bytes are as recorded, to one part in a hundred", {"low": 0.5, "high": 1.5}),
        ("int8 needs half of the bytes", {"low": 0.25, "high": 0.28}),
        ("three of the five layers are refused", {"equals": 2}),
        ("so many bytes of the file differ", {"equals": 7}),
        ("the smallest int8 kernel has", {"equals": 1152}),
    ],
)
def test_sentences_that_say_something_else(sentence, bound):
    assert len(not_as_said(sentence, bound)) == 1
