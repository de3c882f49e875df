"""Fill the figures that README, interview answers and docs quote from the ledger, and the map of chapters."""

from __future__ import annotations

import argparse

from commands.parts import pages
from commands.parts.errors import Problem

NEEDS_ENVIRONMENT = True
EXAMPLES = """
  python course.py quote     after {{Q3-bytes}} was written into a page; `run` does it too
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments: all pages are refreshed."""


def main(options: argparse.Namespace) -> int:
    pages.remove_leavings()
    complaints = pages.refresh(unknown_is_wrong=True)
    if complaints:
        raise Problem("\n".join(complaints))
    print("All pages and the ledger say what the stored notebooks say.")
    return 0
