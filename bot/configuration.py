"""Whether a configuration can be read, shown as a check run on the commit it is in.

On a push to the default branch the check says what holds now; on a pull request, what would hold
once it is merged. A repository's own file is looked at, and the one for all of an organisation's.
GitHub takes 50 remarks in one request, which is also as many as are found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bot.errors import ConfigError
from bot.router import Desk
from bot.runs.model import Repository
from bot.threads import FileCheck
from policies import organisation
from policies.config import PATH, Problem, parse
from policies.verdict import code, counted


@dataclass(frozen=True, slots=True)
class Kind:
    """A file that is looked at; `name` is the check's, behind the prefix that all of ours have."""

    name: str
    path: str
    problems: Callable[[bytes], Sequence[Problem]]


OWN = Kind("configuration", PATH, lambda text: parse(text).problems)
OF_ALL = Kind(
    "organisation",
    organisation.PATH,
    lambda text: organisation.parse_organisation(text, "").problems,
)


def kinds_in(repository: Repository) -> tuple[Kind, ...]:
    """Say which configurations a repository may hold."""
    speaks_for_all = repository.name.casefold() == organisation.REPOSITORY
    return (OWN, OF_ALL) if speaks_for_all else (OWN,)


async def check_pushed(desk: Desk, repository: Repository, head: str, kind: Kind = OWN) -> None:
    """Show on a commit of the default branch whether the configuration in it is good."""
    text = await desk.threads.file(repository, kind.path, head)
    if text is None:
        return
    problems = kind.problems(text)
    holds = await _what_holds(desk, repository, kind) if problems else "It is in force."
    await desk.threads.show_check(repository, _check(kind, head, problems, holds))


async def check_proposed(desk: Desk, repository: Repository, pull: int, head: str) -> None:
    """Show on a pull request that changes a configuration whether it could be used."""
    for kind in kinds_in(repository):
        await _check_proposed(desk, repository, pull, head, kind)


async def _check_proposed(
    desk: Desk, repository: Repository, pull: int, head: str, kind: Kind
) -> None:
    proposed = await desk.threads.file(repository, kind.path, head)
    if proposed is None or proposed == await desk.threads.file(repository, kind.path):
        return
    # The branch may only lag behind the default branch: then it changes nothing.
    if not await desk.threads.changes(repository, pull, kind.path):
        return
    problems = kind.problems(proposed)
    holds = (
        "Once merged it would not be used, and the last good one would stay in force."
        if problems
        else "Once merged it is in force; until then nothing of it is."
    )
    await desk.threads.show_check(repository, _check(kind, head, problems, holds))


async def _what_holds(desk: Desk, repository: Repository, kind: Kind) -> str:
    """Say what is in force while the newest configuration is wrong."""
    try:
        found = await desk.repositories.in_force(repository)
    except ConfigError:
        return (
            "There was no good one before it, so commands follow the defaults and no run starts "
            "until it is mended."
        )
    if not found.wrong:
        return "A newer one is in force."
    if kind is OF_ALL or not found.commit:
        return "The last good one stays in force until it is mended."
    return f"The last good one, as of {code(found.commit[:7])}, stays in force until it is mended."


def _check(kind: Kind, head: str, problems: Sequence[Problem], holds: str) -> FileCheck:
    path, name = kind.path, code(kind.path)
    if not problems:
        return FileCheck(kind.name, head, path, "It can be read", f"{name} can be read. {holds}")
    lines = [f"- line {each.line}: {each.message}" for each in problems]
    wrong = counted(len(problems), "thing")
    summary = "\n".join(
        [f"{wrong} in {name} cannot be read as it stands. {holds}", "", *lines, "", _HELP]
    )
    remarks = tuple((each.line, each.column, each.message) for each in problems)
    return FileCheck(kind.name, head, path, f"{wrong} to mend", summary, remarks)


_HELP = (
    "`orchestrate config validate FILE` says the same on your machine, and `orchestrate config "
    "schema` prints the schema for your editor; for an organisation's file both take "
    "`--organisation`."
)
