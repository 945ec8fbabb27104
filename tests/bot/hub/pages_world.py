"""A small hub with an issue and a pull request, for looking at its pages."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.applications import Starlette

from bot.hub import Hub, create_app, seed
from bot.hub.access import Installed, person
from bot.hub.actions import checks, comments, issues, pulls
from bot.hub.records import CheckRun, Comment, Issue, Pull, Repository
from bot.hub.repositories import Bare
from bot.hub.seed import INSTALLATION_ID, PERMISSIONS, new_key

CORE = "from typing import List\n\n\ndef area(sizes: List[float]) -> float:\n    return 1.0\n"
MODERN = "def area(sizes: list[float]) -> float:\n    return 1.0\n"
TEST = "from widgets.core import area\n\n\ndef test_area():\n    assert area([1]) == 1\n"
FILES: dict[str, str | bytes] = {
    "README.md": "# Widgets\n\nSee [the code](src/widgets/core.py).\n",
    "src/widgets/core.py": CORE,
    "tests/test_core.py": TEST,
    "data.bin": b"\0\1",
}
BRANCH = "orchestrate/1-modernise-abc"
MESSAGE = "Use built-in generics\n\nOrchestrate-Checkpoint: 1\n"


@dataclass(frozen=True, slots=True)
class World:
    """The hub and what a test wants at hand: issue 1 and pull request 2."""

    hub: Hub
    bot: Installed
    head: str
    told: int

    @property
    def app(self) -> Starlette:
        return create_app(self.hub)

    @property
    def repo(self) -> Repository:
        found = self.hub.repository("acme/widgets")
        assert found is not None
        return found

    @property
    def pull(self) -> Pull:
        return pulls.find(self.hub, self.repo, 2)

    def issue(self, number: int) -> Issue:
        return issues.find(self.hub, self.repo, number)

    def comments(self, number: int) -> list[str]:
        return [c.body for c in self.hub.state.comments.where(number=(self.repo.id, number))]

    def events(self) -> list[str]:
        """What the App was told since the world was built."""
        found = list(self.hub.state.deliveries)[self.told :]
        return [f"{d.event}.{d.action}" if d.action else d.event for d in found]

    def bot_says(self, number: int, body: str) -> Comment:
        return comments.create(self.hub, self.bot, self.repo, number, body)

    async def check(self, name: str, conclusion: str | None, **output: str) -> CheckRun:
        note = {
            "path": "src/widgets/core.py",
            "start_line": 2,
            "end_line": 2,
            "annotation_level": "failure",
            "message": "wrong <b>",
        }
        action = {
            "label": "Approve",
            "description": "Merge exactly this commit",
            "identifier": "approve",
        }
        given = {
            "name": name,
            "head_sha": self.head,
            "status": "completed" if conclusion else "in_progress",
            "output": {"title": "Title", "summary": "", **output, "annotations": [note]},
            "actions": [action],
            **({"conclusion": conclusion} if conclusion else {}),
        }
        return await checks.create(self.hub, self.bot, self.repo, given)


_key = cache(new_key)


async def build(folder: Path) -> World:
    hub = Hub(folder, url="http://hub.test")
    await seed(hub, webhook_url="http://127.0.0.1:9/webhook", private_key=_key(), files=FILES)
    repo = hub.repository("acme/widgets")
    assert repo is not None
    bot = _bot(hub)
    head = _branch(hub.bare(repo), hub, bot)
    writer = person(hub, "writer")
    await issues.create(hub, writer, repo, "Modernise the package", "Uses `List`.\n\n- [ ] it")
    body = "<!-- marker -->\nCloses #1"
    await pulls.create(
        hub, bot, repo, title="Modernise the package", head=BRANCH, base="main", body=body
    )
    hub.state.commit()
    return World(hub, bot, head, len(hub.state.deliveries))


def _bot(hub: Hub) -> Installed:
    installation = hub.state.installations[INSTALLATION_ID]
    app = hub.state.apps[installation.app_id]
    return Installed(hub.state.users[app.bot_id], app, installation, PERMISSIONS)


def _branch(bare: Bare, hub: Hub, bot: Installed) -> str:
    base = bare.resolve("main")
    assert base is not None
    entry = ("100644", "blob", bare.write_blob(MODERN.encode()), "src/widgets/core.py")
    who = hub.signature(bot.user)
    head = bare.write_commit(bare.write_tree(base, [entry]), [base], MESSAGE, who, who)
    bare.set_ref(f"refs/heads/{BRANCH}", head)
    return head
