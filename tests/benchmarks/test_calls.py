"""The benchmark of what a ratio depends on."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import calls as bench
from utils import recorded


def test_a_plan_s_row_has_the_median_and_the_ends_of_its_openings():
    row = bench._pause_row("nothing", np.array([[1.0, 2.0], [2.0, 2.0], [4.0, 2.0]]))
    assert (row["float32 ms"], row["int8 ms"]) == (2.0, 2.0)
    assert (row["ratio low"], row["ratio"], row["ratio high"]) == (0.5, 1.0, 2.0)
    assert row["processor"] == recorded.processor()


def test_what_runs_between_two_calls_is_not_timed_and_the_first_calls_do_not_count(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(bench.time, "perf_counter", lambda: now[0])
    lengths = iter([9.0] * bench.WARMUP + [0.002] * (bench.CALLS - bench.WARMUP))

    def passes(seconds):
        now[0] += seconds

    found = bench.median_ms(lambda: passes(next(lengths)), lambda: passes(1.0))
    assert found == pytest.approx(2.0)


def test_each_plan_of_the_record_runs():
    rows = recorded.load("calls_pauses").rows
    plans = bench.works()
    assert {row["between the calls"] for row in rows} == set(plans)
    assert plans["nothing"] is None and all(work() is not None for name, work in plans.items() if name != "nothing")
