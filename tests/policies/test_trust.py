from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.config import Config
from policies.facts import TrustFacts
from policies.trust import check_trust

HEAD = "1a2b3c4d" + "0" * 32
ON = Config(trust="checks")


@pytest.mark.parametrize(
    ("rules", "seen", "is_open", "said"),
    [
        (ON, HEAD, True, ""),
        (ON, "1A2B3C4", True, ""),
        (Config(), HEAD, True, "`trust: checks` in the configuration"),
        (ON, HEAD, False, "reopen it"),
        (ON, "", True, "is no commit's name"),
        (ON, "1a2b3c", True, "is no commit's name"),
        (ON, "HEAD", True, "is no commit's name"),
        (ON, "main", True, "The head is `1a2b3c4`"),
        (ON, "1a2b3c4..", True, "is no commit's name"),
        (ON, "--upload-pack=x", True, "is no commit's name"),
        (ON, HEAD + "0", True, "is no commit's name"),
        (ON, "1a2b3c5", True, "is not the head; it is `1a2b3c4` now"),
        (ON, "１a2b3c4", True, "is no commit's name"),
    ],
)
def test_trust_is_of_an_open_pull_requests_head_by_name(
    rules: Config, seen: str, is_open: bool, said: str
) -> None:
    verdict = check_trust(TrustFacts(seen, HEAD, is_open), rules)
    assert verdict.allowed is (not said)
    assert said in verdict.reason


@given(st.text("1a2b3c4d0x", max_size=42) | st.just(HEAD[:9]), st.booleans(), st.booleans())
def test_only_the_heads_own_name_counts_and_no_restriction_opens_it(
    seen: str, is_open: bool, allowed: bool
) -> None:
    rules = ON if allowed else Config()
    given_ = check_trust(TrustFacts(seen, HEAD, is_open), rules).allowed
    assert given_ is (allowed and is_open and len(seen) >= 7 and HEAD.startswith(seen.lower()))
    assert given_ or not check_trust(TrustFacts(seen, HEAD, is_open=False), rules).allowed
    assert not check_trust(TrustFacts(seen, HEAD, is_open), Config()).allowed
