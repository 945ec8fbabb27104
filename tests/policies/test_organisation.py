"""What an organisation's file says, and what comes of a repository's own on top of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.config import parse
from policies.organisation import Said, parse_organisation, under
from policies.provenance import origins
from policies.schema import organisation_schema

ACME = """\
extends: [strict]
limits: {usd: 3, minutes: 20}
paths: {protected: [/law/]}
agents: {tidy: {command: tidy}}
bounds:
  extends: [open-source]
  approval: {required: 2}
"""


@pytest.mark.parametrize(
    ("own", "setting", "value", "told"),
    [
        ("", "limits.turns", 2, "preset strict of acme/.github"),
        ("", "limits.minutes", 20, "acme/.github"),
        ("", "limits.lines", 2000, "preset strict of acme/.github"),
        ("limits: {minutes: 50}", "limits.minutes", 50, "line 1"),
        ("extends: [monorepo]", "limits.lines", 100_000, "preset monorepo"),
        ("", "agents.tidy.command", "tidy", "acme/.github"),
        # Its bounds: lower than its own limit, and what a repository cannot take back.
        ("limits: {usd: 90}", "limits.usd", 2.0, "line 1 and bounds of acme/.github"),
        ("approval: {required: 1}", "approval.required", 2, "line 1 and bounds of acme/.github"),
        ("approval: {required: 3}", "approval.required", 3, "line 1"),
    ],
)
def test_a_setting_is_the_nearest_ones_within_the_bounds(
    own: str, setting: str, value: object, told: str
) -> None:
    said = parse_organisation(ACME, "acme/.github")
    assert not said.problems
    parsed = parse(own, said.layers)
    found = {e.setting: e for e in origins(parsed, own, [("acme/.github", said.bounds)])}
    assert (found[setting].value, found[setting].told) == (value, told)
    config = under(said, own).config
    assert config is not None
    there = config.model_dump(mode="json")
    for key in setting.split("."):
        there = there[key]
    assert there == value


def test_protected_paths_are_added_to_one_another() -> None:
    said = parse_organisation("paths: {protected: [/law/]}", "acme/.github")
    config = under(said, "paths: {protected: [/own/]}").config
    assert config is not None
    assert config.paths.protected == ("/law/", "/own/")


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("limts: {}", 1, "did you mean `limits`?"),
        ("limits: {}\nschedule: []", 2, "`schedule` belongs to a repository"),
        ("bounds:\n  aproval: {}", 2, "did you mean `approval`?"),
        ("bounds: {bounds: {}}", 1, "`bounds` is not known here"),
        ("a: *b", 1, "Aliases are not read here"),
        ("checks: [{name: a, run: b}, {name: A, run: c}]", 1, "`A` stands twice"),
    ],
)
def test_what_is_wrong_is_told_on_its_line(text: str, line: int, said: str) -> None:
    (problem,) = parse_organisation(text, "acme/.github").problems
    assert problem.line == line
    assert said in problem.message


def test_the_schema_knows_bounds_and_no_schedules() -> None:
    keys = organisation_schema()["properties"]
    assert "bounds" in keys
    assert "schedule" not in keys


@given(st.integers(1, 100), st.integers(1, 100))
def test_a_bound_is_never_loosened(bound: int, own: int) -> None:
    said = parse_organisation(f"bounds: {{limits: {{files: {bound}}}}}", "acme/.github")
    config = under(said, f"limits: {{files: {own}}}").config
    assert config is not None
    assert config.limits.files == min(bound, own)


def test_nothing_said_changes_nothing() -> None:
    assert under(Said(), "limits: {files: 9}") == parse("limits: {files: 9}")
    assert parse_organisation("", "acme/.github") == Said()
