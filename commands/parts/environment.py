"""Makes the course's environment from its lock, and knows whether it is complete.

`.venv` is complete when it holds a marker file, written last, with the digest of the lock.  With a mark of
having been started but none of completion it was interrupted, and is made anew (downloads are kept in uv's
cache); with the marker of an older lock it is brought up to date; with neither it is somebody else's and is
left alone.  Nothing ever runs in an environment without a valid marker.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from commands.parts import installer, kernels, lockfile
from commands.parts.errors import Problem, unknown
from commands.parts.files import write_json
from commands.parts.process_lock import Lock

ROOT = lockfile.ROOT
MARKER = "course-environment.json"
STARTED = "course-environment.started"
#: The locks beside core, each with its own environment and kernel: chapters 17 and 16b.
EXTRAS = {"tfx": "chapter 17, TensorFlow Extended", "tff": "chapter 16b, TensorFlow Federated"}
GIGABYTES = {"core": 4, "tfx": 5, "tff": 5}
#: True when course.py was started by `enter`.  Taken out of the variables, so that it ends here.
_ENTERED = os.environ.pop("COURSE_ENTERED", None) is not None
_MACHINES = {"linux": ("x86_64", "aarch64"), "darwin": ("arm64",), "win32": ("amd64",)}
_WIDE = sys.maxsize > 2**32


def lock_path(name: str = "core") -> Path:
    """requirements/NAME.txt; a Problem if this lock does not exist (yet)."""
    path = lockfile.REQUIREMENTS / f"{name}.txt"
    if not path.exists():
        if name == "core":
            raise Problem("requirements/core.txt is missing. Restore it:  git restore requirements/core.txt")
        raise Problem(
            f"requirements/{name}.txt, the lock for {EXTRAS.get(name, name)}, is not in this version of the course. "
            "All other chapters run without it: leave out --with."
        )
    return path


def folder(name: str = "core") -> Path:
    """Where the environment `name` lives: in the clone, or in the user's cache when the clone is read-only."""
    own_name = ".venv" if name == "core" else f".venv-{name}"
    inside = ROOT / own_name
    if (inside / MARKER).exists() or writable(ROOT):
        return inside
    return user_cache() / f"course-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]}" / own_name


def user_cache() -> Path:
    """The folder for caches that this system gives its user."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local"))
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def writable(place: Path) -> bool:
    """Whether files can be made in `place`.  Tried, not asked: on Windows the question gets wrong answers."""
    if os.name != "nt":
        return os.access(place, os.W_OK)
    try:
        with tempfile.TemporaryFile(dir=place):
            return True
    except OSError:
        return False


def python_of(place: Path) -> Path:
    """The Python of the virtual environment in `place`."""
    return place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def is_complete(place: Path, name: str = "core") -> bool:
    """Whether the environment in `place` holds exactly what the lock says, and was not moved since."""
    marker = _marker(place)
    return _stayed(place, marker) and marker.get(name) == lockfile.digest(lock_path(name))


def running_inside(name: str = "core") -> bool:
    """Whether this very Python is one in which the lock is installed."""
    return is_complete(Path(sys.prefix), name)


def enter(arguments: list[str]) -> int:
    """Set up if needed, then run course.py with `arguments` in the environment."""
    if _ENTERED:
        raise Problem(
            f"The environment in {folder()} does not start as it should. Make it anew:  python course.py setup --fresh"
        )
    command = [str(ensure()), str(ROOT / "course.py"), *arguments]
    changed = {**os.environ, "COURSE_ENTERED": "1"}
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "nt":  # exec on Windows gives the prompt back before the program ends
        return subprocess.call(command, env=changed)
    os.execve(command[0], command, changed)


def ensure(name: str = "core", *, fresh: bool = False) -> Path:
    """The Python of a complete environment `name`, made now if it is missing, interrupted or stale."""
    lock_path(name)
    place = folder(name)
    if is_complete(place, name) and not fresh:
        return python_of(place)
    folder_of_lock = ROOT / ".cache" if place.parent == ROOT else place.parent
    with Lock(folder_of_lock / f"setup-{name}.lock", "Another set-up of this environment is under way") as guard:
        if fresh or not is_complete(place, name):
            _build(place, name, fresh, guard.descriptors)
    return python_of(place)


def ensure_extras(names: list[str]) -> None:
    """Make the environments of `--with`, and let the core environment know their kernels."""
    for name in names:
        python = ensure(name)
        kernels.register_kernel(Path(sys.prefix), name, python)


def install_here() -> None:
    """Install the core lock into the running environment: conda, Binder, a container."""
    prefix = Path(sys.prefix)
    _refuse_system_python()
    check_machine()
    (prefix / MARKER).unlink(missing_ok=True)
    installer.fill(Path(sys.executable), lock_path(), into_existing=True)
    _finish(prefix, Path(sys.executable), "core")


def base_python(name: str = "core") -> Path:
    """The Python to make the environment `name` with: this one, or for an extra one that its lock accepts."""
    here = Path(getattr(sys, "_base_executable", sys.executable))
    if name == "core":
        return here
    accepted = accepted_pythons(lock_path(name).with_suffix(".in").read_text("utf-8"))
    if f"{sys.version_info[0]}.{sys.version_info[1]}" in accepted:
        return here
    for version in accepted:
        found = find_python(version)
        if found:
            return found
    raise Problem(
        f"--with {name} ({EXTRAS[name]}) needs Python {' or '.join(accepted)}; this is {platform.python_version()}, "
        f"and no other was found. Install Python {accepted[-1]} so that `python{accepted[-1]}` starts it, then repeat."
    )


def accepted_pythons(text: str) -> list[str]:
    """The versions of a line `# python: 3.10 3.11` in a NAME.in; the core's when it has none."""
    for line in text.splitlines():
        if line.startswith("# python:"):
            return line.removeprefix("# python:").split()
    return ["3.11", "3.12", "3.13"]


def find_python(version: str) -> Path | None:
    """A working Python of that version (such as '3.10') on this machine, or None."""
    candidates = [["py", f"-{version}"]] if os.name == "nt" else []
    candidates += [[f"python{version}"], ["python3"], ["python"]]
    question = "import sys; print('%d.%d' % sys.version_info[:2]); print(ascii(sys.executable))"
    for candidate in candidates:
        if not shutil.which(candidate[0]):
            continue
        answer = subprocess.run([*candidate, "-c", question], capture_output=True, text=True, check=False)
        lines = answer.stdout.splitlines()
        if answer.returncode == 0 and len(lines) == 2 and lines[0] == version:
            return Path(ast.literal_eval(lines[1]))
    return None


def _marker(place: Path) -> dict[str, str]:
    try:
        content = json.loads((place / MARKER).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _stayed(place: Path, marker: dict[str, str]) -> bool:
    """A moved environment is no use: its scripts start with the path of the old one."""
    return marker.get("folder") == str(place.resolve())


def _build(place: Path, name: str, fresh: bool, held: tuple[int, ...] = ()) -> None:
    """Make or update the environment in `place`.  held: see installer.py."""
    check_machine()
    _check_disk(place, name)
    _refuse_foreign(place)
    marker = _marker(place)
    kept = not fresh and name in marker and _stayed(place, marker) and python_of(place).exists()
    print(f"{'Updating' if kept else 'Making'} the environment in {place} (later starts take seconds)", flush=True)
    if kept:
        (place / STARTED).touch()
        (place / MARKER).unlink()
    else:
        _remove(place)
        place.mkdir(parents=True, exist_ok=True)
        (place / STARTED).touch()
        installer.make_venv(place, base_python(name), held)
    installer.fill(python_of(place), lock_path(name), held=held)
    _finish(place, python_of(place), name)


def is_foreign(place: Path) -> bool:
    """Whether there is something in `place` that the course did not make."""
    ours = _marker(place) or (place / STARTED).exists()
    return place.exists() and not ours and (not place.is_dir() or any(place.iterdir()))


def _refuse_foreign(place: Path) -> None:
    """Never delete an environment that the reader, or an editor, made for something else."""
    if is_foreign(place):
        raise Problem(
            f"{place} exists, but the course did not make it. Rename or remove it and repeat the command; or, "
            "if it is active and you want the course's packages in it:  python course.py setup --here"
        )


def _finish(prefix: Path, python: Path, name: str) -> None:
    kernels.equip(prefix, python, name, ROOT)
    content = {name: lockfile.digest(lock_path(name)), "folder": str(prefix.resolve()), "python": _version_of(python)}
    write_json(prefix / MARKER, content)
    (prefix / STARTED).unlink(missing_ok=True)
    print("The environment is complete.", flush=True)


def _version_of(python: Path) -> str:
    code = "import platform; print(platform.python_version())"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def _remove(place: Path) -> None:
    """Take an environment away in one step, then remove it: half removed, it would have lost its marks."""
    for leaving in place.parent.glob(f"{place.name}-removed-*"):  # of a set-up that was killed just here
        shutil.rmtree(leaving, ignore_errors=True)
    if place.is_symlink():
        place.unlink()
    if not place.exists():
        return
    aside = place.with_name(f"{place.name}-removed-{os.getpid()}")
    try:
        place.rename(aside)
    except OSError as error:
        raise Problem(
            f"The old environment {place} cannot be removed ({error.strerror}). Close every JupyterLab and Python that "
            "uses it, or remove the folder by hand; then repeat the command."
        ) from error
    shutil.rmtree(aside, ignore_errors=True)


def check_machine() -> None:
    """Raise Problem if no TensorFlow wheel fits this machine or this Python."""
    machines = _MACHINES.get(sys.platform, ())
    if platform.machine().lower() not in machines or not _WIDE:
        raise Problem(
            f"There is no TensorFlow for this machine ({sys.platform}, {platform.machine()}, "
            f"{64 if _WIDE else 32}-bit Python). The course needs a 64-bit Python on Linux (x86_64, aarch64), "
            "macOS (arm64) or Windows (AMD64); on other machines open it in Binder or in the dev container."
        )


def _check_disk(place: Path, name: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(place.parent).free / 1e9
    if free < GIGABYTES[name] and not place.exists():
        raise Problem(
            f"The environment needs about {GIGABYTES[name]} GB; on the disk of {place.parent} {free:.1f} GB are free. "
            "Free some space, or move the course to a larger disk, and repeat the command."
        )


def _refuse_system_python() -> None:
    import sysconfig

    if sys.prefix == sys.base_prefix and (Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED").exists():
        raise Problem(
            f"{sys.executable} belongs to the operating system; --here would mix the course's packages with it. "
            "Leave out --here: the course then makes its own .venv."
        )


def with_argument(parser) -> None:
    """The argument `--with tfx|tff` of several verbs."""
    parser.add_argument(
        "--with",
        dest="extras",
        action="append",
        default=[],
        type=_extra,
        metavar="tfx|tff",
        help="also the environment of " + " or ".join(EXTRAS.values()),
    )


def _extra(name: str) -> str:
    if name not in EXTRAS:
        raise unknown("environment", name, EXTRAS)
    return name
