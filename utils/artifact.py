"""An artifact is what is shipped: bytes, the format they are in, and `predict`.

Everything the course measures is measured on artifacts, not on the Keras models they came from, because
a conversion may change the size, the speed and the answers.  Which formats there are: `utils/formats.py`.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from utils import keras_file
from utils.files import write_bytes
from utils.formats import ArtifactError, Format, Runner, format_by_suffix, format_of, register

__all__ = ["Artifact", "ArtifactError", "Runner", "format_of", "from_keras", "load", "register"]


@dataclass(frozen=True)
class Artifact:
    """Bytes in a named format.  Two artifacts are equal when bytes and format are.

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

        x: array (n, …) as the model takes it, n >= 1; `{name: array}` for several inputs.
        Returns float32 array (n, …), logits or probabilities as the model gives them, dequantized if the
        file's output is quantized; `{name: array}` for several outputs.  Outputs that are whole
        numbers by nature (an arg max) stay integers.
        Raises ArtifactError: if the file cannot be run.
        Raises ValueError, TypeError: if x does not fit the model; the message says what to pass.
        """
        return self.runner.run(x)

    def constants(self) -> Mapping[str, np.ndarray] | None:
        """Parameters stored in the file, by name, a stored zero being 0; None if the format cannot tell."""
        reader = format_of(self.format).constants
        return None if reader is None else reader(self.content)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the bytes to `path`, all or nothing, and return it.

        Raises ValueError: if the suffix is another format's.
        Raises OSError: if it cannot be written; a file that was there is as it was.
        """
        path = Path(path)
        suffix = format_of(self.format).suffix
        if not path.name.endswith(suffix):
            raise ValueError(f"{path.name!r} does not end in {suffix!r}, the suffix of the format {self.format!r}")
        return write_bytes(path, self.content)


def load(path: str | os.PathLike[str], format: str | None = None) -> Artifact:
    """Read an artifact from a file; its format is told by the suffix and checked by the magic bytes.

    path: the file.
    format: overrides the suffix, for files whose suffix is shared by several formats.
    Raises FileNotFoundError: if there is no such file.
    Raises ArtifactError: if the file is empty or of another format.
    Raises ValueError: if no format has that suffix.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; pass the file in it")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    kind = format_of(format) if format is not None else format_by_suffix(path)
    content = path.read_bytes()
    _check_content(content, kind, str(path))
    return Artifact(content, kind.name)


def _check_content(content: bytes, kind: Format, what: str) -> None:
    if not content:
        raise ArtifactError(f"{what} is empty (0 bytes); a {kind.name} file was expected")
    if not kind.matches(content):
        found = content[kind.offset : kind.offset + len(kind.magic)]
        raise ArtifactError(
            f"{what} is not a {kind.name} file: at byte {kind.offset} it has {found!r} instead of {kind.magic!r}"
        )


def from_keras(model: Any) -> Artifact:
    """The `.keras` file of a tf_keras model, for inference only.

    The optimizer's state, the metrics and the compile settings are left out: they would triple the
    bytes of a model trained with Adam and are never shipped.  Time stamps are fixed, so equal
    models give equal bytes.

    Raises TypeError: if `model` is not a tf_keras model (a Keras 3 model, for example).
    Raises ArtifactError: if Keras cannot save it.
    """
    return Artifact(keras_file.pack(model), "keras", trusted=True)


register(
    "keras",
    suffix=".keras",
    magic=b"PK\x03\x04",
    opener=lambda content, trusted: keras_file.Runner(content),
    constants=keras_file.constants,
    imports=("tensorflow", "tf_keras"),
)
