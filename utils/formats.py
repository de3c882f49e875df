"""The formats an artifact may have: who opens it, what its first bytes are, which errors it raises.

Formats other than "keras" live in `utils/deploy/`.  `MODULES` says where; that module calls `register("NAME", ...)`
when it is imported, which happens the first time that format is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class ArtifactError(ValueError):
    """The bytes are not what their format says, or no interpreter can run them."""


class Runner(Protocol):
    """An opened artifact."""

    def run(self, x: Any) -> Any:
        """Predict one batch: an array (or `{name: array}` for several inputs) in, the same out."""


@dataclass(frozen=True)
class Format:
    """What `register` was told about one format."""

    name: str
    suffix: str
    magic: bytes
    offset: int
    opener: Callable[[bytes, bool], Runner]
    constants: Callable[[bytes], Mapping[str, np.ndarray]] | None
    imports: tuple[str, ...]

    def matches(self, content: bytes) -> bool:
        """True if the magic bytes stand where this format has them."""
        return content[self.offset : self.offset + len(self.magic)] == self.magic


#: Where a format is registered, imported the first time it is asked for.
MODULES = {"tflite": "utils.deploy.tflite.tflite_model"}

_FORMATS: dict[str, Format] = {}


def register(
    name: str,
    *,
    suffix: str,
    magic: bytes,
    opener: Callable[[bytes, bool], Runner],
    offset: int = 0,
    constants: Callable[[bytes], Mapping[str, np.ndarray]] | None = None,
    imports: tuple[str, ...] = (),
) -> None:
    """Make a format known.  Registering a name again replaces it, so that a module can be reloaded.

    name: the format's name.
    suffix: file suffix with its dot, such as ".tflite".
    magic: bytes that every file of the format has at `offset`.
    opener: `opener(content, trusted)` returns a `Runner`.  With `trusted=False` it must not let
        broken content crash this process.
    constants: `constants(content)` returns the parameters as `{name: array}` in which a stored zero
        is 0 (a quantized tensor has its zero point subtracted); None if the format cannot tell.
    imports: modules the opener needs; `measure.peak_memory` imports them before it takes its baseline.
    """
    if not suffix.startswith("."):
        raise ValueError(f"the suffix {suffix!r} has no dot; pass for example '.tflite'")
    if not magic:
        raise ValueError(f"the format {name!r} has no magic bytes; without them a foreign file cannot be told")
    _FORMATS[name] = Format(name, suffix, magic, offset, opener, constants, imports)


def format_of(name: str) -> Format:
    """The registered format of that name, importing its module if need be.

    Raises ValueError: if there is no such format; the message lists those there are.
    """
    if not isinstance(name, str):
        raise TypeError(f"a format is a name such as 'tflite', not {type(name).__name__}")
    if name not in _FORMATS and name in MODULES:
        importlib.import_module(MODULES[name])
    if name not in _FORMATS:
        raise ValueError(f"unknown format {name!r}; known are {', '.join(_known())}")
    return _FORMATS[name]


def _known() -> list[str]:
    """Registered formats and those whose module waits to be imported."""
    return sorted(_FORMATS.keys() | MODULES.keys())


def format_by_suffix(path: Path) -> Format:
    """The format whose suffix `path` ends in.

    Raises ValueError: if no format has that suffix.
    """
    for name in MODULES.keys() - _FORMATS.keys():
        format_of(name)
    found = [kind for kind in _FORMATS.values() if path.name.endswith(kind.suffix)]
    if not found:
        raise ValueError(
            f"no format has the suffix of {path.name!r}; known formats: {', '.join(_known())}. "
            "If the file is one of them, pass format=…"
        )
    exact = [kind for kind in found if kind.suffix == f".{kind.name}"]
    return (exact or found)[0]
