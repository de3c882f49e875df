"""The interfaces beside LiteRT's Interpreter: its newer compiled model, and TensorFlow's older interpreter.

The Interpreter chooses kernels when it allocates its tensors; a delegate is something that it is given.  A
CompiledModel is made for accelerators from the start, and reads and writes buffers that an accelerator may own.
"""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Sequence

import numpy as np

from utils.artifact import ArtifactError
from utils.deploy.tflite.io_tensors import check_shape
from utils.deploy.tflite.session import Session, content_of, interpreter_errors, stderr_kept
from utils.deploy.tflite.verification import verify


def predict(source: bytes | str | os.PathLike[str], x: np.ndarray) -> np.ndarray:
    """Outputs of a file with one input and one output, by LiteRT's CompiledModel on the processor.

    source: bytes or path of a .tflite file.
    x: (n, …) of the file's own dtype; where the file's batch is fixed, n is that.

    Returns (n, …) in the file's own type.

    Raises ArtifactError: if the file cannot be run.
    Raises ValueError, TypeError: if it has several inputs or outputs, or x has another shape or dtype.
    """
    content = content_of(source)
    verdict = verify(content)
    if not verdict.ok:
        raise ArtifactError(f"this .tflite file cannot be run: {verdict.reason}")
    session = Session(content, "default", 1)
    _check_one_each(session.inputs, session.outputs)
    x = np.asarray(x)
    if x.dtype != session.inputs[0].dtype:
        raise TypeError(f"the file takes {session.inputs[0].dtype}, got {x.dtype}")
    check_shape(session.inputs[0], x)
    declared = session.inputs[0].shape[:1]
    if declared not in ((), (-1,), x.shape[:1]):
        raise ValueError(
            f"the file takes {declared[0]} examples at a time, got {len(x)}; TFLiteModel.run takes any batch"
        )
    expected = next(iter(session.invoke({session.inputs[0].name: x}).values()))
    # it announces every accelerator that it looks for, and warns of those that it does not find
    with stderr_kept(b"WARNING:", "└".encode()), interpreter_errors("the compiled model failed"):
        result = _run(content, x, expected.shape, expected.dtype, resize=-1 in session.inputs[0].shape)
        gc.collect()  # model and accelerators say goodbye here and not later
    return result


def _check_one_each(inputs: Sequence, outputs: Sequence) -> None:
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(f"the file has {len(inputs)} inputs and {len(outputs)} outputs, not one each")


def predict_by_tensorflow(source: bytes | str | os.PathLike[str], x: np.ndarray) -> tuple[np.ndarray, str]:
    """Outputs of a file with one input and one output, by TensorFlow's own `tf.lite.Interpreter`, and its warning.

    Arguments as for `predict`; only for files that this program has made.
    Returns the outputs and what the deprecated interpreter warns of, "" if it does not.
    Raises ArtifactError if it refuses the file, or if that has several inputs or outputs.
    """
    import tensorflow as tf

    content = content_of(source)
    with stderr_kept(), warnings.catch_warnings(record=True) as said, interpreter_errors("TensorFlow failed"):
        warnings.simplefilter("always")
        interpreter = tf.lite.Interpreter(model_content=content)
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        _check_one_each(inputs, outputs)
        [given], [wanted] = inputs, outputs
        interpreter.resize_tensor_input(given["index"], x.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], x)
        interpreter.invoke()
        result = interpreter.get_tensor(wanted["index"])
    return result, " ".join(" ".join(str(one.message).split()) for one in said)


def tensorflow_error(source: bytes | str | os.PathLike[str], x: np.ndarray) -> str:
    """Why TensorFlow's own interpreter does not run this file on x, as a sentence; "" if it does."""
    try:
        predict_by_tensorflow(source, x)
    except ArtifactError as error:
        return str(error)
    return ""


def _run(content: bytes, x: np.ndarray, shape: tuple[int, ...], dtype: np.dtype, resize: bool) -> np.ndarray:
    """In a function of its own, at whose end nothing holds the model any more."""
    from ai_edge_litert.compiled_model import CompiledModel

    model = CompiledModel.from_buffer(content)
    if resize:
        model.resize_input_tensor(0, x.shape)
    given, found = model.create_input_buffers(0), model.create_output_buffers(0)
    given[0].write(np.ascontiguousarray(x))
    model.run_by_index(0, given, found)
    return found[0].read(int(np.prod(shape)), dtype).reshape(shape)
