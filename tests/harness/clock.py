"""At the end of a run: where the time went, and which notebook took more than its budget."""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import PurePosixPath

import pytest

from tests.harness import budget

_SHOWN = 12  # test modules; notebooks are all shown


class Clock:
    """Adds up the seconds of each notebook and test module, in whichever worker they ran."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.start = time.monotonic()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid.split("::")[0]] += report.duration

    def pytest_terminal_summary(self, terminalreporter) -> None:
        lines = summary(self.seconds, time.monotonic() - self.start)
        if lines:
            terminalreporter.section("where the time went")
            for line in lines:
                terminalreporter.write_line(line)


def summary(seconds: dict[str, float], wall: float) -> list[str]:
    """The table as lines: notebooks with their budgets first, then the slowest test modules."""
    if sum(seconds.values()) < 1:
        return []
    notebooks = {file: s for file, s in seconds.items() if file.endswith(".ipynb")}
    modules = {file: s for file, s in seconds.items() if file not in notebooks}
    lines = []
    for file, spent in _slowest_first(notebooks):
        limit = budget.of_notebook(PurePosixPath(file).parent.name, PurePosixPath(file).stem)
        over = f"  OVER its budget by {spent - limit:.0f} s" if spent > limit else ""
        lines.append(f"{spent:7.1f} s of {limit:4d} s  {file}{over}")
    for file, spent in _slowest_first(modules)[:_SHOWN]:
        lines.append(f"{spent:7.1f} s            {file}")
    others = [spent for _, spent in _slowest_first(modules)[_SHOWN:]]
    if others:
        lines.append(f"{sum(others):7.1f} s            {len(others)} more test modules")
    lines.append(
        f"{sum(notebooks.values()):7.1f} s in notebooks, {sum(modules.values()):.1f} s of "
        f"{budget.UNIT_TESTS} s in test modules, {wall:.0f} s of {budget.WALL} s by the clock"
    )
    return lines


def _slowest_first(seconds: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(seconds.items(), key=lambda pair: -pair[1])
