"""What the Model Optimization Toolkit does to a model, found out by letting it do it.

Two questions, for any tf_keras model:

* `what_it_added(model, wrapped)`: which layers did the Toolkit wrap, which variables did that add or
  take away, and how many bytes are they?
* `layer_support(candidates)`: which layer goes through which technique, and what becomes of it in the
  end?  "Accepted" is not the answer: a pruned layer must have zeros, a clustered one few distinct
  values, and a quantized one integer operators *in the file*.  Each cell of the table is such an
  observation; the table is not copied from a list of supported layers.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import utils  # noqa: F401  (settles Keras 2 before TensorFlow is imported)
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras

__all__ = [
    "TECHNIQUES",
    "Added",
    "Difference",
    "Support",
    "example_input",
    "flattened",
    "layer_support",
    "layers_of",
    "operators",
    "quiet",
    "what_it_added",
]

#: What the Toolkit puts before a layer's name when it wraps it.
_PREFIXES = ("prune_low_magnitude_", "cluster_", "quant_", "quantize_annotate_")

#: The words a cell of the table can say.
OUTCOMES = ("yes", "part", "no effect", "nothing to do", "refused")


# --------------------------------------------------------------------------- what was added


@dataclass(frozen=True)
class Added:
    """One variable that a wrapped model has and the plain one has not (or the other way round)."""

    layer: str  #: name of the plain layer, or of the new layer when the Toolkit inserted one
    wrapper: str  #: class that holds the variable: "PruneLowMagnitude", "QuantizeWrapperV2", …
    variable: str  #: the variable's own name, such as "mask" or "kernel_min"
    shape: tuple[int, ...]
    dtype: str
    bytes: int


@dataclass(frozen=True)
class Difference:
    """What the Toolkit changed: wrapper class by layer, variables added, variables gone."""

    wrappers: dict[str, str]
    added: tuple[Added, ...]
    gone: tuple[Added, ...]

    @property
    def added_bytes(self) -> int:
        """Bytes of all added variables."""
        return sum(row.bytes for row in self.added)


def what_it_added(model: tf_keras.Model, wrapped: tf_keras.Model) -> Difference:
    """Compare a plain model with what the Toolkit made of it, variable by variable.

    Variables are matched by layer, own name, shape and type, so it does not matter whether the two
    models share them.  Hand over a *fresh clone* as `model`: `cluster_weights` takes variables out of
    the model that it was given.

    Args:
        model: a built tf_keras model as it was before.
        wrapped: the model returned by `quantize_model`, `prune_low_magnitude`, `cluster_weights`,
            `strip_pruning`, …

    Raises:
        TypeError: one of the two is no tf_keras model.
        ValueError: one of the two is not built, so it has no variables yet.
    """
    _require_built(model, "model")
    _require_built(wrapped, "wrapped")
    plain = {layer.name: layer for layer in model.layers}
    wrappers, added, gone = {}, [], []
    for holder in wrapped.layers:
        inner = getattr(holder, "layer", None)
        name = inner.name if inner is not None else _without_prefix(holder.name, plain)
        if inner is not None or name not in plain:
            if not isinstance(holder, tf_keras.layers.InputLayer):
                wrappers[name] = type(holder).__name__
        before = Counter(map(_signature, plain.pop(name).weights)) if name in plain else Counter()
        after = Counter(map(_signature, holder.weights))
        added += [_row(name, holder, s) for s in (after - before).elements()]
        gone += [_row(name, holder, s) for s in (before - after).elements()]
    for layer in plain.values():
        gone += [_row(layer.name, layer, _signature(w)) for w in layer.weights]
    return Difference(wrappers, tuple(added), tuple(gone))


def _without_prefix(name: str, plain: Mapping[str, object]) -> str:
    for prefix in _PREFIXES:
        if name.startswith(prefix) and name.removeprefix(prefix) in plain:
            return name.removeprefix(prefix)
    return name


def _signature(variable: tf.Variable) -> tuple[str, tuple[int, ...], str]:
    own_name = variable.name.split("/")[-1].split(":")[0]
    return own_name, tuple(variable.shape.as_list()), tf.as_dtype(variable.dtype).name


def _row(layer: str, holder: object, signature: tuple[str, tuple[int, ...], str]) -> Added:
    name, shape, dtype = signature
    size = int(np.prod(shape, dtype=np.int64)) * tf.as_dtype(dtype).size
    return Added(layer, type(holder).__name__, name, shape, dtype, size)


def _require_built(model: object, what: str) -> None:
    if not isinstance(model, tf_keras.Model):
        raise TypeError(
            f"`{what}` is a {type(model).__module__}.{type(model).__name__}; pass a tf_keras model. "
            "A Keras 3 model has to be rebuilt with tf_keras first."
        )
    if not model.built:
        raise ValueError(f"`{what}` is not built, so it has no variables: give it an input shape, or call it once.")


# --------------------------------------------------------------------------- small tools


def example_input(model: tf_keras.Model, n: int = 4, seed: int = 0) -> list[np.ndarray]:
    """Random arrays that fit the model's inputs, one per input: `n` examples each.

    Unknown dimensions become 8.  Whole-number inputs get 0 and 1, which every vocabulary has; float
    inputs are standard normal, float32.
    """
    if n < 1:
        raise ValueError(f"n is {n}; ask for at least one example")
    rng = np.random.default_rng(seed)
    arrays = []
    for tensor in model.inputs:
        shape = (n, *(8 if d is None else d for d in tensor.shape[1:]))
        dtype = tensor.dtype.as_numpy_dtype
        if np.issubdtype(dtype, np.integer):
            arrays.append(rng.integers(0, 2, shape).astype(dtype))
        else:
            arrays.append(rng.standard_normal(shape).astype(dtype))
    return arrays


@contextlib.contextmanager
def quiet():
    """Silence what the converter and the Toolkit print: Python warnings, logs, and C++ on descriptor 2."""
    import absl.logging

    verbosity = absl.logging.get_verbosity()
    level = tf.get_logger().level
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere, warnings.catch_warnings(), contextlib.redirect_stdout(nowhere):
            os.dup2(nowhere.fileno(), 2)
            warnings.simplefilter("ignore")
            absl.logging.set_verbosity(absl.logging.ERROR)
            tf.get_logger().setLevel("ERROR")
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        absl.logging.set_verbosity(verbosity)
        tf.get_logger().setLevel(level)


def operators(content: bytes) -> list[tuple[str, str]]:
    """The operators of a .tflite file in order, as (name, type of the first output).

    ``[("QUANTIZE", "int8"), ("CONV_2D", "int8"), …]``.  Read from the flatbuffer itself, so what is
    listed is what the file says, whatever an interpreter or delegate makes of it.  Operators of all
    subgraphs are listed (the body of a loop is a subgraph).

    Raises:
        ValueError: `content` is not a .tflite file.
    """
    from ai_edge_litert import schema_py_generated as schema

    if len(content) < 8 or content[4:8] != b"TFL3":
        raise ValueError("this is not the content of a .tflite file: bytes 4 to 8 are not TFL3")
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if not k.startswith("_")}
    types = {v: k.lower() for k, v in vars(schema.TensorType).items() if not k.startswith("_")}
    found = []
    for graph in model.subgraphs:
        for op in graph.operators or ():
            code = model.operatorCodes[op.opcodeIndex]
            number = max(code.builtinCode, code.deprecatedBuiltinCode)
            name = code.customCode.decode() if code.customCode else names[number]
            outputs = [i for i in op.outputs if i >= 0]
            found.append((name, types[graph.tensors[outputs[0]].type] if outputs else "none"))
    return found


def flattened(model: tf_keras.Model) -> tf_keras.Model:
    """The same network with nested and subclassed models opened, so that each layer stands alone.

    The Toolkit refuses models inside models.  The new model *shares* its layers and weights with the
    old one.  A subclassed model must have been called once, and must be written with layers only.
    """
    _require_built(model, "model")
    try:
        inputs = [tf_keras.Input(t.shape[1:], dtype=t.dtype) for t in model.inputs]
    except (AttributeError, TypeError):
        shapes = model._build_input_shape  # a subclassed model keeps only this
        if shapes is None:
            raise ValueError(
                "this subclassed model does not know its input shape; call it once on real data "
                "through `fit`, `predict` or `build`, or write it with the functional interface"
            ) from None
        inputs = [tf_keras.Input(shapes[1:])]
    outputs = _open(model, inputs[0] if len(inputs) == 1 else inputs)
    return tf_keras.Model(inputs, outputs, name=f"{model.name}_flat")


def _open(model: tf_keras.Model, x):
    """Call `model` layer by layer on symbolic tensors: `call`, unlike `__call__`, adds no node for the model."""
    if isinstance(model, tf_keras.Sequential):
        for layer in model.layers:
            x = _open(layer, x) if isinstance(layer, tf_keras.Model) else layer(x)
        return x
    inner = [layer for layer in model.layers if isinstance(layer, tf_keras.Model)]
    with contextlib.ExitStack() as stack:
        for nested in inner:  # inside `call`, a nested model has to open itself as well
            stack.enter_context(_called_open(nested))
        return model.call(x)


@contextlib.contextmanager
def _called_open(nested: tf_keras.Model):
    own_class = nested.__class__
    opened = type(own_class.__name__, (own_class,), {"__call__": lambda self, x, **_: _open_as(self, own_class, x)})
    object.__setattr__(nested, "__class__", opened)
    try:
        yield
    finally:
        object.__setattr__(nested, "__class__", own_class)


def _open_as(nested, own_class, x):
    object.__setattr__(nested, "__class__", own_class)
    return _open(nested, x)
