"""Learnt ranges have the gradients of their papers; a depthwise kernel gets one scale a channel, in the file too."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from utils.optimize.quantization import aware, aware_file, aware_ranges
from utils.optimize.quantization import aware_quantizers as aq

L = tf_keras.layers


def value_and_gradients(x, high, bits, rule):
    x, high = tf.constant(x, tf.float32), tf.constant(high, tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, high])
        y = aq.learned_range(x, high, bits, rule)
        each = [y[i] for i in range(len(x))]
    dhigh = [tape.gradient(one, high) for one in each]
    return y.numpy(), tape.gradient(y, x).numpy(), np.array([0.0 if d is None else float(d) for d in dhigh])


#: With an upper end of 1.75 and 3 bits a step is 0.25: all that follows is exact in float32.
X = np.arange(-8, 17) / 8  # ties among them


@pytest.mark.parametrize("rule", aq.GRADIENTS)
def test_a_learned_range_rounds_as_tensorflows_operator(rule):
    y, dx, _ = value_and_gradients(X, 1.75, 3, rule)
    np.testing.assert_array_equal(y, tf.quantization.fake_quant_with_min_max_vars(X.astype("f4"), 0.0, 1.75, 3))
    inside = (X > 0) & (X < 1.75)
    assert (dx[inside] == 1).all() and (dx[(X < 0) | (X > 1.75)] == 0).all()


def test_the_gradient_of_the_end_is_the_papers():
    levels = np.floor(X / 0.25 + 0.5)
    inside, above = (X > 0) & (X < 1.75), X > 1.75
    for rule, within in (("pact", 0 * X), ("lsq", (levels - X / 0.25) / 7)):
        _, _, dhigh = value_and_gradients(X, 1.75, 3, rule)
        np.testing.assert_allclose(dhigh[inside], within[inside], atol=1e-6)
        assert (dhigh[above] == 1).all() and (dhigh[X < 0] == 0).all()


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: aq.learned_range([0.1], 1.0, 3, "qil"), "'pact', 'lsq'"),
        (lambda: aq.learned_range([0.1], 0.0, 3), "above 0"),
        (lambda: aq.learned_range([0.1], 1.0, 1), "from 2 to 16"),
        (lambda: aq.LearnedRange(3, -1.0), "start is -1.0"),
        (lambda: aq.LearnedRange(3, 1.0, "none"), "'fixed'"),
        (lambda: aq.LearnedRange(9, 1.0), "from 2 to 8"),
        (lambda: aq.PerChannelDepthwise(1), "from 2 to 8"),
        (lambda: aq.depthwise_per_channel(tf_keras.Sequential([L.Input((4,)), L.Dense(2)])), "no depthwise"),
    ],
)
def test_bad_arguments_are_said_in_a_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("rule, moves", [("pact", True), ("lsq", True), ("fixed", False)])
def test_a_range_that_is_too_narrow_moves_outwards_if_it_is_learnt(rule, moves):
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential([L.Input((3,)), L.Dense(4, activation="relu", name="hidden"), L.Dense(1, name="out")])
    x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    config = aq.LearnedOutput(3, 0.25, rule)
    made = aware.quantize_aware(model, 8, per_channel=False, configs={"hidden": config}, calibration=x)
    end = next(weight for weight in made.weights if weight.name.endswith("_high:0"))
    made.compile(tf_keras.optimizers.SGD(0.1), "mse")
    target = 3 * np.abs(made.predict(x, verbose=0)) + 1  # what a wider range comes nearer to
    with np.errstate(all="ignore"):
        made.fit(x, target, epochs=2, verbose=0)
    assert (float(end) != 0.25) == moves


@pytest.fixture(scope="module")
def mobile():
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential(
        [
            L.Input((6, 6, 4)),
            L.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise"),
            L.BatchNormalization(name="bn"),
            L.ReLU(6.0, name="relu"),
            L.Conv2D(3, 1, name="pointwise"),
        ]
    )
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 1)) * np.array([0.01, 0.1, 1, 10])[:, None]
    model.get_layer("depthwise").set_weights([kernel])
    return model, np.random.default_rng(1).uniform(size=(32, 6, 6, 4)).astype(np.float32)


def test_each_channel_of_a_depthwise_kernel_gets_its_scale(mobile):
    model, x = mobile
    plain = aware.quantize_aware(model, 8, calibration=x)
    own = aware.quantize_aware(model, 8, calibration=x, configs=aq.depthwise_per_channel(model))
    said = [next(r["weights"] for r in aware_ranges.precision(m) if r["layer"] == "depthwise") for m in (plain, own)]
    assert said == ["8 bits per tensor", "8 bits per channel"]
    one, _ = aware_ranges.integer_kernel(plain, "depthwise")
    each, scales = aware_ranges.integer_kernel(own, "depthwise")
    assert np.abs(one).max(axis=(0, 1, 3))[0] <= 1  # the smallest channel has hardly a level
    assert (np.abs(each).max(axis=(0, 1, 3)) == 127).all() and scales.shape == (4,)


def test_the_file_of_it_computes_in_integers_and_keeps_them(mobile):
    model, x = mobile
    own = aware.quantize_aware(model, 8, calibration=x, configs=aq.depthwise_per_channel(model))
    file = aware_file.to_tflite(own)
    assert aware_file.float_layers(own, file) == {}
    stored, _ = aware_file.stored_kernel(file, 0)
    integers, _ = aware_ranges.integer_kernel(own, "depthwise")
    assert np.abs(stored[0] - integers[..., 0]).max() <= 1  # the fold multiplies in float first
    assert np.abs(own.predict(x, verbose=0) - file.predict(x)).max() < 0.1


def test_it_can_be_saved_and_loaded(mobile, tmp_path):
    model, x = mobile
    own = aware.quantize_aware(model, 8, calibration=x, configs=aq.depthwise_per_channel(model))
    aware.save(own, tmp_path / "own.h5")
    classes = {cls.__name__: cls for cls in (aq.DepthwiseConfig, aq.FloatConfig)}
    again = aware.load(tmp_path / "own.h5", classes)
    np.testing.assert_array_equal(again.predict(x, verbose=0), own.predict(x, verbose=0))


def test_a_learned_output_is_loaded_as_it_was_saved(tmp_path):
    model = tf_keras.Sequential([L.Input((6,)), L.Dense(5), L.ReLU(name="relu"), L.Dense(3)])
    x = np.random.default_rng(0).normal(size=(20, 6)).astype("f4")
    own = aware.quantize_aware(model, (8, 4), configs={"relu": aq.LearnedOutput(3, 1.5, "pact")}, calibration=x)
    aware.save(own, tmp_path / "own.h5")
    again = aware.load(tmp_path / "own.h5")
    np.testing.assert_array_equal(again.predict(x, verbose=0), own.predict(x, verbose=0))
    [found] = again.get_layer("quant_relu")._output_quantizers
    assert found.get_config() == {"bits": 3, "start": 1.5, "gradient": "pact"}
