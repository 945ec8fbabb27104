"""The queue of segments, in the database: who wants to work, who may, and what is stopped.

A row is made in the transaction in which a run gets work, and goes in the one in which it rests.
Who may begin is decided by `admission.py`, by one process at a time, whichever it is. A segment
that has to wait for something outside, or that an operator has stopped, is put off: its workflow
ends, its row stays, and it is admitted again later. So whoever waits costs a row, and holds no
place of those at work.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.database import Database, insert, queue, runs, stops, workers
from bot.events import ORCHESTRATE
from bot.runs.admission import PEOPLE, SCHEDULES, Limits, Wanted, admit, places
from bot.runs.model import Run, Standing

Hint = Callable[[], None]

EVERYTHING = -1
"""The installation under which a stop of everything is kept."""

ALONE = 0x0C4E_57A3_0002
"""The key of the lock under which one process at a time admits."""

_FREE: dict[str, Any] = {"admitted": False, "worker": ""}
"""What the row says of a segment that nobody works on."""

BELIEVED_SECONDS = 1.0
"""How long a look at the stops is believed: every step of every run asks for them."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A segment that may work, in one of its rounds."""

    run: str
    segment: int
    round: int


@dataclass(frozen=True, slots=True)
class Stop:
    """An operator's stop; `installation` is None where it is of everything."""

    installation: int | None
    since: datetime
    reason: str


class Queue:
    """The queue of a database. `clock` counts seconds since the epoch.

    `tell_others` is called where there is work that this process has no room for, and
    `left_elsewhere` where another one says so: hints, without which it is found a moment later.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self.database = database
        self.clock = clock
        self.tell_others: Hint = _nobody
        self.left_elsewhere: Hint = _nobody
        self._seen: tuple[float, dict[int, Stop]] = (float("-inf"), {})

    async def admit(
        self,
        limits: Limits,
        workers_each: int,
        *,
        sure: bool = False,
        most: int | None = None,
        worker: str = "",
    ) -> list[Turn]:
        """Let those begin whose turn it is, `most` of them at the most, and return them.

        `workers_each` is how many runs one process works on; with `limits` they bound the server.
        `sure` says that somebody waits, so that it need not be looked. `worker` is who takes them.
        """
        if not sure and not await self._somebody_waits():
            return []
        async with self.alone() as connection:
            rows = (await connection.execute(select(queue))).all()
            room = workers_each * await self._processes(connection)
            bound = Limits(
                min(room, limits.server) if limits.server else room,
                limits.installation,
                share(limits.repository, room),
                limits.agents,
            )
            found = self._chosen(rows, await self._stops_of(connection), bound)
            chosen = found[:most]
            if chosen:
                names = [each.run for each in chosen]
                now = update(queue).where(queue.c.run.in_(names))
                await connection.execute(now.values(admitted=True, worker=worker, due=0.0))
        if sure and len(chosen) < len(found):
            self.tell_others()
        return chosen

    def _chosen(
        self, rows: Sequence[Row[Any]], stopped: dict[int, Stop], bound: Limits
    ) -> list[Turn]:
        now = self.clock()
        waiting, by_run = [], {row.run: row for row in rows}
        chosen = []
        for row in rows:
            if row.admitted or row.due > now:
                continue
            if row.idle:  # it has nothing to do but to clear up
                chosen.append(row)
            elif _stop_in(stopped, row.installation) is None:
                waiting.append(_wanted(row))
        working = [_wanted(row) for row in rows if row.admitted]
        chosen += [by_run[each.run] for each in admit(waiting, working, bound, now)]
        return [Turn(row.run, row.segment, row.round) for row in chosen]

    async def _somebody_waits(self) -> bool:
        """Most often nobody does, and then nothing has to be locked."""
        ready = queue.c.admitted.is_(False) & (queue.c.due <= self.clock())
        async with self.database.read() as connection:
            found = await connection.execute(select(queue.c.run).where(ready).limit(1))
            return found.first() is not None

    async def _processes(self, connection: AsyncConnection) -> int:
        """Count the processes that work on runs; at least one, which may be just beginning."""
        if not self.database.is_shared:
            return 1
        lives = workers.c.until > func.clock_timestamp()
        at_work = select(func.count()).where(lives, workers.c.role.in_(("serve", "worker")))
        return max(1, (await connection.execute(at_work)).scalar_one())

    async def admitted(self) -> list[Turn]:
        """Return the segments that may work now."""
        async with self.database.read() as connection:
            return [turn for turn, _ in await self.held(connection)]

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[AsyncConnection]:
        """Give a transaction in which nobody else admits."""
        async with self.database.write() as connection:
            if self.database.is_shared:
                await connection.execute(select(func.pg_advisory_xact_lock(ALONE)))
            yield connection

    async def held(self, connection: AsyncConnection) -> list[tuple[Turn, str]]:
        """Return the segments that may work now, and who took each."""
        rows = await connection.execute(select(queue).where(queue.c.admitted))
        return [(Turn(row.run, row.segment, row.round), row.worker) for row in rows]

    async def give_back(self, connection: AsyncConnection, turns: Iterable[Turn]) -> None:
        """Let anybody begin segments that nobody works on."""
        for turn in turns:
            mine = (queue.c.run == turn.run) & (queue.c.segment == turn.segment)
            back = update(queue).where(mine, queue.c.round == turn.round)
            await connection.execute(back.values(**_FREE))

    async def put_off(
        self, connection: AsyncConnection, run: Run, round: int, due: float, reason: str
    ) -> None:
        """Let a segment wait until `due`, for the next round; `reason` says for what outside."""
        now = self.clock()
        values = {**_columns(run), "round": round + 1, **_FREE, "due": due}
        fresh = {**values, "rank": PEOPLE, "asked": now, "since": now if reason else 0.0}
        statement = insert(queue).values(**fresh, reason=reason)
        kept: dict[str, Any] = {**values, "reason": reason}
        if not reason:
            kept["since"] = 0.0
        await connection.execute(statement.on_conflict_do_update(index_elements=["run"], set_=kept))
        if reason:
            first = update(queue).where(queue.c.run == run.id, queue.c.since == 0.0)
            await connection.execute(first.values(since=now))

    async def waits_since(self, run: str) -> float | None:
        """Return since when a run waits for something outside; None where it does not."""
        query = select(queue.c.since).where(queue.c.run == run, queue.c.since > 0.0)
        async with self.database.read() as connection:
            since: float | None = (await connection.execute(query)).scalar()
        return since

    async def went_on(self, run: str) -> None:
        """Say that what a run waited for is there again."""
        async with self.database.write() as connection:
            here = update(queue).where(queue.c.run == run, queue.c.since > 0.0)
            await connection.execute(here.values(since=0.0, reason=""))

    # -- what is said of it

    async def standing(self, run: Run, patience: float) -> Standing | None:
        """Say what a run waits for that has work; None where it works.

        `patience` is for how many seconds something outside is waited for.
        """
        if not run.active:
            return None
        mine = await self._row(run.id)
        if mine is None or mine.idle:
            return None
        async with self.database.read() as connection:
            stop = _stop_in(await self._stops_of(connection), run.repository.installation)
        if stop is not None:
            return Standing(kind="stopped", reason=stop.reason, since=stop.since)
        if mine.admitted:
            return None
        if mine.since:
            since, until = moment(mine.since), moment(mine.since + patience)
            return Standing(kind="outside", reason=mine.reason, since=since, until=until)
        order = await self.order()
        place = order.index(run.id) + 1 if run.id in order else len(order) + 1
        return Standing(kind="queued", place=place)

    async def order(self) -> list[str]:
        """Return the runs that wait for their turn, in the order in which it comes."""
        async with self.database.read() as connection:
            rows = (await connection.execute(select(queue).where(queue.c.idle.is_(False)))).all()
            stopped = await self._stops_of(connection)
        now = self.clock()
        waiting = [
            _wanted(row)
            for row in rows
            if not row.admitted and row.due <= now and _stop_in(stopped, row.installation) is None
        ]
        return places(waiting, [_wanted(row) for row in rows if row.admitted], now)

    async def rounds(self) -> dict[str, int]:
        """Return how often each run in the queue was put off."""
        async with self.database.read() as connection:
            rows = await connection.execute(select(queue.c.run, queue.c.round))
            return {row.run: row.round for row in rows}

    async def waiting(self) -> list[str]:
        """Name the runs that have work and do not work, for whatever reason."""
        wait = queue.c.admitted.is_(False) & queue.c.idle.is_(False)
        async with self.database.read() as connection:
            return [row.run for row in await connection.execute(select(queue.c.run).where(wait))]

    async def is_full(self) -> bool:
        """Say whether somebody waits whose turn could have come."""
        return await self._somebody_waits()

    async def counts(self, installation: int | None = None) -> tuple[int, int]:
        """Count the runs at work, and those that wait; of one installation or of all."""
        query = select(queue.c.admitted, func.count()).where(queue.c.idle.is_(False))
        if installation is not None:
            query = query.where(queue.c.installation == installation)
        async with self.database.read() as connection:
            rows = await connection.execute(query.group_by(queue.c.admitted))
            found = {bool(admitted): count for admitted, count in rows}
        return found.get(True, 0), found.get(False, 0)

    async def _row(self, run: str) -> Row[Any] | None:
        async with self.database.read() as connection:
            found: Row[Any] | None = (
                await connection.execute(select(queue).where(queue.c.run == run))
            ).one_or_none()
        return found

    # -- an operator's stop

    async def stop(self, installation: int | None, reason: str) -> None:
        """Stop an installation, or everything; stopped before is stopped, for the new reason."""
        scope = EVERYTHING if installation is None else installation
        statement = insert(stops).values(installation=scope, since=self.clock(), reason=reason)
        async with self.database.write() as connection:
            await connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["installation"], set_={"reason": reason}
                )
            )

    async def let_go(self, installation: int | None) -> int:
        """End the stop of an installation; or every stop there is. Say how many there were."""
        gone = delete(stops)
        if installation is not None:
            gone = gone.where(stops.c.installation == installation)
        async with self.database.write() as connection:
            found = await connection.execute(gone.returning(stops.c.installation))
            return len(found.all())

    async def stops(self) -> list[Stop]:
        """Return the stops in force."""
        async with self.database.read() as connection:
            return list((await self._stops_of(connection)).values())

    async def stop_of(self, installation: int, *, sure: bool = False) -> Stop | None:
        """Return the stop that an installation is under, as it was a moment ago; `sure`: as now."""
        at, found = self._seen
        if sure or time.monotonic() - at > BELIEVED_SECONDS:
            async with self.database.read() as connection:
                found = await self._stops_of(connection)
        return _stop_in(found, installation)

    async def _stops_of(self, connection: AsyncConnection) -> dict[int, Stop]:
        rows = await connection.execute(select(stops).order_by(stops.c.installation))
        found = {
            row.installation: Stop(
                None if row.installation == EVERYTHING else row.installation,
                moment(row.since),
                row.reason,
            )
            for row in rows
        }
        self._seen = (time.monotonic(), found)
        return found


def moment(seconds: float) -> datetime:
    """Return a time since the epoch as people's, to the second."""
    return datetime.fromtimestamp(int(seconds), UTC)


def share(most: int | None, room: int) -> int | None:
    """Return how many runs one repository may have at work: three quarters, unless it is given.

    So there is room at once for who has none, also while a repository keeps the server busy.
    """
    return most if most else max(1, room * 3 // 4)


def _nobody() -> None:
    """Hear of a hint where nobody listens."""


def _stop_in(stopped: dict[int, Stop], installation: int) -> Stop | None:
    return stopped.get(EVERYTHING) or stopped.get(installation)


def _wanted(row: Row[Any]) -> Wanted:
    return Wanted(row.run, row.installation, row.repository, row.agent, row.rank, row.asked)


def _columns(run: Run) -> dict[str, Any]:
    return {
        "run": run.id,
        "segment": run.segment,
        "installation": run.repository.installation,
        "repository": run.repository.id,
        "agent": run.agent,
        "idle": run.work is None and not run.turn_open,
    }


# -- with what happens to runs, in the same transaction


async def follow(
    connection: AsyncConnection, before: Run | None, run: Run, actor: str, now: float
) -> None:
    """Keep the row in step with a run; `actor` is who gave it the work."""
    if not run.active:
        return
    values = _columns(run)
    if before is None or before.segment != run.segment:
        rank = SCHEDULES if actor == ORCHESTRATE else PEOPLE
        fresh = {**values, "round": 0, "rank": rank, **_FREE, "asked": now, "due": 0.0}
        statement = insert(queue).values(**fresh, since=0.0, reason="")
        await connection.execute(
            statement.on_conflict_do_update(
                index_elements=["run"], set_={**fresh, "since": 0.0, "reason": ""}
            )
        )
    elif _columns(before) != values:
        changed: dict[str, Any] = {"agent": run.agent, "idle": values["idle"]}
        if values["idle"]:
            changed["due"] = 0.0  # what it waited for does not matter any more
        await connection.execute(update(queue).where(queue.c.run == run.id).values(**changed))


async def leave(connection: AsyncConnection, run: str) -> None:
    """Take the row of a run away that rests."""
    await connection.execute(delete(queue).where(queue.c.run == run))


async def lost(connection: AsyncConnection) -> list[str]:
    """Name the runs with work that have no row: those that an older version began."""
    missing = runs.c.active & runs.c.id.not_in(select(queue.c.run))
    return [row.id for row in await connection.execute(select(runs.c.id).where(missing))]
