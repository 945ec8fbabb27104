"""Pushing refs, each with a lease: nobody's commit is ever overwritten unseen."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bot.errors import Refused

from . import lfs
from .locks import Busy, writing
from .mirror import RECEIVE_PACK, remote_refs
from .program import NETWORK_TIMEOUT, Finished, failure, run
from .refs import follow
from .remote import Remote
from .repository import Mirror

BRANCHES = "refs/heads/"

_REJECTED = re.compile(r"^!\t[^\t]*:(?P<ref>[^\t:]+)\t(?P<why>.*)$", re.M)


@dataclass(frozen=True, slots=True)
class Update:
    """One ref, by its full name, from `expected` to `new`; None means that it does not exist."""

    ref: str
    new: str | None
    expected: str | None


class PushRejected(Refused):
    """The remote took some refs not: another had moved them, or a rule of the remote forbids it.

    `now` says what the remote has, by ref, for those that were not taken, and `why` what the remote
    says of the first.
    """

    def __init__(self, message: str, now: Mapping[str, str | None], why: str = "") -> None:
        super().__init__(message)
        self.now = dict(now)
        self.why = why


async def push(mirror: Mirror, remote: Remote, updates: Sequence[Update]) -> None:
    """Make the remote's refs what `updates` say; what it has already is done.

    Each ref moves by itself, from what is expected or not at all. What Git LFS keeps of a branch's
    files goes before it. Raises PushRejected for those
    that did not; TransientError, or Refused, where the remote could not be spoken to.
    """
    todo = list(updates)
    branches = [(u.new, u.expected) for u in updates if u.new and u.ref.startswith(BRANCHES)]
    # First, since the remote may refuse a branch that names what it does not have.
    await lfs.push(mirror, remote, branches)
    while todo:
        done = await _push(mirror, remote, todo)
        if done.status == 0:
            await _remembered(mirror, todo)
            return
        reasons = _reasons(done)
        if not reasons and "unable to delete" not in done.err:
            raise failure("push", done, remote)
        now = await remote_refs(remote, *(update.ref for update in todo))
        left = [update for update in todo if now.get(update.ref) != update.new]
        refused = [u for u in left if u.ref in reasons or now.get(u.ref) != u.expected]
        if refused:
            raise _rejected(refused, now, reasons)
        # A ref that was deleted before made git push nothing: the others go again, without it.
        if len(left) == len(todo):
            raise failure("push", done, remote)
        todo = left


async def _remembered(mirror: Mirror, updates: Sequence[Update]) -> None:
    """Keep what the remote's branches are now, so that nobody need fetch to learn of our own push.

    Whoever fetches at this moment brings them in, or the next one does.
    """
    now = {u.ref.removeprefix(BRANCHES): u.new for u in updates if u.ref.startswith(BRANCHES)}
    if now:
        with contextlib.suppress(Busy):
            async with writing(mirror.path, 0.0):
                await asyncio.to_thread(follow, mirror, now)


async def _push(mirror: Mirror, remote: Remote, updates: Sequence[Update]) -> Finished:
    leases = [f"--force-with-lease={u.ref}:{u.expected or ''}" for u in updates]
    return await run(
        "push",
        "--porcelain",
        "--no-verify",
        RECEIVE_PACK,
        *leases,
        "--end-of-options",
        remote.url,
        *(f"{update.new or ''}:{update.ref}" for update in updates),
        git_dir=mirror.path,
        remote=remote,
        timeout=NETWORK_TIMEOUT,
    )


def _reasons(done: Finished) -> dict[str, str]:
    report = done.out.decode("utf-8", "replace")
    return {match["ref"]: match["why"] for match in _REJECTED.finditer(report)}


def _rejected(
    refused: Sequence[Update], now: Mapping[str, str], reasons: Mapping[str, str]
) -> PushRejected:
    first = refused[0]
    has = now.get(first.ref)
    if has != first.expected:
        why = f"it is now at {has[:12]}" if has else "it is gone"
    else:
        why = reasons.get(first.ref, "the remote refused it")
    left = {u.ref: now.get(u.ref) for u in refused}
    return PushRejected(f"The push to {first.ref} was rejected: {why}.", left, why)
