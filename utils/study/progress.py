"""Remembers which exercises the reader has solved, in their own copy of the course, my/.

One line is added for each: two notebooks at work at once need no lock for that, and a line that was torn by a
full disk or a power cut costs that line and no other.
"""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path

from utils import ROOT

FILE = ROOT / "my" / "progress.jsonl"


def solved(file: Path | None = None) -> dict[str, str]:
    """{id of the exercise: day it was first solved, as 2026-11-26}; damaged lines are left out.  file: `FILE`."""
    file = file or FILE
    found: dict[str, str] = {}
    if file.is_file():
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
                exercise, day = entry["exercise"], entry["day"]
                if isinstance(exercise, str) and isinstance(day, str):
                    found.setdefault(exercise, day)
            except (ValueError, TypeError, KeyError, RecursionError):
                continue
    return found


def remember(exercise: str, file: Path | None = None) -> None:
    """Note in `file` that `exercise` is solved; by default in `FILE`.

    Only what is run in my/ counts: a kernel starts in its notebook's folder, so running solutions/ solves nothing.
    Nor does what `course.py run` and the tests execute (they set COURSE_STORED).  Where nothing can be written,
    nothing happens: a right answer stays right.
    """
    file = file or FILE
    try:
        if os.environ.get("COURSE_STORED") or not Path.cwd().samefile(file.parent):
            return
        if exercise in solved(file) or (file.exists() and not file.is_file()):
            return
        entry = json.dumps({"day": f"{datetime.date.today()}", "exercise": exercise})
        with file.open("a", encoding="utf-8", newline="\n") as lines:
            lines.write(f"\n{entry}\n")  # the first one ends a line that was torn
    except OSError:
        return
