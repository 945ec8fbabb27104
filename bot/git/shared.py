"""A workbench beside others on other machines: whichever works on a run next has what it needs.

What a run stands on is brought in before it is looked at: from the remote, or where the remote
does not have it yet, from the database. A commit goes there, as a pack, before anybody is told of
it: a candidate, a checkpoint that is not pushed yet, and one that the rules refused. Workspaces
stay where they are; the next machine builds its own from the last checkpoint.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import structlog

from bot.git import checkpoint, mirror, pulls, refs
from bot.git.checkpoint import Identity
from bot.git.diff import Comparison
from bot.git.environments import Environments
from bot.git.pool import Pool
from bot.git.program import NETWORK_TIMEOUT, git
from bot.git.records import Address
from bot.git.repository import Mirror, lookup, open_repository
from bot.git.workbench import BLOBLESS_OVER, Workbench
from bot.git.workspace import Workspaces
from bot.runs.model import Run
from bot.runs.ports import (
    Candidate,
    CommitMessage,
    Conflict,
    HumanWork,
    Install,
    MadeEnvironment,
    Place,
    Recipe,
)
from bot.runs.transitions import TERMINAL
from policies.facts import Change, Commit

log = structlog.get_logger()

PACK_MAX = 200 * 1024 * 1024
"""Bytes of a commit's pack that is handed on: it is held in memory on its way, and PostgreSQL takes
no more than 1 GB. A larger one goes on with this machine alone until it is pushed."""

RUNS_KNOWN = 10_000
"""Runs of which it is remembered what is here; of more, it is looked up again."""


class Packs(Protocol):
    """Where commits are kept that no remote has."""

    async def keep_pack(self, run_id: str, commit: str, data: bytes) -> None:
        """Keep a commit."""

    async def pack(self, run_id: str, commit: str) -> bytes | None:
        """Return a commit that was kept."""

    async def drop_packs(self, run_id: str, commits: Collection[str] | None = None) -> None:
        """Forget some commits of a run, or all."""


class SharedWorkbench(Workbench):
    """A workbench of which there are several; commits go from one to another by way of `packs`."""

    def __init__(
        self,
        folder: Path,
        address: Address,
        identity: Identity,
        workspaces: Workspaces,
        packs: Packs,
        *,
        blobless_over: int = BLOBLESS_OVER,
        pool: Pool | None = None,
        environments: Environments | None = None,
    ) -> None:
        super().__init__(
            folder,
            address,
            identity,
            workspaces,
            blobless_over=blobless_over,
            pool=pool,
            environments=environments,
        )
        self._packs = packs
        self._here: dict[str, set[str]] = {}
        self._dropped: dict[str, tuple[str, ...]] = {}

    async def begin(self, active: Collection[str]) -> None:
        """Clean up after a process that was killed.

        What it left in workspaces is not kept: others may have gone on with those runs since.
        """
        await super().begin(())

    # -- what is handed on

    async def take(self, run: Run, message: CommitMessage) -> Candidate:
        """Read what changed since the head, as a commit that others can have."""
        found = await super().take(run, message)
        await self._hand_on(run, found.commit)
        return found

    async def checkpoint(
        self, run: Run, tree: str, message: CommitMessage, joined: str | None = None
    ) -> str:
        """Commit `tree` on the run's head, where others can have it."""
        await self.bring(run)
        sha = await super().checkpoint(run, tree, message, joined)
        await self._hand_on(run, sha, joined)
        return sha

    async def publish(self, run: Run) -> None:
        """Push the ledger's ref, and with it every checkpoint."""
        await self.bring(run)
        await super().publish(run)
        pushed = tuple(each.sha for each in run.checkpoints)
        if run.state in TERMINAL:
            self._dropped.pop(run.id, None)
            await self._packs.drop_packs(run.id)
        elif pushed and self._dropped.get(run.id) != pushed:
            await self._packs.drop_packs(run.id, pushed)
            if len(self._dropped) > RUNS_KNOWN:
                self._dropped.clear()
            self._dropped[run.id] = pushed

    async def _hand_on(self, run: Run, sha: str, joined: str | None = None, name: str = "") -> None:
        if sha == run.head:
            return
        without = [f"^{each}" for each in (run.head, joined) if each]
        asked = "\n".join([sha, *without, ""]).encode()
        data = await git(
            *("pack-objects", "--revs", "--stdout", "--quiet"),
            git_dir=self._mirror(run).path,
            input=asked,
            timeout=NETWORK_TIMEOUT,
        )
        if len(data) > PACK_MAX:
            log.warning("commit not handed on", run=run.id, commit=sha, bytes=len(data))
            return
        self._dropped.pop(run.id, None)
        await self._packs.keep_pack(run.id, name or sha, data)

    async def _hand_on_tree(self, run: Run, tree: str) -> str:
        """Hand a tree on that no commit has yet, by a commit of it on the head."""
        signed: dict[str, Any] = {"author": self._identity, "committer": self._identity}
        sha = await self._on(
            run.repository,
            checkpoint.commit,
            tree=tree,
            parents=[run.head],
            message="A tree on its way\n",
            at=run.updated_at,
            **signed,
        )
        await self._hand_on(run, sha, name=tree)
        return tree

    # -- what is brought in

    async def bring(self, run: Run) -> None:
        """Have what a run stands on; what can be had from nowhere is left out."""
        wanted = _wanted(run)
        if not wanted:
            return
        held = self._mirror(run)
        if not held.path.exists():
            await self._fetched(run.repository)
        if len(self._here) > RUNS_KNOWN:
            self._here.clear()
        known = self._here.setdefault(run.id, set())
        lacking = [each for each in wanted if each not in known]
        if lacking and (absent := await self._call(absent_of, held, lacking)):
            if run.onto and run.onto.sha in absent:
                # The packs of its checkpoints stand on it, and no branch of the remote has it.
                await pulls.bring(held, await self._address(run.repository), run.onto.pull)
                absent = await self._call(absent_of, held, absent)
            absent = await self._unpacked(run, held, absent)
            if absent:
                await mirror.fetch(held, await self._address(run.repository))
                absent = await self._call(absent_of, held, absent)
            if absent:
                await self.records.bring_in(run.repository)
                absent = await self._call(absent_of, held, absent)
            lacking = [each for each in lacking if each not in absent]
        known.update(lacking)

    async def _unpacked(self, run: Run, held: Mirror, absent: Sequence[str]) -> list[str]:
        """Take commits out of the database, the oldest first; return those that it has not."""
        left = []
        for sha in absent:
            data = await self._packs.pack(run.id, sha)
            if data is None:
                left.append(sha)
                continue
            await git("index-pack", "--stdin", "--fix-thin", git_dir=held.path, input=data)
            log.info("commit brought in", run=run.id, commit=sha)
        return left

    async def adopt(self, run: Run, sha: str) -> None:
        """Move the local branch to `sha`, from wherever an earlier segment here left it."""
        await self.bring(run)
        held, ref = self._mirror(run), f"refs/heads/{run.branch}"
        now = await self._call(refs.tip, held, ref)
        if now not in (None, run.head, sha):
            await self._call(refs.set_ref, held, ref, run.head, now)
        await super().adopt(run, sha)

    # -- each look at a run, once it is here

    async def config(self, run: Run, blob: str) -> str:
        """Read the configuration kept as `blob`; empty when there was none."""
        await self.bring(run)
        if blob:
            await self._hydrate(run.repository, blob)
        return await super().config(run, blob)

    async def read(self, run: Run, commit: str, path: str) -> bytes | None:
        """Read one file of a commit; None when there is none, or it is no file to read."""
        await self.bring(run)
        return await super().read(run, commit, path)

    async def paths(self, run: Run, commit: str) -> Sequence[str]:
        """List the files of a commit."""
        await self.bring(run)
        return await super().paths(run, commit)

    async def top(self, run: Run, commit: str) -> Sequence[str]:
        """List the names at the root of a commit."""
        await self.bring(run)
        return await super().top(run, commit)

    async def ids(self, run: Run, commit: str, paths: Sequence[str]) -> Mapping[str, str]:
        """Return what stands at paths of a commit by id; what is absent is left out."""
        await self.bring(run)
        return await super().ids(run, commit, paths)

    async def tree(self, run: Run, commit: str) -> str:
        """Return the tree of a commit."""
        await self.bring(run)
        return await super().tree(run, commit)

    async def changes(self, run: Run, old: str, new: str) -> tuple[Change, ...]:
        """Compare two trees or commits."""
        await self.bring(run)
        return await super().changes(run, old, new)

    async def compare(self, run: Run, old: str, new: str, limit: int) -> Comparison:
        """Compare two trees or commits, with the patch, cut at `limit` bytes."""
        await self.bring(run)
        return await super().compare(run, old, new, limit)

    async def open(self, run: Run, commit: str, environment: str = "") -> Place:
        """Build a fresh workspace with the files of `commit`, on an environment by its key."""
        await self.bring(run)
        return await super().open(run, commit, environment)

    async def has_environment(self, run: Run, key: str) -> bool:
        """Say whether an environment is here; it then stays for as long as it is needed."""
        await self.bring(run)
        return await super().has_environment(run, key)

    async def make_environment(
        self, run: Run, commit: str, recipe: Recipe, install: Install, *, stop: Any
    ) -> MadeEnvironment | None:
        """Make an environment on the files of `commit`, unless somebody else does it meanwhile."""
        await self.bring(run)
        return await super().make_environment(run, commit, recipe, install, stop=stop)

    async def close(self, run: Run) -> None:
        """Throw the workspace away, and let go of what it stood on."""
        if self._mirror(run).path.exists():
            await super().close(run)
        else:
            await self._workspaces.close(run.id)

    async def quarantine(self, run: Run, commit: str) -> None:
        """Keep a refused candidate; it is never pushed."""
        await self.bring(run)
        await super().quarantine(run, commit)

    async def push(self, run: Run) -> HumanWork | None:
        """Publish the head under a lease; when people pushed, leave it and say what they did."""
        await self.bring(run)
        return await super().push(run)

    async def human_work(self, run: Run) -> HumanWork | None:
        """Fetch the branch; say what people added on top of the head, or None."""
        await self.bring(run)
        return await super().human_work(run)

    async def pushed_commits(self, run: Run, tip: str) -> tuple[Commit, ...]:
        """Read the commits of people up to `tip` that neither the head nor the base has."""
        await self.bring(run)
        return await super().pushed_commits(run, tip)

    async def restored(self, run: Run, target: str, globs: Sequence[str]) -> str:
        """Return the head's tree with what globs mean as it is in `target`."""
        await self.bring(run)
        return await self._hand_on_tree(run, await super().restored(run, target, globs))

    async def without(self, run: Run, tree: str, paths: Collection[str]) -> str:
        """Return `tree` with some paths, and what is below them, as they are in the head."""
        await self.bring(run)
        return await self._hand_on_tree(run, await super().without(run, tree, paths))

    async def touched(self, run: Run, old: str, new: str) -> Sequence[str]:
        """Name the paths in which two trees or commits differ."""
        await self.bring(run)
        return await super().touched(run, old, new)

    async def holds(self, run: Run, commit: str) -> bool:
        """Whether the head has a commit in its history."""
        await self.bring(run)
        return await super().holds(run, commit)

    async def merged(self, run: Run, commit: str) -> str | tuple[Conflict, ...]:
        """Merge a commit into the head, in memory; return the tree, or what conflicts."""
        await self.bring(run)
        return await super().merged(run, commit)

    async def recorded(self, run: Run) -> int | None:
        """Return the last sequence number in the local ledger, 0 when there is none."""
        await self.bring(run)
        return await super().recorded(run)

    async def record(self, run: Run, events: Sequence[Mapping[str, Any]]) -> None:
        """Append events to the local ledger; those that it holds already are passed over."""
        await self.bring(run)
        await super().record(run, events)


def _wanted(run: Run) -> list[str]:
    """Name what a run stands on, the oldest first; nothing before its start."""
    if not run.base_sha:
        return []
    left = [each.get("commit") for each in (run.candidate, run.quarantine)]
    asked = [run.restore.get("tree"), run.restore.get("base_sha")]
    made = [each.sha for each in run.checkpoints]
    named = [run.base_sha, run.start_sha, run.config, *made, run.foreign, *left, *asked]
    return [each for each in dict.fromkeys(named) if each]


def absent_of(held: Mirror, names: Sequence[str]) -> list[str]:
    """Return which of these objects a mirror does not have."""
    repo = open_repository(held)
    return [each for each in names if lookup(repo, each) is None]
