"""What an organisation says for all its repositories, in `orchestrate.yml` of its `.github` one.

    limits:
      turns: 2
    bounds:
      approval:
        code_owners: true

It is written as a repository's configuration is, and lies under it: a repository's own file counts
over it, setting by setting, and protected paths are added to one another. What stands in `bounds`
no repository can loosen. Schedules belong to a repository, and are not read here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

from pydantic import Field, ValidationError

from policies.bounds import bounded
from policies.config import Config, Layers, Parsed, parse, repeated
from policies.explain import explain
from policies.presets import PRESETS, Table, layered
from policies.tree import Node, Problem, plain, read

REPOSITORY = ".github"
"""The repository in which GitHub, too, looks for what an organisation says for all of its own."""

PATH = "orchestrate.yml"
"""At the top of that repository: `.github/orchestrate.yml` there is its own configuration."""


class Organisation(Config):
    """An organisation's file: a configuration, and what no repository's can loosen."""

    bounds: Config = Field(
        default_factory=Config,
        description="What no repository of the organisation can loosen, as a configuration.",
    )


@dataclass(frozen=True, slots=True)
class Said:
    """What an organisation says: layers for every repository's configuration, and its bounds.

    `problems` are what prevents it from being read; then it says nothing.
    """

    layers: Layers = ()
    bounds: Config = field(default_factory=Config)
    problems: tuple[Problem, ...] = ()


def parse_organisation(text: str | bytes, name: str) -> Said:
    """Read an organisation's file; raises nothing, whatever it holds. `name` names the layer."""
    root = read(text)
    if isinstance(root, Problem):
        return Said(problems=(root,))
    if root is None:
        return Said()
    if problem := _schedule(root):
        return Said(problems=(problem,))
    table = plain(root)
    try:
        # As a repository's is read: see `policies.config.parse`.
        said = Organisation.model_validate_json(json.dumps(table), strict=True)
    except ValidationError as error:
        return Said(problems=explain(error, root, Organisation))
    if problems := repeated(said, root):
        return Said(problems=problems)
    own = {key: value for key, value in table.items() if key not in ("bounds", "extends")}
    presets = tuple((f"preset {each} of {name}", PRESETS[each]) for each in said.extends)
    return Said((*presets, (name, own)), _bounds(said.bounds, table.get("bounds", {})))


def _bounds(bounds: Config, table: Table) -> Config:
    if not bounds.extends:
        return bounds
    laid = layered([*(PRESETS[each] for each in bounds.extends), table])
    return Config.model_validate_json(json.dumps(laid), strict=True)


def under(said: Said, text: str | bytes) -> Parsed:
    """Read a repository's file on what its organisation says, within the organisation's bounds."""
    parsed = parse(text, said.layers)
    if parsed.config is None:
        return parsed
    return replace(parsed, config=bounded(parsed.config, said.bounds))


def _schedule(root: Node) -> Problem | None:
    if root.below("schedule") is None:
        return None
    line, column = root.keys["schedule"]
    return Problem(
        line, column, "`schedule` belongs to a repository; write it in its own configuration."
    )
