"""`/approve` decides: it starts an approved plan, or merges the head that was shown.

    /approve
    /approve 1a2b3c4

An approving review counts the same. An approval is for one head: with a SHA for that one, without
for the head at the time of the comment. Another head, plan or configuration voids it; a head with
the very same files, as after a rebase, does not. `approval: required:` says how many it takes, and
`teams:` and `code_owners:` of whom; each must have the role when the last one approves.
Whoever asked for the run, and whoever wrote commits of it,
does not count, unless the configuration says so or nobody else could approve. While the run is
held, or in a time of `freeze:`, an approval is noted, and `/approve` merges it afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bot.commands import Usage
from bot.consent import consent_facts, who_approved
from bot.errors import TransientError, UserError
from bot.events import Event, Type
from bot.requests import same_head
from bot.router import Desk, Feature, Order
from bot.runs.fold import cannot
from bot.runs.kept import kept_back
from bot.runs.model import Run
from bot.runs.transitions import State
from policies.approval import may_approve
from policies.config import digest
from policies.consent import enough
from policies.consent import missing as count_missing
from policies.facts import ApprovalFacts, ConsentFacts

TRIES = 10
"""How often it is asked anew because others approved meanwhile: as many as approve at once."""


async def handle(desk: Desk, order: Order) -> str | None:
    """Record the approval of a plan or of the present head."""
    run = order.required_run()
    reason = _allowed(order, run)
    labels = await _labels(desk, order, run)
    grounds = await desk.repositories.grounds(run, order.config)
    under = {"under": grounds.recorded()} if grounds else {}
    for _ in range(TRIES):
        facts = await _facts(desk, order, run)
        run, lacks = await _record(desk, order, run, facts, {"reason": reason, **under}, labels)
        if lacks is None:
            return None
        if lacks:
            return f"Noted: `{run.head[:7]}` is not merged yet. {lacks}"
    raise TransientError("Others approve at the same time; their approvals come first.")


async def _facts(desk: Desk, order: Order, run: Run) -> ConsentFacts | None:
    """Ask who approved the head; nothing where it is the plan that is decided on."""
    if run.state is not State.AWAITING_REVIEW:
        return None
    return await consent_facts(desk, order, run)


async def _labels(desk: Desk, order: Order, run: Run) -> tuple[str, ...]:
    """Ask for the labels of the pull request, where some would hold it."""
    if run.is_local or run.pull_request is None or not order.config.hold.labels:
        return ()
    return (await desk.threads.issue(run.repository, run.pull_request)).labels


async def _record(
    desk: Desk,
    order: Order,
    run: Run,
    facts: ConsentFacts | None,
    given: Mapping[str, Any],
    labels: tuple[str, ...],
) -> tuple[Run, str | None]:
    """Record the approval; return the run, and what else it needs, None where that is nothing.

    `given` is recorded with it: the reason, and what the policy is made of, where that is known.
    An empty text says that nothing was recorded, since somebody else approved meanwhile.
    """
    lacks: str | None = None

    def decide(now: Run) -> list[Event]:
        nonlocal lacks
        lacks, missing, who, kept = None, 0, "", ""
        same_head(run, now)
        if facts is not None and now.state is not State.AWAITING_REVIEW:
            raise UserError(cannot(now))
        if _is_news(order, now, facts):
            lacks = ""
            return []
        if facts is not None:
            missing = count_missing(facts, order.config)
            who = enough(facts, order.config).reason if missing else ""
            kept = kept_back(now, labels, desk.clock(), order.config)
            # Whoever reads this without knowing of holds takes it for not enough as well.
            missing = max(missing, 1) if kept else missing
            lacks = " ".join(each for each in (who, kept) if each) or None
        data = {
            "of": "head" if facts else "plan",
            "sha": now.head,
            "tree": now.tree,
            "plan": now.plan.digest,
            "policy": digest(order.config),
            "how": order.spoken.how,
            **given,
            "missing": missing,
            "lacks": who,
            "kept": kept,
        }
        return [order.event(desk, Type.APPROVED, data)]

    return await desk.store.append(run.id, decide), lacks


def _is_news(order: Order, now: Run, facts: ConsentFacts | None) -> bool:
    """Say whether others approved, or the run came to its review, while GitHub was asked."""
    if facts is None:
        return now.state is State.AWAITING_REVIEW
    return who_approved(order, now) != tuple(each.login for each in facts.approvers)


def _allowed(order: Order, run: Run) -> str:
    seen = order.command.argument() or order.spoken.seen
    if not seen and run.state is State.AWAITING_REVIEW:
        _not_before_the_head(order, run)
    facts = ApprovalFacts(
        person=order.person,
        requester=run.requester,
        co_authors=run.authors,
        others_can=order.others_can,
        seen_sha=seen or None,
        head_sha=run.head,
        doubted=run.is_part_unknown,
    )
    verdict = may_approve(facts, order.config)
    if not verdict.allowed:
        raise UserError(verdict.reason)
    return verdict.reason


def _not_before_the_head(order: Order, run: Run) -> None:
    """Refuse a bare approval that was written before the head was there to be seen."""
    made = run.last.at if run.last else None
    # GitHub's times are whole seconds, rounded down: within the second nobody can say which came
    # first, and nobody has looked at anything.
    if made is not None and order.spoken.at < made:
        raise UserError(
            f"The head became `{run.head[:7]}` after you wrote that; look at it, then "
            "`/approve` again."
        )


FEATURE = Feature(
    Usage(
        "approve",
        "approves the plan, or the head that was shown, which is then merged",
        arguments=("[SHA]",),
        examples=("/approve", "/approve 1a2b3c4"),
    ),
    handle,
)
