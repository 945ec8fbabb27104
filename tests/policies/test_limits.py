from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.config import Config
from policies.facts import Change
from policies.limits import check_limits
from policies.sections import Limits
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


@pytest.mark.parametrize(("number", "allowed"), [(3, True), (4, False)])
def test_the_number_of_lines_is_limited(number: int, allowed: bool) -> None:
    # Each adds a line and takes one away.
    verdict = check_limits(
        [change(f"f{each}") for each in range(number)], config("limits: {lines: 6}")
    )
    assert verdict.allowed is allowed
    if not allowed:
        assert "8 lines changed" in verdict.reason
        assert "`limits: lines:`" in verdict.reason


@pytest.mark.parametrize(
    ("size", "binary", "allowed"), [(5, True, False), (5, False, True), (0, True, True)]
)
def test_the_number_of_binary_files_is_limited(size: int, binary: bool, allowed: bool) -> None:
    one = replace(change("a.png", size=size), binary=binary)
    verdict = check_limits([one], config("limits: {binaries: 0}"))
    assert verdict.allowed is allowed
    if not allowed:
        assert "1 binary file added or changed" in verdict.reason


CHANGES = st.lists(
    st.builds(
        Change,
        st.sampled_from(["a", "b", "c"]),
        st.none(),
        st.just("modified"),
        st.just(0o100644),
        st.just(0o100644),
        st.integers(0, 9),
        st.integers(0, 9),
        st.booleans(),
        st.integers(0, 900_000),
    ),
    max_size=6,
)
LIMITS = st.builds(
    Limits,
    files=st.integers(1, 6),
    lines=st.integers(1, 60),
    binaries=st.integers(0, 4),
    megabytes=st.integers(1, 3),
)


@given(CHANGES, LIMITS, st.randoms(), st.sampled_from(["files", "lines", "binaries", "megabytes"]))
def test_neither_order_nor_a_lower_limit_allows_more(
    changes: list[Change], limits: Limits, chance: random.Random, name: str
) -> None:
    shuffled = list(changes)
    chance.shuffle(shuffled)
    given_ = check_limits(changes, Config(limits=limits))
    assert check_limits(shuffled, Config(limits=limits)) == given_
    lower = limits.model_copy(update={name: getattr(limits, name) - 1})
    assert given_.allowed or not check_limits(changes, Config(limits=lower)).allowed
    more = [*changes, *changes[:1]]
    assert given_.allowed or not check_limits(more, Config(limits=limits)).allowed
