"""A GitHub that does not answer is asked less and less often."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import Refused, TransientError
from bot.github.breaker import (
    ANSWER_SECONDS,
    FAILURES,
    FIRST_SECONDS,
    LONGEST_SECONDS,
    PROBE_SECONDS,
    Breaker,
)


class Time:
    """A clock that goes when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def breaker(time: Time) -> Breaker:
    return Breaker(time)


def ask(breaker: Breaker, error: Exception | None = None) -> float | None:
    """Ask once; None where the request was made, else in how many seconds one may."""
    made = False
    try:
        with breaker.watching():
            made = True
            if error:
                raise error
    except TransientError as told:
        return None if made else told.retry_after
    except Refused:
        return None
    return None


def down() -> TransientError:
    return TransientError("GitHub could not be reached.")


def test_hiccups_stop_nobody(breaker: Breaker) -> None:
    for _ in range(3):
        for _ in range(FAILURES - 1):
            assert ask(breaker, down()) is None
        assert ask(breaker) is None


@pytest.mark.parametrize(
    "answer", [None, Refused("No."), TransientError("Limited.", retry_after=60.0)]
)
def test_whatever_is_answered_ends_a_row_of_failures(
    breaker: Breaker, answer: Exception | None
) -> None:
    for _ in range(FAILURES - 1):
        ask(breaker, down())
    ask(breaker, answer)
    assert [ask(breaker, down()) for _ in range(FAILURES)] == [None] * FAILURES


def test_after_a_row_nobody_asks_and_the_pause_is_named(breaker: Breaker, time: Time) -> None:
    for _ in range(FAILURES - 1):
        ask(breaker, down())
    with pytest.raises(TransientError) as told, breaker.watching():
        raise down()
    assert told.value.retry_after == FIRST_SECONDS
    time.now += 1
    assert ask(breaker) == FIRST_SECONDS - 1


def test_one_finds_out_for_all(breaker: Breaker, time: Time) -> None:
    for _ in range(FAILURES):
        ask(breaker, down())
    time.now += FIRST_SECONDS
    with breaker.watching():
        assert ask(breaker) == ANSWER_SECONDS, "another asked as well"
    assert ask(breaker) is None


def test_who_is_given_up_midway_keeps_nobody_from_finding_out(breaker: Breaker, time: Time) -> None:
    for _ in range(FAILURES):
        ask(breaker, down())
    time.now += FIRST_SECONDS
    with pytest.raises(asyncio.CancelledError), breaker.watching():
        raise asyncio.CancelledError
    with breaker.watching():
        time.now += PROBE_SECONDS
        assert ask(breaker) is None, "one that never ends"


def test_pauses_double_up_to_the_longest(breaker: Breaker, time: Time) -> None:
    for _ in range(FAILURES):
        ask(breaker, down())
    pauses = []
    for _ in range(12):
        pause = ask(breaker)
        assert pause is not None
        pauses.append(pause)
        time.now += pause
        ask(breaker, down())
    assert pauses[:4] == [FIRST_SECONDS * 2**n for n in range(4)]
    assert pauses[-1] == LONGEST_SECONDS


def test_requests_that_were_under_way_make_no_pause_longer(breaker: Breaker) -> None:
    under_way = [breaker.watching() for _ in range(8)]
    for each in under_way:
        each.__enter__()
    for _ in range(FAILURES):
        ask(breaker, down())
    for each in under_way:
        with contextlib.suppress(TransientError):
            each.__exit__(TransientError, down(), None)
    assert ask(breaker) == FIRST_SECONDS


@given(st.lists(st.booleans(), max_size=60))
def test_in_an_outage_of_any_shape_somebody_asks_again_in_time(answers: list[bool]) -> None:
    time = Time()
    breaker = Breaker(time)
    for answered in answers:
        pause = ask(breaker, None if answered else down())
        if pause is not None:
            assert 0 < pause <= LONGEST_SECONDS
            time.now += pause
            assert ask(breaker) is None
