"""Functions to files: names, shared weights, refusals in a sentence, MLIR."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from tests.little import as_tflite, keras
from utils import tflite_file
from utils.deploy.tflite import byte_map, compiled_model, functions
from utils.deploy.tflite.tflite_model import TFLiteModel
from utils.deploy.tflite.verification import verify


@functools.cache
def module():
    import tensorflow as tf

    keras()
    made = tf.Module()
    made.w = tf.Variable(np.arange(600, dtype=np.float32).reshape(200, 3))
    return made


def spec(*shape):
    import tensorflow as tf

    return tf.TensorSpec(shape, tf.float32)


def first(x):
    return {"code": x @ module().w}


def second(x):
    return {"sum": (x @ module().w) + 1}


def test_functions_become_signatures_and_share_their_variables():
    both = functions.convert_functions(
        {"a": (first, {"x": spec(None, 200)}), "b": (second, {"x": spec(None, 200)})}, module()
    )
    one = functions.convert_functions({"a": (first, {"x": spec(None, 200)})}, module())
    assert both.size < 1.5 * one.size
    large = [name for name, size in byte_map.by_operator(both.content).items() if size > 2000]
    assert len(large) == 1
    assert not large[0].startswith("1/")  # what both use counts for the first
    model, x = TFLiteModel(both.content), np.ones((2, 200), np.float32)
    assert sorted(model.signatures) == ["a", "b"]
    expected = x @ module().w.numpy()
    np.testing.assert_allclose(model.signature("a").run({"x": x}), expected, rtol=1e-5)
    np.testing.assert_allclose(model.signature("b").run(x), expected + 1, rtol=1e-5)
    assert [port.name for port in model.signature("b").outputs] == ["sum"]


def inverse(x):
    import tensorflow as tf

    return tf.linalg.inv(x)


def test_an_operation_without_counterpart_is_named_with_its_ways_out(capfd):
    with pytest.raises(functions.ConversionError, match=r"no operator for MatrixInverse: .*select_tf_ops=True"):
        functions.convert_functions({"f": (inverse, {"x": spec(3, 3)})}, module())
    flex = functions.convert_functions({"f": (inverse, {"x": spec(3, 3)})}, module(), select_tf_ops=True)
    assert [operator.name for operator in tflite_file.File(flex.content).operators()] == ["FlexMatrixInverse"]
    assert "Flex delegate" in verify(flex.content).reason
    assert "Flex delegate" in compiled_model.tensorflow_error(flex.content, np.eye(3, dtype=np.float32))
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    with pytest.raises(ValueError, match="there is no function"):
        functions.convert_functions({}, module())


def test_errors_explained():
    lists = "error: 'tf.TensorListReserve' op requires element_shape to be static\nERROR_NEEDS_FLEX_OPS"
    assert "unroll=True" in functions.error_in_words(lists)
    custom = "error: 'tf.MyOp' op is neither a custom op nor a flex op\nERROR_NEEDS_CUSTOM_OPS"
    assert functions.error_in_words(custom).startswith("neither TensorFlow Lite nor its Flex delegate has MyOp")
    assert functions.error_in_words("a\nb\n") == "the converter refuses the function: b"
    assert "no reason given" in functions.error_in_words("")


def test_mistakes_in_the_function_itself_are_not_hidden():
    with pytest.raises(Exception, match="integer division or modulo by zero"):
        functions.convert_functions({"f": (lambda x: x / (1 // 0), {"x": spec(3, 3)})}, module())


def test_mlir_names_the_files_operators():
    content = as_tflite().content
    found = functions.operations(functions.mlir(content))
    names = [operator.name for operator in tflite_file.File(content).operators()]
    assert found["tfl.conv_2d"] == names.count("CONV_2D") == 1
    assert sum(found.values()) == len(names)


def test_operations_are_counted_without_constants():
    text = '%1 = "tf.Conv2D"(%0) : x\n%2 = "tf.Const"() : y\n%3 = "tf.Conv2D"(%1)\n"tfl.pseudo_const"()\n"tfl.add"(%1)'
    assert functions.operations(text) == {"tf.Conv2D": 2, "tfl.add": 1}


@pytest.mark.parametrize("kind", ["GRUCell", "LSTMCell", "SimpleRNNCell"])
def test_a_cell_becomes_a_stream_that_equals_the_whole_sequence(kind):
    k = keras()
    cell = getattr(k.layers, kind)(5)
    model = TFLiteModel(functions.streaming(cell, 3).content)
    x = np.random.default_rng(0).normal(size=(1, 9, 3)).astype(np.float32)
    whole = k.layers.RNN(cell, return_sequences=True)(x).numpy()[0]
    stream = model.stream()
    for _ in range(2):
        np.testing.assert_allclose([stream.step(x[:, i])[0] for i in range(9)], whole, atol=1e-6)
        stream.reset()
    assert np.abs(model.run(x[0])[-1] - whole[-1]).max() > 1e-3
