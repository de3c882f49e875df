"""Code arrays with nncodec (Fraunhofer's ISO/IEC 15938-17), zstd and zipnn, in an environment of its own.

    from benchmarks import _coding_peers
    _coding_peers.sizes({"network": [array, …]})  # {"network": {"nncodec": bytes, "zstd": bytes}}

As a program, run by that environment's Python:  python _coding_peers.py ARRAYS.npz  prints the sizes as JSON.
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
            "wheel", "zstandard", "zipnn")  # fmt: skip
NNCODEC = "nncodec==2.1.3"
#: What it imports and does not need for arrays of integers.
_STAND_INS = ("torchvision", "torchmetrics", "ptflops", "cv2")


def python() -> Path:
    """The environment's Python; made if it is not there, which needs a network, some minutes and about 6 GB."""
    from utils import data

    home = data.cache_folder() / "coding_peers"
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
    """{network: {coder: bytes}} for arrays that come back exactly: nncodec and zstd for integers, zipnn for float32."""
    import numpy as np

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "arrays.npz")
        named = {
            f"{network}|{number:02d}": np.asarray(
                array, np.float32 if np.asarray(array).dtype.kind == "f" else np.int32
            )
            for network, arrays in networks.items()
            for number, array in enumerate(arrays)
        }
        np.savez(path, **named)
        done = subprocess.run([python(), __file__, path], capture_output=True, text=True, check=False, cwd=scratch)
    if done.returncode:
        raise RuntimeError(f"the other coders could not code the arrays: {done.stderr.strip()[-300:]}")
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

    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    found: dict[str, dict[str, int]] = {}
    for network in dict.fromkeys(name.split("|")[0] for name in arrays):
        own = {name.split("|")[1]: array for name, array in arrays.items() if name.split("|")[0] == network}
        floats = next(iter(own.values())).dtype.kind == "f"
        found[network] = _floats(own) if floats else _integers(own)
    print(json.dumps(found))


def _integers(arrays: dict) -> dict[str, int]:
    import numpy as np
    import zstandard
    from nncodec.nn import decode, encode

    content = encode(arrays, args={"verbose": False})
    back = decode(content)
    if not all(np.array_equal(np.asarray(back[name]), array) for name, array in arrays.items()):
        raise ValueError("nncodec gave back other integers")
    small = all(np.abs(array).max() < 128 for array in arrays.values())
    plain = b"".join(array.astype(np.int8 if small else np.int32).tobytes() for array in arrays.values())
    return {"nncodec": len(content), "zstd": len(zstandard.ZstdCompressor(level=22).compress(plain))}


def _floats(arrays: dict) -> dict[str, int]:
    from zipnn import ZipNN

    plain = b"".join(array.tobytes() for array in arrays.values())
    coder = ZipNN(bytearray_dtype="float32")
    content = coder.compress(bytearray(plain))  # a copy: it sorts the bytes that it is given where they are
    if bytes(coder.decompress(content)) != plain:
        raise ValueError("zipnn gave back other floats")
    return {"zipnn": len(content)}


if __name__ == "__main__":
    _main(sys.argv[1])
