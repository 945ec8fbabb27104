"""A repository's configuration, `.github/orchestrate.yml`: its model, and how it is read.

It is read from the default branch only. What runs agents safely (the sandbox, keys, networks)
is the operator's to say and has no place here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, ValidationError

from policies.explain import explain
from policies.presets import PRESETS, Table, layered
from policies.sections import (
    MAX_ENTRIES,
    Agent,
    Approval,
    Branch,
    Budget,
    Check,
    Commands,
    Freeze,
    Hold,
    Label,
    Limits,
    Merge,
    Name,
    Paths,
    Preflight,
    Schedule,
    Secrets,
    Section,
    Setup,
)
from policies.tree import Node, Problem, plain, read

__all__ = [
    "PATH",
    "Agent",
    "Check",
    "Config",
    "Parsed",
    "Problem",
    "Schedule",
    "digest",
    "form",
    "parse",
]

PATH = ".github/orchestrate.yml"
Layers = tuple[tuple[str, Table], ...]
"""Parts of a configuration by name, each counting over those before it."""

# Hexadecimal digits that tell two configurations apart.
DIGEST_LENGTH = 16


def _checks_kind(value: Any) -> str:
    return "auto" if isinstance(value, str) else "list"


Checks = Annotated[
    Annotated[Literal["auto"], Tag("auto")]
    | Annotated[tuple[Check, ...], Field(max_length=MAX_ENTRIES), Tag("list")],
    Discriminator(_checks_kind),
]


Preset = Literal["strict", "solo", "open-source", "monorepo"]


class Config(Section):
    """What a repository says about the runs in it. An empty file is the same as none."""

    extends: Annotated[tuple[Preset, ...], Field(max_length=MAX_ENTRIES)] = Field(
        default=(),
        description="Presets to begin with: `strict` (little at a time, begun by maintainers,"
        " judged by somebody else and by code owners; build files closed), `solo` (one decides"
        " alone), `open-source` (judged by somebody else, cheap, licences closed) or `monorepo`"
        " (larger changes, longer turns). A later one counts over an earlier, and the rest of the"
        " file over all of them. `orchestrate config explain` shows what came of it.",
    )
    agent: Name | None = Field(
        default=None,
        description="The name of the agent that works when a request names none; left out, the"
        " server's own default.",
    )
    agents: Annotated[Mapping[Name, Agent], Field(max_length=MAX_ENTRIES)] = Field(
        default_factory=dict,
        description="Agents of this repository, by name. Those that the server knows by"
        " themselves, such as `claude`, `codex`, `gemini` or `copilot`, need no entry.",
    )
    checks: Checks = Field(
        default="auto",
        description="The commands that check every checkpoint, or `auto` to find them in the"
        " repository: pytest, npm test, make test, cargo test, go test, pre-commit.",
    )
    setup: Setup = Field(
        default_factory=Setup, description="How what the repository needs is installed."
    )
    paths: Paths = Field(default_factory=Paths, description="What agents may change.")
    secrets: Secrets = Field(
        default_factory=Secrets, description="What may look like a secret in what agents write."
    )
    commands: Commands = Field(
        default_factory=Commands, description="How commands are written and who may give them."
    )
    approval: Approval = Field(
        default_factory=Approval,
        description="What it takes to merge. Who may approve is said by `commands: who: approve:`;"
        " maintainers, by default.",
    )
    limits: Limits = Field(default_factory=Limits, description="How far a run may go by itself.")
    budget: Budget = Field(default_factory=Budget, description="What a day may cost.")
    commits: Literal["auto", "git", "api"] = Field(
        default="auto",
        description="How checkpoints are committed: by `git`, or by GitHub's API, which signs them"
        " as the App's, so that they are Verified. It takes a moment more for each; the files are"
        " the same. `auto` is `git`, but `api` where rules of the base, or of the run's own branch,"
        " take only signed commits.",
    )
    preflight: Preflight = Field(
        default_factory=Preflight,
        description="What a run asks before it spends money.",
    )
    merge: Merge = Field(
        default_factory=Merge,
        description="How an approved run is merged, and which of the repository's own checks on"
        " GitHub it waits for.",
    )
    sign_off: bool = Field(
        default=False,
        description="Whether commits need a sign-off, as the Developer Certificate of Origin asks:"
        " those of the bot carry it, and those that people push are taken in only with it.",
    )
    trust: Literal["off", "checks", "agents"] = Field(
        default="off",
        description="What `/orchestrate trust SHA` allows on a pull request that no run made:"
        " nothing; that the checks run on that commit, sandboxed and without secrets; or also that"
        " `/orchestrate REQUEST` there goes on from that commit, on a branch of this repository.",
    )
    hold: Hold = Field(default_factory=Hold, description="What keeps a run from being merged.")
    freeze: Annotated[tuple[Freeze, ...], Field(max_length=MAX_ENTRIES)] = Field(
        default=(), description="Times in which nothing is merged."
    )
    schedule: Annotated[tuple[Schedule, ...], Field(max_length=MAX_ENTRIES)] = Field(
        default=(), description="Runs that start by the clock."
    )
    label: Label = Field(
        default="orchestrate",
        description="The issue label that starts a run as the command does.",
    )
    base: Branch | None = Field(
        default=None,
        description="The branch that runs start from and are merged into; left out, the"
        " default branch.",
    )


@dataclass(frozen=True, slots=True)
class Parsed:
    """What came of reading a file: a configuration, or the problems that prevent one.

    `layers` are what it was made from.
    """

    config: Config | None
    problems: tuple[Problem, ...]
    layers: Layers = ()


def parse(text: str | bytes, below: Layers = ()) -> Parsed:
    """Read a configuration file; raises nothing, whatever the file holds.

    It counts over the layers `below`, which can be read by themselves. Every problem has its line
    and column, counted from 1, and a sentence for the author.
    """
    root = read(text)
    if isinstance(root, Problem):
        return Parsed(None, (root,))
    if root is None:
        return _laid(below, Node(1, 1, {}))
    try:
        # As JSON and strict: numbers are not made from strings, but lists become tuples.
        config = Config.model_validate_json(json.dumps(plain(root)), strict=True)
    except ValidationError as error:
        return Parsed(None, explain(error, root, Config))
    if problems := repeated(config, root):
        return Parsed(None, problems)
    presets = tuple((name, PRESETS[name]) for name in config.extends)
    layers = (*below, *presets, (PATH, plain(root)))
    return _laid(layers, root) if len(layers) > 1 else Parsed(config, (), layers)


def _laid(layers: Layers, root: Node) -> Parsed:
    """Lay parts over one another that can each be read; together they may yet contradict."""
    table = layered(layer for _, layer in layers)
    try:
        config = Config.model_validate_json(json.dumps(table), strict=True)
    except ValidationError as error:
        return Parsed(None, explain(error, root, Config))
    return Parsed(config, (), layers)


def digest(config: Config) -> str:
    """Name a configuration by what holds in it, however it was written."""
    text = config.model_dump_json()
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


@cache
def form() -> str:
    """Name the settings and presets that this version knows: in another, digests are others."""
    presets = json.dumps(dict(PRESETS), sort_keys=True)
    text = f"{Config().model_dump_json()}\n{presets}"
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


def repeated(config: Config, root: Node) -> tuple[Problem, ...]:
    """Names that stand twice in a list, where a check run or a schedule is found by them."""
    checks = () if config.checks == "auto" else config.checks
    found = [
        *_twice([check.name for check in checks], "checks", root),
        *_twice([each.name for each in config.schedule], "schedule", root),
    ]
    return tuple(sorted(found))


def _twice(names: list[str], section: str, root: Node) -> list[Problem]:
    seen: set[str] = set()
    problems = []
    for index, name in enumerate(names):
        if name.casefold() in seen:
            node = root.find((section, index, "name"))
            message = f"`{name}` stands twice in `{section}`; give each its own name."
            problems.append(Problem(node.line, node.column, message))
        seen.add(name.casefold())
    return problems
