"""benchmarks/transfer_learning.py: equal budgets, pictures that repeat, and a mode that leaves the model alone."""

import numpy as np
import pytest
import tf_keras

from benchmarks import transfer_learning as bench
from utils.optimize import transfer


@pytest.mark.parametrize("examples", [100, 200, 500, 2000])
def test_the_number_of_steps_is_about_the_same_for_each_number_of_labels(examples):
    steps = bench.epochs(examples) * -(-examples // bench.BATCH)
    assert abs(steps - bench.STEPS) <= -(-examples // bench.BATCH) / 2


def test_crops_repeat_and_differ():
    one, same, other = bench.crops(2, 16), bench.crops(2, 16), bench.crops(2, 16, seed=1)
    assert one.shape == (10, 16, 16, 3) and one.dtype == np.uint8
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    assert len({crop.tobytes() for crop in one}) == 10


def joined():
    """A small backbone with batch normalization, and a head."""
    tf_keras.utils.set_random_seed(0)
    layers = [tf_keras.layers.Conv2D(4, 3, name="first_conv"), tf_keras.layers.BatchNormalization(name="first_bn")]
    layers += [
        tf_keras.layers.Conv2D(4, 3, name="second_conv"),
        tf_keras.layers.GlobalAveragePooling2D(name="features"),
    ]
    return tf_keras.Sequential([tf_keras.Input((8, 8, 1)), *layers, tf_keras.layers.Dense(2, name="logits")])


def problem():
    x = np.random.default_rng(0).normal(1, 1, (70, 8, 8, 1)).astype(np.float32)
    return x, (x.mean((1, 2, 3)) > 1).astype(np.int32)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_trainer_does_what_fine_tuning_does_again_and_again(frozen):
    x, y = problem()
    wanted, trainer = joined(), bench.Trainer(joined(), frozen)
    settings = {"learning_rate": 1e-2, "freeze_statistics": frozen, "batch_size": bench.BATCH}
    transfer.fine_tune(wanted, (x, y), bench.epochs(70, 9), seed=1, **settings)
    for _ in range(2):
        trainer.start(joined())
        trainer.fit(x, y, 9, 1e-2, 1)
        pairs = zip(wanted.layers, trainer.model.layers, strict=True)
        weights = [pair for a, b in pairs for pair in zip(a.get_weights(), b.get_weights(), strict=True)]
        assert all(np.allclose(a, b, atol=1e-4) for a, b in weights)


def test_front_and_last_blocks_are_the_whole_network():
    backbone = transfer.efficientnet_lite0(32)
    head = bench.any_head()
    x = np.random.default_rng(0).normal(0, 1, (2, 32, 32, 3)).astype(np.float32)
    last = bench.last_blocks(bench.front(backbone).output_shape[1:])
    bench.give(last, backbone, head)
    wanted = head(backbone(x, training=False), training=False)
    assert np.allclose(last(bench.front(backbone)(x), training=False), wanted, rtol=1e-3, atol=1e-4)


def test_training_mode_is_measured_without_a_trace():
    x, y = problem()
    trainer = bench.Trainer(joined(), False)
    before = trainer.model.get_weights()
    assert 0 <= trainer.accuracy_in_training_mode(x, y) <= 100
    assert all(np.array_equal(a, b) for a, b in zip(before, trainer.model.get_weights(), strict=True))


@pytest.mark.parametrize("frozen", [True, False])
def test_estimated_statistics_are_those_of_the_pictures_and_nothing_else_moves(frozen):
    x, _ = problem()
    model = bench.Trainer(joined(), frozen).model
    (norm,) = bench.normalizations(model)
    before = [weight.numpy() for weight in model.weights if "moving" not in weight.name]
    bench.estimated(model, x)
    seen = model.get_layer("first_conv")(x).numpy()
    assert np.allclose(norm.moving_mean, seen.mean((0, 1, 2)), atol=1e-4)
    assert np.allclose(norm.moving_variance, seen.var((0, 1, 2)), rtol=1e-2)
    after = [weight.numpy() for weight in model.weights if "moving" not in weight.name]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert (norm.momentum, norm.trainable) == (0.99, not frozen)


def test_without_transfer_all_layers_learn_from_weights_that_differ_in_each_draw():
    material = bench.Material(tested=2, size=32, steps=1, weights=None)
    without = bench.Without(material, 2)
    assert {norm.momentum for norm in bench.normalizations(without.trainer.model)} == {0.9}
    assert all(layer.trainable for layer in without.trainer.model.layers)
    kernels = [without.random(seed).get_layer("stem_conv").get_weights()[0] for seed in (0, 0, 1)]
    assert np.array_equal(kernels[0], kernels[1]) and not np.array_equal(kernels[0], kernels[2])
    assert np.array_equal(without.labelled(1)[1], material.labelled(2, 1)[1])


def test_what_was_measured_is_not_measured_again(tmp_path):
    for value in (1, 2):
        assert bench.Kept(tmp_path / "values.json")("key", lambda value=value: value) == 1


def test_a_part_that_is_not_there_is_named(capsys):
    with pytest.raises(SystemExit):
        bench.main(["label"])
    assert "there is no part label" in capsys.readouterr().err
