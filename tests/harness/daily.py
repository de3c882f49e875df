"""What is too dear for every run: another part of it each day, so that a few days see all of it."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence


def todays(items: Sequence, days: int) -> list:
    """The part of `items` whose turn it is today (UTC); with COURSE_EVERY=1 in the environment all of them."""
    if os.environ.get("COURSE_EVERY") == "1":
        return list(items)
    return turn(items, days, datetime.datetime.now(datetime.UTC).toordinal())


def turn(items: Sequence, days: int, day: int) -> list:
    """The part of `items` that day number `day` has: after `days` days, 1 or more, each had its turn once."""
    return list(items[day % days :: days])
