"""What the training of small LeNets needs: distorted digits, a teacher's answers to them, and batches of both.

Both are made once and kept in the course's cache; `anew` makes them again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils import data, models, training
from utils.augmentation import distorted

COPIES = 16  #: of each training picture; the first is the picture itself
POOL_SEED, TEACHER_SEED = 1, 0
TEACHER_EPOCHS, TEACHER_BATCH = 8, 128
BATCH = 256
CLEAN = 0.3  #: share of the pictures of a batch that are not distorted
WITH_RELU = "lenet5_relu"
SOFT_SHARE = 0.9  #: weight of the teacher's answers beside the labels
_CHUNK = 2500


@dataclass(frozen=True)
class Lessons:
    """pool: (copies, n, height, width) uint8.  logits: the teacher's, (copies, n, 10) float16.  labels: (n,)."""

    pool: np.ndarray
    logits: np.ndarray
    labels: np.ndarray

    def batches(self, seed: int, size: int = BATCH) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Without end: pictures (size, height, width, 1), and probabilities (size, 10)."""
        from utils.optimize import deep_compression

        rng = np.random.default_rng(seed)
        copies, count = self.pool.shape[:2]
        while True:
            which = rng.integers(0, count, size)
            copy = rng.integers(0, copies, size) * (rng.random(size) >= CLEAN)
            pictures = self.pool[copy, which][..., None].astype(np.float32) / 255
            yield pictures, deep_compression.soft_targets(self.logits[copy, which], self.labels[which], SOFT_SHARE)


def folder() -> Path:
    path = data.cache_folder() / "compression"
    path.mkdir(parents=True, exist_ok=True)
    return path


def lessons(anew: bool = False) -> Lessons:
    """Pool and answers, made if they are not there: about 10 minutes for the pool, 30 for the teacher, one core."""
    mnist = data.load("mnist")
    pool = pool_of(mnist.x_train, folder() / f"pool-{COPIES}-{POOL_SEED}.npy", anew=anew)
    logits = answers(mnist, pool, folder() / f"answers-{COPIES}-{TEACHER_EPOCHS}-{TEACHER_SEED}.npy", anew=anew)
    return Lessons(pool, logits, mnist.y_train)


def pool_of(pictures: np.ndarray, path: Path, copies: int = COPIES, anew: bool = False) -> np.ndarray:
    """(copies, n, height, width) uint8, read from the disk as needed."""
    if anew or not path.exists():
        rng = np.random.default_rng(POOL_SEED)
        unfinished = path.with_suffix(".part")
        shape = (copies, *pictures.shape[:3])
        pool = np.lib.format.open_memmap(unfinished, "w+", np.uint8, shape)
        pool[0] = np.round(255 * pictures[..., 0])
        for copy in range(1, copies):
            for first in range(0, len(pictures), _CHUNK):
                part = slice(first, first + _CHUNK)
                pool[copy, part] = np.round(distorted(pool[0, part, ..., None].astype(np.float32), rng)[..., 0])
            print(f"  distorted copy {copy} of {copies - 1}", flush=True)
        pool.flush()
        del pool
        os.replace(unfinished, path)  # whole or not at all
    return np.load(path, mmap_mode="r")


def teacher(seed: int = TEACHER_SEED) -> Any:
    """Six convolutions with batch normalization, about 130,000 weights; not trained."""
    import tf_keras

    tf_keras.utils.set_random_seed(seed)
    layers = tf_keras.layers
    stack = [tf_keras.Input((28, 28, 1))]
    for filters, stride in ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (96, 2)):
        stack += [
            layers.Conv2D(filters, 3, stride, "same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
        ]
    return tf_keras.Sequential([*stack, layers.Flatten(), layers.Dropout(0.3), layers.Dense(10)])


def answers(mnist: data.Dataset, pool: np.ndarray, path: Path, anew: bool = False) -> np.ndarray:
    """The trained teacher's logits for the whole pool, (copies, n, 10) float16."""
    if anew or not path.exists():
        model = taught(pool, mnist.y_train)
        wrong = 100 * float(np.mean(model.predict(mnist.x_val, 1000, verbose=0).argmax(1) != mnist.y_val))
        print(f"  teacher: {wrong:.2f} % of the validation pictures wrong", flush=True)
        found = np.empty((*pool.shape[:2], 10), np.float16)
        for copy, row in enumerate(found):
            row[:] = model.predict(pool[copy][..., None].astype(np.float32) / 255, 1000, verbose=0)
        unfinished = path.with_suffix(".part")
        with unfinished.open("wb") as file:
            np.save(file, found)
        os.replace(unfinished, path)
    return np.load(path, mmap_mode="r")


def taught(pool: np.ndarray, labels: np.ndarray, epochs: int = TEACHER_EPOCHS) -> Any:
    """A teacher, trained on the pool with labels smoothed by 2 %."""
    import tensorflow as tf
    import tf_keras

    model, steps = teacher(), epochs * len(labels) // TEACHER_BATCH
    warm = 0.3 * steps
    optimizer = tf_keras.optimizers.AdamW(4e-3, weight_decay=2e-2)
    loss_of = tf_keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.02)

    @tf.function
    def learn(x, y):
        with tf.GradientTape() as tape:
            loss = loss_of(tf.one_hot(y, 10), model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    rng = np.random.default_rng(TEACHER_SEED)
    for step in range(steps):
        falling = 0.5 * (1 + np.cos(np.pi * (step - warm) / (steps - warm)))
        optimizer.learning_rate.assign(4e-3 * ((step + 1) / warm if step < warm else falling + 1e-4))
        which, copy = rng.integers(0, len(labels), TEACHER_BATCH), rng.integers(0, len(pool), TEACHER_BATCH)
        learn(pool[copy, which][..., None].astype(np.float32) / 255, labels[which])
        if step % 500 == 0:
            print(f"  teacher: step {step:,} of {steps:,}", flush=True)
    return model


def architecture(network: str, seed: int | None = None) -> Any:
    """A network of `utils.models` with random weights; "lenet5_relu" is LeNet-5 with a ReLU behind each convolution.

    Caffe's LeNet-5 has none there; the one that Havasi, Peharz, Hernández-Lobato 2019 (arXiv 1810.00440) make 1,110
    times smaller has: https://github.com/cambridge-mlg/miracle/blob/f0ddc0ec6d34943bd770efff2e134004e300b5b4/models/mnist.py
    """
    import tf_keras

    if network != WITH_RELU:
        return models.ARCHITECTURES[network](seed=seed)

    def activated(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        is_convolution = isinstance(layer, tf_keras.layers.Conv2D)
        return type(layer).from_config(layer.get_config() | ({"activation": "relu"} if is_convolution else {}))

    return tf_keras.models.clone_model(models.lenet5(seed=seed), clone_function=activated)


def student(network: str, seed: int, units: Sequence[int] = ()) -> Any:
    """The network at the start of its training.

    units: of each layer but the last, for a thinner network than the published one; its weights are random.
        Without them: LeNet-5 with the weights that ship, the others with random ones.
    """
    import tf_keras

    if network == "lenet5" and not units:
        return training.trained(network, "mnist", seed=0, fresh=False)
    full = architecture(network, seed)
    names = [layer.name for layer in full.layers if layer.weights]
    sizes = dict(zip(names[: len(units)], units, strict=True))

    def thinner(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        config = layer.get_config()
        if layer.name in sizes:
            config["units" if "units" in config else "filters"] = sizes[layer.name]
        return type(layer).from_config(config)

    return tf_keras.models.clone_model(full, clone_function=thinner) if sizes else full
