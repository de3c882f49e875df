"""Ranges measured on data, and what the quantizers of a small model say about themselves."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras import quant_ops

from tests.aware import inputs, stacked
from utils.optimize.quantization import aware as qa
from utils.optimize.quantization import aware_file, aware_ranges, grid

L = tf_keras.layers


def kinds_of_ranges(model) -> dict[str, object]:
    """One range of each kind: of the inputs, of the convolution's weights (their upper ends), of the ReLU."""
    ends = next(w for w in model.weights if w.name.endswith("kernel_max:0"))
    return {
        "inputs": aware_ranges.input_ranges(model)[0],
        "weights": tuple(ends.numpy()),
        "activations": aware_ranges.activation_ranges(model)["relu"],
    }


START = {"inputs": (0.0, 0.0), "weights": (6.0,) * 6, "activations": (-6.0, 6.0)}


@pytest.mark.parametrize("bits", [8, 4])
def test_without_calibration_the_three_kinds_start_where_the_toolkit_starts_them(small, bits):
    model = qa.quantize_aware(small, bits)
    assert kinds_of_ranges(model) == START
    x = inputs(small, 20)[0]
    assert len(np.unique(model.predict(x, verbose=0), axis=0)) == 1  # every input is rounded to 0
    model(x, training=True)
    found, kernel = kinds_of_ranges(model), small.get_layer("conv").kernel.numpy()
    assert found["inputs"] == (x.min(), x.max())
    np.testing.assert_allclose(found["weights"], np.abs(kernel).max((0, 1, 2)), rtol=0.01)
    low, high = found["activations"]
    assert low == pytest.approx(-6 * 0.999) and 5.9 < high < 6.1  # a thousandth of the way


@pytest.mark.parametrize("only", ["inputs", ("weights",), ["activations"], ("inputs", "weights"), aware_ranges.RANGES])
def test_one_cause_at_a_time(small, aware, only):
    model, whole = qa.quantize_aware(small), kinds_of_ranges(aware)
    aware_ranges.calibrate(model, inputs(small)[0], only=only)
    for kind, found in kinds_of_ranges(model).items():
        wanted = {only} if isinstance(only, str) else set(only)
        if kind not in wanted:
            assert found == START[kind]
        elif kind != "activations" or len(wanted) == 3:  # activations depend on what was rounded before
            assert found == pytest.approx(whole[kind])
        else:
            assert found != START[kind]


@pytest.mark.parametrize("only", [(), "input", ("weights", "bias")])
def test_unknown_kinds_of_ranges_are_refused(aware, small, only):
    with pytest.raises(ValueError, match="one or several of 'inputs'"):
        aware_ranges.calibrate(aware, inputs(small)[0], only=only)


def test_a_depthwise_kernel_has_one_scale_in_training_and_the_file_keeps_its_integers():
    layers = [L.DepthwiseConv2D(3, name="dw"), L.BatchNormalization(), L.ReLU(), L.Flatten(), L.Dense(3, name="dense")]
    model = stacked(*layers)
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 1)) * [[[[0.01], [1.0], [5.0]]]]
    model.get_layer("dw").set_weights([kernel, np.zeros(3)])
    made = qa.quantize_aware(model, calibration=inputs(model)[0])
    rows = {row["layer"]: row["weights"] for row in aware_ranges.precision(made)}
    assert rows["dw"] == "8 bits per tensor" and rows["dense"] == "8 bits per tensor"
    integers, scales = aware_ranges.integer_kernel(made, "dw")
    assert scales.size == 1 and np.abs(integers[..., 0, 0]).max() <= 1  # a narrow channel is lost
    stored, stored_scales = aware_file.stored_kernel(aware_file.to_tflite(made))
    assert np.array_equal(stored[0], integers[..., 0]) and np.ptp(stored_scales) == 0 and stored_scales.size == 3


def test_calibration_covers_exactly_what_it_saw(small, aware):
    x = inputs(small)[0]
    found = aware_ranges.activation_ranges(aware)
    start = next(name for name in found if name.startswith("quantize_layer"))
    assert found[start] == (x.min(), x.max())
    assert found["relu"][0] == 0.0 < found["relu"][1]


def test_the_range_of_a_shared_layer_covers_all_its_calls():
    a, b, shared = L.Input((4,)), L.Input((4,)), L.Dense(3, activation="relu", name="shared")
    model = tf_keras.Model([a, b], L.Dense(2)(L.Add()([shared(a), shared(b)])))
    x = [np.full((5, 4), 10.0, np.float32), np.full((5, 4), 0.1, np.float32)]
    shared.set_weights([np.ones((4, 3)), np.zeros(3)])
    for order in (x, x[::-1]):
        found = aware_ranges.activation_ranges(qa.quantize_aware(model, calibration=order))
        assert found["shared"] == (0.0, pytest.approx(40, 1e-2))


def test_calibrating_again_forgets_the_first_ranges(small):
    model = qa.quantize_aware(small, calibration=10 * inputs(small)[0])
    aware_ranges.calibrate(model, inputs(small)[0])
    fresh = qa.quantize_aware(small, calibration=inputs(small)[0])
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), fresh.get_weights(), strict=True))


def test_calibration_leaves_the_toolkits_functions_as_they_were(small):
    from tensorflow_model_optimization.python.core.quantization.keras import quant_ops

    before = quant_ops.MovingAvgQuantize
    with pytest.raises(ValueError, match="takes shape"):
        aware_ranges.calibrate(qa.quantize_aware(small), np.zeros((3, 5), np.float32))
    assert quant_ops.MovingAvgQuantize is before and before.__name__ == "MovingAvgQuantize"


def test_the_mse_range_is_narrower_with_few_bits(small):
    def width(clip):
        made = qa.quantize_aware(small, 2, calibration=inputs(small)[0], clip=clip)
        return aware_ranges.activation_ranges(made)["relu"][1]

    assert width("mse") < width("minmax")


def test_few_bits_leave_few_distinct_weights(small):
    for bits, most in ((2, 3), (3, 7), (4, 15)):
        model = qa.quantize_aware(small, (bits, 8), calibration=inputs(small)[0])
        integers, scales = aware_ranges.integer_kernel(model, "conv")
        assert integers.min() == -(most // 2) and integers.max() == most // 2 and scales.shape == (6,)


@pytest.mark.parametrize(
    "per_channel, conv, dense", [(None, "channel", "tensor"), (True, "channel", "channel"), (False, "tensor", "tensor")]
)
def test_granularity(small, per_channel, conv, dense):
    model = qa.quantize_aware(small, (4, 8), per_channel=per_channel)
    rows = {row["layer"]: row for row in aware_ranges.precision(model)}
    assert rows["conv"]["weights"] == f"4 bits per {conv}" and rows["logits"]["weights"] == f"4 bits per {dense}"
    assert rows["relu"]["output"] == "8 bits" and rows["conv"]["output"] == "float"


def test_the_integer_kernel_is_the_weights_in_steps(small, aware):
    integers, scales = aware_ranges.integer_kernel(aware, "conv")
    kernel = small.get_layer("conv").kernel.numpy()
    assert np.abs(integers).max((0, 1, 2)).tolist() == [127] * 6
    assert np.abs(integers * scales - kernel).max() <= 0.501 * scales.max()
    with pytest.raises(ValueError, match="no layer 'bn' with quantized weights; there are"):
        aware_ranges.integer_kernel(aware, "bn")


@pytest.mark.parametrize(
    "x, text",
    [
        ([], "has 0"),
        (np.zeros((0, 8, 8, 3), np.float32), "empty"),
        (np.full((2, 8, 8, 3), np.inf, np.float32), "NaN"),
        (np.zeros((2, 8, 9, 3), np.float32), r"takes shape \(n, 8, 8, 3\)"),
        (np.zeros((2, 8), np.float32), "takes"),
    ],
)
def test_ranges_cannot_be_measured_on_bad_inputs(small, x, text):
    with pytest.raises(ValueError, match=text):
        aware_ranges.calibrate(qa.quantize_aware(small), x)


def test_a_model_without_quantizers_and_an_unknown_way_to_clip(small, aware):
    with pytest.raises(ValueError, match="no fake quantization"):
        aware_ranges.calibrate(small, inputs(small)[0])
    with pytest.raises(ValueError, match="'minmax' or 'mse'"):
        aware_ranges.calibrate(aware, inputs(small)[0], clip="percentile")


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("clip", ["minmax", "mse"])
def test_each_way_to_clip_does_its_own_work(small, bits, clip):
    x = np.random.default_rng(1).laplace(size=(60, 8, 8, 3)).astype(np.float32)
    found = aware_ranges.input_ranges(qa.quantize_aware(small, bits, calibration=x, clip=clip))[0]
    best = grid.best_clip(x, bits, candidates=40).range
    wanted = {"minmax": (x.min(), x.max()), "mse": (float(best[0]), float(best[1]))}
    assert found == pytest.approx(wanted[clip], rel=1e-6)


def test_the_least_error_is_looked_for_among_all_values_and_not_the_first(small):
    x = np.random.default_rng(1).laplace(size=(300, 8, 8, 3)).astype(np.float32)
    x[:150] /= 100  # 28,800 values
    found = aware_ranges.input_ranges(qa.quantize_aware(small, 4, calibration=x, clip="mse"))[0]
    assert found == pytest.approx(grid.best_clip(x, 4, candidates=40).range, rel=0.3) and found[1] > 1


def test_a_symmetric_quantizer_gets_a_symmetric_range():
    low, high = tf.Variable(0.0), tf.Variable(0.0)
    with aware_ranges._observing("minmax", {"activations"}, {}):
        y = quant_ops.MovingAvgQuantize(tf.constant([-1.0, 3.0]), low, high, symmetric=True, num_bits=8)
    assert (float(low), float(high)) == (-3.0, 3.0) and y.shape == (2,)


@pytest.mark.parametrize("clip", ["minmax", "mse"])
def test_a_range_that_float32_cannot_hold_is_refused_and_the_old_ones_stay(small, clip):
    model, x = qa.quantize_aware(small), inputs(small)[0]
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"x reaches 3e\+38, which gives '\w+' the range .* wider than float32"):
        aware_ranges.calibrate(model, (x / np.abs(x).max() * 3e38).astype(np.float32), clip=clip)
    assert all(map(np.array_equal, before, model.get_weights()))
    aware_ranges.calibrate(model, (x / np.abs(x).max() * 1e36).astype(np.float32), clip=clip)
    assert aware_ranges.input_ranges(model)[0][1] > 1e35
