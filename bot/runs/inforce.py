"""Which configuration holds: the newest one, or the last good one while that is wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

from bot.errors import ConfigError
from bot.runs.model import Repository
from policies.config import PATH, Config
from policies.organisation import Said, under


@dataclass(frozen=True, slots=True)
class Earlier:
    """What the configuration was at an earlier commit: the id of its content, and its text."""

    commit: str
    blob: str
    text: str


class Past(Protocol):
    """Where a file's earlier versions are."""

    def earlier(self, repository: Repository, path: str) -> AsyncIterator[Earlier]:
        """Yield what a file of the default branch was before what it is now, the newest first."""


@dataclass(frozen=True, slots=True)
class Above:
    """What a repository's organisation says, by the id of its content; empty where it says nothing.

    `wrong` says what is wrong with the newest version, while an earlier one holds. `name` is the
    repository that it is in.
    """

    said: Said = field(default_factory=Said)
    blob: str = ""
    wrong: str = ""
    name: str = ""


NOTHING_ABOVE = Above()
"""For repositories that belong to nobody else, as those on one's own machine."""


class Organisations(Protocol):
    """What organisations say. `ConfigError` where one never said anything that can be read."""

    async def now(self, repository: Repository, *, sure: bool = False) -> Above:
        """Say what holds now; `sure` asks GitHub even if it was asked a moment ago."""

    async def at(self, repository: Repository, blob: str) -> Above:
        """Say what an earlier version said, by the id of its content."""

    def forget(self, repository: Repository) -> None:
        """Ask anew next time."""


class NoOrganisations:
    """For repositories on one's own machine."""

    async def now(self, repository: Repository, *, sure: bool = False) -> Above:
        """Nothing."""
        return NOTHING_ABOVE

    async def at(self, repository: Repository, blob: str) -> Above:
        """Nothing."""
        return NOTHING_ABOVE

    def forget(self, repository: Repository) -> None:
        """Nothing is known."""


@dataclass(frozen=True, slots=True)
class InForce:
    """The configuration that holds, within its organisation's bounds, by the id of its content.

    `wrong` says what is wrong with the newest one where that does not hold, and `commit` of when
    the one in force is; both are empty where it is the newest.
    """

    config: Config
    blob: str
    wrong: str = ""
    commit: str = ""


async def in_force(
    past: Past, repository: Repository, text: str, blob: str = "", above: Above = NOTHING_ABOVE
) -> InForce:
    """Find the configuration that holds: `text`, or while that is wrong the last good one.

    `ConfigError` names the first line that is wrong where there never was a good one: what was
    meant to be closed is not opened by a slip.
    """
    try:
        return InForce(read_config(text, above), blob, above.wrong)
    except ConfigError as error:
        wrong = f"{error} {above.wrong}".rstrip()
        async for each in past.earlier(repository, PATH):
            if config := under(above.said, each.text).config:
                return InForce(config, each.blob, wrong, each.commit)
        raise


def read_config(text: str, above: Above = NOTHING_ABOVE) -> Config:
    """Read a repository's configuration on what is above it.

    `ConfigError` names the first line that is wrong.
    """
    parsed = under(above.said, text)
    if parsed.config is None:
        first = parsed.problems[0]
        raise ConfigError(f"{PATH}, line {first.line}: {first.message}")
    return parsed.config
