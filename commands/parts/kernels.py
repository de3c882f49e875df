"""What an environment gets beside its packages: the course on its import path, its kernel's name, quiet Jupyter."""

from __future__ import annotations

import ast
import json
import subprocess
from pathlib import Path

from commands.parts.files import write_json, write_text

#: The kernel's name in JupyterLab and in every stored notebook, so that saving one changes nothing.
KERNEL_TITLE = "Model optimization course"
_EXTRA_TITLES = {"tfx": "Model optimization course: TFX", "tff": "Model optimization course: TFF"}
_PATH_FILE = "model_optimization_course.pth"


def equip(prefix: Path, python: Path, name: str, root: Path) -> None:
    """Finish the environment in `prefix`, whose packages are installed.  Can be repeated."""
    write_text(_site_packages(python) / _PATH_FILE, path_line(root))
    if name == "core":
        _title_own_kernel(prefix)
        _quiet_jupyter(prefix)


def path_line(root: Path) -> str:
    """A line for a .pth file that puts `root` on the import path.

    Python 3.11 reads such files in the locale's encoding, so the path is written in ASCII escapes, inside
    an import statement, which is the only kind of line that may hold code.
    """
    return f"import sys; sys.path.append({str(root)!a})\n"


def register_kernel(prefix: Path, name: str, python: Path) -> None:
    """Let the Jupyter in `prefix` start kernels of another environment's Python."""
    spec = {
        "argv": [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": _EXTRA_TITLES[name],
        "language": "python",
    }
    write_json(prefix / "share/jupyter/kernels" / name / "kernel.json", spec)


def _site_packages(python: Path) -> Path:
    code = "import sysconfig; print(ascii(sysconfig.get_path('purelib')))"
    answer = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return Path(ast.literal_eval(answer.stdout.strip()))


def _title_own_kernel(prefix: Path) -> None:
    path = prefix / "share/jupyter/kernels/python3/kernel.json"
    spec = json.loads(path.read_text("utf-8"))
    if path.is_symlink():  # into the installer's cache (UV_LINK_MODE=symlink), which other environments share
        path.unlink()
    write_json(path, {**spec, "display_name": KERNEL_TITLE})


def _quiet_jupyter(prefix: Path) -> None:
    """No news, no look for updates, no shop: JupyterLab then works with the network off, however it is started."""
    lab = {
        "LabApp": {
            "news_url": None,
            "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
            "extension_manager": "readonly",
        }
    }
    page = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    write_json(prefix / "etc/jupyter/jupyter_lab_config.json", lab)
    write_json(prefix / "etc/jupyter/labconfig/page_config.json", page)
