"""Each item has its turn, and all of them where that is asked for."""

from __future__ import annotations

import pytest

from tests.harness import daily


@pytest.mark.parametrize("days", [1, 3, 4, 12, 15])
def test_after_so_many_days_each_had_its_turn_once(days):
    seen = [item for day in range(700, 700 + days) for item in daily.turn(range(12), days, day)]
    assert sorted(seen) == list(range(12))


def test_a_part_or_all_of_them_today(monkeypatch):
    monkeypatch.delenv("COURSE_EVERY", raising=False)
    assert daily.todays("abc", 3) in (["a"], ["b"], ["c"])
    monkeypatch.setenv("COURSE_EVERY", "1")
    assert daily.todays("abc", 3) == ["a", "b", "c"]
