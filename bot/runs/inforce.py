"""Which configuration holds: the newest one, or the last good one while that is wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from bot.errors import ConfigError
from bot.runs.model import Repository
from policies.config import PATH, Config, parse


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
class InForce:
    """The configuration that holds, by the id of its content.

    `wrong` says what is wrong with the newest one where that does not hold, and `commit` of when
    the one in force is; both are empty where it is the newest.
    """

    config: Config
    blob: str
    wrong: str = ""
    commit: str = ""


async def in_force(past: Past, repository: Repository, text: str, blob: str = "") -> InForce:
    """Find the configuration that holds: `text`, or while that is wrong the last good one.

    `ConfigError` names the first line that is wrong where there never was a good one: what was
    meant to be closed is not opened by a slip.
    """
    try:
        return InForce(read_config(text), blob)
    except ConfigError as error:
        async for each in past.earlier(repository, PATH):
            if config := parse(each.text).config:
                return InForce(config, each.blob, str(error), each.commit)
        raise


def read_config(text: str) -> Config:
    """Read a repository's configuration; `ConfigError` names the first line that is wrong."""
    parsed = parse(text)
    if parsed.config is None:
        first = parsed.problems[0]
        raise ConfigError(f"{PATH}, line {first.line}: {first.message}")
    return parsed.config
