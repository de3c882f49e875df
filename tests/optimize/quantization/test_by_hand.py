"""Whole files by hand against LiteRT's reference kernels and against TensorFlow Lite Micro: bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from tests.dense_file import dense_file
from utils.formats import ArtifactError
from utils.optimize.quantization import by_hand
from utils.optimize.quantization import integer_kernels as kernels
from utils.optimize.quantization.converter import convert
from utils.tflite_file import File

# ---------------------------------------------------------------- whole models against the interpreters


def dense_net(L):
    return [L.Dense(30, activation="relu"), L.Dense(20), L.Dense(10, activation="softmax")], (40,)


def conv_net(L):
    return [
        L.ZeroPadding2D(2),
        L.Conv2D(8, 5, strides=(2, 1), groups=2, bias_initializer="normal"),
        L.BatchNormalization(),
        L.ReLU(),
        L.DepthwiseConv2D(3, depth_multiplier=2),
        L.Flatten(),
        L.Dense(5, activation="relu"),
    ], (12, 11, 4)


def pooled_net(L):
    return [
        L.Conv2D(6, 3, padding="same", activation="relu6"),
        L.MaxPool2D(3, strides=2, padding="same"),
        L.Conv2D(8, (1, 3), strides=(1, 2), padding="same"),
        L.AveragePooling2D(2, strides=2, padding="same"),
        L.SeparableConv2D(9, 3, padding="same"),
        L.GlobalAveragePooling2D(),
        L.Dense(4, activation="softmax"),
    ], (13, 10, 1)


def branched_net(L):
    import tf_keras

    inputs = L.Input((10, 10, 3))
    a = L.Conv2D(8, 3, padding="same", activation="relu", strides=2)(inputs)
    b = L.Conv2D(8, 3, padding="same")(a)
    both = L.ReLU()(L.Add()([a, b]))
    joined = L.Concatenate()([L.AveragePooling2D(2)(both), L.MaxPool2D(2)(both)])
    return tf_keras.Model(inputs, L.Dense(7)(L.Flatten()(joined)))


def end(content):
    """The name of the output tensor."""
    return File(content).outputs()[0].name


@pytest.fixture(
    scope="module",
    params=[
        (net, per_channel) for net in (dense_net, conv_net, pooled_net, branched_net) for per_channel in (True, False)
    ],
    ids=lambda p: f"{p[0].__name__}-{p[1]}",
)
def converted(request):
    """(the bytes of an int8 model, a batch of int8 inputs)."""
    import tf_keras

    build, per_channel = request.param
    tf_keras.utils.set_random_seed(3)
    model = build(tf_keras.layers)
    if isinstance(model, tuple):
        layers, shape = model
        model = tf_keras.Sequential([tf_keras.layers.Input(shape), *layers])
    x = np.random.default_rng(3).normal(size=(300, *model.input_shape[1:])).astype(np.float32)
    content = convert(model, "int8", x[:40], per_channel=per_channel).content
    return content, by_hand.quantized_input(content, x)


def test_every_tensor_equals_the_reference_kernels(converted):
    content, x = converted
    theirs = by_hand.reference_tensors(content, x)
    assert by_hand.run(content, x, tensors=True).keys() == theirs.keys() and len(theirs) > 3
    assert by_hand.differences(content, x) == dict.fromkeys(theirs, 0)
    assert len(np.unique(theirs[end(content)])) > 20  # not all one number


def test_differences_count_what_differs(converted, monkeypatch):
    content, x = converted
    twisted = {name: value + (name == end(content)) for name, value in by_hand.reference_tensors(content, x).items()}
    monkeypatch.setattr(by_hand, "reference_tensors", lambda *_: twisted)
    found = by_hand.differences(content, x)
    assert found.pop(end(content)) > len(x) and not any(found.values())


def test_a_layer_comes_with_its_tensors(converted):
    content, x = converted
    tensors = by_hand.reference_tensors(content, x)
    layer = by_hand.layer_of(content, "FULLY_CONNECTED", tensors, -1)
    inputs = layer.x.reshape(len(x), -1)
    assert np.array_equal(
        kernels.dense(inputs, layer.weights, layer.bias, layer.x_q, layer.w_q, layer.y_q, layer.activation), layer.y
    )
    with pytest.raises(ValueError, match="0 layers LSTM"):
        by_hand.layer_of(content, "LSTM", tensors)


def test_micro_equals_tensorflow_lite_micro(converted):
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    content, x = converted
    interpreter = runtime.Interpreter.from_bytes(content)
    theirs = []
    for picture in x[:150]:
        interpreter.set_input(picture[None], 0)
        interpreter.invoke()
        theirs.append(interpreter.get_output(0)[0])
    assert np.array_equal(by_hand.run(content, x[:150], micro=True), np.array(theirs))


@pytest.fixture(scope="module")
def odd_models():
    """Models with float ends, with an operator that nobody wrote here, and with two inputs."""
    import tf_keras

    L = tf_keras.layers
    x = np.random.default_rng(1).random((60, 5), dtype=np.float32)
    floats = tf_keras.Sequential([L.Input((5,)), L.Dense(6, activation="relu"), L.Dense(3)])
    tanh = tf_keras.Sequential([L.Input((5,)), L.Dense(6, activation="tanh"), L.Dense(3)])
    a, b = L.Input((5,)), L.Input((5,))
    two = tf_keras.Model([a, b], L.Dense(2)(L.Add()([a, b])))
    return (
        convert(floats, "int8_float_io", x),
        convert(tanh, "int8", x),
        convert(two, "int8", [x, x]),
        convert(floats, "int8", x),
        x,
    )


def test_float_ends_work_and_artifacts_are_accepted(odd_models):
    artifact, *_, x = odd_models
    with pytest.raises(ValueError, match="not quantized"):
        by_hand.quantized_input(artifact, x)
    ours = by_hand.run(artifact, x)
    assert ours.dtype == np.float32
    assert np.array_equal(ours, by_hand.reference_tensors(artifact, x)[end(artifact.content)])


def test_what_cannot_be_run_is_named(odd_models):
    _, tanh, two, integer, x = odd_models
    with pytest.raises(NotImplementedError, match="no hand-written layer for TANH; there is one for CONV_2D"):
        by_hand.run(tanh, x.astype(np.int8))
    with pytest.raises(ValueError, match="one input; this one has 2"):
        by_hand.run(two, x.astype(np.int8))
    with pytest.raises(TypeError, match="input is int8; got float32"):
        by_hand.run(integer, x)
    with pytest.raises(ValueError, match="batch of"):
        by_hand.run(integer, np.zeros((4, 6), np.int8))
    with pytest.raises(ValueError, match="batch of"):
        by_hand.quantized_input(integer, np.zeros((4, 6)))
    with pytest.raises(ValueError, match="one input; this one has 2"):
        by_hand.quantized_input(two, x)
    for model in (None, "model.tflite", [1]):
        with pytest.raises(TypeError, match=r"pass the bytes of a \.tflite file, or its Artifact"):
            by_hand.run(model, x)


def test_of_two_outputs_none_is_left_out():
    import tf_keras

    L = tf_keras.layers
    a, x = L.Input((5,)), np.random.default_rng(2).random((60, 5), dtype=np.float32)
    file = convert(tf_keras.Model(a, [L.Dense(2)(a), L.Dense(3)(a)]), "int8", x)
    integers = by_hand.quantized_input(file, x)
    with pytest.raises(ValueError, match="has 2 outputs; pass tensors=True"):
        by_hand.run(file, integers)
    assert set(by_hand.differences(file, integers).values()) == {0}


def test_dynamic_range_runs_by_hand(odd_models):
    """Two dense layers: the second gets what the first computed."""
    import tf_keras

    x = odd_models[-1]
    L = tf_keras.layers
    hidden, last = L.Dense(300, "relu", bias_initializer="normal"), L.Dense(40, bias_initializer="normal")
    model = tf_keras.Sequential([L.Input((5,)), hidden, last])
    content = convert(model, "dynamic").content
    assert sorted(t.dtype for t, _ in File(content).constants()) == ["float32", "float32", "int8", "int8"]
    ours, theirs = by_hand.run(content, x), by_hand.reference_tensors(content, x)[end(content)]
    assert np.abs(ours - theirs).max() <= 4 * np.spacing(np.abs(theirs).max())
    with pytest.raises(NotImplementedError, match="TensorFlow Lite Micro has no such kernel"):
        by_hand.run(content, x, micro=True)
    with pytest.raises(NotImplementedError, match="int8 weights only"):
        by_hand.run(convert(model, "float32").content, x)


@pytest.mark.parametrize("mode", ["dynamic", "float32"])
@pytest.mark.parametrize("name", ["CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "MEAN", "SOFTMAX", "PAD"])
def test_float_layers_are_named(mode, name):
    import tf_keras

    L = tf_keras.layers
    layer = {
        "CONV_2D": L.Conv2D(32, 3),
        "DEPTHWISE_CONV_2D": L.DepthwiseConv2D(3),
        "MAX_POOL_2D": L.MaxPooling2D(2),
        "MEAN": L.GlobalAveragePooling2D(),
        "SOFTMAX": L.Softmax(),
        "PAD": L.ZeroPadding2D(1),
    }[name]
    content = convert(tf_keras.Sequential([L.Input((6, 6, 8)), layer]), mode).content
    with pytest.raises(NotImplementedError, match=f"{name} with inputs of float32 is not run"):
        by_hand.run(content, np.zeros((2, 6, 6, 8), np.float32))


def test_a_quantized_input_has_the_kernel_s_ties():
    """QUANTIZE divides float32 by float32; ties and their neighbours go where AffineQuantize sends them."""
    import tf_keras

    L = tf_keras.layers
    model = tf_keras.Sequential([L.Input((511,)), L.Dense(2)])
    x = np.linspace(0, 1, 511, dtype=np.float32)[None]
    content = convert(model, "int8_float_io", x).content
    scale = np.float32(File(content).operators()[0].outputs[0].quantization.scale)
    ties = (np.arange(511, dtype=np.float32) / 2 * scale)[None]
    for rows in (ties, np.nextafter(ties, np.float32(9)), np.nextafter(ties, np.float32(-9))):
        assert set(by_hand.differences(content, rows).values()) == {0}


def test_what_is_no_file_is_refused():
    for call in (by_hand.run, by_hand.reference_tensors, by_hand.quantized_input):
        with pytest.raises(ArtifactError, match="TFL3"):
            call(b"no flatbuffer at all", np.zeros((1, 2), np.float32))


def test_a_file_with_float_ends_and_no_bias():
    weights = np.array([[1, -2, 3]], np.int8)
    content = dense_file(weights, [0.5], activation="relu")
    x = np.array([[0, 0, 255], [-255, 0, 0], [0, 0, 0]], np.float32)
    assert by_hand.run(content, x).ravel().tolist() == [382.5, 0, 0]
