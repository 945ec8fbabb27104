from __future__ import annotations

import pytest

from policies.cases import Case, parse_cases, try_cases
from policies.config import Config
from policies.tree import Problem
from tests.policies.builders import config

FILE = """
cases:
  - {name: code may be changed, changes: [src/a.py], expect: allowed}
  - {name: lock files are closed, changes: [src/a.py, uv.lock], expect: refused, says: uv.lock}
  - name: a link into the workflows is refused
    changes: [{path: .github/workflows, status: added, link: true}]
    expect: refused
    says: Only people
  - name: secrets are refused
    changes: [{path: a.py, secret: jwt}]
    expect: refused
    says: (jwt)
  - {name: writers start runs, command: orchestrate, role: write, expect: allowed}
  - {name: readers do not, command: orchestrate, role: read, expect: refused, says: needs the write}
  - {name: not who asked, command: approve, role: admin, requester: true, expect: refused}
  - {name: alone, command: approve, role: admin, requester: true, alone: true, expect: allowed}
"""


def cases(text: str) -> list[Case]:
    found = parse_cases(text)
    return [each for each in found if isinstance(each, Case)]


def test_cases_come_out_as_the_defaults_have_it() -> None:
    outcomes = try_cases(cases(FILE), Config())
    assert [each.name for each in outcomes if not each.holds] == []
    assert len(outcomes) == 8


def test_a_case_fails_with_its_verdict() -> None:
    (opened,) = try_cases(cases(FILE)[1:2], config("paths: {protected: ['!uv.lock']}"))
    assert (opened.holds, opened.expected, opened.verdict.allowed) == (False, "refused", True)
    one = "cases: [{name: x, changes: [uv.lock], expect: refused, says: submodule}]"
    (other,) = try_cases(cases(one), Config())
    assert not other.holds


def test_a_case_may_be_of_an_agent_and_a_task() -> None:
    text = """
    cases:
      - {name: a, changes: [docs/a.md], agent: w, areas: [docs/], expect: allowed}
      - {name: b, changes: [docs/a.md], agent: w, areas: [src/], expect: refused, says: this task}
      - {name: c, changes: [src/a.py], agent: w, expect: refused, says: the agent `w`}
    """
    outcomes = try_cases(cases(text), config("paths: {agents: {w: {allowed: [docs/]}}}"))
    assert all(each.holds for each in outcomes)


def test_a_case_may_be_of_who_is_named_beside_a_role() -> None:
    text = """
    cases:
      - {name: a, command: approve, role: write, teams: [Ops], expect: allowed, says: "`ops`"}
      - {name: b, command: approve, role: write, user: grace, expect: allowed}
      - {name: c, command: approve, role: write, author: true, expect: refused}
      - {name: d, command: approve, role: triage, user: grace, expect: refused, says: the write}
    """
    rules = config("commands: {who: {approve: {teams: [ops], users: [Grace]}}}")
    assert [each.name for each in try_cases(cases(text), rules) if not each.holds] == []


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "write `cases:`"),
        ("cases: []", 1, "cannot be read"),
        ("case: []", 1, "did you mean `cases`?"),
        ("cases:\n- {name: x, changes: [a], expect: maybe}", 2, "`allowed` or `refused`"),
        ("cases:\n- {name: x, expect: allowed}", 2, "write one of them"),
        ("cases:\n- {name: x, changes: [a], command: approve, expect: allowed}", 2, "write one"),
        ("cases:\n- {name: x, command: aprove, expect: allowed}", 2, "did you mean `approve`?"),
        ("cases:\n- {name: x, chnges: [a], expect: allowed}", 2, "did you mean `changes`?"),
        ("cases: *a", 1, "Aliases"),
    ],
)
def test_a_wrong_file_is_told_on_its_line(text: str, line: int, said: str) -> None:
    found = parse_cases(text)
    problems = [each for each in found if isinstance(each, Problem)]
    assert problems
    assert any(said in each.message and each.line == line for each in problems), problems
