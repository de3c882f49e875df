"""A Keras 3 model copied to Keras 2, layer by layer: the Toolkit and the converter's quantization take no other."""

from __future__ import annotations

import inspect

import numpy as np
import tensorflow as tf
import tf_keras

import utils  # noqa: F401  (settles Keras 2 before TensorFlow is imported)


def keras_2(model) -> tf_keras.Model:
    """The same network in Keras 2, which the Toolkit accepts, from a Keras 3 model.

    model: a built Keras 3 `Sequential` or functional model of layers that both versions have.
    Returns a tf_keras model with the same layer names and weights, sharing nothing with `model`.
    Raises TypeError: `model` is no Keras 3 model.
    Raises ValueError: it is subclassed or not built, or holds a layer, operation or setting that Keras 2 lacks, or an
        activation that is another function there.
    """
    import keras

    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` is a {type(model).__module__}.{type(model).__name__}; pass a Keras 3 model")
    graph = model._functional if isinstance(model, keras.Sequential) else model
    if not isinstance(graph, keras.Model) or not hasattr(graph, "_run_through_graph"):
        raise ValueError(
            "only built Sequential and functional models can be rebuilt; call the model once, or rewrite it"
        )
    inputs = [tf_keras.Input(t.shape[1:], batch_size=t.shape[0], dtype=t.dtype, name=t.name) for t in graph.inputs]
    made: dict[int, tf_keras.layers.Layer] = {}

    def twin(operation):
        if id(operation) not in made:
            made[id(operation)] = keras_2(operation) if isinstance(operation, keras.Model) else _twin(operation)
        return made[id(operation)]

    outputs = graph._run_through_graph(tf.nest.pack_sequence_as(graph._inputs_struct, inputs), operation_fn=twin)
    rebuilt = tf_keras.Model(inputs, outputs, name=model.name)
    for operation in graph.operations:
        if id(operation) in made and not isinstance(operation, keras.Model):
            _copy_weights(operation, made[id(operation)])
    return rebuilt


#: Settings that Keras 2 calls otherwise.
_RENAMED = {"LeakyReLU": {"negative_slope": "alpha"}}

#: Settings that change no number in inference, so that Keras 2 may lack them.
_NO_NUMBERS = ("seed", "flash_attention", "use_cudnn")

#: What None stands for in a setting that Keras 2 may lack.
_RESOLVED = {"data_format": "channels_last"}

#: Numbers on which an activation of both versions must agree.
_PROBE = np.linspace(-8, 8, 65, dtype=np.float32).reshape(1, -1)


def _twin(operation) -> tf_keras.layers.Layer:
    """The tf_keras layer of the same class and settings as a Keras 3 layer."""
    kind = getattr(tf_keras.layers, type(operation).__name__, None)
    if kind is None or not hasattr(operation, "get_weights"):
        raise ValueError(
            f"{operation.name!r} is a {type(operation).__name__}, which Keras 2 has not; replace it by a layer "
            "that both versions have"
            + (" (a mask is made of it: leave out mask_zero or Masking)" if _makes_masks(operation) else "")
        )
    settings = {key: _plain_config(value) for key, value in _settings(operation, kind).items()}
    try:
        _check_activations(settings)
        return kind(**settings)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{operation.name!r}, a {kind.__name__}, cannot be rebuilt with Keras 2: {error}") from None


def _makes_masks(operation) -> bool:
    return type(operation).__name__ in ("NotEqual", "Any")


def _settings(operation, kind: type) -> dict:
    """The settings that Keras 2 takes; ValueError for others, unless they are what Keras 3 takes anyway."""
    own = set(inspect.signature(kind.__init__).parameters) | {"name", "trainable", "dtype"}
    inherited = {name for base in kind.__mro__[1:] for name in inspect.signature(base.__init__).parameters}
    usual = inspect.signature(type(operation).__init__).parameters
    renamed, kept = _RENAMED.get(kind.__name__, {}), {}
    for name, value in operation.get_config().items():
        if name.endswith("_initializer"):  # the weights are copied: how they began is past
            continue
        if renamed.get(name, name) in own:
            kept[renamed.get(name, name)] = value
        elif name in _NO_NUMBERS or name not in usual or value in (usual[name].default, _RESOLVED.get(name)):
            continue
        elif name in inherited:
            kept[name] = value
        else:
            raise ValueError(
                f"{operation.name!r}, a {type(operation).__name__}, has {name}={value!r}, which Keras 2 has not; build "
                "it without, or compute that before or behind the model"
            )
    return kept


def _check_activations(settings: dict) -> None:
    """Refuse an activation that both versions have by the same name, and compute otherwise."""
    import keras

    for name in (value for key, value in settings.items() if key.endswith("activation") and isinstance(value, str)):
        theirs, ours = (version.activations.get(name)(tf.constant(_PROBE)) for version in (keras, tf_keras))
        if not np.allclose(theirs, ours, atol=1e-4):
            raise ValueError(
                f"its {name} is another function there; take one that is the same in both, such as sigmoid"
            )


def _copy_weights(operation, layer: tf_keras.layers.Layer) -> None:
    weights = [np.asarray(weight) for weight in operation.get_weights()]
    shapes, others = ([tuple(w.shape) for w in each] for each in (weights, layer.weights))
    if shapes != others:
        raise ValueError(
            f"{operation.name!r}, a {type(operation).__name__}, has weights of the shapes {shapes}, in Keras 2 "
            f"{others}; copy it before it is quantized or gets other weights (quantize, enable_lora)"
        )
    layer.set_weights(weights)


def _plain_config(value):
    """A Keras 3 configuration without the module names, by which Keras 2 would find Keras 3's objects."""
    import keras

    if isinstance(value, dict) and value.get("class_name") == "DTypePolicy":
        return value["config"]["name"]
    if isinstance(value, dict) and hasattr(tf_keras.layers, str(value.get("class_name"))):  # of a wrapper, a cell
        return _twin(keras.saving.deserialize_keras_object(value))
    if isinstance(value, dict):
        return {k: _plain_config(v) for k, v in value.items() if k not in ("module", "registered_name", "build_config")}
    return [_plain_config(v) for v in value] if isinstance(value, list) else value
