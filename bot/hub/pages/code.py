"""Pages of a repository's content: its files, branches, commits and differences."""

from __future__ import annotations

from posixpath import dirname

from markupsafe import Markup
from starlette.responses import RedirectResponse, Response

from bot.hub.pages import reading
from bot.hub.pages.diffs import rows
from bot.hub.pages.markdown import render
from bot.hub.pages.showing import links
from bot.hub.pages.site import HEADERS, Visit
from bot.hub.refusals import not_found
from bot.hub.repositories import Bare, TreeEntry

# Commits on a page.
COMMITS = 50

# What browsers may show by itself; every other file is given as plain text, so that nothing in a
# repository runs as a page of the hub.
IMAGES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif",
          "webp": "image/webp"}  # fmt: skip


async def _place(visit: Visit, rest: str) -> reading.Place:
    found = await visit.git(reading.place, rest)
    if found is None:
        raise not_found()
    return found


async def repository(visit: Visit) -> Response:
    """The files of the default branch."""
    repo = visit.repository
    sha = await visit.git(Bare.resolve, repo.default_branch)
    if sha is None:
        return visit.repository_page("empty.html", "code")
    return await _folder(visit, reading.Place(repo.default_branch, sha, ""))


async def tree(visit: Visit) -> Response:
    """A folder, at a branch or commit."""
    return await _folder(visit, await _place(visit, visit.request.path_params["rest"]))


async def _folder(visit: Visit, where: reading.Place) -> Response:
    found = await visit.git(reading.entry, where)
    if found is None:
        raise not_found()
    if found.kind != "tree":
        address = f"{visit.base(visit.repository)}/blob/{where.ref}/{where.path}"
        return RedirectResponse(address, 302, HEADERS)
    entries = await visit.git(reading.folder, where)
    return visit.repository_page(
        "tree.html",
        "code",
        where=where,
        entries=entries,
        last=await visit.git(Bare.commit, where.sha),
        commits=await visit.git(Bare.count, where.sha),
        branches=await visit.git(reading.branches),
        readme=await _readme(visit, where, entries),
        clone=f"{visit.request.base_url}{visit.hub.full_name(visit.repository)}.git",
    )


async def _readme(
    visit: Visit, where: reading.Place, entries: list[TreeEntry]
) -> tuple[str, Markup | None] | None:
    found = await visit.git(reading.readme, entries)
    if found is None:
        return None
    name, text = found
    return name, _document(visit, where, name, text, where.path)


def _document(
    visit: Visit, where: reading.Place, name: str, text: str, folder: str
) -> Markup | None:
    """A Markdown file rendered; None for what is no Markdown."""
    if not name.lower().endswith(".md"):
        return None
    return render(text, links(visit.hub, visit.repository, (where.ref, folder)), breaks=False)


async def blob(visit: Visit) -> Response:
    """One file, with its lines numbered; Markdown is rendered."""
    where, file = await _file(visit)
    document = None
    if file.text is not None and "plain" not in visit.request.query_params:
        document = _document(visit, where, where.path, file.text, dirname(where.path))
    return visit.repository_page(
        "blob.html",
        "code",
        where=where,
        file=file,
        document=document,
        branches=await visit.git(reading.branches),
        image=where.path.rpartition(".")[2].lower() in IMAGES,
    )


async def raw(visit: Visit) -> Response:
    """One file's bytes."""
    where, file = await _file(visit)
    kind = IMAGES.get(where.path.rpartition(".")[2].lower(), "text/plain; charset=utf-8")
    return Response(file.data, headers={**HEADERS, "Content-Type": kind})


async def _file(visit: Visit) -> tuple[reading.Place, reading.File]:
    where = await _place(visit, visit.request.path_params["rest"])
    found = await visit.git(reading.entry, where)
    if found is None or found.kind != "blob":
        raise not_found()
    return where, await visit.git(reading.file, found.sha)


async def commits(visit: Visit) -> Response:
    """The history of a branch or commit, newest first, a page at a time."""
    repo = visit.repository
    where = await _place(visit, visit.request.path_params.get("rest") or repo.default_branch)
    text = visit.request.query_params.get("page", "1")
    page = int(text) if text.isdecimal() and 0 < int(text[:9]) < 10_000 else 1
    skipped = (page - 1) * COMMITS
    found = await visit.git(Bare.commits, where.sha, skip=skipped, limit=COMMITS + 1)
    return visit.repository_page(
        "commits.html",
        "code",
        where=where,
        commits=found[:COMMITS],
        page_number=page,
        more=len(found) > COMMITS,
        branches=await visit.git(reading.branches),
    )


async def compare(visit: Visit) -> Response:
    """What one branch or commit has that another has not, as `BASE...HEAD`."""
    names = visit.request.path_params["rest"].partition("...")[::2]
    base, head = [await visit.git(Bare.resolve, name) for name in names]
    if base is None or head is None:
        raise not_found()
    return visit.repository_page(
        "compare.html",
        "code",
        names=names,
        head=head,
        commits=await visit.git(reading.pull_commits, base, head),
        changes=await visit.git(reading.pull_changes, base, head),
        rows=rows,
        limit=reading.DIFF_LINES,
    )


async def commit(visit: Visit) -> Response:
    """One commit with its difference."""
    sha = await visit.git(Bare.resolve, visit.request.path_params["sha"])
    if sha is None:
        raise not_found()
    found = await visit.git(Bare.commit, sha)
    changes = await visit.git(reading.commit_changes, found)
    return visit.repository_page(
        "commit.html", "code", commit=found, changes=changes, rows=rows, limit=reading.DIFF_LINES
    )
