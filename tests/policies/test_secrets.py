from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.config import Config, parse
from policies.facts import KNOWN, Secret
from policies.secrets import check_secrets
from policies.sections import Secrets
from tests.policies.builders import config

LEAK = Secret("src/a.py", 3, "aws-access-token")
MARKED = Secret("src/a.py", 4, "github-pat", marked=True)
OWN = Secret("tests/fixtures/x", 1, KNOWN, marked=True)


@pytest.mark.parametrize(
    ("text", "secret", "allowed"),
    [
        ("", LEAK, False),
        ("", MARKED, False),
        ("", OWN, False),
        ("secrets: {allowed: ['src/']}", LEAK, True),
        ("secrets: {allowed: ['*.py', '!a.py']}", LEAK, False),
        ("secrets: {allowed: ['lib/']}", LEAK, False),
        ("secrets: {ignored: [aws-access-token]}", LEAK, True),
        ("secrets: {ignored: [github-pat]}", LEAK, False),
        ("secrets: {comments: true}", MARKED, True),
        ("secrets: {comments: true}", LEAK, False),
        ("secrets: {comments: true, allowed: ['**']}", OWN, False),
    ],
)
def test_what_the_configuration_allows(text: str, secret: Secret, allowed: bool) -> None:
    assert check_secrets([secret], config(text)).allowed is allowed


def test_nothing_found_is_allowed() -> None:
    assert check_secrets([], Config()).reason == "Nothing looks like a secret."


def test_what_is_allowed_is_counted() -> None:
    verdict = check_secrets([LEAK, MARKED], config("secrets: {allowed: [src/]}"))
    assert verdict.reason == "The configuration allows 2 findings."


def test_a_refusal_says_where_and_what_to_do() -> None:
    assert check_secrets([LEAK], Config()).reason == (
        "What looks like a secret stands in `src/a.py`, line 3 (aws-access-token). Ask for the"
        " work with the secret read from the environment, or have a maintainer allow what is none"
        " under `secrets:` in `.github/orchestrate.yml`."
    )
    assert check_secrets([OWN], Config()).reason == (
        "A secret that this server keeps stands in `tests/fixtures/x`, line 1. No configuration"
        " allows that: ask for the work without it, and have the operator find out how it got"
        " there."
    )


def test_ten_places_are_named_and_the_rest_counted() -> None:
    many = [Secret(f"f{number:02}", 1, "jwt") for number in range(25)]
    reason = check_secrets(many, Config()).reason
    assert reason.count("(jwt)") == 10
    assert "and 15 more." in reason


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("secrets: {ignored: [generic-api]}", "did you mean `generic-api-key`?"),
        ("secrets: {ignored: [zzzzzz]}", "a refusal says the kind."),
        ("secrets: {allowed: ['a[']}", "A set in a glob"),
        ("secrets: {comment: true}", "did you mean `comments`?"),
        ("secrets: {scan: false}", "is not known here"),
    ],
)
def test_a_wrong_section_is_told_on_its_line(text: str, said: str) -> None:
    (problem,) = parse(text).problems
    assert said in problem.message
    assert problem.line == 1


SECRETS = st.lists(
    st.builds(
        Secret,
        st.sampled_from(["src/a.py", "lib/b.py", "tests/c.py", "é"]),
        st.integers(1, 4),
        st.sampled_from(["aws-access-token", "github-pat", "jwt", KNOWN]),
        st.booleans(),
    ),
    max_size=8,
)
SECTIONS = st.builds(
    Secrets,
    allowed=st.lists(st.sampled_from(["src/", "*.py", "/lib/**", "é"]), max_size=3).map(tuple),
    ignored=st.lists(st.sampled_from(["jwt", "github-pat"]), max_size=2).map(tuple),
    comments=st.booleans(),
)


@given(SECRETS, SECTIONS, st.randoms())
def test_the_order_never_matters(
    secrets: list[Secret], section: Secrets, chance: random.Random
) -> None:
    shuffled = list(secrets)
    chance.shuffle(shuffled)
    rules = Config(secrets=section)
    assert check_secrets(secrets, rules) == check_secrets(shuffled, rules)


@given(SECRETS, SECTIONS, SECRETS)
def test_one_secret_more_never_allows_more(
    secrets: list[Secret], section: Secrets, more: list[Secret]
) -> None:
    rules = Config(secrets=section)
    assert check_secrets(secrets, rules).allowed or not check_secrets(secrets + more, rules).allowed


@given(SECRETS, SECTIONS)
def test_one_permission_less_never_allows_more(secrets: list[Secret], section: Secrets) -> None:
    fewer = [
        section.model_copy(update={"allowed": section.allowed[1:]}),
        section.model_copy(update={"ignored": section.ignored[1:]}),
        section.model_copy(update={"comments": False}),
    ]
    given = check_secrets(secrets, Config(secrets=section))
    for less in fewer:
        assert given.allowed or not check_secrets(secrets, Config(secrets=less)).allowed
