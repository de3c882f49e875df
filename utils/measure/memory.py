"""Peak memory of predicting with an artifact, measured in a process of its own."""

from __future__ import annotations

import gc
import importlib
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils import artifact as artifacts
from utils import child
from utils.artifact import Artifact


@dataclass(frozen=True)
class Memory:
    """Resident memory of a child process, in bytes.

    baseline: with the interpreter's libraries and the input loaded, before the artifact is read.
    peak: the largest until the prediction was done.
    """

    baseline: int
    peak: int

    @property
    def bytes(self) -> int:
        """What reading, opening and running the artifact added."""
        return self.peak - self.baseline


def peak_memory(artifact: Artifact, x: Any, *, timeout: float = 120.0) -> Memory:
    """Peak resident memory of predicting the batch x, in a process of its own.

    A child imports what the format needs, loads x and notes its memory: the baseline.  Then it reads the artifact,
    opens it and predicts; the difference is the artifact's: file, packed weights, activations.  A process
    that has done other work cannot tell, since memory once freed is used again unseen.
    Resolution: pages of 4 KiB, and some 100 kB of Python's own coming and going.

    artifact: what is run.
    x: one array (n, …) or `{name: array}`; memory grows with n, so say which.
    Raises ValueError, TypeError: if x does not fit.
    Raises child.ChildError: if the child ends without an answer.
    """
    if not isinstance(artifact, Artifact):
        raise TypeError(f"peak_memory takes an Artifact, not {type(artifact).__name__}")
    artifact.predict(x)  # bad input and broken files are refused here, with the artifact's own sentence
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "artifact").write_bytes(artifact.content)
        arrays = dict(x) if isinstance(x, Mapping) else {"": np.asarray(x)}
        np.savez(Path(folder, "x.npz"), **{f"x{name}": values for name, values in arrays.items()})
        options = {"folder": folder, "format": artifact.format}
        answer = child.run("utils.measure.memory:_memory_of_child", options=options, timeout=timeout, memory=None)
    return Memory(*answer)


def _memory_of_child(_: bytes, folder: str, format: str) -> tuple[int, int]:
    """Runs in the child: bytes before the artifact is read, and at most until it has predicted."""
    for module in artifacts.format_of(format).imports:
        importlib.import_module(module)
    with np.load(Path(folder, "x.npz"), allow_pickle=False) as file:
        arrays = {name[1:]: file[name] for name in file.files}
    x = arrays.get("", arrays)
    _give_back_free_memory()
    baseline = _resident()
    _forget_peak()
    opened = Artifact(Path(folder, "artifact").read_bytes(), format, trusted=True)
    opened.predict(x)
    # Some kernels look at the high-water mark only now and then; while `opened` lives, its buffers are resident.
    return baseline, max(_peak_resident(), _resident(), baseline)


def _resident() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def _give_back_free_memory() -> None:
    """Importing leaves megabytes of free heap behind, out of which the model's buffers would come unseen."""
    import ctypes

    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl has not
        if trim is not None:
            trim(0)


def _forget_peak() -> None:
    """Where the kernel allows it, start the high-water mark anew: importing TensorFlow may have been higher."""
    if sys.platform == "linux":
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return


def _peak_resident() -> int:
    """The process's high-water mark in bytes.

    On Linux not getrusage: its maximum survives exec, so a child of a large notebook would report the notebook's.
    """
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # bytes on macOS
