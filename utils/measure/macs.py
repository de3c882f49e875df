"""Multiply-accumulates of a tf_keras model, counted in the graph that it computes, layer by layer."""

from __future__ import annotations

import contextlib
import copy
import math
import numbers
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from utils import checks


@dataclass(frozen=True)
class LayerMacs:
    """Multiply-accumulates of one call of one layer, for one example."""

    name: str
    kind: str
    macs: int


class MacsError(ValueError):
    """Something in the model cannot be counted; the message names the layer."""


def count(model: Any, input_shape: Sequence[int] | None = None) -> int:
    """Multiply-accumulates of one example through a tf_keras model.

    Counted are matrix products and convolutions: a dense layer has inputs × outputs, a convolution output
    positions × kernel × input channels of a group × output channels.  Not counted, as is usual: additions of
    biases, activations, pooling, normalization, element-wise products.  Zeros of 'same' padding count as if they
    were multiplied; of a matrix that is stored sparse, what is stored counts.

    model: tf_keras model with built weights: Sequential, Functional, nested, or subclassed and called once.
    input_shape: one example's shape without the batch axis, for models with axes of unknown length.  A model that
        is made for one batch size only is counted for that, and the counts are divided by it.
    Raises TypeError: if `model` is not a tf_keras model.
    Raises MacsError: if a shape is unknown or does not fit, or an operation cannot be counted.
    """
    return sum(layer.macs for layer in by_layer(model, input_shape))


def by_layer(model: Any, input_shape: Sequence[int] | None = None) -> tuple[LayerMacs, ...]:
    """The terms of `macs` in the order of the calls; a layer that is called twice stands there twice."""
    import tensorflow as tf

    batch, specs = _input_specs(model, input_shape)
    recorder = _Recorder()
    with _graph().as_default(), recorder.listening():
        inputs = [tf.compat.v1.placeholder(dtype, shape) for shape, dtype in specs]
        try:
            model(_as_the_model_takes_it(model, inputs), training=False)
        except MacsError:
            raise recorder.error from None  # Keras wraps it into a long one of its own
    return tuple(replace(layer, macs=math.ceil(layer.macs / batch)) for layer in recorder.layers)


def _graph() -> Any:
    """An empty graph that, like the body of a tf.function, can use a model's variables."""
    from tensorflow.python.framework.func_graph import FuncGraph

    return FuncGraph("macs")


def _input_specs(model: Any, input_shape: Sequence[int] | None) -> tuple[int, list[tuple[tuple[int, ...], Any]]]:
    """The batch, 1 where the model leaves it open; with it the shape, and the type, of each input."""
    checks.check_keras(model)
    declared = checks.input_specs(model)
    if not declared and input_shape is None:
        raise MacsError(f"the inputs of {model.name!r} are unknown; call it once or pass input_shape=")
    if input_shape is not None and declared and len(declared) > 1:
        raise MacsError(f"{model.name!r} has {len(declared)} inputs; input_shape= serves models with one")
    batch = next((tensor.shape[0] for tensor in declared if tensor.shape[0] is not None), 1)
    if input_shape is not None:
        shape = _checked_shape(input_shape, tuple(declared[0].shape)[1:] if declared else None)
        return batch, [((batch, *shape), declared[0].dtype if declared else "float32")]
    for tensor in declared:
        if None in tuple(tensor.shape)[1:]:
            raise MacsError(f"input {tensor.name!r} has shape {tuple(tensor.shape)}; pass input_shape= with numbers")
    return batch, [((batch, *tuple(tensor.shape)[1:]), tensor.dtype) for tensor in declared]


def _checked_shape(input_shape: Any, declared: tuple[int | None, ...] | None) -> tuple[int, ...]:
    """`input_shape` as numbers, if it is a shape and fits what the model declares."""
    sizes = tuple(input_shape) if isinstance(input_shape, Iterable) and not isinstance(input_shape, str) else (None,)
    if not all(isinstance(size, numbers.Integral) and size > 0 for size in sizes):
        raise MacsError(
            f"input_shape is {input_shape!r}; pass the whole numbers above 0 of one example's shape, without the batch "
            "axis, such as (28, 28, 1)"
        )
    fits = declared is None or (
        len(sizes) == len(declared) and all(own in (None, size) for own, size in zip(declared, sizes, strict=True))
    )
    if not fits:
        raise MacsError(f"input_shape is {input_shape!r}; the model takes {declared}, without the batch axis")
    return tuple(map(int, sizes))


def _as_the_model_takes_it(model: Any, inputs: list[Any]) -> Any:
    """One tensor, or tensors in the structure (list or dict) in which the model was made."""
    import tensorflow as tf

    if model.inputs:
        return tf.nest.pack_sequence_as(model.input, inputs)
    saved = model.save_spec() if model.built else None
    return inputs[0] if saved is None else tf.nest.pack_sequence_as(saved[0][0], inputs)


class _Recorder:
    """Listens to every call of a layer and counts the operations that it adds to the graph.

    Counting the graph instead of knowing each layer's formula covers every layer made of known operations:
    attention, wrappers of the Toolkit, Lambda, a reader's own.  Recurrent layers are loops in the graph;
    they are one step of their cell times the steps.
    """

    def __init__(self) -> None:
        self.layers: list[LayerMacs] = []
        self._inside: list[set[int]] = []  # for each open call: which operations belong to the calls in it
        self._in_recurrent = False
        self.error: MacsError | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Put the ear at `tf_keras.layers.Layer.__call__`, through which every call of every layer goes."""
        import tf_keras

        original = tf_keras.layers.Layer.__call__

        def heard(layer: Any, *args: Any, **kwargs: Any) -> Any:
            return self._heard(original, layer, args, kwargs)

        tf_keras.layers.Layer.__call__ = heard
        try:
            yield
        finally:
            tf_keras.layers.Layer.__call__ = original

    def _heard(self, original: Callable[..., Any], layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        import tensorflow as tf

        if self._in_recurrent:
            return original(layer, *args, **kwargs)
        graph = tf.compat.v1.get_default_graph()
        start, place = len(graph.get_operations()), len(self.layers)
        recurrent = _is_recurrent(layer)
        self._inside.append(set())
        self._in_recurrent = recurrent
        try:
            outputs = original(layer, *args, **kwargs)
        finally:
            below = self._inside.pop()
            self._in_recurrent = False
        operations = graph.get_operations()
        try:
            if recurrent:
                own = self._recurrent(layer, args[0] if args else kwargs["inputs"])
            else:
                mine = (op for number, op in enumerate(operations[start:], start) if number not in below)
                own = sum(_operation_macs(op, layer.name) for op in mine)
        except MacsError as error:
            self.error = self.error or error
            raise
        if own:
            self.layers.insert(place, LayerMacs(layer.name, type(layer).__name__, own))
        if self._inside:
            self._inside[-1].update(range(start, len(operations)))
        return outputs

    def _recurrent(self, layer: Any, inputs: Any) -> int:
        self._in_recurrent = True  # the cells are layers too, and their step is counted as a whole
        try:
            return _recurrent_macs(layer, inputs)
        finally:
            self._in_recurrent = False


def _is_recurrent(layer: Any) -> bool:
    import tf_keras

    return isinstance(layer, (tf_keras.layers.RNN, tf_keras.layers.ConvLSTM1D, tf_keras.layers.ConvLSTM2D,
                              tf_keras.layers.ConvLSTM3D))  # fmt: skip


def _recurrent_macs(layer: Any, inputs: Any) -> int:
    """One step of the cell, counted in a graph of its own, times the number of steps."""
    import tensorflow as tf

    sequence = inputs[0] if isinstance(inputs, (list, tuple)) else inputs
    shape = tuple(sequence.shape)
    time = 0 if getattr(layer, "time_major", False) else 1
    if None in shape:
        raise MacsError(f"layer {layer.name!r} runs over shape {shape}; pass input_shape= with the number of steps")
    with _graph().as_default() as graph:
        whole = tf.compat.v1.placeholder(sequence.dtype, shape)
        step = tf.gather(whole, 0, axis=time)
        states = tf.nest.flatten(layer.get_initial_state(whole))
        start = len(graph.get_operations())  # making the first states is no part of a step
        layer.cell.call(step, states, **_not_training(layer.cell))
        return shape[time] * sum(_operation_macs(op, layer.name) for op in graph.get_operations()[start:])


def _not_training(cell: Any) -> dict[str, bool]:
    import inspect

    return {"training": False} if "training" in inspect.signature(cell.call).parameters else {}


#: Operations that multiply, or may, as often as their shapes do not tell: loops, Python, products of other kinds.
_UNCOUNTABLE = re.compile("While|Case|PyFunc|XlaDot|FFT|MatMul|Conv(?!ert)")


def _operation_macs(op: Any, layer: str) -> int:
    """Multiply-accumulates of one graph operation."""
    if op.type in _COUNTERS:
        return _COUNTERS[op.type](op, layer)
    if op.type in ("PartitionedCall", "StatefulPartitionedCall"):
        return _function_macs(op, "f", layer)
    if op.type in ("If", "StatelessIf"):
        return max(_function_macs(op, branch, layer) for branch in ("then_branch", "else_branch"))
    if _UNCOUNTABLE.search(op.type):
        raise MacsError(f"layer {layer!r} uses the operation {op.type}, whose multiply-accumulates cannot be counted")
    return 0


def _function_macs(op: Any, attribute: str, layer: str) -> int:
    """Of a function that the graph calls, with the shapes of this call: its own may be of any batch."""
    from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

    function = op.graph._get_function(op.get_attr(attribute).name)
    if function is None:  # left behind by an export of this model that failed half-way
        raise MacsError(f"layer {layer!r} calls a function that is gone; make the model anew, or load it")
    definition = copy.deepcopy(function.definition)
    for attributes in [*definition.arg_attr.values(), *definition.node_def]:
        attributes.attr.pop("_output_shapes", None)  # the function's own, which would win over this call's
    inputs = list(op.inputs)[1:] if op.type in ("If", "StatelessIf") else op.inputs  # the first is the condition
    with op.graph.as_default():
        body = function_def_to_graph(definition, input_shapes=[tensor.shape for tensor in inputs])
    return sum(_operation_macs(inner, layer) for inner in body.get_operations())


def _sizes(tensor: Any, layer: str) -> list[int]:
    if tensor.shape.rank is None or None in tuple(tensor.shape):
        raise MacsError(
            f"layer {layer!r} makes a tensor of shape {tensor.shape}: its size is unknown; pass input_shape= with "
            "numbers, or give the layer fixed shapes"
        )
    return list(tensor.shape)


def _outputs(op: Any, layer: str) -> int:
    """Output values of a convolution.

    A dilated one may be a plain one between SpaceToBatchND and BatchToSpaceND, which cuts off what was filled up.
    """
    tensor = op.outputs[0]
    following = tensor.consumers()
    if len(following) == 1 and following[0].type == "Squeeze":  # the one-dimensional kind
        following = following[0].outputs[0].consumers()
    if len(following) == 1 and following[0].type == "BatchToSpaceND":
        tensor = following[0].outputs[0]
    return math.prod(_sizes(tensor, layer))


def _conv(op: Any, layer: str) -> int:
    """Output values × weights of one output channel (spatial × input channels of a group)."""
    return _outputs(op, layer) * math.prod(_sizes(op.inputs[1], layer)[:-1])


def _depthwise(op: Any, layer: str) -> int:
    """Output values × kernel height × kernel width; the filter is (height, width, channels, multiplier)."""
    return _outputs(op, layer) * math.prod(_sizes(op.inputs[1], layer)[:2])


def _transposed_conv(op: Any, layer: str) -> int:
    """Input values × kernel × output channels: each input value is multiplied with the kernel once.

    The filter is (…, output channels, input channels), and the third input is what is convolved.  A dilated one may be
    a plain one behind SpaceToBatchND, which fills up.
    """
    tensor = op.inputs[2]
    if tensor.op.type == "SpaceToBatchND":
        tensor = tensor.op.inputs[0]
    return math.prod(_sizes(tensor, layer)) * math.prod(_sizes(op.inputs[1], layer)[:-1])


def _matmul(op: Any, layer: str) -> int:
    rows = _sizes(op.inputs[0], layer)
    attribute = "adj_x" if op.type.startswith("Batch") else "transpose_a"
    inner = rows[-2] if op.get_attr(attribute) else rows[-1]
    return math.prod(_sizes(op.outputs[0], layer)) * inner


def _sparse_matmul(op: Any, layer: str) -> int:
    """Stored values of the sparse matrix × columns of the other; inputs are indices, values, shape, and the other."""
    stored, other = _sizes(op.inputs[1], layer), _sizes(op.inputs[3], layer)
    return math.prod(stored) * other[0 if op.get_attr("adjoint_b") else 1]


def _einsum(op: Any, layer: str) -> int:
    """The product of the lengths of all labels; with one operand nothing is multiplied."""
    terms = op.get_attr("equation").decode().split("->")[0].split(",")
    if len(terms) == 1:
        return 0
    lengths: dict[str, int] = {}
    for term, tensor in zip(terms, op.inputs, strict=True):
        sizes = _sizes(tensor, layer)
        if "..." in term:
            head, tail = term.split("...")
            extra = len(sizes) - len(head) - len(tail)
            term = head + "".join(f"{number}" for number in range(extra)) + tail
        for label, size in zip(term, sizes, strict=True):
            lengths[label] = max(size, lengths.get(label, 1))
    return math.prod(lengths.values())


_COUNTERS: dict[str, Callable[[Any, str], int]] = {
    "Conv2D": _conv,
    "Conv3D": _conv,
    "Conv": _conv,
    "DepthwiseConv2dNative": _depthwise,
    "Conv2DBackpropInput": _transposed_conv,
    "Conv3DBackpropInputV2": _transposed_conv,
    "MatMul": _matmul,
    "SparseMatMul": _matmul,
    "SparseTensorDenseMatMul": _sparse_matmul,
    "BatchMatMul": _matmul,
    "BatchMatMulV2": _matmul,
    "BatchMatMulV3": _matmul,
    "Einsum": _einsum,
}
