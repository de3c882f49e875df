"""Finds a reader's answers in a chapter that the course stores: one sentence instead of many red tests."""

from __future__ import annotations

import ast
import functools
import json
import re
from pathlib import Path

_CHECK = re.compile(r"""check\(\s*["'](\d\d[a-z]?-\d+)["']\s*,\s*(\w+)""")
_VERDICT = re.compile(r"[✔✘] (\d\d[a-z]?-\d+)\b")


@functools.cache
def found(path: Path) -> str:
    """A sentence that names the first answered exercise of a chapter; empty if its stubs are as the course left them.

    A notebook that cannot be read has no answers here: other tests say what is wrong with it.
    """
    try:
        cells = json.loads(path.read_text("utf-8"))["cells"]
        code = [(number, cell) for number, cell in enumerate(cells, 1) if cell["cell_type"] == "code"]
        answered = next((found for number, cell in code if (found := _answered(number, cell))), None)
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    if answered is None:
        return ""
    place, exercise = answered
    name = f"{path.parent.name}/{path.name}"
    return (
        f"{name}, {place}, holds an answer to exercise {exercise}, so it is no longer the chapter that the course "
        f"stores. Your own copies are in my/: take the answer there, then:  git restore {name}"
    )


def _answered(number: int, cell: dict) -> tuple[str, str] | None:
    """(how readers see the cell, exercise) if the cell solves, or tries to solve, an exercise."""
    source = "".join(cell["source"])
    asked = dict(_CHECK.findall(source))
    said = "".join("".join(output.get("text", "")) for output in cell.get("outputs", []))
    judged = [id for id in _VERDICT.findall(said) if id in asked]
    tried = [id for id, name in asked.items() if not _is_stub(source, name)]
    count = cell.get("execution_count")
    place = f"cell [{count}]" if count else f"the cell at position {number}"
    return (place, [*judged, *tried][0]) if judged or tried else None


def _is_stub(source: str, name: str) -> bool:
    """Whether `name` is still to be written where this cell defines it; true if it is defined elsewhere."""
    try:
        nodes = ast.parse(source).body
    except SyntaxError:  # half an answer
        return False
    for node in nodes:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return any(_is_gap(part) for part in node.body)
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == name for target in node.targets):
            return _is_gap(node)
    return True


def _is_gap(node: ast.stmt) -> bool:
    """`...`, `pass`, `raise NotImplementedError`, or a line with `...` in it."""
    text = ast.unparse(node)
    return "..." in text or text == "pass" or text.startswith("raise NotImplementedError")
