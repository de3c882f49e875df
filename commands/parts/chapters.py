"""Finds the notebooks of chapters by number, name or path."""

from __future__ import annotations

import re
from pathlib import Path

from commands.parts import environment
from commands.parts.errors import Problem, closest_name

CHAPTERS, SOLUTIONS = "notebooks", "solutions"


def notebooks(folder: str = CHAPTERS) -> list[Path]:
    """All notebooks of a folder, in the course's order."""
    return sorted((environment.ROOT / folder).glob("[0-9]*.ipynb"))


def number(path: Path) -> str:
    """'03' of 03_….ipynb; '16b' of 16b_….ipynb."""
    return path.stem.partition("_")[0]


def two_digits(name: str) -> str:
    """'03' of '3', '04b' of '4b'; other names as they are."""
    return f"0{name}" if re.fullmatch(r"\d[a-z]?", name) else name


def find_notebooks(names: list[str], *, solutions: bool = False) -> list[Path]:
    """The notebooks that `names` mean ('3', '03', '03_quantization', a path); all chapters if there are none.

    solutions: also the solution notebooks of these chapters.  Raises Problem for a name that means nothing, with the
    nearest match, and for a chapter that is planned and not written yet.
    """
    chapters, answers = notebooks(CHAPTERS), notebooks(SOLUTIONS)
    if not chapters:
        raise Problem(f"There are no notebooks in {environment.ROOT / CHAPTERS}. Is this a whole clone of the course?")
    found = [path for name in names for path in _find_one(name, chapters, answers)] if names else list(chapters)
    if solutions:
        wanted = {number(path) for path in found}
        found += [path for path in answers if number(path) in wanted]
    return list(dict.fromkeys(found))


def shown(path: Path) -> str:
    """A notebook's path as it is printed and stored: relative to the course, with forward slashes."""
    path, root = path.resolve(), environment.ROOT.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _find_one(name: str, chapters: list[Path], answers: list[Path]) -> list[Path]:
    typed = Path(name).resolve()
    for path in [*chapters, *answers]:
        if path.resolve() == typed:
            return [path]
    stem = two_digits(Path(name).name.removesuffix(".ipynb"))
    found = [path for path in chapters if stem in _words(path)]
    if found:
        return found
    _refuse_planned(stem)
    words = {word: path.stem for path in chapters for word in _words(path)}
    match = closest_name(stem, words)
    hint = f" Did you mean {words[match]}?" if match else ""
    known = " ".join(path.stem for path in chapters)
    raise Problem(f"There is no chapter {name!r}.{hint}\nKnown, by number, name or path: {known}")


def _words(path: Path) -> tuple[str, str, str]:
    """What names a chapter: '03', '03_quantization', 'quantization'."""
    return number(path), path.stem, path.stem.partition("_")[2]


def _refuse_planned(stem: str) -> None:
    """Say so if this chapter is in the table of contents and has no notebook yet."""
    from utils.study.questions import CHAPTERS as planned

    for key, chapter in planned.items():
        topic = re.sub(r"\W+", "_", chapter.title.lower())
        if stem in (key, topic, f"{key}_{topic}") and not any(number(path) == key for path in notebooks()):
            raise Problem(f"Chapter {key}, “{chapter.title}”, is planned and not written yet: it has no notebook.")
