"""The environment is used when it is complete and only then; locks agree with what was chosen."""

from __future__ import annotations

import argparse
import hashlib
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
from commands.parts import environment, files, installed_packages, installer, kernels, lockfile, machine_checks
from commands.parts.errors import Problem
from commands.parts.locks import Lock

ROOT = Path(__file__).resolve().parents[3]


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


def test_an_installer_without_its_parent_keeps_the_next_set_up_waiting(tmp_path):
    """The parent is killed, the child that inherited the lock goes on: nobody else may write meanwhile."""
    child = "import time; time.sleep(2)"
    parent = (
        f"import subprocess, sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\nfrom commands.parts.locks import Lock\n"
        f"with Lock(Path({str(tmp_path / 'a.lock')!r}), 'busy') as lock:\n"
        f"    subprocess.run([sys.executable, '-c', 'print(1, flush=True); {child}'], pass_fds=lock.descriptors)"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as started:
        started.stdout.readline()  # the child runs
        started.kill()
        began = time.monotonic()
        with Lock(tmp_path / "a.lock", "busy"):
            assert time.monotonic() - began > 1


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


def test_pips_settings_reach_uv():
    config = (
        ":env:.index-url='https://mirror.example/simple'\nglobal.index-url='https://other.example'\n"
        "global.extra-index-url='https://a.example https://b.example'\nglobal.timeout='60'\n"
    )
    assert installer.uv_settings(config) == {
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_INDEX": "https://a.example https://b.example",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    assert installer.uv_settings("") == {}


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


def test_a_kernel_file_that_links_into_the_installers_cache_is_replaced(tmp_path):
    spec = tmp_path / "share/jupyter/kernels/python3/kernel.json"
    spec.parent.mkdir(parents=True)
    (tmp_path / "cached.json").write_text('{"argv": []}', encoding="utf-8")
    spec.symlink_to(tmp_path / "cached.json")
    kernels._title_own_kernel(tmp_path)
    assert json.loads(spec.read_text("utf-8"))["display_name"] == kernels.KERNEL_TITLE
    assert (tmp_path / "cached.json").read_text("utf-8") == '{"argv": []}'


def test_writing_files_settles_nothing_about_tensorflow():
    """JupyterLab is started by a verb, and every kernel inherits its variables."""
    code = (
        "import os; before = dict(os.environ)\nfrom commands.parts import command_line, files; command_line.verbs()\n"
    )
    code += "import sys; print('utils' in sys.modules, before == dict(os.environ))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "True"]


def test_a_second_process_waits_for_the_lock(tmp_path, capfd):
    path = tmp_path / "locks/run.lock"
    order = []
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\nfrom commands.parts.locks import Lock\n"
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
    assert f"Somebody is at it (process {os.getpid()}, or what it started)" in err


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


def given(*words: str) -> argparse.Namespace:
    return argparse.Namespace(rest=list(words))


@pytest.fixture
def benchmarks(tmp_path, monkeypatch):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks/mutants.py").write_text('"""Plant defects.\n\nMore."""\nprint("ran")', encoding="utf-8")
    (tmp_path / "benchmarks/_shared.py").write_text("", encoding="utf-8")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    return tmp_path


def test_bench_lists_first_lines_and_knows_near_names(benchmarks):
    assert bench.listing(bench.benchmarks()) == "  mutants  Plant defects."
    with pytest.raises(Problem, match="Did you mean mutants"):
        bench.main(given("mutant"))


def test_a_failing_benchmark_is_named(benchmarks, capfd):
    (benchmarks / "benchmarks/bad.py").write_text("import sys; print(sys.argv[1:]); sys.exit(3)", encoding="utf-8")
    with pytest.raises(Problem, match="bad ended with code 3"):
        bench.main(given("bad", "--quick"))
    assert "['--quick']" in capfd.readouterr().out


def test_a_benchmark_whose_result_cannot_be_stored_does_not_start(benchmarks, capfd):
    (benchmarks / "data").write_text("no folder", encoding="utf-8")
    with pytest.raises(Problem, match="not started, because its result could not be stored"):
        bench.main(given("mutants"))
    assert bench.main(given("mutants", "--help")) == 0
    assert capfd.readouterr().out == "ran\n", "only for --help"
