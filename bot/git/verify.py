"""Walking a run's record, and saying in plain sentences what was tampered with.

The chain of commits, the numbers and the form of the events, the checkpoints that they name, and
the times are looked at here, where the record lies. `parting` compares two tellings of the same
events: the remote's with ours, or the database's with the record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pygit2
from pydantic import ValidationError
from pygit2.enums import RepositoryOpenFlag

from bot.events import Event, Type

from . import ledger, refs
from .repository import Mirror, lookup, open_repository
from .trailers import CHECKPOINT, RUN, trailers_of

SLACK = timedelta(minutes=5)
"""How far time may go back from one event to the next: clocks are set, and what people and agents
cause at the same time is recorded in either order."""

NAMED = 20
"""Differences named one by one; a record that was exchanged as a whole has one an event."""


def verify(mirror: Mirror, run: str, ref: str = "") -> list[str]:
    """Return what is wrong with a run's record, each as a sentence; empty where nothing is.

    `ref` names another place to read it from than our own.
    """
    open_repository(mirror)  # or the sentence that says why not
    # Not the handle that is kept open: what it remembers may be gone from the disk.
    repo = pygit2.Repository(str(mirror.path), RepositoryOpenFlag.BARE)
    walk = _Walk(repo, run)
    commits: list[pygit2.Commit] = []
    try:
        for commit in ledger.chain(repo, refs.tip(mirror, ref or ledger.ref_of(run))):
            commits.append(commit)  # noqa: PERF402 - what came before the break is looked at too
    except ledger.Damaged as error:
        walk.problems.append(f"The record does not go back to its beginning: {error}.")
    if not commits and not walk.problems:
        return [f"Run {run} has no record."]
    for commit in reversed(commits):
        walk.commit(commit)
    return walk.problems


def parting(
    ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]], other: str
) -> list[str]:
    """Return where two tellings of the same events part, as sentences; `other` names the second.

    That one of them goes on where the other ends is no difference.
    """
    here, there = _by_seq(ours), _by_seq(theirs)
    both_end = min(max(here, default=0), max(there, default=0))
    found = []
    for seq in sorted({*here, *there}):
        if seq > both_end or here.get(seq) == there.get(seq):
            continue
        if seq not in there:
            found.append(f"Event {seq} of the record is missing in {other}.")
        elif seq not in here:
            found.append(f"Event {seq} in {other} is missing in the record.")
        else:
            found.append(f"Event {seq} is another in {other} than in the record.")
    left = len(found) - NAMED
    return [*found[:NAMED], f"So it is with {left} more events."] if left > 0 else found


def _by_seq(events: Sequence[Mapping[str, Any]]) -> dict[int, bytes]:
    return {event["seq"]: ledger.line_of(event) for event in events}


class _Walk:
    """Goes from the first commit of a record to the last; `problems` is what it found."""

    def __init__(self, repo: pygit2.Repository, run: str) -> None:
        self.problems: list[str] = []
        self._repo = repo
        self._run = run
        self._seq = 0
        self._ids: dict[str, int] = {}
        self._event_at: datetime | None = None
        self._commit_at: datetime | None = None

    def commit(self, commit: pygit2.Commit) -> None:
        """Look at one commit, with the events in it."""
        name = str(commit.id)[:12]
        at = datetime.fromtimestamp(commit.commit_time, UTC)
        if self._commit_at and at < self._commit_at - SLACK:
            self._say(f"The record's commit {name} is dated before the one that it follows.")
        self._commit_at = at
        if not commit.parent_ids and commit.message != ledger.beginning(self._run):
            self._say(f"The commit {name} does not begin the record of run {self._run}.")
        try:
            batch = ledger.batch_of(self._repo, commit)
            events = ledger.events_of(self._repo, commit)
        except ledger.Damaged as error:
            self._say(f"The record is damaged: {error}.")
            return
        if commit.parent_ids and [entry.name for entry in commit.tree] != [ledger.EVENTS]:
            self._say(f"The record's commit {name} holds more than its events.")
        for event in events:
            self._event(commit, event)
        self._form(name, batch, events)
        self._further_parents(commit, batch)

    def _say(self, problem: str) -> None:
        self.problems.append(problem)

    def _event(self, commit: pygit2.Commit, event: Mapping[str, Any]) -> None:
        seq, expected = event["seq"], self._seq + 1
        if seq > expected:
            self._say(f"Event {expected} is missing: {seq} stands in its place.")
        elif seq < expected:
            self._say(f"Event {seq} stands again where event {expected} belongs.")
        self._seq = seq
        try:
            read = Event.model_validate(event)
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"])
            self._say(f"Event {seq} is not whole: its `{where}` is missing or wrong.")
            return
        if self._ids.setdefault(read.id, seq) != seq:
            self._say(f"Event {seq} has the id of event {self._ids[read.id]}.")
        self._dated(commit, read)
        if read.type == Type.CHECKPOINTED:
            self._checkpoint(commit, read)

    def _dated(self, commit: pygit2.Commit, event: Event) -> None:
        if self._event_at and event.at < self._event_at - SLACK:
            self._say(f"Event {event.seq} is dated before the one that it follows.")
        if self._commit_at and event.at > self._commit_at + SLACK:
            name = str(commit.id)[:12]
            self._say(f"Event {event.seq} is dated after the commit {name}, which records it.")
        self._event_at = event.at

    def _form(self, name: str, batch: bytes, events: Sequence[Mapping[str, Any]]) -> None:
        lines = [line + b"\n" for line in batch.split(b"\n") if line]
        changed = [e["seq"] for e, line in zip(events, lines, strict=True) if not _is(e, line)]
        for seq in changed:
            self._say(f"Event {seq} is not written as events are: it was changed by hand.")
        if not changed and b"".join(lines) != batch:
            self._say(f"The events of the record's commit {name} are not written one a line.")

    # -- the checkpoints

    def _checkpoint(self, commit: pygit2.Commit, event: Event) -> None:
        data, seq = event.data, event.seq
        sha = str(data.get("sha"))
        made, name = lookup(self._repo, sha), f"The checkpoint {sha[:12]}"
        if not isinstance(made, pygit2.Commit):
            self._say(f"{name} of event {seq} is absent.")
            return
        if not self._repo.descendant_of(commit.id, made.id):
            recorded = str(commit.id)[:12]
            self._say(f"{name} of event {seq} is not kept by the commit {recorded}, as it must be.")
        if str(made.tree_id) != data.get("tree"):
            self._say(f"{name} has another tree than event {seq} says.")
        if data.get("kind") != "human":
            self._by_us(made, event, name)

    def _by_us(self, made: pygit2.Commit, event: Event, name: str) -> None:
        """What the product committed itself says so in its trailers."""
        if event.data.get("parent") not in [str(parent) for parent in made.parent_ids]:
            self._say(f"{name} has another parent than event {event.seq} says.")
        trailers = trailers_of(made.raw_message.decode("utf-8", "replace"))
        wanted = {RUN: self._run, CHECKPOINT: str(event.data.get("number"))}
        for trailer, value in wanted.items():
            if trailers.get(trailer) != (value,):
                self._say(f"{name} of event {event.seq} has no trailer `{trailer}: {value}`.")

    def _further_parents(self, commit: pygit2.Commit, batch: bytes) -> None:
        """Whatever a record keeps is named by an event of the same commit."""
        for parent in map(str, commit.parent_ids[1:]):
            if parent.encode() in batch:
                continue
            name = str(commit.id)[:12]
            self._say(f"The record's commit {name} keeps {parent[:12]}, which no event names.")


def _is(event: Mapping[str, Any], line: bytes) -> bool:
    try:
        return ledger.line_of(event) == line
    except ValueError:  # NaN and infinities, which JSON does not know
        return False
