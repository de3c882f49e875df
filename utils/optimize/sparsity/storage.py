"""What storing a sparse matrix costs, in bits, and what a product with it does.

A matrix in compressed sparse rows (CSR) is three lists: the values that are not zero, row by row; the column of each;
and where each row begins (Saad, Iterative Methods for Sparse Linear Systems, 2003, section 3.4).
"""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

__all__ = ["Csr", "bits", "entropy_of_positions", "from_csr", "index_bits", "multiply", "to_csr"]


class Csr(NamedTuple):
    """values (n,), columns (n,), starts (rows + 1,): row r has the entries starts[r] to starts[r + 1] - 1."""

    values: np.ndarray
    columns: np.ndarray
    starts: np.ndarray
    shape: tuple[int, int]


def _of_numbers(make: Callable[[np.ndarray], Csr]) -> Callable[[np.ndarray], Csr]:
    """Chapter 07 prints the lines that compute, so what is checked before stands here."""

    @functools.wraps(make)
    def checked(matrix: np.ndarray) -> Csr:
        return make(_numbers(matrix, "the matrix", 2, "two axes: rows, columns"))

    return checked


def _of_fitting_numbers(product: Callable[[Csr, np.ndarray], np.ndarray]) -> Callable[[Csr, np.ndarray], np.ndarray]:
    @functools.wraps(product)
    def checked(csr: Csr, x: np.ndarray) -> np.ndarray:
        _check(csr)
        x = _numbers(x, "x", 1, f"a vector of {csr.shape[1]} numbers, one a column")
        if len(x) != csr.shape[1]:
            raise ValueError(f"x has {len(x)} numbers, the matrix {csr.shape[1]} columns; pass one number a column")
        wide = {"i": np.int64, "u": np.uint64}.get(np.result_type(csr.values, x).kind)
        if wide:
            csr, x = csr._replace(values=csr.values.astype(wide)), x.astype(wide)
        return product(csr, x)

    return checked


@_of_numbers
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
    _check(csr)
    matrix = np.zeros(csr.shape, csr.values.dtype)
    rows = np.repeat(np.arange(csr.shape[0]), np.diff(csr.starts))
    matrix[rows, csr.columns] = csr.values
    return matrix


@_of_fitting_numbers
def multiply(csr: Csr, x: np.ndarray) -> np.ndarray:
    """csr @ x for a vector x (columns,): one product for each stored value, none for the zeros.

    Whole numbers are summed in 64 bits, as kernels sum int8 in 32: 200 products of 100 · 100 do not fit into 8.
    """
    result = np.zeros(csr.shape[0], np.result_type(csr.values, x))
    for row in range(csr.shape[0]):
        stored = slice(csr.starts[row], csr.starts[row + 1])
        result[row] = csr.values[stored] @ x[csr.columns[stored]]  # fetches the inputs that are needed
    return result


def index_bits(count: int) -> int:
    """Bits of a whole number that can be any of `count` values, in a type that .tflite files have: 8, 16 or 32."""
    if _at_least(count, "count", 1) > 2**32:
        raise ValueError(f"count is {count:,}; the widest type has 32 bits, for {2**32:,} values")
    return next(width for width in (8, 16, 32) if count <= 2**width)


def bits(shape: tuple[int, int], nonzeros: int, *, value: int = 32, index: int | None = None, block: int = 1) -> int:
    """Bits of a matrix in CSR: each value, an index for each block, and where each row begins.

    shape: (rows, columns).
    nonzeros: stored values, those in stored blocks that are zero included.
    value: bits of a value.
    index: bits of a column's number; None for the fewest of 8, 16, 32.
    block: values in a block along the row, which share one index.
    """
    if not isinstance(shape, (tuple, list)) or len(shape) != 2:
        raise ValueError(f"shape is {shape!r}; pass (rows, columns)")
    rows, columns = (_at_least(number, "a side of the matrix", 1) for number in shape)
    nonzeros, value = _at_least(nonzeros, "nonzeros", 0), _at_least(value, "value", 1)
    if nonzeros > rows * columns or _at_least(block, "block", 1) > columns or nonzeros % block:
        raise ValueError(f"{nonzeros} values in blocks of {block} do not fit into {rows} × {columns}")
    stored, places = nonzeros // block, math.ceil(columns / block)
    width = index_bits(places) if index is None else _at_least(index, "index", 1)
    if places > 2**width:
        raise ValueError(f"index is {index} bits, which tell {2**width:,} places apart; a row has {places:,}")
    return nonzeros * value + stored * width + (rows + 1) * index_bits(stored + 1)


def entropy_of_positions(share: float) -> float:
    """Bits a position that telling zero from nonzero needs at least, if each is zero with this probability.

    H(s) = -s log2 s - (1 - s) log2(1 - s) (Shannon 1948).
    """
    if isinstance(share, bool) or not isinstance(share, numbers.Real) or not 0 <= share <= 1:
        raise ValueError(f"share is {share!r}; pass the share of zeros, from 0 to 1")
    return 0.0 if share in (0, 1) else float(-share * math.log2(share) - (1 - share) * math.log2(1 - share))


def _numbers(values: object, what: str, axes: int, wanted: str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError:  # rows of different lengths
        raise ValueError(f"{what} has rows of different lengths; pass {wanted}") from None
    if array.ndim != axes or array.dtype.kind not in "fiub":
        raise ValueError(f"{what} is {array.dtype} of the shape {array.shape}; pass numbers, {wanted}")
    return array


def _check(csr: object) -> None:
    """Raise a sentence unless these lists are a matrix in CSR."""
    if not isinstance(csr, Csr):
        raise TypeError(f"the matrix is a {type(csr).__name__}; pass a Csr, such as to_csr(matrix)")
    for name, kinds in (("values", "fiub"), ("columns", "iu"), ("starts", "iu")):
        part = getattr(csr, name)
        if not isinstance(part, np.ndarray) or part.ndim != 1 or (part.size and part.dtype.kind not in kinds):
            what = f"{part.dtype} of the shape {part.shape}" if isinstance(part, np.ndarray) else type(part).__name__
            wanted = "numbers" if name == "values" else "whole numbers"
            raise ValueError(f"the {name} are {what}; pass an array of {wanted} with one axis, as to_csr makes it")
    rows, columns = csr.shape
    counts = np.diff(csr.starts)
    fits = len(csr.starts) == rows + 1 and csr.starts[0] == 0 and (counts >= 0).all()
    if not fits or not csr.starts[-1] == len(csr.values) == len(csr.columns):
        raise ValueError(f"the starts {list(csr.starts)!r:.80} do not divide {len(csr.values)} values into {rows} rows")
    within = len(csr.columns) == 0 or (csr.columns.min() >= 0 and csr.columns.max() < columns)
    places = np.repeat(np.arange(rows), counts) * columns + csr.columns
    if not within or len(np.unique(places)) < len(places):
        raise ValueError(f"a column of the matrix is beyond its {columns} columns, or stands twice in a row")


def _at_least(number: int, what: str, least: int) -> int:
    if isinstance(number, bool) or not isinstance(number, numbers.Integral) or number < least:
        raise ValueError(f"{what} is {number!r}; pass a whole number from {least}")
    return int(number)
