"""Scorecards."""

from __future__ import annotations

import numpy as np
import pytest

from tests.little import as_tflite, classifier, examples, keras
from utils import artifact
from utils.artifact import Artifact
from utils.measure import scorecard, statistics


def test_scorecard_scores_the_artifact():
    x = examples()
    y = classifier().predict(x, verbose=0).argmax(axis=1)
    y[:6] = (y[:6] + 1) % 4
    card = scorecard.scorecard(as_tflite(), x, y, classifier(), name="float32")
    assert card.accuracy.value == 54 / 60
    assert 54 / 60 in statistics.Interval(0, card.accuracy.low, card.accuracy.high)
    assert (card.bytes, card.gzip_bytes) == (as_tflite().size, as_tflite().gzip_size)
    assert card.macs == 16 * 9 * 3 + 48 * 4
    assert card.name == "float32"
    row = card.row()
    assert next(iter(row)) == "name"
    assert [row[column] for column in ("accuracy", "low", "high", "MACs")] == [
        *(card.accuracy.value, card.accuracy.low, card.accuracy.high, card.macs)
    ]
    for column in ("name", "format", "bytes", "parameters", "nonzero", "distinct"):
        assert row[column] == getattr(card, column)
    assert row["gzip bytes"] == card.gzip_bytes


def test_parameters_of_a_tflite_file_have_batch_normalization_folded():
    folded = 9 * 3 + 3 + 48 * 4 + 4
    in_file = scorecard.stored(as_tflite()).parameters
    assert scorecard.stored(classifier()).parameters == folded + 4 * 3
    assert scorecard.stored(artifact.from_keras(classifier())).parameters == folded + 4 * 3
    assert folded - 4 <= in_file <= folded + 6  # a bias of zeros may be left out, a scale kept beside a convolution


def test_nonzero_and_distinct():
    k = keras()
    model = k.Sequential([k.Input((10,)), k.layers.Dense(4)])
    kernel = np.zeros((10, 4))
    kernel[:5, 0], kernel[5:, 1] = 1, 2
    model.set_weights([kernel, np.array([1, 2, 3, 4])])
    assert scorecard.stored(model) == scorecard.ParameterCounts(44, 14 / 44, 3)
    assert scorecard.stored(artifact.from_keras(model)) == scorecard.ParameterCounts(44, 14 / 44, 3)


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
        found = scorecard.stored(kind)
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
        scorecard.scorecard(as_tflite(), x, y)


def test_scorecard_refuses_float_labels_and_models():
    with pytest.raises(TypeError, match="labels are float64"):
        scorecard.scorecard(as_tflite(), examples(2), np.array([0.0, 1.0]))
    with pytest.raises(TypeError, match="takes an Artifact, not Sequential"):
        scorecard.scorecard(classifier(), examples(2), np.array([0, 1]))


def test_what_holds_no_parameters_is_refused():
    with pytest.raises(TypeError, match="pass an Artifact or a tf_keras model, not int"):
        scorecard.stored(3)


def test_a_wider_confidence_gives_a_wider_interval():
    x, y = examples(), np.arange(60) % 4
    cards = [scorecard.scorecard(as_tflite(), x, y, confidence=confidence) for confidence in (0.5, 0.95, 0.999)]
    widths = [card.accuracy.high - card.accuracy.low for card in cards]
    assert widths == sorted(widths) and widths[0] < widths[1] < widths[2]
    assert scorecard.scorecard(as_tflite(), x, y).accuracy == cards[1].accuracy


def test_a_card_without_a_model_takes_its_name_from_the_format():
    card = scorecard.scorecard(as_tflite(), examples(), np.arange(60) % 4)
    assert (card.name, card.format, card.macs, card.examples) == ("tflite", "tflite", None, 60)
    assert card.parameters == scorecard.stored(as_tflite()).parameters


def test_several_outputs_have_no_single_accuracy(monkeypatch):
    monkeypatch.setattr(Artifact, "predict", lambda self, x: {"a": x, "b": x})
    with pytest.raises(ValueError, match=r"has the outputs \['a', 'b'\]; a scorecard needs one"):
        scorecard.scorecard(as_tflite(), examples(2), np.array([0, 1]))


def test_where_the_format_cannot_tell_its_parameters_the_model_does(monkeypatch):
    monkeypatch.setattr(Artifact, "constants", lambda self: None)
    x, y = examples(), np.arange(60) % 4
    assert scorecard.stored(as_tflite()) is None
    assert scorecard.scorecard(as_tflite(), x, y).parameters is None
    card = scorecard.scorecard(as_tflite(), x, y, classifier())
    assert (card.parameters, card.nonzero, card.distinct) == tuple(vars(scorecard.stored(classifier())).values())


def test_only_tensors_of_two_axes_count_for_different_values_and_nothing_stored_is_nothing(monkeypatch):
    for constants, expected in (
        ({"bias": np.arange(9), "kernel": np.eye(2)}, scorecard.ParameterCounts(13, 10 / 13, 2)),
        ({"bias": np.arange(9)}, scorecard.ParameterCounts(9, 8 / 9, 0)),
        ({}, scorecard.ParameterCounts(0, 0.0, 0)),
        ({"a": np.eye(2), "b": np.arange(8).reshape(2, 4)}, scorecard.ParameterCounts(12, 9 / 12, 8)),
    ):
        monkeypatch.setattr(Artifact, "constants", lambda self, constants=constants: constants)
        assert scorecard.stored(as_tflite()) == expected
