"""How a .tflite file's time grows: with the batch, the threads, the network's width and the kernels.

    python course.py bench tflite

One convolutional network in five widths, untrained, because times do not depend on the weights' values.  All sides
are timed in turns in one process, three times over; a row has the medians' median and their spread.  About two
minutes on two cores.  Records tflite_growth.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils import cost, latency, recorded
from utils.deploy import tflite

COMMAND = "python course.py bench tflite"
SEEDS = [0, 1, 2]
WIDTHS, BATCHES = (8, 16, 32, 64, 128), (1, 2, 4, 8, 16, 32, 64, 128)
MIDDLE = 32  #: the width whose batch, threads and kernels are varied
ROUNDS = 40

#: Files whose change makes the record stale.
DEPENDS = ["benchmarks/tflite.py", "utils/latency.py", "utils/deploy/session.py"]


def network(width: int, seed: int = 0):
    """Three convolutions of 3x3 and a dense layer, on pictures of 28x28; the work grows with the width's square."""
    import tf_keras

    tf_keras.utils.set_random_seed(seed)
    layers = tf_keras.layers
    return tf_keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(width, 3, 2, "same", activation="relu"),
            layers.Conv2D(2 * width, 3, 2, "same", activation="relu"),
            layers.Conv2D(2 * width, 3, 1, "same", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10),
        ]
    )


def file_of(model) -> bytes:
    """The network as a float32 file."""
    from utils.optimize import quantization

    return quantization.convert(model, "float32").content


def plan() -> list[dict[str, object]]:
    """What is timed: one row a side."""
    middle = {"width": MIDDLE, "batch": 1, "threads": 1, "kernels": "default"}
    rows = [{"varied": "batch", **middle, "batch": batch} for batch in BATCHES]
    rows += [{"varied": "width", **middle, "width": width} for width in WIDTHS]
    rows += [
        {"varied": "threads", **middle, "width": width, "batch": batch, "threads": threads}
        for width, batch in ((8, 1), (MIDDLE, 1), (MIDDLE, 64), (128, 1))
        for threads in (1, 2)
    ]
    return rows + [{"varied": "kernels", **middle, "kernels": kernels} for kernels in tflite.KERNELS]


def sides(rows: list[dict], files: dict[int, bytes]) -> dict[str, object]:
    """A function for each row that runs its file on its batch."""
    pictures = np.random.default_rng(0).random((max(BATCHES), 28, 28, 1), np.float32)
    return {
        str(number): tflite.Model(files[row["width"]], row["kernels"], row["threads"], trusted=True).prepare(
            pictures[: row["batch"]]
        )
        for number, row in enumerate(rows)
    }


def measured(rows: list[dict], models: dict[int, object]) -> list[dict[str, object]]:
    """The rows with milliseconds, cost and parameters."""
    files = {width: file_of(model) for width, model in models.items()}
    runs = [latency.latency(sides(rows, files), rounds=ROUNDS, warmup=5, seed=seed) for seed in SEEDS]
    macs = {width: cost.macs(model) for width, model in models.items()}
    made = []
    for number, row in enumerate(rows):
        times = [1e3 * run[str(number)].median for run in runs]
        size = {"million MACs": row["batch"] * macs[row["width"]] / 1e6, "bytes": len(files[row["width"]])}
        made.append(row | size | {"ms": float(np.median(times)), "ms low": min(times), "ms high": max(times)})
    return made


def main(arguments: list[str] | None = None) -> int:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0], epilog=f"  {COMMAND}").parse_args(arguments)
    rows = measured(plan(), {width: network(width) for width in WIDTHS})
    path = recorded.save("tflite_growth", rows, command=COMMAND, depends=DEPENDS, seeds=SEEDS)
    for row in rows:
        print(row)
    print(f"{len(rows)} rows in {path.name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
