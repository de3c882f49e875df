"""Silence for the length of a block: TensorFlow, its converter and the Toolkit say much that is no news."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def quiet(*, tell_on_error: bool = True) -> Iterator[None]:
    """Keep away Python warnings, stdout, TensorFlow's and Abseil's logs, and what C++ writes to descriptor 2.

    tell_on_error: if the block raises, show what C++ had written, because it may hold the reason.
    """
    import absl.logging
    import tensorflow as tf

    logger, verbosity = tf.get_logger(), absl.logging.get_verbosity()
    level = logger.level
    sys.stderr.flush()
    saved = os.dup(2)
    with contextlib.ExitStack() as stack:
        written = stack.enter_context(tempfile.TemporaryFile())
        stack.enter_context(contextlib.redirect_stdout(stack.enter_context(Path(os.devnull).open("w"))))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        absl.logging.set_verbosity(absl.logging.ERROR)
        logger.setLevel("ERROR")
        os.dup2(written.fileno(), 2)
        try:
            yield
        except BaseException:
            if tell_on_error:
                written.seek(0)
                os.write(saved, written.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            absl.logging.set_verbosity(verbosity)
            logger.setLevel(level)
