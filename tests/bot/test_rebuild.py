"""A server that was lost with its database, and another that goes on from the repositories."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from bot.app import Server
from bot.events import Event
from bot.git import ledger
from bot.git.overlay import mounts_below, unmount
from bot.hub import Hub, seed, serve
from bot.local import DATABASE, reading
from bot.runs.model import Run
from bot.runs.transitions import State
from bot.serve import listen
from bot.settings import Settings
from tests.bot.test_local import Place
from tests.handlers.test_strangers import fork_of, strange
from tests.support.commands import Command
from tests.support.world import AGENT, CONFIG, KEPT, Repo, World, yaml_of

PATIENCE = 120.0
"""Seconds until what must happen counts as not happening."""
LOOK = 0.1
"""How often it is looked, in seconds."""

LATER = 'if [ "$ORCHESTRATE_TURN" != 1 ]; then echo good > good.txt; exit 0; fi; '
SLOW = 'if [ "$ORCHESTRATE_TURN" = 2 ]; then sleep 300; fi; echo more >> notes.txt'
AGENTS = {
    "writer": {"command": AGENT},
    "idle": {"command": LATER + "true"},
    "slow": {"command": SLOW},
}
"""Agents: one that works, one that begins to in its second turn, one whose second turn is long."""


CHECKS = [{"name": "notes", "run": "echo looked; test -s notes.txt"}]


@dataclass(slots=True)
class Town:
    """A hub with people, and a server in a process of its own, which may be lost."""

    world: World
    environment: dict[str, str]
    process: Command | None = None

    @property
    def data(self) -> Path:
        return Path(self.environment["ORCHESTRATE_DATA_DIR"])

    def orchestrate(self, *args: str, **more: Any) -> Command:
        """Begin a command of whoever runs the server."""
        return Command(args, env=self.environment, start_new_session=True, text=True, **more)

    async def json(self, *args: str) -> tuple[int, Any]:
        """Run a command with `--json`; its exit code and the object."""
        process = self.orchestrate(*args, "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
        assert out, err
        return process.returncode, json.loads(out)

    async def start(self) -> None:
        """Start the server, and wait until it takes work."""
        with (self.world.folder / "serve.log").open("ab") as log:
            self.process = self.orchestrate("serve", stdout=log, stderr=log)
        await self.until(self._is_ready)

    async def _is_ready(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            url = f"http://127.0.0.1:{self.environment['ORCHESTRATE_PORT']}/readyz"
            return (await self.world.client.get(url)).status_code == 200
        return False

    def kill(self) -> None:
        """Kill the server and all it started."""
        process, self.process = self.process, None
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def lose(self, *, mirrors: bool) -> None:
        """Lose the server's database; with `mirrors` everything that it had."""
        self.kill()
        if mirrors:
            self.unmount()
            shutil.rmtree(self.data)
        for file in self.data.glob("orchestrate*.db*"):
            file.unlink()

    def unmount(self) -> None:
        """Take away what the killed server left mounted, as the end of a machine does."""
        for mounted in mounts_below(self.data):
            unmount(mounted)

    async def until(self, holds: Callable[[], Any]) -> Any:
        """Wait for something."""
        async with asyncio.timeout(PATIENCE):
            while True:
                found = await holds()
                if found:
                    return found
                await asyncio.sleep(LOOK)

    async def runs(self) -> dict[str, Run]:
        """The runs of the database, by id."""
        async with reading(self.data) as store:
            return {run.id: run for run in await store.all()}

    async def events(self, run: str) -> list[Event]:
        """The record of a run in the database."""
        async with reading(self.data) as store:
            return await store.events(run)

    async def settled(self, repo: Repo, issue: int, *states: State) -> Run:
        """Wait until the run of an issue stands in one of `states`, and everything is drawn."""

        async def run() -> Run | None:
            await self.world.hub.settled()
            found = await store.of_thread(repo.id, issue)
            here = [each for each in found[:1] if each.state in states and not each.active]
            return None if not here or await store.dirty() else here[0]

        async with reading(self.data) as store:
            return cast(Run, await self.until(run))

    async def started(self, repo: Repo, request: str, *states: State) -> tuple[int, Run]:
        """Start a run on an issue of its own."""
        issue = await repo.person("writer").issue(f"Issue: {request}")
        await repo.person("writer").comment(issue, f"/orchestrate {request}")
        return issue, await self.settled(repo, issue, *states)

    async def seen(self, repo: Repo) -> Counter[str]:
        """What stands on the hub, counted: comments, pull requests and check runs, by kind."""
        found: Counter[str] = Counter()
        for pull in await repo.pulls():
            found[f"pull request of {pull['head']['ref']}, {pull['state']}"] += 1
            for check in await repo.checks(pull["head"]["sha"], "all"):
                shown = f"{check['name']} {check['status']} {check['conclusion']}"
                found[f"check {check['external_id']}: {shown}, {check['output']['text']}"] += 1
        for issue in await repo.person("reader").get("/issues?state=all&per_page=100"):
            for comment in await repo.person("reader").comments(issue["number"]):
                first = comment["body"].split("\n")[0]
                found[f"#{issue['number']} {comment['user']['login']}: {first}"] += 1
        return found


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    with contextlib.closing(listen("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    hub = Hub(tmp_path / "hub", hourly_limit=1_000_000)
    credentials = await seed(
        hub, webhook_url=f"http://127.0.0.1:{port}/webhook", files={"README.md": "# Widgets\n"}
    )
    async with serve(hub):
        environment = {
            **os.environ,
            "ORCHESTRATE_DATA_DIR": str(tmp_path / "bot"),
            "ORCHESTRATE_GITHUB_API_URL": hub.api_url,
            "ORCHESTRATE_APP_ID": str(credentials.app_id),
            "ORCHESTRATE_PRIVATE_KEY": credentials.private_key,
            "ORCHESTRATE_WEBHOOK_SECRET": credentials.webhook_secret,
            "ORCHESTRATE_WRITE_SPACING_SECONDS": "0",
            "ORCHESTRATE_GATHER_SECONDS": "0.02",
            "ORCHESTRATE_RECONCILE_MINUTES": "0.1",
            "ORCHESTRATE_PORT": str(port),
        }
        async with httpx.AsyncClient(timeout=30, trust_env=False, limits=KEPT) as client:
            made = World(hub, credentials, cast(Server, None), tmp_path, client)
            town = Town(made, environment)
            try:
                await town.start()
                yield town
            finally:
                town.kill()
                town.unmount()


WAITS = (State.AWAITING_REVIEW, State.AWAITING_APPROVAL, State.BLOCKED)


async def approve(town: Town, repo: Repo, run: Run) -> Run:
    """Approve a run's head and wait for the merge."""
    assert run.issue
    await repo.person("maintainer").comment(run.issue, f"/approve {run.head}")
    return await town.settled(repo, run.issue, State.DONE)


@pytest.mark.slow
@pytest.mark.parametrize("mirrors", [False, True], ids=["database", "everything"])
async def test_runs_in_every_state_come_back_and_go_on(town: Town, mirrors: bool) -> None:
    repo = await town.world.repository({"agents": AGENTS, "checks": CHECKS})
    writer, maintainer = repo.person("writer"), repo.person("maintainer")

    merged, run = await town.started(repo, "merge this --agent writer", *WAITS)
    await approve(town, repo, run)
    cancelled, _ = await town.started(repo, "cancel this --agent writer", *WAITS)
    await writer.comment(cancelled, "/cancel")
    await town.settled(repo, cancelled, State.CANCELLED)
    review, _ = await town.started(repo, "review this --agent writer", *WAITS)
    await writer.comment(review, "/undo")
    await town.settled(repo, review, State.AWAITING_REVIEW)
    blocked, _ = await town.started(repo, "block this --agent idle", State.BLOCKED)
    planned, _ = await town.started(repo, "plan this --agent writer --plan", *WAITS)
    paused, _ = await town.started(repo, "pause this --agent slow", *WAITS)
    await writer.comment(paused, "/pause")
    await town.settled(repo, paused, State.PAUSED)
    forged, _ = await town.started(repo, "forge this --agent writer", *WAITS)
    working, run = await town.started(repo, "work on this --agent slow", *WAITS)
    assert run.pull_request
    await writer.comment(run.pull_request, "/orchestrate more of it")

    async def at_work() -> bool:
        """Whether a turn has begun, and the record knows it, which is written as runs are drawn."""
        async with reading(town.data) as store:
            runs = await store.all()
            return any(run.turn_open for run in runs) and not await store.dirty()

    await town.until(at_work)
    before = await town.runs()
    records = {id: await town.events(id) for id in before}
    by_issue = {run.issue: id for id, run in before.items()}
    town.lose(mirrors=mirrors)
    shown = await town.seen(repo)
    forge(repo, by_issue[forged])

    code, outcome = await town.json("rebuild")
    assert code == 1
    [problem] = outcome["problems"]
    assert problem["run"] == by_issue[forged]
    assert any("Event 1 stands again" in reason for reason in problem["reasons"])
    assert {each["run"] for each in outcome["restored"]} == before.keys() - {by_issue[forged]}

    # At rest they are as they were, row and record; what was at work is stopped.
    after = await town.runs()
    for id in before.keys() - {by_issue[forged], by_issue[working]}:
        assert after[id].model_dump() == before[id].model_dump()
        assert await town.events(id) == records[id]
    now = after[by_issue[working]]
    expected = State.AWAITING_REVIEW if mirrors else State.PAUSED
    assert (now.state, now.work, now.active) == (expected, None, False)
    assert now.checkpoints == before[now.id].checkpoints
    stopped = [each["run"] for each in outcome["restored"] if each["stopped"]]
    assert stopped == ([] if mirrors else [now.id])
    assert "was rebuilt" in now.reason or mirrors

    # Once more is harmless.
    code, again = await town.json("rebuild")
    assert (code, again["restored"]) == (1, [])
    assert set(again["known"]) == after.keys()
    assert await town.runs() == after

    await town.start()
    await town.settled(repo, review, State.AWAITING_REVIEW)
    assert same(await town.seen(repo), shown)
    if mirrors:
        # Of what was asked last nothing is recorded, so it is read on GitHub as if asked now.
        await town.until(at_work)
    else:
        assert (await town.runs())[now.id].state is State.PAUSED
    decisions = 0
    for id in after:
        code, verified = await town.json("verify", id)
        assert (code, verified["problems"]) == (0, [])
        decisions += verified["decisions"]
    assert decisions

    # And they go on, by comments.
    await approve(town, repo, after[by_issue[review]])
    await writer.comment(blocked, "/resume")
    await approve(town, repo, await town.settled(repo, blocked, State.AWAITING_REVIEW))
    await maintainer.comment(planned, "/approve")
    await approve(town, repo, await town.settled(repo, planned, State.AWAITING_REVIEW))
    if not mirrors:
        await writer.comment(working, "/resume")
        run = await town.settled(repo, working, State.AWAITING_REVIEW)
        assert run.turns > now.turns  # the lost turn is not repeated, the next one is a new one
    await writer.comment(paused, "/resume")
    await approve(town, repo, await town.settled(repo, paused, State.AWAITING_REVIEW))
    found = await town.seen(repo)
    assert max(count for name, count in found.items() if name.startswith("pull")) == 1
    assert max(count for name, count in found.items() if "<!-- orchestrate:run" in name) == 1
    assert max(count for name, count in found.items() if name.startswith("check")) == 1
    assert merged


async def test_a_server_that_takes_no_such_refs_is_rebuilt_from_branches(town: Town) -> None:
    town.world.hub.faults.refuse_refs("refs/orchestrate/")
    repo = await town.world.repository()
    issue, run = await town.started(repo, "add a note", State.AWAITING_REVIEW)

    async def is_published() -> str:
        return git(repo, "for-each-ref", "--format=%(refname)", "refs/heads/orchestrate-records/")

    assert await town.until(is_published) == ledger.branch_of(run.id)
    assert git(repo, "for-each-ref", "refs/orchestrate/") == ""
    town.lose(mirrors=True)
    code, outcome = await town.json("rebuild")
    assert (code, outcome["ok"], outcome["problems"]) == (0, True, [])
    assert (await town.runs())[run.id] == run
    await town.start()
    await approve(town, repo, run)
    code, verified = await town.json("verify", run.id)
    assert (code, verified["problems"]) == (0, [])
    assert verified["events"] == verified["published"]
    assert issue


async def test_what_github_does_not_confirm_of_a_record_does_not_count(town: Town) -> None:
    """Somebody who may push writes the second approval into the record while the server is lost."""
    repo = await town.world.repository({"approval": {"required": 2}})
    issue, run = await town.started(repo, "add a note", State.AWAITING_REVIEW)
    maintainer = repo.person("maintainer")
    await maintainer.comment(issue, "/delegate @writer")
    given = await maintainer.comment(issue, f"/approve {run.head}")

    async def is_published() -> bool:
        return '"approved"' in git(repo, "show", f"{ledger.ref_of(run.id)}:{ledger.EVENTS}")

    await town.until(is_published)
    run = (await town.runs())[run.id]
    town.lose(mirrors=True)
    forge(repo, run.id, id=f"comment:{given}:2", seq=run.seq + 1, actor="admin")
    code, outcome = await town.json("rebuild")
    assert (code, outcome["problems"]) == (0, [])
    (restored,) = outcome["restored"]
    (said,) = restored["unconfirmed"]
    assert f"does not confirm that `admin` approved `{run.head[:7]}`" in said
    after = (await town.runs())[run.id]
    assert [each.by for each in after.approvals] == ["maintainer"]
    assert [each.to for each in after.delegates] == ["writer"]

    await town.start()
    await town.settled(repo, issue, State.AWAITING_REVIEW)
    (status,) = [
        each["body"]
        for each in await maintainer.comments(issue)
        if each["body"].startswith("<!-- orchestrate:run:")
    ]
    assert "does not confirm that `admin` approved" in status
    # The one that is true counts still, and once: there is one to come.
    await maintainer.comment(issue, f"/approve {run.head}")

    async def is_answered() -> bool:
        comments = await maintainer.comments(issue)
        return any("needs 1 more approval" in each["body"] for each in comments[-1:])

    await town.until(is_answered)
    await repo.person("admin").comment(issue, f"/approve {run.head}")
    await town.settled(repo, issue, State.DONE)


async def test_neither_a_plan_nor_who_asked_is_taken_from_a_record_alone(town: Town) -> None:
    """Somebody forges the approval of a plan; and a comment that a run came from is deleted.

    Of a third run GitHub confirms all: who set its label, and who pushed to its branch.
    """
    repo = await town.world.repository()
    maintainer, writer = repo.person("maintainer"), repo.person("writer")
    planned, run = await town.started(repo, "plan this --plan", State.AWAITING_APPROVAL)
    nobodys, other = await town.started(repo, "add a note", State.AWAITING_REVIEW)
    labelled = await writer.issue("Add a line")
    await writer.label(labelled, "orchestrate")
    known = await town.settled(repo, labelled, State.AWAITING_REVIEW)
    await maintainer.write("mine.txt", "mine\n", branch=known.branch)

    async def is_taken_in() -> bool:
        run = await town.settled(repo, labelled, State.AWAITING_REVIEW)
        return len(run.checkpoints) == 2

    await town.until(is_taken_in)
    town.lose(mirrors=True)
    given = {"of": "plan", "sha": run.head, "tree": run.tree, "plan": "", "how": "command"}
    changes = {"id": "comment:9999:1", "seq": run.seq + 1, "actor": "admin", "type": "approved"}
    forge(repo, run.id, **changes, data=given)
    (asked,) = [
        each["id"]
        for each in await writer.comments(nobodys)
        if each["body"].startswith("/orchestrate")
    ]
    await writer.request("DELETE", f"/issues/comments/{asked}")
    code, outcome = await town.json("rebuild")
    assert (code, outcome["problems"]) == (0, [])
    said = {each["run"]: (each["state"], *each["unconfirmed"]) for each in outcome["restored"]}
    assert said[known.id] == ("awaiting_review",)
    state, plan = said[run.id]
    assert state == "awaiting_approval"
    assert "does not confirm that `admin` approved the plan" in plan
    state, requester = said[other.id]
    assert state == "awaiting_review"
    assert "`writer` asked for this run" in requester
    assert "the comment that it began by is gone" in requester

    await town.start()
    await town.settled(repo, planned, State.AWAITING_APPROVAL)

    async def answer(issue: int, words: str) -> str:
        before = await repo.replies(issue)
        await maintainer.comment(issue, words)

        async def is_there() -> list[str]:
            return (await repo.replies(issue))[len(before) :]

        return cast(str, (await town.until(is_there))[-1])

    assert "`/approve` starts the work" in await answer(planned, "/resume")
    assert "approved the plan" in (await repo.status_comments(planned))[0]
    refused = await answer(nobodys, f"/approve {other.head}")
    assert "maintainer may have had a part in this change" in refused
    assert "Merge the pull request on GitHub by hand, or `/cancel`" in refused

    await maintainer.comment(planned, "/approve")
    run = await town.settled(repo, planned, State.AWAITING_REVIEW)
    assert "approved the plan" not in (await repo.status_comments(planned))[0]
    await approve(town, repo, run)
    # The way out of the other: their right on GitHub is nobody else's to give.
    assert other.pull_request
    await maintainer.merge(other.pull_request)
    await town.settled(repo, nobodys, State.DONE)


async def test_what_a_record_says_of_strangers_and_of_checks_is_asked_again(town: Town) -> None:
    """Whoever may push may write into a record that somebody trusted, and that checks passed."""
    repo = await town.world.repository({"trust": "agents"})
    issue, run = await town.started(repo, "add a note", State.AWAITING_REVIEW)
    number, head = await strange(repo, fork := await fork_of(repo))
    maintainer = repo.person("maintainer")
    await maintainer.comment(number, f"/orchestrate trust {head}")
    await town.settled(repo, number, State.DONE)
    await maintainer.comment(number, "/orchestrate add a note")
    theirs = await town.settled(repo, number, State.AWAITING_REVIEW)
    town.lose(mirrors=True)
    code, outcome = await town.json("rebuild")
    assert (code, outcome["problems"], len(outcome["restored"])) == (0, [], 3)
    await town.start()

    # A commit of a stranger's is not worked on, nor merged, on the word of a record.
    after = await town.settled(repo, number, State.CANCELLED)
    assert (after.id, after.head, after.onto) == (theirs.id, theirs.head, theirs.onto)
    assert "asks again for the word of who trusts this commit" in after.reason
    assert (await repo.pull(theirs.pull_request or 0))["state"] == "closed"
    # GitHub has that word: the one who gave it, unedited, who still may.
    await repo.person("writer").comment(number, "/orchestrate add a note again")
    await town.until(lambda: _is_newer(town, repo, number, theirs))
    after = await town.settled(repo, number, State.AWAITING_REVIEW)
    assert repo.git("rev-parse", f"{after.head}^") == head
    await approve(town, repo, after.model_copy(update={"issue": number}))
    assert repo.file("main", "strange.txt") == "strange"
    assert fork.git("rev-parse", "strange") == head

    # The check is red now, whatever was recorded of it.
    check = {"name": "notes", "run": "echo looked; exit 1"}
    text = yaml_of({**CONFIG, "checks": [check]})
    await maintainer.write(".github/orchestrate.yml", text, branch="main")
    await maintainer.comment(issue, f"/approve {run.head}")
    blocked = await town.settled(repo, issue, State.BLOCKED)
    assert "`notes` fails on" in blocked.reason
    assert (await repo.pull(run.pull_request or 0))["merged"] is False


async def _is_newer(town: Town, repo: Repo, number: int, than: Run) -> bool:
    async with reading(town.data) as store:
        return (await store.of_thread(repo.id, number))[0].id != than.id


async def test_what_was_changed_in_the_database_or_at_the_remote_is_named(town: Town) -> None:
    repo = await town.world.repository()
    _, run = await town.started(repo, "add a note", State.AWAITING_REVIEW)
    town.kill()
    code, verified = await town.json("verify", run.id)
    assert (code, verified["ok"]) == (0, True)
    database = sqlite3.connect(town.data / DATABASE)
    with contextlib.closing(database), database:
        database.execute("UPDATE events SET body = json_set(body, '$.actor', 'x') WHERE seq = 2")
        database.execute("DELETE FROM events WHERE seq = 4")
    code, verified = await town.json("verify", run.id)
    assert code == 1
    assert verified["problems"] == [
        "Event 2 is another in the database than in the record.",
        "Event 4 of the record is missing in the database.",
        f"The record has {run.seq} events, the database {run.seq - 1}.",
    ]
    forge(repo, run.id)
    code, verified = await town.json("verify", run.id)
    where = f"`{ledger.ref_of(run.id)}` at {repo.name}"
    assert f"{where} goes on to event" in " ".join(verified["problems"])
    # What is on this machine can be verified without the App's key, but not all of it.
    town.environment["ORCHESTRATE_APP_ID"] = ""
    code, verified = await town.json("verify", run.id)
    assert code == 1
    assert "could not be looked at: ORCHESTRATE_APP_ID must be set" in verified["problems"][0]


async def test_a_merge_waits_while_the_record_there_is_anothers(town: Town) -> None:
    repo = await town.world.repository()
    issue, run = await town.started(repo, "add a note", State.AWAITING_REVIEW)
    published = git(repo, "rev-parse", ledger.ref_of(run.id))
    forge(repo, run.id)
    forged = git(repo, "rev-parse", ledger.ref_of(run.id))
    await repo.person("maintainer").comment(issue, f"/approve {run.head}")
    run = await town.settled(repo, issue, State.BLOCKED)
    assert run.reason.startswith(f"The record of run {run.id} at the remote is damaged")
    assert git(repo, "rev-parse", ledger.ref_of(run.id)) == forged
    git(repo, "update-ref", ledger.ref_of(run.id), published)
    await repo.person("writer").comment(issue, "/resume")
    await approve(town, repo, await town.settled(repo, issue, State.AWAITING_REVIEW))


async def test_a_run_that_could_not_begin_is_rebuilt_as_well(town: Town) -> None:
    repo = await town.world.repository({}, {".github/orchestrate.yml": "checks: 7\n"})
    issue, run = await town.started(repo, "add a note --agent writer", State.BLOCKED)
    assert not run.base_sha
    town.lose(mirrors=True)
    code, _ = await town.json("rebuild")
    assert code == 0
    assert (await town.runs())[run.id] == run
    await town.start()
    await repo.person("admin").write(
        ".github/orchestrate.yml", yaml_of(CONFIG), branch="main", message="Mend"
    )
    await repo.person("writer").comment(issue, "/resume")
    await town.settled(repo, issue, State.AWAITING_REVIEW)


async def test_a_rebuild_that_was_killed_is_gone_on_with(town: Town) -> None:
    repo = await town.world.repository()
    runs = [(await town.started(repo, f"note {n}", State.AWAITING_REVIEW))[1] for n in range(3)]
    town.lose(mirrors=True)
    process = town.orchestrate("rebuild", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr
    with process.stderr as told:
        first = await asyncio.to_thread(lambda: [told.readline(), told.readline()][1])
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    code, outcome = await town.json("rebuild")
    assert code == 0, outcome
    assert first.split(":")[0].strip() in outcome["known"]
    found = [each["run"] for each in outcome["restored"]] + outcome["known"]
    assert sorted(found) == sorted(run.id for run in runs)
    assert await town.runs() == {run.id: run for run in runs}


# -- repositories of this machine


@pytest.fixture
def local(tmp_path: Path) -> Place:
    made = Place(tmp_path / "tool", Settings(data_dir=tmp_path / "data"))
    made.folder.mkdir()
    made.git("init", "--quiet", "--initial-branch=main")
    for key, value in (("user.name", "Ada"), ("user.email", "ada@example.com")):
        made.git("config", key, value)
    (made.folder / "a.txt").write_text("one\n")
    made.git("add", ".")
    made.git("commit", "--quiet", "--message=first")
    made.git("checkout", "--quiet", "--detach")
    return made


GIVEN = ("--base", "main", "--agent-command", "echo x >> a.txt", "--check", "grep -q x a.txt")


def test_local_runs_are_rebuilt_from_the_repository(local: Place) -> None:
    _, run = local.json("run", "Add x", *GIVEN)
    _, cancelled = local.json("run", "Add x again", *GIVEN)
    local.json("cancel", cancelled["run"])
    shown = local.json("show", run["run"])[1]
    shutil.rmtree(local.settings.data_dir)
    code, outcome = local.json("rebuild", "--repo", str(local.folder))
    assert (code, outcome["known"], outcome["problems"]) == (0, [], [])
    states = {each["run"]: each["state"] for each in outcome["restored"]}
    assert states == {run["run"]: "awaiting_review", cancelled["run"]: "cancelled"}
    assert local.json("show", run["run"])[1]["events"] == shown["events"]
    code, out, err = local.orchestrate("rebuild", "--repo", str(local.folder))
    assert (code, out) == (0, "Restored: 0. In the database already: 2.\n"), err
    code, approved = local.json("approve", run["run"])
    assert (code, approved["merged"]) == (0, True)
    assert local.json("verify", run["run"])[1]["ok"]


def test_local_runs_come_along_when_their_repository_is_moved(local: Place) -> None:
    _, run = local.json("run", "Add x", *GIVEN)
    local.folder = local.folder.rename(local.folder.with_name("moved"))
    code, outcome = local.json("rebuild", "--repo", str(local.folder))
    assert (code, [each["run"] for each in outcome["restored"]]) == (0, [run["run"]])
    code, approved = local.json("approve", run["run"])
    assert (code, approved["merged"]) == (0, True)
    assert approved["repository_dir"] == str(local.folder)
    assert len(local.json("runs")[1]["runs"]) == 1


def test_where_there_is_nothing_to_rebuild_that_is_said(local: Place, tmp_path: Path) -> None:
    code, outcome = local.json("rebuild", "--repo", str(local.folder))
    assert (code, outcome["ok"], outcome["restored"]) == (0, True, [])
    code, out, err = local.orchestrate("rebuild", "--repo", str(tmp_path))
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    code, out, err = local.orchestrate("rebuild")
    assert (code, out) == (1, "")
    assert "ORCHESTRATE_APP_ID" in err


def same(found: Counter[str], shown: Counter[str]) -> bool:
    """Whether the same stands there; what was in progress when the server was lost is concluded."""
    concluded = {
        name.replace("in_progress None", "completed cancelled"): count
        for name, count in shown.items()
    }
    assert found == Counter(concluded), (found - shown, shown - found)
    return True


def forge(repo: Repo, run: str, **changes: Any) -> None:
    """Put an event of one's own on top of a published record, as anyone who may push can."""
    ref = ledger.ref_of(run)
    line = git(repo, "show", f"{ref}:{ledger.EVENTS}").splitlines()[-1]
    event = {**json.loads(line), "id": "forged", "seq": 1, "actor": "writer", **changes}
    blob = git(repo, "hash-object", "-w", "--stdin", given=ledger.line_of(event).decode())
    tree = git(repo, "mktree", given=f"100644 blob {blob}\t{ledger.EVENTS}\n")
    identity = ("-c", "user.name=W", "-c", "user.email=w@example.org")
    sha = git(repo, *identity, "commit-tree", "-p", ref, "-m", "forged", tree)
    git(repo, "update-ref", ref, sha)


def git(repo: Repo, *args: str, given: str = "") -> str:
    """Run git in the repository itself, as its own server could."""
    command = ["git", "--git-dir", str(repo.git_dir), *args]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    return done.stdout.strip()
