"""A Keras 3 model copied to Keras 2, layer by layer: the Toolkit and the converter's quantization take no other."""

from __future__ import annotations

import inspect

import numpy as np
import tensorflow as tf
import tf_keras

import utils  # noqa: F401  (settles Keras 2 before TensorFlow is imported)


def keras_2(model) -> tf_keras.Model:
    """The same network in Keras 2, which the Toolkit accepts, from a Keras 3 model.

    Args:
        model: a built Keras 3 `Sequential` or functional model of layers that both versions have.

    Returns:
        A tf_keras model with the same layer names and weights, sharing nothing with `model`.

    Raises:
        TypeError: `model` is no Keras 3 model.
        ValueError: it is subclassed or not built, or holds a layer or operation that Keras 2 lacks.
    """
    import keras

    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` is a {type(model).__module__}.{type(model).__name__}; pass a Keras 3 model")
    graph = model._functional if isinstance(model, keras.Sequential) else model
    if not isinstance(graph, keras.Model) or not hasattr(graph, "_run_through_graph"):
        raise ValueError(
            "only built Sequential and functional models can be rebuilt; call the model once, or rewrite it"
        )
    inputs = [tf_keras.Input(t.shape[1:], dtype=t.dtype, name=t.name) for t in graph.inputs]
    made: dict[int, tf_keras.layers.Layer] = {}

    def twin(operation):
        return made.setdefault(id(operation), _twin(operation))

    outputs = graph._run_through_graph(tf.nest.pack_sequence_as(graph._inputs_struct, inputs), operation_fn=twin)
    rebuilt = tf_keras.Model(inputs, outputs, name=model.name)
    for operation in graph.operations:
        if id(operation) in made:
            made[id(operation)].set_weights([np.asarray(w) for w in operation.get_weights()])
    return rebuilt


def _twin(operation) -> tf_keras.layers.Layer:
    """The tf_keras layer of the same class and settings as a Keras 3 layer."""
    kind = getattr(tf_keras.layers, type(operation).__name__, None)
    if kind is None or not hasattr(operation, "get_weights"):
        raise ValueError(
            f"{operation.name!r} is a {type(operation).__name__}, which Keras 2 has not; replace it by a layer "
            "that both versions have"
        )
    known = set(inspect.signature(kind.__init__).parameters) | {"name", "trainable"}
    settings = {
        key: _plain_config(value)
        for key, value in operation.get_config().items()
        if key in known and not key.endswith("_initializer")  # the weights are copied: how they began is past
    }
    try:
        return kind(**settings)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{operation.name!r}, a {kind.__name__}, cannot be rebuilt with Keras 2: {error}") from None


def _plain_config(value):
    """A Keras 3 configuration without the module names, by which Keras 2 would find Keras 3's objects."""
    if isinstance(value, dict) and value.get("class_name") == "DTypePolicy":
        return value["config"]["name"]
    if isinstance(value, dict):
        return {k: _plain_config(v) for k, v in value.items() if k not in ("module", "registered_name", "build_config")}
    return [_plain_config(v) for v in value] if isinstance(value, list) else value
