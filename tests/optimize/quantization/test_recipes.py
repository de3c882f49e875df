"""LiteRT's quantizer on files of many kinds: what is asked for is stored, what cannot be is said, and it runs."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from utils import child, tflite_file
from utils.artifact import Artifact, ArtifactError
from utils.measure import agreement
from utils.optimize.quantization import recipes
from utils.optimize.quantization.converter import ConversionWarning, convert


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
        "regression": as_tflite(tf_keras.Sequential([L.Input((8,)), L.Dense(32, activation="relu"), L.Dense(1)])),
        "picture regression": as_tflite(
            tf_keras.Sequential([L.Input((8, 8, 1)), L.Conv2D(4, 3, activation="relu"), L.Flatten(), L.Dense(1)])
        ),
        "batch of 4": as_tflite(tf_keras.Sequential([L.Input((6,), batch_size=4), L.Dense(8), L.Dense(1)])),
        "two outputs of one": as_tflite(tf_keras.Model(one, [L.Dense(1)(one), L.Dense(1)(one)])),
    }


def only(x: dict):
    """One array where there is one input."""
    return x if len(x) > 1 else next(iter(x.values()))


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
    a, b = (made.predict(only(x)) for made in (float_file, small))
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
    names = ("minmax", "mse", "octav")
    assert tuple(recipes.RANGES) == names
    made = {ranges: recipes.quantize(files["1-D"], "dynamic_int4", ranges=ranges) for ranges in names}
    assert len({artifact.content for artifact in made.values()}) == 3
    assert len({sum(recipes.summary(artifact).values()) for artifact in made.values()}) == 1
    kernel = max((t for t in files["1-D"].runner.tensors() if t.constant), key=lambda t: t.bytes)
    weights, errors = files["1-D"].runner.values(kernel), {}
    for name, artifact in made.items():
        stored = next(t for t in artifact.runner.tensors() if t.constant and t.shape == kernel.shape)
        scales = np.asarray(stored.quantization.scales).reshape(-1, *[1] * (weights.ndim - 1))
        errors[name] = np.mean((artifact.runner.values(stored) * scales - weights) ** 2)
        if name == "minmax":
            top = np.abs(weights).reshape(len(weights), -1).max(axis=1)
            np.testing.assert_allclose(scales.ravel(), top / 7, rtol=1e-5)
    assert errors["octav"] < min(errors["minmax"], errors["mse"])


@pytest.mark.parametrize(
    "name", ["branched", "two", "regression", "picture regression", "batch of 4", "two outputs of one"]
)
def test_static_recipes_make_integers_of_everything_and_stay_near(files, name):
    x = only(inputs(files[name], 100))
    made = recipes.quantize(files[name], "static_int8", calibration=x)
    assert made.runner.outputs[0].dtype == np.int8
    assert "float32" not in recipes.summary(made)
    # a moving average of each input's extremes, the quantizer's own way, has 0.2 to 0.8 where there is one output
    found = agreement.compare(files[name].predict(x), made.predict(x))
    assert max(output.share for output in found.values()) < 0.1


def test_the_range_covers_every_calibration_input_wherever_it_stands(files):
    x = only(inputs(files["regression"], 60))
    for place in (0, 30, 59):
        x_with = x.copy()
        x_with[place] = 40
        made = recipes.quantize(files["regression"], "static_int8", calibration=x_with)
        low, high = made.runner.inputs[0].quantization.range
        assert (low, high) == pytest.approx((0, 40), abs=0.2)


def test_a_static_file_that_is_far_off_is_said_and_a_hopeless_one_refused(files, monkeypatch):
    x = only(inputs(files["branched"], 60))
    with pytest.raises(
        ArtifactError, match=r"'static_int4' is off by .*\d\d% of their variance lost.*pass more inputs"
    ):
        recipes.quantize(files["branched"], "static_int4", calibration=x)
    monkeypatch.setattr(agreement, "NEAR", 0.001)
    with pytest.warns(ConversionWarning, match=r"'static_int8' is off by up to 0\.\d+ of the range"):
        recipes.quantize(files["branched"], "static_int8", calibration=x)


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
        (
            "branched",
            {"recipe": "dynamic_int2", "operators": ["CONV_2D"]},
            "FULLY_CONNECTED and EMBEDDING_LOOKUP right",
        ),
        ("nothing", {"recipe": "weight_only_int8"}, "changed nothing"),
        ("branched", {"recipe": "dynamic_int8", "block": 32}, "only 'dynamic_int4'"),
        ("1-D", {"recipe": "dynamic_int8", "operators": []}, "operators is empty; name some of "),
        ("1-D", {"recipe": "dynamic_int2", "ranges": "mse"}, "ranges='mse' with 2 bits: .* take ranges='octav'"),
        ("1-D", {"recipe": "dynamic_int4", "ranges": "mse", "block": 32}, "ranges='mse' with blocks: .*'octav'"),
        ("1-D", {"recipe": "dynamic_int4", "block": 32.0}, "block=32.0 with recipe 'dynamic_int4': blocks are 32"),
        ("branched", {"recipe": "dynamic_int4", "block": 16}, "blocks are 32, 64, 128, 256 weights"),
        ("1-D", {"recipe": "dynamic_int4", "block": 32}, r"does not divide the inputs of .* \(\d\d\)'"),
        (
            "branched",
            {"recipe": "dynamic_int4", "block": 32, "operators": ["DEPTHWISE_CONV_2D", "CONV_2D"]},
            "in blocks of 32 changed nothing: .* weight of CONV_2D, DEPTHWISE_CONV_2D. Depthwise",
        ),
        ("nothing", {"recipe": "weight_only_int8", "operators": "ADD"}, "the file has none; it has"),
        ("branched", {"recipe": "static_int8"}, "needs calibration="),
        ("branched", {"recipe": "dynamic_int8", "calibration": np.zeros((2, 8, 8, 2))}, "does not use calibration"),
        ("branched", {"recipe": "static_int8", "calibration": np.zeros((0, 8, 8, 2))}, "is empty"),
        ("branched", {"recipe": "static_int8", "calibration": np.zeros((3, 8, 8))}, "takes shape"),
        ("branched", {"recipe": "static_int8", "calibration": np.full((3, 8, 8, 2), np.nan)}, "NaN"),
        ("branched", {"recipe": "static_int8", "calibration": np.full((3, 8, 8, 2), 1e300)}, "infinite"),
        ("branched", {"recipe": "static_int8", "calibration": np.ones((3, 8, 8, 2), "uint8")}, "takes real values"),
        ("two", {"recipe": "static_int8", "calibration": {"one": np.ones((3, 6)), "two": np.ones((2, 4))}}, "as many"),
        ("two", {"recipe": "static_int8", "calibration": np.ones((3, 6))}, "2 inputs"),
    ],
)
def test_bad_requests_are_refused(files, name, arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
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


def with_weights(artifact: Artifact, change) -> Artifact:
    """The same file with other values in its largest float weight."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(artifact.content)
    kernel = max((t for t in artifact.runner.file.tensors[0] if t.dtype == "float32"), key=lambda t: t.bytes)
    values = change(artifact.runner.file.values(kernel).copy())
    model.buffers[kernel.buffer].data = np.frombuffer(values.astype("<f4").tobytes(), np.uint8)
    return Artifact(tflite_file.pack(model), "tflite")


def set_first(value: float):
    def change(values):
        values.flat[0] = value
        return values

    return change


@pytest.mark.parametrize("recipe", ["weight_only_float16", "weight_only_int8", "dynamic_int8"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(files, recipe, bad):
    with pytest.raises(ValueError, match="hold NaN or infinity"):
        recipes.quantize(with_weights(files["tiny"], set_first(bad)), recipe)


def test_weights_beyond_float16_are_refused_and_integers_hold_them(files):
    large = with_weights(files["tiny"], set_first(1e6))
    with pytest.raises(ValueError, match="reach 1,000,000, and float16 ends at 65,504"):
        recipes.quantize(large, "weight_only_float16")
    assert "int8" in recipes.summary(recipes.quantize(large, "weight_only_int8"))
    assert "float16" in recipes.summary(
        recipes.quantize(with_weights(files["tiny"], set_first(65_504)), "weight_only_float16")
    )


@pytest.mark.parametrize("recipe", ["dynamic_int2", "dynamic_int4", "weight_only_int4"])
def test_few_bits_give_what_their_rounded_weights_give(files, recipe):
    small = recipes.quantize(files["tiny"], recipe)
    stored = next(t for t in small.runner.tensors() if t.constant and len(t.shape) == 2)
    rounded = small.runner.values(stored) * np.asarray(stored.quantization.scales)[:, None]
    wanted = with_weights(files["tiny"], lambda values: rounded.reshape(values.shape))
    x = only(inputs(files["tiny"]))
    assert stored.dtype == recipe.rpartition("_")[2]
    assert stored.bytes == -(-12 * int(stored.dtype[3:]) // 8)
    assert agreement.compare(wanted.predict(x), small.predict(x))[""].share < 0.02


def test_two_bits_are_still_wrong_in_a_convolution(files):
    """Once this fails, `only` can leave the recipe."""
    configured = recipes._as_configured(recipes.Recipe("dynamic", 2), [".*"], "minmax", None)
    content = recipes._run_quantizer(files["picture regression"], configured, None)
    with pytest.raises(ArtifactError, match=r"infinite outputs|outputs up to"):
        recipes._check_outputs(files["picture regression"], Artifact(content, "tflite"), "dynamic_int2", None)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([1.0, np.inf], "infinite outputs"),
        ([1.0, np.nan], "infinite"),
        ([100.0, 0], "up to 100"),
        ([20.5, 0], "up to 20.5 where the float file's end at 2"),
        ([0, -21.0], "up to 21"),
        ([20.0, 0], None),
        ([5, 1.0], None),
    ],
)
def test_outputs_that_grow_are_refused(found, message):
    want = np.array([1.0, -2.0])
    if message is None:
        recipes._check_size(want, np.array(found), "name")
        return
    with pytest.raises(ArtifactError, match=message):
        recipes._check_size(want, np.array(found), "name")


def test_outputs_that_are_infinite_in_the_float_file_too_are_no_fault_of_the_recipe():
    assert recipes._check_size(np.array([1.0, np.inf]), np.array([1.0, np.inf]), "name") is None
    assert recipes._check_size(np.array([1, 2]), np.array([100, 200]), "name") is None  # whole numbers are indices
    assert recipes._check_size(np.ones((0, 2)), np.ones((0, 2)), "name") is None


QUANTIZED = ("weight_only_float16", "weight_only_int8", "weight_only_int4", "dynamic_int8", "dynamic_int4")


@pytest.fixture(scope="module")
def quantized(files) -> dict[str, Artifact]:
    made = {name: recipes.quantize(files["tiny"], name) for name in QUANTIZED}
    made["static_int8"] = recipes.quantize(files["tiny"], "static_int8", calibration=only(inputs(files["tiny"])))
    return made


@pytest.mark.parametrize("second", recipes.RECIPES)
@pytest.mark.parametrize("first", [*QUANTIZED, "static_int8"])
def test_what_is_quantized_stays(files, quantized, first, second):
    calibration = only(inputs(files["tiny"])) if recipes.RECIPES[second].kind == "static" else None
    with pytest.raises(ValueError, match="quantized already and stays as it is"):
        recipes.quantize(quantized[first], second, calibration=calibration)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("dynamic_int8", "weight_only_float16"),  # the quantizer by itself reads integers as floats here
        ("weight_only_float16", "dynamic_int8"),
        ("dynamic_int4", "static_int8"),
        ("weight_only_int8", "static_int16x8"),
        ("weight_only_int4", "weight_only_int8"),
    ],
)
def test_the_rest_of_a_file_that_is_partly_quantized(files, first, second):
    regression = files["regression"]
    x = only(inputs(regression, 100))
    part = recipes.quantize(regression, first, keep=last_layer(regression))
    made = recipes.quantize(part, second, calibration=x if recipes.RECIPES[second].kind == "static" else None)
    before, after = (dict(kernels(artifact)) for artifact in (part, made))
    kept = {shape for shape, kind in before.items() if kind != "float32"}
    assert len(kept) == 1 < len(before)
    assert {shape: after[shape] for shape in kept} == {shape: before[shape] for shape in kept}
    assert "float32" not in after.values()
    assert agreement.compare(part.predict(x), made.predict(x))[""].lost < 0.2


def kernels(artifact: Artifact) -> list[tuple[tuple[int, ...], str]]:
    return [(row["shape"], row["weight"]) for row in recipes.report(artifact) if len(row["shape"]) == 2]


def last_layer(artifact: Artifact) -> str:
    return artifact.runner.summary()[-1].inputs[1].name


def test_labels_and_metadata_stay(files):
    from utils.deploy.tflite import metadata

    labelled = Artifact(metadata.with_labels(files["tiny"].content, ["a", "b", "c"], author="x"), "tflite")
    for recipe in ("dynamic_int8", "static_int8"):
        x = only(inputs(files["tiny"])) if recipe == "static_int8" else None
        made = recipes.quantize(labelled, recipe, calibration=x).content
        assert metadata.labels(made) == ("a", "b", "c")
        assert metadata.description(made) == {"author": "x"}


def _without_tensorflow(content: bytes) -> bool:
    """Runs in the child."""
    recipes.quantize(Artifact(content, "tflite"), "dynamic_int8")
    return "tensorflow" in sys.modules


def test_it_works_without_tensorflow(files):
    assert not child.run("tests.optimize.quantization.test_recipes:_without_tensorflow", files["tiny"].content)


# ---------------------------------------------------------------- names and tables


def test_a_recipes_name_says_what_it_does():
    names = {
        *("weight_only_float16", "weight_only_int8", "weight_only_int4", "dynamic_int8", "dynamic_int4"),
        *("dynamic_int2", "static_int8", "static_int4", "static_int16x8"),
    }
    assert recipes.RECIPES.keys() == names
    for name, recipe in recipes.RECIPES.items():
        kind, _, stored = name.rpartition("_")
        *activations, weights = map(int, stored.lstrip("flointa").split("x"))
        assert (recipe.kind, recipe.weights) == (kind, weights)
        assert recipe.activations == ((activations or [8])[0] if kind == "static" else 32)
        assert bool(recipe.only) == (weights == 2)


def test_weights_of_a_float_file_are_its_parameters(files):
    """Biases of zeros are not stored."""
    for name, count in (("tiny", 4 * 3), ("tokens", 50 * 8 + 40 * 2), ("regression", 8 * 32 + 32)):
        rows = recipes.report(files[name])
        assert recipes.summary(files[name]) == {"float32": 4 * count}
        assert sum(row["bytes"] for row in rows) == 4 * count
        assert {(row["weight"], row["scales"], row["dequantized"]) for row in rows} == {("float32", 0, False)}


def test_the_report_says_which_type_comes_in(files):
    found = {row["operator"]: row["activations"] for row in recipes.report(files["tokens"])}
    assert found == {"GATHER": "int32", "FULLY_CONNECTED": "float32"}
    made = recipes.quantize(files["tiny"], "static_int16x8", calibration=only(inputs(files["tiny"])))
    (row, *_) = recipes.report(made)
    assert (row["operator"], row["weight"], row["shape"], row["bytes"]) == ("FULLY_CONNECTED", "int8", (3, 4), 12)
    assert (row["scales"], row["activations"], row["dequantized"]) == (3, "int16", False)


def test_a_layers_name_is_the_first_of_those_that_were_fused(files):
    for row in recipes.report(files["branched"]):
        assert "/" in row["layer"] and ";" not in row["layer"]
    fused = SimpleNamespace(
        outputs=[SimpleNamespace(name="call:0", constant=False)],
        inputs=[
            SimpleNamespace(name="x/y", constant=False, dtype="float32", quantization=None),
            SimpleNamespace(name="net/dense/MatMul;net/dense/Relu", constant=True, dtype="float32", quantization=None),
            SimpleNamespace(name="net/dense/Bias", constant=True, dtype="float32", quantization=None),
        ],
    )
    assert recipes._label(fused) == "net/dense/MatMul"
    for part in fused.inputs:
        part.name = part.name.replace("/", "_")
    assert recipes._label(fused) == "call:0"


def test_a_pattern_is_searched_in_outputs_and_weights_and_not_in_what_comes_in(files):
    made = types(recipes.quantize(files["branched"], "dynamic_int8", layers="first"))
    assert made == {"first": "int8", "deep": "float32", "middle": "float32", "logits": "float32"}
    kept = types(recipes.quantize(files["branched"], "dynamic_int8", keep="first"))
    assert kept == {"first": "float32", "deep": "int8", "middle": "int8", "logits": "int8"}


def test_eight_names_are_listed_and_the_others_counted():
    assert recipes._some(list("abcdefgh")) == "'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'"
    assert recipes._some(list("abcdefghij")).endswith("'g', 'h' and 2 more")
    assert recipes._some(list("abc"), 2) == "'a', 'b' and 1 more"
    assert recipes._some([]) == "none"


def test_what_the_quantizer_raises_is_said(files, monkeypatch):
    from litert_quantizer import quantizer

    def fail(content):
        raise KeyError("many\n  words")

    monkeypatch.setattr(quantizer, "Quantizer", fail)
    with pytest.raises(ArtifactError, match=r"LiteRT's quantizer gives up on this file: .*many"):
        recipes.quantize(files["tiny"], "dynamic_int8")


def test_static_recipes_need_a_file_with_one_signature():
    runner = SimpleNamespace(signatures=["first", "second"], pieces=lambda x: [x])
    with pytest.raises(ValueError, match="the file has 2 signatures; static recipes need a file with one"):
        recipes._samples(runner, np.ones((2, 2)))
    assert recipes._samples(SimpleNamespace(signatures=["one"], pieces=lambda x: [x]), 5) == {"one": [5]}


@pytest.mark.parametrize("kind, quantized", [("float32", False), ("float16", True), ("int4", True)])
def test_an_operator_is_quantized_if_one_of_its_weights_is(kind, quantized):
    def weight(dtype):
        return SimpleNamespace(dtype=dtype, constant=True, quantization=None, subgraph=0, index=1)

    operator = SimpleNamespace(inputs=[weight("float32"), weight(kind)], outputs=[weight("float32")])
    assert recipes._quantized(operator, {}) == quantized
    operator.outputs[0].quantization = "a grid"
    assert recipes._quantized(operator, {})


@pytest.mark.parametrize(
    "dtype, grid, parameter",
    [
        *[(kind, None, True) for kind in ("float32", "float16", "bfloat16", "int2", "int4")],
        *[(kind, None, False) for kind in ("int8", "int32", "int64", "bool")],
        ("int8", "a grid", True),
    ],
)
def test_weights_are_told_from_shapes_and_axes(dtype, grid, parameter):
    tensor = SimpleNamespace(dtype=dtype, quantization=grid, constant=True)
    assert recipes._is_parameter(tensor) == parameter
    tensor.constant = False
    assert not recipes._is_parameter(tensor)


def test_an_activation_beyond_float32_is_named(keras):
    layers = [keras.layers.Dense(2, name=name) for name in ("first", "last")]
    model = keras.Sequential([keras.Input((2,)), *layers])
    model.set_weights([np.eye(2), np.zeros(2), 1e10 * np.eye(2), np.zeros(2)])
    x = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    x[3] = 1e30
    with pytest.raises(ArtifactError, match=r"lies between .* and (3.40282e\+38|inf) .* leave out the examples"):
        recipes.quantize(convert(model, "float32"), "static_int8", calibration=x)
