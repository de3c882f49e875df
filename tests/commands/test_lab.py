"""`lab` listens on this machine only and opens the reader's own copy."""

from __future__ import annotations

import argparse
import json
import re
import socket
import sys
from pathlib import Path
from types import ModuleType

import pytest

from commands import lab
from commands.parts import command_line, environment, own_copy
from commands.parts.errors import Problem

ROOT = Path(__file__).resolve().parents[2]


def options(**given) -> argparse.Namespace:
    return argparse.Namespace(**{"no_browser": True, "port": None, "copy_only": False, "extras": [], **given})


@pytest.fixture
def started(monkeypatch) -> list[list[str]]:
    """The arguments of each JupyterLab that `lab` would start."""
    calls: list[list[str]] = []
    fake = ModuleType("jupyterlab.labapp")
    fake.main = calls.append
    monkeypatch.setitem(sys.modules, "jupyterlab", ModuleType("jupyterlab"))
    monkeypatch.setitem(sys.modules, "jupyterlab.labapp", fake)
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    return calls


def test_it_opens_what_refresh_says_with_the_whole_course_as_tree(started, monkeypatch):
    monkeypatch.setattr(own_copy, "update_copies", lambda: "my/00_start_here.ipynb")
    assert lab.main(options(port=8890)) == 0
    (given,) = started
    assert "--LabApp.default_url=/lab/tree/my/00_start_here.ipynb" in given
    assert f"--ServerApp.root_dir={environment.ROOT}" in given


def test_copy_only_makes_the_copy_and_opens_nothing(started, monkeypatch):
    refreshed = []
    monkeypatch.setattr(own_copy, "update_copies", lambda: refreshed.append(1))
    assert lab.main(options(copy_only=True)) == 0
    assert refreshed == [1] and started == []


def test_it_listens_on_loopback_and_invents_no_token():
    given = lab.lab_arguments(8890, "my/x.ipynb", browser=False)
    assert "--ServerApp.ip=127.0.0.1" in given and "--ServerApp.port=8890" in given
    assert "--no-browser" in given
    assert not any("token" in argument for argument in given)
    assert "--no-browser" not in lab.lab_arguments(8890, "my/x.ipynb", browser=True)


def test_a_port_in_use_is_named_or_the_next_one_taken(monkeypatch, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Problem, match=f"Port {port} is in use"):
            lab.choose_port(port)
        monkeypatch.setattr(lab, "FIRST_PORT", port)
        assert lab.choose_port(None) > port
    assert "in use" in capsys.readouterr().out


@pytest.mark.parametrize(("port", "good"), [(80, 0), (1023, 0), (1024, 1), (65535, 1), (65536, 0), (0, 0), (-1, 0)])
def test_ports_are_those_that_everybody_may_use(monkeypatch, port, good):
    monkeypatch.setattr(lab, "is_free", lambda port: True)
    if good:
        assert lab.choose_port(port) == port
        return
    with pytest.raises(Problem, match=f"--port {port}: pass a number from 1024 to 65535"):
        lab.choose_port(port)


@pytest.mark.skipif(sys.platform == "win32", reason="there the option would let two servers share the port")
def test_the_port_of_a_lab_that_has_just_ended_is_free_again():
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as JupyterLab's
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as browser:
            server.accept()[0].close()  # who closes first waits a minute for late packets
            browser.recv(1)
            assert not lab.is_free(port)
    assert lab.is_free(port)


def test_binder_and_the_dev_container_make_the_same_copy():
    made = "course.py lab --copy-only"
    command_line.parser_of("lab", lab).parse_args(["--copy-only"])
    assert made in (ROOT / "binder/postBuild").read_text("utf-8")
    text = re.sub(r"(?m)^\s*//.*$", "", (ROOT / ".devcontainer/devcontainer.json").read_text("utf-8"))
    container = json.loads(text)
    assert container["postCreateCommand"].endswith(made)
    (opened,) = container["customizations"]["codespaces"]["openFiles"]
    folder, _, name = opened.partition("/")
    assert folder == own_copy.FOLDER and (ROOT / "notebooks" / name).is_file()
