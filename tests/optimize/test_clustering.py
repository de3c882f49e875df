"""Weight sharing: k-means on numbers, on models, and the Toolkit's clustering while training."""

import functools

import numpy as np
import pytest
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from utils.optimize import clustering, keras_weights
from utils.optimize.quantization.converter import convert

FLOATS = st.floats(-4, 4, width=32, allow_subnormal=False)
K = tf_keras.layers


def nearest_by_hand(values, centroids):
    """All distances at once; ties to the smaller centroid, as argmin takes the first."""
    return np.abs(values.astype(float)[..., None] - centroids.astype(float)).argmin(-1)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, st.integers(1, 40), elements=FLOATS), st.integers(2, 8))
def test_each_value_has_its_nearest_centroid_and_there_are_no_more_than_asked_for(values, clusters):
    book = clustering.kmeans(values, clusters)
    assert len(book.centroids) <= clusters
    assert np.all(np.diff(book.centroids) > 0)
    distances = np.abs(values.astype(float)[:, None] - book.centroids.astype(float))
    np.testing.assert_allclose(np.abs(values - book.values), distances.min(1), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, st.integers(9, 40), elements=FLOATS, unique=True), st.integers(2, 4))
def test_centroids_are_means_of_their_values(values, clusters):
    book = clustering.kmeans(values, clusters)
    for number, centroid in enumerate(book.centroids):
        own = values[book.indices == number]
        if own.size:
            np.testing.assert_allclose(own.mean(dtype=np.float64), centroid, atol=1e-5)


def test_the_result_is_that_of_lloyds_algorithm_written_out():
    values = np.random.default_rng(0).normal(size=300)
    centroids = np.linspace(values.min(), values.max(), 5)
    for _ in range(200):
        own = nearest_by_hand(values, centroids)
        centroids = np.array([values[own == i].mean() for i in range(5)])
    np.testing.assert_allclose(clustering.kmeans(values, 5, start="linear").centroids, centroids)


def test_small_values_beside_a_large_one_have_their_own_mean():
    """Differences of running sums would lose them."""
    values = np.array([-1e17, 1.0, 1.0, 1.0, 3.0])
    np.testing.assert_array_equal(clustering.kmeans(values, 2).centroids, [-1e17, 1.5])


def test_no_mean_of_opposite_numbers_becomes_a_zero_that_was_not_there():
    values = np.array([-1.0, 1.0, -1.0, 1.0, 40.0, 41.0])
    assert 0 in clustering.kmeans(values, 2).values
    kept = clustering.kmeans(values, 2, keep_zeros=True).values
    np.testing.assert_allclose(kept, [0, 0, 0, 0, 40.5, 40.5], atol=1e-30)
    assert 0 not in kept


def test_own_centroids_are_a_start_and_no_round_keeps_them():
    start = np.array([1.0, -1.0, 0.0])
    book = clustering.kmeans(np.linspace(-2, 2, 9), 3, start=start, rounds=0)
    np.testing.assert_array_equal(book.centroids, np.sort(start))


def test_few_distinct_values_are_kept_as_they_are():
    values = np.array([[0.25, -1.5], [0.25, 3.0]], np.float32)
    book = clustering.kmeans(values, 3)
    np.testing.assert_array_equal(book.values, values)
    np.testing.assert_array_equal(book.centroids, [-1.5, 0.25, 3.0])


def test_half_way_goes_to_the_smaller_centroid():
    np.testing.assert_array_equal(
        clustering.nearest(np.array([-1.0, 0.5, 1.0, 9.0]), np.array([0.0, 1.0])), [0, 0, 1, 1]
    )


@settings(max_examples=40, deadline=None)
@given(arrays(np.float32, 40, elements=FLOATS), st.integers(3, 6))
def test_zeros_stay_and_no_new_ones_come(values, clusters):
    book = clustering.kmeans(values, clusters, keep_zeros=True)
    np.testing.assert_array_equal(book.values == 0, values == 0)
    assert len(book.centroids) <= clusters


def test_a_code_book_counts_its_bits():
    indices = np.array([0, 0, 0, 0, 1, 1, 2, 3])
    book = clustering.CodeBook(np.float32([-1, 0, 1, 2]), indices)
    assert book.fixed_bits == 2
    assert book.entropy == pytest.approx(1.75)
    assert book.size == 2 + 16


@pytest.mark.parametrize("clusters", [1, 0, 2.5, True, "16"])
def test_a_number_of_clusters_must_be_one(clusters):
    with pytest.raises(ValueError, match="at least 2"):
        clustering.kmeans(np.ones(3, np.float32), clusters)


@pytest.mark.parametrize(
    ("values", "message"), [([], "empty"), ([1.0, np.nan], "NaN"), ([1, 2], "floats"), ([np.inf, 1.0], "infinity")]
)
def test_what_is_no_array_of_finite_floats_is_refused(values, message):
    values = np.array(values) if values else np.zeros(0)
    with pytest.raises(ValueError, match=message):
        clustering.kmeans(values, 2)


def test_unknown_starts_and_a_start_of_another_size_are_refused():
    values = np.linspace(0, 1, 9)
    with pytest.raises(ValueError, match="linear"):
        clustering.kmeans(values, 3, start="forgy")
    with pytest.raises(ValueError, match="2 centroids"):
        clustering.kmeans(values, 3, start=np.array([0.0, 1.0]))
    for rounds in (-1, 2.5, "5", True):
        with pytest.raises(ValueError, match="rounds is"):
            clustering.kmeans(values, 3, rounds=rounds)


def test_values_whose_sums_are_infinite_are_refused():
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="scale them"):
        clustering.kmeans(np.array([1e308, 1.2e308, 1.5e308, 1.7e308, -1e308, 0.0]), 2)


# ---------------------------------------------------------------- models


def convolutional(bias=True):
    inputs = tf_keras.Input((8, 8, 3))
    x = K.Conv2D(6, 3, use_bias=bias, name="conv")(inputs)
    x = K.BatchNormalization(name="norm")(x)
    x = K.ReLU(name="relu")(x)
    x = K.DepthwiseConv2D(3, name="depthwise")(x)
    x = K.Conv2D(4, 1, name="pointwise")(x)
    x = K.Flatten(name="flat")(x)
    return tf_keras.Model(inputs, K.Dense(3, name="logits")(x))


def recurrent():
    inputs = tf_keras.Input((12,), dtype="int32")
    x = K.Embedding(20, 6, name="embedding")(inputs)
    x = K.SimpleRNN(7, name="recurrent")(x)
    return tf_keras.Model(inputs, K.Dense(3, name="logits")(x))


def shared():
    layer = K.Dense(16, name="twice")
    inputs = tf_keras.Input((16,))
    return tf_keras.Model(inputs, K.Dense(3, name="logits")(layer(layer(inputs))))


def nested():
    inner = tf_keras.Sequential([tf_keras.Input((16,)), K.Dense(16, name="inside")], name="inner")
    inputs = tf_keras.Input((16,))
    return tf_keras.Model(inputs, K.Dense(3, name="logits")(inner(inputs)))


def transposed():
    inputs = tf_keras.Input((5, 5, 3))
    x = K.Conv2DTranspose(4, 3, name="up")(inputs)
    return tf_keras.Model(inputs, K.Dense(3, name="logits")(K.Flatten()(x)))


MODELS = [convolutional, recurrent, shared, nested, transposed]


@pytest.mark.parametrize("build", MODELS)
@pytest.mark.parametrize("per_channel", [False, True])
def test_a_model_has_few_values_and_the_original_stays(build, per_channel):
    model = build()
    before = model.get_weights()
    made = clustering.cluster_once(model, 4, per_channel=per_channel)
    counts = clustering.distinct(made.model, per_channel=per_channel)
    assert all(count <= 4 for name, count in counts.items() if name not in made.left_out)
    assert set(made.left_out) < set(counts)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert [w.name for w in keras_weights.weights(made.model)] == [w.name for w in keras_weights.weights(model)]


@pytest.mark.parametrize("start", ["quantiles", "linear"])
@pytest.mark.parametrize("keep_zeros", [False, True])
def test_each_kernel_has_the_values_of_its_own_k_means(start, keep_zeros):
    model = convolutional()
    made = clustering.cluster_once(model, 4, only=["conv"], start=start, keep_zeros=keep_zeros).model
    kernel, shared = (m.get_layer("conv").kernel.numpy() for m in (model, made))
    wanted = clustering.kmeans(kernel.ravel(), 4, start=start, keep_zeros=keep_zeros).values
    assert np.array_equal(shared.ravel(), wanted)


def test_biases_normalization_and_depthwise_kernels_stay():
    model = convolutional()
    made = clustering.cluster_once(model, 4).model
    for old, new in zip(keras_weights.weights(model), keras_weights.weights(made), strict=True):
        if old.role not in clustering.CLUSTERABLE:
            np.testing.assert_array_equal(old.variable, new.variable)


def test_each_channel_has_its_own_code_book():
    model = convolutional()
    made = clustering.cluster_once(model, 4, per_channel=True, only=["conv"]).model
    kernel, shared_kernel = (m.get_layer("conv").kernel.numpy() for m in (model, made))
    for channel in range(6):
        np.testing.assert_array_equal(shared_kernel[..., channel], clustering.kmeans(kernel[..., channel], 4).values)


def test_small_arrays_are_left_out_and_named():
    made = clustering.cluster_once(convolutional(), 24)
    assert list(made.left_out) == ["pointwise/kernel"]  # 6 · 4 weights
    assert "24 weights" in made.left_out["pointwise/kernel"]


@pytest.mark.parametrize("share", [clustering.cluster_once, "train"])
def test_nothing_to_cluster_is_said(share):
    model = tf_keras.Sequential([tf_keras.Input((2,)), K.Dense(2, name="small")])
    with pytest.raises(ValueError, match="fewer clusters"):
        run(share, model, 16)
    empty = tf_keras.Sequential([tf_keras.Input((2,)), K.ReLU()])
    with pytest.raises(ValueError, match="nothing to cluster"):
        run(share, empty, 16)


@pytest.mark.parametrize("share", [clustering.cluster_once, "train"])
def test_weights_that_are_not_finite_and_wrong_names_are_refused(share):
    model = convolutional()
    with pytest.raises(ValueError, match="pass a list"):
        run(share, model, 4, only="conv")
    with pytest.raises(ValueError, match="conv_7"):
        run(share, model, 4, only=["conv_7"])
    model.get_layer("conv").bias.assign(np.full(6, np.nan))
    with pytest.raises(ValueError, match=r"NaN|finite"):
        run(share, model, 4)


def run(share, model, clusters, **settings):
    if share != "train":
        return share(model, clusters, **settings)
    return clustering.cluster_while_training(model, examples(model), clusters, **settings)


def examples(model, count=96):
    rng = np.random.default_rng(0)
    shape = model.input_shape[1:]
    whole = "int" in model.inputs[0].dtype.name
    x = rng.integers(0, 20, (count, *shape)) if whole else rng.normal(size=(count, *shape))
    return x.astype("int32" if whole else "float32"), rng.integers(0, model.output_shape[-1], count)


# ---------------------------------------------------------------- the Toolkit


@pytest.mark.parametrize("build", MODELS)
def test_the_toolkit_clusters_every_kind_of_model(build):
    model = build()
    before = model.get_weights()
    made = clustering.cluster_while_training(model, examples(model), 8)
    counts = clustering.distinct(made.model)
    assert all(count <= 8 for name, count in counts.items() if name not in made.left_out)
    assert not any(type(layer).__name__.startswith("Cluster") for layer in made.model.layers)
    assert set(counts) == {name.removeprefix("inner/") for name in clustering.distinct(model)}
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@functools.cache
def small_trained(start="KMEANS_PLUS_PLUS", average=False, turn=0):
    """The weights of a small network after the Toolkit's training; turn: anything, to train once more."""
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential([tf_keras.Input((20,)), K.Dense(12, name="hidden"), K.Dense(3, name="logits")])
    made = clustering.cluster_while_training(model, examples(model), 8, start=start, average=average, seed=3)
    return [weight.numpy() for weight in made.model.weights]


@pytest.mark.parametrize("start", clustering.STARTS)
def test_each_start_keeps_the_limit(start):
    assert all(len(np.unique(weight)) <= 8 for weight in small_trained(start) if weight.ndim == 2)


@pytest.mark.parametrize("bias", [True, False])
def test_each_filter_has_its_own_values_with_and_without_bias(bias):
    """The Toolkit itself leaves a convolution without bias out."""
    model = convolutional(bias)
    made = clustering.cluster_while_training(model, examples(model), 4, per_channel=True, only=["conv"])
    kernel = made.model.get_layer("conv").kernel.numpy()
    assert all(len(np.unique(kernel[..., channel])) <= 4 for channel in range(6))
    assert len(np.unique(kernel)) > 4


def test_zeros_of_a_pruned_model_stay():
    model = convolutional()
    kernel = model.get_layer("conv").kernel
    zeros = np.random.default_rng(0).random(kernel.shape) < 0.5
    kernel.assign(np.where(zeros, 0, kernel))
    made = clustering.cluster_while_training(model, examples(model), 8, keep_zeros=True, only=["conv"])
    assert np.all(made.model.get_layer("conv").kernel.numpy()[zeros] == 0)
    with pytest.raises(ValueError, match="at least 3"):
        clustering.cluster_while_training(model, examples(model), 2, keep_zeros=True)


def test_zeros_are_found_where_they_were_although_opening_changes_the_order(monkeypatch):
    monkeypatch.setattr(clustering.training, "fit", lambda *arguments, **settings: None)
    inner = tf_keras.Sequential([tf_keras.Input((6,)), K.Dense(4, name="first"), K.Dense(5, name="second")])
    inputs = tf_keras.Input((6,))
    joined = K.Concatenate()([K.Dense(5, name="beside")(inputs), inner(inputs)])
    model = tf_keras.Model(inputs, K.Dense(3, name="logits")(joined))
    for kernel in (inner.layers[0].kernel, model.get_layer("beside").kernel):
        kernel.assign(np.where(np.arange(kernel.shape.num_elements()).reshape(kernel.shape) % 2, kernel, 0))
    made = clustering.cluster_while_training(model, examples(model, 8), 3, keep_zeros=True, only=["first", "beside"])
    for name, kernel in (("first", inner.layers[0].kernel), ("beside", model.get_layer("beside").kernel)):
        assert not made.model.get_layer(name).kernel.numpy()[kernel.numpy() == 0].any()


@pytest.mark.parametrize(
    "change, keep_zeros, sentence",
    [
        (lambda values: np.where(values == values.max(), np.nan, values), False, "not finite"),
        (lambda values: np.arange(values.size).reshape(values.shape), False, "has 162 distinct values, not 8"),
        (lambda values: values + 1, False, "gives other outputs than with them"),
        (lambda values: values * 1.01, False, "gives other outputs than with them"),
        (lambda values: values + 1, True, "zeros of 'conv/kernel' are gone"),
    ],
)
def test_a_model_that_is_not_what_was_asked_for_is_not_handed_back(monkeypatch, change, keep_zeros, sentence):
    strip = clustering.tfmot.clustering.keras.strip_clustering

    def damaged(wrapped):
        made = strip(wrapped)
        kernel = made.get_layer("conv").kernel
        kernel.assign(change(kernel.numpy()))
        return made

    monkeypatch.setattr(clustering.training, "fit", lambda *arguments, **settings: None)
    monkeypatch.setattr(clustering.tfmot.clustering.keras, "strip_clustering", damaged)
    model = convolutional()
    kernel = model.get_layer("conv").kernel
    kernel.assign(np.where(np.arange(162).reshape(kernel.shape) % 3, kernel, 0))
    with pytest.raises(clustering.ClusteringFailed, match=sentence):
        clustering.cluster_while_training(model, examples(model, 8), 8, keep_zeros=keep_zeros, only=["conv"])


def test_training_is_handed_its_settings(monkeypatch):
    seen = {}
    monkeypatch.setattr(clustering.training, "fit", lambda *arguments, **settings: seen.update(settings, a=arguments))
    model, own = convolutional(), {"batch_size": 5, "learning_rate": 0.5, "decay": False, "seed": 9}
    clustering.cluster_while_training(model, examples(model, 8), 8, 3, only=["conv"], **own)
    assert seen["a"][2] == 3 and own.items() <= seen.items()


@pytest.mark.parametrize("count, bits", [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (256, 8), (257, 9)])
def test_an_index_has_enough_bits_for_each_centroid(count, bits):
    book = clustering.CodeBook(np.arange(count, dtype=np.float32), np.zeros(9, int))
    assert book.fixed_bits == bits and book.size == -(-9 * bits // 8) + 4 * count


def test_as_many_distinct_values_as_clusters_stay_and_one_more_does_not():
    values = np.array([0.0, 1.0, 1.0, 5.0])
    np.testing.assert_array_equal(clustering.kmeans(values, 3).values, values)
    np.testing.assert_allclose(clustering.kmeans(values, 2).centroids, [2 / 3, 5])


def test_quantiles_have_as_many_values_between_two():
    start = clustering.kmeans(np.arange(100.0) ** 2, 4, rounds=0).centroids
    np.testing.assert_array_equal(start, np.array([12, 37, 62, 87]) ** 2)
    linear = clustering.kmeans(np.arange(100.0) ** 2, 4, start="linear", rounds=0).centroids
    np.testing.assert_allclose(linear, np.linspace(0, 99**2, 4))


def test_a_weight_of_as_many_numbers_as_clusters_is_left_out():
    model = tf_keras.Sequential([tf_keras.Input((4,)), K.Dense(4, name="a"), K.Dense(5, name="b")])
    made = clustering.cluster_once(model, 16)
    assert made.left_out == {"a/kernel": "16 weights are not more than 16 clusters"}
    assert set(clustering.cluster_once(model, 15).left_out) == set()
    channels = clustering.cluster_once(model, 3, per_channel=True)
    assert channels.left_out == {} and max(clustering.distinct(channels.model, per_channel=True).values()) == 3
    with pytest.raises(ValueError, match="fewer clusters"):
        clustering.cluster_once(model, 4, per_channel=True)


def test_the_mean_as_gradient_trains_other_centroids():
    assert not np.array_equal(small_trained()[0], small_trained(average=True)[0])


@pytest.mark.parametrize("start", ["RANDOM", "KMEANS_PLUS_PLUS"])
def test_the_same_seed_gives_the_same_weights(start):
    for first, second in zip(small_trained(start), small_trained(start, turn=1), strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_layer_in_a_wrapper_is_refused_by_the_toolkit_and_shared_without_it():
    inputs = tf_keras.Input((4, 30))
    x = K.TimeDistributed(K.Dense(8, name="inside"), name="timed")(inputs)
    model = tf_keras.Model(inputs, K.Dense(3, name="logits")(K.Flatten()(x)))
    with pytest.raises(ValueError, match=r"'timed'.*cluster_once"):
        clustering.cluster_while_training(model, examples(model), 8)
    made = clustering.cluster_once(model, 8)
    assert max(clustering.distinct(made.model).values()) <= 8


def test_an_unknown_start_is_refused():
    with pytest.raises(ValueError, match="DENSITY_BASED"):
        clustering.cluster_while_training(convolutional(), None, 8, start="density")


def test_a_layer_the_toolkit_does_not_know_is_named():
    class Own(K.Dense):
        pass

    model = tf_keras.Sequential([tf_keras.Input((30,)), Own(20, name="own"), K.Dense(3, name="logits")])
    with pytest.raises(ValueError, match=r"'own'.*only="):
        clustering.cluster_while_training(model, examples(model), 8)


def test_two_weights_of_one_name_are_both_counted():
    inner = tf_keras.Sequential([tf_keras.Input((4,)), K.Dense(3, name="dense")])
    model = tf_keras.Sequential([tf_keras.Input((5,)), K.Dense(4, name="dense"), inner])
    assert sorted(clustering.distinct(model).values()) == [12, 20]
    assert sorted(clustering.distinct(model)) == ["dense/kernel", "dense/kernel (2)"]


def test_the_file_of_a_clustered_model_has_as_few_values():
    model = tf_keras.Sequential([tf_keras.Input((30,)), K.Dense(20, "relu", name="a"), K.Dense(10, name="b")])
    made = clustering.cluster_once(model, 8).model
    content = convert(made, "float32").content
    assert sorted(clustering.distinct_in_file(content).values()) == [8, 8]
    with pytest.raises(TypeError, match=r"pass the bytes of a \.tflite file"):
        clustering.distinct_in_file(made)


def test_weights_that_are_stored_sparsely_are_counted_as_dense_ones_are():
    from utils.optimize.sparsity import patterns, samples

    model = tf_keras.Sequential([tf_keras.Input((32,)), K.Dense(24, "relu", name="a"), K.Dense(16, name="b")])
    pruned = patterns.prune(model, lambda values, axis: patterns.single(values, 0.8))
    shared = clustering.cluster_once(pruned, 8, keep_zeros=True).model
    dense, sparse = (samples.as_file(shared, sparse=sparse) for sparse in (False, True))
    assert sorted(clustering.distinct_in_file(sparse).values()) == [8, 8]
    assert sorted(clustering.distinct_in_file(sparse).values()) == sorted(clustering.distinct_in_file(dense).values())


def test_of_two_weights_of_one_name_both_are_left_out_under_their_own():
    K = tf_keras.layers
    inner = [tf_keras.Sequential([K.Input((3,)), K.Dense(size, name="dense")], name=f"m{size}") for size in (3, 4)]
    x = tf_keras.Input((3,))
    model = tf_keras.Model(x, K.Dense(40, name="last")(K.Concatenate()([part(x) for part in inner])))
    made = clustering.cluster_once(model, 16)
    assert made.left_out == {
        "dense/kernel": "9 weights are not more than 16 clusters",
        "dense/kernel (2)": "12 weights are not more than 16 clusters",
    }
    assert set(clustering.distinct(model)) == {*made.left_out, "last/kernel"}
