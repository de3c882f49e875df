"""Constants of a .tflite file: zero points, packed and narrow types, against the weights that went in."""

from __future__ import annotations

import contextlib
import copy
import io
import zipfile
from dataclasses import replace
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st

from tests.little import as_tflite, classifier, keras
from utils import tflite_file
from utils.artifact import ArtifactError


def tensor(dtype: str, shape=(3,), scales=(), zero_points=(), axis=0) -> tflite_file.Tensor:
    return tflite_file.Tensor(0, "t", shape, shape, dtype, 3, scales, zero_points, axis, False, False)


def test_zero_points_are_subtracted():
    one = tensor("uint8", scales=(0.1,), zero_points=(100,))
    assert tflite_file._centred(np.array([100, 0, 255], np.uint8), one).tolist() == [0, -100, 155]
    each = tensor("int8", (1, 2), (0.1, 0.2), (1, 2), axis=1)
    assert tflite_file._centred(np.array([[1, 1]], np.int8), each).tolist() == [[0, -1]]


def test_how_integers_stand_for_real_numbers():
    assert tensor("float32", scales=(0.1,)).quantization is tensor("int8").quantization is None
    one = tensor("int8", scales=(0.5,), zero_points=()).quantization  # old files leave a zero point of 0 out
    assert (one.scales.tolist(), one.zero_points.tolist(), one.axis, one.qmin) == ([0.5], [0], None, -128)
    each = tensor("int4", (1, 2), (0.1, 0.2), (0, 0), axis=1).quantization
    assert (each.axis, each.qmin, each.qmax, each.per_channel) == (1, -8, 7, True)
    for bad in (tensor("int8", scales=(0.0,)), tensor("uint8", scales=(1.0,), zero_points=(-1,))):
        with pytest.raises(ArtifactError, match="'t' is quantized in a way that makes no sense"):
            _ = bad.quantization


@given(values=st.lists(st.integers(-8, 7), min_size=1, max_size=9))
def test_four_bit_values_are_unpacked(values):
    padded = [*values, 0][: len(values) + len(values) % 2]
    low, high = (np.array(padded[start::2]) & 15 for start in (0, 1))
    packed = (low | high << 4).astype(np.uint8)
    assert tflite_file._unpack(packed, "INT4")[: len(values)].tolist() == values
    assert tflite_file._unpack(packed[:1], "UINT4")[0] == values[0] & 15


def test_two_bit_and_bfloat16_values():
    assert tflite_file._unpack(np.array([0b11_10_01_00], np.uint8), "INT2").tolist() == [0, 1, -2, -1]
    bits = (np.array([1.5, -2], np.float32).view(np.uint32) >> 16).astype("<u2")
    assert tflite_file._unpack(bits.view(np.uint8), "BFLOAT16").tolist() == [1.5, -2]


def test_a_type_that_numpy_has_not_is_refused():
    with pytest.raises(ArtifactError, match="constants of type string cannot be read"):
        tflite_file._unpack(np.zeros(8, np.uint8), "STRING")


def test_operators_have_the_names_of_their_kinds():
    content = as_tflite().content
    names = [operator.name for operator in tflite_file.File(content).operators()]
    assert names == ["CONV_2D", "RESHAPE", "FULLY_CONNECTED"]
    model = schema.ModelT.InitFromPackedBuf(content)
    first = model.operatorCodes[model.subgraphs[0].operators[0].opcodeIndex]
    first.builtinCode = first.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    first.customCode = b"OwnKernel"
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    changed = tflite_file.File(bytes(builder.Output()))
    assert [operator.name for operator in changed.operators()] == ["OwnKernel", *names[1:]]


def test_an_optional_input_that_is_absent_is_left_out():
    file = tflite_file.File(as_tflite().content)
    assert file.subgraphs[0].Operators(2).InputsAsNumpy()[2] == -1  # a bias of zeros is not stored
    dense = file.operators()[2]
    assert [tensor.shape for tensor in dense.inputs[1:]] == [(4, 48)]
    assert [tensor and tensor.shape for tensor in dense.arguments[1:]] == [(4, 48), None]


def test_operators_know_what_they_were_built_with_and_tensors_their_type():
    conv, _, dense = tflite_file.File(as_tflite().content).operators()
    assert (conv.options.strideW, conv.options.dilationHFactor, conv.options.padding) == (1, 1, schema.Padding.VALID)
    assert dense.options.fusedActivationFunction == schema.ActivationFunctionType.NONE
    assert {given.numpy for given in conv.inputs} == {np.dtype("float32")}
    with pytest.raises(ArtifactError, match="'t' is of type string"):
        _ = tensor("string").numpy


def test_the_parameters_of_a_file_are_those_of_its_model():
    values = tflite_file.parameters(as_tflite().content).values()
    dense = classifier().layers[-1].get_weights()[0]
    assert any(found.shape == dense.T.shape and np.allclose(found, dense.T) for found in values)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_half_a_file_is_not_read_as_a_whole_one(share):
    content = as_tflite().content
    with pytest.raises(ArtifactError, match="damaged"):
        tflite_file.parameters(content[: int(share * len(content))])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04zip", bytes(100)])
def test_other_files_are_refused(content):
    with pytest.raises(ArtifactError, match="has b'TFL3' at byte 4"):
        tflite_file.File(content)


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_any_flipped_bit_of_any_packing_is_a_sentence_or_changes_nothing(packing):
    stream = io.BytesIO(b"\x1c\0\0\0TFL3")
    with zipfile.ZipFile(stream, "a", packing) as archive:
        archive.writestr("labels.txt", b"cat\ndog\n" * 9)
    content = stream.getvalue()
    for place in range(8, len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        with contextlib.suppress(ArtifactError):
            assert set(tflite_file.packed(bytes(flipped)).values()) <= {b"cat\ndog\n" * 9}


def test_a_type_of_a_newer_version_is_no_damage():
    model = schema.ModelT.InitFromPackedBuf(as_tflite().content)
    model.subgraphs[0].tensors[1].type = 77
    file = tflite_file.File(tflite_file.pack(model))
    assert file.tensors[0][1].dtype == "type_77" and file.tensors[0][0].dtype == "float32"
    with pytest.raises(ArtifactError, match="is of type type_77, which numpy has not"):
        _ = file.tensors[0][1].numpy


@pytest.mark.parametrize("content", [None, "model.tflite", Path("model.tflite")])
def test_a_file_is_read_from_bytes(content):
    for read in (tflite_file.File, tflite_file.parameters):
        with pytest.raises(TypeError, match=r"content is a .*; pass the bytes"):
            read(content)


def test_a_file_without_a_graph_is_refused():
    with pytest.raises(ArtifactError, match="it has no graph"):
        tflite_file.File(tflite_file.pack(schema.ModelT()))


def test_what_is_packed_is_what_was_unpacked():
    content = as_tflite().content
    again = tflite_file.File(tflite_file.pack(schema.ModelT.InitFromPackedBuf(content)))
    assert again.all_operators() == tflite_file.File(content).all_operators()


def test_constants_begin_at_multiples_of_16_bytes():
    packed = tflite_file.pack(schema.ModelT.InitFromPackedBuf(as_tflite().content))
    model = schema.Model.GetRootAs(packed)
    tables = [model.Buffers(i)._tab for i in range(model.BuffersLength())]
    places = [table.Vector(table.Offset(4)) for table in tables if table.Offset(4)]
    assert len(places) > 3 and not any(place % 16 for place in places)


def test_any_flipped_bit_ends_in_a_sentence_or_in_a_reading_of_the_same_size():
    content = as_tflite().content
    refused = 0
    for at in np.random.default_rng(0).integers(8, len(content), 400):
        broken = bytearray(content)
        broken[at] ^= 128
        try:
            file = tflite_file.File(bytes(broken))
            file.all_operators(), file.metadata(), dict(tflite_file.parameters(file.content))
        except ArtifactError:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize("announced", [2**28, 2**31 - 1, 2**32 - 1])
def test_a_file_that_announces_more_than_it_has_is_refused_at_once(announced):
    content = bytearray(as_tflite().content)
    graph = tflite_file.File(bytes(content)).subgraphs[0]
    at = graph._tab.Vector(graph._tab.Offset(4)) - 4  # where the number of tensors stands
    content[at : at + 4] = announced.to_bytes(4, "little")
    with pytest.raises(ArtifactError, match="announce"):
        tflite_file.File(bytes(content))


def test_a_sparse_constant_has_its_stored_values_and_then_its_zeros():
    import tensorflow as tf

    k = keras()
    model = k.Sequential([k.Input((64,)), k.layers.Dense(32, use_bias=False)])
    kernel = np.zeros((64, 32), np.float32)
    kernel[::8, :] = np.arange(1, 33)
    model.set_weights([kernel])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    file = tflite_file.File(converter.convert())
    found = [tensor for tensor in file.tensors[0] if tensor.sparse]
    assert len(found) == 1
    values = file.values(found[0])
    assert found[0].bytes < 4 * kernel.size == 4 * len(values)  # fewer are stored, all are there
    assert np.array_equal(np.sort(values), np.sort(kernel.ravel()))
    stored = found[0].bytes // 4
    assert not values[stored:].any()
    assert not any(tensor.sparse for tensor in tflite_file.File(as_tflite().content).tensors[0])


def test_inputs_outputs_and_metadata():
    file = tflite_file.File(as_tflite().content)
    assert [tensor.signature for tensor in file.inputs()] == [(-1, 6, 6, 1)]
    assert [tensor.signature for tensor in file.outputs()] == [(-1, 4)]
    assert set(file.metadata()) == {name for name, _ in file.metadata_buffers()}
    assert file.metadata()["min_runtime_version"].startswith(b"1.")


# ---------------------------------------------------------------- types


NUMPY = {
    **{name: name for name in ("float16", "float32", "float64", "int8", "int16", "int32", "int64")},
    **{name: name for name in ("uint8", "uint16", "uint32", "uint64", "bool", "complex64", "complex128")},
    **{"bfloat16": "float32", "int4": "int8", "int2": "int8", "uint4": "uint8"},
}


@pytest.mark.parametrize("name", [name.lower() for name in vars(schema.TensorType) if name.isupper()])
def test_each_type_of_the_format_is_numpys_type_of_the_same_name_or_has_none(name):
    if name in NUMPY:
        assert tensor(name).numpy == np.dtype(NUMPY[name])
        assert tflite_file._unpack(np.zeros(16, np.uint8), name.upper()).dtype == np.dtype(NUMPY[name])
    else:
        with pytest.raises(ArtifactError, match=f"is of type {name}, which numpy has not"):
            _ = tensor(name).numpy


def test_values_below_a_byte_begin_in_the_lowest_bits():
    assert tflite_file._unpack(np.array([0x21, 0xF3], np.uint8), "UINT4").tolist() == [1, 2, 3, 15]
    assert tflite_file._unpack(np.array([0x21, 0xF3], np.uint8), "INT4").tolist() == [1, 2, 3, -1]
    with pytest.raises(ArtifactError, match="5 bytes are no whole number of float32 values"):
        tflite_file._unpack(np.zeros(5, np.uint8), "FLOAT32")


def test_a_zero_point_of_one_channel_is_subtracted_too():
    each = tensor("int8", (2, 2), (0.1, 0.2), (0, 3), axis=1)
    assert tflite_file._centred(np.array([[1, 1], [2, 2]], np.int8), each).tolist() == [[1, -2], [2, -1]]


def test_what_has_bytes_in_the_file_is_a_constant():
    assert [replace(tensor("int8"), bytes=count).constant for count in (0, 1, 3)] == [False, True, True]


# ---------------------------------------------------------------- the graph


def rebuilt(change) -> tflite_file.File:
    model = schema.ModelT.InitFromPackedBuf(as_tflite().content)
    change(model)
    return tflite_file.File(tflite_file.pack(model))


def test_operators_and_tensors_know_their_numbers():
    file = tflite_file.File(as_tflite().content)
    assert [operator.index for operator in file.operators()] == [0, 1, 2]
    assert [each.index for each in file.tensors[0]] == list(range(len(file.tensors[0])))
    conv, reshape, dense = file.operators()
    assert conv.arguments[0] == file.inputs()[0] and dense.outputs == file.outputs()
    assert reshape.arguments[0] == conv.outputs[0]
    assert dense.weight_bytes == 4 * 4 * 48


def test_a_second_graph_has_operators_inputs_and_outputs_of_its_own():
    def twice(model):
        second = copy.deepcopy(model.subgraphs[0])
        for each in second.tensors:
            each.name = b"second/" + each.name
        second.operators = second.operators[:1]
        second.outputs = second.operators[0].outputs
        model.subgraphs.append(second)

    file = rebuilt(twice)
    assert (len(file.operators()), len(file.operators(1)), len(file.all_operators())) == (3, 1, 4)
    assert {operator.subgraph for operator in file.operators(1)} == {1} == {each.subgraph for each in file.tensors[1]}
    for found, plain in ((file.inputs(1), file.inputs()), (file.outputs(1), file.operators()[0].outputs)):
        assert [each.name for each in found] == [f"second/{each.name}" for each in plain]


def test_old_files_say_the_kind_of_an_operator_in_another_place():
    def old(model):
        for code in model.operatorCodes:
            code.builtinCode = 0

    names = [operator.name for operator in tflite_file.File(as_tflite().content).operators()]
    assert [operator.name for operator in rebuilt(old).operators()] == names

    def new(model):
        model.operatorCodes[0].builtinCode, model.operatorCodes[0].deprecatedBuiltinCode = 150, 127

    assert "BUILTIN_127" not in [operator.name for operator in rebuilt(new).operators()]
    assert tflite_file._operator_names()[150] in [operator.name for operator in rebuilt(new).operators()]


def test_a_constant_may_stand_behind_the_flatbuffer():
    plain = tflite_file.File(as_tflite().content)
    kernel = max((each for each in plain.tensors[0] if each.constant), key=lambda each: each.bytes)
    data = bytes(plain._buffer(kernel.buffer))

    def behind(at):
        def change(model):
            buffer = model.buffers[kernel.buffer]
            buffer.data, buffer.offset, buffer.size = None, at, len(data)

        return change

    model = schema.ModelT.InitFromPackedBuf(as_tflite().content)
    behind(2**20)(model)
    end = len(tflite_file.pack(model))
    model = schema.ModelT.InitFromPackedBuf(as_tflite().content)
    behind(end)(model)
    file = tflite_file.File(tflite_file.pack(model) + data + b"more")
    found = file.tensors[0][kernel.index]
    assert found.bytes == len(data) and np.array_equal(file.values(found), plain.values(kernel))


def test_values_that_are_computed_or_do_not_fit_their_shape_are_refused():
    file = tflite_file.File(as_tflite().content)
    with pytest.raises(ValueError, match="is computed, not a constant in the file"):
        file.values(file.inputs()[0])
    kernel = file.operators()[2].inputs[1]
    for shape in ((4, 49), (4, 47)):
        with pytest.raises(ArtifactError, match=r"has 192 values for the shape \(4, "):
            file.values(replace(kernel, shape=shape))
    assert file.values(replace(kernel, shape=(192,))).shape == (192,)


def test_a_buffer_that_two_tensors_share_is_one_parameter():
    plain = dict(tflite_file.parameters(as_tflite().content))

    def shared(model):
        model.subgraphs.append(copy.deepcopy(model.subgraphs[0]))

    assert len(tflite_file.parameters(rebuilt(shared).content)) == len(plain)


@pytest.mark.parametrize(
    "content, said",
    [
        (as_tflite, r"a Artifact; pass .* the Artifact's \.content"),
        (Path, r"Path's \.read_bytes\(\)"),
        (int, "is a int;"),
    ],
)
def test_what_is_no_bytes_is_refused_with_what_to_pass(content, said):
    with pytest.raises(TypeError, match=said):
        tflite_file.as_bytes(content())
    for kind in (bytes, bytearray, memoryview):
        assert tflite_file.as_bytes(kind(b"abc")) == b"abc"


# ---------------------------------------------------------------- files behind the flatbuffer


def test_files_behind_the_flatbuffer_are_added_replaced_and_leave_no_rest():
    content = as_tflite().content
    both = tflite_file.with_packed(content, {"a": b"one", "b": b"two"})
    assert both.startswith(content) and tflite_file.packed(both) == {"a": b"one", "b": b"two"}
    assert tflite_file.with_packed(both, {}) == both
    assert (
        tflite_file.with_packed(tflite_file.with_packed(content, {"a": b"other"}), {"a": b"one", "b": b"two"}) == both
    )
    assert tflite_file.packed(content) == {} and tflite_file.with_packed(content, {}) == content


def test_files_behind_the_flatbuffer_may_have_64_mebibytes_together():
    for more in (0, 1):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a", bytes(2**26 - 1))
            archive.writestr("b", bytes(1 + more))
        if more:
            with pytest.raises(ArtifactError, match="have 67,108,865 bytes; at most 67,108,864 are unpacked"):
                tflite_file.packed(stream.getvalue())
        else:
            assert sum(map(len, tflite_file.packed(stream.getvalue()).values())) == 2**26


def test_a_damaged_archive_is_said_to_be():
    both = bytearray(tflite_file.with_packed(as_tflite().content, {"a": b"unmistakable"}))
    both[both.index(b"unmistakable")] ^= 1
    with pytest.raises(ArtifactError, match="files behind the flatbuffer cannot be read"):
        tflite_file.packed(bytes(both))
