"""Open JupyterLab on your own copy of the chapters, on this machine only.

The copy is in my/: what you write there stays through updates of the course, and notebooks/ stays as it is.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys

from commands.parts import environment, own_copy
from commands.parts.errors import Problem

NEEDS_ENVIRONMENT = True
FIRST_PORT = 8888
EXAMPLES = """
  python course.py lab                   opens the browser on my/00_start_here.ipynb
  python course.py lab --no-browser      prints the address, with its token, to open yourself
  python course.py lab --port 9000
  python course.py lab --copy-only       makes or updates my/ and opens nothing
  python course.py lab --with tfx        also makes the kernel of chapter 17
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-browser", action="store_true", help="print the address instead of opening it")
    parser.add_argument("--port", type=int, help=f"this port and no other (else the first free one from {FIRST_PORT})")
    parser.add_argument("--copy-only", action="store_true", help="make or update my/; for containers and editors")
    environment.with_argument(parser)


def main(options: argparse.Namespace) -> int:
    environment.ensure_extras(options.extras)
    if options.copy_only:
        own_copy.update_copies()
        return 0
    port = choose_port(options.port)
    start = own_copy.update_copies()
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # the course's kernel, not one of the same name at home
    from jupyterlab.labapp import main as lab

    sys.stdout.flush()
    lab(lab_arguments(port, start, browser=not options.no_browser))
    return 0


def lab_arguments(port: int, start: str, *, browser: bool) -> list[str]:
    """The command line of JupyterLab: loopback only, its own token, the whole course as tree, `start` open."""
    given = [
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        f"--ServerApp.root_dir={environment.ROOT}",
        f"--LabApp.default_url=/lab/tree/{start}",
        "--FileContentsManager.pre_save_hook=commands.parts.normalize.forget_python",
    ]
    if _is_root():  # in containers there is no other user
        given.append("--allow-root")
    return given if browser else [*given, "--no-browser"]


def choose_port(wanted: int | None) -> int:
    """`wanted`, or the first free port from 8888; a Problem if `wanted` is in use."""
    if wanted is not None:
        if not 1024 <= wanted <= 65535:
            raise Problem(f"--port {wanted}: pass a number from 1024 to 65535.")
        if not is_free(wanted):
            raise Problem(f"Port {wanted} is in use. Pass another --port, or none: the next free one is then taken.")
        return wanted
    for port in range(FIRST_PORT, FIRST_PORT + 100):
        if is_free(port):
            if port != FIRST_PORT:
                print(f"Port {FIRST_PORT} is in use (another JupyterLab?); this one takes {port}.")
            return port
    raise Problem(f"All ports from {FIRST_PORT} to {FIRST_PORT + 99} are in use. Pass a free one with --port.")


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if sys.platform != "win32":  # there the option would let two servers share the port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0
