"""Quantized files side by side: what each weighs, knows and takes, and which of its numbers are integers.

All of it is read out of the files or measured on them, nothing is taken from the mode's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from utils.artifact import Artifact
from utils.deploy.tflite.tflite_model import TFLiteModel
from utils.measure import statistics, timing
from utils.optimize.quantization import converter, recipes
from utils.optimize.quantization.converter import convert

#: How the kernels are called in tables.
PATHS = {"default": "time", "builtin": "without XNNPACK"}


def convert_all(model: Any, calibration: Any) -> dict[str, Artifact]:
    """{mode: file} of a tf_keras model in all of `quantization.MODES`, float32 first; errors as in `convert`."""
    needs_data = ("int8", "int8_float_io", "int16x8")
    return {mode: convert(model, mode, calibration if mode in needs_data else None) for mode in converter.MODES}


def table(
    files: Mapping[str, Artifact], x: Any, y: np.ndarray, *, rounds: int = 50, trusted: bool = False
) -> list[dict[str, Any]]:
    """One row for each file: bytes, their share of the first's, accuracy, whether XNNPACK runs it, and two time ratios.

    files: name -> .tflite; the first is what the others are compared with.  x, y: test inputs and labels; x is
        {name: array} for several inputs.
    time: median for one input divided by the first file's, with default kernels; "without XNNPACK" with built-in ones
    on both sides; one thread.  rounds: of timing, all files in turns.
    A file that cannot be run is refused as in `TFLiteModel`.
    trusted: True tries each file in a child process with default kernels only; for files that this program has made.
    """
    if not files:
        raise ValueError("there are no files to compare; pass {name: artifact}")
    _check_files(files)
    one = {name: values[:1] for name, values in x.items()} if isinstance(x, Mapping) else x[:1]
    first = next(iter(files))
    scores = {name: statistics.accuracy(f.predict(x), y).value for name, f in files.items()}  # tries them, too
    ratios = {}
    for kernels in PATHS:
        models = {name: TFLiteModel(f.content, kernels, 1, trusted=trusted) for name, f in files.items()}
        calls = {name: model.prepare(one) for name, model in models.items()}
        times = timing.latency(calls, rounds=rounds)
        ratios[kernels] = {name: times[name].median / times[first].median for name in files}
    return [
        {
            "mode": name,
            "bytes": f.size,
            "share": f.size / files[first].size,
            "accuracy": scores[name],
            "XNNPACK": f.runner.delegated(),
            **{title: ratios[kernels][name] for kernels, title in PATHS.items()},
        }
        for name, f in files.items()
    ]


def _check_files(files: Any) -> None:
    if not isinstance(files, Mapping):
        raise TypeError(f"files is a {type(files).__name__}; pass {{name: artifact}}")
    for name, file in files.items():
        if not isinstance(file, Artifact) or file.format != "tflite":
            raise TypeError(
                f"{name!r} is {file!r:.80}; pass .tflite artifacts: convert(model, 'float32') makes one of a Keras "
                "model, artifact.load(path) of a file"
            )


def integers(artifact: Artifact, operator: str = "FULLY_CONNECTED") -> dict[str, str]:
    """The types of the largest layer of one kind in a .tflite file: what is integer where.

    operator: its kind in the file.  Returns words: input and output (of the file), activations (what reaches the
    layer), weights, scales ("none", "1", "500"), bias, and arithmetic: "float", "hybrid" (integer products of
    activations that are quantized while running) or "integer".
    Raises ValueError if the file has no such layer with stored weights.
    """
    rows = [row for row in recipes.report(artifact) if row["operator"] == operator]
    kernels = [row for row in rows if len(row["shape"]) > 1]
    if not kernels:
        raise ValueError(
            f"the file has no {operator} with stored weights; it has "
            f"{sorted({op.name for op in artifact.runner.summary()})}"
        )
    kernel = max(kernels, key=lambda row: row["bytes"])
    bias = [row["weight"] for row in rows if row["layer"] == kernel["layer"] and len(row["shape"]) == 1]
    whole = kernel["activations"].startswith("int")
    hybrid = kernel["weight"].startswith("int") and not kernel["dequantized"]
    runner = artifact.runner
    return {
        "input": str(runner.inputs[0].dtype),
        "activations": kernel["activations"],
        "weights": kernel["weight"],
        "scales": str(kernel["scales"] or "none"),
        "bias": bias[0] if bias else "none",
        "arithmetic": "integer" if whole else "hybrid" if hybrid else "float",
        "output": str(runner.outputs[0].dtype),
    }
