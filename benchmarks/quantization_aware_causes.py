"""Measure what causes what in quantization-aware training: one cause is changed, all others stay.

    python course.py bench quantization_aware_causes [ranges] [start] [learned] [depthwise] [statistics]

ranges      which of the Toolkit's starting ranges costs what, without training: one kind at a time
start       training from the Toolkit's ±6 against training from measured ranges
learned     a range that is fixed, or learnt by PACT's or LSQ's gradient
depthwise   one scale for a depthwise kernel, as the Toolkit trains it, against one a channel
statistics  frozen statistics of batch normalization after pruning, old ones and re-estimated ones

About 2 minutes each on one quiet thread.  The networks are those that ship; seeds are those of the pictures and of
their order.
Each training has 100 steps of 64 pictures, and the float network, trained in the same way, beside it.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils  # noqa: F401
from benchmarks._command import start
from benchmarks.quantization_aware import BATCH, lost, sample, text
from utils import data, recorded, training
from utils.optimize import pruning, recovery
from utils.optimize.keras_graph import rebuild
from utils.optimize.quantization import aware_quantizers, aware_ranges
from utils.optimize.quantization.aware import quantize_aware

SEEDS = (0, 1, 2)
CALIBRATION = 300
RATE = 1e-3
COMMAND = "python course.py bench quantization_aware_causes"

#: What is set from data; all other ranges stay as the Toolkit starts them.
SET = {
    "all measured": ("inputs", "weights", "activations"),
    "inputs left at [0, 0]": ("weights", "activations"),
    "weights left at ±6": ("inputs", "activations"),
    "activations left at ±6": ("inputs", "weights"),
    "nothing measured": (),
}


class Case:
    """A network that ships, with what all experiments need of it."""

    def __init__(self, name: str) -> None:
        self.name, self.data = name, data.load("fashion_mnist")
        self.model = training.trained(name, seed=training.SHIPPED_SEED, fresh=False)
        self.before = training.share_correct(self.model, self.data.x_test, self.data.y_test)

    def lost(self, model) -> float:
        """Points of accuracy below the float network on the whole test set."""
        return lost(self.before, model, self.data)

    def pictures(self, seed: int):
        return sample(self.data, seed)

    def calibration(self, seed: int) -> np.ndarray:
        return self.pictures(seed)[0][:CALIBRATION]

    def trained(self, model, seed: int, **how) -> float:
        """Points lost after the budget of 100 steps; `model` is trained in place."""
        recovery.recover(model, self.pictures(seed), batch_size=BATCH, learning_rate=RATE, seed=seed, **how)
        return self.lost(model)

    def control(self, seed: int) -> float:
        return self.trained(rebuild(self.model), seed)


def measure_ranges(
    networks: Sequence[str] = ("mlp", "lenet5", "residual_cnn", "depthwise_cnn"), widths: Sequence[int] = (8, 4)
) -> list[dict]:
    """One row for each network and width: points lost, without training, with each choice of SET."""
    rows = []
    for case, bits in itertools.product(map(Case, networks), widths):
        made, found = quantize_aware(case.model, bits), {}
        fresh = made.get_weights()
        for what, kinds in SET.items():
            made.set_weights(fresh)
            if kinds:
                aware_ranges.calibrate(made, case.calibration(0), only=kinds)
            if what == "all measured":
                highest = [high for _, high in aware_ranges.activation_ranges(made).values()]
            found[what] = round(case.lost(made), 2)
        rows.append(
            {
                "network": case.name,
                "bits": bits,
                **found,
                "upper ends measured": f"{min(highest):.1f} to {max(highest):.1f}",
            }
        )
        print(rows[-1], flush=True)
    return rows


def measure_start(networks: Sequence[str] = ("mlp",), seeds: Sequence[int] = SEEDS) -> list[dict]:
    """One row for each network and width: points lost after 100 steps, from two starts, and by the control."""
    rows = []
    for case in map(Case, networks):
        control = [case.control(seed) for seed in seeds]
        for bits in (8, 4):
            columns: dict[str, list[float]] = {"from ±6": [], "from measured": []}
            for seed in seeds:
                for what, kinds in (("from ±6", ("inputs", "weights")), ("from measured", aware_ranges.RANGES)):
                    made = quantize_aware(case.model, bits)
                    aware_ranges.calibrate(made, case.calibration(seed), only=kinds)
                    columns[what].append(case.trained(made, seed))
            rows.append(row({"network": case.name, "bits": bits}, columns | {"float control": control}))
    return rows


def measure_learned(bits: int = 3, seeds: Sequence[int] = SEEDS) -> list[dict]:
    """One row for each start and rule: the range of one layer of the mlp, all else at 8 bits."""
    case, layer, rows = Case("mlp"), "dense_1", []
    control = [case.control(seed) for seed in seeds]
    highest = aware_ranges.activation_ranges(quantize_aware(case.model, 8, calibration=case.calibration(0)))[layer][1]
    for begin, rule in itertools.product(("too narrow", "absmax"), ("fixed", "pact", "lsq")):
        first = 1.0 if begin == "too narrow" else highest
        columns: dict[str, list[float]] = {"before": [], "trained": []}
        ends = []
        for seed in seeds:
            config = aware_quantizers.LearnedOutput(bits, first, rule)
            made = quantize_aware(
                case.model, 8, per_channel=False, configs={layer: config}, calibration=case.calibration(seed)
            )
            columns["before"].append(case.lost(made))
            columns["trained"].append(case.trained(made, seed))
            ends.append(round(next(float(w) for w in made.weights if w.name.endswith("_high:0")), 3))
        where = {"start": begin, "rule": rule, "bits": bits}
        upper = {"upper end, before": round(first, 2), "upper end, trained": f"{np.mean(ends):.2f}", "ends": ends}
        rows.append(row(where, columns | {"float control": control}) | upper)
    return rows


def measure_depthwise(widths: Sequence[tuple[int, int]] = ((4, 8),), seeds: Sequence[int] = SEEDS) -> list[dict]:
    """One row for each width and granularity of the depthwise kernels; all else is as the Toolkit has it."""
    case, rows = Case("depthwise_cnn"), []
    control = [case.control(seed) for seed in seeds]
    for bits, each in itertools.product(widths, (False, True)):
        columns: dict[str, list[float]] = {"before": [], "trained": []}
        for seed in seeds:
            configs = aware_quantizers.depthwise_per_channel(case.model, bits[0]) if each else None
            made = quantize_aware(case.model, bits, configs=configs, calibration=case.calibration(seed))
            columns["before"].append(case.lost(made))
            columns["trained"].append(case.trained(made, seed))
        where = {"bits": "{} / {}".format(*bits), "depthwise kernels": "one scale a channel" if each else "one scale"}
        rows.append(row(where, columns | {"float control": control}))
    return rows


def measure_statistics(seeds: Sequence[int] = SEEDS) -> list[dict]:
    """One row for each treatment of batch normalization in a network with 90 % of its weights pruned at once."""
    case = Case("residual_cnn")
    found: dict[str, list[float]] = {}

    def note(what: str, value: float) -> None:
        found.setdefault(what, []).append(value)

    for seed in seeds:
        note("pruned, not trained", case.lost(pruning.prune_once(case.model, 0.9)))
        again = re_estimated(pruning.prune_once(case.model, 0.9), case.pictures(seed)[0])
        note("pruned, statistics re-estimated, not trained", case.lost(again))
        note("trained, frozen at re-estimated statistics",
             case.trained(again, seed, keep_zeros=True, freeze_statistics=True))  # fmt: skip
        old = pruning.prune_once(case.model, 0.9)
        note("trained, frozen at the old statistics",
             case.trained(old, seed, keep_zeros=True, freeze_statistics=True))  # fmt: skip
    return [row({"treatment": what}, {"points lost": values}) for what, values in found.items()]


def re_estimated(model, pictures: np.ndarray, batch: int = 64):
    """`model`, whose moving mean and variance are those of these pictures; no weight is trained."""
    for begin in range(0, len(pictures) - batch + 1, batch):
        model(pictures[begin : begin + batch], training=True)  # moves the statistics, and nothing else
    return model


def row(where: dict, columns: dict[str, list[float]]) -> dict:
    """Texts, mean ± half the 95 % interval, and every seed's figures."""
    figures = {name: [round(value, 2) for value in values] for name, values in columns.items()}
    made = {**where, **{name: text(values) for name, values in figures.items()}, "seeds": figures}
    print(made, flush=True)
    return made


PARTS: dict[str, Callable[[], list[dict]]] = {
    "ranges": measure_ranges,
    "start": measure_start,
    "learned": measure_learned,
    "depthwise": measure_depthwise,
    "statistics": measure_statistics,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)}; all by default", default=[])
    chosen = parser.parse_args().parts or list(PARTS)
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"there is no part {sorted(unknown)[0]!r}; pass some of {', '.join(PARTS)}")
    for part in chosen:
        name = f"quantization_aware_{part}"
        recorded.check_writable(name)
        recorded.save(
            name,
            PARTS[part](),
            command=f"{COMMAND} {part}",
            depends=[PARTS[part]],
            seeds=list(SEEDS[:1] if part == "ranges" else SEEDS),
            notes="points of test accuracy lost, mean ± half the 95 % interval over seeds",
        )


if __name__ == "__main__":
    start(main)
