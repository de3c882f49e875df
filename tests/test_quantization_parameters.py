"""The record of scale and zero point: what it refuses, its type, its range, and equality."""

import numpy as np
import pytest

from utils.quantization_parameters import QuantizationParameters as Parameters


@pytest.mark.parametrize(
    "dtype, low, high",
    [
        ("int8", -128, 127), ("uint8", 0, 255), ("int4", -8, 7), ("uint4", 0, 15), ("int2", -2, 1),
        (np.int16, -32768, 32767), (np.dtype("int32"), -(2**31), 2**31 - 1), ("int64", -(2**63), 2**63 - 1),
    ],
)  # fmt: skip
def test_the_limits_are_those_of_the_type(dtype, low, high):
    made = Parameters.of_type(0.5, 0, dtype)
    assert (made.qmin, made.qmax) == (low, high)
    assert made.dtype.itemsize * 8 >= 4 and np.iinfo(made.dtype).min <= low and high <= np.iinfo(made.dtype).max


@pytest.mark.parametrize(
    "low, high, dtype",
    [(-128, 127, "int8"), (0, 127, "int8"), (0, 255, "uint8"), (-129, 127, "int16"), (0, 65535, "uint16"),
     (-1, 65535, "int32"), (0, 2**32 - 1, "uint32"), (-1, 2**32, "int64")],
)  # fmt: skip
def test_the_smallest_type_that_holds_both_ends(low, high, dtype):
    assert Parameters(1.0, 0, low, high).dtype == dtype


def test_the_range_is_what_the_ends_mean():
    low, high = Parameters(0.5, 3, -8, 7).range
    assert (low, high) == (-5.5, 2.0)
    low, high = Parameters([0.5, 2.0], [0, -8], -8, 7, axis=0).range
    assert low.tolist() == [-4, 0] and high.tolist() == [3.5, 30]


def test_the_parameters_of_a_type_have_their_axis():
    made = Parameters.of_type([0.5, 2.0], [0, 1], "uint8", axis=1)
    assert made == Parameters([0.5, 2.0], [0, 1], 0, 255, axis=1) and made.axis == 1


@pytest.mark.parametrize("axis, shape", [(0, (2, 1, 1)), (1, (1, 2, 1)), (-1, (1, 1, 2))])
def test_channels_are_aligned_with_their_axis(axis, shape):
    array = [5, 5, 5]
    array[axis] = 2
    scale, zero = Parameters([1.0, 2.0], [0, 1], axis=axis).aligned(tuple(array))
    assert scale.shape == zero.shape == shape
    with pytest.raises(ValueError, match="5 channels; the quantization has 2 scales"):
        Parameters([1.0, 2.0], [0, 1], axis=axis).aligned((5, 5, 5))
    with pytest.raises(ValueError, match="0 channels"):
        Parameters([1.0, 2.0], [0, 1], axis=3).aligned((5, 5, 5))


def test_equal_parameters_are_equal_and_hash_alike():
    a, b = (Parameters(np.array([1.0, 2.0]), [0, 1], axis=0) for _ in range(2))
    assert a == b and hash(a) == hash(b) and a.per_channel
    others = [
        Parameters([1.0, 2.5], [0, 1], axis=0), Parameters([1.0, 2.0], [1, 1], axis=0),
        Parameters([1.0, 2.0], [0, 1], axis=1), Parameters([1.0, 2.0], [0, 1], -7, 127, axis=0),
        Parameters(1.0, 0), None,
    ]  # fmt: skip
    assert all(a != other for other in others)
    assert Parameters(1.0, 4).scales.tolist() == [1.0] and Parameters(1.0, 4).zero_points.tolist() == [4]


@pytest.mark.parametrize(
    "arguments, error, text",
    [
        ((0.0, 0), ValueError, "above 0"),
        ((-1.0, 0), ValueError, "above 0"),
        ((np.inf, 0), ValueError, "finite"),
        ((np.nan, 0), ValueError, "finite"),
        ((1.0, 0.5), TypeError, "whole number"),
        ((1.0, 300), ValueError, "must lie in"),
        ((1.0, -129), ValueError, "must lie in"),
        (([1.0, -1.0], [0, 0], -8, 7, 0), ValueError, "above 0"),  # one channel of several
        (([1.0, np.nan], [0, 0], -8, 7, 0), ValueError, "finite"),
        (([1.0, 1.0], [0, 8], -8, 7, 0), ValueError, "must lie in"),
        (([1.0, 1.0], [-9, 0], -8, 7, 0), ValueError, "must lie in"),
        ((1.0, 5, 5, 5), ValueError, "below qmax"),
        (([1.0, 2.0], 0), ValueError, "axis"),
        ((1.0, 0, -8, 7, 0), ValueError, "axis"),
        (([1.0, 2.0], [0, 0, 0], -8, 7, 0), ValueError, "as many of each"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, error, text):
    with pytest.raises(error, match=text):
        Parameters(*arguments)
    with pytest.raises(ValueError, match="no type of integers"):
        Parameters.of_type(1.0, 0, "float32")


def test_a_zero_point_may_be_either_end_and_no_further():
    for zero in (-8, 7):
        assert int(Parameters(1.0, zero, -8, 7).zero_point) == zero
        with pytest.raises(ValueError, match=r"must lie in \[-8, 7\]"):
            Parameters(1.0, zero + (1 if zero > 0 else -1), -8, 7)
    assert Parameters(1.0, 0, 0, 1).qmax == 1
    with pytest.raises(ValueError, match="qmin 2 must be below qmax 1"):
        Parameters(1.0, 1, 2, 1)


def test_a_scale_is_single_precision_and_stands_for_all_channels_of_a_zero_point():
    made = Parameters([0.1, 0.2], 0, axis=0)
    assert made.scale.dtype == np.float32 and made.zero_point.dtype == np.int64
    assert made.zero_points.tolist() == [0, 0] and (made.qmin, made.qmax) == (-128, 127)
    assert not Parameters(0.1, 0).per_channel and Parameters(0.1, 0).aligned((2, 3)) == (np.float32(0.1), 0)


def test_only_integers_have_limits():
    for name in ("float32", "int", "xint8", "int8x", "bool"):
        with pytest.raises(ValueError, match="is no type of integers, such as 'int8'"):
            Parameters.of_type(1.0, 0, name)


def test_channels_that_are_not_there_are_none():
    two = Parameters([1.0, 2.0], [0, 1], axis=1)
    assert two.aligned((5, 2))[0].shape == (1, 2)
    for shape in ((2,), (), (2, 3)):
        with pytest.raises(ValueError, match="the quantization has 2 scales"):
            two.aligned(shape)
    with pytest.raises(ValueError, match="0 channels"):
        Parameters([1.0, 2.0], [0, 1], axis=-2).aligned((2,))
