"""What stands in a .tflite file: tensors, their constants and quantization, operators.

A .tflite file is a flatbuffer: tables that point to each other by offsets.  The generated reader of
ai_edge_litert follows them; the functions here turn them into plain dataclasses.  Offsets in a damaged file
point anywhere: then this raises ArtifactError, or reads nonsense.  Only a trial run (`TFLiteModel`) tells.
"""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import numpy as np

from utils.formats import ArtifactError
from utils.quantization_parameters import QuantizationParameters

#: numpy's type for each TensorType that numpy has; the sub-byte types are unpacked into int8 or uint8.
_DTYPES = {
    "FLOAT32": np.float32, "FLOAT16": np.float16, "FLOAT64": np.float64,
    "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64,
    "BOOL": np.bool_, "INT4": np.int8, "INT2": np.int8, "UINT4": np.uint8,
    "COMPLEX64": np.complex64, "COMPLEX128": np.complex128, "BFLOAT16": np.float32,
}  # fmt: skip
_LARGEST = 2**26  # bytes of the files behind the flatbuffer, unpacked
_PACKED_BITS = {"INT4": 4, "UINT4": 4, "INT2": 2}


@dataclass(frozen=True)
class Tensor:
    """One tensor of the file.

    index: its number in its subgraph.
    shape: as stored; axes of unknown length are 1.
    signature: as declared; axes of unknown length are -1.
    dtype: the file's name of the type in lower case, "float32", "int8", "int4", …
    bytes: of its constant in the file, 0 for what is computed.
    scales, zero_points, axis: as stored, () and 0 if it has none; `quantization` is what they mean.
    sparse: True if the constant is stored without (some of) its zeros.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    dtype: str
    bytes: int
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int
    sparse: bool
    variable: bool
    subgraph: int = 0
    buffer: int = field(default=0, repr=False)

    @property
    def constant(self) -> bool:
        return self.bytes > 0

    @cached_property
    def quantization(self) -> QuantizationParameters | None:
        """How its integers stand for real numbers; None if it has no scale or is of no integer type.

        Raises ArtifactError if the scales are none, such as 0, which some converters write.
        """
        if not self.scales or not self.dtype.startswith(("int", "uint")):
            return None
        each = len(self.scales) > 1
        scale, zero = (values if each else values[0] for values in (self.scales, self.zero_points or (0,)))
        try:
            return QuantizationParameters.of_type(scale, zero, self.dtype, self.axis if each else None)
        except (ValueError, TypeError) as error:
            raise ArtifactError(f"tensor {self.name!r} is quantized in a way that makes no sense: {error}") from error

    @property
    def numpy(self) -> np.dtype:
        """The type of its values in numpy: int8 for int4 and int2, float32 for bfloat16.

        Raises ArtifactError if numpy has none.
        """
        if self.dtype.upper() not in _DTYPES:
            raise ArtifactError(f"tensor {self.name!r} is of type {self.dtype}, which numpy has not")
        return np.dtype(_DTYPES[self.dtype.upper()])


@dataclass(frozen=True)
class Operator:
    """One operator of the file, in the order of execution.

    index: its number in its subgraph.
    arguments: its inputs by their place; None stands for an optional one that is absent.
    options: what it was built with, named as in the schema, such as `options.strideW`; None if it has none.
        Enumerations are numbers: `options.fusedActivationFunction` is one of `ActivationFunctionType`.
    """

    index: int
    name: str
    arguments: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    subgraph: int = 0
    options: Any = field(default=None, repr=False, compare=False)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Those of its arguments that are there."""
        return tuple(tensor for tensor in self.arguments if tensor is not None)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the constants among its inputs; a constant that several operators share counts in each."""
        return sum(tensor.bytes for tensor in self.inputs)


@contextlib.contextmanager
def damage_explained() -> Iterator[None]:
    """What Python raises when it follows an offset to nowhere becomes ArtifactError."""
    try:
        yield
    except ArtifactError:
        raise
    except (struct.error, IndexError, ValueError, KeyError, TypeError, OverflowError, AttributeError) as error:
        raise ArtifactError(f"the file's structure is damaged: {error}") from error


def as_bytes(content: object) -> bytes:
    """`content` as bytes; TypeError for a path, an Artifact or a model, with what to pass of it."""
    if isinstance(content, (bytes, bytearray, memoryview)):
        return bytes(content)
    kind = type(content).__name__
    how = ".content" if hasattr(content, "content") else ".read_bytes()" if hasattr(content, "read_bytes") else ""
    raise TypeError(
        f"content is a {kind}; pass the bytes of a .tflite file, such as "
        + (f"the {kind}'s {how}" if how else "convert(model).content or path.read_bytes()")
    )


class File:
    """A parsed .tflite file.

    subgraphs: the generated reader's objects; the first is run, further ones are signatures and bodies of loops.
    tensors: for each subgraph, its tensors.

    Raises ArtifactError for bytes that are no .tflite file or a damaged one, TypeError for what is no bytes.
    """

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema

        content = as_bytes(content)
        if bytes(content[4:8]) != b"TFL3":
            raise ArtifactError(f"a .tflite file has b'TFL3' at byte 4; this has {bytes(content[4:8])!r}")
        self.content = content
        with damage_explained():
            self._model = schema.Model.GetRootAs(content, 0)
            self.subgraphs = [self._model.Subgraphs(number) for number in range(self._model.SubgraphsLength())]
            if not self.subgraphs:
                raise ArtifactError("the file's structure is damaged: it has no graph")
            # Each tensor and operator takes four bytes in a list, so a file cannot have more, whatever it announces.
            parts = sum(graph.TensorsLength() + graph.OperatorsLength() for graph in self.subgraphs)
            if 4 * parts > len(content):
                raise ArtifactError(f"the file's structure is damaged: {len(content):,} bytes announce {parts:,} parts")
            self.tensors = [self._tensors(number) for number in range(len(self.subgraphs))]

    def _tensors(self, number: int) -> tuple[Tensor, ...]:
        graph = self.subgraphs[number]
        return tuple(self._tensor(graph.Tensors(index), index, number) for index in range(graph.TensorsLength()))

    def _tensor(self, raw: Any, index: int, subgraph: int) -> Tensor:
        shape, quantization = _numbers(raw, "Shape"), raw.Quantization()
        return Tensor(
            index=index,
            name=(raw.Name() or b"").decode(errors="replace"),
            shape=shape,
            signature=_numbers(raw, "ShapeSignature") or shape,
            dtype=_type_names().get(raw.Type(), f"TYPE_{raw.Type()}").lower(),  # of a newer version
            bytes=len(self._buffer(raw.Buffer())),
            scales=_numbers(quantization, "Scale", float),
            zero_points=_numbers(quantization, "ZeroPoint"),
            axis=int(quantization.QuantizedDimension()) if quantization else 0,
            sparse=raw.Sparsity() is not None,
            variable=bool(raw.IsVariable()),
            subgraph=subgraph,
            buffer=raw.Buffer(),
        )

    def _buffer(self, number: int) -> memoryview:
        """The bytes of a buffer, which large files keep behind the flatbuffer."""
        buffer = self._model.Buffers(number)
        if buffer.Offset() > 1:
            return memoryview(self.content)[buffer.Offset() : buffer.Offset() + buffer.Size()]
        return memoryview(buffer.DataAsNumpy() if buffer.DataLength() else b"")

    def operators(self, subgraph: int = 0) -> tuple[Operator, ...]:
        """The operators of a subgraph; 0 is the one that is run."""
        graph = self.subgraphs[subgraph]
        with damage_explained():
            return tuple(self._operator(graph.Operators(i), i, subgraph) for i in range(graph.OperatorsLength()))

    def _operator(self, raw: Any, index: int, subgraph: int) -> Operator:
        from ai_edge_litert import schema_py_generated as schema

        tensors = self.tensors[subgraph]
        return Operator(
            index=index,
            name=self._operator_name(raw.OpcodeIndex()),
            arguments=tuple(tensors[i] if i >= 0 else None for i in _numbers(raw, "Inputs")),
            outputs=tuple(tensors[i] for i in _numbers(raw, "Outputs")),
            subgraph=subgraph,
            options=schema.BuiltinOptionsCreator(raw.BuiltinOptionsType(), raw.BuiltinOptions()),
        )

    def all_operators(self) -> tuple[Operator, ...]:
        """The operators of all subgraphs: the body of a loop is a subgraph of its own."""
        return tuple(operator for number in range(len(self.subgraphs)) for operator in self.operators(number))

    def _operator_name(self, number: int) -> str:
        code = self._model.OperatorCodes(number)
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # old files fill only the second
        name = _operator_names().get(builtin, f"BUILTIN_{builtin}")
        return (code.CustomCode() or b"CUSTOM").decode(errors="replace") if name == "CUSTOM" else name

    def inputs(self, subgraph: int = 0) -> tuple[Tensor, ...]:
        """The tensors that a subgraph is given."""
        with damage_explained():
            return tuple(self.tensors[subgraph][i] for i in _numbers(self.subgraphs[subgraph], "Inputs"))

    def outputs(self, subgraph: int = 0) -> tuple[Tensor, ...]:
        """The tensors that a subgraph returns."""
        with damage_explained():
            return tuple(self.tensors[subgraph][i] for i in _numbers(self.subgraphs[subgraph], "Outputs"))

    def metadata_buffers(self) -> tuple[tuple[str, int], ...]:
        """(name, number of the buffer) of each metadata entry."""
        with damage_explained():
            found = [self._model.Metadata(number) for number in range(self._model.MetadataLength())]
            return tuple(((entry.Name() or b"").decode(errors="replace"), entry.Buffer()) for entry in found)

    def metadata(self) -> dict[str, bytes]:
        """{name: value} of the metadata inside of the flatbuffer; `utils.deploy.tflite.metadata` reads what it says."""
        with damage_explained():
            return {name: bytes(self._buffer(number)) for name, number in self.metadata_buffers()}

    def values(self, tensor: Tensor) -> np.ndarray:
        """A constant's stored values in its shape, 4 and 2 bit values unpacked, float16 as float16.

        A sparse constant comes as a flat array: its stored values, then the zeros that are not stored.

        Raises ValueError: if the tensor is not a constant.
        Raises ArtifactError: if the file's bytes do not fit its shape, or numpy has no such type.
        """
        if not tensor.constant:
            raise ValueError(f"tensor {tensor.index} ({tensor.name!r}) is computed, not a constant in the file")
        flat = _unpack(np.frombuffer(self._buffer(tensor.buffer), np.uint8), tensor.dtype.upper())
        count = int(np.prod(tensor.shape, dtype=np.int64))
        if tensor.sparse:
            return np.concatenate([flat, np.zeros(max(count - len(flat), 0), flat.dtype)])
        if len(flat) < count or (len(flat) > count and tensor.dtype.upper() not in _PACKED_BITS):
            raise ArtifactError(f"tensor {tensor.name!r} has {len(flat)} values for the shape {tensor.shape}")
        return flat[:count].reshape(tensor.shape)

    def constants(self) -> Iterator[tuple[Tensor, np.ndarray]]:
        """Each parameter once: constants of float types, and quantized ones.

        Whole numbers without a scale are shapes, axes and paddings: not parameters.  A buffer that several
        tensors share is counted once.
        """
        seen: set[int] = set()
        for tensor in (tensor for graph in self.tensors for tensor in graph):
            is_parameter = tensor.dtype.startswith(("float", "bfloat")) or tensor.quantization is not None
            if tensor.constant and is_parameter and tensor.buffer not in seen:
                seen.add(tensor.buffer)
                yield tensor, self.values(tensor)


def pack(model: Any) -> bytes:
    """The bytes of a file that was unpacked with `schema.ModelT.InitFromPackedBuf`, and changed."""
    import flatbuffers

    class Builder(flatbuffers.Builder):
        """Aligns constants as schema.fbs demands (force_align: 16); the generated Python code forgets it."""

        def CreateNumpyVector(self, x: np.ndarray) -> int:
            if x.dtype != np.uint8:
                return super().CreateNumpyVector(x)
            self.StartVector(1, x.size, 16)
            self.head = int(self.head - x.size)
            self.Bytes[self.head : self.head + x.size] = x.tobytes()
            self.vectorNumElems = x.size
            return self.EndVector()

    builder = Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def packed(content: bytes) -> dict[str, bytes]:
    """{name: bytes} of the files, such as labels, that are packed behind the flatbuffer; {} if there are none.

    A flatbuffer is read from the front and a zip archive from the end, so one file is both.
    Raises ArtifactError if the archive is damaged or its files have more than 64 MiB together.
    """
    archive = _archive(content)
    if archive is None:
        return {}
    size = sum(info.file_size for info in archive.infolist())
    if size > _LARGEST:
        raise ArtifactError(f"the files behind the flatbuffer have {size:,} bytes; at most {_LARGEST:,} are unpacked")
    try:
        return {info.filename: archive.read(info) for info in archive.infolist()}
    except Exception as error:  # each way of packing has errors of its own
        raise ArtifactError(f"the files behind the flatbuffer cannot be read: {error}") from error


def with_packed(content: bytes, files: Mapping[str, bytes]) -> bytes:
    """The file with these files behind it, beside those that are there; equal names are replaced.

    The model itself is not touched: its bytes come first and are the same.
    """
    both = packed(content) | dict(files)
    if not both:
        return content
    archive = _archive(content)
    end = min((info.header_offset for info in archive.infolist()), default=len(content)) if archive else len(content)
    stream = io.BytesIO(bytes(content[:end]))
    with zipfile.ZipFile(stream, "a") as archive:
        for name, value in both.items():
            archive.writestr(zipfile.ZipInfo(name), value)  # stored, without a time: equal files give equal bytes
    return stream.getvalue()


def _archive(content: bytes) -> zipfile.ZipFile | None:
    """The zip archive behind the flatbuffer, opened; None if there is none."""
    stream = io.BytesIO(content)
    try:
        return zipfile.ZipFile(stream) if zipfile.is_zipfile(stream) else None
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise ArtifactError(f"the files behind the flatbuffer cannot be read: {error}") from error


def parameters(content: bytes) -> dict[str, np.ndarray]:
    """The parameters of a .tflite file, zero points subtracted so that a stored zero is 0.

    Of a sparse constant the values are right and their places are not.
    """
    return {
        f"{tensor.subgraph}/{tensor.index}/{tensor.name}": _centred(values.reshape(tensor.shape), tensor)
        for tensor, values in File(content).constants()
    }


def _centred(values: np.ndarray, tensor: Tensor) -> np.ndarray:
    if tensor.quantization is None or not tensor.quantization.zero_point.any():
        return values
    return values.astype(np.int64) - tensor.quantization.aligned(values.shape)[1]


def _numbers(table: Any, field: str, kind: type = int) -> tuple:
    """A list of numbers in a table; () if it, or the table, is absent."""
    if table is None or not getattr(table, f"{field}Length")():
        return ()
    return tuple(map(kind, getattr(table, f"{field}AsNumpy")()))


def _unpack(data: np.ndarray, dtype: str) -> np.ndarray:
    """Bytes as values of the type; types below a byte have their first value in the lowest bits."""
    if dtype == "BFLOAT16":  # the upper half of a float32
        return (data.view("<u2").astype(np.uint32) << 16).view(np.float32)
    if dtype not in _DTYPES:
        raise ArtifactError(f"constants of type {dtype.lower()} cannot be read with numpy")
    kind = np.dtype(_DTYPES[dtype])
    bits = _PACKED_BITS.get(dtype)
    if bits is None:
        if len(data) % kind.itemsize:
            raise ArtifactError(f"{len(data)} bytes are no whole number of {dtype.lower()} values")
        return data.view(kind.newbyteorder("<"))
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    values = ((data[:, None] >> shifts) & (2**bits - 1)).reshape(-1)
    if kind == np.uint8:
        return values
    sign = 2 ** (bits - 1)
    return (values.astype(np.int16) ^ sign).astype(np.int8) - np.int8(sign)


@cache
def _type_names() -> dict[int, str]:
    from ai_edge_litert.schema_py_generated import TensorType

    return _names(TensorType)


@cache
def _operator_names() -> dict[int, str]:
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    return _names(BuiltinOperator)


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}
