"""XNNPACK keeps a copy of the weights of its own; the built-in kernels read the file's."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from tests.deploy.tflite.test_tflite_model import converted
from tests.little import keras
from utils import tflite_file
from utils.artifact import ArtifactError
from utils.deploy.tflite import packed_weights
from utils.optimize.quantization.converter import convert


@functools.cache
def large() -> bytes:
    """A dense network of 2 million weights, which stand out of what a process grows by otherwise."""
    k = keras()
    model = k.Sequential([k.layers.Input((1000,)), k.layers.Dense(2000, activation="relu"), k.layers.Dense(4)])
    return convert(model, "float32").content


def test_the_cache_holds_the_weights_once_more():
    weights = sum(values.nbytes for _, values in tflite_file.File(large()).constants())
    packed = packed_weights.packed_bytes(large())
    assert 0.95 * weights < packed < 1.2 * weights
    (row,) = packed_weights.rows({"large": large()}, trusted=True)
    assert row == {"file": "large", "bytes": len(large()), "packed": packed}


def test_the_process_grows_by_one_copy_more_with_xnnpack():
    default, builtin = (packed_weights.resident_bytes(large(), kernels) for kernels in ("default", "builtin"))
    assert 0.6 * len(large()) < default - builtin < 1.8 * len(large())


def test_what_cannot_be_run_gets_a_sentence():
    broken = converted("float")[:2000]
    with pytest.raises(ArtifactError, match="cannot be run"):
        packed_weights.packed_bytes(broken)
    with pytest.raises(ArtifactError, match="cannot be run with kernels='builtin'"):
        packed_weights.resident_bytes(broken, "builtin")
    with pytest.raises(ValueError, match="kernels='none' is unknown"):
        packed_weights.resident_bytes(converted("float"), "none")
    assert np.isfinite(packed_weights.packed_bytes(converted("float")))
