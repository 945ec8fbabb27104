"""A turn with a program that is talked to: from its start to the proof that nothing of it lives.

The agent decides when it is done. Everything else that ends a turn is decided here, each within a
bounded time: it is stopped, silent, in a loop, out of budget, not let in, or gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Final

from bot.agents.journal import Journal
from bot.agents.model import Outcome, Turn, TurnEnded
from bot.agents.permissions import Permissions
from bot.agents.session import (
    Broken,
    LoginWanted,
    Session,
    SessionLost,
    Setting,
    Speaks,
    Stop,
    Why,
)
from bot.redact import redactor_of
from bot.runs.ports import Told
from bot.sandbox.model import Ended, Job, Sandbox, Talk

START_SECONDS: Final = 120.0
"""From the program's start to its session: five at once needed half a minute on two cores."""

SILENT_SECONDS: Final = 900.0
"""Without a sign of life: a build or a test run that an agent waits for says nothing until it ends,
and a quarter of an hour of those is rare."""

GRACE_SECONDS: Final = 2.0
"""Between a request to stop and the end of every process: agents answer it in a few hundred
milliseconds, and whoever stops a run does not wait for one that does not."""

FATE_SECONDS: Final = 2.0
"""For the sandbox to say how a program ended whose output has ended."""

LOOK_SECONDS: Final = 0.25
"""How often it is looked whether the turn must end."""

REFUSED: Final = frozenset({401, 403})
"""What a model's server says to a key that it does not take. Asking again changes nothing."""

SUMMARY_LINES: Final = 20
SUMMARY_CHARACTERS: Final = 2_000

_WHOS: Mapping[Speaks, tuple[str, str]] = {
    "acp": ("bot.agents.acp", "AcpSession"),
    "claude": ("bot.agents.claude", "ClaudeSession"),
    "codex": ("bot.agents.codex", "CodexSession"),
}
_OUTCOMES: Mapping[Why, Outcome] = {
    "done": "ended",
    "cancelled": "failed",  # by itself: what we stop does not come this far
    "refused": "failed",
    "limit": "failed",
    "failed": "failed",
}
_DETAILS: Mapping[Why, str] = {
    "cancelled": "it broke its turn off",
    "refused": "its model refused the request",
    "limit": "it reached a limit of its own",
}
# A session's name is the agent's to choose; what looks like anything else is not kept.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}")
# Writes the files that the program wants in its home, from variables: in the job, so that no link
# that lies there leads the host astray, and with the doors' addresses, which only the job knows.
_PRELUDE: Final = (
    'i=0; while [ "$i" -lt "$ORCHESTRATE_FILES" ]; do '
    'eval "f=\\$ORCHESTRATE_FILE_$i; t=\\$ORCHESTRATE_TEXT_$i"; '
    'case $f in */*) mkdir -p "$HOME/${f%/*}" ;; esac; '
    'printf %s "$t" >"$HOME/$f" || exit 126; '
    'unset "ORCHESTRATE_FILE_$i" "ORCHESTRATE_TEXT_$i"; i=$((i + 1)); done; '
    'unset ORCHESTRATE_FILES; exec "$@"'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramAgent:
    """An agent whose program speaks a protocol that is known here.

    argv: the program with its first arguments. readable: the folders that it needs. files: texts by
    their path in its home. options: see `Setting`. silent: seconds without a sign of life.
    """

    name: str
    argv: tuple[str, ...]
    speaks: Speaks
    sandbox: Sandbox
    readable: tuple[Path, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    silent: float = SILENT_SECONDS

    async def turn(
        self,
        turn: Turn,
        *,
        stop: asyncio.Event | None = None,
        on_output: Callable[[str], None] | None = None,
    ) -> TurnEnded:
        """See `Agent.turn`."""
        begun = monotonic()
        # The protocol's library takes most of a second to load; others work meanwhile.
        await asyncio.to_thread(importlib.import_module, _WHOS[self.speaks][0])
        journal = Journal(
            turn.log,
            limit=turn.output_bytes,
            redact=redactor_of(turn.secrets).text,
            on_line=on_output,
        )
        try:
            return await _Conduct(self, turn, journal, begun).run(stop or asyncio.Event())
        finally:
            journal.close()

    def job(self, turn: Turn, more: tuple[str, ...], seconds: float) -> Job:
        """The job of one program; `more` are further arguments."""
        argv, files = (*self.argv, *more), {}
        if self.files:
            argv = ("/bin/sh", "-c", _PRELUDE, "sh", *argv)
            files = {"ORCHESTRATE_FILES": str(len(self.files))}
            for number, (path, text) in enumerate(self.files.items()):
                files |= {
                    f"ORCHESTRATE_FILE_{number}": path,
                    f"ORCHESTRATE_TEXT_{number}": text,
                }
        return Job(
            argv=argv,
            workspace=turn.workspace,
            home=turn.home,
            env={**turn.env, **self.env, **files, "ORCHESTRATE_TURN": str(turn.number)},
            readable=(*self.readable, *turn.readable),
            seconds=seconds,
            output_bytes=turn.output_bytes,
            log=turn.log,
            namespace=turn.namespace,
            doors=turn.doors,
            secrets=turn.secrets,
        )


class _Conduct:
    """One turn, under way."""

    def __init__(self, agent: ProgramAgent, turn: Turn, journal: Journal, begun: float) -> None:
        self._agent = agent
        self._turn = turn
        self._journal = journal
        self._begun = begun
        self._told: asyncio.Queue[Told] = asyncio.Queue()
        self._tail = ""
        self._named = turn.session

    async def run(self, stop: asyncio.Event) -> TurnEnded:
        """Carry it out."""
        agent, turn = self._agent, self._turn
        places = agent.sandbox.places(turn.workspace, turn.home)
        setting = Setting(
            open=self._open,
            cwd=places.workspace,
            journal=self._journal,
            permissions=Permissions(places.workspace, places.home, turn.config),
            options=agent.options,
        )
        session = open_session(agent.speaks, setting)
        work = asyncio.create_task(self._work(session))
        hearing = asyncio.create_task(self._hear(session))
        try:
            ended = await self._until(work, session, stop)
        finally:
            for task in (hearing, work):
                task.cancel()
            await asyncio.wait({hearing, work})
            await session.close()
        return ended

    @contextlib.asynccontextmanager
    async def _open(self, more: tuple[str, ...]) -> AsyncIterator[Talk]:
        left = self._begun + self._turn.seconds - monotonic()
        job = self._agent.job(self._turn, more, max(left, 0.0))
        async with self._agent.sandbox.talk(job, on_output=self._stderr) as talk:
            yield talk

    def _stderr(self, line: str) -> None:
        self._journal.touch()
        if line.strip():
            self._tail = line

    # -- the conversation

    async def _work(self, session: Session) -> Stop:
        try:
            stopped = await self._first(session, self._turn.session)
        except SessionLost as error:
            self._journal.note(f"The session could not be resumed: {error}; a new one begins.")
            await session.close()
            stopped = await self._first(session, "")
        while stopped.why == "done" and not self._told.empty():
            told = [self._told.get_nowait() for _ in range(self._told.qsize())]
            further = asyncio.create_task(session.prompt("\n\n".join(map(said, told))))
            try:
                for each in told:
                    await self._turn.steer.ack(each)
                stopped = await further
            finally:
                further.cancel()
        self._name(session)
        return stopped

    async def _first(self, session: Session, resume: str) -> Stop:
        async with asyncio.timeout(START_SECONDS):
            await session.start(resume)
        self._name(session)
        return await session.prompt(self._turn.prompt)

    async def _hear(self, session: Session) -> None:
        """Bring what people say to the agent: at once where it can, else with the next prompt."""
        while True:
            told = await self._turn.steer.next()
            self._journal.note(f"{told.by} says: {told.text}")
            with contextlib.suppress(Broken):
                if session.name and await session.steer(said(told)):
                    await self._turn.steer.ack(told)
                    continue
            await self._told.put(told)

    def _name(self, session: Session) -> None:
        if session.name != self._named and _NAME.fullmatch(session.name):
            self._named = session.name
            self._turn.on_session(session.name)

    # -- what ends it

    async def _until(
        self, work: asyncio.Task[Stop], session: Session, stop: asyncio.Event
    ) -> TurnEnded:
        while not work.done():
            await asyncio.wait({work}, timeout=LOOK_SECONDS)
            self._name(session)
            if not work.done() and (why := self._must_end(stop)):
                outcome, detail = why
                await self._cancel(work, session)
                return self._ended(outcome, detail)
        if stop.is_set():  # both at once
            return self._ended("stopped", "")
        return await self._judged(work, session)

    def _must_end(self, stop: asyncio.Event) -> tuple[Outcome, str] | None:
        """Say why the turn must end now; None while it may go on."""
        watched = self._turn.watched
        if stop.is_set():
            return "stopped", ""
        if watched is not None and watched.spent.is_set():
            return "budget", ""
        if refused := self._refusal():
            return "refused", refused
        if self._journal.looping:
            return "looped", self._journal.looping
        if monotonic() - self._journal.at > self._agent.silent:
            return "silent", ""
        return None

    def _refusal(self) -> str:
        """What a model's server says to our key, when that was its last word."""
        failures = self._turn.watched.failures if self._turn.watched else ()
        last = failures[-1] if failures else None
        return last.sentence if last is not None and last.status in REFUSED else ""

    async def _cancel(self, work: asyncio.Task[Stop], session: Session) -> None:
        with contextlib.suppress(TimeoutError, Broken, OSError, RuntimeError):
            async with asyncio.timeout(GRACE_SECONDS):
                await session.cancel()
                await asyncio.wait({work})

    async def _judged(self, work: asyncio.Task[Stop], session: Session) -> TurnEnded:
        """Say how the conversation ended by itself."""
        try:
            stopped = work.result()
        except LoginWanted as error:
            return self._refused() or self._ended("login", str(error))
        except TimeoutError:
            return self._refused() or self._ended("silent", "its session did not begin")
        except Broken as error:
            return self._refused() or await self._broken(error, session)
        if stopped.why == "failed" and (refused := self._refused()):
            return refused
        self._journal.flush()
        outcome = _OUTCOMES[stopped.why]
        if outcome == "ended" and not self._journal.tools and not self._journal.words:
            outcome = "nothing"
        return self._ended(outcome, stopped.words or _DETAILS.get(stopped.why, ""))

    def _refused(self) -> TurnEnded | None:
        """The gateway's word comes before the agent's: budget, then key."""
        watched = self._turn.watched
        if watched is not None and watched.spent.is_set():
            return self._ended("budget", "")
        refused = self._refusal()
        return self._ended("refused", refused) if refused else None

    async def _broken(self, error: Broken, session: Session) -> TurnEnded:
        fate: Ended | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FATE_SECONDS):
                fate = await session.fate()
        if fate is None:
            return self._ended("garbled", str(error))
        if fate.how != "exited":
            return self._ended(fate.how, "")
        last = (fate.tail.strip().splitlines() or [self._tail])[-1]
        return self._ended("died", last, fate.code)

    def _ended(self, outcome: Outcome, detail: str, code: int | None = None) -> TurnEnded:
        self._journal.flush()
        lines = [line.rstrip() for line in self._journal.words.splitlines() if line.strip()]
        summary = "\n".join(lines[-SUMMARY_LINES:])[-SUMMARY_CHARACTERS:]
        seconds = monotonic() - self._begun
        return TurnEnded(outcome, code, summary, seconds, self._named, detail)


def open_session(speaks: Speaks, setting: Setting) -> Session:
    """Make a session with a program that speaks so; nothing is started yet."""
    module, name = _WHOS[speaks]
    made: Session = getattr(importlib.import_module(module), name)(setting)
    return made


def said(told: Told) -> str:
    """Write what a person said so that the agent knows who speaks."""
    return f"A message from {told.by}, while you work:\n\n{told.text}"
