"""Every hand-written layer against its definition, against LiteRT's reference kernels and against TFLM: bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from utils.optimize.quantization import grid as q
from utils.optimize.quantization import integer_kernels as kernels
from utils.optimize.quantization.converter import convert
from utils.quantization_parameters import QuantizationParameters

SEEDS = range(4)


# ---------------------------------------------------------------- fixed-point multiplication


@pytest.mark.parametrize("seed", SEEDS)
def test_multiplier_and_shift_are_the_real_number(seed):
    real = 2.0 ** np.random.default_rng(seed).uniform(-30, 10, 1000)
    multiplier, shift = kernels.quantized_multiplier(real)
    assert np.all((multiplier >= 2**30) & (multiplier < 2**31))
    assert np.all(np.abs(multiplier * 2.0 ** (shift - 31.0) / real - 1) <= 2.0**-31)


def test_multiplier_at_the_edges():
    assert [int(v) for v in kernels.quantized_multiplier(0.0)] == [0, 0]
    assert [int(v) for v in kernels.quantized_multiplier(1.0)] == [2**30, 1]
    assert [int(v) for v in kernels.quantized_multiplier(1 - 2.0**-40)] == [2**30, 1]  # rounds up to 1.0
    assert [int(v) for v in kernels.quantized_multiplier(2.0**-40)] == [0, 0]
    for bad in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="ratio of scales"):
            kernels.quantized_multiplier(bad)


def slowly(x: int, multiplier: int, shift: int) -> int:
    """Definition, one number at a time with Python's unlimited integers: two roundings."""
    from fractions import Fraction
    from math import floor

    high = floor(Fraction(x * 2 ** max(shift, 0) * multiplier, 2**31) + Fraction(1, 2))
    rest = Fraction(high, 2 ** max(-shift, 0))
    return floor(rest + Fraction(1, 2)) if rest >= 0 else -floor(-rest + Fraction(1, 2))


@pytest.mark.parametrize("seed", SEEDS)
def test_fixed_point_product_is_its_definition_and_within_one_of_the_exact_one(seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(-(2**24), 2**24, 500)
    real = 2.0 ** rng.uniform(-24, 3, 500)
    multiplier, shift = kernels.quantized_multiplier(real)
    result = kernels.multiply_by_quantized_multiplier(x, multiplier, shift)
    assert list(result) == [slowly(int(a), int(m), int(s)) for a, m, s in zip(x, multiplier, shift, strict=True)]
    exact = x * real
    assert np.all(np.abs(result - exact) <= 1 + np.abs(exact) * 2.0**-30)


def test_rounding_twice_misses_the_nearest_integer():
    """127 / 256 = 0.496: the first rounding makes it 64 / 128, the second makes that 1."""
    multiplier, shift = kernels.quantized_multiplier(1 / 256)
    assert int(kernels.high_mul(127, multiplier)) == 64
    assert int(kernels.multiply_by_quantized_multiplier(127, multiplier, shift)) == 1
    assert int(kernels.multiply_by_quantized_multiplier(-127, multiplier, shift)) == 0  # -63.5 goes up to -63


def test_division_by_a_power_of_two_rounds_ties_away_from_zero():
    halves = np.array([-3, -2, -1, 0, 1, 2, 3])
    assert list(kernels.rounding_divide_by_power_of_two(halves, 1)) == [-2, -1, -1, 0, 1, 1, 2]
    assert list(kernels.rounding_divide_by_power_of_two(halves, 0)) == list(halves)
    assert int(kernels.high_mul(-(2**31), -(2**31))) == 2**31 - 1  # the one product that saturates


# ---------------------------------------------------------------- layers against their definition


def parameters(rng: np.random.Generator, channels: int, per_channel: bool, axis: int):
    """Quantizations of an input, of weights and of an output that fits the sums."""
    x_q = QuantizationParameters(rng.uniform(0.01, 0.1), int(rng.integers(-128, 128)))
    scale = rng.uniform(0.001, 0.01, channels) if per_channel else rng.uniform(0.001, 0.01)
    w_q = QuantizationParameters(scale, np.zeros(np.shape(scale), int), -127, 127, axis if per_channel else None)
    return x_q, w_q, QuantizationParameters(rng.uniform(0.1, 1.0), int(rng.integers(-128, 128)))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
def test_dense_is_near_the_real_matrix_product(seed, per_channel, activation):
    rng = np.random.default_rng(seed)
    x, weights = rng.integers(-128, 128, (20, 33), np.int8), rng.integers(-127, 128, (9, 33), np.int8)
    bias = rng.integers(-500, 500, 9, np.int32)
    x_q, w_q, y_q = parameters(rng, 9, per_channel, 0)
    steps = np.float64(x_q.scale) * np.float64(w_q.scale)
    real = np.float64(q.dequantize(x, x_q)) @ q.dequantize(weights, w_q).T.astype(np.float64) + bias * steps
    real = real if activation is None else np.clip(real, 0, 6 if activation == "relu6" else None)
    for fixed_point in (False, True):
        y = kernels.dense(x, weights, bias, x_q, w_q, y_q, activation, fixed_point=fixed_point)
        assert y.dtype == np.int8
        assert np.abs(y.astype(int) - q.quantize(real, y_q)).max() <= 1


def loops(x, filters, bias, x_q, w_q, y_q, strides, padding, dilation, depthwise):
    """A convolution as TF Lite's reference kernel runs it: seven nested loops."""
    out, height, width = (filters.shape[-1] if depthwise else filters.shape[0]), *filters.shape[1:3]
    reach = [d * (s - 1) + 1 for s, d in zip((height, width), dilation, strict=True)]
    if padding == "same":
        shape = [-(-n // s) for n, s in zip(x.shape[1:3], strides, strict=True)]
        before = [
            max((n - 1) * s + r - size, 0) // 2
            for n, s, r, size in zip(shape, strides, reach, x.shape[1:3], strict=True)
        ]
    else:
        shape, before = [(n - r) // s + 1 for n, r, s in zip(x.shape[1:3], reach, strides, strict=True)], [0, 0]
    total = np.zeros((len(x), *shape, out), np.int64)
    for n, i, j, c in np.ndindex(total.shape):
        for a, b in np.ndindex(height, width):
            row, column = i * strides[0] - before[0] + a * dilation[0], j * strides[1] - before[1] + b * dilation[1]
            if not (0 <= row < x.shape[1] and 0 <= column < x.shape[2]):
                continue
            centred = x[n, row, column].astype(int) - int(x_q.zero_point)
            if depthwise:
                total[n, i, j, c] += centred[c // (out // x.shape[-1])] * int(filters[0, a, b, c])
            else:
                depth = filters.shape[-1]
                group = c // (out // (x.shape[-1] // depth))
                total[n, i, j, c] += centred[group * depth : (group + 1) * depth] @ filters[c, a, b].astype(int)
    return kernels.requantize(total + bias, np.float64(x_q.scale) * np.float64(w_q.scale) / np.float64(y_q.scale), y_q)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(
    ("strides", "dilation", "groups"),
    [((1, 1), (1, 1), 1), ((2, 1), (1, 1), 2), ((1, 3), (1, 1), 1), ((1, 1), (2, 1), 1)],
)
def test_convolution_is_its_seven_loops(seed, padding, strides, dilation, groups):
    rng = np.random.default_rng(seed)
    x = rng.integers(-128, 128, (2, 7, 6, 4), np.int8)
    filters, bias = rng.integers(-127, 128, (6, 3, 2, 4 // groups), np.int8), rng.integers(-900, 900, 6, np.int32)
    x_q, w_q, y_q = parameters(rng, 6, seed % 2 == 0, 0)
    ours = kernels.conv2d(x, filters, bias, x_q, w_q, y_q, strides=strides, padding=padding, dilation=dilation)
    assert np.array_equal(ours, loops(x, filters, bias, x_q, w_q, y_q, strides, padding, dilation, False))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("repeat", [1, 2])
def test_depthwise_convolution_is_its_loops(seed, padding, repeat):
    rng = np.random.default_rng(seed)
    x = rng.integers(-128, 128, (2, 6, 7, 3), np.int8)
    filters = rng.integers(-127, 128, (1, 3, 3, 3 * repeat), np.int8)
    bias = rng.integers(-900, 900, 3 * repeat, np.int32)
    x_q, w_q, y_q = parameters(rng, 3 * repeat, seed % 2 == 0, 3)
    ours = kernels.depthwise_conv2d(x, filters, bias, x_q, w_q, y_q, strides=(2, 2), padding=padding)
    assert np.array_equal(ours, loops(x, filters, bias, x_q, w_q, y_q, (2, 2), padding, (1, 1), True))


def test_sums_in_float64_are_exact():
    """The largest sum that fits into the accumulator, and one more product, which is an error."""
    x_q, w_q, y_q = QuantizationParameters(1.0, -128), QuantizationParameters(1.0, 0), QuantizationParameters(1e6, 0)
    depth = (2**31 - 1) // (255 * 127)
    x, weights = np.full((1, depth), 127, np.int8), np.full((1, depth), 127, np.int8)
    assert int(kernels.dense(x, weights, None, x_q, w_q, y_q)[0, 0]) == round(depth * 255 * 127 / 1e6) - 2147 + 127
    with pytest.raises(OverflowError, match="int32"):
        kernels.dense(
            np.pad(x, ((0, 0), (0, 1)), mode="edge"),
            np.pad(weights, ((0, 0), (0, 1)), mode="edge"),
            None,
            x_q,
            w_q,
            y_q,
        )


def test_softmax_is_near_the_real_one():
    x = np.random.default_rng().integers(-128, 128, (200, 11), np.int8)
    for scale in (0.003, 0.1, 1.7):
        real = np.exp(np.float64(scale) * x)
        ours = kernels.softmax(x, QuantizationParameters(scale, 5)).astype(int) + 128
        assert np.abs(ours - 256 * real / real.sum(-1, keepdims=True)).max() <= 1.01


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x, w, a: kernels.dense(x.astype(float), w, None, a, a, a), TypeError, "takes integers"),
        (lambda x, w, a: kernels.dense(x, w[:, :3], None, a, a, a), ValueError, "4 inputs, the weights are for 3"),
        (lambda x, w, a: kernels.conv2d(x, w, None, a, a, a), ValueError, "conv2d takes"),
        (
            lambda x, w, a: kernels.conv2d(x.reshape(1, 1, 1, 8), np.ones((1, 1, 1, 3), np.int8), None, a, a, a),
            ValueError,
            "8 channels, the filters 3",
        ),
        (
            lambda x, w, a: kernels.conv2d(x.reshape(1, 2, 2, 2), np.ones((1, 3, 3, 2), np.int8), None, a, a, a),
            ValueError,
            "does not fit into a picture",
        ),
        (
            lambda x, w, a: kernels.max_pool(x.reshape(1, 2, 2, 2), (2, 2), a, strides=(1, 1), padding="full"),
            ValueError,
            "'same' or 'valid'",
        ),
        (lambda x, w, a: kernels.dense(x, w, None, a, a, a, "tanh"), ValueError, "tanh"),
        (lambda x, w, a: kernels.read_graph(b"no flatbuffer at all"), ValueError, "no .tflite file"),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(np.ones((2, 4), np.int8), np.ones((3, 4), np.int8), QuantizationParameters(1.0, 0))


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
    return content, kernels.quantized_input(content, x)


def test_every_tensor_equals_the_reference_kernels(converted):
    content, x = converted
    ours, theirs = kernels.run_by_hand(content, x, tensors=True), kernels.reference_tensors(content, x)
    assert len(theirs) == len(ours) > 3
    assert {name: int(np.sum(ours[name] != theirs[name])) for name in ours} == dict.fromkeys(ours, 0)
    end = kernels.read_graph(content)
    assert len(np.unique(theirs[end.tensors[end.outputs[0]].name])) > 20  # not all one number


def test_a_layer_comes_with_its_tensors(converted):
    content, x = converted
    tensors = kernels.reference_tensors(content, x)
    layer = kernels.layer_of(content, "FULLY_CONNECTED", tensors, -1)
    inputs = layer.x.reshape(len(x), -1)
    assert np.array_equal(
        kernels.dense(inputs, layer.weights, layer.bias, layer.x_q, layer.w_q, layer.y_q, layer.activation), layer.y
    )
    with pytest.raises(ValueError, match="0 layers LSTM"):
        kernels.layer_of(content, "LSTM", tensors)


def test_micro_equals_tensorflow_lite_micro(converted):
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    content, x = converted
    interpreter = runtime.Interpreter.from_bytes(content)
    theirs = []
    for picture in x[:150]:
        interpreter.set_input(picture[None], 0)
        interpreter.invoke()
        theirs.append(interpreter.get_output(0)[0])
    assert np.array_equal(kernels.run_by_hand(content, x[:150], micro=True), np.array(theirs))


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
        kernels.quantized_input(artifact, x)
    ours = kernels.run_by_hand(artifact, x)
    assert ours.dtype == np.float32
    end = kernels.read_graph(artifact.content)
    assert np.array_equal(ours, kernels.reference_tensors(artifact, x)[end.tensors[end.outputs[0]].name])


def test_what_cannot_be_run_is_named(odd_models):
    _, tanh, two, integer, x = odd_models
    with pytest.raises(NotImplementedError, match="no hand-written layer for TANH; there is one for CONV_2D"):
        kernels.run_by_hand(tanh, x.astype(np.int8))
    with pytest.raises(ValueError, match="one input; this one has 2"):
        kernels.run_by_hand(two, x.astype(np.int8))
    with pytest.raises(TypeError, match="input is int8; got float32"):
        kernels.run_by_hand(integer, x)
    with pytest.raises(ValueError, match="batch of"):
        kernels.run_by_hand(integer, np.zeros((4, 6), np.int8))
