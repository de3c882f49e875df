"""Measure quantization-aware against post-training quantization from 8 to 2 bits, and ways to recover accuracy.

    python course.py bench quantization_aware [bits] [recovery]
    python course.py bench quantization_aware --confirm    # a few rows: are the records still right?

About 15 minutes on one thread of a quiet machine.  Three seeds: each has a float network, pictures to fine-tune on and
an order of its own.  Seed 0's network is the one that ships.  All fine-tuning has the same budget: 100 steps of 64
pictures.  Both sides of "after training" and "trained" have the same quantizers, so the same granularity; the row
"float" is the control: the float network, fine-tuned in the same way.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


import utils  # noqa: F401
from benchmarks._command import add_confirm, around, confirm, start, without
from utils import data, recorded, training
from utils.optimize import pruning, recovery
from utils.optimize.keras_graph import rebuild
from utils.optimize.quantization import aware_ranges
from utils.optimize.quantization.aware import quantize_aware

if TYPE_CHECKING:
    import tf_keras

SEEDS = (0, 1, 2)
PICTURES, BATCH = 6400, 64
NETWORKS = {"residual_cnn": (8, 6, 4, 3, 2, (4, 8), (3, 8)), "mlp": (8, 6, 4, 3, 2)}
RATE, GENTLE_RATE = 1e-3, 1e-4
GENTLE = {"residual_cnn": (8,)}  # also fine-tuned with the lower rate, and the control with them
T_95 = 4.303  # Student's t, two degrees of freedom

#: How the two damaged networks are fine-tuned: the same number of steps each.
RECIPES = {
    "rate 0.0001, falling": {"learning_rate": 1e-4},
    "rate 0.001, falling": {"learning_rate": 1e-3},
    "rate 0.01, falling": {"learning_rate": 1e-2},
    "rate 0.001, constant": {"learning_rate": 1e-3, "decay": False},
    "rate 0.001, falling, frozen statistics": {"learning_rate": 1e-3, "freeze_statistics": True},
    "rate 0.001, falling, a quarter of the pictures four times": {"learning_rate": 1e-3, "epochs": 4},
    "rate 0.001, falling, teacher": {"learning_rate": 1e-3, "teacher": True},
}


def sample(dataset: data.Dataset, seed: int, pictures: int = PICTURES) -> tuple[np.ndarray, np.ndarray]:
    """The pictures on which seed `seed` fine-tunes, classes in proportion."""
    part = dataset.subset(pictures, seed)
    return part.x_train, part.y_train


def lost(before: float, model: tf_keras.Model, dataset: data.Dataset) -> float:
    """Points of test accuracy below the float network's; negative when better."""
    return 100 * (before - training.share_correct(model, dataset.x_test, dataset.y_test))


def with_interval(values: list[float]) -> dict[str, float]:
    """Mean and half the 95 % interval of the mean over three seeds; one value has no interval."""
    half = T_95 * np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
    return {"mean": float(np.mean(values)), "half": float(half)}


def text(values: list[float]) -> str:
    return "{mean:.1f} ± {half:.1f}".format(**with_interval(values))


def named(bits: int | tuple[int, int]) -> str:
    return "{} / {}".format(*((bits, bits) if isinstance(bits, int) else bits))


def measure_bits(
    dataset: data.Dataset, networks: Mapping[str, tuple] = NETWORKS, seeds: Sequence[int] = SEEDS
) -> list[dict]:
    """One row for each network, width and rate: points lost after training and with training, over the seeds."""
    rows, control = [], []
    for network, widths in networks.items():
        floats = {seed: training.trained(network, seed=seed, fresh=False) for seed in seeds}
        before = {seed: training.share_correct(model, dataset.x_test, dataset.y_test) for seed, model in floats.items()}
        gentle = GENTLE.get(network, ())
        for rate, group in ((RATE, ("float", *widths)), (GENTLE_RATE, ("float", *gentle) if gentle else ())):
            for bits in group:
                found = [
                    measure_one(floats[seed], before[seed], bits, sample(dataset, seed), rate, seed, dataset)
                    for seed in seeds
                ]
                columns = {name: [one[name] for one in found] for name in found[0]}
                control = columns["trained"] if bits == "float" else control
                rows.append(row_of(network, bits, rate, columns, control))
                print(rows[-1], flush=True)
    return rows


def row_of(network: str, bits, rate: float, columns: dict[str, list[float]], control: list[float]) -> dict:
    """Texts for the chapter, and every seed's figures.  control: points the float network lost by the same training."""

    def minus(a: str, b: list[float]) -> list[float]:
        return [x - y for x, y in zip(columns[a], b, strict=True)]

    return {
        "network": network,
        "bits": bits if bits == "float" else named(bits),
        "rate": rate,
        "min-max": text(columns["minmax"]),
        "mse": text(columns["mse"]),
        "trained": text(columns["trained"]),
        "trained − control": text(minus("trained", control)),
        "gain over mse": text(minus("mse", columns["trained"])),
        "lost": columns,
    }


def measure_one(model, before: float, bits, pairs, rate: float, seed: int, dataset: data.Dataset) -> dict[str, float]:
    """Points lost by post-training quantization with two kinds of ranges, and by training with the same quantizers."""
    if bits == "float":  # what the same fine-tuning does without any rounding
        trained, found = rebuild(model), {"minmax": 0.0, "mse": 0.0}
    else:
        trained, found = quantize_aware(model, bits), {}
        for clip in ("minmax", "mse"):  # training starts from the second
            aware_ranges.calibrate(trained, pairs[0][:300], clip=clip)
            found[clip] = lost(before, trained, dataset)
    recovery.recover(trained, pairs, batch_size=BATCH, learning_rate=rate, seed=seed)
    return found | {"trained": lost(before, trained, dataset)}


def measure_recovery(
    dataset: data.Dataset, recipes: Mapping[str, dict] = RECIPES, seeds: Sequence[int] = SEEDS
) -> list[dict]:
    """One row for each recipe: points lost by a 3-bit and by a pruned network after the same number of steps."""
    floats = {seed: training.trained("residual_cnn", seed=seed, fresh=False) for seed in seeds}
    before = {seed: training.share_correct(model, dataset.x_test, dataset.y_test) for seed, model in floats.items()}
    rows = []
    for recipe, options in {"none": None, **recipes}.items():
        found = {
            kind: [recover_one(kind, floats[seed], before[seed], options, seed, dataset) for seed in seeds]
            for kind in ("3 bits", "90 % pruned")
        }
        rows.append({"recipe": recipe, **{kind: text(values) for kind, values in found.items()}, "lost": found})
        print(rows[-1], flush=True)
    return rows


def recover_one(kind: str, model, before: float, options, seed: int, dataset: data.Dataset) -> float:
    if kind == "3 bits":
        damaged = quantize_aware(model, 3)
        aware_ranges.calibrate(damaged, sample(dataset, seed)[0][:300], clip="mse")
    else:
        damaged = pruning.prune_once(model, 0.9)
    if options is not None:
        chosen = {"epochs": 1} | options | ({"teacher": model} if options.get("teacher") else {})
        pairs = sample(dataset, seed, PICTURES // chosen["epochs"])  # the same number of steps
        recovery.recover(damaged, pairs, batch_size=BATCH, keep_zeros=kind != "3 bits", seed=seed, **chosen)
    return lost(before, damaged, dataset)


def confirm_bits(dataset: data.Dataset) -> None:
    """The network that ships, with 4 bits and as the control."""
    rows = measure_bits(dataset, {"mlp": (4,)}, SEEDS[:1])
    texts = ("min-max", "mse", "trained", "trained − control", "gain over mse")
    bounds = {"lost": lambda row: around([figure for seeds in row["lost"].values() for figure in seeds])}
    key = ["network", "bits", "rate"]
    confirm("quantization_aware_bits", without(rows, *texts), key=key, depends=[measure_bits], trained=bounds)


def confirm_recovery(dataset: data.Dataset) -> None:
    """The network that ships, damaged in both ways, and recovered by the first recipe that is not too gentle."""
    recipe = "rate 0.001, falling"
    rows = without(measure_recovery(dataset, {recipe: RECIPES[recipe]}, SEEDS[:1]), "3 bits", "90 % pruned")
    bounds = {"lost": lambda row: around([figure for seeds in row["lost"].values() for figure in seeds])}
    confirm("quantization_aware_recovery", rows, key=["recipe"], depends=[measure_recovery], trained=bounds)


CONFIRM = {"bits": confirm_bits, "recovery": confirm_recovery}
PARTS = {"bits": measure_bits, "recovery": measure_recovery}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="bits, recovery; both by default", default=[])
    add_confirm(parser, "a few rows of each part")
    chosen = parser.parse_args()
    parts = chosen.parts or list(PARTS)
    dataset = data.load("fashion_mnist")
    for part in parts:
        recorded.check_writable(f"quantization_aware_{part}")
        if chosen.confirm:
            CONFIRM[part](dataset)
            continue
        recorded.save(
            f"quantization_aware_{part}",
            PARTS[part](dataset),
            command="python course.py bench quantization_aware",
            depends=[PARTS[part]],
            seeds=list(SEEDS),
            notes="points of test accuracy lost, mean ± half the 95 % interval over seeds",
        )


if __name__ == "__main__":
    start(main)
