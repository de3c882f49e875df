"""Fine-tuning keeps what it should keep and wins back accuracy, on a problem small enough for a test."""

import numpy as np
import pytest
import tf_keras

from tests.aware import problem
from utils import models
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


@pytest.mark.parametrize("keep", [True, False])
def test_zeros_are_kept_when_asked(keep):
    model = models.mlp((8, 8, 3), 4, seed=0, hidden=(6,))
    kernel = model.get_layer("dense_1").kernel
    kernel.assign(kernel * (np.random.default_rng(0).random(kernel.shape) < 0.3))
    zeros = kernel.numpy() == 0
    recovery.recover(model, problem(200), keep_zeros=keep, seed=1)
    assert (np.count_nonzero(kernel.numpy()[zeros]) == 0) == keep and np.count_nonzero(kernel.numpy()[~zeros])


def test_a_teacher_must_fit(small):
    with pytest.raises(ValueError, match="same outputs"):
        recovery.recover(qa.quantize_aware(small), problem(50), teacher=models.mlp((8, 8, 3), 3, seed=0))
    for option in ({"temperature": 0}, {"soft_share": 1.5}):
        with pytest.raises(ValueError, match=next(iter(option))):
            recovery.recover(qa.quantize_aware(small), problem(50), teacher=small, **option)
