"""Sparsity: which patterns cost accuracy, which files run faster, and on which processor XNNPACK skips zeros.

    python course.py bench sparsity                  # about fifteen minutes, quiet cores
    python course.py bench sparsity --only kernels   # or between, patterns, xnnpack
    python course.py bench sparsity --anew           # drops rows of other processors that other code measured

`sparsity_kernels`: one dense layer, 1,024 to 1,024, with zeros in several patterns; time beside the same layer without.
`sparsity_between`: why one pair has several ratios: what else runs between two calls.
`sparsity_patterns`: a network trained with each pattern, and one trained as long without.
`sparsity_xnnpack`: a network that meets every condition of XNNPACK's sparse kernels, and others that break one each;
here, and on processors that qemu-user emulates, where it is installed.  Emulated time is no time: what counts there is
whether the outputs differ in a bit, which shows that other kernels ran.  Chapter 07 quotes all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import site
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils  # noqa: F401  (settles how TensorFlow starts)
from benchmarks import _sparsity_run
from benchmarks._command import start
from utils import data, recorded, training
from utils.optimize.sparsity import samples, stored

COMMAND = "python course.py bench sparsity"
UNITS = 1024
SHARES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
BATCHES = (1, 8, 64)
ROUNDS = 40
REPEATS = 3  # calls of a side in a round; the last is timed, so that it runs directly after itself
LOADS = 5  # of each pair, each in a process of its own
T_95 = 2.776  # Student's t, four degrees of freedom
OTHERS = 24
SEEDS = (0, 1, 2)
EMULATED = ("Haswell", "Nehalem")  # with AVX2, and the last Intel generation without AVX

NOTES = {
    "sparsity_kernels": (
        "one dense layer, 1,024 inputs and outputs, one thread; pattern: single weights, or blocks (inputs, outputs) "
        "of the Keras kernel; each pair of files in five processes of its own, each file called directly after itself; "
        "µs: median; ratio: to the same layer in float32 without zeros, mean of the five, with a 95 % interval over "
        "them; skips: no DENSIFY in the file"
    ),
    "sparsity_between": (
        "the pair of float32 (4, 1) with 95 % zeros, in five processes each; before each call: what ran directly "
        "before it; µs: median; ratio: mean of the five, with a 95 % interval over them"
    ),
    "sparsity_patterns": (
        "mlp on Fashion-MNIST: the shipped network, trained on for one epoch with the Toolkit; control: the same epoch "
        "without pruning; every mask is made once, in step 1; gradual: the share rises in steps 20 to 500 of 782; lost "
        "points: control's accuracy minus this one's on 10,000 test pictures, mean over three orders of the pictures; "
        "low, high: smallest and largest of the three"
    ),
    "sparsity_xnnpack": (
        "each network converted with EXPERIMENTAL_SPARSITY and without, the same zeros in both; differ: the outputs of "
        "the two files differ in a bit, which shows that other kernels ran"
    ),
}


# ---------------------------------------------------------------- records


def measured_kernels(
    shares: tuple[float, ...] = SHARES,
    batches: tuple[int, ...] = BATCHES,
    units: int = UNITS,
    rounds: int = ROUNDS,
    loads: int = LOADS,
) -> list[dict[str, Any]]:
    """Time of one dense layer beside the same in float32 without zeros, each pair in processes of its own."""
    with tempfile.TemporaryDirectory() as folder:
        cases = kernel_files(Path(folder), shares, batches, units)
        return [kernel_row(case, [_run(case["folder"], [], rounds, REPEATS) for _ in range(loads)]) for case in cases]


def measured_between(
    share: float = 0.95, units: int = UNITS, rounds: int = ROUNDS, loads: int = LOADS
) -> list[dict[str, Any]]:
    """One pair of `measured_kernels` again: what else runs between two calls is the only thing that is changed."""
    with tempfile.TemporaryDirectory() as folder:
        cases = between_files(Path(folder), share, units)
        return [
            between_row(case, [_run(case["folder"], [], rounds, case["repeats"]) for _ in range(loads)])
            for case in cases
        ]


def kernel_files(
    folder: Path, shares: tuple[float, ...] = SHARES, batches: tuple[int, ...] = BATCHES, units: int = UNITS
) -> list[dict[str, Any]]:
    """Writes a folder with the two files of each pair; of batches above one for (4, 1) only.  What is known of each."""
    calibration = np.random.default_rng(0).random((20, units), np.float32)
    kinds = {
        "float32 single": (None, None),
        "float32 single, no DENSIFY": (None, None),
        "float32 (1, 4)": ((1, 4), None),
        "float32 (4, 1)": ((4, 1), None),
        "int8 (16, 1)": ((16, 1), calibration),
    }
    cases = []
    for batch in batches:
        plain = samples.convert(samples.layer(batch, units=units), sparse=False)
        wanted = [(kind, share) for kind in kinds for share in shares]
        if batch == 1:  # int8 is calibrated with one example at a time
            dense = samples.convert(samples.layer(1, units=units), sparse=False, calibration=calibration)
            cases.append(_case(folder, "int8", 0.0, 1, plain, dense))
        else:
            wanted = [("float32 (4, 1)", share) for share in shares]
        for kind, share in wanted:
            size, examples = kinds[kind]
            content = samples.convert(samples.layer(batch, share, size, units), sparse=True, calibration=examples)
            content = stored.without_densify(content) if "no DENSIFY" in kind else content
            cases.append(_case(folder, kind, share, batch, plain, content))
    return cases


def _case(folder: Path, kind: str, share: float, batch: int, plain: bytes, sparse: bytes) -> dict[str, Any]:
    own = folder / f"{kind} {share} {batch}"
    own.mkdir(parents=True)
    for side, content in zip(_sparsity_run.SIDES, (plain, sparse), strict=True):
        (own / f"pair.{side}.tflite").write_bytes(content)
    found = stored.weights(sparse)
    return {
        "pattern": kind,
        "zeros %": round(100 * share),
        "batch": batch,
        "bytes": len(sparse),
        "skips": bool(found) and not any(weight.unpacked for weight in found),
        "folder": str(own),
    }


def kernel_row(case: Mapping[str, Any], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of one pair, from the loads of its two files."""
    row = {column: value for column, value in case.items() if column not in ("folder", "repeats")}
    return row | {"processor": recorded.processor()} | _times(runs)


def between_files(folder: Path, share: float = 0.95, units: int = UNITS, others: int = OTHERS) -> list[dict[str, Any]]:
    """Writes three folders with one pair of files, the last one with others that run in turns with them."""
    plain = samples.convert(samples.layer(1, units=units), sparse=False)
    sparse = samples.convert(samples.layer(1, share, (4, 1), units), sparse=True)
    cases = []
    for between, repeats in (("itself", REPEATS), ("the other file", 1), (f"{others} more files", 1)):
        case = _case(folder / between, "float32 (4, 1)", share, 1, plain, sparse)
        if between.endswith("more files"):
            for number in range(others):
                Path(case["folder"], f"pair.other{number}.tflite").write_bytes(plain)
        cases.append({"before each call": between, "repeats": repeats, "folder": case["folder"]})
    return cases


def between_row(case: Mapping[str, Any], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of one way of calling the same pair."""
    row = {"before each call": case["before each call"], "processor": recorded.processor()}
    return row | _times(runs)


def _times(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Median microseconds of both sides, and their ratio with a 95 % interval over the loads."""
    medians = {
        side: np.array([np.median(run["pair"]["seconds"][side]) for run in runs]) for side in _sparsity_run.SIDES
    }
    ratios = medians["sparse"] / medians["plain"]
    half = T_95 * ratios.std(ddof=1) / np.sqrt(len(ratios))
    return {
        "dense µs": round(1e6 * float(np.median(medians["plain"])), 1),
        "µs": round(1e6 * float(np.median(medians["sparse"])), 1),
        "ratio": round(float(ratios.mean()), 3),
        "ratio low": round(float(ratios.mean() - half), 3),
        "ratio high": round(float(ratios.mean() + half), 3),
    }


def measured_patterns(seeds: tuple[int, ...] = SEEDS, limit: int | None = None) -> list[dict[str, Any]]:
    """What each pattern costs after one epoch of training with it, beside one epoch without."""
    import tensorflow_model_optimization as tfmot

    sparsity = tfmot.sparsity.keras
    kinds: dict[str, dict[str, Any]] = {"control": {}}
    for share in (0.5, 0.8, 0.9):
        schedule = sparsity.ConstantSparsity(share, begin_step=1, end_step=1, frequency=1)  # one mask, as 2:4 has
        kinds[f"single, {share:.0%}"] = {"pruning_schedule": schedule}
        for size in ((4, 1), (16, 1)):
            kinds[f"{size}, {share:.0%}"] = {"pruning_schedule": schedule, "block_size": size}
    kinds["2:4, 50%"] = {"sparsity_m_by_n": (2, 4)}
    gradual = sparsity.PolynomialDecay(0, 0.8, begin_step=0, end_step=500, frequency=20)
    for size in ((1, 1), (4, 1), (16, 1)):
        name = "single" if size == (1, 1) else str(size)
        kinds[f"{name}, 80%, gradual"] = {"pruning_schedule": gradual, "block_size": size}
    dataset = data.load("fashion_mnist")
    x, y = dataset.x_train[:limit], dataset.y_train[:limit]
    right: dict[str, list[float]] = {kind: [] for kind in kinds}
    for seed in seeds:
        for kind, settings in kinds.items():
            model = training.trained("mlp", dataset, seed=training.SHIPPED_SEED, fresh=False)
            if settings:
                model = sparsity.prune_low_magnitude(model, **settings)
            callbacks = [sparsity.UpdatePruningStep()] if settings else []
            training.fit(model, (x, y), 1, batch_size=64, seed=seed, callbacks=callbacks)
            plain = sparsity.strip_pruning(model) if settings else model
            right[kind].append(training.share_correct(plain, dataset.x_test, dataset.y_test))
    lost = {kind: 100 * (np.array(right["control"]) - np.array(right[kind])) for kind in kinds if kind != "control"}
    return [
        {
            "pattern": kind,
            "accuracy %": round(100 * float(np.mean(right[kind])), 2),
            "lost points": round(float(values.mean()), 2),
            "lost points low": round(float(values.min()), 2),
            "lost points high": round(float(values.max()), 2),
        }
        for kind, values in lost.items()
    ]


def measured_xnnpack(emulated: tuple[str, ...] = EMULATED) -> list[dict[str, Any]]:
    """Of each variant of the network: do the outputs of both files differ, on this processor and on emulated ones?"""
    with tempfile.TemporaryDirectory() as folder:
        for name, changes in samples.VARIANTS.items():
            model = samples.network(**changes)
            for side in _sparsity_run.SIDES:
                Path(folder, f"{name}.{side}.tflite").write_bytes(samples.convert(model, sparse=side == "sparse"))
        places = {recorded.processor(): []}
        if shutil.which("qemu-x86_64"):
            places |= {f"emulated {cpu}": ["qemu-x86_64", "-cpu", cpu] for cpu in emulated}
        else:
            print("qemu-x86_64 is not installed (Debian: apt install qemu-user): this processor only", flush=True)
        found = {place: _run(folder, command, 1) for place, command in places.items()}
    return [
        {"network": name, "processor": place, "differ": parts[name]["difference"] > 0}
        for place, parts in found.items()
        for name in samples.VARIANTS
    ]


def _run(folder: str, command: list[str], *counts: int) -> dict[str, Any]:
    """The JSON of `_sparsity_run`, from a Python that runs under `command`; counts: rounds, and repeats."""
    program = Path(__file__).with_name("_sparsity_run.py")
    python = os.path.realpath(sys.executable)  # an emulator takes the binary itself
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(site.getsitepackages()), "OMP_NUM_THREADS": "1"}
    call = [*command, python, str(program), folder, *map(str, counts)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=900, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(call)} ended with {done.returncode}: {done.stderr[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


RECORDS = {
    "kernels": ("sparsity_kernels", measured_kernels, ("pattern", "zeros %", "batch", "processor")),
    "between": ("sparsity_between", measured_between, ("before each call", "processor")),
    "patterns": ("sparsity_patterns", measured_patterns, None),
    "xnnpack": ("sparsity_xnnpack", measured_xnnpack, ("network", "processor")),
}


def main(arguments: list[str] | None = None) -> int:
    """Measure, store, print."""
    parser = argparse.ArgumentParser(
        prog="course.py bench sparsity", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=tuple(RECORDS), help="one of the records")
    parser.add_argument("--anew", action="store_true", help="drop rows of other processors that other code measured")
    options = parser.parse_args(arguments)
    for part in [options.only] if options.only else RECORDS:
        name, measure, key = RECORDS[part]
        recorded.check_writable(name)
        if key:
            recorded.beside(name, [], key, anew=options.anew)  # refuses before the minutes are spent
        rows = measure()
        if key:
            rows = recorded.beside(name, rows, key, anew=options.anew)
        seeds = list(SEEDS) if part == "patterns" else [0]
        recorded.save(name, rows, command=COMMAND, depends=[measure], seeds=seeds, notes=NOTES[name])
        print(*rows, sep="\n")
    return 0


if __name__ == "__main__":
    start(main)
