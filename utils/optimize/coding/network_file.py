"""A network in as few bytes as possible: `compress`, `decompress`, `inspect`.

    content = compress(model)            # a pruned and quantized tf_keras model
    same = decompress(content)           # each weight bit for bit
    inspect(content).total("signs")      # where the bytes went

A file: two letters, one byte for the version (its highest bit: bytes that no model could predict follow, their number
in front), CRC-32 of all the rest, and one stream of coded bits: the structure, then array after array.  All
probabilities are computed with whole numbers, so that a file is the same on every machine and decoded to the same on
every machine.
"""

from __future__ import annotations

import numbers
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tf_keras

from utils import checks
from utils.optimize.coding import layouts, structure
from utils.optimize.coding.fields import Fields
from utils.optimize.coding.layouts import ArrayInLayout
from utils.optimize.coding.range_coder import Damaged, Reader, Writer
from utils.optimize.coding.values import Arrays
from utils.optimize.keras_weights import Weight

MAGIC = b"TZ"
VERSION = 1
_RAW = 0x80
HEAD = len(MAGIC) + 1 + 4
#: Inputs are alike if the layer before has about as many weights for them: from so many on.
_PRODUCERS = (1, 2, 3, 4, 6, 10, 16, 26, 41, 65, 104)


@dataclass(frozen=True)
class ArrayBits:
    """Bits that one kind of information of one array takes; array "" is the file itself."""

    array: str
    kind: str
    bits: float


@dataclass(frozen=True)
class Inspection:
    """Where the bits of a file are; `parts` add up to all of them."""

    size: int
    parameters: int
    parts: tuple[ArrayBits, ...]

    @property
    def ratio(self) -> float:
        """Bytes of the weights as float32, every one of them, over bytes of the whole file."""
        return 4 * self.parameters / self.size

    def total(self, kind: str) -> float:
        """Bytes of one kind in all arrays: positions, signs, sizes, floats, kinds, steps, book, structure, head,
        rounding.
        """
        return sum(part.bits for part in self.parts if part.kind == kind) / 8

    def __str__(self) -> str:
        kinds = sorted({part.kind for part in self.parts}, key=lambda kind: -self.total(kind))
        rows = [f"{self.size:,} bytes, {self.ratio:.1f} times fewer than float32", *map(self._row, kinds)]
        return "\n".join(rows)

    def _row(self, kind: str) -> str:
        return f"{self.total(kind):>12,.1f}  {kind}"


def compress(model: tf_keras.Model, names: bool = True) -> bytes:
    """`model` in as few bytes as possible; equal models give equal bytes.

    What makes it small is in the weights: zeros (pruning), and few values (multiples of a step, or a list).  Float
    weights are kept exactly too, with little gain.

    model: built, Sequential or functional, of the layers in `structure.LAYERS`; weights of any number type.
    names: keep the names of layers; without them layers get Keras' own, which saves some bytes.
    Raises TypeError: it is no tf_keras model.
    Raises ValueError: another layer; no weights; NaN or infinite weights; weights that the structure does not bring
        back.
    """
    text, layers = structure.described(model, names)
    layouts.check_arrays(model)
    weights = [weight for _, weight in layouts.ordered(layers)]
    arrays = _built_again(model, text, weights)
    writer = Writer()
    Fields(writer).text(text, "structure")
    _code(writer, arrays, [weight.variable.numpy() for weight in weights])
    raw, version = writer.raw_content(), VERSION
    body = writer.content()
    if raw:
        version |= _RAW
        body = _varint(len(raw)) + raw + body
    return sealed(bytes([version]) + body)


def decompress(content: bytes, max_parameters: int = 100_000_000) -> tf_keras.Model:
    """The model that was compressed, not compiled, each weight bit for bit.

    Nothing in a file is executed, and nothing large is made before it is clear that it may be.

    content: what `compress` returned.
    max_parameters: the most weights that the model may have.
    Raises TypeError: no bytes.
    Raises ValueError: no such file, a damaged one, one of a newer version, or too many parameters.
    """
    return _read(content, max_parameters, counts=False)[0]


def inspect(content: bytes, max_parameters: int = 100_000_000) -> Inspection:
    """Where the bits of a compressed file are.  Arguments and errors as in `decompress`."""
    model, parts = _read(content, max_parameters, counts=True)
    parts.append(ArrayBits("", "head", 8.0 * HEAD))
    rest = 8.0 * len(content) - sum(part.bits for part in parts)
    parts.append(ArrayBits("", "rounding", rest))
    return Inspection(len(content), int(sum(np.prod(w.shape) for w in model.weights)), tuple(parts))


# ---------------------------------------------------------------- the stream


def _code(
    coder: Any, arrays: Sequence[ArrayInLayout], values: Sequence[np.ndarray] | None, report: Any = None
) -> list[np.ndarray]:
    """Write the `values` of all arrays, or read them if None; report: called with the array behind each."""
    coded = Arrays(coder)
    counts: dict[int, np.ndarray] = {}
    found = []
    for number, array in enumerate(arrays):
        layout = array.layout
        dtype = np.dtype(array.weight.variable.dtype.as_numpy_dtype)
        producer = _alike(counts.get(id(array.source)), layout.channels)
        true = None if values is None else array.arranged(values[number])
        read = coded.code(layout, dtype, producer, true)
        counts[id(array.weight.variable)] = (_numbers(read) != 0).sum((0, 1))
        found.append(array.restored(read))
        if report:
            report(array)
    return found


def _numbers(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


def _alike(counts: np.ndarray | None, channels: int) -> np.ndarray:
    """(channels,): a number for how many weights the layer before has for each; 0 where nothing is known."""
    if counts is None or len(counts) != channels:
        return np.zeros(channels, np.int64)
    return 1 + np.searchsorted(_PRODUCERS, counts, side="right")


def _built_again(model: tf_keras.Model, text: str, weights: Sequence[Weight]) -> list[ArrayInLayout]:
    """What a reader will see: arrays of a network built from the text, which must be those of the model."""
    try:
        _, layers = structure.build(text, sum(int(np.prod(weight.variable.shape)) for weight in weights))
        arrays = layouts.seen(layers)
    except structure.TooLarge:
        arrays = []
    except ValueError as error:
        raise ValueError(f"the model {model.name!r} cannot be built from its structure: {error}") from None
    if [_look(weight) for weight in weights] != [_look(array.weight) for array in arrays]:
        raise ValueError(
            f"the model {model.name!r} has other weights than a model of the same layers: a layer was changed after it "
            "was built, or has an array of another layer; build the model anew and copy the weights"
        )
    return arrays


def _look(weight: Weight) -> tuple:
    variable = weight.variable
    return tuple(variable.shape), variable.dtype.name, type(weight.layer).__name__, weight.attribute


def _read(content: bytes, max_parameters: int, counts: bool) -> tuple[tf_keras.Model, list[ArrayBits]]:
    if isinstance(max_parameters, bool) or not isinstance(max_parameters, numbers.Integral) or max_parameters < 1:
        raise ValueError(
            f"max_parameters is {max_parameters!r}; pass the most weights that a model may have, a whole number"
        )
    reader = _opened(content, counts)
    parts: list[ArrayBits] = []

    def report(array: ArrayInLayout | None) -> None:
        if reader.spent is not None:
            name = "" if array is None else array.weight.name
            parts.extend(ArrayBits(name, kind, bits) for kind, bits in reader.spent.items())
            reader.spent.clear()

    try:
        model, layers = structure.build(Fields(reader).text(None, "structure"), max_parameters)
        report(None)
        arrays = layouts.seen(layers)
        values = _code(reader, arrays, None, report)
    except Damaged as error:
        raise ValueError(f"this compressed file is damaged: {error}; copy or make it again") from None
    for array, value in zip(arrays, values, strict=True):
        array.weight.variable.assign(value)
    _finish(model)
    return model, parts


def _finish(model: tf_keras.Model) -> None:
    """A Normalization layer computes with constants, which are made of its weights."""
    for layer in checks.all_layers(model):
        if isinstance(layer, tf_keras.layers.Normalization):
            layer.finalize_state()


# ---------------------------------------------------------------- head and checksum


def sealed(rest: bytes) -> bytes:
    """A file of its version's byte and all that stands behind the checksum."""
    return MAGIC + rest[:1] + zlib.crc32(rest).to_bytes(4, "little") + rest[1:]


def _opened(content: bytes, counts: bool) -> Reader:
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise TypeError(f"content is a {type(content).__name__}; pass bytes, such as path.read_bytes()")
    content = bytes(content)
    if content[: len(MAGIC)] != MAGIC:
        what = "no bytes at all" if not content else f"beginning with {content[:4]!r}"
        raise ValueError(f"this is no file that compress made ({what}); pass the bytes that compress returned")
    if len(content) < HEAD:
        raise ValueError(f"this compressed file ends after {len(content)} bytes; copy it again")
    version, body = content[2], content[HEAD:]
    if zlib.crc32(bytes([version]) + body) != int.from_bytes(content[3:HEAD], "little"):
        raise ValueError(
            "this compressed file is damaged or not whole: its checksum is not that of its bytes; copy it again"
        )
    if version & ~_RAW != VERSION:
        raise ValueError(
            f"this compressed file is of version {version & ~_RAW}, and this program reads version {VERSION}; "
            "update the program"
        )
    if not version & _RAW:
        return Reader(body, counts=counts)
    size, start = _from_varint(body)
    if start + size > len(body):
        raise ValueError("this compressed file is damaged: it is shorter than it says; make it again")
    return Reader(body[start + size :], body[start : start + size], counts=counts)


def _varint(number: int) -> bytes:
    """Seven bits a byte, lowest first, the highest bit set in all but the last."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def _from_varint(content: bytes) -> tuple[int, int]:
    number = 0
    for at, byte in enumerate(content[:8]):
        number |= (byte & 127) << 7 * at
        if byte < 128:
            return number, at + 1
    raise ValueError("this compressed file is damaged: a length in it does not end; make it again")
