"""Wrappers are counted variable by variable, and errors are told shortly."""

import keras
import pytest
import tensorflow_model_optimization as tfmot
import tf_keras

from tests.little import network
from utils.optimize.toolkit import wrapping

K = tf_keras.layers

# The Toolkit compares versions with a class that setuptools has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:distutils Version classes are deprecated:DeprecationWarning")


@pytest.fixture(autouse=True)
def seed():
    tf_keras.utils.set_random_seed(1)


def pruned(model):
    schedule = tfmot.sparsity.keras.ConstantSparsity(0.5, 0, frequency=1)
    return tfmot.sparsity.keras.prune_low_magnitude(model, pruning_schedule=schedule)


def test_pruning_adds_masks_thresholds_and_steps():
    found = wrapping.what_it_added(network(), pruned(network()))
    assert found.wrappers == dict.fromkeys(["conv", "flat", "dense"], "PruneLowMagnitude")
    masks = {row.layer: row for row in found.added if row.variable == "mask"}
    assert masks["conv"].shape == (2, 2, 4, 3) and masks["dense"].bytes == 75 * 5 * 4
    weights = 4 * (48 + 375)
    assert found.added_bytes == weights + 2 * 4 + 3 * 8  # two thresholds, three steps
    assert not found.gone


def test_stripping_leaves_nothing():
    found = wrapping.what_it_added(network(), tfmot.sparsity.keras.strip_pruning(pruned(network())))
    assert (found.wrappers, found.added, found.gone) == ({}, (), ())


def test_a_variable_that_is_gone_is_named():
    fewer = tf_keras.Sequential([tf_keras.Input((6, 6, 4)), K.Conv2D(3, 2, use_bias=False, name="conv")])
    found = wrapping.what_it_added(network(), fewer)
    assert {(row.layer, row.variable) for row in found.gone} == {
        ("conv", "bias"),
        ("dense", "kernel"),
        ("dense", "bias"),
    }


def test_keras_own_wrappers_do_not_count():
    def build():
        return tf_keras.Sequential([tf_keras.Input((3, 4)), K.TimeDistributed(K.Dense(2), name="each")])

    assert wrapping.what_it_added(build(), build()).wrappers == {}


@pytest.mark.parametrize("name", ["quant_head", "cluster_head"])
def test_a_layer_that_begins_like_a_wrappers_name_is_compared_with_itself(name):
    def build():
        return tf_keras.Sequential([tf_keras.Input((4,)), K.Dense(2, name=name)])

    found = wrapping.what_it_added(build(), build())
    assert (found.wrappers, found.added, found.gone) == ({}, (), ())


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        ("text", TypeError, "pass a tf_keras model"),
        (keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)]), TypeError, "Keras 3"),
        (tf_keras.Sequential([K.Dense(2)]), ValueError, "not built"),
    ],
)
def test_bad_models_are_refused(bad, error, words):
    with pytest.raises(error, match=words):
        wrapping.what_it_added(bad, network())
    with pytest.raises(error, match=words):
        wrapping.what_it_added(network(), bad)


def test_shortened_keeps_the_telling_line():
    text = 'in user code:\n\n    File "/somewhere/a.py", line 3\n\n    ValueError: shape (3, 8) is not supported.\n'
    assert wrapping.shortened(ValueError(text)) == "ValueError: shape (3, 8) is not supported."
    assert wrapping.shortened(RuntimeError("Layer a:<class 'x.y.Conv1D'> is not supported")) == (
        "RuntimeError: Layer a:Conv1D is not supported"
    )
    assert len(wrapping.shortened(ValueError("word " * 100))) < 130


@pytest.mark.parametrize("limit", range(8, 40))
def test_shortened_text_keeps_to_its_limit(limit):
    said = wrapping.shortened(ValueError("a " * 50), limit).removeprefix("ValueError: ")
    assert len(said) <= limit and said.endswith(" …")


@pytest.mark.parametrize("length, cut", [(19, False), (20, False), (21, True)])
def test_text_of_just_the_limit_is_told_whole(length, cut):
    text = "a b " * 4 + "c" * (length - 16)
    assert wrapping.shortened(ValueError(text), 20) == (
        "ValueError: a b a b a b a b …" if cut else f"ValueError: {text}"
    )


@pytest.mark.parametrize(
    "text, told",
    [
        ("", "no message"),
        ("first\nsecond", "first"),
        ("\n  File 'a.py', line 3\nException encountered when calling x\nwhat it is", "what it is"),
        ("<unknown>:0:12: error: failed to legalize", "failed to legalize"),
        ("got <a.b.Conv object at 0x7f00ab>", "got Conv"),
        ("ValueError: this is no traced function", "ValueError: this is no traced function"),
        ("in user code:\n a.KeyError: one\n b.c.TypeError: two\n", "two"),
    ],
)
def test_what_is_told_is_what_happened_and_not_where(text, told):
    assert wrapping.shortened(RuntimeError(text)) == f"RuntimeError: {told}"


def test_an_api_that_answers_accepts_and_one_that_raises_says_why():
    assert wrapping.says(lambda model: model, network()) == "accepted"
    assert wrapping.says(lambda model: None, network()) == "returned None"
    assert wrapping.says(lambda model: model.nothing, network()).startswith("AttributeError: ")


def test_a_new_layer_is_told_with_its_variables_types_and_bytes():
    more = tf_keras.Sequential([tf_keras.Input((6, 6, 4)), K.BatchNormalization(name="norm", dtype="float64")])
    plain = tf_keras.Sequential([tf_keras.Input((6, 6, 4)), K.ReLU(name="relu")])
    found = wrapping.what_it_added(plain, more)
    assert found.wrappers == {"norm": "BatchNormalization"} and found.gone == ()
    assert [(row.variable, row.shape, row.dtype, row.bytes, row.layer, row.wrapper) for row in found.added] == [
        (name, (4,), "float64", 32, "norm", "BatchNormalization")
        for name in ("gamma", "beta", "moving_mean", "moving_variance")
    ]
    assert found.added_bytes == 4 * 32


def test_equal_variables_are_counted_as_often_as_they_are_there():
    """A wrapped LSTM has two kernels to prune: two masks, thresholds and so on, of which some look the same."""
    model = tf_keras.Sequential([K.Input((4, 3)), K.SimpleRNN(3, name="memory")])
    wrapped = pruned(model)
    added = wrapping.what_it_added(model, wrapped).added
    names = [row.variable for row in added if row.layer == "memory"]
    assert names.count("mask") == 2 and names.count("threshold") == 2
    assert len(added) == len(wrapped.weights) - len(model.weights)
