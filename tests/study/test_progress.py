"""Solved exercises are remembered in my/, and whatever is wrong with that file spoils no answer."""

from __future__ import annotations

import datetime
import json
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from utils.study import progress
from utils.study.exercises import check
from utils.study.progress import remember, solved


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.delenv("COURSE_STORED")
    (tmp_path / "my").mkdir()
    monkeypatch.chdir(tmp_path / "my")
    return tmp_path / "my" / "progress.jsonl"


def test_an_exercise_is_remembered_once_with_the_day_it_was_solved_first(file):
    file.write_text(json.dumps({"day": "2020-02-29", "exercise": "03-1"}) + "\n", encoding="utf-8")
    for exercise in ("03-1", "03-2", "03-2"):
        remember(exercise, file)
    assert list(solved(file)) == ["03-1", "03-2"] and solved(file)["03-1"] == "2020-02-29"
    assert file.read_text("utf-8").count("03-2") == 1


@pytest.mark.parametrize(
    "there",
    [
        b"",
        b"no json",
        b'{"day": "2026-1',
        b"\xff\xfe\x00",
        b"[]\n5\nnull\n",
        b"[" * 100_000,
        b'{"exercise": null, "day": "2026-11-27"}\n{"exercise": ["03-2"], "day": "2026-11-27"}',
        b'{"exercise": "03-2", "day": 20261127}\n{"exercise": "03-2", "day": NaN}',
    ],
)
def test_damaged_lines_cost_only_themselves(file, there):
    file.write_bytes(there)
    remember("03-1", file)
    assert list(solved(file)) == ["03-1"]


def test_only_what_is_run_in_my_counts(file, monkeypatch):
    remember("03-1", file.parent / "not there" / "progress.jsonl")
    (file.parent.parent / "solutions").mkdir()
    monkeypatch.chdir(file.parent.parent / "solutions")
    remember("03-1", file)
    monkeypatch.chdir(file.parent)
    monkeypatch.setenv("COURSE_STORED", "1")
    remember("03-1", file)
    assert list(file.parent.iterdir()) == [] and solved(file) == {}


def test_what_cannot_be_written_is_no_error(file, monkeypatch):
    file.mkdir()
    remember("03-1", file)
    file.rmdir()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(file), "open", full)
    remember("03-1", file)
    monkeypatch.undo()
    assert not file.exists()


def test_two_notebooks_at_once_lose_nothing(file):
    ids = [f"03-{k}" for k in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda id: remember(id, file), ids))
    assert set(solved(file)) == set(ids)


@pytest.mark.parametrize(("answer", "expected"), [("solution", ["00-1"]), ("wrong", []), (..., [])])
def test_check_remembers_what_is_right_and_nothing_else(file, monkeypatch, capsys, answer, expected):
    monkeypatch.setattr(progress, "FILE", file)
    functions = {
        "solution": lambda widths, bits: sum((a + 1) * b for a, b in pairwise(widths)) * bits // 8,
        "wrong": lambda widths, bits: 1,
    }
    check("00-1", functions.get(answer, answer))
    assert list(solved(file)) == expected, capsys.readouterr().out


def test_of_two_days_the_first_counts_and_lines_between_do_not(file):
    lines = [
        {"day": "2020-01-01", "exercise": "03-1"},
        {"day": "2021-01-01", "exercise": "03-1"},
        {"day": "2022-01-01"},
    ]
    file.write_text("\n\n".join(map(json.dumps, [*lines, {"exercise": "03-2"}])), encoding="utf-8")
    assert solved(file) == {"03-1": "2020-01-01"}


def test_the_day_is_today(file):
    before = datetime.date.today()
    remember("04b-2", file)
    assert before <= datetime.date.fromisoformat(solved(file)["04b-2"]) <= datetime.date.today()


def test_the_file_is_in_the_readers_copy():
    assert progress.FILE.parts[-2:] == ("my", "progress.jsonl")
