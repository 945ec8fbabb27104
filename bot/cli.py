"""The `orchestrate` command.

Each command imports what it needs when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot import housekeeping, policy_cli, scale
from bot.console import AsJson, complete, print_json
from bot.errors import OrchestrateError, UserError

if TYPE_CHECKING:
    from bot.settings import Settings

app = typer.Typer(
    name="orchestrate",
    help="Coding agents work on a branch, checkpoint by checkpoint, under your rules.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(help="Look at the configuration of repositories.", no_args_is_help=True)


RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or its beginning.")]
MaybeRunId = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or its beginning.")]
Everything = Annotated[bool, typer.Option("--all", help="All runs of this server.")]
Installation = Annotated[
    int | None, typer.Option(metavar="ID", help="All runs of one installation of the App.")
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="The data folder, in place of ORCHESTRATE_DATA_DIR."),
]


def main() -> None:
    """Run the command line; an error of ours is one sentence, and exit code 1."""
    try:
        app()
    except OrchestrateError as error:
        sys.stderr.write(f"orchestrate: {error}\n")
        sys.exit(1)
    except BrokenPipeError:
        # Whoever read has seen enough, as with `| head`; what is left goes nowhere at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def demo(
    port: Annotated[int, typer.Option(help="The bot's port; 0 takes a free one.")] = 0,
    hub_port: Annotated[int, typer.Option(help="The hub's port; 0 takes a free one.")] = 0,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Keep everything in this folder.")
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Approve, merge and end; exit 0 only then.")
    ] = False,
    as_json: AsJson = False,
    agent: Annotated[
        str | None, typer.Option(help="An installed coding agent in place of the tool.")
    ] = None,
) -> None:
    """Show the whole product on this machine: a local GitHub, the bot, and a run.

    Example: `orchestrate demo --once --json`
    """
    from bot.demo import Demo

    outcome = complete(Demo(port, hub_port, folder, once=once, agent=agent).run())
    if as_json:
        print_json(outcome)
    if once and not outcome["merged"]:
        raise typer.Exit(1)


def run(
    request: Annotated[
        str, typer.Argument(metavar="REQUEST", help="What is to be done, in words.")
    ],
    repo: Annotated[
        Path, typer.Option(metavar="DIR", help="The local repository, or a folder in it.")
    ] = Path(),
    agent: Annotated[
        str | None, typer.Option(metavar="NAME", help="A configured or installed agent.")
    ] = None,
    agent_command: Annotated[
        str | None,
        typer.Option(metavar="CMD", help="Any command as the agent; it reads the request."),
    ] = None,
    check: Annotated[
        list[str] | None,
        typer.Option(metavar="CMD", help="A command that must pass; may be given again."),
    ] = None,
    base: Annotated[
        str | None, typer.Option(metavar="BRANCH", help="The branch to start from; else yours.")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="USD", help="What the models may cost the whole run, in dollars."),
    ] = None,
    minutes: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Minutes that a turn may take.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Wait for approval of the plan.")] = False,
    as_json: AsJson = False,
) -> None:
    """Carry out a request on a local repository, on a branch of its own.

    Your work tree is not touched. Agent and checks run in a sandbox, without a network, on a
    copy of what is committed. The run then waits for your decision: `orchestrate approve RUN`.

    Examples:

    `orchestrate run "Fix the lint" --agent-command "ruff check --fix" --check pytest`

    `orchestrate run "Use pathlib" --repo ~/src/tool --base main --agent codex --plan`
    """
    from bot.terminal import start_local

    options = {
        "agent": agent,
        "agent_command": agent_command,
        "checks": check or [],
        "base": base,
        "budget": _usd(budget),
        "minutes": minutes,
        "plan": plan,
    }
    summary = complete(start_local(_settings(), repo, request, options))
    if as_json:
        print_json(summary)
    if summary["state"] not in _WAITS:
        raise typer.Exit(1)


def _steer(verb: str, run_id: str, rest: str, as_json: bool, wanted: tuple[str, ...]) -> None:
    if _steered(verb, run_id, rest, as_json)["state"] not in wanted:
        raise typer.Exit(1)


def _restore(verb: str, run_id: str, rest: str, as_json: bool) -> None:
    summary = _steered(verb, run_id, rest, as_json)
    # The files are restored also where the checks on them are red.
    if not summary["checked"]:
        raise typer.Exit(1)


def _steered(verb: str, run_id: str, rest: str, as_json: bool) -> dict[str, Any]:
    from bot.terminal import steer_local

    summary = complete(steer_local(_settings(), run_id, verb, rest))
    if as_json:
        print_json(summary)
    return summary


def _escaped(text: str) -> str:
    """Write a text so that a command reads it between quotes as it is."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _usd(text: str | None) -> float | None:
    from bot.runs.budget import read_usd

    return read_usd(text).value if text else None


_WAITS = ("awaiting_review", "awaiting_approval", "done")


def approve(
    run_id: RunId,
    sha: Annotated[str, typer.Argument(help="The head that was looked at.")] = "",
    as_json: AsJson = False,
) -> None:
    """Approve a plan, or a head, which is then merged into its base branch."""
    _steer("approve", run_id, sha, as_json, _WAITS)


def reject(
    run_id: RunId,
    why: Annotated[str, typer.Argument(help="What should change.")] = "",
    as_json: AsJson = False,
) -> None:
    """Turn down a plan or a head, and say what to change."""
    _steer("reject", run_id, f"-- {why}" if why else "", as_json, _WAITS)


def resume(
    run_id: MaybeRunId = "",
    agent: Annotated[str | None, typer.Option(help="Another agent.")] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="USD", help="Dollars: +2 two more, 8 eight in all.")
    ] = None,
    tokens: Annotated[
        str | None, typer.Option(metavar="N", help="Tokens: +500k as many more, 2m in all.")
    ] = None,
    minutes: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Minutes that a turn may take.")
    ] = None,
    everything: Everything = False,
    installation: Installation = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a run, or give one at work more to use; or end an operator's stop.

    Examples:

    `orchestrate resume RUN --budget +2`

    `orchestrate resume RUN --agent codex`

    `orchestrate resume --all` lets work go on that `orchestrate pause` stopped
    """
    given = {"agent": agent, "budget": budget, "tokens": tokens, "minutes": minutes}
    words = [f'--{name} "{_escaped(str(value))}"' for name, value in given.items() if value]
    if not _is_stop(run_id, everything, installation):
        _steer("resume", run_id, " ".join(words), as_json, _WAITS)
        return
    from bot.stops import resume as let_go

    told = complete(let_go(_settings(), installation, quiet=as_json))
    if as_json:
        print_json(told)


def tell(
    run_id: RunId,
    message: Annotated[str, typer.Argument(help="What the agent is to know or do.")],
    as_json: AsJson = False,
) -> None:
    """Say something to the agent at work: at once where it can hear, else at its next turn.

    Example: `orchestrate tell RUN "Leave the old name in place as an alias"`
    """
    from bot.terminal import tell_local

    shown = complete(tell_local(_settings(), run_id, message))
    if as_json:
        print_json(shown)


def pause(
    run_id: MaybeRunId = "",
    everything: Everything = False,
    installation: Installation = None,
    why: Annotated[
        str, typer.Option(help="What people are told, with `--all` or `--installation`.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Stop a run, keeping what was done; or, as the operator of a server, all of them.

    With `--all` or `--installation` nothing begins to work any more, agents and checks at work are
    stopped within seconds, what they did becomes a checkpoint, and schedules do not fire: in every
    process, and also after a restart. Commands are heard meanwhile and wait. `orchestrate resume`
    with the same option ends it.

    Examples:

    `orchestrate pause RUN`

    `orchestrate pause --all --why "New disks, until noon."`

    `orchestrate pause --installation 4711 --json`
    """
    if not _is_stop(run_id, everything, installation):
        _steer("pause", run_id, "", as_json, ("paused",))
        return
    from bot.stops import pause as stop

    told = complete(stop(_settings(), installation, why, quiet=as_json))
    if as_json:
        print_json(told)


def _is_stop(run_id: str, everything: bool, installation: int | None) -> bool:
    """Say whether an operator's stop is meant, and no run; `UserError` where that is not clear."""
    if [bool(run_id), everything, installation is not None].count(True) != 1:
        raise UserError("Name one of these: a run, `--all`, or `--installation ID`.")
    return not run_id


def cancel(run_id: RunId, as_json: AsJson = False) -> None:
    """End a run; its branch and its record stay."""
    _steer("cancel", run_id, "", as_json, ("cancelled",))


def rollback(
    run_id: RunId,
    to: Annotated[str, typer.Argument(help="A checkpoint's number, its SHA, or base.")] = "",
    paths: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Only what this means; may be given again."),
    ] = None,
    only_violations: Annotated[
        bool, typer.Option("--only-violations", help="Keep what passes of a refused turn.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Restore the files of a checkpoint, or some of them, as a new commit on top.

    Examples:

    `orchestrate rollback RUN 2 --paths "docs/**" --paths "*.md"`

    `orchestrate rollback RUN --only-violations`
    """
    words = [to, *(f'--paths "{_escaped(glob)}"' for glob in paths or ())]
    words += ["--only-violations"] if only_violations else []
    _restore("rollback", run_id, " ".join(word for word in words if word), as_json)


def undo(run_id: RunId, as_json: AsJson = False) -> None:
    """Take back the last checkpoint, as a new commit on top."""
    _restore("undo", run_id, "", as_json)


def update(run_id: RunId, as_json: AsJson = False) -> None:
    """Bring the base branch in: it is merged into the run's branch, and checked."""
    _restore("update", run_id, "", as_json)


def retry(
    run_id: RunId,
    check: Annotated[str, typer.Argument(help="One check; without it, all of them.")] = "",
    as_json: AsJson = False,
) -> None:
    """Run the checks of the head again."""
    _steer("retry", run_id, check, as_json, _WAITS)


def runs(as_json: AsJson = False) -> None:
    """List the runs of this machine, the newest first."""
    from bot.terminal import show_runs

    listed = complete(show_runs(_settings(), quiet=as_json))
    if as_json:
        print_json({"runs": listed})


def show(run_id: RunId, as_json: AsJson = False) -> None:
    """Show a run: where it stands, its checkpoints, its checks and what happened."""
    from bot.terminal import show_run

    shown = complete(show_run(_settings(), run_id, quiet=as_json))
    if as_json:
        print_json(shown)


def logs(
    run_id: RunId,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on as it grows, until the run waits.")
    ] = False,
    turn: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="One turn, as checkpoints name it.")
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="What went to the agent and back, as JSON lines.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print what the agent was told, and what it and the checks of a run printed.

    Secrets that the server knows are taken out before anything is written. `--json` prints where
    the files are.

    Examples:

    `orchestrate logs RUN -f`

    `orchestrate logs RUN --turn 2 --raw`
    """
    from bot.terminal import print_logs

    found = complete(
        print_logs(_settings(), run_id, follow=follow, turn=turn, raw=raw, quiet=as_json)
    )
    if as_json:
        print_json(found)


def diff(
    run_id: RunId,
    between: Annotated[str, typer.Argument(help="Checkpoints: 2, 1..3 or base..2.")] = "",
    stat: Annotated[bool, typer.Option("--stat", help="Only the lines counted, by file.")] = False,
    names: Annotated[
        bool, typer.Option("--names", help="Only the files, and what became of them.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print what changed between two checkpoints; without them, since the base."""
    from bot.terminal import Shown, print_diff

    if stat and names:
        raise UserError("`--stat` and `--names` are two ways to show it; give one of them.")
    how: Shown = "stat" if stat else "names" if names else "patch"
    found = complete(print_diff(_settings(), run_id, between, how, quiet=as_json))
    if as_json:
        print_json(found)


def verify(
    run_id: RunId,
    repo: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A clone, in place of this server's own data."),
    ] = None,
    replay: Annotated[
        bool, typer.Option("--replay", help="Run the checks of a checkpoint again, and compare.")
    ] = False,
    checkpoint: Annotated[
        int, typer.Option(metavar="N", min=0, help="Which one; else the last.")
    ] = 0,
    organisation: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A clone of the organisation's `.github` repository."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Walk a run's record in git, and say what was tampered with.

    It looks at the record on this machine, compares the repository's and the database's with it,
    and checks every approval again: that it is of the head, the files and the plan that stood then,
    and that what was merged was approved. The policy that it names is made again from the
    configuration of that time; where that is also the organisation's, --organisation says where to
    find it. What cannot be looked at is said. It ends with 0 only where nothing is wrong.

    With --repo it needs none of the server's data, but a clone of the repository: the record is
    fetched from `origin` with your own git. --replay runs the checks again in the sandbox, from the
    commit alone, and compares them with what the record says.

    Examples:

    `orchestrate verify k3f9x0a2bq --json`

    `orchestrate verify k3f9x0a2bq --repo ~/src/tool --replay`

    `orchestrate verify k3f9x0a2bq --repo ~/src/tool --organisation ~/src/.github`
    """
    from bot.terminal import print_verdict

    given = (repo, replay, checkpoint, organisation)
    found = complete(print_verdict(_settings(), run_id, given, quiet=as_json))
    if as_json:
        print_json(found)
    if not found["ok"]:
        raise typer.Exit(1)


def rebuild(
    repo: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A local repository, in place of those on GitHub."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Restore runs from the records in their repositories, when the database was lost.

    Nothing is started: a run that was at work comes back paused, and `/resume` goes on with it.
    Runs that the database has are left alone. What people decided is asked of GitHub again, and
    what it does not confirm does not count and is named. A record that was tampered with is named
    and passed over, and the exit code is 1. Stop the server first.

    Examples:

    `orchestrate rebuild` restores the runs of every repository that the App is installed on

    `orchestrate rebuild --repo ~/src/tool` those of a local repository, also after it was moved
    """
    from bot.terminal import print_rebuilt

    found = complete(print_rebuilt(_settings(), repo, quiet=as_json))
    if as_json:
        print_json(found)
    if not found["ok"]:
        raise typer.Exit(1)


def serve(
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on.")] = None,
    poll: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Ask GitHub what happened, so often; no webhooks."),
    ] = None,
) -> None:
    """Serve a GitHub App: webhooks, runs and schedules in one process.

    Where GitHub cannot reach this server, `--poll 15s` asks for what webhooks would have told; the
    webhook's secret is not needed then.

    It needs ORCHESTRATE_APP_ID, ORCHESTRATE_PRIVATE_KEY_FILE and ORCHESTRATE_WEBHOOK_SECRET;
    `orchestrate doctor` says what is missing.
    """
    from bot.poll import read_interval
    from bot.serve import serve as serve_for_ever

    given: dict[str, Any] = {"host": host, "port": port}
    given["poll_seconds"] = read_interval(poll) if poll else None
    settings = _settings(**{key: value for key, value in given.items() if value is not None})
    complete(serve_for_ever(settings))


def hub(
    port: Annotated[int, typer.Option(help="The port; 0 takes a free one.")] = 8080,
    folder: Annotated[Path, typer.Option("--dir", help="The folder that holds its state.")] = Path(
        ".orchestrate/hub"
    ),
    webhook_url: Annotated[
        str, typer.Option(help="Where webhooks are sent.")
    ] = "http://127.0.0.1:8000/webhook",
) -> None:
    """Run the hub, a local stand-in for GitHub, and print how to reach it."""
    from bot.demo import run_hub

    complete(run_hub(port, folder, webhook_url))


def doctor(as_json: AsJson = False) -> None:
    """Say what this machine and its settings lack, and what to do about it."""
    from bot.doctor import examine, print_findings

    findings = complete(examine())
    if as_json:
        ok = all(each["ok"] for each in findings if each["needed"])
        print_json({"ok": ok, "findings": findings})
    else:
        print_findings(findings)
    if not all(each["ok"] for each in findings if each["needed"]):
        raise typer.Exit(1)


def agents(as_json: AsJson = False) -> None:
    """List the agents: which are installed, by which program, which version, what each can.

    An agent is chosen by its name, `--agent claude`, and then takes the first of its programs that
    is installed; `--agent claude-cli` means that one. Programs are looked for in the folders of
    ORCHESTRATE_TOOLS, in the system's, and on your PATH.

    Examples:

    `orchestrate agents` says how to install what is missing, and which key it needs

    `ORCHESTRATE_TOOLS=~/agents orchestrate agents --json` looks in a folder of your own, too
    """
    from bot.doctor import list_agents, print_agents

    listed = complete(list_agents(_settings()))
    if as_json:
        print_json({"agents": listed})
    else:
        print_agents(listed)


OfOrganisation = Annotated[
    bool,
    typer.Option("--organisation", help="It is an organisation's, orchestrate.yml of its .github."),
]


def config_validate(
    file: Annotated[Path, typer.Argument(help="A file like .github/orchestrate.yml.")],
    organisation: OfOrganisation = False,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong in a configuration, each on its line.

    Example: `orchestrate config validate .github/orchestrate.yml`
    """
    from policies.config import parse
    from policies.organisation import parse_organisation

    try:
        text = file.read_bytes()
    except OSError as error:
        raise OrchestrateError(f"{file} cannot be read: {error.strerror}.") from error
    found = (parse_organisation(text, str(file)) if organisation else parse(text)).problems
    problems = [{"line": p.line, "column": p.column, "message": p.message} for p in found]
    if as_json:
        print_json({"valid": not problems, "problems": problems})
    else:
        lines = [f"{file}:{p['line']}:{p['column']}: {p['message']}" for p in problems]
        typer.echo("\n".join(lines) if lines else f"{file} is valid.")
    if problems:
        raise typer.Exit(1)


def config_schema(organisation: OfOrganisation = False) -> None:
    """Print the JSON Schema of .github/orchestrate.yml, for editors."""
    from policies.schema import schema_text

    typer.echo(schema_text(organisation=organisation), nl=False)


def _settings(**given: Any) -> Settings:
    from bot.settings import load

    return load(**given)


PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Begin": (demo, run, agents, doctor),
    "Decide": (approve, reject, resume, tell, pause, cancel, rollback, undo, update, retry),
    "Look": (runs, show, logs, diff, verify, policy_cli.audit),
    "Serve": (serve, scale.web, scale.worker, scale.clock, hub),
    "Keep": (housekeeping.backup, housekeeping.gc, housekeeping.erase, rebuild),
}
"""The commands as `--help` shows them: what a newcomer needs comes first."""


def _compose() -> None:
    for panel, commands in PANELS.items():
        for command in commands:
            app.command(rich_help_panel=panel)(command)
    config_app.command("validate")(config_validate)
    config_app.command("explain")(policy_cli.config_explain)
    config_app.command("schema")(config_schema)
    app.add_typer(config_app, name="config", rich_help_panel="Rules")
    app.add_typer(policy_cli.policy_app, name="policy", rich_help_panel="Rules")
    app.add_typer(scale.db_app, name="db", rich_help_panel="Keep")
    app.add_typer(housekeeping.deliveries_app, name="deliveries", rich_help_panel="Keep")


_compose()
