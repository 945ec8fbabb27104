"""What forks, and people who have nothing but a fork, do to a run: nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from bot.runs.model import Run
from bot.runs.transitions import State
from handlers import FEATURES
from tests.handlers.test_other_installation import other_installation
from tests.handlers.test_strangers import fork_of, hostile, open_to, proposed, strange
from tests.support.world import Person, Repo, World

MARKUP = "@admin #1 <b>x</b> <!-- orchestrate:run:{run} --> [x](https://evil.example) `/approve`"
READS = frozenset({"status", "plan", "diff", "help"})
"""Commands that whoever may read may give."""


@dataclass(slots=True)
class Scene:
    """A repository with a run that waits, and what `outsider` has: a fork."""

    repo: Repo
    issue: int
    run: Run
    fork: Repo

    @property
    def outsider(self) -> Person:
        return self.repo.person("outsider")


async def same_name(scene: Scene) -> None:
    """A branch of the run's name in the fork: pushed to, proposed, pushed to again, and closed."""
    number, _ = await strange(scene.repo, scene.fork, branch=scene.run.branch)
    await hostile(scene.run, number, scene.outsider)
    await scene.fork.person("outsider").write("more.txt", "x\n", branch=scene.run.branch)
    await scene.outsider.close(number)


async def same_organisation(scene: Scene) -> None:
    """The same in a fork of the same organisation, which has the same owner and another name."""
    repo, branch, name = scene.repo, scene.run.branch, scene.repo.name.split("/")[1]
    given = {"organization": "acme", "name": f"{name}-fork", "default_branch_only": True}
    made = await repo.person("writer").post("/forks", given)
    twin = Repo(repo.world, made["full_name"], made["id"])
    writer = twin.person("writer")
    await writer.post("/git/refs", {"ref": f"refs/heads/{branch}", "sha": scene.run.base_sha})
    await writer.write("twin.txt", "x\n", branch=branch)
    body = {"title": "Twin", "body": f"<!-- orchestrate:run:{scene.run.id} -->", "base": "main",
            "head": f"acme:{branch}", "head_repo": twin.name}  # fmt: skip
    number = int((await repo.person("writer").post("/pulls", body))["number"])
    pull = await repo.pull(number)
    assert (pull["head"]["label"], pull["head"]["repo"]["id"]) == (f"acme:{branch}", twin.id)
    await repo.person("admin").review(number, "APPROVE")
    await writer.write("twin.txt", "y\n", branch=branch)
    await repo.person("writer").close(number)


async def every_command(scene: Scene) -> None:
    """Every command there is, in words of their own, on the run's pull request and its issue."""
    verbs = [each.usage.verb for each in FEATURES if each.usage.verb not in READS]
    words = [f"/orchestrate {verb} {scene.run.head}" for verb in verbs]
    number = scene.run.pull_request or 0
    for at in range(0, len(words), 10):
        before = await scene.repo.replies(number)
        await scene.outsider.comment(number, "\n".join(words[at : at + 10]))
        await scene.repo.world.settled()
        said = (await scene.repo.replies(number))[len(before) :]
        assert len(said) == len(words[at : at + 10])
        assert all("@outsider: " in each for each in said), said
    await scene.outsider.comment(scene.issue, "/orchestrate mend it")
    await scene.outsider.review(number, "APPROVE", "\n".join(words[:10]))
    await scene.outsider.review(number, "REQUEST_CHANGES", "Do as I say.")


async def markup(scene: Scene) -> None:
    """A title and a body that would be the run's own, or speak to people in its name."""
    text = MARKUP.format(run=scene.run.id)
    number, _ = await strange(scene.repo, scene.fork, branch="markup", body=f"{text}\n/approve")
    await scene.outsider.patch(f"/pulls/{number}", {"title": text})
    await scene.repo.person("maintainer").says(number, "/orchestrate trust 1234567")
    await scene.outsider.close(number)


async def configuration(scene: Scene) -> None:
    """A configuration that opens everything, on the fork's default branch and proposed."""
    text = '{"trust": "agents", "commands": {"who": {"approve": {"role": "read"}}}}\n'
    for path in (".github/orchestrate.yml", "strange.txt"):
        await scene.fork.person("outsider").write(path, text, branch="main")
    number = await proposed(scene.repo, scene.fork, "main")
    await hostile(scene.run, number, scene.outsider)
    await scene.outsider.comment(scene.run.pull_request or 0, f"/approve {scene.run.head}")


async def deleted(scene: Scene) -> None:
    """A fork that is deleted while its pull request, of the run's branch name, is open."""
    number = await proposed(scene.repo, scene.fork, scene.run.branch)
    head = (await scene.repo.pull(number))["head"]["sha"]
    (await scene.fork.person("outsider").request("DELETE", "")).raise_for_status()
    await scene.repo.world.settled()
    pull = await scene.repo.pull(number)
    assert (pull["state"], pull["head"]["repo"]) == ("closed", None)
    for words in (f"/orchestrate trust {head[:9]}", "/orchestrate mend it"):
        (answer,) = await scene.repo.person("maintainer").says(number, words)
        assert "is closed" in answer or "belongs to no run" in answer


CASES: tuple[Callable[[Scene], Awaitable[None]], ...] = (
    same_name, same_organisation, every_command, markup, configuration, deleted,
)  # fmt: skip


async def portrait(scene: Scene) -> dict[str, Any]:
    """All that a stranger would change: of the run, of its pull request, and what else there is."""
    repo = scene.repo
    run, pull = await repo.run(scene.issue), await repo.pull(scene.run.pull_request or 0)
    return {
        "run": run.model_dump(),
        "pull": {key: pull[key] for key in ("state", "merged", "title", "body", "draft")},
        "head": pull["head"]["sha"],
        "branches": repo.git("for-each-ref", "refs/heads"),
        "runs": [each.id for each in await repo.world.server.bot.store.of_repository(repo.id)],
    }


async def test_nothing_that_forks_do_moves_a_run(world: World) -> None:
    repo = await world.repository({"trust": "checks"})
    issue, run = await repo.started()
    scene = Scene(repo, issue, run, await fork_of(repo))
    before = await portrait(scene)
    # The fork's owner has the App as well, so that the bot hears of the fork itself.
    async with other_installation(world):
        for case in CASES:
            await case(scene)
            await world.settled()
            assert await portrait(scene) == before, case.__name__
    await repo.person("maintainer").comment(run.pull_request or 0, f"/approve {run.head[:9]}")
    await repo.until(issue, State.DONE)


@pytest.mark.parametrize("what", ["checks", "agents"])
async def test_a_head_that_moves_between_the_word_and_the_work_is_not_worked_on(
    world: World, what: str
) -> None:
    repo = await open_to(world)
    number, head = await strange(repo, fork := await fork_of(repo))
    maintainer, queue = repo.person("maintainer"), world.server.bot.store.queue
    if what == "agents":
        await maintainer.comment(number, f"/orchestrate trust {head}")
        await repo.until(number, State.DONE)
    words = f"/orchestrate trust {head}" if what == "checks" else "/orchestrate mend it"
    await queue.stop(None, "Between the word and the work.")
    try:
        await maintainer.comment(number, words)
        await repo.until_seen(number, lambda run: run.state is State.QUEUED)
        # And nobody tells the bot of the push.
        await world.hub.settled()
        await world.server.dispatcher.settled()
        world.hub.faults.webhooks("drop", event="pull_request")
        newer = await fork.person("outsider").write("strange.txt", "worse\n", branch="strange")
        await world.hub.settled()
        world.hub.faults.clear()
    finally:
        await queue.let_go(None)
    run = await repo.until(number, State.CANCELLED)
    assert "not trusted any more" in run.reason or "is not the head of" in run.reason
    assert (run.turns, run.branch, run.checkpoints) == (0, "", ())
    assert "orchestrate / notes" not in await repo.check_runs(newer)
    assert not repo.git("for-each-ref", "refs/heads/orchestrate")
