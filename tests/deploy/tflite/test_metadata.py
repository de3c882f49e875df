"""Metadata and labels: what the converter wrote, and what is written comes back while the model stays the same."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.deploy.tflite.test_byte_map import files
from tests.little import as_tflite, examples
from utils import tflite_file
from utils.artifact import Artifact, ArtifactError
from utils.deploy.tflite import byte_map, metadata
from utils.deploy.tflite.tflite_model import TFLiteModel

NAMES = ["shirt", "shoe", "bag", "hat"]
LINE = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1).filter(str.strip)


def test_what_the_converter_wrote():
    import tensorflow as tf

    content = as_tflite().content
    assert metadata.converted_by(content) == tf.__version__
    assert metadata.minimum_runtime(content).split(".")[0] in "12"
    assert set(metadata.entries(content)) == {"min_runtime_version", "CONVERSION_METADATA"}
    assert metadata.labels(content) == ()
    assert tflite_file.packed(content) == metadata.description(content) == {}


def test_labels_and_description_come_back_and_the_model_computes_the_same():
    content = as_tflite().content
    labelled = metadata.with_labels(
        content, NAMES, name="Clothes", description="four kinds", author="me", license="MIT"
    )
    assert metadata.labels(labelled) == tuple(NAMES)
    assert metadata.description(labelled) == {
        "name": "Clothes", "description": "four kinds", "author": "me", "license": "MIT"
    }  # fmt: skip
    assert TFLiteModel(labelled).compare(content, examples(9)).equal
    assert metadata.converted_by(labelled) == metadata.converted_by(content)
    assert zipfile.ZipFile(io.BytesIO(labelled)).namelist() == ["labels.txt"]
    assert metadata.with_labels(content, NAMES) == metadata.with_labels(content, NAMES)


def test_the_labels_are_said_to_belong_to_the_first_output():
    value = metadata.entries(metadata.with_labels(as_tflite().content, NAMES))["TFLITE_METADATA"]
    assert value[4:8] == b"M001"
    graph = first(metadata._root(value), 3)
    named = first(first(graph, 3), 6)
    assert metadata._text(named, 0) == "labels.txt"
    offset = named.Offset(4 + 2 * 2)
    assert named.Get(flatbuffers.number_types.Int8Flags, named.Pos + offset) == 2  # TENSOR_AXIS_LABELS
    assert metadata._text(metadata._root(value), 7) == "1.0.0"


def first(table, slot):
    """The first table of the vector in a slot."""
    start = table.Vector(table.Offset(4 + 2 * slot))
    return flatbuffers.table.Table(table.Bytes, table.Indirect(start))


def test_labels_are_replaced_not_doubled():
    once = metadata.with_labels(as_tflite().content, NAMES)
    twice = metadata.with_labels(once, NAMES[::-1])
    assert metadata.labels(twice) == tuple(NAMES[::-1])
    assert list(tflite_file.packed(twice)) == ["labels.txt"]
    assert len(tflite_file.File(twice).metadata_buffers()) == 3
    assert len(twice) == len(once)  # nothing of the former ones is left in the file


def test_an_entry_is_replaced_in_its_buffer_unless_somebody_else_reads_that():
    once = metadata.with_entry(as_tflite().content, "note", b"one")
    assert metadata.entries(metadata.with_entry(once, "note", b"two"))["note"] == b"two"
    model = schema.ModelT.InitFromPackedBuf(once)
    note = next(entry for entry in model.metadata if entry.name == b"note")
    model.metadata.append(schema.MetadataT(name="twin", buffer=note.buffer))
    twice = metadata.with_entry(tflite_file.pack(model), "note", b"two")
    assert {name: metadata.entries(twice)[name] for name in ("note", "twin")} == {"note": b"two", "twin": b"one"}


def test_one_constant_behind_the_flatbuffer_is_enough_to_refuse(monkeypatch):
    content, unpack = as_tflite().content, schema.ModelT.InitFromPackedBuf

    def with_one_behind(packed):
        model = unpack(packed)
        model.buffers[-1].offset = 4096
        return model

    monkeypatch.setattr(schema.ModelT, "InitFromPackedBuf", with_one_behind)
    with pytest.raises(ArtifactError, match="keeps its constants behind"):
        metadata.with_entry(content, "note", b"one")


def described_by(file: str, kind: int) -> bytes:
    """A file of somebody else's, whose metadata call `file` the labels of the second output."""
    builder = flatbuffers.Builder(64)
    outputs = [{0: "scores"}, {0: "classes", 6: [{0: "anchors.txt", 2: 1}, {0: file, 2: kind}]}]
    builder.Finish(metadata._write(builder, {0: "theirs", 3: [{3: outputs}]}), file_identifier=b"M001")
    return metadata.with_entry(as_tflite().content, metadata.MODEL, bytes(builder.Output()))


@pytest.mark.parametrize(("kind", "found"), [(2, ("cat", "dog")), (3, ("cat", "dog")), (1, ()), (4, ())])
def test_labels_may_stand_in_a_file_of_any_name(kind, found):
    packed = {"anchors.txt": b"1\n2\n", "probability-labels-en.txt": b"cat\r\ndog\r\n"}
    content = tflite_file.with_packed(described_by("probability-labels-en.txt", kind), packed)
    assert metadata.labels(content) == found
    assert metadata.labels(tflite_file.with_packed(content, {"labels.txt": b"fox\n"})) == (found or ("fox",))
    assert metadata.labels(metadata.with_labels(content, NAMES)) == tuple(NAMES)


def test_metadata_that_name_a_file_which_is_not_there_do_not_hide_the_labels():
    content = described_by("labelmap.txt", 2)
    assert metadata.labels(content) == ()
    assert metadata.labels(tflite_file.with_packed(content, {"labels.txt": b"fox\n"})) == ("fox",)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_names_as_readlines_gives_them(end):
    labelled = metadata.with_labels(as_tflite().content, [name + end for name in NAMES])
    assert labelled == metadata.with_labels(as_tflite().content, NAMES)


@pytest.mark.parametrize("output", [0, 1])
def test_the_labels_belong_to_the_output_that_was_said(output):
    import tensorflow as tf

    two = tf.function(lambda x: (x[:, :2] + 1, x[:, :3] + 2)).get_concrete_function(tf.TensorSpec((1, 4)))
    content = tf.lite.TFLiteConverter.from_concrete_functions([two]).convert()
    sizes = [tensor.shape[-1] for tensor in tflite_file.File(content).outputs()]
    described = metadata.entries(metadata.with_labels(content, NAMES[: sizes[output]], output=output))
    table = first(metadata._root(described["TFLITE_METADATA"]), 3)
    start = table.Vector(table.Offset(4 + 2 * 3))
    outputs = [flatbuffers.table.Table(table.Bytes, table.Indirect(start + 4 * number)) for number in (0, 1)]
    assert [bool(one.Offset(4 + 2 * 6)) for one in outputs] == [output == 0, output == 1]
    with pytest.raises(ValueError, match=f"names for output {output}"):
        metadata.with_labels(content, NAMES, output=output)
    with pytest.raises(ValueError, match="output=2; the file's outputs are numbered 0 to 1"):
        metadata.with_labels(content, NAMES, output=2)


@settings(max_examples=30)
@given(names=st.lists(LINE, min_size=4, max_size=4, unique=True), other=st.binary(max_size=50))
def test_any_names_and_further_files(names, other):
    content = tflite_file.with_packed(as_tflite().content, {"vocab.bin": other})
    labelled = metadata.with_labels(content, names)
    assert metadata.labels(labelled) == tuple(names)
    assert tflite_file.packed(labelled)["vocab.bin"] == other
    assert content.startswith(as_tflite().content)


def test_rewriting_keeps_every_kind_of_file_running():
    generator = np.random.default_rng(0)
    for name, content in files().items():
        written = metadata.with_entry(content, "note", b"hello")
        assert metadata.entries(written)["note"] == b"hello"
        model = TFLiteModel(content, trusted=True)
        x = generator.random((1, *model.inputs[0].shape[1:]), np.float32)
        found = model.compare(written, x)
        assert all(c.equal for c in (found.values() if isinstance(found, dict) else [found])), name
        assert byte_map.by_operator(written) == byte_map.by_operator(content)


def test_a_file_of_less_than_a_thousand_bytes_takes_an_entry():
    import tensorflow as tf

    twice = tf.function(lambda x: x + x).get_concrete_function(tf.TensorSpec((1, 2)))
    tiny = tf.lite.TFLiteConverter.from_concrete_functions([twice]).convert()
    assert len(tiny) < 1000
    written = metadata.with_entry(tiny, "note", b"hello")
    assert metadata.entries(written)["note"] == b"hello"
    assert TFLiteModel(written, trusted=True).run(np.ones((1, 2), np.float32)).tolist() == [[2, 2]]


def test_constants_are_aligned_to_sixteen_bytes():
    written = metadata.with_entry(as_tflite().content, "note", b"hello")
    assert {region.start % 16 for region in byte_map.regions(written) if region.kind == "weights"} == {0}


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (NAMES[:3], r"3 names for output 0 of shape \(-1, 4\)"),
        ([*NAMES, "sock"], r"5 names for output 0"),
        ([*NAMES[:3], "shoe"], "'shoe' is the name of several classes"),
        ([*NAMES[:3], "shoe\n"], "'shoe' is the name of several classes"),
        ([*NAMES[:3], "\n"], "'' is no name of a class"),
        ([*NAMES[:3], ""], "'' is no name of a class"),
        ([*NAMES[:3], "a\nb"], "is no name of a class"),
        ("abcd", "pass a list with the name of each class"),
        ([1, 2, 3, 4], "pass a list with the name of each class"),
        ([], "pass a list with the name of each class"),
        (None, "names is None; pass a list"),
        (4, "names is 4; pass a list"),
        (set(NAMES), "pass a list .* in the order of the output"),
        (dict.fromkeys(NAMES), "pass a list .* in the order of the output"),
    ],
)
def test_bad_labels(names, sentence):
    with pytest.raises(ValueError, match=sentence):
        metadata.with_labels(as_tflite().content, names)


def test_names_may_come_one_by_one():
    expected = metadata.with_labels(as_tflite().content, NAMES)
    for names in (iter(NAMES), tuple(NAMES), np.array(NAMES)):
        assert metadata.with_labels(as_tflite().content, names) == expected


@pytest.mark.parametrize("about", [{"version": 1}, {"version": 1.0}, {"name": None}, {"author": ["me"]}])
def test_what_is_said_of_the_model_is_text(about):
    with pytest.raises(TypeError, match="are text, such as version='1'; got"):
        metadata.with_labels(as_tflite().content, NAMES, **about)


@pytest.mark.parametrize("content", [None, "model.tflite", Path("model.tflite"), Artifact(b"\0\0\0\0TFL3", "tflite")])
def test_what_is_no_bytes_is_refused_with_what_to_pass(content):
    reading = (metadata.entries, metadata.labels, metadata.description, metadata.minimum_runtime, metadata.converted_by)
    for read in (*reading, byte_map.regions, byte_map.by_kind, byte_map.by_operator):
        with pytest.raises(TypeError, match=r"content is a .*; pass the bytes of a \.tflite file"):
            read(content)
    with pytest.raises(TypeError, match=r"content is a .*; pass the bytes of a \.tflite file"):
        metadata.with_entry(content, "note", b"x")
    with pytest.raises(TypeError, match="the value of 'note' is str; pass bytes"):
        metadata.with_entry(as_tflite().content, "note", "x")


def test_a_damaged_archive_gets_a_sentence():
    labelled = bytearray(metadata.with_labels(as_tflite().content, NAMES))
    place = labelled.index(b"shirt\nshoe")
    labelled[place] ^= 1
    with pytest.raises(ArtifactError, match="cannot be read: Bad CRC-32"):
        metadata.labels(bytes(labelled))


def test_a_bomb_is_not_unpacked(monkeypatch):
    monkeypatch.setattr(tflite_file, "_LARGEST", 18)
    with pytest.raises(ArtifactError, match=r"have 19 bytes; at most 18"):
        metadata.labels(metadata.with_labels(as_tflite().content, NAMES))


def test_foreign_files_get_a_sentence():
    with pytest.raises(ArtifactError, match="not a tflite file"):
        metadata.with_labels(b"PK\x03\x04" * 9, NAMES)


@pytest.mark.parametrize("cut", [1, 40, 400])
def test_a_cut_off_file_gets_a_sentence(cut):
    content = as_tflite().content[:-cut]
    for change in (lambda c: metadata.with_entry(c, "note", b"x"), lambda c: metadata.with_labels(c, NAMES)):
        with pytest.raises(ArtifactError, match="damaged"):
            change(content)


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_any_damage_to_the_metadata_ends_in_a_sentence_or_in_labels(place, flip):
    content = described_by("labelmap.txt", 2)
    value = bytearray(metadata.entries(content)[metadata.MODEL])
    value[place % len(value)] ^= flip
    damaged = metadata.with_entry(content, metadata.MODEL, bytes(value))
    try:
        metadata.labels(damaged), metadata.description(damaged)
    except ArtifactError as error:
        assert "damaged" in str(error)


@pytest.mark.parametrize("entry", [b"\xff" * 12, b"short"])
def test_a_damaged_description_gets_a_sentence(entry):
    content = as_tflite().content
    with pytest.raises(ArtifactError, match="damaged"):
        metadata.labels(metadata.with_entry(content, metadata.MODEL, entry))
    with pytest.raises(ArtifactError, match="damaged"):
        metadata.description(metadata.with_entry(content, metadata.MODEL, entry))
    with pytest.raises(ArtifactError, match="damaged"):
        metadata.converted_by(metadata.with_entry(content, "CONVERSION_METADATA", entry))
