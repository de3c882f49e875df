"""Transfer: the backbone recognizes photographs, parts join to one model, and what is frozen stays to the last bit."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import tf_keras
from PIL import Image

from utils import ROOT, training
from utils.optimize import transfer

PHOTOGRAPHS = ROOT / "data" / "photographs"


def photograph(path, size=224) -> np.ndarray:
    """The middle square of a photograph, uint8."""
    with Image.open(path) as picture:
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        box = (left, top, left + side, top + side)
        return np.asarray(picture.convert("RGB").resize((size, size), Image.Resampling.BICUBIC, box=box))


@pytest.fixture(scope="module")
def imagenet():
    return transfer.efficientnet_lite0(top=True)


@pytest.mark.parametrize(
    "name, labels", [("coffee", {967}), ("cat", {285, 282, 281}), ("china", {698}), ("flower", {985})]
)
def test_the_backbone_recognizes_photographs(imagenet, name, labels):
    """967 espresso; 285, 282, 281 cats; 698 palace; 985 daisy."""
    import sklearn.datasets

    folder = PHOTOGRAPHS if name in ("coffee", "cat") else f"{sklearn.datasets.__path__[0]}/images"
    x = transfer.prepared(photograph(f"{folder}/{name}.jpg")[None], 224)
    assert int(np.argmax(imagenet(x, training=False))) in labels


def test_the_photographs_are_those_that_ship():
    for line in (PHOTOGRAPHS / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256((PHOTOGRAPHS / name).read_bytes()).hexdigest() == digest


def test_the_parameters_are_those_of_the_published_network(imagenet):
    assert imagenet.count_params() == 4_694_024


def test_a_file_of_weights_that_is_not_ours_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "WEIGHTS", tmp_path)
    with pytest.raises(FileNotFoundError, match="git checkout"):
        transfer.imagenet_weights()
    (tmp_path / transfer.WEIGHTS_FILE).write_bytes(b"PK half a file")
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  {transfer.WEIGHTS_FILE}\n")
    with pytest.raises(ValueError, match="not the file that the course ships"):
        transfer.imagenet_weights()


@pytest.mark.parametrize("size", [31, 96.0, True, None])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(ValueError, match="size is"):
        transfer.efficientnet_lite0(size, weights=None)


@pytest.mark.parametrize("size", [0, -8, 96.0, True, None])
def test_pictures_of_no_size_are_refused(size):
    with pytest.raises(ValueError, match="size is"):
        transfer.prepared(np.zeros((1, 8, 8, 3), np.uint8), size)


@pytest.mark.parametrize("name, options", [("MobileNetV2", {"alpha": 0.35}), ("ResNet50", {})])
def test_an_application_comes_with_its_own_preprocessing(name, options):
    backbone, preprocess = transfer.application(name, 32, weights=None, **options)
    assert len(backbone.output_shape) == 2 and backbone.input_shape == (None, 32, 32, 3)
    pixels = np.full((1, 32, 32, 3), 255.0, np.float32)
    made = preprocess(pixels)
    assert (pixels == 255).all(), "the argument stays as it was"
    wanted = {"MobileNetV2": [1, 1, 1], "ResNet50": [255 - 103.939, 255 - 116.779, 255 - 123.68]}[name]
    assert np.allclose(made[0, 0, 0], wanted, atol=1e-3)


_NO_NETWORK = Exception("URL fetch failure on https://storage.googleapis.com/x: None -- [Errno -3] no name")


@pytest.mark.parametrize(
    "failure, error, says",
    [(_NO_NETWORK, ConnectionError, "pass weights=None"), (OSError("no space left"), OSError, "no space left")],
    ids=["no network", "its own"],
)
def test_without_a_network_a_sentence_says_what_to_do_and_other_failures_speak_for_themselves(
    monkeypatch, failure, error, says
):
    def fails(*args, weights=None, **options):
        raise failure

    fails.__module__ = tf_keras.applications.MobileNetV2.__module__
    monkeypatch.setattr(tf_keras.applications, "MobileNetV2", fails)
    with pytest.raises(error, match=says):
        transfer.application("MobileNetV2")


def test_an_application_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="MobileNetV2"):
        transfer.application("MobilNetV2")


def test_an_application_without_its_preprocessing_is_refused():
    """Its preprocess_input is the identity, so pixels from 0 to 255 would go in as they are."""
    with pytest.raises(ValueError, match="leave the option out"):
        transfer.application("EfficientNetV2B0", 32, weights=None, include_preprocessing=False)


# -- pictures ----------------------------------------------------------------------------------------------------


def test_bytes_and_fractions_are_prepared_alike():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 20, 20, 3)).astype(np.uint8)
    same = transfer.prepared(pixels, 20)
    assert np.allclose(same, (pixels.astype(np.float32) - 127) / 128)
    assert np.allclose(same, transfer.prepared(pixels / 255.0, 20), atol=1e-5)


def test_grey_pictures_get_three_equal_channels():
    grey = np.random.default_rng(0).random((2, 28, 28))
    for pictures in (grey, grey[..., None]):
        made = transfer.prepared(pictures, 32)
        assert made.shape == (2, 32, 32, 3)
        assert np.array_equal(made[..., 0], made[..., 1]) and np.array_equal(made[..., 0], made[..., 2])


@pytest.mark.parametrize(
    "pictures, sentence",
    [
        (np.full((1, 8, 8, 3), 255.0), "divide them by 255"),
        (np.full((1, 8, 8, 3), -0.5), "prepared already"),
        (np.full((1, 8, 8, 3), np.nan), "NaN or infinite"),
        (np.zeros((1, 8, 8, 4)), "have shape"),
        (np.zeros((0, 8, 8, 3)), "have shape"),
        (np.zeros((8, 8)), "have shape"),
    ],
)
def test_a_range_or_shape_that_fits_nothing_is_refused(pictures, sentence):
    with pytest.raises(ValueError, match=sentence):
        transfer.prepared(pictures, 32)


# -- a small backbone --------------------------------------------------------------------------------------------


def small_backbone(kind: str = "functional") -> tf_keras.Model:
    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    inputs = tf_keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, use_bias=False, name="first_conv")(inputs)
    x = layers.ReLU(name="first_relu")(layers.BatchNormalization(name="first_bn")(x))
    x = layers.Conv2D(8, 3, use_bias=False, name="second_conv")(x)
    x = layers.BatchNormalization(name="second_bn")(x)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    model = tf_keras.Model(inputs, x, name="small")
    if kind == "nested":
        outer = tf_keras.Input((8, 8, 3))
        return tf_keras.Model(outer, model(outer), name="outer")
    return model


def problem(n: int = 120):
    """Three classes: which channel is brightest."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n).astype(np.int32)
    x = rng.normal(0, 0.3, (n, 8, 8, 3)).astype(np.float32)
    x[np.arange(n), :, :, y] += 1
    return x, y


@pytest.mark.parametrize("kind", ["functional", "nested"])
def test_cached_features_and_head_are_the_joined_model(kind):
    backbone, (x, y) = small_backbone(kind), problem()
    cached = transfer.features(backbone, x)
    head = transfer.train_head(cached, y, 3)
    model = transfer.with_head(backbone, head)
    assert np.allclose(model.predict(x, verbose=0), head.predict(cached, verbose=0), atol=1e-3)
    assert np.mean(model.predict(x, verbose=0).argmax(1) == y) > 0.9
    assert not any(isinstance(layer, tf_keras.Model) for layer in model.layers)
    ours = {id(weight) for weight in backbone.weights + head.weights}
    assert not ours & {id(weight) for weight in model.weights}


def test_a_feature_that_hardly_varies_gets_no_huge_weight():
    """It would leave no level of an int8 kernel to the others."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = rng.normal(0, 1, (60, 8)).astype(np.float32)
    x[:, 0] += 2 * y
    x[:, 1] = 1e-4 * y  # follows the label, and is nearly always the same
    kernel = transfer.train_head(x, y, 2).get_weights()[0]
    assert np.abs(kernel[1]).max() < 50 * np.abs(kernel[0]).max()  # without the floor more than 500 times


@pytest.fixture
def joined():
    x, y = problem()
    backbone = small_backbone()
    return transfer.with_head(backbone, transfer.train_head(transfer.features(backbone, x), y, 3))


def test_frozen_statistics_are_equal_to_the_last_bit(joined):
    before = transfer.statistics(joined)
    kernel = joined.get_layer("first_conv").kernel.numpy()
    transfer.fine_tune(joined, problem(), 2)
    after = transfer.statistics(joined)
    assert set(before) == {f"{n}_bn.{w}" for n in ("first", "second") for w in ("moving_mean", "moving_variance")}
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert not np.array_equal(kernel, joined.get_layer("first_conv").kernel.numpy()), "the kernels did learn"
    assert all(layer.trainable for layer in joined.layers)


def test_statistics_move_where_that_is_asked_for(joined):
    before = transfer.statistics(joined)
    transfer.fine_tune(joined, problem(), 1, freeze_statistics=False)
    after = transfer.statistics(joined)
    assert not any(np.array_equal(before[name], after[name]) for name in before)


def test_layers_before_the_first_that_learns_keep_every_bit(joined):
    before = {weight.name: weight.numpy() for weight in joined.weights}
    transfer.fine_tune(joined, problem(), 2, from_layer="second")
    moved = {w.name.split("/")[0] for w in joined.weights if not np.array_equal(before[w.name], w.numpy())}
    assert moved == {"second_conv", "logits"}


def test_the_beginning_of_a_name_is_a_whole_word():
    assert transfer._begins("block1_conv", "block1") and not transfer._begins("block11_conv", "block1")
    assert transfer._begins("quant_block1_conv", "block1")
    assert transfer._begins("prune_low_magnitude_block1", "block1") and not transfer._begins("my_block1", "block1")


def test_a_layer_that_is_not_there_is_refused_and_nothing_is_frozen(joined):
    with pytest.raises(ValueError, match="second_conv"):
        transfer.fine_tune(joined, problem(), from_layer="second_cnov")
    assert all(layer.trainable for layer in joined.layers)


def test_a_joined_model_and_its_backbone_can_be_cut_afterwards(joined):
    x = problem(4)[0]
    cut = transfer.cut_at(joined, "features")
    assert np.allclose(transfer.features(cut, x), small_backbone().predict(x, verbose=0), atol=1e-5)
    assert joined.name == "transferred" and [layer.name for layer in joined.layers][-1] == "logits"


def test_a_shorter_backbone_gives_the_means_of_its_last_map():
    backbone, (x, _) = small_backbone(), problem(4)
    short = transfer.cut_at(backbone, "first_relu")
    whole_map = tf_keras.Model(backbone.input, backbone.get_layer("first_relu").output).predict(x, verbose=0)
    assert np.allclose(transfer.features(short, x), whole_map.mean((1, 2)), atol=1e-5)


@pytest.mark.parametrize(
    "y, classes, sentence",
    [
        (np.zeros(6, int), 2, "class 1 has 0"),
        (np.array([0, 0, 0, 1, 1, 2]), 3, "class 2 has 1"),
        (np.eye(2)[[0, 1, 0, 1, 0, 1]], 2, "not one-hot"),
        (np.array([0, 1, 0, 1, 0, 2]), 2, "from 0 to 1"),
        (np.array([0, 1, 0, 1, 0, 1]), 1, "num_classes is 1"),
        (np.array([0, 1, 0, 1]), 2, "have shape"),
        (np.array([0, 1, 0, 1, 0, -1]), 2, "from 0 to 1"),
        (np.array([0.0, 1, 0, 1, 0, 1]), 2, "must be whole numbers"),
        (np.array([0, 1, 0, 1, 0, 1]), True, "num_classes is True"),
        (np.array([0, 1, 0, 1, 0, 1]), 2.0, "num_classes is 2.0"),
    ],
)
def test_labels_that_do_not_fit_are_refused(y, classes, sentence):
    with pytest.raises(ValueError, match=sentence):
        transfer.train_head(np.random.default_rng(0).random((6, 4)), y, classes)


def test_two_examples_of_each_class_are_enough_and_none_are_not():
    head = transfer.train_head(np.eye(4), np.array([0, 0, 1, 1]), 2, epochs=1)
    assert [layer.name for layer in head.layers] == ["logits"] and head.output_shape == (None, 2)
    with pytest.raises(ValueError, match="must be whole numbers"):
        transfer.train_head(np.zeros((0, 4)), np.zeros(0, int), 2)
    with pytest.raises(ValueError, match=r"pass \(n, width\)"):
        transfer.train_head(np.zeros((4, 2, 2)), np.array([0, 0, 1, 1]), 2)


def test_a_head_is_trained_as_it_is_asked_to_be():
    x, y = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32), np.arange(40) % 2
    x[:, 0] += y

    def kernel(**settings):
        return transfer.train_head(x, y, 2, **{"epochs": 3, "batch_size": 16, **settings}).get_weights()[0]

    plain = kernel()
    np.testing.assert_array_equal(plain, kernel())
    others = [{"epochs": 6}, {"learning_rate": 0.01}, {"weight_decay": 10.0}, {"batch_size": 8}, {"seed": 5}]
    for settings in others:
        assert not np.array_equal(plain, kernel(**settings)), settings
    assert np.abs(kernel(weight_decay=10.0)).sum() < np.abs(plain).sum()


def test_fine_tuning_hands_its_settings_on(monkeypatch, joined):
    seen = {}
    monkeypatch.setattr(transfer.recovery, "recover", lambda *arguments, **settings: seen.update(settings, a=arguments))
    settings = {"learning_rate": 0.5, "batch_size": 7, "teacher": small_backbone(), "freeze_statistics": False}
    transfer.fine_tune(joined, "data", 4, seed=9, **settings)
    assert seen.pop("a") == (joined, "data", 4) and seen == settings | {"seed": 9}


def test_a_layer_that_was_frozen_before_stays_so(joined):
    joined.get_layer("second_bn").trainable = False
    transfer.fine_tune(joined, problem(), from_layer="first")
    assert [layer.name for layer in joined.layers if not layer.trainable] == ["second_bn"]


def test_the_map_is_a_32nd_of_the_picture_and_weights_may_be_random():
    model = transfer.efficientnet_lite0(32, weights=None)
    assert model.output_shape == (None, 1280) and model.layers[-1].name == "features"
    sides = {layer.output_shape[1] for layer in model.layers if layer.name.endswith("_depthwise")}
    assert sides == {16, 8, 4, 2, 1}
    last = {layer.name.removesuffix("_project_conv"): layer.output_shape[1:] for layer in model.layers}
    assert [last[f"block{n}"] for n in (0, 2, 4, 7, 10, 14, 15)] == [
        *((16, 16, 16), (8, 8, 24), (4, 4, 40), (2, 2, 80), (2, 2, 112), (1, 1, 192), (1, 1, 320))
    ]
    with pytest.raises(ValueError, match="weights is 'noisy_student'"):
        transfer.efficientnet_lite0(64, weights="noisy_student")


def test_what_is_random_in_inference_cannot_be_joined():
    noise = tf_keras.layers.Lambda(lambda values: values + tf_keras.backend.random_normal((2, 8)))
    head = tf_keras.Sequential([tf_keras.Input((8,)), noise])
    with pytest.raises(ValueError, match="differs from its parts"):
        transfer.with_head(small_backbone(), head)


def test_a_cut_model_is_named_and_a_vector_is_no_map():
    assert transfer.cut_at(small_backbone(), "first_relu").name == "small_to_first_relu"
    assert transfer.cut_at(small_backbone(), "features").output_shape == (None, 8)
    with pytest.raises(ValueError, match="first_relu"):
        transfer.cut_at(small_backbone(), "first_rely")


def test_pixels_from_0_to_1_are_those_of_a_picture():
    made = transfer.prepared(np.array([[[0.0, 1.0]]]), 2)[0, 0, :, 0]
    assert np.allclose(made, [-127 / 128, 1])
    assert transfer.prepared(np.zeros((1, 1, 1), np.uint8), 1).shape == (1, 1, 1, 3)


def test_parts_that_do_not_fit_are_refused():
    backbone = small_backbone()
    other = tf_keras.Sequential([tf_keras.Input((9,)), tf_keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="trained on this backbone's features"):
        transfer.with_head(backbone, other)
    map_ = tf_keras.Model(backbone.input, backbone.get_layer("first_relu").output)
    with pytest.raises(ValueError, match="pooling='avg'"):
        transfer.features(map_, problem()[0])


@pytest.mark.parametrize("from_layer", [None, "last"])
def test_layers_inside_others_are_as_trainable_as_before(from_layer):
    inner, (x, y) = small_backbone(), problem()
    inner.get_layer("first_conv").trainable = False
    inputs = tf_keras.Input((8, 8, 3))
    model = tf_keras.Model(inputs, tf_keras.layers.Dense(3, name="last")(inner(inputs)))
    kernel = inner.get_layer("first_conv").kernel.numpy()
    transfer.fine_tune(model, (x, y), from_layer=from_layer)
    assert [layer.name for layer in inner.layers if not layer.trainable] == ["first_conv"] and model.trainable
    assert np.array_equal(kernel, inner.get_layer("first_conv").kernel.numpy())


def test_what_could_learn_nothing_is_no_training(joined):
    ending = tf_keras.Model(joined.input, tf_keras.layers.Softmax(name="softmax")(joined.output))
    with pytest.raises(ValueError, match="would learn from 'softmax' on; pass an earlier layer"):
        transfer.fine_tune(ending, problem(), from_layer="softmax")
    joined.trainable = False
    with pytest.raises(ValueError, match=r"would learn; set model\.trainable = True"):
        transfer.fine_tune(joined, problem())
    assert not any(layer.trainable for layer in joined.layers)


def test_statistics_of_two_models_with_the_same_names_are_all_there():
    one, other = small_backbone(), small_backbone()
    other.get_layer("first_bn").moving_mean.assign(np.full(6, 5.0))
    other._name = "other"
    inputs = tf_keras.Input((8, 8, 3))
    model = tf_keras.Model(inputs, tf_keras.layers.Concatenate()([one(inputs), other(inputs)]))
    found = transfer.statistics(model)
    assert len(found) == 8 and set(found["first_bn#2.moving_mean"]) == {5.0} != set(found["first_bn.moving_mean"])


@pytest.mark.parametrize("rank", [1, 3])
def test_a_map_of_any_rank_becomes_its_mean(rank):
    layers = tf_keras.layers
    inputs = tf_keras.Input((*(6,) * rank, 2))
    x = {1: layers.Conv1D, 3: layers.Conv3D}[rank](4, 3, name="conv")(inputs)
    model = tf_keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    x = np.random.default_rng(0).normal(size=(3, *inputs.shape[1:])).astype(np.float32)
    made = transfer.features(transfer.cut_at(model, "conv"), x)
    wanted = model.get_layer("conv")(x).numpy().mean(tuple(range(1, rank + 1)))
    assert np.allclose(made, wanted, atol=1e-5)


def test_a_layer_of_several_outputs_is_no_end():
    inputs = tf_keras.Input((6, 2))
    last, *_ = tf_keras.layers.LSTM(4, return_state=True, name="lstm")(inputs)
    with pytest.raises(ValueError, match="'lstm' gives 3 outputs"):
        transfer.cut_at(tf_keras.Model(inputs, tf_keras.layers.Dense(3)(last)), "lstm")


@pytest.mark.parametrize(
    "size, options, words",
    [
        ("96", {}, "size is '96'"),
        (32, {"pooling": "max"}, "pooling cannot be chosen"),
        (32, {"include_top": True, "input_shape": (32, 32, 3)}, "include_top, input_shape cannot be chosen"),
    ],
)
def test_what_an_application_settles_itself(size, options, words):
    with pytest.raises(ValueError, match=words):
        transfer.application("MobileNetV2", size, weights=None, **options)


@pytest.mark.parametrize(
    "pictures, error, words",
    [
        (np.zeros((96, 96, 3), np.uint8), ValueError, r"one picture in colour; pass pictures\[np.newaxis\]"),
        ([np.zeros((8, 8, 3)), np.zeros((8, 9, 3))], ValueError, "pictures is no array"),
        (None, TypeError, "pictures is a NoneType"),
    ],
)
def test_what_is_no_array_of_pictures(pictures, error, words):
    with pytest.raises(error, match=words):
        transfer.prepared(pictures, 32)


def test_a_size_of_numpy_is_a_size():
    assert transfer.prepared(np.zeros((1, 48, 48, 3), np.uint8), np.int64(32)).shape == (1, 32, 32, 3)


def test_a_backbone_takes_one_input_and_gives_one_vector():
    inputs = [tf_keras.Input((4,)), tf_keras.Input((4,))]
    two = tf_keras.Model(inputs, tf_keras.layers.Concatenate()(inputs))
    with pytest.raises(ValueError, match="has 2 inputs; pass one with one input"):
        transfer.features(two, [np.ones((3, 4))] * 2)
    small = small_backbone()
    with pytest.raises(ValueError, match=r"gives {'a': .*pooling='avg'"):
        transfer.features(tf_keras.Model(small.input, {"a": small.output, "b": small.output}), problem()[0])

    class Subclassed(tf_keras.Model):
        def call(self, inputs):
            return tf_keras.backend.mean(inputs, axis=(1, 2))

    own = Subclassed()
    own(problem()[0])
    with pytest.raises(ValueError, match="subclassed, so its shapes are not known; wrap it"):
        transfer.features(own, problem()[0])


@pytest.mark.parametrize(
    "part, words",
    [
        ("two outputs", "the head .* gives .*one vector of logits"),
        ("two inputs", "has 2 inputs"),
        ("one name", "both parts have a layer 'features'"),
    ],
)
def test_parts_that_cannot_be_joined(part, words):
    layers, vector = tf_keras.layers, tf_keras.Input((8,))
    backbone, head = small_backbone(), tf_keras.Sequential([tf_keras.Input((8,)), layers.Dense(3)])
    if part == "two outputs":
        head = tf_keras.Model(vector, [layers.Dense(2)(vector), layers.Dense(3)(vector)])
    elif part == "two inputs":
        inputs = [tf_keras.Input((4,)), tf_keras.Input((4,))]
        backbone = tf_keras.Model(inputs, layers.Concatenate()(inputs))
    else:
        head = tf_keras.Sequential([tf_keras.Input((8,)), layers.Dense(3, name="features")])
    with pytest.raises(ValueError, match=words):
        transfer.with_head(backbone, head)


@pytest.mark.parametrize("decay", [-1, np.nan, "1e-4", None])
def test_a_decay_that_is_no_factor(decay):
    with pytest.raises(ValueError, match="weight_decay is"):
        transfer.train_head(np.eye(4), np.array([0, 0, 1, 1]), 2, weight_decay=decay)


def test_labels_in_a_column_are_not_to_be_made_zeros():
    with pytest.raises(ValueError, match=r"not in a column \(y\[:, 0\]\)"):
        transfer.train_head(np.eye(4), np.array([[0], [0], [1], [1]]), 2)
