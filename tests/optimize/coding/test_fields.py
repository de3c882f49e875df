"""Numbers and texts of the file's beginning."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.optimize.coding import golden
from utils.optimize.coding import fields
from utils.optimize.coding.fields import Fields
from utils.optimize.coding.range_coder import Damaged, Reader, Writer


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 31), st.integers(0, 2**31 - 1)), max_size=20))
def test_numbers_come_back(entries):
    writer = Writer()
    written = Fields(writer)
    for name, small, large in entries:
        written.number(name, 5, small, "")
        written.digits(31, large, "")
        written.count(name + "c", large, "")
    read = Fields(Reader(writer.content()))
    for name, small, large in entries:
        assert read.number(name, 5, None, "") == small
        assert read.digits(31, None, "") == large == read.count(name + "c", None, "")


def test_a_number_that_repeats_costs_less_each_time():
    writer = Writer()
    for _ in range(100):
        Fields(writer).number("kind", 8, 77, "")
    alone = len(writer.content())
    writer = Writer()
    one = Fields(writer)
    for _ in range(100):
        one.number("kind", 8, 77, "")
    assert len(writer.content()) < alone / 5


@settings(max_examples=25)
@given(st.text(alphabet=st.characters(min_codepoint=32, blacklist_categories=["Cs"]), max_size=60))
def test_texts_come_back(text):
    writer = Writer()
    Fields(writer).text(text, "")
    assert Fields(Reader(writer.content())).text(None, "") == text


@pytest.mark.parametrize("example", fields.EXAMPLES)
def test_texts_like_the_examples_take_few_bytes(example):
    writer = Writer()
    Fields(writer).text(example, "")
    assert len(writer.content()) < 4 + len(example) / 40
    changed = example.replace("300", "123").replace("32", "48").replace("relu", "elu")
    writer = Writer()
    Fields(writer).text(changed, "")
    assert len(writer.content()) < 12 + len(example) / 15


def test_noise_is_no_endless_text():
    noise = np.random.default_rng(0).bytes(4000)
    with pytest.raises(Damaged):
        for start in range(0, 4000, 100):
            Fields(Reader(noise[start : start + 100])).text(None, "")


def test_the_bytes_of_version_1_stay():
    writer = Writer()
    made = Fields(writer)
    made.text('["Sequential",{},[[5,5,1]],[["Conv2D",{"filters":7}],["Dense",{"units":3,"activation":"gelu"}]]]', "")
    made.text("Größe / ein Name", "")
    for value in (0, 1, 2, 3, 77, 2**31 - 1, 77):
        made.count("count", value, "")
        made.number("number", 5, value % 32, "")
    assert golden.digest(writer.content()) == "700ed4fbd1dd"


@pytest.mark.parametrize("extra", [0, 1])
def test_a_text_may_be_as_long_as_the_longest_and_no_longer(extra, monkeypatch):
    monkeypatch.setattr(fields, "_LONGEST_TEXT", 40)
    writer = Writer()
    with pytest.raises(Damaged, match="longer than 40 characters") if extra else contextlib.nullcontext():
        Fields(writer).text("a" * (40 + extra), "")


@pytest.mark.parametrize("text", ["a" * 100, ""])
def test_a_text_that_is_cut_off_is_no_endless_one(text):
    """Behind the end of the bytes a reader finds zeros for ever: a million characters, and gigabytes of contexts."""
    writer = Writer()
    Fields(writer).text(text, "")
    with pytest.raises(Damaged, match="its structure is no text" if not text else "no text|coded part is damaged"):
        Fields(Reader(writer.content()[: len(text) // 30])).text(None, "")
