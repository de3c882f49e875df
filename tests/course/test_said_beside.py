"""Figures in words that stand beside what was computed, and that no rule of a chapter compares with it."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[2]


def chapter(number: str):
    [path] = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    return nbformat.read(path, as_version=4).cells


def test_a_bit_is_worth_as_many_decibels_as_a_factor_of_two_everywhere():
    texts = [cell.source for cell in chapter("03") if cell.cell_type == "markdown"]
    texts.append((ROOT / "interview/q03.md").read_text(encoding="utf-8"))
    said = r"(?:costs|about|and|than) (\d+) dB(?: \(40|, and so|\. \(Uni| less with each bit|, where)"
    found = [int(number) for text in texts for number in re.findall(said, " ".join(text.split()))]
    assert len(found) == 4 and set(found) == {round(20 * math.log10(2))}


def test_the_answer_names_as_many_pictures_as_the_chapter_compared():
    [cell] = (cell.source for cell in chapter("12") if 'claim("Q22-labels"' in cell.source)
    [compared] = re.findall(r"x_test\[:(\d+)\]", cell)
    answer = (ROOT / "interview/q22.md").read_text(encoding="utf-8")
    assert f"Of {int(compared):,} pictures <!--Q22-labels-->" in " ".join(answer.split())


def test_the_feedback_of_the_roofline_question_has_the_times_of_its_numbers():
    quiz = json.loads((ROOT / "data/quizzes/03.json").read_text(encoding="utf-8"))
    [asked] = (each for each in quiz if "multiply-accumulates and 1 million bytes" in each["question"])
    macs, size, rate, bandwidth = map(int, re.findall(r"(\d+) (?:million|billion)", asked["question"]))
    arithmetic, memory = (1e6 * work * 1e6 / (speed * 1e9) for work, speed in ((macs, rate), (size, bandwidth)))
    right = next(answer["feedback"] for answer in asked["answers"] if answer.get("correct"))
    assert f"{arithmetic:.0f} µs of arithmetic, {memory:.0f} µs of memory" in right
