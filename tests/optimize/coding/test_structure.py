"""Structures: what Keras chooses anyway is left out, and what was described is built again."""

from __future__ import annotations

import pytest

from tests.optimize.coding import zoo
from utils.optimize.coding import structure


def test_what_keras_chooses_is_left_out():
    text = structure.describe(zoo.pictures(), names=False)
    assert text == (
        '["Sequential",{},[[12,12,1]],[["Conv2D",{"filters":4,"kernel_size":5,"activation":"relu"}],["MaxPooling2D"],'
        '["Flatten"],["Dense",{"units":3}]]]'
    )


@pytest.mark.parametrize("kind", zoo.KINDS, ids=lambda kind: kind.__name__)
def test_a_described_network_is_built_again(kind):
    model = kind()
    text, layers = structure.described(model)
    built, again = structure.build(text, model.count_params())
    assert structure.describe(built) == text
    assert [w.shape for w in built.weights] == [w.shape for w in model.weights]
    assert [type(layer).__name__ for layer in layers if layer.weights] == [
        type(layer).__name__ for layer in again if layer.weights and layer in _described(built)
    ]
    with pytest.raises(structure.TooLarge):
        structure.build(text, model.count_params() - 1)


def _described(model):
    return structure.described(model)[1]
