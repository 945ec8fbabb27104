"""Facts that the rules are applied to: plain values, read by others from git and GitHub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from policies.owners import Owned

ChangeStatus = Literal["added", "modified", "deleted", "renamed", "typechange", "mode"]

# Modes as git writes them in a tree (gitformat-index, "32-bit mode").
MODE_SYMLINK = 0o120000
MODE_SUBMODULE = 0o160000


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs between two trees.

    Modes are git's (0 where the side does not exist), `added` and `deleted` count lines
    (0 for binary files), and `size` is that of the new content in bytes (0 when deleted).
    """

    path: str
    old_path: str | None
    status: ChangeStatus
    old_mode: int
    new_mode: int
    added: int
    deleted: int
    binary: bool
    size: int


@dataclass(frozen=True, slots=True)
class Author:
    """Which agent made a candidate, and the areas that the plan gave its task: none means all."""

    agent: str = ""
    areas: tuple[str, ...] = ()


ANYBODY = Author()


@dataclass(frozen=True, slots=True, order=True)
class Secret:
    """What looks like a secret in what a candidate adds: where, and of which kind; never itself.

    `kind` is a rule's name, or `KNOWN` for one that the server itself keeps. `marked` says that
    its line has the word that allows it, where the configuration heeds that.
    """

    path: str
    line: int
    kind: str
    marked: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Dependency:
    """What a candidate newly depends on, by name, and the manifest or lock file that names it."""

    path: str
    name: str


KNOWN = "secret-of-this-server"
"""The kind of a secret that the server knows because it is its own."""


class Role(StrEnum):
    """What a person may do on a repository, in GitHub's own words."""

    NONE = "none"
    READ = "read"
    TRIAGE = "triage"
    WRITE = "write"
    MAINTAIN = "maintain"
    ADMIN = "admin"

    def at_least(self, least: Role) -> bool:
        """Whether this role includes everything that `least` may do."""
        order = list(Role)
        return order.index(self) >= order.index(least)


@dataclass(frozen=True, slots=True)
class Person:
    """Someone on GitHub; `role` is None when GitHub did not say what it is.

    `teams` are those of the repository's organisation that were asked about, by the names in their
    addresses; `is_author` says whether they opened the issue, and `behind` are those who delegated
    to them on this run, as they are at this moment.
    """

    login: str
    role: Role | None
    is_bot: bool = False
    teams: frozenset[str] = frozenset()
    is_author: bool = False
    behind: tuple[Person, ...] = ()


@dataclass(frozen=True, slots=True)
class CommandFacts:
    """A person gave a command.

    `requester` is the login of who asked for the run (None before there is one);
    `others_can_approve` says whether anybody else could approve its result. `doubted` says that
    nobody can tell who asked for it, so that it may have been anybody.
    """

    command: str
    person: Person
    requester: str | None
    others_can_approve: bool
    doubted: bool = False


@dataclass(frozen=True, slots=True)
class ApprovalFacts:
    """A person approves a checkpoint.

    `seen_sha` is the commit the person named (or the whole or the start of it), None when
    they named none; `head_sha` is the full name of the head. `others_can` says whether
    anybody who had no part in the change could approve it instead. `doubted` says that nobody can
    tell who had one, so that it may have been anybody.
    """

    person: Person
    requester: str | None
    co_authors: tuple[str, ...]
    others_can: bool
    seen_sha: str | None
    head_sha: str
    doubted: bool = False


@dataclass(frozen=True, slots=True)
class Approver:
    """Somebody whose approval of the head stands, with the role they have at this moment.

    `teams` are those that were asked about, as `organisation/team` in small letters; `behind` are
    those who delegated to them on this run, and `is_author` says whether they opened the issue.
    """

    login: str
    role: Role | None
    teams: frozenset[str] = frozenset()
    is_author: bool = False
    behind: tuple[Person, ...] = ()


@dataclass(frozen=True, slots=True)
class ConsentFacts:
    """All approvals of one head, and whose the paths are that it changes.

    `part` are those who asked for the change or wrote at it.
    """

    organisation: str
    approvers: tuple[Approver, ...]
    owned: tuple[Owned, ...] = ()
    part: frozenset[str] = frozenset()


Method = Literal["merge", "squash", "rebase"]
"""A way in which GitHub merges."""

METHODS: tuple[Method, ...] = ("merge", "squash", "rebase")


@dataclass(frozen=True, slots=True)
class BranchRules:
    """What GitHub asks of whatever is merged into a branch, beside what the configuration does.

    `reviews` are approving reviews, `stale` says that a push voids them, and `auto_merge` that the
    repository lets GitHub merge by itself once the rules are met.
    """

    reviews: int = 0
    code_owners: bool = False
    stale: bool = False
    checks: tuple[str, ...] = ()
    queue: bool = False
    linear: bool = False
    signatures: bool = False
    methods: tuple[Method, ...] = METHODS
    auto_merge: bool = False


CheckState = Literal["green", "red", "pending", "missing"]


@dataclass(frozen=True, slots=True)
class Reported:
    """What the repository's own CI says of a commit under a name."""

    name: str
    state: CheckState


@dataclass(frozen=True, slots=True)
class RequiredFacts:
    """The names that must be green on a head, what GitHub says, and what people set aside there."""

    names: tuple[str, ...]
    reported: tuple[Reported, ...] = ()
    set_aside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PreflightFacts:
    """What is known beside the start of a run.

    `branch` is its base, with its `rules` and what is `reported` on its tip as `base`. `closed` are
    rules that keep the run's own branch from being pushed, `permissions` what the App was given
    (None where GitHub did not say), and `named` the paths in the request.
    """

    branch: str
    rules: BranchRules = BranchRules()
    base: tuple[Reported, ...] = ()
    closed: tuple[str, ...] = ()
    permissions: Mapping[str, str] | None = None
    archived: bool = False
    named: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HoldFacts:
    """What may keep a pull request from being merged: its labels, and who holds it and why."""

    labels: frozenset[str] = frozenset()
    holds: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit of people: its author by name and address, and the addresses that signed it off."""

    sha: str
    author: str
    address: str
    signed_off_by: tuple[str, ...] = ()
    is_merge: bool = False


@dataclass(frozen=True, slots=True)
class TrustFacts:
    """A person trusts a pull request that no run made: the commit they named, and its head now."""

    seen_sha: str
    head_sha: str
    is_open: bool


@dataclass(frozen=True, slots=True)
class WorkFacts:
    """Somebody asks for work on a pull request that no run made: its head, and what was trusted."""

    head_sha: str
    trusted: frozenset[str]
    is_open: bool


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent: dollars, tokens, and minutes in which agents worked."""

    usd: float = 0.0
    tokens: int = 0
    minutes: float = 0.0


@dataclass(frozen=True, slots=True)
class DaySpent:
    """What a repository has spent today, and of that what `login` asked for."""

    login: str
    repository: Spent = Spent()
    person: Spent = Spent()
