"""Runs on environments: set up once, shared, remade for what an agent changes, never committed."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.doctor import _environments
from bot.runs.transitions import State
from tests.support.commands import orchestrate
from tests.support.registry import Registry, registry
from tests.support.world import PATIENCE_SECONDS, Repo, World, make_world

SECRET = "s3cr3t-of-the-registry"

# What the list of dependencies says is what is installed, with the time at which it was.
INSTALL = (
    "mkdir -p deps && cp deps.txt deps/installed && date +%N > deps/at && ! grep -q bad deps.txt"
)
SETUP = {"run": [INSTALL], "files": ["deps.txt"]}
AGENT = "cat > /dev/null; cat deps/installed >> notes.txt; touch deps/litter; rm deps/at"
CHECK = {"name": "installed", "run": "cmp deps.txt deps/installed && test ! -e deps/litter"}


@pytest.fixture(scope="module")
def index() -> Iterator[Registry]:
    with registry() as made:
        yield made


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory, index: Registry) -> AsyncIterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in index.environ.items():
            patch.setenv(name, value)
        secrets = {f"acme/repo{n}": {"TOKEN": SecretStr(SECRET)} for n in range(1, 400)}
        folder = tmp_path_factory.mktemp("environments")
        async with make_world(
            folder, setup_secrets=secrets, setup_hosts=("registry.example", "*.example.org")
        ) as made:
            yield made


async def repository(
    world: World,
    agent: str = AGENT,
    files: Mapping[str, str] | None = None,
    setup: Mapping[str, Any] | None = None,
    **config: Any,
) -> Repo:
    return await world.repository(
        {
            "agents": {"writer": {"command": agent}},
            "checks": [CHECK],
            "setup": {**SETUP, **(setup or {})},
            **config,
        },
        {"deps.txt": "first\n", **(files or {})},
    )


def environments(world: World) -> list[Path]:
    return sorted((world.folder / "bot" / "environments").glob("*/[!.]*"))


def setup_logs(world: World, run: str) -> str:
    logs = (world.folder / "bot" / "runs" / run / "logs").glob("setup-*.log")
    return "".join(each.read_text() for each in logs)


async def test_agent_and_checks_have_what_the_setup_installed(world: World) -> None:
    repo = await repository(world)
    _, run = await repo.started()
    assert run.state is State.AWAITING_REVIEW, run.reason
    assert repo.file(run.head, "notes.txt") == "first\nfirst"
    assert not repo.contains("deps")
    types = [each.type for each in await world.server.bot.store.events(run.id)]
    assert types.count("setup_started") == types.count("setup_ended") == 1
    assert types.index("setup_ended") < types.index("turn_started")


async def test_runs_at_once_share_one_that_is_made_once(world: World) -> None:
    repo = await repository(world, setup={"run": [f"sleep 0.5; {INSTALL}"]})
    before = len(environments(world))
    writer = repo.person("writer")
    issues = [await writer.issue(f"Issue {n}") for n in range(3)]
    await asyncio.gather(*(writer.comment(each, "/orchestrate add a note") for each in issues))
    for each in issues:
        run = await repo.until(each, lambda run: not run.active)
        assert run.state is State.AWAITING_REVIEW, run.reason
    assert len(environments(world)) == before + 1


async def test_what_an_agent_adds_is_set_up_again_before_the_checks(world: World) -> None:
    agent = "cat > /dev/null; echo second >> deps.txt; cat deps/installed > seen.txt"
    repo = await repository(world, agent)
    before = set(environments(world))
    issue, run = await repo.started()
    assert run.state is State.AWAITING_REVIEW, run.reason
    assert repo.file(run.head, "seen.txt") == "first"
    shared, own = sorted(set(environments(world)) - before, key=lambda each: each.stat().st_mtime)
    assert (own / "upper" / "deps" / "installed").read_text() == "first\nsecond\n"
    assert (shared / "upper" / "deps" / "installed").read_text() == "first\n"
    # And the next turn stands on it.
    await repo.person("writer").comment(run.pull_request or issue, "/orchestrate once more")
    run = await repo.until(issue, lambda run: run.turns == 2 and not run.active)
    assert repo.file(run.head, "seen.txt") == "first\nsecond"


async def test_what_one_run_changed_is_under_no_other_run(world: World) -> None:
    """An agent's lock file may be what another's is: but it ran the agent's own code."""
    agent = "cat > /dev/null; echo second >> deps.txt; echo $$ > unique.txt"
    repo = await repository(world, agent)
    before = set(environments(world))
    await repo.started("one")
    await repo.started("two")
    assert len(set(environments(world)) - before) == 3


async def test_a_setup_that_an_agent_broke_is_a_red_check_that_it_is_told_of(world: World) -> None:
    agent = (
        "cat > prompt.txt; if [ $ORCHESTRATE_TURN = 1 ]; then echo bad >> deps.txt; "
        "else echo good > deps.txt; fi"
    )
    repo = await repository(world, agent)
    _, run = await repo.started()
    assert run.state is State.AWAITING_REVIEW, run.reason
    first, second = run.checkpoints
    assert (await repo.check_runs(first.sha))["orchestrate / environment"] == "failure"
    prompt = repo.file(second.sha, "prompt.txt")
    assert "The check `environment` failed: The environment could not be set up" in prompt
    assert (await repo.check_runs(second.sha))["orchestrate / installed"] == "success"


async def test_a_setup_that_fails_on_the_base_blocks_the_run_with_its_last_lines(
    world: World,
) -> None:
    say = "echo looking; echo; echo no such package: left-pad >&2; exit 4"
    repo = await repository(world, setup={"run": [say]})
    issue, run = await repo.started()
    assert run.state is State.BLOCKED
    assert run.turns == 0
    assert "failed with exit code 4: looking; no such package: left-pad." in run.reason
    assert "then `/resume`" in run.next_step
    (status,) = await repo.status_comments(issue)
    assert "no such package: left-pad" in status


async def test_a_secret_is_for_the_setup_alone(world: World) -> None:
    install = f'test ${{#TOKEN}} = {len(SECRET)} && echo "token: $TOKEN"; {INSTALL}'
    agent = "cat > /dev/null; env > env.txt; cat deps/installed >> notes.txt"
    repo = await repository(world, agent, setup={"run": [install], "secrets": ["TOKEN"]})
    _, run = await repo.started()
    assert run.state is State.AWAITING_REVIEW, run.reason
    assert "TOKEN" not in repo.file(run.head, "env.txt")
    log = setup_logs(world, run.id)
    assert "token: " in log
    assert SECRET not in log
    for kept in environments(world):
        files = [each for each in kept.rglob("*") if each.is_file()]
        assert not any(SECRET.encode() in each.read_bytes() for each in files)


async def test_a_setup_that_leaves_its_secret_in_a_file_is_refused(world: World) -> None:
    install = f'{INSTALL} && echo "$TOKEN" > deps/.netrc'
    repo = await repository(world, setup={"run": [install], "secrets": ["TOKEN"]})
    _, run = await repo.started()
    assert run.state is State.BLOCKED
    assert "wrote a secret to `deps/.netrc`" in run.reason
    assert SECRET not in run.reason


async def test_a_secret_that_the_server_does_not_keep_blocks_the_run(world: World) -> None:
    repo = await repository(world, setup={"secrets": ["OTHER"]})
    _, run = await repo.started()
    assert run.state is State.BLOCKED
    assert f"`OTHER`, which this server does not keep for {repo.name}" in run.reason
    assert "ORCHESTRATE_SETUP_SECRETS" in run.next_step


async def test_a_host_that_the_operator_does_not_allow_blocks_the_run(world: World) -> None:
    repo = await repository(world, setup={"network": ["a.example.org", "evil.example.com"]})
    _, run = await repo.started()
    assert run.state is State.BLOCKED
    assert "`evil.example.com`, which this server does not allow" in run.reason
    assert "a.example.org" not in run.reason
    assert "ORCHESTRATE_SETUP_HOSTS" in run.next_step


async def test_a_host_that_is_asked_for_in_vain_is_named_with_the_command(world: World) -> None:
    ask = "python3 -c 'import urllib.request as u; u.urlopen(\"http://elsewhere.example.net/\")'"
    repo = await repository(world, setup={"run": [ask]})
    _, run = await repo.started()
    assert run.state is State.BLOCKED
    assert run.reason.startswith("`python3 -c 'import urllib.request")
    assert "asked for `elsewhere.example.net:80`" in run.reason
    assert "`setup: network:`" in run.next_step


async def test_a_run_can_be_stopped_while_its_environment_is_set_up(world: World) -> None:
    repo = await repository(world, setup={"run": ["sleep 300"]})
    writer = repo.person("writer")
    issue = await writer.issue("Slow")
    await writer.comment(issue, "/orchestrate add a note")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not any("**Setting up the env" in it for it in await repo.status_comments(issue)):
            await world.moved()
    await writer.comment(issue, "/cancel")
    run = await repo.until(issue, State.CANCELLED)
    assert run.turns == 0
    assert not list((world.folder / "bot" / "runs").glob("setup-*"))


async def test_what_changes_on_the_base_is_set_up_again_and_nothing_else_is(world: World) -> None:
    agent = "cat > /dev/null; cat deps/installed > seen.txt"
    repo = await repository(world, agent)
    admin = repo.person("admin")
    before = set(environments(world))
    await repo.started("one")
    await admin.write("README.md", "Another text\n", branch="main")
    await repo.started("two")
    assert len(set(environments(world)) - before) == 1
    await admin.write("deps.txt", "other\n", branch="main")
    _, run = await repo.started("three")
    assert repo.file(run.head, "seen.txt") == "other"
    assert len(set(environments(world)) - before) == 2
    config = json.loads(repo.file("main", ".github/orchestrate.yml"))
    config["setup"]["run"] = ["true", *config["setup"]["run"]]
    await admin.write(".github/orchestrate.yml", json.dumps(config), branch="main")
    await repo.started("four")
    assert len(set(environments(world)) - before) == 3


async def test_a_setup_of_nothing_leaves_the_run_as_it_is(world: World) -> None:
    before = set(environments(world))
    repo = await repository(world, "cat > /dev/null; ls > seen.txt", setup={"run": "none"})
    _, run = await repo.started()
    assert "deps\n" not in repo.file(run.head, "seen.txt")
    assert set(environments(world)) == before


async def test_those_unused_for_long_go_and_doctor_says_what_is_there(world: World) -> None:
    repo = await repository(world)
    before = set(environments(world))
    await repo.started()
    (made,) = set(environments(world)) - before
    said = _environments(world.server.settings).sentence
    assert said.startswith(f"{len(before) + 1} with ")
    os.utime(made, (1, 1))
    await world.server.bot.ports.git.upkeep()
    assert set(environments(world)) == before
    _, run = await repo.started("again")  # and it is made again
    assert run.state is State.AWAITING_REVIEW, run.reason


@pytest.mark.slow
async def test_requirements_are_found_and_installed_from_the_operators_mirror(
    world: World, index: Registry
) -> None:
    pin = index.add("tiny", "1.0", "def main():\n    print('tiny works')\n", "tiny=tiny:main")
    agent = "cat > /dev/null; tiny > said.txt; python3 -c 'import tiny'; touch .venv/litter"
    repo = await world.repository(
        {
            "agents": {"writer": {"command": agent}},
            "checks": [{"name": "tiny", "run": "tiny && python3 -c 'import tiny'"}],
        },
        {"requirements.txt": pin},
    )
    _, run = await repo.started()
    assert run.state is State.AWAITING_REVIEW, run.reason
    assert repo.file(run.head, "said.txt") == "tiny works"
    assert not repo.contains(".venv")


@pytest.mark.slow
def test_a_local_run_has_it_without_a_sandbox_and_in_full_copies_too(
    tmp_path: Path, index: Registry
) -> None:
    pin = index.add("small", "2.0", "def main():\n    print('small works')\n", "small=small:main")
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "requirements.txt").write_text(pin)
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    for args in (("init", "-q", "-b", "main"), ("add", "-A"), (*who, "commit", "-qm", "First")):
        subprocess.run(["git", *args], cwd=folder, check=True)
    settings = {
        "ORCHESTRATE_DATA_DIR": str(tmp_path / "data"),
        "ORCHESTRATE_WORKSPACES": "checkout",
        "ORCHESTRATE_SANDBOX": "none",
    }
    command = ("--agent-command", "small > said.txt", "--check", "small", "--json")
    done = orchestrate(
        *("run", "Do it", "--repo", str(folder), *command),
        env={**os.environ, **index.environ, **settings},
        timeout=180,
    )
    assert done.stdout, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["state"] == "awaiting_review", summary["reason"]
    shown = subprocess.run(
        ["git", "show", "--stat", "--format=", summary["checkpoints"][0]["sha"]],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.split()[0] == "said.txt"
    assert "1 file changed" in shown.stdout
