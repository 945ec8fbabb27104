"""Files that Git LFS keeps, with the real git-lfs, and repositories and servers of this machine."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bot.errors import OrchestrateError, Refused, TransientError
from bot.git import base, filters, lfs, mend, scan, workspace
from bot.git.candidate import Candidate, Made, Source, take
from bot.git.filters import Asked
from bot.git.lfs import Pointer, pointer
from bot.git.locks import writing
from bot.git.mirror import Mirror, fetch
from bot.git.overlay import Means
from bot.git.push import Update, push
from bot.git.remote import Remote
from bot.git.trees import FILE
from bot.git.workspace import Workspaces
from tests.support.commands import orchestrate

from .conftest import AT, BOT, commit_all, sh

HAS = lfs.is_there()
with_git_lfs = pytest.mark.skipif(not HAS, reason="the program git-lfs is not installed")
IS_ROOT = os.geteuid() == 0
KINDS = ["overlay", "checkout"] if IS_ROOT else ["checkout"]
BRANCH = "refs/heads/orchestrate/1-x"
TOKEN = "ghs_very-secret"
RULE = "*.bin filter=lfs diff=lfs merge=lfs -text\n"
FIRST, SECOND = b"first\0" * 500, b"second\0" * 700


def spell(content: bytes) -> bytes:
    """Return the pointer to a content, as git-lfs writes it."""
    digest, version = sha256(content).hexdigest(), "https://git-lfs.github.com/spec/v1"
    return f"version {version}\noid sha256:{digest}\nsize {len(content)}\n".encode()


def stored(repository: Path, content: bytes) -> Path:
    """Return where a repository keeps a content."""
    digest = sha256(content).hexdigest()
    return repository / "lfs" / "objects" / digest[:2] / digest[2:4] / digest


def put(repository: Path, content: bytes) -> None:
    place = stored(repository, content)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was refused is asked for again at once."""
    monkeypatch.setattr(lfs, "RETRY_SECONDS", 0.0)


@pytest.fixture
def hub(origin: Path, tmp_path: Path) -> Path:
    """A bare repository, with a file whose content Git LFS keeps, and an older one of it."""
    (origin / ".gitattributes").write_text(RULE)
    for content in (FIRST, SECOND):
        (origin / "a.bin").write_bytes(spell(content))
        commit_all(origin)
    hub = tmp_path / "the hub.git"
    sh(tmp_path, "clone", "-q", "--bare", str(origin), str(hub))
    for content in (FIRST, SECOND):
        put(hub, content)
    return hub


@pytest.fixture
def remote(hub: Path) -> Remote:
    return Remote(str(hub))


@pytest.fixture
def head(hub: Path) -> str:
    return sh(hub, "rev-parse", "main")


@pytest.fixture(params=KINDS)
async def spaces(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Workspaces]:
    made = Workspaces(tmp_path / "runs", tmp_path / "bases", Means(request.param, ""))
    yield made
    for run in ("1", "2", "3"):
        await made.close(run)
    await made.stop()


async def work(spaces: Workspaces, mirror: Mirror, commit: str, remote: Remote, run: str) -> Path:
    """Open a workspace, with what Git LFS keeps fetched as a run does it."""

    async def contents() -> bool:
        return await lfs.fetch(mirror, remote, commit)

    return (await spaces.open(mirror, commit, run, contents)).folder


def taken(spaces: Workspaces, mirror: Mirror, parent: str, run: str) -> Candidate:
    left = spaces.found(run)
    assert left is not None
    source = Source(left.changed, left.tree, left.opaque, left.whole)
    return take(mirror, source, parent, Made("A turn\n", BOT, BOT, AT))


def blob(mirror: Mirror, commit: str, path: str) -> bytes:
    done = subprocess.run(
        ["git", "cat-file", "blob", f"{commit}:{path}"],
        cwd=mirror.path,
        capture_output=True,
        check=True,
    )
    return done.stdout


@with_git_lfs
async def test_a_workspace_has_the_content_and_a_change_is_kept_pushed_and_found_again(
    spaces: Workspaces, mirror: Mirror, head: str, remote: Remote, hub: Path
) -> None:
    folder = await work(spaces, mirror, head, remote, "1")
    assert (folder / "a.bin").read_bytes() == SECOND
    assert not stored(mirror.path, FIRST).exists(), "the history's contents are not fetched"
    assert taken(spaces, mirror, head, "1") == Candidate(
        tree=sh(hub, "rev-parse", "main^{tree}"), parent=head, commit=head, violations=()
    )
    changed, new = SECOND + b"more", b"new\0" * 9000
    (folder / "a.bin").write_bytes(changed)
    (folder / "sub").mkdir()
    (folder / "sub" / "new.bin").write_bytes(new)
    found = taken(spaces, mirror, head, "1")
    assert found.violations == ()
    assert blob(mirror, found.commit, "a.bin") == spell(changed)
    assert blob(mirror, found.commit, "sub/new.bin") == spell(new)

    await push(mirror, remote, [Update(BRANCH, found.commit, None)])
    assert stored(hub, changed).read_bytes() == changed
    assert stored(hub, new).read_bytes() == new
    assert sh(hub, "rev-parse", BRANCH) == found.commit
    again = await work(spaces, mirror, found.commit, remote, "2")
    assert (again / "sub" / "new.bin").read_bytes() == new
    assert not (mirror.path / "hooks").exists()
    assert taken(spaces, mirror, found.commit, "2").commit == found.commit


@with_git_lfs
async def test_what_is_refused_or_of_another_run_is_not_pushed(
    spaces: Workspaces, mirror: Mirror, head: str, remote: Remote, hub: Path
) -> None:
    for run, content in (("1", b"secret" * 99), ("2", b"good" * 99)):
        (await work(spaces, mirror, head, remote, run) / "a.bin").write_bytes(content)
    refused, good = (taken(spaces, mirror, head, run).commit for run in ("1", "2"))
    sh(mirror.path, "update-ref", "refs/quarantine/1/1", refused)
    await push(mirror, remote, [Update(BRANCH, good, None)])
    assert stored(hub, b"good" * 99).exists()
    assert not stored(hub, b"secret" * 99).exists()


@with_git_lfs
async def test_each_checkpoint_of_a_branch_finds_its_content_at_the_remote(
    spaces: Workspaces, mirror: Mirror, head: str, remote: Remote, hub: Path
) -> None:
    """Also that of one between two pushes, which the last tree does not name."""
    at, pushed = head, None
    for number in range(4):
        folder = await work(spaces, mirror, at, remote, "1")
        (folder / "a.bin").write_bytes(b"%d" % number * 999)
        at = taken(spaces, mirror, at, "1").commit
        if number % 2:
            await push(mirror, remote, [Update(BRANCH, at, pushed)])
            pushed = at
    assert all(stored(hub, b"%d" % number * 999).exists() for number in range(4))


@with_git_lfs
async def test_a_branch_whose_content_cannot_be_pushed_is_not_pushed(
    spaces: Workspaces, mirror: Mirror, head: str, remote: Remote, hub: Path
) -> None:
    folder = await work(spaces, mirror, head, remote, "1")
    (folder / "a.bin").write_bytes(b"changed" * 999)
    made = taken(spaces, mirror, head, "1").commit
    shutil.rmtree(hub / "lfs")
    (hub / "lfs").write_text("in the way\n")
    with pytest.raises(OrchestrateError, match="lfs push"):
        await push(mirror, remote, [Update(BRANCH, made, None)])
    assert sh(hub, "for-each-ref", BRANCH) == ""


@with_git_lfs
async def test_a_failed_download_leaves_pointers_and_one_line(
    spaces: Workspaces, mirror: Mirror, head: str, remote: Remote, hub: Path
) -> None:
    stored(hub, SECOND).unlink()
    with capture_logs() as logs:
        folder = await work(spaces, mirror, head, remote, "1")
    (line,) = (each for each in logs if "Git LFS" in each["event"])
    assert line["log_level"] == "warning"
    assert line["reason"] == f"Git LFS has no content of 1 file at {hub}."
    assert (folder / "a.bin").read_bytes() == spell(SECOND)
    assert taken(spaces, mirror, head, "1").commit == head
    (folder / "b.bin").write_bytes(b"new" * 999)
    (folder / "a.bin").rename(folder / "c.bin")
    found = taken(spaces, mirror, head, "1")
    assert blob(mirror, found.commit, "b.bin") == spell(b"new" * 999)
    assert blob(mirror, found.commit, "c.bin") == spell(SECOND)

    put(hub, SECOND)
    whole = await work(spaces, mirror, head, remote, "2")
    assert (whole / "a.bin").read_bytes() == SECOND, "what is to be had again is had"
    assert (folder / "c.bin").read_bytes() == spell(SECOND), "and changes nobody's workspace"


@with_git_lfs
async def test_a_difference_on_a_base_has_the_content_too(
    tmp_path: Path, origin: Path, hub: Path, mirror: Mirror, head: str, remote: Remote
) -> None:
    for number in range(20):
        (origin / f"file{number}").touch()
    (origin / "b.bin").write_bytes(spell(FIRST))
    near = commit_all(origin)
    sh(origin, "push", "-q", str(hub), "main")
    await fetch(mirror, remote)
    asked: list[str] = []

    async def layers(commit: str) -> base.Base:
        async def contents() -> bool:
            asked.append(commit)
            return await lfs.fetch(mirror, remote, commit)

        return await base.layers(tmp_path / "bases", mirror, commit, contents)

    await layers(near)
    (origin / "b.bin").write_bytes(spell(SECOND))
    (origin / "c.bin").write_bytes(spell(b"lost"))
    lost = commit_all(origin)
    (origin / "c.bin").unlink()
    found = commit_all(origin)
    sh(origin, "push", "-q", str(hub), "main")
    await fetch(mirror, remote)
    made = await layers(found)
    assert len(made.layers) == 2
    assert (made.layers[0] / "b.bin").read_bytes() == SECOND
    assert asked == [near], "what is here is not asked for"
    assert (await layers(lost)).layers[-1].parent.parent.name == "1.pointers"
    assert (await layers(found)).layers == made.layers


async def test_without_the_program_there_are_pointers_and_they_stay(
    spaces: Workspaces,
    mirror: Mirror,
    head: str,
    remote: Remote,
    hub: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = tmp_path / "bin"
    place.mkdir()
    for name in ("git", "chmod", "sh"):
        (place / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(place))
    for run in ("1", "2"):
        folder = await work(spaces, mirror, head, remote, run)
        assert (folder / "a.bin").read_bytes() == spell(SECOND)
        assert taken(spaces, mirror, head, run).commit == head
    (folder / "a.bin").rename(folder / "moved.bin")
    found = taken(spaces, mirror, head, "2")
    assert (found.violations, blob(mirror, found.commit, "moved.bin")) == ((), spell(SECOND))
    (folder / "moved.bin").write_bytes(b"content")
    (violation,) = taken(spaces, mirror, head, "2").violations
    assert "install it" in violation.reason
    await push(mirror, remote, [Update(BRANCH, found.commit, None)])
    assert sh(hub, "rev-parse", BRANCH) == found.commit


ODD = {
    "old version": spell(SECOND).replace(
        b"https://git-lfs.github.com/spec/v1", b"http://git-media.io/v/2"
    ),
    "no last line end": spell(SECOND).rstrip(),
    "blank lines": spell(SECOND) + b"\n\n",
}


@with_git_lfs
@pytest.mark.parametrize("how", ODD)
async def test_a_pointer_that_is_written_otherwise_stays_as_it_is(
    how: str, spaces: Workspaces, mirror: Mirror, origin: Path, hub: Path, remote: Remote
) -> None:
    (origin / "a.bin").write_bytes(ODD[how])
    head = commit_all(origin)
    sh(origin, "push", "-q", str(hub), "main")
    await fetch(mirror, remote)
    folder = await work(spaces, mirror, head, remote, "1")
    (folder / "a.bin").touch()
    assert taken(spaces, mirror, head, "1").commit == head
    content = (folder / "a.bin").read_bytes()
    (folder / "a.bin").unlink()
    (folder / "a.bin").write_bytes(content)
    assert taken(spaces, mirror, head, "1").commit == head


@with_git_lfs
async def test_what_git_lfs_cannot_make_a_file_of_stops_no_run(
    spaces: Workspaces, mirror: Mirror, origin: Path, hub: Path, remote: Remote
) -> None:
    contents = {
        "extension.bin": spell(SECOND).replace(
            b"\noid", b"\next-0-evil sha256:%b\noid" % (b"0" * 64)
        ),
        "bad.bin": b"version https://git-lfs.github.com/spec/v1\noid sha256:../../x\nsize 1\n",
        "raw.bin": b"never cleaned",
        "empty.bin": b"",
    }
    for name, content in contents.items():
        (origin / name).write_bytes(content)
    head = commit_all(origin)
    sh(origin, "push", "-q", str(hub), "main")
    await fetch(mirror, remote)
    folder = await work(spaces, mirror, head, remote, "1")
    assert {name: (folder / name).read_bytes() for name in contents} == contents
    for name in contents:
        (folder / name).touch()
    assert taken(spaces, mirror, head, "1").commit == head


@with_git_lfs
async def test_a_file_may_be_larger_than_git_takes_and_no_larger_than_is_held(
    spaces: Workspaces,
    mirror: Mirror,
    head: str,
    remote: Remote,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scan, "MAX_FILE", 10_000)
    monkeypatch.setattr(filters, "MAX_FILE", 10_000)
    monkeypatch.setattr(scan, "MAX_FILTERED", 20_000)
    folder = await work(spaces, mirror, head, remote, "1")
    for name in ("a.bin", "raw.txt"):
        (folder / name).write_bytes(b"x" * 15_000)
    (folder / "large.bin").write_bytes(b"x" * 20_001)
    found = taken(spaces, mirror, head, "1")
    assert [each.path for each in found.violations] == ["large.bin", "raw.txt"]
    assert blob(mirror, found.commit, "a.bin") == spell(b"x" * 15_000)


@with_git_lfs
async def test_a_full_copy_has_pointers_where_the_content_is_too_much_to_read_each_time(
    tmp_path: Path, mirror: Mirror, head: str, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    spaces = Workspaces(tmp_path / "runs", tmp_path / "bases", Means("checkout", ""))
    assert await lfs.fetch(mirror, remote, head)
    monkeypatch.setattr(workspace, "MAX_COPIED", len(SECOND) - 1)
    folder = await work(spaces, mirror, head, remote, "1")
    assert (folder / "a.bin").read_bytes() == spell(SECOND)
    monkeypatch.setattr(workspace, "MAX_COPIED", len(SECOND))
    folder = await work(spaces, mirror, head, remote, "1")
    assert (folder / "a.bin").read_bytes() == SECOND
    await spaces.stop()


@with_git_lfs
def test_what_is_kept_is_durable_before_it_is_named(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        flushed.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    asked = {b"a.bin": Asked(FIRST, FILE, None)}
    filters.convert(mirror, {b"": RULE.encode()}, asked)
    place = stored(mirror.path, FIRST)
    assert place.read_bytes() == FIRST
    assert flushed == [str(place), *(str(each) for each in place.parents[:5])]
    assert place.parents[4] == mirror.path


@with_git_lfs
async def test_a_mirror_that_is_made_anew_has_the_contents_of_the_old_one(
    mirror: Mirror, remote: Remote
) -> None:
    put(mirror.path, b"not pushed yet")
    async with writing(mirror.path) as lock:
        await mend.replace(mirror.path, remote, "a test", blobless=False, lock=lock)
    assert stored(mirror.path, b"not pushed yet").exists()


# -- what a workspace may say


class _Server(ThreadingHTTPServer):
    """A server of Git LFS that remembers; with `status` it refuses."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.seen: list[tuple[str, str | None]] = []
        self.kept: dict[str, bytes] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        asked = json.loads(self._body())
        way = asked["operation"]
        objects = [self._object(each, way) for each in asked.get("objects", [])]
        self._answer(json.dumps({"transfer": "basic", "objects": objects}).encode())

    def do_PUT(self) -> None:
        self.server.kept[self.path.rpartition("/")[2]] = self._body()
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(self.server.kept[self.path.rpartition("/")[2]])

    def _object(self, each: dict[str, Any], way: str) -> dict[str, Any]:
        if way == "download" and each["oid"] not in self.server.kept:
            return each | {"error": {"code": 404, "message": "Object does not exist"}}
        if way == "upload" and each["oid"] in self.server.kept:
            return each
        return each | {"actions": {way: {"href": f"{self.server.url}/store/{each['oid']}"}}}

    def _body(self) -> bytes:
        self.server.seen.append((self.path, self.headers["Authorization"]))
        length = int(self.headers["Content-Length"] or 0)
        return self.rfile.read(length)

    def _answer(self, body: bytes) -> None:
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/vnd.git-lfs+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def _evil(server: _Server, trap: Path) -> str:
    return f"""
[lfs]
    url = {server.url}/evil
    pushurl = {server.url}/evil
    standalonetransferagent = evil
    fetchexclude = *
    storage = {trap}
    skipdownloaderrors = true
[lfs "customtransfer.evil"]
    path = touch
    args = {trap}
[lfs "extension.evil"]
    clean = touch {trap}
    smudge = touch {trap}
    priority = 0
[remote "origin"]
    lfsurl = {server.url}/evil
[credential]
    helper = "!touch {trap}"
[filter "lfs"]
    process = touch {trap}
    clean = touch {trap}
"""


@with_git_lfs
async def test_a_configuration_in_the_workspace_changes_nothing(
    spaces: Workspaces,
    mirror: Mirror,
    head: str,
    remote: Remote,
    hub: Path,
    server: _Server,
    tmp_path: Path,
) -> None:
    """By any name, also where Git LFS is to keep the configuration itself, and once committed."""
    trap = tmp_path / "trap"
    folder = await work(spaces, mirror, head, remote, "1")
    for name in (".lfsconfig", ".gitconfig", "config", ".gitmodules"):
        (folder / name).write_text(_evil(server, trap))
    (folder / ".gitattributes").write_text(f"{RULE}.lfsconfig filter=lfs\n.gitconfig text\n")
    (folder / "a.bin").write_bytes(b"changed" * 999)
    found = taken(spaces, mirror, head, "1")
    assert found.violations == ()
    assert stored(mirror.path, b"changed" * 999).exists()
    (folder / ".gitattributes").write_text(RULE)
    plain = taken(spaces, mirror, head, "1")
    assert blob(mirror, plain.commit, ".lfsconfig") == _evil(server, trap).encode()
    for number, each in enumerate((found, plain)):
        await push(mirror, remote, [Update(f"{BRANCH}{number}", each.commit, None)])
    assert stored(hub, b"changed" * 999).exists()
    shutil.rmtree(mirror.path / "lfs")
    assert await lfs.fetch(mirror, remote, plain.commit)
    again = await work(spaces, mirror, plain.commit, remote, "2")
    assert (again / "a.bin").read_bytes() == b"changed" * 999
    assert server.seen == []
    assert not trap.exists()


# -- over HTTP


def _at(server: _Server) -> Remote:
    return Remote(f"{server.url}/ada/project.git", TOKEN)


@with_git_lfs
async def test_over_http_the_token_goes_to_the_repositorys_own_address(
    server: _Server, mirror: Mirror, head: str, tmp_path: Path
) -> None:
    remote = _at(server)
    with capture_logs() as logs:
        assert not await lfs.fetch(mirror, remote, head)
    assert logs[0]["reason"] == f"Git LFS has no content of 1 file at {remote.url}."
    server.seen.clear()
    server.kept[sha256(SECOND).hexdigest()] = SECOND
    assert await lfs.fetch(mirror, remote, head)
    assert stored(mirror.path, SECOND).read_bytes() == SECOND
    header = remote.header()
    assert header is not None
    secret = header[1].partition(": ")[2]
    assert server.seen == [("/ada/project.git/info/lfs/objects/batch", secret)]

    put(mirror.path, b"new")
    (tmp_path / "new.bin").write_bytes(spell(b"new"))
    made = _commit(mirror, {"new.bin": spell(b"new"), ".gitattributes": RULE.encode()}, head)
    await lfs.push(mirror, remote, [(made, None)])
    assert server.kept[sha256(b"new").hexdigest()] == b"new"
    assert server.seen[1] == ("/ada/project.git/info/lfs/objects/batch", secret)
    assert _holding(tmp_path, TOKEN, secret.rpartition(" ")[2]) == []


def _holding(folder: Path, *secrets: str) -> list[Path]:
    files = [place for place in folder.rglob("*") if place.is_file()]
    return [
        place for place in files if any(each.encode() in place.read_bytes() for each in secrets)
    ]


def _commit(mirror: Mirror, files: dict[str, bytes], parent: str) -> str:
    listed = ""
    for name, content in sorted(files.items()):
        oid = sh(mirror.path, "hash-object", "-w", "--stdin", input=content)
        listed += f"100644 blob {oid}\t{name}\n"
    tree = sh(mirror.path, "mktree", input=listed.encode())
    return sh(mirror.path, "commit-tree", "-m", "x", "-p", parent, tree)


@with_git_lfs
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, Refused),
        (403, Refused),
        (404, Refused),
        (413, Refused),
        (500, TransientError),
        (503, TransientError),
    ],
)
async def test_a_server_that_refuses_is_named_and_no_secret(
    server: _Server, mirror: Mirror, head: str, status: int, kind: type[OrchestrateError]
) -> None:
    server.status = status
    remote = _at(server)
    with capture_logs() as logs:
        assert not await lfs.fetch(mirror, remote, head)
    (line,) = logs
    assert line["reason"]
    put(mirror.path, b"new")
    made = _commit(mirror, {"new.bin": spell(b"new")}, head)
    with pytest.raises(OrchestrateError) as caught:
        await lfs.push(mirror, remote, [(made, None)])
    assert type(caught.value) is kind
    config = (mirror.path / "config").read_text()
    for said in (str(caught.value), str(line), config):
        assert TOKEN not in said
        assert remote.header()[1].rpartition(" ")[2] not in said  # type: ignore[index]
    server.status = 200
    server.kept[sha256(SECOND).hexdigest()] = SECOND
    assert await lfs.fetch(mirror, remote, head), "what was refused once may be granted later"


@with_git_lfs
async def test_many_at_once_ask_once(
    server: _Server, mirror: Mirror, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lfs, "RETRY_SECONDS", 60.0)
    remote = _at(server)
    older = sh(mirror.path, "rev-parse", f"{head}^")
    server.kept[sha256(FIRST).hexdigest()] = FIRST
    with capture_logs() as logs:
        found = await asyncio.gather(
            *(lfs.fetch(mirror, remote, each) for each in (head, older) * 5)
        )
    assert found == [False, True] * 5
    asked = [path for path, _ in server.seen if path.endswith("/batch")]
    assert len(asked) == 2
    assert len(logs) == 1
    monkeypatch.setattr(lfs, "RETRY_SECONDS", 0.0)
    server.kept[sha256(SECOND).hexdigest()] = SECOND
    assert await lfs.fetch(mirror, remote, head)
    assert [each.name for each in (mirror.path / "lfs" / "asked").iterdir()] == [head]


@with_git_lfs
async def test_a_server_that_is_not_there_is_tried_again_later(
    server: _Server, mirror: Mirror, head: str
) -> None:
    port = server.server_address[1]
    server.server_close()
    remote = Remote(f"http://127.0.0.1:{port}/a.git", TOKEN)
    assert not await lfs.fetch(mirror, remote, head)
    put(mirror.path, b"new")
    made = _commit(mirror, {"new.bin": spell(b"new")}, head)
    with pytest.raises(TransientError):
        await lfs.push(mirror, remote, [(made, None)])


@with_git_lfs
async def test_the_token_is_in_no_argument(server: _Server, mirror: Mirror, head: str) -> None:
    seen: list[bytes] = []
    handle = _Handler.do_POST

    class Slow(_Handler):
        def do_POST(self) -> None:
            for place in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.append(place.read_bytes())
                except OSError:
                    continue
            handle(self)

    server.RequestHandlerClass = Slow
    remote = _at(server)
    await lfs.fetch(mirror, remote, head)
    ours = [line for line in seen if b"lfs" in line and b"fetch" in line]
    secret = remote.header()[1].rpartition(" ")[2].encode()  # type: ignore[index]
    assert ours
    assert not [line for line in seen if TOKEN.encode() in line or secret in line]


# -- by itself

POINTERS = [
    (spell(b"x"), Pointer(sha256(b"x").hexdigest(), 1)),
    (spell(b"x").rstrip(), Pointer(sha256(b"x").hexdigest(), 1)),
    (spell(b"x") + b"y", None),
    (spell(b"x") + b" " * 1024, None),
    (spell(b"x").replace(b"git-lfs", b"other"), None),
    (spell(b"x").replace(b"sha256", b"md5"), None),
    (b"version https://git-lfs.github.com/spec/v1\n", None),
    (b"", None),
]


@pytest.mark.parametrize(("content", "expected"), POINTERS)
def test_a_pointer_is_read_or_is_none(content: bytes, expected: Pointer | None) -> None:
    assert pointer(content) == expected


ADDRESSES = {
    "https://github.com/a/b.git": "https://github.com/a/b.git/info/lfs",
    "https://github.com/a/b/": "https://github.com/a/b.git/info/lfs",
    "/srv/the hub.git": "file:///srv/the%20hub.git",
}


@pytest.mark.parametrize("url", ADDRESSES)
def test_the_content_is_where_the_repository_is(url: str) -> None:
    assert Remote(url).lfs_url == ADDRESSES[url]


async def test_pointers_of_a_tree_are_found_where_attributes_name_git_lfs(
    mirror: Mirror, head: str
) -> None:
    kept = Pointer(sha256(SECOND).hexdigest(), len(SECOND))
    assert await lfs.in_tree(mirror, head) == {b"a.bin": kept}
    assert await lfs.in_tree(mirror, sh(mirror.path, "rev-parse", f"{head}~2")) == {}


# -- a whole run


@pytest.mark.slow
@with_git_lfs
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_reads_and_changes_what_git_lfs_keeps(
    origin: Path, tmp_path: Path, kind: str
) -> None:
    """By the command line, on a person's repository, which holds the contents in its `.git`."""
    (origin / ".gitattributes").write_text(RULE)
    (origin / "a.bin").write_bytes(spell(FIRST))
    put(origin / ".git", FIRST)
    commit_all(origin)
    agent = "head -c 5 a.bin > read.txt && cat a.bin a.bin > b.bin && rm a.bin"
    check = "test $(head -c 5 b.bin) = first && test $(cat read.txt) = first"
    done = orchestrate(
        *("run", "Do it", "--json", "--repo", str(origin)),
        *("--agent-command", agent, "--check", check),
        env={
            **os.environ,
            "ORCHESTRATE_DATA_DIR": str(tmp_path / "data"),
            "ORCHESTRATE_WORKSPACES": kind,
        },
        timeout=120,
    )
    assert done.stdout, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["state"] == "awaiting_review", summary["reason"]
    (made,) = summary["checkpoints"]
    listed = sh(origin, "ls-tree", "-r", "--name-only", made["sha"]).split()
    assert "b.bin" in listed
    assert "a.bin" not in listed
    assert sh(origin, "show", f"{made['sha']}:b.bin").encode() == spell(FIRST + FIRST).strip()
    assert stored(origin / ".git", FIRST + FIRST).read_bytes() == FIRST + FIRST
