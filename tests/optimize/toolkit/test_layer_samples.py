"""The rows of the table of layers are small, fresh, and named so that two runs can be compared."""

import numpy as np
import pytest
import tf_keras

from utils.optimize.keras_graph import example_input
from utils.optimize.toolkit.layer_samples import LAYERS


@pytest.mark.parametrize("name", LAYERS)
def test_a_builder_gives_fresh_models_with_the_same_names(name):
    tf_keras.utils.set_random_seed(1)
    first, second = LAYERS[name](), LAYERS[name]()
    assert first is not second
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]
    assert not {id(w) for w in first.weights} & {id(w) for w in second.weights}


@pytest.mark.parametrize("name", sorted(set(LAYERS) - {"Keras 3 model"}))
def test_a_model_runs_on_its_example(name):
    tf_keras.utils.set_random_seed(1)
    model = LAYERS[name]()
    x = example_input(model, 2)
    y = np.asarray(model(x[0] if len(x) == 1 else x))
    assert len(y) == 2 and np.isfinite(y).all()
