"""Calibration that would end the process is refused in a sentence, and files that lost their model are noticed."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from ai_edge_litert import schema_py_generated as schema

from utils import tflite_file
from utils.measure.agreement import Agreement
from utils.optimize.quantization import guard, layer_errors
from utils.optimize.quantization.converter import convert
from utils.quiet import quiet

K, Sequential = tf_keras.layers, tf_keras.Sequential
rng = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def seed():
    tf_keras.utils.set_random_seed(1)


# ---------------------------------------------------------------- what ends the process


def loop(layer, shape=(5, 4)):
    return Sequential([K.Input(shape, batch_size=1), layer, K.Flatten(), K.Dense(2)])


@pytest.mark.parametrize(
    "layer, shape, said",
    [
        (lambda: K.GRU(3, name="memory"), (5, 4), r"'memory' \(GRU\) becomes a loop.*unroll=True.*keras_graph\.unroll"),
        (lambda: K.Bidirectional(K.GRU(3, name="memory")), (5, 4), r"'forward_memory' \(GRU\).*unroll=True"),
        (
            lambda: K.ConvLSTM2D(2, 2, name="film"),
            (2, 4, 4, 1),
            r"'film' \(ConvLSTM2D\).*cannot be written out.*dynamic",
        ),
    ],
)
def test_loops_are_refused_before_they_are_calibrated(layer, shape, said):
    x = rng.random((4, *shape), np.float32)
    with pytest.raises(ValueError, match=said):
        convert(loop(layer(), shape), "int8", x)


def test_a_fused_lstm_is_compared_with_a_float_file_that_forgets_each_example(monkeypatch):
    x, model, seen = rng.random((8, 5, 4), np.float32), loop(K.LSTM(3)), []
    monkeypatch.setattr(guard, "complaints", lambda made, found, *_: seen.append(found) or [])
    convert(model, "int8_float_io", x)
    (outputs,) = seen[0].outputs["serving_default"].values()
    np.testing.assert_allclose(outputs, np.concatenate([model(x[i : i + 1]) for i in range(8)]), atol=1e-5)


def test_the_debugger_is_guarded_too():
    with pytest.raises(ValueError, match=r"'memory' \(GRU\) becomes a loop"):
        layer_errors.layer_errors(loop(K.GRU(3, name="memory")), rng.random((4, 5, 4), np.float32))


def functional():
    return Sequential([K.Input((4,)), K.Dense(8, "relu"), K.Lambda(tf.math.log, name="logarithm"), K.Dense(2)])


def nested():
    inner = Sequential([K.Input((4,)), K.Dense(8, "relu"), K.Lambda(tf.math.log, name="logarithm")])
    return Sequential([K.Input((4,)), inner, K.Dense(2)])


class Subclassed(tf_keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.logarithm = K.Dense(8, "relu"), K.Lambda(tf.math.log, name="logarithm")
        self.last = K.Dense(2)

    def call(self, x):
        return self.last(self.logarithm(self.first(x)))


def subclassed():
    model = Subclassed()
    model(np.zeros((1, 4), np.float32))
    return model


@pytest.mark.parametrize("mode", ["int8", "int16x8"])
@pytest.mark.parametrize("build", [functional, nested, subclassed])
def test_an_activation_that_is_not_finite_is_named(build, mode):
    x = rng.normal(size=(20, 4)).astype(np.float32)
    with pytest.raises(ValueError, match=r"'logarithm' \(Lambda\) is -inf for some of the calibration data"):
        convert(build(), mode, x)


def test_one_example_of_many_is_enough_and_it_may_vanish_again():
    """relu(NaN) is 0 in some kernels: the model's output shows nothing."""
    steps = [K.Lambda(lambda x: tf.sqrt(x), name="root"), K.ReLU(), K.Dense(2)]
    x = rng.random((200, 4)).astype(np.float32)
    x[117, 2] = -1
    with pytest.raises(ValueError, match=r"'root' \(Lambda\) is nan"):
        convert(Sequential([K.Input((4,)), *steps]), "int8", x)


def test_a_savedmodel_is_guarded_too(tmp_path):
    module = tf.Module()
    module.run = tf.function(lambda x: {"y": tf.math.log(x)}, [tf.TensorSpec((None, 4), tf.float32, "x")])
    with quiet():
        tf.saved_model.save(module, str(tmp_path / "log"), module.run)
    with pytest.raises(ValueError, match="is -inf for some of the calibration data"):
        convert(tmp_path / "log", "int8", np.zeros((8, 4), np.float32))


def test_a_relu_that_never_fires_converts_and_runs():
    never = tf_keras.initializers.Constant(-100.0)
    steps = [K.Dense(8, "relu", bias_initializer=never), K.Dense(6, "relu"), K.Dense(2, bias_initializer="ones")]
    model, x = Sequential([K.Input((4,)), *steps]), rng.random((20, 4), np.float32)
    assert np.abs(convert(model, "int8", x).predict(x) - model(x)).max() < 0.02


def test_a_fixed_batch_is_calibrated_in_such_batches():
    model = Sequential([K.Input((8,), batch_size=2), K.Dense(4), K.Lambda(lambda x: tf.concat(tf.split(x, 2, 0), 0))])
    x = rng.random((9, 8), np.float32)
    assert np.abs(convert(model, "int8", x).predict(x[:8]) - model.predict(x[:8], batch_size=2, verbose=0)).max() < 0.1


# ---------------------------------------------------------------- what came out


@pytest.mark.parametrize("share, lost, kind", [(0.1, 0, None), (0.11, 0.1, "warn"), (0.11, 0.6, "refuse")])
def test_a_file_far_from_its_model_is_warned_of_or_refused_with_the_figure(monkeypatch, share, lost, kind):
    monkeypatch.setattr(guard, "agreements", lambda *_: {"good": Agreement(0, 0), "sum": Agreement(share, lost)})
    monkeypatch.setattr(guard, "_floats", lambda *_: [])
    monkeypatch.setattr(guard, "_not_run", lambda *_: [])
    seen = guard.CalibrationRun({"serving_default": {"x": np.arange(4.0)}})
    if kind == "refuse":
        with pytest.raises(ValueError, match=r"int8 file is off by up to 0\.11 .*60% .*'sum'.*scale them alike"):
            guard.complaints(None, seen, None, "int8")
    else:
        found = guard.complaints(None, seen, None, "int8")
        assert ["off by up to 0.11" in text for text in found] == ([True] if kind else [])


@pytest.mark.parametrize("mode", ["int8", "int8_float_io"])
def test_the_step_of_the_output_grid_is_found(mode):
    model = Sequential([K.Input((4,)), K.Dense(3), K.Softmax()])
    made = convert(model, mode, rng.random((20, 4), np.float32))
    assert guard.output_steps(made.runner, made.runner.signatures[0]) == {model.output_names[0]: 1 / 256}


def test_columns_of_different_sizes_are_noticed_and_the_way_out_works():
    x = (rng.random((80, 3)) * [1e5, 1, 0.01]).astype(np.float32)
    normal = K.Normalization()
    normal.adapt(x)
    head = Sequential([K.Input((3,)), K.Dense(8, "relu"), K.Dense(1)], name="sum")
    with pytest.raises(ValueError, match=r"% of their variance lost .*'sum'.* scale them alike"):
        convert(Sequential([K.Input((3,)), normal, head], name="net"), "int8", x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert(head, "int8", np.asarray(normal(x)))


def test_float_operators_that_remain_are_named():
    model = Sequential([K.Input((4, 4, 4, 1)), K.Conv3D(2, 3, name="cube"), K.Flatten(), K.Dense(2)])
    with pytest.warns(guard.ConversionWarning, match=r"computes CONV_3D \(1\) of layer 'cube' \(Conv3D\) in float32"):
        convert(model, "int8", rng.random((8, 4, 4, 4, 1), np.float32))


def test_constant_calibration_is_warned_of():
    with pytest.warns(guard.ConversionWarning, match="is 0.5 throughout"):
        convert(Sequential([K.Input((4,)), K.Dense(2)]), "int8", np.full((8, 4), 0.5))


def test_layers_are_found_in_paths_slashes_included():
    model = Sequential([K.Input((4,)), K.Dense(3, name="a/b"), K.Dense(3, name="b"), K.Dense(3, name="c")])
    names = {path: [layer.name for layer in guard.named({path}, model)] for path in (
        "net/a/b/MatMul", "net/b/MatMul;net/c/BiasAdd", "other", "StatefulPartitionedCall:0",
    )}  # fmt: skip
    assert names == {
        "net/a/b/MatMul": ["a/b"],
        "net/b/MatMul;net/c/BiasAdd": ["b", "c"],
        "other": [],
        "StatefulPartitionedCall:0": ["c"],
    }


def test_layers_are_found_at_the_beginning_of_a_path_in_order_and_once():
    names = ["e", "b", "d", "a", "c", "f"]
    model = Sequential([K.Input((4,)), *[K.Dense(3, name=name) for name in names]])
    found = guard.named({f"{name}/MatMul" for name in names} | {"a/BiasAdd"}, model)
    assert [layer.name for layer in found] == sorted(names)
    assert [layer.name for layer in guard.named({"StatefulPartitionedCall:0", "other"}, model)] == ["f"]
    assert guard.named({"net/a/b/MatMul"}, Sequential([K.Input((4,)), K.Dense(3, name="x")], name="net")) == []
    assert guard.named({"a/MatMul"}, None) == []


def test_a_call_of_a_model_with_two_outputs_names_no_layer():
    start = K.Input((4,))
    model = tf_keras.Model(start, [K.Dense(3, name="a")(start), K.Dense(2, name="b")(start)])
    assert guard.named({"StatefulPartitionedCall:0"}, model) == []


def test_three_layers_are_listed_at_most_else_the_model():
    model = Sequential([K.Input((4,)), *[K.Dense(3, name=name) for name in "abcd"]], name="net")
    assert guard.listed(model.layers, model) == "layer 'a' (Dense), 'b' (Dense), 'c' (Dense)"
    assert guard.listed([], model) == "Sequential 'net'"
    assert guard.listed([], None) == "the SavedModel"


# ---------------------------------------------------------------- loops and their ways out


@pytest.mark.parametrize(
    "layer, shape, can",
    [
        (lambda: K.LSTM(2), (5, 4), True),
        (lambda: K.LSTM(2), (None, 4), False),
        (lambda: K.GRU(2), None, True),
        (lambda: K.Dense(2), (5, 4), False),
        *[(lambda n=n: getattr(K, f"ConvLSTM{n}D")(2, 2), None, False) for n in (1, 2, 3)],
    ],
)
def test_keras_can_write_out_what_is_recurrent_and_has_a_known_number_of_steps(layer, shape, can):
    made = layer()
    if shape:
        Sequential([K.Input(shape), made])
    assert guard.can_unroll(made) == can


def test_the_way_out_is_writing_out_if_that_is_possible_for_each_layer():
    assert "unroll=True" in guard.way_out([K.GRU(2), K.LSTM(2)])
    for layers in ([], [K.GRU(2), K.ConvLSTM2D(2, 2)]):
        assert guard.way_out(layers).startswith("It cannot be written out")


def test_layers_that_are_written_out_are_no_loops():
    layers = [K.GRU(3, unroll=True, return_sequences=True, name="written"), K.Bidirectional(K.LSTM(2, name="memory"))]
    names = {layer.name for layer in guard.looping(Sequential([K.Input((5, 4)), *layers]))}
    assert {"forward_memory", "backward_memory"} <= names and "written" not in names
    assert guard.looping(None) == []


# ---------------------------------------------------------------- examples


def test_thirty_two_examples_are_compared_spread_evenly_in_whole_batches():
    x = {"x": np.arange(1000)}
    assert (
        len(guard.first_rows(x)) == len(set(guard.first_rows(x))) == 32
        and guard.first_rows(x)[0] == 0
        and guard.first_rows(x)[-1] == 999
    )
    assert len(guard.first_rows(x, 4)) == 8 and not any(row % 4 for row in guard.first_rows(x, 4))
    assert len(guard.first_rows(x, 50)) == 1
    assert guard.first_rows({"x": np.arange(5)}) == [0, 1, 2, 3, 4]


def test_the_last_example_is_repeated_where_a_batch_is_not_full():
    x = {"x": np.arange(5), "y": np.arange(5) * 10}
    assert [v.tolist() for v in guard.batch_at(x, 3, 4).values()] == [[3, 4, 4, 4], [30, 40, 40, 40]]
    assert guard.batch_at(x, 1)["x"].tolist() == [1]
    assert guard.batch_at(x, 0, 5)["x"].tolist() == [0, 1, 2, 3, 4]


OPERATORS = [name for name in vars(schema.BuiltinOperator) if name.isupper()]


def only_operator(monkeypatch, name: str, *types: str) -> None:
    """Whatever file is read has this one operator, with outputs of these types."""
    outputs = [SimpleNamespace(dtype=kind, name=f"net/{kind}") for kind in types]
    operator = SimpleNamespace(name=name, outputs=outputs, subgraph=0)
    monkeypatch.setattr(tflite_file, "File", lambda content: SimpleNamespace(all_operators=lambda: [operator]))


def test_every_example_is_looked_at_where_an_operator_has_no_value_for_some_inputs(monkeypatch):
    partial = {"LOG", "SQRT", "RSQRT", "POW", "DIV", "FLOOR_DIV", "FLOOR_MOD", "EXP"}
    assert partial < set(OPERATORS)
    made = convert(Sequential([K.Input((2,)), K.Dense(1)]), "float32")
    (signature,), (x,) = made.runner.signatures, made.runner.inputs
    monkeypatch.setattr(guard, "EXAMPLES", 1)
    part, looked_at = guard.batch_at, []
    monkeypatch.setattr(guard, "batch_at", lambda *arguments: looked_at.append(1) or part(*arguments))
    for name in OPERATORS:
        looked_at.clear()
        only_operator(monkeypatch, name)
        seen = guard.CalibrationRun({signature: {x.name: np.ones((3, 2), np.float32)}}, float_file=made.content)
        (outputs,) = guard._float_outputs(seen, None)[signature].values()
        assert (len(looked_at), len(outputs)) == (3 if name in partial else 1, 1), name


def test_the_value_that_is_not_finite_is_the_first_one():
    x = np.tile(np.array([[0, -1]], np.float32), (8, 1))
    with pytest.raises(ValueError, match=r"'logarithm' \(Lambda\) is -inf for some"):
        convert(Sequential([K.Input((2,)), K.Lambda(tf.math.log, name="logarithm"), K.Dense(2)]), "int8", x)


# ---------------------------------------------------------------- ranges that are all zero


def test_inputs_that_are_all_zero_get_the_range_up_to_one():
    model = Sequential([K.Input((4,)), K.Dense(3, bias_initializer="ones")])
    with pytest.warns(guard.ConversionWarning, match="is 0 throughout"):
        made = convert(model, "int8", np.zeros((8, 4), np.float32))
    assert made.runner.inputs[0].quantization.range == pytest.approx((0, 1), abs=1e-5)


def test_a_sum_that_never_fires_gets_a_255th_of_its_widest_input():
    a, b = K.Input((4,), name="a"), K.Input((4,), name="b")
    model = tf_keras.Model([a, b], K.Dense(2, bias_initializer="ones")(K.ReLU()(K.Add()([a, b]))))
    x = {"a": -rng.random((20, 4), np.float32), "b": -10 * rng.random((20, 4), np.float32)}
    x["a"][0], x["b"][0] = -1, -10
    added = next(o for o in convert(model, "int8", x).runner.file.all_operators() if o.name == "ADD")
    low, high = added.outputs[0].quantization.range
    assert (low, high) == pytest.approx((0, 10 / 255), rel=1e-3, abs=1e-6)


# ---------------------------------------------------------------- the file that came out, part by part


def test_sixteen_bit_activations_are_sixteen_bits_wide():
    x = rng.random((20, 4), np.float32)
    made = convert(Sequential([K.Input((4,)), K.Dense(3, "relu"), K.Dense(2)]), "int16x8", x)
    dense = [o for o in made.runner.file.all_operators() if o.name == "FULLY_CONNECTED"]
    assert [(o.inputs[1].dtype, o.outputs[0].dtype) for o in dense] == [("int8", "int16")] * 2


def test_operators_that_only_move_values_may_be_float_and_no_other(monkeypatch):
    between = {
        *("RESHAPE", "TRANSPOSE", "FILL", "SQUEEZE", "EXPAND_DIMS", "PACK", "UNPACK", "SHAPE", "STRIDED_SLICE"),
        *("SLICE", "SPLIT", "SPLIT_V", "PAD", "PADV2", "GATHER", "BROADCAST_TO", "TILE"),
        *("QUANTIZE", "DEQUANTIZE", "CAST", "CONCATENATION"),
    }
    assert between < set(OPERATORS)
    assert between - {"QUANTIZE", "DEQUANTIZE", "CAST", "CONCATENATION"} == guard.MOVERS
    for name in OPERATORS:
        only_operator(monkeypatch, name, "int32", "float32")
        said = guard._floats(SimpleNamespace(content=b""), None, "int8")
        assert bool(said) == (name not in between), name
        assert not said or f"computes {name} (1) in float32" in said[0]
        only_operator(monkeypatch, name, "int8", "int32")
        assert guard._floats(SimpleNamespace(content=b""), None, "int8") == []


def test_one_number_or_whole_numbers_that_are_all_alike_are_not_called_constant():
    def said(*arrays):
        return guard._constant(guard.CalibrationRun({"run": {f"x{i}": x for i, x in enumerate(arrays)}}))

    assert said(np.ones((1, 1)), np.ones((4, 2), np.int32), np.array([[1.0], [2.0]])) == []
    assert [text[:45] for text in said(np.zeros(3), np.arange(3.0), np.full(2, 0.25))] == [
        "calibration of input 'x0' is 0 throughout: pa", "calibration of input 'x2' is 0.25 throughout:",
    ]  # fmt: skip


def test_a_hopeless_file_may_be_warned_of_instead(monkeypatch):
    monkeypatch.setattr(guard, "agreements", lambda *_: {"sum": Agreement(0.2, 0.9)})
    monkeypatch.setattr(guard, "_floats", lambda *_: [])
    monkeypatch.setattr(guard, "_not_run", lambda *_: [])
    seen = guard.CalibrationRun({"serving_default": {"x": np.arange(4.0)}})
    (said,) = guard.complaints(None, seen, None, "int16x8", refuse=False)
    assert "off by up to 0.2" in said and "or take mode 'int8', 'dynamic' or 'float16'" in said
    with pytest.raises(ValueError, match="or take mode 'int16x8', 'dynamic' or 'float16'"):
        guard.complaints(None, seen, None, "int8")


@pytest.fixture(scope="module")
def two_signatures(tmp_path_factory):
    """A file with two signatures, one of them with two inputs, and what its conversion saw."""

    class Two(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32, n) for n in ("left", "right")])
        def both(self, left, right):
            return {"sum": left + right}

        @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32, "left")])
        def single(self, left):
            return {"double": left * 2.0}

    two, path = Two(), tmp_path_factory.mktemp("two") / "two"
    with quiet():
        tf.saved_model.save(two, str(path), signatures={"both": two.both, "single": two.single})
    x = {name: np.random.default_rng(3).random((20, 3), np.float32) for name in ("left", "right")}
    samples, kept = {"both": x, "single": {"left": x["left"]}}, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "complaints", lambda made, seen, *_: kept.append(seen) or [])
        made = convert(path, "int8_float_io", samples)
    return made, kept[0]


def test_outputs_are_named_with_their_signature_where_there_are_several(two_signatures):
    made, seen = two_signatures
    assert {name: found.verdict for name, found in guard.agreements(made, seen).items()} == {
        "both/sum": "near", "single/double": "near",
    }  # fmt: skip


def test_the_step_is_that_of_the_signatures_own_output(two_signatures):
    runner = two_signatures[0].runner
    both, single = (guard.output_steps(runner.signature(name), name) for name in ("both", "single"))
    for steps, name, x in ((both, "both", 2), (single, "single", 1)):
        (step,) = steps.values()
        run = runner.signature(name)
        fed = {port.name: np.random.default_rng(4).random((400, 3), np.float32) for port in run.inputs}
        values = np.unique(run.run(fed if x == 2 else fed["left"]))
        assert step == pytest.approx(np.diff(values).min(), rel=1e-2)


def test_a_file_with_one_signature_is_compared_by_the_names_of_its_outputs(monkeypatch):
    kept, x = [], {name: rng.random((20, 4), np.float32) for name in ("a", "b")}
    a, b = K.Input((4,), name="a"), K.Input((4,), name="b")
    model = tf_keras.Model([a, b], [K.Dense(2, name="first")(K.Add()([a, b])), K.Dense(1, name="second")(a)])
    monkeypatch.setattr(guard, "complaints", lambda made, seen, *_: kept.append(seen) or [])
    made = convert(model, "int8", x)
    found = guard.agreements(made, kept[0])
    assert set(found) == {"first", "second"} and all(each.verdict == "near" for each in found.values())


# ---------------------------------------------------------------- a few examples unlike the others


def doubling(factor):
    """Dense layers that only multiply: by one, then by `factor`."""
    model = tf_keras.Sequential([K.Input((2,)), K.Dense(2, name="first"), K.Dense(2, name="last")])
    model.set_weights([np.eye(2), np.zeros(2), factor * np.eye(2), np.zeros(2)])
    return model


@pytest.mark.parametrize("mode", ["int8", "int8_float_io", "int16x8"])
@pytest.mark.parametrize(
    "factor, low, said", [(1e10, 1, "is 3.40282.*e.38"), (3e8, -1e30, r"between -3e\+38 and 3e\+38")]
)
def test_an_overflow_is_found_in_any_example_although_kernels_clamp_it(mode, factor, low, said):
    x = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    x[3], x[5] = 1e30, low  # none of the 32 that are compared
    assert not {3, 5} & {*guard.first_rows({"x": x})}
    with pytest.raises(ValueError, match=f"output of layer 'last' .* {said}"):
        convert(doubling(factor), mode, x)


@pytest.mark.parametrize("row", [3, 199])
@pytest.mark.parametrize("mode", ["int8", "int8_float_io", "int16x8"])
def test_one_example_far_beyond_the_others_is_said(mode, row):
    x = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    assert not warned(lambda: convert(doubling(2), mode, x))
    x[row] = 1e3 if mode != "int16x8" else 1e5
    assert (row in guard.first_rows({"x": x})) == (row == 199)  # compared or not
    (said,) = warned(lambda: convert(doubling(2), mode, x))
    assert "of output 'last'" in said and "others reach far beyond them" in said


def warned(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", guard.ConversionWarning)
        call()
    return [str(each.message) for each in caught if each.category is guard.ConversionWarning]


@pytest.mark.parametrize("mode", ["int8", "int16x8"])
@pytest.mark.parametrize("last", ["softmax", "sigmoid", "tanh"])
def test_an_activation_that_hardly_varies_has_the_step_that_it_always_has(last, mode):
    model = tf_keras.Sequential([K.Input((3,)), K.Dense(2, kernel_initializer="zeros"), K.Activation(last)])
    small = 1e-3 if mode == "int8" else 3e-5  # outputs go over a few steps only
    model.layers[0].kernel.assign(np.full((3, 2), [small, -small]))
    x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    assert not [said for said in warned(lambda: convert(model, mode, x)) if "one step of output" in said]


def test_outputs_that_are_true_or_false_have_no_step():
    start = tf_keras.Input((3,))
    model = tf_keras.Model(start, K.Lambda(lambda y: y > 0)(K.Dense(1)(start)))
    x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    assert np.mean(convert(model, "int8", x).predict(x) == model(x)) > 0.9
