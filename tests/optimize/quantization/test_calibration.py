"""Ranges by hand are those of their definitions, and of the converter where it has the same definition."""

from __future__ import annotations

import numpy as np
import pytest
import tf_keras

from utils.optimize.quantization import calibration as cal
from utils.optimize.quantization import grid as qz
from utils.optimize.quantization.converter import convert

K = tf_keras.layers


def convolutional():
    tf_keras.utils.set_random_seed(1)
    return tf_keras.Sequential(
        [
            K.Input((8, 8, 2)),
            K.Conv2D(4, 3, name="conv"),
            K.BatchNormalization(name="norm"),
            K.ReLU(name="relu"),
            K.MaxPooling2D(name="pool"),
            K.Flatten(name="flat"),
            K.Dense(4, name="dense"),
        ]
    )


def branched():
    tf_keras.utils.set_random_seed(2)
    x = tf_keras.Input((6,), name="x")
    left, right = K.Dense(5, activation="relu", name="left")(x), K.Dense(5, activation="tanh", name="right")(x)
    return tf_keras.Model(x, K.Dense(2, name="end")(K.Concatenate(name="join")([left, right])))


def one_dimensional():
    tf_keras.utils.set_random_seed(3)
    return tf_keras.Sequential(
        [
            K.Input((9, 2), name="x"),
            K.Conv1D(3, 3, activation="relu", name="conv"),
            K.GlobalAveragePooling1D(name="average"),
            K.Dense(1, name="end"),
        ]
    )


def examples(model, n=30, seed=0):
    return np.random.default_rng(seed).normal(size=(n, *model.input_shape[1:])).astype(np.float32)


def file_ranges(artifact):
    """(low, high) of every int8 tensor that is computed, in order."""
    made = [t for op in artifact.runner.summary() for t in op.outputs if t.dtype == "int8" and t.quantization]
    return [
        (
            t.quantization.scales[0] * (-128 - t.quantization.zero_points[0]),
            t.quantization.scales[0] * (127 - t.quantization.zero_points[0]),
        )
        for t in made
    ]


# ---------------------------------------------------------------- choosing


def test_minmax_and_percentile_are_numpys():
    x = np.random.default_rng(0).normal(size=(10, 7, 3))
    assert cal.choose_range(x) == (x.min(), x.max())
    low, high = cal.choose_range(x, "percentile", percentile=90)
    assert (np.mean(x < low), np.mean(x > high)) == pytest.approx((0.1, 0.1), abs=0.01)
    assert cal.choose_range(x, "percentile", percentile=100) == (x.min(), x.max())


def test_a_moving_average_follows_by_its_momentum():
    x = np.array([[0.0, 1.0], [-1.0, 3.0], [-3.0, 1.0]])
    assert cal.choose_range(x, "moving_average", momentum=0.5) == (-1.75, 1.5)
    assert cal.choose_range(x, "moving_average", momentum=0.0) == (-3.0, 1.0)


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_the_least_error_is_no_worse_than_the_whole_range(bits):
    x = np.random.default_rng(bits).standard_t(3, size=5000)
    error = {
        method: qz.mse(x, qz.round_trip(x, qz.from_range(*cal.choose_range(x, method, bits=bits), bits)))
        for method in ("minmax", "mse")
    }
    assert error["mse"] <= error["minmax"] * 1.001
    if bits == 3:
        assert error["mse"] < error["minmax"] / 2


def test_one_outlier_stretches_minmax_and_not_the_percentile():
    x = np.random.default_rng(0).uniform(0, 1, 10_000)
    x[17] = 100
    assert cal.choose_range(x)[1] == 100
    assert cal.choose_range(x, "percentile")[1] < 1.01


@pytest.mark.parametrize(
    "arguments, said",
    [
        ({"method": "max"}, "did you mean 'minmax'. There are minmax, percentile, mse, moving_average$"),
        ({"method": "percentile", "percentile": 50}, "percentile is 50"),
        ({"method": "percentile", "percentile": 100.5}, "percentile is 100.5"),
        ({"method": "moving_average", "momentum": -0.1}, "momentum is -0.1"),
        ({"method": "percentile", "percentile": 30}, "percentile is 30"),
        ({"method": "moving_average", "momentum": 1}, "momentum is 1"),
        ({"x": np.array([np.nan, 1])}, "1 are NaN"),
        ({"x": np.array([])}, "got 0"),
    ],
)
def test_impossible_choices_are_refused_in_a_sentence(arguments, said):
    with pytest.raises(ValueError, match=said):
        cal.choose_range(**{"x": np.arange(4.0), **arguments})


# ---------------------------------------------------------------- models


def test_activations_are_what_keras_computes():
    model = branched()
    x = examples(model)
    seen = cal.activations(model, x)
    right = tf_keras.Model(model.inputs, model.get_layer("right").output)(x)
    np.testing.assert_allclose(seen["right"], right, rtol=1e-6)
    np.testing.assert_array_equal(seen["x"], x)
    assert set(seen) == {"x", "left", "right", "join", "end"}


def test_normalization_is_seen_as_in_inference():
    model = convolutional()
    x = examples(model)
    np.testing.assert_allclose(cal.activations(model, x)["dense"], model(x, training=False), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "build, expected",
    [
        (convolutional, ["relu", "dense"]),
        (branched, ["left", "right", "join", "end"]),
        (one_dimensional, ["conv", "average", "end"]),
    ],
)
def test_points_are_where_the_converter_puts_a_range(build, expected):
    model = build()
    assert cal.points(model) == [*model.input_names, *expected]


@pytest.mark.parametrize("build", [convolutional, one_dimensional])
def test_minmax_by_hand_gives_the_converters_own_file(build):
    model = build()
    x = examples(model)
    own = convert(model, "int8", x)
    mine = convert(cal.with_ranges(model, cal.ranges(model, x)), "int8", x)
    np.testing.assert_allclose(file_ranges(mine), file_ranges(own), rtol=1e-4, atol=1e-5)
    assert [op.name for op in mine.runner.summary()] == [op.name for op in own.runner.summary()]


def test_the_file_takes_the_ranges_that_are_given():
    model = convolutional()
    artifact = convert(cal.with_ranges(model, {"relu": (0, 7.7), "dense": (-3.3, 5.5)}), "int8", examples(model))
    found = file_ranges(artifact)
    assert any(r == pytest.approx((0, 7.7), abs=0.02) for r in found)
    assert found[-1] == pytest.approx((-3.3, 5.5), abs=0.05)


def test_fixed_ranges_round_as_the_grid_does_and_survive_saving(tmp_path):
    model = tf_keras.Sequential([K.Input((4,), name="x"), K.Activation("linear", name="same")])
    fixed = cal.with_ranges(model, {"x": (-1.0, 3.0)})
    x = np.random.default_rng(0).uniform(-2, 4, (50, 4)).astype(np.float32)
    np.testing.assert_allclose(fixed(x), qz.round_trip(x, qz.from_range(-1.0, 3.0)), atol=4 / 255 * 0.501)
    fixed.save(tmp_path / "fixed.keras")
    again = tf_keras.models.load_model(tmp_path / "fixed.keras", custom_objects={"FixedRange": cal.FixedRange})
    np.testing.assert_array_equal(again(x), fixed(x))


def test_a_range_above_zero_is_widened_to_zero():
    layer = cal.FixedRange(2.0, 6.0)
    assert (layer.low, layer.high) == (0.0, 6.0)
    assert float(layer(np.float32([0.0]))[0]) == 0.0


@pytest.mark.parametrize(
    "chosen, said",
    [
        ({"nothing": (0, 1)}, "has no layer 'nothing'"),
        ({"dense": (2, float("inf"))}, "two finite numbers"),
        ({"dense": (0, 0)}, "not both 0"),
    ],
)
def test_impossible_ranges_are_refused_in_a_sentence(chosen, said):
    with pytest.raises(ValueError, match=said):
        cal.with_ranges(convolutional(), chosen)


# ---------------------------------------------------------------- the lists, name by name


@pytest.mark.parametrize(
    "method, said",
    [("minmax", "nothing is clipped"), ("percentile", "the rest is clipped"), ("mse", "least mean squared error"),
     ("moving_average", "exponential moving average")],
)  # fmt: skip
def test_each_method_says_what_it_does(method, said):
    assert said in cal.METHODS[method]


def test_the_least_error_is_searched_among_twenty_thousand_values_and_the_ends():
    x = np.random.default_rng(1).laplace(size=40_000)
    few = np.concatenate([x[::2], [x.min(), x.max()]])
    assert cal.choose_range(x, "mse", bits=4) == tuple(map(float, qz.best_clip(few, 4).range))


def test_the_average_begins_with_the_first_example_and_a_percentile_has_two_sides():
    x = np.array([[1.0, 5.0], [2.0, 3.0]])
    assert cal.choose_range(x[:1], "moving_average") == (1.0, 5.0)
    assert cal.choose_range(x, "moving_average", momentum=0.75) == (1.25, 4.5)
    assert cal.choose_range(np.arange(101.0), "percentile", percentile=90) == pytest.approx((10, 90))
    assert cal.choose_range(np.arange(10_001.0), "percentile") == pytest.approx((10, 9990))


#: {layer that keeps the range of its input: (shape, layer)}
PASSES = {
    "Flatten": ((4, 4, 2), lambda **n: K.Flatten(**n)),
    "Reshape": ((4, 4, 2), lambda **n: K.Reshape((16, 2), **n)),
    "Permute": ((4, 4, 2), lambda **n: K.Permute((2, 1, 3), **n)),
    "Dropout": ((4, 4, 2), lambda **n: K.Dropout(0.5, **n)),
    "SpatialDropout1D": ((4, 2), lambda **n: K.SpatialDropout1D(0.5, **n)),
    "SpatialDropout2D": ((4, 4, 2), lambda **n: K.SpatialDropout2D(0.5, **n)),
    "MaxPooling1D": ((4, 2), lambda **n: K.MaxPooling1D(**n)),
    "MaxPooling2D": ((4, 4, 2), lambda **n: K.MaxPooling2D(**n)),
    "GlobalMaxPooling1D": ((4, 2), lambda **n: K.GlobalMaxPooling1D(**n)),
    "GlobalMaxPooling2D": ((4, 4, 2), lambda **n: K.GlobalMaxPooling2D(**n)),
    "Cropping1D": ((4, 2), lambda **n: K.Cropping1D(**n)),
    "Cropping2D": ((4, 4, 2), lambda **n: K.Cropping2D(**n)),
    "RepeatVector": ((4,), lambda **n: K.RepeatVector(3, **n)),
    "AveragePooling1D": ((4, 2), lambda **n: K.AveragePooling1D(**n)),
    "AveragePooling2D": ((4, 4, 2), lambda **n: K.AveragePooling2D(**n)),
    "ZeroPadding1D": ((4, 2), lambda **n: K.ZeroPadding1D(**n)),
    "ZeroPadding2D": ((4, 4, 2), lambda **n: K.ZeroPadding2D(**n)),
}
#: {neighbour that has a range of its own: (shape, layer)}
COMPUTES = {
    "LayerNormalization": ((4, 2), lambda **n: K.LayerNormalization(**n)),
    "Softmax": ((4,), lambda **n: K.Softmax(**n)),
    "PReLU": ((4,), lambda **n: K.PReLU(**n)),
    "ELU": ((4,), lambda **n: K.ELU(**n)),
    "BatchNormalization": ((4,), lambda **n: K.BatchNormalization(**n)),
    "Conv1D": ((4, 2), lambda **n: K.Conv1D(2, 2, **n)),
    "Conv3D": ((3, 3, 3, 1), lambda **n: K.Conv3D(2, 2, **n)),
    "DepthwiseConv2D": ((4, 4, 2), lambda **n: K.DepthwiseConv2D(2, **n)),
    "SeparableConv2D": ((4, 4, 2), lambda **n: K.SeparableConv2D(2, 2, **n)),
    "LSTM": ((4, 2), lambda **n: K.LSTM(2, **n)),
    "Dense": ((4,), lambda **n: K.Dense(2, **n)),
    "GlobalAveragePooling1D": ((4, 2), lambda **n: K.GlobalAveragePooling1D(**n)),
    "GlobalAveragePooling2D": ((4, 4, 2), lambda **n: K.GlobalAveragePooling2D(**n)),
    "UpSampling2D": ((4, 4, 2), lambda **n: K.UpSampling2D(**n)),
}


@pytest.mark.parametrize("kind", [*PASSES, *COMPUTES])
def test_layers_that_move_or_pick_values_have_no_range_of_their_own_and_all_others_have(kind):
    shape, layer = (PASSES | COMPUTES)[kind]
    model = tf_keras.Sequential([K.Input(shape, name="x"), layer(name="it")])
    assert cal.points(model) == (["x"] if kind in PASSES else ["x", "it"])


#: {layer: (shape, layer without an activation, whether it is one operator with the ReLU behind it)}
BEFORE_RELU = {
    "Conv1D": ((4, 2), lambda: K.Conv1D(2, 2, name="it"), True),
    "Conv2D": ((4, 4, 2), lambda: K.Conv2D(2, 2, name="it"), True),
    "DepthwiseConv2D": ((4, 4, 2), lambda: K.DepthwiseConv2D(2, name="it"), True),
    "Dense": ((4,), lambda: K.Dense(2, name="it"), True),
    "Conv2DTranspose": ((4, 4, 2), lambda: K.Conv2DTranspose(2, 2, name="it"), True),
    "SeparableConv2D": ((4, 4, 2), lambda: K.SeparableConv2D(2, 2, name="it"), True),
    "Dense with an activation": ((4,), lambda: K.Dense(2, "tanh", name="it"), False),
    "Conv3D": ((3, 3, 3, 1), lambda: K.Conv3D(2, 2, name="it"), False),
    "LSTM": ((4, 2), lambda: K.LSTM(2, activation="linear", name="it"), False),
    "Softmax": ((4,), lambda: K.Softmax(name="it"), False),
}


@pytest.mark.parametrize("kind", BEFORE_RELU)
def test_a_layer_with_weights_is_one_operator_with_its_relu(kind):
    shape, layer, fused = BEFORE_RELU[kind]
    model = tf_keras.Sequential([K.Input(shape, name="x"), layer(), K.ReLU(name="relu")])
    assert cal.points(model) == (["x", "relu"] if fused else ["x", "it", "relu"])


@pytest.mark.parametrize(
    "then, fused",
    [
        (lambda: K.ReLU(6.0), True), (lambda: K.ReLU(3.0), False), (lambda: K.ReLU(negative_slope=0.1), False),
        (lambda: K.ReLU(threshold=0.5), False), (lambda: K.Activation("relu"), True),
        (lambda: K.Activation("tanh"), False), (lambda: K.ELU(), False), (lambda: K.BatchNormalization(), True),
    ],
)  # fmt: skip
def test_what_the_converter_fuses_with_a_dense_layer(then, fused):
    model = tf_keras.Sequential([K.Input((4,)), K.Dense(3, name="it"), then()])
    assert ("it" in cal.points(model)) == (not fused)


@pytest.mark.parametrize("join, fused", [("Add", True), ("Multiply", True), ("Subtract", True), ("Maximum", False)])
def test_sums_products_and_differences_are_fused_with_their_relu(join, fused):
    a = K.Input((4,), name="a")
    joined = getattr(K, join)(name="it")([K.Dense(3, name="l")(a), K.Dense(3, name="r")(a)])
    assert ("it" in cal.points(tf_keras.Model(a, K.ReLU(name="relu")(joined)))) == (not fused)


def test_inputs_that_are_no_real_numbers_and_outputs_that_are_used_twice():
    words = K.Input((3,), dtype="int32", name="words")
    table = K.Embedding(5, 2, name="table")(words)
    model = tf_keras.Model(words, [K.ReLU(name="relu")(table), table])
    assert cal.points(model) == ["table", "relu"]
    x = K.Input((4,), name="x")
    dense = K.Dense(3, name="dense")(x)
    assert cal.points(tf_keras.Model(x, [K.ReLU(name="relu")(dense), dense])) == ["x", "dense", "relu"]


def test_of_several_outputs_the_first_is_kept_and_calls_stand_one_behind_the_other():
    x = K.Input((3, 2), name="x")
    output, state, carry = K.LSTM(2, return_sequences=True, return_state=True, name="lstm")(x)
    model = tf_keras.Model(x, [output, state, carry])
    values = np.random.default_rng(2).normal(size=(5, 3, 2)).astype(np.float32)
    np.testing.assert_allclose(cal.activations(model, values)["lstm"], model(values)[0], rtol=1e-5, atol=1e-6)
    a, b, shared = K.Input((4,), name="a"), K.Input((4,), name="b"), K.Dense(2, name="shared")
    model = tf_keras.Model([a, b], K.Add()([shared(a), shared(b)]))
    first, second = np.ones((3, 4), np.float32), np.zeros((3, 4), np.float32)
    found = cal.activations(model, [first, second])["shared"]
    np.testing.assert_allclose(found, np.concatenate([shared(first), shared(second)]), rtol=1e-6)


def test_a_range_below_zero_is_widened_too():
    layer = cal.FixedRange(-5.0, -2.0)
    assert (layer.low, layer.high) == (-5.0, 0.0)


@pytest.mark.parametrize("limits", [(np.nan, 1.0), (0.0, np.nan), (-np.inf, 1.0), (0.0, 0.0), (3.0, 1.0)])
def test_each_end_of_a_range_must_be_finite_in_order_and_one_not_zero(limits):
    with pytest.raises(ValueError, match=r"the range of 'dense' is .*; pass two finite numbers"):
        cal.with_ranges(convolutional(), {"relu": (0.0, 1.0), "dense": limits})


# ---------------------------------------------------------------- graphs that are not a chain


def with_states():
    x = tf_keras.Input((5, 3), name="x")
    steps, state, cell = K.LSTM(4, return_state=True, return_sequences=True, unroll=True, name="states")(x)
    joined = K.Concatenate(name="join")([K.Flatten(name="flat")(steps), state, cell])
    return tf_keras.Model(x, K.Dense(2, name="end")(joined))


def test_a_layer_with_several_outputs_has_no_one_range():
    model = with_states()
    assert cal.points(model) == ["x", "join", "end"]
    assert set(cal.ranges(model, examples(model))) == {"x", "join", "end"}
    with pytest.raises(ValueError, match="outputs of 'states' are several"):
        cal.with_ranges(model, {"states": (-1, 1)})


def test_calls_in_other_models_change_nothing():
    model = branched()
    expected = cal.points(model)
    tf_keras.Model(model.input, model.get_layer("end")(model.get_layer("join").output))
    tf_keras.Sequential([model.get_layer("left")])(np.ones((1, 6), np.float32))
    assert cal.points(model) == expected == ["x", "left", "right", "join", "end"]


def test_each_call_of_a_layer_is_rounded_and_names_that_are_taken_are_left_alone():
    x = tf_keras.Input((4,), name="x")
    twice = K.Dense(4, name="twice", kernel_initializer="identity")
    model = tf_keras.Model(x, K.Dense(4, name="twice_range", kernel_initializer="identity")(twice(twice(x))))
    fixed = cal.with_ranges(model, {"twice": (-1, 1)})
    assert [layer.name for layer in fixed.layers if "range_" in layer.name] == ["twice_range_1", "twice_range_2"]
    high = 127 * 2 / 255  # 1, moved until 0 is a level
    np.testing.assert_allclose(fixed(np.full((1, 4), 7.0)), np.full((1, 4), high), atol=0.01)


@pytest.mark.parametrize(
    "limits", [3, (0, 1, 2), ("low", "high"), (-3e38, 3e38), (None, 1)], ids=["one", "three", "text", "wide", "none"]
)
def test_what_is_no_pair_of_numbers_is_refused(limits):
    with pytest.raises(ValueError, match=r"the range of 'dense' is .*; pass two finite numbers"):
        cal.with_ranges(convolutional(), {"dense": limits})


def test_whole_numbers_have_no_range():
    words = tf_keras.Input((4,), dtype="int32", name="words")
    with pytest.raises(ValueError, match="'words' are several or no real numbers"):
        cal.with_ranges(tf_keras.Model(words, K.Embedding(5, 3)(words)), {"words": (0, 4)})


@pytest.mark.parametrize("method", cal.METHODS)
@pytest.mark.parametrize("dtype", [np.float16, np.int8, np.uint8, np.int32, bool])
def test_the_type_of_the_values_decides_nothing(method, dtype):
    x = np.array([[0, 100], [3, 60], [100, 1]] * 30).astype(dtype)
    assert cal.choose_range(x, method) == pytest.approx(cal.choose_range(x.astype(np.float64), method))
    assert cal.choose_range(x[0, 1], method) == pytest.approx(cal.choose_range(x[0, 1:].astype(np.float64), method))


def test_large_half_precision_numbers_are_averaged():
    x = np.array([6e4, -6e4] * 40, np.float16)
    low, high = cal.choose_range(x, "moving_average")
    assert low == high == pytest.approx(cal.choose_range(x.astype(np.float64), "moving_average")[0])


@pytest.mark.parametrize("method", cal.METHODS)
def test_zeros_have_no_width(method):
    assert cal.choose_range(np.zeros((3, 4)), method) == (0.0, 0.0)


@pytest.mark.parametrize("x", [np.array([1 + 2j]), np.array(["a"]), np.array([None])])
def test_what_is_no_real_number_has_no_range(x):
    with pytest.raises(TypeError, match="needs real numbers"):
        cal.choose_range(x)


def test_a_mask_is_not_lost_and_one_that_hides_nothing_does_not_disturb():
    with pytest.raises(ValueError, match="x is a masked array"):
        cal.choose_range(np.ma.masked_greater([1, 9], 5))
    assert cal.choose_range(np.ma.masked_greater([1, 9], 99)) == (1, 9)


def test_the_policy_of_the_process_does_not_reach_the_ranges():
    model = convolutional()
    tf_keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        fixed = cal.with_ranges(model, {"dense": (-1, 1)})
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    assert {layer.compute_dtype for layer in fixed.layers} == {"float32"}
