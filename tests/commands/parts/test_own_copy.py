"""The reader's copy is made, updated and kept, whatever the disk, the editor or a kill does in between."""

from __future__ import annotations

import contextlib
import errno
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from commands.parts import chapters, environment, own_copy
from commands.parts.carry_over import CHANGED
from commands.parts.errors import Problem
from commands.parts.normalize import cell_id
from commands.parts.own_copy import parse, update_copies
from commands.parts.process_lock import Lock
from tests.course import link_rules
from tests.harness.needs import find

ROOT = Path(__file__).resolve().parents[3]
FIRST = "my/00_start.ipynb"
STUB, ANSWER = 'def f(x): ...\n\n\ncheck("00-1", f)', 'def f(x):\n    return x\n\n\ncheck("00-1", f)'


def notebook(*sources: str) -> bytes:
    """A stored chapter: its code was run."""
    taken: set[str] = set()
    cells = []
    for source in sources:
        kind = "markdown" if source.startswith("#") else "code"
        run = {"outputs": [{"output_type": "stream", "name": "stdout", "text": ["said\n"]}], "execution_count": 1}
        cell = {"id": cell_id(kind, source, taken), "cell_type": kind, "metadata": {}, "source": source}
        cells.append(cell | (run if kind == "code" else {}))
    return own_copy.written({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A course of two chapters in a folder with a space and an umlaut."""
    root = tmp_path / "Übung kurs"
    monkeypatch.setattr(environment, "ROOT", root)
    for folder in (chapters.CHAPTERS, chapters.SOLUTIONS):
        (root / folder).mkdir(parents=True)
    (root / "notebooks/00_start.ipynb").write_bytes(notebook("# Start", STUB, "a = 1"))
    (root / "notebooks/01_next.ipynb").write_bytes(notebook("# Next", "b = 1"))
    return root


def update_course(root: Path) -> None:
    (root / "notebooks/00_start.ipynb").write_bytes(notebook("# Start again", STUB, "a = 2"))


def answer(copy: Path) -> None:
    """The reader solves the exercise and adds a note."""
    content = parse(copy.read_bytes())
    content["cells"][1]["source"] = ANSWER
    content["cells"].append({"id": "note", "cell_type": "markdown", "metadata": {}, "source": "my note"})
    copy.write_bytes(own_copy.written(content))


def sources(path: Path) -> list[str]:
    return [cell["source"] for cell in parse(path.read_bytes())["cells"]]


def test_a_copy_is_the_chapter_without_outputs_and_jupyter_can_read_it(root, capsys):
    assert update_copies() == FIRST
    assert "Copied to my/, without outputs: chapters 00 01." in capsys.readouterr().out
    content = nbformat.read(root / FIRST, as_version=4)
    nbformat.validate(content)
    assert [cell.source for cell in content.cells] == ["# Start", STUB, "a = 1"]
    assert [(cell.outputs, cell.execution_count) for cell in content.cells[1:]] == [([], None)] * 2


def test_an_update_carries_answers_and_notes_and_keeps_the_former_copy(root, capsys):
    update_copies()
    answer(root / FIRST)
    before, other = (root / FIRST).read_bytes(), (root / "my/01_next.ipynb").read_bytes()
    update_course(root)
    course = (root / "notebooks/00_start.ipynb").read_bytes()
    capsys.readouterr()
    update_copies()
    said = capsys.readouterr().out
    assert sources(root / FIRST) == ["# Start again", ANSWER, "a = 2", "my note"]
    assert "my/00_start.ipynb is up to date" in said and "Cells of yours in it: 2." in said
    (former,) = (root / "my/former").iterdir()
    assert former.read_bytes() == before and f"my/former/{former.name}" in said
    assert re.fullmatch(r"00_start \d{4}-\d\d-\d\d \d{4}\.ipynb", former.name)
    assert (root / "notebooks/00_start.ipynb").read_bytes() == course
    assert (root / "my/01_next.ipynb").read_bytes() == other
    files = {path: path.stat().st_mtime_ns for path in (root / "my").rglob("*.ipynb")}
    update_copies()
    assert capsys.readouterr().out == "" and files == {p: p.stat().st_mtime_ns for p in files}, "twice is once"


def test_both_changed_the_same_cell(root, capsys):
    update_copies()
    answer(root / FIRST)
    new = STUB.replace("f(x)", "f(x, bits)")
    (root / "notebooks/00_start.ipynb").write_bytes(notebook("# Start", new, "a = 1"))
    update_copies()
    assert sources(root / FIRST) == ["# Start", CHANGED, new, ANSWER, "a = 1", "my note"]
    assert "The course changed 1 of these too" in capsys.readouterr().out


def test_an_untouched_copy_leaves_no_former_one(root):
    update_copies()
    update_course(root)
    update_copies()
    assert sources(root / FIRST)[0] == "# Start again" and not (root / "my/former").exists()


def test_a_chapter_under_a_new_name_takes_its_copy_along(root, capsys):
    update_copies()
    answer(root / FIRST)
    (root / "notebooks/00_start.ipynb").rename(root / "notebooks/00_begin.ipynb")
    assert update_copies() == "my/00_begin.ipynb"
    assert sources(root / "my/00_begin.ipynb") == ["# Start", ANSWER, "a = 1", "my note"]
    assert not (root / FIRST).exists() and "is called 00_begin.ipynb now" in capsys.readouterr().out


def test_other_files_of_the_reader_are_left_alone(root):
    update_copies()
    mine = {name: f"mine {name}".encode() for name in ("01_ideas.ipynb", "notes.md", "00_start-Copy1.ipynb")}
    for name, content in mine.items():
        (root / "my" / name).write_bytes(content)
    (root / "notebooks/01_next.ipynb").rename(root / "notebooks/01_after.ipynb")
    update_course(root)
    update_copies()
    assert {name: (root / "my" / name).read_bytes() for name in mine} == mine


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"half a noteb",
        b"[]",
        b'{"nbformat": 3, "worksheets": []}',
        b'{"nbformat": 4, "metadata": {}, "cells": [{"cell_type": "code"}]}',
        b'{"nbformat": 4, "metadata": {}, "cells": [{"cell_type": "x", "source": ""}]}',
        b'{"nbformat": 4, "metadata": {}, "cells": [{"cell_type": "raw", "source": {"a": 1}}]}',
        b'{"nbformat": 4, "metadata": {}, "cells": 5}',
        b'{"nbformat": 4, "metadata": {}, "cells": ["x"]}',
        b"\xff\xff\x00",
        b"[" * 100_000,
    ],
    ids=range(11),
)
def test_what_is_no_notebook_any_more_is_kept_aside(root, capsys, damaged):
    update_copies()
    (root / FIRST).write_bytes(damaged)
    capsys.readouterr()
    update_copies()
    said = capsys.readouterr().out
    (kept,) = (root / "my/former").iterdir()
    assert kept.read_bytes() == damaged and kept.name in said and "no notebook any more" in said
    assert sources(root / FIRST) == ["# Start", STUB, "a = 1"]


@pytest.mark.parametrize("record", [None, 5, {}, {"cells": 5}, {"cells": [5]}, {"cells": [["a"]]}, {"cells": [[1, 2]]}])
def test_a_copy_that_forgot_what_it_was_made_from_is_still_updated(root, record):
    update_copies()
    answer(root / FIRST)
    content = parse((root / FIRST).read_bytes())
    content["metadata"][own_copy.RECORD] = record
    (root / FIRST).write_bytes(own_copy.written(content))
    update_copies()
    assert sources(root / FIRST) == ["# Start", ANSWER, "a = 1", "my note"]


def test_a_chapter_whose_cells_have_no_ids_is_copied_and_updated_too(root):
    def without_ids(*sources: str) -> bytes:
        content = parse(notebook(*sources))
        cells = [{key: value for key, value in cell.items() if key != "id"} for cell in content["cells"]]
        return own_copy.written(content | {"cells": cells, "nbformat_minor": 4})

    (root / "notebooks/00_start.ipynb").write_bytes(without_ids("# Start", STUB, "a = 1", "a = 1"))
    update_copies()
    nbformat.validate(nbformat.read(root / FIRST, as_version=4))
    answer(root / FIRST)
    (root / "notebooks/00_start.ipynb").write_bytes(without_ids("# Start again", STUB, "a = 1", "a = 1"))
    update_copies()
    assert sources(root / FIRST) == ["# Start again", ANSWER, "a = 1", "a = 1", "my note"]


def test_half_a_surrogate_pair_and_marks_of_byte_order_survive(root):
    update_copies()
    content = parse((root / FIRST).read_bytes())
    content["cells"][0]["source"] = "\ud83d half a smiley"
    (root / FIRST).write_bytes(b"\xef\xbb\xbf" + own_copy.written(content))
    update_course(root)
    update_copies()
    assert "\ud83d half a smiley" in sources(root / FIRST)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_copy_that_an_editor_saved_in_another_encoding_can_be_opened_again(root, capsys, encoding):
    update_copies()
    answer(root / FIRST)
    (root / FIRST).write_text((root / FIRST).read_text("utf-8"), encoding=encoding)
    saved = (root / FIRST).read_bytes()
    update_copies()  # although the course has nothing new
    nbformat.validate(nbformat.read(root / FIRST, as_version=4))
    assert sources(root / FIRST) == ["# Start", ANSWER, "a = 1", "my note"]
    assert [path.read_bytes() for path in (root / "my/former").iterdir()] == [saved]
    capsys.readouterr()
    update_copies()
    assert capsys.readouterr().out == ""


# ---- places


def test_a_file_in_the_place_of_what_is_kept_is_named(root, capsys):
    update_copies()
    (root / FIRST).write_bytes(b"no notebook")
    (root / "my/former").write_text("mine", encoding="utf-8")
    update_copies()
    assert re.search(r"✘ .*former is a file\..*rename or remove it", capsys.readouterr().out)
    assert (root / FIRST).read_bytes() == b"no notebook" and (root / "my/01_next.ipynb").is_file()


def test_my_may_be_a_link_to_another_folder(root, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (root / "my").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert update_copies() == FIRST and (tmp_path / "elsewhere/00_start.ipynb").is_file()


def test_a_copy_may_be_a_link_to_a_file_elsewhere_and_stays_one(root, tmp_path):
    update_copies()
    answer(root / FIRST)
    elsewhere = tmp_path / "synchronized.ipynb"
    (root / FIRST).rename(elsewhere)
    (root / FIRST).symlink_to(elsewhere)
    update_course(root)
    update_copies()
    assert (root / FIRST).is_symlink() and sources(elsewhere)[0] == "# Start again"
    assert len(list((root / "my/former").iterdir())) == 1


@pytest.mark.parametrize("kind", ["file", "dangling", "into the course", "the course"])
def test_a_my_that_is_no_folder_of_its_own_is_named_and_left_alone(root, kind):
    my = root / "my"
    if kind == "file":
        my.write_text("mine", encoding="utf-8")
    else:
        my.symlink_to({"dangling": root / "nowhere", "into the course": root / "notebooks", "the course": root}[kind])
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with pytest.raises(Problem, match=r"my is a (file|link)"):
        update_copies()
    assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["folder", "dangling", "into the course"])
def test_a_copy_that_is_no_file_is_named_and_stops_no_other(root, capsys, kind):
    (root / "my").mkdir()
    course = (root / "notebooks/00_start.ipynb").read_bytes()
    if kind == "folder":
        (root / FIRST).mkdir()
    else:
        (root / FIRST).symlink_to(root / ("nowhere" if kind == "dangling" else "notebooks/00_start.ipynb"))
    update_copies()
    assert re.search(r"✘ .*00_start.ipynb is (no file|a link into the course)", capsys.readouterr().out)
    assert (root / "my/01_next.ipynb").is_file()
    assert (root / "notebooks/00_start.ipynb").read_bytes() == course


def test_a_broken_chapter_is_named_and_stops_no_other(root, capsys):
    (root / "notebooks/00_start.ipynb").write_text("<<<<<<< HEAD", encoding="utf-8")
    update_copies()
    advice = "Restore it:  git checkout notebooks/00_start.ipynb\n"  # the course's folder may have a space in its name
    assert advice in capsys.readouterr().out and (root / "my/01_next.ipynb").is_file()


# ---- disks


@contextlib.contextmanager
def disk(folder: Path, options: str):
    """A small disk of its own at `folder`; skips where that is not allowed."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a disk needs root on Linux")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_another_disk_is_as_good(root):
    with disk(root / "my", "size=1m"):
        update_copies()
        answer(root / FIRST)
        update_course(root)
        assert update_copies() == FIRST
        assert sources(root / FIRST) == ["# Start again", ANSWER, "a = 2", "my note"]


def test_a_full_disk_leaves_the_copy_as_it_was(root, capsys):
    with disk(root / "my", "size=100k"):
        update_copies()
        answer(root / FIRST)
        before = (root / FIRST).read_bytes()
        with contextlib.suppress(OSError), (root / "my/filler").open("wb", buffering=0) as filler:
            while filler.write(b"x" * 4096):
                pass
        update_course(root)
        (root / "notebooks/01_next.ipynb").write_bytes(notebook("# Next", "b = 2"))
        assert update_copies() == FIRST
        assert capsys.readouterr().out.count("The disk is full") == 1, "said once, not for each chapter"
        assert (root / FIRST).read_bytes() == before
        assert [path.name for path in (root / "my").rglob("*.new")] == []
        (root / "my/filler").unlink()
        update_copies()
        assert sources(root / FIRST)[0] == "# Start again"


def test_a_read_only_disk_is_said_once_and_the_copy_still_opened(root, capsys):
    with disk(root / "my", "size=1m"):
        update_copies()
        subprocess.run(["mount", "-o", "remount,ro", str(root / "my")], check=True)
        update_course(root)
        capsys.readouterr()
        assert update_copies() == FIRST
        said = capsys.readouterr().out
        assert said.count("read-only") == 1 and "cannot be saved" in said


@pytest.mark.parametrize(
    ("number", "word"), [(errno.EROFS, "read-only"), (errno.ENOSPC, "full"), (errno.EACCES, "permission")]
)
def test_without_any_copy_the_chapter_itself_is_opened(root, capsys, monkeypatch, number, word):
    def refuse(path, **_):
        raise OSError(number, "no", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert update_copies() == "notebooks/00_start.ipynb"
    assert word in capsys.readouterr().out


# ---- others at work at the same time


def test_what_is_saved_while_lab_updates_is_updated_too(root, monkeypatch):
    update_copies()
    answer(root / FIRST)
    update_course(root)
    kept = own_copy._keep

    def keep_and_be_overtaken(data, *rest):
        shown = kept(data, *rest)
        if b"late" not in data:
            content = parse((root / FIRST).read_bytes())
            content["cells"].append({"id": "late", "cell_type": "code", "metadata": {}, "source": "late = 1"})
            (root / FIRST).write_bytes(own_copy.written(content))
        return shown

    monkeypatch.setattr(own_copy, "_keep", keep_and_be_overtaken)
    update_copies()
    assert sources(root / FIRST) == ["# Start again", ANSWER, "a = 2", "my note", "late = 1"]


def test_a_file_that_never_rests_is_given_up_with_a_sentence(root, monkeypatch, capsys):
    update_copies()
    update_course(root)
    counts = iter(range(10**6))
    monkeypatch.setattr(own_copy, "_stamp", lambda path: (next(counts), 0, 0))
    update_copies()
    assert "changes again and again" in capsys.readouterr().out and sources(root / FIRST)[0] == "# Start"


CHILD = """
import os, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from commands.parts import environment, own_copy
steps = {steps}
def counted(method):
    def step(self, *given, **named):
        global steps
        steps -= 1
        if steps == 0 and {half}:  # half-written
            given = (given[0][: len(given[0]) // 2],)
        if steps == 0 and not {half}:
            os._exit(9)
        result = method(self, *given, **named)
        if steps == 0:
            os._exit(9)
        return result
    return step
for name in ("write_bytes",) if {half} else ("write_bytes", "replace", "unlink", "mkdir"):
    setattr(Path, name, counted(getattr(Path, name)))
environment.ROOT = Path({root!r})
print(own_copy.update_copies())
"""


def child(root: Path, steps: int = 0, half: bool = False) -> subprocess.Popen:
    code = CHILD.format(here=str(ROOT), root=str(root), steps=steps, half=half)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("half", "steps"), [(False, 9), (True, 3)], ids=["between two steps", "while writing"])
def test_killed_at_any_step_nothing_is_lost_and_the_next_one_finishes(root, monkeypatch, half, steps):
    update_copies()
    answer(root / FIRST)
    update_course(root)
    reader = (root / FIRST).read_bytes()
    (root / "my/01_next.ipynb").unlink()
    for step in range(1, 50):
        place = root.with_name(f"killed at {step}")
        shutil.copytree(root, place)
        process = child(place, step, half)
        process.communicate(timeout=60)
        killed = process.returncode
        assert {ANSWER, "my note"} <= set(sources(place / FIRST))
        assert all(parse(path.read_bytes()) for path in (place / "my").rglob("*.ipynb")), "each whole"
        monkeypatch.setattr(environment, "ROOT", place)
        update_copies()
        assert sources(place / FIRST) == ["# Start again", ANSWER, "a = 2", "my note"]
        assert [path.read_bytes() for path in (place / "my/former").glob("*.ipynb")] == [reader], "kept, and kept once"
        assert list((place / "my").rglob("*.new")) == [] and (place / "my/01_next.ipynb").is_file()
        if killed == 0:
            break
    assert killed == 0 and step > steps, "it was killed at each of its steps, and then ended"


def test_several_at_once_make_what_one_makes(root):
    update_copies()
    answer(root / FIRST)
    update_course(root)
    together = [child(root) for _ in range(3)]
    for process in together:
        said, complaints = process.communicate(timeout=60)
        assert process.returncode == 0 and said.endswith(f"{FIRST}\n"), complaints
    assert sources(root / FIRST) == ["# Start again", ANSWER, "a = 2", "my note"]
    assert len(list((root / "my/former").iterdir())) == 1


def test_one_at_a_time(root):
    (root / "my").mkdir()
    with Lock(root / "my/.lock", "busy"):
        second = child(root)
        assert "Another `course.py lab` is updating my/" in second.stderr.readline()
        assert not (root / FIRST).exists()
    second.communicate(timeout=60)
    assert second.returncode == 0 and (root / FIRST).is_file()


# ---- in this repository


def test_git_ruff_and_pytest_do_not_see_my(tmp_path):
    git = find("git")[0]
    if git is None:
        pytest.skip("git is missing")
    for what in ("folder", "link"):
        place = tmp_path / what
        place.mkdir()
        subprocess.run(["git", "init", "-q", place], check=True)
        (place / ".gitignore").write_text((ROOT / ".gitignore").read_text("utf-8"), encoding="utf-8")
        if what == "folder":
            (place / "my").mkdir()
            (place / "my/00_x.ipynb").touch()
        else:
            (place / "my").symlink_to(tmp_path)
        status = subprocess.run(["git", "status", "--porcelain"], cwd=place, capture_output=True, text=True, check=True)
        assert status.stdout == "?? .gitignore\n"
    settings = (ROOT / "pyproject.toml").read_text("utf-8")
    assert re.search(r'extend-exclude = \[.*"my"', settings)
    assert not re.search(r'testpaths = \[.*"my"', settings) and '"my"' in (ROOT / "conftest.py").read_text("utf-8")


@pytest.mark.parametrize("path", chapters.notebooks(), ids=lambda path: path.stem)
def test_links_of_a_chapter_lead_somewhere_from_its_copy(path):
    """From my/ every link leads to where it leads from notebooks/, or to the copy of another chapter."""
    for cell in parse(path.read_bytes())["cells"]:
        if cell["cell_type"] == "markdown":
            for target in link_rules.links(cell["source"]):
                if "://" not in target and not target.startswith("#"):
                    file = target.partition("#")[0]
                    assert file.startswith("../") or (path.parent / file) in chapters.notebooks(), target


@pytest.mark.parametrize("path", [*chapters.notebooks(), *chapters.notebooks(chapters.SOLUTIONS)], ids=chapters.shown)
def test_opening_and_saving_a_stored_notebook_changes_no_byte(path, tmp_path):
    assert saved_by_jupyterlab(path, tmp_path) == path.read_bytes()


def saved_by_jupyterlab(path: Path, folder: Path) -> bytes:
    """What JupyterLab stores when it opens a notebook, its kernel starts, and it is saved."""
    from jupyter_server.services.contents.largefilemanager import LargeFileManager
    from traitlets.config import Config

    from commands import lab

    hook = next(a for a in lab.lab_arguments(8888, "x", browser=False) if "pre_save_hook" in a).partition("=")[2]
    config = Config({"FileContentsManager": {"pre_save_hook": hook}, "NotebookNotary": {"db_file": ":memory:"}})
    manager = LargeFileManager(root_dir=str(folder), config=config)
    (folder / "x.ipynb").write_bytes(path.read_bytes())
    text = json.dumps(manager.get("x.ipynb", type="notebook")["content"])
    in_browser = json.loads(text, parse_float=lambda t: int(float(t)) if float(t).is_integer() else float(t))
    in_browser["metadata"]["language_info"]["version"] = "3.13.1"  # of the kernel
    manager.save({"type": "notebook", "format": "json", "content": in_browser}, "x.ipynb")
    manager.notary.store.close()  # Python 3.13 warns of a database that is left open
    return (folder / "x.ipynb").read_bytes()
