"""What quizzes, hints and solutions say, twice, so that one can be held against the other.

Rules take the questions of a quiz and the notebook of their chapter, or the hints and the solution of an exercise, and
return complaints that say what to write.
"""

from __future__ import annotations

import ast
import operator
import re

from tests.course.figure_rules import Worked, claimed, figures, stands_in, worked
from tests.course.notebooks import Notebook
from tests.course.number_words import DIGITS, digits_of

#: A right option's feedback begins with one of these, and no other's does.
AGREEING = ("Yes", "Right", "Correct")
#: An option that is one number: "about 20", "4 times", "−6 dB".
_OPTION = re.compile(
    rf"(?:about |nearly |around |roughly |exactly |some )?(?P<number>{DIGITS})(?: ?%| [a-zA-Zµ]+){{0,2}}\.?"
)
_OPERATIONS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow, ast.USub: operator.neg,
}  # fmt: skip
_CODE = re.compile(r"`([^`]+)`")
#: What is code although no backticks say so: an assignment, a comparison, an operation with spaces around it.
_LOOKS_LIKE_CODE = re.compile(r"\S+ (?:=|==|\+|-|−|\*|·|/|<=|>=|<|>|@) \S+|\w+\([^)]*\)")


def feedback_agrees(questions: list[dict]) -> list[str]:
    """In a quiz, feedback begins with one of {AGREEING} where the option is right, and only there."""
    wrong = []
    for number, question in enumerate(questions, 1):
        for option in question["answers"]:
            agrees = re.match(rf"(?:{'|'.join(AGREEING)})\b", option["feedback"]) is not None
            if agrees != bool(option.get("correct")):
                said = f"question {number}, {_said(option)!r}: its feedback "
                wrong.append(
                    f"{said}begins with {option['feedback'].split()[0]!r}, but the option is marked as wrong"
                    if agrees
                    else f"{said}begins with Yes or Right, since the option is right; got {option['feedback'][:40]!r}"
                )
    return wrong


def numbers_computed(questions: list[dict]) -> list[str]:
    """Where the options of a question are numbers, `"computed": "38 - 3 * 6"` beside them gives the right one."""
    wrong = []
    for number, question in enumerate(questions, 1):
        if not asks_for_a_number(question):
            continue
        try:
            value = computed(question["computed"])
        except KeyError:
            wrong.append(f'question {number} asks for a number: add `"computed": "…"`, plain arithmetic that gives it')
            continue
        except ValueError as error:
            wrong.append(f"question {number}: {error}")
            continue
        for option in question["answers"]:
            fits = _fits(option, value)
            if fits is not None and fits != bool(option.get("correct")):
                wrong.append(
                    f"question {number}: {question['computed']} is {value:g}, and {_said(option)!r} is marked as "
                    f"{'right' if option.get('correct') else 'wrong'}"
                )
    return wrong


def feedback_worked(questions: list[dict], nb: Notebook) -> list[str]:
    """Each figure of a quiz's feedback stands in its question or in a claim of the chapter, or comes out of arithmetic
    beside it, `"worked": ["0.8 ** 2 / 4"]`."""
    entries = [output.get("metadata", {}).get("course", {}) for cell in nb.code for output in cell.get("outputs", [])]
    there = [number for entry in entries for number in claimed(entry)]
    return [
        f"question {number}, {_said(option)!r}: no claim of the chapter has the {figure.said} of its feedback, nor has "
        'the question: mend it, or add `"worked": ["…"]`, arithmetic that gives it, or a record\'s figure'
        for number, question in enumerate(questions, 1)
        for own in [_given(question)]
        for option in question["answers"]
        for figure in figures(option["feedback"])
        if not stands_in(figure, there + own)
    ]


def _given(question: dict) -> list[Worked]:
    """The numbers of a question, of its options, and of the arithmetic beside them."""
    sums = [question[key] for key in ("computed",) if key in question] + question.get("worked", [])
    texts = [question["question"], *sums, *(_said(option) for option in question["answers"])]
    said = [(match, text) for text in texts for match in re.finditer(rf"(?<![\w.]){DIGITS}", text)]
    given = [(digits_of(match[0]), re.match(" ?%", text[match.end() :]) is not None) for match, text in said]
    return [Worked(value, False, percent) for value, percent in [*given, *((computed(text), False) for text in sums)]]


def solution_worked(nb: Notebook, chapter: Notebook) -> list[str]:
    """Each figure of a text in `solutions/` stands in code or outputs there or in the chapter, or in a paragraph with a
    link."""
    there = worked([*nb.code, *chapter.code])
    return [
        f"{figure.said!r} stands in no cell of the solutions or the chapter: mend it, or link its source beside it"
        for cell in nb.text
        for figure in figures(cell.source)
        if not stands_in(figure, there)
    ]


def asks_for_a_number(question: dict) -> bool:
    """Whether one number is the right option: a numeric question, or options that are numbers."""
    numbers = [_number(option) for option in question["answers"]]
    return question["type"] == "numeric" or (question["type"] == "multiple_choice" and None not in numbers)


def computed(text: str) -> float:
    """The value of plain arithmetic, "38 - 3 * 6"; ValueError for anything else."""

    def value(node: ast.AST) -> float:
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
            return node.value
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
            return _OPERATIONS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATIONS:
            return _OPERATIONS[type(node.op)](value(node.operand))
        raise ValueError(f'"computed": {text!r} is numbers with + - * / // % ** and brackets; write nothing else')

    try:
        return float(value(ast.parse(str(text), mode="eval").body))
    except (SyntaxError, ZeroDivisionError, OverflowError, TypeError):
        raise ValueError(f'"computed": {text!r} cannot be worked out') from None


def _said(option: dict) -> str:
    return str(option.get("answer", option.get("value", option.get("range", "anything else"))))


def _number(option: dict) -> float | None:
    found = _OPTION.fullmatch(_said(option).strip())
    return digits_of(found["number"]) if found else None


def _fits(option: dict, value: float) -> bool | None:
    """Whether an option, a number or a range, is this value as it is rounded there; None for "anything else"."""
    if isinstance(option.get("range"), list):
        low, high = option["range"]
        return low <= value < high
    found = _OPTION.fullmatch(_said(option).strip())
    if not found:
        return None
    digits = len(found["number"].partition(".")[2])
    return abs(digits_of(found["number"]) - value) <= 0.5 * 10.0**-digits + 1e-9


def last_hint_leads_there(hint: str, solution: str) -> list[str]:
    """The last hint of an exercise has its code in `backticks`; code and numbers are those of the solution."""
    plain = _CODE.sub(" ", hint)
    wrong = [f"write {found[0]!r} in backticks" for found in _LOOKS_LIKE_CODE.finditer(plain)]
    there = _bare(solution)
    wrong += [
        f"`{part.strip()}` does not stand in the solution, where it would be {_near(part, solution)}"
        for span in _CODE.findall(hint)
        for part in re.split(r";|…", span)
        if _bare(part) not in there
    ]
    numbers = {digits_of(n) for n in re.findall(DIGITS, solution)}
    return wrong + [
        f"the number {n} does not stand in the solution; say it in words or leave it out"
        for n in re.findall(rf"(?<![\w.]){DIGITS}(?![\w])", plain)
        if digits_of(n) not in numbers
    ]


def _bare(code: str) -> str:
    return re.sub(r"\s+", "", code).replace("'", '"').rstrip(".,")


def _near(part: str, solution: str) -> str:
    """The line of the solution that has most words of `part`."""
    words = set(re.findall(r"\w+", part))
    best = max(solution.splitlines() or [""], key=lambda line: len(words & set(re.findall(r"\w+", line))))
    return f"`{best.strip()}`"
