"""Files are written whole or not at all.

The content goes into a new file beside the target, onto the disk, and only then takes the target's name.  A reader sees
the old file or the new one, whenever the writer is killed.  Standard library only: `course.py` writes before any
package is installed.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

__all__ = ["check_writable", "json_text", "write_bytes", "write_json", "write_text"]

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_FORBIDDEN = {errno.EACCES, errno.EPERM}


def write_bytes(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write `content` to `path`, whole or not at all; missing folders are made.

    A link is followed.  A file that was there keeps its permissions; its other names (hard links) keep the old content.

    Returns the path.
    Raises TypeError: `content` is no bytes.
    Raises OSError: the disk is full, the place cannot be written, or `path` is a folder.  The old file is as it was,
        and nothing lies beside it.
    """
    path = Path(path)
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise TypeError(f"the content of {path.name} is {type(content).__name__}; pass bytes, or text to write_text")
    target = Path(os.path.realpath(path))
    beside = target.with_name(f".{target.name[:80]}.{secrets.token_hex(4)}.new")
    try:
        if target.exists() and not target.is_file():
            raise OSError(errno.EISDIR, "this is a folder or a device, not a file")
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_through(beside, content)
        if target.exists():
            with suppress(PermissionError):  # some file systems have no permissions to keep
                beside.chmod(stat.S_IMODE(target.stat().st_mode))
        os.replace(beside, target)
    except OSError as error:
        raise _explained(error, path) from None
    finally:
        with suppress(OSError):  # on a disk that went read-only meanwhile, the first error is the one to tell
            beside.unlink(missing_ok=True)
    return path


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """`write_bytes` of text in UTF-8; line ends are as in `text`, on every system."""
    if not isinstance(text, str):
        raise TypeError(f"the text for {Path(path).name} is {type(text).__name__}; pass str, or bytes to write_bytes")
    return write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike[str], content: object) -> Path:
    """`write_bytes` of `content` as JSON, one value a line; numbers and arrays of numpy become numbers and lists.

    Raises ValueError: a number is infinite or not a number, something contains itself or lies too deep, or two keys of
        a mapping, such as 1 and "1", would be one in JSON.
    Raises TypeError: something else that JSON does not know.
    """
    return write_text(path, json_text(content))


def json_text(content: object) -> str:
    """What `write_json` writes."""
    try:
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False, default=_plain) + "\n"
        json.loads(text, object_pairs_hook=_refuse_twins)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"nothing was written: {error}. JSON knows finite numbers, and nothing within itself"
        ) from None
    return text


def check_writable(folder: str | os.PathLike[str]) -> None:
    """Make and remove a small file in `folder` (and the folder): permission bits alone do not tell.

    Raises OSError: it cannot be written; the sentence says why and what to do.
    """
    probe = Path(folder) / f".{secrets.token_hex(4)}.new"
    write_bytes(probe, b"?")
    probe.unlink()


def _write_through(path: Path, content: bytes) -> None:
    """A new file, which must not be there yet, down to the disk."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())  # else a power cut may leave the new name with an empty file


def _explained(error: OSError, path: Path) -> OSError:
    """The same kind of error, with its number, the path that was asked for, and a sentence."""
    if error.errno in _FULL:
        reason = "the disk is full, so nothing was written; free some space and repeat"
    elif error.errno == errno.EROFS:
        reason = "this file system is read-only, so nothing was written; use a folder that you can write to"
    elif error.errno in _FORBIDDEN:
        reason = "no permission to write here (or another program holds the file), so nothing was written"
    else:
        reason = f"{error.strerror or error}, so nothing was written"
    return OSError(error.errno or 0, reason, str(path))


def _refuse_twins(pairs: list[tuple[str, object]]) -> None:
    """ValueError if a mapping has two keys that are one as text: who reads it would get the last value alone."""
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError(f"two keys of a mapping are {max(keys, key=keys.count)!r} in JSON")


def _plain(value: object) -> object:
    """Numbers and arrays of numpy as JSON knows them."""
    plain = value.tolist() if hasattr(value, "tolist") else value
    if type(plain) is not type(value):  # numpy's own type of long floats stays what it is
        return plain
    raise TypeError(f"{value!r} is a {type(value).__name__}; JSON knows numbers, text, lists and mappings")
