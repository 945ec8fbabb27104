"""The real agent programs, gigabytes of them: `scripts/test-agents` installs and drives them."""

from __future__ import annotations

import os

import pytest

INSTALLED = os.environ.get("ORCHESTRATE_REAL_AGENTS", "")
"""The folder with their packages; without it nothing is collected here."""

collect_ignore_glob = [] if INSTALLED else ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what `--all` asks for where it was not given."""
    if not os.environ.get("ORCHESTRATE_REAL_AGENTS_ALL"):
        items[:] = [item for item in items if not item.get_closest_marker("all_agents")]
