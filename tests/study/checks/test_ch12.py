"""The checks of chapter 12 accept right answers and name the misconception of wrong ones."""

import re

import numpy as np
import pytest

from tests.study.checks import answers
from utils.study.checks import ch12
from utils.study.exercises import grade


def right_bytes(tensors):
    return sum({tensor.buffer: tensor.bytes for tensor in tensors}.values())


def predict(interpreter, x, zero_in=True, clip=True, cast=False, output=None, raw=False, batch="resize", cut=np.round):
    """The right answer, with one part of it changed."""
    given, found = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero = given["quantization"]
    q = x if cast else cut(x / scale) + (zero if zero_in else 0)
    q = (np.clip(q, -128, 127) if clip or not zero_in else q).astype(np.int64 if not cast else np.int8).astype(np.int8)
    if batch == "first":
        q = q[:1]
    if batch == "resize" or batch == "first":
        interpreter.resize_tensor_input(given["index"], q.shape)
    interpreter.allocate_tensors()
    rows = [q] if batch != "one by one" else [row[None] for row in q]
    results = []
    for row in rows:
        interpreter.set_tensor(given["index"], row)
        interpreter.invoke()
        results.append(interpreter.get_tensor(found["index"]))
    y = np.concatenate(results)
    scale_out, zero_out = output(interpreter) if output else found["quantization"]
    return y if raw else scale_out * (y.astype(float) - zero_out)


def right_predict(interpreter, x):
    return predict(interpreter, x)


def right_one_by_one(interpreter, x):
    return predict(interpreter, x, batch="one by one")


def right_nodes(operators):
    nodes = []
    for name, given, weights in operators:
        left = given == "int16" or (name == "DEPTHWISE_CONV_2D" and given != weights)
        if left or (name == "CONV_2D" and weights == "int4"):
            nodes.append(name)
        elif not nodes or nodes[-1] != "DELEGATE":
            nodes.append("DELEGATE")
    return nodes


def stub(*arguments): ...


RIGHT = [("12-1", right_bytes), ("12-2", right_predict), ("12-2", right_one_by_one), ("12-3", right_nodes)]
SIZES = {"float32": 4, "int8": 1, "int4": 1, "int32": 4}


def with_predict(**changes):
    return lambda interpreter, x: predict(interpreter, x, **changes)


WRONG = [
    ("12-1", lambda ts: sum(t.bytes for t in ts), "counted twice"),
    ("12-1", lambda ts: 4 * sum(int(np.prod(t.shape)) for t in ts), "count activations too"),
    (
        "12-1",
        lambda ts: sum({t.buffer: int(np.prod(t.shape)) * SIZES[t.dtype] for t in ts if t.constant}.values()),
        "two int4 values share one byte",
    ),
    ("12-1", lambda ts: sum({t.bytes for t in ts}), "equal size are not the same"),
    ("12-1", lambda ts: sum({t.buffer: int(np.prod(t.shape)) for t in ts if t.constant}.values()), "number of values"),
    ("12-1", lambda ts: right_bytes(ts) + 1, "these tensors have"),
    ("12-1", lambda ts: float(right_bytes(ts)), "whole number of bytes"),
    ("12-2", with_predict(cast=True), "right type and the wrong meaning"),
    ("12-2", with_predict(zero_in=False), "input's zero point is missing"),
    ("12-2", with_predict(clip=False), "wrapped around"),
    ("12-2", with_predict(cut=np.trunc), "cuts the fraction off"),
    ("12-2", with_predict(cut=np.floor), "cuts the fraction off"),
    ("12-2", lambda i, x: right_predict(i, x) + i.scale_out, "the first output should be"),
    ("12-2", with_predict(raw=True), "stored integers; dequantize"),
    ("12-2", with_predict(batch="first"), "one row for 3 examples"),
    ("12-2", with_predict(output=lambda i: (i.scale_out, 0)), r"output's zero .* real = scale · \(q - zero\)"),
    ("12-2", with_predict(output=lambda i: (i.scale_in, i.zero_in)), "with the input's numbers"),
    ("12-2", with_predict(output=lambda i: (1.0, 0)), "multiply"),
    ("12-2", lambda i, x: np.zeros((len(x), 4)), "the first output should be"),
    *[
        ("12-3", lambda ops, wrong=wrong: ch12._nodes(ops, wrong), re.escape(said))
        for wrong, said in ch12._WRONG_NODES.items()
    ],
    ("12-3", lambda ops: [*(name for name, *_ in ops), *["DELEGATE"] * right_nodes(ops).count("DELEGATE")], "replaced"),
    ("12-3", lambda ops: right_nodes(ops)[::-1], "these nodes run"),
    ("12-3", lambda ops: len(right_nodes(ops)), "return a list of names"),
    ("12-2", lambda i, x: print(end=""), "return the outputs"),
    ("12-2", lambda i, x: right_predict(i, x).T, "the outputs are"),
    ("12-2", lambda i, x: i.set_tensor(0, x.astype(np.int8)), "allocate_tensors"),
    ("12-3", lambda ops: [1, *right_nodes(ops)], "return a list of names"),
]


@pytest.mark.parametrize("seed", range(20))
def test_the_tensors_of_12_1_share_one_buffer_and_have_others_of_equal_size(seed):
    constants = [t for t in ch12._tensors(np.random.default_rng(seed)) if t.constant]
    shared = [t for t in constants if t.buffer == 32]
    assert len(constants) == 8 and len({t.buffer for t in constants}) == 7
    assert len(shared) == 2 and shared[0].bytes == shared[1].bytes
    assert sum(len({t.buffer for t in constants if t.bytes == other.bytes}) > 1 for other in constants) >= 2
    assert {t.subgraph for t in constants} == {0} and not any(t.sparse or t.variable for t in constants)


@pytest.mark.parametrize(("id", "answer"), RIGHT)
def test_the_solution_passes_every_time(id, answer):
    assert [grade(id, answer).state for _ in range(8)] == ["right"] * 8


@pytest.mark.parametrize("id", sorted({id for id, _ in RIGHT}))
def test_the_stub_is_not_attempted(id):
    assert grade(id, stub).state == "not attempted"


@pytest.mark.parametrize(("id", "answer", "misconception"), WRONG)
def test_a_wrong_answer_is_told_its_misconception(id, answer, misconception):
    verdicts = [grade(id, answer) for _ in range(6)]  # a wrong number may by chance be another mistake's number, too
    assert {verdict.state for verdict in verdicts} == {"wrong"}
    messages = [verdict.message for verdict in verdicts]
    assert any(re.search(misconception, message) for message in messages), messages


def test_the_chains_of_12_3_have_every_kind_of_operator_and_each_rule_decides_in_some():
    chains = [ch12._chain(np.random.default_rng(7), trial) for trial in range(12)]
    assert all(right_nodes(chain) == ch12._nodes(chain) for chain in chains)
    for wrong in ch12._WRONG_NODES:
        assert any(ch12._nodes(chain, wrong) != ch12._nodes(chain) for chain in chains), wrong


def test_what_runs_of_the_course_network_in_two_modes():
    block = [("CONV_2D", "float32", "int8"), ("DEPTHWISE_CONV_2D", "float32", "int8")]
    assert ch12._nodes(block * 2) == ["DELEGATE", "DEPTHWISE_CONV_2D"] * 2
    assert ch12._nodes([("CONV_2D", "int8", "int8"), ("MEAN", "int8", "none")]) == ["DELEGATE"]


test_near_misses = answers.near_misses(RIGHT)
test_other_words = answers.other_words(RIGHT, ["12-1 arrays"])


def ready(rows=1):
    little = ch12.LittleInterpreter(np.random.default_rng(3))
    little.resize_tensor_input(0, (rows, little.features))
    little.allocate_tensors()
    return little


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (lambda i: i.set_tensor(0, np.zeros((1, 6), np.float32)), "type float32 but expected type INT8"),
        (lambda i: i.set_tensor(0, np.zeros((2, 6), np.int8)), "Dimension mismatch"),
        (lambda i: i.invoke(), "not ready"),
        (lambda i: (i.resize_tensor_input(0, (1, 6)), i.set_tensor(0, np.zeros((1, 6), np.int8))), "unallocated"),
        (lambda i: (i.set_tensor(0, np.zeros((1, 6), np.int8)), i.resize_tensor_input(0, (1, 6)), i.invoke()), "ready"),
    ],
)
def test_the_little_interpreter_refuses_what_the_real_one_refuses(use, said):
    with pytest.raises((ValueError, RuntimeError), match=said):
        use(ready())


def test_the_little_interpreter_keeps_its_tensors_to_itself():
    little, given = ready(), np.ones((1, 6), np.int8)
    little.set_tensor(0, given)
    given[:] = 5
    little.get_tensor(0)[:] = 7
    assert (little.get_tensor(0) == 1).all()
    little.invoke()
    before = little.get_tensor(9)
    little.get_tensor(9)[:] = 99
    assert np.array_equal(little.get_tensor(9), before) and before.dtype == np.int8


def test_the_little_interpreter_describes_its_ends_as_the_real_one():
    little = ready(3)
    (given,), (made,) = little.get_input_details(), little.get_output_details()
    assert (given["index"], made["index"], given["dtype"]) == (0, 9, np.int8)
    assert given["shape"].tolist() == [3, 6] and made["shape"].tolist() == [3, 4]
    assert given["shape_signature"].tolist() == [-1, 6] and made["shape_signature"].tolist() == [-1, 4]
    for end, scale, zero in ((given, little.scale_in, little.zero_in), (made, little.scale_out, little.zero_out)):
        several = end["quantization_parameters"]
        assert end["quantization"] == (scale, zero)
        assert several["scales"].tolist() == [np.float32(scale)] and several["zero_points"].tolist() == [zero]


@pytest.mark.parametrize("seed", range(5))
def test_no_input_of_12_2_lies_near_a_tie_and_some_lie_beyond_the_range(seed):
    rng = np.random.default_rng(seed)
    little = ch12.LittleInterpreter(rng)
    levels = ch12._inputs(rng, little, 200) / little.scale_in
    away = np.abs(levels - np.round(levels))
    assert np.all((away > 0.25) & (away < 0.35))
    assert np.any(np.round(levels) + little.zero_in > 127) and not np.any(np.round(levels) + little.zero_in < -129)


@pytest.mark.parametrize("seed", range(5))
def test_each_constant_of_12_1_has_the_bytes_that_its_type_takes(seed):
    width = {"float32": 4, "int8": 1, "int4": 0.5, "int32": 4}
    tensors = ch12._tensors(np.random.default_rng(seed))
    assert {t.dtype for t in tensors if t.constant} == {*width}
    for t in tensors:
        assert t.bytes == (int(np.ceil(np.prod(t.shape) * width[t.dtype])) if t.constant else 0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("apart", "become *one* node"),
        ("one", "cuts the chain"),
        ("merged", "do not join"),
        ("depthwise", "wants one type"),
        ("no depthwise", "is taken where its input and its weights have one type"),
        ("int4", "only dense layers are taken"),
        ("dense int4", "with int4 weights a dense layer is taken"),
        ("int16", "nothing with int16"),
    ],
)
def test_each_rule_that_is_left_out_of_12_3_has_its_own_sentence(wrong, said):
    messages = [*answers.verdicts("12-3", lambda operators: ch12._nodes(operators, wrong), 10)]
    assert all(messages) and any(said in message for message in messages)
    assert {*ch12._WRONG_NODES} >= {wrong} and len(ch12._WRONG_NODES) == 8
