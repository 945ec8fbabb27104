"""A repository on this machine in GitHub's place: the branch is pushed to it, and merged in it.

Nobody's work tree is ever touched, so a base branch that is checked out is not moved.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from bot.errors import UserError
from bot.git import merge, mirror, objects, refs
from bot.git.checkpoint import Identity
from bot.git.mirror import Mirror
from bot.git.program import LOCAL_TIMEOUT, git
from bot.git.program import run as run_git
from bot.git.push import PushRejected, Update, push
from bot.git.remote import Remote
from bot.runs.model import Approval, Repository, Run
from bot.runs.ports import Merged, NotMerged, Surroundings
from policies.facts import BranchRules, Method, Reported

OURS = "orchestrate/"
"""What the branches of runs begin with."""

RECORDS = "orchestrate-records/"
"""What their records begin with, where they are branches."""

BRANCHES_NAMED = 10
"""Branches named in a sentence."""

_EXTENSIONS = re.compile(r"unknown repository extensions? found:((?:\n\t\S+)+)", re.I)

DETACHED = "HEAD"
"""What stands for the current branch where none is checked out: no branch can be called that."""


async def open_repository(folder: Path) -> Repository:
    """Describe the repository that `folder` lies in.

    `UserError` when there is none, or none that a run could work on: in SHA-256, of a format that
    this git does not know, or without some of its contents. Shallow and sparse ones will do.
    """
    folder = await asyncio.to_thread(folder.resolve)
    done = await run_git("-C", str(folder), "rev-parse", "--absolute-git-dir")
    if done.status:
        raise UserError(_why_unreadable(folder, done.err))
    path = Path(done.out.decode().strip())
    common = await git("-C", str(folder), "rev-parse", "--path-format=absolute", "--git-common-dir")
    home = Path(common.decode().strip())
    if await git("rev-parse", "--show-object-format", git_dir=home) != b"sha1\n":
        raise UserError(
            f"{folder} keeps its objects in SHA-256; name one that keeps them in SHA-1."
        )
    if await _lacks_contents(home):
        raise UserError(
            f"{folder} is a partial clone, and contents of files are missing; "
            "`git fetch --refetch --no-filter` there brings them in."
        )
    name = home.parent.name if home.name == ".git" else home.stem
    branch = await _current_branch(path)
    number = int.from_bytes(sha256(str(home).encode()).digest()[:6], "big")
    return Repository(
        id=number, owner="local", name=name, installation=0, default_branch=branch, url=str(home)
    )


def _why_unreadable(folder: Path, said: str) -> str:
    unknown = _EXTENSIONS.search(said)
    if unknown:
        names = ", ".join(f"`{name}`" for name in unknown[1].split())
        return (
            f"{folder} needs a newer git on this machine, one that knows the extension {names}; "
            "update git, or name another repository with `--repo DIR`."
        )
    return (
        f"{folder} is no git repository; name one with `--repo DIR`, or make it one with "
        "`git init`."
    )


async def _lacks_contents(home: Path) -> bool:
    """Whether a partial clone lacks something that its branches and tags reach."""
    asked = ("config", "--get-regexp", r"^remote\..*\.promisor$")
    if not await git(*asked, git_dir=home, accept=(0, 1)):
        return False
    walk = ("rev-list", "--objects", "--no-object-names", "--missing=print")
    listed = await git(*walk, "--branches", "--tags", git_dir=home)
    return any(line.startswith(b"?") for line in listed.split(b"\n"))


def known_as(repository: Repository) -> Path:
    """Return a local repository's folder as people know it: its work tree, or the bare one."""
    path = Path(repository.url)
    return path.parent if path.name == ".git" else path


async def base_of(repository: Repository, named: str) -> str:
    """Return the branch to start from: the one named, or else the one that is checked out.

    Raises `UserError` when there is no such branch.
    """
    path, branch = Path(repository.url), named or repository.default_branch
    if branch == DETACHED:
        raise UserError("No branch is checked out there: name the one to start from with `--base`.")
    if await _exists(path, f"refs/heads/{branch}"):
        return branch
    if not named:
        raise UserError(f"`{branch}` has no commit yet: make the first one, then start the run.")
    out = await git("for-each-ref", "--format=%(refname:short)", "refs/heads", git_dir=path)
    known = [name for name in out.decode().split() if not name.startswith((OURS, RECORDS))]
    there = ", ".join(f"`{name}`" for name in known[:BRANCHES_NAMED]) or "none"
    raise UserError(f"There is no branch `{branch}`; the branches are: {there}.")


async def _exists(path: Path, ref: str) -> bool:
    out = await git("for-each-ref", "--format=%(refname)", ref, git_dir=path)
    return ref in out.decode().splitlines()


async def person(folder: Path) -> Identity:
    """Return the name and address that the person's own git signs with there."""
    name = await _configured(folder, "user.name") or "local"
    return Identity(name, await _configured(folder, "user.email") or "local@localhost")


async def _configured(folder: Path, key: str) -> str:
    # The one call that means to see the person's own configuration, so not through `program`.
    process = await asyncio.create_subprocess_exec(
        "git", "-C", str(folder), "config", "--get", key,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), LOCAL_TIMEOUT)
    return out.decode("utf-8", "replace").strip()


class LocalForge:
    """Fulfils the runs' port to a forge for local repositories."""

    def __init__(self, folder: Path, identity: Identity) -> None:
        self._mirrors = folder / "mirrors"
        self._identity = identity

    async def refresh(self, run: Run) -> Run:
        """Return the run as it is: a local repository has no other name."""
        return run

    async def show(self, run: Run, results: Sequence[Mapping[str, Any]]) -> int | None:
        """Draw nothing: the terminal shows the run."""
        return None

    async def labels(self, run: Run) -> Sequence[str]:
        """Return no labels: there are none on this machine."""
        return ()

    async def rules(self, run: Run) -> BranchRules:
        """Return no rules: nobody lays them down for a local repository."""
        return BranchRules()

    async def surroundings(self, run: Run) -> Surroundings:
        """Say that nothing speaks against it."""
        return Surroundings()

    async def signatures(self, run: Run) -> tuple[str, ...]:
        """Return none: nobody asks for signatures in a local repository."""
        return ()

    async def reported(self, run: Run, sha: str, names: Collection[str]) -> tuple[Reported, ...]:
        """Return nothing: a local repository has no checks but the run's own."""
        return ()

    async def pushers(self, run: Run, tip: str) -> tuple[str, ...]:
        """Return nobody: a local repository does not tell."""
        return ()

    async def sign(self, run: Run, tree: str, parents: Sequence[str], text: str) -> bool:
        """Refuse: who has no GitHub commits by git."""
        raise UserError("A local repository has nobody who signs: leave `commits: api` out.")

    async def merge(
        self, run: Run, approval: Approval, method: Method, rules: BranchRules, body: str = ""
    ) -> Merged | NotMerged:
        """Merge the approved head into the base branch, unless that is checked out somewhere."""
        held, remote = self._mirror(run), Remote(run.repository.url)
        base = await self._base(run)
        if base is None:
            return NotMerged(f"There is no branch `{run.base}` any more.", "`/retry` looks again.")
        if await asyncio.to_thread(objects.is_ancestor, held, approval.sha, base):
            return Merged(base)
        if run.base in await _checked_out(Path(run.repository.url)):
            return NotMerged(
                f"`{run.base}` is checked out, and no work tree is touched.",
                f"Merge it there with `git merge {run.branch}`; then `/approve` records that.",
            )
        return await self._land(held, remote, run, approval, base)

    async def landed(self, run: Run) -> str | None:
        """Return the base branch's tip where the run's head is merged into it, by whomever."""
        base = await self._base(run)
        if base is None:
            return None
        held = self._mirror(run)
        is_in = await asyncio.to_thread(objects.is_ancestor, held, run.head, base)
        return base if is_in else None

    def _mirror(self, run: Run) -> Mirror:
        return Mirror(self._mirrors / f"{run.repository.id}.git")

    async def _base(self, run: Run) -> str | None:
        held = self._mirror(run)
        await mirror.fetch(held, Remote(run.repository.url))
        return await asyncio.to_thread(refs.tip, held, f"refs/remotes/origin/{run.base}")

    async def _land(
        self, held: Mirror, remote: Remote, run: Run, approval: Approval, base: str
    ) -> Merged | NotMerged:
        new = approval.sha
        if not await asyncio.to_thread(objects.is_ancestor, held, base, approval.sha):
            try:
                new = await asyncio.to_thread(
                    merge.merge_commit,
                    held,
                    ours=base,
                    theirs=approval.sha,
                    message=f"Merge {run.branch}: {run.title}",
                    author=self._identity,
                    committer=self._identity,
                    at=datetime.now(UTC),
                )
            except merge.MergeConflict as conflict:
                paths = ", ".join(f"`{path}`" for path in conflict.paths[:5])
                return NotMerged(
                    f"`{run.base}` has moved and conflicts in {paths}.",
                    f"Merge `{run.base}` into `{run.branch}` by hand; `/resume` takes that in.",
                )
        try:
            await push(held, remote, [Update(f"refs/heads/{run.base}", new, base)])
        except PushRejected as rejected:
            return NotMerged(str(rejected), "`/retry` looks again.")
        return Merged(new)


async def _current_branch(path: Path) -> str:
    out = await git("symbolic-ref", "--quiet", "--short", "HEAD", git_dir=path, accept=(0, 1))
    return out.decode().strip() or DETACHED


async def _checked_out(path: Path) -> set[str]:
    out = await git("worktree", "list", "--porcelain", git_dir=path)
    return {
        line.removeprefix("branch refs/heads/")
        for line in out.decode().splitlines()
        if line.startswith("branch refs/heads/")
    }
