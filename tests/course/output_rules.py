"""What stored outputs may hold.  Each rule takes a Notebook and returns complaints that say what to do."""

from __future__ import annotations

import ast
import copy
import html
import re

from commands.parts.normalize import normalize, traces_of_machine
from tests.course.notebooks import Notebook, literal, parsed
from utils.claims import Bound, claim_html, claim_text, format_figure

RUN = "run `python course.py run NN`"
#: One cell in so many may opt out of the comparison.
ONE_IN = 20
_BRACKETS = re.compile(r"⟦([^⟧\n]*)⟧")
_OPT_OUTS = {"nbval-ignore-output", "nbval-skip", "raises-exception", "nbval-raises-exception", "nbval-check-output"}
_OPT_OUT_COMMENT = re.compile(r"(?m)^\s*#\s*(NBVAL_\w+|PYTEST_VALIDATE_IGNORE_OUTPUT)")
_MACHINE = re.compile(r"(?:/home/|/Users/|/root/|/tmp/|[A-Z]:\\Users\\)[^\s'\"`<)]*")


def executed_in_order(nb: Notebook) -> list[str]:
    """Cells were executed in order, as `course.py run` does: a cell without a count is not compared at all."""
    counts = [cell.execution_count for cell in nb.code]
    return [] if counts == list(range(1, len(counts) + 1)) else [f"execution counts are {counts}, not 1 to n; {RUN}"]


def no_errors(nb: Notebook) -> list[str]:
    """No traceback and nothing on standard error."""
    wrong = []
    for cell in nb.code:
        for output in cell.outputs:
            if output.output_type == "error":
                wrong.append(f"cell [{cell.execution_count}] ends with {output.ename}; catch it and print its message")
            if output.output_type == "stream" and output.name == "stderr":
                wrong.append(f"cell [{cell.execution_count}] writes to standard error: {output.text[:80]!r}")
    return wrong


def opt_outs(nb: Notebook) -> list[str]:
    """At most 1 cell in {ONE_IN} opts out of the comparison, and says why in its metadata, `course.reason`."""
    out = [
        cell
        for cell in nb.code
        if _OPT_OUTS & set(cell.metadata.get("tags", [])) or _OPT_OUT_COMMENT.search(cell.source)
    ]
    wrong = [
        f"cell [{cell.execution_count}] opts out of the comparison; say why in metadata: course.reason"
        for cell in out
        if len(str(cell.metadata.get("course", {}).get("reason", "")).split()) < 3
    ]
    if ONE_IN * len(out) > len(nb.content.cells):
        wrong.append(f"{len(out)} of {len(nb.content.cells)} cells opt out; at most one in {ONE_IN} may")
    return wrong


def alternative_texts(nb: Notebook) -> list[str]:
    """Each picture has a text for those who cannot see it: `alt=`, or the square brackets of Markdown."""
    wrong = []
    for cell in nb.code:
        for output in cell.outputs:
            data = output.get("data", {})
            alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
            if any(kind.startswith("image/") for kind in data) and (
                len(alt.split()) < 5 or data.get("text/plain") != f"Figure: {alt}"
            ):
                wrong.append(
                    f"cell [{cell.execution_count}] shows a picture without its text; use plots.show(fig, alt=…)"
                )
    for cell in nb.text:
        for alt, target in re.findall(r"!\[([^\]]*)\]\(([^)]*)\)", cell.source):
            if len(alt.split()) < 3:
                wrong.append(f"the picture {target} needs a text in its square brackets that says what it shows")
        for tag in re.findall(r"<img\b[^>]*>", cell.source):
            if not re.search(r"""alt=["'][^"']{10,}""", tag):
                wrong.append(f"{tag} needs an alt text that says what it shows")
    return wrong


def brackets_agree(nb: Notebook) -> list[str]:
    """What stands in ⟦brackets⟧ was made by a claim or a table and lies within its bound."""
    wrong = []
    for cell in nb.code:
        for output in cell.outputs:
            wrong += [f"cell [{cell.execution_count}]: {text}; {RUN}" for text in _disagreements(output)]
    return wrong


def _disagreements(output) -> list[str]:
    data = output.get("data", {})
    texts = [text for text in (output.get("text"), *data.values()) if isinstance(text, str)]
    said = output.get("metadata", {}).get("course")
    if said is None:
        return ["brackets in an output that no claim or table made"] if any("⟦" in t or "⟧" in t for t in texts) else []
    entries = [said] if said["kind"] == "claim" else said["bounded"]
    figures = [entry["figure"] for entry in entries if "equals" not in entry["bound"]]
    wrong = [
        f"shows {_BRACKETS.findall(html.unescape(text))} where its metadata has {figures}"
        for text in texts
        if _BRACKETS.findall(html.unescape(text)) != figures or text.count("⟦") != len(figures)
    ]
    found = [text for entry in entries for text in _wrong_figure(entry)]
    if said["kind"] == "claim" and not found:  # with a wrong bound there is no text to compare with
        for kind, expected in (("text/plain", claim_text(said)), ("text/html", claim_html(said))):
            if data.get(kind) != expected:
                wrong.append(f"{data.get(kind)!r} is not the claim in its metadata, {expected!r}")
    return wrong + found


def _wrong_figure(entry) -> list[str]:
    where = entry.get("id") or f"row {entry['row']!r}, column {entry['column']!r}"
    try:
        held = Bound(**entry["bound"]).holds(entry["measured"])
    except (TypeError, ValueError) as error:
        return [f"{where}: {error}"]
    if not held:
        return [f"{where}: {entry['measured']!r} is out of its bound {Bound(**entry['bound'])}"]
    values = [entry["measured"]]
    if type(values[0]) is int:  # or a float that is whole: stored notebooks write 1.0 as 1, as browsers do
        values.append(float(values[0]))
    forms = {format_figure(value, digits) for value in values for digits in range(1, 16)}
    if not any(entry["figure"] == form or entry["figure"].startswith(f"{form} ") for form in forms):
        return [f"{where}: {entry['figure']!r} is not how {entry['measured']!r} is printed"]
    return []


def claims_as_written(nb: Notebook) -> list[str]:
    """The stored output of each `claim(…)` has the id, the sentence and the bound of the code.

    But for claims within `try`: they are there to fail.
    """
    wrong = []
    for cell, call in nb.calls("claim"):
        if not inside_try(cell.source, call) and call.args and isinstance(id := literal(call.args[0]), str):
            wrong += [f"claim {id}: {text}; {RUN}" for text in _not_as_written(cell, call, id)]
    return wrong


def inside_try(source: str, call: ast.Call) -> bool:
    """Whether `call` stands between a `try:` of the cell and its `except`."""
    tries = [node for node in ast.walk(parsed(source)) if isinstance(node, ast.Try)]
    return any(node.body[0].lineno <= call.lineno <= node.body[-1].end_lineno for node in tries)


def _not_as_written(cell, call, id: str) -> list[str]:
    if cell.execution_count is None:
        return []  # executed_in_order says so, once
    stored = [o.metadata["course"] for o in cell.outputs if o.get("metadata", {}).get("course", {}).get("id") == id]
    if not stored:
        return [f"cell [{cell.execution_count}] has no output of it"]
    given = {keyword.arg: literal(keyword.value) for keyword in call.keywords}
    sentence = _said(cell, call) if len(call.args) > 1 else given.get("sentence")
    low, high = given.get("between") or (None, None)
    bound = {
        "below": given.get("below"),
        "above": given.get("above"),
        "equals": given.get("equals"),
        "low": low,
        "high": high,
    }
    wrong = [
        f"the code bounds it by {name}={value!r}, the stored output by {stored[0]['bound']}"
        for name, value in bound.items()
        if value is not None and stored[0]["bound"].get(name) != value
    ]
    if sentence is not None and stored[0]["sentence"] != sentence:
        wrong.append("its stored sentence is another one")
    return wrong


def _said(cell, call) -> object:
    """The sentence of a claim, also where a name stands for it that the cell sets in a line above."""
    sentence = call.args[1]
    if not isinstance(sentence, ast.Name):
        return literal(sentence)
    above = [
        node.value
        for node in parsed(cell.source).body
        if isinstance(node, ast.Assign) and node.lineno < call.lineno and _names(node.targets, sentence.id)
    ]
    return literal(above[-1]) if above else None


def _names(targets: list[ast.expr], name: str) -> bool:
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def normalized(nb: Notebook) -> list[str]:
    """A notebook is stored as `course.py run` writes it, and names no folder of a machine."""
    kernel = nb.content.metadata.get("kernelspec", {}).get("name", "python3")
    if normalize(copy.deepcopy(nb.content), kernel) != nb.content:
        return [f"its ids or metadata are not normalized; {RUN}"]
    texts = [cell.source for cell in nb.content.cells]
    texts += [str(output.get("text", "")) + str(output.get("data", "")) for cell in nb.code for output in cell.outputs]
    found = [match[0] for text in texts for match in _MACHINE.finditer(text)] + [
        t for _, t in traces_of_machine(nb.content)
    ]
    return [f"it names a folder of a machine: {name}" for name in found]


OUTPUT_RULES = (
    executed_in_order,
    no_errors,
    opt_outs,
    alternative_texts,
    brackets_agree,
    claims_as_written,
    normalized,
)
