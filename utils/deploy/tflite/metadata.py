"""Metadata and labels in a .tflite file: read, and written without further packages.

A file has named metadata buffers inside of the flatbuffer (`min_runtime_version`, `CONVERSION_METADATA`), and may have
files such as labels behind it, as a zip archive: a flatbuffer is read from the front, a zip from the end, so one file
is both.  TFLITE_METADATA is a flatbuffer of its own that says which file labels which output
(tensorflow/tflite-support, metadata_schema.fbs).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import flatbuffers
import numpy as np
from flatbuffers import number_types
from flatbuffers.table import Table

from utils import tflite_file
from utils.artifact import ArtifactError
from utils.deploy.tflite.session import content_of

MODEL = "TFLITE_METADATA"
LABELS = "labels.txt"
_LABELS_OF_AN_AXIS, _LABELS_OF_VALUES = 2, 3  # AssociatedFileType: one for each place, or for each value, of an output
_LABELS = (_LABELS_OF_AN_AXIS, _LABELS_OF_VALUES)


def entries(content: bytes) -> dict[str, bytes]:
    """{name: value} of the metadata buffers inside of the flatbuffer."""
    return tflite_file.File(tflite_file.as_bytes(content)).metadata()


def minimum_runtime(content: bytes) -> str | None:
    """The oldest TensorFlow Lite that has all of the file's operators, such as "1.14.0"; None if it does not say."""
    value = entries(content).get("min_runtime_version", b"").split(b"\0")[0]
    return value.decode(errors="replace") or None


def converted_by(content: bytes) -> str | None:
    """The version of TensorFlow that converted the file; None if it does not say."""
    value = entries(content).get("CONVERSION_METADATA")
    with tflite_file.damage_explained():
        return _text(_child(_root(value), 0), 0) if value else None


def description(content: bytes) -> dict[str, str]:
    """What TFLITE_METADATA says of the model: name, description, version, author, license; {} if there is none."""
    value = entries(content).get(MODEL)
    if not value:
        return {}
    fields = {"name": 0, "description": 1, "version": 2, "author": 4, "license": 5}
    with tflite_file.damage_explained():
        found = {name: _text(_root(value), slot) for name, slot in fields.items()}
    return {name: text for name, text in found.items() if text}


def labels(content: bytes) -> tuple[str, ...]:
    """The names of the classes, in the order of the output; () if the file has none.

    They stand in the packed file that the metadata call labels, whatever its name, else in `labels.txt`.
    """
    files = tflite_file.packed(tflite_file.as_bytes(content))
    text = files.get(_file_of_labels(content) or LABELS, files.get(LABELS, b""))
    return tuple(text.decode("utf-8", errors="replace").splitlines())


def _file_of_labels(content: bytes) -> str | None:
    """The name of the first file that TFLITE_METADATA has for the labels of an output; None if there is none."""
    value = entries(content).get(MODEL)
    if not value:
        return None
    with tflite_file.damage_explained():
        graphs = _children(_root(value), 3)
        tensors = [tensor for graph in graphs[:1] for tensor in _children(graph, 3)]
        files = [file for tensor in tensors for file in _children(tensor, 6)]
        return next((_text(file, 0) for file in files if _number(file, 2) in _LABELS), None)


def with_entry(content: bytes, name: str, value: bytes) -> bytes:
    """The file with one more metadata buffer, or another value for the one of that name.

    The flatbuffer is written anew, constants aligned to 16 bytes as the interpreter wants them.

    Raises TypeError if value is no bytes, ArtifactError for a file that keeps its constants behind the flatbuffer
    (over 2 GB).
    """
    from ai_edge_litert import schema_py_generated as schema

    content = tflite_file.as_bytes(content)
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"the value of {name!r} is {type(value).__name__}; pass bytes")
    tflite_file.File(content)  # says what is damaged before it is copied
    with tflite_file.damage_explained():
        model = schema.ModelT.InitFromPackedBuf(content)
    if any(buffer.offset > 1 for buffer in model.buffers):
        raise ArtifactError("this file keeps its constants behind the flatbuffer; its metadata cannot be rewritten")
    others = [entry for entry in model.metadata or [] if entry.name != name.encode()]
    replaced = [entry.buffer for entry in model.metadata or [] if entry.name == name.encode()]
    used = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors or []}
    used |= {0, *(entry.buffer for entry in others)}
    place = next((buffer for buffer in replaced if buffer not in used), len(model.buffers))
    model.buffers[place:] = [schema.BufferT(data=np.frombuffer(value, np.uint8)), *model.buffers[place + 1 :]]
    model.metadata = [*others, schema.MetadataT(name=name, buffer=place)]
    return tflite_file.with_packed(tflite_file.pack(model), tflite_file.packed(content))


def with_labels(
    content: bytes,
    names: Sequence[str],
    *,
    output: int = 0,
    name: str = "",
    description: str = "",
    version: str = "",
    author: str = "",
    license: str = "",
) -> bytes:
    """The file with the names of its classes, as Android's and MediaPipe's readers of metadata find them.

    content: a .tflite file.
    names: one for each class, in the order of the output's last axis; a line break at the end, which `readlines`
        leaves there, is taken off.
    output: the number of the output, where the file has several.
    name, description, version, author, license: of the model, in words.

    Returns the new file's bytes; the model computes what it did.
    Raises TypeError if the model's name, version, … is no text.
    Raises ValueError if there are more or fewer names than classes, a name is empty, has a line break inside or stands
    there twice, or there is no such output.
    """
    content = content_of(content)
    file = tflite_file.File(content)
    names = _check_labels(names, file.outputs(), output)
    labelled = {0: LABELS, 1: "names of the classes", 2: _LABELS_OF_AN_AXIS}
    tensors = {
        2: [{0: tensor.name} for tensor in file.inputs()],
        3: [
            {0: tensor.name} | ({6: [labelled]} if number == output else {})
            for number, tensor in enumerate(file.outputs())
        ],
    }
    texts = {0: name, 1: description, 2: version, 4: author, 5: license}
    if wrong := [text for text in texts.values() if not isinstance(text, str)]:
        raise TypeError(
            f"name, description, version, author and license are text, such as version='1'; got {wrong[0]!r}"
        )
    about = {**texts, 3: [tensors], 7: "1.0.0"}
    builder = flatbuffers.Builder(1024)
    builder.Finish(_write(builder, about), file_identifier=b"M001")
    described = with_entry(content, MODEL, bytes(builder.Output()))
    return tflite_file.with_packed(described, {LABELS: ("\n".join(names) + "\n").encode("utf-8")})


def _check_labels(names: Any, outputs: Sequence[tflite_file.Tensor], output: int) -> list[str]:
    """The names without line breaks at their ends, or ValueError."""
    listed = [] if isinstance(names, (str, Set, Mapping)) or not isinstance(names, Iterable) else list(names)
    if not listed or not all(isinstance(text, str) for text in listed):
        raise ValueError(f"names is {names!r:.80}; pass a list with the name of each class, in the order of the output")
    names = [text.rstrip("\r\n") for text in listed]
    bad = [text for text in names if not text.strip() or len(text.splitlines()) != 1]
    if bad:
        raise ValueError(f"{bad[0]!r} is no name of a class: one line of text, please")
    twice = [text for text, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0]!r} is the name of several classes; give each its own")
    if output not in range(len(outputs)):
        raise ValueError(f"output={output!r}; the file's outputs are numbered 0 to {len(outputs) - 1}")
    shape = outputs[output].signature
    if not shape or shape[-1] != len(names):
        raise ValueError(
            f"{len(names)} names for output {output} of shape {shape}: its last axis needs one for each class"
        )
    return names


# --- flatbuffers without generated code -----------------------------------------------------------------


def _write(builder: flatbuffers.Builder, fields: Mapping[int, Any]) -> int:
    """A table with text, small whole numbers and lists of tables in its slots."""
    placed: dict[int, Any] = {}
    for slot, value in fields.items():
        if isinstance(value, str):
            placed[slot] = builder.CreateString(value) if value else None
        elif isinstance(value, list):
            items = [_write(builder, item) for item in value]
            builder.StartVector(4, len(items), 4)
            for item in reversed(items):
                builder.PrependUOffsetTRelative(item)
            placed[slot] = builder.EndVector()
    builder.StartObject(max(fields) + 1)
    for slot, value in fields.items():
        if isinstance(value, int):
            builder.PrependInt8Slot(slot, value, 0)
        elif placed[slot] is not None:
            builder.PrependUOffsetTRelativeSlot(slot, placed[slot], 0)
    return builder.EndObject()


def _root(content: bytes) -> Table:
    return Table(content, flatbuffers.encode.Get(flatbuffers.packer.uoffset, content, 0))


def _child(table: Table, slot: int) -> Table | None:
    offset = number_types.UOffsetTFlags.py_type(table.Offset(4 + 2 * slot)) if table else 0
    return Table(table.Bytes, table.Indirect(table.Pos + offset)) if offset else None


def _children(table: Table, slot: int) -> list[Table]:
    """The tables in a vector; a vector that announces more than the buffer can hold is damaged."""
    offset = number_types.UOffsetTFlags.py_type(table.Offset(4 + 2 * slot))
    if not offset:
        return []
    start, count = table.Vector(offset), table.VectorLen(offset)
    if start + 4 * count > len(table.Bytes):
        raise ArtifactError(f"the file's structure is damaged: its metadata announce {count:,} parts")
    return [Table(table.Bytes, table.Indirect(start + 4 * index)) for index in range(count)]


def _number(table: Table, slot: int) -> int:
    """A small whole number; 0 if it is not there."""
    offset = number_types.UOffsetTFlags.py_type(table.Offset(4 + 2 * slot))
    return int(table.Get(number_types.Int8Flags, table.Pos + offset)) if offset else 0


def _text(table: Table | None, slot: int) -> str | None:
    offset = number_types.UOffsetTFlags.py_type(table.Offset(4 + 2 * slot)) if table else 0
    return table.String(table.Pos + offset).decode(errors="replace") if offset else None
