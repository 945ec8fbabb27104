"""Commits of the product's own: deterministic, durable, and on a ref only by compare-and-swap."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pygit2

from .refs import set_ref
from .repository import Mirror, commit_of, open_repository, tree_at
from .trailers import (
    AGENT,
    CHECKPOINT,
    CO_AUTHOR,
    RUN,
    SIGNED_OFF,
    TASK,
    trailers_of,
    with_trailers,
)

__all__ = [
    "AGENT",
    "CHECKPOINT",
    "CO_AUTHOR",
    "RUN",
    "SIGNED_OFF",
    "TASK",
    "Identity",
    "commit",
    "trailers_of",
    "with_trailers",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_IN_NAMES = re.compile(r"[<>\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class Identity:
    """The name and address that a commit shows; what git cannot write of them is left out."""

    name: str
    email: str

    def signature(self, at: datetime) -> pygit2.Signature:
        """Return it as git's signature; raises ValueError for a time without its zone."""
        if (offset := at.utcoffset()) is None:
            raise ValueError("the time of a commit needs a time zone")
        email = _clean(self.email) or "unknown"
        name = _clean(self.name) or email.partition("@")[0]
        minutes = int(offset.total_seconds()) // 60
        return pygit2.Signature(name or "unknown", email, int(at.timestamp()), minutes, "utf-8")

    def trailer(self) -> str:
        """Return it as a trailer names a person, with the name and address that commits show."""
        signed = self.signature(_EPOCH)
        return f"{signed.name} <{signed.email}>"

    def line(self, at: datetime) -> bytes:
        """Return it as a commit holds it; raises ValueError for a time without its zone."""
        signed = self.signature(at)
        hours, minutes = divmod(abs(signed.offset), 60)
        zone = f"{'-' if signed.offset < 0 else '+'}{hours:02}{minutes:02}"
        return f"{signed.name} <{signed.email}> {signed.time} {zone}".encode()


def _clean(text: str) -> str:
    # Git drops these at either end by itself, and will have no empty rest.
    return " ".join(_NOT_IN_NAMES.sub(" ", text).split()).strip(" .,:;\"'\\")


def commit_bytes(
    tree: str, parents: Sequence[str], message: str, author: bytes, committer: bytes
) -> bytes:
    """Return a commit as git stores it; the same as `commit` makes of the same arguments."""
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
    head = "".join(f"{line}\n" for line in lines).encode()
    return b"%bauthor %b\ncommitter %b\n\n%b" % (head, author, committer, message.encode())


def commit(
    mirror: Mirror,
    *,
    tree: str,
    parents: Sequence[str],
    message: str,
    author: Identity,
    committer: Identity,
    at: datetime,
    ref: str | None = None,
    expected: str | None = None,
) -> str:
    """Make a commit, durably, and move `ref` (if any) from `expected` to it; return its id.

    The same arguments give the same commit, and a ref that has it already is left: to do it twice
    is harmless. Raises RefMoved where `ref` is elsewhere, Refused where tree or parents are absent.
    """
    repo = open_repository(mirror)
    sha = repo.create_commit(
        None,
        author.signature(at),
        committer.signature(at),
        message,
        tree_at(repo, tree).id,
        [commit_of(repo, parent).id for parent in parents],
    )
    if ref is not None:
        set_ref(mirror, ref, str(sha), expected)
    return str(sha)
