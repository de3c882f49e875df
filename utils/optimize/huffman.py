"""Huffman's code, written out: the shortest code that gives each symbol a whole number of bits.

    code = canonical(code_lengths(counts))
    content, count = encode(symbols, code), len(symbols)
    decode(content, count, code)

Huffman 1952, "A method for the construction of minimum-redundancy codes".  Deep Compression (Han et al. 2016) ends
with it.  A code needs at most one bit a symbol more than the entropy, and where one symbol is very frequent it needs
nearly that bit: a range coder does not.
"""

from __future__ import annotations

import heapq
import itertools
import numbers
from collections.abc import Hashable, Mapping, Sequence

__all__ = ["canonical", "code_lengths", "decode", "encode"]


def code_lengths(counts: Mapping[int, int]) -> dict[int, int]:
    """How many bits each symbol gets.  counts: {symbol: how often it occurs}, at least once.

    The two rarest become one, until one is left; each time, the symbols in them get one bit more.  A single symbol gets
    one bit.

    Raises ValueError: no symbols, or one that does not occur.
    """
    if not isinstance(counts, Mapping) or not counts or not all(map(_is_count, counts.values())):
        raise ValueError(
            f"counts is {counts!r:.80}; pass {{symbol: how often it occurs}}, at least one, each at least once: "
            "collections.Counter(symbols)"
        )
    lengths = dict.fromkeys(counts, 0 if len(counts) > 1 else 1)
    order = _order(counts)
    heap = [(count, order[symbol], [symbol]) for symbol, count in counts.items()]
    heapq.heapify(heap)
    while len(heap) > 1:
        first, second = heapq.heappop(heap), heapq.heappop(heap)
        together = first[2] + second[2]
        for symbol in together:
            lengths[symbol] += 1
        heapq.heappush(heap, (first[0] + second[0], first[1], together))
    return lengths


def canonical(lengths: Mapping[int, int]) -> dict[int, str]:
    """{symbol: its bits, as text}: counted upwards, shortest first: the lengths are all a reader has to know.

    Raises ValueError: no lengths, or more short ones than a code can have (Kraft: the sum of 2^-length is at most 1).
    """
    if not isinstance(lengths, Mapping) or not lengths or not all(map(_is_count, lengths.values())):
        raise ValueError(f"lengths is {lengths!r:.80}; pass {{symbol: its bits, 1 or more}}, as code_lengths makes it")
    longest = max(map(int, lengths.values()))
    if sum(1 << longest - int(length) for length in lengths.values()) > 1 << longest:
        raise ValueError(f"no code has the lengths {sorted(lengths.values())!r:.80}: the sum of 2^-length is above 1")
    code, value, before, order = {}, 0, 0, _order(lengths)
    for symbol, length in sorted(lengths.items(), key=lambda item: (item[1], order[item[0]])):
        value <<= length - before
        code[symbol] = format(value, f"0{length}b")
        value, before = value + 1, length
    return code


def encode(symbols: Sequence[int], code: Mapping[int, str]) -> bytes:
    """The bits of all symbols, filled up with zeros to whole bytes.

    Raises ValueError: a symbol that has no code, symbols that are no list of them, or bits that are no code.
    """
    _check_code(code)
    symbols = _in_a_row(symbols)
    strange = list(set(symbols) - set(code))[:5]
    if strange:
        raise ValueError(f"the code has no bits for {strange}; make it from counts of all symbols")
    bits = "".join(code[symbol] for symbol in symbols)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))


def decode(content: bytes, count: int, code: Mapping[int, str]) -> list[int]:
    """The `count` symbols that were encoded.

    Raises ValueError: the bytes end before that, or have bits that are no symbol.
    """
    _check_code(code)
    if not _is_count(count) and count != 0:
        raise ValueError(f"count is {count!r}; pass how many symbols were encoded")
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise TypeError(f"content is a {type(content).__name__}; pass the bytes that encode returned")
    symbols = {bits: symbol for symbol, bits in code.items()}
    longest = max(map(len, symbols))
    found: list[int] = []
    bits = ""
    for bit in "".join(format(byte, "08b") for byte in content):
        if len(found) == count:
            break
        bits += bit
        if bits in symbols:
            found.append(symbols[bits])
            bits = ""
        elif len(bits) > longest:
            raise ValueError(f"the bits {bits} are no symbol of this code; decode with the code that encoded")
    if len(found) < count:
        raise ValueError(f"{len(content)} bytes have {len(found)} symbols, not {count}; pass all that encode returned")
    return found


def _is_count(value: object) -> bool:
    """A whole number of at least 1."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= 1


def _in_a_row(symbols: object) -> Sequence:
    """The symbols, if they are a list of them: what can be gone through once, or in any order, cannot be decoded."""
    if getattr(symbols, "ndim", 1) != 1:
        raise ValueError(f"symbols has the shape {symbols.shape}; pass one after the other: symbols.ravel()")
    if not isinstance(symbols, Sequence) and not hasattr(symbols, "ndim"):
        raise ValueError(f"symbols is a {type(symbols).__name__}; pass one after the other: list(symbols)")
    inner = next((symbol for symbol in symbols if not isinstance(symbol, Hashable)), None)
    if inner is not None:
        raise ValueError(f"symbols has {inner!r:.80}, a {type(inner).__name__}, in it; pass one symbol after the other")
    return symbols


def _order(symbols: Mapping) -> dict:
    """Which symbol stands before which: numbers by size; others, which need not be comparable, by what they print."""
    try:
        ranked = sorted(symbols)
    except TypeError:
        ranked = sorted(symbols, key=lambda symbol: (type(symbol).__name__, repr(symbol)))
    return {symbol: place for place, symbol in enumerate(ranked)}


def _check_code(code: object) -> None:
    """Raise unless each symbol has bits, and none begins with another one's: a reader could not tell them apart."""
    if not isinstance(code, Mapping) or not code:
        raise ValueError(f"code is {code!r:.80}; pass {{symbol: bits}}, as canonical makes it")
    if any(not isinstance(word, str) or not word or word.strip("01") for word in code.values()):
        raise ValueError(f"code is {code!r:.80}; bits are text of 0 and 1, at least one")
    words = sorted(code.values())
    clash = next(((a, b) for a, b in itertools.pairwise(words) if b.startswith(a)), None)
    if clash:
        raise ValueError(f"the bits {clash[1]} begin with {clash[0]}, which is a symbol too; pass what canonical makes")
