"""Try every layer of `layer_samples` through every technique, and time what lies below the Toolkit.

    python course.py bench toolkit            # both tables, about ten minutes
    python course.py bench toolkit layers     # data/results/toolkit_layers.json
    python course.py bench toolkit layers LSTM Add    # only these rows anew; the others stay as recorded
    python course.py bench toolkit below      # data/results/toolkit_below.json
    python course.py bench toolkit --confirm  # a few rows of each: are the records still right?

`layers` is exact: another machine gives the same words.  `below` is times, of the machine it names: XLA,
bfloat16 and oneDNN against plain TensorFlow, for each shared network, medians of runs that take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils
from benchmarks._command import SPREAD, add_confirm, confirm, start, without
from utils import recorded

BATCH = 32
CHAIN, CHAIN_SHAPE = "a chain, no network", (1024, 1024)
NETWORKS = ("mlp", "lenet5", "depthwise_cnn", "residual_cnn")

#: Tried anew by --confirm: a plain kernel, a depthwise one, a recurrent layer, one without weights, normalization.
CONFIRM_LAYERS = ("Dense", "DepthwiseConv2D", "LSTM", "Add", "BatchNormalization alone")
CONFIRM_NETWORKS = ("mlp", "lenet5")


def record_layers(names: list[str]) -> None:
    """Try all rows, or only `names` and keep what is recorded of the others."""
    from utils.optimize.toolkit.layer_samples import LAYERS

    recorded.check_writable("toolkit_layers")
    old = recorded.load("toolkit_layers") if names else None
    if names and (changed := recorded.changes("toolkit_layers")):
        raise recorded.RecordRefused(
            f"the other rows were measured with other code ({changed[0]}): measure all of them"
        )
    cells = measured_layers(names or list(LAYERS))
    for row in old.rows if old else []:
        if row["layer"] not in names:
            cells.setdefault(row["layer"], []).append(row)
    rows = [row for name in LAYERS for row in cells[name]]
    recorded.save(
        "toolkit_layers",
        rows,
        command="python course.py bench toolkit layers",
        depends=[measured_layers],
        seeds=[0],
        notes="way_out is the first that worked; an empty one means that none was needed or none worked.",
        confirmed=old.confirmed if old else (),
    )


def confirm_layers() -> None:
    """Exact on every machine."""
    rows = [row for cells in measured_layers(list(CONFIRM_LAYERS)).values() for row in cells]
    confirm("toolkit_layers", rows, key=["layer", "technique"], depends=[measured_layers])


def measured_layers(names: list[str]) -> dict[str, list[dict]]:
    """{row: its cells}, tried anew."""
    from tqdm import tqdm

    from utils.optimize.toolkit.layer_samples import LAYERS
    from utils.optimize.toolkit.layer_table import layer_support

    cells = {}
    for name in (bar := tqdm(names)):
        bar.set_description(name)
        cells[name] = [asdict(cell) for cell in layer_support({name: LAYERS[name]})]
    return cells


def measured_below(networks: Sequence[str] = NETWORKS) -> list[dict]:
    """XLA and bfloat16 in one process; oneDNN is chosen when TensorFlow starts, so it needs two."""
    onednn = _onednn(networks)
    rows = [{"network": name, "batch": BATCH, **_in_process(name), "oneDNN": onednn[name]} for name in networks]
    return [*rows, {"network": CHAIN, "batch": CHAIN_SHAPE[0], "XLA": _chain(), "bfloat16": None, "oneDNN": None}]


def _chain() -> float:
    """XLA's time over plain TensorFlow's for GELU, a chain of elementwise operations, on a matrix."""
    import tensorflow as tf

    from utils.measure.timing import latency

    def gelu(x):
        return 0.5 * x * (1 + tf.tanh(0.7978845608 * (x + 0.044715 * x * x * x)))

    x = tf.random.stateless_normal(CHAIN_SHAPE, seed=(0, 0))
    kinds = {"plain": tf.function(gelu), "XLA": tf.function(gelu, jit_compile=True)}
    times = latency({kind: lambda f=f: f(x).numpy() for kind, f in kinds.items()}, rounds=100, warmup=5)
    return round(times["XLA"].median / times["plain"].median, 2)


def record_below() -> None:
    recorded.check_writable("toolkit_below")
    recorded.save(
        "toolkit_below",
        measured_below(),
        command="python course.py bench toolkit below",
        depends=[measured_below, _child],
        seeds=[0],
        notes="time as a multiple of plain TensorFlow's; above 1 is slower. One thread.",
    )


def confirm_below() -> None:
    """Ratios of times: a row has no interval, so each figure gets the spread of medians."""
    bounds = {
        column: lambda row, column=column: row[column] and recorded.widened(row[column], row[column], SPREAD)
        for column in ("XLA", "bfloat16", "oneDNN")
    }
    measured = measured_below(CONFIRM_NETWORKS)
    rows = [without([row], *[column for column in row if row[column] is None])[0] for row in measured]
    confirm("toolkit_below", rows, key=["network", "batch"], depends=[measured_below, _child], times=bounds)


def _in_process(name: str) -> dict[str, float]:
    import tensorflow as tf

    from utils import models
    from utils.measure.timing import latency
    from utils.optimize.toolkit.graph_and_compiler import forward, with_policy

    model = models.ARCHITECTURES[name](seed=0)
    x = tf.constant(np.random.default_rng(0).random((BATCH, 28, 28, 1), dtype=np.float32))
    kinds = {"plain": forward(model), "XLA": forward(model, compiled=True), "bfloat16": forward(with_policy(model))}
    times = latency({k: lambda f=f: f(x).numpy() for k, f in kinds.items()}, rounds=30, warmup=3)
    return {kind: round(times[kind].median / times["plain"].median, 2) for kind in ("XLA", "bfloat16")}


def _onednn(networks: Sequence[str]) -> dict[str, float]:
    """Medians over three pairs of processes that take turns."""
    ratios: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(3):
        seconds = {}
        for switch in ("0", "1"):
            environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": switch}
            done = subprocess.run(
                [sys.executable, __file__, "child", *networks],
                capture_output=True,
                text=True,
                check=True,
                env=environment,
            )
            seconds[switch] = json.loads(done.stdout.splitlines()[-1])
        for name in networks:
            ratios[name].append(seconds["1"][name] / seconds["0"][name])
    return {name: round(float(np.median(values)), 2) for name, values in ratios.items()}


def _child(networks: Sequence[str]) -> None:
    import tensorflow as tf

    from utils import models
    from utils.measure.timing import latency
    from utils.optimize.toolkit.graph_and_compiler import forward

    x = tf.constant(np.random.default_rng(0).random((BATCH, 28, 28, 1), dtype=np.float32))
    calls = {name: forward(models.ARCHITECTURES[name](seed=0)) for name in networks}
    times = latency({name: lambda call=call: call(x).numpy() for name, call in calls.items()}, rounds=30, warmup=5)
    print(json.dumps({name: times[name].median for name in networks}))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["all", "layers", "below", "child"], default="all")
    parser.add_argument("rows", nargs="*", help="with layers: names of rows")
    add_confirm(parser, "a few rows")
    chosen = parser.parse_args(arguments)
    if chosen.what == "child":
        return _child(chosen.rows)
    if chosen.what in ("all", "layers"):
        confirm_layers() if chosen.confirm else record_layers(chosen.rows)
    if chosen.what in ("all", "below"):
        confirm_below() if chosen.confirm else record_below()
    return None


if __name__ == "__main__":
    assert utils.ROOT  # `utils` settles how TensorFlow starts, before anything imports it
    start(main)
