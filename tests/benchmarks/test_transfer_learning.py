"""benchmarks/transfer_learning.py: equal budgets, pictures that repeat, and a mode that leaves the model alone."""

import numpy as np
import pytest
import tf_keras

from benchmarks import transfer_learning as bench


@pytest.mark.parametrize("examples", [100, 200, 500, 2000])
def test_the_number_of_steps_is_about_the_same_for_each_number_of_labels(examples):
    steps = bench.epochs(examples) * -(-examples // bench.BATCH)
    assert abs(steps - bench.STEPS) <= -(-examples // bench.BATCH) / 2


def test_crops_repeat_and_differ():
    one, same, other = bench.crops(2, 16), bench.crops(2, 16), bench.crops(2, 16, seed=1)
    assert one.shape == (10, 16, 16, 3) and one.dtype == np.uint8
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    assert len({crop.tobytes() for crop in one}) == 10


def test_training_mode_is_measured_on_a_copy():
    layers = [tf_keras.layers.BatchNormalization(), tf_keras.layers.Dense(2)]
    model = tf_keras.Sequential([tf_keras.Input((3,)), *layers])
    before = model.get_weights()
    x = np.random.default_rng(0).normal(5, 1, (10, 3)).astype(np.float32)
    share = bench.accuracy_in_training_mode(model, x, np.zeros(10, int), 4)
    assert 0 <= share <= 1
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_a_part_that_is_not_there_is_named(capsys):
    with pytest.raises(SystemExit):
        bench.main(["label"])
    assert "there is no part label" in capsys.readouterr().err
