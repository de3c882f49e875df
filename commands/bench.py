"""List the benchmarks, or run some: they make the recorded results in data/results."""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
from pathlib import Path

from commands.parts import environment
from commands.parts.errors import Problem, unknown

NEEDS_ENVIRONMENT = True
PASSES_ON = True
FOLDER = environment.ROOT / "benchmarks"
EXAMPLES = """
  python course.py bench                 the list, with what each does
  python course.py bench mutants         runs one
  python course.py bench mutants --help  arguments behind the name are the benchmark's own
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = f"{parser.prog} [NAME [ARGUMENTS of that benchmark]]"


def main(options: argparse.Namespace) -> int:
    known = benchmarks()
    if not options.rest:
        print(listing(known))
        return 0
    name, *rest = options.rest
    if name not in known:
        raise unknown("benchmark", name, known)
    names = [name, *(word for word in rest if word in known)] if all(word in known for word in rest) else [name]
    own = [] if len(names) > 1 else rest
    for each in names:
        print(f"benchmark {each}", file=sys.stderr, flush=True)
        code = subprocess.call([sys.executable, known[each], *own])
        if code:
            raise Problem(f"The benchmark {each} ended with code {code}; its words stand above. Nothing ran after it.")
    return 0


def benchmarks(folder: Path = FOLDER) -> dict[str, Path]:
    """Every benchmark by name; files with a leading underscore are shared parts."""
    return {path.stem: path for path in sorted(folder.glob("*.py")) if not path.name.startswith("_")}


def listing(known: dict[str, Path]) -> str:
    """One line for each benchmark: its name and the first line of its docstring."""
    if not known:
        return "There are no benchmarks yet."
    width = max(map(len, known))
    return "\n".join(f"  {name:{width}}  {first_line(path)}" for name, path in known.items())


def first_line(path: Path) -> str:
    """The first line of a file's docstring, without running the file."""
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "(says nothing about itself)"
    return text.splitlines()[0]
