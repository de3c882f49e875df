"""A walked or rebuilt model computes what the model computes, whatever its layers are, and shares nothing with it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from utils import checks
from utils.optimize import keras_graph
from utils.optimize.toolkit.layer_samples import LAYERS

K = tf_keras.layers


def sequential():
    return tf_keras.Sequential(
        [K.Input((8, 8, 2)), K.Conv2D(3, 3), K.BatchNormalization(), K.ReLU(), K.Flatten(), K.Dense(4)]
    )


def branched():
    x = tf_keras.Input((6,))
    left, right = K.Dense(5, activation="relu", name="left")(x), K.Dense(5, name="right")(x)
    return tf_keras.Model(x, K.Dense(2)(K.Add()([left, right])))


def twice():
    x = tf_keras.Input((4,))
    shared = K.Dense(4)
    return tf_keras.Model(x, shared(shared(x)))


def two_ends():
    a, b = tf_keras.Input((3,), name="a"), tf_keras.Input((4,), name="b")
    joined = K.Concatenate()([a, b])
    return tf_keras.Model([a, b], [K.Dense(2)(joined), K.Dense(1, "sigmoid")(joined)])


def sequence():
    return tf_keras.Sequential([K.Input((9, 2)), K.Conv1D(3, 3, padding="same"), K.LSTM(4), K.Dense(1)])


def nested():
    return tf_keras.Sequential([K.Input((4,)), tf_keras.Sequential([K.Input((4,)), K.Dense(3)]), K.Dense(2)])


MODELS = [sequential, branched, twice, two_ends, sequence, nested]


def examples(model, n=5):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(n, *t.shape[1:])).astype(np.float32) for t in model.inputs]


@pytest.mark.parametrize("build", MODELS)
def test_a_rebuilt_model_computes_the_same_and_shares_nothing(build):
    model = build()
    x = examples(model)
    for weights in model.weights:
        weights.assign(tf.random.stateless_uniform(weights.shape, (1, 2), 0.1, 1.0))
    before = [np.array(y) for y in tf.nest.flatten(model(x if len(x) > 1 else x[0]))]
    copy = keras_graph.rebuild(model)
    for mine, theirs in zip(tf.nest.flatten(copy(x if len(x) > 1 else x[0])), before, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert copy.input_names == model.input_names
    copy.set_weights([0 * w for w in copy.get_weights()])
    after = [np.array(y) for y in tf.nest.flatten(model(x if len(x) > 1 else x[0]))]
    assert all(np.array_equal(a, b) for a, b in zip(after, before, strict=True))


def test_walking_visits_every_call_in_order():
    seen = []
    model = branched()

    def call(layer, arguments, _):
        seen.append(layer.name)
        return layer(*arguments)

    out = keras_graph.walk(model, [tf.ones((1, 6))], call)
    assert seen.index("left") < len(seen) - 2 and set(seen[:2]) == {"left", "right"} and len(seen) == 4
    np.testing.assert_allclose(out, model(tf.ones((1, 6))), rtol=1e-6)


def test_only_the_calls_of_this_model_are_its_nodes_in_order_of_execution():
    x, shared = tf_keras.Input((4,), name="x"), K.Dense(4, name="shared")
    model = tf_keras.Model(x, K.ReLU(name="end")(shared(K.ReLU(name="between")(shared(x)))))
    shared(tf_keras.Input((4,)))  # in another model
    assert [node.layer.name for node in keras_graph.nodes(model)] == ["x", "shared", "between", "shared", "end"]
    assert keras_graph.nodes(model)[1].outputs is not keras_graph.nodes(model)[3].outputs


def test_a_layer_can_be_left_out_and_set_otherwise():
    model = sequential()

    def drop(layer, arguments, apply):
        return arguments[0] if layer is None or isinstance(layer, K.ReLU) else apply(layer, *arguments)

    name = model.layers[0].name
    changed = keras_graph.rebuild(model, drop, {name: {"activation": "relu"}})
    assert not any(isinstance(layer, K.ReLU) for layer in changed.layers)
    assert changed.get_layer(name).activation is tf_keras.activations.relu
    np.testing.assert_array_equal(changed.get_layer(name).get_weights()[0], model.get_layer(name).get_weights()[0])


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
    flat = keras_graph.flatten(model)
    assert [layer.name for layer in flat.layers[1:]] == ["a", "b", "sum", "inside"]
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    np.testing.assert_array_equal(flat(x), model(x))


class Scaled(tf_keras.Model):
    def __init__(self):
        super().__init__()
        self.dense, self.norm = K.Dense(4), K.BatchNormalization()

    def call(self, x, factor=1.0, training=None):
        return self.norm(self.dense(x) * factor, training=training)


def deep_inside(training):
    inner = tf_keras.Sequential([tf_keras.Input((4,)), K.Dense(4), K.BatchNormalization(), K.Dropout(0.5)])
    deep = tf_keras.Sequential([tf_keras.Input((4,)), inner])
    start = tf_keras.Input((4,))
    return tf_keras.Model(start, K.Dense(2)(deep(start, training=training)))


@pytest.mark.parametrize("open_", [keras_graph.flatten, keras_graph.opened])
@pytest.mark.parametrize("training", [False, True, None])
def test_a_model_inside_stays_in_the_mode_in_which_it_is_called(open_, training):
    """As the base of transfer learning: base(x, training=False).  Dropout draws anew in each call in training."""
    tf_keras.utils.set_random_seed(0)
    model = deep_inside(training)
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    flat = open_(model)
    outputs = [flat(x, training=mode).numpy() for mode in (False, True)]
    assert np.array_equal(*outputs) == (training is False)
    mean = next(w for w in flat.weights if "moving_mean" in w.name)
    assert bool(mean.numpy().any()) == (training is not False)


@pytest.mark.parametrize("open_", [keras_graph.flatten, keras_graph.opened])
@pytest.mark.parametrize("settings", [{"factor": 3.0}, {"factor": 2.0, "training": True}, {}])
def test_a_subclassed_model_inside_is_called_with_its_keywords(open_, settings):
    start = tf_keras.Input((4,))
    model = tf_keras.Model(start, Scaled()(start, **settings))
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    np.testing.assert_array_equal(open_(model)(x), model(x))


@pytest.mark.parametrize("open_", [keras_graph.flatten, keras_graph.opened])
def test_an_opened_model_takes_a_dictionary_as_before(open_):
    inner = tf_keras.Sequential([tf_keras.Input((4,)), K.Dense(3)])
    starts = {"b": tf_keras.Input((4,), name="second"), "a": tf_keras.Input((4,), name="first")}
    model = tf_keras.Model(starts, {"sum": K.Add()([inner(starts["b"]), K.Dense(3)(starts["a"])])})
    x = {name: np.random.default_rng(i).normal(size=(5, 4)).astype("float32") for i, name in enumerate("ba")}
    np.testing.assert_array_equal(open_(model)(x)["sum"], model(x)["sum"])


def test_a_name_that_a_model_inside_has_too_is_told_apart_and_the_old_model_stays():
    """So it is with a loaded model under a new head: both begin to count at "dense"."""

    def inner(name):
        return tf_keras.Sequential([tf_keras.Input((4,)), K.Dense(4, name="dense"), K.Dense(4, name="d")], name=name)

    start = tf_keras.Input((4,))
    twice, deep = inner("a"), tf_keras.Sequential([tf_keras.Input((4,)), inner("b")], name="deep")
    model = tf_keras.Model(start, K.Dense(2, name="dense")(deep(twice(twice(start)))))
    flat = keras_graph.opened(model)
    names = ["a/dense", "d", "a/dense", "d", "deep/b/dense", "deep/b/d", "dense"]
    assert [layer.name for layer in flat.layers[1:]] == list(dict.fromkeys(names))
    assert [layer.name for layer in twice.layers] == ["dense", "d"]
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    np.testing.assert_array_equal(flat(x), model(x))
    copies = {id(weight) for weight in flat.weights} & {id(weight) for weight in model.weights}
    assert not copies and flat.count_params() == model.count_params()


def test_example_input_fits_types_and_unknown_sizes():
    words, picture = tf_keras.Input((None,), dtype="int32"), tf_keras.Input((2, 3))
    model = tf_keras.Model([words, picture], [K.Embedding(2, 2)(words), picture])
    first, second = keras_graph.example_input(model, 5)
    assert first.shape == (5, 8) and first.dtype == np.int32 and set(np.unique(first)) <= {0, 1}
    assert second.shape == (5, 2, 3) and second.dtype == np.float32
    with pytest.raises(ValueError, match="at least one"):
        keras_graph.example_input(model, 0)


def test_examples_fit_a_fixed_batch_and_an_embeddings_float_input():
    model = tf_keras.Sequential([K.Input((None,), batch_size=2), K.Embedding(2, 3), K.LSTM(2, stateful=True)])
    (words,) = keras_graph.example_input(model, 5, size=6)
    assert words.shape == (2, 6) and set(words.ravel()) == {0, 1} and words.dtype == np.float32
    assert model(words).shape == (2, 2)
    for n in ("4", 2.5, True, None):
        with pytest.raises(ValueError, match="at least one"):
            keras_graph.example_input(model, n)


def test_examples_are_drawn_from_the_seed():
    model = branched()
    (one,), (same,), (other,) = (keras_graph.example_input(model, 1, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert one.shape == (1, 6) and not np.array_equal(one, other) and (one < 0).any()


def test_inputs_are_passed_through_the_change_as_well():
    calls = []

    def halve(layer, arguments, apply):
        calls.append((layer, apply))
        return arguments[0] / 2 if layer is None else apply(layer, *arguments)

    model, x = branched(), np.ones((2, 6), np.float32)
    np.testing.assert_allclose(keras_graph.rebuild(model, halve)(x), model(x / 2), rtol=1e-5)
    assert calls[0] == (None, None) and len(calls) == 5


def test_settings_reach_models_inside_and_may_change_the_shapes_of_weights():
    inner = tf_keras.Sequential([K.Input((4,)), K.Dense(3, name="inside")], name="inner")
    model = tf_keras.Sequential([K.Input((4,), batch_size=7), inner, K.Dense(3, name="last")], name="outer")
    copy = keras_graph.rebuild(model, settings={"inside": {"activation": "relu"}, "last": {"units": 5}})
    assert copy.get_layer("inner").get_layer("inside").activation is tf_keras.activations.relu
    assert copy.output_shape == (7, 5) and copy.name == "outer" and copy.get_layer("inner").name == "inner"
    np.testing.assert_array_equal(copy.get_weights()[0], model.get_weights()[0])


def test_a_lambda_keeps_its_name_its_arguments_and_its_type():
    layer = K.Lambda(lambda x, by: x * by, arguments={"by": 3}, name="by_three", dtype="float64")
    model = tf_keras.Sequential([K.Input((2,), dtype="float64"), layer])
    (copy,) = keras_graph.rebuild(model).layers
    assert (copy.name, copy.arguments, copy.dtype) == ("by_three", {"by": 3}, "float64") and copy is not layer


def test_a_flat_model_shares_its_layers_and_is_named_after_the_old_one():
    model = nested()
    flat = keras_graph.flatten(model)
    assert flat.name == f"{model.name}_flat" and {id(w) for w in flat.weights} == {id(w) for w in model.weights}
    assert not any(isinstance(layer, tf_keras.Model) for layer in flat.layers)
    opened = keras_graph.opened(sequential())
    assert isinstance(opened, tf_keras.Sequential) and not {id(w) for w in opened.weights} & {
        id(w) for w in flat.weights
    }


@pytest.mark.parametrize("layer", [K.ConvLSTM1D, K.ConvLSTM2D, K.ConvLSTM3D])
def test_convolutional_recurrent_layers_cannot_be_written_out(layer):
    shape = (2, *(4,) * int(layer.__name__[-2]), 1)
    model = tf_keras.Sequential([K.Input(shape), layer(2, 2)])
    with pytest.raises(ValueError, match="can be unrolled"):
        keras_graph.unroll(model)


def test_unrolling_keeps_the_outputs_and_needs_a_loop():
    model = LAYERS["GRU"]()
    x = keras_graph.example_input(model, 3)[0]
    np.testing.assert_allclose(keras_graph.unroll(model)(x), model(x), atol=1e-6)
    with pytest.raises(ValueError, match=r"no layer of the model .* can be unrolled"):
        keras_graph.unroll(LAYERS["Dense"]())


# ---------------------------------------------------------------- copies that Keras makes badly


class WithoutConfig(K.Layer):
    def __init__(self, units):
        super().__init__()
        self.inner = K.Dense(units)

    def call(self, x):
        return self.inner(x)


def test_a_layer_without_get_config_is_copied_by_its_arguments():
    model, x = tf_keras.Sequential([K.Input((3,)), WithoutConfig(2)]), np.ones((1, 3), np.float32)
    np.testing.assert_array_equal(keras_graph.rebuild(model)(x), model(x))


class Lossy(K.Layer):
    def __init__(self, units=1, **settings):
        super().__init__(**settings)
        self.units = units

    def build(self, shape):
        self.kernel = self.add_weight("kernel", (shape[-1], self.units))

    def call(self, x):
        return x @ self.kernel

    def get_config(self):
        return super().get_config()  # without the units


class Picky(Lossy):
    @classmethod
    def from_config(cls, config):
        raise RuntimeError("never again")


def adapted_words():
    layer = K.TextVectorization(9, output_sequence_length=2, name="words")
    layer.adapt(["a b"])
    return tf_keras.Sequential([K.Input((1,), dtype=tf.string), layer, K.Embedding(9, 2)])


@pytest.mark.parametrize(
    "build, said",
    [
        (lambda: inside(Lossy(3, name="mine")), r"'mine' \(Lossy\) .*shapes .*3, 3.*copy.*3, 1.*get_config"),
        (lambda: inside(inside(Picky(3, name="mine"))), r"'mine' \(Picky\) .*never again.*get_config"),
        (adapted_words, r"prepares text or tables \(.*words.*\).*x = layer\(text\)"),
        (lambda: inside(K.StringLookup(vocabulary=["a"]), dtype="string"), "prepares text or tables"),
    ],
)
def test_what_cannot_be_copied_is_said(build, said):
    with pytest.raises(ValueError, match=said):
        keras_graph.rebuild(build())


def inside(layer, dtype="float32"):
    return tf_keras.Sequential([K.Input((3,), dtype=dtype), layer])


def test_a_sequential_model_stays_one():
    assert [type(model) for model in (keras_graph.rebuild(nested()), keras_graph.rebuild(nested()).layers[0])] == [
        tf_keras.Sequential
    ] * 2


def louder(x):
    return 2 * x


def adapted():
    layer = K.Normalization(name="normal")
    layer.adapt(np.random.default_rng(0).normal(5, 3, (50, 4)))
    return tf_keras.Sequential([K.Input((4,)), layer, K.Dense(2)])


def with_functions():
    steps = [K.Lambda(lambda x: tf.exp(x)), K.Dense(3, activation=louder)]
    return tf_keras.Sequential([K.Input((4,)), *steps, tf_keras.Sequential([K.Input((3,)), K.Lambda(louder)])])


def dictionary():
    a, b = tf_keras.Input((4,), name="a"), tf_keras.Input((4,), name="b")
    return tf_keras.Model({"q": a, "p": b}, {"sum": K.Add()([K.Dense(4)(a), b]), "b": b})


@pytest.mark.parametrize("build", [adapted, with_functions, dictionary])
def test_adapted_layers_own_functions_and_dictionaries_are_copied(build):
    model, x = build(), np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    given = {"q": x, "p": 2 * x} if build is dictionary else x
    copy = keras_graph.rebuild(model)
    wanted, found = tf.nest.flatten(model(given)), tf.nest.flatten(copy(given))
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("policy", ["mixed_float16", "float16", "mixed_bfloat16", "float64"])
def test_a_model_of_any_precision_is_rebuilt_in_float32(policy):
    tf_keras.mixed_precision.set_global_policy(policy)
    try:
        inner = tf_keras.Sequential([K.Input((5, 4)), K.Bidirectional(K.GRU(2)), K.Dense(3)])
        model = tf_keras.Sequential([K.Input((5, 4)), K.TimeDistributed(K.Dense(4)), inner])
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    with pytest.raises(ValueError, match=r"computes in .*in_float32"):
        checks.check_model(model)
    single = keras_graph.in_float32(model)
    checks.check_model(single)
    x = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
    assert single(x).dtype == tf.float32
    np.testing.assert_allclose(single(x), tf.cast(model(x), tf.float32), atol=0.05)


def test_a_convolutional_layer_stays_a_loop_beside_one_that_is_unrolled():
    layers = [K.ConvLSTM1D(2, 2, return_sequences=True), K.TimeDistributed(K.Flatten()), K.GRU(3)]
    model = tf_keras.Sequential([K.Input((4, 5, 1)), *layers])
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 1)).astype(np.float32)
    steps = keras_graph.unroll(model)
    np.testing.assert_allclose(steps(x), model(x), atol=1e-6)
    assert [layer.unroll for layer in steps.layers if isinstance(layer, K.RNN)] == [False, True]


def test_recurrent_layers_in_wrappers_and_nested_models_are_unrolled():
    inner = tf_keras.Sequential([K.Input((5, 4)), K.LSTM(3)])
    model = tf_keras.Sequential([K.Input((5, 2)), K.Bidirectional(K.GRU(2, return_sequences=True)), inner])
    x = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)
    steps = keras_graph.unroll(model)
    np.testing.assert_allclose(steps(x), model(x), atol=1e-6)
    assert all(layer.unroll for layer in checks.all_layers(steps) if isinstance(layer, K.RNN))


def test_a_class_made_of_a_convolutional_one_stays_a_loop_and_functions_keep_their_names(monkeypatch):
    class Own(K.ConvLSTM1D):
        pass

    monkeypatch.setitem(globals(), "_TWICE", 2.0)
    layers = [Own(2, 2, return_sequences=True), K.TimeDistributed(K.Flatten()), K.Lambda(lambda v: _TWICE * v)]  # noqa: F821
    model = tf_keras.Sequential([K.Input((4, 5, 1)), *layers, K.GRU(3)])
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 1)).astype(np.float32)
    steps = keras_graph.unroll(model)
    np.testing.assert_allclose(steps(x), model(x), atol=1e-6)
    assert [layer.unroll for layer in steps.layers if isinstance(layer, K.RNN)] == [False, True]
