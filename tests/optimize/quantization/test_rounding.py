"""Rounding for the outputs: never worse than nearest where it should help, and equal to it where it cannot."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from utils.optimize.quantization import grid, rounding


@pytest.fixture(scope="module")
def layer():
    """(kernel, x): 24 inputs that move together, as neighbouring pixels do, and 6 outputs."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 4)) @ rng.normal(size=(4, 24)) + 0.2 * rng.normal(size=(400, 24))
    return rng.normal(size=(24, 6)), x


def test_the_error_is_that_of_the_outputs(layer):
    kernel, x = layer
    rounded = rounding.nearest(kernel, 3)
    by_outputs = np.mean(np.sum((x @ rounded - x @ kernel) ** 2, axis=1))
    assert rounding.output_error(kernel, rounded, rounding.second_moment(x)) == pytest.approx(by_outputs)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_nearest_is_the_grids(layer, bits):
    kernel, _ = layer
    other = grid.round_trip(kernel, grid.choose(kernel, bits, symmetric=True, axis=1))
    np.testing.assert_allclose(rounding.nearest(kernel, bits), other, atol=1e-6)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_both_methods_lose_less_than_nearest_and_stay_on_the_levels(layer, bits):
    kernel, x = layer
    moment = rounding.second_moment(x)
    lost = rounding.output_error(kernel, rounding.nearest(kernel, bits), moment)
    step, top = rounding.steps(kernel, bits)
    for rounded in (rounding.gptq(kernel, moment, bits), rounding.adaptive(kernel, x, bits, iterations=300)):
        assert rounding.output_error(kernel, rounded, moment) < 0.5 * lost
        levels = rounded / step
        np.testing.assert_allclose(levels, np.round(levels), atol=1e-9)
        assert np.abs(levels).max() <= top


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_a_clipped_step_is_never_worse_for_the_weights_and_better_with_one_large_weight(layer, bits):
    kernel = layer[0].copy()
    kernel[0] = 20.0
    whole, clipped = (rounding.nearest(kernel, bits, clip=clip) for clip in (False, True))
    lost = ((whole - kernel) ** 2).sum(axis=0)
    assert (((clipped - kernel) ** 2).sum(axis=0) <= lost + 1e-12).all()
    step, top = rounding.steps(kernel, bits, clip=True)
    assert (step <= rounding.steps(kernel, bits)[0]).all()
    for rounded in (clipped, rounding.gptq(kernel, np.eye(24), bits, clip=True)):
        np.testing.assert_allclose(rounded / step, np.round(rounded / step), atol=1e-9)
        assert np.abs(rounded / step).max() <= top + 1e-9
    rest = np.delete(kernel, 0, axis=0)
    with_large = np.vstack([np.full((1, 6), 3.0), rest])
    parts = [rounding.nearest(with_large, 2, clip=clip)[1:] - rest for clip in (False, True)]
    assert np.sum(parts[1] ** 2) < np.sum(parts[0] ** 2)


def test_a_channel_of_zeros_stays_with_a_clipped_step(layer):
    kernel = layer[0].copy()
    kernel[:, 2] = 0
    step, _ = rounding.steps(kernel, 4, clip=True)
    assert np.isfinite(step).all() and (step > 0).all()
    assert (rounding.nearest(kernel, 4, clip=True)[:, 2] == 0).all()


def test_inputs_that_are_independent_leave_nothing_to_gain(layer):
    kernel, _ = layer
    np.testing.assert_allclose(rounding.gptq(kernel, np.eye(24), 3), rounding.nearest(kernel, 3))


def test_adaptive_moves_each_weight_to_a_neighbour(layer):
    kernel, x = layer
    step, _ = rounding.steps(kernel, 3)
    rounded = rounding.adaptive(kernel, x, 3, iterations=50)
    assert (np.abs(rounded - kernel) <= step * 1.001).all()


def test_gptq_is_near_the_best_of_all_roundings():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(50, 2)) @ rng.normal(size=(2, 6)) + 0.1 * rng.normal(size=(50, 6))
    kernel, moment = rng.normal(size=(6, 1)), rounding.second_moment(x)
    step, top = rounding.steps(kernel, 2)
    every = [step * np.array(levels, float)[:, None] for levels in itertools.product(range(-top, top + 1), repeat=6)]
    errors = [rounding.output_error(kernel, each, moment) for each in every]
    found = rounding.output_error(kernel, rounding.gptq(kernel, moment, 2), moment)
    assert min(errors) <= found + 1e-12 and found <= np.quantile(errors, 0.05)


def test_the_rows_of_the_inverse_alone_lose_more(layer):
    kernel, x = layer
    moment = rounding.second_moment(x)
    with_factor, without = (rounding.gptq(kernel, moment, 2, cholesky=cholesky) for cholesky in (True, False))
    assert rounding.output_error(kernel, with_factor, moment) < rounding.output_error(kernel, without, moment)


def test_a_channel_of_zeros_stays(layer):
    _, x = layer
    kernel = np.zeros((24, 2))
    assert not rounding.gptq(kernel, rounding.second_moment(x), 4).any()
    assert not rounding.adaptive(kernel, x, 4, iterations=3).any()


@pytest.mark.parametrize("size", [1.0, 1e-150, 1e-170, 0.0])
def test_inputs_that_are_always_zero_leave_each_weight_at_its_nearest_level(layer, size):
    kernel, x = layer
    dead = np.zeros_like(x)
    assert np.array_equal(rounding.gptq(kernel, rounding.second_moment(dead), 3), rounding.nearest(kernel, 3))
    dead[:, 0] = size  # one input alone has no other that could make up for its errors
    assert np.array_equal(rounding.gptq(kernel, rounding.second_moment(dead), 3), rounding.nearest(kernel, 3))


def hardly_symmetric(size: int) -> np.ndarray:
    """A moment of which one entry differs from its twin by 1.3 millionths of it: one is the most that is let pass."""
    moment = np.eye(size) + 0.5
    moment[0, 1] *= 1 + 1.3e-6
    return moment


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda k, x: rounding.nearest(k, 9), "2 to 8"),
        (lambda k, x: rounding.nearest(k, True), "2 to 8"),
        (lambda k, x: rounding.nearest(k, 4.0), r"bits is 4\.0"),
        (lambda k, x: rounding.nearest(k, np.array([4])), "2 to 8"),
        (lambda k, x: rounding.nearest(k[0], 4), "kernel must be a matrix"),
        (lambda k, x: rounding.nearest(np.where(k == k[0, 0], np.nan, k)), "1 of them NaN or infinite"),
        (lambda k, x: rounding.gptq(k, -rounding.second_moment(x)), "symmetric and not negative"),
        (lambda k, x: rounding.gptq(k, np.triu(rounding.second_moment(x))), r"pass second_moment\(x\)"),
        (lambda k, x: rounding.gptq(k, hardly_symmetric(len(k))), "symmetric and not negative"),
        (lambda k, x: rounding.gptq(k, rounding.second_moment(x)[:5, :5]), "24 inputs"),
        (lambda k, x: rounding.gptq(k, rounding.second_moment(x), damp=0), "damp"),
        (lambda k, x: rounding.output_error(k, k[:3], rounding.second_moment(x)), "rounded has shape"),
        (lambda k, x: rounding.second_moment(x * np.nan), "finite"),
        (lambda k, x: rounding.adaptive(k, x[:, :3]), "inputs"),
    ],
)
def test_bad_input_is_answered(layer, call, message):
    with pytest.raises(ValueError, match=message):
        call(*layer)


# ---------------------------------------------------------------- each option does what it says


def test_without_steps_or_without_a_rate_each_weight_goes_to_the_nearest_level(layer):
    kernel, x = layer
    for options in ({"iterations": 0}, {"iterations": 5, "rate": 0.0}):
        np.testing.assert_allclose(rounding.adaptive(kernel, x, 3, **options), rounding.nearest(kernel, 3), atol=1e-6)


def test_the_push_to_a_whole_step_has_a_say_in_the_rounding(layer):
    results = [rounding.adaptive(*layer, 3, iterations=100, strength=strength) for strength in (0.0, 1e6)]
    assert not np.allclose(*results)


def test_examples_are_drawn_by_the_seed_as_many_as_a_batch_has(layer, monkeypatch):
    seeds, drawn, generator = [], [], np.random.default_rng

    class Noted:
        def __init__(self, seed):
            seeds.append(seed)
            self.integers = lambda *arguments: drawn.append(arguments) or generator(seed).integers(*arguments)

    monkeypatch.setattr(np.random, "default_rng", Noted)
    rounding.adaptive(*layer, iterations=2, batch=7, seed=5)
    rounding.adaptive(*layer, iterations=1)
    assert seeds == [5, 0] and drawn == [(0, 400, 7), (0, 400, 7), (0, 400, 128)]


@pytest.mark.parametrize("damp", [0.05, 1.0])
def test_damping_adds_a_part_of_the_mean_variance_to_each_input(layer, damp):
    kernel, x = layer
    moment = rounding.second_moment(x)
    damped = moment + damp * np.mean(np.diag(moment)) * np.eye(len(moment))
    np.testing.assert_allclose(
        rounding.gptq(kernel, moment, 3, damp=damp), rounding.gptq(kernel, damped, 3, damp=1e-13), atol=1e-9
    )
    assert not np.allclose(rounding.gptq(kernel, moment, 3, damp=damp), rounding.gptq(kernel, moment, 3))
    with pytest.raises(ValueError, match=r"damp is 1\.01; pass a part"):
        rounding.gptq(kernel, moment, 3, damp=1.01)


def test_four_bits_are_what_is_not_passed(layer):
    kernel, x = layer
    assert np.array_equal(rounding.nearest(kernel), rounding.nearest(kernel, 4, clip=False))
    assert np.array_equal(rounding.gptq(kernel, rounding.second_moment(x)), rounding.gptq(
        kernel, rounding.second_moment(x), 4, damp=0.01, cholesky=True, clip=False
    ))  # fmt: skip


def test_one_value_that_is_no_number_is_enough_to_refuse(layer):
    kernel = layer[0].copy()
    kernel[3, 2] = np.inf
    for bad in (kernel, np.zeros((0, 2)), np.array([["a"]]), np.zeros((2, 2, 2))):
        with pytest.raises(ValueError, match="kernel must be a matrix of finite numbers"):
            rounding.nearest(bad)
