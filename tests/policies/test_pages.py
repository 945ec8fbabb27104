from __future__ import annotations

import pytest

from policies.config import Config
from policies.pages import RULES, pages
from policies.rules import judge


def test_every_rule_over_a_candidate_has_its_page() -> None:
    told = {each.rule for each in judge((), (), (), Config()).children}
    # What git cannot hold is found by the host; no setting heeds it, and policy.md tells of it.
    assert told - {"workspace"} <= set(RULES)


@pytest.mark.parametrize("name", RULES)
def test_a_page_shows_a_refusal_and_what_opens_it(name: str) -> None:
    refused = RULES[name].refused()
    assert not refused.allowed
    assert refused.rule == RULES[name].module.RULE
    page = pages()[name]
    assert refused.reason.replace("`", "") in page
    assert all(f"`{each.partition('.')[0]}: " in page for each in RULES[name].settings)
