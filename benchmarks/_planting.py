"""Plants one mistake at a time in a notebook: in what is stored, or in what it says when it runs."""

from __future__ import annotations

import ast
import copy
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.course.notebooks import Notebook

_OUTSIDE_BRACKETS = re.compile(r"⟦[^⟧]*⟧|\d")


@dataclass(frozen=True)
class Plant:
    """A mistake: what it does, where, and the changed notebook or source.  cell: number among the code cells."""

    what: str
    where: str
    changed: object
    cell: int | None = None


def changed_notebook(nb: Notebook, change: Callable[[list], None]) -> Notebook:
    """A copy of `nb` after `change(cells)`."""
    content = copy.deepcopy(nb.content)
    change(content.cells)
    return Notebook(nb.name, nb.folder, content)


# ---------------------------------------------------------------- what stands in a notebook


def structural(nb: Notebook) -> Iterator[Plant]:
    """Mistakes that the rules must see without running anything."""
    cells = nb.content.cells
    for i, cell in enumerate(cells):
        where = f"{nb.shown} cell {i}"
        if cell.cell_type == "markdown":
            if heading := re.search(r"(?m)^## .+$", cell.source):
                yield Plant(
                    "removes a heading", f"{where}: {heading[0]}", changed_notebook(nb, _replace(i, heading[0], ""))
                )
            if link := re.search(r"\]\(((?!https?:)[^)#]+)\)", cell.source):
                yield Plant(
                    "breaks a link", f"{where}: {link[1]}", changed_notebook(nb, _replace(i, link[1], "gone.md"))
                )
            continue
        for k, output in enumerate(cell.outputs):
            said = output.get("metadata", {}).get("course", {})
            if said.get("kind") == "claim":
                if "equals" not in said["bound"]:  # what must be equal has no brackets
                    yield Plant(
                        "changes a bracketed figure", f"{where}: {said['id']}", changed_notebook(nb, _bracket(i, k))
                    )
                yield Plant(
                    "negates a stored bound", f"{where}: {said['id']}", changed_notebook(nb, _negate_stored(i, k))
                )
            if "image/png" in output.get("data", {}):
                yield Plant("drops an alternative text", where, changed_notebook(nb, _without_alt(i, k)))
    runs = [i for i, cell in enumerate(cells) if cell.cell_type == "code"]
    for i, j in itertools.pairwise(runs):
        yield Plant("swaps two cells", f"{nb.shown} cells {i} and {j}", changed_notebook(nb, _swap(i, j)))


def _replace(i: int, old: str, new: str):
    return lambda cells: cells[i].update(source=cells[i].source.replace(old, new, 1))


def _bracket(i: int, k: int):
    def change(cells):
        data = cells[i].outputs[k].data
        data["text/plain"] = re.sub(r"⟦([^⟧]*)⟧", lambda m: f"⟦{_other_digit(m[1])}⟧", data["text/plain"])

    return change


def _negate_stored(i: int, k: int):
    def change(cells):
        said = cells[i].outputs[k].metadata["course"]
        opposite = {"below": "above", "above": "below", "low": "below", "high": "above", "equals": "equals"}
        said["bound"] = {
            opposite[name]: _another(limit) if name == "equals" else limit for name, limit in said["bound"].items()
        }

    return change


def _another(value):
    if isinstance(value, bool):
        return not value
    return f"{value}x" if isinstance(value, str) else value + 1


def _without_alt(i: int, k: int):
    return lambda cells: cells[i].outputs[k].update(metadata={})


def _swap(i: int, j: int):
    def change(cells):
        cells[i], cells[j] = cells[j], cells[i]

    return change


def _other_digit(text: str) -> str:
    return re.sub(r"\d", lambda m: str((int(m[0]) + 1) % 10), text, count=1) if re.search(r"\d", text) else f"{text}0"


# ---------------------------------------------------------------- what a notebook says when it runs


def outputs(nb: Notebook) -> Iterator[Plant]:
    """A digit changed outside of brackets: only running the cell shows that it is wrong."""
    for number, cell in enumerate(nb.code):
        if plant := _digit_changed(cell):
            yield Plant(
                "changes a digit in an output", f"{nb.shown} [{cell.execution_count}]: {plant[0]}", plant[1], number
            )


def _digit_changed(cell) -> tuple[str, object] | None:
    for k, output in enumerate(cell.outputs):
        holder = "text" if output.output_type == "stream" else "text/plain"
        text = output.get("text") if holder == "text" else output.get("data", {}).get(holder)
        digits = [m for m in _OUTSIDE_BRACKETS.finditer(text or "") if m[0].isdigit()]
        if not digits or text.startswith(("Figure", "✔")):
            continue
        at = digits[len(digits) // 2].start()
        changed = copy.deepcopy(cell)
        place = changed.outputs[k] if holder == "text" else changed.outputs[k].data
        place[holder] = text[:at] + _other_digit(text[at]) + text[at + 1 :]
        return place[holder][max(0, at - 20) : at + 20].replace("\n", " "), changed
    return None


def negated_claims(nb: Notebook) -> Iterator[Plant]:
    """`below=` written as `above=` and the other way round: the claim is then false."""
    opposite = {"below": "above", "above": "below"}
    for number, cell in enumerate(nb.code):
        found = re.search(r"\bclaim\([^⟦]*?\b(below|above)=", cell.source, re.DOTALL)
        if found:
            changed = copy.deepcopy(cell)
            at = found.start(1)
            changed.source = cell.source[:at] + opposite[found[1]] + cell.source[found.end(1) :]
            yield Plant("negates a claim", f"{nb.shown} [{cell.execution_count}]", changed, number)


def wrong_answers(nb: Notebook) -> Iterator[Plant]:
    """A solution whose function returns nothing: its check must not call it right."""
    for number, cell in enumerate(nb.code):
        call = next((c for where, c in nb.calls("check") if where is cell), None)
        if call is not None and len(call.args) == 2 and isinstance(call.args[1], ast.Name):
            changed = copy.deepcopy(cell)
            line = f"{call.args[1].id} = lambda *args, **kwargs: 0"
            changed.source = (
                cell.source.replace("check(", f"{line}\ncheck(", 1)
                if cell.source.startswith("check(")
                else re.sub(r"(?m)^check\(", f"{line}\ncheck(", cell.source, count=1)
            )
            yield Plant("swaps a solution with a wrong answer", f"{nb.shown} [{cell.execution_count}]", changed, number)
