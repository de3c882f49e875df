"""Run .tflite files with LiteRT's interpreter, without TensorFlow: any batch, quantization handled.

    model = tflite.Model("model.tflite")
    model.run(x)        # float32 in, float32 out, whatever the file's types
    model.run_raw(q)    # the file's own types: int8 in, int8 out
    model.summary()     # what it does, operator by operator

A file that is not known to be good is first tried in a child process (`verify`): some broken files, and
even some that the converter made, end the process that runs them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import utils
from utils import artifact, child
from utils.artifact import ArtifactError
from utils.deploy import flatbuffer

#: Kernel paths: XNNPACK where it can, else optimized; optimized without XNNPACK; plain reference C++.
KERNELS = {"default": "AUTO", "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "reference": "BUILTIN_REF"}

_CHUNK_BYTES = 4 * 2**20  # of input in one call: large enough that calls cost nothing, small in memory
_CHUNK = 256
_stderr_lock = threading.Lock()


@dataclass(frozen=True)
class Verdict:
    """What the child process found: whether the file runs, else why not, and how long that took."""

    ok: bool
    reason: str
    seconds: float


@dataclass(frozen=True)
class Port:
    """One input or output of a model, as the file declares it (axes of unknown length are -1)."""

    name: str
    index: int
    shape: tuple[int, ...]
    dtype: np.dtype
    scale: float | None
    zero_point: int

    @property
    def quantized(self) -> bool:
        return self.scale is not None

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest real value that the quantized type can hold."""
        info = np.iinfo(self.dtype)
        return self.scale * (info.min - self.zero_point), self.scale * (info.max - self.zero_point)


# --- quantized values -----------------------------------------------------------------------------------


def quantize(x: np.ndarray, scale: float, zero_point: int, dtype: Any) -> np.ndarray:
    """Real values to stored integers, as TF Lite's Quantize kernel does it.

    q = clip(round(x / scale) + zero_point), divided in float32 and halves rounded away from zero
    (tensorflow/lite/kernels/internal/reference/quantize.h).  XNNPACK multiplies by 1/scale and rounds halves
    to even, so it may differ by 1 where x/scale lies half-way.
    """
    info = np.iinfo(dtype)
    ratio = np.asarray(x, np.float32) / np.float32(scale)
    rounded = np.trunc(ratio + np.copysign(np.float32(0.5), ratio).astype(np.float64))
    return np.clip(rounded + zero_point, info.min, info.max).astype(dtype)


def dequantize(q: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """Stored integers to float32: scale · (q − zero_point)."""
    return (np.float64(np.float32(scale)) * (q.astype(np.float64) - zero_point)).astype(np.float32)


# --- verification in a child process --------------------------------------------------------------------

_verdicts: dict[tuple[bytes, str, int, float], Verdict] = {}


def verify(
    source: bytes | str | os.PathLike[str], kernels: str = "default", threads: int = 1, timeout: float = 60.0
) -> Verdict:
    """Try a .tflite file in a limited child process: open, allocate, run zeros and random batches.

    The caller lives whatever the file does.  A file is tried once in a process; the verdict is kept.

    Args:
        source: the bytes or a path.
        kernels: "default", "builtin" or "reference"; a file may run with one and not with another.
        timeout: seconds, after which the child is killed and the verdict is "did not end".
    """
    content = _content(source)
    _check_kernels(kernels)
    key = (hashlib.sha256(content).digest(), kernels, threads, timeout)
    if key not in _verdicts:
        start = time.perf_counter()
        reason = _try_in_child(content, kernels, threads, timeout)
        _verdicts[key] = Verdict(not reason, reason, time.perf_counter() - start)
    return _verdicts[key]


def _try_in_child(content: bytes, kernels: str, threads: int, timeout: float) -> str:
    """The reason why the file does not run; "" if it does."""
    try:
        child.run(
            "utils.deploy.tflite:_trial",
            content,
            options={"kernels": kernels, "threads": threads},
            timeout=timeout,
            memory=4 * 2**30 + 8 * len(content),
        )
    except child.ChildError as error:
        return str(error)
    return ""


def _trial(content: bytes, kernels: str, threads: int) -> bool:
    """Runs in the child: what could go wrong goes wrong here."""
    model = Model(content, kernels, threads, trusted=True)
    model.summary()
    generator = np.random.default_rng(0)
    for count in (1, 3):
        model.run_raw({port.name: _sample(port, count, None) for port in model.inputs})
        # Random whole numbers may be no valid index: an error message then is no fault of the file.
        with contextlib.suppress(ArtifactError):
            model.run_raw({port.name: _sample(port, count, generator) for port in model.inputs})
    return True


def _sample(port: Port, count: int, generator: np.random.Generator | None) -> np.ndarray:
    """Zeros, or random values over what the type and the quantization allow."""
    rest = [1 if size < 0 else size for size in port.shape[1:]]
    shape = [_examples(port, count), *rest] if port.shape else []
    if generator is None or port.dtype.kind == "b":
        return np.zeros(shape, port.dtype)
    if port.quantized:
        info = np.iinfo(port.dtype)
        return generator.integers(info.min, info.max, shape, port.dtype, endpoint=True)
    if port.dtype.kind in "iu":
        return generator.integers(0, 3, shape, port.dtype)
    return generator.uniform(-1, 1, shape).astype(port.dtype)


def _examples(port: Port, count: int) -> int:
    """Examples that make at least `count`, in whole batches of the declared size."""
    declared = port.shape[0]
    return count if declared < 0 else declared * -(-count // max(declared, 1))


# --- the model ------------------------------------------------------------------------------------------


class Model:
    """A .tflite file, opened.

    Args:
        source: the bytes or a path.
        kernels: "default" (XNNPACK where it can), "builtin" (optimized kernels without XNNPACK) or
            "reference" (the plain kernels whose arithmetic the others imitate).
        threads: threads an operator may use.
        trusted: True skips the trial in a child process; only for files that this program has made
            and run before.

    Raises:
        FileNotFoundError: if the path leads nowhere.
        ArtifactError: if the file is empty, foreign, damaged, or its run ends the process.
        ValueError: for unknown kernels or threads below 1.
    """

    def __init__(
        self,
        source: bytes | str | os.PathLike[str],
        kernels: str = "default",
        threads: int | None = None,
        *,
        trusted: bool = False,
    ) -> None:
        self.content = _content(source)
        self.kernels = _check_kernels(kernels)
        self.threads = _check_threads(utils.THREADS if threads is None else threads)
        if not trusted:
            verdict = verify(self.content, kernels, self.threads)
            if not verdict.ok:
                raise ArtifactError(f"this .tflite file cannot be run with kernels={kernels!r}: {verdict.reason}")
        self._resizable = True
        self._open()
        self.inputs = self._ports("inputs")
        self.outputs = self._ports("outputs")

    # - opening

    def _open(self) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        resolver = OpResolverType[KERNELS[self.kernels]]
        with _stderr_kept(), _refusals("the interpreter refuses the file"):
            self.interpreter = Interpreter(
                model_content=self.content, num_threads=self.threads, experimental_op_resolver_type=resolver
            )
            self.interpreter.allocate_tensors()
        self._shapes = {p["index"]: tuple(p["shape"]) for p in self.interpreter.get_input_details()}

    def _ports(self, side: str) -> tuple[Port, ...]:
        names = self._signature_names(side)
        details = self.interpreter.get_input_details() if side == "inputs" else self.interpreter.get_output_details()
        return tuple(_port(detail, names.get(detail["index"], detail["name"])) for detail in details)

    def _signature_names(self, side: str) -> dict[int, str]:
        """Tensor index -> the name the Keras model had for it, if the file has exactly one signature."""
        signatures = list(self.interpreter._get_full_signature_list().values())
        if len(signatures) != 1:
            return {}
        names: dict[int, str] = {}
        for name, index in signatures[0][side].items():
            names.setdefault(index, name)
        return names

    # - running

    def run(self, x: Any) -> Any:
        """Predict a batch of any size, in real values.

        Args:
            x: float array (n, …) with the file's shape after the first axis; quantized here if the
                file's input is.  Whole numbers only where the file takes unquantized integers (tokens).
                Several inputs: `{name: array}`.

        Returns:
            float32 (n, …), dequantized if need be; `{name: array}` for several outputs.

        Raises:
            ValueError: wrong shape, empty, NaN, or values outside the quantized input's range.
            TypeError: wrong dtype.
            ArtifactError: if the interpreter fails.
        """
        batch = self._by_name(x)
        results = self._run_checked({port.name: _to_stored(port, batch[port.name]) for port in self.inputs})
        return _single({port.name: _to_real(port, results[port.name]) for port in self.outputs})

    def run_raw(self, x: Any) -> Any:
        """Predict a batch in the file's own types: integers go in and come out as they are stored.

        Raises:
            TypeError: if the dtype is not exactly the file's.
            ValueError, ArtifactError: as for `run`.
        """
        batch = self._by_name(x)
        for port in self.inputs:
            if np.asarray(batch[port.name]).dtype != port.dtype:
                raise TypeError(
                    f"run_raw takes {port.dtype} for input {port.name!r}, got {np.asarray(batch[port.name]).dtype}; "
                    "run(x) takes real values and quantizes them"
                )
        checked = {port.name: _check_shape(port, np.asarray(batch[port.name])) for port in self.inputs}
        return _single(self._run_checked(checked))

    def prepare(self, x: Any) -> Any:
        """A function that only runs the interpreter on the batch x, already quantized and set: for timing.

        Where the file's batch is fixed and x has another number of examples, the function is `run(x)`.
        """
        batch = self._by_name(x)
        values = {port.name: _to_stored(port, batch[port.name]) for port in self.inputs}
        count = max((len(values[port.name]) for port in self.inputs if port.shape), default=1)
        if (self._fixed and count != self._chunk_size(values)) or not self._resizable:
            return lambda: self.run(x)
        try:
            self._set({port.index: values[port.name] for port in self.inputs})
        except ArtifactError:  # the graph cannot be resized
            self._open()
            return lambda: self.run(x)
        return self.interpreter.invoke

    def _by_name(self, x: Any) -> Mapping[str, Any]:
        names = [port.name for port in self.inputs]
        if not isinstance(x, Mapping):
            if len(names) != 1:
                raise ValueError(f"the model has {len(names)} inputs; pass {{name: array}} with the names {names}")
            return {names[0]: x}
        if set(x) != set(names):
            raise ValueError(f"the model's inputs are {names}, got {list(x)}")
        return x

    def _run_checked(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        counts = {port.name: len(batch[port.name]) for port in self.inputs if port.shape}
        if len(set(counts.values())) > 1:
            raise ValueError(f"the inputs have different numbers of examples: {counts}")
        count = max(counts.values(), default=1)
        parts, start = [], 0
        while start < count:
            parts.append(self._chunk(batch, start, min(count - start, self._chunk_size(batch))))
            start += len(next(iter(parts[-1].values()))) if counts else 1
        return {name: np.concatenate([part[name] for part in parts]) if counts else parts[0][name] for name in parts[0]}

    def _chunk_size(self, batch: Mapping[str, np.ndarray]) -> int:
        """Examples in one call: the declared number if it is fixed, else what fits into a few megabytes."""
        declared = [port.shape[0] for port in self.inputs if port.shape and port.shape[0] >= 0]
        if declared:
            return max(declared[0], 1)
        if not self._resizable:
            return 1
        each = sum(values[:1].nbytes for values in batch.values())
        return max(1, min(_CHUNK, _CHUNK_BYTES // max(each, 1)))

    def _chunk(self, batch: Mapping[str, np.ndarray], start: int, count: int) -> dict[str, np.ndarray]:
        """Outputs for examples start … start+count; falls back to one at a time if the graph cannot be resized."""
        size = max(self._chunk_size(batch), 1) if self._fixed else count
        values = {p.index: _slice(p, batch[p.name], start, count, size) for p in self.inputs}
        try:
            results = self._invoke(values)
            self._check_counts(results, size)
        except ArtifactError:
            if self._fixed or not self._resizable or size == 1:
                raise
            # Some graphs have their batch of 1 written into a Reshape: they run one example at a time.
            self._resizable = False
            self._open()
            return self._chunk(batch, start, 1)
        return {name: result[:count] if result.ndim else result for name, result in results.items()}

    @cached_property
    def _fixed(self) -> bool:
        return any(port.shape and port.shape[0] >= 0 for port in self.inputs)

    @cached_property
    def _stateful(self) -> bool:
        return any(tensor.variable for tensor in self.file.tensors[0])

    def _invoke(self, values: Mapping[int, np.ndarray]) -> dict[str, np.ndarray]:
        self._set(values)
        with _refusals("the interpreter failed"):
            self.interpreter.invoke()
            return {port.name: self.interpreter.get_tensor(port.index) for port in self.outputs}

    def _set(self, values: Mapping[int, np.ndarray]) -> None:
        if any(self._shapes[index] != array.shape for index, array in values.items()):
            self._resize(values)
        with _refusals("the interpreter refuses the input"):
            if self._stateful:  # examples are independent: none starts from the state of the one before
                self.interpreter.reset_all_variables()
            for index, array in values.items():
                self.interpreter.set_tensor(index, array)

    def _resize(self, values: Mapping[int, np.ndarray]) -> None:
        self._shapes = dict.fromkeys(self._shapes, ())  # unknown until the allocation has succeeded
        with _stderr_kept(), _refusals("the interpreter refuses the batch"):
            for index, array in values.items():
                self.interpreter.resize_tensor_input(index, array.shape)
            self.interpreter.allocate_tensors()
        self._shapes = {index: array.shape for index, array in values.items()}

    def _check_counts(self, results: Mapping[str, np.ndarray], size: int) -> None:
        for name, result in results.items():
            if any(port.shape for port in self.inputs) and (not result.ndim or len(result) != size):
                raise ArtifactError(
                    f"output {name!r} has shape {result.shape} for {size} examples: it has no batch axis, "
                    "so it cannot be told which example gave what"
                )

    # - looking inside

    @cached_property
    def file(self) -> flatbuffer.File:
        """The parsed file."""
        return flatbuffer.File(self.content)

    def summary(self) -> tuple[flatbuffer.Operator, ...]:
        """The operators in the order of execution, with their tensors."""
        return self.file.operators()

    def tensors(self) -> tuple[flatbuffer.Tensor, ...]:
        """All tensors of the graph that is run, with shapes, types, bytes and quantization."""
        return self.file.tensors[0]

    def values(self, tensor: flatbuffer.Tensor) -> np.ndarray:
        """A constant's stored values, in its shape."""
        return self.file.values(tensor)

    def delegated(self) -> bool:
        """True if a delegate (XNNPACK) has taken over at least one operator."""
        return any(operator["op_name"] == "DELEGATE" for operator in self.interpreter._get_ops_details())

    def verify(self, timeout: float = 60.0) -> Verdict:
        """Try this file with these kernels in a child process; see `verify`."""
        return verify(self.content, self.kernels, self.threads, timeout)


# --- checks and conversions of inputs and outputs -------------------------------------------------------


def _to_stored(port: Port, values: Any) -> np.ndarray:
    """Real values as the file stores them."""
    array = _check_shape(port, _check_dtype(port, np.asarray(values)))
    if array.dtype.kind == "f":
        array = array.astype(np.float32 if port.quantized else port.dtype, copy=False)
        if not np.isfinite(array).all():
            raise ValueError(f"input {port.name!r} contains NaN or infinite values; remove or replace them first")
    if port.quantized:
        _check_range(port, array)
        return quantize(array, port.scale, port.zero_point, port.dtype)
    if array.dtype != port.dtype:
        info = np.iinfo(port.dtype)
        if array.min() < info.min or array.max() > info.max:
            raise ValueError(f"input {port.name!r} has values outside {port.dtype}'s range {info.min} … {info.max}")
    return array.astype(port.dtype, copy=False)


def _check_dtype(port: Port, array: np.ndarray) -> np.ndarray:
    if port.quantized or port.dtype.kind == "f":
        if array.dtype.kind != "f":
            raise TypeError(
                f"input {port.name!r} takes real values, got {array.dtype}; scale the data as for the training "
                "and pass float32" + ("; integers that are already quantized go to run_raw" if port.quantized else "")
            )
    elif port.dtype.kind in "iu":
        if array.dtype.kind not in "iu":
            raise TypeError(f"input {port.name!r} takes whole numbers ({port.dtype}), got {array.dtype}")
    elif array.dtype != port.dtype:
        raise TypeError(f"input {port.name!r} takes {port.dtype}, got {array.dtype}")
    return array


def _check_shape(port: Port, array: np.ndarray) -> np.ndarray:
    if not port.shape:
        if array.ndim:
            raise ValueError(f"input {port.name!r} is a single number, got shape {array.shape}")
        return array
    wanted = "(" + ", ".join(["n", *("any" if size < 0 else str(size) for size in port.shape[1:])]) + ")"
    fits = array.ndim == len(port.shape) and all(
        declared in (-1, size) for declared, size in zip(port.shape[1:], array.shape[1:], strict=True)
    )
    if not fits:
        raise ValueError(
            f"input {port.name!r} takes shape {wanted}, n examples along the first axis; got {array.shape}"
        )
    if array.size == 0:
        raise ValueError(f"input {port.name!r} is empty, shape {array.shape}; pass at least one example")
    return array


def _check_range(port: Port, array: np.ndarray) -> None:
    """Refuse data on another scale, such as pixels 0–255 for a model calibrated on 0–1.

    A few values beyond the calibrated range are normal and get clipped.  When most of those that are
    not 0 lie beyond it, the data was scaled otherwise than the calibration set.
    """
    low, high = port.range
    beyond = np.count_nonzero((array < low - port.scale) | (array > high + port.scale))
    if beyond > 0.5 * np.count_nonzero(array):
        raise ValueError(
            f"input {port.name!r} was calibrated for values from {low:.4g} to {high:.4g}, and the data goes from "
            f"{array.min():.4g} to {array.max():.4g}: scale it as the calibration set was (divide by 255?)"
        )


def _to_real(port: Port, stored: np.ndarray) -> np.ndarray:
    if port.quantized:
        return dequantize(stored, port.scale, port.zero_point)
    return stored.astype(np.float32, copy=False) if stored.dtype.kind == "f" else stored


def _slice(port: Port, values: np.ndarray, start: int, count: int, size: int) -> np.ndarray:
    """Examples start … start+count, the last one repeated up to `size` where the file's batch is fixed."""
    if not port.shape:
        return values
    part = values[start : start + count]
    if len(part) < size:
        part = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
    return np.ascontiguousarray(part)


def _single(results: dict[str, np.ndarray]) -> Any:
    return next(iter(results.values())) if len(results) == 1 else results


def _port(detail: Mapping[str, Any], name: str) -> Port:
    dtype = np.dtype(detail["dtype"])
    if dtype.kind not in "fiub":
        raise ArtifactError(f"the tensor {name!r} is of type {dtype}: only numbers can be passed in and out")
    scales, points = (detail["quantization_parameters"][key] for key in ("scales", "zero_points"))
    if len(scales) > 1:
        raise ArtifactError(f"the tensor {name!r} is quantized per channel, which inputs and outputs cannot be")
    quantized = len(scales) == 1 and dtype.kind in "iu"
    shape = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    return Port(
        name=name,
        index=int(detail["index"]),
        shape=tuple(int(size) for size in shape),
        dtype=dtype,
        scale=float(scales[0]) if quantized else None,
        zero_point=int(points[0]) if quantized else 0,
    )


def _content(source: bytes | str | os.PathLike[str]) -> bytes:
    if not isinstance(source, (bytes, bytearray, memoryview)):
        return artifact.load(Path(source), "tflite").content
    return artifact.Artifact(bytes(source), "tflite").content


def _check_kernels(kernels: str) -> str:
    if kernels not in KERNELS:
        raise ValueError(f"kernels={kernels!r} is unknown; pass one of {', '.join(map(repr, KERNELS))}")
    return kernels


def _check_threads(threads: int) -> int:
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise ValueError(f"threads={threads!r}; pass a whole number from 1")
    return threads


# --- the interpreter's own voice ------------------------------------------------------------------------


@contextlib.contextmanager
def _refusals(what: str) -> Iterator[None]:
    """Turn the interpreter's exceptions, which are of several types, into ArtifactError."""
    try:
        yield
    except (ValueError, RuntimeError, MemoryError) as error:
        raise ArtifactError(f"{what}: {' '.join(str(error).split()) or type(error).__name__}") from error


@contextlib.contextmanager
def _stderr_kept() -> Iterator[None]:
    """Hold back what C++ writes to descriptor 2 and pass on all but its INFO lines (XNNPACK announces itself)."""
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
                if not line.startswith(b"INFO:"):
                    os.write(2, line)


artifact.register(
    "tflite",
    suffix=".tflite",
    magic=b"TFL3",
    offset=4,
    opener=lambda content, trusted: Model(content, trusted=trusted),
    constants=flatbuffer.parameters,
    imports=("utils.deploy.tflite", "ai_edge_litert.interpreter", "ai_edge_litert.schema_py_generated"),
)
