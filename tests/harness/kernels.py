"""Notebook kernels as the tests need them: no port, no hidden output, and a crash is named at once."""

from __future__ import annotations

import os
import tempfile
import time
from queue import Empty

import nbval.kernel
import nbval.plugin
from jupyter_client.manager import KernelManager

_LOOK_EVERY = 2.0  # seconds between two looks at whether a silent kernel still lives


class KernelDied(RuntimeError):
    """The kernel's process ended while a cell ran: a crash in compiled code, or no memory left."""


class Kernel(nbval.kernel.RunningKernel):
    """nbval's kernel, with two changes.

    It does not wait out the whole time limit for a process that is dead.  It keeps the history, without
    which IPython ignores the semicolon that silences a cell's last line.
    """

    def execute_cell_input(self, cell_input: str, allow_stdin: bool | None = None) -> str:
        return self.kc.execute(cell_input, store_history=True, allow_stdin=allow_stdin, stop_on_error=False)

    def get_message(self, stream: str, timeout: float | None = None):
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = _LOOK_EVERY if end is None else end - time.monotonic()
            try:
                return super().get_message(stream, timeout=max(0.0, min(_LOOK_EVERY, left)))
            except Empty:
                if not self.is_alive():
                    raise KernelDied(
                        "the kernel died in this cell: compiled code crashed, or the memory was used "
                        "up. Run what may crash in a child process."
                    ) from None
                if end is not None and left <= _LOOK_EVERY:
                    raise


def start_new_kernel(startup_timeout: float = 60, kernel_name: str = "python", **kwargs):
    """Start a kernel; returns its manager and its client, like nbval's function of this name.

    Sockets are files where the system has them: TCP needs free ports and makes ipykernel warn.
    PYTEST_CURRENT_TEST is hidden: ipykernel sees it and then drops what compiled code prints, which a
    reader would see.
    """
    manager = KernelManager(kernel_name=kernel_name, kernel_spec_manager=nbval.kernel.NbvalKernelspecManager())
    if os.name == "posix":
        manager.transport = "ipc"
        manager.ip = f"{tempfile.mkdtemp(dir=os.environ.get('COURSE_TEST_SCRATCH'))}/k"
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    manager.start_kernel(env=environment, **kwargs)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=startup_timeout)
    except RuntimeError:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        raise
    return manager, client


def install() -> None:
    """Let nbval use both."""
    nbval.kernel.start_new_kernel = start_new_kernel
    nbval.plugin.RunningKernel = Kernel
