"""Execute chapters in fresh kernels and store what they say: outputs, ledger of claims, run times.

Killed half-way, each notebook is either old or new. A failing chapter keeps its old outputs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from commands.parts import chapters, environment, execution, ledger, machine_checks, outputs, pages, placeholders, seeds
from commands.parts.chapters import shown
from commands.parts.errors import Problem
from commands.parts.files import write_json, write_text
from commands.parts.normalize import normalize, traces_of_machine
from commands.parts.process_lock import Lock

NEEDS_ENVIRONMENT = True
EXAMPLES = """
  python course.py run                    every chapter; writes outputs, claims.json and run_times.json
  python course.py run 03 04 --solutions  two chapters and the answers to their exercises
  python course.py run 03 --check         changes nothing; says what differs outside of ⟦brackets⟧
  python course.py run 03 --seeds 5       changes nothing; how often each claim held, and its spread
  python course.py run 03 --fresh         trains anew instead of reading stored weights
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("chapters", nargs="*", metavar="NN", help="numbers, names or paths (default: all chapters)")
    parser.add_argument("--solutions", action="store_true", help="also the solution notebooks of these chapters")
    parser.add_argument("--check", action="store_true", help="compare with the stored outputs, write nothing")
    parser.add_argument("--seeds", type=int, metavar="N", help="execute with the seeds 0 … N-1, write nothing")
    parser.add_argument("--fresh", action="store_true", help="train anew")
    parser.add_argument(
        "--time-limit",
        type=int,
        default=execution.CELL_LIMIT,
        metavar="SECONDS",
        help=f"what one cell may take (default {execution.CELL_LIMIT})",
    )
    environment.with_argument(parser)


def main(options: argparse.Namespace) -> int:
    _refuse_contradictions(options)
    paths = chapters.find_notebooks(options.chapters, solutions=options.solutions)
    environment.ensure_extras(options.extras)
    if options.seeds:
        return seeds.report(paths, options.seeds, options.time_limit)
    if options.check:
        return 0 if len(_each(paths, lambda path: matches_stored(path, options))) == len(paths) else 1
    if not environment.writable(environment.ROOT):
        raise Problem(f"{environment.ROOT} is read-only: nothing can be stored. `run --check` compares without it.")
    with Lock(environment.ROOT / ".cache/run.lock", "Another `course.py run` is writing the notebooks"):
        pages.remove_leavings()
        ledger.collected(), ledger.read_json(_times(), [])  # a Problem with them is said before the work
        done = _each(paths, lambda path: store(path, options))
        complaints = pages.refresh()
        pages.remove_leavings()
    _print_times({shown(path) for path in done})
    for complaint in complaints:
        print(f"✘ {complaint}", file=sys.stderr)
    return 0 if len(done) == len(paths) and not complaints else 1


def matches_stored(path: Path, options: argparse.Namespace) -> bool:
    """Execute and compare; True if everything outside of brackets is as stored."""
    stored = execution.read(path)
    if not execution.was_run(stored):
        raise Problem(f"{shown(path)} was never run to its end. Store its outputs:  python course.py run {path.stem}")
    done = execution.execute(path, fresh=options.fresh, cell_limit=options.time_limit)
    differing = outputs.changed_cells(stored, done.notebook)
    for position, lines in differing.items():
        print(f"✘ {shown(path)}, code cell {position} says something else:")
        print("\n".join(f"    {line}" for line in lines))
    if not differing:
        print(f"✔ {shown(path)}  as stored, {done.seconds:.0f} s")
    return not differing


def store(path: Path, options: argparse.Namespace) -> bool:
    """Execute, normalize and write one notebook, its claims and its times."""
    import nbformat

    variables = {"COURSE_FRESH": str(int(options.fresh)), "COURSE_THREADS": "1"}
    done = execution.execute(path, seed=0, cell_limit=options.time_limit, variables=variables)
    notebook = normalize(done.notebook, execution.kernel_of(done.notebook))
    _refuse_traces(notebook, path)
    book, _ = ledger.collected({path: notebook})
    write_text(path, nbformat.writes(notebook) + "\n")
    write_json(ledger.path(), book)
    left = [place for place in placeholders.found(environment.ROOT) if place.chapter == chapters.number(path)]
    if left:
        print(f"✔ {shown(path)}  {done.seconds:.0f} s; its claims stay out of the ledger until")
        print(f"  the chapter's {len(left)} placeholders are written, from {left[0].file}:{left[0].line} on")
        return True
    _store_times(path, done)
    print(f"✔ {shown(path)}  {len(ledger.claims(notebook, shown(path)))} claims, {done.seconds:.0f} s")
    return True


def _each(paths: list[Path], work) -> list[Path]:
    """Do `work` for every notebook and give those where it went well; a Problem with one does not stop the others."""
    good = []
    for path in paths:
        try:
            good += [path] if work(path) else []
        except Problem as problem:
            print(f"✘ {problem}", file=sys.stderr)
        sys.stdout.flush()
    return good


def _refuse_contradictions(options: argparse.Namespace) -> None:
    if options.seeds is not None and options.seeds < 1:
        raise Problem(f"--seeds {options.seeds}: pass how many seeds to try, 1 or more.")
    if options.seeds and options.check:
        raise Problem("--seeds and --check are two different questions; pass one of them.")
    if options.time_limit < 1:
        raise Problem(f"--time-limit {options.time_limit}: pass the seconds that one cell may take, 1 or more.")


def _refuse_traces(notebook, path: Path) -> None:
    traces = traces_of_machine(notebook)
    if traces:
        cell, text = traces[0]
        raise Problem(
            f"{shown(path)}, cell [{cell}] prints a path of this machine: {text}. It was not stored; "
            "print a path relative to the course instead."
        )


def _times() -> Path:
    return environment.ROOT / "data/results/run_times.json"


def _store_times(path: Path, done: execution.Executed) -> None:
    slowest = max(done.cell_seconds, key=done.cell_seconds.get, default=None)
    row = {
        "notebook": shown(path),
        "seconds": round(done.seconds, 1),
        "cells": len(done.cell_seconds),
        "slowest_cell": slowest,
        "slowest_seconds": round(done.cell_seconds.get(slowest, 0), 1),
        "cpu": machine_checks.cpu_name(),
    }
    others = [old for old in ledger.read_json(_times(), []) if old["notebook"] != row["notebook"]]
    others = [old for old in others if (environment.ROOT / old["notebook"]).exists()]
    write_json(_times(), sorted([*others, row], key=lambda entry: entry["notebook"]))


def _print_times(names: set[str]) -> None:
    rows = [row for row in ledger.read_json(_times(), []) if row["notebook"] in names]
    if not rows:
        return
    print(f"\n{'seconds':>8}  {'slowest cell':>16}  notebook")
    for row in sorted(rows, key=lambda entry: -entry["seconds"]):
        slowest = f"[{row['slowest_cell']}] {row['slowest_seconds']:.1f} s"
        print(f"{row['seconds']:8.1f}  {slowest:>16}  {row['notebook']}")
    print(f"{sum(row['seconds'] for row in rows):8.1f}  {'':>16}  in all")
