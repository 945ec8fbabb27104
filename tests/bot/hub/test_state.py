"""The memory: what was answered is still there after the process was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.hub import Hub, seed
from bot.hub.clock import Clock
from bot.hub.records import Label
from bot.hub.state import State
from tests.bot.hub.world import FILES

ACT = """
import asyncio, os, signal, sys
from pathlib import Path
from bot.hub import As, Hub, seed

async def main():
    hub = Hub(Path(sys.argv[1]))
    await seed(hub, webhook_url="http://127.0.0.1:9/webhook", files={"a.txt": "a"})
    writer = As(hub, "writer")
    await writer.open_issue("acme/widgets", "Kept", "body")
    await writer.comment("acme/widgets", 1, "Kept too")
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def test_everything_survives_kill_9(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ACT, str(tmp_path)], env={**os.environ}, timeout=30, check=False
    )
    assert done.returncode == -signal.SIGKILL
    hub = Hub(tmp_path)
    repo = hub.repository("acme/widgets")
    assert repo is not None
    issue = hub.state.issues.one(number=(repo.id, 1))
    assert issue is not None
    assert (issue.title, hub.state.users[issue.author_id].login) == ("Kept", "writer")
    assert [c.body for c in hub.state.comments.where(number=(repo.id, 1))] == ["Kept too"]
    assert hub.bare(repo).resolve("main") is not None
    hub.state.close()


async def test_seeding_again_keeps_credentials_and_moves_the_webhook(tmp_path: Path) -> None:
    first = Hub(tmp_path)
    made = await seed(first, webhook_url="http://one.test", files=FILES)
    first.state.close()
    second = Hub(tmp_path)
    assert await seed(second, webhook_url="http://two.test", files=FILES) == made
    assert second.state.apps[made.app_id].webhook_url == "http://two.test"
    assert len(second.state.repositories) == 1
    assert (tmp_path / "credentials.json").stat().st_mode & 0o077 == 0
    second.state.close()


STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "drop", "commit"]), st.integers(1, 6), st.text(max_size=3))
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(steps=STEPS)
def test_a_table_read_again_is_the_table_that_was_written(
    tmp_path_factory: object, steps: list[tuple[str, int, str]]
) -> None:
    folder = tmp_path_factory.mktemp("state")  # type: ignore[attr-defined]
    state = State(folder)
    for step, number, text in steps:
        if step == "put":
            state.labels.put(Label(number, number % 2, text, "", ""))
        elif step == "drop" and state.labels.get(number):
            state.labels.drop(number)
        elif step == "commit":
            state.commit()
    before = sorted(state.labels, key=lambda x: x.id)
    by_index = [sorted(x.id for x in state.labels.where(repo=r)) for r in (0, 1)]
    newest = state.labels.last_id
    state.close()
    again = State(folder)
    assert sorted(again.labels, key=lambda x: x.id) == before
    assert [sorted(x.id for x in again.labels.where(repo=r)) for r in (0, 1)] == by_index
    if steps and any(s[0] == "put" for s in steps):
        assert again.labels.last_id == newest
    again.close()


def test_the_clock_goes_ahead() -> None:
    clock = Clock()
    before = clock.now()
    clock.advance(60)
    assert 59 < (clock.now() - before).total_seconds() < 62
