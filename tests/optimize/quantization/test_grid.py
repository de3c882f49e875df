"""Affine quantization keeps its promises on random numbers, and on the weights of models."""

from __future__ import annotations

import numpy as np
import pytest

from utils.optimize.quantization import grid as q

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
    step, _ = chosen.aligned(x.ndim)
    # The zero point is rounded, which shifts the marks by half a step at most: so the ends stay within half a step too.
    assert np.all(np.abs(x - q.fake_quantize(x, chosen)) <= step * 0.5001)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("bits", [2, 3, 8, 16])
def test_zero_is_exact_even_if_the_numbers_are_far_from_it(seed, bits):
    x = np.abs(numbers(seed)) + 5
    for chosen in (q.choose(x, bits), q.choose(-x, bits), q.choose(x, bits, symmetric=True, axis=1)):
        zeros = np.zeros_like(x)
        assert np.array_equal(q.fake_quantize(zeros, chosen), zeros)
        assert np.array_equal(q.quantize(zeros, chosen), np.broadcast_to(chosen.aligned(x.ndim)[1], x.shape))


@pytest.mark.parametrize("seed", SEEDS)
def test_quantization_is_monotone_and_the_round_trip_idempotent(seed):
    x = np.sort(numbers(seed).ravel())
    chosen = q.choose(x, 5)
    once = q.fake_quantize(x, chosen)
    assert np.all(np.diff(q.quantize(x, chosen).astype(int)) >= 0)
    assert np.array_equal(q.fake_quantize(once, chosen), once)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("bits", [3, 8])
def test_per_channel_is_no_worse_than_per_tensor_when_channels_differ(seed, bits):
    channels = np.random.default_rng(seed).normal(size=(64, 64)) * 2.0 ** np.arange(64)[None, ::-1] ** 0.5
    per_tensor = q.fake_quantize(channels, q.choose(channels, bits, symmetric=True))
    per_channel = q.fake_quantize(channels, q.choose(channels, bits, symmetric=True, axis=1))
    assert q.mse(channels, per_channel) < q.mse(channels, per_tensor)


def test_each_bit_gives_six_decibels():
    x = np.random.default_rng().uniform(-1, 1, 200_000)
    ratios = [q.sqnr_db(x, q.fake_quantize(x, q.choose(x, bits))) for bits in range(3, 13)]
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
    assert int(q.quantize(2.5, q.Affine(1.0, 0))) == 3


def test_a_constant_zero_array_is_kept():
    for symmetric in (False, True):
        chosen = q.choose(np.zeros((3, 2)), symmetric=symmetric, axis=1)
        assert np.array_equal(q.fake_quantize(np.zeros((3, 2)), chosen), np.zeros((3, 2)))


def test_values_outside_the_range_saturate():
    chosen = q.from_range(-1, 1)
    assert list(q.quantize([-9.0, 9.0], chosen)) == [-128, 127]


@pytest.mark.parametrize("seed", SEEDS)
def test_clipping_and_rounding_add_up_to_the_whole_error(seed):
    x = numbers(seed)
    for chosen in (q.from_range(np.quantile(x, 0.1), np.quantile(x, 0.9), 4), q.choose(x, 4, axis=0)):
        clipping, rounding = q.error_parts(x, chosen)
        assert clipping + rounding == pytest.approx(q.mse(x, q.fake_quantize(x, chosen)))
    assert clipping < 1e-3 * rounding  # the whole range: nothing but the ends' rounding lies outside


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_best_clip_is_never_worse_and_at_few_bits_better(seed, symmetric):
    x = np.random.default_rng(seed).laplace(size=20_000)
    gain = {}
    for bits in (3, 8):
        whole = q.mse(x, q.fake_quantize(x, q.choose(x, bits, symmetric=symmetric)))
        gain[bits] = whole / q.mse(x, q.fake_quantize(x, q.best_clip(x, bits, symmetric=symmetric)))
    assert gain[8] >= 1
    assert gain[3] > 1.5


def test_decibels_and_clip_gain_are_their_definitions():
    x = np.random.default_rng(5).laplace(size=(400, 3))
    wanted = q.sqnr_db(x, q.fake_quantize(x, q.choose(x, 4, symmetric=True, axis=1)))
    assert q.decibels(x, 4, symmetric=True, axis=1) == wanted
    clipped = q.mse(x, q.fake_quantize(x, q.best_clip(x, 3)))
    assert q.clip_gain(x, 3) == pytest.approx(q.mse(x, q.fake_quantize(x, q.choose(x, 3))) / clipped)
    assert q.clip_gain(x, 3) > 1


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
        (lambda: q.Affine(0.0, 0), "above 0"),
        (lambda: q.Affine(1.0, 300), "must lie in"),
        (lambda: q.Affine(1.0, 0, 5, 5), "below qmax"),
        (lambda: q.Affine([1.0, 2.0], 0), "axis"),
        (lambda: q.quantize(np.ones((3, 4)), q.Affine([1.0, 2.0], [0, 0], axis=1)), "4 channels"),
    ],
)
def test_bad_numbers_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_zero_point_that_is_no_whole_number_is_refused():
    with pytest.raises(TypeError, match="whole number"):
        q.Affine(1.0, 0.5)


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


@pytest.mark.parametrize("per_channel", [True, False])
def test_quantized_weights_lie_on_their_grid_and_the_model_is_left_alone(keras, per_channel):
    L = keras.layers
    model = keras.Sequential(
        [
            L.Input((6, 6, 3)),
            L.Conv2D(4, 3),
            L.BatchNormalization(),
            L.DepthwiseConv2D(3),
            L.Flatten(),
            L.Dense(5, bias_initializer="normal"),
        ]
    )
    before = model.get_weights()
    copy = q.with_quantized_weights(model, 3, per_channel=per_channel)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    for old, new in zip(before, copy.get_weights(), strict=True):
        if old.ndim == 1:
            assert np.array_equal(old, new)
            continue
        channels = old.shape[-2] if old.shape == (3, 3, 4, 1) else old.shape[-1]
        assert not np.array_equal(old, new)
        assert len(np.unique(new)) <= 7 * (channels if per_channel else 1)
        assert (len(np.unique(new)) > 7) == per_channel
