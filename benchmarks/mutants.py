"""Plant mistakes and see whether the tests notice: in notebooks, in texts, quizzes and records, in the helpers.

    python course.py bench mutants                    all kinds; about twenty minutes on two cores
    python course.py bench mutants --only source      only the mistakes in Python modules
    python course.py bench mutants --only foreign     only those of benchmarks/_foreign_mistakes.py
    python course.py bench mutants --chapters 03 04   the notebooks to damage
    python course.py bench mutants --modules utils/optimize/quantization/grid.py --each 20
    python course.py bench mutants --again            the survivors of the record, after new tests for them

Everything happens in a temporary copy.  At least 90 % must be noticed, for their own reason: that a record is stale
after any edit does not count.  The whole run is stored in data/results/mutants.json, and its survivors in
data/results/mutants.md, each to be explained there or caught by a new test.
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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import nbformat
from tqdm import tqdm

from benchmarks import _mutations, _planting, _wording
from benchmarks._command import start
from benchmarks._foreign_mistakes import MISTAKES, Mistake
from benchmarks._planting import Plant
from commands.parts import chapters, ledger
from commands.parts.errors import Problem
from tests.course import chapter_rules, ledger_rules, link_rules, output_rules
from tests.course.notebooks import Notebook, every, read
from utils import ROOT, files, recorded

WANTED = 0.9
COMMAND = "python course.py bench mutants"
FILES = ("mutants", "_planting", "_mutations", "_wording", "_foreign_mistakes", "_forks")
DEPENDS = [f"benchmarks/{name}.py" for name in FILES]
KINDS = ("rules", "outputs", "texts", "source", "foreign")
#: Pages whose figures are changed -> the tests that read them.
PAGES = {
    "README.md": ("tests/study/test_quotes.py", "tests/study/test_questions.py", "tests/course/test_repository.py"),
    "CONTRIBUTING.md": ("tests/course/test_contributing.py",),
}
#: What is true of all modules: their defaults.
DEFAULTS = "tests/course/test_defaults.py"
_LINKED = 200_000  #: bytes; larger files of `data` are linked into a copy, and no mistake is planted in them


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
    """Mistakes that show when a notebook runs: no cell needs another's mistake, so one run tries all of a kind.

    Changed outputs are compared with what a cell prints.  Where the code is wrong as its author would write it, the
    stored output is no witness: the cell itself must stop.
    """
    compared = (_planting.outputs, _planting.negated_claims)
    stopping = (_wording.swapped_labels, _wording.turned_trends)
    tried = []
    for kinds, lax in ((compared, False), (stopping, True)):
        batches = []
        for nb in notebooks:
            own = kinds if nb.folder != "solutions" else () if lax else (_planting.wrong_answers,)
            batches += [(nb, plants) for kind in own if (plants := list(kind(nb)))]
        tried += _try_batches(batches, copy, lax)
    return tried


def _try_batches(batches: list[tuple[Notebook, list[Plant]]], copy: Path, lax: bool) -> list[Tried]:
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
    failed, log = _failed_cells(files, copy, lax)
    if files and not failed and not lax:
        raise RuntimeError(f"nbval noticed nothing at all; its last words: {log[-2000:]}")
    return [
        Tried("output", plant.what, plant.where, (file.name, plant.cell) in failed, "nbval")
        for file, (_, plants) in zip(files, batches, strict=True)
        for plant in plants
    ]


def _failed_cells(files: list[Path], copy: Path, lax: bool) -> tuple[set[tuple[str, int]], str]:
    if not files:
        return set(), ""
    print(f"running {len(files)} damaged notebooks …", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rfE", "--color=no", *map(str, files)]
    command += ["--nbval-lax"] if lax else []
    done = subprocess.run(command, cwd=copy, env=_environment(copy), text=True, capture_output=True)
    found = re.findall(r"(?m)^(?:FAILED|ERROR) (?:\S*/)?(90_mutant\d+\.ipynb)::Cell (\d+)", done.stdout)
    return {(name, int(cell)) for name, cell in found}, done.stdout + done.stderr


# ---------------------------------------------------------------- texts: rules read them


def try_texts(notebooks: list[Notebook], each: int, seed: int = 0) -> list[Tried]:
    """Mistakes in what is said, each seen by its rule if that complains of something new."""
    plants = _wording.everything(notebooks, each, seed)
    return [
        Tried("text", said.what, said.where, said.noticed(), getattr(said.rule, "__name__", ""))
        for said in tqdm(plants, desc="texts", unit="mutant")
    ]


# ---------------------------------------------------------------- modules: their tests run in forked children


@dataclass(frozen=True)
class Job:
    """A mistake in a file, and the tests that should notice it."""

    kind: str
    file: str
    plant: Plant
    tests: tuple[str, ...]


class Server:
    """A copy of the course with a process that forks test runs in it."""

    def __init__(self, copy: Path) -> None:
        self.copy = copy
        self.green: set[str] = set()  #: tests that were seen to pass as they are
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

    def code(self, *tests: str) -> int:
        """pytest's exit code for these test modules: 0 passed, 1 failed, 124 too slow."""
        self.process.stdin.write(f"{' '.join(tests)}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline().split()[0])

    def try_one(self, job: Job) -> Tried | None:
        """What the tests said of a mistake; None if the test that noticed fails without it as well."""
        path = self.copy / job.file
        before = path.read_text("utf-8")
        try:
            path.write_text(job.plant.changed, "utf-8")
            code = self.code(*job.tests)
        finally:
            path.write_text(before, "utf-8")
        by = {0: "", 124: "too slow"}.get(code) if code in (0, 124) else self.failed() or f"pytest's code {code}"
        if "::" in by and by not in self.green:
            if self.code(by):
                return None
            self.green.add(by)
        return Tried(job.kind, job.plant.what, job.plant.where, code != 0, by)

    def failed(self) -> str:
        """The first test that failed in the last run, for all of its parameters."""
        found = re.search(r"(?m)^(?:FAILED|ERROR) ([^\s\[]+)", (self.copy / "pytest.log").read_text("utf-8", "replace"))
        return found[1] if found else ""

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=30)


def try_jobs(jobs: list[Job], servers: list[Server], what: str) -> list[Tried]:
    """Each mistake, but for those whose tests fail without it."""
    idle: queue.Queue[Server] = queue.Queue()
    for server in servers:
        idle.put(server)

    def work(job: Job) -> Tried | None:
        server = idle.get()
        try:
            tried = server.try_one(job)
        finally:
            idle.put(server)
        if tried and not tried.noticed:  # now: the run may be ended before it can report
            tqdm.write(f"survived: {tried.what}: {tried.where}", file=sys.stderr)
        return tried

    with ThreadPoolExecutor(len(servers)) as pool:
        tried = list(tqdm(pool.map(work, jobs), total=len(jobs), desc=what, unit="mutant"))
    red = {" ".join(job.tests) for job, one in zip(jobs, tried, strict=True) if one is None}
    if red:
        print(f"left out, these tests fail as they are: {', '.join(sorted(red))}", file=sys.stderr, flush=True)
    return [one for one in tried if one]


def module_jobs(files: list[str], each: int, seed: int = 0) -> list[Job]:
    """At most `each` mistakes of every module."""
    return [
        Job("source", file, plant, (test_of(file), DEFAULTS)) for file in files for plant in plants_of(file, each, seed)
    ]


def page_jobs(each: int, seed: int = 0) -> list[Job]:
    """Figures of the README and of CONTRIBUTING that are other ones."""
    return [
        Job("text", file, plant, tests)
        for file, tests in PAGES.items()
        for plant in _wording.page_figures(file, each, seed)
    ]


def foreign_jobs(mistakes: tuple[Mistake, ...] = MISTAKES) -> list[Job]:
    """The mistakes of benchmarks/_foreign_mistakes.py; Problem for one that cannot be planted."""
    jobs = []
    for mistake in mistakes:
        path = ROOT / mistake.file
        if not path.is_file() or path.stat().st_size > _LINKED:
            raise Problem(f"_foreign_mistakes.py names {mistake.file}, which is not there, or too large to be changed")
        text = path.read_text("utf-8")
        if (count := text.count(mistake.old)) != 1 or mistake.old == mistake.new:
            raise Problem(
                f"{mistake.old!r} stands {count} times in {mistake.file}; a mistake replaces what stands once"
            )
        changed = text.replace(mistake.old, mistake.new)
        where = f"{mistake.file}: {mistake.old[:50]!r} → {mistake.new[:50]!r}"
        jobs.append(Job("foreign", mistake.file, Plant("is somebody else's mistake", where, changed), mistake.tests))
    return jobs


def plants_of(file: str, each: int, seed: int = 0) -> list[Plant]:
    return _mutations.module((ROOT / file).read_text("utf-8"), file, each, seed)


def test_of(file: str) -> str:
    """tests/optimize/test_recovery.py for utils/optimize/recovery.py."""
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
            shutil.copytree(ROOT / "data", copy / "data", copy_function=_copied_or_linked)
            made.append(copy)
        yield made


def _copied_or_linked(source: str, target: str) -> None:
    """Small files are copied, so that a mistake can be planted in them; large ones are linked."""
    if Path(source).stat().st_size > _LINKED:
        Path(target).symlink_to(source)
    else:
        shutil.copy2(source, target)


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


def record(tried: list[Tried], seconds: float, partial: str = "") -> None:
    """Store a row for each kind of mistake, and the list of survivors with the reasons that it had."""
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
    _store(rows, f"it took {seconds / 60:.0f} minutes", partial)


def _store(rows: list[dict], notes: str, partial: str = "") -> None:
    if recorded.save("mutants", rows, command=COMMAND, depends=DEPENDS, seeds=[0], notes=notes, partial=partial):
        files.write_text(REASONS, survivors_page(rows, reasons()))


def again() -> int:
    """Plant the survivors of the record again, those in texts excepted, and store what became of them."""
    recorded.check_writable("mutants")
    before = recorded.load("mutants")
    places = {place for row in before.rows for place in row["survivors"]}
    damaged = sorted({place.partition(":")[0] for place in places} & set(modules()))
    jobs = [job for job in [*foreign_jobs(), *module_jobs(damaged, sys.maxsize)] if job.plant.where in places]
    tried = []
    with copies(2) as folders:
        servers = [Server(copy) for copy in folders]
        tried = try_jobs(jobs, servers, "survivors")
        for server in servers:
            server.close()
    planted = {job.plant.where for job in jobs}
    gone = {place for place in places if place.partition(":")[0] in damaged and place not in planted}
    # one place may stand for several mistakes: `1 → 2` of a line with two ones
    noticed = {one.where for one in tried if one.noticed} - {one.where for one in tried if not one.noticed}
    rows = [_without(row, noticed, gone) for row in before.rows]
    today = time.strftime("%Y-%m-%d")
    notes = f"{today}: of {len(places)} survivors {len(noticed)} noticed by new tests, {len(gone)} gone with their code"
    _store(rows, f"{before.notes}; {notes}" if noticed or gone else before.notes)
    for one in tried:
        if one.noticed:
            print(f"noticed by {one.by}: {one.where}")
    print(notes)
    return 0


def _without(row: dict, noticed: set[str], gone: set[str]) -> dict:
    """A row of the record after some of its survivors were noticed, and others' code was rewritten."""
    survivors = row["survivors"]
    return {
        "mistake": row["mistake"],
        "planted": row["planted"] - sum(place in gone for place in survivors),
        "noticed": row["noticed"] + sum(place in noticed for place in survivors),
        "survivors": [place for place in survivors if place not in noticed | gone],
    }


# ---------------------------------------------------------------- survivors and their reasons

REASONS = recorded.RESULTS / "mutants.md"
_HEAD = f"""# Planted mistakes that nobody noticed

Made by `{COMMAND}`; the reasons are written by hand and kept. A survivor has one of two reasons: nobody can see the
difference (say why), or a test was missing (say which one is there now).
"""
_LINE = re.compile(r"(?m)^- (?P<place>`.+`) — ?(?P<why>.*)$")


def survivors_page(rows: list[dict], why: dict[str, str]) -> str:
    """The list in data/results/mutants.md.  why: {place without its line: reason}."""
    parts = [_HEAD]
    for row in rows:
        if row["survivors"]:
            parts.append(f"\n## {row['mistake'].capitalize()}: {row['noticed']} of {row['planted']} noticed\n\n")
            places = [place.replace("`", "'") for place in row["survivors"]]
            parts += [f"- `{place}` — {why.get(_without_line(place), '')}".rstrip() + "\n" for place in places]
    return "".join(parts)


def reasons(text: str | None = None) -> dict[str, str]:
    """{place without its line: reason} of the list there is."""
    if text is None:
        text = REASONS.read_text("utf-8") if REASONS.is_file() else ""
    return {_without_line(match["place"].strip("`")): match["why"].strip() for match in _LINE.finditer(text)}


def _without_line(place: str) -> str:
    """A place that stays when lines above it come and go: `utils/x.py: a < b`."""
    return re.sub(r"(?<=\.py):\d+|(?<= )cell \d+|\[\d+\]", "", place)


# ---------------------------------------------------------------- the program


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=COMMAND, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=KINDS, help="one kind of mistake")
    parser.add_argument("--chapters", nargs="*", default=["03"], help="numbers of the notebooks to damage")
    parser.add_argument("--modules", nargs="*", help="files of utils to damage (default: all that have tests)")
    parser.add_argument("--each", type=int, default=2, help="mistakes for each module, and of each kind for each text")
    parser.add_argument("--again", action="store_true", help="only the survivors of the record, after new tests")
    parser.add_argument("--seed", type=int, default=0, help="chooses which mistakes; only seed 0 is recorded")
    return parser


def main(argv: list[str] | None = None) -> int:
    parser = arguments()
    options = parser.parse_args(argv)
    whole = vars(options) == vars(parser.parse_args([]))
    if options.again:
        if vars(options) != vars(parser.parse_args(["--again"])):
            parser.error("--again goes alone: it plants what survived the whole run")
        return again()
    try:
        numbers = {chapters.number(path) for path in chapters.find_notebooks(options.chapters)}
        foreign = foreign_jobs() if options.only in (None, "foreign") else []
    except Problem as problem:
        print(f"✘ {problem}", file=sys.stderr)
        return 1
    unknown = sorted(set(options.modules or ()) - set(modules()))
    if unknown or options.each < 1:
        parser.error(f"no tests mirror {', '.join(unknown)}" if unknown else f"--each is 1 or more; got {options.each}")
    if whole:
        recorded.check_writable("mutants")
    notebooks = [read(path) for path in every() if chapters.number(path) in numbers]
    start, tried = time.monotonic(), []
    if options.only in (None, "rules"):
        tried += try_rules(notebooks)
    if options.only in (None, "texts"):
        tried += try_texts(notebooks, options.each, options.seed)
    jobs = foreign
    jobs += page_jobs(options.each, options.seed) if options.only in (None, "texts") else []
    if options.only in (None, "source"):
        jobs += module_jobs(options.modules or modules(), options.each, options.seed)
    with copies(2) as (first, second):
        if options.only in (None, "outputs"):
            tried += try_outputs(notebooks, first)
        if jobs:
            servers = [Server(copy) for copy in (first, second)]
            tried += try_jobs(jobs, servers, "files")
            for server in servers:
                server.close()
    if not tried:
        print("nothing could be damaged", file=sys.stderr)
        return 1
    seconds = time.monotonic() - start
    good = report(tried, seconds)
    record(tried, seconds, "" if whole else f"only a part was tried ({' '.join(argv or sys.argv[1:])})")
    return 0 if good else 1


if __name__ == "__main__":
    start(main)
