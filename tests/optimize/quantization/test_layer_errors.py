"""Errors layer by layer are those of the file that is converted, and what is kept in float is in float."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from utils.optimize.quantization import converter, grid, layer_errors
from utils.optimize.quantization.converter import convert


@pytest.fixture(scope="module")
def dense(keras):
    """Two dense layers, of which the first has one unit that dwarfs the others."""
    keras.utils.set_random_seed(2)
    L = keras.layers
    layers = [L.Input((12,)), L.Dense(16, activation="relu", name="first"), L.Dense(4, name="last")]
    model = keras.Sequential(layers, name="little")  # Keras numbers the models of a process that have no name
    kernel, bias = model.get_layer("first").get_weights()
    kernel[:, 0] *= 300
    model.get_layer("first").set_weights([kernel, bias])
    return model, np.random.default_rng(0).random((50, 12), dtype=np.float32)


@pytest.fixture(scope="module")
def branched(keras):
    """Two inputs, two outputs, a convolution, a depthwise convolution and a skip connection."""
    keras.utils.set_random_seed(4)
    L = keras.layers
    image, extra = L.Input((8, 8, 2), name="image"), L.Input((3,), name="extra")
    x = L.Conv2D(4, 3, padding="same", activation="relu", name="conv")(image)
    x = L.Add(name="skip")([x, L.DepthwiseConv2D(3, padding="same", name="deep")(x)])
    x = L.Concatenate(name="both")([L.GlobalAveragePooling2D(name="average")(x), extra])
    rng = np.random.default_rng(1)
    samples = [rng.random((20, 8, 8, 2), dtype=np.float32), 5 * rng.random((20, 3), dtype=np.float32)]
    return keras.Model([image, extra], [L.Dense(3, name="one")(x), L.Dense(2, name="two")(x)]), samples


def floats(artifact) -> set[str]:
    """Kinds of the operators that compute in float."""
    return {o.name for o in artifact.runner.summary() if o.outputs[0].dtype == "float32"} - {"DEQUANTIZE"}


def test_the_error_is_that_of_the_converted_file(dense, capfd):
    model, x = dense
    found = layer_errors.layer_errors(model, x)
    assert [(e.layer, e.operator) for e in found] == [
        ("little/first/MatMul", "FULLY_CONNECTED"),
        ("last", "FULLY_CONNECTED"),
    ]
    assert capfd.readouterr() == ("", "")
    file = convert(model, "int8_float_io", x)
    scales = [o.outputs[0].quantization.scales[0] for o in file.runner.summary() if o.name == "FULLY_CONNECTED"]
    assert [e.scale for e in found] == pytest.approx(scales, rel=1e-6)
    for error in found:
        assert error.rmse_per_scale == pytest.approx(error.rmse / error.scale)
        assert 0.1 < error.rmse_per_scale < 2


def test_the_error_of_one_layer_is_what_arithmetic_by_hand_gives(keras):
    """The first layer's error contains the rounding of the input."""
    model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(3)])
    x = np.random.default_rng(3).normal(size=(32, 6)).astype(np.float32)
    (error,) = layer_errors.layer_errors(model, x)
    kernel = model.get_weights()[0]
    seen = grid.round_trip(x, grid.choose(x))
    real = x @ kernel
    weights = grid.round_trip(kernel, grid.choose(kernel, symmetric=True, axis=1))
    ours = grid.round_trip(seen @ weights, grid.choose(real))
    assert error.rmse == pytest.approx(np.sqrt(np.mean((ours - real) ** 2)), rel=0.1)
    assert error.sqnr_db == pytest.approx(grid.sqnr_db(real, ours), abs=1)


def test_one_scale_for_all_channels_costs_more(keras):
    """A unit 300 times as large as the other takes their integers; alone in its layer it would not matter."""
    L = keras.layers
    model = keras.Sequential([L.Input((12,)), L.Dense(16, name="first"), L.Dense(4, name="last")])
    first, last = (model.get_layer(name) for name in ("first", "last"))
    first.set_weights([first.get_weights()[0] * np.where(np.arange(16), 1, 300), np.zeros(16)])
    last.set_weights([last.get_weights()[0] / np.where(np.arange(16), 1, 300)[:, None], np.zeros(4)])
    x = np.random.default_rng(0).random((50, 12), dtype=np.float32)
    error = {kind: layer_errors.layer_errors(model, x, per_channel=kind)[0].rmse for kind in (True, False)}
    assert error[False] > 1.2 * error[True]


def test_what_is_kept_in_float_is_in_float_and_nothing_else(dense):
    model, x = dense
    whole = convert(model, "int8_float_io", x)
    kept = layer_errors.selective(model, x, keep_float=["first"])
    kernels = {t.shape: t.dtype for t in kept.runner.tensors() if t.constant and len(t.shape) == 2}
    assert kernels == {(16, 12): "float32", (4, 16): "int8"}
    assert kept.size > whole.size
    assert floats(layer_errors.selective(model, x, keep_float=["last"])) == {"FULLY_CONNECTED"}
    assert floats(whole) == set()
    wanted = model.predict(x, verbose=0)
    both = layer_errors.selective(model, x, worst=2).predict(x)
    assert np.abs(both - wanted).max() < np.abs(whole.predict(x) - wanted).max()


def test_the_worst_is_the_one_with_the_fewest_decibels(branched):
    model, samples = branched
    found = layer_errors.layer_errors(model, samples)
    assert {e.operator for e in found} >= {"CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED"}
    worst = min(found, key=lambda e: e.sqnr_db)
    assert floats(layer_errors.selective(model, samples, worst=1)) == {worst.operator}
    kept = layer_errors.selective(model, samples, keep_float=["conv", "deep"])
    assert floats(kept) == {"CONV_2D", "DEPTHWISE_CONV_2D"}


def test_what_the_converter_does_not_keep_in_float_is_said(keras):
    """It leaves pooling in int8 whenever its input is."""
    L = keras.layers
    model = keras.Sequential([L.Input((4, 4, 2)), L.MaxPool2D(name="pool"), L.Flatten(), L.Dense(3)])
    x = np.random.default_rng(0).random((8, 4, 4, 2), dtype=np.float32)
    with pytest.raises(ValueError, match=r"kept none of .*pool.* in float"):
        layer_errors.selective(model, x, keep_float=["pool"])


def test_no_file_is_left(dense, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    layer_errors.layer_errors(*dense)
    assert list(Path(tmp_path).rglob("*")) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either keep_float"),
        ({"keep_float": ["first"], "worst": 1}, "either keep_float"),
        ({"keep_float": ["frist"]}, "did you mean 'first'"),
        ({"keep_float": []}, "keep_float is empty"),
        ({"worst": 0}, "pass 1 to 2"),
        ({"worst": 3}, "pass 1 to 2"),
        ({"worst": 1.5}, "pass 1 to 2"),
    ],
)
def test_bad_choices_are_refused(dense, arguments, message):
    with pytest.raises(ValueError, match=message):
        layer_errors.selective(*dense, **arguments)


def test_bad_data_and_models_are_refused_as_by_convert(dense, keras):
    model, x = dense
    with pytest.raises(ValueError, match="NaN"):
        layer_errors.layer_errors(model, np.full_like(x, np.nan))
    with pytest.raises(ValueError, match="takes shape"):
        layer_errors.selective(model, x[:, :5], worst=1)
    with pytest.raises(TypeError, match=r"builtins\.str"):
        layer_errors.layer_errors("model.h5", x)
    nothing = keras.Sequential([keras.layers.Input((3,)), keras.layers.Flatten()])
    with pytest.raises(ValueError, match="no operator"):
        layer_errors.layer_errors(nothing, np.ones((4, 3), np.float32))


def test_what_the_converter_refuses_is_said_in_a_sentence(keras):
    L = keras.layers
    model = keras.Sequential([L.Input((4, 2)), L.LSTM(3, name="memory"), L.Dense(2)])
    with pytest.raises(ValueError, match=r"layer 'memory' \(LSTM\) cannot be converted .*unroll=True"):
        layer_errors.layer_errors(model, np.random.default_rng(0).random((10, 4, 2), np.float32))


def test_a_fully_convolutional_network_is_measured_on_its_pictures(keras):
    L = keras.layers
    model = keras.Sequential([L.Input((None, None, 3)), L.Conv2D(4, 3, activation="relu"), L.Conv2D(1, 1)])
    errors = layer_errors.layer_errors(model, np.random.default_rng(0).random((10, 24, 20, 3), np.float32))
    assert [e.operator for e in errors] == ["CONV_2D", "CONV_2D"]
    assert all(25 < e.sqnr_db < 70 for e in errors)


def test_an_error_that_is_no_number_is_the_worst():
    pair = layer_errors._Twins("net/a/MatMul", "FULLY_CONNECTED", 0, 1, 0.1, 0)
    errors = [layer_errors._error(pair, "a", 1.0, noise) for noise in (0.01, np.nan, 0.1, np.inf)]
    assert [e.sqnr_db for e in errors] == pytest.approx([20, -np.inf, 10, -np.inf])


def test_layers_with_slashes_in_their_names_can_be_kept_in_float(keras):
    L = keras.layers
    layers = [L.Input((6,)), L.Dense(5, "relu", name="block/first"), L.Dense(4, name="block/second"), L.Dense(2)]
    x = np.random.default_rng(0).random((20, 6), np.float32)
    kept = layer_errors.selective(keras.Sequential(layers), x, keep_float=["block/first"])
    assert {t.shape: t.dtype for t in kept.runner.tensors() if t.constant and len(t.shape) == 2} == {
        (5, 6): "float32", (4, 5): "int8", (2, 4): "int8",
    }  # fmt: skip


# ---------------------------------------------------------------- names, rows and options


def test_a_row_has_each_figure_under_its_name():
    error = layer_errors.LayerError("name", "layer", "ADD", 0.1, 0.2, 2.0, 30.0)
    assert error.row() == {
        "layer": "layer", "operator": "ADD", "scale": 0.1, "rmse": 0.2, "rmse/scale": 2.0, "SQNR dB": 30.0,
    }  # fmt: skip


def test_the_worst_have_the_fewest_decibels_in_this_order():
    decibels = {"a": 3, "b": 9, "c": 1, "d": 5}
    found = [layer_errors.LayerError(name, name, "ADD", 1, 1, 1, ratio) for name, ratio in decibels.items()]
    assert [layer_errors._worst(found, count) for count in (1, 2, 4)] == [["c"], ["c", "a"], ["c", "a", "d", "b"]]
    for count in (0, 5, True, None):
        with pytest.raises(ValueError, match="so pass 1 to 4"):
            layer_errors._worst(found, count)


def test_parts_of_a_path_are_all_that_may_be_a_layers_name():
    assert layer_errors._parts("net/a/b/MatMul;c/Add") == {"net", "a", "b", "net/a", "a/b", "net/a/b", "c"}
    assert layer_errors._parts("MatMul") == set()


def test_an_output_has_its_layers_name(keras):
    L = keras.layers
    model = keras.Sequential([L.Input((3,)), L.Dense(2, name="last")])
    assert layer_errors._label("StatefulPartitionedCall:0", model) == "last"
    assert layer_errors._label("net/a/MatMul;net/a/Relu", model) == "net/a/MatMul"
    start = L.Input((3,))
    two = keras.Model(start, [L.Dense(2)(start), L.Dense(2)(start)])
    assert layer_errors._label("StatefulPartitionedCall:1", two) == "StatefulPartitionedCall:1"


def test_a_layer_may_be_named_alone_twice_or_by_its_operator():
    found = [layer_errors.LayerError(f"net/{name}/MatMul", f"net/{name}/MatMul", "ADD", 1, 1, 1, 1) for name in "ab"]
    assert layer_errors._named(found, "a") == ["net/a/MatMul"]
    assert layer_errors._named(found, ["b", "b", "net/b/MatMul"]) == ["net/b/MatMul"]
    assert layer_errors._named(found, ["net"]) == ["net/a/MatMul", "net/b/MatMul"]


def test_thirty_two_examples_are_compared(dense, monkeypatch):
    counts = []
    monkeypatch.setattr(layer_errors, "_measure", lambda debugger, model, samples: counts.append(len(samples[0])) or [])
    assert layer_errors.layer_errors(*dense) == [] and counts == [32]


def test_calibration_outside_of_its_range_is_refused(dense):
    for call in (layer_errors.layer_errors, lambda *a, **k: layer_errors.selective(*a, worst=1, **k)):
        with pytest.raises(ValueError, match=r"outside input_range \(0, 0\.5\)"):
            call(*dense, input_range=(0, 0.5))


@pytest.mark.parametrize("per_channel, scales", [(True, 4), (False, 1)])
def test_what_stays_in_integers_has_the_scales_that_were_asked_for(dense, per_channel, scales):
    kept = layer_errors.selective(*dense, keep_float=["first"], per_channel=per_channel)
    (kernel,) = (t for t in kept.runner.tensors() if t.constant and t.shape == (4, 16))
    assert len(kernel.quantization.scales) == scales


def test_an_operator_whose_output_is_zero_throughout_has_no_error(keras):
    L = keras.layers
    never = keras.initializers.Constant(-100.0)
    layers = [L.Dense(4, "relu", bias_initializer=never, name="dead"), L.Dense(2, bias_initializer="ones", name="last")]
    x = np.random.default_rng(0).random((20, 3), np.float32)
    assert [e.layer for e in layer_errors.layer_errors(keras.Sequential([L.Input((3,)), *layers]), x)] == ["last"]


def test_a_state_does_not_reach_the_next_example(keras):
    keras.utils.set_random_seed(3)
    start = keras.Input((5, 3), batch_size=1)
    model = keras.Model(start, keras.layers.Dense(2)(keras.layers.LSTM(4)(start)))
    x = np.random.default_rng(0).normal(size=(12, 5, 3)).astype("float32")
    with converter.calibrated_converter(model, [x], True) as calibrated:
        debugger = layer_errors._debugger(model, calibrated)
        first, second = (layer_errors._measure(debugger, model, [samples]) for samples in (x, x[::-1]))
    assert [e.rmse for e in first] == pytest.approx([e.rmse for e in second], rel=1e-6) and len(first) == 2
