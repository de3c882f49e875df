"""The one table of the networks that ship: bytes, accuracy and time in every mode, with every kind of kernels.

    python course.py bench networks                     # about 15 minutes on one quiet core
    python course.py bench networks --only latency      # the other columns stay as recorded
    python course.py bench networks --networks mlp lenet5-mnist
    python course.py bench networks --anew              # drops rows that other code measured

A row is one file, run by one kind of kernels on one processor.  Rows of other processors stay beside those of this one.
Accuracy is the file's own, on the first `PICTURES` of the test set; what it lost is taken picture by picture against
float32 with the same kernels.  Times are those of one picture on one thread, all modes in turns, beside float32 with
default kernels; a ratio's interval comes from a bootstrap of whole rounds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils  # noqa: F401  (settles how TensorFlow starts)
from benchmarks._command import start
from utils import data, recorded, training
from utils.artifact import Artifact, ArtifactError
from utils.deploy.tflite.session import KERNELS
from utils.deploy.tflite.tflite_model import TFLiteModel
from utils.measure import statistics, timing
from utils.optimize.quantization import recipes
from utils.optimize.quantization.converter import convert
from utils.quiet import quiet

COMMAND = "python course.py bench networks"
KEY = ("network", "data", "mode", "kernels", "processor")
NETWORKS = (
    ("mlp", "fashion_mnist"),
    ("lenet5", "fashion_mnist"),
    ("depthwise_cnn", "fashion_mnist"),
    ("residual_cnn", "fashion_mnist"),
    ("transformer", "fashion_mnist"),
    ("lenet_300_100", "mnist"),
    ("lenet5", "mnist"),
)
INT32_BIAS = "int16x8_int32_bias"
CONVERTED = ("float32", "float16", "dynamic", "int8", "int8_float_io", "int16x8")
QUANTIZED = ("weight_only_int4", "dynamic_int4", "dynamic_int2", "static_int4")  # by LiteRT's own quantizer
MODES = (*CONVERTED, INT32_BIAS, *QUANTIZED)
SAMPLES = 300  # calibration pictures
PICTURES = {"default": 10_000, "builtin": 2_000, "reference": 1_000}  # of the test set: slow kernels get fewer
SLOW = {"int16x8": 2_000}  # computed by reference kernels whatever is asked for, where the bias is int64
ROUNDS = {"default": 200, "builtin": 200, "reference": 50}
THREADS = 1
NOTES = (
    "lost points: float32's accuracy minus this one's, same kernels and pictures; latency µs: median for one picture; "
    "latency ratio: to float32 with the same kernels; ratio to default: to float32 with default kernels; "
    "low, high: 95 % intervals (accuracy: Wilson, others: bootstrap); empty where `runs` says why"
)


# ---------------------------------------------------------------- files


def files_of(model: Any, samples: np.ndarray, modes: Iterable[str] = MODES) -> dict[str, Artifact | str]:
    """{mode: file}; in place of a file that cannot be made or run, the reason."""
    whole = convert(model, "float32")
    made: dict[str, Artifact | str] = {}
    for mode in modes:
        try:
            made[mode] = whole if mode == "float32" else file_of(mode, model, whole, samples)
            made[mode].runner  # noqa: B018  tries it in a child process: some files end the process that runs them
        except ArtifactError as error:
            print(f"  {mode}: {error}", flush=True)
            made[mode] = "cannot be run"
    return made


def file_of(mode: str, model: Any, whole: Artifact, samples: np.ndarray) -> Artifact:
    """The file of one mode; whole: the float32 file."""
    if mode in QUANTIZED:
        return recipes.quantize(whole, mode, calibration=samples if mode.startswith("static") else None)
    if mode == INT32_BIAS:
        return with_int32_bias(model, samples)
    return convert(model, mode, samples if mode.startswith("int") else None)


def with_int32_bias(model: Any, samples: np.ndarray) -> Artifact:
    """int16x8 with biases of int32 instead of int64, which only reference kernels take.

    Depthwise convolutions take int64 alone: such a file is made, and cannot be run.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([samples[i : i + 1]] for i in range(len(samples)))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8]
    converter._experimental_full_integer_quantization_bias_type = tf.int32
    with quiet():
        return Artifact(converter.convert(), "tflite")


def rows_of(network: str, name: str, files: dict[str, Artifact | str], processor: str) -> list[dict]:
    """One row for each mode and kernels, not yet with figures but the bytes."""
    return [
        {
            "network": network,
            "data": name,
            "mode": mode,
            "kernels": kernels,
            "processor": processor,
            "threads": THREADS,
            "runs": file if isinstance(file, str) else "yes",
            "bytes": None if isinstance(file, str) else file.size,
            "gzip bytes": None if isinstance(file, str) else file.gzip_size,
        }
        for mode, file in files.items()
        for kernels in KERNELS
    ]


def opened(files: dict[str, Artifact | str], kernels: str) -> dict[str, TFLiteModel]:
    """The files that run, with these kernels."""
    good = {mode: file for mode, file in files.items() if isinstance(file, Artifact)}
    return {mode: TFLiteModel(file.content, kernels, THREADS, trusted=True) for mode, file in good.items()}


# ---------------------------------------------------------------- figures


def accuracies(models: dict[str, TFLiteModel], x: np.ndarray, y: np.ndarray, pictures: int) -> dict[str, dict]:
    """{mode: accuracy and what it lost to float32}, in percent and points, with intervals."""
    hits = {}
    for mode, model in models.items():
        count = min(pictures, SLOW.get(mode, pictures), len(y))
        hits[mode] = statistics.correct(model.run(x[:count]), y[:count])
    return {mode: accuracy_of(found, hits["float32"][: len(found)]) for mode, found in hits.items()}


def accuracy_of(hits: np.ndarray, whole: np.ndarray) -> dict[str, Any]:
    """hits, whole: which pictures are right, bool (n,), of one file and of float32."""
    share = statistics.wilson(int(hits.sum()), len(hits))
    lost = statistics.paired_bootstrap(whole, hits)
    return {"pictures": len(hits), **columns("accuracy %", share, 100, 2), **columns("lost points", lost, 100, 2)}


def latencies(models: dict[str, TFLiteModel], anchor: TFLiteModel, x: np.ndarray, rounds: int) -> dict[str, dict]:
    """{mode: times for one picture}, all in turns with `anchor`, which is float32 with default kernels."""
    sides = {mode: model.prepare(x) for mode, model in models.items()}
    times = timing.latency({**sides, "anchor": anchor.prepare(x)}, rounds=rounds, warmup=10, seed=0)
    return {
        mode: {
            "delegated": model.delegated(),
            "latency µs": round(1e6 * times[mode].median, 2),
            **columns("latency ratio", times.ratio(mode, "float32"), 1, 3),
            **columns("ratio to default", times.ratio(mode, "anchor"), 1, 3),
        }
        for mode, model in models.items()
    }


def columns(name: str, interval: statistics.Interval, scale: float, digits: int) -> dict[str, float]:
    """The value and both ends, in three columns."""
    found = {name: interval.value, f"{name} low": interval.low, f"{name} high": interval.high}
    return {column: round(scale * value, digits) for column, value in found.items()}


def measured(parts: Iterable[str], chosen: Iterable[tuple[str, str]] = NETWORKS) -> list[dict]:
    """The rows of the chosen networks."""
    rows = []
    for network, name in chosen:
        rows += measured_network(network, data.load(name), parts)
        print(f"{network} on {name}: {sum(row['runs'] == 'yes' for row in rows)} rows run", flush=True)
    return rows


def measured_network(
    network: str, dataset: data.Dataset, parts: Iterable[str], modes: Iterable[str] = MODES, rounds: dict | None = None
) -> list[dict]:
    """The rows of one network, with the columns of these parts: "accuracy", "latency"."""
    model = training.trained(network, dataset, seed=training.SHIPPED_SEED, fresh=False)
    files = files_of(model, dataset.subset(SAMPLES, training.SHIPPED_SEED).x_train, modes)
    found: dict[tuple[str, str], dict] = {}
    anchor = opened(files, "default")["float32"]
    for kernels in KERNELS:
        models = opened(files, kernels)
        for mode in models:
            found[mode, kernels] = {}
        if "accuracy" in parts:
            for mode, figures in accuracies(models, dataset.x_test, dataset.y_test, PICTURES[kernels]).items():
                found[mode, kernels] |= figures
        if "latency" in parts:
            for mode, figures in latencies(models, anchor, dataset.x_test[:1], (rounds or ROUNDS)[kernels]).items():
                found[mode, kernels] |= figures
    empty = dict.fromkeys(column for figures in found.values() for column in figures)  # where a file does not run
    rows = rows_of(network, dataset.name, files, recorded.processor())
    return [row | empty | found.get((row["mode"], row["kernels"]), {}) for row in rows]


# ---------------------------------------------------------------- the command


def in_order(rows: list[dict]) -> list[dict]:
    """By processor, as they came to the table; then as the lists above."""
    processors = list(dict.fromkeys(row["processor"] for row in rows))
    modes, kernels = list(MODES), list(KERNELS)
    return sorted(
        rows,
        key=lambda row: (
            processors.index(row["processor"]),
            NETWORKS.index((row["network"], row["data"])),
            modes.index(row["mode"]),
            kernels.index(row["kernels"]),
        ),
    )


def main(arguments: list[str] | None = None) -> int:
    names = {f"{network}-{name}": (network, name) for network, name in NETWORKS}
    parser = argparse.ArgumentParser(
        prog="course.py bench networks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("accuracy", "latency"), help="only these columns")
    parser.add_argument("--networks", nargs="+", metavar="NAME", help=f"only these of {', '.join(names)}")
    parser.add_argument("--anew", action="store_true", help="drop what other code measured")
    options = parser.parse_args(arguments)
    chosen = {
        pair for word in options.networks or names for name, pair in names.items() if word in (name, name.split("-")[0])
    }
    unknown = [word for word in options.networks or () if not any(word in (n, n.split("-")[0]) for n in names)]
    if unknown:
        parser.error(f"there is no network {unknown[0]!r}; pass some of {', '.join(names)}")
    recorded.check_writable("networks")
    recorded.beside("networks", [], KEY, anew=options.anew)  # refuses before the minutes are spent
    parts = [options.only] if options.only else ["accuracy", "latency"]
    rows = measured(parts, [pair for pair in NETWORKS if pair in chosen])
    recorded.save(
        "networks",
        in_order(recorded.beside("networks", rows, KEY, anew=options.anew)),
        command=COMMAND,
        depends=[measured],
        seeds=[training.SHIPPED_SEED],
        notes=NOTES,
    )
    return 0


if __name__ == "__main__":
    start(main)
