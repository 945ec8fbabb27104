from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from bot.hub.access import person
from bot.hub.actions import comments, reviews
from bot.hub.pages.site import local
from tests.bot.hub.pages_world import BRANCH, World, build

HOME = "/acme/widgets"
ISSUE = f"{HOME}/issues/1"
PULL = f"{HOME}/pull/2"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    found = await build(tmp_path)
    yield found
    await found.hub.stop()


@pytest.fixture
async def site(world: World) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(world.app)
    headers = {"origin": "http://hub.test"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://hub.test", headers=headers
    ) as client:
        yield client


async def read(site: httpx.AsyncClient, path: str, who: str = "") -> str:
    answer = await site.get(path, headers={"cookie": f"user={who}"} if who else {})
    assert answer.status_code == 200, answer.text
    return answer.text


async def post(
    site: httpx.AsyncClient, path: str, who: str, **fields: str | list[str]
) -> httpx.Response:
    return await site.post(path, data=fields, headers={"cookie": f"user={who}"} if who else {})


@pytest.mark.parametrize(
    ("path", "shows"),
    [
        ("/", "acme/widgets"),
        (HOME, "the code</a>"),
        (f"{HOME}/tree/main/src", "widgets"),
        (f"{HOME}/tree/{BRANCH}/src/widgets", "core.py"),
        (f"{HOME}/blob/main/src/widgets/core.py", "from typing import List"),
        (f"{HOME}/blob/{BRANCH}/src/widgets/core.py", "list[float]"),
        (f"{HOME}/blob/main/data.bin", "are no text"),
        (f"{HOME}/commits/main", "Initial commit"),
        (f"{HOME}/commits/{BRANCH}", "Use built-in generics"),
        (f"{HOME}/commit/main", "data.bin"),
        (f"{HOME}/commit/{BRANCH}", "Orchestrate-Checkpoint: 1"),
        (f"{HOME}/compare/main...{BRANCH}", "list[float]"),
        (f"{HOME}/compare/{BRANCH}...main", "Nothing."),
        (f"{HOME}/issues", "Modernise the package"),
        (f"{HOME}/pulls", BRANCH),
        (ISSUE, 'type="checkbox"'),
        (PULL, "proposes"),
        (f"{PULL}/commits", "Use built-in generics"),
        (f"{PULL}/files", "from typing import List"),
        (f"{PULL}/checks", "No checks have run"),
        (f"{PULL}.diff", "+def area(sizes: list[float])"),
        ("/_hub/deliveries", "pull_request.opened"),
        ("/_hub/static/hub.css", "--accent"),
    ],
)
async def test_pages_stand_at_githubs_own_paths(
    site: httpx.AsyncClient, path: str, shows: str
) -> None:
    assert shows in await read(site, path)


@pytest.mark.parametrize(
    "path",
    [
        "/acme/nothing",
        f"{HOME}/issues/99",
        f"{HOME}/pull/1/files",
        f"{HOME}/blob/main/nothing.py",
        f"{HOME}/tree/nowhere",
        f"{HOME}/commit/--help",
        f"{HOME}/compare/main...nowhere",
        f"{HOME}/compare/main",
        f"{HOME}/runs/5",
        "/_hub/deliveries/5",
    ],
)
async def test_what_is_not_there_is_said_in_a_sentence(site: httpx.AsyncClient, path: str) -> None:
    answer = await site.get(path)
    assert answer.status_code == 404
    assert "There is nothing here" in answer.text


async def test_an_issue_number_of_a_pull_request_leads_to_it(site: httpx.AsyncClient) -> None:
    answer = await site.get(f"{HOME}/issues/2")
    assert (answer.status_code, answer.headers["location"]) == (302, PULL)


async def test_files_are_given_so_that_none_runs_as_a_page(site: httpx.AsyncClient) -> None:
    answer = await site.get(f"{HOME}/raw/main/README.md")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_no_page_allows_scripts_or_styles_of_its_own(site: httpx.AsyncClient) -> None:
    answer = await site.get(ISSUE)
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert "<style" not in answer.text
    assert " style=" not in answer.text
    assert "<script>" not in answer.text


async def test_the_visitor_chooses_who_to_be(site: httpx.AsyncClient) -> None:
    answer = await site.post("/_hub/user", data={"user": "writer", "back": ISSUE})
    assert (answer.status_code, answer.headers["location"]) == (303, ISSUE)
    assert "Comment as <strong>writer</strong>" in (await site.get(ISSUE)).text
    await site.post("/_hub/user", data={"user": "", "back": "/"})
    assert "choose who you are" in (await site.get(ISSUE)).text


@pytest.mark.parametrize("name", ["nobody", "orchestrate[bot]", "acme"])
async def test_only_people_can_be_chosen(site: httpx.AsyncClient, name: str) -> None:
    answer = await site.post("/_hub/user", data={"user": name, "back": "/"})
    assert answer.status_code == 404
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("address", ["//evil.example", "https://evil.example", "/\\evil", "", "x"])
def test_one_is_led_back_to_this_site_only(address: str) -> None:
    assert local(address) == "/"


async def test_a_comment_is_written_and_told_to_the_app(
    site: httpx.AsyncClient, world: World
) -> None:
    answer = await post(site, ISSUE, "writer", do="comment", body="/orchestrate go\r\nnow")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(f"{ISSUE}#issuecomment-")
    assert world.comments(1) == ["/orchestrate go\nnow"]
    assert world.events() == ["issue_comment.created"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "", "referer": "http://evil.example/hub.test"}, 403),
        ({"origin": ""}, 403),
        ({"origin": "", "referer": "http://hub.test/acme/widgets"}, 303),
        ({"origin": "http://hub.test"}, 303),
    ],
)
async def test_only_forms_of_this_site_are_taken(
    site: httpx.AsyncClient, world: World, headers: dict[str, str], status: int
) -> None:
    form = {"do": "comment", "body": "hello"}
    answer = await site.post(ISSUE, data=form, headers={**headers, "cookie": "user=writer"})
    assert answer.status_code == status
    assert len(world.comments(1)) == (status == 303)


async def test_nobody_in_particular_is_told_to_choose(
    site: httpx.AsyncClient, world: World
) -> None:
    answer = await post(site, ISSUE, "", do="comment", body="hello")
    assert answer.status_code == 401
    assert "Choose who you are" in answer.text
    assert world.comments(1) == []


async def test_a_refused_form_says_why_and_keeps_what_was_typed(
    site: httpx.AsyncClient, world: World
) -> None:
    answer = await post(site, ISSUE, "reader", do="close", body="")
    assert answer.status_code == 403
    assert "reader may not do this" in answer.text
    long = "x" * 65_537
    answer = await post(site, ISSUE, "reader", do="comment", body=long)
    assert answer.status_code == 422
    assert "Body is too long (maximum is 65536 characters)" in answer.text
    assert long in answer.text
    assert world.comments(1) == []


async def test_an_issue_is_opened_labelled_renamed_and_closed(
    site: httpx.AsyncClient, world: World
) -> None:
    answer = await post(site, f"{HOME}/issues/new", "writer", title="It breaks", body="Really.")
    here = answer.headers["location"]
    assert here == f"{HOME}/issues/3"
    await post(site, here, "writer", do="label", label="orchestrate")
    await post(site, here, "writer", do="retitle", title="It breaks often")
    page = await read(site, here, "writer")
    assert "It breaks often" in page
    assert 'title="Take orchestrate off"' in page
    await post(site, here, "writer", do="unlabel", label="orchestrate")
    await post(site, here, "writer", do="close", body="Mended.")
    issue = world.issue(3)
    assert (issue.labels, issue.state, world.comments(3)) == ((), "closed", ["Mended."])
    assert "closed this" in await read(site, here)
    assert "It breaks often" in await read(site, f"{HOME}/issues?state=closed")


async def test_an_issue_without_a_title_is_refused_and_its_text_kept(
    site: httpx.AsyncClient,
) -> None:
    answer = await post(site, f"{HOME}/issues/new", "writer", title=" ", body="All my words")
    assert answer.status_code == 422
    assert "The title is missing" in answer.text
    assert "All my words" in answer.text


async def test_what_people_write_runs_nowhere(site: httpx.AsyncClient, world: World) -> None:
    evil = "</textarea><script>alert(1)</script>"
    await post(site, ISSUE, "writer", do="comment", body=evil)
    await post(site, ISSUE, "writer", do="retitle", title=evil)
    await post(site, ISSUE, "writer", do="label", label=evil)
    for path in (ISSUE, f"{HOME}/issues", "/_hub/deliveries"):
        assert "<script>alert" not in await read(site, path, "writer")


async def test_a_living_page_is_asked_for_again_cheaply(
    site: httpx.AsyncClient, world: World
) -> None:
    first = await site.get(f"{ISSUE}?fragment=1")
    assert "<html" not in first.text
    assert 'id="timeline"' in first.text
    again = {"if-none-match": first.headers["etag"]}
    assert (await site.get(f"{ISSUE}?fragment=1", headers=again)).status_code == 304
    world.bot_says(1, "News")
    fresh = await site.get(f"{ISSUE}?fragment=1", headers=again)
    assert fresh.status_code == 200
    assert "News" in fresh.text


async def test_reactions_are_counted(site: httpx.AsyncClient, world: World) -> None:
    comments.react(world.hub, world.bot, world.repo, "issue", world.issue(1).id, "eyes")
    assert 'title="orchestrate[bot]">👀 1' in await read(site, ISSUE)


async def test_a_check_run_shows_what_it_found_and_its_buttons(
    site: httpx.AsyncClient, world: World
) -> None:
    run = await world.check(
        "pytest", "failure", title="1 failed", summary="**Sum**", text="- [ ] t"
    )
    await world.check("lint", None, title="In progress")
    for path in (f"{PULL}/checks", f"{HOME}/runs/{run.id}"):
        page = await read(site, path, "writer")
        assert "<strong>Sum</strong>" in page
        assert "src/widgets/core.py:2" in page
        assert "wrong &lt;b&gt;" in page
        assert 'value="approve" title="Merge exactly this commit"' in page
        assert "Re-run" in page
    assert "1 check of 2 failed" in await read(site, PULL)
    await world.check("pytest", "success")
    assert "1 check of 2 not over yet" in await read(site, PULL)


async def test_the_buttons_of_a_check_run_tell_its_app(
    site: httpx.AsyncClient, world: World
) -> None:
    run = await world.check("pytest", "failure")
    here = f"{HOME}/runs/{run.id}"
    answer = await post(site, here, "writer", do="press", identifier="approve", pull="2")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PULL}/checks")
    await post(site, here, "writer", do="rerun")
    pressed = ["check_run.requested_action", "check_run.rerequested"]
    assert world.events()[-2:] == pressed
    refused = await post(site, here, "reader", do="press", identifier="approve")
    assert refused.status_code in (403, 404)
    refused = await post(site, here, "writer", do="press", identifier="no such")
    assert refused.status_code in (404, 422)
    assert world.events()[-2:] == pressed


async def test_a_line_comment_waits_on_the_page_until_the_review_is_sent(
    site: httpx.AsyncClient, world: World
) -> None:
    here = f"{PULL}/files"
    place = "RIGHT:1:src/widgets/core.py"
    opened = await post(site, here, "maintainer", add=place, body="So far")
    assert opened.status_code == 200
    assert f'name="place" value="{place}"' in opened.text
    assert "So far" in opened.text
    second = await post(
        site, here, "maintainer", place=place, line_body="Why?", add="LEFT:4:src/widgets/core.py"
    )
    assert ">Why?</textarea>" in second.text
    assert 'value="LEFT:4:src/widgets/core.py"' in second.text
    assert world.hub.state.reviews.count(number=(world.repo.id, 2)) == 0
    sent = await post(
        site, here, "maintainer", event="REQUEST_CHANGES", body="Nearly",
        place=[place, "LEFT:4:src/widgets/core.py"], line_body=["Why?", " "], sha=world.head,
    )  # fmt: skip
    assert sent.status_code == 303
    (review,) = world.hub.state.reviews.where(number=(world.repo.id, 2))
    assert (review.state, review.body, review.commit_id) == (
        "CHANGES_REQUESTED", "Nearly", world.head,
    )  # fmt: skip
    (comment,) = world.hub.state.review_comments.where(number=(world.repo.id, 2))
    assert (comment.body, comment.line, comment.side) == ("Why?", 1, "RIGHT")
    page = await read(site, PULL)
    assert "asked for changes" in page
    assert "Why?" in page
    assert "Why?" in await read(site, here)


async def test_a_thread_is_answered(site: httpx.AsyncClient, world: World) -> None:
    await post(
        site, f"{PULL}/files", "maintainer", event="COMMENT", body="",
        place="RIGHT:1:src/widgets/core.py", line_body="Why?",
    )  # fmt: skip
    (first,) = world.hub.state.review_comments.where(number=(world.repo.id, 2))
    answer = await post(site, PULL, "writer", do="reply", thread=str(first.id), body="Because.")
    assert answer.status_code == 303
    found = world.hub.state.review_comments.where(number=(world.repo.id, 2))
    assert [(c.body, c.in_reply_to_id) for c in found] == [("Why?", None), ("Because.", first.id)]
    page = await read(site, PULL)
    assert page.count('class="thread"') == 1
    assert page.index("Why?") < page.index("Because.")
    long = "z" * 65_537
    refused = await post(site, PULL, "writer", do="reply", thread=str(first.id), body=long)
    assert refused.status_code == 422
    assert refused.text.count(long) == 1


async def test_a_pull_request_is_approved_and_merged(site: httpx.AsyncClient, world: World) -> None:
    answer = await post(site, PULL, "maintainer", do="review", event="APPROVE", body="")
    assert answer.status_code == 303
    assert "approved" in await read(site, PULL)
    answer = await post(site, PULL, "maintainer", do="merge", method="squash", sha=world.head)
    assert answer.status_code == 303, answer.text
    assert world.pull.merged_at is not None
    page = await read(site, PULL, "maintainer")
    assert '<span class="pill merged">' in page
    assert 'value="merge"' not in page
    assert world.issue(1).state == "closed"
    assert "Use built-in generics" in await read(site, f"{PULL}/commits")
    assert "list[float]" in await read(site, f"{PULL}/files")
    assert "list[float]" in await read(site, f"{HOME}/blob/main/src/widgets/core.py")


@pytest.mark.parametrize(
    ("who", "sha", "status"),
    [("reader", "", 403), ("maintainer", "0" * 40, 409)],
)
async def test_a_merge_is_refused_in_one_sentence(
    site: httpx.AsyncClient, world: World, who: str, sha: str, status: int
) -> None:
    answer = await post(site, PULL, who, do="merge", method="merge", sha=sha or world.head)
    assert answer.status_code == status
    assert 'class="error" role="alert"' in answer.text
    assert world.pull.merged_at is None


async def test_a_draft_is_marked_ready_and_made_a_draft_again(
    site: httpx.AsyncClient, world: World
) -> None:
    await post(site, PULL, "writer", do="draft")
    assert world.pull.draft
    assert '<span class="pill draft">' in await read(site, PULL)
    await post(site, PULL, "writer", do="ready")
    assert not world.pull.draft


@pytest.mark.parametrize("event", ["APPROVE", "nonsense"])
async def test_a_review_that_cannot_be_is_refused_and_its_lines_kept(
    site: httpx.AsyncClient, world: World, event: str
) -> None:
    own = replace(world.issue(2), author_id=person(world.hub, "writer").user.id)
    world.hub.state.issues.put(own)
    answer = await post(
        site, f"{PULL}/files", "writer", event=event, body="Mine",
        place="RIGHT:1:src/widgets/core.py", line_body="A line",
    )  # fmt: skip
    assert answer.status_code == 422
    assert ">A line</textarea>" in answer.text
    assert world.hub.state.reviews.count(number=(world.repo.id, 2)) == 0


async def test_a_webhook_is_sent_again_by_who_administers_a_repository(
    site: httpx.AsyncClient, world: World
) -> None:
    await post(site, ISSUE, "writer", do="comment", body="hello")
    first = list(world.hub.state.deliveries)[-1]
    here = f"/_hub/deliveries/{first.id}"
    assert "issue_comment" in await read(site, "/_hub/deliveries")
    assert first.guid in await read(site, here)
    refused = await post(site, here, "writer")
    assert refused.status_code == 403
    answer = await post(site, here, "admin")
    assert answer.headers["location"] == f"/_hub/deliveries/{first.id + 1}"
    assert [d.guid for d in world.hub.state.deliveries][-2:] == [first.guid] * 2


async def test_a_private_repository_is_for_those_with_a_role(
    site: httpx.AsyncClient, world: World
) -> None:
    world.hub.state.repositories.put(replace(world.repo, private=True))
    await post(site, ISSUE, "writer", do="comment", body="hello")
    for path in ("/", "/_hub/deliveries"):
        text = await read(site, path, "outsider")
        assert "acme/widgets" not in text
        assert "issue_comment" not in text
    assert (await site.get(ISSUE)).status_code == 404
    assert "hello" in await read(site, ISSUE, "reader")


async def test_a_review_that_was_not_sent_is_seen_by_its_author_alone(
    site: httpx.AsyncClient, world: World
) -> None:
    line = {"path": "src/widgets/core.py", "side": "RIGHT", "line": 1, "body": "Secret for now"}
    await reviews.create(
        world.hub, person(world.hub, "maintainer"), world.pull, body="", comments=[line]
    )
    for path in (PULL, f"{PULL}/files"):
        assert "Secret for now" not in await read(site, path, "writer")
        assert "Secret for now" in await read(site, path, "maintainer")


async def test_a_pull_request_is_closed_and_opened_again(
    site: httpx.AsyncClient, world: World
) -> None:
    await post(site, PULL, "writer", do="close", body="")
    assert '<span class="pill closed">' in await read(site, PULL)
    await post(site, PULL, "writer", do="reopen", body="")
    assert '<span class="pill open">' in await read(site, PULL)
    assert world.events() == ["pull_request.closed", "pull_request.reopened"]
