"""Making the commit that a pull request lands as, in the bare repository."""

from __future__ import annotations

from dataclasses import dataclass

from bot.hub.repositories import Bare, Signature

# Who GitHub names as the committer of what it makes itself.
WEB = ("GitHub", "noreply@github.com")

WORKFLOWS = ".github/workflows/"


@dataclass(frozen=True, slots=True)
class Merge:
    """What is to be merged, and what its commit is to say."""

    number: int
    base: str
    head: str
    branch: str
    owner: str
    title: str | None
    message: str | None
    pull_title: str
    who: Signature


def make(bare: Bare, method: str, plan: Merge) -> str | None:
    """The commit that the base branch is to point at, or None where there are conflicts."""
    committer = Signature(*WEB, plan.who.at)
    if method == "rebase":
        base = bare.merge_base(plan.base, plan.head)
        return bare.replay(plan.base, base or plan.base, plan.head, committer)
    tree = bare.merge_trees(plan.base, plan.head)
    if tree is None:
        return None
    if method == "squash":
        return bare.write_commit(tree, [plan.base], _squashed(bare, plan), plan.who, committer)
    title = plan.title or f"Merge pull request #{plan.number} from {plan.owner}/{plan.branch}"
    text = _joined(title, plan.pull_title if plan.message is None else plan.message)
    return bare.write_commit(tree, [plan.base, plan.head], text, plan.who, committer)


def _squashed(bare: Bare, plan: Merge) -> str:
    commits = bare.commits(f"{plan.base}..{plan.head}")[::-1]
    alone = commits[0].message.partition("\n") if len(commits) == 1 else None
    title = plan.title or f"{alone[0] if alone else plan.pull_title} (#{plan.number})"
    if plan.message is not None:
        return _joined(title, plan.message)
    listed = "\n\n".join(f"* {c.message}" for c in commits)
    return _joined(title, alone[2].strip() if alone else listed)


def _joined(title: str, text: str) -> str:
    return f"{title}\n\n{text}\n" if text else f"{title}\n"


def workflow_changed(bare: Bare, base: str, head: str) -> str | None:
    """The first workflow file that differs between the merge base and `head`, or None."""
    start = bare.merge_base(base, head) or base
    changed = bare.text("diff", "--name-only", start, head, "--", WORKFLOWS)
    return changed.splitlines()[0] if changed else None
