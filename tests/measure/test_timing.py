"""Timing: order, quantiles, ratios, and what is refused."""

from __future__ import annotations

import functools
import gc
import time

import numpy as np
import pytest

from tests.little import as_tflite, classifier, examples
from utils import artifact, formats
from utils.artifact import Artifact
from utils.deploy.tflite.tflite_model import TFLiteModel
from utils.measure import timing


def test_quantiles_ratio_and_rounds():
    timings = timing.latency(
        {"slow": lambda: time.sleep(0.004), "fast": lambda: time.sleep(0.001)}, rounds=20, warmup=1
    )
    slow = timings["slow"]
    assert slow.median <= slow.p90 <= slow.p99
    assert slow.median >= 0.004
    assert len(slow.seconds) == 20
    ratio = timings.ratio("slow", "fast")
    assert 1.5 < ratio.low <= ratio.value <= ratio.high
    assert slow.load is None
    assert [row["side"] for row in timings.rows()] == ["slow", "fast"]


def test_sides_take_turns_in_a_seeded_order():
    def order(seed):
        calls = []
        sides = {name: functools.partial(calls.append, name) for name in "abc"}
        timing.latency(sides, rounds=8, warmup=2, seed=seed)
        rounds = ["".join(calls[start : start + 3]) for start in range(9, len(calls), 3)]
        assert len(rounds) == 8
        assert all(sorted(one) == list("abc") for one in rounds)
        return rounds

    assert order(1) == order(1) != order(2)
    assert len(set(order(1))) > 1


def test_the_first_call_is_kept_apart():
    waits = iter([0.05])
    timings = timing.latency({"f": lambda: time.sleep(next(waits, 0))}, rounds=5, warmup=0)
    assert timings["f"].first > 0.05
    assert timings["f"].median < 0.04
    assert gc.isenabled()


def test_artifacts_are_timed_without_copying():
    timings = timing.latency({"one": (as_tflite(), examples(1)), "many": (as_tflite(), examples(50))}, rounds=10)
    assert timings["one"].load > 0
    assert timings["many"].examples == 50
    assert timings["many"].throughput > timings["one"].throughput
    keras_side = timing.latency({"keras": (artifact.from_keras(classifier()), examples(2))}, rounds=3, warmup=1)
    assert keras_side["keras"].first > keras_side["keras"].median


def test_throughput_grows_with_the_batch():
    found = timing.throughput(as_tflite(), examples(64), (1, 64), rounds=10)
    assert found[64] > found[1] > 0
    with pytest.raises(ValueError, match="fewer than the largest batch size 64"):
        timing.throughput(as_tflite(), examples(8))


def test_throughput_times_as_many_rounds_as_asked_for(monkeypatch):
    asked = []
    one = timing.Timing("1", np.ones(4), 1, None, 0.0)
    monkeypatch.setattr(timing, "latency", lambda sides, **how: asked.append(how["rounds"]) or {"1": one})
    assert timing.throughput(as_tflite(), examples(1), (1,)) == timing.throughput(
        as_tflite(), examples(1), (1,), rounds=7
    )
    assert asked == [30, 7]


def test_the_ratio_of_medians_is_one_of_each_row():
    a, b = np.array([[1.0, 2, 9], [4, 4, 5]]), np.array([[1.0, 1, 1], [2, 8, 2]])
    assert timing._median_ratio(a, b, axis=1).tolist() == [2, 2]
    assert timing._median_ratio(a, b, axis=0).tolist() == [2.5 / 1.5, 3 / 4.5, 7 / 1.5]


@pytest.mark.parametrize(
    ("sides", "options", "error", "sentence"),
    [
        ({}, {}, ValueError, "at least one side"),
        ({"a": 3}, {}, TypeError, "side 'a' is int"),
        ({"a": print}, {"rounds": 1}, ValueError, "rounds=1"),
        ({"a": print}, {"warmup": -1}, ValueError, "warmup=-1"),
    ],
)
def test_latency_refuses(sides, options, error, sentence):
    with pytest.raises(error, match=sentence):
        timing.latency(sides, **options)


def measured(seconds: dict[str, np.ndarray]) -> timing.Timings:
    return timing.Timings({name: timing.Timing(name, times, 1, None, 0.0) for name, times in seconds.items()})


def test_the_interval_of_a_ratio_has_a_seed_and_a_confidence():
    rng = np.random.default_rng(0)
    timings = measured({"a": rng.gamma(2, 1, 50), "b": rng.gamma(2, 2, 50)})
    first = timings.ratio("a", "b")
    assert first == timings.ratio("a", "b", seed=0) == timings.ratio("a", "b", confidence=0.95)
    others = [timings.ratio("a", "b", seed=seed) for seed in range(1, 6)]
    medians = [np.median(timings[name].seconds) for name in "ab"]
    assert {one.value for one in others} == {first.value} == {medians[0] / medians[1]}
    assert len({(one.low, one.high) for one in [first, *others]}) > 3
    narrow = timings.ratio("a", "b", confidence=0.5)
    assert first.low < narrow.low <= narrow.high < first.high


def test_the_ratio_pairs_the_rounds():
    """A machine that slows down slows both sides: their ratio stays."""
    drift = np.linspace(1, 9, 60)
    ratio = measured({"a": 2 * drift, "b": drift}).ratio("a", "b")
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((2, 2, 2))


def test_quantiles_of_known_times():
    one = timing.Timing("a", np.arange(101) / 100, 5, None, 0.0)
    assert (one.median, one.p90, one.p99, one.mean) == pytest.approx((0.5, 0.9, 0.99, 0.5))
    assert one.throughput == pytest.approx(10)
    assert timing.Timings(a=one).rows() == [
        {"side": "a", "median ms": 500, "p90 ms": 900, "p99 ms": 990, "first ms": 0, "load ms": None}
    ]


def test_throughput_takes_several_inputs():
    class Runner:
        def run(self, x):
            sizes.append((len(x["a"]), len(x["b"])))

    sizes = []
    artifact.register("sum", suffix=".sum", magic=b"SUM", opener=lambda content, trusted: Runner())
    try:
        found = timing.throughput(Artifact(b"SUM", "sum"), {"a": np.ones(9), "b": np.ones(9)}, (2, 9), rounds=2)
    finally:
        formats._FORMATS.pop("sum")
    assert set(found) == {2, 9}
    assert set(sizes) == {(2, 2), (9, 9)}


def test_ratio_of_an_unknown_side():
    timings = timing.latency({"a": lambda: None}, rounds=2)
    with pytest.raises(ValueError, match="no side 'b'; sides are 'a'"):
        timings.ratio("a", "b")


def test_opening_takes_a_part_of_the_whole():
    start = time.perf_counter()
    load = timing.latency({"file": (as_tflite(), examples(1))}, rounds=2)["file"].load
    assert 0 < load < time.perf_counter() - start


def test_a_runner_that_can_prepare_is_timed_prepared(monkeypatch):
    prepared = []
    whole = TFLiteModel.prepare
    monkeypatch.setattr(TFLiteModel, "prepare", lambda model, x: prepared.append(len(x)) or whole(model, x))
    timing.latency({"file": (as_tflite(), examples(5))}, rounds=2)
    assert prepared == [5]
