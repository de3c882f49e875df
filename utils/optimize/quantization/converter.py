"""TF Lite's converter with its options behind one word: a model in, an artifact out, mistakes answered in a sentence.

What becomes of weights, activations and arithmetic: `MODES`.  The numbers themselves: `quantization`.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.quiet import quiet

if TYPE_CHECKING:
    from utils.artifact import Artifact

#: What `convert` can make of a model, in one line each.
MODES = {
    "float32": "nothing is quantized: the reference for all others",
    "float16": "weights stored in 16-bit floats, computed in float32",
    "dynamic": "weights int8, activations quantized while running, inputs and outputs float32",
    "int8": "everything int8, inputs and outputs too; needs calibration",
    "int8_float_io": "everything int8 inside, inputs and outputs float32; needs calibration",
    "int16x8": "activations int16, weights int8, inputs and outputs float32; needs calibration",
}


def convert(
    model: Any,
    mode: str = "int8",
    calibration: Any = None,
    *,
    per_channel: bool = True,
    input_range: tuple[float, float] | None = None,
    signatures: list[str] | None = None,
) -> Artifact:
    """A tf_keras model or a SavedModel as a .tflite file, quantized in one of the `MODES`.

    model: a built tf_keras model (Sequential, functional, nested or subclassed), with fixed shapes but for the batch;
        or the path of a SavedModel's folder, from whatever made it (a Keras 3 model's `export` too).  A SavedModel is a
        program: convert only those that you trust.
    calibration: inputs as in training, an array of (n, ...), a list of one for each input, or {input: array}; 100 to
        500 examples do.  Needed where activations are quantized, refused elsewhere, where it would be ignored.
        For a SavedModel with several signatures `{signature: {input: array}}`.
    per_channel: False gives every weight tensor one scale, dense layers too.
    input_range: the range that the inputs had in training; calibration outside it is refused.  Without it,
        whole numbers up to 255 are refused for a Keras model that does not rescale its input.
    signatures: of a SavedModel; all of them by default.
    Returns an Artifact of the format "tflite".  Nothing is printed.  A few files convert and then end the process that
    runs them (LayerNormalization in int16x8): the artifact's first `predict` tries it in a child process and says so.
    Raises ValueError or TypeError that says what was passed and what to pass, and which layer cannot be converted.
    """
    from utils.artifact import Artifact

    _check_mode(mode)
    if isinstance(model, (str, os.PathLike)):
        return Artifact(_convert_folder(Path(model), mode, calibration, per_channel, input_range, signatures), "tflite")
    check_model(model)
    if signatures is not None:
        raise ValueError(f"signatures={signatures!r}: a Keras model has one; they are chosen of a SavedModel's folder")
    samples = check_calibration(model, mode, calibration, input_range)
    with _keras_converter(model) as converter:
        _configure(converter, mode, per_channel, samples and (lambda: _one_by_one(samples, model)))
        return Artifact(_run(converter, model), "tflite")


@contextlib.contextmanager
def calibrated_converter(model: Any, samples: list[np.ndarray], per_channel: bool) -> Iterator[Any]:
    """A converter to int8 inside, usable within the `with`; samples as `check_calibration` returns them."""
    with _keras_converter(model) as converter:
        _configure(converter, "int8_float_io", per_channel, lambda: _one_by_one(samples, model))
        yield converter


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
    from tf_keras.src.saving.legacy.saved_model import save_impl  # model.export calls the outputs output_0, output_1, …

    holder = tf.Module()
    holder.tables = [
        part
        for part in tf.train.TrackableView(model).descendants()
        if isinstance(part, tf.saved_model.experimental.TrackableResource)
    ]
    failure = None
    with quiet():
        try:
            inference = save_impl.default_save_signature(model)
            holder.used = list(inference.variables)
            tf.saved_model.save(holder, folder, inference)
            return
        except Exception as error:  # whatever the model's own code raises
            failure = error
    said = re.findall(r"^ *(\w+: .+)", str(failure), re.MULTILINE) or [repr(failure)]  # Keras wraps it in a trace
    raise ValueError(
        f"{type(model).__name__} {model.name!r} cannot be computed in inference: {said[-1]:.300}"
    ) from failure


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


def _run(converter: Any, model: Any = None) -> bytes:
    """Convert, and say in one sentence what is in the way.

    What the converter and its C++ say is kept until its error is understood, else it would bury the sentence.
    """
    failure = None
    with quiet():
        try:
            return converter.convert()
        except Exception as error:  # ConverterError is not public; the quantizer raises RuntimeError
            failure = error
    raise ValueError(explained(str(failure), model)) from failure


# ---------------------------------------------------------------- SavedModel


def _convert_folder(folder: Path, mode: str, calibration: Any, per_channel: bool, input_range, wanted) -> bytes:
    import tensorflow as tf

    _check_folder(folder)
    with quiet():
        loaded = tf.saved_model.load(str(folder))
        specs = {
            name: dict(sorted(function.structured_input_signature[1].items()))
            for name, function in loaded.signatures.items()
        }
    if specs.keys() == {"serve", "serving_default"} and wanted is None:
        del specs["serve"]  # Keras' export writes the same function under both names
    chosen = _check_signatures(folder, specs, wanted)
    samples = _signature_samples({name: specs[name] for name in chosen}, mode, calibration, input_range)
    with quiet():
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=chosen)
    _configure(converter, mode, per_channel, samples and (lambda: _by_signature(samples)))
    return _run(converter)


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
    chosen = [wanted] if isinstance(wanted, str) else list(specs) if wanted is None else list(wanted)
    unknown = [name for name in chosen if name not in specs]
    if unknown or not chosen:
        raise ValueError(f"signatures={wanted!r}: the SavedModel {folder.name!r} has {', '.join(map(repr, specs))}")
    return chosen


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
    return _as_many({name: _check_samples(given[name], spec, True, input_range) for name, spec in ports.items()})


def _by_signature(samples: dict[str, dict[str, np.ndarray]]) -> Iterator[Any]:
    """Calibration in batches of one, each with the name of its signature."""
    for signature, arrays in samples.items():
        for i in range(len(next(iter(arrays.values())))):
            yield signature, {name: x[i : i + 1] for name, x in arrays.items()}


# ---------------------------------------------------------------- what is in the way

#: Names of operations in the converter's traces, and what to do about them; tried in this order.
_WAYS_OUT = {
    "TensorList": "its loop collects its outputs in a TensorList, which needs a fixed batch: build the layer with "
    "unroll=True, or the model with tf_keras.Input(shape, batch_size=1)",
    "NEEDS_FLEX_OPS": "TensorFlow Lite has no operator for it: write it with other operations, leave it out of the "
    "model that is shipped, or compute it before or behind the model",
    "NEEDS_CUSTOM_OPS": "neither TensorFlow Lite nor TensorFlow's kernels for it have this operation: leave it out of "
    "the model that is shipped, or compute it before or behind the model",
    "not yet supported for op": "there are no such integer kernels for it: take mode 'int8', 'dynamic' or "
    "'float16', or keep that layer in float (layer_errors.selective)",
}


def explained(trace: str, model: Any) -> str:
    """A converter's trace as a sentence: which layer, which operation, what to do."""
    operations = sorted(set(re.findall(r"'tf\.(\w+)' op|for op: '(\w+)'", trace)))
    names = [one or other for one, other in operations]
    reason = next((way for mark, way in _WAYS_OUT.items() if mark in trace), None)
    what = f" ({', '.join(names[:3])})" if names else ""
    if reason is None:
        lines = [line.strip() for line in trace.splitlines() if line.strip()]
        return f"the converter refuses the model{what}: {(lines or ['no reason given'])[0]:.300}"
    return f"{_blamed(names, model)} cannot be converted{what}: {reason}"


def _blamed(operations: list[str], model: Any) -> str:
    """The layers in which these operations are; the trace does not name them, the model's graph does."""
    if model is None:
        return "the SavedModel"
    loops = any(name.startswith("TensorList") for name in operations)  # they are hidden in a recurrent layer's function
    found = (
        [layer for layer in _all_layers(model) if hasattr(layer, "return_sequences")]
        if loops
        else _makers(model, {name.replace("_", "").lower() for name in operations})
    )
    if not found:
        return f"{type(model).__name__} {model.name!r}"
    return "layer " + ", ".join(f"{layer.name!r} ({type(layer).__name__})" for layer in found[:3])


def _makers(model: Any, operations: set[str]) -> list[Any]:
    import tensorflow as tf

    specs = [tf.TensorSpec(spec.shape, spec.dtype) for spec in _inputs(model)]
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
    return [layer for layer in _all_layers(model) if layer.name in parts and not getattr(layer, "layers", None)]


def _all_layers(model: Any) -> Iterator[Any]:
    """The layers, those of models inside the model too."""
    for layer in getattr(model, "layers", []):
        yield layer
        yield from _all_layers(layer)


# ---------------------------------------------------------------- calibration and checks


def _one_by_one(samples: list[np.ndarray], model: Any) -> Iterator[Any]:
    """Calibration in batches of one; several inputs by name, because the converter may reorder them."""
    for i in range(len(samples[0])):
        one = [x[i : i + 1] for x in samples]
        yield one if len(one) == 1 else dict(zip(input_names(model), one, strict=True))


def _check_mode(mode: str) -> None:
    if mode not in MODES:
        near = difflib.get_close_matches(str(mode), MODES, 1, cutoff=0)
        raise ValueError(f"no mode {mode!r}; did you mean {near[0]!r}? There are {', '.join(MODES)}")


def check_model(model: Any) -> None:
    import tf_keras

    if isinstance(model, tf_keras.Model):
        if not _inputs(model):
            raise ValueError(
                f"{type(model).__name__} {model.name!r} has no known input shape yet. Call it once on a "
                "batch, or write it as a functional model with tf_keras.Input"
            )
        return
    if any(base.__module__.partition(".")[0] == "keras" for base in type(model).__mro__):
        raise TypeError(
            "this is a Keras 3 model; the converter's quantization and the Toolkit work on Keras 2. "
            "Build it with tf_keras, or put `import utils` above `import tensorflow` and use tf.keras; "
            "or model.export(folder) and convert the folder"
        )
    raise TypeError(f"convert takes a tf_keras model; got {type(model).__name__}")


def _inputs(model: Any) -> list[Any]:
    """Shape and dtype of each input; a subclassed model knows them once it has been called."""
    if getattr(model, "inputs", None):
        return list(model.inputs)
    import tensorflow as tf

    called_with = model.save_spec()
    return [] if called_with is None else tf.nest.flatten(called_with[0])


def input_names(model: Any) -> list[str]:
    """The names that the converted file's inputs have, in the order of the model's inputs."""
    return list(getattr(model, "input_names", None) or [spec.name for spec in _inputs(model)])


def _calibrated(mode: str, calibration: Any) -> bool:
    """Whether the mode needs calibration; raises if it is there and not needed, or the other way round."""
    needed = mode in ("int8", "int8_float_io", "int16x8")
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
    inputs, names = _inputs(model), input_names(model)
    if isinstance(calibration, dict):
        if set(calibration) != set(names):
            raise ValueError(
                f"the model has the inputs {', '.join(map(repr, names))}; calibration has "
                f"{', '.join(map(repr, calibration)) or 'none'}"
            )
        calibration = [calibration[name] for name in names]
    samples = list(calibration) if isinstance(calibration, (list, tuple)) else [calibration]
    if len(samples) != len(inputs):
        raise ValueError(
            f"the model has {len(inputs)} inputs, calibration has {len(samples)}; "
            "pass one array, or a list of one array for each input"
        )
    prepares = any(type(layer).__name__ in ("Rescaling", "Normalization", "Embedding") for layer in _all_layers(model))
    checked = [_check_samples(x, spec, prepares, input_range) for x, spec in zip(samples, inputs, strict=True)]
    return list(_as_many(dict(enumerate(checked))).values())


def _as_many(arrays: dict) -> dict:
    if len({len(x) for x in arrays.values()}) > 1:
        raise ValueError(
            f"the inputs' calibration arrays have {[len(x) for x in arrays.values()]} examples; pass as many of each"
        )
    return arrays


def _check_samples(x: Any, wanted: Any, prepares: bool, input_range) -> np.ndarray:
    x = np.asarray(x)
    shape = tuple(wanted.shape[1:]) if wanted.shape.rank else x.shape[1:]
    if x.dtype.kind not in "fiub":
        raise ValueError(f"calibration is of type {x.dtype}; pass numbers of shape (n, {_listed(shape)})")
    if x.size == 0:
        raise ValueError(f"calibration is empty (shape {x.shape}); pass some 100 to 500 inputs of shape {shape}")
    if x.ndim != len(shape) + 1 or any(s not in (None, n) for n, s in zip(x.shape[1:], shape, strict=True)):
        raise ValueError(f"calibration has shape {x.shape}; the model takes (n, {_listed(shape)})")
    if not np.all(np.isfinite(x)):
        raise ValueError("calibration holds NaN or infinity; the ranges would be meaningless")
    if wanted.dtype.is_floating:
        _check_range(x, prepares, input_range)
    elif x.dtype.kind == "f" and not np.array_equal(x, np.trunc(x)):
        raise ValueError(f"calibration holds fractions; the model takes whole numbers ({wanted.dtype.name})")
    return x.astype(wanted.dtype.as_numpy_dtype)


def _listed(shape: tuple) -> str:
    return ", ".join("any" if size is None else str(size) for size in shape)


def _check_range(x: np.ndarray, prepares: bool, input_range) -> None:
    """Calibration on 0…255 for a model trained on 0…1 converts without a word and then predicts nonsense.

    prepares: the model rescales its input, or might.
    """
    low, high = float(x.min()), float(x.max())
    if input_range is not None:
        if low < input_range[0] or high > input_range[1]:
            raise ValueError(
                f"calibration lies in [{low:g}, {high:g}], outside input_range {input_range}; prepare it "
                "exactly as the inputs were prepared in training"
            )
        return
    if not prepares and x.ndim > 1 and low >= 0 and 16 < high <= 255 and np.array_equal(x, np.trunc(x)):
        raise ValueError(
            f"calibration is whole numbers in [{low:g}, {high:g}], like raw pixels, and the model does "
            "not rescale its input. If it was trained on 0…1, pass x / 255; if really on 0…255, pass "
            "input_range=(0, 255)"
        )
