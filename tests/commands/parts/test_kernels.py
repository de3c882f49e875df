"""What an environment gets beside its packages reaches no other environment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from commands.parts import kernels

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_import_path_survives_spaces_letters_and_encodings(tmp_path, encoding):
    root = tmp_path / "Übung kurs"
    root.mkdir()
    (root / "found_by_path.py").write_text("here = True\n", encoding="utf-8")
    line = kernels.path_line(root)
    assert line.encode(encoding).startswith(b"import ")
    code = f"{line}\nimport found_by_path; print(found_by_path.here)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert answer.stdout.strip() == "True"


def test_a_kernel_file_that_links_into_the_installers_cache_is_replaced(tmp_path):
    spec = tmp_path / "share/jupyter/kernels/python3/kernel.json"
    spec.parent.mkdir(parents=True)
    (tmp_path / "cached.json").write_text('{"argv": []}', encoding="utf-8")
    spec.symlink_to(tmp_path / "cached.json")
    kernels._title_own_kernel(tmp_path)
    assert json.loads(spec.read_text("utf-8"))["display_name"] == kernels.KERNEL_TITLE
    assert (tmp_path / "cached.json").read_text("utf-8") == '{"argv": []}'


def test_writing_files_settles_nothing_about_tensorflow():
    """JupyterLab is started by a verb, and every kernel inherits its variables."""
    code = (
        "import os; before = dict(os.environ)\nfrom commands.parts import command_line, files; command_line.verbs()\n"
    )
    code += "import sys; print('utils' in sys.modules, before == dict(os.environ))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "True"]
