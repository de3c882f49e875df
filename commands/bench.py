"""List the benchmarks, or run some: they make the recorded results in data/results."""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
from pathlib import Path

from commands.parts import environment
from commands.parts.errors import Problem, unknown
from commands.parts.files import check_writable

NEEDS_ENVIRONMENT = True
PASSES_ON = True
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
    names, own = ([name, *rest], []) if all(word in known for word in rest) else ([name], rest)
    if not {"-h", "--help"} & set(own):
        _refuse_what_cannot_be_stored()
    for each in names:
        print(f"benchmark {each}", file=sys.stderr, flush=True)
        code = subprocess.call([sys.executable, known[each], *own])
        if code:
            raise Problem(f"The benchmark {each} ended with code {code}; its words stand above. Nothing ran after it.")
    return 0


def _refuse_what_cannot_be_stored() -> None:
    """Before the work and not after it: some benchmarks take an hour."""
    try:
        check_writable(environment.ROOT / "data/results")
    except OSError as error:
        raise Problem(f"The benchmark was not started, because its result could not be stored: {error}") from None


def benchmarks() -> dict[str, Path]:
    """Every benchmark by name; files with a leading underscore are shared parts."""
    files = sorted((environment.ROOT / "benchmarks").glob("[!_]*.py"))
    return {path.stem: path for path in files}


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
