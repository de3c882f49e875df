"""Training: repeats bit for bit, refuses nonsense, and `trained` trains once."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from utils import ROOT, data, models, recorded, training


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """Each test has an empty cache of its own."""
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "trained"


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load("digits")


def small(seed: int | None = 0, num_classes: int = 10):
    return models.mlp((8, 8, 1), num_classes, seed, hidden=(16,))


def weights_of(model) -> str:
    return hashlib.sha256(b"".join(value.tobytes() for value in model.get_weights())).hexdigest()


def python(code: str, **environment: str) -> subprocess.Popen:
    """A fresh interpreter that runs `code` with the helpers importable."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": path, "TQDM_DISABLE": "1", **environment},
    )  # fmt: skip


# -- fit ---------------------------------------------------------------------------------------------------------


def test_fit_learns_and_returns_one_value_an_epoch(digits):
    model = small()
    history = training.fit(model, digits, 3, batch_size=32, learning_rate=5e-3, seed=0)
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert {len(values) for values in history.values()} == {3}
    assert history["loss"][-1] < history["loss"][0]
    assert training.share_correct(model, digits.x_test, digits.y_test) > 0.6


def test_fit_prints_nothing_when_the_bar_is_off(digits, capfd, monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    training.fit(small(), digits, 1)
    assert capfd.readouterr() == ("", "")


def test_the_bar_goes_to_standard_error(digits, capfd, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    training.fit(small(), digits, 1)
    printed = capfd.readouterr()
    assert printed.out == "" and "training mlp" in printed.err


CHILD = """
import hashlib, os, time
import utils
from utils import data, files, models, training

def digest(model):
    return hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest()

fit = training.fit
def counted(*arguments, **settings):
    print("trains")
    return fit(*arguments, **settings)
training.fit = counted
files.write_bytes(data.cache_folder() / f"ready-{os.getpid()}", b"")
while len(list(data.cache_folder().glob("ready-*"))) < 2:  # imports take longer than this training
    time.sleep(0.05)
print("trained", digest(training.trained("mlp", "digits", epochs=30)))

rows, model = data.load("digits").subset(256, 0), models.depthwise_cnn((8, 8, 1), seed=3)
fit(model, rows, 2, seed=5, augment=training.shifted, decay=True)
fit(model, rows, 1, seed=5)
print("fitted", digest(model))
"""


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory) -> list[list[str]]:
    """What two fresh processes print that run CHILD at once, with one empty cache."""
    shared = str(tmp_path_factory.mktemp("shared"))
    children = [python(CHILD, COURSE_CACHE=shared) for _ in range(2)]
    results = [child.communicate(timeout=600) for child in children]
    assert [child.returncode for child in children] == [0, 0], results
    return [out.splitlines() for out, _ in results]


def test_fit_repeats_bit_for_bit_in_fresh_processes(two_processes):
    """With batch normalization, depthwise convolutions, shuffling and augmentation."""
    one, two = ([line for line in lines if line.startswith("fitted")] for lines in two_processes)
    assert len(one) == 1 and one == two


def test_two_processes_that_ask_at_once_train_once(two_processes):
    lines = [line for lines in two_processes for line in lines]
    assert lines.count("trains") == 1
    assert len({line for line in lines if line.startswith("trained")}) == 1


def test_fit_depends_on_its_seed(digits):
    results = []
    for seed in (1, 1, 2):
        model = small()
        training.fit(model, (digits.x_train, digits.y_train), 1, seed=seed)
        results.append(weights_of(model))
    assert results[0] == results[1] != results[2]


def test_a_model_with_softmax_gets_the_loss_of_probabilities(digits):
    import tf_keras

    logits = small()
    softmax = tf_keras.Model(logits.input, tf_keras.layers.Softmax()(logits.output))
    history = training.fit(softmax, digits, 1, seed=0)
    assert history["loss"][0] == pytest.approx(training.fit(small(), digits, 1, seed=0)["loss"][0], rel=1e-4)


def test_decay_follows_half_a_cosine_down_to_zero(digits):
    model = small()
    training.fit(model, (digits.x_train, digits.y_train), 2, learning_rate=0.01, decay=True)
    # that of the last of 20 steps: 0.01 * (1 + cos(pi * 19 / 20)) / 2
    assert float(model.optimizer.learning_rate) == pytest.approx(6.2e-5, rel=0.01)


def test_callbacks_are_called_and_a_sequential_model_without_shape_is_built(digits):
    import tf_keras

    seen = []
    callback = tf_keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    model = tf_keras.Sequential([tf_keras.layers.Flatten(), tf_keras.layers.Dense(10)])
    training.fit(model, digits, 2, callbacks=[callback])
    assert seen == [0, 1]


def test_token_numbers_are_accepted_by_a_model_that_takes_them():
    import tf_keras

    inputs = tf_keras.Input((5,), dtype="int32")
    x = tf_keras.layers.GlobalAveragePooling1D()(tf_keras.layers.Embedding(300, 4)(inputs))
    model = tf_keras.Model(inputs, tf_keras.layers.Dense(2)(x))
    tokens = np.random.default_rng(0).integers(0, 300, (64, 5))
    assert len(training.fit(model, (tokens, tokens[:, 0] % 2))["loss"]) == 1
    with pytest.raises(ValueError, match="takes whole numbers"):
        training.fit(model, (tokens.astype(float), tokens[:, 0] % 2))


@pytest.mark.filterwarnings("ignore:distutils Version classes are deprecated:DeprecationWarning")  # the Toolkit's own
def test_fit_trains_what_the_toolkit_prepared(digits):
    import tensorflow_model_optimization as tfmot

    sparsity, clustering = tfmot.sparsity.keras, tfmot.clustering.keras
    pruned = sparsity.prune_low_magnitude(small(), sparsity.ConstantSparsity(0.5, 0, frequency=1))
    training.fit(pruned, digits, 1, callbacks=[sparsity.UpdatePruningStep()])
    assert np.mean(sparsity.strip_pruning(pruned).get_weights()[0] == 0) == pytest.approx(0.5, abs=0.01)
    quantized = tfmot.quantization.keras.quantize_model(small())
    clustered = clustering.cluster_weights(small(), 4, clustering.CentroidInitialization.LINEAR)
    for model in (quantized, clustered):
        history = training.fit(model, digits, 2, learning_rate=5e-3)
        assert history["loss"][1] < history["loss"][0]


X, Y = np.zeros((4, 8, 8, 1), np.float32), np.arange(4)


def with_value(value: float) -> np.ndarray:
    x = X.copy()
    x[1, 2, 3, 0] = value
    return x


BAD_DATA = {
    "empty": ((X[:0], Y[:0]), "the train pictures are empty"),
    "fewer labels": ((X, Y[:3]), "4 train pictures but 3 labels"),
    "NaN": ((with_value(np.nan), Y), "NaN or infinity"),
    "infinite": ((with_value(-np.inf), Y), "NaN or infinity"),
    "0..255 as floats": ((with_value(255), Y), "reach from 0 to 255; pass values in"),
    "just beyond ten": ((with_value(10.01), Y), "reach from 0 to 10.01; pass values in"),
    "0..255 as bytes": ((X.astype(np.uint8), Y), "are uint8; pass floats"),
    "text": ((X.astype(str), Y), "text or objects .* prepare them before"),
    "no channel axis": ((X[..., 0], Y), r"have shape \(4, 8, 8\); mlp takes \(None, 8, 8, 1\)"),
    "other size": ((X[:, :7], Y), r"have shape \(4, 7, 8, 1\)"),
    "label too large": ((X, Y + 7), "labels reach from 7 to 10"),
    "label negative": ((X, Y - 1), "labels reach from -1 to 2"),
    "one-hot": ((X, np.eye(4)), "for one-hot labels"),
    "float labels": ((X, Y / 1), "labels are float64"),
    "no pair": (X, "dataset is a ndarray; pass a data.Dataset"),
    "a name": ("digits", "dataset is a str; pass a data.Dataset"),
}


@pytest.mark.parametrize(("dataset", "message"), BAD_DATA.values(), ids=BAD_DATA.keys())
def test_bad_data_is_refused_before_training(dataset, message):
    model = small()
    before = weights_of(model)
    with pytest.raises(ValueError, match=message):
        training.fit(model, dataset)
    assert weights_of(model) == before


@pytest.mark.parametrize("bad", [
    {"epochs": 0}, {"epochs": 1.5}, {"epochs": True}, {"batch_size": -1}, {"batch_size": "32"}, {"learning_rate": 0},
    {"learning_rate": float("nan")}, {"learning_rate": "fast"}, {"seed": -1}, {"seed": 1.0}, {"seed": None},
])  # fmt: skip
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))} is .*; pass a"):
        training.fit(small(), (X, Y), **bad)


def test_bad_models_are_refused():
    import tf_keras

    class Model:
        __module__ = "keras.src.models.functional"

    with pytest.raises(TypeError, match="of Keras 3"):
        training.fit(Model(), (X, Y))
    for thing in ("model.h5", None, models.mlp):
        with pytest.raises(TypeError, match="is no model; pass a tf_keras model"):
            training.fit(thing, (X, Y))
    inputs = tf_keras.Input((8, 8, 1))
    with pytest.raises(ValueError, match="pass a classifier"):
        training.fit(tf_keras.Model(inputs, inputs), (X, Y))
    with pytest.raises(ValueError, match="has 2 inputs"):
        training.fit(tf_keras.Model([inputs, tf_keras.Input((1,))], inputs), (X, Y))


@pytest.mark.parametrize("bad", ["nan", "inf"])
def test_divergence_is_an_error(bad):
    with pytest.raises(FloatingPointError, match=rf"is {bad} in epoch 2: .* pass a learning_rate below 0.1"):
        training._finite({"loss": [1.0, float(bad)]}, 0.1)
    assert training._finite({"loss": [np.float32(1)]}, 0.1) == {"loss": [1.0]}


def test_shifted_moves_each_picture_by_at_most_so_many_pixels():
    pictures = np.zeros((200, 9, 9, 1), np.float32)
    pictures[:, 4, 4] = 1
    moved = training.shifted(pictures, np.random.default_rng(0), pixels=2)
    _, rows, columns, _ = np.nonzero(moved)
    assert len(rows) == 200
    assert set(rows) == set(columns) == {2, 3, 4, 5, 6}
    assert np.array_equal(training.shifted(pictures, np.random.default_rng(0), pixels=0), pictures)


# -- weights files -----------------------------------------------------------------------------------------------


def test_weights_survive_the_round_trip(tmp_path):
    model, other = models.residual_cnn(seed=1), models.residual_cnn(seed=2)
    training.save_weights(model, tmp_path / "w.npz")
    training.load_weights(other, tmp_path / "w.npz")
    assert weights_of(model) == weights_of(other)


def test_weights_of_another_network_damaged_or_nan_are_refused(tmp_path):
    path = tmp_path / "w.npz"
    training.save_weights(small(), path)
    with pytest.raises(ValueError, match="holds weights of shapes"):
        training.load_weights(models.mlp(), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="cannot be read"):
        training.load_weights(small(), path)
    broken = small()
    broken.set_weights([np.full_like(value, np.nan) for value in broken.get_weights()])
    training.save_weights(broken, path)
    with pytest.raises(ValueError, match="NaN"):
        training.load_weights(small(), path)


# -- trained -----------------------------------------------------------------------------------------------------


@pytest.fixture
def fits(monkeypatch) -> list:
    """How often `trained` really trains."""
    calls, fit = [], training.fit

    def counted(*arguments, **settings):
        calls.append(settings)
        return fit(*arguments, **settings)

    monkeypatch.setattr(training, "fit", counted)
    return calls


def test_trained_trains_once_for_each_content(digits, fits, cache):
    first = training.trained(small, digits, epochs=1)
    assert weights_of(training.trained(small, digits, epochs=1)) == weights_of(first)
    assert len(fits) == 1
    for change in ({"seed": 1}, {"epochs": 2}, {"batch_size": 64}, {"learning_rate": 1e-3}):
        training.trained(small, digits, **{"epochs": 1, **change})
    training.trained(functools.partial(small, num_classes=12), digits, epochs=1)
    training.trained(small, digits.subset(200, 0), epochs=1)
    assert len(fits) == 7
    assert len(list(cache.glob("small-*.npz"))) == 7


def test_a_variable_that_the_source_does_not_show_makes_another_key(digits, fits):
    def maker(activation):
        def build(input_shape, num_classes, seed):
            import tf_keras

            inputs = tf_keras.Input(input_shape)
            x = tf_keras.layers.Dense(num_classes, activation=activation)(tf_keras.layers.Flatten()(inputs))
            return tf_keras.Model(inputs, x)

        return build

    for activation in ("relu", "tanh", "relu"):
        training.trained(maker(activation), digits, epochs=1)
    assert len(fits) == 2, "equal but for a closure's variable; automatic layer names do not count"


def test_trained_models_are_independent_and_ready_to_evaluate(digits, fits):
    one, two = (training.trained(small, digits, epochs=1) for _ in range(2))
    one.set_weights([0 * value for value in one.get_weights()])
    assert np.abs(two.get_weights()[0]).max() > 0
    loss, share = two.evaluate(digits.x_test, digits.y_test, verbose=0)
    assert np.isfinite(loss)
    assert share == pytest.approx(training.share_correct(two, digits.x_test, digits.y_test))


def test_a_function_without_arguments_is_accepted(digits, fits):
    def unseeded():
        return models.mlp((8, 8, 1), hidden=(4,))

    one, two = (training.trained(unseeded, digits, epochs=1, seed=3) for _ in range(2))
    assert weights_of(one) == weights_of(two)
    assert len(fits) == 1


@pytest.mark.parametrize("damage", [lambda content: content[:300], lambda content: b"", lambda content: b"x" * 999])
def test_a_damaged_cache_entry_is_made_again(digits, fits, cache, damage):
    first = training.trained(small, digits, epochs=1)
    (entry,) = cache.glob("*.npz")
    whole = entry.read_bytes()
    entry.write_bytes(damage(whole))
    assert weights_of(training.trained(small, digits, epochs=1)) == weights_of(first)
    assert len(fits) == 2
    assert entry.read_bytes() == whole


def test_fresh_trains_although_the_cache_has_it(digits, fits):
    training.trained(small, digits, epochs=1)
    training.trained(small, digits, epochs=1, fresh=True)
    assert len(fits) == 2


def test_a_full_disk_costs_the_cache_but_not_the_network(digits, monkeypatch, cache):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(data, "write_npz", full)
    with pytest.warns(UserWarning, match="could not be kept .*No space left"):
        model = training.trained(small, digits, epochs=1)
    assert training.share_correct(model, digits.x_test, digits.y_test) > 0.1
    assert list(cache.glob("*.npz")) == []


@pytest.mark.parametrize(("architecture", "message"), [
    ("lenet-5", "did you mean 'lenet5'"), ("resnet50", "there is no architecture 'resnet50'"), (5, "no architecture 5"),
])  # fmt: skip
def test_an_unknown_architecture_is_answered_with_the_nearest(architecture, message):
    with pytest.raises(ValueError, match=message):
        training.trained(architecture, "digits")


def test_other_bad_arguments_of_trained(digits):
    with pytest.raises(ValueError, match="did you mean 'digits'"):
        training.trained("mlp", "digit")
    with pytest.raises(ValueError, match="dataset is a tuple"):
        training.trained("mlp", (X, Y))
    with pytest.raises(ValueError, match="epochs is 0"):
        training.trained("mlp", digits, epochs=0)
    with pytest.raises(TypeError, match="is no model"):
        training.trained(lambda: "model", digits)
    with pytest.raises(ValueError, match="at least 16x16"):
        training.trained("lenet5", digits)


# -- weights that ship -------------------------------------------------------------------------------------------

SHIPPED = [row for row in recorded.load("weights").rows if row["schedule"] == "shipped"]


@pytest.mark.parametrize("row", SHIPPED, ids=lambda row: f"{row['architecture']}-{row['dataset']}")
def test_shipped_weights_are_loaded_and_have_the_recorded_accuracy(row, fits):
    loaded = data.load(row["dataset"])
    model = training.trained(row["architecture"], row["dataset"], seed=0, fresh=False)
    assert fits == []
    assert model.count_params() == row["parameters"]
    part = loaded.subset(1000, 0, split="test")
    share = training.share_correct(model, part.x_test, part.y_test)
    error = (row["test_accuracy"] * (1 - row["test_accuracy"]) / 1000) ** 0.5
    assert abs(share - row["test_accuracy"]) < 4 * error
    assert row["low"] < row["test_accuracy"] < row["high"]


def test_shipped_weights_are_for_default_settings_seed_zero_and_the_whole_data_only():
    whole = data.load("fashion_mnist")
    build = models.mlp
    model = build(seed=0)
    assert training._load_shipped(model, build, whole)
    assert not training._load_shipped(model, build, whole.subset(1000, 0))
    assert not training._load_shipped(model, functools.partial(build, hidden=(64,)), whole)
    assert not training._load_shipped(model, build, data.load("digits"))


@pytest.mark.parametrize("change", [{"seed": 1}, {"fresh": True}, {"epochs": 1}, {"batch_size": 64}])
def test_other_settings_do_not_get_the_shipped_weights(change, monkeypatch):
    trained = []
    monkeypatch.setattr(training, "_load_or_train", lambda *arguments: trained.append(arguments))
    training.trained("mlp", "fashion_mnist", **{"seed": 0, "fresh": False, **change})
    assert len(trained) == 1


def test_altered_shipped_weights_are_refused(tmp_path, monkeypatch):
    name = "mlp-fashion_mnist.npz"
    sums = (training.WEIGHTS / "SHA256SUMS").read_text()
    monkeypatch.setattr(training, "WEIGHTS", tmp_path)
    training.save_weights(models.mlp(seed=1), tmp_path / name)
    (tmp_path / "SHA256SUMS").write_text(sums)
    with pytest.raises(ValueError, match="is not the file that the course ships; restore it"):
        training.trained("mlp", "fashion_mnist", seed=0, fresh=False)


def test_every_schedule_was_run_and_ships_its_weights():
    from benchmarks import weights

    rows = recorded.load("weights").rows
    assert {(row["architecture"], row["dataset"]) for row in rows} == set(weights.SCHEDULES)
    assert all(training.shipped_path(*pair).exists() for pair in weights.SCHEDULES)
    assert all(row["epochs"] == training.EPOCHS[row["architecture"]] for row in rows if row["schedule"] == "fresh")


def test_wilson_agrees_with_a_published_example():
    """Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263 gives 0.2553 to 0.3662."""
    from benchmarks import weights

    assert weights.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_the_share_of_correct_answers_by_hand_and_what_is_refused():
    import tf_keras

    model = tf_keras.Sequential([tf_keras.Input((3,)), tf_keras.layers.Activation("linear")])
    x = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [2, 1, 0]], np.float32)
    assert training.share_correct(model, x, np.array([0, 1, 0, 1])) == 0.5
    for labels in (np.zeros((4, 1), int), np.zeros(3, int), np.eye(4), np.zeros(4)):
        with pytest.raises(ValueError, match="n whole numbers"):
            training.share_correct(model, x, labels)
    with pytest.raises(ValueError, match="NaN for 1 of 4"):
        training.share_correct(model, np.where(x == 2, np.nan, x), np.zeros(4, int))


def test_text_is_refused_with_its_way_out():
    import tf_keras

    layer = tf_keras.layers.StringLookup(vocabulary=["a"])
    model = tf_keras.Sequential(
        [tf_keras.Input((1,), dtype="string"), layer, tf_keras.layers.Embedding(3, 2), tf_keras.layers.Flatten()]
    )
    with pytest.raises(ValueError, match=r"are text.*x = layer\(text\)"):
        training.fit(model, (np.array([["a"], ["b"]]), np.array([0, 1])))


def one_layer(units=3, activation=None):
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    return tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.Dense(units, activation)])


def numbers(n=20):
    rng = np.random.default_rng(0)
    return rng.random((n, 4)).astype(np.float32), np.arange(n) % 3


def test_one_sigmoid_has_no_largest_output():
    """Its argmax is 0 whatever it gives."""
    x, y = numbers()
    with pytest.raises(ValueError, match=r"gives one output, \(20, 1\)"):
        training.share_correct(one_layer(1, "sigmoid"), x, np.zeros(20, int))
    for wrong in (y + 1, y - 1):
        with pytest.raises(ValueError, match="the labels reach from"):
            training.share_correct(one_layer(), x, wrong)


def test_sigmoids_side_by_side_are_no_classes():
    with pytest.raises(ValueError, match="ends in a sigmoid for each of 3 outputs"):
        training.fit(one_layer(3, "sigmoid"), numbers())


def test_labels_in_a_column_are_not_to_be_made_zeros():
    x, y = numbers()
    with pytest.raises(ValueError, match=r"for a column of labels y\[:, 0\]"):
        training.fit(one_layer(), (x, y[:, None]))


def test_a_subclassed_model_is_wrapped_as_the_sentence_says():
    import tf_keras

    class Subclassed(tf_keras.Model):
        def __init__(self):
            super().__init__()
            self.last = tf_keras.layers.Dense(3)

        def call(self, inputs):
            return self.last(inputs)

    model, inputs = Subclassed(), tf_keras.Input((4,))
    with pytest.raises(
        ValueError, match=r"inputs = tf_keras.Input\(\(4,\)\); tf_keras.Model\(inputs, model\(inputs\)\)"
    ):
        training.fit(model, numbers())
    assert training.fit(tf_keras.Model(inputs, model(inputs)), numbers())["loss"]


def test_numbers_of_numpy_are_numbers(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    x, y = numbers()
    dataset = data.Dataset("own", x, y, x, y, x, y, ("a", "b", "c"))
    of_numpy = {"epochs": np.int64(1), "batch_size": np.int32(8), "seed": np.int64(3), "learning_rate": np.float32(0.5)}
    plain = {"epochs": 1, "batch_size": 8, "seed": 3, "learning_rate": 0.5}
    models = [training.trained(one_layer, dataset, **settings) for settings in (of_numpy, plain)]
    assert all(np.array_equal(a, b) for a, b in zip(*(model.get_weights() for model in models), strict=True))
