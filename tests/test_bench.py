from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import floor, ingest, soak
from bench.edits import apply, planned
from bench.peers import Peer
from bench.repositories import HISTORY, Repository, git, repository, shape_of
from bench.workspace import NOBODY
from bot.git.overlay import probe
from tests.support.cluster import needs_postgresql

ROOT = Path(__file__).resolve().parent.parent
TINY = ("--size=small", "--files=60", "--rounds=1")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that another user reaches, too: pytest's own are closed to all but one."""
    with tempfile.TemporaryDirectory(prefix="bench-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture(scope="module")
def tiny(folder: Path) -> Repository:
    return repository(shape_of("small", 60), folder / "repositories")


def run(name: str, folder: Path, *more: str) -> dict[str, Any]:
    """Run a measurement and return the object that it prints, whose targets need not hold."""
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{name}", "--json", f"--dir={folder}", *TINY, *more],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["bench"] == name
    assert {"cpu", "kernel", "file_system"} <= told["machine"].keys()
    assert {"git", "pygit2", "python"} <= told["versions"].keys()
    for target in told["targets"]:
        assert target.keys() == {"name", "target", "measured", "holds"}
    assert told["holds"] == all(target["holds"] for target in told["targets"])
    for row in told["results"]:
        assert (row["repo"], row["files"]) == ("small", 60)
        assert 0 < row["ms"] < 60_000
        assert 0 < row["git_ms"] < 60_000
    assert [path.name for path in folder.iterdir()] == ["repositories"], "something was left"
    return told


def test_the_same_seed_gives_the_same_repository(tiny: Repository, tmp_path: Path) -> None:
    again = repository(shape_of("small", 60), tmp_path)
    other = repository(shape_of("small", 60), tmp_path, seed=4)
    assert again.head == tiny.head != other.head
    assert repository(shape_of("small", 60), tmp_path) == again  # found, not made
    assert tiny.files == 60
    assert git(tiny.path, "rev-list", "--count", "main").strip() == str(HISTORY)
    git(tiny.path, "fsck", "--strict")


def test_edits_are_of_all_kinds_and_repeatable(tiny: Repository, tmp_path: Path) -> None:
    edits = planned(tiny.sources, 20, random.Random(1))
    assert edits == planned(tiny.sources, 20, random.Random(1))
    kinds = [edit.kind for edit in edits]
    assert [kinds.count(each) for each in ("change", "add", "delete", "rename")] == [14, 2, 2, 2]
    git(tiny.copy(tmp_path / "a.git"), "worktree", "add", "--quiet", str(tmp_path / "w"), "main")
    apply(tmp_path / "w", edits)
    git(tmp_path / "w", "add", "-A")
    told = git(tmp_path / "w", "diff", "--cached", "--name-status", "--no-renames").splitlines()
    assert sorted(line[0] for line in told) == ["A"] * 4 + ["D"] * 4 + ["M"] * 14


def test_the_floor_is_a_checkpoint_that_git_accepts(tiny: Repository, tmp_path: Path) -> None:
    bare = tiny.copy(tmp_path / "floor.git")
    (bare / "refs/heads/orchestrate").mkdir(parents=True)
    contents = {b"a": b"one\n" * 5, b"b": b"", b"c": bytes(range(256)) * 999}
    for name, content in contents.items():
        (tmp_path / name.decode()).write_bytes(content)
    ids = [floor._object_id(b"blob", content) for content in contents.values()]
    tree = b"".join(b"100644 %b\0%b" % (name, oid) for name, oid in zip(contents, ids, strict=True))
    commit = (
        f"tree {floor._object_id(b'tree', tree).hex()}\nparent {tiny.head}\n"
        "author a <a@example.com> 1 +0000\ncommitter a <a@example.com> 1 +0000\n\nfloor\n"
    )
    files = [tmp_path / name.decode() for name in contents]
    before = set((bare / "objects/pack").iterdir())
    made = floor.checkpoint(
        bare,
        floor.Objects(files, files[:1], [tree], commit.encode()),
        "refs/heads/orchestrate/x",
    )
    assert made == 5
    fresh = set((bare / "objects/pack").iterdir()) - before
    assert sorted(path.suffix for path in fresh) == [".idx", ".pack"]
    index = next(path for path in fresh if path.suffix == ".idx")
    assert git(bare, "verify-pack", "-v", str(index)).count(" blob ") == 3
    git(bare, "fsck", "--strict")
    head = git(bare, "rev-parse", "refs/heads/orchestrate/x^").strip()
    assert head == tiny.head
    assert git(bare, "show", "refs/heads/orchestrate/x:a").encode() == contents[b"a"]


@pytest.mark.slow
@needs_root
def test_checkpoint(folder: Path, tiny: Repository) -> None:
    told = run("checkpoint", folder)
    assert [row["k"] for row in told["results"]] == [1, 10]
    for row in told["results"]:
        assert row["objects"] == row["floor_objects"]
        assert 0 < row["floor_ms"] < 60_000
        assert 0 < row["pygit2_ms"] < 60_000
    assert told["scan"]["k"] == 30
    assert told["writers"]["commits"] == 600
    assert told["writers"]["lost"] == told["writers"]["twice"] == 0


@pytest.mark.slow
@needs_root
def test_rollback(folder: Path, tiny: Repository) -> None:
    told = run("rollback", folder)
    rows = [(row["mode"], row["k"]) for row in told["results"]]
    assert rows == [("whole", 1), ("whole", 10), ("paths", 1), ("paths", 10)]
    assert all(row["floor_ms"] > 0 for row in told["results"])


@pytest.mark.slow
@needs_root
def test_diff(folder: Path, tiny: Repository) -> None:
    told = run("diff", folder)
    assert [(row["k"], row["entries"]) for row in told["results"]] == [(1, 1), (10, 11)]
    assert all(row["floor_ms"] > 0 for row in told["results"])


@pytest.mark.slow
def test_agents() -> None:
    few = ("--agents=2", "--rounds=3", "--events=20", "--comments=1")
    done = subprocess.run(
        [sys.executable, "-m", "bench.agents", "--json", *few],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    figures = ("sandbox_over_bare_ms", "event_overhead_ms", "comment_to_prompt_ms_p50")
    about = {"targets", "machine", "versions"}
    assert told.keys() == {"sandbox_start_ms", *figures, "bot_mb_per_agent", "agents", *about}
    assert told["agents"] == 2
    assert told["sandbox_start_ms"] > told["sandbox_over_bare_ms"]
    assert 0 < told["comment_to_prompt_ms_p50"] < 60_000
    assert abs(told["bot_mb_per_agent"]) < 50  # of two it is lost in what else goes on


@pytest.mark.slow
def test_workspace(folder: Path, tiny: Repository) -> None:
    root = os.geteuid() == 0
    if not root and probe(folder / "probe").kind == "checkout":
        pytest.skip("no overlay mounts here")
    told = run("workspace", folder)
    rootless = [row["rootless"] for row in told["results"]]
    assert rootless == ([False, True] if root else [True])
    if root and shutil.which("setpriv"):
        assert told["results"][-1]["as"] == NOBODY
    assert all(0 < row["kb"] <= 64 for row in told["results"])
    assert [row["workspaces"] for row in told["at_once"]] == [100] * len(rootless)


def test_ingest_compares_what_was_measured_and_says_what_is_missing() -> None:
    def figure(name: str, rps: float, p99_ms: float = 5.0) -> ingest.Figure:
        return ingest.Figure(name, 16, rps, 1.0, p99_ms)

    ours = [
        figure("starlette", 10_000),
        figure("orchestrate", 6_000),
        figure("orchestrate, 100 clients", 7_000, 30.0),
        figure("orchestrate, ignored", 9_000),
    ]
    told = ingest.summary([*ours, figure("probot", 4_000)], [Peer("gidgethub", missing="No.")])
    assert told["durable_over_probot"] == 1.5
    assert told["durable_over_starlette"] == 0.6
    assert told["ignored_over_probot"] == 2.25
    assert told["p99_ms_100_clients"] == 30.0
    assert told["holds"]
    assert told["missing"] == {"gidgethub": "No."}
    alone = ingest.summary(ours, [Peer("probot", missing="There is no node here.")])
    assert alone["durable_over_probot"] is None
    assert not alone["holds"], "what was not compared was not reached"


def test_ingest_measures_the_server_as_it_is(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(ingest, "SECONDS", 0.2)
    monkeypatch.setattr(ingest, "WARM_SECONDS", 0.05)
    found = {each.name: each for each in ingest.measure(str(tmp_path), [], 1)}
    assert found.keys() == {load.name for load in ingest.LOADS[:4]}
    assert all(each.rps > 0 and each.p99_ms >= each.p50_ms > 0 for each in found.values())


@pytest.mark.slow
def test_policy(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.policy", "--json", "--files=200", "--rounds=1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    assert told["files"] == 200
    assert 0 < told["ms"] < 60_000
    assert told["secrets_mb_s"] > 0
    assert [each["name"] for each in told["targets"]] == ["rules over 200 changed files", "secrets"]


@pytest.mark.slow
@needs_postgresql
def test_faults() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.faults", "--short", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    assert told["wrong"] == {"lost": [], "doubled": []}
    assert told["lost"] == told["doubled"] == 0
    assert told["kills_by"].keys() >= {"postgresql", "stopped"}
    assert told["faults_by"].keys() >= {"cut", "drop", "duplicate", "shuffle"}


@pytest.mark.parametrize(
    ("seen", "flat"),
    [
        ([100.0] * 60, True),
        ([100.0 + (n % 7) for n in range(60)], True),
        ([100.0 + n / 2 for n in range(60)], False),
        ([*[20.0 + 4 * n for n in range(20)], *[100.0] * 40], True),  # at first, all of them fill
    ],
)
def test_a_process_is_flat_that_grows_no_more_than_it_wavers(seen: list[float], flat: bool) -> None:
    looked = soak.Seen([float(n) for n in range(60)], dict.fromkeys(soak.LIMITS, seen))
    held = soak.targets([{"name": "worker", **looked.told()}])
    assert all(each.holds for each in held) is flat
