"""Fill the figures that README, interview answers and docs quote from the ledger, and the map of chapters."""

from __future__ import annotations

import argparse

from commands.parts.chapters import shown
from commands.parts.errors import Problem

NEEDS_ENVIRONMENT = True
EXAMPLES = """
  python course.py quote     after {{Q3-bytes}} was written into a page; `run` does it too
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments: all pages are refreshed."""


def main(options: argparse.Namespace) -> int:
    from utils.study import quotes

    try:
        changed = quotes.refresh_pages()
    except (KeyError, FileNotFoundError) as error:
        raise Problem(f"{error.args[0]}. Run the chapter that makes the claim:  python course.py run NN") from None
    for page in changed:
        print(f"✔ {shown(page)}")
    print(f"{len(changed)} pages changed")
    return 0
