"""A recorded result names what it depends on, is stale when that changes, and is never half written."""

from __future__ import annotations

import json

import numpy as np
import pytest

from utils import claims, recorded


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A tiny repository: recorded results go to its data/results."""
    (tmp_path / "code.py").write_text("x = 1\n")
    (tmp_path / "data.npz").write_bytes(b"weights")
    monkeypatch.setattr(recorded, "ROOT", tmp_path)
    monkeypatch.setattr(recorded, "RESULTS", tmp_path / "data" / "results")
    monkeypatch.setattr(recorded.digest, "__defaults__", (tmp_path,))
    monkeypatch.setattr(recorded.load, "__defaults__", (tmp_path / "data" / "results",))
    monkeypatch.setattr(recorded.stale, "__defaults__", (tmp_path / "data" / "results",))
    return tmp_path


def save(name: str = "sizes", rows=({"model": "cnn", "bytes": 7}, {"model": "mlp", "bytes": 9}), **changed):
    return recorded.save(
        name,
        rows,
        **({"command": "python course.py bench sizes", "depends": ["code.py", "data.npz"], "seeds": [0, 1]} | changed),
    )


def test_what_was_saved_is_loaded(repository):
    path = save(notes="two networks")
    loaded = recorded.load("sizes")
    assert path == repository / "data" / "results" / "sizes.json"
    assert loaded.rows == [{"model": "cnn", "bytes": 7}, {"model": "mlp", "bytes": 9}]
    assert (loaded.command, loaded.seeds, loaded.notes) == ("python course.py bench sizes", [0, 1], "two networks")
    assert loaded.depends == ["code.py", "data.npz"]
    assert {"python", "system", "cpu", "packages"} <= set(loaded.made_on)


def test_no_path_of_this_machine_is_stored(repository):
    text = save(depends=[repository / "code.py", "./data.npz"]).read_text()
    assert str(repository) not in text
    assert recorded.load("sizes").depends == ["code.py", "data.npz"]
    with pytest.raises(ValueError, match="of the repository"):
        save(depends=["../elsewhere.py"])


@pytest.mark.parametrize(
    "change, is_stale",
    [
        (lambda r: None, False),
        (lambda r: (r / "code.py").write_text("x = 2\n"), True),
        (lambda r: (r / "code.py").write_text("# a remark\n\nx = 1\n"), False),
        (lambda r: (r / "code.py").write_bytes(b"x = 1\r\n"), False),
        (lambda r: (r / "code.py").write_text("x = 1  # a remark\n"), True),
        (lambda r: (r / "data.npz").write_bytes(b"weighty"), True),
        (lambda r: (r / "data.npz").write_bytes(b"# weights\n"), True),
        (lambda r: (r / "code.py").unlink(), True),
    ],
)
def test_stale_when_what_it_depends_on_changes(repository, change, is_stale):
    save()
    change(repository)
    assert recorded.stale("sizes") is is_stale


def test_two_files_that_swap_contents_are_a_change(repository):
    (repository / "a.py").write_text("a")
    (repository / "b.py").write_text("b")
    before = recorded.digest(["a.py", "b.py"])
    assert before == recorded.digest(["b.py", "a.py"])
    (repository / "a.py").write_text("b")
    (repository / "b.py").write_text("a")
    assert recorded.digest(["a.py", "b.py"]) != before


@pytest.mark.parametrize("kind, content, changed", [
    ("markdown", "Other words.", False), ("code", "# a comment\nx = 1", False), ("code", "x = 2", True),
])  # fmt: skip
def test_of_a_notebook_only_the_code_counts(repository, kind, content, changed):
    def write(*cells):
        cells = [{"cell_type": kind, "source": [source], "outputs": []} for kind, source in cells]
        (repository / "a.ipynb").write_text(json.dumps({"cells": cells}))

    before = {"markdown": "Words.", "code": "x = 1"}
    write(*before.items())
    digest = recorded.digest(["a.ipynb"])
    write(*(before | {kind: content}).items())
    assert (recorded.digest(["a.ipynb"]) != digest) is changed


def test_numpy_figures_are_stored_as_figures(repository):
    save(rows=[{"a": np.float32(0.5), "b": np.int64(3), "c": np.bool_(True), "d": np.arange(2)}])
    assert recorded.load("sizes").rows == [{"a": 0.5, "b": 3, "c": True, "d": [0, 1]}]


@pytest.mark.parametrize(
    "wrong, error",
    [
        ({"rows": []}, ValueError),
        ({"rows": [{"a": float("nan")}]}, ValueError),
        ({"rows": [{"a": object()}]}, TypeError),
        ({"depends": []}, ValueError),
        ({"depends": ["gone.py"]}, FileNotFoundError),
        ({"name": "../x"}, ValueError),
        ({"name": "Sizes"}, ValueError),
        ({"name": "claims"}, ValueError),
        ({"name": ""}, ValueError),
    ],
)
def test_refused_and_the_old_result_stays(repository, wrong, error):
    before = save().read_bytes()
    with pytest.raises(error):
        save(**wrong)
    files = list((repository / "data" / "results").iterdir())
    assert [f.name for f in files] == ["sizes.json"] and files[0].read_bytes() == before


def test_a_full_disk_leaves_the_old_result(repository, monkeypatch):
    before = save().read_bytes()

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recorded.os, "replace", no_space)
    with pytest.raises(OSError, match="No space"):
        save(rows=[{"a": 1}])
    files = list((repository / "data" / "results").iterdir())
    assert [f.name for f in files] == ["sizes.json"] and files[0].read_bytes() == before


def test_one_row(repository):
    save()
    result = recorded.load("sizes")
    assert result.row(model="mlp")["bytes"] == 9
    for where in ({"model": "rnn"}, {}, {"speed": 1}):
        with pytest.raises(KeyError, match="exactly one"):
            result.row(**where)


def test_an_unknown_name_is_answered_with_those_there_are(repository):
    save()
    with pytest.raises(FileNotFoundError, match=r"'size'.*\['sizes'\]"):
        recorded.load("size")


@pytest.mark.parametrize("content", ["{", "[]", '{"name": "x"}', '{"surprise": 1}'])
def test_a_damaged_file_is_named(repository, content):
    save().write_text(content)
    with pytest.raises(ValueError, match=r"sizes\.json is not a recorded result"):
        recorded.load("sizes")


def test_shown_as_recorded_with_its_origin(repository, monkeypatch):
    shown = {}
    monkeypatch.setattr(claims, "show", lambda rows, **others: shown.update(rows=rows, **others))
    save()
    recorded.show("sizes", ["bytes"], where={"model": "mlp"}, caption="Sizes")
    assert shown["rows"] == [{"bytes": 9}]
    assert "recorded by “python course.py bench sizes”" in shown["caption"] and "seeds [0, 1]" in shown["caption"]
    assert json.loads((repository / "data/results/sizes.json").read_text())["made_on"]["cpu"] in shown["caption"]
