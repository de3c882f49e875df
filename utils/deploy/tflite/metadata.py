"""Metadata and labels in a .tflite file: read, and written without further packages.

A file has named metadata buffers inside of the flatbuffer (`min_runtime_version`, `CONVERSION_METADATA`), and may have
files such as labels behind it, as a zip archive: a flatbuffer is read from the front, a zip from the end, so one file
is both.  TFLITE_METADATA is a flatbuffer of its own that says which file labels which output
(tensorflow/tflite-support, metadata_schema.fbs).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
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
_LABELS_OF_AN_AXIS = 2  # AssociatedFileType.TENSOR_AXIS_LABELS


def entries(content: bytes) -> dict[str, bytes]:
    """{name: value} of the metadata buffers inside of the flatbuffer."""
    return tflite_file.File(content).metadata()


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
    """The names of the classes, in the order of the output; () if the file has none."""
    text = tflite_file.packed(content).get(LABELS, b"").decode("utf-8", errors="replace")
    return tuple(text.splitlines())


def with_entry(content: bytes, name: str, value: bytes) -> bytes:
    """The file with one more metadata buffer, or another value for the one of that name.

    The flatbuffer is written anew, constants aligned to 16 bytes as the interpreter wants them.

    Raises ArtifactError for a file that keeps its constants behind the flatbuffer (over 2 GB).
    """
    from ai_edge_litert import schema_py_generated as schema

    tflite_file.File(content)  # says what is damaged before it is copied
    with tflite_file.damage_explained():
        model = schema.ModelT.InitFromPackedBuf(bytes(content))
    if any(buffer.offset > 1 for buffer in model.buffers):
        raise ArtifactError("this file keeps its constants behind the flatbuffer; its metadata cannot be rewritten")
    model.metadata = [entry for entry in model.metadata or [] if entry.name != name.encode()]
    model.metadata.append(schema.MetadataT(name=name, buffer=len(model.buffers)))
    model.buffers.append(schema.BufferT(data=np.frombuffer(value, np.uint8)))
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

    Args:
        content: a .tflite file.
        names: one for each class, in the order of the output's last axis; a line break at the end, which `readlines`
            leaves there, is taken off.
        output: the number of the output, where the file has several.
        name, description, version, author, license: of the model, in words.

    Returns the new file's bytes; the model computes what it did.
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
    about = {0: name, 1: description, 2: version, 3: [tensors], 4: author, 5: license, 7: "1.0.0"}
    builder = flatbuffers.Builder(1024)
    builder.Finish(_write(builder, about), file_identifier=b"M001")
    described = with_entry(content, MODEL, bytes(builder.Output()))
    return tflite_file.with_packed(described, {LABELS: ("\n".join(names) + "\n").encode("utf-8")})


def _check_labels(names: Any, outputs: Sequence[tflite_file.Tensor], output: int) -> list[str]:
    """The names without line breaks at their ends, or ValueError."""
    if isinstance(names, str) or not all(isinstance(text, str) for text in names):
        raise ValueError(f"names is {names!r:.80}; pass a list with the name of each class")
    names = [text.rstrip("\r\n") for text in names]
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


def _text(table: Table | None, slot: int) -> str | None:
    offset = number_types.UOffsetTFlags.py_type(table.Offset(4 + 2 * slot)) if table else 0
    return table.String(table.Pos + offset).decode(errors="replace") if offset else None
