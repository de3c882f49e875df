"""Compares the packages of the Python that runs this with a lock:  python -m commands.parts.installed_packages LOCK

Prints a JSON list of [name, locked version, installed version or null] for each that differs.
"""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path

from commands.parts import lockfile


def differing(lock: str) -> list[tuple[str, str, str | None]]:
    """What this Python has otherwise than the text of a lock says; markers for other machines are left out."""
    from packaging.markers import Marker

    has = {lockfile.canonical_name(found.name): found.version for found in metadata.distributions() if found.name}
    wanted = [entry for entry in lockfile.entries(lock) if not entry.marker or Marker(entry.marker).evaluate()]
    return [(e.name, e.version, has.get(e.name)) for e in wanted if has.get(e.name) != e.version]


if __name__ == "__main__":
    print(json.dumps(differing(Path(sys.argv[1]).read_text("utf-8"))))
