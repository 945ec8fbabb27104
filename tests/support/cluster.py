"""A PostgreSQL of the tests' own: a cluster in a temporary folder, as an unprivileged user."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from bot.schema import upgrade

BIN = "lib/postgresql/*/bin"
"""Where Debian keeps the programs of each version, below /usr."""

OWNER = 65_534
"""Who the server runs as where the tests are root, which it refuses: nobody."""

START_SECONDS = 60.0
"""How long it may take to come up, or to end: seconds, many times as many on a loaded machine."""

_numbers = itertools.count(1)


def programs() -> Path | None:
    """Return the folder of the newest installed version's programs."""
    found = sorted(
        (path for path in Path("/usr").glob(BIN) if (path / "initdb").exists()),
        key=lambda path: int(path.parent.name),
    )
    if found:
        return found[-1]
    elsewhere = shutil.which("initdb")
    return Path(elsewhere).resolve().parent if elsewhere else None


needs_postgresql = pytest.mark.skipif(
    programs() is None,
    reason="PostgreSQL is not installed: `apt-get install postgresql` as root installs it",
)


@dataclass(slots=True)
class Cluster:
    """A server that listens on a socket in `folder` alone; `sync` says that commits are durable."""

    folder: Path
    bin: Path
    sync: bool
    process: subprocess.Popen[bytes] | None = None
    template: str = ""

    def url(self, database: str) -> str:
        """Return the address of one of its databases."""
        return f"postgresql://tests@/{database}?host={self.folder}"

    def start(self) -> None:
        """Start the server, also after it was killed, and wait until it answers."""
        fsync = "on" if self.sync else "off"
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(self.bin / "postgres", "-D", self.folder / "data", "-k", self.folder),
                    *("-c", "listen_addresses=", "-c", f"fsync={fsync}"),
                    *("-c", "max_connections=200"),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                start_new_session=True,
                user=_owner(),
                group=_owner(),
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.05)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server: at once, with its connections, or by SIGKILL without a word."""
        assert self.process
        if how is signal.SIGKILL:
            os.killpg(self.process.pid, how)
        else:
            self.process.send_signal(how)
        self.process.wait(START_SECONDS)

    def database(self, template: str = "template1") -> str:
        """Make a database like `template`, which is an empty one; return its address."""
        name = f"d{os.getpid()}_{next(_numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        return self.url(name)

    async def upgraded(self) -> str:
        """Make a database with our tables, without the engine's; return its address."""
        if not self.template:
            made = self.database()
            await upgrade(made, engine=False)
            self.template = made.partition("@/")[2].partition("?")[0]
        return self.database(self.template)


def _owner() -> int | None:
    return OWNER if os.geteuid() == 0 else None


@contextlib.contextmanager
def cluster(*, sync: bool = False) -> Iterator[Cluster]:
    """Bring a cluster to life; without `sync` it is quick, and would not outlive a kill."""
    found = programs()
    assert found
    # Not in pytest's folder: a socket's path has at most 107 bytes, and strangers may not enter it.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    if os.geteuid() == 0:
        os.chown(folder, OWNER, OWNER)
    try:
        subprocess.run(
            [
                *(found / "initdb", "-D", folder / "data", "-U", "tests", "-A", "trust"),
                *("-E", "UTF8", "--locale=C", "--no-sync"),
            ],
            check=True,
            capture_output=True,
            cwd="/",
            timeout=START_SECONDS,
            user=_owner(),
            group=_owner(),
        )
        made = Cluster(folder, found, sync)
        made.start()
        try:
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
