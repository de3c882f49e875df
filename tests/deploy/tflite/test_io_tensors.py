"""What an input takes, which the tests of `tflite` try on real files; here on tensors alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.artifact import ArtifactError
from utils.deploy.tflite import io_tensors
from utils.quantization_parameters import QuantizationParameters

FLOAT = io_tensors.IOTensor("x", 0, (-1, 3), np.dtype(np.float32), None)
INT8 = io_tensors.IOTensor("x", 0, (-1, 3), np.dtype(np.int8), QuantizationParameters.of_type(0.5, -128, "int8"))
TOKENS = io_tensors.IOTensor("t", 0, (-1, 3), np.dtype(np.int16), None)


@given(st.lists(st.floats(0, 127, width=32), min_size=3, max_size=3))
def test_stored_and_back_is_within_half_a_step(values):
    x = np.array([values], np.float32)
    assert np.abs(io_tensors.to_real(INT8, io_tensors.to_stored(INT8, x)) - x).max() <= 0.25 + 1e-5


def test_tokens_keep_their_values_and_are_checked():
    assert io_tensors.to_stored(TOKENS, np.array([[1, 2, 3]])).dtype == np.int16
    with pytest.raises(ValueError, match=r"outside int16's range -32768 … 32767"):
        io_tensors.to_stored(TOKENS, np.array([[1, 2, 40_000]]))
    with pytest.raises(TypeError, match=r"takes whole numbers \(int16\), got float64"):
        io_tensors.to_stored(TOKENS, np.zeros((1, 3)))


@pytest.mark.parametrize("shape", [(3,), (2, 2), (1, 3, 1), ()])
def test_a_wrong_rank_gets_a_sentence(shape):
    with pytest.raises(ValueError, match=r"takes shape \(n, 3\), n examples along the first axis; got"):
        io_tensors.to_stored(FLOAT, np.zeros(shape, np.float32))


def test_a_part_is_filled_up_with_its_last_example():
    x = np.arange(15, dtype=np.float32).reshape(5, 3)
    assert io_tensors.part(FLOAT, x, 3, 2, 4)[:, 0].tolist() == [9, 12, 12, 12]


def detail(dtype=np.int8, scales=(0.5,), shape=(1, 3), signature=(-1, 3)):
    parameters = {"scales": np.array(scales), "zero_points": np.zeros(len(scales), int)}
    return {
        "dtype": dtype, "shape": np.array(shape), "shape_signature": np.array(signature), "index": 4,
        "quantization_parameters": parameters,
    }  # fmt: skip


def test_inputs_from_the_interpreters_details():
    tensor = io_tensors.from_detail(detail(), "x")
    assert (tensor.shape, tensor.quantization.scale, tensor.index) == ((-1, 3), 0.5, 4)
    assert io_tensors.from_detail(detail(np.float32), "x").quantization is None
    assert io_tensors.from_detail(detail(signature=()), "x").shape == (1, 3)
    with pytest.raises(ArtifactError, match="only real numbers can be passed"):
        io_tensors.from_detail(detail(np.bytes_), "x")
    with pytest.raises(ArtifactError, match="quantized per channel"):
        io_tensors.from_detail(detail(scales=(0.5, 0.25)), "x")


@pytest.mark.parametrize("pixel, refused", [(255.0, True), (60.0, False)])
def test_another_scale_is_seen_in_pictures_that_are_mostly_black(pixel, refused):
    """Zeros lie in every range: only what is not 0 tells."""
    x = np.zeros((10, 3), np.float32)
    x[:2, 0] = pixel  # two of thirty numbers; the calibrated range ends at 127.5
    if refused:
        with pytest.raises(ValueError, match="scale it as the calibration set was"):
            io_tensors.to_stored(INT8, x)
    else:
        assert io_tensors.to_stored(INT8, x)[0, 0] == 60 / 0.5 - 128
