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
        ({"method": "max"}, "no method 'max'; did you mean 'minmax'. There are minmax, percentile"),
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
