from __future__ import annotations

import json
from pathlib import Path

import pytest

from bot.agents.known import PRODUCTS, Product, Way
from bot.agents.registry import Registry
from bot.errors import OperatorError, UserError
from bot.sandbox.bubblewrap import Bubblewrap

WAYS = [(product, way) for product in PRODUCTS.values() for way in product.ways]


@pytest.fixture(autouse=True)
def _readable(tmp_path: Path) -> None:
    """Jobs of a bot that is root have another user, and pytest's folders are closed to that."""
    tmp_path.chmod(0o755)


def program(path: Path, text: str = "#!/bin/sh\necho 1.2.3\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def package(
    modules: Path, name: str, version: str, *, node: str = "", file: str = "cli.js"
) -> None:
    """A package of npm's, with its program linked as npm does."""
    folder = modules / name
    program(folder / file, "#!/usr/bin/env node\n")
    about = {"name": name, "version": version, "engines": {"node": node} if node else {}}
    (folder / "package.json").write_text(json.dumps(about))
    (modules / ".bin").mkdir(exist_ok=True)


def registry(*tools: Path, path: str = "") -> Registry:
    return Registry(Bubblewrap(), tools=tools, path=path)


@pytest.mark.parametrize(("product", "way"), WAYS)
def test_each_way_is_found_by_its_own_name(tmp_path: Path, product: Product, way: Way) -> None:
    name = f"{product.name}-{way.by}"
    assert registry(tmp_path).find(name) is None
    program(tmp_path / "bin" / way.program)
    found = registry(tmp_path).find(name)
    assert found is not None
    assert (found.product, found.way, found.name) == (product, way, name)


def test_the_agent_client_protocol_comes_first(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "claude")
    found = registry(tmp_path).find("claude")
    assert found is not None
    assert found.name == "claude-cli"
    program(tmp_path / "bin" / "claude-agent-acp")
    found = registry(tmp_path).find("claude")
    assert found is not None
    assert found.name == "claude-acp"


def test_a_program_on_the_path_of_the_bot_is_found_and_its_folder_alone_is_shown(
    tmp_path: Path,
) -> None:
    real = program(tmp_path / "share" / "claude" / "versions" / "2.1.329" / "claude")
    link = tmp_path / "bin" / "claude"
    link.parent.mkdir()
    link.symlink_to(real)
    found = registry(path=str(link.parent)).find("claude")
    assert found is not None
    assert found.file == real


async def test_what_lies_beside_much_else_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    program(tmp_path / "claude")
    there = registry(path=str(tmp_path))
    found = there.find("claude")
    assert found is not None
    with pytest.raises(OperatorError, match="a folder with much else"):
        await there.launch(found)


async def test_of_a_home_only_the_programs_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    real = program(tmp_path / ".local" / "bin" / "claude")
    there = registry(path=str(real.parent))
    found = there.find("claude")
    assert found is not None
    assert (await there.launch(found)).readable == (real.parent,)


def test_what_is_not_there_is_told_with_how_to_install_it(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "codex")
    with pytest.raises(UserError, match=r"`npm install -g @google/gemini-cli`.*there is `codex`"):
        registry(tmp_path).require("gemini")
    with pytest.raises(UserError, match=r"no agent `cursor` here; there is `codex`, `ruff`\."):
        registry(tmp_path).require("cursor", ["ruff"])


def test_a_name_cannot_break_out_of_its_quotation() -> None:
    with pytest.raises(UserError, match="no agent `x y` here"):
        registry().require("x` y")


async def test_a_version_is_read_from_the_package(tmp_path: Path) -> None:
    modules = tmp_path / "node_modules"
    package(modules, "@github/copilot", "1.0.102")
    (modules / ".bin" / "copilot").symlink_to("../@github/copilot/cli.js")
    program(modules / ".bin" / "node", "#!/bin/sh\necho v22.1.0\n")
    there = registry(tmp_path)
    found = there.find("copilot")
    assert found is not None
    launch = await there.launch(found)
    assert (launch.version, launch.remark) == ("1.0.102", "")
    node, script = launch.argv
    assert (node, script) == (
        str(modules / ".bin" / "node"), str(modules / "@github/copilot/cli.js"),
    )  # fmt: skip
    assert modules in launch.readable


async def test_an_unknown_version_is_used_with_a_remark(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "claude", "#!/bin/sh\necho '99.0.1 (Claude Code)'\n")
    there = registry(tmp_path)
    found = there.find("claude")
    assert found is not None
    launch = await there.launch(found)
    assert launch.version == "99.0.1"
    assert launch.remark.startswith("Version 99.0.1 was not tried")


async def test_a_version_is_asked_for_once_for_each_file(tmp_path: Path) -> None:
    asked = program(tmp_path / "bin" / "claude", "#!/bin/sh\necho 1.0.0\n")
    there = registry(tmp_path)
    found = there.find("claude")
    assert found is not None
    assert (await there.launch(found)).version == "1.0.0"
    asked.write_text("#!/bin/sh\necho 2.0.0 and more\n")
    assert (await there.launch(found)).version == "2.0.0"


async def test_a_node_that_is_too_old_is_told(tmp_path: Path) -> None:
    modules = tmp_path / "node_modules"
    package(modules, "@google/gemini-cli", "0.61.0", node=">=999.1")
    (modules / ".bin" / "gemini").symlink_to("../@google/gemini-cli/cli.js")
    program(modules / ".bin" / "node", "#!/bin/sh\necho v1.0.0\n")
    there = registry(tmp_path)
    found = there.find("gemini")
    assert found is not None
    with pytest.raises(OperatorError, match="needs Node 999 or newer"):
        await there.launch(found)


async def test_the_list_tells_of_every_way_and_of_configured_commands(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "claude", "#!/bin/sh\necho 2.1.200\n")
    listed = await registry(tmp_path).describe({"lint": "ruff check --fix"}, {"anthropic"})
    by = {(each["agent"], each["by"]): each for each in listed}
    assert set(by) == {("lint", "command"), *((p.name, way.by) for p, way in WAYS)}
    cli = by["claude", "cli"]
    assert (cli["installed"], cli["version"], cli["chosen"], cli["key"]) == (
        True, "2.1.200", True, True,
    )  # fmt: skip
    assert "steer" in cli["capabilities"]
    acp = by["claude", "acp"]
    assert (acp["installed"], acp["chosen"]) == (False, False)
    assert acp["install"] == "npm install -g @agentclientprotocol/claude-agent-acp"
    assert by["codex", "cli"]["key"] is False
    assert "OPENAI_API_KEY" in by["codex", "cli"]["keys"][0]
