"""Forks: their own repositories, with pull requests whose commits the base repository keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bot.hub.repositories import Bare
from tests.bot.hub.test_git_http import Git, change
from tests.bot.hub.world import REPO, World

FORK = "/repos/outsider/widgets"


async def forked(world: World, branch: str = "topic") -> str:
    """A fork of `outsider`'s with one commit on a branch; its sha."""
    made = await world.ask("outsider", "POST", f"{REPO}/forks", {})
    assert made.status_code == 202, made.text
    main = (await world.ask("outsider", "GET", f"{FORK}/git/ref/heads/main")).json()
    ref = {"ref": f"refs/heads/{branch}", "sha": main["object"]["sha"]}
    await world.ask("outsider", "POST", f"{FORK}/git/refs", ref)
    return await written(world, branch, "strange.txt")


async def written(world: World, branch: str, path: str) -> str:
    body = {"message": "Strange", "content": "eA==", "branch": branch}
    made = await world.ask("outsider", "PUT", f"{FORK}/contents/{path}", body)
    assert made.status_code == 201, made.text
    return str(made.json()["commit"]["sha"])


async def proposed(world: World, who: str = "outsider", **more: Any) -> dict[str, Any]:
    body = {"title": "T", "head": "outsider:topic", "base": "main", **more}
    made = await world.ask(who, "POST", f"{REPO}/pulls", body)
    assert made.status_code == 201, made.text
    return dict(made.json())


async def kept(world: World, number: int) -> str:
    return await world.hub.git(world.repo, Bare.text, "rev-parse", f"refs/pull/{number}/head")


async def pushes(world: World, git: Git, folder: Path, who: str, ref: str) -> tuple[int, str]:
    """Clone the fork, commit, and push to one of its branches as somebody, or as the App."""
    secret = f"x-access-token:{world.token()}" if who == "bot" else f"user:{who}"
    url = world.hub.url.replace("//", f"//{secret}@") + "/outsider/widgets.git"
    clone = folder / f"{who}-{ref}"
    await git("clone", "-q", "-b", "topic", url, str(clone), cwd=folder)
    await change(git, clone, text=f"{who} {ref}\n")
    return await git("push", "-q", "origin", f"HEAD:refs/heads/{ref}", cwd=clone)


async def test_a_pull_request_from_a_fork_is_kept_and_followed_by_the_base(world: World) -> None:
    head = await forked(world)
    pull = await proposed(world)
    number = pull["number"]
    assert pull["head"]["label"] == "outsider:topic"
    assert (pull["head"]["repo"]["full_name"], pull["head"]["repo"]["fork"]) == (
        "outsider/widgets",
        True,
    )
    assert pull["base"]["repo"]["full_name"] == "acme/widgets"
    assert pull["maintainer_can_modify"] is True
    assert await kept(world, number) == head
    world.inbox.clear()
    newer = await written(world, "topic", "second.txt")
    await world.hub.settled()
    assert await kept(world, number) == newer
    # As GitHub tells it: the base hears of the pull request, and no push, and no suite.
    assert world.inbox.names == ["pull_request.synchronize"]
    told = world.inbox.last("pull_request.synchronize")["pull_request"]["head"]
    assert (told["sha"], told["repo"]["owner"]["login"]) == (newer, "outsider")
    body = {"name": "x", "head_sha": newer}
    made = await world.ask("bot", "POST", f"{REPO}/check-runs", body)
    assert made.json()["pull_requests"] == []
    listed = await world.ask("bot", "GET", f"{REPO}/pulls?head=outsider:topic")
    assert [each["number"] for each in listed.json()] == [number]
    assert (await world.ask("bot", "GET", f"{REPO}/pulls?head=acme:topic")).json() == []
    twin = {"title": "T", "head": "outsider:topic", "base": "main"}
    assert (await world.ask("outsider", "POST", f"{REPO}/pulls", twin)).status_code == 422


async def test_of_a_deleted_fork_the_commits_stay_and_the_name_goes(world: World) -> None:
    head = await forked(world)
    number = (await proposed(world))["number"]
    assert (await world.ask("writer", "DELETE", FORK)).status_code == 403
    assert (await world.ask("outsider", "DELETE", FORK)).status_code == 204
    pull = (await world.ask("bot", "GET", f"{REPO}/pulls/{number}")).json()
    assert (pull["state"], pull["head"]["repo"], pull["head"]["sha"]) == ("closed", None, head)
    assert await kept(world, number) == head
    again = await world.ask("writer", "PATCH", f"{REPO}/pulls/{number}", {"state": "open"})
    assert again.status_code == 422


async def test_only_who_may_pushes_to_a_fork(served: World, git: Git, tmp_path: Path) -> None:
    await forked(served)
    number = (await proposed(served))["number"]
    # A maintainer, to the pull request's branch alone; the App nowhere, as it is not installed.
    for who, ref, can in (
        ("writer", "topic", True),
        ("writer", "main", False),
        ("reader", "topic", False),
        ("bot", "topic", False),
    ):
        code, said = await pushes(served, git, tmp_path, who, ref)
        assert (code == 0) is can, (who, ref, said)
    theirs = {"maintainer_can_modify": False}
    refused = await served.ask("writer", "PATCH", f"{REPO}/pulls/{number}", theirs)
    assert refused.status_code == 403
    assert (
        await served.ask("outsider", "PATCH", f"{REPO}/pulls/{number}", theirs)
    ).status_code == 200
    later = tmp_path / "later"
    later.mkdir()
    code, said = await pushes(served, git, later, "writer", "topic")
    assert code != 0
    assert "denied" in said
