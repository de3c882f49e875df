"""How arrays are seen: axes of space, channels and units, and what feeds them."""

from __future__ import annotations

import numpy as np
import pytest
import tf_keras

from tests.optimize.coding import zoo
from utils.optimize.coding import layouts, structure
from utils.optimize.coding.integers import Layout


def _seen(model):
    return layouts.seen(structure.described(model)[1])


def test_a_dense_kernel_behind_flatten_has_the_space_of_the_picture():
    kernel, bias, dense, last = _seen(zoo.pictures())
    assert kernel.layout == Layout((5, 5), 1, 4) and bias.layout == Layout((), 4, 1)
    assert dense.layout == Layout((4, 4), 4, 3) and last.layout == Layout((), 3, 1)
    assert dense.source is bias.source is kernel.weight.variable and kernel.source is None


@pytest.mark.parametrize("kind", zoo.KINDS, ids=lambda kind: kind.__name__)
def test_arrays_are_arranged_and_restored(kind):
    model = kind()
    found = _seen(model)
    assert sum(array.layout.count for array in found) == model.count_params()
    for array in found:
        values = np.arange(array.layout.count).reshape(array.weight.variable.shape)
        assert (array.restored(array.arranged(values)) == values).all()


def test_axes_that_turn_in_a_ring_are_turned_back():
    """Of "dec" the input stands last: (2, 0, 1) is no permutation that undoes itself."""
    import tf_keras

    dense = tf_keras.layers.EinsumDense("abc,dec->abde", (None, 4, 5))
    kernel = next(a for a in _seen(tf_keras.Sequential([tf_keras.Input((2, 3)), dense])) if a.weight.is_kernel)
    assert kernel.axes == (2, 0, 1)
    values = np.arange(60).reshape(4, 5, 3)
    assert (kernel.restored(kernel.arranged(values)) == values).all()
    assert (kernel.arranged(values)[0] == values.transpose(2, 0, 1).reshape(3, 20)).all()


def test_a_model_without_weights_has_no_arrays():
    model = tf_keras.Sequential([tf_keras.Input((3,)), tf_keras.layers.ReLU()], name="bare")
    with pytest.raises(ValueError, match="the model 'bare' has no weights"):
        layouts.check_arrays(model)
