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
