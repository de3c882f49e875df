"""The `.keras` format: round trips, equal bytes for equal models, and damaged files."""

from __future__ import annotations

import contextlib
import io
import json
import time
import zipfile

import numpy as np
import pytest

import utils
from utils import artifact, keras_file
from utils.artifact import Artifact, ArtifactError


@pytest.fixture(scope="module")
def keras():
    import tensorflow as tf
    import tf_keras

    tf.keras.utils.set_random_seed(3)
    return tf_keras


@pytest.fixture(scope="module")
def branched(keras):
    """A Functional model with two branches, batch normalization and an optimizer's state."""
    image = keras.Input((8, 8, 1), name="image")
    left = keras.layers.BatchNormalization()(keras.layers.Conv2D(3, 3)(image))
    right = keras.layers.DepthwiseConv2D(3)(image)
    joined = keras.layers.GlobalAveragePooling2D()(keras.layers.Concatenate()([left, right]))
    model = keras.Model(image, keras.layers.Dense(4, name="logits")(joined), name="branched")
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), ["accuracy"])
    generator = np.random.default_rng(0)
    model.fit(pictures(32), generator.integers(0, 4, 32), verbose=0)
    return model


@pytest.fixture(scope="module")
def packed(branched):
    return artifact.from_keras(branched)


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 8, 8, 1), np.float32)


def test_keras_artifact_predicts_as_the_model(packed, branched):
    x = pictures(300)
    outputs = packed.predict(x)
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(outputs, branched.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


def test_batches_of_any_size_agree_with_one_by_one(packed):
    x = pictures(9)
    single = np.concatenate([packed.predict(x[i : i + 1]) for i in range(9)])
    np.testing.assert_allclose(packed.predict(x), single, rtol=1e-5, atol=1e-6)


def test_equal_models_give_equal_bytes(packed, branched, monkeypatch):
    time.sleep(1.1)  # HDF5 and zip keep seconds
    assert artifact.from_keras(branched) == packed


def test_training_state_is_left_out(packed, branched):
    parameters = sum(array.size for array in packed.constants().values())
    assert parameters == branched.count_params()
    import tf_keras

    bare = tf_keras.models.clone_model(branched)
    bare.set_weights(branched.get_weights())
    assert artifact.from_keras(bare).size == packed.size


def test_keras_file_round_trip(packed, tmp_path):
    import tf_keras

    path = packed.save(tmp_path / "model.keras")
    assert artifact.load(path) == packed
    assert tf_keras.models.load_model(path).name == "branched"  # a file for everyone, not only for us


def test_damaged_keras_files_get_a_sentence(packed, tmp_path):
    content = packed.content
    for end in (5, 100, len(content) // 2, len(content) - 1):
        with pytest.raises(ArtifactError, match=r"damaged|not a .keras file"):
            Artifact(content[:end], "keras").predict(pictures(1))
    place = content.index(b"GlobalAveragePooling2D")
    flipped = content[:place] + b"X" + content[place + 1 :]
    with pytest.raises(ArtifactError, match="damaged"):
        Artifact(flipped, "keras").predict(pictures(1))


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_any_flipped_bit_of_any_packing_is_a_sentence_or_changes_nothing(packing):
    """Other programs pack in other ways, each with errors of its own."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packing) as archive:
        for name in keras_file._MEMBERS:
            archive.writestr(name, b"some text " * 9)
    content = stream.getvalue()
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        with contextlib.suppress(ArtifactError):
            assert set(keras_file._unzip(bytes(flipped)).values()) == {b"some text " * 9}


def test_several_inputs_and_outputs_go_by_name(keras):
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    outputs = [keras.layers.Dense(2, name="wide")(a), keras.layers.Subtract(name="difference")([a, b])]
    packed = artifact.from_keras(keras.Model([a, b], outputs))
    x = {"b": np.ones((5, 3), np.float32), "a": np.full((5, 3), 3, np.float32)}
    results = packed.predict(x)
    assert set(results) == {"wide", "difference"}
    assert (results["difference"] == 2).all()
    with pytest.raises(ValueError, match="'a', 'b', got one array"):
        packed.predict(x["a"])
    with pytest.raises(ValueError, match="different numbers of examples"):
        packed.predict({"a": x["a"], "b": x["b"][:2]})


@pytest.mark.parametrize(
    ("x", "error", "sentence"),
    [
        (np.zeros((2, 8, 8), np.float32), ValueError, r"takes shape \(n, 8, 8, 1\).*got \(2, 8, 8\)"),
        (np.zeros((0, 8, 8, 1), np.float32), ValueError, "is empty"),
        (np.zeros((1, 8, 8, 1), np.uint8), TypeError, "is uint8, the model takes float32"),
        (np.full((1, 8, 8, 1), np.nan, np.float32), ValueError, "NaN"),
        (np.array([["text"]]), ValueError, "shape"),
    ],
)
def test_bad_input(packed, x, error, sentence):
    with pytest.raises(error, match=sentence):
        packed.predict(x)


def test_what_is_no_tf_keras_model_is_refused():
    with pytest.raises(TypeError, match=r"a builtins.str, which is no model; pass a tf_keras model"):
        artifact.from_keras("model")


def test_a_layer_the_loader_does_not_know(keras):
    class Own(keras.layers.Layer):
        def call(self, x):
            return x

    packed = artifact.from_keras(keras.Sequential([keras.Input((2,)), Own()]))
    with pytest.raises(ArtifactError, match="register_keras_serializable"):
        packed.predict(np.zeros((1, 2), np.float32))


def test_light_import():
    import subprocess
    import sys

    code = "import sys, utils.artifact; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=utils.ROOT).returncode == 0


def test_a_file_has_no_date_and_nothing_of_the_training(packed):
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.namelist() == ["config.json", "metadata.json", "model.weights.h5"]
        assert json.loads(archive.read("metadata.json"))["date_saved"] == "1980-01-01@00:00:00"
        assert json.loads(archive.read("config.json"))["compile_config"] is None


def test_training_state_in_a_file_of_kerass_own_is_no_parameter(branched, tmp_path):
    branched.save(tmp_path / "own.keras")
    content = (tmp_path / "own.keras").read_bytes()
    found = keras_file.constants(content)
    assert sum(array.size for array in found.values()) == branched.count_params()
    assert not any(name.startswith(("optimizer", "metrics")) for name in found)


def test_a_large_batch_is_run_in_parts_of_256(packed, monkeypatch):
    sizes, runner = [], keras_file.Runner(packed.content)
    invoke = runner._invoke
    monkeypatch.setattr(runner, "_invoke", lambda batch: sizes.append(len(batch["image"])) or invoke(batch))
    outputs = runner.run(pictures(600))
    assert sizes == [256, 256, 88] and outputs.shape == (600, 4)


@pytest.mark.parametrize("error, said", [(ValueError("first.\nlast"), "first"), (KeyError(), "KeyError")])
def test_the_first_line_says_why_a_file_cannot_be_loaded(packed, keras, monkeypatch, error, said):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(keras.models, "load_model", fail)
    with pytest.raises(ArtifactError, match=rf"cannot load the \.keras file: {said}\. Layers of your own"):
        keras_file.Runner(packed.content)


def test_what_keras_cannot_save_is_said(keras, monkeypatch):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)], name="mine")

    def fail(*arguments, **options):
        raise OSError("full")

    monkeypatch.setattr(model, "save", fail)
    with pytest.raises(ArtifactError, match="Keras cannot save the model 'mine': full"):
        artifact.from_keras(model)


def test_a_keras_3_model_is_named():
    import keras

    with pytest.raises(TypeError, match=r"a keras\..*, of Keras 3; .*put `import utils` above `import tensorflow`"):
        artifact.from_keras(keras.Sequential())
    with pytest.raises(TypeError) as said:
        artifact.from_keras(3)
    assert "Keras 3" not in str(said.value)


def test_a_zip_without_a_models_members_is_no_keras_file():
    for missing in ("metadata.json", "config.json", "model.weights.h5"):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for name in {"metadata.json", "config.json", "model.weights.h5"} - {missing}:
                archive.writestr(name, b"{}")
        with pytest.raises(ArtifactError, match=f"the zip is not a .keras file: .*{missing}"):
            keras_file.Runner(stream.getvalue())


def test_one_value_that_is_not_finite_is_enough(packed):
    x = pictures(3)
    x[1, 2, 3] = np.inf
    with pytest.raises(ValueError, match="contains NaN or infinite values"):
        packed.predict(x)
