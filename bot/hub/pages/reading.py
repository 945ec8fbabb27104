"""What pages read from repositories; every function here blocks, as those of `Bare` do."""

from __future__ import annotations

from dataclasses import dataclass

from bot.hub.repositories import Bare, Commit, FileChange, TreeEntry

# A file larger than this is not shown, only given: a page must stay a page.
SHOWN = 512_000

# Lines of one file's difference that are shown at once.
DIFF_LINES = 3_000


@dataclass(frozen=True, slots=True)
class Place:
    """A path in a tree: `ref` as the address has it, `sha` the commit it means."""

    ref: str
    sha: str
    path: str


@dataclass(frozen=True, slots=True)
class File:
    """A file's content; `text` is None where it is not text or too large to show."""

    data: bytes
    text: str | None


def place(bare: Bare, rest: str) -> Place | None:
    """The place that `ref/path` means, where refs may have slashes: the longest branch wins."""
    rest = rest.strip("/")
    parts = rest.split("/")
    branches = bare.refs("refs/heads/", "refs/tags/")
    for end in range(len(parts), 0, -1):
        ref = "/".join(parts[:end])
        if f"refs/heads/{ref}" in branches or f"refs/tags/{ref}" in branches or end == 1:
            sha = bare.resolve(ref)
            return None if sha is None else Place(ref, sha, "/".join(parts[end:]))
    return None


def entry(bare: Bare, where: Place) -> TreeEntry | None:
    """What stands at a place, or None; the root is a tree without a name."""
    if not where.path:
        return TreeEntry("040000", "tree", where.sha, None, "")
    found = bare.tree(where.sha, where.path)
    return next((e for e in found if e.path == where.path), None)


def folder(bare: Bare, where: Place) -> list[TreeEntry]:
    """The entries of a folder, folders first."""
    found = bare.tree(where.sha, f"{where.path}/" if where.path else "")
    return sorted(found, key=lambda e: (e.kind != "tree", e.path))


def file(bare: Bare, sha: str) -> File:
    """A blob, as text where it is some."""
    data = bare.blob(sha)
    if len(data) > SHOWN or b"\0" in data[:8_000]:
        return File(data, None)
    return File(data, data.decode(errors="replace"))


def readme(bare: Bare, entries: list[TreeEntry]) -> tuple[str, str] | None:
    """The name and the text of a folder's README, where it has one."""
    for found in entries:
        name = found.path.rpartition("/")[2]
        if found.kind == "blob" and name.lower() in ("readme.md", "readme", "readme.rst"):
            text = file(bare, found.sha).text
            return None if text is None else (name, text)
    return None


def branches(bare: Bare) -> list[str]:
    """The names of all branches."""
    return [name.removeprefix("refs/heads/") for name in bare.refs("refs/heads/")]


def commit_changes(bare: Bare, commit: Commit) -> list[FileChange]:
    """What a commit changed, against its first parent."""
    before = commit.parents[0] if commit.parents else bare.empty_tree()
    return bare.changes(before, commit.sha)


def pull_commits(bare: Bare, base: str, head: str) -> list[Commit]:
    """The commits of a pull request, oldest first."""
    return bare.commits("--topo-order", "--reverse", f"{base}..{head}")


def pull_changes(bare: Bare, base: str, head: str) -> list[FileChange]:
    """The difference that a pull request proposes."""
    return bare.changes(bare.merge_base(base, head) or base, head)


def pull_patch(bare: Bare, base: str, head: str) -> str:
    """The same as text."""
    return bare.patch(bare.merge_base(base, head) or base, head)
