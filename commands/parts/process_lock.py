"""A lock between processes, from the standard library: needed before any package is installed."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO

_LOCKED_BYTE = 1 << 20  # on Windows a locked byte cannot be read: lock one far behind the text


class Lock:
    """`with Lock(path, "what the other one is doing"):` waits, with a sentence, until it is alone.

    The operating system lets go of the lock when its process ends, however it ends: a killed process never blocks the
    next one.  A child that inherits `descriptors` (`pass_fds` of subprocess) holds the lock too, until it ends itself.
    """

    def __init__(self, path: Path, busy: str) -> None:
        self.path, self.busy = path, busy
        self._file: IO[str] | None = None

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a child must inherit to hold the lock as well; Windows knows no such thing."""
        assert self._file is not None
        return () if os.name == "nt" else (self._file.fileno(),)

    def __enter__(self) -> Lock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a+", encoding="utf-8")
        told = False
        while not _try_lock(self._file):
            if not told:
                owner = f"process {self._owner()}, or what it started"
                print(f"{self.busy} ({owner}). Waiting for it; Ctrl-C gives up.", file=sys.stderr)
                told = True
            time.sleep(0.3)
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._file is not None
        _unlock(self._file)
        self._file.close()

    def _owner(self) -> str:
        assert self._file is not None
        self._file.seek(0)
        return self._file.read().strip() or "unknown"


if os.name == "nt":
    import msvcrt

    def _try_lock(file: IO[str]) -> bool:
        file.seek(_LOCKED_BYTE)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        file.seek(0)
        return True

    def _unlock(file: IO[str]) -> None:
        file.seek(_LOCKED_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(file: IO[str]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(file: IO[str]) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)
