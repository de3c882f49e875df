"""Measure what causes what in quantization-aware training: one cause is changed, all others stay.

    python course.py bench quantization_aware_causes          # all of it, or some of these:

ranges      which of the Toolkit's starting ranges costs what, without training: one kind at a time
start       training from the Toolkit's ±6 against training from measured ranges, whole ones and clipped ones
learned     a range that is fixed, or learnt by PACT's or LSQ's gradient, at the weights' rate and at a hundred times it
depthwise   one scale for a depthwise kernel, as the Toolkit trains it, against one a channel
statistics  frozen statistics of batch normalization after pruning, old ones and re-estimated ones
files       4-bit weights and 8-bit activations, which run: accuracy of the files, trained and not trained
clipped     training from absmax's steps of the weights, from clipped ones and from GPTQ's levels, at 3 and 4 bits

About 3 minutes each on one quiet thread.  Each seed has a float network, pictures and an order of its own, as in
`quantization_aware`; "depthwise" and "statistics" have one network, the one that ships, and three draws of pictures,
"ranges" that network alone.  Each training has 100 steps of 64 pictures, and the float network, trained in the same
way, beside it.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils  # noqa: F401
from benchmarks._command import measure_parts, start
from benchmarks.quantization_aware import BATCH, lost, sample, text
from utils import data, training
from utils.optimize import pruning, recovery
from utils.optimize.keras_graph import rebuild
from utils.optimize.quantization import aware_quantizers, aware_ranges, rounding
from utils.optimize.quantization.aware import quantize_aware
from utils.optimize.quantization.aware_file import agreement, to_tflite
from utils.optimize.quantization.converter import convert
from utils.optimize.quantization.recipes import quantize

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


class Own(Case):
    """The float network of one seed, with its pictures and their order."""

    def __init__(self, name: str, seed: int) -> None:
        self.name, self.seed, self.data = name, seed, data.load("fashion_mnist")
        self.model = training.trained(name, seed=seed, fresh=False)
        self.before = training.share_correct(self.model, self.data.x_test, self.data.y_test)

    def fine_tuned(self, model, **how) -> float:
        """Points lost after the budget of 100 steps, or as `how` says; `model` is trained in place."""
        pairs = self.pictures(self.seed)
        recovery.recover(model, pairs, batch_size=BATCH, seed=self.seed, **{"learning_rate": RATE} | how)
        return self.lost(model)

    def quantized(self, bits, clip: str = "minmax", **how):
        """With fake quantization and ranges from this seed's pictures; not trained."""
        made = quantize_aware(self.model, bits, **how)
        aware_ranges.calibrate(made, self.calibration(self.seed), clip=clip)
        return made


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


#: Where training starts: the ranges that are measured, and how.
STARTS = {"from ±6": {"only": ("inputs", "weights")}, "from measured": {"clip": "minmax"}, "from mse": {"clip": "mse"}}

STARTED = {"mlp": (8, 4, 3), "residual_cnn": (4,)}


def measure_start(networks: Mapping[str, Sequence[int]] = STARTED, seeds: Sequence[int] = SEEDS) -> list[dict]:
    """One row for each network and width: points lost after 100 steps, from each start, and by the control."""
    rows = []
    for network, widths in networks.items():
        cases = [Own(network, seed) for seed in seeds]
        control = [case.fine_tuned(rebuild(case.model)) for case in cases]
        for bits in widths:
            columns: dict[str, list[float]] = {begin: [] for begin in STARTS}
            for case in cases:
                made = quantize_aware(case.model, bits)
                fresh = made.get_weights()
                for begin, how in STARTS.items():
                    made.set_weights(fresh)
                    aware_ranges.calibrate(made, case.calibration(case.seed), **how)
                    columns[begin].append(case.fine_tuned(made))
            rows.append(row({"network": network, "bits": bits}, columns | {"float control": control}))
    return rows


class FastRange(aware_quantizers.LearnedRange):
    """Keeps a hundredth of the end, so that a step of Adam, which is about the learning rate, moves it by a hundred."""

    def build(self, tensor_shape, name, layer):
        import tf_keras

        start = tf_keras.initializers.Constant(self.start / 100)
        return {"high": layer.add_weight(f"{name}_high", initializer=start, trainable=True)}

    def __call__(self, inputs, training, weights, **kwargs):
        return aware_quantizers.learned_range(inputs, 100 * weights["high"], self.num_bits, self.gradient)


class FastOutput(aware_quantizers.LearnedOutput):
    def __init__(self, bits: int, start: float, gradient: str = "lsq") -> None:
        super().__init__(bits, start, gradient)
        self.quantizer = FastRange(bits, start, gradient)


#: How the end of a range is learnt: its configuration, the rule, and in what unit the variable keeps the end.
RULES = {
    "fixed": (aware_quantizers.LearnedOutput, "fixed", 1),
    "pact": (aware_quantizers.LearnedOutput, "pact", 1),
    "lsq": (aware_quantizers.LearnedOutput, "lsq", 1),
    "pact, 100 times the rate": (FastOutput, "pact", 100),
    "lsq, 100 times the rate": (FastOutput, "lsq", 100),
}


def measure_learned(bits: int = 3, seeds: Sequence[int] = SEEDS) -> list[dict]:
    """One row for each start and rule: the range of one layer of the mlp, all else at 8 bits."""
    cases, layer, rows = [Own("mlp", seed) for seed in seeds], "dense_1", []
    control = [case.fine_tuned(rebuild(case.model)) for case in cases]
    largest = [aware_ranges.activation_ranges(case.quantized(8))[layer][1] for case in cases]
    for begin, rule in itertools.product(("too narrow", "absmax"), RULES):
        columns: dict[str, list[float]] = {"before": [], "trained": [], "end before": [], "end trained": []}
        config, gradient, unit = RULES[rule]
        for case, highest in zip(cases, largest, strict=True):
            first = 1.0 if begin == "too narrow" else highest
            made = case.quantized(8, per_channel=False, configs={layer: config(bits, first, gradient)})
            columns["before"].append(case.lost(made))
            columns["trained"].append(case.fine_tuned(made))
            columns["end before"].append(first)
            end = next(float(w) for w in made.weights if w.name.endswith("_high:0"))
            columns["end trained"].append(unit * end)
        rows.append(row({"start": begin, "rule": rule, "bits": bits}, columns | {"float control": control}))
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


def measure_files(
    networks: Sequence[str] = ("mlp", "residual_cnn"), bits: tuple[int, int] = (4, 8), seeds: Sequence[int] = SEEDS
) -> list[dict]:
    """One row for each network and way: points that the *file* loses, and where it differs from its trained model."""
    rows = []
    for network in networks:
        found: dict[str, list[float]] = {}
        size: dict[str, int] = {}
        apart: dict[str, list[float]] = {"classes apart": [], "ahead by": []}

        def note(way: str, case: Own, file) -> None:
            right = np.mean(file.predict(case.data.x_test).argmax(axis=-1) == case.data.y_test)
            found.setdefault(way, []).append(100 * (case.before - float(right)))  # noqa: B023
            size[way] = len(file.content)  # noqa: B023

        for case in [Own(network, seed) for seed in seeds]:
            calibration = case.calibration(case.seed)
            note("LiteRT's quantizer, not trained", case,
                 quantize(convert(case.model, "float32"), "static_int4", calibration=calibration))  # fmt: skip
            made = case.quantized(bits, "mse")
            note("the Toolkit's rounding, not trained", case, to_tflite(made))
            case.fine_tuned(made)
            file = to_tflite(made)
            note("the Toolkit's rounding, trained", case, file)
            same = agreement(made, file, case.data.x_test)
            apart["classes apart"].append(len(same.disagreements))
            apart["ahead by"].append(float(max(same.margins, default=0)))
            found.setdefault("float, trained as long", []).append(case.fine_tuned(rebuild(case.model)))
        for way, values in found.items():
            more = apart if way == "the Toolkit's rounding, trained" else {}
            rows.append(
                row({"network": network, "way": way, "bytes": size.get(way, "")}, {"points lost": values} | more)
            )
    return rows


def clamped(kernel: np.ndarray, bits: int) -> np.ndarray:
    """Weights cut off where each unit's clipped range ends: there their absmax's step is the clipped one."""
    step, top = rounding.steps(kernel, bits, clip=True)
    return np.clip(kernel, -top * step, top * step)


def kernels_of(model, bits: int, begin: str, pictures: np.ndarray) -> list[np.ndarray]:
    """The weights of the mlp's two layers from which it begins.  GPTQ sees what comes into a layer for `pictures`."""
    first, first_bias, last, _ = model.get_weights()
    if begin == "absmax, nearest":
        return [first, last]
    if begin == "clipped, nearest":
        return [clamped(kernel, bits) for kernel in (first, last)]
    x = pictures.reshape(len(pictures), -1)
    first = rounding.gptq(first, rounding.second_moment(x), bits, clip=True)
    hidden = np.maximum(x @ first + first_bias, 0)
    return [first, rounding.gptq(last, rounding.second_moment(hidden), bits, clip=True)]


def measure_clipped(widths: Sequence[tuple[int, int]] = ((3, 8), (4, 8)), seeds: Sequence[int] = SEEDS) -> list[dict]:
    """One row for each width and start of the weights: points the mlp loses, with one scale a unit in all rows."""
    cases, rows = [Own("mlp", seed) for seed in seeds], []
    control = [case.fine_tuned(rebuild(case.model)) for case in cases]
    for bits, begin in itertools.product(widths, ("absmax, nearest", "clipped, nearest", "clipped, GPTQ")):
        columns: dict[str, list[float]] = {"before": [], "trained": []}
        for case in cases:
            network = rebuild(case.model)
            _, first_bias, _, last_bias = network.get_weights()
            first, last = kernels_of(case.model, bits[0], begin, case.pictures(case.seed)[0][:2000])
            network.set_weights([first, first_bias, last, last_bias])
            made = quantize_aware(network, bits, per_channel=True)
            aware_ranges.calibrate(made, case.calibration(case.seed), clip="mse")
            columns["before"].append(case.lost(made))
            columns["trained"].append(case.fine_tuned(made))
        where = {"network": "mlp", "bits": "{} / {}".format(*bits), "weights": begin}
        rows.append(row(where, columns | {"float control": control}))
    return rows


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
    "files": measure_files,
    "clipped": measure_clipped,
}


def main() -> None:
    measure_parts(
        __doc__,
        "quantization_aware",
        PARTS,
        command=COMMAND,
        seeds=dict.fromkeys(PARTS, SEEDS) | {"ranges": SEEDS[:1]},
        notes="points of test accuracy lost, mean ± half the 95 % interval over seeds",
    )


if __name__ == "__main__":
    start(main)
