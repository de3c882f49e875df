"""Whole channels are removed: the smaller dense model computes what the larger one does without them."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from utils import models
from utils.measure import macs
from utils.optimize.keras_graph import example_input
from utils.optimize.pruning import structured

L = tf_keras.layers


def sequential():
    layers = [L.Conv2D(8, 3, activation="relu"), L.MaxPooling2D(2), L.Conv2D(6, 3), L.PReLU(shared_axes=(1, 2))]
    return tf_keras.Sequential([tf_keras.Input((12, 12, 2)), *layers, L.Flatten(), L.Dense(10, "tanh"), L.Dense(3)])


def branched():
    picture = tf_keras.Input((10, 10, 3))
    x = L.Conv2D(8, 3, padding="same", name="stem")(picture)
    y = L.Conv2D(8, 3, padding="same", use_bias=False, name="branch")(x)
    y = L.BatchNormalization()(y)
    x = L.Add()([x, L.ReLU()(y)])
    z = L.Conv2D(4, 1, name="one")(x)
    x = L.Concatenate()([L.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x), z])
    x = L.GlobalAveragePooling2D()(x)
    return tf_keras.Model(picture, [L.Dense(3, name="a")(x), L.Dense(2, name="b", activation="softmax")(x)])


def separable():
    picture = tf_keras.Input((9, 9, 2))
    x = L.SeparableConv2D(6, 3, depth_multiplier=2, activation="relu")(picture)
    x = L.SeparableConv2D(4, 3, depth_multiplier=2)(x)
    x = L.Conv2DTranspose(5, 3, strides=2)(x)
    return tf_keras.Model(picture, L.Dense(2)(L.Flatten()(L.Conv2D(4, 3)(x))))


def one_dimension():
    layers = [L.Conv1D(6, 3), L.BatchNormalization(), L.LeakyReLU(), L.Conv1D(4, 3), L.GlobalMaxPooling1D()]
    return tf_keras.Sequential([tf_keras.Input((20, 3)), *layers, L.Dense(5), L.BatchNormalization(), L.Dense(2)])


def three_dimensions():
    return tf_keras.Sequential(
        [tf_keras.Input((6, 6, 6, 1)), L.Conv3D(4, 3), L.AveragePooling3D(2), L.Flatten(), L.Dense(4), L.Dense(2)]
    )


def shared():
    left, right = tf_keras.Input((6,)), tf_keras.Input((6,))
    both = L.Dense(8, "relu", name="shared")
    last = L.Dense(4, name="after")
    return tf_keras.Model([left, right], L.Dense(2)(L.Concatenate()([last(both(left)), last(both(right))])))


def nested():
    inner = tf_keras.Sequential([tf_keras.Input((8,)), L.Dense(6, "relu", name="in")], name="inner")
    return tf_keras.Sequential([tf_keras.Input((5,)), L.Dense(8, name="first"), inner, L.Dense(2, name="last")])


def reads_all():
    picture = tf_keras.Input((8,))
    x = L.LayerNormalization()(L.Dense(6, name="normed")(picture))
    return tf_keras.Model(picture, L.Dense(2)(L.Dense(4, name="free")(x)))


KINDS = [sequential, branched, separable, one_dimension, three_dimensions, shared, nested, reads_all]


def randomized(make):
    """All weights random, so that no bias or moving mean is 0 by chance."""
    tf_keras.utils.set_random_seed(1)
    model, rng = make(), np.random.default_rng(2)
    model.set_weights([np.abs(rng.normal(0.5, 0.3, w.shape)) + 0.05 for w in model.get_weights()])
    return model


@pytest.mark.parametrize("make", KINDS)
def test_the_smaller_model_has_fewer_weights_and_the_original_stays(make):
    model = randomized(make)
    before = model.get_weights()
    smaller = structured.remove_channels(model, 0.5)
    assert smaller.count_params() < model.count_params()
    assert macs.count(smaller) < macs.count(model)
    assert [tuple(t.shape) for t in smaller.outputs] == [tuple(t.shape) for t in model.outputs]
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("name", ["mlp", "lenet5", "depthwise_cnn", "residual_cnn", "transformer"])
def test_the_networks_of_the_course_lose_channels(name):
    model = models.ARCHITECTURES[name](seed=1)
    smaller = structured.remove_channels(model, 0.5)
    assert smaller.count_params() < model.count_params()
    again = tf_keras.models.clone_model(smaller)  # its configuration is that of the smaller one
    assert again.count_params() == smaller.count_params()


@pytest.mark.parametrize("make", KINDS)
def test_channels_that_are_read_by_nobody_can_go_without_a_trace(make):
    """The weakest half gets zero outgoing weights beforehand: then nothing may change at all."""
    model = randomized(make)
    channels = structured._Channels(structured.opened(model))
    gone = set()
    for group in channels.groups():
        if group.removable:
            gone |= set(group._roots[: group.channels // 2])
    silent = channels.unread(gone)
    x = example_input(silent, 5, seed=7)
    wanted = tf.nest.flatten(silent(structured._given(silent, x)))
    got = tf.nest.flatten(channels.without(gone)(structured._given(silent, x)))
    for one, other in zip(wanted, got, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_branches_that_are_added_lose_the_same_channels():
    found = {group.layers: group for group in structured.groups(randomized(branched))}
    assert found[("stem", "branch")].removable and found[("stem", "branch")].channels == 8
    assert found[("one",)].removable
    assert not found[("a",)].removable and not found[("b",)].removable
    smaller = structured.remove_channels(randomized(branched), {"branch": 0.25})
    assert smaller.get_layer("stem").filters == smaller.get_layer("branch").filters == 6
    assert smaller.get_layer("one").filters == 4


def test_what_reads_all_channels_keeps_them():
    found = {group.layers: group.removable for group in structured.groups(randomized(reads_all))}
    assert found[("normed",)] is False and found[("free",)] is True


def test_the_weakest_filters_go():
    layers = [L.Conv2D(4, 1, use_bias=False, name="conv"), L.Flatten(), L.Dense(2)]
    model = tf_keras.Sequential([tf_keras.Input((2, 2, 1)), *layers])
    model.get_layer("conv").set_weights([np.array([3.0, -0.1, -4.0, 0.2]).reshape(1, 1, 1, 4)])
    kept = structured.remove_channels(model, 0.5).get_layer("conv").get_weights()[0]
    np.testing.assert_array_equal(kept.ravel(), np.float32([3, -4]))
    by_value = structured.remove_channels(model, {"conv": 0.5}, score=lambda values: float(values.sum()))
    np.testing.assert_array_equal(by_value.get_layer("conv").get_weights()[0].ravel(), np.float32([3, 0.2]))
    given = structured.remove_channels(model, {"conv": 0.75}, score={"conv": [0, 9, 0, 0]})
    np.testing.assert_array_equal(given.get_layer("conv").get_weights()[0].ravel(), np.float32([-0.1]))


def test_a_layer_of_large_weights_has_no_more_say_than_those_it_is_added_to():
    start = tf_keras.Input((1,))
    sides = [L.Dense(4, use_bias=False, name=name)(start) for name in ("small", "large")]
    model = tf_keras.Model(start, L.Dense(2)(L.Add()(sides)))
    model.get_layer("small").set_weights([np.array([[1.0, 5, 5, 5]])])
    model.get_layer("large").set_weights([np.array([[110.0, 100, 110, 110]])])  # alone, its second channel would go
    smaller = structured.remove_channels(model, 0.25)
    np.testing.assert_array_equal(smaller.get_layer("small").kernel, [[5, 5, 5]])
    np.testing.assert_array_equal(smaller.get_layer("large").kernel, [[100, 110, 110]])


@pytest.mark.parametrize(
    "score, words",
    [
        ({"typo": [1, 2]}, "no channels of 'typo' are removed"),
        ({"last": [1, 2]}, "no channels of 'last' are removed"),
        ({"first": [1.0] * 8}, "no scores for in"),  # its first channels would go, whatever they are
        ({"first": [np.nan] * 8, "in": [1.0] * 6}, "finite"),
        ({"first": list("abcdefgh"), "in": [1.0] * 6}, "have shape"),
        (lambda values: float("nan"), "return a finite number"),
        (lambda values: None, "return one number"),
        (lambda values: np.abs(values), "return one number"),
        ("l1", "pass function"),
        (5, "pass function"),
    ],
)
def test_scores_that_say_nothing_are_refused(score, words):
    with pytest.raises(ValueError, match=words):
        structured.remove_channels(randomized(nested), 0.5, score=score)


def test_one_channel_whose_score_is_not_finite_is_enough_to_refuse():
    scores = iter([1.0, float("nan")])
    with pytest.raises(ValueError, match="return a finite number"):
        structured.remove_channels(randomized(nested), 0.5, score=lambda values: next(scores, 1.0))
    with pytest.raises(ValueError, match="finite"):
        structured.remove_channels(randomized(nested), {"in": 0.5}, score={"in": [1.0] * 5 + [np.inf]})


PER_CHANNEL = {
    (6,): [L.BatchNormalization, L.ReLU, L.LeakyReLU, L.ELU, L.PReLU, L.ThresholdedReLU,
           lambda: L.Dropout(0.1), lambda: L.GaussianNoise(0.1),
           lambda: L.Activation("tanh"), lambda: L.GaussianDropout(0.1), lambda: L.Rescaling(0.5)],
    (8, 6): [L.MaxPooling1D, L.AveragePooling1D, L.GlobalAveragePooling1D, L.GlobalMaxPooling1D, L.ZeroPadding1D,
             L.Cropping1D, L.UpSampling1D, lambda: L.SpatialDropout1D(0.1), lambda: L.DepthwiseConv1D(3)],
    (8, 8, 6): [L.MaxPooling2D, L.AveragePooling2D, L.GlobalAveragePooling2D, L.GlobalMaxPooling2D, L.ZeroPadding2D,
                L.Cropping2D, L.UpSampling2D, lambda: L.SpatialDropout2D(0.1), lambda: L.DepthwiseConv2D(3)],
    (4, 4, 4, 6): [L.MaxPooling3D, L.AveragePooling3D, L.GlobalAveragePooling3D, L.GlobalMaxPooling3D,
                   L.ZeroPadding3D, L.Cropping3D, L.UpSampling3D, lambda: L.SpatialDropout3D(0.1)],
}  # fmt: skip
NEEDS_ALL = {
    (6,): [L.LayerNormalization, L.Softmax, lambda: L.Activation("softmax"), lambda: L.Reshape((3, 2))],
    (8, 6): [lambda: L.LSTM(3), lambda: L.Permute((2, 1)), lambda: L.LocallyConnected1D(3, 2)],
    (8, 8, 6): [lambda: L.DepthwiseConv2D(3, activation="softmax"), lambda: L.BatchNormalization(axis=1),
                lambda: L.Conv2D(4, 1, groups=2), L.UnitNormalization],
}  # fmt: skip


def behind(shape, make, name="made"):
    """A layer that makes six channels, what `make` gives, and a dense layer that reads it."""
    maker = {1: L.Dense, 2: L.Conv1D, 3: L.Conv2D, 4: L.Conv3D}[len(shape)]
    first = maker(6, name=name) if len(shape) == 1 else maker(6, 1, name=name)
    layers = [first, make() if callable(make) else make]
    return tf_keras.Sequential([tf_keras.Input((*shape[:-1], 2)), *layers, L.Flatten(), L.Dense(2)])


@pytest.mark.parametrize("shape, make", [(shape, make) for shape, makes in PER_CHANNEL.items() for make in makes])
def test_what_works_on_each_channel_by_itself_lets_some_go(shape, make):
    tf_keras.utils.set_random_seed(0)
    model = behind(shape, make)
    assert {name: group.removable for group in structured.groups(model) for name in group.layers}["made"]
    smaller = structured.remove_channels(model, {"made": 0.5})
    assert smaller.get_layer("made").output_shape[-1] == 3


@pytest.mark.parametrize("shape, make", [(shape, make) for shape, makes in NEEDS_ALL.items() for make in makes])
def test_what_needs_all_channels_keeps_them(shape, make):
    model = behind(shape, make)
    assert not {name: group.removable for group in structured.groups(model) for name in group.layers}["made"]


@pytest.mark.parametrize(
    "merge", [L.Add, L.Subtract, L.Multiply, L.Average, L.Maximum, L.Minimum, L.Dot, L.Concatenate]
)
def test_what_is_merged_number_by_number_has_the_same_channels(merge):
    start = tf_keras.Input((5,))
    sides = [L.Dense(4, name=name)(start) for name in "ab"]
    merged = merge(axes=-1)(sides) if merge is L.Dot else merge()(sides)
    found = {group.layers: group.removable for group in structured.groups(tf_keras.Model(start, L.Dense(2)(merged)))}
    if merge in (L.Dot, L.Concatenate):
        assert found[("a",)] == found[("b",)] == (merge is L.Concatenate)
    else:
        assert found[("a", "b")]


def test_nothing_is_removed_from_layers_whose_channels_overlap_only_in_part():
    start = tf_keras.Input((6,))
    narrow = [L.Dense(4, name=name)(start) for name in "ab"]
    sums = L.Add()([L.Concatenate()(narrow), L.Dense(8, name="c")(start)])
    model = tf_keras.Model(start, L.Dense(2)(L.Dense(5, name="free")(sums)))
    model.get_layer("c").kernel.assign(model.get_layer("c").kernel * np.repeat([0.01, 1], 4))
    smaller = structured.remove_channels(model, 0.4)
    assert [smaller.get_layer(name).units for name in ("a", "b", "c", "free")] == [4, 4, 8, 3]
    with pytest.raises(ValueError, match="channels of c are all needed"):
        structured.remove_channels(model, {"c": 0.5})


ELEMENTWISE = {"linear", "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "swish", "silu", "mish", "sigmoid",
               "hard_sigmoid", "tanh", "softplus", "softsign", "exponential"}  # fmt: skip


@pytest.mark.parametrize("name", sorted(ELEMENTWISE | {"softmax", "log_softmax"}))
def test_channels_behind_an_activation_can_go_if_it_looks_at_one_number_at_a_time(name):
    function = getattr(tf_keras.activations, name, None) or getattr(tf.nn, name)
    model = tf_keras.Sequential([tf_keras.Input((5,)), L.Dense(4, function, name="made"), L.Dense(2)])
    found = {name: group.removable for group in structured.groups(model) for name in group.layers}
    assert found["made"] is (name in ELEMENTWISE)


@pytest.mark.parametrize(
    "make, shape",
    [
        (lambda: L.Conv1D(6, 2, name="made"), (5, 2)),
        (lambda: L.Conv2D(6, 2, name="made"), (5, 5, 2)),
        (lambda: L.Conv3D(6, 2, name="made"), (5, 5, 5, 2)),
        (lambda: L.Conv1DTranspose(6, 2, name="made"), (5, 2)),
        (lambda: L.Conv2DTranspose(6, 2, name="made"), (5, 5, 2)),
        (lambda: L.Conv3DTranspose(6, 2, name="made"), (3, 3, 3, 2)),
        (lambda: L.SeparableConv1D(6, 2, name="made"), (5, 2)),
        (lambda: L.SeparableConv2D(6, 2, name="made"), (5, 5, 2)),
        (lambda: L.Dense(6, name="made"), (5, 2)),
    ],
)
def test_each_layer_that_makes_channels_can_lose_some(make, shape):
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential([tf_keras.Input(shape), make(), L.Flatten(), L.Dense(2)])
    assert structured.remove_channels(model, 1 / 3).get_layer("made").output_shape[-1] == 4


def test_channels_that_come_first_are_no_channels_of_this_layer():
    model = tf_keras.Sequential([tf_keras.Input((2, 8, 8)), L.Conv2D(6, 1, data_format="channels_first", name="made"),
                                 L.Flatten(), L.Dense(2)])  # fmt: skip
    assert "made" not in {name for group in structured.groups(model) for name in group.layers}


def test_one_share_for_each_group():
    with pytest.raises(ValueError, match="stem, branch are the same ones"):
        structured.remove_channels(randomized(branched), {"stem": 0.25, "branch": 0.5})
    with pytest.raises(ValueError, match="share is empty"):
        structured.remove_channels(randomized(branched), {})
    with pytest.raises(ValueError, match="no dense or convolutional layer"):
        structured.remove_channels(tf_keras.Sequential([tf_keras.Input((3,)), L.ReLU()]), 0.5)


def test_an_output_that_is_not_finite_tells_nothing():
    start = tf_keras.Input((6,))
    end = L.Lambda(lambda values: values / 0)(L.Dense(4)(L.Dense(8)(start)))
    with pytest.raises(structured.StructuredError, match="not finite for random inputs"):
        structured.remove_channels(tf_keras.Model(start, end), 0.5)


def test_a_smaller_model_that_is_one_percent_off_is_not_handed_back(monkeypatch):
    fill = structured._Channels._fill

    def damaged(self, old, new, gone):
        fill(self, old, new, gone)
        new.set_weights([1.01 * values for values in new.get_weights()])

    monkeypatch.setattr(structured._Channels, "_fill", damaged)
    with pytest.raises(structured.StructuredError, match="away from the larger one's"):
        structured.remove_channels(randomized(nested), 0.5)


def stack(*layers, **start):
    tf_keras.utils.set_random_seed(0)
    return tf_keras.Sequential([tf_keras.Input(**start), *layers, L.Dense(8, "relu", name="made"), L.Dense(2)])


@pytest.mark.parametrize(
    "make",
    [
        lambda: stack(L.Embedding(9, 4), L.GlobalAveragePooling1D(), shape=(6,)),  # of float32, as Keras makes it
        lambda: stack(*(L.Conv2D(3, 3) for _ in range(5)), L.GlobalMaxPooling2D(), shape=(None, None, 1)),
        lambda: stack(L.LSTM(3, stateful=True), shape=(6, 2), batch_size=2),
        lambda: stack(L.Dense(8, "relu"), L.Dense(8, activation=L.PReLU()), shape=(6,)),
    ],
)
def test_what_the_smaller_model_is_compared_on_fits_every_model(make):
    smaller = structured.remove_channels(make(), {"made": 0.5})
    assert smaller.get_layer("made").units == 4


def test_a_layer_with_weights_inside_its_activation_keeps_its_channels():
    model = stack(L.Dense(8, "relu", name="before"), L.Dense(8, activation=L.PReLU(), name="inside"), shape=(6,))
    smaller = structured.remove_channels(model, 0.5)
    assert [layer.units for layer in smaller.layers] == [8, 8, 4, 2]


def test_a_model_inside_with_names_that_are_taken():
    inner = tf_keras.Sequential([tf_keras.Input((8,)), L.Dense(6, "relu", name="dense")], name="inner")
    layers = [L.Dense(8, name="dense"), inner, L.Dense(2, name="dense_1")]
    model = tf_keras.Sequential([tf_keras.Input((5,)), *layers])
    smaller = structured.remove_channels(model, 0.5)
    assert [layer.units for layer in smaller.layers if isinstance(layer, L.Dense)] == [4, 3, 2]
    assert {name for group in structured.groups(model) for name in group.layers} == {"dense", "inner/dense", "dense_1"}


@pytest.mark.parametrize("share, left", [(0.34, 5), (0.3, 6), (0.06, 8), (0.07, 7)])
def test_the_number_of_channels_that_go_is_the_nearest_whole_one(share, left):
    smaller = structured.remove_channels(randomized(nested), {"first": share})
    assert smaller.get_layer("first").units == left


def test_one_channel_stays():
    assert structured.remove_channels(randomized(sequential), 0.99).layers[0].filters == 1


@pytest.mark.parametrize("share", [1, -0.1, float("nan"), "half", True])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match="share of zeros"):
        structured.remove_channels(randomized(nested), share)


def test_what_cannot_be_done_is_said():
    with pytest.raises(ValueError, match="no layer 'nowhere' makes channels"):
        structured.remove_channels(randomized(sequential), {"nowhere": 0.5})
    with pytest.raises(ValueError, match="all needed"):
        structured.remove_channels(randomized(reads_all), {"normed": 0.5})
    with pytest.raises(ValueError, match=r"no channels can be removed: .* is needed whole"):
        structured.remove_channels(tf_keras.Sequential([tf_keras.Input((3,)), L.Dense(2)]), 0.5)
    with pytest.raises(TypeError, match="tf_keras model"):
        structured.remove_channels("lenet5", 0.5)
    model = randomized(sequential)
    with pytest.raises(ValueError, match="have shape"):
        structured.remove_channels(model, 0.5, score={model.layers[0].name: [1, 2]})
