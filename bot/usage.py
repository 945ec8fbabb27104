"""What requests to models took: the one value that the gateway counts and runs add up. A leaf."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

USD_DIGITS = 9
"""Digits behind the point that sums keep: a billionth of a dollar is less than any token costs."""


class Usage(BaseModel):
    """What requests to models took, as their answers say it. The four kinds of tokens are disjoint.

    input_tokens: read anew; those read from the maker's cache, or written to it, are apart.
    output_tokens: with those of the model's reasoning.
    usd: by the price list; it lacks what the models in `unpriced` cost, whose price is not known.
    partial: requests whose answers did not come whole or told no usage; what is known of them
        is counted.
    """

    model_config = ConfigDict(frozen=True)

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    usd: float = 0.0
    unpriced: tuple[str, ...] = ()
    partial: int = 0

    @property
    def tokens(self) -> int:
        """All tokens that were read and written, which is what a limit of tokens counts."""
        read = self.input_tokens + self.cached_tokens + self.cache_write_tokens
        return read + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            requests=self.requests + other.requests,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            usd=round(self.usd + other.usd, USD_DIGITS),
            unpriced=tuple(dict.fromkeys(self.unpriced + other.unpriced)),
            partial=self.partial + other.partial,
        )
