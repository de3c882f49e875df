"""A tf_keras model copied with its weights, or a sentence about the layer that cannot be copied."""

from __future__ import annotations

import tensorflow as tf
import tf_keras

from utils import checks


def copy_model(model: tf_keras.Model) -> tf_keras.Model:
    """A copy of a built Sequential or functional model that shares nothing with it, not compiled.

    Raises TypeError or ValueError: see `checks.check_model`; a layer that Keras cannot make again from its
    configuration, or only with other weights.
    """
    check_arrays(model)
    checks.check_model(model, graph=True)
    copy, why = None, ""
    try:
        copy = tf_keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
    except Exception as error:  # whatever a layer's own from_config or build raises
        why = f" ({str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__:.200})"
    if not why and [w.shape for w in copy.weights] == [w.shape for w in model.weights]:
        return copy
    own = sorted({type(each).__name__ for each in checks.all_layers(model) if _is_own(each)} - {type(model).__name__})
    raise ValueError(
        f"the model {model.name!r} cannot be copied{why}: each layer must be made again by "
        f"type(layer).from_config(layer.get_config()); look at {', '.join(own) or 'its layers for text and tables'}"
    )


def check_arrays(model: tf_keras.Model) -> None:
    """Raise ValueError if the model takes text, or keeps tables instead of arrays (TextVectorization, for example)."""
    checks.check_keras(model)
    tables = [
        each.name
        for each in checks.all_layers(model)
        if not all(hasattr(w, "numpy") for w in (*each._trainable_weights, *each._non_trainable_weights))
    ]
    text = [spec.name for spec in checks.input_specs(model) if spec.dtype == tf.string]
    if tables or text:
        raise ValueError(
            f"the model {model.name!r} prepares text or tables ({', '.join(tables or text)}), which are no numbers: "
            "prepare the data before, x = layer(text), and pass the model that begins behind that layer"
        )


def _is_own(layer: tf_keras.layers.Layer) -> bool:
    return not type(layer).__module__.startswith("tf_keras.")
