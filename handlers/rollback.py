"""`/rollback` puts files back as they were at a checkpoint, as a new commit on top.

    /rollback 2
    /rollback 1a2b3c4
    /rollback base
    /rollback 2 --paths docs/** "*.md"
    /rollback --only-violations

Without a checkpoint it is the one before the last. With `--paths`, only what these gitignore-style
globs mean goes back, and the rest stays as it is at the head.

`--only-violations` is for a turn that the rules refused: what breaks a rule goes back to what the
head has, and what passes becomes the checkpoint.

Nothing is dropped: the later checkpoints stay in the history, and `/undo` takes the rollback back.
"""

from __future__ import annotations

from bot.commands import Option, Usage
from bot.errors import UserError
from bot.requests import ask_for_tree, takes_base_out
from bot.router import Desk, Feature, Order
from bot.runs.model import Checkpoint, Run
from bot.runs.points import checkpoint_named
from bot.runs.texts import checkpoint_title, listed
from policies.globs import problem_of
from policies.verdict import code

GLOBS_MOST = 50
"""Globs of one command: who means more writes one that means them all."""

NAMED = 10
"""Paths that an answer names; the checkpoint shows the rest."""


async def handle(desk: Desk, order: Order) -> str | None:
    """Ask for the tree of a checkpoint or of the base, for a part of it, or for what passes."""
    run = order.required_run()
    globs = _globs(order)
    if "only-violations" in order.command.options:
        return await _keep(desk, order, run)
    point = checkpoint_named(run, order.command.argument() or _before(run))
    tree = point.tree if point else run.start_tree
    name = f"checkpoint {point.number}" if point else "the base"
    if globs:
        return await _part(desk, order, run, globs, point, name)
    await ask_for_tree(desk, order, kind="rollback", title=f"Roll back to {name}", tree=tree)
    return takes_base_out(run, point)


async def _part(
    desk: Desk, order: Order, run: Run, globs: list[str], point: Checkpoint | None, name: str
) -> str | None:
    """Ask for what the globs mean, as it was at a point."""
    tree = await desk.repositories.restored(run, point.tree if point else run.start_tree, globs)
    meant = listed([code(glob) for glob in globs])
    if tree == run.tree:
        raise UserError(
            f"Nothing that {meant} means differs between {name} and the head, so there is nothing "
            "to do; `/diff` shows what does."
        )
    title = f"Roll back {', '.join(globs)} to {name}"
    await ask_for_tree(desk, order, kind="rollback", title=title, tree=tree, more={"paths": globs})
    return takes_base_out(run, point)


async def _keep(desk: Desk, order: Order, run: Run) -> str:
    """Ask for what passes of the candidate that was refused."""
    if order.command.argument() or "paths" in order.command.options:
        raise UserError(
            "`--only-violations` stands alone: it takes no checkpoint and no `--paths`."
        )
    found = await desk.repositories.passing(run)
    title = checkpoint_title(run, "kept")
    more = {"left_out": list(found.gone)}
    await ask_for_tree(desk, order, kind="kept", title=title, tree=found.tree, more=more)
    gone = listed([code(path) for path in found.gone[:NAMED]])
    rest = f" and {len(found.gone) - NAMED} more" if len(found.gone) > NAMED else ""
    return f"What breaks a rule stays as it is at the head: {gone}{rest}."


def _globs(order: Order) -> list[str]:
    given = order.command.options.get("paths")
    globs = given.split("\n") if given is not None else []
    for glob in globs:
        if problem := problem_of(glob):
            raise UserError(f"{code(glob)}: {problem}")
    if len(globs) > GLOBS_MOST:
        raise UserError(f"At most {GLOBS_MOST} globs can be given; write one that means them all.")
    return globs


def _before(run: Run) -> str:
    """Name the point before the last checkpoint."""
    return str(run.checkpoints[-2].number) if len(run.checkpoints) > 1 else "base"


FEATURE = Feature(
    Usage(
        "rollback",
        "restores the files of a checkpoint, or some of them, as a new commit",
        arguments=("[N|SHA|base]",),
        options=(Option("paths", "GLOB", many=True), Option("only-violations")),
        examples=("/rollback 2", "/rollback 2 --paths docs/**", "/rollback --only-violations"),
    ),
    handle,
)
