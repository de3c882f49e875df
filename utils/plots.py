"""Pictures: made without pyplot, so that nothing is shown twice, and shown with alternative text."""

from __future__ import annotations

import io
import os
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence

#: Okabe and Ito's colours, which colour-blind readers can tell apart (jfly.uni-koeln.de/color).
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")

_MARKERS = "osD^vPX*"  # lines differ in black and white too
_STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "font.size": 10,
    "axes.titlesize": 11,
    "figure.titlesize": 11,
    "figure.titleweight": "bold",
}
_PIXELS_PER_INCH = 110  # on the page; the picture has half as many again, for sharp screens

#: Words of an alternative text that say how the numbers run -> what is true of such numbers.
TRENDS: dict[str, str] = {
    **dict.fromkeys(("rise", "rises", "rising", "grow", "grows", "growing", "climbs", "increases", "increasing"), "up"),
    **dict.fromkeys(
        ("fall", "falls", "falling", "drop", "drops", "dropping", "shrinks", "decreases", "decreasing"), "down"
    ),
    **dict.fromkeys(("flat", "level", "constant", "steady"), "flat"),
}
#: "A over B" in an alternative text: what stands on the upright axis, and on the level one.
OVER = re.compile(r"(?:^|[:;.,] )(?P<y>[^:;.,]+?) over (?:the )?(?P<x>[^:;.,]+)")
_SMALL = 0.1  # of the visible axis: what still counts as flat, and how far a rising line may fall back


def figure(
    columns: int = 1, rows: int = 1, *, title: str = "", width: float | None = None, height: float = 3.2, **subplots
):
    """A matplotlib figure and its axes, in the course's style.

    title: what the picture shows, as a finding: "Below 4 bits the accuracy falls".
    width, height: inches, of the whole figure; by default 5.5 wide for one column: its letters can be read on a phone.
    Returns (figure, axes) like `plt.subplots`.
    """
    import matplotlib
    from cycler import cycler
    from matplotlib.figure import Figure

    width = (5.5 if columns == 1 else 7.5) if width is None else width
    with matplotlib.rc_context({**_STYLE, "axes.prop_cycle": cycler(color=COLORS)}):
        made = Figure(figsize=(width, height), layout="constrained")
        if title:
            made.suptitle(textwrap.fill(title, int(width * 11)), x=0.01, horizontalalignment="left")
        return made, made.subplots(rows, columns, **subplots)


def show(
    fig,
    alt: str,
    *,
    says: Mapping[str, Sequence[float]] | None = None,
    pixels_per_inch: int = _PIXELS_PER_INCH * 3 // 2,
    width: int | None = None,
    drawing: bool = False,
) -> None:
    """Show `fig` with the alternative text `alt`: what a reader who cannot see it should know.

    The text is compared with the stored one, so it names no figure that differs between machines.
    says: {phrase of the text: the drawn numbers that it speaks of}.  A phrase that says how they run ("falls", "flat",
        see TRENDS) is checked against them, and they must be numbers that the figure shows.
    width: pixels on the page.  drawing: it is no chart (see drawings.py).
    Raises ValueError if the text is missing or says another thing than the numbers, if a text "A over B" names
    the axes the other way round, or if a plotted axis has no label (put the unit there).
    """
    if not hasattr(fig, "savefig") or not hasattr(fig, "axes"):
        raise TypeError(f"show() takes the figure that plots.figure() returns first; got {type(fig).__name__}")
    if not isinstance(alt, str) or len(alt.split()) < 5:
        raise ValueError(f"alt must say in a sentence what the picture shows; got {alt!r}")
    if "⟦" in alt or "⟧" in alt:
        raise ValueError(f"alt is compared word for word, so ⟦ and ⟧ have no place in it; got {alt!r}")
    _check_labels(fig)
    _check_over(fig, alt)
    for phrase, numbers in (says or {}).items():
        _check_says(fig, alt, phrase, numbers)
    png = _png(fig, pixels_per_inch)
    from IPython.display import display

    width = width or round(fig.get_size_inches()[0] * _PIXELS_PER_INCH)
    said = {"title": _title(fig), "says": list(says or {}), "drawing": drawing}
    look = {"alt": alt, "width": width} | {name: value for name, value in said.items() if value}
    display({"image/png": png, "text/plain": f"Figure: {alt}"}, raw=True, metadata={"image/png": look})


def lines(
    x: Sequence[float],
    y: Mapping[str, Sequence[float]],
    *,
    x_label: str,
    y_label: str,
    alt: str,
    title: str = "",
    says: Mapping[str, str] | None = None,
    style: str = "o-",
    **axes_settings,
) -> None:
    """Show one line for each entry of `y` over `x`, each named at its end.

    x: n numbers.  y: label -> n numbers.  style: matplotlib's marker and line; "o" stands for a marker of its own each.
    title: the finding.  says: {phrase of alt: label of the line that it speaks of}, checked as by `show`.
    axes_settings: of the axes, such as yscale="log" or ylim=(0, 1).
    Raises ValueError as `show` does, and for an empty y.
    """
    if not y:
        raise ValueError("there is nothing to plot; pass y={label: numbers}")
    if unknown := set((says or {}).values()) - set(y):
        raise ValueError(f"says names the lines {sorted(unknown)}; there are {list(y)}")
    fig, axes = figure(title=title)
    for k, (label, values) in enumerate(y.items()):
        axes.plot(x, values, style.replace("o", _MARKERS[k % len(_MARKERS)]), label=label)
    axes.set(xlabel=x_label, ylabel=y_label, **axes_settings)
    if len(y) > 1:
        label_lines(axes)
    show(fig, alt, says={phrase: y[label] for phrase, label in (says or {}).items()})


def label_lines(axes, *, width: int = 16) -> None:
    """Write each line's label at its right end, in its colour, without overlap; instead of a legend.

    Call it last, when limits, scales and axis labels are set.  width: letters after which a label is broken.
    Raises ValueError if no line has a label.
    """
    named = [line for line in axes.get_lines() if not line.get_label().startswith("_") and len(line.get_xdata())]
    if not named:
        raise ValueError("no line has a label; pass label= to axes.plot")
    axes.figure.draw_without_rendering()  # only now are places known
    pixels = {line: _right_end(line, axes) for line in named}
    right = max(x for x, _ in pixels.values())
    pixels = {line: y for line, (_, y) in pixels.items()}
    order = sorted(named, key=pixels.__getitem__)
    texts = [textwrap.fill(line.get_label(), width) for line in order]
    points = axes.figure.dpi / 72
    heights = [12.5 * (text.count("\n") + 1) * points for text in texts]
    for line, text, place in zip(order, texts, kept_apart([pixels[line] for line in order], heights), strict=True):
        axes.annotate(
            text,
            axes.transData.inverted().transform((right, pixels[line])),
            xytext=(8, (place - pixels[line]) / points),
            textcoords="offset points",
            va="center",
            color=line.get_color(),
            fontsize=9,
            annotation_clip=False,
        )


def _right_end(line, axes) -> tuple[float, float]:
    """The rightmost point of a line, in pixels; at the edge where it leaves the axes, as 0 does on a logarithm."""
    import numpy as np

    places = axes.transData.transform(line.get_xydata())
    places = places[np.isfinite(places).all(axis=1)]
    x, y = places[np.argmax(places[:, 0])]
    return x, float(np.clip(y, axes.bbox.y0, axes.bbox.y1))


def kept_apart(places: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Sorted `places`, moved as little as needed so that things of these `heights` around them do not overlap."""
    groups: list[list[float]] = []  # of touching things: [middle, height, how many]
    for place, height in zip(places, heights, strict=True):
        groups.append([place, height, 1])
        while len(groups) > 1 and groups[-1][0] - groups[-2][0] < (groups[-1][1] + groups[-2][1]) / 2:
            (a, tall, m), (b, low, n) = groups[-2:]
            groups[-2:] = [[(a * m + b * n) / (m + n), tall + low, m + n]]
    moved: list[float] = []
    for middle, height, count in groups:
        bottom = middle - height / 2
        for own in heights[len(moved) : len(moved) + count]:
            moved.append(bottom + own / 2)
            bottom += own
    return moved


def explore(draw: Callable, *, alt: str, **controls) -> None:
    """A picture that the reader can change: `draw(**values)` returns a figure.

    controls: name=(low, start, high) for a slider, or name=[a, b, …] for a menu that starts at a.
    Where nobody can move a slider (stored outputs, tests), the picture of the start values is shown.
    """
    start = {name: _start(name, spec) for name, spec in controls.items()}
    if os.environ.get("COURSE_STORED", "") not in ("", "0"):
        show(draw(**start), alt)
        return
    import ipywidgets

    ipywidgets.interact(
        lambda **values: show(draw(**values), alt),
        **{name: _control(ipywidgets, name, spec) for name, spec in controls.items()},
    )


def _start(name: str, spec):
    """The value that a control begins with; ValueError for one that has none."""
    if isinstance(spec, list) and spec:
        return spec[0]
    if isinstance(spec, tuple) and len(spec) == 3 and spec[0] <= spec[1] <= spec[2] and spec[0] < spec[2]:
        return spec[1]
    raise ValueError(f"{name} must be (low, start, high) with low ≤ start ≤ high, or a list of choices; got {spec!r}")


def _control(ipywidgets, name: str, spec):
    if not isinstance(spec, tuple):
        return ipywidgets.Dropdown(options=list(spec), description=name)
    low, start, high = spec
    if all(isinstance(value, int) for value in spec):
        return ipywidgets.IntSlider(start, low, high, description=name, continuous_update=False)
    return ipywidgets.FloatSlider(
        start, min=low, max=high, step=(high - low) / 100, description=name, continuous_update=False
    )


def _check_labels(fig) -> None:
    for i, axes in enumerate(fig.axes):
        if not axes.axison or not axes.has_data() or getattr(axes, "_colorbar", None) is not None:
            continue
        for side in ("x", "y"):
            axis = getattr(axes, f"{side}axis")
            if (
                axis.get_visible()
                and len(axis.get_ticklabels())
                and not axis.get_label_text()
                and not _shared(axes, side)
            ):
                raise ValueError(f"axes {i} of the figure have no {side} label; say what it is and in which unit")


def _check_over(fig, alt: str) -> None:
    """A text "A over B" names the upright axis first: ValueError if the labels are the other way round."""
    found = OVER.search(alt)
    labels = [(a.get_xlabel(), a.get_ylabel()) for a in fig.axes if a.get_xlabel() and a.get_ylabel()]
    if not found or not labels:
        return
    y, x = label_words(found["y"]), label_words(found["x"])
    if all(
        x & label_words(upright) - y and y & label_words(level) - x and not y & label_words(upright) - x
        for level, upright in labels
    ):
        raise ValueError(
            f"alt says {found[0]!r}, but x is {labels[0][0]!r} and y {labels[0][1]!r}: swap labels or words"
        )


def label_words(text: str) -> set[str]:
    """The words of a label or a text that say what it is."""
    return {word.rstrip("s") for word in re.findall(r"[a-z]{3,}", text.lower())} - {"the", "and", "each", "with", "for"}


def _check_says(fig, alt: str, phrase: str, numbers: Sequence[float]) -> None:
    """`phrase` stands in `alt`, `numbers` are drawn in `fig`, and they run as it says."""
    import numpy as np

    values = np.asarray(numbers, float).ravel()
    if phrase not in alt:
        raise ValueError(f"says has the phrase {phrase!r}, which alt does not have: {alt!r}")
    places = _drawn(fig, values)
    if places is None:
        raise ValueError(f"{phrase!r} speaks of numbers that the figure does not show; pass those that were plotted")
    trends = {TRENDS[word] for word in re.findall(r"[a-z]+", phrase.lower()) if word in TRENDS}
    if len(trends) != 1:
        raise ValueError(f"{phrase!r} must say how the numbers run, in one of the words {', '.join(TRENDS)}")
    if (ran := _trends(places)) != (said := trends.pop()):
        raise ValueError(
            f"alt says {phrase!r}, that is {said}, but the numbers go {ran} from left to right: {values[:8]}"
        )


def _trends(height) -> str:
    """ "up", "down", "flat" or "up and down" of heights in parts of the axis."""
    import numpy as np

    back = (np.maximum.accumulate(height) - height).max()
    forth = (height - np.minimum.accumulate(height)).max()
    if max(back, forth) <= _SMALL:
        return "flat"
    if min(back, forth) <= _SMALL * max(back, forth):
        return "up" if forth > back else "down"
    return "up and down"


def _drawn(fig, values):
    """Heights, in parts of the axis and from left to right as the eye reads, of the line, bars or points with these y.

    None if the figure has none: a logarithmic or a reversed axis is thus seen as it is.
    """
    import numpy as np

    for axes in fig.axes:
        shown = [line.get_xydata() for line in axes.get_lines()]
        shown += [
            [(bar.get_x(), bar.get_height()) for bar in bars] for bars in axes.containers if hasattr(bars, "patches")
        ]
        shown += [points.get_offsets() for points in axes.collections if len(points.get_offsets())]
        for points in shown:
            points = np.ma.filled(np.ma.asarray(points, dtype=float), np.nan)
            if points.shape == (len(values), 2) and np.allclose(points[:, 1], values, equal_nan=True):
                pixels = axes.transData.transform(points)
                pixels = pixels[np.isfinite(pixels).all(axis=1)]
                return pixels[np.argsort(pixels[:, 0], kind="stable"), 1] / axes.bbox.height
    return None


def _title(fig) -> str:
    titles = [fig.get_suptitle(), *(axes.get_title(loc=side) for axes in fig.axes for side in ("left", "center"))]
    return " · ".join(" ".join(title.split()) for title in titles if title)


def _shared(axes, side: str) -> bool:
    """A shared axis is labelled once, on the outer axes."""
    group = getattr(axes, f"get_shared_{side}_axes")()
    return any(getattr(other, f"{side}axis").get_label_text() for other in group.get_siblings(axes))


def _png(fig, pixels_per_inch: int) -> str:
    import base64

    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=pixels_per_inch, metadata={"Software": None})
    return base64.b64encode(buffer.getvalue()).decode("ascii")
