"""Reads requirements/: what was chosen (NAME.in), what was locked (NAME.txt), and whether they agree."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"
_PINNED = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)\s*(?:;\s*(?P<marker>[^\\]+?))?\s*\\?$")
_SOURCES = re.compile(r"^# sources: sha256:([0-9a-f]{64})$", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """One locked package: `text` is its whole entry with hashes, `marker` says where it belongs ('': everywhere)."""

    name: str
    version: str
    marker: str
    text: str


def canonical_name(name: str) -> str:
    """A package's name as indexes spell it: lower case, one hyphen."""
    return re.sub(r"[-_.]+", "-", name).lower()


def entries(lock: str) -> list[Entry]:
    """The packages of a lock's text, in its order."""
    blocks = re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"^#.*\n", "", lock, flags=re.MULTILINE).strip())
    found = []
    for block in blocks:
        match = _PINNED.match(block.splitlines()[0]) if block else None
        if match:
            found.append(Entry(canonical_name(match["name"]), match["version"], (match["marker"] or "").strip(), block))
    return found


def requirements(text: str) -> list[str]:
    """The lines of a NAME.in or overrides.txt without comments and blank lines."""
    lines = (re.sub(r"(^|\s)#.*$", "", line).strip() for line in text.splitlines())
    return [line for line in lines if line]


def sources(name: str) -> list[Path]:
    """The files that the lock `name` is made of: NAME.in and its overrides (core's are overrides.txt)."""
    overrides = REQUIREMENTS / ("overrides.txt" if name == "core" else f"{name}-overrides.txt")
    return [REQUIREMENTS / f"{name}.in", *([overrides] if overrides.exists() else [])]


def sources_digest(name: str) -> str:
    """SHA-256 over what the sources require; comments may change without a new lock."""
    lines = [f"{path.name}: {line}" for path in sources(name) for line in requirements(path.read_text("utf-8"))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def stated_digest(lock: str) -> str | None:
    """The digest of the sources that a lock says it was made of."""
    match = _SOURCES.search(lock)
    return match[1] if match else None


def header(name: str) -> str:
    """The first lines of a lock."""
    made_of = " and ".join(path.name for path in sources(name))
    return f"# Made of {made_of} by:  python course.py renew {name}\n# sources: sha256:{sources_digest(name)}\n"


def digest(path: Path) -> str:
    """SHA-256 over the entries of a lock, whatever its line ends and comments."""
    return hashlib.sha256("\n".join(entry.text for entry in entries(path.read_text("utf-8"))).encode()).hexdigest()


def without_impossible(lock: str) -> str:
    """The lock without packages that overrides.txt dropped by the marker `sys_platform == 'never'`."""
    kept = [entry.text for entry in entries(lock) if "sys_platform == 'never'" not in entry.marker]
    return "\n".join(kept) + "\n"
