"""Pruning while training: the schedule's target is reached, counted, and no wrapper is left."""

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot
import tf_keras

from utils.optimize.pruning import gradual

L = tf_keras.layers
RNG = np.random.default_rng(0)
X = RNG.normal(size=(130, 8, 8, 1)).astype("float32") * 0.2 + 0.5
Y = (X[:, :4].mean((1, 2, 3)) > X[:, 4:].mean((1, 2, 3))).astype("int64")
toolkit = tfmot.sparsity.keras


def sequential():
    return tf_keras.Sequential(
        [tf_keras.Input((8, 8, 1)), L.Conv2D(6, 3, name="conv"), L.BatchNormalization(), L.ReLU(), L.Flatten(),
         L.Dense(7, name="dense"), L.Dense(2, name="logits")]
    )  # fmt: skip


def branched():
    picture = tf_keras.Input((8, 8, 1))
    x = L.Conv2D(4, 3, padding="same", name="conv")(picture)
    x = L.Add()([x, L.SeparableConv2D(4, 3, padding="same")(x)])
    return tf_keras.Model(picture, L.Dense(2)(L.Flatten()(x)))


def nested():
    inner = tf_keras.Sequential([tf_keras.Input((64,)), L.Dense(9, name="inner_dense")], name="inner")
    return tf_keras.Sequential([tf_keras.Input((8, 8, 1)), L.Flatten(), inner, L.Dense(2, name="logits")])


@pytest.mark.parametrize("make", [sequential, branched, nested])
def test_the_target_is_reached_in_each_array_and_no_wrapper_is_left(make):
    model = make()
    before = model.get_weights()
    pruned = gradual.prune_while_training(model, (X, Y), 0.77, 2, batch_size=16)
    assert not any(
        isinstance(layer, toolkit.PrunableLayer) or "Prune" in type(layer).__name__ for layer in pruned.layers
    )
    assert not any("mask" in w.name or "threshold" in w.name or "pruning_step" in w.name for w in pruned.weights)
    assert len(pruned.weights) == len(model.weights)
    for i in gradual.keras_weights.kernels(pruned):
        if i.role != "kernel":
            continue
        values = i.variable.numpy()
        assert abs(np.count_nonzero(values == 0) - round(0.77 * values.size)) <= 1, i.name
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_only_the_named_layers_are_pruned_and_each_of_them():
    pruned = gradual.prune_while_training(sequential(), (X, Y), 0.5, only=["dense", "logits"], batch_size=65)
    zeros = {name: np.mean(pruned.get_layer(name).kernel.numpy() == 0) for name in ("conv", "dense", "logits")}
    assert zeros == {"conv": 0, "dense": 0.5, "logits": 0.5}


@pytest.mark.parametrize("steps", [1, 2, 3, 9, 100, 250, 1001])
@pytest.mark.parametrize("target", [0.5, 0.93])
def test_the_schedule_reaches_its_target_within_the_steps(steps, target):
    made = gradual.updates(gradual.schedule(target, steps), steps)
    assert list(made.values())[-1] == pytest.approx(target, abs=1e-6)
    assert list(made.values()) == sorted(made.values())
    assert min(made) == 1 and max(made) <= steps


def test_an_end_off_the_frequency_is_moved_which_the_toolkit_does_not():
    ours = gradual.updates(gradual.schedule(0.9, 300, begin=10, end=250, frequency=100), 300)
    theirs = gradual.updates(toolkit.PolynomialDecay(0.0, 0.9, 10, 250, frequency=100), 300)
    assert list(ours) == list(theirs) == [10, 110, 210]
    assert ours[210] == pytest.approx(0.9) and theirs[210] < 0.9


def test_the_default_schedule_of_the_toolkit_does_nothing_before_step_100():
    assert min(gradual.updates(toolkit.ConstantSparsity(0.5, 0), 300)) == 100
    with pytest.raises(ValueError, match="nothing would be pruned"):
        gradual.prune_while_training(sequential(), (X, Y), toolkit.ConstantSparsity(0.5, 0), batch_size=16)


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"target": 1.0}, "target is 1.0"),
        ({"initial": -0.1}, "initial is -0.1"),
        ({"initial": 0.9}, "zeros would come back"),
        ({"begin": 9, "end": 3}, "begins in step 9 and ends in step 3"),
        ({"end": 30}, "ends in step 30 of 20"),
        ({"begin": 0}, "begin is 0"),
        ({"frequency": 50}, "frequency is 50"),
        ({"power": 0}, "power is 0"),
        ({"power": True}, "power is True"),
        ({"power": "3"}, "power is '3'"),
        ({"begin": True}, "begin is True"),
        ({"end": 2.5}, "end is 2.5"),
        ({"end": 0}, "end is 0"),
        ({"frequency": 0}, "frequency is 0"),
        ({"begin": 5, "end": 10, "frequency": 6}, "frequency is 6, but there are 5 steps"),
        ({"begin": 21, "end": 21}, "ends in step 21 of 20"),
        ({"steps": 0}, "steps is 0"),
        ({"initial": 1.0}, "initial is 1.0"),
    ],
)
def test_schedules_that_make_no_sense_are_refused(settings, sentence):
    arguments = {"target": 0.5, "steps": 20} | settings
    with pytest.raises(ValueError, match=sentence):
        gradual.schedule(arguments.pop("target"), arguments.pop("steps"), **arguments)


@pytest.mark.parametrize("begin, end, initial, power", [(1, 9, 0.0, 3), (3, 11, 0.2, 1), (2, 6, 0.5, 2)])
def test_the_share_is_that_of_the_formula(begin, end, initial, power):
    plan = gradual.schedule(0.8, 12, initial=initial, begin=begin, end=end, frequency=2, power=power)
    wanted = {t: 0.8 + (initial - 0.8) * (1 - (t - begin) / (end - begin)) ** power for t in range(begin, end + 1, 2)}
    made = gradual.updates(plan, 12)
    assert list(made) == list(wanted)
    np.testing.assert_allclose(list(made.values()), list(wanted.values()), atol=1e-5)


def test_without_wishes_twenty_masks_grow_over_three_quarters_of_the_steps():
    config = gradual.schedule(0.5, 1000).get_config()["config"]
    assert (config["begin_step"], config["frequency"], config["power"]) == (1, 37, 3)
    assert config["end_step"] == 1 + 20 * 37  # 750 moved onto a step in which masks are renewed
    assert config["initial_sparsity"] == 0
    assert list(gradual.updates(gradual.schedule(0.5, 9, begin=9), 9)) == [9]
    assert list(gradual.updates(gradual.schedule(0.5, 9, begin=2, end=6, frequency=4), 9)) == [2, 6]
    assert gradual.updates(gradual.schedule(0.5, 9, initial=0.5), 9).keys() == set(range(1, 8))


def test_a_schedule_that_ends_after_the_training_is_refused():
    """130 examples in batches of 65 are two steps."""
    with pytest.raises(ValueError, match=r"comes to 0\.3% zeros of its 90\.0% in the steps 1 to 2"):
        plan = toolkit.PolynomialDecay(0.0, 0.9, 1, 1001, frequency=1)
        gradual.prune_while_training(sequential(), (X, Y), plan, batch_size=65)
    plan = toolkit.PolynomialDecay(0.0, 0.9, 1, 2, frequency=1)
    gradual.prune_while_training(sequential(), (X, Y), plan, batch_size=65)


def test_an_embedding_may_have_the_float_input_that_keras_gives_it():
    words = RNG.integers(0, 5, (130, 6)).astype("float32")
    model = tf_keras.Sequential([tf_keras.Input((6,)), L.Embedding(5, 4, name="words"), L.Flatten(), L.Dense(2)])
    pruned = gradual.prune_while_training(model, (words, Y), 0.5, batch_size=65)
    assert np.mean(pruned.get_layer("words").embeddings.numpy() == 0) == 0.5


def damaged(monkeypatch, change):
    """The Toolkit's stripping as it would be if it changed the kernel of the layer `dense` as well."""
    strip = toolkit.strip_pruning

    def stripped(model):
        made = strip(model)
        kernel = made.get_layer("dense").kernel
        kernel.assign(change(kernel.numpy()))
        return made

    monkeypatch.setattr(gradual.tfmot.sparsity.keras, "strip_pruning", stripped)


@pytest.mark.parametrize(
    "change, sentence",
    [(lambda values: np.where(values == 0, 1, values), "'dense/kernel' has 0 zeros of 1,512, not the 756"),
     (lambda values: 2 * values, "gives other outputs than with them")],
)  # fmt: skip
def test_a_model_that_is_not_what_was_asked_for_is_not_handed_back(monkeypatch, change, sentence):
    damaged(monkeypatch, change)
    with pytest.raises(gradual.PruningFailed, match=sentence):
        gradual.prune_while_training(sequential(), (X, Y), 0.5, batch_size=65)


def test_outputs_are_compared_on_the_data_and_not_on_zeros(monkeypatch):
    damaged(monkeypatch, lambda values: 2 * values)
    model = tf_keras.Sequential([tf_keras.Input((8, 8, 1)), L.Flatten(), L.Dense(2, use_bias=False, name="dense")])
    with pytest.raises(gradual.PruningFailed, match="gives other outputs than with them"):
        gradual.prune_while_training(model, (X, Y), 0.5, batch_size=65)


def test_training_is_handed_its_settings(monkeypatch):
    seen = {}
    monkeypatch.setattr(gradual.training, "fit", lambda *arguments, **settings: seen.update(settings, a=arguments))
    own = tf_keras.callbacks.Callback()
    settings = {"batch_size": 65, "learning_rate": 0.5, "decay": False, "seed": 9}
    with pytest.raises(gradual.PruningFailed, match="zeros"):  # nothing was trained, so there is no mask
        gradual.prune_while_training(sequential(), (X, Y), 0.5, 3, callbacks=[own], **settings)
    assert seen["a"][2] == 3 and settings.items() <= seen.items()
    assert isinstance(seen["callbacks"][0], toolkit.UpdatePruningStep) and seen["callbacks"][1] is own


def test_one_zero_may_be_missing_and_not_two():
    model = sequential()  # dense has 36 · 6 · 7 = 1,512 weights, half of which are to be 0
    kernel = model.get_layer("dense").kernel
    for missing in (0, 1, 2):
        values = np.ones(1512, np.float32)
        values[: 756 - missing] = 0
        kernel.assign(values.reshape(kernel.shape))
        if missing < 2:
            gradual._check_zeros(model, {"dense"}, 0.5)
            continue
        with pytest.raises(gradual.PruningFailed, match=r"dense/kernel.* has 754 zeros of 1,512, not the 756"):
            gradual._check_zeros(model, {"dense"}, 0.5)


def test_what_cannot_be_pruned_is_said():
    with pytest.raises(ValueError, match="list of layer names"):
        gradual.prune_while_training(sequential(), (X, Y), 0.5, only="dense")
    model = sequential()
    with pytest.raises(ValueError, match="have no prunable weights"):
        gradual.prune_while_training(model, (X, Y), 0.5, only=[model.layers[1].name])
    strange = tf_keras.Sequential(
        [tf_keras.Input((8, 8, 1)), L.Reshape((8, 8)), L.Conv1DTranspose(3, 2, name="up"), L.Flatten(), L.Dense(2)]
    )
    with pytest.raises(ValueError, match=r"no rule for layer 'up' \(Conv1DTranspose\).*only="):
        gradual.prune_while_training(strange, (X, Y), 0.5)
    with pytest.raises(ValueError, match="NaN or infinite"):
        model = sequential()
        model.set_weights([w * np.nan for w in model.get_weights()])
        gradual.prune_while_training(model, (X, Y), 0.5)
