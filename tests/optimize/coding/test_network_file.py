"""Compressed networks: every kind comes back bit for bit, and a bad file ends in a sentence."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest

from tests.optimize.coding import golden, zoo
from utils import child
from utils.optimize import coding
from utils.optimize.coding import network_file, structure


@pytest.fixture(scope="module")
def model():
    return zoo.quantized(zoo.pictures())


@pytest.fixture(scope="module")
def content(model):
    return coding.compress(model)


def _assert_same(model, other):
    assert structure.describe(model) == structure.describe(other)
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        assert one.dtype == two.dtype and one.shape == two.shape and one.tobytes() == two.tobytes()


@pytest.mark.parametrize("kind", zoo.KINDS, ids=lambda kind: kind.__name__)
def test_networks_of_every_kind_come_back_bit_for_bit(kind):
    model = kind()
    float_size = len(coding.compress(model))
    _assert_same(model, coding.decompress(coding.compress(model)))
    zoo.quantized(model)
    content = coding.compress(model)
    decoded = coding.decompress(content)
    _assert_same(model, decoded)
    assert len(content) < float_size
    inputs = [np.ones([2, *(4 if d is None else d for d in t.shape[1:])], t.dtype.name) for t in model.inputs]
    inputs = dict(zip(model.input_names, inputs, strict=True)) if kind is zoo.named else inputs
    for one, two in zip(_flat(model(inputs)), _flat(decoded(inputs)), strict=True):
        np.testing.assert_array_equal(one, two)


def _flat(outputs):
    import tensorflow as tf

    return [np.asarray(part) for part in tf.nest.flatten(outputs)]


def test_equal_models_give_equal_bytes_and_parts_add_up(model, content):
    assert coding.compress(model) == content
    found = coding.inspect(content)
    assert sum(part.bits for part in found.parts) == pytest.approx(8 * len(content), abs=1e-6)
    assert found.size == len(content) and found.parameters == model.count_params()
    assert found.ratio == 4 * model.count_params() / len(content)
    assert found.total("head") == 7 and found.total("rounding") < 1.01
    assert all(part.bits > 0 for part in found.parts if part.kind != "rounding")
    arrays = {part.array for part in found.parts}
    assert len(arrays - {""}) == 4 and found.total("positions") > found.total("signs") > 0
    assert "positions" in str(found)


def test_parameters_that_are_not_trained_count_too():
    model = zoo.nested()  # with the statistics of a normalization
    assert model.non_trainable_weights
    assert coding.inspect(coding.compress(model)).parameters == model.count_params()


def test_the_end_of_a_file_costs_less_than_a_byte():
    """It is the shortest number in the coder's interval, and may by luck be shorter than the interval's bits."""
    import tf_keras as k

    layers = [k.Input((12,), name="in"), k.layers.Dense(5, name="one"), k.layers.Dense(3, name="two")]
    model = k.Sequential(layers, name="net")  # whatever models other tests made, the names are these
    files = [coding.compress(zoo.quantized(model, seed=seed)) for seed in range(40)]
    ends = [coding.inspect(file).total("rounding") for file in files]
    assert max(ends) < 1.01 and 0 < np.mean(ends) < 0.7
    assert min(ends) > -2  # a byte shorter is luck of one in 256, two bytes of one in 65,536


def test_a_file_of_version_1_is_read_as_it_was_written():
    """A golden file: if it changes, so must VERSION."""
    stored = base64.b85decode(GOLDEN)
    decoded = coding.decompress(stored)
    kernel, bias = decoded.get_weights()
    expected = (np.arange(12).reshape(4, 3) % 5 - 2) * (np.arange(12).reshape(4, 3) % 3 > 0) * np.float32(0.25)
    assert (kernel == expected).all() and (bias == np.array([0, 1, -1], np.float32)).all()
    assert coding.compress(decoded) == stored


GOLDEN = "R9XR^26-xGlgUVJ{D{@Ws<jD*{>nVE"


def test_floats_that_no_model_predicts_stand_beside_the_coded_bits():
    import tf_keras as k

    model = k.Sequential([k.Input((64,)), k.layers.Dense(96)])
    bits = np.random.default_rng(0).integers(0, 2**23, (64, 96), dtype=np.uint32) | np.float32(1).view(np.uint32)
    model.set_weights([bits.view(np.float32), np.zeros(96, np.float32)])
    content = coding.compress(model)
    assert content[len(network_file.MAGIC)] == network_file.VERSION | 0x80  # the low 16 bits of each float as they are
    assert 2 * 64 * 96 < len(content) < 3 * 64 * 96
    _assert_same(model, coding.decompress(content))


def test_inputs_are_alike_by_how_many_weights_make_them():
    counts = np.array([0, 1, 2, 3, 4, 5, 6, 103, 104, 1000])
    assert network_file._alike(counts, 10).tolist() == [1, 2, 3, 4, 5, 5, 6, 11, 12, 12]
    assert not network_file._alike(counts, 9).any()


def test_names_are_kept_unless_they_are_not_wanted():
    import tf_keras

    model = zoo.quantized(
        tf_keras.Sequential([tf_keras.Input((3,)), tf_keras.layers.Dense(2, name="mine")], name="whole")
    )
    kept, dropped = coding.compress(model), coding.compress(model, names=False)
    assert [layer.name for layer in coding.decompress(kept).layers] == ["mine"]
    assert [layer.name for layer in coding.decompress(dropped).layers] == ["dense"]
    assert len(dropped) < len(kept)


def test_a_sparse_network_is_far_smaller_than_general_coders_make_it():
    from utils import models

    model = zoo.quantized(models.lenet_300_100(), density=0.01)
    size = len(coding.compress(model))
    codes = b"".join(np.rint(w / 0.013).astype(np.int8).tobytes() for w in model.get_weights())
    assert size < 0.75 * len(zlib.compress(codes, 9))


@pytest.fixture
def settings():
    """Keras' settings are as they were, whatever a test does."""
    import tf_keras as k

    policy, floats = k.mixed_precision.global_policy(), k.backend.floatx()
    yield k
    k.backend.set_floatx(floats)
    k.mixed_precision.set_global_policy(policy)


@pytest.mark.parametrize(
    "policy, floats", [("mixed_float16", "float32"), ("float64", "float32"), ("float32", "float64")]
)
def test_a_file_says_the_same_whatever_the_settings_of_keras(policy, floats, settings):
    kinds = (zoo.pictures, zoo.text, zoo.attention, zoo.cells, zoo.half, zoo.normalized)
    models = [zoo.quantized(kind()) for kind in kinds]
    contents = [coding.compress(model) for model in models]
    settings.backend.set_floatx(floats)
    settings.mixed_precision.set_global_policy(policy)
    for model, content in zip(models, contents, strict=True):
        decoded = coding.decompress(content)
        assert coding.compress(model) == content
        _assert_same(model, decoded)
        assert [layer.compute_dtype for layer in decoded.layers] == [layer.compute_dtype for layer in model.layers]
        inputs = [np.ones([2, *(4 if d is None else d for d in t.shape[1:])], t.dtype.name) for t in model.inputs]
        assert [t.dtype for t in decoded.inputs] == [t.dtype for t in model.inputs]
        np.testing.assert_array_equal(model(inputs), decoded(inputs))


# ---------------------------------------------------------------- bad files


def _forged(text: str) -> bytes:
    from utils.optimize.coding.fields import Fields
    from utils.optimize.coding.range_coder import Writer

    writer = Writer()
    Fields(writer).text(text, "")
    return network_file.sealed(bytes([network_file.VERSION]) + writer.content())


def test_every_damaged_byte_is_noticed(content):
    for at in range(len(content)):
        broken = content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]
        with pytest.raises(ValueError, match=r"no file that compress made" if at < 2 else r"damaged or not whole"):
            coding.decompress(broken)
    for cut in range(0, len(content) - 1, 7):
        with pytest.raises(ValueError, match=r"compressed file|no file that compress made"):
            coding.decompress(content[:cut])


@pytest.mark.parametrize(
    "bad, error, words",
    [
        ("text", TypeError, "pass bytes"),
        (None, TypeError, "pass bytes"),
        (b"", ValueError, "no bytes at all"),
        (b"PK\x03\x04" + bytes(40), ValueError, "no file that compress made"),
        (b"TZ\x01", ValueError, "ends after 3 bytes"),
        (network_file.sealed(b"\x01"), ValueError, "its structure is no text"),
        (network_file.sealed(b"\x02abc"), ValueError, "version 2"),
        (network_file.sealed(b"\x81\xff\xff"), ValueError, "length"),
        (network_file.sealed(b"\x81\x64abc"), ValueError, "shorter than it says"),
    ],
)
def test_what_is_no_file_is_refused(bad, error, words):
    with pytest.raises(error, match=words):
        coding.decompress(bad)
    with pytest.raises(error, match=words):
        coding.inspect(bad)


@pytest.mark.parametrize(
    "text, words",
    [
        ('["Sequential",{},[[100000]],[["Dense",{"units":1000000}]]]', "more than 100,000,000 parameters"),
        ('["Sequential",{},[[3]],[["Lambda",{"function":"os.system"}]]]', "Lambda"),
        ('["Sequential",{},[[3]],[["Dense",{"units":3,"activation":"os.system"}]]]', "activation"),
        ('["Sequential",{},[[3]],[["Dense",{"units":3,"kernel_initializer":{"class_name":"X"}}]]]', "settings"),
        ('["Sequential",{},[[3]],[["Dense",{"units":1e300}]]]', "number"),
        ('["Sequential",{},[[3]],[["Dense",{"units":3,"name":"a b"}]]]', "name"),
        ('["Sequential",{},[[3]],[["Dense",{"units":-3}]]]', "describes no network"),
        ('["Sequential",{},[[3]],[["Dense",{"united":3}]]]', "describes no network"),
        ('["Sequential",{},[[-3]],[["Dense",{"units":3}]]]', "input of shape"),
        ('["Sequential",{},[[3]],[5]]', "where a layer should stand"),
        ('["Dense",{"units":3}]', "no model"),
        ("[" * 5000, "no JSON"),
        ('["Sequential",{},[[3]],[["Dense",{"units":NaN}]]]', "no JSON"),
        ('["Sequential",{},[[100000,2]],[["LSTM",{"units":3,"unroll":true}]]]', "unrolls"),
        ('["Sequential",{},[[900,900,1]],[["LocallyConnected2D",{"filters":1,"kernel_size":1}]]]', "locally connected"),
    ],
)
def test_a_forged_structure_is_refused_before_anything_large_is_made(text, words):
    with pytest.raises(ValueError, match=words):
        coding.decompress(_forged(text))


def test_the_limit_on_parameters_is_the_readers(model, content):
    with pytest.raises(ValueError, match="more than 50 parameters"):
        coding.decompress(content, max_parameters=50)
    coding.decompress(content, max_parameters=model.count_params())
    coding.decompress(content, max_parameters=np.int64(model.count_params()))
    for wrong in (0, -1, 1.5, 1e8, True, None):
        with pytest.raises(ValueError, match=r"max_parameters is .*a whole number"):
            coding.decompress(content, max_parameters=wrong)


def test_changed_files_with_right_checksums_do_no_harm():
    found = child.run("benchmarks.compression:fuzz", options={"count": 40, "seed": 1}, timeout=300, memory=None)
    assert found["wrong"] == [] and sum(found["refused"].values()) + found["decoded"] == 120


# ---------------------------------------------------------------- models that are refused


def test_models_that_cannot_be_held_are_refused():
    import tf_keras as k

    x = k.Input((4,))
    with pytest.raises(ValueError, match="'double' is a Lambda"):
        coding.compress(k.Model(x, k.layers.Lambda(lambda t: 2 * t, name="double")(x)))
    with pytest.raises(ValueError, match=r"write x \+ y as"):
        coding.compress(k.Model(x, k.layers.Dense(2)(x + x)))
    with pytest.raises(ValueError, match="no weights"):
        coding.compress(k.Model(x, k.layers.ReLU()(x)))
    with pytest.raises(TypeError, match="pass a tf_keras model"):
        coding.compress("model")

    first, second = k.layers.Dense(4), k.layers.Dense(4)
    tied = k.Model(x, second(first(x)))
    second.kernel = first.kernel
    with pytest.raises(ValueError, match="has an array of another layer; build the model anew"):
        coding.compress(tied)

    class Mine(k.layers.Dense):
        pass

    with pytest.raises(ValueError, match="is a Mine"):
        coding.compress(k.Model(x, Mine(2)(x)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused_with_their_layer(value):
    model = zoo.pictures()
    kernel = model.layers[-1].kernel
    kernel.assign(np.full(kernel.shape, value, np.float32))
    with pytest.raises(ValueError, match=f"layer '{model.layers[-1].name}'"):
        coding.compress(model)


@pytest.mark.parametrize("names, digest", [(True, "27a1ec805e9d"), (False, "37e571d45487")])
def test_the_bytes_of_version_1_stay(names, digest):
    """Wide enough that the layer before says which inputs are alike, a list of values, a step, floats, no bias."""
    import tf_keras as k

    L = k.layers
    parts = [L.Conv2D(40, 3, use_bias=False, name="conv"), L.Flatten(name="flat")]
    parts += [L.Dense(20, "relu", name="hidden"), L.Dense(3, name="logits")]  # names of Keras' own would count on
    model = k.Sequential([k.Input((5, 5, 2), name="picture"), *parts], name="golden")
    weights = model.get_weights()
    shapes = [weight.shape for weight in weights]
    numbers = [golden.whole_numbers(weight.size, 3, every=k + 2) for k, weight in enumerate(weights)]
    scaled = [numbers[0] * 0.5, numbers[1] * 0.01, numbers[2] / 7, np.array([0, 0.3, 1.7])[np.abs(numbers[3]) % 3]]
    scaled.append(golden.whole_numbers(3, 10**6) / 7)
    model.set_weights([np.float32(part).reshape(shape) for part, shape in zip(scaled, shapes, strict=True)])
    content = coding.compress(model, names=names)
    _assert_same(model, coding.decompress(content)) if names else None
    assert golden.digest(content) == digest
