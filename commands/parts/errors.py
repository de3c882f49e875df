"""What goes wrong is said in a sentence, not in a traceback."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable


class Problem(Exception):
    """Something the reader can mend.  Its text says what happened and what to do."""


def closest_name(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` was most likely meant to be, or None if nothing is close."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.5)
    return by_lower[close[0]] if close else None


def unknown(kind: str, name: str, known: Iterable[str], advice: str = "") -> Problem:
    """The Problem for a name that is not in `known`, with the nearest match."""
    known = list(known)
    match = closest_name(name, known)
    sentence = f"There is no {kind} {name!r}."
    if match:
        sentence += f" Did you mean {match}?"
    sentence += f"\nKnown: {' '.join(known)}" if known else f"\nThere is no {kind} at all yet."
    return Problem(f"{sentence}\n{advice}" if advice else sentence)


def explain_os_error(error: OSError) -> str:
    """A sentence for an error of the operating system that nobody foresaw more closely."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):
        return f"The disk is full{where}. Free some space and repeat the command; nothing was left half-written."
    if error.errno == errno.EROFS:
        return f"This file system is read-only{where}. Copy the course to a folder that you can write to."
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"No permission to write{where}. Copy the course to a folder of your own, or mend the folder's rights."
    return f"{type(error).__name__}: {error}"
