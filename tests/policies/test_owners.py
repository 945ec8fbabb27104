from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.owners import Owned, owned, parse_owners

# The examples of GitHub's "About code owners", and what gitignore says beyond them.
FILE = r"""
*       @global-owner1 @global-owner2   # everything
*.js    @js-owner #This is an inline comment.
*.go docs@example.com
/build/logs/ @doctocat
docs/*  docs@example.com
apps/ @octocat
/scripts/ @doctocat @octocat
**/logs @logger
/apps/github
/a\ b/  @blank
/src/**/test?.py @tester
/deep/** @deep
!excluded @nobody
[ab].txt @nobody
\#hash @nobody
"""


@pytest.mark.parametrize(
    ("path", "owners"),
    [
        ("README", ("@global-owner1", "@global-owner2")),
        ("x/y.js", ("@js-owner",)),
        ("x.go", ("docs@example.com",)),
        ("build/logs/a/b.txt", ("@logger",)),
        ("build/other", ("@global-owner1", "@global-owner2")),
        ("docs/getting-started.md", ("docs@example.com",)),
        ("docs/build-app/troubleshooting.md", ("@global-owner1", "@global-owner2")),
        ("any/apps/x", ("@octocat",)),
        ("apps", ("@global-owner1", "@global-owner2")),
        ("scripts/run", ("@doctocat", "@octocat")),
        ("x/scripts/run", ("@global-owner1", "@global-owner2")),
        ("deeply/nested/logs/x", ("@logger",)),
        ("apps/github", ()),
        ("apps/github/x", ()),
        ("a b/c", ("@blank",)),
        ("src/test1.py", ("@tester",)),
        ("src/a/b/test1.py", ("@tester",)),
        ("src/a/test12.py", ("@global-owner1", "@global-owner2")),
        ("deep/a/b", ("@deep",)),
        ("deep", ("@global-owner1", "@global-owner2")),
        ("excluded", ("@global-owner1", "@global-owner2")),
        ("a.txt", ("@global-owner1", "@global-owner2")),
        ("#hash", ("@global-owner1", "@global-owner2")),
    ],
)
def test_the_last_line_that_matches_says_who_owns_a_path(
    path: str, owners: tuple[str, ...]
) -> None:
    assert owned([path], parse_owners(FILE)) == (Owned(path, owners),)


@given(
    st.text("a*?/[]!\\# @.b\n", max_size=40),
    st.lists(st.text("ab/*.", min_size=1), max_size=5),
)
def test_any_file_is_read_and_every_path_has_an_answer(text: str, paths: list[str]) -> None:
    found = owned(paths, parse_owners(text))
    assert [each.path for each in found] == sorted(set(paths))
    # Who writes a last line for everything owns everything.
    whole = owned(paths, parse_owners(f"{text}\n* @all\n"))
    assert all(each.owners == ("@all",) for each in whole if each.path.strip("/"))


def test_a_hostile_pattern_takes_no_time() -> None:
    lines = parse_owners(f"/{'**/a*' * 30}/{'*a' * 60}b @x\n")
    before = time.process_time()
    owned([f"{'a/' * 500}{'a' * 2000}"], lines)
    assert time.process_time() - before < 2
