"""Files are tried in a child process, once, and the caller lives."""

from __future__ import annotations

import time

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
