"""Makes an executed notebook the same on every machine: only what the author wrote and what cells say."""

from __future__ import annotations

import hashlib
import re
import sys
import tempfile
from pathlib import Path

from commands.parts import environment
from commands.parts.kernels import KERNEL_TITLE
from commands.parts.short_folder import short_folder

#: Kept of a cell's metadata; the rest (timings, folding, editors' notes) differs from run to run.
_CELL_METADATA = ("tags", "course", "editable", "deletable", "slideshow")
_NOTEBOOK_METADATA = ("course", "title", "authors")
_KERNELS = {"python3": KERNEL_TITLE}
_LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}
_WRITTEN_OUT = 1e21  # from here on JavaScript writes an exponent, as Python does
_WIDGET = "application/vnd.jupyter.widget-view+json"  # a random model id, dead without its kernel


def normalize(notebook, kernel: str = "python3"):
    """Normalize a NotebookNode in place and give it back.  Doing it twice changes nothing more."""
    metadata = {key: notebook.metadata[key] for key in _NOTEBOOK_METADATA if key in notebook.metadata}
    title = _KERNELS.get(kernel, f"{KERNEL_TITLE}: {kernel.upper()}")
    metadata["kernelspec"] = {"display_name": title, "language": "python", "name": kernel}
    metadata["language_info"] = dict(_LANGUAGE)
    notebook.metadata = type(notebook)(metadata)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    taken: set[str] = set()
    for cell in notebook.cells:
        cell.id = cell_id(cell.cell_type, cell.source, taken)
        cell.metadata = type(notebook)({k: v for k, v in cell.metadata.items() if k in _CELL_METADATA})
        if cell.cell_type == "code":
            cell.outputs = merge_streams(cell.outputs)
            for output in cell.outputs:
                output.get("data", {}).pop(_WIDGET, None)
                for part in {"metadata", "data"} & set(output):
                    output[part] = _as_in_javascript(output[part])
    return notebook


def forget_python(model: dict, **_: object) -> None:
    """A pre-save hook for Jupyter: JupyterLab writes the reader's version of Python into each notebook it opens."""
    if model["type"] == "notebook" and model["content"]["nbformat"] == 4:
        model["content"]["metadata"].get("language_info", {}).pop("version", None)


def cell_id(kind: str, source: str, taken: set[str]) -> str:
    """An id that depends on what the cell says, not on when it was made; `taken` collects the ids in use."""
    base = hashlib.sha256(f"{kind}\n{source}".encode()).hexdigest()[:8]
    chosen, copies = base, 1
    while chosen in taken:
        copies += 1
        chosen = f"{base}-{copies}"
    taken.add(chosen)
    return chosen


def merge_streams(outputs: list) -> list:
    """Neighbouring pieces of one stream become one: where the kernel cut them is a matter of time."""
    merged: list = []
    for output in outputs:
        last = merged[-1] if merged else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            merged.append(output)
    return merged


def _as_in_javascript(value):
    """1.0 becomes 1, as it does when a browser saves the notebook: JavaScript has one kind of number."""
    if isinstance(value, dict):
        return type(value)({key: _as_in_javascript(item) for key, item in value.items()})
    if isinstance(value, list):
        return [_as_in_javascript(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < _WRITTEN_OUT:
        return int(value)
    return value


def traces_of_machine(notebook) -> list[tuple[int, str]]:
    """(execution count, text) wherever an output names a folder of this machine."""
    folders = {str(environment.ROOT), str(Path.home()), sys.prefix, tempfile.gettempdir(), short_folder()} - {"/", "\\"}
    pattern = re.compile("(?:" + "|".join(map(re.escape, sorted(folders, key=len, reverse=True))) + r")[\\/][^\s'\"<]*")
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            texts = [output.get("text", ""), *(v for v in output.get("data", {}).values() if isinstance(v, str))]
            found += [(cell.execution_count, match[0]) for text in texts for match in pattern.finditer(text)]
    return found
