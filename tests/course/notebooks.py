"""A notebook as the rules read it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat

from utils import ROOT
from utils.study import questions


@dataclass(frozen=True)
class Notebook:
    """A notebook of `folder` (notebooks or solutions), as the rules see it."""

    name: str  #: file name, such as 03_quantization.ipynb
    folder: str
    content: nbformat.NotebookNode

    @property
    def number(self) -> str:
        """ "03"; "04b" of a second notebook of chapter 04."""
        return number_of(self.name)

    @property
    def is_chapter(self) -> bool:
        """A chapter or the second notebook of one, not their solutions."""
        return self.folder == "notebooks" and bool(re.match(r"\d\d[a-z]?_", self.name))

    @property
    def shown(self) -> str:
        return f"{self.folder}/{self.name}"

    @property
    def chapter(self) -> questions.Chapter:
        if self.number not in questions.CHAPTERS:
            known = ", ".join(questions.CHAPTERS)
            raise ValueError(f"{self.shown}: a notebook's name starts with its chapter, one of {known}")
        return questions.CHAPTERS[self.number]

    @cached_property
    def code(self) -> list[nbformat.NotebookNode]:
        return [cell for cell in self.content.cells if cell.cell_type == "code"]

    @cached_property
    def text(self) -> list[nbformat.NotebookNode]:
        return [cell for cell in self.content.cells if cell.cell_type == "markdown"]

    @cached_property
    def prose(self) -> str:
        """All text cells, without fenced code."""
        return without_fences("\n\n".join(cell.source for cell in self.text))

    @cached_property
    def headings(self) -> list[tuple[int, str]]:
        """(level, text) of each heading, in order."""
        return [(len(marks), text.strip()) for marks, text in re.findall(r"(?m)^(#{1,6}) (.+)$", self.prose)]

    def section(self, title: str) -> str | None:
        """The text below the heading that contains `title`, up to the next heading; None if there is none."""
        found = re.search(rf"(?mi)^#+ .*{re.escape(title)}.*$\n?((?:(?!^#+ ).*\n?)*)", self.prose + "\n")
        return found[1] if found else None

    def calls(self, name: str) -> Iterator[tuple[nbformat.NotebookNode, ast.Call]]:
        """(cell, call) of every `name(…)` or `….name(…)`; `module.name` asks for that module too."""
        for cell in self.code:
            for node in ast.walk(parsed(cell.source)):
                if isinstance(node, ast.Call) and (
                    ast.unparse(node.func) == name or ("." not in name and ast.unparse(node.func).endswith(f".{name}"))
                ):
                    yield cell, node


def number_of(name: str) -> str:
    """ "04b" of 04b_topic.ipynb."""
    return name.partition("_")[0]


def parsed(source: str) -> ast.Module:
    """The syntax tree of a cell; lines that IPython understands and Python does not are left out."""
    lines = [re.sub(r"^(\s*)[%!].*", r"\1pass", line) for line in source.splitlines()]
    return ast.parse("\n".join(lines))


def literal(node: ast.AST | None) -> object:
    """The value of a constant expression; None for anything that has to be computed."""
    try:
        return ast.literal_eval(node) if node is not None else None
    except ValueError:
        return None


def without_fences(text: str) -> str:
    return re.sub(r"(?ms)^(```|~~~).*?^\1[^\n]*$", "", text)


def read(path: Path) -> Notebook:
    return Notebook(path.name, path.parent.name, nbformat.read(path, as_version=4))


def every(root: Path = ROOT) -> list[Path]:
    """All notebooks of the course, chapters first."""
    return [path for folder in ("notebooks", "solutions") for path in sorted((root / folder).glob("*.ipynb"))]
