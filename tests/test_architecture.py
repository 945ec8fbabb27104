"""The house rules about imports, read from the source as DESIGN.md's drawing has them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = frozenset({"bot", "handlers", "policies", "tests", "bench"})
# The demo's repository is data.
TEMPLATE = "bot/hub/widgets/"

ADAPTERS = frozenset({"git", "agents", "checks", "sandbox", "github", "hub"})
# Agents and checks are run in the sandbox.
ADAPTERS_KNOWN = {("agents", "sandbox"), ("checks", "sandbox")}

ROOT_MODULE = "bot.app"
# Where settings and arguments become objects: these may name adapters.
COMPOSITION = frozenset(
    {
        ROOT_MODULE,
        *("bot.cli", "bot.demo", "bot.doctor", "bot.local", "bot.terminal"),
        *("bot.rebuild", "bot.verify", "bot.retention", "bot.erasure", "bot.inspection"),
        *("bot.audit", "bot.policy_cli", "bot.stops", "bot.simulate"),
        *("bot.effective", "bot.replay"),
    }
)

KERNEL = frozenset(
    {
        "bot.settings",
        "bot.errors",
        "bot.events",
        "bot.commands",
        "bot.router",
        "bot.payloads",
        "bot.threads",
        "bot.requests",
    }
)
KERNEL_LIBRARIES = frozenset({"pydantic", "pydantic_core", "pydantic_settings", "structlog"})

# Each of these is known by its place alone: a module, or a package and all in it.
PLACES = {
    "pygit2": ("bot.git",),
    "githubkit": ("bot.github",),
    "hishel": ("bot.github",),
    "dbos": ("bot.runs.engine",),
    "acp": ("bot.agents.acp",),
    "apscheduler": ("bot.schedule",),
    "sqlalchemy": (
        *("bot.database", "bot.runs.store", "bot.runs.engine", "bot.runs.queue"),
        *("bot.deliveries", "bot.paces"),
        *("bot.schema", "bot.migrations", "bot.leases", "bot.bus", "bot.shared", "bot.erasure"),
    ),
    "alembic": ("bot.schema", "bot.migrations"),
    "uvloop": ("bot.console",),
    "psycopg": ("bot.leases", "bot.bus"),
    "yaml": ("policies",),
    "pathspec": ("policies",),
    "re2": ("policies.gitleaks",),
    "jinja2": ("bot.hub.pages", "bot.web"),
    "markdown_it": ("bot.hub.pages", "bot.web"),
    "defusedxml": ("bot.checks",),
    "graphql": ("bot.hub.graphql",),
    "h11": ("bot.sandbox.gateway.server",),
    "typer": ("bot.cli", "bot.scale", "bot.housekeeping", "bot.policy_cli", "bot.console"),
    "rich": (
        *("bot.cli", "bot.demo", "bot.doctor", "bot.inspection", "bot.terminal", "bot.stops"),
    ),
}


class Import(NamedTuple):
    """One import: the module that does it, what it names, and where."""

    importer: str
    imported: str
    place: str


class Broken(NamedTuple):
    """An import that breaks a rule."""

    place: str
    rule: str


def imports(root: Path) -> Iterator[Import]:
    """Read every import in the three packages below `root`, wherever in a file it stands."""
    for package in ("bot", "handlers", "policies"):
        for file in sorted((root / package).rglob("*.py")):
            name = file.relative_to(root).as_posix()
            if not name.startswith(TEMPLATE):
                yield from _imports_of(file, name)


def _imports_of(file: Path, name: str) -> Iterator[Import]:
    parts = name.removesuffix(".py").split("/")
    is_package = parts[-1] == "__init__"
    module = ".".join(parts[:-1] if is_package else parts)
    around = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text())):
        for imported in _named(node, around):
            yield Import(module, imported, f"{name}:{getattr(node, 'lineno', 0)}")


def _named(node: ast.AST, around: str) -> list[str]:
    """The modules that a statement names, `from` ones with each name, since it may be a module."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            above = around.split(".")[: len(around.split(".")) - node.level + 1]
            base = ".".join([*above, *([base] if base else [])])
        return [f"{base}.{alias.name}" for alias in node.names]
    return []


def within(module: str, place: str) -> bool:
    """Whether `module` is `place` or lies in it."""
    return module == place or module.startswith(f"{place}.")


def broken(found: Iterator[Import]) -> list[Broken]:
    """Name every import that breaks a rule, with the rule."""
    return [Broken(each.place, rule) for each in found for rule in _rules_broken(each)]


def _rules_broken(each: Import) -> Iterator[str]:
    top = each.imported.partition(".")[0]
    if top in OURS:
        yield from _inward(each, top)
    elif top not in sys.stdlib_module_names:
        yield from _outward(each, top)


def _inward(each: Import, top: str) -> Iterator[str]:
    home = each.importer.partition(".")[0]
    if top in {"tests", "bench"}:
        yield "The product does not import its tests."
    if home == "policies" and top != "policies":
        yield "Policies import nothing of ours."
    if home == "bot" and top == "handlers" and each.importer != ROOT_MODULE:
        yield "Only bot/app.py imports handlers."
    if home == "handlers" and top == "handlers" and _other_handler(each):
        yield "Handlers do not import one another."
    if home in {"handlers", "bot"} and top == "bot":
        yield from _adapters(each)


def _other_handler(each: Import) -> bool:
    return each.importer != "handlers" and not within(each.imported, each.importer)


def _adapters(each: Import) -> Iterator[str]:
    target = _adapter(each.imported)
    source = _adapter(each.importer)
    if not target or source == target or (source, target) in ADAPTERS_KNOWN:
        return
    if source:
        yield f"{source} does not know {target}."
    elif each.importer not in COMPOSITION:
        yield f"Only where objects are put together may {target} be named."


def _adapter(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ADAPTERS else ""


def _outward(each: Import, library: str) -> Iterator[str]:
    if each.importer in KERNEL and library not in KERNEL_LIBRARIES:
        yield f"The kernel uses no {library}."
    places = PLACES.get(library)
    if places and not any(within(each.importer, place) for place in places):
        yield f"{library} is known by {' and '.join(places)} alone."


def test_every_import_keeps_the_house_rules() -> None:
    found = broken(imports(ROOT))
    assert not found, "\n".join(f"{place}: {rule}" for place, rule in found)


def test_the_rules_have_something_to_read() -> None:
    modules = {each.importer for each in imports(ROOT)}
    assert {"bot.app", "handlers", "policies.config", "bot.git.refs"} <= modules
    assert not any(module.startswith("bot.hub.widgets") for module in modules)


@pytest.mark.parametrize(
    ("file", "source", "rule"),
    [
        ("policies/paths.py", "import bot.errors", "Policies import nothing of ours."),
        ("policies/paths.py", "from handlers import help", "Policies import nothing of ours."),
        ("bot/router.py", "import handlers", "Only bot/app.py imports handlers."),
        ("bot/cli.py", "from handlers.help import table", "Only bot/app.py imports handlers."),
        ("handlers/undo.py", "from handlers import help", "Handlers do not import one another."),
        ("handlers/undo.py", "from . import help", "Handlers do not import one another."),
        ("handlers/undo.py", "from .help import table", "Handlers do not import one another."),
        ("bot/git/refs.py", "from bot.github import client", "git does not know github."),
        ("bot/git/refs.py", "from bot import hub", "git does not know hub."),
        ("bot/git/refs.py", "from ..sandbox import model", "git does not know sandbox."),
        ("bot/sandbox/none.py", "import bot.agents.model", "sandbox does not know agents."),
        (
            "bot/runs/work.py",
            "def now():\n    from bot.git import refs",
            "Only where objects are put together may git be named.",
        ),
        (
            "handlers/diff.py",
            "import bot.github.client",
            "Only where objects are put together may github be named.",
        ),
        ("bot/runs/work.py", "import pygit2.enums", "pygit2 is known by bot.git alone."),
        ("bot/runs/work.py", "from dbos import DBOS", "dbos is known by bot.runs.engine alone."),
        ("bot/router.py", "import starlette", "The kernel uses no starlette."),
        ("bot/webhook.py", "from tests import support", "The product does not import its tests."),
    ],
)
def test_an_import_that_breaks_a_rule_is_found(
    tmp_path: Path, file: str, source: str, rule: str
) -> None:
    _write(tmp_path, file, source)
    assert [each.rule for each in broken(imports(tmp_path))] == [rule]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("policies/paths.py", "from policies.config import Config\nimport yaml"),
        ("bot/app.py", "from handlers import FEATURES\nfrom bot.git import refs"),
        ("bot/cli.py", "import typer\nfrom bot.app import build"),
        ("handlers/__init__.py", "from handlers import help\nfrom . import undo"),
        ("handlers/undo.py", "from bot.router import Order\nfrom policies.config import Config"),
        ("bot/agents/command.py", "from bot.sandbox.model import Sandbox"),
        ("bot/checks/run.py", "from ..sandbox import model"),
        ("bot/git/refs.py", "import pygit2\nfrom .program import git\nfrom . import objects"),
        ("bot/git/__init__.py", "from .program import git"),
        ("bot/router.py", "import structlog\nfrom pydantic import BaseModel\nimport json"),
        ("bot/hub/widgets/widgets/orders.py", "import handlers, pygit2"),
    ],
)
def test_an_import_that_keeps_the_rules_is_left_alone(
    tmp_path: Path, file: str, source: str
) -> None:
    _write(tmp_path, file, source)
    assert broken(imports(tmp_path)) == []


def _write(root: Path, file: str, source: str) -> None:
    path = root / file
    path.parent.mkdir(parents=True)
    path.write_text(source)
