"""Execute notebooks as on other machines: every output outside of brackets must be equal, every claim hold.

    python course.py bench elsewhere                        chapter 03 and its solutions, all variants
    python course.py bench elsewhere 03 04 --variants seed  some notebooks, one variant
    python course.py bench elsewhere --all                  every notebook

Stand-ins for another processor: two threads (sums are split elsewhere), oneDNN (sums in another order), numpy without
its vector kernels, weights and pictures moved by one unit in the last place (*ulp*); and two other seeds with networks
trained anew.  *processor* repeats what a chapter computes by hand on processors that qemu-user emulates.
Records data/results/elsewhere-NN.json.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tqdm import tqdm

from benchmarks import _processor
from commands.parts import chapters, execution, ledger, outputs
from commands.parts.errors import Problem
from utils import recorded


@dataclass(frozen=True)
class Variant:
    """Another machine, in one word, and the environment variables that stand in for it."""

    name: str
    variables: dict[str, str]
    seed: int = 0

    @property
    def fresh(self) -> bool:
        """Other seeds mean nothing for networks whose weights ship."""
        return self.seed != 0


def numpy_features() -> str:
    """The optional processor features that this numpy was built with and that this machine has."""
    from numpy._core._multiarray_umath import __cpu_baseline__, __cpu_dispatch__, __cpu_features__

    return " ".join(name for name in __cpu_dispatch__ if __cpu_features__.get(name) and name not in __cpu_baseline__)


#: The variant that is no notebook: its word for --variants.
PROCESSOR = "processor"

#: Draws of moved last places (`utils.nudge`).  Each of these three put a number of chapter 04 onto a rounding tie;
#: dividing by the scale, instead of multiplying by its reciprocal, then gave another integer than the kernel.
ULP_DRAWS = (14, 18, 22)


def variants() -> list[Variant]:
    """What is tried."""
    return [
        Variant("threads", {"COURSE_THREADS": "2"}),
        Variant("onednn", {"TF_ENABLE_ONEDNN_OPTS": "1"}),
        Variant("numpy", {"NPY_DISABLE_CPU_FEATURES": numpy_features()}),
        *(Variant(f"ulp {draw}", {"COURSE_NUDGE": str(draw)}) for draw in ULP_DRAWS),
        Variant("seed 1", {}, seed=1),
        Variant("seed 2", {}, seed=2),
    ]


@dataclass(frozen=True)
class Outcome:
    """What one notebook did under one variant: claims that held, claims that failed, cells that said something else."""

    notebook: str
    variant: str
    held: int
    failed: tuple[str, ...]
    different: tuple[str, ...]
    seconds: float

    @property
    def good(self) -> bool:
        return not self.failed and not self.different


def try_variant(path: Path, variant: Variant) -> Outcome:
    """Execute `path` under `variant` and compare with what is stored; nothing is written."""
    name, start = chapters.shown(path), time.monotonic()
    stored = execution.read(path)
    try:
        done = execution.execute(
            path,
            seed=variant.seed,
            fresh=variant.fresh,
            keep_going=True,
            variables=settled(variant),
            name=f"{name} {variant.name}",
        )
    except Problem as problem:
        return Outcome(name, variant.name, 0, (), (str(problem),), round(time.monotonic() - start, 1))
    without_announcement(done.notebook)
    different = tuple(
        f"code cell {position}: {' | '.join(lines)[:200]}"
        for position, lines in outputs.changed_cells(stored, done.notebook).items()
    )
    failures = ledger.failures(done.notebook)
    held = len(ledger.claims(done.notebook, name))
    failed = tuple(f"{id}: {figure}" for id, figure in failures.items())
    return Outcome(name, variant.name, held, failed, different, round(done.seconds, 1))


def try_processors(path: Path) -> list[Outcome]:
    """What the chapter at `path` computes by hand, on each emulated processor: the cases stand for claims."""
    with tempfile.TemporaryDirectory() as folder:
        _processor.export(Path(folder), chapters.number(path))
        return [_try_processor(path, Path(folder), processor) for processor in _processor.PROCESSORS]


def _try_processor(path: Path, folder: Path, processor: str) -> Outcome:
    start = time.monotonic()
    try:
        found, broken = _processor.replay(folder, processor), ()
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        found, broken = {}, (str(error),)
    differing = {case: sum(tensors.values()) for case, tensors in found.items() if any(tensors.values())}
    failed = tuple(f"{case}: {count:,} numbers differ" for case, count in differing.items())
    seconds = round(time.monotonic() - start, 1)
    return Outcome(chapters.shown(path), processor, len(found) - len(failed), failed, broken, seconds)


def with_cases(paths: list[Path]) -> list[Path]:
    """The chapters that compare something by hand with a kernel; solutions repeat no such claim."""
    return [path for path in paths if path.parent.name == "notebooks" and chapters.number(path) in _processor.CASES]


def emulation_wanted(options: argparse.Namespace) -> bool:
    """Whether processors are to be emulated; says so if they cannot be, and raises Problem if they have to be."""
    if options.variants and PROCESSOR not in options.variants:
        return False
    if _processor.emulator():
        return True
    missing = "qemu-user is missing here, which emulates processors (Debian: apt install qemu-user, on x86-64)"
    if options.variants or os.environ.get("COURSE_REQUIRE_ALL", "") not in ("", "0"):
        raise Problem(missing)
    print(f"– left out: {PROCESSOR}. {missing}", file=sys.stderr)
    return False


def settled(variant: Variant) -> dict[str, str]:
    """All variables of a kernel: this process has imported utils, whose settings must not leak into the variant."""
    threads = variant.variables.get("COURSE_THREADS", "1")
    return (
        {
            "COURSE_THREADS": threads,
            "TF_NUM_INTRAOP_THREADS": threads,
            "TF_NUM_INTEROP_THREADS": threads,
            "TF_ENABLE_ONEDNN_OPTS": "0",
            "COURSE_FRESH": "0",
            "COURSE_NUDGE": "0",
        }
        | variant.variables
        | ({"COURSE_FRESH": "1"} if variant.fresh else {})
    )


def without_announcement(notebook) -> None:
    """Drop the line in which oneDNN says that it is on: TensorFlow writes it before any log level counts."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stderr":
                lines = output.text.splitlines(keepends=True)
                output.text = "".join(line for line in lines if not is_announcement(line))
        if "outputs" in cell:
            cell.outputs = [o for o in cell.outputs if o.output_type != "stream" or o.text.strip()]


def is_announcement(line: str) -> bool:
    """A line about oneDNN, of TensorFlow's start, or of the log that is not set up yet."""
    return "oneDNN custom operations are on" in line or "before absl::InitializeLog()" in line


def report(outcomes: list[Outcome]) -> bool:
    """Print a table and what went wrong; True if nothing did."""
    print(f"{'claims held':>12}  {'cells differ':>12}  {'seconds':>7}  variant   notebook")
    for o in outcomes:
        print(
            f"{o.held:4d} of {o.held + len(o.failed):4d}  {len(o.different):12d}  {o.seconds:7.1f}  "
            f"{o.variant:8}  {o.notebook}"
        )
        for text in (*o.failed, *o.different):
            print(f"    ✘ {text}")
    return all(o.good for o in outcomes)


def record(outcomes: list[Outcome]) -> None:
    """One result for each chapter: editing a notebook makes only its own result stale.

    Variants of another day stay beside these, unless the chapter's code has changed since.
    """
    for number in dict.fromkeys(_number(o) for o in outcomes):
        rows = [
            {
                "notebook": o.notebook,
                "variant": o.variant,
                "claims held": o.held,
                "claims failed": list(o.failed),
                "cells different": list(o.different),
                "seconds": o.seconds,
            }
            for o in outcomes
            if _number(o) == number
        ]
        rows = recorded.beside(f"elsewhere-{number}", rows, ["notebook", "variant"], anew=True)
        recorded.save(
            f"elsewhere-{number}",
            rows,
            command=f"python course.py bench elsewhere {number}",
            depends=[
                "benchmarks/elsewhere.py",
                "benchmarks/_processor.py",
                "utils/nudge.py",
                *dict.fromkeys(row["notebook"] for row in rows),
            ],
            seeds=[0, 1, 2],
        )


def _number(outcome: Outcome) -> str:
    return chapters.number(Path(outcome.notebook))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python course.py bench elsewhere",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("chapters", nargs="*", default=["03"], help="numbers or names (default: 03)")
    made.add_argument("--all", action="store_true", help="every notebook")
    made.add_argument("--variants", nargs="+", help="only these: threads, onednn, numpy, ulp, seed, processor")
    return made


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    tried = [v for v in variants() if not options.variants or v.name.split()[0] in options.variants]
    if unknown := set(options.variants or ()) - {v.name.split()[0] for v in variants()} - {PROCESSOR}:
        known = dict.fromkeys([*(v.name.split()[0] for v in variants()), PROCESSOR])
        raise SystemExit(f"no variant {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    emulated = emulation_wanted(options)
    paths = chapters.find_notebooks([] if options.all else options.chapters, solutions=True)
    jobs = [(path, variant) for path in paths for variant in tried]
    outcomes = [try_variant(path, variant) for path, variant in tqdm(jobs, desc="elsewhere", unit="run")]
    if emulated:
        outcomes += [o for path in tqdm(with_cases(paths), desc="processors") for o in try_processors(path)]
    if not outcomes:
        raise Problem(f"nothing to try: chapters {', '.join(_processor.CASES)} compute by hand what a kernel computes")
    good = report(outcomes)
    record(outcomes)
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Problem as problem:
        sys.exit(f"✘ {problem}")
