from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import Refused
from bot.git import checkpoint, objects, refs
from bot.git.checkpoint import Identity, trailers_of, with_trailers
from bot.git.mirror import Mirror

from .conftest import AT, BOT, sh

REF = "refs/heads/orchestrate/1-x"


def _commit(mirror: Mirror, head: str, **given: object) -> str:
    usual: dict[str, object] = {
        "tree": objects.tree_of(mirror, head),
        "parents": [head],
        "message": "Checkpoint 1\n",
        "author": Identity("Ada", "ada@example.org"),
        "committer": BOT,
        "at": AT,
    }
    return checkpoint.commit(mirror, **(usual | given))  # type: ignore[arg-type]


def test_a_commit_made_twice_is_one_and_its_ref_moves_once(mirror: Mirror, head: str) -> None:
    first = _commit(mirror, head, ref=REF)
    assert _commit(mirror, head, ref=REF) == first
    assert refs.tip(mirror, REF) == first
    with pytest.raises(refs.RefMoved):
        _commit(mirror, head, ref=REF, message="Another")
    assert refs.tip(mirror, REF) == first


def test_git_reads_a_commit_as_it_was_meant(mirror: Mirror, head: str) -> None:
    at = datetime(2026, 5, 6, 7, 8, 9, tzinfo=timezone(-timedelta(hours=3, minutes=30)))
    message = with_trailers("Fix é", {checkpoint.RUN: "abc", checkpoint.CHECKPOINT: "1"})
    sha = _commit(mirror, head, at=at, message=message)
    shown = sh(
        mirror.path, "show", "-s", "--format=%an|%ae|%cn|%aI|%s|%(trailers:only,separator=;)", sha
    )
    assert shown == (
        f"Ada|ada@example.org|{BOT.name}|2026-05-06T07:08:09-03:30|Fix é"
        "|Orchestrate-Run: abc;Orchestrate-Checkpoint: 1"
    )
    sh(mirror.path, "fsck", "--strict")


@pytest.mark.parametrize(
    ("name", "email", "shown"),
    [
        ("A <b> C", "a@b", "A b C <a@b>"),
        ("", "a@b", "a <a@b>"),
        ("<>\n", "", "unknown <unknown>"),
        ("x\nAuthor: y", "a@b>\n", "x Author: y <a@b>"),
    ],
)
def test_a_name_that_git_cannot_write_is_cleaned(
    mirror: Mirror, head: str, name: str, email: str, shown: str
) -> None:
    sha = _commit(mirror, head, author=Identity(name, email))
    assert sh(mirror.path, "show", "-s", "--format=%an <%ae>", sha) == shown


def test_a_commit_without_its_tree_or_its_time_zone_is_refused(mirror: Mirror, head: str) -> None:
    with pytest.raises(Refused, match="tree"):
        _commit(mirror, head, tree="0" * 40)
    with pytest.raises(Refused, match="commit"):
        _commit(mirror, head, parents=["0" * 40])
    with pytest.raises(ValueError, match="zone"):
        _commit(mirror, head, at=datetime(2026, 1, 1))


LINES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp")), max_size=20)
VALUES = LINES.map(lambda line: " ".join(line.split())).filter(bool)


@given(
    body=st.lists(LINES, max_size=5).map("\n".join),
    trailers=st.dictionaries(
        st.sampled_from(["Orchestrate-Run", "Co-authored-by", "Orchestrate-Task"]),
        st.lists(VALUES, min_size=1, max_size=3).map(tuple),
        min_size=1,
    ),
)
def test_trailers_are_read_as_they_were_written(
    body: str, trailers: dict[str, tuple[str, ...]]
) -> None:
    subject = "Subject\n\n"
    assert trailers_of(with_trailers(subject + body, trailers)) == trailers


@pytest.mark.parametrize(
    "message",
    [
        "",
        "Orchestrate-Run: forged",
        "Subject\n\nOrchestrate-Run: forged\n\nBody\n",
        "Subject\n\nBody\nOrchestrate-Run: forged\n",
    ],
)
def test_what_only_looks_like_a_trailer_is_none(message: str) -> None:
    assert trailers_of(message) == {}


def test_a_value_cannot_bring_a_trailer_of_its_own() -> None:
    message = with_trailers("S", {"Co-authored-by": "x\nOrchestrate-Run: forged", "Empty": ""})
    assert trailers_of(message) == {"Co-authored-by": ("x Orchestrate-Run: forged",)}
    with pytest.raises(ValueError, match="no name"):
        with_trailers("S", {"bad name": "x"})
