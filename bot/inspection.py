"""What an operator asks of a server's database, whoever works on it meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bot.database import Database, open_database
from bot.deliveries import Inbox, Record
from bot.errors import OperatorError, UserError
from bot.payloads import Payload, decode
from bot.settings import Settings

SQLITE = "sqlite"

STATES = {"waiting": "waiting", "done": "obeyed", "poison": "set aside"}
"""The states of a delivery, in words."""

ERROR_SHOWN = 60
"""Characters of an error in the list; `show` has all of it."""


@contextlib.asynccontextmanager
async def looking_at(settings: Settings) -> AsyncIterator[Database]:
    """Open a server's database beside the server; `OperatorError` where there is none."""
    url = settings.database
    if not _is_there(url):
        raise OperatorError(
            f"There is no database at {url}; `orchestrate serve` makes one, and "
            "ORCHESTRATE_DATA_DIR or ORCHESTRATE_DATABASE_URL says where."
        )
    database = await open_database(url, lock=False)
    try:
        if not await database.has_tables():
            raise OperatorError(f"The database at {url} is empty; `orchestrate serve` fills it.")
        yield database
    finally:
        await database.close()


def _is_there(url: str) -> bool:
    """Say whether there is a database, without making one by looking."""
    return not url.startswith(SQLITE) or Path(url.partition("///")[2]).exists()


async def list_deliveries(
    settings: Settings, *, failed: bool, limit: int, quiet: bool
) -> list[dict[str, Any]]:
    """List the newest deliveries, or those that were set aside, and print them unless `quiet`."""
    async with looking_at(settings) as database:
        records = await Inbox(database).listed(failed=failed, limit=limit)
    if not quiet:
        _print(records, failed=failed)
    return [_told(each) for each in records]


async def show_delivery(settings: Settings, guid: str, *, quiet: bool) -> dict[str, Any]:
    """Show one delivery with its payload; print what became of it, unless `quiet`."""
    async with looking_at(settings) as database:
        inbox = Inbox(database)
        record = await _the_one(inbox, guid)
        kept = await inbox.get(record.guid)
    payload = _payload(kept.body if kept else b"")
    shown = {**_told(record), **_about(payload), "payload": payload}
    if not quiet:
        for name, value in shown.items():
            if name != "payload" and value not in ("", None):
                _out(f"{name.replace('_', ' '):12} {value}")
    return shown


async def replay_delivery(settings: Settings, guid: str, *, quiet: bool) -> dict[str, Any]:
    """Have a delivery that was set aside obeyed after all; `UserError` where it was not."""
    async with looking_at(settings) as database:
        inbox = Inbox(database)
        record = await _the_one(inbox, guid)
        if not await inbox.replay(record.guid):
            words = {"waiting": "waits to be obeyed", "done": "was obeyed"}
            raise UserError(
                f"Delivery {record.guid} {words.get(record.state, record.state)}; only one that "
                "was set aside is replayed: `orchestrate deliveries --failed` lists those."
            )
        record = await _the_one(inbox, record.guid)
    if not quiet:
        _out(f"Delivery {record.guid} waits to be obeyed; a running server takes it up now.")
    return _told(record)


async def _the_one(inbox: Inbox, guid: str) -> Record:
    found = await inbox.find(guid)
    if len(found) == 1 or (found and found[0].guid == guid):
        return found[0]
    if found:
        named = ", ".join(each.guid for each in found)
        raise UserError(f"Several deliveries begin with {guid}, among them {named}; say which.")
    raise UserError(f"There is no delivery {guid}; `orchestrate deliveries` lists those there are.")


def _told(record: Record) -> dict[str, Any]:
    waits = record.state == "waiting" and record.due
    return {
        "id": record.guid,
        "event": record.event,
        "received_at": record.received_at.isoformat(),
        "state": STATES.get(record.state, record.state),
        "failed_tries": record.attempts,
        "next_try_at": datetime.fromtimestamp(record.due, UTC).isoformat() if waits else None,
        "error": record.error,
    }


def _payload(body: bytes) -> Payload:
    try:
        return decode(body)
    except ValueError:
        return {}


def _about(payload: Payload) -> dict[str, Any]:
    """Say in a few fields what a delivery is about."""
    repository: Any = payload.get("repository") or {}
    thread: Any = {}
    for name in ("issue", "pull_request"):
        thread = payload.get(name) or thread
    return {
        "action": payload.get("action", ""),
        "repository": repository.get("full_name") or repository.get("name", ""),
        "number": thread.get("number"),
        "sender": (payload.get("sender") or {}).get("login", ""),
    }


def _print(records: list[Record], *, failed: bool) -> None:
    console = Console(highlight=False, markup=False)
    if not records:
        console.print("None was set aside." if failed else "Nothing came in yet.")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("ID", "EVENT", "RECEIVED", "STATE", "FAILED TRIES", "ERROR"):
        table.add_column(column, no_wrap=column in ("ID", "RECEIVED"))
    for each in records:
        received = f"{each.received_at:%Y-%m-%d %H:%M:%S}"
        error = each.error if len(each.error) <= ERROR_SHOWN else f"{each.error[:ERROR_SHOWN]}…"
        state = STATES.get(each.state, each.state)
        table.add_row(each.guid, each.event, received, state, str(each.attempts), error)
    console.print(table)


def _out(text: str) -> None:
    Console(highlight=False, markup=False, soft_wrap=True).print(text)
