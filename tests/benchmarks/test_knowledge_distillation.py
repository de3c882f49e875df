"""benchmarks/knowledge_distillation.py: both sides have the same budget, and its rows follow from their seeds."""

import inspect
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import knowledge_distillation as bench
from utils import data, models, recorded


def test_labels_are_drawn_in_equal_parts_and_anew_for_each_seed():
    fashion = data.load("fashion_mnist")
    chosen = bench.labelled(fashion, 200, 0)
    assert np.bincount(fashion.y_train[chosen]).tolist() == [20] * 10 and len(set(chosen)) == 200
    assert set(chosen) != set(bench.labelled(fashion, 200, 1))
    assert np.array_equal(bench.labelled(fashion, 50_000, 1), np.arange(50_000))


def test_hard_answers_are_the_teachers_classes_and_true_labels_the_pictures_own(monkeypatch):
    fashion = data.load("fashion_mnist")
    logits = np.random.default_rng(0).normal(size=(len(fashion.y_train), 10)).astype(np.float32)
    asked = []

    class Fake:
        def __init__(self, build, x, y, soft, epochs):
            asked.append((len(x), y, soft))

        def student(self, seed, rate, knob):
            return seed

    monkeypatch.setattr(bench, "Run", Fake)
    monkeypatch.setattr(bench, "taught_by", lambda part: logits)
    monkeypatch.setattr(bench, "tuned", lambda run, val, rates, knobs: (rates[0], knobs[-1]))
    monkeypatch.setattr(bench, "outputs", lambda model, x: np.zeros((len(x), 10), np.float32))
    rows = bench.measure_labels((100,), seeds=(0, 1), steps=3, unlabelled=200)
    assert [row["setting"][1] for row in rows] == [0.1, 2, 0.1, 2, 0.1]  # smoothing where no answer is soft
    alone, same, hard, soft, true = asked[::3]  # each way asks for one run that chooses, and two
    assert [each[0] for each in (alone, same, hard, soft, true)] == [100, 100, 200, 200, 200]
    assert [each[2] is None for each in (alone, same, hard, soft, true)] == [True, False, True, False, True]
    assert np.array_equal(hard[1], logits[:200].argmax(1)) and soft[1] is None
    assert np.array_equal(true[1], fashion.y_train[:200]) and not np.array_equal(true[1], hard[1])
    assert rows[3]["interval over hard answers"] == [0, 0, 0] and rows[2]["over hard answers"] == ""


def test_learning_alone_is_label_smoothing_and_a_teacher_is_learnt():
    rng = np.random.default_rng(0)
    x, y = rng.random((32, 28, 28, 1)).astype(np.float32), rng.integers(0, 10, 32).astype(np.int32)
    other = (y + 3) % 10  # what the teacher says is no label
    alone = bench.Run(bench.small, x, y, None, 150).student(0, 5e-3, 0.0)
    assert np.mean(bench.outputs(alone, x).argmax(1) == y) > 0.8
    taught = bench.Run(bench.small, x, None, 8 * np.eye(10, dtype=np.float32)[other], 150).student(0, 5e-3, 2.0)
    assert np.mean(bench.outputs(taught, x).argmax(1) == other) > 0.8


def test_the_best_setting_is_that_of_the_validation_pictures(monkeypatch):
    class Fake:
        def student(self, seed, rate, knob):
            return rate, knob

    monkeypatch.setattr(bench.training, "share_correct", lambda student, x, y: -abs(student[0] - 2) - student[1])
    assert bench.tuned(Fake(), (None, None), (1, 2, 4), (0.5, 0.1)) == (2, 0.1)


def test_the_first_seed_chooses_by_validation_pictures_and_is_trained_once(monkeypatch):
    asked = []

    def found(run, how, seed, dataset):
        asked.append((run, how, seed))
        right = {(1e-3, 1): 50.0, (2e-3, 1): 90.0}[run]  # the test pictures would choose the other one
        return right, np.full(4, right < 60)

    monkeypatch.setattr(bench, "found", found)
    settings = ((1e-3, 1), (2e-3, 1))
    hits, how = bench.best_of(lambda setting, seed: (setting, (setting[0], 0.0)), settings, (7, 8), None)
    assert how == {"setting": [2e-3, 1], "tried": [[1e-3, 1, 50.0], [2e-3, 1, 90.0]]}
    assert [each[2] for each in asked] == [7, 7, 8] and hits.shape == (2, 4) and not hits.any()


def test_both_sides_of_hintons_comparison_try_equally_many_settings():
    defaults = inspect.signature(bench.measure_hinton).parameters
    alone, taught = defaults["alone"].default, defaults["taught"].default
    assert len(set(alone)) == len(set(taught)) == 4
    assert max(epochs for _, epochs in alone) >= max(each[1] for each in taught)


def test_errors_of_the_missing_class_before_and_after():
    z = np.array([[2, 0, 1.5], [0, 1, 0.9], [3, 0, 0]], float)
    assert bench.missing_errors(z, np.array([2, 2, 0]), 2, 1.0) == {
        "errors": 2,
        "of the missing": 2,
        "added": 1.0,
        "errors after": 0,
        "of the missing after": 0,
    }


def test_students_have_the_sizes_that_are_said():
    sizes = [each.count_params() for each in (bench.small(), bench.keras_student(0))]
    assert sizes == [25_450, 20_490]
    assert models.ARCHITECTURES["lenet5"]().count_params() == 431_080


def test_a_twin_is_the_student_alone_of_the_next_start(monkeypatch):
    mnist, asked = data.load("mnist"), []
    few = {f"{kind}_{part}": getattr(mnist, f"{kind}_{part}")[:40] for kind in "xy" for part in ("train", "test")}
    monkeypatch.setattr(bench.data, "load", lambda name: SimpleNamespace(**few))

    def distil(student, pairs, epochs, *, teacher, temperature, soft_share, seed, **rest):
        asked.append((seed, temperature, soft_share, teacher))

    monkeypatch.setattr(bench.distillation, "distil", distil)
    rows = bench.measure_twin((10, 1), seeds=(0, 1), pictures=40)
    assert [each[:3] for each in asked[:2]] == [(0, 1.0, 0.0), (1, 1.0, 0.0)]
    assert [each[:2] for each in asked[2:]] == [(0, 10.0), (1, 10.0), (0, 1.0), (1, 1.0)]
    for place, start in ((2, 1), (3, 0)):  # nothing is trained here: a teacher is its start
        np.testing.assert_allclose(
            asked[place][3], bench.outputs(bench.keras_student(start), few["x_train"]), atol=1e-5
        )
    assert rows[1]["teacher's accuracy"] == rows[0]["accuracy"]


@pytest.mark.parametrize("part", [part for part in bench.PARTS if f"distillation_{part}" in recorded.names()])
def test_recorded_rows_follow_from_their_seeds(part):
    for row in recorded.load(f"distillation_{part}").rows:
        if part == "missing":
            assert row["errors"] == pytest.approx(np.mean(row["seeds"]["errors"]), abs=0.06)
        elif part == "hinton":
            assert row["errors"] == pytest.approx(np.mean(row["seeds"]), abs=0.06)
        else:
            assert row["accuracy"] == pytest.approx(np.mean(row["seeds"]), abs=0.02)


def test_an_unknown_part_is_named(capsys):
    with pytest.raises(SystemExit):
        bench.main(["label"])
    assert "no part 'label'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        bench.main(["labels", "--tiny"])
    assert "--tiny has no part 'labels'" in capsys.readouterr().err


def test_tiny_names_parameters_of_its_parts():
    for part, settings in bench.TINY.items():
        assert set(settings) <= set(inspect.signature(bench.PARTS[part][0]).parameters)
