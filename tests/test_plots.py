"""Pictures have alternative text and labelled axes; sliders show a still picture where nobody moves them."""

from __future__ import annotations

import base64
import sys
from types import SimpleNamespace

import IPython.display
import pytest

from utils import plots

ALT = "Error falls by six decibels with every bit"


@pytest.fixture
def outputs(monkeypatch) -> list[SimpleNamespace]:
    shown = []
    monkeypatch.setattr(
        IPython.display,
        "display",
        lambda data, raw, metadata: shown.append(SimpleNamespace(data=data, metadata=metadata)),
    )
    return shown


def drawn(x_label: str = "bits", y_label: str = "error in dB"):
    figure, axes = plots.figure()
    axes.plot([1, 2, 3], [3, 2, 1], label="measured")
    axes.set(xlabel=x_label, ylabel=y_label)
    return figure


def test_a_picture_is_shown_with_its_text(outputs):
    plots.show(drawn(), ALT)
    assert base64.b64decode(outputs[0].data["image/png"]).startswith(b"\x89PNG")
    assert outputs[0].data["text/plain"] == f"Figure: {ALT}"
    assert outputs[0].metadata == {"image/png": {"alt": ALT}}


def test_the_same_figure_gives_the_same_bytes(outputs):
    for _ in range(2):
        plots.show(drawn(), ALT)
    assert outputs[0].data["image/png"] == outputs[1].data["image/png"]


@pytest.mark.parametrize("alt", ["", "a curve", None, "x " * 4, "The error at eight bits is ⟦0.1⟧ here"])
def test_text_is_needed(outputs, alt):
    with pytest.raises(ValueError, match="alt"):
        plots.show(drawn(), alt)
    assert outputs == []


@pytest.mark.parametrize("labels, side", [(("", "error"), "x"), (("bits", ""), "y")])
def test_labels_are_needed(outputs, labels, side):
    with pytest.raises(ValueError, match=f"no {side} label"):
        plots.show(drawn(*labels), ALT)


def test_pictures_without_axes_need_no_labels(outputs):
    figure, axes = plots.figure(2)
    axes[0].imshow([[0, 1], [1, 0]])
    axes[0].axis("off")
    axes[1].set_axis_off()
    plots.show(figure, ALT)
    assert len(outputs) == 1


def test_shared_axes_are_labelled_once(outputs):
    figure, axes = plots.figure(2, sharey=True)
    for one in axes:
        one.plot([1, 2])
        one.set_xlabel("bits")
    with pytest.raises(ValueError, match="no y label"):
        plots.show(figure, ALT)
    axes[0].set_ylabel("error")
    plots.show(figure, ALT)
    assert len(outputs) == 1


def test_a_second_scale_needs_its_own_label(outputs):
    figure = drawn()
    twin = figure.axes[0].twinx()
    twin.plot([1, 2])
    with pytest.raises(ValueError, match=r"axes 1 .* no y label"):
        plots.show(figure, ALT)


def test_a_colour_bar_needs_no_label(outputs):
    figure, axes = plots.figure()
    picture = axes.pcolormesh([[0, 1], [1, 0]])
    axes.set(xlabel="input", ylabel="output")
    figure.colorbar(picture)
    plots.show(figure, ALT)
    assert len(outputs) == 1


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
def test_stored_outputs_show_the_start(outputs, monkeypatch, stored):
    monkeypatch.setenv("COURSE_STORED", stored)
    seen = []
    plots.explore(
        lambda **values: seen.append(values) or drawn(), alt=ALT, bits=(2, 8, 16), kind=["per tensor", "per channel"]
    )
    assert seen == [{"bits": 8, "kind": "per tensor"}] and len(outputs) == 1


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


def test_lines_shows_each_line_by_its_name(outputs):
    two = {"a": [3, 2, 1], "b": [1, 2, 3]}
    plots.lines([1, 2, 3], two, x_label="bits", y_label="error in dB", alt=ALT, ylim=(0, 4))
    assert len(outputs) == 1
    assert outputs[0].data["text/plain"] == f"Figure: {ALT}"
    with pytest.raises(ValueError, match="nothing to plot"):
        plots.lines([1], {}, x_label="bits", y_label="dB", alt=ALT)
    with pytest.raises(ValueError, match="label"):
        plots.lines([1, 2], {"a": [1, 2]}, x_label="", y_label="dB", alt=ALT)
