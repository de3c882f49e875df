"""No network but loopback, in every Python process that a test starts: kernels and their children.

Python imports a module of this name at its start.  conftest.py puts this folder on PYTHONPATH, so the
guard is there before the first line of a notebook runs.  pytest-socket guards pytest's own process.
"""

import ipaddress
import socket


class NetworkBlocked(OSError):
    """What code sees where there is no network, with a sentence that says who took it away."""


def _refuse_others(host: object) -> None:
    if host in (None, "", b"", "localhost", b"localhost"):
        return
    name = host.decode(errors="replace") if isinstance(host, bytes) else str(host)
    try:
        allowed = ipaddress.ip_address(name.split("%")[0]).is_loopback
    except ValueError:
        allowed = False
    if not allowed:
        raise NetworkBlocked(
            f"tests reach loopback only, and this code asked for {name!r}; ship the data, or "
            "let the cell say what to do without a network"
        )


def _guarded(call):
    def guard(self, *args):
        address = args[-1]  # the address is the last argument of connect, connect_ex and sendto
        if isinstance(address, tuple):
            _refuse_others(address[0])
        return call(self, *args)

    return guard


def _guarded_lookup(lookup):
    def guard(host, *args, **kwargs):
        _refuse_others(host)
        return lookup(host, *args, **kwargs)

    return guard


for _name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, _name, _guarded(getattr(socket.socket, _name)))
for _name in ("getaddrinfo", "gethostbyname"):
    setattr(socket, _name, _guarded_lookup(getattr(socket, _name)))
