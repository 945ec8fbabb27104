from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

import pytest

from bot.errors import OperatorError
from bot.sandbox.gateway.counting import Count
from bot.sandbox.gateway.prices import Price, Prices

DAY = datetime.date(2026, 11, 27)


@pytest.fixture(scope="module")
def prices() -> Prices:
    return Prices.load(today=DAY)


def counted(model: str, **tokens: int) -> Count:
    return replace(Count(model=model), **tokens)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "as_named"),
    [
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("claude-opus-4-8[1m]", "claude-opus-4-8"),
        ("anthropic/claude-haiku-4-5", "claude-haiku-4-5"),
        ("gpt-5.4-mini-2026-03-01", "gpt-5.4-mini"),
        ("GPT-5.2-Codex", "gpt-5.2"),
        ("models/gemini-2.5-flash-lite", "gemini-2.5-flash-lite"),
        ("gemini-3.1-pro-preview", "gemini-3.1-pro"),
        ("gemini-2.5-pro@default", "gemini-2.5-pro"),
    ],
)
def test_a_model_takes_the_longest_name_that_it_begins_with(
    prices: Prices, model: str, as_named: str
) -> None:
    assert prices.of(model) is prices.by_name[as_named]


@pytest.mark.parametrize(
    "model", ["", "gpt", "gpt-5.99", "gpt-55", "claude-opus-4-99", "claude-sonnet-4-50", "llama3"]
)
def test_an_unknown_model_has_no_price(prices: Prices, model: str) -> None:
    assert prices.of(model) is None
    assert prices.cost(counted(model, input_tokens=1)) is None


def test_each_kind_of_token_has_its_price(prices: Prices) -> None:
    count = counted(
        "claude-opus-4-8",
        input_tokens=1_000_000,
        output_tokens=1_000_000,
        cached_tokens=1_000_000,
        cache_write_tokens=1_000_000,
        cache_write_hour_tokens=1_000_000,
    )
    assert prices.cost(count) == pytest.approx(5 + 25 + 0.5 + 6.25 + 10)


def test_what_has_no_price_of_its_own_costs_as_much_as_input() -> None:
    price = Price(input=3, output=4)
    count = counted("x", cached_tokens=10**6, cache_write_tokens=10**6, cache_write_hour_tokens=1)
    assert price.of(count) == pytest.approx(6.000003)


@pytest.mark.parametrize(("cached", "usd"), [(0, 0.25), (1, 0.5 + 0.0000002)])
def test_a_long_prompt_costs_more_for_all_of_its_tokens(
    prices: Prices, cached: int, usd: float
) -> None:
    count = counted("gemini-2.5-pro", input_tokens=200_000, cached_tokens=cached)
    assert prices.cost(count) == pytest.approx(usd, abs=1e-6)


def test_a_dearer_tier_costs_more_and_one_without_a_price_has_none(prices: Prices) -> None:
    def cost(tier: str) -> float | None:
        return prices.cost(Count(model="gpt-6.2-sol", tier=tier, output_tokens=1_000_000))

    assert (cost(""), cost("fast"), cost("ultrafast")) == (10, 20, None)


def test_a_list_is_used_until_its_last_day() -> None:
    def cost(day: datetime.date) -> float | None:
        found = Prices.load(today=day)
        return found.cost(counted("gemini-3.8-flash", input_tokens=1_000_000))

    assert cost(datetime.date(2026, 12, 31)) == 0.75
    assert cost(datetime.date(2027, 1, 1)) == 1.5


def test_every_list_of_ours_has_a_maker_as_its_source_and_prices_that_make_sense(
    prices: Prices,
) -> None:
    assert len(prices.dates) == len(prices.sources)
    assert all(date <= DAY for date in prices.dates)
    assert all(source.startswith("https://") for source in prices.sources)
    for name, price in prices.by_name.items():
        assert 0 < price.input < price.output, name
        assert price.cache_read is None or price.cache_read < price.input, name
        assert price.cache_write is None or price.cache_write > price.input, name
        assert (price.long is None) == (price.above is None), name
        if price.long is not None:
            assert price.long.input > price.input, name
            assert price.long.output > price.output, name


def test_the_operators_prices_stand_over_ours(tmp_path: Path) -> None:
    own = tmp_path / "prices.toml"
    own.write_text(
        """
        [[list]]
        source = "our contract"
        date = 2026-11-01
        [list.models]
        claude-opus-4-8 = { input = 1, output = 2 }
        my-model = { input = 0, output = 0 }
        """
    )
    prices = Prices.load(own, today=DAY)
    assert prices.cost(counted("claude-opus-4-8", output_tokens=1_000_000)) == 2
    assert prices.cost(counted("my-model-7b", output_tokens=1_000_000)) == 0
    assert prices.of("claude-opus-5") is not None


def test_the_operator_may_give_all_other_models_a_price(tmp_path: Path) -> None:
    own = tmp_path / "prices.toml"
    own.write_text(
        """
        [[list]]
        source = "a guess on the safe side"
        date = 2026-11-01
        models = { "*" = { input = 30, output = 180 } }
        """
    )
    prices = Prices.load(own, today=DAY)
    assert prices.cost(counted("llama3:70b", output_tokens=1_000_000)) == 180
    assert prices.cost(counted("claude-opus-4-8", output_tokens=1_000_000)) == 25


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("not toml", "not TOML"),
        ("[[list]]\nsource = 'x'\ndate = 2026-01-01\nmodels = {a = {input = -1}}", "list.0.models"),
        ("[[list]]\nsource = 'x'\ndate = 2026-01-01\nmodels = {a = {inptu = 1}}", "list.0.models"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    own = tmp_path / "prices.toml"
    own.write_text(text)
    with pytest.raises(OperatorError, match=says):
        Prices.load(own)


def test_a_missing_file_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="ORCHESTRATE_PRICES"):
        Prices.load(tmp_path / "none.toml")
