"""Tools that a machine may lack: a visible skip there, a failure where COURSE_REQUIRE_ALL is set.

def test_runs_in_a_browser():
    browser = needs("chromium")      # its path

@pytest.mark.needs("node", "module:flwr")
def test_…
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from commands.parts.environment import ROOT

_MAC_APPS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)


def _program(*names: str) -> Callable[[], str | None]:
    return lambda: next((path for name in names if (path := shutil.which(name))), None)


def _network_namespace() -> str | None:
    """`unshare -n` exists and is allowed here: containers often forbid it."""
    tool = shutil.which("unshare")
    if not tool or not sys.platform.startswith("linux"):
        return None
    flags = ["-n"] if os.geteuid() == 0 else ["-rn"]
    allowed = subprocess.run([tool, *flags, "true"], capture_output=True).returncode == 0
    return " ".join([tool, *flags]) if allowed else None


def _clone() -> str | None:
    """A clone whose files git lists: not a ZIP download, not the clone of somebody else."""
    git = shutil.which("git")
    asked = [git, "-C", str(ROOT), "ls-files", "--error-unmatch", "course.py"]
    return str(ROOT) if git and subprocess.run(asked, capture_output=True).returncode == 0 else None


#: name -> (how to find it, what to do when it is missing)
TOOLS: dict[str, tuple[Callable[[], str | None], str]] = {
    "chromium": (
        _program("chromium", "chromium-browser", "google-chrome", "chrome", *_MAC_APPS),
        "install Chromium or Chrome (Debian: apt install chromium)",
    ),
    "node": (_program("node", "nodejs"), "install Node 20 or newer (Debian: apt install nodejs)"),
    "npm": (_program("npm"), "install npm (Debian: apt install npm)"),
    "git": (_program("git"), "install git"),
    "clone": (
        _clone,
        f"a ZIP download has none; in the clone of another user:  git config --global --add safe.directory '{ROOT}'",
    ),
    "uv": (_program("uv"), "install uv (pip install uv)"),
    "gcc": (_program("gcc", "cc", "clang"), "install a C compiler (Debian: apt install gcc)"),
    "qemu-user": (_program("qemu-x86_64"), "install qemu-user (Debian: apt install qemu-user)"),
    "network-namespace": (_network_namespace, "run on Linux, as a user who may call `unshare -n`"),
}


def find(name: str) -> tuple[str | None, str]:
    """(what was found or None, what to do if it is missing).

    name: one of TOOLS, `module:NAME` for a Python module, or `kernel:NAME` for a Jupyter kernel.
    """
    kind, _, rest = name.partition(":")
    if kind == "module" and rest:
        there = importlib.util.find_spec(rest) is not None
        return (rest if there else None), f"install a wheel of {rest}, if this platform has one"
    if kind == "kernel" and rest:
        return _kernel(rest), f"make its environment: python course.py lab --with {rest.split('-')[-1]}"
    if name not in TOOLS:
        raise ValueError(f"needs() knows {sorted(TOOLS)}, 'module:NAME' and 'kernel:NAME'; got {name!r}")
    look, advice = TOOLS[name]
    return look(), advice


def needs(name: str) -> str:
    """Return where `name` is; skip the test if it is missing, or fail it under COURSE_REQUIRE_ALL=1."""
    found, advice = find(name)
    if found is not None:
        return found
    message = f"{name} is missing here; {advice}"
    if required():
        pytest.fail(f"{message} (COURSE_REQUIRE_ALL is set, so nothing may be skipped)", pytrace=False)
    pytest.skip(message)


def required() -> bool:
    """Whether a missing tool is a failure."""
    return os.environ.get("COURSE_REQUIRE_ALL", "") not in ("", "0")


def _kernel(name: str) -> str | None:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        return KernelSpecManager().get_kernel_spec(name).resource_dir
    except NoSuchKernel:
        return None
