"""Measure what is left of one technique after the next: zeros, values, accuracy and bytes of each recipe and order.

    python course.py bench combination [recipes] [--tiny]

A file for each recipe: its zeros and its distinct numbers, how many test pictures are right, bytes raw, after gzip and
after the course's coder.  About 6 minutes on one quiet thread.

Seeds are those of the pictures and of their order; each step of a recipe is trained on the same 6,400 pictures, 100
steps, and the control for all three steps' time.  The rate of the last step is the better one of two, by the validation
pictures of seed 0.  --tiny measures two rows of one seed and stores nothing.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils  # noqa: F401
from benchmarks import quantization_aware
from benchmarks._command import measure_parts, start
from benchmarks.quantization_aware import sample
from utils import data, training
from utils.artifact import Artifact
from utils.measure import statistics
from utils.optimize import clustering, combined
from utils.optimize.keras_graph import rebuild
from utils.optimize.pruning.gradual import prune_while_training
from utils.optimize.quantization.converter import convert
from utils.quiet import quiet

COMMAND = "python course.py bench combination"
SEEDS = (0, 1, 2)
NETWORKS = ("mlp",)
STEPS, BATCH = 100, 64
RATES = (1e-3, 1e-4)
ZEROS, VALUES = 0.8, 16
SAMPLES = 300  # calibration pictures

#: What is done, in this order; the steps are those of `Case.stepped`.  "*" marks an order that loses something.
RECIPES: dict[str, tuple[str, ...]] = {
    "float": ("float",),
    "int8": ("float", "int8"),
    "pruned": ("prune",),
    "pruned → int8": ("prune", "int8"),
    "pruned → QAT *": ("prune", "nothing"),
    "pruned → PQAT": ("prune", "zeros"),
    "clustered": ("cluster",),
    "clustered → int8": ("cluster", "int8"),
    "clustered → CQAT": ("cluster", "values"),
    "clustered → pruned *": ("cluster", "prune"),
    "pruned → clustered": ("prune", "cluster, zeros kept"),
    "pruned → clustered → PCQAT": ("prune", "cluster, zeros kept", "zeros and values"),
    "pruned → clustered, zeros not kept *": ("prune", "cluster"),
}


class Case:
    """A network that ships, and what recipes make of it; each beginning is trained once for each seed."""

    def __init__(self, name: str, steps: int = STEPS) -> None:
        self.name, self.steps, self.data = name, steps, data.load("fashion_mnist")
        self.network = training.trained(name, seed=training.SHIPPED_SEED, fresh=False)
        self.made = functools.cache(self._made)

    def pictures(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """So many that one epoch has `steps` steps."""
        x, y = sample(self.data, seed, self.steps * BATCH)
        return x[: self.steps * BATCH], y[: self.steps * BATCH]

    def _made(self, recipe: tuple[str, ...], seed: int, rate: float):
        """What the last step of the recipe gives: a model, or a file.  The steps before it have the first rate."""
        if not recipe:
            return self.network
        before = self.made(recipe[:-1], seed, RATES[0])
        return self.stepped(before, recipe[-1], seed, rate)

    def stepped(self, model, step: str, seed: int, rate: float):
        """One step: "float", "int8", "prune", "cluster", "cluster, zeros kept", or a key of `combined.KEEP`."""
        pictures = self.pictures(seed)
        how = {"batch_size": BATCH, "learning_rate": rate, "seed": seed}
        if step == "int8":
            return convert(model, "int8", pictures[0][:SAMPLES])
        if step == "prune":
            return prune_while_training(model, pictures, ZEROS, **how)
        if step.startswith("cluster"):
            zeros = step.endswith("zeros kept")
            return clustering.cluster_while_training(model, pictures, VALUES, keep_zeros=zeros, **how).model
        if step == "float":
            copy = rebuild(model)
            training.fit(copy, pictures, 3, decay=True, **how)  # as long as the longest recipe
            return copy
        return combined.quantize_while_training(model, pictures, step, **how).file

    def file(self, recipe: str, seed: int, rate: float) -> Artifact:
        with quiet():
            made = self.made(RECIPES[recipe], seed, rate)
            return made if isinstance(made, Artifact) else convert(made, "float32")

    def rate(self, recipe: str, seed: int) -> float:
        """The rate with which more validation pictures are right; a last step without training has none to choose."""
        if RECIPES[recipe][-1] == "int8":
            return RATES[0]
        x, y = self.data.x_val[:5000], self.data.y_val[:5000]
        return max(RATES, key=lambda rate: right(self.file(recipe, seed, rate), x, y))


def right(file: Artifact, x: np.ndarray, y: np.ndarray) -> float:
    """How many of the pictures are right, in per cent."""
    return 100 * statistics.accuracy(file.predict(x), y).value


def stored(content: bytes) -> dict[str, float]:
    """Zeros in per cent, and distinct numbers: of the kernel, and of the channel, with the most of them."""
    kernels = [kernel for kernel in combined.kernels_in_file(content) if kernel.operator != "DEPTHWISE_CONV_2D"]
    return {
        "zeros %": round(100 * sum(k.zeros for k in kernels) / sum(k.size for k in kernels), 1),
        "values": max(kernel.distinct for kernel in kernels),
        "in a channel": max(kernel.in_a_channel for kernel in kernels),
    }


def text(values: Sequence[float]) -> str:
    """Mean ± half the 95 % interval over the seeds; one seed has no interval."""
    return quantization_aware.text(list(values)) if len(values) > 1 else f"{values[0]:.1f}"


def measure_recipes(
    networks: Sequence[str] = NETWORKS,
    recipes: Sequence[str] = tuple(RECIPES),
    seeds: Sequence[int] = SEEDS,
    steps: int = STEPS,
) -> list[dict]:
    """One row for each network and recipe: counts and bytes of the first seed's file, pictures right of all seeds."""
    rows = []
    for case in (Case(name, steps) for name in networks):
        x, y = case.data.x_test, case.data.y_test
        for recipe in recipes:
            rate = case.rate(recipe, seeds[0])
            files = [case.file(recipe, seed, rate) for seed in seeds]
            accuracy = [round(right(file, x, y), 2) for file in files]
            content = files[0].content
            rows.append(
                {
                    "network": case.name,
                    "recipe": recipe,
                    **stored(content),
                    "right %": text(accuracy),
                    "bytes": len(content),
                    "gzip": files[0].gzip_size,
                    "coded": combined.coded_size(content),
                    "rate": rate,
                    "seeds": {"right %": accuracy, "zeros %": [stored(file.content)["zeros %"] for file in files]},
                }
            )
            print(rows[-1], flush=True)
    return rows


#: What --tiny measures, in about two minutes.
TINY: dict[str, dict] = {
    "recipes": {"recipes": ("pruned → QAT *", "pruned → clustered → PCQAT"), "seeds": (0,), "steps": 20}
}
NOTES = (
    "right %: mean ± half the 95 % interval over seeds, 10,000 test pictures; counts and bytes of seed 0; "
    "coded: kernels by the course's coder, the rest of the file by gzip; * an order that loses something"
)


def main() -> None:
    measure_parts(
        __doc__,
        "combination",
        {"recipes": measure_recipes},
        command=COMMAND,
        seeds={"recipes": SEEDS},
        notes=NOTES,
        tiny=TINY,
    )


if __name__ == "__main__":
    start(main)
