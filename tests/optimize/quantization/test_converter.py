"""`convert` on many kinds of models, SavedModels, and mistakes."""

from __future__ import annotations

import functools
import sys
import warnings

import numpy as np
import pytest
import tensorflow as tf

from utils import models
from utils.artifact import ArtifactError
from utils.optimize.quantization import converter, layer_errors
from utils.optimize.quantization import grid as q
from utils.optimize.quantization.converter import convert
from utils.quantization_parameters import QuantizationParameters
from utils.quiet import quiet


@pytest.fixture(scope="module")
def small(keras):
    """A convolution, a dense layer of three units, and pictures for it."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.layers.Input((8, 8, 2)),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(3),
        ]
    )
    return model, np.random.default_rng(0).random((64, 8, 8, 2), dtype=np.float32)


@pytest.fixture(scope="module")
def converted(small):
    """A function of the mode, which converts once."""
    model, x = small
    return functools.cache(lambda mode: convert(model, mode, x if mode in converter.CALIBRATED else None))


def run(content: bytes, x: np.ndarray) -> np.ndarray:
    """The interpreter's answer in real numbers."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    detail, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.resize_tensor_input(detail["index"], x.shape)
    interpreter.allocate_tensors()
    if detail["dtype"] != np.float32:
        x = q.quantize(x, QuantizationParameters(np.float32(detail["quantization"][0]), int(detail["quantization"][1])))
    interpreter.set_tensor(detail["index"], x)
    interpreter.invoke()
    y = interpreter.get_tensor(result["index"])
    scale, zero_point = result["quantization"]
    return y if y.dtype == np.float32 else (y.astype(np.float32) - zero_point) * scale


@pytest.mark.parametrize(
    ("mode", "tolerance"),
    [
        ("float32", 1e-5),
        ("float16", 3e-3),
        ("dynamic", 0.05),
        ("int8", 0.08),
        ("int8_float_io", 0.08),
        ("int16x8", 0.02),
    ],
)
def test_every_mode_stays_near_the_model_and_says_nothing(small, converted, mode, tolerance, capfd):
    model, x = small
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = converted(mode)
    assert made.format == "tflite"
    wanted = model.predict(x, verbose=0)
    assert np.abs(run(made.content, x) - wanted).max() < tolerance * np.abs(wanted).max()
    printed = capfd.readouterr()
    assert "fully_quantize" not in printed.err and "Assets" not in printed.out + printed.err


def test_the_modes_differ_in_bytes_and_in_what_goes_in_and_out(converted):
    from utils.tflite_file import File

    made = {mode: converted(mode).content for mode in converter.MODES}
    size = {mode: len(content) for mode, content in made.items()}
    assert size["int8"] < size["float16"] < size["float32"]
    assert size["dynamic"] < 0.5 * size["float32"]
    ends = {mode: File(content) for mode, content in made.items()}
    types = {mode: (file.inputs()[0].dtype, file.outputs()[0].dtype) for mode, file in ends.items()}
    assert types.pop("int8") == ("int8", "int8")
    assert set(types.values()) == {("float32", "float32")}


def test_per_channel_false_gives_every_weight_one_scale(small, converted):
    from utils.tflite_file import File

    def scales(made):
        constants = File(made.content).constants()
        return [len(tensor.quantization.scales) for tensor, _ in constants if tensor.dtype == "int8"]

    assert sorted(scales(converted("int8"))) == [3, 16, 32]
    assert scales(convert(small[0], "int8", small[1], per_channel=False)) == [1, 1, 1]


def test_our_scales_are_the_converters(small, converted):
    """The weights' scale and integers come out as the converter's; so does the input's range."""
    from utils.tflite_file import File

    model, x = small
    file = File(converted("int8").content)
    stored, values = next((t, values) for t, values in file.constants() if t.shape == (32, 576))
    kernel = model.layers[2].get_weights()[0].T
    ours = q.choose(kernel, symmetric=True, axis=0)
    assert np.allclose(ours.scale, stored.quantization.scales, rtol=1e-6)
    assert np.mean(q.quantize(kernel, stored.quantization) != values) < 1e-3
    source = file.inputs()[0].quantization
    assert float(source.scale) == pytest.approx(float(q.choose(x).scale), rel=1e-5)
    assert int(source.zero_point) == int(q.choose(x).zero_point)


def test_other_kinds_of_models_convert(keras):
    L = keras.layers
    rng = np.random.default_rng(3)
    one, two = L.Input((6,)), L.Input((4,))
    several = keras.Model([one, two], [L.Dense(3)(L.Concatenate()([one, two])), L.Dense(2)(one)])
    nested = keras.Sequential([L.Input((6,)), keras.Sequential([L.Input((6,)), L.Dense(5)]), L.Dense(2)])

    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = L.Dense(4)

        def call(self, x):
            return self.dense(x)

    subclassed = Subclassed()
    with pytest.raises(ValueError, match="no known input shape"):
        convert(subclassed, "dynamic")
    subclassed(np.zeros((1, 6), np.float32))
    x = rng.random((20, 6), dtype=np.float32)
    assert convert(several, "int8_float_io", [x, x[:, :4]]).content[4:8] == b"TFL3"
    for model in (nested, subclassed):
        assert np.abs(run(convert(model, "int8", x).content, x) - model.predict(x, verbose=0)).max() < 0.2


def test_a_subclassed_model_with_two_inputs_is_calibrated_by_order_or_name(keras):
    class Two(keras.Model):
        def __init__(self):
            super().__init__()
            self.left, self.right = keras.layers.Dense(3), keras.layers.Dense(3)

        def call(self, x):
            return self.left(x["p"]) + self.right(x["q"])

    rng = np.random.default_rng(4)
    model, x = Two(), {"p": rng.random((20, 4), np.float32), "q": 9 * rng.random((20, 7), np.float32)}
    wanted = model(x).numpy()
    for samples in (x, [x["p"], x["q"]]):
        found = convert(model, "int8_float_io", samples).predict(x)
        assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()
    with pytest.raises(ValueError, match="the inputs 'p', 'q'; calibration has 'p'"):
        convert(model, "int8", {"p": x["p"]})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "int-8"}, "did you mean 'int8'"),
        ({"mode": "flaot16"}, "did you mean 'float16'"),
        ({"mode": "int8"}, "needs calibration="),
        ({"mode": "int16x8", "calibration": None}, "needs calibration="),
        ({"mode": "dynamic", "calibration": np.zeros((2, 8, 8, 2))}, "does not use calibration"),
        ({"calibration": np.zeros((0, 8, 8, 2))}, "empty"),
        ({"calibration": []}, "0"),
        ({"calibration": np.full((2, 8, 8, 2), np.nan)}, "NaN"),
        ({"calibration": np.zeros((2, 8, 8, 3))}, "takes shape"),
        ({"calibration": np.zeros((8, 8, 2))}, "takes shape"),
        ({"calibration": [np.zeros((2, 8, 8, 2))] * 2}, "1 inputs, calibration has 2"),
        ({"calibration": np.arange(256).repeat(2).reshape(4, 8, 8, 2)}, "like raw pixels"),
        ({"calibration": np.linspace(0, 254.7, 512).reshape(4, 8, 8, 2)}, "like raw pixels"),
        ({"calibration": np.full((2, 8, 8, 2), 3.0), "input_range": (0, 1)}, "outside input_range"),
        *(
            ({"calibration": np.zeros((2, 8, 8, 2)), "input_range": ends}, "input_range is .* the smaller first")
            for ends in (5, (1, 0), (0,), (0, 1, 2), ("low", "high"), (0, np.nan), (1, 1))
        ),
    ],
)
def test_bad_conversions_are_refused(small, arguments, message):
    with pytest.raises(ValueError, match=message):
        convert(small[0], **arguments)


def test_raw_pixels_are_accepted_when_they_are_meant(small):
    raw = np.arange(256, dtype=np.float32).repeat(2).reshape(4, 8, 8, 2)
    assert convert(small[0], "int8", raw, input_range=(0, 255)).content[4:8] == b"TFL3"


@pytest.mark.parametrize(
    ("x", "pixels"),
    [
        (np.arange(256.0).repeat(3).reshape(4, 8, 8, 3), True),
        (np.arange(120.0).repeat(8).reshape(5, 8, 8, 3), True),  # dark pictures
        (np.linspace(0, 254.7, 768).reshape(4, 8, 8, 3), True),  # resized ones
        (np.arange(256.0).repeat(16).reshape(4, 1024), True),  # flattened ones
        (np.arange(256.0).repeat(16).reshape(4, 32, 32), True),
        (np.linspace(0, 1, 768).reshape(4, 8, 8, 3), False),
        (np.linspace(-1, 200, 768).reshape(4, 8, 8, 3), False),
        (np.arange(100.0).repeat(8).reshape(100, 8), False),  # a table of percentages
        (np.arange(256.0).repeat(8).reshape(256, 8), False),
        (np.arange(100.0).repeat(480).reshape(100, 480), False),
        (np.arange(256.0).repeat(72).reshape(256, 24, 3), False),  # counts by the hour
        (np.linspace(0, 254.7, 4096).reshape(4, 1024), False),
        (np.linspace(0, 100, 4 * 16 * 16 * 40).reshape(4, 16, 16, 40), False),  # features, no colours
    ],
)
def test_raw_pixels_are_told_from_tables(x, pixels):
    if pixels:
        with pytest.raises(ValueError, match=r"like raw pixels.*input_range=\(0, 255\)"):
            converter._check_range(x, False, None)
        converter._check_range(x, True, None)
        converter._check_range(x, False, (0, 255))
    else:
        converter._check_range(x, False, None)


def test_models_of_other_kinds_are_refused():
    import keras

    with pytest.raises(TypeError, match=r"Keras 3.*export"):
        convert(keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)]), "float32")
    with pytest.raises(TypeError, match=r"builtins\.dict"):
        convert({}, "float32")


# ---------------------------------------------------------------- what cannot be converted


def test_layers_that_cannot_be_converted_are_named_with_a_way_out(keras):
    import tensorflow as tf

    L = keras.layers

    def message(*layers, mode="float32", calibration=None):
        with pytest.raises(ValueError, match="cannot be converted") as caught:
            convert(keras.Sequential(list(layers)), mode, calibration)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    recurrent = message(L.Input((4, 2)), L.LSTM(3, name="memory"), L.Dense(2))
    assert "'memory' (LSTM)" in recurrent
    assert "unroll=True" in recurrent
    nested = keras.Sequential([L.Input((3,)), L.Lambda(lambda x: tf.math.betainc(x, x, x), name="odd")], name="inner")
    assert "'odd' (Lambda) cannot be converted (Betainc)" in message(L.Input((3,)), L.Dense(3), nested)
    picture = message(L.Input((4, 4, 1)), L.Lambda(lambda x: tf.image.resize(x, (6, 6), "bicubic"), name="larger"))
    assert "'larger' (Lambda) cannot be converted (ResizeBicubic): TensorFlow Lite has no operator" in picture
    cube = message(
        L.Input((4, 4, 4, 1)),
        L.Conv3D(2, 3, name="cube"),
        mode="int16x8",
        calibration=np.ones((2, 4, 4, 4, 1), np.float32),
    )
    assert "'cube' (Conv3D)" in cube
    assert "int8" in cube


def test_a_file_without_a_kernel_for_int16_activations_is_reported_with_another_mode(keras):
    import tensorflow as tf

    L, x = keras.layers, np.random.default_rng(0).random((8, 4), dtype=np.float32)
    odd = L.Lambda(lambda x: tf.math.squared_difference(x, 1.0))
    with pytest.warns(converter.ConversionWarning, match=r"SquaredDifference .* Take mode 'int8'") as caught:
        convert(keras.Sequential([L.Input((4,)), L.Dense(4), odd, L.Dense(2)]), "int16x8", x)
    assert all("\n" not in str(each.message) for each in caught)


def test_the_way_out_of_a_recurrent_layer_works(keras):
    model = keras.Sequential([keras.layers.Input((4, 2), batch_size=1), keras.layers.SimpleRNN(3)])
    x = np.random.default_rng(0).random((6, 4, 2), dtype=np.float32)
    made = convert(model, "float32")
    assert np.allclose(made.predict(x), np.concatenate([model(x[i : i + 1]) for i in range(6)]), atol=1e-5)


def test_a_file_whose_run_ends_the_process_is_reported_and_the_caller_lives(keras):
    L = keras.layers
    model = keras.Sequential([L.Input((8,)), L.Dense(8), L.LayerNormalization(), L.Dense(2)])
    x = np.random.default_rng(0).random((8, 8), dtype=np.float32)
    with pytest.warns(converter.ConversionWarning, match="the int16x8 file was made, but .* Take mode 'int8'"):
        made = convert(model, "int16x8", x)
    with pytest.raises(ArtifactError, match=r"ended by SIG|exit code"):
        made.predict(x)
    assert convert(model, "int8_float_io", x).predict(x).shape == (8, 2)


# ---------------------------------------------------------------- SavedModel


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A SavedModel with two signatures, one of them with two inputs."""
    import tensorflow as tf

    rng = np.random.default_rng(5)

    class Two(tf.Module):
        def __init__(self):
            self.a = tf.Variable(rng.normal(size=(6, 4)).astype(np.float32))
            self.b = tf.Variable(rng.normal(size=(3, 4)).astype(np.float32))

        @tf.function(
            input_signature=[
                tf.TensorSpec((None, 6), tf.float32, "left"),
                tf.TensorSpec((None, 3), tf.float32, "right"),
            ]
        )
        def both(self, left, right):
            return {"sum": left @ self.a + right @ self.b}

        @tf.function(input_signature=[tf.TensorSpec((None, 6), tf.float32, "left")])
        def single(self, left):
            return {"product": tf.nn.relu(left @ self.a)}

    two, path = Two(), tmp_path_factory.mktemp("saved") / "two"
    with quiet():
        tf.saved_model.save(two, str(path), signatures={"both": two.both, "single": two.single})
    return path, two.a.numpy(), two.b.numpy()


def test_a_savedmodel_with_several_signatures_is_converted(folder):
    path, a, b = folder
    rng = np.random.default_rng(6)
    left, right = rng.normal(size=(30, 6)).astype(np.float32), rng.normal(size=(30, 3)).astype(np.float32)
    samples = {"both": {"left": left, "right": right}, "single": {"left": left}}
    for mode, tolerance in (("float32", 1e-5), ("int8_float_io", 0.1)):
        made = convert(path, mode, samples if mode.startswith("int") else None)
        assert set(made.runner.signatures) == {"both", "single"}
        found = made.runner.signature("both").run({"left": left, "right": right})
        assert np.abs(found - (left @ a + right @ b)).max() < tolerance * 6
        assert np.abs(made.runner.signature("single").run(left) - np.maximum(left @ a, 0)).max() < tolerance * 6


def test_one_signature_can_be_chosen_and_calibrated_without_names(folder):
    path, a, _ = folder
    left = np.random.default_rng(7).normal(size=(30, 6)).astype(np.float32)
    made = convert(str(path), "int8", left, signatures=["single"])
    assert made.runner.inputs[0].dtype == np.int8
    assert np.abs(made.predict(left) - np.maximum(left @ a, 0)).max() < 0.4


def test_a_keras_3_model_comes_in_by_its_export(tmp_path):
    import keras

    L = keras.layers
    model = keras.Sequential([L.Input((3,)), L.Dense(4, activation="relu"), L.Dense(2)])
    x = np.random.default_rng(8).random((20, 3), dtype=np.float32)
    wanted = np.asarray(model(x))
    with quiet():
        model.export(str(tmp_path / "exported"), verbose=False)
    assert np.abs(convert(tmp_path / "exported", "float32").predict(x) - wanted).max() < 1e-5
    assert np.abs(convert(tmp_path / "exported", "int8", x).predict(x) - wanted).max() < 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"signatures": ["boht"]}, "has 'both', 'single'"),
        ({"signatures": []}, "has 'both', 'single'"),
        ({"mode": "int8"}, "needs calibration="),
        ({"mode": "int8", "calibration": np.ones((2, 6))}, "for each, or choose with signatures="),
        ({"mode": "int8", "calibration": np.ones((2, 6)), "signatures": ["both"]}, r"has the inputs 'left', 'right'"),
        ({"mode": "int8", "calibration": {"left": np.ones((2, 6))}, "signatures": ["both"]}, "calibration has 'left'"),
        (
            {"mode": "int8", "calibration": {"left": np.ones((2, 6)), "right": np.ones((3, 3))}, "signatures": "both"},
            "as many of each",
        ),
        ({"mode": "int8", "calibration": np.ones((2, 5)), "signatures": "single"}, "takes shape"),
        ({"mode": "int8", "calibration": np.full((2, 6), np.inf), "signatures": "single"}, "NaN or infinity"),
        (
            {"mode": "int8", "calibration": np.full((2, 6), 2), "signatures": "single", "input_range": (0, 1)},
            "outside input_range",
        ),
        ({"mode": "dynamic", "calibration": np.ones((2, 6))}, "does not use calibration"),
    ],
)
def test_bad_requests_for_a_savedmodel_are_refused(folder, arguments, message):
    with pytest.raises(ValueError, match=message):
        convert(folder[0], **({"mode": "float32"} | arguments))


def test_paths_that_are_no_savedmodel_are_refused(tmp_path, small):
    with pytest.raises(FileNotFoundError, match="no folder"):
        convert(tmp_path / "nothing", "float32")
    with pytest.raises(ValueError, match=r"no saved_model\.pb"):
        convert(tmp_path, "float32")
    (tmp_path / "model.h5").write_bytes(b"x")
    with pytest.raises(ValueError, match="load_model"):
        convert(str(tmp_path / "model.h5"), "float32")
    with pytest.raises(ValueError, match="converted already"):
        convert("model.tflite", "float32")
    with pytest.raises(ValueError, match="a Keras model has one"):
        convert(small[0], "float32", signatures=["serving_default"])


def test_calibration_that_is_no_numbers_or_fractions_of_tokens_is_refused(keras, small):
    with pytest.raises(ValueError, match="pass numbers"):
        convert(small[0], "int8", np.full((2, 8, 8, 2), "0.5"))
    L = keras.layers
    text = keras.Sequential([L.Input((5,), dtype="int32"), L.Embedding(9, 4), L.Flatten(), L.Dense(2)])
    with pytest.raises(ValueError, match="whole numbers"):
        convert(text, "int8", np.full((4, 5), 0.5))
    assert convert(text, "int8_float_io", np.ones((4, 5), int)).content[4:8] == b"TFL3"


# ---------------------------------------------------------------- quiet


def test_what_was_kept_away_is_shown_when_the_conversion_fails(capfd):
    import os

    with pytest.raises(RuntimeError), quiet():
        os.write(2, b"the reason")
        raise RuntimeError
    assert "the reason" in capfd.readouterr().err


@pytest.mark.parametrize("kind", ["dropout", "cannot be trained"])
@pytest.mark.parametrize("convert", [
    lambda model, x: convert(model, "int8", x), layer_errors.layer_errors,
    lambda model, x: layer_errors.selective(model, x, worst=1),
])  # fmt: skip
def test_a_model_is_left_as_it_was(keras, monkeypatch, kind, convert):
    """Keras' own export traces training too; where that fails half-way, it leaves other functions in the layers.

    It fails with Dropout, if operations are deterministic and there is no seed.
    """
    from tensorflow.python.eager import context

    class Stubborn(keras.layers.Layer):
        def call(self, inputs, training=False):
            if training:
                raise NotImplementedError
            return inputs

    layer = keras.layers.Dropout(0.5) if kind == "dropout" else Stubborn()
    model = keras.Sequential([keras.layers.Input((8,)), keras.layers.Dense(4), layer, keras.layers.Dense(2)])
    x = np.random.default_rng(0).random((10, 8), np.float32)
    before = model(x).numpy()
    monkeypatch.setattr(context.context(), "_seed", None)
    convert(model, x)
    assert not any("call" in vars(part) for part in model.layers)
    assert np.array_equal(model(x), before)
    assert context.global_seed() is None


# ---------------------------------------------------------------- the way through a SavedModel


def branches(keras):
    L = keras.layers
    left, right = L.Input((4,), name="left"), L.Input((6,), name="right")
    both = L.Concatenate()([L.Dense(5)(left), L.Dense(5)(right)])
    return keras.Model([left, right], [L.Dense(2, name="one")(both), L.Dense(3, name="two")(both)])


def nested(keras):
    inner = keras.Sequential([keras.layers.Input((6, 6, 2)), keras.layers.Conv2D(3, 3), keras.layers.ReLU()])
    return keras.Sequential([keras.layers.Input((6, 6, 2)), inner, keras.layers.Flatten(), keras.layers.Dense(2)])


def recurrent(keras):
    return keras.Sequential([keras.layers.Input((7, 2)), keras.layers.LSTM(3, unroll=True)])


def normalized(_):
    return models.residual_cnn((12, 12, 1), seed=0)


@pytest.mark.parametrize(
    "build, mode",
    [(branches, "float32"), (branches, "int8"), (nested, "int8"), (recurrent, "float32"), (normalized, "int8")],
)
def test_the_file_is_from_keras_models_but_for_the_byte_that_names_its_source(keras, build, mode):
    import tensorflow as tf

    model = build(keras)
    rng = np.random.default_rng(0)
    x = [rng.random((5, *port.shape[1:]), np.float32) for port in model.inputs] if mode == "int8" else None
    ours = convert(model, mode, x).content
    raw = tf.lite.TFLiteConverter.from_keras_model(model)
    converter._configure(raw, mode, True, x and (lambda: converter._batches(x, model)))
    with quiet():
        theirs = raw.convert()
    assert len(ours) == len(theirs)
    assert [(a, b) for a, b in zip(ours, theirs, strict=True) if a != b] == [(1, 2)]  # SavedModel, Keras


def test_keras_3_is_not_imported(small, monkeypatch):
    """It takes five seconds, and brings scikit-learn along."""
    wanted = []

    class Doorkeeper:
        def find_spec(self, name, *_):
            if name == "keras":
                wanted.append(name)
                raise ImportError(name)

    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Doorkeeper(), *sys.meta_path])
    convert(small[0], "float32")
    layer_errors.layer_errors(*small)
    assert not wanted


def test_a_table_is_found_and_named(keras):
    """A lookup's table is no variable: the SavedModel needs it all the same."""
    lookup = keras.layers.IntegerLookup(vocabulary=[3, 7, 9])
    model = keras.Sequential([keras.layers.Input((2,), dtype="int64"), lookup])
    with pytest.raises(ValueError, match=r"layer 'integer_lookup' \(IntegerLookup\) cannot be converted \(HashTable"):
        convert(model, "float32")


def test_a_variable_that_no_layer_knows_goes_along(keras):
    import tensorflow as tf

    factor = tf.Variable(3.0)
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Lambda(lambda x: x * factor)])
    assert np.array_equal(convert(model, "float32").predict(np.ones((1, 2), np.float32)), [[3, 3]])


def test_the_losses_of_a_model_stay_its_own(keras):
    """Tracing computes them once more, in a graph that ends with the conversion."""
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2, activity_regularizer="l2")])
    model(np.ones((1, 2), np.float32))
    before = float(model.losses[0])
    convert(model, "float32")
    assert [float(loss) for loss in model.losses] == [before]


def test_a_model_whose_inference_fails_is_refused_in_a_sentence(keras):
    class Moody(keras.layers.Layer):
        def call(self, inputs):
            if not getattr(self, "happy", True):
                raise ArithmeticError("not today")
            return inputs

    layer = Moody()
    model = keras.Sequential([keras.layers.Input((2,)), layer], name="moody")
    layer.happy = False
    with pytest.raises(ValueError, match="'moody' cannot be computed in inference: ArithmeticError: not today"):
        convert(model, "float32")


@pytest.mark.parametrize("mode", ["float32", "dynamic", "int8"])
def test_inputs_may_have_any_names(keras, mode):
    """No function can have such parameters; TensorFlow's own converter takes them and calls them Placeholder."""
    names = ["class", "größe", "in put", "x:0", "plain"]
    inputs = [keras.Input((3 + number,), name=name) for number, name in enumerate(names)]
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Concatenate()(inputs)))
    rng = np.random.default_rng(0)
    x = {name: rng.random((20, 3 + number), np.float32) for number, name in enumerate(names)}
    made = convert(model, mode, x if mode == "int8" else None)
    assert {port.name for port in made.runner.inputs} == set(names)
    assert np.abs(made.predict(x) - model([*x.values()])).max() < 0.05


@pytest.mark.parametrize("mode", ["float32", "float16", "dynamic", "int8"])
def test_weights_that_are_not_finite_are_refused_in_every_mode(keras, mode, tmp_path):
    import tensorflow as tf

    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3, name="first")])
    values = model.get_weights()
    values[0][1, 2] = np.nan
    model.set_weights(values)
    x = np.random.default_rng(0).random((5, 4), np.float32) if mode == "int8" else None
    with pytest.raises(ValueError, match=r"'first' .*NaN or infinite"):
        convert(model, mode, x)
    with quiet():
        tf.saved_model.save(model, str(tmp_path / "saved"))
    with pytest.raises(ValueError, match="variable 'first/kernel:0' holds NaN"):
        convert(tmp_path / "saved", mode, x)


def test_weights_beyond_float16_are_refused_by_name(keras):
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(30, name="large")])
    model.set_weights([np.full((4, 30), 1e6), np.zeros(30)])
    with pytest.raises(
        ValueError, match=r"120 weights of layer 'large' \(Dense\) are .* beyond what float16 holds.*65,504"
    ):
        convert(model, "float16")
    assert np.isfinite(convert(model, "dynamic").predict(np.ones((1, 4), np.float32))).all()


def test_the_way_out_of_a_loop_depends_on_the_mode(keras):
    L = keras.layers
    model = keras.Sequential([L.Input((4, 2)), L.LSTM(3, name="memory"), L.Dense(2)])
    with pytest.raises(ValueError, match="batch_size=1"):
        convert(model, "dynamic")
    x = np.random.default_rng(0).random((10, 4, 2), np.float32)
    with pytest.raises(ValueError, match=r"'memory' \(LSTM\).*keras_graph\.unroll\(model\)"):
        convert(model, "int8", x)
    from utils.optimize import keras_graph

    assert np.abs(convert(keras_graph.unroll(model), "int8", x).predict(x) - model(x)).max() < 0.05


# ---------------------------------------------------------------- the lists and limits, one by one


@pytest.mark.parametrize(
    "shape, numbers, pixels",
    [
        ((2, 8, 8, 3), [0, 16], False), ((2, 8, 8, 3), [0, 17], True), ((2, 8, 8, 1), [0, 255], True),
        ((2, 8, 8, 3), [0.5, 128], False), ((2, 8, 8, 4), [0.5, 128.5], True), ((2, 8, 8, 2), [0, 255.5], False),
        ((2, 8, 8, 3), [-0.5, 200], False), ((2, 8, 8, 3), [0, 256], False), ((2, 8, 8, 5), [0, 255], False),
        ((2, 256), [0, 250], True), ((2, 256), [0, 249], False), ((2, 255), [0, 255], False),
        ((2, 256), [0.5, 255], False), ((2, 16, 16), [0, 255], True), ((2, 15, 17), [0, 255], False),
        ((2, 4, 4, 4, 4), [0, 255], False), ((2, 256), [-1, 255], False), ((2, 256), [0, 256], False),
    ],
)  # fmt: skip
def test_what_is_taken_for_raw_pixels(shape, numbers, pixels):
    x = np.resize(np.array(numbers, np.float32), shape)
    if pixels:
        with pytest.raises(ValueError, match=rf"calibration lies in \[{numbers[0]:g}, {numbers[1]:g}\], like raw pix"):
            converter._check_range(x, False, None)
    else:
        converter._check_range(x, False, None)
    converter._check_range(x, True, None)
    converter._check_range(x.astype(np.int32), False, None)


def test_calibration_may_reach_both_ends_of_the_input_range_and_not_further():
    for values, inside in (([0, 1], True), ([0.1, 0.9], True), ([-0.01, 1], False), ([0, 1.01], False)):
        x = np.array([values], np.float32)
        if inside:
            converter._check_range(x, False, (0, 1))
            continue
        with pytest.raises(ValueError, match=r"outside input_range \(0, 1\); prepare it exactly"):
            converter._check_range(x, True, (0, 1))


@pytest.mark.parametrize(
    "kind, prepares",
    [(kind, True) for kind in ("Rescaling", "Normalization", "Embedding")]
    + [
        (kind, False)
        for kind in (
            *("LayerNormalization", "Softmax", "PReLU", "BatchNormalization", "Dropout", "Flatten", "Conv3D", "ELU"),
            *("DepthwiseConv2D", "SeparableConv2D", "LSTM", "Conv1D", "Dense", "AveragePooling2D"),
        )
    ],
)
def test_layers_with_which_inputs_may_be_of_any_size(kind, prepares):
    import tf_keras

    layer = type(kind, (tf_keras.layers.Layer,), {})
    model = tf_keras.Sequential([tf_keras.Input((256,)), layer()])
    x = np.resize(np.float32([0, 255]), (3, 256))
    if prepares:
        (found,) = converter.check_calibration(model, "int8", x, None)
        assert np.array_equal(found, x)
    else:
        with pytest.raises(ValueError, match="like raw pixels"):
            converter.check_calibration(model, "int8", x, None)


def test_three_modes_are_calibrated_and_the_others_take_no_calibration():
    import tf_keras

    model = tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.Dense(2)])
    x = np.zeros((2, 4), np.float32)
    assert {*converter.MODES} == {"float32", "float16", "dynamic", "int8", "int8_float_io", "int16x8"}
    for mode in converter.MODES:
        needed = mode in ("int8", "int8_float_io", "int16x8")
        assert (converter.check_calibration(model, mode, x if needed else None, None) is not None) == needed
        with pytest.raises(ValueError, match="needs calibration=" if needed else "does not use calibration data"):
            converter.check_calibration(model, mode, None if needed else x, None)


@pytest.mark.parametrize(
    "mode, said",
    [
        ("float32", "nothing is quantized"), ("float16", "stored in 16-bit floats"),
        ("dynamic", "quantized while running"), ("int8", "inputs and outputs too; calibrated"),
        ("int8_float_io", "the same inside"), ("int16x8", "activations int16"),
    ],
)  # fmt: skip
def test_each_mode_says_what_it_does(mode, said):
    assert said in converter.MODES[mode]


# ---------------------------------------------------------------- what else may be in a SavedModel


def saved(path, function, spec, owner=None):
    traced = tf.function(function).get_concrete_function(spec)
    tf.saved_model.save(owner or tf.Module(), str(path), signatures={"serving_default": traced})
    return path


def test_a_savedmodel_that_keeps_a_state_is_quantized(tmp_path):
    owner = tf.Module()
    owner.state = tf.Variable(tf.ones((1, 6)))
    weights = tf.constant(np.random.default_rng(0).normal(size=(6, 3)).astype("float32"))

    def function(x):
        return {"y": (x + owner.state) @ weights}

    folder = saved(tmp_path / "state", function, tf.TensorSpec((None, 6), tf.float32, "x"), owner)
    x = np.random.default_rng(1).normal(size=(40, 6)).astype("float32")
    wanted = (x + 1) @ weights.numpy()
    assert np.abs(convert(folder, "int8", x).predict(x) - wanted).max() < 0.05 * np.abs(wanted).max()


@pytest.mark.parametrize("damage", ["truncated", "empty", "no variables"])
def test_a_damaged_savedmodel_is_refused(tmp_path, damage):
    owner = tf.Module()
    owner.state = tf.Variable(tf.ones((1, 6)))
    spec = tf.TensorSpec((None, 6), tf.float32, "x")
    folder = saved(tmp_path / "it", lambda x: {"y": x + owner.state}, spec, owner)
    if damage == "no variables":
        for file in (folder / "variables").iterdir():
            file.unlink()
    else:
        program = folder / "saved_model.pb"
        program.write_bytes(program.read_bytes()[: 200 * (damage == "truncated")])
    with pytest.raises(ValueError, match=r"the SavedModel 'it' cannot be read .*save or copy it again"):
        convert(folder, "dynamic")


def test_a_single_number_is_no_example_and_a_signature_is_a_name(tmp_path):
    folder = saved(tmp_path / "one", lambda x: {"y": 2 * x}, tf.TensorSpec((), tf.float32, "x"))
    with pytest.raises(ValueError, match="'x' of signature 'serving_default' is a single number"):
        convert(folder, "int8", np.float32(3))
    with pytest.raises(ValueError, match=r"signatures=\[5\]: the SavedModel 'one' has 'serving_default'"):
        convert(folder, "dynamic", signatures=5)


@pytest.mark.parametrize("kind", ["sparse", "ragged"])
def test_inputs_that_are_no_dense_arrays_are_refused(keras, kind):
    start = keras.Input((6,), **{kind: True})
    model = keras.Model(start, keras.layers.Lambda(lambda x: x)(start))
    with pytest.raises(ValueError, match="a sparse or ragged input"):
        convert(model, "float32")
