"""The commands of `orchestrate` about policy: what holds and why, whether it does what it is to do.

`cli.py` registers them; each imports what it needs when it runs.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bot.console import AsJson, complete, print_json
from bot.errors import UserError

if TYPE_CHECKING:
    from policies.config import Config, Parsed
    from policies.organisation import Said
    from policies.provenance import Origin

Repo = Annotated[
    Path, typer.Option("--repo", metavar="DIR", help="A repository's folder; else this one.")
]

_ON_GITHUB = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)

policy_app = typer.Typer(help="Try a repository's policy.", no_args_is_help=True)


def config_explain(
    repo: Annotated[
        str,
        typer.Option(
            "--repo", metavar="DIR|OWNER/NAME", help="A folder, or a repository on GitHub."
        ),
    ] = ".",
    organisation: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Lay a folder's file on this one of its organisation."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what holds in a repository, setting by setting, and where each value comes from.

    Of a folder it reads .github/orchestrate.yml as it lies there. Of a repository on GitHub it
    reads what holds on the default branch: on what its organisation says in OWNER/.github, and
    within the bounds of this server, as the App that is set up here, or else with your own token in
    GH_TOKEN.

    Examples:

    `orchestrate config explain --repo ~/src/tool`

    `orchestrate config explain --repo acme/tool --json`
    """
    if not Path(repo).is_dir() and _ON_GITHUB.fullmatch(repo):
        from bot.effective import effective
        from bot.settings import load

        found = complete(effective(load(), os.environ, repo))
        _show_origins(found.settings, found.read, as_json=as_json)
        return
    from policies.organisation import Said
    from policies.provenance import origins

    said = _said(organisation) if organisation else Said()
    parsed, text = _parsed(Path(repo), said)
    bounds = [(str(organisation), said.bounds)]
    _show_origins(origins(parsed, text, bounds), (), as_json=as_json)


def _show_origins(told: Sequence[Origin], read: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        rows = [{"setting": o.setting, "value": o.value, "from": o.told} for o in told]
        print_json({"settings": rows, **({"read": list(read)} if read else {})})
        return
    width = max(len(each.setting) for each in told)
    for each in told:
        value = json.dumps(each.value, ensure_ascii=False)
        typer.echo(f"{each.setting:{width}}  {value}  ({each.told})")
    for line in read:
        sys.stderr.write(f"Read: {line}\n")


def _said(file: Path) -> Said:
    """Read an organisation's file; `UserError` names each line that is wrong."""
    from policies.organisation import parse_organisation

    said = parse_organisation(_bytes(file), str(file))
    if said.problems:
        lines = [f"{file}:{p.line}:{p.column}: {p.message}" for p in said.problems]
        raise UserError("\n".join(lines))
    return said


@policy_app.command("test")
def policy_test(
    file: Annotated[Path, typer.Argument(help="A YAML file of cases.")],
    repo: Repo = Path(),
    as_json: AsJson = False,
) -> None:
    """Judge a file of cases by a repository's configuration; exit 0 only where each comes out so.

    A case is about changed files, or about a command:

        cases:
          - name: lock files are closed to agents
            changes: [src/a.py, uv.lock]
            expect: refused
            says: uv.lock
          - name: those who asked do not approve
            command: approve
            role: maintain
            requester: true
            expect: refused

    Example: `orchestrate policy test .github/orchestrate.cases.yml`
    """
    from policies.cases import Case, parse_cases, try_cases

    found = parse_cases(_bytes(file))
    cases = [each for each in found if isinstance(each, Case)]
    if len(cases) < len(found):
        lines = [
            f"{file}:{p.line}:{p.column}: {p.message}" for p in found if not isinstance(p, Case)
        ]
        raise UserError("\n".join(lines))
    outcomes = try_cases(cases, _config(repo))
    if as_json:
        rows = [
            {
                "name": each.name,
                "holds": each.holds,
                "expected": each.expected,
                "verdict": "allowed" if each.verdict.allowed else "refused",
                "reason": each.verdict.reason,
            }
            for each in outcomes
        ]
        print_json({"ok": all(each.holds for each in outcomes), "cases": rows})
    else:
        for each in outcomes:
            typer.echo(f"{'ok    ' if each.holds else 'FAILED'}  {each.name}")
            if not each.holds:
                typer.echo("\n".join(f"        {line}" for line in each.verdict.lines()))
    if not all(each.holds for each in outcomes):
        raise typer.Exit(1)


@policy_app.command("simulate")
def policy_simulate(
    pull: Annotated[int, typer.Option("--pull", metavar="N", min=1, help="The pull request.")],
    repo: Repo = Path(),
    agent: Annotated[
        str, typer.Option("--agent", metavar="A", help="Judge it as that agent's work.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Say what the rules would say of a pull request, as if an agent had made it, and why.

    It asks the remote `origin` of a clone for the pull request, with your own git, and judges it by
    the configuration on the default branch there. Nothing of it is run. It ends with 0 where the
    rules allow it and it merges.

    Examples:

    `orchestrate policy simulate --pull 12`

    `orchestrate policy simulate --pull 12 --repo ~/src/tool --agent claude --json`
    """
    from bot.simulate import simulate_pull

    found = complete(simulate_pull(repo, pull, agent))
    if as_json:
        print_json(found.as_json())
    else:
        files = "1 file" if found.files == 1 else f"{found.files:,} files"
        typer.echo(f"#{found.pull} at {found.head[:7]} changes {files} since {found.base[:7]}.")
        typer.echo(found.rules.text())
        for path in found.conflicts:
            typer.echo(f"conflict  {path}")
        typer.echo("To merge it, with nobody's approval yet:")
        typer.echo(found.approval.text())
    if not found.allowed:
        raise typer.Exit(1)


def audit(
    run: Annotated[
        str | None, typer.Option(metavar="RUN", help="One run, by its id or the beginning of it.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="D", help="A day or time, as 2026-11-01, in UTC.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List who decided what, when and on which evidence, from the runs' records in git.

    Examples:

    `orchestrate audit --run k3f9x0a2bq`

    `orchestrate audit --since 2026-11-01 --json`
    """
    from bot.audit import decisions
    from bot.settings import load

    found = complete(decisions(load(), run, _time(since)))
    if as_json:
        print_json(found)
        return
    for row in found["decisions"]:
        # What a policy was made of is much; the commit says where to begin, and JSON has the rest.
        evidence = ", ".join(
            f"{key} {_commit(value) if key == 'under' else value}"
            for key, value in row["evidence"].items()
        )
        typer.echo(f"{row['at']}  {row['run']}  {row['actor']}  {row['did']}  {evidence}".rstrip())
    for each in found["unread"]:
        sys.stderr.write(f"The record of run {each} is not on this machine.\n")


def _commit(under: object) -> object:
    return under.get("commit") if isinstance(under, dict) else under


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"`{text}` is no day; write it as in 2026-11-01.") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _config(repo: Path) -> Config:
    from policies.config import Config

    return _parsed(repo)[0].config or Config()


def _parsed(repo: Path, said: Said | None = None) -> tuple[Parsed, bytes]:
    """Read the configuration in a folder; `UserError` names each line that is wrong."""
    from policies.config import PATH, parse

    file = repo / PATH
    text = _bytes(file) if file.exists() else b""
    parsed = parse(text, said.layers if said else ())
    if parsed.problems:
        lines = [f"{file}:{p.line}:{p.column}: {p.message}" for p in parsed.problems]
        raise UserError("\n".join(lines))
    return parsed, text


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from error
