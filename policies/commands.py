"""Who may give which command: one rule for every way to start or steer a run."""

from __future__ import annotations

from policies.approval import alone, doubtless, independent, with_a_part
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
    """Judge a command by who may give it, and for decisions by their part in the run."""
    decides = facts.command in _NEED_ANOTHER
    part = [facts.requester] if decides and facts.requester else []
    person = alone(facts.person, config) if decides and facts.doubted else facts.person
    children = [may_act(facts.command, person, config, with_a_part(part, config))]
    if decides and facts.doubted:
        children.append(doubtless(person, facts.others_can_approve, config))
    elif decides:
        others = facts.others_can_approve
        children.append(independent(person, facts.requester, (), others, config))
    return in_turn(RULE, children)
