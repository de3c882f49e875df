"""The table of layers by technique is made from what is seen on the result, and ways out are tried."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.little import network
from utils.optimize.toolkit import layer_table
from utils.optimize.toolkit.layer_samples import LAYERS

K = tf_keras.layers

# The Toolkit compares versions with a class that setuptools has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:distutils Version classes are deprecated:DeprecationWarning")


@pytest.fixture(autouse=True)
def seed():
    tf_keras.utils.set_random_seed(1)


def test_every_technique_reaches_a_dense_layer():
    cells = layer_table.layer_support({"dense": lambda: tf_keras.Sequential([tf_keras.Input((8,)), K.Dense(8)])})
    assert [cell.technique for cell in cells] == list(layer_table.TECHNIQUES)
    assert {cell.outcome for cell in cells} == {"yes"}


def test_each_technique_tells_its_own_proof():
    model = tf_keras.Sequential([tf_keras.Input((8,)), K.Dense(8, name="a"), K.Dense(8, name="b")])
    cells = {cell.technique: cell for cell in layer_table.layer_support({"two": lambda: rebuilt(model)})}
    seen = {name: cell.evidence for name, cell in cells.items()}
    assert seen["pruning"] == seen["2:4"] == seen["1×4 blocks"] == "kernel 50% zeros, b/kernel 50% zeros"
    assert seen["clustering"].count(" 4 values") == 2
    assert seen["QAT"].startswith("ranges: ") and "kernel" in seen["QAT"]
    assert seen["QAT int8 file"] == seen["PTQ int8 file"] == "int8: FULLY_CONNECTED×2"
    assert seen["Quantizer int8 file"] == seen["PTQ int8 file"]
    assert not any(cell.way_out for cell in cells.values())


def rebuilt(model):
    return tf_keras.Sequential.from_config(model.get_config())


def test_a_matrix_with_no_more_weights_than_clusters_is_not_clustered():
    """It has so few values anyway."""

    def cell(inputs):
        build = {"row": lambda: tf_keras.Sequential([tf_keras.Input((inputs,)), K.Dense(2)])}
        (found,) = layer_table.layer_support(build, ["clustering"])
        return found.outcome

    assert cell(2) == "no effect" and cell(3) == "yes"


@pytest.mark.parametrize("layer", [K.ReLU, K.BatchNormalization])
def test_factors_are_nothing_to_prune(layer):
    build = {"row": lambda: tf_keras.Sequential([tf_keras.Input((8, 4)), layer()])}
    (cell,) = layer_table.layer_support(build, ["pruning"])
    assert cell.outcome == "nothing to do" and cell.evidence == "no weight matrix"


def test_a_bias_of_two_axes_is_no_matrix():
    (cell,) = layer_table.layer_support({"GRU": LAYERS["GRU"]}, ["pruning"])
    assert (cell.outcome, cell.evidence) == ("yes", "kernel 50% zeros, recurrent_kernel 50% zeros")


def test_what_cannot_be_wrapped_has_no_file_for_the_same_reason():
    cells = layer_table.layer_support({"row": LAYERS["Conv1D"]}, ["QAT", "QAT int8 file"])
    assert [cell.technique for cell in cells] == ["QAT", "QAT int8 file"]
    assert cells[0].outcome == "refused" and cells[0].evidence == cells[1].evidence


def test_every_outcome_has_its_mark():
    cells = [layer_table.Support("row", outcome, outcome, "") for outcome in layer_table.MARKS]
    cells.append(layer_table.Support("other", "yes", "refused", ""))
    marks = {"yes": "✔", "part": "◐ part", "no effect": "○ no effect", "nothing to do": "–", "refused": "✘ refused"}
    assert layer_table.as_table(cells) == [{"layer": "row", **marks}, {"layer": "other", "yes": "✘ refused"}]


def test_the_ways_out_are_tried_in_this_order():
    again, without = ["rebuild with Keras 2", "flatten the model"], "quantize after training"
    aware = [*again, "own QuantizeConfig", without, f"{without}, batch of 1", f"unroll, then {without}"]
    pruning = [*again, "subclass as PrunableLayer"]
    assert {name: list(ways) for name, ways in layer_table._WAYS_OUT.items()} == {
        "QAT": aware,
        "QAT int8 file": aware,
        "pruning": pruning,
        "2:4": [*pruning, "unstructured"],
        "1×4 blocks": [*pruning, "unstructured"],
        "clustering": [*again, "subclass as ClusterableLayer"],
        "PTQ int8 file": [again[0], "fixed batch of 1", "unroll", "allow float operators"],
        "Quantizer int8 file": [again[0], "unroll"],
    }
    assert list(layer_table.TECHNIQUES) == list(layer_table._WAYS_OUT)
    ways = layer_table._WAYS_OUT["QAT"]
    assert ways[without] is layer_table._int8_file_after_training
    assert ways[f"{without}, batch of 1"] is layer_table._fixed_batch


def test_silence_and_refusal_are_told_apart_with_ways_out():
    model = tf_keras.Sequential(
        [
            tf_keras.Input((8, 4)),
            K.Conv1D(4, 3, name="one"),
            K.Reshape((6, 1, 4), name="shape"),
            K.DepthwiseConv2D((2, 1), name="depth"),
        ]
    )
    cells = {(c.layer, c.technique): c for c in layer_table.layer_support(model, ["QAT", "pruning"])}
    refused, silent = cells["one", "QAT"], cells["depth", "pruning"]
    assert refused.outcome == "refused" and "not supported" in refused.evidence
    assert refused.way_out.startswith("own QuantizeConfig → int8")
    assert silent.outcome == "no effect" and "PrunableLayer" in silent.way_out
    assert cells["shape", "pruning"].outcome == "nothing to do"
    marks = layer_table.as_table(cells.values())
    assert marks[0] == {"layer": "one", "QAT": "✘ refused", "pruning": "✔"}


def test_a_layer_that_the_file_keeps_in_float_is_seen():
    def build():
        return tf_keras.Sequential([tf_keras.Input((8,)), K.Dense(4, activation="swish")])

    (cell,) = layer_table.layer_support({"swish": build}, ["QAT int8 file"])
    assert cell.outcome in ("no effect", "part") and "float32" in cell.evidence


@pytest.mark.parametrize(
    ("outcome", "way_out"), [("refused", "first → half"), ("no effect", "first → half"), ("part", "")]
)
def test_half_a_way_out_is_named_where_the_technique_did_less(monkeypatch, outcome, way_out):
    ways = {name: lambda model, seen=seen: ("part", seen) for name, seen in [("first", "half"), ("second", "third")]}
    monkeypatch.setitem(layer_table.TECHNIQUES, "tried", lambda model: (outcome, "seen"))
    monkeypatch.setitem(layer_table._WAYS_OUT, "tried", ways)
    (cell,) = layer_table.layer_support({"row": network}, ["tried"])
    assert (cell.outcome, cell.way_out) == (outcome, way_out)


def test_batch_normalization_is_tried_with_its_convolution():
    model = tf_keras.Sequential(
        [tf_keras.Input((6, 6, 4)), K.Conv2D(4, 3, name="conv"), K.BatchNormalization(name="bn")]
    )
    builders = layer_table.layers_of(model)
    assert [layer.name for layer in builders["bn"]().layers[1:]] == ["conv", "bn"]
    assert [layer.name for layer in builders["conv"]().layers[1:]] == ["conv"]


def test_unknown_techniques_and_candidates_are_refused():
    with pytest.raises(KeyError, match="choose from QAT"):
        layer_table.layer_support(network(), ["prunning"])
    with pytest.raises(TypeError, match="functions that build one"):
        layer_table.layer_support([network()])


def test_listed_counts_what_comes_more_than_once():
    assert layer_table._listed(["MUL", "ADD", "MUL"]) == "MUL×2, ADD"


def test_clustering_a_keras_3_model_gives_nothing():
    (cell,) = layer_table.layer_support({"row": LAYERS["Keras 3 model"]}, ["clustering"])
    assert (cell.outcome, cell.evidence) == ("refused", "TypeError: cluster_weights returned None")


def test_litert_quantizer_gets_examples_of_each_input():
    """What they are multiplied with differs: swapped examples would not fit."""
    a, b = tf_keras.Input((4,), name="b"), tf_keras.Input((6,), name="a")
    model = tf_keras.Model([a, b], K.Concatenate(name="both")([K.Dense(3)(a), K.Dense(2)(b)]))
    (cell,) = layer_table.layer_support({"two": lambda: model}, ["Quantizer int8 file"])
    assert (cell.outcome, cell.evidence) == ("yes", "int8: FULLY_CONNECTED×2, CONCATENATION")


def test_litert_quantizer_leaves_a_slope_in_float():
    (cell,) = layer_table.layer_support({"row": LAYERS["Conv2D → PReLU"]}, ["Quantizer int8 file"])
    assert (cell.outcome, cell.evidence) == ("part", "still float32: PRELU")


def test_a_loop_that_cannot_be_calibrated_is_unrolled():
    (cell,) = layer_table.layer_support({"SimpleRNN": LAYERS["SimpleRNN"]}, ["PTQ int8 file"])
    assert cell.outcome == "refused" and cell.way_out.startswith("unroll → int8: ")
    assert "WHILE" not in cell.way_out and "FULLY_CONNECTED×16" in cell.way_out  # two for each of 8 steps


def test_a_layer_alone_is_called_as_in_the_model():
    x = tf_keras.Input((5, 8))
    attended = K.MultiHeadAttention(2, 4, name="attention")(x, value=K.Dense(8, name="value")(x), use_causal_mask=True)
    steps, _ = K.GRU(4, return_state=True, return_sequences=True, name="steps")(attended)
    model = tf_keras.Model(x, K.Dense(2, name="end")(tf.nn.relu(2 * K.Flatten(name="flat")(steps) + 1)))
    K.Dense(3)(tf_keras.Sequential([model.get_layer("value")])(x))  # a call elsewhere is none of this model's
    alone = {name: build() for name, build in layer_table.layers_of(model).items()}
    assert set(alone) == {layer.name for layer in model.layers[1:]}
    attention = alone["attention"]
    assert [tuple(entry.shape) for entry in attention.inputs] == [(None, 5, 8)] * 2
    layer = attention.layers[-1]
    one, other = (np.random.default_rng(i).normal(size=(2, 5, 8)).astype("float32") for i in range(2))
    wanted = layer(one, value=other, use_causal_mask=True)
    assert min(np.abs(attention(pair) - wanted).max() for pair in ([one, other], [other, one])) < 1e-6
    (times,) = [each for name, each in alone.items() if name.startswith("tf.math.multiply")]  # Keras counts these names
    np.testing.assert_array_equal(times(np.ones((1, 20), "float32")), np.full((1, 20), 2))
    (cell,) = [c for c in layer_table.layer_support(model, "pruning") if c.layer == "value"]
    assert cell.outcome == "yes"


def test_a_model_without_a_graph_has_no_layers_to_try():
    with pytest.raises(ValueError, match="no graph of layers"):
        layer_table.layers_of(LAYERS["subclassed model"]())
