"""Knowledge distillation: a student learns from a teacher's outputs beside the labels (Hinton, Vinyals, Dean 2015).

    distil(student, (x, y), epochs=10, teacher=teacher, temperature=4)      # arrays; the teacher is asked once

    distiller = Distiller(teacher=teacher, student=student, temperature=4)  # any pipeline, features, saving
    distiller.compile("adam", metrics=["accuracy"])
    distiller.fit(dataset, epochs=10)

The loss of one example, with logits z of the teacher and of the student, temperature T and soft_share s (arXiv
1503.02531, section 2.1):

    s · T² · cross-entropy(softmax(z_teacher / T), softmax(z_student / T)) + (1 − s) · cross-entropy(label, z_student)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from utils import SEED, checks, training
from utils.optimize import keras_graph

__all__ = ["Distiller", "attention_map", "averaged", "distil", "distillation_loss", "logit_to_add", "logits", "soften"]

#: What a model's outputs may be said to be.
OUTPUTS = ("detect", "logits", "probabilities")

# The logarithm of a smaller probability, of one that became 0 for example, is taken to be that of this one.
_SMALLEST = 1e-37

# Floats beyond this are pictures of 0 … 255, unless a layer of the network scales them.
_LARGEST_INPUT = 10.0


# ---------------------------------------------------------------- arrays


def soften(logits: Any, temperature: float = 1.0) -> np.ndarray:
    """softmax(logits / temperature) along the last axis, in the logits' own type; of whole numbers in float64.

    logits: (…, classes), finite; no probabilities.  Of float16 pass logits.astype(float), for three digits are few.
    temperature: above 0; 1 is the plain softmax, a large one makes all classes equally probable.
    """
    _check_settings(temperature)
    values = _finite(logits, "logits")
    _refuse_probabilities(values, "logits")
    scaled = values / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def averaged(outputs: Sequence[Any]) -> np.ndarray:
    """One teacher of several: the logits, float32, whose softmax is the mean of the networks' *probabilities*.

    Logits must not be averaged in their place: each network has a scale of its own, and the one with the largest logits
    would outvote the others.

    outputs: for each network (n, classes), logits or probabilities; all for the same examples, in one order.
    """
    if isinstance(outputs, (str, Mapping)) or not isinstance(outputs, (Sequence, np.ndarray)) or len(outputs) < 1:
        raise ValueError(
            f"outputs is a {type(outputs).__name__}, or empty; pass a list of the outputs of one network or more"
        )
    arrays = [_finite(each, f"outputs[{number}]").astype(np.float64) for number, each in enumerate(outputs)]
    for number, each in enumerate(outputs):
        _refuse_quantized(each, f"outputs[{number}]")
    if len({array.shape for array in arrays}) > 1:
        raise ValueError(f"the outputs have shapes {[array.shape for array in arrays]}; pass the same examples to each")
    if arrays[0].ndim < 2:
        raise ValueError(f"each network's outputs have shape {arrays[0].shape}; pass (n, classes) of each: [outputs]")
    said = [_said("detect", array, f"outputs[{number}]") for number, array in enumerate(arrays)]
    mean = np.mean([array if exactly else soften(array) for array, exactly in zip(arrays, said, strict=True)], axis=0)
    return np.log(np.maximum(mean, _SMALLEST)).astype(np.float32)


def logits(model: tf_keras.Model, x: Any, *, outputs: str = "detect", batch_size: int = 500) -> np.ndarray:
    """A teacher's logits for all of `x`, float32, (n, …, classes): what a teacher is asked for once.

    From probabilities p it takes log p, which softens in the same way, for a softmax forgets only a number that all
    logits of an example share.

    model: tf_keras model with one output.
    x: its inputs, arrays.
    outputs: what the model gives, one of `OUTPUTS`.
    Raises ValueError: outputs that are not finite, or not what is said.
    """
    checks.check_keras(model, what="teacher")
    checks.check_choice("outputs", outputs, OUTPUTS)
    made = model.predict(x, batch_size=batch_size, verbose=0)
    if not isinstance(made, np.ndarray) or made.ndim < 2 or made.shape[-1] < 2:
        shapes = tf.nest.map_structure(np.shape, made) if isinstance(made, (list, tuple, dict)) else np.shape(made)
        raise ValueError(f"the teacher {model.name!r} gives {shapes}; pass a model with one output, (n, …, classes)")
    values = made
    if not np.isfinite(values).all():
        raise ValueError(f"the teacher {model.name!r} gives NaN or infinity; no student can learn from that")
    if not _said(outputs, values, f"the teacher {model.name!r}"):
        return values.astype(np.float32)
    return np.log(np.maximum(values, _SMALLEST)).astype(np.float32)


def logit_to_add(logits: Any, column: int, share: float) -> float:
    """What added to the logits of one class makes its mean probability `share`: for a class that was never seen.

    Hinton et al. 2015, section 3, who choose it by the test set; here nothing but the class's frequency is used.

    logits: (n, classes).  column: the class.  share: its frequency, between 0 and 1.
    """
    values = _finite(logits, "logits").astype(np.float64)
    if not _is_number(share) or not 0 < share < 1:
        raise ValueError(f"share is {share!r}; pass the class's frequency, between 0 and 1, such as 0.1")
    if values.ndim != 2 or not 0 <= column < values.shape[1]:
        raise ValueError(f"there is no column {column!r} in logits of shape {values.shape}; pass (n, classes)")
    one = np.eye(values.shape[1])[column]
    low, high = -1000.0, 1000.0
    for _ in range(60):  # the mean grows with what is added: halve the interval
        middle = (low + high) / 2
        if soften(values + middle * one)[:, column].mean() < share:
            low = middle
        else:
            high = middle
    return high


def attention_map(activations: Any) -> tf.Tensor:
    """Where a layer is active: the squares summed over the channels, of length 1; (n, …, channels) -> (n, positions).

    Zagoruyko, Komodakis 2017, arXiv 1612.03928, section 3.1.
    """
    activations = tf.convert_to_tensor(activations)
    if activations.shape.rank is not None and activations.shape.rank < 3:
        raise ValueError(f"the activations have shape {activations.shape}; pass (n, …, channels), such as a picture's")
    values = tf.cast(activations, tf.float32)
    # Fourth powers leave the range of float32, from 1e9 on and below 1e-3 already: the largest value becomes 1 first.
    largest = tf.reduce_max(tf.abs(values), axis=tf.range(1, tf.rank(values)), keepdims=True)
    squares = tf.reduce_sum(tf.square(tf.math.divide_no_nan(values, tf.stop_gradient(largest))), axis=-1)
    return tf.math.l2_normalize(tf.reshape(squares, (tf.shape(squares)[0], -1)), axis=-1)


def distillation_loss(one_hot, teacher_logits, student_logits, temperature: float, soft_share: float) -> tf.Tensor:
    """The loss of each example, (…,); the arguments before it are (…, classes).

    T² keeps the soft part's gradient as large as at temperature 1: the derivative by the student's logits is
    T · (softmax(z_student / T) − softmax(z_teacher / T)), and both softmaxes differ by about 1 / T.
    """
    soft = tf.nn.softmax(teacher_logits / temperature)
    hard_part = tf.nn.softmax_cross_entropy_with_logits(one_hot, student_logits)
    soft_part = tf.nn.softmax_cross_entropy_with_logits(soft, student_logits / temperature) * temperature**2
    return soft_share * soft_part + (1 - soft_share) * hard_part


# ---------------------------------------------------------------- arrays and one teacher


def distil(
    student: tf_keras.Model,
    dataset: object,
    epochs: int = 1,
    *,
    teacher: Any,
    temperature: float = 4.0,
    soft_share: float = 0.9,
    outputs: str = "detect",
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    decay: bool = True,
    seed: int = SEED,
    callbacks: Sequence[tf_keras.callbacks.Callback] = (),
) -> dict[str, list[float]]:
    """Train a classifier in place, with Adam, from a teacher's outputs and the labels.

    student: tf_keras model (batch, classes), of logits or probabilities; a model prepared by the Toolkit too.
    dataset: (x, y) or a `data.Dataset`, of which the training part is used; (x, None) without labels.
    teacher: a tf_keras model, which is asked once and not changed, or its logits for x, (n, classes).
    temperature: divides the logits on both sides; above 0.
    soft_share: weight of the teacher's part, 0 to 1; without labels it must be 1.
    outputs: what student and teacher give, one of `OUTPUTS`.
    epochs, batch_size, learning_rate, seed, callbacks: as in `training.fit`.
    decay: let the learning rate fall to 0 along a half cosine.
    Returns {"loss": one value for each epoch}.
    Raises TypeError, ValueError: what does not fit, such as a teacher of other classes or that knows clearly less than
        the student (swapped?).
    Raises FloatingPointError: the loss is no longer finite.
    """
    checks.check_keras(student, what="student")
    training.check_settings(epochs, batch_size, learning_rate, seed)
    _check_settings(temperature, soft_share)
    checks.check_choice("outputs", outputs, OUTPUTS)
    x, y = _examples(dataset)
    if y is None and soft_share < 1:
        raise ValueError(f"there are no labels, and soft_share is {soft_share!r}; pass soft_share=1, or (x, y)")
    training.check_examples(student, x, np.zeros(len(x), np.int32) if y is None else y, "train")
    _check_output(student, "student")
    given = _teacher_logits(student, teacher, x, outputs)
    some = slice(0, 1000)
    first = student.predict(x[some], batch_size=500, verbose=0)
    probabilities = _said(outputs, first, f"the student {student.name!r}")
    if y is not None and hasattr(teacher, "predict"):
        _check_roles(student, teacher, given[some], first, y[some])
    classes = given.shape[1]
    one_hot = np.zeros_like(given) if y is None else np.eye(classes, dtype=np.float32)[y]
    steps = epochs * -(-len(x) // batch_size)
    rate = tf_keras.optimizers.schedules.CosineDecay(learning_rate, steps) if decay else learning_rate

    def loss(targets, outputs):
        z = _as_logits(outputs, "probabilities" if probabilities else "logits")
        targets = tf.cast(targets, tf.float32)  # Keras hands them in what the student computes in
        return distillation_loss(targets[:, 0], targets[:, 1], z, temperature, soft_share)

    student.compile(tf_keras.optimizers.Adam(rate), loss)
    tf_keras.utils.set_random_seed(int(seed))
    targets = np.stack([one_hot, given], axis=1)  # (n, 2, classes): Keras hands one array of targets to a loss
    history = student.fit(
        x, targets, batch_size=batch_size, epochs=epochs, verbose=0, callbacks=list(callbacks)
    ).history
    if not np.all(np.isfinite(history["loss"])):
        raise FloatingPointError(f"the loss became {history['loss'][-1]}; take a learning rate below {learning_rate:g}")
    return {name: [float(v) for v in values] for name, values in history.items()}


def _check_settings(temperature: object = 1.0, soft_share: object = 1.0) -> None:
    """Raise ValueError unless the temperature is above 0 and finite, and the share in [0, 1]."""
    if not _is_number(temperature) or not 0 < temperature < np.inf:
        raise ValueError(f"temperature is {temperature!r}; pass a number above 0, such as 2")
    if not _is_number(soft_share) or not 0 <= soft_share <= 1:
        raise ValueError(f"soft_share is {soft_share!r}; pass a number from 0 to 1")


def _check_pair(student: tf_keras.Model, teacher: Any) -> None:
    """Raise a sentence unless the teacher is another tf_keras model with the same outputs."""
    checks.check_keras(teacher, what="teacher")
    if {id(w) for w in teacher.weights} & {id(w) for w in student.weights}:
        raise ValueError(f"the teacher {teacher.name!r} shares weights with the student, which is trained; pass a copy")
    for model, role in ((teacher, "teacher"), (student, "student")):
        shape = model.output_shape
        if not isinstance(shape, tuple) or len(shape) < 2 or shape[-1] is None or shape[-1] < 2:
            raise ValueError(
                f"the {role} {model.name!r} gives {shape}; pass a model with one output of (batch, …, classes), 2 or "
                "more classes (for a sigmoid: two logits, 0 and its logit)"
            )
    if not _agree(teacher.output_shape, student.output_shape):
        raise ValueError(
            f"the teacher gives {teacher.output_shape}, the student {student.output_shape}; pass a teacher "
            "with the same outputs"
        )


# ---------------------------------------------------------------- a model that fits, evaluates, saves


@tf_keras.saving.register_keras_serializable("tensorflow_model_optimization_course")
class Distiller(tf_keras.Model):
    """A Keras model that trains `student` by `teacher`: compile without a loss, then fit, evaluate, predict, save.

    It computes what the student computes.  The teacher is asked in inference mode, and nothing of it changes.  Arrays
    are shown to it once, before the first epoch; batches of a pipeline are shown to it as they come.  Precomputed
    logits go in as labels: fit(x, {"labels": y, "teacher": logits}); then `teacher` may be None.

    teacher: tf_keras model with the same inputs and outputs as the student, or None.
    student: tf_keras model of (batch, …, classes), one output.
    temperature, soft_share: as in `distil`.
    features: {student's layer: teacher's layer}: beside the loss, the mean squared distance of their activations;
        where channels differ, a Dense layer on the student's side learns to translate (FitNets, arXiv 1412.6550).
    attention: {student's layer: teacher's layer}: the mean squared distance of their `attention_map`.
    match_weight: factor of both.
    teacher_outputs, student_outputs: one of `OUTPUTS`.

    Metrics: loss, and its parts hard, soft and (with features or attention) match, beside those of `compile`.

    Raises TypeError, ValueError: models that do not fit; a sentence says what to pass.
    """

    def __init__(
        self,
        *,
        teacher: tf_keras.Model | None,
        student: tf_keras.Model,
        temperature: float = 4.0,
        soft_share: float = 0.9,
        features: Mapping[str, str] | None = None,
        attention: Mapping[str, str] | None = None,
        match_weight: float = 1.0,
        teacher_outputs: str = "detect",
        student_outputs: str = "detect",
        name: str = "distiller",
    ) -> None:
        super().__init__(name=name)
        checks.check_built(student, what="student")
        _check_settings(temperature, soft_share)
        if not _is_number(match_weight) or not 0 <= match_weight < np.inf:
            raise ValueError(f"match_weight is {match_weight!r}; pass a number of at least 0")
        for what, pairs in (("features", features), ("attention", attention)):
            if pairs is not None and not isinstance(pairs, Mapping):
                raise ValueError(f"{what} is {pairs!r:.80}; pass {{student's layer: teacher's layer}}")
        features, attention = dict(features or {}), dict(attention or {})
        _check_output(student, "student")
        if teacher is not None:
            checks.check_built(teacher, what="teacher")
            _check_output(teacher, "teacher")
            _check_pair(student, teacher)
            _check_same_inputs(student, teacher)
        elif features or attention:
            raise ValueError("features and attention need a teacher, which is None; pass the model")
        self.student, self.teacher = student, teacher
        self.temperature, self.soft_share, self.match_weight = float(temperature), float(soft_share), match_weight
        self.student_outputs = _stated(student, student_outputs, "student")
        self.teacher_outputs = "logits" if teacher is None else _stated(teacher, teacher_outputs, "teacher")
        self._features, self._attention = features, attention
        self._set_up_taps()
        parts = ["loss", "hard", "soft", *(["match"] if features or attention else [])]
        self._parts = {part: tf_keras.metrics.Mean(name=part) for part in parts}
        self.built = True  # the student is, and nothing else is computed

    def _set_up_taps(self) -> None:
        """Models that give the output and the named layers' activations, and a translation where channels differ."""
        pairs = [*self._features.items(), *self._attention.items()]
        self._student_taps = self._teacher_taps = None
        self._translations: list[tf_keras.layers.Layer | None] = []
        if not pairs:
            return
        self._student_taps = _taps(self.student, [mine for mine, _ in pairs], "student")
        self._teacher_taps = _taps(self.teacher, [theirs for _, theirs in pairs], "teacher")
        for number, (mine, theirs) in enumerate(pairs):
            a, b = self._student_taps.output_shape[number + 1], self._teacher_taps.output_shape[number + 1]
            if len(a) != len(b) or a[1:-1] != b[1:-1]:
                raise ValueError(
                    f"layer {mine!r} of the student gives {a}, {theirs!r} of the teacher {b}; pass layers that "
                    "differ in channels only"
                )
            if number >= len(self._features) and len(a) < 3:
                raise ValueError(f"layer {mine!r} gives {a}, so it is active in no places; pass it as a feature")
            translate = number < len(self._features) and a[-1] != b[-1]
            layer = tf_keras.layers.Dense(b[-1], name=f"translation_{number}") if translate else None
            if translate:
                layer.build(a)
            self._translations.append(layer)

    @property
    def trainable_weights(self) -> list[tf.Variable]:
        """What fit changes: the student, and the translations of features; never the teacher."""
        if getattr(self, "student", None) is None or not self.trainable:
            return []
        own = [w for layer in getattr(self, "_translations", []) if layer is not None for w in layer.trainable_weights]
        return [*self.student.trainable_weights, *own]

    @property
    def non_trainable_weights(self) -> list[tf.Variable]:
        trained = {id(weight) for weight in self.trainable_weights}
        return [weight for weight in self.weights if id(weight) not in trained]

    def call(self, inputs, training=None):
        return self.student(inputs, training=training)

    def train_step(self, data):
        x, y, weight = tf_keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            parts, outputs = self._loss_parts(x, y, weight, training=True)
        self.optimizer.minimize(parts["loss"], self.trainable_variables, tape=tape)
        return self._report(parts, y, outputs, weight)

    def test_step(self, data):
        x, y, weight = tf_keras.utils.unpack_x_y_sample_weight(data)
        parts, outputs = self._loss_parts(x, y, weight, training=False)
        return self._report(parts, y, outputs, weight)

    def _loss_parts(self, x, y, weight, training: bool):
        """({part: mean over the batch}, the student's outputs)."""
        if self.loss:
            raise ValueError("a Distiller has a loss of its own; compile it without loss=")
        labels, given = self._targets(y)
        outputs, *mine = _several(self._student_taps or self.student, x, training)
        theirs, theirs_are_given = [], given is not None
        if given is None or mine:
            answer, *theirs = _several(self._teacher_taps or self.teacher, x, False)
            if not theirs_are_given:
                given = _as_logits(answer, self.teacher_outputs)
        z = _as_logits(outputs, self.student_outputs)
        given = tf.stop_gradient(_fitting_logits(given, z) if theirs_are_given else given)
        theirs = [tf.stop_gradient(each) for each in theirs]
        one_hot = tf.zeros_like(z) if labels is None else _one_hot(labels, z)
        mask = getattr(outputs, "_keras_mask", None)  # padding does not count, as in Keras' own losses
        parts = {
            "hard": _mean(distillation_loss(one_hot, given, z, self.temperature, 0.0), weight, mask),
            "soft": _mean(distillation_loss(one_hot, given, z, self.temperature, 1.0), weight, mask),
        }
        total = self.soft_share * parts["soft"] + (1 - self.soft_share) * parts["hard"]
        if mine:
            parts["match"] = self._distance(mine, theirs)
            total += self.match_weight * parts["match"]
        extra = [tf.cast(loss, tf.float32) for loss in self.student.losses]  # regularizers
        return {"loss": total + tf.add_n(extra) if extra else total, **parts}, outputs

    def _targets(self, y) -> tuple:
        """(labels or None, the teacher's logits or None), of which the loss needs what the settings say."""
        labels, given = _labels_and_logits(y)
        if self.teacher is None and given is None:
            raise ValueError('there is no teacher and no logits; pass y={"labels": y, "teacher": logits}')
        if labels is None and self.soft_share < 1:
            raise ValueError(f"there are no labels, and soft_share is {self.soft_share}; pass soft_share=1, or labels")
        return labels, given

    def _distance(self, mine: list, theirs: list) -> tf.Tensor:
        distance = 0.0
        for number, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            if number >= len(self._features):
                a, b = attention_map(a), attention_map(b)
            elif self._translations[number] is not None:
                a = self._translations[number](a)
            distance += tf.reduce_mean(tf.math.squared_difference(tf.cast(a, tf.float32), tf.cast(b, tf.float32)))
        return distance

    def _report(self, parts, y, outputs, weight) -> dict:
        count = tf.shape(outputs)[0]  # the last batch of an epoch may be smaller
        for part, value in parts.items():
            self._parts[part].update_state(value, sample_weight=count)
        labels, _ = _labels_and_logits(y)
        if labels is not None:
            self.compiled_metrics.update_state(labels, outputs, weight)
        return {metric.name: metric.result() for metric in self.metrics}

    def fit(self, x=None, y=None, *args, **kwargs):
        """As tf_keras.Model.fit; for arrays, labels are checked and the teacher is asked once."""
        if _are_arrays(x):
            if kwargs.get("class_weight") is not None:
                raise ValueError("class_weight does not go with arrays; pass sample_weight, one for each example")
            x = tf.nest.map_structure(np.asarray, x)
            labels, given = self._targets(y)
            labels = None if labels is None else np.asarray(labels)
            self._check_arrays(x, labels, given)
            if given is None and self.teacher is not None and self._teacher_taps is None:
                given = logits(self.teacher, x, outputs=self.teacher_outputs)
            if given is not None:
                y = {"teacher": given} if labels is None else {"labels": labels, "teacher": given}
        elif hasattr(x, "element_spec"):
            spec = x.element_spec
            labels, _ = self._targets(spec[1] if isinstance(spec, tuple) and len(spec) > 1 else None)
            _check_spec(labels, self.student.output_shape)
        return super().fit(x, y, *args, **kwargs)

    def _check_arrays(self, x, labels, given) -> None:
        _check_inputs(self.student, x)
        _check_range([self.student, self.teacher], x)
        count, shape = len(tf.nest.flatten(x)[0]), self.student.output_shape
        if labels is not None:
            _check_labels(labels, count, shape)
        if given is not None:
            _refuse_quantized(given, "the teacher's logits")
            given = _finite(given, "the teacher's logits")
            if given.shape != (count, *shape[1:]) and None not in shape[1:]:
                raise ValueError(f"the teacher's logits have shape {given.shape}; pass {(count, *shape[1:])}")
            _refuse_probabilities(given, "the teacher's logits")
        elif self.teacher is not None and labels is not None and len(shape) == 2:
            some = tf.nest.map_structure(lambda array: array[:1000], x)
            mine = self.student.predict(some, batch_size=500, verbose=0)
            theirs = self.teacher.predict(some, batch_size=500, verbose=0)
            _check_roles(self.student, self.teacher, theirs, mine, labels[:1000])

    def get_config(self) -> dict:
        serialize = tf_keras.saving.serialize_keras_object
        return {
            "teacher": None if self.teacher is None else serialize(self.teacher),
            "student": serialize(self.student),
            "temperature": self.temperature,
            "soft_share": self.soft_share,
            "features": dict(self._features),
            "attention": dict(self._attention),
            "match_weight": self.match_weight,
            "teacher_outputs": self.teacher_outputs,
            "student_outputs": self.student_outputs,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> Distiller:
        models = {
            role: config[role] and tf_keras.saving.deserialize_keras_object(config[role], custom_objects)
            for role in ("teacher", "student")
        }
        return cls(**{**config, **models})


# ---------------------------------------------------------------- outputs


def _as_logits(outputs: tf.Tensor, said: str) -> tf.Tensor:
    """In float32, in which the loss is computed whatever the models compute in; T² would overflow in float16."""
    outputs = tf.cast(outputs, tf.float32)
    return _log(outputs) if said == "probabilities" else outputs


def _log(probabilities: tf.Tensor) -> tf.Tensor:
    return tf.math.log(tf.maximum(probabilities, _SMALLEST))


def _stated(model: tf_keras.Model, outputs: str, role: str) -> str:
    """ "logits" or "probabilities": what the model gives for random inputs, held against what is said."""
    checks.check_choice(f"{role}_outputs", outputs, OUTPUTS)
    try:
        values = np.asarray(model(_packed(model, keras_graph.example_input(model)), training=False))
    except Exception as error:
        if outputs != "detect":
            return outputs
        raise ValueError(
            f"the {role} {model.name!r} cannot be tried on random inputs ({str(error).splitlines()[0]:.100}); say what "
            f'it gives: {role}_outputs="logits" or "probabilities"'
        ) from None
    return "probabilities" if _said(outputs, values, f"the {role} {model.name!r}") else "logits"


def _said(outputs: str, values: np.ndarray, who: str) -> bool:
    """Whether these are probabilities; a sentence if they are not what is said, or only nearly a distribution."""
    exactly = training.are_probabilities(values)
    if outputs == "logits" and exactly:
        raise ValueError(
            f"{who} gives probabilities; pass one that ends in logits, without softmax "
            "(tf_keras.Model(model.input, model.layers[-2].output) if softmax is a layer of its own)"
        )
    if outputs == "probabilities" and not exactly:
        raise ValueError(f"{who} gives no probabilities: its outputs are not at least 0 with the sum 1")
    if not exactly and (values >= 0).all() and np.allclose(values.sum(axis=-1), 1, atol=0.03):
        raise ValueError(
            f"{who} gives probabilities that were rounded, of 8 bits perhaps: their logarithm is no logit; pass the "
            "model without its softmax"
        )
    return exactly


def _refuse_probabilities(values: np.ndarray, what: str) -> None:
    if training.are_probabilities(values):
        raise ValueError(f"{what} are probabilities: each row is at least 0 with the sum 1; pass np.log(p), or logits")


def _refuse_quantized(values: Any, what: str) -> None:
    """What a quantized file gives without its scale: unsigned, or of 8 bits."""
    dtype = np.asarray(values).dtype
    if dtype.kind == "u" or dtype == np.int8:
        raise ValueError(
            f"{what} are {dtype}, the integers of a quantized file; pass real numbers: scale * (integers - zero_point)"
        )


def _finite(values: Any, what: str) -> np.ndarray:
    array = checks.as_array(values, what=what)
    if array.dtype.kind not in "fiu" or array.ndim < 1 or array.shape[-1] < 2 or not array.size:
        raise ValueError(
            f"{what} are {array.dtype} of shape {array.shape}; pass numbers, (n, classes), 2 or more classes"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{what} hold NaN or infinity; find out where they come from")
    return array.astype(np.float64) if array.dtype.kind != "f" else array


# ---------------------------------------------------------------- what fits together


def _examples(dataset: object) -> tuple[np.ndarray, np.ndarray | None]:
    if isinstance(dataset, (tuple, list)) and len(dataset) == 2 and dataset[1] is None:
        return np.asarray(dataset[0]), None
    return training.examples(dataset)["train"]


def _teacher_logits(student, teacher: Any, x: np.ndarray, outputs: str) -> np.ndarray:
    """The teacher's logits for x, computed or given, float32 (n, classes)."""
    if hasattr(teacher, "predict") or not (hasattr(teacher, "__array__") or isinstance(teacher, (list, tuple))):
        checks.check_keras(teacher, what="teacher")
        if not teacher.built:
            teacher(x[:1])
        _check_output(teacher, "teacher")
        _check_pair(student, teacher)
        try:
            _check_inputs(teacher, x)
        except ValueError as error:
            raise ValueError(f"{error}, of the teacher {teacher.name!r}; or pass its logits in its place") from None
        return logits(teacher, x, outputs=outputs)
    _refuse_quantized(teacher, "the teacher's logits")
    given, wanted = _finite(teacher, "the teacher's logits"), (len(x), student.output_shape[-1])
    if given.shape != wanted:
        raise ValueError(f"the teacher's logits have shape {given.shape}; pass {wanted}: one row an example of x")
    _refuse_probabilities(given, "the teacher's logits")
    return given.astype(np.float32)


def _check_roles(student, teacher, theirs: np.ndarray, mine: np.ndarray, y: np.ndarray) -> None:
    """Refuse a teacher that knows clearly less than the student."""
    right = [float(np.mean(values.argmax(axis=-1) == y)) for values in (theirs, mine)]
    if right[0] < right[1] - max(0.05, 2 / np.sqrt(len(y))):  # few examples tell less
        raise ValueError(
            f"the teacher {teacher.name!r} is right for {right[0]:.0%} of the first {len(y)} examples, the student "
            f"{student.name!r} for {right[1]:.0%}: are they swapped, or do they want other inputs?"
        )


def _check_output(model, role: str) -> None:
    """Raise a sentence unless the model knows its one output, which has classes that exclude each other."""
    checks.check_shapes_known(model, what=role)
    shape = model.output_shape
    if not isinstance(shape, tuple) or len(shape) < 2 or shape[-1] is None or shape[-1] < 2:
        raise ValueError(
            f"the {role} {model.name!r} gives {shape}; pass a model with one output of (batch, …, classes), 2 or "
            "more classes (for a sigmoid: two logits, 0 and its logit)"
        )
    if checks.ends_in_sigmoids(model):
        raise ValueError(
            f"the {role} {model.name!r} ends in a sigmoid for each of {shape[-1]} outputs, so several may be true at "
            "once; the loss is for classes of which one is true: pass a model that ends in logits or softmax"
        )


def _check_same_inputs(student, teacher) -> None:
    shapes = [[tuple(spec.shape) for spec in checks.input_specs(model)] for model in (student, teacher)]
    if len(shapes[0]) != len(shapes[1]) or not all(map(_agree, *shapes)):
        raise ValueError(
            f"the student takes {shapes[0]}, the teacher {shapes[1]}; compute the teacher's logits on its own inputs "
            'and pass teacher=None and y={"labels": y, "teacher": logits}'
        )


def _agree(a: tuple, b: tuple) -> bool:
    """Whether two shapes are equal but for the batch; None is any size."""
    return len(a) == len(b) and all(m is None or n is None or m == n for m, n in zip(a[1:], b[1:], strict=True))


def _check_labels(labels: np.ndarray, count: int, shape: tuple) -> None:
    if labels.dtype.kind not in "iu" or labels.ndim != len(shape) - 1 or len(labels) != count:
        column = labels.ndim == len(shape) and labels.shape[-1] == 1  # whose argmax would be 0 everywhere
        of = "a column of labels y[..., 0]" if column else "one-hot labels y.argmax(axis=-1)"
        raise ValueError(
            f"the labels are {labels.dtype} of shape {labels.shape} for {count} examples; pass whole numbers of shape "
            f"{('n', *shape[1:-1])}, for {of}".replace("'n'", "n")
        )
    if labels.min() < 0 or labels.max() >= shape[-1]:
        raise ValueError(
            f"the labels reach from {labels.min()} to {labels.max()}; the models have {shape[-1]} classes, so pass 0 "
            f"to {shape[-1] - 1}"
        )


def _check_spec(labels: Any, shape: tuple) -> None:
    """One-hot labels of a tf.data.Dataset, before the first epoch."""
    if labels is None or (labels.dtype.is_integer and len(labels.shape) in (len(shape) - 1, 1)):
        return
    if not len(labels.shape):
        what = "a dataset without batches dataset.batch(32)"
    elif labels.shape[-1] == 1:  # whose argmax would be 0 everywhere
        what = "a column of labels dataset.map(lambda x, y: (x, y[..., 0]))"
    else:
        what = "one-hot labels dataset.map(lambda x, y: (x, tf.argmax(y, -1)))"
    raise ValueError(
        f"the dataset's labels are {labels.dtype.name} of shape {labels.shape}; pass whole numbers, (batch,), "
        f"for {what}"
    )


def _check_inputs(model, x: Any) -> None:
    """Arrays of another number or shape than the model's inputs, or without examples."""
    arrays, specs = tf.nest.flatten(x), checks.input_specs(model)
    checks.same_count(arrays, "x")
    if isinstance(x, Mapping):  # Keras finds inputs by their names, and passes over others
        return
    if len(arrays) != len(specs):
        raise ValueError(f"x has {len(arrays)} arrays, the models have {len(specs)} inputs; pass one for each")
    for number, (array, spec) in enumerate(zip(arrays, specs, strict=True)):
        column = array[:, np.newaxis] if array.ndim == 1 and len(spec.shape) == 2 else array  # as Keras makes it
        checks.check_shape(column, spec.shape, f"x[{number}]" if len(arrays) > 1 else "x")


def _check_range(models: list, x: Any) -> None:
    """What is not finite; and pictures of 0 … 255 for models without a layer that scales, floats or not."""
    arrays = [array for array in map(np.asarray, tf.nest.flatten(x)) if array.size and array.dtype.kind in "fiu"]
    reach = [(float(array.min()), float(array.max())) for array in arrays]  # NaN if there is one NaN
    if not np.isfinite(reach).all():
        raise ValueError("the inputs hold NaN or infinity; remove those first (np.isfinite finds them)")
    scaling = (tf_keras.layers.Rescaling, tf_keras.layers.Normalization, tf_keras.layers.BatchNormalization)
    if any(isinstance(layer, scaling) for model in models if model is not None for layer in checks.all_layers(model)):
        return
    specs = checks.input_specs(models[0])
    whole = [spec.dtype.is_integer for spec in specs] if len(specs) == len(reach) else [False] * len(reach)
    for (low, high), words in zip(reach, whole, strict=True):
        if not words and max(-low, high) > _LARGEST_INPUT:
            raise ValueError(
                f"the inputs reach from {low:g} to {high:g}, and neither model has a layer that scales them; pass "
                f"values in [0, 1]: divide by {max(-low, high):g}"
            )


# ---------------------------------------------------------------- small things


def _labels_and_logits(y: Any) -> tuple[Any, Any]:
    if not isinstance(y, Mapping):
        return y, None
    if not set(y) <= {"labels", "teacher"}:
        raise ValueError(f'y has the keys {", ".join(map(repr, y))}; pass {{"labels": y, "teacher": logits}}')
    return y.get("labels"), y.get("teacher")


def _one_hot(labels: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
    """Whole numbers as vectors; (batch, 1) is what Keras makes of (batch,)."""
    if len(labels.shape) == len(z.shape) and labels.shape[-1] == 1:
        labels = tf.squeeze(labels, -1)
    if not labels.dtype.is_integer or len(labels.shape) != len(z.shape) - 1:
        raise ValueError(
            f"the labels are {labels.dtype.name} of shape {labels.shape}; pass whole numbers, for one-hot labels "
            "tf.argmax(y, -1)"
        )
    # Of a label beyond the last class one_hot makes zeros: its loss would be 0.
    said = f"a label is not one of the {z.shape[-1]} classes; pass labels from 0 to {z.shape[-1] - 1}"
    labels = tf.cast(labels, tf.int64)
    with tf.control_dependencies([tf.debugging.assert_less(labels, tf.constant(z.shape[-1], tf.int64), said),
                                  tf.debugging.assert_non_negative(labels, said)]):  # fmt: skip
        return tf.one_hot(labels, z.shape[-1], dtype=z.dtype)


def _fitting_logits(given: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
    """The teacher's logits of a batch, which must be as many as the student's, real numbers and no probabilities."""
    if not given.dtype.is_floating or not given.shape.is_compatible_with(z.shape):
        raise ValueError(
            f"the teacher's logits are {given.dtype.name} of shape {given.shape}; pass floats of shape {z.shape}"
        )
    given = tf.cast(given, tf.float32)
    rows = (tf.reduce_min(given, -1) >= 0) & (tf.abs(tf.reduce_sum(given, -1) - 1) < 1e-3)
    real = ~tf.reduce_all(rows) | (tf.size(rows) < 2)  # one row of logits may look so by chance
    said = "the teacher's logits are probabilities: each row is at least 0 with the sum 1; pass their logarithms"
    with tf.control_dependencies([tf.debugging.Assert(real, [said])]):
        return tf.identity(given)


def _mean(values: tf.Tensor, weight, mask=None) -> tf.Tensor:
    """The mean over what the mask leaves; weights are (batch,), (batch, 1) or as the values, (batch, …)."""
    if weight is not None:
        weight = tf.cast(weight, values.dtype)
        if len(weight.shape) == len(values.shape) + 1 and weight.shape[-1] == 1:
            weight = tf.squeeze(weight, -1)
        if len(weight.shape) > len(values.shape):
            raise ValueError(f"the weights have shape {weight.shape}; pass (batch,), one for each example")
        while len(weight.shape) < len(values.shape):  # (batch,) beside (batch, time) would count along the wrong axis
            weight = weight[..., tf.newaxis]
        values *= weight
    if mask is None or len(mask.shape) != len(values.shape):
        return tf.reduce_mean(values)
    mask = tf.cast(mask, values.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(values * mask), tf.reduce_sum(mask))


def _several(model, x, training: bool) -> list:
    made = model(x, training=training)
    return list(made) if isinstance(made, (list, tuple)) else [made]


def _taps(model, names: list[str], role: str) -> tf_keras.Model:
    """A model on the same layers that gives the output and what the named layers give."""
    checks.check_built(model, what=role, graph=True)
    known = [layer.name for layer in model.layers]
    for name in names:
        checks.check_choice(f"layer of the {role}", name, known)
    return tf_keras.Model(model.inputs, [model.output, *(_output_of(model, name, role) for name in names)])


def _output_of(model, name: str, role: str):
    """What the layer gives at its first call in this model; elsewhere it may have been called before."""
    found = next(node.outputs for node in keras_graph.nodes(model) if node.layer is model.get_layer(name))
    if isinstance(found, (list, tuple, Mapping)):
        raise ValueError(f"layer {name!r} of the {role} gives {len(found)} outputs; pass a layer that gives one")
    return found


def _packed(model, arrays: list) -> Any:
    """Arrays in the structure that the model takes."""
    nested = getattr(model, "_nested_inputs", None)
    if isinstance(nested, (dict, list, tuple)):
        return tf.nest.pack_sequence_as(nested, arrays)
    return arrays[0] if len(arrays) == 1 else arrays


def _are_arrays(x: Any) -> bool:
    """Also of TensorFlow, which are checked and shown to the teacher as numpy's are."""
    eager = (np.ndarray, type(tf.constant(0)))
    return x is not None and all(isinstance(part, eager) for part in tf.nest.flatten(x))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
