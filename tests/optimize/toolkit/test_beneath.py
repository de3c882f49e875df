"""What TensorFlow executes: Grappler's passes one by one, and copies under another policy."""

import numpy as np
import pytest
import tf_keras

from utils.optimize.toolkit import beneath

K = tf_keras.layers


@pytest.fixture(scope="module")
def model():
    tf_keras.utils.set_random_seed(1)
    return tf_keras.Sequential(
        [
            tf_keras.Input((8, 8, 3)),
            K.Conv2D(4, 3, use_bias=False),
            K.BatchNormalization(),
            K.ReLU(),
            K.Flatten(),
            K.Dense(2),
        ]
    )


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype("float32")


def test_grappler_fuses_batch_normalization_and_changes_no_output(model, x):
    off, y_off = beneath.executed_graph(model, x, grappler=False)
    on, y_on = beneath.executed_graph(model, x)
    assert off["FusedBatchNormV3"] == 1 and on["FusedBatchNormV3"] == 0
    assert on.total() < off.total()
    np.testing.assert_allclose(y_on, y_off, atol=1e-5)
    np.testing.assert_allclose(y_off, model(x, training=False), atol=1e-5)


def test_a_pass_can_be_switched_off(model, x):
    assert beneath.executed_graph(model, x, without=["remapping"])[0]["FusedBatchNormV3"] == 1
    with pytest.raises(KeyError, match="choose from remapping"):
        beneath.executed_graph(model, x, without=["fusing"])


def test_models_with_two_outputs_are_refused(x):
    start = tf_keras.Input((8, 8, 3))
    with pytest.raises(ValueError, match="2 outputs"):
        beneath.executed_graph(tf_keras.Model(start, [start, K.ReLU()(start)]), x)


def test_a_policy_changes_computation_and_not_variables(model, x):
    copy = beneath.with_policy(model)
    assert copy.output.dtype == "bfloat16"
    assert {w.dtype.name if hasattr(w.dtype, "name") else w.dtype for w in copy.weights} == {"float32"}
    np.testing.assert_allclose(np.asarray(copy(x)).astype("float32"), model(x), atol=0.1)
    assert model.output.dtype == "float32"
    with pytest.raises(ValueError):
        beneath.with_policy(model, "mixed_float12")


def test_forward_is_inference_and_may_be_compiled(model, x):
    np.testing.assert_allclose(beneath.forward(model, compiled=True)(x), beneath.forward(model)(x), atol=1e-5)
