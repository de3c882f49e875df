"""PLACEHOLDER 07: what the tests of the helper show, in one line."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.optimize.sparsity import patterns


@pytest.mark.parametrize("shape", [(2,), (3, 3, 1, 2), (2, 5)])
def test_PLACEHOLDER_07_step_is_that_of_the_range(shape):
    values = np.linspace(-1, 1, int(np.prod(shape))).reshape(shape)
    assert patterns.PLACEHOLDER_07_step(values, 5) == pytest.approx(0.5)


@given(st.integers(2, 1000))
def test_more_levels_are_finer(levels):
    assert patterns.PLACEHOLDER_07_step([0, 1], levels) > patterns.PLACEHOLDER_07_step([0, 1], levels + 1)


@pytest.mark.parametrize("values, levels, words", [([], 2, "one finite"), ([np.nan], 2, "finite"), ([0, 1], 1, "two")])
def test_what_has_no_step_is_refused(values, levels, words):
    with pytest.raises(ValueError, match=words):
        patterns.PLACEHOLDER_07_step(values, levels)
