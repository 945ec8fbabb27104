"""The hub's clock, which a test may put forward."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(slots=True)
class Clock:
    """Real time plus `ahead`."""

    ahead: timedelta = timedelta()

    def now(self) -> datetime:
        """The time, in UTC, to the microsecond."""
        return datetime.now(UTC) + self.ahead

    def advance(self, seconds: float) -> None:
        """Put the clock forward."""
        self.ahead += timedelta(seconds=seconds)


def stamp(moment: datetime) -> str:
    """`moment` as GitHub writes it: UTC, whole seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def stamp_or_none(moment: datetime | None) -> str | None:
    """`stamp`, where there is a moment."""
    return None if moment is None else stamp(moment)


def parse_stamp(text: str) -> datetime | None:
    """The moment that an ISO 8601 text names, in UTC, or None where it names none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
