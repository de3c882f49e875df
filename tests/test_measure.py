"""Scorecards and memory."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tests.little import as_tflite, classifier, examples, keras
from utils import artifact, measure
from utils.artifact import Artifact


def test_scorecard_scores_the_artifact():
    x = examples()
    y = classifier().predict(x, verbose=0).argmax(axis=1)
    y[:6] = (y[:6] + 1) % 4
    card = measure.scorecard(as_tflite(), x, y, classifier(), name="float32")
    assert card.accuracy.value == 54 / 60
    assert 54 / 60 in measure.Interval(0, card.accuracy.low, card.accuracy.high)
    assert (card.bytes, card.gzip_bytes) == (as_tflite().size, as_tflite().gzip_size)
    assert card.macs == 16 * 9 * 3 + 48 * 4
    assert card.name == "float32"
    assert next(iter(card.row())) == "name"


def test_parameters_of_a_tflite_file_have_batch_normalization_folded():
    folded = 9 * 3 + 3 + 48 * 4 + 4
    in_file = measure.stored(as_tflite()).parameters
    assert measure.stored(classifier()).parameters == folded + 4 * 3
    assert measure.stored(artifact.from_keras(classifier())).parameters == folded + 4 * 3
    assert folded - 4 <= in_file <= folded + 6  # a bias of zeros may be left out, a scale kept beside a convolution


def test_nonzero_and_distinct():
    k = keras()
    model = k.Sequential([k.Input((10,)), k.layers.Dense(4)])
    kernel = np.zeros((10, 4))
    kernel[:5, 0], kernel[5:, 1] = 1, 2
    model.set_weights([kernel, np.array([1, 2, 3, 4])])
    assert measure.stored(model) == measure.Stored(44, 14 / 44, 3)
    assert measure.stored(artifact.from_keras(model)) == measure.Stored(44, 14 / 44, 3)


def test_sparse_files_are_counted_with_the_zeros_they_do_not_store():
    import tensorflow as tf

    k = keras()
    model = k.Sequential([k.Input((64,)), k.layers.Dense(32, use_bias=False)])
    kernel = np.zeros((64, 32))
    kernel[::8, :] = np.arange(1, 33)
    model.set_weights([kernel])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    plain = Artifact(converter.convert(), "tflite")
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    sparse = Artifact(converter.convert(), "tflite")
    assert sparse.size < plain.size
    # the file may hold a bias of 32 zeros that the model does not have
    for kind in (plain, sparse):
        found = measure.stored(kind)
        assert found.parameters - 32 * 64 in (0, 32)
        assert round(found.nonzero * found.parameters) == 8 * 32
        assert found.distinct == 33


@pytest.mark.parametrize(
    ("x", "y", "sentence"),
    [
        (examples(5), np.zeros(4, int), "5 examples and 4 labels"),
        (examples(5), np.ones(5, int), "all 5 labels are 1"),
        (examples(2), np.array([0, 9]), r"labels go from 0 to 9, the model has the classes 0 … 3"),
        (examples(0), np.array([], int), "no examples"),
        (np.full((2, 6, 6, 1), np.nan, np.float32), np.array([0, 1]), "NaN"),
        (examples(2), np.eye(2, 4), "not one-hot|must be|labels have shape"),
    ],
)
def test_scorecard_refuses(x, y, sentence):
    with pytest.raises(ValueError, match=sentence):
        measure.scorecard(as_tflite(), x, y)


def test_scorecard_refuses_float_labels_and_models():
    with pytest.raises(TypeError, match="labels are float64"):
        measure.scorecard(as_tflite(), examples(2), np.array([0.0, 1.0]))
    with pytest.raises(TypeError, match="takes an Artifact, not Sequential"):
        measure.scorecard(classifier(), examples(2), np.array([0, 1]))


def test_peak_memory_grows_by_what_the_model_needs():
    k = keras()
    import tensorflow as tf

    def dense(units):
        model = k.Sequential([k.Input((256,)), k.layers.Dense(units, kernel_initializer="ones"), k.layers.Dense(2)])
        return Artifact(tf.lite.TFLiteConverter.from_keras_model(model).convert(), "tflite", trusted=True)

    x = np.ones((1, 256), np.float32)
    ballast = np.ones(200 * 2**20, np.uint8)  # this process is large; the child must not report that
    small, large = measure.peak_memory(dense(16), x), measure.peak_memory(dense(20_000), x)
    file = dense(20_000).size
    assert len(ballast) > small.peak > small.baseline > 2**20 or sys.platform != "linux"
    assert small.bytes < 8 * 2**20
    assert file <= large.bytes < 4 * file + 8 * 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere free heap cannot be given back before the baseline")
def test_peak_memory_sees_the_buffers_of_a_batch():
    k = keras()
    import tensorflow as tf

    model = k.Sequential([k.Input((28, 28, 1)), k.layers.Conv2D(20, 5), k.layers.MaxPooling2D(8), k.layers.Flatten()])
    convolution = Artifact(tf.lite.TFLiteConverter.from_keras_model(model).convert(), "tflite", trusted=True)
    x = np.ones((256, 28, 28, 1), np.float32)
    buffer = 256 * 24 * 24 * 20 * 4  # bytes of the convolution's output, smaller than what importing leaves free
    one, many = measure.peak_memory(convolution, x[:1]), measure.peak_memory(convolution, x)
    assert many.bytes - one.bytes > 0.8 * buffer


def test_peak_memory_refuses_what_predict_refuses():
    with pytest.raises(ValueError, match="takes shape"):
        measure.peak_memory(as_tflite(), examples(2)[0])
    with pytest.raises(TypeError, match="takes an Artifact"):
        measure.peak_memory(classifier(), examples(2))


def test_what_holds_no_parameters_is_refused():
    with pytest.raises(TypeError, match="pass an Artifact or a tf_keras model, not int"):
        measure.stored(3)
