"""Single layers in float32 and int8, the roof that they make, and what it predicts of the networks that ship.

    python course.py bench roofline                    # about two minutes on one quiet core
    python course.py bench roofline --only networks    # from the layers as recorded
    python course.py bench roofline --anew             # drops rows that other code measured

The record `layers` has one layer a row: work, and the time of both files, in turns, one thread, a batch of one.
These rows make the roof.  The record `roofline` has the least time of each network below that roof;
what the same files took is in the record `networks`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils  # noqa: F401  (settles how TensorFlow starts)
from benchmarks import networks
from benchmarks._command import start
from utils import data, recorded, training
from utils.artifact import Artifact
from utils.measure import roofline, timing
from utils.measure.roofline import Roof
from utils.optimize.quantization.converter import convert

COMMAND = "python course.py bench roofline"
MODES = ("float32", "int8")
ROUNDS = 200
KEYS = {"layers": ("layer", "processor"), "roofline": ("network", "data", "processor")}
#: What computes -> a word in the names of the layers that it computes.  A roof has the best rate of each.
KINDS = {"matrix": "convolution", "depthwise": "depthwise", "vector": "dense"}
LAYER_NOTES = (
    "of one layer with a batch of one, pictures of 28×28 (LeNet-5's second convolution: 12×12); float32 µs, int8 µs: "
    "medians on one thread, in turns; ratio: int8 over float32, with a 95 % interval; MMAC: millions of "
    "multiply-accumulates; GMAC/s: billions of them a second; bytes: of weights and activations; "
    "GB/s: billions of these a second"
)
NETWORK_NOTES = (
    "float32 µs, int8 µs: least time by the roofline, one thread, one picture; ratio: int8 over float32; waits %: "
    "the part of that time in operators that memory decides"
)


def shapes() -> dict[str, tuple[tuple[int, ...], Any]]:
    """{name: (shape of one example, layer)}."""
    import tf_keras

    layers = tf_keras.layers
    found: dict[str, tuple[tuple[int, ...], Any]] = {
        "1×1 convolution, 128 to 128": ((28, 28, 128), layers.Conv2D(128, 1)),
        "5×5 convolution, 20 to 50": ((12, 12, 20), layers.Conv2D(50, 5)),
        "depthwise 3×3, 128": ((28, 28, 128), layers.DepthwiseConv2D(3, padding="same")),
    }
    for channels in (1, 4, 8, 16):
        found[f"5×5 convolution, {channels} to 20"] = ((28, 28, channels), layers.Conv2D(20, 5))
    for inputs, units in ((256, 256), (784, 300), (800, 500), (2048, 4096)):
        found[f"dense, {inputs} to {units}"] = ((inputs,), layers.Dense(units))
    return found


def files_of(shape: tuple[int, ...], layer: Any) -> dict[str, Artifact]:
    """{mode: file of this one layer}, with weights as they are initialized."""
    import tf_keras

    tf_keras.utils.set_random_seed(training.SHIPPED_SEED)
    model = tf_keras.Sequential([tf_keras.Input(shape), layer])
    samples = np.random.default_rng(0).random((8, *shape), np.float32)
    return {mode: convert(model, mode, samples if mode == "int8" else None) for mode in MODES}


def layer_row(name: str, files: Mapping[str, Artifact], rounds: int = ROUNDS) -> dict[str, Any]:
    """One layer's work and times."""
    shape = (1, *files["float32"].runner.inputs[0].shape[1:])
    example = np.random.default_rng(1).random(shape, np.float32)
    times = timing.latency({mode: (file, example) for mode, file in files.items()}, rounds=rounds, seed=0)
    row: dict[str, Any] = {"layer": name, "processor": recorded.processor()}
    for mode, file in files.items():
        work = roofline.of_file(file.content)
        macs, size = sum(part.macs for part in work), sum(part.bytes for part in work)
        seconds = times[mode].median
        row["MMAC"] = round(macs / 1e6, 3)
        row |= {f"{mode} µs": round(1e6 * seconds, 2), f"{mode} bytes": size}
        row |= {f"{mode} GMAC/s": round(macs / seconds / 1e9, 2), f"{mode} GB/s": round(size / seconds / 1e9, 2)}
    return row | networks.columns("ratio", times.ratio("int8", "float32"), 1, 3)


def measured_layers() -> list[dict[str, Any]]:
    """The rows of all layers."""
    return [layer_row(name, files_of(*parts)) for name, parts in shapes().items()]


def roof_of(rows: list[dict[str, Any]]) -> Roof:
    """The roof that rows of single layers make: the best rate of each kind, and the bytes a second of float32's dense
    layers, which wait for them."""
    peaks = {
        f"{mode} {kind}": 1e9 * max(row[f"{mode} GMAC/s"] for row in rows if word in row["layer"])
        for kind, word in KINDS.items()
        for mode in MODES
    }
    dense = [row for row in rows if KINDS["vector"] in row["layer"]]
    return Roof(peaks, {row["float32 bytes"]: 1e9 * row["float32 GB/s"] for row in dense})


def network_row(network: str, name: str, roof: Roof) -> dict[str, Any]:
    """One network's least times."""
    dataset = data.load(name)
    model = training.trained(network, dataset, seed=training.SHIPPED_SEED, fresh=False)
    samples = dataset.subset(networks.SAMPLES, training.SHIPPED_SEED).x_train
    row: dict[str, Any] = {"network": network, "data": name, "processor": recorded.processor()}
    for mode in MODES:
        file = convert(model, mode, samples if mode == "int8" else None)
        least = roofline.predict_time(roofline.of_file(file.content), roof)
        row |= {f"{mode} µs": round(1e6 * least.seconds, 2), f"{mode} waits %": round(100 * least.memory_part, 1)}
    return row | {"ratio": round(row["int8 µs"] / row["float32 µs"], 3)}


def predicted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of all networks, below the roof of these layers."""
    return [network_row(network, name, roof_of(rows)) for network, name in networks.NETWORKS]


def _store(name: str, rows: list[dict[str, Any]], depends: list, notes: str, anew: bool) -> None:
    """Beside the rows of other processors."""
    rows = recorded.beside(name, rows, KEYS[name], anew=anew)
    recorded.save(name, rows, command=COMMAND, depends=depends, seeds=[training.SHIPPED_SEED], notes=notes)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="course.py bench roofline", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("networks",), help="predict from the record of layers, measure none")
    parser.add_argument("--anew", action="store_true", help="drop what other code measured")
    options = parser.parse_args(arguments)
    recorded.check_writable("roofline")
    names = ["roofline"] if options.only else ["layers", "roofline"]
    for name in names:
        recorded.beside(name, [], KEYS[name], anew=options.anew)  # refuses before the minutes are spent
    if not options.only:
        _store("layers", measured_layers(), [measured_layers], LAYER_NOTES, options.anew)
    here = [row for row in recorded.load("layers").rows if row["processor"] == recorded.processor()]
    _store("roofline", predicted(here), [measured_layers, predicted], NETWORK_NOTES, options.anew)
    for row in recorded.load("roofline").rows:
        print(row)
    return 0


if __name__ == "__main__":
    start(main)
