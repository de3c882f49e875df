"""An artifact is what is shipped: bytes, the format they are in, and `predict`.

Everything the course measures is measured on artifacts, not on the Keras models they came from, because
a conversion may change the size, the speed and the answers.  Formats other than "keras" live in
`utils/deploy/`: a module `utils/deploy/NAME.py` calls `register("NAME", ...)` when it is imported, and this
module imports it the first time that format is asked for.
"""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
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

    Args:
        name: the format's name, equal to the name of its module in `utils/deploy/`.
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
    """The registered format of that name, importing `utils.deploy.NAME` if need be.

    Raises:
        ValueError: if there is no such format; the message lists those there are.
    """
    if not isinstance(name, str):
        raise TypeError(f"a format is a name such as 'tflite', not {type(name).__name__}")
    if name not in _FORMATS and _has_module(name):
        importlib.import_module(f"utils.deploy.{name}")
    if name not in _FORMATS:
        raise ValueError(f"unknown format {name!r}; known are {', '.join(_known())}")
    return _FORMATS[name]


def _has_module(name: str) -> bool:
    return name.isidentifier() and importlib.util.find_spec(f"utils.deploy.{name}") is not None


def _known() -> list[str]:
    """Registered formats and those whose module waits to be imported (it has a call of `register`)."""
    modules = Path(__file__).with_name("deploy").glob("*.py")
    waiting = {path.stem for path in modules if "artifact.register(" in path.read_text(encoding="utf-8")}
    return sorted(_FORMATS.keys() | waiting)


@dataclass(frozen=True)
class Artifact:
    """Bytes in a named format.  Two artifacts are equal when bytes and format are.

    Args:
        content: the whole file.
        format: "keras", "tflite", … (`artifact.register`).
        trusted: True for bytes this program has just made and run before.  Otherwise the first
            `predict` tries them in a limited child process, since a broken file can take the
            process down.
    """

    content: bytes = field(repr=False)
    format: str
    trusted: bool = field(default=False, compare=False, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.content, (bytearray, memoryview)):
            object.__setattr__(self, "content", bytes(self.content))
        if not isinstance(self.content, bytes):
            raise TypeError(
                f"an artifact's content is bytes, not {type(self.content).__name__}; "
                "for a Keras model use artifact.from_keras(model), for a file artifact.load(path)"
            )
        _check_content(self.content, format_of(self.format), "the content")

    def __repr__(self) -> str:
        return f"Artifact({self.format}, {self.size:,} bytes)"

    @property
    def size(self) -> int:
        """Bytes of the file as it is."""
        return len(self.content)

    @cached_property
    def gzip_size(self) -> int:
        """Bytes after gzip at level 9, without name and time stamp, so that it is the same each time."""
        return len(gzip.compress(self.content, compresslevel=9, mtime=0))

    @cached_property
    def runner(self) -> Runner:
        """The opened artifact.  Opened at the first use and kept; not part of equality."""
        return format_of(self.format).opener(self.content, self.trusted)

    def open(self) -> Runner:
        """Open it anew, not using what is kept: for those who measure how long that takes."""
        return format_of(self.format).opener(self.content, self.trusted)

    def predict(self, x: Any) -> Any:
        """The model's outputs for a batch of any size.

        Args:
            x: array (n, …) as the model takes it, n >= 1; `{name: array}` for several inputs.

        Returns:
            float32 array (n, …), logits or probabilities as the model gives them, dequantized if the
            file's output is quantized; `{name: array}` for several outputs.  Outputs that are whole
            numbers by nature (an arg max) stay integers.

        Raises:
            ArtifactError: if the file cannot be run.
            ValueError, TypeError: if x does not fit the model; the message says what to pass.
        """
        return self.runner.run(x)

    def constants(self) -> Mapping[str, np.ndarray] | None:
        """Parameters stored in the file, by name, a stored zero being 0; None if the format cannot tell."""
        reader = format_of(self.format).constants
        return None if reader is None else reader(self.content)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the bytes to `path`, all or nothing, and return it.

        Raises:
            ValueError: if the suffix is another format's.
            OSError: if the folder is missing or cannot be written.
        """
        path = Path(path)
        suffix = format_of(self.format).suffix
        if not path.name.endswith(suffix):
            raise ValueError(f"{path.name!r} does not end in {suffix!r}, the suffix of the format {self.format!r}")
        _replace(path, self.content)
        return path


def load(path: str | os.PathLike[str], format: str | None = None) -> Artifact:
    """Read an artifact from a file; its format is told by the suffix and checked by the magic bytes.

    Args:
        path: the file.
        format: overrides the suffix, for files whose suffix is shared by several formats.

    Raises:
        FileNotFoundError: if there is no such file.
        ArtifactError: if the file is empty or of another format.
        ValueError: if no format has that suffix.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; pass the file in it")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    kind = format_of(format) if format is not None else _by_suffix(path)
    content = path.read_bytes()
    _check_content(content, kind, str(path))
    return Artifact(content, kind.name)


def _by_suffix(path: Path) -> Format:
    """The format whose suffix `path` ends in: registered ones, else the module named like the suffix."""
    for name in (suffix[1:] for suffix in reversed(path.suffixes)):
        if name not in _FORMATS and _has_module(name):
            importlib.import_module(f"utils.deploy.{name}")
    found = [kind for kind in _FORMATS.values() if path.name.endswith(kind.suffix)]
    if not found:
        raise ValueError(
            f"no format has the suffix of {path.name!r}; known formats: {', '.join(_known())}. "
            "If the file is one of them, pass format=…"
        )
    exact = [kind for kind in found if kind.suffix == f".{kind.name}"]
    return (exact or found)[0]


def _check_content(content: bytes, kind: Format, what: str) -> None:
    if not content:
        raise ArtifactError(f"{what} is empty (0 bytes); a {kind.name} file was expected")
    if not kind.matches(content):
        found = content[kind.offset : kind.offset + len(kind.magic)]
        raise ArtifactError(
            f"{what} is not a {kind.name} file: at byte {kind.offset} it has {found!r} instead of {kind.magic!r}"
        )


def _replace(path: Path, content: bytes) -> None:
    """Write beside the target, then rename: a reader sees the old file or the new one, never half."""
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(beside).chmod(0o644)  # mkstemp makes it private
        os.replace(beside, path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def from_keras(model: Any) -> Artifact:
    """The `.keras` file of a tf_keras model, for inference only.

    The optimizer's state, the metrics and the compile settings are left out: they would triple the
    bytes of a model trained with Adam and are never shipped.  Time stamps are fixed, so equal
    models give equal bytes.

    Raises:
        TypeError: if `model` is not a tf_keras model (a Keras 3 model, for example).
        ArtifactError: if Keras cannot save it.
    """
    from utils import keras_file

    return Artifact(keras_file.pack(model), "keras", trusted=True)


def _open_keras(content: bytes, trusted: bool) -> Runner:
    from utils import keras_file

    return keras_file.Runner(content)


def _keras_constants(content: bytes) -> Mapping[str, np.ndarray]:
    from utils import keras_file

    return keras_file.constants(content)


register(
    "keras",
    suffix=".keras",
    magic=b"PK\x03\x04",
    opener=_open_keras,
    constants=_keras_constants,
    imports=("tensorflow", "tf_keras"),
)
