"""The roofline: work counted in files, the longer of two times, and rates that are measured."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import little
from tests.dense_file import dense_file
from utils.measure import macs, roofline
from utils.measure.roofline import Roof, Work
from utils.tflite_file import File

ROOF = Roof({"float32 matrix": 10.0, "int8 matrix": 20.0}, 4.0)


def work(macs: int, bytes: int, rate: str = "float32 matrix") -> Work:
    return Work("one", macs, bytes, rate if macs else "")


# ---------------------------------------------------------------- the model


def test_the_longer_of_arithmetic_and_memory_decides():
    # 100 products at 10 a second take 10 s; 20 bytes at 4 a second take 5 s
    heavy, light = roofline.predict_time([work(100, 20), work(100, 80)], ROOF).steps
    assert (heavy.arithmetic, heavy.memory, heavy.seconds, heavy.bound) == (10, 5, 10, "arithmetic")
    assert (light.arithmetic, light.memory, light.seconds, light.bound) == (10, 20, 20, "memory")


def test_a_networks_time_is_the_sum_of_its_operators():
    made = roofline.predict_time([work(100, 20), work(100, 80), work(0, 8)], ROOF)
    assert made.seconds == 10 + 20 + 2
    assert made.memory_part == pytest.approx(22 / 32)
    assert roofline.predict_time([], ROOF).seconds == 0
    assert roofline.predict_time([], ROOF).memory_part == 0


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_at_the_ridge_both_take_equally_long(count, size):
    step = roofline.predict_time([work(count, size)], ROOF).steps[0]
    ridge = ROOF.ridge("float32 matrix", size)
    assert (step.bound == "arithmetic") == (step.arithmetic > step.memory)
    assert (step.work.intensity > ridge) == (step.arithmetic > step.memory) or math.isclose(step.work.intensity, ridge)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.floats(1.1, 8))
def test_a_faster_processor_never_takes_longer(count, size, factor):
    faster = Roof({"float32 matrix": 10 * factor}, 4 * factor)
    before, after = (roofline.predict_time([work(count, size)], roof).seconds for roof in (ROOF, faster))
    assert after == pytest.approx(before / factor)


@pytest.mark.parametrize(("size", "rate"), [(0, 9.0), (100, 9.0), (300, 9.0), (330, 5.0), (1000, 5.0), (9000, 5.0)])
def test_the_rate_of_a_working_set_is_that_of_the_nearest_size(size, rate):
    assert Roof({}, {1000: 5.0, 100: 9.0}).bandwidth(size) == rate


def test_an_operator_without_bytes_has_no_limit_by_memory():
    assert work(10, 0).intensity == math.inf
    assert roofline.predict_time([work(10, 0)], ROOF).steps[0].bound == "arithmetic"


def test_a_rate_that_the_roof_lacks_is_named():
    with pytest.raises(ValueError, match=r"no rate for 'int8 depthwise'; it has float32 matrix, int8 matrix"):
        roofline.predict_time([work(1, 1, "int8 depthwise")], ROOF)


@pytest.mark.parametrize(
    "rates", [({"float32 matrix": 0.0}, 1.0), ({}, -1.0), ({}, {}), ({}, {0: 1.0}), ({}, {10: math.nan})]
)
def test_a_roof_of_impossible_rates_is_refused(rates):
    with pytest.raises(ValueError, match=r"finite and above 0|is one rate"):
        Roof(*rates)


# ---------------------------------------------------------------- counting


def keras_networks():
    k, ones = little.keras().layers, {"bias_initializer": "ones"}  # the converter leaves out biases of zeros
    return {
        "dense": ((7,), [k.Dense(5, activation="relu", **ones), k.Dense(3, **ones)]),
        "conv": ((8, 8, 3), [k.Conv2D(4, 3, strides=2, padding="same"), k.Flatten(), k.Dense(2)]),
        "grouped": ((6, 6, 4), [k.Conv2D(6, 3, groups=2)]),
        "depthwise": ((9, 9, 4), [k.DepthwiseConv2D(3, depth_multiplier=2), k.Conv2D(5, 1)]),
        "transposed": ((4, 4, 3), [k.Conv2DTranspose(2, 3, strides=2, padding="same")]),
        "3-D": ((4, 5, 6, 2), [k.Conv3D(3, 2)]),
        "1-D": ((12, 3), [k.Conv1D(4, 3)]),
        "pooling": ((8, 8, 2), [k.MaxPooling2D(), k.GlobalAveragePooling2D()]),
    }


KINDS = ("dense", "conv", "grouped", "depthwise", "transposed", "3-D", "1-D", "pooling")


@pytest.fixture(scope="module")
def converted():
    from utils.optimize.quantization.converter import convert

    made = {}
    for name, (shape, layers) in keras_networks().items():
        model = little.keras().Sequential([little.keras().Input(shape, batch_size=1), *layers])
        made[name] = model, convert(model, "float32")
    return made


@pytest.mark.parametrize("name", KINDS)
def test_a_file_has_the_multiply_accumulates_of_its_model(converted, name):
    model, file = converted[name]
    assert sum(part.macs for part in roofline.of_file(file.content)) == macs.count(model)


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("dense", {"float32 vector"}),
        ("conv", {"float32 matrix", "float32 vector"}),
        ("depthwise", {"float32 depthwise", "float32 matrix"}),
        ("pooling", set()),
    ],
)
def test_each_product_names_what_computes_it(converted, name, rates):
    assert {part.rate for part in roofline.of_file(converted[name][1].content) if part.macs} == rates


def test_bytes_are_constants_and_what_is_read_and_written(converted):
    first, second = roofline.of_file(converted["dense"][1].content)
    assert first.bytes == 4 * (7 + 7 * 5 + 5 + 5)
    assert second.bytes == 4 * (5 + 5 * 3 + 3 + 3)
    assert first.intensity == pytest.approx(35 / (4 * 52))


def test_integers_move_a_quarter_and_are_computed_at_their_own_rate(converted):
    from utils.optimize.quantization.converter import convert

    model, _ = converted["dense"]
    samples = np.random.default_rng(0).random((8, 7), np.float32)
    first = roofline.of_file(convert(model, "int8", samples).content)[0]
    assert (first.rate, first.bytes) == ("int8 vector", 7 + 7 * 5 + 4 * 5 + 5)
    assert first.macs == 35


def test_weights_of_float16_are_unpacked_once_and_not_counted_as_work(converted):
    from utils.optimize.quantization.converter import convert

    parts = roofline.of_file(convert(converted["dense"][0], "float16").content)
    assert [part.name.split()[1] for part in parts] == ["FULLY_CONNECTED", "FULLY_CONNECTED"]
    assert [part.rate for part in parts] == ["float32 vector"] * 2


def test_integer_weights_below_floats_are_a_rate_of_their_own():
    content = dense_file(np.ones((3, 4), np.int8), np.ones(3))
    [part] = roofline.of_file(content)
    assert (part.rate, part.macs, part.bytes) == ("dynamic vector", 12, 12 + 4 * 4 + 4 * 3)


@pytest.mark.parametrize("name", ["UNIDIRECTIONAL_SEQUENCE_LSTM", "WHILE", "CUSTOM", "STABLEHLO_CONVOLUTION"])
def test_an_operator_whose_products_are_hidden_is_named(name, monkeypatch):
    content = dense_file(np.ones((3, 4), np.int8), np.ones(3))
    hidden = [replace(operator, name=name) for operator in File(content).operators()]
    monkeypatch.setattr(File, "operators", lambda _: hidden)
    with pytest.raises(ValueError, match=f"operator 0, {name}: its multiply-accumulates are not in its shapes"):
        roofline.of_file(content)


# ---------------------------------------------------------------- measuring


def test_measured_rates_are_those_of_the_files(converted):
    _, conv = converted["1-D"]
    _, dense = converted["dense"]
    roof = roofline.measured({"float32 matrix": conv}, [dense], rounds=5)
    assert roof.macs_per_second["float32 matrix"] > 0
    [(size, rate)] = roof.bytes_per_second.items()
    assert size == sum(part.bytes for part in roofline.of_file(dense.content))
    assert rate > 0


def test_a_file_of_another_kind_is_refused(converted):
    with pytest.raises(ValueError, match=r"for 'int8 matrix' computes \['float32 matrix'\]"):
        roofline.measured({"int8 matrix": converted["1-D"][1]}, [converted["dense"][1]])
    with pytest.raises(ValueError, match=r"computes nothing"):
        roofline.measured({"float32 matrix": converted["pooling"][1]}, [converted["dense"][1]])
    with pytest.raises(ValueError, match="pass one file"):
        roofline.measured({"float32 matrix": converted["1-D"][1]}, [])


def test_where_both_take_equally_long_memory_is_named():
    for arithmetic, memory, bound in ((2.0, 2.0, "memory"), (2.1, 2.0, "arithmetic"), (2.0, 2.1, "memory")):
        assert roofline.LeastTime(work(1, 1), arithmetic, memory).bound == bound


def operator(name: str, inputs, outputs, options=None):
    """One operator of float32 tensors of these shapes."""
    shapes = [*inputs, *outputs]
    tensors = [
        SimpleNamespace(shape=shape, index=n, constant=False, dtype="float32", numpy=np.dtype(np.float32))
        for n, shape in enumerate(shapes)
    ]
    return SimpleNamespace(
        name=name, index=0, inputs=tensors[: len(inputs)], outputs=tensors[len(inputs) :], options=options
    )


@pytest.mark.parametrize(
    "name",
    [
        *("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "RNN", "UNIDIRECTIONAL_SEQUENCE_RNN"),
        *("BIDIRECTIONAL_SEQUENCE_RNN", "SVDF", "WHILE", "IF", "CALL", "CUSTOM", "DELEGATE", "STABLEHLO_ADD"),
    ],
)
def test_every_operator_that_hides_its_products_is_refused(monkeypatch, name):
    monkeypatch.setattr(File, "operators", lambda _: [operator(name, [(2, 3)], [(2, 3)])])
    with pytest.raises(ValueError, match=f"{name}: its multiply-accumulates"):
        roofline.of_file(dense_file(np.ones((3, 4), np.int8), np.ones(3)))


@pytest.mark.parametrize(
    ("name", "moved"),
    [("ADD", 4 * 12), ("SOFTMAX", 4 * 12), ("RESHAPE", 0), ("VAR_HANDLE", 4 * 12), ("CONCATENATION", 48)],
)
def test_what_multiplies_nothing_moves_its_bytes_and_reshaping_moves_none(monkeypatch, name, moved):
    monkeypatch.setattr(File, "operators", lambda _: [operator(name, [(2, 3)], [(2, 3)])])
    [part] = roofline.of_file(dense_file(np.ones((3, 4), np.int8), np.ones(3)))
    assert (part.macs, part.bytes, part.rate) == (0, moved, "")


@pytest.mark.parametrize("transposed", [False, True])
def test_a_product_of_two_activations_counts_what_is_summed(monkeypatch, transposed):
    left = (2, 7, 5) if transposed else (2, 5, 7)
    one = operator("BATCH_MATMUL", [left, (2, 7, 3)], [(2, 5, 3)], SimpleNamespace(adjX=transposed))
    monkeypatch.setattr(File, "operators", lambda _: [one])
    [part] = roofline.of_file(dense_file(np.ones((3, 4), np.int8), np.ones(3)))
    assert (part.macs, part.rate) == (2 * 5 * 3 * 7, "float32 matrix")


def test_one_row_at_a_time_is_a_case_of_its_own(monkeypatch):
    for rows, rate in ((1, "float32 vector"), (2, "float32 matrix")):
        one = operator("FULLY_CONNECTED", [(rows, 4), (3, 4)], [(rows, 3)])
        monkeypatch.setattr(File, "operators", lambda _, one=one: [one])
        [part] = roofline.of_file(dense_file(np.ones((3, 4), np.int8), np.ones(3)))
        assert (part.macs, part.rate, part.name) == (12 * rows, rate, "0 FULLY_CONNECTED")


def test_rates_come_from_the_medians_of_one_comparison(converted, monkeypatch):
    asked = {}

    def latency(sides, *, rounds, seed):
        asked.update(sides=sides, rounds=rounds, seed=seed)
        return {name: SimpleNamespace(median=2.0 if name.startswith("memory") else 4.0) for name in sides}

    monkeypatch.setattr(roofline.timing, "latency", latency)
    (model, conv), (_, dense), (_, deep) = (converted[name] for name in ("1-D", "dense", "conv"))
    roof = roofline.measured({"float32 matrix": conv}, [dense, deep], rounds=7, seed=3)
    assert roof.macs_per_second == {"float32 matrix": macs.count(model) / 4}
    sizes = [sum(part.bytes for part in roofline.of_file(file.content)) for file in (dense, deep)]
    assert roof.bytes_per_second == {size: size / 2 for size in sizes}
    assert list(asked["sides"]) == ["float32 matrix", "memory 0", "memory 1"]
    assert (asked["rounds"], asked["seed"]) == (7, 3)
    artifact, x = asked["sides"]["float32 matrix"]
    assert artifact is conv and x.shape == (1, 12, 3) and x.dtype == np.float32 and not x.any()


def test_a_file_of_two_inputs_measures_no_rate():
    from utils.optimize.quantization.converter import convert

    k = little.keras()
    one, other = k.Input((4,)), k.Input((4,))
    two = convert(k.Model([one, other], k.layers.Dense(3)(k.layers.Add()([one, other]))), "float32")
    with pytest.raises(ValueError, match="has one input; this has 2"):
        roofline.measured({"float32 vector": two}, [two])


@pytest.mark.parametrize("rate", ["fast", None, math.inf, 0, -3])
def test_a_rate_is_a_finite_number_above_zero(rate):
    for roof in (({"float32 matrix": rate}, 1.0), ({}, {10: rate, 20: 1.0}), ({"a": 1.0, "b": rate}, 1.0)):
        with pytest.raises(ValueError, match="rates are finite and above 0"):
            Roof(*roof)


@pytest.mark.parametrize("sizes", [{}, {0: 1.0}, {10: 1.0, -1: 1.0}])
def test_sizes_of_working_sets_are_above_zero(sizes):
    with pytest.raises(ValueError, match="with one size above 0 or more"):
        Roof({}, sizes)
    assert Roof({}, {1: 1.0}).bandwidth(0) == 1.0 and Roof({}, 3).bandwidth(99) == 3


def test_all_operators_together_choose_the_rate_of_memory():
    roof = Roof({}, {10: 5.0, 1000: 1.0})
    small, large = (roofline.predict_time([work(0, size)] * 5, roof) for size in (2, 200))
    assert [step.memory for step in small.steps] == [2 / 5] * 5
    assert [step.memory for step in large.steps] == [200] * 5
