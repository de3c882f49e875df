"""Sparse weights read from a file are the Keras weights, and what runs as stored is told from what is unpacked."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tf_keras import layers

from utils import tflite_file
from utils.formats import ArtifactError
from utils.optimize.sparsity import patterns, stored
from utils.quiet import quiet


def converted(model: tf_keras.Model) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    with quiet():
        return converter.convert()


def run(content: bytes, x: np.ndarray, delegates: str) -> np.ndarray:
    kind = OpResolverType[delegates]
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=kind)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def dense(share: float, size: tuple[int, int] | None = None, units: int = 12, inputs: int = 32) -> tf_keras.Model:
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential([tf_keras.Input((inputs,), 1), layers.Dense(units)])
    if size is None:
        return patterns.prune(model, lambda values, axis: patterns.single(values, share))
    return patterns.prune(model, lambda values, axis: patterns.blocks(values, share, size))


@pytest.mark.parametrize(
    "share, size, block",
    [(0.5, None, 1), (0.8, None, 1), (0.8, (4, 1), 4), (0.5, (4, 1), 4), (0.75, (1, 4), 1), (0.75, (16, 1), 4)],
)
def test_the_weights_come_back_and_only_blocks_along_the_inputs_are_computed_as_stored(share, size, block):
    model = dense(share, size)
    (weight,) = stored.sparse_weights(converted(model))
    assert np.array_equal(weight.dense, model.layers[-1].kernel.numpy().T)
    assert weight.block == block and weight.unpacked == (block == 1)
    assert weight.share == pytest.approx(np.mean(weight.dense == 0))
    assert weight.values == 4 * np.count_nonzero(weight.dense)


def test_few_zeros_stay_dense():
    assert stored.sparse_weights(converted(dense(0.25))) == []


def test_convolutions_are_unpacked():
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential([tf_keras.Input((8, 8, 8), 1), layers.Conv2D(8, 3), layers.Conv2D(8, 1)])
    pruned = patterns.prune(model, lambda values, axis: patterns.mask_of_groups(values, axis=axis))
    found = stored.sparse_weights(converted(pruned))
    assert len(found) == 2 and all(weight.unpacked for weight in found)
    for weight, layer in zip(found, pruned.layers[-2:], strict=True):
        assert np.array_equal(weight.dense, layer.kernel.numpy().transpose(3, 0, 1, 2))
        assert patterns.holds(weight.dense, axis=-1)


def test_an_index_takes_what_the_matrix_needs():
    wide = stored.sparse_weights(converted(dense(0.8, inputs=300)))[0]
    narrow = stored.sparse_weights(converted(dense(0.8)))[0]
    count = round(0.2 * 300 * 12)
    assert wide.indices == 2 * count + 2 * 13  # columns up to 299 and starts up to 720: two bytes each
    assert narrow.indices == round(0.2 * 32 * 12) + 13


@pytest.mark.parametrize("delegates", ["AUTO", "BUILTIN_WITHOUT_DEFAULT_DELEGATES"])
def test_a_file_without_densify_computes_the_same_from_its_lists(delegates):
    content = single_values()
    lists = stored.without_densify(content)
    assert [o.name for o in tflite_file.File(content).operators()] == ["DENSIFY", "FULLY_CONNECTED"]
    assert [o.name for o in tflite_file.File(lists).operators()] == ["FULLY_CONNECTED"]
    assert not stored.sparse_weights(lists)[0].unpacked
    x = np.random.default_rng(0).random((1, 32), np.float32)
    assert np.allclose(run(lists, x, delegates), run(content, x, delegates), atol=1e-5)


def test_a_file_that_has_no_densify_stays_what_it_is():
    content = converted(dense(0.8, (4, 1)))
    assert tflite_file.pack(schema.ModelT.InitFromPackedBuf(content, 0)) == stored.without_densify(content)


@functools.cache
def single_values() -> bytes:
    """A file with one sparse weight (12, 32)."""
    return converted(dense(0.8))


def altered(change) -> bytes:
    """That file in which something was changed: change(the weight's tensor, its sparsity)."""
    model = schema.ModelT.InitFromPackedBuf(single_values(), 0)
    tensor = next(tensor for tensor in model.subgraphs[0].tensors if tensor.sparsity is not None)
    change(tensor, tensor.sparsity)
    return tflite_file.pack(model)


def shaped(*shape):
    return lambda tensor, sparsity: setattr(tensor, "shape", list(shape))


def positions(change):
    """change(the positions along the last axis), as 32-bit numbers."""

    def in_place(tensor, sparsity):
        axis = sparsity.dimMetadata[1]
        axis.arrayIndices, axis.arrayIndicesType = (schema.Int32VectorT(change(list(axis.arrayIndices.values))), 1)

    return in_place


def starts(change):
    def in_place(tensor, sparsity):
        values = sparsity.dimMetadata[1].arraySegments
        values.values = np.array(change(list(values.values)), np.uint8)

    return in_place


@pytest.mark.parametrize(
    "change, sentence",
    [
        (shaped(2**15, 2**16 + 1), "announces 2,147,516,416 values"),
        (shaped(2**15, 2**16), "rows of tensor"),  # as many as there may be
        (shaped(0, 32), "announces 0 values"),
        (shaped(13, 32), "rows of tensor"),
        (shaped(11, 32), "rows of tensor"),
        (positions(lambda values: [-1, *values[1:]]), "beyond its 32 columns"),
        (positions(lambda values: [*values[:-1], 32]), "beyond its 32 columns"),
        (positions(lambda values: values[:-1]), "rows of tensor"),
        (lambda tensor, sparsity: setattr(sparsity, "traversalOrder", [1, 0]), "in the order"),
        (lambda tensor, sparsity: setattr(sparsity, "blockMap", [1]), "in the order"),
        (lambda tensor, sparsity: sparsity.dimMetadata.append(sparsity.dimMetadata[0]), "in the order"),
        (lambda tensor, sparsity: sparsity.dimMetadata.reverse(), "compressed rows of its last axis"),
        (lambda tensor, sparsity: sparsity.dimMetadata.__setitem__(1, sparsity.dimMetadata[0]), "compressed rows"),
        (lambda tensor, sparsity: sparsity.dimMetadata.__setitem__(0, sparsity.dimMetadata[1]), "compressed rows"),
        (lambda tensor, sparsity: setattr(sparsity.dimMetadata[1], "arrayIndicesType", 0), "unknown kind 0"),
        (starts(lambda values: [values[0], 70, *values[2:]]), "rows of tensor"),  # a row that ends before it begins
        (starts(lambda values: values[:-1]), "rows of tensor"),
    ],
)
def test_lists_that_are_no_matrix_are_refused(change, sentence):
    with pytest.raises(ArtifactError, match=sentence):
        stored.sparse_weights(altered(change))


def test_positions_may_be_of_32_bits():
    (narrow,), (wide,) = stored.sparse_weights(single_values()), stored.sparse_weights(altered(positions(list)))
    assert np.array_equal(narrow.dense, wide.dense) and (narrow.dtype, narrow.shape) == ("float32", (12, 32))
    count = round(0.2 * 32 * 12)
    assert wide.indices == 4 * count + 13 and wide.values == 4 * count


@pytest.mark.parametrize("before, after", [(1, 8), (8, 8), (12, 12)])
def test_dense_layers_get_the_version_of_sparse_weights_unless_theirs_is_newer(before, after):
    model = schema.ModelT.InitFromPackedBuf(single_values(), 0)
    layer = schema.BuiltinOperator.FULLY_CONNECTED
    next(code for code in model.operatorCodes if code.builtinCode == layer).version = before
    made = schema.ModelT.InitFromPackedBuf(stored.without_densify(tflite_file.pack(model)), 0)
    assert [code.version for code in made.operatorCodes if code.builtinCode == layer] == [after]
    others = {code.builtinCode: code.version for code in model.operatorCodes if code.builtinCode != layer}
    assert {code.builtinCode: code.version for code in made.operatorCodes if code.builtinCode != layer} == others


@pytest.mark.parametrize("content", [b"", b"no model at all", b"\0\0\0\0TFL3"])
@pytest.mark.parametrize("function", [stored.sparse_weights, stored.without_densify])
def test_what_is_no_file_is_refused(function, content):
    with pytest.raises(ArtifactError):
        function(content)


def test_what_is_no_content_is_refused(tmp_path):
    with pytest.raises(TypeError, match="read_bytes"):
        stored.without_densify(tmp_path)


def test_a_damaged_file_is_refused_or_read():
    content = single_values()
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        broken = bytearray(content)
        broken[generator.integers(8, len(content))] ^= 1 << int(generator.integers(8))
        try:
            stored.sparse_weights(bytes(broken))
        except ArtifactError:
            refused += 1
    assert 0 < refused < 200


@pytest.mark.parametrize("content", ["model.tflite", [1, 2], 5, None])
def test_what_is_no_bytes_is_refused(content):
    with pytest.raises(TypeError, match=r"pass the bytes of a \.tflite file"):
        stored.sparse_weights(content)
