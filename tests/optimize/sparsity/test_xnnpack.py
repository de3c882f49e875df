"""Each condition is seen when it alone is broken, and what XNNPACK's source allows is allowed."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from ai_edge_litert import schema_py_generated as schema
from tf_keras import layers

from utils import tflite_file
from utils.formats import ArtifactError
from utils.optimize.sparsity import patterns, xnnpack
from utils.optimize.sparsity.samples import VARIANTS, as_file, network
from utils.quiet import quiet

#: Of the variants: which condition each breaks, by its number in the report; none for those that run sparse.
BROKEN = {
    "all conditions": None,
    "depthwise with same padding": None,
    "relu6": None,
    "swish": None,
    "70 % zeros": None,
    "60 % zeros": 6,
    "first layer with same padding": 2,
    "first layer on one channel": 2,
    "first layer of stride 1": 2,
    "first layer 5×5": 2,
    "a 1×1 of stride 2": 3,
    "max pooling between": 5,
}


def converted(model: tf_keras.Model, *optimizations: tf.lite.Optimize) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = list(optimizations)
    with quiet():
        return converter.convert()


def missed(model: tf_keras.Model) -> list[int]:
    """Numbers of the conditions that the model's file does not meet; each is said with a place."""
    rows = xnnpack.report(converted(model, tf.lite.Optimize.EXPERIMENTAL_SPARSITY))
    assert all(bool(row["where"]) != row["met"] for row in rows)
    return [number for number, row in enumerate(rows) if not row["met"]]


def chain(inside=lambda h: h, end=layers.GlobalAveragePooling2D, size: int = 16) -> tf_keras.Model:
    """A first convolution, a 1×1 one, something, a 1×1 one, an end; 90 % of the 1×1 weights are zero."""
    tf_keras.utils.set_random_seed(0)
    image = tf_keras.Input((size, size, 3), 1)
    h = layers.Conv2D(8, 3, 2, activation="relu")(layers.ZeroPadding2D(1)(image))
    h = inside(layers.Conv2D(8, 1, activation="relu")(h))
    h = layers.Conv2D(8, 1, activation="relu", name="last")(h)
    model = tf_keras.Model(image, end()(h) if end else h)
    points = [layer.name for layer in model.layers if type(layer) is layers.Conv2D and layer.kernel_size == (1, 1)]
    return patterns.prune(model, lambda values, axis: patterns.single(values, 0.9), only=points)


def squeeze_and_excite(h):
    weight = layers.Conv2D(8, 1, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(h))
    return layers.Multiply()([h, weight])


@pytest.mark.parametrize("name", list(VARIANTS))
def test_the_condition_that_is_broken_is_named(name):
    assert missed(network(**VARIANTS[name])) == ([] if BROKEN[name] is None else [BROKEN[name]])


def test_same_padding_at_stride_2_is_never_resolved():
    assert missed(network(first_padding="same", size=65)) == [2]  # where "same" is one pixel on each side


def test_every_variant_is_expected():
    assert set(BROKEN) == set(VARIANTS)


@pytest.mark.parametrize(
    "inside",
    [
        layers.LeakyReLU(),
        layers.Lambda(tf.floor),
        layers.Lambda(tf.round),
        layers.Lambda(tf.exp),
        layers.UpSampling2D(2, interpolation="bilinear"),
        lambda h: layers.Add()([h, layers.Conv2D(8, 1)(h)]),
        squeeze_and_excite,
        layers.DepthwiseConv2D(5, padding="same"),
        lambda h: layers.DepthwiseConv2D(3, 2)(layers.ZeroPadding2D(1)(h)),
        lambda h: layers.DepthwiseConv2D(5, 2)(layers.ZeroPadding2D(2)(h)),
    ],
    ids=[
        *("leaky relu", "floor", "round", "exp", "resize", "skip", "squeeze and excite"),
        *("depthwise 5×5", "depthwise of stride 2, padded", "depthwise 5×5 of stride 2, padded"),
    ],
)
def test_what_may_stand_inside(inside):
    assert missed(chain(inside)) == []


@pytest.mark.parametrize(
    "inside, condition",
    [
        (layers.PReLU(shared_axes=[1, 2]), 5),
        (lambda h: h - layers.Conv2D(8, 1)(h), 5),
        (layers.Conv2D(8, 3, padding="same"), 3),
        (layers.DepthwiseConv2D(3, 2, "same"), 4),
        (lambda h: layers.Conv2D(8, 1)(layers.ZeroPadding2D(1)(h)), 3),
        (layers.DepthwiseConv2D(7, padding="same"), 4),
        (layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2), 4),
        (layers.DepthwiseConv2D(3), 4),
        (lambda h: layers.DepthwiseConv2D(3, 4)(layers.ZeroPadding2D(1)(h)), 4),
        (lambda h: layers.DepthwiseConv2D(3, 2)(layers.ZeroPadding2D(((0, 1), (0, 1)))(h)), 4),
        (lambda h: layers.DepthwiseConv2D(3, 2)(layers.ZeroPadding2D(2)(h)), 4),
        (layers.Lambda(lambda h: tf.reduce_mean(h, 3, keepdims=True)), 5),
        (layers.Lambda(lambda h: h * tf.reshape(tf.range(512.0), (1, 8, 8, 8))), 5),
    ],
    ids=[
        *("prelu", "subtract", "3×3", "depthwise of stride 2, same", "padded 1×1", "depthwise 7×7", "two a channel"),
        *("depthwise, not padded", "depthwise of stride 4", "padded on two sides", "padded by too much"),
        *("mean over channels", "a whole picture as factor"),
    ],
)
def test_what_may_not(inside, condition):
    assert missed(chain(inside)) == [condition]


#: Of all operators there are, those that may stand in the chain: of one input, of two, or folded away.
ALLOWED = {
    *("ABS", "CEIL", "COS", "ELU", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOG", "LOGISTIC", "NEG"),
    *("RELU", "RELU6", "RELU_N1_TO_1", "ROUND", "RSQRT", "SIN", "SQRT", "SQUARE", "TANH"),
    *("ADD", "MUL", "RESIZE_BILINEAR"),
    *("PAD", "DENSIFY", "DEQUANTIZE"),
}


@functools.cache
def floored() -> bytes:
    return converted(chain(layers.Lambda(tf.floor)))


def with_floor_as(code: int) -> bytes:
    """The file of a chain in which FLOOR is another operator."""
    model = schema.ModelT.InitFromPackedBuf(floored(), 0)
    (floor,) = (each for each in model.operatorCodes if each.builtinCode == schema.BuiltinOperator.FLOOR)
    floor.builtinCode, floor.deprecatedBuiltinCode = code, min(code, 127)
    return tflite_file.pack(model)


def test_no_other_operator_may_stand_in_the_chain():
    kinds = {name: code for name, code in vars(schema.BuiltinOperator).items() if name.isupper()}
    assert set(kinds) > ALLOWED
    content = with_floor_as(kinds["FLOOR"])
    new = with_floor_as(200)  # in two places: the byte of old readers stops at 127
    places = {new[at]: at for at in range(len(content)) if content[at] != new[at]}
    assert sorted(places) == [127, 200]
    met = set()
    for name in sorted(set(kinds) - {"CONV_2D", "DEPTHWISE_CONV_2D", "MEAN"}):  # each has a test of its own
        changed = bytearray(content)
        changed[places[127]], changed[places[200]] = min(kinds[name], 127), kinds[name]
        met |= {name} if xnnpack.report(bytes(changed))[5]["met"] else set()
    assert met == ALLOWED


@pytest.mark.parametrize("kind, met", [("FLOAT32", True), ("FLOAT16", True), ("FLOAT64", False), ("INT8", False)])
def test_convolutions_compute_in_float32_or_float16(kind, met):
    model = schema.ModelT.InitFromPackedBuf(converted(chain()), 0)
    codes = [code.builtinCode for code in model.operatorCodes]
    (graph,) = model.subgraphs
    convolutions = [o for o in graph.operators if codes[o.opcodeIndex] == schema.BuiltinOperator.CONV_2D]
    graph.tensors[convolutions[1].outputs[0]].type = getattr(schema.TensorType, kind)
    assert xnnpack.report(tflite_file.pack(model))[1]["met"] is met


def test_a_file_in_integers_does_not_compute_in_floats():
    calibration = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    row = xnnpack.report(as_file(network(size=16, width=8), sparse=True, calibration=calibration))[1]
    assert not row["met"] and row["where"].endswith("CONV_2D")


def test_exactly_two_thirds_of_zeros_are_too_few():
    assert missed(network(size=16, width=12, share=2 / 3)) == [6]
    assert missed(network(size=16, width=12, share=0.67)) == []


def test_a_picture_of_one_pixel_is_not_resized():
    assert missed(chain(layers.UpSampling2D(2, interpolation="bilinear"), size=2)) == [5]


def test_a_mean_over_rows_alone_ends_no_chain():
    assert missed(chain(end=lambda: layers.Lambda(lambda h: tf.reduce_mean(h, 1)))) == [5]


def test_a_segmentation_network_ends_by_moving_depth_into_space():
    assert missed(chain(end=lambda: layers.Lambda(lambda h: tf.nn.depth_to_space(h, 2)))) == []


def test_a_chain_without_an_end_is_none():
    rows = xnnpack.report(converted(chain(end=None), tf.lite.Optimize.EXPERIMENTAL_SPARSITY))
    assert [row["where"] for row in rows if not row["met"]] == ["no operator ends it"]


def test_a_value_that_is_read_outside_ends_it():
    model = chain()
    both = tf_keras.Model(model.input, [model.output, model.get_layer("last").output])
    assert missed(both) == [5]


def test_float16_weights_are_floats():
    converter = tf.lite.TFLiteConverter.from_keras_model(network())
    converter.optimizations = [tf.lite.Optimize.DEFAULT, tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    converter.target_spec.supported_types = [tf.float16]
    with quiet():
        rows = xnnpack.report(converter.convert())
    assert rows[1]["met"]


def test_without_the_hint():
    rows = xnnpack.report(converted(network()))
    assert [row["met"] for row in rows] == [False] + [True] * 6


def test_a_dense_network_has_no_first_convolution():
    model = tf_keras.Sequential([tf_keras.Input((4,), 1), tf_keras.layers.Dense(2)])
    assert any("no convolution" in row["where"] for row in xnnpack.report(converted(model)))


def test_this_processor_is_told_or_unknown():
    assert xnnpack.this_processor() in (True, False, None)


FLAGS = "processor: 0\nflags\t\t: fpu sse4_2{}\nbugs: none\n"


@pytest.mark.parametrize(
    "machine, processor, sparse",
    [
        ("arm64", None, True),
        ("aarch64", None, True),
        ("AARCH64", None, True),
        ("armv7l", None, True),
        ("x86_64", FLAGS.format(""), True),
        ("x86_64", FLAGS.format(" avx"), False),
        ("AMD64", FLAGS.format(" avx avx2"), False),
        ("i386", FLAGS.format(" f16c avx fma"), False),
        ("i686", FLAGS.format(""), True),
        ("x86_64", FLAGS.format(" avx512f"), True),  # the word counts, not what begins like it
        ("x86_64", "processor: 0\n", None),
        ("x86_64", None, None),
        ("riscv64", FLAGS.format(" avx"), None),
        ("charm", FLAGS.format(""), None),
    ],
)
def test_a_processor_is_told_by_its_name_and_its_flags(monkeypatch, machine, processor, sparse):
    def read_text(path, **settings):
        if processor is None:
            raise FileNotFoundError(path)
        return processor

    with monkeypatch.context() as patched:
        patched.setattr(xnnpack.platform, "machine", lambda: machine)
        patched.setattr(xnnpack.Path, "read_text", read_text)
        found = xnnpack.this_processor()
    assert found is sparse


def test_a_damaged_file_is_refused_or_read():
    content = converted(network(size=16, width=8), tf.lite.Optimize.EXPERIMENTAL_SPARSITY)
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(100):
        broken = bytearray(content)
        broken[generator.integers(8, len(content))] ^= 1 << int(generator.integers(8))
        try:
            xnnpack.report(bytes(broken))
        except ArtifactError:
            refused += 1
    assert refused < 100


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(ArtifactError):
        xnnpack.report(b"no model at all")
    with pytest.raises(TypeError, match="read_bytes"):
        xnnpack.report(tmp_path)
