"""Measure an artifact: one `Scorecard` a side, made on the bytes that are shipped.

    card = measure.scorecard(artifact, data.x_test, data.y_test, model=model)
    times = measure.latency({"float32": (a, x[:1]), "int8": (b, x[:1])})
    times.ratio("int8", "float32")

Intervals and tests come from `utils/statistics.py`, timing from `utils/latency.py`, counts and estimates from
`utils/cost.py`; their names are here too.
"""

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
from utils.cost import cost_per_million, energy_per_inference, macs, macs_by_layer
from utils.latency import Timing, Timings, latency, throughput
from utils.statistics import (
    Interval,
    accuracy,
    correct,
    expected_calibration_error,
    mcnemar,
    paired_bootstrap,
    per_class_accuracy,
    predicted,
    probabilities,
    reliability,
    wilson,
)

__all__ = [
    "Interval", "Memory", "Scorecard", "Stored", "Timing", "Timings", "accuracy", "correct", "cost_per_million",
    "energy_per_inference", "expected_calibration_error", "latency", "macs", "macs_by_layer", "mcnemar",
    "paired_bootstrap", "peak_memory", "per_class_accuracy", "predicted", "probabilities", "reliability",
    "scorecard", "stored", "throughput", "wilson",
]  # fmt: skip


# --- the scorecard --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stored:
    """What the parameters are like.

    Attributes:
        parameters: stored numbers.
        nonzero: share that is not 0, in [0, 1]; a quantized number is 0 at its zero point.
        distinct: the largest number of different values in one weight tensor (of two axes or more).
    """

    parameters: int
    nonzero: float
    distinct: int


@dataclass(frozen=True)
class Scorecard:
    """One row of the course's table: sizes, parameters and accuracy of one artifact.

    Attributes:
        bytes, gzip_bytes: of the file as it is and after gzip -9; compare only equal formats.
        parameters, nonzero, distinct: see `Stored`; None if the format cannot tell.
        macs: multiply-accumulates for one example, of the Keras model; None without one.
        examples, accuracy: measured with the artifact; the accuracy with its Wilson interval.
    """

    name: str
    format: str
    bytes: int
    gzip_bytes: int
    parameters: int | None
    nonzero: float | None
    distinct: int | None
    macs: int | None
    examples: int
    accuracy: Interval

    def row(self) -> dict[str, Any]:
        """For `claims.show`."""
        return {
            "name": self.name,
            "format": self.format,
            "bytes": self.bytes,
            "gzip bytes": self.gzip_bytes,
            "parameters": self.parameters,
            "nonzero": self.nonzero,
            "distinct": self.distinct,
            "MACs": self.macs,
            "accuracy": self.accuracy.value,
            "low": self.accuracy.low,
            "high": self.accuracy.high,
        }


def scorecard(
    artifact: Artifact,
    x: Any,
    y: Any,
    model: Any = None,
    *,
    name: str = "",
    confidence: float = 0.95,
) -> Scorecard:
    """Measure an artifact on labelled examples.

    Args:
        artifact: what is shipped; its own predictions are scored, not the model's.
        x: examples (n, …) as the model takes them.
        y: labels, whole numbers (n,).
        model: the tf_keras model it was made from: gives the multiply-accumulates, and the parameters where
            the format cannot tell them.
        name: of the row; the format's name by default.

    Raises:
        ValueError, TypeError: empty, NaN or mismatched data, several outputs, labels that are not classes, labels of a
            single class (a constant answer would score 100 %).
        ArtifactError: if the artifact cannot be run.
    """
    if not isinstance(artifact, Artifact):
        raise TypeError(f"scorecard takes an Artifact, not {type(artifact).__name__}; see artifact.from_keras")
    _check_labels(x, y)
    outputs = artifact.predict(x)
    if isinstance(outputs, Mapping):
        raise ValueError(f"the artifact has the outputs {list(outputs)}; a scorecard needs one, (n, classes)")
    constants = artifact.constants()
    numbers = _stored_in(constants) if constants is not None else stored(model) if model is not None else None
    return Scorecard(
        name=name or artifact.format,
        format=artifact.format,
        bytes=artifact.size,
        gzip_bytes=artifact.gzip_size,
        parameters=numbers and numbers.parameters,
        nonzero=numbers and numbers.nonzero,
        distinct=numbers and numbers.distinct,
        macs=None if model is None else macs(model),
        examples=len(np.asarray(y)),
        accuracy=accuracy(outputs, y, confidence),
    )


def _check_labels(x: Any, y: Any) -> None:
    labels, count = np.asarray(y), len(next(iter(x.values())) if isinstance(x, Mapping) else x)
    if len(labels) != count:
        raise ValueError(f"{count} examples and {len(labels)} labels; pass one label for each example")
    if not count:
        raise ValueError("there are no examples; pass at least two, of different classes")
    if len(np.unique(labels)) < 2:
        raise ValueError(
            f"all {count} labels are {labels.flat[0]}: a constant answer would score 100 %; mix the classes"
        )


def stored(source: Any) -> Stored | None:
    """Numbers on the parameters of an artifact or a tf_keras model; None if the format cannot tell.

    In a .tflite file batch normalization is folded into convolutions, so it may hold fewer than its model.
    """
    if isinstance(source, Artifact):
        constants = source.constants()
        return None if constants is None else _stored_in(constants)
    weights = getattr(source, "weights", None)
    if weights is None:
        raise TypeError(f"pass an Artifact or a tf_keras model, not {type(source).__name__}")
    return _stored_in({str(number): weight.numpy() for number, weight in enumerate(weights)})


def _stored_in(constants: Mapping[str, np.ndarray]) -> Stored:
    arrays = list(constants.values())
    total = sum(array.size for array in arrays)
    if not total:
        return Stored(0, 0.0, 0)
    nonzero = sum(int(np.count_nonzero(array)) for array in arrays)
    distinct = max((len(np.unique(array)) for array in arrays if array.ndim >= 2), default=0)
    return Stored(total, nonzero / total, distinct)


# --- peak memory ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Memory:
    """Resident memory of a child process, in bytes.

    Attributes:
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

    Args:
        artifact: what is run.
        x: one array (n, …) or `{name: array}`; memory grows with n, so say which.

    Raises:
        ValueError, TypeError: if x does not fit.
        child.ChildError: if the child ends without an answer.
    """
    if not isinstance(artifact, Artifact):
        raise TypeError(f"peak_memory takes an Artifact, not {type(artifact).__name__}")
    artifact.predict(x)  # bad input and broken files are refused here, with the artifact's own sentence
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "artifact").write_bytes(artifact.content)
        arrays = dict(x) if isinstance(x, Mapping) else {"": np.asarray(x)}
        np.savez(Path(folder, "x.npz"), **{f"x{name}": values for name, values in arrays.items()})
        options = {"folder": folder, "format": artifact.format}
        answer = child.run("utils.measure:_memory_of_child", options=options, timeout=timeout, memory=None)
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
