"""How long each operator of a .tflite file takes: LiteRT's own profiler, asked through its C interface.

Python has no profiler for its Interpreter and CompiledModel.  The C interface has (g3doc/apis/litert_profiler_api.md),
and the package ai-edge-litert brings its library along, so ctypes is enough.  An operator that XNNPACK has taken is
reported by the name of the kernel that ran, such as "Fully Connected (NC, F32) GEMM".  All of it happens in a child
process, where a broken file does no harm.

On a phone the same table is printed by `benchmark_model --use_profiler`.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils import child, plots
from utils.deploy.tflite.session import check_threads, content_of

#: LiteRtProfilerEventType (litert_profiler_event.h): an operator of the file, or one inside of a delegate.
_OPERATOR, _INSIDE = 1 << 1, (1 << 2) | (1 << 3)
_CPU, _WRITE = 1, 1
_WARMUP = 5


class ProfilerError(RuntimeError):
    """The profiler cannot be asked here, or it failed; the message says why."""


@dataclass(frozen=True)
class OperatorTime:
    """One operator: the kernel's name, whether a delegate ran it, and its median time in microseconds."""

    kernel: str
    delegated: bool
    microseconds: float


def missing() -> str:
    """Why the profiler cannot be asked here, as a sentence; "" if it can."""
    if sys.platform != "linux":
        return f"LiteRT's library is looked for on Linux only, this is {sys.platform}"
    return "" if _library() else "the package ai-edge-litert has no libLiteRt.so here"


def profile(
    source: bytes | str | os.PathLike[str],
    *,
    runs: int = 100,
    threads: int = 1,
    other_work: int = 0,
    timeout: float = 60.0,
) -> tuple[OperatorTime, ...]:
    """The median time of each operator over `runs` predictions of zeros, in the order of execution.

    source: bytes or path of a .tflite file; its first signature, each open axis of length 1.
    other_work: bytes of other memory that are written before each run, as an app's other work does; 0 is a tight loop.
    The profiler counts whole microseconds, so the share of operators of one or two of them is known badly.

    Raises ProfilerError: where there is no library, or the file cannot be run.
    Raises ArtifactError: for bytes that are no .tflite file.
    Raises ValueError: for threads or runs below 1, or other_work below 0.
    """
    content = content_of(source)
    check_threads(threads)
    for name, value, least in (("runs", runs, 1), ("other_work", other_work, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name}={value!r}; pass a whole number from {least}")
    if reason := missing():
        raise ProfilerError(reason)
    options = {"runs": runs, "threads": threads, "other_work": other_work}
    try:
        found = child.run("utils.deploy.tflite.profiler:_measured", content, options=options, timeout=timeout)
    except child.ChildError as error:
        raise ProfilerError(f"LiteRT's profiler failed: {error}") from None
    return tuple(OperatorTime(*entry) for entry in found)


def weighted(source: bytes | str | os.PathLike[str], *, runs: int = 100, other_work: int = 0) -> list[float]:
    """Microseconds of the convolutions and dense layers, in the order of execution; [] where there is no profiler.

    source, runs, other_work, errors: as for `profile`.
    """
    steps = () if missing() else profile(source, runs=runs, other_work=other_work)
    return [step.microseconds for step in steps if _has_weights(step.kernel)]


def draw(profiles: Mapping[str, Sequence[float]], layers: Sequence[str], title: str) -> Any:
    """A figure: for each profile one bar, its layers' times side by side and their sum at its end.

    profiles: {name: microseconds of each of `layers`}.  Times under a twentieth of the longest bar get no number.
    title: the finding.  `plots.show(figure, alt=…)` shows it.
    Raises ValueError where a profile has not one time for each layer, or there is no profile or layer.
    """
    if not profiles or not layers:
        raise ValueError("there is nothing to draw; pass {name: microseconds of each layer} and the layers' names")
    for name, times in profiles.items():
        if len(times) != len(layers):
            raise ValueError(f"profile {name!r} has {len(times)} times for {len(layers)} layers: {', '.join(layers)}")
    longest = max(sum(times) for times in profiles.values())
    figure, axes = plots.figure(title=title, height=1.4 + 0.45 * len(profiles))
    for row, times in enumerate(profiles.values()):
        ends = np.cumsum(times)
        for layer, (time, end) in enumerate(zip(times, ends, strict=True)):
            look = {"color": str(1 - 0.3 * (layer % 2)), "hatch": ("", "///", "...", "xxx")[layer % 4]}
            axes.barh(row, time, left=end - time, height=0.6, edgecolor="black", **look)
            if time > longest / 20:
                backing = {"facecolor": "white", "edgecolor": "none", "pad": 1}
                axes.text(end - time / 2, row, f"{time:.0f}", ha="center", va="center", fontsize=8, bbox=backing)
        axes.text(ends[-1] + longest / 60, row, f"{ends[-1]:.0f} µs", va="center", fontsize=9)
    axes.set(xlabel="time for one picture [µs]", ylabel="file and what ran between", xlim=(0, 1.18 * longest))
    axes.set_yticks(range(len(profiles)), list(profiles))
    axes.invert_yaxis()
    axes.legend(axes.containers[: len(layers)], layers, ncols=2, fontsize=8, frameon=False, loc="upper center")
    axes.get_legend().set_bbox_to_anchor((0.5, -0.3))
    return figure


def _has_weights(kernel: str) -> bool:
    """By its name: "Convolution (NHWC, F32) IGEMM", "Fully Connected (NC, QS8, QC8W) GEMM", "DEPTHWISE_CONV_2D"."""
    return any(word in kernel.lower() for word in ("conv", "fully")) and not kernel.startswith("Convert")


# --- in the child process: declarations of litert/c/*.h ---------------------------------------------------


class _Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("total", "in_use", "private")]


class _Event(ctypes.Structure):
    """ProfiledEventData of litert_profiler_event.h."""

    _fields_ = [
        ("tag", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("start", ctypes.c_uint64),
        ("elapsed", ctypes.c_uint64),
        ("begin_memory", _Memory),
        ("end_memory", _Memory),
        ("metadata", ctypes.c_uint64 * 2),
        ("source", ctypes.c_int),
    ]


class _LiteRt:
    """The library: `call(name, …)` raises where a status is not 0, `handle(name, …)` returns the last argument."""

    def __init__(self) -> None:
        self._functions = ctypes.CDLL(str(_library()))
        self._kept: list[Any] = []

    def call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._functions, name)(*arguments)
        if status:
            raise ProfilerError(f"{name}: status {status}")

    def handle(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        made = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(made))
        return made

    def add(self, options: ctypes.c_void_p, kind: str, text: str) -> None:
        """Options of one kind, as the C interface hands them on: lines `name = value`."""
        payload = ctypes.create_string_buffer(text.encode())
        nothing = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)  # Python frees the text
        self._kept += [payload, nothing]
        pointer = ctypes.cast(payload, ctypes.c_void_p)
        made = self.handle("LiteRtCreateOpaqueOptions", kind.encode(), pointer, nothing)
        self.call("LiteRtAddOpaqueOptions", options, made)


def _library() -> Path | None:
    found = importlib.util.find_spec("ai_edge_litert")
    path = Path(found.origin).with_name("libLiteRt.so") if found and found.origin else None
    return path if path and path.is_file() else None


def _measured(content: bytes, runs: int, threads: int, other_work: int) -> list[list[Any]]:
    """[kernel, delegated, microseconds] of each operator; runs in the child."""
    litert = _LiteRt()
    environment = litert.handle("LiteRtCreateEnvironment", 0, None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.tflite")
        path.write_bytes(content)
        model = litert.handle("LiteRtCreateModelFromFile", environment, str(path).encode())
    options = litert.handle("LiteRtCreateOptions")
    litert.call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
    litert.add(options, "runtime_options_string", "enable_profiling = true\n")
    litert.add(options, "xnnpack", f"num_threads = {threads}\n")
    compiled = litert.handle("LiteRtCreateCompiledModel", environment, model, options)
    signature = litert.handle("LiteRtGetModelSignature", model, ctypes.c_size_t(0))
    arguments: list[Any] = [compiled, ctypes.c_size_t(0)]
    for side in ("Input", "Output"):
        count = ctypes.c_size_t()
        litert.call(f"LiteRtGetNumSignature{side}s", signature, ctypes.byref(count))
        buffers = [_buffer(litert, environment, compiled, signature, side, index) for index in range(count.value)]
        arguments += [count, (ctypes.c_void_p * len(buffers))(*buffers)]
    run = functools.partial(litert.call, "LiteRtRunCompiledModel", *arguments)
    return _in_order(_events(litert, compiled, run, runs, other_work), runs)


def _buffer(litert: _LiteRt, environment, compiled, signature, side: str, index: int) -> ctypes.c_void_p:
    """A buffer as the compiled model wants it; zeros in those of inputs, whose open axes get the length 1."""
    first, place = ctypes.c_size_t(0), ctypes.c_size_t(index)
    tensor = litert.handle(f"LiteRtGetSignature{side}TensorByIndex", signature, place)
    kind = (ctypes.c_int * 32)()  # LiteRtRankedTensorType: element type, rank in 7 bits, sizes, strides
    litert.call("LiteRtGetRankedTensorType", tensor, kind)
    rank = kind[1] & 0x7F
    for axis in range(2, 2 + rank):
        kind[axis] = 1 if kind[axis] < 0 else kind[axis]
    if side == "Input":
        sizes = (ctypes.c_int * rank)(*kind[2 : 2 + rank])
        resize = "LiteRtCompiledModelResizeInputTensorNonStrict"
        litert.call(resize, compiled, first, place, sizes, ctypes.c_size_t(rank))
    needs = litert.handle(f"LiteRtGetCompiledModel{side}BufferRequirements", compiled, first, place)
    buffer = litert.handle("LiteRtCreateManagedTensorBufferFromRequirements", environment, kind, needs)
    if side == "Input":
        size, memory = ctypes.c_size_t(), ctypes.c_void_p()
        litert.call("LiteRtGetTensorBufferPackedSize", buffer, ctypes.byref(size))
        litert.call("LiteRtLockTensorBuffer", buffer, ctypes.byref(memory), _WRITE)
        ctypes.memset(memory, 0, size.value)
        litert.call("LiteRtUnlockTensorBuffer", buffer)
    return buffer


def _events(
    litert: _LiteRt, compiled: ctypes.c_void_p, run: Callable[[], None], runs: int, other_work: int
) -> list[tuple[str, bool, int]]:
    """(kernel, delegated, microseconds) of each operator in each run."""
    profiler = litert.handle("LiteRtCompiledModelGetProfiler", compiled)
    other = np.zeros(other_work, np.uint8)
    for _ in range(_WARMUP):
        run()
    found = []
    for _ in range(runs):  # one at a time: the profiler keeps a limited number of events
        other += 1
        litert.call("LiteRtResetProfiler", profiler)
        litert.call("LiteRtStartProfiler", profiler)
        run()
        litert.call("LiteRtStopProfiler", profiler)
        count = ctypes.c_int()
        litert.call("LiteRtGetNumProfilerEvents", profiler, ctypes.byref(count))
        events = (_Event * count.value)()
        litert.call("LiteRtGetProfilerEvents", profiler, count, events)
        found += [
            (event.tag.decode(errors="replace"), bool(event.type & _INSIDE), int(event.elapsed))
            for event in events
            if event.type & (_OPERATOR | _INSIDE) and event.tag
        ]
    return found


def _in_order(found: list[tuple[str, bool, int]], runs: int) -> list[list[Any]]:
    """Each run has the same operators in the same order: the median over the runs, by place."""
    each = len(found) // runs
    if not each or each * runs != len(found):
        raise ProfilerError(f"{len(found)} events of operators in {runs} runs: not as many in each")
    times = np.array([entry[2] for entry in found]).reshape(runs, each)
    return [[*entry[:2], float(time)] for entry, time in zip(found[:each], np.median(times, 0), strict=True)]
