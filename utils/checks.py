"""What every helper asks first: is this a tf_keras model that can be worked on, and do these arrays fit its inputs?

    checks.check_model(model)
    arrays = checks.fitting_inputs(model, calibration)

Answers are sentences: what was passed, and what to pass instead.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np

#: What a tf_keras layer may compute in: the converter's kernels, our ranges and the Toolkit are made for float32.
_REFUSED_DTYPES = ("float16", "bfloat16", "float64")

# ---------------------------------------------------------------- models


def check_keras(model: Any, *, what: str = "model") -> None:
    """Raise TypeError unless `model` is a tf_keras model, built or not; `what` is its name in the sentence."""
    import tf_keras

    if isinstance(model, tf_keras.Model):
        return
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    if any(is_from(base, "keras") for base in type(model).__mro__):
        raise TypeError(
            f"the {what} is a {kind}, of Keras 3; quantization and the Toolkit work on Keras 2. Build it with tf_keras "
            "(or put `import utils` above `import tensorflow` and use tf.keras), or copy it with "
            "utils.optimize.keras_3.keras_2(model). The converter also takes the folder of model.export(folder)"
        )
    raise TypeError(f"the {what} is a {kind}, which is no model; pass a tf_keras model")


def check_model(model: Any, *, what: str = "model", graph: bool = False) -> None:
    """Raise a sentence unless `model` is a tf_keras model that is built, computes in float32 and has finite weights.

    what: its name in the sentence.  graph: it must also be Sequential or functional, without layers for text or tables,
        so that its layers can be walked and copied.
    Raises TypeError for what is no tf_keras model, else ValueError.
    """
    check_built(model, what=what, graph=graph)
    _check_dtypes(model, f"the {what} {model.name!r} ({type(model).__name__})")
    check_finite(model, what=what)


def check_built(model: Any, *, what: str = "model", graph: bool = False) -> None:
    """As `check_model`, but for a model of any dtype and with any weights."""
    check_keras(model, what=what)
    label = f"the {what} {model.name!r} ({type(model).__name__})"
    if graph and not getattr(model, "_nodes_by_depth", None):
        raise ValueError(
            f"{label} has no graph of layers that could be walked: give a Sequential model an Input layer, and write a "
            "subclassed one with the functional interface"
        )
    if not input_specs(model):
        raise ValueError(
            f"{label} is not built: it has no known input shape yet. Give a Sequential model an Input layer; call a "
            "subclassed one once on a batch, model(x[:1])"
        )
    if graph:
        _check_numbers(model, label)


def check_shapes_known(model: Any, *, what: str = "model") -> None:
    """Raise ValueError unless Keras knows the shapes that go in and come out; of a subclassed model it does not."""
    if hasattr(model, "input_shape") and hasattr(model, "output_shape"):  # properties that raise AttributeError
        return
    specs = input_specs(model)
    shape = tuple(specs[0].shape)[1:] if specs else "shape"
    raise ValueError(
        f"the {what} {model.name!r} ({type(model).__name__}) is subclassed, so its shapes are not known; wrap it: "
        f"inputs = tf_keras.Input({shape}); tf_keras.Model(inputs, model(inputs))"
    )


def _check_numbers(model: Any, label: str) -> None:
    """Text and tables (TextVectorization, for example) cannot be copied as arrays."""
    tables = [
        layer.name
        for layer in model.layers
        if any(len(own_weights(part)) < len(_attached(part)) for part in all_layers(layer))
    ]
    text = [spec.name for spec in input_specs(model) if spec.dtype == "string"]
    if tables or text:
        raise ValueError(
            f"{label} prepares text or tables ({', '.join(tables or text)}), which are no numbers: prepare the data "
            "before, x = layer(text), and pass the model that begins behind that layer"
        )


def _check_dtypes(model: Any, label: str) -> None:
    import tf_keras

    for layer in all_layers(model):
        computes = not isinstance(layer, tf_keras.layers.InputLayer) and not hasattr(layer, "_nodes_by_depth")
        if not computes or layer.compute_dtype not in _REFUSED_DTYPES:
            continue
        raise ValueError(
            f"{label} computes in {layer.compute_dtype} (layer {layer.name!r}, policy {layer._dtype_policy.name!r}); "
            "rebuild it in float32: utils.optimize.keras_graph.in_float32(model)"
        )


def check_finite(model: Any, *, what: str = "model") -> None:
    """Raise ValueError that names the layer and the weight if a weight is NaN or infinite."""
    for layer in all_layers(model):
        for weight in own_weights(layer):
            values = weight.numpy()
            if values.dtype.kind != "f" or np.isfinite(values).all():
                continue
            count = int(np.sum(~np.isfinite(values)))
            raise ValueError(
                f"layer {layer.name!r} of the {what} {model.name!r} has {count:,} weights that are NaN or infinite, in "
                f"{weight.name!r}; no file of it could be right. Train it again, with a smaller learning rate"
            )


def is_from(what: Any, *packages: str) -> bool:
    """Whether a class or function is one of these packages', and not one's own that is called the same."""
    return str(getattr(what, "__module__", "")).partition(".")[0] in packages


def own_weights(layer: Any) -> list[Any]:
    """A layer's arrays, not the tables of words, and not those of the layers inside, which `all_layers` gives."""
    return [weight for weight in _attached(layer) if hasattr(weight, "numpy")]


def _attached(layer: Any) -> list[Any]:
    return [*layer._trainable_weights, *layer._non_trainable_weights]


def all_layers(model: Any) -> Iterator[Any]:
    """Every layer once, those inside wrappers, cells, nested and subclassed models too; the model itself last."""
    seen: set[int] = set()
    for layer in [*model._flatten_layers(include_self=False), model]:
        if id(layer) not in seen:
            seen.add(id(layer))
            yield layer


def input_specs(model: Any) -> list[Any]:
    """Shape and dtype of each input; a subclassed model knows them once it has been called, [] before."""
    if getattr(model, "inputs", None):
        return list(model.inputs)
    import tensorflow as tf

    called_with = model.save_spec()
    return [] if called_with is None else tf.nest.flatten(called_with[0])


def input_names(model: Any) -> list[str]:
    """The names of the inputs, in the order of `input_specs`; a converted file's inputs are called the same."""
    return list(getattr(model, "input_names", None) or [spec.name for spec in input_specs(model)])


def ends_in_sigmoids(model: Any) -> bool:
    """Whether the last layer computes a sigmoid: then each output is a probability of its own, and no logit."""
    last = model
    while getattr(last, "layers", None):
        last = last.layers[-1]
    return getattr(getattr(last, "activation", None), "__name__", "") == "sigmoid"


# ---------------------------------------------------------------- words


def check_choice(what: str, value: Any, known: Collection[str]) -> None:
    """Raise ValueError unless `value` is one of the `known` words; what: the argument's name in the sentence."""
    if value not in [*known]:  # a list, which has no hash, is no word either
        near = difflib.get_close_matches(str(value), known, 1, cutoff=0)
        raise ValueError(f"no {what} {value!r}; did you mean {near[0]!r}? There are {', '.join(known)}")


# ---------------------------------------------------------------- arrays


def fitting_inputs(model: Any, x: Any, what: str = "calibration") -> list[np.ndarray]:
    """`x` as one array for each input of `model`, in the model's order and dtypes, (n, …) with the same n.

    x: an array, a list of one array for each input, or {input: array}.  what: its name in the sentences.
    Raises ValueError or TypeError: wrong number, name, shape or type, empty, NaN or infinite (also once it is cast),
    whole numbers that the dtype cannot hold, not as many of each, and what is no array (a generator, a Dataset).
    """
    specs, names = input_specs(model), input_names(model)
    parts = _parts(x, names, _keys(model), what)
    label = (lambda name: f"{what} of input {name!r}") if len(names) > 1 else (lambda name: what)
    arrays = [fitting_array(part, s.shape, s.dtype, label(n)) for part, s, n in zip(parts, specs, names, strict=True)]
    same_count(arrays, what)
    return arrays


def same_count(arrays: list[np.ndarray], what: str = "calibration") -> None:
    """Raise ValueError unless all arrays have as many examples."""
    counts = [len(array) for array in arrays]
    if len(set(counts)) > 1:
        raise ValueError(f"the inputs' {what} arrays have {counts} examples; pass as many of each")


def _keys(model: Any) -> list[str]:
    """The keys of a model that takes a dictionary, in the order of its inputs; they may differ from the names."""
    nested = getattr(model, "_nested_inputs", None)
    return sorted(nested) if isinstance(nested, dict) else []  # tf.nest flattens in this order


def _parts(x: Any, names: list[str], keys: list[str], what: str) -> list[Any]:
    if isinstance(x, Mapping):
        order = next((order for order in (names, keys) if set(x) == set(order)), None)
        if order is None:
            raise ValueError(
                f"the model has the inputs {', '.join(map(repr, names))}; {what} has "
                f"{', '.join(map(repr, x)) or 'none'}"
            )
        return [x[name] for name in order]
    parts = list(x) if isinstance(x, (list, tuple)) else [x]
    if len(parts) != len(names):
        raise ValueError(
            f"the model has {len(names)} inputs, {what} has {len(parts)}; "
            "pass one array, or a list of one array for each input"
        )
    return parts


def fitting_array(x: Any, shape: Any, dtype: Any, what: str = "calibration") -> np.ndarray:
    """`x` as an array of `dtype` that fits `shape`, the batch in front; None or -1 in a shape stand for any size."""
    array = as_array(x, shape, what)
    check_shape(array, shape, what)
    return _cast(array, np.dtype(getattr(dtype, "as_numpy_dtype", dtype)), shape, what)


def as_array(x: Any, shape: Any = None, what: str = "calibration") -> np.ndarray:
    """`x` as a numpy array; a generator, a function or a Dataset is refused with the call that makes one of it."""
    wanted = "an array" if shape is None else f"an array of shape {_listed(shape)}"
    if not hasattr(x, "__array__") and not isinstance(x, (list, tuple, int, float, np.generic)):
        raise TypeError(f"{what} is a {type(x).__name__}; pass {wanted}, such as {_concatenated(x)}")
    if np.ma.is_masked(x):
        raise ValueError(f"{what} is a masked array, and no model sees the mask; pass {wanted} without what is masked")
    try:
        return np.asarray(x)
    except Exception as error:  # rows of different lengths, symbolic tensors
        raise ValueError(f"{what} is no array ({str(error).splitlines()[0]:.120}); pass {wanted}") from None


def _concatenated(x: Any) -> str:
    if hasattr(x, "element_spec"):  # tf.data.Dataset
        several = isinstance(x.element_spec, tuple)
        return f"np.concatenate([x for x{', y' if several else ''} in dataset]), the Dataset in batches"
    if isinstance(x, Callable):
        return "np.concatenate([batch[0] for batch in function()]), each batch being (n, …)"
    if hasattr(x, "__next__"):
        return "np.concatenate([batch for batch in generator]), each batch being (n, …)"
    return "np.concatenate([…]) or np.stack([…])"


def check_shape(array: np.ndarray, shape: Any, what: str) -> None:
    """Raise ValueError unless the array has examples and fits `shape`, the batch in front; None or -1 is any size."""
    if getattr(shape, "rank", 0) is None:  # unknown
        shape = (None, *array.shape[1:])
    if array.ndim == len(shape) and array.size == 0:
        raise ValueError(f"{what} is empty (shape {array.shape}); pass at least one example, {_listed(shape)}")
    sizes = zip(array.shape[1:], tuple(shape)[1:], strict=False)
    if array.ndim != len(shape) or any(want not in (None, -1, have) for have, want in sizes):
        raise ValueError(f"{what} takes shape {_listed(shape)}, n examples along the first axis; got {array.shape}")


def _cast(array: np.ndarray, dtype: np.dtype, shape: Any, what: str) -> np.ndarray:
    if dtype.kind not in "fiub":  # text
        if array.dtype.kind not in "USO":
            raise ValueError(f"{what} is of type {array.dtype}; the model takes text")
        return array
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{what} is of type {array.dtype}; pass numbers of shape {_listed(shape)}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{what} holds NaN or infinity; find out where they come from")
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            cast = array.astype(dtype)
        if not np.isfinite(cast).all():
            raise ValueError(
                f"{what} reaches {float(np.abs(array).max()):g}, which is infinite in {dtype}, the type that the model "
                "takes; scale it"
            )
        return cast
    if dtype.kind == "b":
        if not np.isin(array, (0, 1)).all():
            raise ValueError(f"{what} holds other values than 0 and 1; the model takes {dtype}")
    elif array.dtype.kind == "f" and not np.array_equal(array, np.trunc(array)):
        raise ValueError(f"{what} holds fractions; the model takes whole numbers ({dtype})")
    else:
        low, high, info = array.min(), array.max(), np.iinfo(dtype)
        if low < info.min or high > info.max:
            raise ValueError(f"{what} lies in [{low:g}, {high:g}]; the model takes {dtype}, {info.min} to {info.max}")
    return array.astype(dtype)


def _listed(shape: Any) -> str:
    if getattr(shape, "rank", 0) is None:
        return "(n, …)"
    return "(" + ", ".join(["n", *("any" if size in (None, -1) else str(size) for size in tuple(shape)[1:])]) + ")"
