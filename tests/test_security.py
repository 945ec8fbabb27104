"""SECURITY.md names, for each sentence about its two boundaries, tests that are there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
_NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def rows() -> list[tuple[str, str]]:
    """The sentences of both tables, each with what is said to prove it."""
    text = (ROOT / "SECURITY.md").read_text()
    first, second = text.index("## First boundary"), text.index("## Second boundary")
    end = text.index("## What it does not do")
    found = []
    for part in (text[first:second], text[second:end]):
        cells = re.findall(r"(?m)^\| (.+?) \| (.+?) \|$", part)[1:]
        assert len(cells) > 10, "each boundary has its table"
        found += cells
    return found


@cache
def names_in(file: str) -> frozenset[str]:
    """The tests of a file, by name."""
    tree = ast.parse((ROOT / file).read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(each.name for each in ast.walk(tree) if isinstance(each, kinds))


@pytest.mark.parametrize(("sentence", "proof"), rows())
def test_each_sentence_about_a_boundary_is_proved_by_tests_that_are_there(
    sentence: str, proof: str
) -> None:
    named = _NAMED.findall(proof)
    assert named, f"no test is named for: {sentence}"
    assert _NAMED.sub("", proof).strip() == "", f"more than tests is named for: {sentence}"
    gone = [f"{file}::{name}" for file, name in named if name not in names_in(file)]
    assert not gone, f"not there: {gone}"
