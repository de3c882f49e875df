"""The file of a model with fake quantization: its integers, its operators, and its answers."""

import numpy as np
import pytest
import tf_keras

from tests.aware import inputs, stacked
from utils.optimize.quantization import aware as qa
from utils.optimize.quantization import aware_file, aware_ranges
from utils.optimize.quantization.converter import convert


def test_folded_batch_normalization_keeps_the_integers_and_scales_the_scales(small, aware, file):
    integers, scales = aware_ranges.integer_kernel(aware, "conv")
    names = [op.name for op in file.runner.summary()]
    assert names == ["QUANTIZE", "CONV_2D", "RESHAPE", "FULLY_CONNECTED", "DEQUANTIZE"]
    stored, stored_scales = aware_file.stored_kernel(file, 0)
    gamma, _, _, variance = small.get_layer("bn").get_weights()
    factor = gamma / np.sqrt(variance + small.get_layer("bn").epsilon)
    assert np.array_equal(stored * np.sign(factor), integers)
    assert np.allclose(stored_scales, scales * np.abs(factor), rtol=1e-5)


def test_a_stored_dense_kernel_has_its_units_last(aware, file):
    integers, scale = aware_ranges.integer_kernel(aware, "logits")
    stored, stored_scale = aware_file.stored_kernel(file, 1)
    assert np.array_equal(stored, integers) and np.allclose(stored_scale, scale)
    with pytest.raises(ValueError, match="got 2"):
        aware_file.stored_kernel(file, 2)


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("kind", ["DepthwiseConv2D", "Conv2D", "Conv2DTranspose"])
def test_stored_kernels_have_their_output_channels_last(kind, per_channel):
    layer = tf_keras.layers.DepthwiseConv2D(2) if kind == "DepthwiseConv2D" else getattr(tf_keras.layers, kind)(4, 2)
    model = stacked(layer)
    kernel = np.random.default_rng(6).normal(size=layer.get_weights()[0].shape).astype(np.float32)
    layer.set_weights([kernel, layer.get_weights()[1]])
    wanted = {"Conv2D": kernel, "Conv2DTranspose": kernel.swapaxes(2, 3), "DepthwiseConv2D": kernel[None, ..., 0]}[kind]
    file = convert(model, "int8", inputs(model)[0], per_channel=per_channel)
    stored, scales = aware_file.stored_kernel(file)
    assert stored.shape == wanted.shape and scales.size == (wanted.shape[-1] if per_channel else 1)
    assert np.all(np.abs(stored * scales - wanted) <= 0.51 * scales)


def test_agreement_with_the_file(aware, small, file):
    result = aware_file.agreement(aware, file, inputs(small, 500, seed=3)[0])
    assert result.share >= 0.995 and result.near_ties == 1.0 and result.largest < 1.5
    assert len(result.margins) == len(result.disagreements) == round(500 * (1 - result.share))


def test_margins_say_how_far_the_models_winner_was_ahead(aware, small, file):
    class Shifted:
        """The file with its classes one place further: it disagrees nearly everywhere."""

        format, runner = file.format, file.runner

        def predict(self, x):
            return np.roll(file.predict(x), 1, axis=1)

    x = inputs(small, 200, seed=4)[0]
    result = aware_file.agreement(aware, Shifted(), x)
    assert result.share < 0.7 and result.near_ties < 0.5 and result.largest > 10
    outputs, chosen = aware.predict(x, verbose=0), Shifted().predict(x).argmax(axis=1)
    for i, margin in zip(result.disagreements, result.margins, strict=True):
        ahead = outputs[i].max() - outputs[i, chosen[i]]
        assert ahead >= 0 and margin == pytest.approx(ahead / result.step, rel=1e-4, abs=1e-4)


def test_a_clear_winner_who_loses_is_no_near_tie():
    found = aware_file.Agreement(0.99, np.arange(5), np.array([0.0, 1.00001, 2.0, 2.5, 9.0]), 3.0, 0.1)
    assert found.near_ties == 0.6
    assert [row["disagreements"] for row in found.by_margin()] == [2, 1, 2]
    assert aware_file.Agreement(1.0, np.array([]), np.array([]), 0.0, 0.1).near_ties == 1.0


def test_four_bit_weights_are_stored_in_four_bits(small, file):
    four = aware_file.to_tflite(qa.quantize_aware(small, (4, 8), calibration=inputs(small)[0]))
    assert {op.inputs[1].dtype for op in four.runner.summary() if op.name in ("CONV_2D", "FULLY_CONNECTED")} == {"int4"}
    assert four.size < file.size


def test_how_a_file_would_keep_the_kernel(small):
    assert aware_file.stored_as(qa.quantize_aware(small, (2, 8), calibration=inputs(small)[0])) == "int4"
    assert aware_file.stored_as(qa.quantize_aware(small, 4)).startswith("no file: this model has 4-bit activations")


@pytest.mark.parametrize(
    "options, text",
    [
        ({"bits": 4}, "4-bit activations"),
        ({"bits": (8, 6)}, "6-bit activations"),
        ({"per_channel": True}, "one scale for each unit"),
        ({"per_channel": False}, "batch normalization behind"),
    ],
)
def test_what_exists_only_in_simulation_is_not_converted(small, options, text):
    with pytest.raises(ValueError, match=text):
        aware_file.to_tflite(qa.quantize_aware(small, **options))


def test_agreement_needs_a_quantized_output(aware, small):
    with pytest.raises(ValueError, match="no output step"):
        aware_file.agreement(aware, convert(small, "float32"), inputs(small)[0])


def test_a_plain_model_is_no_quantized_one(small):
    with pytest.raises(ValueError, match="no fake quantization"):
        aware_file.to_tflite(small)


def test_only_classifiers_are_compared(aware, file):
    class Flat:
        format, runner = file.format, file.runner

        def predict(self, x):
            return file.predict(x)[:, 0]

    with pytest.raises(ValueError, match=r"both must be \(n, classes\)"):
        aware_file.agreement(aware, Flat(), inputs(aware, 5)[0])


def test_a_model_whose_inputs_were_never_measured_has_no_file(small):
    with pytest.raises(ValueError, match=r"the inputs of 'sequential.*' is still \[0, 0\].*calibration="):
        aware_file.to_tflite(qa.quantize_aware(small, (4, 8)))
