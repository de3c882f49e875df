"""Whatever the reader wrote and whatever the course changed: all of it is there after an update, once, in order."""

from __future__ import annotations

import copy
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.parts.carry_over import CHANGED, REMOVED, carry_over, cell_digest, count_notes, count_own, remembered
from commands.parts.normalize import cell_id

STUB = 'def my_scale(x): ...\n\n\ncheck("03-1", my_scale)'
ANSWER = 'def my_scale(x):\n    return abs(x).max() / 127\n\n\ncheck("03-1", my_scale)'
NEW_STUB = 'def my_scale(x, bits): ...\n\n\ncheck("03-1", my_scale)'


def chapter(*sources: str) -> list[dict]:
    """Cells as the course stores them: their ids depend on what they say.  Text begins with #."""
    taken: set[str] = set()
    cells = []
    for source in sources:
        kind = "markdown" if source.startswith("#") else "code"
        cells.append({"id": cell_id(kind, source, taken), "cell_type": kind, "metadata": {}, "source": source})
    return cells


def mine(text: str, id: str = "written-by-me") -> dict:
    return {"id": id, "cell_type": "markdown", "metadata": {}, "source": text}


def updated(reader: list[dict], old: list[dict], new: list[dict]) -> list[str]:
    return [cell["source"] for cell in carry_over(reader, remembered(old), new)]


OLD = chapter("# A", "a = 1", STUB, "# B", "b = 2")


def test_a_copy_that_was_not_touched_becomes_the_new_chapter():
    new = chapter("# A2", "a = 1", NEW_STUB, "b = 2", "# C")
    assert carry_over(OLD, remembered(OLD), new) == new


def test_own_cells_stay_behind_the_cell_they_followed():
    reader = [mine("top", "0"), *OLD[:2], mine("note", "1"), mine("more", "2"), *OLD[2:], mine("end", "3")]
    new = chapter("# A", "a = 1.5", STUB, "# new", "# B", "b = 2")
    assert updated(reader, OLD, new) == ["top", "# A", "a = 1.5", "note", "more", STUB, "# new", "# B", "b = 2", "end"]


def test_an_answer_stands_in_the_stub_s_place():
    reader = [*OLD[:2], OLD[2] | {"source": ANSWER, "outputs": ["✔"]}, *OLD[3:]]
    new = chapter("# A", STUB, "# B2", "b = 2")
    assert updated(reader, OLD, new) == ["# A", ANSWER, "# B2", "b = 2"]
    assert carry_over(reader, remembered(OLD), new)[1]["outputs"] == ["✔"]


@pytest.mark.parametrize(
    "new",
    [
        pytest.param(chapter("# A", "a = 1", NEW_STUB, "# B", "b = 2"), id="in place"),
        pytest.param(chapter("# A", "# more", "x = 0", NEW_STUB, "a = 1", "b = 2"), id="moved"),
        pytest.param(chapter("# all", "is = 1", "# new", NEW_STUB), id="everything else is new"),
    ],
)
def test_a_new_stub_stands_above_the_answer_so_that_the_answer_counts(new):
    reader = [*OLD[:2], OLD[2] | {"source": ANSWER}, *OLD[3:]]
    sources = updated(reader, OLD, new)
    at = sources.index(NEW_STUB)
    assert sources[at - 1 : at + 2] == [CHANGED, NEW_STUB, ANSWER]
    assert [s for s in sources if s not in (CHANGED, ANSWER)] == [cell["source"] for cell in new]


def test_a_cell_that_the_course_removed_goes_unless_the_reader_changed_it():
    new = chapter("# A", STUB, "# B")
    assert updated(OLD, OLD, new) == ["# A", STUB, "# B"]
    reader = [OLD[0], OLD[1] | {"source": "a = 1  # why?"}, *OLD[2:]]
    assert updated(reader, OLD, new) == ["# A", REMOVED, "a = 1  # why?", STUB, "# B"]


def test_the_same_change_on_both_sides_is_no_conflict():
    reader = [OLD[0], OLD[1] | {"source": "a = 1.5"}, *OLD[2:]]
    new = chapter("# A", "a = 1.5", STUB, "# B", "b = 2")
    assert updated(reader, OLD, new) == [cell["source"] for cell in new]


def test_a_deleted_course_cell_comes_back_with_the_next_update():
    new = chapter("# A2", *(cell["source"] for cell in OLD[1:]))
    assert updated(OLD[:1] + OLD[2:], OLD, new) == [cell["source"] for cell in new]


def test_ids_that_an_editor_dropped_or_doubled_are_no_obstacle():
    new = chapter("# A", "a = 1", STUB, "# B2", "b = 2")
    bare = [{key: value for key, value in cell.items() if key != "id"} for cell in OLD]
    assert updated(bare, OLD, new) == [cell["source"] for cell in new]
    doubled = [*OLD[:2], OLD[1] | {"source": "a = 7"}, *OLD[2:]]
    assert updated(doubled, OLD, new) == ["# A", "a = 1", "a = 7", STUB, "# B2", "b = 2"]


def test_a_change_that_the_course_takes_back_meets_no_other_cell_of_that_id():
    first, second = chapter("a = 1"), chapter("a = 2")
    reader = carry_over([first[0] | {"source": "a = 7"}], remembered(first), second)
    again = carry_over(reader, remembered(second), first)
    assert [cell["source"] for cell in again] == [CHANGED, "a = 1", "a = 7"]
    assert len({cell["id"] for cell in again}) == 3


def test_pictures_in_a_text_cell_are_an_edit_and_white_space_at_its_end_is_none():
    picture = OLD[0] | {"attachments": {"x.png": {"image/png": "iVBO"}}}
    assert count_own([picture, OLD[1] | {"source": "a = 1\n"}, *OLD[2:]], remembered(OLD)) == 1


# ---- the law, for random readers and random courses

SOURCES = st.sampled_from([f"{mark}{word}" for mark in ("# ", "x = ") for word in "abcdefg"] + [STUB, NEW_STUB])
CHAPTERS = st.lists(SOURCES, max_size=8, unique=True).map(lambda sources: chapter(*sources))
KINDS = st.sampled_from(["edit", "add", "delete", "move", "copy", "strip"])
EDITS = st.lists(st.tuples(KINDS, st.integers(0, 99)), max_size=6)


def edited(cells: list[dict], edits: list[tuple[str, int]]) -> list[dict]:
    """What a reader makes of `cells`.  Everything written is unlike everything else, so that it can be counted."""
    cells = copy.deepcopy(cells)
    for number, (what, where) in enumerate(edits):
        at = where % len(cells) if cells else 0
        if what == "add" or not cells:
            cells.insert(at, mine(f"mine {number}", f"mine-{number}"))
        elif what == "edit":
            cells[at]["source"] += f" changed {number}"
        elif what == "delete":
            del cells[at]
        elif what == "move":
            cells.insert(where // 9 % len(cells), cells.pop(at))
        elif what == "copy":
            cells.insert(at, cells[at] | {"source": f"{cells[at]['source']} copied {number}"})
        elif what == "strip":
            cells[at].pop("id", None)
    return cells


def written(cells: list[dict], base: list[dict]) -> list[str]:
    """The sources of a reader's cells that are not the course's, in order."""
    course = {cell_digest(cell) for cell in base}
    return [cell["source"] for cell in cells if cell_digest(cell) not in course]


@settings(max_examples=250)
@given(base=CHAPTERS, edits=EDITS, new=CHAPTERS)
def test_nothing_is_lost_doubled_or_out_of_order(base, edits, new):
    before = edited(base, edits)
    given_cells = copy.deepcopy((before, new))
    after = carry_over(before, remembered(base), new)
    assert (before, new) == given_cells
    sources = [cell["source"] for cell in after]
    ids = [cell["id"] for cell in after]
    assert len(set(ids)) == len(ids)

    for text in written(before, base):
        assert sources.count(text) == 1, "each cell that the reader wrote, once"
    assert not (set(sources) - {c["source"] for c in (*before, *new)} - {CHANGED, REMOVED}), "and nothing else"

    by_id = {cell["id"]: cell for cell in after}
    assert [id for id in ids if id in {c["id"] for c in new}] == [c["id"] for c in new], "the course's cells, in order"
    for cell in new:
        stands = by_id[cell["id"]]
        mine_now = cell_digest(cell) in {cell_digest(c) for c in base} and stands["source"] in written(before, base)
        assert mine_now or cell_digest(stands) == cell_digest(cell), "each as it is now, or the reader's edit of it"

    assert carry_over(after, remembered(new), new) == after, "updating twice is updating once"


@settings(max_examples=100)
@given(base=CHAPTERS, edits=EDITS.map(lambda e: [x for x in e if x[0] in ("edit", "add", "strip")]), drop=st.data())
def test_the_reader_s_order_stays_where_the_course_keeps_its_own(base, edits, drop):
    """A course that adds, removes and rewords, but moves nothing, moves nothing of the reader's."""
    before = edited(base, edits)
    new = []
    for k, cell in enumerate(base):
        what = drop.draw(st.sampled_from(["keep", "drop", "reword", "insert"]))
        new += [] if what == "drop" else [cell["source"] + " anew" if what == "reword" else cell["source"]]
        new += [f"# inserted {k}"] if what == "insert" else []
    after = carry_over(before, remembered(base), chapter(*new))
    mine_before = written(before, base)
    assert [cell["source"] for cell in after if cell["source"] in mine_before] == mine_before


@given(versions=st.lists(CHAPTERS, min_size=2, max_size=4), edits=EDITS)
def test_many_updates_lose_nothing_either(versions, edits):
    cells = edited(versions[0], edits)
    wanted = written(cells, versions[0])
    for old, new in itertools.pairwise(versions):
        cells = carry_over(cells, remembered(old), new)
    sources = [cell["source"] for cell in cells]
    assert all(sources.count(text) == 1 for text in wanted)


def test_notes_are_counted():
    assert count_notes([mine(CHANGED), mine("x"), mine(REMOVED)]) == 2
