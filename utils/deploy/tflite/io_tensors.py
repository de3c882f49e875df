"""Inputs and outputs of a .tflite file: what each takes, and the way between real and stored values.

What a tensor is given is checked before any interpreter sees it, so that a wrong array ends in a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils import checks
from utils.artifact import ArtifactError
from utils.optimize.quantization.grid import dequantize, quantize
from utils.quantization_parameters import QuantizationParameters


@dataclass(frozen=True)
class IOTensor:
    """One input or output of a model, as the file declares it (axes of unknown length are -1)."""

    name: str
    index: int
    shape: tuple[int, ...]
    dtype: np.dtype
    quantization: QuantizationParameters | None

    @property
    def quantized(self) -> bool:
        return self.quantization is not None


def to_stored(tensor: IOTensor, values: Any) -> np.ndarray:
    """Real values as the file stores them.

    Quantized as by TF Lite's kernel, with float32 divided by float32 and halves rounded away from zero
    (tensorflow/lite/kernels/internal/reference/quantize.h).  XNNPACK multiplies by 1/scale and rounds halves to even,
    so it may differ by 1 where x/scale lies half-way.
    """
    array = check_shape(tensor, _check_dtype(tensor, np.asarray(values)))
    if array.dtype.kind == "f":
        dtype = np.dtype(np.float32 if tensor.quantized else tensor.dtype)
        with np.errstate(over="ignore"):  # what is too large becomes infinite, which is refused
            array = array.astype(dtype, copy=False)
        if not np.isfinite(array).all():
            raise ValueError(
                f"input {tensor.name!r} contains NaN or infinite values as {dtype}; remove or replace them first"
            )
    if tensor.quantized:
        _check_range(tensor, array)
        return quantize(array, tensor.quantization)
    if array.dtype != tensor.dtype:
        info = np.iinfo(tensor.dtype)
        if array.min() < info.min or array.max() > info.max:
            raise ValueError(f"input {tensor.name!r} has values outside {tensor.dtype}'s range {info.min} … {info.max}")
    return array.astype(tensor.dtype, copy=False)


def _check_dtype(tensor: IOTensor, array: np.ndarray) -> np.ndarray:
    if tensor.quantized or tensor.dtype.kind == "f":
        if array.dtype.kind != "f":
            raise TypeError(
                f"input {tensor.name!r} takes real values, got {array.dtype}; scale the data as for the training "
                "and pass float32" + ("; integers that are already quantized go to run_raw" if tensor.quantized else "")
            )
    elif tensor.dtype.kind in "iu":
        if array.dtype.kind not in "iu":
            raise TypeError(f"input {tensor.name!r} takes whole numbers ({tensor.dtype}), got {array.dtype}")
    elif array.dtype != tensor.dtype:
        raise TypeError(f"input {tensor.name!r} takes {tensor.dtype}, got {array.dtype}")
    return array


def check_shape(tensor: IOTensor, array: np.ndarray) -> np.ndarray:
    if tensor.shape:
        checks.check_shape(array, tensor.shape, f"input {tensor.name!r}")
    elif array.ndim:
        raise ValueError(f"input {tensor.name!r} is a single number, got shape {array.shape}")
    return array


def _check_range(tensor: IOTensor, array: np.ndarray) -> None:
    """Refuse data on another scale, such as pixels 0–255 for a model calibrated on 0–1.

    A few values beyond the calibrated range are normal and get clipped.  When most of those that are
    not 0 lie beyond it, the data was scaled otherwise than the calibration set.
    """
    (low, high), step = tensor.quantization.range, tensor.quantization.scale
    beyond = np.count_nonzero((array < low - step) | (array > high + step))
    if beyond > 0.5 * np.count_nonzero(array):
        raise ValueError(
            f"input {tensor.name!r} was calibrated for values from {low:.4g} to {high:.4g}, and the data goes from "
            f"{array.min():.4g} to {array.max():.4g}: scale it as the calibration set was (divide by 255?)"
        )


def to_real(tensor: IOTensor, stored: np.ndarray) -> np.ndarray:
    if tensor.quantized:
        return dequantize(stored, tensor.quantization)
    return stored.astype(np.float32, copy=False) if stored.dtype.kind == "f" else stored


def part(tensor: IOTensor, values: np.ndarray, start: int, count: int, size: int) -> np.ndarray:
    """Examples start … start+count, the last one repeated up to `size` where the file's batch is fixed."""
    if not tensor.shape:
        return values
    part = values[start : start + count]
    if len(part) < size:
        part = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
    return np.ascontiguousarray(part)


def from_detail(detail: Mapping[str, Any], name: str) -> IOTensor:
    dtype = np.dtype(detail["dtype"])
    if dtype.kind not in "fiub":
        raise ArtifactError(f"the tensor {name!r} is of type {dtype}: only real numbers can be passed in and out")
    scales, points = (detail["quantization_parameters"][key] for key in ("scales", "zero_points"))
    if len(scales) > 1:
        raise ArtifactError(f"the tensor {name!r} is quantized per channel, which inputs and outputs cannot be")
    quantized = len(scales) == 1 and dtype.kind in "iu"
    shape = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    return IOTensor(
        name=name,
        index=int(detail["index"]),
        shape=tuple(int(size) for size in shape),
        dtype=dtype,
        quantization=QuantizationParameters.of_type(scales[0], points[0], dtype) if quantized else None,
    )
