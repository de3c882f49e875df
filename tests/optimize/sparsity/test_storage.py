"""Compressed rows give the matrix back, their product is the dense one, and the bits are those of the lists."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.optimize.sparsity import storage

SMALL = np.array([[0, 7, 0, 0], [0, 0, 0, 0], [5, 0, 0, 9]], np.float32)


def random_matrix(seed: int, rows: int, columns: int, share: float) -> np.ndarray:
    generator = np.random.default_rng(seed)
    whole = generator.integers(-64, 65, (rows, columns)).astype(np.float32) / 64  # no processor rounds their sums
    return whole * (generator.random((rows, columns)) >= share)


def test_the_lists_of_a_small_matrix():
    csr = storage.to_csr(SMALL)
    assert csr.values.tolist() == [7, 5, 9]
    assert csr.columns.tolist() == [1, 0, 3]
    assert csr.starts.tolist() == [0, 1, 1, 3]


@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 9), st.floats(0, 1))
def test_the_matrix_comes_back_and_the_product_is_the_dense_one(seed, rows, columns, share):
    matrix = random_matrix(seed, rows, columns, share)
    csr = storage.to_csr(matrix)
    x = np.random.default_rng(seed).integers(-9, 10, columns).astype(np.float32)
    assert np.array_equal(storage.from_csr(csr), matrix)
    assert np.array_equal(storage.multiply(csr, x), matrix @ x)


def test_bits_of_the_small_matrix():
    assert storage.bits((3, 4), 3) == 3 * 32 + 3 * 8 + 4 * 8
    assert storage.bits((3, 4), 4, block=4) == 4 * 32 + 1 * 8 + 4 * 8
    assert storage.bits((3, 4), 3, value=8, index=2) == 3 * 8 + 3 * 2 + 4 * 8


@pytest.mark.parametrize("count, width", [(1, 8), (256, 8), (257, 16), (65_536, 16), (65_537, 32)])
def test_an_index_has_the_fewest_bits(count, width):
    assert storage.index_bits(count) == width


@given(st.floats(0.01, 0.99))
def test_the_entropy_of_positions_is_symmetric_and_at_most_a_bit(share):
    bits = storage.entropy_of_positions(share)
    assert 0 < bits <= 1
    assert math.isclose(bits, storage.entropy_of_positions(1 - share), rel_tol=1e-9)


def test_the_entropy_of_known_shares():
    assert [storage.entropy_of_positions(share) for share in (0, 0.5, 1)] == [0, 1, 0]
    assert storage.entropy_of_positions(0.9) == pytest.approx(0.469, abs=5e-4)


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda: storage.to_csr(np.zeros(3)), "two axes"),
        (lambda: storage.bits((3, 4), 13), "do not fit"),
        (lambda: storage.bits((3, 4), 3, block=4), "do not fit"),
        (lambda: storage.bits((3, 4), -1), "whole number from 0"),
        (lambda: storage.bits((0, 4), 0), "whole number from 1"),
        (lambda: storage.entropy_of_positions(1.1), "0 to 1"),
        (lambda: storage.index_bits(0), "from 1"),
    ],
)
def test_bad_input_gets_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
