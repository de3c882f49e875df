"""The Toolkit's rewriting, saving and loading, and every kind of bad input."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot
import tf_keras

import utils
from tests.aware import inputs, stacked
from utils.optimize.quantization import aware as qa
from utils.optimize.quantization import aware_ranges

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
    rows = {row["layer"]: row["weights"] for row in aware_ranges.precision(qa.quantize_aware(small, only=only))}
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
