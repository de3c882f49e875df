"""What TensorFlow executes: Grappler's passes one by one, and copies under another policy."""

import numpy as np
import pytest
import tf_keras

from utils import checks
from utils.optimize.toolkit import graph_and_compiler

K = tf_keras.layers


@pytest.fixture(scope="module")
def model():
    tf_keras.utils.set_random_seed(1)
    return tf_keras.Sequential(
        [
            tf_keras.Input((8, 8, 3)),
            K.Conv2D(4, 3, use_bias=False),
            K.BatchNormalization(),
            K.ReLU(),
            K.Flatten(),
            K.Dense(2),
        ]
    )


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype("float32")


def test_grappler_fuses_batch_normalization_and_changes_no_output(model, x):
    off, y_off = graph_and_compiler.executed_graph(model, x, grappler=False)
    on, y_on = graph_and_compiler.executed_graph(model, x)
    assert off["FusedBatchNormV3"] == 1 and on["FusedBatchNormV3"] == 0
    assert on.total() < off.total()
    np.testing.assert_allclose(y_on, y_off, atol=1e-5)
    np.testing.assert_allclose(y_off, model(x, training=False), atol=1e-5)


def test_a_pass_can_be_switched_off(model, x):
    assert graph_and_compiler.executed_graph(model, x, without=["remapping"])[0]["FusedBatchNormV3"] == 1
    with pytest.raises(KeyError, match="choose from remapping"):
        graph_and_compiler.executed_graph(model, x, without=["fusing"])


def test_models_with_two_outputs_are_refused(x):
    start = tf_keras.Input((8, 8, 3))
    with pytest.raises(ValueError, match="2 outputs"):
        graph_and_compiler.executed_graph(tf_keras.Model(start, [start, K.ReLU()(start)]), x)


def test_a_policy_changes_computation_and_not_variables(model, x):
    copy = graph_and_compiler.with_policy(model)
    assert copy.output.dtype == "bfloat16"
    assert {w.dtype.name if hasattr(w.dtype, "name") else w.dtype for w in copy.weights} == {"float32"}
    np.testing.assert_allclose(np.asarray(copy(x)).astype("float32"), model(x), atol=0.1)
    assert model.output.dtype == "float32"
    with pytest.raises(ValueError):
        graph_and_compiler.with_policy(model, "mixed_float12")


def test_the_passes_are_those_of_grappler_by_their_names():
    from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig

    wanted = ["remapping", "constant folding", "arithmetic", "dependency", "shape", "layout", "loop", "function"]
    assert list(graph_and_compiler.PASSES) == wanted
    for name, field in graph_and_compiler.PASSES.items():
        assert field.startswith(name.replace(" ", "_")) and field in RewriterConfig.DESCRIPTOR.fields_by_name


def test_models_with_two_inputs_or_none_yet_are_refused(x):
    starts = [tf_keras.Input((8, 8, 3)) for _ in range(2)]
    with pytest.raises(ValueError, match="has 2 inputs; pass a model with one"):
        graph_and_compiler.executed_graph(tf_keras.Model(starts, K.Add()(starts)), x)
    empty = tf_keras.Sequential([K.Dense(2)])
    for call in (lambda: graph_and_compiler.executed_graph(empty, x), lambda: graph_and_compiler.with_policy(empty)):
        with pytest.raises(ValueError, match="not built"):
            call()


def test_only_what_was_asked_for_is_compiled_by_xla(x):
    model = tf_keras.Sequential([tf_keras.Input((8, 8, 3)), K.ReLU()])
    assert (
        graph_and_compiler.forward(model, compiled=True)
        .experimental_get_compiler_ir(x)(stage="hlo")
        .startswith("HloModule")
    )
    with pytest.raises(ValueError, match="jit_compile"):
        graph_and_compiler.forward(model).experimental_get_compiler_ir(x)(stage="hlo")


def test_a_policy_is_the_one_that_is_named_and_inputs_stay(model):
    copy = graph_and_compiler.with_policy(model, "mixed_float16")
    assert {layer.dtype_policy.name for layer in copy.layers} == {"mixed_float16"}
    assert copy.input.dtype == "float32" and copy.output.dtype == "float16"


def test_dropout_does_nothing_in_inference(x):
    idle = tf_keras.Sequential([tf_keras.Input((8, 8, 3)), K.Dropout(0.5)])
    np.testing.assert_array_equal(graph_and_compiler.forward(idle)(x), x)


def test_forward_is_inference_and_may_be_compiled(model, x):
    np.testing.assert_allclose(
        graph_and_compiler.forward(model, compiled=True)(x), graph_and_compiler.forward(model)(x), atol=1e-5
    )


def test_a_subclassed_model_is_executed_too_and_one_pass_is_a_list_of_one():
    class Own(tf_keras.Model):
        def __init__(self, outputs):
            super().__init__()
            self.layer, self.count = K.Dense(2), outputs

        def call(self, x):
            return self.layer(x) if self.count == 1 else [self.layer(x)] * self.count

    x = np.ones((3, 4), np.float32)
    one, two = Own(1), Own(2)
    one(x), two(x)
    np.testing.assert_allclose(graph_and_compiler.executed_graph(one, x, without="remapping")[1], one(x), atol=1e-6)
    with pytest.raises(ValueError, match="has 2 outputs; pass a model with one"):
        graph_and_compiler.executed_graph(two, x)


def test_a_policy_reaches_layers_inside_wrappers_and_models():
    x = tf_keras.Input((5, 6))
    inner = tf_keras.Sequential([K.Input((5, 6)), K.TimeDistributed(K.Dense(3))], name="inner")
    model = tf_keras.Model(x, K.Dense(2)(K.Bidirectional(K.LSTM(3))(inner(x))))
    copy = graph_and_compiler.with_policy(model)
    layers = [layer for layer in checks.all_layers(copy) if layer.weights and not isinstance(layer, tf_keras.Model)]
    assert {layer.compute_dtype for layer in layers} == {"bfloat16"} and len(layers) > 5
    data = np.random.default_rng(0).normal(size=(4, 5, 6)).astype("float32")
    np.testing.assert_allclose(np.asarray(copy(data), np.float32), model(data), atol=0.05)


@pytest.mark.parametrize("policy", [None, 16])
def test_what_is_no_name_of_a_policy_is_refused(model, policy):
    with pytest.raises(ValueError, match=r"policy is .*; pass its name"):
        graph_and_compiler.with_policy(model, policy)
