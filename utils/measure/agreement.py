"""Does a quantized file still say what its float model says?  One comparison for whatever makes such files.

    found = agreement.compare(float_outputs, quantized_outputs)    # {output: Agreement}
    agreement.check(found, "the int8 file", "calibrate with more inputs")

Two measures, because one alone misleads: a single example on the border of two classes may jump from one to the other
in a good file, and a mean hides the few examples that are ruined.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Largest difference, as a share of the range of the float outputs, up to which nothing is said.  An ideal grid of
#: 8 bits is off by 1/510 of the range and rounding adds up over the layers.
NEAR = 0.1

#: Share of the variance that may be lost.  At 1, a constant would answer as well as the file.
LOST = 0.5


@dataclass(frozen=True)
class Agreement:
    """How far one output of a file is from the float model's, for the same inputs; both figures ignore its unit.

    Attributes:
        share: largest absolute difference / range, where range is the largest way that one number of the output goes
            over the examples.  The range and not the standard deviation, because an integer grid is laid over the
            range: share · 255 is the difference in steps of 8 bits.
        lost: mean squared difference / variance over the examples, which is 1 − R².
    Where nothing varies over the examples, the range and variance of all numbers of the output stand in; where those
    are equal, too, their largest value.  Of whole numbers (class indices), both are the share that differs.
    """

    share: float
    lost: float

    @property
    def verdict(self) -> str:
        """ "near", "far" (say so) or "hopeless" (refuse it)."""
        return "hopeless" if not self.lost <= LOST else "near" if self.share <= NEAR else "far"

    def __str__(self) -> str:
        return (
            f"off by up to {self.share:.3g} of the range of the float outputs, "
            f"{min(self.lost, 1):.0%} of their variance lost"
        )


def compare(reference: Any, outputs: Any) -> dict[str, Agreement]:
    """{output: Agreement}; the name of a single output is "".

    Args:
        reference: what the float model gives: (n, …), or `{name: array}`.
        outputs: what the file gives for the same inputs, dequantized; names and shapes are the same.

    Raises:
        ValueError: names or shapes differ, there are no values, or the reference is not finite.
    """
    first, second = (x if isinstance(x, Mapping) else {"": x} for x in (reference, outputs))
    if first.keys() != second.keys():
        raise ValueError(f"the outputs are {sorted(first)} and {sorted(second)}; pass outputs of the same names")
    return {name: _agreement(name, np.asarray(first[name]), np.asarray(second[name])) for name in first}


def check(found: Mapping[str, Agreement], what: str, advice: str, error: type[Exception] = ValueError) -> None:
    """Raise `error` where an output is hopeless, warn where one is far; the sentence has the worst figures.

    what: names the file, such as "the int8 file".  advice: what to do.
    """
    name, worst = max(found.items(), key=lambda pair: (pair[1].verdict == "hopeless", pair[1].share))
    if worst.verdict == "near":
        return
    output = f" in its output {name!r}" if name else ""
    sentence = f"{what} is {worst}{output}, on the calibration data: {advice}"
    if worst.verdict == "hopeless":
        raise error(sentence)
    warnings.warn(sentence, stacklevel=3)


def spread(x: Any, most: int = 100) -> Any:
    """At most so many examples of x, (n, …) or `{name: array}`, spread evenly over it: data may be in order."""
    if isinstance(x, Mapping):
        return {name: spread(values, most) for name, values in x.items()}
    return x[np.linspace(0, len(x) - 1, min(len(x), most)).round().astype(int)]


def _agreement(name: str, reference: np.ndarray, outputs: np.ndarray) -> Agreement:
    of = f" of output {name!r}" if name else ""
    if reference.shape != outputs.shape or not reference.size:
        raise ValueError(f"the values{of} have the shapes {reference.shape} and {outputs.shape}; pass equal ones")
    if reference.dtype.kind in "iub":
        differ = float(np.mean(reference != outputs))
        return Agreement(differ, differ)
    reference, outputs = reference.astype(np.float64), outputs.astype(np.float64)
    if not np.isfinite(reference).all():
        raise ValueError(f"the float model's values{of} are not all finite; no file can be compared with them")
    if not np.isfinite(outputs).all():
        return Agreement(np.inf, np.inf)
    difference = np.abs(outputs - reference)
    if not difference.any():
        return Agreement(0.0, 0.0)
    size, variance = _size_and_variance(reference)
    return Agreement(
        share=float(difference.max()) / size if size else np.inf,
        lost=_power(difference) / variance if variance else np.inf,
    )


def _size_and_variance(values: np.ndarray) -> tuple[float, float]:
    """Range and variance over the examples, else over all numbers, else largest value and its square."""
    for rows in (values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1), values.reshape(-1, 1)):
        size = float(np.ptp(rows, axis=0).max())
        if size:
            return size, _power(rows - rows.mean(axis=0))
    return float(np.abs(values).max()), _power(values)


def _power(values: np.ndarray) -> float:
    return float(np.mean(np.square(values)))
