"""A tf_keras model as a graph of layers: walked to record what flows in it, or built anew with changes.

    copy = keras_graph.rebuild(model, settings={"dense": {"activation": "relu"}})
    plain = keras_graph.flatten(model)      # nested and subclassed models opened
    apart = keras_graph.opened(model)       # the same as a copy, whatever the names inside
    steps = keras_graph.unroll(model)       # recurrent layers without loops
    single = keras_graph.in_float32(model)  # out of float16, bfloat16 or float64
    half = keras_graph.with_dtype(model, "mixed_bfloat16")

Keras keeps a functional model as nodes, one for each call of a layer.  `walk` visits them in order of execution with
values of any kind: arrays to compute, symbolic tensors to build.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

import utils  # noqa: F401  (settles Keras 2 before TensorFlow is imported)
from utils import checks

Layer = tf_keras.layers.Layer
Call = Callable[[Layer, tuple, dict], Any]
#: What the copies' configurations differ in: {layer: {name: value}}, or a function of the layer that returns it.
Settings = Mapping[str, Mapping[str, Any]] | Callable[[Layer], Mapping[str, Any]]


def nodes(model: tf_keras.Model) -> list[Any]:
    """The calls of layers that make up `model`, inputs included, in order of execution.

    A layer knows all its calls; those in other models are not among these.
    """
    depths = sorted(model._nodes_by_depth, reverse=True)
    return [node for depth in depths for node in model._nodes_by_depth[depth]]


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
    for node in nodes(model):
        if not node.is_input:
            arguments, named = node.map_arguments(known)
            remember(node.outputs, call(node.layer, arguments, named))
    return tf.nest.map_structure(lambda tensor: known[str(id(tensor))][0], model._nested_outputs)


def rebuild(
    model: tf_keras.Model, change: Callable[[Any, tuple, Any], Any] | None = None, settings: Settings | None = None
) -> tf_keras.Model:
    """A copy of `model` that shares nothing with it, not compiled; a Sequential one stays one unless `change` is given.

    change: called as change(layer, arguments, apply) for each layer in turn, `apply(layer, *arguments)` being what a
        plain copy does; returns the output.  Leaving `apply` out leaves the layer out.  Before that it is called once
        for each input, with None for the layer and for apply.  A nested model is one layer.
    settings: what the layers' configurations are to differ in, those of nested models too.
    Weights are copied; a layer whose settings change its weights keeps its initial ones.
    Raises TypeError or ValueError: see `checks.check_built`; a layer that Keras cannot make from its configuration, or
    only with other weights.
    """
    checks.check_built(model, graph=True)
    copies: dict[int, Layer] = {}

    def copy_of(layer: Layer) -> Layer:
        if id(layer) not in copies:
            copies[id(layer)] = _copied(layer, settings)
        return copies[id(layer)]

    def visit(layer: Layer, arguments: tuple, named: dict) -> Any:
        def apply(layer: Layer, *values: Any) -> Any:
            return copy_of(layer)(*values, **named)

        return apply(layer, *arguments) if change is None else change(layer, arguments, apply)

    inputs = [_input(model, number, settings) for number in range(len(model.inputs))]
    if change is None and isinstance(model, tf_keras.Sequential):
        built = tf_keras.Sequential([*inputs, *map(copy_of, model.layers)], name=model.name)
    else:
        first = [change(None, (x,), None) if change else x for x in inputs]
        outputs = walk(model, first, visit)
        built = tf_keras.Model(tf.nest.pack_sequence_as(_structure(model), inputs), outputs, name=model.name)
    for layer in model.layers:
        if id(layer) in copies and not _is_graph(layer):  # the layers of a nested model have their weights already
            _copy_weights(layer, copies[id(layer)], may_differ=isinstance(settings, Mapping) and layer.name in settings)
    return built


def _is_graph(layer: Layer) -> bool:
    return bool(getattr(layer, "_nodes_by_depth", None))


def _structure(model: tf_keras.Model) -> Any:
    """The inputs as the model takes them: one, a list or a dictionary."""
    return (
        model.inputs[0]
        if len(model.inputs) == 1 and not isinstance(model._nested_inputs, dict)
        else (model._nested_inputs)
    )


def _input(model: tf_keras.Model, number: int, settings: Settings | None) -> Any:
    tensor, name = model.inputs[number], model.input_names[number]
    dtype = settings(tensor._keras_history.layer).get("dtype", tensor.dtype) if callable(settings) else tensor.dtype
    return tf_keras.Input(tensor.shape[1:], batch_size=tensor.shape[0], dtype=dtype, name=name)


def _copied(layer: Layer, settings: Settings | None) -> Layer:
    if _is_graph(layer):  # a nested model: its own layers may be of classes that Keras cannot find
        return rebuild(layer, settings=settings)
    changed = settings(layer) if callable(settings) else (settings or {}).get(layer.name, {})
    try:
        if isinstance(layer, tf_keras.layers.Lambda) and not changed:
            return _copied_lambda(layer)
        with tf_keras.utils.custom_object_scope(_own_objects(layer)):
            return layer.__class__.from_config({**layer.get_config(), **changed})
    except Exception as error:  # whatever a layer's own from_config raises
        raise ValueError(_no_copy(layer, f"{error!r:.120}")) from error


def _no_copy(layer: Layer, why: str) -> str:
    return (
        f"layer {layer.name!r} ({type(layer).__name__}) cannot be made from its configuration ({why}): give its class "
        "a get_config that returns every argument of __init__, and **kwargs for Keras' own"
    )


def _copied_lambda(layer: tf_keras.layers.Lambda) -> Layer:
    """With the function itself: from the configuration it would come back without the names that it uses."""
    return tf_keras.layers.Lambda(
        layer.function,
        output_shape=layer._output_shape,
        mask=layer.mask,
        arguments=layer.arguments,
        name=layer.name,
        dtype=layer._dtype_policy,
    )


def _own_objects(layer: Layer) -> dict[str, Any]:
    """Classes and functions of one's own that a configuration names, of wrapped layers too."""
    found: dict[str, Any] = {}
    for part in checks.all_layers(layer):
        found[type(part).__name__] = type(part)
        found |= {v.__name__: v for v in vars(part).values() if callable(v) and hasattr(v, "__name__")}
    return found


def _copy_weights(layer: Layer, twin: Layer, may_differ: bool) -> None:
    shapes, others = ([tuple(w.shape) for w in each.weights] for each in (layer, twin))
    if shapes != others:
        if may_differ:
            return
        raise ValueError(_no_copy(layer, f"its weights have the shapes {shapes}, the copy's {others}"))
    twin.set_weights(layer.get_weights())
    for part in checks.all_layers(twin):
        if isinstance(part, tf_keras.layers.Normalization):
            part.finalize_state()  # it computes with constants, which are made of the weights


# ---------------------------------------------------------------- the same network in another form


def flatten(model: tf_keras.Model) -> tf_keras.Model:
    """The same network with nested and subclassed models opened, so that each layer stands alone.

    The Toolkit refuses models inside models.  The new model *shares* its layers and weights with the
    old one.  A subclassed model must have been called once, and must be written with layers only.
    """
    checks.check_built(model)
    specs = checks.input_specs(model)
    inputs = [tf_keras.Input(spec.shape[1:], dtype=spec.dtype) for spec in specs]
    called = getattr(model, "_nested_inputs", None) if hasattr(model, "_nodes_by_depth") else model.save_spec()[0][0]
    packed = tf.nest.pack_sequence_as(called, inputs)
    outputs = _open(model, (packed,), {})
    return tf_keras.Model(packed, outputs, name=f"{model.name}_flat")


def _open(layer: Layer, arguments: tuple, named: dict) -> Any:
    """Apply a layer to symbolic tensors; a model is applied layer by layer, so it leaves no node of its own."""
    if not isinstance(layer, tf_keras.Model):
        return layer(*arguments, **named)
    if not getattr(layer, "_nodes_by_depth", None):
        return layer.call(*arguments, **named)  # subclassed: its `call` applies its layers one by one
    training = named.get("training", arguments[1] if len(arguments) > 1 else None)
    return walk(layer, tf.nest.flatten(arguments[0]), lambda *call: _open(*_in_mode(training, *call)))


def _in_mode(training: Any, layer: Layer, arguments: tuple, named: dict) -> tuple[Layer, tuple, dict]:
    """A call inside a model that was called with `training`, which reaches each layer that was not given its own."""
    asks = training is not None and layer._expects_training_arg
    return layer, arguments, {"training": training, **named} if asks else named


def opened(model: tf_keras.Model) -> tf_keras.Model:
    """A copy of `model` that shares nothing with it, in which models inside are opened.

    Where a layer inside has a name that is taken, as in a model that was loaded and got a new head, it is called by its
    model too: "inner/dense".  Raises as `rebuild`.
    """
    if not any(isinstance(layer, tf_keras.Model) for layer in model.layers):
        return rebuild(model)
    names = _own_names(model)
    model = rebuild(model, settings=lambda layer: names.get(id(layer), {})) if names else model
    return rebuild(flatten(model))


def _own_names(model: tf_keras.Model) -> dict[int, dict[str, str]]:
    """{id of a layer: the setting of its name}, for those whose name is taken once all models are opened."""
    taken: set[str] = set()
    found: dict[int, dict[str, str]] = {}
    known: set[int] = set()
    for path, layer in sorted(_leaves(model, ()), key=lambda leaf: len(leaf[0])):  # the outer ones keep theirs
        if id(layer) in known or isinstance(layer, tf_keras.layers.InputLayer):
            continue
        known.add(id(layer))
        name = layer.name
        if name in taken:
            name = "/".join([*path, name])
            name = next(new for new in (name, *(f"{name}_{n}" for n in range(1, 10_000))) if new not in taken)
            found[id(layer)] = {"name": name}
        taken.add(name)
    return found


def _leaves(model: tf_keras.Model, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Layer]]:
    """Each layer that is no model, with the names of the models in which it stands."""
    for layer in model.layers:
        if isinstance(layer, tf_keras.Model):
            yield from _leaves(layer, (*path, layer.name))
        else:
            yield path, layer


def unroll(model: tf_keras.Model) -> tf_keras.Model:
    """A copy of `model` in which each recurrent layer is written out step by step, so that the file has no loop.

    Inside wrappers (Bidirectional, TimeDistributed) and nested models too.  ConvLSTM layers cannot be written out.
    Raises ValueError if there is nothing to write out, or a layer takes any number of steps.
    """
    checks.check_built(model, graph=True)
    recurrent = [layer for layer in checks.all_layers(model) if isinstance(layer, tf_keras.layers.RNN)]
    convolutional = (tf_keras.layers.ConvLSTM1D, tf_keras.layers.ConvLSTM2D, tf_keras.layers.ConvLSTM3D)
    spared = {type(layer).__name__ for layer in recurrent if isinstance(layer, convolutional)}
    if spared.issuperset(type(layer).__name__ for layer in recurrent):
        raise ValueError(f"no layer of the model {model.name!r} can be unrolled")

    def unrolled(layer: Layer) -> Mapping[str, Any]:
        if not any(part in recurrent for part in checks.all_layers(layer)):
            return {}
        whole = {"class_name": type(layer).__name__, "config": layer.get_config()}
        return _edited(whole, "unroll", True, spared)["config"]

    return rebuild(model, settings=unrolled)


def in_float32(model: tf_keras.Model) -> tf_keras.Model:
    """A copy of a `model` of mixed precision, float16, bfloat16 or float64 that computes in float32."""
    return rebuild(model, settings=_float32)


def with_dtype(model: tf_keras.Model, policy: str) -> tf_keras.Model:
    """A copy of `model` whose layers, those inside wrappers and nested models too, compute under a dtype policy."""

    def changed(layer: Layer) -> Mapping[str, Any]:
        entry = isinstance(layer, tf_keras.layers.InputLayer)
        return {} if entry else _edited(layer.get_config(), "dtype", policy)

    return rebuild(model, settings=changed)


def _float32(layer: Layer) -> Mapping[str, Any]:
    if isinstance(layer, tf_keras.layers.InputLayer):
        return {"dtype": "float32"} if layer.dtype in ("float16", "bfloat16", "float64") else {}
    return _edited(layer.get_config(), "dtype", "float32")


def _edited(config: dict, key: str, value: Any, spared: Collection[str] = ()) -> dict:
    """A layer's configuration with `key` set wherever it stands, in wrapped layers' too, but for `spared` classes."""
    if config.get("class_name") in spared:
        return config
    return {
        name: value if name == key else _edited(inner, key, value, spared) if isinstance(inner, dict) else inner
        for name, inner in config.items()
    }


def example_input(model: tf_keras.Model, n: int = 4, seed: int = 0, size: int = 8) -> list[np.ndarray]:
    """Random arrays that fit the model's inputs, one per input: `n` examples each, or as many as it always takes.

    Unknown dimensions become `size`.  Whole-number inputs get 0 and 1, which every vocabulary has, and so do all inputs
    of a model with an Embedding, whose input Keras makes float32; other float inputs are standard normal, float32.
    """
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise ValueError(f"n is {n!r}; ask for at least one example")
    rng = np.random.default_rng(seed)
    words = any(isinstance(layer, tf_keras.layers.Embedding) for layer in checks.all_layers(model))
    arrays = []
    for spec in checks.input_specs(model):
        shape = (spec.shape[0] or n, *(size if d is None else d for d in spec.shape[1:]))
        dtype = tf.as_dtype(spec.dtype).as_numpy_dtype
        whole = words or np.issubdtype(dtype, np.integer)
        arrays.append((rng.integers(0, 2, shape) if whole else rng.standard_normal(shape)).astype(dtype))
    return arrays
