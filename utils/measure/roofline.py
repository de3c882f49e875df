"""How long must a network take at least?  The roofline: its work, over the rates that were measured on a processor.

    work = roofline.of_file(artifact.content)            # operations and bytes of each operator of a .tflite file
    roof = roofline.measured({"float32 matrix": product}, memory=[large])  # what this processor does at its best
    roofline.predict_time(work, roof).seconds

An operator computes and moves bytes at the same time, so it takes at least the longer of the two:

    seconds = max(operations / operations a second, bytes / bytes a second)

Williams, Waterman, Patterson, "Roofline: an insightful visual performance model for multicore architectures", CACM
52(4), 2009.  What the model leaves out, and a small network is made of: calls, packing, kernels that a layer's shape
fills badly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.artifact import Artifact
from utils.measure import timing
from utils.tflite_file import File, Operator, Tensor

#: Operators whose multiply-accumulates cannot be told from the shapes around them.
_OPAQUE = (
    "LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "RNN", "UNIDIRECTIONAL_SEQUENCE_RNN",
    "BIDIRECTIONAL_SEQUENCE_RNN", "SVDF", "WHILE", "IF", "CALL", "CUSTOM", "DELEGATE",
)  # fmt: skip


@dataclass(frozen=True)
class Work:
    """What one operator has to do for one call.

    macs: multiply-accumulates.
    bytes: of its constants, and of what it reads and writes, each once.
    rate: what computes it: type and kind, such as "float32 matrix", "int8 depthwise"; "" if it multiplies nothing.
    """

    name: str
    macs: int
    bytes: int
    rate: str = ""

    @property
    def intensity(self) -> float:
        """Multiply-accumulates for each byte: right of the roof's ridge the arithmetic decides, left of it memory."""
        return self.macs / self.bytes if self.bytes else math.inf


@dataclass(frozen=True)
class Roof:
    """What a processor does at its best.

    macs_per_second: for each rate that a Work may name.
    bytes_per_second: one number, or {bytes of a working set: rate}, since caches are faster than memory: used is
        the rate of the set whose size is nearest to the network's, by their ratio.
    """

    macs_per_second: Mapping[str, float]
    bytes_per_second: float | Mapping[int, float]

    def __post_init__(self) -> None:
        by_size = self.bytes_per_second
        rates = [*self.macs_per_second.values(), *(by_size.values() if isinstance(by_size, Mapping) else [by_size])]
        if isinstance(by_size, Mapping) and not (by_size and min(by_size) > 0):
            raise ValueError("bytes_per_second is one rate, or {bytes: rate} with one size above 0 or more")
        if not all(isinstance(rate, int | float) and math.isfinite(rate) and rate > 0 for rate in rates):
            raise ValueError(f"rates are finite and above 0; got {dict(self.macs_per_second)} and {by_size}")

    def bandwidth(self, working_set: int) -> float:
        """Bytes a second for a network whose operators have so many bytes together."""
        by_size = self.bytes_per_second
        if not isinstance(by_size, Mapping):
            return by_size
        return by_size[min(by_size, key=lambda size: abs(math.log(size / max(working_set, 1))))]

    def ridge(self, rate: str, working_set: int) -> float:
        """The intensity, multiply-accumulates for each byte, at which arithmetic and memory take equally long."""
        return self._peak(rate) / self.bandwidth(working_set)

    def _peak(self, rate: str) -> float:
        if rate not in self.macs_per_second:
            raise ValueError(f"the roof has no rate for {rate!r}; it has {', '.join(self.macs_per_second) or 'none'}")
        return self.macs_per_second[rate]


@dataclass(frozen=True)
class LeastTime:
    """The least time of one operator, in seconds, by arithmetic and by memory."""

    work: Work
    arithmetic: float
    memory: float

    @property
    def seconds(self) -> float:
        return max(self.arithmetic, self.memory)

    @property
    def bound(self) -> str:
        """What decides: "arithmetic" or "memory"."""
        return "arithmetic" if self.arithmetic > self.memory else "memory"


@dataclass(frozen=True)
class Prediction:
    """The least time of a network: its operators, one after the other."""

    steps: tuple[LeastTime, ...]

    @property
    def seconds(self) -> float:
        return sum(step.seconds for step in self.steps)

    @property
    def memory_part(self) -> float:
        """The part of the time, 0 to 1, in operators that wait for memory."""
        return sum(step.seconds for step in self.steps if step.bound == "memory") / self.seconds if self.seconds else 0


def predict_time(work: Iterable[Work], roof: Roof) -> Prediction:
    """The least time that `work` takes below `roof`.

    Raises ValueError for a rate that the roof does not have.
    """
    work = tuple(work)
    bandwidth = roof.bandwidth(sum(part.bytes for part in work))
    return Prediction(
        tuple(LeastTime(w, w.macs / roof._peak(w.rate) if w.macs else 0.0, w.bytes / bandwidth) for w in work)
    )


def of_file(content: bytes) -> tuple[Work, ...]:
    """The work of each operator of a .tflite file's main graph, for the shapes that it declares (a batch of one).

    Products and convolutions are multiply-accumulates; all else only moves bytes.  Left out is what is computed once
    when the file is opened: operators that read nothing but constants.  Reshaping moves nothing.

    Too little is counted where the batch is open and other axes are laid into it, since a file stores the length 1 for
    all of them: between SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND (a dilated convolution), and behind a computed RESHAPE
    (a dense layer on rows).  A file of a model with Input(shape, batch_size=1) is counted whole.

    Raises ArtifactError for a damaged file, ValueError for one with an operator that cannot be counted.
    """
    constant: set[int] = set()
    found = []
    for operator in File(content).operators():
        if operator.inputs and all(t.constant or t.index in constant for t in operator.inputs):
            constant.update(t.index for t in operator.outputs)
        else:
            found.append(_work(operator))
    return tuple(found)


def _work(operator: Operator) -> Work:
    if operator.name in _OPAQUE or operator.name.startswith("STABLEHLO"):
        raise ValueError(f"operator {operator.index}, {operator.name}: its multiply-accumulates are not in its shapes")
    kind, macs = _COUNTERS.get(operator.name, _no_product)(operator)
    moved = 0 if operator.name == "RESHAPE" else sum(map(_size, (*operator.inputs, *operator.outputs)))
    rate = f"{_arithmetic(operator)} {kind}" if macs else ""
    return Work(f"{operator.index} {operator.name}", macs, moved, rate)


def _size(tensor: Tensor) -> int:
    """Bytes: of a constant as stored, else of its values."""
    return tensor.bytes if tensor.constant else math.prod(tensor.shape) * tensor.numpy.itemsize


def _arithmetic(operator: Operator) -> str:
    """The type of the products: that of the activations, or "dynamic" where only the weights are integers."""
    activations, weights = _operands(operator)
    floats = activations.dtype.startswith(("float", "bfloat"))
    return "dynamic" if floats and weights.dtype.startswith(("int", "uint")) else activations.dtype


def _operands(operator: Operator) -> tuple[Tensor, Tensor]:
    """(activations, weights); a transposed convolution has the shape of its output before them."""
    if operator.name == "TRANSPOSE_CONV":
        return operator.inputs[2], operator.inputs[1]
    return operator.inputs[0], operator.inputs[1]


def _no_product(operator: Operator) -> tuple[str, int]:
    return "", 0


def _convolution(operator: Operator) -> tuple[str, int]:
    """Output values × the weights of one output channel: (out, height, width, in / groups)."""
    return "matrix", _values(operator.outputs[0]) * math.prod(operator.inputs[1].shape[1:])


def _convolution_3d(operator: Operator) -> tuple[str, int]:
    """Its weights are (depth, height, width, in, out)."""
    return "matrix", _values(operator.outputs[0]) * math.prod(operator.inputs[1].shape[:-1])


def _depthwise(operator: Operator) -> tuple[str, int]:
    """Output values × height × width; the weights are (1, height, width, channels)."""
    return "depthwise", _values(operator.outputs[0]) * math.prod(operator.inputs[1].shape[1:3])


def _transposed(operator: Operator) -> tuple[str, int]:
    """Input values × (out, height, width): each input value meets the kernel once."""
    return "matrix", _values(operator.inputs[2]) * math.prod(operator.inputs[1].shape[:-1])


def _dense(operator: Operator) -> tuple[str, int]:
    """Output values × inputs; one row at a time uses each weight once, which kernels treat as a case of its own."""
    outputs, inputs = _values(operator.outputs[0]), operator.inputs[1].shape[-1]
    return "vector" if outputs == operator.inputs[1].shape[0] else "matrix", outputs * inputs


def _product(operator: Operator) -> tuple[str, int]:
    left = operator.inputs[0].shape
    return "matrix", _values(operator.outputs[0]) * left[-2 if operator.options.adjX else -1]


def _values(tensor: Tensor) -> int:
    return math.prod(tensor.shape)


_COUNTERS = {
    "CONV_2D": _convolution,
    "CONV_3D": _convolution_3d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transposed,
    "FULLY_CONNECTED": _dense,
    "BATCH_MATMUL": _product,
}


# ---------------------------------------------------------------- a processor's rates


def measured(
    arithmetic: Mapping[str, Artifact], memory: Sequence[Artifact], *, rounds: int = 50, seed: int | None = None
) -> Roof:
    """The rates that this processor reaches on files which do little else, all timed in turns.

    arithmetic: {rate: .tflite file of one layer of that kind}, large enough to be worth its call, small enough
        for a cache: {"float32 matrix": …, "int8 depthwise": …}.
    memory: files of one dense layer: with a batch of one each weight is read once.  One for each size of interest.
    rounds, seed: as of `timing.latency`.
    Returns a Roof of medians.
    Raises ValueError: a file whose operators are not computed at the rate that it is meant for.
    """
    work = {rate: of_file(artifact.content) for rate, artifact in arithmetic.items()}
    for rate, parts in work.items():
        if {part.rate for part in parts if part.macs} != {rate}:
            raise ValueError(f"the file for {rate!r} computes {sorted({p.rate for p in parts if p.macs}) or 'nothing'}")
    if not memory:
        raise ValueError("pass one file or more in memory=, of one dense layer each")
    sides = {**arithmetic, **{f"memory {i}": artifact for i, artifact in enumerate(memory)}}
    times = timing.latency({name: (a, _input(a)) for name, a in sides.items()}, rounds=rounds, seed=seed)
    streams = {}
    for number, artifact in enumerate(memory):
        size = sum(part.bytes for part in of_file(artifact.content))
        streams[size] = size / times[f"memory {number}"].median
    return Roof({rate: sum(p.macs for p in parts) / times[rate].median for rate, parts in work.items()}, streams)


def _input(artifact: Artifact) -> Any:
    """One example: zeros, which every quantized range includes; the times do not depend on the values."""
    inputs = File(artifact.content).inputs()
    if len(inputs) != 1:
        raise ValueError(f"a file to measure a rate with has one input; this has {len(inputs)}")
    return np.zeros((1, *inputs[0].shape[1:]), np.float32)
