"""Commands for a database that several processes share: `web`, `worker`, `clock`, and `db`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.console import AsJson, complete, print_json

if TYPE_CHECKING:
    from bot.schema import Standing
    from bot.shared import Role

db_app = typer.Typer(
    help="Look at the database's tables, and bring them up to date.", no_args_is_help=True
)

Host = Annotated[str | None, typer.Option(help="The address to listen on.")]
Port = Annotated[int | None, typer.Option(help="The port to listen on.")]
HealthPort = Annotated[
    int, typer.Option(help="The port of /healthz and /readyz; 0 takes a free one, and logs it.")
]


def web(host: Host = None, port: Port = None) -> None:
    """Take webhooks in, for workers to obey; as many of these as you like, on PostgreSQL.

    It needs ORCHESTRATE_DATABASE_URL and ORCHESTRATE_WEBHOOK_SECRET, and nothing else of the App.

    Example: `orchestrate web --host 0.0.0.0 --port 8000`
    """
    _serve("web", host, port)


def worker(host: Host = None, port: HealthPort = 0) -> None:
    """Work on runs and show them on GitHub; as many of these as you like, on PostgreSQL.

    Where one dies, the others go on with its runs within seconds. On SIGTERM it lets its agents
    and checks end for ORCHESTRATE_DRAIN_SECONDS, then hands on what they did.

    Example: `ORCHESTRATE_WORKERS=8 orchestrate worker --port 8001`
    """
    _serve("worker", host, port)


def clock(host: Host = None, port: HealthPort = 0) -> None:
    """Start the runs that schedules name; any number of these start each of them once.

    Example: `orchestrate clock`
    """
    _serve("clock", host, port)


def _serve(role: Role, host: str | None, port: int | None) -> None:
    from bot.serve import serve
    from bot.settings import load

    given: dict[str, Any] = {"host": host, "port": port}
    settings = load(**{key: value for key, value in given.items() if value is not None})
    complete(serve(settings, role), takes_in=role == "web")


@db_app.command("upgrade")
def db_upgrade(as_json: AsJson = False) -> None:
    """Bring the database's tables to this version; done already is done.

    Run it before the new version's processes start. Those of the old version may go on meanwhile:
    a step only adds. A SQLite file is brought up to date by `orchestrate serve` itself.

    Example: `orchestrate db upgrade --json`
    """
    from bot.schema import upgrade
    from bot.settings import load

    _show(complete(upgrade(load().database)), as_json)


@db_app.command("check")
def db_check(as_json: AsJson = False) -> None:
    """Say what the database lacks; ends with 0 only when it lacks nothing.

    Example: `orchestrate db check || orchestrate db upgrade`
    """
    from bot.schema import check
    from bot.settings import load

    _show(complete(check(load().database)), as_json)


def _show(found: Standing, as_json: bool) -> None:
    if as_json:
        told = {
            "ok": found.ok,
            "database": found.database,
            "version": found.version,
            "wanted": found.wanted,
            "missing": list(found.missing),
        }
        print_json(told)
    elif found.ok:
        typer.echo(f"{found.database} is of version {found.version}, as this program needs it.")
    else:
        typer.echo(f"{found.database}:\n" + "\n".join(f"  {each}" for each in found.missing))
        typer.echo("`orchestrate db upgrade` makes what is missing.")
    if not found.ok:
        raise typer.Exit(1)
