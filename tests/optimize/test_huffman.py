"""Huffman's code: prefix-free, within one bit a symbol of the entropy, and the bytes come back."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.optimize import huffman
from utils.optimize.coding.byte_coders import entropy

_SYMBOLS = st.lists(st.integers(-6, 6), min_size=1, max_size=200)


@given(_SYMBOLS)
def test_symbols_come_back_within_a_bit_of_the_entropy(symbols):
    code = huffman.canonical(huffman.code_lengths(Counter(symbols)))
    content = huffman.encode(symbols, code)
    assert huffman.decode(content, len(symbols), code) == symbols
    bits = sum(len(code[symbol]) for symbol in symbols)
    assert entropy(np.array(symbols)) * len(symbols) - 1e-6 <= bits
    assert bits <= (entropy(np.array(symbols)) + 1) * len(symbols) + 1e-6
    assert len(content) == -(-bits // 8)


@given(_SYMBOLS)
def test_no_code_begins_with_another(symbols):
    codes = sorted(huffman.canonical(huffman.code_lengths(Counter(symbols))).values())
    assert not any(later.startswith(first) for first, later in pairwise(codes))


def test_a_code_by_hand():
    lengths = huffman.code_lengths({0: 8, 1: 4, 2: 2, 3: 2})
    assert lengths == {0: 1, 1: 2, 2: 3, 3: 3}
    assert huffman.canonical(lengths) == {0: "0", 1: "10", 2: "110", 3: "111"}
    assert huffman.encode([0, 1, 2, 3], huffman.canonical(lengths)) == bytes([0b01011011, 0b10000000])


def test_of_equal_lengths_the_smaller_symbol_comes_first():
    assert huffman.canonical({5: 2, 3: 2, 9: 1}) == {9: "0", 3: "10", 5: "11"}
    assert huffman.canonical({10: 3, 9: 3}) == {9: "000", 10: "001"}  # numbers by size, not by what they print
    assert huffman.canonical({7: 1}) == {7: "0"}


def test_of_equal_counts_the_smaller_symbols_are_joined_first():
    for counts in ({1: 1, 2: 1, 3: 1}, {3: 1, 2: 1, 1: 1}):
        assert huffman.code_lengths(counts) == {1: 2, 2: 2, 3: 1}
    assert huffman.code_lengths({7: 5}) == {7: 1}


def test_no_symbols_are_no_bytes_and_reading_ends_at_the_count():
    code = {1: "0", 2: "10", 3: "11"}
    assert huffman.encode([], code) == b"" and huffman.decode(b"", 0, code) == []
    content = huffman.encode([3, 1, 2], code)
    assert content == bytes([0b11010000]) and huffman.decode(memoryview(content), 2, code) == [3, 1]
    assert huffman.decode(bytearray(content), 6, code) == [3, 1, 2, 1, 1, 1]


def test_wrong_arguments_say_what_to_pass():
    with pytest.raises(ValueError, match="at least one"):
        huffman.code_lengths({})
    with pytest.raises(ValueError, match="at least one"):
        huffman.code_lengths({1: 0})
    with pytest.raises(ValueError, match="no bits for"):
        huffman.encode([5], {1: "0"})
    with pytest.raises(ValueError, match="pass all"):
        huffman.decode(b"", 3, {1: "0", 2: "1"})
    with pytest.raises(ValueError, match="no symbol"):
        huffman.decode(b"\xff", 3, {1: "0", 2: "10"})
    with pytest.raises(TypeError, match="content is a str"):
        huffman.decode("abc", 3, {1: "0", 2: "1"})
    with pytest.raises(ValueError, match="one after the other"):
        huffman.encode(np.ones((1, 2), int), {1: "0"})


@pytest.mark.parametrize(
    "symbols, sentence",
    [
        (iter([0, 1]), r"a list_iterator; pass .*list\(symbols\)"),
        ((symbol for symbol in [0, 1]), r"a generator; pass .*list\(symbols\)"),
        ({0, 1}, r"a set; pass"),
        ({0: 1}, r"a dict; pass"),
        (5, "an? int; pass"),
        ([[0, 1], [1]], r"has \[0, 1\], a list, in it"),
    ],
)
def test_what_is_no_list_of_symbols_is_refused_and_not_coded_as_nothing(symbols, sentence):
    with pytest.raises(ValueError, match=sentence):
        huffman.encode(symbols, {0: "0", 1: "1"})


@pytest.mark.parametrize(
    "symbols", ["hello", b"hello", (3, 1, 3), range(5), np.array([2, 1, 2], np.int8), [(1, 2), "a"]]
)
def test_any_list_of_symbols_comes_back(symbols):
    code = huffman.canonical(huffman.code_lengths(Counter(symbols)))
    assert huffman.decode(huffman.encode(symbols, code), len(symbols), code) == list(symbols)


@pytest.mark.parametrize("counts", [{0: 0.5, 1: 0.5}, {0: True}, {"a": "2"}, [1, 2], np.array([1, 2])])
def test_shares_and_lists_are_no_counts(counts):
    with pytest.raises(ValueError, match="how often it occurs"):
        huffman.code_lengths(counts)


def test_symbols_need_not_be_comparable():
    assert huffman.code_lengths({"a": 2, 1: 2, None: 4}) == {"a": 2, 1: 2, None: 1}
    assert set(huffman.canonical({"a": 1, 1: 2, None: 2}).values()) == {"0", "10", "11"}


@pytest.mark.parametrize("lengths", [{0: 1, 1: 1, 2: 1}, {0: 1, 1: 2, 2: 2, 3: 9}])
def test_lengths_that_no_code_has_are_refused(lengths):
    with pytest.raises(ValueError, match="no code has the lengths"):
        huffman.canonical(lengths)


@pytest.mark.parametrize("lengths", [{}, {0: 0}, {0: -1}, {0: 1.5}, [1, 1]])
def test_what_is_no_length_is_refused(lengths):
    with pytest.raises(ValueError, match="as code_lengths makes it"):
        huffman.canonical(lengths)


@pytest.mark.parametrize(
    "code, sentence",
    [
        ({0: "0", 1: "01"}, "bits 01 begin with 0"),
        ({0: "0", 1: "0"}, "bits 0 begin with 0"),
        ({}, "as canonical makes it"),
        ({0: "", 1: "1"}, "text of 0 and 1"),
        ({0: "x"}, "text of 0 and 1"),
        ({0: 0, 1: 1}, "text of 0 and 1"),
    ],
)
def test_bits_that_are_no_code_are_refused_on_both_sides(code, sentence):
    with pytest.raises(ValueError, match=sentence):
        huffman.decode(b"\x55", 3, code)
    with pytest.raises(ValueError, match=sentence):
        huffman.encode([0, 1], code)


@pytest.mark.parametrize("count", [-1, 2.5, True, "3"])
def test_what_is_no_count_is_refused(count):
    with pytest.raises(ValueError, match="how many symbols"):
        huffman.decode(b"\x55", count, {0: "0", 1: "1"})
