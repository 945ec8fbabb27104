"""The App on a stand-in of GitHub, with a real store for its memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bot.database import open_database
from bot.github.client import GitHubApp
from bot.github.forge import GitHubForge
from bot.github.threads import GitHubThreads
from bot.runs.store import Store
from tests.bot.github.standin import GitHub


@pytest.fixture(scope="session")
def key() -> str:
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return made.private_bytes(pem, form, serialization.NoEncryption()).decode()


@pytest.fixture
def there() -> GitHub:
    return GitHub()


@pytest.fixture
async def on_stand_in(key: str, there: GitHub) -> AsyncIterator[GitHubApp]:
    app = GitHubApp(
        api_url="https://git.example/api/v3",
        app_id=1,
        private_key=key,
        spacing=0.0,
        transport=httpx.ASGITransport(there.app()),
    )
    yield app
    await app.close()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    database = await open_database(f"sqlite:///{tmp_path}/memory.db")
    yield Store(database)
    await database.close()


@pytest.fixture
def forge(on_stand_in: GitHubApp, store: Store) -> GitHubForge:
    return GitHubForge(on_stand_in, store)


@pytest.fixture
def threads(on_stand_in: GitHubApp) -> GitHubThreads:
    return GitHubThreads(on_stand_in)
