"""Runs a chapter's standalone cells as a reader would: pasted into a file of their own, far from the course."""

from __future__ import annotations

import ast
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


def run(tagged: list[recipes.Cell], timeout: float = 120) -> list[str]:
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
    before = program.splitlines()[: lines[-1]] if lines else []
    heads = [line for line in before if line in {f"# cell {cell.position}: {cell.heading}" for cell in tagged}]
    where = heads[-1].removeprefix("# ") if heads else "the program"
    return f"{where}: does not run without the course: {last[:300]}"
