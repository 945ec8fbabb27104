"""A job's allowance: asked before each request to a model, charged after it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from bot.errors import Refused
from bot.sandbox.gateway.counting import Count
from bot.sandbox.gateway.model import Allowance
from bot.sandbox.gateway.prices import Prices
from bot.usage import Usage

# Text has about four bytes a token, and the JSON around it some more; images have many.
REQUEST_BYTES_PER_TOKEN: Final = 4
# Streams wrap each few tokens in a hundred bytes or more.
ANSWER_BYTES_PER_TOKEN: Final = 16
# Of a model's name, which is whatever a request says.
NAME_CHARACTERS: Final = 100
# Where a request names no limit of its own: models write less than this in nearly every answer.
OUTPUT_TOKENS: Final = 16_000


class Spent(Refused):
    """The allowance does not cover another request."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as far as it can be told beforehand."""

    model: str
    tier: str
    request_bytes: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Held:
    """What is set aside for a request under way."""

    asked: Asked
    usd: float
    tokens: int


class Till:
    """Counts what one job uses and refuses the request that its allowance does not cover.

    A request goes as long as anything is left, since what it takes is known only afterwards.
    Those under way hold what they may take, so that many at once pass the allowance by no more
    than one of them does: one that finds all of it held waits for the others to end.
    """

    def __init__(self, allowance: Allowance, prices: Prices) -> None:
        self.usage = Usage()
        self.spent = asyncio.Event()
        self.reason = ""
        self.unpriced = False
        self._allowance = allowance
        self._prices = prices
        self._used_usd = 0.0
        self._used_tokens = 0
        self._held_usd = 0.0
        self._held_tokens = 0
        self._under_way = 0
        self._waiting: set[asyncio.Future[None]] = set()

    def allow(self, allowance: Allowance) -> None:
        """Let the job use so much in all, with what it has used; what was stopped stays stopped."""
        self._allowance = allowance
        self._tell()

    async def hold(self, asked: Asked) -> Held:
        """Set aside what `asked` may take; `Spent` when nothing is left. See `settle`."""
        self._priced(asked)
        while True:
            self._left()
            if not self._under_way or not self._full():
                break
            await self._change()
        counted = _guess(asked, asked.output_tokens)
        held = Held(asked, self._prices.cost(counted) or 0.0, _tokens(counted))
        self._held_usd += held.usd
        self._held_tokens += held.tokens
        self._under_way += 1
        return held

    def settle(self, held: Held, count: Count | None, answer_bytes: int = 0) -> None:
        """Charge what a request took; None when it was not answered with success."""
        self._held_usd -= held.usd
        self._held_tokens -= held.tokens
        self._under_way -= 1
        if count is not None:
            self._charge(held.asked, count, answer_bytes)
        self._tell()

    def _tell(self) -> None:
        """Let those that wait look again."""
        for each in self._waiting:
            if not each.done():
                each.set_result(None)

    def _charge(self, asked: Asked, count: Count, answer_bytes: int) -> None:
        model = count.model or asked.model
        tier = count.tier or asked.tier
        told = _named(count, model if self._prices.of(model) else asked.model or model, tier)
        usd = self._prices.cost(told)
        self.usage += Usage(
            requests=1,
            input_tokens=count.input_tokens,
            output_tokens=count.output_tokens,
            cached_tokens=count.cached_tokens,
            cache_write_tokens=count.cache_write_tokens + count.cache_write_hour_tokens,
            usd=usd or 0.0,
            unpriced=() if usd is not None else (_shown(model, tier),),
            partial=0 if count.told and count.whole else 1,
        )
        tokens = _tokens(count)
        if not (count.told and count.whole):
            # What the answer did not tell is charged by its size, or leaving early would be free.
            guess = _guess(asked, answer_bytes // ANSWER_BYTES_PER_TOKEN)
            usd = max(usd or 0.0, self._prices.cost(guess) or 0.0)
            tokens = max(tokens, _tokens(guess))
        self._used_usd += usd or 0.0
        self._used_tokens += tokens

    def _priced(self, asked: Asked) -> None:
        if self._allowance.usd is None:
            return
        if self._prices.cost(Count(model=asked.model, tier=asked.tier)) is None:
            self.unpriced = self.unpriced or not self.reason
            self._stop(
                f"No price is known here for the model {_shown(asked.model, asked.tier)}, so the "
                "run's limit in dollars cannot be kept: whoever runs the server gives it one, or "
                "`*` one for all such models, in the file that ORCHESTRATE_PRICES names."
            )

    def _left(self) -> None:
        usd, tokens = self._allowance.usd, self._allowance.tokens
        if usd is not None and self._used_usd >= usd:
            self._stop(
                f"The run's budget is used up: ${usd:.2f} of it were left, and this turn took "
                f"${self._used_usd:.2f}."
            )
        if tokens is not None and self._used_tokens >= tokens:
            self._stop(
                f"The run's budget is used up: {tokens:,} tokens of it were left, and this turn "
                f"took {self._used_tokens:,}."
            )

    def _stop(self, reason: str) -> None:
        self.reason = self.reason or reason
        self.spent.set()
        raise Spent(reason)

    def _full(self) -> bool:
        usd, tokens = self._allowance.usd, self._allowance.tokens
        return (usd is not None and self._used_usd + self._held_usd >= usd) or (
            tokens is not None and self._used_tokens + self._held_tokens >= tokens
        )

    async def _change(self) -> None:
        change = asyncio.get_running_loop().create_future()
        self._waiting.add(change)
        try:
            await change
        finally:
            self._waiting.discard(change)


def _guess(asked: Asked, output_tokens: int) -> Count:
    return Count(
        model=asked.model,
        tier=asked.tier,
        input_tokens=asked.request_bytes // REQUEST_BYTES_PER_TOKEN,
        output_tokens=output_tokens,
    )


def _named(count: Count, model: str, tier: str) -> Count:
    return Count(
        model=model,
        tier=tier,
        input_tokens=count.input_tokens,
        output_tokens=count.output_tokens,
        cached_tokens=count.cached_tokens,
        cache_write_tokens=count.cache_write_tokens,
        cache_write_hour_tokens=count.cache_write_hour_tokens,
    )


def _tokens(count: Count) -> int:
    return count.prompt_tokens + count.output_tokens


def _shown(model: str, tier: str) -> str:
    name = f"{model or 'without a name'}:{tier}" if tier else model or "without a name"
    return name[:NAME_CHARACTERS]
