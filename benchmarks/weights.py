"""Train the networks that the chapters share, and store their weights in data/weights.

    python course.py bench weights [NAME-DATASET …]
    python course.py bench weights --confirm [NAME-DATASET …]    # are they still what ships? Without names: CONFIRM

Each network is trained twice from seed 0: with the schedule below, whose weights ship, and with the shorter one
that `training.trained` uses when it has to train.  Schedules were chosen by validation accuracy; the test set is
looked at once, at the end.  About 25 minutes on one thread; named networks alone take their share.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import math
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._command import add_confirm, around, confirm, start, without
from utils import data, files, models, recorded, training

COMMAND = "python course.py bench weights"

#: (architecture, data set) -> (epochs, largest shift in pixels) of the weights that ship.
SCHEDULES = {
    ("lenet_300_100", "mnist"): (30, 1),
    ("lenet5", "mnist"): (5, 1),
    ("mlp", "fashion_mnist"): (20, 0),
    ("lenet5", "fashion_mnist"): (5, 0),
    ("depthwise_cnn", "fashion_mnist"): (10, 0),
    ("residual_cnn", "fashion_mnist"): (6, 0),
    ("transformer", "fashion_mnist"): (10, 0),
}

LEARNING_RATE = 2e-3

#: Trained anew by --confirm: dense layers on real pictures, and the only kind with attention and normalization.
CONFIRM = ("mlp-fashion_mnist", "transformer-fashion_mnist")


def wilson(correct: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share (Wilson, "Probable inference", JASA 22, 1927), as two numbers in [0, 1]."""
    share = correct / total
    centre = share + z * z / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return (centre - half) / (1 + z * z / total), (centre + half) / (1 + z * z / total)


def train(architecture: str, dataset: data.Dataset, epochs: int, shift: int):
    """Train from seed 0; return the model and one row of the record without its test accuracy."""
    model = models.ARCHITECTURES[architecture](dataset.input_shape, dataset.num_classes, training.SHIPPED_SEED)
    augment = functools.partial(training.shifted, pixels=shift) if shift else None
    start = time.process_time()  # seconds of one core: what other programs do meanwhile does not count
    history = training.fit(model, dataset, epochs, learning_rate=LEARNING_RATE, decay=True,
                           seed=training.SHIPPED_SEED, augment=augment)  # fmt: skip
    seconds = time.process_time() - start
    return model, {
        "architecture": architecture, "dataset": dataset.name, "parameters": model.count_params(), "epochs": epochs,
        "shift": shift, "seed": training.SHIPPED_SEED, "core_seconds": round(seconds, 1),
        "val_accuracy": round(history["val_accuracy"][-1], 4),
    }  # fmt: skip


def tested(model, dataset: data.Dataset) -> dict[str, float]:
    """Accuracy on the whole test set, in [0, 1], with its 95 % interval."""
    outputs = model.predict(dataset.x_test, batch_size=1000, verbose=0)
    correct = int(np.sum(outputs.argmax(axis=1) == dataset.y_test))
    low, high = wilson(correct, len(dataset.y_test))
    return {"test_accuracy": correct / len(dataset.y_test), "low": round(low, 4), "high": round(high, 4)}


def measure(architecture: str, name: str, folder: Path = training.WEIGHTS) -> list[dict]:
    """Train one network by both schedules, store the weights of the longer one; two rows of the record."""
    dataset = data.load(name)
    epochs, shift = SCHEDULES[architecture, name]
    model, long = train(architecture, dataset, epochs, shift)
    path = folder / training.shipped_path(architecture, name).name
    training.save_weights(model, path)
    rows = [{**long, "schedule": "shipped", **tested(model, dataset), "bytes": path.stat().st_size}]
    model, short = train(architecture, dataset, training.EPOCHS[architecture], 0)
    return [*rows, {**short, "schedule": "fresh", **tested(model, dataset)}]


def write_checksums() -> None:
    """data/weights/SHA256SUMS, in the format of `sha256sum -c`."""
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
             for path in sorted(training.WEIGHTS.glob("*.npz"))]  # fmt: skip
    files.write_bytes(training.WEIGHTS / "SHA256SUMS", "".join(lines).encode())


def kept() -> tuple[list[dict], list[dict]]:
    """Rows and confirmations of this code: rows of another code would be passed off as its own."""
    try:
        old = recorded.load("weights")
        return ([], []) if recorded.changes("weights") else (old.rows, old.confirmed)
    except FileNotFoundError:
        return [], []


def confirm_some(pairs: list[tuple[str, str]]) -> None:
    """Train these anew beside the weights that ship, whose bytes they must have on the processor that made them.

    Elsewhere the file may be 1 % longer or shorter, since it is compressed.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for pair in pairs:
            rows += without(measure(*pair, Path(folder)), "core_seconds")
            shipped = training.shipped_path(*pair)
            at_home = recorded.processor() in recorded.load("weights").processors
            if at_home and (Path(folder) / shipped.name).read_bytes() != shipped.read_bytes():
                raise recorded.RecordRefused(
                    f"{shipped.name} has other bytes when it is trained now; all must be trained again"
                )
    accuracy = ["val_accuracy", "test_accuracy", "low", "high"]
    confirm("weights", rows, key=["architecture", "dataset", "schedule"], depends=[measure], trained={
        **dict.fromkeys(accuracy, lambda row: around([row["low"], row["high"]])),
        "bytes": lambda row: recorded.widened(row["bytes"], row["bytes"], 1.01),
    })  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Train what was named, or all; store weights, checksums and the record."""
    known = {f"{architecture}-{name}": (architecture, name) for architecture, name in SCHEDULES}
    parser = argparse.ArgumentParser(
        prog="course.py bench weights", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME-DATASET", help=f"one or more of {', '.join(known)}")
    add_confirm(parser, f"the named ones, or {' and '.join(CONFIRM)}")
    options = parser.parse_args(argv)
    names = options.names or list(CONFIRM if options.confirm else known)
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"there is no {unknown[0]!r}; pass one or more of {', '.join(known)}")
    recorded.check_writable("weights")
    if options.confirm:
        confirm_some([known[name] for name in names])
        return 0
    (rows, confirmed), order = kept(), {pair: place for place, pair in enumerate(SCHEDULES)}
    if len(names) < len(known) and not rows:
        parser.error("the recorded networks were trained with other code: train all of them")
    for name in names:  # stored after each, so that an interrupted run keeps what is done
        rows = [row for row in rows if (row["architecture"], row["dataset"]) != known[name]] + measure(*known[name])
        rows.sort(key=lambda row: (order[row["architecture"], row["dataset"]], row["schedule"] != "shipped"))
        write_checksums()
        recorded.save("weights", rows, command=COMMAND, depends=[measure], seeds=[training.SHIPPED_SEED],
                      confirmed=confirmed if len(names) < len(known) else (),
                      notes="core_seconds: processor time of one thread; low, high: 95 % Wilson interval")  # fmt: skip
        for row in rows:
            if (row["architecture"], row["dataset"]) == known[name]:
                print(f"{name:30} {row['schedule']:8} {row['epochs']:3} epochs {row['core_seconds']:6.1f} s  "
                      f"val {row['val_accuracy']:.4f}  test {row['test_accuracy']:.4f} "
                      f"[{row['low']:.4f}, {row['high']:.4f}]", flush=True)  # fmt: skip
    return 0


if __name__ == "__main__":
    start(main)
