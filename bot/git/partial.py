"""Contents of files that a blobless mirror does not have yet.

pygit2 cannot fetch them by itself, and git fetches them one by one; so whoever is going to read the
files of a commit asks for all of them first, in one fetch.
"""

from __future__ import annotations

from pathlib import Path

from .locks import writing
from .program import NETWORK_TIMEOUT, git
from .remote import Remote
from .repository import Mirror, open_repository
from .transfer import ORIGIN, WITHOUT_BLOBS, fetching

HYDRATED = "hydrated"
"""The folder of a mirror with a file for each commit or tree whose contents are all there."""


def is_blobless(mirror: Mirror) -> bool:
    """Whether the mirror was made without the contents of files."""
    return "promisor" in (mirror.path / "config").read_text("utf-8", "replace")


async def hydrate(mirror: Mirror, remote: Remote, *revisions: str) -> int:
    """Bring in the contents of all files of some commits or trees; return how many were missing.

    Only those of the trees themselves, not of their history. A revision may be the id of a single
    file's contents as well. At once done in a mirror that has everything, and for what was brought
    in before. Raises as a fetch does.
    """
    if not is_blobless(mirror):
        return 0
    wanted = [sha for sha in dict.fromkeys(revisions) if not _mark(mirror, sha).exists()]
    if not wanted:
        return 0
    async with writing(mirror.path) as lock:
        repo = open_repository(mirror)
        blobs = [sha for sha in wanted if sha not in repo]
        trees = [sha for sha in wanted if sha in repo]
        missing = blobs + (await _missing(mirror.path, trees) if trees else [])
        if missing:
            await _bring(mirror.path, remote, missing, lock)
        for sha in wanted:
            _mark(mirror, sha).parent.mkdir(exist_ok=True)
            _mark(mirror, sha).touch()
    return len(missing)


def _mark(mirror: Mirror, sha: str) -> Path:
    return mirror.path / HYDRATED / sha


async def _missing(path: Path, revisions: list[str]) -> list[str]:
    listed = await git(
        "rev-list",
        "--objects",
        "--no-object-names",
        "--no-walk",
        "--missing=print",
        "--stdin",
        git_dir=path,
        input="".join(f"{sha}\n" for sha in revisions).encode(),
    )
    return [line[1:] for line in listed.decode().split("\n") if line.startswith("?")]


async def _bring(path: Path, remote: Remote, objects: list[str], lock: int) -> None:
    await git(
        "-c",
        "fetch.negotiationAlgorithm=noop",  # what we have says nothing about what we lack
        *fetching(),
        WITHOUT_BLOBS,
        "--stdin",
        "--end-of-options",
        ORIGIN,
        git_dir=path,
        remote=remote,
        input="".join(f"{sha}\n" for sha in objects).encode(),
        timeout=NETWORK_TIMEOUT,
        keep_open=(lock,),
    )
