"""The environment is used when it is complete and only then; locks agree with what was chosen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from commands import bench, renew
from commands.parts import environment, installed_packages, kernels, lockfile, machine_checks
from commands.parts.errors import Problem
from commands.parts.exclusive import Lock

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def place(tmp_path):
    """A folder that looks like a complete environment."""
    marker = {"core": lockfile.digest(environment.lock_path()), "folder": str((tmp_path / "env").resolve())}
    kernels.write_text(tmp_path / "env" / environment.MARKER, json.dumps(marker))
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
    monkeypatch.setattr(environment, "_make_venv", lambda place, python: None)
    filled = []

    def fill(python, name, how):
        assert not (half / environment.MARKER).exists() and (half / environment.STARTED).exists()
        filled.append(how)

    monkeypatch.setattr(environment, "_fill", fill)
    monkeypatch.setattr(kernels, "settle", lambda *_: None)
    monkeypatch.setattr(environment, "_version_of", lambda python: "3.11.0")
    environment._build(half, "core", fresh=False)
    assert filled == [["sync"]]
    assert environment.is_complete(half)
    assert not (half / "rubbish").exists() and not (half / environment.STARTED).exists()


def test_a_failed_installation_leaves_no_marker(place, monkeypatch):
    monkeypatch.setattr(lockfile, "digest", lambda path: "a newer lock")
    (place / "bin").mkdir()
    environment.python_of(place).parent.mkdir(exist_ok=True)
    environment.python_of(place).touch()
    monkeypatch.setattr(environment, "_fill", lambda *_: (_ for _ in ()).throw(Problem("no network")))
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


def test_pips_settings_reach_uv():
    config = (
        ":env:.index-url='https://mirror.example/simple'\nglobal.index-url='https://other.example'\n"
        "global.extra-index-url='https://a.example https://b.example'\nglobal.timeout='60'\n"
    )
    assert environment.uv_settings(config) == {
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_INDEX": "https://a.example https://b.example",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    assert environment.uv_settings("") == {}


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_import_path_survives_spaces_letters_and_encodings(tmp_path, encoding):
    root = tmp_path / "Übung kurs"
    root.mkdir()
    (root / "found_by_path.py").write_text("here = True\n", encoding="utf-8")
    line = kernels.path_line(root)
    assert line.encode(encoding).startswith(b"import ")
    code = f"{line}\nimport found_by_path; print(found_by_path.here)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert answer.stdout.strip() == "True"


def test_writing_replaces_and_never_touches_hard_links(tmp_path):
    (tmp_path / "cache").write_text("old", encoding="utf-8")
    os.link(tmp_path / "cache", tmp_path / "installed")
    kernels.write_text(tmp_path / "installed", "new")
    assert (tmp_path / "cache").read_text("utf-8") == "old"
    assert (tmp_path / "installed").read_text("utf-8") == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "installed"]


def test_a_second_process_waits_for_the_lock(tmp_path, capfd):
    path = tmp_path / "locks/run.lock"
    order = []
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\nfrom commands.parts.exclusive import Lock\n"
        f"with Lock(Path({str(path)!r}), 'Somebody is at it'): print('second')"
    )
    with Lock(path, "busy"):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        second = subprocess.Popen([sys.executable, "-c", code], text=True, **pipes)
        threading.Thread(target=lambda: order.append(second.communicate())).start()
        time.sleep(1)
        assert second.poll() is None and not order
    second.wait(timeout=20)
    deadline = time.monotonic() + 5
    while not order and time.monotonic() < deadline:
        time.sleep(0.05)
    out, err = order[0]
    assert out.strip() == "second"
    assert f"Somebody is at it (process {os.getpid()})" in err


# ---- locks


def test_the_lock_says_that_it_was_made_of_these_sources():
    lock = environment.lock_path().read_text("utf-8")
    assert lockfile.stated_digest(lock) == lockfile.sources_digest("core"), "run:  python course.py renew"


def test_the_lock_holds_every_chosen_package_in_a_fitting_version():
    locked = {}
    for entry in lockfile.entries(environment.lock_path().read_text("utf-8")):
        locked.setdefault(entry.name, []).append(entry.version)
    for line in lockfile.requirements((lockfile.REQUIREMENTS / "core.in").read_text("utf-8")):
        chosen = Requirement(line)
        versions = locked.get(lockfile.canonical(chosen.name), [])
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


def test_a_changed_choice_is_noticed(tmp_path):
    (tmp_path / "core.in").write_text("numpy<2.5   # arrays\n", encoding="utf-8")
    before = lockfile.sources_digest("core", tmp_path)
    (tmp_path / "core.in").write_text("# another reason\nnumpy<2.5   # numbers\n", encoding="utf-8")
    assert lockfile.sources_digest("core", tmp_path) == before
    (tmp_path / "core.in").write_text("numpy<2.6   # arrays\n", encoding="utf-8")
    assert lockfile.sources_digest("core", tmp_path) != before


def test_dropped_packages_leave_the_lock():
    text = "a==1 \\\n    --hash=sha256:00\njax==2 ; sys_platform == 'never' \\\n    --hash=sha256:11\nB.c==3\n"
    assert lockfile.without_impossible(text) == "a==1 \\\n    --hash=sha256:00\nB.c==3\n"
    assert [entry.name for entry in lockfile.entries(text)] == ["a", "jax", "b-c"]


def test_renewing_resolves_for_all_platforms_with_the_overrides(tmp_path):
    command = renew.compile_command("core", tmp_path / "core.txt", upgrade=True)
    assert {"--universal", "--generate-hashes", "--override", "--upgrade"} <= set(command)
    assert command[command.index("--python-version") + 1] == "3.11"


def test_installed_versions_are_compared_with_the_lock():
    from importlib.metadata import version

    has = version("pytest")
    lock = f"pytest=={has}\nPyYAML==0.1\nnot-there==1\nneither==1 ; sys_platform == 'never'\n"
    assert installed_packages.differing(lock) == [("pyyaml", "0.1", version("pyyaml")), ("not-there", "1", None)]


def test_conda_and_binder_name_nothing_that_the_lock_names():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    names = {lockfile.canonical(line.partition("=")[0]) for line in conda["dependencies"]}
    locked = {entry.name for entry in lockfile.entries(environment.lock_path().read_text("utf-8"))}
    assert names == {"python", "pip", "nodejs"} and not names & locked
    version = next(line for line in conda["dependencies"] if line.startswith("python=")).partition("=")[2]
    assert version in environment.accepted_pythons("")
    assert "course.py setup --here" in (ROOT / "binder/postBuild").read_text("utf-8")
    assert (ROOT / "binder/environment.yml").resolve() == ROOT / "environment.yml"


# ---- doctor and bench


def test_the_doctor_finds_a_damaged_and_a_missing_data_set(tmp_path, monkeypatch):
    (tmp_path / "utils").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "utils/data.py").write_text('SHA256 = {"mnist": "00", "fashion_mnist": "11"}\n', encoding="utf-8")
    (tmp_path / "data/mnist.npz").write_bytes(b"truncated")
    monkeypatch.setattr(machine_checks, "ROOT", tmp_path)
    damaged, missing = machine_checks.data()
    assert damaged.mark == missing.mark == machine_checks.BAD
    assert "damaged" in damaged.found and "git checkout data/mnist.npz" in damaged.mend
    assert "missing" in missing.found


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


def test_bench_lists_first_lines_and_knows_near_names(tmp_path, monkeypatch):
    (tmp_path / "mutants.py").write_text('"""Plant defects.\n\nMore."""\n', encoding="utf-8")
    (tmp_path / "_shared.py").write_text("", encoding="utf-8")
    known = bench.benchmarks(tmp_path)
    assert bench.listing(known) == "  mutants  Plant defects."
    monkeypatch.setattr(bench, "benchmarks", lambda: known)
    with pytest.raises(Problem, match="Did you mean mutants"):
        bench.main(type("Options", (), {"rest": ["mutant"]}))


def test_a_failing_benchmark_is_named(tmp_path, monkeypatch, capfd):
    (tmp_path / "bad.py").write_text("import sys; print(sys.argv[1:]); sys.exit(3)", encoding="utf-8")
    monkeypatch.setattr(bench, "benchmarks", lambda: {"bad": tmp_path / "bad.py"})
    with pytest.raises(Problem, match="bad ended with code 3"):
        bench.main(type("Options", (), {"rest": ["bad", "--quick"]}))
    assert "['--quick']" in capfd.readouterr().out
