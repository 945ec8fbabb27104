from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.bounds import bounded
from policies.commands import may_command
from policies.config import Config
from policies.facts import Change, Role, Secret
from policies.rules import judge
from policies.sections import Daily, Limits, Paths, Secrets
from tests.policies.builders import change, command, config

BOUNDS = """
limits: {usd: 2, files: 10}
paths: {protected: [/law/, '!uv.lock']}
secrets: {allowed: [fixtures/], comments: false}
approval: {required: 2, requester: if-alone, teams: [security], code_owners: true}
commands: {who: {approve: admin, resume: maintain}}
merge: {method: squash}
budget: {person: {usd: 3, tokens: 9000}}
"""


@pytest.mark.parametrize(
    ("own", "section", "name", "value"),
    [
        ("limits: {usd: 9, files: 3}", "limits", "usd", 2.0),
        ("limits: {usd: 9, files: 3}", "limits", "files", 3),
        ("limits: {lines: 90000}", "limits", "lines", 90_000),
        ("paths: {protected: ['/a', '!/law/']}", "paths", "protected", ("/a", "!/law/", "/law/")),
        ("secrets: {allowed: [src/, fixtures/]}", "secrets", "allowed", ("fixtures/",)),
        ("secrets: {comments: true}", "secrets", "comments", False),
        ("secrets: {ignored: [jwt]}", "secrets", "ignored", ("jwt",)),
        ("approval: {required: 3}", "approval", "required", 3),
        ("", "approval", "required", 2),
        ("approval: {teams: [ops]}", "approval", "teams", ("ops", "security")),
        ("", "approval", "code_owners", True),
        ("budget: {person: {usd: 9}}", "budget", "person", Daily(usd=3.0, tokens=9000)),
        (
            "budget: {person: {usd: 2, minutes: 5}}",
            "budget",
            "person",
            Daily(usd=2.0, tokens=9000, minutes=5),
        ),
        ("budget: {repository: {usd: 900}}", "budget", "repository", Daily(usd=900.0)),
        ("approval: {requester: always}", "approval", "requester", "if-alone"),
        ("approval: {requester: never}", "approval", "requester", "never"),
        ("merge: {method: rebase}", "merge", "method", "squash"),
    ],
)
def test_a_repository_may_be_stricter_and_not_looser(
    own: str, section: str, name: str, value: Any
) -> None:
    made = bounded(config(own), config(BOUNDS))
    assert getattr(getattr(made, section), name) == value


@pytest.mark.parametrize(
    ("verb", "role", "allowed"),
    [
        ("approve", Role.MAINTAIN, False),
        ("approve", Role.ADMIN, True),
        ("resume", Role.WRITE, False),
        ("pause", Role.TRIAGE, True),
    ],
)
def test_roles_are_raised_and_not_lowered(verb: str, role: Role, allowed: bool) -> None:
    own = config("commands: {who: {approve: write, pause: triage}}")
    made = bounded(own, config(BOUNDS))
    assert may_command(command(verb, role), made).allowed is allowed


@pytest.mark.parametrize(
    ("own", "bounds", "left"),
    [
        ("{approve: {users: [ada, bob]}}", "{approve: admin}", ()),
        ("{approve: {users: [ada, bob]}}", "{approve: {users: [bob, cyd]}}", ("bob",)),
        ("{approve: {users: [ada]}}", "{resume: admin}", ("ada",)),
    ],
)
def test_who_is_named_beside_a_role_is_bounded_as_well(
    own: str, bounds: str, left: tuple[str, ...]
) -> None:
    made = bounded(config(f"commands: {{who: {own}}}"), config(f"commands: {{who: {bounds}}}"))
    assert made.commands.people("approve").users == left
    off = bounded(config("commands: {delegation: true}"), config("commands: {delegation: false}"))
    assert not off.commands.delegation


def test_no_bounds_change_nothing() -> None:
    own = config("limits: {usd: 9}\nlabel: bot")
    assert bounded(own, Config()) is own


def test_bounds_may_be_a_preset() -> None:
    made = bounded(config("limits: {files: 300}"), config("extends: [strict]"))
    assert (made.limits.files, made.limits.binaries) == (50, 0)
    assert not judge([change("package.json")], (), (), made).allowed


GLOBS = st.lists(st.sampled_from(["/a", "b/", "!/a", "!uv.lock", "*.py", "!b/"]), max_size=3)
KINDS = st.lists(st.sampled_from(["jwt", "github-pat"]), max_size=2)
CONFIGS = st.builds(
    lambda limits, protected, allowed, ignored, comments: Config(
        limits=limits,
        paths=Paths(protected=tuple(protected)),
        secrets=Secrets(allowed=tuple(allowed), ignored=tuple(ignored), comments=comments),
    ),
    st.builds(Limits, files=st.integers(1, 4), lines=st.integers(1, 8)),
    GLOBS,
    GLOBS,
    KINDS,
    st.booleans(),
)
FACTS = st.tuples(
    st.lists(st.sampled_from(["a", "b/c", "uv.lock", "d.py"]).map(change), max_size=4),
    st.lists(
        st.builds(
            Secret,
            st.sampled_from(["a", "b/c", "d.py"]),
            st.just(1),
            st.sampled_from(["jwt", "github-pat"]),
            st.booleans(),
        ),
        max_size=2,
    ),
)


@given(FACTS, CONFIGS, CONFIGS)
def test_bounds_never_allow_more(
    facts: tuple[list[Change], list[Secret]], own: Config, bounds: Config
) -> None:
    changes, secrets = facts
    made = bounded(own, bounds)
    assert bounded(made, bounds) == made
    assert judge(changes, (), secrets, own).allowed or not judge(changes, (), secrets, made).allowed


@pytest.mark.parametrize("own", ["off", "checks", "agents"])
@pytest.mark.parametrize("most", ["off", "checks", "agents"])
def test_trust_reaches_no_further_than_the_server_lets_it(own: str, most: str) -> None:
    steps = ("off", "checks", "agents")
    held = bounded(Config.model_validate({"trust": own}), Config.model_validate({"trust": most}))
    assert held.trust == steps[min(steps.index(own), steps.index(most))]
