"""Temporary files go where the user says, unless a socket's path would not fit."""

from __future__ import annotations

import os
import socket
import tempfile

import pytest

from commands.parts import short_folder as module
from commands.parts.short_folder import LONGEST, short_folder

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no sockets that are files")


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Make the user's folder `length` bytes long."""

    def make(length: int) -> str:
        folder = f"{tmp_path}/{'x' * (length - len(os.fsencode(tmp_path)) - 1)}"
        monkeypatch.setattr(tempfile, "tempdir", folder)
        return folder

    monkeypatch.setattr(module, "LONGEST", len(os.fsencode(tmp_path)) + 5)
    return make


def test_the_users_folder_is_taken(own):
    folder = own(module.LONGEST)
    assert short_folder() == folder


def test_a_shorter_one_is_taken_where_a_socket_would_not_fit(own, monkeypatch):
    folder = own(module.LONGEST + 1)
    assert short_folder() == "/tmp"
    monkeypatch.setattr(module, "_writable", lambda place: place != "/tmp")
    assert short_folder() == "/var/tmp"
    monkeypatch.setattr(module, "_writable", lambda place: place == folder)
    assert short_folder() == folder


def test_a_socket_fits_into_the_longest_folder(tmp_path):
    """Names as tests and `run` make them: a folder, another one in it, the socket."""
    below = "/tmo-abcdefgh/tmpabcdefgh/k-1"
    assert LONGEST + len(below) <= 103, "macOS allows 103 bytes"
    with socket.socket(socket.AF_UNIX) as listening, pytest.raises(OSError, match="too long"):
        listening.bind(f"{tmp_path}/{'x' * 108}")
