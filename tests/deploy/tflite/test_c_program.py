"""The C program gives the interpreter's outputs, bit for bit, where there is a compiler."""

from __future__ import annotations

import numpy as np
import pytest

from tests.deploy.tflite.test_tflite_model import converted, fixed_batch, pictures
from utils.deploy.tflite import c_program
from utils.deploy.tflite.tflite_model import TFLiteModel

needs_compiler = pytest.mark.skipif(bool(c_program.missing()), reason=c_program.missing() or "-")


@needs_compiler
@pytest.mark.parametrize("size", [1, 4])
def test_the_c_program_equals_the_interpreter(size):
    x = pictures(8)
    expected = TFLiteModel(fixed_batch(size)).run(x)
    np.testing.assert_array_equal(c_program.predict(fixed_batch(size), x), expected)


@needs_compiler
def test_what_does_not_fit_gets_a_sentence():
    with pytest.raises(ValueError, match=r"one input of fixed shape; the file has \[\(-1, 10, 10, 2\)\]"):
        c_program.predict(converted("float"), pictures(1))
    with pytest.raises(ValueError, match=r"takes float32 in whole batches of shape \(4, 10, 10, 2\); got .*\(3, "):
        c_program.predict(fixed_batch(4), pictures(3))
    with pytest.raises(ValueError, match="got float64"):
        c_program.predict(fixed_batch(4), pictures(4).astype(float))


@needs_compiler
@pytest.mark.parametrize("name", ["Kurs, 2026", "a b", "größe"])
def test_the_library_may_lie_in_any_folder(tmp_path, monkeypatch, name):
    library = tmp_path / name / c_program._library().name
    library.parent.mkdir()
    library.symlink_to(c_program._library())
    monkeypatch.setattr(c_program, "_library", lambda: library)
    assert c_program.predict(fixed_batch(1), pictures(2)).shape[0] == 2


def test_without_a_compiler_it_says_so(monkeypatch):
    monkeypatch.setattr(c_program.shutil, "which", lambda name: None)
    monkeypatch.setattr(c_program.sys, "platform", "linux")
    assert c_program.missing() == "there is no C compiler: neither cc, gcc nor clang is on the PATH"
    with pytest.raises(c_program.CProgramError, match="there is no C compiler"):
        c_program.predict(fixed_batch(1), pictures(1))
    monkeypatch.setattr(c_program.sys, "platform", "win32")
    assert "written for Linux" in c_program.missing()


@needs_compiler
def test_a_program_that_fails_says_how():
    with pytest.raises(c_program.CProgramError, match="ended with"):
        c_program._run([c_program._compiler(), "none.c"], b"", 20)
    with pytest.raises(c_program.CProgramError, match=r"did not end within 0.2 s"):
        c_program._run(["sleep", "5"], b"", 0.2)


@needs_compiler
def test_the_first_axis_is_the_batch(monkeypatch):
    """Two batches of four at once, and nothing less."""
    x = pictures(8)
    assert len(c_program.predict(fixed_batch(4), x)) == 8
    for count in (2, 6, 10):
        with pytest.raises(ValueError, match="whole batches"):
            c_program.predict(fixed_batch(4), np.concatenate([x, x])[:count])
    with pytest.raises(c_program.CProgramError, match="the file cannot be run"):
        c_program.predict(fixed_batch(4)[:2000], x)


@needs_compiler
def test_the_last_line_of_what_a_program_says_is_told():
    said = "echo first >&2; echo last >&2; echo INFO: x >&2; exit 3"
    with pytest.raises(c_program.CProgramError, match=r"^sh ended with 3: last$"):
        c_program._run(["sh", "-c", said], b"", 20)
    with pytest.raises(c_program.CProgramError, match=r"^sh ended with 4: no message$"):
        c_program._run(["sh", "-c", "exit 4"], b"", 20)
    assert c_program._run(["cat"], b"given", 20) == b"given"


@pytest.mark.parametrize("there", ["cc", "gcc", "clang"])
def test_any_of_three_compilers_will_do(monkeypatch, there):
    monkeypatch.setattr(c_program.shutil, "which", lambda name: f"/bin/{name}" if name == there else None)
    assert c_program._compiler() == f"/bin/{there}"
