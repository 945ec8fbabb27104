from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pygit2
import pytest

from bot.errors import Refused
from bot.git import checkpoint, ledger, objects, refs
from bot.git.mirror import Mirror
from bot.git.verify import verify

from .conftest import AT, BOT, sh

RUN = "k3f9x0a2bq"


def _event(seq: int, **more: object) -> dict[str, object]:
    return {
        "v": 1,
        "id": f"e{seq}",
        "seq": seq,
        "at": "2026-01-02T03:04:05.000Z",
        "actor": "orchestrate",
        "type": "turn_ended",
        "data": {"é": "ü\udce9"},
    } | more


def _made(seq: int, *shas: str) -> dict[str, object]:
    """An event of a type that is not known yet, which names commits that the record keeps."""
    return _event(seq, type="bundled", data={"commits": list(shas)})


def _append(mirror: Mirror, *events: dict[str, object], checkpoints: tuple[str, ...] = ()) -> str:
    tip = ledger.append(mirror, RUN, events, checkpoints=checkpoints, identity=BOT, at=AT)
    assert tip is not None
    return tip


def _checkpoint(mirror: Mirror, head: str, message: str) -> str:
    tree = objects.tree_of(mirror, head)
    return checkpoint.commit(
        mirror, tree=tree, parents=[head], message=message, author=BOT, committer=BOT, at=AT
    )


def test_a_run_without_events_has_no_record(mirror: Mirror) -> None:
    assert ledger.append(mirror, RUN, [], identity=BOT, at=AT) is None
    assert ledger.tip(mirror, RUN) is None
    assert ledger.read(mirror, RUN) == []
    assert ledger.last_seq(mirror, RUN) == 0
    assert verify(mirror, RUN) == [f"Run {RUN} has no record."]


def test_events_are_read_as_they_were_written_and_recorded_once(mirror: Mirror) -> None:
    first = _append(mirror, _event(1), _event(2))
    assert _append(mirror, _event(1), _event(2)) == first
    last = _append(mirror, _event(2), _event(3))  # a replay that began earlier
    assert ledger.read(mirror, RUN) == [_event(1), _event(2), _event(3)]
    assert ledger.last_seq(mirror, RUN) == 3
    assert ledger.tip(mirror, RUN) == last
    assert verify(mirror, RUN) == []
    batch = sh(mirror.path, "show", f"{last}:{ledger.EVENTS}")
    assert batch == json.dumps(_event(3), sort_keys=True, separators=(",", ":"))
    sh(mirror.path, "fsck", "--strict")


def test_another_event_under_a_number_that_is_taken_is_refused(mirror: Mirror) -> None:
    _append(mirror, _event(1))
    with pytest.raises(Refused, match="another event 1"):
        _append(mirror, _event(1, type="other"), _event(2))
    assert ledger.read(mirror, RUN) == [_event(1)]


def test_checkpoints_outlive_their_branch(mirror: Mirror, head: str) -> None:
    one, two = _checkpoint(mirror, head, "one"), _checkpoint(mirror, head, "two")
    first = _append(mirror, _made(1, one), checkpoints=(one,))
    assert _append(mirror, _made(1, one), checkpoints=(one,)) == first
    last = _append(mirror, _made(2, two), checkpoints=(one, two))
    assert sh(mirror.path, "show", "-s", "--format=%P", last) == f"{first} {two}"
    _append(mirror, _event(3))
    sh(mirror.path, "gc", "-q", "--prune=now")
    assert objects.exists(mirror, one)
    assert objects.exists(mirror, two)
    assert ledger.read(mirror, RUN) == [_made(1, one), _made(2, two), _event(3)]
    assert verify(mirror, RUN) == []


def test_a_checkpoint_cannot_pass_for_the_record(mirror: Mirror, head: str) -> None:
    """What an agent commits under the record's own file name is not read."""
    repo = pygit2.Repository(str(mirror.path))
    builder = repo.TreeBuilder()
    builder.insert(ledger.EVENTS, repo.create_blob(b'{"seq":1}\n'), pygit2.enums.FileMode.BLOB)
    forged = checkpoint.commit(
        mirror,
        tree=str(builder.write()),
        parents=[head],
        message="x",
        author=BOT,
        committer=BOT,
        at=AT,
    )
    _append(mirror, _event(1), checkpoints=(forged,))
    assert ledger.read(mirror, RUN) == [_event(1)]
    refs.set_ref(mirror, ledger.ref_of("forged"), forged, None)
    assert "damaged" in " ".join(verify(mirror, "forged"))
    with pytest.raises(Refused, match="cannot be read"):
        ledger.read(mirror, "forged")


async def test_of_many_that_append_at_once_none_is_lost(mirror: Mirror, head: str) -> None:
    made = [_checkpoint(mirror, head, f"{number}") for number in range(8)]
    await asyncio.gather(
        *(asyncio.to_thread(_append, mirror, _event(1), checkpoints=(sha,)) for sha in made)
    )
    tip = ledger.tip(mirror, RUN)
    assert tip is not None
    assert all(objects.is_ancestor(mirror, sha, tip) for sha in made)
    assert ledger.read(mirror, RUN) == [_event(1)]


@pytest.mark.parametrize("run", ["", "a/b", "..", "a b", "-x", "a" * 65, "a.lock", "a\n"])
def test_what_is_no_id_of_a_run_names_no_ref(run: str) -> None:
    with pytest.raises(ValueError, match="no id"):
        ledger.ref_of(run)


def test_a_crash_between_objects_and_ref_is_mended_by_doing_it_again(
    mirror: Mirror, tmp_path: Path
) -> None:
    first = _append(mirror, _event(1))
    refs.set_ref(mirror, ledger.ref_of(RUN), None, first)  # as if the ref had not been written
    assert _append(mirror, _event(1)) == first
