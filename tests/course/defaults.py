"""The defaults of public functions and classes, as readers meet them:  python -m tests.course.defaults

What nobody passes, nobody tests: a default can be changed unseen.  `defaults.txt` lists all numbers, truths and words
that stand as defaults, so that a change is one that somebody decided on.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from utils import ROOT

LIST = Path(__file__).with_name("defaults.txt")


def there() -> dict[str, str]:
    """{"utils/measure/timing.py throughput rounds": "30"} of all modules of utils."""
    files = [path for path in sorted(ROOT.glob("utils/**/*.py")) if path.parent.name != "checks"]
    return dict(entry for path in files for entry in of(path.read_text("utf-8"), path.relative_to(ROOT).as_posix()))


def of(source: str, file: str) -> Iterator[tuple[str, str]]:
    """(file, function or class, parameter or field; default) of what is public in a module."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            fields = [f for f in node.body if isinstance(f, ast.AnnAssign) and _constant(f.value)]
            yield from ((f"{file} {node.name} {ast.unparse(f.target)}", ast.unparse(f.value)) for f in fields)
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                    yield from _of_function(method, f"{file} {node.name}.{method.name}")
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield from _of_function(node, f"{file} {node.name}")


def _of_function(node: ast.FunctionDef, where: str) -> Iterator[tuple[str, str]]:
    places = [*node.args.posonlyargs, *node.args.args]
    pairs = [*zip(places[::-1], node.args.defaults[::-1], strict=False)]
    pairs += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    yield from ((f"{where} {arg.arg}", ast.unparse(default)) for arg, default in pairs if _constant(default))


def _constant(node: ast.AST | None) -> bool:
    """A number, a truth or a word; None says that something is decided later."""
    try:
        return node is not None and ast.literal_eval(node) not in (None, "", ())
    except (ValueError, TypeError):
        return False


def listed() -> dict[str, str]:
    """What defaults.txt has."""
    lines = [line.partition(" = ") for line in LIST.read_text("utf-8").splitlines()]
    return {name: value for name, _, value in lines}


def differences(now: dict[str, str], kept: dict[str, str]) -> list[str]:
    """A default is the one in `defaults.txt`; after a decision `python -m tests.course.defaults` renews it."""
    return [
        f"{name} is {now.get(name, 'gone')}, and was {value}; if that is meant, run `python -m tests.course.defaults`"
        for name, value in kept.items()
        if now.get(name) != value
    ]


def main() -> int:
    LIST.write_text("".join(f"{name} = {value}\n" for name, value in sorted(there().items())), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
