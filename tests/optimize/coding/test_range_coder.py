"""The range coder: what was written is read, in no more bytes than the probabilities ask for, with and without
constriction.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.optimize.coding import golden
from utils.optimize.coding import range_coder
from utils.optimize.coding.range_coder import CERTAIN, Damaged, Estimate, Reader, Writer


def _case(seed: int, size: int, skew: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of ones, and bits that follow them."""
    rng = np.random.default_rng(seed)
    ones = np.clip((CERTAIN * rng.random(size) ** skew).astype(np.int64), 1, CERTAIN - 1)
    return ones, (rng.random(size) * CERTAIN < ones).astype(np.int32)


def _written(ones: np.ndarray, bits: np.ndarray) -> bytes:
    writer = Writer()
    for part in np.array_split(np.arange(len(bits)), 3):
        writer.code(ones[part], bits[part])
    return writer.content()


_CASES = (st.integers(0, 2**32 - 1), st.integers(0, 400), st.sampled_from((0.05, 0.5, 1.0, 4.0, 20.0)))


@given(*_CASES)
def test_bits_come_back_in_as_few_bytes_as_they_cost(seed, size, skew):
    ones, bits = _case(seed, size, skew)
    content = _written(ones, bits)
    reader = Reader(content, counts=True)
    assert (reader.code(ones, what="bits") == bits).all()
    cost = range_coder.cost(ones, bits)
    assert len(content) <= cost / 8 + 1.01
    assert sum(reader.spent.values()) == pytest.approx(cost)
    estimate = Estimate()
    estimate.code(ones, bits)
    assert estimate.bits == cost


@given(*_CASES)
def test_python_alone_makes_the_bytes_of_constriction(seed, size, skew):
    ones, bits = _case(seed, size, skew)
    content = _written(ones, bits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(range_coder, "constriction", None)
        assert _written(ones, bits) == content
        assert (Reader(content).code(ones) == bits).all()


@pytest.mark.parametrize("certain", [True, False])
def test_the_unlikeliest_bits_come_back(certain):
    ones = np.full(50, CERTAIN - 1 if certain else 1)
    bits = np.full(50, int(not certain), np.int32)
    content = _written(ones, bits)
    assert (Reader(content).code(ones) == bits).all()
    assert range_coder.cost(ones, bits) == pytest.approx(50 * 24)


def test_bytes_beside_the_bits_come_back_and_their_end_is_noticed():
    writer = Writer()
    writer.raw(3, np.array([1, 2, 3], np.uint8))
    reader = Reader(writer.content(), writer.raw_content(), counts=True)
    assert reader.raw(2).tolist() == [1, 2] and reader.raw(1).tolist() == [3]
    assert reader.spent == {"floats": 24.0}
    with pytest.raises(Damaged, match="too early"):
        reader.raw(1)


def test_the_bytes_of_version_1_stay():
    ones = np.abs(golden.whole_numbers(3000, CERTAIN // 2)) + CERTAIN // 4
    bits = (golden.whole_numbers(3000, 50) > 10).astype(np.int32)
    assert golden.digest(_written(ones, bits)) == "27c07a8514a9"
