"""Results that take longer than a chapter: made by a benchmark, stored with all that made them.

A recorded result names the command that repeats it and a hash of the code and data it depends on.
When one of these files changes, the result is stale and a test says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

from utils import ROOT

RESULTS = ROOT / "data" / "results"
_PACKAGES = (
    "tensorflow",
    "tensorflow-cpu",
    "tf-keras",
    "tensorflow-model-optimization",
    "ai-edge-litert",
    "litert-quantizer",
    "numpy",
)


@dataclass(frozen=True)
class Recorded:
    """A stored result: `rows` as the benchmark measured them, and where they come from."""

    name: str
    rows: list[dict]
    command: str
    depends: list[str]
    hash: str
    seeds: list[int]
    made_on: dict[str, object]
    notes: str = ""
    source: Path | None = field(default=None, compare=False)

    def row(self, **where) -> dict:
        """The one row whose columns have these values; KeyError says how many there are."""
        found = [row for row in self.rows if all(row.get(key) == value for key, value in where.items())]
        if len(found) != 1:
            raise KeyError(f"{len(found)} rows of the recorded result {self.name!r} have {where}; exactly one should")
        return found[0]


def save(
    name: str,
    rows: Sequence[Mapping],
    *,
    command: str,
    depends: Iterable[str | Path],
    seeds: Sequence[int],
    notes: str = "",
) -> Path:
    """Store `rows` in data/results/NAME.json, whole or not at all.

    depends: files whose change makes the result stale, relative to the repository.
    command: what anyone types to repeat it, such as `python course.py bench weights`.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name) or name == "claims":
        raise ValueError(f"a result's name is lower-case letters, digits, - and _, and not 'claims'; got {name!r}")
    if not rows:
        raise ValueError(f"the benchmark {name!r} measured no rows; nothing was stored")
    paths = sorted(_relative(path) for path in depends)
    if not paths:
        raise ValueError(f"the result {name!r} depends on no file, so nothing could make it stale; name its code")
    result = Recorded(name, [dict(row) for row in rows], command, paths, digest(paths), list(seeds), _made_on(), notes)
    stored = {key: value for key, value in asdict(result).items() if key != "source"}
    RESULTS.mkdir(parents=True, exist_ok=True)
    target = RESULTS / f"{name}.json"
    text = json.dumps(stored, indent=1, ensure_ascii=False, allow_nan=False, default=_plain) + "\n"
    beside = target.with_suffix(f".{os.getpid()}.new")
    try:
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)
    return target


def load(name: str, folder: Path = RESULTS) -> Recorded:
    """The recorded result NAME; an unknown name is answered with those there are."""
    path = folder / f"{name}.json"
    if not path.is_file():
        there = sorted(p.stem for p in folder.glob("*.json"))
        raise FileNotFoundError(f"no recorded result {name!r}; there are {there}. `course.py bench` makes them")
    try:
        return Recorded(**json.loads(path.read_text(encoding="utf-8")), source=path)
    except (json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"{path.name} is not a recorded result ({error}); `course.py bench` makes it again") from None


def show(
    name: str,
    columns: Sequence[str] | None = None,
    *,
    where: Mapping[str, object] | None = None,
    caption: str = "",
    digits: int = 3,
) -> None:
    """Show a recorded table, marked as recorded, with command, processor and seeds."""
    from utils import claims

    result = load(name)
    rows = [row for row in result.rows if all(row.get(k) == v for k, v in (where or {}).items())]
    chosen = [{column: row[column] for column in columns or rows[0]} for row in rows]
    origin = f"recorded by “{result.command}” on {result.made_on['cpu']}, seeds {result.seeds}"
    claims.show(chosen, caption=f"{caption + ' — ' if caption else ''}{origin}", digits=digits)


def stale(name: str, folder: Path = RESULTS) -> bool:
    """True if a file that the result depends on has changed since, or is gone."""
    result = load(name, folder)
    try:
        return digest(result.depends) != result.hash
    except FileNotFoundError:
        return True


def digest(paths: Iterable[str | Path], root: Path = ROOT) -> str:
    """SHA-256 over these files in order; of Python without comments and blank lines, of a notebook only the code."""
    total = hashlib.sha256()
    for path in sorted(str(p) for p in paths):
        content = (root / path).read_bytes()
        if path.endswith(".ipynb"):  # its figures differ with each run, and its text changes nothing
            cells = json.loads(content)["cells"]
            content = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code").encode() + b"\n"
        if path.endswith((".py", ".ipynb")):
            content = re.sub(rb"(?m)^\s*(#.*)?\r?\n", b"", content.replace(b"\r\n", b"\n"))
        total.update(path.encode() + b"\0" + hashlib.sha256(content).digest())
    return total.hexdigest()


def _relative(path: str | Path) -> str:
    """A path below the repository, as every machine writes it."""
    inside = (ROOT / path).resolve()
    if not inside.is_relative_to(ROOT):
        raise ValueError(f"a recorded result can only depend on files of the repository; got {str(path)!r}")
    return inside.relative_to(ROOT).as_posix()


def _plain(value: object) -> object:
    """Numbers and arrays of numpy as JSON knows them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a row holds {value!r}, a {type(value).__name__}; JSON knows numbers, text, lists and mappings")


def _made_on() -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "packages": {name: metadata.version(name) for name in _PACKAGES if _installed(name)},
    }


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _cpu() -> str:
    """Model name and the instructions that decide the speed of integer kernels."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    text = info.read_text()
    model = re.search(r"model name\s*: (.*)", text)
    flags = set((re.search(r"flags\s*: (.*)", text) or [None, ""])[1].split())
    known = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8") if flag in flags]
    return f"{model[1].strip() if model else platform.machine()} ({' '.join(known) or 'no vector extensions named'})"
