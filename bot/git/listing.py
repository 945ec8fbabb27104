"""Whether a remote has anything new, asked without starting a program.

libgit2 asks in a quarter of the time that `git fetch` needs to find nothing. It only ever saves a
fetch: what it cannot tell, it leaves to the git program, whose errors are the ones that people see.
"""

from __future__ import annotations

import pygit2

from bot.errors import Refused

from .remote import Remote
from .repository import Mirror, open_repository

CONNECT_TIMEOUT = 5.0
"""Seconds to reach a remote; then the git program has its own, longer try."""
ANSWER_TIMEOUT = 10.0
"""Seconds that a remote may keep silent while it answers."""
MANY = 5_000
"""Refs from which on git itself asks: libgit2 gets the whole list (some of GitHub's repositories
have 100,000 refs/pull/*), while git asks for branches and tags alone."""

REDIRECTS = "http.followRedirects"
"""Must be off in a mirror: libgit2 would send the token to wherever it is redirected."""

_MIRRORED = {"refs/heads/": "refs/remotes/origin/", "refs/tags/": "refs/tags/"}
_LEDGERS = "refs/orchestrate/"

_large: set[str] = set()
"""Addresses that listed more refs than `MANY` since this process began."""

pygit2.settings.server_connect_timeout = int(CONNECT_TIMEOUT * 1000)
pygit2.settings.server_timeout = int(ANSWER_TIMEOUT * 1000)


def is_current(mirror: Mirror, remote: Remote, *, ledgers: bool = False) -> bool:
    """Whether the mirror certainly has the remote's branches and tags, and no others.

    With `ledgers`, the records of runs that the remote has as well. False is no answer: whether it
    has not, or it could not be told.
    """
    if remote.url in _large:
        return False
    try:
        repo = open_repository(mirror)
        there = _listed(repo, remote)
        return there is not None and _matches(repo, there, ledgers=ledgers)
    except (pygit2.GitError, Refused, KeyError, ValueError):
        return False


class _Callbacks(pygit2.RemoteCallbacks):
    """Sends the token with the first request, as the git program does."""

    def __init__(self, remote: Remote) -> None:
        super().__init__()
        self._header = remote.header()

    def custom_headers(self) -> list[str] | None:
        return [self._header[1]] if self._header else None


def _listed(repo: pygit2.Repository, remote: Remote) -> dict[str, str] | None:
    """Return what the remote's refs point to, by full name; None where it is not to be asked."""
    if remote.is_http and not _refuses_redirects(repo):
        return None
    asked = repo.remotes.create_anonymous(remote.url)
    heads = asked.list_heads(callbacks=_Callbacks(remote), proxy=True)
    if len(heads) > MANY:
        _large.add(remote.url)
    return {head.name: str(head.oid) for head in heads if head.name}


def _refuses_redirects(repo: pygit2.Repository) -> bool:
    return REDIRECTS in repo.config and not repo.config.get_bool(REDIRECTS)


def _matches(repo: pygit2.Repository, there: dict[str, str], *, ledgers: bool) -> bool:
    wanted = {
        mirrored + name.removeprefix(theirs): sha
        for theirs, mirrored in _MIRRORED.items()
        for name, sha in there.items()
        if name.startswith(theirs) and not name.endswith("^{}")
    }
    here = {
        ref.name: str(ref.target)
        for ref in repo.references.iterator()
        if ref.name.startswith((*_MIRRORED.values(), _LEDGERS))
    }
    ours = {name: here.pop(name) for name in [*here] if name.startswith(_LEDGERS)}
    if here != wanted:
        return False
    theirs = {name: sha for name, sha in there.items() if name.startswith(_LEDGERS)}
    return not ledgers or all(ours.get(name) == sha for name, sha in theirs.items())
