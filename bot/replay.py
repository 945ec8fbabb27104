"""A run verified from a clone, by whoever has one and none of the server's data.

The record is fetched from the clone's `origin` with the person's own git, walked, and its decisions
are checked again. A replay then runs the checks of a checkpoint once more, from the commit alone,
in the sandbox as a server does, and compares what comes of them with what the record says.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.app import environments_of, now, workshop, workspaces
from bot.clone import git_there
from bot.errors import Refused, UserError
from bot.events import Event, Type
from bot.git import ledger
from bot.git.local import known_as, open_repository
from bot.git.mirror import Mirror
from bot.git.remote import Remote
from bot.git.workbench import Workbench
from bot.runs.inforce import read_config
from bot.runs.model import Checkpoint, Repository, Run
from bot.runs.ports import Prepared
from bot.runs.restore import restored
from bot.runs.work import checks_of, own
from bot.settings import Settings
from bot.verify import NOBODY, Files, clone_of, decided, told

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be verified: a run of a clone, and of which checkpoint checks are run again.

    Of checkpoint 0 it is the last one. `organisation` is a clone of what the organisation says.
    """

    run: str
    folder: Path
    replay: bool
    checkpoint: int = 0
    organisation: Path | None = None


async def verify_clone(settings: Settings, asked: Asked, tell: Tell) -> dict[str, Any]:
    """Verify a run from a clone; the answer is that of `verify_run`, and what a replay showed."""
    repository = await open_repository(asked.folder)
    if asked.folder.resolve() != Path(repository.url):
        await _fetched(known_as(repository), asked.run)
    with tempfile.TemporaryDirectory(prefix="orchestrate-") as folder:
        async with _workbench(settings, Path(folder), repository) as git:
            found = await _verified(git, Path(folder), repository, asked)
            if asked.replay and found["ok"]:
                record = [Event.model_validate(each) for each in found["record"]]
                found["replay"] = await _replayed(settings, git, repository, record, asked, tell)
                found["problems"] += found["replay"]["problems"]
                found["ok"] = not found["problems"]
    del found["record"]
    return found


async def _fetched(folder: Path, run: str) -> None:
    """Fetch a run's record into the clone, as it is at `origin`; what is here alone may do."""
    places = [f"{place}{run}" for place in ledger.SEEN]
    remotes = await git_there(folder, "remote")
    if "origin" not in remotes.split():
        return
    listed = await git_there(folder, "ls-remote", "origin", *places)
    there = [ref for _, _, ref in (line.partition("\t") for line in listed.splitlines())]
    for ref in there:
        try:
            # Not forced: what the clone has is the person's, and that the two part is news.
            await git_there(
                folder, "fetch", "--quiet", "--no-write-fetch-head", "origin", f"{ref}:{ref}"
            )
        except UserError as error:
            raise UserError(
                f"`{ref}` of the clone is another than at `origin`, or cannot be fetched: {error} "
                f"`git update-ref -d {ref}` there forgets the clone's own."
            ) from error


@contextlib.asynccontextmanager
async def _workbench(
    settings: Settings, folder: Path, repository: Repository
) -> AsyncIterator[Workbench]:
    """Make a place of its own for git, of which nothing is left."""

    async def address(_: Repository) -> Remote:
        return Remote(repository.url)

    made = await workspaces(settings, folder)
    git = Workbench(
        folder, address, NOBODY, made, environments=environments_of(settings, folder, made)
    )
    try:
        yield git
    finally:
        await git.end()
        shutil.rmtree(folder / "runs", ignore_errors=True)


async def _verified(
    git: Workbench, folder: Path, repository: Repository, asked: Asked
) -> dict[str, Any]:
    known = await git.records.bring_in(repository)
    runs = [each for each in known if each.startswith(asked.run.lower())]
    if len(runs) != 1:
        many = f"{len(runs)} runs begin with" if runs else "Neither `origin` nor the clone has"
        raise UserError(
            f"{many} `{asked.run}`; name the run by its whole id, and a clone of its repository."
        )
    audit = await git.records.restore(repository, runs[0])
    held = Mirror(folder / "mirrors" / f"{repository.id}.git")
    # What was fetched and is on none of the clone's own branches is in the clone alone.
    files = Files(
        (held, Mirror(Path(repository.url))),
        await _default_there(asked.folder, audit.events),
        await clone_of(asked.organisation),
    )
    again = await decided(repository, audit.events, held, files)
    problems = [*audit.problems, *again.problems]
    return {
        "run": runs[0],
        "ok": not problems,
        "events": len(audit.events),
        "published": len(audit.events),
        **told(again),
        "problems": problems,
        "record": audit.events,
    }


async def _default_there(folder: Path, events: Sequence[Mapping[str, Any]]) -> str | None:
    """Name the ref of GitHub's default branch in a clone; empty where the clone knows of none.

    None of a run of somebody's own machine: that is configured by what was checked out there.
    """
    begun = events[0]["data"].get("repository", {}) if events else {}
    if not begun.get("installation"):
        return None
    known = await git_there(
        folder, "for-each-ref", "--format=%(symref)", "refs/remotes/origin/HEAD"
    )
    return known.strip()


async def _replayed(
    settings: Settings,
    git: Workbench,
    repository: Repository,
    record: Sequence[Event],
    asked: Asked,
    tell: Tell,
) -> dict[str, Any]:
    """Run the checks of one checkpoint again, and compare."""
    run = restored(record, repository, now()).run
    if not run.id.startswith(asked.run.lower()):
        raise Refused(f"The record under this name is that of run {run.id}.")
    made = _checkpoint(run, asked.checkpoint)
    # As it was when that checkpoint was the head.
    run = run.model_copy(update={"checkpoints": _until(run, made), "head": made.sha})
    recorded = _recorded(record, made.sha)
    if not recorded:
        raise UserError(f"The record has no checks of checkpoint {made.number}; name another one.")
    told = [
        {"name": name, "recorded": was, "now": is_now, "same": was == is_now, "summary": summary}
        async for name, was, is_now, summary in _compared(settings, git, run, recorded, tell)
    ]
    problems = [
        f"The check `{each['name']}` of checkpoint {made.number} is {each['now']} here, and was "
        f"{each['recorded']} by the record: {each['summary']}"
        for each in told
        if not each["same"]
    ]
    return {"checkpoint": made.number, "sha": made.sha, "checks": told, "problems": problems}


def _checkpoint(run: Run, number: int) -> Checkpoint:
    if not run.checkpoints:
        raise UserError("The run has no checkpoint, so there is nothing to run checks on.")
    found = [each for each in run.checkpoints if each.number == number]
    if number and not found:
        raise UserError(f"There is no checkpoint {number}; the last is {len(run.checkpoints)}.")
    return found[0] if found else run.checkpoints[-1]


def _until(run: Run, made: Checkpoint) -> tuple[Checkpoint, ...]:
    return tuple(each for each in run.checkpoints if each.number <= made.number)


def _recorded(record: Sequence[Event], sha: str) -> dict[str, str]:
    """Return what the record says last of the checks of a commit, by name."""
    found: dict[str, str] = {}
    for event in record:
        if event.type == Type.CHECKED and event.data.get("sha") == sha:
            found |= {str(each["name"]): str(each["conclusion"]) for each in event.data["checks"]}
    return found


async def _compared(
    settings: Settings, git: Workbench, run: Run, recorded: Mapping[str, str], tell: Tell
) -> AsyncIterator[tuple[str, str, str, str]]:
    """Run each check; yield its name, what the record says, what came of it now, and why."""
    shop, stop = await workshop(settings, git), asyncio.Event()
    config = own(run, read_config(await git.config(run, run.config)))
    checks = {each.name: each for each in await checks_of(git, shop.checks, run, config)}
    absent = [name for name in recorded if name not in checks]
    if absent:
        whose = "its organisation's" if run.organisation else "an earlier or later"
        raise Refused(
            f"The repository's own configuration does not name the check `{absent[0]}`: it is of "
            f"{whose} configuration, which is not in this clone."
        )

    async def begin() -> None:
        tell("Installing what the repository needs …")

    ready = await shop.environments.prepare(
        run, run.head, config, stop=stop, output=tell, begin=begin
    )
    if not isinstance(ready, Prepared):
        raise UserError(f"{ready.reason} {ready.next_step}" if ready else "It was stopped.")
    place = await git.open(run, run.head, ready.key)
    try:
        for name, was in recorded.items():
            log = place.logs / "replay.log"
            done = await shop.checks.run(checks[name], place, log=log, stop=stop, output=tell)
            yield name, was, str(done["conclusion"]), str(done["summary"]).split("\n", 1)[0]
    finally:
        await git.close(run)
