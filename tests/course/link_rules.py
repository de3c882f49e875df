"""Links lead somewhere.  A rule takes text and where it stands, and returns complaints."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.course.notebooks import without_fences

_TARGET = r"\(\s*<?((?:[^()\s>]|\([^()\s]*\))+)>?(?:\s+\"[^\"]*\")?\s*\)"
_IMAGE = re.compile(rf"!\[[^\]]*\]{_TARGET}")
_LINK = re.compile(rf"(?<!\\)\[[^\[\]]*\]{_TARGET}")
_BARE = re.compile(r"<(https?:[^>\s]+)>|(?<![(<\"'\w])(https?://[^\s)>\]`'\"]+)")


def links(text: str) -> list[str]:
    """Targets of all links in Markdown, bare addresses included, code left out."""
    plain = re.sub(r"`[^`\n]*`", "", without_fences(text))
    without_images = _IMAGE.sub("", plain)
    marked = _IMAGE.findall(plain) + _LINK.findall(without_images)
    return marked + [one or other.rstrip(".,;:!?") for one, other in _BARE.findall(_LINK.sub("", without_images))]


def broken_links(text: str, file: Path, root: Path) -> list[str]:
    """A link leads to an https page, or to a file and a heading that are there."""
    wrong = []
    for target in links(text):
        address = urlsplit(target)
        if address.scheme in ("http", "https"):
            wrong += _external(target)
        elif address.scheme == "mailto":
            continue
        elif address.scheme:
            wrong.append(f"{target}: link to https pages or to files of the course")
        else:
            wrong += _internal(unquote(address.path), unquote(address.fragment), target, file, root)
    return wrong


def _external(target: str) -> list[str]:
    address = urlsplit(target)
    local = address.hostname in ("localhost", "127.0.0.1")
    well_formed = local or (address.hostname and re.fullmatch(r"(?:[a-z0-9-]+\.)+[a-z]{2,}", address.hostname))
    if address.scheme != "https" and not local:
        return [f"{target}: link to its https address"]
    return [] if well_formed and ".." not in target else [f"{target} is no well-formed address"]


def _internal(path: str, anchor: str, target: str, file: Path, root: Path) -> list[str]:
    where = (file.parent / path).resolve() if path else file.resolve()
    if not where.is_relative_to(root.resolve()):
        return [f"{target} leads out of the course"]
    if not where.exists():
        return [f"{target}: there is no {where.relative_to(root.resolve())}"]
    if anchor and where.suffix in (".md", ".ipynb") and anchor.lower() not in anchors(where):
        return [f"{target}: {where.name} has no heading for #{anchor}"]
    return []


def anchors(file: Path) -> set[str]:
    """Names by which headings can be linked, in lower case: GitHub drops punctuation, JupyterLab keeps it."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells)
    headings = re.findall(r"(?m)^#{1,6} (.+?)\s*$", without_fences(text))
    github = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    named = set(re.findall(r"""(?:id|name)=["']([^"']+)["']""", text))
    return github | {heading.lower().replace(" ", "-") for heading in headings} | {name.lower() for name in named}
