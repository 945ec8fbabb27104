"""Programs that work on one mirror at once; each says on its output what it did.

python -m tests.bot.git.busy ROLE MIRROR ORIGIN SECONDS NAME
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bot.errors import Refused
from bot.git import leases, objects, refs, upkeep
from bot.git.mirror import Mirror, ensure, recover
from bot.git.pack import Pack
from bot.git.remote import Remote

Work = Callable[[Mirror, Remote, str, int], Awaitable[str]]


async def fetch(mirror: Mirror, remote: Remote, name: str, number: int) -> str:
    """Bring in what is new, and see that all of it is there."""
    await ensure(mirror.path, remote)
    return await read(mirror, remote, name, number)


async def read(mirror: Mirror, remote: Remote, name: str, number: int) -> str:
    """Read all files of the newest commit; once more where an upkeep just moved them."""
    try:
        return _read(mirror)
    except (KeyError, Refused) as error:
        if not await recover(mirror, remote, error):
            raise
        return _read(mirror)


def _read(mirror: Mirror) -> str:
    head = refs.resolve(mirror, "main")
    assert head is not None
    for path in objects.paths(mirror, head):
        assert objects.read(mirror, head, path, 1_000_000) is not None or path == "link"
    return head


async def write(mirror: Mirror, remote: Remote, name: str, number: int) -> str:
    """Make a checkpoint on a branch of its own, as a run does: leased, in one pack, by a ref."""
    ref = f"refs/heads/orchestrate/{name}"
    head, tip = refs.resolve(mirror, "main"), refs.tip(mirror, ref)
    assert head is not None
    parent = tip or head
    leases.take(mirror, name, [parent])
    pack = Pack(mirror)
    blob = pack.add("blob", f"{name} {number} {random.random()}\n".encode())
    tree = pack.add("tree", b"100644 work.txt\0" + blob)
    who = b"Ada <ada@example.org> 1700000000 +0000"
    lines = (b"tree " + tree.hex().encode(), b"parent " + parent.encode())
    body = b"\n".join((*lines, b"author " + who, b"committer " + who, b"", b"Checkpoint\n"))
    commit = pack.add("commit", body).hex()
    pack.write()
    refs.set_ref(mirror, ref, commit, tip)
    if number % 5 == 4:
        leases.drop(mirror, name)
        await asyncio.sleep(0.15)  # the run waits for somebody
    return commit


async def keep_up(mirror: Mirror, remote: Remote, name: str, number: int) -> str:
    """Pack everything anew, where no run works."""
    done = await upkeep.run(mirror, whole=True)
    if not done:
        await asyncio.sleep(0.01)
    return ",".join(done).replace(" ", "_") or "-"


ROLES: dict[str, Work] = {"fetch": fetch, "read": read, "write": write, "keep_up": keep_up}


async def main(role: str, path: str, origin: str, seconds: str, name: str) -> None:
    """Do the same again and again, for some seconds."""
    mirror, remote, number = Mirror(Path(path)), Remote(origin), 0
    end = time.monotonic() + float(seconds)
    print("begun", flush=True)
    while time.monotonic() < end:
        print(await ROLES[role](mirror, remote, name, number), flush=True)
        number += 1
    leases.drop(mirror, name)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
