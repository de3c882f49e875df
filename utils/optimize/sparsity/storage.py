"""What storing a sparse matrix costs, in bits, and what a product with it does.

A matrix in compressed sparse rows (CSR) is three lists: the values that are not zero, row by row; the column of each;
and where each row begins (Saad, Iterative Methods for Sparse Linear Systems, 2003, section 3.4).
"""

from __future__ import annotations

import math
import numbers
from typing import NamedTuple

import numpy as np

__all__ = ["Csr", "bits", "entropy_of_positions", "from_csr", "index_bits", "multiply", "to_csr"]


class Csr(NamedTuple):
    """values (n,), columns (n,), starts (rows + 1,): row r has the entries starts[r] to starts[r + 1] - 1."""

    values: np.ndarray
    columns: np.ndarray
    starts: np.ndarray
    shape: tuple[int, int]


def to_csr(matrix: np.ndarray) -> Csr:
    """The entries of `matrix` (rows, columns) that are not zero, row by row."""
    matrix = np.asarray(matrix)
    if matrix.ndim != 2:
        raise ValueError(f"the matrix has the shape {matrix.shape}; pass two axes: rows, columns")
    rows, columns = np.nonzero(matrix)  # in the order of the rows
    starts = np.concatenate([[0], np.cumsum(np.count_nonzero(matrix, axis=1))])
    return Csr(matrix[rows, columns], columns, starts, matrix.shape)


def from_csr(csr: Csr) -> np.ndarray:
    """The matrix again."""
    matrix = np.zeros(csr.shape, csr.values.dtype)
    rows = np.repeat(np.arange(csr.shape[0]), np.diff(csr.starts))
    matrix[rows, csr.columns] = csr.values
    return matrix


def multiply(csr: Csr, x: np.ndarray) -> np.ndarray:
    """csr @ x for a vector x (columns,): one product for each stored value, none for the zeros."""
    result = np.zeros(csr.shape[0], np.result_type(csr.values, x))
    for row in range(csr.shape[0]):
        stored = slice(csr.starts[row], csr.starts[row + 1])
        result[row] = csr.values[stored] @ x[csr.columns[stored]]  # fetches the inputs that are needed
    return result


def index_bits(count: int) -> int:
    """Bits of a whole number that can be any of `count` values, in a type that .tflite files have: 8, 16 or 32."""
    _at_least(count, "count", 1)
    return next(width for width in (8, 16, 32) if count <= 2**width)


def bits(shape: tuple[int, int], nonzeros: int, *, value: int = 32, index: int | None = None, block: int = 1) -> int:
    """Bits of a matrix in CSR: each value, an index for each block, and where each row begins.

    Args:
        shape: (rows, columns).
        nonzeros: stored values, those in stored blocks that are zero included.
        value: bits of a value.
        index: bits of a column's number; None for the fewest of 8, 16, 32.
        block: values in a block along the row, which share one index.
    """
    rows, columns = (_at_least(number, "a side of the matrix", 1) for number in shape)
    _at_least(nonzeros, "nonzeros", 0)
    _at_least(block, "block", 1)
    if nonzeros > rows * columns or nonzeros % block:
        raise ValueError(f"{nonzeros} values in blocks of {block} do not fit into {rows} × {columns}")
    stored = nonzeros // block
    width = index_bits(math.ceil(columns / block)) if index is None else _at_least(index, "index", 1)
    return nonzeros * value + stored * width + (rows + 1) * index_bits(stored + 1)


def entropy_of_positions(share: float) -> float:
    """Bits a position that telling zero from nonzero needs at least, if each is zero with this probability.

    H(s) = -s log2 s - (1 - s) log2(1 - s) (Shannon 1948).
    """
    if isinstance(share, bool) or not isinstance(share, numbers.Real) or not 0 <= share <= 1:
        raise ValueError(f"share is {share!r}; pass the share of zeros, from 0 to 1")
    return 0.0 if share in (0, 1) else float(-share * math.log2(share) - (1 - share) * math.log2(1 - share))


def _at_least(number: int, what: str, least: int) -> int:
    if isinstance(number, bool) or not isinstance(number, numbers.Integral) or number < least:
        raise ValueError(f"{what} is {number!r}; pass a whole number from {least}")
    return int(number)
