"""Locks agree with what was chosen."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from commands.parts import environment, installed_packages, lockfile

ROOT = Path(__file__).resolve().parents[3]


def test_the_lock_says_that_it_was_made_of_these_sources():
    lock = environment.lock_path().read_text("utf-8")
    assert lockfile.stated_digest(lock) == lockfile.sources_digest("core"), "run:  python course.py renew"


def test_the_lock_holds_every_chosen_package_in_a_fitting_version():
    locked = {}
    for entry in lockfile.entries(environment.lock_path().read_text("utf-8")):
        locked.setdefault(entry.name, []).append(entry.version)
    for line in lockfile.requirements((lockfile.REQUIREMENTS / "core.in").read_text("utf-8")):
        chosen = Requirement(line)
        versions = locked.get(lockfile.canonical_name(chosen.name), [])
        fitting = [v for v in versions if chosen.specifier.contains(v, prereleases=True)]
        assert fitting, f"{line} is not in core.txt; run:  python course.py renew"


def test_every_line_of_the_choice_has_its_reason():
    for line in (lockfile.REQUIREMENTS / "core.in").read_text("utf-8").splitlines():
        assert not line.strip() or line.startswith("#") or "  # " in line, line


def test_the_lock_has_hashes_no_addresses_and_nothing_impossible():
    text = environment.lock_path().read_text("utf-8")
    assert "://" not in text and "--index" not in text and "'never'" not in text
    entries = lockfile.entries(text)
    assert len(entries) > 150
    assert all("--hash=sha256:" in entry.text for entry in entries)


def test_a_changed_choice_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(lockfile, "REQUIREMENTS", tmp_path)
    (tmp_path / "core.in").write_text("numpy<2.5   # arrays\n", encoding="utf-8")
    before = lockfile.sources_digest("core")
    (tmp_path / "core.in").write_text("# another reason\nnumpy<2.5   # numbers\n", encoding="utf-8")
    assert lockfile.sources_digest("core") == before
    (tmp_path / "core.in").write_text("numpy<2.6   # arrays\n", encoding="utf-8")
    assert lockfile.sources_digest("core") != before


def test_dropped_packages_leave_the_lock():
    text = "a==1 \\\n    --hash=sha256:00\njax==2 ; sys_platform == 'never' \\\n    --hash=sha256:11\nB.c==3\n"
    assert lockfile.without_impossible(text) == "a==1 \\\n    --hash=sha256:00\nB.c==3\n"
    assert [entry.name for entry in lockfile.entries(text)] == ["a", "jax", "b-c"]


def test_installed_versions_are_compared_with_the_lock():
    from importlib.metadata import version

    has = version("pytest")
    lock = f"pytest=={has}\nPyYAML==0.1\nnot-there==1\nneither==1 ; sys_platform == 'never'\n"
    assert installed_packages.differing(lock) == [("pyyaml", "0.1", version("pyyaml")), ("not-there", "1", None)]


def test_conda_and_binder_name_nothing_that_the_lock_names():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    names = {lockfile.canonical_name(line.partition("=")[0]) for line in conda["dependencies"]}
    locked = {entry.name for entry in lockfile.entries(environment.lock_path().read_text("utf-8"))}
    assert names == {"python", "pip", "nodejs"} and not names & locked
    version = next(line for line in conda["dependencies"] if line.startswith("python=")).partition("=")[2]
    assert version in environment.accepted_pythons("")
    assert "course.py setup --here" in (ROOT / "binder/postBuild").read_text("utf-8")
    assert (ROOT / "binder/environment.yml").resolve() == ROOT / "environment.yml"


@pytest.mark.parametrize(
    ("line", "package"),
    [
        ("Foo_Bar.baz==1.2 \\\n    --hash=sha256:0", ("foo-bar-baz", "1.2", "")),
        ("a==1 ; python_version < '4' \\\n    --hash=sha256:0", ("a", "1", "python_version < '4'")),
        ("a==1", ("a", "1", "")),
    ],
)
def test_a_locked_package_has_a_name_a_version_and_a_marker(line, package):
    (entry,) = lockfile.entries(f"# made of x\n{line}\n")
    assert (entry.name, entry.version, entry.marker) == package and entry.text == line


def test_what_is_chosen_is_read_without_comments():
    assert lockfile.requirements("# all\na>1  # why\n\n b#c\n") == ["a>1", "b#c"]


def test_a_line_that_moves_to_another_file_is_another_choice(tmp_path, monkeypatch):
    monkeypatch.setattr(lockfile, "REQUIREMENTS", tmp_path)
    digests = set()
    for first, second in (("a\n", "b\n"), ("a\nb\n", ""), ("b\n", "a\n")):
        (tmp_path / "core.in").write_text(first, encoding="utf-8")
        (tmp_path / "overrides.txt").write_text(second, encoding="utf-8")
        digests.add(lockfile.sources_digest("core"))
    assert len(digests) == 3
