"""Run a .tflite file by a C program, without Python: what an app or a device does.

The program is `predict.c` beside this file.  It is compiled where a C compiler is found, against the LiteRT library
that the package ai-edge-litert brings along.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from utils.deploy.tflite.io_tensors import IOTensor
from utils.deploy.tflite.session import Session, content_of
from utils.deploy.tflite.verification import verify

SOURCE = Path(__file__).with_name("predict.c")


class CProgramError(RuntimeError):
    """The C program could not be compiled, or it failed; the message has what it said."""


def missing() -> str:
    """Why the program cannot be compiled here, as a sentence; "" if it can."""
    if sys.platform != "linux":
        return f"the program is written for Linux, this is {sys.platform}"
    if _compiler() is None:
        return "there is no C compiler: neither cc, gcc nor clang is on the PATH"
    return "" if _library() else "the package ai-edge-litert has no libLiteRt.so here"


def predict(source: bytes | str | os.PathLike[str], x: np.ndarray, timeout: float = 60.0) -> np.ndarray:
    """Outputs of the C program, which reads the examples one after the other.

    source: bytes or path of a .tflite file with one input and one output of fixed shape, the batch too.
    x: (n, …) of exactly the file's dtype; n a multiple of its batch.
    timeout: seconds for compiling, and again for running.

    Returns (n, …) in the file's own type.

    Raises CProgramError: where there is no compiler, or the program fails.
    Raises ValueError: if the file or x does not fit.
    """
    if reason := missing():
        raise CProgramError(reason)
    content = content_of(source)
    verdict = verify(content)
    if not verdict.ok:
        raise CProgramError(f"the file cannot be run: {verdict.reason}")
    session = Session(content, "default", 1)
    given, wanted = _only_fixed(session.inputs, "input"), _only_fixed(session.outputs, "output")
    x = np.asarray(x)
    if x.dtype != given.dtype or x.shape[1:] != given.shape[1:] or len(x) % given.shape[0]:
        raise ValueError(
            f"the program takes {given.dtype} in whole batches of shape {given.shape}; got {x.dtype} {x.shape}"
        )
    with tempfile.TemporaryDirectory() as folder:
        program, model = Path(folder) / "predict", Path(folder) / "model.tflite"
        model.write_bytes(content)
        library = _library()
        # -Wl,-rpath,FOLDER would cut the folder's name at a comma
        where = ["-L", str(library.parent), f"-l:{library.name}", "-Xlinker", "-rpath", "-Xlinker", str(library.parent)]
        _run([_compiler(), "-O2", "-Wall", "-Werror", str(SOURCE), "-o", str(program), *where], b"", timeout)
        raw = _run([str(program), str(model)], np.ascontiguousarray(x).tobytes(), timeout)
    return np.frombuffer(raw, wanted.dtype).reshape(-1, *wanted.shape[1:])


def _only_fixed(tensors: tuple[IOTensor, ...], side: str) -> IOTensor:
    if len(tensors) != 1 or not tensors[0].shape or min(tensors[0].shape) < 1:
        shapes = [tensor.shape for tensor in tensors]
        raise ValueError(f"the program needs one {side} of fixed shape; the file has {shapes} (-1 is not fixed)")
    return tensors[0]


def _compiler() -> str | None:
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)


def _library() -> Path | None:
    found = importlib.util.find_spec("ai_edge_litert")
    path = Path(found.origin).with_name("libLiteRt.so") if found and found.origin else None
    return path if path and path.is_file() else None


def _run(command: list[str], given: bytes, timeout: float) -> bytes:
    try:
        done = subprocess.run(command, input=given, capture_output=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise CProgramError(f"{Path(command[0]).name} did not end within {timeout:g} s") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").splitlines()
        said = "".join([line for line in lines if not line.startswith("INFO")][-1:])
        raise CProgramError(f"{Path(command[0]).name} ended with {done.returncode}: {said or 'no message'}")
    return done.stdout
