from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from bot.sandbox.gateway.findings import Finding, findings

DAY = datetime.date(2026, 11, 27)


def found(environ: dict[str, str], prices: Path | None = None) -> dict[str, Finding]:
    return {each.name: each for each in findings(environ, prices, today=DAY)}


def test_keys_are_told_by_their_variable_and_never_shown() -> None:
    told = found({"ANTHROPIC_API_KEY": "hush", "OPENAI_BASE_URL": "https://me:hush@gw.example/v1"})
    assert told["models: anthropic"] == Finding(
        "models: anthropic", True, False, "https://api.anthropic.com, by ANTHROPIC_API_KEY."
    )
    assert told["models: openai"].sentence == "https://gw.example/v1, without a key."
    assert "hush" not in str(told)


def test_a_maker_without_a_key_says_what_to_set() -> None:
    gemini = found({})["models: gemini"]
    assert (gemini.ok, gemini.needed) == (False, False)
    assert "GEMINI_API_KEY" in gemini.sentence


@pytest.mark.parametrize(
    ("base", "ok"),
    [
        ("http://gw.example", False),
        ("https://gw.example", True),
        ("http://127.0.0.1:4000", True),
        ("http://localhost:4000", True),
    ],
)
def test_a_key_that_is_sent_unencrypted_is_told(base: str, ok: bool) -> None:
    told = found({"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": base})["models: anthropic"]
    assert told.ok is ok
    assert ("unencrypted" in told.sentence) is not ok


def test_a_wrong_endpoint_is_needed() -> None:
    models = found({"OPENAI_BASE_URL": "nonsense"})["models"]
    assert (models.ok, models.needed) == (False, True)
    assert "OPENAI_BASE_URL" in models.sentence


def test_prices_are_told_with_their_day(tmp_path: Path) -> None:
    assert found({})["prices"].ok
    assert "as published on 2026-" in found({})["prices"].sentence
    stale = findings({}, None, today=DAY.replace(year=2028))[-1]
    assert not stale.ok
    assert "ORCHESTRATE_PRICES" in stale.sentence
    missing = found({}, tmp_path / "none.toml")["prices"]
    assert (missing.ok, missing.needed) == (False, True)
