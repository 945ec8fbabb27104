"""A run's record: a chain of commits under `refs/orchestrate/<run>`.

The first commit is empty and has no parents. Each later one holds a batch of events in
`events.jsonl`, one canonical JSON object a line; its first parent is the record so far, and its
further parents are the checkpoints recorded with it, so that no rollback or force-push loses them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import pygit2
from pygit2.enums import FileMode

from bot.errors import Refused, TransientError

from . import refs
from .checkpoint import Identity
from .objects import find
from .repository import Mirror, commit_of, lookup, open_repository

EVENTS = "events.jsonl"
ATTEMPTS = 20
"""Times that an append starts again after another one; each time somebody has got on."""
MAX_BATCH = 32 * 1024 * 1024
"""Bytes of one commit's events: a record that was fetched may have been made by anybody."""
_RUN = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}\Z")


def ref_of(run: str) -> str:
    """Return the ref of a run's record; raises ValueError for what is no run's id."""
    if not _RUN.match(run):
        raise ValueError(f"{run!r} is no id of a run")
    return f"refs/orchestrate/{run}"


def tip(mirror: Mirror, run: str) -> str | None:
    """Return the newest commit of a run's record, or None where there is none."""
    return refs.tip(mirror, ref_of(run))


def append(
    mirror: Mirror,
    run: str,
    events: Sequence[Mapping[str, object]],
    *,
    checkpoints: Sequence[str] = (),
    identity: Identity,
    at: datetime,
) -> str | None:
    """Add events (each with its `seq`) and the checkpoints that they record; return the tip.

    What the record holds already is skipped, so that the same may be appended twice; None where
    there is no record and nothing to add. Raises Refused where the record has another event under
    a `seq`, TransientError where others keep appending.
    """
    for _ in range(ATTEMPTS):
        now = tip(mirror, run)
        new = _extend(mirror, run, now, events, checkpoints, identity, at)
        try:
            if new != now:
                refs.set_ref(mirror, ref_of(run), new, now)
        except refs.RefMoved:
            continue
        return new
    raise TransientError(f"The record of run {run} is being written by many at once.")


def last_seq(mirror: Mirror, run: str) -> int:
    """Return the `seq` of the newest event recorded, 0 where there is none."""
    repo = open_repository(mirror)
    return _last_seq(repo, refs.tip(mirror, ref_of(run)))


def read(mirror: Mirror, run: str) -> list[dict[str, Any]]:
    """Return all events of a run's record, oldest first; empty where there is no record.

    Raises Refused where the record cannot be read; `verify` says what is wrong with it.
    """
    repo = open_repository(mirror)
    events: list[dict[str, Any]] = []
    try:
        for commit in reversed(list(_chain(repo, refs.tip(mirror, ref_of(run))))):
            events += _events(repo, commit)
    except ValueError as error:
        raise Refused(f"The record of run {run} cannot be read: {error}.") from error
    return events


def verify(mirror: Mirror, run: str) -> list[str]:
    """Return what is wrong with a run's record, each as a sentence; empty where nothing is."""
    repo = open_repository(mirror)
    problems: list[str] = []
    commits: list[pygit2.Commit] = []
    try:
        commits += _chain(repo, refs.tip(mirror, ref_of(run)))
    except ValueError as error:
        problems.append(f"The chain of the record is broken: {error}.")
    if not commits and not problems:
        return [f"Run {run} has no record."]
    expected = 1
    for commit in reversed(commits):
        problems += _missing_parents(repo, commit)
        try:
            events = _events(repo, commit)
        except ValueError as error:
            problems.append(f"The record's commit {str(commit.id)[:12]} is damaged: {error}.")
            continue
        for event in events:
            if event["seq"] != expected:
                problems.append(f"Event {expected} is missing: {event['seq']} stands in its place.")
            expected = event["seq"] + 1
    return problems


def _extend(
    mirror: Mirror,
    run: str,
    now: str | None,
    events: Sequence[Mapping[str, object]],
    checkpoints: Sequence[str],
    identity: Identity,
    at: datetime,
) -> str | None:
    """Return the commit that adds to `now` what it lacks, or `now` where it lacks nothing."""
    repo = open_repository(mirror)
    fresh = _fresh(repo, run, now, events)
    unseen = [sha for sha in dict.fromkeys(checkpoints) if not _reaches(repo, now, sha)]
    if not fresh and not unseen:
        return now
    signature = identity.signature(at)
    if now is None:
        empty = repo.TreeBuilder().write()
        message = f"Begin the record of run {run}\n"
        now = str(repo.create_commit(None, signature, signature, message, empty, []))
    builder = repo.TreeBuilder()
    lines = b"".join(_line(event) for event in fresh)
    builder.insert(EVENTS, repo.create_blob(lines), FileMode.BLOB)
    parents = [pygit2.Oid(hex=now), *(commit_of(repo, sha).id for sha in unseen)]
    message = _message(run, fresh)
    return str(repo.create_commit(None, signature, signature, message, builder.write(), parents))


def _fresh(
    repo: pygit2.Repository, run: str, now: str | None, events: Sequence[Mapping[str, object]]
) -> list[Mapping[str, object]]:
    """Return the events that come after the record, in order; those before it must be in it."""
    last = _last_seq(repo, now)
    ordered = sorted(events, key=_seq)
    old = {_seq(event): _line(event) for event in ordered if _seq(event) <= last}
    for commit in _chain(repo, now) if old else ():
        for event in _events(repo, commit):
            if old.pop(event["seq"], line := _line(event)) != line:
                raise Refused(f"The record of run {run} has another event {event['seq']}.")
        if not old:
            break
    return [event for event in ordered if _seq(event) > last]


def _last_seq(repo: pygit2.Repository, now: str | None) -> int:
    for commit in _chain(repo, now):
        if events := _events(repo, commit):
            return _seq(events[-1])
    return 0


def _chain(repo: pygit2.Repository, now: str | None) -> Iterator[pygit2.Commit]:
    """Yield the record's commits, newest first; ValueError where one is absent."""
    while now is not None:
        commit = lookup(repo, now)
        if not isinstance(commit, pygit2.Commit):
            raise ValueError(f"the commit {now[:12]} is absent")
        yield commit
        now = str(commit.parent_ids[0]) if commit.parent_ids else None


def _events(repo: pygit2.Repository, commit: pygit2.Commit) -> list[dict[str, Any]]:
    """Return a commit's batch; ValueError where it is not as `append` writes one."""
    if not commit.parent_ids:
        if len(commit.tree):
            raise ValueError("it does not go back to its beginning")
        return []
    blob = find(commit.tree, EVENTS)
    if not isinstance(blob, pygit2.Blob):
        raise ValueError(f"it has no {EVENTS}")
    if repo.odb.read_header(blob.id)[1] > MAX_BATCH:
        raise ValueError(f"its {EVENTS} is larger than {MAX_BATCH} bytes")
    return [_parse(line) for line in blob.data.split(b"\n") if line]


def _parse(line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError("a line is no JSON") from error
    if not isinstance(event, dict) or type(event.get("seq")) is not int:
        raise ValueError("a line is no event with a seq")
    return event


def _missing_parents(repo: pygit2.Repository, commit: pygit2.Commit) -> list[str]:
    return [
        f"The checkpoint {str(parent)[:12]} is absent."
        for parent in commit.parent_ids[1:]
        if not isinstance(lookup(repo, str(parent)), pygit2.Commit)
    ]


def _reaches(repo: pygit2.Repository, now: str | None, sha: str) -> bool:
    commit = commit_of(repo, sha)
    return now is not None and repo.descendant_of(pygit2.Oid(hex=now), commit.id)


def _seq(event: Mapping[str, object]) -> int:
    seq = event["seq"]
    if type(seq) is not int or seq < 1:
        raise ValueError(f"{seq!r} is no seq of an event")
    return seq


def _line(event: Mapping[str, object]) -> bytes:
    """Return the one way to write an event: keys sorted, no spaces, ASCII."""
    canonical = json.dumps(event, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return canonical.encode("ascii") + b"\n"


def _message(run: str, events: Sequence[Mapping[str, object]]) -> str:
    if not events:
        return f"Record checkpoints of run {run}\n"
    kinds = ", ".join(dict.fromkeys(str(event.get("type", "event")) for event in events))
    return f"Record of run {run}: {kinds[:200]}\n"
