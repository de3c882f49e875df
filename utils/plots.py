"""Pictures: made without pyplot, so that nothing is shown twice, and shown with alternative text."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence

#: Okabe and Ito's colours, which colour-blind readers can tell apart (jfly.uni-koeln.de/color).
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")

_STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "font.size": 10,
    "axes.titlesize": 11,
}


def figure(columns: int = 1, rows: int = 1, *, width: float = 7.5, height: float = 3.2, **subplots):
    """A matplotlib figure and its axes, in the course's style.

    width, height: inches, of the whole figure.  Returns (figure, axes) like `plt.subplots`.
    """
    import matplotlib
    from cycler import cycler
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**_STYLE, "axes.prop_cycle": cycler(color=COLORS)}):
        made = Figure(figsize=(width, height), layout="constrained")
        return made, made.subplots(rows, columns, **subplots)


def show(fig, alt: str) -> None:
    """Show `fig` with the alternative text `alt`: what a reader who cannot see it should know.

    The text is compared with the stored one, so it names no figure that differs between machines.
    Raises ValueError if the text is missing or if a plotted axis has no label (put the unit there).
    """
    if not hasattr(fig, "savefig") or not hasattr(fig, "axes"):
        raise TypeError(f"show() takes the figure that plots.figure() returns first; got {type(fig).__name__}")
    if not isinstance(alt, str) or len(alt.split()) < 5:
        raise ValueError(f"alt must say in a sentence what the picture shows; got {alt!r}")
    if "⟦" in alt or "⟧" in alt:
        raise ValueError(f"alt is compared word for word, so ⟦ and ⟧ have no place in it; got {alt!r}")
    _check_labels(fig)
    png = _png(fig)
    from IPython.display import display

    display({"image/png": png, "text/plain": f"Figure: {alt}"}, raw=True, metadata={"image/png": {"alt": alt}})


def lines(
    x: Sequence[float],
    y: Mapping[str, Sequence[float]],
    *,
    x_label: str,
    y_label: str,
    alt: str,
    style: str = "o-",
    **axes_settings,
) -> None:
    """Show one line for each entry of `y` over `x`, named in a legend.

    x: n numbers.  y: label -> n numbers.  style: matplotlib's marker and line.
    axes_settings: of the axes, such as yscale="log" or ylim=(0, 1).
    Raises ValueError as `show` does, and for an empty y.
    """
    if not y:
        raise ValueError("there is nothing to plot; pass y={label: numbers}")
    fig, axes = figure()
    for label, values in y.items():
        axes.plot(x, values, style, label=label)
    axes.set(xlabel=x_label, ylabel=y_label, **axes_settings)
    axes.legend()
    show(fig, alt)


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


def _shared(axes, side: str) -> bool:
    """A shared axis is labelled once, on the outer axes."""
    group = getattr(axes, f"get_shared_{side}_axes")()
    return any(getattr(other, f"{side}axis").get_label_text() for other in group.get_siblings(axes))


def _png(fig) -> str:
    import base64

    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return base64.b64encode(buffer.getvalue()).decode("ascii")
