"""Measure post-training quantization: accuracy over seeds, growth, a peer's clock, the tutorials' network.

    python course.py bench quantization                 # all four parts, about 35 minutes on two cores
    python course.py bench quantization seeds growth    # only these; each makes data/results/quantization_PART.json
    python course.py bench quantization tutorial --confirm    # a few rows: is the record still right?

seeds     accuracy of every mode on five networks, each trained with three seeds; about 20 minutes
growth    seconds that a conversion takes when the network has 1, 10 and 100 times the parameters; 3 minutes
peer      our median latency against LiteRT's own benchmark tool, the two in turns; 4 minutes
tutorial  the network of the Toolkit's tutorials: bytes and accuracy against what these report; 5 minutes
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils  # noqa: F401  (settles how TensorFlow starts)
from benchmarks._command import SPREAD, add_confirm, around, confirm, start, without
from utils import data, models, recorded, training
from utils.artifact import Artifact, ArtifactError
from utils.deploy.tflite.tflite_model import TFLiteModel
from utils.measure import timing
from utils.optimize.quantization import converter, recipes
from utils.optimize.quantization.converter import convert
from utils.quiet import quiet

SEEDS = (1, 2, 3)  # trained alike; seed 0's weights ship and had a longer schedule
T_95 = 4.303  # Student's t, two degrees of freedom
NETWORKS = ("mlp", "lenet5", "depthwise_cnn", "residual_cnn", "transformer")
SAMPLES = 300  # calibration pictures
MODES = (*converter.MODES, "weight_only_int4")
PICTURES = {"int16x8": 2000}  # of the test set; all of it where kernels are fast


def text(values: list[float], digits: int = 2) -> str:
    """Mean ± half the 95 % interval of the mean; one value has no interval."""
    half = T_95 * np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
    return f"{np.mean(values):.{digits}f} ± {half:.{digits}f}"


def percent(artifact: Artifact, dataset: data.Dataset, pictures: int | None = None) -> float:
    """Test accuracy of the file itself, in percent."""
    right = artifact.predict(dataset.x_test[:pictures]).argmax(axis=-1) == dataset.y_test[:pictures]
    return round(100 * float(np.mean(right)), 4)  # as printed, without the float's last digits


def made_in(mode: str, model: Any, samples: np.ndarray) -> Artifact:
    """The file of one mode, or of a recipe of LiteRT's quantizer."""
    if mode in recipes.RECIPES:
        return recipes.quantize(convert(model, "float32"), mode)
    return convert(model, mode, samples if mode.startswith("int") else None)


# ---------------------------------------------------------------- seeds


def measure_seeds(networks: Sequence[str] = NETWORKS, seeds: Sequence[int] = SEEDS) -> list[dict]:
    """Accuracy of every mode over networks that were trained alike: one row for each network and mode.

    A file whose run ends the process has "aborts" in place of figures.  The networks that ship are in `networks`.
    """
    dataset = data.load("fashion_mnist")
    rows = []
    for network in networks:
        files: dict[str, list[Artifact]] = {mode: [] for mode in MODES}
        for seed in seeds:
            model = training.trained(network, dataset, seed=seed, fresh=False)
            for mode in MODES:
                files[mode].append(made_in(mode, model, dataset.subset(SAMPLES, seed).x_train))
        wholes = {count: scores_of(files["float32"], dataset, count) for count in {None, *PICTURES.values()}}
        for mode, made in files.items():
            scores = scores_of(made, dataset, PICTURES.get(mode))
            rows.append({"network": network, "mode": mode, **over_seeds(scores, wholes[PICTURES.get(mode)])})
            print(rows[-1], flush=True)
    return rows


def scores_of(made: list[Artifact], dataset: data.Dataset, pictures: int | None) -> list[float] | None:
    """Accuracies over the seeds; None if the file cannot be run."""
    try:
        return [percent(artifact, dataset, pictures) for artifact in made]
    except ArtifactError as error:
        print(f"  {error}", flush=True)
        return None


def over_seeds(scores: list[float] | None, whole: list[float]) -> dict[str, Any]:
    """Accuracy in percent and points lost to float32 (`whole`): mean ± half the interval, and each seed's."""
    if scores is None:
        return {"accuracy": "aborts", "lost": "aborts", "seeds": None}
    lost = [a - b for a, b in zip(whole, scores, strict=True)]
    return {"accuracy": text(scores), "lost": text(lost), "seeds": {"accuracy": scores, "lost": lost}}


def confirm_seeds() -> None:
    """Two networks of the first seed: all modes of dense layers, and of attention."""
    rows = without(measure_seeds(("mlp", "transformer"), SEEDS[:1]), "accuracy", "lost")
    bounds = {"seeds": lambda row: around([0.0, *row["seeds"]["accuracy"], *row["seeds"]["lost"]])}
    confirm("quantization_seeds", rows, key=["network", "mode"], depends=ENTRIES["seeds"], trained=bounds)


# ---------------------------------------------------------------- growth

#: Units of the two hidden layers: about 10,000, 100,000 and 1,000,000 parameters, then three times that in layers.
WIDTHS = {1: 12, 10: 109, 100: 680}


def measure_growth(rounds: int = 15, sizes: Sequence[int] = tuple(WIDTHS)) -> list[dict]:
    """Median seconds of a conversion, sizes and modes in turns, and the growth against the smallest network."""
    samples = np.random.default_rng(0).random((100, 28, 28, 1), np.float32)
    networks = {times: models.mlp(seed=0, hidden=(WIDTHS[times], WIDTHS[times])) for times in sizes}
    seconds: dict[tuple, list[float]] = {(mode, times): [] for mode in ("dynamic", "int8") for times in sizes}
    for number in range(rounds + 1):
        for (mode, times), found in seconds.items():
            start = time.perf_counter()
            made_in(mode, networks[times], samples)
            if number:  # the first round imports and compiles
                found.append(time.perf_counter() - start)
    rows = []
    for (mode, times), found in seconds.items():
        growth = np.divide(found, seconds[mode, 1])  # round by round
        rows.append(
            {
                "mode": mode,
                "times": times,
                "parameters": networks[times].count_params(),
                "seconds": round(float(np.median(found)), 2),
                "growth": round(float(np.median(growth)), 2),
                "low": round(float(growth.min()), 2),
                "high": round(float(growth.max()), 2),
            }
        )
        print(rows[-1], flush=True)
    return rows


def confirm_growth() -> None:
    """The two small sizes.  A recorded interval is the least and the most of 15 rounds: a median lies inside."""
    rows = without(measure_growth(5, (1, 10)), "low", "high")
    confirm("quantization_growth", rows, key=["mode", "times"], depends=ENTRIES["growth"],
            within={"growth": lambda row: (row["low"], row["high"])},
            times={"seconds": _spread("seconds")})  # fmt: skip


def _spread(column: str) -> Callable:
    """A time of the same machine."""
    return lambda row: recorded.widened(row[column], row[column], SPREAD)


# ---------------------------------------------------------------- peer


def peer_models() -> dict[str, Callable[[], Artifact]]:
    """What makes files that take at least 0.2 ms: the tool rounds to 0.01 ms."""
    import tf_keras

    x = np.random.default_rng(0).random((50, 96, 96, 3), np.float32)
    wide = models.mlp(seed=0, hidden=(2048, 2048))
    mobile = tf_keras.applications.MobileNetV2((96, 96, 3), 0.5, weights=None, classes=10)
    residual = models.residual_cnn((96, 96, 3), seed=0)
    transformer = models.transformer(seed=0, width=128, blocks=4)
    return {
        "mlp 2048": lambda: convert(wide, "float32"),
        "mlp 2048 dynamic": lambda: convert(wide, "dynamic"),
        "residual_cnn 96": lambda: convert(residual, "float32"),
        "residual_cnn 96 int8": lambda: convert(residual, "int8", x),
        "MobileNetV2 96": lambda: convert(mobile, "float32"),
        "MobileNetV2 96 int8": lambda: convert(mobile, "int8_float_io", x),
        "transformer 128": lambda: convert(transformer, "float32"),
    }


def measure_peer(rounds: int = 9, names: Sequence[str] | None = None) -> list[dict]:
    """The tool and `utils.measure.timing` in turns, each 200 runs after 20; the ratio is taken round by round."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        makers = peer_models()
        for name in names or makers:
            path = makers[name]().save(Path(folder) / f"{name.replace(' ', '_')}.tflite")
            tool, ours = [], []
            for _ in range(rounds):
                tool.append(tool_median(path))
                ours.append(our_median(path))
            ratios = np.divide(ours, tool)
            rows.append(
                {
                    "model": name,
                    "tool ms": round(float(np.median(tool)), 2),
                    "ours ms": round(float(np.median(ours)), 3),
                    "ratio": round(float(np.median(ratios)), 3),
                    "low": round(float(ratios.min()), 3),
                    "high": round(float(ratios.max()), 3),
                    "inside": bool(0.8 <= np.median(ratios) <= 1.25),
                }
            )
            print(rows[-1], flush=True)
    return rows


def confirm_peer() -> None:
    """One file.  A recorded interval is the least and the most of nine rounds: a median lies inside."""
    rows = without(measure_peer(5, ["residual_cnn 96"]), "low", "high")
    confirm("quantization_peer", rows, key=["model"], depends=ENTRIES["peer"],
            within={"ratio": lambda row: (row["low"], row["high"])},
            times={column: _spread(column) for column in ("tool ms", "ours ms")})  # fmt: skip


def tool_median(path: Path) -> float:
    """Milliseconds, by LiteRT's tool: CPU, one thread."""
    result = path.with_suffix(".json")
    command = [
        sys.executable,
        "-m",
        "ai_edge_litert.tools.benchmark_litert_model",
        f"--model={path}",
        "--num_runs=200",
        "--warmup_runs=20",
        "--num_threads=1",
        f"--result_json={result}",
    ]
    subprocess.run(command, capture_output=True, check=True)
    return json.loads(result.read_text())["latency"]["median_ms"]


def our_median(path: Path) -> float:
    """Milliseconds, by `utils.measure.timing` in a process of its own, as the tool has one."""
    done = subprocess.run([sys.executable, __file__, "--time", str(path)], capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def print_median(path: str) -> None:
    """What `our_median` starts."""
    model = TFLiteModel(path, threads=1, trusted=True)
    assert model.delegated(), "XNNPACK is expected, as in the tool"
    rng, port = np.random.default_rng(0), model.inputs[0]
    shape = [1, *port.shape[1:]]
    x = rng.uniform(-1, 1, shape) if not port.quantized else rng.uniform(*port.quantization.range, shape)
    times = timing.latency({"ours": model.prepare(x.astype(np.float32))}, rounds=200, warmup=20, seed=0)
    print(1e3 * times["ours"].median)


# ---------------------------------------------------------------- tutorial

#: What the Toolkit's tutorials reach with this network and 8 bits: accuracy in percent (their text) and bytes
#: (their own way of converting, run here on their network).
PUBLISHED = {"accuracy": 97.9, "bytes": 25_144}
EPOCHS = 4


def tutorial_network(input_shape=(28, 28, 1), num_classes: int = 10, seed: int = 0):
    """The tutorials' MNIST network: 20,410 parameters; it takes pictures without the axis of channels."""
    import tf_keras

    L, glorot = tf_keras.layers, tf_keras.initializers.GlorotUniform
    return tf_keras.Sequential(
        [
            L.InputLayer((28, 28)),
            L.Reshape((28, 28, 1)),
            L.Conv2D(12, 3, activation="relu", kernel_initializer=glorot(seed)),
            L.MaxPooling2D(2),
            L.Flatten(),
            L.Dense(10, kernel_initializer=glorot(seed + 100)),
        ]
    )


def measure_tutorial(seeds: Sequence[int] = SEEDS) -> list[dict]:
    """One row for each way, all with four epochs in all; the tutorials' own settings beside ours."""
    dataset = data.load("mnist")
    flat = {part: getattr(dataset, part)[..., 0] for part in ("x_train", "x_test")}
    found: dict[str, list[tuple[float, Artifact]]] = {}
    for seed in seeds:
        for way, artifact in ways(dataset, flat["x_train"], seed).items():
            right = artifact.predict(flat["x_test"]).argmax(axis=-1) == dataset.y_test
            found.setdefault(way, []).append((round(100 * float(np.mean(right)), 4), artifact))
            print(seed, way, found[way][-1], flush=True)
    rows = []
    for way, pairs in found.items():
        accuracies, first = [accuracy for accuracy, _ in pairs], pairs[0][1]
        rows.append(
            {
                "way": way,
                "bytes": first.size,
                "gzip": first.gzip_size,
                "accuracy": text(accuracies),
                "seeds": accuracies,
                "published accuracy": PUBLISHED["accuracy"],
                "published bytes": PUBLISHED["bytes"],
                "smaller": first.size < PUBLISHED["bytes"],
                "as accurate": bool(np.mean(accuracies) >= PUBLISHED["accuracy"]),
            }
        )
        print(rows[-1], flush=True)
    return rows


def ways(dataset: data.Dataset, x: np.ndarray, seed: int) -> dict[str, Artifact]:
    """The files of one seed: the tutorials' settings, then ours after training, in training, and with 4 bits."""
    import tensorflow_model_optimization as tfmot

    pairs, samples = (x, dataset.y_train), x[:SAMPLES]
    theirs, ours, aware = (tutorial_network(seed=seed) for _ in range(3))
    training.fit(theirs, pairs, EPOCHS, batch_size=32, seed=seed)
    training.fit(ours, pairs, EPOCHS, batch_size=32, learning_rate=2e-3, decay=True, seed=seed)
    training.fit(aware, pairs, EPOCHS - 1, batch_size=32, learning_rate=2e-3, seed=seed)
    with quiet():
        aware = tfmot.quantization.keras.quantize_model(aware)
    training.fit(aware, pairs, 1, batch_size=32, learning_rate=2e-3, decay=True, seed=seed)
    return {
        "tutorials' settings, float32": convert(theirs, "float32"),
        "tutorials' settings, dynamic": convert(theirs, "dynamic"),
        "ours, float32": convert(ours, "float32"),
        "ours, dynamic": convert(ours, "dynamic"),
        "ours, int8": convert(ours, "int8", samples),
        "ours, int8 per tensor": convert(ours, "int8", samples, per_channel=False),
        "ours, quantization-aware, int8": convert(aware, "int8", samples),
        "ours, dynamic_int4": recipes.quantize(convert(ours, "float32"), "dynamic_int4", ranges="mse"),
    }


def confirm_tutorial() -> None:
    """All ways with the first seed; what the mean decides is left out."""
    rows = without(measure_tutorial(SEEDS[:1]), "accuracy", "as accurate")
    gzip = {"gzip": lambda row: recorded.widened(row["gzip"], row["gzip"], 1.01)}
    confirm("quantization_tutorial", rows, key=["way"], depends=ENTRIES["tutorial"],
            trained={"seeds": lambda row: around(row["seeds"]), **gzip})  # fmt: skip


# ---------------------------------------------------------------- the door

PARTS: dict[str, tuple[Callable[[], list[dict]], str]] = {
    "seeds": (
        measure_seeds,
        "accuracy in percent and points lost to float32: mean ± half the 95 % interval over seeds 1 to 3; "
        "int16x8 is scored on 2,000 pictures",
    ),
    "growth": (
        measure_growth,
        "growth: seconds as a multiple of the smallest network's in the same round, "
        "median, least and most; seconds are of the machine it names",
    ),
    "peer": (measure_peer, "ratio: our median over the tool's, round by round; the tool rounds to 0.01 ms"),
    "tutorial": (
        measure_tutorial,
        "accuracy in percent, mean ± half the 95 % interval over seeds; bytes of .tflite files on both sides",
    ),
}


#: The functions that make a part's record.
ENTRIES: dict[str, list[Callable]] = {
    "seeds": [measure_seeds],
    "growth": [measure_growth],
    "peer": [measure_peer, print_median],
    "tutorial": [measure_tutorial],
}
SEEDS_OF = {"growth": (0,), "peer": (0,)}
CONFIRM = {"seeds": confirm_seeds, "growth": confirm_growth, "peer": confirm_peer, "tutorial": confirm_tutorial}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)}; all by default", default=[])
    add_confirm(parser, "a few rows of each part")
    parser.add_argument("--time", metavar="FILE", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.time:
        return print_median(chosen.time)
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    for part in chosen.parts or PARTS:
        recorded.check_writable(f"quantization_{part}")
        if chosen.confirm:
            CONFIRM[part]()
            continue
        measure, notes = PARTS[part]
        recorded.save(
            f"quantization_{part}",
            measure(),
            command=f"python course.py bench quantization {part}",
            depends=ENTRIES[part],
            seeds=SEEDS_OF.get(part, SEEDS),
            notes=notes,
        )
    return None


if __name__ == "__main__":
    start(main)
