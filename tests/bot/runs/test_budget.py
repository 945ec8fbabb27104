"""What a run may use and has used, in sums and in words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import UserError
from bot.events import Event, Type
from bot.runs import budget
from bot.runs.fold import evolve
from bot.runs.model import Message, Repository, Run, Source
from bot.runs.transitions import State, Work
from bot.usage import Usage

AT = datetime(2026, 1, 1, tzinfo=UTC)

counts = st.integers(0, 10**9)
usages = st.builds(
    Usage,
    requests=counts,
    input_tokens=counts,
    output_tokens=counts,
    cached_tokens=counts,
    cache_write_tokens=counts,
    usd=st.floats(0, 1e6).map(lambda usd: round(usd, 4)),
    unpriced=st.lists(st.sampled_from(["a", "b", "c"]), unique=True).map(tuple),
)


def run_of(**more: Any) -> Run:
    """A run at work."""
    return Run(
        id="k3f9x0a2bq",
        repository=Repository(id=1, owner="acme", name="tool", installation=1),
        source=Source(kind="comment", key="1"),
        requester="ada",
        request="Add it",
        created_at=AT,
        updated_at=AT,
        **{"state": State.RUNNING, "work": Work.TURN, "agent": "claude", "turn_limit": 3, **more},
    )


def ended(run: Run, outcome: str = "ended", **data: Any) -> Run:
    """The run after its turn ended."""
    more = {"turn": run.turns, "outcome": outcome, "tree": "t", "commit": "c", "violations": []}
    return happened(run, Type.TURN_ENDED, {**more, "at": AT.isoformat(), **data})


def happened(run: Run, kind: Type, data: dict[str, Any], id: str = "e") -> Run:
    """The run after an event."""
    return evolve(run, Event(id=id, at=AT, actor="ada", type=kind, data=data))


@given(usages, usages, usages)
def test_usage_adds_up_in_any_order(a: Usage, b: Usage, c: Usage) -> None:
    left, right = a + b + c, a + (b + c)

    assert left.model_copy(update={"usd": 0}) == right.model_copy(update={"usd": 0})
    assert left.usd == pytest.approx(right.usd)
    assert left.tokens == a.tokens + b.tokens + c.tokens


@given(st.lists(usages, max_size=5))
def test_a_run_has_used_what_its_turns_did(turns: list[Usage]) -> None:
    run = run_of()
    for number, usage in enumerate(turns, 1):
        run = run.model_copy(
            update={"turns": number, "turn_open": True, "state": State.RUNNING, "work": Work.TURN}
        )
        run = ended(run, usage=usage.model_dump(mode="json"), seconds=1.5)

    assert run.usage.tokens == sum(each.tokens for each in turns)
    assert run.usage.usd == pytest.approx(sum(each.usd for each in turns))
    assert run.seconds == 1.5 * len(turns)


def test_a_record_of_an_older_version_has_no_limits() -> None:
    data = {"base": "main", "base_sha": "a", "base_tree": "t", "branch": "b", "agent": "claude"}
    run = run_of(state=State.QUEUED, work=Work.START)

    older = happened(run, Type.STARTED, {**data, "turns": 3, "minutes": 30})
    newer = happened(run, Type.STARTED, {**data, "turns": 3, "minutes": 30, "usd": 5, "tokens": 9})

    assert (older.usd_limit, older.token_limit, budget.used_up(older)) == (None, None, None)
    assert (budget.left_usd(older), budget.left_tokens(older)) == (None, None)
    assert (newer.usd_limit, newer.token_limit) == (5, 9)


@pytest.mark.parametrize(
    ("used", "limits", "reason", "step"),
    [
        (Usage(usd=1.99), {"usd_limit": 2.0}, None, None),
        (Usage(usd=2.03), {"usd_limit": 2.0}, "$2.03 of its $2.00", "`/resume --budget +2`"),
        (Usage(usd=0.5), {"usd_limit": 0.5}, "$0.50 of its $0.50", "--budget +0.50"),
        (Usage(input_tokens=999), {"token_limit": 1000}, None, None),
        (
            Usage(input_tokens=400, output_tokens=300, cached_tokens=200, cache_write_tokens=150),
            {"token_limit": 1000},
            "1,050 of its 1,000 tokens",
            "`/resume --agent NAME --tokens +1000`",
        ),
        (Usage(usd=1e6, input_tokens=10**9), {}, None, None),
    ],
)
def test_a_budget_that_is_used_up_says_what_to_type(
    used: Usage, limits: dict[str, Any], reason: str | None, step: str | None
) -> None:
    found = budget.used_up(run_of(usage=used, **limits))

    if reason is None or step is None:
        assert found is None
    else:
        assert found is not None
        assert reason in found.reason
        assert step in found.next_step


def test_what_is_left_is_never_less_than_nothing() -> None:
    run = run_of(usage=Usage(usd=2.5, input_tokens=10), usd_limit=2.0, token_limit=4)

    assert (budget.left_usd(run), budget.left_tokens(run)) == (0.0, 0)


@pytest.mark.parametrize(
    ("given", "used", "limit", "after"),
    [
        ("+2", 1.0, 2.0, 4.0),
        ("+2", 2.5, 2.0, 4.5),  # a last request went over: two dollars are two dollars
        ("8", 2.5, 2.0, 8.0),
        ("$8.50", 2.5, 2.0, 8.5),
        ("+2", 1.0, None, 3.0),
        ("2", 2.5, 2.0, None),
    ],
)
def test_more_money_is_more_than_was_used(
    given: str, used: float, limit: float | None, after: float | None
) -> None:
    run = run_of(usage=Usage(usd=used), usd_limit=limit)

    if after is None:
        with pytest.raises(UserError, match=r"used \$2.50 already; `--budget \+2`"):
            budget.usd_limit(run, budget.read_usd(given))
    else:
        assert budget.usd_limit(run, budget.read_usd(given)) == after


@pytest.mark.parametrize(
    ("given", "after"), [("+500k", 1_500_000), ("2m", 2_000_000), ("+1", 1_000_001), ("7", None)]
)
def test_more_tokens_are_more_than_were_used(given: str, after: int | None) -> None:
    run = run_of(usage=Usage(input_tokens=7), token_limit=1_000_000)

    if after is None:
        with pytest.raises(UserError, match="used 7 tokens already"):
            budget.token_limit(run, budget.read_tokens(given))
    else:
        assert budget.token_limit(run, budget.read_tokens(given)) == after


@pytest.mark.parametrize(
    "text", ["", "two", "-1", "0", "+0", "nan", "inf", "1e9", "20000", "1.", "+"]
)
def test_what_is_no_sum_of_money_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="`--budget` takes dollars"):
        budget.read_usd(text)


@pytest.mark.parametrize("text", ["", "many", "-1", "0", "1.5m", "99999999m"])
def test_what_is_no_number_of_tokens_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="`--tokens` takes a number"):
        budget.read_tokens(text)


@pytest.mark.parametrize("text", ["", "0", "1441", "+5", "ten"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="`--minutes` takes a whole number"):
        budget.read_minutes(text)


def test_a_budget_is_low_at_four_fifths() -> None:
    run = run_of(usage=Usage(usd=1.0, input_tokens=10), usd_limit=2.0, token_limit=100)

    assert not budget.is_low(run, Usage(usd=0.59))
    assert budget.is_low(run, Usage(usd=0.6))
    assert budget.is_low(run, Usage(input_tokens=70))
    assert not budget.is_low(run_of(), Usage(usd=1e6, input_tokens=10**9))


def test_more_budget_is_not_low_any_more() -> None:
    run = run_of(state=State.BLOCKED, work=None, resume_to=State.RUNNING, usd_limit=2.0)
    run = happened(run, Type.BUDGET_LOW, {})
    again = {"turns": 3, "agent": None}

    assert run.budget_low
    assert happened(run, Type.RESUMED, again).budget_low
    assert not happened(run, Type.RESUMED, {**again, "usd": 4.0}).budget_low
    assert happened(run, Type.RESUMED, {**again, "usd": 4.0}).usd_limit == 4.0
    assert happened(run, Type.RESUMED, {**again, "minutes": 60}).minutes == 60


@pytest.mark.parametrize(
    ("usage", "words"),
    [
        (Usage(), ""),
        (Usage(requests=3, input_tokens=1_234, usd=0.1234), "$0.12 of $5.00, 1,234 tokens"),
        (Usage(requests=3, input_tokens=123_456, usd=0.00042), "$0.00042 of $5.00, 123k tokens"),
        (
            Usage(requests=1, input_tokens=2_500_000, usd=1.5, unpriced=("new",)),
            "at least $1.50 of $5.00, 2.5 million tokens",
        ),
        (Usage(requests=1, input_tokens=5, unpriced=("new",)), "an unknown sum, 5 tokens"),
    ],
)
def test_spending_is_told_in_words(usage: Usage, words: str) -> None:
    run = run_of(usage=usage, usd_limit=5.0)

    assert budget.spent(run) == words
    assert bool(budget.unpriced(run)) == bool(usage.unpriced)


@pytest.mark.parametrize("changed", [True, False])
def test_a_turn_that_the_budget_stopped_is_kept_and_blocks(changed: bool) -> None:
    run = run_of(turns=1, turn_open=True, usd_limit=2.0)
    data = {} if changed else {"tree": ""}

    run = ended(run, "budget", usage={"usd": 2.1}, reason="spent", next_step="more", **data)

    assert (run.work is Work.JUDGE) == changed
    if changed:
        made = {"number": 1, "sha": "s", "tree": "t", "parent": "p", "kind": "partial"}
        run = happened(run, Type.CHECKPOINTED, made)
    assert run.state is State.BLOCKED
    assert run.work is None
    assert (run.reason, run.next_step) == ("spent", "more")
    assert run.resume_to is State.RUNNING


def test_the_session_of_each_agent_is_kept() -> None:
    run = ended(run_of(turns=1, turn_open=True), session="acp:1")
    run = run.model_copy(update={"state": State.RUNNING, "agent": "codex", "turns": 2})
    run = ended(run, session="acp:2")
    run = run.model_copy(update={"state": State.RUNNING, "turns": 3})
    run = ended(run)  # an agent that has none, or whose turn broke before it had one

    assert run.sessions == {"claude": "acp:1", "codex": "acp:2"}
    assert "session" not in run.candidate


def test_hosts_that_were_blocked_are_named_once() -> None:
    blocked = [{"host": "evil.example", "port": 443, "program": "curl", "at": 1.0}] * 2
    run = ended(run_of(turns=1, turn_open=True), blocked=blocked)

    assert [each.host for each in run.blocked_hosts] == ["evil.example"]


def said(run: Run, text: str, id: str) -> Run:
    """The run after somebody told the agent something."""
    return happened(run, Type.TOLD, {"text": text}, id)


@pytest.mark.parametrize(
    ("outcome", "heard"),
    [("ended", True), ("failed", False), ("stopped", False), ("interrupted", False)],
)
def test_what_a_turn_was_told_is_told_again_where_it_did_not_end_by_itself(
    outcome: str, heard: bool
) -> None:
    run = said(run_of(turns=1), "use tabs", "m1")
    run = happened(run, Type.TURN_STARTED, {"turn": 2, "agent": "claude", "told": ["m1"]})
    run = said(run, "no, blanks", "m2")
    assert [each.id for each in run.unheard()] == ["m2"]
    run = happened(run, Type.HEARD, {"messages": ["m2"], "turn": 2})
    assert run.unheard() == ()

    run = ended(run, outcome)

    again = () if heard else ("m1", "m2")
    assert tuple(each.id for each in run.unheard()) == again
    # Noted too late, by a process that was taken for dead.
    run = happened(run, Type.HEARD, {"messages": ["m1", "m2"], "turn": 2})
    assert tuple(each.id for each in run.unheard()) == again


@pytest.mark.parametrize(("turns", "state"), [(1, State.RUNNING), (3, State.AWAITING_REVIEW)])
def test_what_waits_to_be_told_gets_a_turn_where_there_is_one(turns: int, state: State) -> None:
    run = run_of(state=State.VALIDATING, work=Work.CHECK, turns=turns, head="s")
    run = said(run, "and the docs", "m1")

    run = happened(run, Type.CHECKED, {"sha": "s", "checks": [], "green": True})

    assert run.state is state
    assert run.messages == (Message(id="m1", by="ada", text="and the docs"),)


def test_what_waits_to_be_told_goes_before_a_stop_for_nothing_changed() -> None:
    run = said(run_of(turns=1, turn_open=True), "it is in src", "m1")

    again = ended(run, tree="", reason="changed nothing")

    assert (again.state, again.work, again.reason) == (State.RUNNING, Work.TURN, "")
