"""A file that keeps its state from step to step, against sums by hand."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from tests.little import as_tflite, examples, keras
from utils.deploy.tflite.tflite_model import TFLiteModel


@functools.cache
def counting(batch: int = 1) -> bytes:
    """Adds up what it is given, in a resource variable."""
    import tensorflow as tf

    keras()
    module = tf.Module()
    module.total = tf.Variable(tf.zeros((batch, 2)))
    call = tf.function(lambda x: {"total": module.total.assign_add(x)})
    concrete = call.get_concrete_function(tf.TensorSpec((batch, 2), tf.float32, name="x"))
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete], module).convert()


def test_a_stream_keeps_its_state_and_run_does_not():
    model, one = TFLiteModel(counting()), np.ones((1, 2), np.float32)
    assert model.run(np.ones((3, 2), np.float32)).tolist() == [[1, 1]] * 3
    stream, other = model.stream(), model.stream()
    assert [stream.step(one)[0, 0] for _ in range(3)] == [1, 2, 3]
    assert model.run(one).tolist() == [[1, 1]]
    assert other.step(5 * one)[0, 0] == 5
    stream.reset()
    assert stream.step(one)[0, 0] == 1
    with pytest.raises(ValueError, match="takes 1 examples a step, got 2: a state belongs to each"):
        stream.step(np.ones((2, 2), np.float32))
    with pytest.raises(TypeError, match="takes real values"):
        stream.step(np.ones((1, 2), int))
    assert stream.step(one)[0, 0] == 2  # what was refused did not count


def test_a_stream_of_a_file_without_state_gives_what_run_gives():
    model, x = TFLiteModel(as_tflite().content), examples(4)
    stream = model.stream()
    np.testing.assert_array_equal(stream.step(x), model.run(x))
    with pytest.raises(ValueError, match=r"the state belongs to inputs of shape .*call reset\(\) first"):
        stream.step(x[:2])
    stream.reset()
    np.testing.assert_array_equal(stream.step(x[:2]), model.run(x[:2]))


@functools.cache
def fused_lstm() -> bytes:
    """A file with variable tensors: those that reset_all_variables does set back."""
    import tensorflow as tf

    k = keras()
    model = k.Sequential([k.Input(batch_shape=(1, 4, 2)), k.layers.LSTM(3)])
    return tf.lite.TFLiteConverter.from_keras_model(model).convert()


def test_examples_stay_independent_of_each_other_in_a_file_with_variable_tensors():
    model = TFLiteModel(fused_lstm())
    assert any(tensor.variable for tensor in model.tensors())
    x = np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32)
    one_by_one = np.concatenate([TFLiteModel(fused_lstm(), trusted=True).run(one[None]) for one in x])
    np.testing.assert_array_equal(model.run(x), one_by_one)
    stream = model.stream()
    kept = np.concatenate([stream.step(one[None]) for one in x])
    np.testing.assert_array_equal(kept[0], one_by_one[0])
    assert np.abs(kept[1:] - one_by_one[1:]).max() > 1e-4


def test_a_step_has_as_many_examples_as_the_file_declares_even_none():
    from types import SimpleNamespace

    from utils.deploy.tflite.io_tensors import IOTensor
    from utils.deploy.tflite.stream import Stream

    for shape, count, fits in (((0, 2), 1, False), ((-1, 2), 5, True), ((3, 2), 3, True), ((3, 2), 2, False)):
        tensor = IOTensor("x", 0, shape, np.dtype(np.float32), None)
        session = SimpleNamespace(inputs=[tensor], invoke=lambda values: values)
        stream = Stream(session, lambda x: {"x": x}, lambda results: results["x"])
        x = np.ones((count, 2), np.float32)
        if fits:
            assert stream.step(x) is x
        else:
            with pytest.raises(ValueError, match=f"takes {shape[0]} examples a step, got {count}"):
                stream.step(x)
