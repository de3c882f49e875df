"""Distorted pictures: each by itself, within its limits, the same from the same generator."""

import numpy as np
import pytest

from utils.augmentation import distorted

NOTHING = {"degrees": 0, "scale": 0, "slant": 0, "pixels": 0, "bend": 0}


def pictures(n=6, size=21, channels=1):
    """A bar in the middle."""
    made = np.zeros((n, size, size, channels), np.float32)
    made[:, 6:15, 9:12] = 1
    return made


def test_without_limits_nothing_changes():
    before = np.random.default_rng(0).random((3, 9, 12, 2), np.float32)
    np.testing.assert_allclose(distorted(before, np.random.default_rng(1), **NOTHING), before, atol=1e-6)


@pytest.mark.parametrize("limit", NOTHING)
def test_each_limit_distorts_each_picture_in_its_own_way(limit):
    size = {"degrees": 30, "scale": 0.3, "slant": 0.5, "pixels": 3, "bend": 2}[limit]
    made = distorted(pictures(), np.random.default_rng(0), **{**NOTHING, limit: size})
    assert all(not np.allclose(picture, before, atol=0.002) for picture, before in zip(made, pictures(), strict=True))
    assert not np.allclose(made[0], made[1], atol=0.01)


def test_shape_type_and_range_stay_and_the_generator_decides():
    before = pictures(channels=2)
    first = distorted(before, np.random.default_rng(5))
    assert first.shape == before.shape and first.dtype == before.dtype
    assert first.min() >= 0 and first.max() <= 1 + 1e-6
    np.testing.assert_array_equal(first, distorted(before, np.random.default_rng(5)))
    assert not np.array_equal(first, distorted(before, np.random.default_rng(6)))
    np.testing.assert_array_equal(before, pictures(channels=2))


def test_a_move_is_no_larger_than_its_limit():
    made = distorted(pictures(50), np.random.default_rng(0), **{**NOTHING, "pixels": 2})
    places = np.arange(21)
    for other in (1, 2):  # sideways, and up and down
        middles = (made[..., 0].sum(other) * places).sum(1) / made[..., 0].sum((1, 2))
        assert np.abs(middles - 10).max() <= 2 + 1e-3
        assert np.abs(middles - 10).max() > 0.5


def test_a_rotation_keeps_the_middle():
    made = distorted(pictures(20), np.random.default_rng(0), **{**NOTHING, "degrees": 40})
    assert made[:, 10, 10, 0].min() > 0.9


def test_what_comes_from_outside_is_zero():
    made = distorted(np.ones((40, 9, 9, 1), np.float32), np.random.default_rng(0), **{**NOTHING, "pixels": 4})
    assert (made == 0).any()


@pytest.mark.parametrize(
    ("wrong", "message"), [(np.zeros((3, 9, 9)), "shape"), (np.zeros((3, 9, 9, 1), np.uint8), "uint8")]
)
def test_other_pictures_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        distorted(wrong, np.random.default_rng(0))


@pytest.mark.parametrize("limit", NOTHING)
@pytest.mark.parametrize("value", [-1, np.nan, np.inf])
def test_limits_are_numbers_of_at_least_zero(limit, value):
    with pytest.raises(ValueError, match=limit):
        distorted(pictures(), np.random.default_rng(0), **{limit: value})
