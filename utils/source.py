"""The lines of a tested function, printed into the page: what the page shows is what the course runs."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable

from utils.claims import CLOSE, OPEN, show_forms


def show_source(function: Callable, *, docstring: bool = False) -> None:
    """Show the source of a function, method or class of `utils`, without decorators.

    docstring: keep it, and not only the lines that compute.
    The caption says where it stands, `utils.measure.macs:count`, for a reader who wants its tests.
    TypeError for what has no lines in `utils`: built-ins, other packages' functions, lambdas, functions of a cell.
    """
    place, code = source(function, docstring=docstring)
    show_forms({"text/plain": f"{place}\n\n{code}", "text/markdown": f"`{place}`\n\n```python\n{code}\n```"})


def source(function: Callable, *, docstring: bool = False) -> tuple[str, str]:
    """("package.module:name", its lines) as `show_source` prints them."""
    inner = inspect.unwrap(function) if callable(function) else function
    if not (inspect.isfunction(inner) or inspect.ismethod(inner) or inspect.isclass(inner)):
        raise TypeError(f"show_source takes a function or class of utils itself; got {_named(function)}")
    if inner.__module__.split(".")[0] != "utils" or "<" in inner.__qualname__:
        raise TypeError(f"show_source takes a named function or class of utils; got {_named(inner)}")
    whole = textwrap.dedent(inspect.getsource(inner))
    node = ast.parse(whole).body[0]
    lines = whole.splitlines()
    if not docstring and ast.get_docstring(node) is not None:
        said, following = node.body[0], node.body[1:]
        if not following:
            raise TypeError(f"{_named(inner)} has only a docstring; pass docstring=True to show it")
        below = said.end_lineno
        while not lines[below].strip():  # the empty lines behind the docstring go with it
            below += 1
        del lines[said.lineno - 1 : below]
    code = "\n".join(lines[node.lineno - 1 :])  # above stand the decorators
    if OPEN in code or CLOSE in code:
        raise TypeError(f"the source of {_named(inner)} has {OPEN} or {CLOSE}, which enclose what is not compared")
    return f"{inner.__module__}:{inner.__qualname__}", code


def _named(thing: object) -> str:
    name = getattr(thing, "__qualname__", None)
    return f"{getattr(thing, '__module__', None)}.{name}" if name else f"{type(thing).__name__} {thing!r:.60}"
