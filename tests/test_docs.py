"""What the documents say is so: pages made from the code are current, names and links exist."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.cli import app
from bot.sandbox.protections import markdown as protections
from bot.settings import Settings
from handlers import FEATURES
from policies.config import parse

ROOT = Path(__file__).resolve().parent.parent
DOCS = [
    *(ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
# Set by the scripts for tests; no setting of a server.
OF_TESTS = {"ORCHESTRATE_TEST_TOOLS", "ORCHESTRATE_GITHUB_SPEC"}

_LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
_COMMAND = re.compile(r"(?:^|[\s`]|bin/)orchestrate ([a-z]+)\b", re.M)
_VERB = re.compile(r"`/([a-z]+)\b")


def _id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def generator() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "generate.py"))


def test_pages_made_from_the_code_are_current(generator: dict[str, Any]) -> None:
    for name, text in generator["pages"]().items():
        assert (ROOT / "docs" / name).read_text() == text, f"docs/{name}: run scripts/docs"


def test_the_table_of_protections_is_the_one_in_the_code() -> None:
    page = (ROOT / "docs" / "sandbox.md").read_text()
    assert f"\n{protections()}\n" in page


def test_every_command_has_its_section(generator: dict[str, Any]) -> None:
    page = generator["commands"]()
    for feature in FEATURES:
        assert f"## /{feature.usage.verb}\n\n`/{feature.usage.verb}" in page


def test_every_setting_is_listed(generator: dict[str, Any]) -> None:
    page = generator["settings"]()
    for name, field in Settings.model_fields.items():
        assert f"`ORCHESTRATE_{name.upper()}`" in page
        assert field.description, f"{name} has no description"


@pytest.mark.parametrize("path", DOCS, ids=_id)
def test_links_lead_somewhere(path: Path) -> None:
    for target in _LINK.findall(path.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (path.parent / target).exists(), f"{target} is not there"


@pytest.mark.parametrize("path", DOCS, ids=_id)
def test_commands_of_the_command_line_exist(path: Path) -> None:
    known = {_name(each) for each in app.registered_commands} | {
        group.name for group in app.registered_groups
    }
    for verb in _code(path, _COMMAND):
        assert verb in known, f"there is no `orchestrate {verb}`"


def _name(command: Any) -> str:
    return str(command.name or command.callback.__name__.replace("_", "-"))


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "CHANGELOG.md"], ids=_id)
def test_slash_commands_exist(path: Path) -> None:
    known = {feature.usage.verb for feature in FEATURES}
    for verb in _VERB.findall(path.read_text()):
        assert verb in known, f"there is no `/{verb}`"


@pytest.mark.parametrize("path", DOCS, ids=_id)
def test_variables_exist(path: Path) -> None:
    known = {f"ORCHESTRATE_{name.upper()}" for name in Settings.model_fields} | OF_TESTS
    assert set(re.findall(r"ORCHESTRATE_[A-Z_]+", path.read_text())) <= known


def test_the_configuration_in_the_readme_is_valid() -> None:
    [block] = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert parse(block).problems == ()


def test_the_demo_repository_is_configured_validly() -> None:
    template = ROOT / "bot" / "hub" / "widgets" / ".github" / "orchestrate.yml"
    assert parse(template.read_bytes()).problems == ()


def _code(path: Path, wanted: re.Pattern[str]) -> Iterator[str]:
    """What a pattern finds in the code of a document, in blocks and in lines."""
    text = path.read_text()
    blocks = re.findall(r"```\n(.*?)```", text, re.S)
    spans = re.findall(r"`[^`\n]+`", re.sub(r"```.*?```", "", text, flags=re.S))
    for part in [*blocks, *spans]:
        yield from wanted.findall(part)
