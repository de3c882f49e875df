"""TF Lite's converter with its options behind one word: a model in, an artifact out, mistakes answered in a sentence.

What becomes of weights, activations and arithmetic: `MODES`.  The numbers themselves: `quantization`.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

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


def convert(model: Any, mode: str = "int8", calibration: Any = None, *, per_channel: bool = True,
            input_range: tuple[float, float] | None = None) -> Artifact:
    """A tf_keras model as a .tflite file, quantized in one of the `MODES`.

    model: a built tf_keras model (Sequential, functional or subclassed), with fixed shapes but for the batch.
    calibration: inputs as in training, an array of (n, ...) or a list of one for each input; 100 to 500
        examples do.  Needed where activations are quantized, refused elsewhere, where it would be ignored.
    per_channel: False gives every weight tensor one scale, dense layers too.
    input_range: the range that the inputs had in training; calibration outside it is refused.  Without it,
        whole numbers up to 255 are refused for a model that does not rescale its input.
    Returns an Artifact of the format "tflite".  Nothing is printed.
    Raises ValueError or TypeError that says what was passed and what to pass.
    """
    from utils.artifact import Artifact

    _check_mode(mode)
    check_model(model)
    samples = check_calibration(model, mode, calibration, input_range)
    return Artifact(_run_converter(model, mode, samples, per_channel), "tflite")


def _run_converter(model: Any, mode: str, samples: list[np.ndarray] | None, per_channel: bool) -> bytes:
    import tensorflow as tf

    if samples is not None:
        converter = calibrated_converter(model, samples, per_channel, mode)
    else:
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if mode != "float32":
            _optimize(converter, per_channel)
    if mode == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if mode == "int8":
        converter.inference_input_type = converter.inference_output_type = tf.int8
    with quiet():
        return converter.convert()


def calibrated_converter(model: Any, samples: list[np.ndarray], per_channel: bool, mode: str = "int8") -> Any:
    """A converter that will quantize activations too; samples as `check_calibration` returns them."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    _optimize(converter, per_channel)
    converter.representative_dataset = lambda: _one_by_one(samples, model)
    ops = tf.lite.OpsSet
    converter.target_spec.supported_ops = [
        ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8 if mode == "int16x8"
        else ops.TFLITE_BUILTINS_INT8]
    return converter


def _optimize(converter: Any, per_channel: bool) -> None:
    import tensorflow as tf

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter._experimental_disable_per_channel = not per_channel
    converter._experimental_disable_per_channel_quantization_for_dense_layers = not per_channel


def _one_by_one(samples: list[np.ndarray], model: Any) -> Iterator[Any]:
    """Calibration in batches of one; several inputs by name, because the converter may reorder them."""
    for i in range(len(samples[0])):
        one = [x[i:i + 1] for x in samples]
        yield one if len(one) == 1 else dict(zip(model.input_names, one, strict=True))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the converter's remarks away: Python warnings, TensorFlow's logger, and what C++ writes to stderr.

    If the block raises, what was written is shown, because it may hold the reason.
    """
    import tensorflow as tf

    logger = tf.get_logger()
    level = logger.level
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as written, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel("ERROR")
        os.dup2(written.fileno(), 2)
        try:
            yield
        except BaseException:
            written.seek(0)
            os.write(saved, written.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            logger.setLevel(level)


def _check_mode(mode: str) -> None:
    if mode not in MODES:
        near = difflib.get_close_matches(str(mode), MODES, 1, cutoff=0)
        raise ValueError(f"no mode {mode!r}; did you mean {near[0]!r}? There are {', '.join(MODES)}")


def check_model(model: Any) -> None:
    import tf_keras

    if isinstance(model, tf_keras.Model):
        if not _inputs(model):
            raise ValueError(f"{type(model).__name__} {model.name!r} has no known input shape yet. Call it once on a "
                             "batch, or write it as a functional model with tf_keras.Input")
        return
    if any(base.__module__.partition(".")[0] == "keras" for base in type(model).__mro__):
        raise TypeError("this is a Keras 3 model; the converter's quantization and the Toolkit work on Keras 2. "
                        "Build it with tf_keras, or put `import utils` above `import tensorflow` and use tf.keras")
    raise TypeError(f"convert takes a tf_keras model; got {type(model).__name__}")


def _inputs(model: Any) -> list[Any]:
    """Shape and dtype of each input; a subclassed model knows them once it has been called."""
    if getattr(model, "inputs", None):
        return list(model.inputs)
    import tensorflow as tf

    called_with = model.save_spec()
    return [] if called_with is None else tf.nest.flatten(called_with[0])


def check_calibration(model: Any, mode: str, calibration: Any, input_range) -> list[np.ndarray] | None:
    needed = mode in ("int8", "int8_float_io", "int16x8")
    if not needed and calibration is not None:
        raise ValueError(f"mode {mode!r} does not use calibration data; leave it out, or take mode 'int8'")
    if not needed:
        return None
    if calibration is None:
        raise ValueError(f"mode {mode!r} fixes the activations' ranges in advance, so it needs calibration=: "
                         "some 100 to 500 inputs of the training set, prepared as in training")
    samples = list(calibration) if isinstance(calibration, (list, tuple)) else [calibration]
    inputs = _inputs(model)
    if len(samples) != len(inputs):
        raise ValueError(f"the model has {len(inputs)} inputs, calibration has {len(samples)}; "
                         "pass one array, or a list of one array for each input")
    samples = [_check_samples(x, wanted, model, input_range) for x, wanted in zip(samples, inputs, strict=True)]
    if len({len(x) for x in samples}) > 1:
        raise ValueError(f"the inputs' calibration arrays have {[len(x) for x in samples]} examples; "
                         "pass as many of each")
    return samples


def _check_samples(x: Any, wanted: Any, model: Any, input_range) -> np.ndarray:
    x = np.asarray(x)
    shape = tuple(wanted.shape[1:])
    if x.size == 0:
        raise ValueError(f"calibration is empty (shape {x.shape}); pass some 100 to 500 inputs of shape {shape}")
    if x.ndim != len(shape) + 1 or any(s not in (None, n) for n, s in zip(x.shape[1:], shape, strict=True)):
        raise ValueError(f"calibration has shape {x.shape}; the model takes (n, {', '.join(map(str, shape))})")
    if not np.all(np.isfinite(x)):
        raise ValueError("calibration holds NaN or infinity; the ranges would be meaningless")
    if wanted.dtype.is_floating:
        _check_range(x, model, input_range)
    return x.astype(wanted.dtype.as_numpy_dtype)


def _check_range(x: np.ndarray, model: Any, input_range) -> None:
    """Calibration on 0…255 for a model trained on 0…1 converts without a word and then predicts nonsense."""
    low, high = float(x.min()), float(x.max())
    if input_range is not None:
        if low < input_range[0] or high > input_range[1]:
            raise ValueError(f"calibration lies in [{low:g}, {high:g}], outside input_range {input_range}; prepare it "
                             "exactly as the inputs were prepared in training")
        return
    prepares = any(type(layer).__name__ in ("Rescaling", "Normalization", "Embedding") for layer in model.layers)
    if not prepares and x.ndim > 1 and low >= 0 and 16 < high <= 255 and np.array_equal(x, np.trunc(x)):
        raise ValueError(f"calibration is whole numbers in [{low:g}, {high:g}], like raw pixels, and the model does "
                         "not rescale its input. If it was trained on 0…1, pass x / 255; if really on 0…255, pass "
                         "input_range=(0, 255)")
