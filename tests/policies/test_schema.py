from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

import policies
from policies.config import parse
from policies.reference import markdown
from policies.schema import schema, schema_text
from policies.who import COMMANDS_DEFAULT
from tests.policies.test_config import FULL

PUBLISHED = Path(policies.__file__).with_name("orchestrate.schema.json")


def fields() -> Iterator[tuple[str, dict[str, Any]]]:
    root = schema()
    for section in (root, *root["$defs"].values()):
        yield from section.get("properties", {}).items()


def test_the_published_schema_is_current() -> None:
    assert PUBLISHED.read_text(encoding="utf-8") == schema_text(), (
        "run `python -m policies.schema > policies/orchestrate.schema.json`"
    )


@pytest.mark.parametrize(("name", "field"), list(fields()))
def test_every_setting_is_described(name: str, field: dict[str, Any]) -> None:
    assert field["description"].endswith((".", ").")), name


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        FULL,
        "checks: auto",
        "limits: {turns: 99}",
        "xyzzy: 1",
        "checks: [{run: x}]",
        "approval: {required: 7}",
        "merge: {method: octopus}",
        "commands: {who: {approve: king}}",
        "commands: {who: {aprove: maintain}}",
        "commands: {who: {undelegate: admin}}",
        "checks: [{name: web/unit, run: x}]",
        "checks: [{name: web unit, run: x}]",
        "extends: strict",
        "commands: {who: {approve: {teams: [ops], users: [ada], author: true}}}",
        "commands: {who: {approve: {role: king}}}",
        "commands: {who: {approve: {everybody: true}}}",
    ],
)
def test_an_editor_and_the_server_agree(text: str) -> None:
    validator = jsonschema_rs.validator_for(schema())
    assert validator.is_valid(yaml.safe_load(text)) is (parse(text).config is not None)


def test_the_reference_names_every_setting_with_its_description() -> None:
    text = markdown()
    for name, field in fields():
        assert f"`{name}`" in text
        if "$ref" not in field or "properties" not in field:
            assert field["description"] in text or "$ref" in field


def test_the_reference_names_every_command_and_its_role() -> None:
    text = markdown()
    for command, role in COMMANDS_DEFAULT.items():
        assert f"- `/{command}`: {role}" in text
