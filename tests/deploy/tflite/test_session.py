"""One graph of a file, called by name; the interpreter's own voice."""

from __future__ import annotations

import numpy as np
import pytest

from tests.little import as_tflite, examples
from utils.artifact import ArtifactError
from utils.deploy.tflite import session


def opened(signature: str | None = None) -> session.Session:
    return session.Session(as_tflite().content, "default", 1, signature)


def test_the_main_graph_and_its_signature_give_the_same():
    main, named = opened(), opened("serving_default")
    assert [tensor.name for tensor in main.inputs] == [tensor.name for tensor in named.inputs]
    for count in (3, 1, 8):
        values = {main.inputs[0].name: examples(count)}
        for name, result in main.invoke(values).items():
            assert result.shape == (count, 4)
            np.testing.assert_array_equal(result, named.invoke(values)[name])


def test_a_file_of_known_shapes_is_ready_as_soon_as_it_is_opened():
    main = opened()
    assert main.delegated()  # XNNPACK takes over when tensors are allocated
    main.interpreter.invoke()


def test_what_the_interpreter_refuses_is_an_artifact_error():
    main = opened()
    with pytest.raises(ArtifactError, match="the interpreter refuses the batch"):
        main.invoke({main.inputs[0].name: np.zeros((2, 5, 6, 1), np.float32)})
    assert main.invoke({main.inputs[0].name: examples(2)})
    with pytest.raises(ArtifactError, match="the interpreter refuses the input"):
        main.invoke({main.inputs[0].name: np.zeros((2, 6, 6, 1), np.int32)})
    with pytest.raises(ValueError, match="no signature 'other'; it has 'serving_default'"):
        opened("other")


def test_what_is_no_info_line_gets_through(capfd):
    import os

    with session.stderr_kept():
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nERROR: something\n")
    assert capfd.readouterr().err == "ERROR: something\n"


@pytest.mark.parametrize(("kernels", "delegated"), [("default", True), ("builtin", False), ("reference", False)])
def test_each_path_of_kernels_is_there_and_only_the_default_asks_a_delegate(kernels, delegated):
    made = session.Session(as_tflite().content, session.check_kernels(kernels), 1)
    assert made.delegated() is delegated
    found, expected = (one.invoke({one.inputs[0].name: examples(2)}) for one in (made, opened()))
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernels", ["fast", None, "Default"])
def test_other_kernels_are_refused_with_those_there_are(kernels):
    with pytest.raises(ValueError, match=r"is unknown; pass one of 'default', 'builtin', 'reference'$"):
        session.check_kernels(kernels)


def test_threads_are_whole_numbers_from_one():
    assert [session.check_threads(threads) for threads in (1, 2, 64)] == [1, 2, 64]
    for threads in (0, -1, True, 1.0, "2", None):
        with pytest.raises(ValueError, match="pass a whole number from 1"):
            session.check_threads(threads)


def test_tensors_of_one_name_are_numbered():
    assert session._unused("x", {}) == "x"
    assert session._unused("x", {"x": 0}) == "x_1"
    assert session._unused("x", {"x": 0, "x_1": 0, "y": 0}) == "x_2"


@pytest.mark.parametrize("error", [ValueError, RuntimeError, MemoryError])
def test_whatever_the_interpreter_raises_becomes_one_sentence(error):
    with pytest.raises(ArtifactError, match=r"^it failed: two lines$"), session.interpreter_errors("it failed"):
        raise error("two\n  lines")
    with pytest.raises(ArtifactError, match=f"^it failed: {error.__name__}$"), session.interpreter_errors("it failed"):
        raise error
    with pytest.raises(KeyError), session.interpreter_errors("it failed"):
        raise KeyError


def test_lines_that_shall_be_dropped_are_dropped(capfd):
    import os

    with session.stderr_kept(b"WARNING:", b"NOTE"):
        os.write(2, b"WARNING: a\nNOTE b\nan INFO: c\nlast")
    assert capfd.readouterr().err == "an INFO: c\nlast"


def test_bytes_of_any_kind_and_paths_give_the_same_content(tmp_path):
    content = as_tflite().content
    (tmp_path / "a.tflite").write_bytes(content)
    for source in (content, bytearray(content), memoryview(content), tmp_path / "a.tflite", str(tmp_path / "a.tflite")):
        assert session.content_of(source) == content
