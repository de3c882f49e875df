"""Scorecards, timing, memory and counts.  What scipy or TensorFlow can compute too is compared with them."""

from __future__ import annotations

import functools
import gc
import math
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils import artifact, child, cost, measure
from utils.artifact import Artifact


@functools.cache
def keras():
    import tensorflow as tf
    import tf_keras

    tf.get_logger().setLevel("ERROR")
    tf.keras.utils.set_random_seed(7)
    return tf_keras


@functools.cache
def classifier():
    k = keras()
    return k.Sequential(
        [
            k.Input((6, 6, 1)),
            k.layers.Conv2D(3, 3),
            k.layers.BatchNormalization(),
            k.layers.Flatten(),
            k.layers.Dense(4),
        ]
    )


@functools.cache
def as_tflite() -> Artifact:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(classifier())
    return Artifact(converter.convert(), "tflite", trusted=True)


def examples(count: int = 60) -> np.ndarray:
    return np.random.default_rng(1).random((count, 6, 6, 1), np.float32)


# --- scorecard ------------------------------------------------------------------------------------------


def test_scorecard_scores_the_artifact():
    x = examples()
    y = classifier().predict(x, verbose=0).argmax(axis=1)
    y[:6] = (y[:6] + 1) % 4
    card = measure.scorecard(as_tflite(), x, y, classifier(), name="float32")
    assert card.accuracy.value == 54 / 60
    assert 54 / 60 in measure.Interval(0, card.accuracy.low, card.accuracy.high)
    assert (card.bytes, card.gzip_bytes) == (as_tflite().size, as_tflite().gzip_size)
    assert card.macs == 16 * 9 * 3 + 48 * 4
    assert card.name == "float32"
    assert next(iter(card.row())) == "name"


def test_parameters_of_a_tflite_file_have_batch_normalization_folded():
    folded = 9 * 3 + 3 + 48 * 4 + 4
    in_file = measure.stored(as_tflite()).parameters
    assert measure.stored(classifier()).parameters == folded + 4 * 3
    assert measure.stored(artifact.from_keras(classifier())).parameters == folded + 4 * 3
    assert folded - 4 <= in_file <= folded + 6  # a bias of zeros may be left out, a scale kept beside a convolution


def test_nonzero_and_distinct():
    k = keras()
    model = k.Sequential([k.Input((10,)), k.layers.Dense(4)])
    kernel = np.zeros((10, 4))
    kernel[:5, 0], kernel[5:, 1] = 1, 2
    model.set_weights([kernel, np.array([1, 2, 3, 4])])
    assert measure.stored(model) == measure.Stored(44, 14 / 44, 3)
    assert measure.stored(artifact.from_keras(model)) == measure.Stored(44, 14 / 44, 3)


def test_sparse_files_are_counted_with_the_zeros_they_do_not_store():
    import tensorflow as tf

    k = keras()
    model = k.Sequential([k.Input((64,)), k.layers.Dense(32, use_bias=False)])
    kernel = np.zeros((64, 32))
    kernel[::8, :] = np.arange(1, 33)
    model.set_weights([kernel])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    plain = Artifact(converter.convert(), "tflite")
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    sparse = Artifact(converter.convert(), "tflite")
    assert sparse.size < plain.size
    # the file may hold a bias of 32 zeros that the model does not have
    for kind in (plain, sparse):
        found = measure.stored(kind)
        assert found.parameters - 32 * 64 in (0, 32)
        assert round(found.nonzero * found.parameters) == 8 * 32
        assert found.distinct == 33


@pytest.mark.parametrize(
    ("x", "y", "sentence"),
    [
        (examples(5), np.zeros(4, int), "5 examples and 4 labels"),
        (examples(5), np.ones(5, int), "all 5 labels are 1"),
        (examples(2), np.array([0, 9]), r"labels go from 0 to 9, the model has the classes 0 … 3"),
        (examples(0), np.array([], int), "no examples"),
        (np.full((2, 6, 6, 1), np.nan, np.float32), np.array([0, 1]), "NaN"),
        (examples(2), np.eye(2, 4), "not one-hot|must be|labels have shape"),
    ],
)
def test_scorecard_refuses(x, y, sentence):
    with pytest.raises(ValueError, match=sentence):
        measure.scorecard(as_tflite(), x, y)


def test_scorecard_refuses_float_labels_and_models():
    with pytest.raises(TypeError, match="labels are float64"):
        measure.scorecard(as_tflite(), examples(2), np.array([0.0, 1.0]))
    with pytest.raises(TypeError, match="takes an Artifact, not Sequential"):
        measure.scorecard(classifier(), examples(2), np.array([0, 1]))


# --- multiply-accumulates -------------------------------------------------------------------------------


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
    assert measure.macs(model) == positions * kernel**rank * (4 // groups) * filters


@settings(max_examples=10, deadline=None)
@given(kernel=st.integers(1, 3), stride=st.integers(1, 2), dilation=st.integers(1, 2), multiplier=st.integers(1, 3))
def test_depthwise_and_separable(kernel, stride, dilation, multiplier):
    k = keras()
    dilation = 1 if stride > 1 else dilation
    common = {"strides": stride, "dilation_rate": dilation, "depth_multiplier": multiplier}
    model = one_layer(k.layers.DepthwiseConv2D(kernel, **common), (9, 9, 4))
    height, width, channels = model.output_shape[1:]
    assert channels == 4 * multiplier
    assert measure.macs(model) == height * width * channels * kernel**2
    model = one_layer(k.layers.SeparableConv2D(5, kernel, **common), (9, 9, 4))
    height, width, _ = model.output_shape[1:]
    assert measure.macs(model) == height * width * 4 * multiplier * (kernel**2 + 5)
    model = one_layer(k.layers.SeparableConv1D(5, kernel, **common), (9, 4))
    assert measure.macs(model) == model.output_shape[1] * 4 * multiplier * (kernel + 5)


def test_transposed_convolutions():
    k = keras()
    assert measure.macs(one_layer(k.layers.Conv1DTranspose(5, 3, strides=2), (7, 4))) == 7 * 4 * 3 * 5
    assert measure.macs(one_layer(k.layers.Conv2DTranspose(5, 3, strides=2), (7, 7, 4))) == 49 * 4 * 9 * 5
    assert measure.macs(one_layer(k.layers.Conv3DTranspose(5, 3), (4, 4, 4, 2))) == 64 * 2 * 27 * 5


@pytest.mark.parametrize("unroll", [False, True])
def test_recurrent(unroll):
    k = keras()
    for name, gates in [("LSTM", 4), ("GRU", 3), ("SimpleRNN", 1)]:
        for sequences in (False, True):
            layer = getattr(k.layers, name)(5, unroll=unroll, return_sequences=sequences)
            assert measure.macs(one_layer(layer, (7, 3))) == 7 * gates * 5 * (3 + 5), name
    both = k.layers.Bidirectional(k.layers.LSTM(5, unroll=unroll))
    assert measure.macs(one_layer(both, (7, 3))) == 2 * 7 * 4 * 5 * (3 + 5)
    stacked = k.layers.RNN([k.layers.GRUCell(5), k.layers.SimpleRNNCell(2)], unroll=unroll)
    assert measure.macs(one_layer(stacked, (7, 3))) == 7 * (3 * 5 * (3 + 5) + 2 * (5 + 2))


def test_convolutional_recurrent():
    k = keras()
    model = one_layer(k.layers.ConvLSTM2D(5, 3, padding="same"), (4, 6, 6, 2))
    assert measure.macs(model) == 4 * 36 * 9 * 4 * 5 * (2 + 5)


def test_a_recurrent_layer_among_others_is_counted_once():
    k = keras()
    inner = k.Sequential([k.Input((7, 3)), k.layers.LSTM(5), k.layers.Dense(2)])
    model = k.Sequential([k.Input((7, 3)), k.layers.Dense(3), inner, k.layers.Dense(4)])
    assert [layer.macs for layer in measure.macs_by_layer(model)] == [7 * 9, 7 * 4 * 5 * 8, 10, 8]


def test_attention_and_einsum():
    k = keras()
    x = k.Input((6, 8))
    attended = k.layers.MultiHeadAttention(num_heads=2, key_dim=3, value_dim=4)(x, x)
    model = k.Model(x, k.layers.EinsumDense("abc,cd->abd", (6, 5))(attended))
    projections = 6 * 8 * 2 * 3 * 2 + 6 * 8 * 2 * 4 + 6 * 2 * 4 * 8
    scores = 2 * 6 * 6 * 3 + 2 * 6 * 6 * 4
    assert measure.macs(model) == projections + scores + 6 * 8 * 5
    by_layer = {layer.kind: layer.macs for layer in measure.macs_by_layer(model) if layer.kind != "EinsumDense"}
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
    assert measure.macs(k.Model(x, y)) == 2 * 3 * 16 + 3 * 20 + 3 * 5 * 3 + 3 * 3 * 3


def test_layers_without_products_cost_nothing():
    k = keras()
    layers = [k.Input((8, 8, 2)), k.layers.MaxPooling2D(), k.layers.BatchNormalization(), k.layers.ReLU()]
    layers += [
        k.layers.UpSampling2D(),
        k.layers.Dropout(0.5),
        k.layers.Rescaling(0.5),
        k.layers.GlobalAveragePooling2D(),
    ]
    assert measure.macs(k.Sequential(layers)) == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_models_prepared_by_the_toolkit_count_the_same():
    import tensorflow_model_optimization as tfmot

    plain = measure.macs(classifier())
    assert measure.macs(tfmot.sparsity.keras.prune_low_magnitude(keras().models.clone_model(classifier()))) == plain
    assert measure.macs(tfmot.quantization.keras.quantize_model(classifier())) == plain


def test_a_subclassed_model_that_was_called():
    k = keras()

    class Own(k.Model):
        def __init__(self):
            super().__init__()
            self.first, self.second = k.layers.Dense(5), k.layers.Dense(2)

        def call(self, x):
            return self.second(self.first(x))

    model = Own()
    with pytest.raises(cost.MacsError, match="call it once or pass input_shape="):
        measure.macs(model)
    model(np.zeros((3, 4), np.float32))
    assert measure.macs(model) == 4 * 5 + 5 * 2


def test_unknown_lengths_are_asked_for():
    k = keras()
    model = one_layer(k.layers.Conv2D(2, 3), (None, None, 1))
    with pytest.raises(cost.MacsError, match="pass input_shape="):
        measure.macs(model)
    assert measure.macs(model, (5, 5, 1)) == 9 * 9 * 2


def test_what_cannot_be_counted_is_named():
    import tensorflow as tf

    k = keras()
    looping = k.layers.Lambda(
        lambda x: tf.while_loop(lambda v: tf.reduce_sum(v) < 9, lambda v: (v + 1,), (x,))[0], name="loop"
    )
    with pytest.raises(cost.MacsError, match="'loop' uses the operation"):
        measure.macs(one_layer(looping, (3,)))
    with pytest.raises(TypeError, match="takes a tf_keras model"):
        measure.macs("model")


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
    assert measure.macs(model) == profile.total_float_ops // 2


def test_counting_leaves_keras_as_it_was():
    k = keras()
    before = k.layers.Layer.__call__
    measure.macs(classifier())
    with pytest.raises(cost.MacsError):
        measure.macs(one_layer(k.layers.Conv1D(2, 3), (None, 1)))
    assert k.layers.Layer.__call__ is before
    assert classifier()(examples(2)).shape == (2, 4)


# --- energy and money -----------------------------------------------------------------------------------


def test_energy_is_the_published_table():
    energy = measure.energy_per_inference(1_000_000, 8_000, "float32")
    assert energy.arithmetic == pytest.approx(4.6e-6)
    assert energy.memory == pytest.approx((1.3e-6, 2.6e-6))
    assert energy.low < energy.high
    small = measure.energy_per_inference(1_000_000, 2_000, "int8", "cache")
    assert small.arithmetic == pytest.approx(0.3e-6)
    assert small.high == pytest.approx(0.3e-6 + 250 * 100e-12)


def test_cost_by_hand():
    # 36 ms, 0.05 an hour: a million take 10 hours
    assert measure.cost_per_million(0.036, 0.05) == pytest.approx(0.5)
    assert measure.cost_per_million(0.036, 0.05, cores=2, utilization=0.25) == pytest.approx(4)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: measure.energy_per_inference(-1, 1), "macs=-1"),
        (lambda: measure.energy_per_inference(1, float("nan")), "bytes_moved=nan"),
        (lambda: measure.energy_per_inference(1, 1, "int4"), "'int4' is unknown"),
        (lambda: measure.cost_per_million(0, 1), "seconds=0"),
        (lambda: measure.cost_per_million(1, 1, utilization=0), "utilization=0"),
        (lambda: measure.cost_per_million(1, 1, cores=0), "cores=0"),
    ],
)
def test_costs_refuse(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


# --- latency --------------------------------------------------------------------------------------------


def test_quantiles_ratio_and_rounds():
    timings = measure.latency(
        {"slow": lambda: time.sleep(0.004), "fast": lambda: time.sleep(0.001)}, rounds=20, warmup=1
    )
    slow = timings["slow"]
    assert slow.median <= slow.p90 <= slow.p99
    assert slow.median >= 0.004
    assert len(slow.seconds) == 20
    ratio = timings.ratio("slow", "fast")
    assert 1.5 < ratio.low <= ratio.value <= ratio.high
    assert slow.load is None
    assert [row["side"] for row in timings.rows()] == ["slow", "fast"]


def test_sides_take_turns_in_a_seeded_order():
    def order(seed):
        calls = []
        sides = {name: functools.partial(calls.append, name) for name in "abc"}
        measure.latency(sides, rounds=8, warmup=2, seed=seed)
        rounds = ["".join(calls[start : start + 3]) for start in range(9, len(calls), 3)]
        assert len(rounds) == 8
        assert all(sorted(one) == list("abc") for one in rounds)
        return rounds

    assert order(1) == order(1) != order(2)
    assert len(set(order(1))) > 1


def test_the_first_call_is_kept_apart():
    waits = iter([0.05])
    timings = measure.latency({"f": lambda: time.sleep(next(waits, 0))}, rounds=5, warmup=0)
    assert timings["f"].first > 0.05
    assert timings["f"].median < 0.04
    assert gc.isenabled()


def test_artifacts_are_timed_without_copying():
    timings = measure.latency({"one": (as_tflite(), examples(1)), "many": (as_tflite(), examples(50))}, rounds=10)
    assert timings["one"].load > 0
    assert timings["many"].examples == 50
    assert timings["many"].throughput > timings["one"].throughput
    keras_side = measure.latency({"keras": (artifact.from_keras(classifier()), examples(2))}, rounds=3, warmup=1)
    assert keras_side["keras"].first > keras_side["keras"].median


def test_throughput_grows_with_the_batch():
    found = measure.throughput(as_tflite(), examples(64), (1, 64), rounds=10)
    assert found[64] > found[1] > 0
    with pytest.raises(ValueError, match="fewer than the largest batch size 64"):
        measure.throughput(as_tflite(), examples(8))


@pytest.mark.parametrize(
    ("sides", "options", "error", "sentence"),
    [
        ({}, {}, ValueError, "at least one side"),
        ({"a": 3}, {}, TypeError, "side 'a' is int"),
        ({"a": print}, {"rounds": 1}, ValueError, "rounds=1"),
        ({"a": print}, {"warmup": -1}, ValueError, "warmup=-1"),
    ],
)
def test_latency_refuses(sides, options, error, sentence):
    with pytest.raises(error, match=sentence):
        measure.latency(sides, **options)


def test_ratio_of_an_unknown_side():
    timings = measure.latency({"a": lambda: None}, rounds=2)
    with pytest.raises(ValueError, match="no side 'b'; sides are 'a'"):
        timings.ratio("a", "b")


# --- memory ---------------------------------------------------------------------------------------------


def test_peak_memory_grows_by_what_the_model_needs():
    k = keras()
    import tensorflow as tf

    def dense(units):
        model = k.Sequential([k.Input((256,)), k.layers.Dense(units, kernel_initializer="ones"), k.layers.Dense(2)])
        return Artifact(tf.lite.TFLiteConverter.from_keras_model(model).convert(), "tflite", trusted=True)

    x = np.ones((1, 256), np.float32)
    ballast = np.ones(200 * 2**20, np.uint8)  # this process is large; the child must not report that
    small, large = measure.peak_memory(dense(16), x), measure.peak_memory(dense(20_000), x)
    file = dense(20_000).size
    assert len(ballast) > small.peak > small.baseline > 2**20 or sys.platform != "linux"
    assert small.bytes < 8 * 2**20
    assert file <= large.bytes < 4 * file + 8 * 2**20


def test_peak_memory_refuses_what_predict_refuses():
    with pytest.raises(ValueError, match="takes shape"):
        measure.peak_memory(as_tflite(), examples(2)[0])
    with pytest.raises(TypeError, match="takes an Artifact"):
        measure.peak_memory(classifier(), examples(2))


# --- the child process ----------------------------------------------------------------------------------


def test_children_answer_fail_crash_and_hang():
    assert child.run("builtins:len", b"abc") == 3
    with pytest.raises(child.ChildError, match="could not convert") as error:
        child.run("builtins:float", b"abc")
    assert error.value.kind == "error"
    with pytest.raises(child.ChildError) as error:
        child.run("os:kill_me", b"")
    assert "kill_me" in str(error.value)


def test_a_crash_and_an_endless_loop_are_told_apart(tmp_path, monkeypatch):
    (tmp_path / "broken_child.py").write_text(
        "import os, sys\n"
        "def crash(_): os.write(2, b'INFO: x\\nfatal: gone\\n'); os.abort()\n"
        "def hang(_):\n    while True: pass\n"
        "def chat(_): print('noise'); os.write(1, b'noise'); return 5\n"
        "def eat(_): return len(bytearray(3 * 2**30))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert child.run("broken_child:chat") == 5
    with pytest.raises(child.ChildError) as error:
        child.run("broken_child:crash")
    assert error.value.kind == "crash"
    assert "fatal: gone" in str(error.value)
    with pytest.raises(child.ChildError) as error:
        child.run("broken_child:hang", timeout=1)
    assert error.value.kind == "timeout"
    if sys.platform == "linux":
        with pytest.raises(child.ChildError) as error:
            child.run("broken_child:eat", memory=2 * 2**30)
        assert error.value.kind == "memory"
