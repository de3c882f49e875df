"""Multiply-accumulates; the counts are compared with TensorFlow's own profiler."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.little import classifier, examples, keras
from utils.measure import macs


def one_layer(layer, shape):
    k = keras()
    return k.Sequential([k.Input(shape), layer])


@settings(max_examples=25, deadline=None)
@given(
    rank=st.integers(1, 3),
    size=st.integers(5, 9),
    kernel=st.integers(1, 3),
    groups=st.sampled_from([1, 2]),
    filters=st.sampled_from([2, 4]),
    how=st.sampled_from(["plain", "stride", "dilation"]),
    padding=st.sampled_from(["valid", "same"]),
)
def test_convolutions(rank, size, kernel, groups, filters, how, padding):
    k = keras()
    options = {"plain": {}, "stride": {"strides": 2}, "dilation": {"dilation_rate": 2}}[how]
    groups = 1 if rank == 3 else groups
    layer = getattr(k.layers, f"Conv{rank}D")(filters, kernel, padding=padding, groups=groups, **options)
    model = one_layer(layer, (size,) * rank + (4,))
    positions = math.prod(model.output_shape[1:-1])
    assert macs.count(model) == positions * kernel**rank * (4 // groups) * filters


@settings(max_examples=10, deadline=None)
@given(kernel=st.integers(1, 3), stride=st.integers(1, 2), dilation=st.integers(1, 2), multiplier=st.integers(1, 3))
def test_depthwise_and_separable(kernel, stride, dilation, multiplier):
    k = keras()
    dilation = 1 if stride > 1 else dilation
    common = {"strides": stride, "dilation_rate": dilation, "depth_multiplier": multiplier}
    model = one_layer(k.layers.DepthwiseConv2D(kernel, **common), (9, 9, 4))
    height, width, channels = model.output_shape[1:]
    assert channels == 4 * multiplier
    assert macs.count(model) == height * width * channels * kernel**2
    model = one_layer(k.layers.SeparableConv2D(5, kernel, **common), (9, 9, 4))
    height, width, _ = model.output_shape[1:]
    assert macs.count(model) == height * width * 4 * multiplier * (kernel**2 + 5)
    model = one_layer(k.layers.SeparableConv1D(5, kernel, **common), (9, 4))
    assert macs.count(model) == model.output_shape[1] * 4 * multiplier * (kernel + 5)


def test_transposed_convolutions():
    k = keras()
    assert macs.count(one_layer(k.layers.Conv1DTranspose(5, 3, strides=2), (7, 4))) == 7 * 4 * 3 * 5
    assert macs.count(one_layer(k.layers.Conv2DTranspose(5, 3, strides=2), (7, 7, 4))) == 49 * 4 * 9 * 5
    assert macs.count(one_layer(k.layers.Conv3DTranspose(5, 3), (4, 4, 4, 2))) == 64 * 2 * 27 * 5


@pytest.mark.parametrize("size", [4, 5, 6])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_what_a_dilated_transposed_convolution_fills_up_is_not_multiplied(size, dilation):
    k = keras()
    layer = k.layers.Conv2DTranspose(3, 3, dilation_rate=dilation)
    assert macs.count(one_layer(layer, (size, size + 1, 2))) == size * (size + 1) * 2 * 9 * 3


def test_locally_connected_layers_count_what_they_store():
    k = keras()
    for implementation, factor in [(1, 1), (3, 1), (2, 6 * 6 / 9)]:  # 2 stores the zeros of a whole matrix
        layer = k.layers.LocallyConnected2D(4, 3, implementation=implementation)
        assert macs.count(one_layer(layer, (6, 6, 3))) == 16 * 4 * 27 * factor, implementation


def test_a_sparse_product_counts_the_stored_values():
    import tensorflow as tf

    k = keras()
    stored = tf.sparse.SparseTensor([[0, 1], [2, 3], [4, 0]], [1.0, 2.0, 3.0], (5, 4))

    def product(x):
        return tf.transpose(tf.sparse.sparse_dense_matmul(stored, x, adjoint_b=True))

    assert macs.count(one_layer(k.layers.Lambda(product), (4,))) == 3


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_a_model_of_one_batch_size_is_counted_for_one_example(batch):
    k = keras()
    layers = [k.layers.LSTM(5, stateful=True, return_sequences=True), k.layers.Flatten(), k.layers.Dense(2)]
    model = k.Sequential([k.Input((7, 3), batch_size=batch), *layers])
    assert [layer.macs for layer in macs.by_layer(model)] == [7 * 4 * 5 * (3 + 5), 35 * 2]


@pytest.mark.parametrize("unroll", [False, True])
def test_recurrent(unroll):
    k = keras()
    for name, gates in [("LSTM", 4), ("GRU", 3), ("SimpleRNN", 1)]:
        for sequences in (False, True):
            layer = getattr(k.layers, name)(5, unroll=unroll, return_sequences=sequences)
            assert macs.count(one_layer(layer, (7, 3))) == 7 * gates * 5 * (3 + 5), name
    both = k.layers.Bidirectional(k.layers.LSTM(5, unroll=unroll))
    assert macs.count(one_layer(both, (7, 3))) == 2 * 7 * 4 * 5 * (3 + 5)
    stacked = k.layers.RNN([k.layers.GRUCell(5), k.layers.SimpleRNNCell(2)], unroll=unroll)
    assert macs.count(one_layer(stacked, (7, 3))) == 7 * (3 * 5 * (3 + 5) + 2 * (5 + 2))


def test_convolutional_recurrent():
    k = keras()
    model = one_layer(k.layers.ConvLSTM2D(5, 3, padding="same"), (4, 6, 6, 2))
    assert macs.count(model) == 4 * 36 * 9 * 4 * 5 * (2 + 5)


def test_a_recurrent_layer_among_others_is_counted_once():
    k = keras()
    inner = k.Sequential([k.Input((7, 3)), k.layers.LSTM(5), k.layers.Dense(2)])
    model = k.Sequential([k.Input((7, 3)), k.layers.Dense(3), inner, k.layers.Dense(4)])
    assert [layer.macs for layer in macs.by_layer(model)] == [7 * 9, 7 * 4 * 5 * 8, 10, 8]


def test_attention_and_einsum():
    k = keras()
    x = k.Input((6, 8))
    attended = k.layers.MultiHeadAttention(num_heads=2, key_dim=3, value_dim=4)(x, x)
    model = k.Model(x, k.layers.EinsumDense("abc,cd->abd", (6, 5))(attended))
    projections = 6 * 8 * 2 * 3 * 2 + 6 * 8 * 2 * 4 + 6 * 2 * 4 * 8
    scores = 2 * 6 * 6 * 3 + 2 * 6 * 6 * 4
    assert macs.count(model) == projections + scores + 6 * 8 * 5
    by_layer = {layer.kind: layer.macs for layer in macs.by_layer(model) if layer.kind != "EinsumDense"}
    assert by_layer == {"MultiHeadAttention": scores}


def test_shared_nested_wrapped_and_operator_layers():
    import tensorflow as tf

    k = keras()
    shared = k.layers.Dense(4)
    x = k.Input((3, 4))
    y = shared(shared(x))
    y = k.layers.TimeDistributed(k.layers.Dense(5))(y)
    y = tf.matmul(y, y, transpose_b=True)
    y = k.layers.Lambda(lambda z: tf.einsum("abc,adc->abd", z, z))(y)
    assert macs.count(k.Model(x, y)) == 2 * 3 * 16 + 3 * 20 + 3 * 5 * 3 + 3 * 3 * 3


def test_layers_without_products_cost_nothing():
    k = keras()
    layers = [k.Input((8, 8, 2)), k.layers.MaxPooling2D(), k.layers.BatchNormalization(), k.layers.ReLU()]
    layers += [
        k.layers.UpSampling2D(),
        k.layers.Dropout(0.5),
        k.layers.Rescaling(0.5),
        k.layers.GlobalAveragePooling2D(),
    ]
    assert macs.count(k.Sequential(layers)) == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_models_prepared_by_the_toolkit_count_the_same():
    import tensorflow_model_optimization as tfmot

    plain = macs.count(classifier())
    assert macs.count(tfmot.sparsity.keras.prune_low_magnitude(keras().models.clone_model(classifier()))) == plain
    assert macs.count(tfmot.quantization.keras.quantize_model(classifier())) == plain


@pytest.mark.parametrize("equation", ["...ij,jk->...ik", "a...j,jk->a...k", "abij,jk->abik"])
def test_an_einsum_with_dots_counts_all_axes(equation):
    import tensorflow as tf

    layer = keras().layers.Lambda(lambda x: tf.einsum(equation, x, tf.ones((5, 7))))
    assert macs.count(one_layer(layer, (3, 4, 5))) == 3 * 4 * 5 * 7


def test_a_convolution_of_any_rank_is_counted_as_the_others():
    import tensorflow as tf

    kernel = tf.ones((3, 3, 2, 5))
    whole = keras().layers.Lambda(lambda x: tf.raw_ops.Conv(input=x, filter=kernel, strides=[1] * 4, padding="VALID"))
    assert macs.count(one_layer(whole, (8, 8, 2))) == 6 * 6 * 9 * 2 * 5


def test_a_subclassed_model_that_was_called():
    k = keras()

    class Own(k.Model):
        def __init__(self):
            super().__init__()
            self.first, self.second = k.layers.Dense(5), k.layers.Dense(2)

        def call(self, x):
            return self.second(self.first(x))

    model = Own()
    with pytest.raises(macs.MacsError, match="call it once or pass input_shape="):
        macs.count(model)
    model(np.zeros((3, 4), np.float32))
    assert macs.count(model) == 4 * 5 + 5 * 2


def test_unknown_lengths_are_asked_for():
    k = keras()
    model = one_layer(k.layers.Conv2D(2, 3), (None, None, 1))
    with pytest.raises(macs.MacsError, match="pass input_shape="):
        macs.count(model)
    assert macs.count(model, (5, 5, 1)) == 9 * 9 * 2


@pytest.mark.parametrize("shape", [8, "ab", None, (None, 3), (-1, 3), (0, 3), (2.7, 3), ("a", 3)])
def test_a_shape_is_whole_numbers_above_zero(shape):
    k = keras()
    with pytest.raises(macs.MacsError, match="pass"):
        macs.count(one_layer(k.layers.Dense(2), (None, 3)), shape)


@pytest.mark.parametrize("shape", [(8, 8, 4), (16, 16, 3), (1, 8, 8, 3), (8, 8)])
def test_a_shape_fits_the_model(shape):
    k = keras()
    for declared in ((8, 8, 3), (8, None, 3)):
        with pytest.raises(macs.MacsError, match=r"the model takes \(8, .*without the batch axis"):
            macs.count(one_layer(k.layers.Conv2D(2, 3), declared), shape)
    assert macs.count(one_layer(k.layers.Conv2D(2, 3), (8, 8, 3)), np.array([8, 8, 3])) == 36 * 27 * 2


@pytest.mark.parametrize("kind", ["py_function", "numpy_function"])
def test_python_is_not_taken_for_nothing(kind):
    import tensorflow as tf

    k = keras()
    layer = k.layers.Lambda(lambda x: tf.ensure_shape(getattr(tf, kind)(lambda v: v, [x], tf.float32), (1, 3)))
    with pytest.raises(macs.MacsError, match=r"uses the operation .*PyFunc"):
        macs.count(one_layer(layer, (3,)))


def test_what_cannot_be_counted_is_named():
    import tensorflow as tf

    k = keras()
    looping = k.layers.Lambda(
        lambda x: tf.while_loop(lambda v: tf.reduce_sum(v) < 9, lambda v: (v + 1,), (x,))[0], name="loop"
    )
    with pytest.raises(macs.MacsError, match="'loop' uses the operation"):
        macs.count(one_layer(looping, (3,)))
    with pytest.raises(TypeError, match="pass a tf_keras model"):
        macs.count("model")


def test_macs_agree_with_tensorflows_profiler():
    """The profiler of TensorFlow 1 counts floating point operations by rules of its own: two for each MAC."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    k = keras()
    without = {"use_bias": False}  # it counts the additions of biases
    layers = [k.layers.Conv2D(4, 3, **without), k.layers.DepthwiseConv2D(3, **without), k.layers.Flatten()]
    model = k.Sequential([k.Input((9, 9, 3)), *layers, k.layers.Dense(5, **without)])
    function = tf.function(model).get_concrete_function(tf.TensorSpec((1, 9, 9, 3)))
    frozen = convert_variables_to_constants_v2(function)
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    profile = tf.compat.v1.profiler.profile(frozen.graph, cmd="op", options=options)
    assert macs.count(model) == profile.total_float_ops // 2


def test_counting_leaves_keras_as_it_was():
    k = keras()
    before = k.layers.Layer.__call__
    macs.count(classifier())
    with pytest.raises(macs.MacsError):
        macs.count(one_layer(k.layers.Conv1D(2, 3), (None, 1)))
    assert k.layers.Layer.__call__ is before
    assert classifier()(examples(2)).shape == (2, 4)


def test_a_function_that_is_gone_is_named_with_its_layer():
    """So a network may look after somebody's own export of it failed half-way."""
    call = SimpleNamespace(type="PartitionedCall", get_attr=lambda _: SimpleNamespace(name="gone"))
    call.graph = SimpleNamespace(_get_function=lambda _: None)
    with pytest.raises(macs.MacsError, match="layer 'dense' calls a function that is gone; make the model anew"):
        macs._operation_macs(call, "dense")
