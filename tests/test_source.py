"""What the page prints is the function's own source, less decorators and, unless asked for, the docstring."""

from __future__ import annotations

import ast
import functools
import inspect
import json
import sys
import types
from types import SimpleNamespace

import IPython
import IPython.display
import numpy as np
import pytest

from utils import claims, quiet, source, training
from utils.source import show_source

MODULE = '''
import functools

def trace(function):
    @functools.wraps(function)
    def inner(*arguments):
        return function(*arguments)
    return inner

@trace
@functools.lru_cache(
    maxsize=3,
)
def decorated(x):
    """Double it.

    x: a number.
    """

    # twice
    y = 2 * x

    return y

def only_said():
    """Nothing else."""

def bare(x): return x

def brackets(): return "⟦"

class Box:
    """A box."""

    def open(self):
        """Open it."""
        return 1

alias = lambda x: x
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of utils with functions of all kinds."""
    path = tmp_path / "sample.py"
    path.write_text(MODULE, encoding="utf-8")
    made = types.ModuleType("utils.sample")
    made.__file__ = str(path)
    exec(compile(MODULE, str(path), "exec"), made.__dict__)
    monkeypatch.setitem(sys.modules, "utils.sample", made)
    return made


def test_decorators_and_docstring_are_left_out(module):
    assert source.source(module.decorated) == (
        "utils.sample:decorated",
        "def decorated(x):\n    # twice\n    y = 2 * x\n\n    return y",
    )


def test_the_docstring_can_be_kept(module):
    code = source.source(module.decorated, docstring=True)[1]
    assert code.startswith('def decorated(x):\n    """Double it.') and "lru_cache" not in code


@pytest.mark.parametrize(
    "take, place, lines",
    [
        (lambda m: m.bare, "utils.sample:bare", "def bare(x): return x"),
        (lambda m: m.Box.open, "utils.sample:Box.open", "def open(self):\n    return 1"),
        (lambda m: m.Box().open, "utils.sample:Box.open", "def open(self):\n    return 1"),
        (
            lambda m: m.Box,
            "utils.sample:Box",
            'class Box:\n    def open(self):\n        """Open it."""\n        return 1',
        ),
    ],
)
def test_functions_methods_and_classes(module, take, place, lines):
    assert source.source(take(module)) == (place, lines)


@pytest.mark.parametrize(
    "thing",
    [
        len,
        print,
        np.mean,
        json.loads,
        np.ndarray,
        3,
        "text",
        None,
        functools.partial(claims.claim, "Q1-x"),
        sys,
        lambda x: x,
    ],
)
def test_what_is_no_function_of_utils_is_refused(thing):
    with pytest.raises(TypeError, match=r"show_source takes a .*function or class of utils.*; got "):
        show_source(thing)


@pytest.mark.parametrize("name, words", [("alias", "named"), ("only_said", "docstring=True"), ("brackets", "⟦")])
def test_what_cannot_be_shown_is_refused(module, name, words):
    with pytest.raises(TypeError, match=words):
        show_source(getattr(module, name))


@pytest.mark.parametrize("module", [claims, quiet, training], ids=lambda module: module.__name__)
def test_every_function_of_a_module_stays_the_same_program(module):
    own = [f for _, f in inspect.getmembers(module, inspect.isfunction) if f.__module__ == module.__name__]
    assert own
    for function in own:
        shown = ast.parse(source.source(function)[1]).body[0]
        whole = ast.parse(inspect.getsource(inspect.unwrap(function))).body[0]
        whole.decorator_list = []
        if ast.get_docstring(whole) is not None:
            del whole.body[0]
        assert ast.dump(shown) == ast.dump(whole)


def test_it_prints_outside_of_notebooks_and_shows_markdown_inside(module, capsys, monkeypatch):
    show_source(module.bare)
    plain = "utils.sample:bare\n\ndef bare(x): return x"
    assert capsys.readouterr().out == f"{plain}\n"
    shown = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=True))
    monkeypatch.setattr(IPython.display, "display", lambda data, raw, metadata: shown.append(data))
    show_source(module.bare)
    assert shown == [
        {"text/plain": plain, "text/markdown": "`utils.sample:bare`\n\n```python\ndef bare(x): return x\n```"}
    ]


def test_what_is_printed_can_have_the_docstring(module, capsys):
    for keep in (True, False):
        show_source(module.Box.open, docstring=keep)
        place, code = source.source(module.Box.open, docstring=keep)
        assert capsys.readouterr().out == f"{place}\n\n{code}\n"
        assert ("Open it." in code) is keep


@pytest.mark.parametrize("mark", ["⟦", "⟧"])
def test_either_bracket_is_refused(tmp_path, monkeypatch, mark):
    path = tmp_path / "sample.py"
    path.write_text(f'def bracket(): return "{mark}"\n', encoding="utf-8")
    made = types.ModuleType("utils.sample")
    exec(compile(path.read_text("utf-8"), str(path), "exec"), made.__dict__)
    monkeypatch.setitem(sys.modules, "utils.sample", made)
    with pytest.raises(TypeError, match=r"the source of utils\.sample\.bracket has ⟦ or ⟧"):
        source.source(made.bracket)


@pytest.mark.parametrize(("thing", "named"), [(3, "int 3"), (len, r"builtins\.len"), ("x" * 99, f"str '{'x' * 59}$")])
def test_a_refusal_names_what_was_passed(thing, named):
    with pytest.raises(TypeError, match=f"got {named}"):
        source.source(thing)


def test_a_private_function_of_a_cell_that_names_itself_utils_is_refused():
    def utils_of_a_cell():
        return 1

    utils_of_a_cell.__module__ = "utilsomething"
    with pytest.raises(TypeError, match="named function or class of utils"):
        source.source(utils_of_a_cell)
