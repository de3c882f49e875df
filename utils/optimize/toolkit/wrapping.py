"""What the Model Optimization Toolkit does to a model, found out by letting it do it.

`what_it_added(model, wrapped)`: which layers did the Toolkit wrap, which variables did that add or take away, and how
many bytes are they?  `says(api, model)`: what it answers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tf_keras

import utils  # noqa: F401  (settles Keras 2 before TensorFlow is imported)
from utils import checks
from utils.quiet import quiet

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

    model: a built tf_keras model as it was before.
    wrapped: the model returned by `quantize_model`, `prune_low_magnitude`, `cluster_weights`,
        `strip_pruning`, …
    Raises TypeError: one of the two is no tf_keras model.
    Raises ValueError: one of the two is not built, so it has no variables yet.
    """
    checks.check_built(model)
    checks.check_built(wrapped, what="wrapped model")
    plain = {layer.name: layer for layer in model.layers}
    wrappers, added, gone = {}, [], []
    for holder in wrapped.layers:
        ours = checks.is_from(type(holder), "tensorflow_model_optimization")  # Keras has wrappers of its own
        inner = getattr(holder, "layer", None) if ours else None
        name = (inner or holder).name
        if ours or (name not in plain and not isinstance(holder, tf_keras.layers.InputLayer)):
            wrappers[name] = type(holder).__name__
        before = Counter(map(_signature, plain.pop(name).weights)) if name in plain else Counter()
        after = Counter(map(_signature, holder.weights))
        added += [_row(name, holder, s) for s in (after - before).elements()]
        gone += [_row(name, holder, s) for s in (before - after).elements()]
    for layer in plain.values():
        gone += [_row(layer.name, layer, _signature(w)) for w in layer.weights]
    return Difference(wrappers, tuple(added), tuple(gone))


def _signature(variable: tf.Variable) -> tuple[str, tuple[int, ...], str]:
    own_name = variable.name.split("/")[-1].split(":")[0]
    return own_name, tuple(variable.shape.as_list()), tf.as_dtype(variable.dtype).name


def _row(layer: str, holder: object, signature: tuple[str, tuple[int, ...], str]) -> Added:
    name, shape, dtype = signature
    size = int(np.prod(shape, dtype=np.int64)) * tf.as_dtype(dtype).size
    return Added(layer, type(holder).__name__, name, shape, dtype, size)


def says(api: Callable, model: object) -> str:
    """What `api(model)` answers: "accepted", "returned None", or its error, shortened."""
    try:
        with quiet(tell_on_error=False):
            answer = api(model)
    except Exception as error:  # whatever it raises is the answer
        return shortened(error)
    return "returned None" if answer is None else "accepted"


def shortened(error: BaseException, limit: int = 110) -> str:
    """An error's class and its first telling sentence, without paths, addresses and class paths."""
    text = str(error).strip() or "no message"
    inner = re.findall(r"^\s*(?:\w+\.)*\w*(?:Error|Exception): (.+)", text, re.MULTILINE)
    if "in user code" in text and inner:  # a traced function: the telling line is the last error named
        text = inner[-1]
    frame = ("File", "Exception encountered", "in user code")  # where it happened, not what
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith(frame)]
    text = lines[0] if lines else text
    text = re.sub(r"^\S+:\d+:\d+: (error: )?", "", text)  # the converter begins with a place in a file
    text = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text)
    text = re.sub(r"<(?:\w+\.)*(\w+) object at 0x[0-9a-f]+>", r"\1", text)
    text = text if len(text) <= limit else text[: limit - 1].rsplit(" ", 1)[0] + " …"
    return f"{type(error).__name__}: {text}"
