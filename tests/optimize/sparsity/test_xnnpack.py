"""Each condition is seen when it alone is broken, and what XNNPACK's source allows is allowed."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tf_keras import layers

from utils.formats import ArtifactError
from utils.optimize.sparsity import patterns, xnnpack
from utils.optimize.sparsity.samples import VARIANTS, network
from utils.quiet import quiet

#: Of the variants: which condition each breaks, by its number in the report; none for those that run sparse.
BROKEN = {
    "all conditions": None,
    "depthwise with same padding": None,
    "relu6": None,
    "swish": None,
    "70 % zeros": None,
    "60 % zeros": 6,
    "first layer with same padding": 2,
    "first layer on one channel": 2,
    "first layer of stride 1": 2,
    "first layer 5×5": 2,
    "a 1×1 of stride 2": 3,
    "max pooling between": 5,
}


def converted(model: tf_keras.Model, *optimizations: tf.lite.Optimize) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = list(optimizations)
    with quiet():
        return converter.convert()


def missed(model: tf_keras.Model) -> list[int]:
    """Numbers of the conditions that the model's file does not meet; each is said with a place."""
    rows = xnnpack.report(converted(model, tf.lite.Optimize.EXPERIMENTAL_SPARSITY))
    assert all(bool(row["where"]) != row["met"] for row in rows)
    return [number for number, row in enumerate(rows) if not row["met"]]


def chain(inside=lambda h: h, end=layers.GlobalAveragePooling2D, size: int = 16) -> tf_keras.Model:
    """A first convolution, a 1×1 one, something, a 1×1 one, an end; 90 % of the 1×1 weights are zero."""
    tf_keras.utils.set_random_seed(0)
    image = tf_keras.Input((size, size, 3), 1)
    h = layers.Conv2D(8, 3, 2, activation="relu")(layers.ZeroPadding2D(1)(image))
    h = inside(layers.Conv2D(8, 1, activation="relu")(h))
    h = layers.Conv2D(8, 1, activation="relu", name="last")(h)
    model = tf_keras.Model(image, end()(h) if end else h)
    points = [layer.name for layer in model.layers if type(layer) is layers.Conv2D and layer.kernel_size == (1, 1)]
    return patterns.prune(model, lambda values, axis: patterns.single(values, 0.9), only=points)


def squeeze_and_excite(h):
    weight = layers.Conv2D(8, 1, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(h))
    return layers.Multiply()([h, weight])


@pytest.mark.parametrize("name", list(VARIANTS))
def test_the_condition_that_is_broken_is_named(name):
    assert missed(network(**VARIANTS[name])) == ([] if BROKEN[name] is None else [BROKEN[name]])


def test_same_padding_at_stride_2_is_never_resolved():
    assert missed(network(first_padding="same", size=65)) == [2]  # where "same" is one pixel on each side


def test_every_variant_is_expected():
    assert set(BROKEN) == set(VARIANTS)


@pytest.mark.parametrize(
    "inside",
    [
        layers.LeakyReLU(),
        layers.Lambda(tf.floor),
        layers.Lambda(tf.round),
        layers.Lambda(tf.exp),
        layers.UpSampling2D(2, interpolation="bilinear"),
        lambda h: layers.Add()([h, layers.Conv2D(8, 1)(h)]),
        squeeze_and_excite,
    ],
    ids=["leaky relu", "floor", "round", "exp", "resize", "skip", "squeeze and excite"],
)
def test_what_may_stand_inside(inside):
    assert missed(chain(inside)) == []


@pytest.mark.parametrize(
    "inside, condition",
    [
        (layers.PReLU(shared_axes=[1, 2]), 5),
        (lambda h: h - layers.Conv2D(8, 1)(h), 5),
        (layers.Conv2D(8, 3, padding="same"), 3),
        (layers.DepthwiseConv2D(3, 2, "same"), 4),
    ],
    ids=["prelu", "subtract", "3×3", "depthwise of stride 2, same"],
)
def test_what_may_not(inside, condition):
    assert missed(chain(inside)) == [condition]


def test_a_segmentation_network_ends_by_moving_depth_into_space():
    assert missed(chain(end=lambda: layers.Lambda(lambda h: tf.nn.depth_to_space(h, 2)))) == []


def test_a_chain_without_an_end_is_none():
    rows = xnnpack.report(converted(chain(end=None), tf.lite.Optimize.EXPERIMENTAL_SPARSITY))
    assert [row["where"] for row in rows if not row["met"]] == ["no operator ends it"]


def test_a_value_that_is_read_outside_ends_it():
    model = chain()
    both = tf_keras.Model(model.input, [model.output, model.get_layer("last").output])
    assert missed(both) == [5]


def test_float16_weights_are_floats():
    converter = tf.lite.TFLiteConverter.from_keras_model(network())
    converter.optimizations = [tf.lite.Optimize.DEFAULT, tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    converter.target_spec.supported_types = [tf.float16]
    with quiet():
        rows = xnnpack.report(converter.convert())
    assert rows[1]["met"]


def test_without_the_hint():
    rows = xnnpack.report(converted(network()))
    assert [row["met"] for row in rows] == [False] + [True] * 6


def test_a_dense_network_has_no_first_convolution():
    model = tf_keras.Sequential([tf_keras.Input((4,), 1), tf_keras.layers.Dense(2)])
    assert any("no convolution" in row["where"] for row in xnnpack.report(converted(model)))


def test_this_processor_is_told_or_unknown():
    assert xnnpack.this_processor() in (True, False, None)


def test_a_damaged_file_is_refused_or_read():
    content = converted(network(size=16, width=8), tf.lite.Optimize.EXPERIMENTAL_SPARSITY)
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(100):
        broken = bytearray(content)
        broken[generator.integers(8, len(content))] ^= 1 << int(generator.integers(8))
        try:
            xnnpack.report(bytes(broken))
        except ArtifactError:
            refused += 1
    assert refused < 100


def test_what_is_no_file_is_refused():
    with pytest.raises(ArtifactError):
        xnnpack.report(b"no model at all")
