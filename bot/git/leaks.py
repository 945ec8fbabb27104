"""What a tree adds that looks like a secret, or is one of the server's own.

Read where the contents are, so that only places leave the process. What the tree before has as
well, wherever among what changed, is not added: code that moves takes nothing new with it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

import pygit2

from bot.errors import Refused
from bot.redact import Redactor
from policies.facts import KNOWN, Secret
from policies.gitleaks import Found, found_at, scan

from .program import text
from .repository import Mirror, open_repository
from .trees import SUBMODULE
from .walk import Line, differing_lines, root, trees_of

MOST = 100
"""Secrets that are told of: a comment names ten, and a few more say what kind of thing it is."""

_File = tuple[str, bytes]
"""A path and the id of what stands there."""


class _Known(threading.local):
    """What a thread looks for, as it was asked for last."""

    def __init__(self) -> None:
        self.redactor = Redactor()


_known = _Known()


def leaks(mirror: Mirror, old: str, new: str, known: frozenset[str]) -> tuple[Secret, ...]:
    """Return the secrets that `new` has and `old` has not, in the order of paths and lines.

    `known` are the server's own. Raises Refused where the mirror lacks one of the trees.
    """
    repo, redactor = open_repository(mirror), _looking_for(known)
    lines = differing_lines(trees_of(mirror), root(mirror, old), root(mirror, new))
    now = _files((path, line) for path, _, line in lines)
    if next(_found(repo, now, redactor), None) is None:
        return ()
    was = _files((path, line) for path, line, _ in lines)
    before = {found.digest for _, found in _found(repo, was, redactor)}
    added: set[Secret] = set()
    for path, found in _found(repo, now, redactor):
        if found.digest not in before:
            added.add(Secret(path, found.line, found.kind, found.marked))
            if len(added) >= MOST:
                break
    return tuple(sorted(added))


def _looking_for(known: frozenset[str]) -> Redactor:
    """Return a redactor of these secrets, made of the last one where that had no others.

    Each token of an hour is one more, and one takes 64 KB: made anew for every set of them, and
    kept, they would be hundreds of megabytes.
    """
    held = _known.redactor.known
    if not held <= known:
        _known.redactor, held = Redactor(), frozenset()
    _known.redactor.learn(known - held)
    return _known.redactor


def _files(lines: Iterable[tuple[bytes, Line | None]]) -> list[_File]:
    return [
        (text(path), line[-20:])
        for path, line in lines
        if line is not None and not line.startswith(SUBMODULE)
    ]


def _found(
    repo: pygit2.Repository, files: Iterable[_File], redactor: Redactor
) -> Iterator[tuple[str, Found]]:
    for path, oid in files:
        try:
            content = repo.odb.read(pygit2.Oid(raw=oid))[1]
        except KeyError as error:
            raise Refused(f"{path} is not in the mirror; fetch and try again.") from error
        for begin, end in redactor.find(content):
            yield path, found_at(content, begin, end, KNOWN)
        for found in scan(path, content):
            yield path, found
