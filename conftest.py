"""What plain `pytest` needs to know: how kernels start, what children inherit, what may be missing."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path, PurePosixPath

import hypothesis
import pytest

from commands.parts import execution
from commands.parts.short_folder import short_folder

ROOT = Path(__file__).resolve().parent
collect_ignore = ["my"]  # the reader's own copy is no test, whatever folder pytest is given


def _for_children() -> None:
    """Settings that kernels and child processes inherit, and xdist's workers from the first process."""
    os.environ["COURSE_STORED"] = "1"  # sliders show the picture of their start values
    os.environ["TQDM_DISABLE"] = "1"  # no progress bars in outputs that are compared
    os.environ.update(execution.PLAIN)  # nor colours
    for name in execution.COLOURING:
        os.environ.pop(name, None)
    before = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    ours = [str(ROOT / "tests" / "offline"), str(ROOT)]  # the network guard; `import utils` in any folder
    os.environ["PYTHONPATH"] = os.pathsep.join([*ours, *(p for p in before if p not in ours)])
    nowhere = "http://127.0.0.1:9"  # programs that are not Python honour a proxy: this one does not exist
    os.environ.update(
        HTTP_PROXY=nowhere,
        HTTPS_PROXY=nowhere,
        http_proxy=nowhere,
        https_proxy=nowhere,
        NO_PROXY="localhost,127.0.0.1,::1",
        no_proxy="localhost,127.0.0.1,::1",
    )
    if "COURSE_TEST_SCRATCH" not in os.environ:
        scratch = tempfile.mkdtemp(prefix="tmo-", dir=short_folder())
        atexit.register(shutil.rmtree, scratch, ignore_errors=True)
        os.environ["COURSE_TEST_SCRATCH"] = scratch
    scratch = Path(os.environ["COURSE_TEST_SCRATCH"])
    os.environ["JUPYTER_RUNTIME_DIR"] = str(scratch / "rt")
    os.environ["IPYTHONDIR"] = str(scratch / "ipython")  # not the start-up files of whoever runs the tests


_for_children()

import utils  # noqa: E402, F401  Keras 2 is chosen before any test imports TensorFlow
from tests.harness import answers, budget, clock, kernels  # noqa: E402
from tests.harness.needs import find, needs, required  # noqa: E402

kernels.install()
# The same examples each time, and no limit that a slow machine would break.
hypothesis.settings.register_profile("course", deadline=None, derandomize=True)
hypothesis.settings.load_profile("course")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*names): tools that a machine may lack, see tests/harness/needs.py")
    sanitizer = config.option.nbval_sanitize_with
    if sanitizer:  # whatever folder pytest was called in
        config.option.nbval_sanitize_with = str(ROOT / sanitizer)
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(clock.Clock(), "where-the-time-went")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for name in marker.args:
            needs(name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Longest first, so that no long notebook runs alone at the end; cells stay in their order."""
    items.sort(key=lambda item: -_expected_seconds(item))
    missing: dict[Path, str | None] = {}
    for item in items:
        if item.path.suffix == ".ipynb":
            if item.path not in missing:
                missing[item.path] = _missing_kernel(item)
            if missing[item.path]:
                item.add_marker(
                    pytest.mark.needs(missing[item.path]) if required() else pytest.mark.skip(reason=missing[item.path])
                )
        answer = "" if required() else _readers_answer(item)
        if answer:
            item.add_marker(pytest.mark.skip(reason=answer))


def _readers_answer(item: pytest.Item) -> str:
    """What test_no_chapter_holds_a_readers_answer says of the chapter that `item` is about: once is enough."""
    about = getattr(getattr(item, "callspec", None), "params", {}).get("nb")
    if item.path.suffix == ".ipynb":
        path = item.path
    elif item.path.name == "test_notebooks.py" and about is not None:
        path = ROOT / about.folder / about.name
    else:
        return ""
    return answers.found(path) if path.parent == ROOT / "notebooks" else ""


def _expected_seconds(item: pytest.Item) -> int:
    if item.path.suffix != ".ipynb":
        return 0
    path = PurePosixPath(item.path.as_posix())
    return budget.of_notebook(path.parent.name, path.stem)


def _missing_kernel(item: pytest.Item) -> str | None:
    """None if the kernel that the notebook asks for is there."""
    name = f"kernel:{item.parent.nb.metadata.get('kernelspec', {}).get('name', 'python3')}"
    found, advice = find(name)
    return None if found else name if required() else f"{name} is missing here; {advice}"
