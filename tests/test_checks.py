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


def test_a_function_of_ones_own_is_not_keras_whatever_it_is_called():
    import tensorflow as tf
    import tf_keras

    def relu(x):
        return x

    assert checks.is_from(tf_keras.activations.relu, "tf_keras") and checks.is_from(
        tf_keras.layers.Dense, "a", "tf_keras"
    )
    assert checks.is_from(tf.nn.relu, "tensorflow") and not checks.is_from(tf.nn.relu, "tensor")
    assert not checks.is_from(relu, "tf_keras", "tensorflow") and not checks.is_from(None, "tf_keras")


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


# ---------------------------------------------------------------- the name in the sentence, and each refusal


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16"])
def test_what_does_not_compute_in_float32_is_refused(dtype):
    model = tf_keras.Sequential([K.Input((4,)), K.Dense(3, dtype=dtype, name="it")], name="net")
    computes = dtype.removeprefix("mixed_")
    with pytest.raises(ValueError, match=rf"the teacher 'net' .* in {computes} \(layer 'it', policy '{dtype}'\)"):
        checks.check_model(model, what="teacher")
    checks.check_built(model, graph=True)


def test_text_may_come_in_where_no_graph_is_needed():
    text = K.Input((), dtype="string", name="words")
    model = tf_keras.Model(text, text)
    checks.check_model(model)
    for check in (checks.check_model, checks.check_built):
        with pytest.raises(ValueError, match=r"the pupil '.*' \(Functional\) prepares text or tables \(words\)"):
            check(model, what="pupil", graph=True)


def test_the_name_that_was_passed_stands_in_each_sentence():
    subclassed, unbuilt, bad = Own(), tf_keras.Sequential([K.Dense(2)]), small()
    subclassed({"p": np.zeros((1, 3), np.float32), "q": np.zeros((1, 3), np.float32)})
    bad.set_weights([np.array([[1, 2, np.nan]] * 4), np.zeros(3)])
    for what in ("pupil", "model"):
        options = {} if what == "model" else {"what": what}
        for call, error in (
            (lambda options=options: checks.check_keras(3, **options), TypeError),
            (lambda options=options: checks.check_built(unbuilt, **options), ValueError),
            (lambda options=options: checks.check_built(subclassed, graph=True, **options), ValueError),
            (lambda options=options: checks.check_finite(bad, **options), ValueError),
            (lambda options=options: checks.check_model(bad, **options), ValueError),
        ):
            with pytest.raises(error, match=rf"the {what} "):
                call()
    with pytest.raises(ValueError, match="has 4 weights that are NaN or infinite, in 'first/kernel"):
        checks.check_finite(bad)


def test_the_word_that_comes_nearest_is_asked_for():
    checks.check_choice("colour", "red", ("green", "red"))
    with pytest.raises(ValueError, match=r"no colour 'redd'; did you mean 'red'\? There are green, red$"):
        checks.check_choice("colour", "redd", ("green", "red"))
    with pytest.raises(ValueError, match="no colour 7; did you mean"):
        checks.check_choice("colour", 7, {"green": 1, "red": 2})


def test_arrays_are_named_as_they_were_passed():
    for what in ("fruit", "calibration"):
        options = {} if what == "calibration" else {"what": what}
        for call in (
            lambda options=options: checks.fitting_inputs(small(), np.zeros((2, 3)), **options),
            lambda options=options: checks.fitting_array(np.zeros((2, 3)), (None, 4), "float32", **options),
        ):
            with pytest.raises(ValueError, match=rf"^{what} takes shape \(n, 4\), .*; got \(2, 3\)$"):
                call()
        with pytest.raises(ValueError, match=rf"^the inputs' {what} arrays have \[1, 2\] examples"):
            checks.same_count([np.zeros(1), np.zeros(2)], **options)
        with pytest.raises(TypeError, match=rf"^{what} is a str; pass an array, such as"):
            checks.as_array("text", **options)
    checks.same_count([np.zeros((3, 1)), np.zeros((3, 2))])
    checks.same_count([])
    with pytest.raises(TypeError, match=r"^roots is a str; pass an array of shape \(n, any, 3\), such as"):
        checks.as_array("text", (None, None, 3), "roots")


def test_of_a_subclassed_model_the_sentence_says_how_to_wrap_it():
    class Subclassed(tf_keras.Model):
        def call(self, x):
            return 2 * x

    own = Subclassed(name="own")
    for shape in ("shape", r"\(4, 3\)"):  # before it is called, and after
        with pytest.raises(ValueError, match=rf"part 'own' \(Subclassed\) is subclassed, .* tf_keras.Input\({shape}\)"):
            checks.check_shapes_known(own, what="part")
        own(np.zeros((2, 4, 3)))
    inputs = tf_keras.Input((4, 3))
    assert checks.check_shapes_known(tf_keras.Model(inputs, own(inputs))) is None


def test_one_axis_that_does_not_fit_is_enough():
    for shape in ((2, 3, 5), (2, 4, 4), (2, 3), (2, 3, 4, 1)):
        with pytest.raises(ValueError, match=r"takes shape \(n, 3, 4\)"):
            checks.fitting_array(np.zeros(shape), (None, 3, 4), "float32")
    assert checks.fitting_array(np.zeros((2, 3, 4)), (9, 3, -1), "float32").shape == (2, 3, 4)


@pytest.mark.parametrize(
    "values, dtype, said",
    [
        ([[1.0, 1e300]], "float32", r"reaches 1e\+300, which is infinite in float32"),
        ([[0.0, np.inf]], "float32", "NaN or infinity"),
        ([[0, 2]], "bool", "other values than 0 and 1; the model takes bool"),
        ([[0, 300]], "uint8", r"lies in \[0, 300\]; the model takes uint8, 0 to 255"),
        ([[-1, 7]], "uint8", r"lies in \[-1, 7\]; the model takes uint8"),
        ([[1.0, 0.5]], "int32", r"holds fractions; the model takes whole numbers \(int32\)"),
        ([["a", "b"]], "float32", r"is of type <U1; pass numbers of shape \(n, 2\)"),
        ([[1, 2]], "object", "the model takes text"),
    ],
)
def test_one_value_that_the_type_cannot_hold_is_enough(values, dtype, said):
    with pytest.raises(ValueError, match=f"^seeds .*{said}"):
        checks.fitting_array(np.array(values), (None, 2), dtype, "seeds")


def test_each_layer_is_visited_once_and_the_model_last():
    shared = K.Dense(3, name="shared")
    inner = tf_keras.Sequential([K.Input((3,)), shared, K.Dense(3, name="own")], name="inner")
    model = tf_keras.Sequential([K.Input((3,)), shared, inner], name="outer")
    names = [layer.name for layer in checks.all_layers(model)]
    assert {"shared", "own", "inner"} < set(names) and len(set(names)) == len(names) and names[-1] == "outer"
    assert [w.name.split("/")[-1] for w in checks.own_weights(shared)] == ["kernel:0", "bias:0"]
    assert checks.own_weights(inner) == []


def test_what_has_no_hash_is_no_word_and_a_mask_is_not_lost():
    with pytest.raises(ValueError, match=r"no mode \['a'\]; did you mean 'a'. There are a, b"):
        checks.check_choice("mode", ["a"], {"a": 1, "b": 2})
    x = np.ma.masked_greater(np.array([[1.0, 99.0]]), 9)
    with pytest.raises(ValueError, match=r"rows is a masked array, .* pass an array of shape \(n, 2\) without"):
        checks.as_array(x, (None, 2), "rows")
    np.testing.assert_array_equal(checks.as_array(np.ma.masked_greater(x.data, 100), (None, 2)), x.data)
