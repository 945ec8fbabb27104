"""The pace of writes to GitHub that processes share, in their database and by its clock.

GitHub counts an installation's requests, whoever sends them. So each write takes from one row,
locked for a moment, and what GitHub asks of one process holds for all.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select, update

from bot.database import Database, insert, paces


class DatabaseBuckets:
    """The buckets of an installation in a PostgreSQL."""

    def __init__(self, database: Database, installation: int) -> None:
        self._database = database
        self._installation = installation

    async def take(self, buckets: Sequence[tuple[int, float]]) -> tuple[float, float]:
        """Take one of each (burst, spacing); say in how many seconds it may go, and how long nobody
        may ask at all."""
        mine = paces.c.installation == self._installation
        fresh = insert(paces).values(installation=self._installation, nexts=[], until=0.0)
        look = select(paces, func.extract("epoch", func.clock_timestamp()).label("now"))
        async with self._database.write() as connection:
            await connection.execute(fresh.on_conflict_do_nothing())
            row = (await connection.execute(look.where(mine).with_for_update())).one()
            now, kept = float(row.now), [*row.nexts, *[0.0] * len(buckets)]
            at = [
                max(earliest, now - (burst - 1) * spacing)
                for earliest, (burst, spacing) in zip(kept, buckets, strict=False)
            ]
            nexts = [when + spacing for when, (_, spacing) in zip(at, buckets, strict=True)]
            await connection.execute(update(paces).where(mine).values(nexts=nexts))
        return max(0.0, *(when - now for when in at)), row.until - now

    async def pause(self, seconds: float) -> None:
        """Let nobody ask for so long."""
        until = func.extract("epoch", func.clock_timestamp()) + seconds
        fresh = insert(paces).values(installation=self._installation, nexts=[], until=until)
        longer = func.greatest(paces.c.until, until)
        async with self._database.write() as connection:
            await connection.execute(
                fresh.on_conflict_do_update(index_elements=["installation"], set_={"until": longer})
            )
