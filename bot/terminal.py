"""What the command line shows: progress on standard error, results on standard output."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import structlog
from rich.console import Console
from rich.text import Text

from bot.errors import UserError
from bot.git import diff
from bot.git.local import known_as, open_repository
from bot.git.repository import Mirror
from bot.github.comment import headline
from bot.local import (
    REACHING,
    Local,
    find_run,
    home_of,
    is_held,
    list_runs,
    open_local,
    reading,
)
from bot.rebuild import Outcome, rebuild
from bot.redact import Redactor
from bot.replay import Asked, verify_clone
from bot.runs import budget, logs
from bot.runs.model import Checkpoint, Run
from bot.runs.points import ends
from bot.runs.store import Store
from bot.runs.transitions import State
from bot.sandbox.output import clean
from bot.settings import Settings
from bot.verify import verify_run
from policies.facts import Change

FOLLOW_SECONDS = 0.3
"""How often `logs -f` looks for more."""

LOG = "orchestrate.log"
"""The program's own log, in the folder of a repository's runs."""

PATCH_BYTES = 100_000_000
"""Bytes of a patch that is printed: more than anybody reads, less than what fills the memory."""

COLOURS = {
    State.DONE: "green",
    State.AWAITING_REVIEW: "green",
    State.AWAITING_APPROVAL: "yellow",
    State.BLOCKED: "red",
    State.FAILED: "red",
    State.CANCELLED: "dim",
    State.PAUSED: "yellow",
}


class Progress:
    """Tells what happens to runs, as it happens, a line each."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self._told: dict[str, Run] = {}

    def say(self, text: str | Text) -> None:
        """Print a line as it is, however long."""
        self.console.print(text, markup=False, soft_wrap=True)

    def output(self, _run: str, line: str) -> None:
        """Show a line that an agent or a check printed."""
        self.say(Text(f"    {line}", style="dim"))

    def known(self, run: Run) -> None:
        """Take a run as told, so that only what is new about it is shown."""
        self._told[run.id] = run

    def run(self, run: Run) -> None:
        """Show what is new about a run."""
        before = self._told.get(run.id)
        self._told[run.id] = run
        if run.last is not None and (before is None or before.head != run.head):
            self.say(f"  checkpoint {point(run.last)}")
        if run.checked and (before is None or before.outcomes != run.outcomes):
            for each in run.outcomes:
                self.say(_mark(each.conclusion).append(f" {each.name} ({each.seconds:.1f} s)"))
        if before is None or before.state != run.state:
            self._state(run, new=before is None)

    def _state(self, run: Run, *, new: bool) -> None:
        text = Text(f"● {run.id} ", style="bold").append_text(state_text(run))
        self.say(text.append(f": {run.title}", style="not bold") if new else text)
        if run.reason:
            self.say(f"  {spoken(run.reason, run)}")
        if run.next_step:
            self.say(f"  {spoken(run.next_step, run)}")


def state_text(run: Run) -> Text:
    """Write a run's state in words and its colour."""
    style = COLOURS.get(run.state, "cyan")
    return Text(run.state.value.replace("_", " "), style=f"not bold {style}")


def point(checkpoint: Checkpoint) -> str:
    """Write a checkpoint in a line."""
    files = "1 file" if checkpoint.files == 1 else f"{checkpoint.files} files"
    size = f"{files}, +{checkpoint.added} −{checkpoint.deleted}"
    size += f", turn {checkpoint.turn}" if checkpoint.turn else ""
    return f"{checkpoint.number} {checkpoint.sha[:7]} {checkpoint.title} ({size})"


def _mark(conclusion: str) -> Text:
    passed = conclusion == "success"
    return Text("  ✓" if passed else "  ✗", style="green" if passed else "red")


def spoken(text: str, run: Run) -> str:
    """Write slash commands as they are typed in a terminal about a local run."""
    if not run.is_local:
        return text

    def typed(found: re.Match[str]) -> str:
        verb, rest = found.groups()
        return f"`orchestrate {'run' if verb == 'orchestrate' else f'{verb} {run.id}'}{rest}`"

    return re.sub(r"`/([a-z]+)([^`]*)`", typed, text)


async def start_local(
    settings: Settings, folder: Path, request: str, options: dict[str, Any]
) -> dict[str, Any]:
    """Start a run on a local repository, follow it to its next wait, and sum it up."""
    began = time.monotonic()
    progress = Progress()
    home = home_of(settings, await open_repository(folder))
    async with _at_work(settings, folder, home, progress) as local:
        run = await local.start_run(request, options)
        run = await _followed(local, run, progress)
        return await summary(local.bot.store, run, time.monotonic() - began)


async def steer_local(settings: Settings, run_id: str, verb: str, rest: str) -> dict[str, Any]:
    """Give a command to a local run, follow it to its next wait, and sum it up."""
    began = time.monotonic()
    progress = Progress()
    run, home = await find_run(settings, run_id)
    if not run.is_local:
        raise UserError(_on_github(run))
    progress.known(run)
    folder = Path(run.repository.url)
    reached = verb in REACHING and is_held(home)
    if reached:
        async with open_local(settings, folder, working=False) as local:
            await _order(local, run, verb, rest, progress)
            progress.run(await local.bot.store.load(run.id))
            if await local.rested_elsewhere(run.id, home):
                run = await local.bot.store.load(run.id)
                return await summary(local.bot.store, run, time.monotonic() - began)
    async with _at_work(settings, folder, home, progress) as local:
        if not reached:
            await _go_on_and_order(local, run, verb, rest, progress)
        run = await _followed(local, await local.bot.store.load(run.id), progress)
        return await summary(local.bot.store, run, time.monotonic() - began)


async def tell_local(settings: Settings, run_id: str, message: str) -> dict[str, Any]:
    """Say something to the agent of a local run, whoever works on it."""
    seen, home = await find_run(settings, run_id)
    if not seen.is_local:
        raise UserError(_on_github(seen))
    progress = Progress()
    async with open_local(settings, Path(seen.repository.url), working=False) as local:
        await _order(local, seen, "tell", f"-- {message}", progress)
        run = await local.bot.store.load(seen.id)
    now = run.state is State.RUNNING and is_held(home)
    told = "The agent is told at once where it can hear, else" if now else "The agent is told"
    progress.say(f"{told} at its next turn.")
    return {"run": run.id, "state": run.state.value, "message": run.messages[-1].model_dump()}


async def _go_on_and_order(
    local: Local, seen: Run, verb: str, rest: str, progress: Progress
) -> None:
    """Give a command, after what a stopped process left under way."""
    store = local.bot.store
    if verb not in REACHING and (await store.load(seen.id)).active:
        progress.say(f"Run {seen.id} was stopped on its way, and goes on.")
        await local.rested(seen.id)
        if verb == "resume":
            return
    await _order(local, seen, verb, rest, progress)


async def _order(local: Local, run: Run, verb: str, rest: str, progress: Progress) -> None:
    try:
        answer = await local.order(run, verb, rest)
    except UserError as error:
        raise UserError(spoken(str(error), run)) from error
    if answer:
        progress.say(spoken(answer, run))


async def _followed(local: Local, run: Run, progress: Progress) -> Run:
    """Follow a run to its next wait, with the others that go on beside it."""
    run = await local.rested(run.id)
    for other in await local.bot.store.active():
        progress.say(f"Run {other.id} was stopped on its way, and goes on.")
        await local.rested(other.id)
    _say_next(progress, run)
    return run


@contextlib.asynccontextmanager
async def _at_work(
    settings: Settings, folder: Path, home: Path, progress: Progress
) -> AsyncIterator[Local]:
    """Open a repository to work on its runs, and say when another process does so already."""
    if is_held(home):
        progress.say("Another orchestrate command works on this repository; waiting for its end.")
    with contextlib.suppress(OSError):  # A folder that cannot be written is told of below.
        _log_to(home, Redactor(settings.secrets(os.environ)))
    async with open_local(settings, folder, on_output=progress.output) as local:
        local.bot.store.listen(progress.run)
        yield local


def _log_to(home: Path, redactor: Redactor) -> None:
    """Keep the program's own log in a file: the terminal is for what people look for."""
    home.mkdir(parents=True, exist_ok=True)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
            lambda _logger, _method, line: redactor.text(str(line)),
        ],
        logger_factory=structlog.WriteLoggerFactory((home / LOG).open("a")),
    )


async def summary(store: Store, run: Run, seconds: float) -> dict[str, Any]:
    """Sum a run up as `--json` prints it."""
    results = await store.results(run.id, run.head)
    return {
        "run": run.id,
        "state": run.state.value,
        "reason": spoken(run.reason, run),
        "next_step": spoken(run.next_step, run),
        "branch": run.branch,
        "head": run.head,
        "repository_dir": str(known_as(run.repository)) if run.is_local else "",
        "checked": bool(run.head) and run.checked == run.head,
        "merged": run.state is State.DONE and bool(run.merge_sha),
        "checkpoints": [
            {"number": c.number, "sha": c.sha, "tree": c.tree, "kind": c.kind, "turn": c.turn}
            for c in run.checkpoints
        ],
        "turns": run.turns,
        "usage": {**run.usage.model_dump(mode="json"), "tokens": run.usage.tokens},
        "budget": {"usd": run.usd_limit, "tokens": run.token_limit},
        "plan": [{"id": t.id, "title": t.title, "done": t.done} for t in run.plan.tasks],
        "refused": list(run.refused),
        "blocked_hosts": [each.model_dump(mode="json") for each in run.blocked_hosts],
        "messages": [each.model_dump(mode="json") for each in run.messages],
        "check_runs": [
            {"name": r["name"], "sha": run.head, "conclusion": r["conclusion"]} for r in results
        ],
        "seconds": round(seconds, 3),
    }


async def show_runs(settings: Settings, *, quiet: bool) -> list[dict[str, Any]]:
    """List runs, as a table unless `quiet`."""
    found = [run for run, _ in await list_runs(settings)]
    if not quiet:
        _print_runs(found)
    return [
        {
            "run": run.id,
            "state": run.state.value,
            "repository": run.repository.full_name,
            "issue": run.issue,
            "pull_request": run.pull_request,
            "title": run.title,
            "branch": run.branch,
            "checkpoints": len(run.checkpoints),
            "created_at": run.created_at.isoformat(),
        }
        for run in found
    ]


def _print_runs(found: list[Run]) -> None:
    if not found:
        _out("There is no run yet; `orchestrate run` starts one.")
        return
    rows = [("run", "state", "checkpoints", "repository", "request")]
    for run in found:
        state = run.state.value.replace("_", " ")
        where = run.repository.full_name + (f"#{run.issue}" if run.issue else "")
        where = str(known_as(run.repository)) if run.is_local else where
        rows.append((run.id, state, str(len(run.checkpoints)), where, run.title))
    _print_rows(rows)


def _print_rows(rows: Sequence[tuple[str, ...]]) -> None:
    """Print columns, each as wide as its longest cell; no line is broken."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        _out("  ".join(cells).rstrip())


def _out(text: str | Text) -> None:
    """Print a result as it is, however long its lines."""
    Console(highlight=False).print(text, markup=False, soft_wrap=True)


async def show_run(settings: Settings, run_id: str, *, quiet: bool) -> dict[str, Any]:
    """Show one run, as text unless `quiet`."""
    run, home = await find_run(settings, run_id)
    async with reading(home, settings) as store:
        events = await store.events(run.id)
        sums = await summary(store, run, (run.updated_at - run.created_at).total_seconds())
        if not run.is_local and await store.is_current():
            standing = await store.queue.standing(run, settings.patience_minutes * 60)
            run = run.model_copy(update={"standing": standing})
    sums["waits"] = run.standing.model_dump(mode="json") if run.standing else None
    if not quiet:
        _print_run(run, sums)
        rows = [("at", "who", "what")]
        for each in events:
            what = each.type.replace("_", " ")
            rows.append((f"{each.at:%Y-%m-%d %H:%M:%S}", each.actor, what))
        _out("")
        _print_rows(rows)
    return {**sums, "events": [event.model_dump(mode="json") for event in events]}


def _print_run(run: Run, sums: dict[str, Any]) -> None:
    _out(Text(f"{run.id} ", style="bold").append_text(state_text(run)).append(f": {run.title}"))
    waits = headline(run).replace("*", "") if run.standing else ""
    for line in (waits, sums["reason"], sums["next_step"]):
        if line:
            _out(line)
    if run.branch:
        _out(f"branch {run.branch}, from {run.base} {run.base_sha[:7]}")
    if run.merge_sha:
        _out(f"merged into {run.base} as {run.merge_sha[:7]}")
    if used := budget.spent(run):
        _out(" ".join(part for part in (f"used {used}.", budget.unpriced(run)) if part))
    for task in run.plan.tasks if len(run.plan.tasks) > 1 else ():
        _out(_printable(f"task {task.id}, {'done' if task.done else 'to do'}: {task.title}"))
    for line in run.refused:
        _out(_printable(f"refused: {line.strip()}"))
    for host in run.blocked_hosts:
        by = f", wanted by {host.program}" if host.program else ""
        _out(_printable(f"not let reach: {host.host}:{host.port}{by}"))
    for message in run.messages:
        told = "not told yet" if message.turn is None else f"told in turn {message.turn}"
        _out(f"{message.by} to the agent, {told}: {message.text}")
    for each in run.checkpoints:
        _out(f"  checkpoint {point(each)}")
    for check in sums["check_runs"]:
        _out(_mark(check["conclusion"]).append(f" {check['name']}: {check['conclusion']}"))


async def print_logs(
    settings: Settings,
    run_id: str,
    *,
    follow: bool,
    turn: int | None = None,
    raw: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Print the logs of a run in their order, unless `quiet`; with `follow` until the run rests.

    `turn` is the one turn that is wanted; `raw` asks for what went over the line to the agent and
    back, in place of what people read. Returns what there is of it.
    """
    run, home = await find_run(settings, run_id)
    folder = home / "runs" / run.id / "logs"
    readers: dict[Path, LogReader] = {}
    while True:
        grown = False
        for path in _shown(logs.files(folder, turn), raw=raw):
            reader = readers.setdefault(path, LogReader(path))
            grown |= reader.read(None if quiet else _log_line)
        async with reading(home, settings) as store:
            run = await store.load(run.id)
        if not follow or not (run.active or grown):
            break
        await asyncio.sleep(FOLLOW_SECONDS)
    for reader in readers.values():
        reader.end(None if quiet else _log_line)
    kept = [each.kept() for each in readers.values()]
    return {"run": run.id, "state": run.state.value, "turns": run.turns, "logs": kept}


def _shown(paths: Sequence[Path], *, raw: bool) -> list[Path]:
    """Leave out what is there for programs, or all but that."""
    return [path for path in paths if (path.suffix == ".jsonl") == raw]


def _log_line(name: str, line: str) -> None:
    if not line:
        _out(Text(f"── {name}", style="bold"))
    else:
        # Whatever a program prints is text here; it does not steer the reader's terminal.
        Console(highlight=False, markup=False).out(clean(line.removesuffix("\n")))


class LogReader:
    """Reads a log as it grows, in whole lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self._begun = b""

    @property
    def name(self) -> str:
        """What the log is of, as people say it."""
        name, _, kind = self._path.name.partition(".")
        return f"{name}, the prompt" if kind == "prompt.md" else name

    def read(self, show: Callable[[str, str], None] | None) -> bool:
        """Read what is new, and show each line by `show(name, line)`; say whether there was any."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                data = file.read()
        except FileNotFoundError:  # its days were over in this moment
            return False
        if data and not self._at and show:
            show(self.name, "")
        self._at += len(data)
        *lines, self._begun = (self._begun + data).split(b"\n")
        for line in lines:
            self._show(line, show)
        return bool(data)

    def end(self, show: Callable[[str, str], None] | None) -> None:
        """Show the last line, which has no end."""
        if self._begun:
            self._show(self._begun, show)

    def _show(self, line: bytes, show: Callable[[str, str], None] | None) -> None:
        if show:
            show(self.name, line.decode("utf-8", "replace") + "\n")

    def kept(self) -> dict[str, Any]:
        """Say what was read."""
        return {
            "name": self._path.name,
            "turn": logs.turn_of(self._path),
            "path": str(self._path),
            "bytes": self._at,
        }


Shown = Literal["patch", "stat", "names"]
"""How a difference is shown: as a patch, by lines counted, or by names alone."""


async def print_diff(
    settings: Settings,
    run_id: str,
    between: str,
    how: Shown,
    *,
    quiet: bool,
) -> dict[str, Any]:
    """Print a difference, unless `quiet`; return the files, and with `patch` that as well."""
    run, home = await find_run(settings, run_id)
    old, new = ends(run, between)
    mirror = Mirror(home / "mirrors" / f"{run.repository.id}.git")
    shown: dict[str, Any] = {"run": run.id, "old": old, "new": new}
    if how == "names":
        named = await asyncio.to_thread(diff.names, mirror, old, new)
        lines = [f"{each.status:10} {each.path}" for each in named]
        shown["files"] = [{"path": each.path, "status": each.status} for each in named]
    elif how == "stat":
        files = await asyncio.to_thread(diff.changes, mirror, old, new)
        lines = [_stat(each) for each in files]
        shown["files"] = [_counted(each) for each in files]
    else:
        found = await asyncio.to_thread(diff.compare, mirror, old, new, limit=PATCH_BYTES)
        lines = []
        shown |= {"files": [_counted(each) for each in found.files], "patch": found.patch}
    if not quiet:
        console = Console(highlight=False, markup=False)
        console.out(shown.get("patch", ""), end="")
        for line in lines:
            console.out(_printable(line))
    return shown


def _counted(change: Change) -> dict[str, Any]:
    renamed = {"old_path": change.old_path} if change.old_path else {}
    size = {"added": change.added, "deleted": change.deleted}
    return {"path": change.path, **renamed, "status": change.status, **size}


def _stat(change: Change) -> str:
    size = "binary" if change.binary else f"+{change.added} −{change.deleted}"
    name = f"{change.old_path} → {change.path}" if change.old_path else change.path
    return f"{size:12} {name}"


def _printable(line: str) -> str:
    """Show what does not print by its number: a file's name may hold anything."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)


async def print_verdict(
    settings: Settings,
    run_id: str,
    given: tuple[Path | None, bool, int, Path | None],
    *,
    quiet: bool,
) -> dict[str, Any]:
    """Verify a run's record; print what is wrong with it, unless `quiet`.

    `given` are a clone, whether checks are run again, of which checkpoint, and a clone of what the
    organisation says.
    """
    clone, replay, checkpoint, organisation = given
    if clone is None and not replay:
        found = await verify_run(settings, run_id, organisation)
    else:
        place = await _place_of(settings, run_id, clone)
        asked = Asked(*place, replay, checkpoint, organisation)
        found = await verify_clone(settings, asked, (lambda _: None) if quiet else _out)
    if not quiet:
        _print_verdict(found)
    return found


async def _place_of(settings: Settings, run_id: str, clone: Path | None) -> tuple[str, Path]:
    """Say which run is meant, and where it is read from: a clone, or this server's own mirror."""
    if clone is not None:
        return run_id, clone
    run, home = await find_run(settings, run_id)
    return run.id, home / "mirrors" / f"{run.repository.id}.git"


def _print_verdict(found: dict[str, Any]) -> None:
    for line in found["problems"]:
        _out(line)
    if not found["problems"]:
        _out(
            f"The record of run {found['run']} is whole: {found['events']} events, "
            f"{found['published']} of them published, {found['decisions']} decisions hold, "
            f"{found['policies']} of them by a policy that was made again and compared."
        )
    for line in found["unchecked"]:
        _out(line)
    for each in found.get("replay", {}).get("checks", ()):
        same = "as recorded" if each["same"] else f"recorded as {each['recorded']}"
        _out(f"{each['name']}: {each['now']}, {same}. {each['summary']}")


async def print_rebuilt(settings: Settings, folder: Path | None, *, quiet: bool) -> dict[str, Any]:
    """Restore runs from their records and list them, unless `quiet`."""
    progress = Progress()
    outcome = await rebuild(settings, folder, progress.say)
    if not quiet:
        _print_restored(outcome)
    return {
        "ok": not outcome.problems,
        "restored": [
            {
                "run": run.id,
                "state": run.state.value,
                "stopped": run.id in outcome.stopped,
                "repository": run.repository.full_name,
                "checkpoints": len(run.checkpoints),
                "unconfirmed": list(outcome.unconfirmed.get(run.id, ())),
            }
            for run in outcome.runs
        ],
        "known": outcome.known,
        "problems": [asdict(each) for each in outcome.problems],
    }


def _print_restored(outcome: Outcome) -> None:
    if outcome.runs:
        _print_runs(outcome.runs)
    restored, known = len(outcome.runs), len(outcome.known)
    _out(f"Restored: {restored}. In the database already: {known}.")
    for each in outcome.problems:
        where = f"Run {each.run} of {each.repository}" if each.run else each.repository
        for reason in each.reasons:
            _out(f"{where} was passed over: {reason}")


def _on_github(run: Run) -> str:
    return (
        f"Run `{run.id}` belongs to {run.repository.full_name} on GitHub; "
        "give the command there, in a comment."
    )


def _say_next(progress: Progress, run: Run) -> None:
    if run.merge_sha:
        progress.say(f"  Merged into {run.base} as {run.merge_sha[:7]}.")
    if run.state is State.AWAITING_REVIEW:
        progress.say(f"  Look at it: orchestrate diff {run.id}   (branch {run.branch})")
        progress.say(f"  Decide:     orchestrate approve {run.id}   or rollback, undo, reject")
    elif run.state is State.AWAITING_APPROVAL:
        progress.say(f"  Decide:     orchestrate approve {run.id}   or reject {run.id} WHY")
