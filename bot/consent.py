"""The facts about all who approved a head: their roles and teams now, and whose the paths are."""

from __future__ import annotations

from bot.router import Desk, Order
from bot.runs.model import Run
from bot.standing import Asked, author_of
from policies.config import digest
from policies.consent import teams_of
from policies.facts import Approver, ConsentFacts

TEAMS_MAX = 50
"""Teams that are asked about: each is a request to GitHub for each who approved. Of more nobody is
taken for a member, so that nothing is merged for want of asking."""


def who_approved(order: Order, run: Run) -> tuple[str, ...]:
    """Name those whose approvals of the head stand under the present policy, with who gives one."""
    policy, me = digest(order.config), order.person.login
    others = [each.by for each in run.approved() if each.policy in ("", policy)]
    return (*(login for login in others if login.casefold() != me.casefold()), me)


async def consent_facts(desk: Desk, order: Order, run: Run) -> ConsentFacts:
    """Ask GitHub about everybody who approved the head, as it is at this moment."""
    repository, setting = run.repository, order.config.approval
    owned = () if run.is_local or not setting.code_owners else await desk.repositories.owners(run)
    organisation = repository.owner.lower()
    named = [f"{organisation}/{team}" for team in setting.teams]
    teams = list(dict.fromkeys([*named, *sorted(teams_of(owned, organisation))]))[:TEAMS_MAX]
    return ConsentFacts(
        organisation=organisation,
        approvers=tuple(
            [await _approver(desk, order, run, login, teams) for login in who_approved(order, run)]
        ),
        owned=owned,
        part=frozenset({run.requester, *run.authors}),
    )


async def _approver(desk: Desk, order: Order, run: Run, login: str, teams: list[str]) -> Approver:
    person = order.person
    if login != person.login:
        config, here = order.config, order.spoken.conversation
        author = await author_of(desk.threads, run, here.number, here.author, config, "approve")
        asked = Asked(desk.threads, run.repository, "approve", config, author)
        person = await asked.person(login, run)
    held = [each for each in teams if await desk.people.is_member(run.repository, each, login)]
    named = {f"{run.repository.owner.lower()}/{team}" for team in person.teams}
    return Approver(login, person.role, frozenset({*held, *named}), person.is_author, person.behind)
