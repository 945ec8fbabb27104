"""Runs of every kind as people have them at a hub, and whether what is left of them is whole.

A story is told on a repository of its own by `Scene`, which asks the hub as people do. `portrait`
counts what GitHub shows in the end: a run that met kills and faults shows what an undisturbed one
does, or something was lost or doubled. `flaws` is what must never be, disturbed or not.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import subprocess
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bot.git import ledger
from bot.git.repository import Mirror
from bot.git.verify import verify
from bot.hub import Hub
from bot.hub.records import Repository
from tests.support.world import KEPT, yaml_of

BOT = "orchestrate[bot]"

LOOK_SECONDS = 0.1
"""How often people look at the hub."""

TLS = ssl.create_default_context()
"""Made once: it reads every certificate of the machine, which takes 20 ms."""

READY = r"\*\*Ready for review.* merges exactly \[?`(\w+)`"

DECISIONS = frozenset(
    {
        *("requested", "started", "planned", "pull_request_opened", "changes_asked", "approved"),
        *("rejected", "paused", "resumed", "rollback_asked", "merged", "cancelled"),
        *("blocked", "failed"),
    }
)
"""Events that a run has as often when it is disturbed; turns that were cut short are told anew."""

CALLED = "people called"

_NUMBERS = re.compile(r"\b[0-9a-f]{7,40}\b|\d+")
_RUN = re.compile(r"orchestrate:run:[a-z2-7]+|`[a-z2-7]{10}`")


@dataclass(slots=True)
class Scene:
    """A repository at a hub, and the people who use it."""

    hub: Hub
    repo: str
    people: httpx.AsyncClient = field(
        default_factory=lambda: httpx.AsyncClient(verify=TLS, timeout=60, limits=KEPT)
    )

    async def ask(self, login: str, method: str, path: str, json: Any = None) -> Any:
        """Ask the hub as somebody."""
        url = f"{self.hub.api_url}/repos/{self.repo}{path}"
        headers = {"Authorization": f"Bearer user:{login}"}
        answer = await self.people.request(method, url, json=json, headers=headers)
        answer.raise_for_status()
        return answer.json()

    async def read(self, path: str) -> Any:
        """Look at the hub as `reader`."""
        return await self.ask("reader", "GET", path)

    async def issue(self, said: str) -> int:
        """File an issue and give a command there."""
        made = await self.ask("writer", "POST", "/issues", {"title": "Notes"})
        await self.say("writer", made["number"], said)
        return int(made["number"])

    async def say(self, login: str, number: int, body: str) -> None:
        """Comment."""
        await self.ask(login, "POST", f"/issues/{number}/comments", {"body": body})

    async def comments(self, number: int) -> list[str]:
        """What the bot wrote in a conversation."""
        found = await self.read(f"/issues/{number}/comments?per_page=100")
        return [each["body"] for each in found if each["user"]["login"] == BOT]

    async def until_shown(self, number: int, pattern: str) -> re.Match[str]:
        """Wait until a comment of the bot's says so.

        Looked up in the hub's memory: dozens of people who ask all the time would be a load.
        """
        repo = self._record
        while True:
            for each in self.hub.state.comments.where(number=(repo.id, number)):
                by_bot = self.hub.state.users[each.author_id].login == BOT
                if by_bot and (found := re.search(pattern, each.body, re.DOTALL)):
                    return found
            await asyncio.sleep(LOOK_SECONDS)

    async def ready(self, issue: int, *, but: str = "-") -> str:
        """Wait until a head can be reviewed that is not `but`; that head."""
        return (await self.until_shown(issue, READY.replace("(", f"((?!{but})")))[1]

    async def pull(self) -> dict[str, Any]:
        """The one pull request, as GitHub shows it."""
        [found] = await self.read("/pulls?state=all")
        made: dict[str, Any] = found
        return made

    async def approved(self, issue: int, head: str) -> None:
        """Approve a head, and wait until it is merged."""
        await self.say("maintainer", issue, f"/approve {head}")
        await self.until_shown(issue, r"\*\*Done")

    # -- what there is

    @property
    def _record(self) -> Repository:
        found = self.hub.repository(self.repo)
        assert found is not None
        return found

    @property
    def git_dir(self) -> Path:
        """The hub's repository."""
        return self.hub.bare(self._record).folder

    def git(self, *args: str) -> str:
        """Ask git about the hub's repository."""
        command = ["git", "--git-dir", str(self.git_dir), *args]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        return done.stdout.strip()

    def review_requests(self) -> set[str]:
        """Each time that somebody was asked for a review, as far back as the hub remembers."""
        return {
            each.guid
            for each in self.hub.state.deliveries
            if each.repository_id == self._record.id and each.action == "review_requested"
        }

    def runs(self) -> list[str]:
        """The runs whose record is published."""
        refs = self.git("for-each-ref", "--format=%(refname)", "refs/orchestrate/").split()
        return [each.rpartition("/")[2] for each in refs]

    def record(self) -> list[dict[str, Any]]:
        """The run's record, as the hub has it."""
        found = self.runs()
        return ledger.read(Mirror(self.git_dir), found[0]) if found else []

    async def until_recorded(self, kind: str) -> None:
        """Wait until an event of a kind is in the published record."""
        seen: list[bytes] = []
        while True:
            refs = [each.read_bytes() for each in self.git_dir.glob("refs/orchestrate/*")]
            if refs != seen and kind in [each["type"] for each in self.record()]:
                return
            seen = refs
            await asyncio.sleep(LOOK_SECONDS)

    async def go_on_schedule(self) -> None:
        """Merge whatever the clock has begun, for ever."""
        while True:
            for pull in await self.read("/pulls?state=open"):
                if not pull["draft"]:
                    number = pull["number"]
                    await self.say("maintainer", number, f"/approve {pull['head']['sha']}")
                    await self.until_shown(number, r"\*\*Done")
            await asyncio.sleep(LOOK_SECONDS * 10)


# -- the kinds


Story = Callable[[Scene], Awaitable[None]]
"""What people do from the request to the end."""


async def merged(scene: Scene) -> None:
    """One task, checked, approved and merged."""
    issue = await scene.issue("/orchestrate add a note")
    await scene.approved(issue, await scene.ready(issue))
    await scene.until_recorded("merged")


async def planned(scene: Scene) -> None:
    """A plan that is approved first; the head is approved by a review."""
    issue = await scene.issue("/orchestrate add a note --plan")
    await scene.until_shown(issue, r"\*\*The plan waits for approval")
    await scene.say("maintainer", issue, "/approve")
    await scene.ready(issue)
    number = (await scene.pull())["number"]
    await scene.ask("maintainer", "POST", f"/pulls/{number}/reviews", {"event": "APPROVE"})
    await scene.until_shown(issue, r"\*\*Done")
    await scene.until_recorded("merged")


async def reviewed(scene: Scene) -> None:
    """A review asks for changes, which a second turn makes."""
    issue = await scene.issue("/orchestrate add a note")
    first = await scene.ready(issue)
    number = (await scene.pull())["number"]
    asked = {"event": "REQUEST_CHANGES", "body": "Another note."}
    await scene.ask("maintainer", "POST", f"/pulls/{number}/reviews", asked)
    await scene.approved(issue, await scene.ready(issue, but=first))
    await scene.until_recorded("merged")


async def rolled_back(scene: Scene) -> None:
    """A second turn that is taken back, to exactly what was there before."""
    issue = await scene.issue("/orchestrate add a note")
    first = await scene.ready(issue)
    number = (await scene.pull())["number"]
    await scene.say("writer", number, "/orchestrate another note")
    second = await scene.ready(issue, but=first)
    await scene.say("writer", number, f"/rollback {first}")
    third = await scene.ready(issue, but=second)
    await scene.approved(issue, third)
    await scene.until_recorded("merged")
    assert not scene.git("diff", first, third), "what was rolled back to is what is there"


async def paused(scene: Scene) -> None:
    """Paused, resumed, and cancelled in the end."""
    issue = await scene.issue("/orchestrate add a note")
    await scene.ready(issue)
    await scene.say("writer", issue, "/pause")
    await scene.until_shown(issue, r"\*\*Paused")
    await scene.say("writer", issue, "/resume")
    await scene.ready(issue)
    await scene.say("writer", issue, "/cancel")
    await scene.until_shown(issue, r"\*\*Cancelled")
    await scene.until_recorded("cancelled")


async def unchecked(scene: Scene) -> None:
    """One task of a repository without checks."""
    await merged(scene)


KINDS: dict[str, Story] = {
    each.__name__: each for each in (merged, planned, reviewed, rolled_back, paused, unchecked)
}

TURNS = 20
"""As many as a repository may allow: each kill may cost one."""


def files_of(kind: str, marker: str, pause: str = "", **more: Any) -> dict[str, str]:
    """The repository of a story: one agent, which adds a line in each turn, and a check."""
    agent = f"cat > /dev/null; echo begun; {pause}echo {marker} >> notes.txt; echo written"
    check = {"name": "notes", "run": f": {marker}; echo looking; test -s notes.txt"}
    config = {
        "agents": {"writer": {"command": agent}},
        "checks": [] if kind == "unchecked" else [check],
        "limits": {"turns": TURNS},
        **more,
    }
    return {"notes.txt": "first\n", ".github/orchestrate.yml": yaml_of(config)}


# -- what is left


async def portrait(scene: Scene) -> Counter[str]:
    """Count what GitHub shows of a repository's run, without what differs from run to run."""
    seen: Counter[str] = Counter()
    for issue in await scene.read("/issues?state=all&per_page=100"):
        where = "pull request" if "pull_request" in issue else "issue"
        seen[f"{where} {issue['state']} {sorted(label['name'] for label in issue['labels'])}"] += 1
        for comment in await scene.read(f"/issues/{issue['number']}/comments?per_page=100"):
            if comment["user"]["login"] == BOT and _is_call(comment["body"]):
                seen[CALLED] += 1
                continue
            if comment["user"]["login"] == BOT:
                seen[f"{where}: {_kind_of(comment['body'])}"] += 1
                continue
            given = await scene.read(f"/issues/comments/{comment['id']}/reactions")
            for each in given:
                seen[f"{comment['body'].split()[0]}: {each['content']}"] += 1
    for pull in await scene.read("/pulls?state=all"):
        seen[f"pull request {'merged' if pull['merged_at'] else pull['state']}"] += 1
        seen[f"title {_plain(pull['title'])}"] += 1
        for each in await _checks(scene, pull["head"]["sha"]):
            seen[f"check {each['name']}: {each['conclusion']}"] += 1
    seen[CALLED] += len(scene.review_requests())
    seen["landed"] = len(scene.git("rev-list", "--first-parent", "main").split())
    seen["branches"] = len(scene.git("for-each-ref", "refs/heads/orchestrate/").splitlines())
    seen["runs"] = len(scene.runs())
    for each in scene.record():
        if each["type"] in DECISIONS:
            seen[f"event {each['type']}"] += 1
    return +seen


def _is_call(body: str) -> bool:
    return ":attention:" in body.split("-->")[0]


def _kind_of(body: str) -> str:
    is_status = "orchestrate:run:" in body.split("-->")[0]
    return "status" if is_status else f"answer {_plain(body)[:60]}"


def _plain(text: str) -> str:
    return _NUMBERS.sub("N", _RUN.sub("R", text))


async def _checks(scene: Scene, sha: str) -> list[dict[str, Any]]:
    path = f"/commits/{sha}/check-runs?filter=all&per_page=100"
    found: list[dict[str, Any]] = (await scene.read(path))["check_runs"]
    return found


def difference(whole: Counter[str], left: Counter[str]) -> tuple[list[str], list[str]]:
    """Compare with an undisturbed run's portrait: what is missing, and what is there too often.

    A call that a kill swallowed may be missing: nobody is called twice, and the status says it.
    """
    lost = whole - left
    doubled = left - whole
    del lost[CALLED]
    told = [sorted(f"{each} x{count}" for each, count in side.items()) for side in (lost, doubled)]
    return told[0], told[1]


async def flaws(scene: Scene) -> list[str]:
    """Name what is wrong whatever happened: records with gaps, checks or commits that are twice."""
    wrong: list[str] = []
    for run in scene.runs():
        mirror = Mirror(scene.git_dir)
        wrong += [f"record: {each}" for each in verify(mirror, run)]
        events = ledger.read(mirror, run)
        wrong += _flaws_of(events)
        wrong += await _commits(scene, events)
    return wrong


def _flaws_of(events: list[dict[str, Any]]) -> list[str]:
    wrong = []
    numbers = [each["seq"] for each in events]
    if numbers != list(range(1, len(events) + 1)):
        wrong.append(f"the record's numbers: {numbers}")
    twice = [id for id, count in Counter(each["id"] for each in events).items() if count > 1]
    if twice:
        wrong.append(f"events twice: {twice}")
    kinds = Counter(each["type"] for each in events)
    if kinds["turn_started"] != kinds["turn_ended"]:
        wrong.append(f"turns: {kinds['turn_started']} begun, {kinds['turn_ended']} ended")
    return wrong


async def _commits(scene: Scene, events: list[dict[str, Any]]) -> list[str]:
    """Each checkpoint is one commit after the other, and no check stands twice on one."""
    wrong = []
    made = [each["data"] for each in events if each["type"] == "checkpointed"]
    if not made:
        return []
    base = next(each["data"]["base_sha"] for each in events if each["type"] == "started")
    listed = scene.git("rev-list", "--reverse", f"{base}..{made[-1]['sha']}").split()
    if listed != [each["sha"] for each in made]:
        wrong.append(f"commits {listed} for checkpoints {[each['sha'] for each in made]}")
    trees = [each["data"]["tree"] for each in events
             if each["type"] == "turn_ended" and each["data"].get("tree")]  # fmt: skip
    by_turns = [each["tree"] for each in made if each["kind"] in ("agent", "interrupted")]
    if trees != by_turns:
        wrong.append(f"turns left {trees}, of which there are {by_turns}")
    for each in made:
        found = await _checks(scene, each["sha"])
        names = Counter(check["external_id"] or check["name"] for check in found)
        wrong += [f"check {name} x{count}" for name, count in names.items() if count > 1]
        open_ = [check["name"] for check in found if check["status"] != "completed"]
        wrong += [f"check {name} never ends" for name in open_]
    return wrong


def unmount(folder: Path) -> None:
    """Do what the next process does in the folder of one that was killed."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in mounts:
        if Path(place).is_relative_to(folder):
            subprocess.run(["umount", "--lazy", place], check=True)
