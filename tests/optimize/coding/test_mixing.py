"""Mixing: contexts that tell something are trusted, those that do not cost next to nothing."""

from __future__ import annotations

import numpy as np
import pytest

from tests.optimize.coding import golden
from utils.optimize.coding.mixing import Evidence, Mixer
from utils.optimize.coding.range_coder import Estimate, Reader, Writer, cost

_SIZE = 6000


def _bits(shares: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Contexts, and bits that are 1 as often as the context says."""
    rng = np.random.default_rng(seed)
    contexts = rng.integers(0, len(shares), _SIZE)
    return contexts, (rng.random(_SIZE) < shares[contexts]).astype(np.int32)


def _spent(contexts: np.ndarray, bits: np.ndarray, piece: int = 10) -> float:
    estimate = Estimate()
    mixer = Mixer([Evidence("kind", 0.5, 4)], {"kind": int(contexts.max()) + 1})
    for start in range(0, len(bits), piece):
        part = slice(start, start + piece)
        mixer.code(estimate, {"kind": contexts[part]}, {}, bits[part], "")
    return estimate.bits


def _entropy(shares: np.ndarray) -> float:
    return float(-(shares * np.log2(shares) + (1 - shares) * np.log2(1 - shares)).mean()) * _SIZE


@pytest.mark.parametrize("share", [0.001, 0.02, 0.3, 0.5, 0.99])
def test_bits_that_depend_on_nothing_cost_their_entropy(share):
    contexts, bits = _bits(np.full(20, share))
    seen = bits.mean()
    assert _spent(contexts, bits) < (_entropy(np.array([seen])) if 0 < seen < 1 else 0) * 1.02 + 40


def test_a_context_that_tells_much_is_used():
    shares = np.array([0.01, 0.05, 0.5, 0.95])
    contexts, bits = _bits(shares)
    assert _spent(contexts, bits) < 1.03 * _entropy(shares) < 0.6 * _entropy(np.array([shares.mean()]))


@pytest.mark.parametrize("piece", [1, 7, 500, 6000])
def test_pieces_of_any_size_do_not_unsettle_it(piece):
    shares = np.array([0.002, 0.01, 0.05])
    contexts, bits = _bits(shares)
    assert _spent(contexts, bits, piece) < 1.4 * _entropy(shares) + piece  # nothing is known in the first


def test_a_reader_learns_what_the_writer_learned():
    contexts, bits = _bits(np.array([0.1, 0.9]))
    kinds, sizes = [Evidence("kind", 0.5, 4), Evidence("given", 0.1, 3)], {"kind": 2}
    given = {"given": np.stack([contexts[:40], contexts[:40] + 1])}
    writer, mixer = Writer(), Mixer(kinds, sizes)
    for _ in range(5):
        mixer.code(writer, {"kind": contexts[:40]}, given, bits[:40], "")
    reader, mixer = Reader(writer.content()), Mixer(kinds, sizes)
    for _ in range(5):
        assert (mixer.code(reader, {"kind": contexts[:40]}, given, None, "") == bits[:40]).all()


def test_a_part_begins_with_what_its_whole_has_shown():
    """A row of which nothing is known yet is expected to be like the rows around it."""
    mixer = Mixer([Evidence("around", 0.0, 2), Evidence("row", 1.0, 4, within="around")], {"row": 2}, first=(1, 2))
    first = mixer._evidence(np.array([[90], [0]]), np.array([[100], [0]]))
    alone = mixer._evidence(np.array([[0], [0]]), np.array([[0], [0]]))
    assert first[3] > 2 * 4096 and abs(alone[3]) < 100
    assert cost(np.array([1 << 23]), np.array([1])) == 1.0


def test_every_bit_of_a_piece_is_counted():
    """Bits of one context stand several times in a piece."""
    mixer = Mixer([Evidence("kind", 0.5, 4)], {"kind": 3})
    contexts, bits = np.array([0, 2, 2, 2, 0, 2]), np.array([1, 1, 0, 1, 0, 1], np.int32)
    mixer.code(Estimate(), {"kind": contexts}, {}, bits, "")
    assert mixer.counts("kind").tolist() == [[1, 0, 3], [2, 0, 4]]


def test_the_bytes_of_version_1_stay():
    contexts, bits = np.abs(golden.whole_numbers(2000, 8)), (golden.whole_numbers(2000, 5) > 1).astype(np.int32)
    kinds = [Evidence("kind", 0.5, 4), Evidence("given", 0.1, 3), Evidence("part", 0.7, 2, within="kind")]
    writer, mixer = Writer(), Mixer(kinds, {"kind": 9, "part": 9})
    for at in np.array_split(np.arange(2000), 31):
        given = {"given": np.stack([contexts[at] // 2, contexts[at] + 1])}
        mixer.code(writer, {"kind": contexts[at], "part": 8 - contexts[at]}, given, bits[at], "")
    assert golden.digest(writer.content()) == "1b614435debe"
