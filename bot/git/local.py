"""A repository on this machine in GitHub's place: the branch is pushed to it, and merged in it.

Nobody's work tree is ever touched, so a base branch that is checked out is not moved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from bot.errors import Refused, UserError
from bot.git import merge, mirror, objects, refs
from bot.git.checkpoint import Identity
from bot.git.mirror import Mirror
from bot.git.program import LOCAL_TIMEOUT, git
from bot.git.push import PushRejected, Update, push
from bot.git.remote import Remote
from bot.runs.model import Approval, Repository, Run
from bot.runs.ports import Merged, NotMerged


async def open_repository(folder: Path) -> Repository:
    """Describe the repository that `folder` lies in; `UserError` when there is none."""
    folder = await asyncio.to_thread(folder.resolve)
    try:
        out = await git("-C", str(folder), "rev-parse", "--absolute-git-dir")
    except Refused as error:
        raise UserError(f"{folder} is no git repository.") from error
    path = Path(out.decode().strip())
    common = await git("-C", str(folder), "rev-parse", "--path-format=absolute", "--git-common-dir")
    home = Path(common.decode().strip())
    name = home.parent.name if home.name == ".git" else home.stem
    branch = await _current_branch(path)
    number = int.from_bytes(sha256(str(home).encode()).digest()[:6], "big")
    return Repository(
        id=number, owner="local", name=name, installation=0, default_branch=branch, url=str(home)
    )


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

    async def merge(self, run: Run, approval: Approval, method: str) -> Merged | NotMerged:
        """Merge the approved head into the base branch, unless that is checked out somewhere."""
        held = Mirror(self._mirrors / f"{run.repository.id}.git")
        remote = Remote(run.repository.url)
        await mirror.fetch(held, remote)
        base = await asyncio.to_thread(refs.tip, held, f"refs/remotes/origin/{run.base}")
        if base is None:
            return NotMerged(f"There is no branch `{run.base}` any more.", "`/retry` looks again.")
        if await asyncio.to_thread(objects.is_ancestor, held, approval.sha, base):
            return Merged(base)
        if run.base in await _checked_out(Path(run.repository.url)):
            return NotMerged(
                f"`{run.base}` is checked out, and no work tree is touched.",
                f"Merge it there: `git merge {run.branch}`, then `/retry`.",
            )
        return await self._land(held, remote, run, approval, base)

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
                    f"Merge `{run.base}` into `{run.branch}` by hand, then `/retry`.",
                )
        try:
            await push(held, remote, [Update(f"refs/heads/{run.base}", new, base)])
        except PushRejected as rejected:
            return NotMerged(str(rejected), "`/retry` looks again.")
        return Merged(new)


async def _current_branch(path: Path) -> str:
    try:
        out = await git("symbolic-ref", "--short", "HEAD", git_dir=path)
    except Refused as error:
        raise UserError(
            "No branch is checked out there; check one out, or name it with --base."
        ) from error
    return out.decode().strip()


async def _checked_out(path: Path) -> set[str]:
    out = await git("worktree", "list", "--porcelain", git_dir=path)
    return {
        line.removeprefix("branch refs/heads/")
        for line in out.decode().splitlines()
        if line.startswith("branch refs/heads/")
    }
