"""What a server keeps goes after its time: told in a process that has an engine of its own.

The engine is one in each process, and in those of the other tests the shared world has it.
"""

from __future__ import annotations

from pathlib import Path

from tests.support.commands import python

TESTS = Path(__file__).with_name("alone_retention.py")
SECONDS = 600.0
"""How long they may take: many times what they take on a loaded machine."""


def test_retention(tmp_path: Path) -> None:
    where = (f"--basetemp={tmp_path / 'tests'}", str(TESTS))
    done = python("pytest", "-q", "-n0", "-p", "no:cacheprovider", *where, timeout=SECONDS)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
