"""A lock is resolved for every platform."""

from __future__ import annotations

import argparse
import sys

import pytest

from commands import renew
from commands.parts import lockfile
from commands.parts.errors import Problem


def test_renewing_resolves_for_all_platforms_with_the_overrides(tmp_path):
    command = renew.compile_command("core", tmp_path / "core.txt", upgrade=True)
    assert {"--universal", "--generate-hashes", "--override", "--upgrade"} <= set(command)
    assert command[command.index("--python-version") + 1] == "3.11"


def test_only_an_upgrade_leaves_the_locked_versions(tmp_path):
    command = renew.compile_command("core", tmp_path / "core.txt", upgrade=False)
    assert "--upgrade" not in command and command[command.index("-o") + 1] == str(tmp_path / "core.txt")
    assert command[command.index("--override") + 1].endswith("overrides.txt")
    assert command[command.index("--override") - 1].endswith("core.in")


def test_an_unknown_lock_is_answered_before_any_work():
    with pytest.raises(Problem, match="cor"):
        renew.main(argparse.Namespace(names=["cor"], upgrade=False))


def test_a_choice_that_cannot_be_resolved_leaves_the_lock_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(lockfile, "REQUIREMENTS", tmp_path)
    (tmp_path / "core.in").write_text("a\n", encoding="utf-8")
    (tmp_path / "core.txt").write_text("a==1\n", encoding="utf-8")
    monkeypatch.setattr(renew, "compile_command", lambda *_, **__: [sys.executable, "-c", "raise SystemExit(1)"])
    with pytest.raises(Problem, match=r"core\.in cannot be resolved"):
        renew.renew("core")
    assert (tmp_path / "core.txt").read_text("utf-8") == "a==1\n"


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ("a==2\nb==1\n", "  - a 1\n  + a 2\n  + b 1\nrequirements/core.txt: 2 packages, changed\n"),
        ("a==1\n", "requirements/core.txt: 1 packages, unchanged\n"),
    ],
)
def test_what_changed_is_told(tmp_path, monkeypatch, capsys, after, said):
    """The draft begins with what was locked, and the lock's head says what it is made of."""
    monkeypatch.setattr(lockfile, "REQUIREMENTS", tmp_path)
    (tmp_path / "core.in").write_text("a\n", encoding="utf-8")
    (tmp_path / "core.txt").write_text("a==1\n", encoding="utf-8")
    code = "import sys; from pathlib import Path; p = Path(sys.argv[1]); assert p.read_text() == 'a==1\\n'; "
    code += f"p.write_text({after!r})"
    monkeypatch.setattr(renew, "compile_command", lambda name, draft, **_: [sys.executable, "-c", code, str(draft)])
    renew.renew("core")
    assert capsys.readouterr().out == said
    assert (tmp_path / "core.txt").read_text("utf-8") == lockfile.header("core") + after
