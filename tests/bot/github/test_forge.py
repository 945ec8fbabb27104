"""Merging exactly what was approved, and saying plainly why not."""

from __future__ import annotations

import pytest

from bot.errors import TransientError
from bot.github.client import GitHubApp
from bot.github.forge import GitHubForge
from bot.runs.model import Approval, Run
from bot.runs.ports import Later, Merged, NotMerged
from bot.runs.store import Store
from bot.runs.transitions import State
from policies.facts import BranchRules
from tests.bot.github.runs import AT, HEAD, REPOSITORY, a_result, a_run
from tests.bot.github.standin import GitHub

APPROVAL = Approval(by="maintainer", sha=HEAD, tree="1" * 40, how="command", at=AT)
RULES = BranchRules()
LANDED = Merged("f" * 40)


@pytest.fixture
async def run(forge: GitHubForge) -> Run:
    """A run whose pull request is open."""
    shown = a_run(State.VALIDATING, pull_request=None)
    number = await forge.show(shown, [a_result()])
    return a_run(State.MERGING, pull_request=number, approvals=(APPROVAL,))


async def test_the_approved_head_is_merged_also_from_a_draft(
    forge: GitHubForge, there: GitHub, run: Run
) -> None:
    assert there.pulls[0]["draft"]
    assert await forge.merge(run, APPROVAL, "squash", RULES) == LANDED
    assert there.pulls[0]["merged"]


async def test_merging_again_is_merged(forge: GitHubForge, there: GitHub, run: Run) -> None:
    there.faults.fail("PUT", "*/merge", after=True)
    with pytest.raises(TransientError):
        await forge.merge(run, APPROVAL, "merge", RULES)
    assert await forge.merge(run, APPROVAL, "merge", RULES) == LANDED
    assert len([r for r in there.requests if r.endswith("/merge")]) == 1


async def test_a_head_that_moved_is_named(forge: GitHubForge, there: GitHub, run: Run) -> None:
    there.pulls[0]["head"]["sha"] = "b" * 40
    landed = await forge.merge(run, APPROVAL, "merge", RULES)
    assert isinstance(landed, NotMerged)
    assert landed.reason == "The head is `bbbbbbb` now; `abc1234` was approved."
    assert not any(r.startswith("PUT") for r in there.requests)


async def test_a_head_that_moves_while_merging_is_named(
    forge: GitHubForge, there: GitHub, run: Run
) -> None:
    there.pulls[0]["draft"] = False
    there.merge_no = (409, "Head branch was modified. Review and try the merge again.")
    there.on_merge = lambda: there.pulls[0]["head"].update(sha="b" * 40)
    landed = await forge.merge(run, APPROVAL, "merge", RULES)
    assert isinstance(landed, NotMerged)
    assert landed.reason == "The head is `bbbbbbb` now; `abc1234` was approved."


async def test_a_closed_pull_request_is_not_merged(
    forge: GitHubForge, there: GitHub, run: Run
) -> None:
    there.pulls[0]["state"] = "closed"
    landed = await forge.merge(run, APPROVAL, "merge", RULES)
    assert isinstance(landed, NotMerged)
    assert "is closed" in landed.reason


@pytest.mark.parametrize(
    ("status", "message", "state", "reason"),
    [
        (405, "Pull Request is not mergeable", "dirty", "It conflicts with `main`."),
        (409, "Merge conflict", "unknown", "It conflicts with `main`."),
        (
            405,
            "Squash merges are not allowed on this repository.",
            "clean",
            "GitHub does not merge in this way: Squash merges are not allowed on this repository.",
        ),
        (
            403,
            "Resource not accessible by integration",
            "clean",
            "The App may not merge here: Resource not accessible by integration.",
        ),
        (
            405,
            "Pull Request is not mergeable",
            "behind",
            "The branch must have the newest commits of its base.",
        ),
        (422, "Not mergeable", "clean", "GitHub does not merge it: Not mergeable."),
    ],
)
async def test_why_github_does_not_merge_is_said_with_the_next_step(
    forge: GitHubForge,
    there: GitHub,
    run: Run,
    status: int,
    message: str,
    state: str,
    reason: str,
) -> None:
    there.merge_no, there.mergeable_state = (status, message), state
    landed = await forge.merge(run, APPROVAL, "squash", RULES)
    assert isinstance(landed, NotMerged)
    assert landed.reason == reason
    assert landed.next_step


async def test_a_base_that_moved_meanwhile_is_tried_again(
    forge: GitHubForge, there: GitHub, run: Run
) -> None:
    there.merge_no = (405, "Base branch was modified. Review and try the merge again.")
    with pytest.raises(TransientError):
        await forge.merge(run, APPROVAL, "merge", RULES)
    there.merge_no = None
    assert await forge.merge(run, APPROVAL, "merge", RULES) == LANDED


async def test_without_a_pull_request_nothing_is_merged(forge: GitHubForge) -> None:
    landed = await forge.merge(a_run(State.MERGING, pull_request=None), APPROVAL, "merge", RULES)
    assert isinstance(landed, NotMerged)


async def test_a_renamed_repository_is_found_by_its_number(
    forge: GitHubForge, there: GitHub
) -> None:
    moved = REPOSITORY.model_copy(update={"owner": "before", "name": "old", "url": ""})
    run = a_run(repository=moved)
    for _ in range(2):
        assert (await forge.refresh(run)).repository.full_name == "acme/widgets"
    assert there.requests.count("GET /repositories/7") == 1


async def test_git_is_given_an_address_and_a_token(
    forge: GitHubForge, on_stand_in: GitHubApp, store: Store
) -> None:
    assert await forge.remote(REPOSITORY) == ("https://git.example/acme/widgets.git", "t")
    nameless = REPOSITORY.model_copy(update={"url": ""})
    assert forge.clone_url(nameless) == "https://git.example/acme/widgets.git"


async def test_reviews_that_github_asks_for_are_waited_for(
    forge: GitHubForge, there: GitHub, run: Run
) -> None:
    asked = "At least 1 approving review is required by reviewers with write access."
    there.merge_no, there.mergeable_state = (405, asked), "blocked"
    landed = await forge.merge(run, APPROVAL, "merge", BranchRules(reviews=1))
    assert isinstance(landed, Later)
    assert "`main` asks for 1 approving review on GitHub" in landed.reason
