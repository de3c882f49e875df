"""Quotes of the ledger in prose."""

import json

import pytest

from utils import ROOT
from utils.study import quotes

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


def test_other_comments_and_braces_are_left_alone():
    text = "<!-- a comment --> {{ not a quote }} `{{x}}`"
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
    assert len(lines) == 2 + 19
    assert "| 03 | [Quantization from first principles](notebooks/03_first_principles.ipynb) | Q3 Q4 Q7 | 90 |" in lines
    assert "| 06 | Pruning | Q8 Q9 Q10 | 80 |" in lines


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
