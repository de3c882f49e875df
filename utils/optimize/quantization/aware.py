"""Quantization-aware training: the rounding of the integer model takes part in training.

    q = quantize_aware(model, bits=8, calibration=x)   # a copy with fake quantization, ranges measured on x
    recovery.recover(q, (x, y), epochs=2)              # train it: the weights move to where rounding hurts less
    file = aware_file.to_tflite(q)                     # the integers that training has seen

Without `recover`, `quantize_aware(..., calibration=x)` *is* post-training quantization with the same quantizers,
so both sides of a comparison have the same granularity.  Its parts: `fake` has the operator by hand, `aware_layers` why
a layer stays float, `aware_ranges` the ranges, `recovery` the training, `aware_file` the file.
"""

from __future__ import annotations

import difflib
import itertools
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras.experimental.default_n_bit import (
    default_n_bit_quantize_registry as registry_n,
)
from tensorflow_model_optimization.python.core.quantization.keras.experimental.default_n_bit import (
    default_n_bit_quantize_scheme as scheme_n,
)

from utils import checks, files
from utils.optimize.keras_graph import rebuild
from utils.optimize.quantization.aware_file import float_layers, to_tflite
from utils.optimize.quantization.aware_layers import LeftFloat, float_in_file, left_float, refused_at_sight
from utils.optimize.quantization.aware_quantizers import CLASSES
from utils.optimize.quantization.aware_ranges import calibrate, check_clip, is_quantized
from utils.optimize.quantization.fake import check_bits
from utils.quiet import quiet

__all__ = ["layer_config", "load", "quantize_aware", "refused_layers", "save"]

_keras = tfmot.quantization.keras
#: So far, in parts of their range, may outputs of a file lie from those of its model: some steps of 8 bits.
_FEW = 0.05


def quantize_aware(
    model: tf_keras.Model,
    bits: int | tuple[int, int] = 8,
    only: str | Iterable[str] | Callable[[tf_keras.layers.Layer], bool] | None = None,
    *,
    per_channel: bool | None = None,
    refused: str = "warn",
    configs: Mapping[str, object] | None = None,
    calibration: np.ndarray | Sequence[np.ndarray] | None = None,
    clip: str = "minmax",
) -> tf_keras.Model:
    """A copy of `model` with the same weights and fake quantization in each layer; `model` stays as it is.

    With 8-bit activations a file is made to try: a layer that the Toolkit accepts and the converter leaves in float
    counts as refused, so what trains as integers is stored as integers.  (`aware_file.float_layers` lists what is float
    in a file.)  Fewer bits, and a `per_channel` of one's own, are a simulation: nothing is tried.

    model: a built float32 Sequential or functional tf_keras model, without models inside it.
    bits: 2 to 8, for weights and activations alike, or (bits of weights, bits of activations).  Only 8-bit
        activations can be converted; fewer are a simulation (see `to_tflite`).
    only: which layers: None for all that the Toolkit supports, a name, several names, or a function of the layer.
        These are trained with rounding even if the file keeps them float, as a layer whose input has no range is.
    per_channel: None as the Toolkit does it: convolutions have one scale for each output channel, dense layers
        one in all; True gives dense layers one for each unit; False one for each weight array.  `to_tflite`
        refuses what the converter cannot carry over: True with dense layers, False with batch normalization.
    refused: what to do when a wanted layer is refused: "warn" leaves it float and says so in a warning,
        "float" leaves it float, "raise" raises.  `refused_layers` lists them beforehand.  What comes out of a
        refused layer gets a range where that is possible, so that the layer behind it can be an integer one.
    configs: {layer name: QuantizeConfig} for layers that get their own; they are quantized even if not in `only`,
        and even if the file keeps them float.
    calibration, clip: inputs on which the ranges are measured, and how (see `aware_ranges.calibrate`).  Without
        them the ranges start as the Toolkit's do, inputs at [0, 0], and the model is useless until it is trained.
    Raises TypeError: no tf_keras model (a Keras 3 model, for example).
    Raises ValueError: bad bits; a model that is nested, subclassed, already quantized, not in float32, not finite or
        has layers for text or tables; unknown layer; nothing to quantize; a refused layer with refused="raise".
    """
    weights, activations = _check_pair(bits)
    _check_model(model)
    if not (per_channel is None or isinstance(per_channel, bool)):
        raise ValueError(f"per_channel is {per_channel!r}; pass None, True or False")
    check_clip(clip)
    if refused not in ("warn", "float", "raise"):
        raise ValueError(f"refused is {refused!r}; pass 'warn', 'float' or 'raise'")
    configs = _check_configs(model, configs)
    if calibration is not None:
        calibration = checks.fitting_inputs(model, calibration)
    chosen = _chosen(model, only) | set(configs)
    scheme = _Scheme(weights, activations, per_channel)
    made, refusals = _apply(model, chosen, configs, scheme, kept=set(configs) if only is None else chosen)
    if refusals and refused == "raise":
        raise ValueError("not quantized: " + "; ".join(map(str, refusals.values())))
    if made is None:
        reason = "; ".join(map(str, refusals.values())) or "no layer was chosen"
        raise ValueError(f"nothing in the model {model.name!r} would be quantized: {reason}")
    if calibration is not None:
        calibrate(made, calibration, clip=clip)
    _keep_frozen(made)
    if refused == "warn":
        said = "float in training or in the file: " + "; ".join(map(str, refusals.values())) if refusals else ""
        said += _joined(made, calibration) if scheme.convertible else ""
        if said:
            warnings.warn(said.lstrip(), stacklevel=2)
    return made


def _joined(made, calibration) -> str:
    """What to know of each `tf.concat` in a model, which no range can be given; with the figure if there are data."""
    names = [layer.name for layer in made.layers if getattr(layer, "symbol", "") in ("concat", "concat_v2")]
    if not names:
        return ""
    differs = "may differ from the trained model"
    if calibration is not None and len(made.inputs) == len(made.outputs) == 1:
        x = calibration[0][:64]
        ours, theirs = made(x, training=False).numpy(), to_tflite(made).predict(x)
        off = float(np.abs(ours - theirs).max() / max(np.ptp(ours), np.finfo(np.float32).tiny))
        if off < _FEW:
            return ""
        differs = f"differs from the trained model by up to {100 * off:.0f} % of the outputs' range ({len(x)} examples)"
    return (
        f" Behind {', '.join(map(repr, names))} the file {differs}: the converter gives all parts of tf.concat the "
        "range of one, and cuts the others off. Use tf_keras.layers.Concatenate, which gets a range"
    )


def refused_layers(model: tf_keras.Model, bits: int | tuple[int, int] = 8) -> dict[str, LeftFloat]:
    """{name: LeftFloat} of the layers of `model` that `quantize_aware` leaves float, found by letting it try.

    bits: as in `quantize_aware`.  The Toolkit's n-bit scheme is asked, which at 8 bits equals the default one but for
    Activation("gelu"); with 8-bit activations the converter too.
    """
    pair = _check_pair(bits)
    _check_model(model)
    return _apply(model, _chosen(model, None), {}, _Scheme(*pair, None), set())[1]


def layer_config(
    weights: Sequence[str] = (),
    activations: Sequence[str] = ("activation",),
    *,
    output: bool = False,
    bits: int | tuple[int, int] = 8,
) -> object:
    """A QuantizeConfig for a layer that the Toolkit does not know: which of its attributes to quantize.

    weights: names of attributes that hold weights, such as ["kernel"]; one scale for each.
    activations: names of attributes that hold an activation function; () for a layer without.
    output: quantize what the layer returns instead (for layers without an activation attribute).
    bits: as in `quantize_aware`.
    """
    pair = _check_pair(bits)
    if not weights and not activations and not output:
        raise ValueError(
            "this configuration quantizes nothing; name weights=['kernel'], or pass output=True. "
            "To leave a layer float, use only="
        )
    return registry_n.DefaultNBitQuantizeConfig(list(weights), list(activations), output, *pair)


def save(model: tf_keras.Model, path: object) -> None:
    """Store a model made by `quantize_aware` for further training; the path must end in .h5.

    The .keras format stores it and cannot load it again (the wrapper's weights are listed twice).
    """
    path = Path(path)
    if not is_quantized(model):
        raise ValueError(f"{getattr(model, 'name', model)!r} has no fake quantization; keep it with model.save(path)")
    if path.suffix != ".h5":
        raise ValueError(f"{path.name!r} must end in .h5: a .keras file of a quantized model cannot be loaded again")
    with tempfile.TemporaryDirectory() as folder, quiet():  # Keras recommends .keras, which fails here
        model.save(Path(folder) / "model.h5")
        files.write_bytes(path, (Path(folder) / "model.h5").read_bytes())


def load(path: object, custom_objects: Mapping[str, object] | None = None) -> tf_keras.Model:
    """Read what `save` stored, not compiled.  A model with Lambda layers is a program: load only those you trust.

    custom_objects: {name: class} of QuantizeConfigs, Quantizers and layers of your own; those of `aware_quantizers`
        are known.
    Raises FileNotFoundError, or ValueError that says why it cannot be loaded (a class that is not named, for example).
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}; save(model, path) makes one")
    try:
        with _keras.quantize_scope({**CLASSES, **(custom_objects or {})}):
            model = tf_keras.models.load_model(path, compile=False)
    except Exception as error:  # whatever HDF5, Keras or a layer's own code raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{path.name!r} cannot be loaded ({reason:.200}); pass a file of save, and custom_objects={{name: class}} "
            "for layers of your own"
        ) from error
    _keep_frozen(model)
    return model


def _keep_frozen(model: tf_keras.Model) -> None:
    """Give kernels of layers that are not trainable back to these layers: the Toolkit's wrapper would train them."""
    for wrapper in model.layers:
        if isinstance(wrapper, _keras.QuantizeWrapper) and not wrapper.trainable:
            kernels = [kernel for kernel, _, _ in wrapper._weight_vars]
            for held in (wrapper._trainable_weights, wrapper.layer._trainable_weights):
                held[:] = [weight for weight in held if not any(weight is kernel for kernel in kernels)]
            wrapper.layer._trainable_weights[:0] = kernels  # first, as they stand in a file


class _Scheme(scheme_n.DefaultNBitQuantizeScheme):
    """The Toolkit's n-bit scheme, with a say in the granularity of dense layers.  At 8 bits it equals the default."""

    def __init__(self, weights: int, activations: int, per_channel: bool | None) -> None:
        super().__init__(per_channel is False, num_bits_weight=weights, num_bits_activation=activations)
        self._bits, self._dense_per_channel = (weights, activations), per_channel is True
        self.activation_bits = activations
        #: Whether its models are meant for files; all others are simulations.
        self.convertible = activations == 8 and per_channel is None

    def get_quantize_registry(self):
        registry = super().get_quantize_registry()
        if self._dense_per_channel:
            registry._layer_quantize_map[tf_keras.layers.Dense] = registry_n.DefaultNBitConvQuantizeConfig(
                ["kernel"], ["activation"], False, *self._bits
            )
        return registry


def _apply(model, chosen: set[str], configs: Mapping[str, object], scheme: _Scheme, kept: set[str]):
    """(quantized copy or None, refusals): asks again without each layer that the Toolkit or the converter refuses.

    kept: layers asked for by name, which stay quantized even if the file has them in float.
    """
    registry = scheme.get_quantize_registry()
    refusals = {
        layer.name: why
        for layer in model.layers
        if layer.name in chosen - set(configs) and (why := refused_at_sight(layer, registry))
    }
    with _keras.quantize_scope(_custom_classes(model, configs)):
        while wanted := chosen - set(refusals):
            try:
                made = _quantize(model, wanted, set(refusals), configs, scheme)
            except RuntimeError as error:
                name = next((name for name in wanted if str(error).startswith(f"Layer {name}:")), None)
                if name is None or name in configs:
                    raise
                refusals[name] = left_float(model.get_layer(name), "the Toolkit has no rule for it in this place")
                continue
            operators = _float_operators(made) if scheme.convertible else None
            if operators is None:
                return made, refusals
            more = _left_in_float(model, operators, wanted, kept)
            if set(more) <= kept:
                refusals |= more
                return made, {name: replace(why, float_in_file=name in operators) for name, why in refusals.items()}
            refusals |= {name: why for name, why in more.items() if name not in kept}
    return None, refusals


def _float_operators(made) -> dict[str, list[str]] | None:
    """`float_layers` of a model whose ranges are not measured yet: tried with ranges that are all different.

    None, with a warning, if no file can be made.
    """
    before, reach = made.get_weights(), itertools.count(100)
    ends = {w.name: w for w in made.weights if re.search(r"_(min|max):0$", w.name)}
    for name in [name for name in ends if "_max:" in name]:
        high = tf.fill(ends[name].shape, next(reach) / 100)
        ends[name].assign(high)
        ends[name.replace("_max:", "_min:")].assign(-high)
    try:
        return float_layers(made)
    except ValueError as error:
        warnings.warn(f"of {made.name!r} no file can be made, it is a simulation: {error}", stacklevel=4)
        return None
    finally:
        made.set_weights(before)


def _left_in_float(model, operators: Mapping, wanted: set[str], kept: set[str]) -> dict[str, LeftFloat]:
    """Those of the wanted layers that the converter leaves in float and that are to be refused, or named, next."""
    found = {
        name: float_in_file(model.get_layer(name), operators[name], name in kept) for name in wanted & set(operators)
    }
    # A layer without weights may be what keeps the one before it in float: leave it out first, and ask again.
    first = {name: why for name, why in found.items() if name not in kept and not model.get_layer(name).weights}
    return first or found


def _quantize(model, wanted: set[str], refused: set[str], configs: Mapping[str, object], scheme: _Scheme):
    """Let the Toolkit quantize `wanted`; where it can be, what comes out of a refused layer gets a range too.

    Without that range the layer behind a refused one would stay float in the file, as its input is not quantized.
    """
    output_only = layer_config(activations=(), output=True, bits=(8, scheme.activation_bits))
    ranges = {name: output_only for name in refused if _takes_one_tensor(model.get_layer(name))}
    try:
        return _keras.quantize_apply(_annotate(model, wanted | set(ranges), ranges | dict(configs)), scheme)
    except RuntimeError:
        raise
    except Exception:  # a refused layer that cannot be wrapped: whatever it raises, the plain way is left
        if not ranges:
            raise
        return _keras.quantize_apply(_annotate(model, wanted, configs), scheme)


def _annotate(model, wanted: set[str], configs: Mapping[str, object]):
    """A clone with the weights of `model` in which the wanted layers are marked for quantization."""
    clone = rebuild(model)

    def mark(layer):
        return _keras.quantize_annotate_layer(layer, configs.get(layer.name)) if layer.name in wanted else layer

    return tf_keras.models.clone_model(clone, clone_function=mark)


def _takes_one_tensor(layer) -> bool:
    """True for a layer that is called as `layer(x)` and returns one tensor: those the Toolkit's wrapper can hold."""
    if "Lambda" in type(layer).__name__ or isinstance(layer, tf_keras.layers.RNN) or len(layer._inbound_nodes) != 1:
        return False
    node = layer._inbound_nodes[0]
    single = len(node.call_args) == 1 and not isinstance(node.outputs, (list, tuple, dict))
    return single and not any(tf.nest.flatten(node.call_kwargs))


def _custom_classes(model, configs: Mapping[str, object]) -> dict[str, type]:
    """The user's own layers and configurations, which the Toolkit must find by name when it rebuilds the model."""
    own = [type(layer) for layer in model.layers] + [type(config) for config in configs.values()]
    return {cls.__name__: cls for cls in own if not checks.is_from(cls, "tf_keras", "tensorflow_model_optimization")}


def _check_pair(bits: object) -> tuple[int, int]:
    if isinstance(bits, (tuple, list)):
        if len(bits) != 2:
            raise ValueError(f"bits is {bits!r}; pass one number, or (bits of weights, bits of activations)")
        return check_bits(bits[0], 8), check_bits(bits[1], 8)
    return check_bits(bits, 8), int(bits)


def _check_model(model: object) -> None:
    checks.check_keras(model)
    if not isinstance(model, tf_keras.Sequential) and not getattr(model, "_is_graph_network", False):
        raise ValueError(
            f"{type(model).__name__} is a subclassed model; the Toolkit rewrites only Sequential and "
            "functional ones. If it is made of layers, utils.optimize.keras_graph.flatten(model) turns it "
            "into one"
        )
    if is_quantized(model):
        raise ValueError(f"the model {model.name!r} already has fake quantization; start from the float model")
    checks.check_model(model, graph=True)
    nested = [layer.name for layer in model.layers if isinstance(layer, tf_keras.Model)]
    if nested:
        raise ValueError(
            f"the model {model.name!r} contains the models {nested}, which the Toolkit does not open; "
            "pass utils.optimize.keras_graph.flatten(model)"
        )


def _check_configs(model, configs: Mapping[str, object] | None) -> dict[str, object]:
    if not (configs is None or isinstance(configs, Mapping)):
        raise TypeError(f"configs is a {type(configs).__name__}; pass {{layer name: QuantizeConfig}}")
    configs = dict(configs or {})
    _check_names(model, configs)
    for name, config in configs.items():
        if not isinstance(config, _keras.QuantizeConfig):
            raise TypeError(
                f"configs[{name!r}] is a {type(config).__name__}; pass a QuantizeConfig, such as "
                "layer_config(['kernel'])"
            )
    return configs


def _chosen(model, only) -> set[str]:
    names = [layer.name for layer in model.layers if not isinstance(layer, tf_keras.layers.InputLayer)]
    if only is None:
        return set(names)
    if callable(only) and not isinstance(only, tf_keras.layers.Layer):
        return {layer.name for layer in model.layers if layer.name in names and only(layer)}
    if not isinstance(only, Iterable):
        raise TypeError(f"only is a {type(only).__name__}; pass a layer's name, several names, or function(layer)")
    wanted = [only] if isinstance(only, str) else list(only)
    _check_names(model, wanted)
    return set(wanted) & set(names)


def _check_names(model, wanted: Iterable[str]) -> None:
    names = [layer.name for layer in model.layers]
    for name in wanted:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {names}"
            raise ValueError(f"the model has no layer {name!r}; {hint}")
