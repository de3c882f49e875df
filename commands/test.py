"""Run the tests: pytest, as pyproject.toml sets it up, in the course's environment."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from commands.parts import environment
from commands.parts.errors import Problem, closest_name

NEEDS_ENVIRONMENT = True
PASSES_ON = True
EXAMPLES = """
  python course.py test                                   everything, notebooks included
  python course.py test tests/measure/test_scorecard.py   one file
  python course.py test notebooks/12_tensorflow_lite.ipynb        a chapter's stored outputs, compared cell by cell
  python course.py test -k prune -x                       whatever pytest understands is passed on
  python course.py test --with tfx                        also what needs the environment of chapter 17
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = f"{parser.prog} [--with tfx|tff] [PATH …] [pytest's own options]"
    environment.with_argument(parser)


def main(options: argparse.Namespace) -> int:
    environment.ensure_extras(options.extras)
    os.environ["COURSE_WITH"] = ",".join(options.extras)
    given = [resolve(word, before) for before, word in zip(["", *options.rest], options.rest, strict=False)]
    if not environment.writable(environment.ROOT):
        given += ["-p", "no:cacheprovider"]
        os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", tempfile.mkdtemp(prefix="hypothesis-"))
        sys.dont_write_bytecode = True
    os.chdir(environment.ROOT)
    import pytest

    return int(pytest.main(given))


def resolve(argument: str, before: str = "") -> str:
    """A path as pytest needs it: typed relative to where the user is, or to the course's folder.

    The answer is relative to the course, where pytest runs: it takes brackets in the folders above for parameters.
    before: the argument in front of this one; behind an option it may be a path that pytest is going to make.
    """
    path, colons, test = argument.partition("::")
    if argument.startswith("-") or before in ("-k", "-m"):
        return argument
    for base in (Path.cwd(), environment.ROOT):
        if (base / path).exists():
            place = (base / path).resolve()
            inside = place.is_relative_to(environment.ROOT)
            return f"{place.relative_to(environment.ROOT).as_posix() if inside else place}{colons}{test}"
    if not before.startswith("-") and ("/" in path or path.endswith((".py", ".ipynb"))):
        raise Problem(_no_such_file(path))
    return argument  # the value of an option such as --junit-xml


def _no_such_file(path: str) -> str:
    root = environment.ROOT
    files = [*root.glob("tests/**/*.py"), *root.glob("notebooks/*.ipynb"), *root.glob("solutions/*.ipynb")]
    match = closest_name(path, [file.relative_to(root).as_posix() for file in files])
    return f"There is no file {path}." + (f" Did you mean {match}?" if match else "")
