"""Layers that the Toolkit refuses: named, left float, or quantized with a configuration of one's own."""

import re
import warnings

import numpy as np
import pytest
import tensorflow as tf
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


# ---------------------------------------------------------------- the tables, entry by entry


def layer_of(kind: str):
    """A layer whose class has this name and nothing else."""
    return type(kind, (L.Layer,), {})(name="it")


@pytest.fixture(scope="module")
def known():
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_registry as registry,
    )

    return registry.Default8BitQuantizeRegistry()


@pytest.mark.parametrize("activation", ["relu", "relu6", "swish", "linear", "softmax", "sigmoid", "tanh"])
def test_activation_layers_that_the_toolkit_knows(known, activation):
    function = tf.nn.relu6 if activation == "relu6" else activation
    assert aware_layers.refused_at_sight(L.Activation(function), known) is None


@pytest.mark.parametrize("activation", ["elu", "selu", "gelu", "softplus", "exponential", "hard_sigmoid"])
def test_activation_layers_that_the_toolkit_does_not_know(known, activation):
    found = aware_layers.refused_at_sight(L.Activation(activation, name="it"), known)
    assert str(found) == (
        f"it (Activation): the Toolkit has no rule for the activation {activation!r}. "
        "Use relu here, or a ReLU or LeakyReLU layer behind it"
    )


@pytest.mark.parametrize(
    "kind, way_out",
    [
        ("Conv1D", r"layer_config\(\['kernel'\]\)}, or write it as Conv2D"),
        ("Conv3D", r"layer_config\(\['kernel'\]\)}; check the file, few kernels take it"),
        ("BatchNormalization", "right behind a convolution"),
        ("PReLU", "Use ReLU or LeakyReLU"),
        ("Multiply", "Use Add or Concatenate"),
        ("Rescaling", "Scale the data before the model"),
        ("Normalization", "Scale the data before the model"),
        ("Embedding", "quantize it after training .*'dynamic'"),
        ("LayerNormalization", "or use BatchNormalization behind"),
        ("Activation", "Use relu, sigmoid, tanh or softmax"),
        ("Dense", "give it a QuantizeConfig of its own"),
        ("GroupNormalization", "give it a QuantizeConfig of its own"),
    ],
)
def test_each_refused_kind_has_its_way_out(kind, way_out):
    found = aware_layers.left_float(layer_of(kind), "why")
    assert (found.layer, found.kind, found.reason, found.float_in_file) == ("it", kind, "why", None)
    assert re.search(way_out, found.way_out)


def test_recurrent_layers_have_another_way_out_than_others():
    assert "recurrent cells" in aware_layers.left_float(L.GRU(2), "why").way_out
    assert "recurrent cells" not in aware_layers.left_float(L.Dense(2), "why").way_out


@pytest.mark.parametrize(
    "kind, way_out",
    [
        ("Conv2DTranspose", "Without an activation"),
        ("BatchNormalization", "right behind a Conv2D or DepthwiseConv2D"),
        ("ReLU", r"ReLU\(6\.0\), or LeakyReLU"),
        ("Dense", "Leave it float, or quantize the model after training"),
    ],
)
def test_each_kind_that_stays_float_in_the_file_has_its_way_out(kind, way_out):
    found = aware_layers.float_in_file(layer_of(kind), ["ADD", "MUL"])
    assert found.reason.endswith("leaves it in float (ADD, MUL)")
    assert re.search(way_out, found.way_out)


@pytest.mark.parametrize("activation, own", [("swish", True), ("linear", False), (None, False)])
def test_an_activation_inside_a_layer_with_weights_may_become_a_layer_of_its_own(activation, own):
    layer = L.Dense(2, activation)
    assert "as a layer of its own" not in aware_layers.float_in_file(layer, ["MUL"]).way_out  # no weights yet
    layer.build((None, 3))
    assert (f"Activation({activation!r})" in aware_layers.float_in_file(layer, ["MUL"]).way_out) == own


def test_what_was_asked_for_by_name_is_said_to_be_trained_with_rounding():
    for kept in (True, False):
        found = aware_layers.float_in_file(layer_of("ReLU"), ["RELU"], kept)
        assert ("it is trained with rounding all the same" in found.reason) == kept
        assert found.way_out.startswith("Quantize what comes before it, too") == kept
        assert found.way_out.endswith("or LeakyReLU for a slope")


def test_only_what_computes_in_integers_in_the_file_is_said_to():
    for in_file in (None, True, False):
        found = aware_layers.LeftFloat("a", "Dense", "why", "Do that", in_file)
        integers = "; in the file it computes in integers, which training has not seen" if in_file is False else ""
        assert str(found) == f"a (Dense): why{integers}. Do that"
