"""XNNPACK keeps a copy of the weights of its own; the built-in kernels read the file's."""

from __future__ import annotations

import functools
from types import SimpleNamespace

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


def quantized(recipe: str) -> bytes:
    from litert_quantizer import quantizer

    return bytes(quantizer.Quantizer(large(), recipe).quantize(enable_progress_report=False).quantized_model)


def test_dynamic_range_lets_the_process_hold_far_less_and_weight_only_does_not():
    float32 = packed_weights.resident_bytes(large())
    assert packed_weights.resident_bytes(quantized("dynamic_wi8_afp32")) < 0.6 * float32
    assert packed_weights.resident_bytes(quantized("weight_only_wi8_afp32")) > 0.9 * float32


def test_what_cannot_be_run_gets_a_sentence():
    broken = converted("float")[:2000]
    with pytest.raises(ArtifactError, match="cannot be run"):
        packed_weights.packed_bytes(broken)
    with pytest.raises(ArtifactError, match="cannot be run with kernels='builtin'"):
        packed_weights.resident_bytes(broken, "builtin")
    with pytest.raises(ValueError, match="kernels='none' is unknown"):
        packed_weights.resident_bytes(converted("float"), "none")
    assert np.isfinite(packed_weights.packed_bytes(converted("float")))


def test_what_runs_in_the_child_measures_the_growth_on_zeros(monkeypatch, tmp_path):
    import ai_edge_litert.interpreter as litert
    import psutil

    sizes = iter((1_000, 5_500))
    monkeypatch.setattr(psutil.Process, "memory_info", lambda self: SimpleNamespace(rss=next(sizes)))
    given, made, plain = [], [], litert.Interpreter.set_tensor

    class Watched(litert.Interpreter):
        def __init__(self, **options):
            made.append(options)
            super().__init__(**options)

        def set_tensor(self, index, values):
            given.append(values)
            plain(self, index, values)

    monkeypatch.setattr(litert, "Interpreter", Watched)
    path = tmp_path / "model.tflite"
    path.write_bytes(converted("float"))
    assert packed_weights._grown(b"", str(path), "builtin") == 4_500
    assert len(given) == 1 and not given[0].any()
    assert made[0]["num_threads"] == 1 and made[0]["model_path"] == str(path)
