"""The reader's own copy of the chapters in my/, which an update of the course carries on and never overwrites.

A copy is the chapter without outputs.  Its metadata remember the course's cells that it was made from, so that
copy and memory are replaced together, in one rename.  What is replaced is first kept in my/former/, with the
date.  Killed anywhere, my/ holds the old copy or the new one, whole.  docs/decisions/0005-own-copy.md says why.
"""

from __future__ import annotations

import errno
import json
import os
from datetime import datetime
from pathlib import Path

from commands.parts import chapters, environment
from commands.parts.carry_over import carry_over, count_notes, count_own, identified, remembered
from commands.parts.errors import Problem, explain_os_error
from commands.parts.process_lock import Lock

FOLDER, FORMER = "my", "former"
RECORD = "course_copy"  #: key in a copy's metadata: {"of": the chapter's file name, "cells": what is `remembered`}
_ATTEMPTS = 20
_MADE = "made"
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


def update_copies() -> str:
    """Make the copies that are missing, update those whose chapter changed, and say so.

    Gives the notebook to begin with, relative to the course: the first chapter's copy; the chapter itself where no copy
    can be written (the reason is printed).  Problem if my/ is something else than a folder.
    """
    course = chapters.find_notebooks([])
    folder = _folder(environment.ROOT)
    try:
        folder.mkdir(exist_ok=True)
        with Lock(folder / ".lock", "Another `course.py lab` is updating my/"):
            _clear_leavings(folder)
            _refresh_each(course, folder)
    except OSError as error:
        unsaved = " Notebooks run, but what you write in them cannot be saved." if error.errno in _READ_ONLY else ""
        print(f"– my/ cannot be brought up to date. {explain_os_error(error)}{unsaved}")
    name = course[0].name
    return f"{FOLDER}/{name}" if (folder / name).is_file() else f"{chapters.CHAPTERS}/{name}"


def refresh_one(chapter: Path, folder: Path) -> str:
    """Make or update the copy of one chapter; a sentence on what was done, "" if nothing was to do."""
    copy = _place(chapter, folder)
    course = parse(chapter.read_bytes())
    if course is None:
        shown = chapters.shown(chapter)
        raise Problem(f"{shown} is not a notebook. Restore it:  git checkout {shown}")
    course = _to_begin_with(course, chapter)
    for _ in range(_ATTEMPTS):  # again if JupyterLab saves the copy in between
        seen = _stamp(copy)
        new, said = (course, _MADE) if seen is None else _updated(copy.read_bytes(), course, chapter, folder)
        if new is None or _replace(copy, written(new), seen):
            return said
    raise Problem(f"{FOLDER}/{chapter.name} changes again and again. Close what writes it and repeat the command.")


def parse(data: bytes) -> dict | None:
    """A notebook of format 4 as plain data, each source in one piece; None if `data` is none."""
    try:
        notebook = json.loads(data)
        cells = [cell | {"source": "".join(cell["source"])} for cell in notebook["cells"]]
        whole = notebook["nbformat"] == 4 and isinstance(notebook["metadata"], dict)
        whole = whole and all(isinstance(cell["source"], (str, list)) for cell in notebook["cells"])
        whole = whole and all(cell["cell_type"] in ("code", "markdown", "raw") for cell in cells)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return notebook | {"cells": cells} if whole else None


def written(notebook: dict) -> bytes:
    """The inverse of `parse`.  In ASCII: half of a surrogate pair, which JSON may hold, is no UTF-8."""
    cells = [cell | {"source": cell["source"].splitlines(keepends=True)} for cell in notebook["cells"]]
    return (json.dumps(notebook | {"cells": cells}, indent=1, sort_keys=True) + "\n").encode("ascii")


def _folder(root: Path) -> Path:
    folder = root / FOLDER
    if os.path.lexists(folder) and not folder.is_dir():
        what = "a link that leads to no folder" if folder.is_symlink() else "a file"
        raise Problem(f"{folder} is {what}. Your copy of the chapters belongs there: rename or remove it.")
    if folder.resolve() in [(root / name).resolve() for name in (".", chapters.CHAPTERS, chapters.SOLUTIONS)]:
        raise Problem(f"{folder} is a link into the course itself. Remove it, and the course makes a folder instead.")
    return folder


def _clear_leavings(folder: Path) -> None:
    """Remove what an update left behind that was killed while it wrote."""
    for path in [*folder.glob(".*.new"), *(folder / FORMER).glob(".*.new")]:
        path.unlink()


def _refresh_each(course: list[Path], folder: Path) -> None:
    """One chapter that cannot be copied does not stop the others; a full or read-only disk does."""
    names = {chapter.name for chapter in course}
    made = []
    for chapter in course:
        try:
            _follow_renamed(chapter, folder, names)
            said = refresh_one(chapter, folder)
        except Problem as problem:
            said = f"✘ {problem}"
        except OSError as error:
            if error.errno in (*_FULL, errno.EROFS):
                raise
            said = f"✘ {FOLDER}/{chapter.name} is not up to date. {explain_os_error(error)}"
        if said == _MADE:
            made.append(chapters.number(chapter))
        elif said:
            print(said)
    if made:
        print(f"✔ Copied to {FOLDER}/, without outputs: chapters {' '.join(made)}.")
        print("  Write there. An update of the course keeps what you write.")


def _follow_renamed(chapter: Path, folder: Path, names: set[str]) -> None:
    """The copy of a chapter whose file got another name goes on under that name."""
    new = folder / chapter.name
    if os.path.lexists(new):
        return
    for old in sorted(folder.glob(f"{chapters.number(chapter)}_*.ipynb")):
        mine = parse(old.read_bytes()) if old.is_file() and old.name not in names else None
        if mine and _record(mine).get("of") == old.name:
            old.rename(new)
            print(f"– {old.name} is called {new.name} now, in {FOLDER}/ too.")
            return


def _place(chapter: Path, folder: Path) -> Path:
    """Where the copy is written.  A link to a file elsewhere, in a synchronized folder perhaps, is followed."""
    copy = folder / chapter.name
    if os.path.lexists(copy) and not copy.is_file():
        raise Problem(f"{copy} is no file. Your copy of the chapter belongs there: rename or remove it.")
    root, target = chapter.parent.parent.resolve(), copy.resolve()
    if target.is_relative_to(root) and not target.is_relative_to(folder.resolve()):
        raise Problem(f"{copy} is a link into the course itself. Remove it, and the course makes a copy instead.")
    return target


def _to_begin_with(course: dict, chapter: Path) -> dict:
    """A chapter as its copy begins: nothing was run yet; it remembers what it was made from."""
    taken: set[str] = set()
    cells = [identified(cell, taken) for cell in course["cells"]]
    cells = [c | {"outputs": [], "execution_count": None} if c["cell_type"] == "code" else c for c in cells]
    record = {"of": chapter.name, "cells": remembered(cells)}
    return course | {"cells": cells, "nbformat_minor": 5, "metadata": course["metadata"] | {RECORD: record}}


def _updated(old: bytes, course: dict, chapter: Path, folder: Path) -> tuple[dict | None, str]:
    """(the copy's new content or None if it stays, what to say).  What will be replaced has been kept by then."""
    shown = f"{FOLDER}/{chapter.name}"
    mine = parse(old)
    if mine is None:
        kept = _keep(old, f"{chapter.stem} damaged", folder)
        return course, f"– {shown} was no notebook any more: kept as {kept}. A new copy stands in its place."
    record = course["metadata"][RECORD]
    if _record(mine) == record and json.detect_encoding(old) == "utf-8":  # the only one that Jupyter reads
        return None, ""
    base = _record(mine).get("cells", record["cells"])
    cells = carry_over(mine["cells"], base, course["cells"])
    new = course | {"cells": cells, "metadata": course["metadata"] | mine["metadata"] | {RECORD: record}}
    return new, f"✔ {shown} is up to date with the course. {_what_was_kept(old, mine, base, cells, chapter, folder)}"


def _what_was_kept(old: bytes, mine: dict, base: list, cells: list[dict], chapter: Path, folder: Path) -> str:
    own = count_own(mine["cells"], base)
    if not own and len(mine["cells"]) == len(base) and not any(cell.get("outputs") for cell in mine["cells"]):
        return "You had not changed it."
    notes = count_notes(cells) - count_notes(mine["cells"])
    said = f"Cells of yours in it: {own}. " if own else ""
    said += f"The course changed {notes} of these too: a note stands above each. " if notes else ""
    return f"{said}As it was before: {_keep(old, chapter.stem, folder)}"


def _record(notebook: dict) -> dict:
    """What a copy remembers of the course, {} if an editor lost it."""
    record = notebook["metadata"].get(RECORD)
    try:
        whole = all(isinstance(id, str) and isinstance(digest, str) for id, digest in record["cells"])
    except (TypeError, KeyError, ValueError):
        return {}
    return record if whole else {}


def _keep(data: bytes, stem: str, folder: Path) -> str:
    """Keep the content of a copy under its name and the time; the same content once.  Gives the path to show."""
    former = folder / FORMER
    if former.exists() and not former.is_dir():
        raise Problem(f"{former} is a file. What an update replaces is kept in a folder there: rename or remove it.")
    former.mkdir(exist_ok=True)
    for path in former.glob(f"{stem} *.ipynb"):
        if path.stat().st_size == len(data) and path.read_bytes() == data:
            return f"{FOLDER}/{FORMER}/{path.name}"
    name = f"{stem} {datetime.now():%Y-%m-%d %H%M}"
    taken = {path.stem for path in former.glob("*.ipynb")}
    name = next(n for n in (name, *(f"{name} {count}" for count in range(2, 10_000))) if n not in taken)
    _replace(former / f"{name}.ipynb", data, None)
    return f"{FOLDER}/{FORMER}/{name}.ipynb"


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Changes when somebody writes the file; None if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _replace(path: Path, data: bytes, seen: tuple[int, int, int] | None) -> bool:
    """Write beside `path`, then replace it, unless somebody wrote it since it was `seen`."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        beside.write_bytes(data)
        if _stamp(path) != seen:
            return False
        beside.replace(path)
        return True
    finally:
        beside.unlink(missing_ok=True)
