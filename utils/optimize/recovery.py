"""Win back accuracy after any optimization: fine-tuning with a schedule, a teacher, frozen statistics, kept zeros."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tf_keras

from utils import SEED, checks, training
from utils.optimize import distillation, keras_weights

__all__ = ["recover"]


def recover(
    model: tf_keras.Model,
    dataset: object,
    epochs: int = 1,
    *,
    learning_rate: float = 1e-3,
    decay: bool = True,
    batch_size: int = 64,
    teacher: tf_keras.Model | None = None,
    temperature: float = 2.0,
    soft_share: float = 0.9,
    freeze_statistics: bool = False,
    keep_zeros: bool = False,
    seed: int = SEED,
) -> dict[str, list[float]]:
    """Fine-tune an optimized classifier (quantized, pruned, …) in place, to win back what optimizing cost.

    Args:
        model: tf_keras classifier that returns logits.
        dataset: (pictures, labels) or a `data.Dataset`, of which the training part is used.
        epochs, learning_rate, batch_size, seed: as in `training.fit`.  decay: let the rate fall to 0 (half cosine).
        teacher: the model before it was optimized, which returns logits of the same shape; its soft targets are
            learnt beside the labels (Hinton et al. 2015, arXiv 1503.02531).
        temperature: divides the logits on both sides; above 0.  soft_share: weight of the soft targets, 0 to 1.
        freeze_statistics: batch normalization keeps its moving mean and variance and uses them in training too; Keras
            ties that to its factor and shift, which stay as well.
        keep_zeros: kernels' weights that are 0 at the start stay 0, so that a pruned model stays pruned.

    Returns the history: one list for each metric, one value for each epoch.
    Raises ValueError or TypeError for what does not fit, such as a teacher that gives probabilities or knows less than
    the model (swapped?); FloatingPointError if the loss is no longer finite.
    """
    checks.check_keras(model)
    x, y = training.examples(dataset)["train"]
    training.check_settings(epochs, batch_size, learning_rate, seed)
    training.check_examples(model, x, y, "train")
    callbacks = [_KeepZeros(model)] if keep_zeros else []
    with _frozen_statistics(model) if freeze_statistics else contextlib.nullcontext():
        if teacher is None:
            return training.fit(
                model,
                (x, y),
                epochs,
                batch_size=batch_size,
                learning_rate=learning_rate,
                decay=decay,
                seed=seed,
                callbacks=callbacks,
            )
        return distillation.distil(
            model,
            (x, y),
            epochs,
            teacher=teacher,
            temperature=temperature,
            soft_share=soft_share,
            outputs="logits",
            batch_size=batch_size,
            learning_rate=learning_rate,
            decay=decay,
            seed=seed,
            callbacks=callbacks,
        )


class _KeepZeros(tf_keras.callbacks.Callback):
    """Set back to 0, after each step, what was 0 at the start."""

    def __init__(self, model) -> None:
        super().__init__()
        kernels = [weight.variable for weight in keras_weights.kernels(model)]
        self._masks = [(w, tf.cast(w != 0, w.dtype)) for w in kernels if not np.all(np.asarray(w))]

    def on_train_batch_end(self, batch, logs=None) -> None:
        for weight, mask in self._masks:
            weight.assign(weight * mask)


@contextlib.contextmanager
def _frozen_statistics(model) -> Iterator[None]:
    """Batch normalization in inference mode; Keras 2 ties that to `trainable`."""
    found = [layer for layer in checks.all_layers(model) if hasattr(layer, "moving_variance") and layer.trainable]
    for layer in found:
        layer.trainable = False
    try:
        yield
    finally:
        for layer in found:
            layer.trainable = True
