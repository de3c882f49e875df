"""What `course.py new` leaves for an author to write, and which chapters still have some of it.

A placeholder is marked with the word that `MARK` finds and the chapter's number, in texts (followed by a colon), in
comments and in names of code.  Outputs of notebooks are not searched: they follow from the sources.
docs/decisions/0030-a-chapter-begun.md says what a chapter with placeholders may do.  Standard library only, and nothing
of `utils`: commands/parts/placeholders.py loads this file by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent

_WORD = "PLACEHOLDER"
MARK = re.compile(_WORD + r"[ _](\d\d[a-z]?)(?!\d)")
TEMPLATE = ROOT / "docs" / "template"
#: Where files of chapters are.
PLACES = (
    "notebooks/*.ipynb",
    "solutions/*.ipynb",
    "utils/**/*.py",
    "tests/**/*.py",
    "benchmarks/*.py",
    "data/quizzes/*.json",
    "data/results/*.json",
    "interview/*.md",
    "docs/decisions/*.md",
)


class Placeholder(NamedTuple):
    """A line that an author has still to write.

    chapter: "06", "04b", or "" where the template's words stand without their mark.  file: relative to the course.
    line: a number, or "cell 3, line 2" of a notebook, counted from 1 over all its cells.
    """

    chapter: str
    file: str
    line: str
    text: str

    def __str__(self) -> str:
        why = "" if self.chapter else "the template's words, only the mark is gone: "
        return f"{self.file}:{self.line}: {why}{self.text[:100]}"


def found(root: Path = ROOT) -> list[Placeholder]:
    """All placeholders of the course in `root`, and the template's words where only the mark was removed."""
    left = []
    for path in sorted({path for place in PLACES for path in root.glob(place)}):
        content = path.read_text(encoding="utf-8", errors="replace")
        if _WORD not in content and not any(words in content for words in template_words()):
            continue
        file = path.relative_to(root).as_posix()
        for line, text in _lines(path.suffix, content):
            mark = MARK.search(text)
            if mark or any(words in text for words in template_words()):
                left.append(Placeholder(mark[1] if mark else "", file, line, text.strip()))
    return left


def unfinished(root: Path = ROOT) -> set[str]:
    """The numbers of the chapters that have placeholders."""
    return {placeholder.chapter for placeholder in found(root)} - {""}


@cache
def template_words() -> tuple[str, ...]:
    """What the template's placeholders say, where it is long enough to be told from an author's own words."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(TEMPLATE.iterdir())]
    said = [match for text in texts for match in re.findall(_WORD + r' @NN@: ([^"|@\n]+)', text)]
    return tuple({words.strip() for words in said if len(words.split()) >= 6})


def _lines(suffix: str, content: str) -> Iterator[tuple[str, str]]:
    """(where, text) of each line that an author writes."""
    if suffix != ".ipynb":
        yield from ((str(number), text) for number, text in enumerate(content.splitlines(), 1))
        return
    for position, cell in enumerate(json.loads(content)["cells"], 1):
        for number, text in enumerate("".join(cell["source"]).splitlines(), 1):
            yield f"cell {position}, line {number}", text
