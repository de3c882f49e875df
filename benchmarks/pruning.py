"""Measure what pruning costs, and what of it training brings back.

    python course.py bench pruning [levels] [ways] [late] [criteria] [last] [tickets] [structured] [singles]
                                   [time] [--tiny]

levels      from 0 to 99 % zeros: pruned in one step, and trained for 100 steps afterwards
ways        one-shot, gradual, in rounds, in rounds from the dense weights: the same 150 steps each
late        two of these again, and a third beside them: gradual, at a rate that falls only behind its last mask
criteria    which weights go: scores and their controls, at the same share, without training and after 100 steps
last        one more row of these: the last layer left dense
tickets     masks on untrained networks: lottery tickets, SNIP, and their controls, the same steps each
structured  whole channels removed: bytes, multiply-accumulates, accuracy, and the same small network from scratch
singles     as many single weights, in each kernel by itself: the smallest, and random ones
time        whole channels removed: time of the smaller network to the whole one's, in float32 and in int8, in turns

About 3 to 10 minutes each on one thread.  Seeds are those of the pictures and of their order; of `tickets`, those of
the first weights too.  Whatever is compared is trained by Adam, whose learning rate falls to 0, for the first seed
with each of three rates, and with the next one as long as the best lies at an end; the other seeds have the one that
got most of 2,000 validation pictures right.  --tiny measures a few rows and stores
nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils  # noqa: F401
from benchmarks._command import measure_parts, start
from benchmarks.quantization_aware import sample, text
from utils import data, models, training
from utils.artifact import Artifact
from utils.measure import macs, timing
from utils.optimize import keras_weights, recovery
from utils.optimize.keras_graph import rebuild
from utils.optimize.pruning import criteria, gradual, magnitude, structured
from utils.optimize.quantization.converter import convert

SEEDS = (0, 1, 2)
STEPS = 100
BATCH = 64
#: From which each way of the other parts takes the best; the search begins with the middle three.
GRID = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
#: Student's t for a 95 % interval, by the number of seeds.
T_95 = {3: 4.303, 6: 2.571}
#: First weights of `tickets`: its differences are small.
TICKETS = tuple(range(6))
LEVELS = (0, 0.5, 0.8, 0.9, 0.95, 0.99)
#: Steps in all: three rounds, in each of which all ways see the same pictures once.
FEW = 150
#: Shares of zeros after each round of the iterative ways.
ROUNDS = {0.8: (0.5, 0.7, 0.8), 0.9: (0.6, 0.8, 0.9)}
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


def searched(make: Callable, dataset: data.Dataset, seeds: Sequence[int], rates: Sequence[float] = GRID) -> tuple:
    """One trained model for each seed, and the rate that they share.

    make: (seed, rate) -> a trained model.  The first seed tries the middle three rates, and the next one while the
    best lies at an end; validation pictures choose.
    """
    x, y = dataset.x_val[:2000], dataset.y_val[:2000]
    tried: dict[int, object] = {}
    right: dict[int, float] = {}
    middle = len(rates) // 2
    asked = [middle - 1, middle, middle + 1]
    while asked:
        for place in asked:
            tried[place] = make(seeds[0], rates[place])
            right[place] = training.share_correct(tried[place], x, y)
        chosen = max(sorted(right), key=lambda place: right[place])
        asked = [place for place in (chosen - 1, chosen + 1) if 0 <= place < len(rates) and place not in right]
    return [tried[chosen], *(make(seed, rates[chosen]) for seed in seeds[1:])], rates[chosen]


def tune(model, dataset, seed: int, steps: int, rate: float, pictures: int = STEPS * BATCH) -> None:
    """`steps` steps of 64 of these pictures; the learning rate falls to 0, zeros stay."""
    x, y = sample(dataset, seed, pictures)
    epochs = -(-steps * BATCH // len(x))
    count = steps * BATCH // epochs
    recovery.recover(
        model, (x[:count], y[:count]), epochs, batch_size=BATCH, learning_rate=rate, keep_zeros=True, seed=seed
    )


def row(where: dict, columns: dict[str, list[float]], rates: dict[str, float] | None = None) -> dict:
    """Texts, mean ± half the 95 % interval, every seed's figures, and the rates that were chosen."""
    figures = {name: [round(value, 2) for value in values] for name, values in columns.items()}
    texts = {name: text(values) if len(values) > 1 else f"{values[0]:.1f}" for name, values in figures.items()}
    made = {**where, **texts, "seeds": figures, **({"rates": rates} if rates else {})}
    print(made, flush=True)
    return made


def with_interval(values: Sequence[float]) -> str:
    """Mean ± half the 95 % interval of the mean; one value has none."""
    if len(values) == 1:
        return f"{values[0]:.1f}"
    half = T_95[len(values)] * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{np.mean(values):.1f} ± {half:.1f}"


def rated(where: dict, columns: dict[str, list[float]], rates: dict[str, float] | None = None) -> dict:
    """Texts, mean ± half the 95 % interval, every seed's figures, and the rates that were chosen, in their order."""
    figures = {name: [round(value, 2) for value in values] for name, values in columns.items()}
    made = {**where, **{name: with_interval(values) for name, values in figures.items()}, "seeds": figures}
    if rates:
        made |= {"rate": " · ".join(f"{rate:g}" for rate in rates.values()), "rates": rates}
    print(made, flush=True)
    return made


def tuned(model, dataset, seed: int, steps: int, rate: float, pictures: int = STEPS * BATCH):
    """A trained copy of `model`."""
    copy = rebuild(model)
    tune(copy, dataset, seed, steps, rate, pictures)
    return copy


def measure_levels(
    networks: Sequence[str] = ("mlp",), levels: Sequence[float] = LEVELS, seeds: Sequence[int] = SEEDS
) -> list[dict]:
    """One row for each network and share of zeros.

    With 0 it is the dense network, trained for as long, at the rate that suits it and at those of the other rows.
    """
    rows = []
    for case in map(Case, networks):
        used: set[float] = set()
        for level in levels:
            pruned = magnitude.prune_once(case.model, level)
            trained, rate = searched(
                lambda seed, rate, pruned=pruned, case=case: tuned(pruned, case.data, seed, STEPS, rate),
                case.data,
                seeds,
            )
            rows.append(_level(case, level, pruned, trained, rate))
            used |= {rate} if level else set()
        for rate in sorted(used - {row["rates"]["trained"] for row in rows if not row["zeros %"]}):
            trained = [tuned(case.model, case.data, seed, STEPS, rate) for seed in seeds]
            rows.append(_level(case, 0, case.model, trained, rate))
    return rows


def _level(case: Case, level: float, pruned, trained: Sequence, rate: float) -> dict:
    columns = {"pruned": [case.lost(pruned)], "trained": [case.lost(model) for model in trained]}
    return rated({"network": case.name, "zeros %": round(100 * level)}, columns, {"trained": rate})


def one_shot(case: Case, target: float, seed: int, rate: float, steps: int):
    """All masks at once, then training."""
    return tuned(magnitude.prune_once(case.model, target), case.data, seed, steps, rate, steps // 3 * BATCH)


def in_rounds(case: Case, target: float, seed: int, rate: float, steps: int, back: bool = False):
    """Prune and train in rounds, whose rate falls to 0; with `back` from the dense network's weights each time."""
    dense = case.model.get_weights()
    model, rounds = rebuild(case.model), ROUNDS[target]
    each = steps // len(rounds)
    for share in rounds:
        model = magnitude.prune_once(model, share)
        if back:
            _set_back(model, dense)
        tune(model, case.data, seed, each, rate, each * BATCH)
    return model


def from_dense(case: Case, target: float, seed: int, rate: float, steps: int):
    return in_rounds(case, target, seed, rate, steps, back=True)


def _set_back(model, first: Sequence[np.ndarray]) -> None:
    """Put the numbers `first`, in the order of `get_weights`, into `model`, and leave its zeros."""
    kept = {i: model.weights[i].numpy() != 0 for i in magnitude.prunable(model)}
    model.set_weights([values * kept.get(i, True) for i, values in enumerate(first)])


def gradually(case: Case, target: float, seed: int, rate: float, steps: int):
    """The Toolkit's schedule, whose masks grow in the first half of the steps; the other half serves to adapt."""
    pictures = sample(case.data, seed, steps // 3 * BATCH)
    plan = gradual.schedule(target, steps, end=steps // 2)
    settings = {"batch_size": BATCH, "learning_rate": rate, "seed": seed}
    return gradual.prune_while_training(case.model, pictures, plan, 3, **settings)


WAYS: dict[str, Callable] = {
    "one-shot": one_shot,
    "gradual": gradually,
    "in rounds": in_rounds,
    "in rounds, from the dense weights": from_dense,
}


def measure_ways(
    cases: Sequence[tuple[str, float]] = (("mlp", 0.8), ("mlp", 0.9)),
    seeds=SEEDS,
    steps: int = FEW,
    ways: dict[str, Callable] = WAYS,
) -> list[dict]:
    """One row for each network and share: points lost after the same number of steps, by each way."""
    rows = []
    for name, target in cases:
        case, found, rates = Case(name), {}, {}
        for way, train in ways.items():
            models_, rates[way] = searched(partial(train, case, target, steps=steps), case.data, seeds)
            found[way] = [case.lost(model) for model in models_]
        rows.append(rated({"network": name, "zeros %": round(100 * target)}, found, rates))
    return rows


def falling_late(case: Case, target: float, seed: int, rate: float, steps: int):
    """As `gradually`, but the rate stays as it is up to the last mask, and falls to 0 behind it."""
    import tf_keras

    pictures = sample(case.data, seed, steps // 3 * BATCH)
    plan = gradual.schedule(target, steps, end=steps // 2)
    last = max(gradual.updates(plan, steps))
    falling = tf_keras.optimizers.schedules.CosineDecay(rate, steps - last)

    class FallLate(tf_keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            done = int(self.model.optimizer.iterations)
            self.model.optimizer.learning_rate.assign(falling(max(0, done - last)))

    settings = {"batch_size": BATCH, "learning_rate": rate, "decay": False, "seed": seed, "callbacks": [FallLate()]}
    return gradual.prune_while_training(case.model, pictures, plan, 3, **settings)


#: Two of the ways once more, beside the same processor's row of a third.
LATE: dict[str, Callable] = {"one-shot": one_shot, "gradual": gradually, "gradual, rate falls late": falling_late}


def measure_late(
    cases: Sequence[tuple[str, float]] = (("mlp", 0.8), ("mlp", 0.9)), seeds=SEEDS, steps: int = FEW
) -> list[dict]:
    """The rows of `measure_ways`, by the ways of `LATE`."""
    return measure_ways(cases, seeds, steps, LATE)


def scored(case: Case, seed: int) -> dict[str, tuple[list[np.ndarray], str]]:
    """{criterion: (scores, scope)}, from 1,000 training pictures."""
    x, y = (part[:1000] for part in sample(case.data, seed))
    size, movement = criteria.magnitude_scores(case.model), criteria.movement_scores(case.model, x, y)
    return {
        "magnitude, each layer": (size, "layer"),
        "magnitude, all layers": (size, "model"),
        "gradient × weight, all layers": (criteria.gradient_scores(case.model, x, y), "model"),
        "Fisher × weight², all layers": (criteria.fisher_scores(case.model, x, y), "model"),
        "movement, all layers": (movement, "model"),
        "movement, each layer": (movement, "layer"),
        "random, each layer": (criteria.random_scores(case.model, seed), "layer"),
    }


def pruned_by(case: Case, target: float, seed: int, names: Sequence[str]) -> dict:
    """{criterion or control: pruned model, not yet trained}, those of `names`.

    Two controls keep only a part of what the ranking over all layers left: how many weights each layer keeps, or
    where they are, but not what training made of them.
    """
    made = {
        name: criteria.prune_by(case.model, scores, target, scope=scope)
        for name, (scores, scope) in scored(case, seed).items()
    }
    together = made["magnitude, all layers"]
    masks = [w.numpy() != 0 for w in _kernels(together)]
    made["its counts, shuffled in each layer"] = _masked(case.model, _shuffled(together, seed))
    made["its mask, the first weights"] = _masked(reset(case.model, seed), masks)
    return {name: made[name] for name in names}


#: Rows of `criteria`.
ALL = (
    "magnitude, each layer",
    "magnitude, all layers",
    "its counts, shuffled in each layer",
    "its mask, the first weights",
    "gradient × weight, all layers",
    "Fisher × weight², all layers",
    "random, each layer",
    "movement, all layers",
    "movement, each layer",
)


def measure_criteria(
    cases: Sequence[tuple[str, float, Sequence[str]]] = (("mlp", 0.9, ALL),), seeds: Sequence[int] = SEEDS
) -> list[dict]:
    """One row for each network and criterion: points lost without training and after 100 steps."""
    rows = []
    for network, target, names in cases:
        case = Case(network)
        starts = {seed: pruned_by(case, target, seed, names) for seed in seeds}
        for name in names:
            trained, rate = searched(
                lambda seed, rate, name=name, starts=starts, case=case: tuned(
                    starts[seed][name], case.data, seed, STEPS, rate
                ),
                case.data,
                seeds,
            )
            columns = {
                "pruned": [case.lost(starts[seed][name]) for seed in seeds],
                "trained": [case.lost(model) for model in trained],
            }
            where = {"network": network, "zeros %": round(100 * target), "criterion": name}
            rows.append(rated(where, columns, {"trained": rate}))
    return rows


def measure_last(target: float = 0.9, seeds: Sequence[int] = SEEDS) -> list[dict]:
    """One row as those of `criteria`: the dense network with as many zeros in all, and none in its last layer."""
    case = Case("mlp")
    start = last_dense(case.model, target)
    trained, rate = searched(lambda seed, rate: tuned(start, case.data, seed, STEPS, rate), case.data, seeds)
    columns = {"pruned": [case.lost(start)] * len(seeds), "trained": [case.lost(model) for model in trained]}
    where = {"network": "mlp", "zeros %": round(100 * target), "criterion": "magnitude, all layers but the last"}
    return [rated(where, columns, {"trained": rate})]


def last_dense(model, target: float):
    """As many zeros as a share `target` of all, but none in the last layer that has a kernel."""
    sizes = {layer.name: sum(w.size for w in _own(layer)) for layer in model.layers if _own(layer)}
    *others, last = sizes
    share = target * sum(sizes.values()) / (sum(sizes.values()) - sizes[last])
    return magnitude.prune_once(model, share, only=others)


def _own(layer) -> list[np.ndarray]:
    """The prunable arrays of one layer."""
    return [w.variable.numpy() for w in keras_weights.weights(layer) if w.role in magnitude.PRUNABLE]


def starts_of(first, dense, target: float, dataset: data.Dataset, seed: int) -> dict:
    """{what: pruned model, not yet trained}: `first` has its first weights, `dense` is `first`, trained."""
    masks = [w.numpy() != 0 for w in _kernels(magnitude.prune_once(dense, target))]
    x, y = (part[:1000] for part in sample(dataset, seed))
    snip = criteria.prune_by(first, criteria.gradient_scores(first, x, y), target, scope="model")
    return {
        "ticket: mask of the trained, first weights": _masked(first, masks),
        "the same mask, other first weights": _masked(models.lenet_300_100(seed=seed + 100), masks),
        "random mask, first weights": criteria.prune_by(first, criteria.random_scores(first, seed), target),
        "SNIP at the start": snip,
        "SNIP, shuffled in each layer": _masked(first, _shuffled(snip, seed)),
    }


def measure_tickets(target: float = 0.9, steps: int = 300, seeds: Sequence[int] = TICKETS) -> list[dict]:
    """One row for each mask on LeNet-300-100: test accuracy after `steps` steps from where it begins."""
    dataset = data.load("fashion_mnist")
    firsts = {seed: models.lenet_300_100(seed=seed) for seed in seeds}

    def made(starts: dict, zeros: float, what: str) -> tuple[dict, list]:
        trained, rate = searched(lambda seed, rate: tuned(starts[seed], dataset, seed, steps, rate), dataset, seeds)
        right = [100 * training.share_correct(model, dataset.x_test, dataset.y_test) for model in trained]
        return rated(
            {"mask": what, "zeros %": round(100 * zeros)}, {"accuracy %": right}, {"accuracy %": rate}
        ), trained

    first_row, trained = made(firsts, 0, "dense")
    rows = [first_row]
    denses = dict(zip(seeds, trained, strict=True))
    starts = {seed: starts_of(firsts[seed], denses[seed], target, dataset, seed) for seed in seeds}
    for what in starts[seeds[0]]:
        rows.append(made({seed: starts[seed][what] for seed in seeds}, target, what)[0])
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
    networks: Sequence[str] = ("lenet5", "residual_cnn"), share: float = 0.5, seeds=SEEDS, steps: int = 150
) -> list[dict]:
    """One row for each network: what is left, and points lost four ways after the same steps."""
    rows = []
    for case in map(Case, networks):
        small = structured.remove_channels(case.model, share)
        work, size = macs.count(small) / macs.count(case.model), small.count_params() / case.model.count_params()
        ways: dict[str, Callable] = {
            "weakest channels": lambda seed, small=small: small,
            "random channels": lambda seed, case=case: structured.remove_channels(
                case.model, share, score=drawn_from(np.random.default_rng(seed))
            ),
            "from scratch": lambda seed, small=small: reset(small, seed),
            "single weights": lambda seed, case=case, size=size: magnitude.prune_once(case.model, 1 - size),
        }
        found, rates = {}, {}
        for way, begin in ways.items():
            trained, rates[way] = searched(
                lambda seed, rate, begin=begin, case=case: tuned(begin(seed), case.data, seed, steps, rate),
                case.data,
                seeds,
            )
            found[way] = [case.lost(model) for model in trained]
        where = {
            "network": case.name,
            "channels removed %": round(100 * share),
            "parameters %": round(100 * size, 1),
            "MACs %": round(100 * work, 1),
            "bytes": convert(small, "float32").size,
            "not trained": case.lost(small),
        }
        rows.append(row(where, found, rates))
    return rows


def measure_singles(
    networks: Sequence[str] = ("residual_cnn",), share: float = 0.5, seeds=SEEDS, steps: int = 150
) -> list[dict]:
    """One row for each network and score: single weights in each kernel, as many as `structured` removes."""
    rows = []
    for case in map(Case, networks):
        gone = 1 - structured.remove_channels(case.model, share).count_params() / case.model.count_params()
        starts = {
            "magnitude, each kernel": dict.fromkeys(seeds, magnitude.prune_once(case.model, gone)),
            "random, each kernel": {
                seed: criteria.prune_by(case.model, criteria.random_scores(case.model, seed), gone) for seed in seeds
            },
        }
        for name, begin in starts.items():
            trained, rate = searched(
                lambda seed, rate, begin=begin, case=case: tuned(begin[seed], case.data, seed, steps, rate),
                case.data,
                seeds,
            )
            columns = {
                "pruned": [case.lost(begin[seed]) for seed in seeds],
                "trained": [case.lost(model) for model in trained],
            }
            where = {"network": case.name, "zeros %": round(100 * gone, 1), "criterion": name}
            rows.append(rated(where, columns, {"trained": rate}))
    return rows


def measure_time(
    networks: Sequence[str] = ("lenet5", "residual_cnn"), shares: Sequence[float] = (0.25, 0.5, 0.75), rounds: int = 200
) -> list[dict]:
    """One row a network, mode and share of channels removed: what is left of bytes, work and time."""
    rows = []
    for name in networks:
        whole = training.trained(name, seed=training.SHIPPED_SEED, fresh=False)
        dataset = data.load("fashion_mnist")
        left = {0.0: whole} | {share: structured.remove_channels(whole, share) for share in shares}
        files = {
            (mode, share): convert(model, mode, *([dataset.x_train[:100]] if mode == "int8" else [])).content
            for mode in ("float32", "int8")
            for share, model in left.items()
        }
        sides = {
            f"{mode} {share}": (Artifact(each, "tflite"), dataset.x_test[:1]) for (mode, share), each in files.items()
        }
        times = timing.latency(sides, rounds=rounds, seed=0)
        for (mode, share), content in files.items():
            if share:
                ratio = times.ratio(f"{mode} {share}", f"{mode} 0.0")
                rows.append(
                    {
                        "network": name,
                        "file": mode,
                        "channels removed %": round(100 * share),
                        "bytes %": round(100 * len(content) / len(files[mode, 0.0]), 1),
                        "MACs %": round(100 * macs.count(left[share]) / macs.count(whole), 1),
                        "time %": round(100 * ratio.value, 1),
                        "low": round(100 * ratio.low, 1),
                        "high": round(100 * ratio.high, 1),
                    }
                )
    return rows


def drawn_from(rng: np.random.Generator) -> Callable[[np.ndarray], float]:
    """A score that knows nothing of the weights: the control of a criterion."""
    return lambda values: float(rng.random())


def reset(model, seed: int):
    """The same architecture, not trained: its initializers draw from the seeds that they hold, if they hold some.

    So a whole network of `utils.models` gets back the weights that it began with, and a smaller one has one draw.
    """
    import tf_keras

    tf_keras.utils.set_random_seed(seed)
    return tf_keras.models.model_from_json(model.to_json())


PARTS: dict[str, Callable[..., list[dict]]] = {
    "levels": measure_levels,
    "ways": measure_ways,
    "late": measure_late,
    "criteria": measure_criteria,
    "last": measure_last,
    "tickets": measure_tickets,
    "structured": measure_structured,
    "singles": measure_singles,
    "time": measure_time,
}
#: What --tiny measures.
TINY: dict[str, dict] = {
    "levels": {"networks": ("mlp",), "levels": (0.9, 0.98), "seeds": (0,)},
    "ways": {"cases": (("mlp", 0.9),), "seeds": (0,)},
    "late": {"cases": (("mlp", 0.9),), "seeds": (0,)},
    "criteria": {"cases": (("mlp", 0.9, ALL[:4]),), "seeds": (0,)},
    "last": {"seeds": (0,)},
    "tickets": {"seeds": (0,), "steps": 30},
    "structured": {"networks": ("residual_cnn",), "seeds": (0,), "steps": 30},
    "singles": {"seeds": (0,), "steps": 30},
    "time": {"networks": ("residual_cnn",), "shares": (0.5,), "rounds": 3},
}


def main() -> None:
    measure_parts(
        __doc__,
        "pruning",
        PARTS,
        command=COMMAND,
        seeds={**dict.fromkeys(PARTS, SEEDS), "tickets": TICKETS},
        notes=(
            "test accuracy, or points of it lost: mean ± half the 95 % interval over seeds; time: median of the "
            "smaller file to the whole one's of its kind, one picture, one thread, in turns, with a 95 % interval"
        ),
        tiny=TINY,
    )


if __name__ == "__main__":
    start(main)
