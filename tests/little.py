"""A little classifier that several test modules measure."""

from __future__ import annotations

import functools

import numpy as np

from utils.artifact import Artifact


@functools.cache
def keras():
    import tensorflow as tf
    import tf_keras

    tf.get_logger().setLevel("ERROR")
    tf.keras.utils.set_random_seed(7)
    return tf_keras


@functools.cache
def classifier():
    k = keras()
    return k.Sequential(
        [
            k.Input((6, 6, 1)),
            k.layers.Conv2D(3, 3),
            k.layers.BatchNormalization(),
            k.layers.Flatten(),
            k.layers.Dense(4),
        ]
    )


@functools.cache
def as_tflite() -> Artifact:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(classifier())
    return Artifact(converter.convert(), "tflite", trusted=True)


def examples(count: int = 60) -> np.ndarray:
    return np.random.default_rng(1).random((count, 6, 6, 1), np.float32)


def network():
    """One convolution and one dense layer, so that a technique meets both, and a layer without weights between them."""
    import tf_keras

    layers = tf_keras.layers
    return tf_keras.Sequential([
        tf_keras.Input((6, 6, 4)), layers.Conv2D(3, 2, name="conv"), layers.Flatten(name="flat"),
        layers.Dense(5, name="dense"),
    ])  # fmt: skip
