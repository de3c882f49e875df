"""How far two models' answers lie apart, in real values and in steps of a quantized output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Comparison:
    """Outputs of two models for the same inputs.

    shape: of both outputs.
    largest: largest absolute difference of real values.
    mean: mean absolute difference.
    steps: the largest difference in steps of the output's scale; None unless both outputs are quantized with
        the same scale.
    agree: share of examples with the same argmax; None unless the outputs have two axes and two classes.
    differ: the indices of the examples whose argmax differs; empty if none does.
    """

    shape: tuple[int, ...]
    largest: float
    mean: float
    steps: int | None
    agree: float | None
    differ: np.ndarray = field(repr=False)

    @property
    def equal(self) -> bool:
        """True if no value differs, not even in its last bit."""
        return self.largest == 0


def compare(a: Any, b: Any, scales: Mapping[str, float | None]) -> Comparison | dict[str, Comparison]:
    """Compare two predictions: arrays, or `{name: array}` with the same names.

    scales: output's name (or "" for a single one) -> the scale that both share, None if they share none.
    Raises ValueError for other names or shapes.
    """
    if not isinstance(a, Mapping) and not isinstance(b, Mapping):
        return _arrays(np.asarray(a), np.asarray(b), next(iter(scales.values()), None))
    if not (isinstance(a, Mapping) and isinstance(b, Mapping) and set(a) == set(b)):
        raise ValueError(f"the outputs are {_names(a)} and {_names(b)}; only outputs of the same names can be compared")
    return {name: _arrays(np.asarray(a[name]), np.asarray(b[name]), scales.get(name)) for name in a}


def _names(outputs: Any) -> str:
    return str(sorted(outputs)) if isinstance(outputs, Mapping) else "a single array"


def _arrays(a: np.ndarray, b: np.ndarray, scale: float | None) -> Comparison:
    if a.shape != b.shape:
        raise ValueError(f"the outputs have the shapes {a.shape} and {b.shape}; only equal shapes can be compared")
    whole = a.dtype.kind not in "f" and b.dtype.kind not in "f"
    exact = object if whole else np.float64  # which has not all whole numbers beyond 2**53
    with np.errstate(invalid="ignore"):
        apart = np.abs(a.astype(exact) - b.astype(exact)).astype(np.float64)
    apart[(a == b) | (np.isnan(a) & np.isnan(b))] = 0  # infinity minus infinity is no difference
    classes = a.ndim == 2 and a.shape[1] > 1
    differ = np.flatnonzero(a.argmax(1) != b.argmax(1)) if classes else np.array([], np.int64)
    return Comparison(
        shape=a.shape,
        largest=float(apart.max()),
        mean=float(apart.mean()),
        steps=None if scale is None else round(float(apart.max()) / scale),
        agree=(len(a) - len(differ)) / len(a) if classes else None,
        differ=differ,
    )
