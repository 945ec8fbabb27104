"""Asking GitHub, when GitHub does not do as it should."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
import respx

from bot.errors import OperatorError, OrchestrateError, Refused, TransientError
from bot.github.breaker import FAILURES
from bot.github.client import CHANGE, MEMBERS, TALK, GitHubApp, Session
from tests.bot.github.runs import REPOSITORY

API = "https://git.example/api/v3"
TOKENS = f"{API}/app/installations/3/access_tokens"
ISSUE = f"{API}/repos/acme/widgets/issues/1"
PATH = "/repos/acme/widgets/issues/1"

Body = dict[str, Any]


@pytest.fixture
async def app(key: str) -> AsyncIterator[GitHubApp]:
    app = GitHubApp(api_url=API, app_id=1, private_key=key, spacing=0.0)
    yield app
    await app.close()


@pytest.fixture
def github() -> Iterator[respx.MockRouter]:
    with respx.mock(assert_all_called=False) as router:
        router.post(TOKENS).mock(side_effect=tokens())
        yield router


def tokens() -> Callable[[httpx.Request], httpx.Response]:
    made = 0

    def mint(_request: httpx.Request) -> httpx.Response:
        nonlocal made
        made += 1
        body = {"token": f"token-{made}", "expires_at": "2999-01-01T00:00:00Z"}
        return httpx.Response(201, json=body)

    return mint


@pytest.fixture
def session(app: GitHubApp) -> Session:
    return app.session(REPOSITORY)


async def refusal(session: Session, answer: httpx.Response | Exception) -> OrchestrateError:
    with respx.mock(assert_all_called=False) as router:
        router.post(TOKENS).mock(side_effect=tokens())
        effect = {"side_effect": answer} if isinstance(answer, Exception) else {}
        value = {} if isinstance(answer, Exception) else {"return_value": answer}
        router.patch(ISSUE).mock(**effect, **value)  # type: ignore[arg-type]
        with pytest.raises(OrchestrateError) as told:
            await session.patch(PATH, {"body": "x"})
    return told.value


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_server_error_passes(session: Session, status: int) -> None:
    assert isinstance(await refusal(session, httpx.Response(status)), TransientError)


@pytest.mark.parametrize(
    "fault", [httpx.ReadTimeout("slow"), httpx.ConnectError("gone"), httpx.ReadError("broken")]
)
async def test_a_broken_connection_passes(session: Session, fault: Exception) -> None:
    assert isinstance(await refusal(session, fault), TransientError)


@pytest.mark.parametrize("body", [b"<html>", b'{"id": ', b"\xff\xfe"])
async def test_an_answer_that_is_no_json_passes(session: Session, body: bytes) -> None:
    assert isinstance(await refusal(session, httpx.Response(200, content=body)), TransientError)


@pytest.mark.parametrize("status", [403, 404, 405, 409, 410, 422, 451])
async def test_a_no_is_refused_in_github_s_own_words(session: Session, status: int) -> None:
    body = {"message": "Validation Failed", "errors": [{"message": "It is too long."}]}
    error = await refusal(session, httpx.Response(status, json=body))
    assert isinstance(error, Refused)
    assert error.status == status
    assert str(error) == (
        f"GitHub refused PATCH {PATH} ({status}): Validation Failed: It is too long."
    )


async def test_a_secondary_limit_waits_as_long_as_it_says(session: Session) -> None:
    body = {"message": "You have exceeded a secondary rate limit."}
    error = await refusal(session, httpx.Response(403, json=body, headers={"retry-after": "7"}))
    assert isinstance(error, TransientError)
    assert error.retry_after == 7.0


async def test_a_secondary_limit_that_names_no_time_waits_a_minute(session: Session) -> None:
    body = {"message": "You have exceeded a secondary rate limit."}
    error = await refusal(session, httpx.Response(403, json=body))
    assert isinstance(error, TransientError)
    assert error.retry_after == 60.0


async def test_a_primary_limit_waits_until_the_reset(session: Session) -> None:
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(time.time()) + 100)}
    error = await refusal(session, httpx.Response(403, json={}, headers=headers))
    assert isinstance(error, TransientError)
    assert error.retry_after == pytest.approx(100, abs=3)


async def test_after_a_limit_nobody_of_the_installation_asks(
    session: Session, app: GitHubApp, github: respx.MockRouter
) -> None:
    route = github.patch(ISSUE).respond(429, json={})
    for _ in range(3):
        with pytest.raises(TransientError) as told:
            await session.patch(PATH, {})
        assert told.value.retry_after == pytest.approx(60, abs=1)
    assert route.call_count == 1


async def test_what_one_process_cannot_reach_another_asks_all_the_same(
    session: Session, key: str, github: respx.MockRouter
) -> None:
    there = github.get(ISSUE).mock(side_effect=httpx.ConnectError("No route to host"))
    for _ in range(FAILURES):
        with pytest.raises(TransientError):
            await session.get(PATH)
    there.mock(return_value=httpx.Response(200, json={}))
    elsewhere = GitHubApp(api_url=API, app_id=1, private_key=key, spacing=0.0)
    await elsewhere.session(REPOSITORY).get(PATH)
    await elsewhere.close()
    asked = there.call_count
    with pytest.raises(TransientError, match="does not answer"):
        await session.get(PATH)
    assert there.call_count == asked == FAILURES + 1


async def test_many_who_ask_at_once_share_one_token(
    session: Session, github: respx.MockRouter
) -> None:
    github.get(ISSUE).respond(200, json={})
    await asyncio.gather(*(session.get(PATH) for _ in range(20)))
    minted = [call for call in github.calls if str(call.request.url) == TOKENS]
    assert len(minted) == 1
    assert b'"repository_ids":[7]' in minted[0].request.content


async def test_a_token_that_github_no_longer_knows_is_renewed_once(
    session: Session, github: respx.MockRouter
) -> None:
    given: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        given.append(request.headers["authorization"])
        return httpx.Response(401 if len(given) == 1 else 200, json={})

    github.get(ISSUE).mock(side_effect=answer)
    await session.get(PATH)
    assert given == ["Bearer token-1", "Bearer token-2"]


async def test_a_second_401_is_an_answer(session: Session, github: respx.MockRouter) -> None:
    route = github.get(ISSUE).respond(401, json={"message": "Bad credentials"})
    with pytest.raises(Refused):
        await session.get(PATH)
    assert route.call_count == 2


async def test_a_write_is_sent_once(session: Session, github: respx.MockRouter) -> None:
    route = github.post(f"{ISSUE}/comments").respond(502)
    with pytest.raises(TransientError):
        await session.post(f"{PATH}/comments", {"body": "x"})
    assert route.call_count == 1


async def test_fields_that_github_adds_or_drops_break_nothing(
    session: Session, github: respx.MockRouter
) -> None:
    github.post(f"{ISSUE}/comments").respond(201, json={"id": 5, "new": {"field": None}})
    answer = await session.post(f"{PATH}/comments", {"body": "x"})
    assert answer.map()["id"] == 5


async def test_a_key_that_is_none_is_the_operator_s_to_mend(github: respx.MockRouter) -> None:
    app = GitHubApp(api_url=API, app_id=1, private_key="nonsense")
    with pytest.raises(OperatorError, match="ORCHESTRATE_PRIVATE_KEY"):
        await app.login()
    await app.close()


async def test_a_key_that_github_does_not_take_is_the_operator_s_to_mend(
    app: GitHubApp, github: respx.MockRouter
) -> None:
    github.get(f"{API}/app").respond(401, json={"message": "A JSON web token could not be decoded"})
    with pytest.raises(OperatorError, match="ORCHESTRATE_APP_ID"):
        await app.login()


async def test_a_list_is_read_page_by_page(session: Session, github: respx.MockRouter) -> None:
    link = {"link": f'<{ISSUE}?page=2>; rel="next"'}
    github.get(ISSUE, params={"page": "1"}).respond(200, json=[{"id": 1}], headers=link)
    github.get(ISSUE, params={"page": "2"}).respond(200, json=[{"id": 2}])
    assert [each["id"] async for each in session.pages(PATH)] == [1, 2]


async def test_every_request_names_the_version_of_the_api(
    session: Session, github: respx.MockRouter
) -> None:
    route = github.get(ISSUE).respond(200, json={})
    await session.get(PATH)
    assert route.calls.last.request.headers["x-github-api-version"] == "2022-11-28"


@pytest.mark.parametrize(
    ("api", "web"),
    [
        ("https://api.github.com", "https://github.com"),
        ("https://git.example/api/v3/", "https://git.example"),
    ],
)
async def test_the_pages_are_found_from_the_api(key: str, api: str, web: str) -> None:
    app = GitHubApp(api_url=api, app_id=1, private_key=key)
    assert app.web_url == web
    await app.close()


async def test_a_token_may_what_its_use_needs_in_one_repository(
    app: GitHubApp, github: respx.MockRouter
) -> None:
    minted = github.post(TOKENS).mock(side_effect=tokens())
    github.route().respond(json={})
    for rights in (TALK, CHANGE, MEMBERS):
        await app.session(REPOSITORY, rights).get(PATH)
        await app.session(REPOSITORY, rights).get(PATH)  # with the same token
    await app.git_token(REPOSITORY)
    await app.reading(3, ".github").get(PATH)
    await app.installation(3).get(PATH)
    asked = [json.loads(call.request.content) for call in minted.calls]
    one: Body = {"repository_ids": [REPOSITORY.id]}
    talk: Body = {
        "checks": "write",
        "issues": "write",
        "pull_requests": "write",
        "contents": "read",
    }
    see: Body = {"metadata": "read"}
    assert asked == [
        {"permissions": {**talk, **see}, **one},
        {"permissions": {"contents": "write", "pull_requests": "write", **see}, **one},
        {"permissions": {"members": "read", **see}, **one},
        {"permissions": {"contents": "write"}, **one},
        {"permissions": {"contents": "read", **see}, "repositories": [".github"]},
        {"permissions": see},
    ]


@pytest.mark.parametrize(
    ("error", "headers", "seconds"),
    [
        ({"type": "RATE_LIMITED", "message": "API rate limit exceeded."}, {}, 60.0),
        ({"message": "You have exceeded a secondary rate limit."}, {"retry-after": "7"}, 7.0),
        (
            {"type": "RATE_LIMITED", "message": "API rate limit exceeded."},
            {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1"},
            1.0,
        ),
        ({"message": "Something went wrong while executing your query. Say `1F`."}, {}, None),
    ],
)
async def test_graphql_says_a_limit_or_a_fault_of_its_own_with_status_200(
    session: Session,
    github: respx.MockRouter,
    error: dict[str, str],
    headers: dict[str, str],
    seconds: float | None,
) -> None:
    answer = httpx.Response(200, json={"data": None, "errors": [error]}, headers=headers)
    github.post("https://git.example/api/graphql").mock(return_value=answer)
    with pytest.raises(TransientError) as told:
        await session.enqueue("PR_1", "a" * 40)
    assert told.value.retry_after == seconds


async def test_what_graphql_refuses_is_a_refusal_in_githubs_words(
    session: Session, github: respx.MockRouter
) -> None:
    error = {"type": "UNPROCESSABLE", "message": "Pull request is in clean status"}
    body = {"data": {"enablePullRequestAutoMerge": None}, "errors": [error]}
    github.post("https://git.example/api/graphql").mock(return_value=httpx.Response(200, json=body))
    with pytest.raises(Refused, match="clean status"):
        await session.merge_later("PR_1", "a" * 40, "squash")


async def test_what_graphql_only_asks_is_no_write(
    app: GitHubApp, session: Session, github: respx.MockRouter
) -> None:
    def no_more() -> None:
        raise TransientError("This process has lost its lease.")

    app.guard = no_more
    asked = {"data": {"node": {"isInMergeQueue": True}}}
    github.post("https://git.example/api/graphql").mock(
        return_value=httpx.Response(200, json=asked)
    )
    assert await session.is_queued("PR_1")
    with pytest.raises(TransientError, match="lost its lease"):
        await session.enqueue("PR_1", "a" * 40)
