"""Deep Compression's own networks on MNIST, trained small, coded, decoded and tested; peers; speed; damaged files.

    python course.py bench compression                                   # all parts but try and fuzz
    python course.py bench compression --only networks --plans 200x      # some rows; the others stay as recorded
    python course.py bench compression --only networks --tiny            # a minute; nothing is stored
    python course.py bench compression --only try --networks lenet5 --plans 1110x --settings kept=1500 steps=6000
    python course.py bench compression --only fuzz --count 300           # damaged and forged files

networks  each plan of `PLANS` with three seeds: distorted digits, a teacher's answers, training, `sort_units`,
          `compress`; then the file is decoded, and its errors on all 10,000 test pictures are counted.  Each row is
          recorded as soon as it is there; the best file of a plan, by its validation pictures, goes to data/compressed
try       one training with other settings, judged by the validation pictures alone; nothing is stored
peers     the same integers by gzip, xz, brotli, zstd and nncodec (ISO/IEC 15938-17, in an environment of its own that
          is made on demand), and those of three other networks
floats    weights as they were trained, float32, lossless: zipnn, gzip, xz and ours
speed     writing and reading generated networks of up to 25 million weights: seconds, and memory beyond the model
fuzz      files changed in three ways: bytes as they come (the checksum must notice), bytes with the checksum made right
          again, and the text of the structure changed before it is coded.  Each must end in a ValueError with a
          sentence or in a model of no more parameters than allowed; anything else is printed and makes the command fail

Digits and answers are made once, in about 40 minutes of one core, and kept in the cache.  Then a LeNet-300-100 takes 3
minutes of one core, a LeNet-5 6 to 10; peers 10 and 6 GB of packages, speed 5, fuzz with 10,000 files some minutes.
Settings are chosen by validation pictures, the last 10,000 of the 60,000; the test pictures are looked at once, at the
end.  ratio: 4 bytes for each parameter of the network as it was published, over the bytes of the whole file, which
decodes to a network with all of these parameters, most of them 0.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils  # noqa: F401  (settles how TensorFlow starts)
from benchmarks import _lenet
from benchmarks._command import start
from utils import ROOT, child, data, files, recorded

COMMAND = "python course.py bench compression"
COMPRESSED = ROOT / "data" / "compressed"
SEEDS = (0, 1, 2)
KEY = ("network", "plan", "seed")

#: {network: {plan: how}}, the settings of `deep_compression.Plan`, and the `units` of `_lenet.student`, if it starts
#: thinner than it was published.  A plan is named for the ratio that it is to reach.
PLANS: dict[str, dict[str, dict[str, Any]]] = {
    "lenet_300_100": {
        "200x": {"kept": 5_000, "levels": 7, "steps": 16_000},
        "350x": {"kept": 3_000, "levels": 7, "steps": 60_000},
    },
    "lenet5": {
        "300x": {
            "kept": 6_000,
            "levels": 7,
            "steps": 6_000,
            "learning_rate": 1e-3,
            "rounding_rate": 7e-4,
            "prune_from": 0.01,
        },
        "1110x": {"kept": 1_800, "levels": 6, "steps": 12_000, "units": (10, 24, 120)},
    },
    "lenet5_relu": {
        "1110x": {
            "kept": 1_640,
            "levels": 7,
            "steps": 20_000,
            "prune_until": 0.6,
            "round_from": 0.7,
            "round_until": 0.96,
            "units": (10, 24, 60),
        }
    },
}
#: The control: as long, with the same pictures and answers, nothing removed and hardly anything rounded.
DENSE = "dense"
_FINE = 127

OTHERS = ("mlp", "depthwise_cnn", "residual_cnn")  # networks that ship, pruned and rounded for the peers
FLOATS = (("lenet_300_100", "mnist"), ("lenet5", "mnist"), ("residual_cnn", "fashion_mnist"))  # as they ship
SIZES = (1_000_000, 5_000_000, 25_000_000)

# ---------------------------------------------------------------- networks


def plan_of(network: str, plan: str) -> tuple[Any, Sequence[int]]:
    """The `Plan`, and the units to start with; "dense" is the network's first one without pruning."""
    from utils.optimize.deep_compression import Plan

    if plan == DENSE:
        first = next(iter(PLANS[network].values())) | {"units": ()}
        settings = first | {"kept": _weights_of(network), "levels": _FINE, "stages": 0, "bias_step": 1 / 1024}
    else:
        settings = dict(PLANS[network][plan])
    units = settings.pop("units", ())
    return Plan(**settings), units


def _weights_of(network: str) -> int:
    """Weights in kernels."""
    from utils.optimize import keras_weights

    return sum(
        int(weight.variable.shape.num_elements()) for weight in keras_weights.kernels(_lenet.student(network, 0))
    )


def errors(model: Any, x: Any, y: Any) -> float:
    """Pictures that are wrong, in per cent."""
    from utils import training

    return 100 * (1 - training.share_correct(model, x, y))


def small_file(
    network: str, settings: Any, units: Sequence[int], seed: int, lessons: _lenet.Lessons
) -> tuple[bytes, float]:
    """Train, sort, code: the file, and the seconds of the training."""
    from utils.optimize import coding, deep_compression

    begin = time.process_time()
    start = _lenet.student(network, seed, units)
    small = deep_compression.train(start, settings, lessons.batches(seed), seed=seed, report=say, every=2000)
    seconds = time.process_time() - begin
    whole = deep_compression.padded(small, _lenet.architecture(network))
    return coding.compress(coding.sort_units(whole)), seconds


def measure(
    network: str,
    plan: str,
    seed: int,
    lessons: _lenet.Lessons,
    settings: Any,
    units: Sequence[int] = (),
    tested: bool = True,
) -> tuple[dict, bytes]:
    """One row, and the file.  All errors are those of the decoded file; tested: on the test pictures, too."""
    from utils.optimize import coding

    mnist = data.load("mnist")
    content, seconds = small_file(network, settings, units, seed, lessons)
    decoded = coding.decompress(content)
    kernels = [layer.kernel.numpy() for layer in decoded.layers if layer.weights]
    row = {
        "network": network,
        "plan": plan,
        "seed": seed,
        "parameters": decoded.count_params(),
        "levels": settings.levels,
        "steps": settings.steps,
        "started with": "-".join(map(str, units)) or "all units",
        "kept": int(sum((kernel != 0).sum() for kernel in kernels)),
        "bytes": len(content),
        "ratio": round(4 * decoded.count_params() / len(content), 1),
        "validation error %": round(errors(decoded, mnist.x_val, mnist.y_val), 2),
        "core seconds": round(seconds),
    }
    if tested:
        row["test error %"] = round(errors(decoded, mnist.x_test, mnist.y_test), 2)
    return row, content


def say(step: int, training: Any) -> None:
    print(f"  step {step:,}: loss {float(training.loss):.3f}, kept {training.counts()}", flush=True)


def measure_networks(wanted: Mapping[str, Sequence[str]], seeds: Sequence[int], anew: bool = False) -> None:
    """One row for each network, plan and seed, recorded as soon as it is there; the best file of each plan is stored.

    The dense control has the first seed alone.  anew: drop rows that other code measured.
    """
    lessons = _lenet.lessons()
    for network, plans in wanted.items():
        for plan in plans:
            for seed in seeds[:1] if plan == DENSE else seeds:
                row, content = measure(network, plan, seed, lessons, *plan_of(network, plan))
                print(row, flush=True)
                store_row(row, content, anew)
                anew = False


def store_row(row: dict, content: bytes, anew: bool = False) -> None:
    """The row among the others; the file, if its validation error and then its bytes are the least of its plan."""
    order = [(network, plan) for network, plans in PLANS.items() for plan in [*plans, DENSE]]
    rows = recorded.beside("compression", [row], KEY, anew=anew)
    rows.sort(key=lambda each: (order.index((each["network"], each["plan"])), each["seed"]))
    same = [each for each in rows if (each["network"], each["plan"]) == (row["network"], row["plan"])]
    if row["plan"] != DENSE and row == min(same, key=best_first):
        files.write_bytes(path_of(row["network"], row["plan"]), content)
    recorded.save(
        "compression",
        rows,
        command=f"{COMMAND} --only networks",
        depends=[measure, _lenet.lessons, _lenet.student],
        seeds=sorted({each["seed"] for each in rows}),
        notes="errors: of the decoded file; ratio: 4 bytes for each parameter of the published network over the bytes "
        "of the whole file; dense: as long, with the same pictures and answers, nothing removed; started with: units "
        "of each layer but the last, where the training began thinner than the published network.  Of each network's "
        "plans one earlier setting's test error (of lenet5_relu two: 1,800 and 1,680 weights) had been seen before the "
        "last one was chosen, by validation pictures and bytes.  Trained on an AMD EPYC with AVX2: lenet_300_100 200x "
        "and both plans of lenet5, but for its control; the rest on an Intel Xeon with AMX",
    )


def best_first(row: Mapping) -> tuple[float, int]:
    """The order of the files of one plan; the test pictures have no say."""
    return row["validation error %"], row["bytes"]


def path_of(network: str, plan: str) -> Path:
    """Where the best file of a plan ships."""
    COMPRESSED.mkdir(exist_ok=True)
    return COMPRESSED / f"{network}-{plan}.tz"


# ---------------------------------------------------------------- peers


def on_integers(array: Any) -> Any:
    """int32 k with array = k · step, for the largest such step; ValueError if there is none with |k| < 4096.

    The step is the smallest magnitude divided by 1, 2, … 16, and the products must be the same floats.
    """
    import numpy as np

    array = np.asarray(array, np.float32)
    magnitudes = np.abs(array[array != 0])
    if not magnitudes.size:
        return np.zeros(array.shape, np.int32)
    for divisor in range(1, 17):
        step = np.float32(magnitudes.min() / divisor)
        codes = np.round(array / step)
        if np.abs(codes).max() < 4096 and np.allclose(codes * step, array, rtol=1e-5, atol=0):
            return codes.astype(np.int32)
    raise ValueError(f"an array of shape {array.shape} is not on a grid: its values are no multiples of one step")


def rounded(name: str, zeros: float = 0.8, levels: int = 15) -> list[Any]:
    """The kernels of a network that ships, pruned and on a grid, as integers; nothing is trained."""
    from utils import training
    from utils.optimize import deep_compression, keras_weights
    from utils.optimize.pruning.magnitude import prune_once

    found = []
    for weight in keras_weights.kernels(prune_once(training.trained(name, seed=0, fresh=False), zeros)):
        array = weight.variable.numpy()
        if weight.role == "depthwise kernel":  # (height, width, channels, 1), coded as one channel in, many out
            array = array.transpose(0, 1, 3, 2)
        kept = array != 0
        step = deep_compression.best_step(array, levels)
        found.append(on_integers(deep_compression.on_grid(array, step, levels) * kept))
    return found


def measure_peers(wanted: Sequence[str] = ()) -> list[dict]:
    """One row a network: bytes of the same integers by each coder; wanted: names, all by default."""
    import numpy as np

    from benchmarks import _coding_peers
    from utils.optimize import coding
    from utils.optimize.coding import byte_coders
    from utils.optimize.combined import model_of

    arrays = {}
    for network, plans in PLANS.items():
        for plan in plans:
            model = coding.decompress(path_of(network, plan).read_bytes())
            arrays[f"{network} {plan}"] = [on_integers(layer.kernel) for layer in model.layers if layer.weights]
    arrays |= {f"{name}, 80 % zeros": rounded(name) for name in OTHERS}
    arrays = {name: each for name, each in arrays.items() if not wanted or name in wanted}
    peers, rows = _coding_peers.sizes(arrays), []
    for name, each in arrays.items():
        plain = b"".join(array.astype(np.int8).tobytes() for array in each)
        floats = b"".join(array.astype(np.float32).tobytes() for array in each)
        bits = sum(array.size * byte_coders.entropy(array) for array in each)
        rows.append(
            {
                "integers of": name,
                "weights": sum(array.size for array in each),
                "not zero": int(sum((array != 0).sum() for array in each)),
                "gzip of the floats": len(byte_coders.pack(floats)),
                "entropy, one by one": round(bits / 8),
                **{method: len(byte_coders.pack(plain, method)) for method in ("gzip", "brotli", "xz")},
                **peers[name],
                "ours": len(coding.compress(model_of([array.astype(np.float32) for array in each]), names=False)),
            }
        )
        print(rows[-1], flush=True)
    return rows


def measure_floats(networks: Sequence[tuple[str, str]] = FLOATS) -> list[dict]:
    """One row a network: bytes of float32 weights that nobody pruned, lossless, by each coder."""
    from benchmarks import _coding_peers
    from utils import training
    from utils.optimize import coding
    from utils.optimize.coding import byte_coders

    models = {
        f"{name}, {pictures}": training.trained(name, pictures, seed=0, fresh=False) for name, pictures in networks
    }
    peers, rows = _coding_peers.sizes({name: model.get_weights() for name, model in models.items()}), []
    for name, model in models.items():
        plain = b"".join(array.tobytes() for array in model.get_weights())
        packed = {method: len(byte_coders.pack(plain, method)) for method in ("gzip", "xz")}
        ours = len(coding.compress(model, names=False))
        rows.append({"floats of": name, "raw": len(plain), **packed, **peers[name], "ours": ours})
        print(rows[-1], flush=True)
    return rows


# ---------------------------------------------------------------- speed


def generated(weights: int, seed: int = 0) -> Any:
    """Dense layers of 1,000 units, 3 % of the weights not zero, fifteen values."""
    import numpy as np
    import tf_keras

    rng = np.random.default_rng(seed)
    inputs = tf_keras.Input((1000,))
    x = inputs
    for _ in range(weights // 1_000_000):
        x = tf_keras.layers.Dense(1000, use_bias=False)(x)
    model = tf_keras.Model(inputs, x)
    for weight in model.weights:
        codes = rng.integers(-7, 8, weight.shape) * (rng.random(weight.shape) < 0.03)
        weight.assign(np.float32(0.125) * codes)
    return model


def speed(_: bytes, weights: int) -> dict[str, Any]:
    """Runs in a child: seconds to write and to read, and by how much memory grew beyond the model meanwhile."""
    import resource

    from utils.optimize.coding import compress, decompress

    unit = 1024 if sys.platform == "linux" else 1
    model = generated(weights)
    before = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    content = compress(model)
    written = time.process_time()
    again = decompress(content)
    read = time.process_time()
    same = all((a.numpy() == b.numpy()).all() for a, b in zip(model.weights, again.weights, strict=True))
    grown = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "weights": weights,
        "bytes": len(content),
        "exact": bool(same),
        "write s": round(written - begin, 1),
        "read s": round(read - written, 1),
        "write MB/s": round(4 * weights / 1e6 / (written - begin), 2),
        "read MB/s": round(4 * weights / 1e6 / (read - written), 2),
        "memory beyond the model, bytes a weight": round(grown / weights, 1),
    }


def measure_speed(sizes: Sequence[int] = SIZES) -> list[dict]:
    """One row a size, each in a process of its own."""
    rows = []
    for weights in sizes:
        rows.append(child.run("benchmarks.compression:speed", options={"weights": weights}, timeout=3600, memory=None))
        print(rows[-1], flush=True)
    return rows


# ---------------------------------------------------------------- damaged files

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


# ---------------------------------------------------------------- the command


def store_networks(options: argparse.Namespace) -> None:
    wanted = {
        network: [plan for plan in [*PLANS[network], DENSE] if not options.plans or plan in options.plans]
        for network in PLANS
        if not options.networks or network in options.networks
    }
    if options.tiny:
        tiny()
        return
    recorded.check_writable("compression")
    measure_networks(wanted, options.seeds or SEEDS, options.anew)


def tiny() -> None:
    """A LeNet-300-100 in a minute, from a small pool and labels alone; nothing is stored."""
    import numpy as np

    from utils.optimize.deep_compression import Plan

    mnist = data.load("mnist").subset(2000)
    pool = _lenet.pool_of(mnist.x_train, _lenet.folder() / "pool-tiny.npy", copies=2, anew=True)
    logits = np.broadcast_to(5 * np.eye(10, dtype=np.float16)[mnist.y_train], (2, 2000, 10))
    lessons = _lenet.Lessons(pool, logits, mnist.y_train)
    print(measure("lenet_300_100", "tiny", 0, lessons, Plan(kept=8_000, steps=600))[0])
    print("data/results/compression.json stays as it was: --tiny trained a small network for 600 steps")


def tried(options: argparse.Namespace) -> None:
    """Train with other settings and print what the validation pictures say; the test pictures are not looked at."""
    from dataclasses import fields, replace

    from utils.optimize.deep_compression import Plan

    kinds = {field.name: int if field.type == "int" else float for field in fields(Plan)}
    changes = dict(word.split("=", 1) for word in options.settings)
    if unknown := set(changes) - set(kinds):
        raise ValueError(f"a Plan has no {sorted(unknown)[0]!r}; pass some of {', '.join(kinds)}")
    network = (options.networks or ["lenet_300_100"])[0]
    plan = (options.plans or list(PLANS[network]))[0]
    usual, units = plan_of(network, plan)
    settings = replace(usual, **{name: kinds[name](value) for name, value in changes.items()})
    print(settings)
    seed, units = (options.seeds or SEEDS)[0], options.units or units
    print(measure(network, plan, seed, _lenet.lessons(), settings, units, tested=False)[0])


def store(name: str, rows: list[dict], function: Any, notes: str) -> None:
    coded = [path_of(network, plan) for network, plans in PLANS.items() for plan in plans]
    recorded.save(
        f"compression_{name}",
        rows,
        command=f"{COMMAND} --only {name}",
        depends=[function, *(coded if name == "peers" else [])],
        seeds=[0],
        notes=notes,
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="course.py bench compression", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = ("networks", "try", "peers", "floats", "speed", "fuzz")
    parser.add_argument("--only", choices=parts, help="one part; all but try and fuzz by default")
    parser.add_argument(
        "--networks", nargs="*", choices=tuple(PLANS), help="rows of these; the others stay as recorded"
    )
    parser.add_argument("--plans", nargs="*", help="rows of these plans; the others stay as recorded")
    parser.add_argument("--anew", action="store_true", help="drop rows that other code measured")
    parser.add_argument("--tiny", action="store_true", help="networks: a small training; nothing is stored")
    parser.add_argument("--settings", nargs="*", default=[], metavar="NAME=NUMBER", help="try: of the Plan, kept=3000")
    parser.add_argument("--units", nargs="*", type=int, help="try: of each layer but the last, to start thinner")
    parser.add_argument("--seeds", nargs="*", type=int, help="of the first weights and the batches, 0 1 2 by default")
    parser.add_argument("--count", type=int, default=3334, help="fuzz: files of each of the three ways")
    options = parser.parse_args(arguments)
    known = {plan for plans in PLANS.values() for plan in plans} | {DENSE}
    if unknown := set(options.plans or ()) - known:
        parser.error(f"there is no plan {sorted(unknown)[0]!r}; pass some of {', '.join(sorted(known))}")
    if options.only == "fuzz":
        asked = {"count": options.count, "seed": 0}
        found = child.run("benchmarks.compression:fuzz", options=asked, timeout=3600, memory=_MEMORY)
        print(json.dumps(found, indent=1))
        return 1 if found["wrong"] else 0
    if options.only == "try":
        tried(options)
        return 0
    if options.only in (None, "networks"):
        store_networks(options)
    if options.only in (None, "peers"):
        store("peers", measure_peers(), measure_peers, "bytes of the kernels' integers; ours with structure and head")
    if options.only in (None, "floats"):
        store(
            "floats", measure_floats(), measure_floats, "bytes of all weights, float32, lossless; ours with structure"
        )
    if options.only in (None, "speed"):
        store("speed", measure_speed(), speed, "processor time of one thread; MB of float32 weights")
    return 0


if __name__ == "__main__":
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"  # before TensorFlow: a step of a thin LeNet-5 takes 30 ms instead of 100
    start(main)
