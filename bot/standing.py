"""The facts about a person who gives a command: their role now, and what stands in for it.

GitHub is asked for the role, and for more only where the role is not enough by itself.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from bot.errors import UserError
from bot.runs.model import Repository, Run
from bot.threads import Threads
from policies.config import Config
from policies.facts import Person, Role
from policies.roles import may_act
from policies.who import floor


@dataclass(frozen=True, slots=True)
class Asked:
    """A command in a repository, about which people are asked.

    `author` opened the issue that it is about; empty where that is not known, and counts for
    nobody.
    """

    threads: Threads
    repository: Repository
    command: str
    config: Config
    author: str = ""

    async def person(self, login: str, run: Run | None = None) -> Person:
        """Say who somebody is as far as that decides; `UserError` where teams are not told."""
        role = await self.threads.role(self.repository, login)
        own = self.author and login.casefold() == self.author.casefold()
        person = Person(login, role, is_author=bool(own))
        if self._may(person):
            return person
        person = replace(person, behind=await self._behind(login, run))
        return person if self._may(person) else await self._with_teams(person)

    def _may(self, person: Person) -> bool:
        return may_act(self.command, person, self.config).allowed

    async def _behind(self, login: str, run: Run | None) -> tuple[Person, ...]:
        if run is None or not self.config.commands.delegation:
            return ()
        lenders = [each.by for each in run.delegates if each.to.casefold() == login.casefold()]
        return tuple([await self.person(each) for each in lenders])

    async def _with_teams(self, person: Person) -> Person:
        enough = at_least(person.role, floor(self.command))
        named = self.config.commands.people(self.command).teams if enough else ()
        owner = self.repository.owner.lower()
        held = [
            team
            for team in named
            if await self.threads.is_member(self.repository, f"{owner}/{team}", person.login)
        ]
        return replace(person, teams=frozenset(held))

    async def others_named(self, excluding: Collection[str]) -> bool:
        """Say whether anybody but those of `excluding` is named for the command, beside a role.

        Who is in a team is not looked up: somebody else is taken to be.
        """
        people = self.config.commands.people(self.command)
        if people.teams:
            return True
        left_out = {login.casefold() for login in excluding}
        named = [*people.users, *([self.author] if people.author and self.author else [])]
        for login in named:
            if login.casefold() in left_out or login.endswith("[bot]"):
                continue
            if at_least(await self.threads.role(self.repository, login), floor(self.command)):
                return True
        return False


async def may_speak(
    threads: Threads, repository: Repository, login: str, config: Config, author: str = ""
) -> bool:
    """Say whether agents may read what a person wrote: those who may command them, no others."""
    asked = Asked(threads, repository, "orchestrate", config, author)
    try:
        person = await asked.person(login)
    except UserError:
        return False
    return may_act("orchestrate", person, config).allowed


async def author_of(
    threads: Threads, run: Run | None, number: int, author: str, config: Config, command: str
) -> str:
    """Name who opened the issue that a command is about; asked only where that may decide.

    `number` and `author` are those of the conversation in which it was given.
    """
    if not config.commands.people(command).author:
        return ""
    if run is None or run.issue == number:
        return author
    if run.issue is None or run.is_local:
        return ""
    return (await threads.issue(run.repository, run.issue)).author


def at_least(role: Role | None, least: Role) -> bool:
    """Say whether a role is known and is enough."""
    return role is not None and role.at_least(least)
