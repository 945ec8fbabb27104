"""A small hub with an issue, a pull request, reviews and checks, for looking at its pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette

from bot.hub.core import Hub
from bot.hub.pages import routes
from bot.hub.records import (
    App,
    CheckRun,
    CheckSuite,
    Installation,
    Issue,
    Pull,
    Repository,
    Role,
    User,
)

CORE = "from typing import List\n\n\ndef area(sizes: List[float]) -> float:\n    return 1.0\n"
MODERN = "def area(sizes: list[float]) -> float:\n    return 1.0\n"
TEST = "from widgets.core import area\n\n\ndef test_area():\n    assert area([1]) == 1\n"
README = "# Widgets\n\nSee [the code](src/widgets/core.py).\n"
BRANCH = "orchestrate/1-modernise-abc"
EVENTS = ("issues", "issue_comment", "pull_request", "pull_request_review", "check_run", "push",
          "pull_request_review_comment", "check_suite")  # fmt: skip
EVERYTHING = {"issues": "write", "pull_requests": "write", "contents": "write", "checks": "write"}


@dataclass(frozen=True, slots=True)
class World:
    """The hub and what a test wants at hand; the pull request has the number 2."""

    hub: Hub
    repo: Repository
    users: dict[str, User]
    base: str
    head: str

    @property
    def app(self) -> Starlette:
        return Starlette(routes=routes(self.hub))

    @property
    def pull(self) -> Pull:
        found = self.hub.state.pulls.one(number=(self.repo.id, 2))
        assert found is not None
        return found

    def issue(self, number: int) -> Issue:
        found = self.hub.state.issues.one(number=(self.repo.id, number))
        assert found is not None
        return found

    def comments(self, number: int) -> list[str]:
        return [c.body for c in self.hub.state.comments.where(number=(self.repo.id, number))]

    def events(self) -> list[str]:
        found = self.hub.state.deliveries
        return [f"{d.event}.{d.action}" if d.action else d.event for d in found]

    def check(self, name: str, conclusion: str | None, **output: str) -> CheckRun:
        state, now = self.hub.state, self.hub.clock.now()
        suite = state.check_suites.one(sha=(self.repo.id, self.head))
        assert suite is not None
        run = CheckRun(
            id=state.check_runs.next_id(),
            repo_id=self.repo.id,
            suite_id=suite.id,
            app_id=suite.app_id,
            name=name,
            head_sha=self.head,
            status="completed" if conclusion else "in_progress",
            conclusion=conclusion,
            started_at=now,
            completed_at=now if conclusion else None,
            external_id=None,
            details_url=None,
            title=output.get("title"),
            summary=output.get("summary"),
            text=output.get("text"),
            annotations=(
                {
                    "path": "src/widgets/core.py",
                    "start_line": 2,
                    "end_line": 2,
                    "annotation_level": "failure",
                    "message": "wrong <b>",
                },
            ),
            actions=(
                {
                    "label": "Approve",
                    "description": "Merge exactly this commit",
                    "identifier": "approve",
                },
            ),
        )
        return state.check_runs.put(run)


def build(folder: Path) -> World:
    hub = Hub(folder, url="http://hub.test")
    users = _people(hub)
    app = _app(hub, users)
    repo = _repository(hub, users)
    base, head = _history(hub, repo, users["orchestrate[bot]"])
    _conversations(hub, repo, users, app, base, head)
    hub.state.commit()
    return World(hub, repo, users, base, head)


def _people(hub: Hub) -> dict[str, User]:
    names = ("admin", "maintainer", "writer", "reader", "outsider")
    users = {name: _user(hub, name, "User") for name in names}
    users["orchestrate[bot]"] = _user(hub, "orchestrate[bot]", "Bot")
    users["acme"] = _user(hub, "acme", "Organization")
    return users


def _user(hub: Hub, login: str, kind: str) -> User:
    record = User(
        hub.state.users.next_id(),
        login,
        kind,  # type: ignore[arg-type]
        login.title(),
        f"{login}@example.com",
        hub.clock.now(),
    )
    return hub.state.users.put(record)


def _app(hub: Hub, users: dict[str, User]) -> App:
    now, acme, bot = hub.clock.now(), users["acme"].id, users["orchestrate[bot]"].id
    app = App(
        hub.state.apps.next_id(), "orchestrate", "Orchestrate", acme, bot, "",
        "http://127.0.0.1:9/webhook", "secret", EVERYTHING, EVENTS, now,
    )  # fmt: skip
    hub.state.apps.put(app)
    hub.state.installations.put(
        Installation(hub.state.installations.next_id(), app.id, acme, EVERYTHING, EVENTS, now, now)
    )
    return app


def _repository(hub: Hub, users: dict[str, User], name: str = "widgets") -> Repository:
    held: Sequence[tuple[str, Role]] = (
        ("admin", "admin"), ("maintainer", "maintain"), ("writer", "write"), ("reader", "read"),
    )  # fmt: skip
    now = hub.clock.now()
    roles = {users[login].id: role for login, role in held}
    acme = users["acme"].id
    record = Repository(
        hub.state.repositories.next_id(), acme, name, False, "main", "Widgets", roles, now, now, now
    )
    return hub.state.repositories.put(record)


def _history(hub: Hub, repo: Repository, bot: User) -> tuple[str, str]:
    bare, who = hub.bare(repo), hub.signature(bot)
    bare.create("main", durable=False)
    files = {"README.md": README, "src/widgets/core.py": CORE, "tests/test_core.py": TEST}
    base = bare.import_files({**files, "data.bin": b"\0\1"}, "main", "Begin", who)
    blob = bare.write_blob(MODERN.encode())
    tree = bare.write_tree(base, [("100644", "blob", blob, "src/widgets/core.py")])
    message = "Use built-in generics\n\nOrchestrate-Checkpoint: 1\n"
    head = bare.write_commit(tree, [base], message, who, who)
    bare.set_ref(f"refs/heads/{BRANCH}", head)
    return base, head


def _conversations(
    hub: Hub, repo: Repository, users: dict[str, User], app: App, base: str, head: str
) -> None:
    state, now = hub.state, hub.clock.now()
    writer, bot = users["writer"].id, users["orchestrate[bot]"].id
    title = "Modernise the package"
    first = "It uses `List`.\n\n- [ ] generics"
    _issue(hub, repo, 1, False, title, first, writer, None)
    _issue(hub, repo, 2, True, title, "<!-- marker -->\nCloses #1", bot, app.id)
    state.pulls.put(Pull(state.pulls.next_id(), repo.id, 2, BRANCH, head, "main", base))
    state.check_suites.put(
        CheckSuite(state.check_suites.next_id(), repo.id, app.id, head, BRANCH, base, now, now)
    )


def _issue(
    hub: Hub,
    repo: Repository,
    number: int,
    is_pull: bool,
    title: str,
    body: str,
    author: int,
    app: int | None,
) -> None:
    now = hub.clock.now()
    hub.state.issues.put(
        Issue(
            id=hub.state.issues.next_id(),
            repo_id=repo.id,
            number=number,
            is_pull=is_pull,
            title=title,
            body=body,
            author_id=author,
            app_id=app,
            created_at=now,
            updated_at=now,
        )
    )
