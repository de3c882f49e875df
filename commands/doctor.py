"""Say what is wrong with this machine and how to mend it; also a teacher's five-minute check before a workshop.

✔ fine   – missing, but only some chapters need it   ✘ mend this first
"""

from __future__ import annotations

import argparse

from commands.parts import machine_checks

NEEDS_ENVIRONMENT = False
EXAMPLES = """
  python course.py doctor     every line that is not ✔ says how to mend it; the exit code is 1 if there is a ✘
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    del parser  # the doctor asks nothing


def main(options: argparse.Namespace) -> int:
    bad = 0
    for check in machine_checks.CHECKS:
        for finding in check():
            print(finding, flush=True)
            bad += finding.mark == machine_checks.BAD
    print()
    print(f"{bad} thing(s) to mend: see ✘ above." if bad else "This machine is ready for the course.")
    return 1 if bad else 0
