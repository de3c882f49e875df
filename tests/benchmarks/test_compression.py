"""benchmarks/compression.py: shipped files are those of the record, integers are the weights, lessons repeat."""

import numpy as np
import pytest
import tf_keras

from benchmarks import _lenet
from benchmarks import compression as bench
from utils import data, models, recorded
from utils.optimize import coding, deep_compression

FILES = [(network, plan) for network, plans in bench.PLANS.items() for plan in plans]


@pytest.mark.parametrize(("network", "plan"), FILES)
def test_a_file_that_ships_decodes_to_the_network_of_its_row(network, plan):
    """Predictions near a tie may differ on another processor: at most five pictures of 10,000."""
    content = bench.path_of(network, plan).read_bytes()
    rows = [row for row in recorded.load("compression").rows if (row["network"], row["plan"]) == (network, plan)]
    best = min(rows, key=bench.best_first)
    assert len(content) == best["bytes"]
    model, mnist = coding.decompress(content), data.load("mnist")
    assert [w.shape for w in model.weights] == [w.shape for w in _lenet.student(network, 0).weights]
    assert abs(bench.errors(model, mnist.x_test, mnist.y_test) - best["test error %"]) <= 0.05 + 1e-9


def test_each_row_counts_the_whole_file_and_all_parameters():
    parameters = {"lenet_300_100": 266_610, "lenet5": 431_080, "lenet5_relu": 431_080}
    for row in recorded.load("compression").rows:
        assert row["parameters"] == parameters[row["network"]]
        assert row["ratio"] == round(4 * row["parameters"] / row["bytes"], 1)
        if row["plan"] != bench.DENSE:
            plan, units = bench.plan_of(row["network"], row["plan"])
            assert row["kept"] <= plan.kept and (row["levels"], row["steps"]) == (plan.levels, plan.steps)
            assert row["started with"] == ("-".join(map(str, units)) or "all units")


# ---------------------------------------------------------------- its parts


@pytest.mark.parametrize("step", [0.25, 0.3, 1e-3])
def test_integers_times_the_step_are_the_array(step):
    codes = np.random.default_rng(0).integers(-9, 10, (6, 5))
    found = bench.on_integers(np.float32(step) * codes.astype(np.float32))
    np.testing.assert_array_equal(found, codes)
    assert found.dtype == np.int32


def test_the_smallest_magnitude_need_not_be_one_step():
    np.testing.assert_array_equal(bench.on_integers(np.float32([0.5, -0.75, 0])), [2, -3, 0])
    np.testing.assert_array_equal(bench.on_integers(np.zeros((2, 2))), np.zeros((2, 2)))


def test_an_array_off_every_grid_is_refused():
    with pytest.raises(ValueError, match="grid"):
        bench.on_integers(np.random.default_rng(0).normal(size=50).astype(np.float32))


@pytest.mark.parametrize("name", bench.OTHERS)
def test_the_other_networks_are_integers_with_zeros(name):
    arrays = bench.rounded(name)
    assert max(np.abs(array).max() for array in arrays) <= 15
    assert sum((array == 0).sum() for array in arrays) / sum(array.size for array in arrays) > 0.7


@pytest.fixture(scope="module")
def lessons(tmp_path_factory):
    pictures = np.random.default_rng(0).random((30, 28, 28, 1), np.float32)
    pool = _lenet.pool_of(pictures, tmp_path_factory.mktemp("pool") / "pool.npy", copies=3)
    labels = np.arange(30) % 10
    logits = np.broadcast_to(5 * np.eye(10, dtype=np.float16)[labels], (3, 30, 10))
    return _lenet.Lessons(pool, logits, labels)


def test_the_first_copy_is_the_picture_and_the_others_are_distorted(lessons):
    assert lessons.pool.shape == (3, 30, 28, 28) and lessons.pool.dtype == np.uint8
    pictures = np.round(255 * np.random.default_rng(0).random((30, 28, 28, 1), np.float32))[..., 0]
    np.testing.assert_array_equal(lessons.pool[0], pictures)
    assert not np.array_equal(lessons.pool[1], lessons.pool[0])
    assert not np.array_equal(lessons.pool[1], lessons.pool[2])


def test_batches_fit_and_repeat(lessons):
    x, targets = next(lessons.batches(4, 16))
    assert x.shape == (16, 28, 28, 1) and x.min() >= 0 and x.max() <= 1
    np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-5)
    again, _ = next(lessons.batches(4, 16))
    np.testing.assert_array_equal(x, again)


def test_a_pool_that_is_there_is_not_made_again(tmp_path):
    pictures = np.zeros((4, 28, 28, 1), np.float32)
    first = _lenet.pool_of(pictures, tmp_path / "pool.npy", copies=2)
    second = _lenet.pool_of(pictures + 1, tmp_path / "pool.npy", copies=2)
    np.testing.assert_array_equal(first, second)


def test_a_row_is_that_of_the_decoded_file(lessons, monkeypatch):
    mnist = data.load("mnist")
    small = data.Dataset("mnist", *(mnist.x_train[:50], mnist.y_train[:50]) * 3, mnist.class_names)
    monkeypatch.setattr(bench.data, "load", lambda name: small)
    row, content = bench.measure("lenet_300_100", "tiny", 0, lessons, deep_compression.Plan(kept=3000, steps=60))
    assert row["bytes"] == len(content) and row["parameters"] == 266_610 and 0 < row["kept"] <= 3000
    assert row["validation error %"] == row["test error %"]


def test_a_trial_looks_at_validation_pictures_alone(lessons, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(bench._lenet, "lessons", lambda: lessons)
    monkeypatch.setattr(bench, "errors", lambda model, x, y: seen.append(len(x)) or 1.0)
    words = [
        "--only",
        "try",
        "--networks",
        "lenet_300_100",
        "--settings",
        "kept=3000",
        "steps=40",
        "learning_rate=0.01",
    ]
    assert bench.main(words) == 0
    printed = capsys.readouterr().out
    assert "validation error %" in printed and "test error %" not in printed and len(seen) == 1
    assert "kept=3000" in printed and "learning_rate=0.01" in printed
    with pytest.raises(ValueError, match="no 'keep'"):
        bench.main(["--only", "try", "--settings", "keep=3"])


def test_the_control_keeps_every_weight():
    plan, units = bench.plan_of("lenet_300_100", bench.DENSE)
    assert plan.kept == 266_200 and plan.levels == 127 and not units
    assert bench.plan_of("lenet5", "1110x")[0].steps == bench.PLANS["lenet5"]["1110x"]["steps"]


def test_speed_is_measured_on_a_network_that_comes_back():
    model = bench.generated(1_000_000)
    assert model.count_params() == 1_000_000
    assert 0.02 < np.mean(model.weights[0].numpy() != 0) < 0.04


def test_an_unknown_plan_is_refused(capsys):
    with pytest.raises(SystemExit):
        bench.main(["--plans", "9000x"])
    assert "1110x" in capsys.readouterr().err


def test_a_thin_start_has_the_layers_of_the_published_network():
    thin, again, other = (_lenet.student("lenet5", seed, (8, 20, 40)) for seed in (0, 0, 1))
    assert [w.shape[-1] for w in thin.weights] == [8, 8, 20, 20, 40, 40, 10, 10]
    assert np.array_equal(thin.weights[0], again.weights[0]) and not np.array_equal(thin.weights[0], other.weights[0])
    full = deep_compression.padded(thin, models.lenet5(seed=0))
    pictures = np.random.default_rng(0).random((4, 28, 28, 1), np.float32)
    np.testing.assert_allclose(full.predict(pictures, verbose=0), thin.predict(pictures, verbose=0), atol=1e-4)


def test_a_relu_behind_each_convolution_and_nothing_else_is_different():
    plain, activated = models.lenet5(seed=0), _lenet.architecture("lenet5_relu", 0)
    for old, new in zip(plain.weights, activated.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    relu = tf_keras.activations.relu
    with_relu = [layer.name for layer in activated.layers if getattr(layer, "activation", None) is relu]
    assert with_relu == ["conv_20", "conv_50", "dense_500"]


def test_only_the_best_file_of_a_plan_by_validation_ships_and_all_rows_are_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "COMPRESSED", tmp_path / "files")
    monkeypatch.setattr(bench.recorded, "RESULTS", tmp_path)
    for seed, (wrong, size) in enumerate([(1.2, 9), (1.1, 8), (1.1, 7), (1.3, 5)]):
        row = {"network": "lenet5", "plan": "1110x", "seed": seed, "validation error %": wrong, "bytes": size}
        bench.store_row(row | {"test error %": 9 - seed}, bytes(size))
    assert [path.read_bytes() for path in (tmp_path / "files").iterdir()] == [bytes(7)]
    record = recorded.load("compression", tmp_path)
    assert [row["bytes"] for row in record.rows] == [9, 8, 7, 5] and record.seeds == [0, 1, 2, 3]
    assert "benchmarks._lenet:student" in record.digests


def test_the_teacher_gives_ten_logits():
    model = _lenet.teacher()
    assert isinstance(model, tf_keras.Model) and model.output_shape == (None, 10)
