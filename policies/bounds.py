"""What whoever runs the server lays down for every repository: a configuration may be stricter.

The bounds are written as a repository's configuration is. Only what they name binds: a limit that a
repository cannot raise, paths that it cannot open, roles that it cannot lower.
"""

from __future__ import annotations

from typing import Any, TypeVar

from policies.config import Config
from policies.facts import Role
from policies.sections import (
    Approval,
    Budget,
    Commands,
    Daily,
    Hold,
    Limits,
    Merge,
    Paths,
    Secrets,
    Who,
)

_T = TypeVar("_T")

# The stricter later.
_REQUESTER = ("always", "if-alone", "never")
_TRUST = ("off", "checks", "agents")


def bounded(config: Config, bounds: Config) -> Config:
    """Return a configuration that allows nothing which the bounds do not."""
    named = bounds.model_fields_set
    update: dict[str, Any] = {}
    if "limits" in named:
        update["limits"] = _limits(config.limits, bounds.limits)
    if "paths" in named:
        update["paths"] = _paths(config.paths, bounds.paths)
    if "secrets" in named:
        update["secrets"] = _secrets(config.secrets, bounds.secrets)
    if "approval" in named:
        update["approval"] = _approval(config.approval, bounds.approval)
    if "commands" in named:
        update["commands"] = _commands(config.commands, bounds.commands)
    if "budget" in named:
        update["budget"] = _budget(config.budget, bounds.budget)
    if "commits" in named and bounds.commits == "api":
        update["commits"] = "api"
    if "merge" in named:
        update["merge"] = _merge(config.merge, bounds.merge)
    if "sign_off" in named:
        update["sign_off"] = config.sign_off or bounds.sign_off
    if "trust" in named:
        update["trust"] = min(config.trust, bounds.trust, key=_TRUST.index)
    if "hold" in named:
        update["hold"] = Hold(labels=_both(config.hold.labels, bounds.hold.labels))
    if "freeze" in named:
        update["freeze"] = _both(config.freeze, bounds.freeze)
    return config.model_copy(update=update) if update else config


def _both(own: tuple[_T, ...], bound: tuple[_T, ...]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys((*own, *bound)))


def _limits(own: Limits, most: Limits) -> Limits:
    lower = {name: min(getattr(own, name), getattr(most, name)) for name in most.model_fields_set}
    return own.model_copy(update=lower)


def _budget(own: Budget, most: Budget) -> Budget:
    update = {
        name: _daily(getattr(own, name), getattr(most, name)) for name in most.model_fields_set
    }
    return own.model_copy(update=update)


def _daily(own: Daily, most: Daily) -> Daily:
    """Lower each limit that is named to what it may be; one that a repository left out is set."""
    update: dict[str, Any] = {}
    for name in most.model_fields_set:
        mine, bound = getattr(own, name), getattr(most, name)
        known = [each for each in (mine, bound) if each is not None]
        update[name] = min(known, default=None)
    return own.model_copy(update=update)


def _paths(own: Paths, bound: Paths) -> Paths:
    """Add what is protected where nothing opens it again: the last glob that matches decides."""
    closed = tuple(glob for glob in bound.protected if not glob.startswith("!"))
    rest = tuple(glob for glob in own.protected if glob not in closed)
    return own.model_copy(update={"protected": (*rest, *closed)})


def _secrets(own: Secrets, bound: Secrets) -> Secrets:
    named = bound.model_fields_set
    update: dict[str, Any] = {}
    for name in ("allowed", "ignored"):
        if name in named:
            most = getattr(bound, name)
            # A glob that takes back what an earlier one means makes it stricter.
            update[name] = tuple(
                each for each in getattr(own, name) if each in most or each.startswith("!")
            )
    if "comments" in named:
        update["comments"] = own.comments and bound.comments
    return own.model_copy(update=update)


def _approval(own: Approval, least: Approval) -> Approval:
    named = least.model_fields_set
    update: dict[str, Any] = {}
    if "required" in named:
        update["required"] = max(own.required, least.required)
    if "teams" in named:
        update["teams"] = tuple(dict.fromkeys((*own.teams, *least.teams)))
    if "code_owners" in named:
        update["code_owners"] = own.code_owners or least.code_owners
    if "requester" in named:
        update["requester"] = max(own.requester, least.requester, key=_REQUESTER.index)
    return own.model_copy(update=update)


def _merge(own: Merge, bound: Merge) -> Merge:
    update: dict[str, Any] = {"checks": tuple(dict.fromkeys((*own.checks, *bound.checks)))}
    if "method" in bound.model_fields_set:
        update["method"] = bound.method
    return own.model_copy(update=update)


def _commands(own: Commands, least: Commands) -> Commands:
    update: dict[str, Any] = {
        "who": {**own.who, **{name: _who(own, least, name) for name in least.who}}
    }
    if "delegation" in least.model_fields_set:
        update["delegation"] = own.delegation and least.delegation
    return own.model_copy(update=update)


def _who(own: Commands, least: Commands, command: str) -> Who:
    """Raise the role, and leave of those named beside it only whom the bounds name as well."""
    mine, bound = own.people(command), least.people(command)
    return Who(
        role=_higher(own.least_role(command), least.least_role(command) or Role.ADMIN),
        teams=tuple(each for each in mine.teams if each in bound.teams),
        users=tuple(each for each in mine.users if each in bound.users),
        author=mine.author and bound.author,
    )


def _higher(own: Role | None, least: Role) -> Role:
    return own if own is not None and own.at_least(least) else least
