"""The commands with which an operator looks after a server: `orchestrate deliveries` and others.

`add_to` puts them into the command line. They work beside a running server, except where one says
that it must be stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bot.console import AsJson, complete, print_json

if TYPE_CHECKING:
    from bot.settings import Settings


Guid = Annotated[str, typer.Argument(metavar="ID", help="A delivery's GUID, or its beginning.")]

deliveries_app = typer.Typer(invoke_without_command=True)


@deliveries_app.callback()
def deliveries(
    context: typer.Context,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only those that were set aside.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="How many at the most.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List the webhooks that came in, the newest first.

    One that fails again and again by an error of ours is set aside after 12 tries, and stops no
    other; so is one for which GitHub was out of reach for a day. `orchestrate deliveries replay`
    has it tried anew.

    Examples:

    `orchestrate deliveries --failed`

    `orchestrate deliveries show 72d3162e`

    `orchestrate deliveries replay 72d3162e`
    """
    if context.invoked_subcommand is not None:
        return
    from bot.inspection import list_deliveries

    listed = complete(list_deliveries(_settings(), failed=failed, limit=limit, quiet=as_json))
    if as_json:
        print_json({"deliveries": listed})


@deliveries_app.command("show")
def deliveries_show(guid: Guid, as_json: AsJson = False) -> None:
    """Show one delivery: what became of it and why; `--json` prints its payload as well."""
    from bot.inspection import show_delivery

    shown = complete(show_delivery(_settings(), guid, quiet=as_json))
    if as_json:
        print_json(shown)


@deliveries_app.command("replay")
def deliveries_replay(guid: Guid, as_json: AsJson = False) -> None:
    """Have a delivery that was set aside obeyed after all; a running server takes it up at once.

    What it had done before it failed is not done twice.
    """
    from bot.inspection import replay_delivery

    replayed = complete(replay_delivery(_settings(), guid, quiet=as_json))
    if as_json:
        print_json(replayed)


def gc(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what is older than its limit: the server does it every night by itself.

    Finished workflows, deliveries, logs, what is left of runs that ended, and mirrors that no run
    has used for long; ORCHESTRATE_WORKFLOW_DAYS and its like say how long. Nothing that a live run
    needs is taken, and it may be done while the server runs.

    Example: `orchestrate gc --dry-run`
    """
    from bot.inspection import collect_garbage

    swept = complete(collect_garbage(_settings(), dry_run=dry_run, quiet=as_json))
    if as_json:
        print_json({"dry_run": dry_run, "removed": swept})


def erase(
    installation: Annotated[
        int, typer.Argument(metavar="INSTALLATION", help="The installation's number at GitHub.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove all that this server keeps of an installation, and prove it. Stop the server first.

    It looks again afterwards, lists what is left, and ends with 0 only where that is nothing. What
    is in the customer's repositories, branches and records among it, is theirs and stays.

    Example: `orchestrate erase 4711`
    """
    from bot.inspection import erase_installation

    outcome = complete(erase_installation(_settings(), installation, sure=yes, quiet=as_json))
    if as_json:
        print_json(outcome)
    if not outcome["erased"]:
        raise typer.Exit(1)


def backup(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder for the copies.")],
    as_json: AsJson = False,
) -> None:
    """Copy the databases while the server runs, for a day when its disk is lost.

    To go back to a copy, stop the server, put the two files in its data folder and start it.

    Example: `orchestrate backup /var/backups/orchestrate/$(date +%F)`
    """
    from bot.backup import backup as copy

    written = complete(copy(_settings(), folder))
    if as_json:
        print_json(written)
    else:
        typer.echo(f"Copied to {folder}: {', '.join(written['files'])}.")


def _settings() -> Settings:
    from bot.settings import load

    return load()
