"""A lock is resolved for every platform."""

from __future__ import annotations

from commands import renew


def test_renewing_resolves_for_all_platforms_with_the_overrides(tmp_path):
    command = renew.compile_command("core", tmp_path / "core.txt", upgrade=True)
    assert {"--universal", "--generate-hashes", "--override", "--upgrade"} <= set(command)
    assert command[command.index("--python-version") + 1] == "3.11"
