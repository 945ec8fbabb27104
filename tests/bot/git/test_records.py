"""Records against remotes of every temper: real repositories, with hooks that refuse."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bot.errors import Refused
from bot.events import Event, Type
from bot.git import checkpoint, ledger, objects, records, refs
from bot.git import push as push_module
from bot.git.mirror import Mirror, ensure, fetch
from bot.git.records import AS_BRANCHES, Records
from bot.git.remote import Remote
from bot.git.verify import verify
from bot.runs.fold import evolve, new_run
from bot.runs.model import Checkpoint, Repository, Run

from .conftest import AT, BOT, sh

REPOSITORY = Repository(id=1, owner="acme", name="widgets", installation=7)


@dataclass
class Place:
    """A remote, and the records of one server for it; a second server has its own mirrors."""

    remote: Path
    folder: Path

    @property
    def records(self) -> Records:
        async def address(_: Repository) -> Remote:
            return Remote(str(self.remote))

        return Records(self.folder, address, BOT)

    @property
    def mirror(self) -> Mirror:
        return Mirror(self.folder / "1.git")

    def elsewhere(self) -> Place:
        return Place(self.remote, self.folder.with_name("elsewhere"))

    async def ready(self) -> Place:
        await ensure(self.mirror.path, Remote(str(self.remote)))
        return self

    def there(self, *refs: str) -> dict[str, str]:
        """The records at the remote, by ref."""
        found = sh(self.remote, "for-each-ref", "--format=%(refname) %(objectname)", *refs)
        return dict(line.split(" ", 1) for line in found.splitlines())

    def refuse(self, prefix: str, service: str = "receive") -> None:
        """Let the remote take no push to the refs under `prefix`."""
        sh(self.remote, "config", f"{service}.hideRefs", prefix)


@pytest.fixture
async def place(tmp_path: Path, origin: Path) -> Place:
    bare = tmp_path / "remote.git"
    sh(tmp_path, "clone", "-q", "--bare", str(origin), str(bare))
    return await Place(bare, tmp_path / "mirrors").ready()


def the_run(seq: int = 1, **more: Any) -> Run:
    run = evolve(new_run(_event(1), REPOSITORY), _event(1))
    return run.model_copy(update={"seq": seq, "base_sha": "0" * 40} | more)


def _event(seq: int, actor: str = "ada") -> Event:
    source = {"kind": "comment", "key": "1", "url": ""}
    data = {"request": "Do", "source": source} if seq == 1 else {"seconds": 1.5}
    kind = Type.REQUESTED if seq == 1 else "of a later version"
    return Event(id=f"e{seq}", seq=seq, at=AT, actor=actor, type=kind, data=data)


def events(first: int, last: int, actor: str = "ada") -> list[dict[str, Any]]:
    return [_event(seq, actor).model_dump(mode="json") for seq in range(first, last + 1)]


RUN = the_run()
REF, BRANCH = ledger.ref_of(RUN.id), ledger.branch_of(RUN.id)
RECORDS = (f"{ledger.REFS}*", f"{ledger.BRANCHES}*")


async def test_what_is_recorded_is_published_and_then_what_is_new(place: Place) -> None:
    ours = place.records
    await ours.publish(RUN)
    assert place.there(*RECORDS) == {}
    await ours.record(RUN, events(1, 2))
    await ours.publish(RUN)
    first = place.there(*RECORDS)
    assert first == {REF: ledger.tip(place.mirror, RUN.id)}
    await ours.publish(RUN)
    assert place.there(*RECORDS) == first
    await ours.record(RUN, events(3, 3))
    await ours.publish(RUN)
    assert place.there(*RECORDS) == {REF: ledger.tip(place.mirror, RUN.id)} != first
    audit = await ours.audit(RUN)
    assert (len(audit.events), audit.published, audit.problems) == (3, 3, ())


async def test_a_record_of_somebody_else_is_not_overwritten(place: Place) -> None:
    theirs = await place.elsewhere().ready()
    await theirs.records.record(RUN, events(1, 2, actor="mallory"))
    await theirs.records.publish(RUN)
    before = place.there(*RECORDS)
    await place.records.record(RUN, events(1, 3))
    with pytest.raises(Refused, match=f"record of run {RUN.id} at the remote is another than ours"):
        await place.records.publish(the_run(3))
    assert place.there(*RECORDS) == before
    assert ledger.read(place.mirror, RUN.id) == events(1, 3)
    audit = await place.records.audit(RUN)
    assert audit.problems == tuple(
        f"Event {seq} is another in `{REF}` at acme/widgets than in the record." for seq in (1, 2)
    )
    # Moved away, as the sentence says, ours takes its place.
    sh(place.remote, "update-ref", "-d", REF)
    await place.records.publish(the_run(3))
    assert place.there(REF) == {REF: ledger.tip(place.mirror, RUN.id)}


async def test_a_longer_record_is_taken_in_as_far_as_the_database_goes(place: Place) -> None:
    theirs = await place.elsewhere().ready()
    await place.records.record(RUN, events(1, 1))
    await place.records.publish(RUN)
    await theirs.records.bring_in(REPOSITORY)
    await theirs.records.restore(REPOSITORY, RUN.id)
    await theirs.records.record(RUN, events(2, 4))
    await theirs.records.publish(the_run(4))
    before = place.there(*RECORDS)
    with pytest.raises(Refused, match="goes on to event 4, the database ends with 1"):
        await place.records.publish(the_run(1))
    assert ledger.read(place.mirror, RUN.id) == events(1, 1)
    audit = await place.records.audit(RUN)
    assert audit.problems == (
        f"`{REF}` at acme/widgets goes on to event 4; the record ends with 1.",
    )
    await place.records.publish(the_run(4))
    assert place.there(*RECORDS) == before
    assert ledger.tip(place.mirror, RUN.id) == before[REF]


@pytest.mark.parametrize("known", [2, 4])
async def test_a_record_that_was_lost_here_goes_on_from_the_remotes(
    place: Place, known: int
) -> None:
    """The mirror is gone, so the database's events are recorded anew, in other commits."""
    await place.records.record(RUN, events(1, 3))
    await place.records.publish(the_run(3))
    shutil.rmtree(place.mirror.path)
    await place.ready()
    await place.records.record(RUN, events(1, known))
    await place.records.publish(the_run(max(known, 3)))
    assert ledger.read(place.mirror, RUN.id) == events(1, max(known, 3))
    assert place.there(*RECORDS) == {REF: ledger.tip(place.mirror, RUN.id)}
    assert verify(place.mirror, RUN.id) == []


async def test_a_mirror_that_is_gone_is_made_again_with_the_record(place: Place, head: str) -> None:
    sha = checkpoint.commit(
        place.mirror,
        tree=objects.tree_of(place.mirror, head),
        parents=[head],
        message="Step",
        author=BOT,
        committer=BOT,
        at=AT,
    )
    tree = objects.tree_of(place.mirror, head)
    data = {"number": 1, "sha": sha, "tree": tree, "parent": head, "kind": "human"}
    made = _event(2).model_copy(update={"type": Type.CHECKPOINTED, "data": data})
    await place.records.record(RUN, [*events(1, 1), made.model_dump(mode="json")])
    await place.records.publish(the_run(2))
    shutil.rmtree(place.mirror.path)
    assert await place.records.recorded(the_run(0, base_sha="")) is None
    assert not place.mirror.path.exists()
    run = the_run(2, base_sha=head, checkpoints=(Checkpoint.model_validate(data),))
    assert await place.records.recorded(run) == 2
    assert objects.exists(place.mirror, sha)
    assert ledger.tip(place.mirror, RUN.id) == place.there(REF)[REF]


async def test_an_event_that_was_put_on_top_at_the_remote_is_not_taken_in(place: Place) -> None:
    await place.records.record(RUN, events(1, 2))
    await place.records.publish(the_run(2))
    work = place.remote.parent / "work"
    sh(work.parent, "clone", "-q", str(place.remote), str(work))
    sh(work, "fetch", "-q", "origin", REF)
    sh(work, "checkout", "-q", "FETCH_HEAD")
    (work / ledger.EVENTS).write_bytes(ledger.line_of(events(1, 1, actor="mallory")[0]))
    sh(work, "commit", "-q", "-a", "-m", "forged")
    sh(work, "push", "-q", "origin", f"HEAD:{REF}")
    await place.records.record(RUN, events(3, 3))
    with pytest.raises(Refused, match="at the remote is damaged"):
        await place.records.publish(the_run(3))
    assert ledger.read(place.mirror, RUN.id) == events(1, 3)


async def test_what_is_no_record_at_the_remote_is_not_overwritten(place: Place, head: str) -> None:
    await place.records.record(RUN, events(1, 1))
    sh(place.remote, "update-ref", REF, head)
    with pytest.raises(Refused, match=f"record of run {RUN.id} at the remote is damaged"):
        await place.records.publish(RUN)
    assert place.there(REF) == {REF: head}
    audit = await place.records.audit(RUN)
    assert audit.problems[0].startswith(f"Of `{REF}` at acme/widgets: ")


# -- servers that take no such refs


@pytest.fixture(params=["receive", "transfer"])
def refusing(request: pytest.FixtureRequest, place: Place) -> Place:
    """A remote that takes no such refs, and perhaps does not show them either."""
    place.refuse("refs/orchestrate", request.param)
    return place


async def test_a_server_that_takes_no_such_ref_gets_a_branch(
    refusing: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, tried = refusing, list[str]()

    async def push(held: Mirror, remote: Remote, updates: Any) -> None:
        tried.extend(each.ref for each in updates)
        await original(held, remote, updates)

    original = push_module.push
    monkeypatch.setattr(records, "push", push)
    await place.records.record(RUN, events(1, 1))
    await place.records.publish(RUN)
    assert place.there(*RECORDS) == {BRANCH: ledger.tip(place.mirror, RUN.id)}
    assert (place.mirror.path / AS_BRANCHES).exists()
    # Found out once: the next push goes to the branch at once.
    tried.clear()
    await place.records.record(RUN, events(2, 2))
    await place.records.publish(the_run(2))
    assert tried == [BRANCH]
    assert place.there(*RECORDS) == {BRANCH: ledger.tip(place.mirror, RUN.id)}
    audit = await place.records.audit(RUN)
    assert (audit.published, audit.problems) == (2, ())


async def test_a_record_on_a_branch_is_found_by_another_server(refusing: Place) -> None:
    await refusing.records.record(RUN, events(1, 2))
    await refusing.records.publish(the_run(2))
    theirs = refusing.elsewhere()
    assert await theirs.records.bring_in(REPOSITORY) == [RUN.id]
    audit = await theirs.records.restore(REPOSITORY, RUN.id)
    assert (list(audit.events), audit.problems) == (events(1, 2), ())
    # That server goes on from it, and keeps in mind where it is.
    await theirs.records.record(RUN, events(3, 3))
    await theirs.records.publish(the_run(3))
    assert refusing.there(*RECORDS) == {BRANCH: ledger.tip(theirs.mirror, RUN.id)}
    await refusing.records.publish(the_run(3))
    assert ledger.read(refusing.mirror, RUN.id) == events(1, 3)


async def test_a_server_that_takes_the_ref_no_longer_gets_all_of_it_as_a_branch(
    place: Place,
) -> None:
    await place.records.record(RUN, events(1, 1))
    await place.records.publish(RUN)
    place.refuse("refs/orchestrate")
    await place.records.record(RUN, events(2, 2))
    await place.records.publish(the_run(2))
    assert place.there(BRANCH) == {BRANCH: ledger.tip(place.mirror, RUN.id)}
    theirs = place.elsewhere()
    assert await theirs.records.bring_in(REPOSITORY) == [RUN.id]
    assert (await theirs.records.restore(REPOSITORY, RUN.id)).events == tuple(events(1, 2))


async def test_a_server_that_takes_neither_is_told_of_and_not_remembered(place: Place) -> None:
    place.refuse("refs")
    await place.records.record(RUN, events(1, 1))
    with pytest.raises(Refused, match="allow `orchestrate-records/\\*` there, then `/resume`"):
        await place.records.publish(RUN)
    assert not (place.mirror.path / AS_BRANCHES).exists()
    sh(place.remote, "config", "--unset", "receive.hideRefs")
    await place.records.publish(RUN)
    assert place.there(*RECORDS) == {REF: ledger.tip(place.mirror, RUN.id)}


async def test_a_lock_at_the_remote_is_not_taken_for_a_refusal(place: Place) -> None:
    lock = place.remote / f"{REF}.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    await place.records.record(RUN, events(1, 1))
    publishing = asyncio.create_task(place.records.publish(RUN))
    await asyncio.sleep(0.3)
    lock.unlink()
    await publishing
    assert place.there(*RECORDS) == {REF: ledger.tip(place.mirror, RUN.id)}


# -- bringing in, and removing


async def test_a_repository_without_records_is_not_cloned(place: Place) -> None:
    theirs = place.elsewhere()
    assert await theirs.records.bring_in(REPOSITORY) == []
    assert not theirs.folder.exists()


async def test_a_broken_record_is_not_restored(place: Place, head: str) -> None:
    await place.records.record(RUN, events(1, 2))
    await place.records.publish(the_run(2))
    work = place.remote.parent / "work"
    sh(place.remote.parent, "clone", "-q", str(place.remote), str(work))
    sh(work, "fetch", "-q", "origin", REF)
    sh(work, "checkout", "-q", "FETCH_HEAD")
    lines = (work / ledger.EVENTS).read_text().splitlines()
    forged = json.loads(lines[1]) | {"actor": "mallory", "seq": 3}
    (work / ledger.EVENTS).write_text(json.dumps(forged) + "\n")
    sh(work, "commit", "-q", "-a", "-m", "forged")
    sh(work, "push", "-q", "origin", f"HEAD:{REF}")
    theirs = place.elsewhere()
    assert await theirs.records.bring_in(REPOSITORY) == [RUN.id]
    audit = await theirs.records.restore(REPOSITORY, RUN.id)
    assert audit.events == ()
    assert "Event 3 has the id of event 2." in audit.problems
    assert ledger.tip(theirs.mirror, RUN.id) is None


async def test_what_was_brought_in_survives_fetches_and_goes_with_the_remotes(
    place: Place,
) -> None:
    await place.records.record(RUN, events(1, 1))
    await place.records.publish(RUN)
    theirs = place.elsewhere()
    await theirs.records.bring_in(REPOSITORY)
    await fetch(theirs.mirror, Remote(str(place.remote)))
    assert refs.tip(theirs.mirror, ledger.seen_ref(REF))
    sh(place.remote, "update-ref", "-d", REF)
    assert await theirs.records.bring_in(REPOSITORY) == []


async def test_a_removed_record_is_gone_here_and_there(place: Place) -> None:
    await place.records.record(RUN, events(1, 2))
    await place.records.publish(the_run(2))
    sh(place.remote, "update-ref", BRANCH, place.there(REF)[REF])
    await place.records.remove(the_run(2))
    assert place.there(*RECORDS) == {}
    assert ledger.runs(place.mirror) == []


async def test_a_record_that_parts_from_ours_is_not_removed(place: Place) -> None:
    theirs = await place.elsewhere().ready()
    await theirs.records.record(RUN, events(1, 2, actor="mallory"))
    await theirs.records.publish(RUN)
    await place.records.record(RUN, events(1, 2))
    before = place.there(*RECORDS)
    with pytest.raises(Refused, match="another than ours"):
        await place.records.remove(the_run(2))
    assert place.there(*RECORDS) == before
    assert ledger.read(place.mirror, RUN.id) == events(1, 2)


async def test_of_many_that_publish_at_once_nothing_is_lost(place: Place) -> None:
    """Two servers with one database, each with a mirror of its own."""
    theirs = await place.elsewhere().ready()
    await place.records.record(RUN, events(1, 2))
    await theirs.records.record(RUN, events(1, 3))
    both = [place.records.publish(the_run(3)), theirs.records.publish(the_run(3))]
    await asyncio.gather(*both)
    await place.records.publish(the_run(3))
    assert ledger.read(place.mirror, RUN.id) == events(1, 3)
    assert place.there(*RECORDS) == {REF: ledger.tip(place.mirror, RUN.id)}


async def test_records_are_whole_in_a_mirror_without_the_contents_of_files(
    place: Place, head: str
) -> None:
    await place.records.record(RUN, events(1, 2))
    await place.records.publish(the_run(2))
    theirs = place.elsewhere()
    await ensure(theirs.mirror.path, Remote(str(place.remote)), blobless=True)
    assert await theirs.records.bring_in(REPOSITORY) == [RUN.id]
    assert (await theirs.records.restore(REPOSITORY, RUN.id)).events == tuple(events(1, 2))
    await place.records.record(RUN, events(3, 3))
    await place.records.publish(the_run(3))
    await theirs.records.publish(the_run(3))
    assert ledger.read(theirs.mirror, RUN.id) == events(1, 3)
    assert not objects.exists(theirs.mirror, sh(place.remote, "rev-parse", f"{head}:readme.txt"))
