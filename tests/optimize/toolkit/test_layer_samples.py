"""The rows of the table of layers are small, fresh, and named so that two runs can be compared."""

import numpy as np
import pytest
import tf_keras

from utils.optimize.keras_graph import example_input
from utils.optimize.toolkit.layer_samples import LAYERS


def ran(model: tf_keras.Model, count: int) -> np.ndarray:
    x = example_input(model, count)
    return np.asarray(model(x[0] if len(x) == 1 else x))


#: Of each row: its layers, the shape of what it gives, and its weights.
ROWS = {
    "Dense": ("Dense", (8,), 136),
    "Conv1D": ("Conv1D", (6, 8), 392),
    "Conv2D": ("Conv2D", (6, 6, 8), 584),
    "Conv3D": ("Conv3D", (4, 4, 4, 4), 436),
    "DepthwiseConv2D": ("DepthwiseConv2D", (6, 6, 8), 80),
    "SeparableConv1D": ("SeparableConv1D", (6, 8), 184),
    "SeparableConv2D": ("SeparableConv2D", (6, 6, 8), 144),
    "Conv2DTranspose": ("Conv2DTranspose", (17, 17, 8), 584),
    "Conv2D → BatchNormalization": ("Conv2D BatchNormalization", (6, 6, 8), 616),
    "Conv2D → BatchNormalization → ReLU": ("Conv2D BatchNormalization ReLU", (6, 6, 8), 616),
    "DepthwiseConv2D → BatchNormalization → ReLU": ("DepthwiseConv2D BatchNormalization ReLU", (6, 6, 8), 112),
    "Dense → BatchNormalization": ("Dense BatchNormalization", (8,), 168),
    "BatchNormalization alone": ("BatchNormalization", (8, 8, 8), 32),
    "LayerNormalization": ("LayerNormalization", (8, 16), 32),
    "Embedding": ("Embedding", (8, 16), 512),
    "SimpleRNN": ("SimpleRNN", (8,), 200),
    "LSTM": ("LSTM", (8,), 800),
    "GRU": ("GRU", (8,), 624),
    "TimeDistributed Dense": ("TimeDistributed", (8, 8), 136),
    "MultiHeadAttention": ("MultiHeadAttention", (8, 16), 1088),
    "Add": ("Conv2D Conv2D Add", (8, 8, 8), 144),
    "Multiply": ("Conv2D Conv2D Multiply", (8, 8, 8), 144),
    "Concatenate": ("Conv2D Conv2D Concatenate", (8, 8, 16), 144),
    "MaxPooling2D": ("MaxPooling2D", (4, 4, 8), 0),
    "AveragePooling2D": ("AveragePooling2D", (4, 4, 8), 0),
    "GlobalAveragePooling2D": ("GlobalAveragePooling2D", (8,), 0),
    "UpSampling2D": ("UpSampling2D", (16, 16, 8), 0),
    "ZeroPadding2D": ("ZeroPadding2D", (10, 10, 8), 0),
    "Dense → Dropout": ("Dense Dropout", (8,), 136),
    "Conv2D → LeakyReLU": ("Conv2D LeakyReLU", (6, 6, 8), 584),
    "Conv2D → PReLU": ("Conv2D PReLU", (6, 6, 8), 592),
    "Softmax": ("Softmax", (16,), 0),
    "Dense, softmax inside": ("Dense", (8,), 136),
    "Dense, sigmoid inside": ("Dense", (8,), 136),
    "Dense, swish inside": ("Dense", (8,), 136),
    "Conv2D, swish inside": ("Conv2D", (6, 6, 8), 584),
    "Dense, gelu inside": ("Dense", (8,), 136),
    "Rescaling": ("Rescaling", (8, 8, 8), 0),
    "Lambda": ("Lambda", (16,), 0),
    "own layer": ("Projection", (8,), 128),
    "model inside a model": ("Sequential Flatten Dense", (4,), 1740),
    "subclassed model": ("Conv2D Flatten Dense", (4,), 1740),
    "Keras 3 model": ("Dense", (8,), 136),
}


@pytest.fixture(autouse=True)
def seed():
    tf_keras.utils.set_random_seed(1)


def test_the_rows_are_these():
    assert list(LAYERS) == list(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_what_it_is_called(name):
    kinds, shape, weights = ROWS[name]
    model = LAYERS[name]()
    y = np.asarray(model(np.zeros((1, 16), np.float32)) if name == "Keras 3 model" else ran(model, 1))
    assert " ".join(type(layer).__name__ for layer in model.layers if "Input" not in type(layer).__name__) == kinds
    assert (y.shape[1:], model.count_params()) == (shape, weights)
    assert isinstance(model, tf_keras.Model) == (name != "Keras 3 model")


@pytest.mark.parametrize("name", sorted(name for name in ROWS if name.endswith(" inside")))
def test_the_activation_inside_is_the_one_that_the_row_names(name):
    assert LAYERS[name]().layers[-1].activation.__name__ == name.split(", ")[1].split()[0]


@pytest.mark.parametrize(
    "name, settings",
    [
        ("Rescaling", {"scale": 1 / 255}),
        ("Dense → Dropout", {"rate": 0.5}),
        ("Conv2D → PReLU", {"shared_axes": [1, 2]}),
        ("Conv2DTranspose", {"strides": (2, 2), "kernel_size": (3, 3)}),
        ("Embedding", {"input_dim": 32, "output_dim": 16}),
        ("MultiHeadAttention", {"num_heads": 2, "key_dim": 8}),
        ("Conv3D", {"filters": 4, "kernel_size": (3, 3, 3)}),
        ("DepthwiseConv2D", {"kernel_size": (3, 3)}),
        ("SeparableConv1D", {"filters": 8, "kernel_size": (3,)}),
    ],
)
def test_the_last_layer_has_these_settings(name, settings):
    config = LAYERS[name]().layers[-1].get_config()
    assert {key: config[key] for key in settings} == settings


def test_an_own_layer_multiplies_and_comes_back_from_its_configuration():
    model = LAYERS["own layer"]()
    x = np.random.default_rng(0).normal(size=(2, 16)).astype(np.float32)
    np.testing.assert_allclose(model(x), x @ model.layers[-1].kernel.numpy(), rtol=1e-5, atol=1e-6)
    layer = model.layers[-1]
    assert type(layer).from_config(layer.get_config()).units == 8
    np.testing.assert_array_equal(LAYERS["Lambda"]()(x), 2 * x)


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
    y = ran(LAYERS[name](), 2)
    assert len(y) == 2 and np.isfinite(y).all()
