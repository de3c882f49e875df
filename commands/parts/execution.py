"""Executes a notebook in a fresh kernel: progress by cell, a time limit for each, the culprit named."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from commands.parts.chapters import shown
from commands.parts.environment import EXTRAS
from commands.parts.errors import Problem
from commands.parts.short_folder import short_folder

CELL_LIMIT = 300
#: Pythons from 3.13 on, and other programs, colour what they say wherever they think that a person looks.
PLAIN = {"PYTHON_COLORS": "0", "NO_COLOR": "1"}
#: Variables that would win over PLAIN.
COLOURING = ("FORCE_COLOR", "CLICOLOR_FORCE", "PY_COLORS")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Executed:
    """An executed notebook: the NotebookNode, seconds for each executed cell by execution count, seconds in all."""

    notebook: object
    cell_seconds: dict[int, float]
    seconds: float


def execute(
    path: Path,
    *,
    seed: int | None = None,
    fresh: bool = False,
    keep_going: bool = False,
    cell_limit: int = CELL_LIMIT,
    variables: dict[str, str] | None = None,
    progress: bool | None = None,
    name: str | None = None,
) -> Executed:
    """Execute the notebook at `path` in a new kernel, in its own folder; nothing is written.

    seed: COURSE_SEED of the kernel, None to inherit it.  fresh: train anew (COURSE_FRESH).
    keep_going: record errors as outputs and go on, instead of raising Problem at the first.
    cell_limit: seconds a cell may take.  variables: further environment variables of the kernel.
    progress: a bar on stderr; None: if that is a terminal.  name: how messages call the notebook.
    Raises Problem, naming the cell, if it fails, takes too long, or the kernel dies; KeyboardInterrupt at Ctrl+C.
    """
    notebook = read(path)
    watch = _Watch(notebook, name or shown(path), progress)
    kernel = kernel_of(notebook)
    with _scratch() as scratch, (scratch / "words").open("w+b") as words, watch:
        client = _client(notebook, kernel, path.parent, keep_going, cell_limit, watch)
        _connect(client, scratch)
        environment = kernel_variables(seed, fresh, scratch) | (variables or {})
        try:
            watch.guard(lambda: client.execute(env=environment, stdout=words, stderr=words), cell_limit, words)
        except Exception:
            if not _interrupted(client):
                raise
        if _interrupted(client):  # also behind the last cell, where nbclient goes on as if nothing had been
            raise KeyboardInterrupt
    return Executed(notebook, watch.cell_seconds, time.monotonic() - watch.began)


def read(path: Path):
    """The notebook in a file.  Raises Problem if it is none."""
    import nbformat

    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except (ValueError, TypeError, KeyError, AttributeError, nbformat.ValidationError) as error:
        reason = str(error).strip().splitlines()[0][:100] if str(error).strip() else type(error).__name__
        raise Problem(
            f"{shown(path)} is not a whole notebook ({reason}). Restore it:  git restore {shown(path)}"
        ) from None
    return notebook


def was_run(notebook) -> bool:
    """Whether every code cell of a stored notebook has been executed."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    return all(cell.get("execution_count") for cell in code)


def kernel_of(notebook) -> str:
    """The kernel a notebook asks for: python3, or that of an extra environment."""
    wanted = notebook.metadata.get("kernelspec", {}).get("name", "python3")
    return wanted if wanted in EXTRAS else "python3"


def kernel_variables(seed: int | None, fresh: bool, scratch: Path) -> dict[str, str]:
    """The kernel's environment variables: this process's and the seed; no bars, no colours, no start-up files."""
    variables = {name: value for name, value in os.environ.items() if name not in COLOURING} | PLAIN
    variables.update({"TQDM_DISABLE": "1", "COURSE_STORED": "1", "IPYTHONDIR": str(scratch / "ipython")})
    if seed is not None:
        variables["COURSE_SEED"] = str(seed)
    if fresh:
        variables["COURSE_FRESH"] = "1"
    return variables


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for the kernel's socket, its own messages and its settings."""
    with tempfile.TemporaryDirectory(prefix="tmo-", dir=short_folder(), ignore_cleanup_errors=True) as name:
        yield Path(name)


def _client(notebook, kernel: str, folder: Path, keep_going: bool, cell_limit: int, watch: _Watch):
    from nbclient import NotebookClient

    if sys.platform == "win32":  # pyzmq needs the loop that can wait for sockets
        import asyncio

        asyncio.set_event_loop_policy(asyncio.WindowsSelectorEventLoopPolicy())
    return NotebookClient(
        notebook,
        kernel_name=kernel,
        timeout=cell_limit,
        allow_errors=keep_going,
        record_timing=False,
        store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
        on_cell_execute=watch.cell_begins,
        on_cell_executed=watch.cell_ends,
    )


def _connect(client, scratch: Path) -> None:
    """Prefer a Unix socket: no port, and no warning of the kernel about unencrypted TCP."""
    from jupyter_client.kernelspec import NoSuchKernel

    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # the environment's kernel, not one of that name at home
    try:
        manager = client.create_kernel_manager()
        manager.kernel_spec  # noqa: B018  raises if the kernel is not registered
    except NoSuchKernel:
        kernel = client.kernel_name
        advice = f"add --with {kernel} to the command" if kernel in EXTRAS else "python course.py setup --fresh"
        raise Problem(f"The kernel {kernel!r} is not there. To make it: {advice}.") from None
    if os.name != "nt":
        manager.transport = "ipc"
        manager.connection_file = str(scratch / "k.json")


def _interrupted(client) -> bool:
    """Whether Ctrl+C or a signal ended the kernel: nbclient then cleans up and reports a dead kernel."""
    return getattr(client, "_async_cleanup_kernel_future", None) is not None


class _Watch:
    """Knows which cell runs, for how long, and shows it."""

    def __init__(self, notebook, name: str, progress: bool | None) -> None:
        self.name, self.began = name, time.monotonic()
        self.cell_seconds: dict[int, float] = {}
        self._cells = notebook.cells
        self._now: int | None = None
        self._cell_began = self.began
        self._count = 0
        self._bar = _bar(name, sum(cell.cell_type == "code" for cell in notebook.cells), progress)

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def cell_begins(self, cell, cell_index: int) -> None:
        self._now, self._cell_began = cell_index, time.monotonic()
        self._count += 1

    def cell_ends(self, cell, cell_index: int, execute_reply) -> None:
        self.cell_seconds[self._count] = round(time.monotonic() - self._cell_began, 2)
        self._bar.update()

    def guard(self, work: Callable[[], object], cell_limit: int, words: BinaryIO) -> None:
        """Do `work`; turn what stops it into a Problem that names the cell.  `words`: what the kernel printed."""
        from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

        try:
            work()
        except CellTimeoutError:
            raise Problem(
                f"{self._where()} took longer than {cell_limit} seconds and was stopped. An endless loop? "
                "If it needs the time, pass a larger --time-limit."
            ) from None
        except CellExecutionError as error:
            raise Problem(f"{self._where()} raised {error.ename}: {_ANSI.sub('', error.evalue)}") from None
        except DeadKernelError:
            raise Problem(
                f"{self._where()} killed its kernel: a crash in native code, or no memory left. "
                "Close other programs and repeat; `python course.py doctor` shows how much memory is free."
                f"{_last(words)}"
            ) from None
        except RuntimeError as error:
            if "Kernel died" not in str(error) and "died before" not in str(error):
                raise
            raise Problem(
                f"{self.name}: the kernel did not start ({error}). To mend it:  python course.py setup --fresh"
                f"{_last(words)}"
            ) from None

    def _where(self) -> str:
        if self._now is None:
            return f"{self.name}: the start of the kernel"
        lines = [line.strip() for line in self._cells[self._now].source.splitlines()]
        code = [line for line in lines if line and not line.startswith("#")]
        return f"{self.name}, cell [{self._count}] ({code[0] if code else 'empty'} …)"


def _last(words: BinaryIO, lines: int = 5) -> str:
    """The last lines that the kernel's process itself printed, for a message; often they say why it died."""
    words.seek(0)
    said = words.read().decode("utf-8", "replace").strip().splitlines()[-lines:]
    return "\nIts last words:\n" + "\n".join(f"    {line}" for line in said) if said else ""


def _bar(name: str, cells: int, progress: bool | None):
    from tqdm import tqdm

    return tqdm(
        total=cells,
        desc=name,
        unit="cell",
        disable=None if progress is None else not progress,
        leave=False,
        bar_format="{desc} {bar:20} {n_fmt}/{total_fmt} cells {elapsed}",
    )
