"""What differs between two executions of a notebook, outside the brackets of claims and tables."""

from __future__ import annotations

import difflib
import json
import re

from commands.parts.normalize import merge_streams

_BRACKETS = re.compile(r"⟦[^⟧]*⟧")
_NOT_COMPARED = "nbval-ignore-output"  # with it a page says that a cell prints the reader's own clock or machine
_PICTURES = ("image/", "application/pdf", "application/vnd.jupyter.widget")


def masked(text: str) -> str:
    """`text` with empty brackets: the only thing that may differ, because a bound checks what stood there."""
    return _BRACKETS.sub("⟦⟧", text)


def visible(cell) -> list[str]:
    """What a code cell's outputs say, as lines that can be compared.

    Pictures are left out, HTML that stands beside plain text (it says the same), and all but the error of a cell whose
    page opts out of comparing it.
    """
    lines: list[str] = []
    opted_out = _NOT_COMPARED in cell.metadata.get("tags", [])
    for output in merge_streams([type(output)(output) for output in cell.get("outputs", [])]):
        if opted_out and output.output_type != "error":
            continue
        if output.output_type == "stream":
            lines += [f"{output.name}: {line}" for line in masked(_text(output.text)).splitlines()]
        elif output.output_type == "error":
            lines.append(f"{output.ename}: {masked(output.evalue)}")
        else:
            for kind, content in sorted(output.data.items()):
                if not kind.startswith(_PICTURES) and not (kind == "text/html" and "text/plain" in output.data):
                    lines += [f"{kind}: {line}" for line in masked(_text(content)).splitlines()]
    return lines


def changed_cells(old, new) -> dict[int, list[str]]:
    """{position of the cell among the code cells, from 1: lines of a diff} for each cell that says something else."""
    before = [cell for cell in old.cells if cell.cell_type == "code"]
    after = [cell for cell in new.cells if cell.cell_type == "code"]
    found = {}
    for position, (was, now) in enumerate(zip(before, after, strict=True), start=1):
        stored, fresh = visible(was), visible(now)
        if stored != fresh:
            diff = difflib.unified_diff(stored, fresh, "stored", "now", lineterm="", n=0)
            found[position] = [line for line in diff if not line.startswith(("---", "+++", "@@"))]
    return found


def _text(content) -> str:
    if isinstance(content, list):
        return "".join(content)
    return content if isinstance(content, str) else json.dumps(content, sort_keys=True)
