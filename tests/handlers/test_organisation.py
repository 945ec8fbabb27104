"""What an organisation's `.github` repository says for all of them, as their people meet it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pygit2
import pytest

from bot.effective import effective
from bot.git import ledger
from bot.hub import add_repository
from bot.replay import Asked, verify_clone
from bot.runs.transitions import State
from bot.settings import Settings
from bot.verify import verify_run
from tests.support.world import CONFIG, Repo, World, make_world, settings_of, yaml_of

FILE = "orchestrate.yml"


@pytest.fixture(scope="module")
async def ours(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A hub and a bot of these tests' own: what an organisation says binds every repository."""
    folder = tmp_path_factory.mktemp("acme")
    laid_down = folder / "bounds.yml"
    laid_down.write_text("limits: {minutes: 25}\n")
    async with make_world(folder, policy_file=laid_down) as made:
        yield made


async def spoken(world: World) -> Repo:
    """Make the organisation's repository."""
    known = world.hub.repository("acme/.github")
    number = known.id if known else await add_repository(world.hub, ".github")
    return Repo(world, "acme/.github", number)


async def says(acme: Repo, said: object) -> str:
    """Let the organisation say something else; the commit that it stands in."""
    pushed = await acme.person("admin").write(FILE, json.dumps(said), branch="main")
    await acme.world.settled()
    return pushed


async def test_an_organisation_speaks_for_its_repositories(ours: World) -> None:
    repo = await ours.repository()
    started = "/orchestrate add a note"
    issue = await repo.person("writer").issue("Notes")
    acme = await spoken(ours)
    await says(acme, {"commands": {"who": {"orchestrate": "maintain"}}})
    (answer,) = await repo.person("writer").says(issue, started)
    assert "needs the maintain role" in answer

    # A repository's own word counts over it, but for the bounds.
    own = {"commands": {"who": {"orchestrate": "write"}}}
    await repo.person("admin").write(
        ".github/orchestrate.yml", yaml_of({**CONFIG, **own}), branch="main"
    )
    await says(acme, {"limits": {"turns": 7}, "bounds": {"approval": {"required": 2}}})
    await repo.person("writer").comment(issue, started)
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert (run.turn_limit, len(run.organisation)) == (7, 40)
    await repo.person("admin").comment(issue, f"/approve {run.head}")
    await ours.settled()
    assert "It needs 1 more approval" in (await repo.replies(issue))[-1]

    # What it says is part of what was approved.
    await says(acme, {"limits": {"turns": 8}, "bounds": {"approval": {"required": 2}}})
    await repo.person("maintainer").comment(issue, f"/approve {run.head}")
    await ours.settled()
    run = await repo.run(issue)
    assert run.state is State.AWAITING_REVIEW
    assert "It needs 1 more approval" in (await repo.replies(issue))[-1]


async def test_a_wrong_one_is_a_check_and_the_last_good_one_holds(ours: World) -> None:
    acme = await spoken(ours)
    await says(acme, {"limits": {"turns": 6}})
    repo = await ours.repository()
    pushed = await says(acme, {"limts": {}})
    (check,) = await acme.checks(pushed)
    assert (check["name"], check["conclusion"]) == ("orchestrate / organisation", "failure")
    assert "did you mean `limits`?" in check["output"]["summary"]
    assert "The last good one stays in force" in check["output"]["summary"]
    issue, run = await repo.started()
    assert run.turn_limit == 6
    (status,) = await repo.status_comments(issue)
    assert "acme/.github: orchestrate.yml, line 1: `limts` is not known here" in status

    # A bot that begins anew finds it as well, and the runs that began with it.
    known = await ours.server.bot.store.repository(repo.id)
    assert known
    settings = settings_of(ours.hub, ours.credentials, ours.folder / "bot")
    found = await effective(settings, {}, repo.name)
    told = {each.setting: each for each in found.settings}
    assert (told["limits.turns"].value, told["limits.turns"].told) == (6, "acme/.github")
    assert told["checks"].told == "line 7"
    assert any("The last good one holds." in line for line in found.read)
    await says(acme, {})
    assert await acme.checks(pushed) == [check]
    found = await effective(settings, {}, repo.name)
    assert {each.setting: each.told for each in found.settings}["limits.turns"] == "default"


async def test_whoever_has_the_clones_makes_the_policy_of_an_approval_again(
    ours: World, tmp_path: Path
) -> None:
    acme = await spoken(ours)
    await says(acme, {"limits": {"turns": 5}, "bounds": {"merge": {"method": "squash"}}})
    repo = await ours.repository()
    issue, run = await repo.started()
    # Not what it began with, and what is approved under is not on the default branch's tip later.
    own = yaml_of({**CONFIG, "limits": {"turns": 4, "minutes": 60}})
    await repo.person("admin").write(".github/orchestrate.yml", own, branch="main")
    was = repo.git("rev-parse", "main")
    await repo.person("maintainer").comment(issue, f"/approve {run.head}")
    await repo.until(issue, State.DONE)
    await repo.person("admin").write(".github/orchestrate.yml", yaml_of({}), branch="main")
    await says(acme, {})
    await ours.settled()

    def clone(of: Repo) -> Path:
        folder = tmp_path / of.name.replace("/", "-")
        git_in(tmp_path, "clone", "--quiet", str(of.git_dir), str(folder))
        return folder

    here, of_all = clone(repo), clone(acme)

    async def verified(organisation: Path | None = None) -> dict[str, Any]:
        asked = Asked(run.id, here, replay=False, organisation=organisation)
        return await verify_clone(Settings(data_dir=tmp_path / "data"), asked, print)

    found = await verified(of_all)
    assert (found["problems"], found["unchecked"]) == ([], [])
    assert (found["decisions"], found["policies"]) == (2, 2)
    # The server itself has no clone of what the organisation said, and says so.
    for found in (await verified(), await verify_run(ours.server.settings, run.id)):
        assert (found["ok"], found["policies"]) == (True, 0)
        (approval, merge) = found["unchecked"]
        assert (
            "approval of maintainer is not made again: it is also of what `acme/.github`"
            in approval
        )
        assert "the merge is not made again" in merge

    # What the record says of it is changed, as anyone who may push can.
    whole = repo.git("rev-parse", ledger.ref_of(run.id))
    for change, said in FORGED:
        change = {"under": {"commit": run.head}} if change is None else change
        rewrite(repo, run.id, whole, change)
        git_in(here, "update-ref", "-d", ledger.ref_of(run.id))
        assert said in " ".join((await verified(of_all))["problems"])
    # A commit on top of the default branch, with the same configuration, never was that branch.
    rewrite(repo, run.id, whole, {"under": {"commit": ahead(repo, was)}})
    git_in(here, "fetch", "--quiet", "origin")
    git_in(here, "update-ref", "-d", ledger.ref_of(run.id))
    found = await verified(of_all)
    assert "whether the default branch ever stood at" in found["unchecked"][0]
    assert found["policies"] == 1


def ahead(repo: Repo, like: str) -> str:
    """Push a branch that goes on from the default one, with the files of another commit."""
    git = pygit2.Repository(str(repo.git_dir))
    tip, tree = git.revparse_single("main"), git.revparse_single(f"{like}^{{tree}}")
    who = pygit2.Signature("Mallory", "mallory@example.com")
    return str(git.create_commit("refs/heads/ahead", who, who, "Ahead", tree.id, [tip.id]))


def git_in(folder: Path, *args: str) -> None:
    """Run the git of whoever has a clone."""
    subprocess.run(["git", "-C", str(folder), *args], check=True)


FORGED: list[tuple[dict[str, Any] | None, str]] = [
    ({"under": {"bounds": {}}}, "one of them was changed afterwards"),
    ({"policy": "0" * 16}, "was merged under another policy than it was approved under"),
    (None, "and the default branch has no such commit"),
]
"""What is written into an approval; nothing stands for a commit of the run's own branch."""


def rewrite(repo: Repo, run: str, tip: str, change: Mapping[str, object]) -> None:
    """Write the whole record that ends with `tip` anew, with other approvals in it."""
    git = pygit2.Repository(str(repo.git_dir))
    first, *later = reversed(list(ledger.chain(git, tip)))
    new = first.id
    for old in later:
        events = [dict(each) for each in ledger.events_of(git, old)]
        for each in events:
            if each["type"] == "approved":
                each["data"] = changed(each["data"], change)
        tree = git.TreeBuilder(old.tree)
        content = git.create_blob(b"".join(map(ledger.line_of, events)))
        tree.insert(ledger.EVENTS, content, pygit2.enums.FileMode.BLOB)
        who, parents = (old.author, old.committer), [new, *old.parent_ids[1:]]
        new = git.create_commit(None, *who, old.message, tree.write(), parents)
    repo.git("update-ref", ledger.ref_of(run), str(new))


def changed(data: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a change over what an event says, and over what is within it."""
    return {
        **data,
        **{
            key: {**data[key], **value} if isinstance(value, Mapping) else value
            for key, value in change.items()
        },
    }
