"""Dominance and the Pareto front."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.measure import pareto

BOTH = {"smaller": ["bytes"], "larger": ["accuracy"]}
points = st.lists(st.tuples(st.integers(1, 6), st.integers(80, 86)), min_size=1, max_size=12)


def rows_of(pairs):
    return [{"bytes": size, "accuracy": accuracy} for size, accuracy in pairs]


def test_a_small_case_by_hand():
    rows = rows_of([(100, 90), (50, 88), (60, 88), (200, 90), (40, 70), (100, 90)])
    assert pareto.front(rows, **BOTH) == rows_of([(100, 90), (50, 88), (40, 70), (100, 90)])


def test_equal_in_one_and_better_in_the_other_dominates_and_equal_rows_do_not():
    a, b = rows_of([(50, 88), (60, 88)])
    assert pareto.dominates(a, b, **BOTH)
    assert not pareto.dominates(b, a, **BOTH)
    assert not pareto.dominates(a, dict(a), **BOTH)


def test_each_respect_counts():
    fast = {"bytes": 100, "seconds": 1.0, "accuracy": 80}
    slow = {"bytes": 100, "seconds": 2.0, "accuracy": 81}
    assert pareto.front([fast, slow], smaller=["bytes", "seconds"], larger=["accuracy"]) == [fast, slow]
    assert pareto.front([fast, slow], smaller=["bytes", "seconds"]) == [fast]


@given(points)
def test_the_front_is_what_remains_and_everything_else_is_dominated_by_it(pairs):
    rows = rows_of(pairs)
    kept = pareto.front(rows, **BOTH)
    assert kept
    for row in rows:
        beaten = any(pareto.dominates(other, row, **BOTH) for other in kept)
        assert beaten != (row in kept)


@given(points)
def test_turning_a_column_round_is_the_same_as_negating_it(pairs):
    rows = rows_of(pairs)
    negated = [{"bytes": -row["bytes"], "accuracy": row["accuracy"]} for row in rows]
    sizes = [row["bytes"] for row in pareto.front(rows, **BOTH)]
    assert sizes == [-row["bytes"] for row in pareto.front(negated, larger=["bytes", "accuracy"])]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "12 kB", True])
def test_what_is_no_number_is_named(value):
    with pytest.raises(ValueError, match="'bytes'"):
        pareto.front([{"bytes": value, "accuracy": 1}], **BOTH)


def test_wrong_arguments_say_what_to_pass():
    with pytest.raises(ValueError, match="no rows"):
        pareto.front([], **BOTH)
    with pytest.raises(ValueError, match="say what is better"):
        pareto.front(rows_of([(1, 80)]))
    with pytest.raises(ValueError, match="both smaller and larger"):
        pareto.front(rows_of([(1, 80)]), smaller=["bytes"], larger=["bytes"])
    with pytest.raises(KeyError, match="latency"):
        pareto.front(rows_of([(1, 80)]), smaller=["latency"])


@pytest.mark.parametrize("rows", [{"bytes": 1}, "rows", [1, 2], iter([{"bytes": 1}])])
def test_rows_are_a_list_of_mappings(rows):
    with pytest.raises(TypeError, match="pass a list of mappings"):
        pareto.front(rows, smaller=["bytes"])


def test_one_name_in_the_place_of_names_is_answered_with_the_list():
    with pytest.raises(TypeError, match=r"smaller=\['bytes'\]"):
        pareto.front(rows_of([(1, 80)]), smaller="bytes")
    with pytest.raises(TypeError, match=r"larger=\['accuracy'\]"):
        pareto.dominates(*rows_of([(1, 80), (2, 80)]), larger="accuracy")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"bytes": 0}, "'b' has 0 in column 'bytes'.*logarithmic"),
        ({"bytes": -3}, "'b' has -3"),
        ({"low": 89}, "interval 89.0 to 90.0"),
        ({"high": 87}, "interval 86.0 to 87.0"),
        ({"low": None}, "column 'low' has None"),
    ],
)
def test_the_picture_leaves_no_point_out_without_a_word(changed, message):
    rows = [
        {"name": "a", "bytes": 100, "accuracy": 90, "low": 88, "high": 91},
        {"name": "b", "bytes": 50, "accuracy": 88, "low": 86, "high": 90} | changed,
    ]
    with pytest.raises(ValueError, match=message):
        pareto.draw(rows, smaller="bytes", larger="accuracy", label="name", interval=("low", "high"))


def test_a_picture_without_names_says_which_column_is_missing():
    with pytest.raises(KeyError, match="no column 'name'"):
        pareto.draw(rows_of([(1, 80)]), smaller="bytes", larger="accuracy", label="name")


def test_the_picture_has_all_points_names_and_the_front():
    rows = [{"name": "a", "bytes": 100, "accuracy": 90, "low": 89, "high": 91},
            {"name": "b", "bytes": 50, "accuracy": 88, "low": 87, "high": 89},
            {"name": "c", "bytes": 120, "accuracy": 89, "low": 88, "high": 90}]  # fmt: skip
    _fig, axes = pareto.draw(rows, smaller="bytes", larger="accuracy", label="name", interval=("low", "high"))
    assert [text.get_text() for text in axes.texts] == ["a", "b", "c"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("bytes", "accuracy")
    drawn = [bars.lines[2][0].get_segments()[0][:, 1].tolist() for bars in axes.containers]
    assert drawn == [[row["low"], row["high"]] for row in rows]
    _, plain = pareto.draw(rows, smaller="bytes", larger="accuracy", label="name")
    assert not any(bars.has_yerr for bars in plain.containers)
    (steps,) = [line for line in axes.lines if line.get_label() == "front"]
    assert list(steps.get_xdata()) == pytest.approx([50, 100, 156])
    assert list(steps.get_ydata()) == [88, 90, 90]
    assert steps.get_drawstyle() == "steps-post"  # between two files the smaller one's accuracy is what one gets


def test_names_of_the_front_stand_above_their_intervals_and_of_the_dominated_below():
    rows = [
        {"name": "kept", "bytes": 50, "accuracy": 90, "low": 88, "high": 92},
        {"name": "dominated", "bytes": 60, "accuracy": 85, "low": 83, "high": 87},
    ]
    fig, axes = pareto.draw(
        rows, smaller="bytes", larger="accuracy", label="name", interval=("low", "high"), title="One is enough here"
    )
    places = {text.get_text(): (text.xy[1], text.get_position()[1]) for text in axes.texts}
    assert places["kept"][0] == 92 and places["kept"][1] > 0
    assert places["dominated"][0] == 83 and places["dominated"][1] < 0
    assert fig.get_suptitle() == "One is enough here"


def test_the_left_one_of_two_near_dots_has_its_name_below_and_the_axis_plain_numbers():
    rows = rows_of([(100, 80), (300, 84), (400, 86), (1000, 90)])
    _fig, axes = pareto.draw(rows, smaller="bytes", larger="accuracy", label="bytes")
    above = {text.get_text(): text.get_position()[1] > 0 for text in axes.texts}
    assert above == {"100": True, "300": False, "400": True, "1000": True}
    low, high = axes.get_xlim()
    shown = [axes.xaxis.get_major_formatter()(place) for place in axes.get_xticks() if low < place < high]
    assert shown == ["100", "200", "500", "1,000"]
