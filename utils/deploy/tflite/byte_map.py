"""Where each byte of a .tflite file goes: an exact partition, told by walking the flatbuffer.

A flatbuffer is tables, vectors and strings that point to each other.  Each table points back to a vtable, which says
where its fields are and how long it is; vectors and strings begin with their length.  So everything that is reachable
from the root can be measured, and what is left is padding or has been appended.
(flatbuffers.dev, "Internals"; the fields are those of LiteRT's schema.fbs.)
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils import plots, tflite_file

#: What a region holds; `Region.kind` is one of these.
KINDS = (
    "weights", "quantization", "sparsity", "tensors", "names", "operators", "signatures", "metadata", "structure",
    "padding", "appended", "other",
)  # fmt: skip

_Field = tuple[str, Any, str]  # ("string", None, kind) · ("vector", bytes a value, kind) · ("table(s)", table, kind)

#: table -> slot -> what the field points to.  Fields that hold plain numbers lie inside the table itself.
_SCHEMA: dict[str, dict[int, _Field]] = {
    "Model": {
        1: ("tables", "OperatorCode", "operators"), 2: ("tables", "SubGraph", "structure"),
        3: ("string", None, "metadata"), 4: ("tables", "Buffer", "structure"), 5: ("vector", 4, "metadata"),
        6: ("tables", "Metadata", "metadata"), 7: ("tables", "SignatureDef", "signatures"),
        8: ("tables", "ExternalBufferGroup", "structure"), 9: ("tables", "ExternalBuffer", "structure"),
    },
    "OperatorCode": {1: ("string", None, "operators")},
    "SubGraph": {
        0: ("tables", "Tensor", "tensors"), 1: ("vector", 4, "structure"), 2: ("vector", 4, "structure"),
        3: ("tables", "Operator", "operators"), 4: ("string", None, "names"),
    },
    "Tensor": {
        0: ("vector", 4, "tensors"), 3: ("string", None, "names"),
        4: ("table", "QuantizationParameters", "quantization"), 6: ("table", "SparsityParameters", "sparsity"),
        7: ("vector", 4, "tensors"), 9: ("tables", "VariantSubType", "tensors"),
    },
    "VariantSubType": {0: ("vector", 4, "tensors")},
    "QuantizationParameters": {
        0: ("vector", 4, "quantization"), 1: ("vector", 4, "quantization"), 2: ("vector", 4, "quantization"),
        3: ("vector", 8, "quantization"), 5: ("union", "QuantizationDetails", "quantization"),
    },
    "SparsityParameters": {
        0: ("vector", 4, "sparsity"), 1: ("vector", 4, "sparsity"), 2: ("tables", "DimensionMetadata", "sparsity"),
    },
    "DimensionMetadata": {
        3: ("union", "SparseIndexVector", "sparsity"), 5: ("union", "SparseIndexVector", "sparsity"),
    },
    "Operator": {
        1: ("vector", 4, "operators"), 2: ("vector", 4, "operators"), 4: ("union", "BuiltinOptions", "operators"),
        5: ("vector", 1, "operators"), 7: ("vector", 1, "operators"), 8: ("vector", 4, "operators"),
        12: ("union", "BuiltinOptions2", "operators"),
    },
    "VarHandleOptions": {0: ("string", None, "operators"), 1: ("string", None, "operators")},
    "StableHLOCompositeOptions": {0: ("string", None, "operators")},
    "StablehloCustomCallOptions": {0: ("string", None, "operators"), 2: ("string", None, "operators")},
    "Buffer": {},  # its data belongs to whoever uses it: `_Walk.buffers`
    "Metadata": {0: ("string", None, "metadata")},
    "SignatureDef": {
        0: ("tables", "TensorMap", "signatures"), 1: ("tables", "TensorMap", "signatures"),
        2: ("string", None, "signatures"),
    },
    "TensorMap": {0: ("string", None, "signatures")},
    "ExternalBufferGroup": {0: ("string", None, "structure")},
    "ExternalBuffer": {4: ("string", None, "structure")},
}  # fmt: skip


@dataclass(frozen=True)
class Region:
    """Bytes start … end-1 of the file: what they are (one of `KINDS`) and, for weights, of which operator."""

    start: int
    end: int
    kind: str
    owner: str = ""

    @property
    def size(self) -> int:
        return self.end - self.start


def regions(content: bytes) -> tuple[Region, ...]:
    """The file cut into regions, in order, without gap or overlap: their sizes add up to len(content).

    Raises ArtifactError for bytes that are no .tflite file or a damaged one, TypeError for what is no bytes.
    """
    content = tflite_file.as_bytes(content)
    walk = _Walk(content)
    with tflite_file.damage_explained():
        walk.all()
    return tuple(_partition(content, walk.claims))


def by_kind(content: bytes) -> dict[str, int]:
    """{kind: bytes}, in the order of `KINDS`, without those that take none."""
    total: Counter[str] = Counter()
    for region in regions(content):
        total[region.kind] += region.size
    return {kind: total[kind] for kind in KINDS if total[kind]}


def by_operator(content: bytes) -> dict[str, int]:
    """{"0 CONV_2D": bytes of its weights}, in the order of execution, for operators that have some.

    A buffer that several operators share counts for the first; "unused" is what no operator reads.
    """
    total: Counter[str] = Counter()
    for region in regions(content):
        if region.kind == "weights":
            total[region.owner] += region.size
    file = tflite_file.File(tflite_file.as_bytes(content))
    order = [_label(operator) for operator in file.all_operators()]
    return {name: total[name] for name in [*order, "unused"] if total[name]}


def draw(files: Mapping[str, bytes], title: str) -> Any:
    """A figure: which part of each file's bytes is of which kind, in per cent of that file.

    files: {name: content}.  Kinds under one per cent of every file are drawn as "the rest".  title: the finding.
    `plots.show(figure, alt=…)` shows it.
    """
    if not files:
        raise ValueError("there is no file to draw; pass {name: bytes of a .tflite file}")
    sizes = {name: by_kind(content) for name, content in files.items()}
    parts = {name: {kind: 100 * n / len(files[name]) for kind, n in of.items()} for name, of in sizes.items()}
    named = [kind for kind in KINDS if max(part.get(kind, 0) for part in parts.values()) >= 1]
    rows = [*named, "the rest"]
    figure, axes = plots.figure(title=title, height=0.5 + 0.32 * len(rows) * len(files))
    height = 0.8 / len(files)
    for number, (name, part) in enumerate(parts.items()):
        values = [part.get(kind, 0) for kind in named]
        values.append(max(100 - sum(values), 0))
        places = [row + (number - (len(files) - 1) / 2) * height for row in range(len(rows))]
        bars = axes.barh(places, values, height, edgecolor="black", hatch=("", "///", "...")[number % 3])
        axes.bar_label(bars, [f"{name} {value:.0f} %" for value in values], padding=3, fontsize=8)
    axes.set(xlabel="% of the file's bytes", ylabel="part of the file", xlim=(0, 118))
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    return figure


def _label(operator: tflite_file.Operator) -> str:
    return f"{f'{operator.subgraph}/' if operator.subgraph else ''}{operator.index} {operator.name}"


class _Walk:
    """Follows every offset from the root and notes what it finds."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.file = tflite_file.File(content)
        self.claims: list[tuple[int, int, str, str]] = []
        self._seen: set[tuple[int, str]] = set()
        self._base = np.frombuffer(content, np.uint8).ctypes.data

    def all(self) -> None:
        self.claim(0, 8, "structure")  # offset of the root, and "TFL3"
        self.table(self.target(0), "Model", "structure")
        self.buffers()

    def number(self, form: str, at: int) -> int:
        return struct.unpack_from("<" + form, self.content, at)[0]

    def target(self, at: int) -> int:
        """Where the offset at `at` points to."""
        return at + self.number("I", at)

    def claim(self, start: int, end: int, kind: str, owner: str = "") -> None:
        if not 0 <= start <= end <= len(self.content):
            raise ValueError(f"something lies from byte {start} to {end} of {len(self.content)}")
        self.claims.append((start, end, kind, owner))

    def table(self, at: int, name: str, kind: str) -> None:
        if (at, name) in self._seen:
            return
        self._seen.add((at, name))
        vtable = at - self.number("i", at)
        length = self.number("H", vtable)
        self.claim(vtable, vtable + length, "structure")
        self.claim(at, at + self.number("H", vtable + 2), kind)
        for slot, field in _SCHEMA.get(name, {}).items():
            place = self.field(at, slot)
            if place:
                self.follow(place, field, at, slot)
        if name.endswith(("Options", "Vector", "Quantization")):  # members of unions
            self.reflected(at, name, kind)

    def field(self, at: int, slot: int) -> int:
        """Where the table's field is; 0 if it has none."""
        vtable = at - self.number("i", at)
        inside = 4 + 2 * slot < self.number("H", vtable)
        offset = self.number("H", vtable + 4 + 2 * slot) if inside else 0
        return at + offset if offset else 0

    def follow(self, place: int, field: _Field, table: int, slot: int) -> None:
        form, of, kind = field
        at = self.target(place)
        if form == "table":
            self.table(at, of, kind)
        elif form == "union":  # the field before says which table it is
            which = self.field(table, slot - 1)
            name = _union(of).get(self.number("B", which) if which else 0, "NONE")
            if name != "NONE":
                self.table(at, name, kind)
        elif form == "string":
            self.claim(at, at + 4 + self.number("I", at) + 1, kind)  # length, text, a zero
        elif form == "vector":
            self.claim(at, at + 4 + of * self.number("I", at), kind)
        else:
            count = self.number("I", at)
            self.claim(at, at + 4 + 4 * count, "structure")
            for index in range(count):
                self.table(self.target(at + 4 + 4 * index), of, kind)

    def reflected(self, at: int, name: str, kind: str) -> None:
        """The vectors of an operator's options, of which there are too many to list: the generated reader has them."""
        from ai_edge_litert import schema_py_generated as schema

        reader = getattr(schema, name)()
        reader.Init(self.content, at)
        for method in dir(reader):
            values = getattr(reader, method)() if method.endswith("AsNumpy") else None
            if isinstance(values, np.ndarray) and values.size:
                start = values.ctypes.data - self._base
                self.claim(start - 4, start + values.nbytes, kind)

    def buffers(self) -> None:
        """The data of each buffer, in the flatbuffer or, in large files, behind it."""
        owners = dict(_owners(self.file))
        vector = self.target(self.field(self.target(0), 4))
        for index in range(self.number("I", vector)):
            table = self.target(vector + 4 + 4 * index)
            kind, owner = owners.get(index, ("weights", "unused"))
            data, offset, size = (self.field(table, slot) for slot in range(3))
            if data:
                start = self.target(data)
                self.claim(start, start + 4, "structure")
                self.claim(start + 4, start + 4 + self.number("I", start), kind, owner)
            if offset and size and self.number("Q", offset) > 1:
                start = self.number("Q", offset)
                self.claim(start, start + self.number("Q", size), kind, owner)


def _owners(file: tflite_file.File) -> Iterator[tuple[int, tuple[str, str]]]:
    """(buffer, (kind, owner)); the first of several users comes last, so that a dict keeps it."""
    for operator in reversed(file.all_operators()):
        yield from ((tensor.buffer, ("weights", _label(operator))) for tensor in operator.inputs if tensor.constant)
    yield from ((buffer, ("metadata", name)) for name, buffer in file.metadata_buffers())


def _partition(content: bytes, claims: list[tuple[int, int, str, str]]) -> Iterator[Region]:
    """Regions in order; what two claim goes to the first, what none claims is padding or was appended."""
    at = 0
    for start, end, kind, owner in sorted(claims, key=lambda claim: claim[:2]):
        if start > at:
            yield Region(at, start, "padding" if not any(content[at:start]) else "other")
        if end > max(at, start):
            yield Region(max(at, start), end, kind, owner)
        at = max(at, end)
    if at < len(content):
        rest = content[at : at + 16]
        yield Region(at, len(content), "appended" if any(rest) or len(content) - at >= 16 else "padding")


def _union(name: str) -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    return {value: key for key, value in vars(getattr(schema, name)).items() if isinstance(value, int)}
