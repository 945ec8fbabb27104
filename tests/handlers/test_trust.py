"""Pull requests that no run made: nothing of them is run, until somebody trusts one commit."""

from __future__ import annotations

from typing import Any

from bot.runs.model import Run
from bot.runs.transitions import State
from tests.support.world import Repo, World

PROBE = """
import os, socket, sys
found = [name for name in os.environ if any(it in name for it in ("SECRET", "KEY", "TOKEN"))]
try:
    socket.create_connection(("192.0.2.1", 80), timeout=2)
    found.append("the network")
except OSError:
    pass
sys.exit(f"found {found}" if found else 0)
"""
"""What a stranger would look for; it passes where there is none of it."""


async def strange(repo: Repo, text: str = PROBE) -> tuple[int, str]:
    """Open a pull request by hand; its number and head."""
    writer = repo.person("writer")
    main = repo.git("rev-parse", "main")
    await writer.post("/git/refs", {"ref": "refs/heads/strange", "sha": main})
    # It would change its own checks as well, and where agents and checks come from.
    await writer.write(".github/orchestrate.yml", "checks: []\n", branch="strange")
    head = await writer.write("probe.py", text, branch="strange")
    body = {"title": "Strange", "head": "strange", "base": "main"}
    return int((await writer.post("/pulls", body))["number"]), head


async def trusting(world: World, check: str = "python3 probe.py", **more: Any) -> Repo:
    checks = [{"name": "probe", "run": check}]
    return await world.repository({"trust": "checks", "checks": checks, **more})


async def runs(repo: Repo, number: int) -> list[Run]:
    return await repo.world.server.bot.store.of_thread(repo.id, number)


async def test_checks_run_on_the_trusted_commit_and_nothing_is_pushed(world: World) -> None:
    repo = await trusting(world)
    number, head = await strange(repo)
    before = repo.git("for-each-ref", "refs/heads")
    maintainer = repo.person("maintainer")
    assert await maintainer.says(number, f"/orchestrate trust {head[:9]}") == []
    run = await repo.until(number, State.DONE)
    assert (run.trusted, run.head, run.branch, run.checkpoints) == (head, head, "", ())
    # The check is the default branch's, run on the stranger's files.
    assert (await repo.check_runs(head))["orchestrate / probe"] == "success"
    (status,) = await repo.status_comments(number)
    assert f"**Checked** `{head[:7]}`, as `maintainer` trusts it." in status
    assert repo.git("for-each-ref", "refs/heads") == before
    record = repo.git("log", "-p", "--format=", f"refs/orchestrate/{run.id}")
    assert head in record
    assert not repo.git("branch", "--contains", head, "--list", "orchestrate/*")
    # It stays bound to that: no agent, no merge, no turn.
    for words, said in (
        ("/approve", "only checks a pull request"),
        ("/orchestrate mend it", "belongs to no run"),
        ("/take", "only checks a pull request"),
        ("/hold", "starts a new one"),
    ):
        (answer,) = await repo.person("admin").says(number, words)
        assert said in answer
    assert (await repo.pull(number))["merged"] is False
    assert [each.state for each in await runs(repo, number)] == [State.DONE]


async def test_nobody_is_trusted_by_default_or_by_those_who_may_not(world: World) -> None:
    closed = await world.repository()
    number, head = await strange(closed)
    (answer,) = await closed.person("admin").says(number, f"/orchestrate trust {head}")
    assert "`trust: checks` in the configuration on the default branch" in answer
    assert await runs(closed, number) == []

    repo = await trusting(world)
    number, head = await strange(repo)
    maintainer = repo.person("maintainer")
    for login, words, said in (
        ("writer", f"/orchestrate trust {head}", "needs the maintain role"),
        ("reader", f"/orchestrate trust {head}", "needs the maintain role"),
        ("maintainer", "/orchestrate trust main-branch", "is no commit's name"),
        ("maintainer", f"/orchestrate trust {repo.git('rev-parse', 'main')}", "is not the head"),
    ):
        (answer,) = await repo.person(login).says(number, words)
        assert said in answer
    issue, run = await repo.started()
    (answer,) = await maintainer.says(issue, f"/trust {head}")
    assert "Only pull requests are trusted" in answer
    (answer,) = await maintainer.says(run.pull_request or 0, f"/trust {run.head}")
    assert "needs no trust" in answer
    assert await runs(repo, number) == []
    assert "orchestrate / probe" not in await repo.check_runs(head)


async def test_a_push_ends_what_was_trusted_before(world: World) -> None:
    repo = await trusting(world, check="touch started; sleep 300")
    number, head = await strange(repo)
    maintainer = repo.person("maintainer")
    await maintainer.comment(number, f"/orchestrate trust {head}")
    begun = repo.world.server.bot.store
    while not [each for each in await runs(repo, number) if await begun.results(each.id, head)]:
        await repo.world.moved()
    await maintainer.comment(number, "/orchestrate mend it")
    while not (answers := await repo.replies(number)):
        await repo.world.moved()
    assert "only where `trust: agents` is in the configuration" in answers[0]
    newer = await repo.person("writer").write("probe.py", "print(2)\n", branch="strange")
    run = await repo.until(number, State.CANCELLED)
    assert f"pushed {newer[:7]}, which nobody trusts yet" in run.reason
    assert "orchestrate / probe" not in await repo.check_runs(newer)
    (answer,) = await maintainer.says(number, f"/orchestrate trust {head}")
    assert "is not the head" in answer
