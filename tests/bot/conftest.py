from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.database import Database, open_database
from bot.deliveries import Inbox


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """A SQLite of the test's own."""
    opened = await open_database(f"sqlite:///{tmp_path / 'db'}")
    yield opened
    await opened.close()


@pytest.fixture
def inbox(database: Database) -> Inbox:
    """The record of deliveries there."""
    return Inbox(database)
