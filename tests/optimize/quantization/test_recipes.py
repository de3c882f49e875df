"""LiteRT's quantizer on files of many kinds: what is asked for is stored, what cannot be is said, and it runs."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from utils import child
from utils.artifact import Artifact, ArtifactError
from utils.optimize.quantization import recipes
from utils.optimize.quantization.converter import convert


def as_tflite(model) -> Artifact:
    return Artifact(convert(model, "float32").content, "tflite", trusted=True)


@pytest.fixture(scope="module")
def files() -> dict[str, Artifact]:
    import tf_keras

    L = tf_keras.layers
    tf_keras.utils.set_random_seed(3)
    one, two = L.Input((6,), name="one"), L.Input((4,), name="two")
    text = L.Input((5,), dtype="int32")
    image = L.Input((8, 8, 2))
    x = L.Conv2D(16, 3, padding="same", activation="relu", name="first")(image)
    x = L.Add(name="sum")([x, L.DepthwiseConv2D(3, padding="same", name="deep")(x)])
    x = L.Dense(32, activation="relu", name="middle")(L.GlobalAveragePooling2D()(x))
    return {
        "branched": as_tflite(tf_keras.Model(image, L.Dense(3, name="logits")(x))),
        "tiny": as_tflite(tf_keras.Sequential([L.Input((4,)), L.Dense(3)])),
        "1-D": as_tflite(tf_keras.Sequential([L.Input((12, 4)), L.Conv1D(8, 3), L.Flatten(), L.Dense(2)])),
        "two": as_tflite(tf_keras.Model([one, two], [L.Dense(3)(L.Concatenate()([one, two])), L.Dense(2)(one)])),
        "tokens": as_tflite(tf_keras.Model(text, L.Dense(2)(L.Flatten()(L.Embedding(50, 8)(text))))),
        "nothing": as_tflite(tf_keras.Sequential([L.Input((6,)), L.ReLU()])),
    }


def inputs(artifact: Artifact, count: int = 40, seed: int = 0):
    rng = np.random.default_rng(seed)
    made = {}
    for port in artifact.runner.inputs:
        shape = (count, *port.shape[1:])
        made[port.name] = (
            rng.random(shape, np.float32) if port.dtype.kind == "f" else rng.integers(0, 50, shape).astype(port.dtype)
        )
    return made


def error(float_file: Artifact, small: Artifact) -> float:
    """Root mean square error of all outputs, as a share of the float outputs' spread."""
    x = inputs(float_file)
    a, b = (made.predict(x if len(x) > 1 else next(iter(x.values()))) for made in (float_file, small))
    a, b = ([*y.values()] if isinstance(y, dict) else [y] for y in (a, b))
    return max(float(np.sqrt(np.mean((p - q) ** 2)) / p.std()) for p, q in zip(a, b, strict=True))


def test_fewer_bits_are_fewer_bytes_of_weights_and_more_error(files):
    names = ("weight_only_float16", "weight_only_int8", "dynamic_int8", "weight_only_int4", "dynamic_int4")
    made = {recipe: recipes.quantize(files["branched"], recipe) for recipe in names}
    found = {recipe: error(files["branched"], small) for recipe, small in made.items()}
    weights = {recipe: sum(recipes.summary(small).values()) for recipe, small in made.items()}
    assert weights["weight_only_float16"] > weights["dynamic_int8"] > weights["dynamic_int4"]
    assert weights["weight_only_int4"] == weights["dynamic_int4"]
    assert found["weight_only_float16"] < 0.002
    assert found["weight_only_int8"] < found["weight_only_int4"] < 0.5
    assert found["dynamic_int8"] < 0.05


@pytest.mark.parametrize("name", ["tiny", "1-D", "two", "tokens"])
def test_files_of_other_kinds_stay_near_the_float_file(files, name):
    made = recipes.quantize(files[name], "dynamic_int8")
    assert "int8" in recipes.summary(made)
    assert error(files[name], made) < 0.05


def test_the_report_says_what_is_stored_and_what_computes(files):
    rows = {
        (row["operator"], len(row["shape"])): row
        for row in recipes.report(recipes.quantize(files["branched"], "weight_only_int4", keep="logits"))
    }
    assert rows["CONV_2D", 4]["weight"] == "int4"
    assert rows["CONV_2D", 4]["dequantized"]
    assert rows["CONV_2D", 4]["scales"] == 16
    assert rows["CONV_2D", 4]["bytes"] == 16 * 9 * 2 / 2
    assert rows["DEPTHWISE_CONV_2D", 4]["weight"] == "float32"  # there is no 4-bit kernel for it
    dense = [
        row
        for row in recipes.report(recipes.quantize(files["branched"], "dynamic_int8"))
        if row["operator"] == "FULLY_CONNECTED" and len(row["shape"]) == 2
    ]
    assert [row["layer"].split("/")[1] for row in dense] == ["middle", "logits"]
    assert {(row["weight"], row["activations"], row["dequantized"]) for row in dense} == {("int8", "float32", False)}


def types(artifact: Artifact) -> dict[str, str]:
    """Layer's name -> type of its kernel."""
    return {row["layer"].split("/")[1]: row["weight"] for row in recipes.report(artifact) if len(row["shape"]) > 1}


def test_layers_are_chosen_by_name_by_kind_and_by_what_is_kept(files):
    branched = files["branched"]
    chosen = {
        "layers": types(recipes.quantize(branched, "dynamic_int4", layers="middle|logits")),
        "keep": types(recipes.quantize(branched, "dynamic_int8", keep="logits")),
        "kind": types(recipes.quantize(branched, "dynamic_int8", operators=["CONV_2D", "DEPTHWISE_CONV_2D"])),
        "2 bits": types(recipes.quantize(branched, "dynamic_int2")),
    }
    as_float = {
        name: sorted(layer for layer, kind in found.items() if kind == "float32") for name, found in chosen.items()
    }
    assert len(chosen["keep"]) == 4
    assert as_float["keep"] == ["logits"]
    assert len(as_float["layers"]) == 2
    assert as_float["kind"] == ["logits", "middle"]
    assert chosen["2 bits"]["middle"] == "int2"
    assert len(as_float["2 bits"]) == 2


def test_recipes_follow_one_another(files):
    mixed = recipes.quantize(recipes.quantize(files["branched"], "dynamic_int4", layers="middle"), "dynamic_int8")
    assert types(mixed)["middle"] == "int4"
    assert types(mixed)["logits"] == "int8"
    assert error(files["branched"], mixed) < 0.3


def test_blocks_of_weights_share_a_scale(files):
    made = recipes.quantize(files["branched"], "dynamic_int4", keep="middle", block=32)
    assert types(made)["logits"] == "int4"
    assert "float16" in recipes.summary(made)
    assert recipes.summary(made)["int4"] == 3 * 32 / 2


def test_a_better_range_gives_another_file_of_the_same_size(files):
    made = {ranges: recipes.quantize(files["1-D"], "dynamic_int4", ranges=ranges) for ranges in recipes.RANGES}
    assert len({artifact.content for artifact in made.values()}) > 1
    assert len({sum(recipes.summary(artifact).values()) for artifact in made.values()}) == 1


@pytest.mark.parametrize("name", ["branched", "two"])
def test_static_recipes_make_integers_of_everything(files, name):
    x = inputs(files[name], 100)
    made = recipes.quantize(files[name], "static_int8", calibration=x if len(x) > 1 else next(iter(x.values())))
    assert made.runner.outputs[0].dtype == np.int8
    assert error(files[name], made) < 1
    assert "float32" not in recipes.summary(made)


def test_nothing_is_printed_and_the_file_is_left_alone(files, capfd):
    before = files["1-D"].content
    recipes.quantize(files["1-D"], "static_int8", calibration=next(iter(inputs(files["1-D"]).values())))
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""
    assert files["1-D"].content == before


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("branched", {"recipe": "dynamic-int8"}, "did you mean 'dynamic_int8'"),
        ("branched", {"recipe": "dynamic_int8", "ranges": "mes"}, "did you mean 'mse'"),
        ("branched", {"recipe": "dynamic_int8", "layers": "dense_7"}, "those with weights are .*first"),
        ("branched", {"recipe": "dynamic_int8", "layers": "("}, "no regular expression"),
        ("branched", {"recipe": "dynamic_int8", "keep": 3}, "no regular expression"),
        ("branched", {"recipe": "dynamic_int8", "operators": ["SOFTMAX"]}, "the file has none; it has ADD, CONV_2D"),
        ("branched", {"recipe": "dynamic_int8", "operators": ["ADD"]}, "changed nothing"),
        ("branched", {"recipe": "dynamic_int4", "layers": "deep"}, "changed nothing: .*DEPTHWISE_CONV_2D"),
        ("branched", {"recipe": "dynamic_int2", "operators": ["CONV_2D"]}, "no convolution"),
        ("nothing", {"recipe": "weight_only_int8"}, "changed nothing"),
        ("branched", {"recipe": "dynamic_int8", "block": 32}, "only 'dynamic_int4'"),
        ("branched", {"recipe": "dynamic_int4", "block": 16}, "blocks are 32, 64"),
        ("1-D", {"recipe": "dynamic_int4", "block": 32}, "does not divide the inputs of"),
        ("branched", {"recipe": "static_int8"}, "needs calibration="),
        ("branched", {"recipe": "dynamic_int8", "calibration": np.zeros((2, 8, 8, 2))}, "does not use calibration"),
        ("branched", {"recipe": "static_int8", "calibration": np.zeros((0, 8, 8, 2))}, "empty"),
        ("branched", {"recipe": "static_int8", "calibration": np.zeros((3, 8, 8))}, "has shape"),
        ("branched", {"recipe": "static_int8", "calibration": np.full((3, 8, 8, 2), np.nan)}, "NaN"),
        ("two", {"recipe": "static_int8", "calibration": {"one": np.ones((3, 6)), "two": np.ones((2, 4))}}, "as many"),
        ("two", {"recipe": "static_int8", "calibration": np.ones((3, 6))}, "2 inputs"),
    ],
)
def test_bad_requests_are_refused(files, name, arguments, message):
    with pytest.raises(ValueError, match=message):
        recipes.quantize(files[name], **arguments)


def test_other_things_than_files_are_refused(files):
    with pytest.raises(TypeError, match=r"artifact\.load"):
        recipes.quantize("model.tflite", "dynamic_int8")
    with pytest.raises(TypeError, match=r"artifact\.load"):
        recipes.report(files["tiny"].content)


@pytest.mark.parametrize("spoil", [lambda c: c[: len(c) // 2], lambda c: c[:8] + bytes(len(c) - 8)])
def test_a_broken_file_is_refused_and_the_caller_lives(files, spoil):
    with pytest.raises(ArtifactError):
        recipes.quantize(Artifact(spoil(files["branched"].content), "tflite"), "dynamic_int8")


def test_a_result_with_infinite_outputs_is_refused(files, monkeypatch):
    class Runner:
        def sample(self, count, generator):
            return {}

        def run_raw(self, x):
            return np.array([1.0, np.inf])

    class Made:
        runner = Runner()

    with pytest.raises(ArtifactError, match="infinite outputs"):
        recipes._check_outputs(Made(), "dynamic_int2")


def _without_tensorflow(content: bytes) -> bool:
    """Runs in the child."""
    recipes.quantize(Artifact(content, "tflite"), "dynamic_int8")
    return "tensorflow" in sys.modules


def test_it_works_without_tensorflow(files):
    assert not child.run("tests.optimize.test_recipes:_without_tensorflow", files["tiny"].content)
