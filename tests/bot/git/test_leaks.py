"""Secrets are found in what a tree adds, and only in that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import Refused
from bot.git.leaks import MOST, leaks
from bot.git.mirror import Mirror
from policies.facts import KNOWN, Secret
from tests.policies.leaky import AWS, GITHUB

from .planted import Files, many, plant

NONE: frozenset[str] = frozenset()
FILE, LINK = 0o100644, 0o120000
OWN = "hush-hush-quite-secret-0815"


def found(mirror: Mirror, old: Files, new: Files, known: frozenset[str] = NONE) -> list[Secret]:
    return list(leaks(mirror, plant(mirror, old), plant(mirror, new), known))


def test_what_is_added_is_found_and_what_was_there_is_not(mirror: Mirror) -> None:
    old: Files = {"a": (FILE, f"one\n{AWS}\n")}
    assert found(mirror, old, {"a": (FILE, f"more\none\n{AWS}\n")}) == []
    new: Files = {"a": (FILE, f"one\n{AWS}\n{GITHUB}\n")}
    assert found(mirror, old, new) == [Secret("a", 3, "github-pat")]
    assert found(mirror, new, old) == []


def test_a_secret_that_moves_with_its_code_is_not_added(mirror: Mirror) -> None:
    old: Files = {"a": (FILE, f"{AWS}\n"), "b": (FILE, "x")}
    assert found(mirror, old, {"b": (FILE, "x"), "lib/c": (FILE, f"y\n{AWS}\n")}) == []
    # It stands in a file that did not change, so it is a second place.
    copied: Files = {**old, "c": (FILE, f"{AWS}\n")}
    assert found(mirror, old, copied) == [Secret("c", 1, "aws-access-token")]


def test_links_and_programs_are_read_as_files_are(mirror: Mirror) -> None:
    new: Files = {"l": (LINK, f"/{AWS}"), "p": (0o100755, f"#!/bin/sh\n# {AWS}  gitleaks:allow\n")}
    kind = "aws-access-token"
    assert found(mirror, {}, new) == [Secret("l", 1, kind), Secret("p", 2, kind, marked=True)]


@pytest.mark.parametrize(
    "written", [OWN, OWN.upper(), OWN[::-1], OWN.encode().hex(), OWN.replace("-", "\\u002d")]
)
def test_the_server_s_own_secret_is_found_however_it_is_written(
    mirror: Mirror, written: str
) -> None:
    new: Files = {"logo.png": (FILE, f"a\nb = '{written}'\n")}
    assert found(mirror, {}, new, frozenset({OWN})) == [Secret("logo.png", 2, KNOWN)]
    assert found(mirror, {}, new) == []


def test_what_is_known_comes_and_goes(mirror: Mirror) -> None:
    token = "ghs_" + "t0k3n" * 7
    new: Files = {"a": (FILE, f"{OWN}\nx{token.upper()}\n")}
    first, second = Secret("a", 1, KNOWN), Secret("a", 2, KNOWN)
    for known, wanted in (
        ({OWN}, [first]),
        ({OWN, token}, [first, second]),
        ({token}, [second]),
        (set(), []),
    ):
        assert found(mirror, {}, new, frozenset(known)) == wanted


def test_no_more_than_so_many_are_told(mirror: Mirror) -> None:
    lines = "\n".join(f"AKIA{'QYLPMN5HHHFPZ' + a + b + 'Q'}" for a in "ABCDEFGHIJKL" for b in AZ)
    assert len(found(mirror, {}, {"a": (FILE, lines)})) == MOST


AZ = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def test_a_tree_that_is_not_there_is_refused(mirror: Mirror) -> None:
    with pytest.raises(Refused):
        leaks(mirror, plant(mirror, {}), "0" * 40, NONE)


TREES = st.dictionaries(
    st.sampled_from(["a", "b", "d/a", "d/b"]),
    st.tuples(st.just(FILE), st.sampled_from(["x\n", f"{AWS}\n", f"x\n{AWS}\n{GITHUB}\n"])),
    max_size=4,
)


@many
@given(before=TREES, after=TREES)
def test_a_tree_adds_nothing_to_itself_and_the_more_to_less(
    mirror: Mirror, before: Files, after: Files
) -> None:
    assert found(mirror, after, after) == []
    assert set(found(mirror, before, after)) <= set(found(mirror, {}, after))
