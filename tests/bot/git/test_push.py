from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bot.errors import OrchestrateError, Refused, TransientError
from bot.git import program, refs
from bot.git.listing import is_current
from bot.git.mirror import Mirror, ensure, fetch, heads, remote_refs
from bot.git.push import PushRejected, Update, push
from bot.git.remote import Remote

from .conftest import commit_all, sh

TOKEN = "ghs_very-secret"
REF = "refs/heads/orchestrate/1-x"


async def test_a_push_makes_moves_and_deletes_refs_and_may_be_repeated(
    mirror: Mirror, origin: Path, remote: Remote, head: str
) -> None:
    new = commit_all(origin)
    await fetch(mirror, remote)
    for update in (Update(REF, head, None), Update(REF, new, head), Update(REF, None, new)):
        for _ in range(2):
            await push(mirror, remote, [update])
            assert (await remote_refs(remote, REF)).get(REF) == update.new
            # Our own push is nothing new: nobody need fetch to learn of it.
            assert is_current(mirror, remote)


async def test_a_ref_that_another_moved_is_left_and_named(
    mirror: Mirror, origin: Path, remote: Remote, head: str
) -> None:
    new = commit_all(origin)
    await fetch(mirror, remote)
    sh(origin, "update-ref", REF, new)
    with pytest.raises(PushRejected, match=f"rejected: it is now at {new[:12]}") as caught:
        await push(
            mirror, remote, [Update(REF, head, None), Update("refs/orchestrate/r", head, None)]
        )
    assert caught.value.now == {REF: new}
    found = await remote_refs(remote, "refs/*")
    assert found[REF] == new
    assert found["refs/orchestrate/r"] == head


async def test_a_deletion_done_before_does_not_hold_back_the_others(
    mirror: Mirror, remote: Remote, head: str
) -> None:
    updates = [Update(REF, None, head), Update("refs/heads/other", head, None)]
    await push(mirror, remote, updates)
    assert (await heads(remote))["other"] == head


async def test_a_branch_that_is_checked_out_is_never_moved(
    mirror: Mirror, origin: Path, remote: Remote, head: str
) -> None:
    sh(origin, "config", "receive.denyCurrentBranch", "updateInstead")
    new = commit_all(origin, "Second")
    await fetch(mirror, remote)
    with pytest.raises(PushRejected) as caught:
        await push(mirror, remote, [Update("refs/heads/main", head, new)])
    assert caught.value.now == {"refs/heads/main": new}
    assert sh(origin, "status", "--porcelain") == ""


async def test_no_hook_of_the_persons_repository_runs(
    mirror: Mirror, origin: Path, remote: Remote, head: str
) -> None:
    for name in ("pre-receive", "update", "post-receive", "reference-transaction"):
        hook = origin / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\ntouch ran\nexit 1\n")
        hook.chmod(0o755)
    await push(mirror, remote, [Update(REF, head, None)])
    assert _files_holding(origin, b"")
    assert not [each for each in _files_holding(origin, b"") if each.name == "ran"]


class _Server(ThreadingHTTPServer):
    answer = 200
    seen: list[str | None]


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.seen.append(self.headers["Authorization"])
        if self.server.answer == 302:
            self.send_response(302)
            host = self.server.server_address[1]
            self.send_header("Location", f"http://localhost:{host}{self.path}")
        else:
            self.send_response(self.server.answer)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as made:
        made.seen = []
        thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def _at(server: _Server) -> Remote:
    return Remote(f"http://127.0.0.1:{server.server_address[1]}/a/b.git", TOKEN)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, Refused),
        (403, Refused),
        (404, Refused),
        (429, TransientError),
        (500, TransientError),
        (503, TransientError),
    ],
)
async def test_what_a_server_answers_says_who_must_act(
    server: _Server, mirror: Mirror, head: str, status: int, kind: type[OrchestrateError]
) -> None:
    server.answer = status
    with pytest.raises(OrchestrateError) as caught:
        await push(mirror, _at(server), [Update(REF, head, None)])
    assert type(caught.value) is kind
    assert server.seen[0] == _at(server).header()[1].partition(": ")[2]  # type: ignore[index]
    for secret in (TOKEN, (server.seen[0] or "").rpartition(" ")[2]):
        assert secret not in str(caught.value)
        assert secret not in repr(_at(server))


async def test_a_token_is_not_sent_to_a_host_that_the_remote_points_to(server: _Server) -> None:
    server.answer = 302
    with pytest.raises(OrchestrateError):
        await heads(_at(server))
    assert server.seen[0] is not None
    assert set(server.seen[1:]) == {None}


async def test_a_server_that_is_not_there_is_tried_again_later(server: _Server) -> None:
    port = server.server_address[1]
    server.server_close()
    with pytest.raises(TransientError):
        await heads(Remote(f"http://127.0.0.1:{port}/a.git"))


async def test_a_token_is_in_no_argument_and_no_file(
    tmp_path: Path, mirror: Mirror, head: str
) -> None:
    """A server that takes its time, while the arguments of every process are read."""
    secret = _at_port(1).header()[1].rpartition(" ")[2]  # type: ignore[index]
    reached = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hold, "127.0.0.1", 0) as held:
        port = held.sockets[0].getsockname()[1]
        pushing = asyncio.create_task(push(mirror, _at_port(port), [Update(REF, head, None)]))
        async with asyncio.timeout(20):
            await reached.wait()
        ours = _arguments_with(f":{port}/")
        assert ours
        assert not [line for line in ours if TOKEN.encode() in line or secret.encode() in line]
        pushing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pushing
    async with asyncio.timeout(20):  # it has ended, and what it started ends with it
        while _arguments_with(f":{port}/"):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)
    assert _files_holding(tmp_path, secret.encode()) == []


async def test_what_takes_too_long_is_ended_and_tried_again_later() -> None:
    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hold, "127.0.0.1", 0) as held:
        remote = _at_port(held.sockets[0].getsockname()[1])
        with pytest.raises(TransientError, match=r"longer than 0\.3 seconds"):
            await program.git("ls-remote", remote.url, remote=remote, timeout=0.3)


async def test_the_persons_configuration_counts_for_nothing(
    tmp_path: Path, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.write_text('[url "/nowhere/"]\n\tinsteadOf = /\n[core]\n\tautocrlf = true\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    mirror = await ensure(tmp_path / "m.git", remote)
    assert refs.resolve(mirror, "main")
    assert (await program.git("config", "core.autocrlf")).strip() == b"false"


def _at_port(port: int) -> Remote:
    return Remote(f"http://127.0.0.1:{port}/a/b.git", TOKEN)


def _arguments_with(part: str) -> list[bytes]:
    """Return the arguments of every process on this machine that name `part`."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                found.append((process / "cmdline").read_bytes())
    return [line for line in found if part.encode() in line]


def _files_holding(folder: Path, content: bytes) -> list[Path]:
    return [each for each in folder.rglob("*") if each.is_file() and content in each.read_bytes()]
