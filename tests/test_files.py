"""Files are written whole or not at all, and what went wrong is said."""

from __future__ import annotations

import errno
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils import ROOT, files


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("content", [b"", b"\0\r\n", bytes(100_000), bytearray(b"ab"), memoryview(b"cd")])
def test_what_was_written_is_read_and_nothing_lies_beside(tmp_path, content):
    path = tmp_path / "new" / "folder" / "file.bin"
    for _ in range(2):  # the second time, it replaces
        assert files.write_bytes(path, content) == path
        assert path.read_bytes() == bytes(content)
    assert left_in(path.parent) == ["file.bin"]


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_text_keeps_its_line_ends(tmp_path_factory, text):
    path = files.write_text(tmp_path_factory.getbasetemp() / "text.txt", text)
    assert path.read_bytes() == text.encode("utf-8")


def test_json_reads_back_with_numpys_numbers_as_numbers(tmp_path):
    content = {"a": np.float32(0.5), "b": [np.int64(3), np.bool_(True)], "c": np.arange(2), "ü": None}
    path = files.write_json(tmp_path / "a.json", content)
    assert json.loads(path.read_text("utf-8")) == {"a": 0.5, "b": [3, True], "c": [0, 1], "ü": None}
    assert path.read_text("utf-8").endswith("}\n") and "ü" in path.read_text("utf-8")


LOOP: list = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    "write, content, error, words",
    [
        (files.write_bytes, "text", TypeError, "kept is str; pass bytes"),
        (files.write_bytes, None, TypeError, "kept is NoneType; pass bytes"),
        (files.write_text, b"bytes", TypeError, "kept is bytes; pass str"),
        (files.write_text, "\ud800", UnicodeEncodeError, "."),
        (files.write_json, {"a": float("nan")}, ValueError, "."),
        (files.write_json, [float("inf")], ValueError, "."),
        (files.write_json, LOOP, ValueError, "."),
        (files.write_json, {"a": object()}, TypeError, "."),
        (files.write_json, {1, 2}, TypeError, "."),
        (files.write_json, {"a": [{1: "lost", "1": "kept"}]}, ValueError, "two keys of a mapping are '1'"),
        (files.write_json, {None: 1, "null": 2}, ValueError, "'null'"),
        (files.write_json, [np.longdouble(1.5)], TypeError, "longdouble"),
        (files.write_json, functools.reduce(lambda inner, _: [inner], range(100_000), []), ValueError, "nothing was"),
    ],
)
def test_what_cannot_be_written_leaves_the_old_file(tmp_path, write, content, error, words):
    path = tmp_path / "kept"
    path.write_bytes(b"old")
    with pytest.raises(error, match=words):
        write(path, content)
    assert path.read_bytes() == b"old" and left_in(tmp_path) == ["kept"]


def failing(number: int):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
@pytest.mark.parametrize(
    "number, sentence",
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "no permission"),
        (errno.EPERM, "no permission"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_an_error_at_any_step_is_a_sentence_and_leaves_the_old_file(tmp_path, monkeypatch, step, number, sentence):
    path = tmp_path / "kept"
    path.write_bytes(b"old")
    owner, name = (Path, "open") if step == "open" else (os, step)
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, failing(number))
        with pytest.raises(OSError, match=rf"{sentence}.*nothing was written.*kept") as raised:
            files.write_bytes(path, b"new")
    assert (raised.value.errno, raised.value.filename) == (number, str(path))
    assert path.read_bytes() == b"old" and left_in(tmp_path) == ["kept"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "kept"
    path.write_bytes(b"old")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.write_bytes(path, b"new")
    assert path.read_bytes() == b"old" and left_in(tmp_path) == ["kept"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux alone has a device that is always full")
def test_a_really_full_disk_is_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "open", lambda self, mode: open("/dev/full", "wb"))  # noqa: PTH123, SIM115
    with pytest.raises(OSError, match="the disk is full"):
        files.write_bytes(tmp_path / "file", b"new")


def test_a_folder_in_the_place_of_the_file_and_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="this is a folder or a device"):
        files.write_bytes(tmp_path / "folder", b"")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="nothing was written"):
        files.write_bytes(tmp_path / "file" / "below", b"")
    assert left_in(tmp_path) == ["file", "folder"] and left_in(tmp_path / "folder") == []


def test_the_longest_name_can_be_written(tmp_path):
    assert files.write_bytes(tmp_path / ("x" * 250), b"a").read_bytes() == b"a"


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither modes nor links without rights")
def test_permissions_stay_links_are_followed_and_other_names_keep_the_old_content(tmp_path):
    real, link, other = tmp_path / "real", tmp_path / "link", tmp_path / "other"
    real.write_bytes(b"old")
    real.chmod(0o640)
    link.symlink_to(real)
    os.link(real, other)
    files.write_bytes(link, b"new")
    assert link.is_symlink() and real.read_bytes() == b"new" and other.read_bytes() == b"old"
    assert real.stat().st_mode & 0o777 == 0o640
    before = os.umask(0o027)
    try:
        assert files.write_bytes(tmp_path / "fresh", b"").stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(before)


def test_check_writable_makes_the_folder_and_leaves_nothing_in_it(tmp_path, monkeypatch):
    files.check_writable(tmp_path / "new")
    assert left_in(tmp_path / "new") == []
    monkeypatch.setattr(Path, "open", failing(errno.EROFS))
    with pytest.raises(OSError, match="read-only"):
        files.check_writable(tmp_path)


def test_it_needs_nothing_but_the_standard_library():
    """`course.py setup` writes files before any package is installed."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import utils.files"
    assert subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=ROOT, check=False).returncode == 0
