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


def by_hand(columns: list[int], starts: list[int]) -> storage.Csr:
    return storage.Csr(np.ones(len(columns)), np.array(columns), np.array(starts), (1, 3))


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


def test_the_largest_whole_numbers_without_a_sign_stay_what_they_are():
    csr = storage.to_csr(np.array([[2**63, 0, 1]], np.uint64))
    assert storage.multiply(csr, np.array([1, 1, 5], np.uint8)).tolist() == [2**63 + 5]
    assert storage.multiply(storage.to_csr(np.full((1, 9), 200, np.uint8)), np.full(9, 200, np.uint8)).tolist() == [
        360_000
    ]


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16])
def test_whole_numbers_are_not_summed_in_their_own_few_bits(kind):
    wide = np.full((2, 300), 100, kind)
    assert storage.multiply(storage.to_csr(wide), wide[0]).tolist() == [3_000_000, 3_000_000]
    assert storage.multiply(storage.to_csr(wide), [1.5] * 300).tolist() == [45_000, 45_000]


def test_bits_of_the_small_matrix():
    assert storage.bits((3, 4), 3) == 3 * 32 + 3 * 8 + 4 * 8
    assert storage.bits((3, 4), 4, block=4) == 4 * 32 + 1 * 8 + 4 * 8
    assert storage.bits((3, 4), 3, value=8, index=2) == 3 * 8 + 3 * 2 + 4 * 8


def test_bits_at_the_edges():
    assert storage.bits((3, 4), 0) == 4 * 8
    assert storage.bits((3, 4), 12) == 12 * 40 + 4 * 8
    assert storage.bits([1, 2], 2, value=1, index=1) == 2 * 1 + 2 * 1 + 2 * 8
    assert storage.bits((1, 256), 256) == 256 * 40 + 2 * 16  # a row may begin at 0 … 256: more than 8 bits tell apart
    assert storage.bits((1, 255), 255) == 255 * 40 + 2 * 8
    assert storage.bits((2, 257), 256, block=2) == 256 * 32 + 128 * 8 + 3 * 8  # 129 places, the last one half full


@pytest.mark.parametrize("kind", [np.float32, np.int8, bool])
def test_the_lists_have_the_type_of_the_matrix(kind):
    csr = storage.to_csr(SMALL.astype(kind))
    assert csr.values.dtype == storage.from_csr(csr).dtype == kind and csr.shape == (3, 4)
    assert storage.multiply(csr, np.ones(4, np.float32)).tolist() == SMALL.astype(kind).sum(axis=1).tolist()


@pytest.mark.parametrize("count, width", [(1, 8), (256, 8), (257, 16), (65_536, 16), (65_537, 32), (2**32, 32)])
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
        (lambda: storage.index_bits(2**32 + 1), "widest type has 32 bits"),
        (lambda: storage.bits((1, 2**33), 1), "widest type has 32 bits"),
        (lambda: storage.bits((3, 4), -1), "nonzeros is -1"),
        (lambda: storage.bits((3, 0), 0), "side of the matrix is 0"),
        (lambda: storage.bits((3, True), 0), "side of the matrix is True"),
        (lambda: storage.bits((3, 4), 3, value=0), "value is 0"),
        (lambda: storage.bits((3, 4), 3, index=0), "index is 0"),
        (lambda: storage.bits((3, 4), 3, block=0), "block is 0"),
        (lambda: storage.bits((3, 4), 3, index=1), "tell 2 places apart; a row has 4"),
        (lambda: storage.bits((3, 4, 5), 1), r"pass \(rows, columns\)"),
        (lambda: storage.entropy_of_positions(-0.1), "0 to 1"),
        (lambda: storage.entropy_of_positions(True), "share is True"),
        (lambda: storage.entropy_of_positions("0.5"), "share is '0.5'"),
        (lambda: storage.to_csr(np.ones((2, 2), complex)), "pass numbers"),
        (lambda: storage.from_csr(by_hand([-1, 2], [0, 2])), "beyond its 3 columns"),
        (lambda: storage.from_csr(by_hand([1, 3], [0, 2])), "beyond its 3 columns"),
        (lambda: storage.from_csr(by_hand([1], [1, 1])), "do not divide"),
        (lambda: storage.from_csr(by_hand([1], [0, 0, 1])), "do not divide"),
        (lambda: storage.from_csr(by_hand([1], [0, 1])._replace(values=np.ones(2))), "do not divide 2 values"),
        (
            lambda: storage.from_csr(storage.Csr(np.ones(1), np.zeros(1, int), np.array([0, 2, 1]), (2, 3))),
            "do not divide",
        ),
        (lambda: storage.multiply(by_hand([3], [0, 1]), np.ones(3)), "beyond its 3 columns"),
        (lambda: storage.bits((3,), 1), r"pass \(rows, columns\)"),
        (lambda: storage.bits(3, 1), r"pass \(rows, columns\)"),
        (lambda: storage.bits((3, 4), 3, value=-8), "value is -8"),
        (lambda: storage.bits((3, 4), 3, value="int8"), "value is 'int8'"),
        (lambda: storage.bits((3, 1000), 3, index=4), "tell 16 places apart; a row has 1,000"),
        (lambda: storage.bits((10, 4), 8, block=8), "do not fit"),
        (lambda: storage.to_csr([[1], [1, 2]]), "different lengths"),
        (lambda: storage.to_csr([["a"]]), "pass numbers"),
        (lambda: storage.multiply(storage.to_csr(SMALL), np.ones(9)), "x has 9 numbers, the matrix 4 columns"),
        (lambda: storage.multiply(storage.to_csr(SMALL), np.ones((4, 1))), "a vector of 4 numbers"),
        (lambda: storage.multiply(SMALL, np.ones(4)), "pass a Csr"),
        (lambda: storage.from_csr(by_hand([-1], [0, 1])), "beyond its 3 columns"),
        (lambda: storage.from_csr(by_hand([3], [0, 1])), "beyond its 3 columns"),
        (lambda: storage.from_csr(by_hand([1, 1], [0, 2])), "twice in a row"),
        (lambda: storage.from_csr(by_hand([1, 2], [0, 1])), "do not divide 2 values"),
        (lambda: storage.from_csr(by_hand([1.0], [0, 1])), "columns are float64 .*whole numbers"),
        (lambda: storage.from_csr(by_hand([1], [0.0, 1.0])), "starts are float64 .*whole numbers"),
        (lambda: storage.from_csr(by_hand([1], [0, 1])._replace(values=[1.0])), "values are list; pass an array"),
        (lambda: storage.from_csr(by_hand([1], [0, 1])._replace(values=np.ones((1, 1)))), r"values are .*\(1, 1\)"),
        (lambda: storage.multiply(by_hand([1], [0, 1])._replace(columns=[1]), np.ones(3)), "columns are list"),
    ],
)
def test_bad_input_gets_a_sentence(call, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        call()
