"""What has no room on GitHub: each text says that something is missing, and where all of it is."""

from __future__ import annotations

import re
from typing import Any

import pytest

from bot.github.checks import ANNOTATIONS, MESSAGE_LIMIT, check_name
from bot.github.markup import BODY_LIMIT, cut_body
from bot.github.view import view
from bot.library import describe
from bot.runs.model import Blocked, Message, Outcome, Plan, Run, Source, Task
from bot.runs.transitions import State
from handlers.maintenance import body as tracking
from handlers.plan import lines
from policies.config import Schedule
from tests.bot.github.runs import HEAD, REPOSITORY, a_checkpoint, a_note, a_result, a_run
from tests.policies.builders import change

PAGE = REPOSITORY.page
ASKED = f"{PAGE}/issues/1#issuecomment-5"
REFUSED = f"{PAGE}/runs/9"
SHOW = r"on the server `orchestrate show k3v7qbd2aa` names all"
LOGS = r"on the server `orchestrate logs k3v7qbd2aa` prints"
COMMITS = rf"\({re.escape(PAGE)}/commits/orchestrate/1-add-rate-limiting-k3v7qbd2aa\)"


def many(**changed: Any) -> Run:
    return a_run(source=Source(kind="comment", key="1:1", url=ASKED), **changed)


def plan(count: int) -> Plan:
    return Plan(tasks=tuple(Task(id=str(n), title=f"Task {n}") for n in range(count)))


def comment(run: Run, links: dict[str, str] | None = None) -> str:
    shown = view(run, [], links=links or {}).comment
    assert shown
    return shown.body


def pull(run: Run) -> str:
    shown = view(run, []).pull
    assert shown
    return shown.body


def summary(**changed: Any) -> str:
    return view(many(), [a_result(**changed)]).checks[0].summary


HOSTS = tuple(Blocked(host=f"h{n}.example", port=443, program="pip") for n in range(12))
TOLD = tuple(Message(id=f"m{n}", by="writer", text="faster", turn=1) for n in range(8))
RED = tuple(Outcome(name=f"c{n}", conclusion="failure") for n in range(8))
REFUSALS = tuple(f"`file{n}`: closed" for n in range(14))
SHOWN = {check_name("refused candidate"): REFUSED}
POINTS = tuple(a_checkpoint(n, sha=HEAD) for n in range(1, 26))
FILES = [change(f"f{n}") for n in range(130)]

CUTS = {
    "checkpoints": (
        comment(many(checkpoints=POINTS)),
        rf"\[5 earlier checkpoints\]{COMMITS}, then",
    ),
    "checkpoints, pull": (pull(many(checkpoints=POINTS)), rf"\[5 earlier checkpoints\]{COMMITS}"),
    "hosts": (comment(many(blocked_hosts=HOSTS)), rf"and 2 more: {SHOW}"),
    "messages": (comment(many(messages=TOLD)), r"\(3 more before, in this conversation\)"),
    "lost turns": (
        comment(many(lost_turns=tuple(range(1, 14)))),
        r"Turns 4, .*, 13, and 3 before were",
    ),
    "red checks": (
        comment(many(state=State.RUNNING, outcomes=RED, checked=HEAD)),
        r"what `c0`, .*, `c4`, 3 more found",
    ),
    "refusals, here": (
        comment(many(state=State.BLOCKED, refused=REFUSALS), SHOWN),
        rf"and 4 more: \[here\]\({re.escape(REFUSED)}\) are all",
    ),
    "refusals, not drawn": (
        comment(many(state=State.BLOCKED, refused=REFUSALS)),
        rf"and 4 more: {SHOW}",
    ),
    "plan": (comment(many(state=State.AWAITING_APPROVAL, plan=plan(60))), f"and 10 more: {SHOW}"),
    "plan, pull": (pull(many(plan=plan(60))), f"and 10 more: {SHOW}"),
    "/plan": (lines(many(plan=plan(60))), f"and 10 more: {SHOW}"),
    "request": (pull(many(request="words " * 2_000)), rf"…\n\n\[All of it\]\({re.escape(ASKED)}\)"),
    "remarks": (
        summary(annotations=[a_note(n) for n in range(1, ANNOTATIONS + 8)]),
        rf"first {ANNOTATIONS} of {ANNOTATIONS + 7} remarks .*; {LOGS}",
    ),
    "summary": (summary(summary="word " * 800), rf"That is its beginning; {LOGS} all"),
    "output": (summary(text="x" * 70_000), rf"so its end is shown; {LOGS} all"),
    "/diff, files": (
        describe("a" * 40, "b" * 40, FILES, "", cut=False, whole=f"{PAGE}/compare/a...b"),
        rf"changes 130 files: All of it: {re.escape(PAGE)}/compare/a\.\.\.b",
    ),
    "schedule": (
        tracking([Schedule(name="n", cron="0 3 * * *", request="w " * 300)], []),
        r"…\s*\|",
    ),
}


@pytest.mark.parametrize("what", CUTS)
def test_what_is_cut_says_where_all_of_it_is(what: str) -> None:
    text, where = CUTS[what]
    assert re.search(where, text), text


def test_what_has_room_says_nothing_of_it() -> None:
    run = many(blocked_hosts=HOSTS[:3], messages=TOLD[:2], plan=plan(3), checkpoints=POINTS[:3])
    said = comment(run) + pull(run) + lines(run) + summary() + summary(annotations=[a_note(1)])
    for word in ("more", "earlier", "All of it", "orchestrate show", "orchestrate logs"):
        assert word not in said


def test_a_remark_that_is_cut_ends_with_a_sign_of_it() -> None:
    (check,) = view(many(), [a_result(annotations=[a_note(1, message="x" * 20_000)])]).checks
    (note,) = check.annotations
    assert len(note.message) == MESSAGE_LIMIT
    assert note.message.endswith("x…")


@pytest.mark.parametrize(
    "url",
    [
        *("", "javascript:alert(1)", "https://evil.example/x", f"{PAGE}.evil.example/issues/1"),
        *(
            f"{PAGE}/issues/1) [x](https://evil.example",
            f"{PAGE}/../../evil",
            f"{PAGE}/issues/1\n@a",
        ),
    ],
)
def test_a_record_that_names_another_address_gets_no_link(url: str) -> None:
    run = a_run(source=Source(kind="comment", key="1:1", url=url), request="words " * 2_000)
    body = pull(run)
    assert "All of it" not in body
    assert "evil" not in body


@pytest.mark.parametrize("bars", ["```", "`" * 60])
def test_a_patch_that_is_cut_closes_its_block_and_keeps_its_link(bars: str) -> None:
    fence = "`" * (len(bars) + 1)
    patch = "\n".join([*[f"+{'x' * 90}"] * 300, f"+{bars}", *["+y"] * 40_000])
    whole = f"{PAGE}/compare/a...b"
    said = describe("a" * 40, "b" * 40, FILES, patch, cut=True, whole=whole)
    shown = cut_body(said)
    assert len(shown) <= BODY_LIMIT
    assert whole in shown.splitlines()[0]
    assert re.findall(rf"(?m)^{fence}(?:diff)?$", shown) == [f"{fence}diff", fence]
    assert shown.index("</details>") > shown.rindex(fence)
    assert "The rest is cut" in shown[shown.index("</details>") :]
