"""The table is made from what is seen on the result, and wrappers are counted variable by variable."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras

from utils.optimize import toolkit
from utils.optimize.layers import LAYERS

K = tf_keras.layers

# The Toolkit compares versions with a class that setuptools has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:distutils Version classes are deprecated:DeprecationWarning")


@pytest.fixture(autouse=True)
def seed():
    tf_keras.utils.set_random_seed(1)


def network():
    return tf_keras.Sequential([
        tf_keras.Input((6, 6, 4)), K.Conv2D(3, 2, name="conv"), K.Flatten(name="flat"), K.Dense(5, name="dense"),
    ])


def pruned(model):
    schedule = tfmot.sparsity.keras.ConstantSparsity(0.5, 0, frequency=1)
    return tfmot.sparsity.keras.prune_low_magnitude(model, pruning_schedule=schedule)


def test_pruning_adds_masks_thresholds_and_steps():
    found = toolkit.what_it_added(network(), pruned(network()))
    assert found.wrappers == dict.fromkeys(["conv", "flat", "dense"], "PruneLowMagnitude")
    masks = {row.layer: row for row in found.added if row.variable == "mask"}
    assert masks["conv"].shape == (2, 2, 4, 3) and masks["dense"].bytes == 75 * 5 * 4
    weights = 4 * (48 + 375)
    assert found.added_bytes == weights + 2 * 4 + 3 * 8  # two thresholds, three steps
    assert not found.gone


def test_stripping_leaves_nothing():
    found = toolkit.what_it_added(network(), tfmot.sparsity.keras.strip_pruning(pruned(network())))
    assert (found.wrappers, found.added, found.gone) == ({}, (), ())


def test_a_variable_that_is_gone_is_named():
    fewer = tf_keras.Sequential([tf_keras.Input((6, 6, 4)), K.Conv2D(3, 2, use_bias=False, name="conv")])
    found = toolkit.what_it_added(network(), fewer)
    assert {(row.layer, row.variable) for row in found.gone} == {
        ("conv", "bias"), ("dense", "kernel"), ("dense", "bias")}


def test_keras_own_wrappers_do_not_count():
    def build():
        return tf_keras.Sequential([tf_keras.Input((3, 4)), K.TimeDistributed(K.Dense(2), name="each")])

    assert toolkit.what_it_added(build(), build()).wrappers == {}


@pytest.mark.parametrize(("bad", "error", "words"), [
    ("text", TypeError, "pass a tf_keras model"),
    (keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)]), TypeError, "Keras 3"),
    (tf_keras.Sequential([K.Dense(2)]), ValueError, "not built"),
])
def test_bad_models_are_refused(bad, error, words):
    with pytest.raises(error, match=words):
        toolkit.what_it_added(bad, network())
    with pytest.raises(error, match=words):
        toolkit.what_it_added(network(), bad)


def test_every_technique_reaches_a_dense_layer():
    cells = toolkit.layer_support({"dense": lambda: tf_keras.Sequential([tf_keras.Input((8,)), K.Dense(8)])})
    assert [cell.technique for cell in cells] == list(toolkit.TECHNIQUES)
    assert {cell.outcome for cell in cells} == {"yes"}


def test_silence_and_refusal_are_told_apart_with_ways_out():
    model = tf_keras.Sequential([
        tf_keras.Input((8, 4)), K.Conv1D(4, 3, name="one"), K.Reshape((6, 1, 4), name="shape"),
        K.DepthwiseConv2D((2, 1), name="depth"),
    ])
    cells = {(c.layer, c.technique): c for c in toolkit.layer_support(model, ["QAT", "pruning"])}
    refused, silent = cells["one", "QAT"], cells["depth", "pruning"]
    assert refused.outcome == "refused" and "not supported" in refused.evidence
    assert refused.way_out.startswith("own QuantizeConfig → int8")
    assert silent.outcome == "no effect" and "PrunableLayer" in silent.way_out
    assert cells["shape", "pruning"].outcome == "nothing to do"
    marks = toolkit.as_table(cells.values())
    assert marks[0] == {"layer": "one", "QAT": "✘", "pruning": "✔"}


def test_a_layer_that_the_file_keeps_in_float_is_seen():
    def build():
        return tf_keras.Sequential([tf_keras.Input((8,)), K.Dense(4, activation="swish")])

    (cell,) = toolkit.layer_support({"swish": build}, ["QAT int8 file"])
    assert cell.outcome in ("no effect", "part") and "float32" in cell.evidence


def test_batch_normalization_is_tried_with_its_convolution():
    model = tf_keras.Sequential([
        tf_keras.Input((6, 6, 4)), K.Conv2D(4, 3, name="conv"), K.BatchNormalization(name="bn"),
    ])
    builders = toolkit.layers_of(model)
    assert [layer.name for layer in builders["bn"]().layers[1:]] == ["conv", "bn"]
    assert [layer.name for layer in builders["conv"]().layers[1:]] == ["conv"]


def test_unknown_techniques_and_candidates_are_refused():
    with pytest.raises(KeyError, match="choose from QAT"):
        toolkit.layer_support(network(), ["prunning"])
    with pytest.raises(TypeError, match="functions that build one"):
        toolkit.layer_support([network()])


def test_flattened_opens_nested_and_subclassed_models():
    class Own(tf_keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = K.Dense(3, name="inside")

        def call(self, x):
            return self.dense(x)

    start = tf_keras.Input((4,))
    inner = tf_keras.Sequential([tf_keras.Input((4,)), K.Dense(4, name="a"), K.ReLU(name="b")])
    x = K.Add(name="sum")([start, inner(start)])
    model = tf_keras.Model(start, Own()(x))
    flat = toolkit.flattened(model)
    assert [layer.name for layer in flat.layers[1:]] == ["a", "b", "sum", "inside"]
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    np.testing.assert_array_equal(flat(x), model(x))


def test_keras_2_keeps_weights_and_graph():
    start = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="conv")(start)
    x = keras.layers.BatchNormalization(name="bn")(x)
    x = keras.layers.Add(name="add")([x, keras.layers.ReLU(name="relu")(x)])
    model = keras.Model(start, keras.layers.Dense(2, activation="softmax", name="end")(keras.layers.Flatten()(x)))
    twin = toolkit.keras_2(model)
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(twin(x), np.asarray(model(x)), atol=1e-5)
    assert toolkit.says(tfmot.quantization.keras.quantize_model, twin) == "accepted"


def test_keras_2_names_what_it_cannot_rebuild():
    start = keras.Input((4,))
    with pytest.raises(ValueError, match="Relu, which Keras 2 has not"):
        toolkit.keras_2(keras.Model(start, keras.ops.relu(start)))
    with pytest.raises(TypeError, match="pass a Keras 3 model"):
        toolkit.keras_2(network())


def test_example_input_fits_types_and_unknown_sizes():
    words, picture = tf_keras.Input((None,), dtype="int32"), tf_keras.Input((2, 3))
    model = tf_keras.Model([words, picture], [K.Embedding(2, 2)(words), picture])
    first, second = toolkit.example_input(model, 5)
    assert first.shape == (5, 8) and first.dtype == np.int32 and set(np.unique(first)) <= {0, 1}
    assert second.shape == (5, 2, 3) and second.dtype == np.float32
    with pytest.raises(ValueError, match="at least one"):
        toolkit.example_input(model, 0)


def test_operators_reads_the_file_and_refuses_others():
    with toolkit.quiet():
        content = tf.lite.TFLiteConverter.from_keras_model(network()).convert()
    names = dict(toolkit.operators(content))
    assert names["CONV_2D"] == "float32" and "FULLY_CONNECTED" in names
    with pytest.raises(ValueError, match="not the content"):
        toolkit.operators(b"PK\3\4 a zip file")


def test_shortened_keeps_the_telling_line():
    text = 'in user code:\n\n    File "/somewhere/a.py", line 3\n\n    ValueError: shape (3, 8) is not supported.\n'
    assert toolkit.shortened(ValueError(text)) == "ValueError: shape (3, 8) is not supported."
    assert toolkit.shortened(RuntimeError("Layer a:<class 'x.y.Conv1D'> is not supported")) == (
        "RuntimeError: Layer a:Conv1D is not supported")
    assert len(toolkit.shortened(ValueError("word " * 100))) < 130


def test_listed_counts_what_comes_more_than_once():
    assert toolkit._listed(["MUL", "ADD", "MUL"]) == "MUL×2, ADD"


@pytest.mark.parametrize("limit", range(8, 40))
def test_shortened_text_keeps_to_its_limit(limit):
    said = toolkit.shortened(ValueError("a " * 50), limit).removeprefix("ValueError: ")
    assert len(said) <= limit and said.endswith(" …")


def test_a_loop_that_cannot_be_calibrated_is_unrolled():
    (cell,) = toolkit.layer_support({"SimpleRNN": LAYERS["SimpleRNN"]}, ["PTQ int8 file"])
    assert cell.outcome == "refused" and cell.way_out.startswith("unroll → int8: ")
    assert "WHILE" not in cell.way_out and "FULLY_CONNECTED×16" in cell.way_out  # two for each of 8 steps


def test_unrolling_keeps_the_outputs_and_needs_a_loop():
    model = LAYERS["GRU"]()
    x = toolkit.example_input(model, 3)[0]
    np.testing.assert_allclose(toolkit._unrolled(model)(x), model(x), atol=1e-6)
    with pytest.raises(ValueError, match="no layer of the model can be unrolled"):
        toolkit._unrolled(LAYERS["Dense"]())
