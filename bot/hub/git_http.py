"""Git's smart HTTP: a bridge to `git http-backend`, with GitHub's refusals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from bot.hub.access import (
    Actor,
    Anonymous,
    AppItself,
    Installed,
    Person,
    at_least,
    can_see,
    role_of,
    somebody,
)
from bot.hub.actions import forks, pushes
from bot.hub.auth import authenticate
from bot.hub.core import Hub
from bot.hub.records import Repository
from bot.hub.refusals import Refusal
from bot.hub.repositories import clean_environment
from bot.hub.rest.door import befall, refuse_after

# A clone of anything a hub holds is done long before; a hanging git must end some time.
TIMEOUT = 300.0

CHUNK = 65_536

UPLOAD, RECEIVE = "git-upload-pack", "git-receive-pack"

Endpoint = Callable[[Request], Awaitable[Response]]


def routes(hub: Hub) -> list[Route]:
    """The addresses that git asks for, with and without `.git`."""

    def served(service: str | None) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            return await _answer(hub, request, service)

        return endpoint

    return [
        Route("/{owner}/{repo}" + suffix + path, served(service), methods=[method])
        for suffix in (".git", "")
        for method, path, service in (
            ("GET", "/info/refs", None),
            ("POST", f"/{UPLOAD}", UPLOAD),
            ("POST", f"/{RECEIVE}", RECEIVE),
        )
    ]


async def _answer(hub: Hub, request: Request, service: str | None) -> Response:
    try:
        rules = await befall(hub, request.method, request.url.path)
        actor = authenticate(hub, request.headers.get("authorization"))
        wanted = service or request.query_params.get("service", "")
        repo = _allowed(hub, request, actor, wanted)
        environment = _environment(hub, request, actor, repo, service)
        if service != RECEIVE:
            return await _streamed(request, environment)
        answer = await _received(hub, request, actor, repo, environment)
        refuse_after(rules)
    except Refusal as refusal:
        headers = {"WWW-Authenticate": 'Basic realm="GitHub"'} if refusal.code == 401 else {}
        return PlainTextResponse(refusal.message, refusal.code, headers | refusal.headers)
    return answer


def _allowed(hub: Hub, request: Request, actor: Actor, service: str) -> Repository:
    if service not in (UPLOAD, RECEIVE):
        raise Refusal(403, "Please upgrade your git client.")
    name = f"{request.path_params['owner']}/{request.path_params['repo']}"
    repo = hub.repository(name)
    if repo is None or isinstance(actor, AppItself) or not can_see(actor, repo):
        if isinstance(actor, Anonymous):
            raise Refusal(401, "Repository not found.")
        raise Refusal(404, "Repository not found.")
    if service == RECEIVE:
        _may_push(hub, actor, repo, name)
    elif isinstance(actor, Installed) and repo.private and not actor.has("contents", "read"):
        raise Refusal(403, "Resource not accessible by integration")
    return repo


def _may_push(hub: Hub, actor: Actor, repo: Repository, name: str) -> None:
    if isinstance(actor, Anonymous):
        raise Refusal(401, "Authentication is needed to push.")
    if isinstance(actor, Person) and not _writes(actor, repo) and not _only(hub, actor, repo):
        raise Refusal(403, f"Permission to {name}.git denied to {actor.user.login}.")
    if isinstance(actor, Installed) and not (actor.covers(repo) and actor.has("contents", "write")):
        raise Refusal(403, f"Permission to {name}.git denied to {actor.user.login}.")


def _writes(actor: Actor, repo: Repository) -> bool:
    return isinstance(actor, Person) and at_least(role_of(repo, actor.user), "write")


def _only(hub: Hub, actor: Actor, repo: Repository) -> tuple[str, ...]:
    """The only refs that a person without a role here may push to, where there are any."""
    if isinstance(actor, Person) and not _writes(actor, repo):
        return forks.may_modify(hub, actor, repo)
    return ()


def _environment(
    hub: Hub, request: Request, actor: Actor, repo: Repository, service: str | None
) -> dict[str, str]:
    """CGI's variables, and what the hook is to refuse."""
    bare = hub.bare(repo).folder
    headers = request.headers
    given = {
        "CONTENT_LENGTH": headers.get("content-length"),
        "HTTP_CONTENT_ENCODING": headers.get("content-encoding"),
        "GIT_PROTOCOL": headers.get("git-protocol"),
        "HUB_REFUSED_REFS": hub.faults.refused_refs,
        "HUB_ONLY_REFS": " ".join(_only(hub, actor, repo)) or None,
    }
    if isinstance(actor, Installed) and not actor.has("workflows", "write"):
        given["HUB_FORBID_WORKFLOWS"] = "1"
    login = "anonymous" if isinstance(actor, (Anonymous, AppItself)) else actor.user.login
    return clean_environment(
        GIT_PROJECT_ROOT=str(bare.parent),
        GIT_HTTP_EXPORT_ALL="1",
        PATH_INFO=f"/{bare.name}/{service or 'info/refs'}",
        REQUEST_METHOD=request.method,
        QUERY_STRING=request.url.query,
        CONTENT_TYPE=headers.get("content-type", ""),
        REMOTE_USER=login,
        REMOTE_ADDR="127.0.0.1",
        **{name: value for name, value in given.items() if value is not None},
    )


async def _start(environment: dict[str, str]) -> Process:
    return await asyncio.create_subprocess_exec(
        "git", "http-backend", stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=environment
    )


async def _feed(process: Process, request: Request) -> None:
    """Pass the request's body on; git may stop listening before its end."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        async for chunk in request.stream():
            process.stdin.write(chunk)
            await process.stdin.drain()
    process.stdin.close()


async def _head(process: Process) -> tuple[int, dict[str, str]]:
    """The status and headers that the program answers with."""
    assert process.stdout is not None
    try:
        head = await process.stdout.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise Refusal(502, "git http-backend gave no answer") from error
    lines = [line.partition(":") for line in head.decode("latin-1").split("\r\n") if line]
    headers = {name.strip(): value.strip() for name, _, value in lines}
    status = headers.pop("Status", "200 OK")
    return int(status.split()[0]), headers


# How long a program that has answered may take to end by itself, in seconds.
GRACE = 2.0


async def _end(process: Process, feeding: asyncio.Task[None]) -> None:
    """Leave nothing running, whatever happened."""
    feeding.cancel()
    await asyncio.gather(feeding, return_exceptions=True)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GRACE):
            await process.wait()
            return
    # Not by process.kill(): that may take the exit status away from whoever waits for it.
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    await process.wait()


async def _streamed(request: Request, environment: dict[str, str]) -> Response:
    process = await _start(environment)
    feeding = asyncio.create_task(_feed(process, request))
    try:
        async with asyncio.timeout(TIMEOUT):
            status, headers = await _head(process)
    except BaseException:
        await _end(process, feeding)
        raise

    async def body() -> AsyncIterator[bytes]:
        assert process.stdout is not None
        try:
            async with asyncio.timeout(TIMEOUT):
                while chunk := await process.stdout.read(CHUNK):
                    yield chunk
        finally:
            await _end(process, feeding)

    return StreamingResponse(body(), status, headers)


async def _received(
    hub: Hub, request: Request, actor: Actor, repo: Repository, environment: dict[str, str]
) -> Response:
    """Take a push. The answer is held back until all that follows from it is remembered."""
    async with hub.lock(repo):
        before = await pushes.refs(hub, repo)
        process = await _start(environment)
        feeding = asyncio.create_task(_feed(process, request))
        try:
            async with asyncio.timeout(TIMEOUT):
                status, headers = await _head(process)
                assert process.stdout is not None
                body = await process.stdout.read()
        finally:
            await _end(process, feeding)
        after = await pushes.refs(hub, repo)
        changes = pushes.difference(before, after)
        await pushes.moved(hub, somebody(actor), repo, changes)
        hub.state.commit()
    return Response(body, status, headers)
