"""One process at a time, and what it started."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from commands.parts.process_lock import Lock

ROOT = Path(__file__).resolve().parents[3]


def test_a_second_process_waits_for_the_lock(tmp_path, capfd):
    path = tmp_path / "locks/run.lock"
    order = []
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\nfrom commands.parts.process_lock import Lock\n"
        f"with Lock(Path({str(path)!r}), 'Somebody is at it'): print('second')"
    )
    with Lock(path, "busy"):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        second = subprocess.Popen([sys.executable, "-c", code], text=True, **pipes)
        threading.Thread(target=lambda: order.append(second.communicate())).start()
        time.sleep(1)
        assert second.poll() is None and not order
    second.wait(timeout=20)
    deadline = time.monotonic() + 5
    while not order and time.monotonic() < deadline:
        time.sleep(0.05)
    out, err = order[0]
    assert out.strip() == "second"
    assert f"Somebody is at it (process {os.getpid()}, or what it started)" in err


def test_an_installer_without_its_parent_keeps_the_next_set_up_waiting(tmp_path):
    """The parent is killed, the child that inherited the lock goes on: nobody else may write meanwhile."""
    child = "import time; time.sleep(2)"
    parent = (
        f"import subprocess, sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\nfrom commands.parts.process_lock import Lock\n"
        f"with Lock(Path({str(tmp_path / 'a.lock')!r}), 'busy') as lock:\n"
        f"    subprocess.run([sys.executable, '-c', 'print(1, flush=True); {child}'], pass_fds=lock.descriptors)"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as started:
        started.stdout.readline()  # the child runs
        started.kill()
        began = time.monotonic()
        with Lock(tmp_path / "a.lock", "busy"):
            assert time.monotonic() - began > 1


def test_the_lock_names_its_owner_alone_and_can_be_taken_again(tmp_path):
    path = tmp_path / "a.lock"
    path.write_text("99999999 and older words", encoding="utf-8")
    for _ in range(2):
        with Lock(path, "busy"):
            assert path.read_text("utf-8") == str(os.getpid())
