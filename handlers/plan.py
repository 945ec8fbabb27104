"""`/plan` shows the plan: its tasks, which of them are done, and what comes next.

/plan
"""

from __future__ import annotations

from bot.commands import Usage
from bot.router import Desk, Feature, Order
from bot.runs.model import Run, Task
from policies.verdict import code

TASKS = 50
"""Tasks shown, as in the status comment."""


async def handle(desk: Desk, order: Order) -> str | None:
    """Answer with a line a task."""
    return lines(order.required_run())


def lines(run: Run) -> str:
    """Write a run's plan."""
    if not run.plan.tasks:
        return f"Run {code(run.id)} has no plan yet."
    following = run.next_task()
    told = [_line(task, is_next=task == following) for task in run.plan.tasks[:TASKS]]
    if (left := len(run.plan.tasks) - TASKS) > 0:
        told.append(
            f"- and {left} more: on the server {code(f'orchestrate show {run.id}')} names all"
        )
    return "\n".join(told)


def _line(task: Task, *, is_next: bool) -> str:
    state = "done" if task.done else "next" if is_next else "waits"
    needs = f", after {', '.join(code(each) for each in task.needs)}" if task.needs else ""
    areas = f", in {', '.join(code(each) for each in task.areas)}" if task.areas else ""
    agent = f", by {code(task.agent)}" if task.agent else ""
    return f"- {code(task.id)} {code(task.title)}: {state}{agent}{areas}{needs}"


FEATURE = Feature(Usage("plan", "shows the plan and how far it is", examples=("/plan",)), handle)
