"""Pull requests from forks: what an agent may do on a trusted head, and what a stranger may not."""

from __future__ import annotations

import pytest

from bot.runs.model import Run
from bot.runs.transitions import State
from tests.support.world import Person, Repo, World

AGENT = "cat > /dev/null; cat strange.txt >> notes.txt"


async def fork_of(repo: Repo) -> Repo:
    """A fork of `outsider`'s."""
    made = await repo.person("outsider").post("/forks", {"default_branch_only": True})
    return Repo(repo.world, made["full_name"], made["id"])


async def strange(
    repo: Repo, fork: Repo, *files: str, branch: str = "strange", body: str = ""
) -> tuple[int, str]:
    """Open a pull request from a branch of the fork that writes `files`; its number and head."""
    outsider = fork.person("outsider")
    main = fork.git("rev-parse", "main")
    await outsider.post("/git/refs", {"ref": f"refs/heads/{branch}", "sha": main})
    head = main
    for path in files or ("strange.txt",):
        head = await outsider.write(path, "strange\n", branch=branch)
    return await proposed(repo, fork, branch, body), head


async def proposed(repo: Repo, fork: Repo, branch: str, body: str = "") -> int:
    given = {"title": "Strange", "body": body, "base": "main"}
    head = {"head": f"outsider:{branch}", "head_repo": fork.name}
    return int((await repo.person("outsider").post("/pulls", {**given, **head}))["number"])


async def open_to(world: World, trust: str = "agents", agent: str = AGENT) -> Repo:
    return await world.repository({"trust": trust, "agents": {"writer": {"command": agent}}})


async def trust(repo: Repo, number: int, head: str) -> None:
    assert await repo.person("maintainer").says(number, f"/orchestrate trust {head[:9]}") == []
    await repo.until(number, State.DONE)


async def runs(repo: Repo, number: int) -> list[Run]:
    return await repo.world.server.bot.store.of_thread(repo.id, number)


async def test_a_run_goes_on_from_the_trusted_commit_in_a_pull_request_of_its_own(
    world: World,
) -> None:
    repo = await open_to(world)
    fork = await fork_of(repo)
    number, head = await strange(repo, fork)
    theirs = fork.git("for-each-ref", "refs/heads")
    await trust(repo, number, head)
    writer = repo.person("writer")
    assert await writer.says(number, "/orchestrate add what is strange to the notes") == []
    run = await repo.until(number, lambda run: run.state is State.AWAITING_REVIEW)
    (made,) = run.checkpoints
    assert (made.parent, repo.git("rev-parse", f"{made.sha}^")) == (head, head)
    assert repo.file(made.sha, "notes.txt") == "first\nstrange"
    # Its rules and figures are of its own part.
    assert (made.files, made.added) == (1, 1)
    assert "[skip ci]" in repo.git("log", "-1", "--format=%B", run.branch)
    # The fork is as it was, and no branch here stands at the stranger's own commit.
    assert fork.git("for-each-ref", "refs/heads") == theirs
    assert head not in repo.git("for-each-ref", "refs/heads", "--format=%(objectname)")
    pull = await repo.pull(run.pull_request or 0)
    assert (pull["base"]["ref"], pull["head"]["ref"]) == ("main", run.branch)
    assert f"It continues #{number} by `outsider`" in pull["body"]
    assert f"git pull {run.repository.url} {run.branch}" in pull["body"]
    (told,) = [each for each in await repo.status_comments(number) if run.id in each]
    assert f"#{run.pull_request}" in told
    # A review of the stranger's pull request is none of the run's.
    await repo.person("maintainer").review(number, "APPROVE")
    await repo.world.settled()
    assert (await repo.run(number)).approvals == ()
    await repo.person("maintainer").comment(run.pull_request or 0, f"/approve {run.head[:9]}")
    await repo.until(number, State.DONE)
    assert (await repo.pull(run.pull_request or 0))["merged"] is True
    assert repo.file("main", "strange.txt") == "strange"


async def test_a_push_voids_the_trust_and_pauses_the_run(world: World) -> None:
    repo = await open_to(world, agent="cat > /dev/null; sleep 300")
    fork = await fork_of(repo)
    number, head = await strange(repo, fork)
    await trust(repo, number, head)
    writer = repo.person("writer")
    await writer.comment(number, "/orchestrate mend it")
    run = await repo.until_seen(number, lambda run: run.turn_open)
    newer = await fork.person("outsider").write("strange.txt", "worse\n", branch="strange")
    run = await repo.until(number, State.PAUSED)
    assert run.onto is not None
    assert (run.onto.sha, run.onto.moved) == (head, newer)
    (told,) = [each for each in await repo.status_comments(number) if run.id in each]
    assert f"outsider pushed {newer[:7]} to" in told
    assert f"/compare/{head}...{newer})" in told
    # Nothing goes on with what was trusted before, and nothing begins with what was not.
    for words in ("/resume", "/take"):
        (answer,) = await writer.says(number, words)
        assert "which nobody trusted for it: `/cancel` ends it" in answer
    await writer.says(number, "/cancel")
    (answer,) = await writer.says(number, "/orchestrate mend it")
    assert f"Nobody trusts the head, `{newer[:7]}`, which was pushed since" in answer
    assert not repo.git("for-each-ref", "refs/heads/orchestrate")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("CLAUDE.md", "which instructs agents"),
        (".github/workflows/ci.yml", "what agents may not change here"),
        (".github/orchestrate.yml", "what agents may not change here"),
    ],
)
async def test_no_agent_reads_what_a_stranger_instructs_it_or_what_is_closed(
    world: World, path: str, said: str
) -> None:
    repo = await open_to(world)
    number, head = await strange(repo, await fork_of(repo), path)
    await trust(repo, number, head)
    await repo.person("writer").comment(number, "/orchestrate mend it")
    run = await repo.until(number, State.CANCELLED)
    assert said in run.reason
    assert "Have people merge that apart" in run.reason
    assert (run.turns, run.branch) == (0, "")


async def test_trust_is_of_one_pull_request_and_of_nothing_that_a_fork_says(world: World) -> None:
    closed = await open_to(world, trust="checks")
    fork = await fork_of(closed)
    outsider = fork.person("outsider")
    opened = '{"trust": "agents", "commands": {"who": {"trust": {"role": "read"}}}}\n'
    await outsider.write(".github/orchestrate.yml", opened, branch="main")
    number, head = await strange(closed, fork, "strange.txt")
    await trust(closed, number, head)
    (answer,) = await closed.person("writer").says(number, "/orchestrate mend it")
    assert "only where `trust: agents` is in the configuration on the default branch" in answer

    repo = await open_to(world)
    fork = await fork_of(repo)
    number, head = await strange(repo, fork)
    await trust(repo, number, head)
    await fork.person("outsider").post("/git/refs", {"ref": "refs/heads/twin", "sha": head})
    twin = await proposed(repo, fork, "twin")
    writer = repo.person("writer")
    for where, who, words, said in (
        (twin, writer, "/orchestrate mend it", "Nobody trusts the head"),
        (number, writer, "/orchestrate mend it --base outsider:main", "leave `--base` out"),
        (number, repo.person("reader"), "/orchestrate mend it", "needs the write role"),
        (number, repo.person("outsider"), "/orchestrate mend it", "needs the write role"),
        (twin, repo.person("outsider"), f"/orchestrate trust {head}", "needs the maintain role"),
    ):
        (answer,) = await who.says(where, words)
        assert said in answer
    assert [each.trusted for each in await runs(repo, number)] == [head]
    assert await runs(repo, twin) == []


async def test_trust_counts_while_the_words_stand_that_gave_it(world: World) -> None:
    repo = await open_to(world)
    number, head = await strange(repo, await fork_of(repo))
    maintainer = repo.person("maintainer")
    said = await maintainer.comment(number, f"/orchestrate trust {head[:9]}")
    await repo.until(number, State.DONE)
    (await maintainer.request("DELETE", f"/issues/comments/{said}")).raise_for_status()
    (answer,) = await repo.person("writer").says(number, "/orchestrate mend it")
    assert f"Nobody trusts the head, `{head[:7]}`" in answer
    assert [each.trusted for each in await runs(repo, number)] == [head]


async def test_a_push_that_nobody_told_of_is_seen_before_a_merge(world: World) -> None:
    repo = await open_to(world)
    number, head = await strange(repo, fork := await fork_of(repo))
    await trust(repo, number, head)
    await repo.person("writer").says(number, "/orchestrate add what is strange to the notes")
    run = await repo.until(number, State.AWAITING_REVIEW)
    world.hub.faults.webhooks("drop", event="pull_request")
    newer = await fork.person("outsider").write("strange.txt", "worse\n", branch="strange")
    await world.hub.settled()
    world.hub.faults.clear()
    await repo.person("maintainer").comment(run.pull_request or 0, f"/approve {run.head[:9]}")
    run = await repo.until(number, State.PAUSED)
    assert f"pushed {newer[:7]} to #{number}, which nobody trusts yet" in run.reason
    assert (await repo.pull(run.pull_request or 0))["merged"] is False
    (answer,) = await repo.person("maintainer").says(run.pull_request or 0, "/resume")
    assert "which nobody trusted for it: `/cancel` ends it" in answer


async def test_commits_that_github_signs_go_on_from_the_trusted_one(world: World) -> None:
    agents = {"writer": {"command": AGENT}}
    repo = await world.repository({"trust": "agents", "commits": "api", "agents": agents})
    number, head = await strange(repo, await fork_of(repo))
    await trust(repo, number, head)
    writer = repo.person("writer")
    await writer.says(number, "/orchestrate add what is strange to the notes")
    run = await repo.until(number, State.AWAITING_REVIEW)
    await writer.says(run.pull_request or 0, "/orchestrate once more")
    run = await repo.until(number, lambda run: len(run.checkpoints) == 2 and not run.active)
    first, second = run.checkpoints
    assert (first.parent, second.parent) == (head, first.sha)
    for each in run.checkpoints:
        shown = await writer.get(f"/git/commits/{each.sha}")
        assert shown["verification"]["verified"] is True
        assert "[skip ci]" in shown["message"]
    assert repo.git("rev-parse", run.branch, f"{first.sha}^").split() == [run.head, head]
    assert repo.git("for-each-ref", "refs/orchestrate-unsigned") == ""
    assert head not in repo.git("for-each-ref", "refs/heads", "--format=%(objectname)")
    await repo.person("maintainer").comment(run.pull_request or 0, f"/approve {run.head[:9]}")
    await repo.until(number, State.DONE)
    assert repo.file("main", "notes.txt") == "first\nstrange\nstrange"


async def hostile(run: Run, number: int, who: Person) -> None:
    """Everything that a stranger may say and do on a pull request of theirs, at once."""
    words = f"/approve {run.head}\n/orchestrate mend it\n/override notes mine\n/trust {run.head}"
    await who.comment(number, words)
    await who.review(number, "COMMENT", words)
    place = {"path": "strange.txt", "line": 1, "side": "RIGHT"}
    head = (await who.get(f"/pulls/{number}"))["head"]["sha"]
    said = {"body": "/approve", "commit_id": head, **place}
    await who.post(f"/pulls/{number}/comments", said)


async def test_a_fork_that_takes_a_runs_names_for_itself_gets_nothing_of_it(world: World) -> None:
    repo = await world.repository()
    issue, run = await repo.started()
    fork = await fork_of(repo)
    marker = f"<!-- orchestrate:run:{run.id} -->\nCloses #{issue}"
    number, _ = await strange(repo, fork, branch=run.branch, body=marker)
    outsider = repo.person("outsider")
    await hostile(run, number, outsider)
    await fork.person("outsider").write("strange.txt", "more\n", branch=run.branch)
    await outsider.close(number)
    await repo.world.settled()
    after = await repo.run(issue)
    assert (after.state, after.head, after.approvals) == (run.state, run.head, ())
    assert (after.pull_request, after.overrides, after.foreign) == (run.pull_request, (), "")
    pull = await repo.pull(run.pull_request or 0)
    assert (pull["state"], pull["merged"]) == ("open", False)
    # What is drawn anew is drawn there, and a review of theirs there decides nothing either.
    await outsider.review(run.pull_request or 0, "APPROVE", "/approve")
    await repo.person("maintainer").says(issue, "/status")
    assert (await repo.run(issue)).state is State.AWAITING_REVIEW
    assert (await repo.pull(number))["body"] == marker
