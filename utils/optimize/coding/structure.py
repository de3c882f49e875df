"""A network without its weights, as a short text: described, and built again from that text alone.

    text = describe(model)           # [["Conv2D",{"filters":20,"kernel_size":5}],…] inside
    network = build(text, 1_000_000)

What Keras would choose by itself is left out; so is what only training needs (initializers, regularizers,
constraints, the optimizer).  Nothing in a text is ever executed: only the layers in `LAYERS` are made, from numbers,
words and lists.
"""

from __future__ import annotations

import inspect
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from math import prod
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

import utils  # noqa: F401  (settles Keras 2 before TensorFlow is imported)
from utils import checks
from utils.optimize.coding.range_coder import Damaged
from utils.optimize.keras_graph import nodes

#: The layers that a file may hold.  None of them can be given code.
LAYERS = tuple(
    """
    Dense EinsumDense Embedding Activation Masking Identity Conv1D Conv2D Conv3D Conv1DTranspose Conv2DTranspose
    Conv3DTranspose DepthwiseConv1D DepthwiseConv2D SeparableConv1D SeparableConv2D LocallyConnected1D
    LocallyConnected2D SimpleRNN GRU LSTM SimpleRNNCell GRUCell LSTMCell StackedRNNCells RNN ConvLSTM1D ConvLSTM2D
    ConvLSTM3D Bidirectional TimeDistributed BatchNormalization LayerNormalization GroupNormalization
    UnitNormalization Normalization Attention AdditiveAttention MultiHeadAttention ReLU LeakyReLU PReLU ELU
    ThresholdedReLU Softmax Add Average Concatenate Dot Maximum Minimum Multiply Subtract Dropout AlphaDropout
    GaussianDropout GaussianNoise SpatialDropout1D SpatialDropout2D SpatialDropout3D ActivityRegularization Flatten
    Reshape Permute RepeatVector Cropping1D Cropping2D Cropping3D UpSampling1D UpSampling2D UpSampling3D
    ZeroPadding1D ZeroPadding2D ZeroPadding3D MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D
    AveragePooling2D AveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D
    GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D Rescaling Resizing CenterCrop
    CategoryEncoding Discretization RandomFlip RandomRotation RandomZoom RandomTranslation RandomContrast
    RandomBrightness RandomCrop RandomHeight RandomWidth
    """.split()  # noqa: SIM905  (a hundred lines otherwise)
)
_MODELS = {"Sequential": tf_keras.Sequential, "Functional": tf_keras.Model}
_ONLY_TRAINING = ("_initializer", "_regularizer", "_constraint")
_OF_EACH_AXIS = (
    "kernel_size",
    "strides",
    "pool_size",
    "dilation_rate",
    "size",
    "padding",
    "cropping",
    "output_padding",
)
_LEFT_OUT = ("name", "batch_input_shape", "query_shape", "key_shape", "value_shape")
#: What a layer's configuration says although its `__init__` does not name it, and what it is if nothing is said.
_UNNAMED = {"time_major": False, "zero_output_for_mask": False, "implementation": 2}
_LOCAL = (tf_keras.layers.LocallyConnected1D, tf_keras.layers.LocallyConnected2D)
_MOST_CALLS = 20_000
_MOST_LAYERS, _DEEPEST, _LARGEST, _MOST_AXES, _LONGEST_NAME, _MOST_STEPS = 10_000, 16, 2**31 - 1, 8, 200, 1_000
_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")


# ---------------------------------------------------------------- model -> text


def describe(model: tf_keras.Model, names: bool = True) -> str:
    """The structure of a built Sequential or functional `model` as JSON; without `names`, layers get Keras' own.

    Raises TypeError: it is no tf_keras model.
    Raises ValueError: it is not built, has no graph of layers, or a layer that is not in `LAYERS`.
    """
    return described(model, names)[0]


def described(model: tf_keras.Model, names: bool = True) -> tuple[str, list[Any]]:
    """`describe`, and the layers in the order of the text, models among them."""
    checks.check_built(model, graph=True)
    _check_own(model)
    description = _Description(names)
    entry = description.layer(model, 0)
    text = json.dumps(entry, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text, [layer for layer in description.layers if layer is not None]


class _Description:
    """Each layer is described where it first stands, and called by its number from then on."""

    def __init__(self, names: bool) -> None:
        self._names = names
        self.layers: list[Any] = []  # by number; None for one that only a configuration tells of
        self._default = _Names()

    def layer(self, layer: Any, depth: int) -> Any:
        number = next((n for n, known in enumerate(self.layers) if known is layer), None)
        if number is not None:
            return number
        self.layers.append(layer)
        if _is_model(layer):
            return self._model(layer, depth)
        if type(layer) is not getattr(tf_keras.layers, type(layer).__name__, None):
            raise ValueError(_unsupported(type(layer).__name__, layer.name))
        return self._plain(layer, type(layer).__name__, layer.get_config(), layer.name, depth)

    def _plain(self, layer: Any, kind: str, config: dict, name: str, depth: int) -> list:
        if kind not in LAYERS:
            raise ValueError(_unsupported(kind, name))
        own = self._name(kind, name)
        settings = {}
        for key, value in config.items():
            if key in _LEFT_OUT or key.endswith(_ONLY_TRAINING):
                continue
            inner = layer.layer if key == "layer" and layer is not None else None
            value = _policy(value) if key == "dtype" else self._value(key, value, inner, name, depth + 1)
            if not _is_default(kind, key, value, config, layer):
                settings[key] = value
        settings |= own
        return [kind, settings] if settings else [kind]

    def _value(self, key: str, value: Any, inner: Any, name: str, depth: int) -> Any:
        if isinstance(value, dict) and "class_name" in value:
            if _is_model(inner):
                return {"@": self.layer(inner, depth)}
            config = value["config"]
            if not isinstance(config, dict):
                raise ValueError(
                    f"{key!r} of layer {name!r} is a function, {config!r:.60}; pass one that Keras has a name for"
                )
            self.layers.append(None)
            return {"@": self._plain(None, value["class_name"], config, config.get("name", ""), depth)}
        if isinstance(value, (list, tuple)) or type(value).__name__ == "ListWrapper":
            return _short(key, [self._value(key, part, None, name, depth) for part in value])
        value = value.tolist() if hasattr(value, "tolist") else value
        if not np.isfinite([part for part in tf.nest.flatten(value) if isinstance(part, float)]).all():
            raise ValueError(f"{key!r} of layer {name!r} is {value!r:.60}; a file can hold finite numbers")
        if isinstance(value, list) or value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise ValueError(
            f"{key!r} of layer {name!r} is a {type(value).__name__}; a file can hold numbers, words and lists"
        )

    def _name(self, kind: str, name: str) -> dict:
        default = self._default.next(kind)
        if not self._names or not name or name == default:
            return {}
        if not _is_name(name):
            raise ValueError(
                f"the name {name!r:.60} is none that Keras takes everywhere; rename it, or pass names=False"
            )
        return {"name": name}

    def _model(self, model: tf_keras.Model, depth: int) -> list:
        kind = "Sequential" if isinstance(model, tf_keras.Sequential) else "Functional"
        if type(model).__name__ not in ("Sequential", "Functional", "Model"):
            raise ValueError(_of_its_own(model))
        settings = self._name(kind, model.name) | ({} if model.trainable else {"trainable": False})
        inputs = [self._input(model, number) for number in range(len(model.inputs))]
        layers, calls, outputs = self._calls(model, depth)
        starts = {id(tensor): {"t": number} for number, tensor in enumerate(model.inputs)}
        structure = _plain(model._nested_inputs, starts, "an input")
        chain = [[[n, [{"t": n}], {"d": {}}] for n in range(len(layers))], {"t": 0}, {"t": len(layers)}]
        if [calls, structure, outputs] == chain:
            return [kind, settings, inputs, layers]
        return [kind, settings, inputs, layers, calls, structure, outputs]

    def _input(self, model: tf_keras.Model, number: int) -> list:
        tensor = model.inputs[number]
        more: dict[str, Any] = {} if tensor.dtype == tf.float32 else {"dtype": tensor.dtype.name}
        if tensor.shape[0] is not None:
            more["batch_size"] = tensor.shape[0]
        more |= self._name("Input", model.input_names[number])
        shape = list(tensor.shape[1:])
        return [*shape, more] if more else shape

    def _calls(self, model: tf_keras.Model, depth: int) -> tuple[list, list, Any]:
        """Layers, calls of them ([number of the layer, arguments, named arguments]), outputs; {"t": n} is a tensor."""
        layers: list[Any] = []
        places: dict[int, int] = {}
        calls: list[Any] = []
        tensors = {id(tensor): {"t": number} for number, tensor in enumerate(model.inputs)}
        count = len(model.inputs)
        for node in _nodes(model):
            if id(node.layer) not in places:
                places[id(node.layer)] = len(layers)
                layers.append(self.layer(node.layer, depth + 1))
            arguments, named = _arguments(node)
            where = f"an argument of layer {node.layer.name!r}"
            calls.append([places[id(node.layer)], *(_plain(part, tensors, where) for part in (list(arguments), named))])
            for tensor in tf.nest.flatten(node.outputs):
                tensors[id(tensor)] = {"t": count}
                count += 1
        return layers, calls, _plain(model._nested_outputs, tensors, "an output")


def _nodes(model: tf_keras.Model) -> Iterator[Any]:
    """The calls of a functional model's layers, in order of execution."""
    return (node for node in nodes(model) if not node.is_input)


def _arguments(node: Any) -> tuple[tuple, dict]:
    """What a layer was called with, symbolic tensors and all."""
    tensors = list(node.keras_inputs)
    return node.map_arguments({str(id(tensor)): [tensor] * len(tensors) for tensor in tensors})


def _plain(value: Any, tensors: dict[int, dict], where: str) -> Any:
    """Arguments and outputs with {"t": n} for each tensor."""
    if id(value) in tensors:
        return tensors[id(value)]
    if isinstance(value, dict):
        if strange := [key for key in value if not isinstance(key, str)]:
            raise ValueError(
                f"{where} stands under {strange[0]!r}; a file can hold words: pass {{{str(strange[0])!r}: …}}"
            )
        return {"d": {key: _plain(part, tensors, where) for key, part in value.items()}}
    if isinstance(value, (list, tuple)):
        return [_plain(part, tensors, where) for part in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(
        f"{where} is a {type(value).__name__}; a file can hold numbers and words: make it a layer's output"
    )


def _check_own(model: Any) -> None:
    """A file calls layers and functions by a word, and Keras decides what that stands for: a layer or an activation of
    one's own may be called the same."""
    for layer in checks.all_layers(model):
        if not checks.is_from(type(layer), "tf_keras"):
            raise ValueError(_of_its_own(layer) if _is_model(layer) else _unsupported(type(layer).__name__, layer.name))
        for key in ("activation", "recurrent_activation"):
            function = getattr(layer, key, None)  # a layer, such as LeakyReLU, is among all layers itself
            known = function is None or isinstance(function, tf_keras.layers.Layer)
            if not known and not checks.is_from(function, "tf_keras", "tensorflow"):
                raise ValueError(
                    f"{key!r} of layer {layer.name!r} is a function of your own, "
                    f"{getattr(function, '__name__', type(function).__name__)!r}; a compressed file can hold Keras' by "
                    "their names, for nothing in a file is executed: pass one of tf_keras.activations"
                )


def _of_its_own(model: Any) -> str:
    return (
        f"the model {model.name!r} is a {type(model).__name__}, a class of its own; pass a plain Sequential or "
        "functional model: tf_keras.Model(model.inputs, model.outputs)"
    )


def _short(key: str, values: list) -> Any:
    """Keras takes 5 for (5, 5) where a setting has a number for each axis of space."""
    same = len(values) in (2, 3) and all(type(value) is int and value == values[0] for value in values)
    return values[0] if same and key in _OF_EACH_AXIS else values


def _policy(value: Any) -> Any:
    """The name of a dtype policy."""
    return value["config"]["name"] if isinstance(value, dict) else value


def _is_model(layer: Any) -> bool:
    return bool(getattr(layer, "_nodes_by_depth", None))


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and len(name) <= _LONGEST_NAME and bool(_NAME.fullmatch(name))


def _unsupported(kind: str, name: str) -> str:
    how = {
        "Lambda": "write it with layers, such as Rescaling or Activation",
        "TFOpLambda": "it came from an operator on tensors: write x + y as tf_keras.layers.Add()([x, y])",
        "SlicingOpLambda": "it came from x[…]: write it with Cropping or Reshape layers",
    }.get(kind, "replace it by layers of tf_keras, or take it out of the model")
    return f"layer {name!r} is a {kind}, which a compressed file cannot hold, for nothing in a file is executed; {how}"


# ---------------------------------------------------------------- what Keras chooses by itself


def _layer_class(kind: str) -> type:
    return getattr(tf_keras.layers, kind)


@cache
def _defaults(kind: str) -> dict[str, Any]:
    """{argument: its default} of a layer's class, as JSON."""
    found = dict(_UNNAMED)
    for base in reversed(_layer_class(kind).__mro__[:-1]):
        for name, parameter in inspect.signature(base.__init__).parameters.items():
            if parameter.default is not inspect.Parameter.empty:
                default = parameter.default
                found[name] = _short(name, list(default)) if isinstance(default, tuple) else default
    return found | {"trainable": True, "dtype": "float32"}


def _is_default(kind: str, key: str, value: Any, config: dict, layer: Any) -> bool:
    """Would Keras choose the same if nothing were said?"""
    nothing = object()
    default = _defaults(kind).get(key, nothing)
    if value == default and type(value) is type(default):
        return True
    if default is None and key.endswith("activation"):
        return value == "linear"
    if default is None and key == "data_format":
        return value == "channels_last"  # which `build` says, whatever the reader's settings of Keras
    if default is None and key == "strides":
        return value == _short("pool_size", list(config["pool_size"])) if "pool_size" in config else False
    if default == -1 and key == "axis" and getattr(layer, "input_spec", None) is not None:
        return value == [layer.input_spec.ndim - 1]
    return False


class _Names:
    """The names that a layer gets if none is stored: conv2d, conv2d_1, …"""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def next(self, kind: str) -> str:
        word = re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z0-9]+)", r"\1_\2", kind)).lower()
        self._counts[word] += 1
        return word if self._counts[word] == 1 else f"{word}_{self._counts[word] - 1}"


# ---------------------------------------------------------------- text -> model


def build(text: str, most_parameters: int) -> tuple[tf_keras.Model, list[Any]]:
    """The network that a text describes, its weights zero; and its layers in the order of the text.

    Raises Damaged: the text describes no network of these layers.
    Raises ValueError: it has more than `most_parameters` weights.
    """
    try:
        description = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"its structure is no JSON ({str(error)[:80]})") from None
    with _counted_variables(most_parameters):
        try:
            building = _Building()
            model = building.made(description, 0)
        except (TooLarge, Damaged):
            raise
        except Exception as error:  # whatever Keras says to settings that do not fit together
            raise Damaged(f"its structure describes no network: {_first_line(error)}") from None
    if not isinstance(model, tf_keras.Model):
        raise Damaged("its structure is no model")
    return model, building.layers


class TooLarge(ValueError):
    """More weights than the reader allows."""


class _Building:
    def __init__(self) -> None:
        self.layers: list[Any] = []
        self._cost: dict[int, int] = {}  # of calling a model, in calls of layers
        self._calls = 0
        self._names = _Names()

    def made(self, entry: Any, depth: int) -> Any:
        """A layer or model."""
        if depth > _DEEPEST or len(self.layers) > _MOST_LAYERS:
            raise Damaged(f"its structure has more than {_MOST_LAYERS:,} layers, or {_DEEPEST} within each other")
        if type(entry) is int and 0 <= entry < len(self.layers) and self.layers[entry] is not None:
            return self.layers[entry]
        if not (isinstance(entry, list) and entry and isinstance(entry[0], str)):
            raise Damaged(f"its structure has {entry!r:.60} where a layer should stand")
        self.layers.append(None)
        number = len(self.layers) - 1
        self.layers[number] = self._model(entry, depth) if entry[0] in _MODELS else self._layer(entry, depth)
        return self.layers[number]

    def _layer(self, entry: list, depth: int) -> Any:
        kind, settings = entry[0], entry[1] if len(entry) == 2 else {}
        if kind not in LAYERS or len(entry) > 2 or not isinstance(settings, dict):
            raise Damaged(f"its structure has a layer {kind!r:.60}, which is none of those that a file may hold")
        name = self._named(kind, settings)
        values = {key: self._value(value, depth + 1) for key, value in settings.items() if key != "name"}
        _check_activations(values)
        values.setdefault("dtype", "float32")
        if _defaults(kind).get("data_format", "none") is None:
            values.setdefault("data_format", "channels_last")
        return _layer_class(kind)(**values, name=name)

    def _value(self, value: Any, depth: int) -> Any:
        if isinstance(value, dict) and set(value) == {"@"}:
            return self.made(value["@"], depth)
        if isinstance(value, list) and depth <= 2 * _DEEPEST:
            return [self._value(part, depth + 1) for part in value]
        if isinstance(value, (dict, list)):
            raise Damaged("its structure has settings that are no numbers, words or lists")
        if isinstance(value, (int, float)) and abs(value) > _LARGEST:
            raise Damaged(f"its structure has the number {value:g}, which no setting of a layer needs")
        return value

    def _named(self, kind: str, settings: dict) -> str:
        default = self._names.next(kind)
        name = settings.get("name", default)
        if not _is_name(name):
            raise Damaged(f"its structure has {name!r:.60} for a name")
        return name

    def _model(self, entry: list, depth: int) -> tf_keras.Model:
        kind, settings, inputs, layers, *graph = entry
        name = self._named(kind, settings)
        if len(graph) not in (0, 3) or not inputs or set(settings) - {"name", "trainable"}:
            raise Damaged(f"its structure has a {kind} that is no model")
        starts = [self._input(shape) for shape in inputs]
        parts = [self.made(layer, depth + 1) for layer in layers]
        before = self._calls
        if kind == "Sequential" and not graph:
            model = tf_keras.Sequential(starts, name=name)
            for part in parts:
                self._check_call(part, model.output)
                model.add(part)
        else:
            structure, outputs = self._run(starts, parts, graph)
            model = tf_keras.Model(structure, outputs, name=name)
        self._cost[id(model)] = self._calls - before
        if settings.get("trainable") is False:
            model.trainable = False
        return model

    def _input(self, shape: list) -> Any:
        *sizes, more = shape if shape and isinstance(shape[-1], dict) else [*shape, {}]
        sizes_right = all(size is None or (type(size) is int and 0 < size <= _LARGEST) for size in sizes)
        if not sizes_right or len(sizes) > _MOST_AXES or set(more) - {"dtype", "batch_size", "name"}:
            raise Damaged(f"its structure has an input of shape {sizes!r:.60}")
        return tf_keras.Input(sizes, **{"dtype": "float32", **more, "name": self._named("Input", more)})

    def _run(self, starts: list, parts: list, graph: list) -> tuple[Any, Any]:
        """Call the layers one after the other; returns the model's inputs and outputs."""
        tensors = list(starts)
        if not graph:
            graph = [[[n, [{"t": n}], {"d": {}}] for n in range(len(parts))], {"t": 0}, {"t": len(parts)}]
        calls, structure, outputs = graph
        for place, arguments, named in calls:
            arguments, named = (_with_tensors(part, tensors) for part in (arguments, named))
            self._check_call(parts[place], arguments)
            tensors += tf.nest.flatten(parts[place](*arguments, **named))
        return _with_tensors(structure, tensors), _with_tensors(outputs, tensors)

    def _check_call(self, layer: Any, arguments: Any) -> None:
        """Models within models, each called twice, would be a small text and endless work; and so would many steps."""
        models = [self._cost[id(part)] for part in checks.all_layers(layer) if id(part) in self._cost]
        if not models:  # what is inside of a model was checked when it was made
            _check_steps(layer, arguments)
        self._calls += max(models, default=_unrolled(layer, arguments))
        if self._calls > _MOST_CALLS:
            raise Damaged(f"its structure calls layers more than {_MOST_CALLS:,} times")


def _with_tensors(value: Any, tensors: list) -> Any:
    if isinstance(value, dict) and set(value) == {"t"} and type(value["t"]) is int and value["t"] >= 0:
        return tensors[value["t"]]
    if isinstance(value, dict) and set(value) == {"d"}:
        return {key: _with_tensors(part, tensors) for key, part in value["d"].items()}
    if isinstance(value, list):
        return [_with_tensors(part, tensors) for part in value]
    if isinstance(value, dict):
        raise Damaged("its structure has a call that is none")
    return value


def _check_activations(values: dict) -> None:
    """A word here could be the name of any function that somebody registered."""
    for key in ("activation", "recurrent_activation"):
        word = values.get(key)
        if isinstance(word, str) and not (word.isidentifier() and word in _activations()):
            raise Damaged(f"its structure has the activation {word!r:.60}, which Keras does not have")


@cache
def _activations() -> frozenset[str]:
    """Those of `tf_keras.activations`, and those of `tf.nn` that Keras knows by name."""
    listed = {n for n in dir(tf_keras.activations) if n.islower() and n not in ("deserialize", "get", "serialize")}
    return frozenset(listed | {"leaky_relu", "relu6", "silu"})


def _check_steps(layer: Any, arguments: Any) -> None:
    """Unrolling makes operations for each step, and a locally connected layer works out each place in Python: a small
    file could ask for any number of them."""
    parts = list(checks.all_layers(layer))
    shapes = [tensor.shape for tensor in tf.nest.flatten(arguments) if hasattr(tensor, "shape")]
    most = max((prod(n or 1 for n in shape[1:]) for shape in shapes), default=0)
    if most > _MOST_CALLS and any(isinstance(part, _LOCAL) for part in parts):
        raise Damaged(f"its structure has a locally connected layer of more than {_MOST_CALLS:,} inputs")
    if _unrolled(layer, arguments) > _MOST_STEPS:
        raise Damaged(f"its structure unrolls more than {_MOST_STEPS:,} steps")


def _unrolled(layer: Any, arguments: Any) -> int:
    """How often the operations of a layer are made: once a step, if it is a recurrent one that is unrolled."""
    parts = [part for part in checks.all_layers(layer) if getattr(part, "unroll", False)]
    if not parts:
        return 1
    axis = 0 if any(getattr(part, "time_major", False) for part in parts) else 1
    shapes = [tensor.shape for tensor in tf.nest.flatten(arguments) if hasattr(tensor, "shape")]
    return max((shape[axis] or 1 for shape in shapes if len(shape) > 1), default=1)


@contextmanager
def _counted_variables(most: int) -> Iterator[None]:
    """Variables begin as zeros, and the first that would be one weight too many raises before it is made."""
    count = 0

    def create(next_creator: Any, **arguments: Any) -> Any:
        nonlocal count
        start, shape = arguments["initial_value"], arguments.get("shape")
        if not callable(start):  # no weight: the state of a generator of random numbers
            return next_creator(**arguments)
        shape, dtype = tf.TensorShape(shape or ()), tf.as_dtype(arguments.get("dtype") or tf.float32)
        count += prod(shape)
        if count > most:
            raise TooLarge(
                f"the file asks for a model of more than {most:,} parameters; if you trust it, pass a larger "
                "max_parameters"
            )
        return next_creator(**{**arguments, "initial_value": lambda: tf.zeros(shape, dtype)})

    with tf.variable_creator_scope(create):
        yield


def _refuse_constant(word: str) -> float:
    raise ValueError(f"the number {word}")


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:160].rstrip(".") if text else type(error).__name__
