"""Placeholders are found in every kind of file, with file and line, also when only their mark was taken away."""

from __future__ import annotations

import json
import re

import pytest

from utils.study import placeholders

MARKED = "PLACEHOLDER {}: what the first is about"  # filled at run time: this file has no placeholder itself


def notebook(*sources: str, outputs=()) -> str:
    cells = [{"cell_type": "code", "source": source.splitlines(True), "outputs": list(outputs)} for source in sources]
    return json.dumps({"cells": cells})


def write(root, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    "path, text, line",
    [
        ("interview/q08.md", "---\n---\n" + MARKED, "3"),
        ("utils/study/checks/ch08.py", f"x = 1\ny = '{MARKED}'", "2"),
        ("utils/optimize/family/new.py", "def PLACEHOLDER_{}_step(): ...", "1"),
        ("tests/optimize/test_new.py", "\n\nassert new.PLACEHOLDER_{}", "3"),
        ("benchmarks/new.py", f'"""{MARKED}"""', "1"),
        ("data/quizzes/08.json", '[{{"question":\n"PLACEHOLDER {}"}}]', "2"),
        ("data/results/new.json", '{{"notes": "PLACEHOLDER {}"}}', "1"),
        ("docs/decisions/0031-new.md", "# 31. " + MARKED, "1"),
    ],
)
def test_each_kind_of_file(tmp_path, path, text, line):
    write(tmp_path, path, text.format("08"))
    (found,) = placeholders.found(tmp_path)
    assert (found.chapter, found.file, found.line) == ("08", path, line)
    assert str(found).startswith(f"{path}:{line}: ") and found.text in text.format("08")
    assert placeholders.unfinished(tmp_path) == {"08"}
    write(tmp_path, path, text.format("08b"))
    assert placeholders.unfinished(tmp_path) == {"08b"}, "of a second notebook"


@pytest.mark.parametrize("folder", ["notebooks", "solutions"])
def test_a_notebooks_sources_count_and_its_outputs_do_not(tmp_path, folder):
    text = MARKED.format("11")
    write(tmp_path, f"{folder}/11_a.ipynb", notebook("x = 1", f"y\nz = '{text}'", outputs=[{"text": text}]))
    assert [(p.chapter, p.line) for p in placeholders.found(tmp_path)] == [("11", "cell 2, line 2")]
    write(tmp_path, f"{folder}/11_a.ipynb", notebook("x = 1", outputs=[{"text": text}]))
    assert placeholders.found(tmp_path) == []


@pytest.mark.parametrize(
    "text", ["PLACEHOLDER", "PLACEHOLDER 123", "PLACEHOLDER  08", "tf.placeholder(8)", "placeholder 08"]
)
def test_what_only_looks_like_one(tmp_path, text):
    write(tmp_path, "interview/q08.md", text)
    assert placeholders.found(tmp_path) == []


def test_the_templates_words_without_their_mark(tmp_path):
    assert len(placeholders.template_words()) > 20
    for number, words in enumerate(placeholders.template_words()):
        write(tmp_path, f"interview/q{number}.md", f"So: {words}\nAnd more.")
    found = placeholders.found(tmp_path)
    assert len(found) == len(placeholders.template_words()) and {p.line for p in found} == {"1"}
    assert {p.chapter for p in found} == {""} and "only the mark is gone" in str(found[0])
    assert placeholders.unfinished(tmp_path) == set()


def test_an_empty_course_has_none(tmp_path):
    assert placeholders.found(tmp_path) == []


def test_several_are_found_in_the_order_of_files_and_lines(tmp_path, monkeypatch):
    for path in ("utils/b.py", "utils/a.py", "benchmarks/c.py"):
        write(tmp_path, path, f"x\n{MARKED.format('08')}\n\n  {MARKED.format('16b')}  ")
    inside = type(tmp_path).glob
    monkeypatch.setattr(type(tmp_path), "glob", lambda *a: sorted(inside(*a), reverse=True))
    found = [(p.file, p.line, p.chapter) for p in placeholders.found(tmp_path)]
    files = ("benchmarks/c.py", "utils/a.py", "utils/b.py")
    assert found == [(file, line, chapter) for file in files for line, chapter in (("2", "08"), ("4", "16b"))]
    assert placeholders.found(tmp_path)[1].text == MARKED.format("16b")


@pytest.mark.parametrize("path", ["README.md", "docs/x.md", "commands/x.py", "benchmarks/deep/x.py", "interview/x.txt"])
def test_other_places_are_not_searched(tmp_path, path):
    write(tmp_path, path, MARKED.format("08"))
    assert placeholders.found(tmp_path) == []


def test_short_words_of_the_template_are_an_authors_own():
    assert all(len(words.split()) >= 6 and words == words.strip() for words in placeholders.template_words())
    said = "\n".join(path.read_text("utf-8") for path in placeholders.TEMPLATE.iterdir())
    assert all(words in said for words in placeholders.template_words())
    six = [words for words in placeholders.template_words() if len(words.split()) == 6]
    every = {w.strip() for w in re.findall("PLACEHOLDER" + ' @NN@: ([^"|@\\n]+)', said)}
    assert {w for w in every if len(w.split()) == 6} == {*six}


def test_a_long_line_is_shortened_where_it_is_shown(tmp_path):
    write(tmp_path, "interview/q08.md", MARKED.format("08") + "x" * 200)
    (found,) = placeholders.found(tmp_path)
    assert str(found) == f"interview/q08.md:1: {found.text[:100]}" and len(found.text) > 200
