"""The work of runs on their repositories: what `bot/runs/ports.py` asks of git, put together.

Under the data folder: `mirrors/<repository>.git` and `bases/<repository>/`, shared by runs, and
`runs/<run>/` with the disposable `workspace`, the agent's `home` and the `logs`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import pygit2
import structlog

from bot.errors import OrchestrateError, Refused, TransientError, UserError
from bot.git import (
    authorship,
    candidate,
    checkpoint,
    diff,
    environments,
    history,
    leaks,
    leases,
    lfs,
    merge,
    mirror,
    objects,
    pack,
    pulls,
    quarantine,
    refs,
    rollback,
    upkeep,
)
from bot.git.checkpoint import Identity
from bot.git.diff import Comparison
from bot.git.environments import Environments, Made
from bot.git.locks import Busy, writing
from bot.git.mirror import Mirror
from bot.git.partial import hydrate, is_blobless
from bot.git.pool import Call, Pool
from bot.git.push import PushRejected, Update, push
from bot.git.records import Address, Records
from bot.git.scan import Source
from bot.git.workspace import Layer, Workspace, Workspaces
from bot.runs.inforce import Earlier
from bot.runs.model import Repository, Run
from bot.runs.ports import (
    Base,
    Candidate,
    CommitMessage,
    Conflict,
    HumanWork,
    Install,
    MadeEnvironment,
    Place,
    Recipe,
    Strange,
)
from bot.runs.transitions import TERMINAL
from policies.config import PATH
from policies.facts import Change, Commit, Secret

log = structlog.get_logger()

P = ParamSpec("P")
T = TypeVar("T")

READ_LIMIT = 8 * 1024 * 1024
"""Bytes of a file that the host reads for itself: the lock file of many packages has some."""

BLOBLESS_OVER = 500 * 1024
"""KB from which on a repository is mirrored without the contents of old files."""

UNSIGNED = "refs/orchestrate-unsigned"
"""Where on the remote a commit lies while GitHub makes the signed one with its tree."""

OWN_REFS = ("refs/heads/orchestrate", "refs/orchestrate", "refs/quarantine")
"""The refs that only this process moves, and no git program."""


class Workbench:
    """Fulfils the runs' port to git. `identity` signs the commits; without a `pool` threads do."""

    def __init__(
        self,
        folder: Path,
        address: Address,
        identity: Identity,
        workspaces: Workspaces,
        *,
        blobless_over: int = BLOBLESS_OVER,
        pool: Pool | None = None,
        environments: Environments | None = None,
    ) -> None:
        self._environments = environments
        self._blobless_over = blobless_over
        self._pool = pool
        self._call: Call = pool.call if pool else asyncio.to_thread
        self._folder = folder
        self._address = address
        self._identity = identity
        self._workspaces = workspaces
        self.records = Records(
            folder / "mirrors", address, identity, call=self._call, blobless_over=blobless_over
        )

    async def begin(self, active: Collection[str]) -> None:
        """Clean up after a process that was killed; for who has the folder to itself.

        What it left in the workspaces of the runs that are `active` is kept.
        """
        await self._call(free, self._folder / "mirrors", frozenset(active))
        await self._workspaces.sweep(active)
        if self._environments:
            await asyncio.to_thread(self._environments.sweep)

    async def end(self) -> None:
        """Leave no mount and no helper behind."""
        await self._workspaces.stop()
        if self._pool:
            await self._pool.stop()

    # -- the repository

    async def base(self, run: Run, branch: str) -> Base:
        """Bring the mirror up to date; say what `branch`, or the default branch, is now."""
        repository = run.repository
        held = await self._fetched(repository)
        name = branch or repository.default_branch
        sha = await self._call(refs.tip, held, f"refs/remotes/origin/{name}")
        if sha is None:
            raise UserError(f"There is no branch `{name}` in {repository.full_name}.")
        head = f"refs/remotes/origin/{repository.default_branch}"
        top = await self._call(refs.tip, held, head)
        config = await self._call(objects.blob_id, held, top or sha, PATH)
        if config:
            await self._hydrate(repository, config)
        return Base(
            branch=name,
            sha=sha,
            tree=await self.tree(run, sha),
            config=config or "",
            configured_at=top or sha,
        )

    async def trusted(self, run: Run) -> bool:
        """Bring in the pull request that a run only checks; say whether its head is as trusted."""
        assert run.pull_request is not None, "who trusts, trusts a pull request"
        held = await self._fetched(run.repository)
        remote = await self._address(run.repository)
        return await pulls.bring(held, remote, run.pull_request) == run.trusted

    async def strange(self, run: Run) -> Strange:
        """Bring in the pull request that a run goes on from; say what its head is now."""
        assert run.onto is not None, "who goes on from a pull request knows which"
        repository, held = run.repository, await self._fetched(run.repository)
        head = await pulls.bring(held, await self._address(repository), run.onto.pull)
        base = await self._call(refs.tip, held, f"refs/remotes/origin/{run.base}")
        if head is None:
            return Strange("", "", "", "")
        left = await self._call(merge.base_of, held, base, head) if base else None
        tree = await self.tree(run, left) if left else ""
        return Strange(head, await self.tree(run, head), left or "", tree)

    async def read_default(self, repository: Repository, path: str) -> bytes | None:
        """Bring the mirror up to date; read a file of the default branch."""
        held = await self._fetched(repository)
        ref = f"refs/remotes/origin/{repository.default_branch}"
        tip = await self._call(refs.tip, held, ref)
        blob = await self._call(objects.blob_id, held, tip, path) if tip else None
        if blob is None:
            return None
        await self._hydrate(repository, blob)
        return await self._call(objects.read_blob, held, blob, READ_LIMIT)

    async def earlier(self, repository: Repository, path: str) -> AsyncIterator[Earlier]:
        """Yield what a file of the default branch was before what it is now, the newest first."""
        held = await self._fetched(repository)
        ref = f"refs/remotes/origin/{repository.default_branch}"
        tip = await self._call(refs.tip, held, ref)
        for each in await self._call(history.versions, held, tip, path) if tip else ():
            await self._hydrate(repository, each.blob)
            data = await self._call(objects.read_blob, held, each.blob, READ_LIMIT)
            yield Earlier(each.commit, each.blob, data.decode("utf-8", "replace"))

    async def config(self, run: Run, blob: str) -> str:
        """Read the configuration kept as `blob`; empty when there was none."""
        if not blob:
            return ""
        data = await self._on(run.repository, objects.read_blob, blob, READ_LIMIT)
        return data.decode("utf-8", "replace")

    async def read(self, run: Run, commit: str, path: str) -> bytes | None:
        """Read one file of a commit; None when there is none, or it is no regular file.

        Raises Refused, in a sentence, for one over `READ_LIMIT`: what a file says is not guessed.
        """
        return await self._on(run.repository, objects.read, commit, path, READ_LIMIT)

    async def paths(self, run: Run, commit: str) -> Sequence[str]:
        """List the files of a commit."""
        return await self._on(run.repository, objects.paths, commit)

    async def top(self, run: Run, commit: str) -> Sequence[str]:
        """List the names at the root of a commit."""
        return await self._on(run.repository, objects.top, commit)

    async def ids(self, run: Run, commit: str, paths: Sequence[str]) -> Mapping[str, str]:
        """Return what stands at paths of a commit by id; what is absent is left out."""
        return await self._on(run.repository, objects.ids, commit, tuple(paths))

    async def tree(self, run: Run, commit: str) -> str:
        """Return the tree of a commit."""
        return await self._on(run.repository, objects.tree_of, commit)

    async def changes(self, run: Run, old: str, new: str) -> tuple[Change, ...]:
        """Compare two trees or commits."""
        await self._hydrate(run.repository, old, new)
        return await self._on(run.repository, diff.changes, old, new)

    async def leaks(
        self, run: Run, old: str, new: str, known: frozenset[str]
    ) -> tuple[Secret, ...]:
        """Find what looks like a secret in what `new` adds to `old`, or is one of `known`."""
        await self._hydrate(run.repository, old, new)
        return await self._on(run.repository, leaks.leaks, old, new, known)

    async def compare(self, run: Run, old: str, new: str, limit: int) -> Comparison:
        """Compare two trees or commits, with the patch, cut at `limit` bytes."""
        await self._hydrate(run.repository, old, new)
        return await self._on(run.repository, diff.compare, old, new, limit)

    # -- the workspace

    def place(self, run: Run) -> Place:
        """Say where the run's files are, built or not."""
        folder = self._folder / "runs" / run.id
        opened = self._workspaces.found(run.id)
        namespace = opened.namespace if opened else None
        return Place(folder / "workspace", folder / "home", folder / "logs", namespace)

    async def open(self, run: Run, commit: str, environment: str = "") -> Place:
        """Build a fresh workspace with the files of `commit`, on an environment by its key."""
        held = self._mirror(run)
        # Before anything relies on it: what the remote drops meanwhile stays here.
        await self._call(leases.take, held, run.id, (commit,))
        if not run.trusted and await self._call(refs.tip, held, f"refs/heads/{run.branch}") is None:
            await self.adopt(run, run.head)
        await self._hydrate(run.repository, commit)
        # A stranger's files say where large ones are kept: nothing is asked there, with our token.
        strange = run.trusted == commit or run.onto is not None
        contents = None if strange else functools.partial(self._contents, run, commit)
        found = await self._found(held, environment) if environment else None
        under = found[1] if found else None
        await self._workspaces.open(held, commit, run.id, contents, under)
        place = self.place(run)
        if found:
            place = replace(place, env=found[0].env, path=found[0].path)
        for folder in (place.home, place.logs):
            folder.mkdir(parents=True, exist_ok=True)
        return place

    async def has_environment(self, run: Run, key: str) -> bool:
        """Say whether an environment is there; it then stays for as long as it is needed."""
        store = self._environments
        return bool(store and await asyncio.to_thread(store.find, self._mirror(run), key))

    async def make_environment(
        self, run: Run, commit: str, recipe: Recipe, install: Install, *, stop: asyncio.Event
    ) -> MadeEnvironment | None:
        """Make an environment on the files of `commit`, unless somebody else does it meanwhile.

        None where `install` did not go well, or `stop` was set.
        """
        assert self._environments is not None, "who makes environments has a place for them"
        held = self._mirror(run)
        await self._call(leases.take, held, run.id, (commit,))
        await self._hydrate(run.repository, commit)
        logs = self.place(run).logs
        logs.mkdir(parents=True, exist_ok=True)

        async def there(opened: Workspace, home: Path, halt: asyncio.Event) -> bool:
            return await install(Place(opened.folder, home, logs, opened.namespace), halt)

        made = await self._environments.make(
            held,
            commit,
            environments.Recipe(recipe.key, recipe.env, recipe.programs, recipe.secrets),
            there,
            stop=stop,
            call=self._call,
        )
        return MadeEnvironment(made.size, made.dropped) if made else None

    async def _found(self, held: Mirror, key: str) -> tuple[Made, Layer]:
        store = self._environments
        found = await asyncio.to_thread(store.find, held, key) if store else None
        if found is None:
            raise TransientError("The environment was removed while it was asked for.")
        return found

    async def close(self, run: Run) -> None:
        """Throw the workspace away, and let go of what it stood on."""
        await self._workspaces.close(run.id)
        if not run.base_sha:
            return  # Before its start a run has no mirror.
        held = self._mirror(run)
        await self._call(leases.drop, held, run.id)
        if run.state in TERMINAL:
            await self._call(quarantine.drop, held, run.id)
        if run.trusted and run.pull_request is not None:
            await self._call(pulls.drop, held, run.pull_request)
        if run.onto and run.state in TERMINAL:
            await self._call(pulls.drop, held, run.onto.pull)
        await self._fold(held)

    def is_open(self, run: Run) -> bool:
        """Say whether there is a workspace of the run, perhaps of a process that was killed."""
        return self._workspaces.found(run.id) is not None

    async def _fold(self, held: Mirror) -> None:
        """Join the packs of checkpoints where they are many; no object goes by that."""
        if await self._call(pack.count, held) < pack.FOLD_AT:
            return
        with contextlib.suppress(Busy):  # the next one to let go does it
            async with writing(held.path, upkeep.PATIENCE):
                await self._call(pack.fold, held)

    async def upkeep(self) -> None:
        """Tidy every mirror that no run uses now, as far as there is something to do."""
        if self._environments and (gone := await asyncio.to_thread(self._environments.prune)):
            log.info("environments removed", environments=gone)
        for path in sorted((self._folder / "mirrors").glob("*.git")):
            try:
                done = await upkeep.run(Mirror(path))
            except OrchestrateError as error:
                # Where it is damaged, the next run that fetches finds that out and mends it.
                log.warning("mirror not tidied", mirror=path.name, error=str(error))
            else:
                log.info("mirror tidied", mirror=path.name, done=done) if done else None

    async def too_large(self, run: Run) -> int:
        """Return once the workspace takes more of the disk than it may, with the bytes it takes."""
        return await self._workspaces.too_large(run.id)

    async def take(self, run: Run, message: CommitMessage) -> Candidate:
        """Read from the file system what changed since the head, as a commit on no branch."""
        left = self._workspaces.found(run.id)
        if left is None:
            raise Refused("The workspace of the turn is gone, and what it changed with it.")
        source = Source(left.changed, left.tree, left.opaque, left.whole, left.made)
        made = candidate.Made(self._text(message), self._identity, self._identity, message.at)
        found = await self._on(run.repository, candidate.take, source, run.head, made)
        violations = tuple((each.path, each.reason) for each in found.violations)
        return Candidate(found.tree, found.commit, violations)

    async def quarantine(self, run: Run, commit: str) -> None:
        """Keep a refused candidate on this machine; it is never pushed."""
        await self._on(run.repository, quarantine.keep, run.id, run.turns, commit)

    # -- the branch

    async def checkpoint(
        self, run: Run, tree: str, message: CommitMessage, joined: str | None = None
    ) -> str:
        """Commit `tree` on the run's head and move the local branch there; return the commit.

        `joined` is a further parent.
        """
        sha = await self._on(
            run.repository,
            checkpoint.commit,
            tree=tree,
            parents=[run.head, joined] if joined else [run.head],
            message=self._text(message),
            author=self._identity,
            committer=self._identity,
            at=message.at,
        )
        await self.adopt(run, sha)
        return sha

    async def commit(
        self, run: Run, tree: str, parents: Sequence[str], message: CommitMessage
    ) -> str:
        """Commit `tree` on top of some commits, on no branch; return the commit."""
        return await self._on(
            run.repository,
            checkpoint.commit,
            tree=tree,
            parents=list(parents),
            message=self._text(message),
            author=self._identity,
            committer=self._identity,
            at=message.at,
        )

    async def offer(self, run: Run, commit: str) -> str:
        """Let the remote have a commit that is on no branch, until `withdraw`; return its text."""
        await self._offer(run, commit)
        (info,) = await self._on(run.repository, objects.commits_between, run.head, commit, 1)
        return info.message

    async def withdraw(self, run: Run) -> None:
        """Take back what was offered; what a killed process offered is taken back by the next."""
        await self._offer(run, None)

    async def _offer(self, run: Run, commit: str | None) -> None:
        ref, remote = f"{UNSIGNED}/{run.id}", await self._address(run.repository)
        there = (await mirror.remote_refs(remote, ref)).get(ref)
        if there != commit:
            await push(self._mirror(run), remote, [Update(ref, commit, there)])

    async def published(self, run: Run, tree: str) -> str | None:
        """Fetch the branch; return its commit of `tree` on the head that was made for the run.

        People may have pushed on top of that meanwhile.
        """
        held = self._mirror(run)
        await mirror.fetch(held, await self._address(run.repository))
        tip = await self._call(refs.tip, held, f"refs/remotes/origin/{run.branch}")
        if tip is None or tip == run.head:
            return None
        added = await self._on(run.repository, objects.commits_between, run.head, tip)
        for each in added:
            ours = run.id in each.trailers.get("Orchestrate-Run", ())
            if ours and each.parents[:1] == (run.head,) and each.tree == tree:
                return each.sha
        return None

    async def settle(self, run: Run, sha: str) -> None:
        """Move the local branch to a commit on the head, wherever an earlier try left it."""
        held, ref = self._mirror(run), f"refs/heads/{run.branch}"
        now = await self._call(refs.tip, held, ref)
        await self._on(run.repository, refs.set_ref, ref, sha, now)

    async def adopt(self, run: Run, sha: str) -> None:
        """Move the local branch from the head to `sha`, a commit on top of it."""
        held, ref = self._mirror(run), f"refs/heads/{run.branch}"
        absent = await self._call(refs.tip, held, ref) is None
        expected = None if absent else run.head
        await self._on(run.repository, refs.set_ref, ref, sha, expected)

    async def push(self, run: Run) -> HumanWork | None:
        """Publish the head under a lease; when people pushed, leave it and say what they did."""
        ours = [run.base_sha, *(each.sha for each in run.checkpoints)]
        expected = ours[-2] if len(ours) > 2 else None
        for _ in range(3):
            try:
                await self._push(run, f"refs/heads/{run.branch}", run.head, expected)
            except PushRejected as rejected:
                now = rejected.now.get(f"refs/heads/{run.branch}")
                if now is not None and now not in ours:
                    return await self.human_work(run)
                if now == expected:
                    place = self.records.place(run)
                    raise Refused(_not_taken(run, rejected.why, place)) from rejected
                expected = now
            else:
                return None
        return await self.human_work(run)

    async def human_work(self, run: Run) -> HumanWork | None:
        """Fetch the branch; say what people added on top of the head, or None."""
        held = self._mirror(run)
        await mirror.fetch(held, await self._address(run.repository))
        tip = await self._call(refs.tip, held, f"refs/remotes/origin/{run.branch}")
        ours = {run.base_sha, *(each.sha for each in run.checkpoints)}
        if tip is None or tip in ours:
            return None
        added = await self._on(run.repository, objects.commits_between, run.head, tip)
        authors = tuple(dict.fromkeys(each.author_name for each in added))
        titles = tuple(each.message.splitlines()[0] for each in added if each.message.strip())
        return HumanWork(tip, await self.tree(run, tip), authors, titles)

    async def pushed_commits(self, run: Run, tip: str) -> tuple[Commit, ...]:
        """Read the commits of people up to `tip` that neither the head nor the base has."""
        return await self._on(run.repository, authorship.pushed, run.head, tip, run.base)

    async def restored(self, run: Run, target: str, globs: Sequence[str]) -> str:
        """Return the head's tree with what globs mean as it is in `target`."""
        return await self._on(
            run.repository, rollback.restore_meant, run.head, target, tuple(globs)
        )

    async def without(self, run: Run, tree: str, paths: Collection[str]) -> str:
        """Return `tree` with some paths, and what is below them, as they are in the head."""
        return await self._on(
            run.repository, rollback.restore_paths, tree, run.head, frozenset(paths)
        )

    async def touched(self, run: Run, old: str, new: str) -> Sequence[str]:
        """Name the paths in which two trees or commits differ."""
        return [each.path for each in await self._on(run.repository, diff.names, old, new)]

    async def holds(self, run: Run, commit: str) -> bool:
        """Whether the head has a commit in its history."""
        return await self._on(run.repository, objects.is_ancestor, commit, run.head)

    async def merged(self, run: Run, commit: str) -> str | tuple[Conflict, ...]:
        """Merge a commit into the head, in memory; return the tree, or what conflicts."""
        between = await self._on(run.repository, merge.base_of, run.head, commit)
        needed = [each for each in (run.head, commit, between) if each]
        await self._hydrate(run.repository, *needed)
        found = await self._on(run.repository, merge.merge_trees, run.head, commit)
        return found.conflicts if found.tree is None else found.tree

    # -- the ledger

    async def recorded(self, run: Run) -> int | None:
        """Return the last sequence number in the local ledger, 0 when there is none."""
        return await self.records.recorded(run)

    async def record(self, run: Run, events: Sequence[Mapping[str, Any]]) -> None:
        """Append events to the local ledger; those that it holds already are passed over."""
        await self.records.record(run, events)

    async def publish(self, run: Run) -> None:
        """Push the ledger's ref, apart from the branch."""
        await self.records.publish(run)

    async def _push(self, run: Run, ref: str, new: str, expected: str | None) -> None:
        remote = await self._address(run.repository)
        await push(self._mirror(run), remote, [Update(ref, new, expected)])

    def _mirror(self, run: Run) -> Mirror:
        return Mirror(self._path(run.repository))

    async def _fetched(self, repository: Repository) -> Mirror:
        path, remote = self._path(repository), await self._address(repository)
        return await mirror.ensure(path, remote, blobless=repository.size > self._blobless_over)

    async def _on(
        self,
        repository: Repository,
        function: Callable[Concatenate[Mirror, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a function on a repository's mirror; where that is damaged, once more when mended."""
        held = Mirror(self._path(repository))
        try:
            return await self._call(function, held, *args, **kwargs)
        except (Refused, KeyError, pygit2.GitError) as error:
            if not await mirror.recover(held, await self._address(repository), error):
                raise
        return await self._call(function, held, *args, **kwargs)

    async def _hydrate(self, repository: Repository, *revisions: str) -> None:
        """Bring in the contents of files that are going to be read, where they are not here."""
        held = Mirror(self._path(repository))
        if await self._call(is_blobless, held):
            await hydrate(held, await self._address(repository), *revisions)

    async def _contents(self, run: Run, commit: str) -> bool:
        """Bring in what Git LFS keeps of a commit's files, where it is to be had."""
        return await lfs.fetch(self._mirror(run), await self._address(run.repository), commit)

    def _text(self, message: CommitMessage) -> str:
        trailers = dict(message.trailers)
        if message.sign_off:
            trailers[checkpoint.SIGNED_OFF] = (self._identity.trailer(),)
        return checkpoint.with_trailers(message.title, trailers)

    def _path(self, repository: Repository) -> Path:
        return self._folder / "mirrors" / f"{repository.id}.git"


def _not_taken(run: Run, why: str, place: str) -> str:
    """Say that a rule of the remote keeps the head out, where it is all the same, and who helps."""
    kept = f"Checkpoint {run.last.number}" if run.last else "What was begun"
    return (
        f"{run.repository.full_name} does not take the branch `{run.branch}`: {why}. {kept} is "
        f"kept in the run's record, `{place}`, so nothing is lost: have the rule "
        "or hook that says so let `orchestrate/*` through."
    )


def free(mirrors: Path, active: Collection[str]) -> None:
    """Free what a killed process held in the mirrors, but for the leases of `active` runs."""
    for held in mirrors.glob("*.git"):
        leases.sweep(Mirror(held), active)
        for name in OWN_REFS:
            for lock in (held / name).rglob("*.lock"):
                lock.unlink(missing_ok=True)
