"""A repository's own cases: facts, and the verdict that its configuration is to give of them.

cases:
  - name: lock files are closed to agents
    changes: [src/a.py, uv.lock]
    expect: refused
    says: uv.lock
  - name: writers start runs
    command: orchestrate
    role: write
    expect: allowed
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from policies.commands import may_command
from policies.config import Config
from policies.explain import explain
from policies.facts import (
    Author,
    Change,
    ChangeStatus,
    CommandFacts,
    Person,
    Role,
    Secret,
)
from policies.rules import judge
from policies.sections import Command, Line, Section
from policies.tree import Problem, plain, read
from policies.verdict import Verdict

MAX_CASES = 500
# A case is read by a person.
MAX_CHANGES = 200

_FILE = 0o100644


class FileChange(Section):
    """A changed file, as git would tell of it."""

    path: Line = Field(description="Its path.")
    old_path: Line | None = Field(default=None, description="The path it was renamed from.")
    status: ChangeStatus = Field(default="modified", description="What was done to it.")
    added: int = Field(default=1, ge=0, le=10**9, description="Lines added.")
    deleted: int = Field(default=0, ge=0, le=10**9, description="Lines taken away.")
    size: int = Field(default=100, ge=0, le=10**12, description="Bytes of the new content.")
    binary: bool = Field(default=False, description="Whether it is binary.")
    link: bool = Field(default=False, description="Whether it is a symbolic link now.")
    secret: Line | None = Field(default=None, description="The kind of a secret that it adds.")


def _expectation(value: str) -> str:
    if value not in ("allowed", "refused"):
        raise ValueError("A case expects `allowed` or `refused`; write one of them.")
    return value


class Case(Section):
    """Facts about changed files or about a command, and what is expected of them."""

    name: Line = Field(description="What the case says, as a sentence.")
    changes: Annotated[tuple[str | FileChange, ...], Field(max_length=MAX_CHANGES)] = Field(
        default=(), description="Changed files: paths, or more about each."
    )
    agent: str = Field(default="", description="The agent that changed them.")
    areas: tuple[str, ...] = Field(default=(), description="The areas of the agent's task.")
    command: Command | None = Field(default=None, description="A command, without its slash.")
    role: Role = Field(default=Role.WRITE, description="The role of the person who gives it.")
    user: str = Field(default="somebody", description="Their name on GitHub.")
    teams: tuple[str, ...] = Field(default=(), description="The teams that they are in.")
    author: bool = Field(default=False, description="Whether they opened the issue.")
    requester: bool = Field(default=False, description="Whether they asked for the run.")
    alone: bool = Field(default=False, description="Whether nobody else has the role.")
    expect: Annotated[str, AfterValidator(_expectation)] = Field(description="The verdict.")
    says: str = Field(default="", description="A part of the reason that is given.")

    @model_validator(mode="after")
    def _about_one_thing(self) -> Case:
        if bool(self.changes) is (self.command is not None):
            raise ValueError("A case is about `changes` or about a `command`; write one of them.")
        return self


class Cases(Section):
    """The file of cases."""

    cases: Annotated[tuple[Case, ...], Field(min_length=1, max_length=MAX_CASES)] = Field(
        description="The cases, each judged for itself."
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a case came out: `holds` where the verdict was the expected one, for such a reason."""

    name: str
    holds: bool
    expected: str
    verdict: Verdict


def parse_cases(text: str | bytes) -> tuple[Case, ...] | tuple[Problem, ...]:
    """Read a file of cases, or say what is wrong with it, each on its line."""
    root = read(text)
    if isinstance(root, Problem):
        return (root,)
    if root is None:
        return (Problem(1, 1, "The file is empty; write `cases:` and a list of them."),)
    try:
        found = Cases.model_validate_json(json.dumps(plain(root)))
    except ValidationError as error:
        return explain(error, root, Cases)
    return found.cases


def try_cases(cases: Iterable[Case], config: Config) -> tuple[Outcome, ...]:
    """Judge every case by a configuration."""
    return tuple(_tried(case, config) for case in cases)


def _tried(case: Case, config: Config) -> Outcome:
    verdict = _judged(case, config)
    expected: Literal[True, False] = case.expect == "allowed"
    holds = verdict.allowed is expected and case.says in verdict.reason
    return Outcome(case.name, holds, case.expect, verdict)


def _judged(case: Case, config: Config) -> Verdict:
    if case.command is not None:
        teams = frozenset(team.lower() for team in case.teams)
        person = Person(case.user, case.role, teams=teams, is_author=case.author)
        requester = case.user if case.requester else None
        return may_command(CommandFacts(case.command, person, requester, not case.alone), config)
    files = [FileChange(path=each) if isinstance(each, str) else each for each in case.changes]
    changes = [_change(each) for each in files]
    secrets = [Secret(each.path, 1, each.secret) for each in files if each.secret]
    return judge(changes, (), secrets, config, Author(case.agent, case.areas))


def _change(file: FileChange) -> Change:
    mode = 0o120000 if file.link else _FILE
    return Change(
        path=file.path,
        old_path=file.old_path,
        status=file.status,
        old_mode=0 if file.status == "added" else _FILE,
        new_mode=0 if file.status == "deleted" else mode,
        added=file.added,
        deleted=file.deleted,
        binary=file.binary,
        size=0 if file.status == "deleted" else file.size,
    )
