"""What keeps an approved head from being merged at this moment: a hold, or a time for no merges."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from bot.runs.model import Run
from policies.config import Config
from policies.facts import HoldFacts
from policies.freeze import check_freeze
from policies.hold import check_hold
from policies.verdict import all_of


def kept_back(run: Run, labels: Iterable[str], at: datetime, config: Config) -> str:
    """Say why a run is not merged now, whoever approved it; empty where nothing keeps it."""
    holds = tuple((each.by, each.why) for each in run.holds)
    facts = HoldFacts(frozenset(labels), holds)
    verdict = all_of("merge", (check_hold(facts, config), check_freeze(at, config)))
    return "" if verdict.allowed else verdict.reason
