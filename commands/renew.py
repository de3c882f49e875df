"""Renew a lock: resolve requirements/NAME.in for every platform and write NAME.txt with hashes.

Versions that still fit stay as they are; --upgrade asks for the newest ones.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from commands.parts import environment, lockfile
from commands.parts.errors import Problem, unknown
from commands.parts.kernels import write_text

NEEDS_ENVIRONMENT = True
EXAMPLES = """
  python course.py renew              after a change to requirements/core.in
  python course.py renew --upgrade    the newest versions that core.in allows
  python course.py renew tfx          the lock of chapter 17
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="core, tfx or tff (default: core)")
    parser.add_argument("--upgrade", action="store_true", help="newest versions instead of the locked ones")


def main(options: argparse.Namespace) -> int:
    for name in options.names or ["core"]:
        known = [path.stem for path in sorted(lockfile.REQUIREMENTS.glob("*.in"))]
        if name not in known:
            raise unknown("lock", name, known)
        renew(name, upgrade=options.upgrade)
    print("The next `lab`, `test` or `run` brings the environment up to date.")
    return 0


def renew(name: str, *, upgrade: bool = False) -> None:
    """Write requirements/NAME.txt from its sources.  Raises Problem if there is no solution or no network."""
    target = lockfile.REQUIREMENTS / f"{name}.txt"
    before = target.read_text("utf-8") if target.exists() else ""
    with tempfile.TemporaryDirectory() as scratch:
        draft = Path(scratch) / target.name
        draft.write_text(before, encoding="utf-8")  # uv keeps the versions that it finds here
        if subprocess.run(compile_command(name, draft, upgrade=upgrade), check=False).returncode:
            raise Problem(f"requirements/{name}.in cannot be resolved; uv says why above. The lock stays as it was.")
        after = lockfile.header(name) + lockfile.without_impossible(draft.read_text("utf-8"))
    write_text(target, after)
    _tell_changes(name, before, after)


def compile_command(name: str, draft: Path, *, upgrade: bool) -> list[str]:
    """uv's command line for one lock."""
    source, *overrides = lockfile.sources(name)
    oldest = environment.accepted_pythons(source.read_text("utf-8"))[0]
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "compile",
        "--quiet",
        "--universal",
        "--generate-hashes",
        "--no-header",
        "--no-annotate",
        "--python-version",
        oldest,
        "-o",
        str(draft),
        str(source),
    ]
    for path in overrides:
        command += ["--override", str(path)]
    return [*command, "--upgrade"] if upgrade else command


def _tell_changes(name: str, before: str, after: str) -> None:
    old = {(e.name, e.version, e.marker) for e in lockfile.entries(before)}
    new = {(e.name, e.version, e.marker) for e in lockfile.entries(after)}
    for sign, changed in (("-", old - new), ("+", new - old)):
        for package, version, marker in sorted(changed):
            print(f"  {sign} {package} {version}{' ; ' + marker if marker else ''}")
    print(f"requirements/{name}.txt: {len(new)} packages, {'unchanged' if old == new else 'changed'}")
