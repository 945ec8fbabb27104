"""What an operator asks of a server's database, whoever works on it meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bot.app import address_by, forget_by, reach
from bot.database import Database, open_database
from bot.deliveries import Inbox, Record
from bot.erasure import erase
from bot.errors import OperatorError, UserError
from bot.git.records import Address
from bot.github.forge import GitHubForge
from bot.payloads import Payload, decode
from bot.places import folders_of
from bot.retention import Retention, Swept
from bot.runs.store import Store
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
        if not await database.is_current():
            raise OperatorError(
                f"The database at {url} is an older version's; `orchestrate db upgrade` brings it "
                "up to date."
            )
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


async def collect_garbage(
    settings: Settings, *, dry_run: bool, quiet: bool
) -> list[dict[str, Any]]:
    """Remove what is older than its limit, or only say what; print it unless `quiet`."""
    async with looking_at(settings) as database, _address(settings, database) as address:
        retention = Retention(
            settings,
            Store(database),
            Inbox(database),
            forget_by(settings),
            address,
            folders=lambda: folders_of(settings),
        )
        swept = await retention.collect(dry_run=dry_run)
    if not quiet:
        _print_swept(swept, dry_run=dry_run)
        if address is None:
            _out("Mirrors were left alone: without the App's key their records cannot be compared.")
    return [asdict(each) for each in swept]


@contextlib.asynccontextmanager
async def _address(settings: Settings, database: Database) -> AsyncIterator[Address | None]:
    """Say where repositories are; nowhere without the App's key."""
    try:
        github = reach(settings)
    except OperatorError:
        yield None
        return
    try:
        yield address_by(GitHubForge(github, Store(database)))
    finally:
        await github.close()


async def erase_installation(
    settings: Settings, installation: int, *, sure: bool, quiet: bool
) -> dict[str, Any]:
    """Remove an installation's data once somebody is sure; `UserError` where nobody is."""
    if not _is_there(settings.database):
        raise OperatorError(f"There is no database at {settings.database}: nothing is kept.")
    if not sure:
        found = await erase(settings, installation, dry_run=True)
        _print_kept(found)
        await asyncio.to_thread(_confirm, installation)
    outcome = await erase(settings, installation)
    outcome["theirs"] = THEIRS
    if not quiet:
        _print_erased(outcome)
    return outcome


THEIRS = (
    "Branches, the records under refs/orchestrate/, comments and checks in the repositories belong "
    "to their owners and were not touched. While the App is installed there, its webhooks come in "
    "as before: uninstall it first."
)


def _confirm(installation: int) -> None:
    if not sys.stdin.isatty():
        raise UserError("Nobody was asked: give `--yes` to erase without a question.")
    sys.stderr.write(f"Type {installation} to erase this for good: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip() != str(installation):
        raise UserError("Nothing was erased.")


def _print_kept(found: dict[str, Any]) -> None:
    kept, console = found["found"], Console(stderr=True, highlight=False, markup=False)
    names = ", ".join(found["repositories"]) or "none"
    console.print(f"Installation {found['installation']}, repositories: {names}.")
    for name, count in kept["rows"].items():
        console.print(f"  {count} rows of {name}")
    console.print(f"  {kept['workflows']} workflows, {len(kept['paths'])} folders and files")


def _print_erased(outcome: dict[str, Any]) -> None:
    if outcome["erased"]:
        rows = sum(outcome["found"]["rows"].values())
        _out(
            f"Erased: {rows} rows, {outcome['found']['workflows']} workflows, "
            f"{len(outcome['found']['paths'])} folders and files. Looked again: nothing is left."
        )
    else:
        _out(f"Not all of it could be erased: {json.dumps(outcome['left'])}")
    _out(THEIRS)


def _print_swept(swept: Sequence[Swept], *, dry_run: bool) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("WHAT", "OLDER THAN", "WOULD GO" if dry_run else "REMOVED", "BYTES"):
        table.add_column(column)
    for each in swept:
        size = f"{each.bytes:,}" if each.bytes else ""
        table.add_row(each.what, f"{each.days:g} days", str(each.count), size)
    Console(highlight=False, markup=False).print(table)


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
