"""Every address driven by githubkit: answers parse as its models and as GitHub describes them."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from githubkit import AppAuthStrategy, GitHub, TokenAuthStrategy
from githubkit.exception import RequestFailed

from bot.hub import add_team
from bot.hub.rest import (
    apps,
    checks,
    git,
    history,
    issues,
    orgs,
    pulls,
    repos,
    rulesets,
    statuses,
)
from tests.bot.hub.world import World
from tests.support.github_spec import CheckedTransport, github_spec, github_spec_or_none

W = ("acme", "widgets")

TABLES = (apps, checks, git, history, issues, orgs, pulls, repos, rulesets, statuses)

# Addresses that the description does not have.
UNDESCRIBED = {("GET", "/repos/{owner}/{repo}/contents"), ("GET", "/repositories/{id:int}")}

# githubkit tells its versions apart by types that a checker cannot follow through a variable.
Client = Callable[[Any], Any]


@pytest.fixture
async def checked(world: World) -> AsyncIterator[CheckedTransport]:
    transport = CheckedTransport(world.transport, github_spec_or_none(), "/api/v3")
    yield transport
    assert transport.faults == []


@pytest.fixture
def client(world: World, checked: CheckedTransport) -> Client:
    def make(auth: Any) -> Any:
        if isinstance(auth, str):
            auth = TokenAuthStrategy(world.token() if auth == "bot" else f"user:{auth}")
        return GitHub(
            auth,
            base_url=world.hub.api_url,
            async_transport=checked,
            auto_retry=False,
            http_cache=False,
        )

    return make


async def test_apps_and_installations_parse(world: World, client: Client) -> None:
    app_auth = AppAuthStrategy("1", world.credentials.private_key)
    app = client(app_auth)
    assert (await app.rest.apps.async_get_authenticated()).parsed_data.slug == "orchestrate"
    found = (await app.rest.apps.async_list_installations()).parsed_data
    assert [i.id for i in found] == [1]
    assert (await app.rest.apps.async_get_installation(1)).parsed_data.app_slug == "orchestrate"
    assert (await app.rest.apps.async_get_repo_installation(*W)).parsed_data.id == 1
    token = await app.rest.apps.async_create_installation_access_token(
        1, data={"repositories": ["widgets"], "permissions": {"contents": "read"}}
    )
    assert token.parsed_data.repositories[0].full_name == "acme/widgets"
    installed = client(TokenAuthStrategy(token.parsed_data.token))
    listed = await installed.rest.apps.async_list_repos_accessible_to_installation()
    assert [r.name for r in listed.parsed_data.repositories] == ["widgets"]


async def test_deliveries_parse(world: World, client: Client) -> None:
    app = client(AppAuthStrategy("1", world.credentials.private_key))
    items = (await app.rest.apps.async_list_webhook_deliveries(per_page=2)).parsed_data
    assert len(items) == 2
    whole = (await app.rest.apps.async_get_webhook_delivery(items[0].id)).parsed_data
    assert whole.request.headers
    await app.rest.apps.async_redeliver_webhook_delivery(items[0].id)
    await world.hub.settled()
    newest = (await app.rest.apps.async_list_webhook_deliveries()).parsed_data[0]
    assert (newest.guid, newest.redelivery) == (items[0].guid, True)


async def test_users_limits_and_repositories_parse(world: World, client: Client) -> None:
    admin, bot = client("admin"), client("bot")
    assert (await admin.rest.users.async_get_authenticated()).parsed_data.login == "admin"
    assert (await admin.rest.users.async_get_by_username("reader")).parsed_data.login == "reader"
    assert (await bot.rest.rate_limit.async_get()).parsed_data.resources.core.limit == 5000
    await bot.rest.meta.async_get()
    assert (await bot.rest.repos.async_get(*W)).parsed_data.default_branch == "main"
    by_id = await bot.arequest("GET", f"/repositories/{world.repo.id}")
    assert by_id.json()["full_name"] == "acme/widgets"
    made = await admin.rest.repos.async_create_in_org("acme", name="gears", auto_init=True)
    assert made.parsed_data.full_name == "acme/gears"
    own = await admin.rest.repos.async_create_for_authenticated_user(name="mine", private=True)
    assert own.parsed_data.private


async def test_a_teams_members_parse(world: World, client: Client) -> None:
    add_team(world.hub, "security", "maintainer")
    bot = client("bot")
    found = await bot.rest.teams.async_get_membership_for_user_in_org(
        "acme", "security", "maintainer"
    )
    assert found.parsed_data.state == "active"
    for slug, login in (("security", "writer"), ("nothing", "maintainer")):
        with pytest.raises(RequestFailed) as refused:
            await bot.rest.teams.async_get_membership_for_user_in_org("acme", slug, login)
        assert refused.value.response.status_code == 404


async def test_forks_parse(world: World, client: Client) -> None:
    admin, outsider, bot = client("admin"), client("outsider"), client("bot")
    fork = (await outsider.rest.repos.async_create_fork(*W)).parsed_data
    assert (fork.full_name, fork.fork, fork.parent.full_name, fork.source.full_name) == (
        "outsider/widgets",
        True,
        "acme/widgets",
        "acme/widgets",
    )
    # A fork of a fork comes from there, and at first from the base.
    second = await admin.rest.repos.async_create_fork("outsider", "widgets", name="gadgets")
    assert second.parsed_data.parent.full_name == "outsider/widgets"
    assert second.parsed_data.source.full_name == "acme/widgets"
    listed = (await bot.rest.repos.async_list_forks(*W)).parsed_data
    assert [each.full_name for each in listed] == ["outsider/widgets"]
    put = await outsider.rest.repos.async_create_or_update_file_contents(
        "outsider", "widgets", "new.txt", message="New", content=base64.b64encode(b"n").decode()
    )
    made = await outsider.rest.pulls.async_create(
        *W, title="Strange", head="outsider:main", head_repo="outsider/widgets", base="main"
    )
    assert made.parsed_data.head.sha == put.parsed_data.commit.sha
    assert made.parsed_data.head.repo.full_name == "outsider/widgets"
    maintainer = client("maintainer")
    merged = await maintainer.rest.pulls.async_merge(*W, made.parsed_data.number)
    assert merged.parsed_data.merged
    await admin.rest.repos.async_delete("admin", "gadgets")


async def test_collaborators_branches_and_contents_parse(client: Client) -> None:
    admin, bot = client("admin"), client("bot")
    await admin.rest.repos.async_add_collaborator(*W, "outsider", permission="triage")
    level = await bot.rest.repos.async_get_collaborator_permission_level(*W, "outsider")
    assert (level.parsed_data.permission, level.parsed_data.role_name) == ("read", "triage")
    await admin.rest.repos.async_check_collaborator(*W, "outsider")
    assert len((await bot.rest.repos.async_list_collaborators(*W)).parsed_data) == 5
    await admin.rest.repos.async_remove_collaborator(*W, "outsider")
    assert [b.name for b in (await bot.rest.repos.async_list_branches(*W)).parsed_data] == ["main"]
    assert (await bot.rest.repos.async_get_branch(*W, "main")).parsed_data.name == "main"
    file = (await bot.rest.repos.async_get_content(*W, "README.md")).parsed_data
    assert base64.b64decode(file.content) == b"# Widgets\n"
    assert len((await bot.rest.repos.async_get_content(*W, "widgets")).parsed_data) == 1
    put = await bot.rest.repos.async_create_or_update_file_contents(
        *W, "new.txt", message="New", content=base64.b64encode(b"new").decode()
    )
    assert put.status_code == 201
    sha = put.parsed_data.content.sha
    await bot.rest.repos.async_delete_file(*W, "new.txt", message="Gone", sha=sha)


async def test_issues_comments_reactions_and_labels_parse(client: Client) -> None:
    writer, bot = client("writer"), client("bot")
    rest = bot.rest
    number = (await writer.rest.issues.async_create(*W, title="Slow")).parsed_data.number
    await rest.issues.async_get(*W, number)
    await rest.issues.async_update(*W, number, body="Very", labels=["bug"])
    assert len((await rest.issues.async_list_for_repo(*W, labels="bug")).parsed_data) == 1
    comment = (await rest.issues.async_create_comment(*W, number, body="Hello")).parsed_data
    assert comment.performed_via_github_app is not None
    await rest.issues.async_get_comment(*W, comment.id)
    await rest.issues.async_update_comment(*W, comment.id, body="Hello again")
    assert len((await rest.issues.async_list_comments(*W, number)).parsed_data) == 1
    listed = await rest.issues.async_list_comments_for_repo(*W, since="2020-01-01T00:00:00Z")
    assert len(listed.parsed_data) == 1
    made = await rest.reactions.async_create_for_issue_comment(*W, comment.id, content="eyes")
    assert made.status_code == 201
    again = await rest.reactions.async_create_for_issue_comment(*W, comment.id, content="eyes")
    assert again.status_code == 200
    await rest.reactions.async_list_for_issue_comment(*W, comment.id)
    await rest.reactions.async_delete_for_issue_comment(*W, comment.id, made.parsed_data.id)
    on_issue = await rest.reactions.async_create_for_issue(*W, number, content="rocket")
    await rest.reactions.async_list_for_issue(*W, number)
    await rest.reactions.async_delete_for_issue(*W, number, on_issue.parsed_data.id)
    await rest.issues.async_delete_comment(*W, comment.id)
    await rest.issues.async_create_label(*W, name="later", color="00ff00")
    await rest.issues.async_get_label(*W, "later")
    assert len((await rest.issues.async_list_labels_for_repo(*W)).parsed_data) == 2
    await rest.issues.async_add_labels(*W, number, labels=["later"])
    assert len((await rest.issues.async_list_labels_on_issue(*W, number)).parsed_data) == 2
    await rest.issues.async_remove_label(*W, number, "bug")
    await rest.issues.async_set_labels(*W, number, labels=["bug", "later"])


async def test_pull_requests_parse(world: World, client: Client) -> None:
    maintainer, bot = client("maintainer"), client("bot")
    await world.branch("topic")
    made = await bot.rest.pulls.async_create(*W, title="T", head="topic", base="main", draft=True)
    number = made.parsed_data.number
    assert (await bot.rest.pulls.async_get(*W, number)).parsed_data.mergeable is True
    listed = await bot.rest.pulls.async_list(*W, head="acme:topic", state="all")
    assert [p.number for p in listed.parsed_data] == [number]
    await bot.rest.pulls.async_update(*W, number, body="Closes #1")
    files = (await bot.rest.pulls.async_list_files(*W, number)).parsed_data
    assert [f.filename for f in files] == ["new.txt"]
    assert len((await bot.rest.pulls.async_list_commits(*W, number)).parsed_data) == 1
    await bot.rest.pulls.async_request_reviewers(*W, number, reviewers=["maintainer", "reader"])
    await bot.rest.pulls.async_remove_requested_reviewers(*W, number, reviewers=["reader"])
    asked = (await bot.rest.pulls.async_list_requested_reviewers(*W, number)).parsed_data
    assert [u.login for u in asked.users] == ["maintainer"]
    await _reviews(maintainer, bot, number)
    ready = "mutation($id: ID!) { markPullRequestReadyForReview(input: {pullRequestId: $id}) "
    ready += "{ pullRequest { isDraft } } }"
    await bot.async_graphql(ready, {"id": made.parsed_data.node_id})
    merged = await maintainer.rest.pulls.async_merge(*W, number, merge_method="squash")
    assert merged.parsed_data.merged
    await bot.rest.pulls.async_check_if_merged(*W, number)


async def _reviews(maintainer: Any, bot: Any, number: int) -> None:
    line = {"path": "new.txt", "line": 1, "body": "Why?"}
    pending = await maintainer.rest.pulls.async_create_review(*W, number, comments=[line])
    review = pending.parsed_data.id
    await maintainer.rest.pulls.async_submit_review(
        *W, number, review, event="REQUEST_CHANGES", body="No"
    )
    await bot.rest.pulls.async_get_review(*W, number, review)
    assert len((await bot.rest.pulls.async_list_reviews(*W, number)).parsed_data) == 1
    of_review = await bot.rest.pulls.async_list_comments_for_review(*W, number, review)
    comment = of_review.parsed_data[0].id
    await bot.rest.pulls.async_create_reply_for_review_comment(*W, number, comment, body="So.")
    listed = (await bot.rest.pulls.async_list_review_comments(*W, number)).parsed_data
    assert listed[1].in_reply_to_id == comment
    assert len((await bot.rest.pulls.async_list_review_comments_for_repo(*W)).parsed_data) == 2
    await bot.rest.pulls.async_get_review_comment(*W, comment)
    await maintainer.rest.pulls.async_update_review_comment(*W, comment, body="Why so?")
    head = (await bot.rest.pulls.async_get(*W, number)).parsed_data.head.sha
    await bot.rest.pulls.async_create_review_comment(
        *W, number, body="There", commit_id=head, path="new.txt", line=1
    )
    rest = bot.rest.reactions
    made = await rest.async_create_for_pull_request_review_comment(*W, comment, content="eyes")
    await rest.async_list_for_pull_request_review_comment(*W, comment)
    await rest.async_delete_for_pull_request_comment(*W, comment, made.parsed_data.id)
    await maintainer.rest.pulls.async_dismiss_review(*W, number, review, message="Done")


async def test_git_data_and_commits_parse(client: Client) -> None:
    bot = client("bot")
    rest = bot.rest.git
    main = (await rest.async_get_ref(*W, "heads/main")).parsed_data.object_.sha
    blob = (await rest.async_create_blob(*W, content="hi\n")).parsed_data.sha
    await rest.async_get_blob(*W, blob)
    entry: Any = {"path": "a/b.txt", "mode": "100644", "type": "blob", "sha": blob}
    tree = (await rest.async_create_tree(*W, tree=[entry], base_tree=main)).parsed_data.sha
    names = (await rest.async_get_tree(*W, tree, recursive="1")).parsed_data.tree
    assert "a/b.txt" in [e.path for e in names]
    commit = await rest.async_create_commit(*W, message="By API", tree=tree, parents=[main])
    assert commit.parsed_data.verification.verified
    sha = commit.parsed_data.sha
    await rest.async_get_commit(*W, sha)
    await rest.async_create_ref(*W, ref="refs/heads/api", sha=main)
    await rest.async_update_ref(*W, "heads/api", sha=sha)
    assert len((await rest.async_list_matching_refs(*W, "heads/a")).parsed_data) == 1
    repos_ = bot.rest.repos
    assert (await repos_.async_get_commit(*W, "api")).parsed_data.files[0].filename == "a/b.txt"
    assert len((await repos_.async_list_commits(*W, sha="api", per_page=1)).parsed_data) == 1
    compared = (await repos_.async_compare_commits(*W, "main...api")).parsed_data
    assert (compared.status, compared.ahead_by) == ("ahead", 1)
    await repos_.async_get_combined_status_for_ref(*W, "api")
    await rest.async_delete_ref(*W, "heads/api")


async def test_check_runs_and_suites_parse(world: World, client: Client) -> None:
    bot = client("bot")
    head = await world.branch("topic")
    rest = bot.rest.checks
    note: Any = {"path": "new.txt", "start_line": 1, "end_line": 1, "annotation_level": "warning",
                 "message": "odd"}  # fmt: skip
    button: Any = {"label": "Undo", "identifier": "undo", "description": "Take it back"}
    made = await rest.async_create(
        *W, name="pytest", head_sha=head, status="in_progress", actions=[button]
    )
    run = made.parsed_data.id
    output: Any = {"title": "2 passed", "summary": "fine", "annotations": [note]}
    done = await rest.async_update(*W, run, conclusion="success", output=output)
    assert done.parsed_data.output.annotations_count == 1
    await rest.async_get(*W, run)
    assert (await rest.async_list_annotations(*W, run)).parsed_data[0].message == "odd"
    assert (await rest.async_list_for_ref(*W, head)).parsed_data.total_count == 1
    suites = (await rest.async_list_suites_for_ref(*W, head)).parsed_data
    assert suites.check_suites[0].conclusion == "success"
    await rest.async_get_suite(*W, suites.check_suites[0].id)
    await rest.async_list_for_suite(*W, suites.check_suites[0].id)
    await rest.async_rerequest_suite(*W, suites.check_suites[0].id)
    await rest.async_rerequest_run(*W, run)


async def test_who_set_labels_and_who_pushed_parse(world: World, client: Client) -> None:
    admin, writer, bot = client("admin"), client("writer"), client("bot")
    made = await admin.rest.issues.async_create(*W, title="A", labels=["bug"])
    number = made.parsed_data.number
    await writer.rest.issues.async_remove_label(*W, number, "bug")
    told = (await bot.rest.issues.async_list_events(*W, number)).parsed_data
    assert [(each.event, each.actor.login) for each in told] == [
        ("labeled", "admin"),
        ("unlabeled", "writer"),
    ]

    main = (await bot.rest.git.async_get_ref(*W, "heads/main")).parsed_data.object_.sha
    await writer.rest.git.async_create_ref(*W, ref="refs/heads/told", sha=main)
    content = base64.b64encode(b"told").decode()
    put = await writer.rest.repos.async_create_or_update_file_contents(
        *W, "told.txt", message="Told", content=content, branch="told"
    )
    await admin.rest.git.async_update_ref(*W, "heads/told", sha=main, force=True)
    await admin.rest.git.async_delete_ref(*W, "heads/told")
    for ref in ("told", "refs/heads/told"):
        moves = (await bot.rest.repos.async_list_activities(*W, ref=ref)).parsed_data
        assert [(each.activity_type, each.actor.login) for each in moves] == [
            ("branch_deletion", "admin"),
            ("force_push", "admin"),
            ("push", "writer"),
            ("branch_creation", "writer"),
        ]
        assert moves[2].after == put.parsed_data.commit.sha
    assert (await bot.rest.repos.async_list_activities(*W, ref="main")).parsed_data == []


async def test_statuses_and_rules_parse(world: World, client: Client) -> None:
    head = await world.branch("topic")
    writer, admin, bot = client("writer"), client("admin"), client("bot")
    repos_ = writer.rest.repos
    made = await repos_.async_create_commit_status(*W, head, state="pending", context="ci/build")
    assert made.parsed_data.creator.login == "writer"
    await repos_.async_create_commit_status(*W, head, state="success", context="ci/build")
    together = (await bot.rest.repos.async_get_combined_status_for_ref(*W, head)).parsed_data
    assert (together.state, together.total_count) == ("success", 1)
    assert len((await repos_.async_list_commit_statuses_for_ref(*W, head)).parsed_data) == 2
    rules: Any = [
        {"type": "required_linear_history"},
        {
            "type": "pull_request",
            "parameters": {
                "required_approving_review_count": 1,
                "dismiss_stale_reviews_on_push": True,
                "require_code_owner_review": False,
                "require_last_push_approval": False,
                "required_review_thread_resolution": False,
            },
        },
    ]
    where: Any = {"ref_name": {"include": ["~DEFAULT_BRANCH"], "exclude": []}}
    ruleset = await admin.rest.repos.async_create_repo_ruleset(
        *W, name="careful", target="branch", enforcement="active", conditions=where, rules=rules
    )
    found = (await bot.rest.repos.async_get_branch_rules(*W, "main")).parsed_data
    assert [each.type for each in found] == ["required_linear_history", "pull_request"]
    assert (await bot.rest.repos.async_get_branch_rules(*W, "topic")).parsed_data == []
    await admin.rest.repos.async_delete_repo_ruleset(*W, ruleset.parsed_data.id)
    none: Any = None
    await admin.rest.repos.async_update_branch_protection(
        *W, "main", required_status_checks=none, enforce_admins=none, restrictions=none,
        required_pull_request_reviews=none, required_linear_history=True,
    )  # fmt: skip
    await admin.rest.repos.async_create_commit_signature_protection(*W, "main")
    await admin.rest.repos.async_update(*W, allow_auto_merge=True)


def test_every_address_is_described_by_github() -> None:
    spec = github_spec()
    tables = TABLES
    routes = {(m, path) for t in tables for m, path, _ in t.TABLE} - UNDESCRIBED
    missing = [(m, p) for m, p in sorted(routes) if spec.find(m, _example(p)) is None]
    assert missing == []


def _example(path: str) -> str:
    return re.sub(r"\{[^}]+\}", "1", path.replace("{basehead:path}", "1...2"))


def test_every_described_address_was_driven() -> None:
    """Stands last in this module, and counts what those before it did."""
    spec = github_spec()
    tables = TABLES
    routes = {(m, path) for t in tables for m, path, _ in t.TABLE} - UNDESCRIBED
    wanted = {op.id for m, p in routes if (op := spec.find(m, _example(p)))}
    if len(spec.seen) < len(wanted) // 2:
        pytest.skip("Run the whole module in one process to count what was driven.")
    assert wanted - spec.seen == set()
