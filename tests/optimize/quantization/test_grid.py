"""Affine quantization keeps its promises on random numbers, and on the weights of models."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from utils.optimize.quantization import grid as q
from utils.quantization_parameters import QuantizationParameters

SEEDS = range(6)


def numbers(seed: int, shape=(7, 5, 4)) -> np.ndarray:
    """Random numbers of a random scale, offset and shape of distribution."""
    rng = np.random.default_rng(seed)
    draw = [rng.normal, rng.laplace, rng.uniform][seed % 3]
    return (draw(size=shape) * 10 ** rng.uniform(-3, 3) + rng.normal()).astype(np.float32)


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("axis", [None, 0, -1])
@pytest.mark.parametrize("bits", [2, 4, 8, 12])
def test_round_trip_error_is_at_most_half_a_step(seed, symmetric, axis, bits):
    x = numbers(seed)
    chosen = q.choose(x, bits, symmetric=symmetric, axis=axis)
    step, _ = chosen.aligned(x.shape)
    # The zero point is rounded, which shifts the marks by half a step at most: so the ends stay within half a step too.
    assert np.all(np.abs(x - q.round_trip(x, chosen)) <= step * 0.5001)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("bits", [2, 3, 8, 16])
def test_zero_is_exact_even_if_the_numbers_are_far_from_it(seed, bits):
    x = np.abs(numbers(seed)) + 5
    for chosen in (q.choose(x, bits), q.choose(-x, bits), q.choose(x, bits, symmetric=True, axis=1)):
        zeros = np.zeros_like(x)
        assert np.array_equal(q.round_trip(zeros, chosen), zeros)
        assert np.array_equal(q.quantize(zeros, chosen), np.broadcast_to(chosen.aligned(x.shape)[1], x.shape))


@pytest.mark.parametrize("seed", SEEDS)
def test_quantization_is_monotone_and_the_round_trip_idempotent(seed):
    x = np.sort(numbers(seed).ravel())
    chosen = q.choose(x, 5)
    once = q.round_trip(x, chosen)
    assert np.all(np.diff(q.quantize(x, chosen).astype(int)) >= 0)
    assert np.array_equal(q.round_trip(once, chosen), once)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("bits", [3, 8])
def test_per_channel_is_no_worse_than_per_tensor_when_channels_differ(seed, bits):
    channels = np.random.default_rng(seed).normal(size=(64, 64)) * 2.0 ** np.arange(64)[None, ::-1] ** 0.5
    per_tensor = q.round_trip(channels, q.choose(channels, bits, symmetric=True))
    per_channel = q.round_trip(channels, q.choose(channels, bits, symmetric=True, axis=1))
    assert q.mse(channels, per_channel) < q.mse(channels, per_tensor)


def test_each_bit_gives_six_decibels():
    x = np.random.default_rng().uniform(-1, 1, 200_000)
    ratios = [q.sqnr_db(x, q.round_trip(x, q.choose(x, bits))) for bits in range(3, 13)]
    assert np.all(np.abs(np.diff(ratios) - 20 * np.log10(2)) < 0.7)


def test_numbers_are_those_of_the_textbook():
    chosen = q.from_range(-1.0, 3.0, 8)
    assert float(chosen.scale) == pytest.approx(4 / 255)
    assert int(chosen.zero_point) == -64  # -128 + 1 / (4 / 255) = -64.25
    symmetric = q.from_range(-1.0, 3.0, 8, symmetric=True)
    assert (float(symmetric.scale), int(symmetric.zero_point), symmetric.qmin) == (pytest.approx(3 / 127), 0, -127)
    assert q.from_range(-1, 1, 4, symmetric=True, narrow=False).qmin == -8
    assert q.from_range(-1, 1, 4, narrow=True).qmin == -7


@pytest.mark.parametrize(("bits", "expected"), [(2, np.int8), (8, np.int8), (9, np.int16), (16, np.int16)])
def test_integers_have_the_smallest_type(bits, expected):
    assert q.quantize([0.1, -0.2], q.from_range(-1, 1, bits)).dtype == expected


def test_ties_go_away_from_zero_unlike_numpys():
    assert list(q.round_half_away(np.array([0.5, -0.5, 1.5, 2.5, -2.5, 2.4]))) == [1, -1, 2, 3, -3, 2]
    just_below = np.float32(0.49999997)
    assert q.round_half_away(just_below) == 0  # adding 0.5 in float32 would give 1
    assert int(q.quantize(2.5, QuantizationParameters(1.0, 0))) == 3


def test_a_constant_zero_array_is_kept():
    for symmetric in (False, True):
        chosen = q.choose(np.zeros((3, 2)), symmetric=symmetric, axis=1)
        assert np.array_equal(q.round_trip(np.zeros((3, 2)), chosen), np.zeros((3, 2)))


def test_values_outside_the_range_saturate():
    chosen = q.from_range(-1, 1)
    assert list(q.quantize([-9.0, 9.0], chosen)) == [-128, 127]


@pytest.mark.parametrize("seed", SEEDS)
def test_clipping_and_rounding_add_up_to_the_whole_error(seed):
    x = numbers(seed)
    for chosen in (q.from_range(np.quantile(x, 0.1), np.quantile(x, 0.9), 4), q.choose(x, 4, axis=0)):
        clipping, rounding = q.error_parts(x, chosen)
        assert clipping + rounding == pytest.approx(q.mse(x, q.round_trip(x, chosen)))
    assert clipping < 1e-3 * rounding  # the whole range: nothing but the ends' rounding lies outside


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_best_clip_is_never_worse_and_at_few_bits_better(seed, symmetric):
    x = np.random.default_rng(seed).laplace(size=20_000)
    gain = {}
    for bits in (3, 8):
        whole = q.mse(x, q.round_trip(x, q.choose(x, bits, symmetric=symmetric)))
        gain[bits] = whole / q.mse(x, q.round_trip(x, q.best_clip(x, bits, symmetric=symmetric)))
    assert gain[8] >= 1
    assert gain[3] > 1.5


def test_decibels_and_clip_gain_are_their_definitions():
    x = np.random.default_rng(5).laplace(size=(400, 3))
    wanted = q.sqnr_db(x, q.round_trip(x, q.choose(x, 4, symmetric=True, axis=1)))
    assert q.decibels(x, 4, symmetric=True, axis=1) == wanted
    clipped = q.mse(x, q.round_trip(x, q.best_clip(x, 3)))
    assert q.clip_gain(x, 3) == pytest.approx(q.mse(x, q.round_trip(x, q.choose(x, 3))) / clipped)
    assert q.clip_gain(x, 3) > 1


@pytest.mark.parametrize("constant", [0.0, 5.0, -0.3, 1e-30, 1e30])
@pytest.mark.parametrize("bits", [2, 8, 16])
def test_a_constant_gains_nothing_by_clipping(constant, bits):
    assert q.clip_gain(np.full(50, constant, np.float32), bits) == 1.0


def test_the_narrowest_ranges_become_exact_zeros_and_not_infinite():
    for symmetric in (True, False):
        chosen = q.choose([0.0, 1e-44], 8, symmetric=symmetric)
        assert chosen.scale == 1 and not q.round_trip([0.0, 1e-44], chosen).any()


def test_bias_integers_come_back_to_float32s_last_bit():
    parameters = QuantizationParameters.of_type(0.1, 0, np.int32)
    integers = np.array([2**24 + 1, -(2**31), 2**31 - 1])
    assert np.array_equal(q.dequantize(integers, parameters), (integers * np.float64(np.float32(0.1))).astype("f"))


def test_numbers_that_are_not_real_are_refused():
    for x in (["a"], [1j]):
        with pytest.raises(TypeError, match="pass real numbers"):
            q.choose(x)


def test_sqnr_of_a_perfect_and_of_no_signal():
    assert q.sqnr_db([1.0, 2.0], [1.0, 2.0]) == float("inf")
    with pytest.raises(ValueError, match="all zeros"):
        q.sqnr_db([0.0], [1.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: q.choose(np.array([])), "empty array"),
        (lambda: q.choose([1.0, np.nan]), "1 of 2 values are NaN"),
        (lambda: q.choose([np.inf]), "infinite"),
        (lambda: q.choose([1.0], bits=1), "from 2 to 16"),
        (lambda: q.choose([1.0], bits=8.0), "whole number"),
        (lambda: q.from_range(-np.inf, 1), "not finite"),
        (lambda: QuantizationParameters(0.0, 0), "above 0"),
        (lambda: QuantizationParameters(1.0, 300), "must lie in"),
        (lambda: QuantizationParameters(1.0, 0, 5, 5), "below qmax"),
        (lambda: QuantizationParameters([1.0, 2.0], 0), "axis"),
        (lambda: q.quantize(np.ones((3, 4)), QuantizationParameters([1.0, 2.0], [0, 0], axis=1)), "4 channels"),
        (lambda: q.dequantize(np.ones(2), QuantizationParameters([1.0, 2.0], [0, 0], axis=1)), "0 channels"),
        (lambda: q.quantize([1.0, np.nan], q.from_range(-1, 1)), "1 of 2 values are NaN"),
        (lambda: q.from_range(3, -1), "smaller end first"),
        (lambda: q.from_range(-1, 1, True), "from 2 to 16"),
        (lambda: q.choose([[1.0]], axis=2), "axis is 2"),
        (lambda: q.choose([[1.0]], axis=(0, 1)), r"axis is \(0, 1\); pass one axis"),
        (lambda: q.choose([[1.0]], axis=1.0), "axis is 1.0"),
        (lambda: q.choose([[1.0]], axis=True), "axis is True"),
        (lambda: q.mse(np.ones(3), np.ones((3, 1))), "have shape"),
        (lambda: q.best_clip([1.0], candidates=0), "at least 1"),
        (lambda: q.choose([1.0], bits=17), "from 2 to 16"),
        (lambda: q.choose([[1.0]], axis=-3), "axis is -3"),
        (lambda: q.from_range(np.array([0.0, 3.0]), np.array([1.0, -1.0]), axis=0), "smaller end first"),
        (lambda: q.from_range(np.array([-1.0, -np.inf]), np.ones(2), axis=0), "not finite"),
        (lambda: q.from_range(-1, np.nan), "not finite"),
    ],
)
def test_bad_numbers_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_zero_point_that_is_no_whole_number_is_refused():
    with pytest.raises(TypeError, match="whole number"):
        QuantizationParameters(1.0, 0.5)


# ---------------------------------------------------------------- weights of a model


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("kind", ["Conv2D", "DepthwiseConv2D"])
def test_a_folded_kernel_does_what_convolution_and_normalization_do(keras, kind, scale):
    L, rng = keras.layers, np.random.default_rng(2)
    layer = L.Conv2D(6, 3) if kind == "Conv2D" else L.DepthwiseConv2D(3, depth_multiplier=2)
    norm = L.BatchNormalization(scale=scale, center=False)
    model = keras.Sequential([L.Input((5, 5, 3)), layer, norm])
    norm.set_weights([rng.uniform(0.5, 2, 6) * ("mean" not in w.name) for w in norm.weights])
    x = rng.normal(size=(2, 5, 5, 3)).astype(np.float32)
    wanted = model(x, training=False).numpy()
    layer.set_weights([q.folded_kernel(layer, norm), np.zeros(6)])
    assert np.allclose(layer(x).numpy(), wanted, atol=1e-5)


def layer_kinds(L) -> dict:
    """{kind: (input shape, layer, {end of an array's name: axes that have scales of their own})}; all else stays."""
    gates = {"/kernel": (1,), "recurrent_kernel": (1,)}
    return {
        "Conv1D": ((8, 3), L.Conv1D(4, 3), {"kernel": (2,)}),
        "Conv2D": ((6, 6, 3), L.Conv2D(4, 3), {"kernel": (3,)}),
        "grouped": ((6, 6, 4), L.Conv2D(4, 3, groups=2), {"kernel": (3,)}),
        "Conv3D": ((5, 5, 5, 2), L.Conv3D(3, 2), {"kernel": (4,)}),
        "Conv1DTranspose": ((8, 3), L.Conv1DTranspose(4, 3), {"kernel": (1,)}),
        "Conv2DTranspose": ((6, 6, 3), L.Conv2DTranspose(4, 3), {"kernel": (2,)}),
        "Conv3DTranspose": ((4, 4, 4, 3), L.Conv3DTranspose(2, 2), {"kernel": (3,)}),
        "DepthwiseConv2D": ((6, 6, 3), L.DepthwiseConv2D(3, depth_multiplier=2), {"depthwise_kernel": (2, 3)}),
        "SeparableConv2D": ((6, 6, 3), L.SeparableConv2D(4, 3), {"depthwise_kernel": (2, 3), "pointwise_kernel": (3,)}),
        "Dense": ((5,), L.Dense(4), {"kernel": (1,)}),
        "EinsumDense": ((4, 3), L.EinsumDense("abc,cde->abde", (4, 2, 5), bias_axes="de"), {"kernel": (1, 2)}),
        "Embedding": ((4,), L.Embedding(9, 5), {"embeddings": (1,)}),
        "LSTM": ((4, 3), L.LSTM(2), gates),
        "GRU": ((4, 3), L.GRU(2), gates),
        "SimpleRNN": ((4, 3), L.SimpleRNN(2), gates),
        "Bidirectional": ((4, 3), L.Bidirectional(L.GRU(2)), gates),
        "ConvLSTM1D": ((3, 6, 2), L.ConvLSTM1D(3, 3), {"/kernel": (2,), "recurrent_kernel": (2,)}),
        "TimeDistributed": ((4, 3), L.TimeDistributed(L.Dense(5)), {"kernel": (1,)}),
        "BatchNormalization": ((6, 6, 3), L.BatchNormalization(), {}),
        "LayerNormalization": ((6, 5), L.LayerNormalization(axis=(1, 2)), {}),
        "PReLU": ((6, 6, 3), L.PReLU(alpha_initializer="normal"), {}),
    }


KINDS = [
    *("Conv1D", "Conv2D", "grouped", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"),
    *("DepthwiseConv2D", "SeparableConv2D", "Dense", "EinsumDense", "Embedding", "LSTM", "GRU", "SimpleRNN"),
    *("Bidirectional", "ConvLSTM1D", "TimeDistributed", "BatchNormalization", "LayerNormalization", "PReLU"),
]


def by_hand(kernel: np.ndarray, axes: tuple[int, ...], bits: int) -> np.ndarray:
    """Each slice on the grid of its largest absolute value."""
    rounded, top = np.empty_like(kernel), 2 ** (bits - 1) - 1
    for index in np.ndindex(*(kernel.shape[axis] for axis in axes)):
        place = [slice(None)] * kernel.ndim
        for axis, i in zip(axes, index, strict=True):
            place[axis] = i
        part = kernel[tuple(place)]
        scale = np.float32(np.abs(part).max() / top)
        rounded[tuple(place)] = np.round(part / scale) * scale
    return rounded


def with_known_weights(keras, shape, layer, trainable=True):
    """The layer and a dense one behind it; no weight lies near the middle between two marks."""
    model = keras.Sequential([keras.Input(shape), layer, keras.layers.Flatten(), keras.layers.Dense(2)])
    rng = np.random.default_rng(3)
    model.set_weights([rng.integers(-90, 91, w.shape) * 0.01 + 0.001 for w in model.weights])
    model.trainable = trainable
    return model


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_quantized_kernels_equal_a_computation_by_hand_and_all_else_stays(keras, kind, per_channel):
    shape, layer, axes = layer_kinds(keras.layers)[kind]
    model = with_known_weights(keras, shape, layer, trainable=kind != "Conv2D")  # frozen layers are quantized too
    before = model.get_weights()
    copy = q.with_quantized_weights(model, 6, per_channel=per_channel)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    found = set()
    for weight, old, new in zip(model.weights, before, copy.get_weights(), strict=True):
        name = weight.name.split(":")[0]
        last_kernel = name == model.layers[-1].name + "/kernel"
        end = None if last_kernel else next((e for e in axes if name.endswith(e)), None)
        if end is None and not last_kernel:
            assert np.array_equal(old, new), name
            continue
        found.add(end)
        wanted = by_hand(old, (axes[end] if end else (1,)) if per_channel else (), 6)
        # Float32 may put a value that lies near the middle on the other side: one step, in few places.
        assert np.mean(~np.isclose(new, wanted, atol=1e-6)) < 0.02, name
        assert not np.array_equal(old, new), name
    assert found == {*axes, None}


def test_attention_has_a_scale_for_each_head_and_key(keras):
    start = keras.Input((4, 6))
    model = keras.Model(start, keras.layers.MultiHeadAttention(2, 3, name="attention")(start, start))
    model.set_weights([np.random.default_rng(4).normal(size=w.shape) for w in model.weights])
    copy = q.with_quantized_weights(model, 4)
    for weight, old, new in zip(model.weights, model.get_weights(), copy.get_weights(), strict=True):
        if "kernel" not in weight.name:
            assert np.array_equal(old, new)
            continue
        axes = (2,) if "attention_output" in weight.name else (1, 2)
        np.testing.assert_allclose(new, by_hand(old, axes, 4), atol=1e-6)


def test_a_model_without_known_kernels_and_layers_that_are_not_known(keras):
    class Mine(keras.layers.Layer):
        def build(self, shape):
            self.table = self.add_weight("table", shape=(shape[-1], 2))

        def call(self, x):
            return x @ self.table

    with pytest.raises(ValueError, match="no kernels"):
        q.with_quantized_weights(keras.Sequential([keras.Input((3,)), keras.layers.ReLU()]), 4)
    model = keras.Sequential([keras.Input((3,)), Mine(name="mine"), keras.layers.Dense(2)])
    with pytest.warns(UserWarning, match="not quantized, as their layers are not known: mine/table"):
        copy = q.with_quantized_weights(model, 2)
    assert np.array_equal(copy.get_weights()[0], model.get_weights()[0])
    model.set_weights([w * np.nan for w in model.get_weights()])
    with pytest.raises(ValueError, match="NaN"):
        q.with_quantized_weights(model, 4)


@pytest.mark.parametrize("kind", ["Conv2DTranspose", "Dense", "Conv1D"])
def test_folding_follows_the_output_channels_of_the_kind(keras, kind):
    shape, layer, _ = layer_kinds(keras.layers)[kind]
    norm, rng = keras.layers.BatchNormalization(), np.random.default_rng(2)
    model = keras.Sequential([keras.Input(shape), layer, norm])
    norm.set_weights([rng.uniform(0.5, 2, 4), np.zeros(4), np.zeros(4), rng.uniform(0.5, 2, 4)])
    x = rng.normal(size=(2, *shape)).astype(np.float32)
    wanted = model(x, training=False).numpy()
    layer.set_weights([q.folded_kernel(layer, norm), np.zeros(4)])
    assert np.allclose(layer(x).numpy(), wanted, atol=1e-5)


def test_folding_refuses_what_has_no_one_kernel_or_another_number_of_channels(keras):
    L = keras.layers
    layers = [L.SeparableConv2D(4, 3), L.BatchNormalization(), L.Conv2D(5, 3)]
    keras.Sequential([keras.Input((9, 9, 3)), *layers])
    with pytest.raises(ValueError, match="has 2 kernels"):
        q.folded_kernel(layers[0], layers[1])
    with pytest.raises(ValueError, match=r"has 5 output channels, the normalization .* 4"):
        q.folded_kernel(layers[2], layers[1])
    with pytest.raises(TypeError, match="BatchNormalization"):
        q.scale_and_shift(layers[2])
    layers = [L.Conv2D(4, 1), L.BatchNormalization(axis=1)]  # four rows, and four channels
    keras.Sequential([keras.Input((4, 6, 2)), *layers])
    with pytest.raises(ValueError, match=r"has axis \[1\]; the channels of .* are axis 3"):
        q.folded_kernel(*layers)


# ---------------------------------------------------------------- each option does what it says


def test_one_candidate_is_the_whole_range_and_more_are_evenly_spaced_parts():
    x = np.random.default_rng(8).laplace(size=5_000)
    for symmetric in (False, True):
        whole = q.choose(x, 3, symmetric=symmetric)
        assert q.best_clip(x, 3, symmetric=symmetric, candidates=1) == whole
        assert q.clip_gain(x, 3, symmetric=symmetric, candidates=1) == 1
        part = float(q.best_clip(x, 3, symmetric=symmetric, candidates=4).scale / whole.scale)
        assert part in (pytest.approx(0.25), pytest.approx(0.5), pytest.approx(0.75))


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", [3, 12])
def test_the_gain_of_clipping_is_one_error_divided_by_the_other(bits, symmetric):
    x = np.random.default_rng(9).laplace(loc=0.4, size=2_000)
    before = q.mse(x, q.round_trip(x, q.choose(x, bits, symmetric=symmetric)))
    for candidates in (5, 40):
        clipped = q.best_clip(x, bits, symmetric=symmetric, candidates=candidates)
        wanted = before / q.mse(x, q.round_trip(x, clipped))
        assert q.clip_gain(x, bits, symmetric=symmetric, candidates=candidates) == pytest.approx(wanted)


@pytest.mark.parametrize("value", [0.3, -7.7, 1e4])
def test_two_values_that_lie_on_the_grid_gain_nothing_by_clipping(value):
    assert q.clip_gain(np.repeat(np.float32([0, value]), 20), 8) == pytest.approx(1, abs=1e-3)


def test_decibels_pass_each_option_on():
    x = np.random.default_rng(10).normal(size=(500, 3)) * [1, 5, 25] + 1
    for bits, symmetric, axis in ((8, False, None), (4, True, None), (4, False, 1), (5, True, 1)):
        wanted = q.sqnr_db(x, q.round_trip(x, q.choose(x, bits, symmetric=symmetric, axis=axis)))
        assert q.decibels(x, bits, symmetric=symmetric, axis=axis) == wanted


def test_ten_decibels_are_a_tenth_of_the_power():
    assert q.sqnr_db([3.0, -1.0], [2.0, -1.0]) == pytest.approx(10)
    assert q.mse([3.0, -1.0], [1.0, -2.0]) == 2.5


def test_a_narrow_grid_leaves_the_lowest_integer_out_and_is_the_default_of_symmetric_ones():
    x = np.array([[-2.0, 1.0], [0.5, 4.0]])
    for symmetric, narrow, low in ((False, None, -8), (False, True, -7), (True, None, -7), (True, False, -8)):
        found = q.choose(x, 4, symmetric=symmetric, narrow=narrow, axis=1)
        assert (found.qmin, found.qmax, found.axis) == (low, 7, 1)
        assert found.scale == pytest.approx([2 / 7, 4 / 7] if symmetric else [2.5 / (7 - low), 4 / (7 - low)])


def test_clipping_is_the_error_of_what_lies_outside():
    grid = q.from_range(0, 255, 8)  # steps of 1
    assert q.error_parts([0.0, 255.0, 100.25, 99.0], grid) == (0, 0.25**2 / 4)
    assert q.error_parts([257.0, -3.0, 7.5, 8.0], grid) == ((4 + 9) / 4, 0.25 / 4)


# ---------------------------------------------------------------- normalization and layers that are not known


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("scale", [True, False])
def test_normalization_in_inference_is_a_scale_and_a_shift(keras, scale, center):
    norm, draw = keras.layers.BatchNormalization(scale=scale, center=center, epsilon=0.1), np.random.default_rng(11)
    norm.build((None, 4))
    norm.set_weights([draw.uniform(0.5, 2, 4) for _ in norm.weights])
    factor, shift = q.scale_and_shift(norm)
    x = draw.normal(size=(6, 4)).astype(np.float32)
    assert np.allclose(x * factor + shift, norm(x, training=False).numpy(), atol=1e-5)


def test_what_has_no_moving_variance_is_no_normalization(keras):
    for layer in (keras.layers.Dense(2), keras.layers.LayerNormalization()):
        with pytest.raises(TypeError, match=f"norm is a {type(layer).__name__}"):
            q.scale_and_shift(layer)


def test_only_tables_of_unknown_layers_are_warned_of(keras):
    class Mine(keras.layers.Layer):
        def build(self, shape):
            self.vector = self.add_weight("vector", shape=(shape[-1],))
            if self.name == "table":
                self.table = self.add_weight("table", shape=(shape[-1], shape[-1]))

        def call(self, x):
            return x + self.vector

    def quantized(name):
        q.with_quantized_weights(keras.Sequential([keras.Input((3,)), Mine(name=name), keras.layers.Dense(2)]), 4)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quantized("vector")
    with pytest.warns(UserWarning, match="are not known: table/table(:0)?$"):
        quantized("table")


@pytest.mark.parametrize("bits", [2, 3, 8])
@pytest.mark.parametrize("per_channel", [True, False])
def test_a_kernel_has_no_more_values_than_its_grid(keras, bits, per_channel):
    model = keras.Sequential([keras.Input((300,)), keras.layers.Dense(2)])
    kernel = q.with_quantized_weights(model, bits, per_channel=per_channel).get_weights()[0]
    for column in kernel.T:
        assert 2 ** (bits - 1) < len(np.unique(column)) <= 2**bits - 1
    if bits > 2:  # else all are the ends or zero
        assert per_channel == (np.isin(kernel[:, 0], kernel[:, 1]).mean() < 0.5)
