"""Measure when distillation helps a small network, and when it does not.

    python course.py bench knowledge_distillation [labels] [temperature] [missing] [example] [hinton] [relatives]

labels       Fashion-MNIST: a small dense network with few and with all labels, alone and distilled (about 4 minutes)
temperature  Fashion-MNIST, all labels: temperatures for a small dense student (1 minute)
missing      MNIST: a student that never saw a 3 (2 minutes)
example      MNIST: the networks of Keras' example, with a teacher that is no better and one that is (2 minutes)
hinton       MNIST: the setting of Hinton et al. 2015, section 3, with narrower networks (8 minutes)
relatives    self-distillation, and a 4-bit student with and without a teacher (2 minutes)

Times are of one quiet thread.  What is compared has the same network, steps and batch; both sides choose among equally
many settings by validation pictures, and the test pictures are looked at once.  Chapter 10 shows the tables.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils  # noqa: F401

import tf_keras  # isort: skip
from benchmarks._command import start
from utils import data, models, recorded, training
from utils.measure import statistics
from utils.optimize import distillation
from utils.optimize.quantization.aware import quantize_aware

SEEDS = (0, 1, 2, 3, 4)
FEW_SEEDS = (0, 1, 2)
BATCH = 128
COMMAND = "python course.py bench knowledge_distillation"

#: 25,450 parameters.
small = functools.partial(models.mlp, hidden=(32,))


def outputs(model: tf_keras.Model, x: np.ndarray) -> np.ndarray:
    return model.predict(x, batch_size=1000, verbose=0)


@functools.cache
def taught_by(part: str) -> np.ndarray:
    """The logits of the shipped LeNet-5, 431,080 parameters, for a part of Fashion-MNIST's pictures such as "train"."""
    return outputs(training.trained("lenet5", fresh=False), getattr(data.load("fashion_mnist"), f"x_{part}"))


class Run:
    """One student and what it is trained on; `soft` None is a student without a teacher."""

    def __init__(self, build: Callable, x, y, soft, epochs: int) -> None:
        self.build, self.x, self.y, self.soft, self.epochs = build, x, y, soft, epochs

    def student(self, seed: int, rate: float, knob: float) -> tf_keras.Model:
        """A trained student.  knob: the temperature, or without a teacher the label smoothing.

        Label smoothing is a teacher that knows nothing: logits 0 at temperature 1, with the smoothing as its share.
        """
        alone = self.soft is None
        student = self.build(seed=seed)
        distillation.distil(
            student,
            (self.x, self.y),
            self.epochs,
            teacher=np.zeros((len(self.x), student.output_shape[1]), np.float32) if alone else self.soft,
            temperature=1.0 if alone else knob,
            soft_share=knob if alone else 1.0 if self.y is None else 0.9,
            batch_size=BATCH,
            learning_rate=rate,
            seed=seed,
        )
        return student


def tuned(run: Run, val: tuple, rates: Sequence[float], knobs: Sequence[float]) -> tuple[float, float]:
    """The (rate, knob) with the most right validation pictures, seed 0."""
    settings = list(itertools.product(rates, knobs))
    right = [training.share_correct(run.student(0, *setting), *val) for setting in settings]
    return settings[int(np.argmax(right))]


# ---------------------------------------------------------------- labels


def measure_labels(
    counts: Sequence[int] = (1000, 50_000),
    seeds: Sequence[int] = SEEDS,
    steps: int = 1200,
    rates: Sequence[float] = (1e-3, 4e-3),
    temperatures: Sequence[float] = (1, 2),
    smoothing: Sequence[float] = (0, 0.1),
    unlabelled: int = 20_000,
) -> list[dict]:
    """One row for each number of labels and way to learn: accuracy of each seed, and the gain over learning alone."""
    fashion = data.load("fashion_mnist")
    soft = taught_by("train")
    rows = []
    for count in counts:
        chosen = {seed: labelled(fashion, count, seed) for seed in seeds}
        ways = (
            "alone",
            "distilled, same pictures",
            *(["distilled, unlabelled pictures"] if count < unlabelled else []),
        )
        hits = {}
        for way in ways:

            def run(seed, way=way, chosen=chosen):
                index = np.arange(unlabelled) if "unlabelled" in way else chosen[seed]
                y = None if "unlabelled" in way else fashion.y_train[index]
                epochs = max(1, steps * BATCH // len(index))
                return Run(small, fashion.x_train[index], y, None if way == "alone" else soft[index], epochs)

            knobs = smoothing if way == "alone" else temperatures
            setting = tuned(run(seeds[0]), (fashion.x_val, fashion.y_val), rates, knobs)
            hits[way] = np.array(
                [
                    statistics.correct(outputs(run(seed).student(seed, *setting), fashion.x_test), fashion.y_test)
                    for seed in seeds
                ]
            )
            rows.append({"labels": count, "way": way, **of_hits(hits[way], hits["alone"]), "setting": list(setting)})
            print(rows[-1], flush=True)
    return rows


def labelled(fashion: data.Dataset, count: int, seed: int) -> np.ndarray:
    """Which training pictures have a label: `count`, in equal parts of each class."""
    if count >= len(fashion.y_train):
        return np.arange(len(fashion.y_train))
    rng = np.random.default_rng(seed)
    parts = [rng.permutation(np.flatnonzero(fashion.y_train == c))[: count // 10] for c in range(10)]
    return rng.permutation(np.concatenate(parts))


def of_hits(hits: np.ndarray, alone: np.ndarray) -> dict:
    """Accuracy in per cent, and the gain in points with its interval over seeds and pictures."""
    gain = statistics.crossed_bootstrap(hits, alone)
    value, low, high = (round(100 * each, 2) for each in (gain.value, gain.low, gain.high))
    return {
        "accuracy": round(100 * float(hits.mean()), 2),
        "gain": f"{value:+.1f} ({low:+.1f} to {high:+.1f})" if hits is not alone else "",
        "seeds": [round(100 * float(each), 2) for each in hits.mean(axis=1)],
        "interval": [value, low, high],
    }


# ---------------------------------------------------------------- temperature


def measure_temperature(
    temperatures: Sequence[float] = (1, 2, 4, 8), seeds: Sequence[int] = FEW_SEEDS, epochs: int = 6
) -> list[dict]:
    """One row for each temperature, the first without a teacher; all labels, rate 0.002 falling to 0."""
    fashion = data.load("fashion_mnist")
    soft, val = taught_by("train"), taught_by("val")
    alone, rows = None, []
    for temperature in (None, *temperatures):
        run = Run(small, fashion.x_train, fashion.y_train, None if temperature is None else soft, epochs)
        found = [run.student(seed, 2e-3, 0.0 if temperature is None else temperature) for seed in seeds]
        hits = np.array([statistics.correct(outputs(each, fashion.x_test), fashion.y_test) for each in found])
        alone = hits if alone is None else alone
        agree = [np.mean(outputs(each, fashion.x_val).argmax(1) == val.argmax(1)) for each in found]
        rows.append(
            {
                "temperature": "alone" if temperature is None else temperature,
                **of_hits(hits, alone),
                "agrees with the teacher": round(100 * float(np.mean(agree)), 1),
            }
        )
        print(rows[-1], flush=True)
    return rows


# ---------------------------------------------------------------- missing


def measure_missing(
    temperatures: Sequence[float] = (2, 8, 20), seeds: Sequence[int] = FEW_SEEDS, epochs: int = 3, missing: int = 3
) -> list[dict]:
    """One row for each temperature: errors on the 10,000 test digits and on the 1,010 threes, before and after."""
    mnist = data.load("mnist")
    soft = outputs(training.trained("lenet5", "mnist", fresh=False), mnist.x_train)
    keep = mnist.y_train != missing
    rows = []
    for temperature in temperatures:
        run = Run(models.lenet_300_100, mnist.x_train[keep], None, soft[keep], epochs)
        found = []
        for seed in seeds:
            student = run.student(seed, 2e-3, temperature)
            added = distillation.logit_to_add(outputs(student, mnist.x_val), missing, 0.1)
            found.append(missing_errors(outputs(student, mnist.x_test), mnist.y_test, missing, added))
        row = {name: [one[name] for one in found] for name in found[0]}
        rows.append(
            {"temperature": temperature, **{name: round(float(np.mean(v)), 1) for name, v in row.items()}, "seeds": row}
        )
        print(rows[-1], flush=True)
    return rows


def missing_errors(z: np.ndarray, y: np.ndarray, missing: int, added: float) -> dict:
    """Errors of logits z (n, classes), before and after `added` is added to the missing class."""
    moved = z + added * np.eye(z.shape[1])[missing]
    threes = y == missing
    return {
        "errors": int((z.argmax(1) != y).sum()),
        "of the missing": int((z[threes].argmax(1) != missing).sum()),
        "added": round(added, 2),
        "errors after": int((moved.argmax(1) != y).sum()),
        "of the missing after": int((moved[threes].argmax(1) != missing).sum()),
    }


# ---------------------------------------------------------------- Keras' example


def keras_student(seed: int) -> tf_keras.Model:
    """The student of https://keras.io/examples/vision/knowledge_distillation, 20,490 parameters."""
    tf_keras.utils.set_random_seed(seed)
    layers = tf_keras.layers
    return tf_keras.Sequential(
        [
            tf_keras.Input((28, 28, 1)),
            layers.Conv2D(16, 3, strides=2, padding="same"),
            layers.LeakyReLU(0.2),
            layers.MaxPooling2D(2, strides=1, padding="same"),
            layers.Conv2D(32, 3, strides=2, padding="same"),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )


def measure_example(lengths: Sequence[int] = (3, 9), seeds: Sequence[int] = FEW_SEEDS, pictures: int = 10_000):
    """One row for each teacher and length, with the example's settings: T 10, share 0.9, Adam 0.001, batches of 64.

    10,000 of the digits, to save time.  The example's teacher ended as good as its student; here "no better" is the
    student's own network, trained for 5 epochs, and "better" the LeNet-5 that ships.
    """
    mnist = data.load("mnist")
    x, y = mnist.x_train[:pictures], mnist.y_train[:pictures]

    def trained(seed: int, epochs: int, soft: np.ndarray | None) -> tf_keras.Model:
        student = keras_student(seed)
        teacher = np.zeros((len(x), 10), np.float32) if soft is None else soft
        share, temperature = (0.0, 1.0) if soft is None else (0.9, 10.0)
        distillation.distil(
            student, (x, y), epochs, teacher=teacher, temperature=temperature, soft_share=share, batch_size=64,
            learning_rate=1e-3, decay=False, seed=seed,
        )  # fmt: skip
        return student

    no_better = trained(100, 5, None)
    better = training.trained("lenet5", "mnist", fresh=False)
    teachers = {"none": None, "no better": outputs(no_better, x), "better": outputs(better, x)}
    right = {"no better": no_better, "better": better}
    rows = []
    for epochs in lengths:
        alone = None
        for name, soft in teachers.items():
            found = [outputs(trained(seed, epochs, soft), mnist.x_test) for seed in seeds]
            hits = np.array([statistics.correct(each, mnist.y_test) for each in found])
            alone = hits if alone is None else alone
            teacher = 100 * training.share_correct(right[name], mnist.x_test, mnist.y_test) if name in right else None
            rows.append({"teacher": name, "epochs": epochs, **of_hits(hits, alone), "teacher's accuracy": teacher})
            print(rows[-1], flush=True)
    return rows


# ---------------------------------------------------------------- Hinton's setting


def dense(units: int, seed: int, dropout: bool = False) -> tf_keras.Model:
    """Two hidden layers of ReLUs."""
    tf_keras.utils.set_random_seed(seed)
    layers = tf_keras.layers
    between = [layers.Dropout(0.5)] if dropout else []
    return tf_keras.Sequential(
        [
            tf_keras.Input((28, 28, 1)),
            layers.Flatten(),
            *([layers.Dropout(0.2)] if dropout else []),
            layers.Dense(units, "relu"),
            *between,
            layers.Dense(units, "relu"),
            *([layers.Dropout(0.5)] if dropout else []),
            layers.Dense(10),
        ]
    )


def measure_hinton(
    seeds: Sequence[int] = SEEDS, teacher_epochs: int = 20, epochs: int = 8, units: tuple[int, int] = (400, 200)
) -> list[dict]:
    """Errors of 10,000: a teacher with dropout and shifted pictures, a student without either, alone and distilled.

    Hinton's networks had 1200 and 800 units a layer, and longer trainings: some 40 times the work.  Two settings each.
    """
    mnist = data.load("mnist")
    teacher = dense(units[0], 0, dropout=True)
    training.fit(
        teacher, (mnist.x_train, mnist.y_train), teacher_epochs, batch_size=BATCH, decay=True, seed=0,
        augment=training.shifted,
    )  # fmt: skip
    soft = outputs(teacher, mnist.x_train)
    build = functools.partial(dense, units[1])
    knows = statistics.correct(outputs(teacher, mnist.x_test), mnist.y_test)
    rows = [{"network": "teacher", "errors": int((~knows).sum()), "seeds": [int((~knows).sum())], "setting": []}]
    hits = {}
    for way, rates, knobs in (("alone", (1e-3, 2e-3), (0.0,)), ("distilled", (1e-3,), (4.0, 20.0))):
        run = Run(build, mnist.x_train, None if way == "distilled" else mnist.y_train, None, epochs)
        run.soft = soft if way == "distilled" else None
        setting = tuned(run, (mnist.x_val, mnist.y_val), rates, knobs)
        found = [outputs(run.student(seed, *setting), mnist.x_test) for seed in seeds]
        hits[way] = np.array([statistics.correct(each, mnist.y_test) for each in found])
        errors = [int((~each).sum()) for each in hits[way]]
        rows.append({"network": way, "errors": float(np.mean(errors)), "seeds": errors, "setting": list(setting)})
        print(rows[-1], flush=True)
    gain = statistics.crossed_bootstrap(hits["distilled"], hits["alone"])
    closed = statistics.crossed_bootstrap(
        hits["distilled"], hits["alone"], knows, statistic=lambda d, a, t: (d - a) / (t - a)
    )
    for row in rows:
        row["fewer errors"] = row["part of the difference"] = ""
    count = len(mnist.y_test)
    rows[-1]["fewer errors"] = said(gain, count)
    rows[-1]["part of the difference"] = said(closed, 100)
    rows[-1]["interval"] = [count * gain.value, count * gain.low, count * gain.high]
    rows[-1]["closed"] = [100 * closed.value, 100 * closed.low, 100 * closed.high]  # % of the difference
    return rows


def said(interval: statistics.Interval, unit: float) -> str:
    return f"{unit * interval.value:.0f} ({unit * interval.low:.0f} to {unit * interval.high:.0f})"


# ---------------------------------------------------------------- relatives


def measure_relatives(seeds: Sequence[int] = FEW_SEEDS, epochs: int = 10, pictures: int = 20_000) -> list[dict]:
    """Accuracy of each seed: a network taught by its own twin, and a 4-bit one with and without a teacher."""
    fashion = data.load("fashion_mnist")
    x, y = fashion.x_train[:pictures], fashion.y_train[:pictures]
    twin = training.trained("mlp", fresh=False)
    teachers = {"none": None, "its twin": outputs(twin, x), "LeNet-5": taught_by("train")[: len(x)]}
    rows = []
    for kind in ("from the start", "4 bits, from the trained network"):
        alone = None
        for name, soft in teachers.items():
            hits = []
            for seed in seeds:
                if kind == "from the start":
                    student = Run(models.mlp, x, y, soft, epochs).student(seed, 2e-3, 0.0 if soft is None else 2.0)
                else:
                    student = quantize_aware(twin, 4, calibration=x[:300])
                    Run(lambda seed, student=student: student, x, y, soft, 1).student(
                        seed, 1e-3, 0.0 if soft is None else 2.0
                    )
                hits.append(statistics.correct(outputs(student, fashion.x_test), fashion.y_test))
            hits = np.array(hits)
            alone = hits if alone is None else alone
            rows.append({"student": kind, "teacher": name, **of_hits(hits, alone)})
            print(rows[-1], flush=True)
    return rows


PARTS = {
    "labels": (measure_labels, SEEDS, "accuracy in % on 10,000 pictures; gain: points, 95 % over seeds and pictures"),
    "temperature": (measure_temperature, FEW_SEEDS, "accuracy in % on 10,000 pictures; gain in points over alone"),
    "missing": (measure_missing, FEW_SEEDS, "errors of 10,000 digits, of which 1,010 are threes; means over the seeds"),
    "example": (measure_example, FEW_SEEDS, "accuracy in % on 10,000 digits; gain in points over no teacher"),
    "hinton": (measure_hinton, SEEDS, "errors of 10,000 digits; intervals: 95 % over seeds and digits"),
    "relatives": (measure_relatives, FEW_SEEDS, "accuracy in % on 10,000 pictures; gain in points over no teacher"),
}


def main(argv: list[str] | None = None) -> int:
    """Measure, store, print."""
    parser = argparse.ArgumentParser(prog="course.py bench knowledge_distillation", description=__doc__)
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS) + "; all by default", default=[])
    chosen = parser.parse_args(argv).parts or list(PARTS)
    unknown = [part for part in chosen if part not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; pass some of {', '.join(PARTS)}")
    for part in chosen:
        recorded.check_writable(f"distillation_{part}")  # before an hour is spent
    for part in chosen:
        measure, seeds, notes = PARTS[part]
        rows = measure()
        recorded.save(
            f"distillation_{part}", rows, command=f"{COMMAND} {part}", depends=[measure], seeds=list(seeds), notes=notes
        )
    return 0


if __name__ == "__main__":
    start(main)
