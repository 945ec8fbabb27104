"""The demo's repository does what the demo promises: a tool mends its failing test."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from defusedxml.ElementTree import parse

from policies.config import Check, Config
from policies.config import parse as read_config

TEMPLATE = Path(__file__).resolve().parent.parent / "bot" / "hub" / "widgets"
FAILING = "test_every_order_has_its_own_lines"
SECONDS = 60


@pytest.fixture(scope="module")
def tools() -> Path:
    named = os.environ.get("ORCHESTRATE_TEST_TOOLS")
    if not named:
        pytest.skip("ORCHESTRATE_TEST_TOOLS names no folder with ruff and pytest.")
    return Path(named)


@pytest.fixture
def widgets(tmp_path: Path) -> Path:
    folder = tmp_path / "widgets"
    shutil.copytree(TEMPLATE, folder, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
    return folder


def run(folder: Path, tools: Path, command: str) -> int:
    # Tests inside of a test have a temporary folder of their own: pytest clears up the common one,
    # where the tests around them keep theirs.
    temporary = folder.parent / "temporary"
    temporary.mkdir(exist_ok=True)
    home = str(folder.parent)
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=folder,
        env={"PATH": f"{tools}/bin:/usr/bin:/bin", "HOME": home, "TMPDIR": str(temporary)},
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    return done.returncode


def failures(folder: Path, tools: Path) -> list[str]:
    """Run the package's tests as its configuration does; name those that fail."""
    report = folder.parent / "report.xml"
    run(folder, tools, checks(folder)[0].run.replace("{report}", str(report)))
    root = parse(report).getroot()
    assert root is not None
    cases = root.iter("testcase")
    return [str(case.get("name")) for case in cases if case.find("failure") is not None]


def configured(folder: Path) -> Config:
    config = read_config((folder / ".github" / "orchestrate.yml").read_bytes()).config
    assert config is not None
    return config


def checks(folder: Path) -> tuple[Check, ...]:
    named = configured(folder).checks
    assert named != "auto"
    return named


def test_the_tool_mends_the_one_failing_test(widgets: Path, tools: Path) -> None:
    config = configured(widgets)
    assert failures(widgets, tools) == [FAILING]
    assert run(widgets, tools, config.agents["ruff"].command) == 0
    assert failures(widgets, tools) == []
    assert [run(widgets, tools, check.run) for check in checks(widgets)[1:]] == [0]


def test_the_tool_finds_nothing_more_to_do_afterwards(widgets: Path, tools: Path) -> None:
    command = configured(widgets).agents["ruff"].command
    run(widgets, tools, command)
    mended = {path: path.read_bytes() for path in widgets.rglob("*.py")}
    run(widgets, tools, command)
    assert {path: path.read_bytes() for path in widgets.rglob("*.py")} == mended


def test_the_template_has_the_line_ends_of_git() -> None:
    files = [path for path in TEMPLATE.rglob("*.*") if path.suffix in {".py", ".md", ".csv"}]
    assert len(files) > 20
    assert [path for path in files if b"\r" in path.read_bytes()] == []
