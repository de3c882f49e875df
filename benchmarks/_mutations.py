"""Mistakes in Python code, one small change each: an edge, a constant, a name in a list, one function for its sibling.

Only the changed expression is written anew, so comments and layout stay and no test can notice those.
"""

from __future__ import annotations

import ast
import copy
import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks._planting import Plant

_COMPARE = {
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_EDGE = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
_ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Pow: ast.Mult, ast.Mod: ast.Mult,
}  # fmt: skip
#: Functions of Python, and methods and functions of NumPy, that are taken one for the other.
_BUILT_IN = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list"}
_METHODS = {
    "min": "max", "max": "min", "any": "all", "all": "any", "round": "floor", "floor": "ceil", "ceil": "floor",
    "argmin": "argmax", "argmax": "argmin", "minimum": "maximum", "maximum": "minimum", "mean": "max", "median": "mean",
    "zeros": "ones", "ones": "zeros", "startswith": "endswith", "endswith": "startswith",
}  # fmt: skip
#: Layers that a list of layers may name by mistake, as neighbours of those that belong there.
_LAYERS = (
    *("LayerNormalization", "Softmax", "PReLU", "ELU", "BatchNormalization", "Dropout", "Flatten", "Conv3D"),
    *("DepthwiseConv2D", "SeparableConv2D", "LSTM", "Embedding", "Conv1D", "Dense", "AveragePooling2D"),
)
#: Parameters that a function may forget although it has no default for them.
_FORGOTTEN = {
    "seed": "0", "bits": "8", "batch": "1", "batch_size": "1", "axis": "0", "output": "0", "index": "0",
    "signed": "True",
}  # fmt: skip
#: Keywords that set how wrong an answer may be.
_TOLERANCES = ("rtol", "atol", "rel", "abs", "tolerance")


@dataclass(frozen=True)
class Change:
    """A mistake: its kind, the expression or statement that it replaces, and the new text."""

    what: str
    node: ast.AST
    text: str


def module(source: str, file: str, count: int, seed: int = 0) -> list[Plant]:
    """At most `count` mistakes of a module, of as many kinds as it has; the seed and the file's name choose them."""
    chance = random.Random(f"{seed} {file}")
    kinds: dict[str, list[Change]] = defaultdict(list)
    for change in changes(source):
        kinds[change.what].append(change)
    for found in kinds.values():
        chance.shuffle(found)
    order = sorted(kinds)
    chance.shuffle(order)
    turns = itertools.zip_longest(*(kinds[what] for what in order))
    in_turn = (change for turn in turns for change in turn if change is not None and _differs(source, change))
    return [planted(source, file, change) for change in itertools.islice(in_turn, count)]


def planted(source: str, file: str, change: Change) -> Plant:
    """The module with this mistake in it."""
    before = " ".join((ast.get_source_segment(source, change.node) or "").split())
    new = " ".join(change.text.split())
    where = f"{file}:{change.node.lineno}: {_around(before, new)} → {_around(new, before)}"
    return Plant(change.what, where, replaced(source, change.node, change.text))


def _around(text: str, other: str) -> str:
    """At most 60 letters of a text, from a little before the place where it differs from the other."""
    differs = next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(len(text), len(other)))
    start = max(0, min(differs - 25, len(text) - 60))
    return ("…" if start else "") + text[start : start + 60] + ("…" if len(text) > start + 60 else "")


def replaced(source: str, node: ast.AST, text: str) -> str:
    """`source` with `text` in the place of a node; columns of the syntax tree count bytes."""
    lines = [line.encode() for line in source.splitlines(keepends=True)]
    before = b"".join(lines[: node.lineno - 1]) + lines[node.lineno - 1][: node.col_offset]
    after = lines[node.end_lineno - 1][node.end_col_offset :] + b"".join(lines[node.end_lineno :])
    return (before + text.encode() + after).decode()


def changes(source: str) -> list[Change]:
    """Every mistake that could be planted."""
    tree = ast.parse(source)
    spared = _spared(tree)
    return [change for operator in OPERATORS for change in operator(tree) if id(change.node) not in spared]


def _differs(source: str, change: Change) -> bool:
    """Whether it still can be parsed and is another program."""
    try:
        return ast.dump(ast.parse(replaced(source, change.node, change.text))) != ast.dump(ast.parse(source))
    except SyntaxError:
        return False


def _spared(tree: ast.AST) -> set[int]:
    """What only words an error, an annotation or a program's command line is not worth a mistake."""
    found = set()
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.If) and _of_programs(node)):
            parts = [node]
        elif isinstance(node, ast.AnnAssign):
            parts = [node.annotation]
        elif isinstance(node, ast.Raise):
            parts = [node.exc, node.cause]
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            parts = [node.returns, *(arg.annotation for arg in ast.walk(node.args) if isinstance(arg, ast.arg))]
        found |= {id(inner) for part in parts if part is not None for inner in ast.walk(part)}
    return found


def _of_programs(node: ast.If) -> bool:
    return any(name in ast.unparse(node.test) for name in ("__main__", "TYPE_CHECKING"))


# ---------------------------------------------------------------- operators: each yields what it could change


def negated_comparisons(tree: ast.Module) -> Iterator[Change]:
    """`a < b` written as `a >= b`."""
    yield from _compared(tree, "negates a comparison", _COMPARE)


def moved_edges(tree: ast.Module) -> Iterator[Change]:
    """`a < b` written as `a <= b`, and `n - 1` as `n`."""
    yield from _compared(tree, "moves an edge", _EDGE)
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)) and _number(node.right) == 1:
            yield Change("moves an edge", node, f"({ast.unparse(node.left)})")


def _compared(tree: ast.Module, what: str, other: dict) -> Iterator[Change]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in other:
            changed = copy.deepcopy(node)
            changed.ops = [other[type(node.ops[0])]()]
            yield Change(what, node, ast.unparse(changed))


def swapped_operators(tree: ast.Module) -> Iterator[Change]:
    """`a + b` written as `a - b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            if isinstance(node.left, (ast.Constant, ast.JoinedStr)) and not isinstance(node.op, ast.Sub):
                continue  # a text, or 2 ** n, which is rarely mistaken
            changed = copy.deepcopy(node)
            changed.op = _ARITHMETIC[type(node.op)]()
            yield Change("swaps an operator", node, f"({ast.unparse(changed)})")


def checks_left_out(tree: ast.Module) -> Iterator[Change]:
    """An error that is not raised."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            yield Change("leaves a check out", node, "pass")


def constants(tree: ast.Module) -> Iterator[Change]:
    """A number of a table or a constant of the module is another one."""
    for statement in tree.body:
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
            for node in ast.walk(statement.value):
                if isinstance(node, ast.Constant) and _number(node) is not None:
                    yield Change("changes a constant", node, _another(node.value))


def lists_of_names(tree: ast.Module) -> Iterator[Change]:
    """A list of names lacks one, or has a neighbour that does not belong there."""
    tables = [s for s in tree.body if isinstance(s, (ast.Assign, ast.AnnAssign)) and "__all__" not in ast.unparse(s)]
    lists = [node for statement in tables for node in ast.walk(statement) if _names(node)]
    texts = sorted({part.value for node in lists for part in _parts(node) if isinstance(part, ast.Constant)})
    for node in lists:
        parts = _parts(node)
        for i in range(len(parts)):
            changed = copy.deepcopy(node)
            del _parts(changed)[i]
            if isinstance(node, ast.Dict):
                del changed.values[i]
            yield Change("drops a name from a list", node, ast.unparse(changed))
        for new in _neighbours(parts, texts) if not isinstance(node, ast.Dict) else ():
            changed = copy.deepcopy(node)
            changed.elts.append(new)
            yield Change("adds a name to a list", node, ast.unparse(changed))


def _names(node: ast.AST) -> bool:
    """Two names or more, written as text or with a dot: ("kernel", "bias"), (layers.Dense, layers.ReLU)."""
    if not isinstance(node, (ast.Tuple, ast.List, ast.Set, ast.Dict)) or not _loaded(node):
        return False
    parts = _parts(node)
    return len(parts) > 1 and all(_text(part) or isinstance(part, ast.Attribute) for part in parts)


def _loaded(node: ast.AST) -> bool:
    return isinstance(getattr(node, "ctx", ast.Load()), ast.Load)


def _parts(node: ast.AST) -> list:
    return node.keys if isinstance(node, ast.Dict) else node.elts


def _text(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _neighbours(parts: list, texts: list[str]) -> list[ast.expr]:
    """What could stand in this list by mistake: a name of another list of the module, or another layer."""
    if all(isinstance(part, ast.Attribute) for part in parts):
        there = {part.attr for part in parts}
        if not all(name[:1].isupper() and not name.isupper() for name in there):
            return []
        return [ast.Attribute(copy.deepcopy(parts[0].value), name, ast.Load()) for name in _LAYERS if name not in there]
    there = {part.value for part in parts if _text(part)}
    pool = _LAYERS if there & set(_LAYERS) else texts
    return [ast.Constant(name) for name in pool if name not in there and _alike(name, there)]


def _alike(name: str, others: set[str]) -> bool:
    """Whether a name is written as the others are: `Dense`, `CONV_2D`, `kernel`."""
    return any((name.isupper(), name[:1].isupper()) == (other.isupper(), other[:1].isupper()) for other in others)


def defaults(tree: ast.Module) -> Iterator[Change]:
    """A parameter, or a field of a class, has another default."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for default in (*node.args.defaults, *node.args.kw_defaults):
                if isinstance(default, ast.Constant) and isinstance(default.value, (bool, int, float)):
                    yield Change("changes a default", default, _another(default.value))
        if isinstance(node, ast.ClassDef):
            for field in node.body:
                value = field.value if isinstance(field, ast.AnnAssign) else None
                if isinstance(value, ast.Constant) and isinstance(value.value, (bool, int, float)):
                    yield Change("changes a default", value, _another(value.value))


def siblings(tree: ast.Module) -> Iterator[Change]:
    """One function does another's work: a sibling with the same parameters, `max` for `min`, the next of a table."""
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for name in _mistaken(node.func, functions):
                called = copy.deepcopy(node.func)
                if isinstance(called, ast.Name):
                    called.id = name
                else:
                    called.attr = name
                yield Change("does another's work", node.func, ast.unparse(called))
        if isinstance(node, ast.Dict) and len(node.values) > 1 and all(map(_text, node.keys)):
            for value, following in zip(node.values, [*node.values[1:], node.values[0]], strict=True):
                works = isinstance(value, (ast.Name, ast.Attribute, ast.Lambda)) or _text(value)
                if works and type(value) is type(following):
                    yield Change("does another's work", value, ast.unparse(following))


def _mistaken(called: ast.expr, functions: dict[str, ast.FunctionDef]) -> Iterator[str]:
    name = called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
    if isinstance(called, ast.Name) and name in functions:
        same = [other for other, function in functions.items() if _signature(function) == _signature(functions[name])]
        yield from (other for other in same if other != name)
    elif other := (_BUILT_IN if isinstance(called, ast.Name) else _METHODS).get(name):
        yield other


def _signature(function: ast.FunctionDef) -> tuple:
    """How a function is called: how many parameters by place and which by name; what it returns."""
    arguments = function.args
    by_place = len(arguments.posonlyargs) + len(arguments.args)
    returns = ast.unparse(function.returns) if function.returns else ""
    return by_place, tuple(arg.arg for arg in arguments.kwonlyargs), returns


def ignored_parameters(tree: ast.Module) -> Iterator[Change]:
    """A function takes a parameter and goes on with its default."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef):
            continue
        first = node.body[1:2] if ast.get_docstring(node) else node.body[:1]
        for name, value in _ignorable(node) if first else ():
            if any(isinstance(part, ast.Name) and part.id == name for s in node.body for part in ast.walk(s)):
                text = f"{name} = {value}\n{' ' * first[0].col_offset}"
                yield Change("ignores a parameter", _at_the_start_of(first[0]), text)


def _ignorable(function: ast.FunctionDef) -> Iterator[tuple[str, str]]:
    """(parameter, what it is without being passed)."""
    arguments = function.args
    places = [*arguments.posonlyargs, *arguments.args]
    given = dict(zip([a.arg for a in places][::-1], arguments.defaults[::-1], strict=False))
    given |= {a.arg: d for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is not None}
    for argument in (*places, *arguments.kwonlyargs):
        default = given.get(argument.arg)
        if isinstance(default, ast.Constant) or _number(default) is not None:
            yield argument.arg, ast.unparse(default)
        elif default is None and argument.arg in _FORGOTTEN:
            yield argument.arg, _FORGOTTEN[argument.arg]


def _at_the_start_of(statement: ast.stmt) -> ast.AST:
    """A node of no length in front of a statement."""
    line = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", []))])
    place = ast.Pass(lineno=line, end_lineno=line, col_offset=statement.col_offset, end_col_offset=statement.col_offset)
    return place


def moved_limits(tree: ast.Module) -> Iterator[Change]:
    """A limit in a condition, or a tolerance, is half as large again, or a third less."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], tuple(_EDGE)):
            limit = node.comparators[0]
            factor = 1.5 if isinstance(node.ops[0], (ast.Lt, ast.LtE)) else 1 / 1.5
        elif isinstance(node, ast.keyword) and node.arg in _TOLERANCES:
            limit, factor = node.value, 1.5
        else:
            continue
        if isinstance(limit, ast.Constant) and _number(limit) not in (None, 0, 1):
            yield Change("moves a limit by half", limit, _times(limit.value, factor))


def other_elements(tree: ast.Module) -> Iterator[Change]:
    """The first of several where the last is meant, and the other way round."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and _loaded(node) and _number(node.slice) in (0, -1, 1):
            yield Change("takes another element", node.slice, "-1" if _number(node.slice) == 0 else "0")


def shifted_scales(tree: ast.Module) -> Iterator[Change]:
    """Every assignment to a scale or a zero point in functions, a little off."""
    for node in ast.walk(tree):
        names = [getattr(target, "id", "") for target in node.targets] if isinstance(node, ast.Assign) else []
        kind = next((k for k in ("zero_point", "scale") if any(name.endswith(k) for name in names)), None)
        if kind and not isinstance(node.value, ast.Constant):
            shift = " + 1" if kind == "zero_point" else " * 1.25"
            yield Change(f"shifts a {kind.replace('_', ' ')}", node.value, f"({ast.unparse(node.value)}){shift}")


OPERATORS: tuple[Callable[[ast.Module], Iterator[Change]], ...] = (
    negated_comparisons,
    swapped_operators,
    checks_left_out,
    shifted_scales,
    moved_edges,
    moved_limits,
    constants,
    lists_of_names,
    defaults,
    siblings,
    ignored_parameters,
    other_elements,
)


def _number(node: ast.AST | None) -> float | None:
    """The value of a number, with its sign; None for anything else."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _number(node.operand)
        return None if value is None else -value
    numeric = isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and type(node.value) is not bool
    return node.value if numeric else None


def _another(value: bool | float) -> str:
    """Another number of the same kind, or the other truth."""
    if isinstance(value, bool):
        return str(not value)
    return str(value + 1) if isinstance(value, int) else _times(value or 1.0, 1.25)


def _times(value: float, factor: float) -> str:
    """A number times a factor; a whole number stays whole and becomes another one."""
    if isinstance(value, int):
        return str(max(round(value * factor), value + 1) if factor > 1 else min(round(value * factor), value - 1))
    return f"{value * factor:.6g}"
