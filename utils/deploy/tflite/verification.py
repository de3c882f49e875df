"""Try a .tflite file where it can do no harm: in a limited child process."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass

from utils import child
from utils.deploy.tflite.session import check_kernels, content_of


@dataclass(frozen=True)
class TrialResult:
    """What the child process found: whether the file runs, else why not, and how long that took."""

    ok: bool
    reason: str
    seconds: float


_verdicts: dict[tuple[bytes, str, int, float], TrialResult] = {}


def verify(
    source: bytes | str | os.PathLike[str], kernels: str = "default", threads: int = 1, timeout: float = 60.0
) -> TrialResult:
    """Try a .tflite file in a limited child process: open, allocate, run zeros and random batches.

    The caller lives whatever the file does.  A file is tried once in a process; the verdict is kept.

    source: the bytes or a path.
    kernels: "default", "builtin" or "reference"; a file may run with one and not with another.
    timeout: seconds, after which the child is killed and the verdict is "did not end".
    """
    content = content_of(source)
    check_kernels(kernels)
    key = (hashlib.sha256(content).digest(), kernels, threads, timeout)
    if key not in _verdicts:
        start = time.perf_counter()
        reason = _try_in_child(content, kernels, threads, timeout)
        _verdicts[key] = TrialResult(not reason, reason, time.perf_counter() - start)
    return _verdicts[key]


def _try_in_child(content: bytes, kernels: str, threads: int, timeout: float) -> str:
    """The reason why the file does not run; "" if it does."""
    try:
        child.run(
            "utils.deploy.tflite.tflite_model:_trial",
            content,
            options={"kernels": kernels, "threads": threads},
            timeout=timeout,
            memory=4 * 2**30 + 8 * len(content),
        )
    except child.ChildError as error:
        return str(error)
    return ""
