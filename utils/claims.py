"""Executable claims: sentences that a cell computes and checks.

What may differ between machines stands in white square brackets, ⟦0.262⟧.  The brackets are the only
thing that the comparison of outputs replaces; in return every bracketed figure has a bound, which this
module checks and which stands beside it.  Each output carries its figures and bounds as metadata, from
which `course.py run` writes the ledger and the tests check the stored outputs again.

Outputs have two forms: plain text, which is compared, and HTML, of tags that GitHub keeps (it drops
classes and styles) and without colours, so that it is read in a light and in a dark theme.
"""

from __future__ import annotations

import html
import math
import numbers
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

OPEN, CLOSE = "⟦", "⟧"
_ID = re.compile(r"(Q([1-9]|[1-4]\d|50)|C\d\d[a-z]?)-[a-z0-9]+(-[a-z0-9]+)*")
_sentences: dict[str, str] = {}


class ClaimFailed(AssertionError):
    """A claim or a bounded figure does not hold; the message has sentence, figure and bound."""


@dataclass(frozen=True)
class Bound:
    """Where a figure must lie.  `below` and `above` are strict, `low` and `high` belong to it."""

    below: float | None = None
    above: float | None = None
    low: float | None = None
    high: float | None = None
    equals: float | str | bool | None = None

    def __post_init__(self) -> None:
        limits = [self.below, self.above, self.low, self.high]
        if all(limit is None for limit in [*limits, self.equals]):
            raise ValueError("a claim without a bound cannot fail; pass below=, above=, between=(low, high) or equals=")
        if self.equals is not None:
            if any(limit is not None for limit in limits):
                raise ValueError(f"equals={self.equals!r} stands alone; leave the other limits out")
            _check_figure(self.equals, "equals")
        for limit in limits:
            if limit is not None and not _is_finite(limit):
                raise ValueError(f"a bound of {limit!r} says nothing; pass a finite number")
        bottom = [b for b in (self.above, self.low) if b is not None]
        top = [b for b in (self.below, self.high) if b is not None]
        strict = (bool(bottom) and self.above == max(bottom)) or (bool(top) and self.below == min(top))
        if bottom and top and (max(bottom) > min(top) or (strict and max(bottom) == min(top))):
            raise ValueError(f"no figure can satisfy {self}: the lower limit is not below the upper one")

    def holds(self, figure: float | str | bool) -> bool:
        """Whether `figure` lies within; TypeError for one of another kind than the limits."""
        if self.equals is not None:
            if _kind(figure) is not _kind(self.equals):
                raise TypeError(f"{figure!r} cannot be compared with {self.equals!r}; pass the same kind for both")
            return bool(figure == self.equals)
        if _kind(figure) is not float:
            raise TypeError(f"{figure!r} has no order; limits are for numbers, use equals= for {type(figure).__name__}")
        return all(
            (
                self.below is None or figure < self.below,
                self.above is None or figure > self.above,
                self.low is None or figure >= self.low,
                self.high is None or figure <= self.high,
            )
        )

    def __str__(self) -> str:
        parts = []
        if self.equals is not None:
            parts.append(f"equal to {_exactly(self.equals)}")
        if self.low is not None and self.high is not None:
            parts.append(f"between {_exactly(self.low)} and {_exactly(self.high)}")
        elif self.low is not None:
            parts.append(f"at least {_exactly(self.low)}")
        elif self.high is not None:
            parts.append(f"at most {_exactly(self.high)}")
        if self.above is not None:
            parts.append(f"above {_exactly(self.above)}")
        if self.below is not None:
            parts.append(f"below {_exactly(self.below)}")
        return " and ".join(parts)

    def short(self) -> str:
        """The limits in the head of a table's column: "0.8 to 1" where both ends belong to it."""
        if None not in (self.low, self.high) and self.below is self.above is None:
            return f"{_exactly(self.low)} to {_exactly(self.high)}"
        return str(self)

    def stored(self) -> dict[str, float | str | bool]:
        """The limits that are set, as plain JSON values."""
        return {name: _plain(limit) for name, limit in asdict(self).items() if limit is not None}


def claim(
    id: str,
    sentence: str,
    *,
    measured: float | str | bool,
    below: float | None = None,
    above: float | None = None,
    between: tuple[float, float] | None = None,
    equals: float | str | bool | None = None,
    unit: str = "",
    digits: int = 3,
) -> None:
    """State `sentence`, show `measured` in brackets, and raise `ClaimFailed` if it is out of bounds.

    id: unique in the course; `Q23-bytes` for a claim that answers question 23, `C00-…` for one of
        chapter 00 that answers none.
    sentence: true for every seed and machine that the bound allows; it has no measured figure in it.
    measured: a finite number, a bool or a string, computed by the cell.
    below, above: strict limits.  between: (low, high), both allowed.  equals: exactly this.
    unit, digits: how the figure is printed: significant digits, unit behind it.
    """
    _check_id(id, sentence)
    _check_digits(digits)
    low, high = _pair(between, "between") if between is not None else (None, None)
    bound = Bound(below=below, above=above, low=low, high=high, equals=equals)
    figure = _check_figure(measured, f"claim {id}")
    text = f"{format_figure(figure, digits)}{' ' + _plain_text(unit, 'unit') if unit else ''}"
    if not bound.holds(figure):
        raise ClaimFailed(f"{id} is false here: {sentence!r}. Measured {_exactly(figure)}; it must be {bound}.")
    entry = {
        "kind": "claim",
        "id": id,
        "sentence": sentence,
        "measured": figure,
        "figure": text,
        "bound": bound.stored(),
    }
    _display(claim_text(entry), claim_html(entry), entry)


def claim_text(entry: Mapping[str, object]) -> str:
    """The line that a claim prints: `✔ Q23-bytes  sentence   ⟦0.262⟧  (below 0.3)`."""
    return f"✔ {entry['id']}  {entry['sentence']}   {'  '.join(_verdict(entry))}"


def claim_html(entry: Mapping[str, object]) -> str:
    """The same for a browser: the sentence, below it figure and bound, the id in small letters."""
    sentence, figure, *bound = (html.escape(text) for text in [str(entry["sentence"]), *_verdict(entry)])
    sentence = re.sub("`([^`]+)`", r"<code>\1</code>", sentence)
    small = " · ".join(f"<small>{text}</small>" for text in [*bound, f"<code>{html.escape(str(entry['id']))}</code>"])
    return f"<blockquote>\n<p>✔ <b>{sentence}</b><br>\n{figure} · {small}</p>\n</blockquote>"


def _verdict(entry) -> list[str]:
    """The figure and, beside one that may vary, its bound.  What must be equal is compared without brackets."""
    bound = Bound(**entry["bound"])
    if bound.equals is None:
        return [f"{OPEN}{entry['figure']}{CLOSE}", f"({bound})"]
    return [f"{'' if isinstance(bound.equals, bool) else 'exactly '}{entry['figure']}"]


def show(
    rows: Sequence[Mapping[str, object]],
    bounds: Mapping[str | tuple[str, str], tuple[float | None, float | None]] | None = None,
    *,
    caption: str = "",
    digits: int = 3,
) -> None:
    """Show `rows` as a table; the figures that may vary stand in brackets, each checked against its bound.

    A column's bound stands in its head, that of one cell beside the figure.

    rows: one mapping for each row, with the same keys in the same order; the first key names the row.
    bounds: {column: (low, high)}, or {(row, column): (low, high)} for one cell; None leaves a side open.
        A column without a bound is compared exactly, so it must not hold what differs between machines.
    digits: significant digits of floats.
    Raises ClaimFailed with row, column, figure and bound; ValueError for a bound on nothing.
    """
    _check_digits(digits)
    _plain_text(caption, "caption")
    columns = _check_rows(rows)
    limits = _check_bounds(bounds or {}, rows, columns)
    bounded: list[dict[str, object]] = []
    body = [
        [_cell(row, rows[i][columns[0]], column, limits, digits, bounded) for column in columns]
        for i, row in enumerate(rows)
    ]
    heads = [(column, Bound(*(None, None, *limits[column])).short() if column in limits else "") for column in columns]
    head = [f"{column} ({bound})" if bound else column for column, bound in heads]
    plain = "\n".join(" | ".join(line) for line in ([caption] if caption else [], head, *body) if line)
    entry = {"kind": "table", "caption": caption, "bounded": bounded}
    _display(plain, _html_table(caption, heads, body, rows), entry)


def format_figure(figure: float | str | bool, digits: int = 3) -> str:
    """A figure for a reader: 26,032 or 0.262 or 1.20e-07; whole numbers are never shortened."""
    if figure is None:
        return "–"
    if isinstance(figure, str):
        return figure
    if isinstance(figure, (bool, _numpy_bool())):
        return "yes" if figure else "no"
    if isinstance(figure, numbers.Integral):
        return f"{int(figure):,}"
    value = float(figure) + 0.0  # -0.0 becomes 0.0
    if value and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.{digits - 1}e}"
    if not value:
        return "0"
    before_point = math.floor(math.log10(abs(value))) + 1  # -1 for 0.0123: its first digits are zeros
    return f"{value:,.{max(digits - before_point, 0)}f}"


def _cell(row, name, column, limits, digits, bounded) -> str:
    value = row[column]
    own = limits.get((str(name), column))
    limit = own or limits.get(column)
    where = f"row {name!r}, column {column!r}"
    if limit is None:
        return "–" if value is None else _plain_text(format_figure(_check_value(value, where), digits), where)
    figure = _check_figure(value, where)
    bound = Bound(low=limit[0], high=limit[1])
    text = format_figure(figure, digits)
    if not bound.holds(figure):
        raise ClaimFailed(f"{where}: {_exactly(figure)} is out of bounds; it must be {bound}.")
    bounded.append({"row": str(name), "column": column, "measured": figure, "figure": text, "bound": bound.stored()})
    return f"{OPEN}{text}{CLOSE}{f' ({bound.short()})' if own else ''}"


def _html_table(caption: str, heads: list[tuple[str, str]], body: list[list[str]], rows) -> str:
    """HTML without padding: padding would depend on how many digits a bracketed figure has."""
    sides = ["left" if any(isinstance(row[column], str) for row in rows) else "right" for column, _ in heads]
    titles = [
        html.escape(name) + (f"<br><small>{html.escape(bound)}</small>" if bound else "") for name, bound in heads
    ]
    head = "".join(_html_cell("th", title, side) for title, side in zip(titles, sides, strict=True))
    lines = ["".join(_html_cell("td", html.escape(c), s) for c, s in zip(line, sides, strict=True)) for line in body]
    title = f"<p><em>{html.escape(caption)}</em></p>\n" if caption else ""
    table_rows = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f"{title}<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{table_rows}\n</tbody>\n</table>"


def _html_cell(tag: str, content: str, side: str) -> str:
    """GitHub keeps `align` and drops `style`; JupyterLab's own style is stronger than `align`."""
    return f'<{tag} align="{side}" style="text-align: {side};">{content}</{tag}>'


def show_forms(forms: Mapping[str, str], metadata: Mapping[str, object] | None = None) -> None:
    """Show one output in several forms, keyed by MIME type; outside of notebooks print the plain one."""
    if not _in_notebook():
        print(forms["text/plain"])
        return
    from IPython.display import display

    display(dict(forms), raw=True, metadata=dict(metadata or {}))


def _in_notebook() -> bool:
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return hasattr(get_ipython(), "kernel")


def _display(plain: str, rich: str, entry: dict[str, object]) -> None:
    show_forms({"text/plain": plain, "text/html": rich}, {"course": entry})


def _check_id(id: str, sentence: str) -> None:
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise ValueError(f"a claim's id is 'Q23-bytes' or 'C00-map': a question or chapter, then words; got {id!r}")
    if not isinstance(sentence, str) or len(sentence.split()) < 3:
        raise ValueError(f"claim {id} needs a sentence; got {sentence!r}")
    _plain_text(sentence, f"the sentence of claim {id}")
    if _sentences.setdefault(id, sentence) != sentence:
        raise ValueError(f"claim {id} already says {_sentences[id]!r}; an id belongs to one sentence")


def _check_figure(value: object, where: str) -> float | str | bool:
    if hasattr(value, "numpy"):  # a TensorFlow scalar
        value = value.numpy()
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, str):
        return _plain_text(value, where)
    if isinstance(value, bool) or _is_finite(value):
        return value
    raise ValueError(f"{where}: measured must be one finite number, a bool or a string; got {value!r}")


def _check_value(value: object, where: str) -> float | str | bool:
    """As `_check_figure`, for what nothing bounds: it need not be finite."""
    value = _plain(value.numpy() if hasattr(value, "numpy") else value)
    if not isinstance(value, (str, bool, numbers.Real)):
        raise ValueError(f"{where}: a cell of a table is a number, a bool, text or None; got {value!r:.80}")
    return value


def _plain_text(text: object, where: str) -> str:
    """`text` itself, if it cannot open or close what the comparison replaces."""
    if not isinstance(text, str) or any(sign in text for sign in (OPEN, CLOSE, "\n")):
        raise ValueError(
            f"{where} must be text in one line without {OPEN} and {CLOSE}, which enclose what may vary; got {text!r}"
        )
    return text


def _check_digits(digits: object) -> None:
    if not isinstance(digits, int) or not 1 <= digits <= 15:
        raise ValueError(f"digits is how many significant digits are printed, 1 to 15; got {digits!r}")


def _pair(limits: object, where: str) -> tuple:
    if not isinstance(limits, (tuple, list)) or len(limits) != 2:
        raise ValueError(f"{where} is (low, high); got {limits!r}")
    return tuple(limits)


def _check_rows(rows) -> list[str]:
    if not isinstance(rows, Sequence) or not all(isinstance(row, Mapping) for row in rows):
        raise ValueError(f"show() got {type(rows).__name__} {rows!r:.60}; pass a list of mappings of column to value")
    if not rows or not rows[0]:
        raise ValueError("show() got no rows or no columns; pass at least one mapping of column to value")
    columns = [_plain_text(column, "a column's name") for column in rows[0]]
    for i, row in enumerate(rows):
        if list(row) != columns:
            raise ValueError(f"row {i} has the columns {list(row)}; the first row has {columns}")
    return columns


def _check_bounds(bounds, rows, columns) -> dict:
    """{column or (row, column): (low, high)} with row names as text, each naming something in the table."""
    names = {str(row[columns[0]]) for row in rows}
    checked = {}
    for key, limits in bounds.items():
        row, column = _pair(key, "a bound's key") if isinstance(key, tuple) else (None, key)
        row = None if row is None else str(row)
        if column not in columns or (row is not None and row not in names):
            raise ValueError(f"a bound for {key!r}, but the table has columns {columns} and rows {sorted(names)}")
        checked[column if row is None else (row, column)] = _pair(limits, f"the bound for {key!r}")
    return checked


def _is_finite(value: object) -> bool:
    """True for a number that JSON can hold; a bool is none."""
    value = value.item() if getattr(value, "ndim", None) == 0 else value
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _numpy_bool() -> type:
    import sys

    numpy = sys.modules.get("numpy")
    return numpy.bool_ if numpy else bool


def _kind(value: object) -> type:
    """str, bool or float: what may be compared with what."""
    if isinstance(value, str):
        return str
    return bool if isinstance(value, (bool, _numpy_bool())) else float


def _exactly(value: object) -> str:
    """A figure or limit in a message: enough digits to see on which side of a limit it lies."""
    return f"{value:,.10g}" if _kind(value) is float else format_figure(value)


def _plain(value):
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value
