"""Real repositories, made by the real git program."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.git.checkpoint import Identity
from bot.git.mirror import Mirror, ensure
from bot.git.remote import Remote

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BOT = Identity("orchestrate[bot]", "1+orchestrate[bot]@users.noreply.github.com")
ENV = {
    "PATH": os.environ["PATH"],
    "HOME": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{who}_NAME": "Ada" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "ada@example.org" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_DATE": "1700000000 +0000" for who in ("AUTHOR", "COMMITTER")},
}


def sh(cwd: Path, *args: str, input: bytes | None = None, **env: str) -> str:
    """Run git as a person would, and return what it says."""
    done = subprocess.run(
        ["git", *args], cwd=cwd, env=ENV | env, input=input, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode("utf-8", "surrogateescape").strip()


def commit_all(repo: Path, message: str = "More") -> str:
    sh(repo, "add", "-A")
    sh(repo, "commit", "-q", "--allow-empty", "-m", message)
    return sh(repo, "rev-parse", "HEAD")


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A person's repository with a work tree, on the branch main."""
    repo = tmp_path / "origin"
    repo.mkdir()
    sh(repo, "init", "-q", "-b", "main")
    (repo / "readme.txt").write_text("hello\n")
    (repo / "src").mkdir()
    (repo / "src" / "a.py").write_text("".join(f"line {n}\n" for n in range(20)))
    (repo / "run.sh").write_text("#!/bin/sh\n")
    (repo / "run.sh").chmod(0o755)
    (repo / "link").symlink_to("src/a.py")
    (repo / ".gitignore").write_text("*.log\nbuild/\n")
    commit_all(repo, "First")
    return repo


@pytest.fixture
def remote(origin: Path) -> Remote:
    return Remote(str(origin))


@pytest.fixture
async def mirror(tmp_path: Path, remote: Remote) -> Mirror:
    return await ensure(tmp_path / "mirrors" / "1.git", remote)


@pytest.fixture
def head(origin: Path) -> str:
    return sh(origin, "rev-parse", "main")


def dig(folder: Path, depth: int) -> None:
    """Make a chain of folders that is longer than any path may be."""
    fd = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("deep", dir_fd=fd)
        below = os.open("deep", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
