"""Functions to .tflite files, and what the converter sees on the way, in words.

`utils.optimize.quantization.converter.convert` turns a whole Keras model into a quantized file.  Here is what it
leaves out: several functions in one file, functions with state, operators of TensorFlow, and MLIR, the language
between the two.
"""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from utils.artifact import Artifact
from utils.deploy.tflite.session import content_of
from utils.quiet import quiet


class ConversionError(ValueError):
    """The converter cannot convert a function; the message says which operation and what to do."""


def convert_functions(
    functions: Mapping[str, tuple[Callable, Mapping[str, Any]]], owner: Any, *, select_tf_ops: bool = False
) -> Artifact:
    """Functions as the signatures of one .tflite file; variables that several of them use are stored once.

    functions: {signature: (function, {argument: tf.TensorSpec})}.  A function takes its arguments by name and
        returns a tensor or {name: tensor}.
    owner: a tf.Module or Keras model that has their variables.
    select_tf_ops: also allow TensorFlow's own operators, which need the Flex delegate to run.
    Raises ConversionError: if an operation has no counterpart in TensorFlow Lite.
    Raises ValueError: if there is no function.
    """
    import tensorflow as tf

    if not functions:
        raise ValueError("there is no function to convert; pass {signature: (function, {argument: tf.TensorSpec})}")
    tracked = tf.Module()
    if hasattr(owner, "get_weights"):  # its variables will do; saving a Keras model traces all its calls
        tracked.kept = list(owner.variables)
    else:
        tracked.kept = owner
    with errors_explained(), tempfile.TemporaryDirectory() as folder:
        concrete = {name: _traced(function, specs) for name, (function, specs) in functions.items()}
        tf.saved_model.save(tracked, folder, signatures=concrete)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(concrete))
        if select_tf_ops:
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
        return Artifact(converter.convert(), "tflite")


def streaming(cell: Any, features: int) -> Artifact:
    """One step of a recurrent cell as a .tflite file that keeps the state: `TFLiteModel(…).stream()` runs it.

    cell: a tf_keras cell, such as GRUCell, LSTMCell or StackedRNNCells.
    features: numbers in one step.
    Returns a file with the input `row` (1, features) and the output `output` (1, units).
    """
    import tensorflow as tf

    memory = tf.Module()
    memory.state = [tf.Variable(tf.zeros((1, size))) for size in tf.nest.flatten(cell.state_size)]

    def step(row: Any) -> dict[str, Any]:
        state = tf.nest.pack_sequence_as(cell.state_size, [variable.read_value() for variable in memory.state])
        output, new = cell(row, state)
        for variable, value in zip(memory.state, tf.nest.flatten(new), strict=True):
            variable.assign(value)
        return {"output": output}

    step(tf.zeros((1, features)))  # builds the cell, outside of the function that is traced
    for variable in memory.state:
        variable.assign(tf.zeros_like(variable))
    memory.weights = list(cell.weights)
    return convert_functions({"step": (step, {"row": tf.TensorSpec((1, features), tf.float32)})}, memory)


def _traced(function: Callable, specs: Mapping[str, Any]) -> Any:
    """A concrete function whose arguments have the names that the signature is to have."""
    import tensorflow as tf

    named = [tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in specs.items()]
    return tf.function(function).get_concrete_function(*named)


def mlir(source: Any) -> str:
    """A .tflite file as MLIR in the dialect `tfl`, by TensorFlow's Analyzer; large constants are left out."""
    import tensorflow as tf

    with quiet(), contextlib.redirect_stdout(io.StringIO()) as text:
        tf.lite.experimental.Analyzer.analyze(model_content=content_of(source), experimental_use_mlir=True)
    return text.getvalue()


def operations(text: str) -> dict[str, int]:
    """{name: times} of the operations of the dialects `tf` and `tfl` in a piece of MLIR, the most frequent first.

    Constants, and the marks of inputs that are left out, do not count: they are no work.
    """
    found = Counter(re.findall(r'"(tfl?\.\w+)"\(', text))
    return {name: count for name, count in found.most_common() if not re.search("const|no_value", name.lower())}


@contextlib.contextmanager
def errors_explained() -> Iterator[None]:
    """Nothing is printed, and the converter's pages of trace become one sentence."""
    found = None
    with quiet():
        try:
            yield
        except Exception as error:  # the converter's own class of errors is not public
            if type(error).__name__ != "ConverterError":
                raise
            found = error
    if found is not None:
        raise ConversionError(error_in_words(str(found)))


def error_in_words(trace: str) -> str:
    """The converter's error as a sentence that says which operation is in the way and what to do."""
    names = sorted(set(re.findall(r"'tf\.(\w+)' op", trace)))
    if any(name.startswith("TensorList") for name in names):
        return (
            "a recurrent layer's loop collects its outputs in a TensorList, which needs a fixed batch here: trace the "
            "model with a fixed batch (tf.TensorSpec([1, …])), or build the layer with unroll=True"
        )
    if "NEEDS_FLEX_OPS" in trace and names:
        return (
            f"TensorFlow Lite has no operator for {', '.join(names)}: compute it otherwise or outside of the model, or "
            "allow TensorFlow's own with select_tf_ops=True, which needs the Flex delegate where it runs"
        )
    if "NEEDS_CUSTOM_OPS" in trace and names:
        return f"neither TensorFlow Lite nor its Flex delegate has {', '.join(names)}: compute it otherwise"
    return (
        f"the converter refuses the function: {trace.strip().splitlines()[-1] if trace.strip() else 'no reason given'}"
    )
