"""What the ratio of two files depends on: what runs between the calls, and how many pictures a call has.

    python course.py bench calls             # both parts
    python course.py bench calls pauses      # one of them

LeNet-5 on Fashion-MNIST, int8 and float32, one thread, default kernels.
pauses: each file alone in a loop, with nothing, a reading of 64 MiB or a loop over 4 kB between the calls; both files
        are opened anew for each of the openings.
batches: 1, 8 and 64 pictures a call, all sides in turns; the whole network, and all of it behind its first layer.
Less than a minute on a quiet core.  Records calls_pauses and calls_batches.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._command import measure_parts, start
from utils import data, recorded, training
from utils.deploy.tflite.tflite_model import TFLiteModel
from utils.measure import timing
from utils.optimize.quantization.converter import convert

OPENINGS, CALLS, WARMUP = 7, 80, 10
BATCHES, ROUNDS = (1, 8, 64), 100
MODES = ("float32", "int8")
NOTES = (
    "ratio: int8's median time over float32's; pauses: median, lowest and highest of 7 openings; batches: 95 % interval"
)


def lenet5_files() -> tuple[data.Dataset, object, dict[str, object]]:
    """Fashion-MNIST, the shipped LeNet-5 and its files; int8 is calibrated with 200 training pictures."""
    dataset, model = data.load("fashion_mnist"), training.trained("lenet5")
    return dataset, model, converted(model, dataset.x_train[:200])


def converted(model, samples: np.ndarray) -> dict[str, object]:
    """The model in both modes; samples: calibration data, (n, …) float32."""
    return {mode: convert(model, mode, calibration=samples if mode == "int8" else None) for mode in MODES}


def median_ms(call: Callable, between: Callable | None) -> float:
    """Milliseconds a call in a loop of its own; `between` runs before each call and is not timed."""
    seconds = []
    for _ in range(CALLS):
        if between:
            between()
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return 1e3 * float(np.median(seconds[WARMUP:]))


def works() -> dict[str, Callable | None]:
    """What runs between two calls."""
    much, little = np.ones(2**24, np.float32), np.ones(1000, np.float32)
    return {
        "nothing": None,
        "64 MiB are read": much.sum,
        "a loop over 4 kB": lambda: [little.sum() for _ in range(1500)],
    }


def pauses(openings: int = OPENINGS) -> list[dict[str, object]]:
    """One row a plan."""
    dataset, _, files = lenet5_files()
    found = {plan: [] for plan in works()}
    for _ in range(openings):
        calls = {mode: TFLiteModel(files[mode].content, trusted=True).prepare(dataset.x_test[:1]) for mode in MODES}
        for plan, between in works().items():
            found[plan].append([median_ms(calls[mode], between) for mode in MODES])
    return [_pause_row(plan, np.array(times)) for plan, times in found.items()]


def _pause_row(plan: str, times: np.ndarray) -> dict[str, object]:
    """times: (openings, 2), milliseconds of float32 and int8."""
    ratios = times[:, 1] / times[:, 0]
    row = {"between the calls": plan} | {f"{mode} ms": float(np.median(times[:, i])) for i, mode in enumerate(MODES)}
    row |= {"ratio": float(np.median(ratios)), "ratio low": float(ratios.min()), "ratio high": float(ratios.max())}
    return row | {"processor": recorded.processor()}


def batches(rounds: int = ROUNDS) -> list[dict[str, object]]:
    """Two rows a number of pictures."""
    import tf_keras

    dataset, model, whole = lenet5_files()
    first = tf_keras.Model(model.input, model.layers[1].output)
    behind = tf_keras.Sequential([tf_keras.Input(first.output_shape[1:]), *model.layers[2:]])
    rest = converted(behind, first.predict(dataset.x_train[:200], verbose=0))
    rows = []
    for count in BATCHES:
        pictures = dataset.x_test[:count]
        sides = {f"LeNet-5, {mode}": (whole[mode], pictures) for mode in MODES}
        inner = first.predict(pictures, verbose=0)
        sides |= {f"without its first convolution, {mode}": (rest[mode], inner) for mode in MODES}
        times = timing.latency(sides, rounds=rounds)
        for network in ("LeNet-5", "without its first convolution"):
            ratio = times.ratio(f"{network}, int8", f"{network}, float32")
            row = {"pictures a call": count, "network": network, "ratio": ratio.value}
            rows.append(row | {"ratio low": ratio.low, "ratio high": ratio.high, "processor": recorded.processor()})
    return rows


def main() -> None:
    parts = {"pauses": pauses, "batches": batches}
    tiny = {"pauses": {"openings": 1}, "batches": {"rounds": 5}}
    seeds = {part: [0] for part in parts}
    command = "python course.py bench calls"
    measure_parts(__doc__, "calls", parts, command=command, seeds=seeds, notes=NOTES, tiny=tiny)


if __name__ == "__main__":
    start(main)
