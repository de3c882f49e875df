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
