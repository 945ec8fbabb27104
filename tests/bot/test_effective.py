"""`config explain --repo OWNER/NAME`, with a token of one's own and with none."""

from __future__ import annotations

import base64
import json

import httpx
import pytest
import respx
from typer.testing import CliRunner

from bot.cli import app
from bot.errors import UserError

API = "https://github.test/api/v3"
TOOL = {
    "id": 7,
    "name": "tool",
    "owner": {"login": "acme"},
    "default_branch": "main",
    "clone_url": "https://github.test/acme/tool.git",
}


def file(text: str) -> httpx.Response:
    content = base64.b64encode(text.encode()).decode()
    return httpx.Response(200, json={"sha": "a" * 40, "content": content})


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ORCHESTRATE_APP_ID", "ORCHESTRATE_PRIVATE_KEY", "GH_TOKEN", "GITHUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ORCHESTRATE_GITHUB_API_URL", API)


@respx.mock
def test_a_person_sees_what_holds_with_their_own_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GH_TOKEN", "mine")
    respx.get(f"{API}/repos/acme/tool").respond(json=TOOL)
    own = respx.get(f"{API}/repos/acme/tool/contents/.github/orchestrate.yml")
    own.mock(return_value=file("limits: {files: 9}"))
    above = respx.get(f"{API}/repos/acme/.github/contents/orchestrate.yml")
    above.mock(return_value=file("limits: {turns: 2}\nbounds: {limits: {usd: 1}}"))
    done = CliRunner().invoke(app, ["config", "explain", "--repo", "acme/tool", "--json"])
    told = json.loads(done.stdout)
    found = {each["setting"]: (each["value"], each["from"]) for each in told["settings"]}
    assert found["limits.files"] == (9, "line 1")
    assert found["limits.turns"] == (2, "acme/.github")
    assert found["limits.usd"] == (1.0, "bounds of acme/.github")
    assert told["read"][1] == "acme/.github: orchestrate.yml"
    assert {call.request.headers["authorization"] for call in respx.calls} == {"Bearer mine"}

    # Over 1 MB GitHub leaves the content out: that is no empty file.
    whole = base64.b64encode(b"limits: {files: 9}" + b"\n" * 2**20).decode()
    respx.get(f"{API}/repos/acme/tool/git/blobs/{'b' * 40}").respond(json={"content": whole})
    left_out = {"sha": "b" * 40, "size": 2**20 + 18, "encoding": "none", "content": ""}
    own.respond(json=left_out)
    done = CliRunner().invoke(app, ["config", "explain", "--repo", "acme/tool"])
    assert "The file is over 64 KiB" in str(done.exception)
    own.respond(json={**left_out, "size": 2**24, "path": ".github/orchestrate.yml"})
    done = CliRunner().invoke(app, ["config", "explain", "--repo", "acme/tool"])
    assert "`.github/orchestrate.yml` is larger than 8 MB" in str(done.exception)

    own.mock(return_value=file("limts: {}"))
    done = CliRunner().invoke(app, ["config", "explain", "--repo", "acme/tool"])
    assert isinstance(done.exception, UserError)
    assert "acme/tool: .github/orchestrate.yml:1:1: `limts` is not known" in str(done.exception)


def test_without_an_app_or_a_token_it_says_what_to_set() -> None:
    done = CliRunner().invoke(app, ["config", "explain", "--repo", "acme/tool"])
    assert isinstance(done.exception, UserError)
    assert "put one into GH_TOKEN or GITHUB_TOKEN" in str(done.exception)
