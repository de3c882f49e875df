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


@pytest.mark.parametrize("name", ["core", "tfx"])
def test_the_courses_own_environment_gets_a_title_and_a_quiet_jupyter_and_others_only_the_path(
    tmp_path, monkeypatch, name
):
    monkeypatch.setattr(kernels, "_site_packages", lambda python: tmp_path)
    spec = tmp_path / "share/jupyter/kernels/python3/kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text('{"argv": ["python"], "display_name": "Python 3"}', encoding="utf-8")
    kernels.equip(tmp_path, Path(sys.executable), name, ROOT)
    assert [path.read_text("utf-8") for path in tmp_path.glob("*.pth")] == [kernels.path_line(ROOT)]
    title = json.loads(spec.read_text("utf-8"))
    assert title == {"argv": ["python"], "display_name": kernels.KERNEL_TITLE if name == "core" else "Python 3"}
    settings = tmp_path / "etc/jupyter"
    assert settings.exists() == (name == "core")
    if name == "core":
        lab = json.loads((settings / "jupyter_lab_config.json").read_text("utf-8"))["LabApp"]
        assert lab["news_url"] is None and lab["extension_manager"] == "readonly"
        assert lab["check_for_updates_class"].endswith("NeverCheckForUpdate")
        page = json.loads((settings / "labconfig/page_config.json").read_text("utf-8"))
        assert page == {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}


def test_another_environments_kernel_is_started_with_its_own_python(tmp_path):
    kernels.register_kernel(tmp_path, "tff", Path("/envs/tff/bin/python"))
    spec = json.loads((tmp_path / "share/jupyter/kernels/tff/kernel.json").read_text("utf-8"))
    assert spec["argv"] == ["/envs/tff/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    assert spec["display_name"].endswith(": TFF") and spec["language"] == "python"
