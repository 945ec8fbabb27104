"""Commits, differences, trees and contents as JSON."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from bot.hub.clock import stamp
from bot.hub.core import Hub
from bot.hub.records import Repository, User
from bot.hub.render import Json
from bot.hub.render.repos import api_url, page_url
from bot.hub.render.users import user
from bot.hub.repositories import Commit, FileChange, Signature, TreeEntry

CONTENT_LIMIT = 1024 * 1024
"""Bytes up to which the contents API gives a file's content; larger ones are read as blobs."""


def _utc(signature: Signature) -> str:
    from datetime import UTC

    return stamp(signature.at.astimezone(UTC))


def git_user(signature: Signature) -> Json:
    """Who and when, as git knows it."""
    return {"name": signature.name, "email": signature.email, "date": _utc(signature)}


def account(hub: Hub, signature: Signature) -> Json | None:
    """The user whose address a commit carries."""
    found = hub.state.users.one(email=signature.email)
    return None if found is None else user(hub, found)


def verification(hub: Hub, repo: Repository, sha: str) -> Json:
    """Whether GitHub signed the commit, which it does where an App made it by the API."""
    record = hub.state.verified.one(sha=(repo.id, sha))
    if record is None:
        return {"verified": False, "reason": "unsigned", "signature": None, "payload": None,
                "verified_at": None}  # fmt: skip
    return {"verified": True, "reason": "valid", "signature": "(by the hub)", "payload": sha,
            "verified_at": None}  # fmt: skip


def git_commit(hub: Hub, repo: Repository, commit: Commit) -> Json:
    """A commit as the Git Data API has it."""
    base, page = api_url(hub, repo), page_url(hub, repo)
    return {
        "sha": commit.sha,
        "node_id": f"C_{commit.sha}",
        "url": f"{base}/git/commits/{commit.sha}",
        "html_url": f"{page}/commit/{commit.sha}",
        "author": git_user(commit.author),
        "committer": git_user(commit.committer),
        "message": commit.message,
        "tree": {"sha": commit.tree, "url": f"{base}/git/trees/{commit.tree}"},
        "parents": [
            {"sha": p, "url": f"{base}/git/commits/{p}", "html_url": f"{page}/commit/{p}"}
            for p in commit.parents
        ],
        "verification": verification(hub, repo, commit.sha),
    }


def commit(hub: Hub, repo: Repository, record: Commit) -> Json:
    """A commit as lists and the commits endpoints have it."""
    base, page = api_url(hub, repo), page_url(hub, repo)
    url = f"{base}/commits/{record.sha}"
    return {
        "sha": record.sha,
        "node_id": f"C_{record.sha}",
        "commit": {
            "author": git_user(record.author),
            "committer": git_user(record.committer),
            "message": record.message,
            "tree": {"sha": record.tree, "url": f"{base}/git/trees/{record.tree}"},
            "url": f"{base}/git/commits/{record.sha}",
            "comment_count": 0,
            "verification": verification(hub, repo, record.sha),
        },
        "url": url,
        "html_url": f"{page}/commit/{record.sha}",
        "comments_url": f"{url}/comments",
        "author": account(hub, record.author),
        "committer": account(hub, record.committer),
        "parents": [
            {"sha": p, "url": f"{base}/commits/{p}", "html_url": f"{page}/commit/{p}"}
            for p in record.parents
        ],
    }


def stats(changes: Sequence[FileChange]) -> Json:
    """How much a difference changes."""
    added, removed = sum(c.additions for c in changes), sum(c.deletions for c in changes)
    return {"total": added + removed, "additions": added, "deletions": removed}


def file_change(hub: Hub, repo: Repository, sha: str, change: FileChange) -> Json:
    """One file of a difference whose new side is commit `sha`."""
    base, page = api_url(hub, repo), page_url(hub, repo)
    optional = {"patch": change.patch, "previous_filename": change.previous}
    return {
        "sha": change.sha,
        "filename": change.path,
        "status": change.status,
        "additions": change.additions,
        "deletions": change.deletions,
        "changes": change.additions + change.deletions,
        "blob_url": f"{page}/blob/{sha}/{change.path}",
        "raw_url": f"{page}/raw/{sha}/{change.path}",
        "contents_url": f"{base}/contents/{change.path}?ref={sha}",
        **{name: value for name, value in optional.items() if value is not None},
    }


def webhook_commit(hub: Hub, repo: Repository, record: Commit, files: Sequence[FileChange]) -> Json:
    """A commit as `push` events carry it."""

    def someone(signature: Signature) -> Json:
        found = hub.state.users.one(email=signature.email)
        known = {} if found is None else {"username": found.login}
        return {"name": signature.name, "email": signature.email, **known}

    touched = {
        key: [f.path for f in files if f.status in statuses]
        for key, statuses in {
            "added": ("added", "renamed", "copied"),
            "removed": ("removed",),
            "modified": ("modified", "changed"),
        }.items()
    }
    return {
        "id": record.sha,
        "tree_id": record.tree,
        "distinct": True,
        "message": record.message,
        "timestamp": _utc(record.committer),
        "url": f"{page_url(hub, repo)}/commit/{record.sha}",
        "author": someone(record.author),
        "committer": someone(record.committer),
        **touched,
    }


def simple_commit(record: Commit) -> Json:
    """A commit as check suites carry it."""
    return {
        "id": record.sha,
        "tree_id": record.tree,
        "message": record.message,
        "timestamp": _utc(record.committer),
        "author": {"name": record.author.name, "email": record.author.email},
        "committer": {"name": record.committer.name, "email": record.committer.email},
    }


def tree_entry(hub: Hub, repo: Repository, entry: TreeEntry) -> Json:
    """An entry of a tree."""
    kinds = {"blob": "blobs", "tree": "trees", "commit": "commits"}
    size = {} if entry.size is None else {"size": entry.size}
    return {
        "path": entry.path,
        "mode": entry.mode,
        "type": entry.kind,
        "sha": entry.sha,
        **size,
        "url": f"{api_url(hub, repo)}/git/{kinds[entry.kind]}/{entry.sha}",
    }


def content(
    hub: Hub, repo: Repository, ref: str, entry: TreeEntry, data: bytes | None = None
) -> Json:
    """An entry of the contents API; `data` is a file's bytes, where they are asked for."""
    base, page = api_url(hub, repo), page_url(hub, repo)
    kind = {"blob": "file", "tree": "dir", "commit": "submodule"}[entry.kind]
    kind = "symlink" if entry.mode == "120000" else kind
    url = f"{base}/contents/{entry.path}?ref={ref}"
    git_url = f"{base}/git/{'trees' if kind == 'dir' else 'blobs'}/{entry.sha}"
    html_url = f"{page}/{'tree' if kind == 'dir' else 'blob'}/{ref}/{entry.path}"
    whole: Json = {}
    if data is not None and len(data) > CONTENT_LIMIT:
        whole = {"encoding": "none", "content": ""}
    elif data is not None:
        whole = {"encoding": "base64", "content": base64.encodebytes(data).decode()}
    return {
        "type": kind,
        "name": entry.path.rpartition("/")[2],
        "path": entry.path,
        "sha": entry.sha,
        "size": entry.size or 0,
        "url": url,
        "html_url": html_url,
        "git_url": git_url,
        "download_url": None if kind == "dir" else f"{page}/raw/{ref}/{entry.path}",
        "_links": {"self": url, "git": git_url, "html": html_url},
        **whole,
    }


def bot_email(record: User) -> str:
    """The address that GitHub gives a bot's commits."""
    return f"{record.id}+{record.login}@users.noreply.github.com"
