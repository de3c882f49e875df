"""A figure typed into a text is worked or claimed by a cell near it, or has its source beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.course import number_words
from tests.course.notebooks import Notebook, without_fences

_MEASURES = "%|per cent|percent|dB|decibels?|points?|times|ms|µs|seconds|kB|KB|MB|GB|kilobytes|megabytes|pJ"
_NUMBER = r"(?<![\w.,/:–-])(?:[-−–])?\d[\d,]*(?:\.\d+)?"
#: A number with a decimal point, or with a unit of what is measured; 8 bits and 10,000 pictures are settings.
_FIGURE = re.compile(
    rf"(?P<number>{_NUMBER})(?![\w.]*\.\d)(?:(?<=\d)(?P<unit> ?(?:{_MEASURES})\b| ?%))?(?!\w)", re.IGNORECASE
)
#: What is measured, in words: "three decibels", "two and a half times", "a quarter of the bytes".
_AFTER_WORDS = re.compile(
    r"[ -](?P<unit>per cent|percent|dB|decibels?|points?|times|milliseconds|kilobytes|megabytes)\b"
    r"|(?P<part> of (?:the |its |their |float32's )?"
    r"(?:bytes|time|size|memory|weights|accuracy|file|error|energy|range)\b)"
)
_ANY = re.compile(r"(?<![\w.])[-−]?\d[\d,_]*(?:\.\d+)?(?:e[-+]?\d+)?")
_VERSION = re.compile(
    r"(?:Python|TensorFlow|Keras|LiteRT|Toolkit|NumPy|tf_keras|tfmot|version|release|arXiv|CC BY)[\w ]{0,12}$",
    re.IGNORECASE,
)
_TENSORFLOW = re.compile(r"2\.[12]\d")  # 2.10 to 2.29, in a paragraph about TensorFlow
#: A setting of statistics, however often it is said.
_INTERVAL = re.compile(r"^ ?(?:Wilson |confidence |bootstrap |Newcombe |prediction )?(?:intervals?|confidence)\b")
#: Units in which a cell may have the number: 1.7 MB is 1,700,000 bytes, 3 ms are 0.003 s.
_SCALES = {
    "kb": 1e3,
    "kilobytes": 1e3,
    "mb": 1e6,
    "megabytes": 1e6,
    "gb": 1e9,
    "ms": 1e-3,
    "milliseconds": 1e-3,
    "µs": 1e-6,
}
_LESS = re.compile(r"\b(?:less|fewer|smaller|shorter|lower|faster|saves?|saved|left|lost|gone|off|rest|stay)\b")
_WITHOUT = ("Sources", "Exercises")  # what a task gives is no finding
_PERCENT = ("%", "per cent", "percent")
#: Units that settings have too; of the others, a small whole number counts if the code multiplies or divides by it.
_LARGE = 20
_OF_SETTINGS = ("", *_SCALES, "seconds")
#: Units that a claim names if it measures in them.
_SPOKEN = dict.fromkeys(("db", "decibel", "decibels"), "dB|decibel") | dict.fromkeys(("point", "points"), "point")
_ALL_OF_IT = ("Cheat sheet", "What you will be able to do", "Quiz")
#: A figure is worked by one of so many cells before or behind it.
NEAR = 6
#: Words are round: "a quarter" is said of 0.23 to 0.27.
_ROUND = 0.1


@dataclass(frozen=True)
class Figure:
    """A figure of a text: as written, the values that it may stand for, how far off they may be, its unit."""

    said: str
    values: frozenset[float]
    within: float
    unit: str = ""


@dataclass(frozen=True)
class Worked:
    """A number that a cell has or prints: whole ones are mostly settings, which measure nothing."""

    value: float
    whole: bool
    percent: bool = False  #: it is printed with its sign
    factor: bool = False  #: the code multiplies or divides by it
    claim: str = ""  #: the sentence and the figure of the claim whose number it is


def figures_worked(nb: Notebook) -> list[str]:
    """Each figure of a text, "three decibels" too, stands in code or outputs of its section, {NEAR} cells away at most,
    or in a paragraph with a link; those of the cheat sheet anywhere in the chapter."""
    everything = worked(nb.code)
    return [
        f"`{title[:50]}` says {figure.said!r}, which no cell near it ({NEAR} before or behind, of this section) "
        "computes or prints: work it in a cell, claim it, or link its source in the same paragraph"
        for title, cells in sections(nb)
        if not title.endswith(_WITHOUT)
        for place, cell in enumerate(cells)
        if cell.cell_type == "markdown"
        for near in [
            everything
            if any(part in title for part in _ALL_OF_IT)
            else worked(cells[max(0, place - NEAR) : place + NEAR + 1])
        ]
        for figure in figures(cell.source)
        if not stands_in(figure, near)
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


def figures(text: str) -> list[Figure]:
    """Each figure in a Markdown text; 30 % is 30 and 0.3, and "30 % less" 0.7 too.

    Not those in `code`, in quotations (a symptom is a story), in versions, and in paragraphs with a link.
    """
    return [
        figure
        for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-*|]|\d+\.) )", without_fences(text))
        if not re.search(r"\]\(https?:|<https?:", paragraph) and not paragraph.lstrip().startswith(">")
        for figure in _of_paragraph(re.sub(r"`[^`\n]*`|“[^”]*”", " ", paragraph))
    ]


def _of_paragraph(text: str) -> list[Figure]:
    found = []
    for match in _FIGURE.finditer(text):
        number, unit = match["number"], (match["unit"] or "").strip()
        if (not unit and "." not in number) or _VERSION.search(text[: match.start()]):
            continue
        if not unit and "TensorFlow" in text and _TENSORFLOW.fullmatch(number):
            continue
        if unit == "%" and _INTERVAL.match(text[match.end() :]):
            continue
        value = number_words.digits_of(number.replace("–", "-"))
        within = 0.5 * 10.0 ** -len(number.partition(".")[2])
        around = text[max(0, match.start() - 40) : match.end() + 40]
        found.append(Figure(match[0].strip(), _values(value, unit, around), within, unit))
    for number in number_words.numbers(text):
        after = _AFTER_WORDS.match(text[number.end :])
        if after and not re.search(r"\d", number.text):
            said, unit = number.text + after[0], after["unit"] or ""
            around = text[max(0, number.end - 60) : number.end + 40]
            values = _values(number.value, unit, around)
            found.append(Figure(said, values, _ROUND * abs(number.value) if after["part"] else 0.5, unit))
    return found


def _values(value: float, unit: str, around: str) -> frozenset[float]:
    """What a number with its unit may be in a cell: itself, in plain bytes or seconds, a fraction, what that leaves."""
    if unit == "times" and value:
        return frozenset({value, -value, 1 / value})
    if unit not in (*_PERCENT, "points", "point"):
        return frozenset({value, -value})
    return frozenset({value, -value, value / 100} | ({1 - value / 100} if _LESS.search(around) else set()))


def worked(cells) -> list[Worked]:
    """All numbers in the code of these cells and in what they print."""
    found = []
    for cell in cells:
        if cell.cell_type == "code":
            for match, value in _numbers(cell.source):
                beside = cell.source[: match.start()].rstrip()[-1:] + cell.source[match.end() :].lstrip()[:1]
                found.append(Worked(value, _whole(match[0]), factor=any(sign in beside for sign in "*/")))
        for output in cell.get("outputs", []):
            found += claimed(output.get("metadata", {}).get("course", {}))
            for text in (output.get("text", ""), output.get("data", {}).get("text/plain", "")):
                for match, value in _numbers(text):
                    percent = re.match(r"⟧? ?(?:%|per ?cent)", text[match.end() :]) is not None
                    found.append(Worked(value, _whole(match[0]), percent))
    return found


#: Words before a limit, which nobody measured: "less than 3 dB".
_LIMITING = (
    r"\b(?:(?:less|more|fewer|larger|smaller|better|higher|lower|faster|slower) than|over|under|above|below|at least|"
    r"at most|up to|within)\s+"
)


def needs_measure(figure: Figure, text: str) -> bool:
    """Whether a limit is no evidence for it: decibels and points that are not said as one, as "over three decibels"."""
    if figure.unit.lower() not in _SPOKEN:
        return False
    said, text = re.escape(" ".join(figure.said.split())), " ".join(text.split())
    return not re.search(_LIMITING + said, text, flags=re.I)


def claimed(entry: dict, limits: bool = True) -> list[Worked]:
    """What a claim measured and says, in words too; an entry is one of the ledger, or the metadata of an output.

    limits: its bounds as well, and the figures that its sentence says as such.
    """
    if "sentence" not in entry:
        return []
    bounds = [float(v) for v in entry["bound"].values() if isinstance(v, (int, float)) and not isinstance(v, bool)]
    text = f"{entry['sentence']} {entry['figure']}"
    sentence = entry["sentence"] if limits else re.sub(_LIMITING + r"\S+", " ", entry["sentence"], flags=re.I)
    numbers = number_words.numbers(sentence)
    said = [number.value for number in numbers if number.side or number.fraction]  # others are settings: 8 bits
    said += [value for figure in figures(sentence) for value in figure.values]
    said += bounds if limits else []
    measured = [Worked(v, _whole(m[0]), "%" in entry["figure"], claim=text) for m, v in _numbers(entry["figure"])]
    return [*measured, *(Worked(value, False, claim=text) for value in said)]


def _numbers(text: str) -> list[tuple[re.Match, float]]:
    matches = [match for match in _ANY.finditer(text) if match[0].strip(",_-−")]
    return [(match, float(re.sub("[,_]", "", match[0]).replace("−", "-"))) for match in matches]


def _whole(text: str) -> bool:
    return "." not in text and "e" not in text


def stands_in(figure: Figure, cells: list[Worked]) -> bool:
    """Whether one of these numbers, rounded as the text rounds, is the figure; equal settings do not count."""
    return any(_is(figure, number) for number in cells)


def _is(figure: Figure, other: Worked) -> bool:
    unit = figure.unit.lower()
    if other.whole and unit in _PERCENT and not other.percent:
        return False
    small = other.whole and abs(other.value) < _LARGE
    if small and unit not in _OF_SETTINGS and not (other.factor or other.percent):
        return False
    if other.claim and unit in _SPOKEN and not re.search(_SPOKEN[unit], other.claim):
        return False
    same = (other.value, other.value / _SCALES.get(unit, 1), other.value / (100 if other.percent else 1))
    for value in figure.values:
        within = figure.within
        if abs(value) < 1 and unit:  # a fraction of one: 26 % is 0.26, four times smaller a quarter
            within = _ROUND * abs(value) if unit == "times" else within * 0.01
        if any(abs(value - number) <= within + 1e-9 for number in same):
            return True
    return False
