"""An open interpreter on one graph of a .tflite file: inputs in, outputs out, in the file's own types.

The interpreter numbers the tensors of its main graph and names those of its signatures.  Here both are called by
name, and its exceptions, which are of several types, become ArtifactError.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from utils import artifact
from utils.artifact import ArtifactError
from utils.deploy.tflite.io_tensors import IOTensor, from_detail

#: Kernel paths: XNNPACK where it can, else optimized; optimized without XNNPACK; plain reference C++.
KERNELS = {"default": "AUTO", "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "reference": "BUILTIN_REF"}

_stderr_lock = threading.Lock()


class Session:
    """One graph, allocated as soon as the shapes of its inputs are known.

    content: the file's bytes, which must be known to be good (`verification.verify`).
    kernels: a key of `KERNELS`.
    threads: threads an operator may use.
    signature: name of a signature; None is the main graph, subgraph 0.
    Raises ArtifactError: if the interpreter refuses the file.
    Raises ValueError: if there is no such signature.
    """

    def __init__(self, content: bytes, kernels: str, threads: int, signature: str | None = None) -> None:
        self.content, self.kernels, self.threads, self.signature = content, kernels, threads, signature
        self.open()
        self.inputs = self._io_tensors("inputs")
        self.outputs = self._io_tensors("outputs")

    def open(self) -> None:
        """Begin anew: shapes as declared, every state as at first."""
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        with stderr_kept(), interpreter_errors("the interpreter refuses the file"):
            self.interpreter = Interpreter(
                model_content=self.content,
                num_threads=self.threads,
                experimental_op_resolver_type=OpResolverType[KERNELS[self.kernels]],
            )
            details = self.interpreter.get_input_details()
            # An axis of unknown length counts as 1 until an input is set, and a convolution may find that too short.
            waiting = any(size < 0 for detail in details for size in detail["shape_signature"][1:])
            if not waiting:
                self.interpreter.allocate_tensors()
        self.signatures = self.interpreter._get_full_signature_list()
        if self.signature is not None:
            self._check_signature()
            self._runner = self.interpreter.get_signature_runner(self.signature)
        self._shapes = {detail["index"]: () if waiting else tuple(detail["shape"]) for detail in details}

    def _check_signature(self) -> None:
        if self.signature not in self.signatures:
            there = ", ".join(map(repr, self.signatures)) or "none"
            raise ValueError(f"the file has no signature {self.signature!r}; it has {there}")

    def _io_tensors(self, side: str) -> tuple[IOTensor, ...]:
        if self.signature is not None:
            details = getattr(self._runner, f"get_{side[:-1]}_details")()
            return tuple(from_detail(detail, name) for name, detail in details.items())
        names = self._names(side)
        found: dict[str, IOTensor] = {}
        for detail in getattr(self.interpreter, f"get_{side[:-1]}_details")():
            for name in names.get(detail["index"], (_unused(detail["name"], found),)):
                found.setdefault(name, from_detail(detail, name))
        return tuple(found.values())

    def _names(self, side: str) -> dict[int, list[str]]:
        """Tensor index -> the names the Keras model had for it, if the file has exactly one signature.

        Several names where outputs are equal in inference, such as y and Dropout(y): the file has one tensor for both.
        """
        names: dict[int, list[str]] = {}
        if len(self.signatures) == 1:
            for name, index in next(iter(self.signatures.values()))[side].items():
                names.setdefault(index, []).append(name)
        return names

    def set(self, values: Mapping[str, np.ndarray]) -> None:
        """Give the main graph its inputs, resized if need be."""
        arrays = {tensor.index: values[tensor.name] for tensor in self.inputs}
        if any(self._shapes[index] != array.shape for index, array in arrays.items()):
            self._resize(arrays)
        with interpreter_errors("the interpreter refuses the input"):
            for index, array in arrays.items():
                self.interpreter.set_tensor(index, array)

    def _resize(self, arrays: Mapping[int, np.ndarray]) -> None:
        self._shapes = dict.fromkeys(self._shapes, ())  # unknown until the allocation has succeeded
        with stderr_kept(), interpreter_errors("the interpreter refuses the batch"):
            for index, array in arrays.items():
                self.interpreter.resize_tensor_input(index, array.shape)
            self.interpreter.allocate_tensors()
        self._shapes = {index: array.shape for index, array in arrays.items()}

    def invoke(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name for inputs by name, each of exactly the file's dtype."""
        if self.signature is not None:
            with stderr_kept(), interpreter_errors("the interpreter failed"):
                return dict(self._runner(**values))
        self.set(values)
        with interpreter_errors("the interpreter failed"):
            self.interpreter.invoke()
            return {tensor.name: self.interpreter.get_tensor(tensor.index) for tensor in self.outputs}

    def reset_variables(self) -> None:
        """Set variable tensors back; resource variables (VAR_HANDLE) stay as they are, those need `open`."""
        with interpreter_errors("the interpreter cannot reset its variables"):
            self.interpreter.reset_all_variables()

    def delegated(self) -> bool:
        """True if a delegate has taken over at least one operator of the main graph."""
        return any(operator["op_name"] == "DELEGATE" for operator in self.interpreter._get_ops_details())


def _unused(name: str, taken: Mapping[str, Any]) -> str:
    """The name, with a number where another tensor has it already: names in a file need not differ."""
    numbered = (f"{name}_{number}" for number in itertools.count(1))
    return next(other for other in itertools.chain([name], numbered) if other not in taken)


def content_of(source: bytes | str | os.PathLike[str]) -> bytes:
    """The bytes of a .tflite file, given as bytes or as a path; ArtifactError if they are of another kind."""
    if not isinstance(source, (bytes, bytearray, memoryview)):
        return artifact.load(Path(source), "tflite").content
    return artifact.Artifact(bytes(source), "tflite").content


def check_kernels(kernels: Any) -> str:
    """`kernels` if it is a key of KERNELS, else ValueError."""
    if kernels not in KERNELS:
        raise ValueError(f"kernels={kernels!r} is unknown; pass one of {', '.join(map(repr, KERNELS))}")
    return kernels


def check_threads(threads: Any) -> int:
    """`threads` if it is a whole number from 1, else ValueError."""
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise ValueError(f"threads={threads!r}; pass a whole number from 1")
    return threads


@contextlib.contextmanager
def interpreter_errors(what: str) -> Iterator[None]:
    """Turn the interpreter's exceptions, which are of several types, into ArtifactError."""
    try:
        yield
    except (ValueError, RuntimeError, MemoryError) as error:
        raise ArtifactError(f"{what}: {' '.join(str(error).split()) or type(error).__name__}") from error


@contextlib.contextmanager
def stderr_kept(*drop: bytes) -> Iterator[None]:
    """Hold back what C++ writes to descriptor 2 and pass on all but its INFO lines (XNNPACK announces itself).

    drop: how further lines begin that are not passed on.
    """
    with _stderr_lock, tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            for line in file.read().splitlines(keepends=True):
                if not line.startswith((b"INFO:", *drop)):
                    os.write(2, line)
