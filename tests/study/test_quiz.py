"""A quiz can be answered, says why, and is the same each time it is shown."""

from __future__ import annotations

import copy
import json
import random

import pytest

from utils.study import quiz

GOOD = {
    "question": "How many bytes has an int8 weight?",
    "type": "multiple_choice",
    "answers": [
        {"answer": "1", "correct": True, "feedback": "Eight bits."},
        {"answer": "8", "correct": False, "feedback": "Those are bits."},
    ],
}


@pytest.fixture
def store(tmp_path):
    def write(content, name="03"):
        (tmp_path / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
        return tmp_path

    return write


def test_a_good_quiz_is_loaded(store):
    assert quiz.load("03", store([GOOD, GOOD])) == [GOOD, GOOD]


def test_an_unknown_chapter_is_answered(store):
    with pytest.raises(ValueError, match=r"no quiz for chapter '3'.*\['03'\]"):
        quiz.load("3", store([GOOD]))


def changed(**values):
    return {**copy.deepcopy(GOOD), **values}


def without(key):
    return {k: v for k, v in GOOD.items() if k != key}


RIGHT = GOOD["answers"][0]


@pytest.mark.parametrize(
    "question, message",
    [
        (without("question"), "lacks"),
        (without("type"), "lacks"),
        (without("answers"), "lacks"),
        (changed(type="essay"), "has type 'essay'"),
        (changed(answers=[]), "0 right answers"),
        (changed(answers=[GOOD["answers"][1]]), "0 right answers"),
        (changed(answers=[RIGHT, RIGHT]), "2 right answers"),
        (changed(answers=[RIGHT, {"answer": "8", "correct": False}]), "without feedback"),
        (changed(answers=[RIGHT, {"answer": "8", "correct": False, "feedback": ""}]), "without feedback"),
        ("How many?", "must be a mapping"),
    ],
)
def test_a_question_that_does_not_work_is_named(store, question, message):
    with pytest.raises(ValueError, match=rf"03\.json, question 2 .*{message}"):
        quiz.load("03", store([GOOD, question]))


@pytest.mark.parametrize("content", ["[", "{}", "[]", '"x"'])
def test_a_damaged_file_is_named(store, content):
    with pytest.raises(ValueError, match=r"03\.json"):
        quiz.load("03", store(content))


def test_many_choice_may_have_several_right_answers(store):
    question = changed(type="many_choice", answers=[RIGHT, RIGHT])
    assert quiz.load("03", store([question])) == [question]


def shown(monkeypatch, folder, chapter="03") -> str:
    import jupyterquiz

    outputs = []
    where = jupyterquiz.display_quiz.__globals__
    monkeypatch.setitem(where, "display", lambda what: outputs.append(what.data))
    monkeypatch.setattr(quiz.load, "__defaults__", (folder,))
    quiz.show(chapter)
    return "\n".join(outputs)


def test_shown_twice_it_is_the_same(store, monkeypatch):
    folder = store([GOOD])
    random.seed(1)
    first = shown(monkeypatch, folder)
    random.seed(2)
    assert shown(monkeypatch, folder) == first
    assert "How many bytes has an int8 weight?" in first


def test_how_a_number_is_computed_stays_with_the_tests(store, monkeypatch):
    page = shown(monkeypatch, store([GOOD | {"computed": "8 / 8"}]))
    assert "How many bytes" in page and "computed" not in page and "8 / 8" not in page


def test_two_chapters_have_two_elements(store, monkeypatch):
    store([GOOD])
    folder = store([GOOD], "04")
    assert shown(monkeypatch, folder, "03") != shown(monkeypatch, folder, "04")


def test_the_readers_own_random_numbers_are_left_alone(store, monkeypatch):
    folder = store([GOOD])
    random.seed(3)
    expected = random.random()
    random.seed(3)
    shown(monkeypatch, folder)
    assert random.random() == expected
