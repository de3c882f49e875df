"""The door says what it can do, and meets wrong words with the nearest right one."""

from __future__ import annotations

import ast
import errno
import subprocess
import sys
from pathlib import Path

import pytest

from commands import test
from commands.parts import command_line
from commands.parts.errors import Problem, closest_name, explain_os_error, unknown

ROOT = Path(__file__).resolve().parents[3]


def run_door(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "course.py"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, encoding="utf-8", check=False)


def test_every_verb_has_the_whole_interface():
    verbs = command_line.verbs()
    assert {"lab", "test", "run", "doctor", "bench", "setup", "renew"} <= set(verbs)
    for name, verb in verbs.items():
        assert command_line.summary(verb).endswith("."), name
        assert f"python course.py {name}" in verb.EXAMPLES
        assert verb.NEEDS_ENVIRONMENT in (True, False)
        assert "examples:" in command_line.parser_of(name, verb).format_help()


def test_the_bare_door_lists_the_verbs_from_any_folder(tmp_path):
    answer = run_door(cwd=tmp_path)
    assert answer.returncode == 0
    assert "doctor" in answer.stdout and "Open JupyterLab" in answer.stdout


def test_an_unknown_verb_gets_the_nearest():
    answer = run_door("tset")
    assert answer.returncode == 1
    assert "no verb 'tset'" in answer.stderr and "python course.py test" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_the_door_itself_can_be_read_by_old_pythons():
    source = (ROOT / "course.py").read_text("utf-8")
    assert ast.parse(source, feature_version=(3, 4))
    assert "from __future__ import annotations" not in source  # Python 3.6 would stop there, without the sentence
    before_check = source.index("import pathlib")
    assert source.index("sys.version_info") < before_check


def test_machinery_needs_only_the_standard_library():
    code = "import sys, commands.parts.command_line as d; d.verbs()\n"
    code += "print(sorted({'nbformat', 'numpy', 'tqdm', 'utils'} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_problems_are_sentences(monkeypatch, capsys):
    def broken(arguments):
        raise OSError(errno.ENOSPC, "No space left on device", "/somewhere")

    monkeypatch.setattr(command_line, "_dispatch", broken)
    assert command_line.main([]) == 1
    assert "The disk is full (/somewhere)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "word"), [(errno.ENOSPC, "full"), (errno.EROFS, "read-only"), (errno.EACCES, "permission")]
)
def test_errors_of_the_system_say_what_to_do(number, word):
    assert word in explain_os_error(OSError(number, "x"))


def test_nearest_is_none_when_nothing_is_close():
    assert closest_name("Quantisation", ["pruning", "quantization"]) == "quantization"
    assert closest_name("zzz", ["pruning"]) is None
    assert "Known: a b" in str(unknown("letter", "q", ["a", "b"]))


def test_paths_of_tests_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = "tests/commands/parts/test_command_line.py"
    assert test.resolve(f"{here}::test_x") == f"{here}::test_x"
    assert test.resolve("-x") == "-x"
    assert test.resolve("prune") == "prune"
    with pytest.raises(Problem, match=r"Did you mean tests/commands/test_new\.py"):
        test.resolve("tests/commands/test_nwe.py")


def test_what_stands_behind_an_option_may_be_no_file_yet(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT / "tests")
    for option, value in [
        ("--junit-xml", "out/r.xml"),
        ("--basetemp", "/no/such"),
        ("-o", "cache_dir=/x"),
        ("-k", "a/b"),
    ]:
        assert test.resolve(value, option) == value
    assert test.resolve("deploy", "-k") == "deploy"  # not the folder of that name
    assert test.resolve("deploy", "--ignore") == "tests/deploy"
    passed = []
    monkeypatch.setattr(pytest, "main", lambda given: passed.append(given) or 0)
    assert command_line.main(["test", "--basetemp", "/no/such", "test_files.py", "-k", "deploy"]) == 0
    assert passed[0][:5] == ["--basetemp", "/no/such", "tests/test_files.py", "-k", "deploy"]


@pytest.mark.parametrize(
    ("stop", "code", "said"),
    [
        (Problem("a sentence"), 1, "✘ a sentence\n"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), 1, "✘ "),
        (KeyboardInterrupt(), 130, "\nStopped.\n"),
    ],
)
def test_what_stops_a_verb_decides_the_exit_code(monkeypatch, capsys, stop, code, said):
    def stopped(arguments):
        raise stop

    monkeypatch.setattr(command_line, "_dispatch", stopped)
    assert command_line.main(["run"]) == code
    assert capsys.readouterr().err.startswith(said)
