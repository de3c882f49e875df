"""The programs of the chapters' cells tagged `standalone`, which run without `utils`; docs/recipes.md collects them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from utils import ROOT
from utils.study import placeholders
from utils.study.questions import CHAPTERS

TAG = "standalone"
PAGE = "docs/recipes.md"
_HEAD = """# Recipes

Programs in TensorFlow's, the Toolkit's and LiteRT's own words, to paste into a project. Each is all of its chapter's
cells tagged `standalone`; the tests run it by itself, in an empty folder, without this course's `utils`. This page is
made from the chapters: edit those.
"""


@dataclass(frozen=True)
class Cell:
    """A tagged cell: its position among the code cells, from 1, the heading it stands under, its source."""

    position: int
    heading: str
    source: str


def cells(notebook) -> list[Cell]:
    """The tagged cells of a notebook as JSON or nbformat give it, in order."""
    found, heading, position = [], "", 0
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            titles = re.findall(r"(?m)^#+ (.+)$", re.sub(r"(?ms)^(```|~~~).*?^\1[^\n]*$", "", source))
            heading = titles[-1].strip() if titles else heading
        elif cell["cell_type"] == "code":
            position += 1
            if TAG in cell.get("metadata", {}).get("tags", []):
                found.append(Cell(position, heading, source))
    return found


def program(tagged: list[Cell]) -> str:
    """One Python program of them; a comment before each says which cell it is."""
    return "\n\n".join(f"# cell {cell.position}: {cell.heading}\n{cell.source}" for cell in tagged) + "\n"


def page(root: Path = ROOT) -> str:
    """docs/recipes.md as the finished chapters of `root` make it."""
    parts, begun = [_HEAD], placeholders.unfinished(root)
    for path in sorted((root / "notebooks").glob("[0-9][0-9]*_*.ipynb")):
        number = path.name.partition("_")[0]
        tagged = cells(json.loads(path.read_text(encoding="utf-8"))) if number not in begun else []
        if tagged:
            title = CHAPTERS[number].title
            parts.append(f"## {number} · {title}\n\nFrom [the chapter](../notebooks/{path.name}).\n")
        heading = None
        for cell in tagged:
            parts.append(f"### {cell.heading}\n" if cell.heading != heading else "")
            parts.append(f"```python\n{cell.source}\n```\n")
            heading = cell.heading
    if len(parts) == 1:
        parts.append("No chapter has such cells yet.\n")
    return "\n".join(part for part in parts if part)
