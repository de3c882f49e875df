"""Sparsity: which patterns cost accuracy, which files run faster, and on which processor XNNPACK skips zeros.

    python course.py bench sparsity                  # about fifteen minutes, quiet cores
    python course.py bench sparsity --only kernels   # or openings, memory, patterns, xnnpack
    python course.py bench sparsity --anew           # drops rows of other processors that other code measured

`sparsity_kernels`: one dense layer, 1,024 to 1,024, with zeros in several patterns; time beside the same layer without.
`sparsity_openings`: some of these files opened five times each: how far is a file from itself?
`sparsity_memory`: what the three files of one layer add to a process.
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
from benchmarks import _sparsity_run, networks
from benchmarks._command import start
from utils import data, recorded, training
from utils.artifact import Artifact
from utils.measure import timing
from utils.measure.memory import peak_memory
from utils.optimize.sparsity import samples, stored

COMMAND = "python course.py bench sparsity"
UNITS = 1024
SHARES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
BATCHES = (1, 8, 64)
ROUNDS = 150
OPENINGS = 5  # of each file; twice, the second time in the other order
SEEDS = (0, 1, 2)
EMULATED = ("Haswell", "Nehalem")  # with AVX2, and the last Intel generation without AVX

NOTES = {
    "sparsity_kernels": (
        "one dense layer, 1,024 inputs and outputs, one thread; pattern: single weights, or blocks (inputs, outputs) "
        "of the Keras kernel; µs: median; ratio: to the same layer without zeros in the same arithmetic, in turns, "
        "with a 95 % interval; skips: no DENSIFY in the file"
    ),
    "sparsity_openings": (
        "one dense layer, 1,024 inputs and outputs, one example, one thread; every file is opened five times in one "
        "process, all are called in turns; each figure: median time to the mean of the openings of float32 dense; "
        "apart: the slowest opening to the fastest one of that file; order: in which the files were opened"
    ),
    "sparsity_memory": (
        "one dense layer, 1,024 inputs and outputs; memory: peak resident memory of reading the file, opening it and "
        "one example, above that of the libraries, in a process of its own"
    ),
    "sparsity_patterns": (
        "mlp on Fashion-MNIST: the shipped network, trained on for one epoch with the Toolkit; control: the same epoch "
        "without pruning; every mask is made once, in step 1; gradual: the share rises in steps 20 to 500 of 782; lost "
        "points: control's accuracy minus this one's on 10,000 test pictures, mean over three orders of the pictures; "
        "low, high: smallest and largest of the three"
    ),
    "sparsity_xnnpack": (
        "ratio: time with EXPERIMENTAL_SPARSITY to the same zeros without it, one thread; under emulation times follow "
        "the executed instructions and scatter by a fifth and more; differ: the outputs differ in a bit, which shows "
        "that other kernels ran; off %: by how much, as a part of the largest output"
    ),
}


# ---------------------------------------------------------------- records


def measured_kernels(
    shares: tuple[float, ...] = SHARES, batches: tuple[int, ...] = BATCHES, units: int = UNITS, rounds: int = ROUNDS
) -> list[dict[str, Any]]:
    """Time of one dense layer beside the same without zeros; of several examples at once for (4, 1) only."""
    calibration = np.random.default_rng(0).random((20, units), np.float32)
    kinds = {
        "float32 single": (None, None),
        "float32 (1, 4)": ((1, 4), None),
        "float32 (4, 1)": ((4, 1), None),
        "int8 (16, 1)": ((16, 1), calibration),
    }
    rows = []
    for batch in batches:
        example = np.random.default_rng(1).random((batch, units), np.float32)
        files = {"float32 dense": samples.as_file(samples.layer(batch, units=units), sparse=False)}
        measured = {"float32 (4, 1)": kinds["float32 (4, 1)"]}
        if batch == 1:  # calibrated with one example at a time
            files["int8 dense"] = samples.as_file(samples.layer(1, units=units), sparse=False, calibration=calibration)
            measured = kinds
        for kind, (size, examples) in measured.items():
            for share in shares:
                model = samples.layer(batch, share, size, units)
                files[f"{kind} {share}"] = samples.as_file(model, sparse=True, calibration=examples)
        sides = {name: (Artifact(content, "tflite"), example) for name, content in files.items()}
        times = timing.latency(sides, rounds=rounds, seed=0)
        rows += [_kernel_row(kind, share, batch, files, times) for kind in measured for share in shares]
    return rows


def _kernel_row(
    kind: str, share: float, batch: int, files: Mapping[str, bytes], times: timing.Timings
) -> dict[str, Any]:
    name, arithmetic = f"{kind} {share}", kind.split()[0]
    found = stored.sparse_weights(files[name])
    row = {
        "pattern": kind,
        "zeros %": round(100 * share),
        "batch": batch,
        "processor": recorded.processor(),
        "bytes": len(files[name]),
        "skips": bool(found) and not any(weight.unpacked for weight in found),
        "µs": round(1e6 * times[name].median, 1),
    }
    return row | networks.columns("ratio", times.ratio(name, f"{arithmetic} dense"), 1, 3)


def measured_openings(units: int = UNITS, openings: int = OPENINGS, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """Time of files that are opened several times each, to that of the dense float32 layer."""
    example = np.random.default_rng(1).random((1, units), np.float32)
    files = _opened_files(units)
    rows = []
    for order in ("forwards", "backwards"):
        names = [f"{name} #{number}" for number in range(openings) for name in files]
        names = names[:: -1 if order == "backwards" else 1]
        sides = {name: (Artifact(files[name.partition(" #")[0]], "tflite"), example) for name in names}
        times = timing.latency(sides, rounds=rounds, seed=0)
        found = {name: [times[f"{name} #{number}"].median for number in range(openings)] for name in files}
        dense = float(np.mean(found["float32 dense"]))
        rows += [_opening_row(name, order, np.array(medians) / dense) for name, medians in found.items()]
    return rows


def _opened_files(units: int) -> dict[str, bytes]:
    """Files that run a dense kernel, with and without lists on the disk, and files that are computed from lists."""
    calibration = np.random.default_rng(0).random((20, units), np.float32)
    kinds = {
        "float32 dense": (0.0, None, None),
        "float32 single, 80 % zeros": (0.8, None, None),
        "float32 (1, 4), 80 % zeros": (0.8, (1, 4), None),
        "float32 (4, 1), 80 % zeros": (0.8, (4, 1), None),
        "float32 (4, 1), 90 % zeros": (0.9, (4, 1), None),
        "int8 dense": (0.0, None, calibration),
        "int8 (16, 1), 80 % zeros": (0.8, (16, 1), calibration),
        "int8 (16, 1), 90 % zeros": (0.9, (16, 1), calibration),
    }
    return {
        name: samples.as_file(samples.layer(1, share, size, units), sparse=share > 0, calibration=examples)
        for name, (share, size, examples) in kinds.items()
    }


def _opening_row(name: str, order: str, ratios: np.ndarray) -> dict[str, Any]:
    return {
        "file": name,
        "order": order,
        "processor": recorded.processor(),
        "ratios": [round(float(each), 3) for each in sorted(ratios)],
        "least": round(float(ratios.min()), 3),
        "most": round(float(ratios.max()), 3),
        "apart": round(float(ratios.max() / ratios.min()), 3),
    }


def measured_memory(units: int = UNITS) -> list[dict[str, Any]]:
    """What opening and running one dense layer adds to a process's memory; each file in a process of its own."""
    files = {
        "no zeros": samples.as_file(samples.layer(1, units=units), sparse=False),
        "90 % single zeros, DENSIFY": samples.as_file(samples.layer(1, 0.9, units=units), sparse=True),
        "90 % zeros in (4, 1) blocks": samples.as_file(samples.layer(1, 0.9, (4, 1), units), sparse=True),
    }
    example = np.zeros((1, units), np.float32)
    return [
        {
            "file": name,
            "bytes": len(content),
            "memory MiB": round(peak_memory(Artifact(content, "tflite"), example).bytes / 2**20, 1),
        }
        for name, content in files.items()
    ]


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


def measured_xnnpack(rounds: int = 400, emulated: tuple[str, ...] = EMULATED) -> list[dict[str, Any]]:
    """Each variant of the network, on this processor and on emulated ones."""
    with tempfile.TemporaryDirectory() as folder:
        for name, changes in samples.VARIANTS.items():
            model = samples.network(**changes)
            for side in _sparsity_run.SIDES:
                Path(folder, f"{name}.{side}.tflite").write_bytes(samples.as_file(model, sparse=side == "sparse"))
        places = {recorded.processor(): ([], rounds)}
        if shutil.which("qemu-x86_64"):
            places |= {f"emulated {cpu}": (["qemu-x86_64", "-cpu", cpu], 7) for cpu in emulated}
        else:
            print("qemu-x86_64 is not installed (Debian: apt install qemu-user): this processor only", flush=True)
        found = {place: _run(folder, command, count) for place, (command, count) in places.items()}
    return [
        {
            "network": name,
            "processor": place,
            "ratio": round(float(np.median(part["seconds"]["sparse"]) / np.median(part["seconds"]["plain"])), 3),
            "differ": part["off"] > 0,
            "off %": round(100 * part["off"], 1),
        }
        for place, parts in found.items()
        for name, part in ((name, parts[name]) for name in samples.VARIANTS)
    ]


def _run(folder: str, command: list[str], rounds: int) -> dict[str, Any]:
    """The JSON of `_sparsity_run`, from a Python that runs under `command`."""
    program = Path(__file__).with_name("_sparsity_run.py")
    python = os.path.realpath(sys.executable)  # an emulator takes the binary itself
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(site.getsitepackages()), "OMP_NUM_THREADS": "1"}
    call = [*command, python, str(program), folder, str(rounds)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=900, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(call)} ended with {done.returncode}: {done.stderr[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


RECORDS = {
    "kernels": ("sparsity_kernels", measured_kernels, ("pattern", "zeros %", "batch", "processor")),
    "openings": ("sparsity_openings", measured_openings, ("file", "order", "processor")),
    "patterns": ("sparsity_patterns", measured_patterns, None),
    "memory": ("sparsity_memory", measured_memory, None),
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
