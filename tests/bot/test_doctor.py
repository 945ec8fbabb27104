from __future__ import annotations

from pathlib import Path

import pytest

from bot.doctor import examine


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("APP_ID", "PRIVATE_KEY", "PRIVATE_KEY_FILE", "WEBHOOK_SECRET", "PORT", "SANDBOX"):
        monkeypatch.delenv(f"ORCHESTRATE_{name}", raising=False)
    monkeypatch.setenv("ORCHESTRATE_DATA_DIR", str(tmp_path / "data"))


async def found() -> dict[str, dict[str, object]]:
    return {each["name"]: each for each in await examine()}


async def test_the_doctor_names_every_setting_and_hides_the_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ORCHESTRATE_WEBHOOK_SECRET", "hush")
    findings = await found()
    assert findings["sandbox"]["ok"], findings["sandbox"]
    assert findings["data folder"]["ok"]
    assert not findings["ORCHESTRATE_APP_ID"]["ok"]
    assert findings["ORCHESTRATE_WEBHOOK_SECRET"]["ok"]
    assert "hush" not in str(findings)


async def test_a_missing_sandbox_is_needed_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    sandbox = (await found())["sandbox"]
    assert (sandbox["ok"], sandbox["needed"]) == (False, True)
    assert "bubblewrap" in str(sandbox["sentence"])


async def test_a_wrong_setting_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATE_PORT", "abc")
    settings = (await found())["settings"]
    assert not settings["ok"]
    assert "ORCHESTRATE_PORT is wrong" in str(settings["sentence"])


async def test_a_github_that_cannot_be_reached_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from bot.hub.seed import new_key

    monkeypatch.setenv("ORCHESTRATE_APP_ID", "1")
    monkeypatch.setenv("ORCHESTRATE_PRIVATE_KEY", new_key())
    monkeypatch.setenv("ORCHESTRATE_WEBHOOK_SECRET", "s")
    monkeypatch.setenv("ORCHESTRATE_GITHUB_API_URL", "http://127.0.0.1:9/api/v3")
    github = (await found())["github"]
    assert (github["ok"], github["needed"]) == (False, True)
