"""The second copy of the weights: XNNPACK rearranges them for its kernels when a file is opened.

Two measures of it: the bytes that XNNPACK writes when it is given a file to keep its packed weights in (its weight
cache; LiteRT's tflite/delegates/xnnpack/README.md), and what a process grows by when it opens and runs the model.
"""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from utils import child
from utils.artifact import ArtifactError
from utils.deploy.tflite.session import check_kernels, content_of, interpreter_errors, stderr_kept
from utils.deploy.tflite.verification import verify


def packed_bytes(source: bytes | str | os.PathLike[str], *, trusted: bool = False) -> int:
    """Bytes of the weights as XNNPACK packs them, with some hundred bytes of its cache file's own; 160 if none.

    source: bytes or path of a .tflite file.  Other processors pack in other tiles, so the figure may differ by some
    per cent.
    trusted: True skips the trial in a child process; only for files that this program has made.
    Raises ArtifactError if the file cannot be run.
    """
    content = content_of(source)
    if not trusted and not (verdict := verify(content)).ok:
        raise ArtifactError(f"this .tflite file cannot be run: {verdict.reason}")
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.options import CpuOptions, Options

    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder, "weights.cache")
        options = Options(cpu_options=CpuOptions(num_threads=1, xnnpack_weight_cache_path=str(cache)))
        with stderr_kept(b"WARNING:", "└".encode()), interpreter_errors("the compiled model refuses the file"):
            model = CompiledModel.from_buffer(content, options=options)
            size = cache.stat().st_size if cache.is_file() else 0
            del model
            gc.collect()  # it says goodbye here and not later
    return size


def rows(files: Mapping[str, bytes], *, trusted: bool = False) -> list[dict[str, object]]:
    """A table: the bytes of each file and of its weights as XNNPACK packs them.

    files: {name: bytes of a .tflite file}.  trusted, errors: as for `packed_bytes`.
    """
    return [
        {"file": name, "bytes": len(content), "packed": packed_bytes(content, trusted=trusted)}
        for name, content in files.items()
    ]


def resident_bytes(source: bytes | str | os.PathLike[str], kernels: str = "default", *, timeout: float = 60.0) -> int:
    """Bytes by which a fresh process grows when it maps the file, allocates and runs it once on zeros.

    The file is opened by its path, so LiteRT maps it: pages of it count when they have been read.  Besides weights
    the figure has the interpreter's code and the activations, a few megabytes; compare two kernels.

    source: bytes or path of a .tflite file.
    kernels: "default", "builtin" or "reference".

    Raises ArtifactError if the file cannot be run.
    """
    content = content_of(source)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.tflite")
        path.write_bytes(content)
        options = {"path": str(path), "kernels": check_kernels(kernels)}
        try:
            return child.run("utils.deploy.tflite.packed_weights:_grown", options=options, timeout=timeout, memory=None)
        except child.ChildError as error:
            raise ArtifactError(f"this .tflite file cannot be run with kernels={kernels!r}: {error}") from None


def _grown(_: bytes, path: str, kernels: str) -> int:
    """Runs in the child."""
    import numpy as np
    import psutil
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    from utils.deploy.tflite.session import KERNELS

    process = psutil.Process()
    gc.collect()
    before = process.memory_info().rss
    interpreter = Interpreter(
        model_path=path, num_threads=1, experimental_op_resolver_type=OpResolverType[KERNELS[kernels]]
    )
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
    interpreter.invoke()
    return int(process.memory_info().rss - before)
