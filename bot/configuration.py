"""Whether a repository's configuration can be read, shown as a check run on the commit it is in.

On a push to the default branch the check says what holds now; on a pull request, what would hold
once it is merged. GitHub takes 50 remarks in one request, which is also as many as are found.
"""

from __future__ import annotations

from collections.abc import Sequence

from bot.errors import ConfigError
from bot.router import Desk
from bot.runs.model import Repository
from bot.threads import FileCheck
from policies.config import PATH, Problem, parse
from policies.verdict import code, counted

NAME = "configuration"
"""The check's name, behind the prefix that all of ours have."""


async def check_pushed(desk: Desk, repository: Repository, head: str) -> None:
    """Show on a commit of the default branch whether the configuration in it is good."""
    text = await desk.threads.file(repository, PATH, head)
    if text is None:
        return
    problems = parse(text).problems
    holds = await _what_holds(desk, repository) if problems else "It is in force."
    await desk.threads.show_check(repository, _check(head, problems, holds))


async def check_proposed(desk: Desk, repository: Repository, pull: int, head: str) -> None:
    """Show on a pull request that changes the configuration whether it could be used."""
    proposed = await desk.threads.file(repository, PATH, head)
    if proposed is None or proposed == await desk.threads.file(repository, PATH):
        return
    # The branch may only lag behind the default branch: then it changes nothing.
    if not await desk.threads.changes(repository, pull, PATH):
        return
    problems = parse(proposed).problems
    holds = (
        "Once merged it would not be used, and the last good one would stay in force."
        if problems
        else "Once merged it is in force; until then nothing of it is."
    )
    await desk.threads.show_check(repository, _check(head, problems, holds))


async def _what_holds(desk: Desk, repository: Repository) -> str:
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
    return f"The last good one, as of {code(found.commit[:7])}, stays in force until it is mended."


def _check(head: str, problems: Sequence[Problem], holds: str) -> FileCheck:
    name = code(PATH)
    if not problems:
        return FileCheck(NAME, head, PATH, "It can be read", f"{name} can be read. {holds}")
    lines = [f"- line {each.line}: {each.message}" for each in problems]
    wrong = counted(len(problems), "thing")
    summary = "\n".join(
        [f"{wrong} in {name} cannot be read as it stands. {holds}", "", *lines, "", _HELP]
    )
    remarks = tuple((each.line, each.column, each.message) for each in problems)
    return FileCheck(NAME, head, PATH, f"{wrong} to mend", summary, remarks)


_HELP = (
    "`orchestrate config validate FILE` says the same on your machine, and `orchestrate config "
    "schema` prints the schema for your editor."
)
