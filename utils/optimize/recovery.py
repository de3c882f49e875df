"""Win back accuracy after any optimization: fine-tuning with a schedule, a teacher, frozen statistics, kept zeros."""

from __future__ import annotations

import contextlib
import numbers
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
import tf_keras

from utils import SEED, checks, training
from utils.optimize import keras_weights

__all__ = ["recover"]

#: Above this temperature float32 cannot tell the soft targets of logits apart, and its square leaves the range.
_HOTTEST = 10_000


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

    model: tf_keras classifier that returns logits.
    dataset: (pictures, labels) or a `data.Dataset`, of which the training part is used.
    epochs, learning_rate, batch_size, seed: as in `training.fit`.  decay: let the rate fall to 0 (half cosine).
    teacher: the model before it was optimized, which returns logits of the same shape; its soft targets are
        learnt beside the labels (Hinton et al. 2015, arXiv 1503.02531).
    temperature: divides the logits on both sides; above 0.  soft_share: weight of the soft targets, 0 to 1.
    freeze_statistics: batch normalization keeps its moving mean and variance and uses them in training too; Keras
        ties that to its factor and shift, which stay as well.
    keep_zeros: kernels' weights that are 0 at the start stay 0, so that a pruned model stays pruned, with fake
        quantization too.  In a layer of one's own these are its trained arrays of two axes or more that are
        partly 0.

    Returns the history: one list for each metric, one value for each epoch.
    Raises ValueError or TypeError for what does not fit, such as a teacher that gives probabilities or knows less than
    the model (swapped?); FloatingPointError if the loss is no longer finite.
    """
    _check_kind(model, "model")
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
        _check_teacher(model, teacher, temperature, soft_share)
        _check_roles(model, teacher, x, y)
        loss, targets = _soft_loss(temperature, soft_share), _soft_targets(teacher, x, y)
        steps = epochs * -(-len(x) // batch_size)
        rate = tf_keras.optimizers.schedules.CosineDecay(learning_rate, steps) if decay else learning_rate
        model.compile(tf_keras.optimizers.Adam(rate), loss)
        tf_keras.utils.set_random_seed(seed)
        history = model.fit(x, targets, batch_size=batch_size, epochs=epochs, verbose=0, callbacks=callbacks).history
    if not np.all(np.isfinite(history["loss"])):
        raise FloatingPointError(f"the loss became {history['loss'][-1]}; take a learning rate below {learning_rate:g}")
    return {name: [float(v) for v in values] for name, values in history.items()}


class _KeepZeros(tf_keras.callbacks.Callback):
    """Set back to 0, after each step, what was 0 at the start."""

    def __init__(self, model) -> None:
        super().__init__()
        kernels = [w.variable for w in keras_weights.weights(model) if w.is_kernel or _pruned(w)]
        self._masks = [(w, tf.cast(w != 0, w.dtype)) for w in kernels if not np.all(np.asarray(w))]

    def on_train_batch_end(self, batch, logs=None) -> None:
        for weight, mask in self._masks:
            weight.assign(weight * mask)


def _pruned(weight: keras_weights.Weight) -> bool:
    """Whether an array that is not known has been pruned, to all appearances: the Toolkit's wrapper hides kernels."""
    array = weight.variable
    return weight.role == "unknown" and array.trainable and len(array.shape) > 1 and bool(np.any(array.numpy()))


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


def _soft_targets(teacher, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n, 2, classes): the labels as one-hot vectors, and the teacher's logits, computed once."""
    logits = teacher.predict(x, batch_size=500, verbose=0)
    return np.stack([np.eye(logits.shape[1], dtype=np.float32)[y], logits], axis=1)


def _soft_loss(temperature: float, soft_share: float) -> Callable:
    """Hinton's loss; T² keeps the gradients of the soft part as large as at temperature 1."""

    def loss(targets, logits):
        soft = tf.nn.softmax(targets[:, 1] / temperature)
        hard_part = tf.nn.softmax_cross_entropy_with_logits(targets[:, 0], logits)
        soft_part = tf.nn.softmax_cross_entropy_with_logits(soft, logits / temperature) * temperature**2
        return soft_share * soft_part + (1 - soft_share) * hard_part

    return loss


def _check_kind(model, what: str) -> None:
    """A Sequential model may be built by its data; a subclassed one has no shapes to check."""
    checks.check_keras(model, what=what)
    if what == "teacher" or not isinstance(model, tf_keras.Sequential):
        checks.check_built(model, what=what, graph=True)


def _check_teacher(model, teacher, temperature: float, soft_share: float) -> None:
    _check_kind(teacher, "teacher")
    checks.check_finite(teacher, what="teacher")
    if {id(w) for w in teacher.weights} & {id(w) for w in model.weights}:
        raise ValueError(f"the teacher {teacher.name!r} shares weights with the model, which are trained; pass a copy")
    if teacher.output_shape != model.output_shape:
        raise ValueError(
            f"the teacher gives {teacher.output_shape}, the model {model.output_shape}; pass a teacher "
            "with the same outputs"
        )
    if not _number(temperature) or not 0 < temperature <= _HOTTEST:
        raise ValueError(f"temperature is {temperature!r}; pass a number above 0, such as 2, up to {_HOTTEST:,}")
    if not _number(soft_share) or not 0 <= soft_share <= 1:
        raise ValueError(f"soft_share is {soft_share!r}; pass a number from 0 to 1")


def _number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _check_roles(model, teacher, x: np.ndarray, y: np.ndarray) -> None:
    """Refuse probabilities, of which the loss would take the softmax again, and a teacher that knows clearly less."""
    some = slice(0, 1000)
    checks.fitting_inputs(teacher, x[some], f"what the teacher {teacher.name!r} gets")
    outputs = [each.predict(x[some], batch_size=500, verbose=0) for each in (teacher, model)]
    for each, values, role in zip((teacher, model), outputs, ("teacher", "model"), strict=True):
        if training.are_probabilities(values):
            raise ValueError(
                f"the {role} {each.name!r} gives probabilities; pass one that ends in logits, without softmax "
                "(tf_keras.Model(model.input, model.layers[-2].output) if softmax is a layer of its own)"
            )
    right = [float(np.mean(values.argmax(axis=1) == y[some])) for values in outputs]
    if right[0] < right[1] - 0.05:
        raise ValueError(
            f"the teacher {teacher.name!r} is right for {right[0]:.0%} of the first {len(x[some])} examples, the model "
            f"{model.name!r} for {right[1]:.0%}: are they swapped? The first argument is trained, by teacher="
        )
