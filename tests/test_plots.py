"""Pictures have alternative text and labelled axes; sliders show a still picture where nobody moves them."""

from __future__ import annotations

import base64
import itertools
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils import plots

ALT = "Error falls by six decibels with every bit"


@pytest.fixture
def unpainted(monkeypatch):
    """Pictures of no pixels: painting takes a third of a second."""
    monkeypatch.setattr(plots, "_png", lambda fig, pixels_per_inch: "")


def drawn(x_label: str = "bits", y_label: str = "error in dB"):
    figure, axes = plots.figure()
    axes.plot([1, 2, 3], [3, 2, 1], label="measured")
    axes.set(xlabel=x_label, ylabel=y_label)
    return figure


def test_a_picture_is_shown_with_its_text(displayed):
    plots.show(drawn(), ALT)
    assert base64.b64decode(displayed[0].data["image/png"]).startswith(b"\x89PNG")
    assert displayed[0].data["text/plain"] == f"Figure: {ALT}"
    assert displayed[0].metadata == {"image/png": {"alt": ALT, "width": 605}}


def test_the_same_figure_gives_the_same_bytes(displayed):
    for _ in range(2):
        plots.show(drawn(), ALT)
    assert displayed[0].data["image/png"] == displayed[1].data["image/png"]


@pytest.mark.parametrize("alt", ["", "a curve", None, "x " * 4, "The error at eight bits is ⟦0.1⟧ here"])
def test_text_is_needed(displayed, alt):
    with pytest.raises(ValueError, match="alt"):
        plots.show(drawn(), alt)
    assert displayed == []


@pytest.mark.parametrize("labels, side", [(("", "error"), "x"), (("bits", ""), "y")])
def test_labels_are_needed(displayed, labels, side):
    with pytest.raises(ValueError, match=f"no {side} label"):
        plots.show(drawn(*labels), ALT)


def test_pictures_without_axes_need_no_labels(unpainted, displayed):
    figure, axes = plots.figure(2)
    axes[0].imshow([[0, 1], [1, 0]])
    axes[0].axis("off")
    axes[1].set_axis_off()
    plots.show(figure, ALT)
    assert len(displayed) == 1


def test_shared_axes_are_labelled_once(unpainted, displayed):
    figure, axes = plots.figure(2, sharey=True)
    for one in axes:
        one.plot([1, 2])
        one.set_xlabel("bits")
    with pytest.raises(ValueError, match="no y label"):
        plots.show(figure, ALT)
    axes[0].set_ylabel("error")
    plots.show(figure, ALT)
    assert len(displayed) == 1


def test_a_second_scale_needs_its_own_label(displayed):
    figure = drawn()
    twin = figure.axes[0].twinx()
    twin.plot([1, 2])
    with pytest.raises(ValueError, match=r"axes 1 .* no y label"):
        plots.show(figure, ALT)


def test_a_colour_bar_needs_no_label(unpainted, displayed):
    figure, axes = plots.figure()
    picture = axes.pcolormesh([[0, 1], [1, 0]])
    axes.set(xlabel="input", ylabel="output")
    figure.colorbar(picture)
    plots.show(figure, ALT)
    assert len(displayed) == 1


@pytest.mark.parametrize("wrong", [None, "figure", [1, 2]])
def test_what_is_no_figure(wrong):
    with pytest.raises(TypeError, match=r"plots\.figure"):
        plots.show(wrong, ALT)


def test_pyplot_is_not_used():
    before = "matplotlib.pyplot" in sys.modules
    plots.figure(2, 2)
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_figure_has_the_size_and_axes_asked_for():
    figure, axes = plots.figure(3, 2, width=6, height=4)
    assert axes.shape == (2, 3) and tuple(figure.get_size_inches()) == (6, 4)


@pytest.mark.parametrize("stored", ["1", "yes"])
def test_stored_outputs_show_the_start(unpainted, displayed, monkeypatch, stored):
    monkeypatch.setenv("COURSE_STORED", stored)
    seen = []
    plots.explore(
        lambda **values: seen.append(values) or drawn(), alt=ALT, bits=(2, 8, 16), kind=["per tensor", "per channel"]
    )
    assert seen == [{"bits": 8, "kind": "per tensor"}] and len(displayed) == 1


@pytest.mark.parametrize("stored", ["", "0"])
def test_readers_get_controls(monkeypatch, stored):
    import ipywidgets

    monkeypatch.setenv("COURSE_STORED", stored)
    made = {}
    monkeypatch.setattr(ipywidgets, "interact", lambda function, **controls: made.update(controls))
    plots.explore(lambda **values: drawn(), alt=ALT, bits=(2, 8, 16), limit=(0.0, 0.5, 1.0), kind=["a", "b"])
    assert isinstance(made["bits"], ipywidgets.IntSlider) and made["bits"].value == 8 and made["bits"].max == 16
    assert isinstance(made["limit"], ipywidgets.FloatSlider) and made["limit"].step == pytest.approx(0.01)
    assert made["kind"].options == ("a", "b") and made["kind"].value == "a"


@pytest.mark.parametrize("spec", [(1, 2), (3, 2, 4), (1, 5, 4), (2, 2, 2), [], "ab", 5])
def test_a_control_has_a_start_within(spec):
    with pytest.raises(ValueError, match="bits must be"):
        plots.explore(lambda **values: drawn(), alt=ALT, bits=spec)


@pytest.mark.parametrize(
    "phrase, y, scale, ok",
    [
        ("Error falls", [3, 2, 1], "linear", True),
        ("Error falls", [3, 2.99, 1], "linear", True),
        ("Error falls", [1, 2, 3], "linear", False),
        ("Error falls", [3, 3.01, 3], "linear", False),
        ("Error falls", [3, 1, 3], "linear", False),
        ("Error falls", [3, 1, 2, 0.5], "linear", False),  # half of the way back up
        ("Error falls", [1000, 900, 1], "log", True),
        ("Error falls", [1, 1e-3, 1e-2], "log", False),  # on a linear axis nobody would see it rise
    ],
)
def test_what_the_text_says_is_checked_against_what_is_drawn(unpainted, displayed, phrase, y, scale, ok):
    figure, axes = plots.figure(title="Every bit costs half")
    axes.plot(range(len(y)), y)
    axes.set(xlabel="bits", ylabel="error", yscale=scale)
    axes.set_ylim(*((0, 4) if scale == "linear" else (1e-4, 1e4)))
    if ok:
        plots.show(figure, ALT, says={phrase: y})
        assert displayed[0].metadata["image/png"]["says"] == [phrase]
        assert displayed[0].metadata["image/png"]["title"] == "Every bit costs half"
    else:
        with pytest.raises(ValueError, match="alt says 'Error falls', that is down, but the numbers go"):
            plots.show(figure, ALT, says={phrase: y})


def test_a_trend_runs_from_left_to_right_as_the_eye_reads(unpainted, displayed):
    for limits, phrase in (((2, 8), "rises"), ((8, 2), "falls")):
        figure, axes = plots.figure()
        axes.plot([8, 4, 2], [3, 2, 1], label="a")
        axes.set(xlabel="bits", ylabel="accuracy", xlim=limits)
        plots.show(figure, f"A line that {phrase} from left to right", says={phrase: [3, 2, 1]})
    assert len(displayed) == 2


@pytest.mark.parametrize("limits, end", [((2, 8), 3), ((8, 2), 1)])
def test_labels_stand_at_the_right_end_of_any_axis(limits, end):
    _, axes = plots.figure()
    axes.plot([8, 4, 2, 3], [3, 2, 1, float("nan")], label="a")
    axes.set_xlim(limits)
    plots.label_lines(axes)
    assert axes.texts[0].xy[1] == pytest.approx(end)


@pytest.mark.parametrize("word", sorted(plots.TRENDS))
def test_every_word_for_a_trend_is_true_of_one_kind_of_numbers(unpainted, displayed, word):
    alt = f"A line that {word} from left to right"
    runs = {"up": [0, 1, 2], "down": [2, 1, 0], "flat": [1, 1.02, 1], "both": [0, 2, 0]}
    for run, y in runs.items():
        figure, axes = plots.figure()
        axes.bar(range(3), y)
        axes.set(xlabel="bits", ylabel="error", ylim=(0, 2))
        if run == plots.TRENDS[word]:
            plots.show(figure, alt, says={word: y})
        else:
            with pytest.raises(ValueError, match="but the numbers go"):
                plots.show(figure, alt, says={word: y})
    assert len(displayed) == 1


@pytest.mark.parametrize(
    "says, words",
    [
        ({"grows": [3, 2, 1]}, "which alt does not have"),
        ({"falls": [3, 2, 0]}, "does not show"),
        ({"Error": [3, 2, 1]}, "must say how the numbers run"),
    ],
)
def test_says_names_a_phrase_its_numbers_and_a_trend(unpainted, displayed, says, words):
    with pytest.raises(ValueError, match=words):
        plots.show(drawn(), ALT, says=says)
    assert displayed == []


@pytest.mark.parametrize(
    "alt, labels, swapped",
    [
        ("Accuracy over bits of the weights: it falls", ("bits of the weights", "accuracy"), False),
        ("Accuracy over bits of the weights: it falls", ("accuracy", "bits of the weights"), True),
        ("Time for each picture over the batch: it falls", ("pictures in a batch", "ms a picture"), False),
        ("Time for each picture over the batch: it falls", ("time in ms", "batch"), True),
        ("Two lines that fall: accuracy over bits of the weights", ("bits of the weights", "accuracy"), False),
        ("Two lines that fall: accuracy over bits of the weights", ("accuracy", "bits of the weights"), True),
        ("Noise over frequency, in two curves of points", ("Hz", "dB"), False),  # nothing to compare
        ("Two curves of points that cross over", ("bits", "error"), False),
    ],
)
def test_swapped_axis_labels_are_noticed(unpainted, displayed, alt, labels, swapped):
    if swapped:
        with pytest.raises(ValueError, match="swap labels or words"):
            plots.show(drawn(*labels), alt)
    else:
        plots.show(drawn(*labels), alt)
        assert len(displayed) == 1


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(1, 20)), min_size=1, max_size=8))
def test_spread_keeps_order_and_never_overlaps(things):
    places, heights = [sorted(p for p, _ in things), [h for _, h in things]]
    moved = plots.kept_apart(places, heights)
    for k in range(1, len(things)):
        assert moved[k] - moved[k - 1] >= (heights[k] + heights[k - 1]) / 2 - 1e-6
    free = all(b - a >= (g + h) / 2 for a, b, g, h in zip(places, places[1:], heights, heights[1:], strict=False))
    assert not free or moved == pytest.approx(places)


def test_labels_at_the_ends_do_not_overlap():
    figure, axes = plots.figure()
    for k in range(6):
        axes.plot([1, 2, 3], [0, 1, 1 + k / 100], label=f"a line with a long name {k}")
    axes.set(xlabel="bits", ylabel="dB")
    plots.label_lines(axes)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 6 and all(box.x1 <= figure.bbox.x1 + 1 for box in boxes)
    boxes.sort(key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 + 1 for below, above in itertools.pairwise(boxes))
    assert [text.get_color() for text in axes.texts] == list(plots.COLORS[:6])
    with pytest.raises(ValueError, match="no line has a label"):
        plots.label_lines(plots.figure()[1])


def test_lines_shows_each_line_by_its_name(unpainted, displayed):
    two = {"a": [3, 2, 1], "b": [1, 2, 3]}
    plots.lines([1, 2, 3], two, x_label="bits", y_label="error in dB", alt=ALT, ylim=(0, 4))
    assert len(displayed) == 1
    assert displayed[0].data["text/plain"] == f"Figure: {ALT}"
    plots.lines([1, 2, 3], two, x_label="bits", y_label="error in dB", alt=ALT, title="It falls", says={"falls": "a"})
    assert displayed[1].metadata["image/png"]["says"] == ["falls"]
    with pytest.raises(ValueError, match="the numbers go up from"):
        plots.lines([1, 2, 3], two, x_label="bits", y_label="error in dB", alt=ALT, says={"falls": "b"})
    with pytest.raises(ValueError, match=r"says names the lines \['c'\]"):
        plots.lines([1, 2, 3], two, x_label="bits", y_label="error in dB", alt=ALT, says={"falls": "c"})
    with pytest.raises(ValueError, match="nothing to plot"):
        plots.lines([1], {}, x_label="bits", y_label="dB", alt=ALT)
    with pytest.raises(ValueError, match="label"):
        plots.lines([1, 2], {"a": [1, 2]}, x_label="", y_label="dB", alt=ALT)


def test_a_line_that_leaves_a_logarithmic_axis_is_named_at_its_edge(displayed):
    """Not far below it, where its name would leave no room for the picture (a warning, which is an error here)."""
    lines = {"vanishing": [1, 0.1, 0], "steady": [1, 1, 1]}
    plots.lines([1, 2, 3], lines, x_label="step", y_label="error", alt=ALT, yscale="log", ylim=0.01)
    assert len(displayed) == 1


@pytest.fixture
def handed_on(monkeypatch):
    """What `lines` and `explore` hand on to `show`."""
    found: list = []
    monkeypatch.setattr(plots, "show", lambda figure, alt, **others: found.append((figure, alt, others)))
    return found


def test_a_single_line_needs_no_name_at_its_end_and_two_do(handed_on):
    for lines in ({"a": [1, 2]}, {"a": [1, 2], "b": [2, 1]}):
        plots.lines([1, 2], lines, x_label="bits", y_label="dB", alt=ALT, title="It falls", says={"falls": "a"})
    (one, alt, others), (two, *_) = handed_on
    assert [text.get_text() for text in one.axes[0].texts] == []
    assert sorted(text.get_text() for text in two.axes[0].texts) == ["a", "b"]
    assert (alt, others, one.get_suptitle()) == (ALT, {"says": {"falls": [1, 2]}}, "It falls")
    assert (one.axes[0].get_xlabel(), one.axes[0].get_ylabel()) == ("bits", "dB")


def test_each_line_has_a_marker_and_a_colour_of_its_own(handed_on):
    plots.lines([1, 2], {f"{k}": [k, k] for k in range(9)}, x_label="bits", y_label="dB", alt=ALT)
    drawn_lines = handed_on[0][0].axes[0].get_lines()
    assert [line.get_marker() for line in drawn_lines] == [*"osD^vPX*", "o"]
    assert [line.get_color() for line in drawn_lines] == [*plots.COLORS, plots.COLORS[0]]
    assert len({color.lower() for color in plots.COLORS}) == 8
    assert {line.get_linestyle() for line in drawn_lines} == {"-"}
    plots.lines([1, 2], {"a": [1, 2]}, x_label="bits", y_label="dB", alt=ALT, style="o", xscale="log")
    axes = handed_on[1][0].axes[0]
    assert axes.get_lines()[0].get_linestyle() == "None" and axes.get_xscale() == "log"


@pytest.mark.parametrize(
    ("columns", "given", "size"),
    [(1, {}, (5.5, 3.2)), (2, {}, (7.5, 3.2)), (3, {}, (7.5, 3.2)), (2, {"width": 4, "height": 5}, (4, 5))],
)
def test_a_figure_of_one_column_is_as_wide_as_a_phone_can_show(columns, given, size):
    figure, _ = plots.figure(columns, **given)
    assert tuple(figure.get_size_inches()) == size


def test_a_figure_has_the_style_of_the_course():
    figure, axes = plots.figure(title="word " * 30, sharex=True)
    assert [axes.spines[side].get_visible() for side in ("top", "right", "left", "bottom")] == [False] * 2 + [True] * 2
    assert axes.get_axisbelow() is True and all(line.get_visible() for line in axes.get_xgridlines())
    assert axes.get_xgridlines()[0].get_alpha() == 0.3
    assert max(map(len, figure.get_suptitle().splitlines())) <= 60  # letters in 5.5 inches
    assert len(figure.get_suptitle().splitlines()) == 3
    (title,) = figure.texts
    assert (title.get_fontweight(), title.get_fontsize(), title.get_ha()) == ("bold", 11, "left")


@pytest.mark.parametrize(("given", "width", "pixels"), [({}, 605, 165), ({"width": 50, "pixels_per_inch": 72}, 50, 72)])
def test_a_picture_has_the_sharpness_and_the_width_asked_for(displayed, monkeypatch, given, width, pixels):
    asked = []
    monkeypatch.setattr(plots, "_png", lambda fig, pixels_per_inch: asked.append(pixels_per_inch) or "")
    plots.show(drawn(), ALT, **given)
    assert asked == [pixels] and displayed[0].metadata["image/png"] == {"alt": ALT, "width": width}


def test_what_is_no_chart_says_so(unpainted, displayed):
    plots.show(drawn(), ALT, drawing=True)
    assert displayed[0].metadata["image/png"]["drawing"] is True


def test_the_title_is_that_of_the_figure_and_of_each_of_its_axes(unpainted, displayed):
    figure, axes = plots.figure(2, title="Both fall")
    for one, title in zip(axes, ("the left", "the right"), strict=True):
        one.set_title(title, loc="left")
    axes[0].set_title("a middle\none")
    plots.show(figure, ALT)
    assert displayed[0].metadata["image/png"]["title"] == "Both fall · the left · a middle one · the right"


@pytest.mark.parametrize("kind", ["line", "bars", "points"])
def test_numbers_are_found_in_lines_bars_and_points(unpainted, displayed, kind):
    for y, ok in (([3, 2, 1], True), ([1, 2, 3], False)):
        figure, (other, axes) = plots.figure(2)
        draw = {"line": axes.plot, "bars": axes.bar, "points": axes.scatter}[kind]
        draw([5, 6, 7], y)
        for one in (other, axes):
            one.set(xlabel="bits", ylabel="error")
        if ok:
            plots.show(figure, ALT, says={"falls": y})
        else:
            with pytest.raises(ValueError, match="but the numbers go up from left to right"):
                plots.show(figure, ALT, says={"falls": y})
    assert len(displayed) == 1


@pytest.mark.parametrize(
    ("y", "run"),
    [
        ([0.5, 0.6], "flat"),  # a tenth of the axis
        ([0.5, 0.61], "up"),
        ([0.5, 0.39], "down"),
        ([0.0, 1.0, 0.91], "up"),  # falls back by less than a tenth of its rise
        ([0.0, 1.0, 0.88], "up and down"),
        ([1.0, 0.0, 0.09], "down"),
        ([1.0, 0.0, 0.12], "up and down"),
    ],
)
@pytest.mark.parametrize("word", ["flat", "rises", "falls"])
def test_a_tenth_of_the_axis_is_what_an_eye_overlooks(unpainted, displayed, y, run, word):
    figure, axes = plots.figure()
    axes.plot(y)
    axes.set(xlabel="bits", ylabel="error", ylim=(0, 1.0001))
    alt = f"A line that says {word} to the reader"
    if plots.TRENDS[word] == run:
        plots.show(figure, alt, says={word: y})
        assert len(displayed) == 1
    else:
        with pytest.raises(ValueError, match=f"is {plots.TRENDS[word]}, but the numbers go {run} from"):
            plots.show(figure, alt, says={word: y})


def test_two_trends_in_one_phrase_are_none(unpainted, displayed):
    alt = "A line that rises and falls from left to right"
    with pytest.raises(ValueError, match="must say how the numbers run"):
        plots.show(drawn(), alt, says={"rises and falls": [3, 2, 1]})


def test_long_labels_are_broken_at_the_width_asked_for():
    for width, lines in ((16, 2), (40, 1), (8, 3)):
        _, axes = plots.figure()
        axes.plot([1, 2], [1, 2], label="a rather long label")
        axes.plot([1, 2], [1, 2], label="_hidden")
        plots.label_lines(axes, width=width)
        (text,) = axes.texts
        assert len(text.get_text().splitlines()) == lines


def test_spread_moves_as_little_as_needed():
    assert plots.kept_apart([0, 0], [2, 4]) == [-2, 1]  # both middles stay around 0
    assert plots.kept_apart([0, 10, 10, 30], [4, 4, 4, 4]) == [0, 8, 12, 30]
    assert plots.kept_apart([0, 4], [4, 4]) == [0, 4]  # they touch
    assert plots.kept_apart([], []) == []


def test_a_slider_redraws_with_the_value_that_the_reader_chose(handed_on, monkeypatch):
    import ipywidgets

    monkeypatch.setenv("COURSE_STORED", "")
    made = {}
    monkeypatch.setattr(ipywidgets, "interact", lambda function, **controls: made.update(controls, function=function))
    plots.explore(lambda **values: values, alt=ALT, bits=(2, 8, 16), limit=(0, 0.5, 2), kind=["a", "b"])
    made["function"](bits=3, limit=1, kind="b")
    assert handed_on == [({"bits": 3, "limit": 1, "kind": "b"}, ALT, {})]
    assert (made["bits"].min, made["bits"].value, made["bits"].max) == (2, 8, 16)
    assert (made["limit"].min, made["limit"].value, made["limit"].max, made["limit"].step) == (0, 0.5, 2, 0.02)
    assert not made["bits"].continuous_update and not made["limit"].continuous_update
    assert made["kind"].description == "kind"


@pytest.mark.parametrize("spec", [(1, 1, 2), (1, 2, 2), [7]])
def test_a_control_may_start_at_either_end(handed_on, monkeypatch, spec):
    monkeypatch.setenv("COURSE_STORED", "1")
    plots.explore(lambda **values: values, alt=ALT, bits=spec)
    assert handed_on[0][0] == {"bits": spec[1] if isinstance(spec, tuple) else 7}
