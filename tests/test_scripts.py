"""What the scripts do on a machine that lacks something: install it as root, else say so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BASICS = ("sh", "cat", "cksum", "id", "mkdir", "rm", "rmdir", "sleep")
SECONDS = 30

Answer = subprocess.CompletedProcess[str]


class Machine:
    """A folder as PATH, with the programs that a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.tree = folder / "tree"
        self.bin.mkdir()
        (self.tree / "scripts").mkdir(parents=True)
        shutil.copy(ROOT / "scripts" / "_lib.sh", self.tree / "scripts")
        for name in ("requirements.lock", "requirements-demo.lock"):
            (self.tree / name).write_text("")
        for name in BASICS:
            found = shutil.which(name)
            assert found
            (self.bin / name).symlink_to(found)

    def program(self, name: str, text: str = "") -> None:
        """Put a shell script there."""
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!{shutil.which('sh')}\n{text}\n")
        path.chmod(0o755)

    def python(self, *, venv: bool) -> None:
        """Put this interpreter there; without `venv` as Debian splits it, until it is installed."""
        lacks = "" if venv else f'case "$*" in *ensurepip*) [ -e {self.bin}/venv ] || exit 1;; esac'
        self.program("python3.11", f'{lacks}\nexec {sys.executable} "$@"')

    def user(self, number: int) -> None:
        """Say who runs the scripts; 0 is root, and has apt-get."""
        self.program("id", f"echo {number}")
        install = f'case "$*" in *install*) : >{self.bin}/venv;; esac'
        self.program("apt-get", f'echo "$@" >>{self.bin}/asked\n{install}')

    def asked(self) -> str:
        """Return what apt-get was asked for."""
        path = self.bin / "asked"
        return path.read_text() if path.exists() else ""

    def run(self, line: str, **env: str) -> Answer:
        """Run a line that may call what the scripts share."""
        whole = f'set -eu\nroot=$PWD\n. scripts/_lib.sh\n{line}\necho "went on"'
        return subprocess.run(
            [str(self.bin / "sh"), "-c", whole],
            cwd=self.tree,
            env={"PATH": str(self.bin), "HOME": "", **env},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.python(venv=True)
    made.user(1000)
    for name in ("git", "bwrap"):
        made.program(name)
    return made


def test_a_machine_that_has_all_is_told_nothing(machine: Machine) -> None:
    done = machine.run("require_system")
    assert (done.returncode, done.stdout, done.stderr) == (0, "went on\n", "")


def test_without_python_one_sentence_says_so(machine: Machine) -> None:
    (machine.bin / "python3.11").unlink()
    done = machine.run("require_system")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Python 3.11 or newer is missing" in done.stderr


def test_a_python_that_is_too_old_or_broken_is_passed_over(machine: Machine) -> None:
    machine.program("python3.13", "exit 127")
    machine.program("python3.12", "exit 1")
    done = machine.run('find_python; echo "$python"')
    assert done.stdout.startswith("python3.11\n")


def test_without_venv_a_user_is_told_the_package(machine: Machine) -> None:
    machine.python(venv=False)
    done = machine.run("require_system")
    assert done.returncode == 1
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"apt-get install python{version}-venv" in done.stderr
    assert machine.asked() == ""


def test_root_gets_what_is_missing(machine: Machine) -> None:
    machine.python(venv=False)
    machine.user(0)
    (machine.bin / "git").unlink()
    (machine.bin / "bwrap").unlink()
    machine.run("require_system")
    update, install = machine.asked().splitlines()
    assert update.endswith("update")
    assert "-venv git bubblewrap" in install


def test_without_bubblewrap_it_goes_on_and_says_what_is_lost(machine: Machine) -> None:
    (machine.bin / "bwrap").unlink()
    done = machine.run("require_system")
    assert done.returncode == 0
    assert done.stdout == "went on\n"
    assert "apt-get install bubblewrap" in done.stderr
    assert "ORCHESTRATE_SANDBOX=none" in done.stderr


def test_who_runs_without_a_sandbox_is_not_asked_for_one(machine: Machine) -> None:
    (machine.bin / "bwrap").unlink()
    assert machine.run("require_system", ORCHESTRATE_SANDBOX="none").stderr == ""


@pytest.mark.parametrize(("wanted", "said"), [("", 0), ("tests", 1)])
def test_only_the_tests_want_a_browser_git_lfs_and_postgresql(
    machine: Machine, wanted: str, said: int
) -> None:
    done = machine.run(f"require_system {wanted}")
    assert done.returncode == 0
    for package in ("chromium", "git-lfs", "postgresql"):
        assert done.stderr.count(f"apt-get install {package}`") == said
    assert done.stderr.count("skipped") == 3 * said


def test_a_package_that_is_not_to_be_had_stops_no_other(machine: Machine) -> None:
    machine.user(0)
    (machine.bin / "bwrap").unlink()
    fails = 'case "$*" in *chromium*) exit 100;; esac'
    makes = f'case "$*" in *install*bubblewrap) : >{machine.bin}/bwrap;; esac'
    chmod = f"[ ! -e {machine.bin}/bwrap ] || {shutil.which('chmod')} 755 {machine.bin}/bwrap"
    machine.program("apt-get", f"{fails}\n{makes}\n{chmod}")
    done = machine.run("require_system tests")
    assert done.returncode == 0
    assert "could not install chromium" in done.stderr
    assert "bubblewrap is missing" not in done.stderr


def test_the_lock_of_a_dead_installation_is_broken(machine: Machine) -> None:
    lock = machine.tree / ".venv.lock"
    lock.mkdir()
    (lock / "pid").write_text(f"{_dead()}\n")
    done = machine.run("take_lock\ndrop_lock")
    assert done.returncode == 0
    assert not lock.exists()


def test_the_lock_of_a_living_installation_is_waited_for(machine: Machine) -> None:
    lock = machine.tree / ".venv.lock"
    lock.mkdir()
    (lock / "pid").write_text(f"{os.getpid()}\n")
    end = f'(sleep 0.3; rm -rf "{lock}") &'
    done = machine.run(f"{end}\ntake_lock\ndrop_lock")
    assert done.returncode == 0
    assert "Waiting" in done.stderr


def test_a_lock_is_let_go_when_the_installation_fails(machine: Machine) -> None:
    done = machine.run("take_lock\ndie Sorry.")
    assert (done.returncode, done.stderr) == (1, "Sorry.\n")
    assert not (machine.tree / ".venv.lock").exists()


def _dead() -> int:
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    return process.pid


@pytest.mark.parametrize("name", ["demo", "test", "check", "bench", "lock", "docs"])
def test_every_script_is_plain_posix(name: str) -> None:
    path = ROOT / "scripts" / name
    assert os.access(path, os.X_OK)
    assert path.read_text().startswith("#!/bin/sh\n")
    subprocess.run(["/bin/sh", "-n", str(path)], check=True, timeout=SECONDS)
