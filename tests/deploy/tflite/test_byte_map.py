"""Where each byte goes: a partition that adds up for every file, and weights where the model has them."""

from __future__ import annotations

import functools
import itertools
import struct

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.little import as_tflite, classifier, keras
from utils import tflite_file
from utils.artifact import ArtifactError
from utils.deploy.tflite import byte_map, metadata
from utils.deploy.tflite.tflite_model import TFLiteModel


def assert_partition(content: bytes) -> tuple[byte_map.Region, ...]:
    found = byte_map.regions(content)
    assert [region.start for region in found] == [0, *(region.end for region in found[:-1])]
    assert found[-1].end == len(content)
    assert all(region.size > 0 and region.kind in byte_map.KINDS for region in found)
    assert sum(byte_map.by_kind(content).values()) == len(content)
    return found


@functools.cache
def files() -> dict[str, bytes]:
    """Files of many kinds of operators and options."""
    import tensorflow as tf

    k = keras()
    models = {
        "dense": k.Sequential([k.Input((64,)), k.layers.Dense(32)]),
        "recurrent": k.Sequential([k.Input(batch_shape=(1, 4, 3)), k.layers.GRU(5)]),
        "attention": attention(k),
    }
    made = {"classifier": as_tflite().content}
    for name, model in models.items():
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        made[name] = converter.convert()
        if name == "dense":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            made["dense, dynamic"] = converter.convert()
    return made | {"sparse": sparse(tf, k)}


def attention(k):
    x = k.Input((6, 8))
    y = k.layers.LayerNormalization()(k.layers.MultiHeadAttention(2, 4)(x, x))
    return k.Model(x, [k.layers.Dense(3, name="scores")(y), k.layers.Flatten(name="flat")(y)])


def sparse(tf, k) -> bytes:
    model = k.Sequential([k.Input((64,)), k.layers.Dense(32, use_bias=False)])
    kernel = np.zeros((64, 32))
    kernel[::8, :] = np.arange(1, 33)
    model.set_weights([kernel])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    return converter.convert()


def test_every_byte_of_every_file_has_a_place():
    for name, content in files().items():
        found = assert_partition(content)
        kinds = byte_map.by_kind(content)
        assert "other" not in kinds, (name, [region for region in found if region.kind == "other"])
        assert all(region.size < 16 for region in found if region.kind == "padding"), name  # alignment needs no more
    assert byte_map.by_kind(files()["sparse"])["sparsity"] > 100
    assert byte_map.by_kind(files()["dense, dynamic"])["quantization"] > 0


def test_weights_are_those_of_the_model():
    content = as_tflite().content
    # batch normalization is folded, so what is left is a kernel and a bias for each of the two layers
    shapes = [layer.get_weights()[0].size for layer in classifier().layers if "conv" in layer.name]
    rows = byte_map.by_operator(content)
    assert rows["0 CONV_2D"] == 4 * (shapes[0] + 3)
    assert sum(rows.values()) == byte_map.by_kind(content)["weights"]
    region = next(r for r in byte_map.regions(content) if r.owner == "0 CONV_2D" and r.size == 4 * shapes[0])
    file = tflite_file.File(content)
    kernel = file.values(file.operators()[0].inputs[1])
    assert np.array_equal(np.frombuffer(content[region.start : region.end], np.float32), kernel.ravel())


def test_names_are_counted_with_their_length_and_their_final_zero():
    content = as_tflite().content
    file = tflite_file.File(content)
    names = [tensor.name.encode() for tensor in file.tensors[0]] + [file.subgraphs[0].Name()]
    assert byte_map.by_kind(content)["names"] == sum(4 + len(name) + 1 for name in names)


def behind(content: bytes) -> bytes:
    """The same model with its constants behind the flatbuffer, as files over 2 GB have them."""

    def packed(places: dict[int, int]) -> bytes:
        model = schema.ModelT.InitFromPackedBuf(content)
        for number, buffer in enumerate(model.buffers):
            if buffer.data is not None and len(buffer.data):
                buffer.offset, buffer.size, buffer.data = places.get(number, 2**40), len(buffer.data), None
        return tflite_file.pack(model)

    front, places, tail = packed({}), {}, b""
    for number, buffer in enumerate(schema.ModelT.InitFromPackedBuf(content).buffers):
        if buffer.data is not None and len(buffer.data):
            tail += b"\0" * (-(len(front) + len(tail)) % 16)
            places[number] = len(front) + len(tail)
            tail += bytes(buffer.data)
    return packed(places) + tail


def test_constants_behind_the_flatbuffer_count_for_their_operators():
    content = files()["classifier"]
    large = behind(content)
    assert byte_map.by_operator(large) == byte_map.by_operator(content)
    assert_partition(large)
    x = np.random.default_rng(0).random((5, 6, 6, 1), np.float32)
    assert TFLiteModel(large).compare(content, x).equal
    with pytest.raises(ArtifactError, match="keeps its constants behind the flatbuffer"):
        metadata.with_entry(large, "a", b"b")


def test_what_is_appended_is_told():
    content = as_tflite().content
    found = assert_partition(content + b"PK\x03\x04 and more than sixteen bytes")
    assert (found[-1].kind, found[-1].start) == ("appended", len(content))
    assert assert_partition(content + b"\0\0\0\0")[-1].kind == "padding"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n" * 9, b"\0\0\0\0M001" + bytes(99)])
def test_foreign_files_get_a_sentence(content):
    with pytest.raises(ArtifactError, match=r"has b'TFL3' at byte 4"):
        byte_map.regions(content)


def test_no_file_is_no_picture():
    with pytest.raises(ValueError, match="there is no file to draw"):
        byte_map.draw({}, "Nothing")


@settings(max_examples=200)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_still_adds_up(data):
    content = bytearray(files()["classifier"])
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(8, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    cut = data.draw(st.integers(9, len(content)))
    try:
        assert_partition(bytes(content[:cut]))
    except ArtifactError as error:
        assert "damaged" in str(error)


def test_a_name_that_would_end_behind_the_file_is_refused():
    content = as_tflite().content
    name = tflite_file.File(content).tensors[0][0].name.encode()
    length = struct.pack("<I", len(name))
    damaged = content.replace(length + name, struct.pack("<I", len(content)) + name)
    with pytest.raises(ArtifactError, match=f"something lies from byte .* of {len(content)}"):
        byte_map.regions(damaged)


def test_the_picture_shows_all_bytes():
    content = as_tflite().content
    figure = byte_map.draw({"one": content, "two": files()["dense"]}, "Two files have other parts")
    (axes,) = figure.axes
    kinds = [label.get_text() for label in axes.get_yticklabels()]
    assert kinds[0] == "weights" and kinds[-1] == "the rest"
    one, two = axes.containers[0], axes.containers[1]
    for bars, bytes_ in ((one, content), (two, files()["dense"])):
        widths = [bar.get_width() for bar in bars]
        assert sum(widths) == pytest.approx(100)
        assert widths[0] == pytest.approx(100 * byte_map.by_kind(bytes_)["weights"] / len(bytes_))
    assert {text.get_text().split()[0] for text in axes.texts} == {"one", "two"}


def test_weights_that_two_layers_share_count_for_the_first():
    k = keras()
    x = inputs = k.Input((6,))
    shared = k.layers.Dense(6)
    model = k.Model(inputs, shared(k.layers.ReLU()(shared(x))))
    import tensorflow as tf

    content = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    users = [f"{o.index} {o.name}" for o in tflite_file.File(content).operators() if o.name == "FULLY_CONNECTED"]
    rows = byte_map.by_operator(content)
    assert len(users) == 2 and rows[users[0]] >= 4 * 36 and users[1] not in rows


def test_sixteen_bytes_of_nothing_are_no_padding():
    content = as_tflite().content
    last = byte_map.regions(content)[-1]
    content = content[: last.start] if last.kind == "padding" else content
    for count in (11, 12, 15):
        assert byte_map.regions(content + bytes(count))[-1].kind == "padding"
    assert byte_map.regions(content + bytes(16))[-1].kind == "appended"
    for zeros in (0, 3, 12, 14):
        found = byte_map.regions(content + bytes(zeros) + b"x")
        assert found[-1].kind == "appended" and found[-1].end == found[-1].start + zeros + 1


def test_bars_stand_in_the_order_of_the_files_around_their_rows():
    content = as_tflite().content
    for names in (["one"], ["one", "two"], ["one", "two", "three"]):
        (axes,) = byte_map.draw(dict.fromkeys(names, content), "Two files have equal parts").axes
        assert axes.yaxis_inverted()
        for row in range(len(axes.get_yticks())):
            bars = [container[row] for container in axes.containers]
            places = [bar.get_y() + bar.get_height() / 2 for bar in bars]
            assert places == sorted(places) and np.mean(places) == pytest.approx(row)
            assert all(a.get_y() + a.get_height() == pytest.approx(b.get_y()) for a, b in itertools.pairwise(bars))
            assert sum(bar.get_height() for bar in bars) == pytest.approx(0.8)
        assert len({container[0].get_hatch() for container in axes.containers}) == len(names)


def test_only_kinds_of_one_per_cent_or_more_are_named_in_the_picture():
    content = as_tflite().content
    for tail, named in ((b"x" * (len(content) // 200), False), (b"x" * (len(content) // 40), True)):
        (axes,) = byte_map.draw({"one": content + tail}, "What is appended is seen when it is large").axes
        assert ("appended" in [label.get_text() for label in axes.get_yticklabels()]) is named
