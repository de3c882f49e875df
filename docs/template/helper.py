"""PLACEHOLDER @NN@: the idea of this module in one line.

PLACEHOLDER @NN@: which models or arrays it takes, and the source of its formula.
"""

from __future__ import annotations

import numpy as np


def PLACEHOLDER_@NN@_step(values: np.ndarray, levels: int = 256) -> float:
    """The distance of two neighbouring levels of a grid over the range of `values`.

    values: numbers of any shape, finite, at least one.
    levels: of the grid, 2 or more.
    Returns the step, in the unit of `values`; 0 if all are equal.
    Raises ValueError: no values, values that are not finite, or fewer than two levels.
    """
    values = np.asarray(values, dtype=float)
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"pass one finite number or more; got an array of shape {values.shape}")
    if levels < 2:
        raise ValueError(f"a grid has two levels or more; got {levels!r}")
    return float((values.max() - values.min()) / (levels - 1))
