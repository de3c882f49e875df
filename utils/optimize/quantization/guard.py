"""What stands between a model and TensorFlow's calibrator, which ends the process on loops and infinite activations.

`guarded` puts checks between the converter's own steps, on the float file that it calibrates: so they hold for Keras
models of every kind, for SavedModels and for the debugger alike.  `complaints` looks at the file that came out:
it is compared with that float file on the calibration data, and float operators that remained are named.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from utils import checks
from utils.measure import agreement
from utils.measure.agreement import Agreement
from utils.quiet import quiet

if TYPE_CHECKING:
    from utils.artifact import Artifact

#: Calibration examples that file and float model are compared on, spread evenly.
EXAMPLES = 32

#: Operators that are not finite for some finite inputs: where there is one, every example is looked at.
_PARTIAL = {"LOG", "SQRT", "RSQRT", "POW", "DIV", "FLOOR_DIV", "FLOOR_MOD", "EXP"}

#: Operators that move numbers and compute nothing: they add no error of their own.
MOVERS = {
    "RESHAPE", "TRANSPOSE", "FILL", "SQUEEZE", "EXPAND_DIMS", "PACK", "UNPACK", "SHAPE", "STRIDED_SLICE", "SLICE",
    "SPLIT", "SPLIT_V", "PAD", "PADV2", "GATHER", "BROADCAST_TO", "TILE",
}  # fmt: skip

#: Operators that an integer file may have with float outputs and still compute in integers.
_BETWEEN = MOVERS | {"QUANTIZE", "DEQUANTIZE", "CAST", "CONCATENATION"}

#: {signature: {input: array}}.
Samples = dict[str, dict[str, np.ndarray]]


class NotConvertible(ValueError):
    """The guard's own sentence, which passes through the converter's errors."""


class ConversionWarning(UserWarning):
    """A file was made, but something about it is probably not what was wanted."""


@dataclass
class CalibrationRun:
    """What passed the guard: the float file that was calibrated, and its outputs {signature: {name: array}}.

    size: examples in a batch, 1 or what the model is fixed to.
    """

    samples: Samples
    size: int = 1
    float_file: bytes = b""
    outputs: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)


def guarded(converter: Any, model: Any, samples: Samples, size: int = 1) -> CalibrationRun:
    """Put the checks into a converter that has a representative data set; what they saw is filled in by `convert`.

    model: to name layers; None for a SavedModel.
    Within `convert` they raise ValueError that names the layer: a loop, an activation that is not finite.
    """
    original, seen = converter._quantize, CalibrationRun(samples, size)

    def quantize(content: bytes, *arguments: Any) -> bytes:
        seen.float_file = bytes(content)
        _refuse_loops(seen.float_file, model)
        seen.outputs = _float_outputs(seen, model)
        with _settings(converter, _experimental_calibrate_only=True):
            calibrated = bytearray(original(content, *arguments))
        _refuse_infinite(calibrated, model)
        _widen_dead(calibrated)
        if converter._experimental_calibrate_only:
            return bytes(calibrated)
        return _quantized(converter, original, content, bytes(calibrated), *arguments)

    converter._quantize = quantize
    return seen


@contextlib.contextmanager
def _settings(converter: Any, **settings: Any) -> Iterator[None]:
    before = {name: getattr(converter, name) for name in settings}
    vars(converter).update(settings)
    try:
        yield
    finally:
        vars(converter).update(before)


def _quantized(
    converter: Any,
    original: Any,
    content: bytes,
    calibrated: bytes,
    input_type: Any,
    output_type: Any,
    activations: Any,
    bias_type: Any,
    allow_float: bool,
    variables: bool,
    debug_options: Any,
) -> bytes:
    """The converter's own last step: from the calibrated file for int8, calibrating by itself for int16x8."""
    import tensorflow as tf
    from tensorflow.lite.python.convert import mlir_quantize

    if activations == tf.int16:
        with _settings(converter, experimental_new_quantizer=False):  # else it calibrates once more for nothing
            return original(
                content, input_type, output_type, activations, bias_type, allow_float, variables, debug_options
            )
    return mlir_quantize(
        calibrated,
        converter._experimental_disable_per_channel,
        input_data_type=input_type,
        output_data_type=output_type,
        enable_variable_quantization=variables,
        disable_per_channel_for_dense_layers=converter._experimental_disable_per_channel_quantization_for_dense_layers,
        debug_options_str=debug_options.SerializeToString(),
    )


# ---------------------------------------------------------------- before calibrating


def _refuse_loops(content: bytes, model: Any) -> None:
    """TensorFlow 2.21 ends the whole process (segmentation fault) when it calibrates a file with a loop."""
    from utils import tflite_file

    loops = [o for o in tflite_file.File(content).all_operators() if o.name == "WHILE"]
    if not loops:
        return
    layers = looping(model) or named({t.name for o in loops for t in o.outputs}, model)
    raise NotConvertible(
        f"{listed(layers, model)} becomes a loop, which TensorFlow cannot calibrate. {way_out(layers)}"
    )


def looping(model: Any) -> list[Any]:
    """The recurrent layers that are not unrolled, those inside wrappers too."""
    found = [layer for layer in checks.all_layers(model) if hasattr(layer, "return_sequences")] if model else []
    return [layer for layer in found if not getattr(layer, "unroll", False) and not hasattr(layer, "layer")]


def way_out(layers: list[Any]) -> str:
    """What to do about layers that become loops and shall be quantized with calibration."""
    others = "mode 'dynamic' or 'float16' needs no calibration (with tf_keras.Input(shape, batch_size=1))"
    if layers and all(can_unroll(layer) for layer in layers):
        return (
            "Write the steps out: build the layer with unroll=True, or pass "
            f"utils.optimize.keras_graph.unroll(model); or {others}"
        )
    return f"It cannot be written out step by step; {others}"


def can_unroll(layer: Any) -> bool:
    """Whether Keras can write a recurrent layer out: not a ConvLSTM, and only a known number of steps."""
    import tf_keras

    convolutional = (tf_keras.layers.ConvLSTM1D, tf_keras.layers.ConvLSTM2D, tf_keras.layers.ConvLSTM3D)
    if not isinstance(layer, tf_keras.layers.RNN) or isinstance(layer, convolutional):
        return False
    spec = layer.input_spec[0] if isinstance(layer.input_spec, (list, tuple)) else layer.input_spec
    shape = getattr(layer, "_build_input_shape", None) or getattr(spec, "shape", None)
    return shape is None or tuple(shape)[1] is not None


def _float_outputs(seen: CalibrationRun, model: Any) -> dict[str, dict[str, np.ndarray]]:
    """Outputs of the float file on spread examples; on the way each tensor is looked at.

    By TensorFlow's interpreter without delegates: the kernels and the process that calibration uses anyway.
    """
    import tensorflow as tf

    from utils import tflite_file

    operators = tflite_file.File(seen.float_file).all_operators()
    every = bool({operator.name for operator in operators} & _PARTIAL)
    found: dict[str, dict[str, np.ndarray]] = {}
    with quiet():
        interpreter = tf.lite.Interpreter(
            model_content=seen.float_file,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
    for signature, arrays in seen.samples.items():
        run = interpreter.get_signature_runner(signature)
        spread = first_rows(arrays, seen.size)
        parts = []
        computed = [
            tensor
            for operator in operators
            for tensor in operator.outputs
            if operator.subgraph == run._subgraph_index and tensor.dtype == "float32"
        ]
        for row in range(0, _count(arrays), seen.size) if every else spread:
            try:
                with quiet(tell_on_error=False):
                    outputs = run(**batch_at(arrays, row, seen.size))
            except (RuntimeError, ValueError):  # the calibrator, whose interpreter it is, has the last word
                break
            for tensor in computed:
                values = interpreter.get_tensor(tensor.index, run._subgraph_index)
                if not np.isfinite(values).all():
                    _nonfinite(tensor.name, values[~np.isfinite(values)][0], model)
            if row in spread:
                parts.append(outputs)
            interpreter.reset_all_variables()  # else a fused LSTM goes on with the state of this example
        else:
            found[signature] = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    return found


def _count(arrays: dict[str, np.ndarray]) -> int:
    return len(next(iter(arrays.values())))


def first_rows(arrays: dict[str, np.ndarray], size: int = 1) -> list[int]:
    """First rows of some batches, spread evenly."""
    return agreement.evenly_chosen(np.arange(0, _count(arrays), size), max(EXAMPLES // size, 1)).tolist()


def batch_at(arrays: dict[str, np.ndarray], row: int, size: int = 1) -> dict[str, np.ndarray]:
    """`size` examples from `row` on; the last one is repeated where there are not enough."""
    return {name: x[np.minimum(np.arange(row, row + size), len(x) - 1)] for name, x in arrays.items()}


def _refuse_infinite(calibrated: bytearray, model: Any) -> None:
    """Of all examples: their smallest and largest values, as the calibrator noted them.

    Kernels clamp what overflows to the largest number of float32, fused activation or none.
    """
    for name, limits in _limits(calibrated):
        ends = np.concatenate(limits)
        over = ends[~(np.abs(ends) < np.finfo(np.float32).max)]  # NaN too
        with np.errstate(over="ignore"):
            wide = ends.max() - ends.min() > np.finfo(np.float32).max
        if over.size or wide:
            _nonfinite(name, over[0] if over.size else f"between {ends.min():g} and {ends.max():g}", model)


def _nonfinite(tensor: str, value: float | str, model: Any) -> None:
    layers = named({tensor}, model)
    where = listed(layers, model) if layers else f"the tensor {tensor!r}"
    raise NotConvertible(
        f"the output of {where} is {value} for some of the calibration data, so it has no range. Keep its input away "
        "from there (log(x + 1e-3), a divisor above 0), or leave out the examples"
    )


# ---------------------------------------------------------------- the calibrated file


def _graphs(content: bytes | bytearray) -> Iterator[Any]:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    yield from (model.Subgraphs(number) for number in range(model.SubgraphsLength()))


def _limits(calibrated: bytearray) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    for graph in _graphs(calibrated):
        for number in range(graph.TensorsLength()):
            limits = _range(graph.Tensors(number))
            if limits:
                yield graph.Tensors(number).Name().decode(errors="replace"), limits


def _range(tensor: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Smallest and largest value of a tensor, as views into the file."""
    found = tensor.Quantization()
    return (found.MinAsNumpy(), found.MaxAsNumpy()) if found is not None and found.MinLength() else None


def _widen_dead(calibrated: bytearray) -> None:
    """Give activations that are 0 for all examples a range: a ReLU that never fires, an input that is all zeros.

    The calibrator notes 0 to 1.2e-38, and XNNPACK cannot prepare operators with so small a scale.  Any range would do
    for zeros; a 255th of what comes in keeps both this operator's multiplier and the next one's bias in bounds.
    """
    for graph in _graphs(calibrated):
        dead = {n for n in range(graph.TensorsLength()) if _is_dead(_range(graph.Tensors(n)))}
        for index in _numbers(graph.InputsAsNumpy()):
            if index in dead:
                _range(graph.Tensors(index))[1][:] = 1
        for number in range(graph.OperatorsLength()):
            operator = graph.Operators(number)
            inputs = [_range(graph.Tensors(i)) for i in _numbers(operator.InputsAsNumpy()) if i >= 0]
            widths = [float(np.max(high) - np.min(low)) for low, high in filter(None, inputs)]
            for index in _numbers(operator.OutputsAsNumpy()):
                if index in dead:
                    _range(graph.Tensors(index))[1][:] = max(max(widths, default=1.0) / 255, 1e-6)


def _numbers(found: Any) -> list[int]:
    """A vector of the file; flatbuffers gives 0 in the place of one that is not there."""
    return [] if isinstance(found, int) else found.tolist()


def _is_dead(limits: tuple[np.ndarray, np.ndarray] | None) -> bool:
    return limits is not None and bool(np.abs(np.concatenate(limits)).max() < 1e-30)


# ---------------------------------------------------------------- the file that came out


def complaints(made: Artifact, seen: CalibrationRun, model: Any, mode: str, refuse: bool = True) -> list[str]:
    """What to warn of in a file that was calibrated: float operators that remain, outputs far from the float file's.

    A file that cannot be run is not compared; that is said, too.
    Raises ValueError if an output has nothing to do with the float file's; refuse=False says that, too, with a warning.
    """
    advice = (
        "layer_errors.layer_errors shows where, layer_errors.selective keeps layers in float; inputs of different "
        "sizes (columns of 1e5 and 0.01, word numbers) share one grid, so scale them alike or give whole numbers an "
        f"integer input; or take mode {_OTHERS.get(mode, _MILDER)}"
    )
    if layers := looping(model):  # one operator, whose state the calibrator keeps from one example to the next
        advice = f"{way_out(layers)}; {advice}"
    error = ValueError if refuse else None
    far = agreement.complaint(agreements(made, seen), f"the {mode} file", advice, error)
    not_run = _not_run(made, mode)
    coarse = [] if not_run else _coarse(made, seen, mode)
    return [*_constant(seen), *_floats(made, model, mode), *not_run, *coarse, *([far] if far else [])]


_MILDER = "'int16x8', 'dynamic' or 'float16'"
_OTHERS = {"int16x8": "'int8', 'dynamic' or 'float16'"}


def _not_run(made: Artifact, mode: str) -> list[str]:
    from utils.formats import ArtifactError

    try:
        made.runner  # noqa: B018 (tried in a child process)
    except ArtifactError as error:
        return [f"the {mode} file was made, but {error}. Take mode {_OTHERS.get(mode, _MILDER)}, or scale the inputs"]
    return []


#: Steps that kernels fix whatever the values are: softmax and sigmoid, tanh, and both with 16 bits.
_FIXED_STEPS = (1 / 256, 1 / 128, 1 / 32768)

#: Steps of an output's grid that most examples must go over: on fewer, even an ideal file loses 1 % of the variance.
_STEPS = 8


def _coarse(made: Artifact, seen: CalibrationRun, mode: str) -> list[str]:
    """A few examples that reach far beyond all others stretch the grid: `agreements` excuses a step of any size."""
    found = []
    for signature, outputs in seen.outputs.items():
        one = made.runner if len(seen.samples) == 1 else made.runner.signature(signature)
        for name, step in output_steps(one, signature).items():
            if step in (0, *_FIXED_STEPS):
                continue
            low, high = np.percentile(outputs[name].reshape(len(outputs[name]), -1), [5, 95], axis=0)
            size = float((high - low).max(initial=0))
            if 0 < size < _STEPS * step:
                found.append(
                    f"one step of output {name!r} of the {mode} file is {step:.3g}, and most of the calibration "
                    f"examples go over {size:.3g}: others reach far beyond them. Leave those out, or clip the ranges: "
                    "calibration.with_ranges(model, calibration.ranges(model, x, 'percentile'))"
                )
    return found


def agreements(made: Artifact, seen: CalibrationRun) -> dict[str, Agreement]:
    """{output: how far a calibrated file is from the float file, beyond one step of the output}.

    {} for a file that cannot be run, or not on its calibration data (a range chosen far too narrow).
    """
    from utils.formats import ArtifactError

    found: dict[str, Agreement] = {}
    try:
        runner = made.runner
        for signature, arrays in seen.samples.items():
            one = runner if len(seen.samples) == 1 else runner.signature(signature)
            wanted = seen.outputs.get(signature, {})
            parts = [one.run(_fed(one, batch_at(arrays, row, seen.size))) for row in first_rows(arrays, seen.size)]
            got = {name: np.concatenate([p[name] if isinstance(p, dict) else p for p in parts]) for name in wanted}
            for name, each in agreement.compare(wanted, got, output_steps(one, signature)).items():
                found[name if len(seen.samples) == 1 else f"{signature}/{name}"] = each
    except (ArtifactError, ValueError, TypeError):
        return {}
    return found


def _fed(runner: Any, arrays: dict[str, np.ndarray]) -> Any:
    """What a runner takes: real numbers where the file's input is quantized."""
    named = {
        port.name: arrays[port.name].astype(np.float32) if port.quantized else arrays[port.name]
        for port in runner.inputs
    }
    return named if len(named) > 1 else next(iter(named.values()))


def output_steps(runner: Any, signature: str) -> dict[str, float]:
    """{output: distance of two neighbouring integers}; 0 for outputs that neither are nor were quantized."""
    graph = runner.interpreter.get_signature_runner(signature)._subgraph_index
    behind = {
        operator.outputs[0].index: operator.inputs[0].quantization.scales[0]
        for operator in runner.file.all_operators()
        if operator.name == "DEQUANTIZE" and operator.subgraph == graph and operator.inputs[0].quantization
    }
    return {
        port.name: float(port.quantization.scale) if port.quantized else behind.get(port.index, 0.0)
        for port in runner.outputs
    }


def _constant(seen: CalibrationRun) -> list[str]:
    """Calibration that is one value throughout gives ranges that say nothing about others."""
    return [
        f"calibration of input {name!r} is {x.flat[0]:g} throughout: pass inputs as they occur, some 100 to 500"
        for arrays in seen.samples.values()
        for name, x in arrays.items()
        if x.dtype.kind == "f" and x.size > 1 and x.min() == x.max()
    ]


def _floats(made: Artifact, model: Any, mode: str) -> list[str]:
    from utils import tflite_file

    floats = [
        operator
        for operator in tflite_file.File(made.content).all_operators()
        if operator.name not in _BETWEEN and any(tensor.dtype == "float32" for tensor in operator.outputs)
    ]
    if not floats:
        return []
    kinds = ", ".join(f"{kind} ({count})" for kind, count in Counter(o.name for o in floats).items())
    layers = named({tensor.name for operator in floats for tensor in operator.outputs}, model)
    where = f" of {listed(layers, model)}" if layers else ""
    return [
        f"the {mode} file computes {kinds}{where} in float32, for lack of integer kernels: it does not run on hardware "
        "without floats, and takes time to convert to and fro"
    ]


# ---------------------------------------------------------------- names


def named(tensors: set[str], model: Any) -> list[Any]:
    """The innermost layers that a file's tensors come from: their names stand in the tensors' paths."""
    if model is None:
        return []
    layers = [layer for layer in checks.all_layers(model) if layer is not model]
    found: dict[int, Any] = {}
    for name in sorted(tensors):
        for path in name.split(";"):
            inner = max(layers, key=lambda layer: _place(layer.name, path), default=None)
            if inner is not None and _place(inner.name, path)[0] >= 0:
                found[id(inner)] = inner
    if (
        not found
        and len(getattr(model, "output_names", None) or []) == 1
        and any("PartitionedCall" in t for t in tensors)
    ):
        last = [layer for layer in layers if layer.name == model.output_names[0]]
        found |= {id(layer): layer for layer in last}
    return list(found.values())


def _place(name: str, path: str) -> tuple[int, int]:
    """Where a layer's name ends in a path "model/block/conv/MatMul", and how long it is; (-1, 0) if it is not there."""
    at = f"/{path}/".rfind(f"/{name}/")
    return (at + len(name), len(name)) if at >= 0 else (-1, 0)


def listed(layers: list[Any], model: Any) -> str:
    """Layers for a sentence, three at most."""
    if layers:
        return "layer " + ", ".join(f"{layer.name!r} ({type(layer).__name__})" for layer in layers[:3])
    return "the SavedModel" if model is None else f"{type(model).__name__} {model.name!r}"
