"""Plant mistakes and see whether the tests notice: digits, bounds, headings, scales, solutions, helpers.

    python course.py bench mutants                    all kinds, chapter 03; about fifteen minutes on two cores
    python course.py bench mutants --only source      only the mistakes in Python modules
    python course.py bench mutants --chapters 03 04   the notebooks to damage
    python course.py bench mutants --modules utils/optimize/quantization/grid.py --each 20

Everything happens in a temporary copy.  At least 95 % must be noticed; survivors are listed, each to be explained
in data/results/mutants.md or caught by a new test.  Records data/results/mutants.json.
"""

from __future__ import annotations

import argparse
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import nbformat
from tqdm import tqdm

from benchmarks import _mutations, _planting
from benchmarks._planting import Plant
from commands.parts import chapters, ledger
from commands.parts.errors import Problem
from tests.course import chapter_rules, ledger_rules, link_rules, output_rules
from tests.course.notebooks import Notebook, every, read
from utils import ROOT, recorded

WANTED = 0.95
DEPENDS = ["benchmarks/mutants.py", "benchmarks/_planting.py", "benchmarks/_forks.py"]


@dataclass(frozen=True)
class Tried:
    """A planted mistake, whether the tests noticed, and how: a rule, a cell, or a test module."""

    kind: str
    what: str
    where: str
    noticed: bool
    by: str


# ---------------------------------------------------------------- rules: nothing runs


def try_rules(notebooks: list[Notebook]) -> list[Tried]:
    """Structural mistakes, seen by the rules that the structure tests apply."""
    others = [read(path) for path in every()]
    plants = [plant for nb in notebooks for plant in _planting.structural(nb)]
    tried = []
    for plant in tqdm(plants, desc="rules", unit="mutant"):
        by = next((name for name, complaints in _complaints(plant.changed, others) if complaints), "")
        tried.append(Tried("notebook", plant.what, plant.where, bool(by), by))
    return tried


def _complaints(nb: Notebook, others: list[Notebook]) -> Iterator[tuple[str, list[str]]]:
    rules = chapter_rules.CHAPTER_RULES if nb.is_chapter else chapter_rules.SOLUTION_RULES
    for rule in (*output_rules.OUTPUT_RULES, *rules):
        yield rule.__name__, rule(nb)
    text = "\n\n".join(cell.source for cell in nb.text)
    yield "broken_links", link_rules.broken_links(text, ROOT / nb.folder / nb.name, ROOT)
    everyone = [nb if other.shown == nb.shown else other for other in others]
    yield "ledger_agrees", ledger_rules.ledger_agrees(everyone, ledger.read())


# ---------------------------------------------------------------- nbval: many mistakes in one run


def try_outputs(notebooks: list[Notebook], copy: Path) -> list[Tried]:
    """Changed outputs, negated claims, wrong answers: no cell needs another's mistake, so one run tries all."""
    batches = []
    for nb in notebooks:
        kinds = (
            (_planting.wrong_answers,) if nb.folder == "solutions" else (_planting.outputs, _planting.negated_claims)
        )
        batches += [(nb, plants) for kind in kinds if (plants := list(kind(nb)))]
    files = []
    for i, (nb, plants) in enumerate(batches):
        file = copy / nb.folder / f"90_mutant{i}.ipynb"
        content = nbformat.from_dict(nb.content)
        position = [k for k, cell in enumerate(content.cells) if cell.cell_type == "code"]
        cells = {position[plant.cell]: plant.changed for plant in plants}
        content = content.copy()
        content["cells"] = [cells.get(k, cell) for k, cell in enumerate(content.cells)]
        nbformat.write(content, file)
        files.append(file)
    failed, log = _failed_cells(files, copy)
    if files and not failed:
        raise RuntimeError(f"nbval noticed nothing at all; its last words: {log[-2000:]}")
    return [
        Tried("output", plant.what, plant.where, (file.name, plant.cell) in failed, "nbval")
        for file, (_, plants) in zip(files, batches, strict=True)
        for plant in plants
    ]


def _failed_cells(files: list[Path], copy: Path) -> tuple[set[tuple[str, int]], str]:
    if not files:
        return set(), ""
    print(f"running {len(files)} damaged notebooks …", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rfE", "--color=no", *map(str, files)]
    done = subprocess.run(command, cwd=copy, env=_environment(copy), text=True, capture_output=True)
    found = re.findall(r"(?m)^(?:FAILED|ERROR) (?:\S*/)?(90_mutant\d+\.ipynb)::Cell (\d+)", done.stdout)
    return {(name, int(cell)) for name, cell in found}, done.stdout + done.stderr


# ---------------------------------------------------------------- modules: their tests run in forked children


class Server:
    """A copy of the course with a process that forks test runs in it."""

    def __init__(self, copy: Path) -> None:
        self.copy = copy
        self.process = subprocess.Popen(
            [sys.executable, str(copy / "benchmarks/_forks.py")],
            cwd=copy,
            text=True,
            env=_environment(copy),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        if self.process.stdout.readline().strip() != "ready":
            raise RuntimeError("the process that runs the tests did not start")

    def code(self, test: str) -> int:
        """pytest's exit code for one test module: 0 passed, 1 failed, 124 too slow."""
        self.process.stdin.write(f"{test}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline().split()[0])

    def try_one(self, file: str, plant: Plant) -> Tried:
        path, test = self.copy / file, test_of(file)
        before = path.read_text("utf-8")
        try:
            path.write_text(plant.changed, "utf-8")
            code = self.code(test)
        finally:
            path.write_text(before, "utf-8")
        by = {0: "", 1: test, 124: f"{test} (endless)"}.get(code, f"{test} (code {code})")
        return Tried("source", plant.what, plant.where, code != 0, by)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=30)


def try_modules(files: list[str], each: int, servers: list[Server], seed: int = 0) -> list[Tried]:
    """`each` mutants of every module whose tests pass as they are."""
    idle: queue.Queue[Server] = queue.Queue()
    for server in servers:
        idle.put(server)

    def work(job: Callable[[Server], object]) -> object:
        server = idle.get()
        try:
            return job(server)
        finally:
            idle.put(server)

    with ThreadPoolExecutor(len(servers)) as pool:
        codes = list(pool.map(lambda file: work(lambda server: server.code(test_of(file))), files))
        red = [file for file, code in zip(files, codes, strict=True) if code]
        if red:
            print(f"left out, their tests fail as they are: {', '.join(red)}", file=sys.stderr, flush=True)
        jobs = [(file, plant) for file in files if file not in red for plant in plants_of(file, each, seed)]
        results = pool.map(lambda job: work(lambda server: server.try_one(*job)), jobs)
        return list(tqdm(results, total=len(jobs), desc="modules", unit="mutant"))


def plants_of(file: str, each: int, seed: int = 0) -> list[Plant]:
    return _mutations.module((ROOT / file).read_text("utf-8"), file, each, seed)


def test_of(file: str) -> str:
    """tests/optimize/test_pruning.py for utils/optimize/pruning.py."""
    path = Path(file)
    return (Path("tests") / path.parent.relative_to("utils") / f"test_{path.name}").as_posix()


def modules() -> list[str]:
    """Every module of utils that has tests of its own."""
    files = sorted(
        path.relative_to(ROOT).as_posix() for path in ROOT.glob("utils/**/*.py") if path.name != "__init__.py"
    )
    return [file for file in files if (ROOT / test_of(file)).is_file()]


# ---------------------------------------------------------------- copies, report


@contextmanager
def copies(count: int) -> Iterator[list[Path]]:
    """`count` copies of the course without environments and history; data sets are linked."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        made = []
        for i in range(count):
            copy = Path(folder) / str(i)
            shutil.copytree(ROOT, copy, ignore=_left_out)
            for part in ("data",):
                (copy / part).symlink_to(ROOT / part, target_is_directory=True)
            made.append(copy)
        yield made


def _left_out(folder: str, names: list[str]) -> set[str]:
    top = {
        name for name in names if Path(folder) == ROOT and ((name.startswith(".") and name != ".ci") or name == "data")
    }
    return top | {name for name in names if name in ("__pycache__", ".ipynb_checkpoints")}


def _environment(copy: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    scratch = copy / "t"  # a child that is ended does not tidy up; what it leaves goes with the copy
    scratch.mkdir(exist_ok=True)
    return kept | {
        "TMPDIR": str(scratch),
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(copy / ".h"),
    }


def report(tried: list[Tried], seconds: float) -> bool:
    """Print a table and the survivors; True if enough were noticed."""
    print(f"{'noticed':>9}  kind of mistake")
    for what in dict.fromkeys(t.what for t in tried):
        of_kind = [t for t in tried if t.what == what]
        print(f"{sum(t.noticed for t in of_kind):4d} of {len(of_kind):2d}  {what}")
    share = sum(t.noticed for t in tried) / len(tried)
    print(f"{share:.1%} of {len(tried)} mistakes noticed, in {seconds:.0f} s")
    for t in tried:
        if not t.noticed:
            print(f"survived: {t.what}: {t.where}")
    return share >= WANTED


def record(tried: list[Tried], command: str) -> None:
    rows = [
        {
            "mistake": what,
            "planted": len(kind),
            "noticed": sum(t.noticed for t in kind),
            "survivors": [t.where for t in kind if not t.noticed],
        }
        for what in dict.fromkeys(t.what for t in tried)
        if (kind := [t for t in tried if t.what == what])
    ]
    recorded.save("mutants", rows, command=command, depends=DEPENDS, seeds=[0])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python course.py bench mutants", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("rules", "outputs", "source"), help="one kind of mistake")
    parser.add_argument("--chapters", nargs="*", default=["03"], help="numbers of the notebooks to damage")
    parser.add_argument("--modules", nargs="*", help="files of utils to damage (default: all that have tests)")
    parser.add_argument("--each", type=int, default=4, help="mistakes for each module")
    parser.add_argument("--seed", type=int, default=0, help="chooses which mistakes; only seed 0 is recorded")
    options = parser.parse_args(arguments)
    try:
        numbers = {chapters.number(path) for path in chapters.find(options.chapters)}
    except Problem as problem:
        print(f"✘ {problem}", file=sys.stderr)
        return 1
    notebooks = [read(path) for path in every() if chapters.number(path) in numbers]
    start, tried = time.monotonic(), []
    if options.only in (None, "rules"):
        tried += try_rules(notebooks)
    with copies(2) as (first, second):
        if options.only in (None, "outputs"):
            tried += try_outputs(notebooks, first)
        if options.only in (None, "source"):
            servers = [Server(copy) for copy in (first, second)]
            tried += try_modules(options.modules or modules(), options.each, servers, options.seed)
            for server in servers:
                server.close()
    if not tried:
        print("nothing could be damaged", file=sys.stderr)
        return 1
    good = report(tried, time.monotonic() - start)
    everything = parser.parse_args([])
    if vars(options) == vars(everything):  # a part would replace the figures of the whole
        record(tried, "python course.py bench mutants")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
