"""A chapter's quiz: `quiz.show("03")`.  The questions are in data/quizzes/NN.json.

JupyterQuiz draws them.  It invents a random name for its element each time; a fixed one keeps stored
outputs comparable.
"""

from __future__ import annotations

import json
import math
import random
from contextlib import contextmanager
from pathlib import Path

from utils import ROOT

FOLDER = ROOT / "data" / "quizzes"


def load(chapter: str, folder: Path | None = None) -> list[dict]:
    """The questions of chapter "NN"; ValueError names the first that nobody could answer.  folder: `FOLDER`."""
    folder = folder or FOLDER
    chapters = sorted(path.stem for path in folder.glob("*.json"))
    if chapter not in chapters:
        raise ValueError(f"no quiz for chapter {chapter!r}; there are {chapters}")
    path = folder / f"{chapter}.json"
    try:
        questions = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8
        raise ValueError(f"{path.name} is not JSON: {error}") from None
    if not isinstance(questions, list) or not questions:
        raise ValueError(f"{path.name} must hold a list of questions; got {type(questions).__name__} {questions!r:.60}")
    for number, question in enumerate(questions, 1):
        _check(question, f"{path.name}, question {number}")
    return questions


def show(chapter: str) -> None:
    """Show the quiz of chapter "NN": click an answer and read why it is right or wrong."""
    import jupyterquiz

    ours = ("computed", "worked")  # for tests/course/quiz_rules.py
    questions = [{key: question[key] for key in question if key not in ours} for question in load(chapter)]
    with _fixed_names(chapter):
        jupyterquiz.display_quiz(
            questions,
            shuffle_answers=False,
            border_radius=6,
            max_width=800,
            colors={"--jq-multiple-choice-bg": "#0b3954", "--jq-many-choice-bg": "#0b3954"},
        )


@contextmanager
def _fixed_names(chapter: str):
    """JupyterQuiz takes its element's name from `random`: fix it here, leave the reader's sequence alone."""
    state = random.getstate()
    random.seed(f"quiz {chapter}")
    try:
        yield
    finally:
        random.setstate(state)


def _check(question: dict, where: str) -> None:
    if not isinstance(question, dict):
        raise ValueError(f"{where} must be a mapping with question, type and answers; got {question!r:.60}")
    missing = {"question", "type", "answers"} - set(question)
    if missing:
        raise ValueError(f"{where} lacks {sorted(missing)}")
    if question["type"] not in ("multiple_choice", "many_choice", "numeric"):
        raise ValueError(f"{where} has type {question['type']!r}; use multiple_choice, many_choice or numeric")
    answers = question["answers"]
    if not isinstance(answers, list) or not all(isinstance(answer, dict) for answer in answers):
        raise ValueError(f"{where} has answers that are no list of mappings; got {answers!r:.60}")
    for answer in answers:
        _check_answer(answer, question["type"], where)
    right = [answer for answer in answers if answer.get("correct")]
    if not right or (question["type"] == "multiple_choice" and len(right) != 1):
        raise ValueError(f"{where} has {len(right)} right answers; multiple_choice needs one, others at least one")


def _check_answer(answer: dict, kind: str, where: str) -> None:
    """Raise ValueError for an answer that could not be given, or says nothing."""
    if not answer.get("feedback"):
        raise ValueError(f"{where} has an answer without feedback; say why it is right or wrong")
    if not isinstance(answer.get("correct", False), bool):
        raise ValueError(f"{where} has an answer whose correct is {answer['correct']!r}; write true or false")
    if kind != "numeric" and not answer.get("answer"):
        raise ValueError(f"{where} has an answer without text; write it under 'answer'")
    if kind == "numeric" and answer.get("type") != "default" and not _is_numeric(answer):
        raise ValueError(f"{where} needs a number, 'value', or a 'range', [low, high]; got the answer {answer!r:.80}")


def _is_numeric(answer: dict) -> bool:
    """JupyterQuiz compares with `value`, or else with `range`, whose upper end does not belong to it."""
    if "value" in answer:
        return _is_number(answer["value"])
    ends = answer.get("range")
    return isinstance(ends, list) and len(ends) == 2 and all(map(_is_number, ends)) and ends[0] < ends[1]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
