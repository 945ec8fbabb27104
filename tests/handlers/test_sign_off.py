"""Where commits need a sign-off: the bot's carry one, and people's are named that lack it."""

from __future__ import annotations

from bot.runs.transitions import State
from tests.support.world import World


async def test_checkpoints_are_signed_off_and_commits_without_it_are_not_taken_in(
    world: World,
) -> None:
    repo = await world.repository({"sign_off": True, "merge": {"method": "squash"}})
    issue, run = await repo.started()
    author = repo.git("log", "-1", "--format=%an <%ae>", run.head)
    trailers = repo.git("log", "-1", "--format=%(trailers:only)", run.head)
    assert f"Signed-off-by: {author}" in trailers
    assert "Signed-off-by: writer" not in trailers
    maintainer = repo.person("maintainer")
    theirs = await maintainer.write("mine.txt", "mine\n", branch=run.branch)
    run = await repo.until(issue, State.BLOCKED)
    assert f"lack it: `{theirs[:7]}` by" in run.reason
    assert "`git rebase --signoff`" in run.reason
    assert [each.kind for each in run.checkpoints] == ["agent"]
    # What was amended takes its place.
    name, address = repo.git("log", "-1", "--format=%an%n%ae", theirs).splitlines()
    tree = repo.git("rev-parse", f"{theirs}^{{tree}}")
    body = {
        "message": f"Mine\n\nSigned-off-by: {name} <{address}>",
        "tree": tree,
        "parents": [run.head],
    }
    signed = (await maintainer.post("/git/commits", body))["sha"]
    path = f"/git/refs/heads/{run.branch}"
    await maintainer.patch(path, {"sha": signed, "force": True})
    await repo.until(issue, State.PAUSED)
    await maintainer.says(issue, "/resume")
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert run.head == signed
    assert [each.kind for each in run.checkpoints] == ["agent", "human"]
    # The squash carries everybody's own.
    await repo.person("admin").comment(issue, f"/approve {signed}")
    run = await repo.until(issue, State.DONE)
    lines = repo.git("log", "-1", "--format=%(trailers:only)", run.merge_sha).splitlines()
    assert len(repo.git("log", "-1", "--format=%P", run.merge_sha).split()) == 1
    assert f"Signed-off-by: {author}" in lines
    assert f"Signed-off-by: {name} <{address}>" in lines
