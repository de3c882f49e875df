"""The layer and the network have the zeros that they are asked for, and a variant changes one thing."""

import numpy as np
import pytest
import tf_keras
from tf_keras import layers

from utils import tflite_file
from utils.optimize.sparsity import samples, stored

#: Of each variant: what is not as in the first, and what it is there.
CHANGED = {
    "all conditions": {},
    "depthwise with same padding": {"depthwise": {"same"}, "paddings": [1]},
    "relu6": {"activations": {"relu6"}},
    "swish": {"activations": {"swish"}},
    "70 % zeros": {"zeros": 0.7},
    "60 % zeros": {"zeros": 0.6},
    "first layer with same padding": {"first": (3, 2, "same"), "paddings": [1, 1, 1]},
    "first layer on one channel": {"input": (1, 64, 64, 1)},
    "first layer of stride 1": {"first": (3, 1, "valid"), "input": (1, 32, 32, 3)},
    "first layer 5×5": {"first": (5, 2, "valid"), "paddings": [2, 1, 1, 1]},
    "a 1×1 of stride 2": {"strides": [1, 1, 2, 1]},
    "max pooling between": {"pooled after": 2},
}


def of_kind(model: tf_keras.Model, kind: type) -> list:
    return [layer for layer in model.layers if type(layer) is kind]


def described(model: tf_keras.Model) -> dict[str, object]:
    first, *points = of_kind(model, layers.Conv2D)
    deep = of_kind(model, layers.DepthwiseConv2D)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert {layer.kernel_size for layer in points} == {(1, 1)} and {layer.kernel_size for layer in deep} == {(3, 3)}
    assert {layer.strides for layer in deep} == {(1, 1)} and model.output_shape == (1, 10) and first.filters == 32
    kernels = [layer.kernel.numpy() for layer in points]
    return {
        "input": model.input_shape,
        "first": (first.kernel_size[0], first.strides[0], first.padding),
        "paddings": [layer.padding[0][0] for layer in of_kind(model, layers.ZeroPadding2D)],
        "strides": [layer.strides[0] for layer in points],
        "depthwise": {layer.padding for layer in deep},
        "activations": {layer.activation.__name__ for layer in [*points, *deep]},
        "zeros": round(float(np.mean(np.concatenate([kernel.ravel() for kernel in kernels]) == 0)), 2),
        "widths": {layer.filters for layer in points},
        "pooled after": kinds[: kinds.index("MaxPooling2D")].count("Conv2D") - 1 if "MaxPooling2D" in kinds else None,
    }


def test_the_network_has_the_zeros_it_is_asked_for():
    model = samples.network(size=16, width=8, share=0.6)
    for layer in model.layers:
        if getattr(layer, "kernel_size", None) == (1, 1):
            kernel = layer.kernel.numpy()
            assert np.count_nonzero(kernel == 0) == round(0.6 * kernel.size)


def test_the_seed_chooses_the_weights():
    one, same, other = (samples.network(size=16, width=8, seed=seed).get_weights()[0] for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def test_blocks_of_the_layer_are_whole():
    kernel = samples.layer(1, 0.5, (4, 1), units=16).layers[-1].kernel.numpy()
    whole = (kernel.reshape(4, 4, 16) != 0).sum(axis=1)
    assert set(np.unique(whole)) == {0, 4}


@pytest.mark.parametrize("size", [None, (4, 1)])
def test_the_layer_has_the_batch_and_the_share_that_it_is_asked_for(size):
    model = samples.layer(3, 0.75, size, units=16)
    assert model.input_shape == model.output_shape == (3, 16)
    assert np.mean(model.layers[-1].kernel.numpy() == 0) == 0.75
    assert np.array_equal(model.get_weights()[0], samples.layer(3, 0.75, size, units=16).get_weights()[0])


def test_every_variant_is_described():
    assert list(samples.VARIANTS) == list(CHANGED)


@pytest.mark.parametrize("name", list(CHANGED))
def test_a_variant_changes_what_its_name_says_and_nothing_else(name):
    plain = {
        "input": (1, 64, 64, 3),
        "first": (3, 2, "valid"),
        "paddings": [1, 1, 1, 1],
        "strides": [1, 1, 1, 1],
        "depthwise": {"valid"},
        "activations": {"relu"},
        "zeros": 0.9,
        "widths": {96},
        "pooled after": None,
    }
    assert described(samples.network(**samples.VARIANTS[name])) == plain | CHANGED[name]


@pytest.mark.parametrize("name", list(samples.VARIANTS))
def test_each_variant_is_a_model_that_computes(name):
    model = samples.network(**{"size": 32, "width": 8, **samples.VARIANTS[name]})
    assert isinstance(model, tf_keras.Model)
    assert np.isfinite(model(np.ones(model.input_shape, np.float32)).numpy()).all()


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("calibrated", [True, False])
def test_a_file_stores_zeros_or_not_and_computes_in_integers_where_it_was_calibrated(sparse, calibrated):
    calibration = np.random.default_rng(0).random((4, 16)).astype(np.float32) if calibrated else None
    content = samples.as_file(samples.layer(1, 0.8, (4, 1), 16), sparse=sparse, calibration=calibration)
    assert bool(stored.sparse_weights(content)) == sparse
    operators = tflite_file.File(content).operators()
    dense = next(operator for operator in operators if operator.name == "FULLY_CONNECTED")
    assert dense.outputs[0].dtype == ("int8" if calibrated else "float32")
    assert operators[0].inputs[0].dtype == operators[-1].outputs[0].dtype == "float32"
