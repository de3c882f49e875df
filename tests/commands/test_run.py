"""`run` executes real notebooks in real kernels: what it stores, compares, counts and refuses."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from commands import quote, run
from commands.parts import chapters, environment, execution, ledger, outputs, seeds
from commands.parts.errors import Problem
from commands.parts.files import write_json
from commands.parts.normalize import cell_id, normalize, traces_of_machine
from utils.study import quotes

WIDGET = "application/vnd.jupyter.widget"
CLAIM = """
def claim(id, value, below):
    from IPython.display import display
    if value >= below:
        raise type("ClaimFailed", (AssertionError,), {})(
            f"{id} is false here: 'It is small'. Measured {value}; it must be below {below}.")
    entry = dict(kind="claim", id=id, sentence="It is small", measured=value, figure=str(value))
    entry["bound"] = dict(below=below)
    display({"text/plain": f"✔ {id}  It is small   ⟦{value}⟧"}, raw=True, metadata={"course": entry})
"""


def options(**given) -> argparse.Namespace:
    standard = {
        "chapters": [],
        "solutions": False,
        "check": False,
        "seeds": None,
        "fresh": False,
        "time_limit": 60,
        "extras": [],
    }
    return argparse.Namespace(**{**standard, **given})


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of its own in a folder; `course(name, *sources)` adds a notebook and gives its path."""
    root = tmp_path / "Übung kurs"
    (root / "notebooks").mkdir(parents=True)
    (root / "solutions").mkdir()
    (root / "README.md").write_text("It needs {{C00-x}}.\n", encoding="utf-8")
    monkeypatch.setattr(environment, "ROOT", root)
    monkeypatch.setattr(quotes, "PICTURES", {})

    def add(name: str, *sources: str, folder: str = "notebooks") -> Path:
        path = root / folder / f"{name}.ipynb"
        cells = [new_markdown_cell("# A chapter"), *(new_code_cell(source) for source in sources)]
        nbformat.write(new_notebook(cells=cells), path)
        return path

    return add


@pytest.fixture
def without_kernel(monkeypatch):
    """Stands in for `execute` where a test is about what happens with its result: a kernel start costs seconds."""

    def execute(path, *, seed=None, **_):
        notebook, names = execution.read(path), {"SEED": seed or 0}
        for count, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), start=1):
            said = io.StringIO()
            try:
                with contextlib.redirect_stdout(said):
                    exec(cell.source, names)
            except Exception as error:
                raise Problem(f"{chapters.shown(path)}, cell [{count}] raised {error!r}") from None
            cell.execution_count = count
            cell.outputs = [new_output("stream", name="stdout", text=said.getvalue())] if said.getvalue() else []
        return execution.Executed(notebook, {1: 0.5}, 0.5)

    monkeypatch.setattr(execution, "execute", execute)


def test_run_stores_outputs_ledger_and_times(course):
    seeded = "import os\nclaim('Q3-small', int(os.environ['COURSE_SEED']) + 1, 5)"
    path = course("03_small", CLAIM, seeded, "print('end')")
    assert run.main(options()) == 0
    notebook = nbformat.read(path, as_version=4)
    assert [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"] == [1, 2, 3]
    assert ledger.read() == [
        {
            "id": "Q3-small",
            "question": "Q3",
            "sentence": "It is small",
            "bound": {"below": 5},
            "figure": "1",
            "notebook": "notebooks/03_small.ipynb",
            "cell": 2,
        }
    ]
    (times,) = json.loads((environment.ROOT / "data/results/run_times.json").read_text("utf-8"))
    assert times["notebook"] == "notebooks/03_small.ipynb" and times["cells"] == 3 and times["seconds"] > 0
    first = path.read_bytes()
    leavings = [path.parent / ".03_small.ipynb.0a1b2c3d.new", environment.ROOT / "README.123.new"]
    for leaving in leavings:  # of runs that were killed while they wrote
        leaving.touch()
        os.utime(leaving, (0, 0))
    young = environment.ROOT / ".README.md.00000000.new"
    young.touch()  # of a process that lives
    assert run.main(options()) == 0
    assert path.read_bytes() == first, "a second run must change nothing"
    assert "execution" not in json.dumps([cell.metadata for cell in notebook.cells])
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name], "no sockets, no half-written files"
    assert not any(leaving.exists() for leaving in leavings) and young.exists()


def test_check_names_what_differs_and_changes_nothing(course, without_kernel, capsys):
    path = course("03_small", "x = 1", "print('✔ Q3-small  ⟦1⟧')", "print('stored word')")
    run.main(options())
    text = path.read_text("utf-8").replace('"✔ Q3-small  ⟦1⟧\\n"', '"✔ Q3-small  ⟦2⟧\\n"')
    assert "⟦2⟧" in text
    path.write_text(text, encoding="utf-8")
    assert run.main(options(check=True)) == 0, "a figure in brackets may differ"
    path.write_text(text.replace('"stored word\\n"', '"other word\\n"'), encoding="utf-8")
    before = path.read_bytes()
    capsys.readouterr()
    assert run.main(options(check=True)) == 1
    said = capsys.readouterr().out
    assert "code cell 3" in said and "-stdout: other word" in said and "+stdout: stored word" in said
    assert path.read_bytes() == before


def test_check_wants_a_notebook_that_was_run(course, capsys):
    course("03_small", "x = 1")
    assert run.main(options(check=True)) == 1
    assert "never run" in capsys.readouterr().err


def test_seeds_count_how_often_a_claim_held(course):
    source = "import os\nassert os.environ['COURSE_FRESH'] == '1'\nclaim('Q3-seed', int(os.environ['COURSE_SEED']), 1)"
    path = course("03_small", CLAIM, source, "1 / 0")
    before = path.read_bytes()
    records, complaints = seeds.try_seeds(path, 2, 60)
    assert records["Q3-seed"].figures == ["0", "1"] and records["Q3-seed"].failed == [1]
    assert any("held 1 of 2   0 … 1 … 1   failed with seed 1" in line for line in seeds.table(records, 2))
    assert [c for c in complaints if "ZeroDivisionError" in c], "an error that is no claim is no success"
    assert path.read_bytes() == before


def test_seeds_notice_what_changes_outside_of_brackets(course, without_kernel):
    path = course("03_small", "print(SEED)")
    run.main(options())
    complaints = seeds.try_seeds(path, 2, 60)[1]
    assert complaints == ["✘ seed 1, code cell 1 changed outside of brackets:", "    -stdout: 0", "    +stdout: 1"]


@pytest.mark.parametrize(
    ("source", "limit", "sentence"),
    [
        ("# forever\nwhile True:\n    pass", 1, r"cell \[2\] \(while True: …\) took longer than 1 seconds"),
        ("import os\nos._exit(1)", 60, r"cell \[2\] \(import os …\) killed its kernel"),
        ("1 / 0", 60, r"cell \[2\] \(1 / 0 …\) raised ZeroDivisionError: division by zero"),
    ],
    ids=["endless", "dies", "fails"],
)
def test_the_culprit_is_named_and_the_notebook_stays(course, capsys, source, limit, sentence):
    path = course("03_small", "print('first')", source)
    before = path.read_bytes()
    with pytest.raises(Problem, match=sentence):
        execution.execute(path, cell_limit=limit)
    assert path.read_bytes() == before


def test_ctrl_c_behind_the_last_cell_stops_too(course, monkeypatch):
    """nbclient takes the signal as a wish to end the kernel, which it is ending anyway, and returns."""
    client = argparse.Namespace(execute=lambda **_: None, _async_cleanup_kernel_future="made by the signal")
    monkeypatch.setattr(execution, "_client", lambda *_: client)
    monkeypatch.setattr(execution, "_connect", lambda *_: None)
    path = course("03_small", "print('last')")
    with pytest.raises(KeyboardInterrupt):
        execution.execute(path)
    client._async_cleanup_kernel_future = None
    assert execution.execute(path).seconds >= 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals for a process of one's own")
def test_ctrl_c_stops_everything_and_is_no_dead_kernel(course):
    press = "import os, signal, time\nos.kill(os.getppid(), signal.SIGINT)\ntime.sleep(60)"
    with pytest.raises(KeyboardInterrupt):
        execution.execute(course("03_small", press, "print('next')"), keep_going=True)


def test_one_failing_chapter_does_not_stop_the_next(course, without_kernel, capsys):
    bad, good = course("01_bad", "print(1)"), course("02_good", "print(2)")
    assert run.main(options()) == 0
    bad = course("01_bad", "1 / 0")
    before = bad.read_bytes()
    capsys.readouterr()
    assert run.main(options()) == 1
    assert bad.read_bytes() == before
    assert nbformat.read(good, as_version=4).cells[1].outputs[0].text == "2\n"
    said = capsys.readouterr()
    assert "notebooks/01_bad.ipynb" in said.err
    assert "notebooks/02_good.ipynb" in said.out and "01_bad" not in said.out, "its seconds are of another run"


def test_a_path_of_this_machine_is_not_stored(course, without_kernel, capsys):
    path = course("03_small", "from pathlib import Path\nprint(Path.home() / 'x')")
    before = path.read_bytes()
    assert run.main(options()) == 1
    assert "path of this machine" in capsys.readouterr().err and path.read_bytes() == before


def test_a_read_only_clone_is_refused_before_work_but_checked(course, without_kernel, monkeypatch):
    course("03_small", "print(1)")
    run.main(options())
    monkeypatch.setattr(environment, "writable", lambda _: False)
    with pytest.raises(Problem, match="read-only"):
        run.main(options())
    assert run.main(options(check=True)) == 0


@pytest.mark.parametrize("wrong", [{"seeds": 0}, {"seeds": 2, "check": True}, {"time_limit": 0}])
def test_contradictions_are_refused(wrong):
    with pytest.raises(Problem, match="--"):
        run.main(options(**wrong))


@pytest.mark.parametrize(
    "text",
    ["", "half a noteb", "{}", "[]", "null", '{"cells": 3, "nbformat": 4}', '{"cells": [{}], "nbformat": 4}', "\ud800"],
)
def test_what_is_no_notebook_is_a_sentence(course, text):
    path = course("03_small")
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(Problem, match=r"notebooks/03_small\.ipynb is not a whole notebook \(.+\)\. Restore it"):
        execution.read(path)


def test_a_kernel_does_not_colour_what_is_compared(monkeypatch, tmp_path):
    for name in execution.COLOURING:
        monkeypatch.setenv(name, "1")
    variables = execution.kernel_variables(3, True, tmp_path)
    assert variables["NO_COLOR"] == "1" and variables["PYTHON_COLORS"] == "0"
    assert not set(execution.COLOURING) & set(variables)
    assert variables["COURSE_SEED"] == "3" and variables["COURSE_FRESH"] == "1"


# ---- damaged files


def claiming(id: str, figure: int = 1) -> dict:
    said = {"kind": "claim", "id": id, "sentence": "It is small", "bound": {"below": 5}, "figure": str(figure)}
    return new_output("display_data", data={"text/plain": f"✔ {id}"}, metadata={"course": said})


@pytest.fixture
def stored(course):
    """Two chapters that were run, with a claim each, and their ledger."""
    paths = []
    for name, id in (("03_a", "Q3-a"), ("04_b", "Q6-b")):
        path = course(name, "x = 1")
        notebook = nbformat.read(path, as_version=4)
        notebook.cells[1].update(execution_count=1, outputs=[claiming(id)])
        nbformat.write(normalize(notebook), path)
        paths.append(path)
    book, complaints = ledger.collected()
    assert [entry["id"] for entry in book] == ["Q3-a", "Q6-b"] and complaints == []
    write_json(ledger.path(), book)
    return paths


def ids() -> list[str]:
    return [entry["id"] for entry in ledger.read()]


@pytest.mark.parametrize("content", [None, "", '[{"id": "Q3-a", "no', "{}", "[1]", "[]", '[{"id": "Q3-a"}]'])
@pytest.mark.parametrize("verb", ["run", "quote"])
def test_a_damaged_ledger_is_collected_again(stored, without_kernel, content, verb):
    ledger.path().unlink() if content is None else ledger.path().write_text(content, encoding="utf-8")
    (environment.ROOT / "README.md").write_text("no quotes\n", encoding="utf-8")
    assert quote.main(None) == 0 if verb == "quote" else run.main(options(chapters=["04"])) == 0
    assert ids() == (["Q3-a", "Q6-b"] if verb == "quote" else ["Q3-a"]), "chapter 04 claims nothing in this kernel"


@pytest.mark.parametrize("length", [0, 1, 300])
def test_a_truncated_notebook_does_not_stop_another(stored, without_kernel, capsys, length):
    damaged, other = stored
    damaged.write_bytes(damaged.read_bytes()[:length])
    assert run.main(options(chapters=["04"])) == 1
    assert execution.was_run(execution.read(other))
    assert ids() == ["Q3-a"], "what the damaged one claimed stays"
    assert "✘ notebooks/03_a.ipynb is not a whole notebook" in capsys.readouterr().err
    with pytest.raises(Problem, match=r"03_a\.ipynb is not a whole notebook"):
        quote.main(None)


def test_a_truncated_notebook_without_a_ledger_is_said_before_the_work(stored, without_kernel):
    stored[0].write_text("{", encoding="utf-8")
    ledger.path().unlink()
    before = stored[1].read_bytes()
    with pytest.raises(Problem, match=r"03_a\.ipynb is not a whole notebook"):
        run.main(options(chapters=["04"]))
    assert stored[1].read_bytes() == before and not ledger.path().exists()


def test_a_chapter_whose_outputs_were_cleared_keeps_its_claims(stored, without_kernel):
    notebook = execution.read(stored[0])
    notebook.cells[1].update(execution_count=None, outputs=[])
    nbformat.write(notebook, stored[0])
    run.main(options(chapters=["04"]))
    assert ids() == ["Q3-a"]


def test_damaged_run_times_are_said_before_the_work(stored, without_kernel):
    (environment.ROOT / "data/results/run_times.json").write_text("[", encoding="utf-8")
    before = stored[1].read_bytes()
    with pytest.raises(Problem, match=r"run_times\.json is not JSON"):
        run.main(options(chapters=["04"]))
    assert stored[1].read_bytes() == before


@pytest.mark.parametrize(
    ("error", "sentence"),
    [(KeyError("README.md: the text quotes 'Q9-x'"), "quotes 'Q9-x'"), (ValueError("Expecting value"), "not renewed")],
)
def test_pages_that_cannot_be_renewed_are_a_sentence(stored, without_kernel, monkeypatch, capsys, error, sentence):
    def fail(root):
        raise error

    monkeypatch.setattr(quotes, "refresh_pages", fail)
    assert run.main(options(chapters=["04"])) == isinstance(error, ValueError), "a chapter may not have been run yet"
    assert sentence in capsys.readouterr().err
    with pytest.raises(Problem, match=sentence):
        quote.main(None)


# ---- without kernels


@pytest.mark.parametrize("name", ["3", "03", "03_small", "small", "notebooks/03_small.ipynb"])
def test_chapters_by_number_name_and_path(course, name):
    path = course("03_small")
    course("16b_federated_tff")
    course("04b_fewer_bits")
    answer = course("03_small", folder="solutions")
    assert chapters.find_notebooks([name]) == [path]
    assert chapters.find_notebooks([name], solutions=True) == [path, answer]
    assert chapters.find_notebooks([str(answer)]) == [answer]
    assert [chapters.number(p) for p in chapters.find_notebooks([])] == ["03", "04b", "16b"]
    assert (
        chapters.find_notebooks(["4b"]) == chapters.find_notebooks(["04b"]) == [path.with_name("04b_fewer_bits.ipynb")]
    )
    assert chapters.find_notebooks(["16b", "3", "03"]) == [chapters.find_notebooks(["16b"])[0], path]


@pytest.mark.parametrize(("name", "meant"), [("03_smal", "03_small"), ("33", "03_small"), ("smll", "03_small")])
def test_an_unknown_chapter_gets_the_nearest(course, name, meant):
    course("03_small")
    with pytest.raises(Problem, match=f"Did you mean {meant}"):
        chapters.find_notebooks([name])


@pytest.mark.parametrize("name", ["6", "06", "06_pruning", "pruning", "notebooks/06_pruning.ipynb"])
def test_a_planned_chapter_is_called_planned(course, name):
    course("05_small")
    with pytest.raises(Problem, match="Chapter 06, “Pruning”, is planned"):
        chapters.find_notebooks([name])
    path = course("06_other_words")
    assert chapters.find_notebooks(["06"]) == [path]


def test_cell_ids_follow_the_source_and_are_unique():
    taken: set[str] = set()
    first, second = cell_id("code", "x = 1", taken), cell_id("code", "x = 1", taken)
    assert second == f"{first}-2"
    assert cell_id("code", "x = 1", set()) == first != cell_id("markdown", "x = 1", set())


def test_normalizing_leaves_nothing_of_the_machine_and_repeats():
    cell = new_code_cell("x", execution_count=1, metadata={"execution": {"iopub.execute_input": "2026"}, "tags": ["a"]})
    cell.outputs = [
        new_output("stream", name="stdout", text="a\n"),
        new_output("stream", name="stdout", text="b\n"),
        new_output("display_data", data={"text/plain": "w", f"{WIDGET}-view+json": {}}),
    ]
    notebook = new_notebook(cells=[cell])
    notebook.metadata.update(
        kernelspec={"name": "mine", "display_name": "Mine"},
        widgets=1,
        language_info={"name": "python", "version": "3.11.7"},
    )
    normalize(notebook)
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    assert "version" not in notebook.metadata["language_info"] and "widgets" not in notebook.metadata
    assert cell.metadata == {"tags": ["a"]}
    assert [output.get("text") for output in cell.outputs] == ["a\nb\n", None]
    assert list(cell.outputs[1].data) == ["text/plain"]
    once = nbformat.writes(notebook)
    assert nbformat.writes(normalize(notebook)) == once
    nbformat.validate(notebook)


def test_machine_paths_are_found_in_text_and_html(monkeypatch):
    cell = new_code_cell("x", execution_count=4)
    cell.outputs = [new_output("display_data", data={"text/html": "<b>/opt/course/data/x.npz</b> /opt/courses"})]
    monkeypatch.setattr(environment, "ROOT", Path("/opt/course"))
    assert traces_of_machine(new_notebook(cells=[cell])) == [(4, "/opt/course/data/x.npz")]


@pytest.mark.parametrize(
    ("old", "new", "differ"),
    [
        ("✔ a ⟦0.262⟧", "✔ a ⟦0.3⟧", False),
        ("✔ a ⟦0.262⟧", "✔ b ⟦0.262⟧", True),
        ("0.262", "0.263", True),
        ("a ⟦1⟧ b ⟦2⟧", "a ⟦3⟧ c ⟦4⟧", True),
    ],
)
def test_only_brackets_may_differ(old, new, differ):
    def notebook(text):
        cell = new_code_cell("x")
        png = new_output("display_data", data={"image/png": text, "text/plain": text})
        cell.outputs = [png]
        return new_notebook(cells=[cell])

    assert bool(outputs.changed_cells(notebook(old), notebook(new))) is differ


def test_an_id_that_is_claimed_twice_is_refused_before_anything_is_stored(stored):
    notebook = execution.read(stored[1])
    notebook.cells[1].outputs = [claiming("Q3-a")]
    with pytest.raises(Problem, match=r"Q3-a is made twice: in notebooks/03_a\.ipynb cell \[1\] and in notebooks/04_b"):
        ledger.collected({stored[1]: notebook})


def test_the_ledger_is_in_the_order_of_questions(stored):
    notebook = execution.read(stored[0])
    notebook.cells[1].outputs = [claiming(id, 2) for id in ("C00-z", "Q10-b", "Q2-a")]
    book, _ = ledger.collected({stored[0]: notebook})
    assert [(e["id"], e["figure"]) for e in book] == [("Q2-a", "2"), ("Q6-b", "1"), ("Q10-b", "2"), ("C00-z", "2")]


def test_the_ledger_is_what_the_course_stores():
    assert ledger.collected() == (ledger.read(), [])


@pytest.mark.parametrize(
    ("figures", "text"),
    [
        (["0.3", "0.1", "0.2"], "0.1 … 0.2 … 0.3"),
        (["1,200 bytes", "900 bytes"], "900 bytes … 1,200 bytes … 1,200 bytes"),
        (["yes", "yes"], "yes"),
        (["yes", "no"], "yes / no"),
    ],
)
def test_spread_of_figures(figures, text):
    assert seeds.spread(figures) == text


def test_a_claim_that_failed_with_a_seed_did_not_hold_with_it():
    records = {"Q3-a": seeds.Record("x", ["1", "3", "2"], [1]), "C00-long": seeds.Record("x", ["yes"] * 3)}
    assert [seeds.held(record) for record in records.values()] == [2, 3]
    assert seeds.table(records, 3) == [
        "  ✘ Q3-a      held 2 of 3   1 … 2 … 3   failed with seed 1",
        "  ✔ C00-long  held 3 of 3   yes",
    ]
    assert seeds.table({}, 3) == ["  no claims"]


def test_of_a_cell_that_opts_out_only_an_error_is_compared():
    def notebook(text, error=()):
        said = [new_output("stream", name="stdout", text=text)]
        broken = [new_output("error", ename=name, evalue="", traceback=[]) for name in error]
        tags = {"tags": ["nbval-ignore-output"]}
        return new_notebook(cells=[new_code_cell("x", outputs=said + broken, metadata=tags)])

    assert outputs.changed_cells(notebook("1.3 ms"), notebook("1.7 ms")) == {}
    assert outputs.changed_cells(notebook("1.3 ms"), notebook("1.3 ms", ["ValueError"])) == {1: ["+ValueError: "]}


@pytest.mark.parametrize(
    ("kind", "compared"),
    [
        *((kind, False) for kind in ("image/png", "application/pdf", "application/vnd.jupyter.widget-view+json")),
        *((kind, True) for kind in ("text/plain", "text/html", "application/json", "text/markdown")),
    ],
)
def test_pictures_are_not_compared_and_words_are(kind, compared):
    def notebook(text):
        return new_notebook(cells=[new_code_cell("x", outputs=[new_output("display_data", data={kind: text})])])

    assert bool(outputs.changed_cells(notebook("a"), notebook("b"))) is compared
    both = new_code_cell("x", outputs=[new_output("display_data", data={"text/html": "<b>a</b>", "text/plain": "a"})])
    assert outputs.visible(both) == ["text/plain: a"]
