from __future__ import annotations

import pytest

from policies.limits import check_limits
from tests.policies.builders import change, config


@pytest.mark.parametrize(("number", "allowed"), [(0, True), (2, True), (3, False)])
def test_the_number_of_files_is_limited(number: int, allowed: bool) -> None:
    changes = [change(f"f{each}") for each in range(number)]
    assert check_limits(changes, config("limits: {files: 2}")).allowed is allowed


@pytest.mark.parametrize(("last", "allowed"), [(400_000, True), (400_001, False)])
def test_the_size_of_new_content_is_limited(last: int, allowed: bool) -> None:
    changes = [change("a", size=600_000), change("b", size=last)]
    assert check_limits(changes, config("limits: {megabytes: 1}")).allowed is allowed


def test_a_refusal_says_how_much_there_was_and_what_to_do() -> None:
    verdict = check_limits([change("a", size=12_000_000)], config())
    assert "12,000,000 bytes" in verdict.reason
    assert "10 MB" in verdict.reason
    assert "`limits: megabytes:`" in verdict.reason
