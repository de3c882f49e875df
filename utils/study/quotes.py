"""Measured figures in prose: quoted from the ledger by claim id, never typed.

An author writes `{{Q3-bytes}}`.  `refresh` turns it into `<!--Q3-bytes-->0.262<!--/-->`: the page shows
the figure, the source says where it comes from, and the next run of the chapter renews it.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from utils import ROOT
from utils.study import recipes
from utils.study.questions import CHAPTERS

LEDGER = ROOT / "data" / "results" / "claims.json"
_ID = r"[QC]\d{1,2}-[a-z0-9-]+"
_QUOTE = re.compile(rf"\{{\{{(?P<new>{_ID})\}}\}}|<!--(?P<old>{_ID})-->(?P<figure>[^<]*)<!--/-->")


def ledger(path: Path = LEDGER) -> dict[str, str]:
    """{claim id: figure as printed} of the last run of every chapter."""
    if not path.is_file():
        raise FileNotFoundError(f"no ledger {path.name}; `python course.py run` writes it")
    return {entry["id"]: entry["figure"] for entry in json.loads(path.read_text(encoding="utf-8"))}


def refresh(text: str, figures: Mapping[str, str]) -> str:
    """`text` with every quote filled from `figures`; an unknown id raises KeyError that names it."""

    def fill(match: re.Match) -> str:
        id = match["new"] or match["old"]
        if id not in figures:
            raise KeyError(f"the text quotes {id!r}, which no claim in the ledger has")
        return f"<!--{id}-->{figures[id]}<!--/-->"

    return _QUOTE.sub(fill, text)


def quoted(text: str) -> list[str]:
    """The claim ids that `text` quotes, in order."""
    return [match["new"] or match["old"] for match in _QUOTE.finditer(text)]


def plain(text: str) -> str:
    """`text` for a reader: the figures without the comments around them."""
    return _QUOTE.sub(lambda match: match["figure"] or match[0], text)


def pages(root: Path = ROOT) -> list[Path]:
    """The files that may quote figures: README, interview answers and docs."""
    return [root / "README.md", *sorted((root / "interview").glob("q*.md")), *sorted((root / "docs").rglob("*.md"))]


def chapter_map(root: Path = ROOT) -> str:
    """The chapters as a Markdown table; those whose notebook is there are links."""
    lines = ["| chapter | title | questions | minutes |", "| --- | --- | --- | ---: |"]
    for number, chapter in CHAPTERS.items():
        notebook = next(iter(sorted((root / "notebooks").glob(f"{number}_*.ipynb"))), None)
        title = f"[{chapter.title}](notebooks/{notebook.name})" if notebook else chapter.title
        asked = " ".join(f"Q{n}" for n in chapter.questions) or "the map of all fifty"
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

    KeyError names, once all others are done, the pages that quote a claim which no ledger entry has.
    """
    figures = ledger(root / "data" / "results" / "claims.json")
    changed = [path for name, source in PICTURES.items() if _written(path := root / name, picture(*source, root))]
    if _written(root / recipes.PAGE, recipes.page(root).encode("utf-8")):
        changed.append(root / recipes.PAGE)
    unknown = []
    for page in pages(root):
        before = page.read_text(encoding="utf-8")
        try:
            after = with_map(refresh(before, figures), chapter_map(root))
        except KeyError as error:
            unknown.append(f"{page.relative_to(root).as_posix()}: {error.args[0]}")
            continue
        if _written(page, after.encode("utf-8")):
            changed.append(page)
    if unknown:
        raise KeyError("; ".join(unknown))
    return changed


def _written(path: Path, content: bytes) -> bool:
    """Write `content`, whole or not at all, unless it is there already; True if it was not."""
    if path.is_file() and path.read_bytes() == content:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}.new")
    beside.write_bytes(content)
    os.replace(beside, path)
    return True
