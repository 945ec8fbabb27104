"""What a server keeps goes after its time: told in a process that has an engine of its own.

The engine is one in each process, and in those of the other tests the shared world has it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).with_name("alone_retention.py")
SECONDS = 600.0
"""How long they may take: many times what they take on a loaded machine."""


def test_retention(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, f"--basetemp={tmp_path / 'tests'}", str(TESTS)],
        cwd=TESTS.parents[2],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
