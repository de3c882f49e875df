"""Tests of the tests: nbval notices what it should, a kernel has no network, missing tools are never silent."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tests.harness import budget, clock
from tests.harness import needs as needs_module
from tests.harness.needs import find, needs, required
from utils import ROOT, claims
from utils.study import questions


def stdout(text: str) -> list:
    return [new_output("stream", name="stdout", text=text)]


def notebook(path, *cells: tuple[str, list], kernel: str = "python3") -> None:
    made = [new_code_cell(source, outputs=outputs, execution_count=i) for i, (source, outputs) in enumerate(cells, 1)]
    nb = new_notebook(
        cells=made, metadata={"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}}
    )
    path.parent.mkdir(exist_ok=True)
    nbformat.write(nb, path)


CLAIM = "from utils.claims import claim\nclaim('C00-x', 'one is small here', measured={}, below=2)"


def claimed(figure: str) -> list:
    entry = {"id": "C00-x", "sentence": "one is small here", "figure": figure, "bound": {"below": 2}}
    data = {"text/plain": claims.claim_text(entry), "text/html": claims.claim_html(entry)}
    return [new_output("display_data", data=data)]


BLOCKED = """import urllib.request, socket
urllib.request.getproxies = dict
try:
    socket.create_connection(('192.0.2.1', 80), timeout=5)
except OSError as error:
    print(type(error).__name__)"""
CHILD = """import subprocess, sys
code = "import socket; socket.getaddrinfo('example.org', 443)"
print(subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stderr.split(':')[-2].split()[-1])"""
LOOPBACK = """import socket
server = socket.create_server(('127.0.0.1', 0))
print(socket.create_connection(server.getsockname()).getpeername()[0])"""


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> dict[str, str]:
    """{notebook::Cell n: outcome} of one run over notebooks with and without mistakes, two side by side."""
    folder = tmp_path_factory.mktemp("course with spaces äö") / "notebooks"
    notebook(
        folder / "good.ipynb",
        ("import os, utils\nx = 1; x", [new_output("execute_result", data={"text/plain": "1"})]),
        ("x += 1\nprint(x, os.getcwd().endswith('notebooks'))", stdout("2 True\n")),
        ("x += 1\nx;", []),
        (CLAIM.format(1.5), claimed("1.4")),
        ("import sys; print('W', file=sys.stderr)", [new_output("stream", name="stderr", text="W\n")]),
        (
            "print(*map(os.environ.get, ('COURSE_STORED', 'TQDM_DISABLE', 'NO_COLOR', 'PYTHON_COLORS')))",
            stdout("1 1 1 0\n"),
        ),
    )
    notebook(
        folder / "network.ipynb",
        (BLOCKED, stdout("NetworkBlocked\n")),
        (CHILD, stdout("sitecustomize.NetworkBlocked\n")),
        (LOOPBACK, stdout("127.0.0.1\n")),
    )
    notebook(
        folder / "bad.ipynb",
        ("print(12)", stdout("13\n")),
        ("import sys; print('W', file=sys.stderr)", []),
        (CLAIM.format(2.5), claimed("1.4")),
        (CLAIM.replace("is small", "is large").format(1), claimed("1.4")),
        ("print('[1]')", stdout("[2]\n")),
        ("import os; os.system('echo noise >&2');", []),
        ("print(1)", stdout("1\n")),
    )
    notebook(folder / "dies.ipynb", ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", []), ("x = 1", []))
    notebook(folder / "other.ipynb", ("x = 1", []), kernel="tff")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        str(ROOT / "pyproject.toml"),
        "--rootdir",
        str(folder.parent),
        "-p",
        "conftest",
        "-p",
        "no:cacheprovider",
        "-rA",
        "--color=no",
        str(folder),
    ]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COURSE_REQUIRE"))}
    environment["FORCE_COLOR"] = "1"  # as some terminals and services set it
    done = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, timeout=300)
    outcomes = {
        match[2]: match[1]
        for match in re.finditer(r"(?m)^(PASSED|FAILED|ERROR) (?:notebooks/)?(\S+::Cell \d+)", done.stdout)
    }
    return outcomes | {"text": done.stdout + done.stderr}


@pytest.mark.parametrize(
    "cell",
    [
        *(f"good.ipynb::Cell {i}" for i in range(6)),
        "bad.ipynb::Cell 6",
        *(f"network.ipynb::Cell {i}" for i in range(3)),
    ],
)
def test_what_is_as_stored_passes(report, cell):
    assert report.get(cell) == "PASSED", report["text"][-3000:]


@pytest.mark.parametrize("cell", [*(f"bad.ipynb::Cell {i}" for i in range(6)), "dies.ipynb::Cell 0"])
def test_what_differs_fails(report, cell):
    assert report.get(cell) == "FAILED", report["text"][-3000:]


def test_a_dead_kernel_is_named_at_once(report):
    assert "the kernel died in this cell" in report["text"]
    assert float(re.search(r"([\d.]+) s of +\d+ s  notebooks/dies", report["text"])[1]) < 60


def test_a_missing_kernel_is_a_visible_skip(report):
    assert re.search(r"SKIPPED .*kernel:tff is missing here; make its environment", report["text"])


def test_the_run_says_where_the_time_went(report):
    assert re.search(r"[\d.]+ s of +\d+ s  notebooks/good\.ipynb", report["text"])
    assert re.search(
        r"[\d.]+ s in notebooks, 0\.0 s of \d+ s in test modules, \d+ s of 1800 s by the clock", report["text"]
    )


def test_no_warning_about_the_kernels_connection(report):
    assert "without encryption" not in report["text"]


# ---------------------------------------------------------------- tools that may be missing


def test_what_is_there_is_found():
    assert find("module:json")[0] == "json" and find("kernel:python3")[0]
    assert needs("module:json") == "json"


@pytest.mark.parametrize("name", ["module:no_such_module", "kernel:no-such-kernel"])
def test_a_missing_tool_is_a_visible_skip(name, monkeypatch):
    monkeypatch.delenv("COURSE_REQUIRE_ALL", raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"{name} is missing here; "):
        needs(name)


@pytest.mark.parametrize("name", ["module:no_such_module", "kernel:no-such-kernel"])
def test_a_missing_tool_fails_where_everything_is_required(name, monkeypatch):
    monkeypatch.setenv("COURSE_REQUIRE_ALL", "1")
    with pytest.raises(pytest.fail.Exception, match=f"{name} is missing here; .*nothing may be skipped"):
        needs(name)


def test_what_git_does_not_list_is_no_clone(tmp_path, monkeypatch):
    """A ZIP download, also one that was unpacked within another repository."""
    monkeypatch.setattr(needs_module, "ROOT", tmp_path)
    (tmp_path / "course.py").touch()
    assert find("clone")[0] is None
    git = [needs("git"), "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    assert find("clone")[0] is None
    subprocess.run([*git, "add", "course.py"], check=True)
    assert find("clone")[0] == str(tmp_path)


@pytest.mark.parametrize("name", ["chrome", "module:", "kernel:", "", "node20"])
def test_an_unknown_tool_is_a_mistake_of_the_test(name):
    with pytest.raises(ValueError, match=r"needs\(\) knows .*chromium"):
        find(name)


@pytest.mark.parametrize("value, expected", [("1", True), ("yes", True), ("0", False), ("", False)])
def test_required(monkeypatch, value, expected):
    monkeypatch.setenv("COURSE_REQUIRE_ALL", value)
    assert required() is expected


# ---------------------------------------------------------------- the budget


def test_the_whole_course_fits_into_the_time():
    planned = budget.planned(list(questions.CHAPTERS))
    assert planned <= budget.WALL * budget.WORKERS * (1 - budget.RESERVE)


def test_a_notebook_has_the_budget_of_its_chapter():
    assert budget.of_notebook("notebooks", "08_weight_sharing") == budget.CHAPTER
    assert budget.of_notebook("notebooks", "05_qat") == budget.OTHERS["05"]
    assert budget.of_notebook("solutions", "04_ptq") == budget.SOLUTIONS
    assert budget.of_notebook("notebooks", "16b_federated_tff") == budget.OWN_ENVIRONMENT["16b"]


def test_the_summary_names_what_took_too_long():
    lines = clock.summary(
        {
            "notebooks/08_weight_sharing.ipynb": budget.CHAPTER + 12.0,
            "notebooks/05_qat.ipynb": 3.0,
            **{f"tests/test_{i}.py": float(i) for i in range(15)},
        },
        wall=100,
    )
    assert lines[0].endswith("notebooks/08_weight_sharing.ipynb  OVER its budget by 12 s") and "OVER" not in lines[1]
    assert lines[2].split() == ["14.0", "s", "tests/test_14.py"] and "3 more test modules" in lines[-2]
    assert "100.0 s in notebooks, 105.0 s" in lines[-1] and "100 s of 1800 s" in lines[-1]


def test_a_short_run_has_no_summary():
    assert clock.summary({"tests/test_a.py": 0.2}, wall=1) == []
