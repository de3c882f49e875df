"""Fine-tuning keeps what it should keep and wins back accuracy, on a problem small enough for a test."""

import numpy as np
import pytest
import tf_keras

from tests.aware import problem
from utils import models, training
from utils.optimize import recovery
from utils.optimize.quantization import aware as qa
from utils.optimize.quantization import aware_ranges


def test_recover_learns_on_the_grid(small):
    x, y = problem()
    model = qa.quantize_aware(small, 4, calibration=x[:100])
    before = np.mean(model.predict(x, verbose=0).argmax(1) == y)
    history = recovery.recover(model, (x, y), 8, learning_rate=3e-3, batch_size=16, seed=1)
    assert history["loss"][-1] < history["loss"][0]
    assert np.mean(model.predict(x, verbose=0).argmax(1) == y) > before + 0.15
    assert len(np.unique(aware_ranges.integer_kernel(model, "conv")[0])) <= 15


def test_recover_from_a_teacher_comes_nearer_to_it(small):
    x, y = problem(400)
    model = qa.quantize_aware(small, 3, calibration=x[:100])
    teacher = small.predict(x, verbose=0)
    before = np.mean(np.abs(model.predict(x, verbose=0) - teacher))
    recovery.recover(
        model, (x, np.zeros_like(y)), 4, teacher=small, soft_share=1.0, batch_size=16, freeze_statistics=True, seed=1
    )
    assert np.mean(np.abs(model.predict(x, verbose=0) - teacher)) < before


@pytest.mark.parametrize(("temperature", "share"), [(1.0, 0.0), (3.0, 1.0), (3.0, 0.7)])
def test_the_first_loss_is_hintons_with_the_square_of_the_temperature(temperature, share):
    x, y = problem(40)
    student, teacher = mlp(1), mlp(0, x, y)
    own, others = (np.float64(model.predict(x, verbose=0)) for model in (student, teacher))
    hard = -log_softmax(own)[np.arange(40), y]
    soft = -np.sum(np.exp(log_softmax(others / temperature)) * log_softmax(own / temperature), axis=1)
    wanted = share * temperature**2 * soft + (1 - share) * hard
    options = {"temperature": temperature, "soft_share": share, "batch_size": 40}
    history = recovery.recover(student, (x, y), teacher=teacher, **options)
    assert history["loss"][0] == pytest.approx(wanted.mean(), rel=1e-4)


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def test_with_a_teacher_the_rate_has_fallen_to_zero_at_the_end():
    student, teacher = (models.mlp((8, 8, 3), 4, seed=seed, hidden=(5,)) for seed in (0, 1))
    recovery.recover(student, problem(50), 2, teacher=teacher, batch_size=16, seed=1)
    rate = tf_keras.optimizers.schedules.deserialize(student.optimizer.get_config()["learning_rate"])
    steps = int(student.optimizer.iterations)
    assert steps == 2 * 4  # the last batch of an epoch has 2 examples
    assert float(rate(steps)) == 0 < float(rate(steps - 1))


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_statistics_stay_and_the_weights_move(small, frozen):
    model = qa.quantize_aware(small, calibration=problem()[0][:50])
    statistics = [w for w in model.weights if "moving_" in w.name]
    kernel = next(w for w in model.weights if w.name.endswith("kernel:0"))
    before, weights = [w.numpy() for w in statistics], kernel.numpy()
    recovery.recover(model, problem(200), freeze_statistics=frozen, seed=1)
    assert all(np.array_equal(a, w.numpy()) for a, w in zip(before, statistics, strict=True)) == frozen
    assert not np.array_equal(weights, kernel.numpy())
    assert all(layer.layer.trainable for layer in model.layers if hasattr(layer, "layer"))


def test_a_normalization_that_was_not_trained_is_not_afterwards():
    K = tf_keras.layers
    layers = [K.Flatten(), K.BatchNormalization(name="frozen", trainable=False), K.Dense(5), K.BatchNormalization()]
    model = tf_keras.Sequential([K.Input((8, 8, 3)), *layers, K.Dense(3)])
    recovery.recover(model, problem(40), freeze_statistics=True, seed=1)
    assert [layer.trainable for layer in model.layers] == [True, False, True, True, True]


@pytest.mark.parametrize("keep", [True, False])
def test_zeros_are_kept_when_asked(keep):
    model = models.mlp((8, 8, 3), 4, seed=0, hidden=(6,))
    kernel = model.get_layer("dense_1").kernel
    kernel.assign(kernel * (np.random.default_rng(0).random(kernel.shape) < 0.3))
    zeros = kernel.numpy() == 0
    recovery.recover(model, problem(200), keep_zeros=keep, seed=1)
    assert (np.count_nonzero(kernel.numpy()[zeros]) == 0) == keep and np.count_nonzero(kernel.numpy()[~zeros])


def half_zero(variable):
    variable.assign(variable * (np.random.default_rng(0).random(variable.shape) < 0.5))
    return variable, variable.numpy() == 0


@pytest.mark.parametrize("teacher", [None, 0])
def test_zeros_stay_zeros_behind_fake_quantization(teacher):
    x, y = problem(200)
    model = models.mlp((8, 8, 3), 4, seed=0, hidden=(6,))
    half_zero(model.get_layer("dense_1").kernel)
    aware = qa.quantize_aware(model, calibration=x[:50])
    kernel = next(w for w in aware.weights if w.name.endswith("dense_1/kernel:0"))
    before = kernel.numpy()
    others = {} if teacher is None else {"teacher": models.mlp((8, 8, 3), 4, seed=teacher, hidden=(6,))}
    recovery.recover(aware, (x, y), keep_zeros=True, seed=1, **others)
    assert not kernel.numpy()[before == 0].any() and not np.array_equal(kernel, before)


class Own(tf_keras.layers.Layer):
    """Its kernel, and a table that is 0 before it is trained."""

    def build(self, shape):
        self.matrix = self.add_weight("matrix", (shape[-1], 6))
        self.table = self.add_weight("table", (1, 6), initializer="zeros")

    def call(self, x):
        return x @ self.matrix + self.table


def test_zeros_of_a_layer_of_ones_own_are_kept_and_what_begins_as_zeros_is_trained():
    K = tf_keras.layers
    model = tf_keras.Sequential([K.Input((8, 8, 3)), K.Flatten(), Own(), K.Dense(3)])
    matrix, zeros = half_zero(model.layers[1].matrix)
    recovery.recover(model, problem(100), keep_zeros=True, seed=1)
    assert not matrix.numpy()[zeros].any() and model.layers[1].table.numpy().all()


class Counting(tf_keras.layers.Layer):
    """Two counters of its training steps, which are not trained and of which one begins at 0."""

    def build(self, shape):
        self.counts = self.add_weight("counts", (1, 2), trainable=False)
        self.counts.assign([[0, 5]])

    def call(self, x, training=None):
        if training:
            self.counts.assign_add([[1, 1]])
        return x


def test_a_counter_that_begins_at_zero_counts_although_zeros_are_kept():
    K = tf_keras.layers
    model = tf_keras.Sequential([K.Input((8, 8, 3)), K.Flatten(), Counting(), K.Dense(3)])
    recovery.recover(model, problem(100), keep_zeros=True, seed=1)  # two batches
    assert model.layers[1].counts.numpy().tolist() == [[2, 7]]


def test_models_whose_shapes_are_not_known_and_teachers_with_other_inputs_or_nan():
    x, y = problem(60)
    own = type("Own", (tf_keras.Model,), {"call": lambda self, x: x})()
    own(x)
    for given in ({"model": own}, {"teacher": own}, {"teacher": tf_keras.Sequential([tf_keras.layers.Dense(3)])}):
        with pytest.raises(ValueError, match=r"no graph of layers|not built"):
            recovery.recover(dataset=(x, y), **{"model": mlp(0), **given})
    flat = tf_keras.Sequential([tf_keras.Input((192,)), tf_keras.layers.Dense(3)])
    with pytest.raises(ValueError, match=r"the teacher 'sequential\w*' gets takes shape \(n, 192\)"):
        recovery.recover(mlp(0), (x, y), teacher=flat)
    broken = mlp(1)
    broken.set_weights([w * np.nan for w in broken.get_weights()])
    with pytest.raises(ValueError, match=r"teacher .* NaN or infinite"):
        recovery.recover(mlp(0), (x, y), teacher=broken)


@pytest.mark.parametrize("option", ["temperature", "soft_share"])
@pytest.mark.parametrize("value", ["2", None, True, float("inf"), float("nan"), 1e30])
def test_temperature_and_share_are_numbers(option, value):
    with pytest.raises(ValueError, match=f"{option} is .*; pass a number"):
        recovery.recover(mlp(0), problem(40), teacher=mlp(1), **{option: value})


def test_a_teacher_must_fit(small):
    with pytest.raises(ValueError, match="same outputs"):
        recovery.recover(qa.quantize_aware(small), problem(50), teacher=models.mlp((8, 8, 3), 3, seed=0))
    for option in ({"temperature": 0}, {"soft_share": 1.5}):
        with pytest.raises(ValueError, match=next(iter(option))):
            recovery.recover(qa.quantize_aware(small), problem(50), teacher=small, **option)


def mlp(seed, x=None, y=None):
    """A small classifier, trained if there is something to learn from."""
    model = models.mlp((8, 8, 3), 3, seed=seed, hidden=(12,))
    if x is not None:
        training.fit(model, (x, y), 12, batch_size=16, learning_rate=1e-2, seed=1)
    return model


def test_the_teacher_is_bit_equal_afterwards_and_swapped_roles_are_refused():
    x, y = problem(300)
    teacher, student = mlp(0, x, y), mlp(1)
    before = [teacher.get_weights(), student.get_weights()]
    with pytest.raises(ValueError, match="are they swapped"):
        recovery.recover(teacher, (x, y), teacher=student)
    recovery.recover(student, (x, y), teacher=teacher, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(before[0], teacher.get_weights(), strict=True))
    assert not np.array_equal(before[1][0], student.get_weights()[0])


def test_probabilities_in_the_place_of_logits_are_refused_on_both_sides():
    x, y = problem(60)
    teacher, student = mlp(0), mlp(1)
    for role in ("teacher", "model"):
        given = {"teacher": teacher, "model": student}
        given[role] = tf_keras.Sequential([given[role], tf_keras.layers.Softmax()])
        with pytest.raises(ValueError, match=f"the {role} .* gives probabilities"):
            recovery.recover(given["model"], (x, y), teacher=given["teacher"])


def test_a_teacher_that_would_be_trained_and_data_that_do_not_fit():
    x, y = problem(60)
    model = mlp(0)
    with pytest.raises(ValueError, match="shares weights"):
        recovery.recover(model, (x, y), teacher=model)
    with pytest.raises(TypeError, match=r"the teacher is a .*pass a tf_keras model"):
        recovery.recover(model, (x, y), teacher="lenet5")
    for pair, text in (((x[:, :4], y), "shape"), ((x, y + 9), "labels reach"), ((x, y[:5]), "5 labels")):
        for teacher in (None, mlp(1)):
            with pytest.raises(ValueError, match=text):
                recovery.recover(model, pair, teacher=teacher)
    with pytest.raises(ValueError, match="pair"):
        recovery.recover(model, x)


def test_only_kernels_zeros_are_kept_and_statistics_inside_models_are_frozen():
    K = tf_keras.layers
    inner = tf_keras.Sequential([K.Input((8, 6)), K.BatchNormalization(name="norm")])
    layers = [K.Input((8, 8, 3)), K.Reshape((8, 24)), K.Dense(6), inner, K.PReLU(), K.GRU(4, name="gru"), K.Dense(3)]
    model = tf_keras.Sequential(layers)
    cell = model.get_layer("gru").cell
    cell.kernel.assign(cell.kernel * (np.random.default_rng(0).random(cell.kernel.shape) < 0.5))
    zeros, mean = cell.kernel.numpy() == 0, inner.layers[0].moving_mean.numpy()
    recovery.recover(model, problem(100), keep_zeros=True, freeze_statistics=True, seed=1)
    assert not cell.kernel.numpy()[zeros].any() and cell.kernel.numpy()[~zeros].any()
    assert cell.bias.numpy().any() and model.layers[3].get_weights()[0].any()  # they start as zeros and move
    assert np.array_equal(inner.layers[0].moving_mean.numpy(), mean) and inner.layers[0].trainable
