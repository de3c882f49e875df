"""Which code a function uses, found in the source: functions, classes and constants of this repository, with digests.

    dependencies.digests_of(["benchmarks.measuring:hits"])
    {"benchmarks.measuring:hits": "0b1c…", "utils.models:mlp": "9d31…", …}

Names are followed through modules and their imports.  A class counts as a whole, and so does a module that is handed on
as an object; what a module does when it is imported counts when something of it is used.  Text that names code
("utils.deploy.tflite.tflite_model:_trial") counts as a use.

A digest is taken of the syntax tree without comments, formatting, docstrings, imports and the annotations of functions;
each name stands there as its definition calls it.  So moving a function to another module, or importing it under
another name, changes no digest.  Nothing is imported or run, and every supported Python finds the same digests.
"""

from __future__ import annotations

import ast
import copy
import functools
import hashlib
import inspect
import json
import re
import symtable
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils import ROOT

__all__ = ["changes", "digest_of_file", "digests_of", "name_of"]

#: Packages of the repository whose code is followed.
PACKAGES = ("utils", "benchmarks")

#: Modules that store and show figures but do not make them.
IGNORED = {"utils.recorded", "utils.files", "utils.dependencies", "utils.claims"}

#: Tables in which code looks up one entry by a key that it spells out.  An entry counts if its key is spelled out in
#: code that is used, so that a new network or format makes no old record stale.
TABLES = {
    "utils.models:ARCHITECTURES",
    "utils.training:EPOCHS",
    "utils.data:SHA256",
    "utils.data:CLASS_NAMES",
    "utils.data:VALIDATION",
    "utils.formats:MODULES",
    "utils.optimize.quantization.recipes:RECIPES",
}

#: What uses this reads data/weights/NETWORK-DATA.npz.
READS_WEIGHTS = "utils.training:_load_shipped"

_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_CODE_IN_TEXT = re.compile(rf"(?:{'|'.join(PACKAGES)})(?:\.\w+)+(?::\w+)?")


@dataclass(frozen=True)
class _Place:
    """What a name stands for.  name: a definition, "*" for the whole module, "" for what it does when imported."""

    module: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.module}:{self.name}" if self.name else self.module


@dataclass(frozen=True)
class _Module:
    """The statements of a module: those that define a name, its imports, and those that only do something."""

    name: str
    definitions: dict[str, list[ast.stmt]]
    imports: dict[str, _Place]
    effects: list[ast.stmt]


@dataclass(frozen=True)
class _Read:
    """What was read in some statements: their digest, the places that they use, and their texts."""

    digest: str
    places: frozenset[_Place]
    texts: frozenset[str]


def digests_of(entries: Iterable[str], root: Path = ROOT) -> dict[str, str]:
    """All that the entries use, themselves included: {"module:name": digest}.

    entries: "module:name", such as "benchmarks.weights:measure".
    root: the folder of the repository.
    Returns names in order; "module" alone is what a module does when it is imported.  Behind them the files of the
        networks that ship, if they are read.  (Data sets need none: their SHA-256 stand in the code that loads them.)
    Raises ValueError: there is no such definition.
    """
    source = _indexed(_texts_below(root))
    start = [_entry(source, entry) for entry in entries]
    spelled: frozenset[str] = frozenset()
    while True:  # the entry of a table may spell out the key of another
        found, seen = _closure(source, start, spelled)
        if seen == spelled:
            return dict(sorted(found.items())) | _weights(found, spelled, root)
        spelled = seen


def _weights(found: Iterable[str], spelled: frozenset[str], root: Path) -> dict[str, str]:
    """{path: digest} of the networks that ship, if what was found reads them and spells out network and data set."""
    if READS_WEIGHTS not in found:
        return {}
    paths = [path.relative_to(root).as_posix() for path in sorted((root / "data/weights").glob("*.npz"))]
    return {path: digest_of_file(path, root) for path in paths if spelled.issuperset(Path(path).stem.split("-"))}


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Sentences that say what differs; a definition that only moved to another module does not."""
    gone = {name: digest for name, digest in before.items() if name not in now}
    new = {name: digest for name, digest in now.items() if name not in before}
    moved = {(_own(name), gone[name]) for name in gone} & {(_own(name), new[name]) for name in new}
    return [
        *(f"{name} has changed" for name in before if name in now and before[name] != now[name]),
        *(f"{name} is gone, or used no longer" for name in gone if (_own(name), gone[name]) not in moved),
        *(f"{name} is used now" for name in new if (_own(name), new[name]) not in moved),
    ]


def name_of(function: Callable, root: Path = ROOT) -> str:
    """ "module:name" of a function or a class, also if its file was started as a program.

    Raises ValueError: it does not stand at the top of a module of the repository.
    """
    try:
        path = Path(inspect.getfile(function)).resolve()
    except TypeError:  # built in
        path = root.parent
    if not path.is_relative_to(root) or "." in function.__qualname__:
        raise ValueError(f"{function!r} does not stand at the top of a module of the repository; pass one that does")
    return f"{'.'.join(path.relative_to(root).with_suffix('').parts)}:{function.__name__}"


def digest_of_file(path: str, root: Path = ROOT) -> str:
    """Digest of one file: of Python, and of a notebook's code, as above but without what it uses; else of the bytes."""
    content = (root / path).read_bytes()
    if path.endswith(".ipynb"):
        cells = json.loads(content)["cells"]
        content = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code").encode()
    if path.endswith((".py", ".ipynb")):
        text = content.decode("utf-8")
        return _Reader(_indexed(_texts_below(root)), _parsed(path, text)).read(ast.parse(text).body).digest
    return _hash(content)


# ---------------------------------------------------------------- following


def _closure(source: _Source, start: Sequence[_Place], spelled: frozenset[str]) -> tuple[dict, frozenset[str]]:
    """Everything that can be reached, and all texts in it, if tables have the entries that are `spelled` out."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    queue, met = list(start), set(start)
    while queue:
        place = queue.pop()
        if place.name == "*":
            module = source.module(place.module)
            reached = {_Place(place.module, name) for name in ("", *module.definitions)}
        else:
            statements, read = source.read(place, spelled)
            if statements:
                found[str(place)] = read.digest
            seen |= read.texts
            reached = {*read.places, *_around(place.module)}
        reached = {other for other in reached if other.module not in IGNORED and source.module(other.module)}
        queue += reached - met
        met |= reached
    return found, frozenset(seen)


def _around(module: str) -> Iterator[_Place]:
    """To use a module is to import it and the packages around it."""
    parts = module.split(".")
    return (_Place(".".join(parts[:count])) for count in range(1, len(parts) + 1))


def _entry(source: _Source, entry: str) -> _Place:
    place = _Place(*entry.partition(":")[::2])
    module = source.module(place.module)
    if module is None or place.name not in module.definitions:
        raise ValueError(f"there is no {entry!r} in the repository; pass 'module:function'")
    return place


def _own(name: str) -> str:
    """The name of a definition without its module; the same word for everything that modules do when imported."""
    return name.partition(":")[2]


# ---------------------------------------------------------------- modules


class _Source:
    """The modules of the repository, parsed when they are asked for."""

    def __init__(self, texts: Iterable[tuple[str, str]]):
        self.texts = dict(texts)
        self._modules: dict[str, _Module] = {}
        self._reads: dict[tuple, tuple[list[ast.stmt], _Read]] = {}

    def module(self, name: str) -> _Module | None:
        if name in self.texts and name not in self._modules:
            self._modules[name] = _parsed(name, self.texts[name])
        return self._modules.get(name)

    def member(self, place: _Place) -> _Place | None:
        """Where module.name is defined: imports are followed.  None for what no statement defines."""
        module, below = self.module(place.module), f"{place.module}.{place.name}"
        if module is None:  # from outside, or a folder without __init__.py, such as benchmarks
            return _Place(below) if below in self.texts else place
        if place.name in module.definitions:
            return place
        if place.name in module.imports:
            return self.settled(module.imports[place.name])
        return _Place(below) if below in self.texts else None

    def settled(self, place: _Place) -> _Place:
        """What an import gives: a module, a definition, or something from outside."""
        return (self.member(place) or _Place(place.module)) if place.name else place

    def read(self, place: _Place, spelled: frozenset[str]) -> tuple[list[ast.stmt], _Read]:
        """The statements that count for a place, and what is in them."""
        module = self.module(place.module)
        if place.name:
            statements = [_picked(str(place), s, spelled) for s in module.definitions[place.name]]
        else:
            statements = [s for s in module.effects if _counts(s, spelled)]
        key = (place, *map(id, statements))
        if key not in self._reads:  # the statements are kept too, or an id might be given again
            self._reads[key] = (statements, _Reader(self, module).read(statements))
        return self._reads[key]


def _texts_below(root: Path) -> tuple[tuple[str, str], ...]:
    """(name, text) of every module."""
    paths = sorted(path for package in PACKAGES for path in (root / package).rglob("*.py"))
    names = [".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return tuple(zip(names, (path.read_text("utf-8") for path in paths), strict=True))


@functools.lru_cache(maxsize=2)
def _indexed(texts: tuple[tuple[str, str], ...]) -> _Source:
    return _Source(texts)


def _parsed(name: str, text: str) -> _Module:
    module = _Module(name, {}, {}, [])
    for statement in ast.parse(text).body:
        if _is_text(statement) or (isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test)):
            continue
        imports = _imports(statement, module.name)
        module.imports.update(imports)
        names = _defined(statement) - imports.keys()
        for each in names:
            module.definitions.setdefault(each, []).append(statement)
        if not names and not isinstance(statement, (ast.Import, ast.ImportFrom)):
            module.effects.append(statement)
    return module


def _defined(statement: ast.stmt) -> set[str]:
    table = symtable.symtable(ast.unparse(statement), "?", "exec")
    bound = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_namespace()}
    return bound - _loop_names(statement)


def _loop_names(statement: ast.stmt) -> set[str]:
    """Names that only comprehensions bind: from Python 3.12 on `symtable` lists them in the scope around."""
    loops = [node for node in ast.walk(statement) if isinstance(node, _COMPREHENSIONS)]
    inside = {id(node) for loop in loops for node in ast.walk(loop)}
    targets = [part.target for loop in loops for part in loop.generators]
    bound = {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
    outside = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and id(node) not in inside}
    return bound - outside


def _imports(tree: ast.AST, module: str) -> dict[str, _Place]:
    """{name: what it stands for} of all imports in a statement, those inside functions included."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name.partition(".")[0]] = _Place(
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        if isinstance(node, ast.ImportFrom):
            if node.level or any(alias.name == "*" for alias in node.names):
                raise ValueError(f"{module} has a relative import, or imports *; write which names of which module")
            found |= {alias.asname or alias.name: _Place(node.module, alias.name) for alias in node.names}
    return found


def _picked(name: str, statement: ast.stmt, spelled: frozenset[str]) -> ast.stmt:
    """The statement; of one of the TABLES, only with the entries that are spelled out."""
    if name not in TABLES or not isinstance(getattr(statement, "value", None), ast.Dict):
        return statement
    statement = copy.deepcopy(statement)
    table = statement.value
    pairs = [(k, v) for k, v in zip(table.keys, table.values, strict=True) if getattr(k, "value", None) in spelled]
    table.keys, table.values = [k for k, _ in pairs], [v for _, v in pairs]
    return statement


def _counts(effect: ast.stmt, spelled: frozenset[str]) -> bool:
    """False for `register("name", …)` of a name that nobody spells out."""
    call = getattr(effect, "value", None)
    if not isinstance(call, ast.Call) or not ast.unparse(call.func).endswith("register") or not call.args:
        return True
    return getattr(call.args[0], "value", None) in spelled


# ---------------------------------------------------------------- statements


class _Reader(ast.NodeTransformer):
    """Turns statements of one module into a digest and the places that they use."""

    def __init__(self, source: _Source, module: _Module):
        self.source, self.module = source, module
        self.places: set[_Place] = set()
        self.texts: set[str] = set()
        self.names: set[str] = set()
        self.inner: dict[str, _Place] = {}

    def read(self, statements: Sequence[ast.stmt]) -> _Read:
        forms = []
        for statement in statements:
            bare = _Bare().visit(copy.deepcopy(statement))
            self.inner = _imports(bare, self.module.name)
            self.names = _global_names(bare) | self.inner.keys()
            self.places |= {_Place(place.module) for place in self.inner.values()}
            forms.append(_form(self.visit(bare)))
        return _Read(_hash(repr(forms).encode()), frozenset(self.places), frozenset(self.texts))

    def visit_Import(self, node: ast.Import) -> None:
        return None  # the names it gives stand for what they import

    visit_ImportFrom = visit_Import

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return self._replaced([node.id]) or node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        chain = _chain(node)
        return (chain and self._replaced(chain)) or self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if not isinstance(node.value, str):
            return node
        self.texts.add(node.value)
        if not _CODE_IN_TEXT.fullmatch(node.value):
            return node
        place = _Place(*node.value.partition(":")[::2])
        if self.source.module(place.module) is None:
            return node
        self.places.add(self.source.settled(place))
        return ast.Constant(place.name)

    def _replaced(self, chain: list[str]) -> ast.AST | None:
        """The node for a.b.c, named as it is defined; None if `a` is no global name."""
        first, *rest = chain
        if first not in self.names:
            return None
        if first in self.inner:
            place = self.source.settled(self.inner[first])
        elif first in self.module.definitions:
            place = _Place(self.module.name, first)
        elif first in self.module.imports:
            place = self.source.settled(self.module.imports[first])
        else:
            return None
        while rest and not place.name and self.source.module(place.module):
            below = self.source.member(_Place(place.module, rest[0]))
            if below is None:
                break
            place, rest = below, rest[1:]
        if self.source.module(place.module) is None and place.module != self.module.name:  # from outside
            return ast.Name(".".join([*filter(None, (place.module, place.name)), *rest]))
        if not place.name and not rest:
            place = _Place(place.module, "*")
        self.places.add(place)
        node: ast.AST = ast.Name(place.name if place.name not in ("", "*") else "module")
        for name in rest:
            node = ast.Attribute(node, name)
        return node


class _Bare(ast.NodeTransformer):
    """Drops docstrings and the annotations of functions; keeps those of fields as text, without their modules."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return ast.Pass() if _is_text(node) else self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(re.sub(r"\w+\.", "", ast.unparse(node.annotation)))
        return self.generic_visit(node)


def _is_text(statement: ast.stmt) -> bool:
    value = getattr(statement, "value", None)
    return isinstance(statement, ast.Expr) and isinstance(value, ast.Constant) and isinstance(value.value, str)


def _global_names(statement: ast.stmt) -> set[str]:
    """The names that a statement takes from its module, not from an argument or a variable of its own."""
    module = symtable.symtable(ast.unparse(statement), "?", "exec")
    names = {symbol.get_name() for symbol in module.get_symbols()} - _loop_names(statement)
    tables = module.get_children()
    while tables:
        table = tables.pop()
        names |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global()}
        tables += table.get_children()
    return names


def _chain(node: ast.AST) -> list[str] | None:
    """["a", "b", "c"] of a.b.c; None if it does not begin with a name."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else None


def _form(node: object) -> object:
    """A syntax tree as nested lists, without what is empty: newer Pythons have more empty fields."""
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if name not in ("ctx", "kind", "type_comment")]
        return [type(node).__name__, *([name, _form(value)] for name, value in fields if value not in (None, []))]
    if isinstance(node, list):
        return [_form(each) for each in node if not isinstance(each, ast.Pass)]
    return f"{type(node).__name__} {node!r}"


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
