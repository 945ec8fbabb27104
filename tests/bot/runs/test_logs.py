"""The logs of a run on disk."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bot.runs import logs

DAY = 24 * 3600.0


def test_a_prompt_is_kept_for_our_eyes_only_and_in_place_of_an_older_one(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "turn-1.prompt.md"
    logs.write_log(path, "a longer first one")
    logs.write_log(path, "the prompt \udcff")

    assert path.read_text() == "the prompt ?"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_log_is_not_written_through_a_link(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("mine")
    (tmp_path / "turn-1.prompt.md").symlink_to(theirs)

    with pytest.raises(OSError, match="symbolic links"):
        logs.write_log(tmp_path / "turn-1.prompt.md", "ours")
    assert theirs.read_text() == "mine"
    assert logs.files(tmp_path) == [theirs]


@pytest.mark.parametrize(
    ("name", "turn"),
    [
        ("turn-1.log", 1),
        ("turn-12.prompt.md", 12),
        ("turn-3.raw.jsonl", 3),
        ("check-2-pytest.log", None),
        ("return-1.log", None),
    ],
)
def test_a_log_says_which_turn_it_belongs_to(name: str, turn: int | None) -> None:
    assert logs.turn_of(Path("logs", name)) == turn


def test_logs_are_in_the_order_in_which_things_happened(tmp_path: Path) -> None:
    names = ["turn-1.prompt.md", "turn-1.log", "check-1-test.log", "turn-2.prompt.md", "turn-2.log"]
    for number, name in enumerate(names):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, (number, number))

    assert [each.name for each in logs.files(tmp_path)] == names
    assert [each.name for each in logs.files(tmp_path, 2)] == names[3:]


def test_logs_are_kept_for_so_many_days(tmp_path: Path) -> None:
    folder = tmp_path / "k3f9x0a2bq" / "logs"
    folder.mkdir(parents=True)
    for name, age in (("old.log", 31), ("new.log", 29)):
        (folder / name).write_text(name)
        os.utime(folder / name, (time.time() - age * DAY,) * 2)
    (folder.parent / "home").mkdir()

    assert logs.prune(tmp_path, 30) == 1
    assert [each.name for each in folder.iterdir()] == ["new.log"]
    assert (folder.parent / "home").exists()
