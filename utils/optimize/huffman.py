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
from collections.abc import Mapping, Sequence

__all__ = ["canonical", "code_lengths", "decode", "encode"]


def code_lengths(counts: Mapping[int, int]) -> dict[int, int]:
    """How many bits each symbol gets.  counts: {symbol: how often it occurs}, at least once.

    The two rarest become one, until one is left; each time, the symbols in them get one bit more.  A single symbol gets
    one bit.

    Raises:
        ValueError: no symbols, or one that does not occur.
    """
    if not counts or min(counts.values()) < 1:
        raise ValueError(
            f"counts is {dict(counts)!r:.80}; pass how often each symbol occurs, at least one, each at least once"
        )
    lengths = dict.fromkeys(counts, 0 if len(counts) > 1 else 1)
    heap = [(count, symbol, [symbol]) for symbol, count in counts.items()]
    heapq.heapify(heap)
    while len(heap) > 1:
        first, second = heapq.heappop(heap), heapq.heappop(heap)
        together = first[2] + second[2]
        for symbol in together:
            lengths[symbol] += 1
        heapq.heappush(heap, (first[0] + second[0], first[1], together))
    return lengths


def canonical(lengths: Mapping[int, int]) -> dict[int, str]:
    """{symbol: its bits, as text}: counted upwards, shortest first: the lengths are all a reader has to know."""
    code, value, before = {}, 0, 0
    for symbol, length in sorted(lengths.items(), key=lambda item: (item[1], item[0])):
        value <<= length - before
        code[symbol] = format(value, f"0{length}b")
        value, before = value + 1, length
    return code


def encode(symbols: Sequence[int], code: Mapping[int, str]) -> bytes:
    """The bits of all symbols, filled up with zeros to whole bytes.

    Raises:
        ValueError: a symbol that has no code.
    """
    strange = set(symbols) - set(code)
    if strange:
        raise ValueError(f"the code has no bits for {sorted(strange)[:5]}; make it from counts of all symbols")
    bits = "".join(code[symbol] for symbol in symbols)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))


def decode(content: bytes, count: int, code: Mapping[int, str]) -> list[int]:
    """The `count` symbols that were encoded.

    Raises:
        ValueError: the bytes end before that, or have bits that are no symbol.
    """
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
