"""PLACEHOLDER 07: what it measures, in the line that `course.py bench` lists.

    python course.py bench sparsity

PLACEHOLDER 07: how long it takes, on which machine, and which chapters quote it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._command import start
from utils import recorded

NAME = "sparsity"
COMMAND = f"python course.py bench {NAME}"
NOTES = "PLACEHOLDER 07: what the columns are, with their units"


def measured() -> list[dict]:
    """One row for each number of bits."""
    return [{"PLACEHOLDER 07": "grid", "bits": bits, "levels": 2**bits} for bits in (8, 4)]


def main(argv: list[str] | None = None) -> int:
    """Measure, store, print."""
    argparse.ArgumentParser(prog=f"course.py bench {NAME}", description=__doc__).parse_args(argv)
    recorded.check_writable(NAME)  # before hours are spent
    rows = measured()
    recorded.save(NAME, rows, command=COMMAND, depends=[measured], seeds=[0], notes=NOTES)
    print(*rows, sep="\n")
    return 0


if __name__ == "__main__":
    start(main)
