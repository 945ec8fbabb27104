"""A project that none of us wrote: its own source, its own tests, a real tool as the agent.

The source distribution and the tools are fetched by name, version and hash, so this needs the
package registry; without it the test says so and is skipped.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bot.hub import add_repository
from bot.runs.transitions import State
from tests.support.world import Repo, World, yaml_of

HERE = Path(__file__).parent
FIX = (
    "ruff check --isolated --fix --unsafe-fixes --exit-zero --target-version py310 "
    "--select UP,C4,SIM,PIE,RET,COM,EM,RUF,FURB,I src"
)
CONFIG = {
    "agents": {"ruff": {"command": FIX}},
    "checks": [
        {
            "name": "pytest",
            "run": "PYTHONPATH=src python -m pytest -q -p no:cacheprovider --junitxml=report.xml",
            "report": "report.xml",
        }
    ],
    "limits": {"turns": 1},
}

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("real")]


def pip(*args: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *args]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("the package registry does not answer in time")
    if done.returncode:
        pytest.skip(f"the package registry cannot be reached: {done.stderr.strip()[-200:]}")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution of humanize."""
    folder = tmp_path_factory.mktemp("package")
    pip(
        "download", "--no-deps", "--no-binary", "humanize", "--require-hashes",
        "-r", str(HERE / "package.lock"), "-d", str(folder),
    )  # fmt: skip
    (archive,) = folder.glob("*.tar.gz")
    subprocess.run(["tar", "-xzf", str(archive), "-C", str(folder)], check=True, timeout=60)
    (source,) = (path for path in folder.iterdir() if path.is_dir())
    (source / ".github").mkdir(exist_ok=True)
    (source / ".github" / "orchestrate.yml").write_text(yaml_of(CONFIG))
    return source


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with what the package's own tests need, and with the tool."""
    folder = tmp_path_factory.mktemp("tools")
    folder.chmod(0o755)  # jobs are another user than the one who tests
    # Without a pip of its own, which takes longer than the rest: ours installs into it.
    venv = [sys.executable, "-m", "venv", "--without-pip", str(folder)]
    subprocess.run(venv, check=True, timeout=120)
    pip("--python", str(folder), "install", "--require-hashes", "-r", str(HERE / "tools.lock"))
    return folder


@pytest.fixture
async def real(world: World, package: Path, tools: Path, monkeypatch: pytest.MonkeyPatch) -> Repo:
    """The package as a repository of the shared world, whose jobs are given its tools."""
    ports = world.server.bot.ports
    holders: tuple[tuple[object, str], ...] = (
        (getattr(ports.agents, "_registry"), "tools"),  # noqa: B009
        (ports.checks, "_tools"),
    )
    for holder, name in holders:
        monkeypatch.setattr(holder, name, (tools, *getattr(holder, name)))
    number = await add_repository(world.hub, "humanize", template=package)
    return Repo(world, "acme/humanize", number)


async def test_a_tool_modernises_a_package_and_the_packages_own_tests_agree(real: Repo) -> None:
    issue, run = await real.started("bring the idioms up to date")
    assert run.state is State.AWAITING_REVIEW, run.reason
    pull = await real.person("reader").get(f"/pulls/{run.pull_request}")
    assert not pull["draft"]
    assert pull["changed_files"] >= 5
    assert pull["head"]["sha"] == run.head

    checks = await real.person("reader").get(f"/commits/{run.head}/check-runs")
    tests = next(c for c in checks["check_runs"] if c["name"] == "orchestrate / pytest")
    assert tests["conclusion"] == "success"
    passed = int(tests["output"]["title"].split()[0])
    assert passed > 600, tests["output"]["title"]

    files = await real.person("reader").get(f"/pulls/{run.pull_request}/files?per_page=100")
    names = {each["filename"] for each in files}
    assert names <= set(real.git("ls-tree", "-r", "--name-only", "main").split("\n"))
    assert all(name.startswith("src/") for name in names), "the checks' report must not get in"

    await real.person("maintainer").comment(run.pull_request or 0, f"/approve {run.head[:10]}")
    run = await real.until(issue, State.DONE)
    assert real.git("rev-parse", "main^{tree}") == run.checkpoints[-1].tree
