"""Checkpoints that GitHub signs: the same tree, as a commit that GitHub makes in the App's name.

The tree goes to GitHub by git, so that modes, links and the files' bytes are what they are here;
the commit is then asked for by the Git Data API, without author or committer, which is what GitHub
signs. The branch is moved there forwards only: what people pushed meanwhile stays, and is found by
the push that follows.
"""

from __future__ import annotations

from collections.abc import Sequence

from bot.errors import TransientError
from bot.runs.model import Run
from bot.runs.ports import Forge, Git
from policies.config import Config


def is_signed(run: Run, config: Config) -> bool:
    """Say whether the checkpoints of a run are commits that GitHub signs."""
    return config.commits == "api" and not run.is_local


async def signed(
    git: Git, forge: Forge, run: Run, commit: str, tree: str, parents: Sequence[str]
) -> str:
    """Publish a commit that is on no branch as one that GitHub signs; return that one.

    The commit itself where people pushed meanwhile: the run pauses for them, and it is kept.
    """
    made = await git.published(run, tree)
    if made is None:
        text = await git.offer(run, commit)
        try:
            asked = await forge.sign(run, tree, parents, text)
        finally:
            await git.withdraw(run)
        made = await git.published(run, tree) if asked else None
        if asked and made is None:
            raise TransientError("GitHub does not show the commit yet that it made.")
    await git.settle(run, made or commit)
    return made or commit
