"""A figure typed into a text is worked or claimed by a cell near it, or has its source beside it."""

from __future__ import annotations

import re

from tests.course.notebooks import Notebook, without_fences

_MEASURES = "%|per cent|dB|decibels?|points?|times|ms|µs|seconds|kB|KB|MB|GB|kilobytes|megabytes|pJ"
_NUMBER = r"(?<![\w.,/:–-])(?:[-−–])?\d[\d,]*(?:\.\d+)?"
#: A number with a decimal point, or with a unit of what is measured; 8 bits and 10,000 pictures are settings.
_FIGURE = re.compile(
    rf"(?P<number>{_NUMBER})(?![\w.]*\.\d)(?:(?<=\d)(?P<unit> ?(?:{_MEASURES})\b| ?%))?(?!\w)", re.IGNORECASE
)
_ANY = re.compile(r"(?<![\w.])[-−]?\d[\d,_]*(?:\.\d+)?(?:e[-+]?\d+)?")
_VERSION = re.compile(
    r"(?:Python|TensorFlow|Keras|LiteRT|Toolkit|NumPy|tf_keras|tfmot|version|release|arXiv|CC BY)[\w ]{0,12}$",
    re.IGNORECASE,
)
_TENSORFLOW = re.compile(r"2\.[12]\d")  # 2.10 to 2.29, in a paragraph about TensorFlow
_WITHOUT = ("Sources", "Exercises")  # what a task gives is no finding
_ALL_OF_IT = ("Cheat sheet", "What you will be able to do", "Quiz")


def figures_worked(nb: Notebook) -> list[str]:
    """Each figure of a text stands in the code or the outputs of its section, or in a paragraph with a link."""
    everything = _worked(nb.code)
    return [
        f"`{title[:50]}` says {said!r}, which no cell of this section computes or prints: work it in a cell, claim it, "
        "or link its source in the same paragraph"
        for title, cells in sections(nb)
        if not title.endswith(_WITHOUT)
        for near in [everything if any(part in title for part in _ALL_OF_IT) else _worked(cells)]
        for cell in cells
        if cell.cell_type == "markdown"
        for said, values, digits in figures(cell.source)
        if not any(_same(value, other, digits) for value in values for other in near)
    ]


def sections(nb: Notebook) -> list[tuple[str, list]]:
    """(title, cells) from one heading of level one or two to the next."""
    found: list[tuple[str, list]] = [("", [])]
    for cell in nb.content.cells:
        titles = re.findall(r"(?m)^#{1,2} (.+)$", without_fences(cell.source)) if cell.cell_type == "markdown" else []
        if titles:
            found.append((titles[-1], []))
        found[-1][1].append(cell)
    return found


def figures(text: str) -> list[tuple[str, set[float], int]]:
    """(as written, its values, digits behind the point) of each figure in a Markdown text; 30 % is 30 and 0.3.

    Not those in `code`, in quotations (a symptom is a story), in versions, and in paragraphs with a link.
    """
    found = []
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-*|]|\d+\.) )", without_fences(text)):
        if re.search(r"\]\(https?:|<https?:", paragraph) or paragraph.lstrip().startswith(">"):
            continue
        for match in _FIGURE.finditer(re.sub(r"`[^`\n]*`", " ", paragraph)):
            number, unit = match["number"], (match["unit"] or "").strip()
            if (not unit and "." not in number) or _VERSION.search(paragraph[: match.start()]):
                continue
            if not unit and "TensorFlow" in paragraph and _TENSORFLOW.fullmatch(number):
                continue
            value = float(number.replace(",", "").replace("−", "-").replace("–", "-"))
            digits = len(number.partition(".")[2])
            values = {value, -value} | (
                {value / 100, 1 - value / 100} if unit in ("%", "per cent", "points", "point") else set()
            )
            found.append((match[0].strip(), values, digits))
    return found


def _worked(cells) -> list[float]:
    """All numbers in the code of these cells and in what they print."""
    texts = [cell.source for cell in cells if cell.cell_type == "code"]
    for cell in cells:
        for output in cell.get("outputs", []):
            texts += [output.get("text", ""), output.get("data", {}).get("text/plain", "")]
    return [
        float(n.replace(",", "").replace("_", "").replace("−", "-"))
        for t in texts
        for n in _ANY.findall(t)
        if n.strip(",_-−")
    ]


def _same(value: float, worked: float, digits: int) -> bool:
    """Whether `worked`, rounded as the text rounds, is `value`."""
    scale = 100 if abs(value) < 1 and not digits else 1
    return abs(value - worked) <= 0.5 * 10.0**-digits / scale + 1e-9
