"""The single checks of `course.py doctor`: each gives findings, and works without the environment."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from commands import lab
from commands.parts import environment
from commands.parts.errors import Problem

GOOD, MISSING, BAD = "✔", "–", "✘"
_GIGABYTE = 1e9
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
_CHROMIUM_PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
)


@dataclass(frozen=True)
class Finding:
    """One line of the doctor: what was looked at, what was found, how to mend it ('' if nothing is to be done)."""

    mark: str
    subject: str
    found: str
    mend: str = ""

    def __str__(self) -> str:
        line = f"{self.mark} {self.subject:13} {self.found}"
        return f"{line}\n  {'':13} → {self.mend}" if self.mend else line


def python() -> Iterator[Finding]:
    """The Python that runs this, and variables that would change what it imports."""
    found = f"{platform.python_version()}, {64 if sys.maxsize > 2**32 else 32}-bit, {sys.executable}"
    try:
        environment.check_machine()
        yield Finding(GOOD, "Python", found)
    except Problem as problem:
        yield Finding(BAD, "Python", found, str(problem))
    for name in ("PYTHONPATH", "PYTHONHOME"):
        if os.environ.get(name):
            yield Finding(
                MISSING,
                name,
                f"is set to {os.environ[name]}",
                "if an import gives something odd, unset it and try again",
            )


def disk() -> Iterator[Finding]:
    """Space for the environment, or for work if it is there already."""
    free = shutil.disk_usage(environment.ROOT).free / _GIGABYTE
    needed = 1 if environment.folder().exists() else environment.GIGABYTES["core"]
    found = f"{free:.1f} GB free, {needed} GB needed"
    yield Finding(GOOD, "disk", found) if free >= needed else Finding(BAD, "disk", found, "free some space")
    if not environment.writable(environment.ROOT):
        yield Finding(
            MISSING,
            "clone",
            f"{environment.ROOT} is read-only",
            "notebooks run, but cannot be saved: copy the course to a folder of your own",
        )


def memory() -> Iterator[Finding]:
    """Free memory: one kernel with TensorFlow needs about 1 GB, and tests run two."""
    free = free_memory()
    if free is None:
        yield Finding(MISSING, "memory", "cannot be read on this system", "4 GB or more should be free")
    elif free < 2e9:
        yield Finding(BAD, "memory", f"{free / _GIGABYTE:.1f} GB free, 2 GB needed", "close other programs")
    else:
        yield Finding(GOOD, "memory", f"{free / _GIGABYTE:.1f} GB free")


def free_memory() -> int | None:
    """Bytes that programs can still get, or None where the standard library cannot tell."""
    try:
        match = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text("ascii"))
    except OSError:
        match = None
    if match:
        return int(match[1]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")  # macOS: all of it
    except (AttributeError, ValueError, OSError):
        return None


def cpu() -> Iterator[Finding]:
    """Vector instructions: TensorFlow needs AVX on x86-64; the others only explain times and last digits."""
    found = f"{cpu_name()}, {os.cpu_count()} threads"
    flags = cpu_flags()
    if flags is None:
        yield Finding(GOOD, "CPU", found)
    elif "avx" not in flags:
        yield Finding(BAD, "CPU", f"{found}, no AVX", "TensorFlow crashes here: use another machine or Binder")
    else:
        known = [name for name in ("avx", "avx2", "avx512f", "avx512_vnni", "amx_int8") if name in flags]
        yield Finding(GOOD, "CPU", f"{found}, {' '.join(known)}")


def cpu_name() -> str:
    """What this machine calls its processor; run times mean little without it."""
    names = [line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cpu_flags() -> set[str] | None:
    """The processor's features as Linux spells them; None where they are not told or not needed."""
    lines = [line for line in _cpu_lines() if line.startswith("flags")]
    return set(lines[0].partition(":")[2].split()) if lines else None


def programs() -> Iterator[Finding]:
    """Node and Chromium: chapter 13."""
    node = shutil.which("node") or shutil.which("nodejs")
    version = _first_line([node, "--version"]) if node else ""
    major = re.match(r"v(\d+)", version)
    mend = "install Node 18 or newer (Debian: apt install nodejs; macOS: brew install node; Windows: from nodejs.org)"
    if major and int(major[1]) >= 18:
        yield Finding(GOOD, "Node", f"{version}, {node}")
    else:
        yield Finding(MISSING, "Node", version or "not found; part of chapter 13 needs it", mend)
    browsers = [*filter(None, map(shutil.which, _CHROMIUM)), *(p for p in _CHROMIUM_PLACES if Path(p).exists())]
    if browsers:
        yield Finding(GOOD, "Chromium", browsers[0])
    else:
        yield Finding(
            MISSING,
            "Chromium",
            "not found; part of chapter 13 needs it",
            "install Chromium or Chrome (Debian: apt install chromium)",
        )


def packages() -> Iterator[Finding]:
    """The environment against its lock, version by version."""
    lock = environment.lock_path()
    place = Path(sys.prefix) if environment.running_inside() else environment.folder()
    interpreter = sys.executable if environment.running_inside() else environment.python_of(place)
    if environment.is_foreign(place):
        mend = "rename or remove it, then:  python course.py setup"
        yield Finding(BAD, "environment", f"{place} exists, but the course did not make it", mend)
        return
    if not Path(interpreter).exists():
        yield Finding(MISSING, "environment", "not made yet", "python course.py setup   (lab and test also do it)")
        return
    if not environment.is_complete(place):
        yield Finding(
            BAD, "environment", f"{place} is unfinished, moved, or made from another lock", "python course.py setup"
        )
        return
    try:
        wrong = differing_packages(Path(interpreter), lock)
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        yield Finding(BAD, "environment", f"{place} does not start ({error})", "python course.py setup --fresh")
        return
    if wrong:
        found = ", ".join(f"{name} {has or 'missing'} instead of {wanted}" for name, wanted, has in wrong[:5])
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        yield Finding(BAD, "environment", f"{place}: {found}{more}", "python course.py setup --fresh")
    else:
        yield Finding(GOOD, "environment", f"{place}, every version as in requirements/{lock.name}")


def differing_packages(interpreter: Path, lock: Path) -> list[tuple[str, str, str | None]]:
    """(name, locked version, installed version or None) of what `interpreter` has otherwise than the lock says."""
    command = [interpreter, "-m", "commands.parts.installed_packages", lock]
    answer = subprocess.run(command, cwd=environment.ROOT, capture_output=True, check=True)
    return [tuple(row) for row in json.loads(answer.stdout)]


def data() -> Iterator[Finding]:
    """The shipped data sets, by the checksums that utils/data.py verifies on load."""
    sums = shipped_checksums(environment.ROOT / "utils/data.py")
    yield from _genuine("data", {f"data/{name}.npz": expected for name, expected in sums.items()})


def weights() -> Iterator[Finding]:
    """The shipped networks, by the checksums beside them: without them a chapter would train for minutes."""
    sums = environment.ROOT / "data/weights/SHA256SUMS"
    try:
        lines = [line.split() for line in sums.read_text("utf-8").splitlines() if line.strip()]
        expected = {f"data/weights/{name}": digest for digest, name in lines}
    except (OSError, ValueError) as error:
        yield Finding(BAD, "weights", f"data/weights/SHA256SUMS cannot be read ({error})", _restore("data/weights"))
        return
    for path in sums.parent.glob("*.npz"):
        expected.setdefault(f"data/weights/{path.name}", "")  # a list that was cut off is noticed
    yield from _genuine("weights", expected)


def _genuine(subject: str, expected: dict[str, str]) -> Iterator[Finding]:
    """A finding for each file that is not what the course ships; one line if all are."""
    good = True
    for name, digest in expected.items():
        try:
            found = hashlib.sha256((environment.ROOT / name).read_bytes()).hexdigest()
        except OSError:
            found = ""
        if found != digest:
            good = False
            wrong = "is damaged: its SHA-256 is not the genuine one" if found else "is missing, or cannot be read"
            yield Finding(BAD, subject, f"{name} {wrong}", _restore(name))
    if good:
        yield Finding(GOOD, subject, f"{', '.join(Path(name).stem for name in expected)}: genuine")


def _restore(name: str) -> str:
    return f"git restore {name}   (or take it from a fresh copy of the course)"


def shipped_checksums(source: Path) -> dict[str, str]:
    """The dictionary SHA256 of utils/data.py, read without importing it: that needs numpy."""
    for node in ast.parse(source.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "SHA256":
            return ast.literal_eval(node.value)
    raise Problem(f"{source} has no dictionary SHA256. Restore it:  git checkout utils/data.py")


def port() -> Iterator[Finding]:
    """JupyterLab's usual port."""
    if lab.is_free(lab.FIRST_PORT):
        yield Finding(GOOD, "port", f"{lab.FIRST_PORT} is free on 127.0.0.1")
    else:
        yield Finding(MISSING, "port", f"{lab.FIRST_PORT} is in use", "nothing: `lab` takes the next free one")


CHECKS = (python, disk, memory, cpu, programs, packages, data, weights, port)


def _cpu_lines() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return []


def _first_line(command: list[str]) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (answer.stdout.strip().splitlines() or [""])[0]
