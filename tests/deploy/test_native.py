"""The C program gives the interpreter's outputs, bit for bit, where there is a compiler."""

from __future__ import annotations

import numpy as np
import pytest

from tests.deploy.test_tflite import converted, fixed_batch, pictures
from utils.deploy import native, tflite

needs_compiler = pytest.mark.skipif(bool(native.missing()), reason=native.missing() or "-")


@needs_compiler
@pytest.mark.parametrize("size", [1, 4])
def test_the_c_program_equals_the_interpreter(size):
    x = pictures(8)
    expected = tflite.Model(fixed_batch(size)).run(x)
    np.testing.assert_array_equal(native.predict(fixed_batch(size), x), expected)


@needs_compiler
def test_what_does_not_fit_gets_a_sentence():
    with pytest.raises(ValueError, match=r"one input of fixed shape; the file has \[\(-1, 10, 10, 2\)\]"):
        native.predict(converted("float"), pictures(1))
    with pytest.raises(ValueError, match=r"takes float32 in whole batches of shape \(4, 10, 10, 2\); got .*\(3, "):
        native.predict(fixed_batch(4), pictures(3))
    with pytest.raises(ValueError, match="got float64"):
        native.predict(fixed_batch(4), pictures(4).astype(float))


def test_without_a_compiler_it_says_so(monkeypatch):
    monkeypatch.setattr(native.shutil, "which", lambda name: None)
    monkeypatch.setattr(native.sys, "platform", "linux")
    assert native.missing() == "there is no C compiler: neither cc, gcc nor clang is on the PATH"
    with pytest.raises(native.NativeError, match="there is no C compiler"):
        native.predict(fixed_batch(1), pictures(1))
    monkeypatch.setattr(native.sys, "platform", "win32")
    assert "written for Linux" in native.missing()


@needs_compiler
def test_a_program_that_fails_says_how():
    with pytest.raises(native.NativeError, match="ended with"):
        native._run([native._compiler(), "none.c"], b"", 20)
    with pytest.raises(native.NativeError, match=r"did not end within 0.2 s"):
        native._run(["sleep", "5"], b"", 0.2)


def test_the_part_that_is_shown():
    assert native.main_part().lstrip().startswith("/* for each example")
    assert "LiteRtRunCompiledModel" in native.main_part()
