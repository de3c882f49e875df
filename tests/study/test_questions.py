"""The fifty questions are all there, and each belongs to one chapter."""

from __future__ import annotations

import re

import pytest

from utils import ROOT
from utils.study import questions


def test_there_are_fifty_and_each_ends_like_a_question():
    texts = questions.texts()
    assert list(texts) == list(range(1, 51))
    assert len(set(texts.values())) == 50
    assert all(text == text.strip() and text[-1] in "?." for text in texts.values())


def test_each_belongs_to_exactly_one_chapter():
    numbers = [n for chapter in questions.CHAPTERS.values() for n in chapter.questions]
    assert sorted(numbers) == list(range(1, 51))
    assert [number for number in questions.CHAPTERS if len(number) == 2] == [f"{n:02d}" for n in range(19)]


def test_a_second_notebook_follows_its_chapter_and_deepens_questions_of_others():
    numbers = list(questions.CHAPTERS)
    assert numbers == sorted(numbers)
    for number, chapter in questions.CHAPTERS.items():
        second = number[2:] != ""
        assert bool(chapter.deepens) == second and not (second and (chapter.questions or chapter.core)), number
        assert {*chapter.deepens} <= {*questions.texts()} and (not second or number[:2] in numbers), number


def test_each_takes_some_minutes_and_the_core_path_six_hours():
    assert all(0 <= c.core <= c.minutes <= 120 and c.minutes > 0 for c in questions.CHAPTERS.values())
    assert 5.5 * 60 <= sum(c.core for c in questions.CHAPTERS.values()) <= 6.5 * 60


def test_a_chapter_that_is_better_read_later_names_one_that_comes_later():
    later = {number: c.after for number, c in questions.CHAPTERS.items() if c.after}
    assert later == {"02": "05"}
    assert all(after in questions.CHAPTERS and after > number for number, after in later.items())


@pytest.mark.parametrize("number, chapter", [(1, "01"), (3, "03"), (50, "15"), (39, "18"), (38, "16")])
def test_chapter_of(number, chapter):
    assert questions.chapter_of(number) == chapter


@pytest.mark.parametrize("number", [0, 51, "3", None])
def test_other_numbers_are_refused(number):
    with pytest.raises(ValueError, match="1 to 50"):
        questions.chapter_of(number)


def test_heading_is_word_for_word():
    assert questions.heading(3) == "Q3 · Explain the concept of quantization in TensorFlow Model Optimization."


def swapped(text):
    return text.replace("\n7. ", "\nX. ").replace("\n8. ", "\n7. ").replace("\nX. ", "\n8. ")


@pytest.mark.parametrize(
    "damage", [lambda t: t.replace("\n7. ", "\n77. "), lambda t: t.replace("\n50. ", "\n"), lambda t: "", swapped]
)
def test_a_damaged_list_is_noticed(tmp_path, monkeypatch, damage):
    (tmp_path / "interview").mkdir()
    text = (ROOT / "interview" / "questions.md").read_text(encoding="utf-8")
    (tmp_path / "interview" / "questions.md").write_text(damage(text), encoding="utf-8")
    monkeypatch.setattr(questions, "ROOT", tmp_path)
    questions.texts.cache_clear()
    try:
        with pytest.raises(ValueError, match="1 to 50"):
            questions.texts()
    finally:
        questions.texts.cache_clear()


def test_chapters_have_their_minutes_and_questions():
    """Those of the README's map, which everybody plans by."""
    rows = re.findall(r"(?m)^\| (\d\d[a-z]?) \| .* \| ([^|]*) \| (\d+) \|$", (ROOT / "README.md").read_text("utf-8"))
    shown = {number: (tuple(int(n) for n in re.findall(r"Q(\d+)", asked)), int(m)) for number, asked, m in rows}
    assert shown == {
        number: (chapter.questions or chapter.deepens, chapter.minutes)
        for number, chapter in questions.CHAPTERS.items()
    }


def test_every_question_has_its_chapter():
    for number, chapter in questions.CHAPTERS.items():
        assert {questions.chapter_of(n) for n in chapter.questions} <= {number}


def test_the_core_path_is_these_chapters_and_minutes():
    core = {number: chapter.core for number, chapter in questions.CHAPTERS.items() if chapter.core}
    assert core == {
        **{"00": 20, "01": 45, "03": 60, "04": 55, "05": 35, "06": 40},
        **{"09": 30, "10": 30, "12": 40, "18": 30},
    }
