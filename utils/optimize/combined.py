"""Pruning, weight sharing and quantization one after the other, so that each keeps what the one before has made.

    pruned = prune_while_training(model, dataset, 0.8)
    shared = cluster_while_training(pruned, dataset, 16, keep_zeros=True).model
    made = quantize_while_training(shared, dataset, keep="zeros and values")
    for kernel in kernels_in_file(made.file.content):
        print(kernel.name, kernel.zeros, kernel.distinct)

The Toolkit's names: "zeros" is PQAT, "values" CQAT, "zeros and values" PCQAT; clustering with `keep_zeros` is its
sparsity-preserving clustering.  What was kept is counted in the integers of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras

from utils import SEED, checks, tflite_file, training
from utils.artifact import Artifact
from utils.optimize.coding import byte_coders, network_file
from utils.optimize.keras_graph import opened
from utils.optimize.quantization import aware_file, aware_ranges
from utils.optimize.sparsity import stored as sparse
from utils.quiet import quiet

__all__ = [
    "KEEP",
    "KeepingFailed",
    "Kernel",
    "Quantized",
    "coded_size",
    "kernels_in_file",
    "model_of",
    "quantize_while_training",
    "share_of_zeros",
]

_keras = tfmot.quantization.keras
_combine = tfmot.experimental.combine

#: What quantization-aware training can be told to keep, and what the Toolkit calls it.
KEEP = {"nothing": "QAT", "zeros": "PQAT", "values": "CQAT", "zeros and values": "PCQAT"}

#: More distinct values than this in a kernel the Toolkit takes for weights that nobody clustered.
MOST_VALUES = 1024

#: Operators with a kernel: the axis of the stored array along which the output channels lie.
_CHANNEL_AXIS = {"CONV_2D": 0, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0, "DEPTHWISE_CONV_2D": -1, "CONV_3D": -1}

#: What may stand between a stored kernel and its operator: float16 or sparse ones are unpacked when a file is opened.
_UNPACK = ("DEQUANTIZE", "DENSIFY")

#: What the Toolkit can keep something of: depthwise kernels it quantizes as they are.
_KEPT_KERNELS = (tf_keras.layers.Conv2D, tf_keras.layers.Dense)

_SAMPLES = 300  # inputs on which the ranges are measured before training


class KeepingFailed(RuntimeError):
    """Zeros or shared values that were to be kept are gone."""


@dataclass(frozen=True)
class Quantized:
    """model: with fake quantization, as it was trained.  file: its .tflite file, integers inside."""

    model: tf_keras.Model
    file: Artifact


@dataclass(frozen=True)
class Kernel:
    """The weights of one operator of a .tflite file, as they are stored.

    zeros: how many are 0.  distinct: how many different numbers there are, 0 included.  in_a_channel: how many the
    output channel with the most of them has.
    """

    operator: str
    name: str
    size: int
    zeros: int
    distinct: int
    in_a_channel: int


def quantize_while_training(
    model: tf_keras.Model,
    dataset: object,
    keep: str = "zeros",
    epochs: int = 1,
    *,
    batch_size: int = 64,
    learning_rate: float = 1e-4,
    decay: bool = True,
    seed: int = SEED,
) -> Quantized:
    """Train a classifier with fake quantization, 8 bits, by the scheme that keeps its zeros, its shared values or both.

    `model` stays as it is.  Ranges are measured on the first training inputs, then trained.  The counts are compared
    before anything is handed back: each weight that was 0 is the integer 0, in training and in the file, and no kernel
    has more different integers, in a channel, than it had values.

    model: a built Sequential or functional tf_keras classifier of Conv2D, DepthwiseConv2D, Dense, batch
        normalization behind a convolution, and layers without weights; models inside are opened.
    dataset, epochs, batch_size, learning_rate, decay, seed: as in `training.fit`.
    keep: a key of `KEEP`.  Zeros and values of depthwise kernels are not kept by any of them.
    Raises TypeError, ValueError: no such model or data, an unknown `keep`, nothing to keep, or a layer that the scheme
        does not know.
    Raises FloatingPointError: training diverged.
    Raises KeepingFailed: what was to be kept is gone.
    """
    checks.check_choice("keep", keep, KEEP)
    if aware_ranges.is_quantized(model):
        raise ValueError(f"the model {model.name!r} already has fake quantization; start from the float model")
    checks.check_model(model, graph=True)
    checks.check_finite(model)
    x, y = training.examples(dataset)["train"]
    training.check_settings(epochs, batch_size, learning_rate, seed)
    training.check_examples(model, x, y, "train")
    copy = opened(model)
    before = {layer.name: layer.kernel.numpy() for layer in copy.layers if type(layer) in _KEPT_KERNELS}
    _check_something(model, before, keep)
    wrapped = _wrapped(copy, keep)
    aware_ranges.calibrate(wrapped, x[:_SAMPLES])
    with quiet():  # Keras warns that the kernels have no gradient where centroids are trained in their place
        training.fit(
            wrapped, (x, y), epochs, batch_size=batch_size, learning_rate=learning_rate, decay=decay, seed=seed
        )
        stripped = _combine.strip_clustering_cqat(wrapped) if "values" in keep else wrapped
        file = aware_file.to_tflite(stripped)
    _check_kept(stripped, before, keep, file)
    return Quantized(stripped, file)


def kernels_in_file(content: bytes) -> list[Kernel]:
    """The kernels of a .tflite file in the order of execution, one that several operators share once.

    Counted in the stored numbers, with the zero point subtracted; so after folding and after quantization.
    """
    content = tflite_file.as_bytes(content)
    file = tflite_file.File(content)
    found: dict[int, Kernel] = {}
    dense: dict[str, np.ndarray] = {}
    for operator, tensor in _kernels(file):
        if tensor.buffer not in found:
            if tensor.sparse and not dense:
                dense = {weight.name: weight.dense for weight in sparse.sparse_weights(content)}
            values = dense[tensor.name] if tensor.sparse else _centred(file, tensor)
            rows = np.moveaxis(values, _CHANNEL_AXIS[operator], 0).reshape(tensor.shape[_CHANNEL_AXIS[operator]], -1)
            most = max(len(np.unique(row)) for row in rows)
            zeros = int(np.count_nonzero(values == 0))
            distinct = len(np.unique(values))
            found[tensor.buffer] = Kernel(operator, tensor.name, values.size, zeros, distinct, most)
    return list(found.values())


def share_of_zeros(content: bytes) -> float:
    """Share of the stored kernels' weights that are 0, from 0 to 1; ValueError if the file has no kernel."""
    kernels = kernels_in_file(content)
    if not kernels:
        raise ValueError(f"the file has no kernel: none of {', '.join(_CHANNEL_AXIS)} with constant weights")
    return sum(kernel.zeros for kernel in kernels) / sum(kernel.size for kernel in kernels)


def coded_size(content: bytes) -> int:
    """Bytes of a .tflite file if its kernels went through the course's coder, and all the rest of it through gzip.

    The kernels are coded losslessly, each by itself, as the numbers that the file holds; the rest is the file with
    zeros in their place.  ValueError for kernels of types other than float32 and int8, or a file without any.
    """
    content = tflite_file.as_bytes(content)
    file = tflite_file.File(content)
    rest, arrays, seen = content, [], set()
    for operator, tensor in _kernels(file):
        if tensor.buffer in seen:
            continue
        seen.add(tensor.buffer)
        if tensor.dtype not in ("float32", "int8") or tensor.sparse or len(tensor.shape) not in (2, 4):
            stored = f"{tensor.dtype}, with {len(tensor.shape)} axes" + (", stored sparsely" if tensor.sparse else "")
            raise ValueError(
                f"the kernel {tensor.name!r} is {stored}; coded are dense float32 and int8 ones of 2 or 4 axes"
            )
        values = file.values(tensor)
        stored = values.tobytes()
        if stored not in rest:
            raise ValueError(f"the weights of {tensor.name!r} are not stored in one piece, so they cannot be taken out")
        rest = rest.replace(stored, bytes(len(stored)), 1)
        arrays.append(np.moveaxis(values, _CHANNEL_AXIS[operator], -1).astype(np.float32))
    if not arrays:
        raise ValueError(f"the file has no kernel: none of {', '.join(_CHANNEL_AXIS)} with constant weights")
    return len(network_file.compress(model_of(arrays), names=False)) + len(byte_coders.pack(rest))


# ---------------------------------------------------------------- the Toolkit


class _EachItsOwn(_combine.Default8BitClusterPreserveQuantizeScheme):
    """The Toolkit's scheme, with a quantizer for each layer.

    As it is, all dense layers share one, and the first without a zero switches the keeping of zeros off for all.
    """

    def get_quantize_registry(self):
        registry, another = super().get_quantize_registry(), super().get_quantize_registry
        registry.get_quantize_config = lambda layer: another().get_quantize_config(layer)
        return registry


def _scheme(keep: str) -> object:
    if keep == "zeros":
        return _keras.collab_opts.Default8BitPrunePreserveQuantizeScheme()
    if "values" in keep:
        return _EachItsOwn(preserve_sparsity="zeros" in keep)
    return _keras.default_8bit.Default8BitQuantizeScheme()


def _wrapped(copy: tf_keras.Model, keep: str) -> tf_keras.Model:
    try:
        with quiet(tell_on_error=False):
            marked = tf_keras.models.clone_model(copy, clone_function=_keras.quantize_annotate_layer)
            return _keras.quantize_apply(marked, _scheme(keep))
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"the Toolkit cannot quantize the model {copy.name!r} and keep {keep} ({str(error).strip():.200}). It "
            "knows Conv2D, DepthwiseConv2D, Dense, batch normalization behind a convolution, layers without weights; "
            "build the model of these, or quantize it after training (converter.convert), which keeps zeros too"
        ) from error


# ---------------------------------------------------------------- before and after


def _check_something(model: tf_keras.Model, kernels: dict[str, np.ndarray], keep: str) -> None:
    """Is there anything to keep?"""
    if keep != "nothing" and not kernels:
        raise ValueError(f"the model {model.name!r} has no Conv2D and no Dense layer, of which something could be kept")
    if "zeros" in keep and not any((kernel == 0).any() for kernel in kernels.values()):
        raise ValueError(f"no weight of {model.name!r} is 0, so there are no zeros to keep; prune it first")
    distinct = {name: len(np.unique(kernel)) for name, kernel in kernels.items()}
    shared = [name for name, count in distinct.items() if 2 <= count <= MOST_VALUES and count < kernels[name].size]
    if "values" in keep and not shared:
        raise ValueError(
            f"no kernel of {model.name!r} has from 2 to {MOST_VALUES:,} distinct values, and fewer than weights, so "
            "there are none to keep; cluster it first"
        )


def _check_kept(model: tf_keras.Model, before: dict[str, np.ndarray], keep: str, file: Artifact) -> None:
    """Zeros by their places in the model's integers, and both in the counts of the file."""
    stored = kernels_in_file(file.content)
    if "zeros" in keep:
        for name, kernel in before.items():
            integers, _ = aware_ranges.integer_kernel(model, name)
            lost = int(np.count_nonzero(integers[kernel == 0]))
            if lost:
                raise KeepingFailed(f"{lost:,} zeros of layer {name!r} are gone after {KEEP[keep]}")
        wanted = sum(int(np.count_nonzero(kernel == 0)) for kernel in before.values())
        found = sum(kernel.zeros for kernel in stored)
        if found < wanted:
            raise KeepingFailed(f"the file has {found:,} zeros, the model {wanted:,}")
    if "values" in keep:
        for name, kernel in before.items():
            values = len(np.unique(kernel))
            integers, _ = aware_ranges.integer_kernel(model, name)
            most = max(len(np.unique(channel)) for channel in np.moveaxis(integers, -1, 0))
            if 2 <= values <= MOST_VALUES and most > values:
                raise KeepingFailed(
                    f"a channel of layer {name!r} has {most} different integers, the kernel had {values} values"
                )
        limits = [len(np.unique(kernel)) for kernel in before.values()]
        kept = [kernel for kernel in stored if kernel.operator in ("CONV_2D", "FULLY_CONNECTED")]
        if max(limits) <= MOST_VALUES and max(kernel.in_a_channel for kernel in kept) > max(limits):
            raise KeepingFailed(f"a channel of the file has more different integers than {max(limits)}")


# ---------------------------------------------------------------- the file


def _kernels(file: tflite_file.File) -> Iterator[tuple[str, tflite_file.Tensor]]:
    """(operator's name, tensor) of each constant kernel, as it is stored."""
    operators = file.all_operators()
    unpacked = {(o.subgraph, o.outputs[0].index): o.inputs[0] for o in operators if o.name in _UNPACK}
    for operator in operators:
        if operator.name in _CHANNEL_AXIS and len(operator.arguments) > 1:
            tensor = operator.arguments[1]
            for _ in _UNPACK:  # a damaged file may go round in a circle
                tensor = tensor and unpacked.get((operator.subgraph, tensor.index), tensor)
            if tensor is not None and tensor.constant and tensor.shape:
                yield operator.name, tensor


def _centred(file: tflite_file.File, tensor: tflite_file.Tensor) -> np.ndarray:
    values = file.values(tensor).reshape(tensor.shape)
    if tensor.quantization is None or not tensor.quantization.zero_point.any():
        return values
    return values.astype(np.int64) - tensor.quantization.aligned(values.shape)[1]


def model_of(arrays: list[np.ndarray]) -> tf_keras.Model:
    """A model whose kernels are these arrays, of 2 or 4 axes, output channels last: so the coder takes them."""
    inputs, outputs = [], []
    for array in arrays:
        start = tf_keras.Input(array.shape[:-1])
        if array.ndim == 2:
            layer = tf_keras.layers.Dense(array.shape[-1], use_bias=False)
        else:
            layer = tf_keras.layers.Conv2D(array.shape[-1], array.shape[:2], use_bias=False)
        inputs.append(start)
        outputs.append(layer(start))
    model = tf_keras.Model(inputs, outputs)
    model.set_weights(arrays)
    return model
