from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.config import PATH, Config, parse
from policies.facts import Role
from policies.paths import check_paths
from policies.presets import PRESETS, layered, leaves
from tests.policies.builders import change, config


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_is_a_configuration(name: str) -> None:
    made = config(f"extends: [{name}]")
    for keys, value in leaves(PRESETS[name]):
        found: Any = made.model_dump(mode="json")
        for key in keys:
            found = found[key]
        assert found == value, keys


def test_the_schema_names_the_presets_there_are() -> None:
    field = Config.model_json_schema()["properties"]["extends"]
    assert sorted(field["items"]["enum"]) == sorted(PRESETS)


def test_the_file_counts_over_its_presets_and_later_ones_over_earlier() -> None:
    both = config("extends: [open-source, monorepo]\nlimits: {turns: 7}")
    assert (both.limits.usd, both.limits.files, both.limits.turns) == (2.0, 2000, 7)
    assert config("extends: [solo, strict]").approval.requester == "never"
    assert config("extends: [strict, solo]").approval.requester == "always"


def test_whom_a_file_names_stands_beside_the_role_of_a_preset() -> None:
    made = config("extends: [strict]\ncommands: {who: {orchestrate: {users: [ada]}}}")
    assert made.commands.least_role("orchestrate") is Role.MAINTAIN
    assert made.commands.people("orchestrate").users == ("ada",)
    other = config("extends: [strict]\ncommands: {who: {orchestrate: {role: admin}}}")
    assert other.commands.least_role("orchestrate") is Role.ADMIN
    assert not made.commands.delegation


def test_what_a_preset_protects_the_file_adds_to() -> None:
    made = config("extends: [strict]\npaths: {protected: ['/law/', '!/package.json']}")
    for path, allowed in (
        ("web/package.json", False),
        ("package.json", True),
        ("law/a", False),
        ("Dockerfile.dev", False),
        ("src/a.py", True),
    ):
        assert check_paths([change(path)], made).allowed is allowed, path


def test_what_a_configuration_was_made_from_is_told() -> None:
    parsed = parse("extends: [solo]\nlabel: bot")
    assert [name for name, _ in parsed.layers] == ["solo", PATH]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: [strickt]", "must be one of"),
        ("extends: strict", "must be a list"),
        ("extends: [strict, 3]", "must be one of"),
        ("extends: [strict]\nlimits: {file: 3}", "did you mean `files`?"),
    ],
)
def test_a_wrong_preset_is_told_on_its_line(text: str, said: str) -> None:
    (problem,) = parse(text).problems
    assert said in problem.message
    assert problem.line == text.count("\n") + 1


TABLES = st.recursive(
    st.integers(0, 3), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
).filter(lambda table: isinstance(table, dict))


@given(st.lists(TABLES, max_size=4))
def test_the_last_layer_has_its_way_and_no_layer_is_changed(layers: list[dict[str, Any]]) -> None:
    before = [str(layer) for layer in layers]
    made = layered(layers)
    for keys, value in leaves(layers[-1]) if layers else ():
        found: Any = made
        for key in keys:
            found = found[key]
        assert found == value or value == {}
    assert [str(layer) for layer in layers] == before
