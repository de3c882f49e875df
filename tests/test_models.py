"""Architectures: as published, seeded, and made of what the Toolkit accepts."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils import models

EVERY = pytest.mark.parametrize("build", models.ARCHITECTURES.values(), ids=models.ARCHITECTURES.keys())


def macs(model) -> int:
    """Multiply-accumulates of convolutions and matrix products, from the shapes of kernels and outputs."""
    total = 0
    for layer in model.layers:
        kind = type(layer).__name__
        if kind in ("Conv2D", "DepthwiseConv2D"):
            kernel = layer.depthwise_kernel if kind == "DepthwiseConv2D" else layer.kernel
            total += int(np.prod(kernel.shape)) * int(np.prod(layer.output_shape[1:3]))
        elif kind in ("Dense", "EinsumDense"):
            total += int(np.prod(layer.kernel.shape)) * int(np.prod(layer.output_shape[1:-1]))
        elif kind == "MultiHeadAttention":  # query, key, value, output; then scores, and their use as weights
            tokens, width = layer.output_shape[1:]
            total += 4 * tokens * width**2 + 2 * tokens**2 * width
    return total


@EVERY
def test_the_docstring_gives_the_true_parameters_and_macs(build):
    model = build()
    parameters, multiply_accumulates = re.search(
        r"([\d,]+) parameters.*?([\d,]+) MACs", build.__doc__, re.DOTALL
    ).groups()
    assert model.count_params() == int(parameters.replace(",", ""))
    assert macs(model) == int(multiply_accumulates.replace(",", ""))
    moving = re.search(r"of which ([\d,]+) moving", build.__doc__)
    fixed = sum(int(np.prod(weight.shape)) for weight in model.non_trainable_weights)
    assert fixed == (int(moving[1].replace(",", "")) if moving else 0)


def test_query_key_and_value_start_differently():
    attention = models.transformer(seed=0).get_layer("block_1_attention")
    kernels = [weight.numpy() for weight in attention.weights if "kernel" in weight.name]
    assert [kernel.shape for kernel in kernels] == [(64, 4, 16)] * 3 + [(4, 16, 64)]
    assert not np.array_equal(kernels[0], kernels[1]) and not np.array_equal(kernels[1], kernels[2])


def test_a_transformer_cuts_whole_patches_and_knows_their_places():
    model = models.transformer(seed=0)
    x = np.random.default_rng(0).random((1, 28, 28, 1), np.float32)
    patches = type(model)(model.input, model.get_layer("patches").output)
    assert np.array_equal(patches(x)[0, 5], x[0, 7:14, 7:14, 0].ravel())  # second row, second column
    embedding = model.get_layer("embedding")
    embedding.bias.assign(np.random.default_rng(1).normal(size=embedding.bias.shape))
    swapped = np.concatenate([x[:, :, 7:14], x[:, :, :7], x[:, :, 14:]], axis=2)
    assert not np.allclose(model(x), model(swapped), atol=1e-3)


@pytest.mark.parametrize(("settings", "sentence"), [
    ({"patch": 0}, "patch is 0; pass a whole number of at least 1"),
    ({"heads": 5}, "width is 64, heads is 5; each head takes an equal part of the width"),
    ({"blocks": 1.5}, "blocks is 1.5; pass a whole number"),
    ({"patch": 30}, "this network needs pictures of at least 30x30"),
])  # fmt: skip
def test_a_transformer_refuses(settings, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        models.transformer(**settings)


def test_the_published_sizes():
    """Han, Mao, Dally, arXiv 1510.00149, tables 2 and 3: 266 K and 431 K parameters."""
    assert models.lenet_300_100().count_params() == 266_610
    assert models.lenet5().count_params() == 431_080


def test_lenet5_is_caffes():
    convolutions = [layer for layer in models.lenet5().layers if "conv" in layer.name]
    assert [(layer.filters, layer.kernel_size, layer.padding) for layer in convolutions] == [
        (20, (5, 5), "valid"), (50, (5, 5), "valid")
    ]  # fmt: skip
    assert [layer.activation.__name__ for layer in convolutions] == ["linear", "linear"]


@settings(max_examples=15, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3)),
    classes=st.integers(2, 20),
    hidden=st.lists(st.integers(1, 20), max_size=3),
)
def test_parameters_of_an_mlp_follow_the_formula(shape, classes, hidden):
    widths = [int(np.prod(shape)), *hidden, classes]
    expected = sum((before + 1) * after for before, after in itertools.pairwise(widths))
    assert models.mlp(shape, classes, hidden=hidden).count_params() == expected


@EVERY
@pytest.mark.parametrize(("shape", "classes"), [((28, 28, 1), 10), ((32, 32, 3), 100), ((17, 20, 2), 2)])
def test_other_pictures_and_classes_give_finite_logits(build, shape, classes):
    model = build(shape, classes, seed=0)
    x = np.random.default_rng(0).random((3, *shape), np.float32)
    logits = np.asarray(model(x))
    assert logits.shape == (3, classes)
    assert np.isfinite(logits).all()
    assert model.output_names == ["logits"] and model.layers[-1].activation.__name__ == "linear"


@EVERY
def test_a_seed_decides_the_weights_and_nothing_else(build):
    import tensorflow as tf

    tf.random.set_seed(1)
    np.random.seed(1)
    untouched = (tf.random.uniform((2,)).numpy(), np.random.random())
    tf.random.set_seed(1)
    np.random.seed(1)
    one, two, other = (build(seed=seed).get_weights() for seed in (3, 3, 4))
    assert np.array_equal(tf.random.uniform((2,)).numpy(), untouched[0])
    assert np.random.random() == untouched[1]
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_without_a_seed_weights_differ():
    one, two = models.mlp().get_weights(), models.mlp().get_weights()
    assert not np.array_equal(one[0], two[0])


def test_layers_of_equal_shape_start_differently():
    kernels = [
        layer.kernel.numpy() for layer in models.residual_cnn(seed=0).layers if layer.name in
        ("block_1_a_conv", "block_1_b_conv")
    ]  # fmt: skip
    assert kernels[0].shape == kernels[1].shape
    assert not np.array_equal(*kernels)


@EVERY
def test_the_structure_is_what_the_toolkit_accepts(build):
    """No model inside a model; batch normalization directly after a convolution that has no bias."""
    import tf_keras

    model = build()
    assert not any(isinstance(layer, tf_keras.Model) for layer in model.layers)
    for layer in model.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            before = layer.inbound_nodes[0].inbound_layers
            assert type(before).__name__ in ("Conv2D", "DepthwiseConv2D") and not before.use_bias
    names = [layer.name for layer in model.layers]
    assert names == [layer.name for layer in build().layers], "names must not count up from call to call"


@pytest.mark.filterwarnings("ignore:distutils Version classes are deprecated:DeprecationWarning")  # the Toolkit's own
@pytest.mark.parametrize("build", [build for name, build in models.ARCHITECTURES.items() if name != "transformer"])
def test_the_toolkit_quantizes_prunes_and_clusters_it(build):
    import tensorflow_model_optimization as tfmot
    import tf_keras

    model = build((16, 16, 1), seed=0)
    quantized = tfmot.quantization.keras.quantize_model(model)
    assert sum("quantize" in weight.name or "min" in weight.name for weight in quantized.weights) > 0
    pruned = tfmot.sparsity.keras.prune_low_magnitude(tf_keras.models.clone_model(model))
    assert any("mask" in weight.name for weight in pruned.weights)
    clustered = tfmot.clustering.keras.cluster_weights(
        tf_keras.models.clone_model(model), 4, tfmot.clustering.keras.CentroidInitialization.LINEAR
    )
    x = np.zeros((1, 16, 16, 1), np.float32)
    assert [np.asarray(m(x)).shape for m in (quantized, pruned, clustered)] == [(1, 10)] * 3


@pytest.mark.filterwarnings("ignore:distutils Version classes are deprecated:DeprecationWarning")
def test_the_toolkit_refuses_a_transformer_as_its_docstring_says():
    import tensorflow_model_optimization as tfmot

    with pytest.raises(RuntimeError, match="is not supported"):
        tfmot.quantization.keras.quantize_model(models.transformer(seed=0))


BAD = {
    "a number as shape": ({"input_shape": 28}, "input_shape is 28; pass (height, width, channels)"),
    "no channels": ({"input_shape": (28, 28)}, "input_shape is (28, 28); pass"),
    "with a batch axis": ({"input_shape": (None, 28, 28, 1)}, "without the batch axis"),
    "an unknown size": ({"input_shape": (None, None, 1)}, "input_shape is (None, None, 1); pass"),
    "zero": ({"input_shape": (0, 28, 1)}, "input_shape is (0, 28, 1); pass"),
    "one class": ({"num_classes": 1}, "num_classes is 1; pass a whole number of at least 2"),
    "a fraction of a class": ({"num_classes": 2.5}, "num_classes is 2.5"),
    "names as classes": ({"num_classes": ["cat", "dog"]}, "num_classes is ['cat', 'dog']"),
    "a word as seed": ({"seed": "zero"}, "seed is 'zero'; pass a whole number, or None"),
    "True as seed": ({"seed": True}, "seed is True"),
    "a seed beyond what TensorFlow takes": ({"seed": 10**20}, "at most 15 digits"),
    "a word as shape": ({"input_shape": "abc"}, "input_shape is 'abc'; pass"),
}


@EVERY
@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_bad_arguments_are_refused(build, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        build(**arguments)


@pytest.mark.parametrize(("build", "smallest"), [
    (models.lenet5, 16), (models.depthwise_cnn, 8), (models.residual_cnn, 8), (models.mlp, 1),
])  # fmt: skip
def test_the_smallest_picture_works_and_a_smaller_one_is_refused(build, smallest):
    assert build((smallest, smallest, 1)).output_shape == (None, 10)
    if smallest > 1:
        with pytest.raises(ValueError, match=f"at least {smallest}x{smallest}"):
            build((smallest, smallest - 1, 1))


@EVERY
def test_whole_numbers_of_any_kind_are_sizes(build):
    import tensorflow as tf

    wanted = build((28, 28, 1), 3).count_params()
    for shape in (np.array([28, 28, 1]), tf.TensorShape((28, 28, 1)), (28.0, 28, 1), iter((28, 28, 1))):
        assert build(shape, np.float32(3)).count_params() == wanted
    assert models.transformer(patch=7.0, width=64.0, heads=4.0, blocks=2.0).count_params() == 71_882


def test_hidden_layers_may_come_one_by_one():
    assert models.mlp(hidden=iter((16, 8))).count_params() == 784 * 16 + 16 + 16 * 8 + 8 + 8 * 10 + 10
    assert models.mlp(hidden=(16.0,)).count_params() == models.mlp(hidden=np.array([16])).count_params()


@pytest.mark.parametrize("hidden", [128, "128", (0,), (12.5,), (True,), None])
def test_bad_hidden_layers_are_refused(hidden):
    with pytest.raises(ValueError, match="pass the units of each hidden layer"):
        models.mlp(hidden=hidden)
