"""A server that nobody can reach learns by asking, and it comes to the same."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.app import build
from bot.database import open_database
from bot.deliveries import Inbox
from bot.errors import TransientError, UserError
from bot.hub import Hub, seed, serve
from bot.poll import Allowance, Poll, read_interval
from bot.router import Desk
from bot.runs.model import Repository
from bot.runs.store import Store
from bot.runs.transitions import State
from bot.serve import listen
from bot.settings import Settings
from bot.threads import Changes, Installation, LastChange
from tests.support.ports import own_port
from tests.support.world import CONFIG, KEPT, Repo, World, served, settings_of, yaml_of

QUICK = {"poll_seconds": 0.1, "poll_requests_an_hour": 10_000_000}


@dataclass(slots=True)
class Place:
    """A hub, and a bot that is started and stopped beside it."""

    hub: Hub
    settings: Settings
    client: httpx.AsyncClient
    credentials: Any
    folder: Path

    @contextlib.asynccontextmanager
    async def bot(self) -> AsyncIterator[Repo]:
        """The bot for a while; the repository as its users see it."""
        server = await build(self.settings, wait_max=0.2)
        async with served(server, listen("127.0.0.1", self.settings.port)):
            world = World(self.hub, self.credentials, server, self.folder, self.client)
            yield repository_in(world)


def repository_in(world: World) -> Repo:
    found = world.hub.repository("acme/widgets")
    assert found is not None
    return Repo(world, "acme/widgets", found.id)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    hub = Hub(tmp_path / "hub", hourly_limit=1_000_000)
    files = {
        "notes.txt": "first\n",
        "README.md": "# Widgets\n",
        ".github/orchestrate.yml": yaml_of(CONFIG),
    }
    async with contextlib.AsyncExitStack() as stack:
        port = own_port()
        credentials = await seed(hub, webhook_url=f"http://127.0.0.1:{port}/webhook", files=files)
        await stack.enter_async_context(serve(hub))
        client = httpx.AsyncClient(timeout=30, trust_env=False, limits=KEPT)
        await stack.enter_async_context(client)
        settings = settings_of(hub, credentials, tmp_path / "bot", port=port, **QUICK)
        yield Place(hub, settings, client, credentials, tmp_path)


async def test_a_run_goes_from_comment_to_merge_without_any_webhook_and_over_a_restart(
    place: Place,
) -> None:
    place.hub.faults.webhooks("drop", times=None)
    async with place.bot() as repo:
        issue, run = await repo.started()
        assert run.state is State.AWAITING_REVIEW
    pull, writer = run.pull_request or 0, repo.person("writer")
    await writer.comment(pull, "/orchestrate more")  # nobody is there to hear it
    async with place.bot() as repo:
        run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
        theirs = await repo.person("writer").write("mine.txt", "mine\n", branch=run.branch)
        run = await repo.until(issue, lambda run: len(run.checkpoints) == 3 and not run.active)
        assert run.head == theirs
        line = {"body": "/status", "path": "mine.txt", "line": 1, "commit_id": theirs}
        await repo.person("reader").post(f"/pulls/{pull}/comments", {**line, "side": "RIGHT"})
        await repo.person("maintainer").review(pull, "APPROVE")
        run = await repo.until(issue, State.DONE)
        assert run.turns == 2
        assert repo.file("main", "mine.txt") == "mine"
        assert len(await repo.status_comments(issue)) == 1
        (answer,) = await repo.replies(pull)
        assert "Run `" in answer


async def test_webhooks_and_asking_at_once_do_nothing_twice(place: Place) -> None:
    async with place.bot() as repo:
        issue, run = await repo.started()
        pull = run.pull_request or 0
        await repo.person("writer").comment(pull, "/orchestrate more\n\n/status")
        run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
        await repo.person("maintainer").review(pull, "APPROVE")
        run = await repo.until(issue, State.DONE)
        await repo.world.server.poll.look()
        await repo.world.settled()
        assert (await repo.run(issue)).turns == 2
        assert len(await repo.status_comments(issue)) == 1
        assert len(await repo.replies(pull)) == 1
        (ours,) = await repo.pulls()
        assert ours["merged_at"]


async def test_asking_while_nothing_moves_costs_nothing_of_githubs_limit(place: Place) -> None:
    place.hub.faults.webhooks("drop", times=None)
    async with place.bot() as repo:
        poll = repo.world.server.poll
        await poll.stop()
        await poll.look()
        await repo.world.server.learn()  # which a server does soon after its start, and once
        await repo.world.settled()
        token = repo.world.server.github
        before = await _used(token, repo)
        for _ in range(5):
            await poll.look()
        assert await _used(token, repo) == before


async def _used(github: Any, repo: Repo) -> int:
    number = repo.world.credentials.installation_id
    answer = await github.installation(number).get("/rate_limit")
    return int(answer.map()["resources"]["core"]["used"])


# -- what it may cost


@given(
    an_hour=st.integers(1, 5_000),
    spent=st.lists(st.integers(1, 5), min_size=1, max_size=50),
)
def test_no_more_is_asked_in_an_hour_than_is_allowed(an_hour: int, spent: list[int]) -> None:
    now = [0.0]
    allowance = Allowance(an_hour, lambda: now[0])
    for requests in spent:
        now[0] += allowance.wait
        assert allowance.wait <= 1e-6
        allowance.spend(requests)
    # Before the last look, what was spent had its share of the time.
    assert now[0] >= sum(spent[:-1]) * 3600 / an_hour - 1e-6


@pytest.mark.parametrize(("text", "seconds"), [("15s", 15), ("2m", 120), ("0.5h", 1800), ("7", 7)])
def test_an_interval_is_read(text: str, seconds: float) -> None:
    assert read_interval(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "soon", "-3s", "15 parsecs"])
def test_what_is_no_interval_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        read_interval(text)


REPOSITORY = Repository(id=7, owner="acme", name="widgets", installation=3)


@dataclass(slots=True)
class Quiet:
    """A GitHub where nothing moves, as its adapter tells it; the adapter has tests of its own."""

    poll_seconds: float = 0.0
    away: float | None = None
    looks: list[datetime] = field(default_factory=list)

    async def installations(self) -> list[Installation]:
        return [Installation(3, "acme", suspended=False), Installation(4, "gone", suspended=True)]

    async def installation_repositories(self, installation: int) -> list[Repository]:
        assert installation == 3
        return [REPOSITORY]

    async def changed_since(self, _repository: Repository, etag: Any, since: datetime) -> Changes:
        self.looks.append(since)
        if self.away is not None:
            raise TransientError("GitHub is away.", retry_after=self.away)
        return Changes(False, etag, since, poll_seconds=self.poll_seconds)

    async def last_change(self, *_given: Any) -> LastChange:
        return LastChange("", None)


@pytest.mark.parametrize("quiet", [Quiet(poll_seconds=60.0), Quiet(away=60.0)])
async def test_a_repository_is_left_alone_for_as_long_as_github_asks(
    tmp_path: Path, quiet: Quiet
) -> None:
    database = await open_database(f"sqlite:///{tmp_path / 'db'}")
    # Of a desk, asking needs what it reads and where it keeps what it saw.
    desk = cast(Desk, _Desk(quiet, Store(database)))
    poll = Poll(desk, Inbox(database), every=0.01, an_hour=1_000_000)
    for _ in range(3):
        await poll.look()
    assert len(quiet.looks) == 1
    assert (datetime.now(UTC) - quiet.looks[0]).total_seconds() >= 600
    await database.close()


@dataclass(slots=True)
class _Desk:
    threads: Quiet
    store: Store

    def clock(self) -> datetime:
        return datetime.now(UTC)
