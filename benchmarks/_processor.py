"""The chapters' computations by hand, repeated on emulated processors.

Whole notebooks are no use there: TensorFlow ends with an illegal instruction where AVX is missing, takes over a minute
to be imported where it is not, trains a batch in a minute, and emulated time is no time.  LiteRT and numpy are imported
in two seconds.  So files and inputs are made here, once, and the emulated processor runs the rest: LiteRT's kernels,
and ours in numpy (`by_hand.differences`).

As a program, on the emulated processor:  python -m benchmarks._processor FOLDER
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from utils import ROOT

#: What qemu-user emulates: a processor without AVX, and one with AVX2.
PROCESSORS = ("Nehalem", "Haswell")

#: (bytes of a .tflite file, a batch for it)
Case = tuple[bytes, np.ndarray]


def emulator() -> str | None:
    """qemu-user for this machine's own instruction set, so that its Python can be run; None if it is not there."""
    machine = {"AMD64": "x86_64"}.get(platform.machine(), platform.machine())
    return shutil.which("qemu-x86_64") if machine == "x86_64" and sys.platform == "linux" else None


def lenet_int8(pictures: int) -> Case:
    """Chapter 03: a convolution, a dense layer, one pixel."""
    return _int8("lenet5", pictures)


def depthwise_int8(pictures: int) -> Case:
    """Chapter 03: a whole network, bit for bit."""
    return _int8("depthwise_cnn", pictures)


def lenet_hybrid(pictures: int) -> Case:
    """Chapter 04: LeNet-5's dense layer with a dynamic range, fed with what the layers before it compute."""
    import tf_keras

    from utils import data, training
    from utils.optimize.quantization.converter import convert

    lenet = training.trained("lenet5")
    dense = lenet.get_layer("dense_500")
    layers = tf_keras.layers
    one = tf_keras.Sequential([layers.Input((dense.input_shape[-1],)), layers.Dense(dense.units)])
    one.set_weights(dense.get_weights())
    before = tf_keras.Model(lenet.inputs, dense.input)
    return convert(one, "dynamic").content, before(data.load("fashion_mnist").x_test[:pictures]).numpy()


def hybrid_ties(pictures: int) -> Case:
    """The same layer, fed with ties of the rounding and with the floats next to them."""
    content, features = lenet_hybrid(1)
    rng = np.random.default_rng(0)
    step = rng.uniform(0.005, 0.05, (pictures, 1)).astype(np.float32)
    ties = rng.integers(0, 511, (pictures, features.shape[1])).astype(np.float32) / 2 * step
    ties[:, :1] = 255 * step
    return content, np.where(rng.random(ties.shape) < 0.5, ties, np.nextafter(ties, 127 * step))


#: For each chapter, the claims that compare a computation by hand with a kernel, and what they compare.
CASES: dict[str, dict[str, Callable[[int], Case]]] = {
    "03": {"Q3-dense-by-hand, Q3-conv-by-hand, Q3-one-pixel": lenet_int8, "Q3-bit-for-bit": depthwise_int8},
    "04": {"Q23-by-hand": lenet_hybrid, "Q23-by-hand, ties": hybrid_ties},
}


def export(folder: Path, chapter: str, pictures: int = 50) -> None:
    """Write a chapter's files and inputs for `replay`."""
    for name, make in CASES[chapter].items():
        content, x = make(pictures)
        np.savez(folder / f"{name}.npz", content=np.frombuffer(content, np.uint8), x=x)


def replay(folder: Path, processor: str, limit: float = 1200) -> dict[str, dict[str, int]]:
    """{case: {tensor: how many of its numbers differ}}, computed on an emulated processor.

    limit: seconds.  Raises RuntimeError with the last words of a replay that failed.
    """
    command = [emulator(), "-cpu", processor, sys.executable, "-m", "benchmarks._processor", str(folder.resolve())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit)
    if done.returncode:
        words = [line for line in done.stderr.splitlines() if "TCG doesn't support" not in line]
        raise RuntimeError(f"the replay on {processor} ended with {done.returncode}: {' | '.join(words[-3:])}")
    return json.loads(done.stdout.splitlines()[-1])


def compared(folder: Path) -> Iterator[tuple[str, dict[str, int]]]:
    """Each case in `folder`, and its differences on the processor that runs this."""
    from utils.optimize.quantization import by_hand

    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as case:
            yield path.stem, by_hand.differences(case["content"].tobytes(), case["x"])


def _int8(network: str, pictures: int) -> Case:
    from utils import data, training
    from utils.optimize.quantization import by_hand
    from utils.optimize.quantization.converter import convert

    fashion = data.load("fashion_mnist")
    made = convert(training.trained(network), "int8", fashion.x_train[:100])
    return made.content, by_hand.quantized_input(made, fashion.x_test[:pictures])


if __name__ == "__main__":
    print(json.dumps(dict(compared(Path(sys.argv[1])))))
