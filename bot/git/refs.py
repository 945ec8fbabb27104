"""Names to commits, and moving a ref from what is expected or not at all."""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Mapping

import pygit2

from bot.errors import Refused, TransientError

from .locks import at_rest, moving
from .repository import Mirror, open_repository

LOCK_WAIT = 10.0
"""Seconds that a ref's lock is waited for; it is held for some milliseconds."""
LOCK_STALE = 5.0
"""Seconds after which a lock file that none of us holds is one whose process was killed, and not
that of an operator's own git."""
_HEX = re.compile(r"[0-9a-f]{4,40}\Z")
FOLLOWED = "refs/remotes/origin/"
"""Where a mirror keeps the branches of its remote."""
_SEARCHED = ("refs/heads/", FOLLOWED, "refs/tags/")


class RefMoved(Refused):
    """A ref was not where it was expected; `now` is where it is, or None."""

    def __init__(self, ref: str, now: str | None) -> None:
        super().__init__(f"{ref} has moved meanwhile: it is {f'at {now[:12]}' if now else 'gone'}.")
        self.ref = ref
        self.now = now


def resolve(mirror: Mirror, rev: str) -> str | None:
    """Return the commit that `rev` names, or None.

    `rev` is a full ref, a branch (ours before the remote's), a tag, or at least 4 digits of an id;
    none of git's other spellings, since people type it.
    """
    repo = open_repository(mirror)
    names = [rev] if rev.startswith("refs/") else [prefix + rev for prefix in _SEARCHED]
    for name in names:
        with contextlib.suppress(KeyError, pygit2.InvalidSpecError, ValueError):
            return _commit(repo.lookup_reference(name))
    if _HEX.match(rev):
        with contextlib.suppress(KeyError, ValueError):  # absent; ambiguous
            return _commit(repo[rev])
    return None


def tip(mirror: Mirror, ref: str) -> str | None:
    """Return what the full name `ref` points to, or None."""
    return _target(open_repository(mirror), ref)


def set_ref(mirror: Mirror, ref: str, new: str | None, expected: str | None) -> None:
    """Move `ref` from `expected` to `new`, durably; where it is at `new` already, that is done.

    None means that it does not exist. Raises RefMoved where it is elsewhere, Refused where `new`
    is no commit of the mirror, TransientError where it stays locked.
    """
    deadline = time.monotonic() + LOCK_WAIT
    while True:
        repo = open_repository(mirror) if new else _opened_anew(mirror)
        try:
            with moving(mirror.path), repo.transaction() as transaction:
                transaction.lock_ref(ref)
                now = _target(repo, ref)
                if now == new:
                    return
                if now != expected:
                    raise RefMoved(ref, now)
                if new is None:
                    transaction.remove(ref)
                else:
                    transaction.set_target(ref, new)
            return
        except (pygit2.GitError, OSError) as error:  # a lock's file is a matter of the system
            _wait_for_lock(mirror, ref, error, deadline)


def follow(mirror: Mirror, branches: Mapping[str, str | None]) -> None:
    """Keep where branches of the remote are now; None is one that is gone.

    For who holds the mirror's lock. It only saves a fetch, so what cannot be written is left.
    """
    repo = _opened_anew(mirror)
    for branch, sha in branches.items():
        name = f"{FOLLOWED}{branch}"
        with contextlib.suppress(pygit2.GitError, KeyError, ValueError, OSError):
            if sha is None:
                repo.references.delete(name)
            else:
                repo.references.create(name, sha, force=True)


def _opened_anew(mirror: Mirror) -> pygit2.Repository:
    """Open the mirror for this once: where libgit2 fails to drop a packed ref, that handle takes it
    for dropped from then on.
    """
    open_repository(mirror)  # raises Refused where there is none
    return pygit2.Repository(str(mirror.path), pygit2.enums.RepositoryOpenFlag.BARE)


def _wait_for_lock(mirror: Mirror, ref: str, error: Exception, deadline: float) -> None:
    locks = [mirror.path / f"{ref}.lock", mirror.path / "packed-refs.lock"]
    if "lock" not in str(error):
        raise Refused(f"{ref} cannot be moved: {error}.") from error
    with at_rest(mirror.path) as is_nobodys:
        for lock in locks if is_nobodys else ():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - lock.stat().st_mtime > LOCK_STALE:
                    lock.unlink()
    if time.monotonic() > deadline:
        raise TransientError(f"{ref} stays locked by another process.") from error
    time.sleep(random.uniform(0.001, 0.02))  # noqa: S311 - jitter, not a secret


def _commit(found: pygit2.Object | pygit2.Reference) -> str | None:
    try:
        return str(found.peel(pygit2.Commit).id)
    except (pygit2.GitError, pygit2.InvalidSpecError):
        return None


def _target(repo: pygit2.Repository, ref: str) -> str | None:
    try:
        return str(repo.lookup_reference(ref).resolve().target)
    except KeyError:
        return None
