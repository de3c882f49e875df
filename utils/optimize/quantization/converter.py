"""TF Lite's converter with its options behind one word: a model in, an artifact out, mistakes answered in a sentence.

What becomes of weights, activations and arithmetic: `MODES`.  The numbers themselves: `quantization`.
"""

from __future__ import annotations

import contextlib
import keyword
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils import checks
from utils.optimize.quantization import guard
from utils.optimize.quantization.guard import ConversionWarning
from utils.quiet import quiet

if TYPE_CHECKING:
    from utils.artifact import Artifact

#: What `convert` can make of a model, in one line each.
MODES = {
    "float32": "nothing is quantized: the reference for all others",
    "float16": "weights stored in 16-bit floats, computed in float32",
    "dynamic": "weights int8, activations quantized while running, inputs and outputs float32",
    "int8": "int8 wherever there are integer kernels (a warning names the rest), inputs and outputs too; calibrated",
    "int8_float_io": "the same inside, inputs and outputs float32; calibrated",
    "int16x8": "activations int16, weights int8, inputs and outputs float32; calibrated",
}

#: The modes that fix the activations' ranges in advance.
CALIBRATED = ("int8", "int8_float_io", "int16x8")


def convert(
    model: Any,
    mode: str = "int8",
    calibration: Any = None,
    *,
    per_channel: bool = True,
    input_range: tuple[float, float] | None = None,
    signatures: list[str] | None = None,
    refuse: bool = True,
) -> Artifact:
    """A tf_keras model or a SavedModel as a .tflite file, quantized in one of the `MODES`.

    model: a built tf_keras model (Sequential, functional, nested or subclassed), with fixed shapes but for the batch;
        or the path of a SavedModel's folder, from whatever made it (a Keras 3 model's `export` too).  A SavedModel is a
        program: convert only those that you trust.
    calibration: inputs as in training, an array of (n, ...), a list of one for each input, or {input: array}; 100 to
        500 examples do.  Needed where activations are quantized, refused elsewhere, where it would be ignored.
        For a SavedModel with several signatures `{signature: {input: array}}`.
    per_channel: False gives every weight tensor one scale, dense layers too.
    input_range: the range that the inputs had in training; calibration outside it is refused.  Without it, calibration
        that looks like raw pixels is refused for a Keras model that does not rescale its input.
    signatures: of a SavedModel; all of them by default.
    refuse: False hands back a file whose outputs have nothing to do with the model's, too, with a warning: to study it.
    Returns an Artifact of the format "tflite".  Nothing is printed.  A few files convert and then end the process that
    runs them (LayerNormalization in int16x8): the artifact's first `predict` tries it in a child process and says so.
    Calibrated files are compared with the float model on the calibration data: see `measure.agreement`.
    Warns, ConversionWarning: outputs are far off, operators stay in float, calibration is one value throughout.
    Raises ValueError or TypeError that says what was passed and what to pass, and which layer cannot be converted.
    """
    checks.check_choice("mode", mode, MODES)
    if isinstance(model, (str, os.PathLike)):
        made, found = _convert_folder(Path(model), mode, calibration, per_channel, input_range, signatures, refuse)
    else:
        checks.check_model(model)
        if signatures is not None:
            raise ValueError(
                f"signatures={signatures!r}: a Keras model has one; they are chosen of a SavedModel's folder"
            )
        samples = check_calibration(model, mode, calibration, input_range)
        with _keras_converter(model) as converter:
            made, found = _made(converter, mode, per_channel, samples, model, refuse)
    for complaint in found:
        warnings.warn(complaint, ConversionWarning, stacklevel=2)
    return made


@contextlib.contextmanager
def calibrated_converter(model: Any, samples: list[np.ndarray], per_channel: bool) -> Iterator[Any]:
    """A guarded converter to int8 inside, usable within the `with`; samples as `check_calibration` returns them."""
    with _keras_converter(model) as converter:
        _configure(converter, "int8_float_io", per_channel, lambda: _batches(samples, model))
        guard.guarded(converter, model, _named(samples, model), _batch(model))
        yield converter


def _made(
    converter: Any, mode: str, per_channel: bool, samples: Any, model: Any = None, refuse: bool = True
) -> tuple[Artifact, list[str]]:
    """The file, and what to warn of; samples of a Keras model as a list, of a SavedModel by signature."""
    from utils.artifact import Artifact

    if samples is None:
        _configure(converter, mode, per_channel, None)
        made = Artifact(_run(converter, model), "tflite")
        _check_constants(made, model)
        return made, []
    batches = (lambda: _by_signature(samples)) if model is None else (lambda: _batches(samples, model))
    _configure(converter, mode, per_channel, batches)
    named = samples if model is None else _named(samples, model)
    seen = guard.guarded(converter, model, named, 1 if model is None else _batch(model))
    made = Artifact(_run(converter, model, calibrated=True), "tflite")
    return made, guard.complaints(made, seen, model, mode, refuse)


def _check_constants(made: Artifact, model: Any) -> None:
    """Refuse a file whose numbers are not finite, or that the converter cut off at float16's largest, 65,504."""
    from utils import tflite_file

    for tensor, values in tflite_file.File(made.content).constants():
        if values.dtype.kind != "f":
            continue
        bad = ~np.isfinite(values)
        if tensor.dtype == "float16":
            bad |= np.abs(values) >= np.finfo(np.float16).max
        if not bad.any():
            continue
        layers = guard.named({tensor.name}, model)
        where = guard.listed(layers, model) if layers else f"the tensor {tensor.name!r}"
        raise ValueError(
            f"{int(bad.sum()):,} weights of {where} are NaN, infinite or beyond what {tensor.dtype} holds"
            + (", which ends at 65,504: take mode 'dynamic', or make them smaller" if tensor.dtype == "float16" else "")
        )


@contextlib.contextmanager
def _keras_converter(model: Any) -> Iterator[Any]:
    """A converter for what the model computes in inference, usable within the `with`.

    `from_keras_model` would make the same file but for the byte that names its source.  It takes longer, twice as long
    for a deep network: it traces every layer, for training too, and imports Keras 3 to ask whether the model is one.
    And where tracing fails half-way (Dropout under deterministic operations without a seed), it leaves other functions
    in the model's layers.
    """
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        _save_inference(model, folder)
        with quiet():
            converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        yield converter


def _save_inference(model: Any, folder: str) -> None:
    """A SavedModel with one signature: inference, with the names that Keras gives to inputs and outputs."""
    import tensorflow as tf

    holder = tf.Module()
    holder.tables = [
        part
        for part in tf.train.TrackableView(model).descendants()
        if isinstance(part, tf.saved_model.experimental.TrackableResource)
    ]
    failure = None
    with quiet():
        try:
            inference, renamed = _inference(model)
            holder.used = list(inference.variables)
            tf.saved_model.save(holder, folder, inference)
            _rename_inputs(Path(folder) / "saved_model.pb", renamed)
            return
        except Exception as error:  # whatever the model's own code raises
            failure = error
    said = re.findall(r"^ *(\w+: .+)", str(failure), re.MULTILINE) or [repr(failure)]  # Keras wraps it in a trace
    raise ValueError(
        f"{type(model).__name__} {model.name!r} cannot be computed in inference: {said[-1]:.300}"
    ) from failure


def _inference(model: Any) -> tuple[Any, dict[str, str]]:
    """The model's inference as a function, and {its input: the model's name}, of names that no function can have."""
    import tensorflow as tf
    from tf_keras.src.saving.legacy import saving_utils  # model.export calls the outputs output_0, output_1, …
    from tf_keras.src.saving.legacy.saved_model import save_impl

    arguments, named = saving_utils.model_call_inputs(model)
    specs = tf.nest.flatten(arguments)
    if not all(isinstance(spec, tf.TensorSpec) for spec in specs):
        raise TypeError("a sparse or ragged input; a .tflite file takes dense arrays only, so convert it before")
    odd = not named and any(
        not (s.name.isascii() and s.name.isidentifier()) or keyword.iskeyword(s.name) for s in specs
    )
    if not odd:
        return save_impl.default_save_signature(model), {}
    renamed = {f"input_{number}": spec.name for number, spec in enumerate(specs)}
    plain = [tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in zip(renamed, specs, strict=True)]
    losses = save_impl._reset_layer_losses(model)
    function = saving_utils.trace_model_call(model, tf.nest.pack_sequence_as(arguments, plain))
    save_impl._restore_layer_losses(losses)
    return function, renamed


def _rename_inputs(path: Path, names: dict[str, str]) -> None:
    """Give a SavedModel's inputs other names: in its signature any text may stand."""
    from tensorflow.core.protobuf import saved_model_pb2

    if not names:
        return
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString(path.read_bytes())
    inputs = saved.meta_graphs[0].signature_def["serving_default"].inputs
    tensors = {name: type(tensor).FromString(tensor.SerializeToString()) for name, tensor in inputs.items()}
    inputs.clear()
    for name, tensor in tensors.items():
        inputs[names[name]].CopyFrom(tensor)
    path.write_bytes(saved.SerializeToString(deterministic=True))


def _configure(converter: Any, mode: str, per_channel: bool, dataset: Callable[[], Iterator[Any]] | None) -> None:
    """The converter's own options for a mode."""
    import tensorflow as tf

    if mode == "float32":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter._experimental_disable_per_channel = not per_channel
    converter._experimental_disable_per_channel_quantization_for_dense_layers = not per_channel
    if mode == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if dataset is not None:
        ops = tf.lite.OpsSet
        converter.representative_dataset = dataset
        converter.target_spec.supported_ops = [
            ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            if mode == "int16x8"
            else ops.TFLITE_BUILTINS_INT8
        ]
    if mode == "int8":
        converter.inference_input_type = converter.inference_output_type = tf.int8


def _run(converter: Any, model: Any = None, *, calibrated: bool = False) -> bytes:
    """Convert, and say in one sentence what is in the way.

    What the converter and its C++ say is kept until its error is understood, else it would bury the sentence.
    """
    failure = None
    with quiet():
        try:
            return converter.convert()
        except Exception as error:  # ConverterError is not public; the quantizer raises RuntimeError
            failure = error
    raise refused(failure, model, calibrated) from failure


# ---------------------------------------------------------------- SavedModel


def _convert_folder(
    folder: Path, mode: str, calibration: Any, per_channel: bool, input_range, wanted, refuse: bool
) -> tuple[Artifact, list[str]]:
    import tensorflow as tf

    _check_folder(folder)
    with quiet(tell_on_error=False):
        try:
            loaded = tf.saved_model.load(str(folder))
        except Exception as error:  # truncated, without its variables, of another program
            reason = (str(error).splitlines() or [""])[0]
            raise ValueError(
                f"the SavedModel {folder.name!r} cannot be read ({reason:.200}); save or copy it again"
            ) from error
        specs = {
            name: dict(sorted(function.structured_input_signature[1].items()))
            for name, function in loaded.signatures.items()
        }
    if specs.keys() == {"serve", "serving_default"} and wanted is None:
        del specs["serve"]  # Keras' export writes the same function under both names
    chosen = _check_signatures(folder, specs, wanted)
    for name in chosen:
        _check_variables(loaded.signatures[name].variables)
    samples = _signature_samples({name: specs[name] for name in chosen}, mode, calibration, input_range)
    with quiet():
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=chosen)
    return _made(converter, mode, per_channel, samples, refuse=refuse)


def _check_folder(folder: Path) -> None:
    if folder.is_dir() and not (folder / "saved_model.pb").is_file():
        raise ValueError(
            f"{str(folder)!r} is no SavedModel: it has no saved_model.pb. Pass the folder that "
            "model.export(folder) or tf.saved_model.save(model, folder) wrote"
        )
    if folder.suffix == ".tflite":
        raise ValueError(f"{folder.name!r} is converted already; recipes.quantize(artifact.load(path), …) takes it")
    if folder.is_file():
        raise ValueError(
            f"{folder.name!r} is a file; load it with tf_keras.models.load_model(path) and pass the "
            "model, or pass a SavedModel's folder"
        )
    if not folder.exists():
        raise FileNotFoundError(f"there is no folder {str(folder)!r}")


def _check_signatures(folder: Path, specs: dict[str, dict], wanted: list[str] | None) -> list[str]:
    if not specs:
        raise ValueError(
            f"the SavedModel {folder.name!r} has no signature; save it with signatures=, or with model.export(folder)"
        )
    wanted = [wanted] if isinstance(wanted, str) or not isinstance(wanted, Iterable | None) else wanted
    chosen = list(specs) if wanted is None else list(wanted)
    unknown = [name for name in chosen if name not in specs]
    if unknown or not chosen:
        raise ValueError(f"signatures={wanted!r}: the SavedModel {folder.name!r} has {', '.join(map(repr, specs))}")
    return chosen


def _check_variables(variables: Any) -> None:
    for variable in variables:
        if variable.dtype.is_floating and not np.isfinite(variable.numpy()).all():
            raise ValueError(f"the SavedModel's variable {variable.name!r} holds NaN or infinity; train it again")


def _signature_samples(specs: dict[str, dict], mode: str, calibration: Any, input_range) -> dict | None:
    """{signature: {input: array}}, checked; a lone signature or input need not be named."""
    if not _calibrated(mode, calibration):
        return None
    if len(specs) == 1 and not (isinstance(calibration, dict) and set(calibration) == set(specs)):
        calibration = {next(iter(specs)): calibration}
    if not isinstance(calibration, dict) or set(calibration) != set(specs):
        raise ValueError(
            f"the SavedModel has the signatures {', '.join(map(repr, specs))}; pass calibration as "
            "{signature: {input: array}} for each, or choose with signatures="
        )
    return {name: _named_samples(name, ports, calibration[name], input_range) for name, ports in specs.items()}


def _named_samples(signature: str, ports: dict, given: Any, input_range) -> dict[str, np.ndarray]:
    if not isinstance(given, dict):
        arrays = list(given) if isinstance(given, (list, tuple)) else [given]
        if len(ports) != 1 or len(arrays) != 1:
            raise ValueError(
                f"signature {signature!r} has the inputs {', '.join(map(repr, ports))}; "
                "pass calibration as {input: array}"
            )
        given = {next(iter(ports)): arrays[0]}
    if set(given) != set(ports):
        raise ValueError(
            f"signature {signature!r} has the inputs {', '.join(map(repr, ports))}; "
            f"calibration has {', '.join(map(repr, given)) or 'none'}"
        )
    single = [name for name, spec in ports.items() if spec.shape.rank == 0]
    if single:
        raise ValueError(
            f"input {single[0]!r} of signature {signature!r} is a single number, so there are no examples to calibrate "
            "with; take mode 'dynamic' or 'float16', or give it a first axis"
        )
    arrays = {
        name: checks.fitting_array(given[name], spec.shape, spec.dtype, "calibration") for name, spec in ports.items()
    }
    checks.same_count(list(arrays.values()))
    for x in arrays.values():
        _check_range(x, True, input_range)
    return arrays


def _by_signature(samples: dict[str, dict[str, np.ndarray]]) -> Iterator[Any]:
    """Calibration in batches of one, each with the name of its signature."""
    for signature, arrays in samples.items():
        for i in range(len(next(iter(arrays.values())))):
            yield signature, {name: x[i : i + 1] for name, x in arrays.items()}


# ---------------------------------------------------------------- what is in the way

#: Names of operations in the converter's traces, and what to do about them; tried in this order.
_WAYS_OUT = {
    "NEEDS_FLEX_OPS": "TensorFlow Lite has no operator for it: write it with other operations, leave it out of the "
    "model that is shipped, or compute it before or behind the model",
    "NEEDS_CUSTOM_OPS": "neither TensorFlow Lite nor TensorFlow's kernels for it have this operation: leave it out of "
    "the model that is shipped, or compute it before or behind the model",
    "failed to prepare": "the float file does not run on the calibration data: take mode 'dynamic' or 'float16'",
    "failed to invoke": "the float file does not run on the calibration data: take mode 'dynamic' or 'float16'",
    "not yet supported for op": "there are no kernels with int16 activations for it: take mode 'int8' (of which "
    "layer_errors.selective keeps single layers in float), 'dynamic' or 'float16'",
}


def refused(failure: Exception, model: Any, calibrated: bool) -> ValueError:
    """What the converter raised as one sentence; the guard's sentences as they are."""
    cause = failure
    while cause is not None and not isinstance(cause, guard.NotConvertible):
        cause = cause.__cause__ or cause.__context__
    return ValueError(str(cause) if cause is not None else explained(str(failure), model, calibrated))


def explained(trace: str, model: Any, calibrated: bool = False) -> str:
    """A converter's trace as a sentence: which layer, which operation, what to do."""
    operations = sorted(set(re.findall(r"'tf\.(\w+)' op|for op: '(\w+)'|Node number \d+ \((\w+)\)", trace)))
    names = [next(filter(None, found)) for found in operations]
    what = f" ({', '.join(names[:3])})" if names else ""
    if "TensorList" in trace:
        layers = guard.looping(model)
        return f"{guard.listed(layers, model)} cannot be converted{what}: {_loop_way_out(layers, calibrated)}"
    reason = next((way for mark, way in _WAYS_OUT.items() if mark in trace), None)
    if reason is None:
        lines = [line.strip() for line in trace.splitlines() if line.strip()]
        return f"the converter refuses the model{what}: {(lines or ['no reason given'])[0]:.300}"
    layers = _makers(model, {name.replace("_", "").lower() for name in names}) if model is not None else []
    return f"{guard.listed(layers, model)} cannot be converted{what}: {reason}"


def _loop_way_out(layers: list[Any], calibrated: bool) -> str:
    if calibrated:
        return f"its loop collects its outputs in a TensorList. {guard.way_out(layers)}"
    unrolled = "build the layer with unroll=True, or " if layers and all(map(guard.can_unroll, layers)) else "build "
    return (
        f"its loop collects its outputs in a TensorList, which needs a fixed batch: {unrolled}the model with "
        "tf_keras.Input(shape, batch_size=1)"
    )


def _makers(model: Any, operations: set[str]) -> list[Any]:
    import tensorflow as tf

    specs = [tf.TensorSpec(spec.shape, spec.dtype) for spec in checks.input_specs(model)]
    try:
        graph = tf.function(lambda *x: model(x[0] if len(x) == 1 else list(x))).get_concrete_function(*specs).graph
    except Exception:  # it only serves to make the sentence more precise
        return []
    parts = {
        part
        for operation in graph.get_operations()
        if operation.type.lower() in operations
        for part in operation.name.split("/")
    }
    return [layer for layer in checks.all_layers(model) if layer.name in parts and not getattr(layer, "layers", None)]


# ---------------------------------------------------------------- calibration and checks


def _named(samples: list[np.ndarray], model: Any) -> dict[str, dict[str, np.ndarray]]:
    return {"serving_default": dict(zip(checks.input_names(model), samples, strict=True))}


def _batch(model: Any) -> int:
    """Examples that the model takes at once: 1, or what its Input fixes."""
    return max([1, *(spec.shape[0] or 1 for spec in checks.input_specs(model) if spec.shape.rank)])


def _batches(samples: list[np.ndarray], model: Any) -> Iterator[Any]:
    """Calibration in the smallest batches; several inputs by name, because the converter may reorder them."""
    arrays, size = _named(samples, model)["serving_default"], _batch(model)
    for row in range(0, len(samples[0]), size):
        one = guard.batch_at(arrays, row, size)
        yield list(one.values()) if len(one) == 1 else one


def _calibrated(mode: str, calibration: Any) -> bool:
    """Whether the mode needs calibration; raises if it is there and not needed, or the other way round."""
    needed = mode in CALIBRATED
    if not needed and calibration is not None:
        raise ValueError(f"mode {mode!r} does not use calibration data; leave it out, or take mode 'int8'")
    if needed and calibration is None:
        raise ValueError(
            f"mode {mode!r} fixes the activations' ranges in advance, so it needs calibration=: "
            "some 100 to 500 inputs of the training set, prepared as in training"
        )
    return needed


def check_calibration(model: Any, mode: str, calibration: Any, input_range) -> list[np.ndarray] | None:
    """One array for each of a Keras model's inputs, of the right shape and type; None for modes without."""
    if not _calibrated(mode, calibration):
        return None
    arrays = checks.fitting_inputs(model, calibration)
    prepares = any(type(layer).__name__ in _PREPARES for layer in checks.all_layers(model))
    for x in arrays:
        _check_range(x, prepares, input_range)
    return arrays


#: Layers with which a model may take inputs of any size.
_PREPARES = ("Rescaling", "Normalization", "Embedding")


def _check_range(x: np.ndarray, prepares: bool, input_range) -> None:
    """Calibration on 0…255 for a model trained on 0…1 converts without a word and then predicts nonsense.

    prepares: the model rescales its input, or might.
    """
    ends = None if input_range is None else _pair(input_range)
    if x.dtype.kind != "f":
        return
    low, high = float(x.min()), float(x.max())
    if ends is not None:
        if low < ends[0] or high > ends[1]:
            raise ValueError(
                f"calibration lies in [{low:g}, {high:g}], outside input_range {input_range}; prepare it "
                "exactly as the inputs were prepared in training"
            )
    elif not prepares and _like_pixels(x, low, high):
        raise ValueError(
            f"calibration lies in [{low:g}, {high:g}], like raw pixels, and the model does not rescale its input. If "
            "it was trained on 0…1, pass x / 255; if really on such numbers, pass input_range=(0, 255)"
        )


def _pair(input_range: Any) -> tuple[float, float]:
    try:
        low, high = map(float, input_range)
    except (TypeError, ValueError):
        low, high = 0.0, 0.0
    if not low < high:
        raise ValueError(f"input_range is {input_range!r}; pass its two ends, the smaller first, such as (0, 1)")
    return low, high


def _like_pixels(x: np.ndarray, low: float, high: float) -> bool:
    """Pictures (n, height, width, channels) on 0…255, resized ones with fractions too; rows of whole numbers up to 255.

    A table of whole numbers is none: its columns are fewer than a picture's pixels, and it ends anywhere.
    """
    if low < 0 or high > 255:
        return False
    whole = np.array_equal(x, np.trunc(x))
    if x.ndim == 4 and x.shape[-1] in (1, 2, 3, 4):
        return high > (16 if whole else 128)
    return whole and high >= 250 and (x.ndim == 3 or x.ndim == 2) and x[0].size >= 256
