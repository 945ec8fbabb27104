"""What the command line shows: progress on standard error, results on standard output."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bot.errors import UserError
from bot.git import ledger
from bot.git.checkpoint import Identity
from bot.git.mirror import Mirror
from bot.git.remote import Remote
from bot.git.workbench import Workbench
from bot.local import Local, find_run, list_runs, open_local, reading
from bot.runs.model import Run
from bot.runs.points import ends
from bot.runs.store import Store
from bot.runs.transitions import State
from bot.settings import Settings

FOLLOW_SECONDS = 0.3
"""How often `logs -f` looks for more."""

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
        self._told: dict[str, tuple[Any, ...]] = {}

    def output(self, _run: str, line: str) -> None:
        """Show a line that an agent or a check printed."""
        self.console.print(Text(f"    {line}", style="dim"), soft_wrap=True)

    def run(self, run: Run) -> None:
        """Show what is new about a run."""
        now = (run.state, run.head, run.turns, run.work)
        before = self._told.get(run.id)
        self._told[run.id] = now
        if before == now:
            return
        if before is None or before[1] != run.head:
            self._checkpoint(run)
        if before is None or before[0] != run.state:
            style = COLOURS.get(run.state, "cyan")
            words = run.state.value.replace("_", " ")
            self.console.print(Text(f"● {run.id} ", style="bold").append(words, style=style))
            if run.reason:
                self.console.print(Text(f"  {plain(run.reason)} {plain(run.next_step)}"))

    def _checkpoint(self, run: Run) -> None:
        last = run.last
        if last is not None:
            size = f"{last.files} files, +{last.added} −{last.deleted}"
            line = f"  checkpoint {last.number} {last.sha[:7]} {last.title} ({size})"
            self.console.print(Text(line))


async def start_local(
    settings: Settings, folder: Path, request: str, options: dict[str, Any]
) -> dict[str, Any]:
    """Start a run on a local repository, follow it to its next wait, and sum it up."""
    began = time.monotonic()
    progress = Progress()
    async with open_local(settings, folder, on_output=progress.output) as local:
        local.bot.store.listen(progress.run)
        run = await local.start_run(request, options)
        progress.run(run)
        run = await local.rested(run.id)
        _say_next(progress.console, run)
        return await summary(local.bot.store, run, time.monotonic() - began)


async def steer_local(settings: Settings, run_id: str, verb: str, rest: str) -> dict[str, Any]:
    """Give a command to a local run, follow it to its next wait, and sum it up."""
    began = time.monotonic()
    progress = Progress()
    async with _at_work(settings, run_id, progress) as (local, run):
        answer = await local.order(run, verb, rest)
        if answer:
            progress.console.print(answer)
        run = await local.rested(run.id)
        _say_next(progress.console, run)
        return await summary(local.bot.store, run, time.monotonic() - began)


class _at_work:
    """Opens the bot of the repository that a run belongs to."""

    def __init__(self, settings: Settings, run_id: str, progress: Progress) -> None:
        self._settings = settings
        self._run_id = run_id
        self._progress = progress

    async def __aenter__(self) -> tuple[Local, Run]:
        run, _ = await find_run(self._settings, self._run_id)
        if not run.is_local:
            raise UserError(
                f"Run `{run.id}` belongs to {run.repository.full_name} on GitHub; "
                "give the command there, in a comment."
            )
        folder = Path(run.repository.url)
        self._open = open_local(self._settings, folder, on_output=self._progress.output)
        local = await self._open.__aenter__()
        local.bot.store.listen(self._progress.run)
        return local, await local.bot.store.load(run.id)

    async def __aexit__(self, *error: Any) -> bool | None:
        return await self._open.__aexit__(*error)


async def summary(store: Store, run: Run, seconds: float) -> dict[str, Any]:
    """Sum a run up as `--json` prints it."""
    results = await store.results(run.id, run.head)
    return {
        "run": run.id,
        "state": run.state.value,
        "reason": plain(run.reason),
        "branch": run.branch,
        "head": run.head,
        "repository_dir": run.repository.url,
        "merged": run.state is State.DONE and bool(run.merge_sha),
        "checkpoints": [
            {"number": c.number, "sha": c.sha, "tree": c.tree} for c in run.checkpoints
        ],
        "check_runs": [
            {"name": r["name"], "sha": run.head, "conclusion": r["conclusion"]} for r in results
        ],
        "seconds": round(seconds, 3),
    }


async def show_runs(settings: Settings, *, quiet: bool) -> list[dict[str, Any]]:
    """List runs, as a table unless `quiet`."""
    found = [run for run, _ in await list_runs(settings)]
    if not quiet:
        table = Table("run", "state", "repository", "request", "checkpoints", box=None)
        for run in found:
            state = Text(run.state.value.replace("_", " "), style=COLOURS.get(run.state, "cyan"))
            where = run.repository.full_name + (f"#{run.issue}" if run.issue else "")
            count = str(len(run.checkpoints))
            table.add_row(run.id, state, where, Text(run.title), count)
        Console().print(table if found else "There is no run yet; `orchestrate run` starts one.")
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


async def show_run(settings: Settings, run_id: str, *, quiet: bool) -> dict[str, Any]:
    """Show one run, as text unless `quiet`."""
    run, home = await find_run(settings, run_id)
    async with reading(home) as store:
        events = await store.events(run.id)
        sums = await summary(store, run, (run.updated_at - run.created_at).total_seconds())
    if not quiet:
        _print_run(Console(highlight=False), run, sums)
        table = Table("at", "who", "what", box=None)
        for event in events:
            table.add_row(f"{event.at:%Y-%m-%d %H:%M:%S}", event.actor, event.type)
        Console().print(table)
    return {**sums, "events": [event.model_dump(mode="json") for event in events]}


def _print_run(console: Console, run: Run, sums: dict[str, Any]) -> None:
    state = run.state.value.replace("_", " ")
    console.print(Text(f"{run.id} {state}: ", style="bold").append(run.title))
    if run.reason:
        console.print(Text(f"{plain(run.reason)} {plain(run.next_step)}"))
    console.print(Text(f"branch {run.branch}, from {run.base} {run.base_sha[:7]}"))
    for each in run.checkpoints:
        size = f"{each.files} files, +{each.added} −{each.deleted}"
        console.print(Text(f"  {each.number}  {each.sha[:7]}  {each.title}  ({size})"))
    for check in sums["check_runs"]:
        console.print(Text(f"  {check['conclusion']:<10} {check['name']}"))


async def print_logs(settings: Settings, run_id: str, *, follow: bool) -> None:
    """Print the logs of a run in their order; with `follow` until the run rests."""
    run, home = await find_run(settings, run_id)
    folder = home / "runs" / run.id / "logs"
    printed: dict[Path, int] = {}
    while True:
        grown = False
        for path in sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime_ns):
            grown |= _print_rest(path, printed)
        async with reading(home) as store:
            resting = not (await store.load(run.id)).active
        if not follow or (resting and not grown):
            return
        await asyncio.sleep(FOLLOW_SECONDS)


def _print_rest(path: Path, printed: dict[Path, int]) -> bool:
    with path.open("rb") as file:
        file.seek(printed.get(path, 0))
        data = file.read()
    console = Console(highlight=False, markup=False)
    if data and path not in printed:
        console.print(Text(f"── {path.stem}", style="bold"))
    if data:
        console.out(data.decode("utf-8", "replace"), end="")
    printed[path] = printed.get(path, 0) + len(data)
    return bool(data)


async def print_diff(
    settings: Settings, run_id: str, between: str, *, quiet: bool
) -> dict[str, Any]:
    """Print a patch, unless `quiet`; return it with the files that it changes."""
    run, home = await find_run(settings, run_id)
    old, new = ends(run, between)

    async def address(_: object) -> Remote:
        return Remote(run.repository.url)

    bench = Workbench(home, address, Identity("orchestrate", "orchestrate@localhost"))
    found = await bench.compare(run, old, new, limit=100_000_000)
    if not quiet:
        Console(highlight=False, markup=False).out(found.patch, end="")
    files = [
        {"path": f.path, "status": f.status, "added": f.added, "deleted": f.deleted}
        for f in found.files
    ]
    return {"run": run.id, "old": old, "new": new, "files": files, "patch": found.patch}


async def verify_run(settings: Settings, run_id: str, *, quiet: bool) -> list[str]:
    """Check a run's record in its mirror; print what is wrong, unless `quiet`."""
    run, home = await find_run(settings, run_id)
    mirror = Mirror(home / "mirrors" / f"{run.repository.id}.git")
    problems = await asyncio.to_thread(ledger.verify, mirror, run.id)
    if not quiet:
        lines = problems or [f"The record of run {run.id} is whole."]
        Console(highlight=False).print("\n".join(lines))
    return problems


def _say_next(console: Console, run: Run) -> None:
    if run.state is State.AWAITING_REVIEW:
        console.print(f"  Look at it: orchestrate diff {run.id}   (branch {run.branch})")
        console.print(f"  Decide:     orchestrate approve {run.id}   or rollback, undo, reject")
    elif run.state is State.AWAITING_APPROVAL:
        console.print(f"  Decide:     orchestrate approve {run.id}   or reject {run.id} WHY")


def plain(text: str) -> str:
    """Take the code marks out of a text for the terminal."""
    return text.replace("`", "")
