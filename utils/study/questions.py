"""The fifty questions, read from interview/questions.md, and which chapter answers which."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from utils import ROOT


class Chapter(NamedTuple):
    """A chapter's title, the questions it answers, its minutes, and how many of them are on the core path.

    deepens: of a second notebook, such as 04b, the questions of other chapters of which it says more.
    after: the number of a later chapter that is better read before this one; "" for most.
    """

    title: str
    questions: tuple[int, ...]
    minutes: int
    core: int
    deepens: tuple[int, ...] = ()
    after: str = ""


#: The chapters in the order of the course; behind some a second notebook, with a letter.
CHAPTERS: dict[str, Chapter] = {
    "00": Chapter("Start here", (), 20, 20),
    "01": Chapter("Why optimize, and how to measure it", (1, 2, 24, 25), 90, 45),
    "02": Chapter("The Toolkit, and what is beyond it", (29, 30, 31), 75, 0, after="05"),
    "03": Chapter("Quantization from first principles", (3, 4, 7), 90, 60),
    "04": Chapter("Post-training quantization", (6, 23, 32, 40, 41), 100, 55),
    "04b": Chapter("Fewer bits, and outliers", (), 90, 0, deepens=(5, 32, 40)),
    "05": Chapter("Quantization-aware training", (5, 20, 33), 80, 35),
    "06": Chapter("Pruning", (8, 9, 10), 80, 40),
    "06b": Chapter("Which weights, and when", (), 50, 0, deepens=(10,)),
    "07": Chapter("Sparsity", (12, 13, 14), 70, 0),
    "08": Chapter("Weight sharing", (11,), 90, 0),
    "09": Chapter("All together", (18, 19, 44), 80, 30),
    "10": Chapter("Knowledge distillation", (15, 16, 17), 75, 30),
    "11": Chapter("Transfer learning", (47, 48, 49), 75, 0),
    "12": Chapter("TensorFlow Lite", (21, 22), 90, 40),
    "13": Chapter("TensorFlow.js", (26, 27), 60, 0),
    "14": Chapter("Microcontrollers", (42, 43), 70, 0),
    "15": Chapter("Distributed training", (50,), 60, 0),
    "16": Chapter("Federated learning", (35, 36, 37, 38), 90, 0),
    "17": Chapter("TFX", (45, 46), 70, 0),
    "18": Chapter("Choose and ship", (28, 34, 39), 80, 30),
}


@cache
def texts() -> dict[int, str]:
    """{number: question}, 1 to 50, exactly as interview/questions.md words them."""
    text = (ROOT / "interview" / "questions.md").read_text(encoding="utf-8")
    found = {int(number): question for number, question in re.findall(r"(?m)^(\d+)\. (.+)$", text)}
    if [*found] != [*range(1, 51)]:
        raise ValueError(f"interview/questions.md should list the questions 1 to 50; found {len(found)}")
    return found


def chapter_of(number: int) -> str:
    """ "03" for question 3."""
    for number_of_chapter, chapter in CHAPTERS.items():
        if number in chapter.questions:
            return number_of_chapter
    raise ValueError(f"there are questions 1 to 50; got {number!r}")


def heading(number: int) -> str:
    """The heading that a chapter gives to this question: `Q3 · Explain …`."""
    return f"Q{number} · {texts()[number]}"
