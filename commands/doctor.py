"""Say what is wrong with this machine and how to mend it; also a teacher's five-minute check before a workshop.

✔ fine   – missing, but only some chapters need it   ✘ mend this first
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

from commands.parts import machine_checks
from commands.parts.errors import Problem
from commands.parts.machine_checks import BAD, Finding

NEEDS_ENVIRONMENT = False
EXAMPLES = """
  python course.py doctor     every line that is not ✔ says how to mend it; the exit code is 1 if there is a ✘
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    del parser  # the doctor asks nothing


def main(options: argparse.Namespace) -> int:
    bad = 0
    for check in machine_checks.CHECKS:
        for finding in findings(check):
            print(finding, flush=True)
            bad += finding.mark == BAD
    print()
    print(f"{bad} thing(s) to mend: see ✘ above." if bad else "This machine is ready for the course.")
    return 1 if bad else 0


def findings(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a check finds; where a broken file of the course stops it, that is a finding, and the next one follows."""
    try:
        yield from check()
    except (Problem, OSError, ValueError, SyntaxError) as error:
        mend = "`git status` names files of the course that were changed, `git restore FILE` brings one back"
        yield Finding(BAD, check.__name__, f"could not be looked at: {error}", mend)
