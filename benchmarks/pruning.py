"""Measure what pruning costs, and what of it training brings back.

    python course.py bench pruning [levels] [ways] [criteria] [tickets] [structured] [--tiny]

levels      from 0 to 99 % zeros: pruned in one step, and trained for 100 steps afterwards
ways        one-shot, gradual, iterative, iterative with rewound weights: the same 300 steps each
criteria    which weights go: six scores, at the same share, without training and after 100 steps
tickets     masks on untrained networks: lottery tickets, SNIP, and their controls, the same steps each
structured  whole channels removed: bytes, multiply-accumulates, accuracy, and the same small network from scratch

About 2 to 5 minutes each on one quiet thread.  Seeds are those of the pictures and of their order; of `tickets`,
those of the first weights too.  --tiny measures a few rows and stores nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils  # noqa: F401
from benchmarks._command import start
from benchmarks.quantization_aware import sample, text
from utils import data, models, recorded, training
from utils.measure import macs
from utils.optimize import recovery
from utils.optimize.keras_graph import rebuild
from utils.optimize.pruning import criteria, gradual, magnitude, structured
from utils.optimize.quantization.converter import convert

SEEDS = (0, 1, 2)
STEPS = 100
BATCH = 64
RATE = 1e-3
LEVELS = (0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
#: Shares of zeros after each round of the iterative ways.
ROUNDS = {0.9: (0.6, 0.8, 0.9), 0.95: (0.7, 0.88, 0.95)}
#: Of `ways`: pruned networks want a larger rate than dense ones (data/results/quantization_aware_recovery.json).
RATE_OF_WAYS = 1e-2
COMMAND = "python course.py bench pruning"


class Case:
    """A network that ships, with what all experiments need of it."""

    def __init__(self, name: str) -> None:
        self.name, self.data = name, data.load("fashion_mnist")
        self.model = training.trained(name, seed=training.SHIPPED_SEED, fresh=False)
        self.before = self.right(self.model)

    def right(self, model) -> float:
        """Test accuracy in per cent."""
        return 100 * training.share_correct(model, self.data.x_test, self.data.y_test)

    def lost(self, model) -> float:
        """Points of accuracy below the dense network."""
        return round(self.before - self.right(model), 2)

    def trained(self, model, seed: int, steps: int = STEPS, rate: float = RATE) -> float:
        """Points lost after `steps` steps in which the zeros stay; `model` is trained in place."""
        tune(model, self.data, seed, steps, rate)
        return self.lost(model)


def tune(model, dataset, seed: int, steps: int, rate: float = RATE) -> None:
    """`steps` steps of 64 pictures; the learning rate falls to 0, zeros stay."""
    x, y = sample(dataset, seed)
    epochs = -(-steps * BATCH // len(x))
    count = steps * BATCH // epochs
    recovery.recover(
        model, (x[:count], y[:count]), epochs, batch_size=BATCH, learning_rate=rate, keep_zeros=True, seed=seed
    )


def row(where: dict, columns: dict[str, list[float]]) -> dict:
    """Texts, mean ± half the 95 % interval, and every seed's figures."""
    figures = {name: [round(value, 2) for value in values] for name, values in columns.items()}
    made = {**where, **{name: text(values) for name, values in figures.items()}, "seeds": figures}
    print(made, flush=True)
    return made


def measure_levels(
    networks: Sequence[str] = ("lenet5", "residual_cnn"), levels: Sequence[float] = LEVELS, seeds: Sequence[int] = SEEDS
) -> list[dict]:
    """One row for each network and share of zeros; with 0 it is the dense network, trained for as long."""
    rows = []
    for case in map(Case, networks):
        for level in levels:
            pruned = magnitude.prune_once(case.model, level)
            once, trained = case.lost(pruned), [case.trained(rebuild(pruned), seed) for seed in seeds]
            rows.append(
                row({"network": case.name, "zeros %": round(100 * level)}, {"pruned": [once], "trained": trained})
            )
    return rows


def iterative(case: Case, rounds: Sequence[float], seed: int, steps: int, rewind: bool):
    """Prune and train in rounds; with `rewind` the weights that stay go back to where they began, after each round."""
    first = {i: case.model.weights[i].numpy() for i in range(len(case.model.weights))}
    model = rebuild(case.model)
    for share in rounds:
        model = magnitude.prune_once(model, share)
        if rewind:
            kept = {i: model.weights[i].numpy() != 0 for i in magnitude.prunable(model)}
            model.set_weights([first[i] * kept[i] if i in kept else first[i] for i in first])
        tune(model, case.data, seed, steps // len(rounds), RATE_OF_WAYS)
    return model


def gradually(case: Case, target: float, seed: int, steps: int):
    """The Toolkit's schedule, whose masks grow in the first half of the steps; the other half serves to adapt."""
    x, y = sample(case.data, seed)
    epochs = -(-steps * BATCH // len(x))
    count = steps * BATCH // epochs
    plan = gradual.schedule(target, steps, end=steps // 2)
    settings = {"batch_size": BATCH, "learning_rate": RATE_OF_WAYS, "seed": seed}
    return gradual.prune_while_training(case.model, (x[:count], y[:count]), plan, epochs, **settings)


def measure_ways(
    networks: Sequence[str] = ("mlp", "residual_cnn"), targets: Sequence[float] = tuple(ROUNDS), seeds=SEEDS, steps=300
) -> list[dict]:
    """One row for each network and share: points lost after the same number of steps, four ways."""
    rows = []
    for case in map(Case, networks):
        for target in targets:
            found: dict[str, list[float]] = {}
            for seed in seeds:
                one = magnitude.prune_once(case.model, target)
                tune(one, case.data, seed, steps, RATE_OF_WAYS)
                slow = gradually(case, target, seed, steps)
                made = {
                    "one-shot": one,
                    "gradual": slow,
                    "iterative": iterative(case, ROUNDS[target], seed, steps, False),
                    "iterative, rewound": iterative(case, ROUNDS[target], seed, steps, True),
                }
                for way, model in made.items():
                    found.setdefault(way, []).append(case.lost(model))
            rows.append(row({"network": case.name, "zeros %": round(100 * target)}, found))
    return rows


def scored(case: Case, seed: int) -> dict[str, tuple[list[np.ndarray], str]]:
    """{criterion: (scores, scope)}, from 1,000 training pictures."""
    x, y = (part[:1000] for part in sample(case.data, seed))
    size = criteria.magnitude_scores(case.model)
    return {
        "magnitude, each layer": (size, "layer"),
        "magnitude, all layers": (size, "model"),
        "gradient × weight": (criteria.gradient_scores(case.model, x, y), "model"),
        "Fisher × weight²": (criteria.fisher_scores(case.model, x, y), "model"),
        "movement": (criteria.movement_scores(case.model, x, y), "model"),
        "random, each layer": (criteria.random_scores(case.model, seed), "layer"),
    }


def measure_criteria(
    networks: Sequence[str] = ("lenet5", "residual_cnn"), target: float = 0.9, seeds=SEEDS
) -> list[dict]:
    """One row for each network and criterion: points lost without training and after 100 steps."""
    rows = []
    for case in map(Case, networks):
        found: dict[str, dict[str, list[float]]] = {}
        for seed in seeds:
            for name, (scores, scope) in scored(case, seed).items():
                columns = found.setdefault(name, {"pruned": [], "trained": []})
                model = criteria.prune_by(case.model, scores, target, scope=scope)
                columns["pruned"].append(case.lost(model))
                columns["trained"].append(case.trained(model, seed))
        where = {"network": case.name, "zeros %": round(100 * target)}
        rows += [row({**where, "criterion": name}, columns) for name, columns in found.items()]
    return rows


def measure_tickets(target: float = 0.9, steps: int = 400, seeds: Sequence[int] = SEEDS) -> list[dict]:
    """One row for each mask on LeNet-300-100: accuracy after `steps` steps from the first weights."""
    dataset, found = data.load("fashion_mnist"), {}

    def note(what: str, model) -> None:
        found.setdefault(what, []).append(100 * training.share_correct(model, dataset.x_test, dataset.y_test))

    for seed in seeds:
        first = models.lenet_300_100(seed=seed)
        dense = rebuild(first)
        tune(dense, dataset, seed, steps)
        note("dense", dense)
        masks = [w.numpy() != 0 for w in _kernels(magnitude.prune_once(dense, target))]
        x, y = (part[:1000] for part in sample(dataset, seed))
        snip = criteria.prune_by(first, criteria.gradient_scores(first, x, y), target, scope="model")
        random = criteria.prune_by(first, criteria.random_scores(first, seed), target)
        after = magnitude.prune_once(dense, target)
        chosen = {
            "ticket: mask of the trained, first weights": _masked(first, masks),
            "the same mask, other first weights": _masked(models.lenet_300_100(seed=seed + 100), masks),
            "random mask, first weights": random,
            "SNIP at the start": snip,
            "SNIP, shuffled in each layer": _masked(first, _shuffled(snip, seed)),
            "magnitude at the start": magnitude.prune_once(first, target),
            "trained, pruned, trained again": after,
        }
        for what, model in chosen.items():
            tune(model, dataset, seed, steps)
            note(what, model)
    rows = []
    for what, values in found.items():
        zeros = 0 if what == "dense" else round(100 * target)
        rows.append(row({"mask": what, "zeros %": zeros}, {"accuracy %": values}))
    return rows


def _kernels(model) -> list:
    return [model.weights[i] for i in magnitude.prunable(model)]


def _shuffled(model, seed: int) -> list[np.ndarray]:
    """Masks with as many ones in each array as `model` has weights, in other places (Frankle et al. 2021)."""
    rng = np.random.default_rng(seed)
    return [rng.permutation((w.numpy() != 0).ravel()).reshape(w.shape) for w in _kernels(model)]


def _masked(model, masks: Sequence[np.ndarray]):
    copy = rebuild(model)
    for weight, mask in zip(_kernels(copy), masks, strict=True):
        weight.assign(weight.numpy() * mask)
    return copy


def measure_structured(
    networks: Sequence[str] = ("lenet5", "residual_cnn"), shares=(0.25, 0.5), seeds=SEEDS, steps: int = 300
) -> list[dict]:
    """One row for each network and share of channels: size, work, and points lost four ways after the same steps."""
    rows = []
    for case in map(Case, networks):
        for share in shares:
            small = structured.remove_channels(case.model, share)
            work, size = macs.count(small) / macs.count(case.model), small.count_params() / case.model.count_params()
            rng = np.random.default_rng(0)
            found: dict[str, list[float]] = {}
            for seed in seeds:
                drawn = structured.remove_channels(case.model, share, score=drawn_from(rng))
                fresh = reset(small, seed)
                single = magnitude.prune_once(case.model, 1 - size)
                for way, model in {
                    "weakest channels": rebuild(small),
                    "random channels": drawn,
                    "from scratch": fresh,
                    "single weights": single,
                }.items():
                    found.setdefault(way, []).append(case.trained(model, seed, steps))
            where = {
                "network": case.name,
                "channels removed %": round(100 * share),
                "parameters %": round(100 * size, 1),
                "MACs %": round(100 * work, 1),
                "bytes": convert(small, "float32").size,
                "not trained": case.lost(small),
            }
            rows.append(row(where, found))
    return rows


def drawn_from(rng: np.random.Generator) -> Callable[[np.ndarray], float]:
    """A score that knows nothing of the weights: the control of a criterion."""
    return lambda values: float(rng.random())


def reset(model, seed: int):
    """The same architecture with new first weights."""
    import tf_keras

    tf_keras.utils.set_random_seed(seed)
    return tf_keras.models.model_from_json(model.to_json())


PARTS: dict[str, Callable[..., list[dict]]] = {
    "levels": measure_levels,
    "ways": measure_ways,
    "criteria": measure_criteria,
    "tickets": measure_tickets,
    "structured": measure_structured,
}
#: What --tiny measures: a minute in all.
TINY: dict[str, dict] = {
    "levels": {"networks": ("lenet5",), "levels": (0.9, 0.98), "seeds": (0,)},
    "ways": {"networks": ("residual_cnn",), "targets": (0.95,), "seeds": (0,), "steps": 300},
    "criteria": {"networks": ("lenet5",), "seeds": (0,)},
    "tickets": {"seeds": (0,)},
    "structured": {"networks": ("residual_cnn",), "shares": (0.5,), "seeds": (0,)},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)}; all by default", default=[])
    parser.add_argument("--tiny", action="store_true", help="a few rows of one seed; nothing is stored")
    options = parser.parse_args()
    chosen = options.parts or list(PARTS)
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"there is no part {sorted(unknown)[0]!r}; pass some of {', '.join(PARTS)}")
    for part in chosen:
        name = f"pruning_{part}"
        recorded.check_writable(name)
        recorded.save(
            name,
            PARTS[part](**(TINY[part] if options.tiny else {})),
            command=f"{COMMAND} {part}",
            depends=[PARTS[part]],
            seeds=list(SEEDS),
            notes="test accuracy, or points of it lost: mean ± half the 95 % interval over seeds",
            partial="--tiny measured a few rows" if options.tiny else "",
        )


if __name__ == "__main__":
    start(main)
