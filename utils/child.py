"""Run one function in a child process with limits: for work that may crash, hang or eat all memory,
and for measurements that need a process of their own.

The child is `python -m utils.child MODULE:FUNCTION OPTIONS`: it reads bytes from standard input, calls
`FUNCTION(payload, **OPTIONS)`, and writes what that returns to standard output as JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from typing import Any

import utils

_GIB = 2**30


class ChildError(RuntimeError):
    """The child did not return a result.  `kind` is "crash", "timeout", "memory" or "error"."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


def run(
    target: str,
    payload: bytes = b"",
    *,
    options: dict[str, Any] | None = None,
    timeout: float = 60.0,
    memory: int | None = 4 * _GIB,
) -> Any:
    """Call `target` in a child process and return its result.

    target: "package.module:function".
    payload: bytes handed to the function.
    options: keyword arguments, anything JSON can hold.
    timeout: seconds, of the clock and of the processor; then the child is killed.
    memory: bytes of address space, or None; enforced where the system can (not on Windows and macOS).
    Raises ChildError: if the child crashed, ran out of time or memory, or its function raised.
    """
    # -P: the folder that one works in may have a utils.py of its own
    command = [sys.executable, "-P", "-m", "utils.child", target, json.dumps(options or {})]
    command.append(json.dumps([timeout, memory]))
    try:
        done = subprocess.run(command, input=payload, capture_output=True, timeout=timeout, env=_environment())
    except subprocess.TimeoutExpired:
        raise ChildError(f"it did not end within {timeout:g} s", "timeout") from None
    if done.returncode != 0 or not done.stdout:
        raise ChildError(*_obituary(done.returncode, done.stderr.decode(errors="replace")))
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise ChildError(answer["error"], answer["kind"])
    return answer["result"]


def _environment() -> dict[str, str]:
    """The child finds `utils` wherever it is started, and its BLAS reserves no memory for threads."""
    paths = [str(utils.ROOT), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONIOENCODING": "utf-8",
    }


def _obituary(code: int, stderr: str) -> tuple[str, str]:
    """Why the child died, as a sentence and a kind."""
    last = [line for line in stderr.splitlines() if line.strip() and not line.startswith("INFO:")]
    hint = f" ({last[-1].strip()[:200]})" if last else ""
    if hasattr(signal, "SIGXCPU") and code == -signal.SIGXCPU:
        return "it used up its processor time", "timeout"
    if code < 0:
        return f"the process was ended by {signal.Signals(-code).name}{hint}", "crash"
    return f"the process ended with exit code {code:#x}{hint}", "crash"


def _limit(timeout: float, memory: int | None) -> None:
    """Set what limits this system has; each is a second line of defence behind the parent's clock."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limits = [(resource.RLIMIT_CORE, 0), (resource.RLIMIT_CPU, int(timeout) + 1)]
    if memory is not None and sys.platform == "linux":
        limits.append((resource.RLIMIT_AS, memory))
    for kind, value in limits:
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, hard))


def _answer(target: str, options: dict[str, Any]) -> dict[str, Any]:
    module, function = target.split(":")
    try:
        payload = sys.stdin.buffer.read()
        return {"result": getattr(importlib.import_module(module), function)(payload, **options)}
    except SystemExit as end:
        return {"error": f"it called sys.exit({end.code!r}) instead of returning a result", "kind": "crash"}
    except MemoryError:
        return {"error": "it needs more memory than the child process may have", "kind": "memory"}
    except Exception as error:
        return {"error": str(error) or type(error).__name__, "kind": "error"}


def _main() -> None:
    target, options, limits = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
    _limit(*limits)
    answer = os.dup(1)
    os.dup2(2, 1)  # what libraries print must not get into the answer
    text = json.dumps(_answer(target, options))
    with os.fdopen(answer, "w", encoding="utf-8") as stream:
        stream.write(text)
    os._exit(0)  # a library's clean-up may crash after the work is done; that says nothing about the work


if __name__ == "__main__":
    _main()
