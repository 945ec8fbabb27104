"""Who may give which command beside the role, and for whom: on GitHub, as GitHub tells it."""

from __future__ import annotations

from bot.hub import add_team
from bot.runs.transitions import State
from tests.support.world import Repo, World


async def test_a_delegate_approves_on_that_run_and_on_no_other(repo: Repo) -> None:
    writer, maintainer = repo.person("admin"), repo.person("maintainer")
    issue = await writer.issue("One")
    await writer.comment(issue, "/orchestrate add a note")
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert run.pull_request
    other, second = await repo.started()
    (refused,) = await repo.person("writer").says(run.pull_request, "/approve")
    assert "needs the maintain role" in refused
    # Whoever may not decide lends nothing, nor who asked for the change an approval.
    (refused,) = await repo.person("writer").says(issue, "/delegate @writer")
    assert "needs the maintain role" in refused
    (told,) = await writer.says(issue, "/delegate @Writer")
    assert "`/undelegate @writer`" in told
    (refused,) = await repo.person("writer").says(run.pull_request, "/approve")
    assert "needs the maintain role" in refused
    await maintainer.says(issue, "/delegate @writer")
    (refused,) = await repo.person("writer").says(second.pull_request or other, "/approve")
    assert "needs the maintain role" in refused
    assert await repo.person("writer").says(run.pull_request, "/approve") == []
    run = await repo.until(issue, State.DONE)
    assert [(each.by, "acts for maintainer" in each.reason) for each in run.approvals] == [
        ("writer", True)
    ]
    record = repo.git("log", "-p", "--format=", f"refs/orchestrate/{run.id}")
    assert "delegated" in record


async def test_what_was_delegated_is_taken_back_and_ends_with_the_role(repo: Repo) -> None:
    issue, run = await repo.started()
    maintainer, writer = repo.person("maintainer"), repo.person("writer")
    assert run.pull_request
    for words, said in (
        ("/delegate @reader", "give them triage or write"),
        ("/delegate @nobody-here", "give them triage or write"),
        ("/delegate @orchestrate[bot]", "name on GitHub"),
        ("/delegate @maintainer", "name somebody else"),
        ("/undelegate @writer", "who does: nobody"),
    ):
        (answer,) = await maintainer.says(issue, words)
        assert said in answer
    await maintainer.says(issue, "/delegate @writer")
    (answer,) = await writer.says(issue, "/delegate @reader")
    assert "needs the maintain role" in answer
    await maintainer.says(issue, "/undelegate @writer")
    (answer,) = await writer.says(run.pull_request, "/approve")
    assert "needs the maintain role" in answer
    assert (await repo.run(issue)).state is State.AWAITING_REVIEW


async def test_a_team_and_the_issues_author_may_command_where_the_configuration_says_so(
    world: World,
) -> None:
    add_team(world.hub, "starters", "writer")
    who = {"role": "maintain", "teams": ["starters"], "users": ["reader"]}
    repo = await world.repository(
        {"commands": {"who": {"orchestrate": who, "pause": {"role": "admin", "author": True}}}}
    )
    issue, run = await repo.started()
    assert run.state is State.AWAITING_REVIEW
    # Named or not: on GitHub a reader may be anybody.
    (refused,) = await repo.person("reader").says(issue, "/orchestrate more")
    assert "takes at least the triage role" in refused
    # `writer` opened the issue; the maintainer did not.
    assert run.pull_request
    (refused,) = await repo.person("maintainer").says(issue, "/pause")
    assert "needs the admin role" in refused
    assert await repo.person("writer").says(run.pull_request, "/pause") == []
    assert (await repo.run(issue)).state is State.PAUSED
    (table,) = await repo.person("reader").says(issue, "/help")
    assert "| maintain, team `starters`, `reader` |" in table
