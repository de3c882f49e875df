"""Scale and zero point: the one record of how integers stand for real numbers, by hand and in files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

_TYPES = (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64)


@dataclass(frozen=True, eq=False)
class QuantizationParameters:
    """How integers stand for real numbers: real = scale · (q - zero_point), q from qmin to qmax.

    Jacob et al. 2018, arXiv 1712.05877, eq. 1; named as in the .tflite schema.

    scale: positive float32: one number (per tensor), or one for each index of `axis` (per channel).
    zero_point: the integer that means exactly 0.0; int64, the same shape as scale.
    qmin, qmax: the smallest and the largest integer.
    axis: None, or the axis that the channels are on.
    Raises TypeError: a zero point that is no whole number.
    Raises ValueError: a scale that is not finite and above 0; qmin, qmax, zero point or axis that do not fit.
    """

    scale: np.ndarray
    zero_point: np.ndarray
    qmin: int = -128
    qmax: int = 127
    axis: int | None = None

    def __post_init__(self) -> None:
        scale, zero = np.asarray(self.scale, np.float32), np.asarray(self.zero_point)
        if not np.issubdtype(zero.dtype, np.integer):
            raise TypeError(
                f"zero_point is {self.zero_point!r}; it must be a whole number, "
                "or 0.0 falls between two integers and cannot be represented exactly"
            )
        if not np.all(np.isfinite(scale)) or np.any(scale <= 0):
            raise ValueError(f"scale is {self.scale!r}; it is the distance of two neighbours, so finite and above 0")
        if self.qmin >= self.qmax:
            raise ValueError(f"qmin {self.qmin} must be below qmax {self.qmax}")
        if np.any(zero < self.qmin) or np.any(zero > self.qmax):
            raise ValueError(
                f"zero_point {self.zero_point!r} must lie in [{self.qmin}, {self.qmax}]: "
                "a range without 0 cannot pad a picture or clamp at ReLU"
            )
        if scale.ndim != (self.axis is not None):
            raise ValueError(
                f"scale has shape {scale.shape} and axis is {self.axis}; pass one scale and no axis, "
                "or a vector of scales and the axis of the channels"
            )
        if zero.shape not in ((), scale.shape):
            raise ValueError(f"scale has shape {scale.shape}, zero_point {zero.shape}; pass as many of each")
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "zero_point", np.broadcast_to(zero.astype(np.int64), scale.shape))

    @classmethod
    def of_type(cls, scale: Any, zero_point: Any, dtype: Any, axis: int | None = None) -> QuantizationParameters:
        """Those of integers that use their whole type: "int8", "uint8", "int4", np.int32, …"""
        name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
        found = re.fullmatch(r"(u?)int(\d+)", name)
        if not found:
            raise ValueError(f"{name!r} is no type of integers, such as 'int8'")
        bits = int(found[2])
        low, high = (0, 2**bits - 1) if found[1] else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        return cls(scale, zero_point, low, high, axis)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, QuantizationParameters) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple:
        return tuple(self.scales), tuple(self.zero_points), self.qmin, self.qmax, self.axis

    @property
    def per_channel(self) -> bool:
        return self.axis is not None

    @property
    def scales(self) -> np.ndarray:
        """All scales as a vector, of one entry if per tensor."""
        return self.scale.reshape(-1)

    @property
    def zero_points(self) -> np.ndarray:
        """All zero points as a vector, of one entry if per tensor."""
        return self.zero_point.reshape(-1)

    @property
    def dtype(self) -> np.dtype:
        """The smallest numpy integer type that holds qmin and qmax."""
        fits = (t for t in map(np.iinfo, _TYPES) if t.min <= self.qmin and self.qmax <= t.max)
        return np.dtype(next(fits).dtype)

    @property
    def range(self) -> tuple[np.ndarray, np.ndarray]:
        """The smallest and the largest real number that can be represented, each of scale's shape."""
        return self.scale * (self.qmin - self.zero_point), self.scale * (self.qmax - self.zero_point)

    def aligned(self, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Scale and zero point shaped to broadcast against an array of this shape.

        Raises ValueError if the array has not as many channels as there are scales.
        """
        if self.axis is None:
            return self.scale, self.zero_point
        channels = shape[self.axis] if -len(shape) <= self.axis < len(shape) else 0
        if channels != self.scale.size:
            raise ValueError(
                f"the array has shape {tuple(shape)}, so axis {self.axis} has {channels} channels; "
                f"the quantization has {self.scale.size} scales"
            )
        wanted = [1] * len(shape)
        wanted[self.axis] = -1
        return self.scale.reshape(wanted), self.zero_point.reshape(wanted)
