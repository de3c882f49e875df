"""Files are tried in a child process, once, and the caller lives."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest

import utils
from tests.little import as_tflite
from utils import child
from utils.deploy.tflite import verification
from utils.deploy.tflite.tflite_model import TFLiteModel
from utils.deploy.tflite.verification import verify

FLOAT = as_tflite().content


def test_a_file_is_tried_once(monkeypatch):
    tries = []
    monkeypatch.setattr(verification, "_verdicts", {})
    monkeypatch.setattr(child, "run", lambda *args, **kwargs: tries.append(args[0]))
    for _ in range(2):
        TFLiteModel(FLOAT)
    assert TFLiteModel(FLOAT).verify().ok
    assert len(tries) == 1
    TFLiteModel(FLOAT, "reference")
    assert len(tries) == 2
    TFLiteModel(as_tflite().content + b"\0", trusted=True)
    assert len(tries) == 2


def test_a_verdict_says_how_long_it_took(monkeypatch):
    monkeypatch.setattr(verification, "_verdicts", {})
    monkeypatch.setattr(child, "run", lambda *args, **kwargs: time.sleep(0.02))
    start = time.perf_counter()
    verdict = verification.verify(FLOAT)
    assert 0.02 <= verdict.seconds <= time.perf_counter() - start


def test_a_larger_file_may_take_more_memory(monkeypatch):
    allowed = []
    monkeypatch.setattr(verification, "_verdicts", {})
    monkeypatch.setattr(child, "run", lambda *args, memory, **kwargs: allowed.append(memory))
    for content in (FLOAT, FLOAT + bytes(10**6)):
        verification.verify(content)
    assert allowed[1] - allowed[0] >= 10**6


def test_a_good_verdict_comes_from_a_real_child():
    verdict = verify(FLOAT)
    assert verdict.ok, verdict.reason
    assert verdict.reason == ""


def test_a_file_that_takes_too_long_is_reported(monkeypatch):
    monkeypatch.setattr(verification, "_verdicts", {})
    start = time.perf_counter()
    verdict = verify(FLOAT, timeout=0.05)
    assert (verdict.ok, verdict.reason) == (False, "it did not end within 0.05 s")
    assert time.perf_counter() - start < 10
    assert verify(FLOAT, timeout=60).ok


_BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in ALLOWED and name.partition(".")[0] not in sys.stdlib_module_names:
            raise ImportError(f"{name} is not installed here")

# what `pip install ai-edge-litert` brings along
ALLOWED = {"utils", "ai_edge_litert", "numpy", "flatbuffers", "backports", "google", "ml_dtypes", "tqdm",
           "typing_extensions"}
sys.meta_path.insert(0, Blocker())
from utils import artifact
from utils.deploy.tflite import byte_map, metadata
from utils.deploy.tflite.tflite_model import TFLiteModel

found = artifact.load(sys.argv[1])
import numpy as np
x = np.full((3, *found.runner.inputs[0].shape[1:]), 0.5, np.float32)
assert np.array_equal(found.predict(x), TFLiteModel(sys.argv[1]).run(x))
assert TFLiteModel(sys.argv[1]).summary() and found.constants() and metadata.labels(found.content) == ()
assert sum(byte_map.by_kind(found.content).values()) == found.size
print(*found.predict(x)[0])
"""


def test_who_only_runs_a_file_needs_ai_edge_litert_alone(tmp_path):
    path = as_tflite().save(tmp_path / "model.tflite")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # no test's helpers
    done = subprocess.run(
        [sys.executable, "-c", _BLOCKED, str(path)], cwd=utils.ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    expected = as_tflite().predict(np.full((3, 6, 6, 1), 0.5, np.float32))[0]
    assert list(map(float, done.stdout.split())) == pytest.approx(expected.tolist())
