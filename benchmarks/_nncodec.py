"""Code integer arrays with nncodec, Fraunhofer's ISO/IEC 15938-17, in an environment of its own, made on demand.

    from benchmarks import _nncodec
    _nncodec.sizes({"network": [array, …]})       # {"network": bytes}

As a program, run by that environment's Python:  python _nncodec.py ARRAYS.npz  prints the sizes as JSON.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import json
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGES = ("torch==2.13.0", "numpy<2", "Click", "scikit-learn", "tqdm", "h5py", "pybind11", "pandas", "setuptools",
            "wheel", "zstandard")  # fmt: skip
NNCODEC = "nncodec==2.1.3"
#: What it imports and does not need for arrays of integers.
_STAND_INS = ("torchvision", "torchmetrics", "ptflops", "cv2")


def python() -> Path:
    """The environment's Python; made if it is not there, which needs a network, some minutes and about 6 GB."""
    from utils import data

    home = data.cache_folder() / "nncodec"
    found, ready = home / "bin" / "python", home / "ready"
    if not ready.exists():
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--clear", "--python", sys.executable, str(home)], check=True)
        install = [*uv, "pip", "install", "--python", str(found)]
        subprocess.run([*install, *PACKAGES], check=True)
        subprocess.run([*install, "--no-deps", "--no-build-isolation", NNCODEC], check=True)
        ready.write_text("installed\n", encoding="utf-8")
    return found


def sizes(networks: dict[str, list]) -> dict[str, dict[str, int]]:
    """{network: {"nncodec": bytes, "zstd": bytes}} for int32 arrays, which come back exactly."""
    import numpy as np

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "arrays.npz")
        named = {
            f"{network}|{number:02d}": np.asarray(array, np.int32)
            for network, arrays in networks.items()
            for number, array in enumerate(arrays)
        }
        np.savez(path, **named)
        done = subprocess.run([python(), __file__, path], capture_output=True, text=True, check=False, cwd=scratch)
    if done.returncode:
        raise RuntimeError(f"nncodec could not code the arrays: {done.stderr.strip()[-300:]}")
    return json.loads(done.stdout.splitlines()[-1])


class _StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Empty modules in place of packages that are imported at the top and never used here."""

    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in _STAND_INS:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        from unittest.mock import MagicMock

        module = MagicMock()
        module.__path__, module.__spec__ = [], spec
        return module

    def exec_module(self, module) -> None:
        pass


def _main(path: str) -> None:
    sys.meta_path.insert(0, _StandIns())
    import numpy as np
    import zstandard
    from nncodec.nn import decode, encode

    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    found: dict[str, dict[str, int]] = {}
    for network in dict.fromkeys(name.split("|")[0] for name in arrays):
        own = {name.split("|")[1]: array for name, array in arrays.items() if name.split("|")[0] == network}
        content = encode(own, args={"verbose": False})
        back = decode(content)
        if not all(np.array_equal(np.asarray(back[name]), array) for name, array in own.items()):
            raise ValueError(f"{network}: nncodec gave back other integers")
        small = all(np.abs(array).max() < 128 for array in own.values())
        plain = b"".join(array.astype(np.int8 if small else np.int32).tobytes() for array in own.values())
        found[network] = {"nncodec": len(content), "zstd": len(zstandard.ZstdCompressor(level=22).compress(plain))}
    print(json.dumps(found))


if __name__ == "__main__":
    _main(sys.argv[1])
