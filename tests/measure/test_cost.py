"""Energy and money."""

from __future__ import annotations

import numpy as np
import pytest

from utils.measure import cost


def test_energy_is_the_published_table():
    energy = cost.energy_per_inference(1_000_000, 8_000, "float32")
    assert energy.arithmetic == pytest.approx(4.6e-6)
    assert energy.memory == pytest.approx((1.3e-6, 2.6e-6))
    assert energy.low < energy.high
    small = cost.energy_per_inference(1_000_000, 2_000, "int8", "cache")
    assert small.arithmetic == pytest.approx(0.3e-6)
    assert small.high == pytest.approx(0.3e-6 + 250 * 100e-12)


#: Horowitz, ISSCC 2014, figure 1.1.9, typed from the paper's table: picojoules of (multiplication, addition).
PUBLISHED = {"float32": (3.7, 0.9), "float16": (1.1, 0.4), "int32": (3.1, 0.1), "int8": (0.2, 0.03)}


@pytest.mark.parametrize("dtype", cost.PICOJOULES_PER_MAC)
def test_each_type_has_the_published_energy(dtype):
    multiply, add = PUBLISHED[dtype]
    if dtype == "int8":  # its products are added to a sum of 32 bits
        add = PUBLISHED["int32"][1]
    assert cost.energy_per_inference(10**12, 0, dtype).arithmetic == pytest.approx(multiply + add)


@pytest.mark.parametrize(("memory", "published"), [("cache", (10, 100)), ("dram", (1300, 2600))])
def test_each_memory_has_the_published_energy_of_eight_bytes(memory, published):
    assert cost.energy_per_inference(0, 8 * 10**12, memory=memory).memory == pytest.approx(published)


def test_cost_by_hand():
    # 36 ms, 0.05 an hour: a million take 10 hours
    assert cost.cost_per_million(0.036, 0.05) == pytest.approx(0.5)
    assert cost.cost_per_million(0.036, 0.05, cores=2, utilization=0.25) == pytest.approx(4)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: cost.energy_per_inference(-1, 1), "macs=-1"),
        (lambda: cost.energy_per_inference(1, float("nan")), "bytes_moved=nan"),
        (lambda: cost.energy_per_inference(1, 1, "int4"), "'int4' is unknown"),
        (lambda: cost.energy_per_inference(1, 1, ["int8"]), r"\['int8'\] is unknown"),
        (lambda: cost.cost_per_million(0, 1), "seconds=0"),
        (lambda: cost.cost_per_million(1, 1, utilization=0), "utilization=0"),
        (lambda: cost.cost_per_million(1, 1, cores=0), "cores=0"),
    ],
)
def test_costs_refuse(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


@pytest.mark.parametrize("dtype", PUBLISHED)
def test_every_published_type_is_known(dtype):
    assert cost.energy_per_inference(1, 0, dtype).low > 0


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: cost.energy_per_inference(1, -1), "bytes_moved=-1; pass a finite number, at least 0"),
        (lambda: cost.energy_per_inference(float("inf"), 1), "macs=inf; pass a finite"),
        (
            lambda: cost.energy_per_inference(1, 1, memory="disk"),
            "memory='disk' is unknown; pass one of 'cache', 'dram'",
        ),
        (lambda: cost.energy_per_inference(1, 1, "int4"), "one of 'float32', 'float16', 'int32', 'int8'"),
        (lambda: cost.cost_per_million(-1, 1), "seconds=-1"),
        (lambda: cost.cost_per_million(1, -1), "price_per_core_hour=-1"),
        (lambda: cost.cost_per_million(1, 1, utilization=1.01), "utilization=1.01; pass a share above 0, at most 1"),
        (lambda: cost.cost_per_million(1, 1, cores=True), "cores=True; pass a whole number from 1"),
        (lambda: cost.cost_per_million(1, 1, cores=1.5), "cores=1.5"),
    ],
)
def test_what_is_out_of_range_is_named(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


@pytest.mark.parametrize("value", ["1", True, None, 1j])
def test_what_is_no_number_is_named(value):
    for call in (
        lambda: cost.energy_per_inference(value, 1),
        lambda: cost.energy_per_inference(1, value),
        lambda: cost.cost_per_million(value, 1),
        lambda: cost.cost_per_million(1, value),
        lambda: cost.cost_per_million(1, 1, utilization=value),
    ):
        with pytest.raises(TypeError, match="pass a number"):
            call()


def test_numpy_s_whole_numbers_are_numbers():
    assert cost.cost_per_million(0.0036, 1, cores=np.int64(2)) == pytest.approx(2)


def test_nothing_costs_nothing_and_a_fully_used_core_is_allowed():
    assert cost.energy_per_inference(0, 0) == cost.Energy(0, 0, 0)
    assert cost.cost_per_million(1, 0) == 0
    assert cost.cost_per_million(0.0036, 1, utilization=1, cores=1) == pytest.approx(1)
