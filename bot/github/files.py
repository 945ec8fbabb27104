"""The content of files that GitHub tells about."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from bot.errors import Refused
from bot.github.answers import number_of, text_of
from bot.github.client import Session

READ_LIMIT = 8 * 1024 * 1024
"""Bytes of a file that is read through the API: as many as are read of one in git."""


async def content_of(session: Session, repository: str, data: Mapping[str, Any]) -> bytes:
    """Return the content of a file of a repository, by its address and what GitHub says of it.

    Of one over 1 MB GitHub says all but the content, which is then asked for by itself. Raises
    Refused for one over `READ_LIMIT`: what is not read is not taken for empty.
    """
    size = number_of(data, "size") or 0
    if size > READ_LIMIT:
        name = text_of(data, "path") or "A file"
        raise Refused(f"`{name}` is larger than {READ_LIMIT // 2**20} MB; make it smaller.")
    if size and text_of(data, "encoding") == "none":
        blob = f"{repository}/git/blobs/{quote(text_of(data, 'sha'), safe='')}"
        data = (await session.get(blob)).map()
    return b64decode(text_of(data, "content"))
