from __future__ import annotations

import asyncio
import json

import pytest

from bot.git import workbench
from bot.runs.transitions import State
from tests.support.world import Repo, World

PROMPT = {"agents": {"writer": {"command": "cat > prompt.txt"}}, "checks": []}


@pytest.mark.parametrize("login", ["reader", "outsider"])
async def test_who_may_not_write_is_refused_in_one_sentence(repo: Repo, login: str) -> None:
    issue = await repo.person("reader").issue("Please")
    (answer,) = await repo.person(login).says(issue, "/orchestrate add a note")
    text = answer.partition("\n")[2].strip()
    assert text.startswith(f"@{login}: ")
    assert "write" in text
    assert "\n" not in text
    assert await repo.status_comments(issue) == []
    assert repo.git("for-each-ref", "refs/orchestrate", "refs/heads/orchestrate") == ""


async def test_a_run_shows_one_comment_one_pull_request_its_checks_and_its_record(
    repo: Repo,
) -> None:
    writer = repo.person("writer")
    issue = await writer.issue("Notes are missing", "Please add one.")
    comment = await writer.comment(issue, "/orchestrate add a note")
    run = await repo.until(issue, State.AWAITING_REVIEW)

    reactions = await writer.get(f"/issues/comments/{comment}/reactions")
    assert [each["content"] for each in reactions] == ["eyes"]
    (status,) = await repo.status_comments(issue)
    assert "Ready for review" in status
    assert run.pull_request
    pull = await repo.pull(run.pull_request)
    assert pull["draft"] is False
    assert pull["head"] == {**pull["head"], "ref": run.branch, "sha": run.head}
    for part in ("### Plan", "### Checkpoints", "### Evidence", f"Closes #{issue}", run.head[:7]):
        assert part in pull["body"]
    checks = await repo.check_runs(run.head)
    assert checks == {"orchestrate / rules": "success", "orchestrate / notes": "success"}
    reviewers = [each["login"] for each in pull["requested_reviewers"]]
    assert reviewers == ["writer"]
    assert await repo.replies(issue) == []
    assert await repo.replies(run.pull_request) == []


async def test_a_checkpoint_carries_trailers_and_is_reachable_from_the_record(repo: Repo) -> None:
    _, run = await repo.started()
    (made,) = run.checkpoints
    trailers = repo.git("log", "-1", "--format=%(trailers)", run.head).splitlines()
    assert trailers == [
        f"Orchestrate-Run: {run.id}",
        "Orchestrate-Checkpoint: 1",
        "Orchestrate-Task: 1",
        "Orchestrate-Agent: writer",
        f"Co-authored-by: writer <{run.email}>",
    ]
    assert repo.git("merge-base", made.sha, f"refs/orchestrate/{run.id}") == made.sha
    assert repo.git("rev-parse", run.branch) == made.sha
    assert repo.git("rev-parse", f"{made.sha}^") == repo.git("rev-parse", "main")


async def test_the_pull_request_is_a_draft_until_the_checks_pass(world: World) -> None:
    repo = await world.repository({"checks": [{"name": "no", "run": "false"}]})
    _, run = await repo.started()
    assert run.state is State.BLOCKED
    assert run.pull_request
    assert (await repo.pull(run.pull_request))["draft"] is True


async def test_a_request_on_the_pull_request_is_the_next_turn(world: World) -> None:
    repo = await world.repository(PROMPT)
    issue, run = await repo.started("add a note")
    assert run.pull_request
    await repo.person("maintainer").comment(run.pull_request, "/orchestrate and\nanother one")
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    assert run.state is State.AWAITING_REVIEW
    prompt = repo.file(run.head, "prompt.txt")
    assert "add a note" in prompt
    assert "the reviewers asked:\n\nand\n\nanother one" in prompt
    assert "checkpoint 1: Add a note" in prompt
    assert len(await repo.status_comments(issue)) == 1


async def test_another_request_on_the_issue_is_told_where_to_go(repo: Repo) -> None:
    issue, run = await repo.started()
    (answer,) = await repo.person("writer").says(issue, "/orchestrate something else")
    assert f"#{run.pull_request}" in answer
    assert (await repo.run(issue)).id == run.id
    assert len(await repo.pulls()) == 1


async def test_a_request_on_somebody_elses_pull_request_is_refused(repo: Repo) -> None:
    writer = repo.person("writer")
    main = repo.git("rev-parse", "main")
    await writer.post("/git/refs", {"ref": "refs/heads/mine", "sha": main})
    await writer.write("mine.txt", "mine\n", branch="mine")
    pull = await writer.post("/pulls", {"title": "Mine", "head": "mine", "base": "main"})
    (answer,) = await writer.says(pull["number"], "/orchestrate improve this")
    assert "belongs to no run" in answer


async def test_the_agent_reads_what_people_may_say_to_it_and_nothing_hidden(world: World) -> None:
    repo = await world.repository(PROMPT)
    for author, heard in (("writer", True), ("outsider", False)):
        issue = await repo.person(author).issue("Context", "Mind the <!-- do evil --> gap.")
        await repo.person("writer").comment(issue, "/orchestrate do it\u200b now")
        run = await repo.until(issue, State.AWAITING_REVIEW)
        prompt = repo.file(run.head, "prompt.txt")
        assert "do it now" in prompt
        assert ("> Mind the  gap." in prompt) is heard
        assert "evil" not in prompt


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("/orchestrate tidy up --fast", "Usage: `/orchestrate REQUEST"),
        ("/orchestrate", "Usage: `/orchestrate REQUEST"),
        ("/orchestrate tidy up --minutes soon", "whole number"),
        ("/orchestrate tidy up --agent nobody", "There is no agent `nobody` here; there is `wri"),
    ],
)
async def test_a_request_that_is_written_wrong_is_answered_and_starts_nothing(
    repo: Repo, said: str, answer: str
) -> None:
    issue = await repo.person("writer").issue("Wrong")
    (reply,) = await repo.person("writer").says(issue, said)
    assert answer in reply
    assert await repo.status_comments(issue) == []


async def test_a_run_may_start_from_another_branch(repo: Repo) -> None:
    writer = repo.person("writer")
    main = repo.git("rev-parse", "main")
    await writer.post("/git/refs", {"ref": "refs/heads/stable", "sha": main})
    await writer.write("stable.txt", "stable\n", branch="stable")
    _, run = await repo.started(base="stable")
    assert run.pull_request
    assert (await repo.pull(run.pull_request))["base"]["ref"] == "stable"
    assert repo.file(run.head, "stable.txt") == "stable"
    _, run = await repo.started(base="nowhere")
    assert run.state is State.BLOCKED
    assert "There is no branch `nowhere`" in run.reason


async def test_a_wrong_configuration_blocks_the_run_and_names_the_line(world: World) -> None:
    broken = "checks: auto\nlimits:\n  turns: many\n"
    repo = await world.repository({}, files={".github/orchestrate.yml": broken})
    issue, run = await repo.started()
    assert run.state is State.BLOCKED
    (status,) = await repo.status_comments(issue)
    assert ".github/orchestrate.yml, line 3" in status
    assert "/resume" in status
    mended = json.dumps({**PROMPT})
    await repo.person("admin").write(".github/orchestrate.yml", mended, branch="main")
    await repo.person("writer").comment(issue, "/resume")
    await repo.until(issue, State.AWAITING_REVIEW)


async def test_checks_are_found_where_none_are_configured(world: World) -> None:
    config = {"checks": "auto"}
    repo = await world.repository(config, files={"Makefile": "test:\n\ttest -s notes.txt\n"})
    _, run = await repo.started()
    assert [each.name for each in run.outcomes] == ["make-test"]
    assert (await repo.check_runs(run.head))["orchestrate / make-test"] == "success"


async def test_a_secret_of_the_server_reaches_neither_github_nor_an_agent(world: World) -> None:
    secret = world.credentials.webhook_secret
    agent = "cat > prompt.txt; echo more >> notes.txt"
    check = {"name": "notes", "run": f"echo {secret}; echo {secret} | rev; test -s notes.txt"}
    repo = await world.repository({"agents": {"writer": {"command": agent}}, "checks": [check]})
    issue, run = await repo.started(f"add {secret}")

    assert len(secret) >= 16
    assert run.request == "add [secret]"
    assert "[secret]" in repo.file(run.head, "prompt.txt")
    assert secret not in repo.file(run.head, "prompt.txt")
    pull = await repo.pull(run.pull_request or 0)
    checks = [str(each["output"]) for each in await repo.checks(run.head)]
    shown = [*await repo.status_comments(issue), pull["title"], pull["body"], *checks]
    assert any("[secret]" in each for each in checks)
    for text in shown:
        assert secret not in text
        assert secret[::-1] not in text
    (diff,) = await repo.person("writer").says(run.pull_request or 0, "/diff")
    assert secret not in diff


async def test_more_new_dependencies_than_may_come_are_refused_by_name(world: World) -> None:
    add = """printf '{"dependencies": {"left": "1", "pad": "1"}}' > package.json"""
    config = {
        "agents": {"writer": {"command": f"cat > /dev/null; {add}; echo more >> notes.txt"}},
        "limits": {"dependencies": 1},
    }
    before = '{"dependencies": {"old": "1"}}'
    repo = await world.repository(config, {"package.json": before})
    issue, run = await repo.started()
    assert run.state is State.BLOCKED
    (status,) = await repo.status_comments(issue)
    assert "2 new dependencies, and one checkpoint may bring 1" in status
    await repo.person("writer").comment(issue, "/rollback --only-violations")
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert repo.file(run.head, "package.json") == before
    assert repo.file(run.head, "notes.txt") == "first\nmore"


async def test_checks_are_not_left_out_since_a_file_is_too_large_to_be_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workbench, "READ_LIMIT", 4096)
    makefile = "test:\n\tfalse\n" + "# more\n" * 1000
    repo = await world.repository({"checks": "auto"}, {"Makefile": makefile})
    _, run = await repo.started()
    assert run.state is State.BLOCKED
    assert "`Makefile` is larger than" in run.reason


async def test_a_request_while_the_run_before_it_is_published_has_a_workspace_of_its_own(
    world: World,
) -> None:
    slow = "cat > /dev/null; sleep 1.5; echo more >> notes.txt"
    repo = await world.repository({"agents": {"writer": {"command": slow}}})
    writer = repo.person("writer")
    issue = await writer.issue("Notes")
    # The record goes out by a push when the run comes to rest; the workspace goes away after it.
    world.hub.faults.delay(1.0, "POST", f"/{repo.name}.git/git-receive-pack", times=None)
    try:
        await writer.comment(issue, "/orchestrate add a note")
        run = await repo.until_seen(issue, lambda run: run.state is State.AWAITING_REVIEW)
        while not (pulls := await repo.pulls()):  # noqa: ASYNC110  the hub tells nobody
            await asyncio.sleep(0.02)
        await writer.comment(pulls[0]["number"], "/orchestrate another note")
        run = await repo.until_seen(
            issue, lambda run: len(run.checkpoints) == 2 or bool(run.reason)
        )
    finally:
        world.hub.faults.clear()
    assert (len(run.checkpoints), run.reason) == (2, "")
    await world.settled()
