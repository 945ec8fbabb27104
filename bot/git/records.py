"""The records of runs: kept in the mirror as things happen, pushed apart from the branch.

Where a server takes no ref under `refs/orchestrate/`, the same commits go to a branch
`orchestrate-records/<run>`. That is found out once for a repository and remembered in its mirror.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import structlog

from bot.errors import OrchestrateError, Refused, TransientError
from bot.git import ledger, mirror, refs
from bot.git.checkpoint import Identity
from bot.git.locks import writing
from bot.git.mirror import Mirror
from bot.git.pool import Call
from bot.git.push import PushRejected, Update, push
from bot.git.remote import Remote
from bot.git.transfer import fetch as transfer
from bot.git.verify import parting, verify
from bot.runs.model import Repository, Run

log = structlog.get_logger()

PUBLISH_TRIES = 6
"""Pushes of a record: whoever else pushes it pushes the same chain, and has soon done so."""

REFUSALS = 2
"""Pushes to a ref that fail though nobody moved it, until it counts as one that the server does not
take: the first may have met another push's lock."""

AS_BRANCHES = "records-as-branches"
"""The file in a mirror that says where its records are pushed to."""

Address = Callable[[Repository], Awaitable[Remote]]
"""Says where a repository is fetched from and pushed to, with the token that this takes."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found about a record: its events, how many of them the remote has, what is wrong."""

    events: tuple[Mapping[str, Any], ...]
    published: int
    problems: tuple[str, ...]


class Records:
    """The ledgers of the runs whose repositories have their mirrors under `mirrors`.

    A mirror that has to be made is made without the contents of old files where the repository is
    larger than `blobless_over` KB.
    """

    def __init__(
        self,
        mirrors: Path,
        address: Address,
        identity: Identity,
        *,
        call: Call = asyncio.to_thread,
        blobless_over: int | None = None,
    ) -> None:
        self._call = call
        self._blobless_over = blobless_over
        self._mirrors = mirrors
        self._address = address
        self._identity = identity
        self._record_locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._publish_locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    # -- as things happen

    async def recorded(self, run: Run) -> int | None:
        """Return the last sequence number in the local ledger, 0 when there is none.

        None before the run has a mirror. A ledger that was lost with its mirror is brought back.
        """
        held = self._mirror(run.repository)
        if not held.path.exists():
            if not run.base_sha:
                return None
            await self._make(run.repository, await self._address(run.repository))
        last = await self._call(ledger.last_seq, held, run.id)
        if last == 0 and run.checkpoints:
            try:
                await self._join(run, await self._address(run.repository))
            except OrchestrateError as error:
                log.warning("record not brought back", run=run.id, error=str(error))
            last = await self._call(ledger.last_seq, held, run.id)
        return last

    async def record(self, run: Run, events: Sequence[Mapping[str, Any]]) -> None:
        """Append events to the local ledger; those that it holds already are passed over."""
        made = [e["data"]["sha"] for e in events if e["type"] == "checkpointed"]
        async with self._record_locks.setdefault(run.id, asyncio.Lock()):
            await self._call(
                ledger.append,
                self._mirror(run.repository),
                run.id,
                events,
                checkpoints=made,
                identity=self._identity,
                at=datetime.now(UTC),
            )

    async def publish(self, run: Run) -> None:
        """Push the ledger, apart from the branch; nothing that the remote has is overwritten.

        What the remote's holds more than ours, and `run` knows, is taken in. Raises Refused where
        the two part.
        """
        async with self._publish_locks.setdefault(run.id, asyncio.Lock()):
            await self._publish(run)

    async def _publish(self, run: Run) -> None:
        held, remote = self._mirror(run.repository), await self._address(run.repository)
        places = _places(run.id)
        if (held.path / AS_BRANCHES).exists():
            places = places[1:]
        refusals = 0
        for _ in range(PUBLISH_TRIES):
            if await self._call(ledger.tip, held, run.id) is None:
                return
            there = await self._join(run, remote)
            new = await self._call(ledger.tip, held, run.id)
            update = Update(places[0], new, there.get(places[0]))
            rejected = await _rejected(held, remote, update)
            if rejected is None:
                _remember(held, update.ref)
                return
            # Moved: a push that outlived its killed server may come in between.
            refusals += rejected.now.get(update.ref) == update.expected
            if refusals == REFUSALS:
                places, refusals = _next_place(places, run, rejected), 0
        raise TransientError(f"The record of run {run.id} is being pushed by many at once.")

    # -- what the remote has

    async def _join(self, run: Run, remote: Remote) -> dict[str, str]:
        """Take in what the remote's record holds more than ours; return its refs."""
        held = self._mirror(run.repository)
        there = await mirror.remote_refs(remote, *_places(run.id))
        ours = [await self._call(ledger.holds, held, run.id, sha) for sha in there.values()]
        if not all(ours):
            there = await self._look(held, run.id, remote)
            await self._settle(held, run.id, run.seq)
        return there

    async def _look(self, held: Mirror, run: str, remote: Remote) -> dict[str, str]:
        """Fetch the remote's record as it is; return its refs."""
        there = await mirror.remote_refs(remote, *_places(run))
        for ref in _places(run):
            seen = ledger.seen_ref(ref)
            now = await self._call(refs.tip, held, seen)
            if ref not in there:
                await self._drop(held, seen)
            elif now != there[ref]:
                await _fetch(held, remote, f"+{ref}:{seen}")
        return there

    async def _settle(self, held: Mirror, run: str, known: int | None = None) -> None:
        await self._call(
            ledger.settle,
            held,
            run,
            known=known,
            identity=self._identity,
            at=datetime.now(UTC),
        )

    async def bring_in(self, repository: Repository) -> list[str]:
        """Fetch a repository with all its records; return the runs that have one, here or there.

        Nothing is made where there is neither a record at the remote nor a mirror.
        """
        held, remote = self._mirror(repository), await self._address(repository)
        patterns = [f"{place}*" for place in ledger.SEEN]
        if not held.path.exists() and not await mirror.remote_refs(remote, *patterns):
            return []
        await self._make(repository, remote)
        refspecs = [f"+{place}*:{seen}*" for place, seen in ledger.SEEN.items()]
        await _fetch(held, remote, *refspecs, prune=True)
        return await self._call(ledger.runs, held)

    async def restore(self, repository: Repository, run: str) -> Audit:
        """Make the local ledger the longest that was brought in, where each of them is whole."""
        held = self._mirror(repository)
        problems: list[str] = []
        for ref in map(ledger.seen_ref, _places(run)):
            if await self._call(refs.tip, held, ref):
                problems += await self._call(verify, held, run, ref)
        if not problems:
            await self._settle(held, run)
            problems += await self._call(verify, held, run)
        events = await self._call(ledger.read, held, run) if not problems else []
        return Audit(tuple(events), len(events), tuple(dict.fromkeys(problems)))

    def place(self, run: Run) -> str:
        """Name the ref that a run's record is pushed to, as far as this machine knows."""
        first, other = _places(run.id)
        return other if (self._mirror(run.repository).path / AS_BRANCHES).exists() else first

    async def remove(self, run: Run) -> None:
        """Delete a run's record here and at the remote, unless the remote's holds more than ours.

        Raises Refused where the two part: then neither is touched.
        """
        held, remote = self._mirror(run.repository), await self._address(run.repository)
        async with self._publish_locks.setdefault(run.id, asyncio.Lock()):
            there = await self._join(run, remote)
            await push(held, remote, [Update(ref, None, sha) for ref, sha in there.items()])
            for ref in (*map(ledger.seen_ref, _places(run.id)), ledger.ref_of(run.id)):
                await self._drop(held, ref)

    async def _drop(self, held: Mirror, ref: str) -> None:
        """Delete a ref of ours; what was seen of a remote changes under the mirror's lock alone."""
        now = await self._call(refs.tip, held, ref)
        if now is not None:
            async with writing(held.path):
                await self._call(refs.set_ref, held, ref, None, now)

    async def _make(self, repository: Repository, remote: Remote) -> None:
        over = self._blobless_over
        blobless = over is not None and repository.size > over
        await mirror.ensure(self._mirror(repository).path, remote, blobless=blobless)

    # -- looking at them

    async def audit(self, run: Run) -> Audit:
        """Walk a run's record here, and compare the remote's with it."""
        held = self._mirror(run.repository)
        if not held.path.exists():
            return Audit((), 0, (f"Run {run.id} has no record on this machine.",))
        problems = await self._call(verify, held, run.id)
        try:
            ours = await self._call(ledger.read, held, run.id)
        except Refused:
            return Audit((), 0, tuple(problems))
        where, published = run.repository.full_name, 0
        try:
            there = await self._look(held, run.id, await self._address(run.repository))
        except OrchestrateError as error:
            problems.append(f"The record at {where} could not be looked at: {error}")
            there = {}
        for ref, sha in there.items():
            if not await self._call(ledger.holds, held, run.id, sha):
                problems += await self._parting(held, run.id, ref, ours, f"`{ref}` at {where}")
            seen = await self._call(_length, held, run.id, ledger.seen_ref(ref))
            published = max(published, seen)
        return Audit(tuple(ours), published, tuple(problems))

    async def _parting(
        self, held: Mirror, run: str, ref: str, ours: Sequence[Mapping[str, Any]], where: str
    ) -> list[str]:
        """Say how the remote's record, which ours does not go on from, differs."""
        seen = ledger.seen_ref(ref)
        try:
            theirs = await self._call(ledger.read, held, run, seen)
        except Refused:
            return [f"Of {where}: {each}" for each in await self._call(verify, held, run, seen)]
        problems = parting(ours, theirs, where)
        if len(theirs) > len(ours):
            problems.append(
                f"{where} goes on to event {len(theirs)}; the record ends with {len(ours)}."
            )
        return problems or [f"{where} has the same events in other commits."]

    def _mirror(self, repository: Repository) -> Mirror:
        return Mirror(self._mirrors / f"{repository.id}.git")


def _places(run: str) -> tuple[str, ...]:
    """Return where a remote may hold a record, the first choice first."""
    return ledger.ref_of(run), ledger.branch_of(run)


async def _rejected(held: Mirror, remote: Remote, update: Update) -> PushRejected | None:
    """Push a record, unless it is there; return why it was not taken."""
    if update.new == update.expected:
        return None
    try:
        await push(held, remote, [update])
    except PushRejected as rejected:
        log.info("record not taken", ref=update.ref, now=rejected.now.get(update.ref))
        return rejected
    return None


def _remember(held: Mirror, ref: str) -> None:
    """Keep in mind that this remote takes records as branches alone."""
    if ref.startswith(ledger.BRANCHES):
        (held.path / AS_BRANCHES).touch()


def _next_place(places: tuple[str, ...], run: Run, rejected: PushRejected) -> tuple[str, ...]:
    if len(places) > 1:
        return places[1:]
    raise Refused(
        f"{run.repository.full_name} takes the record of run {run.id} neither under "
        f"`{ledger.REFS}` nor as a branch: allow `orchestrate-records/*` there, then `/resume`. "
        f"{rejected}"
    ) from rejected


def _length(held: Mirror, run: str, ref: str) -> int:
    """Return how many events a record at the remote has; 0 where it cannot be read."""
    try:
        return len(ledger.read(held, run, ref))
    except Refused:
        return 0


async def _fetch(held: Mirror, remote: Remote, *refspecs: str, prune: bool = False) -> None:
    async with writing(held.path) as lock:
        # Not blobless in any mirror: a record without its events is none.
        await transfer(held.path, remote, *refspecs, prune=prune, blobless=False, lock=lock)
