"""How a chapter reads.  Each rule takes a Notebook and returns complaints that say what to do.

They hold for every chapter but those that were written before them: chapter_rules.AWAITING_REWRITE.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections import Counter

from tests.course import number_words
from tests.course.figure_rules import figures_worked
from tests.course.formula_rules import formulas_worked
from tests.course.notebooks import Notebook, parsed, without_fences
from utils.plots import OVER, TRENDS, label_words
from utils.study import recipes

CELLS = (15, 80)
LINES, COLUMNS, CLAIMS, TITLE = 15, 88, 2, 3
#: Chapter 00 is the map of the course and teaches no technique.
NOTHING_TO_PASTE = ("00",)

#: What draws a line or points, and names of its axes that stand in the cell.
_LINES = re.compile(r"\bplots\.lines\(|\.(?:plot|semilogx|semilogy|loglog|scatter|errorbar|step)\(")
_LABEL = re.compile(r"""\b(?:set_)?([xy]_?label)(?:=|\()["']([^"']+)["']""")

#: Words of our own -> what the field, and an interviewer, says.
OURS = {
    r"\bdoors?\b": "API, function or entry point",
    r"\b(?:its |their |whose |channel |channel's |layer's |tensor's )reach\b|\breach(?:es)? of\b": "absmax or range",
    r"\b(?:nearest|next|neighbouring|two|one|each|every|free) marks?\b": "level",
    r"\bmarks? (?:of|on) (?:the|a) (?:ruler|grid|scale)\b": "level",
    r"\b(?:the|a) gap\b|\bgap between\b": "difference, step or error",
    r"\b(?:as )?(?:a|the) share (?:of|for)\b": "part, fraction or per cent",
}
#: Figures that nobody can say aloud.
UNSPEAKABLE = {
    r"\bshare of (?:⟦)?[01]\.\d": "a share of one: say per cent, a quarter, or three of 10,000",
    r"\b0\.\d+ of (?:the|all|a|its|them|it|float32's)\b": "a fraction of one: say per cent",
    r"\b1\.0+ of (?:the|all)\b": "say all of them",
    r"\blos(?:es|t|ing) 0(?:\.0+)? of\b": "say that nothing is lost",
}


def size(nb: Notebook) -> list[str]:
    """{CELLS[0]} to {CELLS[1]} cells; a code cell has at most {LINES} lines of at most {COLUMNS} columns."""
    count = len(nb.content.cells)
    wrong = [] if CELLS[0] <= count <= CELLS[1] else [f"a chapter has {CELLS[0]} to {CELLS[1]} cells; this has {count}"]
    for cell in nb.code:
        lines = [line for line in cell.source.splitlines() if line.strip()]
        if len(lines) > LINES:
            wrong.append(f"{_where(cell)} has {len(lines)} lines, at most {LINES}: cut it, or move plumbing to utils")
        wrong += [
            f"{_where(cell)}: a line has {len(line)} columns, at most {COLUMNS}: {line.strip()[:50]}…"
            for line in lines
            if len(line) > COLUMNS
        ]
    return wrong


def claims_apart(nb: Notebook) -> list[str]:
    """At most {CLAIMS} claims a cell."""
    counts = Counter(cell.execution_count for cell, _ in nb.calls("claim"))
    return [
        f"cell [{where}] makes {count} claims, at most {CLAIMS} a cell"
        for where, count in counts.items()
        if count > CLAIMS
    ]


def one_heading(nb: Notebook) -> list[str]:
    """One heading a text cell, at its beginning: each step is a cell."""
    wrong = []
    for cell in nb.text:
        titles = re.findall(r"(?m)^#{1,6} (.+)$", without_fences(cell.source))
        if len(titles) > 1:
            wrong.append(f"the cell of `{titles[0]}` has {len(titles)} headings; begin a new cell with `{titles[1]}`")
        elif titles and not cell.source.lstrip().startswith("#"):
            wrong.append(f"`{titles[0]}` stands within a cell; begin a new cell with it")
    return wrong


def one_thought_a_line(nb: Notebook) -> list[str]:
    """One thought a line: no `:=`, no function in one line, no two statements or calls side by side, no comprehension
    in another."""
    return [f"{_where(cell)}, line {line}: {what}" for cell in nb.code for line, what in packed(parsed(cell.source))]


def packed(tree: ast.Module) -> list[tuple[int, str]]:
    """(line, what to do) for each place that packs several thoughts into one line."""
    comprehensions = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.NamedExpr):
            found.append((node.lineno, "assign in a line of its own, without :="))
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.body[0].lineno == node.lineno:
            if not _stub(node.body[0]):
                found.append((node.lineno, f"write the body of {node.name} below its head"))
        elif isinstance(node, (ast.Assign, ast.Expr)) and isinstance(node.value, ast.Tuple):
            if sum(isinstance(part, ast.Call) for part in node.value.elts) > 1:
                found.append((node.lineno, "two calls in one tuple: give each its line"))
        elif isinstance(node, comprehensions):
            inner = [n for n in ast.walk(node) if isinstance(n, comprehensions) and n is not node]
            if inner:
                found.append(
                    (node.lineno, "a comprehension inside a comprehension: name the inner one, or write a loop")
                )
        for block in (getattr(node, name, None) for name in ("body", "orelse", "finalbody")):
            if isinstance(block, list):
                found += [
                    (b.lineno, "two statements in one line: give each its own")
                    for a, b in itertools.pairwise(block)
                    if b.lineno == a.end_lineno
                ]
    return sorted(found)


def _stub(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.value.value is ...


def words(nb: Notebook) -> list[str]:
    """Texts, claims and pictures use the field's words; a word of ours, *in italics*, may introduce a picture once."""
    wrong = []
    for where, text in _sayings(nb):
        plain = re.sub(r"(?<!\*)\*[^*\n]+\*(?!\*)|`[^`\n]*`", " ", text)
        wrong += [
            f"{where}: {match[0]!r}: say {better}"
            for form, better in OURS.items()
            for match in re.finditer(form, plain, re.I)
        ]
    return wrong


def said_aloud(nb: Notebook) -> list[str]:
    """Figures are such as one speaks: per cent, "a quarter", "three of 10,000"."""
    wrong = [
        f"{where}: {match[0]!r} is {why}"
        for where, text in _sayings(nb)
        for form, why in UNSPEAKABLE.items()
        for match in re.finditer(form, text)
    ]
    for said in _claims(nb):
        if re.fullmatch(r"[01](\.\d+)? of .*", said["figure"]):
            wrong.append(f"claim {said['id']}: {said['figure']!r} is a fraction of one: measure in per cent, unit='%'")
    return wrong


def claims_as_said(nb: Notebook) -> list[str]:
    """The numbers that a claim's sentence compares with are the limits of its bound."""
    return [f"claim {c['id']}: {text}" for c in _claims(nb) for text in not_as_said(c["sentence"], c["bound"])]


def not_as_said(sentence: str, bound: dict) -> list[str]:
    """What the sentence of a claim says and its bound does not check.

    Numbers that are compared ("less than 30 %", "about twice") must all be limits of the bound.  If none is compared,
    one of its parts or multiples ("a quarter") must be.  Other numbers are settings ("8 bits", "10,000 pictures").
    A figure that is exactly so is said in the sentence.
    """
    there = number_words.numbers(sentence)
    if "equals" in bound:
        value = bound["equals"]
        if isinstance(value, (bool, str)) or {value} & ({n.value for n in there} | {n.numerator for n in there}):
            return []
        unnamed = re.search(r"\bso many\b|\bha(?:s|ve)$", sentence) or (there and value not in (0, 1))
        return [f"say that it is {value:,g}"] if unnamed else []
    either = number_words.negated(sentence)
    compared = [number for number in there if number.side]
    unsaid = [number for number in compared if not number_words.said_by(bound, number, either_side=either)]
    if not compared:
        parts = [number for number in there if number.fraction]
        unsaid = parts if not any(number_words.said_by(bound, number) for number in parts) else []
    return [f"it says {number.text!r}, and its bound is {bound}" for number in unsaid]


def drawing_there(nb: Notebook) -> list[str]:
    """A mechanism is drawn: one `drawings.canvas` or more."""
    there = any(look.get("drawing") for _, look in _pictures(nb))
    return [] if there else ["draw a mechanism: `with drawings.canvas(…, alt=…) as d:`"]


def pictures_speak(nb: Notebook) -> list[str]:
    """A chart's title says what was found, in {TITLE} words or more; `says=` checks what its text says of rising and
    falling."""
    wrong = []
    for cell, look in _pictures(nb):
        if look.get("drawing"):
            continue
        if len(look.get("title", "").split()) < TITLE:
            wrong.append(f"{_where(cell)}: a chart needs a title that says what was found: plots.figure(title=…)")
        unsaid = look["alt"]
        for phrase in look.get("says", ()):
            unsaid = unsaid.replace(phrase, " ")
        found = [word for word in re.findall(r"[a-z]+", unsaid.lower()) if word in TRENDS]
        wrong += [
            f"{_where(cell)}: the text says {word!r}: pass says={{phrase: numbers}}, which checks it" for word in found
        ]
    return wrong


def axes_said(nb: Notebook) -> list[str]:
    """The text of a chart with lines says `accuracy over bits`, in words of its labels: `show` notices swapped ones."""
    wrong = []
    for cell, look in _pictures(nb):
        labels = {name.replace("_", ""): text for name, text in _LABEL.findall(cell.source)}
        if look.get("drawing") or not _LINES.search(cell.source) or not {"xlabel", "ylabel"} <= set(labels):
            continue
        found = OVER.search(look["alt"])
        named = {side: label_words(labels[f"{side}label"]) for side in "xy"}  # none in the label "x"
        if not found or any(words and not words & label_words(found[side]) for side, words in named.items()):
            over = f"{labels['ylabel']} over {labels['xlabel']}"
            wrong.append(f"{_where(cell)}: begin the text with what stands over what, such as {over!r}")
    return wrong


def standalone_there(nb: Notebook) -> list[str]:
    """The public calls stand once, whole, in cells tagged `standalone`; chapter {NOTHING_TO_PASTE} may have none."""
    if nb.number in NOTHING_TO_PASTE or recipes.cells(nb.content):
        return []
    return [f"tag the cells that show the public calls `{recipes.TAG}`: together they run without utils"]


def _where(cell) -> str:
    return f"cell [{cell.execution_count}]"


def _claims(nb: Notebook) -> list[dict]:
    said = [output.get("metadata", {}).get("course", {}) for cell in nb.code for output in cell.outputs]
    return [entry for entry in said if entry.get("kind") == "claim"]


def _pictures(nb: Notebook) -> list[tuple]:
    return [
        (cell, look)
        for cell in nb.code
        for output in cell.outputs
        if "alt" in (look := output.get("metadata", {}).get("image/png", {}))
    ]


def _sayings(nb: Notebook) -> list[tuple[str, str]]:
    """(where, text) of all that a chapter says: text cells, sentences of claims, titles and texts of pictures."""
    found = [
        (f"`{cell.source.strip().splitlines()[0][:50]}`", without_fences(cell.source))
        for cell in nb.text
        if cell.source.strip()
    ]
    found += [(f"claim {said['id']}", said["sentence"]) for said in _claims(nb)]
    return found + [(_where(cell), f"{look.get('title', '')} {look['alt']}") for cell, look in _pictures(nb)]


STYLE_RULES = (
    size,
    claims_apart,
    one_heading,
    one_thought_a_line,
    words,
    said_aloud,
    claims_as_said,
    figures_worked,
    formulas_worked,
    drawing_there,
    pictures_speak,
    axes_said,
    standalone_there,
)
