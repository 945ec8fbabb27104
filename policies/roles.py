"""Whether a person's role on a repository is enough for a command."""

from __future__ import annotations

from policies.config import Config
from policies.facts import Person, Role
from policies.verdict import Verdict, code

RULE = "role"


def may_act(command: str, person: Person, config: Config) -> Verdict:
    """Judge a person's role; whatever is not known is refused.

    `command` is the command's name without its slash.
    """
    least = config.commands.least_role(command)
    if least is None:
        return Verdict(
            False, RULE, f"{code('/' + command)} is no command here; `/help` lists what is."
        )
    if person.is_bot or person.login.endswith("[bot]"):
        return Verdict(False, RULE, "Bots give no commands; a person must give this one.")
    return _enough(command, person.role, least)


def _enough(command: str, role: Role | None, least: Role) -> Verdict:
    if role is None:
        return Verdict(
            False,
            RULE,
            "GitHub did not say what your role is; try again, or ask a maintainer.",
        )
    if role.at_least(least):
        return Verdict(True, RULE, f"`/{command}` needs {least}; the role is {role}.")
    return Verdict(
        False,
        RULE,
        f"`/{command}` needs the {least} role on this repository; you have {role},"
        " so ask somebody who has it.",
    )
