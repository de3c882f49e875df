"""Timing: order, quantiles, ratios, and what is refused."""

from __future__ import annotations

import functools
import gc
import time

import pytest

from tests.little import as_tflite, classifier, examples
from utils import artifact
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
