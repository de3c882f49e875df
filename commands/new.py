"""Begin a chapter: notebook, solutions, checks, their test and a quiz, from docs/template."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from commands.parts.environment import ROOT
from commands.parts.errors import Problem
from commands.parts.kernels import write_text

NEEDS_ENVIRONMENT = True
EXAMPLES = """
  python course.py new 06 pruning     notebooks/06_pruning.ipynb and what belongs to it
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("number", metavar="NN", help="the chapter's number in utils/study/questions.py")
    parser.add_argument("topic", help="lower-case words for the file name, such as `post_training_quantization`")


def main(options: argparse.Namespace) -> int:
    for path in create(options.number.zfill(2), options.topic):
        print(f"✔ {path.relative_to(ROOT).as_posix()}")
    print(f"Now write it, then:  python course.py run {options.number.zfill(2)} --solutions")
    return 0


def create(number: str, topic: str, root: Path = ROOT) -> list[Path]:
    """Write the files of chapter `number`; Problem if there is no such chapter or a file is there already."""
    from utils.study import questions

    if number not in questions.CHAPTERS:
        raise Problem(f"There is no chapter {number}; utils/study/questions.py lists 00 to 18.")
    if not re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", topic):
        raise Problem(f"A topic is lower-case words joined by _, such as quantization_aware_training; got {topic!r}.")
    files = _files(number, topic)
    there = [path for path in files if (root / path).exists()]
    if there:
        raise Problem(f"{there[0]} is there already; nothing was written.")
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        write_text(root / path, content)
    return [root / path for path in files]


def _files(number: str, topic: str) -> dict[str, str]:
    return {
        f"notebooks/{number}_{topic}.ipynb": _notebook(_filled("chapter.py", number), number),
        f"solutions/{number}_{topic}.ipynb": _notebook(_filled("solutions.py", number), number),
        f"utils/study/checks/ch{number}.py": _filled("checks.py", number),
        f"tests/study/checks/test_ch{number}.py": _filled("test_checks.py", number),
        f"data/quizzes/{number}.json": _filled("quiz.json", number),
    }


def _filled(name: str, number: str) -> str:
    """A file of the template with this chapter's number, title, minutes and questions."""
    from utils.study import questions

    chapter = questions.CHAPTERS[number]
    asked = "\n".join(
        _template("question.py").replace("@HEADING@", questions.heading(n)).replace("@N@", str(n))
        for n in chapter.questions
    )
    text = _template(name).replace("# @QUESTIONS@\n", asked)
    return text.replace("@NN@", number).replace("@TITLE@", chapter.title).replace("@MINUTES@", str(chapter.minutes))


def _notebook(script: str, number: str) -> str:
    import jupytext
    import nbformat

    from commands.parts.normalize import normalize

    return nbformat.writes(normalize(jupytext.reads(script, "py:percent"))) + "\n"


def _template(name: str) -> str:
    return (ROOT / "docs/template" / name).read_text(encoding="utf-8")
