"""Floats moved by one unit in the last place: a cheap stand-in for another processor, for the course's own checks.

Another processor sums in another order, so the same network gives numbers that differ in their last place.  What
then changes (an integer that lay on a rounding tie, a label) must not be something that a chapter claims.
COURSE_NUDGE=1, 2, … moves all pictures that `utils.data` loads and all weights that ship; 0, the default, moves none.
"""

from __future__ import annotations

import zlib

import numpy as np

from utils import NUDGE


def nudged(array: np.ndarray, draw: int | None = None) -> np.ndarray:
    """Each float one place up or down, at random; itself if `draw` is 0.

    array: any shape.  draw: which random directions, None for COURSE_NUDGE; draw and array decide the result.
    Zeros, infinities, NaN and whole-number types stay, and nothing leaves the array's own range, so pictures stay in
    [0, 1].
    Returns the array's type and shape.
    """
    array, draw = np.asarray(array), NUDGE if draw is None else draw
    if not draw or not np.issubdtype(array.dtype, np.floating):
        return array
    moves = (array != 0) & np.isfinite(array)
    if not moves.any():
        return array
    low, high = array[moves].min(), array[moves].max()
    rng = np.random.default_rng([draw, zlib.crc32(np.ascontiguousarray(array))])
    goal = np.where(rng.integers(0, 2, array.shape, np.int8), high, low)
    return np.where(moves, np.nextafter(array, goal), array)
