"""Facts for the tests of the rules, with what a test does not care about filled in."""

from __future__ import annotations

from policies.config import Config, parse
from policies.facts import ApprovalFacts, Change, ChangeStatus, CommandFacts, Person, Role

HEAD = "def5678" + "0" * 33


def change(
    path: str,
    *,
    old_path: str | None = None,
    status: ChangeStatus = "modified",
    old_mode: int = 0o100644,
    new_mode: int = 0o100644,
    size: int = 10,
) -> Change:
    return Change(path, old_path, status, old_mode, new_mode, 1, 1, False, size)


def config(text: str = "") -> Config:
    parsed = parse(text)
    assert parsed.config is not None, parsed.problems
    return parsed.config


def command(
    name: str,
    role: Role | None,
    *,
    requester: str | None = "ada",
    login: str = "grace",
    others: bool = True,
    bot: bool = False,
) -> CommandFacts:
    return CommandFacts(name, Person(login, role, bot), requester, others)


def approval(
    *,
    login: str = "grace",
    role: Role | None = Role.MAINTAIN,
    requester: str | None = "ada",
    co_authors: tuple[str, ...] = (),
    others: bool = True,
    seen: str | None = None,
    bot: bool = False,
) -> ApprovalFacts:
    return ApprovalFacts(Person(login, role, bot), requester, co_authors, others, seen, HEAD)
