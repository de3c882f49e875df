"""Run pairs of .tflite files and print times and outputs as JSON: small enough for an emulated processor.

    qemu-x86_64 -cpu Nehalem python benchmarks/_sparsity_run.py FOLDER ROUNDS

FOLDER has NAME.plain.tflite and NAME.sparse.tflite.  Needs numpy and ai_edge_litert only: TensorFlow takes minutes.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

SIDES = ("plain", "sparse")


def pair(files: dict[str, bytes], rounds: int) -> dict[str, object]:
    """{side: seconds of each round, in turns}, and how far the outputs are apart, as a part of the largest one."""
    from ai_edge_litert.interpreter import Interpreter

    opened, outputs = {}, {}
    for side, content in files.items():
        opened[side] = Interpreter(model_content=content, num_threads=1)
        opened[side].allocate_tensors()
        detail = opened[side].get_input_details()[0]
        opened[side].set_tensor(detail["index"], np.random.default_rng(0).random(detail["shape"], np.float32))
        opened[side].invoke()
        outputs[side] = opened[side].get_tensor(opened[side].get_output_details()[0]["index"])
    seconds = {side: [] for side in files}
    for _ in range(rounds):
        for side, interpreter in opened.items():
            start = time.perf_counter()
            interpreter.invoke()
            seconds[side].append(time.perf_counter() - start)
    off = np.abs(outputs["plain"] - outputs["sparse"]).max() / np.abs(outputs["plain"]).max()
    return {"seconds": seconds, "off": float(off)}


if __name__ == "__main__":
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    found = {}
    for path in sorted(folder.glob("*.sparse.tflite")):
        name = path.name.removesuffix(".sparse.tflite")
        found[name] = pair({side: (folder / f"{name}.{side}.tflite").read_bytes() for side in SIDES}, count)
    print(json.dumps(found))
