"""How a .tflite file's time grows: with the batch, the size of the network, the threads and the kernels.

    python course.py bench tflite
    python course.py bench tflite --confirm    # a few rows, after a change of code that should change nothing

Untrained networks, because times do not depend on the weights' values: `depthwise_cnn`, and `mlp` with two hidden
layers of 32 to 2,048 units.  All sides are timed in turns in one process, three times over; a row has the median
of the three medians and their spread.  About two minutes on two cores.  Records tflite_growth.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._command import SPREAD, add_confirm, confirm, start, without
from utils import models, recorded
from utils.deploy.tflite import session
from utils.deploy.tflite.tflite_model import TFLiteModel
from utils.measure import timing
from utils.measure.macs import count
from utils.optimize.quantization.converter import convert

COMMAND = "python course.py bench tflite"
SEEDS = [0, 1, 2]
WIDTHS, BATCHES = (32, 64, 128, 256, 512, 1024, 2048), (1, 2, 4, 8, 16, 32, 64)
ROUNDS = 40
KEY = ("varied", "network", "batch", "threads", "kernels")
CNN = "depthwise_cnn"


def network(name: str):
    """`depthwise_cnn`, or "mlp 32" with two hidden layers of 32 units; initial weights of seed 0."""
    if name == CNN:
        return models.depthwise_cnn(seed=0)
    width = int(name.removeprefix("mlp "))
    return models.mlp(seed=0, hidden=(width, width))


def plan() -> list[dict[str, object]]:
    """What is timed: one row a side."""
    usual = {"network": CNN, "batch": 1, "threads": 1, "kernels": "default"}
    rows = [{"varied": "batch", **usual, "batch": batch} for batch in BATCHES]
    rows += [{"varied": "size", **usual, "network": f"mlp {width}"} for width in WIDTHS]
    rows += [
        {"varied": "threads", **usual, "network": name, "batch": batch, "threads": threads}
        for name, batch in ((f"mlp {WIDTHS[0]}", 1), (CNN, 1), (CNN, 16), (f"mlp {WIDTHS[-1]}", 1))
        for threads in (1, 2)
    ]
    return rows + [{"varied": "kernels", **usual, "kernels": kernels} for kernels in session.KERNELS]


def sides(rows: list[dict], files: dict[str, bytes]) -> dict[str, Callable]:
    """A function for each row that runs its file on its batch."""
    pictures = np.random.default_rng(0).random((max(BATCHES), 28, 28, 1), np.float32)
    opened = [TFLiteModel(files[row["network"]], row["kernels"], row["threads"], trusted=True) for row in rows]
    return {
        str(number): model.prepare(pictures[: row["batch"]])
        for number, (row, model) in enumerate(zip(rows, opened, strict=True))
    }


def measured(rows: list[dict]) -> list[dict[str, object]]:
    """The rows with milliseconds, cost and bytes."""
    networks = {name: network(name) for name in {row["network"]: 0 for row in rows}}
    files = {name: convert(model, "float32").content for name, model in networks.items()}
    macs = {name: count(model) for name, model in networks.items()}
    runs = [timing.latency(sides(rows, files), rounds=ROUNDS, warmup=5, seed=seed) for seed in SEEDS]
    made = []
    for number, row in enumerate(rows):
        times = [1e3 * run[str(number)].median for run in runs]
        size = {"million MACs": row["batch"] * macs[row["network"]] / 1e6, "bytes": len(files[row["network"]])}
        made.append(row | size | {"ms": float(np.median(times)), "ms low": min(times), "ms high": max(times)})
    return made


def confirm_some() -> None:
    """One row of each kind that takes long enough to be timed well; bytes and MACs are exact."""
    chosen = [("batch", CNN, 16), ("size", "mlp 512", 1), ("threads", CNN, 16), ("kernels", CNN, 1)]
    rows = measured([row for row in plan() if (row["varied"], row["network"], row["batch"]) in chosen])
    bounds = {"ms": lambda row: recorded.widened(row["ms low"], row["ms high"], SPREAD)}
    confirm("tflite_growth", without(rows, "ms low", "ms high"), key=KEY, depends=[plan, measured], times=bounds)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], epilog=f"  {COMMAND}")
    add_confirm(parser, "a few rows")
    options = parser.parse_args(arguments)
    recorded.check_writable("tflite_growth")
    if options.confirm:
        confirm_some()
        return 0
    rows = measured(plan())
    path = recorded.save("tflite_growth", rows, command=COMMAND, depends=[plan, measured], seeds=SEEDS)
    for row in rows:
        print(row)
    print(f"{len(rows)} rows in {path.name}")
    return 0


if __name__ == "__main__":
    start(main)
