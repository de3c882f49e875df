"""The layer and the network have the zeros that they are asked for."""

import numpy as np
import pytest
import tf_keras

from utils.optimize.sparsity import samples


def test_the_network_has_the_zeros_it_is_asked_for():
    model = samples.network(size=16, width=8, share=0.6)
    for layer in model.layers:
        if getattr(layer, "kernel_size", None) == (1, 1):
            kernel = layer.kernel.numpy()
            assert np.count_nonzero(kernel == 0) == round(0.6 * kernel.size)


def test_blocks_of_the_layer_are_whole():
    kernel = samples.layer(1, 0.5, (4, 1), units=16).layers[-1].kernel.numpy()
    whole = (kernel.reshape(4, 4, 16) != 0).sum(axis=1)
    assert set(np.unique(whole)) == {0, 4}


@pytest.mark.parametrize("name", list(samples.VARIANTS))
def test_each_variant_is_a_model_that_computes(name):
    model = samples.network(**{"size": 32, "width": 8, **samples.VARIANTS[name]})
    assert isinstance(model, tf_keras.Model)
    assert np.isfinite(model(np.ones(model.input_shape, np.float32)).numpy()).all()
