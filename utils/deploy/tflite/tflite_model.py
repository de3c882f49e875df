"""Run .tflite files with LiteRT's interpreter, without TensorFlow: any batch, quantization handled.

    model = TFLiteModel("model.tflite")
    model.run(x)                # float32 in, float32 out, whatever the file's types
    model.run_raw(q)            # the file's own types: int8 in, int8 out
    model.compare(other, x)     # how far apart, and which labels differ
    model.signature("encode")   # another graph of the same file
    model.stream()              # keeps its state from step to step
    model.summary()             # what it does, operator by operator

A file that is not known to be good is first tried in a child process (`verify`): some broken files, and
even some that the converter made, end the process that runs them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

import utils
from utils import artifact, tflite_file
from utils.artifact import ArtifactError
from utils.deploy.tflite import comparison, io_tensors
from utils.deploy.tflite.comparison import Comparison
from utils.deploy.tflite.io_tensors import IOTensor
from utils.deploy.tflite.session import KERNELS, Session, check_kernels, check_threads, content_of
from utils.deploy.tflite.stream import Stream
from utils.deploy.tflite.verification import TrialResult, verify

__all__ = ["KERNELS", "Comparison", "IOTensor", "Stream", "TFLiteModel", "TrialResult", "verify"]

_CHUNK_BYTES = 4 * 2**20  # of input in one call: large enough that calls cost nothing, small in memory
_CHUNK = 256
_LENGTHS = (1, 8, 64, 224)  # tried where a file leaves an axis open: a word will do for some, others need a picture


class TFLiteModel:
    """A .tflite file, opened.

    source: the bytes or a path.
    kernels: "default" (XNNPACK where it can), "builtin" (optimized kernels without XNNPACK) or
        "reference" (the plain kernels whose arithmetic the others imitate).
    threads: threads an operator may use.
    signature: the graph of this signature; None is the main graph.
    trusted: True skips the trial in a child process; only for files that this program has made
        and run before.
    Raises FileNotFoundError: if the path leads nowhere.
    Raises ArtifactError: if the file is empty, foreign, damaged, or its run ends the process.
    Raises ValueError: for an unknown signature, unknown kernels or threads below 1.
    """

    def __init__(
        self,
        source: bytes | str | os.PathLike[str],
        kernels: str = "default",
        threads: int | None = None,
        *,
        signature: str | None = None,
        trusted: bool = False,
    ) -> None:
        self.content = content_of(source)
        self.kernels = check_kernels(kernels)
        self.threads = check_threads(utils.THREADS if threads is None else threads)
        if not trusted:
            verdict = verify(self.content, kernels, self.threads)
            if not verdict.ok:
                raise ArtifactError(f"this .tflite file cannot be run with kernels={kernels!r}: {verdict.reason}")
        self._resizable = True
        self._session = Session(self.content, self.kernels, self.threads, signature)
        self.inputs: tuple[IOTensor, ...] = self._session.inputs
        self.outputs: tuple[IOTensor, ...] = self._session.outputs

    @property
    def interpreter(self) -> Any:
        """LiteRT's own `Interpreter`, for what this class does not offer."""
        return self._session.interpreter

    # - running

    def run(self, x: Any) -> Any:
        """Predict a batch of any size, in real values; each example as if it were the first.

        x: float array (n, …) with the file's shape after the first axis; quantized here if the
            file's input is.  Whole numbers only where the file takes unquantized integers (tokens).
            Several inputs: `{name: array}`.
        Returns float32 (n, …), dequantized if need be; `{name: array}` for several outputs.
        Raises ValueError: wrong shape, empty, NaN, or values outside the quantized input's range.
        Raises TypeError: wrong dtype.
        Raises ArtifactError: if the interpreter fails.
        """
        return self._real(self._run_checked(self._stored(x)))

    def run_raw(self, x: Any) -> Any:
        """Predict a batch in the file's own types: integers go in and come out as they are stored.

        Raises TypeError: if the dtype is not exactly the file's.
        Raises ValueError, ArtifactError: as for `run`.
        """
        batch = self._by_name(x)
        for tensor in self.inputs:
            given = np.asarray(batch[tensor.name]).dtype
            if given != tensor.dtype:
                raise TypeError(
                    f"run_raw takes {tensor.dtype} for input {tensor.name!r}, got {given}; "
                    "run(x) takes real values and quantizes them"
                )
        checked = {
            tensor.name: io_tensors.check_shape(tensor, np.asarray(batch[tensor.name])) for tensor in self.inputs
        }
        return _single(self._run_checked(checked))

    def prepare(self, x: Any) -> Callable[[], Any]:
        """A function that only runs the interpreter on the batch x, already quantized and set: for timing.

        Where the file's batch is fixed and x has another number of examples, the function is `run(x)`.
        """
        values = self._stored(x)
        count = max((len(values[tensor.name]) for tensor in self.inputs if tensor.shape), default=1)
        whole = not self._fixed or not self.batched or count == self._chunk_size(values)
        if not whole or not self._resizable or self._session.signature is not None:
            return lambda: self.run(x)
        try:
            self._session.set(values)
        except ArtifactError:  # the graph cannot be resized
            self._session.open()
            return lambda: self.run(x)
        return self._session.interpreter.invoke

    def compare(self, other: Any, x: Any) -> Comparison | dict[str, Comparison]:
        """How far this model's outputs for the batch x are from those of another model.

        other: a TFLiteModel, an Artifact, the bytes or path of a .tflite file, or a tf_keras model.
        x: as for `run`; both models get it.
        Returns a Comparison; for several outputs, which must have the same names, `{name: Comparison}`.
        Raises ValueError: if shapes or names of the outputs differ.  TypeError: if `other` is something else.
        """
        theirs, model = _outputs_of(other, x)
        scales = {tensor.name: _shared_scale(tensor, model) for tensor in self.outputs}
        return comparison.compare(self.run(x), theirs, scales)

    def stream(self) -> Stream:
        """A runner that keeps the file's state from one step to the next; see `Stream`."""
        session = Session(self.content, self.kernels, self.threads, self._session.signature)
        return Stream(session, self._stored, self._real)

    def _stored(self, x: Any) -> dict[str, np.ndarray]:
        batch = self._by_name(x)
        return {tensor.name: io_tensors.to_stored(tensor, batch[tensor.name]) for tensor in self.inputs}

    def _real(self, results: Mapping[str, np.ndarray]) -> Any:
        return _single({tensor.name: io_tensors.to_real(tensor, results[tensor.name]) for tensor in self.outputs})

    def _by_name(self, x: Any) -> Mapping[str, Any]:
        names = [tensor.name for tensor in self.inputs]
        if not isinstance(x, Mapping):
            if len(names) != 1:
                raise ValueError(f"the model has {len(names)} inputs; pass {{name: array}} with the names {names}")
            return {names[0]: x}
        if set(x) != set(names):
            raise ValueError(f"the model's inputs are {names}, got {list(x)}")
        return x

    def pieces(self, x: Any) -> list[dict[str, np.ndarray]]:
        """A batch in pieces that the graph takes in one call, in the file's own types: for calibration.

        One example each, or as many as the file's fixed batch has; the last example is repeated to fill the last one.
        x, errors: as for `run`.
        """
        batch = self._stored(x)
        if not self.batched:
            self._check_whole(batch)
            return [batch]
        size = self._chunk_size(batch) if self._fixed else 1
        starts = range(0, self._count(batch), size)
        return [{p.name: io_tensors.part(p, batch[p.name], at, size, size) for p in self.inputs} for at in starts]

    def _count(self, batch: Mapping[str, np.ndarray]) -> int:
        """Examples in a batch; ValueError if the inputs have different numbers of them."""
        counts = {tensor.name: len(batch[tensor.name]) for tensor in self.inputs if tensor.shape}
        if len(set(counts.values())) > 1:
            raise ValueError(f"the inputs have different numbers of examples: {counts}; pass as many of each")
        return max(counts.values())

    def _run_checked(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if not self.batched:
            self._check_whole(batch)
            self._forget()
            return self._session.invoke(batch)
        count, parts, start = self._count(batch), [], 0
        while start < count:
            parts.append(self._chunk(batch, start, min(count - start, self._chunk_size(batch))))
            start += len(next(iter(parts[-1].values())))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _chunk_size(self, batch: Mapping[str, np.ndarray]) -> int:
        """Examples in one call: the declared number if it is fixed, else what fits into a few megabytes."""
        declared = [tensor.shape[0] for tensor in self.inputs if tensor.shape and tensor.shape[0] >= 0]
        if declared:
            return max(declared[0], 1)
        if not self._resizable:
            return 1
        each = sum(values[:1].nbytes for values in batch.values() if values.ndim)
        return max(1, min(_CHUNK, _CHUNK_BYTES // max(each, 1)))

    def _chunk(self, batch: Mapping[str, np.ndarray], start: int, count: int) -> dict[str, np.ndarray]:
        """Outputs for examples start … start+count; falls back to one at a time if the graph cannot be resized."""
        size = max(self._chunk_size(batch), 1) if self._fixed else count
        values = {p.name: io_tensors.part(p, batch[p.name], start, count, size) for p in self.inputs}
        try:
            self._forget()
            results = self._session.invoke(values)
            self._check_counts(results, size)
        except ArtifactError:
            if self._fixed or not self._resizable or size == 1:
                raise
            # Some graphs have their batch of 1 written into a Reshape: they run one example at a time.
            self._resizable = False
            self._session.open()
            return self._chunk(batch, start, 1)
        return {name: result[:count] for name, result in results.items()}

    def _forget(self) -> None:
        """Examples are independent: none starts from the state of the one before."""
        if self._has_resources:  # reset_all_variables leaves them alone
            self._session.open()
        elif self._has_variables:
            self._session.reset_variables()

    @cached_property
    def _has_resources(self) -> bool:
        return any(operator.name == "VAR_HANDLE" for operator in self.file.all_operators())

    @cached_property
    def _has_variables(self) -> bool:
        return any(tensor.variable for graph in self.file.tensors for tensor in graph)

    @cached_property
    def _fixed(self) -> bool:
        return any(tensor.shape and tensor.shape[0] >= 0 for tensor in self.inputs)

    @cached_property
    def batched(self) -> bool:
        """Whether the first axis of inputs and outputs counts examples, so that any number of them can be run.

        Not so in files of fixed shape whose outputs have another first axis: one second of sound in, scores out.
        They take inputs of exactly their shape.  Nor where the inputs are rows of a fixed length, which may be one
        second of sound and need not be examples, and where no input has an axis: single numbers, or none at all.
        """
        if not any(tensor.shape for tensor in self.inputs):
            return False
        if all(len(tensor.shape) < 2 and tensor.shape[:1] > (1,) for tensor in self.inputs if tensor.shape):
            return False
        firsts = {tensor.shape[0] for tensor in self.inputs if tensor.shape}
        given = {tensor.shape[0] if tensor.shape else None for tensor in self.outputs}
        return not self._fixed or (len(firsts) == 1 and given <= firsts)

    def _check_whole(self, batch: Mapping[str, np.ndarray]) -> None:
        for tensor in self.inputs:
            shape = batch[tensor.name].shape
            if any(wanted not in (-1, got) for wanted, got in zip(tensor.shape, shape, strict=True)):
                raise ValueError(
                    f"input {tensor.name!r} takes exactly the shape {tensor.shape}, because this file's first axis "
                    f"does not count examples; got {shape}"
                )

    def _check_counts(self, results: Mapping[str, np.ndarray], size: int) -> None:
        for name, result in results.items():
            if not result.ndim or len(result) != size:
                raise ArtifactError(
                    f"output {name!r} has shape {result.shape} for {size} examples: it has no batch axis, "
                    "so it cannot be told which example gave what"
                )

    # - made-up inputs

    def sample(
        self, count: int, generator: np.random.Generator | None = None, *, real: bool = False
    ) -> dict[str, np.ndarray]:
        """{input: at least `count` examples} for `run_raw`: zeros, or random values that type and quantization allow.

        Whole numbers that are not quantized are drawn from 0 to 2; not every file takes them as an index.
        real: True gives them for `run`.
        Raises ArtifactError as `open_length`.
        """
        made = {tensor.name: _sample(tensor, count, generator, self.open_length) for tensor in self.inputs}
        return {tensor.name: io_tensors.to_real(tensor, made[tensor.name]) for tensor in self.inputs} if real else made

    @cached_property
    def open_length(self) -> int:
        """A length that the file takes on the axes it leaves open; 1 if it leaves none open but the batch.

        Raises ArtifactError if it runs with none of the lengths tried.
        """
        unknown = any(size < 0 for tensor in self.inputs for size in tensor.shape[1:])
        for length in _LENGTHS if unknown else ():
            try:
                self.run_raw({tensor.name: _sample(tensor, 1, None, length) for tensor in self.inputs})
                return length
            except ArtifactError:
                if length == _LENGTHS[-1]:
                    raise
                self._session.open()  # a refused allocation leaves the interpreter half made
        return 1

    # - looking inside

    @cached_property
    def file(self) -> tflite_file.File:
        """The parsed file."""
        return tflite_file.File(self.content)

    @property
    def signatures(self) -> tuple[str, ...]:
        """The names of the file's signatures: the functions that it can be asked to run."""
        return tuple(self._session.signatures)

    def signature(self, name: str) -> TFLiteModel:
        """The same file, running the graph of another signature.  ValueError names those there are."""
        return TFLiteModel(self.content, self.kernels, self.threads, signature=name, trusted=True)

    def graphs(self) -> list[TFLiteModel]:
        """One model for each signature, or this one if the file has only one graph to run."""
        return [self] if len(self.signatures) < 2 else [self.signature(name) for name in self.signatures]

    def summary(self) -> tuple[tflite_file.Operator, ...]:
        """The operators of the main graph in the order of execution, with their tensors."""
        return self.file.operators()

    def tensors(self) -> tuple[tflite_file.Tensor, ...]:
        """All tensors of the main graph, with shapes, types, bytes and quantization."""
        return self.file.tensors[0]

    def values(self, tensor: tflite_file.Tensor) -> np.ndarray:
        """A constant's stored values, in its shape."""
        return self.file.values(tensor)

    def delegated(self) -> bool:
        """True if a delegate (XNNPACK) has taken over at least one operator."""
        return self._session.delegated()

    def verify(self, timeout: float = 60.0) -> TrialResult:
        """Try this file with these kernels in a child process; see `verify`."""
        return verify(self.content, self.kernels, self.threads, timeout)


def _outputs_of(other: Any, x: Any) -> tuple[Any, Any]:
    """What `other` predicts for x, and its opened .tflite model if it is one.

    other: a TFLiteModel, an Artifact, the bytes or the path of a .tflite file, or a tf_keras model.
    Raises TypeError for anything else.
    """
    if isinstance(other, (bytes, bytearray, memoryview, str, os.PathLike)):
        other = TFLiteModel(other)
    if isinstance(other, TFLiteModel):
        return other.run(x), other
    if hasattr(other, "get_weights") and callable(other):
        other = artifact.from_keras(other)
    if isinstance(other, artifact.Artifact):
        return other.predict(x), other.runner if isinstance(other.runner, TFLiteModel) else None
    raise TypeError(
        f"compare takes a TFLiteModel, an Artifact, a .tflite file's bytes or path, or a tf_keras model; "
        f"got {type(other).__name__}"
    )


def _shared_scale(tensor: IOTensor, other: TFLiteModel | None) -> float | None:
    """The scale of an output if the other model's output of that name, or its only one, has the same."""
    if other is None or not tensor.quantized:
        return None
    found = [t.quantization for t in other.outputs if t.name == tensor.name or len(other.outputs) == 1]
    scale = tensor.quantization.scale
    return float(scale) if found and found[0] and found[0].scale == scale else None


def _single(results: dict[str, np.ndarray]) -> Any:
    return next(iter(results.values())) if len(results) == 1 else results


# --- in the child process --------------------------------------------------------------------------------


def _trial(content: bytes, kernels: str, threads: int) -> bool:
    """Runs in the child: what could go wrong goes wrong here."""
    model = TFLiteModel(content, kernels, threads, trusted=True)
    model.summary()
    for graph in dict.fromkeys([model, *model.graphs()]):
        _try_runs(graph)
    return True


def _try_runs(model: TFLiteModel) -> None:
    generator = np.random.default_rng(0)
    for count in (1, 3) if model.batched else (1,):
        model.run_raw(model.sample(count))
        # Random whole numbers may be no valid index: an error message then is no fault of the file.
        with contextlib.suppress(ArtifactError):
            model.run_raw(model.sample(count, generator))


def _sample(tensor: IOTensor, count: int, generator: np.random.Generator | None, length: int) -> np.ndarray:
    rest = [length if size < 0 else size for size in tensor.shape[1:]]
    shape = [_examples(tensor, count), *rest] if tensor.shape else []
    if generator is None or tensor.dtype.kind == "b":
        return np.zeros(shape, tensor.dtype)
    if tensor.quantized:
        info = np.iinfo(tensor.dtype)
        return generator.integers(info.min, info.max, shape, tensor.dtype, endpoint=True)
    if tensor.dtype.kind in "iu":
        return generator.integers(0, 3, shape, tensor.dtype)
    return generator.uniform(-1, 1, shape).astype(tensor.dtype)


def _examples(tensor: IOTensor, count: int) -> int:
    """Examples that make at least `count`, in whole batches of the declared size."""
    declared = tensor.shape[0]
    return count if declared < 0 else declared * -(-count // max(declared, 1))


artifact.register(
    "tflite",
    suffix=".tflite",
    magic=b"TFL3",
    offset=4,
    opener=lambda content, trusted: TFLiteModel(content, trusted=trusted),
    constants=tflite_file.parameters,
    imports=("utils.deploy.tflite.tflite_model", "ai_edge_litert.interpreter", "ai_edge_litert.schema_py_generated"),
)
