"""The .tflite runner against the interpreter called by hand, and against files that are broken."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import little
from utils import artifact, tflite_file
from utils.artifact import Artifact, ArtifactError
from utils.deploy.tflite import session
from utils.deploy.tflite.tflite_model import TFLiteModel
from utils.deploy.tflite.verification import verify
from utils.optimize.quantization import recipes
from utils.optimize.quantization.converter import convert
from utils.optimize.quantization.grid import dequantize, quantize
from utils.quantization_parameters import QuantizationParameters

pytestmark = pytest.mark.filterwarnings("ignore:Statistics for quantized inputs:UserWarning")


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 10, 10, 2), np.float32)


# --- models, converted once -----------------------------------------------------------------------------


@functools.cache
def keras():
    import tensorflow as tf
    import tf_keras

    tf.get_logger().setLevel("ERROR")
    tf.keras.utils.set_random_seed(5)
    return tf_keras


@functools.cache
def branched():
    k = keras()
    image = k.Input((10, 10, 2), name="image")
    left = k.layers.Conv2D(4, 3, activation="relu")(image)
    right = k.layers.Conv2D(4, 3, strides=1)(k.layers.BatchNormalization()(image))
    pooled = k.layers.GlobalAveragePooling2D()(k.layers.Add()([left, right]))
    return k.Model(image, k.layers.Dense(5, activation="softmax")(pooled))


@functools.cache
def converted(kind: str) -> bytes:
    """ "float", "int8" (float in and out), "int8_io", "uint8_io" or "float16" of the branched network."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(branched())
    if kind != "float":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    elif kind != "float":
        converter.representative_dataset = lambda: ([pictures(1, seed)] for seed in range(20))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if kind.endswith("_io"):
        converter.inference_input_type = converter.inference_output_type = getattr(tf, kind.removesuffix("_io"))
    return converter.convert()


@functools.cache
def of_model(build) -> bytes:
    import tensorflow as tf

    return tf.lite.TFLiteConverter.from_keras_model(build(keras())).convert()


@functools.cache
def fixed_batch(size: int) -> bytes:
    import tensorflow as tf

    model = branched()  # built here, not while the function is traced
    call = tf.function(lambda x: model(x, training=False)).get_concrete_function(
        tf.TensorSpec((size, 10, 10, 2), tf.float32)
    )
    return tf.lite.TFLiteConverter.from_concrete_functions([call], model).convert()


def tokens(k):
    return k.Sequential(
        [k.Input((6,), dtype="int32"), k.layers.Embedding(11, 4), k.layers.Flatten(), k.layers.Dense(3)]
    )


def series(k):
    return k.Sequential([k.Input((12, 2)), k.layers.Conv1D(4, 3, dilation_rate=2), k.layers.LSTM(3, unroll=True)])


def two_by_two(k):
    zed, ann = k.Input((4,), name="zed"), k.Input((4,), name="ann")
    joined = k.layers.Concatenate()([zed, ann])
    return k.Model([zed, ann], [k.layers.Dense(3, name="second")(joined), k.layers.Dense(2, name="first")(ann)])


def by_hand(content: bytes, x: np.ndarray, resolver=OpResolverType.AUTO) -> np.ndarray:
    """One example at a time through the interpreter, nothing between."""
    interpreter = Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    place, out = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    rows = []
    for example in x:
        interpreter.set_tensor(place, example[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(out))
    return np.concatenate(rows)


def trusted(content: bytes, kernels: str = "default") -> TFLiteModel:
    return TFLiteModel(content, kernels, trusted=True)


RESOLVERS = {
    "default": OpResolverType.AUTO,
    "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "reference": OpResolverType.BUILTIN_REF,
}


# --- running --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernels", RESOLVERS)
@pytest.mark.parametrize("kind", ["int8", "int8_io", "uint8_io"])
def test_quantized_batch_equals_the_interpreter_bit_for_bit(kind, kernels):
    x = pictures(37)
    model = trusted(converted(kind), kernels)
    if model.inputs[0].quantized:
        tensor = model.inputs[0]
        q = quantize(x, tensor.quantization)
        expected = by_hand(converted(kind), q, RESOLVERS[kernels])
        np.testing.assert_array_equal(model.run_raw(q), expected)
        out = model.outputs[0].quantization
        real = out.scale * (expected.astype(np.float32) - out.zero_point.astype(np.float32))
        np.testing.assert_array_equal(model.run(x), real)
    else:
        np.testing.assert_array_equal(model.run(x), by_hand(converted(kind), x, RESOLVERS[kernels]))
    assert model.run(x).dtype == np.float32


@pytest.mark.parametrize("kernels", RESOLVERS)
def test_kernels_are_the_ones_asked_for(kernels):
    assert trusted(converted("float"), kernels).delegated() == (kernels == "default")


def test_float_batch_agrees_with_keras_and_one_by_one():
    x = pictures(600)
    for kind, tolerance in (("float", 1e-6), ("float16", 2e-3)):
        outputs = trusted(converted(kind)).run(x)
        np.testing.assert_allclose(outputs, branched().predict(x, verbose=0), atol=tolerance)
        np.testing.assert_allclose(outputs[:9], by_hand(converted(kind), x[:9]), rtol=1e-5, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(1, 300), min_size=1, max_size=4))
def test_any_order_of_batch_sizes(sizes):
    x, model = pictures(300), trusted(converted("int8_io"))
    expected = by_hand(converted("int8_io"), quantize(x, model.inputs[0].quantization))
    for size in sizes:
        q = quantize(x[:size], model.inputs[0].quantization)
        np.testing.assert_array_equal(model.run_raw(q), expected[:size])


@pytest.mark.parametrize("size", [1, 4])
def test_a_fixed_batch_is_filled_and_cut(size):
    model = trusted(fixed_batch(size))
    assert model.inputs[0].shape[0] == size
    for count in (1, 3, 9):
        x = pictures(count)
        np.testing.assert_allclose(model.run(x), branched().predict(x, verbose=0), atol=1e-6)


@functools.cache
def batch_of_one_inside() -> bytes:
    """Declared for any batch, but with a batch of 1 written into a Reshape."""
    import tensorflow as tf

    class Flat(tf.Module):
        def __init__(self):
            self.kernel = tf.Variable(np.arange(24, dtype=np.float32).reshape(12, 2))

        @tf.function(input_signature=[tf.TensorSpec((None, 3, 4), tf.float32)])
        def call(self, x):
            return tf.reshape(x, (1, 12)) @ self.kernel

    module = Flat()
    return tf.lite.TFLiteConverter.from_concrete_functions([module.call.get_concrete_function()], module).convert()


def test_a_graph_that_cannot_be_resized_runs_one_by_one():
    x = np.random.default_rng(0).random((7, 3, 4), np.float32)
    expected = x.reshape(7, 12) @ np.arange(24, dtype=np.float32).reshape(12, 2)
    assert trusted(batch_of_one_inside()).inputs[0].shape == (-1, 3, 4)
    model = trusted(batch_of_one_inside())
    for count in (7, 1, 3):
        np.testing.assert_allclose(model.run(x[:count]), expected[:count], rtol=1e-5)
    np.testing.assert_allclose(trusted(batch_of_one_inside()).prepare(x)(), expected, rtol=1e-5)


def test_several_inputs_go_by_the_names_of_the_keras_model():
    model = trusted(of_model(two_by_two))
    x = {"ann": np.eye(4, dtype=np.float32), "zed": np.ones((4, 4), np.float32)}
    results = model.run(x)
    assert results["first"].shape == (4, 2)
    assert results["second"].shape == (4, 3)
    expected = Artifact.predict(artifact.from_keras(keras_two_by_two()), x)
    for name in results:
        np.testing.assert_allclose(results[name], expected[name], atol=1e-5)
    with pytest.raises(ValueError, match=r"2 inputs; pass \{name: array\} with the names \['zed', 'ann'\]"):
        model.run(x["ann"])
    with pytest.raises(ValueError, match="different numbers of examples"):
        model.run({"ann": x["ann"][:2], "zed": x["zed"]})
    for wrong in ({"ann": x["ann"]}, x | {"bob": x["ann"]}):
        with pytest.raises(ValueError, match=r"inputs are \['zed', 'ann'\], got \['ann'"):
            model.run(wrong)


@functools.cache
def keras_two_by_two():
    """The network of `two_by_two` with the weights that stand in the file."""
    model, file = two_by_two(keras()), trusted(of_model(two_by_two))
    for op in file.summary():
        if op.name == "FULLY_CONNECTED":
            kernel = file.values(op.inputs[1])
            layer = model.get_layer("first" if len(kernel) == 2 else "second")
            layer.set_weights([kernel.T, np.zeros(len(kernel))])
    return model


def test_tokens_and_series():
    model = trusted(of_model(tokens))
    assert model.run(np.ones((5, 6), np.int64)).shape == (5, 3)
    with pytest.raises(TypeError, match="whole numbers"):
        model.run(np.ones((5, 6), np.float32))
    with pytest.raises(ValueError, match="outside int32's range"):
        model.run(np.full((1, 6), 2**40))
    assert trusted(of_model(series)).run(np.zeros((5, 12, 2), np.float32)).shape == (5, 3)


def test_prepare_runs_the_same():
    x = pictures(8)
    model = trusted(converted("int8_io"))
    model.prepare(x)()
    raw = model.interpreter.get_tensor(model.outputs[0].index)
    np.testing.assert_array_equal(dequantize(raw, model.outputs[0].quantization), model.run(x))


def test_other_threads_are_taken():
    assert TFLiteModel(converted("float"), threads=2, trusted=True).threads == 2


# --- quantize and dequantize ----------------------------------------------------------------------------


@functools.cache
def quantize_kernel() -> tuple[bytes, QuantizationParameters]:
    """A file whose first operator is QUANTIZE to int8, and that operator's parameters."""
    content = converted("int8")
    first = tflite_file.File(content).operators()[0]
    assert first.name == "QUANTIZE"
    return content, first.outputs[0].quantization


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), spread=st.floats(0.5, 8))
def test_quantize_equals_the_interpreters_kernel(seed, spread):
    content, parameters = quantize_kernel()
    generator = np.random.default_rng(seed)
    x = (spread * (generator.random((1, 10, 10, 2)) - 0.3)).astype(np.float32)
    halves = (generator.integers(-200, 200, (1, 10, 10, 1)) + 0.5) * np.float64(
        parameters.scale
    )  # ties, as near as float32 gets
    x[..., :1] = halves
    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    stored = interpreter.get_tensor(tflite_file.File(content).operators()[0].outputs[0].index)
    np.testing.assert_array_equal(quantize(x, parameters), stored)


# --- bad input ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "error", "sentence"),
    [
        (np.zeros((10, 10, 2), np.float32), ValueError, r"takes shape \(n, 10, 10, 2\).*got \(10, 10, 2\)"),
        (np.zeros((1, 10, 10, 1), np.float32), ValueError, r"got \(1, 10, 10, 1\)"),
        (np.zeros((0, 10, 10, 2), np.float32), ValueError, "is empty"),
        (np.zeros((1, 10, 10, 2), np.uint8), TypeError, "takes real values, got uint8"),
        (np.zeros((1, 10, 10, 2), bool), TypeError, "got bool"),
        (np.full((1, 10, 10, 2), np.nan, np.float32), ValueError, "NaN"),
        (np.full((1, 10, 10, 2), 1e300), ValueError, "infinite"),
        (np.full((1, 10, 10, 2), "a"), TypeError, "got <U1"),
        (None, TypeError, "got object|takes shape"),
    ],
)
@pytest.mark.parametrize("kind", ["float", "int8_io"])
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_bad_input_gets_a_sentence(kind, x, error, sentence):
    with pytest.raises(error, match=sentence):
        trusted(converted(kind)).run(x)


def test_pixels_up_to_255_for_a_model_calibrated_on_0_to_1():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 10, 10, 2)).astype(np.float32)
    pixels[:, :7] = 0  # mostly black, as digits are
    with pytest.raises(ValueError, match=r"calibrated for values from 0 to .* data goes from 0 to 25\d: scale it"):
        trusted(converted("int8_io")).run(pixels)


def test_a_few_values_beyond_the_calibrated_range_are_clipped():
    x = pictures(2)
    x[0, 0, 0, 0] = 7.0
    capped = np.minimum(x, 1.0)
    model = trusted(converted("int8_io"))
    np.testing.assert_array_equal(model.run(x), model.run(capped))


def test_raw_integers_must_be_the_files_own():
    model = trusted(converted("int8_io"))
    with pytest.raises(TypeError, match=r"run_raw takes int8.*got uint8"):
        model.run_raw(np.zeros((1, 10, 10, 2), np.uint8))
    with pytest.raises(TypeError, match="already quantized go to run_raw"):
        model.run(np.zeros((1, 10, 10, 2), np.int8))


def test_unknown_kernels_and_threads():
    with pytest.raises(ValueError, match="'xnnpack' is unknown; pass one of 'default', 'builtin', 'reference'"):
        TFLiteModel(converted("float"), "xnnpack")
    with pytest.raises(ValueError, match="threads=0"):
        TFLiteModel(converted("float"), threads=0)


# --- looking inside -------------------------------------------------------------------------------------


def test_summary_names_operators_tensors_and_their_quantization():
    model = trusted(converted("int8_io"))
    names = [op.name for op in model.summary()]
    assert names.count("CONV_2D") == 2
    assert names[-1] == "SOFTMAX"
    conv = next(op for op in model.summary() if op.name == "CONV_2D")
    weights = conv.inputs[1]
    assert (weights.dtype, weights.shape, weights.bytes) == ("int8", (4, 3, 3, 2), 72)
    assert weights.quantization.per_channel
    assert len(weights.quantization.scales) == 4
    assert conv.weight_bytes == 72 + 4 * 4
    assert any(tensor.signature[:1] == (-1,) for tensor in model.tensors())


def test_constants_of_a_float_file_are_the_weights():
    found = list(Artifact(converted("float"), "tflite").constants().values())
    dense = branched().layers[-1].get_weights()[0]
    assert any(values.shape == dense.T.shape and np.array_equal(values, dense.T) for values in found)


# --- names ----------------------------------------------------------------------------------------------


def test_outputs_that_are_equal_in_inference_keep_their_names():
    """y and Dropout(y) are one tensor in the file."""
    keras()
    import tf_keras

    given = tf_keras.Input((4,))
    y = tf_keras.layers.Dense(3, name="logits")(given)
    model = tf_keras.Model(given, [y, tf_keras.layers.Dropout(0.5, name="dropped")(y)])
    content = of_model(lambda _: model)
    x = np.random.default_rng(0).random((5, 4), np.float32)
    found, expected = trusted(content).run(x), artifact.from_keras(model).predict(x)
    assert set(found) == {"logits", "dropped"}
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-6)


def test_a_dictionary_of_outputs_has_the_same_names_in_both_formats():
    keras()
    import tf_keras

    given = tf_keras.Input((4,))
    dense = {key: tf_keras.layers.Dense(n, name=f"layer_{n}")(given) for key, n in (("zeta", 2), ("alpha", 3))}
    model = tf_keras.Model(given, dense)
    x = np.random.default_rng(0).random((5, 4), np.float32)
    found = trusted(of_model(lambda _: model)).compare(artifact.from_keras(model), x)
    assert {name: one.shape for name, one in found.items()} == {"layer_2": (5, 2), "layer_3": (5, 3)}
    assert max(one.largest for one in found.values()) < 1e-6


@pytest.mark.parametrize("numbers", [0, 1])
def test_files_without_any_axis_among_their_inputs_give_all_they_have(numbers):
    import tensorflow as tf

    specs = [tf.TensorSpec((), tf.float32, name="x")][:numbers]
    call = tf.function(lambda x=1.0: tf.constant([1.0, 2.0, 3.0]) * x).get_concrete_function(*specs)
    model = TFLiteModel(tf.lite.TFLiteConverter.from_concrete_functions([call]).convert())
    assert model.run({"x": np.float32(2)} if numbers else {}).tolist() == [
        1 + numbers,
        2 + 2 * numbers,
        3 + 3 * numbers,
    ]


def test_tensors_of_one_name_are_told_apart():
    assert session._unused("x", {}) == "x"
    assert session._unused("x", {"x": 0, "x_1": 0}) == "x_2"


# --- comparing ------------------------------------------------------------------------------------------


def test_compare_with_models_artifacts_bytes_paths_and_keras(tmp_path):
    x, model = pictures(40), trusted(converted("int8_io"))
    scale = model.outputs[0].quantization.scale
    reference = model.compare(trusted(converted("int8_io"), "reference"), x)
    raw = [trusted(converted("int8_io"), kind).run(x) for kind in ("default", "reference")]
    assert reference.steps == round(np.abs(raw[0] - raw[1]).max() / scale)
    path = Artifact(converted("float"), "tflite").save(tmp_path / "m.tflite")
    others = [converted("float"), path, str(path), artifact.load(path), trusted(converted("float"))]
    found = [model.compare(other, x) for other in others]
    expected = np.abs(model.run(x).astype(float) - trusted(converted("float")).run(x))
    assert {c.largest for c in found} == {expected.max()}
    assert {c.steps for c in found} == {None}
    assert trusted(converted("float")).compare(branched(), x).largest < 1e-6
    labels = [model.run(x).argmax(1), trusted(converted("float")).run(x).argmax(1)]
    assert found[0].differ.tolist() == np.flatnonzero(labels[0] != labels[1]).tolist()


def test_compare_refuses_what_it_cannot_compare():
    x = pictures(2)
    with pytest.raises(TypeError, match="or a tf_keras model; got list"):
        trusted(converted("float")).compare([1, 2], x)
    other = of_model(lambda k: k.Sequential([k.Input((10, 10, 2)), k.layers.Flatten(), k.layers.Dense(3)]))
    with pytest.raises(ValueError, match=r"shapes \(2, 5\) and \(2, 3\); only equal shapes"):
        trusted(converted("float")).compare(other, x)
    with pytest.raises(ArtifactError, match="not a tflite file"):
        trusted(converted("float")).compare(b"PK\x03\x04" * 9, x)


# --- signatures -----------------------------------------------------------------------------------------


KERNEL = np.arange(12, dtype=np.float32).reshape(4, 3)


@functools.cache
def there_and_back(tmp: str) -> bytes:
    """One file with two signatures: 4 numbers to 3, and 3 to 4."""
    import tensorflow as tf

    keras()  # quiet
    module = tf.Module()
    module.w = tf.Variable(KERNEL)
    spec = tf.TensorSpec((None, 4), tf.float32, name="x"), tf.TensorSpec((None, 3), tf.float32, name="code")
    encode = tf.function(lambda x: {"code": x @ module.w}).get_concrete_function(spec[0])
    decode = tf.function(lambda code: {"x": code @ tf.transpose(module.w)}).get_concrete_function(spec[1])
    tf.saved_model.save(module, tmp, signatures={"encode": encode, "decode": decode})
    return tf.lite.TFLiteConverter.from_saved_model(tmp).convert()


@pytest.fixture(scope="module")
def two_ways(tmp_path_factory) -> bytes:
    return there_and_back(str(tmp_path_factory.mktemp("saved")))


def test_signatures_run_by_name_with_any_batch(two_ways):
    model = TFLiteModel(two_ways)
    assert sorted(model.signatures) == ["decode", "encode"]
    encode, decode = model.signature("encode"), model.signature("decode")
    for count in (5, 1, 600):
        x = np.random.default_rng(count).random((count, 4), np.float32)
        np.testing.assert_allclose(encode.run(x), x @ KERNEL, rtol=1e-5)
        np.testing.assert_allclose(decode.run({"code": encode.run(x)}), x @ KERNEL @ KERNEL.T, rtol=1e-5)
        np.testing.assert_allclose(encode.prepare(x)(), x @ KERNEL, rtol=1e-5)
    with pytest.raises(ValueError, match=r"takes shape \(n, 4\).*got \(2, 3\)"):
        encode.run(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"no signature 'train'; it has '(decode|encode)', '(decode|encode)'"):
        model.signature("train")


def test_there_is_a_graph_for_each_signature(two_ways):
    model = TFLiteModel(two_ways)
    wanted = [model.signature(name).inputs[0].shape for name in model.signatures]
    assert len(wanted) == 2 and [graph.inputs[0].shape for graph in model.graphs()] == wanted
    one = TFLiteModel(little.as_tflite().content)
    assert one.graphs() == [one]


def test_a_file_without_a_batch_axis_takes_its_input_whole():
    """One second of sound in, scores out: the first axis counts samples, not examples."""
    import tensorflow as tf

    keras()
    module = tf.Module()
    module.w = tf.Variable(np.arange(12, dtype=np.float32).reshape(6, 2))
    call = tf.function(lambda sound: tf.expand_dims(tf.linalg.matvec(module.w, sound, transpose_a=True), 0))
    concrete = call.get_concrete_function(tf.TensorSpec((6,), tf.float32, name="sound"))
    model = TFLiteModel(tf.lite.TFLiteConverter.from_concrete_functions([concrete], module).convert())
    assert not model.batched
    np.testing.assert_allclose(model.run(np.ones(6, np.float32)), [[30, 36]])
    with pytest.raises(ValueError, match=r"takes exactly the shape \(6,\).*got \(12,\)"):
        model.run(np.ones(12, np.float32))
    assert trusted(converted("float")).batched


@pytest.mark.parametrize("length", [1, 16])
def test_a_row_of_fixed_length_is_one_piece_of_sound(length):
    """A filter: filled with copies of its last number, or cut into pieces, a row would give other numbers."""
    import tensorflow as tf

    call = tf.function(tf.cumsum).get_concrete_function(tf.TensorSpec((length,), tf.float32, name="x"))
    model = TFLiteModel(tf.lite.TFLiteConverter.from_concrete_functions([call]).convert())
    x = np.arange(32, dtype=np.float32)
    np.testing.assert_array_equal(model.run(x[:length]), np.cumsum(x[:length]))
    if length == 1:  # one number for each example
        np.testing.assert_array_equal(model.run(x), x)
        return
    for wrong in (x[:8], x):
        with pytest.raises(ValueError, match=rf"takes exactly the shape \(16,\).*got \({len(wrong)},\)"):
            model.run(wrong)


def test_a_single_number_may_stand_beside_a_batch_of_any_size():
    import tensorflow as tf

    specs = [tf.TensorSpec((None, 3), tf.float32, name="x"), tf.TensorSpec((), tf.float32, name="heat")]
    call = tf.function(lambda x, heat: x / heat).get_concrete_function(*specs)
    model = TFLiteModel(tf.lite.TFLiteConverter.from_concrete_functions([call]).convert())
    x = np.random.default_rng(0).random((300, 3), np.float32)
    given = {"x": x, "heat": np.float32(2)}
    np.testing.assert_array_equal(model.run(given), x / 2)
    np.testing.assert_array_equal(model.prepare(given | {"x": x[:1]}) and model.run(given | {"x": x[:1]}), x[:1] / 2)
    assert len(model.pieces(given)) == 300
    with pytest.raises(ValueError, match="'heat' is a single number"):
        model.run(given | {"heat": np.ones(300, np.float32)})


# --- files that are broken ------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.9999])
def test_truncated_files_get_a_sentence(share):
    content = converted("int8_io")
    with pytest.raises(ArtifactError, match=r"cannot be run|not a tflite file"):
        Artifact(content[: max(8, int(share * len(content)))], "tflite").predict(pictures(1))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    flips=st.lists(st.tuples(st.integers(8, 10**6), st.integers(0, 7)), min_size=1, max_size=4), seed=st.integers(0, 9)
)
def test_flipped_bits_never_end_the_caller(flips, seed):
    content = bytearray(converted("int8_io"))
    for place, bit in flips:
        content[8 + place % (len(content) - 8)] ^= 1 << bit
    try:
        outputs = Artifact(bytes(content), "tflite").predict(pictures(3, seed))
    except (ValueError, TypeError) as error:
        assert str(error)
    else:
        assert len(outputs) == 3


def test_foreign_files(tmp_path):
    path = tmp_path / "m.tflite"
    for content, sentence in [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n" * 9, "is not a tflite file"),
        (b"PK\x03\x04" * 99, "is not a tflite file"),
        (b"\x10\0\0\0M001" + bytes(99), "is not a tflite file"),
    ]:
        path.write_bytes(content)
        with pytest.raises(ArtifactError, match=sentence):
            TFLiteModel(path)
    path.write_bytes(b"\0\0\0\0TFL3" + b"\xff" * 500)
    with pytest.raises(ArtifactError, match="not a valid Flatbuffer"):
        TFLiteModel(path)
    with pytest.raises(FileNotFoundError):
        TFLiteModel(tmp_path / "none.tflite")


@functools.cache
def aborting() -> bytes:
    """LayerNormalization in int16x8: converts and allocates, then ends the process that runs it."""
    import tensorflow as tf

    k = keras()
    model = k.Sequential([k.Input((4, 8)), k.layers.LayerNormalization(), k.layers.Dense(3)])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    mode = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    converter.target_spec.supported_ops = [mode]
    generator = np.random.default_rng(0)
    converter.representative_dataset = lambda: ([generator.random((1, 4, 8), np.float32)] for _ in range(10))
    return converter.convert()


def test_a_file_that_aborts_the_process_is_reported():
    verdict = verify(aborting())
    assert not verdict.ok
    assert "ended by SIG" in verdict.reason or "exit code" in verdict.reason
    with pytest.raises(ArtifactError, match=r"cannot be run with kernels='default'"):
        Artifact(aborting(), "tflite").predict(np.zeros((1, 4, 8), np.float32))


# --- silence --------------------------------------------------------------------------------------------


def test_opening_and_running_print_nothing(capfd):
    trusted(converted("float")).run(pictures(3))
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


# --- axes of unknown length ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def any_picture():
    """A classifier of pictures of any size: two convolutions need 9 x 9 pixels at least."""
    layers = keras().layers
    return keras().Sequential([
        layers.Input((None, None, 3)), layers.Conv2D(4, 5), layers.Conv2D(4, 5), layers.GlobalAveragePooling2D(),
        layers.Dense(2),
    ])  # fmt: skip


@pytest.mark.parametrize("kernels", session.KERNELS)
def test_pictures_of_any_size_are_run(any_picture, kernels):
    model = TFLiteModel(convert(any_picture, "float32").content, kernels)
    assert model.inputs[0].shape == (-1, -1, -1, 3)
    for size in ((5, 20, 30, 3), (2, 9, 9, 3), (300, 11, 9, 3)):
        x = np.random.default_rng(0).random(size, np.float32)
        np.testing.assert_allclose(model.run(x), any_picture(x), atol=1e-5)


def test_a_picture_that_is_too_small_is_refused_and_the_next_one_run(any_picture):
    model = TFLiteModel(convert(any_picture, "float32").content)
    assert model.open_length == 64  # 1 and 8 pixels were refused
    with pytest.raises(ArtifactError, match="interpreter"):
        model.run(np.zeros((1, 4, 4, 3), np.float32))
    assert model.run(np.zeros((1, 9, 9, 3), np.float32)).shape == (1, 2)


def test_pictures_of_any_size_are_quantized_and_compared(any_picture):
    x = np.random.default_rng(0).random((20, 16, 12, 3), np.float32)
    whole = convert(any_picture, "int8", x)
    small = recipes.quantize(convert(any_picture, "float32"), "weight_only_int8")
    for made in (whole, small):
        assert made.runner.compare(any_picture, x).largest < 0.05


def test_made_up_inputs_fit_what_the_file_takes():
    model = TFLiteModel(little.as_tflite().content)
    (zeros,), (drawn,) = model.sample(3).values(), model.sample(3, np.random.default_rng(0)).values()
    assert zeros.shape == drawn.shape == (3, 6, 6, 1) and not zeros.any() and drawn.any()
    assert model.open_length == 1
