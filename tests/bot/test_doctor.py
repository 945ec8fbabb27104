from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from bot.doctor import examine
from bot.git.overlay import mounts_below
from bot.sandbox.protections import TABLE


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = ("APP_ID", "PRIVATE_KEY", "PRIVATE_KEY_FILE", "WEBHOOK_SECRET", "PORT", "SANDBOX")
    for name in (*names, "WORKSPACES"):
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
    monkeypatch.setenv("ORCHESTRATE_SANDBOX", "bubblewrap")
    sandbox = (await found())["sandbox"]
    assert (sandbox["ok"], sandbox["needed"]) == (False, True)
    assert "bubblewrap" in str(sandbox["sentence"])


async def test_it_says_what_the_sandbox_protects_from_here() -> None:
    sentences = [each["sentence"] for each in await examine() if each["name"] == "protection"]
    assert len(sentences) == len(TABLE)
    assert "The host's files cannot be read: mount namespace." in sentences


async def test_git_lfs_is_not_needed_and_it_says_what_follows_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "git-lfs"
    program.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (await found())["git-lfs"]["sentence"] == f"{program}."
    program.unlink()
    missing = (await found())["git-lfs"]
    assert (missing["ok"], missing["needed"]) == (False, False)
    assert "pointers in workspaces" in str(missing["sentence"])


async def test_it_says_how_workspaces_are_made_and_what_one_costs(tmp_path: Path) -> None:
    workspaces = (await found())["workspaces"]
    assert re.search(
        r"(Overlay|copy).*disk limit is (watched|enforced).*100 files took [\d.]+ ms\.$",
        str(workspaces["sentence"]),
    )
    assert list((tmp_path / "data" / "runs").iterdir()) == []
    assert mounts_below(tmp_path) == []


@pytest.mark.parametrize("kind", ["rootless", "checkout"])
async def test_a_chosen_kind_of_workspace_is_the_one_tried(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("ORCHESTRATE_WORKSPACES", kind)
    workspaces = (await found())["workspaces"]
    if not workspaces["ok"]:
        pytest.skip(str(workspaces["sentence"]))
    said = {"rootless": "each in a user namespace", "checkout": "a full copy"}[kind]
    assert said in str(workspaces["sentence"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be root to jobs")
@pytest.mark.parametrize("sandbox", ["bubblewrap", "landlock"])
async def test_jobs_that_are_root_in_their_workspaces_are_told(
    monkeypatch: pytest.MonkeyPatch, sandbox: str
) -> None:
    monkeypatch.setenv("ORCHESTRATE_SANDBOX", sandbox)
    shown = "Files of root in the folders that it is shown: "
    told = {}
    for kind in ("checkout", "rootless"):
        monkeypatch.setenv("ORCHESTRATE_WORKSPACES", kind)
        listed = await examine()
        if any(each["name"] in ("workspaces", "sandbox") and not each["ok"] for each in listed):
            pytest.skip("not to be had here")
        user = next(each for each in listed if each["name"] == "user")
        protection = next(each for each in listed if each["sentence"].startswith(shown))
        told[kind] = (user["ok"], protection["ok"])
        if kind == "rootless":
            assert "so are agents and checks" in user["sentence"]
            assert "ORCHESTRATE_WORKSPACES=auto" in user["sentence"]
            assert "rootless workspaces" in protection["sentence"]
    assert told == {"checkout": (True, True), "rootless": (False, False)}


async def test_a_kind_of_workspace_that_cannot_be_had_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ORCHESTRATE_WORKSPACES", "rootless")
    monkeypatch.setenv("ORCHESTRATE_SANDBOX", "none")
    workspaces = (await found())["workspaces"]
    assert (workspaces["ok"], workspaces["needed"]) == (False, True)
    assert "ORCHESTRATE_WORKSPACES=rootless cannot be had here" in str(workspaces["sentence"])


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
