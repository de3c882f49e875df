"""`import utils` is light and settles how TensorFlow starts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import utils

SETTINGS = (
    "COURSE_SEED",
    "COURSE_FRESH",
    "COURSE_THREADS",
    "TF_USE_LEGACY_KERAS",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "TF_CPP_MIN_LOG_LEVEL",
    "TF_DETERMINISTIC_OPS",
)


def python(code: str, **environment: str) -> subprocess.CompletedProcess:
    """Run `code` in a process that has only these of the settings."""
    clean = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=clean | environment,
        cwd=utils.ROOT,
        text=True,
        capture_output=True,
        timeout=120,
    )


def test_import_takes_nothing_beyond_the_standard_library():
    """What makes an import slow is what it imports; its time is a matter of the machine."""
    code = (
        "import sys; before = set(sys.modules); import utils\n"
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    )
    assert set(python(code).stdout.split()) <= {"utils", *sys.stdlib_module_names}


def test_defaults_are_set_for_tensorflow():
    shown = (
        "import os, utils; print(utils.SEED, utils.FRESH, utils.THREADS, *(os.environ[n] for n in ("
        + ",".join(repr(name) for name in SETTINGS[3:])
        + ")))"
    )
    assert python(shown).stdout.split() == ["0", "False", "1", "1", "0", "1", "1", "3", "1"]


def test_settings_from_outside_are_kept():
    shown = "import os, utils; print(utils.SEED, utils.FRESH, os.environ['TF_NUM_INTRAOP_THREADS'])"
    assert python(shown, COURSE_SEED="7", COURSE_FRESH="1", COURSE_THREADS="2").stdout.split() == ["7", "True", "2"]
    assert python(shown, COURSE_FRESH="0").stdout.split()[1] == "False"
    assert (
        python("import os, utils; print(os.environ['TF_ENABLE_ONEDNN_OPTS'])", TF_ENABLE_ONEDNN_OPTS="1").stdout.strip()
        == "1"
    )


def test_keras_2_is_not_negotiable():
    assert (
        python("import os, utils; print(os.environ['TF_USE_LEGACY_KERAS'])", TF_USE_LEGACY_KERAS="0").stdout.strip()
        == "1"
    )


@pytest.mark.parametrize(
    "name, value",
    [
        ("COURSE_SEED", "first"),
        ("COURSE_SEED", "-1"),
        ("COURSE_SEED", ""),
        ("COURSE_THREADS", "0"),
        ("COURSE_THREADS", "two"),
    ],
)
def test_a_setting_that_is_no_number_is_named(name, value):
    last = python("import utils", **{name: value}).stderr.splitlines()[-1]
    assert name in last and repr(value) in last and "whole number" in last


def test_tensorflow_before_utils_is_refused():
    code = "import sys, types; sys.modules['tensorflow'] = types.ModuleType('tensorflow'); import utils"
    last = python(code).stderr.splitlines()[-1]
    assert last.startswith("ImportError") and "Restart the kernel" in last
    assert python(code, TF_USE_LEGACY_KERAS="1").returncode == 0


def test_root_is_the_repository():
    assert (utils.ROOT / "pyproject.toml").is_file()
