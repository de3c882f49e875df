"""How a benchmark is started as a program: what cannot go on is said in a sentence, without a trace."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from utils import recorded

#: By how much a time may differ from the recorded one.  tflite_growth timed one file three times in one run, and its
#: medians are 1.28 apart; another day has another load.
SPREAD = 1.5


def add_confirm(parser: argparse.ArgumentParser, what: str) -> None:
    """The option --confirm; what: the rows that it measures."""
    parser.add_argument("--confirm", action="store_true", help=f"measure only {what}: is the record still right?")


def confirm(name: str, rows: list[dict], **how) -> None:
    """`recorded.confirm`, with a sentence for the screen."""
    recorded.confirm(name, rows, **how)
    last = recorded.load(name).confirmed[-1]
    print(f"data/results/{name}.json is confirmed by {len(rows)} of its rows. What had changed:")
    print("\n".join(f"  {change}" for change in last["changed"] or ["nothing"]))


def around(values: list[float]) -> tuple[float, float]:
    """The range of these, three times as wide: another processor trains another network, as another seed does."""
    low, high = min(values), max(values)
    return 2 * low - high, 2 * high - low


def without(rows: list[dict], *columns: str) -> list[dict]:
    """Rows without the columns that a part of the measurement cannot have."""
    return [{column: value for column, value in row.items() if column not in columns} for row in rows]


def start(main: Callable[[], int | None]) -> None:
    """Run `main` and end the process with its code; 1 with a sentence if files or records do not allow it."""
    try:
        sys.exit(main())
    except (OSError, recorded.Refused) as error:
        sys.exit(f"✘ {error}")
