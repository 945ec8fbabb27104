"""The Git Data API and commits: refs, objects, comparisons."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bot.hub import limits
from bot.hub.access import Installed, require, somebody
from bot.hub.actions import repos
from bot.hub.clock import parse_stamp, stamp
from bot.hub.records import VerifiedCommit
from bot.hub.refusals import Refusal, not_found, unprocessable
from bot.hub.render import Json
from bot.hub.render import commits as render
from bot.hub.render.repos import api_url, page_url
from bot.hub.repositories import Bare, Commit, FileChange, GitFailed, Signature
from bot.hub.rest.door import NO_CONTENT, Call, Reply, Table

SCOPE = "contents"

# "The limit for the tree array is 100,000 entries"; a stand-in truncates where GitHub does.
TREE_LIMIT = 100_000


async def commit_of(call: Call, revision: str) -> str:
    """The commit that a branch, tag or sha names; 422 where it names none, as GitHub answers."""
    sha = await call.hub.git(call.repo, Bare.resolve, revision)
    if sha is None:
        raise unprocessable(f"No commit found for SHA: {revision}")
    return sha


def _writer(call: Call) -> None:
    require(call.actor, call.repo, SCOPE, "write", "write")


# -- refs -----------------------------------------------------------------------------------


def _ref(call: Call, name: str, sha: str, kind: str) -> Json:
    base = f"{call.hub.api_url}/repos/{call.hub.full_name(call.repo)}/git"
    return {
        "ref": name,
        "node_id": f"REF_{call.repo.id}_{name}",
        "url": f"{base}/{name}",
        "object": {"type": kind, "sha": sha, "url": f"{base}/{kind}s/{sha}"},
    }


async def get_ref(call: Call) -> Reply:
    """One ref."""
    repo = call.reads(SCOPE)
    name = f"refs/{call.params['ref']}"
    found = (await call.hub.git(repo, Bare.refs, name)).get(name)
    if found is None:
        raise not_found()
    return Reply(_ref(call, name, *found))


async def matching_refs(call: Call) -> Reply:
    """The refs that begin so."""
    repo = call.reads(SCOPE)
    start = f"refs/{call.params['ref']}"
    found = await call.hub.git(repo, Bare.refs)
    kept = [(n, *x) for n, x in found.items() if n.startswith(start)]
    return call.page(kept, lambda x: _ref(call, *x))


async def _ref_reply(call: Call, name: str, status: int) -> Reply:
    found = await call.hub.git(call.repo, Bare.refs, name)
    return Reply(_ref(call, name, *found[name]), status)


async def create_ref(call: Call) -> Reply:
    """Make a ref."""
    name, sha = call.needed("ref"), call.needed("sha")
    await repos.create_ref(call.hub, call.actor, call.repo, name, sha)
    return await _ref_reply(call, name, 201)


async def update_ref(call: Call) -> Reply:
    """Move a ref."""
    name, sha = f"refs/{call.params['ref']}", call.needed("sha")
    force = bool(call.body.get("force", False))
    await repos.update_ref(call.hub, call.actor, call.repo, name, sha, force=force)
    return await _ref_reply(call, name, 200)


async def delete_ref(call: Call) -> Reply:
    """Take a ref away."""
    name = f"refs/{call.params['ref']}"
    await repos.delete_ref(call.hub, call.actor, call.repo, name)
    return NO_CONTENT


# -- objects --------------------------------------------------------------------------------


async def _object(call: Call, kind: str) -> str:
    sha = await call.hub.git(call.reads(SCOPE), Bare.resolve, call.params["sha"], kind)
    if sha is None:
        raise not_found()
    return sha


async def get_blob(call: Call) -> Reply:
    """A blob as base64, or raw where that media type is asked for."""
    sha = await _object(call, "blob")
    data = await call.hub.git(call.repo, Bare.blob, sha)
    if "raw" in call.request.headers.get("accept", ""):
        return Reply(raw=data, media="application/octet-stream")
    url = f"{api_url(call.hub, call.repo)}/git/blobs/{sha}"
    content = base64.encodebytes(data).decode()
    return Reply({"sha": sha, "node_id": f"B_{sha}", "size": len(data), "url": url,
                  "content": content, "encoding": "base64"})  # fmt: skip


def decoded(text: str) -> bytes:
    """Base64 of a request."""
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError) as error:
        raise unprocessable("content is not valid Base64") from error


async def create_blob(call: Call) -> Reply:
    """Store a blob."""
    _writer(call)
    text = call.needed("content")
    data = decoded(text) if call.text("encoding") == "base64" else text.encode()
    sha = await call.hub.git(call.repo, Bare.write_blob, data)
    url = f"{api_url(call.hub, call.repo)}/git/blobs/{sha}"
    return Reply({"sha": sha, "url": url}, 201)


async def get_tree(call: Call) -> Reply:
    """A tree, of a sha or a branch; with all below it where `recursive` is given."""
    sha = await _object(call, "tree")
    return await _tree(call, sha, recursive=call.query.get("recursive") is not None)


async def _tree(call: Call, sha: str, *, recursive: bool = False, status: int = 200) -> Reply:
    repo = call.repo
    found = await call.hub.git(repo, Bare.tree, sha, recursive=recursive)
    shown = [render.tree_entry(call.hub, repo, e) for e in found[:TREE_LIMIT]]
    url = f"{api_url(call.hub, repo)}/git/trees/{sha}"
    truncated = len(found) > TREE_LIMIT
    return Reply({"sha": sha, "url": url, "tree": shown, "truncated": truncated}, status)


def _write_tree(bare: Bare, base: str | None, given: Sequence[Mapping[str, Any]]) -> str:
    entries = []
    for each in given:
        sha = each.get("sha")
        if sha is None and "content" in each:
            sha = bare.write_blob(str(each["content"]).encode())
        entries.append((each.get("mode", "100644"), each.get("type", "blob"), sha, each["path"]))
    return bare.write_tree(base, entries)


async def create_tree(call: Call) -> Reply:
    """Store a tree: `base_tree` with the entries set, or taken away where their sha is null."""
    _writer(call)
    given = call.body.get("tree")
    if not isinstance(given, list) or not all(isinstance(e, dict) and "path" in e for e in given):
        raise unprocessable('Invalid request.\n\n"tree" wasn\'t supplied.')
    base = call.text("base_tree")
    if base is not None and await call.hub.git(call.repo, Bare.resolve, base, "tree") is None:
        raise not_found()
    try:
        sha = await call.hub.git(call.repo, _write_tree, base, given)
    except GitFailed as error:
        raise unprocessable(f"GitRPC::BadObjectState: {error}") from error
    return await _tree(call, sha, status=201)


async def get_git_commit(call: Call) -> Reply:
    """A commit as git has it."""
    sha = await _object(call, "commit")
    commit = await call.hub.git(call.repo, Bare.commit, sha)
    return Reply(render.git_commit(call.hub, call.repo, commit))


def _signature(call: Call, name: str, default: Signature) -> Signature:
    given = call.body.get(name)
    if not isinstance(given, dict):
        return default
    moment = parse_stamp(str(given.get("date", stamp(default.at))))
    if moment is None:
        raise unprocessable(f"{name}.date is not a valid date-time")
    return Signature(str(given.get("name")), str(given.get("email")), moment)


async def create_commit(call: Call) -> Reply:
    """Store a commit; an App's own, without an author, is signed by GitHub."""
    _writer(call)
    hub, repo = call.hub, call.repo
    tree, parents = call.needed("tree"), call.texts("parents") or []
    for sha, kind in ((tree, "tree"), *((p, "commit") for p in parents)):
        if await hub.git(repo, Bare.kind_of, sha) != kind:
            raise unprocessable(f"{kind.capitalize()} SHA does not exist")
    own = hub.signature(somebody(call.actor).user)
    author = _signature(call, "author", own)
    committer = _signature(call, "committer", author)
    if author is own and committer is own and isinstance(call.actor, Installed):
        committer = replace(own, name="GitHub", email="noreply@github.com")
    message = call.needed("message")
    sha = await hub.git(repo, Bare.write_commit, tree, parents, message, author, committer)
    if committer.email == "noreply@github.com" and not {"author", "committer"} & set(call.body):
        hub.state.verified.put(VerifiedCommit(hub.state.verified.next_id(), repo.id, sha))
    commit = await hub.git(repo, Bare.commit, sha)
    return Reply(render.git_commit(hub, repo, commit), 201)


# -- commits --------------------------------------------------------------------------------


def _with_files(bare: Bare, sha: str) -> tuple[Commit, list[FileChange]]:
    commit = bare.commit(sha)
    before = commit.parents[0] if commit.parents else bare.empty_tree()
    return commit, bare.changes(before, sha)


async def get_commit(call: Call) -> Reply:
    """A commit with what it changes."""
    repo = call.reads(SCOPE)
    sha = await commit_of(call, call.params["ref"])
    if "sha" in call.request.headers.get("accept", ""):
        return Reply(raw=sha.encode(), media="application/vnd.github.sha; charset=utf-8")
    commit, files = await call.hub.git(repo, _with_files, sha)
    return Reply(
        {
            **render.commit(call.hub, repo, commit),
            "stats": render.stats(files),
            "files": [render.file_change(call.hub, repo, sha, f) for f in files],
        }
    )


async def list_commits(call: Call) -> Reply:
    """The history of `sha` (a branch or a commit), by `path`, `since` and `until`."""
    repo = call.reads(SCOPE)
    start = call.query.get("sha", repo.default_branch)
    sha = await call.hub.git(repo, Bare.resolve, start)
    if sha is None:
        empty = not await call.hub.git(repo, Bare.refs, "refs/heads")
        raise Refusal(409, "Git Repository is empty.") if empty else not_found()
    options = [f"--{n}={call.query[n]}" for n in ("since", "until") if n in call.query]
    path = ["--", call.query["path"]] if "path" in call.query else []
    per_page = limits.number(call.query.get("per_page"), limits.PER_PAGE, limits.PER_PAGE_LIMIT)
    page = limits.number(call.query.get("page"), 1)
    # One more than is shown says whether there is a next page, without counting the history.
    found = await call.hub.git(
        repo, Bare.commits, *options, sha, *path, skip=(page - 1) * per_page, limit=per_page + 1
    )
    last = page + 1 if len(found) > per_page else page
    headers = limits.links(f"{api_url(call.hub, repo)}/commits", call.query, page, last)
    shown = [render.commit(call.hub, repo, c) for c in found[:per_page]]
    return Reply(shown, headers=headers)


async def compare(call: Call) -> Reply:
    """How two commits differ: `base...head`."""
    repo = call.reads(SCOPE)
    base, dots, head = call.params["basehead"].partition("...")
    if not dots:
        raise not_found()
    one = await call.hub.git(repo, Bare.resolve, base.rpartition(":")[2])
    two = await call.hub.git(repo, Bare.resolve, head.rpartition(":")[2])
    if one is None or two is None:
        raise not_found()
    return await _comparison(call, one, two)


async def _comparison(call: Call, base: str, head: str) -> Reply:
    hub, repo = call.hub, call.repo
    start = await hub.git(repo, Bare.merge_base, base, head)
    if start is None:
        raise not_found()
    ahead = (await hub.git(repo, Bare.commits, "--topo-order", f"{start}..{head}"))[::-1]
    behind = await hub.git(repo, Bare.count, f"{start}..{base}")
    files = await hub.git(repo, Bare.changes, start, head)
    if "diff" in call.request.headers.get("accept", ""):
        text = await hub.git(repo, Bare.patch, start, head)
        return Reply(raw=text.encode(), media="text/plain; charset=utf-8")
    names = {(True, True): "diverged", (True, False): "ahead", (False, True): "behind"}
    url, page = f"{api_url(hub, repo)}/compare/{base}...{head}", page_url(hub, repo)
    commits = call.page(ahead, lambda c: render.commit(hub, repo, c))
    body = {
        "url": url,
        "html_url": f"{page}/compare/{base}...{head}",
        "permalink_url": f"{page}/compare/{base}...{head}",
        "diff_url": f"{page}/compare/{base}...{head}.diff",
        "patch_url": f"{page}/compare/{base}...{head}.patch",
        "base_commit": render.commit(hub, repo, await hub.git(repo, Bare.commit, base)),
        "merge_base_commit": render.commit(hub, repo, await hub.git(repo, Bare.commit, start)),
        "status": names.get((bool(ahead), bool(behind)), "identical"),
        "ahead_by": len(ahead),
        "behind_by": behind,
        "total_commits": len(ahead),
        "commits": commits.body,
        "files": [render.file_change(hub, repo, head, f) for f in files],
    }
    return Reply(body, headers=commits.headers)


R = "/repos/{owner}/{repo}"
G = R + "/git"

TABLE: Table = [
    ("GET", G + "/ref/{ref:path}", get_ref),
    ("GET", G + "/matching-refs/{ref:path}", matching_refs),
    ("POST", G + "/refs", create_ref),
    ("PATCH", G + "/refs/{ref:path}", update_ref),
    ("DELETE", G + "/refs/{ref:path}", delete_ref),
    ("POST", G + "/blobs", create_blob),
    ("GET", G + "/blobs/{sha}", get_blob),
    ("POST", G + "/trees", create_tree),
    ("GET", G + "/trees/{sha:path}", get_tree),
    ("POST", G + "/commits", create_commit),
    ("GET", G + "/commits/{sha}", get_git_commit),
    ("GET", R + "/compare/{basehead:path}", compare),
    ("GET", R + "/commits", list_commits),
    ("GET", R + "/commits/{ref:path}", get_commit),
]
