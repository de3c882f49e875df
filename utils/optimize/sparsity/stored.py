"""How a .tflite file holds its sparse weights, and whether its operators compute with them or unpack them first.

    for weight in stored.sparse_weights(content):
        print(weight.name, weight.share, weight.block, "unpacked" if weight.unpacked else "computed as stored")

A sparse constant of a file has, for each axis in the order of storing, either its length (dense) or two lists: where
each row begins, and the position of what is stored in it (schema.fbs, SparsityParameters).  Blocks are further axes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from utils import tflite_file
from utils.formats import ArtifactError

__all__ = ["SparseWeight", "sparse_weights", "without_densify"]

#: The version of FULLY_CONNECTED with sparse weights.
_SPARSE_DENSE_LAYER = 8
#: Elements that a sparse weight may stand for: as many as a file of 2 GiB could hold as bytes.
_LARGEST = 2**31


@dataclass(frozen=True)
class SparseWeight:
    """One sparse weight of a file.

    shape: of the whole weight, input channels last.
    block: values along the last axis that share an index; 1 for single values.
    values: bytes of the stored values.
    indices: bytes of their positions and of where rows begin.
    unpacked: True if a DENSIFY operator makes it dense when the file is opened: no kernel skips its zeros then,
        except where XNNPACK packs 1×1 convolutions anew.
    dense: the weight with its zeros, as stored (integers where it is quantized).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    block: int
    values: int
    indices: int
    unpacked: bool
    dense: np.ndarray = field(repr=False, compare=False)

    @property
    def share(self) -> float:
        """Of zeros, from 0 to 1, those inside of stored blocks included."""
        return float(np.mean(self.dense == 0))


def sparse_weights(content: bytes) -> list[SparseWeight]:
    """The sparse weights of a .tflite file, in the order of its tensors; [] if it has none.

    Raises ArtifactError for bytes that are no .tflite file, a damaged one, or a way of storing that no converter uses;
    TypeError for what is no bytes.
    """
    file = tflite_file.File(tflite_file.as_bytes(content))
    unpacked = {t.index for operator in file.operators() if operator.name == "DENSIFY" for t in operator.inputs}
    found = []
    with tflite_file.damage_explained():
        for tensor in file.tensors[0]:
            if tensor.sparse:
                raw = file.subgraphs[0].Tensors(tensor.index).Sparsity()
                found.append(_stored(file, tensor, raw, tensor.index in unpacked))
    return found


def without_densify(content: bytes) -> bytes:
    """The same file with its DENSIFY operators taken out: each reader of the unpacked weights gets the stored lists.

    An experiment, not a format that a converter writes: whether a kernel computes from them has to be tried.  Dense
    layers get the version that stands for sparse weights (op_version.cc); by an older one XNNPACK takes the lists for
    a dense array, and the process dies.
    Raises ArtifactError for bytes that are no .tflite file, or a damaged one.
    """
    from ai_edge_litert import schema_py_generated as schema

    content = tflite_file.as_bytes(content)
    tflite_file.File(content)  # refuses what is no file
    with tflite_file.damage_explained():
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
        for number, code in enumerate(codes):
            if code == schema.BuiltinOperator.FULLY_CONNECTED:
                model.operatorCodes[number].version = max(_SPARSE_DENSE_LAYER, model.operatorCodes[number].version)
        for graph in model.subgraphs:
            unpacks = [o for o in graph.operators if codes[o.opcodeIndex] == schema.BuiltinOperator.DENSIFY]
            lists = {
                made: stored
                for operator in unpacks
                for made, stored in zip(operator.outputs, operator.inputs, strict=True)
            }
            graph.operators = [operator for operator in graph.operators if operator not in unpacks]
            for operator in graph.operators:
                operator.inputs = [lists.get(number, number) for number in operator.inputs]
    return tflite_file.pack(model)


def _stored(file: tflite_file.File, tensor: tflite_file.Tensor, raw: Any, unpacked: bool) -> SparseWeight:
    size = math.prod(tensor.shape)
    if not 0 < size <= _LARGEST:
        raise ArtifactError(f"tensor {tensor.name!r} announces {size:,} values")
    order = list(raw.TraversalOrderAsNumpy())
    axes = [_Axis.of(raw.DimMetadata(number)) for number in range(raw.DimMetadataLength())]
    mapped = list(raw.BlockMapAsNumpy()) if raw.BlockMapLength() else []
    rank = len(tensor.shape)
    if order != list(range(rank + len(mapped))) or len(axes) != len(order) or mapped not in ([], [rank - 1]):
        raise ArtifactError(f"tensor {tensor.name!r} is stored in the order {order} with blocks in {mapped}: unknown")
    block = axes[-1].length if mapped else 1
    last = axes[rank - 1]
    if any(axis.starts is not None for i, axis in enumerate(axes) if i != rank - 1) or last.starts is None:
        raise ArtifactError(f"tensor {tensor.name!r} is not stored in compressed rows of its last axis")
    # A sparse constant is read flat: stored values first, then zeros to its full size.
    flat = file.values(tensor)
    dense = _unpacked(tensor, last, block, flat)
    item = tensor.numpy.itemsize
    return SparseWeight(
        name=tensor.name,
        shape=tensor.shape,
        dtype=tensor.dtype,
        block=block,
        values=len(last.indices) * block * item,
        indices=last.bytes,
        unpacked=unpacked,
        dense=dense,
    )


def _unpacked(tensor: tflite_file.Tensor, axis: _Axis, block: int, flat: np.ndarray) -> np.ndarray:
    rows, columns = math.prod(tensor.shape[:-1]), tensor.shape[-1]
    counts = np.diff(axis.starts)
    count = len(axis.indices)
    if len(axis.starts) != rows + 1 or (counts < 0).any() or axis.starts[-1] != count or count * block > flat.size:
        raise ArtifactError(f"the rows of tensor {tensor.name!r} do not fit its shape {tensor.shape}")
    if count and (axis.indices.min() < 0 or (axis.indices.max() + 1) * block > columns):
        raise ArtifactError(f"a position in tensor {tensor.name!r} is beyond its {columns} columns")
    dense = np.zeros((rows, columns // block, block), flat.dtype)
    dense[np.repeat(np.arange(rows), counts), axis.indices] = flat[: count * block].reshape(count, block)
    return dense.reshape(tensor.shape)


@dataclass(frozen=True)
class _Axis:
    """One axis as stored: a length, or where rows begin and what position each entry has."""

    length: int
    starts: np.ndarray | None
    indices: np.ndarray | None
    bytes: int

    @classmethod
    def of(cls, raw: Any) -> _Axis:
        from ai_edge_litert import schema_py_generated as schema

        if raw.Format() == schema.DimensionType.DENSE:
            return cls(raw.DenseSize(), None, None, 0)
        starts = _vector(raw.ArraySegmentsType(), raw.ArraySegments())
        indices = _vector(raw.ArrayIndicesType(), raw.ArrayIndices())
        return cls(0, starts.astype(np.int64), indices.astype(np.int64), starts.nbytes + indices.nbytes)


def _vector(kind: int, table: Any) -> np.ndarray:
    """The numbers of a SparseIndexVector: 32, 16 or 8 bits each."""
    from ai_edge_litert import schema_py_generated as schema

    kinds = (schema.Int32VectorT, schema.Uint16VectorT, schema.Uint8VectorT)
    vector = schema.SparseIndexVectorCreator(kind, table)
    if not isinstance(vector, kinds):
        raise ArtifactError(f"positions of the unknown kind {kind}")
    dtype = (np.int32, np.uint16, np.uint8)[kinds.index(type(vector))]
    return np.asarray([] if vector.values is None else vector.values, dtype)
