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
OTHERWISE = {"type": "default", "feedback": "Count again."}


def numeric(**answer):
    return changed(type="numeric", answers=[{"correct": True, "feedback": "Yes.", **answer}, OTHERWISE])


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
        (changed(answers={"1": True}), "no list of mappings"),
        (changed(answers=["1", "8"]), "no list of mappings"),
        (changed(answers=None), "no list of mappings"),
        (changed(answers=[RIGHT, {"answer": "8", "correct": "false", "feedback": "Bits."}]), "write true or false"),
        (changed(answers=[RIGHT, {"correct": False, "feedback": "Bits."}]), "without text"),
        (changed(type="numeric"), "needs a number"),
        (numeric(value="3"), "needs a number"),
        (numeric(value=float("nan")), "needs a number"),
        (numeric(value=True), "needs a number"),
        (numeric(type="range"), "needs a number"),
        (numeric(range=[3, 1]), "needs a number"),
        (numeric(range=[3, 3]), "needs a number"),  # its upper end does not belong to it
        (numeric(range=[1, 2, 3]), "needs a number"),
    ],
)
def test_a_question_that_does_not_work_is_named(store, question, message):
    with pytest.raises(ValueError, match=rf"03\.json, question 2 .*{message}"):
        quiz.load("03", store([GOOD, question]))


@pytest.mark.parametrize("content", ["[", "{}", "[]", '"x"', "\ufeff[]", "[" * 100_000])
def test_a_damaged_file_is_named(store, content):
    with pytest.raises(ValueError, match=r"03\.json"):
        quiz.load("03", store(content))


def test_a_file_in_another_encoding_is_named(store):
    folder = store([GOOD])
    (folder / "03.json").write_bytes(b"\xff\xfe[")
    with pytest.raises(ValueError, match=r"03\.json is not JSON"):
        quiz.load("03", folder)


def test_a_chapter_is_no_path(store):
    folder = store([GOOD])
    for chapter in (f"../{folder.name}/03", 3, None):
        with pytest.raises(ValueError, match=r"there are \['03'\]"):
            quiz.load(chapter, folder)


def test_many_choice_may_have_several_right_answers(store):
    question = changed(type="many_choice", answers=[RIGHT, RIGHT])
    assert quiz.load("03", store([question])) == [question]


def shown(monkeypatch, folder, chapter="03") -> str:
    import jupyterquiz

    outputs = []
    where = jupyterquiz.display_quiz.__globals__
    monkeypatch.setitem(where, "display", lambda what: outputs.append(what.data))
    monkeypatch.setattr(quiz, "FOLDER", folder)
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
    page = shown(monkeypatch, store([GOOD | {"computed": "8 / 8", "worked": ["16 / 8"]}]))
    assert "How many bytes" in page and not any(kept in page for kept in ("computed", "8 / 8", "worked", "16 / 8"))


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


@pytest.mark.parametrize(
    "question",
    [GOOD, changed(type="many_choice"), numeric(value=1), numeric(value=0.5), numeric(type="range", range=[1, 1.5])],
)
def test_each_type_of_question_is_loaded(store, question):
    assert quiz.load("03", store([question])) == [question]


@pytest.mark.parametrize(
    "question",
    [changed(type="many_choice", answers=[GOOD["answers"][1]]), changed(type="numeric", answers=[OTHERWISE])],
)
def test_each_type_needs_a_right_answer(store, question):
    with pytest.raises(ValueError, match="0 right answers"):
        quiz.load("03", store([question]))


def test_chapters_are_listed_in_order(store, monkeypatch):
    for name in ("05", "03", "04"):
        folder = store([GOOD], name)
    inside = type(folder).glob
    monkeypatch.setattr(type(folder), "glob", lambda *a: sorted(inside(*a), reverse=True))
    with pytest.raises(ValueError, match=r"\['03', '04', '05'\]"):
        quiz.load("9", folder)


def test_all_that_a_question_lacks_is_named_in_order(store):
    with pytest.raises(ValueError, match=r"question 1 lacks \['answers', 'question', 'type'\]"):
        quiz.load("03", store([{}]))


def test_answers_stand_in_the_order_that_their_author_gave_them(monkeypatch, store):
    import jupyterquiz

    asked = {}
    monkeypatch.setattr(jupyterquiz, "display_quiz", lambda *a, **k: asked.update(k))
    monkeypatch.setattr(quiz, "FOLDER", store([GOOD]))
    quiz.show("03")
    assert asked["shuffle_answers"] is False and asked["max_width"] == 800
