"""What models cost: a file of ours with dates and sources, and one of the operator's over it."""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bot.errors import OperatorError
from bot.sandbox.gateway.counting import Count

OURS: Final = Path(__file__).with_name("prices.toml")
ANY: Final = "*"  # the price of models that have none, where the operator gives one
MILLION: Final = 1_000_000
# What may follow a model's name in the list: a date, a variant, a place.
_BOUNDARY: Final = "-@:[/"


class Price(BaseModel):
    """USD for a million tokens of one model.

    cache_read, cache_write, cache_write_hour: as input where the maker names no other price.
    above: prompts of more tokens than this cost `long` instead, all of their tokens.
    tiers: by how much a dearer tier multiplies all of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cache_read: float | None = Field(default=None, ge=0)
    cache_write: float | None = Field(default=None, ge=0)
    cache_write_hour: float | None = Field(default=None, ge=0)
    above: int | None = Field(default=None, ge=1)
    long: Price | None = None
    tiers: dict[str, float] = {}

    def of(self, count: Count) -> float:
        """Return what `count` costs, in USD."""
        if self.long is not None and self.above is not None and count.prompt_tokens > self.above:
            return self.long.of(count)
        read = self.input if self.cache_read is None else self.cache_read
        write = self.input if self.cache_write is None else self.cache_write
        hour = write if self.cache_write_hour is None else self.cache_write_hour
        millions = (
            count.input_tokens * self.input
            + count.output_tokens * self.output
            + count.cached_tokens * read
            + count.cache_write_tokens * write
            + count.cache_write_hour_tokens * hour
        )
        return millions / MILLION


class _List(BaseModel):
    """Prices of one source, as they were seen there on a day; not used after `until`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    date: datetime.date
    until: datetime.date | None = None
    models: dict[str, Price]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    list: tuple[_List, ...]


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices by the beginning of a model's name, and where and when they were seen."""

    by_name: Mapping[str, Price] = field(default_factory=dict)
    dates: tuple[datetime.date, ...] = ()
    sources: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: Path | None = None, *, today: datetime.date | None = None) -> Prices:
        """Read our list and, over it, the one at `path`."""
        day = today or datetime.datetime.now(tz=datetime.UTC).date()
        lists = [each for each in _read(OURS) if each.until is None or each.until >= day]
        own = _read(path) if path else ()
        by_name: dict[str, Price] = {}
        for each in (*own, *lists):
            for name, price in each.models.items():
                by_name.setdefault(name.lower(), price)
        return cls(
            by_name=by_name,
            dates=tuple(each.date for each in (*own, *lists)),
            sources=tuple(each.source for each in (*own, *lists)),
        )

    def of(self, model: str) -> Price | None:
        """Return the price of the longest name in the list that `model` begins with, or of `*`."""
        name = model.lower().rpartition("/")[2]
        fitting = [each for each in self.by_name if _begins(name, each)]
        return self.by_name[max(fitting, key=len)] if fitting else self.by_name.get(ANY)

    def cost(self, count: Count) -> float | None:
        """Return what `count` costs in USD, or None where no price is known."""
        price = self.of(count.model)
        if price is None:
            return None
        factor = price.tiers.get(count.tier) if count.tier else 1.0
        return None if factor is None else price.of(count) * factor


def _begins(name: str, prefix: str) -> bool:
    rest = name[len(prefix) :]
    return name.startswith(prefix) and (not rest or rest[0] in _BOUNDARY)


def _read(path: Path) -> tuple[_List, ...]:
    try:
        data: Any = tomllib.loads(path.read_text(encoding="utf-8"))
        return _File.model_validate(data).list
    except OSError as error:
        raise OperatorError(
            f"The prices in {path} cannot be read ({error.strerror}); see ORCHESTRATE_PRICES."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise OperatorError(
            f"The prices in {path} are wrong at {place}: {first['msg']}."
        ) from error
    except ValueError as error:
        raise OperatorError(f"The prices in {path} are not TOML: {error}.") from error
