"""Where runs are kept: their record, what they are now, and what has been drawn of them.

A run changes only by events, in one transaction with the run that they make. The same event id is
recorded once, so whoever appends may do it again. Here alone a run's data is written, so here the
secrets that the server knows are taken out of it: the ledger and what GitHub shows are copies.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, Select, bindparam, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.database import (
    Database,
    drawings,
    events,
    insert,
    packs,
    repositories,
    results,
    runs,
    turns,
)
from bot.errors import UserError
from bot.events import Event, Type
from bot.redact import Redactor
from bot.runs import queue as lines
from bot.runs.fold import evolve, new_run, rest
from bot.runs.model import Repository, Run
from bot.runs.queue import Queue
from bot.runs.transitions import TERMINAL, State

Decide = Callable[[Run], Sequence[Event]]
"""Looks at a run as it is now and says what happens to it; `UserError` refuses."""

Listener = Callable[[Run], None]


@dataclass(frozen=True, slots=True)
class Change:
    """What another process says of a run that it changed; `scheduled` is whether a schedule's."""

    run: str
    installation: int
    repository: int
    scheduled: bool

    @classmethod
    def of(cls, run: Run) -> Change:
        """Say it of a run that was changed here."""
        repository = run.repository
        is_scheduled = run.source.kind == "schedule"
        return cls(run.id, repository.installation, repository.id, is_scheduled)


WANTING = "wants_configuration"
"""Where it is kept, beside what was seen of a repository, that it is still to be proposed to."""

_KEPT = frozenset({WANTING})


class Store:
    """The runs of a database. `listen` tells of every change made by this process.

    `listen_elsewhere` tells of those made by others, as far as `changed_elsewhere` is told of them.
    What `redactor` knows is never written. `queue` holds those that have work; `clock` counts
    seconds since the epoch.
    """

    def __init__(
        self,
        database: Database,
        redactor: Redactor | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self.redactor = redactor or Redactor()
        self.queue = Queue(database, clock)
        self._listeners: list[Listener] = []
        self._on_schedules: list[Callable[[int], None]] = []
        self._elsewhere: list[Callable[[Change], None]] = []

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each changed run; the result ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def listen_elsewhere(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Call `listener` with what others changed, as it is heard of; the result ends that."""
        self._elsewhere.append(listener)
        return lambda: self._elsewhere.remove(listener)

    def changed_elsewhere(self, change: Change) -> None:
        """Say that another process changed a run."""
        for listener in tuple(self._elsewhere):
            listener(change)

    def listen_schedules(self, listener: Callable[[int], None]) -> Callable[[], None]:
        """Call `listener` with each repository whose schedules changed; the result ends that."""
        self._on_schedules.append(listener)
        return lambda: self._on_schedules.remove(listener)

    async def is_made(self) -> bool:
        """Say whether the store is there yet; it is made by the first process that writes."""
        return await self._database.has_tables()

    async def is_current(self) -> bool:
        """Say whether its tables are this version's: who only looks brings none up to date."""
        return await self._database.is_current()

    async def create(self, repository: Repository, event: Event) -> tuple[Run, bool]:
        """Begin a run by its `requested` event; say whether it is new."""
        data = {**event.data, "repository": repository.identity()}
        event = self._clean(event.model_copy(update={"data": data}))
        run = evolve(new_run(event, repository), event)
        async with self._database.write() as connection:
            await _save_repository(connection, repository)
            if not await _is_new(connection, run):
                return _run(await _row(connection, run.id)), False
            await _record(connection, run.id, event.model_copy(update={"seq": run.seq}))
            await lines.follow(connection, None, run, event.actor, self.queue.clock())
        self._tell(run)
        return run, True

    async def restore(
        self,
        run: Run,
        record: Sequence[Event],
        ended: Sequence[dict[str, Any]],
    ) -> bool:
        """Put in a run with its whole record, to be drawn; False where there is one of its id.

        `ended` are the results of the checks on its head, each with its `attempt`.
        """
        async with self._database.write() as connection:
            await _save_repository(connection, run.repository)
            if not await _is_new(connection, run):
                return False
            for event in record:
                await _record(connection, run.id, event)
            for body in ended:
                row = {"run": run.id, "sha": run.head, "name": body["name"]}
                values = {**row, "attempt": body["attempt"], "body": body}
                await connection.execute(results.insert().values(**values))
        self._tell(run)
        return True

    async def append(self, run_id: str, decide: Decide) -> Run:
        """Record what `decide` says of the run as it is now, and return the run that follows.

        Events whose id is recorded already are passed over.
        """
        async with self._database.write() as connection:
            row = await _row(connection, run_id, change=True)
            run = before = _run(row)
            actor = ""
            for event in decide(before):
                numbered = self._clean(event).model_copy(update={"seq": run.seq + 1})
                if await _record(connection, run_id, numbered):
                    run = evolve(run, numbered)
                    actor = event.actor
            if run is not before:
                await _save(connection, run, row.touched + 1)
                await lines.follow(connection, before, run, actor, self.queue.clock())
        if run is not before:
            self._tell(run)
        return run

    async def rest(self, run_id: str, segment: int) -> bool:
        """Close a segment; False when there is work for it after all."""
        async with self._database.write() as connection:
            row = await _row(connection, run_id, change=True)
            run = _run(row)
            if run.segment != segment or not run.active:
                return True
            rested = rest(run)
            if rested is None:
                return False
            await _save(connection, rested, row.touched + 1)
            await lines.leave(connection, run_id)
        self._tell(rested)
        return True

    async def put_off(
        self, run_id: str, segment: int, round: int, due: float, reason: str = ""
    ) -> None:
        """Let a segment wait for its next round, which is not before `due`.

        `reason` says what outside is out of reach; without one an operator has stopped it.
        """
        async with self._database.write() as connection:
            row = await _row(connection, run_id, change=True)
            run = _run(row)
            if run.segment != segment or not run.active:
                return
            await self.queue.put_off(connection, run, round, due, reason)
            touch = update(runs).where(runs.c.id == run_id)
            await connection.execute(touch.values(touched=row.touched + 1))
        self._tell(run)

    async def touch(self, run_ids: Collection[str]) -> None:
        """Have runs shown anew that are the same, and stand elsewhere in the queue."""
        async with self._database.write() as connection:
            touch = update(runs).where(runs.c.id.in_(list(run_ids)))
            await connection.execute(touch.values(touched=runs.c.touched + 1))
        for run_id in run_ids:
            self._tell(await self.load(run_id))

    async def line_up(self) -> None:
        """Put runs into the queue that have work and are not in it: an older version's."""
        async with self._database.write() as connection:
            for run_id in await lines.lost(connection):
                run = _run(await _row(connection, run_id, change=True))
                await lines.follow(connection, None, run, run.requester, self.queue.clock())

    async def load(self, run_id: str) -> Run:
        """Load a run; `UserError` when there is none of that id."""
        async with self._database.read() as connection:
            return _run(await _row(connection, run_id))

    async def has(self, run_id: str, event_id: str) -> bool:
        """Say whether an event of that id is recorded."""
        async with self._database.read() as connection:
            return await _is_recorded(connection, run_id, event_id)

    async def events(self, run_id: str, after: int = 0) -> list[Event]:
        """Return the record of a run after sequence number `after`, oldest first."""
        given = {"run_id": run_id, "after": after}
        async with self._database.read() as connection:
            rows = await connection.execute(_EVENTS, given)
            return [Event.model_validate(row.body) for row in rows]

    async def all(self, limit: int = 100) -> list[Run]:
        """Return the newest runs first."""
        return await self._select(_runs().order_by(runs.c.created_at.desc()).limit(limit))

    async def of_thread(self, repository: int, number: int) -> list[Run]:
        """Return the runs of an issue or pull request, the newest first."""
        here = (runs.c.issue == number) | (runs.c.pull_request == number)
        query = _runs().where(runs.c.repository == repository, here)
        return await self._select(query.order_by(runs.c.created_at.desc()))

    async def without_pull(self, repository: int) -> list[Run]:
        """Return the runs of a repository that go on, whose pull request's number is not known."""
        going_on = runs.c.pull_request.is_(None) & runs.c.state.not_in(TERMINAL)
        return await self._select(_runs().where(runs.c.repository == repository, going_on))

    async def of_repository(self, repository: int) -> list[Run]:
        """Return the runs of a repository that may still change, the oldest first."""
        query = _runs().where(runs.c.repository == repository, runs.c.state.not_in(TERMINAL))
        return await self._select(query.order_by(runs.c.created_at))

    async def scheduled(self, repository: int, limit: int) -> list[Run]:
        """Return the newest runs of a repository that a schedule started."""
        query = _runs().where(runs.c.repository == repository, runs.c.issue.is_(None))
        newest = query.order_by(runs.c.created_at.desc()).limit(limit)
        return [run for run in await self._select(newest) if run.source.kind == "schedule"]

    async def turns_since(self, repository: int, since: datetime) -> list[tuple[str, str, Event]]:
        """Return the turns of a repository that ended since then: run, requester, the event."""
        at = since.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        query = (
            select(runs.c.id, runs.c.body["requester"].as_string().label("who"), events.c.body)
            .join(events, events.c.run == runs.c.id)
            .where(runs.c.repository == repository)
            .where(runs.c.body["updated_at"].as_string() >= at[: len("2026-01-01T00:00:00")])
            .where(events.c.body["type"].as_string() == Type.TURN_ENDED)
            .where(events.c.body["at"].as_string() >= at)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return [(row.id, row.who, Event.model_validate(row.body)) for row in rows]

    async def costs(self, repository: int, limit: int) -> list[float]:
        """Return what the newest runs of a repository cost that were done, in US dollars."""
        query = select(runs.c.body["usage", "usd"].as_float().label("usd"))
        query = query.where(runs.c.repository == repository, runs.c.state == State.DONE)
        async with self._database.read() as connection:
            newest = query.order_by(runs.c.created_at.desc()).limit(limit)
            return [row.usd or 0.0 for row in await connection.execute(newest)]

    async def of_branch(self, repository: int, branch: str) -> Run | None:
        """Return the run that owns a branch, if there is one."""
        found = [run for run in await self.of_repository(repository) if run.branch == branch]
        return found[-1] if found else None

    async def active(self) -> list[Run]:
        """Return the runs with a segment that is not over."""
        return await self._select(_runs().where(runs.c.active))

    async def in_state(self, state: State) -> list[Run]:
        """Return the runs that are in a state."""
        return await self._select(_runs().where(runs.c.state == state.value))

    async def dirty(self) -> list[tuple[str, int]]:
        """Return (run, installation) for each run that is not drawn as it is now."""
        query = select(runs.c.id, runs.c.installation).where(runs.c.drawn < runs.c.touched)
        async with self._database.read() as connection:
            return [(row.id, row.installation) for row in await connection.execute(query)]

    async def to_draw(self, run_id: str) -> tuple[Run, int]:
        """Return a run with the mark that `drawn` takes once it has been drawn as it is here."""
        async with self._database.read() as connection:
            row = await _row(connection, run_id)
            return _run(row), row.touched

    async def drawn(self, run_id: str, mark: int) -> None:
        """Say that the run was drawn as it was at `mark`."""
        # A mark that comes too late is an older one: it has the run drawn once more.
        await self._database.mark(_DRAWN, {"run_id": run_id, "mark": mark})

    async def keep_result(self, run: Run, sha: str, attempt: int, body: dict[str, Any]) -> None:
        """Keep how a check ended on a commit; the newest attempt stands."""
        body = self.redactor.value(body)
        values = {"attempt": attempt, "body": body}
        row = {"run": run.id, "sha": sha, "name": body["name"], **values}
        statement = insert(results).values(**row)
        keys = ["run", "sha", "name"]
        async with self._database.write() as connection:
            await connection.execute(
                statement.on_conflict_do_update(index_elements=keys, set_=values)
            )
            await connection.execute(_TOUCH, {"run_id": run.id})
        self._tell(run)

    async def results(self, run_id: str, sha: str) -> list[dict[str, Any]]:
        """Return how the checks ended on a commit, each with its `attempt`."""
        given = {"run_id": run_id, "of": sha}
        async with self._database.read() as connection:
            rows = await connection.execute(_RESULTS, given)
            return [{**row.body, "attempt": row.attempt} for row in rows]

    async def keep_turn(self, run_id: str, number: int, body: dict[str, Any]) -> None:
        """Keep what is known of a turn that does not belong in the record: what the agent said."""
        values = {"body": self.redactor.value(body)}
        statement = insert(turns).values(run=run_id, number=number, **values)
        async with self._database.write() as connection:
            await connection.execute(
                statement.on_conflict_do_update(index_elements=["run", "number"], set_=values)
            )

    async def turn(self, run_id: str, number: int) -> dict[str, Any]:
        """Return what was kept of a turn; empty where nothing was."""
        query = select(turns.c.body).where(turns.c.run == run_id, turns.c.number == number)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return dict(row.body) if row else {}

    async def save_repository(self, repository: Repository) -> None:
        """Keep what a repository is called now, and which installation it belongs to."""
        async with self._database.write() as connection:
            await _save_repository(connection, repository)

    async def repository(self, number: int) -> Repository | None:
        """Return a repository that was seen before."""
        query = select(repositories.c.body).where(repositories.c.id == number)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return Repository.model_validate(row.body) if row else None

    async def repositories(self) -> list[tuple[Repository, list[dict[str, Any]], dict[str, Any]]]:
        """Return every repository with its schedules and what was last seen of it."""
        async with self._database.read() as connection:
            rows = (await connection.execute(select(repositories))).all()
        return [(Repository.model_validate(row.body), row.schedules, row.seen) for row in rows]

    async def keep_schedules(self, repository: int, schedules: list[dict[str, Any]]) -> None:
        """Keep the schedules that a repository's configuration names now."""
        await self._update_repository(repository, schedules=schedules)
        for listener in tuple(self._on_schedules):
            listener(repository)

    async def seen(self, repository: int) -> dict[str, Any]:
        """Return what was last seen of a repository."""
        query = select(repositories.c.seen).where(repositories.c.id == repository)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return dict(row.seen) if row else {}

    async def keep_seen(self, repository: int, seen: dict[str, Any]) -> None:
        """Keep what was last seen of a repository: ETags and times."""
        await self._change_seen(
            repository, lambda now: {**seen, **{key: now[key] for key in _KEPT & now.keys()}}
        )

    async def want(self, repository: int, *, wanting: bool) -> None:
        """Keep whether a configuration is still to be proposed to a repository."""
        await self._change_seen(repository, lambda now: {**now, WANTING: wanting})

    async def wanting(self) -> list[Repository]:
        """Return the repositories that a configuration is still to be proposed to."""
        return [each for each, _, seen in await self.repositories() if seen.get(WANTING)]

    async def _change_seen(
        self, repository: int, change: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> None:
        """Change what was seen of a repository, as it is at that moment."""
        mine = repositories.c.id == repository
        async with self._database.write() as connection:
            query = select(repositories.c.seen).where(mine).with_for_update()
            row = (await connection.execute(query)).one_or_none()
            if row is not None:
                values = {"seen": change(dict(row.seen))}
                await connection.execute(update(repositories).where(mine).values(**values))

    async def drawing(self, run_id: str) -> dict[str, tuple[str, str]]:
        """Return what was drawn of a run: key -> (GitHub's id, digest of the content)."""
        query = select(drawings).where(drawings.c.run == run_id)
        async with self._database.read() as connection:
            rows = await connection.execute(query)
            return {row.key: (row.github_id, row.digest) for row in rows}

    async def keep_drawing(self, run_id: str, key: str, github_id: str, digest: str) -> None:
        """Remember that `key` of a run's view stands on GitHub with this content."""
        values = {"github_id": github_id, "digest": digest}
        statement = insert(drawings).values(run=run_id, key=key, **values)
        async with self._database.write() as connection:
            await connection.execute(
                statement.on_conflict_do_update(index_elements=["run", "key"], set_=values)
            )

    # -- what other machines need of a run's work

    async def keep_pack(self, run_id: str, commit: str, data: bytes) -> None:
        """Keep a commit that no remote has yet."""
        statement = insert(packs).values(run=run_id, commit=commit, data=data)
        async with self._database.write() as connection:
            await connection.execute(statement.on_conflict_do_nothing())

    async def pack(self, run_id: str, commit: str) -> bytes | None:
        """Return the pack of a commit, where it was kept."""
        query = select(packs.c.data).where(packs.c.run == run_id, packs.c.commit == commit)
        async with self._database.read() as connection:
            found: bytes | None = (await connection.execute(query)).scalar()
        return found

    async def drop_packs(self, run_id: str, commits: Collection[str] | None = None) -> None:
        """Forget commits that a remote has now; without any named, all of the run."""
        statement = delete(packs).where(packs.c.run == run_id)
        if commits is not None:
            statement = statement.where(packs.c.commit.in_(list(commits)))
        async with self._database.write() as connection:
            await connection.execute(statement)

    async def _update_repository(self, repository: int, **values: Any) -> None:
        async with self._database.write() as connection:
            where = repositories.c.id == repository
            await connection.execute(update(repositories).where(where).values(**values))

    async def _select(self, query: Select[Any]) -> list[Run]:
        async with self._database.read() as connection:
            return [_run(row) for row in await connection.execute(query)]

    def _clean(self, event: Event) -> Event:
        data = self.redactor.value(event.data)
        return event if data == event.data else event.model_copy(update={"data": data})

    def _tell(self, run: Run) -> None:
        for listener in tuple(self._listeners):
            listener(run)


def _runs() -> Select[Any]:
    """Select runs with what their repository is called now."""
    joined = runs.join(repositories, runs.c.repository == repositories.c.id)
    here = repositories.c.body.label("repository_body")
    return select(runs.c.id, runs.c.body, runs.c.touched, runs.c.drawn, here).select_from(joined)


# What is asked for again and again is put together once.

_BY_ID = _runs().where(runs.c.id == bindparam("run_id"))

# SQLite, which has one writer anyway, leaves the lock out.
_TO_CHANGE = _BY_ID.with_for_update(of=runs)

_EVENTS = (
    select(events.c.body)
    .where(events.c.run == bindparam("run_id"), events.c.seq > bindparam("after"))
    .order_by(events.c.seq)
)

_RECORDED = select(events.c.seq).where(
    events.c.run == bindparam("run_id"), events.c.id == bindparam("event_id")
)

_RECORD = (
    insert(events)
    .values({name: bindparam(name) for name in ("run", "seq", "id", "body")})
    .on_conflict_do_nothing(index_elements=["run", "id"])
    .returning(events.c.seq)
)

_RESULTS = (
    select(results)
    .where(results.c.run == bindparam("run_id"), results.c.sha == bindparam("of"))
    .order_by(results.c.name)
)

_DRAWN = update(runs).where(runs.c.id == bindparam("run_id")).values(drawn=bindparam("mark"))

_TOUCH = update(runs).where(runs.c.id == bindparam("run_id")).values(touched=runs.c.touched + 1)


async def _is_new(connection: AsyncConnection, run: Run) -> bool:
    """Insert a run; False where there is one of its id, perhaps since this very moment."""
    values = {"id": run.id, "touched": 1, **_columns(run)}
    statement = insert(runs).values(**values).on_conflict_do_nothing().returning(runs.c.id)
    return (await connection.execute(statement)).first() is not None


async def _row(connection: AsyncConnection, run_id: str, *, change: bool = False) -> Row[Any]:
    """Return a run's row, with `change` locked until the end of the transaction."""
    query = _TO_CHANGE if change else _BY_ID
    row: Row[Any] | None = (await connection.execute(query, {"run_id": run_id})).one_or_none()
    if row is None:
        raise UserError(f"There is no run `{run_id}`; `orchestrate runs` lists those there are.")
    return row


def _run(row: Row[Any]) -> Run:
    return Run.model_validate({**row.body, "repository": row.repository_body})


def _columns(run: Run) -> dict[str, Any]:
    return {
        "repository": run.repository.id,
        "installation": run.repository.installation,
        "issue": run.issue,
        "pull_request": run.pull_request,
        "state": run.state.value,
        "active": run.active,
        "seq": run.seq,
        "created_at": run.created_at.isoformat(),
        "body": run.model_dump(mode="json"),
    }


async def _save(connection: AsyncConnection, run: Run, touched: int) -> None:
    statement = update(runs).where(runs.c.id == run.id)
    await connection.execute(statement.values(touched=touched, **_columns(run)))


async def _is_recorded(connection: AsyncConnection, run_id: str, event_id: str) -> bool:
    given = {"run_id": run_id, "event_id": event_id}
    return (await connection.execute(_RECORDED, given)).one_or_none() is not None


async def _record(connection: AsyncConnection, run_id: str, event: Event) -> bool:
    """Record an event; False where one of its id is recorded."""
    body = event.model_dump(mode="json")
    values = {"run": run_id, "seq": event.seq, "id": event.id, "body": body}
    return (await connection.execute(_RECORD, values)).first() is not None


async def _save_repository(connection: AsyncConnection, repository: Repository) -> None:
    values = {
        "installation": repository.installation,
        "owner": repository.owner,
        "name": repository.name,
        "body": repository.model_dump(mode="json"),
    }
    statement = insert(repositories).values(id=repository.id, schedules=[], seen={}, **values)
    await connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))
