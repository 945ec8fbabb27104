"""Set-ups in real sandboxes, from a registry of this machine, through the real gateway."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.environments import Attempt, Order
from bot.runs.ports import Place
from bot.sandbox.environment.installer import SandboxInstaller
from bot.sandbox.environment.mirrors import mirrors
from bot.sandbox.gateway.gateway import Gateway
from bot.sandbox.gateway.prices import Prices
from bot.sandbox.model import Sandbox
from tests.support.registry import Registry, registry

SECRET = "s3cr3t-of-the-index"
VENV = "python3 -m venv .venv"
PIP = ".venv/bin/python -m pip install --require-hashes -r requirements.txt"


@pytest.fixture
def index() -> Iterator[Registry]:
    with registry() as made:
        yield made


class There:
    """A folder to install in, and what came of it."""

    def __init__(self, folder: Path, sandbox: Sandbox, index: Registry) -> None:
        self.folder, self.index = folder, index
        for name in ("workspace", "home", "logs"):
            (folder / name).mkdir()
        self.place = Place(folder / "workspace", folder / "home", folder / "logs")
        ours = mirrors(index.environ)
        self.installer = SandboxInstaller(
            sandbox,
            Gateway({}, Prices(), private_hosts=ours.hosts),
            tools=(),
            mirrors=ours,
            output_bytes=1_000_000,
        )
        self.lines: list[str] = []

    async def install(self, *commands: str, **given: Any) -> Attempt:
        order = Order(
            commands=commands,
            place=self.place,
            log=self.place.logs / "setup.log",
            **{"hosts": self.installer.hosts, "seconds": 120.0, **given},
        )
        stop = given.pop("stop", asyncio.Event())
        return await self.installer.install(order, stop=stop, output=self.lines.append)

    @property
    def log(self) -> str:
        return (self.place.logs / "setup.log").read_text()


@pytest.fixture
def there(tmp_path: Path, sandbox: Sandbox, index: Registry) -> There:
    return There(tmp_path, sandbox, index)


@pytest.mark.slow
async def test_a_package_is_installed_from_the_mirror_and_works(there: There) -> None:
    pin = there.index.add("tiny", "1.0", "def main():\n    print('tiny works')\n", "tiny=tiny:main")
    (there.place.workspace / "requirements.txt").write_text(pin)
    attempt = await there.install(VENV, PIP, ".venv/bin/tiny")
    assert attempt == Attempt(), there.lines
    assert "tiny works" in there.lines
    assert f"$ {VENV}" in there.lines
    assert "/simple/tiny/" in there.index.asked
    script = (there.place.workspace / ".venv" / "bin" / "tiny").read_text()
    if there.installer._sandbox.name == "bubblewrap":
        assert script.startswith("#!/workspace/.venv/bin/python")
    else:  # it is moved to other workspaces
        assert script.startswith("#!/usr/bin/env python3\n")


async def test_a_host_that_is_not_allowed_is_refused_and_named_with_the_command(
    there: There, index: Registry
) -> None:
    if there.installer._sandbox.name == "none":
        pytest.skip("without a sandbox only what asks the proxy is refused")
    with registry() as other:
        ask = (
            "python3 -c 'import os, urllib.request as u; "
            f'print(u.urlopen("http://{other.host}/simple/").read())\''
        )
        attempt = await there.install("true", ask)
        assert attempt.failed == ask
        assert attempt.blocked == (other.host,)
        assert await there.install(f"{ask} || true") == Attempt()
        assert there.lines[-1].startswith(f"{other.host} was asked for")
        around = await there.install(f"unset http_proxy HTTP_PROXY; {ask}")
        assert around.failed
        assert other.asked == []


async def test_a_secret_is_for_the_setup_and_not_in_its_log(there: There) -> None:
    commands = (f'test "${{#TOKEN}}" = {len(SECRET)} && echo "the token is $TOKEN"', "false")
    attempt = await there.install(*commands, secrets={"TOKEN": SECRET})
    assert attempt.failed == "false"
    for shown in (there.log, attempt.log, "\n".join(there.lines)):
        assert SECRET not in shown
    assert "the token is" in there.log


async def test_the_first_command_that_fails_ends_it(there: There) -> None:
    attempt = await there.install("echo one", "echo two; exit 3", "touch three")
    assert (attempt.failed, attempt.why) == ("echo two; exit 3", "failed with exit code 3")
    assert attempt.log.splitlines()[-1] == "two"
    assert not (there.place.workspace / "three").exists()


async def test_a_missing_program_is_named_with_what_to_do(there: There) -> None:
    attempt = await there.install("no-such-program --frozen")
    assert "`no-such-program`" in attempt.why
    assert "ORCHESTRATE_TOOLS" in attempt.why


async def test_the_time_is_for_all_commands_together(there: There) -> None:
    attempt = await there.install("sleep 0.4", "sleep 60", seconds=1.0)
    assert attempt.failed == "sleep 60"
    assert "did not end within" in attempt.why


async def test_it_stops_when_it_is_told_to(there: There) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(0.3, stop.set)
    order = Order(
        commands=("sleep 60",),
        place=there.place,
        log=there.place.logs / "setup.log",
        hosts=(),
        seconds=60.0,
    )
    attempt = await there.installer.install(order, stop=stop, output=there.lines.append)
    assert attempt.stopped


async def test_the_platform_names_what_programs_find(there: There) -> None:
    told = await there.installer.platform()
    machine = subprocess.run(["uname", "-sm"], capture_output=True, text=True, check=True)  # noqa: ASYNC221
    assert machine.stdout.strip() in told
    assert "python3 Python 3." in told
    assert await there.installer.platform() is told
