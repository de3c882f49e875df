"""LiteRT's CompiledModel gives what its Interpreter gives, and announces nothing."""

from __future__ import annotations

import numpy as np
import pytest

from tests.deploy.tflite.test_tflite_model import branched, converted, fixed_batch, of_model, pictures, two_by_two
from utils.artifact import ArtifactError
from utils.deploy.tflite import compiled_model
from utils.deploy.tflite.tflite_model import TFLiteModel


@pytest.mark.parametrize("count", [1, 4])
def test_it_equals_the_interpreter(count, capfd):
    assert branched()
    x = pictures(count)
    for content in (converted("float"), fixed_batch(count)):
        expected = TFLiteModel(content).run_raw(x)
        capfd.readouterr()
        found = compiled_model.predict(content, x)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        assert found.dtype == np.float32
        captured = capfd.readouterr()
        assert captured.out + captured.err == ""


def test_what_does_not_fit_gets_a_sentence():
    with pytest.raises(ValueError, match="2 inputs and 2 outputs, not one each"):
        compiled_model.predict(of_model(two_by_two), pictures(1))
    with pytest.raises(ArtifactError, match="TensorFlow failed: the file has 2 inputs and 2 outputs, not one each"):
        compiled_model.predict_by_tensorflow(of_model(two_by_two), pictures(1))
    with pytest.raises(ArtifactError, match="not a tflite file"):
        compiled_model.predict(b"PK\x03\x04" * 9, pictures(1))
    with pytest.raises(ArtifactError, match="cannot be run"):
        compiled_model.predict(converted("float")[:2000], pictures(1))
    with pytest.raises(ValueError, match=r"takes shape \(n, 10, 10, 2\).*got \(1, 5, 10, 2\)"):
        compiled_model.predict(converted("float"), pictures(1)[:, :5])
    with pytest.raises(TypeError, match="the file takes float32, got float64"):
        compiled_model.predict(converted("float"), pictures(1).astype(float))
    with pytest.raises(TypeError, match="the file takes float32, got float64"):
        compiled_model.predict(converted("float"), pictures(1).tolist())


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_fixed_batch_is_taken_whole(count):
    with pytest.raises(ValueError, match=f"takes 3 examples at a time, got {count}; TFLiteModel"):
        compiled_model.predict(fixed_batch(3), pictures(count))


def test_tensorflows_own_interpreter_agrees_and_warns(capfd):
    x = pictures(3)
    content = converted("float")
    capfd.readouterr()
    found, warning = compiled_model.predict_by_tensorflow(content, x)
    np.testing.assert_allclose(found, TFLiteModel(content).run(x), rtol=1e-5, atol=1e-6)
    assert "tf.lite.Interpreter is deprecated" in warning
    assert compiled_model.tensorflow_error(content, x) == ""
    assert "TensorFlow failed: " in compiled_model.tensorflow_error(content, x[..., :1])
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
