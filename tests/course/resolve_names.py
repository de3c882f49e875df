"""Read [[name, package], …] as JSON and print those that do not exist.  Run in a process of its own."""

from __future__ import annotations

import importlib
import inspect
import json
import sys

import utils  # noqa: F401  Keras 2 before TensorFlow


def exists(name: str, package: str) -> bool:
    """Follow the dots: attributes, submodules, and what a class's methods set on self."""
    found, path = importlib.import_module(package), package
    for part in name.split(".")[1:]:
        path = f"{path}.{part}"
        if hasattr(found, part):
            found = getattr(found, part)
        elif inspect.ismodule(found) and _importable(path):
            found = sys.modules[path]
        else:
            return inspect.isclass(found) and _set_on_self(found, part)
    return True


def _importable(path: str) -> bool:
    try:
        importlib.import_module(path)
    except ImportError:
        return False
    return True


def _set_on_self(owner: type, attribute: str) -> bool:
    for ancestor in owner.__mro__[:-1]:
        try:
            if f"self.{attribute} =" in inspect.getsource(ancestor):
                return True
        except (OSError, TypeError):
            continue
    return False


if __name__ == "__main__":
    print(json.dumps([name for name, package in json.load(sys.stdin) if not exists(name, package)]))
