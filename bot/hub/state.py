"""The hub's memory: tables of records, held in memory and written to one SQLite file.

Every change is a `put` or a `drop`; `State.commit` writes all of them since the last one in one
transaction. The file is in WAL mode, so what was committed survives a kill of the process;
`durable` adds the fsync that a power cut asks for.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pydantic import TypeAdapter

from bot.hub import records as r

# Ids start here, so that no id is mistaken for a number of an issue, and grow by one a table.
FIRST_ID = 1001

# GitHub keeps deliveries for three days; the hub keeps this many, so that its memory is bounded.
DELIVERIES_KEPT = 2_000


class Record(Protocol):
    """What every record has."""

    @property
    def id(self) -> int:
        """The stable numeric id, unique in its table."""


R = TypeVar("R", bound=Record)


class Table(Generic[R]):
    """The records of one kind, by id and by declared indexes, always in the order of their ids."""

    def __init__(self, kind: str, record: type[R], **indexes: Callable[[R], Hashable]) -> None:
        self.kind = kind
        self.last_id = FIRST_ID - 1
        self._adapter = TypeAdapter(record)
        self._rows: dict[int, R] = {}
        self._keys = indexes
        self._indexes: dict[str, defaultdict[Hashable, dict[int, None]]] = {
            name: defaultdict(dict) for name in indexes
        }
        self._dirty: set[int] = set()

    def __iter__(self) -> Iterator[R]:
        return iter(list(self._rows.values()))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, record_id: int) -> R:
        return self._rows[record_id]

    def get(self, record_id: int | None) -> R | None:
        """The record of this id, or None."""
        return None if record_id is None else self._rows.get(record_id)

    def where(self, **keys: Hashable) -> list[R]:
        """The records whose one index has this key, oldest first."""
        ((name, key),) = keys.items()
        return [self._rows[i] for i in sorted(self._indexes[name].get(key, ()))]

    def one(self, **keys: Hashable) -> R | None:
        """The newest record whose one index has this key, or None."""
        found = self.where(**keys)
        return found[-1] if found else None

    def count(self, **keys: Hashable) -> int:
        """How many records `where` would give."""
        ((name, key),) = keys.items()
        return len(self._indexes[name].get(key, ()))

    def next_id(self) -> int:
        """An id that was never given out before."""
        self.last_id += 1
        return self.last_id

    def put(self, record: R) -> R:
        """Add `record`, or put it in the place of the one with its id; gives it back."""
        self._insert(record)
        self._dirty.add(record.id)
        return record

    def drop(self, record_id: int) -> None:
        """Forget the record of this id."""
        self._unindex(self._rows.pop(record_id))
        self._dirty.add(record_id)

    def _insert(self, record: R) -> None:
        old = self._rows.get(record.id)
        for name, key in self._keys.items():
            value = key(record)
            if old is not None and (before := key(old)) != value:
                self._indexes[name][before].pop(record.id, None)
            self._indexes[name][value][record.id] = None
        self._rows[record.id] = record
        self.last_id = max(self.last_id, record.id)

    def _unindex(self, record: R) -> None:
        for name, key in self._keys.items():
            self._indexes[name][key(record)].pop(record.id, None)

    def load(self, rows: list[tuple[int, bytes]]) -> None:
        """Take in what was written before, as `(id, JSON)` in the order of the ids."""
        for _, data in rows:
            self._insert(self._adapter.validate_json(data))

    def changes(self) -> list[tuple[str, int, bytes | None]]:
        """What changed since the last call, as `(kind, id, JSON or None for dropped)`."""
        out = [
            (self.kind, i, self._adapter.dump_json(row) if (row := self._rows.get(i)) else None)
            for i in sorted(self._dirty)
        ]
        self._dirty.clear()
        return out


def _issue_key(record: Any) -> tuple[int, int]:
    return record.repo_id, record.number


class State:
    """All tables, and the file they are written to.

    `folder` is made where it is missing. `durable` asks for an fsync a commit. Close it at the end.
    """

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self.users = Table("user", r.User, login=lambda u: u.login.lower(), email=lambda u: u.email)
        self.teams = Table("team", r.Team, slug=lambda t: (t.organisation_id, t.slug))
        self.apps = Table("app", r.App, slug=lambda a: a.slug)
        self.installations = Table(
            "installation", r.Installation, account=lambda i: i.account_id, app=lambda i: i.app_id
        )
        self.tokens = Table("token", r.Token, digest=lambda t: t.digest)
        self.repositories = Table(
            "repository",
            r.Repository,
            name=lambda x: (x.owner_id, x.name.lower()),
            owner=lambda x: x.owner_id,
            parent=lambda x: x.fork_of,
        )
        self.labels = Table(
            "label", r.Label, repo=lambda x: x.repo_id, name=lambda x: (x.repo_id, x.name.lower())
        )
        self.issues = Table(
            "issue",
            r.Issue,
            number=_issue_key,
            repo=lambda x: x.repo_id,
            author=lambda x: x.author_id,
            state=lambda x: (x.repo_id, x.state),
        )
        self.comments = Table("comment", r.Comment, number=_issue_key, repo=lambda x: x.repo_id)
        self.reactions = Table("reaction", r.Reaction, subject=lambda x: (x.subject, x.subject_id))
        self.pulls = Table(
            "pull",
            r.Pull,
            number=_issue_key,
            repo=lambda x: x.repo_id,
            head=lambda x: (x.head_home, x.head_ref),
            sha=lambda x: (x.repo_id, x.head_sha),
            base=lambda x: (x.repo_id, x.base_ref),
        )
        self.reviews = Table("review", r.Review, number=_issue_key)
        self.review_comments = Table(
            "review_comment", r.ReviewComment, number=_issue_key, repo=lambda x: x.repo_id
        )
        self.check_suites = Table(
            "check_suite", r.CheckSuite, sha=lambda x: (x.repo_id, x.head_sha)
        )
        self.check_runs = Table(
            "check_run",
            r.CheckRun,
            sha=lambda x: (x.repo_id, x.head_sha),
            suite=lambda x: x.suite_id,
        )
        self.statuses = Table("status", r.CommitStatus, sha=lambda x: (x.repo_id, x.sha))
        self.labellings = Table("labelling", r.Labelling, number=_issue_key)
        self.activities = Table("activity", r.Activity, repo=lambda x: x.repo_id)
        self.rulesets = Table("ruleset", r.Ruleset, repo=lambda x: x.repo_id)
        self.deliveries = Table(
            "delivery", r.Delivery, app=lambda x: x.app_id, guid=lambda x: x.guid
        )
        self.verified = Table("verified", r.VerifiedCommit, sha=lambda x: (x.repo_id, x.sha))
        self._tables: dict[str, Table[Any]] = {
            t.kind: t for t in vars(self).values() if isinstance(t, Table)
        }
        folder.mkdir(parents=True, exist_ok=True)
        self._file = self._open(folder / "hub.sqlite", durable=durable)

    def _open(self, path: Path, *, durable: bool) -> sqlite3.Connection:
        file = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        file.execute("PRAGMA journal_mode=WAL")
        file.execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")
        file.execute(
            "CREATE TABLE IF NOT EXISTS records"
            " (kind TEXT, id INTEGER, data BLOB, PRIMARY KEY (kind, id)) WITHOUT ROWID"
        )
        file.execute("CREATE TABLE IF NOT EXISTS last_ids (kind TEXT PRIMARY KEY, id INTEGER)")
        for kind, table in self._tables.items():
            found = file.execute("SELECT id, data FROM records WHERE kind=? ORDER BY id", (kind,))
            table.load(found.fetchall())
        for kind, last in file.execute("SELECT kind, id FROM last_ids"):
            self._tables[kind].last_id = max(self._tables[kind].last_id, last)
        return file

    def next_number(self, repo_id: int) -> int:
        """The number of the repository's next issue or pull request."""
        return self.issues.count(repo=repo_id) + 1  # none is ever taken away

    def commit(self) -> None:
        """Write every change since the last commit, in one transaction."""
        self._trim_deliveries()
        changes = [c for t in self._tables.values() for c in t.changes()]
        if not changes:
            return
        gone = [(kind, i) for kind, i, data in changes if data is None]
        kept = [c for c in changes if c[2] is not None]
        lasts = {kind: self._tables[kind].last_id for kind, _, _ in changes}
        self._file.execute("BEGIN")
        self._file.executemany("DELETE FROM records WHERE kind=? AND id=?", gone)
        self._file.executemany("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", kept)
        self._file.executemany("INSERT OR REPLACE INTO last_ids VALUES (?, ?)", list(lasts.items()))
        self._file.execute("COMMIT")

    def _trim_deliveries(self) -> None:
        excess = len(self.deliveries) - DELIVERIES_KEPT
        if excess > DELIVERIES_KEPT // 10:  # seldom, since looking for the old ones takes a while
            done = [d for d in self.deliveries if d.status != "pending"]
            for old in done[:excess]:
                self.deliveries.drop(old.id)

    def close(self) -> None:
        """Write what is left and close the file."""
        self.commit()
        self._file.close()
