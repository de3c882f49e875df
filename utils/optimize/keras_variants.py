"""The same network in another form: opened up, in Keras 2, without loops.  What a tool refuses, it may then take."""

from __future__ import annotations

import inspect

import numpy as np
import tensorflow as tf
import tf_keras

import utils  # noqa: F401  (settles Keras 2 before TensorFlow is imported)
from utils.optimize.toolkit.changes import require_built


def example_input(model: tf_keras.Model, n: int = 4, seed: int = 0) -> list[np.ndarray]:
    """Random arrays that fit the model's inputs, one per input: `n` examples each.

    Unknown dimensions become 8.  Whole-number inputs get 0 and 1, which every vocabulary has; float
    inputs are standard normal, float32.
    """
    if n < 1:
        raise ValueError(f"n is {n}; ask for at least one example")
    rng = np.random.default_rng(seed)
    arrays = []
    for tensor in model.inputs or flattened(model).inputs:  # a subclassed model has none
        shape = (n, *(8 if d is None else d for d in tensor.shape[1:]))
        dtype = tf.as_dtype(tensor.dtype).as_numpy_dtype
        if np.issubdtype(dtype, np.integer):
            arrays.append(rng.integers(0, 2, shape).astype(dtype))
        else:
            arrays.append(rng.standard_normal(shape).astype(dtype))
    return arrays


def flattened(model: tf_keras.Model) -> tf_keras.Model:
    """The same network with nested and subclassed models opened, so that each layer stands alone.

    The Toolkit refuses models inside models.  The new model *shares* its layers and weights with the
    old one.  A subclassed model must have been called once, and must be written with layers only.
    """
    require_built(model, "model")
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


def _open(layer: tf_keras.layers.Layer, x):
    """Apply a layer to symbolic tensors; a model is applied layer by layer, so it leaves no node of its own."""
    if isinstance(layer, tf_keras.Sequential):
        for inner in layer.layers:
            x = _open(inner, x)
        return x
    if not isinstance(layer, tf_keras.Model):
        return layer(x)
    if not hasattr(layer, "_nodes_by_depth"):  # subclassed: its `call` applies its layers one by one
        return layer.call(x)
    return _open_functional(layer, x)


def _open_functional(model: tf_keras.Model, x):
    """Walk the nodes of a functional model from the inputs on, as Keras itself does when it calls one."""
    uses = model._tensor_usage_count
    known = {}

    def remember(tensors, values):
        for tensor, value in zip(tf.nest.flatten(tensors), tf.nest.flatten(values), strict=True):
            known[str(id(tensor))] = [value] * uses[str(id(tensor))]

    remember(model.inputs, x)
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                continue
            arguments, named = node.map_arguments(known)
            is_model = isinstance(node.layer, tf_keras.Model)
            remember(node.outputs, _open(node.layer, arguments[0]) if is_model else node.layer(*arguments, **named))
    return tf.nest.map_structure(lambda t: known[str(id(t))][0], model._nested_outputs)


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


def unrolled(model: tf_keras.Model) -> tf_keras.Model:
    """Each recurrent layer written out step by step, so that the file has no loop."""
    recurrent = [layer for layer in model.layers if "unroll" in layer.get_config()]
    if not recurrent:
        raise ValueError("no layer of the model can be unrolled")

    def change(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        config = layer.get_config()
        return type(layer).from_config({**config, "unroll": True} if "unroll" in config else config)

    changed = tf_keras.models.clone_model(model, clone_function=change)
    changed.set_weights(model.get_weights())
    return changed
