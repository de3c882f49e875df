"""Measure what sharing weights costs, and what training brings back.

    python course.py bench clustering [clusters] [starts] [--tiny]

clusters  from 2 to 256 distinct values in each kernel: by k-means alone, a code book a channel, and trained afterwards;
          bits of an index, and bytes of the file: raw, gzip, coded
starts    16 values: the Toolkit's four first code books and k-means, each without training and after 100 steps

Seeds are those of the pictures and of their order.  --tiny measures a few rows and stores nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils  # noqa: F401
from benchmarks import pruning, quantization_aware
from benchmarks._command import measure_parts, start
from benchmarks.quantization_aware import sample
from utils import training
from utils.optimize import clustering, coding, keras_weights
from utils.optimize.coding import byte_coders
from utils.optimize.keras_graph import rebuild
from utils.optimize.quantization.converter import convert
from utils.quiet import quiet

SEEDS = (0, 1, 2)
STEPS = 100
BATCH = 64
RATE = 0.001
CLUSTERS = (2, 4, 8, 16, 32, 256)
NETWORKS = ("mlp", "residual_cnn")
COMMAND = "python course.py bench clustering"


class Case(pruning.Case):
    """A network that ships, and ways to train it."""

    def pictures(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """So many that one epoch has `STEPS` steps."""
        x, y = sample(self.data, seed, STEPS * BATCH)
        return x[: STEPS * BATCH], y[: STEPS * BATCH]

    def tuned(self, seed: int):
        """The control: the network with all its values, trained for as long."""
        copy = rebuild(self.model)
        training.fit(copy, self.pictures(seed), 1, batch_size=BATCH, learning_rate=RATE, decay=True, seed=seed)
        return copy

    def clustered(self, seed: int, clusters: int, model=None, **settings):
        """Trained by the Toolkit with shared weights."""
        settings = {"batch_size": BATCH, "learning_rate": RATE, "seed": seed, **settings}
        return clustering.cluster_while_training(
            self.model if model is None else model, self.pictures(seed), clusters, 1, **settings
        ).model


def text(values: list[float]) -> str:
    """Mean ± half the 95 % interval over the seeds; what has no seed has no interval."""
    return quantization_aware.text(values) if len(values) > 1 else f"{values[0]:.1f}"


def row(where: dict, columns: dict[str, list[float]]) -> dict:
    """Texts, and every seed's figures."""
    figures = {name: [round(value, 2) for value in values] for name, values in columns.items()}
    made = {**where, **{name: text(values) for name, values in figures.items()}, "seeds": figures}
    print(made, flush=True)
    return made


def bits(model) -> float:
    """Entropy of the indices of all shared weights together, each array by itself, in bits a weight."""
    arrays = [w.variable.numpy() for w in keras_weights.weights(model) if w.role in clustering.CLUSTERABLE]
    return sum(array.size * byte_coders.entropy(array) for array in arrays) / sum(array.size for array in arrays)


def measure_clusters(
    networks: Sequence[str] = NETWORKS, numbers: Sequence[int] = CLUSTERS, seeds: Sequence[int] = SEEDS
) -> list[dict]:
    """One row for each network and number of values; "all" is the control, and seed 0 has the bits and bytes."""
    rows = []
    for case in map(Case, networks):
        for clusters in ("all", *numbers):
            if clusters == "all":
                once = channels = case.model
                trained = [case.tuned(seed) for seed in seeds]
            else:
                once = clustering.cluster_once(case.model, clusters).model
                channels = clustering.cluster_once(case.model, clusters, per_channel=True).model
                trained = [case.clustered(seed, clusters, once) for seed in seeds]
            content = convert(trained[0], "float32").content
            where = {
                "network": case.name,
                "values": str(clusters),
                "bits a weight": round(bits(trained[0]), 2),
                "bytes": len(content),
                "gzip": len(byte_coders.pack(content)),
                "coded": len(coding.compress(trained[0])),
            }
            columns = {
                "k-means": [case.lost(once)],
                "each channel": [case.lost(channels)],
                "trained": [case.lost(model) for model in trained],
            }
            rows.append(row(where, columns))
    return rows


def toolkit_once(model, clusters: int, name: str):
    """What the Toolkit makes of a model before any training: wrapped, and stripped at once."""
    import tensorflow_model_optimization as tfmot
    import tf_keras

    tf_keras.utils.set_random_seed(0)  # for RANDOM
    with quiet():
        wrapped = tfmot.clustering.keras.cluster_weights(rebuild(model), clusters, clustering.STARTS[name])
        return tfmot.clustering.keras.strip_clustering(wrapped)


def squared_error(before, after) -> float:
    """Mean squared error of the shared weights, relative to their mean square, in per cent."""
    pairs = zip(keras_weights.weights(before), keras_weights.weights(after), strict=True)
    arrays = [(a.variable.numpy(), b.variable.numpy()) for a, b in pairs if a.role in clustering.CLUSTERABLE]
    error = sum(float(((a - b) ** 2).sum()) for a, b in arrays)
    return 100 * error / sum(float((a**2).sum()) for a, _ in arrays)


def measure_starts(networks: Sequence[str] = NETWORKS, clusters: int = 16, seeds: Sequence[int] = SEEDS) -> list[dict]:
    """One row for each network and first code book.

    k-means reaches the Toolkit as weights that have `clusters` distinct values: k-means++ can draw no others.
    """
    rows = []
    for case in map(Case, networks):
        lloyd = clustering.cluster_once(case.model, clusters).model
        ways = {name: (toolkit_once(case.model, clusters, name), None, name) for name in clustering.STARTS}
        ways["k-means"] = (lloyd, lloyd, "KMEANS_PLUS_PLUS")
        for name, (once, begin, first) in ways.items():
            where = {
                "network": case.name,
                "start": name,
                "values": max(clustering.distinct(once).values()),
                "error %": round(squared_error(case.model, once), 2),
            }
            trained = [case.lost(case.clustered(seed, clusters, begin, start=first)) for seed in seeds]
            rows.append(row(where, {"not trained": [case.lost(once)], "trained": trained}))
    return rows


PARTS: dict[str, Callable[..., list[dict]]] = {"clusters": measure_clusters, "starts": measure_starts}
#: What --tiny measures.
TINY: dict[str, dict] = {
    "clusters": {"networks": ("residual_cnn",), "numbers": (4, 16), "seeds": (0,)},
    "starts": {"networks": ("residual_cnn",), "seeds": (0,)},
}


def main() -> None:
    measure_parts(
        __doc__,
        "clustering",
        PARTS,
        command=COMMAND,
        seeds=dict.fromkeys(PARTS, SEEDS),
        notes="points of test accuracy lost: mean ± half the 95 % interval over seeds",
        tiny=TINY,
    )


if __name__ == "__main__":
    start(main)
