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


REAL16 = io_tensors.IOTensor("x", 0, (-1, 3), np.dtype(np.float16), None)
FLAGS = io_tensors.IOTensor("b", 0, (-1, 3), np.dtype(bool), None)
SINGLE = io_tensors.IOTensor("s", 0, (), np.dtype(np.float32), None)


@pytest.mark.parametrize(
    ("tensor", "values", "error", "sentence"),
    [
        (FLOAT, [[1, 2, 3]], TypeError, "'x' takes real values, got int64; .*pass float32$"),
        (INT8, [[1, 2, 3]], TypeError, "takes real values, got int64; .*go to run_raw$"),
        (TOKENS, [[1.0, 2, 3]], TypeError, r"takes whole numbers \(int16\), got float64"),
        (TOKENS, [[True, False, True]], TypeError, r"takes whole numbers \(int16\), got bool"),
        (TOKENS, [[0, 0, -32_769]], ValueError, "outside int16's range -32768"),
        (TOKENS, [[0, 0, 32_768]], ValueError, "outside int16's range -32768"),
        (FLAGS, [[1, 0, 1]], TypeError, "'b' takes bool, got int64"),
        (FLOAT, [[0, np.nan, 0]], ValueError, "NaN or infinite values as float32"),
        (FLOAT, [[0, np.inf, 0]], ValueError, "NaN or infinite values as float32"),
        (FLOAT, [[0, 1e39, 0]], ValueError, "NaN or infinite values as float32"),
        (REAL16, [[0, 1e5, 0]], ValueError, "NaN or infinite values as float16"),
        (INT8, [[0, np.nan, 0]], ValueError, "NaN or infinite values as float32"),
        (SINGLE, [1.0], ValueError, r"'s' is a single number, got shape \(1,\)"),
    ],
)
def test_what_an_input_does_not_take_gets_a_sentence(tensor, values, error, sentence):
    with pytest.raises(error, match=sentence):
        io_tensors.to_stored(tensor, np.array(values))


@pytest.mark.parametrize(
    ("tensor", "values"),
    [
        (FLOAT, np.array([[0.1, 3e38, 0]])),
        (REAL16, np.array([[0.1, 6e4, 0]])),
        (TOKENS, np.array([[-32_768, 32_767, 0]])),
        (TOKENS, np.array([[1, 2, 3]], np.uint8)),
        (TOKENS, np.array([[-1, 2, 3]], np.int16)),
        (FLAGS, np.array([[True, False, True]])),
        (SINGLE, np.array(1.5)),
    ],
)
def test_what_an_input_takes_is_stored_in_its_own_type(tensor, values):
    stored = io_tensors.to_stored(tensor, values)
    assert stored.dtype == tensor.dtype and stored.tolist() == values.astype(tensor.dtype).tolist()


@pytest.mark.parametrize(
    ("tensor", "dtype"), [(FLOAT, np.float32), (REAL16, np.float32), (TOKENS, np.int16), (FLAGS, bool)]
)
def test_real_numbers_come_back_as_float32_and_others_as_they_are(tensor, dtype):
    assert io_tensors.to_real(tensor, np.ones((1, 3), tensor.dtype)).dtype == dtype


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("off", "refused"), [(0.5, False), (0.6, True)])
def test_a_step_beyond_the_range_is_within_and_half_of_the_numbers_may_lie_beyond(sign, off, refused):
    centred = io_tensors.IOTensor("x", 0, (-1, 4), np.dtype(np.int8), QuantizationParameters.of_type(0.5, 0, "int8"))
    edge = 63.5 if sign > 0 else 64.0
    half = np.array([[sign * (edge + 5), sign * (edge + 5), 1, 2]], np.float32)
    assert io_tensors.to_stored(centred, half).shape == (1, 4)
    most = np.array([[sign * (edge + off)] * 3 + [1]], np.float32)
    if refused:
        with pytest.raises(ValueError, match=r"was calibrated for values from -64 to 63.5"):
            io_tensors.to_stored(centred, most)
    else:
        assert io_tensors.to_stored(centred, most).tolist()[0][:3] == [127 if sign > 0 else -128] * 3


@pytest.mark.parametrize(
    ("dtype", "quantized"), [(np.int8, True), (np.uint8, True), (np.int16, True), (np.float32, False)]
)
def test_only_whole_numbers_with_a_scale_are_quantized(dtype, quantized):
    tensor = io_tensors.from_detail(detail(dtype), "x")
    assert tensor.quantized is quantized and tensor.dtype == dtype
    assert not io_tensors.from_detail(detail(dtype, scales=()), "x").quantized
    assert io_tensors.from_detail(detail(bool, scales=()), "x").dtype == bool


def test_scale_and_zero_point_are_the_details_own():
    told = detail()
    told["quantization_parameters"]["zero_points"] = np.array([-7])
    tensor = io_tensors.from_detail(told, "given")
    assert (tensor.name, tensor.quantization.scale, tensor.quantization.zero_point) == ("given", 0.5, -7)


@pytest.mark.parametrize("kind", [np.complex64, np.str_, object])
def test_other_types_cannot_be_passed(kind):
    with pytest.raises(ArtifactError, match="only real numbers can be passed"):
        io_tensors.from_detail(detail(kind), "x")


def test_a_whole_part_is_not_filled_up_and_a_single_number_has_no_parts():
    x = np.arange(15, dtype=np.float32).reshape(5, 3)
    assert io_tensors.part(FLOAT, x, 1, 2, 2).tolist() == x[1:3].tolist()
    assert io_tensors.part(FLOAT, x.T.copy().T, 0, 5, 5).flags.c_contiguous
    assert io_tensors.part(SINGLE, np.array(3.0), 4, 1, 1) == 3
