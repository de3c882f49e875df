"""Which operators of a .tflite file a delegate takes, and in how many parts.

A delegate is asked about each operator.  Each connected group that it takes becomes one node DELEGATE, which stands in
the list of operators behind the file's own; those that it has replaced stay in that list, too.  So what really runs is
found by walking back from the outputs, and from operators that have none, such as ASSIGN_VARIABLE.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from utils.artifact import ArtifactError
from utils.deploy.tflite.session import KERNELS, check_kernels, content_of, interpreter_errors, stderr_kept
from utils.deploy.tflite.verification import verify


@dataclass(frozen=True)
class Part:
    """One step of what runs: operators that a delegate has taken together, or one with a kernel of LiteRT's own."""

    delegated: bool
    operators: tuple[str, ...]


def parts(
    source: bytes | str | os.PathLike[str], kernels: str = "default", *, fuse: bool = True, trusted: bool = False
) -> tuple[Part, ...]:
    """What runs, in order.

    source: bytes or path of a .tflite file; its main graph, as declared.
    kernels: "default" asks XNNPACK; with "builtin" and "reference" no delegate is asked.
    fuse: False makes a part of its own of each operator that the delegate takes.
    trusted: True skips the trial in a child process; only for files that this program has made.

    Raises ArtifactError if the file cannot be run.
    """
    content = content_of(source)
    check_kernels(kernels)
    if not trusted and not (verdict := verify(content, kernels)).ok:
        raise ArtifactError(f"this .tflite file cannot be run with kernels={kernels!r}: {verdict.reason}")
    interpreter = open_interpreter(content, kernels, fuse=fuse)
    nodes = interpreter._get_ops_details()
    return tuple(_order(nodes, [detail["index"] for detail in interpreter.get_output_details()]))


def open_interpreter(content: bytes, kernels: str = "default", *, fuse: bool = True) -> Any:
    """LiteRT's own Interpreter, allocated, for a file that is known to run."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with stderr_kept(), interpreter_errors("the interpreter refuses the file"):
        interpreter = Interpreter(
            model_content=content,
            num_threads=1,
            experimental_op_resolver_type=OpResolverType[KERNELS[kernels]],
            experimental_disable_delegate_node_fusion=not fuse,
        )
        interpreter.allocate_tensors()
    return interpreter


def row(name: str, found: Iterable[Part]) -> dict[str, object]:
    """A line of a table: operators that the delegate took, its parts, and which operators were left to LiteRT's own."""
    found = list(found)
    left = [kind for part in found if not part.delegated for kind in part.operators]
    kinds = ", ".join(f"{left.count(kind)} × {kind}" for kind in dict.fromkeys(left))
    taken = [part for part in found if part.delegated]
    return {
        "file": name,
        "operators taken": sum(len(part.operators) for part in taken),
        "parts": len(taken),
        "left to built-in kernels": kinds or "none",
    }


def _order(nodes: list[dict[str, Any]], outputs: list[int]) -> list[Part]:
    """Parts in the order of execution: each after those that make what it reads, else in the file's order.

    nodes: the interpreter's, with "op_name", "inputs" and "outputs"; those of delegates come last.
    """
    delegates = [node for node in nodes if node["op_name"] == "DELEGATE"]
    own = [node for node in nodes if node["op_name"] != "DELEGATE"]
    # a delegate stands before the operator that it has replaced
    makers = {int(tensor): node for node in [*own, *delegates] for tensor in node["outputs"]}
    inside = {delegate["index"]: _inside(delegate, own) for delegate in delegates}
    replaced = set().union(*inside.values())
    # what has no output is there for what it leaves behind: it writes a variable
    writers = [node for node in own if not len(node["outputs"]) and node["index"] not in replaced]
    writers += [delegate for delegate in delegates if not len(delegate["outputs"]) and inside[delegate["index"]]]
    needed = _needed([*(makers.get(int(output)) for output in outputs), *writers], makers)
    waiting = sorted(needed.values(), key=lambda node: min(inside.get(node["index"]) or [node["index"]]))
    made: list[Part] = []
    done: set[int] = set()
    while waiting:
        at = next(at for at, node in enumerate(waiting) if _before(node, makers) <= done)
        node = waiting.pop(at)
        done.add(node["index"])
        taken = inside.get(node["index"])
        made.append(Part(False, (node["op_name"],)) if taken is None else Part(True, tuple(taken.values())))
    return made


def _before(node: dict[str, Any], makers: dict[int, dict[str, Any]]) -> set[int]:
    """The numbers of the nodes that make what a node reads."""
    return {makers[int(tensor)]["index"] for tensor in node["inputs"] if int(tensor) in makers} - {node["index"]}


def _needed(ends: list[dict[str, Any] | None], makers: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """{index: node} of these nodes and of all that they need; without recursion, since a chain may be long."""
    found: dict[int, dict[str, Any]] = {}
    while ends:
        node = ends.pop()
        if node is not None and node["index"] not in found:
            found[node["index"]] = node
            ends += [makers.get(int(tensor)) for tensor in node["inputs"]]
    return found


def _inside(delegate: dict[str, Any], own: list[dict[str, Any]]) -> dict[int, str]:
    """{index: name} of the operators that a delegate's node has replaced, from its outputs back to its inputs.

    An operator without output is among them if it reads what only they make, or what is handed in and none of them
    reads.
    """
    given, shown = (set(map(int, delegate[side])) for side in ("inputs", "outputs"))
    makers = {int(tensor): node for node in own for tensor in node["outputs"]}
    inner = {tensor: node for tensor, node in makers.items() if tensor not in given - shown}
    found = _needed([makers.get(tensor) for tensor in shown], inner)
    for writer in (node for node in own if not len(node["outputs"])):
        read = {int(tensor) for node in found.values() for tensor in node["inputs"]}
        kept = {int(tensor) for node in found.values() for tensor in node["outputs"]} - shown
        if (kept | given - read) & set(map(int, writer["inputs"])):
            found |= _needed([writer], inner)
    return {index: found[index]["op_name"] for index in sorted(found)}
