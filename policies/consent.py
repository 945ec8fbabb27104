"""Whether those who approved are enough: by number, by team, and as owners of what was changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from policies.approval import with_a_part
from policies.config import Config
from policies.facts import Approver, ConsentFacts, Person, Role
from policies.owners import Owned
from policies.roles import may_act
from policies.verdict import NAMED, Verdict, all_of, code, counted, listed

RULE = "consent"


def enough(facts: ConsentFacts, config: Config) -> Verdict:
    """Judge all approvals of one head together.

    Only those count who have the role at this moment. A refusal says who else must approve.
    """
    least = config.commands.least_role("approve") or Role.MAINTAIN
    counting = _counting(facts, config)
    children = [_number(facts, counting, least, config)]
    children += [_team(team, facts, counting) for team in sorted(set(config.approval.teams))]
    if config.approval.code_owners:
        children.append(_owners(facts, counting, config))
    return all_of(RULE, children)


def missing(facts: ConsentFacts, config: Config) -> int:
    """Count how many people must still approve, at the least; none where it is enough."""
    verdict = enough(facts, config)
    if verdict.allowed:
        return 0
    return max(1, config.approval.required - len(_counting(facts, config)))


def _counting(facts: ConsentFacts, config: Config) -> list[Approver]:
    """Return those who may approve at this moment, by role, by name, or for somebody else."""
    part = with_a_part(facts.part, config)
    return [
        each
        for each in facts.approvers
        if may_act("approve", _person(each, facts.organisation), config, part).allowed
    ]


def _person(each: Approver, organisation: str) -> Person:
    above = f"{organisation.lower()}/"
    teams = frozenset(team.removeprefix(above) for team in each.teams if team.startswith(above))
    return Person(each.login, each.role, teams=teams, is_author=each.is_author, behind=each.behind)


def _number(
    facts: ConsentFacts, counting: Sequence[Approver], least: Role, config: Config
) -> Verdict:
    lost = [each.login for each in facts.approvers if each not in counting]
    without = f" {listed(lost)} approved, and no longer has the {least} role." if lost else ""
    left = config.approval.required - len(counting)
    if left > 0:
        told = f"It needs {counted(left, 'more approval')}, by people with the {least} role."
        return Verdict(False, "number", told + without)
    told = f"It has {counted(len(counting), 'approval')} of {config.approval.required}."
    return Verdict(True, "number", told + without)


def _team(team: str, facts: ConsentFacts, counting: Sequence[Approver]) -> Verdict:
    name = f"{facts.organisation}/{team}".lower()
    shown = code(f"@{name}")
    who = [each.login for each in counting if name in each.teams]
    if who:
        return Verdict(True, "team", f"{listed(who)} approved for {shown}.")
    return Verdict(
        False, "team", f"Nobody of the team {shown} approved it yet; ask one of them to."
    )


def _owners(facts: ConsentFacts, counting: Sequence[Approver], config: Config) -> Verdict:
    """Judge that of the owners of every path one approved, where it has any."""
    groups: defaultdict[frozenset[str], list[str]] = defaultdict(list)
    for each in facts.owned:
        if each.owners:
            groups[frozenset(owner.lower() for owner in each.owners)].append(each.path)
    missing, alone = [], []
    for owners, paths in sorted(groups.items(), key=lambda group: sorted(group[1])):
        if any(_is_owner(each, owners) for each in counting):
            continue
        if config.approval.requester != "never" and _nobody_else(owners, facts.part):
            alone.append(f"{listed(paths)} is owned by nobody but {listed(owners)}")
        else:
            missing.append(f"{listed(paths)} needs one of its owners: {listed(owners)}")
    if missing:
        return Verdict(False, "owners", _some(missing, "Ask them to approve it."))
    if alone:
        told = "They had a part in the change, so another approval counts in their place."
        return Verdict(True, "owners", _some(alone, told))
    return Verdict(True, "owners", "Of each changed path's owners one approved, where it has any.")


def _some(sentences: Sequence[str], ending: str) -> str:
    more = f"; and {len(sentences) - NAMED} more" if len(sentences) > NAMED else ""
    return f"{'; '.join(sentences[:NAMED])}{more}. {ending}"


def _is_owner(who: Approver, owners: Iterable[str]) -> bool:
    named = {f"@{who.login.lower()}", *(f"@{team}" for team in who.teams)}
    return not named.isdisjoint(owners)


def _nobody_else(owners: frozenset[str], part: frozenset[str]) -> bool:
    """Whether all owners are people who had a part in the change; who is in a team is not known."""
    return owners <= {f"@{login.lower()}" for login in part}


def teams_of(owned: Iterable[Owned], organisation: str) -> frozenset[str]:
    """Name the teams of an organisation among owners, without the `@`."""
    found = {owner[1:].lower() for each in owned for owner in each.owners if "/" in owner}
    return frozenset(team for team in found if team.startswith(f"{organisation.lower()}/"))
