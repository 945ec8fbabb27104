"""What people read of conflicts and titles."""

from __future__ import annotations

from bot.runs.ports import Conflict, Hunk, Lines
from bot.runs.texts import CONFLICTS, TITLE_LENGTH, conflict_lines, title_line


def hunk(ours: Lines, theirs: Lines) -> Hunk:
    return Hunk(ours, theirs)


def test_a_conflict_is_told_with_its_lines_and_what_they_begin_with() -> None:
    conflicts = [
        Conflict(
            "src/`a`.py",
            "content",
            (
                hunk(Lines(3, 2, ("x = `1`", "y")), Lines(3, 1, ("x = 2",))),
                hunk(Lines(9, 0, ()), Lines(8, 1, ("",))),
            ),
        ),
        Conflict("b", "modify/delete", ()),
    ]
    assert conflict_lines(conflicts, "main") == [
        "- ``src/`a`.py``: both changed the same lines; "
        "lines 3 to 4 here (`` x = `1` ``), line 3 in `main` (`x = 2`); "
        "before line 9 here (nothing), line 8 in `main` (` `)",
        "- `b`: one changed it, the other deleted it",
    ]


def test_many_conflicts_are_counted() -> None:
    place = hunk(Lines(1, 1, ("x",)), Lines(1, 1, ("y",)))
    conflicts = [Conflict(f"f{n}", "add/add", (place,) * 5) for n in range(CONFLICTS + 2)]
    lines = conflict_lines(conflicts, "main")
    assert len(lines) == CONFLICTS + 1
    assert lines[0].count("line 1 here") == 3
    assert lines[0].endswith("; and in 2 more")
    assert lines[-1] == "- and 2 more"


def test_a_title_is_cut_to_a_commits_first_line() -> None:
    assert title_line("Roll back") == "Roll back"
    cut = title_line("Roll back " + "docs/** " * 20)
    assert len(cut) <= TITLE_LENGTH
    assert cut.endswith("…")
