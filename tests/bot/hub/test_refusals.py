"""GitHub's limits and refusals, each with its status and words."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bot.hub.world import REPO, World


def said(answer: Any) -> tuple[int, str]:
    """The status and the most telling sentence of a refusal."""
    body = answer.json()
    first = (body.get("errors") or [""])[0]
    text = first.get("message", "") if isinstance(first, dict) else first
    return answer.status_code, text or body["message"]


@pytest.mark.parametrize("path", ["/nothing", f"{REPO}/issues/99", "/repos/acme/none"])
async def test_what_is_not_there_is_not_found(world: World, path: str) -> None:
    answer = await world.ask("bot", "GET", path)
    assert answer.status_code == 404
    assert set(answer.json()) == {"message", "documentation_url", "status"}


async def test_a_body_holds_65536_characters(world: World) -> None:
    await world.ask("writer", "POST", f"{REPO}/issues", {"title": "Long"})
    path = f"{REPO}/issues/1/comments"
    assert (await world.ask("bot", "POST", path, {"body": "é" * 65_536})).status_code == 201
    answer = await world.ask("bot", "POST", path, {"body": "x" * 65_537})
    assert said(answer) == (422, "body is too long (maximum is 65536 characters)")
    long = {"title": "Long", "body": "x" * 65_537}
    assert (await world.ask("bot", "POST", f"{REPO}/issues", long)).status_code == 422


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"body": "  "}, 422),
        ({}, 422),
        ({"body": 3}, 422),
    ],
)
async def test_a_comment_needs_text(world: World, body: dict[str, Any], status: int) -> None:
    await world.ask("writer", "POST", f"{REPO}/issues", {"title": "One"})
    assert (await world.ask("bot", "POST", f"{REPO}/issues/1/comments", body)).status_code == status


async def test_a_body_that_is_not_json_is_400(world: World) -> None:
    for content in (b"{", b'"text"'):
        answer = await world.client("user:writer").post(f"{REPO}/issues", content=content)
        assert answer.status_code == 400


def _annotations(count: int) -> dict[str, Any]:
    note = {
        "path": "a", "start_line": 1, "end_line": 1, "annotation_level": "notice", "message": "m",
    }  # fmt: skip
    return {"output": {"title": "t", "summary": "s", "annotations": [note] * count}}


def _buttons(count: int, **changed: str) -> dict[str, Any]:
    one = {"label": "Undo", "identifier": "undo", "description": "Take it back", **changed}
    return {"actions": [one] * count}


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (_annotations(50), 201),
        (_annotations(51), 422),
        (_buttons(3), 201),
        (_buttons(4), 422),
        (_buttons(1, label="x" * 21), 422),
        (_buttons(1, identifier="x" * 21), 422),
        (_buttons(1, description="x" * 41), 422),
        ({"output": {"title": "t", "summary": "x" * 65_535}}, 201),
        ({"output": {"title": "t", "summary": "x" * 65_536}}, 422),
        ({"output": {"title": "t", "summary": "s", "text": "x" * 65_536}}, 422),
        ({"output": {"title": "x" * 256, "summary": "s"}}, 422),
        ({"output": {"title": "t"}}, 422),
        ({"conclusion": "splendid"}, 422),
        ({"status": "completed"}, 422),
        ({"completed_at": "yesterday", "conclusion": "success"}, 422),
        ({"head_sha": "0" * 40}, 422),
    ],
)
async def test_a_check_run_keeps_to_its_limits(
    world: World, given: dict[str, Any], status: int
) -> None:
    head = (await world.ask("bot", "GET", f"{REPO}/git/ref/heads/main")).json()["object"]["sha"]
    body = {"name": "pytest", "head_sha": head, **given}
    assert (await world.ask("bot", "POST", f"{REPO}/check-runs", body)).status_code == status


async def test_columns_of_an_annotation_stand_on_one_line(world: World) -> None:
    head = (await world.ask("bot", "GET", f"{REPO}/git/ref/heads/main")).json()["object"]["sha"]
    body = {"name": "pytest", "head_sha": head, **_annotations(1)}
    body["output"]["annotations"][0] |= {"end_line": 2, "start_column": 1}
    assert (await world.ask("bot", "POST", f"{REPO}/check-runs", body)).status_code == 422


async def test_annotations_are_added_and_runs_belong_to_their_app(world: World) -> None:
    head = await world.branch("topic")
    body = {"name": "pytest", "head_sha": head, **_annotations(50)}
    run = (await world.ask("bot", "POST", f"{REPO}/check-runs", body)).json()
    path = f"{REPO}/check-runs/{run['id']}"
    more = await world.ask("bot", "PATCH", path, _annotations(50))
    assert more.json()["output"]["annotations_count"] == 100
    refused = await world.ask("maintainer", "PATCH", path, {"conclusion": "success"})
    assert said(refused) == (403, "You must authenticate via a GitHub App.")


async def test_a_pull_request_exists_once(world: World) -> None:
    await world.pull("topic")
    body = {"title": "Again", "head": "topic", "base": "main"}
    answer = await world.ask("bot", "POST", f"{REPO}/pulls", body)
    assert said(answer) == (422, "A pull request already exists for acme:topic.")


async def test_a_pull_request_needs_commits_and_branches(world: World) -> None:
    path = f"{REPO}/pulls"
    main = (await world.ask("bot", "GET", f"{REPO}/git/ref/heads/main")).json()["object"]["sha"]
    await world.ask("bot", "POST", f"{REPO}/git/refs", {"ref": "refs/heads/same", "sha": main})
    answer = await world.ask("bot", "POST", path, {"title": "T", "head": "same", "base": "main"})
    assert said(answer) == (422, "No commits between main and same")
    for head in ("none", "someone:main"):
        body = {"title": "T", "head": head, "base": "main"}
        answer = await world.ask("bot", "POST", path, body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "head")


async def test_what_may_not_be_merged_says_why(world: World) -> None:
    pull = await world.pull(draft=True)
    path = f"{REPO}/pulls/{pull['number']}/merge"
    answer = await world.ask("maintainer", "PUT", path, {})
    assert said(answer) == (405, "Pull Request is still a draft")
    wanted = f'(input: {{pullRequestId: "{pull["node_id"]}"}}) {{ pullRequest {{ isDraft }} }}'
    query = f"mutation {{ markPullRequestReadyForReview{wanted} }}"
    ready = await world.ask("bot", "POST", f"{world.hub.url}/api/graphql", {"query": query})
    assert ready.json()["data"]["markPullRequestReadyForReview"]["pullRequest"]["isDraft"] is False
    old = pull["head"]["sha"]
    await world.commit("topic", "new.txt", "newer\n")
    answer = await world.ask("maintainer", "PUT", path, {"sha": old})
    assert said(answer) == (
        409,
        "Head branch was modified. Review and try the merge again.",
    )
    await world.commit("main", "new.txt", "another\n")
    shown = (await world.ask("bot", "GET", f"{REPO}/pulls/{pull['number']}")).json()
    assert (shown["mergeable"], shown["mergeable_state"]) == (False, "dirty")
    answer = await world.ask("maintainer", "PUT", path, {})
    assert said(answer) == (405, "Pull Request is not mergeable")


@pytest.mark.parametrize(
    ("who", "status"), [("reader", 403), ("outsider", 403), ("writer", 200), ("bot", 200)]
)
async def test_merging_needs_the_role_write(world: World, who: str, status: int) -> None:
    pull = await world.pull()
    answer = await world.ask(who, "PUT", f"{REPO}/pulls/{pull['number']}/merge", {})
    assert answer.status_code == status


async def test_nobody_approves_their_own_pull_request(world: World) -> None:
    pull = await world.pull(who="writer")
    path = f"{REPO}/pulls/{pull['number']}/reviews"
    for event, doing in (("APPROVE", "approve"), ("REQUEST_CHANGES", "request changes on")):
        answer = await world.ask("writer", "POST", path, {"event": event, "body": "x"})
        assert said(answer) == (422, f"Review Can not {doing} your own pull request")
    answer = await world.ask("writer", "POST", path, {"event": "COMMENT", "body": "x"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("comment", "message"),
    [
        ({"path": "none.txt", "line": 1, "body": "x"}, "Path could not be resolved"),
        ({"path": "new.txt", "line": 9, "body": "x"}, "Line could not be resolved"),
        ({"path": "new.txt", "line": 1, "side": "LEFT", "body": "x"}, "Line could not be resolved"),
    ],
)
async def test_a_line_comment_stands_in_the_difference(
    world: World, comment: dict[str, Any], message: str
) -> None:
    pull = await world.pull()
    body = {"event": "COMMENT", "body": "x", "comments": [comment]}
    answer = await world.ask("reader", "POST", f"{REPO}/pulls/{pull['number']}/reviews", body)
    assert said(answer) == (422, message)


async def test_reviews_are_asked_of_collaborators_alone(world: World) -> None:
    pull = await world.pull(who="writer")
    path = f"{REPO}/pulls/{pull['number']}/requested_reviewers"
    for login in ("outsider", "nobody", "writer"):
        answer = await world.ask("bot", "POST", path, {"reviewers": [login]})
        assert answer.status_code == 422
    assert (await world.ask("bot", "POST", path, {"reviewers": ["reader"]})).status_code == 201


async def test_a_ref_goes_forward_or_by_force(world: World) -> None:
    main = (await world.ask("bot", "GET", f"{REPO}/git/ref/heads/main")).json()["object"]["sha"]
    head = await world.branch("topic")
    path = f"{REPO}/git/refs/heads/topic"
    answer = await world.ask("bot", "PATCH", path, {"sha": main})
    assert said(answer) == (422, "Update is not a fast forward")
    assert (await world.ask("bot", "PATCH", path, {"sha": main, "force": True})).status_code == 200
    assert (await world.ask("bot", "PATCH", path, {"sha": head})).status_code == 200
    answer = await world.ask("bot", "PATCH", path, {"sha": "0" * 40})
    assert said(answer) == (422, "Object does not exist")
    answer = await world.ask(
        "bot", "POST", f"{REPO}/git/refs", {"ref": "refs/heads/topic", "sha": main}
    )
    assert said(answer) == (422, "Reference already exists")
    assert (await world.ask("bot", "DELETE", f"{REPO}/git/refs/heads/main")).status_code == 422


async def test_workflow_files_need_the_permission_workflows(world: World) -> None:
    path = ".github/workflows/ci.yml"
    put = await world.ask(
        "bot", "PUT", f"{REPO}/contents/{path}", {"message": "CI", "content": "YQ=="}
    )
    assert said(put) == (403, "Resource not accessible by integration")
    await world.branch("ci", path)
    body = {"title": "CI", "head": "ci", "base": "main"}
    pull = (await world.ask("bot", "POST", f"{REPO}/pulls", body)).json()
    answer = await world.ask("bot", "PUT", f"{REPO}/pulls/{pull['number']}/merge", {})
    assert said(answer) == (
        403,
        "refusing to allow a GitHub App to create or update workflow "
        f"`{path}` without `workflows` permission",
    )


async def test_others_texts_are_changed_by_those_who_write(world: World) -> None:
    await world.ask("reader", "POST", f"{REPO}/issues", {"title": "Mine", "labels": ["bug"]})
    issue = (await world.ask("bot", "GET", f"{REPO}/issues/1")).json()
    assert issue["labels"] == []  # a reader labels nothing
    comment = (
        await world.ask("reader", "POST", f"{REPO}/issues/1/comments", {"body": "Mine"})
    ).json()
    path = f"{REPO}/issues/comments/{comment['id']}"
    assert (await world.ask("outsider", "PATCH", path, {"body": "x"})).status_code == 403
    assert (await world.ask("bot", "PATCH", path, {"body": "x"})).status_code == 403
    assert (await world.ask("writer", "PATCH", path, {"body": "x"})).status_code == 200
    path = f"{REPO}/issues/1"
    assert (await world.ask("outsider", "PATCH", path, {"state": "closed"})).status_code == 403
    assert (await world.ask("reader", "PATCH", path, {"state": "closed"})).status_code == 200
    assert (
        await world.ask("reader", "POST", f"{path}/labels", {"labels": ["x"]})
    ).status_code == 403


async def test_other_graphql_is_answered_with_an_error_that_says_so(world: World) -> None:
    answer = await world.ask(
        "bot", "POST", f"{world.hub.url}/api/graphql", {"query": "{ viewer { login } }"}
    )
    assert "use REST" in answer.json()["errors"][0]["message"]
