"""Checkpoints that GitHub signs: the same tree, as a commit that GitHub makes in the App's name.

The tree goes to GitHub by git, so that modes, links and the files' bytes are what they are here;
the commit is then asked for by the Git Data API, without author or committer, which is what GitHub
signs. The branch is moved there forwards only: what people pushed meanwhile stays, and is found by
the push that follows. Whoever comes second, after a crash or beside another worker, finds the
commit on the branch and takes that one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import structlog

from bot.errors import TransientError
from bot.events import ORCHESTRATE, Event, Type
from bot.runs.model import Run
from bot.runs.ports import Clock, Forge, Git
from bot.runs.store import Store
from policies.config import Config
from policies.signing import commits_of, switched

log = structlog.get_logger()


class Signing:
    """Decides whether GitHub signs what a run commits, and has it do so."""

    def __init__(self, store: Store, git: Git, forge: Forge, clock: Clock) -> None:
        self._store = store
        self._git = git
        self._forge = forge
        self._clock = clock

    async def is_asked(self, run: Run, config: Config) -> bool:
        """Say whether the checkpoints of a run are commits that GitHub signs.

        Where the configuration leaves it open, the branches' rules are asked until one demands it.
        That is kept before anything is signed, so that a later try signs as well. Git commits while
        nobody can say what the rules are.
        """
        if run.is_local:
            return False
        if config.commits != "auto":
            return config.commits == "api"
        if run.signs:
            return True
        try:
            demands = await self._forge.signatures(run)
        except TransientError as error:
            # Out of reach, GitHub holds up no work here: what is committed by git is told later.
            log.warning("rules not asked, committed by git", run=run.id, error=str(error))
            return False
        if commits_of(demands, config) == "git":
            return False
        await self._store.append(run.id, lambda now: switch(now, demands, self._clock()))
        return True

    async def publish(self, run: Run, commit: str, tree: str, parents: Sequence[str]) -> str:
        """Publish a commit that is on no branch as one that GitHub signs; return that one.

        The commit itself where people pushed meanwhile: the run pauses for them, and it is kept.
        """
        git = self._git
        made = await git.published(run, tree)
        if made is None:
            text = await git.offer(run, commit)
            try:
                asked = await self._forge.sign(run, tree, parents, text)
            finally:
                await git.withdraw(run)
            # Where the branch had moved, that was another worker's doing, or people's.
            made = await git.published(run, tree)
            if asked and made is None:
                raise TransientError("GitHub does not show the commit yet that it made.")
        await git.settle(run, made or commit)
        return made or commit


def switch(run: Run, demands: Collection[str], at: datetime) -> list[Event]:
    """Record that GitHub signs what the run commits from now on, unless it does already."""
    if run.signs:
        return []
    unsigned = sum(each.kind != "human" for each in run.checkpoints)
    data = {"branches": list(demands), "note": switched(demands, unsigned)}
    kind = Type.SIGNATURES_DEMANDED
    return [Event(id=f"{run.id}:signing", at=at, actor=ORCHESTRATE, type=kind, data=data)]
