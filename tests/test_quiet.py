"""Silence lasts as long as its block, and what C++ wrote is shown if the block fails."""

from __future__ import annotations

import logging
import os
import sys
import warnings

import pytest

from utils.quiet import quiet


def speak():
    warnings.warn("a warning", stacklevel=1)
    print("on stdout")
    print("on stderr", file=sys.stderr)
    sys.stderr.flush()
    os.write(2, b"from C++\n")


def test_nothing_is_heard_inside_and_everything_after(capfd):
    with quiet():
        speak()
    assert capfd.readouterr() == ("", "")
    with pytest.warns(UserWarning, match="a warning"):
        speak()
    assert capfd.readouterr() == ("on stdout\n", "on stderr\nfrom C++\n")


@pytest.mark.parametrize(("tell", "heard"), [(True, "on stderr\nfrom C++\n"), (False, "")])
def test_what_an_error_leaves(capfd, tell, heard):
    with pytest.raises(ValueError, match="no"), quiet(tell_on_error=tell):
        speak()
        raise ValueError("no")
    assert capfd.readouterr() == ("", heard)


def test_log_levels_are_put_back():
    import absl.logging
    import tensorflow as tf

    before = tf.get_logger().level, absl.logging.get_verbosity()
    with quiet():
        assert tf.get_logger().level > before[0] or before[0] >= 40
    assert (tf.get_logger().level, absl.logging.get_verbosity()) == before


def test_a_log_handler_made_inside_writes_to_stderr_afterwards(capfd):
    logger = logging.Logger("made inside")
    with quiet():
        logger.addHandler(logging.StreamHandler())
        logger.error("not heard")
    logger.error("heard")
    assert capfd.readouterr() == ("", "heard\n")
