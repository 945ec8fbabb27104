"""`/status` says where the run stands and what it waits for.

    /status

The run's status comment says the same, always up to date.
"""

from __future__ import annotations

from bot.commands import Usage
from bot.router import Desk, Feature, Order
from bot.runs.model import Run


async def handle(desk: Desk, order: Order) -> str | None:
    """Answer in a few lines."""
    return sentence(order.required_run())


def sentence(run: Run) -> str:
    """Say where a run stands."""
    words = [f"Run `{run.id}` is {run.state.value.replace('_', ' ')}."]
    if run.reason:
        words.append(f"{run.reason} {run.next_step}".strip())
    if run.last is not None:
        words.append(f"Checkpoint {run.last.number}, `{run.last.sha[:7]}`: {_checks(run)}.")
    if run.pull_request:
        words.append(f"Pull request: #{run.pull_request}.")
    return " ".join(words)


def _checks(run: Run) -> str:
    if run.checked != run.head:
        return "checks not finished"
    listed = ", ".join(f"`{each.name}` {each.conclusion}" for each in run.outcomes)
    return listed or "no checks"


FEATURE = Feature(Usage("status", "says where the run stands", examples=("/status",)), handle)
