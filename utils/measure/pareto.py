"""Which models are worth a look when one is smaller and another more accurate: dominance and the front.

A row dominates another if it is at least as good in every respect and better in one.  The front is what
nobody dominates.  Which point on the front to take is a decision, not a measurement.
"""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence

Row = Mapping[str, object]


def front(rows: Sequence[Row], *, smaller: Iterable[str] = (), larger: Iterable[str] = ()) -> list[Row]:
    """The rows that no other row dominates, in their order; equal rows stay together.

    rows: mappings of column to value.
    smaller: columns in which less is better, such as "bytes".
    larger: columns in which more is better, such as "accuracy".
    Raises ValueError: no rows, no columns, a column on both sides, or a value that is not a finite number.
    Raises TypeError: rows that are no list of mappings, or one name in the place of a list of names.
    Raises KeyError: a row lacks a column.
    """
    values = _values(rows, smaller, larger)
    return [row for row, own in zip(rows, values, strict=True) if not any(_beats(other, own) for other in values)]


def dominates(a: Row, b: Row, *, smaller: Iterable[str] = (), larger: Iterable[str] = ()) -> bool:
    """True if `a` is at least as good as `b` in all these columns and better in one."""
    first, second = _values([a, b], smaller, larger)
    return _beats(first, second)


def draw(
    rows: Sequence[Row],
    *,
    smaller: str,
    larger: str,
    label: str,
    interval: tuple[str, str] | None = None,
    title: str = "",
):
    """A figure of all rows as points with their names, and the front as a line of steps; returns (figure, axes).

    Dots lie on the front, crosses are dominated; the names of the former stand above, those of the latter below.
    Where two dots are near, the left one's name stands below: above they would run together.

    rows: mappings of column to value.
    smaller: column of the horizontal axis, on a logarithmic scale; less is better.
    larger: column of the vertical axis; more is better.
    label: column that names a point.
    interval: columns with the lower and upper end of a confidence interval of `larger`.
    title: the finding.
    Raises ValueError, TypeError, KeyError: as `front`; also a value of `smaller` that is not above 0, and an interval
        that does not enclose its value.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    from utils import plots

    _check_drawable(rows, smaller, larger, label, interval)
    best = sorted(front(rows, smaller=[smaller], larger=[larger]), key=lambda row: row[smaller])
    fig, axes = plots.figure(title=title)
    right = 1.3 * max(row[smaller] for row in rows)
    axes.step([*(row[smaller] for row in best), right], [*(row[larger] for row in best), best[-1][larger]],
              where="post", color="grey", linestyle=":", label="front", zorder=0)  # fmt: skip
    crowded = [row for row, after in itertools.pairwise(best) if row[smaller] < after[smaller] < 1.5 * row[smaller]]
    for row in rows:
        x, y, on_front = row[smaller], row[larger], row in best
        low, high = (row[interval[0]], row[interval[1]]) if interval else (y, y)
        axes.errorbar(x, y, [[y - low], [high - y]] if interval else None, fmt="o" if on_front else "x", capsize=3)
        end, shift = (high, 5) if on_front and row not in crowded else (low, -14)
        axes.annotate(str(row[label]), (x, end), (0, shift), textcoords="offset points", ha="center")
    axes.margins(y=0.15)
    axes.set(xscale="log", xlabel=smaller, ylabel=larger)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    return fig, axes


def _check_drawable(
    rows: Sequence[Row], smaller: str, larger: str, label: str, interval: tuple[str, str] | None
) -> None:
    """Raise a sentence for what would be missing from the picture."""
    _values(rows, [smaller], [larger])
    for row in rows:
        if label not in row:
            raise KeyError(f"a row has no column {label!r}; it has {list(row)}")
        if row[smaller] <= 0:
            raise ValueError(
                f"{row[label]!r} has {row[smaller]!r} in column {smaller!r}; the axis is logarithmic, so pass above 0"
            )
        ends = [_number(row, column) for column in interval or ()]
        if ends and not ends[0] <= row[larger] <= ends[1]:
            raise ValueError(
                f"{row[label]!r} has {larger} {row[larger]!r} and the interval {ends[0]!r} to {ends[1]!r}; "
                "pass the columns of an interval's lower and upper end around it"
            )


def _values(rows: Sequence[Row], smaller: Iterable[str], larger: Iterable[str]) -> list[tuple[float, ...]]:
    """Each row as numbers of which less is better."""
    for name, columns in (("smaller", smaller), ("larger", larger)):
        if isinstance(columns, str):
            raise TypeError(f"{name}={columns!r} is one name; pass a list of names, {name}=[{columns!r}]")
    smaller, larger = list(smaller), list(larger)
    if not isinstance(rows, Sequence) or not all(isinstance(row, Mapping) for row in rows):
        raise TypeError(f"the rows are {type(rows).__name__}; pass a list of mappings of column to value")
    if not rows:
        raise ValueError("there are no rows; pass at least one")
    if not smaller and not larger:
        raise ValueError("say what is better: smaller=['bytes'] or larger=['accuracy']")
    if set(smaller) & set(larger):
        raise ValueError(f"{sorted(set(smaller) & set(larger))} cannot be better both smaller and larger")
    return [tuple([_number(row, c) for c in smaller] + [-_number(row, c) for c in larger]) for row in rows]


def _number(row: Row, column: str) -> float:
    if column not in row:
        raise KeyError(f"a row has no column {column!r}; it has {list(row)}")
    value = row[column]
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise ValueError(f"column {column!r} has {value!r}; dominance needs finite numbers")
    return float(value)


def _beats(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))
