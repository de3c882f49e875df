"""Every dotted name of TensorFlow and its relatives exists in the versions that the course pins."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

from tests.course.notebooks import Notebook, parsed

#: How text calls a package -> its name for import.
PACKAGES = {
    "tf": "tensorflow",
    "tensorflow": "tensorflow",
    "tf_keras": "tf_keras",
    "tfmot": "tensorflow_model_optimization",
    "tensorflow_model_optimization": "tensorflow_model_optimization",
    "ai_edge_litert": "ai_edge_litert",
}

#: Names that belong to something else, or are named because they are gone.
ELSEWHERE = {
    "tf.loadGraphModel": "TensorFlow.js",
    "tf.loadLayersModel": "TensorFlow.js",
    "tf.tidy": "TensorFlow.js",
    "tf.setBackend": "TensorFlow.js",
    "tf.getBackend": "TensorFlow.js",
    "tf.ready": "TensorFlow.js",
    "tf.memory": "TensorFlow.js",
    "tf.node": "TensorFlow.js",
    "tf.tensor4d": "TensorFlow.js",
    "tf.time": "TensorFlow.js",
    "tf.contrib": "gone since TensorFlow 2",
    "tf.Session": "gone since TensorFlow 2",
    "tf.placeholder": "gone since TensorFlow 2",
}

_NAME = re.compile(rf"(?<![\w./-])((?:{'|'.join(PACKAGES)})(?:\.[A-Za-z_]\w*)+)")
_NO_NAMES = (".org", ".js", ".py", ".dev", ".md", ".ipynb", ".com")


def in_markdown(text: str) -> set[str]:
    """Dotted names in `code` and in Python fences; JavaScript's and shells' fences are left out."""
    fences = re.findall(r"(?ms)^```(?:python|py)\s*$(.*?)^```", text)
    spans = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"(?ms)^```.*?^```", "", text))
    found = {match for piece in [*fences, *spans] for match in _NAME.findall(piece)}
    return {name for name in found if not name.endswith(_NO_NAMES)}


def in_code(source: str) -> set[str]:
    """Dotted names that Python code uses."""
    nodes = [node for node in ast.walk(parsed(source)) if isinstance(node, ast.Attribute)]
    inner = {id(node.value) for node in nodes}  # the `tf.nn` of `tf.nn.relu`
    return {name for node in nodes if id(node) not in inner and _NAME.fullmatch(name := ast.unparse(node))}


def in_notebook(nb: Notebook) -> set[str]:
    return set().union(*(in_code(cell.source) for cell in nb.code), *(in_markdown(cell.source) for cell in nb.text))


def unknown(names: set[str], timeout: float = 300) -> list[str]:
    """Those of `names` that do not exist here; one child process imports TensorFlow for all of them."""
    wanted = sorted(names - set(ELSEWHERE))
    if not wanted:
        return []
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("resolve_names.py"))],
        text=True,
        timeout=timeout,
        input=json.dumps([[name, PACKAGES[name.split(".")[0]]] for name in wanted]),
        capture_output=True,
    )
    if done.returncode:
        raise RuntimeError(f"the names could not be looked up: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])
