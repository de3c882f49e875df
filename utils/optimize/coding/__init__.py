"""Lossless coding: where the bytes that pruning, clustering and quantization free are collected.

    content = coding.compress(model)      # a network, each weight bit for bit
    model = coding.decompress(content)
    print(coding.inspect(content))        # where each byte went

They live in `network_file`, `sort_units` and `drop_dead_units` in `dead_units`: TensorFlow is imported when one of
them is asked for.  `byte_coders` has the coders of general files (gzip, brotli, xz), and `entropy`, which bounds
them.
"""

from typing import Any

_PLACES = {
    **dict.fromkeys(("Inspection", "compress", "decompress", "inspect"), "network_file"),
    **dict.fromkeys(("drop_dead_units", "sort_units"), "dead_units"),
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
