"""A claim shows its figure in brackets, checks its bound, and carries both as metadata."""

from __future__ import annotations

import math
import re
from datetime import date
from fractions import Fraction
from types import SimpleNamespace

import IPython
import IPython.display
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils import ROOT, claims
from utils.claims import Bound, ClaimFailed, claim, format_figure, show

SENTENCE = "Dynamic range needs fewer bytes"
finite = st.floats(allow_nan=False, allow_infinity=False, width=32)


@pytest.fixture(autouse=True)
def _fresh_ids(monkeypatch):
    monkeypatch.setattr(claims, "_sentences", {})


@pytest.fixture
def outputs(monkeypatch, displayed) -> list[SimpleNamespace]:
    """What a notebook would show: data and metadata of each output."""
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=True))
    return displayed


def sanitized(text: str) -> str:
    """What nbval compares: the committed sanitizer applied."""
    lines = (ROOT / "tests" / "nbval.cfg").read_text(encoding="utf-8").splitlines()
    found = {line.split(": ")[0]: line.split(": ")[1] for line in lines if ": " in line}
    return re.sub(found["regex"], found["replace"], text)


# ---------------------------------------------------------------- bounds


@pytest.mark.parametrize(
    "bound, inside, outside",
    [
        (Bound(below=0.3), 0.2999, 0.3),
        (Bound(above=0.3), 0.3001, 0.3),
        (Bound(low=1, high=2), 1, 0.999),
        (Bound(low=1, high=2), 2, 2.001),
        (Bound(above=0, high=5), 5, 0),
        (Bound(low=0, below=5), 0, 5),
        (Bound(equals=3), 3, 4),
        (Bound(equals=True), True, False),
        (Bound(equals="int8"), "int8", "int16"),
    ],
)
def test_bound_holds_inside_only(bound, inside, outside):
    assert bound.holds(inside) is True
    assert bound.holds(outside) is False


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"below": math.nan},
        {"above": math.inf},
        {"below": "1"},
        {"low": 2, "high": 1},
        {"above": 1, "below": 1},
        {"above": 1, "high": 1},
        {"low": 1, "below": 1},
        {"equals": 1, "below": 2},
        {"equals": math.nan},
        {"above": 2, "high": 1},
        {"below": True},
        {"low": False, "high": True},
        {"below": Fraction(1, 3)},
        {"equals": Fraction(1, 3)},
    ],
)
def test_bound_that_cannot_work_is_refused(limits):
    with pytest.raises(ValueError, match=r"pass|satisfy|alone|measured"):
        Bound(**limits)


def test_one_point_is_a_bound():
    assert Bound(low=1, high=1).holds(1.0)


@pytest.mark.parametrize(
    "bound, figure",
    [
        (Bound(below=1), "small"),
        (Bound(below=1), True),
        (Bound(equals=True), 1),
        (Bound(equals="1"), 1),
        (Bound(equals=1), "1"),
    ],
)
def test_another_kind_is_not_compared(bound, figure):
    with pytest.raises(TypeError, match=r"same kind|equals="):
        bound.holds(figure)


@given(finite, finite, finite)
def test_bound_agrees_with_its_stored_form(a, b, figure):
    bound = Bound(low=min(a, b), high=max(a, b))
    assert Bound(**bound.stored()).holds(figure) == (min(a, b) <= figure <= max(a, b))


@pytest.mark.parametrize(
    "bound, text",
    [
        (Bound(below=0.3), "below 0.3"),
        (Bound(above=0.12345), "above 0.12345"),
        (Bound(low=1, high=2), "between 1 and 2"),
        (Bound(low=1), "at least 1"),
        (Bound(high=26032), "at most 26,032"),
        (Bound(equals=True), "equal to yes"),
        (Bound(above=0, below=1), "above 0 and below 1"),
    ],
)
def test_bound_reads_as_a_sentence(bound, text):
    assert str(bound) == text


# ---------------------------------------------------------------- figures


@pytest.mark.parametrize(
    "figure, digits, text",
    [
        (26032, 3, "26,032"),
        (0.26234, 3, "0.262"),
        (1.2e-7, 3, "1.20e-07"),
        (0.0, 3, "0"),
        (-0.0, 3, "0"),
        (12.345, 3, "12.3"),
        (999.9, 3, "1,000"),
        (0.99996, 3, "1.000"),
        (12345.6, 3, "12,346"),
        (2.5e6, 3, "2.50e+06"),
        (-3.14159, 4, "-3.142"),
        (1e-4, 2, "0.00010"),
        (5.0, 1, "5"),
        (True, 3, "yes"),
        (np.bool_(False), 3, "no"),
        ("int8", 3, "int8"),
        (None, 3, "–"),
        (np.float32(0.1), 3, "0.100"),
        (np.int64(1234567), 3, "1,234,567"),
    ],
)
def test_figures_for_readers(figure, digits, text):
    assert format_figure(figure, digits) == text


@given(finite, st.integers(3, 7))
def test_a_printed_figure_is_the_figure(value, digits):
    printed = float(format_figure(value, digits).replace(",", ""))
    assert printed == pytest.approx(value, rel=10.0 ** (1 - digits))


# ---------------------------------------------------------------- claims


def test_claim_prints_outside_of_notebooks(capsys):
    claim("Q23-bytes", SENTENCE, measured=0.262, below=0.3, unit="of float32")
    assert capsys.readouterr().out == f"✔ Q23-bytes  {SENTENCE}   ⟦0.262 of float32⟧  (below 0.3)\n"


@pytest.mark.parametrize(
    "measured, bound, text",
    [
        (0.5, {"between": (0, 1)}, "⟦0.500⟧  (between 0 and 1)"),
        (0.5, {"above": 0.1, "below": 1}, "⟦0.500⟧  (above 0.1 and below 1)"),
        (0, {"equals": 0}, "exactly 0"),
        (431080, {"equals": 431080}, "exactly 431,080"),
        ("int8", {"equals": "int8"}, "exactly int8"),
        (True, {"equals": True}, "yes"),
    ],
)
def test_the_bound_stands_beside_the_figure_and_what_must_be_equal_without_brackets(outputs, measured, bound, text):
    claim("Q23-bytes", SENTENCE, measured=measured, **bound)
    assert outputs[0].data["text/plain"] == f"✔ Q23-bytes  {SENTENCE}   {text}"
    figure, *limits = text.split("  ")
    assert f"<br>\n{figure} · " in outputs[0].data["text/html"]
    assert all(f"<small>{limit}</small>" in outputs[0].data["text/html"] for limit in limits)


def test_the_rich_form_of_a_claim_uses_only_what_github_keeps(outputs):
    claim("Q23-bytes", "a < b & <script> c", measured=0.2, below=0.3)
    rich = outputs[0].data["text/html"]
    assert set(re.findall(r"<(\w+)", rich)) == {"blockquote", "p", "b", "br", "small", "code"}
    assert not re.search(r"<\w+ ", rich)  # no attribute at all
    assert "<b>a &lt; b &amp; &lt;script&gt; c</b>" in rich
    claim("Q23-name", "`fit(x < 1)` is a name", measured=1, equals=1)
    assert "<b><code>fit(x &lt; 1)</code> is a name</b>" in outputs[1].data["text/html"]


@pytest.mark.parametrize("rich", ["text/plain", "text/html"])
def test_only_a_bounded_figure_of_a_claim_may_differ(outputs, rich):
    for measured, limit in ((0.1, 1), (0.25, 1), (0.25, 2)):
        claim("Q1-x", SENTENCE, measured=measured, below=limit)
    same, also, other = (sanitized(output.data[rich]) for output in outputs)
    assert same == also != other
    claim("Q1-y", SENTENCE, measured=1, equals=1)
    claim("Q1-y", SENTENCE, measured=2, equals=2)
    assert sanitized(outputs[3].data[rich]) != sanitized(outputs[4].data[rich])


def test_claim_carries_figure_and_bound(outputs):
    claim("Q23-bytes", SENTENCE, measured=np.float64(0.26234), below=0.3)
    assert outputs[0].data["text/plain"] == f"✔ Q23-bytes  {SENTENCE}   ⟦0.262⟧  (below 0.3)"
    assert outputs[0].metadata["course"] == {
        "kind": "claim",
        "id": "Q23-bytes",
        "sentence": SENTENCE,
        "measured": 0.26234,
        "figure": "0.262",
        "bound": {"below": 0.3},
    }


@pytest.mark.parametrize(
    "measured, bound",
    [
        (0.3, {"below": 0.3}),
        (0.3, {"above": 0.3}),
        (0.9, {"between": (1, 2)}),
        (3, {"equals": 4}),
        (False, {"equals": True}),
        ("int8", {"equals": "int16"}),
    ],
)
def test_a_false_claim_raises_and_shows_nothing(outputs, measured, bound):
    with pytest.raises(ClaimFailed, match=r"Q1-x is false here: .*Measured .*it must be"):
        claim("Q1-x", SENTENCE, measured=measured, **bound)
    assert outputs == []


def test_failure_shows_on_which_side(outputs):
    with pytest.raises(ClaimFailed, match=r"Measured 0\.3000001; it must be below 0\.3\."):
        claim("Q1-x", SENTENCE, measured=0.3000001, below=0.3)


@pytest.mark.parametrize(
    "measured", [math.nan, math.inf, None, [1.0], np.zeros(2), np.zeros((1, 1)), object(), "a⟧b", "two\nlines", 1 + 2j]
)
def test_no_figure_no_claim(outputs, measured):
    with pytest.raises(ValueError, match=r"Q1-x.*got"):
        claim("Q1-x", SENTENCE, measured=measured, above=-1)
    assert outputs == []


def test_a_tensorflow_scalar_is_a_figure(outputs):
    claim("Q1-x", SENTENCE, measured=SimpleNamespace(numpy=lambda: np.float32(0.5)), below=1)
    assert outputs[0].metadata["course"]["measured"] == 0.5


@pytest.mark.parametrize("id", ["Q0-x", "Q51-x", "Q1", "q1-x", "Q1-X", "Q01-x", "C1-x", "Q1-x-", "Q1 x", 7, "Q1-x\n"])
def test_ids_have_one_form(id):
    with pytest.raises(ValueError, match="a claim's id is"):
        claim(id, SENTENCE, measured=1, above=0)


@pytest.mark.parametrize("id", ["Q1-x", "Q50-two-words", "Q9-4bit", "C00-map"])
def test_good_ids(outputs, id):
    claim(id, SENTENCE, measured=1, above=0)
    assert outputs[0].metadata["course"]["id"] == id


@pytest.mark.parametrize("sentence", ["", "too short", None, "this hides a ⟦number⟧", "two\nlines of text"])
def test_sentences(sentence):
    with pytest.raises(ValueError, match="Q1-x"):
        claim("Q1-x", sentence, measured=1, above=0)


def test_three_words_are_a_sentence(outputs):
    claim("Q1-x", "it is so", measured=1, above=0)
    assert len(outputs) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"between": 0.5},
        {"between": (1, 2, 3)},
        {"above": 0, "digits": 0},
        {"above": 0, "digits": 2.5},
        {"above": 0, "unit": "⟧"},
        {"between": (None, None)},
    ],
)
def test_bad_arguments_say_what_to_pass(wrong):
    with pytest.raises(ValueError, match=r"got|pass"):
        claim("Q1-x", SENTENCE, measured=1, **wrong)


def test_an_id_belongs_to_one_sentence(outputs):
    claim("Q1-x", SENTENCE, measured=1, above=0)
    claim("Q1-x", SENTENCE, measured=2, above=0)  # a cell that is run again
    with pytest.raises(ValueError, match="already says"):
        claim("Q1-x", SENTENCE + " today", measured=1, above=0)


# ---------------------------------------------------------------- tables

ROWS = [
    {"format": "float32", "bytes": 426964, "accuracy": 0.9123},
    {"format": "int8", "bytes": 113160, "accuracy": 0.9087},
]


def test_table_brackets_only_what_is_bounded(outputs):
    show(ROWS, {"accuracy": (0.85, 0.95)}, caption="Two files")
    assert outputs[0].data["text/plain"] == (
        "Two files\nformat | bytes | accuracy (0.85 to 0.95)\nfloat32 | 426,964 | ⟦0.912⟧\nint8 | 113,160 | ⟦0.909⟧"
    )
    assert "<p><em>Two files</em></p>" in outputs[0].data["text/html"]
    bounded = outputs[0].metadata["course"]["bounded"]
    assert [(b["row"], b["column"], b["figure"]) for b in bounded] == [
        ("float32", "accuracy", "0.912"),
        ("int8", "accuracy", "0.909"),
    ]
    assert bounded[0]["bound"] == {"low": 0.85, "high": 0.95}


def test_table_bounds_one_cell(outputs):
    show(ROWS, {("int8", "accuracy"): (0.9, None)})
    head, other, bounded = outputs[0].data["text/plain"].splitlines()
    assert head == "format | bytes | accuracy" and "⟦" not in other
    assert bounded.endswith("⟦0.909⟧ (at least 0.9)")
    show(ROWS, {"accuracy": (None, 1), ("int8", "accuracy"): (0.9, 0.95)})
    head, other, bounded = outputs[1].data["text/plain"].splitlines()
    assert head.endswith("accuracy (at most 1)")
    assert other.endswith("⟦0.912⟧") and bounded.endswith("⟦0.909⟧ (0.9 to 0.95)")
    assert "accuracy<br><small>at most 1</small>" in outputs[1].data["text/html"]


def test_row_names_may_be_numbers(outputs):
    show([{"bits": 8, "error": 0.1}, {"bits": 4, "error": 0.9}], {(8, "error"): (0, 0.2)})
    assert "8 | ⟦0.100⟧" in outputs[0].data["text/plain"] and "4 | 0.900" in outputs[0].data["text/plain"]


@pytest.mark.parametrize("rich", ["text/plain", "text/html"])
def test_only_brackets_differ_when_only_bounded_figures_do(outputs, rich):
    for accuracy in (0.9, 0.87654321, 0.1234):
        show(
            [{"format": "a <b>", "accuracy": accuracy}, {"format": "c", "accuracy": 1}], {"accuracy": (0, 1)}, digits=5
        )
    texts = {output.data[rich] for output in outputs}
    assert len(texts) == 3 and len({sanitized(text) for text in texts}) == 1


def test_unbounded_figures_survive_the_sanitizer(outputs):
    for size in (100, 101):
        show([{"format": "a", "bytes": size, "accuracy": 0.5}], {"accuracy": (0, 1)})
    assert sanitized(outputs[0].data["text/plain"]) != sanitized(outputs[1].data["text/plain"])
    assert sanitized(outputs[0].data["text/html"]) != sanitized(outputs[1].data["text/html"])


def test_a_column_with_text_in_it_stands_on_the_left_and_numbers_on_the_right(outputs):
    show([{"name": "a", "mixed": 1, "number": 1, "gaps": None}, {"name": "b", "mixed": "–", "number": 2, "gaps": 3}])
    table = outputs[-1].data["text/html"]
    heads = re.findall(r'<th align="(\w+)"[^>]*>(\w+)', table)
    assert heads == [("left", "name"), ("left", "mixed"), ("right", "number"), ("right", "gaps")]
    assert re.findall(r'<td align="(\w+)"', table) == 2 * ["left", "left", "right", "right"]


def test_html_is_escaped(outputs):
    show([{"<i>": "<script>"}], caption="<b>")
    assert "<script>" not in outputs[0].data["text/html"] and "&lt;b&gt;" in outputs[0].data["text/html"]


def test_a_figure_out_of_bounds_is_named(outputs):
    with pytest.raises(ClaimFailed, match=r"row 'int8', column 'accuracy': 0\.9087 is out of bounds; .*at least 0\.91"):
        show(ROWS, {"accuracy": (0.91, None)})
    assert outputs == []


@pytest.mark.parametrize(
    "rows, bounds",
    [
        ([], {}),
        ([{"a": 1}, {"b": 2}], {}),
        ([{"a": 1, "b": 2}, {"b": 2, "a": 1}], {}),
        (ROWS, {"speed": (0, 1)}),
        (ROWS, {("int4", "bytes"): (0, 1)}),
        (ROWS, {"bytes": (None, None)}),
        (ROWS, {"bytes": 5}),
        (ROWS, {"bytes": (1, 2, 3)}),
        (ROWS, {("int8", "bytes", "x"): (0, 1)}),
        ([{"a": "x", "b": math.nan}], {"b": (0, 1)}),
        ([{"a": "⟦1⟧"}], {}),
        ([{"a": "x", "b": None}], {"b": (0, 1)}),
        ([{"a": "x", "b ⟦1⟧": 1}], {}),
        ([{"a": "x", "b\nc": 1}], {}),
        ([{"a": "x", 3: 1}], {}),
        ([{"a": "x", "b": [1, 2]}], {}),
        ([{"a": "x", "b": np.array([1, 2])}], {}),
        ([{"a": "x", "b": date(2026, 11, 27)}], {}),
        ([{"a": "x", "b": b"bytes"}], {}),
        ([{}], {}),
        (iter([{"a": "x"}]), {}),
        ({"a": "x"}, {}),
        (["ab"], {}),
    ],
)
def test_tables_refuse_what_cannot_be_checked(rows, bounds):
    with pytest.raises(ValueError, match=r"got|has|bound|pass"):
        show(rows, bounds)


def test_words_have_no_bound():
    with pytest.raises(TypeError, match="equals="):
        show([{"a": "x", "b": "fast"}], {"b": (0, 1)})


def test_the_sanitizer_replaces_nothing_else():
    assert sanitized("0.262 [0.262] ⟦0.262⟧ 7") == "0.262 [0.262] ⟦…⟧ 7"
    assert sanitized("⟦1\n2⟧") == "⟦1\n2⟧"
