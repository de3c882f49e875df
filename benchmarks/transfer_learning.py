"""Measure what transfer learning gives with few labels, and where optimizing belongs in it.

    python course.py bench transfer_learning          # all of it, or some of these:

labels       Fashion-MNIST, 10, 20, 50 and 200 labels a class: head alone, last blocks too, at 48x48 and 96x96;
             without ImageNet: a head on raw pixels, a small network from scratch, random features
fine_tuning  the last blocks at two rates, statistics of batch normalization frozen or moving; what is forgotten
statistics   what makes moving ones worse: another momentum, estimated again after training, or first and then frozen
order        quantized after transfer; pruned before and after; unpruned with as many steps
without      the same network from random weights, with more steps: float, int8, half pruned

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
from benchmarks._command import add_confirm, confirm, start
from utils import ROOT, data, files, models, recorded, training
from utils.optimize import recovery, transfer
from utils.optimize.pruning import magnitude
from utils.optimize.quantization.converter import convert

COMMAND = "python course.py bench transfer_learning"
SEEDS = (0, 1, 2, 3, 4)
FEWER = SEEDS[:3]  # for what is trained longer
LABELS = (10, 20, 50, 200)
MIDDLE = 50  # labels a class at which rates are chosen and two more controls run
SIZE, TESTED, VALIDATED = 48, 1000, 500
LARGER = 96  # the other size of pictures, of `labels` alone
STEPS = 60  # of fine-tuning, whatever the number of labels, so that all have the same budget
SCRATCH = 240  # of the small network without ImageNet, which has all to learn
WHOLE = (240,)  # of the whole of EfficientNet-Lite0 without ImageNet: about 0.4 s each on one core
BATCH = 32
T_95 = {3: 4.303, 5: 2.776}  # by the number of seeds, one more than the degrees of freedom
RATES = (1e-5, 1e-4, 1e-3)  # of fine-tuning, to choose from
FIRST_RATES = (1e-3, 3e-3, 1e-2)  # from random weights
FROZEN, MOVING = "frozen", "moving"  # statistics of batch normalization in training


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


class KeptApart:
    """Values that are kept in another's file, under names that begin with the size of the pictures."""

    def __init__(self, kept: Kept, size: int) -> None:
        self.kept, self.size = kept, size

    def __call__(self, key: str, run: Callable):
        return self.kept(f"{self.size} {key}", run)


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
        shape = self.front.output_shape[1:]
        self.trainers = {FROZEN: Trainer(last_blocks(shape), True), MOVING: Trainer(last_blocks(shape), False)}
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
        trainer = self.trainers[FROZEN]
        trainer.start(*(parts or (self.backbone,)))
        return trainer.features.predict(maps, verbose=0)

    @functools.lru_cache(maxsize=16)  # noqa: B019
    def head(self, per_class: int, seed: int) -> tf_keras.Model:
        """Trained on the backbone's features: where every other recipe begins."""
        _, y, maps = self.labelled(per_class, seed)
        return transfer.train_head(self.features(maps), y, 10)

    def tuned(self, per_class: int, seed: int, rate: float, how: str = FROZEN, times: int = 1) -> Trainer:
        """The trainer, whose model was fine-tuned from where every recipe begins; at a rate of 0 it stays there."""
        _, y, maps = self.labelled(per_class, seed)
        head, trainer = self.head(per_class, seed), self.trainers[how]
        trainer.start(self.backbone, head)
        if rate:
            trainer.fit(maps, y, times * self.steps, rate, seed)
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


def validated(material: Material, per_class: int = 50) -> dict[float, float]:
    """Percent right of the validation pictures at each of `RATES`, for the first draw."""

    def right(rate: float) -> float:
        model = material.tuned(per_class, 0, rate).model
        return 100 * training.share_correct(model, material.validation, material.y_val)

    return {rate: material.kept(f"chosen {rate:g}", functools.partial(right, rate)) for rate in RATES}


def chosen(material: Material) -> float:
    """That of `RATES` with the most right validation pictures; it serves all numbers of labels."""
    found = validated(material)
    return max(found, key=found.get)


def tried(material: Material) -> list[dict]:
    """What `chosen` compares."""
    recipe = "last blocks too, {0}x{0}, at {1:g}: validation pictures"
    return [
        row({"recipe": recipe.format(material.size, rate), "labels a class": MIDDLE}, [right])
        for rate, right in validated(material).items()
    ]


def of_head(material: Material, per_class: int, seed: int) -> float:
    head = material.head(per_class, seed)
    return 100 * training.share_correct(head, material.features(material.test), material.y_test)


def of_last_blocks(material: Material, per_class: int, seed: int) -> float:
    return material.accuracy(material.tuned(per_class, seed, chosen(material)).model)


def in_training_mode(material: Material, per_class: int, seed: int) -> float:
    """The head on frozen features, while the last blocks compute as in training: where moving statistics begin."""
    trainer = material.tuned(per_class, seed, 0.0, MOVING)
    return trainer.accuracy_in_training_mode(material.test, material.y_test)


def of_pixels(material: Material, per_class: int, seed: int) -> float:
    """The same kind of head on the small pictures themselves, without any network."""
    small, y, _ = material.labelled(per_class, seed)
    head = transfer.train_head(small.reshape(len(small), -1), y, 10)
    flat = material.small_test.reshape(len(material.small_test), -1)
    return 100 * training.share_correct(head, flat, material.y_test)


def from_scratch(material: Material, per_class: int, seed: int) -> float:
    """A small network from random weights on the small pictures, with more steps than fine-tuning has."""
    small, y, _ = material.labelled(per_class, seed)
    model = models.residual_cnn(seed=seed)
    settings = {"batch_size": BATCH, "learning_rate": 2e-3, "decay": True, "seed": seed}
    training.fit(model, (small, y), epochs(len(y), SCRATCH), **settings)
    return 100 * training.share_correct(model, material.small_test, material.y_test)


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
    """Mean and half the 95 % interval of the mean over three or five seeds."""
    if len(values) == 1:
        return f"{values[0]:.1f}"
    half = T_95.get(len(values), float("nan")) * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{np.mean(values):.1f} ± {half:.1f}"


def row(names: dict, values: Sequence[float], **more) -> dict:
    return {**names, "accuracy": with_interval(values), "seeds": [round(float(v), 2) for v in values], **more}


BOTH_SIZES = ("head on frozen features", "last blocks too")


def measure_labels(material: Material, labels: Sequence[int] = LABELS) -> list[dict]:
    """Each recipe at each number of labels; two controls only in the middle, and longer trainings for fewer draws."""
    middle = (MIDDLE,)
    recipes: dict[str, tuple[Callable, Sequence[int], Sequence[int]]] = {
        "head on frozen features": (of_head, labels, SEEDS),
        "head on raw pixels": (of_pixels, labels, SEEDS),
        "last blocks too": (of_last_blocks, labels, FEWER),
        "small network from scratch": (from_scratch, labels, FEWER),
        "head on random features": (random_features, middle, FEWER),
        "head on frozen features, in training mode": (in_training_mode, middle, FEWER),
    }
    rows = of_recipes(material, recipes)
    larger = Material(len(material.y_test), LARGER, material.steps, KeptApart(material.kept, LARGER))
    both = {f"{name}, {LARGER}x{LARGER}": recipes[name] for name in BOTH_SIZES}
    return rows + of_recipes(larger, both) + tried(material) + tried(larger)


def of_recipes(material: Material, recipes: dict[str, tuple[Callable, Sequence[int], Sequence[int]]]) -> list[dict]:
    """A row for each recipe and number of labels: recipe -> how it is measured, numbers of labels, seeds."""
    return [
        row(
            {"recipe": recipe, "labels a class": count},
            [
                material.kept(f"{recipe} {count} {seed}", functools.partial(run, material, count, seed))
                for seed in seeds
            ],
        )
        for recipe, (run, counts, seeds) in recipes.items()
        for count in counts
    ]


ARMS = ((1e-4, FROZEN), (1e-3, FROZEN), (1e-4, MOVING), (1e-3, MOVING))


def measure_fine_tuning(material: Material, seeds: Sequence[int] = FEWER, per_class: int = 50) -> list[dict]:
    """Accuracy in inference mode and in training mode, and what ImageNet's head still says of crops."""
    whole = transfer.efficientnet_lite0(material.size, top=True)
    kernel, bias = whole.get_layer("imagenet").get_weights()
    maps = material.maps(crops(size=material.size))
    before = (material.features(maps) @ kernel + bias).argmax(axis=1)

    def run(rate: float, how: str, seed: int) -> tuple[float, float, float]:
        trainer = material.tuned(per_class, seed, rate, how)
        in_training = trainer.accuracy_in_training_mode(material.test, material.y_test)
        after = (trainer.features.predict(maps, verbose=0) @ kernel + bias).argmax(axis=1)
        return material.accuracy(trainer.model), in_training, 100 * float(np.mean(after == before))

    rows = []
    for rate, how in ARMS:
        runs = [material.kept(f"{rate:g} {how} {seed}", functools.partial(run, rate, how, seed)) for seed in seeds]
        inference, in_training, alike = zip(*runs, strict=True)
        rows.append(
            row({"rate": rate, "statistics": how}, inference)
            | {"in training mode": with_interval(in_training), "photographs named as before": with_interval(alike)}
        )
    return rows


def normalizations(model: tf_keras.Model) -> list[tf_keras.layers.Layer]:
    return [layer for layer in model.layers if isinstance(layer, tf_keras.layers.BatchNormalization)]


def estimated(model: tf_keras.Model, maps: np.ndarray) -> None:
    """Mean and variance of each batch normalization become those of these maps, all in one batch; no weight moves."""
    norms = normalizations(model)
    before = [(norm.momentum, norm.trainable) for norm in norms]
    for norm in norms:
        norm.momentum, norm.trainable = 0.0, True  # a frozen one would keep the old numbers
    model(maps, training=True)
    for norm, (momentum, trainable) in zip(norms, before, strict=True):
        norm.momentum, norm.trainable = momentum, trainable


def measure_statistics(
    material: Material, seeds: Sequence[int] = FEWER, per_class: int = 50, momentum: float = 0.9
) -> list[dict]:
    """Accuracy in inference mode where one thing differs from the moving or the frozen rows of `measure_fine_tuning`.

    How the kernels move does not depend on the momentum: in training mode nothing reads the stored numbers.  So one
    training serves two rows, the numbers as this momentum left them, and estimated again after it.
    """
    model = last_blocks(material.front.output_shape[1:])
    for norm in normalizations(model):
        norm.momentum = momentum
    quicker = Trainer(model, False)

    def moving(rate: float, seed: int) -> tuple[float, float]:
        _, y, maps = material.labelled(per_class, seed)
        quicker.start(material.backbone, material.head(per_class, seed))
        quicker.fit(maps, y, material.steps, rate, seed)
        stored = material.accuracy(model)
        estimated(model, maps)
        return stored, material.accuracy(model)

    def first(rate: float, seed: int) -> float:
        trainer = material.tuned(per_class, seed, 0.0)
        _, y, maps = material.labelled(per_class, seed)
        estimated(trainer.model, maps)
        if rate:
            trainer.fit(maps, y, material.steps, rate, seed)
        return material.accuracy(trainer.model)

    def of(key: str, rate: float, run: Callable) -> list:
        return [material.kept(f"{key} {rate:g} {seed}", functools.partial(run, rate, seed)) for seed in seeds]

    rows = [row({"rate": "none", "statistics": "estimated first, not trained"}, of("first", 0.0, first))]
    for rate in (1e-4, 1e-3):
        stored, again = zip(*of("moving", rate, moving), strict=True)
        found = {
            f"moving, momentum {momentum:g}": stored,
            "moving, then estimated again": again,
            "estimated first, then frozen": of("first", rate, first),
        }
        rows += [row({"rate": f"{rate:g}", "statistics": how}, values) for how, values in found.items()]
    return rows


def confirm_some(material: Material) -> None:
    """The first draw of `fine_tuning` at the small rate, with moving statistics."""
    trainer = material.tuned(50, 0, 1e-4, MOVING)
    found = {"rate": 1e-4, "statistics": MOVING, "seeds": [round(material.accuracy(trainer.model), 2)]}
    confirm("transfer_fine_tuning", [found], key=("rate", "statistics"), depends=DEPENDS | {measure_fine_tuning})


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


def measure_order(material: Material, seeds: Sequence[int] = FEWER, per_class: int = 50) -> list[dict]:
    """Accuracy and bytes of the file for each order of transfer and optimization.

    A float32 file computes what Keras computes, so that its accuracy is that of the model.
    """
    rows = []
    for order, make in ORDERS.items():
        runs = [material.kept(f"{order} {seed}", functools.partial(make, material, per_class, seed)) for seed in seeds]
        rows.append(row({"order": order}, [right for right, _ in runs], bytes=max(size for _, size in runs)))
    return rows


@functools.lru_cache(maxsize=8)
def best_weights(material: Material, per_class: int, seed: int) -> list[np.ndarray]:
    """Of the last blocks, fine-tuned at the rate that was chosen for them."""
    return material.tuned(per_class, seed, chosen(material)).model.get_weights()


def best(material: Material, per_class: int, seed: int) -> Trainer:
    weights, trainer = best_weights(material, per_class, seed), material.trainers[FROZEN]
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


def _longer(material: Material, per_class: int, seed: int) -> tuple[float, int]:
    trainer = material.tuned(per_class, seed, chosen(material), times=2)
    return material.accuracy(trainer.model), float_bytes(material)


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
    trainer = material.trainers[FROZEN]
    trainer.start(material.backbone)
    half = halved(trainer.model)
    _, y, maps = material.labelled(per_class, seed)
    head = transfer.train_head(material.features(maps, half), y, 10)
    return retrained(material, [half, head], per_class, seed, 2)


def retrained(material: Material, parts: Sequence, per_class: int, seed: int, times: int) -> tuple[float, int]:
    """Last blocks and head whose zeros stay, trained for that many times the steps."""
    _, y, maps = material.labelled(per_class, seed)
    rate, trainer = chosen(material), material.trainers[FROZEN]
    trainer.start(*parts)
    trainer.fit(maps, y, times * material.steps, rate, seed, keep_zeros=True)
    return material.accuracy(trainer.model), float_bytes(material)


ORDERS: dict[str, Callable] = {
    "transfer, 60 steps": _float,
    "transfer, 60 steps, then int8": _int8,
    "transfer, 120 steps": _longer,
    "half pruned, then transfer, 120 steps": _pruned_before,
    "transfer, 60 steps, then half pruned, 60 steps": _pruned_after,
}


class Without:
    """The whole network from random weights, in all of its layers: one draw after the other, nothing of ImageNet.

    Batch normalization takes the batch's numbers in training.  Of its first numbers, which are nobody's, a momentum of
    0.99 would keep 9 % after 240 steps, and one of 0.9 keeps none.
    """

    def __init__(self, material: Material, per_class: int, momentum: float = 0.9) -> None:
        self.material, self.per_class = material, per_class
        model = transfer.with_head(self.random(0), any_head())
        for norm in normalizations(model):
            norm.momentum = momentum
        self.trainer = Trainer(model, False)

    def random(self, seed: int) -> tf_keras.Model:
        tf_keras.utils.set_random_seed(seed)
        return transfer.efficientnet_lite0(self.material.size, weights=None)

    def labelled(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The pictures of the same draw as with ImageNet, prepared, and their labels."""
        small, y, _ = self.material.labelled(self.per_class, seed)
        return self.material.prepared(small), y

    @functools.lru_cache(maxsize=4)  # noqa: B019
    def weights(self, steps: int, seed: int, rate: float) -> list[np.ndarray]:
        self.trainer.start(self.random(seed), any_head())
        self.trainer.fit(*self.labelled(seed), steps, rate, seed)
        return self.trainer.model.get_weights()

    def right(self, small: np.ndarray, y: np.ndarray) -> float:
        return 100 * training.share_correct(self.trainer.model, self.material.prepared(small), y)

    def validated(self, steps: int) -> dict[float, float]:
        """Percent right of the validation pictures at each of `FIRST_RATES`, for the first draw."""

        def right(rate: float) -> float:
            self.trainer.model.set_weights(self.weights(steps, 0, rate))
            return self.right(self.material.fashion.x_val[:VALIDATED], self.material.y_val)

        return {
            rate: self.material.kept(f"random {steps} {rate:g}", functools.partial(right, rate)) for rate in FIRST_RATES
        }

    def trained(self, steps: int, seed: int) -> tf_keras.Model:
        found = self.validated(steps)
        self.trainer.model.set_weights(self.weights(steps, seed, max(found, key=found.get)))
        return self.trainer.model

    def own(self, steps: int, seed: int) -> float:
        """Percent right of the pictures that it learned from: whether more steps could teach it more of them."""
        x, y = self.labelled(seed)
        return 100 * training.share_correct(self.trained(steps, seed), x, y)

    def as_float(self, steps: int, seed: int) -> tuple[float, int]:
        self.trained(steps, seed)
        return self.right(self.material.small_test, self.material.y_test), float_bytes(self.material)

    def as_int8(self, steps: int, seed: int) -> tuple[float, int]:
        """Calibrated as `_int8`."""
        model = self.trained(steps, seed)
        made = convert(model, "int8_float_io", self.labelled(seed)[0][:200], refuse=False)
        return of_file(self.material, made, self.material.prepared(self.material.small_test))

    def half_pruned(self, steps: int, seed: int) -> tuple[float, int]:
        """The layers of `halved`, then as many steps more as with ImageNet."""
        found = self.validated(steps)
        names = [layer.name for layer in self.material.trainers[MOVING].model.layers if "conv" in layer.name]
        self.trainer.start(magnitude.prune_once(self.trained(steps, seed), 0.5, only=names))
        rate = max(found, key=found.get)
        self.trainer.fit(*self.labelled(seed), self.material.steps, rate, seed, keep_zeros=True)
        return self.right(self.material.small_test, self.material.y_test), float_bytes(self.material)


def measure_without(
    material: Material, seeds: Sequence[int] = FEWER, per_class: int = MIDDLE, lengths: Sequence[int] = WHOLE
) -> list[dict]:
    """What `measure_order` measures after transfer, without any; and the rates that were compared."""
    without = Without(material, per_class)
    rows, compared = [], []
    for steps in lengths:
        name = f"random weights, {steps} steps"
        ways = {
            name: without.as_float,
            f"{name}, then int8": without.as_int8,
            f"{name}, then half pruned, {material.steps} steps": without.half_pruned,
        }
        found: dict[str, list] = {order: [] for order in ways}
        own = []
        for seed in seeds:  # one training serves all rows
            own.append(material.kept(f"own {steps} {seed}", functools.partial(without.own, steps, seed)))
            for order, make in ways.items():
                found[order].append(material.kept(f"{order} {seed}", functools.partial(make, steps, seed)))
        rows += [
            row({"order": order}, [right for right, _ in runs], bytes=max(size for _, size in runs))
            for order, runs in found.items()
        ]
        compared.append(row({"order": f"{name}: the labelled pictures"}, own))
        compared += [
            row({"order": f"{name}, at {rate:g}: validation pictures"}, [right])
            for rate, right in without.validated(steps).items()
        ]
    return rows + compared


DEPENDS = {Material, training.WEIGHTS / transfer.WEIGHTS_FILE}
PARTS: dict[str, Callable] = {
    "labels": measure_labels,
    "fine_tuning": measure_fine_tuning,
    "statistics": measure_statistics,
    "order": measure_order,
    "without": measure_without,
}
NOTES = (
    f"Fashion-MNIST at {SIZE}x{SIZE}, where no other size stands, and {STEPS} steps of {BATCH} pictures (the network "
    "was made for 224x224, and more steps may give more); accuracy: percent of the first "
    f"{TESTED:,} test pictures; ±: 95 % interval of the mean over three or five draws of the labelled pictures"
)
MORE_NOTES = {
    "without": "; all layers learn from random weights, others in each draw, batch normalization has a momentum of "
    "0.9; the rate, for both trainings, is that with the most right validation pictures at that number of steps"
}


def main(argv: list[str] | None = None) -> int:
    """Measure the parts that are asked for, and store each as transfer_PART."""
    parser = argparse.ArgumentParser(
        prog="course.py bench transfer_learning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="which; all if none")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="values so far; delete it when the code changes")
    add_confirm(parser, "one draw of fine_tuning, at the small rate with moving statistics")
    options = parser.parse_args(argv)
    asked = options.parts or ([] if options.confirm else list(PARTS))
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
            depends=DEPENDS | {PARTS[part]},
            seeds=list(SEEDS[: max(len(row["seeds"]) for row in rows)]),
            notes=NOTES + MORE_NOTES.get(part, ""),
        )
        print(*rows, sep="\n", flush=True)
    if options.confirm:
        confirm_some(material)
    return 0


if __name__ == "__main__":
    start(main)
