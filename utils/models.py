"""Network architectures that the chapters share.  Each is a short function that returns an untrained tf_keras model.

All end in a Dense layer `logits` without softmax.  The loss from logits is computed without overflow, soft targets
at a temperature need logits, argmax is the same, and no 8-bit grid is spent on probabilities near 0 and 1.

All are Functional and unnested, and all but `transformer` use only layers that the Toolkit can prune, cluster and
quantize: batch normalization follows a convolution, and scaling to [0, 1] is done in `utils.data`, not by a layer.

Multiply-accumulates (MACs) count convolutions and matrix products, for one picture of 28x28x1 and 10 classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tf_keras

#: Shape of a picture, (height, width, channels), when a function is called without one: MNIST's.
INPUT_SHAPE = (28, 28, 1)


def mlp(
    input_shape: Sequence[int] = INPUT_SHAPE,
    num_classes: int = 10,
    seed: int | None = None,
    *,
    hidden: Sequence[int] = (128,),
) -> tf_keras.Model:
    """Multilayer perceptron: dense layers with ReLU, by default one of 128 units.

    101,770 parameters, 101,632 MACs.

    input_shape: shape of one picture, (height, width, channels), without the batch axis.
    num_classes: number of logits, at least 2.
    seed: of the initial weights; None draws new ones.
    hidden: units of each hidden layer.
    Returns a tf_keras model: (batch, *input_shape) float32 -> (batch, num_classes) float32 logits.
    Raises ValueError: an argument of another kind or range; the message says which.
    """
    layers = tuple(hidden) if isinstance(hidden, Iterable) else None  # a generator could be read only once
    if isinstance(hidden, str) or layers is None or not all(map(_positive, layers)):
        raise ValueError(f"hidden is {hidden!r}; pass the units of each hidden layer, such as (128, 64)")
    keras, start, inputs = _begin(input_shape, num_classes, seed)
    x = keras.layers.Flatten(name="flatten")(inputs)
    for number, units in enumerate(layers, 1):
        x = keras.layers.Dense(int(units), activation="relu", kernel_initializer=next(start), name=f"dense_{number}")(x)
    return _end("mlp", inputs, x, num_classes, start)


def lenet_300_100(
    input_shape: Sequence[int] = INPUT_SHAPE, num_classes: int = 10, seed: int | None = None
) -> tf_keras.Model:
    """LeNet-300-100: two dense layers of 300 and 100 units; the small network of compression papers.

    266,610 parameters, 266,200 MACs.  LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to
    document recognition", 1998; with ReLU as in Han, Mao, Dally, "Deep Compression", arXiv 1510.00149.
    Arguments, returned model and errors as in `mlp`.
    """
    keras, start, inputs = _begin(input_shape, num_classes, seed)
    x = keras.layers.Flatten(name="flatten")(inputs)
    x = keras.layers.Dense(300, activation="relu", kernel_initializer=next(start), name="dense_300")(x)
    x = keras.layers.Dense(100, activation="relu", kernel_initializer=next(start), name="dense_100")(x)
    return _end("lenet_300_100", inputs, x, num_classes, start)


def lenet5(input_shape: Sequence[int] = INPUT_SHAPE, num_classes: int = 10, seed: int | None = None) -> tf_keras.Model:
    """LeNet-5 as in Caffe: 20 and 50 filters of 5x5 without padding, two max pools, 500 dense units.

    431,080 parameters, 2,293,000 MACs.  It is Caffe's `lenet_train_test.prototxt`, which Han et al. 2016 and their
    successors compress; only the dense layer has a ReLU there, and so here.  Pictures of at least 16x16.
    Arguments, returned model and errors as in `mlp`.
    """
    keras, start, inputs = _begin(input_shape, num_classes, seed, smallest=16)
    x = keras.layers.Conv2D(20, 5, kernel_initializer=next(start), name="conv_20")(inputs)
    x = keras.layers.MaxPooling2D(2, name="pool_1")(x)
    x = keras.layers.Conv2D(50, 5, kernel_initializer=next(start), name="conv_50")(x)
    x = keras.layers.MaxPooling2D(2, name="pool_2")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(500, activation="relu", kernel_initializer=next(start), name="dense_500")(x)
    return _end("lenet5", inputs, x, num_classes, start)


def depthwise_cnn(
    input_shape: Sequence[int] = INPUT_SHAPE, num_classes: int = 10, seed: int | None = None
) -> tf_keras.Model:
    """Depthwise-separable CNN: a small MobileNet, with batch normalization and ReLU6.

    38,346 parameters (of which 1,472 moving statistics), 825,904 MACs.  Howard et al., "MobileNets", arXiv
    1704.04861: each block is a 3x3 depthwise and a 1x1 convolution.  Pictures of at least 8x8.
    Arguments, returned model and errors as in `mlp`.
    """
    keras, start, inputs = _begin(input_shape, num_classes, seed, smallest=8)
    x = _conv_bn(inputs, 16, 3, 2, next(start), "stem")
    x = keras.layers.ReLU(6.0, name="stem_relu6")(x)
    for block, (filters, stride) in enumerate([(32, 2), (64, 1), (64, 1), (128, 2), (128, 1)], 1):
        x = keras.layers.DepthwiseConv2D(
            3, stride, "same", use_bias=False, depthwise_initializer=next(start), name=f"depthwise_{block}"
        )(x)
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"depthwise_{block}_bn")(x)
        x = keras.layers.ReLU(6.0, name=f"depthwise_{block}_relu6")(x)
        x = _conv_bn(x, filters, 1, 1, next(start), f"pointwise_{block}")
        x = keras.layers.ReLU(6.0, name=f"pointwise_{block}_relu6")(x)
    x = keras.layers.GlobalAveragePooling2D(name="average")(x)
    return _end("depthwise_cnn", inputs, x, num_classes, start)


def residual_cnn(
    input_shape: Sequence[int] = INPUT_SHAPE, num_classes: int = 10, seed: int | None = None
) -> tf_keras.Model:
    """Residual CNN with skip connections (Add) and batch normalization: three blocks of 16, 32, 64 filters.

    78,426 parameters (of which 672 moving statistics), 2,552,000 MACs.  He et al., "Deep residual learning", arXiv
    1512.03385, in the size of MLPerf Tiny's ResNet-8 with a stem of stride 2.  Pictures of at least 8x8.
    Arguments, returned model and errors as in `mlp`.
    """
    keras, start, inputs = _begin(input_shape, num_classes, seed, smallest=8)
    x = _conv_bn(inputs, 16, 3, 2, next(start), "stem")
    x = keras.layers.ReLU(name="stem_relu")(x)
    for block, (filters, stride) in enumerate([(16, 1), (32, 2), (64, 2)], 1):
        skip = x
        if stride > 1:  # the skip must shrink and widen as the block does
            skip = _conv_bn(x, filters, 1, stride, next(start), f"block_{block}_skip")
        x = _conv_bn(x, filters, 3, stride, next(start), f"block_{block}_a")
        x = keras.layers.ReLU(name=f"block_{block}_a_relu")(x)
        x = _conv_bn(x, filters, 3, 1, next(start), f"block_{block}_b")
        x = keras.layers.Add(name=f"block_{block}_add")([x, skip])
        x = keras.layers.ReLU(name=f"block_{block}_relu")(x)
    x = keras.layers.GlobalAveragePooling2D(name="average")(x)
    return _end("residual_cnn", inputs, x, num_classes, start)


def transformer(
    input_shape: Sequence[int] = INPUT_SHAPE,
    num_classes: int = 10,
    seed: int | None = None,
    *,
    patch: int = 7,
    width: int = 64,
    heads: int = 4,
    blocks: int = 2,
) -> tf_keras.Model:
    """Vision transformer, small: patches of 7x7, two pre-norm blocks of attention and GELU, mean over the tokens.

    71,882 parameters, 1,164,928 MACs, products of attention included.  Dosovitskiy et al., "An image is worth 16x16
    words", arXiv 2010.11929, with the mean in place of a class token.  The embedding is one EinsumDense: its bias has
    one vector a position, which is the learned position embedding.  The Toolkit refuses EinsumDense,
    LayerNormalization and MultiHeadAttention; the network is here for what quantizes files.  Zeros fill pictures up
    to whole patches; `width` must be a multiple of `heads`.
    Other arguments, returned model and errors as in `mlp`.
    """
    patch, width, heads = _whole("patch", patch), _whole("width", width), _whole("heads", heads)
    keras, start, inputs = _begin(input_shape, num_classes, seed, smallest=patch)
    height, across, channels = inputs.shape[1:]
    if width % heads:
        raise ValueError(f"width is {width}, heads is {heads}; each head takes an equal part of the width")
    rows, columns = math.ceil(height / patch), math.ceil(across / patch)
    x, missing = inputs, ((0, rows * patch - height), (0, columns * patch - across))
    if any(after for _, after in missing):
        x = keras.layers.ZeroPadding2D(missing, name="pad")(x)
    x = keras.layers.Reshape((rows, patch, columns, patch * channels), name="cut")(x)
    x = keras.layers.Permute((1, 3, 2, 4), name="gather")(x)
    x = keras.layers.Reshape((rows * columns, patch * patch * channels), name="patches")(x)
    x = keras.layers.EinsumDense(
        "btp,pd->btd", (rows * columns, width), bias_axes="td", kernel_initializer=next(start), name="embedding"
    )(x)
    for block in range(1, _whole("blocks", blocks) + 1):
        x = _attention(x, heads, width, start, f"block_{block}")
        x = _feed_forward(x, width, start, f"block_{block}")
    x = keras.layers.LayerNormalization(name="norm")(x)
    x = keras.layers.GlobalAveragePooling1D(name="average")(x)
    return _end("transformer", inputs, x, num_classes, start)


def _attention(x, heads: int, width: int, start: Iterator, name: str):
    """Normalize, attend, add."""
    import tf_keras

    normed = tf_keras.layers.LayerNormalization(name=f"{name}_attention_norm")(x)
    attention = tf_keras.layers.MultiHeadAttention(heads, width // heads, name=f"{name}_attention")
    attended = attention(normed, normed)
    for weight in attention.trainable_weights:  # one initializer would start query, key and value equal
        if "kernel" in weight.name:
            weight.assign(next(start)(weight.shape))
    return tf_keras.layers.Add(name=f"{name}_attention_add")([x, attended])


def _feed_forward(x, width: int, start: Iterator, name: str):
    """Normalize, widen twofold with GELU, narrow, add."""
    import tf_keras

    y = tf_keras.layers.LayerNormalization(name=f"{name}_dense_norm")(x)
    y = tf_keras.layers.Dense(2 * width, "gelu", kernel_initializer=next(start), name=f"{name}_dense_a")(y)
    y = tf_keras.layers.Dense(width, kernel_initializer=next(start), name=f"{name}_dense_b")(y)
    return tf_keras.layers.Add(name=f"{name}_dense_add")([x, y])


#: The architectures by name, as `training.trained` finds them.
ARCHITECTURES: dict[str, Callable[..., tf_keras.Model]] = {
    "mlp": mlp,
    "lenet_300_100": lenet_300_100,
    "lenet5": lenet5,
    "depthwise_cnn": depthwise_cnn,
    "residual_cnn": residual_cnn,
    "transformer": transformer,
}


def _conv_bn(x, filters: int, size: int, stride: int, initializer, name: str):
    """Convolution and batch normalization; no bias, since normalization would subtract it again."""
    import tf_keras

    conv = tf_keras.layers.Conv2D(
        filters, size, stride, "same", use_bias=False, kernel_initializer=initializer, name=f"{name}_conv"
    )
    return tf_keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(conv(x))


def _begin(input_shape: Sequence[int], num_classes: int, seed: int | None, smallest: int = 1):
    """Check the arguments; return Keras, initializers and the input tensor."""
    shape = tuple(input_shape) if isinstance(input_shape, Iterable) else ()
    if len(shape) != 3 or not all(map(_positive, shape)):
        raise ValueError(
            f"input_shape is {input_shape!r}; pass (height, width, channels) of one picture, without the batch "
            "axis, such as (28, 28, 1)"
        )
    if min(shape[:2]) < smallest:
        raise ValueError(
            f"input_shape is {input_shape!r}; this network needs pictures of at least {smallest}x{smallest}"
        )
    if not _positive(num_classes) or num_classes < 2:
        raise ValueError(f"num_classes is {num_classes!r}; pass a whole number of at least 2")
    if seed is not None and (isinstance(seed, bool) or not abs(_number(seed)) < 2**53 or int(seed) != seed):
        raise ValueError(
            f"seed is {seed!r}; pass a whole number, or None for other weights each time; at most 15 digits"
        )
    import tf_keras

    return tf_keras, _initializers(seed), tf_keras.Input(tuple(map(int, shape)), name="picture")


def _end(name: str, inputs, x, num_classes: int, start: Iterator):
    """Add the layer of logits and make the model."""
    import tf_keras

    logits = tf_keras.layers.Dense(int(num_classes), kernel_initializer=next(start), name="logits")(x)
    return tf_keras.Model(inputs, logits, name=name)


def _initializers(seed: int | None) -> Iterator:
    """One Glorot initializer a layer, each with its own seed, so that equal shapes start differently.

    Seeded here and not by tf_keras.utils.set_random_seed, which would change the caller's random numbers too.
    """
    import tf_keras

    layer = 0
    while True:
        yield tf_keras.initializers.GlorotUniform(None if seed is None else int(seed) * 1000 + layer)
        layer += 1


def _positive(value: object) -> bool:
    """True for a whole number above 0 (numpy's too, but not True)."""
    return not isinstance(value, bool) and _number(value) > 0 and float(value).is_integer()


def _whole(name: str, value: object) -> int:
    """`value` if it is a whole number above 0."""
    if not _positive(value):
        raise ValueError(f"{name} is {value!r}; pass a whole number of at least 1")
    return int(value)


def _number(value: object) -> float:
    """`value` as a float; NaN for what is no number."""
    import numbers

    return float(value) if isinstance(value, numbers.Real) else math.nan
