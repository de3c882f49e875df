"""Peak memory."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tests.little import as_tflite, classifier, examples, keras
from utils.artifact import Artifact
from utils.measure import memory


def test_peak_memory_grows_by_what_the_model_needs():
    k = keras()
    import tensorflow as tf

    def dense(units):
        model = k.Sequential([k.Input((256,)), k.layers.Dense(units, kernel_initializer="ones"), k.layers.Dense(2)])
        return Artifact(tf.lite.TFLiteConverter.from_keras_model(model).convert(), "tflite", trusted=True)

    x = np.ones((1, 256), np.float32)
    ballast = np.ones(200 * 2**20, np.uint8)  # this process is large; the child must not report that
    small, large = memory.peak_memory(dense(16), x), memory.peak_memory(dense(20_000), x)
    file = dense(20_000).size
    assert len(ballast) > small.peak > small.baseline > 2**20 or sys.platform != "linux"
    assert small.bytes < 8 * 2**20
    assert file <= large.bytes < 4 * file + 8 * 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere free heap cannot be given back before the baseline")
def test_peak_memory_sees_the_buffers_of_a_batch():
    k = keras()
    import tensorflow as tf

    model = k.Sequential([k.Input((28, 28, 1)), k.layers.Conv2D(20, 5), k.layers.MaxPooling2D(8), k.layers.Flatten()])
    convolution = Artifact(tf.lite.TFLiteConverter.from_keras_model(model).convert(), "tflite", trusted=True)
    x = np.ones((256, 28, 28, 1), np.float32)
    buffer = 256 * 24 * 24 * 20 * 4  # bytes of the convolution's output, smaller than what importing leaves free
    one, many = memory.peak_memory(convolution, x[:1]), memory.peak_memory(convolution, x)
    assert many.bytes - one.bytes > 0.8 * buffer


@pytest.mark.parametrize("given, limit", [({}, 120.0), ({"timeout": 7.0}, 7.0)])
def test_the_child_has_the_time_that_was_given(monkeypatch, given, limit):
    asked = []
    monkeypatch.setattr(memory.child, "run", lambda *_, **options: asked.append(options["timeout"]) or (1, 3))
    assert memory.peak_memory(as_tflite(), examples(2), **given).bytes == 2
    assert asked == [limit]


def test_the_baseline_is_what_is_used_now_and_not_the_most_there_was(monkeypatch, tmp_path):
    (tmp_path / "artifact").write_bytes(as_tflite().content)
    np.savez(tmp_path / "x.npz", x=examples(2))
    monkeypatch.setattr(memory, "_resident", lambda: 5)
    monkeypatch.setattr(memory, "_peak_resident", lambda: 9)
    assert memory._memory_of_child(b"", str(tmp_path), "tflite") == (5, 9)
    monkeypatch.setattr(memory, "_peak_resident", lambda: 4)  # a kernel that looks only now and then
    assert memory._memory_of_child(b"", str(tmp_path), "tflite") == (5, 5)


def test_peak_memory_refuses_what_predict_refuses():
    with pytest.raises(ValueError, match="takes shape"):
        memory.peak_memory(as_tflite(), examples(2)[0])
    with pytest.raises(TypeError, match="takes an Artifact"):
        memory.peak_memory(classifier(), examples(2))


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux' table of the process")
def test_the_high_water_mark_is_in_bytes(monkeypatch):
    """Linux counts it in kB of 1,024 bytes."""
    monkeypatch.setattr(memory.Path, "read_text", lambda _: "VmPeak:  9000 kB\nVmHWM:\t    2048 kB\nVmRSS: 1000 kB\n")
    assert memory._peak_resident() == 2 * 2**20


def test_the_most_there_was_is_the_larger_of_two_looks(monkeypatch, tmp_path):
    """One at the kernel's mark, one at what is used when the prediction is done."""
    (tmp_path / "artifact").write_bytes(as_tflite().content)
    np.savez(tmp_path / "x.npz", x=examples(2))
    for after, mark, peak in ((7, 4, 7), (7, 9, 9), (3, 4, 5)):  # never below what there was before
        used = iter((5, after))
        monkeypatch.setattr(memory, "_resident", lambda used=used: next(used))
        monkeypatch.setattr(memory, "_peak_resident", lambda mark=mark: mark)
        assert memory._memory_of_child(b"", str(tmp_path), "tflite") == (5, peak)


def test_inputs_of_several_names_arrive_in_the_child(monkeypatch, tmp_path):
    seen = []

    class Opened:
        def __init__(self, content, format, trusted):
            assert (content, format, trusted) == (b"file", "tflite", True)

        def predict(self, x):
            seen.append(x)

    monkeypatch.setattr(memory, "Artifact", Opened)
    (tmp_path / "artifact").write_bytes(b"file")
    np.savez(tmp_path / "x.npz", xa=examples(2), xb=examples(3))
    memory._memory_of_child(b"", str(tmp_path), "tflite")
    assert {name: len(values) for name, values in seen[0].items()} == {"a": 2, "b": 3}
