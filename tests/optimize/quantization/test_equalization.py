"""Equalization keeps what a network computes, for random networks of many kinds, and does what it is for."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.optimize.quantization import equalization as eq
from utils.optimize.quantization import grid as qz

K = tf_keras.layers
CONV = [
    lambda n: K.Conv2D(n, 3, padding="same", use_bias=False),
    lambda n: K.Conv2D(n, 1),
    lambda n: K.DepthwiseConv2D(3),
    lambda n: K.DepthwiseConv2D(3, depth_multiplier=2, padding="same", use_bias=False),
    lambda n: K.Conv2D(n, 3, activation="relu"),
]
BETWEEN = [
    lambda: K.BatchNormalization(),
    lambda: K.ReLU(),
    lambda: K.Activation("relu"),
    lambda: K.LeakyReLU(),
    lambda: K.MaxPooling2D(2, padding="same"),
    lambda: K.Dropout(0.5),
    lambda: K.ZeroPadding2D(1),
    lambda: K.Activation("tanh"),
    lambda: K.AveragePooling2D(2, padding="same"),
]
ENDS = [lambda: K.Flatten(), lambda: K.GlobalAveragePooling2D()]


def scramble(model, seed: int):
    """Weights whose channels differ a hundredfold, and statistics as after training."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        channels = 10 ** rng.uniform(-1, 1, weight.shape[-1])
        values = rng.normal(size=weight.shape) * channels / np.sqrt(np.prod(weight.shape[:-1]))
        weight.assign(np.abs(values) + 0.05 if "variance" in weight.name else values)
    return model


def network(convs, betweens, end, seed: int):
    x = inputs = tf_keras.Input((9, 9, 3))
    for conv, several in zip(convs, betweens, strict=True):
        x = CONV[conv](4)(x)
        for one in several:
            x = BETWEEN[one]()(x)
    x = K.Dense(5, activation="relu")(ENDS[end]()(x))
    return scramble(tf_keras.Model(inputs, K.Dense(3)(x)), seed)


def outputs(model, seed=0):
    x = np.random.default_rng(seed).normal(size=(4, *model.input_shape[1:])).astype(np.float32)
    return np.asarray(model(x, training=False))


def assert_same(a, b):
    y, z = outputs(a), outputs(b)
    assert np.abs(y - z).max() <= 2e-4 * max(np.abs(y).max(), 1e-6)


drawn = st.integers(1, 3).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, len(CONV) - 1), min_size=n, max_size=n),
        st.lists(st.lists(st.integers(0, len(BETWEEN) - 1), max_size=3), min_size=n, max_size=n),
        st.integers(0, 1),
        st.integers(0, 99),
    )
)


@settings(max_examples=8)
@given(drawn)
def test_outputs_stay_and_the_reaches_of_each_pair_agree(parts):
    model = network(*parts)
    assert_same(model, eq.fold(model))
    equal = eq.equalize(model)
    assert_same(model, equal)
    for first, second, repeats in eq._pairs(equal):
        r1, r2 = eq._reach(first, output=True), eq._reach(second, output=False).reshape(repeats, -1).max(0)
        used = (r1 > 0) & (r2 > 0)
        np.testing.assert_allclose(r1[used], r2[used], rtol=0.02)


@settings(max_examples=4)
@given(drawn, st.sampled_from([0.01, 30.0, 1000.0]))
def test_unbalancing_keeps_the_outputs_and_is_undone(parts, factor):
    model = eq.equalize(network(*parts))
    hard = eq.unbalance(model, factor, share=0.3, only="")
    assert_same(model, hard)
    worst = max(np.abs(a - b).max() for a, b in zip(hard.get_weights(), model.get_weights(), strict=True))
    assert worst > 0
    assert_same(model, eq.equalize(hard))


def test_flattened_positions_share_their_channels_factor():
    layers = [K.Input((5, 5, 2)), K.Conv2D(3, 2, activation="relu"), K.Flatten(), K.Dense(4)]
    model = scramble(tf_keras.Sequential(layers), 1)
    ((_, dense, repeats),) = eq._pairs(model)
    assert repeats == 16 and dense.units == 4
    assert_same(model, eq.equalize(model))


def test_one_dimensional_and_dense_networks():
    for model in (
        tf_keras.Sequential(
            [K.Input((12, 2)), K.Conv1D(4, 3), K.ReLU(), K.Conv1D(5, 3), K.GlobalMaxPooling1D(), K.Dense(2)]
        ),
        tf_keras.Sequential([K.Input((6,)), K.Dense(7), K.BatchNormalization(), K.ReLU(), K.Dense(1)]),
    ):
        scramble(model, 3)
        assert len(eq.pairs(eq.fold(model))) == len([x for x in model.layers if hasattr(x, "kernel")]) - 1
        assert_same(model, eq.equalize(model))


def branched(add):
    x = inputs = tf_keras.Input((8, 8, 3))
    a = K.Conv2D(4, 3, padding="same", name="a")(x)
    b = K.Conv2D(4, 3, padding="same", activation="relu", name="b")(a)
    b = K.Conv2D(4, 1, name="c")(b)
    x = K.Add()([a, b]) if add else K.Concatenate()([a, b])
    return scramble(tf_keras.Model(inputs, K.Dense(2, name="d")(K.GlobalAveragePooling2D()(x))), 2)


@pytest.mark.parametrize("add", [True, False])
def test_of_a_branch_only_what_one_layer_takes_is_rescaled(add):
    model = branched(add)
    assert eq.pairs(model) == [eq.Pair("b", "c")]
    equal = eq.equalize(model)
    assert_same(model, equal)
    assert np.array_equal(equal.get_layer("a").get_weights()[0], model.get_layer("a").get_weights()[0])


def test_a_model_output_in_between_is_not_rescaled():
    x = tf_keras.Input((4,))
    a = K.Dense(3, "relu")(x)
    model = tf_keras.Model(x, [a, K.Dense(2)(K.Dense(3, "relu")(a))])
    assert len(eq.pairs(model)) == 1


def test_layers_used_twice_and_groups_are_left_alone():
    x = tf_keras.Input((4,))
    shared = K.Dense(4, "relu")
    assert eq.pairs(tf_keras.Model(x, K.Dense(2)(shared(shared(x))))) == []
    grouped = tf_keras.Sequential([K.Input((5, 5, 4)), K.Conv2D(4, 1), K.Conv2D(4, 3, groups=2)])
    assert eq.pairs(grouped) == []


def test_a_convolution_in_groups_takes_the_normalization_behind_it():
    model = scramble(tf_keras.Sequential([K.Input((5, 5, 4)), K.Conv2D(4, 3, groups=2), K.BatchNormalization()]), 1)
    folded = eq.fold(model)
    assert not any(isinstance(layer, K.BatchNormalization) for layer in folded.layers)
    assert_same(model, folded)


def test_a_dead_channel_stays_and_nothing_becomes_infinite():
    model = scramble(tf_keras.Sequential([K.Input((5,)), K.Dense(4, "relu"), K.Dense(3)]), 4)
    kernel, bias = model.layers[0].get_weights()
    kernel[:, 1] = 0
    model.layers[0].set_weights([kernel, bias])
    equal = eq.equalize(model)
    assert_same(model, equal)
    assert all(np.isfinite(w).all() for w in equal.get_weights())


def test_the_factor_is_that_of_the_paper():
    model = tf_keras.Sequential([K.Input((1,)), K.Dense(2, "relu"), K.Dense(1)])
    model.set_weights([np.array([[4.0, 0.5]]), np.array([8.0, 1.0]), np.array([[1.0], [2.0]]), np.array([3.0])])
    first, bias, second, last = eq.equalize(model).get_weights()
    np.testing.assert_allclose(first, [[2.0, 1.0]])  # sqrt(4 · 1), sqrt(0.5 · 2)
    np.testing.assert_allclose(bias, [4.0, 2.0])
    np.testing.assert_allclose(second, [[2.0], [1.0]])
    np.testing.assert_allclose(last, [3.0])


@pytest.mark.parametrize("relu6", [lambda: K.ReLU(6.0), lambda: K.Activation("relu6")])
def test_relu6_is_refused_with_its_way_out(relu6):
    model = scramble(tf_keras.Sequential([K.Input((5,)), K.Dense(4), relu6(), K.Dense(3)]), 5)
    with pytest.raises(ValueError, match=r"ends at 6.*without_relu6\(model\)"):
        eq.equalize(model)
    plain = eq.without_relu6(model)
    assert len(eq.pairs(plain)) == 1 and len(eq.pairs(model)) == 0
    assert_same(plain, eq.equalize(plain))


def test_relu6_is_replaced_and_equal_below_6():
    model = tf_keras.Sequential([K.Input((5,)), K.ReLU(6.0), K.Dense(2, activation="relu6")])
    plain = eq.without_relu6(model)
    x = np.random.default_rng(0).uniform(-1, 1, (9, 5)).astype(np.float32)
    np.testing.assert_array_equal(model(x), plain(x))
    assert np.abs(np.asarray(model(100 * x)) - np.asarray(plain(100 * x))).max() > 1


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda m: eq.equalize(m, rounds=0), "rounds is 0"),
        (lambda m: eq.unbalance(m, -1), "factor is -1"),
        (lambda m: eq.unbalance(m, share=2), "share 2"),
        (lambda m: eq.unbalance(m), "whose class has 'Depthwise'"),
        (lambda m: eq.channel_reach(m, "x"), "'x' is none of the layers with channels"),
        (lambda m: eq.equalize(tf_keras.Sequential([K.Input((3,)), K.Dense(2)])), "to rescale: it takes two"),
        (lambda m: eq.correct_biases(m, np.zeros((2, 3))), "takes shape"),
    ],
)
def test_bad_input_is_answered_in_a_sentence(call, said):
    with pytest.raises(ValueError, match=said):
        call(tf_keras.Sequential([K.Input((5,)), K.Dense(4, "relu"), K.Dense(3)]))


# ---------------------------------------------------------------- what lets a positive factor through

FACTOR = np.array([0.25, 3.0, 1.0, 40.0], np.float32)


def is_homogeneous(layer, shape) -> bool:
    """Whether a factor of each of four channels that go in comes out, for inputs of both signs."""
    x = np.random.default_rng(8).normal(size=(3, *shape)).astype(np.float32)
    y, z = (np.asarray(layer(a, training=False)) for a in (x, x * FACTOR))
    if y.size % 4:
        return False
    want = y.reshape(-1, 4) * FACTOR
    return z.shape == y.shape and np.allclose(z.reshape(-1, 4), want, rtol=1e-4, atol=1e-5)


def made(kind, shape):
    """A layer with default arguments, one number where it needs one, on this shape; None if it takes none such."""
    for arguments in ((), (2,), (0.5,)):
        try:
            layer = kind(*arguments)
            layer(np.zeros((1, *shape), np.float32))
            return layer
        except Exception:  # other arguments or shapes
            continue
    return None


@pytest.mark.parametrize("kind", eq._LETS_THROUGH, ids=lambda kind: kind.__name__)
def test_each_layer_of_the_list_lets_a_factor_through(kind):
    shapes = [shape for shape in ((6, 4), (6, 6, 4)) if made(kind, shape)]
    assert shapes
    for shape in shapes:
        assert eq._passes(made(kind, shape)) and is_homogeneous(made(kind, shape), shape)


def test_no_other_layer_of_keras_passes_unless_it_is_homogeneous():
    kinds = {k for k in vars(K).values() if isinstance(k, type) and issubclass(k, K.Layer)} - set(eq._LETS_THROUGH)
    tried, passing = set(), set()
    for kind in kinds:
        for shape in ((6, 4), (6, 6, 4)):
            if (layer := made(kind, shape)) is not None:
                tried.add(kind.__name__)
                passing |= {kind} if eq._passes(layer) else set()
    assert {"LayerNormalization", "BatchNormalization", "Softmax", "ELU", "PReLU"} <= tried
    assert passing == {K.ReLU}


@pytest.mark.parametrize(
    "layer, homogeneous",
    [
        (lambda: K.LayerNormalization(), False),
        (lambda: K.UnitNormalization(), False),
        (lambda: K.Softmax(), False),
        (lambda: K.ELU(), False),
        (lambda: K.ThresholdedReLU(), False),
        (lambda: K.ReLU(6.0), False),
        (lambda: K.ReLU(threshold=0.5), False),
        (lambda: K.Rescaling(1.0, 0.5), False),
        (lambda: K.Flatten(data_format="channels_first"), False),
        (lambda: K.ReLU(negative_slope=0.3), True),
        (lambda: K.ReLU(), True),
    ],
)
def test_what_stands_between_two_layers_decides_whether_they_are_a_pair(layer, homogeneous):
    assert is_homogeneous(layer(), (6, 6, 4)) == homogeneous
    end = [] if isinstance(layer(), K.Flatten) else [K.Flatten()]
    model = tf_keras.Sequential([K.Input((6, 6, 3)), K.Conv2D(4, 1), layer(), *end, K.Dense(2)])
    assert bool(eq.pairs(model)) == homogeneous


NAMES = sorted({n for n, f in vars(tf_keras.activations).items() if callable(f)} - {"deserialize", "get", "serialize"})


@pytest.mark.parametrize("name", NAMES)
def test_of_the_activations_only_those_that_let_a_factor_through_pass(name):
    layer = K.Activation(name)
    assert eq._passes(layer) == eq._is_homogeneous(K.Dense(4, name)) == (name in ("linear", "relu"))
    assert is_homogeneous(layer, (6, 4)) == (name in ("linear", "relu", "leaky_relu"))  # the last is left out


@pytest.mark.parametrize("call", [eq.fold, eq.pairs, eq.equalize, eq.unbalance, eq.without_relu6])
def test_models_that_cannot_be_rewritten_are_refused_in_a_sentence(call):
    def dense(dtype=None):
        return tf_keras.Sequential([K.Input((4,)), K.Dense(3, "relu", dtype=dtype), K.Dense(2, dtype=dtype)])

    class Subclassed(tf_keras.Model):
        def call(self, x):
            return x

    nan = dense()
    nan.set_weights([w * np.nan for w in nan.get_weights()])
    for model, said in ((nan, "NaN or infinite"), (Subclassed(), "no graph of layers"), (dense("float64"), "float64")):
        with pytest.raises(ValueError, match=said):
            call(model)
    with pytest.raises(TypeError, match="tf_keras"):
        call("model")


# ---------------------------------------------------------------- bias correction


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("seed", range(2))
def test_corrected_means_are_those_of_the_float_model(seed, per_channel):
    layers = [
        K.Input((9, 9, 3)),
        K.Conv2D(4, 3, use_bias=False),
        K.BatchNormalization(),
        K.LeakyReLU(),
        K.DepthwiseConv2D(3),
        K.ReLU(),
        K.GlobalAveragePooling2D(),
        K.Dense(3),
    ]
    model = scramble(tf_keras.Sequential(layers), seed)
    x = np.random.default_rng(seed).random((20, 9, 9, 3), np.float32)
    before = eq.output_shift(model, x, 4, per_channel=per_channel)
    corrected = eq.correct_biases(model, x, 4, per_channel=per_channel)
    rounded = qz.with_quantized_weights(corrected, 4, per_channel=per_channel)
    error = np.abs(np.mean(rounded(x).numpy() - model(x).numpy(), 0))
    uncorrected = qz.with_quantized_weights(eq.fold(model), 4, per_channel=per_channel)
    assert error.max() < 1e-3 * np.abs(model(x).numpy()).max()
    assert np.abs(np.mean(uncorrected(x).numpy() - model(x).numpy(), 0)).max() > error.max()
    assert max(np.abs(v).max() for v in before.values()) > 0


def test_shifts_are_what_a_dense_layer_by_hand_gives():
    model = scramble(tf_keras.Sequential([K.Input((6,)), K.Dense(3, use_bias=False, name="only")]), 6)
    x = np.random.default_rng(6).random((50, 6), np.float32)
    kernel = model.get_weights()[0]
    error = qz.round_trip(kernel, qz.choose(kernel, 3, symmetric=True, axis=1)) - kernel
    np.testing.assert_allclose(eq.output_shift(model, x, 3)["only"], x.mean(0) @ error, rtol=1e-3, atol=1e-6)


def test_correction_leaves_the_original_and_the_weights_alone():
    model = scramble(branched(True), 7)
    before = model.get_weights()
    corrected = eq.correct_biases(model, np.random.default_rng(0).random((8, 8, 8, 3), np.float32), 3)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))
    assert np.array_equal(corrected.get_layer("b").get_weights()[0], model.get_layer("b").get_weights()[0])
    assert not np.array_equal(corrected.get_layer("b").get_weights()[1], model.get_layer("b").get_weights()[1])


# ---------------------------------------------------------------- tiny weights, and layers with several tensors


@pytest.mark.parametrize("first, second", [(1e-30, 1e20), (1e-44, 30.0), (1e-30, 1.0), (1e30, 1e-30)])
def test_weights_of_any_size_stay_finite_and_the_outputs_stay(first, second):
    model = tf_keras.Sequential([K.Input((3,)), K.Dense(2, activation="relu"), K.Dense(2)])
    model.set_weights([np.float32([[1, first]] * 3), np.zeros(2), np.float32([[1, 1], [second, second]]), np.ones(2)])
    equal, x = eq.equalize(model), np.ones((1, 3), np.float32)
    assert all(np.isfinite(weight).all() for weight in equal.get_weights())
    np.testing.assert_allclose(equal(x), model(x), rtol=1e-5)


def test_a_factor_that_makes_weights_infinite_is_refused():
    model = tf_keras.Sequential([K.Input((3,)), K.Dense(2, activation="relu"), K.Dense(2)])
    for factor in (1e-44, 1e40):
        with pytest.raises(ValueError, match=re.escape(f"factor is {factor!r}, which makes weights infinite")):
            eq.unbalance(model, factor, only="Dense")


def with_states():
    x = tf_keras.Input((5, 3))
    _, state, cell = K.LSTM(4, return_state=True, name="states")(x)
    return tf_keras.Model(x, K.Dense(2, name="end")(K.Concatenate()([state, cell])))


def attending():
    x = tf_keras.Input((5, 8))
    return tf_keras.Model(x, K.Dense(2, name="end")(K.MultiHeadAttention(2, 4)(x, value=K.Dense(8, name="value")(x))))


@pytest.mark.parametrize("build", [with_states, attending])
def test_several_outputs_and_tensors_by_name_reach_both_models(build):
    model = scramble(build(), 0)
    x = np.random.default_rng(0).normal(size=(12, *model.input_shape[1:])).astype(np.float32)
    moved = np.mean(qz.with_quantized_weights(model, 4)(x) - model(x), axis=tuple(range(len(model.output_shape) - 1)))
    np.testing.assert_allclose(eq.output_shift(model, x, 4)["end"], moved, atol=1e-4)
