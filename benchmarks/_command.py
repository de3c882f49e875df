"""How a benchmark is started as a program: what cannot go on is said in a sentence, without a trace."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence

from utils import recorded

#: By how much a time may differ from the recorded one.  tflite_growth timed one file three times in one run, and its
#: medians are 1.28 apart; another day has another load.
SPREAD = 1.5


def measure_parts(
    about: str,
    name: str,
    parts: Mapping[str, Callable[..., list[dict]]],
    *,
    command: str,
    seeds: Mapping[str, Sequence[int]],
    notes: str,
    tiny: Mapping[str, dict] | None = None,
) -> None:
    """Measure the parts that the command line names, all by default, and record each as NAME_PART.

    about: what --help says.  seeds: of each part.  tiny: the settings of each part with --tiny, of which nothing is
    stored.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"{', '.join(parts)}; all by default", default=[])
    if tiny:
        parser.add_argument("--tiny", action="store_true", help="a few rows of one seed; nothing is stored")
    options = parser.parse_args()
    quick = bool(tiny) and options.tiny
    if unknown := set(options.parts) - set(parts):
        parser.error(f"there is no part {sorted(unknown)[0]!r}; pass some of {', '.join(parts)}")
    for part in options.parts or parts:
        recorded.check_writable(f"{name}_{part}")
        recorded.save(
            f"{name}_{part}",
            parts[part](**(tiny[part] if quick else {})),
            command=f"{command} {part}",
            depends=[parts[part]],
            seeds=list(seeds[part]),
            notes=notes,
            partial="--tiny measured a few rows" if quick else "",
        )


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
    except (OSError, recorded.RecordRefused) as error:
        sys.exit(f"✘ {error}")
