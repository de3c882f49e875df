"""The ledger of claims: what each chapter measured, collected from its outputs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from commands.parts.chapters import shown
from commands.parts.errors import Problem
from commands.parts.kernels import write_text
from commands.parts.lockfile import ROOT

PATH = ROOT / "data/results/claims.json"
_FAILED = re.compile(r"(?P<id>\S+) is false here: .*? Measured (?P<figure>.*?); it must be ", re.DOTALL)


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


def merged(old: Iterable[dict], new: Iterable[dict], executed: set[str], existing: set[str]) -> list[dict]:
    """The ledger after executing the notebooks `executed`: their entries are new, those of others stay.

    existing: the notebooks that there are; entries of others are dropped.  Raises Problem for an id twice.
    """
    kept = [entry for entry in old if entry["notebook"] not in executed and entry["notebook"] in existing]
    by_id: dict[str, dict] = {}
    for entry in [*kept, *new]:
        first = by_id.setdefault(entry["id"], entry)
        if first is not entry:
            raise Problem(
                f"The claim {entry['id']} is made twice: in {first['notebook']} cell [{first['cell']}] and in "
                f"{entry['notebook']} cell [{entry['cell']}]. Give one of them another id."
            )
    return sorted(by_id.values(), key=lambda entry: _order(entry["id"]))


def read(path: Path = PATH) -> list[dict]:
    """The stored ledger; empty if there is none yet."""
    return read_json(path, [])


def read_json(path: Path, otherwise):
    """The content of a JSON file, or `otherwise` if there is none.  Raises Problem if it is not JSON."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return otherwise
    except ValueError as error:
        raise Problem(f"{shown(path)} is not JSON ({error}). Restore it:  git checkout {shown(path)}") from None


def write_json(path: Path, content: object) -> None:
    """Write `content` so that a killed process leaves the old file or the new one."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


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
