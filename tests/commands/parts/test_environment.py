"""The environment is used when it is complete and only then."""

from __future__ import annotations

import pytest

from commands.parts import environment, files, installer, kernels, lockfile
from commands.parts.errors import Problem


@pytest.fixture
def place(tmp_path):
    """A folder that looks like a complete environment."""
    marker = {"core": lockfile.digest(environment.lock_path()), "folder": str((tmp_path / "env").resolve())}
    files.write_json(tmp_path / "env" / environment.MARKER, marker)
    return tmp_path / "env"


def test_complete_means_marker_of_this_lock_in_this_place(place):
    assert environment.is_complete(place)
    moved = place.rename(place.with_name("elsewhere"))
    assert not environment.is_complete(moved)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"core": "other"}'])
def test_a_damaged_marker_is_no_marker(place, content):
    (place / environment.MARKER).write_text(content, encoding="utf-8")
    assert not environment.is_complete(place)


def test_an_environment_of_somebody_else_is_left_alone(tmp_path):
    foreign = tmp_path / ".venv"
    foreign.mkdir()
    (foreign / "pyvenv.cfg").touch()
    with pytest.raises(Problem, match="the course did not make it"):
        environment._build(foreign, "core", fresh=True)
    assert (foreign / "pyvenv.cfg").exists()


def test_an_interrupted_environment_is_made_anew_and_marked_last(tmp_path, monkeypatch):
    half = tmp_path / ".venv"
    half.mkdir()
    (half / environment.STARTED).touch()
    (half / "rubbish").touch()
    monkeypatch.setattr(installer, "make_venv", lambda place, python, held: None)
    filled = []

    def fill(python, lock, held):
        assert not (half / environment.MARKER).exists() and (half / environment.STARTED).exists()
        filled.append(lock.name)

    monkeypatch.setattr(installer, "fill", fill)
    monkeypatch.setattr(kernels, "equip", lambda *_: None)
    monkeypatch.setattr(environment, "_version_of", lambda python: "3.11.0")
    environment._build(half, "core", fresh=False)
    assert filled == ["core.txt"]
    assert environment.is_complete(half)
    assert not (half / "rubbish").exists() and not (half / environment.STARTED).exists()
    assert [path.name for path in tmp_path.iterdir()] == [".venv"]


def test_an_environment_goes_away_in_one_step(tmp_path, monkeypatch):
    """Killed while it removes, a set-up must not leave an environment that nobody is known to have made."""
    place = tmp_path / ".venv"
    (place / "lib").mkdir(parents=True)
    (place / environment.STARTED).touch()

    def killed(path, ignore_errors):
        assert path != place and not place.exists()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(environment.shutil, "rmtree", killed)
        environment._remove(place)
    assert not environment.is_foreign(place)
    environment._remove(place)
    assert list(tmp_path.iterdir()) == [], "what was put aside is removed by the next set-up"


def test_a_failed_installation_leaves_no_marker(place, monkeypatch):
    monkeypatch.setattr(lockfile, "digest", lambda path: "a newer lock")
    (place / "bin").mkdir()
    environment.python_of(place).parent.mkdir(exist_ok=True)
    environment.python_of(place).touch()

    def fail(*_, **__):
        raise Problem("no network")

    monkeypatch.setattr(installer, "fill", fail)
    with pytest.raises(Problem, match="no network"):
        environment._build(place, "core", fresh=False)
    assert not environment.is_complete(place) and not (place / environment.MARKER).exists()


def test_too_small_a_disk_is_said_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 3e8}))
    with pytest.raises(Problem, match=r"0\.3 GB are free"):
        environment._build(tmp_path / "new", "core", fresh=False)
    assert not (tmp_path / "new").exists()


def test_a_read_only_clone_gets_its_environment_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    assert environment.folder() == tmp_path / ".venv"
    assert environment.folder("tfx") == tmp_path / ".venv-tfx"
    monkeypatch.setattr(environment, "writable", lambda _: False)
    assert environment.folder().is_relative_to(environment.user_cache())


def test_an_unsupported_machine_is_named(monkeypatch):
    monkeypatch.setattr(environment.platform, "machine", lambda: "riscv64")
    with pytest.raises(Problem, match=r"no TensorFlow for this machine .*riscv64"):
        environment.check_machine()


def test_a_missing_lock_is_no_traceback(monkeypatch, tmp_path):
    monkeypatch.setattr(lockfile, "REQUIREMENTS", tmp_path)
    with pytest.raises(Problem, match="chapter 17"):
        environment.lock_path("tfx")
    with pytest.raises(Problem, match="Did you mean tfx"):
        environment._extra("tfxx")


def test_python_for_an_extra_environment(tmp_path):
    assert environment.accepted_pythons("# python: 3.10 3.11\ntfx\n") == ["3.10", "3.11"]
    assert environment.accepted_pythons("tfx\n") == ["3.11", "3.12", "3.13"]
    assert environment.find_python("9.9") is None


def test_a_missing_python_is_named_with_the_command_that_must_start_it(monkeypatch, tmp_path):
    lock = tmp_path / "tfx.txt"
    lock.with_suffix(".in").write_text("# python: 3.8 3.9\ntfx\n", "utf-8")
    monkeypatch.setattr(environment, "lock_path", lambda _: lock)
    monkeypatch.setattr(environment, "find_python", lambda _: None)
    with pytest.raises(Problem, match=r"Python 3\.8 or 3\.9; .*Install Python 3\.9 so that `python3\.9` starts"):
        environment.base_python("tfx")
