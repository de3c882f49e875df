"""Child processes that answer, fail, crash and hang."""

from __future__ import annotations

import sys

import pytest

from utils import child


def test_children_answer_fail_crash_and_hang():
    assert child.run("builtins:len", b"abc") == 3
    with pytest.raises(child.ChildError, match="could not convert") as error:
        child.run("builtins:float", b"abc")
    assert error.value.kind == "error"
    with pytest.raises(child.ChildError) as error:
        child.run("os:kill_me", b"")
    assert "kill_me" in str(error.value)


def test_a_crash_and_an_endless_loop_are_told_apart(tmp_path, monkeypatch):
    (tmp_path / "broken_child.py").write_text(
        "import os, sys\n"
        "def crash(_): os.write(2, b'INFO: x\\nfatal: gone\\n'); os.abort()\n"
        "def hang(_):\n    while True: pass\n"
        "def chat(_): print('noise'); os.write(1, b'noise'); return 5\n"
        "def eat(_): return len(bytearray(3 * 2**30))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert child.run("broken_child:chat") == 5
    with pytest.raises(child.ChildError) as error:
        child.run("broken_child:crash")
    assert error.value.kind == "crash"
    assert "fatal: gone" in str(error.value)
    with pytest.raises(child.ChildError) as error:
        child.run("broken_child:hang", timeout=1)
    assert error.value.kind == "timeout"
    if sys.platform == "linux":
        with pytest.raises(child.ChildError) as error:
            child.run("broken_child:eat", memory=2 * 2**30)
        assert error.value.kind == "memory"
