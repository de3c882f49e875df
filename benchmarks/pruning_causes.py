"""Measure what causes what in pruning: one cause is changed, all others stay.

    python course.py bench pruning_causes [ways] [places] [counts] [scale] [normalized] [--tiny]

ways    how the zeros come, with the last layer left dense: one-shot, gradual, in rounds; as many zeros in all
places  the smallest weights against as many random ones of the same arrays: networks, shares, steps, the last layer
counts  one ranking over all layers: how many weights each array keeps by one score, which ones by another
scale   the same function with one layer's weights ten times smaller or larger: what a ranking over all layers does
normalized  a ranking over all layers by scores that such a factor does not change (LAMP), and after training

About 1 to 12 minutes each on one thread.  Seeds, steps and rates are those of `pruning`: a seed draws the pictures and
their order, and every way looks for its own rate.  "counts" and "scale" train nothing.  --tiny measures a few rows
and stores nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils  # noqa: F401
from benchmarks import pruning
from benchmarks._command import measure_parts, start
from benchmarks.pruning import BATCH, FEW, SEEDS, STEPS, Case, rated, searched, tuned
from benchmarks.quantization_aware import sample
from utils.optimize.keras_graph import rebuild
from utils.optimize.pruning import criteria, gradual, magnitude

COMMAND = "python course.py bench pruning_causes"


def but_the_last(model, target: float) -> tuple[list[str], float]:
    """Names of the layers with kernels but the last, and the share of their zeros that makes `target` of all."""
    sizes = {layer.name: sum(w.size for w in pruning._own(layer)) for layer in model.layers if pruning._own(layer)}
    *others, last = sizes
    return others, target * sum(sizes.values()) / (sum(sizes.values()) - sizes[last])


def one_shot(case: Case, target: float, seed: int, rate: float, steps: int):
    start = pruning.last_dense(case.model, target)
    return tuned(start, case.data, seed, steps, rate, steps // 3 * BATCH)


def in_rounds(case: Case, target: float, seed: int, rate: float, steps: int, back: bool = False):
    """As `pruning.in_rounds`, without the last layer."""
    dense = case.model.get_weights()
    model, rounds = rebuild(case.model), pruning.ROUNDS[target]
    each = steps // len(rounds)
    for share in rounds:
        model = pruning.last_dense(model, share)
        if back:
            pruning._set_back(model, dense)
        pruning.tune(model, case.data, seed, each, rate, each * BATCH)
    return model


def gradually(case: Case, target: float, seed: int, rate: float, steps: int, late: bool = False):
    """As `pruning.gradually` and `pruning.falling_late`, without the last layer."""
    only, share = but_the_last(case.model, target)
    pictures = sample(case.data, seed, steps // 3 * BATCH)
    plan = gradual.schedule(share, steps, end=steps // 2)
    settings = {"only": only, "batch_size": BATCH, "learning_rate": rate, "seed": seed}
    if late:
        settings |= {"decay": False, "callbacks": [_fall_late(rate, max(gradual.updates(plan, steps)), steps)]}
    return gradual.prune_while_training(case.model, pictures, plan, 3, **settings)


def _fall_late(rate: float, last: int, steps: int):
    import tf_keras

    falling = tf_keras.optimizers.schedules.CosineDecay(rate, steps - last)

    class FallLate(tf_keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            done = int(self.model.optimizer.iterations)
            self.model.optimizer.learning_rate.assign(falling(max(0, done - last)))

    return FallLate()


WAYS: dict[str, Callable] = {
    "one-shot": one_shot,
    "gradual": gradually,
    "gradual, rate falls late": partial(gradually, late=True),
    "in rounds": in_rounds,
    "in rounds, from the dense weights": partial(in_rounds, back=True),
}


def measure_ways(targets: Sequence[float] = (0.8, 0.9), seeds=SEEDS, ways: dict[str, Callable] = WAYS) -> list[dict]:
    """The rows of `pruning.measure_ways`, whose last layer stays dense."""
    return pruning.measure_ways([("mlp", target) for target in targets], seeds, FEW, ways)


#: (network, zeros, steps, is the last layer left dense?) of each row of "places".
PLACES = (
    ("mlp", 0.9, 100, False),
    ("mlp", 0.9, 100, True),
    ("mlp", 0.9, 300, False),
    ("mlp", 0.8, 100, False),
    ("lenet5", 0.9, 100, False),
)


def measure_places(cases: Sequence[tuple[str, float, int, bool]] = PLACES, seeds=SEEDS) -> list[dict]:
    """One row for each case: points lost with zeros in the places of the smallest weights, and in random ones."""
    rows = []
    for name, target, steps, spared in cases:
        case, found, rates = Case(name), {}, {}
        small = pruning.last_dense(case.model, target) if spared else magnitude.prune_once(case.model, target)
        sides = {
            "smallest": dict.fromkeys(seeds, small),
            "random": {seed: pruning._masked(case.model, pruning._shuffled(small, seed)) for seed in seeds},
        }
        for side, begin in sides.items():
            trained, rates[side] = searched(
                lambda seed, rate, begin=begin, case=case, steps=steps: tuned(
                    begin[seed], case.data, seed, steps, rate
                ),
                case.data,
                seeds,
            )
            found[side] = [case.lost(model) for model in trained]
        where = {"network": name, "zeros %": round(100 * target), "steps": steps, "last layer": "dense"}
        rows.append(rated(where if spared else where | {"last layer": "pruned"}, found, rates))
    return rows


def measure_counts(network: str = "lenet5", targets: Sequence[float] = (0.8, 0.9), seeds=SEEDS) -> list[dict]:
    """One row for each share and score that says how many weights each array keeps; a column for who says which."""
    case, rows = Case(network), []
    scores = {seed: _scores(case, seed) for seed in seeds}
    for target in targets:
        for counter in ("magnitude", "gradient × weight", "Fisher × weight²"):
            found: dict[str, list[float]] = {}
            for seed in seeds:
                ranked = criteria.prune_by(case.model, scores[seed][counter], target, scope="model")
                zeros = [int((w.numpy() == 0).sum()) for w in pruning._kernels(ranked)]
                for chooser, values in scores[seed].items():
                    masks = [_all_but_smallest(each, count) for each, count in zip(values, zeros, strict=True)]
                    found.setdefault(chooser, []).append(case.lost(pruning._masked(case.model, masks)))
            rows.append(rated({"network": network, "zeros %": round(100 * target), "counts by": counter}, found))
    return rows


def _scores(case: Case, seed: int) -> dict[str, list[np.ndarray]]:
    x, y = (part[:1000] for part in sample(case.data, seed))
    return {
        "magnitude": criteria.magnitude_scores(case.model),
        "gradient × weight": criteria.gradient_scores(case.model, x, y),
        "Fisher × weight²": criteria.fisher_scores(case.model, x, y),
        "random": criteria.random_scores(case.model, seed),
    }


def _all_but_smallest(scores: np.ndarray, zeros: int) -> np.ndarray:
    """A mask without the `zeros` smallest scores."""
    mask = np.ones(scores.size)
    mask[np.argsort(scores, axis=None, kind="stable")[:zeros]] = 0
    return mask.reshape(scores.shape)


def lamp_scores(model) -> list[np.ndarray]:
    """w² over the sum of the squares of its array that are not smaller (Lee et al. 2021, arXiv 2010.07611).

    The largest weight of each array has 1, so no array is emptied, and a factor on an array changes nothing.
    """
    scores = []
    for kernel in pruning._kernels(model):
        squares = np.square(kernel.numpy().astype(np.float64)).ravel()
        order = np.argsort(squares, kind="stable")
        rest = np.cumsum(squares[order][::-1])[::-1]
        each = np.zeros_like(squares)
        each[order] = squares[order] / rest
        scores.append(each.reshape(kernel.shape))
    return scores


def scaled(model, name: str, factor: float):
    """The same function: the layer's weights times `factor`, and the batch normalization behind it takes it back."""
    copy = rebuild(model)
    layer = copy.get_layer(name)
    layer.set_weights([values * factor for values in layer.get_weights()])
    behind = layer.outbound_nodes[0].outbound_layer
    behind.moving_mean.assign(behind.moving_mean * factor)
    behind.moving_variance.assign((behind.moving_variance + behind.epsilon) * factor**2 - behind.epsilon)
    return copy


def measure_scale(
    network: str = "residual_cnn", layer: str = "block_3_a_conv", target: float = 0.5, factors=(1, 0.1, 10)
) -> list[dict]:
    """One row for each factor: points lost without training, and the share of zeros in that layer."""
    case, rows = Case(network), []
    x = case.data.x_val[:1000]
    expected = case.model.predict(x, verbose=0)
    for factor in factors:
        model = scaled(case.model, layer, factor)
        sides = {
            "each layer alike": magnitude.prune_once(model, target),
            "one ranking": magnitude.prune_once(model, target, scope="model"),
            "one ranking, LAMP": criteria.prune_by(model, lamp_scores(model), target, scope="model"),
        }
        zeros = {name: np.mean(side.get_layer(layer).kernel.numpy() == 0) for name, side in sides.items()}
        row = {"network": network, "zeros %": round(100 * target), "layer": layer, "factor": factor}
        row["outputs differ by"] = float(f"{np.abs(model.predict(x, verbose=0) - expected).max():.1g}")
        row |= {name: round(case.lost(side), 1) for name, side in sides.items()}
        rows.append(row | {f"zeros there %, {name}": round(100 * float(share), 1) for name, share in zeros.items()})
        print(rows[-1], flush=True)
    return rows


def measure_normalized(cases: Sequence[tuple[str, float]] = (("mlp", 0.9), ("lenet5", 0.9)), seeds=SEEDS) -> list[dict]:
    """One row for each network and ranking by magnitude: points lost without training and after 100 steps."""
    rows = []
    for name, target in cases:
        case = Case(name)
        starts = {
            "each layer alike": magnitude.prune_once(case.model, target),
            "one ranking": magnitude.prune_once(case.model, target, scope="model"),
            "one ranking, LAMP": criteria.prune_by(case.model, lamp_scores(case.model), target, scope="model"),
        }
        for ranking, begin in starts.items():
            trained, rate = searched(
                lambda seed, rate, begin=begin, case=case: tuned(begin, case.data, seed, STEPS, rate), case.data, seeds
            )
            columns = {"pruned": [case.lost(begin)] * len(seeds), "trained": [case.lost(model) for model in trained]}
            where = {"network": name, "zeros %": round(100 * target), "ranking": ranking}
            rows.append(rated(where, columns, {"trained": rate}))
    return rows


PARTS: dict[str, Callable[..., list[dict]]] = {
    "ways": measure_ways,
    "places": measure_places,
    "counts": measure_counts,
    "scale": measure_scale,
    "normalized": measure_normalized,
}
#: What --tiny measures.
TINY: dict[str, dict] = {
    "ways": {"targets": (0.9,), "seeds": (0,), "ways": {"one-shot": one_shot}},
    "places": {"cases": PLACES[:1], "seeds": (0,)},
    "counts": {"targets": (0.9,), "seeds": (0,)},
    "scale": {"factors": (0.1,)},
    "normalized": {"cases": (("mlp", 0.9),), "seeds": (0,)},
}


def main() -> None:
    measure_parts(
        __doc__,
        "pruning_causes",
        PARTS,
        command=COMMAND,
        seeds=dict.fromkeys(PARTS, SEEDS) | {"scale": SEEDS[:1]},
        notes="points of test accuracy lost: mean ± half the 95 % interval over seeds",
        tiny=TINY,
    )


if __name__ == "__main__":
    start(main)
