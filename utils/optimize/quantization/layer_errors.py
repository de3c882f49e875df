"""Which layer does int8 hurt?  The error that each operator adds by itself, and files that keep some in float.

    rows = layer_errors.layer_errors(model, calibration)
    artifact = layer_errors.selective(model, calibration, worst=2)

`tf.lite.experimental.QuantizationDebugger` makes a file in which each quantized operator stands beside its float twin;
both get the same inputs, so what they differ in is that operator's own error, not that of the layers before it (the
first operator's contains the rounding of the model's input).  The debugger's own statistics are not used: it reads
tensors whose memory may already serve others, so some are wrong by orders of magnitude.  Here all tensors are kept, and
the errors are computed from them.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from utils import checks
from utils.measure import agreement
from utils.optimize.quantization import guard
from utils.optimize.quantization.converter import calibrated_converter, check_calibration, refused
from utils.quiet import quiet

if TYPE_CHECKING:
    from utils.artifact import Artifact

#: Examples that the errors are measured on: the calibration data, thinned out evenly.
EXAMPLES = 32


@dataclass(frozen=True)
class LayerError:
    """What one quantized operator does to its output, in the order of execution.

    name: of its output in the file; it contains the names of the Keras layers that were fused into it.
    layer: to read: the first of these; for the output of a model with one output, whose name is lost, its layer.
    operator: its kind.  scale: of the output, the distance of two neighbouring integers.
    rmse: root mean square of the difference from the float operator.  rmse_per_scale: in output steps; rounding the
        output alone gives 1/√12 = 0.29, and what is above it comes from weights and clipping.
    sqnr_db: 10 · log10(mean square of the output / mean square of the error); low where the grid is too coarse for
        most of the numbers, which rmse_per_scale cannot show.
    """

    name: str
    layer: str
    operator: str
    scale: float
    rmse: float
    rmse_per_scale: float
    sqnr_db: float

    def row(self) -> dict[str, Any]:
        """For `claims.show`."""
        return {
            "layer": self.layer,
            "operator": self.operator,
            "scale": self.scale,
            "rmse": self.rmse,
            "rmse/scale": self.rmse_per_scale,
            "SQNR dB": self.sqnr_db,
        }


def layer_errors(
    model: Any, calibration: Any, *, per_channel: bool = True, input_range: tuple[float, float] | None = None
) -> list[LayerError]:
    """The error of each operator of the int8 file, in the order of execution.

    Arguments as in `quantization.convert`.  Operators that only move numbers are left out, and those whose output is
    zero for all examples.  Nothing is printed, no file is left.
    Raises ValueError or TypeError as `quantization.convert`, and ValueError if nothing in the model is quantized.
    """
    samples = _checked(model, calibration, input_range)
    with calibrated_converter(model, samples, per_channel) as converter:
        return _measure(_debugger(model, converter), model, [agreement.evenly_chosen(x, EXAMPLES) for x in samples])


def selective(
    model: Any,
    calibration: Any,
    *,
    keep_float: list[str] | None = None,
    worst: int | None = None,
    per_channel: bool = True,
    input_range: tuple[float, float] | None = None,
) -> Artifact:
    """An int8 file in which some operators stay in float; inputs and outputs are float32.

    keep_float: names of operators, as `layer_errors` gives them, or of Keras layers.
    worst: instead, how many to keep: those with the lowest SQNR.
    Between float and int8 the converter puts QUANTIZE and DEQUANTIZE operators, which take time.
    Returns an Artifact of the format "tflite" that was tried and runs.
    Raises as `layer_errors`; ValueError also for unknown names and if the converter kept none of them in float.
    """
    if (keep_float is None) == (worst is None):
        raise ValueError("pass either keep_float=[names] or worst=how many")
    samples = _checked(model, calibration, input_range)
    with calibrated_converter(model, samples, per_channel) as converter:
        debugger = _debugger(model, converter)
        found = _measure(debugger, model, [agreement.evenly_chosen(x, EXAMPLES) for x in samples])
        names = _worst(found, worst) if keep_float is None else _named(found, keep_float)
        return _without(debugger, names)


# ---------------------------------------------------------------- choosing


def _worst(found: list[LayerError], count: int) -> list[str]:
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or not 1 <= count <= len(found):
        raise ValueError(f"worst is {count!r}; the file has {len(found)} operators, so pass 1 to {len(found)}")
    return [error.name for error in sorted(found, key=lambda error: error.sqnr_db)[:count]]


def _named(found: list[LayerError], wanted: list[str]) -> list[str]:
    """The operators that are meant; a Keras layer may be several, or share one with others."""
    names = [error.name for error in found]
    chosen: list[str] = []
    for want in [wanted] if isinstance(wanted, str) else list(wanted):
        fits = [error.name for error in found if want in (error.name, error.layer) or want in _parts(error.name)]
        if not fits:
            parts = sorted({part for name in names for part in _parts(name)} | {error.layer for error in found})
            near = difflib.get_close_matches(str(want), parts, 1, cutoff=0)
            raise ValueError(
                f"no operator belongs to {want!r}; did you mean {near[0]!r}? layer_errors(model, "
                "calibration) lists the names"
            )
        chosen += fits
    if not chosen:
        raise ValueError("keep_float is empty; name at least one operator, or take quantization.convert")
    return list(dict.fromkeys(chosen))


def _parts(name: str) -> set[str]:
    """What may be a layer's name in an operator's, slashes included: of `net/a/b/MatMul` net, a, b, net/a, a/b, …"""
    found = set()
    for path in name.split(";"):
        steps = path.split("/")[:-1]
        found |= {"/".join(steps[i:j]) for i in range(len(steps)) for j in range(i + 1, len(steps) + 1)}
    return found


def _label(name: str, model: Any) -> str:
    """The first of the fused layers, or the output's layer: the file calls outputs StatefulPartitionedCall:0."""
    outputs = getattr(model, "output_names", None) or []
    return outputs[0] if "PartitionedCall:" in name and len(outputs) == 1 else name.partition(";")[0]


# ---------------------------------------------------------------- the debugger


def _checked(model: Any, calibration: Any, input_range: tuple[float, float] | None) -> list[np.ndarray]:
    checks.check_model(model)
    return check_calibration(model, "int8", calibration, input_range)


def _debugger(model: Any, converter: Any) -> Any:
    import tensorflow as tf

    failure = None
    with quiet():
        try:
            return tf.lite.experimental.QuantizationDebugger(converter=converter, debug_dataset=lambda: iter(()))
        except Exception as error:  # raised outside of `quiet`, which would show all that was said before
            failure = error
    raise _nothing(model) if "debug mode" in str(failure) else refused(failure, model, True) from failure


def _nothing(model: Any) -> ValueError:
    return ValueError(f"no operator of {model.name!r} that computes is quantized, so there is no error to measure")


def _measure(debugger: Any, model: Any, samples: list[np.ndarray]) -> list[LayerError]:
    """Run the file with the twins and compare them."""
    interpreter = _interpreter(debugger.quant_model)
    ports = _ports(interpreter, model)
    with quiet():
        for index, x in zip(ports, samples, strict=True):  # axes that the file leaves open
            interpreter.resize_tensor_input(index, (1, *x.shape[1:]))
        interpreter.allocate_tensors()
    pairs = _twins(interpreter, debugger)
    if not pairs:
        raise _nothing(model)
    signal, noise = np.zeros(len(pairs)), np.zeros(len(pairs))
    for i in range(len(samples[0])):
        for index, x in zip(ports, samples, strict=True):
            interpreter.set_tensor(index, x[i : i + 1])
        interpreter.reset_all_variables()  # else a fused LSTM goes on with the state of the example before
        interpreter.invoke()
        for number, pair in enumerate(pairs):
            real = interpreter.get_tensor(pair.twin).astype(np.float64)
            stored = interpreter.get_tensor(pair.index).astype(np.float64)
            signal[number] += np.mean(real**2) / len(samples[0])
            noise[number] += np.mean((pair.scale * (stored - pair.zero_point) - real) ** 2) / len(samples[0])
    return [
        _error(pair, _label(pair.name, model), *power)
        for pair, *power in zip(pairs, signal, noise, strict=True)
        if power[0] > 0
    ]


@dataclass(frozen=True)
class _Twins:
    """A quantized operator's output and its float twin's, by number of the tensor."""

    name: str
    operator: str
    index: int
    twin: int
    scale: float
    zero_point: int


def _error(pair: _Twins, label: str, signal: float, noise: float) -> LayerError:
    noise = noise if np.isfinite(noise) else np.inf  # NaN would make the order of errors arbitrary
    rmse = float(np.sqrt(noise))
    with np.errstate(divide="ignore"):
        decibels = float("inf") if noise == 0 else float(10 * np.log10(signal / noise))
    return LayerError(pair.name, label, pair.operator, pair.scale, rmse, rmse / pair.scale, decibels)


def _interpreter(content: bytes) -> Any:
    """TensorFlow's, which has the operator NumericVerify.  All tensors are kept until they are read."""
    import tensorflow as tf

    with quiet():
        return tf.lite.Interpreter(
            model_content=content,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )


def _twins(interpreter: Any, debugger: Any) -> list[_Twins]:
    operators = interpreter._get_ops_details()
    kinds = {index: operator["op_name"] for operator in operators for index in operator["outputs"]}
    pairs = []
    for operator in operators:
        if operator["op_name"] != "NumericVerify":
            continue
        index, twin = (int(number) for number in operator["inputs"])
        if kinds.get(index, "") in guard.MOVERS:
            continue
        label = interpreter._get_tensor_details(operator["outputs"][0], 0)["name"]
        scale, zero_point = interpreter._get_tensor_details(index, 0)["quantization"]
        name, _ = debugger._get_operand_name_and_index(label)  # the name by which the converter can be told
        pairs.append(_Twins(name, kinds.get(index, "QUANTIZE"), index, twin, float(scale), int(zero_point)))
    return pairs


def _ports(interpreter: Any, model: Any) -> list[int]:
    """Numbers of the input tensors in the order of the model's inputs; the converter may have reordered them."""
    details = interpreter.get_input_details()
    signatures = list(interpreter._get_full_signature_list().values())
    if len(details) > 1 and len(signatures) == 1:
        return [signatures[0]["inputs"][name] for name in checks.input_names(model)]
    return [detail["index"] for detail in details]


def _without(debugger: Any, names: list[str]) -> Artifact:
    """The file without the twins, in which these operators stay in float."""
    import tensorflow as tf

    from utils.artifact import Artifact

    # Not by the property `options`, which would make the file with the twins anew, and fails when none is left.
    debugger._debug_options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=names)
    with quiet():
        made = Artifact(debugger.get_nondebug_quantized_model(), "tflite")
    computing = [o for o in made.runner.file.all_operators() if o.name not in ("DEQUANTIZE", "QUANTIZE")]
    floats = {t.name for o in computing for t in o.outputs if t.dtype == "float32"}
    if not floats & {*names}:
        raise ValueError(f"the converter kept none of {names} in float; name the layer before or behind")
    return made
