"""The signs of formulas: what a text adds and subtracts, a cell adds and subtracts."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator

from tests.course.notebooks import Notebook, parsed, without_fences

#: A sum: sign and letters of each term.  scale · q − zero_point is ("+", {"s", "q"}), ("-", {"z"}).
Sum = list[tuple[str, frozenset[str]]]

_FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<![\\$])\$([^$\n]+)\$", re.DOTALL)
#: LaTeX -> signs, letters and brackets that say the same.
_PLAIN = (
    (r"\\(?:left|right|[bB]igg?|textstyle|displaystyle|q?quad)(?![a-zA-Z])|\\[,;:! ]", " "),
    (r"\\(?:text|mathrm|operatorname|mathit|hat|tilde|bar)\s*\{([^{}]*)\}", r" \1 "),
    (r"\\(?:hat|tilde|bar)\s", " "),
    (r"_\{[^{}]*\}|_\\\w+|_\w|\^\{[^{}]*\}|\^\\?\w", ""),
    (r"\\underbrace\s*\{", "{"),
    (r"\\[dt]?frac|\\sqrt|\\sum|\\prod|\\cdot|\\times|\\log|\\ln|\\exp|\\max|\\min", " "),
    (r"\\(?:le|ge|leq|geq|approx|pm|mp|in|to|Rightarrow|ldots|dots|neq|ne|sim|propto)(?![a-zA-Z])", ","),
    (r"\\(?:var)?([a-zA-Z])\w*", r" \1 "),
    (r"\\\{|\\\}", ","),
    (r"\{", "("), (r"\}", ")"), (r"\[", "("), (r"\]", ")"),
    (r"[−–]", "-"),
    (r"=|<|>|≈|±|\\\\|&", ","),
    (r"\b(?:round|sqrt|log|exp|max|min|clip|floor|abs|mean|sum|conv)\b", " "),
)  # fmt: skip


def formulas_worked(nb: Notebook) -> list[str]:
    """What a formula, `$q - z$`, adds and subtracts, a cell of the chapter adds and subtracts too, with names that
    begin with the same letters; or its paragraph has a link."""
    there = [summed for source in _sources(nb) for summed in of_code(source)]
    return [
        f"`{formula.strip()[:60]}` has {_said(summed)}, which no cell computes: compute it, with names that begin with "
        "these letters, or link its source in the same paragraph"
        for cell in nb.text
        for formula in formulas(cell.source)
        for summed in of_formula(formula)
        if not any(_within(summed, other) for other in there)
    ]


def formulas(text: str) -> list[str]:
    """The formulas of a Markdown text, without dollars, but for those of paragraphs with a link."""
    return [
        match[1] or match[2]
        for paragraph in re.split(r"\n\s*\n", without_fences(text))
        if not re.search(r"\]\(https?:|<https?:", paragraph)
        for match in _FORMULA.finditer(paragraph)
    ]


def _within(summed: Sum, other: Sum) -> bool:
    """Whether each term of a formula has a term of the code for itself, with its sign and one of its letters."""
    return len(other) <= 6 and any(
        all(sign == own and letters & theirs for (sign, letters), (own, theirs) in zip(summed, order, strict=True))
        for order in itertools.permutations(other, len(summed))
    )


def _said(summed: Sum) -> str:
    return " ".join(f"{sign} {'·'.join(sorted(letters))}" for sign, letters in summed).replace("-", "−")


def _sources(nb: Notebook) -> Iterator[str]:
    """The code of a chapter, and the functions that it shows."""
    for cell in nb.code:
        yield cell.source
        for output in cell.outputs:
            yield output.get("data", {}).get("text/plain", "") or output.get("text", "")


def of_formula(latex: str) -> list[Sum]:
    """The sums of letters in a formula, those in brackets too; not those of numbers alone."""
    latex = re.sub(r"\\text\{[^{}]*\}", lambda match: match[0].replace("-", ""), latex)  # a hyphen is no minus
    for form, plain in _PLAIN:
        latex = re.sub(form, plain, latex)
    found, inner = [], re.compile(r"\(([^()]*)\)")
    while match := inner.search(latex):
        found += _sums(match[1])
        inside = " ".join(re.findall(r"\w+", match[1]))
        latex = f"{latex[: match.start()]} {inside} {latex[match.end() :]}"
    found += _sums(latex)
    return [summed for summed in found if any(letter.isalpha() for _, letters in summed for letter in letters)]


def _sums(text: str) -> list[Sum]:
    """The sums of a text without brackets; commas part them."""
    found = []
    for part in text.split(","):
        terms = [(sign or "+", _letters(term)) for sign, term in re.findall(r"([+-]?)([^+-]+)", part)]
        terms = [term for term in terms if term[1]]
        if len(terms) > 1:
            found.append(terms)
    return found


def _letters(term: str) -> frozenset[str]:
    """The first letter of each name in a term, and its whole numbers if it has no names."""
    names = re.findall(r"(?<![a-zA-Z])[^\W\d_]", term)
    return frozenset(name.lower() for name in names) or frozenset(re.findall(r"\d+", term))


def of_code(source: str) -> list[Sum]:
    """The sums in Python code; of a text that is no code, none."""
    try:
        tree = parsed(source)
    except (SyntaxError, ValueError):
        return []
    sums = [node for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub))]
    return [list(terms(node)) for node in sums]


def terms(node: ast.AST, sign: str = "+") -> Iterator[tuple[str, frozenset[str]]]:
    """(sign, letters) of each term of a sum."""
    other = {"+": "-", "-": "+"}
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        yield from terms(node.left, sign)
        yield from terms(node.right, sign if isinstance(node.op, ast.Add) else other[sign])
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield from terms(node.operand, other[sign])
    else:
        names = [part.id for part in ast.walk(node) if isinstance(part, ast.Name) and part.id not in ("np", "tf")]
        yield sign, _letters(" ".join(names)) or _letters(ast.unparse(node))
