"""Measure what transfer learning gives with few labels, and where optimizing belongs in it.

    python course.py bench transfer_learning          # all of it, or some of these:

labels       Fashion-MNIST at 48x48, 10, 50 and 200 labels a class: head alone, last blocks too, random features
fine_tuning  the last blocks at two rates, statistics of batch normalization frozen or moving; what is forgotten
order        quantized after transfer; pruned before and after

Each seed draws other labelled pictures from the training part; accuracy is that of the first 1,000 test pictures.
Rates are chosen on 500 validation pictures.  What comes before the last blocks never changes, so its outputs are
computed once for each picture.  Nothing is timed.  --resume FILE stores each value when it is measured, and goes on
from there.
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
from utils import ROOT, data, files, recorded, training
from utils.optimize import recovery, transfer
from utils.optimize.pruning import magnitude
from utils.optimize.quantization.converter import convert

COMMAND = "python course.py bench transfer_learning"
SEEDS = (0, 1, 2)
LABELS = (10, 50, 200)
SIZE, TESTED, VALIDATED = 48, 1000, 500
STEPS = 60  # of fine-tuning, whatever the number of labels, so that all have the same budget
BATCH = 32
T_95 = 4.303  # two degrees of freedom: three seeds
RATES = (1e-4, 1e-3)  # of fine-tuning, to choose from


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
                files.write_json(self.path, self.values)
        return self.values[key]


class Material:
    """Pictures at both sizes, what the frozen part makes of them, and what was measured so far."""

    def __init__(
        self, tested: int = TESTED, size: int = SIZE, steps: int = STEPS, kept: Kept | None = None, weights="imagenet"
    ) -> None:
        self.fashion = data.load("fashion_mnist")
        self.size, self.steps, self.kept = size, steps, kept or Kept()
        self.backbone = transfer.efficientnet_lite0(size, weights=weights)
        self.front = front(self.backbone)
        self.joined = transfer.with_head(self.backbone, any_head())
        self.trainers = {frozen: Trainer(last_blocks(self.front.output_shape[1:]), frozen) for frozen in (True, False)}
        self.small_test, self.y_test = self.fashion.x_test[:tested], self.fashion.y_test[:tested]
        self.y_val = self.fashion.y_val[:VALIDATED]

    @functools.cached_property
    def test(self) -> np.ndarray:
        return self.maps(self.small_test)

    @functools.cached_property
    def validation(self) -> np.ndarray:
        return self.maps(self.fashion.x_val[:VALIDATED])

    def prepared(self, pictures: np.ndarray) -> np.ndarray:
        return transfer.prepared(pictures, self.size)

    def maps(self, pictures: np.ndarray) -> np.ndarray:
        """What the last blocks are given."""
        return self.front.predict(self.prepared(pictures), verbose=0)

    @functools.lru_cache(maxsize=16)  # noqa: B019
    def labelled(self, per_class: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(small pictures, labels, maps) of one draw."""
        few = self.fashion.subset(per_class * 10, seed)
        return few.x_train, few.y_train, self.maps(few.x_train)

    def features(self, maps: np.ndarray, *parts: tf_keras.Model) -> np.ndarray:
        """The features of such maps, with the weights of the last blocks of these models."""
        trainer = self.trainers[True]
        trainer.start(*(parts or (self.backbone,)))
        return trainer.features.predict(maps, verbose=0)

    @functools.lru_cache(maxsize=16)  # noqa: B019
    def head(self, per_class: int, seed: int) -> tf_keras.Model:
        """Trained on the backbone's features: where every other recipe begins."""
        _, y, maps = self.labelled(per_class, seed)
        return transfer.train_head(self.features(maps), y, 10)

    def tuned(self, per_class: int, seed: int, rate: float, frozen: bool = True) -> Trainer:
        """The trainer, whose model was fine-tuned from where every recipe begins."""
        _, y, maps = self.labelled(per_class, seed)
        head, trainer = self.head(per_class, seed), self.trainers[frozen]
        trainer.start(self.backbone, head)
        trainer.fit(maps, y, self.steps, rate, seed)
        return trainer

    def whole(self, *parts: tf_keras.Model) -> tf_keras.Model:
        """Pictures -> logits, with the weights of these parts, of the last that has a layer."""
        give(self.joined, self.backbone, *parts)
        return self.joined

    def accuracy(self, model) -> float:
        return 100 * training.share_correct(model, self.test, self.y_test)


def front(backbone: tf_keras.Model) -> tf_keras.Model:
    """What comes before the last blocks, a model that shares its layers."""
    return tf_keras.Model(backbone.input, backbone.get_layer("block10_add").output)


def last_blocks(shape: tuple[int, int, int]) -> tf_keras.Model:
    """Blocks 11 to 15 of EfficientNet-Lite0 and a head of ten classes, for what block 10 gives."""
    x = inputs = tf_keras.Input(shape)
    strides = {11: 2}
    for number in range(11, 16):
        side, channels = (5, 192) if number < 15 else (3, 320)
        x = transfer._block(x, side, strides.get(number, 1), 6, channels, f"block{number}")
    x = transfer._normalized(transfer._convolution(x, 1280, 1, 1, "head"), "head", active=True)
    x = tf_keras.layers.GlobalAveragePooling2D(name="features")(x)
    return tf_keras.Model(inputs, tf_keras.layers.Dense(10, name="logits")(x), name="last_blocks")


def give(model: tf_keras.Model, *parts: tf_keras.Model) -> None:
    """Each layer gets the weights of the layer of that name in the parts, such as backbone and head."""
    found = {layer.name: layer for part in parts for layer in part.layers}
    for layer in model.layers:
        if layer.weights and layer.name in found:
            layer.set_weights(found[layer.name].get_weights())


def any_head() -> tf_keras.Model:
    """A head that knows nothing yet."""
    dense = tf_keras.layers.Dense(10, name="logits")
    return tf_keras.Sequential([tf_keras.Input((1280,), name="head_input"), dense], name="head")


class Falling(tf_keras.optimizers.schedules.LearningRateSchedule):
    """A half cosine from a rate to 0, both of which may change between two trainings."""

    def __init__(self) -> None:
        self.rate, self.steps = tf.Variable(0.0), tf.Variable(1.0)

    def __call__(self, step):
        done = tf.minimum(tf.cast(step, tf.float32) / self.steps, 1.0)
        return self.rate * 0.5 * (1 + tf.cos(np.pi * done))


class Trainer:
    """Fine-tunes as `transfer.fine_tune` does, one model again and again, which Keras traces once."""

    def __init__(self, model: tf_keras.Model, frozen: bool) -> None:
        self.model = model
        for layer in model.layers:
            layer.trainable = not (frozen and isinstance(layer, tf_keras.layers.BatchNormalization))
        self.features = tf_keras.Model(model.input, model.layers[-2].output)
        self.rate = Falling()
        self.optimizer = tf_keras.optimizers.Adam(self.rate)
        model.compile(self.optimizer, tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        self.optimizer.build(model.trainable_variables)
        shape = tf.TensorSpec(model.input_shape, tf.float32)
        self._in_training = tf.function(lambda x: model(x, training=True), input_signature=[shape])

    def start(self, *parts: tf_keras.Model) -> None:
        give(self.model, *parts)

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
    """That of `RATES` with the most right validation pictures, for the first draw."""

    def right(rate: float) -> float:
        model = material.tuned(per_class, 0, rate).model
        return 100 * training.share_correct(model, material.validation, material.y_val)

    return max(RATES, key=lambda rate: material.kept(f"chosen {rate:g}", lambda: right(rate)))


def of_head(material: Material, per_class: int, seed: int) -> float:
    head = material.head(per_class, seed)
    return 100 * training.share_correct(head, material.features(material.test), material.y_test)


def random_features(material: Material, per_class: int, seed: int) -> float:
    """A head on the same architecture without ImageNet: random weights, frozen."""
    small, y, _ = material.labelled(per_class, seed)
    tf_keras.utils.set_random_seed(seed)
    backbone = transfer.efficientnet_lite0(material.size, weights=None)
    inputs = np.concatenate([small, material.small_test])
    features = transfer.features(backbone, material.prepared(inputs))
    features = features / features.std()  # random layers give tiny numbers
    head = transfer.train_head(features[: len(y)], y, 10)
    return 100 * training.share_correct(head, features[len(y) :], material.y_test)


def with_interval(values: Sequence[float]) -> str:
    """Mean and half the 95 % interval of the mean over three seeds."""
    half = T_95 * np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{np.mean(values):.1f} ± {half:.1f}"


def row(names: dict, values: Sequence[float], **more) -> dict:
    return {**names, "accuracy": with_interval(values), "seeds": [round(float(v), 2) for v in values], **more}


def measure_labels(material: Material, seeds: Sequence[int] = SEEDS, labels: Sequence[int] = LABELS) -> list[dict]:
    recipes: dict[str, Callable] = {
        "head on frozen features": of_head,
        "last blocks too": lambda material, n, s: material.accuracy(material.tuned(n, s, chosen(material)).model),
        "head on random features": random_features,
    }
    return [
        row(
            {"recipe": recipe, "labels a class": count},
            [
                material.kept(f"{recipe} {count} {seed}", functools.partial(run, material, count, seed))
                for seed in seeds
            ],
        )
        for recipe, run in recipes.items()
        for count in (labels if "random" not in recipe else labels[1:2])
    ]


def measure_fine_tuning(material: Material, seeds: Sequence[int] = SEEDS, per_class: int = 50) -> list[dict]:
    """Accuracy in inference mode and in training mode, and what ImageNet's head still says of crops."""
    whole = transfer.efficientnet_lite0(material.size, top=True)
    kernel, bias = whole.get_layer("imagenet").get_weights()
    maps = material.maps(crops(size=material.size))
    before = (material.features(maps) @ kernel + bias).argmax(axis=1)

    def run(rate: float, frozen: bool, seed: int) -> tuple[float, float, float]:
        trainer = material.tuned(per_class, seed, rate, frozen)
        in_training = trainer.accuracy_in_training_mode(material.test, material.y_test)
        after = (trainer.features.predict(maps, verbose=0) @ kernel + bias).argmax(axis=1)
        return material.accuracy(trainer.model), in_training, 100 * float(np.mean(after == before))

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
    """Accuracy and bytes of the file for each order of transfer and optimization.

    A float32 file computes what Keras computes, so that its accuracy is that of the model.
    """
    rows = []
    for order, make in ORDERS.items():
        runs = [material.kept(f"{order} {seed}", functools.partial(make, material, per_class, seed)) for seed in seeds]
        rows.append(row({"order": order}, [right for right, _ in runs], bytes=max(size for _, size in runs)))
    return rows


@functools.lru_cache(maxsize=4)
def best_weights(material: Material, per_class: int, seed: int) -> list[np.ndarray]:
    """Of the last blocks, fine-tuned at the rate that was chosen for them."""
    return material.tuned(per_class, seed, chosen(material)).model.get_weights()


def best(material: Material, per_class: int, seed: int) -> Trainer:
    weights, trainer = best_weights(material, per_class, seed), material.trainers[True]
    trainer.model.set_weights(weights)
    return trainer


def of_file(material: Material, made, x: np.ndarray) -> tuple[float, int]:
    outputs = np.asarray(made.predict(x))
    return 100 * float(np.mean(outputs.argmax(axis=1) == material.y_test)), len(made.content)


def _float(material: Material, per_class: int, seed: int) -> tuple[float, int]:
    trainer = best(material, per_class, seed)
    return material.accuracy(trainer.model), float_bytes(material)


def float_bytes(material: Material) -> int:
    """Of the float32 file, whose bytes depend on no weight: converted once."""
    return material.kept("bytes float32", lambda: len(convert(material.whole(any_head()), "float32").content))


def _int8(material: Material, per_class: int, seed: int) -> tuple[float, int]:
    small, _, _ = material.labelled(per_class, seed)
    model = material.whole(best(material, per_class, seed).model)
    made = convert(model, "int8_float_io", material.prepared(small[:200]), refuse=False)
    return of_file(material, made, material.prepared(material.small_test))


def halved(model: tf_keras.Model) -> tf_keras.Model:
    """A copy in which half of the last blocks' weights are 0, the smallest of each layer; not the head's."""
    return magnitude.prune_once(model, 0.5, only=[n.name for n in model.layers if "conv" in n.name])


def _pruned_after(material: Material, per_class: int, seed: int) -> tuple[float, int]:
    half = halved(best(material, per_class, seed).model)
    return retrained(material, [half], per_class, seed, 1)


def _pruned_before(material: Material, per_class: int, seed: int) -> tuple[float, int]:
    """With the same steps in all as `_pruned_after`, of which the fine-tuned model had some."""
    trainer = material.trainers[True]
    trainer.start(material.backbone)
    half = halved(trainer.model)
    _, y, maps = material.labelled(per_class, seed)
    head = transfer.train_head(material.features(maps, half), y, 10)
    return retrained(material, [half, head], per_class, seed, 2)


def retrained(material: Material, parts: Sequence, per_class: int, seed: int, times: int) -> tuple[float, int]:
    """Last blocks and head whose zeros stay, trained for that many times the steps."""
    _, y, maps = material.labelled(per_class, seed)
    rate, trainer = chosen(material), material.trainers[True]
    trainer.start(*parts)
    trainer.fit(maps, y, times * material.steps, rate, seed, keep_zeros=True)
    return material.accuracy(trainer.model), float_bytes(material)


ORDERS: dict[str, Callable] = {
    "transfer, float32": _float,
    "transfer, then int8": _int8,
    "transfer, then half pruned, float32": _pruned_after,
    "half pruned, then transfer, float32": _pruned_before,
}


PARTS: dict[str, Callable] = {"labels": measure_labels, "fine_tuning": measure_fine_tuning, "order": measure_order}
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
    material = Material(kept=Kept(options.resume))
    for part in asked:
        rows = PARTS[part](material)
        recorded.save(
            f"transfer_{part}",
            rows,
            command=f"{COMMAND} {part}",
            depends=[PARTS[part], Material, training.WEIGHTS / transfer.WEIGHTS_FILE],
            seeds=list(SEEDS),
            notes=NOTES,
        )
        print(*rows, sep="\n", flush=True)
    return 0


if __name__ == "__main__":
    start(main)
