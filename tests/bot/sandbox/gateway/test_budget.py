from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from bot.sandbox.gateway.budget import Asked, Spent, Till
from bot.sandbox.gateway.counting import Count
from bot.sandbox.gateway.model import Allowance
from bot.sandbox.gateway.prices import Price, Prices
from bot.usage import Usage

# One dollar for each token written, nothing for those read.
DOLLAR = Prices(by_name={"dear": Price(input=0, output=1_000_000)})
ASKED = Asked(model="dear", tier="", request_bytes=400, output_tokens=10)
WHOLE = Count(model="dear", told=True, whole=True)


def wrote(tokens: int) -> Count:
    return replace(WHOLE, output_tokens=tokens)


async def test_what_is_used_adds_up() -> None:
    till = Till(Allowance(), DOLLAR)
    for tokens in (3, 4):
        till.settle(await till.hold(ASKED), wrote(tokens))
    assert till.usage == Usage(requests=2, output_tokens=7, usd=7.0)
    assert not till.spent.is_set()


async def test_at_the_limit_the_next_request_is_refused() -> None:
    till = Till(Allowance(usd=5), DOLLAR)
    till.settle(await till.hold(ASKED), wrote(4))
    till.settle(await till.hold(ASKED), wrote(4))
    assert not till.spent.is_set()
    with pytest.raises(Spent, match=r"\$5\.00 of it were left, and this turn took \$8\.00"):
        await till.hold(ASKED)
    assert till.spent.is_set()
    assert "used up" in till.reason


async def test_what_is_given_meanwhile_holds_from_the_next_request_on() -> None:
    till = Till(Allowance(usd=5), DOLLAR)
    first = await till.hold(ASKED)
    waits = asyncio.create_task(till.hold(ASKED))
    await asyncio.sleep(0)
    assert not waits.done()
    till.allow(Allowance(usd=25))
    till.settle(await waits, wrote(4))
    till.settle(first, wrote(4))
    till.settle(await till.hold(ASKED), wrote(1))
    till.allow(Allowance(usd=9))
    with pytest.raises(Spent):
        await till.hold(ASKED)


async def test_nothing_left_refuses_the_first() -> None:
    for allowance in (Allowance(usd=0), Allowance(tokens=0)):
        with pytest.raises(Spent):
            await Till(allowance, DOLLAR).hold(ASKED)


async def test_tokens_of_every_kind_count() -> None:
    till = Till(Allowance(tokens=10), DOLLAR)
    count = replace(WHOLE, input_tokens=1, cached_tokens=4, cache_write_hour_tokens=2)
    till.settle(await till.hold(ASKED), replace(count, output_tokens=3))
    with pytest.raises(Spent, match="10 tokens of it were left, and this turn took 10"):
        await till.hold(ASKED)
    assert till.usage.tokens == 10


async def test_many_at_once_pass_the_limit_by_no_more_than_one_of_them() -> None:
    till = Till(Allowance(usd=25), DOLLAR)
    under_way = 0
    most = 0

    async def ask() -> bool:
        nonlocal under_way, most
        try:
            held = await till.hold(ASKED)
        except Spent:
            return False
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        till.settle(held, wrote(ASKED.output_tokens))
        return True

    answered = sum(await asyncio.gather(*(ask() for _ in range(50))))
    assert answered == 3
    assert most == 3
    assert till.usage.usd == 30


async def test_one_that_finds_all_held_waits_and_is_not_refused() -> None:
    till = Till(Allowance(usd=15), DOLLAR)
    first, second = await till.hold(ASKED), await till.hold(ASKED)
    third = asyncio.ensure_future(till.hold(ASKED))
    await asyncio.sleep(0)
    assert not third.done()
    till.settle(first, wrote(1))
    till.settle(second, wrote(1))
    till.settle(await third, wrote(1))
    assert till.usage.usd == 3


async def test_one_that_waits_may_leave() -> None:
    till = Till(Allowance(usd=5), DOLLAR)
    held = await till.hold(ASKED)
    waits = asyncio.ensure_future(till.hold(ASKED))
    await asyncio.sleep(0)
    waits.cancel()
    await asyncio.gather(waits, return_exceptions=True)
    till.settle(held, None)
    till.settle(await till.hold(ASKED), wrote(1))


async def test_a_failed_request_costs_nothing() -> None:
    till = Till(Allowance(usd=5), DOLLAR)
    till.settle(await till.hold(ASKED), None)
    assert till.usage == Usage()


async def test_an_answer_that_told_nothing_is_marked_and_charged_by_its_size() -> None:
    till = Till(Allowance(usd=5), DOLLAR)
    till.settle(await till.hold(ASKED), Count(), answer_bytes=160)
    assert till.usage == Usage(requests=1, partial=1)
    with pytest.raises(Spent, match=r"took \$10\.00"):
        await till.hold(ASKED)


async def test_a_model_without_a_price_is_named_and_not_free() -> None:
    till = Till(Allowance(tokens=10_000), DOLLAR)
    other = replace(ASKED, model="cheap")
    till.settle(await till.hold(other), replace(wrote(5), model="cheap-2"))
    assert till.usage.unpriced == ("cheap-2",)
    assert till.usage.output_tokens == 5


async def test_with_a_limit_in_dollars_a_model_without_a_price_is_refused() -> None:
    till = Till(Allowance(usd=100), DOLLAR)
    with pytest.raises(Spent, match="No price is known here for the model cheap"):
        await till.hold(replace(ASKED, model="cheap"))
    with pytest.raises(Spent, match="dear:fast"):
        await till.hold(replace(ASKED, tier="fast"))
    assert till.spent.is_set()
    till.settle(await till.hold(ASKED), wrote(1))


async def test_an_answer_that_names_its_model_otherwise_is_priced_as_asked() -> None:
    till = Till(Allowance(usd=100), DOLLAR)
    till.settle(await till.hold(ASKED), replace(wrote(5), model="some-alias"))
    assert till.usage == Usage(requests=1, output_tokens=5, usd=5.0)


async def test_a_tier_that_only_the_answer_tells_is_named() -> None:
    till = Till(Allowance(usd=100), DOLLAR)
    till.settle(await till.hold(ASKED), replace(wrote(5), tier="fast"))
    assert till.usage.unpriced == ("dear:fast",)


def test_usage_adds() -> None:
    names = tuple(Usage.model_fields)

    def usage(*values: Any) -> Usage:
        return Usage.model_validate(dict(zip(names, values, strict=True)))

    one = usage(1, 2, 3, 4, 5, 0.5, ("a",), 1)
    more = usage(1, 1, 1, 1, 1, 0.25, ("b", "a"), 0)
    assert one + more == usage(2, 3, 4, 5, 6, 0.75, ("a", "b"), 1)
    assert one.tokens == 2 + 3 + 4 + 5
