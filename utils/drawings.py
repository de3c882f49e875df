"""Drawings of mechanisms from a few shapes: boxes, arrows, rulers, grids, time lines, messages.

    with drawings.canvas(height=80, alt="A float becomes an integer and comes back") as d:
        stored = d.box(60, 40, "float32")
        d.arrow(stored, d.box(240, 40, "int8", shade=True), "quantize")

A canvas is 360 units wide, the width of a phone in pixels; x goes to the right and y down, as on a page.
Everything is black on white, one grey, and dashed where something is not there or only pretends to be: it
survives a black-and-white printer.  A drawing in which two texts overlap, a line crosses a text, or
something does not fit is refused, with what to move: so each one that is shown can be read.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from utils import plots

WIDTH = 360  #: units of a canvas, and pixels of a phone's column
SIZE, SMALL = 11, 9  #: of letters, in units
GREY = "#8A8A8A"  #: of what is struck out, and of lines that wait
_LINE = 1.2
_TOLERANCE = 0.5  #: by how much letters may touch, in units


@dataclass(frozen=True)
class Area:
    """A rectangle on the canvas, where arrows start and end."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def x(self) -> float:
        """The middle."""
        return (self.left + self.right) / 2

    @property
    def y(self) -> float:
        """The middle."""
        return (self.top + self.bottom) / 2

    def overlaps(self, other: Area, by: float = _TOLERANCE) -> bool:
        """Whether more than `by` units of both are in the same place."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return across > by and down > by

    def within(self, other: Area, by: float = _TOLERANCE) -> bool:
        """Whether it lies inside of `other`, `by` units aside."""
        return (
            self.left >= other.left - by
            and self.right <= other.right + by
            and self.top >= other.top - by
            and self.bottom <= other.bottom + by
        )


@dataclass(frozen=True)
class Ruler(Area):
    """A drawn ruler: `at(real)` and `at_level(integer)` are places on its line."""

    scale: float = 1.0
    zero_point: int = 0
    first: int = 0
    step: float = 1.0
    line: float = 0.0

    def at_level(self, level: float) -> tuple[float, float]:
        """(x, y) of an integer."""
        return self.left + (level - self.first + 0.5) * self.step, self.line

    def at(self, real: float) -> tuple[float, float]:
        """(x, y) of a real number, rounded or not."""
        return self.at_level(real / self.scale + self.zero_point)


@dataclass
class Canvas:
    """What the shapes are drawn on; made by `canvas`."""

    width: float
    height: float
    figure: object = field(repr=False)
    axes: object = field(repr=False)
    _texts: list[tuple[str, Area]] = field(default_factory=list, repr=False)
    _boxes: list[tuple[str, Area]] = field(default_factory=list, repr=False)
    _lines: list[tuple[str, tuple, tuple]] = field(default_factory=list, repr=False)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = SIZE,
        bold: bool = False,
        align: str = "center",
        color="black",
    ) -> Area:
        """Letters around (x, y); align: "left" begins and "right" ends at x."""
        if align not in ("left", "center", "right"):
            raise ValueError(f'align is "left", "center" or "right"; got {align!r}')
        if size < SMALL:
            raise ValueError(f"letters of {size} units cannot be read on a phone; pass {SMALL} or more")
        weight = "bold" if bold else "normal"
        made = self.axes.text(
            x, y, text, fontsize=size, weight=weight, ha=align, va="center", color=color, linespacing=1.15, zorder=5
        )
        area = self._extent(made)
        if text.strip():
            self._texts.append((text, area))
        return area

    def box(
        self,
        x: float,
        y: float,
        text: str = "",
        *,
        width: float | None = None,
        height: float | None = None,
        shade: float = 0,
        dashed: bool = False,
        round: bool = False,
        size: float = SIZE,
        bold: bool = False,
    ) -> Area:
        """A box around (x, y), as large as its text if no size is given.

        shade: 0 (white) to 1 (grey), for what the drawing is about.  dashed: for what is simulated or removed.
        round: for what computes, if boxes with corners are what is stored.
        """
        from matplotlib.patches import FancyBboxPatch

        inner = self.text(x, y, text, size=size, bold=bold)
        width = inner.right - inner.left + 14 if width is None else width
        height = inner.bottom - inner.top + 10 if height is None else height
        area = Area(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        style = f"round,pad=0,rounding_size={min(width, height) / 3 if round else 0.1}"
        self.axes.add_patch(
            FancyBboxPatch(
                (area.left, area.top),
                width,
                height,
                boxstyle=style,
                facecolor=_grey(shade),
                edgecolor="black",
                linewidth=_LINE,
                linestyle=(0, (3, 2)) if dashed else "solid",
                zorder=3,
            )
        )
        self._boxes.append((text or "a box", area))
        return area

    def arrow(
        self,
        start: Area | tuple[float, float],
        end: Area | tuple[float, float],
        text: str = "",
        *,
        side: str = "",
        dashed: bool = False,
        both: bool = False,
        size: float = SMALL,
    ) -> None:
        """An arrow from `start` to `end`, boxes or points, with `text` beside it.

        side: where the text stands: "above" or "below" (a level arrow), "right" or "left" (an upright one).
        both: a head at either end.
        """
        a, b = _ends(start, end)
        if a == b:
            raise ValueError(f"an arrow needs two places; both ends are {a}")
        self._line(a, b, text or "an arrow", dashed=dashed, head="<|-|>" if both else "-|>")
        if text:
            x, y = (a[0] + b[0]) / 2, (a[1] + b[1]) / 2
            level = abs(a[0] - b[0]) >= abs(a[1] - b[1])
            side = side or ("above" if level else "right")
            if side not in ("above", "below", "left", "right"):
                raise ValueError(f'side is "above", "below", "left" or "right"; got {side!r}')
            lines = text.count("\n") + 1
            shift = {"above": -(4 + lines * size * 0.62), "below": 4 + lines * size * 0.62}.get(side, 0)
            align = {"right": "left", "left": "right"}.get(side, "center")
            self.text(x + {"right": 6, "left": -6}.get(side, 0), y + shift, text, size=size, align=align)

    def line(self, start: tuple[float, float], end: tuple[float, float], *, dashed: bool = False) -> None:
        """A line without a head."""
        self._line(start, end, "a line", dashed=dashed, head="-")

    def row(
        self, texts: Sequence[str], y: float, *, between: Sequence[str] = (), left=4, right=None, **look
    ) -> list[Area]:
        """Boxes of one size from left to right, joined by arrows; between: the arrows' texts.  look: as for `box`."""
        right = self.width - 4 if right is None else right
        widths = [self._measure(text, look.get("size", SIZE)) + 14 for text in texts]
        gap = (right - left - sum(widths)) / max(len(texts) - 1, 1)
        if gap < 14:
            raise ValueError(
                f"a row of {len(texts)} boxes needs {sum(widths) + 14 * (len(texts) - 1):.0f} units, and there are "
                f"{right - left:.0f}; break the texts into lines, or use column()"
            )
        boxes, x = [], left
        for text, width in zip(texts, widths, strict=True):
            boxes.append(self.box(x + width / 2, y, text, width=width, **look))
            x += width + gap
        self._join(boxes, between)
        return boxes

    def column(
        self, texts: Sequence[str], x: float, *, top: float, gap: float = 22, between: Sequence[str] = (), **look
    ) -> list[Area]:
        """Boxes from top to bottom, joined by arrows; between: the arrows' texts.  look: as for `box`."""
        boxes = []
        widest = max(self._measure(text, look.get("size", SIZE)) for text in texts) + 14
        for text in texts:
            height = (text.count("\n") + 1) * look.get("size", SIZE) * 1.3 + 10
            boxes.append(self.box(x, top + height / 2, text, **{"width": widest, "height": height, **look}))
            top += height + gap
        self._join(boxes, between)
        return boxes

    def ruler(
        self,
        y: float,
        levels: Sequence[int],
        *,
        scale: float,
        zero_point: int,
        label: Sequence[int] | None = None,
        left: float = 8,
        right: float | None = None,
        digits: int = 2,
    ) -> Ruler:
        """Real numbers above a line at height y, integers below: real = scale · (integer - zero_point).

        levels: the integers, in order.  label: those that get their numbers (default: all of them).
        The zero point is marked, because 0.0 must be one of the levels.
        """
        right = self.width - 8 if right is None else right
        levels = list(levels)
        if len(levels) < 2 or levels != list(range(levels[0], levels[-1] + 1)):
            raise ValueError(f"levels are whole numbers one after the other, such as range(-8, 8); got {levels}")
        step = (right - left) / len(levels)
        made = Ruler(left, y - 22, right, y + 22, scale, zero_point, levels[0], step, y)
        self.axes.plot([left, right], [y, y], color="black", linewidth=_LINE, zorder=2)
        for level in levels:
            x, _ = made.at_level(level)
            zero, named = level == zero_point, label is None or level in label
            tall = 7 if zero or named else 4
            self.axes.plot([x, x], [y - tall, y + tall], color="black", linewidth=2.4 if zero else 1, zorder=2)
            if named or zero:
                self.text(x, y - 15, _real(scale * (level - zero_point), digits), size=SMALL, bold=zero)
                self.text(x, y + 15, _whole(level), size=SMALL, bold=zero)
        return made

    def grid(
        self,
        left: float,
        top: float,
        numbers: Sequence[Sequence[float]],
        *,
        cell: float = 26,
        shades: Sequence[Sequence[float]] | None = None,
        mask: Sequence[Sequence[bool]] | None = None,
        digits: int | None = None,
        size: float = SMALL,
    ) -> Area:
        """A matrix as cells with their numbers.

        shades: 0 (white) to 1 (grey) for each cell.  mask: where it is false, the number is struck out.
        digits: behind the point; None writes numbers as they are.
        """
        from matplotlib.patches import Rectangle

        rows, columns = len(numbers), len(numbers[0])
        for name, other in (("numbers", numbers), ("shades", shades), ("mask", mask)):
            if other is not None and [len(row) for row in other] != [columns] * rows:
                raise ValueError(
                    f"{name} must have {rows} rows of {columns}; got rows of {[len(row) for row in other]}"
                )
        for i, j in itertools.product(range(rows), range(columns)):
            x, y = left + (j + 0.5) * cell, top + (i + 0.5) * cell
            shade = shades[i][j] if shades is not None else 0
            gone = mask is not None and not mask[i][j]
            self.axes.add_patch(
                Rectangle(
                    (x - cell / 2, y - cell / 2),
                    cell,
                    cell,
                    facecolor=_grey(shade),
                    edgecolor="black",
                    linewidth=0.8,
                    zorder=3,
                )
            )
            number = numbers[i][j]
            written = number if isinstance(number, str) else _real(number, digits)
            letters = self.text(x, y, written, size=size, color=GREY if gone else "black")
            if letters.right - letters.left > cell - 3:
                raise ValueError(f"{written!r} does not fit into a cell of {cell:g} units; pass a larger cell=")
            if gone:
                d = cell / 2 - 3
                self.axes.plot([x - d, x + d], [y + d, y - d], color="black", linewidth=1.4, zorder=6)
        area = Area(left, top, left + columns * cell, top + rows * cell)
        self._boxes.append(("a grid", area))
        return area

    def timeline(
        self,
        lanes: Mapping[str, Sequence[tuple[float, float, str]]],
        *,
        top: float,
        unit: str,
        left: float | None = None,
    ) -> Area:
        """Bars over one axis of time: {lane: [(begin, end, text), …]}, an axis in `unit` below.

        Bars of one text have one grey.
        """
        height, gap = 20, 6
        spans = [span for lane in lanes.values() for span in lane]
        if not spans or any(end <= begin for begin, end, _ in spans):
            raise ValueError(f"a time line needs bars (begin, end, text) with begin < end; got {dict(lanes)}")
        left = max(self._measure(name, SMALL) for name in lanes) + 12 if left is None else left
        first, last = min(b for b, _, _ in spans), max(e for _, e, _ in spans)
        unit_length = (self.width - 8 - left) / (last - first)
        looks = dict(zip(dict.fromkeys(text for _, _, text in spans), itertools.cycle((1, 0, 0.4)), strict=False))
        for k, (name, lane) in enumerate(lanes.items()):
            y = top + height / 2 + k * (height + gap)
            self.text(left - 6, y, name, size=SMALL, align="right")
            for begin, end, text in lane:
                x = left + ((begin + end) / 2 - first) * unit_length
                self.box(x, y, text, width=(end - begin) * unit_length, height=height, shade=looks[text], size=SMALL)
        bottom = top + len(lanes) * (height + gap) + 2
        self._line((left, bottom), (self.width - 4, bottom), "the axis of time", dashed=False, head="-|>")
        self.text(left, bottom + 10, _real(first, None), size=SMALL)
        self.text(self.width - 8, bottom + 10, f"{_real(last, None)} {unit}", size=SMALL, align="right")
        return Area(left, top, self.width, bottom + 16)

    def messages(
        self,
        names: Sequence[str],
        sent: Sequence[tuple[str, str, str] | list[tuple[str, str, str]]],
        *,
        top: float = 16,
        gap: float = 28,
    ) -> Area:
        """Who sends what to whom: one line down for each name, and an arrow for each (from, to, text), in order.

        A message to oneself is a box on one's line: what is computed there.  A list of messages happens at one time.
        """
        moments = [moment if isinstance(moment, list) else [moment] for moment in sent]
        if unknown := {name for moment in moments for a, b, _ in moment for name in (a, b)} - set(names):
            raise ValueError(f"messages name {sorted(unknown)}, and the lines are {list(names)}")
        slot = self.width / len(names)
        place = {name: (k + 0.5) * slot for k, name in enumerate(names)}
        heads = {name: self.box(place[name], top, name, bold=True) for name in names}
        y = max(head.bottom for head in heads.values())
        stops: dict[str, list[float]] = {name: [heads[name].bottom] for name in names}
        for moment in moments:
            y += gap + max(text.count("\n") for _, _, text in moment) * SMALL * 1.2
            for a, b, text in moment:
                if a == b:
                    own = self.box(place[a], y, text, shade=0.6, round=True, size=SMALL)
                    stops[a] += [own.top, own.bottom]
                else:
                    self._message(place[a], place[b], y, text, slot)
        for name in names:
            ends = [*stops[name], y + 16]
            for begin, end in zip(ends[::2], ends[1::2], strict=True):
                self.axes.plot(
                    [place[name]] * 2, [begin, end], color=GREY, linewidth=1, linestyle=(0, (2, 2)), zorder=1
                )
                self._lines.append((f"the line of {name}", (place[name], begin), (place[name], end)))
        return Area(0, top, self.width, y + 16)

    def _message(self, begin: float, end: float, y: float, text: str, slot: float) -> None:
        """Its text stands between the sender's line and the next, so that no line crosses it."""
        self.arrow((begin, y), (end, y))
        lines = text.count("\n") + 1
        self.text(begin + (slot if end > begin else -slot) / 2, y - 4 - lines * SMALL * 0.62, text, size=SMALL)

    def complaints(self) -> list[str]:
        """What cannot be read: texts that overlap, leave the canvas or a box, or are crossed by a line."""
        page = Area(0, 0, self.width, self.height)
        wrong = [
            f"{text!r} leaves the canvas of {self.width:g} x {self.height:g}"
            for text, area in self._texts
            if not area.within(page, 0)
        ]
        wrong += [f"{text!r} leaves the canvas" for text, area in self._boxes if not area.within(page, 0)]
        for (one, a), (other, b) in itertools.combinations(self._texts, 2):
            if a.overlaps(b):
                wrong.append(f"{one!r} and {other!r} overlap")
        for text, area in self._texts:
            wrong += [
                f"{text!r} stands on the border of {name!r}"
                for name, box in self._boxes
                if area.overlaps(box) and not area.within(box)
            ]
            wrong += [f"{name!r} crosses the text {text!r}" for name, a, b in self._lines if _crosses(a, b, area)]
        return wrong

    def _join(self, boxes: Sequence[Area], between: Sequence[str]) -> None:
        texts = list(between) or [""] * (len(boxes) - 1)
        if len(texts) != len(boxes) - 1:
            raise ValueError(f"between {len(boxes)} boxes are {len(boxes) - 1} arrows; got {len(texts)} texts")
        for (a, b), text in zip(itertools.pairwise(boxes), texts, strict=True):
            self.arrow(a, b, text)

    def _line(self, a, b, name: str, *, dashed: bool, head: str) -> None:
        from matplotlib.patches import FancyArrowPatch

        line = (0, (3, 2)) if dashed else "solid"
        self.axes.add_patch(
            FancyArrowPatch(
                a,
                b,
                arrowstyle=head,
                mutation_scale=9,
                shrinkA=0,
                shrinkB=0,
                color="black",
                linewidth=_LINE,
                linestyle=line,
                zorder=4,
            )
        )
        self._lines.append((name, a, b))

    def _measure(self, text: str, size: float) -> float:
        made = self.axes.text(0, 0, text, fontsize=size)
        area = self._extent(made)
        made.remove()
        return area.right - area.left

    def _extent(self, made) -> Area:
        box = made.get_window_extent().transformed(self.axes.transData.inverted())
        return Area(box.x0, min(box.y0, box.y1), box.x1, max(box.y0, box.y1))


@contextmanager
def canvas(width: float = WIDTH, height: float = 120, *, alt: str) -> Iterator[Canvas]:
    """A canvas to draw on; when the `with` block ends, the drawing is checked and shown with its alternative text.

    width, height: units; at most 360 wide, so that letters stay readable on a phone.
    Raises ValueError, and shows nothing, if something in it cannot be read.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not 0 < width <= WIDTH or height <= 0:
        raise ValueError(f"a canvas is at most {WIDTH} units wide, a phone's column; got {width} x {height}")
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)  # one unit is one point
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    made = Canvas(width, height, figure, axes)
    yield made
    if wrong := made.complaints():
        raise ValueError(f"the drawing cannot be read: {'; '.join(wrong[:5])}")
    plots.show(figure, alt, pixels_per_inch=216, width=int(1.5 * width), drawing=True)


def _ends(start, end) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where a straight arrow leaves `start` and reaches `end`: level or upright if half of them face each other."""
    a = start if isinstance(start, Area) else Area(*start, *start)
    b = end if isinstance(end, Area) else Area(*end, *end)
    low, high = max(a.top, b.top), min(a.bottom, b.bottom)
    if high - low >= 0.5 * min(a.bottom - a.top, b.bottom - b.top) and (a.right <= b.left or b.right <= a.left):
        y = (low + high) / 2
        return ((a.right, y), (b.left, y)) if a.right <= b.left else ((a.left, y), (b.right, y))
    low, high = max(a.left, b.left), min(a.right, b.right)
    if high - low >= 0.5 * min(a.right - a.left, b.right - b.left) and (a.bottom <= b.top or b.bottom <= a.top):
        x = (low + high) / 2
        return ((x, a.bottom), (x, b.top)) if a.bottom <= b.top else ((x, a.top), (x, b.bottom))
    return _border(a, b), _border(b, a)


def _border(area: Area, towards: Area) -> tuple[float, float]:
    """Where the line from the middle of `area` to that of `towards` leaves it."""
    dx, dy = towards.x - area.x, towards.y - area.y
    half = (area.right - area.left) / 2, (area.bottom - area.top) / 2
    parts = [h / abs(d) for h, d in zip(half, (dx, dy), strict=True) if d]
    t = min([*parts, 1.0])
    return area.x + t * dx, area.y + t * dy


def _crosses(a: tuple[float, float], b: tuple[float, float], area: Area) -> bool:
    """Whether the line from a to b passes through `area` (Liang and Barsky's clipping, a border's width inside)."""
    first, last = 0.0, 1.0
    inner = (area.left + 1, area.right - 1), (area.top + 1, area.bottom - 1)
    for begin, end, (low, high) in zip(a, b, inner, strict=True):
        d = end - begin
        if not d:
            if not low <= begin <= high:
                return False
            continue
        near, far = sorted(((low - begin) / d, (high - begin) / d))
        first, last = max(first, near), min(last, far)
    return first < last


def _grey(shade: float) -> str:
    """matplotlib's name of a grey on which black letters are read: 0 is white, 1 the darkest."""
    if not 0 <= shade <= 1:
        raise ValueError(f"a shade is 0 (white) to 1 (grey); got {shade}")
    return str(1 - 0.25 * float(shade))


def _real(value: float, digits: int | None) -> str:
    text = f"{value:g}" if digits is None else f"{value + 0.0:.{digits}f}"
    return _minus(text)


def _whole(value: int) -> str:
    return _minus(f"{value:d}")


def _minus(text: str) -> str:
    """A minus sign as wide as a digit, and none before a rounded zero."""
    return text.replace("-", "\N{MINUS SIGN}") if text.strip("-0.") else text.replace("-", "")
