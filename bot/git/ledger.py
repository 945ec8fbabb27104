"""A run's record: a chain of commits under `refs/orchestrate/<run>`.

The first commit is empty and has no parents. Each later one holds a batch of events in
`events.jsonl`, one canonical JSON object a line; its first parent is the record so far, and its
further parents are the checkpoints recorded with it, so that no rollback or force-push loses them.

A server that takes no such ref has the same commits on the branch `orchestrate-records/<run>`. What
the remote had when it was last looked at lies under `refs/remotes/records/`, for either place.
"""

from __future__ import annotations

import contextlib
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
from .program import text
from .repository import Mirror, commit_of, lookup, open_repository

EVENTS = "events.jsonl"
REFS = "refs/orchestrate/"
BRANCHES = "refs/heads/orchestrate-records/"
SEEN = {REFS: "refs/remotes/records/refs/", BRANCHES: "refs/remotes/records/branches/"}
"""Where the remote's records are kept, by the place that they have there."""
ATTEMPTS = 20
"""Times that an append starts again after another one; each time somebody has got on."""
MAX_BATCH = 32 * 1024 * 1024
"""Bytes of one commit's events: a record that was fetched may have been made by anybody."""
MAX_CHAIN = 100_000
"""Commits of a record: a run of ten thousand turns has fewer; a fetched ref may be anything."""
_RUN = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}\Z")


class Damaged(ValueError):
    """A record, or a part of one, is not as `append` writes it; the text says how."""


def ref_of(run: str) -> str:
    """Return the ref of a run's record; raises ValueError for what is no run's id."""
    return REFS + _checked(run)


def branch_of(run: str) -> str:
    """Return the branch that holds the record where a server takes no such ref."""
    return BRANCHES + _checked(run)


def seen_ref(ref: str) -> str:
    """Return the ref of ours that says what the remote's `ref` was when last looked at."""
    place = BRANCHES if ref.startswith(BRANCHES) else REFS
    return SEEN[place] + ref.removeprefix(place)


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
        with _readable(run):
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
    with _readable(run):
        return _last_seq(open_repository(mirror), tip(mirror, run))


def read(mirror: Mirror, run: str, ref: str = "") -> list[dict[str, Any]]:
    """Return all events of a run's record, oldest first; empty where there is no record.

    `ref` names another place to read it from than our own. Raises Refused where the record cannot
    be read; `verify` says what is wrong with it.
    """
    with _readable(run):
        return _read(open_repository(mirror), refs.tip(mirror, ref or ref_of(run)))


def runs(mirror: Mirror) -> list[str]:
    """Return the runs that have a record here, or had one at the remote when last looked at."""
    found = set()
    for name in open_repository(mirror).raw_listall_references():
        for place in (REFS, *SEEN.values()):
            run = text(name.removeprefix(place.encode()))
            if name.startswith(place.encode()) and _RUN.match(run):
                found.add(run)
    return sorted(found)


def holds(mirror: Mirror, run: str, sha: str) -> bool:
    """Whether our record of a run has the record's commit `sha` in its chain."""
    with _readable(run):
        return _holds(open_repository(mirror), tip(mirror, run), sha)


def settle(
    mirror: Mirror, run: str, *, known: int | None = None, identity: Identity, at: datetime
) -> str | None:
    """Make our record the longest of ours and those seen at the remote; return its tip.

    Where both hold the same events in other commits, the remote's commits stay and ours follow.
    Raises Refused where they part, and where the remote's goes on from the `known` last event.
    """
    for ref in (ref_of(run), branch_of(run)):
        for _ in range(ATTEMPTS):
            ours, theirs = tip(mirror, run), refs.tip(mirror, seen_ref(ref))
            with _readable(run):
                _check_seen(mirror, run, theirs, known)
                new = _joined(mirror, run, ours, theirs, identity, at)
            try:
                if new is not None and new != ours:
                    refs.set_ref(mirror, ref_of(run), new, ours)
            except refs.RefMoved:
                continue
            break
        else:
            raise TransientError(f"The record of run {run} is being written by many at once.")
    return tip(mirror, run)


def _check_seen(mirror: Mirror, run: str, theirs: str | None, known: int | None) -> None:
    """Raise Refused where a record of the remote is none, or goes on where the database ends."""
    try:
        seqs = [event["seq"] for event in _read(open_repository(mirror), theirs)]
    except Damaged:
        seqs = [0]
    if seqs != [*range(1, len(seqs) + 1)]:
        raise Refused(
            f"The record of run {run} at the remote is damaged, so it was left as it is: "
            f"`orchestrate verify {run}` says how; move it away there, then `/resume`."
        )
    if known is not None and len(seqs) > known:
        raise Refused(
            f"The record of run {run} at the remote goes on to event {len(seqs)}, the database "
            f"ends with {known}: restore a newer copy of it, or begin with an empty one and "
            "`orchestrate rebuild`."
        )


def _joined(
    mirror: Mirror, run: str, ours: str | None, theirs: str | None, identity: Identity, at: datetime
) -> str | None:
    """Return the commit that holds what both records hold."""
    repo = open_repository(mirror)
    if theirs is None or _holds(repo, ours, theirs):
        return ours
    if ours is None or _holds(repo, theirs, ours):
        return theirs
    mine, seen = _read(repo, ours), _read(repo, theirs)
    shared = min(len(mine), len(seen))
    if [line_of(each) for each in mine[:shared]] != [line_of(each) for each in seen[:shared]]:
        raise Refused(
            f"The record of run {run} at the remote is another than ours, so it was left as it is: "
            f"`orchestrate verify {run}` says where they part; move it away there, then `/resume`."
        )
    made = [str(sha) for commit in chain(repo, ours) for sha in commit.parent_ids[1:]]
    return _extend(mirror, run, theirs, mine, made[::-1], identity, at)


@contextlib.contextmanager
def _readable(run: str) -> Iterator[None]:
    try:
        yield
    except Damaged as error:
        raise Refused(
            f"The record of run {run} cannot be read, since {error}; "
            f"`orchestrate verify {run}` says more."
        ) from error


def _read(repo: pygit2.Repository, now: str | None) -> list[dict[str, Any]]:
    commits = reversed(list(chain(repo, now)))
    return [event for commit in commits for event in events_of(repo, commit)]


def _holds(repo: pygit2.Repository, now: str | None, sha: str) -> bool:
    return any(str(commit.id) == sha for commit in chain(repo, now))


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
        message = beginning(run)
        now = str(repo.create_commit(None, signature, signature, message, empty, []))
    builder = repo.TreeBuilder()
    lines = b"".join(line_of(event) for event in fresh)
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
    old = {_seq(event): line_of(event) for event in ordered if _seq(event) <= last}
    for commit in chain(repo, now) if old else ():
        for event in events_of(repo, commit):
            if old.pop(event["seq"], line := line_of(event)) != line:
                raise Refused(f"The record of run {run} has another event {event['seq']}.")
        if not old:
            break
    return [event for event in ordered if _seq(event) > last]


def _last_seq(repo: pygit2.Repository, now: str | None) -> int:
    for commit in chain(repo, now):
        if events := events_of(repo, commit):
            return _seq(events[-1])
    return 0


def chain(repo: pygit2.Repository, now: str | None) -> Iterator[pygit2.Commit]:
    """Yield the record's commits, newest first; Damaged where one is absent."""
    for _ in range(MAX_CHAIN):
        if now is None:
            return
        commit = lookup(repo, now)
        if not isinstance(commit, pygit2.Commit):
            raise Damaged(f"its commit {now[:12]} is absent")
        yield commit
        now = str(commit.parent_ids[0]) if commit.parent_ids else None
    raise Damaged(f"it has more than {MAX_CHAIN} commits")


def events_of(repo: pygit2.Repository, commit: pygit2.Commit) -> list[dict[str, Any]]:
    """Return a commit's batch; Damaged where it is not as `append` writes one."""
    return [_parse(commit, line) for line in batch_of(repo, commit).split(b"\n") if line]


def batch_of(repo: pygit2.Repository, commit: pygit2.Commit) -> bytes:
    """Return the events of a commit as they are written; Damaged where it has none."""
    name = f"its commit {str(commit.id)[:12]}"
    if not commit.parent_ids:
        if len(commit.tree):
            raise Damaged(f"{name} does not go back to its beginning")
        return b""
    blob = find(commit.tree, EVENTS)
    if not isinstance(blob, pygit2.Blob):
        raise Damaged(f"{name} has no {EVENTS}")
    if repo.odb.read_header(blob.id)[1] > MAX_BATCH:
        raise Damaged(f"{name} has an {EVENTS} of more than {MAX_BATCH} bytes")
    return blob.data


def _parse(commit: pygit2.Commit, line: bytes) -> dict[str, Any]:
    name = f"its commit {str(commit.id)[:12]}"
    try:
        event = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{name} has a line that is no JSON") from error
    if not isinstance(event, dict) or type(event.get("seq")) is not int or event["seq"] < 1:
        raise Damaged(f"{name} has a line that is no event with a seq")
    return event


def _reaches(repo: pygit2.Repository, now: str | None, sha: str) -> bool:
    commit = commit_of(repo, sha)
    return now is not None and repo.descendant_of(pygit2.Oid(hex=now), commit.id)


def _seq(event: Mapping[str, object]) -> int:
    seq = event["seq"]
    if type(seq) is not int or seq < 1:
        raise ValueError(f"{seq!r} is no seq of an event")
    return seq


def line_of(event: Mapping[str, object]) -> bytes:
    """Return the one way to write an event: keys sorted, no spaces, ASCII."""
    canonical = json.dumps(event, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return canonical.encode("ascii") + b"\n"


def beginning(run: str) -> str:
    """Return the message of a record's first commit."""
    return f"Begin the record of run {run}\n"


def _checked(run: str) -> str:
    if not _RUN.match(run):
        raise ValueError(f"{run!r} is no id of a run")
    return run


def _message(run: str, events: Sequence[Mapping[str, object]]) -> str:
    if not events:
        return f"Record checkpoints of run {run}\n"
    kinds = ", ".join(dict.fromkeys(str(event.get("type", "event")) for event in events))
    return f"Record of run {run}: {kinds[:200]}\n"
