"""Workspaces without root's rights, all the way: opened, worked in by a contained job, read back.

As root the tests start the server's part as another user, who owns nothing but the data folder.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.git.mirror import Mirror
from bot.git.overlay import mounts_below

ROOT = Path(__file__).resolve().parents[3]
NOBODY = 65534

_BEGIN = """
import asyncio, json, sys
from pathlib import Path
from bot.checks.model import CheckSpec
from bot.checks.run import run_check
from bot.git.mirror import Mirror
from bot.git.overlay import probe
from bot.git.workspace import Workspaces
from bot.sandbox.bubblewrap import Bubblewrap
from bot.sandbox.files import read_inside, seen
from bot.sandbox.model import Job
place, head = Path(sys.argv[1]), sys.argv[2]
spaces = Workspaces(place / "runs", place / "bases", probe(place / "runs", "rootless"))
mirror = Mirror(place / "1.git")

def job(opened, script):
    return Job(argv=("/bin/sh", "-c", script), workspace=opened.folder, home=place / "home",
               seconds=20, output_bytes=100_000, namespace=opened.namespace)

def say(**what):
    print(json.dumps(what), flush=True)
"""


@pytest.fixture
def place(mirror: Mirror) -> Iterator[Path]:
    """A folder with a mirror, of the user who will run the server."""
    folder = Path(tempfile.mkdtemp(prefix="rootless-"))
    shutil.copytree(mirror.path, folder / "1.git")
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(folder)], check=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def user() -> list[str]:
    """The beginning of a command line that makes us somebody without rights."""
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    begin = become if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        code = f"{_BEGIN.partition('place, head')[0]}probe(Path({folder!r}), 'rootless')"
        done = subprocess.run(
            [*begin, *_python(), code], cwd=ROOT, capture_output=True, text=True, check=False
        )
    if done.returncode:
        pytest.skip(f"not to be had here: {done.stderr.strip().splitlines()[-1]}")
    return begin


def test_a_file_that_only_root_could_read_is_left_out_by_name(
    user: list[str], place: Path, head: str
) -> None:
    if not user:
        pytest.skip("takes root, who makes somebody without rights")
    said = _run(
        user,
        place,
        head,
        """
from datetime import UTC, datetime
from bot.git.candidate import Made, Source, take
from bot.git.checkpoint import Identity
async def main():
    opened = await spaces.open(mirror, head, "run1")
    script = "echo x > closed && chmod 000 closed run.sh && echo y > open"
    await Bubblewrap().run(job(opened, script))
    me = Identity("a", "a@example.com")
    source = Source(opened.changed, opened.tree, opened.opaque, opened.whole)
    found = take(mirror, source, head, Made("x\\n", me, me, datetime.now(UTC)))
    say(violations=[[each.path, each.reason] for each in found.violations], commit=found.commit)
    await spaces.stop()
asyncio.run(main())
""",
    )
    reason = "It cannot be read: its mode takes that from its own user."
    assert said["violations"] == [["closed", reason], ["run.sh", reason]]
    assert said["commit"] != head


def test_a_contained_job_works_in_a_workspace_of_its_own(
    user: list[str], place: Path, head: str
) -> None:
    said = _run(
        user,
        place,
        head,
        """
async def main():
    opened = await spaces.open(mirror, head, "run1")
    script = "cat readme.txt && echo changed > readme.txt && rm run.sh && rm -r src && mkdir src"
    script += " && echo new > src/new.py && ln -s src/new.py name && chmod 000 src && id -u"
    ended = await Bubblewrap().run(job(opened, script))
    xml = '<testsuite tests="1"><testcase name="x"/></testsuite>'
    check = CheckSpec("c", f"echo '{xml}' > r.xml", "r.xml", 20)
    checked = await run_check(check, sandbox=Bubblewrap(), workspace=opened.folder, tools=(),
                              home=place / "check", namespace=opened.namespace)
    outside = [each.name for each in opened.folder.iterdir()]
    inside = sorted(each.name for each in seen(opened.folder, opened.namespace).iterdir())
    link = read_inside(seen(opened.folder, opened.namespace), "name", 100)
    other = await spaces.open(mirror, head, "run2")
    fresh = await Bubblewrap().run(job(other, "ls"))
    say(code=ended.code, tail=ended.tail, check=[checked.conclusion, checked.summary],
        outside=outside, inside=inside, link=link, fresh=fresh.tail.split(),
        used=await spaces.used("run1"))
    await spaces.stop()
asyncio.run(main())
""",
    )
    assert said["code"] == 0, said["tail"]
    assert said["tail"].split() == ["hello", "1000"]
    assert said["check"] == ["success", "1 test passed."]
    assert said["outside"] == []
    assert said["inside"] == [".gitignore", "link", "name", "r.xml", "readme.txt", "src"]
    assert said["link"] is None
    assert said["fresh"] == ["link", "readme.txt", "run.sh", "src"]
    assert 0 < said["used"] < 100_000
    upper = place / "runs" / "run1" / ".layers" / "upper"
    (upper / "src").chmod(0o755)
    found = {str(each.relative_to(upper)): each for each in upper.rglob("*")}
    assert sorted(found) == ["name", "r.xml", "readme.txt", "run.sh", "src", "src/new.py"]
    assert found["readme.txt"].read_text() == "changed\n"
    assert found["run.sh"].is_char_device()
    assert os.getxattr(found["src"], "user.overlay.opaque") == b"y"
    assert {each.lstat().st_uid for each in found.values()} == {NOBODY if user else os.geteuid()}


def test_a_job_in_a_workspace_whose_holder_has_ended_is_told_so(
    user: list[str], place: Path, head: str
) -> None:
    said = _run(
        user,
        place,
        head,
        """
import os, signal
from bot.errors import OperatorError
async def main():
    opened = await spaces.open(mirror, head, "run1")
    (seen(opened.folder, opened.namespace) / "new").write_text("work")
    os.kill(opened.namespace, signal.SIGKILL)
    await asyncio.sleep(0.2)
    try:
        await Bubblewrap().run(job(opened, "true"))
    except OperatorError as error:
        reason = str(error)
    found = spaces.found("run1")
    left = (found.changed / "new").read_text()
    await spaces.close("run1")
    await spaces.stop()
    say(reason=reason, namespace=found.namespace, left=left, after=spaces.found("run1"))
asyncio.run(main())
""",
    )
    assert said["reason"].startswith("The workspace is gone")
    assert said["namespace"] is None
    assert said["left"] == "work"
    assert said["after"] is None


def test_a_killed_server_leaves_no_process_and_no_mount(
    user: list[str], place: Path, head: str
) -> None:
    child, said = _begun(
        user,
        place,
        head,
        """
async def main():
    opened = await spaces.open(mirror, head, "run1")
    work = asyncio.create_task(Bubblewrap().run(job(opened, "echo new > new && sleep 600")))
    while not (opened.changed / "new").exists():
        await asyncio.sleep(0.01)
    say(holder=opened.namespace)
    await work
asyncio.run(main())
""",
    )
    holder = Path("/proc", str(said["holder"]))
    assert holder.is_dir()
    child.send_signal(signal.SIGKILL)
    child.wait()
    until = time.monotonic() + 5
    while holder.is_dir() and time.monotonic() < until:
        time.sleep(0.01)
    assert not holder.is_dir()
    assert not [each for each in _processes() if str(place) in each]
    assert mounts_below(place) == []
    assert (place / "runs" / "run1" / ".layers" / "upper" / "new").read_text() == "new\n"


def _run(user: list[str], place: Path, head: str, code: str) -> dict[str, Any]:
    done = subprocess.run(
        [*user, *_python(), _BEGIN + code, str(place), head],
        cwd=ROOT,
        env=_environment(place),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _begun(
    user: list[str], place: Path, head: str, code: str
) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    child = subprocess.Popen(
        [*user, *_python(), _BEGIN + code, str(place), head],
        cwd=ROOT,
        env=_environment(place),
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    with child.stdout as output:
        answer: dict[str, Any] = json.loads(output.readline())
    return child, answer


def _python() -> list[str]:
    return [sys.executable, "-c"]


def _environment(place: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {**kept, "HOME": str(place), "TMPDIR": str(place)}


def _processes() -> list[str]:
    found = []
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                found.append((each / "cmdline").read_bytes().decode("utf-8", "replace"))
            except OSError:
                continue
    return found
