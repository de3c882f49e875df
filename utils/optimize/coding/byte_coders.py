"""Coders of general files, and the entropy that bounds them.

Zeros and repeated values do not make a file smaller by themselves.  A coder does, and the entropy of the
values says how far any coder can get that treats them one by one.
"""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Callable

import numpy as np

from utils import checks

__all__ = ["METHODS", "entropy", "pack", "unpack"]


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, compresslevel=9, mtime=0)  # no time stamp: equal content, equal bytes


def _brotli(content: bytes) -> bytes:
    import brotli

    return brotli.compress(content, quality=11)


def _brotli_back(content: bytes) -> bytes:
    import brotli

    return brotli.decompress(content)


#: method -> (pack, unpack), each at its strongest setting.  gzip and brotli are what web servers
#: send (RFC 1952, RFC 7932); xz is what Linux packages use.
METHODS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "gzip": (_gzip, gzip.decompress),
    "brotli": (_brotli, _brotli_back),
    "xz": (lambda content: lzma.compress(content, preset=9 | lzma.PRESET_EXTREME), lzma.decompress),
}

#: The libraries' own functions take bytes that follow the end of a stream, and gzip's an empty file.
_STREAMS: dict[str, Callable] = {"gzip": lambda: zlib.decompressobj(31), "xz": lzma.LZMADecompressor}


def pack(content: bytes, method: str = "gzip") -> bytes:
    """`content` in fewer bytes, if it has any regularity; equal content gives equal bytes.

    Raises TypeError: content is not bytes.
    Raises ValueError: an unknown method.
    """
    return _method(method)[0](_bytes(content))


def unpack(content: bytes, method: str = "gzip") -> bytes:
    """What was given to `pack`, bit for bit.

    Raises ValueError: an unknown method, or bytes that this method did not make or not to their end.
    """
    try:
        return _whole(_bytes(content), method)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"these {len(content):,} bytes are no whole {method} stream ({error})") from None
    except Exception as error:
        if not checks.is_from(type(error), "brotli", "_brotli"):
            raise
        raise ValueError(f"these {len(content):,} bytes are no whole {method} stream ({error})") from None


def entropy(values: np.ndarray) -> float:
    """Empirical entropy of the distinct values, in bits a value: Shannon 1948, H = -sum p log2 p.

    No code that looks at one value at a time, and knows only how often each occurs, needs fewer bits on
    average.  A coder that sees order between neighbours may.

    Raises ValueError: no values, or NaN among floats.
    """
    array = np.asarray(values)
    if array.size == 0:
        raise ValueError("values is empty; pass at least one value")
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError("values has NaN, which equals nothing, not even itself; pass finite values")
    share = np.unique(array, return_counts=True)[1] / array.size
    return float(max(0.0, -(share * np.log2(share)).sum()))


def _whole(content: bytes, method: str) -> bytes:
    back = _method(method)[1]
    if method not in _STREAMS:
        return back(content)
    stream = _STREAMS[method]()
    found = stream.decompress(content)
    if not stream.eof or stream.unused_data:
        raise EOFError(f"{len(stream.unused_data)} bytes follow its end" if stream.eof else "it ends too early")
    return found


def _method(name: str) -> tuple[Callable, Callable]:
    if name not in METHODS:
        raise ValueError(f"there is no method {name!r}; pass one of {sorted(METHODS)}")
    return METHODS[name]


def _bytes(content: object) -> bytes:
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise TypeError(f"content is a {type(content).__name__}; pass bytes, such as path.read_bytes()")
    return bytes(content)
