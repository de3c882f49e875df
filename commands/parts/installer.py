"""Makes a virtual environment and fills it from a lock: with uv, or with pip where the index has no uv.

held: descriptors of the lock on the environment.  Children inherit them, so an installer that outlives its parent keeps
the next set-up waiting instead of writing into its environment.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from commands.parts import lockfile
from commands.parts.errors import Problem

_UV_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
}


def make_venv(place: Path, python: Path, held: tuple[int, ...] = ()) -> None:
    """An empty environment in `place`.  Raises Problem if this Python cannot make one."""
    print(f"[1/3] an empty environment with {python}", flush=True)
    command = [python, "-m", "venv", place]
    if subprocess.run(command, check=False, cwd=place.parent, pass_fds=held).returncode:
        raise Problem(
            f"{python} could not make a virtual environment (its words are above). On Debian and Ubuntu the "
            "module is a package of its own:  apt install python3-venv"
        )


def fill(python: Path, lock: Path, *, into_existing: bool = False, held: tuple[int, ...] = ()) -> None:
    """Install `lock` into the environment of `python`; unless `into_existing`, nothing else stays in it."""
    outside = _variables(python)
    print("[2/3] the installer uv", flush=True)
    with_uv = _install_uv(python, outside, held)
    count = len(lockfile.entries(lock.read_text("utf-8")))
    print(f"[3/3] up to {count} packages of requirements/{lock.name}, each checked against its hash", flush=True)
    if not with_uv:
        command = ["pip", "install", "--no-deps", "--require-hashes", "-r", lock]
    elif into_existing:
        how = ["install", "--no-deps", "--break-system-packages"]
        command = ["uv", "pip", *how, "--python", python, "--require-hashes", "-r", lock]
    else:
        command = ["uv", "pip", "sync", "--python", python, "--require-hashes", lock]
    command = [python, "-m", *command]
    if subprocess.run(command, check=False, env=outside, cwd=python.parent, pass_fds=held).returncode:
        raise _not_installed(python, outside)


def uv_settings(pip_config: str) -> dict[str, str]:
    """uv's variables for the output of `pip config list`: which index, which certificates."""
    said: dict[str, str] = {}
    for line in pip_config.splitlines():  # variables (":env:") come first and win over files
        key, _, value = line.partition("=")
        scope, _, option = key.rpartition(".")
        if scope in (":env:", "global", "install", "download"):
            said.setdefault(option, ast.literal_eval(value))
    settings = {_UV_NAMES[option]: " ".join(value.split()) for option, value in said.items() if option in _UV_NAMES}
    if "UV_FIND_LINKS" in settings:
        settings["UV_FIND_LINKS"] = settings["UV_FIND_LINKS"].replace(" ", ",")
    if "UV_INDEX" in settings:  # pip takes the best version of all indexes; the hashes keep that safe
        settings["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return settings


def _install_uv(python: Path, outside: dict[str, str], held: tuple[int, ...]) -> bool:
    """Install the locked uv with pip.  The core lock has it, so there is one list of hashes."""
    core = lockfile.entries((lockfile.REQUIREMENTS / "core.txt").read_text("utf-8"))
    wanted = next(entry for entry in core if entry.name == "uv")
    quick = ["--quiet", "--disable-pip-version-check", "--retries", "2"]
    exact = ["--no-deps", "--only-binary=:all:", "--require-hashes"]
    with tempfile.TemporaryDirectory() as scratch:
        only_uv = Path(scratch) / "uv.txt"
        only_uv.write_text(wanted.text + "\n", encoding="utf-8")
        command = [python, "-m", "pip", "install", *quick, *exact, "-r", only_uv]
        done = subprocess.run(command, check=False, env=outside, cwd=scratch, stderr=subprocess.PIPE, pass_fds=held)
    words = done.stderr.decode("utf-8", "replace")
    if done.returncode:
        print(words.rstrip(), file=sys.stderr)
    if done.returncode and "Retrying (" in words:  # no connection: pip alone would not fare better
        raise _not_installed(python, outside)
    return done.returncode == 0


def _variables(python: Path) -> dict[str, str]:
    """This process's variables, and pip's settings (mirror, certificates) told to uv, which does not read them."""
    outside = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "UV_SYSTEM_PYTHON")}
    answer = subprocess.run([python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    return uv_settings(answer.stdout) | outside


def _not_installed(python: Path, outside: dict[str, str]) -> Problem:
    """What to do after the installer failed; why it failed stands above, in its own words."""
    asked = subprocess.run(
        [python, "-m", "uv", "cache", "dir"], capture_output=True, text=True, check=False, env=outside
    )
    places = [python.parent, *map(Path, asked.stdout.splitlines())]
    free = {place: shutil.disk_usage(place).free for place in places if place.exists()}
    full = [f"{place}: {left / 1e9:.2f} GB free" for place, left in free.items() if left < 5e8]
    if full:
        return Problem(f"The disk is full ({'; '.join(full)}). Free about 5 GB and repeat the command.")
    return Problem(
        "The packages could not be fetched or installed; the reason stands above.\n"
        "The first set-up needs a network once (about 1 GB); later everything works without.\n"
        "  no network      connect, and repeat the command: what was already fetched is kept\n"
        "  a proxy         set HTTPS_PROXY\n"
        "  a mirror        set PIP_INDEX_URL (or UV_DEFAULT_INDEX) to it"
    )
