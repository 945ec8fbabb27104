from __future__ import annotations

from collections.abc import Callable

from bot.sandbox.environment.within import Within
from bot.sandbox.model import Job, Sandbox

MakeJob = Callable[..., Job]


async def test_programs_and_variables_of_an_environment_come_first(
    sandbox: Sandbox, make_job: MakeJob
) -> None:
    job = make_job('tool; ls; echo "$CACHE" "$OWN"', env={"OWN": "the job's"})
    folder = job.workspace / ".venv" / "bin"
    folder.mkdir(parents=True)
    for name in ("tool", "ls"):
        (folder / name).write_text(f"#!/bin/sh\necho {name} of the environment\n")
        (folder / name).chmod(0o755)
    env = {"CACHE": "{workspace}/cache", "OWN": "not this"}
    ended = await Within(sandbox, env, (".venv/bin",)).run(job)
    root = sandbox.places(job.workspace, job.home).workspace
    assert ended.tail.split("\n") == [
        "tool of the environment",
        "ls of the environment",
        f"{root}/cache the job's",
    ]


async def test_without_an_environment_nothing_changes(sandbox: Sandbox, make_job: MakeJob) -> None:
    job = make_job("echo $PATH")
    assert (await Within(sandbox).run(job)).tail == (await sandbox.run(job)).tail
    assert Within(sandbox).name == sandbox.name
