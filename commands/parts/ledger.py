"""The ledger of claims: what each chapter measured, collected from its outputs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from commands.parts import chapters, environment, execution, placeholders
from commands.parts.chapters import shown
from commands.parts.errors import Problem

_FIELDS = {"id", "question", "sentence", "bound", "figure", "notebook", "cell"}
_FAILED = re.compile(r"(?P<id>\S+) is false here: .*? Measured (?P<figure>.*?); it must be ", re.DOTALL)


def path() -> Path:
    """Where the ledger is stored."""
    return environment.ROOT / "data/results/claims.json"


def claims(notebook, name: str) -> list[dict]:
    """The claims in a notebook's outputs, in their order; `name` is the notebook's path in the course."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            said = output.get("metadata", {}).get("course", {})
            if said.get("kind") == "claim":
                found.append(_entry(said, name, cell.execution_count))
    return found


def failures(notebook) -> dict[str, str]:
    """{id: figure} of claims that raised; their cells printed an error instead of a claim."""
    errors = [o for cell in notebook.cells for o in cell.get("outputs", []) if o.output_type == "error"]
    matches = [_FAILED.search(error.evalue) for error in errors if error.ename == "ClaimFailed"]
    return {match["id"]: match["figure"] for match in matches if match}


def collected(executed: Mapping[Path, object] | None = None) -> tuple[list[dict], list[str]]:
    """(the ledger as the stored notebooks say it, complaints about those that cannot be read).

    Chapters that are begun (docs/decisions/0030-a-chapter-begun.md) are left out.

    executed: {path: notebook} to take instead of what is stored there.  A notebook that is damaged, or was not run to
    its end, keeps the entries of the stored ledger.  Raises Problem for a damaged notebook whose claims no ledger has
    either, and for an id that is claimed twice.
    """
    executed = executed or {}
    stored = _by_notebook()
    entries, complaints, begun = [], [], placeholders.unfinished(environment.ROOT)
    for file in [*chapters.notebooks(), *chapters.notebooks(chapters.SOLUTIONS)]:
        if chapters.number(file) in begun:
            continue
        name = shown(file)
        try:
            notebook = executed.get(file) or execution.read(file)
        except Problem as problem:
            if stored is None:  # then its claims would be lost
                raise
            complaints.append(f"{problem}; its claims stay as they were")
            notebook = None
        was_run = notebook is not None and execution.was_run(notebook)
        entries += claims(notebook, name) if was_run else (stored or {}).get(name, [])
    return _in_order(entries), complaints


def _by_notebook() -> dict[str, list[dict]] | None:
    """The stored ledger by notebook; None if there is none, or it is damaged: it can be collected again."""
    try:
        book = read()
    except Problem:
        return None
    return {name: [e for e in book if e["notebook"] == name] for name in {e["notebook"] for e in book}} or None


def read() -> list[dict]:
    """The stored ledger; empty if there is none yet.  Raises Problem if it is damaged."""
    book = read_json(path(), [])
    if not isinstance(book, list) or not all(isinstance(entry, dict) and set(entry) >= _FIELDS for entry in book):
        raise Problem(f"{shown(path())} is no list of claims. Restore it:  git checkout {shown(path())}")
    return book


def read_json(file: Path, otherwise):
    """The content of a JSON file, or `otherwise` if there is none.  Raises Problem if it is not JSON."""
    try:
        return json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return otherwise
    except ValueError as error:
        raise Problem(f"{shown(file)} is not JSON ({error}). Restore it:  git checkout {shown(file)}") from None


def _in_order(entries: Iterable[dict]) -> list[dict]:
    by_id: dict[str, dict] = {}
    for entry in entries:
        first = by_id.setdefault(entry["id"], entry)
        if first is not entry:
            raise Problem(
                f"The claim {entry['id']} is made twice: in {first['notebook']} cell [{first['cell']}] and in "
                f"{entry['notebook']} cell [{entry['cell']}]. Give one of them another id."
            )
    return sorted(by_id.values(), key=lambda entry: _order(entry["id"]))


def _entry(said: dict, name: str, cell: int) -> dict:
    prefix = said["id"].partition("-")[0]
    return {
        "id": said["id"],
        "question": prefix if prefix.startswith("Q") else None,
        "sentence": said["sentence"],
        "bound": said["bound"],
        "figure": said["figure"],
        "notebook": name,
        "cell": cell,
    }


def _order(id: str) -> tuple:
    """Q2 before Q10; claims of no question behind."""
    letter, digits = re.match(r"(\D*)(\d*)", id).groups()
    return (letter != "Q", int(digits or 0), id)
