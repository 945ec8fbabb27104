"""`/approve` decides: it starts an approved plan, or merges the head that was shown.

    /approve
    /approve 1a2b3c4

An approving review counts the same. An approval is for one head: with a SHA for that one, without
for the head at the time of the comment. Another head, plan or configuration voids it; a head with
the very same files, as after a rebase, does not. `approval: required:` says how many it takes.
Whoever asked for the run, and whoever wrote commits of it,
does not count, unless the configuration says so or nobody else could approve.
"""

from __future__ import annotations

from bot.commands import Usage
from bot.errors import UserError
from bot.events import Event, Type
from bot.requests import same_head
from bot.router import Desk, Feature, Order
from bot.runs.fold import cannot
from bot.runs.model import Run
from bot.runs.transitions import State
from policies.approval import may_approve
from policies.config import digest
from policies.facts import ApprovalFacts


async def handle(desk: Desk, order: Order) -> str | None:
    """Record the approval of a plan or of the present head."""
    run = order.required_run()
    reason = _allowed(order, run)

    missing = 0

    def decide(now: Run) -> list[Event]:
        nonlocal missing
        same_head(run, now)
        plan = now.state is State.AWAITING_APPROVAL
        missing = 0 if plan else _missing(order, now)
        if missing and now.state is not State.AWAITING_REVIEW:
            raise UserError(cannot(now))
        data = {
            "of": "plan" if plan else "head",
            "sha": now.head,
            "tree": now.tree,
            "plan": now.plan.digest,
            "policy": digest(order.config),
            "how": order.spoken.how,
            "reason": reason,
            "missing": missing,
        }
        return [order.event(desk, Type.APPROVED, data)]

    await desk.store.append(run.id, decide)
    if missing:
        needs = "needs 1 more approval" if missing == 1 else f"needs {missing} more approvals"
        return f"Noted: `{run.head[:7]}` {needs} before it is merged."
    return None


def _missing(order: Order, now: Run) -> int:
    """Count who must still approve the head after this person did."""
    policy, me = digest(order.config), order.person.login.casefold()
    others = [a for a in now.approved() if a.by.casefold() != me and a.policy in ("", policy)]
    return max(0, order.config.approval.required - len(others) - 1)


def _allowed(order: Order, run: Run) -> str:
    seen = order.command.argument() or order.spoken.seen
    if not seen and run.state is State.AWAITING_REVIEW:
        _not_before_the_head(order, run)
    facts = ApprovalFacts(
        person=order.person,
        requester=run.requester,
        co_authors=tuple(login for each in run.checkpoints for login in each.by),
        others_can=order.others_can,
        seen_sha=seen or None,
        head_sha=run.head,
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
