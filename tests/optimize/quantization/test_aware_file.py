"""The file of a model with fake quantization: its integers, its operators, and its answers."""

from types import SimpleNamespace

import numpy as np
import pytest
import tf_keras
from ai_edge_litert import schema_py_generated as schema

from tests.aware import inputs, stacked
from utils import tflite_file
from utils.optimize.quantization import aware as qa
from utils.optimize.quantization import aware_file, aware_ranges
from utils.optimize.quantization.converter import convert
from utils.quantization_parameters import QuantizationParameters


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
    found = aware_file.ClassAgreement(0.99, np.arange(5), np.array([0.0, 1.00001, 2.0, 2.5, 9.0]), 3.0, 0.1)
    assert found.near_ties == 0.6
    assert [row["disagreements"] for row in found.by_margin()] == [2, 1, 2]
    assert aware_file.ClassAgreement(1.0, np.array([]), np.array([]), 0.0, 0.1).near_ties == 1.0


def test_four_bit_weights_are_stored_in_four_bits(small, file):
    four = aware_file.to_tflite(qa.quantize_aware(small, (4, 8), calibration=inputs(small)[0]))
    assert {op.inputs[1].dtype for op in four.runner.summary() if op.name in ("CONV_2D", "FULLY_CONNECTED")} == {"int4"}
    assert four.size < file.size


@pytest.mark.parametrize("bits", [2, 3, 5, 6, 7])
def test_weights_of_any_bits_are_stored_as_the_integers_that_they_are(small, bits):
    x = inputs(small, 200)[0]
    model = qa.quantize_aware(small, (bits, 8), calibration=x)
    before = [model.get_weights(), model.predict(x, verbose=0)]
    made = aware_file.to_tflite(model)
    for number, layer in enumerate(("conv", "logits")):
        stored, scales = aware_file.stored_kernel(made, number)
        integers, wanted = aware_ranges.integer_kernel(model, layer)
        assert np.array_equal(np.abs(stored), np.abs(integers)) and np.abs(stored).max() == 2 ** (bits - 1) - 1
        if layer == "logits":  # the convolution's are multiplied by the normalization
            assert np.array_equal(stored, integers) and np.allclose(scales, wanted)
    assert aware_file.agreement(model, made, x).largest < 1.5
    assert all(map(np.array_equal, before[0], model.get_weights()))
    assert np.array_equal(before[1], model.predict(x, verbose=0))
    assert {row["weights"] for row in aware_ranges.precision(model)} >= {f"{bits} bits per tensor"}


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


def test_one_normalization_behind_a_convolution_and_one_scale_for_all_channels_are_enough_to_refuse():
    x = tf_keras.Input((8, 8, 3))
    layer = tf_keras.layers.Conv2D(4, 3, name="conv")
    y = layer(x)
    other = tf_keras.layers.BatchNormalization()(y)
    plain = tf_keras.Model(x, tf_keras.layers.Add()([tf_keras.layers.ReLU()(y), other]))
    wrapper = qa.quantize_aware(plain, (4, 8), only="conv", per_channel=False).get_layer("quant_conv")
    assert len(wrapper._outbound_nodes) == 2 and aware_file._is_folded_per_tensor(wrapper)
    kernel, _, limits = wrapper._weight_vars[0]
    wrapper._weight_vars.append((kernel, SimpleNamespace(per_axis=True), limits))
    assert aware_file._is_folded_per_tensor(wrapper)
    wrapper._weight_vars = wrapper._weight_vars[1:]
    assert not aware_file._is_folded_per_tensor(wrapper)


def test_one_output_has_no_class_that_could_differ():
    model = stacked(tf_keras.layers.Dense(1, activation="sigmoid"), shape=(6,))
    x = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    aware = qa.quantize_aware(model, calibration=x)
    with pytest.raises(ValueError, match="there is one output"):
        aware_file.agreement(aware, aware_file.to_tflite(aware), x)


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


def test_layers_that_carry_each_others_names_and_slashes_are_told_apart():
    scopes = ["quant_a", "quant_a/b", "quant_a/b/c", "b", "c"]
    for tensor, layer in (
        ("model/quant_a/b/Conv2D", "quant_a/b"),
        ("model/quant_a/MatMul", "quant_a"),
        ("model/b/Relu", "b"),
        ("quant_a/b/c/Add", "quant_a/b/c"),
        ("model/quant_ab/Add", "model/quant_ab/Add"),
    ):
        assert aware_file._scope(tensor, scopes) == layer


# ---------------------------------------------------------------- the lists of operators, name by name

OPERATORS = [name for name in vars(schema.BuiltinOperator) if name.isupper()]
GRID = QuantizationParameters(0.5, 0)


def stand_in(operators: list) -> SimpleNamespace:
    """A file of which only these operators are known; the numbers of a kernel are its shape counted through."""
    runner = SimpleNamespace(
        summary=lambda: operators, values=lambda tensor: np.arange(np.prod(tensor.shape)).reshape(tensor.shape)
    )
    return SimpleNamespace(runner=runner, content=b"")


def operator(name: str, kernel_grid=GRID) -> SimpleNamespace:
    x = SimpleNamespace(quantization=GRID, shape=(1, 2), dtype="int8")
    kernel = SimpleNamespace(quantization=kernel_grid, shape=(3, 2), dtype=name)
    return SimpleNamespace(name=name, inputs=[x, kernel])


def test_convolutions_and_dense_layers_have_kernels_and_no_other_operator():
    kernels = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"}
    assert kernels < set(OPERATORS)
    for name in OPERATORS:
        file = stand_in([operator(name)])
        if name in kernels:
            stored, scales = aware_file.stored_kernel(file)
            assert stored.shape == ((3, 2) if name == "DEPTHWISE_CONV_2D" else (2, 3)) and scales == 0.5
        else:
            with pytest.raises(ValueError, match="the file has 0 convolutions"):
                aware_file.stored_kernel(file)


def test_kernels_are_numbered_and_a_float_one_is_refused():
    file = stand_in([operator("CONV_2D", None), operator("ADD"), operator("FULLY_CONNECTED")])
    assert aware_file.stored_kernel(file, 1)[0].shape == (2, 3)
    for number in (0, 2, -1):
        with pytest.raises(ValueError, match=rf"has 2 convolutions .* quantized are numbers \[1\]; got {number}"):
            aware_file.stored_kernel(file, number)


def test_the_first_kernel_says_how_a_file_is_stored(monkeypatch):
    made = stand_in([operator("ADD"), operator("TRANSPOSE_CONV"), operator("CONV_2D")])
    monkeypatch.setattr(aware_file, "to_tflite", lambda model: made)
    assert aware_file.stored_as(None) == "TRANSPOSE_CONV"
    monkeypatch.setattr(aware_file, "to_tflite", lambda model: stand_in([operator("ADD")]))
    assert aware_file.stored_as(None) == "no kernel"


def float_operators(monkeypatch, operators: list) -> dict[str, list[str]]:
    """`float_layers` of a file with these operators, and of a model with the layers a and b."""
    monkeypatch.setattr(tflite_file, "File", lambda content: SimpleNamespace(all_operators=lambda: operators))
    a, b = SimpleNamespace(name="a"), SimpleNamespace(name="b")
    model = SimpleNamespace(layers=[SimpleNamespace(name="quant_a", layer=a), b])
    return aware_file.float_layers(model, SimpleNamespace(content=b""))


def writing(name: str, **outputs: str) -> SimpleNamespace:
    """An operator with these outputs, {name: type}."""
    return SimpleNamespace(name=name, outputs=[SimpleNamespace(name=n, dtype=d) for n, d in outputs.items()])


def test_what_moves_values_is_no_layer_in_float_and_all_else_is(monkeypatch):
    moves = {
        *("QUANTIZE", "DEQUANTIZE", "CAST", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "SHAPE"),
        *("STRIDED_SLICE", "SLICE", "GATHER", "PACK", "UNPACK", "SPLIT", "BROADCAST_TO", "TILE", "FILL"),
    }
    found = float_operators(monkeypatch, [writing(name, **{name: "float32"}) for name in OPERATORS])
    assert found == {name: [name] for name in OPERATORS if name not in moves} and moves < set(OPERATORS)


def test_a_float_operator_is_listed_under_its_layer(monkeypatch):
    found = float_operators(monkeypatch, [
        writing("ADD", **{"net/quant_a/add": "int8"}),
        writing("MUL", **{"net/quant_a/mul": "float32"}),
        writing("SUB", **{"net/b/sub;net/quant_a/sub": "float16"}),
        writing("TOPK_V2", **{"net/b/indices": "int32", "net/b/values": "float32"}),
        writing("EXP", other="float32"),
    ])  # fmt: skip
    assert found == {"a": ["MUL", "SUB"], "b": ["SUB", "TOPK_V2"], "other": ["EXP"]}


def test_a_near_tie_is_up_to_two_steps_and_their_rounding():
    for margin, near in ((2.0, 1.0), (2 + 1e-4, 1.0), (2.001, 0.0)):
        assert aware_file.ClassAgreement(0.9, np.arange(1), np.array([margin]), 3.0, 0.1).near_ties == near
    steps = [row["winner ahead by"] for row in aware_file.ClassAgreement(1.0, [], np.array([]), 0.0, 0.1).by_margin()]
    assert steps == ["up to 1 step", "up to 2 steps", "more"]


def test_the_output_step_is_the_distance_of_neighbouring_outputs(aware, small, file):
    x = inputs(small, 300, seed=5)[0]
    values = np.unique(file.predict(x))
    assert aware_file.agreement(aware, file, x).step == pytest.approx(np.diff(values).min(), rel=1e-3)


def test_integer_outputs_have_a_step_too(aware, small):
    x = inputs(small)[0]
    whole = convert(small, "int8", x)
    assert whole.runner.summary()[-1].name != "DEQUANTIZE"
    step = aware_file.agreement(aware, whole, x).step
    assert step == pytest.approx(float(whole.runner.outputs[0].quantization.scale))


def test_one_of_two_inputs_that_was_never_measured_is_enough_to_refuse(aware, monkeypatch):
    monkeypatch.setattr(aware_file, "input_ranges", lambda model: [(-1.0, 1.0), (0.0, 0.0)])
    with pytest.raises(ValueError, match=r"still \[0, 0\]"):
        aware_file.to_tflite(aware)


def test_a_range_that_begins_or_ends_at_zero_is_one(aware, monkeypatch):
    monkeypatch.setattr(aware_file, "input_ranges", lambda model: [(0.0, 1.0), (-1.0, 0.0)])
    assert aware_file.to_tflite(aware).size > 0
