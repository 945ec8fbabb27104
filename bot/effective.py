"""What holds in a repository on GitHub, and who said it: its file, its organisation, the server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from bot.app import bounds_of, reach
from bot.errors import OperatorError, Refused, UserError
from bot.github.answers import id_of
from bot.github.client import GitHubApp
from bot.github.organisation import GitHubOrganisations
from bot.github.threads import GitHubThreads
from bot.github.visitor import Visitor
from bot.organisation import Organisations, name_of
from bot.runs.inforce import Above
from bot.runs.model import Repository
from bot.settings import Settings
from policies.config import PATH, Parsed, parse
from policies.organisation import PATH as ORGANISATION_PATH
from policies.provenance import Origin, origins

TOKENS = ("GH_TOKEN", "GITHUB_TOKEN")
"""Where people keep a token of their own for GitHub's programs."""


@dataclass(frozen=True, slots=True)
class Effective:
    """Every setting with its origin; `read` says what was found, file by file."""

    settings: tuple[Origin, ...]
    read: tuple[str, ...]


async def effective(settings: Settings, env: Mapping[str, str], full_name: str) -> Effective:
    """Say what holds in `owner/name`; `UserError` says what is wrong with a file, or missing.

    GitHub is asked as the App of the settings where there is one, else with a token of the person's
    own from `env`.
    """
    owner, _, name = full_name.partition("/")
    async with _github(settings, env) as github:
        threads = GitHubThreads(github)
        try:
            repository = await _found(github, threads, owner, name)
            text = await threads.file(repository, PATH)
        except Refused as error:
            raise UserError(f"{full_name} cannot be read: {error}") from error
        above = await Organisations(GitHubOrganisations(github)).now(repository)
    parsed = parse(text or b"", above.said.layers)
    if parsed.problems:
        raise UserError("\n".join(_lines(f"{full_name}: {PATH}", parsed)))
    bounds = [(above.name, above.said.bounds), ("this server", bounds_of(settings))]
    return Effective(
        origins(parsed, text or b"", bounds),
        (
            f"{full_name}: {PATH}" + ("" if text is not None else " is not there"),
            _told(above, repository),
            f"this server's bounds: {settings.policy_file or 'none'}",
        ),
    )


def _lines(file: str, parsed: Parsed) -> list[str]:
    return [f"{file}:{each.line}:{each.column}: {each.message}" for each in parsed.problems]


def _told(above: Above, repository: Repository) -> str:
    file = f"{name_of(repository)}: {ORGANISATION_PATH}"
    if above.wrong:
        return f"{above.wrong} The last good one holds."
    return file if above.blob else f"{file} is not there, or may not be read"


async def _found(github: GitHubApp, threads: GitHubThreads, owner: str, name: str) -> Repository:
    if isinstance(github, Visitor):
        return await threads.repository_named(owner, name, 0)
    found = await github.as_app("GET", f"/repos/{owner}/{name}/installation")
    return await threads.repository_named(owner, name, id_of(found.map(), "id"))


@contextlib.asynccontextmanager
async def _github(settings: Settings, env: Mapping[str, str]) -> AsyncIterator[GitHubApp]:
    token = next((env[name] for name in TOKENS if env.get(name)), "")
    try:
        github = reach(settings)
    except OperatorError as error:
        if not token:
            raise UserError(
                f"Neither an App ({error}) nor a token of your own is set: put one into "
                f"{' or '.join(TOKENS)}, or name a folder."
            ) from error
        github = Visitor(api_url=settings.github_api_url, token=token)
    try:
        yield github
    finally:
        await github.close()
