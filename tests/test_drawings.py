"""Drawings that cannot be read are refused; six of the kinds that chapters need pass, at a phone's width."""

from __future__ import annotations

import base64
import io
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from utils import drawings
from utils.drawings import Area

ALT = "A drawing that says how it works, in words"


def scale_and_zero_point():
    with drawings.canvas(height=150, alt="A ruler with sixteen levels; the real number 0.0 lies on level -3") as d:
        d.text(8, 12, "real numbers, a step of 0.25 apart", size=9, align="left")
        ruler = d.ruler(72, range(-8, 8), scale=0.25, zero_point=-3, label=range(-8, 8, 5))
        d.text(8, 104, "integers of 4 bits", size=9, align="left")
        x, y = ruler.at(1.6)
        d.arrow((x, 34), (x, y - 3))
        d.text(x, 27, "1.6", size=9, bold=True)
        x, _ = ruler.at_level(3)
        d.arrow((x, 108), (x, y + 9))
        d.text(x, 117, "stored as 3, comes back as 1.5", size=9)
        d.text(ruler.at(0)[0], 138, "zero point: 0.0 is exactly level −3", size=9, bold=True)


def integer_layer():
    with drawings.canvas(height=172, alt="int8 inputs and weights give int32 sums, which become int8 again") as d:
        data = d.box(48, 26, "input\nint8", width=80)
        weights = d.box(48, 84, "weights\nint8", width=80)
        multiply = d.box(176, 55, "multiply\nand add", round=True)
        total = d.box(306, 55, "sum\nint32", shade=1, width=80)
        requantize = d.box(306, 140, "× M, round,\n+ zero point", round=True, size=9)
        output = d.box(48, 140, "output\nint8", width=80)
        d.arrow(data, multiply)
        d.arrow(weights, multiply)
        d.arrow(multiply, total)
        d.arrow(total, requantize, "requantize", side="left")
        d.arrow(requantize, output, "clip to −128 … 127")


def fake_quantization():
    with drawings.canvas(height=150, alt="Fake quantization stands before, beside and behind a convolution") as d:
        row = d.row(["input", "fake\nquant", "Conv", "ReLU", "fake\nquant", "next"], 26, size=9)
        weights = d.box(row[2].x, 134, "weights, float32", size=9)
        fake = d.box(row[2].x, 82, "fake\nquant", dashed=True, size=9)
        d.arrow(weights, fake, "as stored")
        d.arrow(fake, row[2], "rounded to 8 bits, still float")


def conversion():
    steps = [
        "Keras model",
        "SavedModel\none graph for each signature",
        "MLIR: fuse, fold, quantize",
        "FlatBuffer, .tflite",
    ]
    with drawings.canvas(height=200, alt="A Keras model becomes a graph, is rewritten, and is stored") as d:
        d.column(steps, 180, top=6, between=["trace", "import", "write"])


def pruning_mask():
    weights = np.array([[0.8, -0.1, 0.3, 0.05], [-0.2, 0.9, -0.6, 0.1], [0.5, 0.07, -0.3, -0.9]])
    kept = abs(weights) >= 0.3
    with drawings.canvas(height=136, alt="Weights below 0.3 are struck out; the mask has ones where they stay") as d:
        left = d.grid(6, 34, weights, cell=32, digits=2, mask=kept)
        d.text(left.x, 18, "weights", bold=True)
        right = d.grid(228, 34, kept.astype(int), cell=32, shades=kept)
        d.text(right.x, 18, "mask", bold=True)
        d.arrow(left, right, "keep those\nof 0.3 and more")


def federated_averaging():
    sent = [
        ("server", "client A", "weights"),
        ("server", "client B", "weights"),
        [("client A", "client A", "train"), ("client B", "client B", "train")],
        ("client A", "server", "update"),
        ("client B", "server", "update"),
        ("server", "server", "average"),
    ]
    with drawings.canvas(height=205, alt="A server sends weights to two clients and averages their updates") as d:
        d.messages(["server", "client A", "client B"], sent, gap=26)


def workers():
    bars = {"worker 1": [(0, 3, "step"), (3, 4, "wait"), (4, 5, "sum")], "worker 2": [(0, 4, "step"), (4, 5, "sum")]}
    with drawings.canvas(height=90, alt="The faster of two workers waits before they add up") as d:
        d.timeline(bars, top=8, unit="s")


ALL = [scale_and_zero_point, integer_layer, fake_quantization, conversion, pruning_mask, federated_averaging, workers]


@pytest.mark.parametrize("draw", ALL, ids=lambda draw: draw.__name__)
def test_a_drawing_is_grey_sharp_and_as_wide_as_a_phone(displayed, draw):
    draw()
    image = Image.open(io.BytesIO(base64.b64decode(displayed[0].data["image/png"]))).convert("RGB")
    assert image.width == 3 * drawings.WIDTH and displayed[0].metadata["image/png"]["width"] == 540
    assert displayed[0].data["text/plain"] == f"Figure: {displayed[0].metadata['image/png']['alt']}"
    pixels = np.asarray(image, int)
    assert (pixels.max(-1) - pixels.min(-1)).max() == 0  # no colour that a printer could lose
    assert (pixels < 80).any() and pixels[0, 0].tolist() == [255, 255, 255]


def drawn(*shapes, height: float = 100):
    """Draw each of `shapes`, functions of a canvas."""
    with drawings.canvas(height=height, alt=ALT) as d:
        for shape in shapes:
            shape(d)


@pytest.mark.parametrize(
    "shapes, words",
    [
        ((lambda d: d.text(50, 50, "one"), lambda d: d.text(55, 55, "two")), "'one' and 'two' overlap"),
        ((lambda d: d.text(350, 50, "too far to the right"),), "leaves the canvas"),
        ((lambda d: d.box(180, 95, "low"),), "leaves the canvas"),
        ((lambda d: d.box(180, 50, "far too long for its box", width=40),), "stands on the border"),
        ((lambda d: d.box(180, 50, width=60, height=60), lambda d: d.text(150, 50, "edge")), "border of 'a box'"),
        ((lambda d: d.text(180, 50, "crossed"), lambda d: d.arrow((10, 50), (350, 50))), "crosses the text 'crossed'"),
        ((lambda d: d.text(180, 50, "crossed"), lambda d: d.line((150, 10), (210, 90))), "crosses"),
        ((lambda d: d.ruler(50, range(-8, 8), scale=0.1, zero_point=0),), "overlap"),
    ],
)
def test_what_cannot_be_read_is_refused(displayed, shapes, words):
    with pytest.raises(ValueError, match=f"cannot be read: .*{words}"):
        drawn(*shapes)
    assert displayed == []


@pytest.mark.parametrize(
    "shape, words",
    [
        (lambda d: d.text(9, 9, "x", size=8), "letters of 8"),
        (lambda d: d.text(9, 9, "x", align="middle"), "align is"),
        (lambda d: d.box(50, 50, "x", shade=2), "a shade is"),
        (lambda d: d.arrow((1, 1), (1, 1)), "needs two places"),
        (lambda d: d.arrow((1, 1), (9, 1), "x", side="top"), "side is"),
        (lambda d: d.row(["a long text"] * 6, 50), "a row of 6 boxes needs"),
        (lambda d: d.row(["a", "b"], 50, between=["x", "y"]), "are 1 arrows; got 2"),
        (lambda d: d.ruler(50, [0, 2], scale=1, zero_point=0), "one after the other"),
        (lambda d: d.grid(5, 5, [[1, 2], [3]]), "rows of 2"),
        (lambda d: d.grid(5, 5, [[1, 2]], mask=[[True]]), "mask must have"),
        (lambda d: d.grid(5, 5, [[123456]]), "larger cell="),
        (lambda d: d.timeline({"a": []}, top=5, unit="s"), "needs bars"),
        (lambda d: d.timeline({"a": [(2, 1, "x")]}, top=5, unit="s"), "needs bars"),
        (lambda d: d.messages(["a"], [("a", "b", "x")]), r"name \['b'\]"),
    ],
)
def test_bad_arguments_say_what_to_pass(displayed, shape, words):
    with pytest.raises(ValueError, match=words):
        drawn(shape)
    assert displayed == []


@pytest.mark.parametrize("size", [(361, 50), (0, 50), (100, 0)])
def test_a_canvas_fits_a_phone(size):
    with pytest.raises(ValueError, match="at most 360"), drawings.canvas(*size, alt=ALT):
        pass


def test_an_alternative_text_is_needed(displayed):
    with pytest.raises(ValueError, match="alt must say"), drawings.canvas(alt="too short") as d:
        d.text(50, 50, "x")
    assert displayed == []


def test_an_error_inside_shows_nothing(displayed):
    with pytest.raises(ZeroDivisionError), drawings.canvas(alt=ALT):
        raise ZeroDivisionError
    assert displayed == []


@given(st.integers(-100, 100), st.floats(0.01, 10), st.integers(-120, 120))
def test_a_ruler_places_numbers_by_its_scale_and_zero_point(zero_point, scale, level):
    ruler = drawings.Ruler(10, 0, 90, 40, scale, zero_point, first=-128, step=2.0, line=20)
    assert ruler.at(0) == ruler.at_level(zero_point)
    assert ruler.at(scale * (level - zero_point))[0] == pytest.approx(ruler.at_level(level)[0])
    assert ruler.at_level(level + 1)[0] - ruler.at_level(level)[0] == pytest.approx(2)


BOX = Area(40, 40, 60, 60)


@pytest.mark.parametrize(
    "end, expected",
    [
        (Area(100, 45, 120, 55), ((60, 50), (100, 50))),
        (Area(0, 42, 20, 62), ((40, 51), (20, 51))),
        (Area(45, 80, 55, 90), ((50, 60), (50, 80))),
        (Area(45, 0, 55, 10), ((50, 40), (50, 10))),
        (Area(80, 80, 100, 100), ((60, 60), (80, 80))),
        (Area(100, 57, 120, 77), ((60, 52.833), (100, 64.167))),  # three units of twenty do not face each other
        (Area(50, 90, 50, 90), ((50, 60), (50, 90))),
    ],
)
def test_arrows_leave_and_reach_borders(end, expected):
    assert np.allclose(drawings._ends(BOX, end), expected, atol=1e-3)


@pytest.mark.parametrize(
    "line, crosses",
    [
        (((0, 50), (100, 50)), True),
        (((0, 0), (100, 100)), True),
        (((50, 45), (50, 55)), True),  # wholly inside
        (((0, 39), (100, 39)), False),
        (((0, 50), (35, 50)), False),
        (((0, 70), (30, 0)), False),
        (((61, 0), (61, 100)), False),
    ],
)
def test_which_lines_cross(line, crosses):
    assert drawings._crosses(*line, BOX) == crosses


@pytest.mark.parametrize(
    "value, digits, text", [(-0.001, 2, "0.00"), (-1.5, 2, "−1.50"), (3, None, "3"), (0, None, "0")]
)
def test_numbers_in_drawings(value, digits, text):
    assert drawings._real(value, digits) == text


@pytest.fixture
def unpainted(displayed, monkeypatch):
    """Drawings of no pixels: painting takes a third of a second."""
    monkeypatch.setattr(drawings.plots, "_png", lambda fig, pixels_per_inch: "")


def letters(d, text):
    """The letters on a canvas that say this."""
    (found,) = [one for one in d.axes.texts if one.get_text() == text]
    return found


@pytest.mark.parametrize(
    ("end", "side", "place", "align"),
    [
        ((200, 50), "", "above", "center"),
        ((150, 100), "", "above", "center"),  # as far to the right as down
        ((149, 100), "", "right", "left"),
        ((100, 90), "", "right", "left"),
        ((200, 50), "below", "below", "center"),
        ((100, 90), "left", "left", "right"),
        ((100, 90), "above", "above", "center"),
    ],
)
def test_the_text_of_an_arrow_stands_beside_its_middle(unpainted, end, side, place, align):
    with drawings.canvas(height=150, alt=ALT) as d:
        start = (100, 50)
        d.arrow(start, end, "two\nlines", side=side)
        made = letters(d, "two\nlines")
        dx, dy = made.get_position()[0] - (start[0] + end[0]) / 2, made.get_position()[1] - (start[1] + end[1]) / 2
        away = 4 + 2 * drawings.SMALL * 0.62
        expected = {"above": (0, -away), "below": (0, away), "left": (-6, 0), "right": (6, 0)}[place]
        assert (dx, dy) == pytest.approx(expected) and made.get_ha() == align
        assert made.get_fontsize() == drawings.SMALL
        d._lines.clear()  # where it stands is asked here, not whether a slanted arrow leaves it room


def arrow_heads(d):
    return [patch.get_arrowstyle() for patch in d.axes.patches if hasattr(patch, "get_arrowstyle")]


@pytest.mark.parametrize(("both", "head"), [(False, "-|>"), (True, "<|-|>")])
def test_an_arrow_has_its_head_at_the_end_and_a_line_has_none(unpainted, both, head):
    with drawings.canvas(alt=ALT) as d:
        d.arrow((10, 20), (90, 20), both=both)
        d.line((10, 90), (90, 90))
        arrow, line = arrow_heads(d)
        assert (arrow.arrow, line.arrow) == (head, "-")


def test_what_is_simulated_is_dashed_and_all_else_is_not(unpainted):
    with drawings.canvas(alt=ALT) as d:
        for k, dashed in enumerate((False, True)):
            d.box(60 + 100 * k, 20, dashed=dashed, width=20, height=20)
            d.arrow((20, 50 + 9 * k), (300, 50 + 9 * k), dashed=dashed)
            d.line((20, 90 + 9 * k), (300, 90 + 9 * k), dashed=dashed)
        solid = [patch.get_linestyle() in ("-", "solid") for patch in d.axes.patches]
    assert solid == [True] * 3 + [False] * 3


def test_a_box_is_as_large_as_its_text_or_as_asked(unpainted):
    with drawings.canvas(height=200, alt=ALT) as d:
        text = d.text(60, 20, "float32")
        own, wide, tall = (
            d.box(60, 70, "float32"),
            d.box(200, 70, "float32", width=99),
            d.box(60, 140, "float32", height=55),
        )
        assert own.right - own.left == pytest.approx(text.right - text.left + 14)
        assert own.bottom - own.top == pytest.approx(text.bottom - text.top + 10)
        assert wide.right - wide.left == 99 and wide.bottom - wide.top == pytest.approx(own.bottom - own.top)
        assert tall.bottom - tall.top == 55 and tall.right - tall.left == pytest.approx(own.right - own.left)
        assert {(area.x, area.y) for area in (own, wide, tall)} == {(60, 70), (200, 70), (60, 140)}


@pytest.mark.parametrize(("bold", "size"), [(False, 11), (True, 9)])
def test_letters_are_as_large_and_as_heavy_as_asked(unpainted, bold, size):
    with drawings.canvas(alt=ALT) as d:
        d.text(60, 20, "written", bold=bold, size=size)
        d.box(60, 80, "boxed", bold=bold, size=size)
        for text in ("written", "boxed"):
            made = letters(d, text)
            assert (made.get_fontsize(), made.get_weight()) == (size, "bold" if bold else "normal")


@pytest.mark.parametrize(("align", "side"), [("left", "left"), ("right", "right")])
def test_text_begins_or_ends_where_it_is_put(unpainted, align, side):
    with drawings.canvas(alt=ALT) as d:
        assert getattr(d.text(100, 50, "words", align=align), side) == pytest.approx(100, abs=1)
        assert d.text(100, 20, "words").x == pytest.approx(100, abs=1)


@pytest.mark.parametrize(("shade", "grey"), [(0, 1.0), (1, 0.75), (0.4, 0.9)])
def test_a_shade_is_white_to_a_grey_on_which_letters_are_read(unpainted, shade, grey):
    with drawings.canvas(alt=ALT) as d:
        d.box(60, 50, "x", shade=shade)
        assert d.axes.patches[0].get_facecolor()[:3] == pytest.approx((grey,) * 3)


@pytest.mark.parametrize("shade", [-0.01, 1.01])
def test_no_other_shade_is_there(unpainted, shade):
    with pytest.raises(ValueError, match="a shade is 0"):
        drawn(lambda d: d.box(60, 50, "x", shade=shade))


def test_a_row_fills_the_width_with_equal_gaps(unpainted):
    with drawings.canvas(alt=ALT) as d:
        boxes = d.row(["a", "longer", "c"], 40)
        gaps = [b.left - a.right for a, b in itertools.pairwise(boxes)]
        assert gaps == pytest.approx(gaps[:1] * 2) and gaps[0] >= 14
        assert (boxes[0].left, boxes[-1].right) == (pytest.approx(4), pytest.approx(356))
        assert [box.y for box in boxes] == [40] * 3
        assert len(arrow_heads(d)) == 2
        inner = d.row(["a", "b"], 90, left=100, right=200, shade=1)
        assert (inner[0].left, inner[-1].right) == (pytest.approx(100), pytest.approx(200))


def test_a_column_goes_down_with_the_gap_asked_for(unpainted):
    with drawings.canvas(height=220, alt=ALT) as d:
        boxes = d.column(["one", "two\nlines", "three"], 100, top=8, gap=30)
        assert boxes[0].top == pytest.approx(8) and len({(box.left, box.right) for box in boxes}) == 1
        assert [b.top - a.bottom for a, b in itertools.pairwise(boxes)] == pytest.approx([30, 30])
        heights = [box.bottom - box.top for box in boxes]
        assert heights == pytest.approx([11 * 1.3 + 10, 2 * 11 * 1.3 + 10, 11 * 1.3 + 10])
        plain = d.column(["a", "b"], 250, top=8, size=9)
        assert plain[1].top - plain[0].bottom == pytest.approx(22)
        assert plain[0].bottom - plain[0].top == pytest.approx(9 * 1.3 + 10)


def test_a_ruler_writes_real_numbers_above_and_integers_below(unpainted):
    with drawings.canvas(height=120, alt=ALT) as d:
        ruler = d.ruler(50, range(-2, 3), scale=0.5, zero_point=1, left=20, right=320)
        assert [text.get_text() for text in d.axes.texts] == [
            *("−1.50", "−2", "−1.00", "−1", "−0.50", "0", "0.00", "1", "0.50", "2")
        ]
        above, below = d.axes.texts[::2], d.axes.texts[1::2]
        assert {text.get_position()[1] for text in above} == {35} and {t.get_position()[1] for t in below} == {65}
        assert [text.get_weight() for text in above] == ["normal"] * 3 + ["bold", "normal"]
        assert [text.get_position()[0] for text in below] == [50, 110, 170, 230, 290]
        assert (ruler.left, ruler.right, ruler.line) == (20, 320, 50)


@pytest.mark.parametrize(("digits", "written"), [(1, "−0.5"), (3, "−0.500")])
def test_a_ruler_names_the_levels_asked_for_and_always_its_zero(unpainted, digits, written):
    with drawings.canvas(height=100, alt=ALT) as d:
        d.ruler(50, range(-4, 5), scale=0.5, zero_point=0, label=[-1], digits=digits)
        zero = f"{0:.{digits}f}"
        assert [text.get_text() for text in d.axes.texts] == [written, "−1", zero, "0"]
        heights = [abs(np.ptp(line.get_ydata())) for line in d.axes.get_lines()[1:]]
        assert heights == [8, 8, 8, 14, 14, 8, 8, 8, 8]


def test_a_grid_strikes_out_what_the_mask_leaves_out(unpainted):
    with drawings.canvas(height=120, alt=ALT) as d:
        area = d.grid(10, 20, [[0.5, -1], ["a", 2]], mask=[[True, False], [True, True]], shades=[[0, 1], [0.4, 0]])
        assert area == Area(10, 20, 62, 72)
        assert [text.get_text() for text in d.axes.texts] == ["0.5", "−1", "a", "2"]
        assert [text.get_position() for text in d.axes.texts] == [(23, 33), (49, 33), (23, 59), (49, 59)]
        assert [text.get_color() for text in d.axes.texts] == ["black", drawings.GREY, "black", "black"]
        assert [patch.get_facecolor()[0] for patch in d.axes.patches] == pytest.approx([1, 0.75, 0.9, 1])
        (stroke,) = d.axes.get_lines()
        assert stroke.get_xydata().tolist() == [[39, 43], [59, 23]]


def test_bars_of_a_time_line_are_as_long_as_they_last(unpainted):
    with drawings.canvas(height=100, alt=ALT) as d:
        d.timeline({"a": [(10, 12, "x"), (12, 18, "y")], "b": [(14, 20, "x")]}, top=8, unit="ms", left=52)
        boxes = [area for _, area in d._boxes]
        unit = (360 - 8 - 52) / 10
        assert [box.left for box in boxes] == pytest.approx([52, 52 + 2 * unit, 52 + 4 * unit])
        assert [box.right for box in boxes] == pytest.approx([52 + 2 * unit, 52 + 8 * unit, 352])
        assert [box.y for box in boxes] == [18, 18, 44]
        looks = [patch.get_facecolor()[0] for patch in d.axes.patches if not hasattr(patch, "get_arrowstyle")]
        assert looks == pytest.approx([0.75, 1, 0.75])  # one grey for each text
        assert letters(d, "10") and letters(d, "20 ms")


@pytest.mark.parametrize("times", [(1, 1), (2, 1)])
def test_a_bar_takes_some_time(unpainted, times):
    with pytest.raises(ValueError, match="begin < end"):
        drawn(lambda d: d.timeline({"a": [(0, 3, "fine"), (*times, "x")]}, top=5, unit="s"))


def test_the_sum_of_margins_decides_what_overlaps_and_what_is_inside():
    one = Area(0, 0, 10, 10)
    assert (one.x, one.y) == (5, 5)
    for other, overlaps in (
        (Area(9.5, 0, 20, 10), False),
        (Area(9.4, 0, 20, 10), True),
        (Area(0, 9.5, 10, 20), False),
        (Area(0, 9.4, 10, 20), True),
        (Area(20, 0, 30, 10), False),
        (Area(0, 20, 10, 30), False),
    ):
        assert one.overlaps(other) is other.overlaps(one) is overlaps
    assert one.overlaps(Area(9, 0, 20, 10), by=0.9) and not one.overlaps(Area(9, 0, 20, 10), by=1)
    assert one.within(one) and one.within(one, 0)
    for side in range(4):
        for off, inside in ((0.5, True), (0.6, False)):
            edges = [0, 0, 10, 10]
            edges[side] += off if side < 2 else -off
            assert one.within(Area(*edges)) is inside


@pytest.mark.parametrize(("width", "pixels"), [(360, 540), (100, 150)])
def test_a_drawing_is_shown_half_as_large_again_as_its_units(unpainted, displayed, width, pixels):
    with drawings.canvas(width, 50, alt=ALT) as d:
        d.text(40, 20, "x")
        assert (d.width, d.height) == (width, 50)
    assert displayed[0].metadata["image/png"] == {"alt": ALT, "width": pixels, "drawing": True}


def test_messages_leave_their_sender_for_the_next_line(unpainted):
    with drawings.canvas(height=150, alt=ALT) as d:
        area = d.messages(["a", "b", "c"], [("a", "c", "far"), ("b", "a", "back")], gap=40)
        places = {name: letters(d, name).get_position() for name in "abc"}
        assert places == {"a": (60, 16), "b": (180, 16), "c": (300, 16)}
        assert [letters(d, text).get_position()[0] for text in ("far", "back")] == [120, 120]
        assert letters(d, "back").get_position()[1] - letters(d, "far").get_position()[1] == 40
        assert (area.left, area.top, area.right) == (0, 16, 360)
        starts = [(a[0], b[0]) for name, a, b in d._lines if name == "an arrow"]
        assert starts == [(60, 300), (180, 60)]
