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
    with pytest.raises(child.ChildError, match=r"^it did not end within 1 s$") as error:
        child.run("broken_child:hang", timeout=1)
    assert error.value.kind == "timeout"
    if sys.platform == "linux":
        with pytest.raises(child.ChildError) as error:
            child.run("broken_child:eat", memory=2 * 2**30)
        assert error.value.kind == "memory"


REPORTS = """
import os, resource, signal

KINDS = (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_CORE)

def limits(_): return [resource.getrlimit(kind)[0] for kind in KINDS]

def asked(payload, **options): return [len(payload), options, os.environ["OPENBLAS_NUM_THREADS"]]

def wordless(_): raise ValueError

def vanished(_): os._exit(0)

def stopped(_): os.write(2, b"first\\n last \\n\\nINFO: x\\n"); os._exit(19)

def long_winded(_): os.write(2, b"y" * 300 + b"\\n"); os._exit(1)

def left(code): import sys; sys.exit(eval(code) if code else None)

def tired(_): os.kill(os.getpid(), signal.SIGXCPU)

def killed(_): os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def reporting(tmp_path, monkeypatch):
    (tmp_path / "reporting.py").write_text(REPORTS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)  # `utils` is found from anywhere


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere fewer limits can be set")
@pytest.mark.parametrize(
    ("given", "seconds", "memory"),
    [({}, 60, 4 * 2**30), ({"timeout": 20.5, "memory": 3 * 2**30}, 20.5, 3 * 2**30), ({"memory": None}, 60, None)],
)
def test_a_child_has_the_limits_that_were_given(reporting, given, seconds, memory):
    import resource

    hard = [resource.getrlimit(kind)[1] for kind in (resource.RLIMIT_CPU, resource.RLIMIT_AS)]
    if hard != [resource.RLIM_INFINITY] * 2:
        pytest.skip("this process has limits of its own")
    processor, space, core = child.run("reporting:limits", **given)
    assert seconds < processor <= seconds + 1  # never before the clock, and soon after it
    assert space == (memory if memory is not None else resource.getrlimit(resource.RLIMIT_AS)[0])
    assert core == 0


def test_options_and_payload_arrive_and_nothing_else(reporting):
    assert child.run("builtins:int", b"ff", options={"base": 16}) == 255
    options = {"name": "µ", "rows": [1, None]}
    assert child.run("reporting:asked", b"abc", options=options) == [3, options, "1"]
    assert child.run("reporting:asked")[:2] == [0, {}]


@pytest.mark.parametrize("name", ["utils.py", "utils/__init__.py", "json.py", "builtins.py"])
def test_modules_of_ones_own_in_the_folder_hide_nothing(tmp_path, monkeypatch, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine = True\n")
    monkeypatch.chdir(tmp_path)
    assert child.run("builtins:len", b"abc") == 3


@pytest.mark.parametrize("code", ["", "0", "3", "'bye'"])
def test_a_function_that_ends_the_process_has_no_result(reporting, code):
    with pytest.raises(child.ChildError, match=rf"sys\.exit\({code or None}\) instead of returning") as error:
        child.run("reporting:left", code.encode())
    assert error.value.kind == "crash"


@pytest.mark.parametrize(
    ("function", "kind", "said"),
    [
        ("wordless", "error", "ValueError"),
        ("vanished", "crash", "the process ended with exit code 0x0"),
        ("stopped", "crash", r"the process ended with exit code 0x13 \(last\)"),
        ("long_winded", "crash", rf"the process ended with exit code 0x1 \({'y' * 200}\)"),
        ("tired", "timeout", "it used up its processor time"),
        ("killed", "crash", "the process was ended by SIGKILL"),
    ],
)
def test_each_end_has_its_kind_and_its_sentence(reporting, function, kind, said):
    with pytest.raises(child.ChildError, match=f"^{said}$") as error:
        child.run(f"reporting:{function}")
    assert error.value.kind == kind
