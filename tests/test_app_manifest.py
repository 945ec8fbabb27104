"""app.yml asks for what the code needs, and for nothing else."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.payloads import EVENTS

ROOT = Path(__file__).resolve().parent.parent

# GitHub sends these to every App, and takes no subscription to them.
UNASKED = {"installation", "installation_repositories"}

# Each is needed by a call or an event of the adapter; administration, workflows and
# secrets are not among them, and must not come in unnoticed.
NEEDED = {
    "metadata": "read",
    "members": "read",
    "contents": "write",
    "issues": "write",
    "pull_requests": "write",
    "checks": "write",
    "statuses": "read",
}


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    loaded = yaml.safe_load((ROOT / "app.yml").read_text())
    assert isinstance(loaded, dict)
    return loaded


def test_it_subscribes_to_the_events_that_are_acted_on(manifest: dict[str, Any]) -> None:
    assert set(manifest["default_events"]) == EVENTS - UNASKED
    assert len(manifest["default_events"]) == len(set(manifest["default_events"]))


def test_it_asks_for_the_least_permissions(manifest: dict[str, Any]) -> None:
    assert manifest["default_permissions"] == NEEDED


def test_it_is_not_offered_to_everybody(manifest: dict[str, Any]) -> None:
    assert manifest["public"] is False


def test_its_keys_are_those_of_a_manifest(manifest: dict[str, Any]) -> None:
    # "Registering a GitHub App from a manifest", GitHub Docs.
    known = {
        *("name", "url", "hook_attributes", "redirect_url", "callback_urls", "setup_url"),
        *("description", "public", "default_events", "default_permissions"),
        *("request_oauth_on_install", "setup_on_update"),
    }
    assert set(manifest) <= known


def test_its_permissions_are_names_that_github_knows(manifest: dict[str, Any]) -> None:
    spec = os.environ.get("ORCHESTRATE_GITHUB_SPEC")
    if not spec:
        pytest.skip("ORCHESTRATE_GITHUB_SPEC names no description of GitHub's REST API.")
    described = json.loads(gzip.decompress(Path(spec).read_bytes()))
    known = described["components"]["schemas"]["app-permissions"]["properties"]
    for name, level in manifest["default_permissions"].items():
        assert level in known[name]["enum"]
