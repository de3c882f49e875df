"""A folder for temporary files that leaves room for sockets: a socket is a file whose path has about 100 characters."""

from __future__ import annotations

import os
import tempfile

#: Bytes of the folder's path.  Names below it take 32 more, and macOS allows 103 in all.
LONGEST = 70


def short_folder() -> str:
    """The folder of TMPDIR, as everywhere; where its path is too long, the shortest one that can be written."""
    own = tempfile.gettempdir()
    if os.name == "nt" or len(os.fsencode(own)) <= LONGEST:
        return own
    return min((place for place in ("/tmp", "/var/tmp", own) if _writable(place)), key=len)


def _writable(place: str) -> bool:
    return os.access(place, os.W_OK | os.X_OK)
