"""Logarithms and probabilities in whole numbers are those of mathematics, and the same on any processor."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np

import utils
from utils.optimize.coding import fixed_point
from utils.optimize.coding.fixed_point import ONE
from utils.optimize.coding.range_coder import CERTAIN


def test_logarithms_are_those_of_mathematics():
    values = np.concatenate([np.arange(1, 10_000), np.random.default_rng(0).integers(1, 2**53, 10_000)])
    assert np.abs(fixed_point.log2(values) / ONE - np.log2(values)).max() < 2 / ONE


def test_probabilities_undo_logits():
    logits = np.arange(-12 * ONE, 12 * ONE)
    ones = fixed_point.probability(logits) / CERTAIN
    assert np.abs(np.log2(ones / (1 - ones)) - logits / ONE).max() < 0.005
    assert (np.diff(ones) >= 0).all()
    assert fixed_point.probability(np.array([-(10**9), 10**9])).tolist() == [16, CERTAIN - 16]


def test_the_tables_are_those_that_files_were_written_with():
    """Another table is another format: files could not be read any more."""
    tables = fixed_point._logarithms().astype("<i8").tobytes() + fixed_point._probabilities().astype("<i8").tobytes()
    assert hashlib.sha256(tables).hexdigest()[:16] == "f4beee2e7aa98e84"


def test_processors_without_vector_instructions_compute_the_same():
    program = (
        "import numpy as np; from utils.optimize.coding import fixed_point as f; rng = np.random.default_rng(0);"
        "print(f.log2(rng.integers(1, 2**53, 5000)).sum(), f.probability(rng.integers(-2**17, 2**17, 5000)).sum())"
    )
    plain = os.environ | {"NPY_DISABLE_CPU_FEATURES": "AVX512_SKX AVX512F AVX2 FMA3", "PYTHONPATH": str(utils.ROOT)}
    outputs = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program], env=env, capture_output=True, text=True, check=True
        )
        for env in (plain, os.environ | {"PYTHONPATH": str(utils.ROOT)})
    ]
    assert outputs[0].stdout == outputs[1].stdout != ""
