"""Compressed networks: damaged and forged files are refused, or decoded to a harmless model.

    python course.py bench compression --only fuzz               # 10,000 files, some minutes
    python course.py bench compression --only fuzz --count 300

Files are changed in three ways: bytes as they come (the checksum must notice), bytes with the checksum made right
again, and the text of the structure changed before it is coded.  Each must end in a ValueError with a sentence or in
a model of no more parameters than allowed; anything else is printed and makes the command fail.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils  # noqa: F401  (settles how TensorFlow starts)
from benchmarks._command import start
from utils import child

WAYS = ("damaged", "repaired", "forged")
MOST_PARAMETERS = 20_000
_MEMORY = 12 * 2**30  # of address space, of which TensorFlow reserves much
#: What a forged structure may say instead of a number or a word.
_NUMBERS = ("0", "-1", "1", "3", "65", "1e9", "1e308", "null", "true", "[]", "[2,3]", '"relu"', "2147483648", "0.5")
_WORDS = ('"Lambda"', '"TFOpLambda"', '"Dense"', '"LSTM"', '"softmax"', '"os.system"', '""', '"units"', '"@"', "7")


def models() -> list[Any]:
    """Small networks of several kinds, their weights few values and many zeros."""
    import numpy as np
    import tf_keras

    layers, inputs = tf_keras.layers, tf_keras.Input
    made = [
        tf_keras.Sequential(
            [inputs((6, 6, 1)), layers.Conv2D(3, 3, activation="relu"), layers.Flatten(), layers.Dense(4)]
        ),
        tf_keras.Sequential(
            [
                inputs((None,), dtype="int32"),
                layers.Embedding(9, 4),
                layers.Bidirectional(layers.LSTM(3)),
                layers.Dense(1),
            ]
        ),
    ]
    first, shared = inputs((5,), name="a"), layers.Dense(5, "tanh")
    joined = layers.Add()([shared(first), shared(shared(first))])
    made.append(tf_keras.Model(first, [layers.Dense(2, name="x")(joined), layers.LayerNormalization()(joined)]))
    rng = np.random.default_rng(0)
    for model in made:
        for weight in model.weights:
            codes = rng.integers(-3, 4, weight.shape) * (rng.random(weight.shape) < 0.4)
            weight.assign(codes * np.float32(0.25))
    return made


def changed(content: bytes, rng: random.Random) -> bytes:
    """`content` with one to four bytes changed, taken out, put in, or its end cut."""
    found = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at, what = rng.randrange(len(found)), rng.randrange(5)
        if what == 0:
            found[at] ^= 1 << rng.randrange(8)
        elif what == 1:
            found[at] = rng.randrange(256)
        elif what == 2:
            del found[at : at + rng.randint(1, 4)]
        elif what == 3:
            found[at:at] = rng.randbytes(rng.randint(1, 4))
        else:
            del found[at:]
        found = found or bytearray(b"\0")
    return bytes(found)


def repaired(content: bytes, rng: random.Random) -> bytes:
    """`changed`, behind the head, with the checksum of what there is now."""
    from utils.optimize.coding import network_file

    body = changed(content[network_file.HEAD :] or b"\0", rng)
    return network_file.sealed(content[2:3] + body)


def forged(text: str, rng: random.Random) -> bytes:
    """A file, right in itself, whose structure says something else."""
    from utils.optimize.coding import network_file
    from utils.optimize.coding.fields import Fields
    from utils.optimize.coding.range_coder import Writer

    for _ in range(rng.randint(1, 3)):
        number = rng.random() < 0.6
        places = list(re.finditer(r"-?\d+" if number else r'"[^"]*"', text))
        place = rng.choice(places)
        text = text[: place.start()] + rng.choice(_NUMBERS if number else _WORDS) + text[place.end() :]
    writer = Writer()
    Fields(writer).text(text, "structure")
    return network_file.sealed(bytes([network_file.VERSION]) + writer.content() + rng.randbytes(rng.randint(0, 40)))


def fuzz(_: bytes, count: int, seed: int) -> dict[str, Any]:
    """Decode `count` files of each way in this process.

    Returns {"refused": {first words of the sentence: how often}, "decoded": how many, "wrong": what was neither}.
    """
    from utils.optimize.coding import compress, decompress, structure

    rng = random.Random(seed)
    files = [(compress(model), structure.describe(model)) for model in models()]
    refused: Counter[str] = Counter()
    decoded, wrong = 0, []
    for number in range(count * len(WAYS)):
        way = WAYS[number % len(WAYS)]
        content, text = rng.choice(files)
        made = {"damaged": changed, "repaired": repaired}.get(way)
        file = forged(text, rng) if made is None else made(content, rng)
        try:
            model = decompress(file, MOST_PARAMETERS)
        except (ValueError, TypeError) as error:
            refused[f"{way}: {' '.join(str(error).split()[:6])}"] += 1
        except BaseException as error:
            wrong.append(f"{way}, file {file.hex()}: {error!r:.300}")
        else:
            decoded += 1
            if model.count_params() > MOST_PARAMETERS or (way == "damaged" and file != content):
                wrong.append(f"{way}, file {file.hex()}: decoded")
    return {"refused": dict(refused), "decoded": decoded, "wrong": wrong}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="course.py bench compression", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("fuzz",), default="fuzz", help="the one part that there is")
    parser.add_argument("--count", type=int, default=3334, help="files of each of the three ways")
    options = parser.parse_args(arguments)
    asked = {"count": options.count, "seed": 0}
    found = child.run("benchmarks.compression:fuzz", options=asked, timeout=3600, memory=_MEMORY)
    print(json.dumps(found, indent=1))
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    start(main)
