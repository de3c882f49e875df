"""A recorded result names what it depends on, is stale when that changes, is never half written, and never typed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from utils import ROOT, claims, dependencies, files, recorded

CODE = """
def measure():
    return helper()


def helper():
    return 1
"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A tiny repository: recorded results go to its data/results."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks/sizes.py").write_text(CODE)
    (tmp_path / "data.npz").write_bytes(b"weights")
    monkeypatch.setattr(recorded, "ROOT", tmp_path)
    monkeypatch.setattr(recorded, "RESULTS", tmp_path / "data" / "results")
    return tmp_path


def measure_in(folder):
    """The function `measure` of the tiny repository, as its benchmark hands it on."""
    path = folder / "benchmarks/sizes.py"
    names: dict = {}
    exec(compile(path.read_text(), str(path), "exec"), names)
    return names["measure"]


def save(name: str = "sizes", rows=({"model": "cnn", "bytes": 7}, {"model": "mlp", "bytes": 9}), **changed):
    depends = [measure_in(recorded.ROOT), "data.npz"]
    return recorded.save(
        name, rows, **({"command": "python course.py bench sizes", "depends": depends, "seeds": [0, 1]} | changed)
    )


def test_what_was_saved_is_loaded(repository):
    path = save(notes="two networks")
    loaded = recorded.load("sizes")
    assert path == repository / "data" / "results" / "sizes.json"
    assert loaded.rows == [{"model": "cnn", "bytes": 7}, {"model": "mlp", "bytes": 9}]
    assert (loaded.command, loaded.seeds, loaded.notes) == ("python course.py bench sizes", [0, 1], "two networks")
    assert loaded.depends == ["benchmarks.sizes:measure", "data.npz"]
    assert set(loaded.digests) == {"benchmarks.sizes:measure", "benchmarks.sizes:helper", "data.npz"}
    assert {"python", "system", "cpu", "packages"} <= set(loaded.made_on)
    assert loaded.processors == [recorded.processor()]


def test_no_path_of_this_machine_is_stored(repository):
    text = save(depends=[repository / "data.npz", "./benchmarks/sizes.py"]).read_text()
    assert str(repository) not in text
    assert recorded.load("sizes").depends == ["benchmarks/sizes.py", "data.npz"]
    for outside in ("../elsewhere.py", np.zeros, len):
        with pytest.raises(ValueError, match="of the repository"):
            save(depends=[outside])


@pytest.mark.parametrize(
    "file, content, said",
    [
        ("benchmarks/sizes.py", CODE, []),
        ("benchmarks/sizes.py", CODE + "\n\ndef unused():\n    return 3\n", []),
        ("benchmarks/sizes.py", CODE.replace("return 1", "return 1  # a remark"), []),
        ("benchmarks/sizes.py", CODE.replace("return 1", "return 2"), ["benchmarks.sizes:helper has changed"]),
        ("benchmarks/sizes.py", CODE.replace("measure", "other"), ["there is no 'benchmarks.sizes:measure'"]),
        ("benchmarks/sizes.py", None, ["there is no 'benchmarks.sizes:measure'"]),
        ("data.npz", b"weights", []),
        ("data.npz", b"weighty", ["data.npz has changed"]),
        ("data.npz", None, ["No such file"]),
    ],
)
def test_stale_when_what_it_depends_on_changes_and_it_says_what(repository, file, content, said):
    save()
    if content is None:
        (repository / file).unlink()
    else:
        files.write_bytes(repository / file, content if isinstance(content, bytes) else content.encode())
    found = recorded.changes("sizes")
    assert len(found) == len(said) and all(part in sentence for part, sentence in zip(said, found, strict=True))
    assert recorded.stale("sizes") is bool(said)


@pytest.mark.parametrize(("version", "said"), [("2.21.7", []), ("2.22.0", ["numpy is 2.22.0 now, and was 2.21.1"])])
def test_another_release_of_a_package_makes_it_stale_and_a_patch_does_not(repository, monkeypatch, version, said):
    monkeypatch.setattr(recorded, "_PACKAGES", ("numpy",))
    monkeypatch.setattr(recorded.metadata, "version", lambda name: "2.21.1")
    save()
    monkeypatch.setattr(recorded.metadata, "version", lambda name: version)
    assert recorded.changes("sizes") == said


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
        ({"name": "run_times"}, ValueError),
        ({"name": ""}, ValueError),
    ],
)
def test_refused_and_the_old_result_stays(repository, wrong, error):
    before = save().read_bytes()
    with pytest.raises(error):
        save(**wrong)
    left = list((repository / "data" / "results").iterdir())
    assert [path.name for path in left] == ["sizes.json"] and left[0].read_bytes() == before


def test_a_part_is_not_stored_and_says_so(repository, capsys):
    before = save().read_bytes()
    assert save(rows=[{"model": "cnn", "bytes": 8}], partial="only chapter 00 was damaged") is None
    assert (repository / "data/results/sizes.json").read_bytes() == before
    assert "stays as it was: only chapter 00 was damaged. All of it: `python course.py bench sizes`" in (
        capsys.readouterr().out
    )
    with pytest.raises(ValueError, match="no rows"):
        save(rows=[], partial="only chapter 99")


def test_a_folder_that_cannot_be_written_is_known_before_measuring(repository, monkeypatch):
    recorded.check_writable("sizes")
    assert list((repository / "data/results").iterdir()) == []
    with pytest.raises(ValueError, match="a result's name"):
        recorded.check_writable("claims")
    monkeypatch.setattr(files, "_write_through", lambda *_: (_ for _ in ()).throw(OSError(30, "read-only")))
    with pytest.raises(OSError, match="read-only, so nothing was written"):
        recorded.check_writable("sizes")


KEY = ("network", "processor")


def test_rows_of_two_processors_stand_beside_each_other(repository):
    first, second = ({"network": "mlp", "processor": name, "µs": 5} for name in ("A", "B"))
    save(rows=recorded.beside("sizes", [first], KEY))
    save(rows=recorded.beside("sizes", [second], KEY))
    assert recorded.load("sizes").rows == [first, second] and recorded.load("sizes").processors == ["A", "B"]
    save(rows=recorded.beside("sizes", [{"network": "mlp", "processor": "A", "accuracy": 9}], KEY))
    assert recorded.load("sizes").rows == [first | {"accuracy": 9}, second]


def test_rows_that_other_code_measured_do_not_stay_beside_those_of_today(repository):
    old, new = ({"network": name, "processor": "A"} for name in ("mlp", "cnn"))
    save(rows=[old])
    (repository / "data.npz").write_bytes(b"other weights")
    with pytest.raises(ValueError, match=r"measured with other code \(data\.npz has changed\).*--anew"):
        recorded.beside("sizes", [new], KEY)
    assert recorded.beside("sizes", [new], KEY, anew=True) == [new]


def test_one_row(repository):
    save()
    result = recorded.load("sizes")
    assert result.row(model="mlp")["bytes"] == 9
    for where in ({"model": "rnn"}, {}, {"speed": 1}):
        with pytest.raises(KeyError, match="exactly one"):
            result.row(**where)


def test_an_unknown_name_is_answered_with_those_there_are(repository):
    save()
    (repository / "data/results/claims.json").write_text("[]")
    with pytest.raises(FileNotFoundError, match=r"'size'.*\['sizes'\]"):
        recorded.load("size")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"name": "x"}', '{"surprise": 1}', "\ud800", b"\xff\xfe"])
def test_a_damaged_or_foreign_file_is_named(repository, content):
    path = save()
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError, match=r"sizes\.json is not a recorded result .*git checkout"):
        recorded.load("sizes")


@pytest.mark.parametrize(
    "change",
    [
        lambda stored: stored["rows"][1].update(bytes=8),
        lambda stored: stored["rows"].pop(),
        lambda stored: stored["rows"].reverse(),
        lambda stored: stored["made_on"].update(cpu="a faster one"),
        lambda stored: stored.update(seeds=[0]),
        lambda stored: stored["digests"].clear(),
    ],
)
def test_a_figure_that_was_typed_is_noticed(repository, change):
    path = save()
    stored = json.loads(path.read_text())
    change(stored)
    path.write_text(json.dumps(stored))
    with pytest.raises(ValueError, match=r"sizes\.json was changed after it was measured"):
        recorded.load("sizes")


def test_another_order_of_keys_or_line_ends_is_no_change(repository):
    path = save()
    stored = json.loads(path.read_text())
    path.write_bytes(json.dumps(dict(reversed(stored.items())), indent=3).replace("\n", "\r\n").encode())
    assert recorded.load("sizes").rows == stored["rows"]


@pytest.fixture
def shown(monkeypatch):
    found: dict = {}
    monkeypatch.setattr(claims, "show", lambda rows, **others: found.update(rows=rows, **others))
    return found


def test_shown_as_recorded_with_its_origin(repository, shown):
    save()
    recorded.show("sizes", ["bytes"], where={"model": "mlp"}, caption="Sizes")
    assert shown["rows"] == [{"bytes": 9}]
    assert shown["caption"].startswith("Sizes — recorded by “python course.py bench sizes” on ")
    assert recorded.short(recorded.processor()) in shown["caption"] and shown["caption"].endswith("seeds 0, 1")


def test_the_caption_names_the_processors_of_the_rows_that_are_shown(repository, shown):
    rows = [{"bytes": n, "processor": name} for n, name in enumerate(["AMD EPYC (avx2)", "Intel(R) Xeon(R) (amx)"])]
    save(rows=rows, seeds=[0])
    recorded.show("sizes", ["bytes"])
    assert "on AMD EPYC (avx2) and Intel Xeon (amx), seed 0" in shown["caption"]
    recorded.show("sizes", ["bytes"], where={"bytes": 1})
    assert "on Intel Xeon (amx), seed 0" in shown["caption"]


@pytest.mark.parametrize("options", [{"columns": ["speed"]}, {"where": {"model": "rnn"}}, {"where": {"speed": 1}}])
def test_nothing_to_show_is_said(repository, shown, options):
    save()
    with pytest.raises(KeyError, match="recorded result 'sizes' has"):
        recorded.show("sizes", **options)


@pytest.mark.parametrize(
    "processor, brief",
    [
        ("AMD EPYC 7763 64-Core Processor (avx2)", "AMD EPYC 7763 (avx2)"),
        ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz (avx2 amx_int8)", "Intel Xeon Platinum 8481C (avx2 amx_int8)"),
        ("arm64", "arm64"),
    ],
)
def test_a_processor_in_short(processor, brief):
    assert recorded.short(processor) == brief


# ---------------------------------------------------------------- confirming


def change_code(repository):
    (repository / "benchmarks/sizes.py").write_text(CODE.replace("return 1", "return 2"))


def confirm(rows, **how):
    how = {"key": ["model"], "depends": [measure_in(recorded.ROOT), "data.npz"]} | how
    return recorded.confirm("sizes", rows, **how)


def test_rows_that_come_out_alike_renew_the_digests_and_say_so(repository, shown):
    save()
    before = recorded.load("sizes")
    change_code(repository)
    assert recorded.stale("sizes")
    confirm([{"model": "mlp", "bytes": np.int64(9)}])
    after = recorded.load("sizes")  # its seal fits
    assert not recorded.stale("sizes") and after.digests != before.digests
    assert (after.rows, after.made_on, after.command) == (before.rows, before.made_on, before.command)
    (entry,) = after.confirmed
    assert entry["rows"] == [{"model": "mlp"}] and entry["processor"] == recorded.processor()
    assert entry["changed"] == ["benchmarks.sizes:helper has changed"]
    recorded.show("sizes")
    assert shown["caption"].endswith(f"seeds 0, 1; confirmed on {entry['date']} by 1 row")
    confirm(before.rows)
    assert [len(each["rows"]) for each in recorded.load("sizes").confirmed] == [1, 2]
    assert recorded.load("sizes").confirmed[1]["changed"] == []


ROW = {"model": "mlp", "seeds": {"lost": [0.1, 0.2]}, "yes": True, "ms": 5.0, "ms low": 4.0, "ms high": 6.0}
TIMES = {"ms": lambda row: recorded.widened(row["ms low"], row["ms high"], 1.5)}


@pytest.mark.parametrize(
    "row",
    [
        {"seeds": {"lost": [0.1]}},
        {"seeds": {"lost": [0.1, 0.2]}, "yes": True},
        {"ms": 4.0 / 1.5},
        {"ms": 9.0, "yes": True},
    ],
)
def test_a_row_that_agrees(repository, row):
    save(rows=[ROW])
    change_code(repository)
    confirm([{"model": "mlp"} | row], within=TIMES)
    assert not recorded.stale("sizes")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"seeds": {"lost": [0.1, 0.3]}}, r"'seeds' of .*'mlp'.* is .*0\.3.* and was .*0\.2"),
        ({"seeds": {"lost": [0.2]}}, "'seeds' of"),
        ({"seeds": {"lost": []}}, "'seeds' of"),
        ({"seeds": {"lost": [0.1, 0.2, 0.3]}}, "'seeds' of"),
        ({"seeds": {}}, "'seeds' of"),
        ({"seeds": None}, "'seeds' of"),
        ({"yes": False}, "'yes' of .* is False now and was True"),
        ({"yes": 1}, "'yes' of"),
        ({"ms": 9.1}, r"'ms' of .* is 9\.1 now, outside 2\.667 to 9"),
        ({"ms": 2.6}, "'ms' of"),
        ({"ms": "aborts"}, "'ms' of .* is 'aborts' now"),
        ({"ms": None}, "'ms' of"),
        ({"speed": 1}, "no column 'speed'"),
    ],
)
def test_a_row_that_differs_is_refused_by_its_figure_and_the_record_stays(repository, row, said):
    before = save(rows=[ROW]).read_bytes()
    change_code(repository)
    with pytest.raises(
        recorded.RecordRefused, match=f"{said}.*sizes.json cannot be confirmed: all of it must be measured"
    ):
        confirm([{"model": "mlp", "ms": 5.0} | row], within=TIMES)
    assert (repository / "data/results/sizes.json").read_bytes() == before and recorded.stale("sizes")


def test_on_another_processor_trained_figures_vary_and_times_are_not_compared(repository, monkeypatch):
    save(rows=[ROW])
    how = {"within": {}, "times": TIMES, "trained": {"seeds": lambda row: (0.0, 0.3)}}
    other = {"model": "mlp", "seeds": {"lost": [0.3]}, "ms": 900.0}
    with pytest.raises(recorded.RecordRefused, match="'seeds'"):
        confirm([other], **how)
    monkeypatch.setattr(recorded, "processor", lambda: "another one")
    confirm([other], **how)
    assert recorded.load("sizes").confirmed[0]["processor"] == "another one"
    for wrong in ({"seeds": {"lost": [0.31]}}, {"yes": False}):
        with pytest.raises(recorded.RecordRefused, match=f"'{next(iter(wrong))}'"):
            confirm([other | wrong], **how)


@pytest.mark.parametrize("wrong", [{"rows": []}, {"rows": [{"model": "mlp"}]}, {"depends": []}])
def test_nothing_confirms_nothing(repository, wrong):
    save()
    with pytest.raises(ValueError, match="nothing was measured that could confirm 'sizes'"):
        confirm(**{"rows": [{"model": "mlp", "bytes": 9}]} | wrong)


def test_a_row_that_was_never_recorded_confirms_nothing(repository):
    save()
    with pytest.raises(recorded.RecordRefused, match=r"0 rows of the recorded result 'sizes' have .*'rnn'"):
        confirm([{"model": "rnn", "bytes": 9}])


def test_a_confirmation_under_a_newer_release_counts_for_it(repository, monkeypatch):
    monkeypatch.setattr(recorded, "_PACKAGES", ("numpy",))
    monkeypatch.setattr(recorded.metadata, "version", lambda name: "2.21.1")
    save()
    monkeypatch.setattr(recorded.metadata, "version", lambda name: "2.22.0")
    confirm([{"model": "mlp", "bytes": 9}])
    found = recorded.load("sizes")
    assert recorded.changes("sizes") == [] and found.made_on["packages"] == {"numpy": "2.21.1"}
    assert found.confirmed[0]["changed"] == ["numpy is 2.22.0 now, and was 2.21.1"]


def test_confirmations_go_with_the_rows_that_they_confirm(repository):
    save()
    confirm([{"model": "mlp", "bytes": 9}])
    entries = recorded.load("sizes").confirmed
    save(confirmed=entries)
    assert recorded.load("sizes").confirmed == entries
    save()
    assert recorded.load("sizes").confirmed == []


# ---------------------------------------------------------------- the records of this repository


@pytest.mark.parametrize("name", recorded.names())
def test_every_record_is_whole_and_depends_on_something(name):
    result = recorded.load(name)
    assert result.name == name and result.rows and result.digests
    assert all((ROOT / path).is_file() for path in result.depends if ":" not in path)
    if any(":" in entry for entry in result.depends):
        assert any(":" in entry for entry in result.digests)
    assert not set(result.digests) & dependencies.IGNORED


# ---------------------------------------------------------------- edges


@pytest.mark.parametrize(
    ("count", "last"), [(7, "data6.npz has changed"), (8, "data7.npz has changed"), (9, "and 2 more")]
)
def test_eight_changes_are_named_and_of_more_the_first_seven(repository, count, last):
    paths = [f"data{number}.npz" for number in range(count)]
    for path in paths:
        (repository / path).write_bytes(b"old")
    save(depends=paths)
    for path in paths:
        (repository / path).write_bytes(b"new")
    confirm([{"model": "mlp", "bytes": 9}], depends=paths)
    said = recorded.load("sizes").confirmed[0]["changed"]
    assert said[:7] == [f"data{number}.npz has changed" for number in range(7)]
    assert len(said) == min(count, 8) and said[-1] == last


@pytest.mark.parametrize(("count", "said"), [(1, "by 1 row"), (2, "by 2 rows")])
def test_the_caption_tells_the_last_confirmation(repository, shown, count, said):
    save()
    rows = recorded.load("sizes").rows
    confirm(rows if count == 1 else rows[:1])
    confirm(rows[:count])
    recorded.show("sizes", digits=5)
    assert shown["caption"].endswith(said) and shown["digits"] == 5
    assert shown["caption"].startswith("recorded by") and shown["rows"] == rows


def test_widened_goes_out_at_both_ends():
    assert recorded.widened(4.0, 6.0, 2.0) == (2.0, 12.0)


@pytest.mark.parametrize("name", ["-x", "_x", "ä", "a b", "a.b", "x/y", "run_times"])
def test_no_other_name_is_taken(repository, name):
    with pytest.raises(ValueError, match=r"a result's name is .* and not claims or run_times; got"):
        save(name)


@pytest.mark.parametrize("name", ["0", "a_b-c9"])
def test_names_of_letters_digits_and_lines_are_taken(repository, name):
    save(name)
    save()
    assert recorded.names() == sorted([name, "sizes"])
    assert recorded.names(repository / "data/results") == recorded.names()


def test_another_folder_can_be_read(repository, tmp_path):
    path = save()
    other = tmp_path / "elsewhere"
    other.mkdir()
    path.rename(other / "sizes.json")
    assert recorded.load("sizes", other).rows[0] == {"model": "cnn", "bytes": 7}
    assert recorded.load("sizes", other).source == other / "sizes.json"
    assert not recorded.stale("sizes", other) and recorded.changes("sizes", other) == []
    with pytest.raises(FileNotFoundError):
        recorded.load("sizes")


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ("model name\t: Fast 9 \nflags\t\t: fpu avx2 avx512f avx512_vnni avx_vnni amx_int8 avx5\n",
         "Fast 9 (avx2 avx512f avx512_vnni avx_vnni amx_int8)"),
        ("model name : A\nflags : fpu avx2\n\nmodel name : B\nflags : avx512f\n", "A (avx2)"),
        ("model name : A\nflags : fpu avx\n", "A (no vector extensions named)"),
        ("nothing of it\n", "machine (no vector extensions named)"),
    ],
)  # fmt: skip
def test_a_processor_is_named_with_what_makes_integers_fast(monkeypatch, info, said):
    monkeypatch.setattr(recorded.platform, "machine", lambda: "machine")
    monkeypatch.setattr(recorded.Path, "exists", lambda _: True)
    monkeypatch.setattr(recorded.Path, "read_text", lambda _: info)
    assert recorded.processor() == said


@pytest.mark.parametrize(("known", "said"), [("Apple M9", "Apple M9"), ("", "arm64")])
def test_where_linux_tables_are_missing_python_names_the_processor(monkeypatch, known, said):
    monkeypatch.setattr(recorded.Path, "exists", lambda _: False)
    monkeypatch.setattr(recorded.platform, "processor", lambda: known)
    monkeypatch.setattr(recorded.platform, "machine", lambda: "arm64")
    assert recorded.processor() == said


def test_the_packages_that_made_a_figure_are_stored(repository, monkeypatch):
    monkeypatch.setattr(recorded.metadata, "version", lambda name: f"1.2 of {name}")
    save()
    names = (
        *("tensorflow", "tensorflow-cpu", "tf-keras", "tensorflow-model-optimization"),
        *("ai-edge-litert", "litert-quantizer", "numpy"),
    )
    assert recorded.load("sizes").made_on["packages"] == {name: f"1.2 of {name}" for name in names}


def test_a_package_that_is_gone_is_no_other_release(repository, monkeypatch):
    save()

    def gone(name):
        raise recorded.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(recorded.metadata, "version", gone)
    assert recorded.changes("sizes") == []
    save()
    assert recorded.load("sizes").made_on["packages"] == {}


def test_a_record_of_no_rows_or_of_other_things_is_refused(repository):
    path = save()
    for rows in ([], [3], [{"a": 1}, "b"]):
        stored = json.loads(path.read_text()) | {"rows": rows}
        del stored["seal"]
        path.write_text(json.dumps(stored | {"seal": recorded._seal(stored)}))
        with pytest.raises(recorded.RecordRefused, match="its rows are no mappings"):
            recorded.load("sizes")


def test_a_row_beside_others_is_found_by_all_of_its_columns(repository):
    rows = [
        {"model": "mlp", "bits": 8, "x": 1},
        {"model": "mlp", "bits": 4, "x": 2},
        {"model": "cnn", "bits": 4, "x": 3},
    ]
    save(rows=rows)
    assert recorded.load("sizes").row(model="mlp", bits=4)["x"] == 2
    with pytest.raises(KeyError, match="2 rows of the recorded result 'sizes' have"):
        recorded.load("sizes").row(model="mlp")
    with pytest.raises(KeyError, match=r"not every row .* has \['y'\]"):
        save(rows=[*rows, {"model": "rnn", "bits": 4, "y": 1}])
        recorded.show("sizes", ["y"])
