"""Who may give which command: one rule for every way to start or steer a run."""

from __future__ import annotations

from policies.approval import independent
from policies.config import Config
from policies.facts import CommandFacts
from policies.roles import may_act
from policies.verdict import Verdict, in_turn
from policies.who import COMMANDS_DEFAULT

__all__ = ["COMMANDS_DEFAULT", "may_command"]

RULE = "command"

# These decide on what somebody asked for, so whoever asked does not count.
_NEED_ANOTHER = frozenset({"approve", "reject"})


def may_command(facts: CommandFacts, config: Config) -> Verdict:
    """Judge a command by the person's role, and for decisions by their part in the run."""
    children = [may_act(facts.command, facts.person, config)]
    if facts.command in _NEED_ANOTHER:
        others = facts.others_can_approve
        children.append(independent(facts.person, facts.requester, (), others, config))
    return in_turn(RULE, children)
