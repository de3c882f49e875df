"""Combined recipes: what one technique has made is there after the next one, counted in the file's integers."""

import functools

import numpy as np
import pytest
import tf_keras

from utils import artifact
from utils.optimize import clustering, combined
from utils.optimize.keras_graph import rebuild
from utils.optimize.pruning.magnitude import prune_once
from utils.optimize.quantization import aware_ranges
from utils.optimize.quantization.converter import convert
from utils.optimize.sparsity import samples

K = tf_keras.layers


def dense():
    tf_keras.utils.set_random_seed(1)
    return tf_keras.Sequential(
        [tf_keras.Input((20,)), K.Dense(24, "relu", name="a"), K.Dense(16, "relu", name="b"), K.Dense(3, name="c")]
    )


def convolutional():
    """With normalization to fold, a depthwise layer, a branch, and two dense layers."""
    tf_keras.utils.set_random_seed(1)
    inputs = tf_keras.Input((8, 8, 2))
    x = K.Conv2D(6, 3, padding="same", use_bias=False, name="conv")(inputs)
    x = K.BatchNormalization(name="norm")(x)
    x = K.ReLU(name="relu")(x)
    y = K.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = K.Add(name="add")([x, y])
    x = K.Conv2D(8, 1, name="pointwise")(x)
    x = K.Dense(16, "relu", name="hidden")(K.Flatten(name="flat")(x))
    return tf_keras.Model(inputs, K.Dense(3, name="logits")(x))


def examples(model, count=128):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, *model.input_shape[1:])).astype("float32")
    return x, rng.integers(0, model.output_shape[-1], count)


PRUNED = ["conv", "hidden"]  # "pointwise" and "logits" have no zero


def prepared(keep):
    model = convolutional()
    if "zeros" in keep:
        model = prune_once(model, 0.6, only=PRUNED)
    if "values" in keep:
        model = clustering.cluster_once(model, 8, keep_zeros="zeros" in keep).model
    return model


KEEPING = [keep for keep in combined.KEEP if keep != "nothing"]


@functools.cache
def trained(keep):
    """(model before, result), trained with a rate at which weights leave zero if they may."""
    model = prepared(keep)
    return model, combined.quantize_while_training(model, examples(model), keep, 2, learning_rate=1e-2)


def kernels(model):
    return {layer.name: layer.kernel.numpy() for layer in model.layers if type(layer) in (K.Conv2D, K.Dense)}


@pytest.mark.parametrize("keep", ["zeros", "zeros and values"])
def test_each_zero_is_zero_at_its_place_and_in_the_file(keep):
    """Although one layer of each kind has none: for such a one the Toolkit's scheme gives up the zeros of its kind."""
    model, made = trained(keep)
    for name, kernel in kernels(model).items():
        integers, _ = aware_ranges.integer_kernel(made.model, name)
        assert (kernel == 0).any() == (name in PRUNED)
        assert not integers[kernel == 0].any()
        assert integers.any()
    wanted = sum(np.count_nonzero(kernel == 0) for kernel in kernels(model).values())
    assert sum(kernel.zeros for kernel in combined.kernels_in_file(made.file.content)) >= wanted


@pytest.mark.parametrize("keep", ["values", "zeros and values"])
def test_the_file_has_no_more_values_in_a_channel_than_there_were_clusters(keep):
    _, made = trained(keep)
    stored = [k for k in combined.kernels_in_file(made.file.content) if k.operator != "DEPTHWISE_CONV_2D"]
    assert len(stored) == 4
    assert all(2 <= kernel.in_a_channel <= 8 for kernel in stored)


@pytest.mark.parametrize("keep", KEEPING)
def test_training_moved_the_weights_and_the_file_agrees_with_the_model(keep):
    model, made = trained(keep)
    x, _ = examples(model)
    ours, theirs = made.model.predict(x, verbose=0), made.file.predict(x)
    assert np.mean(ours.argmax(1) == theirs.argmax(1)) > 0.8  # near ties may differ
    integers, scale = aware_ranges.integer_kernel(made.model, "hidden")
    assert np.abs(integers * scale - model.get_layer("hidden").kernel.numpy()).max() > 2 * scale


def test_without_keeping_most_zeros_are_lost():
    model = prune_once(dense(), 0.6)
    made = combined.quantize_while_training(model, examples(model), "nothing", 2, learning_rate=1e-2)
    assert combined.share_of_zeros(made.file.content) < 0.3


@pytest.mark.parametrize("keep", KEEPING)
def test_the_model_that_was_given_stays_as_it_is(keep):
    model, _ = trained(keep)
    for old, new in zip(prepared(keep).get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_models_inside_are_opened():
    inner = tf_keras.Sequential([tf_keras.Input((20,)), K.Dense(12, "relu", name="inside")], name="inner")
    inputs = tf_keras.Input((20,))
    model = prune_once(tf_keras.Model(inputs, K.Dense(3, name="logits")(inner(inputs))), 0.5)
    made = combined.quantize_while_training(model, examples(model), "zeros")
    assert combined.share_of_zeros(made.file.content) >= 0.49


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("build", "keep", "message"),
    [
        (dense, "zeros", "prune it first"),
        (lambda: prune_once(dense(), 0.5), "sparsity", "zeros and values"),
        (lambda: tf_keras.Sequential([tf_keras.Input((4,)), K.ReLU()]), "zeros", "no Conv2D"),
    ],
)
def test_nothing_to_keep_and_unknown_words_are_refused(build, keep, message):
    model = build()
    data = (np.zeros((8, *model.input_shape[1:]), np.float32), np.zeros(8, int))
    with pytest.raises(ValueError, match=message):
        combined.quantize_while_training(model, data, keep)


def test_weights_that_nobody_clustered_are_refused():
    small = [K.Dense(3, name="c")]  # 90 weights, and as many values
    model = tf_keras.Sequential([tf_keras.Input((50,)), K.Dense(40, name="a"), K.Dense(30, name="b"), *small])
    with pytest.raises(ValueError, match="fewer than weights, so there are none to keep; cluster it first"):
        combined.quantize_while_training(model, examples(model), "values")


@pytest.mark.parametrize("layer", [K.LayerNormalization, K.PReLU])
def test_a_layer_that_the_scheme_does_not_know_is_refused_with_a_way_out(layer):
    model = tf_keras.Sequential([tf_keras.Input((20,)), layer(), K.Dense(3)])
    with pytest.raises(ValueError, match="after training"):
        combined.quantize_while_training(prune_once(model, 0.5), examples(model), "zeros")


def test_weights_that_are_not_finite_and_models_with_fake_quantization_are_refused():
    model = prune_once(dense(), 0.5)
    _, made = trained("zeros")
    with pytest.raises(ValueError, match="already has fake quantization"):
        combined.quantize_while_training(made.model, examples(model), "zeros")
    model.get_layer("a").bias.assign(np.full(24, np.nan))
    with pytest.raises(ValueError, match=r"NaN|finite"):
        combined.quantize_while_training(model, examples(model), "zeros")


# ---------------------------------------------------------------- the counts of a file


@pytest.fixture(scope="module")
def counted():
    """A convolutional model with known zeros and values, and its float file."""
    model = convolutional()
    model.get_layer("norm").set_weights([np.ones(6), np.zeros(6), np.zeros(6), np.ones(6) - 1e-3])  # folds to 1
    for name in ("pointwise", "logits"):
        kernel = model.get_layer(name).kernel
        kernel.assign((np.arange(kernel.shape.num_elements()) % 4).reshape(kernel.shape))
    depthwise = model.get_layer("depthwise").depthwise_kernel
    depthwise.assign(np.broadcast_to(np.arange(6)[:, None], depthwise.shape))  # one value a channel
    return model, convert(model, "float32").content


def test_zeros_and_values_are_those_of_the_model(counted):
    model, content = counted
    found = {kernel.operator + str(kernel.size): kernel for kernel in combined.kernels_in_file(content)}
    pointwise = found["CONV_2D48"]
    assert (pointwise.zeros, pointwise.distinct) == (12, 4)
    depthwise = found["DEPTHWISE_CONV_2D54"]
    assert (depthwise.zeros, depthwise.distinct, depthwise.in_a_channel) == (9, 6, 1)
    logits = model.get_layer("logits").kernel.numpy()
    assert found[f"FULLY_CONNECTED{logits.size}"].zeros == np.count_nonzero(logits == 0)


def test_post_training_quantization_keeps_every_zero():
    model = prune_once(dense(), 0.7)
    x, _ = examples(model)
    content = convert(model, "int8", x).content
    wanted = sum(np.count_nonzero(kernel == 0) for kernel in kernels(model).values())
    assert sum(kernel.zeros for kernel in combined.kernels_in_file(content)) >= wanted
    assert combined.share_of_zeros(content) == pytest.approx(0.7, abs=0.05)


def test_kernels_that_are_unpacked_when_the_file_is_opened_are_counted_as_stored():
    """float16 and sparse ones stand behind an operator; without them the share would be that of the biases' owners."""
    model = prune_once(dense(), 0.75)
    wanted = [(np.count_nonzero(kernel == 0), len(np.unique(kernel))) for kernel in kernels(model).values()]
    for content in (convert(model, "float16").content, samples.as_file(model, sparse=True)):
        found = combined.kernels_in_file(content)
        assert [kernel.zeros for kernel in found] == [zeros for zeros, _ in wanted]
        assert combined.share_of_zeros(content) == pytest.approx(0.75, abs=0.01)
    assert [kernel.distinct for kernel in found] == [distinct for _, distinct in wanted]


def test_the_kernel_of_three_axes_is_counted():
    model = tf_keras.Sequential([tf_keras.Input((4, 4, 4, 1)), K.Conv3D(2, 2), K.Flatten(), K.Dense(2)])
    model = prune_once(model, 0.5)
    found = combined.kernels_in_file(convert(model, "float32").content)
    assert [(kernel.operator, kernel.size, kernel.zeros) for kernel in found] == [
        ("CONV_3D", 16, 8),
        ("FULLY_CONNECTED", 108, 54),
    ]


@pytest.mark.parametrize("count", [combined.share_of_zeros, combined.coded_size, combined.kernels_in_file])
def test_what_is_no_content_is_refused_with_what_to_pass(count, tmp_path):
    with pytest.raises(TypeError, match=r"is a PosixPath; pass .*\.read_bytes"):
        count(tmp_path)
    with pytest.raises(TypeError, match=r"is a Artifact; pass .*\.content"):
        count(artifact.Artifact(b"\0\0\0\0TFL3", "tflite"))
    with pytest.raises(TypeError, match=r"is a int; pass .*convert"):
        count(10**12)  # so many zero bytes would be made of it


def test_a_file_without_kernels_is_refused():
    content = convert(tf_keras.Sequential([tf_keras.Input((4,)), K.ReLU()]), "float32").content
    for count in (combined.share_of_zeros, combined.coded_size):
        with pytest.raises(ValueError, match="no kernel"):
            count(content)


@pytest.mark.parametrize("mode", ["float32", "int8"])
def test_coded_bytes_follow_zeros(mode):
    model = dense()
    x, _ = examples(model)
    sizes = []
    for target in (0.0, 0.9):
        content = convert(prune_once(model, target), mode, x if mode == "int8" else None).content
        sizes.append(combined.coded_size(content))
        assert sizes[-1] < len(content)
    assert sizes[1] < sizes[0]


def test_coded_bytes_are_those_of_the_kernels_and_of_the_rest(counted):
    """Kernels of one value cost next to nothing; what stays is the rest of the file."""
    from utils.optimize.coding import byte_coders

    _, content = counted
    model = rebuild(counted[0])
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            layer.kernel.assign(np.zeros(layer.kernel.shape))
    empty = convert(model, "float32").content
    assert abs(combined.coded_size(empty) - len(byte_coders.pack(empty))) < 400
    assert combined.coded_size(content) > combined.coded_size(empty)


def test_half_precision_kernels_are_refused(counted):
    with pytest.raises(ValueError, match=r"float16|no kernel"):
        combined.coded_size(convert(counted[0], "float16").content)


EACH_ONE_VALUE = {
    "CONV_2D": (lambda: K.Conv2D(4, 2), (5, 5, 3), -1),
    "DEPTHWISE_CONV_2D": (lambda: K.DepthwiseConv2D(2), (5, 5, 4), -2),
    "TRANSPOSE_CONV": (lambda: K.Conv2DTranspose(4, 2), (5, 5, 3), -2),
    "CONV_3D": (lambda: K.Conv3D(4, 2), (4, 4, 4, 3), -1),
    "FULLY_CONNECTED": (lambda: K.Dense(4), (3,), -1),
}


@pytest.mark.parametrize("operator", EACH_ONE_VALUE)
def test_an_output_channel_lies_where_its_operator_stores_it(operator):
    make, shape, axis = EACH_ONE_VALUE[operator]
    model = tf_keras.Sequential([tf_keras.Input(shape), make()])
    values, *biases = model.get_weights()
    channels = np.moveaxis(np.broadcast_to(np.float32([0, 1, 2, 3]), np.moveaxis(values, axis, -1).shape), -1, axis)
    model.set_weights([channels, *biases])
    (kernel,) = combined.kernels_in_file(convert(model, "float32").content)
    assert (kernel.operator, kernel.size, kernel.zeros) == (operator, values.size, values.size // 4)
    assert (kernel.distinct, kernel.in_a_channel) == (4, 1)


def test_the_words_for_what_is_kept_are_those_of_the_toolkit():
    assert combined.KEEP == {"nothing": "QAT", "zeros": "PQAT", "values": "CQAT", "zeros and values": "PCQAT"}


def test_sparse_kernels_are_not_coded():
    with pytest.raises(ValueError, match=r"with 2 axes, stored sparsely; coded are dense float32 and int8 ones"):
        combined.coded_size(samples.as_file(prune_once(dense(), 0.75), sparse=True))
    volumes = tf_keras.Sequential([tf_keras.Input((4, 4, 4, 2), 1), K.Conv3D(3, 2)])
    with pytest.raises(ValueError, match=r"is float32, with 5 axes; coded are .* of 2 or 4 axes"):
        combined.coded_size(samples.as_file(volumes, sparse=False))


class Reached(Exception):
    """What comes next would be the training."""


def before_training(monkeypatch, model, data, keep, epochs=1, **settings):
    """What is measured and what training is called with."""
    seen = {}

    def fit(wrapped, examples, *arguments, **named):
        seen.update(named, arguments=arguments)
        raise Reached

    monkeypatch.setattr(combined.aware_ranges, "calibrate", lambda wrapped, x: seen.update(measured=len(x)))
    monkeypatch.setattr(combined.training, "fit", fit)
    with pytest.raises(Reached):
        combined.quantize_while_training(model, data, keep, epochs, **settings)
    return seen


@pytest.mark.parametrize("count, measured", [(400, 300), (40, 40)])
def test_ranges_are_measured_on_the_first_300_and_training_gets_its_settings(monkeypatch, count, measured):
    model = prune_once(dense(), 0.5)
    settings = {"batch_size": 8, "learning_rate": 0.5, "decay": False, "seed": 4}
    seen = before_training(monkeypatch, model, examples(model, count), "zeros", 3, **settings)
    assert seen == settings | {"measured": measured, "arguments": (3,)}


@pytest.mark.parametrize("values, kept", [(1, False), (2, True), (1024, True), (1025, False)])
def test_values_are_kept_of_a_kernel_that_has_from_2_to_1024(monkeypatch, values, kept):
    model = tf_keras.Sequential([tf_keras.Input((41,)), K.Dense(25, name="a")])
    numbers = np.linspace(0.5, 1, values, dtype=np.float32)
    model.layers[0].kernel.assign(np.resize(numbers, (41, 25)))
    if kept:
        before_training(monkeypatch, model, examples(model, 8), "values")
    else:
        with pytest.raises(ValueError, match="cluster it first"):
            combined.quantize_while_training(model, examples(model, 8), "values")


def kernel_of(zeros=10**6, in_a_channel=2):
    return combined.Kernel("CONV_2D", "k", 10**6, zeros, 9, in_a_channel)


@pytest.mark.parametrize(
    "keep, integers, stored, sentence",
    [
        ("zeros", np.ones_like, kernel_of(), "zeros of layer 'conv' are gone after PQAT"),
        ("zeros", np.zeros_like, kernel_of(zeros=3), "the file has 3 zeros, the model"),
        ("values", lambda kernel: np.arange(kernel.size).reshape(kernel.shape), kernel_of(), "'conv' has 18 different"),
        ("values", np.zeros_like, kernel_of(in_a_channel=9), "more different integers than 8"),
    ],
)
def test_what_was_to_be_kept_and_is_gone_is_said(monkeypatch, keep, integers, stored, sentence):
    model, made = trained(keep)
    before = kernels(model)
    monkeypatch.setattr(combined.aware_ranges, "integer_kernel", lambda model, name: (integers(before[name]), 1.0))
    monkeypatch.setattr(combined, "kernels_in_file", lambda content: [stored])
    with pytest.raises(combined.KeepingFailed, match=sentence):
        combined._check_kept(made.model, before, keep, made.file)


def test_a_model_of_arrays_has_them_as_its_kernels():
    arrays = [np.random.default_rng(0).normal(size=shape).astype(np.float32) for shape in ((3, 4), (2, 2, 3, 5))]
    model = combined.model_of(arrays)
    assert [type(layer) for layer in model.layers if layer.weights] == [K.Dense, K.Conv2D]
    for array, weight in zip(arrays, model.get_weights(), strict=True):
        np.testing.assert_array_equal(array, weight)
