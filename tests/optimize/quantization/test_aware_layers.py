"""Layers that the Toolkit refuses: named, left float, or quantized with a configuration of one's own."""

import warnings

import numpy as np
import pytest
import tf_keras

from tests.aware import inputs, stacked
from utils.optimize.quantization import aware as qa
from utils.optimize.quantization import aware_file, aware_layers, aware_ranges

L = tf_keras.layers


REFUSED = {
    "conv1d": lambda: stacked(L.Conv1D(4, 3, name="no"), L.Flatten(), L.Dense(3), shape=(12, 2)),
    "elu": lambda: stacked(L.Conv2D(4, 3, activation="elu", name="no"), L.Flatten(), L.Dense(3)),
    "bn first": lambda: stacked(L.BatchNormalization(name="no"), L.Conv2D(4, 3), L.Flatten(), L.Dense(3)),
    "prelu": lambda: stacked(L.Dense(4), L.PReLU(name="no"), L.Dense(3), shape=(5,)),
    "distributed": lambda: stacked(L.TimeDistributed(L.Dense(4), name="no"), L.Flatten(), L.Dense(3), shape=(5, 2)),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refused_layer_stays_float_and_the_next_one_is_integer_all_the_same(kind):
    model = REFUSED[kind]()
    assert list(qa.refused_layers(model)) == ["no"]
    with pytest.warns(UserWarning, match=r"left float: no \("):
        made = qa.quantize_aware(model, calibration=inputs(model)[0])
    assert {r["layer"]: r["weights"] for r in aware_ranges.precision(made)}["no"] == "float"
    last = [op for op in aware_file.to_tflite(made).runner.summary() if op.name == "FULLY_CONNECTED"][-1]
    assert last.outputs[0].dtype == "int8"


def test_what_can_be_told_at_sight():
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_registry as registry,
    )

    known = registry.Default8BitQuantizeRegistry()
    for layer, reason in (
        (L.Dense(2, "relu"), None),
        (L.BatchNormalization(), None),
        (L.Activation("relu"), None),
        (L.Conv1D(2, 3), "this kind of layer"),
        (L.Dense(2, "elu"), "the activation 'elu'"),
        (L.Activation("elu"), "the activation 'elu'"),
        (L.LSTM(2), "this kind of layer"),
    ):
        found = aware_layers.refused_at_sight(layer, known)
        assert (found is None) == (reason is None) and (found is None or reason in str(found)), layer
    assert "recurrent" in aware_layers.refused_at_sight(L.GRU(2), known).way_out


def test_refusal_can_be_an_error_that_names_the_way_out():
    with pytest.raises(ValueError, match=r"refuses no \(Conv1D\).*configs="):
        qa.quantize_aware(REFUSED["conv1d"](), refused="raise")


def test_operator_layers_attention_and_own_layers_are_refused_by_name():
    class Mine(L.Layer):
        def call(self, x):
            return x * 2.0

    start = tf_keras.Input((6, 8))
    x = L.MultiHeadAttention(2, 4, name="attention")(start, start)
    x = Mine(name="mine")(L.LayerNormalization(name="norm")(L.Add()([start, x])))
    model = tf_keras.Model(start, L.Dense(2)(L.GlobalAveragePooling1D()(x * 3.0)))
    aware_layers = qa.refused_layers(model)
    assert {"attention", "norm", "mine"} <= set(aware_layers) and len(aware_layers) == 4
    assert "BatchNormalization" in aware_layers["norm"].way_out
    made = qa.quantize_aware(model, refused="float", calibration=inputs(model)[0])
    want, got = (m.predict(inputs(model)[0], verbose=0) for m in (model, made))
    assert np.abs(got - want).max() < 0.1 * np.abs(want).max()


def test_own_configuration_for_a_refused_layer():
    model = REFUSED["conv1d"]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is left float, so nothing is said
        made = qa.quantize_aware(model, configs={"no": qa.layer_config(["kernel"])}, calibration=inputs(model)[0])
    assert {r["layer"]: r["weights"] for r in aware_ranges.precision(made)}["no"] == "8 bits per tensor"
    assert {op.outputs[0].dtype for op in aware_file.to_tflite(made).runner.summary()[1:-1]} == {"int8"}
