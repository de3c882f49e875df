"""What TensorFlow optimizes below the Toolkit: the graph (Grappler), compiled kernels (XLA), number formats.

None of it changes a weight.  The Toolkit makes another network; these make the same network run otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import tf_keras

import utils  # noqa: F401  (settles Keras 2 before TensorFlow is imported)
from utils import checks
from utils.optimize import keras_graph

#: Grappler's passes that matter for inference, as `tf.config.optimizer` calls them.
PASSES = {
    "remapping": "remapping",
    "constant folding": "constant_folding",
    "arithmetic": "arithmetic_optimization",
    "dependency": "dependency_optimization",
    "shape": "shape_optimization",
    "layout": "layout_optimizer",
    "loop": "loop_optimization",
    "function": "function_optimization",
}
_OFF = 2  # RewriterConfig.OFF


def executed_graph(
    model: tf_keras.Model, x: np.ndarray, *, grappler: bool = True, without: Sequence[str] = ()
) -> tuple[Counter, np.ndarray]:
    """The operations that TensorFlow really executes for one forward pass, after Grappler.

    The variables are frozen to constants, as for serving, so that passes may compute with them.  The
    graph is read from the session that ran it, not from what was asked for.

    model: a built tf_keras model with one input and one output.
    x: inputs, (batch, …), float32.
    grappler: False switches the graph optimizer off as a whole.
    without: names of single passes to switch off, keys of `PASSES`.
    Returns ({operation: how many}, the output).
    Raises KeyError: an unknown pass.  ValueError: the model has several inputs or outputs.
    """
    without = [without] if isinstance(without, str) else without
    unknown = [name for name in without if name not in PASSES]
    if unknown:
        raise KeyError(f"unknown pass {unknown[0]!r}; choose from {', '.join(PASSES)}")
    graph_def, source, target = _frozen(model, x)
    config = tf.compat.v1.ConfigProto()
    options = config.graph_options.rewrite_options
    options.disable_meta_optimizer = not grappler
    for name in without:
        setattr(options, PASSES[name], _OFF)
    with tf.Graph().as_default():
        tf.graph_util.import_graph_def(graph_def, name="")
        with tf.compat.v1.Session(config=config) as session:
            record = tf.compat.v1.RunMetadata()
            asked = tf.compat.v1.RunOptions(output_partition_graphs=True)
            y = session.run(target, {source: x}, options=asked, run_metadata=record)
    return Counter(node.op for part in record.partition_graphs for node in part.node), y


def _frozen(model: tf_keras.Model, x: np.ndarray):
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    checks.check_built(model)
    inputs = checks.input_specs(model)
    if len(inputs) != 1:
        raise ValueError(f"{model.name!r} has {len(inputs)} inputs; pass a model with one")
    shape = tf.TensorSpec(np.shape(x), inputs[0].dtype)
    frozen = convert_variables_to_constants_v2(forward(model).get_concrete_function(shape))
    if len(frozen.outputs) != 1:
        raise ValueError(f"{model.name!r} has {len(frozen.outputs)} outputs; pass a model with one")
    [given], [made] = frozen.inputs, frozen.outputs
    return frozen.graph.as_graph_def(), given.name, made.name


def forward(model: tf_keras.Model, *, compiled: bool = False) -> Callable:
    """The model's inference as a `tf.function`; `compiled` hands it to XLA (`jit_compile=True`)."""
    return tf.function(lambda x: model(x, training=False), jit_compile=compiled, autograph=False)


def with_policy(model: tf_keras.Model, policy: str = "mixed_bfloat16") -> tf_keras.Model:
    """A copy of `model` that computes under a Keras dtype policy; the weights are copied.

    Setting the global policy does not reach a model that exists: each layer's configuration names its own, and those of
    layers inside (of wrappers, of nested models) theirs.

    Raises ValueError: a policy that Keras does not know; a model without a graph of layers.
    """
    checks.check_built(model)
    if not isinstance(policy, str):
        raise ValueError(f"policy is {policy!r}; pass its name, such as 'mixed_bfloat16'")
    tf_keras.mixed_precision.Policy(policy)  # an unknown policy is refused here, with Keras' own words
    return keras_graph.with_dtype(model, policy)
