"""The Toolkit's rewriting, saving and loading, and every kind of bad input."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras

import utils
from tests.aware import inputs, problem, stacked
from utils.optimize import recovery
from utils.optimize.quantization import aware as qa
from utils.optimize.quantization import aware_file, aware_ranges

L = tf_keras.layers


def test_the_models_weights_and_the_model_itself_stay(small, aware):
    assert not any("quant" in layer.name for layer in small.layers)
    kernel = next(w for w in aware.weights if w.name.split("/")[-1].startswith("kernel:"))
    assert np.array_equal(kernel.numpy(), small.get_layer("conv").kernel.numpy())


def test_calibrated_eight_bits_are_near_the_float_model(small, aware):
    x = inputs(small)[0]
    want = small.predict(x, verbose=0)
    assert np.abs(aware.predict(x, verbose=0) - want).max() < 0.05 * np.abs(want).max()


@pytest.mark.parametrize("only", ["logits", ["logits"], lambda layer: isinstance(layer, L.Dense)])
def test_only_some_layers(small, only):
    with pytest.warns(UserWarning, match=r"logits \(Dense\).*leaves it in float.*trained with rounding all the same"):
        made = qa.quantize_aware(small, only=only)
    rows = {row["layer"]: row["weights"] for row in aware_ranges.precision(made)}
    assert rows["logits"] == "8 bits per tensor" and rows["conv"] == "float"


def test_two_inputs_a_shared_layer_and_two_outputs():
    tf_keras.utils.set_random_seed(3)
    a, b, shared = tf_keras.Input((6,)), tf_keras.Input((6,)), L.Dense(5, activation="relu", name="shared")
    joined = L.Concatenate()([shared(a), shared(b)])
    model = tf_keras.Model([a, b], [L.Dense(2)(joined), L.Dense(1, activation="sigmoid")(joined)])
    x = inputs(model)
    made = qa.quantize_aware(model, calibration=x)
    for want, got in zip(model.predict(x, verbose=0), made.predict(x, verbose=0), strict=True):
        assert np.abs(got - want).max() < 0.05 * np.abs(want).max()


def frozen():
    """One frozen convolution, and one layer that is not."""
    tf_keras.utils.set_random_seed(0)
    layers = [L.Conv2D(4, 3, trainable=False, name="conv"), L.ReLU(), L.Flatten(), L.Dense(4, name="logits")]
    return stacked(*layers)


def test_a_frozen_layer_is_not_trained_before_and_after_it_was_stored(tmp_path):
    x, y = problem(64)
    made = qa.quantize_aware(frozen(), calibration=x)
    qa.save(made, tmp_path / "model.h5")
    loaded = qa.load(tmp_path / "model.h5")
    np.testing.assert_array_equal(made.predict(x, verbose=0), loaded.predict(x, verbose=0))
    for model in (made, loaded):
        assert sorted(w.name.split("/")[-1] for w in model.trainable_weights) == ["bias:0", "kernel:0"]
        kernels = {w.name: w.numpy() for w in model.weights if "kernel:" in w.name}
        recovery.recover(model, (x, y))
        moved = [name for name, kernel in kernels.items() if not np.array_equal(kernel, of(model, name))]
        assert [name.removeprefix("quant_") for name in moved] == ["logits/kernel:0"]
        model.get_layer("quant_conv").trainable = True
        assert len(model.trainable_weights) == 4


def of(model, name):
    return next(w.numpy() for w in model.weights if w.name == name)


def test_h5_gives_the_model_back_and_keras_does_not(small, aware, tmp_path):
    qa.save(aware, tmp_path / "model.h5")
    again = qa.load(tmp_path / "model.h5")
    x = inputs(small)[0]
    assert np.array_equal(again.predict(x, verbose=0), aware.predict(x, verbose=0))
    with pytest.raises(ValueError, match=r"must end in \.h5"):
        qa.save(aware, tmp_path / "model.keras")
    aware.save(tmp_path / "model.keras")
    with tfmot.quantization.keras.quantize_scope(), pytest.raises(ValueError, match="expected 5 variables"):
        tf_keras.models.load_model(tmp_path / "model.keras")


@pytest.mark.parametrize("bits", [1, 9, 4.0, "8", True, (4,), (8, 1), (4, 8, 8), None])
def test_bad_bits(small, bits):
    with pytest.raises(ValueError, match="bits is"):
        qa.quantize_aware(small, bits)


@pytest.mark.parametrize(
    "options, error, text",
    [
        ({"only": "logit"}, ValueError, "did you mean 'logits'"),
        ({"only": lambda layer: False}, ValueError, "nothing"),
        ({"refused": "skip"}, ValueError, "'warn', 'float' or 'raise'"),
        *(({"per_channel": value}, ValueError, "per_channel is") for value in (1, 0, "yes", np.True_)),
        *(({"only": value}, TypeError, "only is a .*; pass a layer's name") for value in (5, L.ReLU())),
        *(({"configs": value}, TypeError, "pass {layer name") for value in (["logits"], "logits")),
        ({"clip": "mean"}, ValueError, "clip is 'mean'"),
        ({"configs": {"logits": 8}}, TypeError, "QuantizeConfig"),
        ({"configs": {"logit": None}}, ValueError, "no layer 'logit'"),
        ({"calibration": np.zeros((0, 8, 8, 3), np.float32)}, ValueError, "empty"),
        ({"calibration": np.full((2, 8, 8, 3), np.nan, np.float32)}, ValueError, "NaN"),
        ({"calibration": np.zeros((2, 8, 8), np.float32)}, ValueError, r"takes shape \(n, 8, 8, 3\)"),
    ],
)
def test_bad_options(small, options, error, text):
    with pytest.raises(error, match=text):
        qa.quantize_aware(small, **options)


def test_models_that_the_toolkit_cannot_rewrite(small, aware):
    class Subclassed(tf_keras.Model):
        def call(self, x):
            return x

    cases = [
        (stacked(small, L.Dense(2)), ValueError, "flatten"),
        (Subclassed(), ValueError, "is a subclassed"),
        (aware, ValueError, "already has fake quantization"),
        ("model", TypeError, "tf_keras"),
        (tf_keras.Sequential([L.Dense(2)]), ValueError, "no graph of layers"),
    ]
    for model, error, text in cases:
        with pytest.raises(error, match=text):
            qa.quantize_aware(model)
        with pytest.raises(error, match=text):
            qa.refused_layers(model)


def test_weights_that_are_not_finite_other_precisions_and_text():
    nan = stacked(L.Dense(2), shape=(3,))
    nan.set_weights([w * np.nan for w in nan.get_weights()])
    layer = L.StringLookup(vocabulary=["a"])
    text = tf_keras.Sequential([L.Input((1,), dtype="string"), layer, L.Embedding(3, 2), L.Flatten(), L.Dense(2)])
    cases = [(nan, "NaN or infinite"), (text, "prepares text or tables")]
    cases += [(stacked(L.Dense(2, dtype=kind), shape=(3,)), said) for kind, said in (
        ("mixed_float16", "computes in float16"), ("float64", "computes in float64"), ("float16", "float16")
    )]  # fmt: skip
    for model, said in cases:
        for call in (qa.quantize_aware, qa.refused_layers):
            with pytest.raises(ValueError, match=said):
                call(model)


def test_names_with_a_slash_are_found_refused_saved_and_loaded(tmp_path):
    layers = [
        L.Conv2D(4, 3, name="conv1/conv"),
        L.ELU(name="conv1/elu"),
        L.Flatten(name="flat"),
        L.Dense(3, name="a/b"),
    ]
    model = stacked(*layers)
    assert list(qa.refused_layers(model)) == ["conv1/elu"]
    with pytest.warns(UserWarning, match=r"a/b \(Dense\).*trained with rounding all the same"):
        made = qa.quantize_aware(model, only=["conv1/conv", "a/b"], calibration=inputs(model)[0])
    assert {r["layer"]: r["weights"] for r in aware_ranges.precision(made)}["conv1/conv"] == "8 bits per channel"
    qa.save(made, tmp_path / "model.h5")
    x = inputs(model)[0]
    assert np.array_equal(qa.load(tmp_path / "model.h5").predict(x, verbose=0), made.predict(x, verbose=0))


def test_what_cannot_be_saved_or_loaded_is_said(small, tmp_path):
    with pytest.raises(ValueError, match="no fake quantization"):
        qa.save(small, tmp_path / "model.h5")
    with pytest.raises(FileNotFoundError, match="no file"):
        qa.load(tmp_path / "absent.h5")
    (tmp_path / "damaged.h5").write_bytes(b"not an HDF5 file")
    with pytest.raises(ValueError, match=r"damaged\.h5.*cannot be loaded"):
        qa.load(tmp_path / "damaged.h5")


def test_a_configuration_that_quantizes_nothing():
    with pytest.raises(ValueError, match="quantizes nothing"):
        qa.layer_config(activations=())


def test_a_keras_3_model_is_named():
    import keras

    with pytest.raises(TypeError, match="Keras 3"):
        qa.quantize_aware(keras.Sequential())


def test_tensorflow_with_keras_3_came_first():
    code = (
        "import sys, types; sys.modules['tensorflow'] = types.ModuleType('tensorflow'); "
        "import utils.optimize.quantization.aware"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=utils.ROOT, env=environment)
    assert done.returncode == 1 and "put `import utils` above `import tensorflow`" in done.stderr


# ---------------------------------------------------------------- what each option changes


def rows(made) -> dict[str, dict]:
    return {row["layer"]: row for row in aware_ranges.precision(made)}


def with_elu():
    """A layer that the Toolkit refuses between two that it takes."""
    return stacked(
        L.Conv2D(4, 3, name="first"),
        L.Conv2D(4, 3, activation="elu", name="elu"),
        L.Flatten(name="flat"),
        L.Dense(3, name="last"),
    )


def test_bits_are_of_weights_and_of_activations_in_this_order(small):
    for bits, weights, outputs in (((4, 8), 4, 8), ((8, 4), 8, 4), ([3, 5], 3, 5), (6, 6, 6)):
        row = rows(qa.quantize_aware(small, bits))["logits"]
        assert (row["weights"], row["output"]) == (f"{weights} bits per tensor", f"{outputs} bits")


@pytest.mark.parametrize(
    "per_channel, conv, dense", [(None, "channel", "tensor"), (True, "channel", "channel"), (False, "tensor", "tensor")]
)
def test_granularity_of_convolutions_and_dense_layers(small, per_channel, conv, dense):
    found = rows(qa.quantize_aware(small, per_channel=per_channel))
    assert found["conv"]["weights"] == f"8 bits per {conv}" and found["logits"]["weights"] == f"8 bits per {dense}"


def test_a_refused_layer_is_warned_of_left_float_or_raised():
    model = with_elu()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = qa.quantize_aware(model, refused="float")
        found = rows(made)
        kept = [name for name, row in found.items() if row["weights"] == "float" and row["kind"] != "QuantizeLayer"]
        assert kept == ["elu"]
        assert found["elu"]["output"] == "8 bits"  # its output has a range, or the next layer would stay float
        with pytest.raises(ValueError, match=r"not quantized: elu .*no rule for the activation 'elu'"):
            qa.quantize_aware(model, refused="raise")
        assert rows(qa.quantize_aware(model, 4, "first", refused="raise"))["first"]["weights"] == "4 bits per channel"
    with pytest.warns(UserWarning, match="no rule for the activation 'elu'"):
        qa.quantize_aware(model)


def test_a_configuration_of_its_own_quantizes_a_refused_layer():
    model = stacked(L.Conv1D(4, 3, name="own"), L.Flatten(), L.Dense(3, name="last"), shape=(12, 2))
    made = qa.quantize_aware(model, configs={"own": qa.layer_config(["kernel"], bits=(4, 8))}, refused="raise")
    assert rows(made)["own"]["weights"] == "4 bits per tensor"
    only = qa.quantize_aware(model, (8, 4), only="last", configs={"own": qa.layer_config(["kernel"])})
    assert {rows(only)[name]["weights"] for name in ("own", "last")} == {"8 bits per tensor"}


def test_a_configuration_says_what_it_quantizes():
    found = qa.layer_config(["kernel"], (), output=True, bits=(4, 6)).get_config()
    assert found["weight_attrs"] == ["kernel"] and found["activation_attrs"] == []
    assert found["quantize_output"] is True
    assert (found["num_bits_weight"], found["num_bits_activation"]) == (4, 6)
    plain = qa.layer_config().get_config()
    assert plain["activation_attrs"] == ["activation"] and plain["quantize_output"] is False


def test_the_clip_is_the_one_that_was_asked_for(small):
    x = inputs(small)[0]
    made = {clip: qa.quantize_aware(small, 4, calibration=x, clip=clip) for clip in ("minmax", "mse")}
    (low, high), (clipped_low, clipped_high) = (aware_ranges.input_ranges(each)[0] for each in made.values())
    assert low < clipped_low < 0 < clipped_high < high
    with pytest.raises(ValueError, match="pass 'minmax' or 'mse'"):
        qa.quantize_aware(small, calibration=x, clip="max")


def test_a_layer_refused_in_its_place_is_asked_again_without_it():
    model = stacked(L.BatchNormalization(name="norm"), L.Conv2D(4, 3), L.Flatten(), L.Dense(3))
    found = qa.refused_layers(model)
    assert list(found) == ["norm"] and "no rule for it in this place" in found["norm"].reason


def test_an_activation_that_keeps_its_convolution_float_is_left_out_first():
    model = stacked(L.Conv2D(4, 3, name="conv"), L.ReLU(3.0, name="relu"), L.Flatten(), L.Dense(3, name="last"))
    assert list(qa.refused_layers(model)) == ["relu", "conv"]


def test_what_only_a_file_would_refuse_is_refused_with_eight_bit_activations_only():
    model = stacked(L.Conv2D(4, 3, activation="swish", name="swish"), L.Flatten(), L.Dense(3))
    assert {bits: list(qa.refused_layers(model, bits)) for bits in ((4, 8), (8, 7))} == {(4, 8): ["swish"], (8, 7): []}


def test_a_file_is_tried_with_ranges_that_all_differ_and_are_put_back(small, monkeypatch):
    tried = []

    def note(made):
        tried.append({w.name: w.numpy() for w in made.weights if w.name.endswith(("_min:0", "_max:0"))})
        return {}

    monkeypatch.setattr(qa, "float_layers", note)
    made = qa.quantize_aware(small)
    (ranges,) = tried
    tops = [float(np.max(value)) for name, value in ranges.items() if "_max:" in name]
    assert len(tops) > 3 and len(set(tops)) == len(tops) and 0.5 < min(tops) < max(tops) < 10
    assert all(
        np.array_equal(ranges[name.replace("_max:", "_min:")], -ranges[name]) for name in ranges if "_max:" in name
    )
    assert aware_ranges.input_ranges(made) == [(0.0, 0.0)]


class Doubled(L.Layer):
    def call(self, x):
        return x * 2.0


def test_own_layers_are_loaded_by_name(tmp_path):
    model = stacked(L.Dense(4), Doubled(name="own"), L.Dense(2), shape=(5,))
    made = qa.quantize_aware(model, refused="float", calibration=inputs(model)[0])
    qa.save(made, tmp_path / "model.h5")
    x = inputs(model)[0]
    again = qa.load(tmp_path / "model.h5", {"Doubled": Doubled})
    assert np.array_equal(again.predict(x, verbose=0), made.predict(x, verbose=0))
    with pytest.raises(ValueError, match=r"cannot be loaded .*custom_objects="):
        qa.load(tmp_path / "model.h5")


@pytest.mark.parametrize("error, said", [(OSError("first\nlast"), "first"), (KeyError(), "KeyError")])
def test_the_first_line_of_an_error_says_why_a_file_cannot_be_loaded(monkeypatch, tmp_path, error, said):
    def fail(*arguments, **options):
        raise error

    (tmp_path / "model.h5").write_bytes(b"")
    monkeypatch.setattr(tf_keras.models, "load_model", fail)
    with pytest.raises(ValueError, match=rf"cannot be loaded \({said}\)"):
        qa.load(tmp_path / "model.h5")


def joining(join):
    tf_keras.utils.set_random_seed(0)
    x = tf_keras.Input((6,))
    near, far = L.Dense(5, name="near", activation="relu")(x), 3 * L.Dense(5, name="far")(x)
    return tf_keras.Model(x, L.Dense(3, name="out")(join([far, near])))


def test_how_far_off_the_file_is_behind_tf_concat_is_said_and_concatenate_cures_it():
    x = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    model = joining(lambda parts: tf.concat(parts, -1))
    with pytest.warns(UserWarning, match=r"\(50 examples\): .* Use tf_keras.layers.Concatenate") as said:
        made = qa.quantize_aware(model, only=["near", "out"], calibration=x)
    ours, theirs = made.predict(x, verbose=0), aware_file.to_tflite(made).predict(x)
    off = np.abs(ours - theirs).max() / np.ptp(ours)
    assert f"by up to {100 * off:.0f} % of the outputs' range" in str(said[-1].message) and off > 0.1
    assert "'tf.concat' the file may differ from the trained model: the converter" in qa._joined(made, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        cured = qa.quantize_aware(joining(L.Concatenate()), only=["near", "out"], calibration=x)
    ours, theirs = cured.predict(x, verbose=0), aware_file.to_tflite(cured).predict(x)
    assert np.abs(ours - theirs).max() / np.ptp(ours) < 0.05
