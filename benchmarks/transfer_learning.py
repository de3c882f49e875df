"""Measure what transfer learning gives with few labels, and where optimizing belongs in it.

    python course.py bench transfer_learning          # all of it, or some of these:

labels      Fashion-MNIST at 96x96, 10, 20, 50 and 200 labels a class: head alone, fine-tuned, small net from scratch
scratch     the same EfficientNet-Lite0 from random weights, with as many steps and with six times as many
statistics  fine-tuning with frozen statistics of batch normalization and without, in both modes, batches of 8 and 32
forgetting  what ImageNet's own head still says of crops of five photographs after fine-tuning at three rates
order       quantized after transfer, and in training; pruned before and after
backbone    the ImageNet network itself: bytes and agreement of float32, float16, dynamic and int8 files

Each seed draws other labelled pictures from the training part; accuracy is that of the first 2,000 test pictures.
Features of all pictures are computed once.  Nothing is timed.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils  # noqa: F401
from benchmarks._command import start
from utils import ROOT, data, models, recorded, training
from utils.measure import statistics
from utils.optimize import recovery, transfer
from utils.optimize.keras_graph import rebuild
from utils.optimize.pruning import magnitude
from utils.optimize.quantization import aware_ranges
from utils.optimize.quantization.aware import quantize_aware
from utils.optimize.quantization.aware_file import to_tflite
from utils.optimize.quantization.converter import convert

COMMAND = "python course.py bench transfer_learning"
SEEDS = (0, 1, 2)
LABELS = (10, 20, 50, 200)
SIZE, TESTED = 96, 2000
STEPS = 200  # of fine-tuning, whatever the number of labels, so that all have the same budget
BATCH = 32
T_95 = 4.303  # two degrees of freedom: three seeds
LAST_BLOCKS = "block11"


class Material:
    """Pictures at both sizes, and the features of the backbone, each computed once."""

    def __init__(self, tested: int = TESTED, size: int = SIZE) -> None:
        self.fashion = data.load("fashion_mnist")
        self.size = size
        self.x_test = transfer.prepared(self.fashion.x_test[:tested], size)
        self.y_test = self.fashion.y_test[:tested]
        self.backbone = transfer.efficientnet_lite0(size)
        self.test_features = transfer.features(self.backbone, self.x_test)

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

    def accuracy(self, model) -> float:
        return 100 * training.share_correct(model, self.x_test, self.y_test)


def epochs(examples: int, steps: int = STEPS) -> int:
    """Passes over so many examples that come nearest to that many steps."""
    return max(1, round(steps / -(-examples // BATCH)))


def tuned(material: Material, model, per_class: int, seed: int, **how):
    """A fine-tuned copy."""
    _, y, x = material.labelled(per_class, seed)
    copy = rebuild(model)
    settings = {"from_layer": LAST_BLOCKS, "learning_rate": 1e-4, "batch_size": BATCH, "seed": seed} | how
    transfer.fine_tune(copy, (x, y), epochs(len(x)), **settings)
    return copy


def from_scratch(material: Material, per_class: int, seed: int) -> float:
    """The course's residual network on the 28x28 pictures, 600 steps with shifted pictures."""
    small, y, _ = material.labelled(per_class, seed)
    model = models.residual_cnn(seed=seed)
    training.fit(
        model,
        (small, y),
        epochs(len(y), 600),
        batch_size=BATCH,
        learning_rate=2e-3,
        decay=True,
        seed=seed,
        augment=training.shifted,
    )
    tested = len(material.y_test)
    return 100 * training.share_correct(model, material.fashion.x_test[:tested], material.y_test)


def with_interval(values: Sequence[float]) -> str:
    """Mean and half the 95 % interval of the mean over three seeds."""
    half = T_95 * np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{np.mean(values):.1f} ± {half:.1f}"


def row(names: dict, values: Sequence[float], **more) -> dict:
    return {**names, "accuracy": with_interval(values), "seeds": [round(float(v), 2) for v in values], **more}


def measure_labels(material: Material, seeds: Sequence[int] = SEEDS, labels: Sequence[int] = LABELS) -> list[dict]:
    recipes: dict[str, Callable] = {
        "head on frozen features": lambda n, s: material.accuracy(material.transferred(n, s)),
        "last blocks too": lambda n, s: material.accuracy(tuned(material, material.transferred(n, s), n, s)),
        "all layers": lambda n, s: material.accuracy(
            tuned(material, material.transferred(n, s), n, s, from_layer=None)
        ),
        "small net from scratch": lambda n, s: from_scratch(material, n, s),
    }
    return [
        row({"recipe": recipe, "labels a class": count}, [run(count, seed) for seed in seeds])
        for recipe, run in recipes.items()
        for count in labels
    ]


def measure_scratch(material: Material, seeds: Sequence[int] = SEEDS, labels: Sequence[int] = (20,)) -> list[dict]:
    """The same architecture without ImageNet; statistics must move there, since they start at 0 and 1."""
    rows = []
    for count in labels:
        for times in (1, 6):
            values = []
            for seed in seeds:
                _, y, x = material.labelled(count, seed)
                backbone = transfer.efficientnet_lite0(material.size, weights=None)
                head = transfer.train_head(transfer.features(backbone, x), y, 10, epochs=1)
                model = transfer.with_head(backbone, head)
                recovery.recover(
                    model, (x, y), epochs(len(y), times * STEPS), learning_rate=1e-3, batch_size=BATCH, seed=seed
                )
                values.append(material.accuracy(model))
            rows.append(row({"labels a class": count, "steps": times * STEPS}, values))
    return rows


def measure_statistics(material: Material, seeds: Sequence[int] = SEEDS, per_class: int = 20) -> list[dict]:
    rows = []
    for frozen in (True, False):
        for batch in (8, 32):
            inference, in_training = [], []
            for seed in seeds:
                model = tuned(
                    material,
                    material.transferred(per_class, seed),
                    per_class,
                    seed,
                    from_layer=None,
                    freeze_statistics=frozen,
                    batch_size=batch,
                )
                inference.append(material.accuracy(model))
                in_training.append(100 * accuracy_in_training_mode(model, material.x_test, material.y_test, batch))
            rows.append(
                row({"statistics": "frozen" if frozen else "moving", "batch": batch}, inference)
                | {"in training mode": with_interval(in_training)}
            )
    return rows


def accuracy_in_training_mode(model, x: np.ndarray, y: np.ndarray, batch: int) -> float:
    """Share correct when each batch is normalized by its own mean and variance; a copy runs, as statistics move."""
    copy, right = rebuild(model), 0
    for start_ in range(0, len(x), batch):
        part = slice(start_, start_ + batch)
        right += int(np.sum(copy(x[part], training=True).numpy().argmax(axis=1) == y[part]))
    return right / len(x)


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


def measure_forgetting(material: Material, seeds: Sequence[int] = SEEDS, per_class: int = 20) -> list[dict]:
    """Share of crops for which ImageNet's head, on the fine-tuned features, names the same class as before."""
    whole = transfer.efficientnet_lite0(material.size, top=True)
    kernel, bias = whole.get_layer("imagenet").get_weights()
    x = transfer.prepared(crops(size=material.size), material.size)
    before = (transfer.features(material.backbone, x) @ kernel + bias).argmax(axis=1)
    rows = []
    for rate in (1e-5, 1e-4, 1e-3):
        kept, new = [], []
        for seed in seeds:
            model = tuned(
                material, material.transferred(per_class, seed), per_class, seed, from_layer=None, learning_rate=rate
            )
            after = transfer.features(transfer.cut_at(model, "features"), x) @ kernel + bias
            kept.append(100 * float(np.mean(after.argmax(axis=1) == before)))
            new.append(material.accuracy(model))
        rows.append(row({"rate": rate}, new) | {"still named alike": with_interval(kept)})
    return rows


def measure_order(material: Material, seeds: Sequence[int] = SEEDS, per_class: int = 50) -> list[dict]:
    """Accuracy of the *file*, and its bytes, for each order of transfer and optimization."""
    found: dict[str, list[tuple[float, int]]] = {}

    def note(name: str, made) -> None:
        outputs = made.predict(material.x_test)
        right = 100 * float(np.mean(np.asarray(outputs).argmax(axis=1) == material.y_test))
        found.setdefault(name, []).append((right, len(made.content)))

    for seed in seeds:
        _, y, x = material.labelled(per_class, seed)
        calibration = x[:200]
        start_ = material.transferred(per_class, seed)
        float_ = tuned(material, start_, per_class, seed)
        note("transfer, float32", convert(float_, "float32"))
        note("transfer, then int8", convert(float_, "int8_float_io", calibration))
        aware = quantize_aware(float_, 8)
        aware_ranges.calibrate(aware, calibration)
        note("transfer, then quantization-aware, not trained", to_tflite(aware))
        transfer.fine_tune(aware, (x, y), epochs(len(y)), learning_rate=1e-5, batch_size=BATCH, seed=seed)
        note("transfer, then quantization-aware fine-tuning", to_tflite(aware))
        early = quantize_aware(start_, 8)
        aware_ranges.calibrate(early, calibration)
        transfer.fine_tune(early, (x, y), epochs(len(y)), from_layer=LAST_BLOCKS, batch_size=BATCH, seed=seed)
        note("quantization-aware while transferring", to_tflite(early))
        for target in (0.5, 0.8):
            after = magnitude.prune_once(float_, target)
            recovery.recover(
                after, (x, y), epochs(len(y)), learning_rate=1e-4, freeze_statistics=True, keep_zeros=True, seed=seed
            )
            note(f"transfer, then prune {target:.0%}", convert(after, "float32"))
            before = magnitude.prune_once(material.backbone, target)
            head = transfer.train_head(transfer.features(before, x), y, 10)
            joined = transfer.with_head(before, head)
            recovery.recover(
                joined, (x, y), epochs(len(y)), learning_rate=1e-4, freeze_statistics=True, keep_zeros=True, seed=seed
            )
            note(f"prune {target:.0%}, then transfer", convert(joined, "float32"))
    return [
        row({"order": name}, [right for right, _ in pairs], bytes=max(size for _, size in pairs))
        for name, pairs in found.items()
    ]


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
    "scratch": measure_scratch,
    "statistics": measure_statistics,
    "forgetting": measure_forgetting,
    "order": measure_order,
    "backbone": lambda _: measure_backbone(),
}
NOTES = "accuracy: percent of the first 2,000 test pictures of Fashion-MNIST; ±: 95 % interval of the mean over 3 draws"


def main(argv: list[str] | None = None) -> int:
    """Measure the parts that are asked for, and store each as transfer_PART."""
    parser = argparse.ArgumentParser(prog="course.py bench transfer_learning", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help="which; all if none")
    asked = parser.parse_args(argv).parts or list(PARTS)
    if unknown := set(asked) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; pass some of {', '.join(PARTS)}")
    for part in asked:
        recorded.check_writable(f"transfer_{part}")
    material = Material() if set(asked) != {"backbone"} else None
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
