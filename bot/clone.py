"""A person's clone, asked with their own git: their remote, their keys, and no questions."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from bot.errors import UserError

FETCH_SECONDS = 300.0
"""How long the remote may take: a clone that lags far behind has much to fetch."""


async def git_there(folder: Path, *args: str) -> str:
    """Run git in a clone; `UserError` tells what it said where it did not go well."""
    process = await asyncio.create_subprocess_exec(
        "git", "-C", str(folder), *args,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
    )  # fmt: skip
    try:
        async with asyncio.timeout(FETCH_SECONDS):
            out, said = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise UserError("`origin` does not answer; try `git fetch origin` first.") from None
    if process.returncode:
        last = said.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise UserError(f"git says: {''.join(last) or 'nothing'}. Try `git fetch origin` there.")
    return out.decode("utf-8", "replace")
