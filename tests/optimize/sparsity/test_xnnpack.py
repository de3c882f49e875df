"""Each condition is seen when it alone is broken."""

import pytest
import tensorflow as tf
import tf_keras

from utils.formats import ArtifactError
from utils.optimize.sparsity import xnnpack
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


@pytest.mark.parametrize("name", list(VARIANTS))
def test_the_condition_that_is_broken_is_named(name):
    content = converted(network(**VARIANTS[name]), tf.lite.Optimize.EXPERIMENTAL_SPARSITY)
    rows = xnnpack.report(content)
    missed = [number for number, row in enumerate(rows) if not row["met"]]
    assert missed == ([] if BROKEN[name] is None else [BROKEN[name]])
    assert all(bool(row["where"]) != row["met"] for row in rows)


def test_every_variant_is_expected():
    assert set(BROKEN) == set(VARIANTS)


def test_without_the_hint():
    rows = xnnpack.report(converted(network()))
    assert [row["met"] for row in rows] == [False] + [True] * 6


def test_a_dense_network_has_no_first_convolution():
    model = tf_keras.Sequential([tf_keras.Input((4,), 1), tf_keras.layers.Dense(2)])
    assert any("no convolution" in row["where"] for row in xnnpack.report(converted(model)))


def test_this_processor_is_told_or_unknown():
    assert xnnpack.this_processor() in (True, False, None)


def test_what_is_no_file_is_refused():
    with pytest.raises(ArtifactError):
        xnnpack.report(b"no model at all")
