"""Results that take longer than a chapter: made by a benchmark, stored with all that made them.

A record in data/results names the command that repeats it, the functions that made it, and a digest of everything
these use (`utils.dependencies`).  When some of it changes, `changes` says what, and a test asks for the benchmark:
for all of it, or for a few rows that show that nothing else has changed (`confirm`).
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib import metadata
from pathlib import Path

from utils import ROOT, dependencies, files

RESULTS = ROOT / "data" / "results"

#: Files in data/results that are no records: the ledger of claims, and how long each notebook took.
OTHER_FILES = ("claims", "run_times")

_PACKAGES = (
    "tensorflow",
    "tensorflow-cpu",
    "tf-keras",
    "tensorflow-model-optimization",
    "ai-edge-litert",
    "litert-quantizer",
    "numpy",
)


class RecordRefused(ValueError):
    """A record does not allow this; the sentence says why and what to do."""


@dataclass(frozen=True)
class Recorded:
    """A stored result.

    rows: as the benchmark measured them.  command: what repeats it.  depends: the functions and files that were named;
    digests: all that these use.  made_on: Python, system, processor and packages of the last run.  seal: a digest of
    all the others, so that a figure that was typed is noticed.  confirmed: when which rows were measured again after
    something had changed, and came out alike.
    """

    name: str
    rows: list[dict]
    command: str
    depends: list[str]
    digests: dict[str, str]
    seeds: list[int]
    made_on: dict[str, object]
    notes: str
    seal: str
    confirmed: list[dict] = field(default_factory=list)
    source: Path | None = field(default=None, compare=False)

    def row(self, **where) -> dict:
        """The one row whose columns have these values; KeyError says how many there are."""
        found = [row for row in self.rows if all(row.get(key) == value for key, value in where.items())]
        if len(found) != 1:
            raise KeyError(f"{len(found)} rows of the recorded result {self.name!r} have {where}; exactly one should")
        return found[0]

    @property
    def processors(self) -> list[str]:
        """Where the rows were measured: their column "processor", or the machine of the last run."""
        return list(dict.fromkeys(row.get("processor", self.made_on["cpu"]) for row in self.rows))


def save(
    name: str,
    rows: Sequence[Mapping],
    *,
    command: str,
    depends: Iterable[Callable | str | Path],
    seeds: Sequence[int],
    notes: str = "",
    partial: str = "",
    confirmed: Sequence[Mapping] = (),
) -> Path | None:
    """Store `rows` in data/results/NAME.json, whole or not at all.

    name: lower-case letters, digits, - and _.
    rows: mappings of text, numbers and lists; finite.
    command: what anyone types to repeat it, such as `python course.py bench weights`.
    depends: the functions that measured (what they use is found in the source, the networks that ship included),
        and other files.
    seeds: of the run.
    notes: what the columns are.
    partial: what was left out, such as "only chapter 00".  Then nothing is stored, which is said.
    confirmed: the confirmations of the old record, if rows of it stay.
    Returns the file; None if nothing was stored.
    Raises ValueError, TypeError: no rows, a bad name, nothing named that could make it stale, or figures that JSON
        lacks.
    Raises OSError: the folder cannot be written, or a file in `depends` is missing.  The old record stays.
    """
    _check_name(name)
    if not rows:
        raise ValueError(f"the benchmark {name!r} measured no rows; nothing was stored")
    if partial:
        print(f"data/results/{name}.json stays as it was: {partial}. All of it: `{command}`")
        return None
    named = sorted(_named(what) for what in depends)
    if not named:
        raise ValueError(f"the result {name!r} depends on nothing, so nothing could make it stale; name its functions")
    stored = {
        "name": name,
        "rows": [dict(row) for row in rows],
        "command": command,
        "depends": named,
        "digests": digests(named),
        "seeds": list(seeds),
        "made_on": _made_on(),
        "notes": notes,
    }
    return _write(stored | ({"confirmed": list(confirmed)} if confirmed else {}))


#: The interval of one recorded row in which a new figure must lie.
Bounds = Callable[[Mapping], tuple[float, float]]


def confirm(
    name: str,
    rows: Sequence[Mapping],
    *,
    key: Sequence[str],
    depends: Iterable[Callable | str | Path],
    trained: Mapping[str, Bounds] | None = None,
    within: Mapping[str, Bounds] | None = None,
    times: Mapping[str, Bounds] | None = None,
) -> Path:
    """Renew the digests of the record NAME because a few of its rows, measured by today's code, came out alike.

    Every column of `rows` is compared.  One that is named nowhere must be equal, wherever it was measured; in a list
    of seeds, the first ones will do.  A column that cannot be compared is left out of `rows` by the benchmark.

    rows: as today's code measures them: cheap ones, but typical.
    key: the columns that tell one row from another.
    depends: the functions and files that measure now, as in `save`.
    trained: columns that repeat exactly on one processor only.  They must be equal where the row was recorded, and
        inside the interval elsewhere.
    within: columns that never repeat exactly, such as ratios of times; inside the interval everywhere.
    times: like `within`, but of the processor that recorded; elsewhere they are not compared.
    Returns the file: rows as they were, the digests of today, and a new entry of `confirmed`.
    Raises RecordRefused: a figure differs; the sentence names it.  The record stays as it was.
    Raises FileNotFoundError: there is no such record.
    Raises ValueError: no rows, nothing named in `depends`, or nothing that could differ.
    """
    old = load(name)
    named = sorted(_named(what) for what in depends)
    if not rows or not named or not any(set(row) - set(key) for row in rows):
        raise ValueError(f"nothing was measured that could confirm {name!r}; pass rows with figures, and functions")
    rows = json.loads(files.json_text([dict(row) for row in rows]))
    places = [{column: row[column] for column in key} for row in rows]
    here = processor()
    for place, row in zip(places, rows, strict=True):
        try:
            recorded = old.row(**place)
        except KeyError as error:
            raise RecordRefused(f"{error.args[0]}, so nothing confirms it") from None
        at_home = recorded.get("processor", old.made_on["cpu"]) == here
        bounds = {**(within or {}), **(times or {}), **({} if at_home else trained or {})}
        free = set() if at_home else set(times or {})
        for column in [column for column in row if column not in {*key, *free}]:
            _compare(name, place, column, row[column], recorded, bounds.get(column))
    now = digests(named)
    entry = {
        "date": date.today().isoformat(),
        "processor": here,
        "packages": _made_on()["packages"],
        "rows": places,
        "changed": _in_short(old, now),
    }
    stored = json.loads(old.source.read_text(encoding="utf-8"))
    del stored["seal"]
    return _write(stored | {"depends": named, "digests": now, "confirmed": [*old.confirmed, entry]})


def _compare(name: str, place: Mapping, column: str, value: object, recorded: Mapping, bounds: Bounds | None) -> None:
    """Is one figure the recorded one, or inside its bounds?"""
    again = f"so data/results/{name}.json cannot be confirmed: all of it must be measured again"
    if column not in recorded:
        raise RecordRefused(f"{place} has no column {column!r} in the record, {again}")
    if bounds is None:
        if not _begins(recorded[column], value):
            raise RecordRefused(f"{column!r} of {place} is {value!r} now and was {recorded[column]!r}, {again}")
        return
    low, high = bounds(recorded)
    if not all(isinstance(number, int | float) and low <= number <= high for number in _numbers(value)):
        raise RecordRefused(f"{column!r} of {place} is {value!r} now, outside {low:.4g} to {high:.4g}, {again}")


def _numbers(value: object) -> list[float]:
    """All numbers of a cell, which may be one for each seed."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return [value] if parts is None else [number for part in parts for number in _numbers(part)]


def _begins(recorded: object, value: object) -> bool:
    """Equal; of a list (one figure a seed), the first entries are enough."""
    if isinstance(value, dict) and isinstance(recorded, dict):
        return set(value) == set(recorded) and all(_begins(recorded[part], value[part]) for part in value)
    if isinstance(value, list) and isinstance(recorded, list):
        return value == recorded[: len(value)] and bool(value or not recorded)
    return type(value) is type(recorded) and value == recorded


def _in_short(old: Recorded, now: Mapping[str, str], most: int = 8) -> list[str]:
    """What had changed: all of it if it is little, else the first of it and how much more."""
    found = [*dependencies.changes(old.digests, now), *_other_releases(_packages(old))]
    return found if len(found) <= most else [*found[: most - 1], f"and {len(found) - most + 1} more"]


def widened(low: float, high: float, factor: float) -> tuple[float, float]:
    """The interval of a positive figure, made wider by a factor at both ends."""
    return low / factor, high * factor


def _write(stored: Mapping) -> Path:
    """Seal a record and store it."""
    stored = json.loads(files.json_text(stored))  # numpy's numbers as they will be read
    target = RESULTS / f"{stored['name']}.json"
    files.write_json(target, stored | {"seal": _seal(stored)})
    return target


def beside(name: str, rows: Sequence[Mapping], key: Sequence[str], *, anew: bool = False) -> list[dict]:
    """New rows among those of the record NAME: of other processors, or of what was not measured this time.

    rows: the new ones; where `key` is that of an old row, the columns that they have are replaced.
    key: the columns that tell one row from another.
    anew: True drops the old rows if other code measured them.
    Returns all rows; the old ones first, in their order.
    Raises RecordRefused: other code measured the old rows, so that one table would hold two things.
    """
    try:
        old, changed = load(name).rows, changes(name)
    except FileNotFoundError:
        old, changed = [], []
    if changed and not anew:
        raise RecordRefused(
            f"data/results/{name}.json was measured with other code ({changed[0]}), so rows of today cannot stand "
            "beside its own: measure all of it, with --anew"
        )
    merged: dict[tuple, dict] = {}
    for row in [*([] if changed else old), *rows]:
        place = tuple(row[column] for column in key)
        merged[place] = {**merged.get(place, {}), **row}
    return list(merged.values())


def check_writable(name: str) -> None:
    """Before measuring: can data/results/NAME.json be written?

    Raises ValueError: a bad name.
    Raises OSError: the folder cannot be written; the sentence says why.
    """
    _check_name(name)
    files.check_writable(RESULTS)


def load(name: str, folder: Path | None = None) -> Recorded:
    """The recorded result NAME.

    Raises FileNotFoundError: there is none; the sentence lists those there are.
    Raises RecordRefused: the file is damaged, is no record, or was edited by hand.  (It is a ValueError.)
    """
    folder = folder or RESULTS
    path = folder / f"{name}.json"
    if not path.is_file():
        raise FileNotFoundError(f"no recorded result {name!r}; there are {names(folder)}. `course.py bench` makes them")
    advice = f"restore it with `git checkout -- data/results/{path.name}`, or measure again with `course.py bench`"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        result = Recorded(**stored, source=path)
    except (ValueError, TypeError) as error:
        raise RecordRefused(f"{path.name} is not a recorded result ({error}); {advice}") from None
    if result.seal != _seal({key: value for key, value in stored.items() if key != "seal"}):
        raise RecordRefused(f"{path.name} was changed after it was measured: its seal does not fit; {advice}")
    if not result.rows or not all(isinstance(row, dict) for row in result.rows):
        raise RecordRefused(f"{path.name} is not a recorded result (its rows are no mappings); {advice}")
    return result


def names(folder: Path | None = None) -> list[str]:
    """The records there are."""
    return sorted(path.stem for path in (folder or RESULTS).glob("*.json") if path.stem not in OTHER_FILES)


def show(
    name: str,
    columns: Sequence[str] | None = None,
    *,
    where: Mapping[str, object] | None = None,
    caption: str = "",
    digits: int = 3,
) -> None:
    """Show a recorded table, marked as recorded, with command, processor and seeds.

    Raises KeyError: no row has the values in `where`, or a row lacks a column.
    """
    from utils import claims

    result = load(name)
    rows = [row for row in result.rows if all(row.get(k) == v for k, v in (where or {}).items())]
    if not rows:
        raise KeyError(f"no row of the recorded result {name!r} has {where}; its first row is {result.rows[0]}")
    columns = list(columns or rows[0])
    missing = [column for column in columns if any(column not in row for row in rows)]
    if missing:
        raise KeyError(f"not every row of the recorded result {name!r} has {missing}; columns are {list(rows[0])}")
    shown = list(dict.fromkeys(row.get("processor", result.made_on["cpu"]) for row in rows))
    seeds = f"seed {result.seeds[0]}" if len(result.seeds) == 1 else f"seeds {', '.join(map(str, result.seeds))}"
    origin = f"recorded by “{result.command}” on {' and '.join(map(short, shown))}, {seeds}"
    if result.confirmed:
        last = result.confirmed[-1]
        count = len(last["rows"])
        origin += f"; confirmed on {last['date']} by {count} row{'s' if count > 1 else ''}"
    claims.show(
        [{column: row[column] for column in columns} for row in rows],
        caption=f"{caption + ' — ' if caption else ''}{origin}",
        digits=digits,
    )


def stale(name: str, folder: Path | None = None) -> bool:
    """True if something that the result depends on has changed; `changes` says what."""
    return bool(changes(name, folder))


def changes(name: str, folder: Path | None = None) -> list[str]:
    """What has changed since the result was measured, in sentences; empty if it would be measured alike."""
    result = load(name, folder)
    try:
        code = dependencies.changes(result.digests, digests(result.depends))
    except (ValueError, FileNotFoundError) as error:
        code = [f"{error}"]
    return [*code, *_other_releases(_packages(result))]


def digests(named: Iterable[str]) -> dict[str, str]:
    """{definition or file: digest} of all that these functions ("module:name") use, and of these files.

    Raises ValueError: a function is gone.
    Raises FileNotFoundError: a file is gone.
    """
    functions = [name for name in named if ":" in name]
    found = {path: dependencies.digest_of_file(path, ROOT) for path in named if ":" not in path}
    return dependencies.digests_of(functions, ROOT) | found if functions else found


def processor() -> str:
    """This machine's processor, with the instructions that decide the speed of integer kernels."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    text = info.read_text()
    model = re.search(r"model name\s*: (.*)", text)
    flags = set((re.search(r"flags\s*: (.*)", text) or [None, ""])[1].split())
    known = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8") if flag in flags]
    return f"{model[1].strip() if model else platform.machine()} ({' '.join(known) or 'no vector extensions named'})"


def short(processor: str) -> str:
    """A processor as a caption says it: "AMD EPYC 7763 64-Core Processor (avx2)" is "AMD EPYC 7763 (avx2)"."""
    brief = re.sub(r"\((?:R|TM)\)| CPU\b| Processor\b| @ [\d.]+GHz| \d+-Core\b", "", processor)
    return re.sub(r"\s+", " ", brief).strip()


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name) or name in OTHER_FILES:
        raise ValueError(
            f"a result's name is lower-case letters, digits, - and _, and not {' or '.join(OTHER_FILES)}; got {name!r}"
        )


def _named(what: Callable | str | Path) -> str:
    """ "module:name" of a function; the path of a file below the repository, as every machine writes it."""
    if callable(what):
        return dependencies.name_of(what, ROOT)
    inside = (ROOT / what).resolve()
    if not inside.is_relative_to(ROOT):
        raise ValueError(f"a recorded result can only depend on files of the repository; got {str(what)!r}")
    return inside.relative_to(ROOT).as_posix()


def _seal(stored: Mapping) -> str:
    return hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()[:16]


def _packages(result: Recorded) -> Mapping[str, str]:
    """The releases with which it was measured, or confirmed since."""
    return result.confirmed[-1]["packages"] if result.confirmed else result.made_on["packages"]


def _other_releases(packages: Mapping[str, str]) -> list[str]:
    """Packages of another minor release than those that measured; a patch release counts as the same."""
    now = {name: metadata.version(name) for name in packages if _installed(name)}
    return [
        f"{name} is {version} now, and was {packages[name]}"
        for name, version in now.items()
        if version.split(".")[:2] != packages[name].split(".")[:2]
    ]


def _made_on() -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": processor(),
        "packages": {name: metadata.version(name) for name in _PACKAGES if _installed(name)},
    }


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
