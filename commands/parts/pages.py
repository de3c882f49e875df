"""Renews what pages quote from the ledger, and tidies up after a writer that was killed."""

from __future__ import annotations

import re
import sys
import time

from commands.parts import environment, ledger
from commands.parts.chapters import shown
from commands.parts.files import write_json

#: What utils/files.py writes beside its target, and the names that it and others had before.
_LEAVING = re.compile(r"\..+\.[0-9a-f]+\.new|.+\.\d+\.new")
_FOLDERS = (".", "notebooks", "solutions", "interview", "data/**", "docs/**")
_A_WRITER_NEEDS = 10  # seconds; what is younger may belong to a process that lives


def refresh(*, unknown_is_wrong: bool = False) -> list[str]:
    """Bring ledger and pages in line with the stored notebooks; returns sentences about what went wrong.

    A page may quote a chapter that has not been run yet: that is said, and counts as wrong only if `unknown_is_wrong`.
    """
    from utils.study import quotes

    book, complaints = ledger.collected()
    write_json(ledger.path(), book)
    try:
        for page in quotes.refresh_pages(environment.ROOT):
            print(f"✔ {shown(page)}")
    except KeyError as error:
        sentence = f"{error.args[0]}. Run the chapter that makes the claim:  python course.py run NN"
        if unknown_is_wrong:
            complaints.append(sentence)
        else:
            print(f"– {sentence}", file=sys.stderr)
    except (OSError, ValueError) as error:
        complaints.append(f"The pages were not renewed: {error}")
    return complaints


def remove_leavings() -> None:
    """Remove what a process that was killed while it wrote left behind."""
    for folder in _FOLDERS:
        for path in environment.ROOT.glob(f"{folder}/*.new" if folder != "." else "*.new"):
            if _LEAVING.fullmatch(path.name) and time.time() - path.stat().st_mtime > _A_WRITER_NEEDS:
                path.unlink(missing_ok=True)
