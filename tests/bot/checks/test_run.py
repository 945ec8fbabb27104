from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.checks.detect import PYTEST
from bot.checks.model import Annotation, CheckResult, CheckSpec
from bot.checks.run import TEXT_CHARACTERS, _fenced, run_check
from bot.errors import OperatorError
from bot.sandbox.bubblewrap import Bubblewrap
from bot.sandbox.model import Sandbox
from bot.sandbox.none import NoSandbox

Run = Callable[..., Awaitable[CheckResult]]

LIBRARIES = ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments")


@pytest.fixture(params=[Bubblewrap(), NoSandbox()], ids=lambda sandbox: str(sandbox.name))
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    chosen: Sandbox = request.param
    return chosen


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "workspace").mkdir()
    return tmp_path / "workspace"


@pytest.fixture
def run(sandbox: Sandbox, workspace: Path, tmp_path: Path) -> Run:
    async def check(command: str | CheckSpec, **changes: Any) -> CheckResult:
        spec = command if isinstance(command, CheckSpec) else CheckSpec("check", command)
        given = {"sandbox": sandbox, "workspace": workspace, "home": tmp_path / "home", "tools": ()}
        return await run_check(spec, **{**given, **changes})

    return check


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `python3` with pytest that shares nothing with the one that runs these tests."""
    folder = tmp_path_factory.mktemp("environment")
    folder.chmod(0o755)  # jobs have another user than a bot that is root
    site = Path(pytest.__file__).parent.parent
    for name in LIBRARIES:
        shutil.copytree(site / name, folder / "lib" / name)
    shutil.copy(site / "py.py", folder / "lib")
    (folder / "bin").mkdir()
    program = folder / "bin" / "python3"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={folder}/lib exec /usr/bin/python3 "$@"\n')
    program.chmod(0o755)
    return folder


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


async def test_a_command_that_succeeds_is_a_success(run: Run) -> None:
    result = await run("echo fine")
    assert (result.name, result.conclusion) == ("check", "success")
    assert result.summary == "The command succeeded."
    assert result.text == "```\nfine\n```"


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("exit 3", "The command failed with exit code 3."),
        ("no-such-tool", "The program `no-such-tool` is not in the checks' environment"),
        ("python3 -m no_such_module", "The Python module `no_such_module` is not in the checks'"),
        ("exit 5 # pytest", "No tests were found."),
    ],
)
async def test_a_failure_says_what_to_do(run: Run, command: str, sentence: str) -> None:
    result = await run(command)
    assert result.conclusion == "failure"
    assert result.summary.startswith(sentence)


async def test_a_check_that_takes_too_long_is_timed_out(run: Run) -> None:
    result = await run(CheckSpec("slow", "sleep 30", seconds=0.2))
    assert (result.conclusion, result.summary) == (
        "timed_out",
        "The check did not end within 0.2 seconds.",
    )


async def test_a_stopped_check_is_cancelled(run: Run) -> None:
    stop = asyncio.Event()
    stop.set()
    assert (await run("sleep 30", stop=stop)).conclusion == "cancelled"


async def test_a_flood_is_a_failure_and_its_text_fits(run: Run) -> None:
    result = await run("yes", output_bytes=300_000)
    assert result.conclusion == "failure"
    assert len(result.text) <= TEXT_CHARACTERS


async def test_pytest_passes(run: Run, workspace: Path, environment: Path) -> None:
    (workspace / "tests").mkdir()
    (workspace / "tests" / "test_a.py").write_text("def test_a(): pass\ndef test_b(): pass\n")
    result = await run(PYTEST, tools=(environment,))
    assert (result.conclusion, result.summary) == ("success", "2 tests passed."), result.text
    assert names_in(workspace) == ["test_a.py", "tests"]


async def test_pytest_fails_at_a_line(run: Run, workspace: Path, environment: Path) -> None:
    (workspace / "tests").mkdir()
    source = "def test_a(): pass\n\ndef test_b():\n    x = '`'\n    assert x == '@everyone'\n"
    (workspace / "tests" / "test_a.py").write_text(source)
    result = await run(PYTEST, tools=(environment,))
    assert result.conclusion == "failure"
    assert result.summary.startswith("1 of 2 tests failed.\n\n- `tests.test_a::test_b`: `")
    (annotation,) = result.annotations
    assert (annotation.path, annotation.start_line) == ("tests/test_a.py", 5)


async def test_no_tests_are_a_failure(run: Run, environment: Path) -> None:
    result = await run(PYTEST, tools=(environment,))
    assert (result.conclusion, result.summary.split("\n")[0]) == ("failure", "No tests were found.")


async def test_tests_that_slip_away_are_a_failure(
    run: Run, workspace: Path, environment: Path
) -> None:
    (workspace / "conftest.py").write_text("import os\nos._exit(0)\n")
    result = await run(PYTEST, tools=(environment,))
    assert result.conclusion == "failure"
    assert "left no report" in result.summary


async def test_a_report_in_the_repository_is_read(run: Run, workspace: Path) -> None:
    (workspace / "core.py").write_text("x\n")
    place = {"artifactLocation": {"uri": "core.py"}, "region": {"startLine": 1}}
    log = {"runs": [{"results": [{"locations": [{"physicalLocation": place}]}]}]}
    (workspace / "source.json").write_text(json.dumps(log))
    spec = CheckSpec("lint", "mkdir out && cp source.json out/lint.sarif", "out/lint.sarif")
    result = await run(spec)
    assert result.summary == "The command succeeded with 1 remark."
    assert [annotation.path for annotation in result.annotations] == ["core.py"]


@pytest.mark.parametrize(
    "trap",
    [
        "ln -s /etc/passwd report.xml",
        "mkfifo report.xml",
        "mkdir report.xml",
        "truncate -s 20M report.xml",
        "echo '<testsuite' > report.xml",
        "true",
    ],
)
async def test_a_bad_report_is_a_sentence(run: Run, trap: str) -> None:
    result = await run(CheckSpec("check", trap, "report.xml"))
    assert result.conclusion == "success"
    assert "report" in result.summary
    assert result.annotations == ()


async def test_a_link_as_report_is_not_followed(run: Run, tmp_path: Path) -> None:
    secret = tmp_path / "secret.xml"
    secret.write_text("<testsuite><testcase name='hidden'><failure/></testcase></testsuite>")
    result = await run(CheckSpec("check", f"ln -s {secret} {{report}}", "{report}"))
    assert "hidden" not in result.summary
    assert secret.exists()
    assert names_in(tmp_path / "home") == []


async def test_failed_tests_count_though_the_command_ends_with_0(run: Run) -> None:
    xml = "<testsuite><testcase name='a'><failure>no</failure></testcase></testsuite>"
    result = await run(CheckSpec("check", f'echo "{xml}" > {{report}}', "{report}"))
    assert (result.conclusion, result.summary.split("\n")[0]) == ("failure", "1 of 1 test failed.")


async def test_the_environment_of_a_check_is_clean(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATE_WEBHOOK_SECRET", "hidden")
    script = f"env | sort; ls {sys.prefix} || echo absent"
    result = await run_check(
        CheckSpec("check", script),
        sandbox=Bubblewrap(),
        workspace=workspace,
        home=tmp_path / "home",
        tools=(),
    )
    lines = result.text.splitlines()
    assert lines[1:8] == [
        "CI=true",
        "HOME=/home/agent",
        "LANG=C.UTF-8",
        "PATH=/usr/local/bin:/usr/bin:/bin",
        "PWD=/workspace",
        "PYTHONDONTWRITEBYTECODE=1",
        "TMPDIR=/tmp",
    ]
    assert lines[-2] == "absent"


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="the bot has no environment of its own")
@pytest.mark.parametrize("part", ["", "bin", ".."])
async def test_the_bots_own_environment_is_refused(run: Run, part: str) -> None:
    with pytest.raises(OperatorError, match="ORCHESTRATE_TOOLS"):
        await run("true", tools=(Path(sys.prefix, part),))


@given(st.text(alphabet="`a \n", max_size=300))
def test_output_cannot_leave_its_fence(tail: str) -> None:
    text = _fenced(tail)
    if tail.strip():
        fence = text.split("\n")[0]
        assert re.fullmatch(r"`{3,}", fence)
        inner = text.removeprefix(fence + "\n").removesuffix("\n" + fence)
        assert fence not in inner


@pytest.mark.parametrize("tail", ["x" * 70_000, "`" * 70_000, "line\n" * 20_000])
def test_long_output_is_cut_to_githubs_limit_and_says_so(tail: str) -> None:
    text = _fenced(tail)
    assert len(text) <= TEXT_CHARACTERS
    assert text.startswith("The output is cut")
    assert text.endswith("```")


def test_results_and_specs_survive_being_recorded() -> None:
    annotation = Annotation("a.py", 1, 2, "warning", "message", "title")
    result = CheckResult("check", "failure", "summary", "text", (annotation,), 1.5)
    assert CheckResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result
    assert CheckSpec.from_dict(json.loads(json.dumps(PYTEST.to_dict()))) == PYTEST
