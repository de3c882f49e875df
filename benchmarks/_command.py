"""How a benchmark is started as a program: what cannot go on is said in a sentence, without a trace."""

from __future__ import annotations

import sys
from collections.abc import Callable

from utils import recorded


def start(main: Callable[[], int | None]) -> None:
    """Run `main` and end the process with its code; 1 with a sentence if files or records do not allow it."""
    try:
        sys.exit(main())
    except (OSError, recorded.Refused) as error:
        sys.exit(f"✘ {error}")
