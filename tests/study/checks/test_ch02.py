"""The checks of chapter 02 accept right answers and name the misconception of wrong ones."""

import numpy as np
import pytest

from tests.study.checks import answers
from utils.study import quiz
from utils.study.exercises import Misconception, find, grade, hint

# The Toolkit calls a deprecated comparison of versions that setuptools warns about.
pytestmark = pytest.mark.filterwarnings("ignore:distutils Version classes are deprecated:DeprecationWarning")


def right_mask(weights, sparsity):
    m = np.abs(weights)
    return m >= np.sort(m, axis=None)[-max(round(m.size * (1 - sparsity)), 1)]


def right_bytes(shape, technique, clusters):
    n = int(np.prod(shape))
    return 4 * n + 12 if technique == "pruning" else 8 * n + 4 * clusters


def right_quantizer(model, refused, *, apply=True, copy=True):
    import tensorflow_model_optimization as tfmot
    import tf_keras

    def change(layer):
        if type(layer).__name__ in refused:
            return layer.__class__.from_config(layer.get_config())
        return tfmot.quantization.keras.quantize_annotate_layer(layer)

    marked = tf_keras.models.clone_model(model, clone_function=change)
    if copy:
        marked.set_weights(model.get_weights())
    return tfmot.quantization.keras.quantize_apply(marked) if apply else marked


def handed_back(model, refused):
    """Refused layers are not made anew: then they keep their weights."""
    import tensorflow_model_optimization as tfmot
    import tf_keras

    def mark(layer):
        if type(layer).__name__ in refused:
            return layer
        return tfmot.quantization.keras.quantize_annotate_layer(layer)

    return tfmot.quantization.keras.quantize_apply(tf_keras.models.clone_model(model, clone_function=mark))


def by_value(weights, sparsity):
    return weights >= np.sort(weights, axis=None)[-max(round(weights.size * (1 - sparsity)), 1)]


def by_row(weights, sparsity):
    return np.stack([right_mask(row, sparsity) for row in weights])


def none_survives(weights, sparsity):
    m = np.abs(weights)
    keep = round(m.size * (1 - sparsity))
    return m >= (np.sort(m, axis=None)[-keep] if keep else np.inf)


def one_bit(shape, technique, clusters):
    return int(np.prod(shape)) / 8 if technique == "pruning" else right_bytes(shape, technique, clusters)


def code_book(shape, technique, clusters):
    n = int(np.prod(shape))
    index = n * int(np.ceil(np.log2(clusters))) / 8
    return right_bytes(shape, technique, clusters) if technique == "pruning" else index


def whole_code_book(shape, technique, clusters):
    bits = int(np.ceil(np.log2(clusters)))
    whole = int(np.prod(shape)) * bits // 8 + 4 * clusters
    return right_bytes(shape, technique, clusters) if technique == "pruning" else whole


def stub(*_): ...


@pytest.mark.parametrize(
    ("id", "answer"), [("02-1", right_mask), ("02-2", right_bytes), ("02-3", right_quantizer), ("02-3", handed_back)]
)
def test_right(id, answer):
    assert grade(id, answer).state == "right", grade(id, answer).message


@pytest.mark.parametrize("id", ["02-1", "02-2", "02-3"])
def test_stub(id):
    assert grade(id, stub).state == "not attempted"


@pytest.mark.parametrize(
    ("id", "answer", "words"),
    [
        ("02-1", by_value, "sorted by value"),
        ("02-1", by_row, "one for the whole matrix"),
        ("02-1", none_survives, "always keeps one"),
        ("02-1", lambda w, s: ~right_mask(w, s), "upside down"),
        ("02-1", lambda w, s: by_row(w.T, s).T, "one for the whole matrix"),
        ("02-1", lambda w, s: np.ones(w.shape), "not all of them the same"),
        ("02-1", lambda w, s: np.roll(right_mask(w, s), 1), "not all of them the same"),
        ("02-2", lambda s, t, c: int(np.prod(s)) + (12 if t == "pruning" else 0), "a mask of booleans"),
        ("02-2", lambda s, t, c: int(np.prod(s)) if t == "pruning" else 0, "a mask of booleans"),
        ("02-2", lambda s, t, c: int(np.prod(s)) / 8 + 12 if t == "pruning" else 0, "one bit in theory"),
        ("02-2", lambda s, t, c: 4 * int(np.prod(s)) + (12 if t == "pruning" else 0), "eight bytes, not four"),
        ("02-2", lambda s, t, c: right_bytes(s, t, c) + 1, "pruning a kernel of shape"),
        ("02-2", lambda s, t, c: right_bytes(s, t, c) + (t != "pruning"), "clusters on a kernel of shape"),
        ("02-1", lambda w, s: right_mask(w, s).ravel(), "shape"),
        ("02-2", one_bit, "one bit in theory"),
        ("02-2", lambda s, t, c: 4 * int(np.prod(s)), "threshold"),
        ("02-2", code_book, "while training the index is int64"),
        ("02-2", lambda s, t, c: right_bytes(s, t, c) - (4 * c if t == "clustering" else 0), "centroids are missing"),
        ("02-1", lambda w, s: right_mask(w, 1 - s), "share that goes"),
        ("02-2", lambda s, t, c: -(-int(np.prod(s)) // 8) if t == "pruning" else 0, "one bit in theory"),
        ("02-2", lambda s, t, c: 4 * int(np.prod(s)) + (12 if t == "pruning" else 4 * c), "eight bytes, not four"),
        ("02-2", whole_code_book, "while training the index is int64"),
        ("02-3", lambda m, r: right_quantizer(m, r, apply=False), "only marked"),
        ("02-3", lambda m, r: right_quantizer(m, r, copy=False), "fresh weights"),
        ("02-3", lambda m, r: m, "not wrapped"),
        ("02-3", lambda m, r: None if r else m, "return a tf_keras model"),
        ("02-3", lambda m, r: right_quantizer(m, {"Dense"}), "stopped with"),
        ("02-3", lambda m, r: right_quantizer(m, {"Conv1D"}), "Dense is in `refused`"),
        ("02-3", lambda m, r: right_quantizer(m, {"Conv1D", "Dense"}), "Dense layer is not wrapped"),
    ],
)
def test_wrong(id, answer, words):
    verdict = grade(id, answer)
    assert verdict.state == "wrong"
    assert words in verdict.message


def in_bits(technique, index, beside):
    """An answer to 02-2 that is right but for one technique, of which it counts bits: `index(n, clusters' bits)`."""

    def answer(shape, asked, clusters):
        n, bits = int(np.prod(shape)), int(np.ceil(np.log2(clusters)))
        return index(n, bits) + beside * clusters if asked == technique else right_bytes(shape, asked, clusters)

    return answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (in_bits("pruning", lambda n, bits: -(-n // 8), 0), "one bit in theory"),
        (in_bits("clustering", lambda n, bits: n * bits / 8, 0), "while training the index is int64"),
        (in_bits("clustering", lambda n, bits: n * bits // 8, 0), "while training the index is int64"),
        (in_bits("clustering", lambda n, bits: n * bits / 8, 4), "while training the index is int64"),
        (in_bits("clustering", lambda n, bits: n * bits // 8, 4), "while training the index is int64"),
    ],
)
def test_bits_are_recognized_whatever_the_shape(answer, words):
    for seed in range(20):  # numbers of weights that 8 divides, and others
        with pytest.raises(Misconception, match=words):
            find("02-2").grade(answer, np.random.default_rng(seed))


def test_the_quiz_counts_bytes_as_the_exercise_does():
    numeric = next(question for question in quiz.load("02") if question["type"] == "numeric")
    right = next(answer["value"] for answer in numeric["answers"] if answer.get("correct"))
    assert right == right_bytes((100, 20), "pruning", 0)


@pytest.mark.parametrize("id", ["02-1", "02-2", "02-3"])
def test_hints(id, capsys):
    for number in (1, 2, 3):
        hint(id, number)
    assert capsys.readouterr().out.count("Hint") == 3


test_near_misses = answers.near_misses([("02-1", right_mask), ("02-2", right_bytes)])
test_other_words = answers.other_words([("02-1", right_mask), ("02-2", right_bytes)])
