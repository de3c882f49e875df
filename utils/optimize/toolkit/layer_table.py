"""Which layer goes through which technique, and what becomes of it in the end: a table made by trying.

"Accepted" is not the answer: a pruned layer must have zeros, a clustered one few distinct values, and a quantized one
integer operators *in the file*.  Each cell of the table is such an observation, not copied from a list of supported
layers.  What is refused is tried again by the ways out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras

import utils  # noqa: F401  (settles Keras 2 before TensorFlow is imported)
from utils import checks, tflite_file
from utils.artifact import Artifact, ArtifactError
from utils.optimize.keras_3 import keras_2
from utils.optimize.keras_graph import example_input, flatten, nodes, unroll
from utils.optimize.toolkit.wrapping import shortened
from utils.quiet import quiet

#: What a cell of the table can say, and its mark in `as_table`.
MARKS = {"yes": "✔", "part": "◐ part", "no effect": "○ no effect", "nothing to do": "–", "refused": "✘ refused"}


# --------------------------------------------------------------------------- the techniques, each with its proof


#: What trying a technique on a model gives: a key of MARKS, and what was seen.
OutcomeSeen = tuple[str, str]

_SPARSITY = 0.5
_CLUSTERS = 4


def _matrices(model: tf_keras.Model) -> dict[str, np.ndarray]:
    """The trainable weights that pruning and clustering are about: two axes or more, no bias, no slope."""
    weights = {}
    for weight in model.trainable_weights:
        parts = weight.name.split(":")[0].split("/")
        if len(weight.shape) >= 2 and parts[-1] not in ("bias", "alpha"):
            name = parts[-1] if parts[-1] not in weights else "/".join(parts[-2:])
            while name in weights:  # strip_clustering leaves names without their layer
                name += "'"
            weights[name] = weight.numpy()
    return weights


def _share(done: Mapping[str, str], total: int) -> OutcomeSeen:
    """Outcome from the weights that a technique reached, {name: what was seen}, of `total`."""
    if total == 0:
        return "nothing to do", "no weight matrix"
    text = ", ".join(f"{name} {what}" for name, what in done.items())
    if not done:
        return "no effect", "no weight matrix changed"
    return ("yes" if len(done) == total else "part"), text + ("" if len(done) == total else f"; {len(done)} of {total}")


def _quantize_aware(model: tf_keras.Model) -> OutcomeSeen:
    return _wrapped_ranges(_quantized(model))


def _quantized(model: tf_keras.Model) -> tf_keras.Model:
    return tfmot.quantization.keras.quantize_model(model)


def _wrapped_ranges(quantized: tf_keras.Model) -> OutcomeSeen:
    names = {w.name.split("/")[-1].split(":")[0] for w in quantized.weights}
    ranges = sorted(n.removesuffix("_min") for n in names if n.endswith("_min") and not n.startswith("quantize_layer"))
    return "yes", "ranges: " + (", ".join(ranges) if ranges else "none")


def _int8_file_after_training_aware(model: tf_keras.Model) -> OutcomeSeen:
    return _integer_share(_convert(_quantized(model)))


def _int8_file_after_training(model: tf_keras.Model) -> OutcomeSeen:
    return _integer_share(_convert(model, calibrate=True, integers_only=True))


def _int8_file_by_quantizer(model: tf_keras.Model) -> OutcomeSeen:
    """LiteRT's own quantizer on the float file, with the examples as one batch."""
    from ai_edge_litert.interpreter import Interpreter
    from litert_quantizer import quantizer, recipe

    content = _converter(model, fixed_batch=False).convert()
    ((signature, found),) = Interpreter(model_content=content).get_signature_list().items()
    names = model.input_names if len(found["inputs"]) > 1 else found["inputs"]
    tool = quantizer.Quantizer(bytearray(content))
    tool.load_quantization_recipe(recipe.static_wi8_ai8())
    ranges = tool.calibrate({signature: [dict(zip(names, example_input(model, 16), strict=True))]})
    integers = bytes(tool.quantize(ranges).quantized_model)
    _try_to_run(integers)
    return _integer_share(integers)


def _convert(
    model: tf_keras.Model, *, calibrate: bool = False, integers_only: bool = False, fixed_batch: bool = False
) -> bytes:
    """A .tflite file with `Optimize.DEFAULT`, run once in a process of its own (a kernel may abort it)."""
    converter = _converter(model, fixed_batch)
    if calibrate:
        _refuse_loops(_converter(model, fixed_batch).convert())  # a converter of functions converts only once
        examples = example_input(model, 16)
        converter.representative_dataset = lambda: ([x[i : i + 1] for x in examples] for i in range(16))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if integers_only:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    content = converter.convert()
    _try_to_run(content)
    return content


def _converter(model: tf_keras.Model, fixed_batch: bool) -> tf.lite.TFLiteConverter:
    if not fixed_batch:
        return tf.lite.TFLiteConverter.from_keras_model(model)
    signature = [tf.TensorSpec((1, *x.shape[1:]), x.dtype) for x in example_input(model, 1)]
    call = tf.function(lambda *x: model(x[0] if len(x) == 1 else list(x)), autograph=False)
    return tf.lite.TFLiteConverter.from_concrete_functions([call.get_concrete_function(*signature)], model)


def _try_to_run(content: bytes) -> None:
    """Opening an artifact runs it in a child process."""
    try:
        Artifact(content, "tflite").runner  # noqa: B018
    except ArtifactError as error:
        raise RuntimeError(f"converted, but does not run: {error}") from error


def _refuse_loops(content: bytes) -> None:
    """TensorFlow 2.21 ends the whole process (segmentation fault) when it calibrates a file with a loop."""
    if any(operator.name == "WHILE" for operator in tflite_file.File(content).all_operators()):
        raise RuntimeError("the file has a WHILE loop, and calibrating one crashes TensorFlow")


def _integer_share(content: bytes) -> OutcomeSeen:
    """How much of a file's work is done in integers; conversions at the borders do not count as work."""
    operators = tflite_file.File(content).all_operators()
    work = [
        (o.name, o.outputs[0].dtype if o.outputs else "none")
        for o in operators
        if o.name not in ("QUANTIZE", "DEQUANTIZE")
    ]
    moved = {"RESHAPE", "SHAPE", "STRIDED_SLICE", "PACK", "TRANSPOSE", "EXPAND_DIMS"}  # move data, compute nothing
    computing = [(name, kind) for name, kind in work if name not in moved] or work
    floats = [name for name, kind in computing if kind == "float32"]
    if not computing:
        return "nothing to do", "no operator left in the file"
    if not floats:
        return "yes", "int8: " + _listed(name for name, _ in computing)
    if len(floats) == len(computing):
        return "no effect", "float32: " + _listed(floats)
    return "part", "still float32: " + _listed(floats)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"{n}×{c}" if c > 1 else n for n, c in Counter(names).items())


def _pruner(**settings) -> Callable[[tf_keras.Model], OutcomeSeen]:
    def prune(model: tf_keras.Model) -> OutcomeSeen:
        before = _matrices(model)
        schedule = tfmot.sparsity.keras.ConstantSparsity(_SPARSITY, 0, frequency=1)
        wrapped = tfmot.sparsity.keras.prune_low_magnitude(model, pruning_schedule=schedule, **settings)
        _one_step(wrapped, [tfmot.sparsity.keras.UpdatePruningStep()])
        after = _matrices(tfmot.sparsity.keras.strip_pruning(wrapped))
        zeros = {name: float(np.mean(w == 0)) for name, w in after.items()}
        return _share({n: f"{z:.0%} zeros" for n, z in zeros.items() if z >= 0.25}, len(before))

    return prune


def _cluster(model: tf_keras.Model) -> OutcomeSeen:
    total = len(_matrices(model))
    start = tfmot.clustering.keras.CentroidInitialization.LINEAR
    wrapped = tfmot.clustering.keras.cluster_weights(model, _CLUSTERS, start)  # takes `model` apart
    if wrapped is None:  # what it makes of a Keras 3 model, without a word
        raise TypeError("cluster_weights returned None")
    _one_step(wrapped, [])
    after = _matrices(tfmot.clustering.keras.strip_clustering(wrapped))
    values = {name: len(np.unique(w)) for name, w in after.items() if w.size > _CLUSTERS}
    return _share({n: f"{v} values" for n, v in values.items() if v <= _CLUSTERS}, total)


def _one_step(model: tf_keras.Model, callbacks: Sequence[tf_keras.callbacks.Callback]) -> None:
    """One training step with learning rate 0: masks are set, nothing is learned."""
    examples = example_input(model, 4)
    examples = examples[0] if len(examples) == 1 else examples
    target = tf.nest.map_structure(tf.zeros_like, model(examples))
    model.compile(tf_keras.optimizers.legacy.SGD(0.0), "mse", run_eagerly=True)  # one step: tracing costs more
    model.fit(examples, target, epochs=1, verbose=0, callbacks=list(callbacks))


#: The columns of the table: name → function(model) → (outcome, what was seen).  Refusal is an exception.
TECHNIQUES: dict[str, Callable[[tf_keras.Model], OutcomeSeen]] = {
    "QAT": _quantize_aware,
    "QAT int8 file": _int8_file_after_training_aware,
    "pruning": _pruner(),
    "2:4": _pruner(sparsity_m_by_n=(2, 4)),
    "1×4 blocks": _pruner(block_size=(1, 4)),
    "clustering": _cluster,
    "PTQ int8 file": _int8_file_after_training,
    "Quantizer int8 file": _int8_file_by_quantizer,
}


# --------------------------------------------------------------------------- ways out


def _with_config(model: tf_keras.Model) -> tf_keras.Model:
    """Quantize each layer with an explicit QuantizeConfig: its `kernel`s, its activation, its output."""
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_registry as registry,
    )

    def annotate(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        if isinstance(layer, tf_keras.layers.InputLayer):
            return layer
        has_kernel = isinstance(getattr(layer, "kernel", None), tf.Variable)
        has_activation = callable(getattr(layer, "activation", None))
        config = registry.Default8BitQuantizeConfig(
            ["kernel"] if has_kernel else [], ["activation"] if has_activation else [], not has_activation
        )
        return tfmot.quantization.keras.quantize_annotate_layer(layer, config)

    annotated = tf_keras.models.clone_model(model, clone_function=annotate)
    own = {type(layer).__name__: type(layer) for layer in model.layers}
    own["Default8BitQuantizeConfig"] = registry.Default8BitQuantizeConfig
    with tfmot.quantization.keras.quantize_scope(own):
        return tfmot.quantization.keras.quantize_apply(annotated)


def _as_prunable(model: tf_keras.Model) -> tf_keras.Model:
    """Every layer as a `PrunableLayer` that offers its weight matrices."""
    return _subclassed(
        model,
        tfmot.sparsity.keras.PrunableLayer,
        get_prunable_weights=lambda self: [w for w in self.trainable_weights if w.shape.rank >= 2],
    )


def _as_clusterable(model: tf_keras.Model) -> tf_keras.Model:
    """Every layer as a `ClusterableLayer` that offers its weight matrices by attribute name."""
    return _subclassed(
        model,
        tfmot.clustering.keras.ClusterableLayer,
        get_clusterable_weights=lambda self: [
            (name, w) for name, w in vars(self).items() if isinstance(w, tf.Variable) and w.shape.rank >= 2
        ],
    )


def _subclassed(model: tf_keras.Model, base: type, **methods) -> tf_keras.Model:
    def change(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        if isinstance(layer, tf_keras.layers.InputLayer) or not layer.trainable_weights:
            return layer.__class__.from_config(layer.get_config())
        own = type(layer)
        return type(own.__name__, (own, base), dict(methods)).from_config(layer.get_config())

    changed = tf_keras.models.clone_model(model, clone_function=change)
    changed.set_weights(model.get_weights())
    return changed


def _float_allowed(model: tf_keras.Model) -> OutcomeSeen:
    return _integer_share(_convert(model, calibrate=True))


def _fixed_batch(model: tf_keras.Model) -> OutcomeSeen:
    return _integer_share(_convert(model, calibrate=True, integers_only=True, fixed_batch=True))


def _on(prepare: Callable[[tf_keras.Model], tf_keras.Model], technique: str) -> Callable[[tf_keras.Model], OutcomeSeen]:
    return lambda model: TECHNIQUES[technique](prepare(model))


_WITHOUT_TRAINING = {
    "quantize after training": _int8_file_after_training,
    "quantize after training, batch of 1": _fixed_batch,
    "unroll, then quantize after training": _on(unroll, "PTQ int8 file"),
}
_FOR_TRAINING_AWARE = {
    "rebuild with Keras 2": _on(keras_2, "QAT int8 file"),
    "flatten the model": _on(flatten, "QAT int8 file"),
    "own QuantizeConfig": lambda model: _integer_share(_convert(_with_config(model))),
} | _WITHOUT_TRAINING

#: What to try, in this order, when a technique refuses a layer or passes it by.
_WAYS_OUT: dict[str, dict[str, Callable[[tf_keras.Model], OutcomeSeen]]] = {
    "QAT": _FOR_TRAINING_AWARE,
    "QAT int8 file": _FOR_TRAINING_AWARE,
    "pruning": {
        "rebuild with Keras 2": _on(keras_2, "pruning"),
        "flatten the model": _on(flatten, "pruning"),
        "subclass as PrunableLayer": _on(_as_prunable, "pruning"),
    },
    "2:4": {
        "rebuild with Keras 2": _on(keras_2, "2:4"),
        "flatten the model": _on(flatten, "2:4"),
        "subclass as PrunableLayer": _on(_as_prunable, "2:4"),
        "unstructured": TECHNIQUES["pruning"],
    },
    "1×4 blocks": {
        "rebuild with Keras 2": _on(keras_2, "1×4 blocks"),
        "flatten the model": _on(flatten, "1×4 blocks"),
        "subclass as PrunableLayer": _on(_as_prunable, "1×4 blocks"),
        "unstructured": TECHNIQUES["pruning"],
    },
    "clustering": {
        "rebuild with Keras 2": _on(keras_2, "clustering"),
        "flatten the model": _on(flatten, "clustering"),
        "subclass as ClusterableLayer": _on(_as_clusterable, "clustering"),
    },
    "PTQ int8 file": {
        "rebuild with Keras 2": _on(keras_2, "PTQ int8 file"),
        "fixed batch of 1": _fixed_batch,
        "unroll": _on(unroll, "PTQ int8 file"),
        "allow float operators": _float_allowed,
    },
    "Quantizer int8 file": {
        "rebuild with Keras 2": _on(keras_2, "Quantizer int8 file"),
        "unroll": _on(unroll, "Quantizer int8 file"),
    },
}

#: A refusal in the second column is the refusal of the first: what cannot be wrapped has no file.
_FOLLOWS = {"QAT int8 file": "QAT"}


# --------------------------------------------------------------------------- the table


@dataclass(frozen=True)
class Support:
    """One cell of the table of layers by technique."""

    layer: str
    technique: str
    outcome: str  #: a key of MARKS
    evidence: str  #: what was seen, or the refusal's own words, shortened
    way_out: str = ""  #: what worked instead, tried; "" when none was needed


def layer_support(
    candidates: tf_keras.Model | Mapping[str, Callable[[], tf_keras.Model]], techniques: Sequence[str] | None = None
) -> list[Support]:
    """Try techniques on layers and report what became of each.

    candidates: `{row name: function without arguments that returns a fresh model}`, or one built
        tf_keras model, of which each layer is then tried alone (see `layers_of`).
    techniques: keys of `TECHNIQUES`; all of them by default.
    Returns one `Support` for each candidate and technique, in that order.  A refusal, or a technique that
    leaves a weight as it was, is followed by the ways out, and `way_out` names the first that works.
    Raises KeyError: an unknown technique.
    Raises TypeError: `candidates` is neither a tf_keras model nor a mapping to functions.
    """
    techniques = [techniques] if isinstance(techniques, str) else techniques
    names = list(TECHNIQUES if techniques is None else techniques)
    unknown = [name for name in names if name not in TECHNIQUES]
    if unknown:
        raise KeyError(f"unknown technique {unknown[0]!r}; choose from {', '.join(TECHNIQUES)}")
    if isinstance(candidates, tf_keras.Model):
        candidates = layers_of(candidates)
    if not isinstance(candidates, Mapping) or not all(callable(build) for build in candidates.values()):
        raise TypeError(
            f"candidates is a {type(candidates).__name__}; pass a tf_keras model, or a mapping from names to "
            "functions that build one"
        )
    table: dict[tuple[str, str], Support] = {}
    for row, build in candidates.items():
        for name in names:
            first = table.get((row, _FOLLOWS.get(name, "")))
            same = first is not None and first.outcome == "refused"
            table[row, name] = replace(first, technique=name) if same else _try(row, build, name)
    return list(table.values())


def _try(row: str, build: Callable[[], tf_keras.Model], technique: str) -> Support:
    outcome, evidence = _attempt(TECHNIQUES[technique], build)
    if outcome not in ("refused", "no effect", "part"):
        return Support(row, technique, outcome, evidence)
    half_way = ""
    for label, way in _WAYS_OUT[technique].items():
        other, seen = _attempt(way, build)
        if other == "yes":
            return Support(row, technique, outcome, evidence, f"{label} → {seen}")
        if other == "part" and outcome != "part" and not half_way:
            half_way = f"{label} → {seen}"
    return Support(row, technique, outcome, evidence, half_way)


def as_table(cells: Iterable[Support]) -> list[dict[str, str]]:
    """The table for a reader: one row a layer, one column a technique, the outcome's mark in each cell."""
    rows: dict[str, dict[str, str]] = {}
    for cell in cells:
        rows.setdefault(cell.layer, {"layer": cell.layer})[cell.technique] = MARKS[cell.outcome]
    return list(rows.values())


def _attempt(technique: Callable[[tf_keras.Model], OutcomeSeen], build: Callable[[], tf_keras.Model]) -> OutcomeSeen:
    tf.random.set_seed(0)  # with deterministic kernels, random initial weights need a seed
    try:
        with quiet(tell_on_error=False):
            return technique(build())
    except Exception as error:  # the point is to learn what the Toolkit says, whatever class it raises
        return "refused", shortened(error)


def layers_of(model: tf_keras.Model) -> dict[str, Callable[[], tf_keras.Model]]:
    """One small model for each layer of `model`, to be tried alone: `{layer name: builder}`.

    Layers are rebuilt from their configuration with fresh weights and the input shapes that they have
    in `model`.  A BatchNormalization keeps the layer before it, because it is quantized only together
    with a convolution.
    """
    checks.check_built(model, graph=True)
    calls = {id(node.layer): node for node in reversed(nodes(model))}  # the first call of each
    layers = [layer for layer in model.layers if not isinstance(layer, tf_keras.layers.InputLayer)]
    return {layer.name: _alone(layer, calls[id(layer)]) for layer in layers}


def _alone(layer: tf_keras.layers.Layer, call: Any) -> Callable[[], tf_keras.Model]:
    """A builder of `layer` alone, called as in the model: with the same constants, and a new input for each tensor."""
    chain = [layer]
    if isinstance(layer, tf_keras.layers.BatchNormalization):
        before = call.parent_nodes[0]
        if not isinstance(before.layer, tf_keras.layers.InputLayer):
            chain.insert(0, before.layer)
            call = before

    def build() -> tf_keras.Model:
        inputs = {id(t): tf_keras.Input(t.shape[1:], dtype=t.dtype) for t in tf.nest.flatten(call.keras_inputs)}
        arguments, named = tf.nest.map_structure(
            lambda value: inputs.get(id(value), value), (call.call_args, call.call_kwargs)
        )
        first, *rest = [member.__class__.from_config(member.get_config()) for member in chain]
        x = first(*arguments, **named)
        for member in rest:
            x = member(x)
        return tf_keras.Model(list(inputs.values()), x)

    return build
