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
    with pytest.warns(UserWarning, match=r"float in training or in the file: no \("):
        made = qa.quantize_aware(model, calibration=inputs(model)[0])
    rows = [r for r in aware_ranges.precision(made) if r["kind"] != "QuantizeLayer"]  # it holds a range, no weights
    assert [r["layer"] for r in rows if r["weights"] == "float"] == ["no"]
    last = [op for op in aware_file.to_tflite(made).runner.summary() if op.name == "FULLY_CONNECTED"][-1]
    assert last.outputs[0].dtype == "int8"


def test_refused_layers_are_listed_without_quantizing():
    assert list(qa.refused_layers(REFUSED["conv1d"]())) == ["no"]


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
    with pytest.raises(ValueError, match=r"not quantized: no \(Conv1D\).*configs="):
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
    assert {"attention", "norm", "mine"} <= set(aware_layers)
    by_the_toolkit = {name for name, why in aware_layers.items() if "the Toolkit has no rule" in why.reason}
    assert len(by_the_toolkit) == 4  # the other ones stand between them and are float in the file
    assert all(aware_layers[name].float_in_file for name in set(aware_layers) - by_the_toolkit)
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


# ---------------------------------------------------------------- accepted by the Toolkit, float in the file


def ended(*layers):
    return lambda: stacked(*[layer() for layer in layers], L.Flatten(), L.Dense(3, name="last"))


#: {kind: (model, the layer that stays float, the same as the refusal's way out says)}
FLOAT_IN_FILE = {
    "swish inside": (
        ended(lambda: L.Conv2D(4, 3, activation="swish", name="no")),
        ended(lambda: L.Conv2D(4, 3), lambda: L.Activation("swish")),
        "Activation\\('swish'\\)",
    ),
    "relu inside a transposed convolution": (
        ended(lambda: L.Conv2DTranspose(4, 3, activation="relu", name="no")),
        ended(lambda: L.Conv2DTranspose(4, 3)),
        "Without an activation",
    ),
    "relu to 3": (
        ended(lambda: L.Conv2D(4, 3), lambda: L.ReLU(3.0, name="no")),
        ended(lambda: L.Conv2D(4, 3), lambda: L.ReLU(6.0)),
        "ReLU\\(6.0\\)",
    ),
    "relu with a slope": (
        ended(lambda: L.Conv2D(4, 3), lambda: L.ReLU(negative_slope=0.1, name="no")),
        ended(lambda: L.Conv2D(4, 3), lambda: L.LeakyReLU(0.1)),
        "LeakyReLU",
    ),
}


@pytest.mark.parametrize("kind", FLOAT_IN_FILE)
def test_what_the_toolkit_accepts_and_the_file_keeps_float_is_refused_with_a_way_out_that_works(kind):
    make, better, way_out = FLOAT_IN_FILE[kind]
    model = make()
    with pytest.warns(UserWarning, match=rf"no \(.*the converter leaves it in float.*{way_out}") as said:
        made = qa.quantize_aware(model, calibration=inputs(model)[0])
    rows = {row["layer"]: row for row in aware_ranges.precision(made)}
    assert rows["no"]["weights"] in ("float", "") and rows["last"]["weights"] == "8 bits per tensor"
    file = aware_file.to_tflite(made)
    assert "last" not in aware_file.float_layers(made, file)
    integers = "in the file it computes in integers" in str(said[0].message)
    assert ("no" in aware_file.float_layers(made, file)) == (not integers)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        good = qa.quantize_aware(better(), calibration=inputs(model)[0])
    assert aware_file.float_layers(good) == {}


def test_dense_with_normalization_behind_it_is_trained_as_it_is_stored():
    model = stacked(L.Dense(6, name="dense"), L.BatchNormalization(name="bn"), L.ReLU(), L.Dense(3), shape=(5,))
    with pytest.warns(UserWarning, match="dense|bn"):
        made = qa.quantize_aware(model, calibration=inputs(model)[0])
    weights = {row["layer"]: row["weights"] for row in aware_ranges.precision(made)}
    for name in aware_file.float_layers(made):
        assert weights[name] in ("float", "")  # nothing that is trained as integers


def test_layers_that_carry_each_others_names_and_slashes_are_told_apart():
    scopes = ["quant_a", "quant_a/b", "quant_a/b/c", "b", "c"]
    for tensor, layer in (
        ("model/quant_a/b/Conv2D", "quant_a/b"),
        ("model/quant_a/MatMul", "quant_a"),
        ("model/b/Relu", "b"),
        ("quant_a/b/c/Add", "quant_a/b/c"),
        ("model/quant_ab/Add", "model/quant_ab/Add"),
    ):
        assert aware_file._scope(tensor, scopes) == layer


def test_a_refused_layer_is_not_always_eight_bits():
    def bits(weights, activations, **options):
        model = REFUSED["elu"]()
        made = qa.quantize_aware(model, (weights, activations), refused="float", **options)
        return {row["layer"]: row for row in aware_ranges.precision(made)}["no"]

    for activations in (8, 4, 3):
        assert bits(4, activations) == {
            "layer": "no", "kind": "Conv2D", "weights": "float", "output": f"{activations} bits"
        }  # fmt: skip
    assert qa.refused_layers(REFUSED["elu"](), 4)["no"].float_in_file is None  # a simulation: no file was tried


def test_fewer_bits_are_not_tried_and_keep_what_only_a_file_would_refuse():
    model = FLOAT_IN_FILE["swish inside"][0]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = qa.quantize_aware(model, 4, calibration=inputs(model)[0])
    assert {row["layer"]: row["weights"] for row in aware_ranges.precision(made)}["no"] == "4 bits per channel"


def test_what_no_file_can_be_made_of_is_a_simulation_and_said_to_be():
    model = stacked(L.LSTM(4, name="lstm"), L.Dense(3), shape=(5, 2))
    with pytest.warns(UserWarning, match="no file can be made.*simulation"):
        found = qa.refused_layers(model)
    assert found["lstm"].float_in_file is None
