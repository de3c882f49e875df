"""How code and files are.  Rules take source text and return complaints that say what to do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

FLOORS = ("ground", "optimize", "deploy", "scale", "assist", "study")
HEAVY = ("tensorflow", "tf_keras", "tensorflow_model_optimization", "ai_edge_litert", "tensorflowjs")
_REGISTRIES = r"pypi\.org/simple|files\.pythonhosted\.org|registry\.npmjs\.org|conda\.anaconda\.org"
_FOLDERS = r"(?<![\w.])/(?:home|Users)/(?!you\b|runner\b|jovyan\b)[a-z]\w*|[A-Z]:\\Users\\\w+"


def floor(module: str) -> str:
    """The floor of `utils.optimize.pruning` is optimize, that of `utils.data` the ground."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in FLOORS else "ground"


def imported(tree: ast.AST, inside: str = "") -> list[str]:
    """Dotted names that are imported anywhere; `from a import b` counts as a.b.  inside: the importing package."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(inside.split(".")[: len(inside.split(".")) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            names += [f"{module}.{alias.name}" for alias in node.names]
    return names


def one_way_imports(source: str, module: str) -> list[str]:
    """A module of `utils` imports from its own floor and those before it only: {FLOORS}."""
    own = FLOORS.index(floor(module))
    package = module.rpartition(".")[0]
    return [
        f"{module} ({floor(module)}) imports {name}: a floor imports only from itself and {FLOORS[:own]}"
        for name in imported(ast.parse(source), package)
        if name.startswith("utils.") and FLOORS.index(floor(name)) > own
    ]


def light_at_import(source: str, module: str) -> list[str]:
    """Modules of the ground floor and of study import TensorFlow inside of functions, so that tools start at once."""
    if floor(module) not in ("ground", "study"):
        return []
    tree = ast.parse(source)
    top = ast.Module([node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))], [])
    return [
        f"{module} imports {name} when it is imported itself; do it inside of the function that needs it"
        for name in imported(top)
        if name.split(".")[0] in HEAVY
    ]


def tests_assert(source: str, file: str) -> list[str]:
    """Each test asserts something, itself or through a helper of its file."""
    tree = ast.parse(source)
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    asserting = {name for name, node in functions.items() if _asserts(node)}
    while more := {name for name, node in functions.items() if name not in asserting and _called(node) & asserting}:
        asserting |= more
    return [
        f"{file}: {name} asserts nothing; a test that cannot fail is none"
        for name in functions
        if name.startswith("test") and name not in asserting
    ]


def _asserts(function: ast.AST) -> bool:
    """An assert statement, pytest.raises and the like, or a helper called assert_…"""
    return any(
        isinstance(node, ast.Assert) and not isinstance(node.test, ast.Constant) for node in ast.walk(function)
    ) or any(name in ("raises", "warns", "fail") or name.startswith("assert") for name in _called(function))


def _called(function: ast.AST) -> set[str]:
    calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    return {func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "") for func in calls}


def all_is_public(source: str) -> list[str]:
    """Where a module has `__all__`, it names every function and class that is public there, and only names it has."""
    tree = ast.parse(source)
    assigned = [
        node for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    if not assigned:
        return []
    listed = set(ast.literal_eval(assigned[0].value))
    defined = {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and n.name[0] != "_"}
    bound = {name.asname or name.name for n in tree.body if isinstance(n, ast.ImportFrom) for name in n.names}
    bound |= {part.id for n in tree.body for part in ast.walk(n) if isinstance(part, ast.Name)}
    return [f"`__all__` lacks {name}, or write it with an underscore" for name in sorted(defined - listed)] + [
        f"`__all__` names {name}, which is not there" for name in sorted(listed - defined - bound)
    ]


def docstrings_alike(source: str) -> list[str]:
    """A docstring has lines `name: text` for arguments and fields, `Returns …` and `Raises …`, and no `Args:` above."""
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    said = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(source)) if isinstance(node, nodes)]
    return [
        f"a docstring has a line {line.strip()!r}: write `name: text`, `Returns …`, `Raises …` without it"
        for line in "\n".join(said).splitlines()
        if line.strip() in ("Args:", "Arguments:", "Parameters:", "Attributes:", "Returns:", "Yields:", "Raises:")
    ]


def mirrored(modules: list[str], tests: list[str]) -> list[str]:
    """Each module has its tests: `utils/optimize/pruning.py` in `tests/optimize/test_pruning.py`.

    Paths are relative to utils and tests.
    """
    wanted = {path: str(PurePosixPath(path).with_name(f"test_{PurePosixPath(path).name}")) for path in modules}
    return [f"utils/{path} has no tests/{test}" for path, test in wanted.items() if test not in tests]


def no_machine_names(text: str, root: Path, hosts: tuple[str, ...] = ()) -> list[str]:
    """No file names a folder of somebody's machine, or the host of a package registry."""
    pattern = "|".join([_FOLDERS, _REGISTRIES, re.escape(str(root)), *map(re.escape, hosts)])
    return [
        f"it names {match[0]}: write paths relative to the course, and no index's address"
        for match in re.finditer(pattern, text)
    ]


_NAMED = re.compile(r"(?<![\w.])utils((?:\.[A-Za-z_]\w*)+)(?!\w|{)")


def named_functions_exist(source: str, root: Path) -> list[str]:
    """What a message or docstring calls `utils.module.function` is there, so that advice can be followed."""
    names = {name for text in _texts(ast.parse(source)) for name in _NAMED.findall(text)}
    return [
        f"utils{name} is named, and is not there" for name in sorted(names) if not _is_there(name.split(".")[1:], root)
    ]


def _texts(node: ast.AST) -> Iterator[str]:
    """Strings of a program; where an f-string computes something stands "{"."""
    if isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{" for part in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    else:
        for child in ast.iter_child_nodes(node):
            yield from _texts(child)


def _is_there(parts: list[str], root: Path) -> bool:
    """parts: of a dotted name below utils, a module's or that of something that a module defines or hands on."""
    for end in range(len(parts), -1, -1):
        place = root.joinpath("utils", *parts[:end])
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if file.is_file():
            return end == len(parts) or parts[end] in _defined(ast.parse(file.read_text("utf-8")))
    return False


def _defined(tree: ast.Module) -> set[str]:
    """Names that a module has: its functions, classes, variables and imports; those that it imports when asked, too."""
    found = {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    if "__getattr__" in found:
        found |= set(_texts(tree))
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found
