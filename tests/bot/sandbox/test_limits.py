"""How jobs end, and that nothing of them is left."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest

from bot.errors import OperatorError
from bot.sandbox.bubblewrap import Bubblewrap
from bot.sandbox.model import Sandbox
from tests.bot.sandbox.conftest import MakeJob, alive, until


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("nosuch", 127)]
)
async def test_the_exit_code_is_told(
    sandbox: Sandbox, make_job: MakeJob, script: str, code: int
) -> None:
    ended = await sandbox.run(make_job(script))
    assert (ended.how, ended.code) == ("exited", code)


async def test_a_program_that_is_not_there_is_127(sandbox: Sandbox, make_job: MakeJob) -> None:
    ended = await sandbox.run(make_job("", argv=("no-such-program",)))
    assert (ended.how, ended.code) == ("exited", 127)
    assert "no-such-program" in ended.tail


async def test_a_job_cannot_pass_for_a_sandbox_that_did_not_start(
    bubblewrap: Bubblewrap, make_job: MakeJob
) -> None:
    ended = await bubblewrap.run(make_job("echo 'bwrap: no such thing'; exit 1"))
    assert (ended.how, ended.code) == ("exited", 1)


async def test_a_sandbox_that_does_not_start_is_the_operators(
    bubblewrap: Bubblewrap, make_job: MakeJob, tmp_path: Path
) -> None:
    with pytest.raises(OperatorError, match="did not start"):
        await bubblewrap.run(make_job("true", workspace=tmp_path / "absent"))
    with pytest.raises(OperatorError, match="/no/such/bwrap"):
        await Bubblewrap(program="/no/such/bwrap").run(make_job("true"))


async def test_input_is_delivered_whole(sandbox: Sandbox, make_job: MakeJob) -> None:
    ended = await sandbox.run(make_job("wc -c", stdin=b"x" * 1_000_000))
    assert ended.tail.strip() == "1000000"


async def test_input_that_nobody_reads_is_no_error(sandbox: Sandbox, make_job: MakeJob) -> None:
    assert (await sandbox.run(make_job("true", stdin=b"x" * 1_000_000))).code == 0


async def test_output_is_streamed_clean_and_logged_raw(
    sandbox: Sandbox, make_job: MakeJob, tmp_path: Path
) -> None:
    lines: list[str] = []
    log = tmp_path / "logs" / "log"
    job = make_job(r"printf 'one\033[31m red\033[0m\n'; echo two >&2", log=log)
    ended = await sandbox.run(job, on_output=lines.append)
    assert lines == ["one red", "two"]
    assert ended.tail == "one red\ntwo"
    assert log.read_bytes() == b"one\033[31m red\033[0m\ntwo\n"


async def test_a_log_that_is_a_link_is_not_followed(
    sandbox: Sandbox, make_job: MakeJob, tmp_path: Path, nap: str
) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OperatorError, match="log"):
        await sandbox.run(make_job(nap, log=tmp_path / "log"))
    assert not (tmp_path / "elsewhere").exists()
    assert not alive(nap)


async def test_a_flood_of_output_is_stopped(
    sandbox: Sandbox, make_job: MakeJob, tmp_path: Path
) -> None:
    job = make_job("yes a flood of output", log=tmp_path / "log", output_bytes=200_000)
    ended = await sandbox.run(job)
    assert (ended.how, ended.code) == ("too_much_output", None)
    assert (tmp_path / "log").stat().st_size == 200_000
    assert len(ended.tail) <= 60_000


async def test_a_flood_that_ends_by_itself_is_a_flood(sandbox: Sandbox, make_job: MakeJob) -> None:
    ended = await sandbox.run(make_job("head -c 2000 /dev/zero", output_bytes=1000))
    assert ended.how == "too_much_output"


async def test_what_a_job_leaves_behind_dies_with_it(
    sandbox: Sandbox, make_job: MakeJob, nap: str
) -> None:
    ended = await sandbox.run(make_job(f"setsid {nap} & (setsid {nap} &) ; {nap} & echo begun"))
    assert (ended.how, ended.tail) == ("exited", "begun")
    assert ended.seconds < 5
    assert not alive(nap)


async def test_time_is_up_for_the_whole_tree(sandbox: Sandbox, make_job: MakeJob, nap: str) -> None:
    ended = await sandbox.run(make_job(f"trap '' TERM; setsid {nap} & {nap}", seconds=0.3))
    assert (ended.how, ended.code) == ("timed_out", None)
    assert 0.3 <= ended.seconds < 2
    assert not alive(nap)


async def test_stop_kills_children_in_sessions_of_their_own(
    sandbox: Sandbox, make_job: MakeJob, nap: str
) -> None:
    stop = asyncio.Event()
    job = make_job(f"setsid {nap} & {nap}")
    run = asyncio.create_task(sandbox.run(job, stop=stop))
    assert await until(lambda: alive(nap))
    began = time.monotonic()
    stop.set()
    ended = await run
    assert (ended.how, ended.code) == ("stopped", None)
    assert time.monotonic() - began < 1
    assert not alive(nap)


@pytest.mark.parametrize("moment", [0.0, 0.001, 0.002, 0.004, 0.008])
async def test_a_job_can_be_stopped_at_any_moment_of_its_start(
    sandbox: Sandbox, make_job: MakeJob, nap: str, moment: float
) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(moment, stop.set)
    ended = await sandbox.run(make_job(nap), stop=stop)
    assert ended.how == "stopped"
    assert not alive(nap)


async def test_a_cancelled_run_leaves_nothing(
    sandbox: Sandbox, make_job: MakeJob, nap: str
) -> None:
    run = asyncio.create_task(sandbox.run(make_job(f"setsid {nap} & {nap}")))
    assert await until(lambda: alive(nap))
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert not alive(nap)


async def test_a_reader_that_fails_ends_the_job(
    sandbox: Sandbox, make_job: MakeJob, nap: str
) -> None:
    def fail(line: str) -> None:
        raise ValueError(line)

    with pytest.raises(ValueError, match="begun"):
        await sandbox.run(make_job(f"echo begun; {nap}"), on_output=fail)
    assert not alive(nap)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_descriptors_are_given_back(
    sandbox: Sandbox, make_job: MakeJob, tmp_path: Path
) -> None:
    await sandbox.run(make_job("cat", stdin=b"x"))
    before = open_descriptors()
    for script in ("cat", "exit 3", "yes", "nosuch", "sleep 5"):
        job = make_job(script, stdin=b"x", log=tmp_path / "log", seconds=0.2, output_bytes=9000)
        await sandbox.run(job)
    assert open_descriptors() == before


ORPHAN = """
import asyncio, sys
from pathlib import Path
from bot.sandbox.bubblewrap import Bubblewrap
from bot.sandbox.model import Job
folder = Path(sys.argv[1])
job = Job(argv=("/bin/sh", "-c", sys.argv[2]), workspace=folder, home=folder / "home",
          seconds=60, output_bytes=1000)
asyncio.run(Bubblewrap().run(job))
"""


async def test_a_killed_bot_leaves_no_process(tmp_path: Path, nap: str) -> None:
    script = f"setsid {nap} & (setsid {nap} &) ; {nap}"
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ORPHAN, str(tmp_path), script
    )
    try:
        assert await until(lambda: alive(nap), 10)
    finally:
        owner.kill()
        await owner.wait()
    assert await until(lambda: not alive(nap), 2)
