"""Transfer learning: a network that was trained on ImageNet, a new last layer, and as much training as the data allow.

    backbone = efficientnet_lite0(96)                       # pictures -> 1,280 features, ImageNet's weights
    x = prepared(pictures, 96)                              # grey or colour, any size -> what the backbone expects
    head = train_head(features(backbone, x), labels, 10)    # seconds: the backbone runs once for each picture
    model = with_head(backbone, head)                       # one model, pictures -> logits
    fine_tune(model, (x, labels), from_layer="block11")     # the last blocks too, with frozen statistics

EfficientNet-Lite0 is Tan and Le's B0 (2019, arXiv 1905.11946) without squeeze-and-excitation, which some accelerators
support badly, and with ReLU6 in place of swish, for 8 bits (github.com/tensorflow/tpu,
models/official/efficientnet/lite).  Its weights ship in data/weights.  `features`, `with_head` and `fine_tune` take any
tf_keras backbone whose output is one vector a picture.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import tf_keras

from utils import SEED, checks, data, training
from utils.nudge import nudged
from utils.optimize import keras_graph, recovery

__all__ = [
    "application",
    "cut_at",
    "efficientnet_lite0",
    "features",
    "fine_tune",
    "imagenet_weights",
    "prepared",
    "statistics",
    "train_head",
    "with_head",
]

WEIGHTS_FILE = "efficientnet_lite0-imagenet.npz"

#: (blocks, side of the depthwise kernel, stride of the first block, widening, channels) of the seven stages.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)

#: The network was trained on (pixel - 127) / 128 with pixels from 0 to 255.
MIDDLE, SPREAD = 127.0, 128.0

# -- the backbone ------------------------------------------------------------------------------------------------


def efficientnet_lite0(size: int = 224, *, weights: str | None = "imagenet", top: bool = False) -> tf_keras.Model:
    """EfficientNet-Lite0 for pictures of shape (size, size, 3), as `prepared` makes them.

    size: at least 32; ImageNet's training used 224.  The five strides of 2 leave a map of size / 32.
    weights: "imagenet", or None for random ones, drawn from the global seed.
    top: False ends in 1,280 features, the mean over the last map; True adds ImageNet's layer of 1,000 logits.
    Raises ValueError: an argument out of range, or a file of weights that is not the one that ships.
    Raises FileNotFoundError: the file of weights is missing.
    """
    _check_size(size, 32)
    if weights not in ("imagenet", None):
        raise ValueError(f"weights is {weights!r}; pass 'imagenet', or None for random ones")
    inputs = tf_keras.Input((int(size), int(size), 3), name="picture")
    x = _normalized(_convolution(inputs, 32, 3, 2, "stem"), "stem", active=True)
    number = 0
    for blocks, side, stride, widening, channels in STAGES:
        for block in range(blocks):
            x = _block(x, side, stride if block == 0 else 1, widening, channels, f"block{number}")
            number += 1
    x = _normalized(_convolution(x, 1280, 1, 1, "head"), "head", active=True)
    x = tf_keras.layers.GlobalAveragePooling2D(name="features")(x)
    if top:
        x = tf_keras.layers.Dense(1000, name="imagenet")(x)
    model = tf_keras.Model(inputs, x, name="efficientnet_lite0")
    if weights == "imagenet":
        _load(model)
    return model


def _check_size(size: object, least: int) -> None:
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < least:
        raise ValueError(f"size is {size!r}; pass a whole number of pixels of at least {least}, such as 96 or 224")


def _block(x, side: int, stride: int, widening: int, channels: int, name: str):
    """Widen by a 1x1 convolution, filter each channel by itself, narrow again, and add what came in if it fits."""
    before = x
    if widening > 1:
        x = _normalized(_convolution(x, x.shape[-1] * widening, 1, 1, f"{name}_expand"), f"{name}_expand", active=True)
    depthwise = tf_keras.layers.DepthwiseConv2D(side, stride, "same", use_bias=False, name=f"{name}_depthwise")
    x = _normalized(depthwise(x), f"{name}_depthwise", active=True)
    x = _normalized(_convolution(x, channels, 1, 1, f"{name}_project"), f"{name}_project", active=False)
    if stride == 1 and before.shape[-1] == channels:
        x = tf_keras.layers.Add(name=f"{name}_add")([before, x])
    return x


def _convolution(x, filters: int, side: int, stride: int, name: str):
    return tf_keras.layers.Conv2D(filters, side, stride, "same", use_bias=False, name=f"{name}_conv")(x)


def _normalized(x, name: str, *, active: bool):
    x = tf_keras.layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)
    return tf_keras.layers.ReLU(6.0, name=f"{name}_relu")(x) if active else x


def imagenet_weights() -> dict[str, np.ndarray]:
    """The arrays that ship, "layer.weight" -> float32, after comparing the file's SHA-256.

    Kernels were stored in float16.  Raises FileNotFoundError or ValueError with the way to restore the file.
    """
    path = training.WEIGHTS / WEIGHTS_FILE
    restore = "restore it with `git checkout -- data/weights`, or clone the repository again"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing; {restore}") from None
    sums = dict(reversed(line.split()) for line in (training.WEIGHTS / "SHA256SUMS").read_text().splitlines())
    if hashlib.sha256(content).hexdigest() != sums.get(WEIGHTS_FILE):
        raise ValueError(f"{path} ({len(content):,} bytes) is not the file that the course ships; {restore}")
    return {name: value.astype(np.float32) for name, value in data.read_npz(content).items()}


def _load(model: tf_keras.Model) -> None:
    """Give each layer its arrays, by name."""
    arrays = imagenet_weights()
    for layer in model.layers:
        names = [weight.name.rpartition("/")[2].removesuffix(":0") for weight in layer.weights]
        layer.set_weights([nudged(arrays[f"{layer.name}.{name}"]) for name in names])


def application(
    name: str, size: int = 224, *, weights: str | None = "imagenet", **options
) -> tuple[tf_keras.Model, Callable[[np.ndarray], np.ndarray]]:
    """A backbone of `tf_keras.applications`, ending in the mean over its last map, and its own preprocessing.

    name: such as "MobileNetV2" or "ResNet50".
    size: side of the pictures in pixels.
    weights: "imagenet", fetched by Keras on first use, or None for random ones, which needs no network.
    options: further ones of that function, such as alpha=0.35; not those that are settled here.

    Returns (backbone, preprocess): preprocess takes pixels from 0 to 255, (n, size, size, 3), and changes no argument.
    Raises ValueError for a name that is not there, or a model whose preprocessing was taken out; ConnectionError if
    the weights could not be fetched.
    """
    known = [each for each in dir(tf_keras.applications) if each[0].isupper()]
    checks.check_choice("name", name, known)
    _check_size(size, 1)
    settled = [option for option in ("include_top", "pooling", "input_shape", "input_tensor") if option in options]
    if settled:
        raise ValueError(
            f"{', '.join(settled)} cannot be chosen: the backbone takes (size, size, 3) and ends in the mean over its "
            f"last map; for another end call tf_keras.applications.{name} itself"
        )
    if not options.get("include_preprocessing", True):
        raise ValueError(
            f"include_preprocessing=False takes the preprocessing out of {name}, and its preprocess_input does nothing "
            "in place of it; leave the option out, and pixels from 0 to 255 are right"
        )
    build = getattr(tf_keras.applications, name)
    own = sys.modules[build.__module__].preprocess_input
    try:
        backbone = build(input_shape=(size, size, 3), include_top=False, pooling="avg", weights=weights, **options)
    except Exception as error:  # Keras raises a bare Exception for every failure of the network
        if "URL fetch failure" not in str(error):
            raise
        raise ConnectionError(
            f"the weights of {name} are not in Keras' cache (~/.keras/models) and could not be fetched ({error}). "
            "Connect to a network once, pass weights=None for random ones, or take efficientnet_lite0: it ships"
        ) from error
    return backbone, lambda pixels: own(np.array(pixels, np.float32))


# -- pictures ----------------------------------------------------------------------------------------------------


def prepared(pictures: np.ndarray, size: int) -> np.ndarray:
    """Pictures as the backbone expects them: (n, size, size, 3) float32, (pixel - 127) / 128.

    pictures: (n, height, width), or with 1 or 3 channels; uint8 from 0 to 255, or floats from 0 to 1.  Grey
        ones get three equal channels.
    size: side in pixels after bilinear resizing.
    Raises ValueError: a size below 1, another shape, values that are not finite, or a range that fits neither kind.
        Floats from 0 to 255 are refused, since dividing them or not is for you to say.
    """
    _check_size(size, 1)
    size = int(size)
    array = checks.as_array(pictures, what="pictures")
    if array.ndim == 3 and array.shape[-1] in (3, 4):  # as grey ones they would be 3 pixels wide
        raise ValueError(f"pictures have shape {array.shape}, as one picture in colour; pass pictures[np.newaxis]")
    if array.ndim == 3:
        array = array[..., np.newaxis]
    if array.ndim != 4 or array.shape[-1] not in (1, 3) or 0 in array.shape:
        raise ValueError(
            f"pictures have shape {np.shape(pictures)}; pass (n, height, width, 3), or grey ones without the last axis"
        )
    if array.dtype == np.uint8:
        array = array.astype(np.float32)
    else:
        array = _range_checked(array.astype(np.float32)) * np.float32(255)
    resized = tf.image.resize(array, (size, size), antialias=bool(size < min(array.shape[1:3]))).numpy()
    scaled = (resized - MIDDLE) / SPREAD
    return np.repeat(scaled, 3, axis=-1) if scaled.shape[-1] == 1 else scaled


def _range_checked(array: np.ndarray) -> np.ndarray:
    if not np.isfinite(array).all():
        raise ValueError(f"pictures hold {int(np.sum(~np.isfinite(array))):,} values that are NaN or infinite")
    low, high = float(array.min()), float(array.max())
    if low < 0:
        raise ValueError(
            f"the pixels run from {low:g} to {high:g}: they seem to be prepared already; pass uint8 (0 to 255) or "
            "floats from 0 to 1"
        )
    if high > 1:
        raise ValueError(
            f"the pixels are floats from {low:g} to {high:g}; divide them by 255 (pixels / 255.0), or pass them as "
            "uint8 (pixels.astype('uint8'))"
        )
    return array


# -- head --------------------------------------------------------------------------------------------------------


def features(backbone: tf_keras.Model, x: np.ndarray, *, batch_size: int = 32) -> np.ndarray:
    """What the backbone gives for each picture, in inference mode: (n, width) float32.

    Computed once, it replaces the backbone in every epoch in which only the head learns: with frozen weights and
    without random augmentation, the features of a picture are the same each time.
    """
    checks.check_model(backbone, what="backbone")
    _check_vector(backbone)
    (x,) = checks.fitting_inputs(backbone, x, what="pictures")
    return np.asarray(backbone.predict(x, batch_size=batch_size, verbose=0))


def train_head(
    x: np.ndarray,
    y: np.ndarray,
    num_classes: int,
    *,
    epochs: int = 100,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-4,
    batch_size: int = 64,
    seed: int = SEED,
) -> tf_keras.Model:
    """One dense layer of logits on features, trained on cached ones: a Sequential of standardization and Dense.

    x, y: features (n, width), and labels (n,) from 0 to num_classes - 1.
    num_classes: at least 2; each class needs at least 2 examples.
    epochs, learning_rate, batch_size, seed: as in `training.fit`; the rate falls to 0.
    weight_decay: factor of the L2 penalty on the kernel.

    Returns a model whose standardization (minus mean, over standard deviation, of x, or a tenth of the root mean square
    of all deviations where that is more) is folded into the dense layer, so that it is a single Dense layer for any
    backbone.  In training standardized features are cut off at -9 and 9; the layer that is handed back does not.
    """
    x, y = np.asarray(checks.as_array(x, what="features"), np.float32), np.asarray(y)
    if x.ndim != 2 or len(x) != len(y) or y.ndim != 1:
        of = "in a column (y[:, 0])" if y.shape[1:] == (1,) else "one-hot (y.argmax(axis=1))"
        raise ValueError(
            f"features have shape {x.shape} and labels {y.shape}; pass (n, width) and (n,), labels as numbers and not "
            f"{of}"
        )
    if not isinstance(weight_decay, (int, float, np.number)) or not 0 <= weight_decay < np.inf:
        raise ValueError(f"weight_decay is {weight_decay!r}; pass a number of at least 0, such as 1e-4")
    _check_classes(y, num_classes)
    mean, spread = x.mean(axis=0), x.std(axis=0)
    # Divided by a deviation near 0, a feature that hardly ever varies would get a weight so large that 8 bits have no
    # level left for the others: of 300 pictures an int8 file named 34 % as Keras did, and with this floor 95 %.
    spread = np.maximum(spread, 0.1 * np.sqrt(np.mean(spread**2)) + np.float32(1e-6))
    dense = tf_keras.layers.Dense(
        num_classes,
        kernel_initializer="zeros",
        kernel_regularizer=tf_keras.regularizers.L2(weight_decay),
        name="logits",
    )
    inner = tf_keras.Sequential([tf_keras.Input((x.shape[1],)), dense], name="head")
    standard = np.clip((x - mean) / spread, -9, 9)  # `fit` refuses inputs beyond 10
    training.fit(
        inner, (standard, y), epochs, batch_size=batch_size, learning_rate=learning_rate, decay=True, seed=seed
    )
    kernel, bias = dense.get_weights()
    folded = kernel / spread[:, np.newaxis]
    head = tf_keras.Sequential(
        [tf_keras.Input((x.shape[1],), name="head_input"), tf_keras.layers.Dense(num_classes, name="logits")],
        name="head",
    )
    head.set_weights([folded, bias - mean @ folded])
    return head


def _check_classes(y: np.ndarray, num_classes: int) -> None:
    if isinstance(num_classes, bool) or not isinstance(num_classes, (int, np.integer)) or num_classes < 2:
        raise ValueError(f"num_classes is {num_classes!r}; pass a whole number of at least 2")
    if len(y) == 0 or y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= num_classes:
        raise ValueError(f"labels must be whole numbers from 0 to {num_classes - 1}; pass those, as many as features")
    counts = np.bincount(y, minlength=num_classes)
    few = [f"class {label} has {count}" for label, count in enumerate(counts) if count < 2]
    if few:
        raise ValueError(f"too few labels: {', '.join(few[:5])}; give each class at least 2 examples, better 10")


def with_head(backbone: tf_keras.Model, head: tf_keras.Model, *, name: str = "transferred") -> tf_keras.Model:
    """One flat model, pictures -> logits, with copies of both parts' weights.

    Flat, since the Toolkit refuses a model inside a model, and a copy, so that training it leaves backbone and head
    alone.  Its outputs are compared with those of the two parts before it is handed back.
    """
    for part, what in ((backbone, "backbone"), (head, "head")):
        checks.check_model(part, what=what, graph=True)
    _check_vector(backbone)
    _check_vector(head, "head", "one vector of logits a picture")
    twice = sorted({layer.name for layer in backbone.layers} & {layer.name for layer in head.layers})
    if twice:
        raise ValueError(f"both parts have a layer {twice[0]!r}; give the head's another name, name='my_{twice[0]}'")
    if backbone.output_shape[1:] != head.input_shape[1:]:
        raise ValueError(
            f"the backbone gives {backbone.output_shape[1:]}, the head takes {head.input_shape[1:]}; pass the head "
            "that was trained on this backbone's features"
        )
    below, above = keras_graph.rebuild(backbone), keras_graph.rebuild(head)  # `flatten` shares layers
    flat = keras_graph.flatten(tf_keras.Model(below.input, above(below.output)))
    model = keras_graph.rebuild(tf_keras.Model(flat.inputs, flat.outputs, name=name))  # each layer called once
    example = keras_graph.example_input(backbone, 2)
    wanted = head(backbone(example[0], training=False), training=False).numpy()
    found = model(example[0], training=False).numpy()
    if not np.allclose(wanted, found, rtol=1e-4, atol=1e-4 * (1 + np.abs(wanted).max())):
        raise ValueError(f"the joined model differs from its parts by {np.abs(wanted - found).max():.3g}")
    return model


def _check_vector(
    model: tf_keras.Model,
    what: str = "backbone",
    wanted: str = "one vector a picture: add GlobalAveragePooling2D, or pooling='avg' in tf_keras.applications",
) -> None:
    inputs = len(checks.input_specs(model))
    if inputs != 1:
        raise ValueError(f"the {what} {model.name!r} has {inputs} inputs; pass one with one input")
    checks.check_shapes_known(model, what=what)
    shape = model.output_shape
    if not isinstance(shape, tuple) or len(shape) != 2 or shape[1] is None:
        raise ValueError(f"the {what} {model.name!r} gives {shape}; pass one that ends in {wanted}")


def cut_at(model: tf_keras.Model, layer: str) -> tf_keras.Model:
    """The model up to and with that layer, followed by the mean over its places if it has some: a shorter backbone."""
    checks.check_model(model, graph=True)
    _check_layer(model, layer)
    copy = keras_graph.rebuild(model)  # whose layers have been called once, so that `output` is unambiguous
    x = copy.get_layer(layer).output
    if isinstance(x, (list, tuple)):
        raise ValueError(f"layer {layer!r} gives {len(x)} outputs; pass a layer that gives one")
    poolings = {3: "GlobalAveragePooling1D", 4: "GlobalAveragePooling2D", 5: "GlobalAveragePooling3D"}
    if len(x.shape) in poolings:
        pooling = getattr(tf_keras.layers, poolings[len(x.shape)])
        x = pooling(name=f"features_of_{layer.replace('/', '_')}")(x)
    return tf_keras.Model(copy.input, x, name=f"{model.name}_to_{layer}".replace("/", "_"))


# -- fine-tuning -------------------------------------------------------------------------------------------------


def fine_tune(
    model: tf_keras.Model,
    dataset: object,
    epochs: int = 1,
    *,
    from_layer: str | None = None,
    learning_rate: float = 1e-4,
    freeze_statistics: bool = True,
    batch_size: int = 32,
    teacher: tf_keras.Model | None = None,
    seed: int = SEED,
) -> dict[str, list[float]]:
    """Train the end of a model in place, from a layer on, at a small rate that falls to 0.

    model: pictures -> logits, flat, as `with_head` makes it; a quantization-aware or pruned one too.
    dataset: (pictures, labels) or a `data.Dataset`.
    from_layer: the first layer that learns, by its name or the beginning of it ("block11"); None: all of them.
    freeze_statistics: batch normalization uses its stored mean and variance in training too, and keeps all four of
        its arrays; False lets it take those of each batch and move the stored ones.
    epochs, learning_rate, batch_size, teacher, seed: as in `recovery.recover`.

    What was trainable before is so again afterwards.  Returns the history.
    """
    checks.check_keras(model)
    *inner, whole = checks.all_layers(model)
    before = [(layer, layer.trainable) for layer in (whole, *inner)]  # a layer before those inside it
    try:
        if from_layer is not None:
            _freeze_before(model, from_layer)
        if model.built and not model.trainable_weights:
            where, wanted = "", "set model.trainable = True"
            if from_layer is not None:
                where, wanted = f" from {from_layer!r} on", "pass an earlier layer, or None for all of them"
            raise ValueError(f"no weight of {model.name!r} would learn{where}; {wanted}")
        return recovery.recover(
            model,
            dataset,
            epochs,
            learning_rate=learning_rate,
            batch_size=batch_size,
            teacher=teacher,
            freeze_statistics=freeze_statistics,
            seed=seed,
        )
    finally:
        for layer, trainable in before:
            layer.trainable = trainable  # which sets those inside, too; they come later


def _freeze_before(model: tf_keras.Model, name: str) -> None:
    """Layers before the first one of that name, in the model's order, keep their weights."""
    found = [number for number, layer in enumerate(model.layers) if _begins(layer.name, name)]
    if not found:
        _check_layer(model, name)
    for layer in model.layers[: found[0]]:
        layer.trainable = False


def _begins(layer: str, name: str) -> bool:
    """Whether `name` is the layer's name, or its first words: "block1" begins "block1_conv", not "block11_conv"."""
    plain = re.sub(r"^(quant|prune_low_magnitude)_", "", layer)
    return plain == name or plain.startswith(f"{name}_")


def _check_layer(model: tf_keras.Model, name: str) -> None:
    names: Sequence[str] = [layer.name for layer in model.layers]
    if name not in names:
        checks.check_choice("layer", name, names)


def statistics(model: tf_keras.Model) -> dict[str, np.ndarray]:
    """The moving means and variances of all batch normalization, copied: "layer.moving_mean" -> (channels,).

    To compare before and after training: with frozen statistics they are equal to the last bit.  Of layers inside two
    nested models that share a name, the second one is called "layer#2".
    """
    checks.check_keras(model)
    found = [layer for layer in checks.all_layers(model) if hasattr(layer, "moving_variance")]
    made, seen = {}, Counter()
    for layer in found:
        seen[layer.name] += 1
        label = layer.name if seen[layer.name] == 1 else f"{layer.name}#{seen[layer.name]}"
        for name in ("moving_mean", "moving_variance"):
            made[f"{label}.{name}"] = getattr(layer, name).numpy().copy()
    return made
