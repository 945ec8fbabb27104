"""What the known products need, where it is more than a setting."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bot.agents.known import PRODUCTS, Given


def test_gemini_does_not_write_a_new_session_into_the_one_that_it_loads(tmp_path: Path) -> None:
    chats = tmp_path / "a home" / ".gemini" / "tmp" / "workspace" / "chats"
    before = PRODUCTS["gemini"].needs(Given({}, "")).before

    def start(*words: str) -> str:
        command = (*before, "/bin/echo", *words)
        env = {"HOME": str(tmp_path / "a home")}
        return subprocess.run(
            command, env=env, check=True, capture_output=True, text=True, cwd=tmp_path
        ).stdout

    assert start("its first", "turn") == "its first turn\n"  # there is no home yet
    chats.mkdir(parents=True)
    (chats / "session-2026-11-27T22-02-19580be3.jsonl").write_text("what was said")
    (chats / "other.jsonl").write_text("")
    assert start("a", "second") == start("a", "second") == "a second\n"
    assert sorted(each.name for each in chats.iterdir()) == [
        "other.jsonl", "session-kept-2026-11-27T22-02-19580be3.jsonl",
    ]  # fmt: skip
    assert (chats / "session-kept-2026-11-27T22-02-19580be3.jsonl").read_text() == "what was said"
