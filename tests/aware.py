"""A small network with batch normalization, and inputs for it, for the tests around quantization-aware training."""

import numpy as np
import tf_keras

L = tf_keras.layers


def inputs(model, n=60, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, *t.shape[1:])).astype(np.float32) for t in model.inputs]


def stacked(*layers, shape=(8, 8, 3)):
    return tf_keras.Sequential([tf_keras.Input(shape), *layers])


def small_model():
    """Convolution, batch normalization, ReLU, dense; moving statistics away from their start."""
    tf_keras.utils.set_random_seed(1)
    model = stacked(
        L.Conv2D(6, 3, use_bias=False, name="conv"),
        L.BatchNormalization(name="bn"),
        L.ReLU(name="relu"),
        L.Flatten(name="flat"),
        L.Dense(4, name="logits"),
    )
    rng = np.random.default_rng(2)
    gamma = np.array([1.5, -0.7, 0.3, 2.0, -1.1, 0.9], np.float32)
    model.get_layer("bn").set_weights([gamma, *(rng.normal(size=6) for _ in range(2)), rng.uniform(0.5, 2, 6)])
    return model


def problem(n=600):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(n, 8, 8, 3)).astype(np.float32)
    return x, x.mean((1, 2)).argmax(axis=1).astype(np.int32)
