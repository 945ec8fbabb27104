from __future__ import annotations

import asyncio
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.git.removal import remove
from bot.sandbox.bubblewrap import Bubblewrap
from bot.sandbox.landlock import Landlock
from bot.sandbox.model import Job, Sandbox
from bot.sandbox.none import NoSandbox

MakeJob = Callable[..., Job]


@pytest.fixture
def make_job(tmp_path: Path) -> MakeJob:
    """A job of one shell script, in folders of its own."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()

    def make(script: str, **changes: Any) -> Job:
        given: dict[str, Any] = {
            "argv": ("/bin/sh", "-c", script),
            "workspace": workspace,
            "home": tmp_path / "home",
            "seconds": 20.0,
            "output_bytes": 1_000_000,
        }
        return Job(**{**given, **changes})

    return make


@pytest.fixture
def bubblewrap() -> Bubblewrap:
    return Bubblewrap()


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder that jobs can pass, also where they are another user than the one who tests."""
    folder = Path(tempfile.mkdtemp(prefix="orchestrate-test-"))
    folder.chmod(0o711)
    yield folder
    remove(folder)


@pytest.fixture(
    params=[Bubblewrap(), Landlock(), NoSandbox()], ids=lambda sandbox: str(sandbox.name)
)
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    chosen: Sandbox = request.param
    return chosen


@pytest.fixture
def walled(bubblewrap: Bubblewrap) -> Sandbox:
    """A sandbox whose jobs have a network of their own."""
    return bubblewrap


@pytest.fixture
def nap() -> str:
    """A `sleep` that can be told from every other process of the machine."""
    return f"sleep 3000.{secrets.randbelow(10**12):012d}"


def alive(nap: str) -> bool:
    """Whether a process with that command line lives, in any namespace."""
    return bool(pids(nap))


def pids(nap: str) -> list[int]:
    """The numbers of the processes with that command line, in any namespace."""
    wanted = nap.encode().replace(b" ", b"\0")
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if wanted in line and line.rpartition(b"/")[2].startswith(b"sleep"):
                found.append(int(entry.name))
    return found


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether `condition` becomes true in time."""
    end = asyncio.get_running_loop().time() + seconds
    while not condition():
        if asyncio.get_running_loop().time() > end:
            return False
        await asyncio.sleep(0.02)
    return True
