"""Checks of chapter 07's exercises: the bytes of a sparse matrix, the mask of N:M, and a product of blocks."""

from __future__ import annotations

import itertools

import numpy as np

from utils.study.exercises import exercise, require


@exercise(
    "07-1",
    "the bytes of a sparse matrix",
    (
        "Zeros are not stored. How many values are left, and how many indices do they need?",
        "One index stands for a whole block: divide by `block`. All of it is in bits; a byte has 8.",
        "`kept = round(weights * (1 - share))`, then `return kept * (value + index / block) / 8`",
    ),
)
def stored_bytes(answer, rng: np.random.Generator) -> None:
    """`answer(weights, share, value, index, block)`: bytes of values and indices."""
    for _ in range(4):
        block = int(rng.choice([2, 4, 16]))
        weights, share = int(rng.integers(2, 50)) * 1600, float(rng.choice([0.6, 0.75, 0.9]))
        value, index = int(rng.choice([8, 16, 32])), int(rng.choice([8, 16]))
        kept = round(weights * (1 - share))
        right = kept * (value + index / block) / 8
        got = answer(weights, share, value, index, block)
        case = f"{weights:,} weights, {share:.0%} zeros, {value} bits a value, {index} an index, blocks of {block}"
        known = (
            (8 * right, "you returned bits; a byte has eight of them"),
            (kept * (value + index) / 8, f"you gave each value an index of its own; a block of {block} values has one"),
            (
                weights * share * (value + index / block) / 8,
                "you stored the zeros and left out the rest; `share` is what is *not* stored",
            ),
            (kept * value / 8, "the indices are missing; without them places are lost"),
        )
        said = [message for wrong, message in known if _near(got, wrong)]
        if len(said) > 1:  # two mistakes give this number here: the next draw tells them apart
            continue
        require(not said, "".join(f"{case}: {message}" for message in said))
        require(_near(got, right), f"{case}: it is {right:,.0f} bytes, you returned {got!r}")


def _near(got: object, right: float) -> bool:
    try:
        return abs(float(got) - right) <= 1
    except (TypeError, ValueError):
        return False


@exercise(
    "07-2",
    "the mask of N:M sparsity",
    (
        "Which axis of a Keras kernel is that of the inputs, and which way do the groups lie?",
        "Transpose the kernel, cut the rows into groups with `reshape(-1, size)`, and sort each group by magnitude.",
        "`groups = np.abs(kernel.T).reshape(-1, size)`, `rank = groups.argsort(axis=1).argsort(axis=1)`, and "
        "`return (rank >= zeros).reshape(kernel.T.shape).T`",
    ),
)
def n_of_m(answer, rng: np.random.Generator) -> None:
    """`answer(kernel, zeros, size)`: boolean (inputs, outputs), True where a weight stays."""
    for zeros, size in ((2, 4), (1, 4), (3, 4), (6, 8)):
        kernel = rng.normal(size=(3 * size, 2 * size)).astype(np.float32)
        got = np.asarray(answer(kernel.copy(), zeros, size))
        require(got.shape == kernel.shape, f"the mask has shape {got.shape}; the kernel has {kernel.shape}")
        got = got.astype(bool)
        right = _groups(kernel.T, zeros, size).T
        require(
            not np.array_equal(got, _groups(kernel, zeros, size)),
            "your groups lie along the outputs, as the kernel lies in memory; products along the *inputs* are summed, "
            "and in the file they are last",
        )
        require(not np.array_equal(got, ~right), "your mask is upside down: True marks what stays")
        require(
            2 * zeros == size or not np.array_equal(got, _groups(kernel.T, size - zeros, size).T),
            f"you keep {zeros} of each {size}; `zeros` of them go",
        )
        signed = _groups(kernel.T - kernel.min() + 1, zeros, size).T
        require(not np.array_equal(got, signed), "you sorted by value; large negative weights matter as well")
        count = int((~right).sum())
        require(np.array_equal(got, right), f"with {zeros} of {size}, {count} weights go; yours are not the same")


def _groups(rows: np.ndarray, zeros: int, size: int) -> np.ndarray:
    """The mask along the last axis."""
    parts = np.abs(rows).reshape(-1, size)
    return (parts.argsort(axis=1).argsort(axis=1) >= zeros).reshape(rows.shape)


@exercise(
    "07-3",
    "a product of blocks",
    (
        "Row r has the blocks starts[r] to starts[r + 1] - 1. Which four inputs does each of them need?",
        "Block column c stands for the inputs 4c to 4c + 3. Multiply the four values with them, and add up.",
        "In a loop over the rows and the blocks of each: `first = 4 * columns[block]`, then "
        "`result[row] += values[block] @ x[first : first + 4]`",
    ),
)
def block_product(answer, rng: np.random.Generator) -> None:
    """`answer(values, columns, starts, x)`: (rows,), from blocks of four."""
    for _ in range(4):
        rows, wide = int(rng.integers(2, 7)), int(rng.integers(3, 7))
        stays = rng.random((rows, wide)) < 0.5
        stays[0, 1:3] = True  # a row with two blocks, whose second is not at the row's beginning
        stays[-1] = False  # a row without
        matrix = rng.integers(1, 9, (rows, wide, 4)).astype(float) * stays[..., None]
        columns = np.nonzero(stays)[1]
        starts = np.concatenate([[0], np.cumsum(stays.sum(axis=1))])
        values, x = matrix[stays], rng.integers(1, 9, 4 * wide).astype(float)
        right = matrix.reshape(rows, -1) @ x
        got = np.asarray(answer(values.copy(), columns.copy(), starts.copy(), x.copy()), dtype=float)
        require(got.shape == (rows,), f"the product has shape {got.shape}; there are {rows} rows, so ({rows},)")
        if np.allclose(got, right):
            continue
        single = np.allclose(got, _product(values, columns, starts, x, 1))
        first = [values[a] @ x[4 * columns[a] :][:4] if b > a else 0 for a, b in itertools.pairwise(starts)]
        first = np.allclose(got, first)
        if single and first:  # both mistakes give this here: the next draw tells them apart
            continue
        require(not single, "you took the inputs from `column` on; columns count blocks, so block c begins at input 4c")
        require(not first, "you took one block a row; a row has starts[r + 1] - starts[r] of them")
        require(got[-1] == 0, "the last row is empty, starts[r] = starts[r + 1]: its product is 0")
        require(False, f"the product is {right.tolist()}, you returned {got.tolist()}")


def _product(values: np.ndarray, columns: np.ndarray, starts: np.ndarray, x: np.ndarray, width: int) -> np.ndarray:
    result = np.zeros(len(starts) - 1)
    for row in range(len(result)):
        for block in range(starts[row], starts[row + 1]):
            first = width * columns[block]
            result[row] += values[block] @ x[first : first + 4]
    return result
