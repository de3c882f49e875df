"""Measured figures in prose: quoted from the ledger by claim id, or from a record by row and column; never typed.

An author writes `{{Q3-bytes}}`, or `{{networks: mlp int8 default, latency ratio}}`: the record, words that tell one row
from all others, the column.  `refresh` turns it into `<!--Q3-bytes-->0.262<!--/-->`: the page shows the figure, the
source says where it comes from, and the next run renews it.  Of several processors the record's first is quoted,
unless the words name another.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path

from utils import ROOT, files, recorded
from utils.study import placeholders, recipes
from utils.study.questions import CHAPTERS

LEDGER = ROOT / "data" / "results" / "claims.json"
_ID = r"(?:Q\d{1,2}|C\d\d[a-z]?)-[a-z0-9-]+"
_CELL = r"[a-z0-9][a-z0-9_-]*: [^{}<>\n]+, [^{}<>,\n]+"
_QUOTE = re.compile(rf"\{{\{{(?P<new>{_ID}|{_CELL})\}}\}}|<!--(?P<old>{_ID}|{_CELL})-->(?P<figure>[^<]*)<!--/-->")

#: Units that stand in a column's name, and how they are written behind a figure.
UNITS = {
    "%": " %",
    "µs": " µs",
    "ms": " ms",
    "seconds": " seconds",
    "bytes": " bytes",
    "points": " points",
    "ratio": "×",
}


def ledger(path: Path = LEDGER) -> dict[str, str]:
    """{claim id: figure as printed} of the last run of every chapter."""
    if not path.is_file():
        raise FileNotFoundError(f"no ledger {path.name}; `python course.py run` writes it")
    return {entry["id"]: entry["figure"] for entry in json.loads(path.read_text(encoding="utf-8"))}


def quoted_figure(quote: str, figures: Mapping[str, str], records: Path | None = None) -> str:
    """What a page shows for a quote: the claim's figure in `figures`, or the cell of a record in the folder `records`.

    Raises KeyError: there is no such claim, record, row or column; the sentence says what there is.
    """
    if ": " in quote:
        return _cell(quote, records)
    if quote not in figures:
        raise KeyError(f"the text quotes {quote!r}, which no claim in the ledger has")
    return figures[quote]


def refresh(text: str, figures: Mapping[str, str], records: Path | None = None) -> str:
    """`text` with every quote filled by `quoted_figure`; KeyError names what cannot be."""

    def fill(match: re.Match) -> str:
        quote = match["new"] or match["old"]
        return f"<!--{quote}-->{quoted_figure(quote, figures, records)}<!--/-->"

    return _QUOTE.sub(fill, text)


def quoted(text: str) -> list[str]:
    """The claim ids and cells that `text` quotes, in order."""
    return [match["new"] or match["old"] for match in _QUOTE.finditer(text)]


def said(value: object, column: str) -> str:
    """A cell as one would say it: two significant digits (percent: one decimal), whole numbers whole, with the unit.

    KeyError for what is no figure: lists, truth values, nothing.
    """
    unit = next((UNITS[word] for word in column.split() if word in UNITS), "")
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise KeyError(f"the column {column!r} holds {value!r} there, which is no figure")
    if isinstance(value, int):
        return f"{value:,}{unit}"
    if unit == UNITS["%"]:
        return f"{value:.1f}{unit}"
    brief = float(f"{value:.2g}")
    return f"{brief:,.0f}{unit}" if abs(brief) >= 10 else f"{brief:g}{unit}"


def _cell(quote: str, records: Path | None) -> str:
    name, _, rest = quote.partition(": ")
    try:
        result = recorded.load(name, records)
    except (FileNotFoundError, ValueError) as error:
        raise KeyError(f"the text quotes {quote!r}: {error}") from None
    words, column = _split(rest, {column for row in result.rows for column in row})
    row = _row(result, words, quote)
    with_unit = {f"{column} {unit}" for unit in UNITS if unit != "ratio"}
    named = [c for c in row if c == column] or [c for c in row if c in with_unit]
    if len(named) != 1:
        raise KeyError(f"the text quotes {quote!r}, but that row has no column {column!r}; it has {', '.join(row)}")
    try:
        return said(row[named[0]], named[0])
    except KeyError as error:
        raise KeyError(f"the text quotes {quote!r}: {error.args[0]}") from None


def _split(rest: str, columns: set[str]) -> tuple[str, str]:
    """(words of the row, column): a column's name may hold commas itself; if there is none, what follows the last."""
    parts = rest.split(", ")
    ways = [(", ".join(parts[:cut]), ", ".join(parts[cut:])) for cut in range(1, len(parts))]
    return next((way for way in ways if way[1] in columns), ways[-1])


def _row(result: recorded.Recorded, words: str, quote: str) -> dict:
    """The row of which these words are whole cells, in any order."""
    wanted = set(words.split())

    def fits(row: dict) -> bool:
        cells = [set(str(cell).split()) for cell in row.values() if isinstance(cell, (str, int))]
        return set().union(*(cell for cell in cells if cell <= wanted)) == wanted

    found = [row for row in result.rows if fits(row)]
    first = [row for row in found if row.get("processor") == result.processors[0]]
    found = first or found
    if len(found) == 1:
        return found[0]
    if not found:
        cells = " ".join(cell for cell in result.rows[0].values() if isinstance(cell, str))
        raise KeyError(f"the text quotes {quote!r}, but {result.name} has no such row; its first is: {cells}")
    differ = next((c for c in found[0] if len({str(row.get(c)) for row in found}) == len(found)), None)
    choice = f": add one of {', '.join(str(row[differ]) for row in found)}" if differ else ""
    raise KeyError(f"the text quotes {quote!r}, which fits {len(found)} rows of {result.name}{choice}")


def plain(text: str) -> str:
    """`text` for a reader: the figures without the comments around them."""
    return _QUOTE.sub(lambda match: match["figure"] or match[0], text)


def pages(root: Path = ROOT) -> list[Path]:
    """The files that may quote figures: README, interview answers and docs."""
    return [root / "README.md", *sorted((root / "interview").glob("q*.md")), *sorted((root / "docs").rglob("*.md"))]


def finished_pages(root: Path = ROOT) -> list[Path]:
    """`pages` without the answers of chapters that are begun: their claims are not in the ledger yet."""
    begun = placeholders.unfinished(root)
    waiting = {f"q{n:02d}.md" for number in begun for n in CHAPTERS[number].questions}
    return [page for page in pages(root) if not (page.parent.name == "interview" and page.name in waiting)]


def chapter_map(root: Path = ROOT) -> str:
    """The chapters as a Markdown table; those that are there and finished are links."""
    begun = placeholders.unfinished(root)
    lines = ["| chapter | title | questions | minutes |", "| --- | --- | --- | ---: |"]
    for number, chapter in CHAPTERS.items():
        notebook = next(iter(sorted((root / "notebooks").glob(f"{number}_*.ipynb"))), None)
        done = notebook and number not in begun
        title = f"[{chapter.title}](notebooks/{notebook.name})" if done else chapter.title
        title += f", best read after {chapter.after}" if chapter.after else ""
        more = " ".join(["more on", *(f"Q{n}" for n in chapter.deepens)]) if chapter.deepens else ""
        asked = " ".join(f"Q{n}" for n in chapter.questions) or more or "the map of all fifty"
        lines.append(f"| {number} | {title} | {asked} | {chapter.minutes} |")
    return "\n".join(lines)


#: picture file -> (chapter, how the picture's alternative text begins in that chapter's notebook)
PICTURES = {"docs/pictures/cliff.png": ("03", "Accuracy over bits of the weights")}


def picture(chapter: str, alt: str, root: Path = ROOT) -> bytes:
    """The PNG that the chapter's stored notebook shows with an alternative text that begins with `alt`."""
    for path in sorted((root / "notebooks").glob(f"{chapter}_*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                if output.get("metadata", {}).get("image/png", {}).get("alt", "").startswith(alt):
                    return base64.b64decode("".join(output["data"]["image/png"]))
    raise KeyError(f"chapter {chapter} shows no picture whose alternative text begins with {alt!r}")


def with_map(text: str, table: str) -> str:
    """`text` with `table` between its two comments `<!--map-->` and `<!--/map-->`."""
    return re.sub(r"(?s)(<!--map-->\n).*?(<!--/map-->)", lambda match: f"{match[1]}{table}\n{match[2]}", text)


def refresh_pages(root: Path = ROOT) -> list[Path]:
    """Fill the quotes and the map of all pages, renew their pictures and the recipes; returns the files that changed.

    KeyError names, once all others are done, the pages that quote a claim or a row which is not there.
    """
    figures = ledger(root / "data" / "results" / "claims.json")
    changed = [path for name, source in PICTURES.items() if _written(path := root / name, picture(*source, root))]
    if _written(root / recipes.PAGE, recipes.page(root).encode("utf-8")):
        changed.append(root / recipes.PAGE)
    unknown = []
    for page in finished_pages(root):
        before = page.read_text(encoding="utf-8")
        try:
            after = with_map(refresh(before, figures, root / "data" / "results"), chapter_map(root))
        except KeyError as error:
            unknown.append(f"{page.relative_to(root).as_posix()}: {error.args[0]}")
            continue
        if _written(page, after.encode("utf-8")):
            changed.append(page)
    if unknown:
        raise KeyError("; ".join(unknown))
    return changed


def _written(path: Path, content: bytes) -> bool:
    """Write `content` unless it is there already; True if it was not."""
    if path.is_file() and path.read_bytes() == content:
        return False
    files.write_bytes(path, content)
    return True
