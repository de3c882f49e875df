"""The list of rules in CONTRIBUTING.md, made from what the tests apply:  python -m tests.course.rulebook

A rule is a function of a module `*_rules.py` that a test of `APPLYING` applies, or such a test with a docstring.  The
first paragraph of the docstring is the rule in plain words; `{NAME}` in it stands for a constant of its module.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent.parent / "CONTRIBUTING.md"
#: Tests that apply rules to the course.  In these files each test applies one, or says its own.
APPLYING = ("test_notebooks.py", "test_repository.py")
#: Files in which only the tests with a docstring are rules.
ALSO = ("test_standalone.py", "test_defaults.py")
_WHOLE = "The course as a whole"
_LISTED = re.compile(r"(?s)(?<=<!--rules-->\n).*?(?=<!--/rules-->)")
_CONSTANT = re.compile(r"\{([A-Z_]+)(?:\[([^\]]+)\])?(?:\[(\d+)\])?\}")


@dataclass(frozen=True)
class Rule:
    """A rule: where it is listed, the name that its test shows, and what it says."""

    heading: str
    id: str
    statement: str


def rules() -> list[Rule]:
    """All rules, in the order in which the tests apply them; ValueError for one that does not say what it is."""
    found: dict[tuple[str, str], Rule] = {}
    for file in (*APPLYING, *ALSO):
        for test in tests(file):
            if said := ast.get_docstring(test):
                rule = Rule(_WHOLE, test.name.removeprefix("test_"), _paragraph(said))
                found.setdefault((rule.heading, rule.id), rule)
                continue
            functions = applied(test) if file in APPLYING else []
            if file in APPLYING and not functions:
                raise ValueError(f"{file}: {test.name} applies no rule; say in its docstring what it asks for")
            for module, function in functions:
                rule = Rule(heading(module), function.__name__, statement(function))
                found.setdefault((rule.heading, rule.id), rule)
    order = list(dict.fromkeys(rule.heading for rule in found.values() if rule.heading != _WHOLE))
    return sorted(found.values(), key=lambda rule: [*order, _WHOLE].index(rule.heading))


def tests(file: str) -> list[ast.FunctionDef]:
    """The test functions of a file in this folder."""
    body = ast.parse((HERE / file).read_text(encoding="utf-8")).body
    return [node for node in body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]


def applied(test: ast.FunctionDef) -> list[tuple[ModuleType, Callable]]:
    """(module by which it is named, rule) for each rule, and each rule of a tuple of them, that a test applies."""
    found = []
    for node in ast.walk(test):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id.endswith("_rules"):
            module = importlib.import_module(f"tests.course.{node.value.id}")
            value = getattr(module, node.attr)
            found += [(module, function) for function in (value if isinstance(value, tuple) else (value,))]
    return [(module, function) for module, function in found if is_rule(function)]


def is_rule(thing: object) -> bool:
    """Rules return a list of complaints."""
    return inspect.isfunction(thing) and thing.__annotations__.get("return") == "list[str]"


def heading(module: ModuleType) -> str:
    """What the rules of a module are about: the beginning of its docstring."""
    return re.split(r"[.;:]", module.__doc__, maxsplit=1)[0]


def statement(function: Callable) -> str:
    """The first paragraph of a rule's docstring, with the figures of its module's constants."""
    if not function.__doc__:
        raise ValueError(f"{function.__module__}: say in the docstring of {function.__name__} what it asks for")

    def figure(match: re.Match) -> str:
        value = function.__globals__[match[1]]
        for key in filter(None, match.groups()[1:]):
            value = value[int(key) if key.isdecimal() else key]
        return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)

    return _CONSTANT.sub(figure, _paragraph(inspect.getdoc(function)))


def listed(text: str) -> str:
    """The list that a page has now."""
    if not (found := _LISTED.search(text)):
        raise ValueError("the page has no list of rules: write <!--rules--> and <!--/rules--> around its place")
    return found[0]


def markdown() -> str:
    """The list, a heading for each group and a line for each rule."""
    parts, group = [], None
    for rule in rules():
        parts += [] if rule.heading == group else [f"\n**{rule.heading}**\n"]
        group = rule.heading
        parts.append(f"- {rule.statement} `{rule.id}`")
    return "\n".join(parts).lstrip("\n") + "\n"


def _paragraph(text: str) -> str:
    return " ".join(text.split("\n\n")[0].split())


def main() -> int:
    text = PAGE.read_text(encoding="utf-8")
    listed(text)
    PAGE.write_text(_LISTED.sub(lambda match: markdown(), text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
