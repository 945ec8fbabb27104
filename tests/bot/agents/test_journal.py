from __future__ import annotations

import json
from pathlib import Path

import pytest

from bot.agents.events import Diff, Message, Note, Permission, Plan, Tokens, ToolCall, line
from bot.agents.journal import REPEATS, Journal, beside, read_events
from bot.redact import MARK, Redactor


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "turn-1.log"


def call(number: int, same: str = "same", status: str = "done") -> ToolCall:
    return ToolCall(f"c{number}", "Read a.py", "read", "done", ("a.py",), same)


def test_events_are_kept_as_lines_of_json_and_as_lines_to_read(log: Path) -> None:
    heard: list[str] = []
    journal = Journal(log, limit=100_000, on_line=heard.append)
    journal.take(Plan((("done", "look"), ("pending", "mend"))))
    journal.take(call(1))
    journal.take(Diff("a.py", 3, 1))
    journal.take(Tokens(10, 2, usd=0.5))
    journal.take(Permission("Write /etc/x", False, "outside"))
    journal.close()
    assert heard == [
        "plan: 1 of 2 done; mend",
        "read: Read a.py",
        "edit: a.py +3 -1",
        "usage, as the agent counts: 10 in, 2 out, 0.5000 USD",
        "denied: Write /etc/x: outside",
    ]
    assert log.read_text().splitlines() == heard
    kinds = [each["event"] for each in read_events(log)]
    assert kinds == ["plan", "tool_call", "diff", "usage", "permission"]


def test_what_is_said_in_pieces_is_one_message(log: Path) -> None:
    heard: list[str] = []
    journal = Journal(log, limit=100_000, on_line=heard.append)
    for piece in ("Mended", " the", " bug.\n", "It was", " old."):
        journal.take(Message(piece))
    journal.take(Message("hm", thought=True))
    journal.close()
    assert heard == ["Mended the bug.", "It was old.", "~ hm"]
    assert journal.words == "Mended the bug.\nIt was old."
    assert [each["text"] for each in read_events(log)] == ["Mended the bug.\nIt was old.", "hm"]


def test_a_secret_is_written_nowhere_even_in_pieces(log: Path) -> None:
    secret = "sk-ant-0123456789abcdefghij"
    heard: list[str] = []
    redact = Redactor([secret]).text
    journal = Journal(log, limit=100_000, redact=redact, on_line=heard.append)
    for piece in ("the key is ", secret[:11], secret[11:], "!"):
        journal.take(Message(piece))
    journal.raw("from", json.dumps({"text": secret}))
    journal.take(Note(f"it said {secret}"))
    journal.close()
    written = "".join(path.read_text() for path in log.parent.iterdir())
    assert secret not in written + "".join(heard)
    assert heard[0] == f"the key is {MARK}!"
    assert MARK in beside(log, ".raw.jsonl").read_text()


def test_terminal_escapes_do_not_reach_people() -> None:
    heard: list[str] = []
    journal = Journal(None, limit=0, on_line=heard.append)
    journal.take(Note("\x1b[31mred\x1b[0m\x07"))
    journal.close()
    assert heard == ["red"]


def test_the_same_call_over_and_over_is_a_loop() -> None:
    journal = Journal(None, limit=0)
    for number in range(REPEATS - 1):
        journal.take(call(number))
        journal.take(call(number))  # its end is no further call
    assert not journal.looping
    journal.take(call(99, same="other"))
    for number in range(100, 100 + REPEATS - 1):
        journal.take(call(number))
    assert not journal.looping
    journal.take(call(200))
    assert "Read a.py" in journal.looping


def test_files_end_where_the_limit_is(log: Path) -> None:
    journal = Journal(log, limit=1_000)
    for number in range(1_000):
        journal.take(Note(f"line {number}"))
    journal.close()
    assert sum(path.stat().st_size for path in log.parent.iterdir()) <= 1_000
    assert log.read_text().startswith("line 0\n")


def test_a_call_that_only_waits_has_nothing_to_read() -> None:
    assert line(ToolCall("1", "Write", "edit", "pending")) == ""
    assert line(ToolCall("1", "Write", "edit", "failed")) == "edit: Write (failed)"
