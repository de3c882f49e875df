"""The Toolkit's APIs, each used in the plainest way: what chapter 02 compares with the same work by hand."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import metadata
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras

import utils
from utils import tflite_file
from utils.quiet import quiet

_PACKAGES = ("tensorflow-model-optimization", "tf-keras", "keras", "ai-edge-litert", "litert-quantizer")

#: A schedule that prunes to 50 % in the first step and stays there.
HALF = tfmot.sparsity.keras.ConstantSparsity(0.5, begin_step=0, frequency=1)


def small_cnn() -> tf_keras.Model:
    """A network with a layer of each kind that the APIs treat differently; 28x28x1 pictures, ten logits."""
    layers = tf_keras.layers
    return tf_keras.Sequential(
        [
            tf_keras.Input((28, 28, 1), name="picture"),
            layers.Conv2D(8, 3, use_bias=False, name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(name="relu"),
            layers.DepthwiseConv2D(3, 2, name="depthwise"),
            layers.Flatten(name="flat"),
            layers.Dense(10, name="logits"),
        ]
    )


def wrap_to_prune(model: tf_keras.Model) -> tf_keras.Model:
    """`prune_low_magnitude` to one half."""
    return tfmot.sparsity.keras.prune_low_magnitude(model, pruning_schedule=HALF)


def wrap_to_cluster(model: tf_keras.Model) -> tf_keras.Model:
    """`cluster_weights` with 16 clusters, the first centroids at equal distances."""
    return tfmot.clustering.keras.cluster_weights(model, 16, tfmot.clustering.keras.CentroidInitialization.LINEAR)


def wrap_to_quantize(model: tf_keras.Model) -> tf_keras.Model:
    """`quantize_model`: all layers, 8 bits."""
    return tfmot.quantization.keras.quantize_model(model)


def wrap_to_combine(model: tf_keras.Model) -> tf_keras.Model:
    """Quantize all layers with the scheme that keeps the zeros of pruning."""
    scheme = tfmot.experimental.combine.Default8BitPrunePreserveQuantizeScheme()
    annotated = tfmot.quantization.keras.quantize_annotate_model(model)
    return tfmot.quantization.keras.quantize_apply(annotated, scheme)


#: The Toolkit's name for each API → function(model) → wrapped model.
APIS: dict[str, Callable[[tf_keras.Model], tf_keras.Model]] = {
    "prune_low_magnitude": wrap_to_prune,
    "cluster_weights": wrap_to_cluster,
    "quantize_model": wrap_to_quantize,
    "combine": wrap_to_combine,
}


def wrapped_by_each(build: Callable[[], tf_keras.Model]) -> dict[str, tf_keras.Model]:
    """{API: the wrapped model}, each from a fresh `build()`, because not every API spares the model it is given."""
    with quiet():
        return {name: wrap(build()) for name, wrap in APIS.items()}


def mask_of_toolkit(weights: np.ndarray, sparsity: float) -> np.ndarray:
    """The mask that `prune_low_magnitude` gives a Dense kernel, (in, out), after one step at learning rate 0."""
    model = _dense(weights)
    schedule = tfmot.sparsity.keras.ConstantSparsity(sparsity, begin_step=0, frequency=1)
    with quiet():
        wrapped = tfmot.sparsity.keras.prune_low_magnitude(model, pruning_schedule=schedule)
        wrapped.compile(tf_keras.optimizers.legacy.SGD(0.0), "mse")
        step = tfmot.sparsity.keras.UpdatePruningStep()
        wrapped.fit(np.zeros((1, len(weights))), np.zeros((1, weights.shape[1])), verbose=0, callbacks=[step])
    mask = next(w for w in wrapped.weights if "mask" in w.name)
    return mask.numpy().astype(bool)


def rounded_by_toolkit(weights: np.ndarray) -> np.ndarray:
    """A Dense kernel, (in, out), as the wrapper of `quantize_model` uses it in a forward pass: on the 8-bit grid."""
    with quiet():
        wrapped = tfmot.quantization.keras.quantize_model(_dense(weights))
        wrapped(np.zeros((1, len(weights)), "float32"), training=True)
    return np.asarray(wrapped.layers[-1].layer.kernel)


def clusters_of_toolkit(weights: np.ndarray, clusters: int) -> np.ndarray:
    """Which of `clusters` equally spaced values `cluster_weights` gives each weight of a Dense kernel, (in, out)."""
    linear = tfmot.clustering.keras.CentroidInitialization.LINEAR
    with quiet():
        wrapped = tfmot.clustering.keras.cluster_weights(_dense(weights), clusters, linear)
    return next(w for w in wrapped.weights if "pulling_indices" in w.name).numpy()


class Folded(NamedTuple):
    """Of the first channel of a convolution: the kernel's range in the wrapper, and its scale in the file."""

    trained: float
    stored: float


def quantized_with_gamma(gamma: float) -> Folded:
    """Convolution, normalization with this gamma, ReLU: quantized, one step without learning, converted."""
    if not np.isfinite(gamma) or not gamma:
        raise ValueError(f"gamma is {gamma!r}; pass a finite number other than 0, which leaves weights to quantize")
    tf_keras.utils.set_random_seed(utils.SEED)
    convolution = tf_keras.layers.Conv2D(4, 3, use_bias=False)
    norm = tf_keras.layers.BatchNormalization(gamma_initializer=tf_keras.initializers.Constant(gamma))
    model = tf_keras.Sequential([tf_keras.Input((8, 8, 1)), convolution, norm, tf_keras.layers.ReLU()])
    with quiet():
        wrapped = tfmot.quantization.keras.quantize_model(model)
        wrapped.compile(tf_keras.optimizers.legacy.SGD(0.0), "mse")
        wrapped.fit(np.ones((4, 8, 8, 1)), np.zeros((4, 6, 6, 4)), verbose=0)
        converter = tf.lite.TFLiteConverter.from_keras_model(wrapped)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        file = tflite_file.File(converter.convert())
    trained = next(w for w in wrapped.weights if "kernel_max" in w.name).numpy()[0]
    stored = next(o for o in file.all_operators() if o.name == "CONV_2D").inputs[1].quantization.scales[0]
    return Folded(float(trained), float(stored))


def _dense(weights: np.ndarray) -> tf_keras.Model:
    weights = np.asarray(weights, "float32")
    if weights.ndim != 2:
        raise ValueError(f"weights has the shape {weights.shape}; pass the matrix of a Dense layer, (in, out)")
    dense = tf_keras.layers.Dense(weights.shape[1], kernel_initializer="zeros")  # nothing random: needs no seed
    model = tf_keras.Sequential([tf_keras.Input((len(weights),)), dense])
    model.layers[0].kernel.assign(weights)
    return model


def interpreter_warning() -> str:
    """What TensorFlow says when its own TensorFlow Lite interpreter is opened, as one line; "" if nothing."""
    model = _dense(np.ones((2, 1)))
    with quiet():
        content = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tf.lite.Interpreter(model_content=content)
    return " ".join(" ".join(str(w.message).split()) for w in caught)


def both_interpreters() -> tuple[np.ndarray, np.ndarray]:
    """(TensorFlow's interpreter's outputs, LiteRT's) for one small float file and one input; (1, 10) each."""
    from ai_edge_litert.interpreter import Interpreter

    tf_keras.utils.set_random_seed(utils.SEED)
    with quiet():
        content = tf.lite.TFLiteConverter.from_keras_model(small_cnn()).convert()
        opened = [kind(model_content=content) for kind in (tf.lite.Interpreter, Interpreter)]
        return tuple(_output(interpreter) for interpreter in opened)


def _output(interpreter) -> np.ndarray:
    """What it computes for a picture of 64ths."""
    interpreter.allocate_tensors()
    [entry], [result] = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(entry["index"], (np.arange(784, dtype="float32") % 65 / 64).reshape(entry["shape"]))
    interpreter.invoke()
    return interpreter.get_tensor(result["index"])


def packages() -> list[dict[str, str]]:
    """The packages around the Toolkit, with their own one-line descriptions."""
    return [{"package": name, "says of itself": metadata.metadata(name)["Summary"]} for name in _PACKAGES]
