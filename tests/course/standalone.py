"""Runs a chapter's standalone cells as a reader would: pasted into a file of their own, far from the course."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from utils import ROOT
from utils.study import recipes

#: The environment has a .pth file that puts the course on the path: a reader's has none.
_RUN = """import os, runpy, sys
sys.path[:] = [p for p in sys.path if not os.path.exists(os.path.join(p, "course.py"))]
runpy.run_path(sys.argv[1], run_name="__main__")"""
_GUARD = ROOT / "tests" / "offline"  # still no network
#: What `utils` and the tests set for their own processes: a reader's shell has none of it.
_OURS = ("TF_USE_LEGACY_KERAS", "COURSE_STORED", "COURSE_SEED", "COURSE_FRESH", "COURSE_TEST_SCRATCH", "PYTHONPATH")


_COURSE = {"utils", "commands", "benchmarks", "tests", "course", "conftest"}


def strangers(tagged: list[recipes.Cell]) -> list[str]:
    """Complaints about names that these cells do not define and about what they import of the course; nothing runs."""
    program = recipes.program(tagged)
    check = ["check", "--isolated", "--select=F821", "--output-format=json", "--exit-zero", "-"]
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *check], input=program, capture_output=True, encoding="utf-8", check=True
    )
    found = [
        f"{_place(row['location']['row'], tagged, program)}: {row['message']}; no standalone cell above defines it"
        for row in json.loads(done.stdout)
    ]
    for node in ast.walk(ast.parse(program)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in {name.split(".")[0] for name in names} & _COURSE:
            found.append(f"{_place(node.lineno, tagged, program)}: imports `{name}` of the course")
    return found


def _place(line: int, tagged: list[recipes.Cell], program: str) -> str:
    """The cell that this line of the program is of."""
    heads = {f"# cell {cell.position}: {cell.heading}" for cell in tagged}
    above = [text for text in program.splitlines()[:line] if text in heads]
    return above[-1].removeprefix("# ") if above else "the program"


def run(tagged: list[recipes.Cell], timeout: float = 300) -> list[str]:
    """Complaints if the program of these cells does not run by itself, within `timeout` seconds."""
    for cell in tagged:
        try:
            ast.parse(cell.source)
        except SyntaxError as error:
            return [f"cell {cell.position} is no Python ({error.msg}): a program has no % and ! lines"]
    if not tagged:
        return []
    program = recipes.program(tagged)
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty"
        empty.mkdir()
        file = Path(folder) / "program.py"
        file.write_text(program, encoding="utf-8")
        command = [sys.executable, "-P", "-c", _RUN, str(file)]  # -P: the working folder is not on the path
        try:
            done = subprocess.run(
                command, cwd=empty, env=_environment(), capture_output=True, encoding="utf-8", timeout=timeout
            )
        except subprocess.TimeoutExpired:
            return [f"the program of cells {[cell.position for cell in tagged]} does not end within {timeout:g} s"]
    return [] if done.returncode == 0 else [_obituary(done.stderr, tagged, program)]


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _OURS}
    return kept | {"PYTHONPATH": str(_GUARD), "PYTHONIOENCODING": "utf-8", "MPLBACKEND": "agg"}


def _obituary(stderr: str, tagged: list[recipes.Cell], program: str) -> str:
    """The last line of the error, and the cell in which it arose."""
    last = next((line.strip() for line in reversed(stderr.splitlines()) if line.strip()), "it said nothing")
    lines = [int(number) for number in re.findall(r'program\.py", line (\d+)', stderr)]
    where = _place(lines[-1] if lines else 0, tagged, program)
    return f"{where}: does not run without the course: {last[:300]}"
