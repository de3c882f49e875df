"""How much an accuracy owes to the seed: one recipe, trained ten times on all of Fashion-MNIST.

    python course.py bench measuring
    python course.py bench measuring --confirm    # one seed, after a change of code that should change nothing

The recipe is chapter 01's: `mlp` with 32 hidden units, two epochs.  Nothing differs but the seed, so every difference
that the table shows is chance; McNemar's test calls many of them significant, because it judges two trained
networks and not the recipe that made them.  About a minute on one thread.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._command import add_confirm, around, confirm, start, without
from utils import data, models, recorded, training
from utils.measure import statistics

COMMAND = "python course.py bench measuring"
SEEDS = list(range(10))
HIDDEN, EPOCHS = (32,), 2


def hits(seed: int, dataset: data.Dataset, epochs: int = EPOCHS) -> np.ndarray:
    """Train once; which test pictures are right, bool (n,)."""
    model = models.mlp(dataset.input_shape, dataset.num_classes, seed=seed, hidden=HIDDEN)
    training.fit(model, dataset, epochs, seed=seed)
    return statistics.correct(model.predict(dataset.x_test, batch_size=1000, verbose=0), dataset.y_test)


def table(right: dict[int, np.ndarray]) -> list[dict[str, object]]:
    """One row a seed: its test accuracy, McNemar's p against the first seed, and from how many of the others that test
    tells it apart (p < 0.05)."""
    first = next(iter(right.values()))
    return [
        {
            "seed": seed,
            "test accuracy": float(own.mean()),
            "p against the first": statistics.mcnemar(first, own).p_value,
            "others that differ significantly": sum(
                statistics.mcnemar(own, other).p_value < 0.05 for s, other in right.items() if s != seed
            ),
        }
        for seed, own in right.items()
    ]


def confirm_one(dataset: data.Dataset) -> None:
    """The first seed."""
    bounds = around([row["test accuracy"] for row in recorded.load("measuring").rows])
    rows = without(table({SEEDS[0]: hits(SEEDS[0], dataset)}), "others that differ significantly")
    confirm("measuring", rows, key=["seed"], depends=[hits, table], trained={"test accuracy": lambda _: bounds})


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], epilog=f"  {COMMAND}")
    add_confirm(parser, "the first seed")
    options = parser.parse_args(arguments)
    recorded.check_writable("measuring")
    dataset = data.load("fashion_mnist")
    if options.confirm:
        confirm_one(dataset)
        return 0
    rows = table({seed: hits(seed, dataset) for seed in SEEDS})
    path = recorded.save("measuring", rows, command=COMMAND, depends=[hits, table], seeds=SEEDS)
    for row in rows:
        print(row)
    print(f"{len(rows)} rows in {path.name}")
    return 0


if __name__ == "__main__":
    start(main)
