"""A process that has imported what is slow to import, and forks a child for each run of tests.

Read lines `PATH …` (tests, relative to the folder this runs in); answer each with `CODE SECONDS` of a pytest that
imports `utils` anew.  TensorFlow is imported once, before it starts any thread.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import tempfile
import time
import traceback

from commands.parts.short_folder import short_folder

SLOW = (
    "numpy",
    "matplotlib.figure",
    "scipy.stats",
    "sklearn.metrics",
    "IPython",
    "hypothesis",
    "pytest",
    "nbval.plugin",
    "tensorflow",
    "tf_keras",
    "tensorflow_model_optimization",
    "ai_edge_litert.interpreter",
)
OPTIONS = (
    "-q",
    "-x",
    "-n0",
    "-p",
    "no:cacheprovider",
    "--timeout=100",
    "--no-header",
    # Any edit of code makes a record stale: that is no notice of the mistake.
    "--deselect=tests/course/test_repository.py::test_no_recorded_result_is_stale",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
)
LIMIT = 400  # seconds for one module's tests, of which the slowest take 120 on idle cores


def run(tests: list[str], log: str) -> int:
    """pytest's exit code in a forked child; 124 if it took longer than LIMIT."""
    with tempfile.TemporaryDirectory(prefix="tmo-", dir=short_folder(), ignore_cleanup_errors=True) as scratch:
        os.environ["COURSE_TEST_SCRATCH"] = scratch  # the child ends without tidying up
        return _code(tests, log)


def _code(tests: list[str], log: str) -> int:
    child = os.fork()
    if child == 0:
        _become_pytest(tests, log)
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.1)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 124


def _become_pytest(tests: list[str], log: str) -> None:
    os.setpgid(0, 0)
    code = 70
    try:
        with open(log, "w") as file:  # noqa: PTH123
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        import pytest

        code = int(pytest.main([*OPTIONS, *tests]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def main() -> None:
    for name in SLOW:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        start = time.monotonic()
        code = run(line.split(), "pytest.log")
        print(code, round(time.monotonic() - start, 1), file=answers, flush=True)


if __name__ == "__main__":
    main()
