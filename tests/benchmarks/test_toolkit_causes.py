"""benchmarks/toolkit_causes.py: its table follows from its seeds, and its normalizations add 0 where it says so."""

import numpy as np
import pytest
import tf_keras

from benchmarks import toolkit_causes as bench
from utils import recorded


def test_the_words_of_the_table_are_those_of_its_seeds():
    for row in recorded.load("toolkit_zeros").rows:
        for column, seeds in row["seeds"].items():
            assert row[column] == bench.with_interval(seeds) and len(seeds) == len(bench.SEEDS)


def test_the_interval_is_that_of_students_t():
    assert bench.with_interval([1, 2, 3]) == "2.0 ± 2.5"  # 4.303 · 1 / √3
    assert bench.with_interval([1, 2, 3, 4, 5]) == "3.0 ± 2.0"  # 2.776 · 1.581 / √5


def test_each_change_differs_from_the_first_row_and_has_a_row():
    rows = [{key: row[key] for key in ("change", "masks", "epochs", "rate")} for row in bench.changes()]
    assert [row for row in rows if rows.count(row) > 1] == []
    assert rows == [{key: row[key] for key in rows[0]} for row in recorded.load("toolkit_zeros").rows]


@pytest.mark.parametrize("offset", [True, False])
def test_without_an_offset_a_normalization_multiplies_only(offset):
    model = bench.with_statistics(bench.chain((6,), tf_keras.layers.BatchNormalization()), offset=offset)
    assert np.allclose(model(np.zeros((1, 6))), 0, atol=1e-6) != offset


def test_one_schedule_makes_one_mask_and_the_other_ten():
    one, ten = bench.schedule("one", 120), bench.schedule("ten", 120)
    steps = range(1, 121)
    assert [step for step in steps if bool(one(step)[0])] == [1]
    turns = [step for step in steps if bool(ten(step)[0])]
    assert len(turns) == 10 and float(ten(turns[-1])[1]) == pytest.approx(bench.SPARSITY)


def test_what_is_float_is_counted_and_conversions_are_not():
    layers = [tf_keras.layers.Dense(4, activation="elu"), tf_keras.layers.Dense(4, activation="elu")]
    found = bench.seen(bench.converted(bench.chain((6,), *layers)))
    assert found == {"float operators": "ELU × 2, FULLY_CONNECTED × 2", "weights": "float32"}
