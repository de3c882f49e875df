"""Mistakes in what is said: figures and formulas of texts, claims, answers, quizzes, hints, records, pages.

Each has the rule that must notice it, with what stood there before: a mistake counts as noticed if the rule complains
of something that it did not complain of before.
"""

from __future__ import annotations

import copy
import functools
import itertools
import json
import random
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks._planting import Plant, changed_notebook
from tests.course import answer_rules, figure_rules, formula_rules, quiz_rules, style_rules
from tests.course.notebooks import Notebook
from utils import ROOT, recorded
from utils.plots import TRENDS
from utils.study import exercises, questions, quiz, quotes

#: A number word -> one that is said by mistake.
_WORDS = {
    "two": "three", "three": "six", "four": "five", "five": "four", "six": "three", "seven": "eight", "eight": "seven",
    "nine": "ten", "ten": "nine", "twelve": "eleven", "half": "third", "third": "quarter", "quarter": "third",
    "quarters": "thirds", "thirds": "quarters", "halves": "thirds", "fifth": "sixth", "tenth": "fifth",
    "twice": "thrice", "hundred": "thousand", "thousand": "hundred", "hundredth": "tenth", "thousandth": "hundredth",
    "million": "billion",
}  # fmt: skip
_OPPOSITE = {
    "rise": "fall", "rises": "falls", "rising": "falling", "grow": "shrink", "grows": "shrinks", "growing": "shrinking",
    "climbs": "drops", "increases": "decreases", "increasing": "decreasing", "flat": "rising", "level": "rising",
    "constant": "rising", "steady": "rising", "drop": "rise", "dropping": "growing",
}  # fmt: skip
_OPPOSITE |= {other: word for word, other in _OPPOSITE.items() if other not in _OPPOSITE}


@dataclass(frozen=True)
class Said:
    """A mistake in what is said: the rule that is to notice it, and what that reads before and after."""

    what: str
    where: str
    rule: Callable[[object], list[str]]
    before: object
    after: object
    key: str = ""  #: how a complaint names the place

    def is_fair(self) -> bool:
        """Whether the rule had nothing against this place before: only then can it notice something."""
        return not any(self.key in complaint for complaint in _complaints(self.rule, self.before))

    def noticed(self) -> bool:
        return bool(set(self.rule(self.after)) - _complaints(self.rule, self.before))


_KNOWN: dict[tuple[int, int], tuple[object, set[str]]] = {}


def _complaints(rule: Callable, before: object) -> set[str]:
    """What a rule says of the original, asked once."""
    key = id(rule), id(before)
    if key not in _KNOWN:
        _KNOWN[key] = before, set(rule(before))  # kept, so that no other object gets its id
    return _KNOWN[key][1]


def everything(notebooks: list[Notebook], each: int, seed: int = 0) -> list[Said]:
    """At most `each` mistakes of each kind for each chapter, page or record."""
    numbers = {nb.number for nb in notebooks}
    chapters = [nb for nb in notebooks if nb.is_chapter]
    solutions = {nb.number: nb for nb in notebooks if not nb.is_chapter}
    sources = [(nb.shown, kind(nb)) for nb in chapters for kind in (figures, formulas, sentences, limits)]
    sources += [(f"quiz {number}", options(number)) for number in sorted(numbers)]
    sources += [(f"hints {number}", hints(nb)) for number, nb in solutions.items()]
    sources += [(page.name, swapped_quotes(page)) for page in pages(numbers)]
    sources += [(page.name, typed(page)) for page in pages(numbers) if page.parent.name == "interview"]
    sources += [(name, edited(name)) for name in recorded.names()]
    found = []
    for name, source in sources:
        kinds: dict[str, list[Said]] = {}
        for said in source:
            if said.is_fair():
                kinds.setdefault(said.what, []).append(said)
        for what, plants in kinds.items():
            found += random.Random(f"{seed} {name} {what}").sample(plants, min(each, len(plants)))
    return found


# ---------------------------------------------------------------- chapters


def figures(nb: Notebook) -> Iterator[Said]:
    """A figure of a text, in digits or in words, is another one."""
    for place, cell in enumerate(nb.content.cells):
        if cell.cell_type == "markdown":
            for figure in figure_rules.figures(cell.source):
                if figure.said in cell.source and (new := another(figure.said)):
                    after = changed_notebook(nb, _replaced(place, figure.said, new))
                    where = f"{nb.shown} cell {place}: {figure.said} → {new}"
                    rule = figure_rules.figures_worked
                    yield Said("changes a figure in a text", where, rule, nb, after, repr(figure.said))


def formulas(nb: Notebook) -> Iterator[Said]:
    """A sign in a formula is the other one."""
    for place, cell in enumerate(nb.content.cells):
        for formula in formula_rules.formulas(cell.source) if cell.cell_type == "markdown" else ():
            for i, sign in enumerate(formula):
                changed = formula[:i] + {"+": "-", "-": "+", "−": "+"}.get(sign, sign) + formula[i + 1 :]
                if formula_rules.of_formula(changed) != formula_rules.of_formula(formula):
                    after = changed_notebook(nb, _replaced(place, formula, changed))
                    where = f"{nb.shown} cell {place}: {changed[max(0, i - 30) : i + 30]}"
                    rule = formula_rules.formulas_worked
                    yield Said("changes a sign in a formula", where, rule, nb, after, formula.strip()[:60])


def sentences(nb: Notebook) -> Iterator[Said]:
    """The number that a claim's sentence compares with is another one."""
    for place, k, said in _claims(nb):
        for number in style_rules.number_words.numbers(said["sentence"]):
            word = number.text.strip()
            checked = style_rules.number_words.said_by(said["bound"], number, either_side=True)
            if (number.side or number.fraction) and checked and (new := another(word)):
                after = changed_notebook(nb, _of_claim(place, k, sentence=said["sentence"].replace(word, new, 1)))
                where = f"{nb.shown}: {said['id']}: {word} → {new}"
                rule = style_rules.claims_as_said
                yield Said("changes a number in a claim's sentence", where, rule, nb, after, said["id"])


def limits(nb: Notebook) -> Iterator[Said]:
    """A claim's bound is wider than its sentence says."""
    for place, k, said in _claims(nb):
        if any(number.side for number in style_rules.number_words.numbers(said["sentence"])):
            wider = {"below": 1.5, "high": 1.5, "above": 0.5, "low": 0.5}
            bound = {name: limit * wider.get(name, 1) for name, limit in said["bound"].items() if name in wider}
            if bound and any(bound.values()):
                after = changed_notebook(nb, _of_claim(place, k, bound=bound))
                where = f"{nb.shown}: {said['id']}: {said['bound']} → {bound}"
                yield Said("widens a claim's bound", where, style_rules.claims_as_said, nb, after, said["id"])


def _claims(nb: Notebook) -> Iterator[tuple[int, int, dict]]:
    for place, cell in enumerate(nb.content.cells):
        for k, output in enumerate(cell.get("outputs", [])):
            said = output.get("metadata", {}).get("course", {})
            if said.get("kind") == "claim":
                yield place, k, said


def _of_claim(place: int, k: int, **values):
    return lambda cells: cells[place].outputs[k].metadata["course"].update(values)


def _replaced(place: int, old: str, new: str):
    return lambda cells: cells[place].update(source=cells[place].source.replace(old, new, 1))


def another(text: str) -> str:
    """A figure with another first digit, or another number word; "" if there is neither."""
    if digit := re.search(r"[1-9]", text):
        return text[: digit.start()] + str(int(digit[0]) % 9 + 1) + text[digit.end() :]
    for word in re.finditer(r"[a-z]+", text.lower()):
        if word[0] in _WORDS:
            return text[: word.start()] + _WORDS[word[0]] + text[word.end() :]
    return ""


# ---------------------------------------------------------------- pictures: noticed by running the cell


def swapped_labels(nb: Notebook) -> Iterator[Plant]:
    """What stands on the upright axis is written on the level one."""
    for number, cell in enumerate(nb.code):
        found = {name.replace("_", ""): text for name, text in style_rules._LABEL.findall(cell.source)}
        if {"xlabel", "ylabel"} <= set(found):
            x, y = found["xlabel"], found["ylabel"]
            source = cell.source.replace(f'"{x}"', '"\0"').replace(f'"{y}"', f'"{x}"').replace('"\0"', f'"{y}"')
            yield Plant("swaps axis labels", f"{nb.shown} [{cell.execution_count}]", _cell(cell, source), number)


def turned_trends(nb: Notebook) -> Iterator[Plant]:
    """A picture's text says "falls" of a line that rises; so does what is to check it."""
    for number, cell in enumerate(nb.code):
        alts = [o.get("metadata", {}).get("image/png", {}).get("alt", "") for o in cell.get("outputs", [])]
        words = [word for alt in alts for word in re.findall(r"[a-z]+", alt.lower()) if word in TRENDS]
        if words and words[0] in _OPPOSITE:
            source = re.sub(rf"\b{words[0]}\b", _OPPOSITE[words[0]], cell.source)
            where = f"{nb.shown} [{cell.execution_count}]: {words[0]} → {_OPPOSITE[words[0]]}"
            yield Plant("turns a trend round in a picture's text", where, _cell(cell, source), number)


def _cell(cell, source: str):
    changed = copy.deepcopy(cell)
    changed.source = source
    return changed


# ---------------------------------------------------------------- quizzes and hints


def of_quiz(asked: list[dict]) -> list[str]:
    """What the rules say of a quiz."""
    return [*quiz_rules.feedback_agrees(asked), *quiz_rules.numbers_computed(asked)]


def options(chapter: str) -> Iterator[Said]:
    """Another option is marked as right; the number in the right option is another one."""
    try:
        asked = quiz.load(chapter)
    except ValueError:
        return
    for i, question in enumerate(asked):
        answers = question["answers"]
        right = next(k for k, option in enumerate(answers) if option.get("correct"))
        for k in range(len(answers)):
            if k != right and not answers[k].get("correct"):
                marked = {right: False, k: True}
                after = _changed_quiz(
                    asked, i, lambda k, option, marked=marked: {"correct": marked[k]} if k in marked else {}
                )
                where = f"quiz {chapter}, question {i + 1}: option {k + 1} instead of {right + 1}"
                yield Said("marks another option of a quiz", where, of_quiz, asked, after, f"question {i + 1}")
        key = "answer" if "answer" in answers[right] else "value"
        said = str(answers[right][key])
        if len(re.findall(r"\d[\d,.]*", said)) == 1 and quiz_rules.asks_for_a_number(question):
            new = another(said)
            after = _changed_quiz(asked, i, lambda k, option, at=right, new=new, key=key: {key: new} if k == at else {})
            where = f"quiz {chapter}, question {i + 1}: {said} → {new}"
            yield Said("changes a number in a quiz", where, of_quiz, asked, after, f"question {i + 1}")


def _changed_quiz(asked: list[dict], i: int, change: Callable[[int, dict], dict]) -> list[dict]:
    changed = copy.deepcopy(asked)
    for k, option in enumerate(changed[i]["answers"]):
        option.update(change(k, option))
    return changed


def hints(solutions: Notebook) -> Iterator[Said]:
    """A digit or an operator of a last hint is another one."""
    code = "\n".join(cell.source for cell in solutions.code)
    rule = functools.partial(_hint_leads_there, code)
    try:
        asked = exercises.exercises_of(solutions.number)
    except ValueError:
        return
    for id, exercise in asked.items():
        hint = exercise.hints[-1]
        for match in re.finditer(r"\d|(?<= )[-+*/·−](?= )|[<>](?=[ =])", hint):
            new = {"+": "-", "-": "+", "−": "+", "*": "/", "/": "*", "·": "+", "<": ">", ">": "<"}.get(match[0])
            new = new or str(int(match[0]) % 9 + 1)
            after = hint[: match.start()] + new + hint[match.end() :]
            where = f"hint of {id}: {after[max(0, match.start() - 25) : match.end() + 25]}"
            yield Said("changes a last hint", where, rule, hint, after)


def _hint_leads_there(solution: str, hint: str) -> list[str]:
    return quiz_rules.last_hint_leads_there(hint, solution)


# ---------------------------------------------------------------- pages and records


def pages(numbers: set[str]) -> list[Path]:
    """The README, and the answers to questions of these chapters."""
    found = [ROOT / "README.md"]
    for path in quotes.finished_pages():
        if path.match("interview/q[0-9]*.md") and questions.chapter_of(int(path.stem[1:])) in numbers:
            found.append(path)
    return found


@functools.cache
def ledger() -> list[dict]:
    return json.loads(quotes.LEDGER.read_text("utf-8"))


@functools.cache
def _sentences() -> dict[str, str]:
    return {entry["id"]: entry["sentence"] for entry in ledger()}


def _in_place(text: str) -> list[str]:
    return answer_rules.quotes_in_place(text, _sentences())


def swapped_quotes(page: Path) -> Iterator[Said]:
    """Two quoted figures of a page stand in each other's place."""
    text = page.read_text("utf-8")
    places = [match for match in re.finditer(r"<!--([^>/][^>]*)-->[^<]*<!--/-->", text) if match[1] in _sentences()]
    for a, b in itertools.pairwise(places):
        if a[1] != b[1]:
            after = text[: a.start()] + b[0] + text[a.end() : b.start()] + a[0] + text[b.end() :]
            yield Said("swaps two quotes", f"{page.name}: {a[1]} and {b[1]}", _in_place, text, after)


def typed(page: Path) -> Iterator[Said]:
    """A figure that an answer says in words is another one."""
    text = page.read_text("utf-8")
    for figure in figure_rules.figures(re.sub(r"<!--[^>]*-->[^<]*<!--/-->", " … ", text.split("\n---\n", 1)[-1])):
        new = another(figure.said)
        if figure.said in text and new:
            after = text.replace(figure.said, new)
            yield Said(
                "changes a figure in an answer",
                f"{page.name}: {figure.said} → {new}",
                _claimed,
                text,
                after,
                figure.said,
            )


def _claimed(text: str) -> list[str]:
    return answer_rules.figures_claimed(text, ledger())


def edited(name: str) -> Iterator[Said]:
    """A figure in a record's rows is changed by hand."""
    stored = json.loads((recorded.RESULTS / f"{name}.json").read_text("utf-8"))
    for i, row in enumerate(stored["rows"]):
        for column, value in row.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                after = copy.deepcopy(stored)
                after["rows"][i][column] = value + 1
                yield Said("edits a record by hand", f"{name}: {column} of row {i}", _loads, stored, after)


def _loads(stored: dict) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{stored['name']}.json").write_text(json.dumps(stored), "utf-8")
        try:
            recorded.load(stored["name"], Path(folder))
        except ValueError as error:
            return [str(error)]
    return []


def page_figures(file: str, each: int, seed: int = 0) -> list[Plant]:
    """Numbers of a page's tables and sentences that are another one; judged by the tests of pages."""
    text = (ROOT / file).read_text("utf-8")
    generated = re.compile(r"(?s)<!--rules-->.*?<!--/rules-->|```.*?```|`[^`\n]*`|\]\([^)]*\)|<!--.*?-->")
    plain = generated.sub(lambda match: re.sub(r"\d", "x", match[0]), text)
    found = list(re.finditer(r"(?<=\| )\d[\d,]*(?=,| \|)|(?<![\w.])\d[\d,]*(?= (?:minutes|seconds|s\b|%))", plain))
    chosen = random.Random(f"{seed} {file}").sample(found, min(each, len(found)))
    return [
        Plant(
            "changes a figure of a page",
            f"{file}: {text[max(0, m.start() - 30) : m.end() + 15]!r} → {another(m[0])}",
            text[: m.start()] + another(m[0]) + text[m.end() :],
        )
        for m in sorted(chosen, key=lambda m: m.start())
        if another(m[0])
    ]
