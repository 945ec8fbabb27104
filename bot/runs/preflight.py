"""Looks beside the beginning of a run whether it can land, and stops it before much is spent.

Nothing waits for it, and the agent's prompt comes first: it looks while what the run needs is set
up, or the agent begins, and ends that where it finds a reason. What was found stands in the run,
and is not looked for again; where GitHub is out of reach, the next turn looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import datetime
from typing import Any

import structlog

from bot.errors import OrchestrateError
from bot.events import ORCHESTRATE, Event, Type
from bot.runs.model import Run
from bot.runs.ports import Clock, Forge, Git, Surroundings
from bot.runs.signing import switch
from bot.runs.store import Store
from bot.runs.transitions import TERMINAL, State
from policies.branches import notes
from policies.config import Config
from policies.facts import PreflightFacts
from policies.preflight import check_able, check_wanted, named_paths, told
from policies.signing import commits_of, demanding

log = structlog.get_logger()

SECONDS = 60.0
"""How long it may look: an agent has done half of its work by then."""

HEADSTART_SECONDS = 0.3
"""How long it lets what begins go first: a person waits for the prompt, and the requests
would take the processor from it. No model has answered by then."""

REMEMBERED = 10_000
"""Runs remembered for which there was nothing to say: far more than are at work at a time."""


class Preflight:
    """Looks for runs that begin, each once."""

    def __init__(self, store: Store, git: Git, forge: Forge, clock: Clock) -> None:
        self._store = store
        self._git = git
        self._forge = forge
        self._clock = clock
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._fine: dict[str, None] = {}

    def begin(self, run: Run, config: Config) -> None:
        """Begin to look, unless that was done; `run` knows its base."""
        known = run.foreseen or run.id in self._looking or run.id in self._fine
        if known or run.is_local or run.checkpoints:
            return
        task = asyncio.create_task(self._safely(run, config))
        self._looking[run.id] = task
        task.add_done_callback(lambda _: self._looking.pop(run.id, None))

    async def close(self) -> None:
        """Look no more."""
        tasks = list(self._looking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _safely(self, run: Run, config: Config) -> None:
        try:
            async with asyncio.timeout(SECONDS):
                await self._look(run, config)
        except (OrchestrateError, TimeoutError) as error:
            log.warning("not looked ahead", run=run.id, error=str(error))
        except Exception:
            # The boundary: nobody waits for this task, and a bug of ours is logged once.
            log.exception("looking ahead broke", run=run.id)

    async def _look(self, run: Run, config: Config) -> None:
        await asyncio.sleep(HEADSTART_SECONDS)
        around, named = await asyncio.gather(
            self._forge.surroundings(run), self._named(run, named_paths(run.request))
        )
        facts = _facts(run, around, named)
        able, wanted = check_able(facts, config), check_wanted(facts, config)
        said = (*notes(run.base, facts.rules, config), *told(facts, config))
        demands = demanding(run.base, facts.rules, facts.closed)
        if config.commits == "auto" and commits_of(demands, config) == "api":
            await self._store.append(run.id, lambda now: _switched(now, demands, self._clock()))
        cannot = "" if able.allowed else able.reason
        asks = "" if wanted.allowed else wanted.reason
        if said or cannot or asks:
            store = self._store
            await store.append(run.id, lambda now: self._found(now, said, cannot, asks))
        else:
            self._remember(run.id)

    async def _named(self, run: Run, paths: Collection[str]) -> tuple[str, ...]:
        """Leave out what only looks like a path: neither it nor its folder is in the base."""
        folders = {path: path.rpartition("/")[0] for path in paths}
        asked = [each for each in {*folders, *folders.values()} if each]
        there = await self._git.ids(run, run.base_sha, asked) if asked else {}
        return tuple(path for path, folder in folders.items() if path in there or folder in there)

    def _remember(self, run_id: str) -> None:
        self._fine[run_id] = None
        while len(self._fine) > REMEMBERED:
            self._fine.pop(next(iter(self._fine)))

    def _found(self, now: Run, said: tuple[str, ...], cannot: str, asks: str) -> list[Event]:
        if now.foreseen or now.state in TERMINAL:
            return []
        reason = cannot or asks
        if reason and (now.state is not State.RUNNING or now.checkpoints):
            # Nothing is at work that could be stopped: whoever decides next reads it.
            said, reason, asks = (*said, reason), "", reason
        events = []
        if said or asks:
            foreseen: dict[str, Any] = {"notes": list(said)}
            events.append(self._event(now, "foreseen", Type.FORESEEN, foreseen))
        if reason:
            step = "" if "`/resume`" in reason else "`/resume` goes on."
            why: dict[str, Any] = {"reason": reason, "next_step": step}
            events.append(self._event(now, "asked", Type.BLOCKED, why))
        return events

    def _event(self, now: Run, what: str, kind: Type, data: dict[str, Any]) -> Event:
        at, id = self._clock(), f"{now.id}:{what}:{now.segment}"
        return Event(id=id, at=at, actor=ORCHESTRATE, type=kind, data=data)


def _switched(now: Run, demands: tuple[str, ...], at: datetime) -> list[Event]:
    return [] if now.state in TERMINAL else switch(now, demands, at)


def _facts(run: Run, around: Surroundings, named: tuple[str, ...]) -> PreflightFacts:
    return PreflightFacts(
        branch=run.base,
        rules=around.rules,
        base=around.base,
        closed=around.closed,
        permissions=around.permissions,
        archived=around.archived,
        named=named,
    )
