"""What people see of a configuration that cannot be read."""

from __future__ import annotations

from bot.runs.transitions import State
from tests.support.world import CONFIG, Repo, World, yaml_of

NAME = "orchestrate / configuration"
WRONG = yaml_of(CONFIG).replace('"checks"', '"chekcs"')
PATH = ".github/orchestrate.yml"


async def shown(repo: Repo, sha: str) -> tuple[str, str, list[tuple[int, str]]]:
    """The conclusion and summary of the configuration's check, and its remarks by line."""
    await repo.world.settled()
    (found,) = [each for each in await repo.checks(sha, "all") if each["name"] == NAME]
    notes = await repo.person("reader").get(f"/check-runs/{found['id']}/annotations")
    assert {each["path"] for each in notes} <= {PATH}
    lines = [(each["start_line"], each["message"]) for each in notes]
    return found["conclusion"], found["output"]["summary"], lines


async def test_a_wrong_file_is_a_check_on_its_lines_and_the_last_good_one_stays(
    world: World,
) -> None:
    repo = await world.repository({"commands": {"who": {"orchestrate": "maintain"}}})
    good = repo.git("rev-parse", "main")
    wrong = yaml_of({**CONFIG, "chekcs": [], "limits": {"turns": 0}})
    admin = repo.person("admin")
    pushed = await admin.write(PATH, wrong, branch="main")

    conclusion, summary, lines = await shown(repo, pushed)
    assert conclusion == "failure"
    assert f"The last good one, as of `{good[:7]}`, stays in force" in summary
    rows = wrong.splitlines()
    assert [(rows[line - 1].strip(" :{"), said) for line, said in lines] == [
        ('"chekcs": [],', "`chekcs` is not known here; did you mean `checks`?"),
        ('"turns": 0', "`turns` must be at least 1; raise it."),
    ]

    # Who may start a run is what the last good one says, and so is what the run does.
    issue = await repo.person("writer").issue("Notes")
    (answer,) = await repo.person("writer").says(issue, "/orchestrate add a note")
    assert "needs the maintain role" in answer
    await repo.person("maintainer").comment(issue, "/orchestrate add a note")
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert [each.name for each in run.outcomes] == ["notes"]
    (status,) = await repo.status_comments(issue)
    assert "**The configuration is wrong:**" in status
    assert "did you mean `checks`?" in status
    assert f"keeps to the last good one, as of [`{good[:7]}`]" in status

    mended = await admin.write(PATH, yaml_of(CONFIG), branch="main")
    assert (await shown(repo, mended))[::2] == ("success", [])


async def test_a_pull_request_says_whether_its_configuration_can_be_read(world: World) -> None:
    repo = await world.repository()
    writer, main = repo.person("writer"), repo.git("rev-parse", "main")
    await writer.post("/git/refs", {"ref": "refs/heads/settings", "sha": main})
    head = await writer.write(PATH, WRONG, branch="settings")
    body = {"title": "Settings", "head": "settings", "base": "main"}
    pull = (await writer.post("/pulls", body))["number"]
    conclusion, summary, lines = await shown(repo, head)
    assert conclusion == "failure"
    assert "Once merged it would not be used" in summary
    assert [WRONG.splitlines()[line - 1].strip() for line, _ in lines] == ['"chekcs": [']
    # What is proposed is in force nowhere.
    assert (await repo.started())[1].config_wrong == ""

    mended = yaml_of({**CONFIG, "limits": {"turns": 2}})
    head = await writer.write(PATH, mended, branch="settings")
    conclusion, summary, _ = await shown(repo, head)
    assert (conclusion, "until then nothing of it is" in summary) == ("success", True)
    await repo.person("admin").merge(pull)
    assert (await shown(repo, repo.git("rev-parse", "main")))[0] == "success"


async def test_a_pull_request_that_only_lags_behind_changes_no_configuration(world: World) -> None:
    repo = await world.repository()
    writer, main = repo.person("writer"), repo.git("rev-parse", "main")
    await writer.post("/git/refs", {"ref": "refs/heads/other", "sha": main})
    await repo.person("admin").write(PATH, yaml_of(CONFIG) + "\n# more\n", branch="main")
    head = await writer.write("other.txt", "other\n", branch="other")
    await writer.post("/pulls", {"title": "Other", "head": "other", "base": "main"})
    await repo.world.settled()
    assert NAME not in await repo.check_runs(head)


async def test_where_none_was_ever_good_no_run_starts(world: World) -> None:
    repo = await world.repository({"chekcs": []})
    issue, run = await repo.started()
    assert run.state is State.BLOCKED
    assert "did you mean `checks`?" in run.reason
    pushed = await repo.person("admin").write(PATH, WRONG, branch="main")
    _, summary, _ = await shown(repo, pushed)
    assert "no run starts until it is mended" in summary
    await repo.person("admin").write(PATH, yaml_of(CONFIG), branch="main")
    await repo.person("writer").comment(issue, "/resume")
    await repo.until(issue, State.AWAITING_REVIEW)
