"""Walk through a tf_keras model layer by layer, to record what flows in it or to build it anew with changes.

Keras keeps a functional model as nodes, one for each call of a layer.  `walk` visits them in order of execution with
values of any kind: arrays to compute, symbolic tensors to build.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

import utils  # noqa: F401  (settles Keras 2 before TensorFlow is imported)

Call = Callable[[tf_keras.layers.Layer, tuple, dict], Any]


def require_graph(model: object) -> None:
    """Raise a sentence unless `model` is a built Sequential or functional tf_keras model, whose nodes can be walked."""
    if not isinstance(model, tf_keras.Model):
        raise TypeError(
            f"this takes a tf_keras model; got {type(model).__module__}.{type(model).__name__}. "
            "A Keras 3 model has to be rebuilt with tf_keras first"
        )
    if not getattr(model, "_nodes_by_depth", None):
        raise ValueError(
            f"{type(model).__name__} {model.name!r} has no graph of layers that could be walked: give a "
            "Sequential model an Input layer, and write a subclassed one with the functional interface"
        )


def walk(model: tf_keras.Model, inputs: list, call: Call) -> Any:
    """Visit every layer of `model` in order of execution.

    inputs: one value for each input of the model, of any kind that is not a list, tuple or dictionary.
    call: given the layer, its arguments and its keyword arguments, returns the layer's output.
    Returns the model's output, in its structure.  A nested model is visited as one layer.
    """
    known: dict[str, list] = {}

    def remember(tensors: Any, values: Any) -> None:
        for tensor, value in zip(tf.nest.flatten(tensors), tf.nest.flatten(values), strict=True):
            known[str(id(tensor))] = [value] * model._tensor_usage_count[str(id(tensor))]

    remember(model.inputs, inputs)
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if not node.is_input:
                arguments, named = node.map_arguments(known)
                remember(node.outputs, call(node.layer, arguments, named))
    return tf.nest.map_structure(lambda tensor: known[str(id(tensor))][0], model._nested_outputs)


def rebuild(
    model: tf_keras.Model,
    change: Callable[[Any, tuple, Any], Any] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> tf_keras.Model:
    """A copy of `model` that shares nothing with it.

    change: called as change(layer, arguments, apply) for each layer in turn, `apply(layer, *arguments)` being what a
        plain copy does; returns the output.  Leaving `apply` out leaves the layer out.  Before that it is called once
        for each input, with None for the layer and for apply.
    settings: {layer: {name: value}} of the layers' configurations that are to differ.
    Weights are copied where a layer still has the same ones; a changed layer keeps its initial weights.
    """
    require_graph(model)
    copies: dict[int, tf_keras.layers.Layer] = {}

    def copy_of(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        if id(layer) not in copies:
            config = {**layer.get_config(), **(settings or {}).get(layer.name, {})}
            copies[id(layer)] = layer.__class__.from_config(config)
        return copies[id(layer)]

    def visit(layer: tf_keras.layers.Layer, arguments: tuple, named: dict) -> Any:
        def apply(layer: tf_keras.layers.Layer, *values: Any) -> Any:
            return copy_of(layer)(*values, **named)

        return apply(layer, *arguments) if change is None else change(layer, arguments, apply)

    inputs = [
        tf_keras.Input(t.shape[1:], batch_size=t.shape[0], dtype=t.dtype, name=name)
        for t, name in zip(model.inputs, model.input_names, strict=True)
    ]
    first = [change(None, (x,), None) if change else x for x in inputs]
    outputs = walk(model, first, visit)
    built = tf_keras.Model(inputs if len(inputs) > 1 else inputs[0], outputs, name=model.name)
    for layer in model.layers:
        twin = copies.get(id(layer))
        if twin is not None and [w.shape for w in twin.weights] == [w.shape for w in layer.weights]:
            twin.set_weights(layer.get_weights())
    return built


def input_arrays(model: tf_keras.Model, x: Any) -> list[np.ndarray]:
    """`x` as one checked array for each input of `model`: shape, whole or real numbers, finite, as many of each."""
    arrays = [np.asarray(part) for part in (x if isinstance(x, (list, tuple)) else [x])]
    if len(arrays) != len(model.inputs):
        raise ValueError(
            f"the model has {len(model.inputs)} inputs, got {len(arrays)} arrays; pass one array, "
            "or a list of one array for each input"
        )
    for array, wanted in zip(arrays, model.inputs, strict=True):
        shape = tuple(wanted.shape[1:])
        fits = array.ndim == len(shape) + 1 and all(w in (None, n) for w, n in zip(shape, array.shape[1:], strict=True))
        if array.size == 0 or not fits:
            raise ValueError(
                f"the samples have shape {array.shape}; the model takes (n, "
                f"{', '.join('any' if size is None else str(size) for size in shape)}), n at least 1"
            )
        if array.dtype.kind not in "fiub" or not np.all(np.isfinite(array)):
            raise ValueError("the samples hold NaN, infinity or no numbers; find out where they come from")
    if len({len(array) for array in arrays}) > 1:
        raise ValueError(f"the inputs' samples are {[len(array) for array in arrays]} many; pass as many of each")
    return [array.astype(wanted.dtype.as_numpy_dtype) for array, wanted in zip(arrays, model.inputs, strict=True)]
