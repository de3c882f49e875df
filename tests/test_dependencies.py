"""What a function depends on: all that it uses, and nothing else."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import textwrap

import pytest

from utils import ROOT, dependencies, recorded

BENCH = "benchmarks/timing.py"
REPOSITORY = {
    "utils/__init__.py": """
        \"\"\"The package.\"\"\"
        import os
        SETTINGS = {"threads": 1}
        os.environ.update(SETTINGS)
    """,
    "utils/models.py": """
        import numpy as np
        from utils import grid

        WIDTH = 32
        OTHER = 5

        def mlp(width=WIDTH):
            \"\"\"A network.\"\"\"
            return layer(width)  # a remark

        def layer(width: grid.Affine) -> np.ndarray:
            return np.zeros(width)

        def cnn():
            return grid.clip(1)

        ARCHITECTURES = {"mlp": mlp, "cnn": cnn}
    """,
    "utils/grid.py": """
        import math

        class Base:
            kind = "base"

        class Affine(Base):
            step: float = 1.0

            def scale(self):
                return math.sqrt(self.step)

        def clip(x):
            return min(x, 1)

        def both(f):
            return f

        @both
        def spread(x, *, edge=3):
            def inner(y):
                from utils import late
                return late.later(y)
            return [inner(each) for each in x]
    """,
    "utils/late.py": "def later(y):\n    return y\n\ndef never(y):\n    return y\n",
    "utils/formats.py": """
        MODULES = {"lite": "utils.lite", "micro": "utils.micro"}
        KNOWN = {}

        def register(name, opener):
            KNOWN[name] = opener

        def of(name):
            import importlib
            importlib.import_module(MODULES[name])
            return KNOWN[name]

        register("plain", lambda content: len(content))
    """,
    "utils/lite.py": """
        from utils.formats import register
        from utils.micro import shrink as smaller

        class Model:
            def run(self):
                return "utils.lite:_trial"

        def _trial():
            return 1

        def _unused():
            return smaller(2)

        register("lite", lambda content: Model())
    """,
    "utils/micro.py": """
        from utils.formats import register

        def shrink(x):
            return x

        register("micro", shrink)
    """,
    BENCH: """
        import sys
        from utils import formats, models
        from utils.grid import Affine, spread

        ROUNDS = 3
        TABLE = {"mlp": 1}

        def measure():
            models_of = [models.ARCHITECTURES["mlp"] for _ in range(ROUNDS)]
            return models_of, spread([Affine().scale()]), formats.of("lite")

        def main():
            print(TABLE, measure())

        if __name__ == "__main__":
            main()
    """,
}
ENTRY = "benchmarks.timing:measure"


@pytest.fixture
def root(tmp_path, monkeypatch):
    for name, text in REPOSITORY.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip(), encoding="utf-8")
    monkeypatch.setattr(dependencies, "TABLES", {"utils.models:ARCHITECTURES", "utils.formats:MODULES"})
    return tmp_path


def edit(root, name, old, new):
    path = root / name
    text = path.read_text("utf-8")
    assert old in text, "the test edits what is there"
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_all_that_is_used_and_nothing_else(root):
    assert set(dependencies.digests_of([ENTRY], root)) == {
        "benchmarks.timing:ROUNDS",
        "benchmarks.timing:measure",
        "utils",
        "utils:SETTINGS",
        "utils.models:ARCHITECTURES",
        "utils.models:WIDTH",
        "utils.models:mlp",
        "utils.models:layer",
        "utils.grid:Affine",
        "utils.grid:Base",
        "utils.grid:both",
        "utils.grid:spread",
        "utils.late:later",
        "utils.formats:MODULES",
        "utils.formats:KNOWN",
        "utils.formats:of",
        "utils.formats:register",
        "utils.lite",
        "utils.lite:Model",
        "utils.lite:_trial",
    }


MATTERS = {
    "the function itself": (BENCH, "range(ROUNDS)", "range(ROUNDS + 1)"),
    "a constant": (BENCH, "ROUNDS = 3", "ROUNDS = 4"),
    "a constant of another module": ("utils/models.py", "WIDTH = 32", "WIDTH = 64"),
    "a default": ("utils/grid.py", "edge=3", "edge=4"),
    "a decorator's body": ("utils/grid.py", "return f", "return f or None"),
    "another decorator": ("utils/grid.py", "@both", "@clip"),
    "a base class": ("utils/grid.py", 'kind = "base"', 'kind = "basis"'),
    "a method": ("utils/grid.py", "math.sqrt", "math.cbrt"),
    "a field": ("utils/grid.py", "step: float = 1.0", "step: float = 2.0"),
    "what a nested function imports": ("utils/late.py", "def later(y):\n    return y", "def later(y):\n    return -y"),
    "where a nested function imports from": ("utils/grid.py", "late.later(y)", "late.never(y)"),
    "a function in a table": ("utils/models.py", "return layer(width)", "return layer(width + 1)"),
    "which function the table has": ("utils/models.py", '"mlp": mlp', '"mlp": cnn'),
    "another library under the same name": ("utils/models.py", "import numpy as np", "import cupy as np"),
    "what the package does when imported": ("utils/__init__.py", "os.environ.update", "os.environ.setdefault"),
    "a setting of the package": ("utils/__init__.py", '"threads": 1', '"threads": 2'),
    "what a format's module registers": ("utils/lite.py", "lambda content: Model()", "lambda content: Model"),
    "what a text names": ("utils/lite.py", "return 1", "return 2"),
    "where a format lives": ("utils/formats.py", '"lite": "utils.lite"', '"lite": "utils.micro"'),
    "whole numbers are not floats": (BENCH, "ROUNDS = 3", "ROUNDS = 3.0"),
    "an import that gives another definition": (
        BENCH,
        "from utils.grid import Affine",
        "from utils.micro import Affine",
    ),
}


@pytest.mark.parametrize("change", MATTERS)
def test_a_change_of_what_is_used_is_noticed_and_named(root, change):
    before = dependencies.digests_of([ENTRY], root)
    edit(root, *MATTERS[change])
    if "another definition" in change:
        (root / "utils/micro.py").write_text((root / "utils/grid.py").read_text("utf-8").replace("1.0", "2.0"))
    assert dependencies.changes(before, dependencies.digests_of([ENTRY], root))


NOTHING = {
    "a comment": ("utils/models.py", "  # a remark", "  # another"),
    "a docstring": ("utils/models.py", "A network.", "Another network."),
    "a docstring that comes": ("utils/late.py", "def later(y):\n", 'def later(y):\n    """Later."""\n'),
    "formatting": ("utils/models.py", "return layer(width)", "return layer(\n        width\n    )"),
    "line ends": ("utils/late.py", "\n", "\r\n"),
    "an annotation": ("utils/models.py", "width: grid.Affine", "width: int"),
    "an unused function": ("utils/late.py", "def never(y):\n    return y", "def never(y):\n    return -y"),
    "a new function": ("utils/late.py", "def never", "def new(y):\n    return 0\n\ndef never"),
    "an unused constant": ("utils/models.py", "OTHER = 5", "OTHER = 6"),
    "a new network in the table": ("utils/models.py", '"cnn": cnn', '"cnn": cnn, "rnn": cnn'),
    "an unused network": ("utils/models.py", "grid.clip(1)", "grid.clip(2)"),
    "a new format": ("utils/formats.py", '"micro": "utils.micro"', '"micro": "utils.micro", "js": "utils.js"'),
    "another format's registration": ("utils/micro.py", 'register("micro", shrink)', 'register("micro", None)'),
    "the command line": (BENCH, "print(TABLE, measure())", "print(measure())"),
    "the name of an import": ("utils/models.py", "import numpy as np", "import numpy as xp"),
    "a module imported instead of a name": (BENCH, "from utils.grid import Affine, spread", "from utils import grid"),
}


@pytest.mark.parametrize("change", NOTHING)
def test_a_change_of_something_else_is_not(root, change):
    before = dependencies.digests_of([ENTRY], root)
    edit(root, *NOTHING[change])
    if change == "the name of an import":
        edit(root, "utils/models.py", "np.zeros", "xp.zeros")
    if change == "a module imported instead of a name":
        edit(root, BENCH, "spread([Affine()", "grid.spread([grid.Affine()")
    assert dependencies.changes(before, dependencies.digests_of([ENTRY], root)) == []


def test_a_new_module_changes_nothing(root):
    before = dependencies.digests_of([ENTRY], root)
    (root / "utils/rnn.py").write_text("from utils import models\n\ndef f():\n    return models.mlp()\n")
    assert dependencies.digests_of([ENTRY], root) == before


def test_moving_a_module_changes_no_digest(root):
    before = dependencies.digests_of([ENTRY], root)
    (root / "utils/optimize").mkdir()
    (root / "utils/optimize/__init__.py").touch()
    (root / "utils/grid.py").rename(root / "utils/optimize/grid.py")
    edit(root, BENCH, "from utils.grid", "from utils.optimize.grid")
    edit(root, "utils/models.py", "from utils import grid", "from utils.optimize import grid")
    after = dependencies.digests_of([ENTRY], root)
    assert "utils.optimize.grid:spread" in after and "utils.grid:spread" not in after
    assert dependencies.changes(before, after) == []


def test_what_changed_is_named(root):
    before = dependencies.digests_of([ENTRY], root)
    edit(root, "utils/late.py", "def later(y):\n    return y", "def later(y):\n    return -y")
    assert dependencies.changes(before, dependencies.digests_of([ENTRY], root)) == ["utils.late:later has changed"]
    edit(root, "utils/grid.py", "late.later(y)", "late.never(y)")
    assert dependencies.changes(before, dependencies.digests_of([ENTRY], root)) == [
        "utils.grid:spread has changed",
        "utils.late:later is gone, or used no longer",
        "utils.late:never is used now",
    ]


def test_a_module_that_is_handed_on_counts_as_a_whole(root):
    edit(root, BENCH, 'formats.of("lite")', "vars(models)")
    assert {"utils.models:cnn", "utils.models:OTHER", "utils.grid:clip"} <= set(dependencies.digests_of([ENTRY], root))


@pytest.mark.parametrize("line", ["from benchmarks import _lessons", "import benchmarks._lessons as _lessons"])
def test_a_neighbour_of_the_benchmark_counts_though_its_folder_is_no_package(root, line):
    (root / "benchmarks/_lessons.py").write_text("SIZE = 3\n\ndef batch():\n    return SIZE\n", encoding="utf-8")
    (root / BENCH).write_text(f"{line}\n\ndef measure():\n    return _lessons.batch()\n", encoding="utf-8")
    assert {"benchmarks._lessons:batch", "benchmarks._lessons:SIZE"} <= set(dependencies.digests_of([ENTRY], root))


@pytest.mark.parametrize(
    "body, used",
    [
        ("def measure():\n    clip = max\n    return clip(1)", False),  # a variable of its own
        ("def measure(clip):\n    return clip(1)", False),
        ("def measure():\n    return [clip for clip in 'ab']", False),
        ("def measure():\n    return lambda clip: clip", False),
        ("class C:\n    clip = 1\n\ndef measure():\n    return C().clip", False),
        ("def measure():\n    return (lambda: clip)()", True),
        ("def measure():\n    return [clip(x) for x in 'ab']", True),
        ("def measure(x=clip):\n    return x", True),
        ("class C:\n    def f(self):\n        return clip\n\ndef measure():\n    return C()", True),
        ("A, B = clip, 2\n\ndef measure():\n    return B", True),
        ("if len(__file__):\n    B = clip\nelse:\n    B = 1\n\ndef measure():\n    return B", True),
        ("try:\n    import numpy\nexcept ImportError:\n    numpy = clip\n\ndef measure():\n    return numpy", True),
        ("X = {}\nX['a'] = clip\n\ndef measure():\n    return X", True),
        ("X = [clip for clip in 'ab']\n\ndef measure():\n    return X", False),
        ("X = {each: clip(each) for each in 'ab'}\n\ndef measure():\n    return X", True),
        ("X = 1\nX += clip(1)\n\ndef measure():\n    return X", True),
        ("def measure():\n    global X\n    X = clip", True),
        ("async def measure():\n    return await clip(1)", True),
        ("def measure():\n    match clip:\n        case 1: pass", True),
        ("def measure():\n    return f'{clip(1)!r:>{clip(2)}}'", True),
    ],
)
def test_python_decides_which_names_are_the_modules(root, body, used):
    (root / BENCH).write_text(f"from utils.grid import clip\n\n{body}\n")
    assert ("utils.grid:clip" in dependencies.digests_of([ENTRY], root)) is used


@pytest.mark.parametrize(
    "entry", ["benchmarks.timing:gone", "benchmarks.gone:measure", "benchmarks.timing", "numpy:zeros", ""]
)
def test_an_unknown_entry_is_named(root, entry):
    with pytest.raises(ValueError, match=f"there is no {entry!r}"):
        dependencies.digests_of([entry], root)


@pytest.mark.parametrize("line", ["from . import grid", "from utils.grid import *"])
def test_an_import_that_does_not_say_what_it_gives_is_refused(root, line):
    (root / BENCH).write_text(f"{line}\n\ndef measure():\n    return 1\n")
    with pytest.raises(ValueError, match=r"benchmarks\.timing has a relative import, or imports \*"):
        dependencies.digests_of([ENTRY], root)


def test_networks_that_ship_count_if_they_are_read_and_spelled_out(root, monkeypatch):
    (root / "data/weights").mkdir(parents=True)
    for name in ("mlp-lite", "cnn-lite", "mlp-mnist"):
        (root / f"data/weights/{name}.npz").write_bytes(name.encode())
    before = dependencies.digests_of([ENTRY], root)
    assert not any("npz" in name for name in before)
    monkeypatch.setattr(dependencies, "READS_WEIGHTS", "utils.models:mlp")
    found = dependencies.digests_of([ENTRY], root)
    assert set(found) - set(before) == {"data/weights/mlp-lite.npz"}
    (root / "data/weights/mlp-lite.npz").write_bytes(b"trained again")
    assert dependencies.changes(found, dependencies.digests_of([ENTRY], root)) == [
        "data/weights/mlp-lite.npz has changed"
    ]
    (root / "data/weights/mlp-lite.npz").unlink()
    assert "npz is gone" in dependencies.changes(found, dependencies.digests_of([ENTRY], root))[0]


def test_the_name_of_a_function():
    assert dependencies.name_of(dependencies.digests_of) == "utils.dependencies:digests_of"
    assert dependencies.name_of(dependencies._Source) == "utils.dependencies:_Source"
    for nothing_of_ours in (len, ast.parse, lambda: 1, dependencies._Source.module, pytest):
        with pytest.raises((ValueError, AttributeError)):
            dependencies.name_of(nothing_of_ours)


@pytest.mark.parametrize(
    "name, before, after, same",
    [
        ("a.py", "x = 1\n", "x = 1  # a remark\n", True),
        ("a.py", "x = 1\n", "x = 2\n", False),
        ("a.py", "import numpy as np\nx = np.pi", "import numpy\nx = numpy.pi", True),
        ("a.bin", "x = 1\n", "x = 1 \n", False),
    ],
)
def test_the_digest_of_a_file(root, name, before, after, same):
    (root / name).write_text(before)
    first = dependencies.digest_of_file(name, root)
    (root / name).write_text(after)
    assert (dependencies.digest_of_file(name, root) == first) is same


@pytest.mark.parametrize(
    "kind, content, same", [("markdown", "Other.", True), ("code", "# remark\nx = 1", True), ("code", "x = 2", False)]
)
def test_of_a_notebook_only_the_code_counts(root, kind, content, same):
    def write(cells):
        stored = [{"cell_type": kind, "source": [source], "outputs": []} for kind, source in cells.items()]
        (root / "a.ipynb").write_text(json.dumps({"cells": stored}))
        return dependencies.digest_of_file("a.ipynb", root)

    before = {"markdown": "Words.", "code": "x = 1"}
    assert (write(before) == write(before | {kind: content})) is same


def test_every_python_has_the_same_digests(root):
    """Newer Pythons have more fields, empty for old syntax: here as if this one had them."""
    before = dependencies.digests_of([ENTRY], root)
    fields = ast.FunctionDef._fields
    try:
        ast.FunctionDef._fields = (*fields, "type_params")
        dependencies._indexed.cache_clear()
        assert dependencies.digests_of([ENTRY], root) == before
    finally:
        ast.FunctionDef._fields = fields
        dependencies._indexed.cache_clear()


# ---------------------------------------------------------------- this repository


@pytest.mark.parametrize(
    "record, used",
    [
        ("quantization_aware_bits", "utils.optimize.quantization.grid:best_clip"),
        ("quantization_aware_bits", "utils.training:_load_shipped"),
        ("quantization_aware_bits", "utils.models:residual_cnn"),
        ("quantization_peer", "utils.deploy.tflite.session:Session"),
        ("quantization_peer", "utils.deploy.tflite.tflite_model:_trial"),
        ("quantization_peer", "utils.measure.timing:latency"),
        ("tflite_growth", "utils.deploy.tflite.session:Session"),
        ("tflite_growth", "utils.measure.macs:count"),
        ("quantization_growth", "utils.optimize.quantization.converter:convert"),
        ("quantization_tutorial", "utils.optimize.quantization.recipes:quantize"),
        ("measuring", "utils.measure.statistics:mcnemar"),
        ("weights", "utils.training:fit"),
        ("toolkit_layers", "utils.optimize.toolkit.layer_samples:LAYERS"),
        ("toolkit_below", "utils.measure.timing:latency"),
        ("transfer_fine_tuning", "benchmarks.transfer_learning:Trainer"),
        ("transfer_order", "utils.optimize.transfer:efficientnet_lite0"),
    ],
)
def test_a_record_depends_on_what_one_expects(record, used):
    named = [name for name in recorded.load(record).depends if ":" in name]
    found = dependencies.digests_of(named)
    assert used in found
    assert not any(name.partition(":")[0] in dependencies.IGNORED for name in found)


def test_a_record_does_not_depend_on_other_families():
    found = dependencies.digests_of(["benchmarks.measuring:hits"])
    assert not any("optimize" in name or "deploy" in name or "study" in name for name in found)
    assert "utils.models:transformer" not in found


def test_what_the_source_says_is_what_python_sees():
    """Every definition that is found is there when its module is imported."""
    for name in dependencies.digests_of(["benchmarks.measuring:hits", "benchmarks.measuring:table"]):
        module, _, own = name.partition(":")
        assert not own or hasattr(importlib.import_module(module), own)


@pytest.mark.parametrize("table", sorted(dependencies.TABLES))
def test_a_table_is_a_dictionary_with_texts_as_keys(table):
    module, _, name = table.partition(":")
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text("utf-8"))
    value = next(
        node.value
        for node in tree.body
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and name in ast.unparse(getattr(node, "target", node))
    )
    assert isinstance(value, ast.Dict)
    assert all(isinstance(key, ast.Constant) and isinstance(key.value, str) for key in value.keys)


def test_the_public_names_are_documented():
    assert all(inspect.getdoc(getattr(dependencies, name)) for name in dependencies.__all__)
