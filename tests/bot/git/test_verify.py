"""Records that somebody tampered with, in every way that git lets them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pygit2
import pytest

from bot.git import checkpoint, ledger, objects, refs
from bot.git.mirror import Mirror
from bot.git.verify import NAMED, parting, verify

from .conftest import AT, BOT

RUN = "k3f9x0a2bq"
ID = 12
"""Digits of a commit's id in a sentence."""

Event = dict[str, Any]


def event(seq: int, **more: Any) -> Event:
    at = AT + timedelta(minutes=seq)
    return {
        "v": 1,
        "id": f"e{seq}",
        "seq": seq,
        "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "actor": "orchestrate",
        "type": "turn_ended",
        "data": {"outcome": "ended"},
    } | more


def checkpointed(mirror: Mirror, seq: int, parent: str, /, **more: Any) -> Event:
    """Commit a checkpoint as the product does, and give the event that tells of it."""
    number = str(more.get("number", seq))
    trailers = {"Orchestrate-Run": more.pop("run", RUN), "Orchestrate-Checkpoint": number}
    sha = checkpoint.commit(
        mirror,
        tree=objects.tree_of(mirror, parent),
        parents=[parent],
        message=checkpoint.with_trailers(f"Step {seq}", trailers),
        author=BOT,
        committer=BOT,
        at=AT,
    )
    tree = objects.tree_of(mirror, sha)
    data = {"number": seq, "sha": sha, "tree": tree, "parent": parent, "kind": "agent"}
    return event(seq, type="checkpointed", data=data | more)


def append(mirror: Mirror, *events: Event, at: datetime | None = None) -> str:
    made = [each["data"]["sha"] for each in events if each["type"] == "checkpointed"]
    at = at or AT + timedelta(minutes=events[-1]["seq"])
    tip = ledger.append(mirror, RUN, events, checkpoints=made, identity=BOT, at=at)
    assert tip
    return tip


def forge(
    mirror: Mirror,
    content: bytes,
    *,
    parents: Sequence[str] = (),
    names: Sequence[str] = (ledger.EVENTS,),
    on: str | None = None,
    message: str = "x",
    at: datetime = AT + timedelta(hours=1),
) -> str:
    """Put a commit of one's own on top of the record."""
    repo = pygit2.Repository(str(mirror.path))
    builder = repo.TreeBuilder()
    for name in names:
        builder.insert(name, repo.create_blob(content), pygit2.enums.FileMode.BLOB)
    tip = ledger.tip(mirror, RUN)
    first = [tip] if tip and on is None else [on] if on else []
    signature = BOT.signature(at)
    sha = repo.create_commit(
        None, signature, signature, message, builder.write(), [*first, *parents]
    )
    refs.set_ref(mirror, ledger.ref_of(RUN), str(sha), tip)
    return str(sha)


def line(*events: Event) -> bytes:
    return b"".join(ledger.line_of(each) for each in events)


def test_a_record_as_the_product_writes_it_has_nothing_wrong(mirror: Mirror, head: str) -> None:
    first = checkpointed(mirror, 2, head, number=1)
    append(mirror, event(1), first)
    append(mirror, event(3, type="of a later version", note="a field that is not known"))
    second = checkpointed(mirror, 4, first["data"]["sha"], number=2)
    again = event(5, type="checkpointed", data={**first["data"], "kind": "human"})
    append(mirror, second, again)
    assert verify(mirror, RUN) == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"not json\n", "no JSON"),
        (b"[]\n", "no event"),
        (b'{"seq":true}\n', "no event"),
        (b'{"seq":0}\n', "no event"),
        (b"[" * 100_000 + b"\n", "no JSON"),
        (b"\xff\n", "no JSON"),
        (line(event(3)), "Event 2 is missing: 3 stands in its place."),
        (line(event(1, id="e9")), "Event 1 stands again where event 2 belongs."),
        (line(event(2, id="e1")), "Event 2 has the id of event 1."),
        (line(event(2)) + b"\n", "are not written one a line"),
        (json.dumps(event(2)).encode() + b"\n", "Event 2 is not written as events are"),
        (line(event(2))[:-1], "are not written one a line"),
        (line(event(2)).replace(b'"v":1', b'"v":NaN'), "Event 2 is not"),
        (line(event(2)).replace(b'"seq":2', b'"seq":9,"seq":2'), "Event 2 is not written"),
        (line(event(2, actor=None)), "Event 2 is not whole: its `actor` is missing or wrong."),
        (line(event(2, at="2026-01-02T03:04:05")), "its `at` is missing or wrong"),
        (line(event(2, at="2026-01-02T02:04:05Z")), "Event 2 is dated before the one"),
        (line(event(2, at="2026-01-02T08:04:05Z")), "Event 2 is dated after the commit"),
        (line(event(2, type="checkpointed", data={})), "The checkpoint None of event 2 is absent."),
    ],
)
def test_events_that_were_tampered_with_are_named(
    mirror: Mirror, content: bytes, problem: str
) -> None:
    append(mirror, event(1))
    forge(mirror, content)
    found = verify(mirror, RUN)
    assert problem in " ".join(found)
    assert len(found) <= 2


def test_a_checkpoint_that_is_gone_is_named(mirror: Mirror, head: str) -> None:
    made = checkpointed(mirror, 1, head)
    append(mirror, made)
    sha = made["data"]["sha"]
    (mirror.path / "objects" / sha[:2] / sha[2:]).unlink()
    assert verify(mirror, RUN) == [f"The checkpoint {sha[:ID]} of event 1 is absent."]


Tamper = Callable[[Mirror, str], Event]


@pytest.mark.parametrize(
    ("tamper", "problem"),
    [
        (lambda m, h: checkpointed(m, 1, h, tree="0" * 40), "has another tree than event 1 says"),
        (lambda m, h: checkpointed(m, 1, h, parent="0" * 40), "has another parent than event 1"),
        (lambda m, h: checkpointed(m, 1, h, run="aaaaaaaaaa"), f"`Orchestrate-Run: {RUN}`"),
        (
            lambda m, h: event(1, type="checkpointed", data=_of_a_person(m, h) | {"kind": "agent"}),
            "no trailer `Orchestrate-Checkpoint: 1`",
        ),
    ],
)
def test_a_checkpoint_that_is_another_than_its_event_says_is_named(
    mirror: Mirror, head: str, tamper: Tamper, problem: str
) -> None:
    append(mirror, tamper(mirror, head))
    assert problem in " ".join(verify(mirror, RUN))


def _of_a_person(mirror: Mirror, head: str) -> Event:
    tree = objects.tree_of(mirror, head)
    return {"number": 1, "sha": head, "tree": tree, "parent": head, "kind": "human"}


def test_a_persons_commits_need_no_trailers(mirror: Mirror, head: str) -> None:
    append(mirror, event(1, type="checkpointed", data=_of_a_person(mirror, head)))
    assert verify(mirror, RUN) == []


def test_a_checkpoint_that_the_record_does_not_keep_is_named(mirror: Mirror, head: str) -> None:
    append(mirror, event(1))
    made = checkpointed(mirror, 2, head)
    recording = forge(mirror, line(made))
    sha = made["data"]["sha"]
    assert verify(mirror, RUN) == [
        f"The checkpoint {sha[:ID]} of event 2 is not kept by the commit {recording[:ID]}, as it "
        "must be."
    ]


def test_a_commit_that_was_put_into_the_record_is_named(mirror: Mirror, head: str) -> None:
    append(mirror, event(1))
    forged = forge(mirror, line(event(2)), parents=[head])
    name = f"The record's commit {forged[:ID]}"
    assert verify(mirror, RUN) == [f"{name} keeps {head[:ID]}, which no event names."]


def test_files_that_were_put_into_the_record_are_named(mirror: Mirror) -> None:
    append(mirror, event(1))
    forged = forge(mirror, line(event(2)), names=(ledger.EVENTS, "more.txt"))
    assert verify(mirror, RUN) == [f"The record's commit {forged[:ID]} holds more than its events."]
    forged = forge(mirror, b"", names=("more.txt",))
    assert f"commit {forged[:ID]} has no {ledger.EVENTS}" in " ".join(verify(mirror, RUN))


def test_a_chain_that_was_cut_is_named(mirror: Mirror) -> None:
    """The newest events under a beginning of somebody's own, or under none."""
    append(mirror, event(1))
    cut = forge(mirror, line(event(2)), on="")
    assert f"its commit {cut[:ID]} does not go back to its beginning" in " ".join(
        verify(mirror, RUN)
    )
    refs.set_ref(mirror, ledger.ref_of(RUN), None, cut)
    empty = forge(mirror, b"", names=(), message=ledger.beginning("aaaaaaaaaa"))
    forge(mirror, line(event(2)))
    assert verify(mirror, RUN) == [
        f"The commit {empty[:ID]} does not begin the record of run {RUN}.",
        "Event 1 is missing: 2 stands in its place.",
    ]


def test_a_commit_that_is_gone_is_named_with_what_else_is_wrong(mirror: Mirror) -> None:
    first = append(mirror, event(1))
    forge(mirror, line(event(2, id="e1")))
    (mirror.path / "objects" / first[:2] / first[2:]).unlink()
    assert verify(mirror, RUN) == [
        f"The record does not go back to its beginning: its commit {first[:ID]} is absent.",
        "Event 1 is missing: 2 stands in its place.",
    ]


def test_a_commit_that_was_dated_back_is_named(mirror: Mirror) -> None:
    append(mirror, event(1))
    back = forge(mirror, line(event(2)), at=datetime(2025, 1, 1, tzinfo=UTC))
    assert f"The record's commit {back[:ID]} is dated before the one that it follows." in verify(
        mirror, RUN
    )


def test_where_two_tellings_part_is_named() -> None:
    ours = [event(1), event(2), event(3)]
    assert parting(ours, ours[:2], "the database") == []
    assert parting(ours, [event(1), event(3)], "the database") == [
        "Event 2 of the record is missing in the database."
    ]
    assert parting(ours, [event(1), event(2, actor="mallory")], "the database") == [
        "Event 2 is another in the database than in the record."
    ]
    assert parting(ours[::2], ours, "the database") == [
        "Event 2 in the database is missing in the record."
    ]
    many = [event(seq) for seq in range(1, 2 * NAMED)]
    other = [each | {"actor": "mallory"} for each in many]
    found = parting(many, other, "the database")
    assert len(found) == NAMED + 1
    assert found[-1] == f"So it is with {NAMED - 1} more events."
