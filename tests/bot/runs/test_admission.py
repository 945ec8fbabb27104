"""Who works next: limits that are never passed, and nobody who waits for ever."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.runs.admission import (
    AGED_SECONDS,
    PEOPLE,
    SCHEDULES,
    Limits,
    Wanted,
    admit,
    places,
)

NOW = 10_000.0

LIMITS = st.builds(
    Limits,
    st.integers(0, 6),
    st.none() | st.integers(1, 4),
    st.none() | st.integers(1, 3),
    st.dictionaries(st.sampled_from(["claude", "codex"]), st.integers(1, 3)),
)


@st.composite
def runs(draw: st.DrawFn, least: int = 0, most: int = 14) -> list[Wanted]:
    """Some runs of a few repositories of a few installations, each under a name of its own."""
    made = []
    for number in range(draw(st.integers(least, most))):
        repository = draw(st.integers(1, 6))
        made.append(
            Wanted(
                f"r{number:02}",
                repository % 3 + 1,
                repository,
                draw(st.sampled_from(["claude", "codex", "ruff"])),
                draw(st.sampled_from([PEOPLE, SCHEDULES])),
                NOW - draw(st.sampled_from([0, 1, 5, 60, AGED_SECONDS, 2 * AGED_SECONDS])),
            )
        )
    return made


def a_run(name: str, repository: int = 1, **more: float) -> Wanted:
    return Wanted(
        name,
        int(more.get("installation", 1)),
        repository,
        "claude",
        int(more.get("rank", PEOPLE)),
        NOW - more.get("age", 0.0),
    )


def fits(one: Wanted, working: list[Wanted], limits: Limits) -> bool:
    """Whether one more may work, told in the plainest way."""
    here = [each for each in working if each.installation == one.installation]
    bounds = [
        (limits.server, working),
        (limits.installation, here),
        (limits.repository, [each for each in working if each.repository == one.repository]),
        (limits.agents.get(one.agent), [each for each in working if each.agent == one.agent]),
    ]
    return all(most is None or len(them) < most for most, them in bounds)


@given(runs(), runs(most=4), LIMITS)
def test_no_limit_is_passed_and_no_room_is_left(
    waiting: list[Wanted], busy: list[Wanted], limits: Limits
) -> None:
    chosen = admit(waiting, busy, limits, NOW)
    assert Counter(each.run for each in chosen) <= Counter(each.run for each in waiting)
    working = list(busy)
    for each in chosen:
        assert fits(each, working, limits)
        working.append(each)
    assert not any(fits(each, working, limits) for each in waiting if each not in chosen)


@given(runs(least=2), runs(most=4), LIMITS)
def test_who_has_waited_too_long_is_passed_over_by_nobody(
    waiting: list[Wanted], busy: list[Wanted], limits: Limits
) -> None:
    chosen = admit(waiting, busy, limits, NOW)
    working = list(busy)
    for each in chosen:
        for other in waiting:
            is_aged = NOW - other.asked >= AGED_SECONDS
            begun = working[len(busy) :]
            if is_aged and other not in begun and other.asked < each.asked:
                assert not fits(other, working, limits)
        working.append(each)


@given(runs(), runs(most=4))
def test_everybody_has_a_place_and_those_who_begin_have_the_first(
    waiting: list[Wanted], busy: list[Wanted]
) -> None:
    order = places(waiting, busy, NOW)
    assert sorted(order) == sorted(each.run for each in waiting)
    begin = admit(waiting, busy, Limits(len(busy) + 3), NOW)
    assert [each.run for each in begin] == order[:3]


@pytest.mark.parametrize(
    ("rank", "most", "at_the_latest"),
    [
        (PEOPLE, 3, 1),  # its repository has none at work, and the noisy one no more than three
        (SCHEDULES, 3, 1),
        (PEOPLE, None, 1),
        (SCHEDULES, None, AGED_SECONDS / 10),  # where people never stop asking, until it is old
    ],
)
def test_nobody_starves_beside_a_repository_that_never_stops_asking(
    rank: int, most: int | None, at_the_latest: float
) -> None:
    """Each round one run ends, and the noisy repository asks for three more."""
    quiet = a_run("quiet", repository=2, rank=rank)
    working: list[Wanted] = []
    waiting = [quiet, *(a_run(f"n0-{n}") for n in range(30))]
    limits = Limits(4, None, most)
    for round in range(1, 200):
        now = NOW + 10 * round
        begun = admit(waiting, working, limits, now)
        waiting = [each for each in waiting if each not in begun]
        working += begun
        assert len(working) <= 4
        if quiet in working:
            break
        working.pop(0)
        waiting += [Wanted(f"n{round}-{n}", 1, 1, "claude", PEOPLE, now) for n in range(3)]
    assert quiet in working
    assert round <= at_the_latest


def test_a_schedule_waits_for_people_but_not_for_ever() -> None:
    waiting = [a_run("nightly", rank=SCHEDULES, age=600.0), a_run("asked", age=1.0)]
    assert [each.run for each in admit(waiting, [], Limits(1), NOW)] == ["asked"]
    aged = [a_run("nightly", rank=SCHEDULES, age=AGED_SECONDS), a_run("asked", age=1.0)]
    assert [each.run for each in admit(aged, [], Limits(1), NOW)] == ["nightly"]


def test_installations_take_turns_and_then_their_repositories() -> None:
    noisy = [a_run(f"a{n}", repository=1, age=50 - n) for n in range(4)]
    other = a_run("b", repository=2, age=3.0)
    tenant = a_run("c", repository=3, installation=2, age=1.0)
    assert places([*noisy, other, tenant], [], NOW) == ["a0", "c", "b", "a1", "a2", "a3"]


def test_a_machine_of_ones_own_has_no_limit_but_its_size() -> None:
    waiting = [a_run(f"r{n}", installation=0) for n in range(5)]
    assert len(admit(waiting, [], Limits(4, 1, 1), NOW)) == 4
