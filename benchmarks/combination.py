"""Measure what is left of one technique after the next: zeros, values, accuracy and bytes of each recipe and order.

    python course.py bench combination [--minutes 3] [--anew] [--confirm] [--tiny]

A file for each recipe: its zeros and its distinct numbers, how many test pictures are right, bytes raw, after gzip and
after the course's coder.  About 20 minutes on one quiet thread.  Each row is recorded as soon as it is there, and rows
that today's code has measured are not measured again: --minutes begins no row after so many, --anew forgets them.

Seeds are those of the pictures and of their order; each step of a recipe is trained on the same 6,400 pictures, 100
steps.  Every trained step of every recipe, the controls' too, tries the same rates, one step after the other, and takes
the one with which most of 5,000 validation pictures are right with seed 0.  The steps before it keep theirs.
Controls: "float, trained as long" (300 steps, as the longest recipe) and "pruned → trained on" (200, zeros held, as
PQAT).  Granularity: "int8" has a scale for each unit, "int8, one scale" one for each kernel, as the Toolkit's
quantization-aware training has in dense layers.  --tiny measures a few rows of one seed and stores nothing.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils  # noqa: F401
from benchmarks import quantization_aware
from benchmarks._command import add_confirm, confirm, start, without
from benchmarks.quantization_aware import sample
from utils import data, recorded, tflite_file, training
from utils.artifact import Artifact
from utils.measure import statistics
from utils.optimize import clustering, combined, recovery
from utils.optimize.keras_graph import rebuild
from utils.optimize.pruning.gradual import prune_while_training
from utils.optimize.pruning.magnitude import prune_once
from utils.optimize.quantization.converter import convert
from utils.quiet import quiet

COMMAND = "python course.py bench combination"
NAME = "combination_recipes"
SEEDS = (0, 1, 2)
NETWORK = "mlp"
STEPS, BATCH = 100, 64
RATES = (1e-4, 1e-3, 3e-3, 1e-2)
ZEROS, VALUES = 0.8, 16
SAMPLES = 300  # calibration pictures
WITH_KERNEL = ("CONV_2D", "FULLY_CONNECTED")

#: What is done, in this order; the steps are those of `Case.stepped`.  "*" marks an order that loses something.
#: Whatever comes before the last step of a recipe is a recipe above it.
RECIPES: dict[str, tuple[str, ...]] = {
    "float": (),
    "float, trained as long": ("train three times",),
    "int8": ("int8",),
    "pruned": ("prune",),
    "pruned while training": ("prune gradually",),
    "pruned → trained on": ("prune", "train"),
    "pruned → int8": ("prune", "int8"),
    "pruned → int8, one scale": ("prune", "int8, one scale"),
    "pruned → QAT *": ("prune", "nothing"),
    "pruned → PQAT": ("prune", "zeros"),
    "clustered": ("cluster",),
    "clustered → int8": ("cluster", "int8"),
    "clustered → int8, one scale": ("cluster", "int8, one scale"),
    "clustered → CQAT": ("cluster", "values"),
    "pruned → clustered": ("prune", "cluster, zeros kept"),
    "pruned → clustered → PCQAT": ("prune", "cluster, zeros kept", "zeros and values"),
}


class Case:
    """A network that ships, and what recipes make of it; each beginning is trained once for each seed and rate.

    chosen: {recipe's steps: the rate of each step that is trained}, as `choose` finds them.
    """

    def __init__(self, name: str = NETWORK, steps: int = STEPS, rates: Sequence[float] = RATES) -> None:
        self.name, self.steps, self.rates, self.data = name, steps, rates, data.load("fashion_mnist")
        self.network = training.trained(name, seed=training.SHIPPED_SEED, fresh=False)
        self.chosen: dict[tuple[str, ...], tuple[float, ...]] = {(): ()}
        self.made = functools.cache(self._made)

    def pictures(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """So many that one epoch has `steps` steps."""
        x, y = sample(self.data, seed, self.steps * BATCH)
        return x[: self.steps * BATCH], y[: self.steps * BATCH]

    def _made(self, steps: tuple[str, ...], seed: int, rates: tuple[float, ...]):
        """What the last step gives: a model, or a file."""
        if not steps:
            return self.network
        before = rates[:-1] if is_trained(steps[-1]) else rates
        return self.stepped(self.made(steps[:-1], seed, before), steps[-1], seed, rates[-1] if rates else 0.0)

    def stepped(self, model, step: str, seed: int, rate: float):
        """One step, as `RECIPES` names it: a word of this function, or a key of `combined.KEEP`."""
        pictures = self.pictures(seed)
        how = {"batch_size": BATCH, "learning_rate": rate, "seed": seed}
        if step.startswith("int8"):
            return convert(model, "int8", pictures[0][:SAMPLES], per_channel=step == "int8")
        if step == "prune gradually":
            return prune_while_training(model, pictures, ZEROS, **how)
        if step.startswith("cluster"):
            zeros = step.endswith("zeros kept")
            return clustering.cluster_while_training(model, pictures, VALUES, keep_zeros=zeros, **how).model
        if step in ("prune", "train", "train three times"):
            copy = prune_once(model, ZEROS) if step == "prune" else rebuild(model)
            recovery.recover(copy, pictures, 3 if step == "train three times" else 1, keep_zeros=True, **how)
            return copy
        return combined.quantize_while_training(model, pictures, step, **how).file

    def file(self, steps: tuple[str, ...], seed: int, rates: tuple[float, ...]) -> Artifact:
        with quiet():
            made = self.made(steps, seed, rates)
            return made if isinstance(made, Artifact) else convert(made, "float32")

    def choose(self, steps: tuple[str, ...], seed: int) -> dict[str, dict[str, float]]:
        """Choose the rate of the last step, if it is trained: the one with most validation pictures right.

        Returns {rate: validation pictures right and zeros, in per cent}; a rate with which training diverged is
        missing.
        """
        before, tried = self.chosen[steps[:-1]], {}
        if not steps or not is_trained(steps[-1]):
            self.chosen[steps] = before
            return {}
        x, y = self.data.x_val[:5000], self.data.y_val[:5000]
        for rate in self.rates:
            try:
                file = self.file(steps, seed, (*before, rate))
            except FloatingPointError:
                continue
            tried[rate] = {"right %": round(right(file, x, y), 2), "zeros %": stored(file.content)["zeros %"]}
        best = max(tried, key=lambda rate: tried[rate]["right %"])
        self.chosen[steps] = (*before, best)
        return {f"{rate:g}": found for rate, found in tried.items()}


def is_trained(step: str) -> bool:
    return not step.startswith("int8")


def right(file: Artifact, x: np.ndarray, y: np.ndarray) -> float:
    """How many of the pictures are right, in per cent."""
    return 100 * statistics.accuracy(file.predict(x), y).value


def stored(content: bytes) -> dict[str, float]:
    """Zeros in per cent, and distinct numbers: of the kernel, and of the channel, with the most of them."""
    kernels = [kernel for kernel in combined.kernels_in_file(content) if kernel.operator in WITH_KERNEL]
    return {
        "zeros %": round(100 * sum(k.zeros for k in kernels) / sum(k.size for k in kernels), 1),
        "values": max(kernel.distinct for kernel in kernels),
        "in a channel": max(kernel.in_a_channel for kernel in kernels),
    }


def text(values: Sequence[float]) -> str:
    """Mean ± half the 95 % interval over the seeds; one seed has no interval."""
    return quantization_aware.text(list(values)) if len(values) > 1 else f"{values[0]:.1f}"


def scales(content: bytes) -> int:
    """Of the kernel that has the most of them; 0 in a float file."""
    operators = [each for each in tflite_file.File(content).all_operators() if each.name in WITH_KERNEL]
    found = [operator.arguments[1].quantization for operator in operators]
    return max((each.scale.size for each in found if each is not None), default=0)


def measure(case: Case, recipe: str, steps: tuple[str, ...], seeds: Sequence[int] = SEEDS) -> dict:
    """The row of a recipe: counts and bytes of the first seed's file, pictures right of all seeds."""
    x, y = case.data.x_test, case.data.y_test
    tried = case.choose(steps, seeds[0])
    rates = case.chosen[steps]
    files = [case.file(steps, seed, rates) for seed in (seeds if steps else seeds[:1])]
    accuracy = [round(right(file, x, y), 2) for file in files]
    content = files[0].content
    return {
        "network": case.name,
        "recipe": recipe,
        **stored(content),
        "scales": scales(content),
        "right %": text(accuracy),
        "bytes": len(content),
        "gzip": files[0].gzip_size,
        "coded": combined.coded_size(content),
        "rate": " · ".join(f"{rate:g}" for rate in rates) or "–",
        "rates": list(rates),
        "tried": tried,
        "seeds": {"right %": accuracy, "zeros %": [stored(file.content)["zeros %"] for file in files]},
    }


def measure_all(minutes: float = float("inf"), anew: bool = False) -> int:
    """Record each row as soon as it is measured; rows of today's code stay.  Returns how many are missing."""
    begin, case = time.monotonic(), Case()
    found = {} if anew else recorded_rows()
    for recipe, row in found.items():
        case.chosen[RECIPES[recipe]] = tuple(row["rates"])
    for recipe, steps in RECIPES.items():
        if recipe in found:
            continue
        if time.monotonic() - begin > 60 * minutes:
            break
        confirmed = recorded.load(NAME).confirmed if found else ()
        found[recipe] = measure(case, recipe, steps)
        print(found[recipe], flush=True)
        store(found, confirmed)
    return len(RECIPES) - len(found)


def recorded_rows() -> dict[str, Mapping]:
    """{recipe: row} of the record, if today's code measured it."""
    try:
        fresh = not recorded.changes(NAME)
    except FileNotFoundError:
        return {}
    return {row["recipe"]: row for row in recorded.load(NAME).rows} if fresh else {}


def store(found: Mapping[str, Mapping], confirmed: Sequence[Mapping] = ()) -> None:
    recorded.save(
        NAME,
        [found[recipe] for recipe in RECIPES if recipe in found],
        command=COMMAND,
        depends=[measure],
        seeds=list(SEEDS),
        notes="right %: mean ± half the 95 % interval over seeds (of the pictures trained on and their order), 10,000 "
        "test pictures; counts and bytes of seed 0; scales: of the kernel with the most; coded: kernels by the "
        "course's coder, the rest of the file by gzip; rate: of each trained step; tried: all rates of the last one, "
        "seed 0, 5,000 validation pictures; * an order that loses something",
        confirmed=confirmed,
    )


#: What --confirm measures.
CONFIRMED = ("float", "int8", "pruned")


def confirm_some() -> None:
    """Are these rows the recorded ones again, at the recorded rates?"""
    rows = []
    for recipe in CONFIRMED:
        case = Case(rates=recorded.load(NAME).row(recipe=recipe)["rates"])
        rows += without([measure(case, recipe, RECIPES[recipe])], "tried")
    confirm(NAME, rows, key=("network", "recipe"), depends=[measure])


#: What --tiny measures, in about two minutes.
TINY = ("pruned", "pruned → QAT *", "pruned → clustered", "pruned → clustered → PCQAT")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="begin no row after so many; all by default"
    )
    parser.add_argument("--anew", action="store_true", help="measure rows again that today's code has measured")
    parser.add_argument("--tiny", action="store_true", help="a few rows of one seed; nothing is stored")
    add_confirm(parser, ", ".join(CONFIRMED))
    options = parser.parse_args()
    if options.confirm:
        confirm_some()
        return 0
    if options.tiny:
        case = Case(steps=20, rates=(1e-3, 1e-2))
        for recipe in TINY:
            print(measure(case, recipe, RECIPES[recipe], seeds=(0,)), flush=True)
        print(f"data/results/{NAME}.json stays as it was: --tiny measured a few rows. All of it: `{COMMAND}`")
        return 0
    recorded.check_writable(NAME)
    missing = measure_all(options.minutes, options.anew)
    if missing:
        print(f"{missing} of {len(RECIPES)} rows are missing: the same command goes on (without --anew)")
    return 0


if __name__ == "__main__":
    start(main)
