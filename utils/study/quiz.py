"""A chapter's quiz: `quiz.show("03")`.  The questions are in data/quizzes/NN.json.

JupyterQuiz draws them.  It invents a random name for its element each time; a fixed one keeps stored
outputs comparable.
"""

from __future__ import annotations

import json
import random
from contextlib import contextmanager
from pathlib import Path

from utils import ROOT

FOLDER = ROOT / "data" / "quizzes"


def load(chapter: str, folder: Path = FOLDER) -> list[dict]:
    """The questions of chapter "NN"; ValueError names the first one that a reader could not answer."""
    path = folder / f"{chapter}.json"
    if not path.is_file():
        raise ValueError(f"no quiz for chapter {chapter!r}; there are {sorted(p.stem for p in folder.glob('*.json'))}")
    try:
        questions = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path.name} is not JSON: {error}") from None
    if not isinstance(questions, list) or not questions:
        raise ValueError(f"{path.name} must hold a list of questions; got {type(questions).__name__} {questions!r:.60}")
    for number, question in enumerate(questions, 1):
        _check(question, f"{path.name}, question {number}")
    return questions


def show(chapter: str) -> None:
    """Show the quiz of chapter "NN": click an answer and read why it is right or wrong."""
    import jupyterquiz

    questions = [{key: question[key] for key in question if key != "computed"} for question in load(chapter)]
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
    right = [answer for answer in question["answers"] if answer.get("correct")]
    if not right or (question["type"] == "multiple_choice" and len(right) != 1):
        raise ValueError(f"{where} has {len(right)} right answers; multiple_choice needs one, others at least one")
    if not all(answer.get("feedback") for answer in question["answers"]):
        raise ValueError(f"{where} has an answer without feedback; say why it is right or wrong")
