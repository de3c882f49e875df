"""What a delegate takes is found by walking back from the outputs."""

from __future__ import annotations

import pytest

from tests.deploy.tflite.test_stream import counting
from tests.deploy.tflite.test_tflite_model import converted
from utils import models, tflite_file
from utils.artifact import ArtifactError
from utils.deploy.tflite import partition
from utils.deploy.tflite.partition import Part
from utils.optimize.quantization.converter import convert


def node(index, name, inputs, outputs):
    return {"index": index, "op_name": name, "inputs": inputs, "outputs": outputs}


def test_a_chain_with_an_operator_that_is_left_out():
    nodes = [
        node(0, "CONV", [0, 90], [1]),
        node(1, "RELU", [1], [2]),
        node(2, "ODD", [2], [3]),
        node(3, "CONV", [3, 91], [4]),
        node(4, "DELEGATE", [0, 90], [2]),
        node(5, "DELEGATE", [3, 91], [4]),
    ]
    assert partition._order(nodes, [4]) == [Part(True, ("CONV", "RELU")), Part(False, ("ODD",)), Part(True, ("CONV",))]


def test_branches_run_once_and_in_order():
    nodes = [node(0, "A", [0], [1]), node(1, "B", [1], [2]), node(2, "C", [1], [3]), node(3, "ADD", [2, 3], [4])]
    assert [part.operators[0] for part in partition._order(nodes, [4])] == ["A", "B", "C", "ADD"]


def test_a_chain_of_three_thousand_operators_is_no_recursion():
    nodes = [node(index, "FLOOR", [index], [index + 1]) for index in range(3000)]
    assert partition._order(nodes, [3000]) == [Part(False, ("FLOOR",))] * 3000
    taken = [*nodes, node(3000, "DELEGATE", [0], [3000])]
    assert partition._order(taken, [3000]) == [Part(True, ("FLOOR",) * 3000)]


STEP = [
    node(0, "CALL_ONCE", [], []),
    node(1, "VAR_HANDLE", [], [1]),
    node(2, "READ_VARIABLE", [1], [2]),
    node(3, "ADD", [0, 2], [3]),
    node(4, "ASSIGN_VARIABLE", [1, 3], []),
    node(5, "MUL", [3, 3], [4]),
    node(6, "MUL", [0, 0], [5]),  # nobody reads what it makes
]


@pytest.mark.parametrize("outputs", [[4], [3], [3, 4]])
def test_what_writes_a_variable_runs_too_and_in_its_place(outputs):
    needed = [name["op_name"] for name in STEP[: 6 if 4 in outputs else 5]]
    assert [part.operators[0] for part in partition._order(STEP, outputs)] == needed


OWN = [Part(False, (name["op_name"],)) for name in STEP]


@pytest.mark.parametrize(
    ("delegates", "parts"),
    [
        ([([0], [4])], [OWN[0], (1, 2, 3, 4, 5)]),  # as XNNPACK takes this file
        (  # and where no operators are fused: the last node stands for the product that nobody reads
            [([], [1]), ([1], [2]), ([0, 2], [3]), ([1, 3], []), ([3], [4]), ([0], [])],
            [OWN[0], (1,), (2,), (3,), (4,), (5,)],
        ),
        ([([0], [1, 3]), ([3], [4])], [OWN[0], (1, 2, 3), OWN[4], (5,)]),
        ([([0], [1, 3]), ([1, 3], [4])], [OWN[0], (1, 2, 3), (4, 5)]),  # the handle is for the writer alone
    ],
)
def test_a_delegate_may_take_what_writes_a_variable(delegates, parts):
    nodes = [*STEP, *(node(7 + number, "DELEGATE", *sides) for number, sides in enumerate(delegates))]
    taken = [part if part in OWN else Part(True, tuple(STEP[at]["op_name"] for at in part)) for part in parts]
    assert partition._order(nodes, [4]) == taken


def test_what_is_written_is_made_by_the_same_delegate():
    nodes = [
        *STEP[:5],
        node(5, "READ_VARIABLE", [1], [4]),  # the output is the new state, read again
        node(6, "DELEGATE", [0], [4]),
    ]
    taken = ("VAR_HANDLE", "READ_VARIABLE", "ADD", "ASSIGN_VARIABLE", "READ_VARIABLE")
    assert partition._order(nodes, [4]) == [Part(False, ("CALL_ONCE",)), Part(True, taken)]


def test_a_file_with_a_state_lists_what_writes_it():
    for kernels, fuse in (("default", True), ("default", False), ("builtin", True)):
        found = partition.parts(counting(), kernels, fuse=fuse, trusted=True)
        names = [name for part in found for name in part.operators]
        assert names[0] == "CALL_ONCE" and names.count("ASSIGN_VARIABLE") == 1
        assert len(names) == len(tflite_file.File(counting()).operators())


def test_a_file_is_taken_whole_in_pieces_or_not_at_all():
    content = converted("float")
    whole = partition.parts(content)
    count = sum(len(part.operators) for part in partition.parts(content, "builtin"))
    assert all(part.delegated for part in whole)
    assert sum(len(part.operators) for part in whole) == count
    pieces = partition.parts(content, fuse=False, trusted=True)
    assert len(pieces) > len(whole) and all(len(part.operators) == 1 for part in pieces)
    assert not any(part.delegated for part in partition.parts(content, "reference"))


def test_dynamic_range_is_taken_whole_if_depthwise_layers_stay_float():
    from litert_quantizer import qtyping, quantizer

    content = convert(models.depthwise_cnn(), "float32").content
    tools = [quantizer.Quantizer(content, "dynamic_wi8_afp32") for _ in range(2)]
    depthwise = qtyping.TFLOperationName.DEPTHWISE_CONV_2D
    tools[1].update_quantization_recipe(".*", depthwise, algorithm_key="no_quantize")
    files = [bytes(tool.quantize(enable_progress_report=False).quantized_model) for tool in tools]
    left, cured = ([part.operators[0] for part in partition.parts(one) if not part.delegated] for one in files)
    assert set(left) == {"DEPTHWISE_CONV_2D"} and cured == []


def test_a_row_counts_what_is_left():
    found = [Part(True, ("A", "B")), Part(False, ("C",)), Part(False, ("C",)), Part(False, ("D",))]
    assert partition.row("x", found) == {
        "file": "x",
        "operators taken": 2,
        "parts": 1,
        "left to built-in kernels": "2 × C, 1 × D",
    }
    assert partition.row("x", found[:1])["left to built-in kernels"] == "none"


def test_what_cannot_be_run_gets_a_sentence():
    with pytest.raises(ValueError, match="kernels='fast' is unknown"):
        partition.parts(converted("float"), "fast")
    with pytest.raises(ArtifactError, match="cannot be run"):
        partition.parts(converted("float")[:2000])
