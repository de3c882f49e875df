"""The fifty questions, read from interview/questions.md, and which chapter answers which."""

from __future__ import annotations

import re
from functools import cache

from utils import ROOT

#: chapter -> (title, the questions it answers), in the order of the course.
CHAPTERS: dict[str, tuple[str, tuple[int, ...]]] = {
    "00": ("Start here", ()),
    "01": ("Why optimize, and how to measure it", (1, 2, 24, 25)),
    "02": ("The Toolkit, and what is beyond it", (29, 30, 31)),
    "03": ("Quantization from first principles", (3, 4, 7)),
    "04": ("Post-training quantization", (6, 23, 32, 40, 41)),
    "05": ("Quantization-aware training", (5, 20, 33)),
    "06": ("Pruning", (8, 9, 10)),
    "07": ("Sparsity", (12, 13, 14)),
    "08": ("Weight sharing", (11,)),
    "09": ("All together", (18, 19, 44)),
    "10": ("Knowledge distillation", (15, 16, 17)),
    "11": ("Transfer learning", (47, 48, 49)),
    "12": ("TensorFlow Lite", (21, 22)),
    "13": ("TensorFlow.js", (26, 27)),
    "14": ("Microcontrollers", (42, 43)),
    "15": ("Distributed training", (50,)),
    "16": ("Federated learning", (35, 36, 37, 38)),
    "17": ("TFX", (45, 46)),
    "18": ("Choose and ship", (28, 34, 39)),
}


@cache
def texts() -> dict[int, str]:
    """{number: question}, 1 to 50, exactly as interview/questions.md words them."""
    text = (ROOT / "interview" / "questions.md").read_text(encoding="utf-8")
    found = {int(number): question for number, question in re.findall(r"(?m)^(\d+)\. (.+)$", text)}
    if sorted(found) != list(range(1, 51)):
        raise ValueError(f"interview/questions.md should list the questions 1 to 50; found {len(found)}")
    return found


def chapter_of(number: int) -> str:
    """"03" for question 3."""
    for chapter, (_, numbers) in CHAPTERS.items():
        if number in numbers:
            return chapter
    raise ValueError(f"there are questions 1 to 50; got {number!r}")


def heading(number: int) -> str:
    """The heading that a chapter gives to this question: `Q3 · Explain …`."""
    return f"Q{number} · {texts()[number]}"
