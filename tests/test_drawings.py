"""Drawings that cannot be read are refused; six of the kinds that chapters need pass, at a phone's width."""

from __future__ import annotations

import base64
import io

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
