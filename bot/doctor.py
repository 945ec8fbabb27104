"""What a machine and its settings lack, and what to do about it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import SecretStr
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bot.agents.registry import Registry
from bot.database import is_shared, open_database, shown
from bot.errors import OperatorError, OrchestrateError
from bot.git import trial
from bot.git.environments import total
from bot.git.overlay import probe
from bot.github.client import GitHubApp
from bot.inspection import looking_at
from bot.leases import workers_of
from bot.runs.store import Store
from bot.sandbox.gateway.findings import findings as model_findings
from bot.sandbox.gateway.makers import configured
from bot.sandbox.probe import choose
from bot.sandbox.probe import findings as sandbox_findings
from bot.sandbox.rights import uid_for_jobs
from bot.sandbox.tools import expand
from bot.settings import Settings, load
from bot.stops import sentence

_JOINED = {"tools": ":"}
"""How the parts of a setting are separated where it is not by blanks."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `needed` says that nothing runs without it."""

    name: str
    ok: bool
    needed: bool
    sentence: str


async def examine() -> list[dict[str, Any]]:
    """Look at the programs, the settings and GitHub; return a finding each."""
    found = [_python(), *_programs(), _git_lfs()]
    try:
        settings = load()
    except OperatorError as error:
        return [asdict(each) for each in (*found, Finding("settings", False, True, str(error)))]
    contains = settings.sandbox != "none"
    folder = _data_dir(settings)
    workspaces, rootless = await _workspaces(settings) if folder.ok else ([], False)
    found.append(_user(settings, rootless=rootless))
    found += [
        Finding(each.name, each.ok, contains and each.name == "sandbox", each.sentence)
        for each in await sandbox_findings(
            settings.sandbox, uid=settings.sandbox_uid, rootless=rootless
        )
    ]
    found += [folder, *workspaces]
    found.append(await asyncio.to_thread(_environments, settings))
    found.append(await _database(settings))
    found += await _stops(settings)
    found += [*_tools(settings), *_models(settings), *await _agents(settings)]
    found += _variables(settings)
    if not settings.missing():
        found.append(await _github(settings))
    return [asdict(each) for each in found]


def print_findings(found: list[dict[str, Any]]) -> None:
    """Print findings as a table."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for each in found:
        mark = ("ok", "green") if each["ok"] else ("missing", "red" if each["needed"] else "yellow")
        table.add_row(Text(*mark), each["name"], Text(each["sentence"]))
    Console(highlight=False).print(table)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", True, True, f"Python {version} at {sys.prefix}.")


def _user(settings: Settings, *, rootless: bool) -> Finding:
    if os.geteuid():
        return Finding("user", True, False, "The server does not run as root.")
    uid = None if rootless else uid_for_jobs(settings.sandbox_uid)
    if settings.sandbox != "none" and uid is not None:
        say = f"The server is root; agents and checks are the user {uid}."
        return Finding("user", True, False, say)
    say = (
        "This is root, and so are agents and checks: files that only root may read can be read in "
        "the folders that they are shown. Run it as a user of its own"
    )
    # Such a workspace is seen in a user namespace that has no user but root.
    say += ", or set ORCHESTRATE_WORKSPACES=auto." if rootless else "."
    return Finding("user", False, False, say)


def _programs() -> list[Finding]:
    found = []
    for name, package in (("git", "git"),):
        path = shutil.which(name)
        sentence = f"{path}." if path else f"Install it: apt-get install {package}."
        found.append(Finding(name, path is not None, True, sentence))
    return found


def _git_lfs() -> Finding:
    path = shutil.which("git-lfs")
    if path:
        return Finding("git-lfs", True, False, f"{path}.")
    say = (
        "Without it files that Git LFS keeps are pointers in workspaces, and a run may not change "
        "them. Install it: apt-get install git-lfs."
    )
    return Finding("git-lfs", False, False, say)


def _data_dir(settings: Settings) -> Finding:
    folder = settings.data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".doctor"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        say = f"{folder} cannot be written ({error.strerror}); set ORCHESTRATE_DATA_DIR."
        return Finding("data folder", False, True, say)
    free = shutil.disk_usage(folder).free // 2**30
    return Finding("data folder", True, True, f"{folder}, {free} GB free.")


async def _database(settings: Settings) -> Finding:
    """Say whether a shared database can be worked with; a file is made by whoever serves."""
    url = settings.database
    if not is_shared(url):
        return Finding("database", True, True, f"{shown(url)}, for one process: `serve`.")
    try:
        database = await open_database(url)
    except OperatorError as error:
        return Finding("database", False, True, str(error))
    try:
        living = await workers_of(database)
    finally:
        await database.close()
    say = f"{shown(url)}, with {len(living)} workers and clocks at it."
    return Finding("database", True, True, say)


async def _stops(settings: Settings) -> list[Finding]:
    """Say what an operator has stopped, if anything; that work waits then is meant."""
    try:
        async with looking_at(settings) as database:
            said = sentence(await Store(database).queue.stops())
    except OrchestrateError:
        return []  # there is no database yet, or it is said above what it lacks
    return [Finding("stop", False, False, said)] if said else []


async def _workspaces(settings: Settings) -> tuple[list[Finding], bool]:
    """Say how workspaces are made here, and what one costs, by making some.

    And whether they are seen in user namespaces.
    """
    runs = settings.data_dir / "runs"
    try:
        means = await asyncio.to_thread(
            probe, runs, settings.workspaces, contained=settings.sandbox != "none"
        )
        cost = await trial.cost(runs, means)
    except OrchestrateError as error:
        return [Finding("workspaces", False, True, str(error))], False
    took = f"Opening one of {trial.FILES} files took {cost:.1f} ms."
    chosen = means.kind == settings.workspaces
    ok = chosen or means.kind != "checkout"
    found = Finding("workspaces", ok, False, f"{means.sentence} {took}")
    return [found], means.kind == "rootless"


def _environments(settings: Settings) -> Finding:
    """Say what the environments of repositories take of the disk."""
    homes = (settings.data_dir, *(settings.data_dir / "local").glob("*"))
    found = [total(home / "environments") for home in homes]
    number, size = sum(each[0] for each in found), sum(each[1] for each in found)
    say = (
        f"{number} with {size // 2**20} MB; those unused for {settings.environment_days} days go, "
        f"and the longest unused over {settings.environment_megabytes} MB."
    )
    return Finding("environments", True, False, say)


def _tools(settings: Settings) -> list[Finding]:
    return [
        Finding(
            "tools",
            folder.is_dir(),
            False,
            f"{folder}." if folder.is_dir() else f"{folder} is not there; see ORCHESTRATE_TOOLS.",
        )
        for folder in settings.tools
    ]


async def list_agents(settings: Settings) -> list[dict[str, Any]]:
    """Describe the agents of this machine, and those that are known and could be installed."""
    sandbox = await choose(settings.sandbox, uid=settings.sandbox_uid)
    tools = tuple(folder for folder in settings.tools if folder.is_dir())
    registry = Registry(sandbox, tools=expand(tools), path=os.environ.get("PATH", ""))
    own = {name: agent.command for name, agent in settings.agents.items()}
    return await registry.describe(own, configured(os.environ))


def print_agents(listed: list[dict[str, Any]]) -> None:
    """Print agents as a table, a line for each program; below it, how to install what is missing.

    Commands to copy are never broken over lines.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("agent", "by", "version", "key", "can", "where"):
        table.add_column(heading, overflow="fold")
    for each in listed:
        table.add_row(
            Text(each["agent"], "green" if each["chosen"] else ""),
            each["by"],
            each["version"] if each["installed"] else Text("-", "dim"),
            Text("yes", "green") if each["key"] else Text("no", "yellow"),
            ", ".join(each["capabilities"]),
            _where(each) if each["installed"] else Text("not installed", "dim"),
        )
    console = Console(highlight=False)
    console.print(table)
    if absent := [each for each in listed if not each["installed"]]:
        console.print("\nTo install:")
        for each in absent:
            line = f"  {each['agent']} by {each['by']}: {each['install']}"
            console.print(line, soft_wrap=True, markup=False)
    if missing := {keys for each in listed if not each["key"] for keys in each["keys"]}:
        console.print("\nNo key, set:")
        for keys in sorted(missing):
            console.print(f"  {keys}", soft_wrap=True, markup=False)


def _where(agent: dict[str, Any]) -> str:
    where = agent["path"] or agent["title"]
    return f"{where}. {agent['remark']}" if agent["remark"] else str(where)


async def _agents(settings: Settings) -> list[Finding]:
    """Say of each known agent whether it could work here."""
    try:
        listed = await list_agents(settings)
    except OrchestrateError:
        return []  # the sandbox is missing, which is said where that is looked at
    names = dict.fromkeys(each["agent"] for each in listed if each["by"] != "command")
    return [_agent([each for each in listed if each["agent"] == name]) for name in names]


def _agent(ways: list[dict[str, Any]]) -> Finding:
    name, title = f"agent {ways[0]['agent']}", ways[0]["title"]
    chosen = next((each for each in ways if each["chosen"]), None)
    if chosen is None:
        how = " or ".join(f"`{each['install']}`" for each in ways)
        return Finding(name, False, False, f"{title} is not installed: {how}.")
    say = f"{title} {chosen['version']} by {chosen['path']}. {chosen['remark']}".rstrip()
    if not chosen["key"]:
        return Finding(
            name, False, False, f"{say} It has no key: set {' or '.join(chosen['keys'])}."
        )
    return Finding(name, True, False, say)


def _models(settings: Settings) -> list[Finding]:
    return [Finding(*each) for each in model_findings(os.environ, settings.prices)]


def _variables(settings: Settings) -> list[Finding]:
    """Say of each variable what it is for and, unless it is a secret, what it is."""
    missing = " ".join(settings.missing())
    found = []
    for name, field in Settings.model_fields.items():
        variable = f"ORCHESTRATE_{name.upper()}"
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            said = "set" if value.get_secret_value() else "not set"
        else:
            said = (
                _JOINED.get(name, " ").join(map(str, value))
                if isinstance(value, tuple)
                else str(value or "not set")
            )
            if name == "database_url" and value:
                said = shown(value)  # without the password in it
        sentence = f"{said or 'not set'}. {field.description}"
        found.append(Finding(variable, variable not in missing, False, sentence))
    return found


async def _github(settings: Settings) -> Finding:
    github = GitHubApp(
        api_url=settings.github_api_url, app_id=settings.app_id, private_key=settings.pem()
    )
    try:
        login = await github.login()
    except OrchestrateError as error:
        return Finding("github", False, True, str(error))
    finally:
        await github.close()
    return Finding("github", True, True, f"{settings.github_api_url} knows us as {login}.")
