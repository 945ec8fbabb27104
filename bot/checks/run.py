"""Run one check in the sandbox and say what came of it.

A check passes when its command ends with 0 and its report, if it leaves one, names no failed test.
Everything else is a failure, also that no tests were found: GitHub lets a neutral check through,
and a check that looked at nothing must not open the way to a merge.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import shlex
import stat
import sys
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Final

from bot.checks import reports
from bot.checks.model import REPORT, CheckResult, CheckSpec, Conclusion
from bot.checks.reports import Report
from bot.errors import OperatorError
from bot.runs.ports import OUTPUT_CUT
from bot.sandbox.files import read_inside, seen
from bot.sandbox.model import Ended, Job, Sandbox
from bot.sandbox.shell import NOT_FOUND, missing_module, missing_program

OUTPUT_BYTES: Final = 20 * 1024**2  # a verbose suite of thousands of tests prints less
TEXT_CHARACTERS: Final = 65_535  # GitHub's limit for a check run's summary and text
LISTED: Final = 20  # failed tests named in the summary; annotations and text hold the others
NO_TESTS: Final = 5  # pytest's exit code when it collected nothing

ENVIRONMENT: Final = {"CI": "true", "PYTHONDONTWRITEBYTECODE": "1"}


async def run_check(
    spec: CheckSpec,
    *,
    sandbox: Sandbox,
    workspace: Path,
    home: Path,
    tools: tuple[Path, ...],
    log: Path | None = None,
    stop: asyncio.Event | None = None,
    on_output: Callable[[str], None] | None = None,
    output_bytes: int = OUTPUT_BYTES,
    namespace: int | None = None,
) -> CheckResult:
    """Run `spec` in `workspace`, as the process `namespace` sees it, and read its report.

    `tools` are folders of programs that it may use; the bot's own environment is refused there
    with OperatorError, since a repository could read, and be judged by, what the bot runs on.
    """
    _refuse_own(tools)
    name = f"report-{secrets.token_hex(8)}"
    places = sandbox.places(workspace, home)
    command = spec.run.replace(REPORT, shlex.quote(f"{places.home}/{name}"))
    job = Job(
        argv=("/bin/sh", "-c", command),
        workspace=workspace,
        home=home,
        env=ENVIRONMENT,
        readable=tools,
        seconds=spec.seconds,
        output_bytes=output_bytes,
        log=log,
        namespace=namespace,
    )
    try:
        ended = await sandbox.run(job, stop=stop, on_output=on_output)
        # A report may be megabytes of XML: not on the loop that serves everyone.
        report = await asyncio.to_thread(
            _report, spec, seen(workspace, namespace), home / name, command, places.workspace
        )
    finally:
        _remove(home / name)
    return _result(spec, ended, report)


def _refuse_own(tools: Iterable[Path]) -> None:
    own = Path(sys.prefix).resolve()
    if sys.prefix == sys.base_prefix:
        return  # the bot runs on the system's Python, which every job may read
    for tool in tools:
        folder = tool.resolve()
        if folder.is_relative_to(own) or own.is_relative_to(folder):
            raise OperatorError(
                f"The checks' tools {tool} hold the bot's own Python environment: name an "
                "environment made for the repository in ORCHESTRATE_TOOLS."
            )


def _report(
    spec: CheckSpec, workspace: Path, file: Path, command: str, jobs_path: str
) -> Report | None:
    """Read the report; None where the check is not meant to leave one."""
    if spec.report is None and command == spec.run:
        return None
    inside = spec.report is not None and spec.report != REPORT
    root, path = (workspace, str(spec.report)) if inside else (file.parent, file.name)
    data = read_inside(root, path, reports.REPORT_BYTES)
    if data is None:
        return Report("none", problem="The check left no report that can be read.")
    return reports.parse(data, workspace=jobs_path, exists=lambda each: _is_file(workspace, each))


def _is_file(workspace: Path, relative: str) -> bool:
    """Whether the path is a plain file, reached without a symbolic link."""
    path = workspace
    try:
        for part in PurePosixPath(relative).parts:
            path = path / part
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                return False
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(mode)


def _remove(file: Path) -> None:
    if file.is_file() or file.is_symlink():
        file.unlink(missing_ok=True)


def _result(spec: CheckSpec, ended: Ended, report: Report | None) -> CheckResult:
    conclusion, sentence = _judge(spec, ended, report)
    return CheckResult(
        name=spec.name,
        conclusion=conclusion,
        summary=_summary(sentence, report),
        text=_fenced(ended.tail),
        annotations=() if report is None else report.annotations,
        seconds=ended.seconds,
    )


def _judge(spec: CheckSpec, ended: Ended, report: Report | None) -> tuple[Conclusion, str]:
    """The conclusion, and the one sentence that says why."""
    if ended.how == "timed_out":
        return "timed_out", f"The check did not end within {spec.seconds:g} seconds."
    if ended.how == "stopped":
        return "cancelled", "The check was stopped before it ended."
    if ended.how == "too_much_output":
        return "failure", "The check printed more than the server keeps, and was stopped."
    if ended.how == "out_of_memory":
        return "failure", "The check took more memory than a job may have, and was stopped."
    if ended.how == "too_many_processes":
        return "failure", "The check started more processes than a job may have, and was stopped."
    if ended.code == NOT_FOUND:
        program = missing_program(ended.tail)
        return "failure", _missing("A program" if program is None else f"The program `{program}`")
    if ended.code == 1 and (module := missing_module(ended.tail)):
        return "failure", _missing(f"The Python module `{module}`")
    if ended.code == NO_TESTS and re.search(r"\bpytest\b", spec.run):
        return "failure", "No tests were found."
    if report is not None and report.failed:
        return "failure", f"{report.failed} of {_tests(report.tests)} failed."
    if ended.code != 0:
        return "failure", f"The command failed with exit code {ended.code}."
    if report is not None and report.kind == "none" and REPORT in spec.run:
        # The tests' own process may end with 0 before a test has run.
        return "failure", "The command ended with 0 but left no report that says what it checked."
    return "success", _passed(report)


def _passed(report: Report | None) -> str:
    if report is None or report.kind == "none":
        return "The command succeeded."
    if report.kind == "sarif":
        remarks = "1 remark" if report.findings == 1 else f"{report.findings} remarks"
        return f"The command succeeded with {remarks}."
    skipped = f", {report.skipped} skipped" if report.skipped else ""
    return f"{_tests(report.tests - report.skipped)} passed{skipped}."


def _tests(number: int) -> str:
    return "1 test" if number == 1 else f"{number} tests"


def _missing(what: str) -> str:
    return (
        f"{what} is not in the checks' environment: let `setup:` install it, or whoever runs the "
        "server name its folder in ORCHESTRATE_TOOLS."
    )


def _summary(sentence: str, report: Report | None) -> str:
    if report is None:
        return sentence
    lines = [
        f"- `{failed.name.replace('`', '')}`: {_code(failed.why)}"
        for failed in report.failures[:LISTED]
    ]
    if len(report.failures) > LISTED:
        lines.append(f"- and {report.failed - LISTED} more")
    parts = [sentence, "\n".join(lines), report.problem]
    return "\n\n".join(part for part in parts if part)[:TEXT_CHARACTERS]


def _code(text: str) -> str:
    """Text of a repository as code, so that it mentions nobody and links nowhere."""
    plain = text.replace("`", "'").strip()
    return f"`{plain}`" if plain else "no message"


def _fenced(tail: str) -> str:
    """The end of the output in a fence that nothing in it can close."""
    if not tail.strip():
        return ""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", tail)), default=0))
    # A run of backticks as long as the output would leave no room: then they are another sign.
    if len(fence) > 100:
        fence, tail = "```", tail.replace("`", "'")
    note = f"{OUTPUT_CUT}\n\n"
    room = TEXT_CHARACTERS - len(note) - 2 * len(fence) - 2
    cut = tail[-room:]
    return f"{note if len(cut) < len(tail) else ''}{fence}\n{cut}\n{fence}"
