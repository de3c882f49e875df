"""What chapter 07 tries sparsity on: a dense layer, and a network made for XNNPACK's sparse kernels and variants of it.

Untrained, with zeros put in by magnitude: which way of storing and which kernel are taken depends on the zeros alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from tf_keras import layers

from utils.optimize.sparsity import patterns
from utils.quiet import quiet

#: What each variant changes in `network`; one thing each.
VARIANTS: dict[str, dict[str, Any]] = {
    "all conditions": {},
    "depthwise with same padding": {"depthwise_padding": "same"},
    "relu6": {"activation": "relu6"},
    "swish": {"activation": "swish"},
    "70 % zeros": {"share": 0.7},
    "60 % zeros": {"share": 0.6},
    "first layer with same padding": {"first_padding": "same"},
    "first layer on one channel": {"channels": 1},
    "first layer of stride 1": {"first_stride": 1, "size": 32},
    "first layer 5×5": {"first_kernel": 5},
    "a 1×1 of stride 2": {"last_stride": 2},
    "max pooling between": {"pooled": True},
}


def network(
    *,
    size: int = 64,
    channels: int = 3,
    first_kernel: int = 3,
    first_stride: int = 2,
    first_padding: str = "valid",
    depthwise_padding: str = "valid",
    activation: str = "relu",
    last_stride: int = 1,
    pooled: bool = False,
    share: float = 0.9,
    width: int = 96,
    seed: int = 0,
) -> tf_keras.Model:
    """A network of 1×1 and depthwise convolutions whose defaults meet all of XNNPACK's conditions; untrained."""
    tf_keras.utils.set_random_seed(seed)
    image = tf_keras.Input((size, size, channels), 1)
    h = image if first_padding == "same" else layers.ZeroPadding2D(first_kernel // 2)(image)
    h = layers.Conv2D(32, first_kernel, first_stride, first_padding, activation="relu")(h)
    for number in range(3):
        last = number == 2
        h = layers.Conv2D(width, 1, last_stride if last else 1, activation=activation)(h)
        if pooled and number == 1:
            h = layers.MaxPool2D(3, 1, "same")(h)
        h = h if depthwise_padding == "same" else layers.ZeroPadding2D(1)(h)
        h = layers.DepthwiseConv2D(3, 1, depthwise_padding, activation=activation)(h)
    h = layers.GlobalAveragePooling2D()(layers.Conv2D(width, 1, activation=activation)(h))
    model = tf_keras.Model(image, layers.Dense(10)(h))
    points = [layer.name for layer in model.layers if type(layer) is layers.Conv2D and layer.kernel_size == (1, 1)]
    return patterns.prune(model, lambda values, axis: patterns.single(values, share), only=points)


def as_file(model: tf_keras.Model, *, sparse: bool, calibration: np.ndarray | None = None) -> bytes:
    """A .tflite file, its zeros stored or left out; with calibration in int8, with float inputs and outputs."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY] if sparse else []
    if calibration is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT, *converter.optimizations]
        converter.representative_dataset = lambda: ([sample[None]] for sample in calibration)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    with quiet():
        return converter.convert()


def layer(batch: int, share: float = 0.0, size: tuple[int, int] | None = None, units: int = 1024) -> tf_keras.Model:
    """One dense layer with single zeros, or with blocks of them."""
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential([tf_keras.Input((units,), batch), layers.Dense(units)])
    if size is None:
        return patterns.prune(model, lambda values, axis: patterns.single(values, share))
    return patterns.prune(model, lambda values, axis: patterns.blocks(values, share, size))
