"""Measure what transfer learning gives with few labels, and where optimizing belongs in it.

    python course.py bench transfer_learning          # all of it, or some of these:

labels       Fashion-MNIST at 48x48, 10, 50 and 200 labels a class: head alone, last blocks too, a small net alone
fine_tuning  all layers at two rates, statistics of batch normalization frozen or moving; what is forgotten
order        quantized after transfer, and in training; pruned before and after; a small student
backbone     the ImageNet network itself: bytes and agreement of float32, float16, dynamic and int8 files

Each seed draws other labelled pictures from the training part; accuracy is that of the first 1,000 test pictures.
Rates are chosen on 500 validation pictures.  Nothing is timed.  --resume FILE stores each value when it is measured,
and goes on from there.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils  # noqa: F401

import tensorflow as tf  # isort: skip
import tf_keras  # isort: skip
from benchmarks._command import start
from utils import ROOT, data, models, recorded, training
from utils.measure import statistics
from utils.optimize import distillation, recovery, transfer
from utils.optimize.keras_graph import rebuild
from utils.optimize.pruning import magnitude
from utils.optimize.quantization import aware_ranges
from utils.optimize.quantization.aware import quantize_aware
from utils.optimize.quantization.aware_file import to_tflite
from utils.optimize.quantization.converter import convert

COMMAND = "python course.py bench transfer_learning"
SEEDS = (0, 1, 2)
LABELS = (10, 50, 200)
SIZE, TESTED, VALIDATED = 48, 1000, 500
STEPS = 60  # of fine-tuning, whatever the number of labels, so that all have the same budget
BATCH = 32
T_95 = 4.303  # two degrees of freedom: three seeds
LAST_BLOCKS = "block11"
RATES = (1e-4, 1e-3)  # of fine-tuning, to choose from
UNLABELLED = 3000  # for the student


class Kept:
    """Values that were measured, each stored at once, so that a run that was stopped goes on where it was."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.values = json.loads(path.read_text()) if path and path.exists() else {}

    def __call__(self, key: str, run: Callable):
        if key not in self.values:
            self.values[key] = run()
            print(key, self.values[key], flush=True)
            if self.path:
                self.path.write_text(json.dumps(self.values, indent=1))
        return self.values[key]


class Material:
    """Pictures at both sizes, the backbone, and what was measured so far."""

    def __init__(self, tested: int = TESTED, size: int = SIZE, steps: int = STEPS, kept: Kept | None = None) -> None:
        self.fashion = data.load("fashion_mnist")
        self.size, self.steps, self.kept = size, steps, kept or Kept()
        self.x_test = transfer.prepared(self.fashion.x_test[:tested], size)
        self.y_test = self.fashion.y_test[:tested]
        self.x_val = transfer.prepared(self.fashion.x_val[:VALIDATED], size)
        self.y_val = self.fashion.y_val[:VALIDATED]
        self.backbone = transfer.efficientnet_lite0(size)

    @functools.lru_cache(maxsize=8)  # noqa: B019
    def labelled(self, per_class: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(small pictures, labels, large pictures) of one draw."""
        few = self.fashion.subset(per_class * 10, seed)
        return few.x_train, few.y_train, transfer.prepared(few.x_train, self.size)

    @functools.lru_cache(maxsize=16)  # noqa: B019
    def transferred(self, per_class: int, seed: int):
        """Backbone and head trained on cached features: where every other recipe begins."""
        _, y, x = self.labelled(per_class, seed)
        return transfer.with_head(self.backbone, transfer.train_head(transfer.features(self.backbone, x), y, 10))

    @functools.lru_cache(maxsize=4)  # noqa: B019
    def trainer(self, from_layer: str | None = None, frozen: bool = True) -> Trainer:
        """One for each kind of fine-tuning."""
        model = transfer.with_head(self.backbone, transfer.train_head(np.eye(20, 1280), np.arange(20) % 10, 10))
        return Trainer(model, from_layer, frozen)

    def tuned(self, per_class: int, seed: int, rate: float, *, from_layer: str | None = LAST_BLOCKS, frozen=True):
        """The trainer, whose model was fine-tuned from where every recipe begins."""
        trainer = self.trainer(from_layer, frozen)
        trainer.start(self.transferred(per_class, seed))
        _, y, x = self.labelled(per_class, seed)
        trainer.fit(x, y, self.steps, rate, seed)
        return trainer

    @functools.lru_cache(maxsize=2)  # noqa: B019
    def best(self, per_class: int, seed: int):
        """The last blocks fine-tuned at the rate that was chosen for them: where the orders begin."""
        return rebuild(self.tuned(per_class, seed, chosen(self)).model)

    def accuracy(self, model) -> float:
        return 100 * training.share_correct(model, self.x_test, self.y_test)


class Falling(tf_keras.optimizers.schedules.LearningRateSchedule):
    """A half cosine from a rate to 0, both of which may change between two trainings."""

    def __init__(self) -> None:
        self.rate, self.steps = tf.Variable(0.0), tf.Variable(1.0)

    def __call__(self, step):
        done = tf.minimum(tf.cast(step, tf.float32) / self.steps, 1.0)
        return self.rate * 0.5 * (1 + tf.cos(np.pi * done))


class Trainer:
    """Fine-tunes as `transfer.fine_tune` does, one model again and again, which Keras traces once."""

    def __init__(self, model: tf_keras.Model, from_layer: str | None, frozen: bool) -> None:
        self.model, learns = model, from_layer is None
        for layer in model.layers:
            learns = learns or layer.name.startswith(from_layer)
            normalizes = isinstance(layer, tf_keras.layers.BatchNormalization)
            layer.trainable = learns and not (frozen and normalizes)
        self.rate = Falling()
        self.optimizer = tf_keras.optimizers.Adam(self.rate)
        loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(self.optimizer, loss)
        self.optimizer.build(model.trainable_variables)
        shape = tf.TensorSpec(model.input_shape, tf.float32)
        self._in_training = tf.function(lambda x: model(x, training=True), input_signature=[shape])

    def start(self, weights_of: tf_keras.Model) -> None:
        """The weights of a model of the same layers in the same order."""
        for mine, other in zip(self.model.layers, weights_of.layers, strict=True):
            mine.set_weights(other.get_weights())

    def fit(self, x, y, steps: int, rate: float, seed: int, *, keep_zeros: bool = False) -> None:
        for variable in self.optimizer.variables:
            variable.assign(tf.zeros_like(variable))
        times = epochs(len(x), steps)
        self.rate.rate.assign(rate)
        self.rate.steps.assign(times * -(-len(x) // BATCH))
        callbacks = [recovery._KeepZeros(self.model)] if keep_zeros else []
        tf_keras.utils.set_random_seed(seed)
        self.model.fit(x, y, batch_size=BATCH, epochs=times, verbose=0, callbacks=callbacks)

    def accuracy_in_training_mode(self, x: np.ndarray, y: np.ndarray) -> float:
        """Percent right, in batches, when the network computes as it did in training; its statistics stay."""
        before = [layer.get_weights() for layer in self.model.layers]
        parts = [slice(first, first + BATCH) for first in range(0, len(x), BATCH)]
        right = sum(int(np.sum(self._in_training(x[part]).numpy().argmax(axis=1) == y[part])) for part in parts)
        for layer, weights in zip(self.model.layers, before, strict=True):
            layer.set_weights(weights)
        return 100 * right / len(x)


def epochs(examples: int, steps: int = STEPS) -> int:
    """Passes over so many examples that come nearest to that many steps."""
    return max(1, round(steps / -(-examples // BATCH)))


def chosen(material: Material, per_class: int = 50) -> float:
    """The rate for the last blocks: that of `RATES` with the most right validation pictures, for the first draw."""

    def right(rate: float) -> float:
        model = material.tuned(per_class, 0, rate).model
        return 100 * training.share_correct(model, material.x_val, material.y_val)

    return max(RATES, key=lambda rate: material.kept(f"chosen {rate:g}", lambda: right(rate)))


def small_net(material: Material, per_class: int, seed: int, rate: float):
    """The course's residual network on the 28x28 pictures, with ten times the steps, and shifted pictures."""
    small, y, _ = material.labelled(per_class, seed)
    model = models.residual_cnn(seed=seed)
    training.fit(
        model,
        (small, y),
        epochs(len(y), 10 * material.steps),
        batch_size=BATCH,
        learning_rate=rate,
        decay=True,
        seed=seed,
        augment=training.shifted,
    )
    return model


def from_scratch(material: Material, per_class: int, seed: int) -> float:
    """Accuracy of the small net, at the rate of two that is best on the validation pictures."""
    x_val, tested = material.fashion.x_val[:VALIDATED], len(material.y_test)

    def right(rate: float) -> float:
        return 100 * training.share_correct(small_net(material, 50, 0, rate), x_val, material.y_val)

    rate = max((1e-3, 4e-3), key=lambda rate: material.kept(f"chosen small {rate:g}", lambda: right(rate)))
    model = small_net(material, per_class, seed, rate)
    return 100 * training.share_correct(model, material.fashion.x_test[:tested], material.y_test)


def random_weights(material: Material, per_class: int, seed: int) -> float:
    """The same architecture without ImageNet; statistics must move there, since they start at 0 and 1."""
    _, y, x = material.labelled(per_class, seed)
    trainer = material.trainer(None, False)
    tf_keras.utils.set_random_seed(seed)
    backbone = transfer.efficientnet_lite0(material.size, weights=None)
    trainer.start(transfer.with_head(backbone, transfer.train_head(np.eye(20, 1280), np.arange(20) % 10, 10)))
    trainer.fit(x, y, 4 * material.steps, 1e-3, seed)
    return material.accuracy(trainer.model)


def with_interval(values: Sequence[float]) -> str:
    """Mean and half the 95 % interval of the mean over three seeds."""
    half = T_95 * np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{np.mean(values):.1f} ± {half:.1f}"


def row(names: dict, values: Sequence[float], **more) -> dict:
    return {**names, "accuracy": with_interval(values), "seeds": [round(float(v), 2) for v in values], **more}


def measure_labels(material: Material, seeds: Sequence[int] = SEEDS, labels: Sequence[int] = LABELS) -> list[dict]:
    recipes: dict[str, Callable] = {
        "head on frozen features": lambda n, s: material.accuracy(material.transferred(n, s)),
        "last blocks too": lambda n, s: material.accuracy(material.tuned(n, s, chosen(material)).model),
        "small net from scratch": lambda n, s: from_scratch(material, n, s),
        "random weights, all layers": lambda n, s: random_weights(material, n, s),
    }
    return [
        row(
            {"recipe": recipe, "labels a class": count},
            [material.kept(f"{recipe} {count} {seed}", functools.partial(run, count, seed)) for seed in seeds],
        )
        for recipe, run in recipes.items()
        for count in (labels if "random" not in recipe else labels[1:2])
    ]


def measure_fine_tuning(material: Material, seeds: Sequence[int] = SEEDS, per_class: int = 50) -> list[dict]:
    """All layers: accuracy in inference mode and in training mode, and what ImageNet's head still says of crops."""
    whole = transfer.efficientnet_lite0(material.size, top=True)
    kernel, bias = whole.get_layer("imagenet").get_weights()
    x = transfer.prepared(crops(size=material.size), material.size)

    def names(backbone):
        return (transfer.features(backbone, x) @ kernel + bias).argmax(axis=1)

    before = names(material.backbone)
    probes = {}  # trainer -> the model up to its features: traced once

    def run(rate: float, frozen: bool, seed: int) -> tuple[float, float, float]:
        trainer = material.tuned(per_class, seed, rate, from_layer=None, frozen=frozen)
        in_training = trainer.accuracy_in_training_mode(material.x_test, material.y_test)
        inner = trainer.model
        probe = probes.setdefault(frozen, tf_keras.Model(inner.input, inner.get_layer("features").output))
        return material.accuracy(inner), in_training, 100 * float(np.mean(names(probe) == before))

    rows = []
    for rate, frozen in ((1e-4, True), (1e-3, True), (1e-4, False), (1e-3, False)):
        said = "frozen" if frozen else "moving"
        runs = [material.kept(f"{rate:g} {said} {seed}", functools.partial(run, rate, frozen, seed)) for seed in seeds]
        inference, in_training, alike = zip(*runs, strict=True)
        rows.append(
            row({"rate": rate, "statistics": said}, inference)
            | {"in training mode": with_interval(in_training), "photographs named as before": with_interval(alike)}
        )
    return rows


def crops(count: int = 40, size: int = SIZE, seed: int = 0) -> np.ndarray:
    """Random squares of five photographs: three that ship, and scikit-learn's two."""
    import sklearn.datasets
    from PIL import Image

    rng, made = np.random.default_rng(seed), []
    shipped = [ROOT / "data" / "photographs" / f"{name}.jpg" for name in ("cat", "coffee", "rocket")]
    for path in [*shipped, *(Path(sklearn.datasets.__path__[0]) / "images" / f"{n}.jpg" for n in ("china", "flower"))]:
        with Image.open(path) as picture:
            picture = picture.convert("RGB")
            for _ in range(count):
                side = int(min(picture.size) * rng.uniform(0.7, 1))
                left, top = (int(rng.integers(0, length - side + 1)) for length in picture.size)
                square = picture.resize(
                    (size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)
                )
                made.append(np.asarray(square))
    return np.stack(made)


def measure_order(material: Material, seeds: Sequence[int] = SEEDS, per_class: int = 50) -> list[dict]:
    """Accuracy of the *file*, and its bytes, for each order of transfer and optimization."""
    rows = []
    for order, make in ORDERS.items():

        def run(seed, make=make):
            made, x = make(material, per_class, seed)
            outputs = np.asarray(made.predict(x))
            return 100 * float(np.mean(outputs.argmax(axis=1) == material.y_test)), len(made.content)

        pairs = [material.kept(f"{order} {seed}", functools.partial(run, seed)) for seed in seeds]
        rows.append(row({"order": order}, [right for right, _ in pairs], bytes=max(size for _, size in pairs)))
    return rows


def _float_file(material: Material, per_class: int, seed: int):
    return convert(material.best(per_class, seed), "float32"), material.x_test


def _int8_file(material: Material, per_class: int, seed: int):
    calibration = material.labelled(per_class, seed)[2][:200]
    return convert(material.best(per_class, seed), "int8_float_io", calibration), material.x_test


def _aware(material: Material, per_class: int, seed: int):
    """Quantization-aware from the start, with the steps and the rate of the fine-tuning that it replaces."""
    _, y, x = material.labelled(per_class, seed)
    aware = quantize_aware(material.transferred(per_class, seed), 8)
    aware_ranges.calibrate(aware, x[:200])
    settings = {"from_layer": LAST_BLOCKS, "learning_rate": chosen(material), "batch_size": BATCH, "seed": seed}
    transfer.fine_tune(aware, (x, y), epochs(len(y), material.steps), **settings)
    return to_tflite(aware), material.x_test


def _pruned(material: Material, model, per_class: int, seed: int, times: int):
    """`model`, whose zeros stay, with all layers trained for that many times the steps."""
    _, y, x = material.labelled(per_class, seed)
    trainer = material.trainer(None, True)
    trainer.start(model)
    trainer.fit(x, y, times * material.steps, RATES[0], seed, keep_zeros=True)
    return convert(rebuild(trainer.model), "float32"), material.x_test


def _pruned_after(material: Material, per_class: int, seed: int):
    return _pruned(material, magnitude.prune_once(material.best(per_class, seed), 0.5), per_class, seed, 1)


def _pruned_before(material: Material, per_class: int, seed: int):
    """With the same steps in all as `_pruned_after`, of which the fine-tuned model had some."""
    _, y, x = material.labelled(per_class, seed)
    pruned = magnitude.prune_once(material.backbone, 0.5)
    joined = transfer.with_head(pruned, transfer.train_head(transfer.features(pruned, x), y, 10))
    return _pruned(material, joined, per_class, seed, 2)


def _student(material: Material, per_class: int, seed: int):
    """A small net on 28x28 pictures that learns the fine-tuned network's outputs for pictures without labels."""
    x = material.fashion.x_train[:UNLABELLED]
    soft = distillation.logits(material.best(per_class, seed), transfer.prepared(x, material.size))
    return _small_int8(material, seed, (x, None), teacher=soft, temperature=2.0, soft_share=1)


def _student_alone(material: Material, per_class: int, seed: int):
    """The same small net and as many steps with the labels alone: a teacher that knows nothing, and has no share."""
    x, y, _ = material.labelled(per_class, seed)
    return _small_int8(material, seed, (x, y), teacher=np.zeros((len(y), 10), np.float32), soft_share=0)


def _small_int8(material: Material, seed: int, dataset: tuple, **how):
    student = models.depthwise_cnn(seed=seed)
    times = epochs(len(dataset[0]), 15 * material.steps)
    distillation.distil(student, dataset, times, batch_size=BATCH, learning_rate=2e-3, seed=seed, **how)
    tested = material.fashion.x_test[: len(material.y_test)]
    return convert(student, "int8_float_io", material.fashion.x_train[:200]), tested


ORDERS: dict[str, Callable] = {
    "transfer, float32": _float_file,
    "transfer, then int8": _int8_file,
    "quantization-aware while transferring, int8": _aware,
    "transfer, then half pruned, float32": _pruned_after,
    "half pruned, then transfer, float32": _pruned_before,
    "small student of the transferred one, int8": _student,
    "small student alone, int8": _student_alone,
}


def measure_backbone(size: int = 224) -> list[dict]:
    """The network for 1,000 classes as files: bytes, agreement with Keras on crops of photographs."""
    model = transfer.efficientnet_lite0(size, top=True)
    x = transfer.prepared(crops(count=40, size=size), size)
    before = model.predict(x, verbose=0).argmax(axis=1)
    rows = []
    for mode in ("float32", "float16", "dynamic", "int8_float_io"):
        calibration = transfer.prepared(crops(count=20, size=size, seed=1), size) if "int8" in mode else None
        made = convert(model, mode, calibration)
        same = np.asarray(made.predict(x)).argmax(axis=1) == before
        low, high = statistics.wilson(int(same.sum()), len(same))
        rows.append(
            {"mode": mode, "bytes": len(made.content), "same class": float(same.mean()), "low": low, "high": high}
        )
    return rows


PARTS: dict[str, Callable] = {
    "labels": measure_labels,
    "fine_tuning": measure_fine_tuning,
    "order": measure_order,
    "backbone": lambda _: measure_backbone(),
}
NOTES = (
    f"Fashion-MNIST at {SIZE}x{SIZE} and {STEPS} steps of {BATCH} pictures (the network was made for 224x224, and more "
    f"steps may give more); accuracy: percent of the first {TESTED:,} test pictures; ±: 95 % interval of the mean over "
    "three draws of the labelled pictures"
)


def main(argv: list[str] | None = None) -> int:
    """Measure the parts that are asked for, and store each as transfer_PART."""
    parser = argparse.ArgumentParser(
        prog="course.py bench transfer_learning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="which; all if none")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="values so far; delete it when the code changes")
    options = parser.parse_args(argv)
    asked = options.parts or list(PARTS)
    if unknown := set(asked) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; pass some of {', '.join(PARTS)}")
    for part in asked:
        recorded.check_writable(f"transfer_{part}")
    material = Material(kept=Kept(options.resume)) if set(asked) != {"backbone"} else None
    for part in asked:
        rows = PARTS[part](material)
        depends = [measure_backbone if part == "backbone" else PARTS[part]]
        recorded.save(
            f"transfer_{part}", rows, command=f"{COMMAND} {part}", depends=depends, seeds=list(SEEDS), notes=NOTES
        )
        print(*rows, sep="\n", flush=True)
    return 0


if __name__ == "__main__":
    start(main)
