"""Nothing new at a remote is found out without a program, and never by mistake."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bot.errors import OrchestrateError
from bot.git import listing, refs
from bot.git.listing import is_current
from bot.git.locks import writing
from bot.git.mirror import Mirror, ensure, fetch
from bot.git.remote import Remote
from tests.support.world import World

from .conftest import commit_all, sh
from .remotes import private, remote_of

TOKEN = "ghs_very-secret"


async def test_what_is_current_is_told_by_branches_and_tags_alone(
    mirror: Mirror, origin: Path, remote: Remote, head: str
) -> None:
    assert is_current(mirror, remote)
    sh(origin, "update-ref", "refs/pull/1/head", commit_all(origin, "On no branch"))
    sh(origin, "reset", "-q", "--hard", head)
    refs.set_ref(mirror, "refs/heads/orchestrate/1-x", head, None)
    refs.set_ref(mirror, "refs/quarantine/abc/1", head, None)
    assert is_current(mirror, remote)


@pytest.mark.parametrize(
    "change",
    [
        ["commit", "-q", "--allow-empty", "-m", "Moved"],
        ["branch", "fresh"],
        ["branch", "-D", "old"],
        ["tag", "fresh"],
        ["tag", "-d", "light"],
        ["tag", "-d", "heavy"],
        ["tag", "-f", "-a", "-m", "Another", "heavy"],
        ["branch", "-m", "old", "renamed"],
    ],
)
async def test_whatever_moves_appears_or_goes_is_news(
    tmp_path: Path, origin: Path, remote: Remote, change: list[str]
) -> None:
    sh(origin, "branch", "old")
    sh(origin, "tag", "light")
    sh(origin, "tag", "-a", "-m", "Signed off", "heavy")
    mirror = await ensure(tmp_path / "m.git", remote)
    assert is_current(mirror, remote)
    sh(origin, *change)
    assert not is_current(mirror, remote)
    await fetch(mirror, remote)
    assert is_current(mirror, remote)


async def test_records_count_where_they_are_asked_for(
    mirror: Mirror, origin: Path, remote: Remote, head: str
) -> None:
    refs.set_ref(mirror, "refs/orchestrate/ours", head, None)
    assert is_current(mirror, remote, ledgers=True)
    sh(origin, "update-ref", "refs/orchestrate/theirs", head)
    assert is_current(mirror, remote)
    assert not is_current(mirror, remote, ledgers=True)
    await fetch(mirror, remote, ledgers=True)
    assert is_current(mirror, remote, ledgers=True)


async def test_a_fetch_of_nothing_new_waits_for_no_lock(mirror: Mirror, remote: Remote) -> None:
    async with writing(mirror.path), asyncio.timeout(5):
        await fetch(mirror, remote)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder away")
async def test_a_repository_of_another_user_is_left_to_git(
    mirror: Mirror, origin: Path, remote: Remote
) -> None:
    give_away(origin)
    assert not is_current(mirror, remote)
    await fetch(mirror, remote)


async def test_a_list_too_long_is_left_to_git(
    mirror: Mirror, origin: Path, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MANY", 1)
    monkeypatch.setattr(listing, "_large", set())
    assert is_current(mirror, remote)
    assert not is_current(mirror, remote)
    new = commit_all(origin)
    await fetch(mirror, remote)
    assert refs.resolve(mirror, "main") == new


async def test_over_http_the_token_opens_a_private_repository(tmp_path: Path, world: World) -> None:
    repo = await private(world)
    remote = await remote_of(repo)
    mirror = await ensure(tmp_path / "m.git", remote)
    assert await asyncio.to_thread(is_current, mirror, remote)
    assert not await asyncio.to_thread(is_current, mirror, Remote(remote.url, "wrong"))
    assert not await asyncio.to_thread(is_current, mirror, Remote(remote.url))
    await repo.person("writer").write("new.txt", "new\n", branch="main")
    assert not await asyncio.to_thread(is_current, mirror, remote)
    await fetch(mirror, remote)
    assert await asyncio.to_thread(is_current, mirror, remote)
    assert remote.token is not None
    assert remote.token not in (mirror.path / "config").read_text()


async def test_the_error_is_gits_own(tmp_path: Path, world: World) -> None:
    repo = await private(world)
    remote = await remote_of(repo)
    mirror = await ensure(tmp_path / "m.git", remote)
    with pytest.raises(OrchestrateError, match=r"denied|no repository at") as caught:
        await fetch(mirror, Remote(remote.url, TOKEN))
    assert TOKEN not in str(caught.value)


async def test_the_token_follows_no_redirect(mirror: Mirror) -> None:
    with _server() as elsewhere, _server(f"http://localhost:{elsewhere.port}") as server:
        remote = Remote(f"http://127.0.0.1:{server.port}/a.git", TOKEN)
        assert not await asyncio.to_thread(is_current, mirror, remote)
        assert len(server.headers) == 1
        assert server.headers[0].startswith("Basic ")
        assert elsewhere.headers == []


async def test_a_mirror_that_would_follow_redirects_is_not_asked_with_a_token(
    mirror: Mirror,
) -> None:
    sh(mirror.path, "config", "--unset", "http.followRedirects")
    with _server() as server:
        remote = Remote(f"http://127.0.0.1:{server.port}/a.git", TOKEN)
        assert not await asyncio.to_thread(is_current, mirror, remote)
        assert server.headers == []


def give_away(folder: Path) -> None:
    """Let a folder and all in it belong to somebody else."""
    subprocess.run(["chown", "-R", "-h", "65534:65534", folder], check=True)


class _Server(ThreadingHTTPServer):
    """Redirects to `target`, or knows nothing; `headers` says who wanted to come in."""

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = target
        self.headers: list[str] = []

    @property
    def port(self) -> int:
        return self.server_port


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.headers.append(self.headers.get("Authorization", ""))
        self.send_response(302 if self.server.target else 404)
        self.send_header("Location", self.server.target + self.path)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def _server(target: str = "") -> Iterator[_Server]:
    with _Server(target) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
