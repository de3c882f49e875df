"""Does a quantized file still say what its float model says?  One comparison for whatever makes such files.

    found = agreement.compare(float_outputs, quantized_outputs)    # {output: Agreement}
    complaint = agreement.complaint(found, "the int8 file", "calibrate with more inputs")

Two measures, because one alone misleads: a single example on the border of two classes may jump from one to the other
in a good file, and a mean hides the few examples that are ruined.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Largest difference, as a share of the range of the float outputs, up to which nothing is said.  An ideal grid of
#: 8 bits is off by 1/510 of the range and rounding adds up over the layers: good int8 files stay below 0.05, those
#: with 4-bit weights and 8-bit activations have 0.13 to 0.17.
NEAR = 0.1

#: Share of the variance that may be lost.  At 1, a constant would answer as well as the file.
LOST = 0.5


@dataclass(frozen=True)
class Agreement:
    """How far one output of a file is from the float model's, for the same inputs; both figures ignore its unit.

    share: largest absolute difference / range, where range is the largest way that one number of the output goes
        over the examples.  The range and not the standard deviation, because an integer grid is laid over the
        range: share · 255 is the difference in steps of 8 bits.
    lost: mean squared difference / variance over the examples, which is 1 − R².

    Where nothing varies over the examples, the range and variance of all numbers of the output stand in; where those
    are equal, too, their largest value.  Of whole numbers, neither is larger than the share that differs: they may be
    class indices.
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


def compare(reference: Any, outputs: Any, steps: Mapping[str, float] | None = None) -> dict[str, Agreement]:
    """{output: Agreement}; the name of a single output is "".

    reference: what the float model gives: (n, …), or `{name: array}`.
    outputs: what the file gives for the same inputs, dequantized; names and shapes are the same.
    steps: {output: distance of two neighbouring integers}, which is not counted: no file with this grid could be
        nearer, and a softmax has a step of 1/256 however little its outputs vary.
    Raises ValueError: names or shapes differ, there are no values, or the reference is not finite.
    """
    first, second = (x if isinstance(x, Mapping) else {"": x} for x in (reference, outputs))
    if first.keys() != second.keys():
        raise ValueError(f"the outputs are {sorted(first)} and {sorted(second)}; pass outputs of the same names")
    return {
        name: _agreement(name, np.asarray(first[name]), np.asarray(second[name]), (steps or {}).get(name, 0.0))
        for name in first
    }


def complaint(
    found: Mapping[str, Agreement], what: str, advice: str, error: type[Exception] | None = ValueError
) -> str | None:
    """A sentence to warn with, with the worst figures, where an output is far; raises `error` where one is hopeless.

    what: names the file, such as "the int8 file".  advice: what to do.  error: None never raises.
    Returns None if all outputs are near.
    """
    worst = max(found, key=lambda name: (found[name].verdict == "hopeless", found[name].share), default=None)
    if worst is None or found[worst].verdict == "near":
        return None
    output = f" in its output {worst!r}" if worst else ""
    sentence = f"{what} is {found[worst]}{output}, on the calibration data: {advice}"
    if error is not None and found[worst].verdict == "hopeless":
        raise error(sentence)
    return sentence


def evenly_chosen(x: Any, most: int = 100) -> Any:
    """At most so many examples of x, (n, …) or `{name: array}`, spread evenly over it: data may be in order."""
    if isinstance(x, Mapping):
        return {name: evenly_chosen(values, most) for name, values in x.items()}
    x = np.asarray(x)
    return x[np.linspace(0, len(x) - 1, min(len(x), most)).round().astype(int)]


def _agreement(name: str, reference: np.ndarray, outputs: np.ndarray, step: float) -> Agreement:
    of = f" of output {name!r}" if name else ""
    if reference.shape != outputs.shape or not reference.size:
        raise ValueError(f"the values{of} have the shapes {reference.shape} and {outputs.shape}; pass equal ones")
    differ = float(np.mean(reference != outputs)) if reference.dtype.kind in "iub" else np.inf
    reference, outputs = reference.astype(np.float64), outputs.astype(np.float64)
    if not np.isfinite(reference).all():
        raise ValueError(f"the float model's values{of} are not all finite; no file can be compared with them")
    if not np.isfinite(outputs).all():
        return Agreement(np.inf, np.inf)
    difference = np.maximum(np.abs(outputs - reference) - step, 0)
    if not difference.any():
        return Agreement(0.0, 0.0)
    size, variance = _size_and_variance(reference)
    return Agreement(
        share=min(differ, float(difference.max()) / size if size else np.inf),
        lost=min(differ, _power(difference) / variance if variance else np.inf),
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
