"""Carries a reader's cells into a new version of a chapter.

Three lists of cells meet: the reader's, the course's new ones, and what is remembered of the course's cells
that the reader's copy was made from (`remembered`).  The last tells what the reader changed from what the
course changed.  docs/decisions/0005-own-copy.md says what happens in each case.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from difflib import SequenceMatcher

from commands.parts.normalize import cell_id

_EXERCISE = re.compile(r"\bcheck\(\s*[\"'](\d\d[a-z]?-\d+)[\"']")
_ALIKE = 0.5  #: share of words in common from which a cell counts as the successor of another
CHANGED = (
    "> **The course has changed the next cell.** The cell after it is yours, as you left it. Keep what you need of "
    "the two, and delete this note."
)
REMOVED = (
    "> **The next cell is no longer part of the course.** It is still here because you had changed it. Delete it when "
    "you need it no more, and this note."
)


def remembered(cells: list[dict]) -> list[list[str]]:
    """[id, digest] of each of the course's cells: what a copy must remember to be updated later."""
    return [[cell["id"], cell_digest(cell)] for cell in cells]


def cell_digest(cell: dict) -> str:
    """Tells two cells apart by kind, text and pictures in the text; white space at the end does not count."""
    said = [cell["cell_type"], cell["source"].rstrip(), cell.get("attachments") or {}]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def identified(cell: dict, taken: set[str]) -> dict:
    """The cell, with another id if it has none or one that is `taken`, where its id is then put down."""
    id = cell.get("id")
    if not isinstance(id, str) or id in taken:
        return cell | {"id": cell_id(cell["cell_type"], cell_digest(cell), taken)}
    taken.add(id)
    return cell


def carry_over(mine: list[dict], base: list[list[str]], course: list[dict]) -> list[dict]:
    """The course's new cells in their order, with everything in `mine` that the reader wrote.

    mine: the cells of the reader's copy.  base: `remembered` of the course's cells it was made from.
    course: the course's cells now, without outputs.  A cell that the reader changed stands for the course's
    if that is still the same, behind it if the course changed it too; a cell of the reader's own stays behind
    the cell that it followed.  No argument is changed.
    """
    places = _places(mine, base)
    successor = _successors({k: mine[i] for i, k in places.items()}, base, course)
    own = {i for i, cell in enumerate(mine) if i not in places or cell_digest(cell) != base[places[i]][1]}
    instead, beside, following = {}, {}, defaultdict(list)
    last = -1
    for i, cell in enumerate(mine):
        new = successor.get(places.get(i))
        if new is not None:
            last = new
            if cell_digest(course[new]) in (cell_digest(cell), base[places[i]][1]):
                instead[new] = cell | {"id": course[new]["id"]}
            elif i in own:
                beside[new] = cell
        elif i in own:
            following[last] += [_note(REMOVED), cell] if i in places else [cell]
    taken = {cell["id"] for cell in course}
    merged = [identified(cell, taken) for cell in following[-1]]
    for k, cell in enumerate(course):
        if k in beside:
            merged += [identified(_note(CHANGED), taken), cell, identified(beside[k], taken)]
        else:
            merged.append(instead.get(k, cell))
        merged += [identified(extra, taken) for extra in following[k]]
    return merged


def count_own(mine: list[dict], base: list[list[str]]) -> int:
    """How many cells of a copy the reader changed or added."""
    places = _places(mine, base)
    return sum(i not in places or cell_digest(cell) != base[places[i]][1] for i, cell in enumerate(mine))


def count_notes(cells: list[dict]) -> int:
    """How many notes of ours stand in a copy."""
    return sum(cell["source"] in (CHANGED, REMOVED) for cell in cells)


def _places(mine: list[dict], base: list[list[str]]) -> dict[int, int]:
    """{index in `mine`: index in `base`} of the cells that came from the course, by id; where an editor dropped
    or renewed the ids, by content.  Each cell of the base is found once: a duplicate is the reader's own."""
    places: dict[int, int] = {}
    free = dict.fromkeys(range(len(base)))
    for column, key in ((0, lambda cell: cell.get("id")), (1, cell_digest)):
        for i, cell in enumerate(mine):
            found = None if i in places else next((k for k in free if base[k][column] == key(cell)), None)
            if found is not None:
                places[i] = found
                del free[found]
    return places


def _successors(texts: dict[int, dict], base: list[list[str]], course: list[dict]) -> dict[int, int]:
    """{index in `base`: index in `course`} of the same cell in the new version, changed or not.

    texts: the reader's cell for each index of the base that is still there.  The same id is the same cell; then the
    same exercise; then, where cells were exchanged for others, those in the same place or with the same words.
    """
    old, new = [id for id, _ in base], [cell["id"] for cell in course]
    index = {id: k for k, id in enumerate(new)}
    found = {k: index[id] for k, id in enumerate(old) if id in index}
    taken = set(found.values())
    exercises = {_exercise(cell): k for k, cell in enumerate(course) if k not in taken and _exercise(cell)}
    for k, cell in texts.items():
        if k not in found and _exercise(cell) in exercises:
            found[k] = exercises.pop(_exercise(cell))
    taken = set(found.values())
    for kind, i, i_end, j, j_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "replace":
            gone = [k for k in range(i, i_end) if k not in found]
            come = [k for k in range(j, j_end) if k not in taken]
            found |= _pairs(gone, come, texts, course)
    return found


def _pairs(gone: list[int], come: list[int], texts: dict[int, dict], course: list[dict]) -> dict[int, int]:
    """Which of the cells that came is the successor of which that went, in order."""
    pairs, start = {}, 0
    same_number = len(gone) == len(come)
    for place, k in enumerate(gone):
        if k not in texts:
            continue
        options = [place] if same_number else range(start, len(come))
        likeness = {n: _likeness(texts[k], course[come[n]]) for n in options}
        best = max(likeness, key=likeness.get, default=None)
        if best is not None and likeness[best] >= (0 if same_number else _ALIKE):
            pairs[k] = come[best]
            start = best + 1
    return pairs


def _likeness(one: dict, other: dict) -> float:
    """Share of words in common, 0 to 1; -1 for cells of two kinds."""
    if one["cell_type"] != other["cell_type"]:
        return -1.0
    words = [re.findall(r"\w+|\S", cell["source"]) for cell in (one, other)]
    return SequenceMatcher(None, *words, autojunk=False).quick_ratio()


def _exercise(cell: dict) -> str | None:
    found = _EXERCISE.search(cell["source"]) if cell["cell_type"] == "code" else None
    return found and found[1]


def _note(text: str) -> dict:
    return {"cell_type": "markdown", "metadata": {}, "source": text}
