"""Finds the notebooks of chapters by number, name or path."""

from __future__ import annotations

from pathlib import Path

from commands.parts.errors import Problem, nearest
from commands.parts.lockfile import ROOT

CHAPTERS, SOLUTIONS = "notebooks", "solutions"


def notebooks(folder: str = CHAPTERS, root: Path = ROOT) -> list[Path]:
    """All notebooks of a folder, in the course's order."""
    return sorted((root / folder).glob("[0-9]*.ipynb"))


def number(path: Path) -> str:
    """'03' of 03_quantization.ipynb; '16b' of 16b_federated_tff.ipynb."""
    return path.stem.partition("_")[0]


def find(names: list[str], *, solutions: bool = False, root: Path = ROOT) -> list[Path]:
    """The notebooks that `names` mean ('3', '03', '03_quantization', a path); all chapters if there are none.

    solutions: also the solution notebooks of these chapters.  Raises Problem, with the nearest match, for
    a name that means nothing.
    """
    chapters, answers = notebooks(CHAPTERS, root), notebooks(SOLUTIONS, root)
    if not chapters:
        raise Problem(f"There are no notebooks in {root / CHAPTERS}. Is this a whole clone of the course?")
    found = [path for name in names for path in _find_one(name, chapters, answers)] if names else list(chapters)
    if solutions:
        wanted = {number(path) for path in found}
        found += [path for path in answers if number(path) in wanted]
    return list(dict.fromkeys(found))


def shown(path: Path, root: Path = ROOT) -> str:
    """A notebook's path as it is printed and stored: relative to the course, with forward slashes."""
    return path.resolve().relative_to(root.resolve()).as_posix()


def _find_one(name: str, chapters: list[Path], answers: list[Path]) -> list[Path]:
    typed = Path(name).resolve()
    for path in [*chapters, *answers]:
        if path.resolve() == typed:
            return [path]
    stem = Path(name).name.removesuffix(".ipynb")
    padded = stem.zfill(2 + stem[-1:].isalpha()) if stem[:1].isdigit() and "_" not in stem else stem
    matching = [path for path in chapters if padded in (number(path), path.stem)]
    if matching:
        return matching
    topics = {path.stem.partition("_")[2]: path.stem for path in chapters}
    if stem in topics:
        return [path for path in chapters if path.stem == topics[stem]]
    words = {word: path.stem for path in chapters for word in (number(path), path.stem, path.stem.partition("_")[2])}
    match = nearest(padded, words)
    hint = f" Did you mean {words[match]}?" if match else ""
    known = " ".join(path.stem for path in chapters)
    raise Problem(f"There is no chapter {name!r}.{hint}\nKnown, by number, name or path: {known}")
