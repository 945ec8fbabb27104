"""What a job in bubblewrap can see and touch."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import bot
from bot.errors import OperatorError
from bot.sandbox.bubblewrap import Bubblewrap
from bot.sandbox.landlock import Landlock
from bot.sandbox.model import Sandbox
from bot.sandbox.none import NoSandbox
from bot.sandbox.tools import expand, find_program
from tests.bot.sandbox.conftest import MakeJob

PYTHON = find_program("python3")


async def test_the_environment_is_only_what_was_given(
    bubblewrap: Bubblewrap, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATE_WEBHOOK_SECRET", "hidden")
    ended = await bubblewrap.run(make_job("env | sort", env={"CI": "true"}))
    assert ended.tail.splitlines() == [
        "CI=true",
        "HOME=/home/agent",
        "LANG=C.UTF-8",
        "PATH=/usr/local/bin:/usr/bin:/bin",
        "PWD=/workspace",
        "TMPDIR=/tmp",
    ]


async def test_files_of_the_host_cannot_be_read(
    bubblewrap: Bubblewrap, make_job: MakeJob, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    paths = (str(secret), "/etc/shadow", "/etc/ssl/private", str(Path.home()), sys.prefix)
    for path in paths:
        ended = await bubblewrap.run(make_job(f"ls -d '{path}' || echo absent"))
        assert "absent" in ended.tail, path


async def test_a_link_in_the_workspace_leads_nowhere(
    bubblewrap: Bubblewrap, make_job: MakeJob, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("hidden")
    job = make_job("cat link; cat ../secret; cat /proc/1/root/etc/shadow")
    (job.workspace / "link").symlink_to(tmp_path / "secret")
    ended = await bubblewrap.run(job)
    assert ended.code != 0
    assert "hidden" not in ended.tail
    assert "root:" not in ended.tail


@pytest.mark.parametrize(
    "path",
    [
        "/file",
        "/usr/file",
        "/etc/file",
        "/etc/passwd",
        "/bin/file",
        "/home/file",
        "/dev/file",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/hostname",
    ],
)
async def test_nothing_outside_can_be_written(
    bubblewrap: Bubblewrap, make_job: MakeJob, path: str
) -> None:
    # Opened for appending, with nothing appended: a failure of this test changes no setting.
    ended = await bubblewrap.run(make_job(f": >> {path}"))
    assert ended.code != 0, ended.tail


async def test_a_job_that_owns_the_root_cannot_write_there(make_job: MakeJob) -> None:
    # As where the bot is not root: what is made for the job belongs to the job's user.
    paths = "/file /etc/file /home/file"
    script = (
        f"for path in {paths}; do (: >> $path) 2>&1 || true; done; test -O / && ls {paths} 2>&1"
    )
    ended = await Bubblewrap(uid=None).run(make_job(script))
    assert ended.tail.count("Read-only file system") == 3, ended.tail
    assert ended.tail.count("No such file") == 3, ended.tail


async def test_workspace_home_and_scratch_can_be_written(
    bubblewrap: Bubblewrap, make_job: MakeJob, tmp_path: Path
) -> None:
    ended = await bubblewrap.run(
        make_job("echo a > a && echo b > ~/b && echo c > /tmp/c && echo d > /dev/shm/d")
    )
    assert ended.code == 0, ended.tail
    assert (tmp_path / "workspace" / "a").read_text() == "a\n"
    assert (tmp_path / "home" / "b").read_text() == "b\n"
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700


async def test_scratch_space_has_a_size(bubblewrap: Bubblewrap, make_job: MakeJob) -> None:
    ended = await bubblewrap.run(make_job("df --output=size -k /tmp /dev/shm | tail -2"))
    assert [int(size) for size in ended.tail.split()] == [512 * 1024, 64 * 1024]


async def test_there_is_no_network(bubblewrap: Bubblewrap, make_job: MakeJob) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = (
            "import socket\n"
            f"for address in (('127.0.0.1', {port}), ('192.0.2.1', 80)):\n"
            "    try:\n"
            "        socket.create_connection(address, 3)\n"
            "    except OSError as error:\n"
            "        print(error.strerror)\n"
        )
        ended = await bubblewrap.run(make_job("", argv=("python3", "-c", script)))
    assert ended.tail.splitlines() == ["Connection refused", "Network is unreachable"]


async def test_other_processes_are_out_of_sight(bubblewrap: Bubblewrap, make_job: MakeJob) -> None:
    ended = await bubblewrap.run(make_job(f"kill -0 {os.getpid()}; ls -d /proc/[0-9]* | wc -l"))
    assert "No such process" in ended.tail
    assert int(ended.tail.splitlines()[-1]) < 8


async def test_descriptors_of_the_bot_stay_with_the_bot(
    bubblewrap: Bubblewrap, make_job: MakeJob, tmp_path: Path
) -> None:
    with (tmp_path / "secret").open("w+") as secret:
        os.set_inheritable(secret.fileno(), True)
        ended = await bubblewrap.run(make_job("ls /proc/self/fd", stdin=b"x"))
    assert ended.tail.split() == ["0", "1", "2", "3"]  # 3 is how ls reads the folder


async def test_a_job_has_no_rights_to_gain(bubblewrap: Bubblewrap, make_job: MakeJob) -> None:
    ended = await bubblewrap.run(
        make_job(
            "grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status; id -u; ulimit -c;"
            "unshare -U true && echo nested"
        )
    )
    words = ended.tail.split()
    assert words[:6] == ["CapEff:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1"]
    assert words[6:8] == ["1000", "0"]
    assert "nested" not in words


async def test_a_workspace_in_a_namespace_that_is_gone_is_told(
    bubblewrap: Bubblewrap, make_job: MakeJob
) -> None:
    with pytest.raises(OperatorError, match="The workspace is gone"):
        await bubblewrap.run(make_job("true", namespace=2**22 + 1))  # above any process's number


async def test_no_job_enters_a_namespace_without_a_sandbox(make_job: MakeJob) -> None:
    with pytest.raises(OperatorError, match="ORCHESTRATE_WORKSPACES"):
        await NoSandbox().run(make_job("true", namespace=os.getpid()))


async def test_tools_are_on_the_path_and_read_only(
    bubblewrap: Bubblewrap, make_job: MakeJob, tmp_path: Path
) -> None:
    tool = tmp_path / "tools" / "bin" / "greet"
    tool.parent.mkdir(parents=True)
    tool.write_text("#!/bin/sh\necho hello\n")
    tool.chmod(0o755)
    job = make_job(f"greet; echo no >> {tool} || echo kept", readable=(tmp_path / "tools",))
    ended = await bubblewrap.run(job)
    assert ended.tail.splitlines()[0] == "hello"
    assert ended.tail.splitlines()[-1] == "kept"
    assert "no" not in tool.read_text().split()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user for jobs")
@pytest.mark.parametrize("sandbox", [Bubblewrap(), Landlock()], ids=["bubblewrap", "landlock"])
async def test_tools_that_jobs_may_not_read_are_named(
    sandbox: Sandbox, make_job: MakeJob, tmp_path: Path
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(OperatorError, match="chmod go"):
        await sandbox.run(make_job("true", readable=(closed,)))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user for jobs")
async def test_a_way_that_jobs_may_not_go_is_named(make_job: MakeJob, tmp_path: Path) -> None:
    workspace = tmp_path / "closed" / "run" / "workspace"
    workspace.mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    job = make_job("true", workspace=workspace, home=workspace.with_name("home"))
    assert (await Bubblewrap().run(job)).code == 0
    with pytest.raises(OperatorError, match="ORCHESTRATE_DATA_DIR"):
        await Landlock().run(job)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user for jobs")
async def test_what_the_host_lays_into_the_home_belongs_to_the_job(
    sandbox: Sandbox, make_job: MakeJob, tmp_path: Path
) -> None:
    if sandbox.name == "none":
        pytest.skip("jobs are root")
    job = make_job("cat ~/.agent/config && echo more >> ~/.agent/config && touch ~/.agent/own")
    (job.home / ".agent").mkdir(parents=True)
    (job.home / ".agent" / "config").write_text("given\n")
    (tmp_path / "outside").write_text("root's")
    (job.home / "link").symlink_to(tmp_path / "outside")
    for _ in range(2):
        ended = await sandbox.run(job)
        assert ended.code == 0, ended.tail
        (job.home / ".agent" / "config").unlink()
        (job.home / ".agent" / "config").write_text("given anew\n")
    assert (tmp_path / "outside").stat().st_uid == 0


@pytest.mark.parametrize("folder", ["/nowhere/at/all", "relative", "/", "/etc", "/proc/self"])
async def test_folders_that_cannot_be_tools_are_refused(
    bubblewrap: Bubblewrap, make_job: MakeJob, folder: str
) -> None:
    with pytest.raises(OperatorError, match="ORCHESTRATE_TOOLS"):
        await bubblewrap.run(make_job("true", readable=(Path(folder),)))


def test_a_virtual_environment_brings_its_interpreter(tmp_path: Path) -> None:
    base, environment = tmp_path / "python", tmp_path / "venv"
    (base / "bin").mkdir(parents=True)
    (environment / "bin").mkdir(parents=True)
    (environment / "pyvenv.cfg").write_text(f"home = {base}/bin\nversion = 3.11.2\n")
    assert expand([environment]) == (environment, base)
    assert expand([environment / "bin"]) == (environment, base)
    (environment / "pyvenv.cfg").write_text("home = /usr/bin\n")
    assert expand([environment, environment]) == (environment,)


UNPRIVILEGED = """
import asyncio, contextlib, sys
from pathlib import Path
from bot.sandbox.model import Door, Job
from bot.sandbox.probe import choose

@contextlib.asynccontextmanager
async def serve(listening):
    async def answer(reader, writer):
        await reader.readuntil(b"\\r\\n\\r\\n")
        writer.write(b"HTTP/1.0 200 OK\\r\\n\\r\\ninside")
        await writer.drain()
        writer.close()
    async with await asyncio.start_server(answer, sock=listening):
        yield

ASK = "import urllib.request as r; print(r.urlopen('{door:model}').read().decode())"

async def main(folder, kind):
    sandbox = await choose(kind)
    job = Job(argv=("sh", "-c", "id -u; echo a > a; cat /etc/shadow; python3 -c \\"" + ASK + "\\""),
              workspace=folder / "w", home=folder / "h", seconds=10, output_bytes=10000,
              doors=(Door(name="model", port=18901, serve=serve),))
    ended = await sandbox.run(job)
    said = ended.tail.split()
    print(said[0], (folder / "w/a").read_text().strip(), "root:" in ended.tail, said[-1])

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="every other test shows it without root")
@pytest.mark.parametrize(("kind", "user"), [("bubblewrap", "1000"), ("landlock", "65534")])
def test_it_works_without_root(kind: str, user: str) -> None:
    assert PYTHON is not None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(Path(bot.__path__[0], "sandbox"), folder / "bot" / "sandbox")
        for module in ("errors.py", "redact.py", "__init__.py"):
            shutil.copy(Path(bot.__path__[0], module), folder / "bot")
        (folder / "w").mkdir()
        for path in (folder, folder / "w"):
            shutil.chown(path, 65534, 65534)
        folder.chmod(0o755)
        ran = subprocess.run(
            [str(PYTHON), "-c", UNPRIVILEGED, name, kind],
            user=65534,
            group=65534,
            extra_groups=[],
            cwd=name,
            env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert ran.stdout.split() == [user, "a", "False", "inside"], ran.stderr
