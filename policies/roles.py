"""Whether a person may give a command: by their role, or because they are named beside it.

Whoever has the least role that the command needs may give it. `commands: who:` may name teams,
people and the issue's author beside the role. `/delegate @USER` lends somebody, on one run, what
the one who delegated may do there. Whoever is named or delegated to still needs triage to start or
steer a run, and write to decide on one, as GitHub tells their role then; bots never count.
"""

from __future__ import annotations

from policies.config import Config
from policies.facts import Person, Role
from policies.verdict import Verdict, code
from policies.who import NOT_DELEGATED, floor

RULE = "role"


def may_act(
    command: str, person: Person, config: Config, part: frozenset[str] = frozenset()
) -> Verdict:
    """Judge whether a person may give a command; whatever is not known is refused.

    `command` is the command's name without its slash. `part` are the logins, in small letters, of
    those who could not give it themselves, whatever their role: nobody gives it for them.
    """
    least = config.commands.least_role(command)
    if least is None:
        return Verdict(
            False, RULE, f"{code('/' + command)} is no command here; `/help` lists what is."
        )
    if _is_bot(person):
        return Verdict(False, RULE, "Bots give no commands; a person must give this one.")
    role = person.role
    if role is None:
        return Verdict(
            False,
            RULE,
            "GitHub did not say what your role is; try again, or ask a maintainer.",
        )
    if role.at_least(least):
        return Verdict(True, RULE, f"`/{command}` needs {least}; the role is {role}.")
    return _beside(command, person, role, least, config, part)


def _beside(
    command: str, person: Person, role: Role, least: Role, config: Config, part: frozenset[str]
) -> Verdict:
    """Judge somebody whose role is not enough by itself."""
    why = _named(command, person, config) or _delegated(command, person, config, part)
    if why and role.at_least(floor(command)):
        return Verdict(True, RULE, f"`/{command}` needs {least}; {person.login} {why}.")
    if why:
        return Verdict(
            False,
            RULE,
            f"`/{command}` takes at least the {floor(command)} role on this repository, whoever is"
            f" named for it; you have {role}, so ask for that role, or somebody who has it.",
        )
    return Verdict(
        False,
        RULE,
        f"`/{command}` needs the {least} role on this repository; you have {role},"
        " so ask somebody who has it.",
    )


def _named(command: str, person: Person, config: Config) -> str:
    """Say by what somebody is named beside the role; nothing where they are not."""
    people = config.commands.people(command)
    if person.login.lower() in people.users:
        return "is named for it"
    if teams := sorted(person.teams.intersection(people.teams)):
        return f"is in the team {code(teams[0])}"
    return "opened the issue" if people.author and person.is_author else ""


def _delegated(command: str, person: Person, config: Config, part: frozenset[str]) -> str:
    """Say who lent their right to somebody; nothing where nobody did who has it now."""
    if not config.commands.delegation or command in NOT_DELEGATED:
        return ""
    for each in person.behind:
        lender = Person(each.login, each.role, each.is_bot, each.teams, each.is_author)
        if each.login.lower() not in part and may_act(command, lender, config).allowed:
            return f"acts for {each.login}"
    return ""


def _is_bot(person: Person) -> bool:
    return person.is_bot or person.login.endswith("[bot]")
