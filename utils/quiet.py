"""Silence for the length of a block: TensorFlow, its converter and the Toolkit say much that is no news."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def quiet(*, tell_on_error: bool = True) -> Iterator[None]:
    """Keep away Python warnings, stdout, stderr, TensorFlow's and Abseil's logs, and what C++ writes to descriptor 2.

    tell_on_error: if the block raises, show what had been written to stderr, because it may hold the reason.
    """
    logger, absl = logging.getLogger("tensorflow"), sys.modules.get("absl.logging")  # which need not be loaded
    level, verbosity = logger.level, absl.get_verbosity() if absl else None
    stderr = sys.stderr
    stderr.flush()
    saved = os.dup(2)
    with contextlib.ExitStack() as stack:
        written = stack.enter_context(tempfile.TemporaryFile())
        stack.enter_context(contextlib.redirect_stdout(stack.enter_context(Path(os.devnull).open("w"))))
        # In a notebook Python's stderr is not descriptor 2: progress bars go there.
        python = stack.enter_context(os.fdopen(os.dup(written.fileno()), "w"))
        stack.enter_context(contextlib.redirect_stderr(python))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        logger.setLevel("ERROR")
        if absl:
            absl.set_verbosity(absl.ERROR)
        os.dup2(written.fileno(), 2)
        try:
            yield
        except BaseException:
            if tell_on_error:
                python.flush()
                written.seek(0)
                os.write(saved, written.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            _give_back(python, stderr)
            logger.setLevel(level)
            if absl:
                absl.set_verbosity(verbosity)


def _give_back(kept: IO[str], stderr: IO[str]) -> None:
    """Log handlers that were made in the block write to its file, which is about to be closed: give them stderr."""
    for reference in logging._handlerList:  # all there are; absl's stands in no logger
        handler = reference()
        if handler and vars(handler).get("stream") is kept:
            handler.setStream(stderr)
