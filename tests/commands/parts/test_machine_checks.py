"""What is wrong with a machine is found, with the way to mend it."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import pytest

from commands import doctor
from commands.parts import environment, lockfile, machine_checks

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A course with a data set and a network, both genuine."""
    digest = hashlib.sha256(b"genuine").hexdigest()
    for file, content in {
        "utils/data.py": f'SHA256 = {{"mnist": "{digest}"}}\n'.encode(),
        "data/mnist.npz": b"genuine",
        "data/weights/lenet5-mnist.npz": b"genuine",
        "data/weights/SHA256SUMS": f"{digest}  lenet5-mnist.npz\n".encode(),
    }.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(content)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    return tmp_path


CHECKS = {"data/mnist.npz": machine_checks.data, "data/weights/lenet5-mnist.npz": machine_checks.weights}


@pytest.mark.parametrize(("file", "check"), CHECKS.items(), ids=CHECKS)
def test_the_doctor_finds_damaged_and_missing_files(shipped, file, check):
    assert [finding.mark for finding in check()] == [machine_checks.GOOD]
    (shipped / file).write_bytes(b"truncated")
    [damaged] = check()
    (shipped / file).unlink()
    [missing] = check()
    assert damaged.mark == missing.mark == machine_checks.BAD
    assert f"{file} is damaged" in damaged.found and f"git restore {file}" in damaged.mend
    assert f"{file} is missing" in missing.found


@pytest.mark.parametrize("content", [b"", b"half a line\nthat is no sum", b"\xff", None])
def test_the_doctor_finds_damaged_checksums_of_networks(shipped, content):
    sums = shipped / "data/weights/SHA256SUMS"
    sums.unlink() if content is None else sums.write_bytes(content)
    assert {finding.mark for finding in machine_checks.weights()} == {machine_checks.BAD}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("utils/data.py", b"SHA256 = {"),
        ("utils/data.py", b"nothing = 0"),
        ("utils/data.py", None),
        ("requirements/core.txt", b"\xff"),
        ("requirements/core.txt", None),
    ],
)
def test_a_broken_file_of_the_course_does_not_stop_the_doctor(shipped, monkeypatch, capsys, file, content):
    (shipped / "requirements").mkdir()
    (shipped / "requirements/core.txt").write_bytes(b"")
    (shipped / file).unlink() if content is None else (shipped / file).write_bytes(content)
    monkeypatch.setattr(lockfile, "REQUIREMENTS", shipped / "requirements")
    monkeypatch.setattr(
        machine_checks, "CHECKS", (machine_checks.packages, machine_checks.data, machine_checks.weights)
    )
    assert doctor.main(argparse.Namespace()) == 1
    said = capsys.readouterr().out
    assert "could not be looked at" in said and "git restore" in said
    assert f"{machine_checks.GOOD} weights" in said


def test_the_doctor_finds_the_shipped_files_genuine():
    assert {finding.mark for check in CHECKS.values() for finding in check()} == {machine_checks.GOOD}


def test_the_doctor_reads_the_real_checksums():
    assert set(machine_checks.shipped_checksums(ROOT / "utils/data.py")) == {"mnist", "fashion_mnist"}


def test_the_doctor_says_when_memory_or_avx_lack(monkeypatch):
    monkeypatch.setattr(machine_checks, "free_memory", lambda: int(1e9))
    assert [finding.mark for finding in machine_checks.memory()] == [machine_checks.BAD]
    monkeypatch.setattr(machine_checks, "cpu_flags", lambda: {"sse2"})
    assert "no AVX" in next(machine_checks.cpu()).found


def test_the_doctor_works_before_the_environment_exists(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "running_inside", lambda: False)
    monkeypatch.setattr(environment, "folder", lambda name="core": tmp_path / "none")
    (finding,) = machine_checks.packages()
    assert finding.mark == machine_checks.MISSING and "course.py setup" in finding.mend


def test_every_finding_that_is_not_fine_says_how_to_mend_it(monkeypatch):
    monkeypatch.setattr(machine_checks.shutil, "which", lambda name: None)
    monkeypatch.setattr(machine_checks, "_CHROMIUM_PLACES", ())
    findings = list(machine_checks.programs())
    assert [finding.mark for finding in findings] == [machine_checks.MISSING] * 2
    assert all(finding.mend and "→" in str(finding) for finding in findings)


@pytest.mark.parametrize("content", ["folder", "file", "nothing", "empty", "ours"])
def test_doctor_and_setup_agree_about_what_is_somebody_elses(tmp_path, monkeypatch, content):
    place = tmp_path / ".venv"
    if content == "file":
        place.touch()
    elif content != "nothing":
        place.mkdir()
    if content in ("folder", "ours"):
        (place / ("pyvenv.cfg" if content == "folder" else environment.STARTED)).touch()
    foreign = content in ("folder", "file")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "running_inside", lambda: False)
    [finding] = machine_checks.packages()
    assert ("rename or remove" in finding.mend) is foreign
    assert environment.is_foreign(place) is foreign
