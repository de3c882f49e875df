"""Calibration that would end the process is refused in a sentence, and files that lost their model are noticed."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from utils.measure.agreement import Agreement
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
        (lambda: K.Bidirectional(K.GRU(3, name="memory")), (5, 4), r"'forward_memory' \(GRU\).*unroll=True"),
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


def test_a_fused_lstm_is_compared_with_a_float_file_that_forgets_each_example(monkeypatch):
    x, model, seen = rng.random((8, 5, 4), np.float32), loop(K.LSTM(3)), []
    monkeypatch.setattr(guard, "complaints", lambda made, found, *_: seen.append(found) or [])
    convert(model, "int8_float_io", x)
    (outputs,) = seen[0].outputs["serving_default"].values()
    np.testing.assert_allclose(outputs, np.concatenate([model(x[i : i + 1]) for i in range(8)]), atol=1e-5)


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


@pytest.mark.parametrize("share, lost, kind", [(0.1, 0, None), (0.11, 0.1, "warn"), (0.11, 0.6, "refuse")])
def test_a_file_far_from_its_model_is_warned_of_or_refused_with_the_figure(monkeypatch, share, lost, kind):
    monkeypatch.setattr(guard, "agreements", lambda *_: {"good": Agreement(0, 0), "sum": Agreement(share, lost)})
    monkeypatch.setattr(guard, "_floats", lambda *_: [])
    monkeypatch.setattr(guard, "_not_run", lambda *_: [])
    seen = guard.Seen({"serving_default": {"x": np.arange(4.0)}})
    if kind == "refuse":
        with pytest.raises(ValueError, match=r"int8 file is off by up to 0\.11 .*60% .*'sum'.*scale them alike"):
            guard.complaints(None, seen, None, "int8")
    else:
        found = guard.complaints(None, seen, None, "int8")
        assert ["off by up to 0.11" in text for text in found] == ([True] if kind else [])


@pytest.mark.parametrize("mode", ["int8", "int8_float_io"])
def test_the_step_of_the_output_grid_is_found(mode):
    model = Sequential([K.Input((4,)), K.Dense(3), K.Softmax()])
    made = convert(model, mode, rng.random((20, 4), np.float32))
    assert guard.output_steps(made.runner, made.runner.signatures[0]) == {model.output_names[0]: 1 / 256}


def test_columns_of_different_sizes_are_noticed_and_the_way_out_works():
    x = (rng.random((80, 3)) * [1e5, 1, 0.01]).astype(np.float32)
    normal = K.Normalization()
    normal.adapt(x)
    head = Sequential([K.Input((3,)), K.Dense(8, "relu"), K.Dense(1)], name="sum")
    with pytest.raises(ValueError, match=r"% of their variance lost .*'sum'.* scale them alike"):
        convert(Sequential([K.Input((3,)), normal, head], name="net"), "int8", x)
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
