"""Real git against the hub: clone, push, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.bot.hub.world import REPO, World

Git = Callable[..., Awaitable[tuple[int, str]]]


def address(world: World, who: str) -> str:
    secret = f"x-access-token:{world.token()}" if who == "bot" else f"user:{who}"
    return world.hub.url.replace("//", f"//{secret}@") + "/acme/widgets.git"


async def clone(world: World, git: Git, tmp_path: Path, who: str) -> Path:
    folder = tmp_path / f"clone-{who}"
    code, said = await git("clone", "-q", address(world, who), str(folder), cwd=tmp_path)
    assert code == 0, said
    return folder


async def change(git: Git, folder: Path, path: str = "new.txt", text: str = "new\n") -> str:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text)
    await git("add", ".", cwd=folder)
    await git("commit", "-qm", f"Write {path}", cwd=folder)
    return (await git("rev-parse", "HEAD", cwd=folder))[1].strip()


async def test_a_public_repository_is_cloned_by_anybody(
    served: World, git: Git, tmp_path: Path
) -> None:
    url = f"{served.hub.url}/acme/widgets.git"
    for name, where in (("a", url), ("b", url.removesuffix(".git"))):
        assert (await git("clone", "-q", where, name, cwd=tmp_path))[0] == 0
    assert (tmp_path / "a" / "README.md").read_text() == "# Widgets\n"
    partial = ("clone", "-q", "--filter=blob:none", "--depth=1", url, "c")
    assert (await git(*partial, cwd=tmp_path))[0] == 0


async def test_a_push_moves_branches_pull_requests_and_other_refs(
    served: World, git: Git, tmp_path: Path
) -> None:
    folder = await clone(served, git, tmp_path, "bot")
    await git("checkout", "-qb", "topic", cwd=folder)
    await change(git, folder)
    refs = ("HEAD:refs/heads/topic", "HEAD:refs/orchestrate/abc", "HEAD:refs/tags/v1")
    assert (await git("push", "-q", "origin", *refs, cwd=folder))[0] == 0
    body = {"title": "T", "head": "topic", "base": "main"}
    number = (await served.ask("bot", "POST", f"{REPO}/pulls", body)).json()["number"]
    head = await change(git, folder, text="newer\n")
    assert (await git("push", "-q", "origin", "topic", cwd=folder))[0] == 0
    shown = (await served.ask("bot", "GET", f"{REPO}/pulls/{number}")).json()
    assert shown["head"]["sha"] == head
    code, listed = await git("ls-remote", "origin", f"refs/pull/{number}/head", cwd=folder)
    assert (code, listed.split()[0]) == (0, head)
    await served.hub.settled()
    names = served.inbox.names
    assert names.count("create") == 2  # the branch and the tag, not the other ref
    assert names[-3:] == ["push", "pull_request.synchronize", "check_suite.requested"]
    push = served.inbox.last("push")
    assert (push["after"], push["forced"], len(push["commits"])) == (head, False, 1)
    assert push["commits"][0]["modified"] == ["new.txt"]


async def test_a_push_with_a_stale_lease_is_rejected(
    served: World, git: Git, tmp_path: Path
) -> None:
    folder = await clone(served, git, tmp_path, "writer")
    sha = await change(git, folder)
    lease = f"--force-with-lease=refs/heads/main:{sha}"
    code, said = await git("push", lease, "origin", "HEAD:main", cwd=folder)
    assert (code, "stale info" in said) == (1, True)


@pytest.mark.parametrize(
    ("who", "words"),
    [
        ("reader", "denied to reader"),
        ("outsider", "denied to outsider"),
    ],
)
async def test_who_may_not_write_may_not_push(
    served: World, git: Git, tmp_path: Path, who: str, words: str
) -> None:
    folder = await clone(served, git, tmp_path, who)
    await change(git, folder)
    code, said = await git("push", "origin", "HEAD:main", cwd=folder)
    assert code != 0
    assert "403" in said or words in said


async def test_a_token_without_contents_may_not_push(
    served: World, git: Git, tmp_path: Path
) -> None:
    folder = await clone(served, git, tmp_path, "writer")
    await change(git, folder)
    weak = served.token(permissions={"contents": "read"})
    url = served.hub.url.replace("//", f"//x-access-token:{weak}@") + "/acme/widgets.git"
    assert (await git("push", url, "HEAD:main", cwd=folder))[0] != 0
    served.hub.clock.advance(3_601)
    strong = served.token()
    url = url.replace(weak, strong)
    assert (await git("push", url, "HEAD:main", cwd=folder))[0] == 0


async def test_refs_of_pull_requests_are_githubs_own(
    served: World, git: Git, tmp_path: Path
) -> None:
    folder = await clone(served, git, tmp_path, "bot")
    await change(git, folder)
    code, said = await git("push", "origin", "HEAD:refs/pull/9/head", cwd=folder)
    assert (code, "deny updating a hidden ref" in said) == (1, True)


async def test_an_app_without_workflows_pushes_none(
    served: World, git: Git, tmp_path: Path
) -> None:
    folder = await clone(served, git, tmp_path, "bot")
    await change(git, folder, ".github/workflows/ci.yml")
    code, said = await git("push", "origin", "HEAD:refs/heads/ci", cwd=folder)
    assert code == 1
    assert (
        "refusing to allow a GitHub App to create or update workflow "
        "`.github/workflows/ci.yml` without `workflows` permission"
    ) in " ".join(said.replace("remote:", "").split())
    person = await clone(served, git, tmp_path, "writer")
    await change(git, person, ".github/workflows/ci.yml")
    assert (await git("push", "-q", "origin", "HEAD:refs/heads/ci", cwd=person))[0] == 0
    # What stands on another branch already is nothing new.
    await git("fetch", "-q", "origin", cwd=folder)
    again = ("push", "-q", "origin", "origin/ci:refs/heads/copy")
    assert (await git(*again, cwd=folder))[0] == 0


async def test_custom_refs_can_be_refused_as_some_servers_do(
    served: World, git: Git, tmp_path: Path
) -> None:
    folder = await clone(served, git, tmp_path, "bot")
    served.hub.faults.refuse_refs("refs/orchestrate/")
    await change(git, folder)
    assert (await git("push", "origin", "HEAD:refs/orchestrate/x", cwd=folder))[0] == 1
    assert (await git("push", "-q", "origin", "HEAD:refs/heads/x", cwd=folder))[0] == 0


async def test_a_push_may_land_though_its_answer_is_lost(
    served: World, git: Git, tmp_path: Path
) -> None:
    folder = await clone(served, git, tmp_path, "bot")
    served.hub.faults.fail("POST", "/acme/widgets.git/git-receive-pack", after=True)
    sha = await change(git, folder)
    assert (await git("push", "origin", "HEAD:refs/heads/lost", cwd=folder))[0] != 0
    answer = await served.ask("bot", "GET", f"{REPO}/git/ref/heads/lost")
    assert answer.json()["object"]["sha"] == sha


async def test_a_private_repository_is_hidden(served: World, git: Git, tmp_path: Path) -> None:
    await served.ask(
        "admin", "POST", "/orgs/acme/repos", {"name": "own", "private": True, "auto_init": True}
    )
    url = f"{served.hub.url}/acme/own.git"
    for where, expected in (
        (url, 128),
        (url.replace("//", "//user:outsider@"), 128),
        (url.replace("//", "//user:admin@"), 0),
    ):
        assert (await git("ls-remote", where, cwd=tmp_path))[0] == expected


async def test_a_large_push_and_concurrent_ones_arrive_whole(
    served: World, git: Git, tmp_path: Path
) -> None:
    folder = await clone(served, git, tmp_path, "writer")
    large = "".join(f"{n * 7919 % 1_000_003}\n" for n in range(600_000))  # over 1 MB packed
    sha = await change(git, folder, "large.txt", large)
    names = [f"HEAD:refs/heads/b{n}" for n in range(4)]
    done = await asyncio.gather(*(git("push", "-q", "origin", n, cwd=folder) for n in names))
    assert [code for code, _ in done] == [0, 0, 0, 0]
    for n in range(4):
        answer = await served.ask("bot", "GET", f"{REPO}/git/ref/heads/b{n}")
        assert answer.json()["object"]["sha"] == sha
