"""Quotes of the ledger in prose."""

import json

import pytest

from utils import ROOT, recorded
from utils.study import quotes
from utils.study.questions import CHAPTERS

FIGURES = {"Q3-bytes": "0.262", "C00-map": "50"}


def test_a_new_quote_is_filled_and_a_filled_one_is_renewed():
    filled = quotes.refresh("It needs {{Q3-bytes}} of the bytes.", FIGURES)
    assert filled == "It needs <!--Q3-bytes-->0.262<!--/--> of the bytes."
    assert quotes.refresh(filled, {"Q3-bytes": "0.25"}) == "It needs <!--Q3-bytes-->0.25<!--/--> of the bytes."
    assert quotes.refresh(filled, FIGURES) == filled


def test_the_reader_sees_the_figure_alone():
    assert quotes.plain("a <!--Q3-bytes-->0.262<!--/--> b {{C00-map}}") == "a 0.262 b {{C00-map}}"


def test_quoted_lists_both_kinds_in_order():
    assert quotes.quoted("{{C00-map}} and <!--Q3-bytes-->1<!--/-->") == ["C00-map", "Q3-bytes"]


def test_an_unknown_claim_is_named():
    with pytest.raises(KeyError, match="Q9-nothing"):
        quotes.refresh("{{Q9-nothing}}", FIGURES)


@pytest.fixture
def records(tmp_path, monkeypatch):
    """A folder with one small record: two networks, two data sets, two processors."""
    monkeypatch.setattr(recorded, "RESULTS", tmp_path)
    rows = [
        {
            "network": network, "data": data, "mode": "int8 per tensor", "processor": processor, "bytes": 65320,
            "accuracy %": 90.04, "lost points": -0.03, "latency µs": 1056.5 * factor, "latency ratio": 0.856 * factor,
            "lost": "2.1 ± 0.3", "in rounds, late": "3.4 ± 0.1", "delegated": True, "seeds": [1, 2], "nothing": None,
        }
        for processor, factor in (("AMD EPYC", 1), ("Xeon", 0.1))
        for network, data in (("mlp", "fashion"), ("lenet5", "fashion"), ("lenet5", "mnist"))
    ]  # fmt: skip
    recorded.save("networks", rows, command="c", depends=[ROOT / "course.py"], seeds=[0])
    return tmp_path


@pytest.mark.parametrize(
    "quote, shown",
    [
        ("mlp int8 per tensor, latency ratio", "0.86×"),
        ("mlp, latency ratio", "0.86×"),
        ("mlp, in rounds, late", "3.4 ± 0.1"),
        ("mlp Xeon, latency ratio", "0.086×"),
        ("mlp AMD EPYC, latency", "1,100 µs"),
        ("mlp, latency µs", "1,100 µs"),
        ("mnist lenet5, bytes", "65,320 bytes"),
        ("mlp, accuracy", "90.0 %"),
        ("mlp, lost points", "-0.03 points"),
        ("mlp, lost", "2.1 ± 0.3"),
        ("mlp, mode", "int8 per tensor"),
    ],
)
def test_a_cell_of_a_record_is_quoted_as_one_says_it(records, quote, shown):
    filled = quotes.refresh(f"It took {{{{networks: {quote}}}}} here.", {}, records)
    assert filled == f"It took <!--networks: {quote}-->{shown}<!--/--> here."
    assert quotes.refresh(filled.replace(f">{shown}<", ">old<"), {}, records) == filled
    assert quotes.quoted(filled) == [f"networks: {quote}"] and quotes.plain(filled) == f"It took {shown} here."


@pytest.mark.parametrize(
    "quote, sentence",
    [
        ("gone: mlp, bytes", "no recorded result 'gone'"),
        ("networks: rnn, bytes", "networks has no such row; its first is: mlp fashion int8 per tensor"),
        ("networks: mlp int8, bytes", "networks has no such row"),  # a word of a cell is no cell
        ("networks: mlp mnist, bytes", "networks has no such row"),
        ("networks: lenet5, bytes", "fits 2 rows of networks: add one of fashion, mnist"),
        ("networks: mlp, energy", "no column 'energy'; it has network, data"),
        ("networks: mlp, seeds", "which is no figure"),
        ("networks: mlp, delegated", "True there, which is no figure"),
        ("networks: mlp, nothing", "which is no figure"),
    ],
)
def test_a_cell_that_is_not_there_is_a_sentence(records, quote, sentence):
    with pytest.raises(KeyError) as raised:
        quotes.refresh(f"{{{{{quote}}}}}", {}, records)
    assert quote in raised.value.args[0] and sentence in raised.value.args[0]


def test_records_are_read_in_the_folder_that_is_named(records, tmp_path, monkeypatch):
    monkeypatch.setattr(recorded, "RESULTS", tmp_path / "another")
    assert quotes.quoted_figure("networks: mlp, bytes", {}, records) == "65,320 bytes"
    assert quotes.refresh("{{networks: mlp, bytes}}", {}, records) == "<!--networks: mlp, bytes-->65,320 bytes<!--/-->"
    with pytest.raises(KeyError, match="no recorded result"):
        quotes.quoted_figure("networks: mlp, bytes", {})


def test_a_lost_ledger_is_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no ledger claims\.json; `python course\.py run` writes it"):
        quotes.ledger(tmp_path / "claims.json")


@pytest.mark.parametrize(
    ("value", "column", "shown"),
    [
        (0.0, "latency ratio", "0×"), (14.96, "latency ratio", "15×"), (9.96, "latency ratio", "10×"),
        (1.0, "latency ratio", "1×"), (84.2, "latency µs", "84 µs"), (3, "seeds", "3"), (0.123, "share", "0.12"),
        (90.96, "accuracy % low", "91.0 %"),
    ],
)  # fmt: skip
def test_digits_and_units(value, column, shown):
    assert quotes.said(value, column) == shown


def test_other_comments_and_braces_are_left_alone():
    text = "<!-- a comment --> {{ not a quote }} `{{x}}` <!-- see: this, that --> {{a b: c, d}}"
    assert quotes.refresh(text, FIGURES) == text


def test_pages_are_refreshed_in_place_and_only_where_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(quotes, "PICTURES", {})
    for folder in ("interview", "docs", "data/results"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "README.md").write_text("{{Q3-bytes}}", encoding="utf-8")
    (tmp_path / "interview" / "q03.md").write_text("no figure", encoding="utf-8")
    entries = [{"id": id, "figure": figure} for id, figure in FIGURES.items()]
    (tmp_path / "data" / "results" / "claims.json").write_text(json.dumps(entries), encoding="utf-8")
    assert quotes.refresh_pages(tmp_path) == [tmp_path / "docs" / "recipes.md", tmp_path / "README.md"]
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "<!--Q3-bytes-->0.262<!--/-->"
    assert quotes.refresh_pages(tmp_path) == []


def test_a_page_with_an_unknown_claim_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(quotes, "PICTURES", {})
    for folder in ("interview", "data/results"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "README.md").write_text("{{Q9-nothing}}", encoding="utf-8")
    (tmp_path / "data" / "results" / "claims.json").write_text("[]", encoding="utf-8")
    with pytest.raises(KeyError, match=r"README\.md.*Q9-nothing"):
        quotes.refresh_pages(tmp_path)


def test_the_map_links_the_chapters_that_are_there(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "03_first_principles.ipynb").touch()
    lines = quotes.chapter_map(tmp_path).splitlines()
    assert len(lines) == 2 + len(CHAPTERS)
    assert "| 04b | Fewer bits, and outliers | more on Q5 Q32 Q40 | 90 |" in lines
    assert "| 03 | [Quantization from first principles](notebooks/03_first_principles.ipynb) | Q3 Q4 Q7 | 90 |" in lines
    assert "| 06 | Pruning | Q8 Q9 Q10 | 80 |" in lines
    assert "| 02 | The Toolkit, and what is beyond it, best read after 05 | Q29 Q30 Q31 | 75 |" in lines


def test_the_map_replaces_only_what_is_between_its_comments():
    assert quotes.with_map("a\n<!--map-->\nold\n<!--/map-->\nb", "new") == "a\n<!--map-->\nnew\n<!--/map-->\nb"
    assert quotes.with_map("no map here", "new") == "no map here"


def test_a_picture_is_taken_from_the_stored_notebook(tmp_path):
    (tmp_path / "notebooks").mkdir()
    shown = {"data": {"image/png": ["aG", "k="]}, "metadata": {"image/png": {"alt": "A cliff at four bits"}}}
    content = json.dumps({"cells": [{"outputs": [{"metadata": {}}, shown]}, {}]})
    (tmp_path / "notebooks" / "03_x.ipynb").write_text(content, encoding="utf-8")
    assert quotes.picture("03", "A cliff", tmp_path) == b"hi"
    with pytest.raises(KeyError, match="chapter 03 shows no picture"):
        quotes.picture("03", "A hill", tmp_path)


@pytest.mark.parametrize("name", quotes.PICTURES)
def test_the_pages_show_the_stored_pictures(name):
    assert (ROOT / name).read_bytes() == quotes.picture(*quotes.PICTURES[name]), "run `python course.py quote`"


@pytest.mark.parametrize("value", [True, None, [1], {"a": 1}])
def test_what_is_no_figure_is_refused(value):
    with pytest.raises(KeyError, match=r"'bytes' holds .* which is no figure"):
        quotes.said(value, "bytes")


@pytest.mark.parametrize(
    ("value", "column", "shown"),
    [
        (5.0, "time ms", "5 ms"), (2.5, "time seconds", "2.5 seconds"), (1234567, "bytes", "1,234,567 bytes"),
        (9.94, "x", "9.9"), (9.95, "x", "9.9"), (10.0, "x", "10"), (-10.0, "x", "-10"), (-12345.0, "x", "-12,000"),
        (50, "accuracy %", "50 %"), (0.04, "accuracy %", "0.0 %"), ("a few", "bytes", "a few"),
        (0.5, "points", "0.5 points"), (3, "ratio of bytes", "3×"),
    ],
)  # fmt: skip
def test_every_unit_and_the_edges_of_digits(value, column, shown):
    assert quotes.said(value, column) == shown


def test_pages_come_in_their_order_and_those_of_begun_chapters_wait(tmp_path, monkeypatch):
    for folder in ("interview", "docs/decisions"):
        (tmp_path / folder).mkdir(parents=True)
    for name in (
        "interview/q08.md",
        "interview/q03.md",
        "interview/questions.md",
        "docs/q08.md",
        "docs/decisions/a.md",
    ):
        (tmp_path / name).write_text("words", encoding="utf-8")
    inside, deep = type(tmp_path).glob, type(tmp_path).rglob
    monkeypatch.setattr(type(tmp_path), "glob", lambda *a, **k: sorted(inside(*a, **k), reverse=True))
    monkeypatch.setattr(type(tmp_path), "rglob", lambda *a, **k: sorted(deep(*a, **k), reverse=True))
    names = ["README.md", "interview/q03.md", "interview/q08.md", "interview/questions.md"]
    names += ["docs/decisions/a.md", "docs/q08.md"]
    assert [page.relative_to(tmp_path).as_posix() for page in quotes.pages(tmp_path)] == names
    assert quotes.finished_pages(tmp_path) == quotes.pages(tmp_path)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "x.py").write_text("PLACEHOLDER" + "_06", encoding="utf-8")
    waiting = {*quotes.pages(tmp_path)} - {*quotes.finished_pages(tmp_path)}
    assert waiting == {tmp_path / "interview" / "q08.md"}


def test_a_begun_chapter_is_no_link_and_of_two_notebooks_the_first_is(tmp_path):
    (tmp_path / "notebooks").mkdir()
    for name in ("06_b.ipynb", "06_a.ipynb", "07_x.ipynb"):
        (tmp_path / "notebooks" / name).write_text('{"cells": []}', encoding="utf-8")
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "x.py").write_text("PLACEHOLDER" + "_07", encoding="utf-8")
    table = quotes.chapter_map(tmp_path)
    assert "[Pruning](notebooks/06_a.ipynb)" in table and "07_x.ipynb" not in table
    assert "| 00 | Start here | the map of all fifty | 20 |" in table


def test_every_page_with_an_unknown_quote_is_named_and_the_others_are_filled(tmp_path, monkeypatch):
    monkeypatch.setattr(quotes, "PICTURES", {})
    for folder in ("interview", "data/results", "docs"):
        (tmp_path / folder).mkdir(parents=True)
    for name, text in (
        ("README.md", "{{Q9-a}}"),
        ("interview/q03.md", "{{Q3-bytes}}"),
        ("interview/q04.md", "{{Q9-b}}"),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
    claims = json.dumps([{"id": "Q3-bytes", "figure": "7"}])
    (tmp_path / "data/results/claims.json").write_text(claims, encoding="utf-8")
    with pytest.raises(KeyError) as raised:
        quotes.refresh_pages(tmp_path)
    said = raised.value.args[0]
    assert said.startswith("README.md: ") and "; interview/q04.md: " in said and "Q9-a" in said and "Q9-b" in said
    assert (tmp_path / "interview/q03.md").read_text("utf-8") == "<!--Q3-bytes-->7<!--/-->"


def test_of_two_notebooks_with_the_picture_the_first_is_shown(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    for name, png in (("03_b", "aGk="), ("03_a", "aG8="), ("030_c", "eA==")):
        shown = {"data": {"image/png": png}, "metadata": {"image/png": {"alt": "A cliff"}}}
        (tmp_path / "notebooks" / f"{name}.ipynb").write_text(json.dumps({"cells": [{"outputs": [shown]}]}), "utf-8")
    inside = type(tmp_path).glob
    monkeypatch.setattr(type(tmp_path), "glob", lambda *a: sorted(inside(*a), reverse=True))
    assert quotes.picture("03", "A cliff", tmp_path) == b"ho"
