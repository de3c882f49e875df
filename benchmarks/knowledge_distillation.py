"""Measure when distillation helps a small network, and when it does not.

    python course.py bench knowledge_distillation [labels] [temperature] [unseen] [missing] [example] [whole]
                                                  [twin] [own] [steps] [hinton] [relatives] [--tiny]

labels       Fashion-MNIST: a small dense network with few and with all labels, alone, distilled, hard answers (6)
temperature  Fashion-MNIST, all labels: temperatures for a small dense student (1 minute)
unseen       Fashion-MNIST: a teacher that has learnt from the pictures to which it answers, and one that has not (3)
missing      MNIST: a student that never saw a 3 (2 minutes)
example      MNIST: the networks of Keras' example, with a teacher that is no better and one that is (2 minutes)
whole        the example at its full length, its teacher a quarter as wide, several starts (20 minutes)
twin         the same with a teacher as good as its student on average, at temperature 10 (3 minutes)
own          Fashion-MNIST: a teacher that has learnt from the same 1,000 labels as its student (5 minutes)
steps        Fashion-MNIST, all labels: few and many steps, alone and at two temperatures (5 minutes)
hinton       MNIST: the comparison of Hinton et al. 2015, section 3, with a narrower student (10 minutes)
relatives    self-distillation, and a 4-bit student with and without a teacher (2 minutes)

Times are of one quiet thread.  What is compared has the same network, steps and batch; both sides choose among equally
many settings by validation pictures, and the test pictures are looked at once.  Chapter 10 shows the tables,
but not that of "steps".
--tiny: the smallest run of "own", "steps" and "hinton"; nothing is stored.
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
    """One row for each number of labels and way to learn: accuracy of each seed, and the gain over learning alone.

    Two controls have the unlabelled pictures: "hard answers" are the teacher's most probable classes, taken for labels,
    and "true labels" what nobody has.  Both are tuned as learning alone is.  The soft answers' row says what they add
    to the hard ones, over the same seeds and test pictures.
    """
    fashion = data.load("fashion_mnist")
    soft = taught_by("train")
    many = ("hard answers to unlabelled pictures", "distilled, unlabelled pictures", "true labels of those pictures")
    rows = []
    for count in counts:
        chosen = {seed: labelled(fashion, count, seed) for seed in seeds}
        hits = {}
        for way in ("alone", "distilled, same pictures", *(many if count < unlabelled else ())):

            def run(seed, way=way, chosen=chosen):
                index = np.arange(unlabelled) if way in many else chosen[seed]
                y = {many[0]: soft[index].argmax(1), many[1]: None}.get(way, fashion.y_train[index])
                epochs = max(1, steps * BATCH // len(index))
                return Run(small, fashion.x_train[index], y, soft[index] if "distilled" in way else None, epochs)

            knobs = temperatures if "distilled" in way else smoothing
            setting = tuned(run(seeds[0]), (fashion.x_val, fashion.y_val), rates, knobs)
            hits[way] = np.array(
                [
                    statistics.correct(outputs(run(seed).student(seed, *setting), fashion.x_test), fashion.y_test)
                    for seed in seeds
                ]
            )
            row = {"labels": count, "way": way, **of_hits(hits[way], hits["alone"]), "setting": list(setting)}
            over = of_hits(hits[way], hits[many[0]]) if way == many[1] else {"gain": "", "interval": None}
            rows.append({**row, "over hard answers": over["gain"], "interval over hard answers": over["interval"]})
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


# ---------------------------------------------------------------- unseen


def measure_unseen(seeds: Sequence[int] = FEW_SEEDS, steps: int = 1200, teacher_epochs: int = 3) -> list[dict]:
    """Students of one teacher, whose pictures it has, or has not, learnt from.

    A LeNet-5 that has learnt from training pictures 0 to 30,000 answers to 20,000 of these, and to the 20,000 others.
    The student alone has 1,000 labels, and the setting that `labels` chose for it.
    """
    fashion = data.load("fashion_mnist")
    val = (fashion.x_val, fashion.y_val)
    few = {seed: labelled(fashion, 1000, seed) for seed in seeds}

    def right(students: Sequence[tf_keras.Model]) -> np.ndarray:
        return np.array([statistics.correct(outputs(each, fashion.x_test), fashion.y_test) for each in students])

    def by_itself(seed: int) -> tf_keras.Model:
        of = few[seed]
        run = Run(small, fashion.x_train[of], fashion.y_train[of], None, steps * BATCH // len(of))
        return run.student(seed, 1e-3, 0.1)

    alone = right([by_itself(seed) for seed in seeds])
    rows = [{"pictures": "none: alone", "teacher on them": None, **of_hits(alone, alone), "setting": [1e-3, 0.1]}]
    teacher = models.lenet5(seed=0)
    learnt = (fashion.x_train[:30_000], fashion.y_train[:30_000])
    training.fit(teacher, learnt, teacher_epochs, batch_size=BATCH, decay=True)
    for name, first in (("learnt by the teacher", 0), ("new to the teacher", 30_000)):
        these = slice(first, first + 20_000)
        soft = outputs(teacher, fashion.x_train[these])
        run = Run(small, fashion.x_train[these], None, soft, steps * BATCH // 20_000)
        setting = tuned(run, val, (1e-3, 4e-3), (1, 2))
        hits = right([run.student(seed, *setting) for seed in seeds])
        on_them = round(100 * float(np.mean(soft.argmax(1) == fashion.y_train[these])), 2)
        rows.append({"pictures": name, "teacher on them": on_them, **of_hits(hits, alone), "setting": list(setting)})
        print(rows[-1], flush=True)
    on_test = round(100 * float(training.share_correct(teacher, fashion.x_test, fashion.y_test)), 2)
    return [{**row, "teacher on test": on_test} for row in rows]


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


def keras_student(seed: int, channels: tuple[int, int] = (16, 32)) -> tf_keras.Model:
    """The student of https://keras.io/examples/vision/knowledge_distillation, 20,490 parameters.

    channels: of its two convolutions; (256, 512) make the example's teacher.
    """
    tf_keras.utils.set_random_seed(seed)
    layers = tf_keras.layers
    return tf_keras.Sequential(
        [
            tf_keras.Input((28, 28, 1)),
            layers.Conv2D(channels[0], 3, strides=2, padding="same"),
            layers.LeakyReLU(0.2),
            layers.MaxPooling2D(2, strides=1, padding="same"),
            layers.Conv2D(channels[1], 3, strides=2, padding="same"),
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


def measure_whole(
    temperatures: Sequence[float] = (10, 1), seeds: Sequence[int] = SEEDS, epochs: int = 3, teacher_epochs: int = 5
) -> list[dict]:
    """The example as it stands, several starts: 60,000 digits in batches of 32, share 0.9, Adam 0.001.

    One row for the student alone and one for each temperature; the example has 10.  One teacher, as there, with 64 and
    128 channels in place of 256 and 512, to save half an hour.
    Nothing is chosen among settings, so the pictures for validation are trained on, too, as there.
    """
    mnist = data.load("mnist")
    x, y = np.concatenate([mnist.x_train, mnist.x_val]), np.concatenate([mnist.y_train, mnist.y_val])

    def trained(network: tf_keras.Model, epochs: int, seed: int, soft: np.ndarray | None, temperature: float):
        distillation.distil(
            network, (x, y), epochs, teacher=np.zeros((len(x), 10), np.float32) if soft is None else soft,
            temperature=temperature, soft_share=0.0 if soft is None else 0.9, batch_size=32, learning_rate=1e-3,
            decay=False, seed=seed,
        )  # fmt: skip
        return statistics.correct(outputs(network, mnist.x_test), mnist.y_test)

    teacher = keras_student(100, (64, 128))
    known = round(100 * float(np.mean(trained(teacher, teacher_epochs, 100, None, 1.0))), 2)
    soft = outputs(teacher, x)
    print(f"the teacher: {known} %", flush=True)
    alone, rows = None, []
    for temperature in (None, *temperatures):
        answers = None if temperature is None else soft
        found = [trained(keras_student(seed), epochs, seed, answers, float(temperature or 1)) for seed in seeds]
        hits = np.array(found)
        alone = hits if alone is None else alone
        kind = {"temperature": temperature, "teacher's accuracy": None if temperature is None else known}
        rows.append({**kind, **of_hits(hits, alone)})
        print(rows[-1], flush=True)
    return rows


def measure_twin(
    temperatures: Sequence[float] = (10,), seeds: Sequence[int] = FEW_SEEDS, epochs: int = 9, pictures: int = 10_000
) -> list[dict]:
    """As `example`, 9 epochs, with a teacher that is exactly as good as its student: the one alone of the next seed.

    One row without a teacher and one for each temperature.  9 epochs of 10,000 digits in batches of 64 are 1,413 steps;
    the example has 3 epochs of 60,000 in batches of 32, 5,625 steps.  Nothing is chosen among settings.
    """
    mnist = data.load("mnist")
    x, y = mnist.x_train[:pictures], mnist.y_train[:pictures]

    def trained(seed: int, soft: np.ndarray | None, temperature: float) -> tf_keras.Model:
        student = keras_student(seed)
        teacher = np.zeros((len(x), 10), np.float32) if soft is None else soft
        distillation.distil(
            student, (x, y), epochs, teacher=teacher, temperature=temperature, soft_share=0.0 if soft is None else 0.9,
            batch_size=64, learning_rate=1e-3, decay=False, seed=seed,
        )  # fmt: skip
        return student

    def right(networks: Sequence[tf_keras.Model]) -> np.ndarray:
        return np.array([statistics.correct(outputs(each, mnist.x_test), mnist.y_test) for each in networks])

    by_themselves = [trained(seed, None, 1.0) for seed in seeds]
    alone = right(by_themselves)
    rows = [{"teacher": "none", "teacher's accuracy": None, "temperature": None, **of_hits(alone, alone)}]
    soft = [outputs(teacher, x) for teacher in (*by_themselves[1:], by_themselves[0])]
    for temperature in temperatures:
        students = [trained(seed, z, float(temperature)) for seed, z in zip(seeds, soft, strict=True)]
        kind = {"teacher": "its twin", "teacher's accuracy": rows[0]["accuracy"], "temperature": temperature}
        rows.append({**kind, **of_hits(right(students), alone)})
        print(rows[-1], flush=True)
    return rows


# ---------------------------------------------------------------- equal tuning, for what follows


def found(run: Run, how: tuple[float, float], seed: int, dataset: data.Dataset) -> tuple[float, np.ndarray]:
    """One student's accuracy on the validation pictures in per cent, and which of the test pictures it gets right.

    how: the rate, and the temperature or the label smoothing.
    """
    student = run.student(seed, *how)
    right = 100 * float(training.share_correct(student, dataset.x_val, dataset.y_val))
    return right, statistics.correct(outputs(student, dataset.x_test), dataset.y_test)


def best_of(
    run_of: Callable, settings: Sequence[tuple], seeds: Sequence[int], dataset: data.Dataset
) -> tuple[np.ndarray, dict]:
    """Hits of all seeds with the setting that is best on the validation pictures with the first seed; what was tried.

    run_of: (setting, seed) -> (run, how); see `found`.
    """
    tries = [found(*run_of(setting, seeds[0]), seeds[0], dataset) for setting in settings]
    best = int(np.argmax([right for right, _ in tries]))
    others = [found(*run_of(settings[best], seed), seed, dataset)[1] for seed in seeds[1:]]
    tried = [[*setting, round(right, 2)] for setting, (right, _) in zip(settings, tries, strict=True)]
    return np.array([tries[best][1], *others]), {"setting": list(settings[best]), "tried": tried}


# ---------------------------------------------------------------- a teacher without labels of its own


def measure_own(
    seeds: Sequence[int] = FEW_SEEDS,
    count: int = 1000,
    steps: int = 1200,
    teacher_steps: int = 800,
    rates: Sequence[float] = (1e-3, 4e-3),
    unlabelled: int = 20_000,
) -> list[dict]:
    """Students of 1,000 labels: alone, with a teacher of the same 1,000 labels, and with one of 50,000.

    The teacher of 1,000 labels is a LeNet-5 for each seed, with or without shifted pictures, as the validation pictures
    choose with the first seed.  Each student has about as many steps, and is chosen among four settings.
    """
    fashion = data.load("fashion_mnist")
    many = taught_by("train")
    chosen = {seed: labelled(fashion, count, seed) for seed in seeds}

    def taught(seed: int, augment: Callable | None) -> tf_keras.Model:
        of, teacher = chosen[seed], models.lenet5(seed=seed)
        pairs = (fashion.x_train[of], fashion.y_train[of])
        epochs = max(1, teacher_steps * BATCH // count)
        training.fit(teacher, pairs, epochs, batch_size=BATCH, decay=True, seed=seed, augment=augment)
        return teacher

    first = {way: taught(seeds[0], way) for way in (None, training.shifted)}
    best = max(first, key=lambda way: training.share_correct(first[way], fashion.x_val, fashion.y_val))
    teachers = {seeds[0]: first[best], **{seed: taught(seed, best) for seed in seeds[1:]}}
    few = {seed: outputs(teacher, fashion.x_train) for seed, teacher in teachers.items()}

    def run_of(setting: tuple, seed: int, way: str) -> tuple[Run, tuple]:
        index = np.arange(unlabelled) if "unlabelled" in way else chosen[seed]
        y = None if "unlabelled" in way else fashion.y_train[index]
        soft = None if way == "alone" else (many if "50,000" in way else few[seed])[index]
        return Run(small, fashion.x_train[index], y, soft, max(1, steps * BATCH // len(index))), setting

    knows = [statistics.correct(outputs(teachers[seed], fashion.x_test), fashion.y_test) for seed in seeds]
    accuracy = [round(100 * float(each.mean()), 2) for each in knows]
    rows = [
        {"way": "the teacher of 1,000 labels", "accuracy": round(float(np.mean(accuracy)), 2), "gain": ""}
        | {"seeds": accuracy, "shifted": best is not None}
    ]
    alone = None
    for way in (
        "alone",
        "teacher of 1,000 labels, same pictures",
        "teacher of 1,000 labels, unlabelled pictures",
        "teacher of 50,000 labels, unlabelled pictures",
    ):
        settings = tuple(itertools.product(rates, (0, 0.1) if way == "alone" else (1, 2)))
        hits, how = best_of(functools.partial(run_of, way=way), settings, seeds, fashion)
        alone = hits if alone is None else alone
        rows.append({"way": way, **of_hits(hits, alone), **how})
        print(rows[-1], flush=True)
    return rows


# ---------------------------------------------------------------- few steps and many


def measure_steps(
    lengths: Sequence[int] = (3, 12),
    temperatures: Sequence[float] = (2, 8),
    seeds: Sequence[int] = FEW_SEEDS,
    rates: Sequence[float] = (1e-3, 4e-3),
) -> list[dict]:
    """All labels of Fashion-MNIST, few steps and many: one row for each length and way; two rates for each way."""
    fashion = data.load("fashion_mnist")
    soft = taught_by("train")
    rows = []
    for epochs in lengths:
        alone = None
        for way in ("alone", *temperatures):

            def run_of(rate: tuple, seed: int, way=way, epochs=epochs) -> tuple[Run, tuple]:
                run = Run(small, fashion.x_train, fashion.y_train, None if way == "alone" else soft, epochs)
                return run, (*rate, 0.0 if way == "alone" else way)

            hits, how = best_of(run_of, tuple(itertools.product(rates)), seeds, fashion)
            alone = hits if alone is None else alone
            steps = epochs * -(-len(soft) // BATCH)
            rows.append({"steps": steps, "temperature": way, **of_hits(hits, alone), **how})
            print(rows[-1], flush=True)
    return rows


# ---------------------------------------------------------------- Hinton's setting


def dense(units: int, seed: int) -> tf_keras.Model:
    """Two hidden layers of ReLUs."""
    tf_keras.utils.set_random_seed(seed)
    layers = tf_keras.layers
    hidden = [layers.Dense(units, "relu"), layers.Dense(units, "relu")]
    return tf_keras.Sequential([tf_keras.Input((28, 28, 1)), layers.Flatten(), *hidden, layers.Dense(10)])


def measure_hinton(
    seeds: Sequence[int] = FEW_SEEDS,
    units: int = 256,
    alone: Sequence[tuple] = tuple(itertools.product((1e-3, 2e-3), (8, 16))),
    taught: Sequence[tuple] = tuple(itertools.product((2e-3,), (16,), (4, 20), (0.9, 1))),
) -> list[dict]:
    """Errors of 10,000 digits: a dense student alone and distilled, on the same plain pictures, without regularization.

    The teacher is the LeNet-5 that ships.  Hinton's was dense, 1200-1200, with dropout and shifted pictures; his
    student 800-800.

    alone: settings (rate, epochs).  taught: as many settings (rate, epochs, temperature, weight of the teacher).
    """
    mnist = data.load("mnist")
    teacher = training.trained("lenet5", "mnist", fresh=False)
    soft = outputs(teacher, mnist.x_train)

    def run_of(setting: tuple, seed: int) -> tuple[Run, tuple]:
        rate, epochs, temperature, share = setting if len(setting) == 4 else (*setting, 0.0, 0.0)
        y = None if share == 1 else mnist.y_train  # `Run` gives a teacher nine tenths beside labels, and all without
        run = Run(functools.partial(dense, units), mnist.x_train, y, soft if share else None, epochs)
        return run, (rate, temperature)

    knows = statistics.correct(outputs(teacher, mnist.x_test), mnist.y_test)
    rows = [{"network": "teacher", "errors": int((~knows).sum()), "seeds": [int((~knows).sum())], "setting": []}]
    hits = {}
    for way, settings in (("alone", alone), ("distilled", taught)):
        hits[way], how = best_of(run_of, settings, seeds, mnist)
        errors = [int((~each).sum()) for each in hits[way]]
        rows.append({"network": way, "errors": round(float(np.mean(errors)), 1), "seeds": errors, **how})
        print(rows[-1], flush=True)
    gain = statistics.crossed_bootstrap(hits["distilled"], hits["alone"])
    closed = statistics.crossed_bootstrap(
        hits["distilled"], hits["alone"], knows, statistic=lambda d, a, t: (d - a) / (t - a)
    )
    for row in rows:
        row["fewer errors"] = row["part of the difference, %"] = ""
    count = len(mnist.y_test)
    rows[-1]["fewer errors"] = said(gain, count)
    rows[-1]["part of the difference, %"] = said(closed, 100)
    rows[-1]["interval"] = [round(count * each, 1) for each in (gain.value, gain.low, gain.high)]
    rows[-1]["closed"] = [round(100 * each, 1) for each in (closed.value, closed.low, closed.high)]
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
    "unseen": (measure_unseen, FEW_SEEDS, "accuracy in % on 10,000 pictures; gain in points over no teacher"),
    "missing": (measure_missing, FEW_SEEDS, "errors of 10,000 digits, of which 1,010 are threes; means over the seeds"),
    "example": (measure_example, FEW_SEEDS, "accuracy in % on 10,000 digits; gain in points over no teacher"),
    "whole": (measure_whole, SEEDS, "accuracy in % on 10,000 digits; gain in points over no teacher"),
    "twin": (measure_twin, FEW_SEEDS, "accuracy in % on 10,000 digits; gain in points over no teacher"),
    "own": (measure_own, FEW_SEEDS, "accuracy in % on 10,000 pictures; gain: points over alone"),
    "steps": (measure_steps, FEW_SEEDS, "accuracy in % on 10,000 pictures; gain: points over alone, same steps"),
    "hinton": (measure_hinton, FEW_SEEDS, "errors of 10,000 digits; intervals: 95 % over seeds and digits"),
    "relatives": (measure_relatives, FEW_SEEDS, "accuracy in % on 10,000 pictures; gain in points over no teacher"),
}


#: The settings of --tiny.
TINY = {
    "own": {"seeds": (0, 1), "steps": 20, "teacher_steps": 8, "rates": (1e-3,), "unlabelled": 2000},
    "steps": {"lengths": (1,), "temperatures": (2,), "seeds": (0, 1), "rates": (1e-3,)},
    "hinton": {"seeds": (0, 1), "units": 8, "alone": ((1e-3, 1),), "taught": ((1e-3, 1, 4, 0.9),)},
}


def main(argv: list[str] | None = None) -> int:
    """Measure, store, print."""
    parser = argparse.ArgumentParser(prog="course.py bench knowledge_distillation", description=__doc__)
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS) + "; all by default", default=[])
    parser.add_argument("--tiny", action="store_true", help=f"the smallest run of {', '.join(TINY)}; nothing is stored")
    options = parser.parse_args(argv)
    chosen = options.parts or list(TINY if options.tiny else PARTS)
    unknown = [part for part in chosen if part not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; pass some of {', '.join(PARTS)}")
    if options.tiny:
        for part in chosen:
            if part not in TINY:
                parser.error(f"--tiny has no part {part!r}; pass some of {', '.join(TINY)}")
            print(PARTS[part][0](**TINY[part]))
        return 0
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
