"""The check of a single file, as a check run with a remark on each line that is wrong."""

from __future__ import annotations

from dataclasses import asdict

from bot.github.answers import text_of
from bot.github.checks import PREFIX, TITLE_LIMIT, visible_message
from bot.github.client import Session
from bot.github.markup import OUTPUT_LIMIT, cut_body, plain
from bot.github.once import repo_path
from bot.github.shown import Annotation, CheckRun, digest
from bot.runs.model import Repository
from bot.threads import FileCheck


async def show_check(session: Session, repository: Repository, check: FileCheck) -> None:
    """Let a check run stand on a commit, unless the same one does already.

    A file that is judged otherwise than before has a new check run, of which GitHub shows the
    newest: remarks can be added to one, and not taken back.
    """
    wanted = _check_run(check)
    path = f"{repo_path(repository)}/commits/{check.head}/check-runs"
    listed = session.pages(path, {"check_name": wanted.name}, key="check_runs")
    if any([text_of(each, "external_id") == wanted.external_id async for each in listed]):
        return
    payload = wanted.payload()
    payload["output"]["annotations"] = [asdict(each) for each in wanted.annotations]
    json = {**payload, "head_sha": check.head}
    await session.post(f"{repo_path(repository)}/check-runs", json)


def _check_run(check: FileCheck) -> CheckRun:
    return CheckRun(
        name=f"{PREFIX}{check.name}",
        external_id=f"file:{check.name}:{digest(asdict(check))[:20]}",
        head=check.head,
        conclusion="failure" if check.remarks else "success",
        title=plain(check.title, TITLE_LIMIT),
        summary=cut_body(check.summary, OUTPUT_LIMIT),
        text="",
        annotations=tuple(_remark(check.path, *each) for each in check.remarks),
    )


def _remark(path: str, line: int, column: int, message: str) -> Annotation:
    return Annotation(
        path=path,
        start_line=line,
        end_line=line,
        annotation_level="failure",
        message=visible_message(message),
        title=f"Line {line}, column {column}",
    )
