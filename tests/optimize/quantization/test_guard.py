"""Calibration that would end the process is refused in a sentence, and files that lost their model are noticed."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from utils.optimize.quantization import guard, layer_errors
from utils.optimize.quantization.converter import convert
from utils.quiet import quiet

K, Sequential = tf_keras.layers, tf_keras.Sequential
rng = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def seed():
    tf_keras.utils.set_random_seed(1)


# ---------------------------------------------------------------- what ends the process


def loop(layer, shape=(5, 4)):
    return Sequential([K.Input(shape, batch_size=1), layer, K.Flatten(), K.Dense(2)])


@pytest.mark.parametrize(
    "layer, shape, said",
    [
        (lambda: K.GRU(3, name="memory"), (5, 4), r"'memory' \(GRU\) becomes a loop.*unroll=True.*keras_graph\.unroll"),
        (lambda: K.Bidirectional(K.LSTM(3, name="memory")), (5, 4), r"'forward_memory' \(LSTM\).*unroll=True"),
        (
            lambda: K.ConvLSTM2D(2, 2, name="film"),
            (2, 4, 4, 1),
            r"'film' \(ConvLSTM2D\).*cannot be written out.*dynamic",
        ),
    ],
)
def test_loops_are_refused_before_they_are_calibrated(layer, shape, said):
    x = rng.random((4, *shape), np.float32)
    with pytest.raises(ValueError, match=said):
        convert(loop(layer(), shape), "int8", x)


def test_the_debugger_is_guarded_too():
    with pytest.raises(ValueError, match=r"'memory' \(GRU\) becomes a loop"):
        layer_errors.layer_errors(loop(K.GRU(3, name="memory")), rng.random((4, 5, 4), np.float32))


def functional():
    return Sequential([K.Input((4,)), K.Dense(8, "relu"), K.Lambda(tf.math.log, name="logarithm"), K.Dense(2)])


def nested():
    inner = Sequential([K.Input((4,)), K.Dense(8, "relu"), K.Lambda(tf.math.log, name="logarithm")])
    return Sequential([K.Input((4,)), inner, K.Dense(2)])


class Subclassed(tf_keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.logarithm = K.Dense(8, "relu"), K.Lambda(tf.math.log, name="logarithm")
        self.last = K.Dense(2)

    def call(self, x):
        return self.last(self.logarithm(self.first(x)))


def subclassed():
    model = Subclassed()
    model(np.zeros((1, 4), np.float32))
    return model


@pytest.mark.parametrize("mode", ["int8", "int16x8"])
@pytest.mark.parametrize("build", [functional, nested, subclassed])
def test_an_activation_that_is_not_finite_is_named(build, mode):
    x = rng.normal(size=(20, 4)).astype(np.float32)
    with pytest.raises(ValueError, match=r"'logarithm' \(Lambda\) is -inf for some of the calibration data"):
        convert(build(), mode, x)


def test_one_example_of_many_is_enough_and_it_may_vanish_again():
    """relu(NaN) is 0 in some kernels: the model's output shows nothing."""
    steps = [K.Lambda(lambda x: tf.sqrt(x), name="root"), K.ReLU(), K.Dense(2)]
    x = rng.random((200, 4)).astype(np.float32)
    x[117, 2] = -1
    with pytest.raises(ValueError, match=r"'root' \(Lambda\) is nan"):
        convert(Sequential([K.Input((4,)), *steps]), "int8", x)


def test_a_savedmodel_is_guarded_too(tmp_path):
    module = tf.Module()
    module.run = tf.function(lambda x: {"y": tf.math.log(x)}, [tf.TensorSpec((None, 4), tf.float32, "x")])
    with quiet():
        tf.saved_model.save(module, str(tmp_path / "log"), module.run)
    with pytest.raises(ValueError, match="is -inf for some of the calibration data"):
        convert(tmp_path / "log", "int8", np.zeros((8, 4), np.float32))


def test_a_relu_that_never_fires_converts_and_runs():
    never = tf_keras.initializers.Constant(-100.0)
    steps = [K.Dense(8, "relu", bias_initializer=never), K.Dense(6, "relu"), K.Dense(2, bias_initializer="ones")]
    model, x = Sequential([K.Input((4,)), *steps]), rng.random((20, 4), np.float32)
    assert np.abs(convert(model, "int8", x).predict(x) - model(x)).max() < 0.02


def test_a_fixed_batch_is_calibrated_in_such_batches():
    model = Sequential([K.Input((8,), batch_size=2), K.Dense(4), K.Lambda(lambda x: tf.concat(tf.split(x, 2, 0), 0))])
    x = rng.random((9, 8), np.float32)
    assert np.abs(convert(model, "int8", x).predict(x[:8]) - model.predict(x[:8], batch_size=2, verbose=0)).max() < 0.1


# ---------------------------------------------------------------- what came out


def test_the_share_is_what_arithmetic_gives():
    wanted = np.array([0.0, 2.0, 4.0])
    assert guard.share_of(wanted + 0.5, wanted) == pytest.approx(0.5 / np.std(wanted))
    assert guard.share_of(wanted + 0.5, wanted, step=0.5) == 0
    assert guard.share_of(np.full(3, 5.5), np.full(3, 5.0)) == pytest.approx(0.1)
    assert guard.share_of(np.array([1, 2, 4]), np.array([1, 2, 3])) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "share, kind", [(guard.BAD, None), (guard.BAD + 0.01, "warn"), (guard.HOPELESS + 0.01, "refuse")]
)
def test_a_file_far_from_its_model_is_warned_of_or_refused_with_the_figure(monkeypatch, share, kind):
    monkeypatch.setattr(guard, "losses", lambda *_: {"good": 0.0, "sum": share})
    monkeypatch.setattr(guard, "_floats", lambda *_: [])
    monkeypatch.setattr(guard, "_not_run", lambda *_: [])
    seen = guard.Seen({"serving_default": {"x": np.arange(4.0)}})
    if kind == "refuse":
        with pytest.raises(ValueError, match=r"'sum' of the int8 file is off by 1\.01 of the float model's spread"):
            guard.complaints(None, seen, None, "int8")
    else:
        found = guard.complaints(None, seen, None, "int8")
        assert [f"off by {share:.2f}" in text for text in found] == ([True] if kind else [])


def test_columns_of_different_sizes_are_noticed_and_the_way_out_works():
    x = (rng.random((80, 3)) * [1e5, 1, 0.01]).astype(np.float32)
    normal = K.Normalization()
    normal.adapt(x)
    head = Sequential([K.Input((3,)), K.Dense(8, "relu"), K.Dense(1, name="sum")])
    with pytest.raises(ValueError, match=r"'sum' .* off by \d\.\d\d .* scale them alike"):
        convert(Sequential([K.Input((3,)), normal, head]), "int8", x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert(head, "int8", np.asarray(normal(x)))


def test_float_operators_that_remain_are_named():
    model = Sequential([K.Input((4, 4, 4, 1)), K.Conv3D(2, 3, name="cube"), K.Flatten(), K.Dense(2)])
    with pytest.warns(guard.ConversionWarning, match=r"computes CONV_3D \(1\) of layer 'cube' \(Conv3D\) in float32"):
        convert(model, "int8", rng.random((8, 4, 4, 4, 1), np.float32))


def test_constant_calibration_is_warned_of():
    with pytest.warns(guard.ConversionWarning, match="is 0.5 throughout"):
        convert(Sequential([K.Input((4,)), K.Dense(2)]), "int8", np.full((8, 4), 0.5))


def test_layers_are_found_in_paths_slashes_included():
    model = Sequential([K.Input((4,)), K.Dense(3, name="a/b"), K.Dense(3, name="b"), K.Dense(3, name="c")])
    names = {path: [layer.name for layer in guard.named({path}, model)] for path in (
        "net/a/b/MatMul", "net/b/MatMul;net/c/BiasAdd", "other", "StatefulPartitionedCall:0",
    )}  # fmt: skip
    assert names == {
        "net/a/b/MatMul": ["a/b"],
        "net/b/MatMul;net/c/BiasAdd": ["b", "c"],
        "other": [],
        "StatefulPartitionedCall:0": ["c"],
    }
