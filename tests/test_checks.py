"""What is no model and what does not fit is refused in a sentence; what fits comes back in the model's types."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st

from utils import checks

K = tf_keras.layers


class Own(tf_keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = K.Dense(2, name="inside")

    def call(self, x):
        return self.dense(x["p"]) + self.dense(x["q"])


def small(dtype="float32"):
    return tf_keras.Sequential([K.Input((4,), dtype=dtype), K.Dense(3, name="first")])


def two():
    a, b = tf_keras.Input((3,), name="b"), tf_keras.Input((None, 2), name="a")
    return tf_keras.Model([a, b], K.Dense(2)(a) + K.Dense(2)(K.GlobalMaxPooling1D()(b)))


def test_tensorflow_is_not_imported_with_the_module():
    code = "import sys, utils.checks; sys.exit('tensorflow' in sys.modules or 'tf_keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "model, error, said",
    [
        ("text", TypeError, r"the teacher is a builtins\.str, which is no model; pass a tf_keras model"),
        (K.Dense(2), TypeError, "which is no model"),
        (Own(), ValueError, r"'own' \(Own\) is not built: .*model\(x\[:1\]\)"),
        (tf_keras.Sequential([K.Dense(2)]), ValueError, "not built"),
    ],
)
def test_what_is_no_model_yet_is_refused(model, error, said):
    with pytest.raises(error, match=said):
        checks.check_model(model, what="teacher")


def test_a_keras_3_model_is_named_as_one():
    import keras

    with pytest.raises(TypeError, match=r"of Keras 3; .*keras_2\(model\)"):
        checks.check_model(keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)]))


def test_a_called_subclassed_model_is_accepted_but_has_no_graph():
    model = Own()
    model({"p": np.zeros((1, 3), np.float32), "q": np.zeros((1, 3), np.float32)})
    checks.check_model(model)
    assert checks.input_names(model) == ["p", "q"]
    with pytest.raises(ValueError, match="functional interface"):
        checks.check_model(model, graph=True)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "layer, shape, place",
    [
        (lambda: K.Dense(3, name="it"), (4,), "it"),
        (lambda: K.Bidirectional(K.GRU(2)), (3, 4), "gru_cell"),
        (lambda: K.TimeDistributed(K.Dense(3, name="it")), (3, 4), "it"),
        (lambda: tf_keras.Sequential([K.Dense(3, name="it")]), (4,), "it"),
        (lambda: K.BatchNormalization(name="it"), (4,), "it"),
    ],
)
def test_weights_that_are_not_finite_are_named_wherever_they_are(layer, shape, place, bad):
    model = tf_keras.Sequential([K.Input(shape), layer()])
    values = model.get_weights()
    values[-1].flat[-1] = bad
    model.set_weights(values)
    with pytest.raises(ValueError, match=rf"'{place}' .*has 1 weights that are NaN or infinite, in '.+'"):
        checks.check_model(model)
    checks.check_built(model)


def test_tables_of_words_are_no_weights():
    words = K.TextVectorization(9, output_sequence_length=2, name="words")
    words.adapt(["a b"])
    model = tf_keras.Sequential([K.Input((1,), dtype="string"), words, K.Embedding(9, 2)])
    checks.check_model(model)
    with pytest.raises(ValueError, match=r"prepares text or tables \(.*words.*\), .*x = layer\(text\)"):
        checks.check_model(model, graph=True)


# ---------------------------------------------------------------- arrays


@pytest.mark.parametrize(
    "x, error, said",
    [
        (np.zeros((2, 3)), ValueError, r"fruit takes shape \(n, 4\), .*; got \(2, 3\)"),
        (np.zeros(4), ValueError, "takes shape"),
        (np.zeros((0, 4)), ValueError, "fruit is empty"),
        ([np.zeros((2, 4))] * 2, ValueError, "1 inputs, fruit has 2"),
        ([], ValueError, "1 inputs, fruit has 0"),
        ({"other": np.zeros((2, 4))}, ValueError, "fruit has 'other'"),
        (np.full((2, 4), np.nan), ValueError, "NaN or infinity"),
        (np.full((2, 4), 1e300), ValueError, r"reaches 1e\+300, which is infinite in float32"),
        (np.full((2, 4), "a"), ValueError, "pass numbers"),
        (np.full((2, 4), 1j), ValueError, "pass numbers"),
        ((x for x in range(3)), TypeError, r"a generator; pass an array of shape \(n, 4\), such as np\.concatenate"),
        (lambda: 0, TypeError, r"a function; pass an array .*np\.concatenate\(\[batch\[0\] for batch in function"),
        ("a path", TypeError, "a str; pass an array"),
        (None, TypeError, "a NoneType; pass an array"),
        ([[[1.0], [1.0, 2.0]]], ValueError, "is no array"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(x, error, said):
    with pytest.raises(error, match=said):
        checks.fitting_inputs(small(), x, "fruit")


def test_a_dataset_is_refused_with_the_call_that_makes_an_array_of_it():
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((np.zeros((4, 4)), np.zeros(4))).batch(2)
    with pytest.raises(TypeError, match=r"np\.concatenate\(\[x for x, y in dataset\]\)"):
        checks.fitting_inputs(small(), dataset)
    array = np.concatenate([x for x, y in dataset])
    assert checks.fitting_inputs(small(), array)[0].shape == (4, 4)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64"])
def test_whole_numbers_neither_wrap_nor_lose_a_fraction(dtype):
    model, info = small(dtype), np.iinfo(dtype)
    for value in (info.min, info.max):
        assert checks.fitting_inputs(model, np.full((1, 4), value))[0].dtype == dtype
    with pytest.raises(ValueError, match="whole numbers"):
        checks.fitting_inputs(model, np.full((1, 4), 0.5))
    for value in (2.0 * info.max + 2, 2.0 * info.min - 2):
        with pytest.raises(ValueError, match=f"the model takes {dtype}, {info.min} to {info.max}"):
            checks.fitting_inputs(model, np.full((1, 4), value))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=64), min_size=4, max_size=4))
def test_what_comes_back_is_finite_and_the_nearest_float32(values):
    x = np.array([values])
    with np.errstate(over="ignore"):
        cast = x.astype(np.float32)
    if np.isfinite(cast).all():
        assert np.array_equal(checks.fitting_array(x, (None, 4), np.float32), cast)
    else:
        with pytest.raises(ValueError, match=r"NaN or infinity|infinite in float32"):
            checks.fitting_array(x, (None, 4), np.float32)


def test_several_inputs_are_put_in_the_models_order():
    model, b, a = two(), np.ones((5, 3)), np.zeros((5, 7, 2))
    for given_ in ([b, a], {"a": a, "b": b}):
        assert [x.shape for x in checks.fitting_inputs(model, given_)] == [(5, 3), (5, 7, 2)]
    with pytest.raises(ValueError, match=r"arrays have \[5, 4\] examples"):
        checks.fitting_inputs(model, [b, a[:4]])
    with pytest.raises(ValueError, match="of input 'a' takes shape"):
        checks.fitting_inputs(model, [b, b])
    keyed = tf_keras.Model({"z": model.inputs[1], "y": model.inputs[0]}, model.outputs)
    assert [x.shape for x in checks.fitting_inputs(keyed, {"y": b, "z": a})] == [(5, 3), (5, 7, 2)]


def test_text_and_truth_values_go_to_inputs_that_take_them():
    text, flags = K.Input((), dtype="string"), K.Input((2,), dtype="bool")
    model = tf_keras.Model([text, flags], [text, flags])
    assert checks.fitting_inputs(model, [np.array(["a", "b"]), np.zeros((2, 2), int)])[1].dtype == bool
    with pytest.raises(ValueError, match="other values than 0 and 1"):
        checks.fitting_inputs(model, [np.array(["a"]), np.full((1, 2), 2)])
    with pytest.raises(ValueError, match="takes text"):
        checks.fitting_inputs(model, [np.zeros(1), np.zeros((1, 2), bool)])
